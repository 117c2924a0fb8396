#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use palisade_compiler::model::{Connection, Direction};

use super::super::MAX_FLOWS;
use super::*;
use crate::flows::filter::Filter;
use crate::flows::flow::Judgement;

const REVISION: u64 = 7;

fn key(port: u16, client: u16) -> FlowKey {
    let [first, second] = client.to_be_bytes();
    let (from, to) = ([10, 0, first, second].into(), "10.1.0.2".parse().unwrap());
    FlowKey {
        verdict: FlowVerdict::Allow,
        direction: Direction::Ingress,
        connection: Connection { from, to, protocol: 6, port },
        service: Some(("10.96.0.1".parse().unwrap(), 80)),
    }
}

fn connections(opened: u64, second: i64, ended: u64) -> Connections {
    let time = Timestamp::from_second(second).unwrap();
    let traffic = Traffic { ended, packets: ended * 5, bytes: ended * 500, duration_us: ended };
    Connections { opened, first: time, last: time, at: Instant::now(), traffic }
}

fn judged(revision: u64) -> NamedJudgement {
    let judgement = Judgement { revision: Some(revision), ..Judgement::default() };
    NamedJudgement { judgement, ..NamedJudgement::default() }
}

#[test]
fn connections_are_added_to_their_flow_whatever_the_revision() {
    let store = FlowStore::default();
    let key = key(8080, 1);
    // What ended and began before anything was stored is no flow.
    store.add_traffic(&key, &connections(0, 1, 9));
    assert!(!store.is_judged(&key, REVISION));
    store.put_allowed(key, &connections(2, 1, 0), judged(REVISION));
    assert!(store.is_judged(&key, REVISION) && !store.is_judged(&key, REVISION + 1));
    store.repeat_allowed(&key, &connections(3, 2, 1));
    store.add_traffic(&key, &connections(0, 3, 1));
    store.put_allowed(key, &connections(1, 4, 1), judged(REVISION + 1));
    let flows = store.latest(10, &Filter::default());
    let flow = &flows[0];
    assert_eq!((flows.len(), flow.id, flow.count), (1, 1, 6));
    let expected = Traffic { ended: 3, packets: 15, bytes: 1500, duration_us: 3 };
    assert_eq!(flow.traffic, expected);
    assert_eq!(flow.first_seen, "1970-01-01T00:00:01Z");
    assert_eq!(flow.last_seen, "1970-01-01T00:00:04Z");
    let service = ServiceAddress { address: "10.96.0.1".into(), port: Some(80), name: None };
    assert_eq!((flow.port, &flow.service), (Some(8080), &Some(service)));
    let denied = Filter { verdicts: vec![FlowVerdict::Deny], ..Filter::default() };
    assert!(store.latest(10, &denied).is_empty());
}

#[test]
fn the_oldest_give_way_and_are_counted() {
    let store = FlowStore::default();
    for client in 0..MAX_FLOWS as u16 + 3 {
        store.put_allowed(key(80, client), &connections(1, 1, 0), judged(REVISION));
    }
    let allowed = store.counts().allowed;
    assert_eq!((allowed.stored, allowed.lost.forgotten), (MAX_FLOWS, 3));
    assert!(!store.is_judged(&key(80, 2), REVISION) && store.is_judged(&key(80, 3), REVISION));
}
