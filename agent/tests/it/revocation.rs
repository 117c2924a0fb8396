//! Live connections under a running agent: what policies forbid now is cut, whichever side speaks next; what they allow, and
//! what they are not about, goes on in the very same entry.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use palisade::protocol::{State, Status};
use palisade_compiler::model::{Connection, Family};
use palisade_dataplane::netlink::conntrack::{Conntrack, Entry, Progress, Selection};
use palisade_lab::packet::{ICMP, ICMPV6, Packet, SCTP, TCP, UDP};
use palisade_lab::{LabSpec, Layout, MARKERS, Transmission};

use crate::cast::{LAYOUTS_AND_FAMILIES, connected};
use crate::command::{Agent, Scratch};
use crate::lab::{address, nft};
use crate::scene::Scene;

const PODS: [(&str, u8); 4] = [("a", 1), ("b", 2), ("c", 3), ("x", 4)];

/// A pod with an address of each family; the uid tells it from others of its name.
fn pod(name: &str, number: u8, uid: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{namespace: live, name: {name}, uid: {uid}, labels: {{pod: {name}}}}}\n\
         status: {{phase: Running, podIPs: [{{ip: 10.1.0.{number}}}, {{ip: 'fd00:1::{number}'}}]}}\n---\n"
    )
}

/// Pod `b` takes these pods, and nobody else.
fn guard(from: &[&str]) -> String {
    let peer = |pod: &&str| format!("{{podSelector: {{matchLabels: {{pod: {pod}}}}}}}");
    let peers = from.iter().map(peer).collect::<Vec<_>>().join(", ");
    let ingress = if from.is_empty() { String::new() } else { format!("{{from: [{peers}]}}") };
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{namespace: live, name: b}}\n\
         spec: {{podSelector: {{matchLabels: {{pod: b}}}}, policyTypes: [Ingress], ingress: [{ingress}]}}\n"
    )
}

/// Pod `x` may connect to `b`, and to nobody else.
const ONLY_TO_B: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: live, name: x}\n\
    spec: {podSelector: {matchLabels: {pod: x}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {pod: b}}}]}]}\n";

/// A file that declares nothing.
const NOTHING: &str = "# nothing\n";

/// Pods in a lab, and an agent on their node that follows a directory.
struct Node {
    scene: Scene,
    scratch: Scratch,
    agent: Agent,
}

impl Node {
    #[track_caller]
    fn new(layout: Layout, policy: &str) -> Self {
        Self::with(layout, policy, |_| {})
    }

    /// `prepare` has a look at the lab before the agent starts.
    #[track_caller]
    fn with(layout: Layout, policy: &str, prepare: impl FnOnce(&Scene)) -> Self {
        let scratch = Scratch::new();
        for (name, number) in PODS {
            scratch.write(&format!("{name}.yaml"), &pod(name, number, &format!("{name}-1")));
        }
        scratch.write("policy.yaml", policy);
        let pods: String = PODS.iter().map(|(name, number)| pod(name, *number, "u")).collect();
        let scene = Scene::with(&pods, |pods| LabSpec {
            node: ["192.0.2.1", "2001:db8:1::1"].map(address).into(),
            ..LabSpec::new(layout, pods)
        });
        prepare(&scene);
        let agent = Agent::of_node(scene.lab.node(), &scratch.0, &[]);
        let node = Self { scene, scratch, agent };
        // Where somebody is isolated, the start looks at all connections.
        let passes = u64::from(policy != NOTHING);
        node.agent.until("the start", |status| {
            (status.state, status.sizes.pods) == (State::Enforcing, 4)
                && status.connections.passes >= passes
        });
        node
    }

    /// Has another policy enforced, and waits until the connections were looked at for its sake.
    #[track_caller]
    fn enforce(&self, policy: &str) -> Status {
        let status = self.agent.until("enforcement", |s| s.state == State::Enforcing);
        let (passes, revision) = (status.connections.passes, status.enforced_revision);
        self.scratch.write("policy.yaml", policy);
        self.agent.until("the look at connections", |status| {
            status.connections.passes > passes && status.enforced_revision > revision
        })
    }

    fn at(&self, pod: &str, family: Family) -> IpAddr {
        self.scene.address(&format!("live/{pod}"), family)
    }

