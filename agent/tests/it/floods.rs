//! Pods and authors who send or write as much as they can: the verdicts of others stay, and the agent within its bounds.
//!
//! A flood is sent once, or again and again for as many seconds as `PALISADE_SOAK_SECONDS` says.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use palisade::protocol::Status;
use palisade_compiler::model::Family;
use palisade_lab::Layout;
use palisade_lab::packet::Packet;

use crate::command::Agent;
use crate::observe::Node;

/// Packets of a flood, and how many are sent before others are tried.
const FLOOD: u16 = 24_000;
const PART: u16 = 2_000;
/// What the agent may keep of a flood, in KiB: of flows, of what waits to be judged, of connections that are open.
const MAX_KEPT: u64 = 32 * 1024;

/// For how long a flood goes on.
fn soak() -> Duration {
    let seconds = std::env::var("PALISADE_SOAK_SECONDS");
    Duration::from_secs(seconds.map_or(0, |text| text.parse().expect("a number of seconds")))
}

/// Connection tracking forgets unanswered connections soon, so that a long flood does not fill its table: what becomes of verdicts then
/// has a test of its own.
const SHORT_TIMEOUT: (&str, &str) = ("netfilter/nf_conntrack_udp_timeout", "1");

/// The agent's resident memory, in KiB.
fn resident(agent: &Agent) -> u64 {
    agent.memory("VmRSS:")
}

/// Others' packets have their verdicts: c may reach b, x may reach a, and neither may reach more.
#[track_caller]
fn assert_verdicts(node: &Node, number: u16) {
    let packet = |from, to, port| node.udp(Family::V4, from, to, port, 10_000 + number);
    for (from, to, port, allowed) in
        [("n/c", "n/b", 53, true), ("n/x", "n/a", 53, true), ("n/x", "n/c", 53, false)]
    {
        assert_eq!(node.scene.passes(from, to, &packet(from, to, port)), allowed, "{from} {to}");
    }
}

/// How many packets of a flood were sent, how often others' were tried, and the status at its end.
struct Flooded {
    sent: u64,
    looks: u64,
    status: Status,
}

/// Sends a flood from a pod to another, part by part, and looks at others in between. Packets are given by round and number.
#[track_caller]
fn flood(node: &Node, from: &str, to: &str, packet: impl Fn(u16, u16) -> Vec<u8>) -> Flooded {
    node.agent.until("the events", |status| status.flows.allowed.is_listening);
    let time = soak();
    if !time.is_zero() {
        node.scene.lab.node().set(SHORT_TIMEOUT.0, SHORT_TIMEOUT.1).expect("set");
    }
    assert_verdicts(node, 0);
    let before = resident(&node.agent);
    let (deadline, mut looks, mut most) = (Instant::now() + time, 1, 0);
    for round in 0.. {
        for first in (0..FLOOD).step_by(usize::from(PART)) {
            let packets: Vec<_> = (first..first + PART).map(|n| packet(round, n)).collect();
            node.scene.arrivals(from, to, &packets);
            assert_verdicts(node, (looks % 10_000) as u16);
            looks += 1;
        }
        most = most.max(resident(&node.agent).saturating_sub(before));
        assert!(most < MAX_KEPT, "{most} KiB more than before, in round {round}");
        if Instant::now() >= deadline {
            break;
        }
    }
    let status = node.agent.until("the end of the flood", |status| {
        let flows = &status.flows;
        let lost = &flows.lost;
        flows.denied == flows.seen + lost.not_logged + lost.socket && flows.denied > 0
    });
    node.agent.verify();
    let kept = resident(&node.agent).saturating_sub(before);
    assert!(kept < MAX_KEPT, "{kept} KiB more than before");
    assert_eq!(status.flows.divergences, 0, "{:?}", status.flows);
    let sent = (looks - 1) * u64::from(PART);
    if !time.is_zero() {
        eprintln!("{sent} packets; at most {most} KiB more than before, {kept} KiB at the end");
    }
    Flooded { sent, looks, status }
}

