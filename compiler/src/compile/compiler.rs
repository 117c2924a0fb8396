//! The compile: holds the input, its indexes and the program that they mean, and runs the steps from one to the other.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::adopt;
use super::atoms::{AtomEdits, Atoms};
use super::capacity::{Bounds, Capacity};
use super::cells::pods_in;
use super::classes::{Classes, MERGE_MOVES};
use super::groups::Groups;
use super::ids::{GroupId, PeerSetId};
use super::kinds::Kinds;
use super::locality::Locality;
use super::matrix::{Entries, Matrix};
use super::members::{MemberTables, Members};
use super::peer_sets::PeerSets;
use super::profiles::Profiles;
use super::ranges::number;
use super::rows::Lowering;
use super::subjects::Subjects;
use crate::model::{Direction, Family, PerFamily, Pod};
use crate::program::{Delta, Program, TablesDelta};
use crate::snapshot::{Change, PodId, Snapshot, Touched, UndeclaredNamespaces};

/// The incremental compile.
#[derive(Debug)]
pub struct Compiler {
    pub(super) snapshot: Snapshot,
    pub(super) program: Program,
    /// The tables whose ids the first batch should take.
    adopted: Option<Program>,
    pub(super) subjects: Subjects,
    pub(super) groups: Groups,
    pub(super) sets: PeerSets,
    pub(super) kinds: Kinds,
    pub(super) profiles: Profiles,
    members: Members,
    pub(super) families: PerFamily<FamilyState>,
    /// See `take_released`.
    released: BTreeSet<IpAddr>,
}

/// Addresses of one family by the direction in which their rows must be written anew, in the order of `Direction::ALL`.
type Moved = [BTreeSet<IpAddr>; 2];

/// What is kept for each family.
#[derive(Debug)]
pub(super) struct FamilyState {
    pub(super) atoms: Atoms,
    pub(super) classes: Classes,
    pub(super) capacity: Capacity,
}

impl FamilyState {
    fn new(family: Family, bounds: Bounds) -> Self {
        Self {
            atoms: Atoms::default(),
            classes: Classes::new(family),
            capacity: Capacity::new(bounds),
        }
    }
}

impl Compiler {
    pub fn new(locality: Locality) -> Self {
        Self::bounded(locality, Bounds::default())
    }

    /// Like `new`, with other bounds than the usual ones.
    pub fn bounded(locality: Locality, bounds: Bounds) -> Self {
        Self {
            snapshot: Snapshot::new(),
            program: Program::default(),
            adopted: None,
            subjects: Subjects::new(locality),
            groups: Groups::default(),
            sets: PeerSets::default(),
            kinds: Kinds::default(),
            profiles: Profiles::new(),
            members: Members::default(),
            families: PerFamily::from_fn(|family| FamilyState::new(family, bounds)),
            released: BTreeSet::new(),
        }
    }

    /// Like `new`, but the first batch chooses ids so that the program differs as little as possible from one found in
    /// the kernel.
    pub fn adopting(locality: Locality, found: &Program) -> Self {
        let mut compiler = Self::new(locality);
        compiler.profiles.adopt([&found.v4, &found.v6]);
        for (family, state) in compiler.families.iter_mut() {
            state.classes.adopt(&found[family]);
        }
        compiler.adopted = Some(found.clone());
        compiler
    }

