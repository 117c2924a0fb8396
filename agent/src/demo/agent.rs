//! The agent's process, and commands that ask it.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use palisade_lab::{Lab, MARKERS};

use super::DemoError;
use super::directory::Directory;

/// Where the agent serves its page, in the network namespace of the node.
pub(super) const PAGE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9674);
/// How long the agent may take to end when asked.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);
/// How much of the agent's log an error shows.
const LOG_LINES: usize = 20;

/// The agent's process; it is ended when this is dropped.
#[derive(Debug)]
pub(super) struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// Runs `palisade run -f MANIFESTS --socket SOCKET` in the node's namespace.
    pub(super) fn start(lab: &Lab, directory: &Directory) -> Result<Self, DemoError> {
        let log = directory.log();
        let opened = File::create(&log).and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) =
            opened.map_err(|error| DemoError::io(format!("create {}", log.display()), error))?;
        let mut command = Command::new(binary()?);
        command.arg("run").arg("-f").arg(directory.path()).args(["--allow-source", MARKERS]);
        command.arg("--socket").arg(directory.socket()).arg("--listen").arg(PAGE.to_string());
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let child = lab.node().run(|| command.spawn())?;
        let child = child.map_err(|error| DemoError::io("start the agent", error))?;
        let agent = Self { child, log };
        let pid = directory.agent_pid();
        fs::write(&pid, agent.child.id().to_string())
            .map_err(|error| DemoError::io(format!("write {}", pid.display()), error))?;
        Ok(agent)
    }

    /// An error if it has ended.
    pub(super) fn check(&mut self) -> Result<(), DemoError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failure(format!("the agent ended ({status})"))),
            Err(error) => Err(DemoError::io("wait for the agent", error)),
        }
    }

    /// An error with the end of the agent's log.
    pub(super) fn failure(&self, what: String) -> DemoError {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = lines.len().saturating_sub(LOG_LINES);
        let end = lines.get(last..).unwrap_or_default().join("\n  ");
        DemoError::Failed(format!("{what}; the end of its log:\n  {end}"))
    }

    /// Asks it to end, and waits until it has.
    pub(super) fn stop(mut self) -> Result<(), DemoError> {
        self.check()?;
        let ended = self.end();
        if ended { Ok(()) } else { Err(self.failure("the agent did not end when asked".into())) }
    }

    /// Returns false if it had to be killed.
    fn end(&mut self) -> bool {
        if let Ok(Some(_)) = self.child.try_wait() {
            return true;
        }
        if let Ok(pid) = i32::try_from(self.child.id()) {
            _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let deadline = Instant::now() + STOPPED_WITHIN;
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        _ = self.child.kill();
        _ = self.child.wait();
        false
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether the kernel of the node holds what the manifests say: `palisade verify -f MANIFESTS` there.
pub(super) fn is_enforced(lab: &Lab, directory: &Directory) -> Result<bool, DemoError> {
    let mut command = Command::new(binary()?);
    command.arg("verify").arg("-f").arg(directory.path()).args(["--allow-source", MARKERS]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = lab.node().run(|| command.status())?;
    let status = status.map_err(|error| DemoError::io("start palisade verify", error))?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(DemoError::Failed(format!(
            "palisade verify -f {}: {status}",
            directory.path().display()
        ))),
    }
}

/// Runs a command that asks the agent, and returns what it prints, errors included.
pub(super) fn ask(
    lab: &Lab,
    directory: &Directory,
    arguments: &[&str],
) -> Result<String, DemoError> {
    let failed = |error| DemoError::io("start palisade", error);
    let (mut reader, writer) = std::io::pipe().map_err(failed)?;
    let mut command = Command::new(binary()?);
    command.args(arguments).arg("--socket").arg(directory.socket());
    command.stdin(Stdio::null()).stdout(writer.try_clone().map_err(failed)?).stderr(writer);
    let mut child = lab.node().run(|| command.spawn())?.map_err(failed)?;
    // The command holds the writing end, which must be closed for the text to end.
    drop(command);
    let mut text = String::new();
    let read = reader.read_to_string(&mut text);
    child.wait().map_err(failed)?;
    read.map_err(failed)?;
    Ok(text)
}

/// The path of this program.
pub(super) fn binary() -> Result<PathBuf, DemoError> {
    std::env::current_exe().map_err(|error| DemoError::io("find this program", error))
}
