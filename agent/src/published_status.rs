//! The status as the loop last published it: readers get it at any time, whatever the loop is doing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use palisade_compiler::program::sets::SetName;
use palisade_dataplane::dataplane::Counters;
use palisade_dataplane::host::HostDelta;

use crate::edits;
use crate::flows::store::FlowStore;
use crate::heartbeat::Heartbeat;
use crate::inbox::HeldFile;
use crate::metrics::Metrics;
use crate::protocol::{
    self, EnforcedChange, MAX_CHANGES, MAX_ELEMENTS, MAX_LISTED, MAX_LISTED_POLICIES, Status,
};
use crate::revision_log::{Revision, RevisionLog};
use crate::watch_state::KubernetesState;

/// A change of more elements is not listed at all: the lines of all of them would be made for the first ones.
const MAX_LISTED_DELTA: usize = 1000;

/// A status with the moments that its times count from.
#[derive(Debug, Clone, Default)]
pub struct StatusAt {
    /// Without the fields that the moments below give.
    pub status: Status,
    pub started: Option<Instant>,
    /// When the change came that the kernel does not hold yet.
    pub behind_since: Option<Instant>,
    /// When the kernel was last compared with the program.
    pub checked: Option<Instant>,
    pub held: Vec<HeldFile>,
    /// When packets of unknown addresses began to be held.
    pub hold_since: Option<Instant>,
    /// The API server that is followed, if one is.
    pub kubernetes: Option<KubernetesState>,
    /// Whether the source has given everything that is declared.
    pub source_in_sync: bool,
    /// Whether the kernel ever held a program of this agent.
    pub is_programmed: bool,
    /// How often the tables were put right after somebody had changed them.
    pub healed: u64,
    /// What the engine did.
    pub engine: Counters,
    /// Elements of the program by address family (`v4`, `v6`) and set, catch-alls not counted.
    pub set_sizes: Vec<(&'static str, SetName, usize)>,
}

impl StatusAt {
    /// The status with its times as they are now.
    pub fn now(&self) -> Status {
        let seconds = |at: Instant| at.elapsed().as_secs();
        let mut status = self.status.clone();
        status.up_seconds = self.started.map_or(0, seconds);
        status.behind_seconds = self.behind_since.map(seconds);
        status.hold.seconds = self.hold_since.map(seconds);
        status.drift.seconds_since_check = self.checked.map(seconds);
        let held = self.held.iter().take(MAX_LISTED).map(|held| protocol::HeldFile {
            file: held.file.clone(),
            reason: held.reason.clone(),
            seconds: seconds(held.since),
        });
        status.held_files = held.collect();
        status.held_count = self.held.len();
        status.kubernetes = self.kubernetes.as_ref().map(Into::into);
        status
    }
}

/// Shared by the loop, which writes it, and by its readers.
#[derive(Debug, Clone, Default)]
pub struct PublishedStatus {
    status: Arc<Mutex<StatusAt>>,
    pub revisions: RevisionLog,
    pub flows: FlowStore,
    pub metrics: Metrics,
    pub heartbeat: Heartbeat,
}

impl PublishedStatus {
    /// Changes the status; readers see all of the change or none of it.
    pub fn update<T>(&self, change: impl FnOnce(&mut StatusAt) -> T) -> T {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the status without a copy of it; the loop waits meanwhile.
    pub fn look<T>(&self, look: impl FnOnce(&StatusAt) -> T) -> T {
        look(&self.status.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn read(&self) -> Status {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner).now();
        let latest = self.revisions.latest(MAX_CHANGES);
        status.flows = self.flows.counts();
        status.denials = self.flows.hits.top(MAX_LISTED_POLICIES);
        status.allowances = self.flows.hits.top_rules(MAX_LISTED_POLICIES);
        status.changes = latest.iter().map(|revision| enforced(revision)).collect();
        status
    }
}

fn enforced(revision: &Revision) -> EnforcedChange {
    let delta = revision.delta.as_ref().filter(|delta| delta.len() <= MAX_LISTED_DELTA);
    let lines = |delta| edits::lines(delta, &HostDelta::default());
    let elements = delta.map(lines).unwrap_or_default();
    EnforcedChange {
        revision: revision.number,
        objects: revision.objects.clone(),
        object_count: revision.object_count,
        elements: elements.into_iter().take(MAX_ELEMENTS).collect(),
        element_count: revision.element_count,
        took_us: u64::try_from(revision.took.as_micros()).unwrap_or(u64::MAX),
        seconds_ago: revision.committed.elapsed().as_secs(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_those_of_the_moment_at_which_the_status_is_read() {
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds));
        let at = StatusAt {
            status: Status::default(),
            started: ago(100),
            behind_since: ago(5),
            checked: ago(7),
            ..StatusAt::default()
        };
        let status = at.now();
        assert!(status.up_seconds >= 100, "{status:?}");
        assert!(status.behind_seconds >= Some(5), "{status:?}");
        assert!(status.drift.seconds_since_check >= Some(7), "{status:?}");
        assert_eq!(StatusAt::default().now(), Status::default());
    }
}
