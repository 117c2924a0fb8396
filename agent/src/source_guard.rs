//! The source guard of this host: how it is set, and what it knows of local pods' interfaces.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use palisade_compiler::compile::Compiler;
use palisade_compiler::model::{Family, Pod};
use palisade_compiler::program::sets::SetName;
use palisade_compiler::program::{AddressRange, Element, Program};
use palisade_compiler::wording::listed;
use palisade_dataplane::attachments::{Attachments, LocalPods, PortRules, PortSources, Sources};
use palisade_dataplane::host::HostFacts;

use crate::interface_name::{interface_index, interface_name};
use crate::nodes::Nodes;
use crate::protocol::{self, SourceGuardMode};

/// Addresses and interfaces that a sentence names.
const MAX_NAMED: usize = 3;

/// How the guard is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceGuard {
    pub mode: SourceGuardMode,
    /// Addresses in these ranges are sources of the interfaces that they are routed to, and of the bridge ports whose other end has them, though no
    /// manifest names them.
    pub allowed: Vec<IpNet>,
    /// The names of bridge ports by which routers are reached.
    pub routers: Vec<String>,
    /// Pods with addresses in these ranges may send packets of an overlay network to nodes.
    pub tunnels: Vec<IpNet>,
}

impl SourceGuard {
    /// The interface indexes of the ports by which routers are reached.
    pub fn router_ports(&self) -> BTreeSet<u32> {
        self.routers.iter().filter_map(|name| interface_index(name)).collect()
    }
}

/// What is known of the interfaces and bridge ports of local pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownSources {
    mode: SourceGuardMode,
    sources: Sources,
    ports: PortSources,
    /// The first `MAX_NAMED` addresses of local pods whose interfaces are not known.
    unlocated: Vec<String>,
    unlocated_count: usize,
    /// Addresses of isolated pods' interfaces that no manifest names.
    held: BTreeSet<IpAddr>,
    /// Addresses of local pods that may send packets of an overlay network.
    tunnel_sources: BTreeSet<IpAddr>,
}

/// The local pods of a compile, by name and uid: the next pod of a name has an interface of its own.
struct Pods<'a>(&'a Compiler);

fn identity(pod: &Pod) -> String {
    let uid = pod.uid.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("{}/{}/{uid}", pod.namespace, pod.name)
}

impl LocalPods for Pods<'_> {
    fn owner(&self, address: IpAddr) -> Option<String> {
        self.0.local_owner(address).map(identity)
    }

    fn addresses(&self, pod: &str) -> Vec<IpAddr> {
        let mut parts = pod.splitn(3, '/');
        let (Some(namespace), Some(name)) = (parts.next(), parts.next()) else { return Vec::new() };
        let found = self.0.snapshot().pod_named(namespace, name);
        let Some(found) = found.filter(|found| identity(found) == pod) else { return Vec::new() };
        let is_its = |address: &IpAddr| {
            self.0.local_owner(*address).is_some_and(|owner| identity(owner) == pod)
        };
        found.addresses.iter().filter(is_its).collect()
    }
}

