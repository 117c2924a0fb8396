//! Splits CIDR blocks into disjoint atoms. An atom is a range of addresses that are all in the blocks of the same peer
//! sets.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use super::ids::PeerSetId;
use super::ranges::Range;

/// The number of atoms of one family above which a change of blocks becomes slow (2 ms at 100,000). More atoms are
/// reported, and still enforced.
pub const MAX_ATOMS: usize = 20_000;

/// The peer sets whose blocks contain an address, sorted.
pub(super) type BlockSets = Arc<[PeerSetId]>;

/// The changes of a batch to the atoms: the ranges that were removed and added, by first address.
#[derive(Debug, Default)]
pub(super) struct AtomEdits {
    pub(super) removed: BTreeMap<u128, (u128, BlockSets)>,
    pub(super) added: BTreeMap<u128, (u128, BlockSets)>,
    /// Ranges in which the sets of at least one address changed.
    pub(super) touched: Vec<Range>,
}

/// The atoms of one family. Addresses that are in no block are in no atom. Neighbouring ranges with the same sets are one
/// atom.
#[derive(Debug)]
pub(super) struct Atoms {
    atoms: BTreeMap<u128, (u128, BlockSets)>,
    none: BlockSets,
}

impl Default for Atoms {
    fn default() -> Self {
        Self { atoms: BTreeMap::new(), none: Arc::new([]) }
    }
}

impl Atoms {
    pub(super) fn sets_at(&self, at: u128) -> &BlockSets {
        self.atoms
            .range(..=at)
            .next_back()
            .filter(|(_, (last, _))| at <= *last)
            .map_or(&self.none, |(_, (_, sets))| sets)
    }

    pub(super) fn add(&mut self, set: PeerSetId, ranges: &[Range], edits: &mut AtomEdits) {
        self.change(ranges, edits, |sets| {
            let mut with: Vec<_> = sets.iter().copied().filter(|&s| s != set).collect();
            with.insert(with.partition_point(|&s| s < set), set);
            with.into()
        });
    }

    pub(super) fn remove(&mut self, set: PeerSetId, ranges: &[Range], edits: &mut AtomEdits) {
        self.change(ranges, edits, |sets| sets.iter().copied().filter(|&s| s != set).collect());
    }

    fn change(
        &mut self,
        ranges: &[Range],
        edits: &mut AtomEdits,
        change: impl Fn(&BlockSets) -> BlockSets,
    ) {
        // Atoms that shared a list of sets share the changed list as well.
        let mut changed: HashMap<BlockSets, BlockSets> = HashMap::new();
        for &(first, last) in ranges {
            self.split(first, edits);
            if let Some(after) = last.checked_add(1) {
                self.split(after, edits);
            }
            let inside: Vec<_> =
                self.atoms.range(first..=last).map(|(&f, (l, s))| (f, *l, Arc::clone(s))).collect();
            let mut pieces = Vec::with_capacity(inside.len() * 2 + 1);
            let mut next = Some(first);
            for (piece_first, piece_last, sets) in inside {
                if let Some(gap) = next.filter(|&gap| gap < piece_first) {
                    pieces.push((gap, piece_first - 1, Arc::clone(&self.none)));
                }
                pieces.push((piece_first, piece_last, sets));
                next = piece_last.checked_add(1);
            }
            pieces.extend(next.filter(|&n| n <= last).map(|n| (n, last, Arc::clone(&self.none))));
            for (piece_first, piece_last, sets) in pieces {
                let new = changed.entry(sets).or_insert_with_key(|sets| change(sets));
                let new = Arc::clone(new);
                self.replace(piece_first, piece_last, new, edits);
            }
            self.merge_equal(first, last, edits);
            edits.touched.push((first, last));
        }
    }

    /// Splits the atom that contains `at`, if there is one, so that an atom begins at `at`.
    fn split(&mut self, at: u128, edits: &mut AtomEdits) {
        let holder = self.atoms.range(..at).next_back();
        let Some((&first, &(last, ref sets))) = holder.filter(|(_, (last, _))| at <= *last) else {
            return;
        };
        let sets = Arc::clone(sets);
        self.replace(first, at - 1, Arc::clone(&sets), edits);
        self.replace(at, last, sets, edits);
    }

