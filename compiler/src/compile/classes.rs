//! The addresses of one family, partitioned into classes by the peer sets they are in.
//!
//! A *cell* is the smallest unit that moves: the pods' addresses of one kind in the same blocks, or the atoms of the same blocks. All
//! addresses of a cell are in the same peer sets: its *signature*. A class is some cells with one signature. When signatures
//! change, the heavier part of a class keeps its id and the rest moves, so that few elements change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::atoms::{AtomEdits, BlockSets, address};
use super::kinds::{KindId, Kinds};
use super::peers::{Item, PeerSetId, PeerSets};
use crate::compact::{AddressMap, Numbers};
use crate::model::Family;
use crate::program::delta::{Edit, record};
use crate::program::{AddressRange, ClassId, Tables, TablesDelta};

pub(super) type Signature = Arc<[Item]>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct CellId(u32);

/// The kind of pod, or none for atoms; and the sets whose blocks hold the addresses.
type CellKey = (Option<KindId>, BlockSets);

#[derive(Debug)]
struct Cell {
    key: CellKey,
    /// None while new, and for atoms that no set holds.
    class: Option<ClassId>,
    /// First addresses of atoms, or addresses of pods.
    members: Numbers,
}

/// A cell, and the place in its list.
#[derive(Debug, Clone, Copy)]
struct Place {
    cell: CellId,
    at: u32,
}

#[derive(Debug)]
struct Class {
    signature: Signature,
    cells: BTreeSet<CellId>,
    weight: usize,
}

/// What a batch did to the classes themselves.
#[derive(Debug, Default)]
pub(super) struct ClassEdits {
    pub(super) come: BTreeSet<ClassId>,
    /// With the signature that the rows were made for.
    pub(super) gone: BTreeMap<ClassId, Signature>,
    pub(super) resigned: BTreeMap<ClassId, Signature>,
}

/// Where a cell belongs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Home {
    /// An atom in no set: it is left out, and its addresses are of class `UNKNOWN`.
    Nowhere,
    Class(Signature),
}

#[derive(Debug)]
pub(super) struct Classes {
    family: Family,
    /// The cell of each pod's address, and of each atom.
    places: AddressMap<Place>,
    atom_places: AddressMap<Place>,
    cells: HashMap<CellId, Cell>,
    by_key: HashMap<CellKey, CellId>,
    by_kind: HashMap<KindId, BTreeSet<CellId>>,
    classes: BTreeMap<ClassId, Class>,
    by_signature: HashMap<Signature, BTreeSet<ClassId>>,
    by_set: HashMap<PeerSetId, BTreeSet<ClassId>>,
    next_cell: u32,
    next_class: u32,
    /// Cells whose signature may have changed.
    dirty: BTreeSet<CellId>,
    /// Pods' addresses, and atoms, whose element may have changed.
    touched: HashSet<u128>,
    touched_atoms: BTreeSet<(u128, u128)>,
    /// Classes that lost a cell, and may have none left.
    thinned: BTreeSet<ClassId>,
    /// The last address of each atom, by its first.
    atom_ends: HashMap<u128, u128>,
    /// The ids that the kernel already has, by address.
    adopted: Option<Tables>,
}

/// Above this many times the classes needed (and some), classes of one signature are merged at once.
const MERGE_FACTOR: usize = 2;
const MERGE_SLACK: usize = 64;
/// Addresses that one call to merge may move, as a rule.
pub(super) const MERGE_MOVES: usize = 1024;

impl Classes {
    pub(super) fn new(family: Family) -> Self {
        Self {
            family,
            places: AddressMap::default(),
            atom_places: AddressMap::default(),
            cells: HashMap::new(),
            by_key: HashMap::new(),
            by_kind: HashMap::new(),
            classes: BTreeMap::new(),
            by_signature: HashMap::new(),
            by_set: HashMap::new(),
            next_cell: 0,
            next_class: ClassId::FIRST,
            dirty: BTreeSet::new(),
            touched: HashSet::new(),
            touched_atoms: BTreeSet::new(),
            thinned: BTreeSet::new(),
            atom_ends: HashMap::new(),
            adopted: None,
        }
    }

    /// Prefers the ids that these tables have for most of a class's members.
    pub(super) fn adopt(&mut self, tables: &Tables) {
        let ids = tables.class.values().chain(tables.cidr.values());
        let rows = tables.allow_in.keys().chain(tables.allow_out.keys()).map(|(_, class)| class);
        for id in ids.chain(rows) {
            self.next_class = self.next_class.max(id.0.saturating_add(1));
        }
        self.adopted = Some(tables.clone());
    }

