//! What a pod may try by sources that are not its own, and must not achieve: attacks 4, 12, 14 and 16, on routed pods. Each succeeds
//! against the same policies without the source guard, so that its failure with it means something.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket,
};
use palisade::protocol::SourceGuardMode;
use palisade_compiler::model::Family;
use palisade_compiler::program::skeleton::DenyAction;
use palisade_lab::packet::{Packet, TCP, tcp_flags};
use palisade_lab::{GATEWAY_V4, GATEWAY_V6, LabSpec, Layout};

use crate::attacks::CAST;
use crate::command::{Agent, Scratch, palisade, until};
use crate::lab::{address, nft};
use crate::scene::Scene;

/// Runs the test on routed pods of each family; the text names it in failures.
fn routed(mut test: impl FnMut(&Scene, Family, &str)) {
    for family in Family::ALL {
        test(&Scene::new(Layout::Routed, CAST), family, &format!("{family:?}"));
    }
}

/// An address of the family that no pod has.
fn nobody(family: Family) -> IpAddr {
    address(if family == Family::V4 { "10.9.9.9" } else { "fd00:9::9" })
}

/// Attack 4: to be taken for a pod that is allowed, and to leave one's own isolation behind.
#[test]
fn a_pod_that_sends_as_another_reaches_nobody() {
    routed(|scene, family, what| {
        let at = |name: &str| scene.address(name, family);
        let forgeries = [
            // C may reach B.
            ("n/a", at("n/c"), "n/b", 53),
            // X is isolated; A and an address that nobody has are not.
            ("n/x", at("n/a"), "n/c", 7777),
            ("n/x", nobody(family), "n/c", 7777),
        ];
        let passes = |(sender, source, to, port): (&str, IpAddr, &str, u16)| {
            scene.passes(sender, to, &Packet::udp(source, at(to), 4000, port, b"forged"))
        };
        let own = [("n/c", "n/b", 53), ("n/x", "n/a", 53), ("n/a", "n/c", 7777)];
        for mode in [SourceGuardMode::Off, SourceGuardMode::First, SourceGuardMode::All] {
            scene.enforce_guarded(mode);
            for forgery in forgeries {
                let expected = mode == SourceGuardMode::Off;
                assert_eq!(passes(forgery), expected, "{what} {mode:?} {forgery:?}");
            }
            for (from, to, port) in own {
                let packet = Packet::udp(at(from), at(to), 4001, port, b"own");
                assert!(scene.passes(from, to, &packet), "{what} {mode:?} {from} -> {to}");
            }
        }
    });
}

/// Sends what is addressed to the sender itself out of its interface all the same, as a packet socket does.
fn send_to_oneself(scene: &Scene, pod: &str, forger: &Forger, packet: &Packet) {
    let family = if packet.to.is_ipv4() { "-4" } else { "-6" };
    let gateway: IpAddr = if packet.to.is_ipv4() { GATEWAY_V4.into() } else { GATEWAY_V6.into() };
    let run = |text: &str| {
        for line in text.lines() {
            let mut command = Command::new("ip");
            command.arg(family).args(line.split_whitespace());
            let namespace = scene.lab.machines()[scene.number(pod)].namespace();
            let status = namespace.run(move || command.status()).expect("entered");
            assert!(status.expect("ip is installed").success(), "{line}");
        }
    };
    let to = packet.to;
    run(&format!(
        "route replace default via {gateway} dev eth0 onlink table 77
         rule add pref 50 to {to} lookup 77
         rule add pref 100 lookup local
         rule del pref 0"
    ));
    forger.send(packet);
    run(&format!(
        "rule add pref 0 lookup local
         rule del pref 100
         rule del pref 50 to {to}"
    ));
}

/// Attack 12: one packet in the name of the other end, who may send it, has connection tracking take the attacker's own packets for
/// the answer.
#[test]
fn a_forged_packet_opens_no_connection_for_its_answer() {
    /// Packets may be under way longer than those that are sent after them.
    const TRIES: usize = 10;
    for (attacker, victim, port) in [("n/a", "n/b", 53), ("n/x", "n/c", 7777)] {
        routed(|scene, family, what| {
            let at = |name: &str| scene.address(name, family);
            let forger = Forger::new(scene, attacker, family);
            let mut source_port = 4000;
            let mut reaches = || {
                source_port += 1;
                let forged =
                    Packet::udp(at(victim), at(attacker), port, source_port, b"in your name");
                send_to_oneself(scene, attacker, &forger, &forged);
                let own = Packet::udp(at(attacker), at(victim), source_port, port, b"my answer");
                scene.passes(attacker, victim, &own)
            };
            for mode in [SourceGuardMode::Off, SourceGuardMode::First, SourceGuardMode::All] {
                scene.enforce_guarded(mode);
                let reached = (0..TRIES).any(|_| reaches());
                assert_eq!(reached, mode == SourceGuardMode::Off, "{what} {mode:?} {attacker}");
            }
        });
    }
}

