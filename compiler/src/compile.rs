//! Snapshot -> Program, incrementally.
//!
//! ```text
//! Change -> Snapshot -> subjects -> groups -> peer sets in use
//!                          |                     |
//!                          |       kinds of pod, atoms of CIDRs -> cells -> classes
//!                          |                                                  |
//!                          +-------------> matrix (group x class) -> profile -+-> rows
//! ```
//!
//! A batch of changes touches what it can touch and nothing else. The result depends on the input alone, not on its history, but
//! for the ids and for classes that could be one: `Program::canonical` leaves both out.

mod adopt;
mod atoms;
mod canonical;
mod classes;
mod groups;
mod judge;
mod kinds;
mod peers;
mod ports;
mod room;
mod rows;
mod subjects;
mod warning;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

pub use atoms::MAX_ATOMS;
pub use canonical::Canonical;
pub use room::{Bounds, MAX_PORT_RANGES, MAX_PORTS, MAX_ROWS};
pub use warning::{MAX_SUBJECTS, Warning};

use crate::model::Family;
use crate::program::{Delta, Program};
use crate::snapshot::{Change, PodId, Snapshot, Touched, UndeclaredNamespaces};
use atoms::{AtomEdits, Atoms, number};
use classes::{ClassEdits, Classes, MERGE_MOVES};
use groups::{Groups, at};
use kinds::Kinds;
use peers::{PeerSetId, PeerSets};
use ports::{Profiles, edit_ports};
use room::Room;
use rows::Lowering;
use subjects::{PodGroups, Subjects};

/// Which pods are local: those whose traffic this host judges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locality {
    /// Pods bound to this node (`spec.nodeName`).
    Node(Arc<str>),
    /// Every pod that has an address.
    Everywhere,
}

/// Sizes of a compile's parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub namespaces: usize,
    pub pods: usize,
    pub policies: usize,
    pub local_pods: usize,
    /// Addresses isolated for ingress, and for egress, of both families.
    pub subjects_in: usize,
    pub subjects_out: usize,
    pub kinds: usize,
    pub groups: usize,
    /// Of both families, as are the next three.
    pub classes: usize,
    pub rows: usize,
    pub atoms: usize,
    pub elements: usize,
    pub profiles: usize,
}

/// The incremental compile: holds the input, its indexes and the program that they mean.
#[derive(Debug)]
pub struct Compiler {
    snapshot: Snapshot,
    program: Program,
    locality: Locality,
    /// The tables whose ids the first batch is to take.
    adopted: Option<Program>,
    /// Whether rows are written; if not, verdicts are read off the matrix.
    lowers: bool,
    subjects: Subjects,
    groups: Groups,
    sets: PeerSets,
    kinds: Kinds,
    profiles: Profiles,
    atoms: [Atoms; 2],
    classes: [Classes; 2],
    rooms: [Room; 2],
    /// The groups that each subject's rows are written for.
    lowered: BTreeMap<IpAddr, PodGroups>,
}

impl Compiler {
    pub fn new(locality: Locality) -> Self {
        Self {
            snapshot: Snapshot::new(),
            program: Program::default(),
            adopted: None,
            lowers: true,
            subjects: Subjects::new(locality.clone()),
            locality,
            groups: Groups::default(),
            sets: PeerSets::default(),
            kinds: Kinds::default(),
            profiles: Profiles::new(),
            atoms: [Atoms::default(), Atoms::default()],
            classes: Family::ALL.map(Classes::new),
            rooms: [Room::default(), Room::default()],
            lowered: BTreeMap::new(),
        }
    }

    /// Like `new`, but the first batch chooses ids so that the program differs as little as can be from one found in
    /// the kernel.
    pub fn adopting(locality: Locality, found: &Program) -> Self {
        let mut compiler = Self::new(locality);
        compiler.profiles.adopt([&found.v4, &found.v6]);
        for (classes, family) in compiler.classes.iter_mut().zip(Family::ALL) {
            classes.adopt(found.family(family));
        }
        compiler.adopted = Some(found.clone());
        compiler
    }

    /// Like `new`, with other bounds than the usual ones.
    pub fn bounded(locality: Locality, bounds: Bounds) -> Self {
        Self { rooms: Family::ALL.map(|_| Room::new(bounds)), ..Self::new(locality) }
    }

    /// The same compile of an input in which namespaces that nothing declares are as the mode says.
    #[must_use]
    pub fn with_undeclared(mut self, undeclared: UndeclaredNamespaces) -> Self {
        self.snapshot = Snapshot::with_undeclared(undeclared);
        self
    }