    pub(super) fn end_adoption(&mut self) {
        self.adopted = None;
    }

    pub(super) fn len(&self) -> usize {
        self.classes.len()
    }

    /// The classes there are, `UNKNOWN` not among them.
    pub(super) fn ids(&self) -> impl Iterator<Item = ClassId> {
        self.classes.keys().copied()
    }

    pub(super) fn signature(&self, class: ClassId) -> Option<&Signature> {
        self.classes.get(&class).map(|class| &class.signature)
    }

    /// The classes whose addresses are in the set.
    pub(super) fn in_set(&self, set: PeerSetId) -> impl Iterator<Item = ClassId> {
        self.by_set.get(&set).into_iter().flatten().copied()
    }

    /// Puts a pod's address where its kind and blocks say, or takes it out.
    pub(super) fn place(&mut self, at: u128, kind: Option<(KindId, &BlockSets)>) {
        self.touched.insert(at);
        match kind {
            Some((kind, sets)) => self.enter(at, (Some(kind), Arc::clone(sets))),
            None => self.leave(false, at),
        }
    }

    pub(super) fn apply_atoms(&mut self, edits: &AtomEdits) {
        for (&first, &(last, _)) in &edits.gone {
            self.touched_atoms.insert((first, last));
            self.leave(true, first);
            self.atom_ends.remove(&first);
        }
        for (&first, (last, sets)) in &edits.come {
            self.atom_ends.insert(first, *last);
            self.enter(first, (None, Arc::clone(sets)));
        }
    }

    /// Notes that the kind's own items changed.
    pub(super) fn touch_kind(&mut self, kind: KindId) {
        self.dirty.extend(self.by_kind.get(&kind).into_iter().flatten());
    }

    fn enter(&mut self, at: u128, key: CellKey) {
        let is_atom = key.0.is_none();
        if let Some(place) = self.place_of(is_atom, at)
            && self.cells.get(&place.cell).is_some_and(|cell| cell.key == key)
        {
            return;
        }
        self.leave(is_atom, at);
        let id = match self.by_key.get(&key) {
            Some(&id) => id,
            None => self.new_cell(key),
        };
        let Some(cell) = self.cells.get_mut(&id) else { return };
        // 2^32 addresses do not fit any memory this runs in.
        let place = u32::try_from(cell.members.len()).unwrap_or(u32::MAX);
        cell.members.push(at);
        if let Some(class) = cell.class.and_then(|class| self.classes.get_mut(&class)) {
            class.weight += 1;
        }
        let places = if is_atom { &mut self.atom_places } else { &mut self.places };
        places.insert(address(self.family, at), Place { cell: id, at: place });
        if is_atom {
            self.touched_atoms.insert((at, self.atom_ends.get(&at).copied().unwrap_or(at)));
        }
    }

    fn new_cell(&mut self, key: CellKey) -> CellId {
        let id = CellId(self.next_cell);
        self.next_cell = self.next_cell.wrapping_add(1);
        if let Some(kind) = key.0 {
            self.by_kind.entry(kind).or_default().insert(id);
        }
        self.by_key.insert(key.clone(), id);
        self.cells.insert(id, Cell { key, class: None, members: Numbers::default() });
        self.dirty.insert(id);
        id
    }

    fn place_of(&self, is_atom: bool, at: u128) -> Option<Place> {
        let places = if is_atom { &self.atom_places } else { &self.places };
        places.get(address(self.family, at)).copied()
    }

    fn leave(&mut self, is_atom: bool, at: u128) {
        let places = if is_atom { &mut self.atom_places } else { &mut self.places };
        let Some(place) = places.remove(address(self.family, at)) else { return };
        let id = place.cell;
        let Some(cell) = self.cells.get_mut(&id) else { return };
        let index = place.at as usize;
        cell.members.swap_remove(index);
        if let Some(moved) = cell.members.get(index)
            && let Some(moved) = places.get_mut(address(self.family, moved))
        {
            moved.at = place.at;
        }
        if let Some(class) = cell.class.and_then(|class| self.classes.get_mut(&class)) {
            class.weight -= 1;
        }
        if cell.members.is_empty() {
            self.drop_cell(id);
        }
    }

