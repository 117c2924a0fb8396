//! What the demo holds outside of its lab, and gives back however it ends: a directory, the agent's process, signals.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Failure;
use palisade_lab::Lab;

/// Before the number of the process whose it is.
const PREFIX: &str = "palisade-demo-";
const MANIFESTS: &str = "manifests";
const AGENT_PID: &str = "agent.pid";
const AGENT_LOG: &str = "agent.log";
const SOCKET: &str = "agent.sock";

/// How long the agent may take to end when asked.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// A directory of its own for manifests, the agent's socket and its log; removed with its value.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    manifests: PathBuf,
}

impl Directory {
    pub(super) fn new() -> Result<Self, Failure> {
        let root = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
        let failed = |error| failed(format!("create {}", root.display()), error);
        DirBuilder::new().mode(0o700).create(&root).map_err(failed)?;
        let directory = Self { manifests: root.join(MANIFESTS), root: root.clone() };
        fs::create_dir(&directory.manifests).map_err(failed)?;
        Ok(directory)
    }

    /// Where the manifests are.
    pub(super) fn path(&self) -> &Path {
        &self.manifests
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.manifests.join(name);
        // Under another name first, so that no half of a file is ever read.
        let draft = self.root.join(name);
        fs::write(&draft, text)
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(|error| failed(format!("write {}", path.display()), error))
    }

    /// Replaces a text that stands in a file.
    pub(super) fn edit(&self, name: &str, old: &str, new: &str) -> Result<(), Failure> {
        let path = self.manifests.join(name);
        let text = fs::read_to_string(&path)
            .map_err(|error| failed(format!("read {}", path.display()), error))?;
        if !text.contains(old) {
            return Err(Failure::No(format!("{} does not say {old:?}", path.display())));
        }
        self.write(name, &text.replace(old, new))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What stays is removed at the next start.
        _ = fs::remove_dir_all(&self.root);
    }
}

/// Ends the agents and removes the directories of demos that were killed.
pub(super) fn clean_up_after_the_dead() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for root in entries.flatten().map(|entry| entry.path()) {
        let name = root.file_name().and_then(|name| name.to_str());
        let Some(pid) = name.and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let ours =
            fs::symlink_metadata(&root).is_ok_and(|m| m.is_dir() && m.uid() == geteuid().as_raw());
        let dead = pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists();
        if !(ours && dead) {
            continue;
        }
        let agent = fs::read_to_string(root.join(AGENT_PID)).ok();
        if let Some(pid) = agent.and_then(|pid| pid.trim().parse::<i32>().ok()) {
            // The number may be another process's by now: only one that was told of this directory is ours.
            let told = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&told).contains(&*root.to_string_lossy()) {
                _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
        }
        _ = fs::remove_dir_all(&root);
    }
}

/// The agent's process; it is ended with its value.
#[derive(Debug)]
pub(super) struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// `palisade run -f MANIFESTS --socket SOCKET` in the node's namespace.
    pub(super) fn start(lab: &Lab, directory: &Directory) -> Result<Self, Failure> {
        let log = directory.root.join(AGENT_LOG);
        let opened = File::create(&log).and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = opened.map_err(|e| failed(format!("create {}", log.display()), e))?;
        let mut command = palisade()?;
        command.arg("run").arg("-f").arg(directory.path());
        command.arg("--socket").arg(directory.root.join(SOCKET));
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let child = lab.node().run(|| command.spawn())?;
        let child = child.map_err(|error| failed("start the agent".into(), error))?;
        let agent = Self { child, log };
        let pid = directory.root.join(AGENT_PID);
        fs::write(&pid, agent.id().to_string())
            .map_err(|error| failed(format!("write {}", pid.display()), error))?;
        Ok(agent)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failure(format!("the agent ended ({status})"))),
            Err(error) => Err(failed("ask for the agent".into(), error)),
        }
    }

    /// What happened, with the end of the agent's log.
    pub(super) fn failure(&self, what: String) -> Failure {
        const LINES: usize = 20;
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = lines.len().saturating_sub(LINES);
        let said = lines.get(last..).unwrap_or_default().join("\n  ");
        Failure::No(format!("{what}; it said:\n  {said}"))
    }

    /// Asks it to end, and waits.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        self.check()?;
        let ended = self.end();
        if ended { Ok(()) } else { Err(self.failure("the agent did not end when asked".into())) }
    }

    /// False if it had to be killed.
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

/// Whether the kernel of the node holds what the manifests mean: `palisade verify -f MANIFESTS` there.
pub(super) fn is_enforced(lab: &Lab, directory: &Directory) -> Result<bool, Failure> {
    let mut command = palisade()?;
    command.arg("verify").arg("-f").arg(directory.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = lab.node().run(|| command.status())?;
    let status = status.map_err(|error| failed("start palisade verify".into(), error))?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => {
            Err(Failure::No(format!("palisade verify -f {}: {status}", directory.path().display())))
        }
    }
}

/// This binary.
fn palisade() -> Result<Command, Failure> {
    let path = std::env::current_exe().map_err(|error| failed("find this binary".into(), error))?;
    Ok(Command::new(path))
}

/// SIGINT and SIGTERM end the demo between two steps, with everything cleaned up.
#[derive(Debug)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub(super) fn watch() -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let unwatched = |error| failed("watch for signals".into(), error);
        let runtime = runtime.map_err(unwatched)?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            let on = |kind| signal(kind).map_err(unwatched);
            (on(SignalKind::interrupt())?, on(SignalKind::terminate())?)
        };
        let seen = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&seen);
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            flag.store(true, Ordering::Relaxed);
        });
        Ok(Self(seen))
    }

    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.0.load(Ordering::Relaxed) {
            return Err(Failure::No("interrupted; all that the demo made is removed".into()));
        }
        Ok(())
    }
}

fn failed(what: String, error: io::Error) -> Failure {
    Failure::Io { what, error }
}