    /// The same compile of an input in which namespaces that nothing declares are as the mode says.
    #[must_use]
    pub fn with_undeclared(mut self, undeclared: UndeclaredNamespaces) -> Self {
        self.snapshot = Snapshot::with_undeclared(undeclared);
        self
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Which pods are local.
    pub fn locality(&self) -> &Locality {
        self.subjects.locality()
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The local pods that policies isolate and that have no address yet.
    pub fn awaited_pods(&self) -> impl Iterator<Item = &Pod> {
        self.subjects.awaited().filter_map(|id| self.snapshot.pod(id))
    }

    /// How often a local pod came, went or changed: what depends on them alone need not be looked at again while this stays.
    pub fn local_changes(&self) -> u64 {
        self.subjects.changes()
    }

    /// All local pods, isolated or not.
    pub fn local_pods(&self) -> impl Iterator<Item = &Pod> {
        self.subjects.local().filter_map(|id| self.snapshot.pod(id))
    }

    /// The addresses of all local pods, isolated or not.
    pub fn local_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.subjects.local().flat_map(|id| self.addresses_of(id))
    }

    /// The local pod that has the address.
    pub fn local_owner(&self, address: IpAddr) -> Option<&Pod> {
        self.snapshot.owner(address).filter(|pod| self.subjects.locality().holds(pod))
    }

    /// Applies a batch of edits and returns what it does to the program.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Delta {
        let delta = self.apply_batch(changes);
        self.end_first_batch(delta)
    }

    /// Where ids were adopted, tries once more if the program shows that more of them could have been.
    fn end_first_batch(&mut self, delta: Delta) -> Delta {
        let Some(found) = self.adopted.take() else { return delta };
        let delta = match adopt::recognized(&found, &self.program) {
            None => delta,
            Some(better) => {
                let snapshot = std::mem::take(&mut self.snapshot);
                *self = Self::adopting(self.subjects.locality().clone(), &better);
                self.snapshot = snapshot;
                self.recompile(&self.snapshot.everything())
            }
        };
        self.adopted = None;
        self.profiles.end_adoption();
        self.families.iter_mut().for_each(|(_, state)| state.classes.end_adoption());
        delta
    }

    /// Compiles a whole input in the place of the present one, which should be empty.
    pub fn load(&mut self, snapshot: Snapshot) -> Delta {
        self.snapshot = snapshot;
        let delta = self.recompile(&self.snapshot.everything());
        self.end_first_batch(delta)
    }

    fn apply_batch(&mut self, changes: impl IntoIterator<Item = Change>) -> Delta {
        let mut touched = Touched::default();
        for change in changes {
            self.snapshot.apply_touching(change, &mut touched);
        }
        self.note_released(&touched);
        self.recompile(&touched)
    }

    fn note_released(&mut self, touched: &Touched) {
        let locality = self.subjects.locality();
        for (&address, before) in &touched.owned {
            let owner = self.snapshot.owner(address);
            if owner.is_some_and(|owner| before.is(owner)) {
                continue;
            }
            let is_local = |node| locality.is_node(node);
            if is_local(before.node.as_ref()) || owner.is_some_and(|o| is_local(o.node.as_ref())) {
                self.released.insert(address);
            }
        }
    }

    /// The addresses that left a pod since the last call, where it or the pod that has the address now is local: whatever was
    /// connected with the address was connected with another pod. Some may have come back to the pod since.
    pub fn take_released(&mut self) -> BTreeSet<IpAddr> {
        std::mem::take(&mut self.released)
    }

    /// Housekeeping that changes no verdict: merges classes that could be one, and forgets label keys that no rule names any
    /// more, where these are many. For when nothing else has to be done; an empty delta means that nothing is left.
    pub fn tidy(&mut self) -> Delta {
        for (_, state) in self.families.iter_mut() {
            state.classes.merge(MERGE_MOVES, true);
        }
        let mut dirty = BTreeSet::new();
        if self.sets.forget_names(self.kinds.len()) {
            self.regroup_kinds(&mut dirty);
        }
        self.settle(&dirty, &BTreeSet::new())
    }

    /// Whether `tidy` has something to do.
    pub fn is_untidy(&self) -> bool {
        self.families.iter().any(|(_, state)| state.classes.is_mergeable())
    }

