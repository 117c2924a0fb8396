//! The list of pods, which readers that come together share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::Mutex;

use crate::protocol::{Request, Response};
use crate::socket::server::Server;

/// How long a list is kept for other readers: the loop makes it, and does nothing else meanwhile.
const KEPT: Duration = Duration::from_millis(500);

/// The last list, as JSON.
#[derive(Debug, Default)]
pub(super) struct PodLists(Mutex<Option<(Instant, Arc<RawValue>)>>);

impl PodLists {
    /// The pods as they are now, or were a moment ago; `None` while nothing is known.
    pub(super) async fn latest(&self, server: &Server) -> Option<Arc<RawValue>> {
        // Others wait, and find what this reader gets.
        let mut kept = self.0.lock().await;
        if let Some((at, pods)) = kept.as_ref()
            && at.elapsed() < KEPT
        {
            return Some(Arc::clone(pods));
        }
        let Response::Pods(pods) = server.answer(Request::Pods).await else { return None };
        let pods = Arc::from(to_raw_value(&*pods).ok()?);
        *kept = Some((Instant::now(), Arc::clone(&pods)));
        Some(pods)
    }
}
