//! Partitions the addresses of one family into classes by the peer sets they are in.
//!
//! All addresses of a cell are in the same peer sets, which are its *signature*. A class consists of cells with one
//! signature. When signatures change, the heavier part of a class keeps its id and the rest moves, so that few elements
//! change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;

use super::cells::{CellId, CellKey, Cells};
use super::ids::PeerSetId;
use super::kinds::Kinds;
use super::peer_sets::{Item, PeerSets};
use super::ranges::address;
use crate::model::Family;
use crate::program::{ClassId, Tables, TablesDelta};

pub(super) type Signature = Arc<[Item]>;

/// The changes of a batch to the list of classes and to their signatures.
#[derive(Debug, Default)]
pub(super) struct ClassEdits {
    pub(super) added: BTreeSet<ClassId>,
    /// Removed classes, with the signatures that they had before the batch.
    pub(super) removed: BTreeMap<ClassId, Signature>,
    /// Classes with another signature, with the one that they had before the batch.
    pub(super) changed: BTreeMap<ClassId, Signature>,
}

/// The class that a cell belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Destination {
    /// The cell consists of atoms that are in no set. They have no elements, so their addresses have the class `UNKNOWN`.
    NoClass,
    Class(Signature),
}

#[derive(Debug)]
pub(super) struct Classes {
    pub(super) cells: Cells,
    signatures: BTreeMap<ClassId, Signature>,
    by_signature: HashMap<Signature, BTreeSet<ClassId>>,
    by_set: HashMap<PeerSetId, BTreeSet<ClassId>>,
    next: u32,
    /// The tables that the kernel already has, whose class ids are used again.
    adopted: Option<Tables>,
}

/// If there are more classes than `MERGE_FACTOR` times the number of signatures plus `MERGE_SLACK`, classes with equal
/// signatures are merged at once.
const MERGE_FACTOR: usize = 2;
const MERGE_SLACK: usize = 64;
/// The number of addresses that one call of `merge` may move, apart from the first merge if `one_at_least` is set.
pub(super) const MERGE_MOVES: usize = 1024;

impl Classes {
    pub(super) fn new(family: Family) -> Self {
        Self {
            cells: Cells::new(family),
            signatures: BTreeMap::new(),
            by_signature: HashMap::new(),
            by_set: HashMap::new(),
            next: ClassId::FIRST,
            adopted: None,
        }
    }

    /// From now on, a new class takes the id that most of its members have in these tables.
    pub(super) fn adopt(&mut self, tables: &Tables) {
        let ids = tables.class.values().chain(tables.cidr.values());
        let rows = tables.allow_in.keys().chain(tables.allow_out.keys()).map(|(_, class)| class);
        for id in ids.chain(rows) {
            self.next = self.next.max(id.0.saturating_add(1));
        }
        self.adopted = Some(tables.clone());
    }

    pub(super) fn end_adoption(&mut self) {
        self.adopted = None;
    }

    /// The number of classes, without `UNKNOWN`.
    pub(super) fn len(&self) -> usize {
        self.signatures.len()
    }

    pub(super) fn signature(&self, class: ClassId) -> Option<&Signature> {
        self.signatures.get(&class)
    }

    /// The classes whose addresses are in the set.
    pub(super) fn in_set(&self, set: PeerSetId) -> impl ExactSizeIterator<Item = ClassId> {
        static NONE: BTreeSet<ClassId> = BTreeSet::new();
        self.by_set.get(&set).unwrap_or(&NONE).iter().copied()
    }

    /// Moves the cells that changed to their classes, and updates the elements of `class` and `cidr`.
    pub(super) fn settle(
        &mut self,
        kinds: &Kinds,
        sets: &PeerSets,
        tables: &mut Tables,
        delta: &mut TablesDelta,
    ) -> ClassEdits {
        let mut edits = ClassEdits::default();
        self.repartition(kinds, sets, &mut edits);
        if self.signatures.len() > MERGE_FACTOR * self.by_signature.len() + MERGE_SLACK {
            self.merge(MERGE_MOVES, false);
        }
        self.retire_empty(&mut edits);
        self.cells.write_elements(tables, delta);
        edits
    }

