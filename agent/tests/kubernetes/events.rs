//! Kubernetes Events about policies that are not enforced as they are written.

use crate::cluster::{A, B, C, Cluster, NODE, guarded, until_in_sync};
use crate::command::until;

/// The API server takes it, and it means nothing: IPv4 packets have no such addresses.
pub(crate) const MAPPED: &str =
    "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '::ffff:10.0.0.0/104'}}]}]}";

fn events(cluster: &Cluster, namespace: &str) -> Vec<String> {
    let listed = cluster.kubectl(&[
        "-n",
        namespace,
        "events",
        "--for",
        "networkpolicy/mapped",
        "--no-headers",
    ]);
    listed.lines().filter(|line| line.contains("NotEnforcedAsWritten")).map(str::to_owned).collect()
}

#[test]
fn the_author_of_a_policy_is_told_what_of_it_is_not_enforced() {
    let cluster = Cluster::new(&[("a", A), ("b", B)]);
    cluster.add_namespace("elsewhere");
    cluster.add_pod("x/a", NODE, A);
    cluster.add_pod("elsewhere/b", "n2", B);
    cluster.add_policy("mapped", MAPPED);
    let elsewhere = crate::command::policy("mapped", MAPPED);
    cluster.apply(&elsewhere.replace("namespace: x", "namespace: elsewhere"));
    let mut agent = cluster.agent();
    let status = until_in_sync(&agent);
    assert!(status.error_count >= 2, "{status:?}");
    until("an Event", || !events(&cluster, "x").is_empty());
    let [event] = &events(&cluster, "x")[..] else { panic!("one Event") };
    assert!(event.contains("Warning") && event.contains("IPv4-mapped"), "{event}");
    // Nothing of the node's is in the other namespace: that is for other agents to report.
    assert_eq!(events(&cluster, "elsewhere"), [""; 0]);

    // Once a pod of it is here, and however often it is seen.
    cluster.add_pod("elsewhere/c", NODE, "10.0.0.3");
    until("an Event", || !events(&cluster, "elsewhere").is_empty());
    assert_eq!(agent.end("-TERM"), Some(0));
    let agent = cluster.agent();
    until_in_sync(&agent);
    until("the request", || agent.log().matches("has an Event").count() == 2);
    assert_eq!((events(&cluster, "x").len(), events(&cluster, "elsewhere").len()), (1, 1));
    assert!(!cluster.passes(B, A, 80), "until it is corrected, it allows nothing");
}

/// What `kubectl describe pod` shows of connections that were denied.
fn denials(cluster: &Cluster, pod: &str) -> Vec<String> {
    let described = cluster.kubectl(&["-n", "x", "describe", "pod", pod]);
    described.lines().filter(|line| line.contains("ConnectionDenied")).map(str::to_owned).collect()
}

#[test]
fn a_pod_that_is_denied_a_connection_has_an_event_that_says_why_once() {
    let cluster = guarded(&[]);
    let agent = cluster.agent();
    until_in_sync(&agent);
    agent.until("the log of denied packets", |status| status.flows.is_listening);
    assert!(!cluster.passes(C, B, 80));
    until("an Event", || !denials(&cluster, "b").is_empty());
    let [event] = &denials(&cluster, "b")[..] else { panic!("one Event") };
    for part in [
        "Warning",
        "Ingress from x/c (10.0.0.3), TCP port 80, is denied: x/guard isolates the pod, and no rule allows it.",
        "needs the pod label app=a, but x/c has app=c",
    ] {
        assert!(event.contains(part), "no {part:?} in {event}");
    }

    // Another port is told of by itself; the first one is not told of again.
    assert!(!cluster.passes(C, B, 80));
    assert!(!cluster.passes(C, B, 81));
    agent.until("another Event", |status| status.flows.events_written == 2);
    assert_eq!(denials(&cluster, "b").len(), 2);
    assert_eq!(denials(&cluster, "c"), [""; 0], "nothing isolates who sends");
}
