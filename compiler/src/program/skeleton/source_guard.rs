//! The rules of the source guard: what enters by a pod's interface has one of that pod's addresses as its source.
//!
//! Policy knows pods by their addresses, so a packet with another pod's address would be judged as that pod's, and the answer to
//! it, which connection tracking then expects, would pass from anybody. Therefore such a packet is dropped before connection tracking sees
//! it. Or only the first packet of each connection is looked at, in the forward hook: a packet that is dropped there begins no connection
//! either, but one that pretends to belong to somebody's connection passes.
//!
//! Which addresses an interface has is a fact of the host. Packets of other interfaces pay for one lookup of their interface.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{ChainName, Expr, Rule, SetName, Side, counted_drop};
use crate::model::Family;

/// A bridge hands frames to the group that is for its neighbours (LLDP) to the host as if they had come by an interface that is routed, and they meet no chain of the bridge table. Nothing else
/// enters by a port.
pub(super) fn prerouting() -> Vec<Rule> {
    let enters = |interfaces| Expr::InterfaceIn(Side::Source, interfaces);
    vec![
        vec![Expr::CameToGroup, enters(SetName::BridgedInterfaces), Expr::Drop],
        vec![enters(SetName::PodInterfaces), Expr::Goto(ChainName::SourceGuard)],
    ]
}

pub(super) fn first() -> Rule {
    let enters = Expr::InterfaceIn(Side::Source, SetName::FirstInterfaces);
    vec![enters, Expr::Jump(ChainName::SourceGuard)]
}

/// Sources that no router passes on get no further than this host: a host that has no address yet asks for one (RFC 2131, 4.1) or
/// finds out whether its address is free (RFC 4862, 5.4.2), and neighbours talk by link-local addresses.
pub(super) fn rules(family: Family) -> Vec<Rule> {
    let from = |subnet| Expr::InSubnet(Side::Source, subnet);
    let mut rules =
        vec![vec![Expr::InterfaceAddressIn(Side::Source, SetName::sources(family)), Expr::Return]];
    match family {
        Family::V4 => {
            let only = |address| IpNet::from(Ipv4Net::from(address));
            let to_all = Expr::InSubnet(Side::Destination, only(Ipv4Addr::BROADCAST));
            rules.push(vec![from(only(Ipv4Addr::UNSPECIFIED)), to_all, Expr::Return]);
        }
        Family::V6 => {
            let link_local = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);
            for subnet in [link_local, Ipv6Net::from(Ipv6Addr::UNSPECIFIED)] {
                rules.push(vec![from(subnet.into()), Expr::Return]);
            }
        }
    }
    rules.extend(counted_drop());
    rules
}
