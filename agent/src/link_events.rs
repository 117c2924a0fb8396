//! Changes of this host's links, addresses and routes -> the loop's inbox.

use std::io;
use std::thread;
use std::time::Duration;

use palisade_dataplane::attachments::LinkWatch;

use crate::inbox::Sender;
use crate::metrics::{EventSource, Metrics};

/// How long changes gather before the loop is woken: an interface that comes changes several times.
const GATHER_FOR: Duration = Duration::from_millis(4);

/// Wakes the loop when something changed, from a thread of its own that lasts as long as the process. Without it changes are
/// noticed when a subject comes, and when the loop looks by itself.
pub(crate) fn forward(inbox: Sender, metrics: Metrics) {
    let logged = move || {
        if let Err(error) = watch(&inbox, &metrics) {
            tracing::warn!(%error, "changes of links are noticed late");
        }
    };
    if let Err(error) = thread::Builder::new().name("links".into()).spawn(logged) {
        tracing::warn!(%error, "changes of links are noticed late");
    }
}

/// Returns when the loop ended.
fn watch(inbox: &Sender, metrics: &Metrics) -> io::Result<()> {
    let mut watch = LinkWatch::open()?;
    loop {
        if watch.wait()? {
            metrics.lost_events(EventSource::Links);
        }
        thread::sleep(GATHER_FOR);
        if inbox.links_changed().is_err() {
            return Ok(());
        }
    }
}