    fn drop_cell(&mut self, id: CellId) {
        let Some(cell) = self.cells.remove(&id) else { return };
        self.dirty.remove(&id);
        if let Some(kind) = cell.key.0
            && let Some(cells) = self.by_kind.get_mut(&kind)
        {
            cells.remove(&id);
            if cells.is_empty() {
                self.by_kind.remove(&kind);
            }
        }
        self.by_key.remove(&cell.key);
        if let Some(id_of_class) = cell.class
            && let Some(class) = self.classes.get_mut(&id_of_class)
        {
            class.cells.remove(&id);
            self.thinned.insert(id_of_class);
        }
    }

    /// Brings classes, and the elements of `class` and `cidr`, up to date with the cells.
    pub(super) fn settle(
        &mut self,
        kinds: &Kinds,
        sets: &PeerSets,
        tables: &mut Tables,
        delta: &mut TablesDelta,
    ) -> ClassEdits {
        let mut edits = ClassEdits::default();
        self.repartition(kinds, sets, &mut edits);
        if self.classes.len() > MERGE_FACTOR * self.by_signature.len() + MERGE_SLACK {
            self.merge(MERGE_MOVES, false);
        }
        self.retire_empty(&mut edits);
        self.write_elements(tables, delta);
        edits
    }

    fn repartition(&mut self, kinds: &Kinds, sets: &PeerSets, edits: &mut ClassEdits) {
        let mut parts: BTreeMap<Option<ClassId>, BTreeMap<Home, Vec<CellId>>> = BTreeMap::new();
        for id in std::mem::take(&mut self.dirty) {
            let Some(cell) = self.cells.get(&id) else { continue };
            let home = self.home(cell, kinds, sets);
            let current = cell.class.and_then(|class| self.classes.get(&class));
            let at_home = match (&home, current) {
                (Home::Class(signature), Some(class)) => *signature == class.signature,
                (Home::Nowhere, None) => true,
                (Home::Class(_), None) | (Home::Nowhere, Some(_)) => false,
            };
            if !at_home {
                parts.entry(cell.class).or_default().entry(home).or_default().push(id);
            }
        }
        let mut leaving = Vec::new();
        for (class, parts) in parts {
            match class {
                Some(class) => self.split(class, parts, &mut leaving, edits),
                None => leaving.extend(parts),
            }
        }
        for (home, cells) in leaving {
            if let Home::Class(signature) = home {
                let class = match self.by_signature.get(&signature).and_then(BTreeSet::first) {
                    Some(&class) => class,
                    None => self.new_class(signature, &cells, edits),
                };
                cells.into_iter().for_each(|cell| self.join(cell, class));
            }
        }
    }

    fn home(&self, cell: &Cell, kinds: &Kinds, sets: &PeerSets) -> Home {
        let told_apart =
            |item: &Item| sets.get(item.set).is_some_and(|set| !set.is_everyone(self.family));
        let (kind, blocks) = &cell.key;
        let kind = kind.and_then(|kind| kinds.get(kind));
        let mut items: Vec<Item> = Vec::new();
        for &id in blocks.iter() {
            let Some(set) = sets.get(id) else { continue };
            match kind {
                Some(kind) => items.extend(set.item(id, kind.ports())),
                None if set.key.names.is_empty() => items.push(Item { set: id, ports: None }),
                None => {}
            }
        }
        if let Some(kind) = kind {
            items.extend(kind.items.iter().cloned());
        }
        items.retain(told_apart);
        items.sort_unstable();
        items.dedup();
        if cell.key.0.is_none() && items.is_empty() {
            return Home::Nowhere;
        }
        Home::Class(items.into())
    }

    /// Of the parts that a class falls into, the heaviest keeps the id.
    fn split(
        &mut self,
        id: ClassId,
        parts: BTreeMap<Home, Vec<CellId>>,
        leaving: &mut Vec<(Home, Vec<CellId>)>,
        edits: &mut ClassEdits,
    ) {
        let Some(class) = self.classes.get(&id) else { return };
        let weigh = |cells: &[CellId]| -> usize {
            cells.iter().filter_map(|cell| self.cells.get(cell)).map(|c| c.members.len()).sum()
        };
        let moving: usize = parts.values().map(|cells| weigh(cells)).sum();
        let staying = class.weight - moving;
        let heaviest = parts
            .iter()
            .filter_map(|(home, cells)| match home {
                Home::Class(signature) => Some((weigh(cells), signature)),
                Home::Nowhere => None,
            })
            .max()
            .filter(|(weight, _)| *weight > staying)
            .map(|(_, signature)| Arc::clone(signature));
        let mut leave: Vec<(Home, Vec<CellId>)> = Vec::new();
        if let Some(keeps) = &heaviest {
            let moved: BTreeSet<CellId> = parts.values().flatten().copied().collect();
            let stay: Vec<CellId> = class.cells.difference(&moved).copied().collect();
            if !stay.is_empty() {
                leave.push((Home::Class(Arc::clone(&class.signature)), stay));
            }
            self.resign(id, keeps, edits);
        }
        leave.extend(parts.into_iter().filter(|(home, _)| match home {
            Home::Class(signature) => heaviest.as_ref() != Some(signature),
            Home::Nowhere => true,
        }));
        for cell in leave.iter().flat_map(|(_, cells)| cells) {
            self.part(*cell, id);
        }
        leaving.extend(leave);
    }

