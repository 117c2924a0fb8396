//! What the answers come from.

use super::findings::FindingLists;
use super::pod_lists::PodLists;
use crate::metrics::exposition::Exposition;
use crate::socket::server::Server;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) server: Server,
    pub(super) pods: PodLists,
    pub(super) findings: FindingLists,
    pub(super) exposition: Exposition,
}
