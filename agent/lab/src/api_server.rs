//! A real kube-apiserver with its etcd, in a network namespace of a test's own.
//!
//! There is no kubelet, scheduler or controller: pods are what a test writes, their statuses included, and a namespace that is
//! deleted stays `Terminating`, because nothing empties it.

mod writes;

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::tool::{self, ToolError};
use crate::{LabError, Namespace};

pub use writes::{ApiClient, Write};

/// How long the server may take until it is ready: some seconds on a free machine.
const READY_WITHIN: Duration = Duration::from_secs(180);
const API_PORT: u16 = 6443;
const ETCD_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;
/// Of the administrator and of the agent, for which no other server is asked.
const ADMIN_TOKEN: &str = "administrator-of-a-test";
const AGENT_TOKEN: &str = "agent-of-a-test";
/// The user that the agent is, as its service account would make it.
pub const AGENT_USER: &str = "system:serviceaccount:kube-system:palisade";

/// Runs a program as long as our end of its standard input is open, however this process ends.
const SUPERVISE: &str = r#""$@" & child=$!; cat >&2; kill -9 $child; wait $child"#;

/// A running API server. Its processes and its directory go with it.
#[derive(Debug)]
pub struct ApiServer {
    namespace: Namespace,
    /// Of the namespace, where the server listens.
    address: Ipv4Addr,
    assets: PathBuf,
    directory: Directory,
    /// Flags beside the usual ones.
    flags: Vec<String>,
    etcd: Process,
    server: Option<Process>,
}

/// A process that is killed when this is dropped.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        _ = self.0.wait();
    }
}

/// A directory, removed with all in it.
#[derive(Debug)]
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// Where etcd, kube-apiserver and kubectl are: `KUBEBUILDER_ASSETS`, or where `deploy/kubernetes/build` puts them.
///
/// # Errors
/// `NoApiServer` where they are not there.
pub fn assets() -> Result<PathBuf, LabError> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = || {
        let home = || Path::new(&variable("HOME").unwrap_or_default()).join(".cache");
        let cache = variable("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
        cache.join("palisade/kubernetes-v1.34.4")
    };
    let assets = variable("KUBEBUILDER_ASSETS").map_or_else(cache, PathBuf::from);
    if ["etcd", "kube-apiserver", "kubectl"].iter().all(|tool| assets.join(tool).exists()) {
        return Ok(assets);
    }
    Err(LabError::NoApiServer { directory: assets.display().to_string() })
}

impl ApiServer {
    /// Starts a server on the loopback interface of the namespace, and waits until it is ready.
    ///
    /// # Errors
    /// `NoApiServer` without its programs; `Io` with the end of its log if it does not become ready.
    pub fn start(namespace: &Namespace) -> Result<Self, LabError> {
        Self::start_with(namespace, &[])
    }

