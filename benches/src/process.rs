//! A long-running program under test. When its owner ends, for whatever reason, the program ends, together with all
//! programs that it started.

use std::fs;
use std::io::{self, PipeReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::sys;

/// The interval at which the program is checked for having ended.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The part of its output that is kept. An engine may print a whole ruleset when it fails.
const KEPT_BYTES: usize = 16 << 10;
const KEPT_LINES: usize = 6;
const KEPT_LINE: usize = 300;
/// The program is idle if it used at most `IDLE_TICKS` of CPU time, in the kernel's accounting, in this time, and no program
/// that it started is running.
const IDLE_TIME: Duration = Duration::from_millis(100);
const IDLE_TICKS: u64 = 1;

/// The program runs in its own PID and mount namespaces with an empty `/run`, so that it does not use the locks and sockets
/// of the host.
#[derive(Debug)]
pub(crate) struct Process {
    id: u32,
    shared: Arc<Shared>,
    stop: Option<Sender<()>>,
    supervisor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    output: Mutex<Vec<u8>>,
    ended: Mutex<Option<ExitStatus>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    /// Starts the program in the network namespace of the calling thread.
    ///
    /// # Errors
    /// If it cannot be started, or its namespaces cannot be created.
    pub(crate) fn start(mut command: Command) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        // Ctrl-C in a terminal reaches only this process. The program ends when its owner does.
        command.process_group(0);
        sys::end_with_this_thread(&mut command);
        let shared = Arc::new(Shared::default());
        let (started, start) = mpsc::channel();
        let (stop, stopped) = mpsc::channel();
        let (output, ended) = (Arc::clone(&shared), Arc::clone(&shared));
        let reader_thread = thread::Builder::new()
            .name("output reader".into())
            .spawn(move || read_output(reader, &output.output))?;
        // The kernel ends the program when the thread that started it ends, so this thread keeps running.
        let supervisor = thread::Builder::new().name("supervisor".into()).spawn(move || {
            let child = spawn(&mut command);
            // The command holds an end of the pipe, which must close when the program ends.
            drop(command);
            let status = match child {
                Ok(child) => {
                    let _ = started.send(Ok(child.id()));
                    supervise(child, &stopped)
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                    None
                }
            };
            // Once the status is set, all of the output has been read.
            let _ = reader_thread.join();
            *lock(&ended.ended) = status;
        })?;
        let id = start.recv().map_err(io::Error::other)??;
        Ok(Self { id, shared, stop: Some(stop), supervisor: Some(supervisor) })
    }

    /// Its exit status, if it has ended.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        *lock(&self.shared.ended)
    }

    /// The last lines of its output, joined into one.
    pub(crate) fn last_output(&self) -> String {
        let text = String::from_utf8_lossy(&lock(&self.shared.output)).into_owned();
        let lines: Vec<String> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| line.chars().take(KEPT_LINE).collect())
            .collect();
        lines.get(lines.len().saturating_sub(KEPT_LINES)..).unwrap_or_default().join("; ")
    }

    pub(crate) fn resident(&self) -> Option<u64> {
        resident(&self.id.to_string())
    }

    /// Waits until the program is idle or has ended. Returns false if neither happens within `patience`.
    pub(crate) fn wait_until_idle(&self, patience: Duration) -> bool {
        let began = Instant::now();
        let mut before = self.ticks();
        while self.ended().is_none() {
            thread::sleep(IDLE_TIME);
            let now = self.ticks();
            if now.saturating_sub(before) <= IDLE_TICKS && !self.has_children() {
                return true;
            }
            if began.elapsed() > patience {
                return false;
            }
            before = now;
        }
        true
    }

    /// The CPU time of the program and of the programs that it started and waited for, in ticks.
    fn ticks(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.id)).unwrap_or_default();
        // The name may contain any characters. After it, utime is field 12, and stime, cutime and cstime follow (proc(5)).
        let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
        fields.split_whitespace().skip(11).take(4).filter_map(|f| f.parse::<u64>().ok()).sum()
    }

    /// Returns false if the kernel does not list children.
    fn has_children(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id)).into_iter().flatten();
        let children = threads.flatten().map(|thread| thread.path().join("children"));
        children
            .into_iter()
            .any(|file| fs::read_to_string(file).is_ok_and(|children| !children.trim().is_empty()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(supervisor) = self.supervisor.take() {
            // If the thread panicked it has ended, and so has the program.
            let _ = supervisor.join();
        }
    }
}

/// The resident memory of a process in bytes. `self` means this process.
pub(crate) fn resident(process: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Starts the program as the first process of a PID namespace. When it ends, the kernel ends the other processes in the
/// namespace.
fn spawn(command: &mut Command) -> io::Result<Child> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID)?;
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), nothing)?;
    command.spawn()
}

/// Waits until the program ends or `stopped` is signalled, which ends the program. Returns its exit status.
fn supervise(mut child: Child, stopped: &mpsc::Receiver<()>) -> Option<ExitStatus> {
    loop {
        match stopped.recv_timeout(POLL_INTERVAL) {
            Err(RecvTimeoutError::Timeout) => {
                if let Ok(Some(status)) = child.try_wait() {
                    return Some(status);
                }
            }
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                // This fails if the program has ended meanwhile.
                let _ = child.kill();
                return child.wait().ok();
            }
        }
    }
}

fn read_output(mut from: PipeReader, output: &Mutex<Vec<u8>>) {
    let mut part = [0; 4096];
    // Reading ends when all processes that could write have ended.
    while let Ok(length @ 1..) = from.read(&mut part) {
        let mut output = lock(output);
        output.extend_from_slice(part.get(..length).unwrap_or_default());
        let surplus = output.len().saturating_sub(KEPT_BYTES);
        output.drain(..surplus);
    }
}
