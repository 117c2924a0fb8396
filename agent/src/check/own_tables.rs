//! What Palisade itself has here: its tables, and a running agent.

use std::path::Path;

use palisade_dataplane::dataplane::{Dataplane, Options};
use palisade_dataplane::netlink::Kernel;

use super::finding::{Finding, Severity, list};
use crate::protocol::{Request, Response, Status};
use crate::socket::{Client, ClientError};

pub(super) fn findings(socket: &Path) -> Vec<Finding> {
    let agent = Client::new(socket).request(&Request::Status);
    let pid = match &agent {
        Ok(Response::Status(status)) => Some(status.pid),
        _ => None,
    };
    let mut findings = vec![agent_finding(agent)];
    findings.extend(tables(pid));
    findings
}

fn agent_finding(answer: Result<Response, ClientError>) -> Finding {
    match answer {
        Ok(Response::Status(status)) => of_status(&status),
        Ok(_) => Finding::new(
            Severity::Warning,
            "agent",
            "the agent answers another question than was asked",
            "Its version differs from this program's, most likely.",
            "Use the palisade of the agent's version.",
        ),
        Err(ClientError::NoAgent { .. }) => {
            Finding::new(Severity::Note, "agent", "no agent runs here", "", "")
        }
        Err(error) => Finding::new(
            Severity::Warning,
            "agent",
            error.to_string(),
            "Whether it enforces cannot be asked.",
            "Run this check as the agent's user, or name its socket with --socket.",
        ),
    }
}

fn of_status(status: &Status) -> Finding {
    let seen = format!("version {}, pid {}, {}", status.agent, status.pid, words(status));
    if status.enforces_all() {
        return Finding::ok("agent", seen);
    }
    let severity = if status.is_ready() { Severity::Warning } else { Severity::Failure };
    let mut lacks: Vec<&String> = status.detail.iter().chain(&status.not_enforced).collect();
    lacks.extend(status.problems.iter().chain(&status.warnings));
    let lacks = if lacks.is_empty() { String::new() } else { format!(": {}", list(&lacks)) };
    Finding::new(
        severity,
        "agent",
        seen + &lacks,
        "Not everything that policies say is enforced here.",
        "palisade status lists all of it; each line names its remedy.",
    )
}

/// The state as it is written in JSON.
fn words(status: &Status) -> String {
    let state = serde_json::to_value(status.state).ok();
    let state = state.as_ref().and_then(|state| state.as_str()).unwrap_or("unknown");
    state.replace('-', " ")
}

/// The tables as they are, if they can be read; `agent` is the process that answers at the socket.
fn tables(agent: Option<u32>) -> Option<Finding> {
    let dataplane =
        Dataplane::inspect(Kernel::open_without_owner().ok()?, Options::default()).ok()?;
    let elements = dataplane.found().elements();
    Some(match (dataplane.is_in_force(), dataplane.owner()) {
        (false, None) => Finding::ok("tables", "there are no tables of Palisade"),
        (_, Some(owner)) if agent.is_none_or(|pid| owner.contains(&format!("process {pid} "))) => {
            Finding::ok("tables", format!("{elements} elements; they belong to {owner}"))
        }
        (_, Some(owner)) => Finding::new(
            Severity::Warning,
            "tables",
            format!(
                "{elements} elements; they belong to {owner}, which is not the agent that answers"
            ),
            "The agent waits until that process has ended.",
            "Find out what that process is, and end it if it should not be there.",
        ),
        (true, None) if agent.is_some() => {
            Finding::ok("tables", format!("{elements} elements, in force"))
        }
        (true, None) => Finding::new(
            Severity::Note,
            "tables",
            format!("{elements} elements are in force, and no agent runs"),
            "They stay enforced, and follow no change.",
            "Start the agent, or remove them with palisade flush.",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::State;

    #[test]
    fn an_agent_that_enforces_less_than_all_is_no_ok() {
        let status = Status { state: State::Enforcing, ..Status::default() };
        assert_eq!(of_status(&status).severity, Severity::Ok);
        let gap = Status { not_enforced: vec!["a gap".into()], ..status };
        let finding = of_status(&gap);
        assert_eq!(finding.severity, Severity::Warning);
        assert!(finding.seen.contains("enforcing: a gap"), "{finding:?}");
        let waiting = Status { state: State::WaitingForTable, ..Status::default() };
        let finding = of_status(&waiting);
        assert_eq!(finding.severity, Severity::Failure);
        assert!(finding.seen.contains("waiting for table"), "{finding:?}");
    }
}
