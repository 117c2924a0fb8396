//! Whether what a bridge carries between its ports passes the forward hook.
//!
//! Pods on one bridge reach each other without routing. Their packets meet our rules only by `br_netfilter`, with the
//! bridge as input and output interface.

use std::fs;
use std::io;

use palisade_compiler::model::Family;
use thiserror::Error;

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
    #[error(
        "{path} is 0, so packets between pods on one bridge are not judged: set it to 1 (sysctl), or run palisade run or apply, \
         which do"
    )]
    Off { path: &'static str },
    #[error("{path} cannot be read ({source})")]
    NotReadable { path: &'static str, source: io::Error },
}

/// The sysctl of a family: one in each network namespace since Linux 5.3.
pub const fn path(family: Family) -> &'static str {
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