    fn entries(&self) -> Vec<Entry> {
        let list = || {
            let mut conntrack = Conntrack::open().unwrap();
            conntrack.begin(Selection::All).unwrap();
            let mut entries = Vec::new();
            while conntrack.read(|entry| entries.push(entry)).unwrap() == Progress::More {}
            entries
        };
        self.scene.lab.node().run(list).unwrap()
    }

    /// The ids of the entries between two addresses, by protocol and port.
    fn ids(&self, from: IpAddr, to: IpAddr) -> Vec<(u8, u16, u32)> {
        let of = |entry: &Entry| {
            let connection = entry.live().connection;
            (connection.protocol, connection.port, entry.id)
        };
        let entries = self.entries();
        let between = entries.iter().filter(|e| e.ends() == [from, to]);
        let mut ids: Vec<_> = between.map(of).collect();
        ids.sort_unstable();
        ids
    }

    fn passes(&self, from: &str, to: &str, packet: &Packet) -> bool {
        self.scene.passes(&format!("live/{from}"), &format!("live/{to}"), packet)
    }

    /// Whether a segment with data gets from one pod to another.
    #[track_caller]
    fn carries(&self, speaker: &mut TcpStream, from: &str, to: &str) -> bool {
        let pair = [from, to].map(|pod| self.scene.number(&format!("live/{pod}")));
        let write = || {
            speaker.write_all(b"still here?").expect("written");
            Ok(())
        };
        let arrivals = self.scene.lab.observe(&[pair.into()], write).expect("observed");
        arrivals[pair[1]].iter().any(|a| a.protocol == TCP && a.body.ends_with(b"here?"))
    }
}

/// First packets over every protocol that is tracked in its own way, which can be repeated.
fn packets(from: IpAddr, to: IpAddr) -> [Packet; 3] {
    let icmp = if from.is_ipv4() { ICMP } else { ICMPV6 };
    [(UDP, 53), (SCTP, 80), (icmp, 0)].map(|(protocol, port)| {
        Packet::first(&Connection { from, to, protocol, port }, 4000, 0xa5a5_0001)
    })
}

#[test]
fn what_is_forbidden_now_is_cut_whoever_speaks_next_and_all_else_goes_on() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        let what = format!("{layout:?} {family:?}");
        let node = Node::new(layout, &guard(&["a", "c"]));
        let at = |pod| node.at(pod, family);
        let lab = &node.scene.lab;
        let (mut c, mut b_of_c) = connected(lab, at("c"), at("b"), 80);
        let (mut a, mut b_of_a) = connected(lab, at("a"), at("b"), 81);
        let (mut x, mut c_of_x) = connected(lab, at("x"), at("c"), 82);
        for from in ["a", "c"] {
            for packet in packets(at(from), at("b")) {
                assert!(node.passes(from, "b", &packet), "{what}: {from} {}", packet.protocol);
            }
        }
        assert!(node.carries(&mut c, "c", "b") && node.carries(&mut b_of_c, "b", "c"), "{what}");
        let (allowed, others) = (node.ids(at("a"), at("b")), node.ids(at("x"), at("c")));
        assert_eq!((allowed.len(), others.len()), (4, 1), "{what}: {allowed:?}");
        assert_eq!(node.ids(at("c"), at("b")).len(), 4, "{what}");

        let status = node.enforce(&guard(&["a"]));
        assert_eq!((status.connections.cut, status.connections.flushed), (4, 0), "{what}");
        assert_eq!(node.ids(at("c"), at("b")), [], "{what}");
        assert_eq!(node.ids(at("a"), at("b")), allowed, "{what}: no new entry");
        assert_eq!(node.ids(at("x"), at("c")), others, "{what}");
        // The server speaks first, then the client.
        assert!(!node.carries(&mut b_of_c, "b", "c"), "{what}");
        assert!(!node.carries(&mut c, "c", "b"), "{what}");
        assert!(!node.carries(&mut b_of_c, "b", "c"), "{what}");
        for packet in packets(at("c"), at("b")) {
            assert!(!node.passes("c", "b", &packet), "{what}: {}", packet.protocol);
        }
        for packet in packets(at("a"), at("b")) {
            assert!(node.passes("a", "b", &packet), "{what}: {}", packet.protocol);
        }
        assert!(node.carries(&mut a, "a", "b") && node.carries(&mut b_of_a, "b", "a"), "{what}");
        assert!(node.carries(&mut x, "x", "c") && node.carries(&mut c_of_x, "c", "x"), "{what}");
        assert_eq!(node.ids(at("a"), at("b")), allowed, "{what}: no new entry");
        let log = node.agent.log();
        assert!(log.contains("cut 4 connections") && log.contains("live/c -> live/b (4)"), "{log}");
    }
}

