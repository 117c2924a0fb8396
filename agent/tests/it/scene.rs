//! A lab whose node enforces policies that a test writes down.

use std::collections::BTreeMap;
use std::net::IpAddr;

use palisade::bridged::HostView;
use palisade::protocol::SourceGuardMode;
use palisade::source_guard::SourceGuard;
use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::model::Family;
use palisade_compiler::parse::parse;
use palisade_compiler::program::render;
use palisade_compiler::program::skeleton::DenyAction;
use palisade_compiler::snapshot::{Change, Snapshot};
use palisade_dataplane::host::HostFacts;
use palisade_dataplane::ruleset::Features;
use palisade_lab::packet::{Arrival, Packet};
use palisade_lab::{Host, Lab, LabError, LabSpec, Layout, MARKERS, Transmission};

use crate::lab::nft;

/// The objects of a manifest; nothing may be wrong with it.
#[track_caller]
pub(crate) fn changes(manifest: &str) -> Vec<Change> {
    let mut changes = Vec::new();
    let parsed = parse("test", manifest.as_bytes(), &mut |object| {
        changes.push(Change::from(object));
    });
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    changes
}

/// The pods of a snapshot that own an address, with the addresses that they own, named `namespace/name`.
pub(crate) fn hosts(snapshot: &Snapshot) -> Vec<Host> {
    let mut hosts: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for pod in snapshot.pods().filter(|pod| pod.has_identity()) {
        for address in pod.addresses.iter() {
            let owner = snapshot.owner(address).expect("it is claimed");
            let name = format!("{}/{}", owner.namespace, owner.name);
            let addresses = hosts.entry(name).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    hosts.into_iter().map(|(name, addresses)| Host { name, addresses }).collect()
}

/// What a node's tables must hold beside a compiled program: the bridges that carry its subjects.
#[track_caller]
pub(crate) fn host_facts(lab: &Lab, compiler: &Compiler) -> HostFacts {
    source_facts(lab, compiler, SourceGuardMode::Off)
}

/// The same, with the interfaces and bridge ports of its pods.
#[track_caller]
pub(crate) fn source_facts(lab: &Lab, compiler: &Compiler, mode: SourceGuardMode) -> HostFacts {
    let allowed = vec![MARKERS.parse().expect("a range")];
    let guard = SourceGuard { mode, allowed, ..SourceGuard::default() };
    let features = Features { persistent_owner: false, bridge_tables: true };
    let find = || HostView::find(compiler, &guard, features);
    lab.node().run(find).expect("entered").expect("rtnetlink").facts
}

/// Pods by name, and policies that can be put in force.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    compiler: Compiler,
}

impl Scene {
    /// The lab, without rules.
    #[track_caller]
    pub(crate) fn new(layout: Layout, manifest: &str) -> Self {
        Self::with(manifest, |pods| LabSpec::new(layout, pods))
    }

    #[track_caller]
    pub(crate) fn with(manifest: &str, spec: impl FnOnce(Vec<Host>) -> LabSpec) -> Self {
        let mut compiler = Compiler::new(Locality::Everywhere);
        compiler.apply(changes(manifest));
        let lab = Lab::new(&spec(hosts(compiler.snapshot()))).expect("a lab");
        Self { lab, compiler }
    }

    /// Puts the manifest's policies in force, as text by nft.
    #[track_caller]
    pub(crate) fn enforce(&self) {
        self.enforce_by(DenyAction::Drop);
    }

    #[track_caller]
    pub(crate) fn enforce_by(&self, deny_action: DenyAction) {
        self.load(&self.source_facts(SourceGuardMode::All), deny_action);
    }

    /// What the tables must hold of the interfaces of the lab's pods.
    #[track_caller]
    pub(crate) fn source_facts(&self, mode: SourceGuardMode) -> HostFacts {
        source_facts(&self.lab, &self.compiler, mode)
    }

    /// Puts the policies in force, with these facts of the host.
    #[track_caller]
    pub(crate) fn load(&self, host: &HostFacts, deny_action: DenyAction) {
        let program = self.compiler.program();
        let elements = |set| host.elements(set).collect();
        let text = render::render_on(program, &elements, deny_action).to_string();
        nft(self.lab.node(), &text);
    }

    #[track_caller]
    pub(crate) fn number(&self, name: &str) -> usize {
        self.lab.machines().iter().position(|m| m.name == name).expect("a machine of that name")
    }

    #[track_caller]
    pub(crate) fn address(&self, name: &str, family: Family) -> IpAddr {
        let machine = &self.lab.machines()[self.number(name)];
        let address = machine.addresses.iter().find(|a| Family::of(**a) == family);
        *address.expect("an address of that family")
    }

    /// Sends packets from one pod and returns what arrived at another but markers.
    #[track_caller]
    pub(crate) fn arrivals(&self, from: &str, to: &str, packets: &[Vec<u8>]) -> Vec<Arrival> {
        self.try_arrivals(from, to, packets).expect("exchanged")
    }

    /// The same, where the sender may not have the packets' source address yet: a link-local one comes with the carrier.
    pub(crate) fn try_arrivals(
        &self,
        from: &str,
        to: &str,
        packets: &[Vec<u8>],
    ) -> Result<Vec<Arrival>, LabError> {
        let (from, to) = (self.number(from), self.number(to));
        let transmission = |packet: &Vec<u8>| Transmission { from, to, packet: packet.clone() };
        let transmissions: Vec<_> = packets.iter().map(transmission).collect();
        let mut arrivals = self.lab.exchange(&transmissions)?;
        let marker =
            |a: &Arrival| matches!(a.from, IpAddr::V4(v4) if v4.octets()[..2] == [198, 18]);
        let mut there = std::mem::take(&mut arrivals[to]);
        there.retain(|arrival| !marker(arrival));
        Ok(there)
    }

    /// Whether a packet, recognised by protocol and destination port, arrives.
    #[track_caller]
    pub(crate) fn passes(&self, from: &str, to: &str, packet: &Packet) -> bool {
        let expected = Arrival::read(&packet.bytes()).expect("readable");
        self.arrivals(from, to, &[packet.bytes()]).iter().any(|a| {
            (a.from, a.to, a.protocol, a.port, a.id)
                == (expected.from, expected.to, expected.protocol, expected.port, expected.id)
        })
    }
}
