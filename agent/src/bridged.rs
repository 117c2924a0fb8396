//! Bridges that carry subjects: which they are, and whether what they bridge is judged.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use palisade_compiler::model::Family;
use palisade_compiler::program::Program;
use palisade_dataplane::bridges::{self, BridgeFilter, Placement};
use palisade_dataplane::host::HostFacts;

/// Where the isolated addresses of a program are.
///
/// # Errors
///
/// Those of a netlink socket.
pub fn find(program: &Program) -> io::Result<Placement> {
    let subjects: BTreeSet<IpAddr> =
        program.iter().flat_map(|(_, t)| t.local_in.iter().chain(&t.local_out)).copied().collect();
    if subjects.is_empty() { Ok(Placement::default()) } else { Placement::find(&subjects) }
}

/// What the tables must hold of the host.
pub fn facts(placement: &Placement) -> HostFacts {
    HostFacts { bridges: placement.bridges.clone() }
}

/// What came of making bridged packets pass the forward hook.
#[derive(Debug, Default)]
pub struct Switched {
    /// The families for which it was off.
    pub were_off: Vec<Family>,
    /// What policy speaks of and the forward hook does not see.
    pub gaps: Vec<String>,
}

/// Makes bridged packets pass the forward hook, if packets of subjects may be bridged.
pub fn switch_on(placement: &Placement) -> Switched {
    let mut switched = Switched::default();
    if placement.may_be_bridged() {
        for family in Family::ALL {
            match bridges::switch_on(family) {
                Ok(BridgeFilter::Off) => switched.were_off.push(family),
                Ok(BridgeFilter::On | BridgeFilter::Absent) => {}
                Err(error) => switched.gaps.push(format!("{family:?} within a bridge: {error}")),
            }
        }
    }
    if let Some(subject) = placement.unplaced.first() {
        switched.gaps.push(format!(
            "{} isolated addresses ({subject}, ...) have no route of their own here; if they are on one bridge, IPv6 link-local \
             addresses and router advertisements between them pass: give the bridge an address of the pods' network",
            placement.unplaced.len()
        ));
    }
    if let Some(subject) = placement.tagged.first() {
        switched.gaps.push(format!(
            "{} isolated addresses ({subject}, ...) are reached by a VLAN of a bridge: packets between two pods of that VLAN are not \
             judged; give each pod an interface of its own, or a bridge without VLANs",
            placement.tagged.len()
        ));
    }
    switched
}
