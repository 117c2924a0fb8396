//! Thousands of pods come and go at once.

use palisade::protocol::State;
use palisade_lab::Write;

use crate::cluster::{NODE, until_in_sync};
use crate::command::Agent;
use crate::prober::{Prober, edited};

const PODS: usize = 5_000;
/// Of the node that the agent is on.
const LOCAL: usize = 110;
const APPS: usize = 10;

/// In namespace `x`.
fn path(number: usize) -> String {
    format!("/api/v1/namespaces/x/pods/p{number}")
}

fn create(number: usize) -> Write {
    let (app, node) = (number % APPS, if number < LOCAL { NODE } else { "n2" });
    Write::create(
        "/api/v1/namespaces/x/pods",
        format!(
            r#"{{"metadata":{{"name":"p{number}","labels":{{"app":"app{app}"}}}},"spec":{{"nodeName":"{node}","containers":[{{"name":"c","image":"none"}}]}}}}"#
        ),
    )
}

fn run(number: usize) -> Write {
    let address = std::net::Ipv4Addr::from(0x0a64_0000 + number as u32 + 1);
    Write::patch(
        format!("{}/status", path(number)),
        format!(
            r#"{{"status":{{"phase":"Running","podIP":"{address}","podIPs":[{{"ip":"{address}"}}],"startTime":"2026-01-01T00:00:00Z"}}}}"#
        ),
    )
}

/// Pods of `app0`, of which some are on the node, take those of `app1`.
const POLICY: &str = "{podSelector: {matchLabels: {app: app0}}, ingress: [{from: [{podSelector: {matchLabels: {app: app1}}}]}]}";

fn until_has(agent: &Agent, pods: usize) {
    let is_there = |status: &palisade::protocol::Status| {
        status.sizes.pods == pods && status.state == State::Enforcing
    };
    agent.until("the pods", is_there);
}

#[test]
fn thousands_of_pods_that_come_and_go_leave_what_the_server_has_and_change_nothing_else() {
    let cluster = edited();
    cluster.add_policy("burst", POLICY);
    let agent = cluster.agent();
    let others = until_in_sync(&agent).sizes.pods;
    let prober = Prober::start(&cluster);
    let client = cluster.server.client().expect("a client");
    client.write_all((0..PODS).map(create)).expect("pods");
    client.write_all((0..PODS).map(run)).expect("statuses");
    until_has(&agent, others + PODS);
    cluster.until_enforced_as_the_server_says();
    client.write_all((0..PODS).map(|number| Write::delete(path(number)))).expect("deletions");
    until_has(&agent, others);
    cluster.until_enforced_as_the_server_says();
    agent.verify();
    let [allowed, denied] = prober.end();
    let status = agent.until("an answer", |_| true);
    eprintln!(
        "{PODS} pods came and went: of {} allowed packets none was lost, of {} others none came; slowest change {} us",
        allowed.sent,
        denied.sent,
        status.time_to_enforce.max_us.unwrap_or_default()
    );
}