    /// For `judge` only: every pod is local, whatever their number, and no rows are written.
    pub fn judging() -> Self {
        Self { lowers: false, ..Self::new(Locality::Everywhere) }
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    pub fn stats(&self) -> Stats {
        let tables = [&self.program.v4, &self.program.v6];
        let sum = |f: fn(&crate::program::Tables) -> usize| tables.into_iter().map(f).sum();
        Stats {
            namespaces: self.snapshot.namespaces().count(),
            pods: self.snapshot.pod_count(),
            policies: self.snapshot.policies().count(),
            local_pods: self.subjects.len(),
            subjects_in: sum(|t| t.local_in.len()),
            subjects_out: sum(|t| t.local_out.len()),
            kinds: self.kinds.len(),
            groups: self.groups.len(),
            classes: self.classes.iter().map(Classes::len).sum(),
            rows: sum(|t| t.allow_in.len() + t.allow_out.len()),
            atoms: sum(|t| t.cidr.len()),
            elements: self.program.elements(),
            profiles: self.profiles.len(),
        }
    }

    /// Applies a batch of edits and returns what it does to the program.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Delta {
        let delta = self.apply_batch(changes);
        let Some(found) = self.adopted.take() else { return delta };
        let delta = match adopt::recognized(&found, &self.program) {
            None => delta,
            Some(better) => {
                let snapshot = std::mem::take(&mut self.snapshot);
                *self = Self::adopting(self.locality.clone(), &better);
                self.snapshot = snapshot;
                self.recompile(&self.snapshot.everything())
            }
        };
        self.adopted = None;
        self.profiles.end_adoption();
        self.classes.iter_mut().for_each(Classes::end_adoption);
        delta
    }

    fn apply_batch(&mut self, changes: impl IntoIterator<Item = Change>) -> Delta {
        let mut touched = Touched::default();
        for change in changes {
            self.snapshot.apply_touching(change, &mut touched);
        }
        self.recompile(&touched)
    }

    /// Housekeeping that changes no verdict: merges classes that could be one, and forgets label keys that no rule names any
    /// more. And writes what there was no room for, where there is now. For when nothing else is to be done; an empty delta
    /// means that nothing is left.
    pub fn tidy(&mut self) -> Delta {
        for classes in &mut self.classes {
            classes.merge(MERGE_MOVES, true);
        }
        let mut dirty = BTreeSet::new();
        if self.sets.forget_names() {
            self.regroup_kinds(&mut dirty);
        }
        let mut subjects = BTreeSet::new();
        for room in &mut self.rooms {
            let (groups, lacking) = room.take_due();
            self.groups.refresh(groups);
            subjects.extend(lacking);
        }
        let delta = self.settle(&dirty, &subjects);
        if !delta.is_empty() {
            // Merging may have made room.
            self.rooms.iter_mut().for_each(Room::note_change);
        }
        delta
    }

    /// Whether `tidy` has something to do.
    pub fn is_untidy(&self) -> bool {
        self.classes.iter().any(Classes::is_mergeable) || self.rooms.iter().any(Room::is_due)
    }

    fn recompile(&mut self, touched: &Touched) -> Delta {
        let regrouped =
            self.subjects.update(touched, &self.snapshot, &mut self.groups, &mut self.sets);
        self.groups.retire_unwanted(&mut self.sets);

        let mut addresses = touched.addresses.clone();
        if self.sets.note_names() {
            self.regroup_kinds(&mut addresses);
        }
        let mut edits = [AtomEdits::default(), AtomEdits::default()];
        self.leave_sets(&mut edits);
        let come = self.sets.take_come();
        self.place_pods(touched);
        self.reevaluate(&touched.namespaces);
        self.enter_sets(come, &mut edits);
        for ((classes, edits), family) in self.classes.iter_mut().zip(&edits).zip(Family::ALL) {
            classes.apply_atoms(edits);
            for &range in &edits.touched {
                addresses.extend(Classes::pods_in(self.program.family(family), family, range));
            }
        }
        for &pod in &touched.pods {
            addresses.extend(self.addresses_of(pod));
        }
        let mut subjects = touched.addresses.clone();
        for pod in regrouped {
            subjects.extend(self.addresses_of(pod));
        }
        let delta = self.settle(&addresses, &subjects);
        self.rooms.iter_mut().for_each(Room::note_change);
        delta
    }

    /// Takes the sets that no group uses any more out of kinds and atoms.
    fn leave_sets(&mut self, edits: &mut [AtomEdits; 2]) {
        for (id, gone) in self.sets.take_gone() {
            self.kinds.leave_set(id, &gone.kinds);
            for classes in &mut self.classes {
                gone.kinds.iter().for_each(|&kind| classes.touch_kind(kind));
            }
            for ((atoms, edits), family) in self.atoms.iter_mut().zip(&mut *edits).zip(Family::ALL)
            {
                if !gone.is_everyone(family) {
                    atoms.remove(id, gone.key.ranges(family), edits);
                }
            }
        }
    }

