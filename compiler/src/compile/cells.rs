//! Groups the addresses of one family into *cells*, the smallest units that move between classes. A cell holds the
//! addresses of pods of one kind in the same blocks, or the atoms of the same blocks. All addresses of a cell are in the
//! same peer sets.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::atoms::{AtomEdits, BlockSets};
use super::ids::KindId;
use super::ranges::{Range, address};
use crate::compact::{AddressMap, Numbers};
use crate::model::Family;
use crate::program::delta::{Edit, record};
use crate::program::{AddressRange, ClassId, Tables, TablesDelta};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct CellId(u32);

/// The kind of pod (`None` for atoms), and the sets whose blocks contain the addresses.
pub(super) type CellKey = (Option<KindId>, BlockSets);

#[derive(Debug)]
struct Cell {
    key: CellKey,
    /// `None` for a new cell, and for atoms that are in no set.
    class: Option<ClassId>,
    /// Addresses of pods, or the first addresses of atoms.
    members: Numbers,
}

/// A cell, and an index in its list of members.
#[derive(Debug, Clone, Copy)]
struct Position {
    cell: CellId,
    at: u32,
}

/// The cells of one class, and the number of their members.
#[derive(Debug, Default)]
struct ClassCells {
    cells: BTreeSet<CellId>,
    weight: usize,
}

#[derive(Debug)]
pub(super) struct Cells {
    family: Family,
    /// The cell and index of each pod's address, and of each atom by its first address.
    positions: AddressMap<Position>,
    atom_positions: AddressMap<Position>,
    cells: HashMap<CellId, Cell>,
    by_key: HashMap<CellKey, CellId>,
    by_kind: HashMap<KindId, BTreeSet<CellId>>,
    by_class: HashMap<ClassId, ClassCells>,
    next: u32,
    /// Cells that may have to move to another class.
    dirty: BTreeSet<CellId>,
    /// Addresses of pods, and atoms, whose elements may have changed.
    touched: HashSet<u128>,
    touched_atoms: BTreeSet<Range>,
    /// Classes that lost a cell and may be empty now.
    reduced: BTreeSet<ClassId>,
    /// The last address of each atom, by its first.
    atom_ends: HashMap<u128, u128>,
}

impl Cells {
    pub(super) fn new(family: Family) -> Self {
        Self {
            family,
            positions: AddressMap::default(),
            atom_positions: AddressMap::default(),
            cells: HashMap::new(),
            by_key: HashMap::new(),
            by_kind: HashMap::new(),
            by_class: HashMap::new(),
            next: 0,
            dirty: BTreeSet::new(),
            touched: HashSet::new(),
            touched_atoms: BTreeSet::new(),
            reduced: BTreeSet::new(),
            atom_ends: HashMap::new(),
        }
    }

    pub(super) fn family(&self) -> Family {
        self.family
    }

    pub(super) fn key(&self, id: CellId) -> Option<&CellKey> {
        self.cells.get(&id).map(|cell| &cell.key)
    }

    pub(super) fn class_of(&self, id: CellId) -> Option<ClassId> {
        self.cells.get(&id)?.class
    }

    pub(super) fn members(&self, id: CellId) -> impl Iterator<Item = u128> {
        self.cells.get(&id).into_iter().flat_map(|cell| cell.members.iter())
    }

    /// The number of members of these cells together.
    pub(super) fn weigh(&self, cells: &[CellId]) -> usize {
        cells.iter().filter_map(|id| self.cells.get(id)).map(|cell| cell.members.len()).sum()
    }

    pub(super) fn of_class(&self, class: ClassId) -> impl Iterator<Item = CellId> {
        self.by_class.get(&class).into_iter().flat_map(|of_class| &of_class.cells).copied()
    }

    pub(super) fn class_weight(&self, class: ClassId) -> usize {
        self.by_class.get(&class).map_or(0, |of_class| of_class.weight)
    }

    pub(super) fn is_empty_class(&self, class: ClassId) -> bool {
        !self.by_class.contains_key(&class)
    }

    pub(super) fn take_dirty(&mut self) -> BTreeSet<CellId> {
        std::mem::take(&mut self.dirty)
    }

    pub(super) fn take_reduced(&mut self) -> BTreeSet<ClassId> {
        std::mem::take(&mut self.reduced)
    }

    /// Puts a pod's address into the cell of its kind and blocks. With `None`, removes the address from its cell.
    pub(super) fn set_pod(&mut self, at: u128, kind: Option<(KindId, &BlockSets)>) {
        self.touched.insert(at);
        match kind {
            Some((kind, sets)) => self.enter(at, (Some(kind), Arc::clone(sets))),
            None => self.leave(false, at),
        }
    }

    pub(super) fn apply_atoms(&mut self, edits: &AtomEdits) {
        for (&first, &(last, _)) in &edits.removed {
            self.touched_atoms.insert((first, last));
            self.leave(true, first);
            self.atom_ends.remove(&first);
        }
        for (&first, (last, sets)) in &edits.added {
            self.atom_ends.insert(first, *last);
            self.enter(first, (None, Arc::clone(sets)));
        }
    }

