//! Connections that the kernel let through, as they begin and end.
//!
//! ```text
//! kernel --NEW, DESTROY--> listener --> tracker (repeats are one entry) --> recorder --> store
//!             |               ^                                              |   ^
//!             +--lost--> dump-+                                      Batch  v   | Judgement
//!                                                                            loop
//! ```
//!
//! An event costs the listener a decode and two looks into hash tables. What repeats is gathered for `GATHER_FOR` and then
//! costs the store one entry, however many connections it stands for; the loop is asked once for what has the same ends, port
//! and Service at one revision.

mod judgement;
mod listener;
mod recorder;
mod tracker;

use std::io;
use std::net::IpAddr;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use palisade_compiler::model::Connection;
use palisade_compiler::program::live::LiveConnection;
use palisade_dataplane::netlink::conntrack::Entry;

use super::recorder::Asker;
use crate::published_status::PublishedStatus;
pub use judgement::{SideJudgement, judge};
use tracker::Gathered;

/// How long connections are gathered before they are judged and stored.
const GATHER_FOR: Duration = Duration::from_millis(100);

/// What repeats have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ConnectionKey {
    connection: Connection,
    /// The address and port that a Service translated.
    service: Option<(IpAddr, u16)>,
}

impl ConnectionKey {
    fn of(entry: &Entry) -> Self {
        Self { connection: entry.live().connection, service: entry.service() }
    }
}

/// A connection that the loop should judge.
#[derive(Debug, Clone, Copy)]
pub struct AllowedConnection {
    pub live: LiveConnection,
    /// Another connection announced it.
    pub is_expected: bool,
    /// The address and port that a Service translated.
    pub service: Option<(IpAddr, u16)>,
    /// When the first of its kind was heard of.
    pub at: Instant,
}

/// What the listener leaves for the recorder.
type Shared = Arc<Mutex<Gathered>>;

fn lock(shared: &Mutex<Gathered>) -> MutexGuard<'_, Gathered> {
    // A panic elsewhere leaves the entries whole.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to record allowed connections, in the network namespace of the calling thread. The threads last as long as the
/// process.
///
/// # Errors
///
/// Those of starting threads; without them all else goes on.
pub(super) fn spawn(asker: Asker, status: PublishedStatus, room: usize) -> io::Result<()> {
    let gathered = Shared::default();
    // One wake-up is enough for all that is gathered.
    let (wake, woken) = sync_channel(1);
    let (store, filled) = (status.flows.clone(), Arc::clone(&gathered));
    thread::Builder::new()
        .name("connections".into())
        .spawn(move || listener::listen(&store, &filled, &wake, room))?;
    thread::Builder::new()
        .name("allowed".into())
        .spawn(move || recorder::Recorder::new(asker, status, gathered).run(&woken))?;
    Ok(())
}
