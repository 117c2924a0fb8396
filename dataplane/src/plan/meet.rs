//! The meet of two programs: every decision that a delta affects allows what both programs allow.
//!
//! From the old program to the meet everything narrows, and from the meet to the new program everything widens. Between the
//! two there is a grace period, so that no packet sees a mixture that neither program gives.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::rc::Rc;

use palisade_compiler::model::Direction;
use palisade_compiler::program::delta::{Edits, record};
use palisade_compiler::program::{AddressRange, ClassId, PortSet, ProfileId, TablesDelta};

use super::ids::TransitionalIds;
use super::profiles::Profiles;
use super::transition::{Transition, row_edits};
use crate::contents::rows;

/// The number of rows of transitional classes that are built for one delta. For a wider delta, replacing the table is
/// cheaper.
pub const MAX_MEET_ROWS: usize = 400_000;

/// A delta that is carried out by way of the meet.
#[derive(Debug)]
pub(super) struct ByMeet {
    /// From the old program to the meet.
    pub(super) narrowing: TablesDelta,
    /// From the meet to the new program.
    pub(super) widening: TablesDelta,
    /// The transitional ids to assign next.
    pub(super) ids: TransitionalIds,
}

impl ByMeet {
    /// Returns `None` if more than `MAX_MEET_ROWS` rows would be needed.
    pub(super) fn new(transition: &Transition<'_>) -> Option<Self> {
        let subjects: usize =
            Direction::ALL.into_iter().map(|d| transition.subjects(d).len()).sum();
        if transition.ways.len().saturating_mul(subjects) > MAX_MEET_ROWS {
            return None;
        }
        let mut meet = Meet {
            transition,
            profiles: Profiles::new(transition.state, transition.delta),
            ids: transition.state.ids,
            rewritten: transition.rewritten(),
            classes: BTreeMap::new(),
            new_profiles: HashMap::new(),
            intersections: HashMap::new(),
            narrowing: TablesDelta::default(),
        };
        for &way in &transition.ways {
            meet.classes.insert(way, meet.ids.take_class());
        }
        meet.additions();
        meet.addresses();
        meet.atoms();
        meet.rows();
        meet.list_profiles();
        let Meet { narrowing, ids, .. } = meet;
        let mut widening = narrowing.inverse();
        widening.then(transition.delta.clone());
        Some(Self { narrowing, widening, ids })
    }
}

struct Meet<'t, 'a> {
    transition: &'t Transition<'a>,
    profiles: Profiles<'a>,
    ids: TransitionalIds,
    rewritten: BTreeSet<ProfileId>,
    /// The transitional class for each change of class (old, new).
    classes: BTreeMap<(ClassId, ClassId), ClassId>,
    /// Transitional profiles by what they allow.
    new_profiles: HashMap<PortSet, ProfileId>,
    /// The profiles of the meet, by the profiles before and after. `None` stands for an address that is not a subject.
    intersections: HashMap<(Option<ProfileId>, Option<ProfileId>), ProfileId>,
    narrowing: TablesDelta,
}

/// A row of the meet.
struct Row {
    direction: Direction,
    subject: IpAddr,
    class: ClassId,
    /// The class that the row applies to before and after the delta.
    way: (ClassId, ClassId),
    /// The profile that the row has before the delta.
    now: ProfileId,
}

impl Meet<'_, '_> {
    /// Adds subjects, hairpins, bridges and the contents of new profiles. The narrowing removes none of them.
    fn additions(&mut self) {
        fn come<K: Ord + Copy>(edits: &Edits<K>) -> Edits<K> {
            edits.iter().filter(|(_, e)| e.after.is_some()).map(|(&k, &e)| (k, e)).collect()
        }
        let delta = self.transition.delta;
        self.narrowing.local_in = come(&delta.local_in);
        self.narrowing.local_out = come(&delta.local_out);
        self.narrowing.hairpin = come(&delta.hairpin);
        let is_unused = |profile| self.transition.state.named_by_program(profile) == 0;
        self.narrowing.ports = delta.ports.clone();
        self.narrowing.ports.retain(|port, _| is_unused(port.profile));
        self.narrowing.port_ranges = delta.port_ranges.clone();
        self.narrowing.port_ranges.retain(|range, _| is_unused(range.profile));
    }

    /// Moves addresses that change class into the transitional class for that change.
    fn addresses(&mut self) {
        let kernel = &self.transition.state.kernel.class;
        for (&address, edit) in &self.transition.delta.class {
            let way = self.transition.moved.get(&address);
            let class = way.and_then(|way| self.classes.get(way)).copied().or(edit.after);
            if class.is_some() {
                let before = kernel.get(&address).copied();
                record(&mut self.narrowing.class, address, before, class);
            }
        }
    }

    /// Moves atoms that change class into transitional classes.
    fn atoms(&mut self) {
        for group in &self.transition.atoms {
            let mut atoms: Vec<(AddressRange, ClassId)> = Vec::new();
            let mut end = None;
            for (range, from, to) in group.spans() {
                let class = self.classes.get(&(from, to)).copied().unwrap_or(from);
                match atoms.last_mut() {
                    Some((last, c)) if *c == class && end == Some(last.last) => {
                        last.last = range.last;
                    }
                    Some(_) | None if class != ClassId::UNKNOWN => atoms.push((range, class)),
                    Some(_) | None => {}
                }
                end = (class != ClassId::UNKNOWN).then_some(range.last);
            }
            for &(range, class) in &group.removed {
                record(&mut self.narrowing.cidr, range, Some(class), None);
            }
            for (range, class) in atoms {
                let before = self.transition.state.kernel.cidr.get(&range).copied();
                self.narrowing.cidr.remove(&range);
                record(&mut self.narrowing.cidr, range, before, Some(class));
            }
        }
    }

