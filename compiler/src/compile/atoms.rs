//! CIDR blocks as disjoint atoms: ranges of addresses that the blocks of the peer sets do not tell apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use super::ids::PeerSetId;
use super::ranges::Range;

/// Atoms of one family above which a change of blocks becomes slow (2 ms at 100,000): reported, and still enforced.
pub const MAX_ATOMS: usize = 20_000;

/// The sets whose blocks hold an address, sorted.
pub(super) type BlockSets = Arc<[PeerSetId]>;

/// What of the atoms changed: ranges that went and ranges that came, by first address.
#[derive(Debug, Default)]
pub(super) struct AtomEdits {
    pub(super) gone: BTreeMap<u128, (u128, BlockSets)>,
    pub(super) come: BTreeMap<u128, (u128, BlockSets)>,
    /// Ranges in which the sets of an address changed.
    pub(super) touched: Vec<Range>,
}

/// The atoms of one family. Addresses in no block are in no atom; neighbours with the same sets are one.
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
        // Atoms that had the same sets share the changed ones too.
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
            self.unite(first, last, edits);
            edits.touched.push((first, last));
        }
    }

    /// Makes an atom boundary at `at`, if an atom holds the address.
    fn split(&mut self, at: u128, edits: &mut AtomEdits) {
        let holder = self.atoms.range(..at).next_back();
        let Some((&first, &(last, ref sets))) = holder.filter(|(_, (last, _))| at <= *last) else {
            return;
        };
        let sets = Arc::clone(sets);
        self.replace(first, at - 1, Arc::clone(&sets), edits);
        self.replace(at, last, sets, edits);
    }

    /// Puts one piece in place of an atom that starts where it does, if any; no sets, no atom.
    fn replace(&mut self, first: u128, last: u128, sets: BlockSets, edits: &mut AtomEdits) {
        let old = if sets.is_empty() {
            self.atoms.remove(&first)
        } else {
            self.atoms.insert(first, (last, Arc::clone(&sets)))
        };
        if let Some(old) = old {
            edits.take_out(first, old);
        }
        if !sets.is_empty() {
            edits.put_in(first, (last, sets));
        }
    }

    /// Unites equal neighbours that start in `first..=last` or just after it.
    fn unite(&mut self, first: u128, last: u128, edits: &mut AtomEdits) {
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
    fn take_out(&mut self, first: u128, old: (u128, BlockSets)) {
        // What came in this batch and goes again was never there.
        if self.come.remove(&first).is_none() {
            self.gone.insert(first, old);
        }
    }

    fn put_in(&mut self, first: u128, new: (u128, BlockSets)) {
        if self.gone.get(&first) == Some(&new) {
            self.gone.remove(&first);
        } else {
            self.come.insert(first, new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ranges::union;
    use super::*;

    /// Atoms after random adds and removes are those of adding the rest anew, and the edits lead there.
    #[test]
    fn atoms_do_not_remember_how_they_came_to_be() {
        let mut state = 1_u64;
        let mut random = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % n
        };
        for _ in 0..2_000 {
            let mut atoms = Atoms::default();
            let mut mirror: BTreeMap<u128, (u128, BlockSets)> = BTreeMap::new();
            let mut there: BTreeMap<u32, Vec<Range>> = BTreeMap::new();
            for _ in 0..12 {
                let mut edits = AtomEdits::default();
                for _ in 0..=random(2) {
                    let id = random(4) as u32;
                    if let Some(ranges) = there.remove(&id) {
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
                        there.insert(id, ranges);
                    }
                }
                for (first, old) in &edits.gone {
                    assert_eq!(mirror.remove(first).as_ref(), Some(old));
                }
                mirror.extend(edits.come);
                assert_eq!(mirror, atoms.atoms);
                for at in 0..40 {
                    let expected: Vec<_> = there
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
