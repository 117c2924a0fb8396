#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use palisade_dataplane::netlink::conntrack::{Carried, Tuple, Upper};

use super::*;

/// A connection with this id, from a client's port of its own to this port.
fn entry(id: u32, port: u16) -> Entry {
    let [source, destination] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
    let client = 30_000 + id as u16;
    let tuple = |source, destination, ports: (u16, u16)| Tuple {
        source,
        destination,
        protocol: 17,
        upper: Upper::Ports { source: ports.0, destination: ports.1 },
        zone: None,
    };
    Entry {
        id,
        original: tuple(source, destination, (client, port)),
        reply: tuple(destination, source, (port, client)),
        status: 0,
        zone: None,
        tcp_flags: 0,
    }
}

fn carried() -> Accounting {
    let carried = Some(Carried { packets: 2, bytes: 100 });
    Accounting { carried, duration: Some(Duration::from_millis(5)) }
}

#[derive(Default)]
struct Case {
    tracker: Tracker,
    gathered: Gathered,
}

impl Case {
    fn complete() -> Self {
        let mut case = Self::default();
        case.tracker.complete(&[]);
        case
    }

    /// The identities of connections to port 53.
    fn identities(ids: &[u32]) -> Vec<u64> {
        ids.iter().map(|&id| entry(id, 53).identity()).collect()
    }

    fn now() -> (Instant, Timestamp) {
        (Instant::now(), Timestamp::now())
    }

    fn open(&mut self, id: u32, port: u16) {
        self.tracker.take(&Event::Opened(entry(id, port), None), Self::now(), &mut self.gathered);
    }

    fn end(&mut self, id: u32, port: u16) {
        let event = Event::Ended(entry(id, port), carried());
        self.tracker.take(&event, Self::now(), &mut self.gathered);
    }

    /// A repair whose dump lists these, with what comes before it is over.
    fn repair(&mut self, listed: &[u32], meanwhile: impl FnOnce(&mut Self)) {
        let before = self.tracker.open();
        for &id in listed {
            self.tracker.found(&entry(id, 53), Self::now(), &mut self.gathered);
        }
        meanwhile(self);
        self.tracker.repaired(&before, &Self::identities(listed).into_iter().collect());
    }

    /// Opened, ended, repaired, lost ends.
    fn heard(&self) -> [u64; 4] {
        let Heard { opened, ended, repaired, lost_ends } = self.tracker.heard;
        [opened, ended, repaired, lost_ends]
    }
}

#[test]
fn repeats_are_one_entry_with_what_they_carried() {
    let mut case = Case::complete();
    (1..=3).for_each(|id| case.open(id, 53));
    case.open(4, 80);
    case.end(1, 53);
    case.end(2, 53);
    assert_eq!((case.heard(), case.gathered.tallies.len()), ([4, 2, 0, 0], 2));
    let tally = case.gathered.tallies[&ConnectionKey::of(&entry(9, 53))];
    let expected = Traffic { ended: 2, packets: 4, bytes: 200, duration_us: 10_000 };
    assert_eq!((tally.opened, tally.traffic), (3, expected));
}

/// The kernel's ids are hashes.
#[test]
fn connections_that_share_an_id_are_two() {
    let mut case = Case::complete();
    case.open(1, 53);
    case.open(1, 80);
    case.end(1, 53);
    case.end(1, 80);
    assert_eq!(case.heard(), [2, 2, 0, 0]);
}

#[test]
fn connections_older_than_the_listener_are_not_counted_as_new() {
    let mut case = Case::default();
    // 1 and 2 are older; 2 ends, and 3 begins, between the socket's opening and the end of the dump.
    case.end(2, 53);
    case.open(3, 53);
    case.tracker.complete(&Case::identities(&[1, 2, 3]));
    case.end(1, 53);
    case.end(3, 53);
    assert_eq!((case.heard(), case.tracker.open().len()), ([1, 3, 0, 0], 0));
}

#[test]
fn what_the_socket_lost_is_found_by_a_dump() {
    let mut case = Case::complete();
    case.open(1, 53);
    case.open(2, 53);
    // The beginning of 3 and 4 was lost, and the end of 1; 5 is only late, and 2 ends while the dump is read.
    case.repair(&[3, 4, 5], |case| {
        case.open(5, 53);
        case.end(2, 53);
    });
    assert_eq!(case.heard(), [5, 1, 2, 1]);
    let mut open: Vec<u64> = case.tracker.open().into_iter().collect();
    open.sort_unstable();
    assert_eq!(open, Case::identities(&[3, 4, 5]));
    // The end of a connection makes it known as well.
    case.end(6, 53);
    assert_eq!(case.heard(), [6, 2, 3, 1]);
}

#[test]
fn kinds_beyond_the_bound_are_counted() {
    let mut case = Case::complete();
    let most = MAX_GATHERED as u32;
    for id in 0..most + 5 {
        case.open(id, id as u16);
    }
    case.end(most + 1, (most + 1) as u16);
    case.open(most + 9, 0);
    let Gathered { tallies, left_out, ends_left_out } = &case.gathered;
    assert_eq!((tallies.len(), *left_out, *ends_left_out), (MAX_GATHERED, 5, 1));
    assert_eq!(case.tracker.heard.opened, u64::from(most) + 6);
}
