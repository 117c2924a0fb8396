//! The sources of local pods' interfaces: which addresses a pod may send from, and by which interface.
//!
//! The host's own routes tell: a route to a single address by a veth is made by whoever set up the pod's network, and a pod cannot
//! change it. (Addresses at the other end of the veth, and what neighbours answer, are the pod's own word.) An interface is guarded if
//! all that routes lead to by it are single addresses. One by which routes lead elsewhere, an uplink or the interface of a router, is not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use palisade_compiler::model::Family;

use super::Attachments;
use crate::host::HostFacts;
use crate::netlink::links::{Link, LinkKind};

/// The sources of the interfaces of local pods that are routed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// The interfaces whose sources are known exactly.
    pub interfaces: BTreeSet<u32>,
    /// Interface and address.
    pub pairs: BTreeSet<(u32, IpAddr)>,
    /// The addresses of local pods that are among the sources.
    pub located: BTreeSet<IpAddr>,
    /// Addresses that are routed to the interface of a local pod, and that no manifest names. They are no sources.
    pub unnamed: BTreeSet<(u32, IpAddr)>,
    /// Of the interfaces, those that lead to no local pod yet. All addresses that are routed to them are sources.
    pub unidentified: BTreeSet<u32>,
    /// Interfaces that lead to local pods and, by routes to more than single addresses, elsewhere. They are not guarded.
    pub inexact: BTreeSet<u32>,
}

impl Sources {
    /// What the tables must hold for these to be guarded; `of_first` if the first packet of a connection only.
    pub fn facts(&self, of_first: bool) -> HostFacts {
        let mut facts = HostFacts::default();
        let guarded =
            if of_first { &mut facts.first_interfaces } else { &mut facts.pod_interfaces };
        guarded.clone_from(&self.interfaces);
        for &(interface, address) in &self.pairs {
            match Family::of(address) {
                Family::V4 => facts.sources_ipv4.insert((interface, address)),
                Family::V6 => facts.sources_ipv6.insert((interface, address)),
            };
        }
        for &address in &self.located {
            match Family::of(address) {
                Family::V4 => facts.located_ipv4.insert(address),
                Family::V6 => facts.located_ipv6.insert(address),
            };
        }
        facts
    }

    /// Notes an interface by the addresses that are routed to it.
    fn note(
        &mut self,
        interface: u32,
        routed: &Routed,
        is_pod: &impl Fn(IpAddr) -> bool,
        allowed: &[IpNet],
    ) {
        let mut addresses = routed.addresses.iter().map(|(&address, &is_own)| (address, is_own));
        if routed.leads_elsewhere {
            if addresses.any(|(address, _)| is_pod(address)) {
                self.inexact.insert(interface);
            }
            return;
        }
        let (named, others): (Vec<_>, Vec<_>) =
            addresses.partition(|&(address, _)| is_pod(address));
        let others: Vec<IpAddr> =
            others.into_iter().filter(|(_, is_own)| !is_own).map(|(address, _)| address).collect();
        if named.is_empty() && others.is_empty() {
            return;
        }
        self.interfaces.insert(interface);
        if named.is_empty() {
            self.unidentified.insert(interface);
        }
        for (address, _) in &named {
            self.located.insert(*address);
            self.pairs.insert((interface, *address));
        }
        for address in others {
            let is_allowed = allowed.iter().any(|range| range.contains(&address));
            let sources =
                if named.is_empty() || is_allowed { &mut self.pairs } else { &mut self.unnamed };
            sources.insert((interface, address));
        }
    }
}

/// What is routed by one interface.
#[derive(Debug, Default)]
struct Routed {
    /// Single addresses, and whether the only route is the kernel's for an address of the interface itself.
    addresses: BTreeMap<IpAddr, bool>,
    leads_elsewhere: bool,
}

impl Attachments {
    /// How often what is known of links and routes changed: while it stays, `sources` gives the same for the same pods.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// How often this host's own addresses and tunnel devices changed.
    pub fn address_changes(&self) -> u64 {
        self.address_changes
    }

    /// The sources of local pods' interfaces. `is_pod` says whether a local pod has an address; addresses in the ranges `allowed` are
    /// sources of the interfaces that they are routed to though no pod has them.
    pub fn sources(&self, is_pod: impl Fn(IpAddr) -> bool, allowed: &[IpNet]) -> Sources {
        let mut sources = Sources::default();
        for (interface, routed) in self.routed() {
            sources.note(interface, &routed, &is_pod, allowed);
        }
        sources
    }

    /// What is routed by each veth that ends in another network namespace and is no port of a bridge.
    fn routed(&self) -> BTreeMap<u32, Routed> {
        let is_end = |link: &Link| {
            link.kind == LinkKind::Veth && link.netns.is_some() && link.master.is_none()
        };
        let mut by_interface: BTreeMap<u32, Routed> = BTreeMap::new();
        for route in &self.device_routes {
            if route.is_link_local() || !self.links.get(&route.device).is_some_and(is_end) {
                continue;
            }
            let routed = by_interface.entry(route.device).or_default();
            match route.host() {
                Some(address) => {
                    let is_own = routed.addresses.entry(address).or_insert(true);
                    *is_own &= route.is_of_kernel;
                }
                None => routed.leads_elsewhere = true,
            }
        }
        by_interface
    }
}
