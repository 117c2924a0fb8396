//! The hold of unknown addresses -> the status, and the log.

use std::time::Instant;

use ipnet::IpNet;

use crate::hold::{Hold, Holding};
use crate::protocol::{self, HoldState};
use crate::published_status::PublishedStatus;

/// What was last reported of the hold.
#[derive(Debug, Default)]
pub(super) struct ReportedHold {
    state: Hold,
    /// When packets began to be held.
    since: Option<Instant>,
    ranges: Vec<IpNet>,
    packets: u64,
}

impl ReportedHold {
    /// Publishes and logs whether unknown addresses are held now; `packets` were held by holds that have ended.
    pub(super) fn report(&mut self, holding: &Holding, packets: u64, published: &PublishedStatus) {
        let is_same_state = *holding.state() == self.state;
        if is_same_state && holding.ranges() == self.ranges && packets == self.packets {
            return;
        }
        if !is_same_state {
            self.note(holding);
        }
        (self.ranges, self.packets) = (holding.ranges().to_vec(), packets);
        let (status, since) = (status(holding, packets), self.since);
        published.update(|at| {
            at.hold_since = since;
            at.status.hold = status;
        });
    }

    fn note(&mut self, holding: &Holding) {
        let is_on = matches!(holding.state(), Hold::On { .. });
        match (holding.state(), self.since) {
            (Hold::On { awaited, awaited_count, .. }, None) => {
                let what = match awaited.as_slice() {
                    [] => "the source is in sync again".to_owned(),
                    pods => format!("the addresses of {} are known", pods.join(", ")),
                };
                tracing::info!(
                    awaited_count,
                    "unknown addresses of this node are held until {what}"
                );
            }
            (Hold::Off { reason }, _) if holding.is_wanted() => {
                tracing::warn!("unknown addresses of this node's pods are not held: {reason}");
            }
            (_, Some(since)) if !is_on => {
                let millis = since.elapsed().as_millis();
                tracing::info!("unknown addresses are held no more, after {millis} ms");
            }
            _ => {}
        }
        self.since = if is_on { self.since.or(Some(Instant::now())) } else { None };
        self.state = holding.state().clone();
    }
}

fn status(holding: &Holding, packets: u64) -> protocol::Hold {
    let ranges = holding.ranges().iter().map(ToString::to_string).collect();
    let base = protocol::Hold { ranges, packets, ..protocol::Hold::default() };
    match holding.state().clone() {
        Hold::Idle => base,
        Hold::Off { reason } => {
            protocol::Hold { state: HoldState::Off, reason: Some(reason), ..base }
        }
        Hold::On { awaited, awaited_count, is_behind } => protocol::Hold {
            state: HoldState::Holding,
            awaited,
            awaited_count,
            source_behind: is_behind,
            ..base
        },
    }
}
