//! Denied connections on the stream of a running agent: named, explained, merged and counted.

use std::fs;
use std::path::Path;

use palisade::flows::counts::FlowCounts;
use palisade::flows::filter::Filter;
use palisade::flows::flow::{Flow, FlowDirection, FlowVerdict};
use palisade::protocol::{Observe, Request, Response};
use palisade::socket::{Client, Responses};
use palisade_compiler::model::Family;
use palisade_compiler::program::skeleton::LOG_RATE_PER_SECOND;
use palisade_lab::packet::Packet;
use palisade_lab::{Layout, Namespace};

use crate::cast::{CAST, LAYOUTS_AND_FAMILIES};
use crate::command::{Agent, Scratch, enter, palisade_in};
use crate::scene::Scene;
use crate::scrape;

/// Denied one after another, far more than the log's rate lets through at once.
const MANY: u16 = 20_000;

/// Pods in a lab, and an agent on their node that follows a directory.
pub(crate) struct Node {
    pub(crate) scene: Scene,
    pub(crate) scratch: Scratch,
    pub(crate) agent: Agent,
}

impl Node {
    #[track_caller]
    pub(crate) fn new(layout: Layout) -> Self {
        Self::started(layout, |node, files| Agent::of_node(node, files, &[]))
    }

    /// Whose socket for events of connections has so small a buffer, in bytes.
    #[track_caller]
    pub(crate) fn with_event_buffer(layout: Layout, bytes: &str) -> Self {
        Self::started(layout, |node, files| {
            Agent::of_node(node, files, &["--connection-event-buffer", bytes])
        })
    }

    /// Whose agent calls unused what was not used for so many seconds.
    #[track_caller]
    pub(crate) fn with_unused_after(layout: Layout, seconds: &str) -> Self {
        Self::started(layout, |node, files| {
            Agent::of_node(node, files, &["--unused-after", seconds])
        })
    }

    /// Whose agent sees `/proc/sys` as an unprivileged container does, which cannot write to it.
    #[track_caller]
    pub(crate) fn with_read_only_settings(layout: Layout) -> Self {
        let script = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$0\" \"$@\"";
        Self::started(layout, |node, files| {
            let program = env!("CARGO_BIN_EXE_palisade");
            let files = files.to_str().unwrap();
            let args = ["--mount", "sh", "-c", script, program, "run", "-f", files];
            Agent::start_by(enter(&node.path(), "unshare", &args), Scratch::new(), None)
        })
    }

    #[track_caller]
    pub(crate) fn started(layout: Layout, start: impl FnOnce(&Namespace, &Path) -> Agent) -> Self {
        let scratch = Scratch::new();
        scratch.write("cast.yaml", CAST);
        let scene = Scene::new(layout, CAST);
        let agent = start(scene.lab.node(), &scratch.0);
        agent.until_enforcing();
        agent.until("the log of denied packets", |status| status.flows.is_listening);
        Self { scene, scratch, agent }
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        self.scratch.write(name, text);
    }

    pub(crate) fn udp(
        &self,
        family: Family,
        from: &str,
        to: &str,
        port: u16,
        source: u16,
    ) -> Packet {
        let at = |name: &str| self.scene.address(name, family);
        Packet::udp(at(from), at(to), source, port, b"observed")
    }

    /// Sends a packet that must not arrive.
    #[track_caller]
    pub(crate) fn denied(&self, family: Family, from: &str, to: &str, port: u16) {
        let packet = self.udp(family, from, to, port, 4000);
        assert!(!self.scene.passes(from, to, &packet), "{family:?} {from} -> {to}:{port}");
    }

    fn follow(&self, filter: Filter) -> Stream {
        follow(&self.agent, filter)
    }

