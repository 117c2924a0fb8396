//! Runs programs such as `nft` and `ip`, until they end, in the network namespace of the calling thread.

use std::io::{self, Read as _, Write as _};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use thiserror::Error;

/// How long a program may take before it is killed. `nft` takes up to a minute to load the largest rulesets of the benches.
pub const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Error)]
pub enum ToolError {
    #[error("start {command}: {source}")]
    Start { command: String, source: io::Error },
    /// It ended with another status than 0; `message` is what it wrote to standard error.
    #[error("{command}: {status}: {message}")]
    Failed { command: String, status: ExitStatus, message: String },
    #[error("{command} was killed: it did not end within {patience:?}")]
    TooSlow { command: String, patience: Duration },
}

/// Runs a program with `input` as its standard input, and returns its standard output.
///
/// # Errors
/// `Start` where there is no such program, `Failed` if it ends with another status than 0, `TooSlow` after [`PATIENCE`].
pub fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, ToolError> {
    run_within(PATIENCE, program, arguments, input)
}

/// As [`run`], with another time limit.
///
/// # Errors
/// As [`run`].
pub fn run_within(
    patience: Duration,
    program: &str,
    arguments: &[&str],
    input: &str,
) -> Result<String, ToolError> {
    let command = || [&[program], arguments].concat().join(" ");
    let failed = |source| ToolError::Start { command: command(), source };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let pid = Pid::from_raw(child.id().cast_signed());
    let (end, ended) = mpsc::channel::<()>();
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let (read, too_slow) = thread::scope(|scope| {
        // Each pipe has a thread of its own, so that the program never waits for one while we wait for another. A program that ends without
        // having read all of its input says why on standard error, so the failed write is not an error of its own.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
        let reader = scope
            .spawn(|| stdout.map_or(Ok(0), |mut stdout| stdout.read_to_end(&mut output)).map(drop));
        // The child is waited for only after this thread has ended, so the process id is still its own.
        let watchdog = scope.spawn(move || {
            let slow = ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout);
            slow && kill(pid, Signal::SIGKILL).is_ok()
        });
        let read = stderr.map_or(Ok(0), |mut stderr| stderr.read_to_end(&mut errors));
        let read = read.and(reader.join().unwrap_or(Ok(())));
        drop(end);
        (read, watchdog.join().unwrap_or(false))
    });
    let status = child.wait().map_err(failed)?;
    read.map_err(failed)?;
    if too_slow {
        return Err(ToolError::TooSlow { command: command(), patience });
    }
    if status.success() {
        return Ok(String::from_utf8_lossy(&output).into_owned());
    }
    let message = String::from_utf8_lossy(&errors).trim_end().to_owned();
    Err(ToolError::Failed { command: command(), status, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gets_its_input_and_its_output_is_returned() {
        let long = "x".repeat(1 << 20);
        assert_eq!(run("cat", &[], &long).unwrap(), long);
    }

    #[test]
    fn a_program_that_fails_without_reading_its_input_is_an_error_with_its_message() {
        let error = run("sh", &["-c", "echo no >&2; exit 3"], &"x".repeat(1 << 20)).unwrap_err();
        assert!(
            matches!(&error, ToolError::Failed { message, status, .. } if message == "no" && status.code() == Some(3))
        );
        assert!(matches!(run("/no/such/program", &[], ""), Err(ToolError::Start { .. })));
    }

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let slow = run_within(Duration::from_millis(20), "sleep", &["600"], "");
        assert!(matches!(slow, Err(ToolError::TooSlow { .. })));
    }
}
