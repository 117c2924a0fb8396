//! Sizes of a compile's parts, and how full the tables are.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::compiler::Compiler;
use super::subjects::IsolatedPods;
use crate::model::{Direction, Family};
use crate::program::Tables;

/// Sizes of a compile's parts. All of them are kept: none is counted when it is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub namespaces: usize,
    pub pods: usize,
    pub policies: usize,
    pub local_pods: usize,
    pub isolated: IsolatedPods,
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

/// How much of a bound the policies want, and which namespaces want most of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowUsage {
    pub family: Family,
    pub direction: Direction,
    /// Rows that there would be if there were room for all.
    pub wanted: usize,
    pub bound: usize,
    /// Namespaces by the rows that their subjects want, the largest first; some at most.
    pub largest: Vec<(Arc<str>, usize)>,
}

/// Namespaces that `RowUsage` names.
const LARGEST: usize = 5;

impl Compiler {
    pub fn stats(&self) -> Stats {
        let tables = [&self.program.v4, &self.program.v6];
        let sum = |f: fn(&Tables) -> usize| tables.into_iter().map(f).sum();
        Stats {
            namespaces: self.snapshot.namespace_count(),
            pods: self.snapshot.pod_count(),
            policies: self.snapshot.policy_count(),
            local_pods: self.subjects.len(),
            isolated: self.subjects.isolated(),
            subjects_in: sum(|t| t.local_in.len()),
            subjects_out: sum(|t| t.local_out.len()),
            kinds: self.kinds.len(),
            groups: self.groups.len(),
            classes: self.families.iter().map(|(_, state)| state.classes.len()).sum(),
            rows: sum(|t| t.allow_in.len() + t.allow_out.len()),
            atoms: sum(|t| t.cidr.len()),
            elements: self.program.elements(),
            profiles: self.profiles.len(),
        }
    }

    /// How full the rows of each family and direction are, and who uses most. Linear in the groups of subjects: for a reader who
    /// asks, not for each change.
    pub fn row_usage(&self) -> Vec<RowUsage> {
        let mut usage = Vec::new();
        for (family, state) in self.families.iter() {
            for direction in Direction::ALL {
                let groups = self.groups.iter().map(|(_, group)| group);
                let mut by_namespace = BTreeMap::new();
                for group in groups.filter(|group| group.key.direction == direction) {
                    let rows = group.members(family).len() * group.column(family).len();
                    *by_namespace.entry(&group.key.namespace).or_insert(0) += rows;
                }
                let mut largest: Vec<(Arc<str>, usize)> = by_namespace
                    .into_iter()
                    .filter(|(_, rows)| *rows > 0)
                    .map(|(namespace, rows)| (Arc::clone(namespace), rows))
                    .collect();
                // Stable: of equal ones, the first by name.
                largest.sort_by_key(|(_, rows)| Reverse(*rows));
                largest.truncate(LARGEST);
                let wanted = state.capacity.wanted_rows(direction);
                let bound = state.capacity.bounds().rows;
                usage.push(RowUsage { family, direction, wanted, bound, largest });
            }
        }
        usage
    }
}
