//! Pods that send from their first instant, while the API server learns their address later.

use std::thread::sleep;
use std::time::{Duration, Instant};

use palisade::protocol::{HoldState, State};
use palisade_lab::Flood;

use crate::cluster::{A, B, C, Cluster, NODE, connection, until_in_sync};
use crate::command::Agent;

const MACHINES: [(&str, &str); 3] = [("a", A), ("b", B), ("c", C)];

/// How long a pod sends before its address is known.
const KNOWN_AFTER: Duration = Duration::from_millis(1200);

fn starts() -> usize {
    let name = "PALISADE_POD_STARTS";
    std::env::var(name).map_or(4, |text| text.parse().expect("a number of pods"))
}

fn until_hold(agent: &Agent, state: HoldState) {
    agent.until("the hold", |s| s.hold.state == state && s.state == State::Enforcing);
}

/// Pods are born one after the other, all at one address: a may reach them and be reached by them, c may not.
#[test]
fn no_forbidden_packet_of_a_pod_that_starts_is_delivered_and_an_allowed_one_waits_for_its_address()
{
    let cluster = Cluster::new(&MACHINES);
    cluster.set_pod_range(NODE, "10.0.0.0/24");
    cluster.add_pod("x/a", NODE, A);
    cluster.add_pod("x/c", NODE, C);
    let a = "{podSelector: {matchLabels: {app: a}}}";
    for app in ["b0", "b1"] {
        let selected = format!("podSelector: {{matchLabels: {{app: {app}}}}}");
        let spec = format!(
            "{{{selected}, policyTypes: [Ingress, Egress], ingress: [{{from: [{a}]}}], egress: [{{to: [{a}]}}]}}"
        );
        cluster.add_policy(app, &spec);
    }
    let agent = cluster.agent();
    until_in_sync(&agent);
    let mut opened = Vec::new();
    for start in 0..starts() {
        let pod = format!("x/b{}", start % 2);
        cluster.bind(&pod, NODE);
        until_hold(&agent, HoldState::Holding);
        let pairs = [(C, B), (B, C), (A, B), (B, A)];
        let sent = pairs.map(|(from, to)| connection(from, to, 80));
        let flood = Flood::start(&cluster.lab, &sent).expect("flood");
        sleep(KNOWN_AFTER);
        let patched = Instant::now();
        cluster.set_status(&pod, "Running", B);
        until_hold(&agent, HoldState::Idle);
        flood.await_round();
        flood.await_round();
        opened.push(patched.elapsed());
        let counts = flood.stop().expect("counted");
        for forbidden in &counts[..2] {
            assert!(forbidden.sent > 0 && forbidden.arrived == 0, "start {start}: {counts:?}");
        }
        for allowed in &counts[2..] {
            assert!(allowed.arrived > 0, "start {start}: {counts:?}");
            assert!(allowed.missing() > 0, "start {start}: held until it was known: {counts:?}");
        }
        cluster.delete_pod(&pod);
        agent.until("the end of the pod", |s| s.sizes.pods == 2 && s.state == State::Enforcing);
    }
    opened.sort_unstable();
    eprintln!(
        "{} pods started; open after the status was written, kubectl included: median {:?}, most {:?}",
        opened.len(),
        opened[opened.len() / 2],
        opened[opened.len() - 1]
    );
    agent.verify();
}

/// A pod that no policy selects is open from the beginning.
#[test]
fn an_ordinary_pod_is_not_held() {
    let cluster = Cluster::new(&MACHINES);
    cluster.set_pod_range(NODE, "10.0.0.0/24");
    cluster.add_pod("x/a", NODE, A);
    cluster.add_policy("guard", "{podSelector: {matchLabels: {app: a}}, ingress: [{}]}");
    let agent = cluster.agent();
    until_in_sync(&agent);
    cluster.bind("x/b", NODE);
    agent.until("the pod", |s| s.sizes.pods == 2 && s.state == State::Enforcing);
    assert!(cluster.passes(B, C, 80) && cluster.passes(C, B, 80));
    until_hold(&agent, HoldState::Idle);
}
