//! Answers requests.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::channel::{Channel, Sender};
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::resource::{self, GROUPS, Resource, VERSION};
use super::store::{Collection, Expired, Key, Store, initial_end, line};

/// What all connections share.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    pub(super) store: Arc<Mutex<Store>>,
    /// The version of the store. Watches wait until it changes.
    pub(super) versions: watch::Receiver<u64>,
}

type Body = Either<Full<Bytes>, Channel<Bytes>>;
type Answer = Response<Body>;

/// The number of lines of a watch that are buffered for a client that does not read.
const WAITING_LINES: usize = 64;
/// The pause after a connection could not be accepted because there are too many.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves connections until the future is dropped.
pub(super) async fn serve(listener: TcpListener, cluster: Cluster) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // An event is a small write, which must not wait until the previous one is acknowledged.
        let _ = stream.set_nodelay(true);
        let cluster = cluster.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let answer = cluster.answer(&request);
                async move { Ok::<_, Infallible>(answer) }
            });
            // An error means that the client closed the connection.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

/// What a request path refers to.
enum Target {
    Document(Value),
    Healthy,
    Collection(Collection),
    Object(Key),
}

impl Cluster {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: &Request<Incoming>) -> Answer {
        let path = request.uri().path();
        let Some(target) = target(path) else {
            return status(
                StatusCode::NOT_FOUND,
                "NotFound",
                &format!("{path} is not served here"),
            );
        };
        if request.method() != Method::GET {
            let why = "the objects here are those of the benchmark: they are only read";
            return status(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", why);
        }
        let query = Query::new(request.uri().query().unwrap_or_default());
        match target {
            Target::Document(document) => json_answer(StatusCode::OK, document.to_string().into()),
            Target::Healthy => json_answer(StatusCode::OK, "ok".into()),
            Target::Object(key) => match self.store().get(&key) {
                Some(object) => json_answer(StatusCode::OK, object.clone()),
                None => {
                    let what = format!("{} \"{}\" not found", key.resource.plural(), key.name);
                    status(StatusCode::NOT_FOUND, "NotFound", &what)
                }
            },
            Target::Collection(of) if query.selects() && !of.resource.is_empty() => {
                let why = format!("selectors of {} are not served here", of.resource.plural());
                status(StatusCode::BAD_REQUEST, "BadRequest", &why)
            }
            Target::Collection(of) if query.is_true("watch") => self.watch(of, &query),
            Target::Collection(of) => json_answer(StatusCode::OK, list(&self.store(), &of)),
        }
    }

    fn watch(&self, of: Collection, query: &Query<'_>) -> Answer {
        // Without a version, or with version `0`, a watch begins with the present objects.
        let from = query.get("resourceVersion").unwrap_or_default();
        let whole = query.is_true("sendInitialEvents");
        let (begin, mut version) = match from.parse::<u64>() {
            Ok(version) if version > 0 && !whole => (Vec::new(), version),
            _ => {
                let store = self.store();
                let mut begin: Vec<Bytes> = store.list(&of).map(|o| line("ADDED", o)).collect();
                if whole {
                    begin.push(initial_end(of.resource, store.version()));
                }
                (begin, store.version())
            }
        };
        if let Err(Expired) = self.store().since(version, &of).map(drop) {
            let why = format!("there is no history of version {version}: list again");
            return status(StatusCode::GONE, "Expired", &why);
        }
        let (mut sender, body) = Channel::new(WAITING_LINES);
        let (cluster, patience) = (self.clone(), query.timeout());
        tokio::spawn(async move {
            let lines = async {
                send(&mut sender, begin).await?;
                cluster.follow(&mut sender, &of, &mut version).await
            };
            // A watch that ends is not an error: the client starts a new one from the version that it has reached.
            let _ = tokio::time::timeout(patience, lines).await;
        });
        answer(StatusCode::OK, Either::Right(body))
    }