/// Of TCP only a SYN begins a connection. Of other protocols any packet does, in its own direction, and what the other end sends next
/// is then its answer.
#[test]
fn the_answering_end_does_not_begin_a_cut_connection_anew() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        let what = format!("{layout:?} {family:?}");
        let mut node = Node::new(layout, &guard(&["a", "c"]));
        let (b, c) = (node.at("b", family), node.at("c", family));
        let first = |from, to, protocol, source_port, port| {
            Packet::first(&Connection { from, to, protocol, port }, source_port, 0xa5a5_0001)
        };
        let asked = [(UDP, 53), (SCTP, 80)].map(|(protocol, port)| {
            (first(c, b, protocol, 4000, port), first(b, c, protocol, port, 4000))
        });
        for (question, _) in &asked {
            assert!(node.passes("c", "b", question), "{what}: {}", question.protocol);
        }
        let status = node.enforce(&guard(&["a"]));
        assert_eq!((status.connections.cut, status.connections.revoked_tuples), (2, 2), "{what}");
        let is_closed = |node: &Node| {
            asked.iter().all(|(question, answer)| {
                !node.passes("b", "c", answer) && !node.passes("c", "b", question)
            })
        };
        assert!(is_closed(&node), "{what}");
        assert_eq!(node.ids(b, c), [], "{what}");
        // Nothing keeps B from connections of its own.
        assert!(node.passes("b", "c", &first(b, c, UDP, 53, 4001)), "{what}");
        node.agent.verify();

        // The next agent goes on.
        assert_eq!(node.agent.end("-TERM"), Some(0));
        assert!(is_closed(&node), "{what}");
        node.agent = Agent::of_node(node.scene.lab.node(), &node.scratch.0, &[]);
        node.agent.until_enforcing();
        assert!(is_closed(&node), "{what}");
        node.agent.verify();
        node.scratch.write("policy.yaml", &guard(&["a", "c"]));
        node.agent.until("what is allowed again", |s| {
            s.connections.revoked_tuples == 0 && s.state == State::Enforcing
        });
        assert!(node.passes("b", "c", &asked[0].1), "{what}");
        node.agent.verify();
    }
}

/// A pod's own labels, a peer's labels and a namespace's are as good a reason as a policy.
#[test]
fn a_label_that_a_peer_loses_cuts_its_connections() {
    let node = Node::new(Layout::Routed, &guard(&["a", "c"]));
    let family = Family::V4;
    let lab = &node.scene.lab;
    let (mut c, mut b_of_c) = connected(lab, node.at("c", family), node.at("b", family), 80);
    let (mut a, _b_of_a) = connected(lab, node.at("a", family), node.at("b", family), 81);
    node.scratch.write("c.yaml", &pod("c", 3, "c-1").replace("pod: c", "pod: stranger"));
    let status = node.agent.until("the cut", |status| status.connections.cut > 0);
    assert_eq!(status.connections.cut, 1);
    assert!(!node.carries(&mut b_of_c, "b", "c") && !node.carries(&mut c, "c", "b"));
    assert!(node.carries(&mut a, "a", "b"));
}

