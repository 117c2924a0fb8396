//! Pods from their first packet on, under a running agent: unknown addresses of the node's pods are held while a pod is awaited.

use std::fs;
use std::net::IpAddr;

use palisade::protocol::{HoldState, Request, Response, State, Status};
use palisade_compiler::model::Family;
use palisade_lab::packet::Packet;
use palisade_lab::{LabSpec, Layout};

use crate::cast::LAYOUTS_AND_FAMILIES;
use crate::command::{Agent, Scratch};
use crate::lab::address;
use crate::scene::Scene;

/// `a` and `c` are there from the beginning; `b` is born.
const PODS: [(&str, u8); 3] = [("a", 1), ("b", 2), ("c", 3)];

const NODE: &str = "apiVersion: v1\nkind: Node\nmetadata: {name: here}\n\
    spec: {podCIDRs: [10.1.0.0/24, 'fd00:1::/64']}\n\
    status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}\n";

/// Pod `b` takes `a`, and reaches nobody but `a`.
const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: x, name: b}\n\
    spec:\n  podSelector: {matchLabels: {pod: b}}\n  policyTypes: [Ingress, Egress]\n\
    \x20 ingress: [{from: [{podSelector: {matchLabels: {pod: a}}}]}]\n\
    \x20 egress: [{to: [{podSelector: {matchLabels: {pod: a}}}]}]\n";

fn addresses(number: u8) -> String {
    format!("podIPs: [{{ip: 10.1.0.{number}}}, {{ip: 'fd00:1::{number}'}}]")
}

/// A pod as it is when it was bound to the node, or when its address is known.
fn pod(name: &str, label: &str, address: Option<u8>) -> String {
    let status = match address {
        None => "phase: Pending".to_owned(),
        Some(number) => format!("phase: Running, {}", addresses(number)),
    };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{namespace: x, name: {name}, labels: {{pod: {label}}}}}\n\
         spec: {{nodeName: here}}\nstatus: {{{status}}}\n---\n"
    )
}

struct Node {
    scene: Scene,
    scratch: Scratch,
    agent: Agent,
    family: Family,
}

impl Node {
    #[track_caller]
    fn new((layout, family): (Layout, Family), node: &str, arguments: &[&str]) -> Self {
        let scratch = Scratch::new();
        scratch.write("node.yaml", node);
        scratch.write("policy.yaml", POLICY);
        for (name, number) in PODS {
            let known = Some(number).filter(|_| name != "b");
            scratch.write(&format!("{name}.yaml"), &pod(name, name, known));
        }
        let pods: String =
            PODS.iter().map(|&(name, number)| pod(name, name, Some(number))).collect();
        let scene = Scene::with(&pods, |pods| LabSpec {
            node: ["192.0.2.1", "2001:db8:1::1"].map(address).into(),
            ..LabSpec::new(layout, pods)
        });
        let arguments = [&["--node-name", "here"], arguments].concat();
        let agent = Agent::of_node(scene.lab.node(), &scratch.0, &arguments);
        agent.until("the start", |s| s.state == State::Enforcing && s.sizes.pods == 3);
        Self { scene, scratch, agent, family }
    }

    fn at(&self, pod: &str) -> IpAddr {
        self.scene.address(&format!("x/{pod}"), self.family)
    }

    /// Whether the first packet of a connection arrives.
    fn passes(&self, from: &str, to: &str, port: u16) -> bool {
        let packet = Packet::udp(self.at(from), self.at(to), 5000, port, b"x");
        self.scene.passes(&format!("x/{from}"), &format!("x/{to}"), &packet)
    }

