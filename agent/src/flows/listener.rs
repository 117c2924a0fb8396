//! Reads the kernel's log of denied packets, on a thread of its own that lasts as long as the process.

use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use palisade_compiler::program::skeleton::LOG_GROUP;
use palisade_dataplane::netlink::nflog::{LogError, Losses, PacketLog, Record};

use super::observation::{Observation, moment};
use super::store::FlowStore;

/// How long to wait for a group that another process has (in a rolling update two agents overlap), for a module that is being
/// loaded, and after a failure of the socket.
const RETRY_SOON: Duration = Duration::from_millis(250);
/// How long to wait where the kernel cannot do it, or refuses it.
const RETRY_LATE: Duration = Duration::from_secs(60);

/// Reads until nobody takes what is read.
pub(super) fn listen(store: &FlowStore, queue: &SyncSender<Observation>) {
    let mut logged = None;
    loop {
        let error = match PacketLog::open(LOG_GROUP) {
            Ok(log) => {
                store.count(|counts| {
                    (counts.is_listening, counts.failure) = (true, None);
                    counts.begun += 1;
                });
                if logged.take().is_some() {
                    tracing::info!("denied connections are read now");
                }
                match read(log, store, queue) {
                    Ok(Ended) => return,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        let failure = error.to_string();
        store.count(|counts| {
            (counts.is_listening, counts.failure) = (false, Some(failure.clone()));
        });
        if logged.as_ref() != Some(&failure) {
            tracing::warn!(
                "denied connections are counted, and not shown by palisade observe: {failure}; trying again"
            );
            logged = Some(failure);
        }
        thread::sleep(match error {
            LogError::Taken { .. } | LogError::Loading | LogError::Io(_) => RETRY_SOON,
            LogError::Unsupported | LogError::Refused { .. } => RETRY_LATE,
        });
    }
}

/// Nobody takes what is read.
struct Ended;

fn read(
    mut log: PacketLog,
    store: &FlowStore,
    queue: &SyncSender<Observation>,
) -> Result<Ended, LogError> {
    loop {
        let mut has_ended = false;
        let losses = log.read(|record| has_ended |= take(&record, store, queue).is_err())?;
        if has_ended {
            return Ok(Ended);
        }
        if losses != Losses::default() {
            store.count(|counts| {
                counts.lost.socket += losses.missing;
                counts.lost.overflows += losses.overflows;
            });
        }
    }
}

/// Gives a record to the recorder, or counts what becomes of it.
fn take(record: &Record, store: &FlowStore, queue: &SyncSender<Observation>) -> Result<(), Ended> {
    let Some(direction) = record.direction else {
        store.count(|counts| counts.foreign += 1);
        return Ok(());
    };
    let Ok(header) = record.packet else {
        store.count(|counts| {
            counts.seen += 1;
            counts.unreadable += 1;
        });
        return Ok(());
    };
    let (at, time) = moment(record.timestamp);
    let sent = queue.try_send(Observation { direction, header, at, time });
    store.count(|counts| {
        counts.seen += 1;
        counts.lost.queue += u64::from(matches!(sent, Err(TrySendError::Full(_))));
    });
    if matches!(sent, Err(TrySendError::Disconnected(_))) { Err(Ended) } else { Ok(()) }
}
