//! The addresses of one family, partitioned into classes by the peer sets they are in.
//!
//! All addresses of a cell are in the same peer sets: its *signature*. A class is some cells with one signature. When signatures
//! change, the heavier part of a class keeps its id and the rest moves, so that few elements change.

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

/// What a batch did to the classes themselves.
#[derive(Debug, Default)]
pub(super) struct ClassEdits {
    pub(super) come: BTreeSet<ClassId>,
    /// With the signature that the class had before the batch, as for the next.
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
    pub(super) cells: Cells,
    signatures: BTreeMap<ClassId, Signature>,
    by_signature: HashMap<Signature, BTreeSet<ClassId>>,
    by_set: HashMap<PeerSetId, BTreeSet<ClassId>>,
    next: u32,
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
            cells: Cells::new(family),
            signatures: BTreeMap::new(),
            by_signature: HashMap::new(),
            by_set: HashMap::new(),
            next: ClassId::FIRST,
            adopted: None,
        }
    }

    /// Prefers the ids that these tables have for most of a class's members.
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

    /// How many classes there are, `UNKNOWN` not among them.
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
        if self.signatures.len() > MERGE_FACTOR * self.by_signature.len() + MERGE_SLACK {
            self.merge(MERGE_MOVES, false);
        }
        self.retire_empty(&mut edits);
        self.cells.write_elements(tables, delta);
        edits
    }

    fn repartition(&mut self, kinds: &Kinds, sets: &PeerSets, edits: &mut ClassEdits) {
        let mut parts: BTreeMap<Option<ClassId>, BTreeMap<Home, Vec<CellId>>> = BTreeMap::new();
        for id in self.cells.take_dirty() {
            let Some(key) = self.cells.key(id) else { continue };
            let home = home(key, self.cells.family(), kinds, sets);
            let class = self.cells.class_of(id);
            let current = class.and_then(|class| self.signatures.get(&class));
            let at_home = match (&home, current) {
                (Home::Class(signature), Some(current)) => signature == current,
                (Home::Nowhere, None) => true,
                (Home::Class(_), None) | (Home::Nowhere, Some(_)) => false,
            };
            if !at_home {
                parts.entry(class).or_default().entry(home).or_default().push(id);
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
                cells.into_iter().for_each(|cell| self.cells.assign(cell, Some(class)));
            }
        }
    }

    /// Of the parts that a class falls into, the heaviest keeps the id. The others leave.
    fn split(
        &mut self,
        id: ClassId,
        parts: BTreeMap<Home, Vec<CellId>>,
        leaving: &mut Vec<(Home, Vec<CellId>)>,
        edits: &mut ClassEdits,
    ) {
        let Some(signature) = self.signatures.get(&id).cloned() else { return };
        let moving: usize = parts.values().map(|cells| self.cells.weigh(cells)).sum();
        let staying = self.cells.class_weight(id) - moving;
        let heaviest = parts
            .iter()
            .filter_map(|(home, cells)| match home {
                Home::Class(signature) => Some((self.cells.weigh(cells), signature)),
                Home::Nowhere => None,
            })
            .max()
            .filter(|(weight, _)| *weight > staying)
            .map(|(_, signature)| Arc::clone(signature));
        let mut leave: Vec<(Home, Vec<CellId>)> = Vec::new();
        if let Some(keeps) = &heaviest {
            let moved: BTreeSet<CellId> = parts.values().flatten().copied().collect();
            let stay: Vec<CellId> =
                self.cells.of_class(id).filter(|cell| !moved.contains(cell)).collect();
            if !stay.is_empty() {
                leave.push((Home::Class(signature), stay));
            }
            self.resign(id, keeps, edits);
        }
        leave.extend(parts.into_iter().filter(|(home, _)| match home {
            Home::Class(signature) => heaviest.as_ref() != Some(signature),
            Home::Nowhere => true,
        }));
        for cell in leave.iter().flat_map(|(_, cells)| cells) {
            self.cells.assign(*cell, None);
        }
        leaving.extend(leave);
    }

    fn resign(&mut self, id: ClassId, signature: &Signature, edits: &mut ClassEdits) {
        let Some(old) = self.unlist(id) else { return };
        edits.resigned.entry(id).or_insert(old);
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
        let id = self.adopted_id(cells).unwrap_or_else(|| self.fresh());
        self.list(id, signature);
        edits.come.insert(id);
        id
    }

    /// The unused id that most of the members have in the tables adopted.
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

    /// Ids are handed out in a circle, so that an id is used again as late as possible.
    fn fresh(&mut self) -> ClassId {
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

    /// Whether some signature has more than one class.
    pub(super) fn is_mergeable(&self) -> bool {
        self.signatures.len() > self.by_signature.len()
    }

    fn retire_empty(&mut self, edits: &mut ClassEdits) {
        for id in self.cells.take_thinned() {
            if !self.cells.is_empty_class(id) {
                continue;
            }
            let Some(signature) = self.unlist(id) else { continue };
            let resigned = edits.resigned.remove(&id);
            if !edits.come.remove(&id) {
                edits.gone.insert(id, resigned.unwrap_or(signature));
            }
        }
    }
}

/// The signature of a cell's addresses: the sets whose blocks hold them, and those whose terms match their kind of pod.
/// Sets that hold every address tell none apart, and are left out.
fn home((kind, blocks): &CellKey, family: Family, kinds: &Kinds, sets: &PeerSets) -> Home {
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
        return Home::Nowhere;
    }
    Home::Class(items.into())
}