/// A packet that pretends to belong to others' connection passes a guard of first packets, and none else.
#[test]
fn nothing_is_injected_into_others_connections() {
    routed(|scene, family, what| {
        let at = |name: &str| scene.address(name, family);
        let injected = Packet::udp(at("n/c"), at("n/b"), 4000, 53, b"injected");
        for (mode, expected) in [
            (SourceGuardMode::Off, true),
            (SourceGuardMode::First, true),
            (SourceGuardMode::All, false),
        ] {
            scene.enforce_guarded(mode);
            let asked = Packet::udp(at("n/c"), at("n/b"), 4000, 53, b"asked");
            assert!(scene.passes("n/c", "n/b", &asked), "{what} {mode:?}");
            let answer = Packet::udp(at("n/b"), at("n/c"), 53, 4000, b"answer");
            assert!(scene.passes("n/b", "n/c", &answer), "{what} {mode:?}");
            assert_eq!(scene.passes("n/a", "n/b", &injected), expected, "{what} {mode:?}");
        }
    });
}

/// A Service of B's in the node, as kube-proxy has it, without the translation of the source that a hairpin needs to be answered.
fn serve(scene: &Scene, family: Family) -> IpAddr {
    let (ip, service) = match family {
        Family::V4 => ("ip", address("10.96.0.1")),
        Family::V6 => ("ip6", address("fd00:96::1")),
    };
    let backend = SocketAddr::new(scene.address("n/b", family), 8443);
    nft(
        scene.lab.node(),
        &format!(
            "table {ip} services {{ chain prerouting {{ type nat hook prerouting priority dstnat\n\
             {ip} daddr {service} tcp dport 443 dnat to {backend}\n}}\n}}"
        ),
    );
    service
}

/// Attack 14: what X sends as B to B's Service counts as B reaching itself. It is dropped as forged, and where X's interface
/// is not guarded, because B's own interface is known and the packet did not come by it.
#[test]
fn a_hairpin_is_the_pods_own_only_by_its_own_interface() {
    routed(|scene, family, what| {
        let service = serve(scene, family);
        let b = scene.address("n/b", family);
        let mut source_port = 4000;
        let mut delivered = |sender: &str| {
            source_port += 1;
            let packet = Packet::tcp(b, service, (source_port, 443), tcp_flags::SYN, (7, 0));
            let arrivals = scene.arrivals(sender, "n/b", &[packet.bytes()]);
            arrivals.iter().any(|a| (a.from, a.protocol, a.port) == (b, TCP, 8443))
        };
        scene.enforce_guarded(SourceGuardMode::Off);
        assert!(delivered("n/x"), "{what}: without the guard");
        scene.enforce_guarded(SourceGuardMode::All);
        assert!(!delivered("n/x"), "{what}");
        let mut unguarded = scene.source_facts(SourceGuardMode::All);
        unguarded.pod_interfaces.clear();
        scene.load(&unguarded, DenyAction::Drop);
        assert!(!delivered("n/x"), "{what}: by another interface");
    });
}

/// The agent, in the node of a lab, with its manifest.
#[track_caller]
fn started(scene: &Scene, manifest: &str) -> (Agent, Scratch) {
    let scratch = Scratch::new();
    scratch.write("cast.yaml", manifest);
    let agent = Agent::of_node(scene.lab.node(), &scratch.0, &["--listen", "off"]);
    agent.until_enforcing();
    (agent, scratch)
}

/// What a command that asks the agent prints.
fn ask(agent: &Agent, command: &str) -> String {
    palisade(&[command, "--socket", agent.socket.to_str().expect("a path")]).out
}

/// Sends whole IP packets from a pod.
struct Forger(std::os::fd::OwnedFd);

impl Forger {
    fn new(scene: &Scene, pod: &str, family: Family) -> Self {
        let of = if family == Family::V4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let open = || socket(of, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw);
        let namespace = scene.lab.machines()[scene.number(pod)].namespace();
        Self(namespace.run(open).expect("entered").expect("a raw socket"))
    }