    fn resign(&mut self, id: ClassId, signature: &Signature, edits: &mut ClassEdits) {
        self.unlist(id);
        let Some(class) = self.classes.get_mut(&id) else { return };
        let old = std::mem::replace(&mut class.signature, Arc::clone(signature));
        edits.resigned.entry(id).or_insert(old);
        self.list(id);
    }

    fn list(&mut self, id: ClassId) {
        let Some(class) = self.classes.get(&id) else { return };
        self.by_signature.entry(Arc::clone(&class.signature)).or_default().insert(id);
        for item in class.signature.iter() {
            self.by_set.entry(item.set).or_default().insert(id);
        }
    }

    fn unlist(&mut self, id: ClassId) {
        let Some(class) = self.classes.get(&id) else { return };
        if let Some(classes) = self.by_signature.get_mut(&class.signature) {
            classes.remove(&id);
            if classes.is_empty() {
                self.by_signature.remove(&class.signature);
            }
        }
        for item in class.signature.iter() {
            if let Some(classes) = self.by_set.get_mut(&item.set) {
                classes.remove(&id);
                if classes.is_empty() {
                    self.by_set.remove(&item.set);
                }
            }
        }
    }

    fn part(&mut self, id: CellId, class: ClassId) {
        let Some(cell) = self.cells.get_mut(&id) else { return };
        cell.class = None;
        let weight = cell.members.len();
        self.thinned.insert(class);
        if let Some(class) = self.classes.get_mut(&class) {
            class.cells.remove(&id);
            class.weight -= weight;
        }
        self.touch_members(id);
    }

    fn join(&mut self, id: CellId, class_id: ClassId) {
        let Some(cell) = self.cells.get_mut(&id) else { return };
        let Some(class) = self.classes.get_mut(&class_id) else { return };
        cell.class = Some(class_id);
        class.cells.insert(id);
        class.weight += cell.members.len();
        self.touch_members(id);
    }

    fn touch_members(&mut self, id: CellId) {
        let Some(cell) = self.cells.get(&id) else { return };
        if cell.key.0.is_some() {
            self.touched.extend(cell.members.iter());
        } else {
            let ends = &self.atom_ends;
            let atoms = cell.members.iter().map(|at| (at, ends.get(&at).copied().unwrap_or(at)));
            self.touched_atoms.extend(atoms);
        }
    }

    fn new_class(
        &mut self,
        signature: Signature,
        cells: &[CellId],
        edits: &mut ClassEdits,
    ) -> ClassId {
        let id = self.adopted_id(cells).unwrap_or_else(|| self.fresh());
        self.classes.insert(id, Class { signature, cells: BTreeSet::new(), weight: 0 });
        self.list(id);
        edits.come.insert(id);
        id
    }

    /// The unused id that most of the members have in the tables adopted.
    fn adopted_id(&self, cells: &[CellId]) -> Option<ClassId> {
        let found = self.adopted.as_ref()?;
        let mut votes: BTreeMap<ClassId, usize> = BTreeMap::new();
        for cell in cells.iter().filter_map(|id| self.cells.get(id)) {
            for at in cell.members.iter() {
                let address = address(self.family, at);
                let vote = match cell.key.0 {
                    Some(_) => found.class.get(&address).copied(),
                    None => Some(found.cidr_class_of(address)),
                };
                let ours = |id: &ClassId| (ClassId::FIRST..ClassId::END).contains(&id.0);
                if let Some(id) = vote.filter(ours).filter(|id| !self.classes.contains_key(id)) {
                    *votes.entry(id).or_default() += 1;
                }
            }
        }
        votes.into_iter().max_by_key(|&(_, votes)| votes).map(|(id, _)| id)
    }