    fn repartition(&mut self, kinds: &Kinds, sets: &PeerSets, edits: &mut ClassEdits) {
        let mut parts: BTreeMap<Option<ClassId>, BTreeMap<Destination, Vec<CellId>>> =
            BTreeMap::new();
        for id in self.cells.take_dirty() {
            let Some(key) = self.cells.key(id) else { continue };
            let destination = destination(key, self.cells.family(), kinds, sets);
            let class = self.cells.class_of(id);
            let current = class.and_then(|class| self.signatures.get(&class));
            let is_in_place = match (&destination, current) {
                (Destination::Class(signature), Some(current)) => signature == current,
                (Destination::NoClass, None) => true,
                (Destination::Class(_), None) | (Destination::NoClass, Some(_)) => false,
            };
            if !is_in_place {
                parts.entry(class).or_default().entry(destination).or_default().push(id);
            }
        }
        let mut leaving = Vec::new();
        for (class, parts) in parts {
            match class {
                Some(class) => self.split(class, parts, &mut leaving, edits),
                None => leaving.extend(parts),
            }
        }
        for (destination, cells) in leaving {
            if let Destination::Class(signature) = destination {
                let class = match self.by_signature.get(&signature).and_then(BTreeSet::first) {
                    Some(&class) => class,
                    None => self.new_class(signature, &cells, edits),
                };
                cells.into_iter().for_each(|cell| self.cells.assign(cell, Some(class)));
            }
        }
    }

    /// Splits a class whose cells now have different signatures. The heaviest part keeps the id, and the other parts are
    /// added to `leaving`.
    fn split(
        &mut self,
        id: ClassId,
        parts: BTreeMap<Destination, Vec<CellId>>,
        leaving: &mut Vec<(Destination, Vec<CellId>)>,
        edits: &mut ClassEdits,
    ) {
        let Some(signature) = self.signatures.get(&id).cloned() else { return };
        let moving: usize = parts.values().map(|cells| self.cells.weigh(cells)).sum();
        let staying = self.cells.class_weight(id) - moving;
        let heaviest = parts
            .iter()
            .filter_map(|(destination, cells)| match destination {
                Destination::Class(signature) => Some((self.cells.weigh(cells), signature)),
                Destination::NoClass => None,
            })
            .max()
            .filter(|(weight, _)| *weight > staying)
            .map(|(_, signature)| Arc::clone(signature));
        let mut leave: Vec<(Destination, Vec<CellId>)> = Vec::new();
        if let Some(keeps) = &heaviest {
            let moved: BTreeSet<CellId> = parts.values().flatten().copied().collect();
            let stay: Vec<CellId> =
                self.cells.of_class(id).filter(|cell| !moved.contains(cell)).collect();
            if !stay.is_empty() {
                leave.push((Destination::Class(signature), stay));
            }
            self.change_signature(id, keeps, edits);
        }
        leave.extend(parts.into_iter().filter(|(destination, _)| match destination {
            Destination::Class(signature) => heaviest.as_ref() != Some(signature),
            Destination::NoClass => true,
        }));
        for cell in leave.iter().flat_map(|(_, cells)| cells) {
            self.cells.assign(*cell, None);
        }
        leaving.extend(leave);
    }

    fn change_signature(&mut self, id: ClassId, signature: &Signature, edits: &mut ClassEdits) {
        let Some(old) = self.unlist(id) else { return };
        edits.changed.entry(id).or_insert(old);
        self.list(id, Arc::clone(signature));
    }

    fn list(&mut self, id: ClassId, signature: Signature) {
        for item in signature.iter() {
            self.by_set.entry(item.set).or_default().insert(id);
        }
        self.by_signature.entry(Arc::clone(&signature)).or_default().insert(id);
        self.signatures.insert(id, signature);
    }

    fn unlist(&mut self, id: ClassId) -> Option<Signature> {
        let signature = self.signatures.remove(&id)?;
        if let Some(classes) = self.by_signature.get_mut(&signature) {
            classes.remove(&id);
            if classes.is_empty() {
                self.by_signature.remove(&signature);
            }
        }
        for item in signature.iter() {
            if let Some(classes) = self.by_set.get_mut(&item.set) {
                classes.remove(&id);
                if classes.is_empty() {
                    self.by_set.remove(&item.set);
                }
            }
        }
        Some(signature)
    }

