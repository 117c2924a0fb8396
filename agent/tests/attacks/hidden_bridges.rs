//! A bridge that the route to its pods does not name (attack 15 of docs/semantics.md): the host is in the pods' network by another device,
//! the bridge has no address, and nothing has its packets pass the tables of IP yet.

use palisade_lab::tool;

use crate::attack::{ON_BRIDGES, PLAIN, Setting, attack, carry_out};
use crate::scene::Scene;

/// The bridge loses its addresses, and with them every route; the node is in its network by a link of its own to one of its ports.
fn hide(scene: &Scene) {
    let lines = "\
        address flush dev br0
        -6 address flush dev br0
        link add host0 type veth peer name host1
        link set host1 master br0 up
        link set host0 up
        address add 10.1.0.250/24 dev host0
        -6 address add fd00:1::250/64 dev host0 nodad";
    let node = scene.lab.node();
    for line in lines.lines() {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        node.run(|| tool::run("ip", &arguments, "")).expect("entered").expect("done");
    }
    for pod in ["n/a", "n/b", "n/c", "n/x"] {
        let number = scene.number(pod);
        for address in &scene.lab.machines()[number].addresses {
            let address = address.to_string();
            let arguments = ["route", "replace", &address, "dev", "host0"];
            node.run(|| tool::run("ip", &arguments, "")).expect("entered").expect("done");
        }
    }
    for family in ["iptables", "ip6tables"] {
        node.set(&format!("bridge/bridge-nf-call-{family}"), "0").expect("set");
    }
}

#[test]
fn a_bridge_that_no_route_names_is_enforced() {
    carry_out(
        Setting { prepare: hide, ..PLAIN },
        &[
            attack("hidden bridges: A to B on a bridge without an address", ON_BRIDGES, |stage| {
                stage.own_datagram("n/a", "n/b", 7777)
            }),
            attack("hidden bridges: X to C on a bridge without an address", ON_BRIDGES, |stage| {
                stage.opening("n/x", stage.at("n/x"), "n/c", 7777)
            }),
        ],
    );
}