    fn is_holding(&self) -> bool {
        match self.agent.ask(&Request::Status) {
            Response::Status(status) => status.hold.state == HoldState::Holding,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn until_hold(&self, state: HoldState) -> Status {
        self.agent.until("the hold", |s| s.hold.state == state && s.state == State::Enforcing)
    }
}

#[test]
fn a_selected_pod_is_closed_from_its_first_packet_and_open_once_it_is_known() {
    for layout in LAYOUTS_AND_FAMILIES {
        let node = Node::new(layout, NODE, &[]);
        let status = node.until_hold(HoldState::Holding);
        assert_eq!((status.hold.awaited, status.hold.awaited_count), (vec!["x/b".to_owned()], 1));
        assert_eq!(status.hold.ranges, ["10.1.0.0/24", "fd00:1::/64"]);
        for (from, to) in [("a", "b"), ("c", "b"), ("b", "a"), ("b", "c")] {
            assert!(!node.passes(from, to, 80), "{from} -> {to} in {layout:?}");
        }
        assert!(node.passes("a", "c", 80), "both are known, in {layout:?}");
        let status = node.agent.until("the count", |status| status.hold.packets >= 4);
        assert!(status.hold.seconds.is_some());

        node.scratch.write("b.yaml", &pod("b", "b", Some(2)));
        let mut port = 1000;
        while node.is_holding() {
            port += 1;
            assert!(!node.passes("c", "b", port), "forbidden, while it is released, in {layout:?}");
            assert!(!node.passes("b", "c", port), "forbidden, while it is released, in {layout:?}");
        }
        for (from, to, is_allowed) in
            [("a", "b", true), ("b", "a", true), ("c", "b", false), ("b", "c", false)]
        {
            assert_eq!(node.passes(from, to, 81), is_allowed, "{from} -> {to} in {layout:?}");
        }
        let status = node.until_hold(HoldState::Idle);
        assert!(status.hold.packets >= 4, "{:?}", status.hold);
        node.agent.verify();
    }
}

/// The address of a pod that went is nobody's until the pod that has it now is known.
#[test]
fn a_pod_with_the_address_of_another_does_not_get_its_verdicts() {
    for layout in LAYOUTS_AND_FAMILIES {
        let node = Node::new(layout, NODE, &[]);
        node.scratch.write("b.yaml", &pod("b", "b", Some(2)));
        node.until_hold(HoldState::Idle);
        assert!(node.passes("a", "b", 80));
        // One that nobody may reach is bound to the node, and gets the address of `b`, which goes.
        let nobody = POLICY.replace("pod: b", "pod: d").replace("name: b", "name: d");
        let nobody = nobody.replace("[{from: [{podSelector: {matchLabels: {pod: a}}}]}]", "[]");
        node.scratch.write("nobody.yaml", &nobody);
        node.scratch.write("d.yaml", &pod("d", "d", None));
        node.until_hold(HoldState::Holding);
        fs::remove_file(node.scratch.0.join("b.yaml")).unwrap();
        node.agent.until("the end of b", |s| s.sizes.pods == 3 && s.state == State::Enforcing);
        assert!(!node.passes("a", "b", 81), "the address is held, in {layout:?}");
        node.scratch.write("d.yaml", &pod("d", "d", Some(2)));
        node.until_hold(HoldState::Idle);
        assert!(!node.passes("a", "b", 82), "d takes nobody, in {layout:?}");
        assert!(node.passes("b", "a", 82), "d may reach a, in {layout:?}");
        node.agent.verify();
    }
}

#[test]
fn without_the_range_of_pods_nothing_is_held_and_the_status_says_so() {
    let layout = LAYOUTS_AND_FAMILIES[0];
    let no_range = "apiVersion: v1\nkind: Node\nmetadata: {name: here}\n";
    let node = Node::new(layout, no_range, &[]);
    let status = node.until_hold(HoldState::Off);
    assert!(status.hold.reason.unwrap().contains("--pod-cidr"));
    assert!(node.passes("c", "b", 80), "b is not known");
    assert!(node.agent.log().contains("are not held"), "{}", node.agent.log());
    drop(node);
    let node = Node::new(layout, NODE, &["--pod-cidr", "10.99.0.0/16"]);
    let status = node.until_hold(HoldState::Off);
    assert!(status.hold.reason.unwrap().contains("10.1.0.1"));
    drop(node);
    let given = ["--pod-cidr", "10.1.0.7/16", "--pod-cidr", "fd00:1::/64"];
    let node = Node::new(layout, no_range, &given);
    let status = node.until_hold(HoldState::Holding);
    assert_eq!(status.hold.ranges, ["10.1.0.0/16", "fd00:1::/64"]);
    assert!(!node.passes("c", "b", 80));
}
