//! The guard of sources while pods move: their addresses from one interface to another, their ports off a bridge and back.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use palisade_compiler::model::Family;
use palisade_lab::packet::Packet;
use palisade_lab::{LabSpec, Layout, Wire, tool};

use crate::cast::CAST;
use crate::command::{Agent, Scratch, palisade, until};
use crate::scene::Scene;
use crate::stage::Stage;

/// How often something moves.
const MOVES: usize = 1000;
/// Between two datagrams of a legitimate sender, and of the forger.
const PACE: Duration = Duration::from_micros(300);

/// D and E are added to the cast; D moves.
fn cast_with_mover() -> String {
    let pod = |name: &str, number: u8| {
        format!(
            r#"{{"kind": "Pod", "apiVersion": "v1", "metadata": {{"namespace": "n", "name": "{name}", "labels": {{"pod": "{name}"}}}},
               "status": {{"phase": "Running", "podIPs": [{{"ip": "10.1.0.{number}"}}, {{"ip": "fd00:1::{number}"}}]}}}}, "#
        )
    };
    let policies = r#"{"kind": "NetworkPolicy", "#;
    CAST.replacen(policies, &format!("{}{}{policies}", pod("d", 5), pod("e", 6)), 1)
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

fn ip(namespace: &palisade_lab::Namespace, line: &str) {
    let arguments: Vec<&str> = line.split(' ').collect();
    namespace.run(|| tool::run("ip", &arguments, "")).expect("entered").expect("done");
}

/// Moves D, an even number of times: to E and back where the node routes, off the bridge and onto it where it does not.
fn move_pod(scene: &Scene, address: IpAddr, times: usize) {
    let [d, e] = ["n/d", "n/e"].map(|pod| format!("veth{}", scene.number(pod)));
    let lines = match scene.lab.layout() {
        Layout::Routed => [e, d].map(|link| {
            let (family, length) = if address.is_ipv4() { ("-4", 32) } else { ("-6", 128) };
            format!("{family} route replace {address}/{length} dev {link}")
        }),
        Layout::Bridged => [format!("link set {d} nomaster"), format!("link set {d} master br0")],
    };
    for line in lines.iter().cycle().take(times) {
        ip(scene.lab.node(), line);
    }
}

/// C's datagrams to B and A's in C's name, while `work` is done. How many of C's were sent, and how many of C's and of A's came.
fn meanwhile(
    (b, c): (&UdpSocket, &UdpSocket),
    forge: impl Fn() + Sync,
    work: impl FnOnce(),
) -> (usize, (usize, usize)) {
    let to = b.local_addr().expect("bound");
    let (ended, worked) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| received(b, b"legitimate", &ended));
        let sender = scope.spawn(|| {
            let mut sent = 0_usize;
            while !worked.load(Ordering::Relaxed) {
                c.send_to(b"legitimate", to).expect("sent");
                sent += 1;
                std::thread::sleep(PACE);
            }
            sent
        });
        let forging = scope.spawn(|| {
            while !worked.load(Ordering::Relaxed) {
                forge();
                std::thread::sleep(PACE);
            }
        });
        work();
        worked.store(true, Ordering::Relaxed);
        forging.join().expect("forged");
        let sent = sender.join().expect("sent");
        ended.store(true, Ordering::Relaxed);
        (sent, receiver.join().expect("received"))
    })
}

/// The agent follows: what moves is a source where it is and no longer where it was. Meanwhile no packet of other pods is lost, and no
/// forged one arrives.
#[track_caller]
fn nothing_is_lost_and_nothing_forged_arrives(layout: Layout, family: Family) {
    let what = format!("{layout:?} {family:?}");
    let manifest = cast_with_mover();
    let scene = Scene::with(&manifest, |pods| LabSpec::new(layout, pods));
    let stage = Stage::new(&scene, family);
    let at = |name: &str| scene.address(name, family);
    let b = bound(&scene, "n/b", at("n/b"), 53);
    let c = bound(&scene, "n/c", at("n/c"), 4000);
    let wire = Wire::open(&scene.lab.machines()[scene.number("n/a")]).expect("a packet socket");
    let forged = Packet::udp(at("n/c"), at("n/b"), 4001, 53, b"forged");
    let forged = stage.frame("n/a", "n/b", &forged);
    let forge = || wire.send(&forged).expect("sent");
    let arrives = || {
        forge();
        b.recv(&mut [0; 64]).is_ok()
    };
    until("a forged packet without rules", arrives);
    let scratch = Scratch::new();
    scratch.write("cast.yaml", &manifest);
    let agent = Agent::of_node(scene.lab.node(), &scratch.0, &["--listen", "off"]);
    let status = agent.until_enforcing();
    until("the guard", || !arrives());
    assert!(status.problem_count == 0, "{status:?}");

    let counts = meanwhile((&b, &c), forge, || move_pod(&scene, at("n/d"), MOVES));
    assert_eq!(counts.1, (counts.0, 0), "{what}: sent, then received and forged");

    // D is where it was, and may send from there; E may not send as D.
    until("D's own packets pass", || stage.own_datagram("n/d", "n/c", 7777));
    assert!(!stage.datagram("n/e", at("n/d"), "n/c", 7777), "{what}");
    assert!(stage.allowed_passes(), "{what}");
    let verified = || palisade(&["verify", "--socket", agent.socket.to_str().expect("a path")]).out;
    until("the kernel holds the program", || verified().contains("holds exactly"));
}

#[test]
fn while_addresses_move_nothing_is_lost_and_nothing_forged_arrives() {
    for family in Family::ALL {
        nothing_is_lost_and_nothing_forged_arrives(Layout::Routed, family);
    }
}

#[test]
fn while_ports_leave_a_bridge_and_come_back_nothing_is_lost_and_nothing_forged_arrives() {
    for family in Family::ALL {
        nothing_is_lost_and_nothing_forged_arrives(Layout::Bridged, family);
    }
}
