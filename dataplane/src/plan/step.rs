//! The steps of a plan: changes of single elements in order, and the transactions that they are packed into.

use std::collections::BTreeSet;

use palisade_compiler::program::ClassId;
use palisade_compiler::program::skeleton::SetName;

use crate::transaction::{Element, MAX_ELEMENTS_PER_TRANSACTION};

/// How many elements the deletion of one interval of `port_ranges` counts as in the bound of a transaction. A thousand such
/// deletions stall a processor for seconds.
const RANGE_DELETION_WEIGHT: usize = MAX_ELEMENTS_PER_TRANSACTION / 32;

/// The addition or removal of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Add(SetName, Element),
    Remove(SetName, Element),
}

impl Change {
    fn weight(self) -> usize {
        match self {
            Self::Remove(SetName::PortRanges, _) => RANGE_DELETION_WEIGHT,
            Self::Add(..) | Self::Remove(..) => 1,
        }
    }
}

/// An entry of a schedule: a change of the kernel, or something that the planner must remember from then on.
#[derive(Debug, Clone)]
pub(super) enum Action {
    /// Changes that must be in one transaction.
    Together(Vec<Change>),
    /// The following changes must be in a later transaction than the preceding ones.
    NextTransaction,
    /// Wait until no packet depends on what it read before.
    Grace,
    /// The preceding changes moved some address out of each of these classes.
    ClassesLeft(BTreeSet<ClassId>),
    /// Egress between subjects was narrowed.
    EgressNarrowed,
    /// The element stays in the kernel without being part of the program, until it is removed as garbage.
    Discard(SetName, Element),
    /// The element was garbage and is part of the program again.
    Keep(SetName, Element),
}

impl Action {
    /// Whether the action adds elements. Its changes are either all additions or all removals.
    pub(super) fn adds(&self) -> bool {
        matches!(self, Self::Together(changes) if matches!(changes.first(), Some(Change::Add(..))))
    }
}

/// The actions of one table, in order.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    pub(super) actions: Vec<Action>,
}

impl Schedule {
    /// Whether nothing changes in the kernel. Grace periods alone change nothing.
    pub(super) fn is_empty(&self) -> bool {
        !self.actions.iter().any(|action| matches!(action, Action::Together(_)))
    }

    pub(super) fn together(&mut self, changes: Vec<Change>) {
        self.actions.push(Action::Together(changes));
    }

    pub(super) fn remove(&mut self, set: SetName, element: Element) {
        self.together(vec![Change::Remove(set, element)]);
    }
}

/// The transactions of one table, each a list of changes, in phases that are separated by grace periods.
pub(super) type Phases = Vec<Vec<Vec<Change>>>;

/// Packs actions, in order, into transactions of at most `limit` elements.
pub(super) fn pack(actions: Vec<Action>, limit: usize) -> Phases {
    let mut phases: Phases = vec![Vec::new()];
    let (mut open, mut weight) = (Vec::new(), 0);
    let mut close = |open: &mut Vec<Change>, weight: &mut usize, grace: bool| {
        *weight = 0;
        let full = std::mem::take(open);
        if let Some(phase) = phases.last_mut().filter(|_| !full.is_empty()) {
            phase.push(full);
        }
        // A second grace period right after another has no effect.
        if grace && (phases.len() == 1 || phases.last().is_some_and(|phase| !phase.is_empty())) {
            phases.push(Vec::new());
        }
    };
    for action in actions {
        match action {
            Action::Together(changes) => {
                let more: usize = changes.iter().map(|change| change.weight()).sum();
                if weight + more > limit {
                    close(&mut open, &mut weight, false);
                }
                weight += more;
                open.extend(changes);
            }
            Action::NextTransaction => close(&mut open, &mut weight, false),
            Action::Grace => close(&mut open, &mut weight, true),
            Action::ClassesLeft(_)
            | Action::EgressNarrowed
            | Action::Discard(..)
            | Action::Keep(..) => {}
        }
    }
    close(&mut open, &mut weight, false);
    phases
}
