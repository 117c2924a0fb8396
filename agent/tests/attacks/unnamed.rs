//! Addresses that no manifest names (attack 16 of docs/semantics.md): X would leave its isolation behind by one, and B would be reached.

use std::net::IpAddr;

use palisade_compiler::model::Family;
use palisade_lab::frame::Frame;
use palisade_lab::packet::Packet;
use palisade_lab::{Layout, tool};

use crate::attack::{EVERYWHERE, ON_BRIDGES, PLAIN, Setting, attack, carry_out};
use crate::command::{Agent, Scratch, palisade, until};
use crate::scene::Scene;
use crate::stage::{Stage, fresh_port, manifest, mark, of_family, scene};

const OF_B: [&str; 2] = ["10.9.9.1", "fd00:9::1"];
const OF_X: [&str; 2] = ["10.9.9.2", "fd00:9::2"];
const OF_C: [&str; 2] = ["10.9.9.3", "fd00:9::3"];

/// Gives pods second addresses, which the node routes to them where it routes.
fn add_addresses(scene: &Scene) {
    Family::ALL.iter().for_each(|family| add_addresses_of(scene, *family));
}

fn add_addresses_of(scene: &Scene, family: Family) {
    for (pod, addresses) in [("n/b", OF_B), ("n/x", OF_X), ("n/c", OF_C)] {
        add_address(scene, pod, addresses[usize::from(family == Family::V6)]);
    }
}

fn add_address(scene: &Scene, pod: &str, address: &str) {
    let number = scene.number(pod);
    let (family, length) = if address.contains(':') { ("-6", 128) } else { ("-4", 32) };
    let whole = format!("{address}/{length}");
    let mut own = vec![family, "address", "add", &whole, "dev", "eth0"];
    if family == "-6" {
        // It is used at once.
        own.push("nodad");
    }
    let machine = &scene.lab.machines()[number];
    machine.namespace().run(|| tool::run("ip", &own, "")).expect("entered").expect("added");
    if scene.lab.layout() == Layout::Routed {
        let link = format!("veth{number}");
        let route = [family, "route", "add", &whole, "dev", &link];
        scene.lab.node().run(|| tool::run("ip", &route, "")).expect("entered").expect("added");
    }
}

/// Whether a datagram between these addresses comes from one pod to the other.
fn passes(stage: &Stage<'_>, from: (&str, IpAddr), to: (&str, IpAddr)) -> bool {
    let mark = mark();
    let packet = Packet::udp(from.1, to.1, fresh_port(), 7777, &mark);
    stage.delivers(from.0, to.0, &[stage.frame(from.0, to.0, &packet)], &mark)
}

fn from_x(stage: &Stage<'_>) -> bool {
    passes(stage, ("n/x", of_family(OF_X, stage.family)), ("n/c", stage.at("n/c")))
}

fn to_b(stage: &Stage<'_>) -> bool {
    passes(stage, ("n/a", stage.at("n/a")), ("n/b", of_family(OF_B, stage.family)))
}

#[test]
fn an_address_that_no_manifest_names_is_no_way_out_and_no_way_in() {
    carry_out(
        Setting { prepare: add_addresses, ..PLAIN },
        &[
            attack("unnamed addresses: X by a second address", EVERYWHERE, from_x),
            attack("unnamed addresses: to B's second address", EVERYWHERE, to_b),
        ],
    );
}

/// The node routes the second address onto the bridge, as where it has a network of its own: from there a packet goes out by the port without having
/// come in by one.
#[test]
fn an_address_that_no_manifest_names_is_not_reached_by_the_node_either() {
    fn route_to_b(scene: &Scene) {
        add_addresses(scene);
        let mac = scene.lab.mac(scene.number("n/b")).map(|byte| format!("{byte:02x}")).join(":");
        for address in OF_B {
            for line in [
                format!("route add {address} dev br0"),
                format!("neigh add {address} lladdr {mac} dev br0"),
            ] {
                let arguments: Vec<&str> = line.split(' ').collect();
                let run = || tool::run("ip", &arguments, "");
                scene.lab.node().run(run).expect("entered").expect("done");
            }
        }
    }
    fn by_the_node(stage: &Stage<'_>, from: &str) -> bool {
        let mark = mark();
        let source = stage.at_or_other_node(from);
        let to = of_family(OF_B, stage.family);
        let packet = Packet::udp(source, to, fresh_port(), 7777, &mark);
        let frame = Frame::ip(stage.gateway_mac(from), stage.mac(from), &packet);
        stage.delivers(from, "n/b", &[frame], &mark)
    }
    carry_out(
        Setting { prepare: route_to_b, ..PLAIN },
        &[
            attack("unnamed addresses: to B's second address, by the node", ON_BRIDGES, |stage| {
                by_the_node(stage, "n/a")
            }),
            attack("unnamed addresses: to B's second address, from outside", ON_BRIDGES, |stage| {
                by_the_node(stage, "outside")
            }),
        ],
    );
}

/// A running agent says which they are.
#[test]
fn an_address_that_no_manifest_names_is_shown() {
    for family in Family::ALL {
        let scene = scene(Layout::Routed);
        add_addresses_of(&scene, family);
        let scratch = Scratch::new();
        scratch.write("cast.yaml", &manifest());
        let agent = Agent::of_node(scene.lab.node(), &scratch.0, &["--listen", "off"]);
        agent.until_enforcing();
        let socket = agent.socket.to_str().expect("a path");
        let ask = |command| palisade(&[command, "--socket", socket]).out;
        let stage = Stage::new(&scene, family);
        until("the guard", || !from_x(&stage) && !to_b(&stage));
        let status = ask("status");
        for unnamed in [OF_B, OF_X, OF_C].map(|both| of_family(both, family)) {
            assert!(status.contains(&unnamed.to_string()), "no {unnamed} in {status}");
        }
        // What is named is judged as before.
        assert!(stage.allowed_passes(), "{family:?}");
        let verified = ask("verify");
        assert!(verified.contains("holds exactly"), "{verified}");
    }
}
