//! Whether the agent is alive, and whether it is ready.

use std::time::{Duration, Instant};

use crate::heartbeat::Heartbeat;
use crate::protocol::State;
use crate::published_status::StatusAt;
use crate::watch_state::WatchState;

/// For how long a turn of the loop may take, the load of a million pods included, before the process counts as stuck.
pub const MAX_TURN: Duration = Duration::from_secs(300);

/// For how long the kernel may be behind the latest objects before the agent counts as not ready. A change takes far less; the
/// first load of all objects is never ready before its end.
pub const MAX_BEHIND: Duration = Duration::from_secs(15);

/// Lines of one kind that the text of readiness has.
const MAX_LINES: usize = 20;

/// Whether the loop turns. The text says so, or what it hangs in.
///
/// # Errors
///
/// What to tell whoever asks: the process should be started anew.
pub fn liveness(heartbeat: &Heartbeat, at: &StatusAt) -> Result<String, String> {
    let overdue = heartbeat.overdue(Instant::now());
    if overdue <= MAX_TURN {
        return Ok("alive\n".to_owned());
    }
    let doing = at.status.doing.as_deref().unwrap_or("its work");
    Err(format!(
        "the loop has not turned for {} s (at most {} s are usual), since it began with: {doing}\n",
        overdue.as_secs(),
        MAX_TURN.as_secs()
    ))
}

/// Whether what the latest objects mean is enforced, and what is not though it should be.
///
/// # Errors
///
/// What the agent waits for.
pub fn readiness(at: &StatusAt) -> Result<String, String> {
    if let Some(reason) = hindrance(at) {
        return Err(format!("not ready: {reason}\n"));
    }
    let mut text = "ready\n".to_owned();
    let mut list = |what: &str, lines: &[String]| {
        for line in lines.iter().take(MAX_LINES) {
            text += &format!("{what}: {line}\n");
        }
        if let Some(more) = lines.len().checked_sub(MAX_LINES).filter(|more| *more > 0) {
            text += &format!("{what}: and {more} more, see palisade status\n");
        }
    };
    list("not enforced", &at.status.not_enforced);
    if at.status.node.is_some() {
        list("unknown addresses are not held", at.status.hold.reason.as_slice());
    }
    list("outage", &outages(at));
    list("warning", &at.status.warnings);
    list("problem", &at.status.problems);
    Ok(text)
}

/// What is not watched at the moment. What is known of it stays enforced, so that an agent stays ready.
fn outages(at: &StatusAt) -> Vec<String> {
    let watches = at.kubernetes.iter().flat_map(|kubernetes| &kubernetes.watches);
    let outage = |watch: &WatchState| {
        let outage = watch.outage.as_ref()?;
        let (what, seconds) = (watch.resource(), outage.since.elapsed().as_secs());
        Some(format!("{what} have not been watched for {seconds} s: {}", outage.error))
    };
    watches.filter_map(outage).collect()
}

/// Why the agent is not ready; `None` if it is.
fn hindrance(at: &StatusAt) -> Option<String> {
    let status = &at.status;
    let more = status.detail.as_ref().or(status.doing.as_ref());
    let because = more.map_or_else(String::new, |more| format!(": {more}"));
    match status.state {
        State::Starting => Some(format!("starting{because}")),
        State::WaitingForManifests => Some(format!("waiting for manifests{because}")),
        State::WaitingForTable => {
            Some(format!("waiting for the tables, which another process owns{because}"))
        }
        State::Behind if !at.is_programmed => Some(format!("the first load goes on{because}")),
        State::Behind => {
            let behind = at.behind_since.map(|since| since.elapsed()).unwrap_or_default();
            (behind > MAX_BEHIND).then(|| {
                let seconds = behind.as_secs();
                format!("the kernel has held an earlier program for {seconds} s{because}")
            })
        }
        State::Enforcing => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Status;

    fn at(state: State, detail: Option<&str>) -> StatusAt {
        let detail = detail.map(str::to_owned);
        StatusAt { status: Status { state, detail, ..Status::default() }, ..StatusAt::default() }
    }

    fn behind(seconds: u64, is_programmed: bool) -> StatusAt {
        let since = Instant::now().checked_sub(Duration::from_secs(seconds));
        StatusAt { behind_since: since, is_programmed, ..at(State::Behind, Some("refused")) }
    }

    #[test]
    fn only_what_was_programmed_is_ready_and_a_change_under_way_does_not_end_it() {
        assert_eq!(readiness(&at(State::Enforcing, None)), Ok("ready\n".to_owned()));
        let waiting = readiness(&at(State::WaitingForManifests, Some("a.yaml is broken")));
        assert_eq!(waiting, Err("not ready: waiting for manifests: a.yaml is broken\n".to_owned()));
        assert!(readiness(&at(State::Starting, None)).is_err());
        assert!(readiness(&at(State::WaitingForTable, None)).is_err());
        assert!(readiness(&behind(1, false)).is_err(), "the first load");
        assert!(readiness(&behind(1, true)).is_ok());
        let late = readiness(&behind(60, true));
        assert!(late.is_err_and(|why| why.contains("for 60 s: refused")));
    }

    #[test]
    fn the_text_of_readiness_names_what_is_not_enforced_within_bounds() {
        let mut at = at(State::Enforcing, None);
        at.status.not_enforced = (0..30).map(|gap| format!("gap {gap}")).collect();
        at.status.warnings = vec!["a warning".to_owned()];
        let text = readiness(&at).unwrap_or_default();
        assert!(text.contains("not enforced: gap 19\n") && !text.contains("gap 20"), "{text}");
        assert!(text.contains("not enforced: and 10 more, see palisade status\n"), "{text}");
        assert!(text.ends_with("warning: a warning\n"), "{text}");
    }

    #[test]
    fn a_loop_that_hangs_is_not_alive() {
        let heartbeat = Heartbeat::default();
        let mut at = at(State::Behind, None);
        at.status.doing = Some("programming 3 elements".to_owned());
        heartbeat.expect_at(Instant::now());
        assert!(liveness(&heartbeat, &at).is_ok());
        let Some(long_ago) = Instant::now().checked_sub(MAX_TURN + Duration::from_secs(60)) else {
            return;
        };
        let heartbeat = Heartbeat::since(long_ago);
        let stuck = liveness(&heartbeat, &at);
        assert!(stuck.is_err_and(|why| why.contains("programming 3 elements")));
    }
}