    fn new_class(
        &mut self,
        signature: Signature,
        cells: &[CellId],
        edits: &mut ClassEdits,
    ) -> ClassId {
        let id = self.adopted_id(cells).unwrap_or_else(|| self.next_id());
        self.list(id, signature);
        edits.added.insert(id);
        id
    }

    /// The id that most of the members have in the adopted tables, if it is not in use.
    fn adopted_id(&self, cells: &[CellId]) -> Option<ClassId> {
        let found = self.adopted.as_ref()?;
        let mut votes: BTreeMap<ClassId, usize> = BTreeMap::new();
        for &cell in cells {
            let Some((kind, _)) = self.cells.key(cell) else { continue };
            for at in self.cells.members(cell) {
                let address = address(self.cells.family(), at);
                let vote = match kind {
                    Some(_) => found.class.get(&address).copied(),
                    None => Some(found.cidr_class_of(address)),
                };
                let ours = |id: &ClassId| (ClassId::FIRST..ClassId::END).contains(&id.0);
                let vote = vote.filter(ours).filter(|id| !self.signatures.contains_key(id));
                if let Some(id) = vote {
                    *votes.entry(id).or_default() += 1;
                }
            }
        }
        votes.into_iter().max_by_key(|&(_, votes)| votes).map(|(id, _)| id)
    }

    /// The next unused id. Ids are assigned in ascending order and then from the beginning again, so that an id is reused
    /// as late as possible.
    fn next_id(&mut self) -> ClassId {
        loop {
            if !(ClassId::FIRST..ClassId::END).contains(&self.next) {
                self.next = ClassId::FIRST;
            }
            let id = ClassId(self.next);
            self.next += 1;
            if !self.signatures.contains_key(&id) {
                return id;
            }
        }
    }

    /// Merges classes with equal signatures into the heaviest of them, until more than `moves` addresses would move. If
    /// `one_at_least` is set, the first merge is made however many addresses it moves. Otherwise heavy classes would never
    /// be merged.
    pub(super) fn merge(&mut self, mut moves: usize, mut one_at_least: bool) {
        let mergeable: Vec<Signature> = self
            .by_signature
            .iter()
            .filter(|(_, classes)| classes.len() > 1)
            .map(|(signature, _)| Arc::clone(signature))
            .collect();
        for signature in mergeable {
            let Some(ids) = self.by_signature.get(&signature) else { continue };
            let mut by_weight: Vec<(usize, ClassId)> =
                ids.iter().map(|&id| (self.cells.class_weight(id), id)).collect();
            by_weight.sort_unstable();
            let Some((_, target)) = by_weight.pop() else { continue };
            for (weight, id) in by_weight {
                moves = match moves.checked_sub(weight) {
                    Some(left) => left,
                    None if one_at_least => 0,
                    None => return,
                };
                one_at_least = false;
                let cells: Vec<CellId> = self.cells.of_class(id).collect();
                cells.into_iter().for_each(|cell| self.cells.assign(cell, Some(target)));
            }
        }
    }

    /// Whether at least two classes have equal signatures.
    pub(super) fn is_mergeable(&self) -> bool {
        self.signatures.len() > self.by_signature.len()
    }

    fn retire_empty(&mut self, edits: &mut ClassEdits) {
        for id in self.cells.take_reduced() {
            if !self.cells.is_empty_class(id) {
                continue;
            }
            let Some(signature) = self.unlist(id) else { continue };
            let before = edits.changed.remove(&id);
            if !edits.added.remove(&id) {
                edits.removed.insert(id, before.unwrap_or(signature));
            }
        }
    }
}

/// Finds the class of a cell from its signature: the sets whose blocks contain its addresses, and the sets whose terms
/// match its kind of pod. Sets that contain every address make no difference between addresses and are left out.
fn destination(
    (kind, blocks): &CellKey,
    family: Family,
    kinds: &Kinds,
    sets: &PeerSets,
) -> Destination {
    let is_atom = kind.is_none();
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
    items.retain(|item| sets.get(item.set).is_some_and(|set| !set.is_everyone(family)));
    items.sort_unstable();
    items.dedup();
    if is_atom && items.is_empty() {
        return Destination::NoClass;
    }
    Destination::Class(items.into())
}
