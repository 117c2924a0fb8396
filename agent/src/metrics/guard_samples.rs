//! What the source guard guards and drops, as metrics.

use std::fmt;

use super::samples::{Samples, named};
use crate::protocol::SourceGuard;

pub(super) fn source_guard(
    samples: &mut Samples<'_>,
    guard: &SourceGuard,
    [forged, encapsulated]: [u64; 2],
) -> fmt::Result {
    samples.count(
        &named(
            "guarded_interfaces",
            "Interfaces of pods of which packets with a source that is not the pod's are dropped. If it is smaller than the number of \
             this node's pods, palisade status says which are not guarded.",
        ),
        guard.interfaces,
    )?;
    samples.count(
        &named(
            "guarded_ports",
            "Bridge ports of pods of which packets with a source that is not the pod's are dropped. If they and the guarded interfaces are \
             fewer than this node's pods, palisade status says which are not guarded.",
        ),
        guard.ports,
    )?;
    samples.count(
        &named(
            "unlocated_addresses",
            "Addresses of this node's pods whose interfaces are not known: what these pods send may have any source. palisade status \
             says why.",
        ),
        guard.unlocated,
    )?;
    samples.counter(
        &named(
            "forged_packets",
            "Packets of pods that were dropped because their source is not the pod's, since the rules were last loaded. If it rises, a \
             pod forges addresses, or has one that its manifest does not name: see --allow-source.",
        ),
        Some(forged as f64),
    )?;
    samples.counter(
        &named(
            "encapsulated_packets",
            "Packets of an overlay network (VXLAN, Geneve, IP in IP, GRE) from pods to nodes that were dropped, since the rules were last loaded. \
             If it rises, a pod tries to send as another node, or runs a tunnel: see --allow-tunnel.",
        ),
        Some(encapsulated as f64),
    )
}