    fn send(&self, packet: &Packet) {
        use std::os::fd::AsRawFd as _;
        let to = SockaddrStorage::from(SocketAddr::new(packet.to, 0));
        sendto(self.0.as_raw_fd(), &packet.bytes(), &to, MsgFlags::empty()).expect("sent");
    }
}

/// A socket of a pod.
fn bound(scene: &Scene, pod: &str, at: IpAddr, port: u16) -> UdpSocket {
    let namespace = scene.lab.machines()[scene.number(pod)].namespace();
    let bind = || UdpSocket::bind(SocketAddr::new(at, port));
    let socket = namespace.run(bind).expect("entered").expect("bound");
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("set");
    socket
}

/// The datagrams that come in, until `ended`, and then for as long as some do: with the text, and others.
fn received(socket: &UdpSocket, text: &[u8], ended: &AtomicBool) -> (usize, usize) {
    let (mut counts, mut buffer) = ((0, 0), [0; 64]);
    loop {
        let is_end = ended.load(Ordering::Relaxed);
        match socket.recv(&mut buffer) {
            Ok(length) if buffer.get(..length) == Some(text) => counts.0 += 1,
            Ok(_) => counts.1 += 1,
            Err(_) if is_end => return counts,
            Err(_) => {}
        }
    }
}

/// Gives a pod another address, which the node routes to it and no manifest names.
fn add_address(scene: &Scene, pod: &str, address: IpAddr) {
    let machine = &scene.lab.machines()[scene.number(pod)];
    let (host, length) = if address.is_ipv4() { ("-4", 32) } else { ("-6", 128) };
    let whole = format!("{address}/{length}");
    let link = format!("veth{}", scene.number(pod));
    let mut route = Command::new("ip");
    route.args([host, "route", "add", &whole, "dev", &link]);
    let mut own = Command::new("ip");
    own.args([host, "address", "add", &whole, "dev", "eth0"]);
    if address.is_ipv6() {
        // It is used at once.
        own.arg("nodad");
    }
    for (namespace, mut command) in [(scene.lab.node(), route), (machine.namespace(), own)] {
        let done = namespace.run(move || command.status()).expect("entered");
        assert!(done.expect("ip is installed").success());
    }
}

/// Attack 16: X leaves its isolation behind by an address that its manifest does not name, and B is reached by one.
#[test]
fn an_address_that_no_manifest_names_is_no_source_and_reaches_no_isolated_pod() {
    routed(|scene, family, what| {
        let at = |name: &str| scene.address(name, family);
        let [of_b, of_x, of_c] = match family {
            Family::V4 => ["10.9.9.1", "10.9.9.2", "10.9.9.3"],
            Family::V6 => ["fd00:9::1", "fd00:9::2", "fd00:9::3"],
        }
        .map(address);
        for (pod, other) in [("n/b", of_b), ("n/x", of_x), ("n/c", of_c)] {
            add_address(scene, pod, other);
        }
        let passes = |from: &str, source, to: &str, destination, port| {
            scene.passes(from, to, &Packet::udp(source, destination, 4000, port, b"unnamed"))
        };
        let from_x = || passes("n/x", of_x, "n/c", at("n/c"), 7777);
        let to_b = || passes("n/a", at("n/a"), "n/b", of_b, 7777);
        assert!(from_x() && to_b(), "{what}: without rules");
        let (agent, _scratch) = started(scene, CAST);
        until("the guard", || !from_x() && !to_b());
        let status = ask(&agent, "status");
        for unnamed in [of_b, of_x, of_c] {
            assert!(status.contains(&unnamed.to_string()), "{what}: no {unnamed} in {status}");
        }
        // What is named is judged as before.
        assert!(passes("n/c", at("n/c"), "n/b", at("n/b"), 53), "{what}");
        assert!(passes("n/x", at("n/x"), "n/a", at("n/a"), 53), "{what}");
        assert!(ask(&agent, "verify").contains("holds exactly"), "{}", ask(&agent, "verify"));
    });
}

/// How often an address moves to another interface.
const MOVES: usize = 1000;
/// How many datagrams a legitimate sender has under way at most.
const PACE: Duration = Duration::from_micros(300);