#[test]
fn connections_of_ever_new_kinds_wear_nobody_out() {
    let node = Node::new(Layout::Routed);
    // To a pod that nothing isolates, each to another port, and in each round from another.
    let packet =
        |round: u16, n| node.udp(Family::V4, "n/a", "n/c", 1_000 + n, 4000 + round).bytes();
    let Flooded { sent, looks, status } = flood(&node, "n/a", "n/c", packet);
    assert_eq!(status.flows.denied, looks, "{:?}", status.flows);
    let wanted = sent + 2 * looks;
    let status = node.agent.until("all connections", |status| {
        // Of those that were lost, only such as are still there are found again.
        let allowed = &status.flows.allowed;
        !soak().is_zero() || allowed.opened - allowed.elsewhere >= wanted
    });
    // Of those that are not stored it is known how many they are.
    let allowed = &status.flows.allowed;
    assert!(allowed.stored < usize::from(FLOOD), "{allowed:?}");
    assert!(allowed.lost.forgotten + allowed.lost.queue > 0, "{allowed:?}");
}

#[test]
fn denied_packets_wear_nobody_out_and_none_is_left_uncounted() {
    let node = Node::new(Layout::Routed);
    let packet = |_, n| node.udp(Family::V4, "n/a", "n/b", 1_000 + n, 4000).bytes();
    let Flooded { sent, looks, status } = flood(&node, "n/a", "n/b", packet);
    let status = node.agent.until("all packets", |now| {
        now.flows.denied == sent + looks && now.revision == status.revision
    });
    assert!(status.flows.lost.not_logged > 0, "{:?}", status.flows);
}

#[test]
fn fragments_that_never_become_whole_wear_nobody_out() {
    let node = Node::new(Layout::Routed);
    let [a, b] = ["n/a", "n/b"].map(|name| node.scene.address(name, Family::V4));
    let whole = Packet::udp(a, b, 4000, 53, &[0; 64]);
    // The first of several, each of another packet.
    let packet = |_, n| whole.fragments(24, 1 + n).swap_remove(0);
    flood(&node, "n/a", "n/b", packet);
}

/// As long as names and labels may be.
const LONGEST: usize = 63;

#[test]
fn labels_as_long_and_many_as_they_may_be_cost_no_more_than_they_are() {
    let node = Node::new(Layout::Routed);
    let before = resident(&node.agent);
    let (pods, labels) = (1_500, 20);
    let mut text = String::from(r#"{"kind": "List", "apiVersion": "v1", "items": ["#);
    for pod in 0..pods {
        let label = |n: usize| {
            let pad = |kind: &str| format!("{kind}-{pod}-{n}-{}", "x".repeat(LONGEST));
            format!(r#""{}": "{}""#, &pad("k")[..LONGEST], &pad("v")[..LONGEST])
        };
        let labels: Vec<_> = (0..labels).map(label).collect();
        let separator = if pod == 0 { "" } else { "," };
        write!(
            text,
            r#"{separator}{{"kind": "Pod", "apiVersion": "v1", "metadata": {{"namespace": "evil", "name": "p{pod}", "labels": {{{}}}}},
                "status": {{"phase": "Running", "podIPs": [{{"ip": "10.2.{}.{}"}}]}}}}"#,
            labels.join(","),
            pod / 250,
            pod % 250
        )
        .unwrap();
    }
    // Policies that name a great many of these keys.
    for policy in 0..50 {
        let key = |n: usize| format!("k-{policy}-{n}-{}", "x".repeat(LONGEST));
        let keys = (0..labels)
            .map(|n| format!(r#"{{"key": "{}", "operator": "Exists"}}"#, &key(n)[..LONGEST]));
        let keys = keys.collect::<Vec<_>>().join(",");
        write!(
            text,
            r#",{{"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": {{"namespace": "evil", "name": "q{policy}"}},
                "spec": {{"podSelector": {{"matchExpressions": [{keys}]}}, "ingress": [{{"from": [{{"podSelector": {{"matchExpressions": [{keys}]}}}}]}}]}}}}"#
        )
        .unwrap();
    }
    text.push_str("]}");
    node.write("evil.yaml", &text);
    node.agent.until("the pods", |status| status.sizes.pods == pods + 4);
    assert_verdicts(&node, 0);
    node.agent.verify();
    // While a file is read it is there twice, and what is freed is not all given back.
    let (kept, written) = (resident(&node.agent).saturating_sub(before), text.len() as u64 / 1024);
    assert!(kept < 4 * written, "{kept} KiB more than before, for {written} KiB");
}
