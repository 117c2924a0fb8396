//! Limits how much the tables of one family hold, and decides what is left out if the policies need more.
//!
//! A bound is shared between the namespaces of the subjects, max-min fairly (`fair::refused`). A namespace that needs no
//! more than an equal part of the bound gets all that it needs. What does not fit always belongs to a namespace that needs
//! more than its share. Three things are bounded, one after another:
//!
//! 1. Entries of the matrix (group x class), which cost memory and time before there is any row. A group that does not fit
//!    has no entries. A group is counted as if it had one entry for each class in one of its peer sets. Only if this count
//!    exceeds the bound do groups go without entries, those with the highest addresses first.
//! 2. Elements of `ports` and `port_ranges`. A profile that does not fit is left out of the rows of its namespace. Profiles
//!    with few elements come first, and a profile that several namespaces use counts once.
//! 3. Rows, by direction. A subject whose rows do not fit has none. Subjects with low addresses come first.
//!
//! What is left out depends only on the input, not on the order of changes, and is decided again at every change. A subject
//! that lacks rows stays isolated: it is allowed less than the policies say, never more. `Warning::TablesFull` reports it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashSet;

use super::classes::Classes;
use super::fair::{Demands, refused};
use super::groups::{Group, Groups};
use super::ids::GroupId;
use super::profiles::{PortElements, Profiles};
use crate::model::{Direction, Family};
use crate::program::{ClassId, ProfileId};

/// The bounds of one family's tables and of the matrix behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Entries of (group, class), both directions together.
    pub matrix: usize,
    /// Rows of one direction.
    pub rows: usize,
    /// Elements of `ports`.
    pub ports: usize,
    /// Elements of `port_ranges`, which is an interval set: it is slow to change when it is large.
    pub port_ranges: usize,
}

/// Rows of one family and direction, which take some 300 MB of kernel memory. Also the bound of the entries of one family's
/// matrix.
pub const MAX_ROWS: usize = 4_194_304;
/// Single ports of all profiles of one family, which take some 300 MB of kernel memory.
pub const MAX_PORTS: usize = 4_194_304;
/// Port ranges of all profiles of one family.
pub const MAX_PORT_RANGES: usize = 16_384;

impl Default for Bounds {
    fn default() -> Self {
        let (rows, ports, port_ranges) = (MAX_ROWS, MAX_PORTS, MAX_PORT_RANGES);
        Self { matrix: MAX_ROWS, rows, ports, port_ranges }
    }
}

/// A bounded resource of one family's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Entries of (group of pods, class of peers). They exist before there are any rows.
    Matrix,
    /// Rows of (pod, class of peers).
    Rows(Direction),
    Ports,
    PortRanges,
}

#[derive(Debug, Default)]
pub(super) struct Capacity {
    bounds: Bounds,
    /// Rows that the subjects would have if all of them fitted, by direction.
    wanted_rows: [usize; 2],
    /// Groups without entries.
    groups: BTreeSet<GroupId>,
    /// Profiles that are left out of the rows of some namespaces, with these namespaces.
    profiles: BTreeMap<ProfileId, BTreeSet<Arc<str>>>,
    /// The profiles that at least one namespace may use. `None` if every namespace may use all of its profiles.
    granted: Option<HashSet<ProfileId>>,
    /// Subjects without rows, by direction.
    subjects: [BTreeSet<IpAddr>; 2],
}

/// The index of a direction's value in an array of two.
const fn index_of(direction: Direction) -> usize {
    match direction {
        Direction::Ingress => 0,
        Direction::Egress => 1,
    }
}

impl Capacity {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// Records that the number of rows that some subjects need changed.
    pub(super) fn count_rows(&mut self, direction: Direction, before: usize, after: usize) {
        if let Some(wanted) = self.wanted_rows.get_mut(index_of(direction)) {
            *wanted = *wanted + after - before;
        }
    }

    pub(super) fn wanted_rows(&self, direction: Direction) -> usize {
        self.wanted_rows.get(index_of(direction)).copied().unwrap_or_default()
    }

    pub(super) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Whether some rows or entries may not fit. If so, classes with equal signatures should be merged first.
    pub(super) fn is_short(&self, groups: &Groups, classes: &Classes) -> bool {
        self.may_exceed_matrix(groups, classes)
            || self.wanted_rows.iter().any(|&wanted| wanted > self.bounds.rows)
    }