    /// Sends events until the client disconnects.
    async fn follow(
        &self,
        sender: &mut Sender<Bytes>,
        of: &Collection,
        version: &mut u64,
    ) -> Option<()> {
        let mut versions = self.versions.clone();
        loop {
            let lines: Vec<Bytes> = {
                let store = self.store();
                let lines = store.since(*version, of).ok()?.cloned().collect();
                *version = store.version();
                lines
            };
            send(sender, lines).await?;
            let seen = *version;
            versions.wait_for(|version| *version > seen).await.ok()?;
        }
    }
}

/// Returns `None` if the client disconnected.
async fn send(sender: &mut Sender<Bytes>, lines: Vec<Bytes>) -> Option<()> {
    for line in lines {
        sender.send_data(line).await.ok()?;
    }
    Some(())
}

/// The query parameters of a request. None of the parameters that are read needs percent-decoding.
struct Query<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Query<'a> {
    fn new(text: &'a str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect())
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn is_true(&self, name: &str) -> bool {
        matches!(self.get(name), Some("1" | "true"))
    }

    fn selects(&self) -> bool {
        let names = ["labelSelector", "fieldSelector"];
        names.into_iter().any(|name| self.get(name).is_some_and(|text| !text.is_empty()))
    }

    /// How long a watch lasts. Without a request of the client it is the default of the Kubernetes API server.
    fn timeout(&self) -> Duration {
        let seconds = self.get("timeoutSeconds").and_then(|text| text.parse().ok());
        Duration::from_secs(seconds.unwrap_or(30 * 60))
    }
}

fn target(path: &str) -> Option<Target> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    Some(match *parts.as_slice() {
        ["healthz" | "livez" | "readyz"] => Target::Healthy,
        ["version"] => {
            Target::Document(json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0"}))
        }
        ["api"] => Target::Document(resource::core_versions()),
        ["apis"] => Target::Document(resource::groups()),
        ["api", VERSION] => Target::Document(resource::resources("")),
        ["apis", group] if GROUPS.contains(&group) => Target::Document(resource::group(group)),
        ["apis", group, VERSION] if GROUPS.contains(&group) => {
            Target::Document(resource::resources(group))
        }
        ["api", VERSION, ref rest @ ..] => objects("", rest)?,
        ["apis", group, VERSION, ref rest @ ..] => objects(group, rest)?,
        _ => return None,
    })
}

/// The objects that the end of a path refers to: `pods`, `namespaces/NAME`, `namespaces/NAMESPACE/pods/NAME`.
fn objects(group: &str, path: &[&str]) -> Option<Target> {
    let (namespace, path) = match *path {
        ["namespaces", namespace, ref rest @ ..] if !rest.is_empty() => (Some(namespace), rest),
        _ => (None, path),
    };
    let (plural, name) = match *path {
        [plural] => (plural, None),
        [plural, name] => (plural, Some(name)),
        _ => return None,
    };
    let resource = Resource::find(group, plural)?;
    Some(match name {
        Some(name) => Target::Object(Key {
            resource,
            namespace: namespace.unwrap_or_default().into(),
            name: name.into(),
        }),
        None => Target::Collection(Collection { resource, namespace: namespace.map(Into::into) }),
    })
}

fn list(store: &Store, of: &Collection) -> Bytes {
    let (kind, api, version) = (of.resource.kind(), of.resource.api_version(), store.version());
    let mut text = format!(
        r#"{{"kind":"{kind}List","apiVersion":"{api}","metadata":{{"resourceVersion":"{version}"}},"items":["#
    )
    .into_bytes();
    for (at, object) in store.list(of).enumerate() {
        if at > 0 {
            text.push(b',');
        }
        text.extend_from_slice(object);
    }
    text.extend_from_slice(b"]}");
    text.into()
}

/// An error as a Kubernetes `Status` object.
fn status(code: StatusCode, reason: &str, message: &str) -> Answer {
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": code.as_u16(),
    });
    json_answer(code, status.to_string().into())
}

fn json_answer(code: StatusCode, body: Bytes) -> Answer {
    answer(code, Either::Left(Full::new(body)))
}

fn answer(code: StatusCode, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = code;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
