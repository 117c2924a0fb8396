//! Many pods and policies: memory of the agent at rest and while it lists, and the time from an event to the kernel.
//!
//! `make test-scale` runs it at 100,000 pods and 10,000 policies, and prints the figures.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use palisade::protocol::{State, Status};
use palisade_lab::{ApiClient, Write};

use crate::cluster::{Cluster, NODE, until_in_sync};
use crate::command::Agent;

const PODS_OF_NODE: usize = 110;
const PODS_OF_NAMESPACE: usize = 200;
/// How long the whole may take at the full size, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(3600);
/// For how long the agent is watched while nothing changes: at the full size for longer than it waits between two comparisons.
fn rest(pods: usize) -> Duration {
    Duration::from_secs(if pods < 100_000 { 3 } else { 65 })
}

/// The goals for the whole agent, in KiB, and half of them as room for what a debug build adds.
const AT_REST: u64 = (64 + 32) << 10;
const IN_A_LIST: u64 = (96 + 48) << 10;

fn size(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |value| value.parse().expect("a number"))
}

fn namespace_of(pod: usize) -> usize {
    pod / PODS_OF_NAMESPACE
}

fn create_namespace(number: usize) -> Write {
    let team = number % 20;
    Write::create(
        "/api/v1/namespaces",
        format!(r#"{{"metadata":{{"name":"ns-{number}","labels":{{"team":"t{team}"}}}}}}"#),
    )
}

/// As large as a pod of a small application is: some 4 KB as JSON.
fn create_pod(number: usize) -> Write {
    let (namespace, app) = (namespace_of(number), number % 10);
    let node = if number < PODS_OF_NODE { NODE.to_owned() } else { format!("n{}", number / 100) };
    let environment: Vec<String> = (0..20)
        .map(|at| {
            format!(r#"{{"name":"VARIABLE_{at}","value":"a value of some length, number {at}"}}"#)
        })
        .collect();
    let body = format!(
        r#"{{"metadata":{{"name":"app-{app}-{number}","labels":{{"app":"app-{app}","pod-template-hash":"{app:08x}","tier":"backend"}},
        "annotations":{{"checksum/config":"{number:064x}"}}}},"spec":{{"nodeName":"{node}","containers":[{{"name":"main","image":"registry.example/app:{app}",
        "env":[{}],"ports":[{{"name":"http","containerPort":8080}}]}}]}}}}"#,
        environment.join(",")
    );
    Write::create(format!("/api/v1/namespaces/ns-{namespace}/pods"), body)
}

fn patch_status(number: usize) -> Write {
    let [_, high, middle, low] = u32::try_from(number + 1).unwrap().to_be_bytes();
    let address = format!("10.{high}.{middle}.{low}");
    let (namespace, app) = (namespace_of(number), number % 10);
    Write::patch(
        format!("/api/v1/namespaces/ns-{namespace}/pods/app-{app}-{number}/status"),
        format!(
            r#"{{"status":{{"phase":"Running","podIP":"{address}","podIPs":[{{"ip":"{address}"}}],"hostIP":"192.0.2.9",
            "startTime":"2026-01-01T00:00:00Z","containerStatuses":[{{"name":"main","ready":true,"restartCount":0,"image":"registry.example/app","imageID":"","state":{{"running":{{"startedAt":"2026-01-01T00:00:00Z"}}}}}}]}}}}"#
        ),
    )
}

fn create_policy(number: usize, namespaces: usize) -> Write {
    let (namespace, app) = (number % namespaces, number % 10);
    let (team, port) = (number % 20, 1024 + number % 50);
    Write::create(
        format!("/apis/networking.k8s.io/v1/namespaces/ns-{namespace}/networkpolicies"),
        format!(
            r#"{{"metadata":{{"name":"policy-{number}"}},"spec":{{"podSelector":{{"matchLabels":{{"app":"app-{app}"}}}},"policyTypes":["Ingress"],
            "ingress":[{{"from":[{{"namespaceSelector":{{"matchLabels":{{"team":"t{team}"}}}}}},{{"podSelector":{{"matchLabels":{{"app":"app-{}"}}}}}}],
            "ports":[{{"port":{port}}}]}}]}}}}"#,
            (app + 1) % 10
        ),
    )
}