#[test]
fn a_connection_through_a_service_is_judged_by_its_backend() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        let what = format!("{layout:?} {family:?}");
        let (ip, service) = match family {
            Family::V4 => ("ip", "10.96.0.1"),
            Family::V6 => ("ip6", "fd00:96::1"),
        };
        let node = Node::with(layout, &guard(&["a", "c"]), |scene| {
            let mut text = format!(
                "table {ip} services {{ chain prerouting {{ type nat hook prerouting priority dstnat\n"
            );
            for (port, pod) in [(80, "live/b"), (81, "live/x")] {
                let backend = SocketAddr::new(scene.address(pod, family), 8080);
                writeln!(text, "{ip} daddr {service} tcp dport {port} dnat to {backend}").unwrap();
            }
            nft(scene.lab.node(), &(text + "}\n}\n"));
        });
        let connect = |from, port, backend| {
            let enter = |pod| node.scene.lab.machine_of(node.at(pod, family)).unwrap().namespace();
            let listen = || TcpListener::bind(SocketAddr::new(node.at(backend, family), 8080));
            let listener = enter(backend).run(listen).unwrap().unwrap();
            let to = SocketAddr::new(address(service), port);
            let dial = || TcpStream::connect_timeout(&to, Duration::from_secs(5));
            let client = enter(from).run(dial).unwrap().expect("connected");
            (client, listener.accept().unwrap().0)
        };
        let (mut c, mut b_of_c) = connect("c", 80, "b");
        let (mut a, mut b_of_a) = connect("a", 80, "b");
        let (mut c_to_x, mut x) = connect("c", 81, "x");
        let kept = node.ids(node.at("a", family), node.at("b", family));
        assert_eq!(kept.len(), 1, "{what}: {kept:?}");
        let status = node.enforce(&guard(&["a"]));
        assert_eq!(status.connections.cut, 1, "{what}");
        assert!(!node.carries(&mut b_of_c, "b", "c") && !node.carries(&mut c, "c", "b"), "{what}");
        assert!(node.carries(&mut a, "a", "b") && node.carries(&mut b_of_a, "b", "a"), "{what}");
        assert!(node.carries(&mut c_to_x, "c", "x") && node.carries(&mut x, "x", "c"), "{what}");
        assert_eq!(node.ids(node.at("a", family), node.at("b", family)), kept, "{what}");
    }
}

/// What the node's own processes are connected with passes no rule, whoever is isolated.
#[test]
fn connections_of_the_node_itself_are_not_touched() {
    for family in Family::ALL {
        let node = Node::new(Layout::Routed, NOTHING);
        let b = node.at("b", family);
        let lab = &node.scene.lab;
        let listener = lab.machine_of(b).unwrap().namespace().run(|| TcpListener::bind((b, 80)));
        let listener = listener.unwrap().unwrap();
        let dial = || TcpStream::connect_timeout(&SocketAddr::new(b, 80), Duration::from_secs(5));
        let mut probe = lab.node().run(dial).unwrap().expect("connected");
        let (mut served, seen) = listener.accept().unwrap();
        let (_c, _b_of_c) = connected(lab, node.at("c", family), b, 81);
        let before = node.ids(seen.ip(), b);
        assert_eq!(before.len(), 1, "{family:?}: {before:?}");
        let status = node.enforce(&guard(&[]));
        assert_eq!(status.connections.cut, 1, "{family:?}: c's");
        probe.write_all(b"alive?").unwrap();
        let mut heard = [0; 6];
        served.read_exact(&mut heard).unwrap();
        assert_eq!(node.ids(seen.ip(), b), before, "{family:?}");
    }
}

/// The kernel has the narrower program already, so that the next agent finds no difference to it.
#[test]
fn an_agent_that_was_killed_before_it_cut_leaves_the_cut_to_the_next_one() {
    let mut node = Node::new(Layout::Routed, &guard(&["a", "c"]));
    let family = Family::V4;
    let (a, b, c) = (node.at("a", family), node.at("b", family), node.at("c", family));
    let (mut from_c, mut b_of_c) = connected(&node.scene.lab, c, b, 80);
    let (mut from_a, _b_of_a) = connected(&node.scene.lab, a, b, 81);
    node.agent.end("-KILL");
    node.scratch.write("policy.yaml", &guard(&["a"]));
    // This programs the kernel and looks at no connection, like an agent that is killed in between.
    let files = node.scratch.path().to_owned();
    let args = ["apply", "-f", &files, "--allow-source", MARKERS];
    let apply = || crate::command::palisade(&args).exits(0);
    node.scene.lab.node().run(apply).unwrap();
    assert_eq!(node.ids(c, b).len(), 1, "it is there still");
    assert!(node.carries(&mut from_c, "c", "b"));
    node.agent = Agent::of_node(node.scene.lab.node(), &node.scratch.0, &[]);
    let status = node.agent.until("the cut", |status| status.connections.cut > 0);
    assert_eq!(status.connections.cut, 1);
    assert!(!node.carries(&mut b_of_c, "b", "c") && !node.carries(&mut from_c, "c", "b"));
    assert!(node.carries(&mut from_a, "a", "b"));
}

