//! Tools that are run with a script on their standard input, in the network namespace of the calling thread.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use super::ContenderError;

/// Runs a tool to its end.
///
/// # Errors
/// `Tool` where it cannot be run, `Refused` with what it said if it did not end well.
pub(super) fn run(
    tool: &'static str,
    arguments: &[&str],
    input: &str,
) -> Result<(), ContenderError> {
    output(tool, arguments, input).map(drop)
}

fn output(tool: &'static str, arguments: &[&str], input: &str) -> Result<Output, ContenderError> {
    let failed = |source| ContenderError::Tool { tool, source };
    let mut child = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        // On a thread of its own, so that a tool that complains before it has read all is heard.
        scope.spawn(move || {
            // A tool that ends early says why itself.
            stdin.map(|mut stdin| stdin.write_all(input.as_bytes()))
        });
        child.wait_with_output()
    });
    let output = output.map_err(failed)?;
    if output.status.success() {
        return Ok(output);
    }
    let message = String::from_utf8_lossy(&output.stderr);
    let message = message.lines().take(3).collect::<Vec<_>>().join("; ");
    Err(ContenderError::Refused { tool, status: output.status, message })
}
