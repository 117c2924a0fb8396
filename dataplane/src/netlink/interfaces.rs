//! The interfaces of a network namespace by name, for those who look at a host.

use std::io;

use super::rtnetlink::{Client, number};
use super::wire::{self, Attribute, Attributes, flag};

/// `RTM_GETLINK` (linux/rtnetlink.h), and the length of `struct ifinfomsg`.
const GETLINK: u16 = 18;
const LINK_HEADER: usize = 16;

/// `IFLA_*` (linux/if_link.h).
const IFLA_NAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_XDP: u16 = 43;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;

/// `IFF_UP` (linux/if.h).
const UP: u32 = 1;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    /// As in `bridge` or `veth`; `None` for hardware and the loopback interface.
    pub kind: Option<String>,
    /// The index of the bridge (or bond, ...) that it is a port of.
    pub master: Option<u32>,
    pub mtu: Option<u32>,
    pub is_up: bool,
    /// Whether an XDP program sees its packets, and the program's id where the kernel tells it.
    pub xdp: Option<Option<u32>>,
}

/// All interfaces of the calling thread's network namespace, by index.
///
/// # Errors
///
/// Those of a netlink socket.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    read(&mut Client::open(false)?)
}

pub(super) fn read(client: &mut Client) -> io::Result<Vec<Interface>> {
    let mut found = Vec::new();
    client.ask(GETLINK, flag::DUMP, &[0; LINK_HEADER], |message| found.extend(one(&message)))?;
    found.sort_by_key(|interface| interface.index);
    Ok(found)
}

pub(super) fn one(message: &wire::Message<'_>) -> Option<Interface> {
    let index = message.payload.get(4..8).and_then(number)?;
    let flags = message.payload.get(8..12).and_then(number)?;
    let attributes = Attributes(message.payload.get(LINK_HEADER..)?);
    let numbered = |kind| attributes.get(kind).and_then(|a| number(a.value));
    let info = attributes.get(IFLA_LINKINFO).map(Attribute::nested).unwrap_or_default();
    let xdp = attributes.get(IFLA_XDP).map(Attribute::nested).filter(|xdp| {
        let mode = xdp.get(IFLA_XDP_ATTACHED).and_then(|mode| mode.value.first());
        mode.is_some_and(|mode| *mode != 0)
    });
    Some(Interface {
        index,
        name: attributes.get(IFLA_NAME).and_then(Attribute::string)?.to_owned(),
        kind: info.get(IFLA_INFO_KIND).and_then(Attribute::string).map(str::to_owned),
        master: numbered(IFLA_MASTER),
        mtu: numbered(IFLA_MTU),
        is_up: flags & UP != 0,
        xdp: xdp.map(|xdp| xdp.get(IFLA_XDP_PROG_ID).and_then(|id| number(id.value))),
    })
}

#[cfg(test)]
mod tests {
    use super::super::wire::{close_nest, open_nest, put, put_str};
    use super::*;

    /// As `rtnl_fill_ifinfo` writes one.
    fn link(kind: &str, xdp_mode: u8) -> Interface {
        let mut out = vec![0; LINK_HEADER];
        out[4..8].copy_from_slice(&9u32.to_ne_bytes());
        out[8..12].copy_from_slice(&UP.to_ne_bytes());
        put_str(&mut out, IFLA_NAME, "eth0");
        put(&mut out, IFLA_MTU, &1500u32.to_ne_bytes());
        put(&mut out, IFLA_MASTER, &2u32.to_ne_bytes());
        let nest = open_nest(&mut out, IFLA_LINKINFO);
        put_str(&mut out, IFLA_INFO_KIND, kind);
        close_nest(&mut out, nest);
        let nest = open_nest(&mut out, IFLA_XDP);
        put(&mut out, IFLA_XDP_ATTACHED, &[xdp_mode]);
        if xdp_mode != 0 {
            put(&mut out, IFLA_XDP_PROG_ID, &7u32.to_ne_bytes());
        }
        close_nest(&mut out, nest);
        one(&wire::Message { kind: 16, flags: 0, sequence: 0, payload: &out }).unwrap()
    }

    #[test]
    fn an_interface_is_read_with_what_sees_its_packets() {
        let plain = link("veth", 0);
        assert_eq!((plain.index, plain.name.as_str(), plain.is_up), (9, "eth0", true));
        assert_eq!((plain.kind.as_deref(), plain.master), (Some("veth"), Some(2)));
        assert_eq!((plain.mtu, plain.xdp), (Some(1500), None));
        assert_eq!(link("veth", 1).xdp, Some(Some(7)));
    }
}
