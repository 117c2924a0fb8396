//! Bridges that carry subjects: which they are, and whether what they carry is judged.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use palisade_compiler::compile::Compiler;
use palisade_compiler::model::{Family, PerFamily};
use palisade_compiler::program::{Delta, Program, TableFamily};
use palisade_dataplane::attachments::{Attachments, Placement};
use palisade_dataplane::bridges::{self, BridgeFilter, BridgeFilterError};
use palisade_dataplane::host::HostFacts;
use palisade_dataplane::ruleset::Features;

use crate::gaps::of_other_paths;
use crate::interface_name::interface_name;
use crate::nodes::Nodes;
use crate::protocol::SourceGuardMode;
use crate::source_guard::{KnownSources, SourceGuard};

fn subjects(program: &Program) -> BTreeSet<IpAddr> {
    program.iter().flat_map(|(_, t)| t.local_in.iter().chain(&t.local_out)).copied().collect()
}

/// What is known of a host, looked up once.
#[derive(Debug)]
pub struct HostView {
    /// Where the isolated addresses of the program are.
    pub placement: Placement,
    pub sources: KnownSources,
    /// What the tables must hold of both, as far as the kernel can.
    pub facts: HostFacts,
}

impl HostView {
    /// In the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// Those of netlink sockets.
    pub fn find(compiler: &Compiler, guard: &SourceGuard, features: Features) -> io::Result<Self> {
        Self::look(compiler, guard, features, false)
    }

    /// The same, and what can be set of the host for the guard is set.
    ///
    /// # Errors
    ///
    /// Those of netlink sockets.
    pub fn settle(
        compiler: &Compiler,
        guard: &SourceGuard,
        features: Features,
    ) -> io::Result<Self> {
        Self::look(compiler, guard, features, true)
    }

    fn look(
        compiler: &Compiler,
        guard: &SourceGuard,
        features: Features,
        is_settling: bool,
    ) -> io::Result<Self> {
        let mut attachments = Attachments::open()?;
        attachments.set_routers(guard.router_ports());
        if is_settling {
            stop_learning(&mut attachments, guard);
        }
        attachments.update(subjects(compiler.program()), [])?;
        let nodes = Nodes::find(&attachments, compiler)?;
        let has_bridge_tables = features.bridge_tables;
        let sources =
            KnownSources::of(&mut attachments, compiler, guard, &nodes, has_bridge_tables)?;
        let placement = attachments.placement().clone();
        let facts = facts(&placement, &sources, &nodes, features);
        Ok(Self { placement, sources, facts })
    }
}

/// What the tables must hold of the host, as far as the kernel can.
fn facts(
    placement: &Placement,
    sources: &KnownSources,
    nodes: &Nodes,
    features: Features,
) -> HostFacts {
    let mut facts = placement.facts();
    facts.extend(&sources.facts());
    if !features.bridge_tables {
        facts.leave_out(TableFamily::Bridge);
    }
    // Who sends to nodes is looked at by the interfaces that are guarded.
    if facts.has_guarded() {
        nodes.add_facts(&mut facts);
    }
    facts
}

/// What policy speaks of and the kernel does not judge, as one sentence for each reason. Changes nothing.
pub fn gaps(placement: &Placement, features: Features) -> Vec<String> {
    gaps_with(placement, features, |family| match bridges::bridge_filter(family)? {
        BridgeFilter::On => Ok(()),
        BridgeFilter::Off => Err(BridgeFilterError::Off { path: bridges::path(family) }),
        BridgeFilter::Absent => Err(BridgeFilterError::Absent),
    })
}