    fn recompile(&mut self, touched: &Touched) -> Delta {
        let regrouped =
            self.subjects.update(touched, &self.snapshot, &mut self.groups, &mut self.sets);
        self.groups.retire_unused(&mut self.sets);

        let mut addresses = touched.addresses.clone();
        if self.sets.note_names() {
            self.regroup_kinds(&mut addresses);
        }
        let mut edits = PerFamily::<AtomEdits>::default();
        self.leave_sets(&mut edits);
        let come = self.sets.take_come();
        self.place_pods(touched);
        self.reevaluate(&touched.namespaces);
        self.enter_sets(come, &mut edits);
        for (family, state) in self.families.iter_mut() {
            state.classes.cells.apply_atoms(&edits[family]);
            for &range in &edits[family].touched {
                addresses.extend(pods_in(&self.program[family], family, range));
            }
        }
        for &pod in &touched.pods {
            addresses.extend(self.addresses_of(pod));
        }
        let mut subjects = touched.addresses.clone();
        for pod in regrouped {
            subjects.extend(self.addresses_of(pod));
        }
        self.settle(&addresses, &subjects)
    }

    /// Takes the sets that no group uses any more out of kinds and atoms.
    fn leave_sets(&mut self, edits: &mut PerFamily<AtomEdits>) {
        for (id, gone) in self.sets.take_gone() {
            self.kinds.leave_set(id, &gone.kinds);
            for (family, state) in self.families.iter_mut() {
                gone.kinds.iter().for_each(|&kind| state.classes.cells.touch_kind(kind));
                if !gone.is_everyone(family) {
                    state.atoms.remove(id, gone.key.ranges(family), &mut edits[family]);
                }
            }
        }
    }

    fn reevaluate(&mut self, namespaces: &BTreeSet<Arc<str>>) {
        for namespace in namespaces {
            for kind in self.kinds.in_namespace(namespace) {
                if self.kinds.evaluate(kind, &mut self.sets, &self.snapshot) {
                    self.families.iter_mut().for_each(|(_, s)| s.classes.cells.touch_kind(kind));
                }
            }
        }
    }