impl KnownSources {
    /// Of what is known of this host's links and routes; `has_bridge_tables` if the kernel has nftables for bridges.
    ///
    /// # Errors
    ///
    /// Those of netlink sockets.
    pub fn of(
        attachments: &mut Attachments,
        compiler: &Compiler,
        guard: &SourceGuard,
        nodes: &Nodes,
        has_bridge_tables: bool,
    ) -> io::Result<Self> {
        let mode = guard.mode;
        if mode == SourceGuardMode::Off {
            return Ok(Self { mode, ..Self::default() });
        }
        let ports = if has_bridge_tables {
            let rules = PortRules { allowed: &guard.allowed, host: nodes.own() };
            attachments.port_sources(&Pods(compiler), rules)?
        } else {
            PortSources::default()
        };
        let is_pod = |address| compiler.local_owner(address).is_some();
        let sources = attachments.sources(is_pod, &guard.allowed);
        let (sources, ports) = with_picked(sources, ports, compiler, &guard.allowed);
        let is_unlocated = |address: &IpAddr| {
            !sources.located.contains(address) && !ports.located.contains(address)
        };
        let unlocated: Vec<String> = compiler
            .local_addresses()
            .filter(is_unlocated)
            .take(MAX_NAMED)
            .map(|address| address.to_string())
            .collect();
        let unlocated_count = compiler.local_addresses().filter(is_unlocated).count();
        let mut held = held(&sources, &ports, compiler.program());
        // Nobody takes another's address from the node by giving it to himself.
        held.retain(|address| {
            compiler.snapshot().owner(*address).is_none() && !nodes.holds(*address)
        });
        let may_tunnel =
            |address: &IpAddr| guard.tunnels.iter().any(|range| range.contains(address));
        let tunnel_sources = if guard.tunnels.is_empty() {
            BTreeSet::new()
        } else {
            compiler.local_addresses().filter(may_tunnel).collect()
        };
        Ok(Self { mode, sources, ports, unlocated, unlocated_count, held, tunnel_sources })
    }

    /// Whether there are local pods whose interface or port is not known.
    pub fn has_unlocated(&self) -> bool {
        self.unlocated_count > 0
    }

    /// What the tables must hold of it.
    pub fn facts(&self) -> HostFacts {
        let mut facts = match self.mode {
            SourceGuardMode::Off => return HostFacts::default(),
            SourceGuardMode::First => self.sources.facts(true),
            SourceGuardMode::All => self.sources.facts(false),
        };
        facts.extend(&self.ports.facts());
        for &address in self.sources.located.iter().chain(&self.ports.located) {
            facts.insert(SetName::pod_addresses(Family::of(address)), Element::Address(address));
        }
        if facts.guarded_ports.is_empty() && facts.unidentified_ports.is_empty() {
            facts.pod_addresses_ipv4.clear();
            facts.pod_addresses_ipv6.clear();
        }
        for &address in &self.held {
            let held = match Family::of(address) {
                Family::V4 => &mut facts.held_ipv4,
                Family::V6 => &mut facts.held_ipv6,
            };
            held.insert(AddressRange { first: address, last: address });
        }
        for &address in &self.tunnel_sources {
            facts.insert(SetName::tunnel_sources(Family::of(address)), Element::Address(address));
        }
        facts
    }

    /// What of local pods may send with a source that is not theirs, and what is no source though it is routed to a pod: one
    /// sentence for each reason.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        match self.mode {
            SourceGuardMode::All => {}
            SourceGuardMode::First => notes.push(
                "of a connection only the first packet's source is looked at (--source-guard first): a pod may send packets into \
                 others' connections"
                    .to_owned(),
            ),
            SourceGuardMode::Off => notes.push(
                "a pod may send with any source address, and be taken for another pod (--source-guard off)".to_owned(),
            ),
        }
        if self.unlocated_count > 0 {
            let addresses = listed(&self.unlocated, self.unlocated_count);
            notes.push(format!(
                "no interface of this host leads to the pod with the address {addresses} alone, so that what it sends may have any \
                 source"
            ));
        }
        let inexact = &self.sources.inexact;
        if !inexact.is_empty() {
            let first = inexact.iter().take(MAX_NAMED).map(|&index| interface_name(index));
            notes.push(format!(
                "{} leads to a pod and to more than single addresses, so that what enters by it may have any source",
                listed(first, inexact.len())
            ));
        }
        if self.unnamed() > 0 {
            notes.push(format!(
                "{} is on a pod's interface and not the pod's by its manifest, so that packets from it are dropped, and those to it too where \
                 the pod is isolated: allow it by --allow-source if it is meant",
                pairs(self.sources.unnamed.iter().chain(&self.ports.unnamed).copied(), self.unnamed())
            ));
        }
        if !self.ports.learning.is_empty() {
            let names =
                self.ports.learning.iter().take(MAX_NAMED).map(|&index| interface_name(index));
            notes.push(format!(
                "{} learns from frames that meet no rule who is behind a port, so that a pod may take another's Ethernet address (ip link set \
                 BRIDGE type bridge no_linklocal_learn 1)",
                listed(names, self.ports.learning.len())
            ));
        }
        if !self.ports.disputed.is_empty() {
            notes.push(format!(
                "{} is on the interface of a pod and is another's, so that packets from it are dropped",
                pairs(self.ports.disputed.iter().copied(), self.ports.disputed.len())
            ));
        }
        notes
    }

    /// How many addresses are on a pod's interface, and not the pod's by its manifest.
    fn unnamed(&self) -> usize {
        self.sources.unnamed.len() + self.ports.unnamed.len()
    }

    /// For the status, without the count of packets.
    pub fn status(&self) -> protocol::SourceGuard {
        protocol::SourceGuard {
            mode: self.mode,
            interfaces: self.sources.interfaces.len(),
            ports: self.ports.guarded.len(),
            unidentified_interfaces: self.sources.unidentified.len(),
            unidentified_ports: self.ports.unidentified.len(),
            sources: self.sources.pairs.len() + self.ports.pairs.len(),
            unlocated: self.unlocated_count,
            unnamed: self.unnamed(),
            disputed: self.ports.disputed.len(),
            notes: self.notes(),
            dropped: 0,
            encapsulated: 0,
        }
    }
}

