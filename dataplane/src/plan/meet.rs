//! The meet of two programs: every decision that a delta touches allows what it allows both before and after.
//!
//! From the program before to the meet everything narrows; from there to the program after everything widens. Between
//! the two lies a grace period, so that no packet sees a mixture that is neither.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;

use palisade_compiler::model::Direction;
use palisade_compiler::program::delta::{Edits, record};
use palisade_compiler::program::{AddressRange, ClassId, ProfileId, TablesDelta};

use super::allowed::Allowed;
use super::hazard::Judge;
use super::shift::{Shift, row_edits};
use super::table::Ids;
use crate::contents::rows;

/// Rows of transitional classes that are built for one delta; a wider one is not worth it.
pub const MAX_MEET_ROWS: usize = 400_000;

struct Meet<'s, 'a> {
    shift: &'s Shift<'a>,
    judge: Judge<'s, 'a>,
    ids: Ids,
    rewritten: BTreeSet<ProfileId>,
    passing: BTreeMap<(ClassId, ClassId), ClassId>,
    profiles: BTreeMap<Allowed, ProfileId>,
    to: TablesDelta,
}

/// The deltas to the meet and on from it, and the ids that are next; `None` if it would take more than
/// `MAX_MEET_ROWS`.
pub(super) fn meet(shift: &Shift<'_>, ids: Ids) -> Option<(TablesDelta, TablesDelta, Ids)> {
    let subjects: usize = Direction::ALL.into_iter().map(|d| shift.subjects(d).len()).sum();
    if shift.ways.len().saturating_mul(subjects) > MAX_MEET_ROWS {
        return None;
    }
    let mut meet = Meet {
        shift,
        judge: Judge::new(shift),
        ids,
        rewritten: shift.rewritten(),
        passing: BTreeMap::new(),
        profiles: BTreeMap::new(),
        to: TablesDelta::default(),
    };
    for &way in &shift.ways {
        meet.passing.insert(way, meet.ids.take_class());
    }
    meet.additions();
    meet.addresses();
    meet.atoms();
    meet.rows();
    meet.list_profiles();
    let mut on = meet.to.inverse();
    on.then(shift.delta.clone());
    Some((meet.to, on, meet.ids))
}

impl Meet<'_, '_> {
    /// Subjects, hairpins and contents of new profiles come; nothing of it goes.
    fn additions(&mut self) {
        fn come<K: Ord + Copy>(edits: &Edits<K>) -> Edits<K> {
            edits.iter().filter(|(_, e)| e.after.is_some()).map(|(&k, &e)| (k, e)).collect()
        }
        let delta = self.shift.delta;
        self.to.local_in = come(&delta.local_in);
        self.to.local_out = come(&delta.local_out);
        self.to.hairpin = come(&delta.hairpin);
        let unused = |profile| self.shift.table.named_by_program(profile) == 0;
        self.to.ports = delta.ports.clone();
        self.to.ports.retain(|port, _| unused(port.profile));
        self.to.port_ranges = delta.port_ranges.clone();
        self.to.port_ranges.retain(|range, _| unused(range.profile));
    }

    fn addresses(&mut self) {
        let kernel = &self.shift.table.kernel.class;
        for (&address, edit) in &self.shift.delta.class {
            let way = self.shift.moved.get(&address);
            let class = way.and_then(|way| self.passing.get(way)).copied().or(edit.after);
            if class.is_some() {
                record(&mut self.to.class, address, kernel.get(&address).copied(), class);
            }
        }
    }

    fn atoms(&mut self) {
        for component in &self.shift.components {
            let mut atoms: Vec<(AddressRange, ClassId)> = Vec::new();
            let mut end = None;
            for (range, from, to) in component.overlay() {
                let class = self.passing.get(&(from, to)).copied().unwrap_or(from);
                match atoms.last_mut() {
                    Some((last, c)) if *c == class && end == Some(last.last) => {
                        last.last = range.last;
                    }
                    Some(_) | None if class != ClassId::UNKNOWN => atoms.push((range, class)),
                    Some(_) | None => {}
                }
                end = (class != ClassId::UNKNOWN).then_some(range.last);
            }
            for &(range, class) in &component.removed {
                record(&mut self.to.cidr, range, Some(class), None);
            }
            for (range, class) in atoms {
                let before = self.shift.table.kernel.cidr.get(&range).copied();
                self.to.cidr.remove(&range);
                record(&mut self.to.cidr, range, before, Some(class));
            }
        }
    }

