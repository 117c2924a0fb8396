//! Denied packets are counted, and copied to an NFLOG group at a limited rate.

use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use palisade::lab::packet::{Packet, UDP, tcp_flags};
use palisade::lab::{Lab, Layout};
use palisade_compiler::model::Family;
use palisade_compiler::program::skeleton::{LOG_GROUP, LOG_RATE_PER_SECOND};

use crate::attacks::{CAST, LAYOUTS_AND_FAMILIES};
use crate::scene::Scene;

/// What `limit rate` lets through at once, where the rule names no burst (nft(8)).
const LOG_BURST: u64 = 5;
/// Denied one after another, far more than that.
const MANY: u16 = 600;

/// A listener of the group, as a log daemon is one: `linux/netfilter/nfnetlink_log.h`.
struct Nflog(OwnedFd);

impl Nflog {
    #[track_caller]
    fn listen(lab: &Lab) -> Self {
        let open = || {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let protocol = SockProtocol::NetlinkNetFilter;
            let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
            bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
            Ok::<_, Errno>(fd)
        };
        let log = Self(lab.node().run(open).expect("entered").expect("a netlink socket"));
        setsockopt(&log.0, sockopt::RcvBufForce, &(4 << 20)).expect("a buffer");
        // NFULA_CFG_CMD with NFULNL_CFG_CMD_BIND; NFULA_CFG_QTHRESH: each record by itself, at once; NFULA_CFG_MODE: copy
        // 0xffff bytes of the packet (NFULNL_COPY_PACKET).
        log.configure(1, &[1]);
        log.configure(5, &1_u32.to_be_bytes());
        log.configure(2, &[0, 0, 0xff, 0xff, 2, 0]);
        log
    }

    /// NFULNL_MSG_CONFIG with one attribute, acknowledged.
    #[track_caller]
    fn configure(&self, kind: u16, value: &[u8]) {
        const REQUEST_AND_ACK: u16 = 1 | 4;
        let mut body = vec![0, 0];
        body.extend(LOG_GROUP.to_be_bytes());
        body.extend((4 + value.len() as u16).to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
        let mut message = (16 + body.len() as u32).to_ne_bytes().to_vec();
        message.extend([0x0401, REQUEST_AND_ACK].map(u16::to_ne_bytes).concat());
        message.extend([0; 8]);
        message.extend(body);
        send(self.0.as_raw_fd(), &message, MsgFlags::empty()).expect("sent");
        let mut answer = [0; 256];
        recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty()).expect("an answer");
        assert_eq!(answer[16..20], [0; 4], "the kernel refused attribute {kind}");
    }

    /// Prefix and packet of each record that is there.
    fn records(&self) -> Vec<(String, Vec<u8>)> {
        let mut records = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => length,
                Err(Errno::EAGAIN) => return records,
                Err(errno) => panic!("{errno}"),
            };
            for message in
                parts(&buffer[..length], |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
            {
                // NFULNL_MSG_PACKET.
                if u16::from_ne_bytes([message[4], message[5]]) == 0x0400 {
                    records.push(record(&message[20..]));
                }
            }
        }
    }
}

/// NFULA_PREFIX and NFULA_PAYLOAD.
fn record(attributes: &[u8]) -> (String, Vec<u8>) {
    let (mut prefix, mut packet) = (String::new(), Vec::new());
    for attribute in parts(attributes, |b| u32::from(u16::from_ne_bytes([b[0], b[1]]))) {
        match u16::from_ne_bytes([attribute[2], attribute[3]]) {
            10 => {
                prefix = String::from_utf8_lossy(&attribute[4..]).trim_end_matches('\0').to_owned()
            }
            9 => packet = attribute[4..].to_vec(),
            _ => {}
        }
    }
    (prefix, packet)
}

/// Parts that begin with their length, each padded to four bytes.
fn parts(mut bytes: &[u8], length: impl Fn(&[u8]) -> u32) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while bytes.len() >= 4 {
        let length = length(bytes) as usize;
        assert!((4..=bytes.len()).contains(&length), "a length of {length} in {}", bytes.len());
        parts.push(&bytes[..length]);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    parts
}

