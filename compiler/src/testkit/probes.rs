//! Connections at the boundaries of the blocks, ports and addresses in a cluster's policies.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::rng::Rng;
use crate::model::{Connection, Direction, Family, Peer, Peers, PortSpec, Ports, Protocol};
use crate::snapshot::Snapshot;

/// The number of connections that are drawn for a cluster.
pub const PROBES: usize = 300;

/// Addresses that no generated pod has: one of the pods' range and one outside of all blocks, for each family.
const UNKNOWN: [&str; 4] = ["10.0.0.77", "198.51.100.1", "fd00::77", "2001:db8:ffff::1"];

/// Connections between addresses that policies may distinguish: pods, nodes, unknown addresses, and the first, last and
/// neighbouring addresses of every block and exception. The ports are the bounds of every port range, one less and one
/// more. Both ends are of the same family.
pub fn probes(snapshot: &Snapshot, rng: &mut Rng) -> Vec<Connection> {
    let pods: BTreeSet<IpAddr> = snapshot.pods().flat_map(|pod| pod.addresses.iter()).collect();
    let mut others: BTreeSet<IpAddr> = UNKNOWN.iter().map(|text| text.parse().unwrap()).collect();
    others.extend(snapshot.nodes().flat_map(|node| node.addresses.iter().copied()));
    for net in blocks(snapshot) {
        others.extend(edges(net));
    }
    let ports: Vec<u16> = ports(snapshot).into_iter().collect();
    let of = |family: Family, set: &BTreeSet<IpAddr>| -> Vec<IpAddr> {
        set.iter().copied().filter(|&a| Family::of(a) == family).collect()
    };
    let pools = Family::ALL.map(|family| (of(family, &pods), of(family, &others)));
    let mut found = Vec::with_capacity(PROBES);
    while found.len() < PROBES {
        // Both families are drawn even if one has no pods: no connection of it is judged, but its rules must still be
        // right.
        let (pods, others) = &pools[usize::from(rng.chance(35))];
        let mut end = |percent| {
            let pool = if rng.chance(percent) && !pods.is_empty() { pods } else { others };
            rng.pick(pool)
        };
        let (from, to) = (end(70), end(70));
        let icmp = if from.is_ipv4() { 1 } else { 58 };
        let protocol = rng.pick(&[6, 6, 6, 6, 17, 17, 132, 132, icmp, 47]);
        let port = match Protocol::from_number(protocol) {
            Some(_) => rng.pick(&ports),
            None => 0,
        };
        found.push(Connection { from, to, protocol, port });
    }
    found
}

fn blocks(snapshot: &Snapshot) -> BTreeSet<IpNet> {
    let mut found = BTreeSet::new();
    for policy in snapshot.policies() {
        let rules = Direction::ALL.into_iter().flat_map(|direction| policy.rules(direction));
        for rule in rules {
            let Peers::AnyOf(peers) = &rule.peers else { continue };
            for peer in peers {
                if let Peer::Block(block) = peer {
                    found.insert(block.cidr);
                    found.extend(&block.except);
                }
            }
        }
    }
    found
}

/// The first and last addresses of a network, and their neighbours on both sides if there are any.
fn edges(net: IpNet) -> impl Iterator<Item = IpAddr> {
    let (first, last) = (net.network(), net.broadcast());
    let next = |address: IpAddr, up: bool| -> Option<IpAddr> {
        match address {
            IpAddr::V4(v4) => {
                let n = u32::from(v4);
                let n = if up { n.checked_add(1) } else { n.checked_sub(1) }?;
                Some(Ipv4Addr::from(n).into())
            }
            IpAddr::V6(v6) => {
                let n = u128::from(v6);
                let n = if up { n.checked_add(1) } else { n.checked_sub(1) }?;
                Some(Ipv6Addr::from(n).into())
            }
        }
    };
    let of = move |edge| [Some(edge), next(edge, false), next(edge, true)];
    [first, last].into_iter().flat_map(of).flatten()
}

/// The bounds of every port range and every named port, one less and one more, and port 0.
fn ports(snapshot: &Snapshot) -> BTreeSet<u16> {
    let mut bounds: BTreeSet<u16> = [0, 31_337, u16::MAX].into();
    bounds.extend(snapshot.pods().flat_map(|pod| pod.ports.iter().map(|port| port.port)));
    for policy in snapshot.policies() {
        let rules = Direction::ALL.into_iter().flat_map(|direction| policy.rules(direction));
        for rule in rules {
            let Ports::AnyOf(ports) = &rule.ports else { continue };
            for port in ports {
                if let PortSpec::Range { first, last } = port.port {
                    bounds.extend([first, last]);
                }
            }
        }
    }
    let around = |port: u16| [port.saturating_sub(1), port, port.saturating_add(1)];
    bounds.into_iter().flat_map(around).collect()
}
