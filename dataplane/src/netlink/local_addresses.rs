//! The addresses of a network namespace itself.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use ipnet::Ipv4Net;

use super::links::{GETADDR, NEWADDR, address_of};
use super::rtnetlink::Client;
use super::wire::flag;

/// The addresses of all interfaces of the calling thread's network namespace: what goes to and comes from them does not pass
/// the forward hook.
///
/// # Errors
///
/// Those of a netlink socket.
pub fn local_addresses() -> io::Result<BTreeSet<IpAddr>> {
    let mut found = BTreeSet::new();
    dump(|address, _| _ = found.insert(address))?;
    Ok(found)
}

/// The IPv4 addresses by which the networks of the calling thread's network namespace reach all their hosts: the last of each, and the first, which was it once (RFC 1122, 3.3.6).
///
/// # Errors
///
/// Those of a netlink socket.
pub fn broadcast_addresses() -> io::Result<BTreeSet<IpAddr>> {
    let mut found = BTreeSet::new();
    dump(|address, length| {
        if let (IpAddr::V4(address), 0..=30) = (address, length)
            && let Ok(network) = Ipv4Net::new(address, length)
        {
            found.extend([network.broadcast(), network.network()].map(IpAddr::from));
        }
    })?;
    Ok(found)
}

/// Visits each address, with the length of its network's prefix.
fn dump(mut visit: impl FnMut(IpAddr, u8)) -> io::Result<()> {
    // `struct ifaddrmsg` of any family and interface.
    let request = [0; 8];
    Client::open(false)?.ask(GETADDR, flag::DUMP, &request, |message| {
        if message.kind == NEWADDR
            && let (Some(address), Some(&length)) = (address_of(&message), message.payload.get(1))
        {
            visit(address, length);
        }
    })
}
