//! The server, the network or the agent fails, with verdicts watched throughout.

use std::time::{Duration, Instant};

use palisade::protocol::{Request, Response, State};
use palisade_lab::Flood;

use crate::cluster::{A, B, C, Cluster, NODE, connection, guarded, until_in_sync};
use crate::command::finish;

#[test]
fn an_outage_changes_no_verdict_and_is_shown() {
    let mut cluster = guarded(&[]);
    let agent = cluster.agent();
    until_in_sync(&agent);
    let flood = Flood::start(&cluster.lab, &[connection(A, B, 80), connection(C, B, 80)]);
    let flood = flood.expect("flood");

    cluster.server.kill();
    let status = agent.until("the outage", |status| {
        status.kubernetes.as_ref().is_some_and(|api| api.behind_seconds.is_some())
    });
    assert_eq!(status.state, State::Enforcing, "what is known stays in force");
    assert!(status.error_count > 0 && !status.enforces_all(), "{status:?}");
    assert!(status.problems.iter().any(|it| it.contains("cannot be asked for pods")), "{status:?}");
    let socket = agent.socket.to_str().unwrap();
    let shown = cluster.ran(&["status", "--socket", socket]).exits(1);
    assert!(shown.out.contains("behind since"), "{shown:?}");
    agent.verify();

    cluster.server.restart().expect("restarted");
    agent.until("the end of the outage", |status| {
        let api = status.kubernetes.as_ref().unwrap();
        api.behind_seconds.is_none() && status.error_count == 0
    });
    flood.await_round();
    let counts = flood.stop().expect("counted");
    assert!(counts[0].sent > 0 && counts[0].missing() == 0, "{counts:?}");
    assert_eq!(counts[1].arrived, 0, "{counts:?}");
    assert!(agent.log().contains("are watched again"), "{}", agent.log());

    cluster.kubectl(&["label", "pod", "-n", "x", "c", "app=a", "--overwrite"]);
    cluster.until_passes(C, B, 80, true);
    agent.verify();
}

#[test]
fn what_happened_while_the_agent_heard_nothing_is_found_by_a_new_list() {
    let mut cluster = guarded(&[]);
    let agent = cluster.agent();
    until_in_sync(&agent);
    let flood = Flood::start(&cluster.lab, &[connection(A, B, 80)]).expect("flood");

    // The agent stands still; meanwhile a pod goes, another and a policy come, and the server forgets how.
    agent.signal("-STOP");
    cluster.delete_pod("x/c");
    cluster.add_policy("alone", "{podSelector: {matchLabels: {app: a}}, policyTypes: [Ingress]}");
    cluster.add_namespace("blue");
    cluster.add_pod("blue/c", "n2", C);
    cluster.server.kill();
    cluster.server.compact().expect("compacted");
    cluster.server.restart().expect("restarted");
    agent.signal("-CONT");

    // Some of it was under way already when the agent stood still: what the server had sent is not lost.
    let status = agent.until("new lists", |status| {
        let api = status.kubernetes.as_ref().unwrap();
        let is_listed_again = api.watches.iter().any(|watch| watch.lists > 1);
        let known = is_listed_again && (status.sizes.pods, status.sizes.policies) == (3, 2);
        known && api.behind_seconds.is_none() && status.enforces_all()
    });
    let api = status.kubernetes.unwrap();
    let listed_again = api.watches.iter().filter(|watch| watch.lists > 1).count();
    assert!(listed_again > 0, "{api:?}");
    let Response::Explanation(_) = agent.ask(&Request::Explain {
        from: "blue/c".into(),
        to: "x/a".into(),
        protocol: "tcp".into(),
        port: Some(80.into()),
    }) else {
        panic!("the pod is not known");
    };
    let counts = flood.stop().expect("counted");
    assert!(counts[0].sent > 0 && counts[0].missing() == 0, "{counts:?}");
    assert!(cluster.passes(A, B, 80) && !cluster.passes(B, A, 80));
    agent.verify();
}

#[test]
fn an_agent_that_finds_no_server_leaves_the_rules_and_ends_at_once() {
    let mut cluster = guarded(&[]);
    let mut first = cluster.agent();
    until_in_sync(&first);
    assert_eq!(first.end("-KILL"), None);
    cluster.server.kill();
    assert!(!cluster.passes(C, B, 80), "the rules outlive the agent");

    let mut second = cluster.agent();
    let status = second.until("the wait", |s| s.state == State::WaitingForManifests);
    let reason = status.detail.unwrap();
    assert!(reason.contains("https://127.0.0.1:6443"), "{reason}");
    assert!(cluster.passes(A, B, 80) && !cluster.passes(C, B, 80));
    let began = Instant::now();
    assert_eq!(second.end("-TERM"), Some(0));
    // The bound is generous: the machine may be busy.
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(!cluster.passes(C, B, 80));

    let third = cluster.agent();
    cluster.server.restart().expect("restarted");
    until_in_sync(&third);
    assert!(cluster.passes(A, B, 80) && !cluster.passes(C, B, 80));
    third.verify();
}

#[test]
fn what_lacks_to_reach_a_server_is_said() {
    let cluster = Cluster::new(&[("a", A)]);
    let without = |arguments: &[&str], says: &str| {
        let mut command = cluster.palisade(arguments);
        for name in ["NODE_NAME", "KUBECONFIG", "KUBERNETES_SERVICE_HOST"] {
            command.env_remove(name);
        }
        finish(command, "").exits(2).complains(says);
    };
    without(&["run"], "--node-name");
    without(&["run", "--node-name", NODE], "--kubeconfig");
    without(&["run", "--node-name", NODE, "--kubeconfig", "/no/such/file"], "/no/such/file");
}