fn relabel(number: usize, round: usize) -> Write {
    let (namespace, app) = (namespace_of(number), number % 10);
    Write::patch(
        format!("/api/v1/namespaces/ns-{namespace}/pods/app-{app}-{number}"),
        format!(r#"{{"metadata":{{"labels":{{"app":"app-{}"}}}}}}"#, (app + round) % 10),
    )
}

/// The agent's memory now and at most since the last call, in KiB.
fn memory(agent: &Agent) -> (u64, u64) {
    let found = (agent.memory("VmRSS:"), agent.memory("VmHWM:"));
    // proc_pid_clear_refs(5): the peak begins anew.
    fs::write(format!("/proc/{}/clear_refs", agent.pid()), "5").unwrap();
    found
}

/// What the agent used of a processor since it began.
fn processor_time(agent: &Agent) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", agent.pid())).unwrap();
    // proc_pid_stat(5): utime and stime are the 14th and 15th field, in hundredths of a second on every Linux.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks =
        fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// Waits as long as it takes until the agent has so many pods and policies in force.
fn until_has(agent: &Agent, pods: usize, policies: usize) -> Status {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = agent.until("an answer", |_| true);
        let sizes = &status.sizes;
        let is_in_sync = status.kubernetes.as_ref().is_some_and(|api| api.behind_seconds.is_none());
        let is_there = (sizes.pods, sizes.policies) == (pods, policies);
        if is_there && is_in_sync && status.state == State::Enforcing {
            return status;
        }
        assert!(Instant::now() < deadline, "{status:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// After a comparison, at whose end the agent gives back what it needed only for a while.
fn at_rest(agent: &Agent) -> u64 {
    agent.verify();
    memory(agent).0
}

/// Pods change their labels all the time.
fn churn(client: &ApiClient, agent: &Agent, pods: usize, policies: usize) {
    let took = Mutex::new(Vec::new());
    for round in 1..=3 {
        let relabelled = (0..pods.min(1_000)).map(|number| relabel(number, round));
        client.write_all(relabelled).expect("relabelled");
        let status = until_has(agent, pods, policies);
        took.lock().unwrap().extend(status.changes.iter().map(|change| change.took_us));
    }
    let mut took = took.into_inner().unwrap();
    took.sort_unstable();
    eprintln!(
        "from event to kernel under churn, of {} batches: median {} us, most {} us",
        took.len(),
        took[took.len() / 2],
        took[took.len() - 1]
    );
}

/// The server forgets, and pods and policies are listed anew; returns how many lists there were of all kinds.
fn list_anew(cluster: &mut Cluster, agent: &Agent, pods: usize, policies: usize) -> u64 {
    let lists = |status: &Status| -> BTreeMap<String, u64> {
        let watches = &status.kubernetes.as_ref().unwrap().watches;
        watches.iter().map(|watch| (watch.resource.clone(), watch.lists)).collect()
    };
    let before = lists(&agent.until("an answer", |_| true));
    // The server is at a later version then than the last pod's: from there on, a watch of pods cannot go on after the restart.
    cluster.add_namespace("later");
    cluster.server.kill();
    cluster.server.compact().expect("compacted");
    cluster.server.restart().expect("restarted");
    let deadline = Instant::now() + PATIENCE;
    let is_anew = |status: &Status| {
        let now = lists(status);
        ["pods", "networkpolicies"].iter().all(|kind| now[*kind] > before[*kind])
    };
    while !is_anew(&agent.until("an answer", |_| true)) {
        assert!(Instant::now() < deadline, "no new lists");
        std::thread::sleep(Duration::from_millis(100));
    }
    let after = lists(&until_has(agent, pods, policies));
    after.values().sum::<u64>() - before.values().sum::<u64>()
}

#[test]
fn many_pods_and_policies_fit_and_are_enforced_in_time() {
    let pods = size("PALISADE_SCALE_PODS", 5_000);
    let policies = size("PALISADE_SCALE_POLICIES", 1_000);
    let namespaces = pods.div_ceil(PODS_OF_NAMESPACE);
    let mut cluster = Cluster::new(&[("a", "10.200.0.1")]);
    let agent = cluster.agent();
    until_in_sync(&agent);
    let empty = memory(&agent).0;

    let began = Instant::now();
    let client = cluster.server.client().expect("a client");
    client.write_all((0..namespaces).map(create_namespace)).expect("namespaces");
    let all_policies = (0..policies).map(|number| create_policy(number, namespaces));
    client.write_all(all_policies).expect("policies");
    client.write_all((0..pods).map(create_pod)).expect("pods");
    client.write_all((0..pods).map(patch_status)).expect("statuses");
    let written = began.elapsed();
    let status = until_has(&agent, pods, policies);
    let behind = began.elapsed() - written;
    eprintln!(
        "{pods} pods, {policies} policies: written in {written:.1?}, in force {behind:.1?} later; empty {empty} KiB, \
         most while written {} KiB, {} elements, slowest change {} us",
        memory(&agent).1,
        status.sizes.elements,
        status.time_to_enforce.max_us.unwrap_or_default()
    );
    let resting = at_rest(&agent);
    let used = processor_time(&agent);
    std::thread::sleep(rest(pods));
    let used_at_rest = processor_time(&agent) - used;

    churn(&client, &agent, pods, policies);

    memory(&agent);
    let used = processor_time(&agent);
    let relisted = list_anew(&mut cluster, &agent, pods, policies);
    let (_, most) = memory(&agent);
    let used_in_lists = processor_time(&agent) - used;
    let rested = at_rest(&agent);

    // A new agent takes the tables over.
    drop(agent);
    let agent = cluster.agent();
    let began = Instant::now();
    until_has(&agent, pods, policies);
    let started = began.elapsed();
    let (_, at_start) = memory(&agent);
    let used_at_start = processor_time(&agent);
    let fresh = at_rest(&agent);
    eprintln!(
        "processor time: {used_at_rest:?} of {:?} at rest, {used_in_lists:?} for {relisted} new lists, {used_at_start:?} for a start",
        rest(pods)
    );
    eprintln!(
        "memory in KiB: at rest {resting}, most in {relisted} new lists {most}, then at rest {rested}; a new agent: in force after \
         {started:.1?}, most {at_start}, at rest {fresh}"
    );
    let most_at_rest = resting.max(rested).max(fresh);
    assert!(most_at_rest < AT_REST, "{most_at_rest} KiB at rest");
    assert!(most < IN_A_LIST && at_start < IN_A_LIST, "{most} and {at_start} KiB in a list");
}
