//! Bridges that carry subjects: which they are, and whether what they bridge is judged.

use std::collections::BTreeSet;
use std::net::IpAddr;

use palisade_compiler::model::Family;
use palisade_compiler::program::{Program, Tables};
use palisade_dataplane::bridges::{self, BridgeFilter};

/// The interface indexes for the set `bridges` of each table, and what should be told.
#[derive(Debug, Default)]
pub struct Bridges {
    pub v4: BTreeSet<u32>,
    pub v6: BTreeSet<u32>,
    pub notes: Vec<String>,
}

/// The bridges of this network namespace that reach a subject. A bridge with an IPv4 subject is guarded in the IPv6 table too:
/// its pods are neighbours there whether or not they have addresses.
pub fn find(program: &Program) -> Bridges {
    let subjects: BTreeSet<IpAddr> =
        [&program.v4, &program.v6].into_iter().flat_map(subjects_of).collect();
    if subjects.is_empty() {
        return Bridges::default();
    }
    match bridges::carrying(&subjects) {
        Ok(found) => Bridges { v4: found.clone(), v6: found, notes: Vec::new() },
        Err(error) => Bridges {
            notes: vec![format!("warning: the bridges of this host cannot be told ({error})")],
            ..Bridges::default()
        },
    }
}

fn subjects_of(tables: &Tables) -> impl Iterator<Item = IpAddr> {
    tables.local_in.union(&tables.local_out).copied()
}

/// Makes bridged packets pass the forward hook where a bridge carries a subject; returns what was changed, and what could not be.
pub fn switch_on(program: &Program) -> Vec<String> {
    if program.v4.bridges.is_empty() && program.v6.bridges.is_empty() {
        return Vec::new();
    }
    let mut notes = Vec::new();
    for family in Family::ALL {
        match bridges::switch_on(family) {
            Ok(BridgeFilter::Off) => notes.push(format!(
                "set the sysctl that passes bridged {family:?} packets to nftables (br_netfilter), which was 0"
            )),
            Ok(BridgeFilter::On | BridgeFilter::Absent) => {}
            Err(error) => notes.push(format!("warning: NOT ENFORCED within a bridge: {error}")),
        }
    }
    notes
}