    fn may_exceed_matrix(&self, groups: &Groups, classes: &Classes) -> bool {
        groups.len().saturating_mul(classes.len() + 1) > self.bounds.matrix
    }

    pub(super) fn has_entries(&self, group: GroupId) -> bool {
        !self.groups.contains(&group)
    }

    pub(super) fn has_rows(&self, subject: IpAddr, direction: Direction) -> bool {
        !self.subjects.get(index_of(direction)).is_some_and(|without| without.contains(&subject))
    }

    /// Whether the group's subjects may have rows with the profile.
    pub(super) fn may_use(&self, group: &Group, profile: ProfileId) -> bool {
        self.profiles.is_empty()
            || !self.profiles.get(&profile).is_some_and(|w| w.contains(&group.key.namespace))
    }

    /// The entries of a group's column whose profiles its namespace may use, and which therefore become rows.
    pub(super) fn usable_entries<'a>(
        &'a self,
        group: &'a Group,
        family: Family,
    ) -> impl Iterator<Item = (ClassId, ProfileId)> + 'a {
        group
            .column(family)
            .iter()
            .map(|(&c, &p)| (c, p))
            .filter(|&(_, profile)| self.may_use(group, profile))
    }

    /// The profiles that may have elements. `None` means all of them.
    pub(super) fn granted(&self) -> Option<&HashSet<ProfileId>> {
        self.granted.as_ref()
    }

    pub(super) fn forget_group(&mut self, group: GroupId) {
        self.groups.remove(&group);
    }

    /// Decides which groups have entries. Returns the groups for which the answer changed.
    pub(super) fn share_matrix(
        &mut self,
        family: Family,
        groups: &Groups,
        classes: &Classes,
    ) -> BTreeSet<GroupId> {
        let mut without = BTreeSet::new();
        if self.may_exceed_matrix(groups, classes) {
            let mut demands: BTreeMap<Arc<str>, Vec<_>> = BTreeMap::new();
            let mut total = 0_usize;
            for (id, group) in groups.iter() {
                if !group.isolates(family) {
                    continue;
                }
                let in_sets: usize = group.sets().map(|set| classes.in_set(set).len()).sum();
                let entries = 1 + in_sets.min(classes.len());
                total = total.saturating_add(entries);
                match group.members(family).first() {
                    // If not all groups fit, groups whose pods have no address yet get no entries.
                    None => _ = without.insert(id),
                    Some(&first) => {
                        let order = (first, index_of(group.key.direction));
                        let space = Arc::clone(&group.key.namespace);
                        demands.entry(space).or_default().push((order, entries, id));
                    }
                }
            }
            if total > self.bounds.matrix {
                let demands: Demands<GroupId> = ordered(demands);
                without.extend(refused(self.bounds.matrix, demands).into_iter().map(|r| r.1));
            } else {
                without.clear();
            }
        }
        let changed = self.groups.symmetric_difference(&without).copied().collect();
        self.groups = without;
        changed
    }

    /// Decides which profiles each namespace may use. Returns the profiles for which the answer changed.
    pub(super) fn share_ports(
        &mut self,
        family: Family,
        groups: &Groups,
        profiles: &Profiles,
    ) -> BTreeSet<ProfileId> {
        let wanted = profiles.wanted(family);
        let bounds = &self.bounds;
        let mut without: BTreeMap<ProfileId, BTreeSet<Arc<str>>> = BTreeMap::new();
        self.granted = None;
        if wanted.ports > bounds.ports || wanted.ranges > bounds.port_ranges {
            let uses = uses(family, groups, profiles);
            let by = |size: fn(&PortElements) -> usize| -> Demands<ProfileId> {
                let demands = uses.iter().map(|(space, profiles_in_use)| {
                    let each = profiles_in_use.iter().filter_map(|&id| {
                        let (elements, content) = profiles.describe(id)?;
                        Some(((size(&elements), Arc::clone(content)), size(&elements), id))
                    });
                    (Arc::clone(space), each.collect::<Vec<_>>())
                });
                ordered(demands.collect())
            };
            let of_ports = refused(bounds.ports, by(|elements| elements.ports));
            let of_ranges = refused(bounds.port_ranges, by(|elements| elements.ranges));
            for (space, profile) in of_ports.into_iter().chain(of_ranges) {
                without.entry(profile).or_default().insert(space);
            }
            let pairs = uses.iter().flat_map(|(s, ids)| ids.iter().map(move |id| (s, *id)));
            let allowed = pairs.filter(|(space, id)| {
                !without.get(id).is_some_and(|spaces| spaces.contains(*space))
            });
            self.granted = Some(allowed.map(|(_, id)| id).collect());
        }
        let differs = |id: &ProfileId| self.profiles.get(id) != without.get(id);
        let all: BTreeSet<ProfileId> =
            self.profiles.keys().chain(without.keys()).copied().filter(differs).collect();
        self.profiles = without;
        all
    }

    /// Decides which subjects have rows. Returns the subjects for which the answer changed.
    pub(super) fn share_rows(
        &mut self,
        family: Family,
        direction: Direction,
        groups: &Groups,
    ) -> BTreeSet<IpAddr> {
        let mut without = BTreeSet::new();
        if self.wanted_rows(direction) > self.bounds.rows {
            let mut demands: BTreeMap<Arc<str>, Vec<_>> = BTreeMap::new();
            let mut total = 0_usize;
            for (_, group) in groups.iter().filter(|(_, g)| g.key.direction == direction) {
                let rows = self.usable_entries(group, family).count();
                total = total.saturating_add(rows.saturating_mul(group.members(family).len()));
                let members = group.members(family).iter().map(|&member| (member, rows, member));
                demands.entry(Arc::clone(&group.key.namespace)).or_default().extend(members);
            }
            if total > self.bounds.rows {
                let refused = refused(self.bounds.rows, ordered(demands));
                without = refused.into_iter().map(|(_, subject)| subject).collect();
            }
        }
        let Some(subjects) = self.subjects.get_mut(index_of(direction)) else { return without };
        let changed = subjects.symmetric_difference(&without).copied().collect();
        *subjects = without;
        changed
    }

    /// The resources whose bound is exceeded, and for each namespace concerned, how many of its subjects lack rows.
    pub(super) fn shortages(
        &self,
        family: Family,
        groups: &Groups,
        profiles: &Profiles,
    ) -> (Vec<Resource>, Vec<(Arc<str>, usize)>) {
        let mut short = Vec::new();
        let mut pods: BTreeMap<Arc<str>, BTreeSet<IpAddr>> = BTreeMap::new();
        if !self.groups.is_empty() {
            short.push(Resource::Matrix);
        }
        for direction in Direction::ALL {
            if self.subjects.get(index_of(direction)).is_some_and(|without| !without.is_empty()) {
                short.push(Resource::Rows(direction));
            }
        }
        if !self.profiles.is_empty() {
            let wanted = profiles.wanted(family);
            short.extend((wanted.ports > self.bounds.ports).then_some(Resource::Ports));
            let ranges = wanted.ranges > self.bounds.port_ranges;
            short.extend(ranges.then_some(Resource::PortRanges));
        }
        if short.is_empty() {
            return (short, Vec::new());
        }
        for (id, group) in groups.iter() {
            let direction = group.key.direction;
            let lacks_all = !self.has_entries(id)
                || self.usable_entries(group, family).count() < group.column(family).len();
            let lacking = group
                .members(family)
                .iter()
                .filter(|&&member| lacks_all || !self.has_rows(member, direction));
            pods.entry(Arc::clone(&group.key.namespace)).or_default().extend(lacking);
        }
        let pods = pods.into_iter().filter(|(_, pods)| !pods.is_empty());
        (short, pods.map(|(space, pods)| (space, pods.len())).collect())
    }
}

/// The profiles with elements that each namespace uses.
fn uses(
    family: Family,
    groups: &Groups,
    profiles: &Profiles,
) -> BTreeMap<Arc<str>, HashSet<ProfileId>> {
    let mut uses: BTreeMap<Arc<str>, HashSet<ProfileId>> = BTreeMap::new();
    for (_, group) in groups.iter() {
        let named = group.column(family).values().copied();
        let with_elements = named.filter(|&id| profiles.describe(id).is_some());
        uses.entry(Arc::clone(&group.key.namespace)).or_default().extend(with_elements);
    }
    uses
}

/// Sorts the items of each demand by the first of their three parts, and removes that part.
fn ordered<O: Ord, T>(demands: BTreeMap<Arc<str>, Vec<(O, usize, T)>>) -> Demands<T> {
    let in_order = |mut items: Vec<(O, usize, T)>| {
        items.sort_by(|a, b| a.0.cmp(&b.0));
        items.into_iter().map(|(_, cost, item)| (cost, item)).collect()
    };
    demands.into_iter().map(|(space, items)| (space, in_order(items))).collect()
}