    /// Ids are handed out in a circle, so that one is reused long after its last use, the oldest first.
    fn fresh(&mut self) -> ClassId {
        loop {
            if !(ClassId::FIRST..ClassId::END).contains(&self.next_class) {
                self.next_class = ClassId::FIRST;
            }
            let id = ClassId(self.next_class);
            self.next_class += 1;
            if !self.classes.contains_key(&id) {
                return id;
            }
        }
    }

    /// Merges classes of one signature, the lighter into the heaviest, as long as no more than `moves` addresses move;
    /// if `one_at_least`, the first merge is made whatever it moves: else none would ever be made of heavy classes.
    pub(super) fn merge(&mut self, mut moves: usize, mut one_at_least: bool) {
        let double: Vec<Signature> = self
            .by_signature
            .iter()
            .filter(|(_, classes)| classes.len() > 1)
            .map(|(signature, _)| Arc::clone(signature))
            .collect();
        for signature in double {
            let Some(ids) = self.by_signature.get(&signature) else { continue };
            let weight = |id: &ClassId| self.classes.get(id).map_or(0, |class| class.weight);
            let mut by_weight: Vec<(usize, ClassId)> =
                ids.iter().map(|id| (weight(id), *id)).collect();
            by_weight.sort_unstable();
            let Some((_, target)) = by_weight.pop() else { continue };
            for (weight, id) in by_weight {
                moves = match moves.checked_sub(weight) {
                    Some(left) => left,
                    None if one_at_least => 0,
                    None => return,
                };
                one_at_least = false;
                let cells = self.classes.get(&id).map(|class| class.cells.clone());
                for cell in cells.unwrap_or_default() {
                    self.part(cell, id);
                    self.join(cell, target);
                }
            }
        }
    }

    /// Whether some signature has more than one class.
    pub(super) fn is_mergeable(&self) -> bool {
        self.classes.len() > self.by_signature.len()
    }

    fn retire_empty(&mut self, edits: &mut ClassEdits) {
        for id in std::mem::take(&mut self.thinned) {
            if self.classes.get(&id).is_none_or(|class| !class.cells.is_empty()) {
                continue;
            }
            self.unlist(id);
            let Some(class) = self.classes.remove(&id) else { continue };
            let resigned = edits.resigned.remove(&id);
            if !edits.come.remove(&id) {
                edits.gone.insert(id, resigned.unwrap_or(class.signature));
            }
        }
    }

    fn write_elements(&mut self, tables: &mut Tables, delta: &mut TablesDelta) {
        let mut touched: Vec<u128> = std::mem::take(&mut self.touched).into_iter().collect();
        touched.sort_unstable();
        let touched_atoms = std::mem::take(&mut self.touched_atoms);
        let class_at =
            |is_atom: bool, at: u128| self.cells.get(&self.place_of(is_atom, at)?.cell)?.class;
        if tables.class.is_empty() {
            // Made of what is sorted already, a tree has full nodes: half of the memory.
            let key = |&at: &u128| Some((address(self.family, at), class_at(false, at)?));
            tables.class = touched.iter().filter_map(key).collect();
            let come = |(&key, &class): (&IpAddr, &ClassId)| {
                (key, Edit { before: None, after: Some(class) })
            };
            delta.class = tables.class.iter().map(come).collect();
            touched.clear();
        }
        for at in touched {
            let key = address(self.family, at);
            let after = class_at(false, at);
            let before = match after {
                Some(class) => tables.class.insert(key, class),
                None => tables.class.remove(&key),
            };
            record(&mut delta.class, key, before, after);
        }
        for (first, last) in touched_atoms {
            let is_there = self.atom_ends.get(&first) == Some(&last);
            let after = if is_there { class_at(true, first) } else { None };
            let key = AddressRange {
                first: address(self.family, first),
                last: address(self.family, last),
            };
            let before = match after {
                Some(class) => tables.cidr.insert(key, class),
                None => tables.cidr.remove(&key),
            };
            record(&mut delta.cidr, key, before, after);
        }
    }

    /// The pods' addresses in a range, from the tables, which hold every one.
    pub(super) fn pods_in(tables: &Tables, family: Family, range: (u128, u128)) -> Vec<IpAddr> {
        let (first, last) = (address(family, range.0), address(family, range.1));
        tables.class.range(first..=last).map(|(&a, _)| a).collect()
    }
}