    /// As `start`, with flags for kube-apiserver beside the usual ones.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_with(namespace: &Namespace, flags: &[&str]) -> Result<Self, LabError> {
        Self::start_at(namespace, Ipv4Addr::LOCALHOST, flags)
    }

    /// As `start_with`, on another address of the namespace, by which others can reach it. The kubeconfigs name that address.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_at(
        namespace: &Namespace,
        address: Ipv4Addr,
        flags: &[&str],
    ) -> Result<Self, LabError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let assets = assets()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("palisade-api-server-{}-{number}", std::process::id());
        let directory = Directory(std::env::temp_dir().join(name));
        let make = |result: io::Result<()>| {
            result.map_err(|error| LabError::io(directory.0.display().to_string(), error))
        };
        make(fs::create_dir(&directory.0))?;
        let tokens = format!(
            "{ADMIN_TOKEN},admin,admin,system:masters\n{AGENT_TOKEN},{AGENT_USER},agent,system:serviceaccounts\n"
        );
        make(fs::write(directory.0.join("tokens.csv"), tokens))?;
        for (name, token) in [("admin", ADMIN_TOKEN), ("agent", AGENT_TOKEN)] {
            make(fs::write(directory.0.join(name), kubeconfig(&directory.0, address, token)))?;
        }
        let key = directory.0.join("service-account.key").display().to_string();
        tool::run(
            "openssl",
            &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &key],
            "",
        )?;
        let namespace = namespace.try_clone()?;
        let etcd =
            spawn(&namespace, &directory.0, &assets.join("etcd"), &etcd_flags(&directory.0))?;
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        let mut server = Self { namespace, address, assets, directory, flags, etcd, server: None };
        server.restart()?;
        Ok(server)
    }

    /// The URL by which it is reached, in its namespace and from where there is a route to its address.
    pub fn url(&self) -> String {
        url(self.address)
    }

    /// A kubeconfig that may do everything.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.directory.0.join("admin")
    }

    /// A kubeconfig of the user `AGENT_USER`, who may do what roles that a test binds allow.
    pub fn agent_kubeconfig(&self) -> PathBuf {
        self.directory.0.join("agent")
    }

    /// Runs kubectl as the administrator, and returns what it prints.
    ///
    /// # Errors
    /// `Tool` with the message of kubectl.
    pub fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String, LabError> {
        let kubeconfig = self.admin_kubeconfig().display().to_string();
        let cache = self.directory.0.join("cache").display().to_string();
        let program = self.assets.join("kubectl").display().to_string();
        let own = ["--kubeconfig", &kubeconfig, "--cache-dir", &cache];
        let ran = self.namespace.run(|| tool::run(&program, &[&own, arguments].concat(), input))?;
        Ok(ran?)
    }

    /// Creates or changes the objects of a manifest. The status of pods is written as well, as a kubelet would.
    ///
    /// # Errors
    /// As `kubectl`.
    pub fn apply(&self, manifest: &str) -> Result<(), LabError> {
        self.kubectl(&["apply", "-f", "-"], manifest).map(drop)
    }

    /// Patches a pod's status as a kubelet does; `status` is JSON.
    ///
    /// # Errors
    /// As `kubectl`.
    pub fn patch_pod_status(
        &self,
        namespace: &str,
        name: &str,
        status: &str,
    ) -> Result<(), LabError> {
        let patch = format!(r#"{{"status":{status}}}"#);
        let patch = ["--subresource", "status", "--type", "merge", "-p", &patch];
        self.kubectl(&[&["-n", namespace, "patch", "pod", name][..], &patch].concat(), "").map(drop)
    }

    /// Deletes a pod at once, as a kubelet does when its containers are gone.
    ///
    /// # Errors
    /// As `kubectl`.
    pub fn delete_pod(&self, namespace: &str, name: &str) -> Result<(), LabError> {
        let delete = ["-n", namespace, "delete", "pod", name, "--grace-period=0", "--force"];
        self.kubectl(&delete, "").map(drop)
    }

    /// Kills the server, but not its store.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Starts the server, or a new one in its place, and waits until it is ready.
    ///
    /// # Errors
    /// As `start`.
    pub fn restart(&mut self) -> Result<(), LabError> {
        self.server = None;
        let program = self.assets.join("kube-apiserver");
        let mut flags = server_flags(&self.directory.0, self.address);
        flags.extend(self.flags.iter().cloned());
        self.server = Some(spawn(&self.namespace, &self.directory.0, &program, &flags)?);
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            match self.kubectl(&["get", "--raw", "/readyz", "--request-timeout=5s"], "") {
                Ok(answer) if answer.trim() == "ok" => return Ok(()),
                Ok(_) | Err(LabError::Tool(ToolError::Failed { .. })) => {}
                Err(error) => return Err(error),
            }
            if Instant::now() > deadline {
                return Err(self.not_ready());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn not_ready(&self) -> LabError {
        let log = self.directory.0.join("kube-apiserver.log");
        let log = fs::read_to_string(log).unwrap_or_default();
        let from = log.char_indices().rev().nth(2000).map_or(0, |(at, _)| at);
        LabError::Io {
            what: format!("kube-apiserver: {}", log.get(from..).unwrap_or_default()),
            source: io::ErrorKind::TimedOut.into(),
        }
    }

    /// Has etcd forget all but the present versions of its objects.
    ///
    /// # Errors
    /// `Io` if etcd does not answer as it should.
    pub fn compact(&self) -> Result<(), LabError> {
        let range = self.ask_etcd("/v3/kv/range", r#"{"key":"AA==","limit":1}"#)?;
        let (_, after) = range.split_once(r#""revision":""#).unwrap_or_default();
        let (revision, _) = after.split_once('"').unwrap_or_default();
        let compaction = format!(r#"{{"revision":"{revision}","physical":true}}"#);
        self.ask_etcd("/v3/kv/compaction", &compaction).map(drop)
    }

    /// By the HTTP gateway of etcd.
    fn ask_etcd(&self, path: &str, body: &str) -> Result<String, LabError> {
        let exchange = || {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ETCD_PORT));
            let mut stream = TcpStream::connect(address)?;
            write!(
                stream,
                "POST {path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            let is_ok = answer.starts_with("HTTP/1.1 200");
            if is_ok { Ok(answer) } else { Err(io::Error::other(answer)) }
        };
        let answer = self.namespace.run(exchange)?;
        answer.map_err(|error| LabError::Io { what: format!("etcd, {path}"), source: error })
    }
}

/// The server first, since it fails noisily without its store.
impl Drop for ApiServer {
    fn drop(&mut self) {
        self.server = None;
        drop(self.etcd.0.stdin.take());
    }
}

fn url(address: Ipv4Addr) -> String {
    format!("https://{address}:{API_PORT}")
}

/// The server signs its own certificate, which is the authority for it, too.
fn kubeconfig(directory: &Path, address: Ipv4Addr, token: &str) -> String {
    let (url, authority) = (url(address), directory.join("certificates/apiserver.crt"));
    format!(
        "apiVersion: v1\nkind: Config\n\
         clusters: [{{name: lab, cluster: {{server: \"{url}\", certificate-authority: \"{}\"}}}}]\n\
         users: [{{name: user, user: {{token: {token}}}}}]\n\
         contexts: [{{name: lab, context: {{cluster: lab, user: user}}}}]\n\
         current-context: lab\n",
        authority.display()
    )
}

fn etcd_flags(directory: &Path) -> Vec<String> {
    let client = format!("http://127.0.0.1:{ETCD_PORT}");
    let peer = format!("http://127.0.0.1:{PEER_PORT}");
    vec![
        format!("--data-dir={}", directory.join("etcd").display()),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
    ]
}

/// The server makes a certificate for the address that it advertises.
fn server_flags(directory: &Path, address: Ipv4Addr) -> Vec<String> {
    let file = |flag: &str, name: &str| format!("--{flag}={}", directory.join(name).display());
    vec![
        format!("--etcd-servers=http://127.0.0.1:{ETCD_PORT}"),
        format!("--bind-address={address}"),
        format!("--advertise-address={address}"),
        format!("--secure-port={API_PORT}"),
        file("cert-dir", "certificates"),
        file("token-auth-file", "tokens.csv"),
        "--authorization-mode=RBAC".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        file("service-account-signing-key-file", "service-account.key"),
        file("service-account-key-file", "service-account.key"),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        // There is no controller that would make the accounts.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
    ]
}

/// Starts a program in the namespace; its log is in the directory, under its name.
fn spawn(
    namespace: &Namespace,
    directory: &Path,
    program: &Path,
    flags: &[String],
) -> Result<Process, LabError> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let failed = |error| LabError::io(format!("start {}", program.display()), error);
    let log = File::options().create(true).append(true).open(directory.join(format!("{name}.log")));
    let log = log.map_err(failed)?;
    let errors = log.try_clone().map_err(failed)?;
    let mut command = Command::new("sh");
    command.args(["-c", SUPERVISE, "sh"]).arg(program).args(flags);
    command.stdin(Stdio::piped()).stdout(log).stderr(errors);
    let child = namespace.run(|| command.spawn())?;
    child.map(Process).map_err(failed)
}
