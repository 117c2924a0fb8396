//! Where an attack is carried out: pods in a lab, the frames that they send, and those that come in at others.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use palisade_compiler::model::Family;
use palisade_lab::frame::{Frame, Mac};
use palisade_lab::packet::{Packet, tcp_flags};
use palisade_lab::{LabSpec, Layout, Wire, link_local};

use crate::cast::CAST;
use crate::lab::address;
use crate::scene::Scene;

/// Addresses of the node, and of a host outside of it that is another node.
pub(crate) const NODE: [&str; 2] = ["192.0.2.1", "2001:db8:1::1"];
pub(crate) const OTHER_NODE: [&str; 2] = ["203.0.113.9", "2001:db8:9::9"];
/// An address that nobody has.
pub(crate) const NOBODY: [&str; 2] = ["10.9.9.9", "fd00:9::9"];

/// That address of the two that is of the family.
pub(crate) fn of_family(addresses: [&str; 2], family: Family) -> IpAddr {
    address(addresses[usize::from(family == Family::V6)])
}

/// The cast, and the nodes.
pub(crate) fn manifest() -> String {
    let node = |name: &str, [v4, v6]: [&str; 2]| {
        format!(
            r#"{{"kind": "Node", "apiVersion": "v1", "metadata": {{"name": "{name}"}},
                "status": {{"addresses": [{{"type": "InternalIP", "address": "{v4}"}}, {{"type": "InternalIP", "address": "{v6}"}}]}}}},
              {{"kind": "NetworkPolicy", "#
        )
    };
    let nodes = node("here", NODE) + "\n";
    let with_here = CAST.replacen(r#"{"kind": "NetworkPolicy", "#, &nodes, 1);
    with_here.replacen(r#"{"kind": "NetworkPolicy", "#, &node("there", OTHER_NODE), 1)
}

/// The pods of the manifest in a lab, without rules.
#[track_caller]
pub(crate) fn scene(layout: Layout) -> Scene {
    Scene::with(&manifest(), |pods| LabSpec {
        node: NODE.map(address).into(),
        outside: OTHER_NODE.map(address).into(),
        ..LabSpec::new(layout, pods)
    })
}

/// A number that was not used before, for ports and marks.
fn fresh() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A source port that no flow of the test had before.
pub(crate) fn fresh_port() -> u16 {
    20_000 + (fresh() % 40_000) as u16
}

/// Bytes that are in no other packet.
pub(crate) fn mark() -> Vec<u8> {
    format!("mark {:08x} of a test", fresh()).into_bytes()
}

/// A scene, in one family.
pub(crate) struct Stage<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) family: Family,
    wires: RefCell<BTreeMap<String, Rc<Wire>>>,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(scene: &'a Scene, family: Family) -> Self {
        Self { scene, family, wires: RefCell::default() }
    }

    pub(crate) fn layout(&self) -> Layout {
        self.scene.lab.layout()
    }

    /// A pod's address.
    #[track_caller]
    pub(crate) fn at(&self, pod: &str) -> IpAddr {
        self.scene.address(pod, self.family)
    }

    #[track_caller]
    pub(crate) fn v4(&self, pod: &str) -> Ipv4Addr {
        match self.scene.address(pod, Family::V4) {
            IpAddr::V4(address) => address,
            IpAddr::V6(address) => panic!("{address}"),
        }
    }

    #[track_caller]
    pub(crate) fn v6(&self, pod: &str) -> Ipv6Addr {
        match self.scene.address(pod, Family::V6) {
            IpAddr::V6(address) => address,
            IpAddr::V4(address) => panic!("{address}"),
        }
    }

    pub(crate) fn link_local(&self, pod: &str) -> Ipv6Addr {
        link_local(self.scene.number(pod))
    }

    pub(crate) fn nobody(&self) -> IpAddr {
        of_family(NOBODY, self.family)
    }

    pub(crate) fn node(&self) -> IpAddr {
        of_family(NODE, self.family)
    }

    pub(crate) fn other_node(&self) -> IpAddr {
        of_family(OTHER_NODE, self.family)
    }

    /// A pod's address, or that of the host outside.
    pub(crate) fn at_or_other_node(&self, machine: &str) -> IpAddr {
        if machine == "outside" { self.other_node() } else { self.at(machine) }
    }

    pub(crate) fn mac(&self, pod: &str) -> Mac {
        self.scene.lab.mac(self.scene.number(pod))
    }

    pub(crate) fn gateway_mac(&self, pod: &str) -> Mac {
        self.scene.lab.gateway_mac(self.scene.number(pod))
    }

    /// The first hardware address on the way from one pod to another: the other's on a bridge, else the gateway's.
    pub(crate) fn next_hop(&self, from: &str, to: &str) -> Mac {
        match self.layout() {
            Layout::Bridged if to != "outside" => self.mac(to),
            _ => self.gateway_mac(from),
        }
    }

    /// A packet on its way from one pod to another.
    pub(crate) fn frame(&self, from: &str, to: &str, packet: &Packet) -> Frame {
        Frame::ip(self.next_hop(from, to), self.mac(from), packet)
    }

    fn wire(&self, pod: &str) -> Rc<Wire> {
        let mut wires = self.wires.borrow_mut();
        let machine = &self.scene.lab.machines()[self.scene.number(pod)];
        let open = || Rc::new(Wire::open(machine).expect("a packet socket"));
        Rc::clone(wires.entry(pod.to_owned()).or_insert_with(open))
    }

    /// Sends frames from a pod. None of them is under way any more when this returns.
    pub(crate) fn send(&self, from: &str, to: &str, frames: &[Frame]) {
        let wire = self.wire(from);
        let wire = wire.as_ref();
        let pair = (self.scene.number(from), self.scene.number(to));
        let work = || frames.iter().try_for_each(|frame| wire.send(frame));
        self.scene.lab.observe(&[pair], work).expect("observed");
    }

    /// Whether any of these frames, which contain the mark, comes to a pod that is to have it.
    pub(crate) fn delivers(&self, from: &str, to: &str, frames: &[Frame], mark: &[u8]) -> bool {
        self.seen(from, to, frames, mark, true)
    }

    /// Whether a pod sees any of these frames, whomever they are for.
    pub(crate) fn shows(&self, from: &str, to: &str, frames: &[Frame], mark: &[u8]) -> bool {
        self.seen(from, to, frames, mark, false)
    }

    fn seen(&self, from: &str, to: &str, frames: &[Frame], mark: &[u8], addressed: bool) -> bool {
        let there = self.wire(to);
        there.receive().expect("received");
        self.send(from, to, frames);
        let seen = there.receive().expect("received");
        seen.iter().any(|frame| (frame.is_addressed || !addressed) && frame.contains(mark))
    }

    /// Whether a datagram from one pod, with this source, comes to another.
    pub(crate) fn datagram(&self, from: &str, source: IpAddr, to: &str, port: u16) -> bool {
        self.datagram_from((from, source, fresh_port()), to, port)
    }

    /// The same, with a source port.
    pub(crate) fn datagram_from(
        &self,
        (from, source, source_port): (&str, IpAddr, u16),
        to: &str,
        port: u16,
    ) -> bool {
        let mark = mark();
        let packet = Packet::udp(source, self.at(to), source_port, port, &mark);
        self.delivers(from, to, &[self.frame(from, to, &packet)], &mark)
    }

    /// Whether a segment that opens a connection from one pod, with this source, comes to another.
    pub(crate) fn opening(&self, from: &str, source: IpAddr, to: &str, port: u16) -> bool {
        let mark = mark();
        let ports = (fresh_port(), port);
        let packet =
            Packet::segment(source, self.at(to), ports, tcp_flags::SYN, (1, 0), &[], &mark);
        self.delivers(from, to, &[self.frame(from, to, &packet)], &mark)
    }

    /// Whether a pod's own datagram comes to another.
    pub(crate) fn own_datagram(&self, from: &str, to: &str, port: u16) -> bool {
        self.datagram(from, self.at(from), to, port)
    }

    /// What the policies allow: C may reach B, and X may reach A.
    pub(crate) fn allowed_passes(&self) -> bool {
        self.own_datagram("n/c", "n/b", 53) && self.own_datagram("n/x", "n/a", 53)
    }
}
