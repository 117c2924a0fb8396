//! What the answering end of a connection that was cut must not send, lest the connection begin anew.
//!
//! Once its entry is deleted, a packet of the answering end begins a connection in its own direction as far as connection
//! tracking knows, and whatever the other end then sends is an answer. So packets with the tuple of the answers are dropped until
//! both ends have given up. The kernel itself sees to TCP: only a SYN begins a connection there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use palisade_compiler::model::{Connection, Family, Protocol};
use palisade_compiler::program::live::LiveConnection;
use palisade_compiler::program::{Program, TupleElement};
use palisade_dataplane::host::HostFacts;
use palisade_dataplane::netlink::conntrack::{Entry, Upper};

/// How many are remembered at most. Later ones are not, which is counted.
pub(in crate::reconcile) const MAX_TUPLES: usize = 16_384;
/// How long one is remembered after it came and after any was last used: as long as the kernel by default keeps an entry of UDP both
/// of whose ends have spoken (`nf_conntrack_udp_timeout_stream`).
const REMEMBER_FOR: Duration = Duration::from_secs(120);

#[derive(Debug, Default)]
pub(in crate::reconcile) struct RevokedTuples {
    /// When they came.
    since: BTreeMap<TupleElement, Instant>,
    facts: HostFacts,
    /// How many packets the kernel had dropped for their sake when that last changed, and when it did.
    dropped: u64,
    used: Option<Instant>,
    /// Those beyond `MAX_TUPLES`.
    lost: u64,
}

impl RevokedTuples {
    /// Those that a predecessor left in the tables.
    pub(super) fn adopting(found: &HostFacts, now: Instant) -> Self {
        let mut tuples = Self::default();
        for &tuple in found.revoked_ipv4.iter().chain(&found.revoked_ipv6) {
            tuples.add(tuple, now);
        }
        tuples
    }

    /// What the tables must hold of them.
    pub(super) fn facts(&self) -> &HostFacts {
        &self.facts
    }

    pub(in crate::reconcile) fn len(&self) -> usize {
        self.since.len()
    }

    pub(in crate::reconcile) fn lost(&self) -> u64 {
        self.lost
    }

    /// Adds what connections that are about to be cut need; whether there is something new.
    pub(super) fn revoke(&mut self, entries: &[Entry], now: Instant) -> bool {
        let before = self.len();
        entries.iter().filter_map(answers).for_each(|tuple| self.add(tuple, now));
        self.len() > before
    }

    fn add(&mut self, tuple: TupleElement, now: Instant) {
        if self.len() >= MAX_TUPLES && !self.since.contains_key(&tuple) {
            self.lost += 1;
            return;
        }
        self.since.insert(tuple, now);
        self.of_family(&tuple).insert(tuple);
    }

    fn of_family(&mut self, tuple: &TupleElement) -> &mut BTreeSet<TupleElement> {
        match Family::of(tuple.source) {
            Family::V4 => &mut self.facts.revoked_ipv4,
            Family::V6 => &mut self.facts.revoked_ipv6,
        }
    }

    /// Forgets those whose connection the program allows again, and those that neither came nor were used for some time. `dropped` is
    /// how many packets the kernel has dropped for their sake by its present count. Returns whether some went.
    pub(super) fn review(&mut self, program: &Program, dropped: u64, now: Instant) -> bool {
        if dropped != self.dropped {
            (self.dropped, self.used) = (dropped, Some(now));
        }
        let is_past = |at: Instant| now.saturating_duration_since(at) >= REMEMBER_FOR;
        let is_unused = self.used.is_none_or(is_past);
        let is_over = |tuple: &TupleElement, since: Instant| {
            (is_unused && is_past(since)) || !revoked(tuple).is_forbidden(program)
        };
        let gone: Vec<TupleElement> = self
            .since
            .iter()
            .filter(|&(tuple, &since)| is_over(tuple, since))
            .map(|(&tuple, _)| tuple)
            .collect();
        for tuple in &gone {
            self.since.remove(tuple);
            self.of_family(tuple).remove(tuple);
        }
        !gone.is_empty()
    }
}

/// The tuple of a connection's answers, where one alone may begin it anew and is judged by our rules: not of TCP, nor of protocols
/// without ports, nor where the answers come to the host itself because it translated the source.
fn answers(entry: &Entry) -> Option<TupleElement> {
    let reply = entry.reply;
    let protocol = Protocol::from_number(reply.protocol)?;
    let Upper::Ports { source: source_port, destination: port } = reply.upper else { return None };
    let is_its_own = protocol != Protocol::Tcp && reply.destination == entry.original.source;
    is_its_own.then_some(TupleElement {
        protocol: reply.protocol,
        source: reply.source,
        destination: reply.destination,
        source_port,
        port,
    })
}

