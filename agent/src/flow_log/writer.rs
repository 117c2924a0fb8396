//! Writes lines, on a thread of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::destination::Destination;
use crate::flows::counts::{FlowLogCounts, FlowLogState};
use crate::flows::flow::{Line, LineContent};
use crate::flows::store::{FlowStore, Subscription};

/// How long to wait before a line that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long the writing of what waits may take when the agent ends.
const MAX_LAST_WORK: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(5);

/// The log of flows, which ends when this is dropped: what waits is written first.
#[derive(Debug)]
pub struct FlowLog {
    flows: FlowStore,
    is_ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for FlowLog {
    fn drop(&mut self) {
        self.flows.end_log();
        self.is_ending.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return };
        thread.thread().unpark();
        let until = Instant::now() + MAX_LAST_WORK;
        // A destination may hang, as a pipe that nobody reads does; the process ends all the same.
        while !thread.is_finished() && Instant::now() < until {
            thread::sleep(POLL);
        }
        if !thread.is_finished() {
            tracing::warn!("the flow log takes no more lines; those that wait are lost");
        }
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    destination: Destination,
    subscription: Subscription,
    flows: FlowStore,
    is_ending: Arc<AtomicBool>,
    /// Lines that could not be written before the agent ended.
    left: u64,
}

impl Writer {
    pub(super) fn new(
        destination: Destination,
        subscription: Subscription,
        flows: FlowStore,
    ) -> Self {
        Self { destination, subscription, flows, is_ending: Arc::default(), left: 0 }
    }

    pub(super) fn spawn(self) -> io::Result<FlowLog> {
        let (flows, is_ending) = (self.flows.clone(), Arc::clone(&self.is_ending));
        let thread = thread::Builder::new().name("flow-log".into()).spawn(move || self.run())?;
        Ok(FlowLog { flows, is_ending, thread: Some(thread) })
    }

    /// Runs until the store gives no more.
    fn run(mut self) {
        while let Some(flow) = self.subscription.next_blocking() {
            self.write(LineContent::Flow(&flow));
            let count = self.subscription.take_missed();
            if count > 0 {
                self.write(LineContent::Missed { count });
            }
        }
        if self.left > 0 {
            tracing::warn!("{} lines of the flow log could not be written", self.left);
        }
    }

    /// Writes a line, however long that takes; when the agent ends, it is tried once.
    fn write(&mut self, content: LineContent<'_>) {
        // What a flow is made of has no form that JSON cannot write.
        let Ok(mut line) = serde_json::to_vec(&Line::new(content)) else { return };
        line.push(b'\n');
        loop {
            let result = self.destination.write(&line);
            let rotations = self.destination.rotations();
            match result {
                Ok(()) => {
                    let mut mended = None;
                    self.flows.count_log(|log| {
                        log.written += 1;
                        (log.rotations, log.state) = (rotations, FlowLogState::Writing);
                        mended = log.failure.take().map(|_failure| log.destination.clone());
                    });
                    if let Some(destination) = mended {
                        tracing::info!("the flow log is written again to {destination}");
                    }
                    return;
                }
                Err(error) => self.failed(&error),
            }
            if self.is_ending.load(Ordering::Relaxed) {
                self.left += 1;
                self.flows.count_log(|log| log.lost += 1);
                return;
            }
            // Ending wakes it.
            thread::park_timeout(RETRY);
        }
    }

    /// Says once why lines cannot be written.
    fn failed(&self, error: &io::Error) {
        let (state, failure) = (state(error), error.to_string());
        let mut news = None;
        self.flows.count_log(|log: &mut FlowLogCounts| {
            if log.failure.as_ref() != Some(&failure) {
                news = Some(log.destination.clone());
            }
            (log.state, log.failure) = (state, Some(failure.clone()));
        });
        if let Some(destination) = news {
            tracing::warn!(
                "the flow log cannot be written to {destination}: {state} ({failure}); trying again"
            );
        }
    }
}

fn state(error: &io::Error) -> FlowLogState {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::NotFound | Kind::NotADirectory => FlowLogState::NoDirectory,
        Kind::StorageFull | Kind::QuotaExceeded => FlowLogState::DiskFull,
        Kind::ReadOnlyFilesystem => FlowLogState::ReadOnly,
        Kind::PermissionDenied => FlowLogState::NotPermitted,
        Kind::BrokenPipe => FlowLogState::NobodyReads,
        _ => FlowLogState::Failing,
    }
}
