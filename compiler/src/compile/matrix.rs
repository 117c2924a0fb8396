//! The matrix (group x class) -> profile of one family: what each group allows each class.
//!
//! What a group allows everyone is its entry for the class `UNKNOWN`. The kernel looks this entry up if there is none for
//! the class of the peer. Other classes have an entry only if they are allowed more than everyone is. Therefore classes
//! that only the policies of other namespaces distinguish cost a group nothing. Policies only add, so no class is ever
//! allowed less than everyone is.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::capacity::Capacity;
use super::classes::{ClassEdits, Classes};
use super::groups::{Column, Groups};
use super::ids::GroupId;
use super::peer_sets::Item;
use super::profiles::Profiles;
use crate::model::Family;
use crate::program::{ClassId, PortSet, ProfileId};

/// The matrix of one family, and what is needed to update it.
pub(super) struct Matrix<'a> {
    pub(super) family: Family,
    pub(super) groups: &'a mut Groups,
    pub(super) classes: &'a Classes,
    pub(super) profiles: &'a mut Profiles,
    pub(super) capacity: &'a mut Capacity,
}

/// Entries by group and class.
pub(super) type Entries = BTreeSet<(GroupId, ClassId)>;

impl Matrix<'_> {
    /// Updates all columns for the classes that changed, and rebuilds the columns of the groups in `due`. Returns the
    /// entries that changed in the other groups.
    pub(super) fn update(&mut self, due: &BTreeSet<GroupId>, edits: &ClassEdits) -> Entries {
        let mut entries: Vec<(GroupId, ClassId)> = Vec::new();
        for &class in &edits.added {
            let signature = self.classes.signature(class);
            let users = signature.into_iter().flat_map(|items| self.users(items));
            entries.extend(users.map(|group| (group, class)));
        }
        for (&class, old) in &edits.changed {
            let new = self.classes.signature(class);
            let changed = symmetric_difference(old, new.map_or(&[], |new| new));
            entries.extend(self.users(&changed).map(|group| (group, class)));
        }
        for (&class, old) in &edits.removed {
            entries.extend(self.users(old).map(|group| (group, class)));
        }
        entries.sort_unstable();
        entries.dedup();
        entries.retain(|(group, _)| !due.contains(group));
        let changed = entries.into_iter().filter(|&(group, class)| self.update_entry(group, class));
        let changed = changed.collect();
        for &group in due {
            self.rebuild_column(group);
        }
        changed
    }

    fn users<'b>(&'b self, items: &'b [Item]) -> impl Iterator<Item = GroupId> + 'b {
        items.iter().flat_map(|item| self.groups.users(item.set))
    }

    fn rebuild_column(&mut self, id: GroupId) {
        let Some(group) = self.groups.get(id) else { return };
        let mut classes: Vec<ClassId> = Vec::new();
        if self.has_column(id) {
            classes.extend(group.sets().flat_map(|set| self.classes.in_set(set)));
            classes.push(ClassId::UNKNOWN);
            classes.sort_unstable();
            classes.dedup();
        }
        let entry = |class| Some((class, self.content(id, class)?));
        let contents: Vec<(ClassId, Arc<PortSet>)> =
            classes.into_iter().filter_map(entry).collect();
        let acquire = |(class, content)| (class, self.profiles.acquire(&content, self.family));
        let new: Column = contents.into_iter().map(acquire).collect();
        let Some(group) = self.groups.get_mut(id) else { return };
        let members = group.members(self.family).len();
        let column = &mut group.columns[self.family];
        let old = std::mem::replace(column, new);
        let (before, after) = (old.len() * members, column.len() * members);
        self.capacity.count_rows(group.key.direction, before, after);
        old.into_values().for_each(|profile| self.profiles.release(profile, self.family));
    }

    /// Whether the group may have entries. A group that isolates nobody in the family, or that does not fit into the
    /// bounds, has none. A group whose pods have no address yet has entries, so that they are there before its first
    /// packet.
    fn has_column(&self, id: GroupId) -> bool {
        let isolates = self.groups.get(id).is_some_and(|group| group.isolates(self.family));
        isolates && self.capacity.has_entries(id)
    }

    /// What the group allows the class, if it is more than what the group allows everyone.
    fn content(&self, id: GroupId, class: ClassId) -> Option<Arc<PortSet>> {
        let group = self.groups.get(id)?;
        let base = group.base(self.family);
        if class == ClassId::UNKNOWN {
            return Some(Arc::clone(base)).filter(|base| !base.is_nothing());
        }
        let signature = self.classes.signature(class)?;
        Some(group.profile(signature, self.family)).filter(|content| content != base)
    }

    /// Updates one entry. Returns whether it changed.
    fn update_entry(&mut self, id: GroupId, class: ClassId) -> bool {
        if !self.has_column(id) {
            return false;
        }
        let content = self.content(id, class);
        let after = content.map(|content| self.profiles.acquire(&content, self.family));
        let Some(group) = self.groups.get_mut(id) else { return false };
        let members = group.members(self.family).len();
        let column = &mut group.columns[self.family];
        let before: Option<ProfileId> = match after {
            Some(after) => column.insert(class, after),
            None => column.remove(&class),
        };
        let rows = |entry: Option<ProfileId>| if entry.is_some() { members } else { 0 };
        self.capacity.count_rows(group.key.direction, rows(before), rows(after));
        if let Some(before) = before {
            self.profiles.release(before, self.family);
        }
        before != after
    }
}

/// The items that only one of the two sorted signatures has.
fn symmetric_difference(a: &[Item], b: &[Item]) -> Vec<Item> {
    let a: BTreeSet<&Item> = a.iter().collect();
    let b: BTreeSet<&Item> = b.iter().collect();
    a.symmetric_difference(&b).map(|item| (*item).clone()).collect()
}