/// The connection whose answers are such.
fn revoked(tuple: &TupleElement) -> LiveConnection {
    let &TupleElement { protocol, source, destination, source_port, .. } = tuple;
    let connection = Connection { from: destination, to: source, protocol, port: source_port };
    LiveConnection { connection, dnat: false, midstream: None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use palisade_compiler::program::Tables;
    use palisade_dataplane::netlink::conntrack::Tuple;

    use super::*;

    fn entry(protocol: u8, from: &str, to: &str, client: u16) -> Entry {
        let (source, destination) = (from.parse().unwrap(), to.parse().unwrap());
        let tuple = |source, destination, ports: (u16, u16)| Tuple {
            source,
            destination,
            protocol,
            upper: Upper::Ports { source: ports.0, destination: ports.1 },
            zone: None,
        };
        Entry {
            id: 1,
            original: tuple(source, destination, (client, 53)),
            reply: tuple(destination, source, (53, client)),
            status: 0,
            zone: None,
            tcp_flags: 0,
        }
    }

    /// Nobody reaches this subject.
    fn forbidding(subject: &str) -> Program {
        let v4 = Tables { local_in: [subject.parse().unwrap()].into(), ..Tables::default() };
        Program { v4, v6: Tables::default() }
    }

    #[test]
    fn answers_are_revoked_where_one_begins_a_connection() {
        let mut tuples = RevokedTuples::default();
        let now = Instant::now();
        let udp = entry(17, "10.0.0.1", "10.0.0.2", 4000);
        assert!(tuples.revoke(&[udp], now));
        assert!(!tuples.revoke(&[udp, entry(6, "10.0.0.1", "10.0.0.2", 4000)], now));
        assert!(!tuples.revoke(&[entry(47, "10.0.0.1", "10.0.0.2", 4000)], now));
        let masqueraded = Entry {
            reply: Tuple { destination: "192.0.2.1".parse().unwrap(), ..udp.reply },
            ..udp
        };
        assert!(!tuples.revoke(&[masqueraded], now));
        assert!(tuples.revoke(&[entry(132, "fd00::1", "fd00::2", 4000)], now));
        let v4: Vec<_> = tuples.facts().revoked_ipv4.iter().copied().collect();
        let expected = TupleElement {
            protocol: 17,
            source: "10.0.0.2".parse().unwrap(),
            destination: "10.0.0.1".parse().unwrap(),
            source_port: 53,
            port: 4000,
        };
        assert_eq!((v4, tuples.facts().revoked_ipv6.len()), (vec![expected], 1));
        let adopted = RevokedTuples::adopting(tuples.facts(), now);
        assert_eq!(adopted.facts(), tuples.facts());
    }

    #[test]
    fn they_are_forgotten_once_unused_or_allowed_again() {
        let (mut tuples, start) = (RevokedTuples::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let program = forbidding("10.0.0.2");
        tuples.revoke(&[entry(17, "10.0.0.1", "10.0.0.2", 4000)], at(0));
        assert!(!tuples.review(&program, 0, at(119)));
        // The other end still sends.
        assert!(!tuples.review(&program, 5, at(121)));
        tuples.revoke(&[entry(17, "10.0.0.1", "10.0.0.2", 4001)], at(200));
        assert!(!tuples.review(&program, 5, at(240)));
        // The first is past its time, the second is not.
        assert!(tuples.review(&program, 5, at(241)));
        assert_eq!(tuples.len(), 1);
        assert!(!tuples.review(&program, 5, at(250)));
        assert!(tuples.review(&Program::default(), 5, at(251)), "it is allowed again");
        assert_eq!((tuples.len(), tuples.facts()), (0, &HostFacts::default()));
    }

    #[test]
    fn those_beyond_the_bound_are_counted() {
        let (mut tuples, now) = (RevokedTuples::default(), Instant::now());
        let of = |client| entry(17, "10.0.0.1", "10.0.0.2", client);
        let entries: Vec<Entry> = (1..=16_390).map(of).collect();
        assert!(tuples.revoke(&entries, now));
        assert_eq!((tuples.len(), tuples.lost()), (MAX_TUPLES, 6));
        assert!(!tuples.revoke(&entries[..1], now));
        assert_eq!(tuples.lost(), 6);
    }
}
