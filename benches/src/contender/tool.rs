//! Runs tools with a script on their standard input, in the network namespace of the calling thread.

use palisade_lab::tool::{self, ToolError};

use super::ContenderError;

/// The number of lines of a tool's message that are kept.
const MESSAGE_LINES: usize = 3;

/// Runs a tool until it ends.
///
/// # Errors
/// `Tool` if it cannot be run, `Refused` with its message if it ends with another status than 0, `TooSlow` if it had to be
/// killed.
pub(super) fn run(
    tool: &'static str,
    arguments: &[&str],
    input: &str,
) -> Result<(), ContenderError> {
    tool::run(tool, arguments, input).map(drop).map_err(|error| match error {
        ToolError::Start { source, .. } => ContenderError::Tool { tool, source },
        ToolError::Failed { status, message, .. } => {
            let message = message.lines().take(MESSAGE_LINES).collect::<Vec<_>>().join("; ");
            ContenderError::Refused { tool, status, message }
        }
        ToolError::TooSlow { patience, .. } => ContenderError::TooSlow { tool, patience },
    })
}