/// D is added to the cast; its address moves from one interface to another and back.
fn cast_with_mover() -> String {
    let mover = r#"{"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "n", "name": "d", "labels": {"pod": "d"}},
       "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.5"}, {"ip": "fd00:1::5"}]}},
      {"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "n", "name": "e", "labels": {"pod": "e"}},
       "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.6"}, {"ip": "fd00:1::6"}]}},
      {"kind": "NetworkPolicy", "#;
    CAST.replacen(r#"{"kind": "NetworkPolicy", "#, mover, 1)
}

/// The agent follows routes: an address that moves is a source of its new interface and no longer of the old one. Meanwhile no packet of
/// other pods is lost, and no forged one arrives.
#[test]
fn while_addresses_move_nothing_is_lost_and_nothing_forged_arrives() {
    for family in Family::ALL {
        let manifest = cast_with_mover();
        let scene = Scene::with(&manifest, |pods| LabSpec::new(Layout::Routed, pods));
        let at = |name: &str| scene.address(name, family);
        let b = bound(&scene, "n/b", at("n/b"), 53);
        let c = bound(&scene, "n/c", at("n/c"), 4000);
        let forger = Forger::new(&scene, "n/a", family);
        let forged = Packet::udp(at("n/c"), at("n/b"), 4001, 53, b"forged");
        let arrives = || {
            forger.send(&forged);
            let mut buffer = [0; 64];
            b.recv(&mut buffer).is_ok()
        };
        assert!(arrives(), "{family:?}: without rules");
        let (agent, _scratch) = started(&scene, &manifest);
        until("the guard", || !arrives());
        until("the agent", || ask(&agent, "status").contains("guard       6 interfaces and"));

        let (ended, moved) = (AtomicBool::new(false), AtomicBool::new(false));
        let counts = std::thread::scope(|scope| {
            let receiver = scope.spawn(|| received(&b, b"legitimate", &ended));
            let sender = scope.spawn(|| {
                let mut sent = 0_usize;
                while !moved.load(Ordering::Relaxed) {
                    c.send_to(b"legitimate", SocketAddr::new(at("n/b"), 53)).expect("sent");
                    sent += 1;
                    std::thread::sleep(PACE);
                }
                sent
            });
            let forging = scope.spawn(|| {
                while !moved.load(Ordering::Relaxed) {
                    forger.send(&forged);
                    std::thread::sleep(PACE);
                }
            });
            move_address(&scene, at("n/d"), MOVES);
            moved.store(true, Ordering::Relaxed);
            forging.join().expect("forged");
            let sent = sender.join().expect("sent");
            ended.store(true, Ordering::Relaxed);
            (sent, receiver.join().expect("received"))
        });
        assert_eq!(counts.1, (counts.0, 0), "{family:?}: sent, then received and forged");

        // D is where it was, and may send from there; E may not send as D.
        let d = bound(&scene, "n/d", at("n/d"), 4000);
        let answer = bound(&scene, "n/c", at("n/c"), 7777);
        let reached = |text: &[u8]| {
            let mut buffer = [0; 64];
            answer.recv(&mut buffer).is_ok_and(|length| buffer.get(..length) == Some(text))
        };
        until("D's own packets pass", || {
            d.send_to(b"own", SocketAddr::new(at("n/c"), 7777)).expect("sent");
            reached(b"own")
        });
        let as_d = Packet::udp(at("n/d"), at("n/c"), 4000, 7777, b"as d");
        Forger::new(&scene, "n/e", family).send(&as_d);
        assert!(!reached(b"as d"), "{family:?}");
        assert!(ask(&agent, "verify").contains("holds exactly"), "{}", ask(&agent, "verify"));
    }
}

/// Moves an address's route from D's interface to E's and back, an even number of times.
fn move_address(scene: &Scene, address: IpAddr, times: usize) {
    let interface = |name: &str| {
        scene.lab.node_interface(&scene.lab.machines()[scene.number(name)]).expect("an interface")
    };
    let family = if address.is_ipv4() { "-4" } else { "-6" };
    let length = if address.is_ipv4() { 32 } else { 128 };
    // The lab names its links by machine.
    let names = ["n/e", "n/d"].map(|name| format!("veth{}", scene.number(name)));
    let known = ["n/e", "n/d"].map(interface);
    assert!(known.iter().all(|&index| index > 0));
    for name in names.iter().cycle().take(times) {
        let mut command = Command::new("ip");
        command.args([family, "route", "replace", &format!("{address}/{length}"), "dev", name]);
        let moved = scene.lab.node().run(move || command.status()).expect("entered");
        assert!(moved.expect("ip is installed").success());
    }
}
