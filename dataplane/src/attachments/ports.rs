//! The sources of bridge ports that lead to local pods.
//!
//! A bridge has no routes to its pods, so which port is whose is known from the pod's own end of it: the addresses that the interface there has. An ordinary pod cannot change them; one that may
//! configure its network can, and could claim another's. Therefore a port's pod stays the same as long as the port and the pod exist, no pod has two
//! ports, and what counts after that are the addresses that the pod's manifest names. Of what no manifest names, an address is the port's that had it first.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use palisade_compiler::model::Family;
use palisade_compiler::program::element::{Element, MacAddress};
use palisade_compiler::program::sets::SetName;

use super::Attachments;
use crate::host::HostFacts;
use crate::netlink::links::{Link, LinkKind};

/// The sources of the bridge ports that lead to other network namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortSources {
    /// The ports whose pod is known.
    pub guarded: BTreeSet<u32>,
    /// The others.
    pub unidentified: BTreeSet<u32>,
    /// The bridges of guarded ports that learn who is behind a port from frames that meet none of our chains.
    pub learning: BTreeSet<u32>,
    /// Port and address: what the pod's manifest names, addresses that are allowed, and link-local ones.
    pub pairs: BTreeSet<(u32, IpAddr)>,
    /// The Ethernet addresses at guarded ports.
    pub macs: BTreeSet<(u32, MacAddress)>,
    /// The IPv6 addresses at the other ends of unidentified ports.
    pub claimed: BTreeSet<(u32, IpAddr)>,
    /// The addresses of the pods whose ports are known.
    pub located: BTreeSet<IpAddr>,
    /// Addresses of a guarded port's other end that the pod does not have by its manifest. They are no sources.
    pub unnamed: BTreeSet<(u32, IpAddr)>,
    /// Of these, those that the host routes to the port's bridge.
    pub routed: BTreeSet<(u32, IpAddr)>,
    /// Addresses of pods at ports that are not theirs.
    pub disputed: BTreeSet<(u32, IpAddr)>,
}

/// What is known of local pods.
pub trait LocalPods {
    /// The local pod that has the address, by words that no other pod has, before it or after.
    fn owner(&self, address: IpAddr) -> Option<String>;

    /// The addresses of the pod with these words; none where there is none any more.
    fn addresses(&self, pod: &str) -> Vec<IpAddr>;
}

/// What is set of the guard.
#[derive(Debug, Clone, Copy)]
pub struct PortRules<'a> {
    /// Addresses in these ranges are sources of the ports whose other end has them.
    pub allowed: &'a [IpNet],
    /// The addresses of this host, which are no port's.
    pub host: &'a BTreeSet<IpAddr>,
}

impl PortSources {
    /// What the tables must hold for these to be guarded.
    pub fn facts(&self) -> HostFacts {
        let mut facts = HostFacts::default();
        facts.guarded_ports.clone_from(&self.guarded);
        facts.bridged_interfaces = self.guarded.union(&self.unidentified).copied().collect();
        facts.unidentified_ports.clone_from(&self.unidentified);
        for &(port, address) in &self.pairs {
            let sources = SetName::port_sources(Family::of(address));
            facts.insert(sources, Element::Source(port, address));
            if address.is_ipv6() {
                facts.port_targets.insert((port, address));
            }
        }
        facts.port_targets.extend(&self.claimed);
        facts.port_macs.clone_from(&self.macs);
        facts.pod_macs = self.macs.iter().map(|(_, mac)| *mac).collect();
        facts
    }
}

impl Attachments {
    /// The sources of bridge ports, of which those that changed are read again.
    ///
    /// # Errors
    ///
    /// Those of netlink sockets; calling it again goes on from there.
    pub fn port_sources(
        &mut self,
        pods: &impl LocalPods,
        rules: PortRules<'_>,
    ) -> io::Result<PortSources> {
        self.read_ports()?;
        self.identify(pods);
        let mut sources = PortSources::default();
        for (&index, port) in &self.ports {
            if !self.leads_to_a_pod(index) {
                continue;
            }
            match self.pod_of_port.get(&index).zip(port.mac) {
                Some((pod, mac)) => {
                    sources.guarded.insert(index);
                    sources.macs.insert((index, mac));
                    for address in pods.addresses(pod) {
                        sources.pairs.insert((index, address));
                        sources.located.insert(address);
                    }
                }
                None => _ = sources.unidentified.insert(index),
            }
            for &address in &port.addresses {
                self.note_claim(&mut sources, index, address, pods, rules);
            }
        }
        let bridges = sources.guarded.iter().filter_map(|index| self.links.get(index)?.master);
        sources.learning = bridges.filter(|bridge| self.is_learning(*bridge)).collect();
        for &(index, address) in &sources.unnamed {
            let bridge = self.links.get(&index).and_then(|link| link.master);
            if bridge.is_some() && self.routes.device(address)? == bridge {
                sources.routed.insert((index, address));
            }
        }
        Ok(sources)
    }

