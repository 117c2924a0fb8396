//! The rules of the bridge table: what enters by the ports of a bridge, and what passes between them, that the tables of IP do not see or come too late for.
//!
//! First, before connection tracking sees a packet, the source guard of pods on bridges: what enters by a pod's port has one of that pod's addresses as its source, also in ARP and
//! neighbour discovery, by which a pod would otherwise have its neighbours send it what is for another. By a port that leads to a pod nobody knows yet, nothing may enter
//! in the name of a pod that is known.
//!
//! Second, where a bridge carries subjects, the frames between its ports. Policy is about IP addresses of single pods. Tagged frames and other protocols, broadcast and multicast, and link-local
//! addresses reach a neighbour past it, and the neighbour's plain answer makes an established connection of them. A router advertisement or a redirect from a pod would have
//! its neighbours use addresses or routers that it chose.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    ARP_LENGTH, ChainName, Expr, ICMPV6, ND_HOP_LIMIT, ND_LENGTH, ND_NEIGHBOR_ADVERT,
    ND_NEIGHBOR_SOLICIT, ND_REDIRECT, ND_ROUTER_ADVERT, NetworkProtocol, Rule, SCTP, SetName, Side,
    TCP, UDP, VlanTag, counted_drop, tunnels,
};
use crate::model::Family;

/// The ports of DHCP (RFC 2131, 4.1) and of DHCPv6 (RFC 8415, 7.2): the client's and the server's.
const DHCP: (u16, u16) = (68, 67);
const DHCPV6: (u16, u16) = (546, 547);

const IPV4: Expr = Expr::NetworkProtocolIs(NetworkProtocol::Ipv4);
const IPV6: Expr = Expr::NetworkProtocolIs(NetworkProtocol::Ipv6);
const ARP: Expr = Expr::NetworkProtocolIs(NetworkProtocol::Arp);

pub(super) fn rules(chain: ChainName) -> Vec<Rule> {
    match chain {
        ChainName::Prerouting => prerouting(),
        ChainName::SourceGuard => source_guard(),
        ChainName::Advertisement => advertisement(),
        ChainName::Unidentified => unidentified(),
        ChainName::Fragments => fragments(),
        ChainName::Input => input(),
        ChainName::Forged | ChainName::Encapsulated => counted_drop(),
        ChainName::Tunnels => {
            let exempt = Family::ALL.map(|family| {
                let of_family = Expr::NetworkProtocolIs(NetworkProtocol::from(family));
                [&[of_family][..], &tunnels::exempt(family)].concat()
            });
            tunnels::rules(&exempt)
        }
        ChainName::Forward => forward(),
        ChainName::Frames => frames(),
        ChainName::FramesIpv6 => frames_ipv6(),
        ChainName::GuardIpv4 => guard_ipv4(),
        ChainName::GuardIpv6 => guard_ipv6(),
        _ => Vec::new(),
    }
}

fn prerouting() -> Vec<Rule> {
    let enters = |ports, chain| vec![Expr::InterfaceIn(Side::Source, ports), Expr::Goto(chain)];
    vec![
        enters(SetName::GuardedPorts, ChainName::SourceGuard),
        enters(SetName::UnidentifiedPorts, ChainName::Unidentified),
    ]
}

/// A bridge learns from every frame behind which port its sender is, and would send a port what is for another. Besides a port's own sources, what claims no address passes: who has none yet asks for one or finds out whether it is free, as on routed interfaces. Of other protocols than
/// these there is no source to look at.
fn source_guard() -> Vec<Rule> {
    let from = |address: Ipv6Addr| Expr::InSubnet(Side::Source, Ipv6Net::from(address).into());
    let own = |set| Expr::InterfaceAddressIn(Side::Source, set);
    let any = |address: Ipv4Addr| IpNet::from(Ipv4Net::from(address));
    let from_nowhere = Expr::InSubnet(Side::Source, any(Ipv4Addr::UNSPECIFIED));
    let to_all = Expr::InSubnet(Side::Destination, any(Ipv4Addr::BROADCAST));
    let unspecified = from(Ipv6Addr::UNSPECIFIED);
    let solicitation = Expr::Icmpv6Type(ND_NEIGHBOR_SOLICIT);
    let forged = Expr::Goto(ChainName::Forged);
    let mut rules = vec![vec![Expr::SenderMacNotIn(SetName::PortMacs), forged]];
    rules.extend(whatever_the_source());
    rules.extend([
        vec![IPV4, own(SetName::PortSourcesIpv4), Expr::Accept],
        vec![IPV6, Expr::Icmpv6Type(ND_NEIGHBOR_ADVERT), Expr::Goto(ChainName::Advertisement)],
        vec![IPV6, own(SetName::PortSourcesIpv6), Expr::Accept],
        vec![ARP, Expr::ArpSenderIn(SetName::PortSourcesIpv4), Expr::Accept],
        vec![ARP, Expr::ArpProbe, Expr::Accept],
        vec![IPV4, from_nowhere, to_all, Expr::Accept],
        // Whether an address is free is asked for the port's own only: the question takes it from others (RFC 4862, 5.4.3).
        vec![IPV6, solicitation, unspecified, Expr::TargetIn(SetName::PortTargets), Expr::Accept],
        vec![IPV6, solicitation, forged],
        vec![IPV6, unspecified, Expr::Accept],
        vec![IPV4, forged],
        vec![IPV6, forged],
        vec![ARP, forged],
    ]);
    rules
}