fn gaps_with(
    placement: &Placement,
    features: Features,
    mut filter: impl FnMut(Family) -> Result<(), BridgeFilterError>,
) -> Vec<String> {
    let mut gaps = Vec::new();
    let addresses = |set: &BTreeSet<IpAddr>| match (set.first(), set.len()) {
        (Some(first), 1) => format!("the isolated address {first}"),
        (Some(first), count) => format!("{count} isolated addresses ({first}, ...)"),
        (None, _) => "no isolated address".to_owned(),
    };
    if placement.may_be_bridged() {
        for (family, name) in (PerFamily { v4: "IPv4", v6: "IPv6" }) {
            if let Err(error) = filter(family) {
                gaps.push(format!("{name} within a bridge: {error}"));
            }
        }
    }
    if !placement.ports.is_empty() && !features.bridge_tables {
        gaps.push(
            "broadcast, multicast, tagged frames, IPv6 link-local addresses, router advertisements and redirects between pods on one bridge \
             pass: this kernel has no nftables for bridges (CONFIG_NF_TABLES_BRIDGE)"
                .to_owned(),
        );
    }
    if !placement.unknown.is_empty() {
        gaps.push(format!(
            "neither a bridge port nor a route leads to {} on this host; if a bridge does, packets between its ports may not be \
             judged: give the bridge an address of the pods' network, or remove the pods' manifests if they are elsewhere",
            addresses(&placement.unknown)
        ));
    }
    if !placement.tagged.is_empty() {
        gaps.push(format!(
            "packets to and from {} carry a VLAN tag within their bridge and are not judged there: use a bridge without VLANs",
            addresses(&placement.tagged)
        ));
    }
    gaps.extend(of_other_paths());
    gaps
}

/// What came of making bridged packets pass the forward hook.
#[derive(Debug, Default)]
pub struct Switched {
    /// The families for which it was off.
    pub were_off: Vec<Family>,
    /// What policy speaks of and the kernel does not judge.
    pub gaps: Vec<String>,
}

/// Makes bridged packets pass the forward hook, if packets of subjects may be bridged.
pub fn switch_on(placement: &Placement, features: Features) -> Switched {
    let mut were_off = Vec::new();
    let gaps = gaps_with(placement, features, |family| {
        if bridges::switch_on(family)? == BridgeFilter::Off {
            were_off.push(family);
        }
        Ok(())
    });
    Switched { were_off, gaps }
}

/// Where a running agent's subjects are attached, kept up to date.
#[derive(Debug)]
pub struct AttachedSubjects {
    /// `None` where it could not be opened.
    attachments: Option<Attachments>,
    features: Features,
    facts: HostFacts,
    bridge_names: Vec<String>,
    gaps: Vec<String>,
    guard: SourceGuard,
    known_sources: KnownSources,
    nodes: Nodes,
    /// How often links and routes, and local pods, had changed when the sources were looked for.
    seen: Option<(u64, u64)>,
    /// How often addresses of this host, and of nodes, had changed when these were looked for.
    seen_nodes: Option<(u64, u64)>,
}

impl AttachedSubjects {
    /// In the network namespace of the calling thread, without subjects.
    pub fn open(features: Features, guard: SourceGuard) -> Self {
        let attachments = warned(Attachments::open());
        let facts = HostFacts::default();
        let mut subjects = Self {
            attachments,
            features,
            facts,
            bridge_names: Vec::new(),
            gaps: Vec::new(),
            guard,
            known_sources: KnownSources::default(),
            nodes: Nodes::default(),
            seen: None,
            seen_nodes: None,
        };
        subjects.take_over();
        subjects
    }

    /// What the tables must hold of the host.
    pub fn facts(&self) -> &HostFacts {
        &self.facts
    }

    /// The bridges that carry subjects, by name.
    pub fn bridge_names(&self) -> &[String] {
        &self.bridge_names
    }

    /// What policy speaks of and the kernel does not judge.
    pub fn gaps(&self) -> &[String] {
        &self.gaps
    }

    /// What is known of the interfaces of local pods.
    pub fn known_sources(&self) -> &KnownSources {
        &self.known_sources
    }

    /// Takes in what changed of the program, and of links since the last call. This costs little where nothing changed.
    pub fn update(&mut self, compiler: &Compiler, delta: &Delta) {
        let program = compiler.program();
        let touched = delta.iter().flat_map(|(_, d)| d.local_in.keys().chain(d.local_out.keys()));
        let (come, gone): (BTreeSet<IpAddr>, BTreeSet<IpAddr>) =
            touched.copied().partition(|address| program.is_subject(*address));
        if !come.is_empty() || !gone.is_empty() {
            self.seen = None;
        }
        let Some(attachments) = &mut self.attachments else { return };
        attachments.set_routers(self.guard.router_ports());
        if warned(attachments.update(come, gone)).unwrap_or(false) {
            self.take_over();
        }
        self.look_at_sources(compiler);
    }

