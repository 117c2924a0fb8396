//! The worker: waits for the kernel, reads its entries and deletes those that must go.

use std::time::{Duration, Instant};

use palisade_dataplane::netlink::conntrack::{
    Conntrack, ConntrackError, Entry, Progress, Selection,
};
use palisade_dataplane::netlink::{grace_by, grace_method, local_addresses};
use palisade_dataplane::ruleset::RulesetError;
use thiserror::Error;

use super::exchange::{Ended, Exchange};
use super::{Pass, Scope};
use crate::backoff::Backoff;

/// How long to wait after a pass that failed: at first, and at most.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(10);
/// How long to wait at most after a pass that succeeded: it is waited for as long as the pass took, so that changes which never
/// cease take half of a processor.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How often a dump that was interrupted is begun anew.
const DUMPS: usize = 10;

#[derive(Debug, Error)]
enum PassError {
    #[error(transparent)]
    Conntrack(#[from] ConntrackError),
    #[error(transparent)]
    Grace(#[from] RulesetError),
    #[error("the host's addresses cannot be read: {0}")]
    Addresses(#[from] std::io::Error),
    #[error("the loop ended")]
    Ended,
}

impl From<Ended> for PassError {
    fn from(Ended: Ended) -> Self {
        Self::Ended
    }
}

/// Runs until the loop ends.
pub(super) fn run(exchange: &Exchange) {
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
    let mut not_before = Instant::now();
    while let Ok((mut scope, since)) = exchange.await_wanted(not_before) {
        let began = Instant::now();
        let mut tally = Pass::default();
        let result = pass(exchange, &mut scope, &mut tally);
        tally.took = since.elapsed();
        match result {
            Ok(()) => {
                backoff.succeeded();
                not_before = Instant::now() + began.elapsed().min(MAX_PAUSE);
            }
            Err(PassError::Ended) => return,
            Err(error) => {
                backoff.failed(Instant::now());
                not_before = backoff.retry_at().unwrap_or(not_before);
                tally.failure = Some(error.to_string());
                exchange.want_again(scope, since);
            }
        }
        exchange.report(tally);
    }
}

fn pass(exchange: &Exchange, scope: &mut Scope, tally: &mut Pass) -> Result<(), PassError> {
    grace_by(grace_method()?)?;
    let host = local_addresses()?;
    scope.without(&host);
    // A socket of a pass that failed may be of no use any more.
    let mut conntrack = Conntrack::open()?;
    let is_of_host = |entry: &Entry| entry.ends().iter().any(|end| host.contains(end));
    for selection in scope.selections() {
        let mut dumps = 1;
        while let Err(error) =
            dump(exchange, &mut conntrack, (scope, selection), &is_of_host, tally)
        {
            match error {
                PassError::Conntrack(ConntrackError::Interrupted) if dumps < DUMPS => dumps += 1,
                error => return Err(error),
            }
        }
    }
    while let Some(forbidden) = exchange.await_judged()? {
        tally.cut += conntrack.delete(&forbidden)?;
    }
    Ok(())
}

/// Reads one dump; has entries judged and deletes them meanwhile.
fn dump(
    exchange: &Exchange,
    conntrack: &mut Conntrack,
    (scope, selection): (&Scope, Selection),
    is_of_host: &impl Fn(&Entry) -> bool,
    tally: &mut Pass,
) -> Result<(), PassError> {
    conntrack.begin(selection)?;
    let (mut candidates, mut released) = (Vec::new(), Vec::new());
    let mut progress = Progress::More;
    while progress == Progress::More {
        progress = conntrack.read(|entry| {
            tally.listed += 1;
            if scope.releases(&entry) {
                released.push(entry);
            } else if scope.judges(&entry) && !is_of_host(&entry) {
                candidates.push(entry);
            }
        })?;
        tally.flushed += conntrack.delete(&released)?;
        released.clear();
        tally.judged += candidates.len();
        while !candidates.is_empty() {
            let forbidden = exchange.offer(&mut candidates)?;
            tally.cut += conntrack.delete(&forbidden)?;
        }
    }
    Ok(())
}
