//! The built binary, in directories and network namespaces of a test's own.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use palisade::protocol::{Request, Response, State, Status};
use palisade::socket::Client;
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::ruleset::Ruleset as _;
use palisade_lab::{MARKERS, Namespace};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n";

pub(crate) fn pod(name: &str, address: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{namespace: x, name: {name}, labels: {{app: {name}}}}}\n\
         status: {{phase: Running, podIPs: [{{ip: {address}}}]{more}}}\n---\n"
    )
}

/// Isolates b for ingress, and allows what `ingress` says (the value of the field, in one line).
pub(crate) fn guard(ingress: &str) -> String {
    policy(
        "guard",
        &format!(
            "{{podSelector: {{matchLabels: {{app: b}}}}, policyTypes: [Ingress], ingress: {ingress}}}"
        ),
    )
}

pub(crate) fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{namespace: x, name: {name}}}\nspec: {spec}\n"
    )
}

/// A directory, removed with all in it.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("palisade-it-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// With the pods a and b, and b guarded against a.
    pub(crate) fn guarded() -> Self {
        let scratch = Self::new();
        scratch.write("namespace.yaml", NAMESPACE);
        scratch.write("pods.yaml", &(pod("a", "10.0.0.1", "") + &pod("b", "10.0.0.2", "")));
        scratch.write("guard.yaml", &guard("[{from: [{ipBlock: {cidr: 203.0.113.0/24}}]}]"));
        scratch
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn exits(self, exit: i32) -> Self {
        assert_eq!(self.exit, exit, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn complains(self, of: &str) -> Self {
        assert!(self.err.contains(of), "no {of:?} in {self:?}");
        self
    }
}

pub(crate) fn finish(mut command: Command, input: &str) -> Ran {
    let mut child = command
        .env_remove("NODE_NAME")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that fails early does not read all of it.
    _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        exit: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs where no kernel is needed.
pub(crate) fn palisade(args: &[&str]) -> Ran {
    palisade_reads(args, "")
}

/// In the namespace of a lab's node.
pub(crate) fn palisade_in(node: &Namespace, args: &[&str]) -> Ran {
    finish(enter(&node.path(), env!("CARGO_BIN_EXE_palisade"), args), "")
}

pub(crate) fn palisade_reads(args: &[&str], input: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
    command.args(args);
    finish(command, input)
}

/// A program in the network namespace of this path.
pub(crate) fn enter(netns: &str, program: &str, args: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={netns}")).arg(program).args(args);
    command
}

/// A network namespace, held by a process of ours that sleeps in it.
pub(crate) struct Netns(Child);

/// Whether tables can belong to a process and outlive it (Linux 6.9). Where they cannot, nothing keeps others from writing to them.
pub(crate) fn knows_owners() -> bool {
    let namespace = Namespace::new().unwrap();
    namespace.run(|| Kernel::open().unwrap().features().persistent_owner).unwrap()
}

impl Netns {
    pub(crate) fn new() -> Self {
        let holder = Command::new("unshare").args(["--net", "sleep", "300"]).spawn().unwrap();
        let netns = Self(holder);
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        until("the namespace", || fs::read_link(netns.path()).is_ok_and(|it| it != own));
        netns
    }

    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    /// For `setns`.
    pub(crate) fn open(&self) -> fs::File {
        fs::File::open(self.path()).unwrap()
    }

    pub(crate) fn command(&self, program: &str, args: &[&str]) -> Command {
        enter(&self.path(), program, args)
    }

    pub(crate) fn palisade(&self, args: &[&str]) -> Ran {
        finish(self.command(env!("CARGO_BIN_EXE_palisade"), args), "")
    }

    /// What nft lists, with the handles that tell whether an object was made anew.
    pub(crate) fn ruleset(&self) -> String {
        finish(self.command("nft", &["-a", "list", "ruleset"]), "").exits(0).out
    }

    pub(crate) fn agent(&self, files: &Path) -> Agent {
        self.agent_with(files, &[])
    }

    pub(crate) fn agent_with(&self, files: &Path, more: &[&str]) -> Agent {
        self.agent_in(Scratch::new(), None, files, more)
    }

    /// With the socket of another.
    pub(crate) fn agent_at(&self, socket: &Path, files: &Path, more: &[&str]) -> Agent {
        self.agent_in(Scratch::new(), Some(socket), files, more)
    }

    fn agent_in(
        &self,
        scratch: Scratch,
        socket: Option<&Path>,
        files: &Path,
        more: &[&str],
    ) -> Agent {
        Agent::start(&self.path(), scratch, socket, files, more)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// A running agent.
pub(crate) struct Agent {
    child: Child,
    client: Client,
    pub(crate) socket: PathBuf,
    scratch: Scratch,
}

impl Agent {
    /// In the namespace of a lab's node.
    pub(crate) fn of_node(node: &Namespace, files: &Path, more: &[&str]) -> Self {
        Self::start(&node.path(), Scratch::new(), None, files, more)
    }

    fn start(
        netns: &str,
        scratch: Scratch,
        socket: Option<&Path>,
        files: &Path,
        more: &[&str],
    ) -> Self {
        let mut args = vec!["run", "-f", files.to_str().unwrap()];
        args.extend(more);
        let command = enter(netns, env!("CARGO_BIN_EXE_palisade"), &args);
        Self::start_by(command, scratch, socket)
    }

    /// Starts it by a command that lacks the socket.
    pub(crate) fn start_by(mut command: Command, scratch: Scratch, socket: Option<&Path>) -> Self {
        let socket = socket.map_or_else(|| scratch.0.join("agent.sock"), Path::to_path_buf);
        let log = fs::File::create(scratch.0.join("log")).unwrap();
        command.arg("--socket").arg(&socket);
        // Who receives packets knows by the lab's markers that no more will come.
        command.args(["--allow-source", MARKERS]);
        command.env_remove("NODE_NAME").env_remove("KUBECONFIG");
        let child = command.stdin(Stdio::null()).stderr(log).spawn().unwrap();
        Self { child, client: Client::new(&socket), socket, scratch }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A line of proc_pid_status(5) about memory, such as `VmRSS:`, in KiB.
    pub(crate) fn memory(&self, line: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let found = status.lines().find_map(|each| each.strip_prefix(line)).unwrap();
        found.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.scratch.0.join("log")).unwrap()
    }

    #[track_caller]
    pub(crate) fn until_log(&self, line: &str) {
        until(line, || self.log().contains(line));
    }

    pub(crate) fn ask(&self, request: &Request) -> Response {
        self.client.request(request).unwrap()
    }

    /// Waits until the status is as wanted.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, mut wanted: impl FnMut(&Status) -> bool) -> Status {
        let deadline = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < deadline {
            if let Ok(Response::Status(status)) = self.client.request(&Request::Status) {
                if wanted(&status) {
                    return *status;
                }
                last = Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{what} did not come; status {last:?}; log:\n{}", self.log());
    }

    #[track_caller]
    pub(crate) fn until_enforcing(&self) -> Status {
        self.until("enforcement", |s| s.state == State::Enforcing && s.problem_count == 0)
    }

    /// The verdict on a connection to port 80, as the agent explains it.
    #[track_caller]
    pub(crate) fn verdict(&self, from: &str, to: &str) -> String {
        let request = Request::Explain {
            from: from.into(),
            to: to.into(),
            protocol: "TCP".into(),
            port: Some(80.into()),
        };
        match self.ask(&request) {
            Response::Explanation(explanation) => {
                assert!(!explanation.diverges(), "{explanation:?}");
                explanation.verdict
            }
            other => panic!("{other:?}"),
        }
    }

    /// That the kernel holds the agent's program.
    #[track_caller]
    pub(crate) fn verify(&self) {
        match self.ask(&Request::Verify) {
            Response::Verified(verified) => assert_eq!(verified.differences, [""; 0]),
            other => panic!("{other:?}; log:\n{}", self.log()),
        }
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Sends the signal and waits for the end; the exit status, if it ended by itself.
    #[track_caller]
    pub(crate) fn end(&mut self, signal: &str) -> Option<i32> {
        self.signal(signal);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[track_caller]
pub(crate) fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}
