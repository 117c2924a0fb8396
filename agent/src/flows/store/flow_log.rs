//! The store's side of the flow log: a reader with a longer queue, which takes no reader's place.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use tokio::sync::mpsc::channel;

use super::{FlowStore, MAX_FLOWS, Reader, Subscription};
use crate::flows::counts::FlowLogCounts;
use crate::flows::filter::Filter;

/// Flows that wait for the log at most: as many as are kept, each of which may be seen again within one second.
pub const MAX_LOG_QUEUED: usize = 2 * MAX_FLOWS;

impl FlowStore {
    /// The flows that come from now on, for the one log, whose destination has this name.
    pub fn subscribe_log(&self, destination: String, filter: Filter) -> Subscription {
        let (sender, queue) = channel(MAX_LOG_QUEUED);
        let missed = Arc::new(AtomicU64::new(0));
        let mut state = self.state();
        state.counts.flow_log = Some(FlowLogCounts { destination, ..FlowLogCounts::default() });
        state.log = Some(Reader { filter, queue: sender, missed: Arc::clone(&missed) });
        Subscription { latest: Vec::new(), queue, missed }
    }

    /// Gives the log what it would get later, and then nothing more.
    pub fn end_log(&self) {
        let all = self.state().due.back().map_or_else(Instant::now, |&(due, _)| due);
        self.emit_due(all);
        self.state().log = None;
    }

    pub(crate) fn count_log(&self, change: impl FnOnce(&mut FlowLogCounts)) {
        self.count(|counts| {
            if let Some(log) = &mut counts.flow_log {
                change(log);
            }
        });
    }
}
