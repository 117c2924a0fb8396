//! What the answers come from.

use tokio::sync::Mutex;

use super::findings::FindingLists;
use super::pod_lists::PodLists;
use crate::metrics::exposition::Exposition;
use crate::socket::server::Server;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) server: Server,
    pub(super) pods: PodLists,
    pub(super) findings: FindingLists,
    /// Held by who judges a part of a snapshot: one at a time.
    pub(super) judging: Mutex<()>,
    pub(super) exposition: Exposition,
}
