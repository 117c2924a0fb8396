//! The number of elements that sets hold while the steps of a plan are carried out.

use std::collections::{BTreeMap, BTreeSet};

use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::SetName;

use super::{Planner, Step};
use crate::transaction::{Element, Op};

/// The elements that are added (`true`) or removed (`false`), in the order of the steps.
fn changes(
    steps: &[Step],
) -> impl DoubleEndedIterator<Item = (TableFamily, SetName, Element, bool)> {
    let ops = steps.iter().flat_map(|step| match step {
        Step::Commit(transaction) => transaction.ops.as_slice(),
        Step::Grace => &[],
    });
    ops.filter_map(|op| match op.op {
        Op::Add(id, element) => Some((op.family, id.set, element, true)),
        Op::Remove(id, element) => Some((op.family, id.set, element, false)),
        Op::CreateTable
        | Op::DeleteTable
        | Op::CreateSet { .. }
        | Op::DeleteSet(_)
        | Op::CreateChain(_)
        | Op::DeleteChain(_)
        | Op::FlushChain(_)
        | Op::AddRule { .. } => None,
    })
}

impl Planner {
    /// The greatest number of elements that each set holds at any time during these steps, which must be the last that were
    /// returned. Catch-all elements are not counted, and sets to which nothing is added are left out.
    ///
    /// The kernel counts an added element before it stops counting one that the same transaction removes later.
    pub fn peaks(&self, steps: &[Step]) -> BTreeMap<(TableFamily, SetName), usize> {
        // Computed backwards, because the contents after the steps are known.
        let mut counts: BTreeMap<(TableFamily, SetName), usize> = BTreeMap::new();
        let mut peaks = BTreeMap::new();
        for (family, set, _, comes) in changes(steps).rev() {
            let count =
                counts.entry((family, set)).or_insert_with(|| self.contents(family).count(set));
            if comes {
                let peak = peaks.entry((family, set)).or_insert(*count);
                *peak = (*peak).max(*count);
                *count = count.saturating_sub(1);
            } else {
                *count += 1;
            }
        }
        peaks
    }

    /// The elements of a set before these steps, which must be the last that were returned.
    pub fn elements_before(
        &self,
        family: TableFamily,
        set: SetName,
        steps: &[Step],
    ) -> BTreeSet<Element> {
        let mut elements: BTreeSet<Element> = self.contents(family).elements(set).collect();
        for (of, name, element, comes) in changes(steps).rev() {
            if (of, name) == (family, set) {
                if comes {
                    elements.remove(&element)
                } else {
                    elements.insert(element)
                };
            }
        }
        elements
    }
}
