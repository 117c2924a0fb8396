//! Tools that are run with a script on their standard input, in the network namespace of the calling thread.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::ContenderError;

/// How long a tool may take before it is ended: a resync of 10,000 policies is allowed its minute.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a tool to its end.
///
/// # Errors
/// `Tool` where it cannot be run, `Refused` with what it said if it did not end well, `TooSlow` if it had to be ended.
pub(super) fn run(
    tool: &'static str,
    arguments: &[&str],
    input: &str,
) -> Result<(), ContenderError> {
    run_within(PATIENCE, tool, arguments, input)
}

fn run_within(
    patience: Duration,
    tool: &'static str,
    arguments: &[&str],
    input: &str,
) -> Result<(), ContenderError> {
    let failed = |source| ContenderError::Tool { tool, source };
    let mut child = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let pid = Pid::from_raw(child.id().cast_signed());
    let (ended, end) = mpsc::channel::<()>();
    let mut said = Vec::new();
    let (read, too_slow) = thread::scope(|scope| {
        // On a thread of its own, so that a tool that complains before it has read all is heard. One that ends early says why
        // itself.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
        // The child is reaped after this thread has ended, so the id is still its own.
        let watchdog = scope.spawn(move || {
            let slow = end.recv_timeout(patience) == Err(RecvTimeoutError::Timeout);
            slow && kill(pid, Signal::SIGKILL).is_ok()
        });
        let read = stderr.map_or(Ok(0), |mut stderr| stderr.read_to_end(&mut said));
        drop(ended);
        (read, watchdog.join().unwrap_or(false))
    });
    let status = child.wait().map_err(failed)?;
    read.map_err(failed)?;
    if too_slow {
        return Err(ContenderError::TooSlow { tool, patience });
    }
    if status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&said);
    let message = message.lines().take(3).collect::<Vec<_>>().join("; ");
    Err(ContenderError::Refused { tool, status, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_fed_heard_and_ended() {
        let long = "x".repeat(1 << 20);
        assert!(run("cat", &[], &long).is_ok());
        // It ends without reading what it is given.
        let refused = run("sh", &["-c", "echo no >&2; exit 3"], &long);
        assert!(
            matches!(&refused, Err(ContenderError::Refused { message, .. }) if message == "no")
        );
        assert!(matches!(run("/no/such/tool", &[], ""), Err(ContenderError::Tool { .. })));
        let slow = run_within(Duration::from_millis(20), "sleep", &["600"], "");
        assert!(matches!(slow, Err(ContenderError::TooSlow { .. })));
    }
}