    fn enter_sets(&mut self, come: Vec<PeerSetId>, edits: &mut PerFamily<AtomEdits>) {
        for id in come {
            for kind in self.kinds.enter_set(id, &mut self.sets, &self.snapshot) {
                self.families.iter_mut().for_each(|(_, s)| s.classes.cells.touch_kind(kind));
            }
            let Some(set) = self.sets.get(id) else { continue };
            for (family, state) in self.families.iter_mut() {
                if !set.is_everyone(family) {
                    state.atoms.add(id, set.key.ranges(family), &mut edits[family]);
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
                Some(pod) => self.kinds.insert(id, pod, &mut self.sets, &self.snapshot),
                None => self.kinds.remove(id, &mut self.sets),
            }
        }
    }

    fn regroup_kinds(&mut self, addresses: &mut BTreeSet<IpAddr>) {
        for pod in self.kinds.regroup(&mut self.sets, &self.snapshot) {
            addresses.extend(self.addresses_of(pod));
        }
    }

    /// Places these addresses, settles the classes, and lowers.
    fn settle(&mut self, addresses: &BTreeSet<IpAddr>, subjects: &BTreeSet<IpAddr>) -> Delta {
        let mut delta = Delta::default();
        for &address in addresses {
            let state = &mut self.families[Family::of(address)];
            let kind = self.snapshot.owner_id(address).and_then(|pod| self.kinds.of_pod(pod));
            let at = number(address);
            let sets = state.atoms.sets_at(at);
            state.classes.cells.set_pod(at, kind.map(|kind| (kind, sets)));
        }
        let moved = self.move_members(subjects, &mut delta);
        self.retire_groups();
        let fresh = self.groups.take_new();
        for (family, moved) in moved {
            self.settle_family(family, moved, fresh.clone(), &mut delta[family]);
        }
        self.profiles.forget_unused();
        delta
    }

    /// Moves these addresses to the groups that they belong to; returns those that moved.
    fn move_members(&mut self, subjects: &BTreeSet<IpAddr>, delta: &mut Delta) -> PerFamily<Moved> {
        let mut all_moved = PerFamily::<Moved>::default();
        for &address in subjects {
            let family = Family::of(address);
            let owner = self.snapshot.owner_id(address);
            let wanted = owner.map_or([None, None], |pod| self.subjects.groups_of(pod));
            let state = &mut self.families[family];
            let tables = MemberTables {
                groups: &mut self.groups,
                capacity: &mut state.capacity,
                tables: &mut self.program[family],
                delta: &mut delta[family],
            };
            let directions = self.members.set(address, wanted, tables);
            for (moved, _) in
                all_moved[family].iter_mut().zip(directions).filter(|(_, moves)| *moves)
            {
                moved.insert(address);
            }
        }
        all_moved
    }

    /// Brings classes, matrix and rows of one family up to date: with all rows of the subjects that moved, and all entries of the
    /// groups that are due.
    fn settle_family(
        &mut self,
        family: Family,
        mut subjects: Moved,
        mut due: BTreeSet<GroupId>,
        delta: &mut TablesDelta,
    ) {
        let mut entries = Entries::new();
        let FamilyState { classes, capacity, .. } = &mut self.families[family];
        let tables = &mut self.program[family];
        loop {
            let edits = classes.settle(&self.kinds, &self.sets, tables, delta);
            for id in capacity.share_matrix(family, &self.groups, classes) {
                let Some(group) = self.groups.get(id) else { continue };
                let directions = Direction::ALL.into_iter().zip(&mut subjects);
                for (_, subjects) in directions.filter(|(d, _)| *d == group.key.direction) {
                    subjects.extend(group.members(family));
                }
                due.insert(id);
            }
            let mut matrix = Matrix {
                family,
                groups: &mut self.groups,
                classes,
                profiles: &mut self.profiles,
                capacity,
            };
            entries.extend(matrix.update(&due, &edits));
            due.clear();
            // Classes that could be one take more than they must: who goes without would depend on the history.
            if !capacity.is_short(&self.groups, classes) || !classes.is_mergeable() {
                break;
            }
            classes.merge(usize::MAX, true);
        }
        self.share(family, &mut entries, &mut subjects, delta);
        self.write_rows(family, &entries, &subjects, delta);
    }

    /// Shares the bounded tables of a family between the namespaces. Adds the entries and subjects whose rows change by that.
    fn share(
        &mut self,
        family: Family,
        entries: &mut Entries,
        subjects: &mut Moved,
        delta: &mut TablesDelta,
    ) {
        let capacity = &mut self.families[family].capacity;
        let was_short = capacity.granted().is_some();
        let changed = capacity.share_ports(family, &self.groups, &self.profiles);
        if !changed.is_empty() {
            for (id, group) in self.groups.iter() {
                let named = group.column(family).iter().filter(|(_, id)| changed.contains(*id));
                entries.extend(named.map(|(&class, _)| (id, class)));
            }
        }
        let granted = capacity.granted();
        let all = was_short || granted.is_some();
        self.profiles.write(family, granted, all, &mut self.program[family], delta);
        for (direction, subjects) in Direction::ALL.into_iter().zip(subjects) {
            subjects.extend(capacity.share_rows(family, direction, &self.groups));
        }
    }

    fn write_rows(
        &mut self,
        family: Family,
        entries: &Entries,
        subjects: &Moved,
        delta: &mut TablesDelta,
    ) {
        let capacity = &self.families[family].capacity;
        let (groups, members) = (&self.groups, &self.members);
        let lowering = Lowering { family, groups, members, capacity };
        let tables = &mut self.program[family];
        for (direction, subjects) in Direction::ALL.into_iter().zip(subjects) {
            lowering.write(direction, subjects, entries, tables, delta);
        }
    }

    fn retire_groups(&mut self) {
        for (id, group) in self.groups.take_retired() {
            for (family, column) in group.columns.iter() {
                self.families[family].capacity.forget_group(id);
                column.values().for_each(|&profile| self.profiles.release(profile, family));
            }
        }
    }
}
