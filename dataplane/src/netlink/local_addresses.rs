//! The addresses of a network namespace itself.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

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
    // `struct ifaddrmsg` of any family and interface.
    let request = [0; 8];
    Client::open(false)?.ask(GETADDR, flag::DUMP, &request, |message| {
        if message.kind == NEWADDR {
            found.extend(address_of(&message));
        }
    })?;
    Ok(found)
}
