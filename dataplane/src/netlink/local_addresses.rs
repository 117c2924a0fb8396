//! The addresses of a network namespace itself.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;

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
    Ok(local_networks()?.into_iter().map(|network| network.addr()).collect())
}

/// The same addresses, each with the length of its network's prefix.
///
/// # Errors
///
/// Those of a netlink socket.
pub fn local_networks() -> io::Result<BTreeSet<IpNet>> {
    let mut found = BTreeSet::new();
    // `struct ifaddrmsg` of any family and interface.
    let request = [0; 8];
    Client::open(false)?.ask(GETADDR, flag::DUMP, &request, |message| {
        if message.kind == NEWADDR
            && let (Some(address), Some(&length)) = (address_of(&message), message.payload.get(1))
        {
            found.extend(IpNet::new(address, length));
        }
    })?;
    Ok(found)
}