    /// Has bridges of ports that lead to pods learn nothing from frames to the groups that they keep for themselves (`no_linklocal_learn`): these meet no chain before the bridge has learned from them. Nothing
    /// that bridges forward is concerned. Returns which were set.
    ///
    /// # Errors
    ///
    /// Those of netlink sockets; `PermissionDenied` without CAP_NET_ADMIN.
    pub fn stop_learning(&mut self) -> io::Result<Vec<u32>> {
        let ports = self.ports.keys().copied().filter(|index| self.leads_to_a_pod(*index));
        let bridges: BTreeSet<u32> =
            ports.filter_map(|index| self.links.get(&index)?.master).collect();
        let mut set = Vec::new();
        for bridge in bridges {
            if !self.is_learning(bridge) {
                continue;
            }
            self.links_of.stop_link_local_learning(bridge)?;
            if let Some(Link { kind: LinkKind::Bridge { learns_link_local, .. }, .. }) =
                self.links.get_mut(&bridge)
            {
                *learns_link_local = false;
            }
            set.push(bridge);
        }
        Ok(set)
    }

    fn is_learning(&self, bridge: u32) -> bool {
        self.links.get(&bridge).is_some_and(|link| {
            matches!(link.kind, LinkKind::Bridge { learns_link_local: true, .. })
        })
    }

    /// Has all ports read again of which no pod is known: addresses in other network namespaces change without an event.
    pub fn look_at_unidentified_ports(&mut self) {
        for (index, port) in &mut self.ports {
            port.is_stale |= !self.pod_of_port.contains_key(index);
        }
    }

    /// Notes an address of a port's other end.
    fn note_claim(
        &self,
        sources: &mut PortSources,
        index: u32,
        address: IpAddr,
        pods: &impl LocalPods,
        rules: PortRules<'_>,
    ) {
        if sources.pairs.contains(&(index, address)) || address.is_loopback() {
            return;
        }
        let is_first = self.port_of.get(&address) == Some(&index) && !rules.host.contains(&address);
        if pods.owner(address).is_some() || !is_first {
            sources.disputed.insert((index, address));
        } else if sources.unidentified.contains(&index) {
            if address.is_ipv6() {
                sources.claimed.insert((index, address));
            }
        } else if is_link_local(address) || rules.allowed.iter().any(|r| r.contains(&address)) {
            sources.pairs.insert((index, address));
        } else {
            sources.unnamed.insert((index, address));
        }
    }

    /// The Ethernet address of a port's other end as it is found there: who had one first keeps it, and whose is another's keeps what it had.
    pub(super) fn own_mac(&self, index: u32, found: Option<MacAddress>) -> Option<MacAddress> {
        let is_others = found.is_some()
            && self.ports.iter().any(|(other, port)| *other != index && port.mac == found);
        if is_others { self.ports.get(&index).and_then(|port| port.mac) } else { found }
    }

    /// Whether the other end of a port has an address of the pod.
    fn has_address_of(&self, index: u32, pod: &str, pods: &impl LocalPods) -> bool {
        let Some(port) = self.ports.get(&index) else { return false };
        pods.addresses(pod).iter().any(|address| port.addresses.contains(address))
    }

    /// Whether the port is still the pod's. A pod that is set up anew has another port, while its first one may be there for a while.
    fn is_still(&self, index: u32, pod: &str, pods: &impl LocalPods) -> bool {
        let is_elsewhere = || {
            let mut others = self.ports.keys().filter(|other| **other != index);
            others.any(|other| {
                !self.pod_of_port.contains_key(other) && self.has_address_of(*other, pod, pods)
            })
        };
        self.leads_to_a_pod(index)
            && !pods.addresses(pod).is_empty()
            && (self.has_address_of(index, pod, pods) || !is_elsewhere())
    }

    /// Finds the pods of ports that have none, and forgets those that are gone. Where several ports have the address of a pod that none is known to
    /// be, nobody can tell which is right, and none is taken for it.
    fn identify(&mut self, pods: &impl LocalPods) {
        let mut known = self.pod_of_port.clone();
        known.retain(|index, pod| self.is_still(*index, pod, pods));
        let mut taken: BTreeSet<String> = known.values().cloned().collect();
        let mut found = Vec::new();
        for (&index, port) in &self.ports {
            if known.contains_key(&index) || !self.leads_to_a_pod(index) {
                continue;
            }
            // What a port of another pod claims takes nothing from anybody.
            let is_alone = |address: &&IpAddr| {
                let mut others = self.ports.iter().filter(|(other, _)| **other != index);
                !others.any(|(other, port)| {
                    port.addresses.contains(address) && !known.contains_key(other)
                })
            };
            let mut owners = port.addresses.iter().filter(is_alone).filter_map(|&a| pods.owner(a));
            if let Some(pod) = owners.find(|pod| !taken.contains(pod)) {
                taken.insert(pod.clone());
                found.push((index, pod));
            }
        }
        known.extend(found);
        self.pod_of_port = known;
    }

    /// Whether a link is a port of a bridge whose other end is in another network namespace, and no router's.
    pub(super) fn leads_to_a_pod(&self, index: u32) -> bool {
        let is_bridge = |link: &Link| matches!(link.kind, LinkKind::Bridge { .. });
        !self.routers.contains(&index)
            && self.port(index).is_some()
            && self
                .links
                .get(&index)
                .and_then(|link| self.links.get(&link.master?))
                .is_some_and(is_bridge)
    }

    /// The ports of UDP of this host's tunnel devices.
    pub fn tunnel_ports(&self) -> BTreeSet<u16> {
        let port = |link: &Link| match link.kind {
            LinkKind::Tunnel { port } => Some(port),
            _ => None,
        };
        self.links.values().filter_map(port).collect()
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
