//! A packet's way through the sets and maps, written from the skeleton alone. Each lookup may read the state of any commit
//! that is not before the state that the lookup before it read. Shares no code with what it judges.

use std::collections::{BTreeMap, BTreeSet};
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

type Rows = BTreeMap<(IpAddr, ClassId), ProfileId>;

/// The states of a window, oldest first.
pub(crate) struct Window<'a> {
    states: &'a [Tables],
}

impl<'a> Window<'a> {
    pub(crate) fn new(states: &'a [Tables]) -> Self {
        Self { states }
    }
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
            if source {
                out.insert(false);
                continue;
            }
            for (k, destination) in self.look(k, |t| t.local_out.contains(&p.to)) {
                if destination {
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
            for (k, allowed) in self.judge(k, p, (p.from, p.to), |t| &t.allow_out) {
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
            for (_, allowed) in self.judge(k, p, (p.to, p.from), |t| &t.allow_in) {
                out.insert(allowed);
            }
        }
    }

    /// One direction, from the peer's class to the hairpin: (earliest state, allowed).
    fn judge(
        &self,
        at: usize,
        p: &Packet,
        (subject, peer): (IpAddr, IpAddr),
        rows: impl Fn(&Tables) -> &Rows,
    ) -> Vec<(usize, bool)> {
        let mut ends = Vec::new();
        let row = |t: &Tables, class| {
            rows(t).get(&(subject, class)).copied().unwrap_or(ProfileId::NOTHING)
        };
        for (k, class) in self.classes(at, peer) {
            for (k, profile) in self.look(k, |t| row(t, class)) {
                if profile != ProfileId::NOTHING {
                    self.ports(k, p, profile, &mut ends);
                    continue;
                }
                for (k, base) in self.look(k, |t| row(t, ClassId::UNKNOWN)) {
                    if base == ProfileId::NOTHING {
                        self.hairpin(k, p, &mut ends);
                    } else {
                        self.ports(k, p, base, &mut ends);
                    }
                }
            }
        }
        ends
    }

    fn classes(&self, at: usize, peer: IpAddr) -> Vec<(usize, ClassId)> {
        let mut classes = Vec::new();
        for (k, class) in self.look(at, |t| t.class.get(&peer).copied().unwrap_or(ClassId(0))) {
            if class == ClassId(0) {
                classes.extend(self.look(k, |t| {
                    let atom = t.cidr.iter().find(|(r, _)| r.first <= peer && peer <= r.last);
                    atom.map_or(ClassId(0), |(_, &c)| c)
                }));
            } else {
                classes.push((k, class));
            }
        }
        classes
    }

    fn ports(&self, at: usize, p: &Packet, profile: ProfileId, ends: &mut Vec<(usize, bool)>) {
        let element = PortElement { profile, protocol: p.protocol, port: p.port };
        for (k, found) in self.look(at, |t| t.ports.contains(&element)) {
            if found || profile == ProfileId::EVERYTHING {
                ends.push((k, true));
            } else if profile.0 & 0x4000_0000 == 0 {
                self.hairpin(k, p, ends);
            } else {
                self.ranges(k, p, profile, ends);
            }
        }
    }

    /// `port_ranges` may be one transaction behind.
    fn ranges(&self, at: usize, p: &Packet, profile: ProfileId, ends: &mut Vec<(usize, bool)>) {
        for (j, found) in self.look(at.saturating_sub(1), |t| {
            t.port_ranges.iter().any(|r| {
                r.profile == profile
                    && r.protocol == p.protocol
                    && r.first <= p.port
                    && p.port <= r.last
            })
        }) {
            let k = j.max(at);
            if found { ends.push((k, true)) } else { self.hairpin(k, p, ends) }
        }
    }

    fn hairpin(&self, at: usize, p: &Packet, ends: &mut Vec<(usize, bool)>) {
        if p.dnat && p.from == p.to {
            ends.extend(self.look(at, |t| t.hairpin.contains(&p.from)));
        } else {
            ends.push((at, false));
        }
    }
}

/// The verdicts that a packet may get while these programs are in force. Each of the two rules that drop packets of the middle
/// of a connection may follow another program than the rest: they matter only once the connection's entry is deleted, which
/// is a grace period after the commit.
pub(crate) fn permitted(programs: &[Tables], packet: &Packet) -> BTreeSet<bool> {
    let of = |decide: &dyn Fn(&Tables) -> bool| -> BTreeSet<bool> {
        programs.iter().map(decide).collect()
    };
    let opening = Packet { midstream: false, ..*packet };
    let judged = of(&|tables| verdict(tables, &opening));
    if !packet.midstream {
        return judged;
    }
    let is_answer = of(&|tables| tables.local_in.contains(&packet.from));
    let is_of_subject = of(&|tables| tables.local_out.contains(&packet.to));
    let dropped = is_answer.iter().flat_map(|a| is_of_subject.iter().map(move |b| *a || *b));
    dropped.flat_map(|dropped| judged.iter().map(move |&allows| allows && !dropped)).collect()
}

/// The verdict of one program.
pub(crate) fn verdict(tables: &Tables, packet: &Packet) -> bool {
    Window::new(std::slice::from_ref(tables)).verdict(packet)
}

impl Window<'_> {
    /// The verdict of the only state.
    pub(crate) fn verdict(&self, packet: &Packet) -> bool {
        let verdicts = self.verdicts(packet);
        assert_eq!(verdicts.len(), 1, "one state, one verdict");
        verdicts.contains(&true)
    }
}
