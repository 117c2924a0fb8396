//! A proxy before the real API server, which does to its answers what servers, networks and load balancers do.

use std::fs;
use std::net::TcpListener;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use palisade_lab::{ApiServer, Namespace};
use tokio::sync::{Notify, oneshot};

use crate::command::Scratch;

/// What is done to answers. All of it off is a plain proxy.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// The status by which streaming lists are refused.
    pub(crate) refuses_streams: Option<u16>,
    /// Streaming lists lack the bookmark that ends them.
    pub(crate) drops_end: bool,
    /// Every event comes twice.
    pub(crate) repeats: bool,
    /// The resource whose events and lists are held back.
    pub(crate) holds: Option<&'static str>,
    /// After so many lines each answer is cut.
    pub(crate) cuts_after: Option<usize>,
    /// The resource whose next event is cut in its middle.
    pub(crate) cuts_event: Option<&'static str>,
    /// For how many milliseconds each piece of an answer is delayed: a random number of these, for each answer by itself.
    pub(crate) delays: Range<u64>,
    /// Every request that came: path and query.
    pub(crate) requests: Vec<String>,
}

#[derive(Debug, Default)]
struct Shared {
    faults: Mutex<Faults>,
    /// Cuts what is under way.
    cut: Notify,
    /// Ends watches under way by an event.
    forgets: Notify,
}

/// By which a server ends a watch whose version it does not know any more.
const GONE: &str = concat!(
    r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
    r#""message":"too old resource version","reason":"Expired","code":410}}"#,
    "\n"
);

/// A running proxy, in a namespace with the server.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    /// Of a user who may do everything.
    pub(crate) kubeconfig: PathBuf,
    _scratch: Scratch,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    pub(crate) fn start(namespace: &Namespace, server: &ApiServer) -> Self {
        let scratch = Scratch::new();
        let listener = namespace.run(|| TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let kubeconfig = scratch.write(
            "kubeconfig",
            &format!(
                "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"{url}\"}}}}]\n\
                 users: [{{name: u, user: {{}}}}]\n\
                 contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\ncurrent-context: c\n"
            ),
        );
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let upstream = server.admin_kubeconfig();
        let (inside, of_thread) = (namespace.try_clone().unwrap(), Arc::clone(&shared));
        let thread = std::thread::spawn(move || {
            inside.run(move || serve(listener, &upstream, of_thread, stopped)).unwrap();
        });
        Self { shared, kubeconfig, _scratch: scratch, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.shared.faults.lock().unwrap()
    }

    /// Cuts every answer that is under way.
    pub(crate) fn cut(&self) {
        self.shared.cut.notify_waiters();
    }

    /// Ends every watch that is under way, since its version is too old.
    pub(crate) fn forget(&self) {
        self.shared.forgets.notify_waiters();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().map(JoinHandle::join);
    }
}

/// Serves until it is stopped. What is under way then ends with the runtime.
fn serve(
    listener: TcpListener,
    upstream: &PathBuf,
    shared: Arc<Shared>,
    stopped: oneshot::Receiver<()>,
) {
    let kubeconfig = fs::read_to_string(upstream).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let kubeconfig = Kubeconfig::from_yaml(&kubeconfig).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        let client = Client::try_from(config).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let router = Router::new().fallback(forward).with_state((client, shared));
        tokio::select! {
            served = axum::serve(listener, router) => served.unwrap(),
            _ = stopped => {}
        }
    });
    runtime.shutdown_background();
}

async fn forward(
    State((client, shared)): State<(Client, Arc<Shared>)>,
    request: Request,
) -> Response {
    let target = request.uri().to_string();
    let refused = {
        let mut faults = shared.faults.lock().unwrap();
        faults.requests.push(target.clone());
        faults.refuses_streams.filter(|_| target.contains("sendInitialEvents"))
    };
    if let Some(status) = refused {
        return StatusCode::from_u16(status).unwrap().into_response();
    }
    let upstream = http::Request::get(&target).body(kube::client::Body::empty()).unwrap();
    match client.send(upstream).await {
        Ok(answer) => {
            let (parts, body) = answer.into_parts();
            let lines = Lines {
                body: Body::new(body).into_data_stream().boxed(),
                rest: Vec::new(),
                count: 0,
                end: None,
                target,
                shared,
            };
            let body = Body::from_stream(stream::unfold(lines, Lines::next));
            (parts.status, body).into_response()
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

/// An answer while it passes.
struct Lines {
    body: BoxStream<'static, Result<Bytes, axum::Error>>,
    rest: Vec<u8>,
    count: usize,
    /// Set before the last piece: whether the connection is cut after it.
    end: Option<IsCut>,
    target: String,
    shared: Arc<Shared>,
}

type IsCut = bool;
/// An error cuts the connection.
type Passed = Result<Vec<u8>, &'static str>;

impl Lines {
    async fn next(mut self) -> Option<(Passed, Self)> {
        let shared = Arc::clone(&self.shared);
        if let Some(is_cut) = self.end {
            // What was sent before is on its way by then.
            tokio::time::sleep(Duration::from_millis(20)).await;
            return is_cut.then_some((Err("cut"), self));
        }
        tokio::select! {
            () = shared.cut.notified() => Some((Err("cut"), self)),
            () = shared.forgets.notified(), if self.is_watch() => {
                self.end = Some(false);
                Some((Ok(GONE.into()), self))
            }
            piece = self.body.next() => {
                let piece = match piece? {
                    Ok(piece) => piece,
                    Err(_) => return Some((Err("the server ended"), self)),
                };
                self.rest.extend_from_slice(&piece);
                let delays = shared.faults.lock().unwrap().delays.clone();
                if !delays.is_empty() {
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(delays))).await;
                }
                let passed = self.pass().await;
                Some((passed, self))
            }
        }
    }

    fn is_watch(&self) -> bool {
        self.target.contains("watch=true")
    }

    fn is_of(&self, resource: &str) -> bool {
        self.target.contains(&format!("/{resource}?"))
    }

    /// What passes of the lines that are whole.
    async fn pass(&mut self) -> Passed {
        while self.is_held() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let end = self.rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let whole: Vec<u8> = self.rest.drain(..end).collect();
        let shared = Arc::clone(&self.shared);
        let mut faults = shared.faults.lock().unwrap();
        let is_watch = self.is_watch();
        let mut passed = Vec::new();
        for line in whole.split_inclusive(|&byte| byte == b'\n') {
            self.count += 1;
            if faults.cuts_after.is_some_and(|most| self.count > most) {
                return Err("cut");
            }
            let text = String::from_utf8_lossy(line);
            let is_end = text.contains("initial-events-end");
            let is_event = is_watch && !text.starts_with(r#"{"type":"BOOKMARK""#);
            if is_event && faults.cuts_event.take_if(|resource| self.is_of(resource)).is_some() {
                passed.extend_from_slice(line.split_at(line.len() / 2).0);
                self.end = Some(true);
                break;
            }
            if !(is_end && faults.drops_end) {
                let times = 1 + usize::from(is_watch && faults.repeats && !is_end);
                (0..times).for_each(|_| passed.extend_from_slice(line));
            }
        }
        Ok(passed)
    }

    fn is_held(&self) -> bool {
        let faults = self.shared.faults.lock().unwrap();
        faults.holds.is_some_and(|resource| self.is_of(resource))
    }
}
