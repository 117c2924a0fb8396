//! Events that come late, in pieces, twice, or anew with all others, while the verdicts that none of them changes are watched.

use std::thread::sleep;
use std::time::Duration;

use palisade::protocol::Watch;

use crate::cluster::until_in_sync;
use crate::command::Agent;
use crate::prober::{D, E, Prober, chance, edit, edited};
use crate::proxy::Proxy;
use crate::random_objects::RandomObjects;

fn watch_of(agent: &Agent, resource: &str) -> Watch {
    let api = agent.until("an answer", |_| true).kubernetes.unwrap();
    api.watches.into_iter().find(|watch| watch.resource == resource).unwrap()
}

#[test]
fn a_slow_server_and_an_event_that_is_cut_in_its_middle_only_delay_changes() {
    let cluster = edited();
    let proxy = Proxy::start(cluster.node(), &cluster.server);
    proxy.faults().delays = 50..150;
    let agent = cluster.agent_by(&proxy.kubeconfig);
    until_in_sync(&agent);
    let client = cluster.server.client().expect("a client");
    let prober = Prober::start(&cluster);
    let until = |verdict: &str| {
        agent.until(verdict, |_| agent.verdict("x/d", "x/e") == verdict);
    };
    client.write_all([edit(true)]).expect("a policy");
    until("allow");
    let before = watch_of(&agent, "networkpolicies");
    proxy.faults().cuts_event = Some("networkpolicies");
    client.write_all([edit(false)]).expect("a policy");
    until("deny");
    assert_eq!(proxy.faults().cuts_event, None);
    let after = watch_of(&agent, "networkpolicies");
    assert_eq!(after.lists, before.lists, "it went on where it was");
    client.write_all([edit(true)]).expect("a policy");
    until("allow");
    cluster.until_enforced_as_the_server_says();
    agent.verify();
    prober.end();
    assert!(cluster.passes(D, E, 80));
}

/// Changes while events are late; their number is for a test of some seconds.
const CHANGES: usize = 200;

/// The order within a kind of object is the server's; that of events of different kinds is any.
#[test]
fn events_that_come_late_twice_and_anew_lead_to_what_the_server_has() {
    let mut random = chance();
    let cluster = edited();
    cluster.set_pod_range("n1", "10.0.0.0/16");
    let client = cluster.server.client().expect("a client");
    client.write_all(RandomObjects::create_namespaces()).expect("namespaces");
    let proxy = Proxy::start(cluster.node(), &cluster.server);
    proxy.faults().repeats = true;
    proxy.faults().delays = 0..60;
    let agent = cluster.agent_by(&proxy.kubeconfig);
    until_in_sync(&agent);
    let prober = Prober::start(&cluster);
    let mut objects = RandomObjects::new(random.fork());
    let (mut cuts, mut forgotten) = (0, 0);
    for _ in 0..CHANGES {
        client.write_all([objects.change()]).expect("a change");
        match random.u8(0..30) {
            0 => {
                proxy.cut();
                cuts += 1;
            }
            1 => {
                proxy.forget();
                forgotten += 1;
            }
            2 => sleep(Duration::from_millis(100)),
            _ => {}
        }
    }
    client.write_all(objects.remove_unborn()).expect("pods");
    cluster.until_enforced_as_the_server_says();
    agent.verify();
    let [allowed, denied] = prober.end();
    let lists = watch_of(&agent, "pods").lists;
    eprintln!(
        "{CHANGES} changes, connections cut {cuts} times, {forgotten} times listed anew ({lists} lists of pods): of {} allowed packets \
         none was lost, of {} others none came",
        allowed.sent, denied.sent
    );
}