    /// Records that the peer sets of the pods of this kind changed.
    pub(super) fn touch_kind(&mut self, kind: KindId) {
        self.dirty.extend(self.by_kind.get(&kind).into_iter().flatten());
    }

    /// Moves a cell to a class, or out of its class.
    pub(super) fn assign(&mut self, id: CellId, class: Option<ClassId>) {
        let Some(cell) = self.cells.get_mut(&id) else { return };
        let weight = cell.members.len();
        if let Some(old) = std::mem::replace(&mut cell.class, class) {
            self.leave_class(old, id, weight);
        }
        if let Some(class) = class {
            let of_class = self.by_class.entry(class).or_default();
            of_class.cells.insert(id);
            of_class.weight += weight;
        }
        self.touch_members(id);
    }

    fn leave_class(&mut self, class: ClassId, id: CellId, weight: usize) {
        self.reduced.insert(class);
        let Some(of_class) = self.by_class.get_mut(&class) else { return };
        of_class.cells.remove(&id);
        of_class.weight -= weight;
        if of_class.cells.is_empty() {
            self.by_class.remove(&class);
        }
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

    fn enter(&mut self, at: u128, key: CellKey) {
        let is_atom = key.0.is_none();
        if let Some(position) = self.position_of(is_atom, at)
            && self.cells.get(&position.cell).is_some_and(|cell| cell.key == key)
        {
            return;
        }
        self.leave(is_atom, at);
        let id = match self.by_key.get(&key) {
            Some(&id) => id,
            None => self.new_cell(key),
        };
        let Some(cell) = self.cells.get_mut(&id) else { return };
        // There is not enough memory for 2^32 addresses.
        let index = u32::try_from(cell.members.len()).unwrap_or(u32::MAX);
        cell.members.push(at);
        if let Some(of_class) = cell.class.and_then(|class| self.by_class.get_mut(&class)) {
            of_class.weight += 1;
        }
        let positions = if is_atom { &mut self.atom_positions } else { &mut self.positions };
        positions.insert(address(self.family, at), Position { cell: id, at: index });
        if is_atom {
            self.touched_atoms.insert((at, self.atom_ends.get(&at).copied().unwrap_or(at)));
        }
    }

    fn new_cell(&mut self, key: CellKey) -> CellId {
        let id = CellId(self.next);
        self.next = self.next.wrapping_add(1);
        if let Some(kind) = key.0 {
            self.by_kind.entry(kind).or_default().insert(id);
        }
        self.by_key.insert(key.clone(), id);
        self.cells.insert(id, Cell { key, class: None, members: Numbers::default() });
        self.dirty.insert(id);
        id
    }

    fn position_of(&self, is_atom: bool, at: u128) -> Option<Position> {
        let positions = if is_atom { &self.atom_positions } else { &self.positions };
        positions.get(address(self.family, at)).copied()
    }

    fn leave(&mut self, is_atom: bool, at: u128) {
        let positions = if is_atom { &mut self.atom_positions } else { &mut self.positions };
        let Some(position) = positions.remove(address(self.family, at)) else { return };
        let id = position.cell;
        let Some(cell) = self.cells.get_mut(&id) else { return };
        let index = position.at as usize;
        cell.members.swap_remove(index);
        if let Some(moved) = cell.members.get(index)
            && let Some(moved) = positions.get_mut(address(self.family, moved))
        {
            moved.at = position.at;
        }
        if let Some(of_class) = cell.class.and_then(|class| self.by_class.get_mut(&class)) {
            of_class.weight -= 1;
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
        if let Some(class) = cell.class {
            self.leave_class(class, id, 0);
        }
    }

    /// Updates the elements of `class` and `cidr` from the cells.
    pub(super) fn write_elements(&mut self, tables: &mut Tables, delta: &mut TablesDelta) {
        let mut touched: Vec<u128> = std::mem::take(&mut self.touched).into_iter().collect();
        touched.sort_unstable();
        let touched_atoms = std::mem::take(&mut self.touched_atoms);
        let class_at =
            |is_atom: bool, at: u128| self.cells.get(&self.position_of(is_atom, at)?.cell)?.class;
        if tables.class.is_empty() && delta.class.is_empty() {
            // A tree that is built from sorted items has full nodes, and so takes half of the memory.
            let key = |&at: &u128| Some((address(self.family, at), class_at(false, at)?));
            tables.class = touched.iter().filter_map(key).collect();
            let addition = |(&key, &class): (&IpAddr, &ClassId)| {
                (key, Edit { before: None, after: Some(class) })
            };
            delta.class = tables.class.iter().map(addition).collect();
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
}

/// The pods' addresses in a range. They are read from the tables, which have an element for each of them.
pub(super) fn pods_in(tables: &Tables, family: Family, range: Range) -> Vec<IpAddr> {
    let (first, last) = (address(family, range.0), address(family, range.1));
    tables.class.range(first..=last).map(|(&a, _)| a).collect()
}
