//! Ways in which a server lists, and fails to.

use palisade::protocol::{Kubernetes, Watch};

use crate::cluster::{A, B, C, guarded, until_in_sync};
use crate::command::until;
use crate::proxy::Proxy;

fn watch_of<'k>(api: &'k Kubernetes, resource: &str) -> &'k Watch {
    api.watches.iter().find(|watch| watch.resource == resource).unwrap()
}

#[test]
fn a_server_without_streaming_lists_is_asked_for_pages_from_its_cache() {
    let cluster = guarded(&["--feature-gates=WatchList=false"]);
    let proxy = Proxy::start(cluster.node(), &cluster.server);
    let agent = cluster.agent_by(&proxy.kubeconfig);
    let status = until_in_sync(&agent);
    assert!(cluster.passes(A, B, 80) && !cluster.passes(C, B, 80));
    let api = status.kubernetes.unwrap();
    assert_eq!((api.behind_seconds, watch_of(&api, "pods").lists), (None, 1));
    let requests = std::mem::take(&mut proxy.faults().requests);
    let lists: Vec<_> = requests.iter().filter(|it| !it.contains("watch=true")).collect();
    assert!(lists.iter().any(|it| it.starts_with("/api/v1/pods?")), "{requests:?}");
    for list in lists {
        assert!(list.contains("limit=500&resourceVersion=0&"), "{list}");
    }
    // What follows is watched.
    cluster.kubectl(&["label", "pod", "-n", "x", "c", "app=a", "--overwrite"]);
    cluster.until_passes(C, B, 80, true);
    agent.verify();
}

#[test]
fn a_streaming_list_that_is_refused_or_never_ends_gives_way_to_pages() {
    let cluster = guarded(&[]);
    let proxy = Proxy::start(cluster.node(), &cluster.server);
    for status in [403, 422] {
        proxy.faults().refuses_streams = Some(status);
        let agent = cluster.agent_by(&proxy.kubeconfig);
        let status = until_in_sync(&agent);
        assert_eq!(status.kubernetes.unwrap().behind_seconds, None);
        assert!(cluster.passes(A, B, 80) && !cluster.passes(C, B, 80));
    }
    proxy.faults().refuses_streams = None;
    proxy.faults().drops_end = true;
    let agent = cluster.agent_by(&proxy.kubeconfig);
    let api = until_in_sync(&agent).kubernetes.unwrap();
    assert_eq!(watch_of(&api, "pods").errors.get("no-end-of-list"), Some(&1), "{api:?}");
    assert!(cluster.passes(A, B, 80) && !cluster.passes(C, B, 80));
    agent.verify();
}

#[test]
fn nothing_is_enforced_before_everything_was_listed() {
    let cluster = guarded(&[]);
    let proxy = Proxy::start(cluster.node(), &cluster.server);
    proxy.faults().holds = Some("networkpolicies");
    let agent = cluster.agent_by(&proxy.kubeconfig);
    let status = agent.until("the other lists", |status| {
        status.kubernetes.as_ref().is_some_and(|api| watch_of(api, "pods").in_sync)
    });
    assert!(!status.kubernetes.unwrap().in_sync);
    assert!(status.detail.unwrap().contains("networkpolicies"));
    assert!(cluster.passes(C, B, 80), "the kernel is as it was");
    proxy.faults().holds = None;
    until_in_sync(&agent);
    assert!(!cluster.passes(C, B, 80));

    // A pod of a namespace that is not known yet is nobody's peer.
    proxy.faults().holds = Some("namespaces");
    cluster.add_policy("guard", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}");
    cluster.until_passes(C, B, 80, true);
    cluster.add_namespace("late");
    cluster.delete_pod("x/c");
    cluster.add_pod("late/c", "n2", C);
    agent.until("the pod", |status| status.sizes.pods == 3 && status.sizes.namespaces < 6);
    cluster.until_passes(C, B, 80, false);
    proxy.faults().holds = None;
    cluster.until_passes(C, B, 80, true);
    agent.verify();
}

#[test]
fn events_that_come_twice_and_connections_that_are_cut_change_nothing() {
    let cluster = guarded(&[]);
    let proxy = Proxy::start(cluster.node(), &cluster.server);
    proxy.faults().repeats = true;
    let agent = cluster.agent_by(&proxy.kubeconfig);
    until_in_sync(&agent);
    assert!(cluster.passes(A, B, 80) && !cluster.passes(C, B, 80));
    cluster.delete_pod("x/c");
    cluster.add_pod("x/c", "n2", C);
    cluster.kubectl(&["label", "pod", "-n", "x", "c", "app=a", "--overwrite"]);
    cluster.until_passes(C, B, 80, true);
    agent.verify();

    // Cut while nothing happens; the watches go on where they were.
    proxy.faults().requests.clear();
    proxy.cut();
    until("the next watches", || {
        let faults = proxy.faults();
        let resumed = |it: &&String| it.contains("watch=true") && !it.contains("sendInitial");
        faults.requests.iter().filter(resumed).count() >= 6
    });
    cluster.kubectl(&["label", "pod", "-n", "x", "c", "app=c", "--overwrite"]);
    cluster.until_passes(C, B, 80, false);
    let api = agent.until("calm", |s| s.kubernetes.as_ref().unwrap().behind_seconds.is_none());
    assert_eq!(watch_of(&api.kubernetes.unwrap(), "pods").lists, 1, "nothing was listed again");

    // Every answer is cut after its first line: lists of more never come to their end, and nothing that is known goes.
    proxy.faults().cuts_after = Some(1);
    proxy.cut();
    cluster.kubectl(&["label", "pod", "-n", "x", "c", "app=a", "--overwrite"]);
    cluster.until_passes(C, B, 80, true);
    proxy.faults().cuts_after = None;
    proxy.cut();
    agent.until("calm", |s| s.kubernetes.as_ref().unwrap().behind_seconds.is_none());
    assert!(cluster.passes(A, B, 80) && cluster.passes(C, B, 80));
    agent.verify();
}
