//! The rules of the bridge table: what passes between the ports of a bridge by addresses that policy does not know.
//!
//! Neighbours on a bridge reach each other by IPv6 link-local addresses, which no policy names, and a router advertisement
//! or a redirect from a pod would have its neighbours use addresses or routers that it chose. The tables of IP do not see
//! the ports, and connection tracking takes a redirect that quotes a tracked packet for related. Therefore these frames are
//! dropped here, before the tables of IP, and only where they enter or leave by a port that leads to a subject.

use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};

use super::{
    ChainName, Expr, ND_HOP_LIMIT, ND_NEIGHBOR_ADVERT, ND_NEIGHBOR_SOLICIT, ND_REDIRECT,
    ND_ROUTER_ADVERT, Rule, SetName, Side,
};

pub(super) fn rules(chain: ChainName) -> Vec<Rule> {
    match chain {
        ChainName::Forward => [Side::Source, Side::Destination].map(to_guard).into(),
        ChainName::Guard => guard(),
        _ => Vec::new(),
    }
}

fn to_guard(side: Side) -> Rule {
    let port = Expr::InterfaceIn(side, SetName::BridgePorts);
    vec![Expr::IsIpv6, port, Expr::Goto(ChainName::Guard)]
}

fn guard() -> Vec<Rule> {
    let subnet = |address: [u16; 8], length| {
        IpNet::from(Ipv6Net::new_assert(Ipv6Addr::from(address), length))
    };
    let link_local = subnet([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10);
    let multicast = subnet([0xff00, 0, 0, 0, 0, 0, 0, 0], 8);
    let neighbour = |kind| {
        vec![Expr::IsIpv6, Expr::Icmpv6Type(kind), Expr::HopLimit(ND_HOP_LIMIT), Expr::Accept]
    };
    let drop = |matched| vec![Expr::IsIpv6, matched, Expr::Drop];
    vec![
        neighbour(ND_NEIGHBOR_SOLICIT),
        neighbour(ND_NEIGHBOR_ADVERT),
        drop(Expr::Icmpv6Type(ND_ROUTER_ADVERT)),
        drop(Expr::Icmpv6Type(ND_REDIRECT)),
        drop(Expr::InSubnet(Side::Source, link_local)),
        drop(Expr::InSubnet(Side::Destination, link_local)),
        drop(Expr::InSubnet(Side::Destination, multicast)),
    ]
}
