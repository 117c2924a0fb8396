//! Bridges that carry pods, and whether what they bridge passes the forward hook.
//!
//! Pods on one bridge reach each other without routing. Their packets meet our rules only by `br_netfilter`, with the
//! bridge as input and output interface; the skeleton's set `bridges` holds which bridges these are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;

use palisade_compiler::model::Family;
use thiserror::Error;

use crate::netlink::route::{Link, Routes};

/// Where the subjects are, as the routing table of a network namespace tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// The interface indexes of the bridges that reach some of them.
    pub bridges: BTreeSet<u32>,
    /// Those that no route leads to but by a gateway or by default, where there are bridges that they may be on: nothing
    /// tells which.
    pub unplaced: BTreeSet<IpAddr>,
    /// Those that are reached by a VLAN of a bridge.
    pub tagged: BTreeSet<IpAddr>,
}

impl Placement {
    /// In the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// Those of a netlink socket.
    pub fn find(subjects: &BTreeSet<IpAddr>) -> io::Result<Self> {
        let mut routes = Routes::open()?;
        let links = routes.links()?;
        Self::among(&links, subjects, |subject| routes.device(subject))
    }

    fn among(
        links: &BTreeMap<u32, Link>,
        subjects: &BTreeSet<IpAddr>,
        mut device: impl FnMut(IpAddr) -> io::Result<Option<u32>>,
    ) -> io::Result<Self> {
        let is_bridge = |index: u32| links.get(&index) == Some(&Link::Bridge);
        let mut placement = Self::default();
        if !links.values().any(|link| *link == Link::Bridge) {
            return Ok(placement);
        }
        for &subject in subjects {
            let Some(index) = device(subject)? else {
                placement.unplaced.insert(subject);
                continue;
            };
            match links.get(&index) {
                Some(Link::Bridge) => _ = placement.bridges.insert(index),
                Some(Link::Vlan(on)) if is_bridge(*on) => _ = placement.tagged.insert(subject),
                Some(Link::Vlan(_)) | None => {}
            }
        }
        Ok(placement)
    }

    /// Whether packets between subjects may be bridged, so that they must be made to pass the forward hook.
    pub fn may_be_bridged(&self) -> bool {
        !self.bridges.is_empty() || !self.unplaced.is_empty()
    }
}

/// Whether bridged packets of a family pass the forward hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BridgeFilter {
    On,
    Off,
    /// `br_netfilter` is not loaded: bridged packets pass no rule of ours.
    Absent,
}

/// Why bridged packets cannot be made to pass the forward hook.
#[derive(Debug, Error)]
pub enum BridgeFilterError {
    #[error(
        "br_netfilter is not loaded, so packets between pods on one bridge are not judged: load the module \
         (modprobe br_netfilter)"
    )]
    Absent,
    #[error(
        "{path} is 0 and cannot be set ({source}), so packets between pods on one bridge are not judged: set it to 1 \
         on the host (sysctl), or run with a writable /proc/sys"
    )]
    NotWritable { path: &'static str, source: io::Error },
    #[error("{path} cannot be read ({source})")]
    NotReadable { path: &'static str, source: io::Error },
}

/// The sysctl of a family: one in each network namespace since Linux 5.3.
fn path(family: Family) -> &'static str {
    match family {
        Family::V4 => "/proc/sys/net/bridge/bridge-nf-call-iptables",
        Family::V6 => "/proc/sys/net/bridge/bridge-nf-call-ip6tables",
    }
}

/// The state in the network namespace of the calling thread.
///
/// # Errors
///
/// `NotReadable`.
pub fn bridge_filter(family: Family) -> Result<BridgeFilter, BridgeFilterError> {
    let path = path(family);
    match fs::read_to_string(path) {
        Ok(value) if value.trim() == "0" => Ok(BridgeFilter::Off),
        Ok(_) => Ok(BridgeFilter::On),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BridgeFilter::Absent),
        Err(source) => Err(BridgeFilterError::NotReadable { path, source }),
    }
}

/// Makes bridged packets of the family pass the forward hook in the network namespace of the calling thread. Returns
/// how it was before.
///
/// # Errors
///
/// All of `BridgeFilterError`; nothing was changed then.
pub fn switch_on(family: Family) -> Result<BridgeFilter, BridgeFilterError> {
    let before = bridge_filter(family)?;
    let path = path(family);
    match before {
        BridgeFilter::On => {}
        BridgeFilter::Absent => return Err(BridgeFilterError::Absent),
        BridgeFilter::Off => {
            fs::write(path, "1")
                .map_err(|source| BridgeFilterError::NotWritable { path, source })?;
        }
    }
    Ok(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: not every kernel has VLANs to try it with.
    #[test]
    fn a_vlan_of_a_bridge_is_told_and_any_other_is_not() {
        let links = [(3, Link::Bridge), (4, Link::Vlan(3)), (5, Link::Vlan(2))].into();
        let address = |n: u8| IpAddr::from([10, 0, 0, n]);
        let subjects = (2..=6).map(address).collect();
        let device = |subject| Ok((2..=5).find(|&n| subject == address(n)).map(u32::from));
        let placement = Placement::among(&links, &subjects, device).unwrap();
        let wanted = Placement {
            bridges: [3].into(),
            tagged: [address(4)].into(),
            unplaced: [address(6)].into(),
        };
        assert_eq!(placement, wanted);
    }
}
