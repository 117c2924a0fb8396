//! Where a Service's traffic is judged: after destination NAT and before source NAT. The NAT is a table of the test's own in
//! the node, with what kube-proxy does: a virtual address becomes a backend's, and what must come back here gets the node's.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use palisade_lab::packet::{Packet, TCP, tcp_flags};
use palisade_lab::{LabSpec, Layout};
use palisade_compiler::model::Family;

use crate::lab::{address, nft};
use crate::scene::Scene;

/// Client may reach backend alone; misled may reach the range of virtual addresses alone; lone may reach nobody, and nobody may
/// reach it; backend takes client, and on 8443 whatever comes from certain addresses outside.
const CAST: &str = "
{apiVersion: v1, kind: Pod, metadata: {namespace: svc, name: client, labels: {pod: client}}, status: {phase: Running, podIPs: [{ip: 10.1.0.1}, {ip: 'fd00:1::1'}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: svc, name: backend, labels: {pod: backend}}, status: {phase: Running, podIPs: [{ip: 10.1.0.2}, {ip: 'fd00:1::2'}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: svc, name: other, labels: {pod: other}}, status: {phase: Running, podIPs: [{ip: 10.1.0.3}, {ip: 'fd00:1::3'}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: svc, name: misled, labels: {pod: misled}}, status: {phase: Running, podIPs: [{ip: 10.1.0.4}, {ip: 'fd00:1::4'}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: svc, name: lone, labels: {pod: lone}}, status: {phase: Running, podIPs: [{ip: 10.1.0.5}, {ip: 'fd00:1::5'}]}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: svc, name: client}
spec: {podSelector: {matchLabels: {pod: client}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {pod: backend}}}], ports: [{port: 8080}]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: svc, name: misled}
spec: {podSelector: {matchLabels: {pod: misled}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.96.0.0/16}}, {ipBlock: {cidr: 'fd00:96::/32'}}]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: svc, name: lone}
spec: {podSelector: {matchLabels: {pod: lone}}, policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: svc, name: backend}
spec:
  podSelector: {matchLabels: {pod: backend}}
  policyTypes: [Ingress]
  ingress:
  - {from: [{podSelector: {matchLabels: {pod: client}}}], ports: [{port: 8080}]}
  - {from: [{ipBlock: {cidr: 203.0.113.0/24}}, {ipBlock: {cidr: '2001:db8:7::/48'}}], ports: [{port: 8443}]}
";

/// Of IPv4 and of IPv6: the node, another node, two clients outside of which the first is in the policy's block.
const NODE: [&str; 2] = ["192.0.2.1", "2001:db8:1::1"];
const OTHER_NODE: [&str; 2] = ["192.0.2.2", "2001:db8:1::2"];
const CLIENT: [&str; 2] = ["203.0.113.7", "2001:db8:7::7"];
const STRANGER: [&str; 2] = ["198.51.100.7", "2001:db8:8::7"];

fn of(family: Family, pair: [&str; 2]) -> IpAddr {
    address(pair[usize::from(family == Family::V6)])
}

/// A virtual address of the Services' range.
fn virtual_ip(family: Family, n: u8) -> IpAddr {
    match family {
        Family::V4 => address(&format!("10.96.0.{n}")),
        Family::V6 => address(&format!("fd00:96::{n}")),
    }
}

fn scenes(mut test: impl FnMut(&Scene, Family, &str)) {
    for layout in Layout::ALL {
        for family in Family::ALL {
            let scene = Scene::with(CAST, |pods| LabSpec {
                node: NODE.map(address).into(),
                outside: [OTHER_NODE, CLIENT, STRANGER].concat().into_iter().map(address).collect(),
                ..LabSpec::new(layout, pods)
            });
            test(&scene, family, &format!("{layout:?} {family:?}"));
        }
    }
}

/// Whose source address the node replaces by its own.
#[derive(Clone, Copy)]
enum Masquerade {
    /// A pod that was sent back to itself, as kube-proxy does always.
    Hairpin,
    /// Whatever it has redirected, as for node ports.
    Redirected,
}