/// Neither of these pods is isolated: what leaves is flushed whatever policies say.
#[test]
fn an_address_that_leaves_its_pod_takes_its_connections_along() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        let what = format!("{layout:?} {family:?}");
        let node = Node::new(layout, NOTHING);
        let at = |pod| node.at(pod, family);
        let lab = &node.scene.lab;
        let (_x, mut c_of_x) = connected(lab, at("x"), at("c"), 82);
        let (_a, _c_of_a) = connected(lab, at("a"), at("c"), 80);
        let (_c, _a_of_c) = connected(lab, at("c"), at("a"), 81);
        for packet in packets(at("a"), at("c")) {
            assert!(node.passes("a", "c", &packet), "{what}");
        }
        let others = node.ids(at("x"), at("c"));
        fs::remove_file(node.scratch.0.join("a.yaml")).unwrap();
        let status = node.agent.until("the flush", |s| s.connections.flushed > 0);
        assert_eq!((status.connections.flushed, status.connections.cut), (5, 0), "{what}");
        let left = [node.ids(at("a"), at("c")), node.ids(at("c"), at("a"))];
        assert_eq!(left, [[], []], "{what}");

        // Another pod gets the address, and then a third one while the second is still there.
        node.scratch.write("a.yaml", &pod("second", 1, "second-1"));
        node.agent.until("the second", |s| s.sizes.pods == 4);
        let ask = Packet::udp(at("a"), at("c"), 4001, 53, b"second");
        assert!(node.passes("a", "c", &ask), "{what}");
        assert_eq!(node.ids(at("a"), at("c")).len(), 1, "{what}");
        node.scratch.write("a.yaml", &pod("third", 1, "third-1"));
        node.agent.until("the flush", |s| s.connections.flushed == 6);
        assert_eq!(node.ids(at("a"), at("c")), [], "{what}");
        assert_eq!(node.ids(at("x"), at("c")), others, "{what}");
        assert!(node.carries(&mut c_of_x, "c", "x"), "{what}");
    }
}

/// Overridden by `PALISADE_CONNECTIONS`.
const MANY: usize = 20_000;

/// Beside them.
const FEW: usize = 100;

/// How long it takes is printed, not judged.
#[test]
fn few_of_many_connections_are_cut_and_then_all_at_once() {
    let many = std::env::var("PALISADE_CONNECTIONS").map_or(MANY, |text| text.parse().unwrap());
    let node = Node::new(Layout::Routed, &guard(&["a", "c", "x"]));
    let family = Family::V4;
    let [a, b, c, x] = ["a", "b", "c", "x"].map(|pod| node.at(pod, family));
    let begin = |from: IpAddr, to: IpAddr, pods: [&str; 2], count: usize| {
        let [from_number, to_number] = pods.map(|pod| node.scene.number(&format!("live/{pod}")));
        let transmission = |number: usize| {
            let (source, port) = (1024 + (number % 60_000) as u16, 1000 + (number / 60_000) as u16);
            let packet = Packet::udp(from, to, source, port, b"").bytes();
            Transmission { from: from_number, to: to_number, packet }
        };
        let transmissions: Vec<_> = (0..count).map(transmission).collect();
        node.scene.lab.exchange(&transmissions).expect("exchanged");
    };
    begin(c, b, ["c", "b"], many);
    begin(x, b, ["x", "b"], FEW);
    begin(x, c, ["x", "c"], FEW);
    let (mut kept, _b_of_a) = connected(&node.scene.lab, a, b, 81);
    let entries = node.entries().len();
    assert!(entries >= many + 2 * FEW, "{entries}");
    let mut cut = 0;
    // Of a pod that has few of them, few of a pod that has nearly all, and all.
    let changes = [(&["a", "c", "x"][..], FEW), (&["a", "c"], FEW), (&["a"], many)];
    for (allowed, expected) in changes {
        let policy = format!("{}---\n{ONLY_TO_B}", guard(allowed));
        let begun = Instant::now();
        let connections = node.enforce(&policy).connections;
        println!(
            "{entries} entries, {} cut: {} us from the commit to the last one, {:?} from the change",
            connections.cut - cut,
            connections.last_us.unwrap_or(0),
            begun.elapsed()
        );
        // On a slow machine some have ended by themselves until then.
        let most = expected as u64;
        assert!((1..=most).contains(&(connections.cut - cut)), "{connections:?}");
        cut = connections.cut;
    }
    assert_eq!([node.ids(c, b), node.ids(x, b), node.ids(x, c)], [vec![], vec![], vec![]]);
    assert!(node.carries(&mut kept, "a", "b"));
}
