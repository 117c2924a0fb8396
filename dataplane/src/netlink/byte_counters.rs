//! Has connection tracking count packets and bytes where `/proc/sys` cannot be written, as in an unprivileged container.

use std::io;

use super::batch::rule_about_connections;
use super::instruction::ct_key;
use super::sys::{Bus, Socket};

/// Has the kernel check a rule that reads a connection's bytes, and discard it. The check alone turns on
/// `nf_conntrack_acct` in the network namespace of the calling thread (`nft_ct_get_init`, net/netfilter/nft_ct.c). Nothing else
/// comes to be, and whether it worked the setting says.
///
/// # Errors
///
/// Those of a netlink socket.
pub(crate) fn turn_on_byte_counters() -> io::Result<()> {
    let socket = Socket::open(Bus::Netfilter)?;
    // Nobody else has the port id, so nobody else has the name.
    let table = format!("palisade-probe-{}", socket.port());
    socket.send(&rule_about_connections(&table, ct_key::BYTES)).map(drop)
}
