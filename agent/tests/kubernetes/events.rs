//! Kubernetes Events about policies that are not enforced as they are written.

use crate::cluster::{A, B, Cluster, NODE, until_in_sync};
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
