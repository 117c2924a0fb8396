//! The source guard of this host: how it is set, and what it knows of local pods' interfaces.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use palisade_compiler::compile::Compiler;
use palisade_compiler::model::Family;
use palisade_compiler::program::{AddressRange, Program};
use palisade_compiler::wording::listed;
use palisade_dataplane::attachments::{Attachments, Sources};
use palisade_dataplane::host::HostFacts;

use crate::interface_name::interface_name;
use crate::protocol::{self, SourceGuardMode};

/// Addresses and interfaces that a sentence names.
const MAX_NAMED: usize = 3;

/// How the guard is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceGuard {
    pub mode: SourceGuardMode,
    /// Addresses in these ranges are sources of the interfaces that they are routed to though no manifest names them.
    pub allowed: Vec<IpNet>,
}

/// What is known of the interfaces of local pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownSources {
    mode: SourceGuardMode,
    sources: Sources,
    /// The first `MAX_NAMED` addresses of local pods whose interfaces are not known.
    unlocated: Vec<String>,
    unlocated_count: usize,
    /// Addresses that are routed to isolated pods, and that no manifest names.
    held: BTreeSet<IpAddr>,
}

impl KnownSources {
    /// Of what is known of this host's links and routes.
    pub fn of(attachments: &Attachments, compiler: &Compiler, guard: &SourceGuard) -> Self {
        let mode = guard.mode;
        if mode == SourceGuardMode::Off {
            return Self { mode, ..Self::default() };
        }
        let is_pod = |address| compiler.local_owner(address).is_some();
        let sources = attachments.sources(is_pod, &guard.allowed);
        let is_unlocated = |address: &IpAddr| !sources.located.contains(address);
        let unlocated: Vec<String> = compiler
            .local_addresses()
            .filter(is_unlocated)
            .take(MAX_NAMED)
            .map(|address| address.to_string())
            .collect();
        let unlocated_count = compiler.local_addresses().filter(is_unlocated).count();
        let held = held(&sources, compiler.program());
        Self { mode, sources, unlocated, unlocated_count, held }
    }

    /// Looked up once, in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// Those of netlink sockets.
    pub fn find(compiler: &Compiler, guard: &SourceGuard) -> io::Result<Self> {
        Ok(Self::of(&Attachments::open()?, compiler, guard))
    }

    /// What the tables must hold of it.
    pub fn facts(&self) -> HostFacts {
        let mut facts = match self.mode {
            SourceGuardMode::Off => return HostFacts::default(),
            SourceGuardMode::First => self.sources.facts(true),
            SourceGuardMode::All => self.sources.facts(false),
        };
        for &address in &self.held {
            let held = match Family::of(address) {
                Family::V4 => &mut facts.held_ipv4,
                Family::V6 => &mut facts.held_ipv6,
            };
            held.insert(AddressRange { first: address, last: address });
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
        if !self.sources.unnamed.is_empty() {
            let pair = |&(interface, address): &(u32, IpAddr)| {
                format!("{address} on {}", interface_name(interface))
            };
            let pairs: Vec<String> =
                self.sources.unnamed.iter().take(MAX_NAMED).map(pair).collect();
            notes.push(format!(
                "{} is routed to a pod that does not have it by its manifest, so that packets from it are dropped, and \
                 those to it too where the pod is isolated: allow it by --allow-source if it is meant",
                listed(&pairs, self.sources.unnamed.len())
            ));
        }
        notes
    }

    /// For the status, without the count of packets.
    pub fn status(&self) -> protocol::SourceGuard {
        protocol::SourceGuard {
            mode: self.mode,
            interfaces: self.sources.interfaces.len(),
            unidentified_interfaces: self.sources.unidentified.len(),
            sources: self.sources.pairs.len(),
            unlocated: self.unlocated_count,
            unnamed: self.sources.unnamed.len(),
            notes: self.notes(),
            dropped: 0,
        }
    }
}

/// What is routed to an isolated pod without being the pod's by its manifest: it would be reached by it whatever its policies say.
fn held(sources: &Sources, program: &Program) -> BTreeSet<IpAddr> {
    let of_isolated: BTreeSet<u32> = sources
        .pairs
        .iter()
        .filter(|(_, address)| sources.located.contains(address) && program.is_subject(*address))
        .map(|(interface, _)| *interface)
        .collect();
    let unnamed = sources.unnamed.iter();
    unnamed.filter(|(interface, _)| of_isolated.contains(interface)).map(|pair| pair.1).collect()
}
