//! The rules against tunnels: no pod of this node sends a node what the cluster's overlay network would take for a packet of its own.
//!
//! The overlay takes the packet inside for one that another node sent, with whatever source it has, so that who can send one is no longer bound by the source guard or by any policy. The
//! addresses of nodes, the ports of UDP and the pods that may do so all the same are facts of the host.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{ChainName, Expr, NetworkProtocol, Rule, SetName, Side, TCP};
use crate::model::Family;

/// Protocols whose payload is a packet: IPv4 (RFC 2003), IPv6 (RFC 4213) and generic routing encapsulation (RFC 2784).
const ENCAPSULATIONS: [u8; 3] = [4, 41, 47];

/// What enters by the interfaces of pods. TCP carries no packets for the kernel, so most packets pay for a comparison.
pub(super) fn of_interfaces(family: Family) -> Vec<Rule> {
    let sent_by = |interfaces| {
        to_node(family).map(|to| {
            vec![
                Expr::ProtocolIsNot(TCP),
                Expr::InterfaceIn(Side::Source, interfaces),
                to,
                Expr::Jump(ChainName::Tunnels),
            ]
        })
    };
    [SetName::PodInterfaces, SetName::FirstInterfaces].map(sent_by).concat()
}

/// What enters by a port of a bridge.
pub(super) fn of_port(family: Family) -> [Rule; 2] {
    to_node(family).map(|to| {
        vec![
            Expr::ProtocolIsNot(TCP),
            Expr::NetworkProtocolIs(NetworkProtocol::from(family)),
            to,
            Expr::Jump(ChainName::Tunnels),
        ]
    })
}

/// What a node takes for its own: its addresses, and groups of hosts. (Of IPv4 these are the addresses from 224.0.0.0 on, the last of which is everybody's.)
fn to_node(family: Family) -> [Expr; 2] {
    let groups = match family {
        Family::V4 => IpNet::from(Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 3)),
        Family::V6 => {
            IpNet::from(Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8))
        }
    };
    [
        Expr::AddressIn(Side::Destination, SetName::nodes(family)),
        Expr::InSubnet(Side::Destination, groups),
    ]
}

/// Of packets to nodes.
pub(super) fn rules(exempt: &[Rule]) -> Vec<Rule> {
    let encapsulates = |number| vec![Expr::Protocol(number), Expr::Goto(ChainName::Encapsulated)];
    let by_udp = vec![Expr::UdpPortIn(SetName::TunnelPorts), Expr::Goto(ChainName::Encapsulated)];
    exempt.iter().cloned().chain(ENCAPSULATIONS.map(encapsulates)).chain([by_udp]).collect()
}

/// Ends the chain for the pods that may send such packets.
pub(super) fn exempt(family: Family) -> Rule {
    vec![Expr::AddressIn(Side::Source, SetName::tunnel_sources(family)), Expr::Return]
}