    fn rows(&mut self) {
        for direction in Direction::ALL {
            for (subject, class) in self.touched_rows(direction) {
                let before = self.shift.table.row(direction, subject, class);
                let after = self.shift.row_after(direction, subject, class);
                self.row(direction, subject, class, (before, before, after));
            }
            let ways: Vec<_> = self.passing.iter().map(|(&way, &class)| (way, class)).collect();
            for subject in self.shift.subjects(direction) {
                for &((from, to), class) in &ways {
                    let before = self.shift.table.row(direction, subject, from);
                    let after = self.shift.row_after(direction, subject, to);
                    let now = ProfileId::NOTHING;
                    self.row(direction, subject, class, (now, before, after));
                }
            }
        }
    }

    /// Rows of the delta, and those whose profile it gives other contents.
    fn touched_rows(&self, direction: Direction) -> BTreeSet<(IpAddr, ClassId)> {
        let mut touched: BTreeSet<_> =
            row_edits(self.shift.delta, direction).keys().copied().collect();
        if !self.rewritten.is_empty() {
            let all = rows(&self.shift.table.kernel, direction).iter();
            let named = all.filter(|(_, profile)| self.rewritten.contains(profile));
            let in_use = named.map(|(&key, _)| key).filter(|&(subject, class)| {
                !self.shift.table.garbage.has_row(direction, subject, class)
            });
            touched.extend(in_use);
        }
        touched
    }

    /// Records the row that is `now` as what `before` and `after` both allow; who is no subject is allowed everything.
    fn row(
        &mut self,
        direction: Direction,
        subject: IpAddr,
        class: ClassId,
        (now, before, after): (ProfileId, ProfileId, ProfileId),
    ) {
        let was = self.shift.subject_before(direction, subject);
        let will = self.shift.subject_after(direction, subject);
        let profile = if was || will {
            let everything = Rc::new(Allowed::Everything);
            let old = if was { self.judge.allowed_before(before) } else { Rc::clone(&everything) };
            let new = if will { self.judge.allowed_after(after) } else { everything };
            let both = old.and(&new);
            let fits =
                |id: ProfileId, allows: &Allowed| *allows == both && !self.rewritten.contains(&id);
            if was && fits(before, &old) {
                before
            } else if will && fits(after, &new) {
                after
            } else {
                self.profile(both)
            }
        } else if self.rewritten.contains(&now) {
            ProfileId::NOTHING
        } else {
            now
        };
        let stored = |profile| Some(profile).filter(|&p| p != ProfileId::NOTHING);
        let edits = match direction {
            Direction::Ingress => &mut self.to.allow_in,
            Direction::Egress => &mut self.to.allow_out,
        };
        record(edits, (subject, class), stored(now), stored(profile));
    }

    fn profile(&mut self, allowed: Allowed) -> ProfileId {
        match allowed {
            Allowed::Everything => ProfileId::EVERYTHING,
            Allowed::Only(spans) if spans.is_empty() => ProfileId::NOTHING,
            Allowed::Only(_) => {
                let ids = &mut self.ids;
                *self.profiles.entry(allowed).or_insert_with(|| ids.take_profile())
            }
        }
    }

    fn list_profiles(&mut self) {
        for (allowed, &profile) in &self.profiles {
            let (ports, ranges) = allowed.list(profile);
            for port in ports {
                record(&mut self.to.ports, port, None, Some(()));
            }
            for range in ranges {
                record(&mut self.to.port_ranges, range, None, Some(()));
            }
        }
    }
}