    /// Looks for all subjects of the program, whatever was known.
    pub fn find_all(&mut self, compiler: &Compiler) {
        let program = compiler.program();
        self.seen = None;
        match &mut self.attachments {
            None => self.attachments = warned(Attachments::open()),
            Some(attachments) => _ = warned(attachments.look_again()),
        }
        if let Some(attachments) = &mut self.attachments {
            attachments.set_routers(self.guard.router_ports());
            let now = subjects(program);
            let gone: Vec<IpAddr> = attachments.subjects().filter(|a| !now.contains(a)).collect();
            let known: BTreeSet<IpAddr> = attachments.subjects().collect();
            warned(attachments.update(now.difference(&known).copied(), gone));
        }
        self.take_over();
        self.look_at_sources(compiler);
    }

    /// Looks for the sources of local pods' interfaces, if they may be others than before.
    fn look_at_sources(&mut self, compiler: &Compiler) {
        let is_other_node = self.look_at_nodes(compiler);
        let Some(attachments) = &mut self.attachments else { return };
        let now = Some((attachments.changes(), compiler.local_changes()));
        if now == self.seen && !is_other_node {
            return;
        }
        let has_other_pods = self.seen.is_none_or(|(_, pods)| pods != compiler.local_changes());
        let (guard, has_bridge_tables) = (&self.guard, self.features.bridge_tables);
        stop_learning(attachments, guard);
        let nodes = &self.nodes;
        let mut found = KnownSources::of(attachments, compiler, guard, nodes, has_bridge_tables);
        if has_other_pods && found.as_ref().is_ok_and(KnownSources::has_unlocated) {
            // An address that came after its link is no event here.
            attachments.look_at_unidentified_ports();
            found = KnownSources::of(attachments, compiler, guard, nodes, has_bridge_tables);
        }
        // What is known stays if it cannot be read, and is looked for again with the next change.
        let Some(known) = warned(found) else { return };
        self.seen = now;
        if known != self.known_sources || is_other_node {
            self.known_sources = known;
            self.put_together();
        }
    }

    /// Looks for the addresses of nodes, if they may be others than before; whether they are.
    fn look_at_nodes(&mut self, compiler: &Compiler) -> bool {
        let Some(attachments) = &self.attachments else { return false };
        let now = Some((attachments.address_changes(), compiler.snapshot().node_changes()));
        if now == self.seen_nodes {
            return false;
        }
        let Some(nodes) = warned(Nodes::find(attachments, compiler)) else { return false };
        self.seen_nodes = now;
        let is_other = nodes != self.nodes;
        self.nodes = nodes;
        is_other
    }

    fn put_together(&mut self) {
        let placement = self.attachments.as_ref().map(Attachments::placement);
        let (sources, nodes) = (&self.known_sources, &self.nodes);
        self.facts = placement
            .map_or_else(HostFacts::default, |it| facts(it, sources, nodes, self.features));
    }

    /// Has bridged packets pass the forward hook, and notes what follows from the placement.
    fn take_over(&mut self) {
        let nowhere = Placement::default();
        let placement = self.attachments.as_ref().map_or(&nowhere, Attachments::placement);
        let switched = switch_on(placement, self.features);
        for family in switched.were_off {
            tracing::info!(?family, "bridged packets now pass nftables (br_netfilter)");
        }
        self.gaps = switched.gaps;
        if self.attachments.is_none() {
            self.gaps
                .push("the bridges of this host's pods cannot be found (rtnetlink)".to_owned());
        }
        self.bridge_names = placement.bridges.iter().map(|&index| interface_name(index)).collect();
        self.put_together();
    }
}

/// Has bridges learn nothing from frames that meet no rule. What fails is noted by what is known of ports afterwards.
fn stop_learning(attachments: &mut Attachments, guard: &SourceGuard) {
    if guard.mode == SourceGuardMode::Off {
        return;
    }
    match attachments.stop_learning() {
        Ok(set) => {
            for bridge in set {
                let bridge = interface_name(bridge);
                tracing::info!(
                    bridge,
                    "learns nothing from link-local frames any more (no_linklocal_learn)"
                );
            }
        }
        Err(error) => tracing::warn!(%error, "no_linklocal_learn of a bridge cannot be set"),
    }
}

fn warned<T>(result: io::Result<T>) -> Option<T> {
    result
        .inspect_err(|error| {
            tracing::warn!(%error, "where this host's pods are attached cannot be read; what is known stays");
        })
        .ok()
}
