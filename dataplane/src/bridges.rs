//! Bridges that carry pods, and whether what they bridge passes the forward hook.
//!
//! Pods on one bridge reach each other without routing. Their packets meet our rules only by `br_netfilter`, with the
//! bridge as input and output interface; the skeleton's set `bridges` holds which bridges these are.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;

use palisade_compiler::model::Family;
use thiserror::Error;

use crate::netlink::route::Routes;

/// The interface indexes of the bridges through which some of the addresses are reached, in the network namespace of
/// the calling thread: as the routing table says, by the bridge itself (not by a VLAN on it). Addresses without a
/// route count for nothing.
///
/// # Errors
///
/// Those of a netlink socket.
pub fn carrying(addresses: &BTreeSet<IpAddr>) -> io::Result<BTreeSet<u32>> {
    let mut routes = Routes::open()?;
    let bridges = routes.bridges()?;
    let mut carrying = BTreeSet::new();
    for &address in addresses {
        carrying.extend(routes.device(address)?.filter(|index| bridges.contains(index)));
    }
    Ok(carrying)
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