    fn reevaluate(&mut self, namespaces: &BTreeSet<Arc<str>>) {
        for namespace in namespaces {
            for kind in self.kinds.in_namespace(namespace) {
                if self.kinds.evaluate(kind, &mut self.sets, &self.snapshot) {
                    self.classes.iter_mut().for_each(|classes| classes.touch_kind(kind));
                }
            }
        }
    }

    fn enter_sets(&mut self, come: Vec<PeerSetId>, edits: &mut [AtomEdits; 2]) {
        for id in come {
            for kind in self.kinds.enter_set(id, &mut self.sets, &self.snapshot) {
                self.classes.iter_mut().for_each(|classes| classes.touch_kind(kind));
            }
            let Some(set) = self.sets.get(id) else { continue };
            for ((atoms, edits), family) in self.atoms.iter_mut().zip(&mut *edits).zip(Family::ALL)
            {
                if !set.is_everyone(family) {
                    atoms.add(id, set.key.ranges(family), edits);
                }
            }
        }
    }

    fn addresses_of(&self, pod: PodId) -> impl Iterator<Item = IpAddr> + use<> {
        self.snapshot.pod(pod).map(|pod| pod.addresses).into_iter().flat_map(|a| a.iter())
    }

    fn place_pods(&mut self, touched: &Touched) {
        for &id in &touched.pods {
            match self.snapshot.pod(id).filter(|pod| pod.has_identity()) {
                Some(pod) => self.kinds.place(id, pod, &mut self.sets, &self.snapshot),
                None => self.kinds.remove(id, &mut self.sets),
            }
        }
    }

    fn regroup_kinds(&mut self, addresses: &mut BTreeSet<IpAddr>) {
        for pod in self.kinds.regroup(&mut self.sets, &self.snapshot) {
            addresses.extend(self.addresses_of(pod));
        }
    }

    /// Places these addresses, settles the classes, and lowers: columns first, then these subjects.
    fn settle(&mut self, addresses: &BTreeSet<IpAddr>, subjects: &BTreeSet<IpAddr>) -> Delta {
        let mut delta = Delta::default();
        for &address in addresses {
            let family = at(Family::of(address));
            let (Some(classes), Some(atoms)) =
                (self.classes.get_mut(family), self.atoms.get(family))
            else {
                continue;
            };
            let kind = self.snapshot.owner_id(address).and_then(|pod| self.kinds.of_pod(pod));
            let at = number(address);
            classes.place(at, kind.map(|kind| (kind, atoms.sets_at(at))));
        }
        let fresh = self.groups.take_fresh();
        let rooms = self.rooms.iter_mut();
        for ((family, classes), room) in Family::ALL.into_iter().zip(&mut self.classes).zip(rooms) {
            let (tables, delta) = (self.program.family_mut(family), delta.family_mut(family));
            let edits: ClassEdits = classes.settle(&self.kinds, &self.sets, tables, delta);
            if self.lowers {
                let mut lowering = Lowering {
                    family,
                    groups: &mut self.groups,
                    classes,
                    profiles: &mut self.profiles,
                    room,
                    tables,
                    delta,
                };
                lowering.update_columns(&fresh, &edits);
            }
        }
        if self.lowers {
            self.lower(subjects, &mut delta);
        }
        self.retire_groups(&mut delta);
        delta
    }

    fn lower(&mut self, subjects: &BTreeSet<IpAddr>, delta: &mut Delta) {
        for &address in subjects {
            let owner = self.snapshot.owner_id(address);
            let wanted = owner.map_or([None, None], |pod| self.subjects.groups_of(pod));
            let written = self.lowered.get(&address).copied().unwrap_or([None, None]);
            let family = Family::of(address);
            let Some(room) = self.rooms.get_mut(at(family)) else { continue };
            if wanted == written && !room.lacks(address) {
                continue;
            }
            let Some(classes) = self.classes.get(at(family)) else { continue };
            let mut lowering = Lowering {
                family,
                groups: &mut self.groups,
                classes,
                profiles: &mut self.profiles,
                room,
                tables: self.program.family_mut(family),
                delta: delta.family_mut(family),
            };
            lowering.relower(address, written, wanted);
            match wanted {
                [None, None] => _ = self.lowered.remove(&address),
                _ => _ = self.lowered.insert(address, wanted),
            }
        }
    }

    fn retire_groups(&mut self, delta: &mut Delta) {
        for (id, group) in self.groups.take_retired() {
            let rooms = self.rooms.iter_mut();
            for ((family, column), room) in Family::ALL.into_iter().zip(&group.columns).zip(rooms) {
                room.forget_group(id);
                room.note_entries(column.len(), 0);
                column.values().for_each(|&profile| self.profiles.release(profile, family));
            }
        }
        let program = &mut self.program;
        self.profiles.sweep(|family, id, content| {
            let (tables, delta) = (program.family_mut(family), delta.family_mut(family));
            edit_ports(content, id, false, tables, delta);
        });
    }
}