    /// Replaces the atom that begins at `first`, if there is one, by the range `first..=last` with these sets. A range
    /// without sets is no atom, so the old atom is only removed.
    fn replace(&mut self, first: u128, last: u128, sets: BlockSets, edits: &mut AtomEdits) {
        let old = if sets.is_empty() {
            self.atoms.remove(&first)
        } else {
            self.atoms.insert(first, (last, Arc::clone(&sets)))
        };
        if let Some(old) = old {
            edits.record_removed(first, old);
        }
        if !sets.is_empty() {
            edits.record_added(first, (last, sets));
        }
    }

    /// Merges neighbouring atoms with equal sets that begin in `first..=last`, or directly before or after it.
    fn merge_equal(&mut self, first: u128, last: u128, edits: &mut AtomEdits) {
        let from = self.atoms.range(..first).next_back().map_or(first, |(&f, _)| f);
        let mut at = from;
        while let Some((&start, &(end, ref sets))) = self.atoms.range(at..).next() {
            if start > last {
                break;
            }
            let sets = Arc::clone(sets);
            let neighbour = end.checked_add(1).and_then(|n| Some((n, self.atoms.get(&n)?)));
            match neighbour {
                Some((next, &(next_end, ref next_sets))) if *next_sets == sets => {
                    self.replace(next, next_end, Arc::clone(&self.none), edits);
                    self.replace(start, next_end, sets, edits);
                    at = start;
                }
                _ => match end.checked_add(1) {
                    Some(next) => at = next,
                    None => break,
                },
            }
        }
    }
}

impl AtomEdits {
    fn record_removed(&mut self, first: u128, old: (u128, BlockSets)) {
        // An atom that was added in this batch and is removed again was never there for the caller.
        if self.added.remove(&first).is_none() {
            self.removed.insert(first, old);
        }
    }

    fn record_added(&mut self, first: u128, new: (u128, BlockSets)) {
        if self.removed.get(&first) == Some(&new) {
            self.removed.remove(&first);
        } else {
            self.added.insert(first, new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ranges::union;
    use super::*;

    /// After random additions and removals of sets, the atoms depend only on the sets that are left, and the recorded edits
    /// lead from the atoms before to the atoms after.
    #[test]
    fn atoms_do_not_depend_on_the_order_of_edits() {
        let mut state = 1_u64;
        let mut random = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % n
        };
        for _ in 0..2_000 {
            let mut atoms = Atoms::default();
            let mut copy: BTreeMap<u128, (u128, BlockSets)> = BTreeMap::new();
            let mut present: BTreeMap<u32, Vec<Range>> = BTreeMap::new();
            for _ in 0..12 {
                let mut edits = AtomEdits::default();
                for _ in 0..=random(2) {
                    let id = random(4) as u32;
                    if let Some(ranges) = present.remove(&id) {
                        atoms.remove(PeerSetId(id), &ranges, &mut edits);
                    } else {
                        let ranges: Vec<_> = (0..=random(3))
                            .map(|_| {
                                let first = u128::from(random(24));
                                (first, first + u128::from(random(8)))
                            })
                            .collect();
                        let ranges = union(ranges);
                        atoms.add(PeerSetId(id), &ranges, &mut edits);
                        present.insert(id, ranges);
                    }
                }
                for (first, old) in &edits.removed {
                    assert_eq!(copy.remove(first).as_ref(), Some(old));
                }
                copy.extend(edits.added);
                assert_eq!(copy, atoms.atoms);
                for at in 0..40 {
                    let expected: Vec<_> = present
                        .iter()
                        .filter(|(_, ranges)| ranges.iter().any(|&(f, l)| f <= at && at <= l))
                        .map(|(&id, _)| PeerSetId(id))
                        .collect();
                    assert_eq!(&**atoms.sets_at(at), &*expected);
                }
                let neighbours = atoms.atoms.iter().zip(atoms.atoms.iter().skip(1));
                for ((_, (last, sets)), (next, (_, next_sets))) in neighbours {
                    assert!(last + 1 < *next || sets != next_sets);
                }
            }
        }
    }
}