/// Services in the node, each with one backend.
#[track_caller]
fn serve(scene: &Scene, services: &[(SocketAddr, SocketAddr)], masquerade: Masquerade) {
    let family = Family::of(services[0].0.ip());
    let (ip, node) = (if family == Family::V4 { "ip" } else { "ip6" }, of(family, NODE));
    let mut text = format!(
        "table {ip} services {{
           chain postrouting {{ type nat hook postrouting priority srcnat\n"
    );
    match masquerade {
        Masquerade::Redirected => writeln!(text, "ct status dnat snat to {node}"),
        Masquerade::Hairpin => services.iter().try_for_each(|(_, backend)| {
            let pod = backend.ip();
            writeln!(text, "ct status dnat {ip} saddr {pod} {ip} daddr {pod} snat to {node}")
        }),
    }
    .expect("text");
    text += "}\nchain prerouting { type nat hook prerouting priority dstnat\n";
    for (service, backend) in services {
        let (at, port) = (service.ip(), service.port());
        writeln!(text, "{ip} daddr {at} tcp dport {port} dnat to {backend}").expect("text");
    }
    nft(scene.lab.node(), &(text + "}\n}\n"));
}

/// Whether the first segment of a connection to a Service arrives at the backend's port; the source is any machine's.
#[track_caller]
fn reaches(scene: &Scene, from: SocketAddr, service: SocketAddr, backend: SocketAddr) -> bool {
    let name = |address| &scene.lab.machine_of(address).expect("a machine").name;
    let ports = (from.port(), service.port());
    let packet = Packet::tcp(from.ip(), service.ip(), ports, tcp_flags::SYN, (1, 0)).bytes();
    let arrivals = scene.arrivals(name(from.ip()), name(backend.ip()), &[packet]);
    arrivals.iter().any(|a| (a.to, a.port, a.protocol) == (backend.ip(), backend.port(), TCP))
}

/// A question and its answer over ordinary sockets; the address that the backend saw.
#[track_caller]
fn asks(scene: &Scene, from: IpAddr, service: SocketAddr, backend: SocketAddr) -> IpAddr {
    let enter = |address| scene.lab.machine_of(address).expect("a machine").namespace();
    let listener = enter(backend.ip()).run(|| TcpListener::bind(backend)).expect("entered");
    let listener = listener.expect("bound");
    let bound = Duration::from_secs(5);
    let dialled = enter(from).run(|| TcpStream::connect_timeout(&service, bound));
    let mut client = dialled.expect("entered").expect("connected");
    let (mut server, seen) = listener.accept().expect("accepted");
    let mut heard = [0; 6];
    client.write_all(b"answer").expect("written");
    server.read_exact(&mut heard).expect("read");
    server.write_all(&heard).expect("written");
    client.read_exact(&mut heard).expect("read");
    assert_eq!(&heard, b"answer");
    seen.ip()
}

/// The Services of the next two tests, and who may reach which.
fn table(scene: &Scene, family: Family) -> [(&'static str, SocketAddr, SocketAddr, bool); 6] {
    let service = |n, port| SocketAddr::new(virtual_ip(family, n), port);
    let at = |name, port| SocketAddr::new(scene.address(name, family), port);
    [
        ("svc/client", service(1, 80), at("svc/backend", 8080), true),
        // The port that is allowed is the backend's, not the Service's.
        ("svc/client", service(2, 8080), at("svc/backend", 80), false),
        ("svc/client", service(3, 8080), at("svc/other", 8080), false),
        ("svc/other", service(1, 80), at("svc/backend", 8080), false),
        // What is allowed is the virtual address, which is nobody when the packet is judged.
        ("svc/misled", service(3, 8080), at("svc/other", 8080), false),
        ("svc/other", service(4, 80), at("svc/lone", 80), false),
    ]
}

fn judged_by_backend_and_client(masquerade: Masquerade) {
    scenes(|scene, family, what| {
        let table = table(scene, family);
        let services: Vec<_> = table.iter().map(|&(_, service, at, _)| (service, at)).collect();
        serve(scene, &services, masquerade);
        for (port, (from, service, backend, _)) in (4000..).zip(table) {
            let from_at = SocketAddr::new(scene.address(from, family), port);
            let there = reaches(scene, from_at, service, backend);
            assert!(there, "without rules: {what} {from} -> {service}");
        }
        scene.enforce();
        for (port, (from, service, backend, expected)) in (5000..).zip(table) {
            let from_at = SocketAddr::new(scene.address(from, family), port);
            let there = reaches(scene, from_at, service, backend);
            assert_eq!(there, expected, "{what} {from} -> {service} at {backend}");
        }
        let (from, service, backend, _) = table[0];
        let client = scene.address(from, family);
        let expected = match masquerade {
            Masquerade::Hairpin => client,
            Masquerade::Redirected => of(family, NODE),
        };
        assert_eq!(asks(scene, client, service, backend), expected, "{what}");
    });
}

/// Where it is judged: after destination NAT.
#[test]
fn row_18_a_services_backend_is_the_peer_and_its_virtual_address_is_nobody() {
    judged_by_backend_and_client(Masquerade::Hairpin);
}

/// Where it is judged: before source NAT, so that the receiver's policy knows the client although the backend sees the node.
#[test]
fn row_18_the_client_is_the_peer_although_the_node_puts_its_own_address_in() {
    judged_by_backend_and_client(Masquerade::Redirected);
}

/// Routed through the node and back; on a bridge, out of the port it came in at, which the port must be told to do.
#[test]
fn row_22_a_pod_that_may_reach_nobody_reaches_itself_through_a_service() {
    scenes(|scene, family, what| {
        let at = |name, port| SocketAddr::new(scene.address(name, family), port);
        let own = (SocketAddr::new(virtual_ip(family, 1), 80), at("svc/lone", 8080));
        let others = (SocketAddr::new(virtual_ip(family, 2), 80), at("svc/other", 8080));
        serve(scene, &[own, others], Masquerade::Hairpin);
        if scene.lab.layout() == Layout::Bridged {
            let port = format!("veth{}", scene.number("svc/lone"));
            let hairpin = ["link", "set", &port, "type", "bridge_slave", "hairpin", "on"];
            let set = || std::process::Command::new("ip").args(hairpin).status();
            assert!(scene.lab.node().run(set).expect("entered").expect("ip is there").success());
        }
        let lone = scene.address("svc/lone", family);
        assert_eq!(asks(scene, lone, own.0, own.1), of(family, NODE), "without rules: {what}");
        assert!(reaches(scene, at("svc/lone", 4000), others.0, others.1), "without rules: {what}");
        scene.enforce();
        assert_eq!(asks(scene, lone, own.0, own.1), of(family, NODE), "{what}");
        assert!(!reaches(scene, at("svc/lone", 4001), others.0, others.1), "{what}");
        assert!(!reaches(scene, at("svc/other", 4002), own.0, own.1), "{what}");
        // Without a Service nothing comes from its own address.
        assert!(!reaches(
            scene,
            at("svc/lone", 4003),
            at("svc/other", 8080),
            at("svc/other", 8080)
        ));
    });
}

/// A node port or a load balancer's: at the pod's own node the client is the peer, also with `externalTrafficPolicy: Cluster`.
#[test]
fn row_19_through_a_port_of_the_pods_own_node_the_client_is_the_peer() {
    scenes(|scene, family, what| {
        let service = SocketAddr::new(of(family, NODE), 30443);
        let backend = SocketAddr::new(scene.address("svc/backend", family), 8443);
        serve(scene, &[(service, backend)], Masquerade::Redirected);
        let (client, stranger) = (of(family, CLIENT), of(family, STRANGER));
        let come = |from, port| reaches(scene, SocketAddr::new(from, port), service, backend);
        assert!(come(client, 4000) && come(stranger, 4001), "without rules: {what}");
        scene.enforce();
        assert!(come(client, 4002), "{what}");
        assert!(!come(stranger, 4003), "{what}");
    });
}

/// With `externalTrafficPolicy: Cluster`, another node that is asked puts its own address in: a block of clients does not match it.
/// With `Local` the client's address stays.
#[test]
fn row_19_through_a_port_of_another_node_that_node_is_the_peer() {
    scenes(|scene, family, what| {
        let (ip, node) = match family {
            Family::V4 => ("ip", OTHER_NODE[0]),
            Family::V6 => ("ip6", OTHER_NODE[1]),
        };
        let outside = scene.lab.machine_named("outside").expect("there is one").namespace();
        let backend = SocketAddr::new(scene.address("svc/backend", family), 8443);
        let come =
            |port| reaches(scene, SocketAddr::new(of(family, CLIENT), port), backend, backend);
        let masquerade = format!(
            "table {ip} node {{
               chain postrouting {{ type nat hook postrouting priority srcnat
                 {ip} daddr {} snat to {node}
               }}
             }}",
            backend.ip()
        );
        nft(outside, &masquerade);
        assert!(come(4000), "without rules: {what}");
        scene.enforce();
        assert!(!come(4001), "Cluster: {what}");
        nft(outside, &format!("delete table {ip} node"));
        assert!(come(4002), "Local: {what}");
    });
}
