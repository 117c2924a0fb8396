//! Connections under way, judged by a program as if they began now.

use super::Program;
use super::eval::{Packet, run};
use crate::model::{Connection, Family, Verdict};

/// A connection as connection tracking knows it, in the terms in which its first packet is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveConnection {
    /// From the end that opened it, before source translation, to the end that answers, after destination translation.
    pub connection: Connection,
    /// `ct status dnat`: a Service translated the destination.
    pub dnat: bool,
    /// The port of `connection.from`, where connection tracking first saw a packet from the middle of the connection, so that
    /// either end may be the one that opened it.
    pub midstream: Option<u16>,
}

impl LiveConnection {
    /// Whether the program denies the connection. One that either end may have opened must be allowed both ways round: what
    /// is forbidden must not live on because its server was the first to speak.
    pub fn is_forbidden(&self, program: &Program) -> bool {
        let Connection { from, to, protocol, .. } = self.connection;
        let denies = |connection: Connection| {
            let packet = Packet { dnat: self.dnat, ..Packet::first(connection) };
            let family = Family::of(connection.to);
            run(&mut program.family(family), family, &packet, &mut ()).0 == Verdict::Deny
        };
        let reversed = |port| Connection { from: to, to: from, protocol, port };
        denies(self.connection) || self.midstream.map(reversed).is_some_and(denies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{ClassId, ProfileId, Tables};

    /// `10.0.0.2` takes TCP from `10.0.0.1` alone, and nothing says whom it may reach.
    fn program() -> Program {
        let [friend, subject] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        let class = ClassId(ClassId::FIRST);
        let v4 = Tables {
            local_in: [subject].into(),
            hairpin: [subject].into(),
            class: [(friend, class)].into(),
            allow_in: [((subject, class), ProfileId::EVERYTHING)].into(),
            ..Tables::default()
        };
        Program { v4, v6: Tables::default() }
    }

    fn live(from: &str, to: &str) -> LiveConnection {
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        let connection = Connection { from, to, protocol: 6, port: 80 };
        LiveConnection { connection, dnat: false, midstream: None }
    }

    #[test]
    fn a_connection_is_judged_as_its_first_packet() {
        let program = program();
        assert!(!live("10.0.0.1", "10.0.0.2").is_forbidden(&program));
        assert!(live("10.0.0.3", "10.0.0.2").is_forbidden(&program));
        assert!(!live("10.0.0.2", "10.0.0.3").is_forbidden(&program));
    }

    #[test]
    fn one_seen_from_its_middle_must_be_allowed_both_ways_round() {
        let program = program();
        let midstream = |from, to| LiveConnection { midstream: Some(40_000), ..live(from, to) };
        assert!(midstream("10.0.0.2", "10.0.0.3").is_forbidden(&program));
        assert!(!midstream("10.0.0.2", "10.0.0.1").is_forbidden(&program));
        assert!(midstream("10.0.0.3", "10.0.0.2").is_forbidden(&program));
    }

    #[test]
    fn a_pod_reaches_itself_through_a_service_only() {
        let program = program();
        let itself = live("10.0.0.2", "10.0.0.2");
        assert!(itself.is_forbidden(&program));
        assert!(!LiveConnection { dnat: true, ..itself }.is_forbidden(&program));
    }
}