/// The first of them, as `ADDRESS on INTERFACE`.
fn pairs(all: impl IntoIterator<Item = (u32, IpAddr)>, count: usize) -> String {
    let pair =
        |(interface, address): (u32, IpAddr)| format!("{address} on {}", interface_name(interface));
    let first: Vec<String> = all.into_iter().take(MAX_NAMED).map(pair).collect();
    listed(&first, count)
}

/// Adds the addresses that pods ask to send from, those that are allowed and nobody's.
fn with_picked(
    mut sources: Sources,
    mut ports: PortSources,
    compiler: &Compiler,
    allowed: &[IpNet],
) -> (Sources, PortSources) {
    let may_be_picked = |address: &IpAddr| {
        allowed.iter().any(|range| range.contains(address))
            && compiler.snapshot().owner(*address).is_none()
    };
    for pod in compiler.local_pods() {
        let Some(picked) = &pod.allowed_sources else { continue };
        for address in picked.iter().filter(may_be_picked) {
            for (pairs, unnamed) in
                [(&mut sources.pairs, &mut sources.unnamed), (&mut ports.pairs, &mut ports.unnamed)]
            {
                let own = pod.addresses.iter();
                let of_pod: BTreeSet<u32> =
                    own.filter_map(|own| interface_of(pairs, own)).collect();
                for interface in of_pod {
                    pairs.insert((interface, address));
                    unnamed.remove(&(interface, address));
                }
            }
        }
    }
    (sources, ports)
}

/// The interface or port that has the address as a source.
fn interface_of(pairs: &BTreeSet<(u32, IpAddr)>, address: IpAddr) -> Option<u32> {
    pairs.iter().find(|(_, source)| *source == address).map(|(interface, _)| *interface)
}

/// What is on an isolated pod's interface without being the pod's by its manifest: it would be reached by it whatever its policies say.
fn held(sources: &Sources, ports: &PortSources, program: &Program) -> BTreeSet<IpAddr> {
    let of_isolated: BTreeSet<u32> = sources
        .pairs
        .iter()
        .filter(|(_, address)| sources.located.contains(address))
        .chain(ports.pairs.iter().filter(|(_, address)| ports.located.contains(address)))
        .filter(|(_, address)| program.is_subject(*address))
        .map(|(interface, _)| *interface)
        .collect();
    let unnamed = sources.unnamed.iter().chain(&ports.routed);
    unnamed.filter(|(interface, _)| of_isolated.contains(interface)).map(|pair| pair.1).collect()
}
