#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::jiff::Timestamp;
use palisade_compiler::model::Direction;
use palisade_dataplane::netlink::nflog::{PacketHeader, Upper};

use super::super::flow::Judgement;
use super::*;

const REVISION: u64 = 7;

/// A packet to this port, so many seconds after the beginning.
fn observation(port: u16, seconds: i64) -> Observation {
    let [source, destination] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
    let upper = Upper::Ports { source: 40_000, destination: port, tcp_flags: 0 };
    Observation {
        direction: Direction::Ingress,
        header: PacketHeader { source, destination, protocol: 17, tos: 0, hop_limit: 63, upper },
        at: Instant::now(),
        time: Timestamp::from_second(seconds).unwrap(),
    }
}

fn denied() -> NamedJudgement {
    let judgement = Judgement {
        revision: Some(REVISION),
        isolated_by: vec!["n/b".into()],
        ..Judgement::default()
    };
    NamedJudgement { judgement, ..NamedJudgement::default() }
}

fn divergent() -> NamedJudgement {
    let mut judged = denied();
    judged.judgement.divergence = Some("no revision denies it".into());
    judged
}

fn ports(flows: &[Arc<Flow>]) -> Vec<u16> {
    flows.iter().filter_map(|flow| flow.port).collect()
}

/// What waits in a reader's queue.
fn waiting(subscription: &mut Subscription) -> Vec<(u16, u64)> {
    let mut flows = Vec::new();
    while let Ok(flow) = subscription.queue.try_recv() {
        flows.push((flow.port.unwrap(), flow.count));
    }
    flows
}

#[test]
fn repeats_are_merged_and_come_to_the_end() {
    let store = FlowStore::default();
    let all = Filter::default();
    assert!(!store.repeat(&observation(53, 1), REVISION), "nothing is known of it");
    store.put(&observation(53, 1), denied());
    store.put(&observation(80, 2), denied());
    assert!(store.repeat(&observation(53, 3), REVISION));
    assert!(!store.repeat(&observation(53, 4), REVISION + 1), "another revision may say otherwise");
    let latest = store.latest(10, &all);
    assert_eq!(ports(&latest), [80, 53]);
    let flow = &latest[1];
    assert_eq!((flow.count, flow.id), (2, 1));
    assert_eq!(flow.first_seen, "1970-01-01T00:00:01Z");
    assert_eq!(flow.last_seen, "1970-01-01T00:00:03Z");
    // Judged anew it is the same flow.
    let mut anew = denied();
    anew.judgement.revision = Some(REVISION + 1);
    store.put(&observation(53, 4), anew);
    let flow = &store.latest(1, &all)[0];
    assert_eq!((flow.count, flow.id, flow.judgement.revision), (3, 1, Some(REVISION + 1)));
    assert_eq!(store.counts().stored, 2);
}

#[test]
fn the_store_is_bounded_and_what_gives_way_is_counted() {
    let store = FlowStore::default();
    store.put(&observation(1, 0), divergent());
    for port in 0..MAX_FLOWS as u16 + 10 {
        store.put(&observation(port, 1), denied());
    }
    let counts = store.counts();
    assert_eq!((counts.lost.forgotten, counts.stored), (10, MAX_FLOWS + 1));
    assert_eq!(counts.divergences, 1);
    let only = Filter { divergences: true, ..Filter::default() };
    assert_eq!(ports(&store.latest(10, &only)), [1], "a flood does not take its place");
    assert_eq!(store.latest(usize::MAX, &Filter::default()).len(), MAX_FLOWS + 1);
}

#[test]
fn readers_get_a_flow_at_once_and_its_repeats_together() {
    let store = FlowStore::default();
    let mut reader = store.subscribe(0, Filter::default()).unwrap();
    store.put(&observation(53, 1), denied());
    (0..5).for_each(|_| assert!(store.repeat(&observation(53, 2), REVISION)));
    assert_eq!(waiting(&mut reader), [(53, 1)]);
    let now = Instant::now();
    assert!(store.emit_due(now).is_some_and(|due| due > now), "it is not due yet");
    assert_eq!(waiting(&mut reader), []);
    assert_eq!(store.emit_due(now + REPEAT_EVERY * 2), None);
    assert_eq!(waiting(&mut reader), [(53, 6)]);
}

#[test]
fn a_reader_gets_what_its_filter_takes_and_hears_what_it_missed() {
    let store = FlowStore::default();
    store.put(&observation(1, 1), denied());
    let only = Filter { ports: vec![53], ..Filter::default() };
    let mut filtered = store.subscribe(10, only).unwrap();
    let mut slow = store.subscribe(10, Filter::default()).unwrap();
    assert_eq!((ports(&filtered.latest), ports(&slow.latest)), (vec![], vec![1]));
    let sent = 2 * MAX_QUEUED as u16;
    (0..sent).for_each(|port| store.put(&observation(100 + port, 2), denied()));
    store.put(&observation(53, 3), denied());
    // Of the many flows, none took a place in the queue of the one who does not want them.
    assert_eq!(waiting(&mut filtered), [(53, 1)]);
    assert_eq!((filtered.take_missed(), waiting(&mut slow).len()), (0, MAX_QUEUED));
    let missed = slow.take_missed();
    assert_eq!(missed, u64::from(sent) + 1 - MAX_QUEUED as u64);
    assert_eq!((slow.take_missed(), store.counts().lost.readers), (0, missed));
}

#[test]
fn readers_are_bounded_and_those_who_went_make_room() {
    let store = FlowStore::default();
    let readers: Vec<_> = (0..MAX_READERS).map(|_| store.subscribe(0, Filter::default())).collect();
    assert!(readers.iter().all(Option::is_some));
    assert!(store.subscribe(0, Filter::default()).is_none());
    assert_eq!(store.counts().readers, MAX_READERS);
    drop(readers);
    assert_eq!(store.counts().readers, 0);
    assert!(store.subscribe(0, Filter::default()).is_some());
}

#[test]
fn the_log_has_a_longer_queue_and_what_finds_no_room_is_counted() {
    let store = FlowStore::default();
    let only = Filter { verdicts: vec![FlowVerdict::Deny], ..Filter::default() };
    let mut log = store.subscribe_log("here".into(), only);
    let sent = MAX_LOG_QUEUED as u16 + 3;
    (0..sent).for_each(|port| store.put(&observation(port, 1), denied()));
    let counts = store.counts();
    assert_eq!((counts.readers, counts.lost.readers), (0, 0), "it is none of the readers");
    let counts = counts.flow_log.unwrap();
    let found = (counts.destination.as_str(), counts.waiting, counts.lost);
    assert_eq!(found, ("here", MAX_LOG_QUEUED, 3));
    assert_eq!((waiting(&mut log).len(), log.take_missed()), (MAX_LOG_QUEUED, 3));
    // At the end it gets at once what it would get a second later.
    assert!(store.repeat(&observation(sent - 1, 2), REVISION));
    assert_eq!(waiting(&mut log), []);
    store.end_log();
    assert_eq!(waiting(&mut log), [(sent - 1, 2)]);
    store.put(&observation(sent, 3), denied());
    assert_eq!((waiting(&mut log), store.counts().flow_log.unwrap().waiting), (vec![], 0));
}