    fn rows(&mut self) {
        let transition = self.transition;
        let ways: Vec<_> = self.classes.iter().map(|(&way, &class)| (way, class)).collect();
        for direction in Direction::ALL {
            let touched = self.touched_rows(direction);
            for &(subject, class) in &touched {
                let now = transition.state.row(direction, subject, class);
                // In a class that is only left or only entered there is no address at the meet: its addresses are in the
                // transitional class.
                let is_met =
                    transition.state.is_inhabited(class) && transition.is_inhabited_after(class);
                if is_met || self.rewritten.contains(&now) {
                    let base = touched.contains(&(subject, ClassId::UNKNOWN));
                    self.row(Row { direction, subject, class, way: (class, class), now }, base);
                }
            }
            for subject in transition.subjects(direction) {
                let base = touched.contains(&(subject, ClassId::UNKNOWN));
                for &(way, class) in &ways {
                    let now = ProfileId::NOTHING;
                    self.row(Row { direction, subject, class, way, now }, base);
                }
            }
        }
    }

    /// The rows of the delta, and the rows whose profile gets other contents.
    fn touched_rows(&self, direction: Direction) -> BTreeSet<(IpAddr, ClassId)> {
        let transition = self.transition;
        let mut touched: BTreeSet<_> =
            row_edits(transition.delta, direction).keys().copied().collect();
        if !self.rewritten.is_empty() {
            let all = rows(&transition.state.kernel, direction).iter();
            let named = all.filter(|(_, profile)| self.rewritten.contains(profile));
            let garbage = &transition.state.garbage;
            touched.extend(
                named
                    .map(|(&key, _)| key)
                    .filter(|&(subject, class)| !garbage.has_row(direction, subject, class)),
            );
        }
        touched
    }

    /// Records a row of the meet, which allows what its class is allowed both before and after. If the base of its subject
    /// changes, every row is written, even one that equals the base, so that the base applies to no address that changes
    /// class.
    fn row(&mut self, row: Row, base_changes: bool) {
        let Row { direction, subject, class, way: (from, to), now } = row;
        let transition = self.transition;
        let was = transition.is_subject_before(direction, subject);
        let will = transition.is_subject_after(direction, subject);
        if !was && !will && !self.rewritten.contains(&now) {
            return;
        }
        let profile = if was || will {
            let before = was.then(|| transition.state.profile(direction, subject, from));
            let after = will.then(|| transition.profile_after(direction, subject, to));
            self.intersection(before, after)
        } else {
            ProfileId::NOTHING
        };
        let base = match class {
            ClassId::UNKNOWN => ProfileId::NOTHING,
            _ if base_changes => ProfileId::DENY,
            _ => transition.state.row(direction, subject, ClassId::UNKNOWN),
        };
        let stored = match profile {
            ProfileId::NOTHING if base == ProfileId::NOTHING => None,
            ProfileId::NOTHING => Some(ProfileId::DENY),
            profile if profile == base && !base_changes => None,
            profile => Some(profile),
        };
        let edits = match direction {
            Direction::Ingress => &mut self.narrowing.allow_in,
            Direction::Egress => &mut self.narrowing.allow_out,
        };
        let now = Some(now).filter(|&profile| profile != ProfileId::NOTHING);
        record(edits, (subject, class), now, stored);
    }

    /// The profile that allows what both profiles allow. An address that is not a subject is allowed everything.
    fn intersection(&mut self, before: Option<ProfileId>, after: Option<ProfileId>) -> ProfileId {
        if let Some(&known) = self.intersections.get(&(before, after)) {
            return known;
        }
        let everything = Rc::new(PortSet::everything());
        let old = before.map_or(Rc::clone(&everything), |id| self.profiles.before(id));
        let new = after.map_or(everything, |id| self.profiles.after(id));
        let both = old.intersection(&new);
        if both.is_nothing() {
            self.intersections.insert((before, after), ProfileId::NOTHING);
            return ProfileId::NOTHING;
        }
        let is_kept =
            |id: &ProfileId, allows: &PortSet| *allows == both && !self.rewritten.contains(id);
        let kept = before.filter(|id| is_kept(id, &old)).or(after.filter(|id| is_kept(id, &new)));
        let profile = kept.unwrap_or_else(|| self.profile(both));
        self.intersections.insert((before, after), profile);
        profile
    }

    fn profile(&mut self, allowed: PortSet) -> ProfileId {
        if allowed.is_everything() {
            ProfileId::EVERYTHING
        } else {
            let ids = &mut self.ids;
            *self.new_profiles.entry(allowed).or_insert_with(|| ids.take_profile())
        }
    }

    fn list_profiles(&mut self) {
        for (allowed, &profile) in &self.new_profiles {
            let (ports, ranges) = allowed.elements(profile);
            for port in ports {
                record(&mut self.narrowing.ports, port, None, Some(()));
            }
            for range in ranges {
                record(&mut self.narrowing.port_ranges, range, None, Some(()));
            }
        }
    }
}