    /// What is stored, the flow seen last at the end.
    #[track_caller]
    pub(crate) fn stored(&self, filter: Filter) -> Vec<Flow> {
        let observe = Observe { last: 1000, follow: false, filter };
        let client = Client::new(&self.agent.socket);
        let mut responses = client.stream(&Request::Observe(observe)).unwrap();
        let mut flows = Vec::new();
        loop {
            match responses.next().unwrap() {
                Some(Response::Flow(flow)) => flows.push(*flow),
                Some(Response::End) => return flows,
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Denied connections only.
pub(crate) fn only_denied() -> Filter {
    Filter { verdicts: vec![FlowVerdict::Deny], ..Filter::default() }
}

struct Stream(Responses);

fn follow(agent: &Agent, filter: Filter) -> Stream {
    let observe = Observe { last: 0, follow: true, filter };
    let before = agent.until("the status", |_| true).flows.readers;
    let stream = Client::new(&agent.socket).stream(&Request::Observe(observe)).unwrap();
    agent.until("the reader", |status| status.flows.readers > before);
    Stream(stream)
}

impl Stream {
    #[track_caller]
    fn next(&mut self) -> Flow {
        match self.0.next().unwrap() {
            Some(Response::Flow(flow)) => *flow,
            other => panic!("{other:?}"),
        }
    }
}

#[track_caller]
fn assert_names(flow: &Flow, direction: FlowDirection, ends: [&str; 2], policy: &str) {
    assert_eq!((flow.verdict, flow.direction), (FlowVerdict::Deny, direction), "{flow:?}");
    let pods = [&flow.from, &flow.to].map(|end| end.pod.as_deref().unwrap_or_default());
    assert_eq!(pods, ends, "{flow:?}");
    assert_eq!(flow.judgement.isolated_by, [policy], "{flow:?}");
    assert_eq!(flow.judgement.divergence, None, "{flow:?}");
    assert_eq!(flow.judgement.misses.len(), 1, "{flow:?}");
    assert_eq!((flow.judgement.misses[0].policy.as_str(), flow.count), (policy, 1), "{flow:?}");
}

#[test]
fn a_denied_connection_comes_with_the_policy_that_isolates_and_the_nearest_miss() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        let node = Node::new(layout);
        let mut stream = node.follow(only_denied());
        // By its label, a is no peer of b's; the port would do.
        node.denied(family, "n/a", "n/b", 53);
        let flow = stream.next();
        assert_names(&flow, FlowDirection::Ingress, ["n/a", "n/b"], "n/b");
        let miss = &flow.judgement.misses[0];
        assert!(miss.peer.as_ref().is_some_and(|peer| peer.contains("pod")), "{miss:?}");
        assert_eq!((&miss.port, flow.protocol, flow.port), (&None, 17, Some(53)));
        let address = node.scene.address("n/a", family).to_string();
        assert_eq!(flow.from.address, address);
        // The peer would do, and the port differs.
        node.denied(family, "n/x", "n/a", 54);
        let flow = stream.next();
        assert_names(&flow, FlowDirection::Egress, ["n/x", "n/a"], "n/x");
        let miss = &flow.judgement.misses[0];
        assert!(miss.port.as_ref().is_some_and(|port| port.contains("54")), "{miss:?}");
        assert_eq!(miss.peer, None);
        // What is allowed is no flow of this stream.
        let allowed = node.udp(family, "n/c", "n/b", 53, 4000);
        assert!(node.scene.passes("n/c", "n/b", &allowed));
        node.denied(family, "n/c", "n/b", 55);
        assert_eq!(stream.next().port, Some(55));
    }
}

#[test]
fn repeats_are_one_flow_and_filters_apply_to_what_is_stored_and_what_comes() {
    let node = Node::new(Layout::Routed);
    let only = Filter { policies: vec!["n/x".into()], ..only_denied() };
    let mut stream = node.follow(only.clone());
    for _ in 0..3 {
        node.denied(Family::V4, "n/a", "n/b", 53);
    }
    node.denied(Family::V4, "n/x", "n/c", 53);
    let flow = stream.next();
    assert_names(&flow, FlowDirection::Egress, ["n/x", "n/c"], "n/x");
    node.agent.until("all of them", |status| status.flows.seen == 4);
    let guards = Filter { namespaces: vec!["n".into()], ports: vec![53], ..only_denied() };
    let is_merged = |flow: &Flow| flow.from.pod.as_deref() == Some("n/a") && flow.count == 3;
    node.agent.until("the repeats", |_| node.stored(guards.clone()).iter().any(is_merged));
    assert_eq!(node.stored(guards).len(), 2);
    assert_eq!(node.stored(only).len(), 1);
    // Each packet counts for the policy that denied it.
    let denials = node.agent.until("the packets", |status| !status.denials.is_empty()).denials;
    let counted: Vec<_> =
        denials.iter().map(|it| (it.policy.as_str(), it.direction, it.packets)).collect();
    assert_eq!(counted, [("n/b", FlowDirection::Ingress, 3), ("n/x", FlowDirection::Egress, 1)]);
    // In metrics, too, with how long it took until they were shown.
    let scrape = scrape::scrape(&node.scene.lab.node().path());
    let value = |series: &str| scrape.value(series);
    let of = |policy: &str, direction: &str| {
        format!(
            "palisade_policy_hits_total{{policy=\"{policy}\",direction=\"{direction}\",verdict=\"deny\"}}"
        )
    };
    assert_eq!((value(&of("n/b", "ingress")), value(&of("n/x", "egress"))), (3.0, 1.0));
    let all = "palisade_flow_hits_total{direction=\"ingress\",verdict=\"deny\"}";
    assert_eq!(value(all), 3.0);
    assert_eq!(value("palisade_flow_delay_seconds_count{verdict=\"deny\"}"), 4.0);
    assert!(value("palisade_flow_delay_seconds_sum{verdict=\"deny\"}") > 0.0);
    let labelled =
        |label: &str| node.stored(Filter { labels: vec![label.into()], ..only_denied() }).len();
    assert_eq!((labelled("pod=x"), labelled("pod"), labelled("pod=c")), (1, 2, 1));
}

/// `denied` and what it is made of.
fn is_settled(flows: &FlowCounts) -> bool {
    let counted = flows.seen + flows.lost.not_logged + flows.lost.socket;
    flows.denied == u64::from(MANY) && counted == u64::from(MANY)
}

#[test]
fn of_a_flood_every_packet_is_seen_or_counted_as_lost() {
    for family in Family::ALL {
        let node = Node::new(Layout::Routed);
        let packet = |n| node.udp(family, "n/a", "n/b", 53, 4000 + n).bytes();
        let packets: Vec<_> = (0..MANY).map(packet).collect();
        let arrived = node.scene.arrivals("n/a", "n/b", &packets);
        assert!(arrived.iter().all(|arrival| arrival.port != 53), "{family:?}");
        let flows = node.agent.until("the count", |status| is_settled(&status.flows)).flows;
        assert_eq!((flows.lost.socket, flows.lost.queue, flows.unreadable), (0, 0, 0));
        assert!(flows.seen >= 1 && flows.lost.not_logged > 0, "{flows:?}");
        assert!(flows.seen < u64::from(MANY) || LOG_RATE_PER_SECOND >= u64::from(MANY));
        let stored = node.stored(only_denied());
        assert_eq!(stored.iter().map(|flow| flow.count).sum::<u64>(), flows.seen, "{stored:?}");
        assert_eq!(stored.len(), 1, "{stored:?}");
    }
}

#[test]
fn an_agent_that_starts_while_another_has_the_log_waits_for_it() {
    let node = Node::new(Layout::Routed);
    let mut stream = node.follow(only_denied());
    // Nothing that the two share but the log: the second one has a socket of its own, and tables may have an owner.
    let second = Agent::of_node(node.scene.lab.node(), &node.scratch.0, &["--listen", "off"]);
    second.until_log("another process reads NFLOG group");
    node.denied(Family::V4, "n/a", "n/b", 53);
    assert_eq!(stream.next().port, Some(53));
    let Node { scene, agent: mut first, scratch: _scratch } = node;
    assert_eq!(first.end("-TERM"), Some(0));
    second.until("the log", |status| status.flows.is_listening);
    second.until_enforcing();
    let mut stream = follow(&second, only_denied());
    let [a, b] = ["n/a", "n/b"].map(|name| scene.address(name, Family::V4));
    assert!(!scene.passes("n/a", "n/b", &Packet::udp(a, b, 4000, 54, b"observed")));
    let flow = stream.next();
    assert_names(&flow, FlowDirection::Ingress, ["n/a", "n/b"], "n/b");
}

#[test]
fn the_command_prints_text_or_versioned_json_and_ends_when_asked() {
    let node = Node::new(Layout::Routed);
    node.denied(Family::V4, "n/a", "n/b", 53);
    node.agent.until("the flow", |status| status.flows.stored == 1);
    let socket = node.agent.socket.to_str().unwrap();
    let run = |more: &[&str]| {
        let args = [&["observe", "--no-follow", "--socket", socket][..], more].concat();
        palisade_in(node.scene.lab.node(), &args)
    };
    // No terminal: JSON lines.
    let line = run(&[]).exits(0).out;
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&value["version"], &value["type"]), (&1.into(), &"flow".into()), "{line}");
    assert_eq!((&value["from"]["pod"], &value["isolated_by"][0]), (&"n/a".into(), &"n/b".into()));
    let text = run(&["-o", "text", "--verdict", "deny", "--address", "10.1.0.0/16"]).exits(0).out;
    assert!(text.contains("deny ingress n/a (10.1.0.1) -> n/b (10.1.0.2) UDP 53"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("    n/b")), "{text}");
    assert_eq!(run(&["--port", "54"]).exits(0).out, "");
    run(&["--pod", "a"]).exits(2).complains("does not say which namespace");
    assert!(fs::exists(&node.agent.socket).unwrap());
}
