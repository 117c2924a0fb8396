//! The kernel's tables at the start, however long another process has them.

use std::time::Instant;

use palisade_compiler::program::Program;
use palisade_dataplane::ruleset::RulesetError;

use super::enforcer::{Enforcer, TableSettings};
use super::status_report::StatusReport;
use crate::backoff::Backoff;
use crate::inbox::{Ask, Inbox};
use crate::protocol::{Response, State};

/// Waits until the kernel's tables can be read and belong to nobody else; `None` if the loop should end meanwhile.
pub(super) fn open(
    report: &StatusReport,
    settings: &TableSettings,
    inbox: &Inbox,
    mut backoff: Backoff,
) -> Result<Option<(Enforcer, Program)>, RulesetError> {
    loop {
        report.expect_at(Instant::now());
        let error = match Enforcer::open(settings, report.metrics()) {
            Ok(opened) => return Ok(Some(opened)),
            Err(error) if is_hopeless(&error) => return Err(error),
            Err(error) => error,
        };
        report.metrics().failed(&error);
        let state = match error {
            RulesetError::Owned { .. } => State::WaitingForTable,
            _ => State::Behind,
        };
        report.hindered(state, error.to_string());
        let now = Instant::now();
        backoff.failed(now);
        let retry_at = backoff.retry_at().unwrap_or(now);
        report.expect_at(retry_at);
        while Instant::now() < retry_at {
            let contents = inbox.take_asks(retry_at);
            if contents.shutdown {
                return Ok(None);
            }
            for Ask { answer, .. } in contents.asks {
                // The client may be gone.
                _ = answer.send(Response::NotReady { reason: report.why_not() });
            }
        }
    }
}

/// Whether waiting mends nothing.
pub(super) fn is_hopeless(error: &RulesetError) -> bool {
    match error {
        RulesetError::NotPermitted { .. } | RulesetError::Unsupported { .. } => true,
        RulesetError::Retry { .. }
        | RulesetError::Unknown { .. }
        | RulesetError::Full { .. }
        | RulesetError::Owned { .. }
        | RulesetError::Refused { .. }
        | RulesetError::Io(_) => false,
    }
}