/// Tunnels, and fragments that hide what they are.
fn whatever_the_source() -> Vec<Rule> {
    let tunnels = Family::ALL.map(tunnels::of_port).concat();
    let fragments = vec![IPV6, Expr::IsFragment, Expr::Jump(ChainName::Fragments)];
    tunnels.into_iter().chain([fragments]).collect()
}

/// Where other headers come between the fragment header and the message, the first fragment may end before the message begins. The bridge puts the fragments together afterwards, and a neighbour would get a
/// message that nobody looked at. Senders of honest packets have no such headers.
fn fragments() -> Vec<Rule> {
    let of = |protocol| vec![IPV6, Expr::FragmentOf(protocol), Expr::Return];
    let known = [UDP, TCP, ICMPV6, SCTP].map(of);
    known.into_iter().chain([vec![Expr::Goto(ChainName::Forged)]]).collect()
}

/// What is for the groups that no bridge passes on meets no other chain: the bridge learns from it who sent it, and hands it to the host as if it had come by an interface that is
/// routed. (What is for the nearest bridges, LLDP's group, does not even meet this one: `no_linklocal_learn` of the bridge and the tables of IP see to it.)
fn input() -> Vec<Rule> {
    [SetName::GuardedPorts, SetName::UnidentifiedPorts]
        .map(|ports| {
            let by_pod = Expr::InterfaceIn(Side::Source, ports);
            vec![Expr::ToReservedGroup, by_pod, Expr::Goto(ChainName::Forged)]
        })
        .into()
}

fn advertisement() -> Vec<Rule> {
    let own_source = Expr::InterfaceAddressIn(Side::Source, SetName::PortSourcesIpv6);
    vec![
        vec![Expr::TargetIn(SetName::PortTargets), IPV6, own_source, Expr::Accept],
        vec![Expr::Goto(ChainName::Forged)],
    ]
}

fn unidentified() -> Vec<Rule> {
    let of_a_pod = |set| Expr::AddressIn(Side::Source, set);
    let advertisement = Expr::Icmpv6Type(ND_NEIGHBOR_ADVERT);
    let forged = Expr::Goto(ChainName::Forged);
    let mut rules = vec![vec![Expr::SenderMacIn(SetName::PodMacs), forged]];
    rules.extend(whatever_the_source());
    rules.extend([
        vec![IPV4, of_a_pod(SetName::NodesIpv4), forged],
        vec![IPV6, of_a_pod(SetName::NodesIpv6), forged],
        vec![ARP, Expr::ArpSenderIn(SetName::NodesIpv4), forged],
        vec![IPV4, of_a_pod(SetName::PodAddressesIpv4), forged],
        vec![IPV6, of_a_pod(SetName::PodAddressesIpv6), forged],
        vec![ARP, Expr::ArpSenderIn(SetName::PodAddressesIpv4), forged],
        vec![IPV6, advertisement, Expr::TargetIn(SetName::PortTargets), Expr::Accept],
        vec![IPV6, advertisement, forged],
    ]);
    rules
}

fn forward() -> Vec<Rule> {
    let by = |side, ports| vec![Expr::InterfaceIn(side, ports), Expr::Goto(ChainName::Frames)];
    vec![
        by(Side::Source, SetName::PodPorts),
        by(Side::Destination, SetName::BridgePorts),
        by(Side::Source, SetName::BridgePorts),
    ]
}

