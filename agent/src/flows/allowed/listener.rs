//! Hears of connections, on a thread of its own that lasts as long as the process, and repairs what was lost.

use std::collections::HashSet;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use palisade_dataplane::connection_accounting;
use palisade_dataplane::netlink::conntrack::{
    Conntrack, ConntrackError, ConntrackEvents, Event, Heard, Progress, Selection,
};

use super::tracker::Tracker;
use super::{Shared, lock};
use crate::flows::observation::moment;
use crate::flows::store::FlowStore;

/// How long to let events gather in the socket, so that a stream of them does not wake the thread for each. The receive buffer
/// holds those of many times as long.
const GATHER_IN_SOCKET: Duration = Duration::from_millis(10);
/// Datagrams that are read before the counts are published.
const MAX_DATAGRAMS: usize = 4096;
/// Dumps that are tried in a row while the table changes its form.
const MAX_DUMPS: usize = 3;
const RETRY_SOON: Duration = Duration::from_secs(1);
const RETRY_LATE: Duration = Duration::from_secs(60);

/// Hears until nobody takes what is heard; `room` is the size of the socket's receive buffer in bytes.
pub(super) fn listen(store: &FlowStore, gathered: &Shared, wake: &SyncSender<()>, room: usize) {
    turn_on_accounting(store);
    let mut listener = Listener { store, gathered, wake, tracker: Tracker::default(), room };
    let mut logged = None;
    loop {
        let Err(error) = listener.hear() else { return };
        let failure = error.to_string();
        store.count(|counts| {
            let allowed = &mut counts.allowed;
            (allowed.is_listening, allowed.failure) = (false, Some(failure.clone()));
        });
        if logged.as_ref() != Some(&failure) {
            tracing::warn!(
                "allowed connections are not shown by palisade observe: {failure}; trying again"
            );
            logged = Some(failure);
        }
        thread::sleep(match error {
            ConntrackError::Interrupted | ConntrackError::Io(_) => RETRY_SOON,
            ConntrackError::NotPermitted { .. }
            | ConntrackError::Unsupported
            | ConntrackError::Refused { .. } => RETRY_LATE,
        });
    }
}

/// Says what was changed, since it is the host's and stays so after the agent has ended.
fn turn_on_accounting(store: &FlowStore) {
    let accounting = connection_accounting::turn_on();
    if !accounting.turned_on.is_empty() {
        let settings = accounting.turned_on.join(", ");
        tracing::info!("turned on, to count what connections carry: {settings}");
    }
    // What is not known concerns no verdict.
    for off in &accounting.off {
        tracing::info!("{off}");
    }
    store.count(|counts| {
        counts.allowed.turned_on = accounting.turned_on;
        counts.allowed.off = accounting.off;
    });
}

/// Nobody takes what is heard.
struct Ended;

struct Listener<'a> {
    store: &'a FlowStore,
    gathered: &'a Shared,
    wake: &'a SyncSender<()>,
    tracker: Tracker,
    room: usize,
}

impl Listener<'_> {
    fn hear(&mut self) -> Result<Ended, ConntrackError> {
        self.tracker.forget();
        let mut events = ConntrackEvents::open(self.room)?;
        let mut conntrack = Conntrack::open()?;
        let mut older = Vec::new();
        dump(&mut conntrack, |entry| older.push(entry.identity()))?;
        let mut is_lossy = self.drain(&mut events)?;
        self.tracker.complete(&older);
        drop(older);
        self.store.count(|counts| {
            (counts.allowed.is_listening, counts.allowed.failure) = (true, None);
            counts.allowed.begun += 1;
        });
        loop {
            if self.publish().is_err() {
                return Ok(Ended);
            }
            if is_lossy {
                is_lossy = self.repair(&mut events, &mut conntrack)?;
                continue;
            }
            is_lossy |= self.read(&mut events, true)? == Heard::Overflow;
            thread::sleep(GATHER_IN_SOCKET);
            is_lossy |= self.drain(&mut events)?;
        }
    }

    fn read(&mut self, events: &mut ConntrackEvents, wait: bool) -> Result<Heard, ConntrackError> {
        let (tracker, gathered) = (&mut self.tracker, self.gathered);
        let heard = events.read(wait, |event| {
            let noted = match event {
                Event::Opened(_, noted) => noted,
                Event::Ended(..) => None,
            };
            tracker.take(&event, moment(noted), &mut lock(gathered));
        })?;
        if heard == Heard::Overflow {
            self.store.count(|counts| counts.allowed.lost.overflows += 1);
        }
        Ok(heard)
    }

    /// Takes what has come, `MAX_DATAGRAMS` at most. Returns whether something was lost.
    fn drain(&mut self, events: &mut ConntrackEvents) -> Result<bool, ConntrackError> {
        let mut is_lossy = false;
        for _ in 0..MAX_DATAGRAMS {
            match self.read(events, false)? {
                Heard::Datagram => {}
                Heard::Overflow => is_lossy = true,
                Heard::Nothing => break,
            }
        }
        Ok(is_lossy)
    }

    /// Finds by a dump what was lost. Returns whether more was lost meanwhile.
    fn repair(
        &mut self,
        events: &mut ConntrackEvents,
        conntrack: &mut Conntrack,
    ) -> Result<bool, ConntrackError> {
        let mut is_lossy = self.drain(events)?;
        let before = self.tracker.open();
        let mut listed = HashSet::new();
        let (tracker, gathered) = (&mut self.tracker, self.gathered);
        dump(conntrack, |entry| {
            if listed.insert(entry.identity()) {
                tracker.found(&entry, moment(None), &mut lock(gathered));
            }
        })?;
        is_lossy |= self.drain(events)?;
        self.tracker.repaired(&before, &listed);
        Ok(is_lossy)
    }

    /// Publishes the counts, and has the recorder take what is gathered.
    fn publish(&self) -> Result<(), Ended> {
        let heard = self.tracker.heard;
        let (left_out, ends_left_out, is_empty) = {
            let gathered = lock(self.gathered);
            (gathered.left_out, gathered.ends_left_out, gathered.tallies.is_empty())
        };
        self.store.count(|counts| {
            let allowed = &mut counts.allowed;
            (allowed.opened, allowed.ended) = (heard.opened, heard.ended);
            let lost = &mut allowed.lost;
            (lost.repaired, lost.ends) = (heard.repaired, heard.lost_ends + ends_left_out);
            lost.queue = left_out;
        });
        match if is_empty { Ok(()) } else { self.wake.try_send(()) } {
            Ok(()) | Err(TrySendError::Full(())) => Ok(()),
            Err(TrySendError::Disconnected(())) => Err(Ended),
        }
    }
}

/// Lists all connections. One that the table's changes made the dump list twice comes twice.
fn dump(
    conntrack: &mut Conntrack,
    mut visit: impl FnMut(palisade_dataplane::netlink::conntrack::Entry),
) -> Result<(), ConntrackError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match dump_once(conntrack, &mut visit) {
            Err(ConntrackError::Interrupted) if tries < MAX_DUMPS => {}
            other => return other,
        }
    }
}

fn dump_once(
    conntrack: &mut Conntrack,
    visit: &mut impl FnMut(palisade_dataplane::netlink::conntrack::Entry),
) -> Result<(), ConntrackError> {
    conntrack.begin(Selection::All)?;
    while conntrack.read(&mut *visit)? == Progress::More {}
    Ok(())
}
