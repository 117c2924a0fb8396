//! A packet's walk through the maps, written from the skeleton alone: each lookup may meet the state of any commit not
//! before that of the lookup before it. Shares no code with what it judges.

use std::collections::BTreeSet;
use std::net::IpAddr;

use palisade_compiler::model::Connection;
use palisade_compiler::program::{ClassId, PortElement, ProfileId, Tables};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) port: u16,
    /// Translated by a Service.
    pub(crate) dnat: bool,
    /// A TCP segment that opens no connection.
    pub(crate) midstream: bool,
}

impl From<Connection> for Packet {
    /// Its first packet; to the own address only by way of a Service.
    fn from(c: Connection) -> Self {
        let (dnat, midstream) = (c.from == c.to, false);
        Self { from: c.from, to: c.to, protocol: c.protocol, port: c.port, dnat, midstream }
    }
}

/// The states of a window, oldest first.
pub(crate) struct Window<'a> {
    pub(crate) states: &'a [Tables],
}

impl Window<'_> {
    /// The verdicts (`true` allows) that some non-decreasing choice of states yields.
    pub(crate) fn verdicts(&self, packet: &Packet) -> BTreeSet<bool> {
        let mut verdicts = BTreeSet::new();
        self.opening(packet, &mut verdicts);
        verdicts
    }

    /// What a lookup may yield from state `at` on; of each value only the earliest state, whose futures include the
    /// others'.
    fn look<V: PartialEq>(&self, at: usize, f: impl Fn(&Tables) -> V) -> Vec<(usize, V)> {
        let mut seen: Vec<(usize, V)> = Vec::new();
        for (k, state) in self.states.iter().enumerate().skip(at) {
            let value = f(state);
            if !seen.iter().any(|(_, v)| *v == value) {
                seen.push((k, value));
            }
        }
        seen
    }

    fn opening(&self, p: &Packet, out: &mut BTreeSet<bool>) {
        if !p.midstream {
            return self.egress(0, p, out);
        }
        for (k, source) in self.look(0, |t| t.local_in.contains(&p.from)) {
            for (k, destination) in self.look(k, |t| t.local_out.contains(&p.to)) {
                if source || destination {
                    out.insert(false);
                } else {
                    self.egress(k, p, out);
                }
            }
        }
    }

    fn egress(&self, at: usize, p: &Packet, out: &mut BTreeSet<bool>) {
        for (k, subject) in self.look(at, |t| t.local_out.contains(&p.from)) {
            if !subject {
                self.ingress(k, p, out);
                continue;
            }
            for (k, allowed) in self.profile(k, p, p.to, |t, class| {
                t.allow_out.get(&(p.from, class)).copied().unwrap_or(ProfileId::NOTHING)
            }) {
                if allowed { self.ingress(k, p, out) } else { _ = out.insert(false) }
            }
        }
    }

    fn ingress(&self, at: usize, p: &Packet, out: &mut BTreeSet<bool>) {
        for (k, subject) in self.look(at, |t| t.local_in.contains(&p.to)) {
            if !subject {
                out.insert(true);
                continue;
            }
            for (_, allowed) in self.profile(k, p, p.from, |t, class| {
                t.allow_in.get(&(p.to, class)).copied().unwrap_or(ProfileId::NOTHING)
            }) {
                out.insert(allowed);
            }
        }
    }

    /// One direction's walk from the peer's class to the hairpin: (earliest state, allowed).
    fn profile(
        &self,
        at: usize,
        p: &Packet,
        peer: IpAddr,
        row: impl Fn(&Tables, ClassId) -> ProfileId,
    ) -> Vec<(usize, bool)> {
        let mut ends = Vec::new();
        for (k, class) in self.look(at, |t| t.class.get(&peer).copied().unwrap_or(ClassId(0))) {
            let classes = if class == ClassId(0) {
                self.look(k, |t| {
                    let atom = t.cidr.iter().find(|(r, _)| r.first <= peer && peer <= r.last);
                    atom.map_or(ClassId(0), |(_, &c)| c)
                })
            } else {
                vec![(k, class)]
            };
            for (k, class) in classes {
                for (k, profile) in self.look(k, |t| row(t, class)) {
                    self.ports(k, p, profile, &mut ends);
                }
            }
        }
        ends
    }

    fn ports(&self, at: usize, p: &Packet, profile: ProfileId, ends: &mut Vec<(usize, bool)>) {
        if profile == ProfileId::EVERYTHING {
            return ends.push((at, true));
        }
        let element = PortElement { profile, protocol: p.protocol, port: p.port };
        for (k, found) in self.look(at, |t| t.ports.contains(&element)) {
            if found {
                ends.push((k, true));
                continue;
            }
            // `port_ranges` may be one transaction behind.
            for (j, found) in self.look(k.saturating_sub(1), |t| {
                t.port_ranges.iter().any(|r| {
                    r.profile == profile
                        && r.protocol == p.protocol
                        && r.first <= p.port
                        && p.port <= r.last
                })
            }) {
                let k = j.max(k);
                if found {
                    ends.push((k, true));
                } else if p.dnat && p.from == p.to {
                    ends.extend(self.look(k, |t| t.hairpin.contains(&p.from)));
                } else {
                    ends.push((k, false));
                }
            }
        }
    }
}

/// The verdict of one program.
pub(crate) fn verdict(tables: &Tables, packet: &Packet) -> bool {
    let window = Window { states: std::slice::from_ref(tables) };
    let verdicts = window.verdicts(packet);
    assert_eq!(verdicts.len(), 1, "one state, one verdict");
    verdicts.contains(&true)
}
