//! Denied packets are counted, and copied to an NFLOG group at a limited rate.

use std::time::Instant;

use palisade_compiler::model::Family;
use palisade_compiler::program::skeleton::{LOG_GROUP, LOG_RATE_PER_SECOND};
use palisade_lab::packet::{Packet, UDP, tcp_flags};
use palisade_lab::{Layout, Nflog};

use crate::cast::{CAST, LAYOUTS_AND_FAMILIES};
use crate::lab::nft;
use crate::scene::Scene;

/// What `limit rate` lets through at once, where the rule names no burst (nft(8)).
const LOG_BURST: u64 = 5;
/// Denied one after another, far more than that.
const MANY: u16 = 600;

/// The packets that the counter of a `deny_*` chain has, as nft lists it.
#[track_caller]
fn counted(scene: &Scene, family: Family, chain: &str) -> u64 {
    let ip = if family == Family::V4 { "ip" } else { "ip6" };
    let listing = nft(scene.lab.node(), &format!("list chain {ip} palisade {chain}"));
    let count = listing.split("counter packets ").nth(1).and_then(|rest| rest.split(' ').next());
    count.expect("a counter").parse().expect("a number")
}

/// What the listener has received since: prefix and packet of each record.
#[track_caller]
fn received(log: &Nflog) -> Vec<(String, Vec<u8>)> {
    let records = log.records().expect("no record was lost");
    records.into_iter().map(|record| (record.prefix, record.packet)).collect()
}

#[test]
fn denied_packets_are_dropped_counted_and_logged_with_their_direction() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        let scene = Scene::new(layout, CAST);
        scene.enforce();
        let log = Nflog::listen(scene.lab.node(), LOG_GROUP).expect("a listener");
        let at = |name: &str| scene.address(name, family);
        let udp = |from, to, port| Packet::udp(at(from), at(to), 4000, port, b"counted");
        let counts = || ["deny_in", "deny_out"].map(|chain| counted(&scene, family, chain));
        let what = format!("{layout:?} {family:?}");
        // What is allowed counts for nothing.
        assert!(scene.passes("n/c", "n/b", &udp("n/c", "n/b", 53)), "{what}");
        assert!(scene.passes("n/x", "n/a", &udp("n/x", "n/a", 53)), "{what}");
        assert_eq!((counts(), received(&log)), ([0, 0], vec![]), "{what}");
        let (into_b, out_of_x) = (udp("n/a", "n/b", 53), udp("n/x", "n/c", 53));
        assert!(!scene.passes("n/a", "n/b", &into_b), "{what}");
        assert_eq!(counts(), [1, 0], "{what}");
        assert!(!scene.passes("n/x", "n/c", &out_of_x), "{what}");
        assert_eq!(counts(), [1, 1], "{what}");
        // The node has taken a hop off; all behind the IP header is as it was sent.
        let records = received(&log);
        let prefixes: Vec<_> = records.iter().map(|(prefix, _)| prefix.as_str()).collect();
        assert_eq!(prefixes, ["palisade in", "palisade out"], "{what}");
        for ((_, packet), sent) in records.iter().zip([into_b, out_of_x]) {
            assert!(packet.ends_with(&sent.body) && sent.protocol == UDP, "{what}: {packet:?}");
        }
        // What may be the answer of a connection that was cut, and opens none, is no denial: dropped without a word.
        let ports = (80, 4001);
        let late = Packet::tcp(at("n/b"), at("n/a"), ports, tcp_flags::ACK, (1, 1));
        assert!(!scene.passes("n/b", "n/a", &late), "{what}");
        assert_eq!((counts(), received(&log)), ([1, 1], vec![]), "{what}");
    }
}

#[test]
fn a_flood_of_denied_packets_is_counted_whole_and_logged_at_a_limited_rate() {
    for family in Family::ALL {
        let scene = Scene::new(Layout::Routed, CAST);
        scene.enforce();
        let log = Nflog::listen(scene.lab.node(), LOG_GROUP).expect("a listener");
        let (a, b) = (scene.address("n/a", family), scene.address("n/b", family));
        let denied = |n| Packet::udp(a, b, 4000 + n, 53, b"flood").bytes();
        let begun = Instant::now();
        let arrived = scene.arrivals("n/a", "n/b", &(0..MANY).map(denied).collect::<Vec<_>>());
        // In whole seconds and rounded up, so that a slow machine has what is due to it.
        let elapsed = begun.elapsed().as_secs() + 1;
        assert!(arrived.iter().all(|a| a.port != 53), "{family:?}");
        assert_eq!(counted(&scene, family, "deny_in"), u64::from(MANY), "{family:?}");
        let logged = received(&log).len() as u64;
        let due = LOG_BURST + LOG_RATE_PER_SECOND * elapsed;
        assert!((1..=due).contains(&logged), "{family:?}: {logged} logged in {elapsed} s");
    }
}