/// Frames from a pod, and to and from subjects.
fn frames() -> Vec<Rule> {
    let tagged = |tag| vec![Expr::Tagged(tag), Expr::Drop];
    let of_subject = |side| vec![IPV4, by_subject(side), Expr::Goto(ChainName::GuardIpv4)];
    let mut rules: Vec<Rule> = VlanTag::ALL.map(tagged).into();
    rules.extend([Side::Source, Side::Destination].map(of_subject));
    rules.extend([
        vec![IPV4, Expr::Accept],
        vec![IPV6, Expr::Goto(ChainName::FramesIpv6)],
        vec![ARP, Expr::LengthAtMost(ARP_LENGTH), Expr::Accept],
        vec![Expr::Drop],
    ]);
    rules
}

const fn by_subject(side: Side) -> Expr {
    Expr::InterfaceIn(side, SetName::BridgePorts)
}

fn frames_ipv6() -> Vec<Rule> {
    let neighbour = |kind| {
        let (near, short) = (Expr::HopLimit(ND_HOP_LIMIT), Expr::LengthAtMost(ND_LENGTH));
        vec![IPV6, Expr::Icmpv6Type(kind), near, short, Expr::Accept]
    };
    let of_router = |kind| {
        let by_router = Expr::InterfaceIn(Side::Source, SetName::RouterPorts);
        vec![IPV6, Expr::Icmpv6Type(kind), by_router, Expr::Accept]
    };
    let drop = |kind| vec![IPV6, Expr::Icmpv6Type(kind), Expr::Drop];
    let (neighbours, routers) =
        ([ND_NEIGHBOR_SOLICIT, ND_NEIGHBOR_ADVERT], [ND_ROUTER_ADVERT, ND_REDIRECT]);
    let mut rules: Vec<Rule> = neighbours.map(neighbour).into();
    rules.extend(neighbours.map(drop));
    rules.extend(routers.map(of_router));
    rules.extend(routers.map(drop));
    let sides = [Side::Source, Side::Destination];
    rules.extend(sides.map(|side| vec![by_subject(side), Expr::Goto(ChainName::GuardIpv6)]));
    rules
}

/// Who asks for an address asks everybody. Servers are where no pod is.
fn of_dhcp(protocol: Expr, (client, server): (u16, u16)) -> [Rule; 2] {
    let elsewhere = |side| Expr::InterfaceNotIn(side, SetName::PodPorts);
    [
        vec![protocol, Expr::UdpPorts(client, server), elsewhere(Side::Destination), Expr::Accept],
        vec![protocol, Expr::UdpPorts(server, client), elsewhere(Side::Source), Expr::Accept],
    ]
}

/// What goes from or to a subject by the port of another pod goes to one of that port's addresses, where these are known: others that its interface may have are nobody's for policy, and a frame may go to one
/// pod with a packet to another.
fn to_other_address(protocol: Expr, sources: SetName) -> Rule {
    let guarded = Expr::InterfaceIn(Side::Destination, SetName::GuardedPorts);
    let other = Expr::InterfaceAddressNotIn(Side::Destination, sources);
    vec![guarded, protocol, other, Expr::Drop]
}

fn guard_ipv4() -> Vec<Rule> {
    let to = |address, length| {
        let subnet = IpNet::from(Ipv4Net::new_assert(address, length));
        vec![IPV4, Expr::InSubnet(Side::Destination, subnet), Expr::Drop]
    };
    let mut rules: Vec<Rule> = of_dhcp(IPV4, DHCP).into();
    rules.extend([
        vec![Expr::ToGroup, Expr::Drop],
        to(Ipv4Addr::new(224, 0, 0, 0), 4),
        to(Ipv4Addr::BROADCAST, 32),
        to_other_address(IPV4, SetName::PortSourcesIpv4),
    ]);
    rules
}

fn guard_ipv6() -> Vec<Rule> {
    let of = |side, address: [u16; 8], length| {
        let subnet = IpNet::from(Ipv6Net::new_assert(Ipv6Addr::from(address), length));
        vec![IPV6, Expr::InSubnet(side, subnet), Expr::Drop]
    };
    let (link_local, multicast) = ([0xfe80, 0, 0, 0, 0, 0, 0, 0], [0xff00, 0, 0, 0, 0, 0, 0, 0]);
    let mut rules: Vec<Rule> = of_dhcp(IPV6, DHCPV6).into();
    rules.extend([
        vec![Expr::ToGroup, Expr::Drop],
        of(Side::Source, link_local, 10),
        of(Side::Destination, link_local, 10),
        of(Side::Destination, multicast, 8),
        to_other_address(IPV6, SetName::PortSourcesIpv6),
    ]);
    rules
}
