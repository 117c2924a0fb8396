//! What counts as a pod that reaches itself (attacks 11 and 14 of docs/semantics.md).

use std::net::{IpAddr, SocketAddr};

use palisade::protocol::SourceGuardMode;
use palisade_compiler::model::Family;
use palisade_compiler::program::skeleton::DenyAction;
use palisade_lab::frame::Frame;
use palisade_lab::packet::{Packet, tcp_flags};
use palisade_lab::{Layout, tool};

use crate::attack::{EVERYWHERE, PLAIN, Setting, Without, apply, attack, carry_out};
use crate::lab::nft;
use crate::scene::Scene;
use crate::stage::{Stage, fresh_port, mark, of_family};

const SERVICE: [&str; 2] = ["10.96.0.1", "fd00:96::1"];
const BACKEND_PORT: u16 = 8443;

/// A Service of B's in the node, as kube-proxy has it, without the translation of the source that a hairpin needs to be answered.
fn serve(scene: &Scene) {
    for (family, ip) in [(Family::V4, "ip"), (Family::V6, "ip6")] {
        let backend = SocketAddr::new(scene.address("n/b", family), BACKEND_PORT);
        let service = of_family(SERVICE, family);
        nft(
            scene.lab.node(),
            &format!(
                "table {ip} services {{ chain prerouting {{ type nat hook prerouting priority dstnat\n\
                 {ip} daddr {service} tcp dport 443 dnat to {backend}\n}}\n}}"
            ),
        );
    }
    if scene.lab.layout() == Layout::Bridged {
        // A frame goes back by the port that it came by, as kubelet sets it.
        let port = format!("veth{}", scene.number("n/b"));
        let arguments = ["link", "set", "dev", &port, "type", "bridge_slave", "hairpin", "on"];
        scene.lab.node().run(|| tool::run("ip", &arguments, "")).expect("entered").expect("set");
    }
}

/// Whether a segment to the Service, from B's address, comes to B.
fn by_the_service(stage: &Stage<'_>, sender: &str) -> bool {
    let (b, service) = (stage.at("n/b"), of_family(SERVICE, stage.family));
    let mark = mark();
    let ports = (fresh_port(), 443);
    let packet = Packet::segment(b, service, ports, tcp_flags::SYN, (7, 0), &[], &mark);
    let frame = Frame::ip(stage.gateway_mac(sender), stage.mac(sender), &packet);
    stage.delivers(sender, "n/b", &[frame], &mark)
}

/// Attack 14: what X sends as B to B's Service would count as B reaching itself.
#[test]
fn a_hairpin_is_the_pods_own_only_by_its_own_interface() {
    carry_out(
        Setting { without: Without::SourceGuard, prepare: serve },
        &[attack("hairpins: X as B to B's own Service", EVERYWHERE, |stage| {
            by_the_service(stage, "n/x")
        })
        .control(|stage| by_the_service(stage, "n/b") && stage.allowed_passes())],
    );
}

/// Where X's interface is not guarded, B's own is known, and the packet did not come by it.
#[test]
fn a_hairpin_by_an_interface_that_is_not_guarded_is_not_the_pods_own() {
    for family in Family::ALL {
        let scene = crate::stage::scene(Layout::Routed);
        serve(&scene);
        let stage = Stage::new(&scene, family);
        let mut unguarded = scene.source_facts(SourceGuardMode::All);
        unguarded.pod_interfaces.clear();
        scene.load(&unguarded, DenyAction::Drop);
        assert!(!by_the_service(&stage, "n/x"), "{family:?}");
        assert!(by_the_service(&stage, "n/b"), "{family:?}");
    }
}

/// Attack 11: a packet from an address to itself, which no Service translated.
#[test]
fn a_packet_from_an_address_to_itself_does_not_arrive() {
    fn to_itself(stage: &Stage<'_>, sender: &str) -> bool {
        let b: IpAddr = stage.at("n/b");
        stage.datagram(sender, b, "n/b", 7777)
    }
    carry_out(
        PLAIN,
        &[attack("hairpins: A to B as B itself", EVERYWHERE, |stage| to_itself(stage, "n/a"))],
    );
    // The rule for hairpins alone does not let it pass, either.
    for &(layout, family) in EVERYWHERE {
        let scene = crate::stage::scene(layout);
        apply(&scene, "off");
        let stage = Stage::new(&scene, family);
        assert!(!to_itself(&stage, "n/x"), "{layout:?} {family:?}");
    }
}