/// The packets that the counter of a `deny_*` chain has, as nft lists it.
#[track_caller]
fn counted(scene: &Scene, family: Family, chain: &str) -> u64 {
    let ip = if family == Family::V4 { "ip" } else { "ip6" };
    let list = || Command::new("nft").args(["list", "chain", ip, "palisade", chain]).output();
    let listing = scene.lab.node().run(list).expect("entered").expect("nft is installed");
    let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
    let count = listing.split("counter packets ").nth(1).and_then(|rest| rest.split(' ').next());
    count.expect("a counter").parse().expect("a number")
}

#[test]
fn denied_packets_are_dropped_counted_and_logged_with_their_direction() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        let scene = Scene::new(layout, CAST);
        scene.enforce();
        let log = Nflog::listen(&scene.lab);
        let at = |name: &str| scene.address(name, family);
        let udp = |from, to, port| Packet::udp(at(from), at(to), 4000, port, b"counted");
        let counts = || ["deny_in", "deny_out"].map(|chain| counted(&scene, family, chain));
        let what = format!("{layout:?} {family:?}");
        // What is allowed counts for nothing.
        assert!(scene.passes("n/c", "n/b", &udp("n/c", "n/b", 53)), "{what}");
        assert!(scene.passes("n/x", "n/a", &udp("n/x", "n/a", 53)), "{what}");
        assert_eq!((counts(), log.records()), ([0, 0], vec![]), "{what}");
        let (into_b, out_of_x) = (udp("n/a", "n/b", 53), udp("n/x", "n/c", 53));
        assert!(!scene.passes("n/a", "n/b", &into_b), "{what}");
        assert_eq!(counts(), [1, 0], "{what}");
        assert!(!scene.passes("n/x", "n/c", &out_of_x), "{what}");
        assert_eq!(counts(), [1, 1], "{what}");
        // The node has taken a hop off; all behind the IP header is as it was sent.
        let records = log.records();
        let told: Vec<_> = records.iter().map(|(prefix, _)| prefix.as_str()).collect();
        assert_eq!(told, ["palisade in", "palisade out"], "{what}");
        for ((_, packet), sent) in records.iter().zip([into_b, out_of_x]) {
            assert!(packet.ends_with(&sent.body) && sent.protocol == UDP, "{what}: {packet:?}");
        }
        // What may be the answer of a connection that was cut, and opens none, is no denial: dropped without a word.
        let ports = (80, 4001);
        let late = Packet::tcp(at("n/b"), at("n/a"), ports, tcp_flags::ACK, (1, 1));
        assert!(!scene.passes("n/b", "n/a", &late), "{what}");
        assert_eq!((counts(), log.records()), ([1, 1], vec![]), "{what}");
    }
}

#[test]
fn a_flood_of_denied_packets_is_counted_whole_and_logged_at_a_limited_rate() {
    for family in Family::ALL {
        let scene = Scene::new(Layout::Routed, CAST);
        scene.enforce();
        let log = Nflog::listen(&scene.lab);
        let (a, b) = (scene.address("n/a", family), scene.address("n/b", family));
        let denied = |n| Packet::udp(a, b, 4000 + n, 53, b"flood").bytes();
        let begun = Instant::now();
        let arrived = scene.arrivals("n/a", "n/b", &(0..MANY).map(denied).collect::<Vec<_>>());
        // In whole seconds and rounded up, so that a slow machine has what is due to it.
        let elapsed = begun.elapsed().as_secs() + 1;
        assert!(arrived.iter().all(|a| a.port != 53), "{family:?}");
        assert_eq!(counted(&scene, family, "deny_in"), u64::from(MANY), "{family:?}");
        let logged = log.records().len() as u64;
        let due = LOG_BURST + LOG_RATE_PER_SECOND * elapsed;
        assert!((1..=due).contains(&logged), "{family:?}: {logged} logged in {elapsed} s");
    }
}
