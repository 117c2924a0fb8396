//! The profiles in use: ids that stand for sets of ports in the program.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::model::{Family, PerFamily};
use crate::program::delta::record;
use crate::program::{PortSet, ProfileId, Tables, TablesDelta, port_sets};

/// Numbers of elements of `ports` and of `port_ranges`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PortElements {
    pub(super) ports: usize,
    pub(super) ranges: usize,
}

#[derive(Debug)]
struct Profile {
    content: Arc<PortSet>,
    size: PortElements,
    /// Entries of the matrix that name it, by family.
    uses: PerFamily<usize>,
    /// Whether the family's tables hold its elements.
    is_written: PerFamily<bool>,
}

/// The profiles in use, by content: equal sets have one id, in both families.
#[derive(Debug)]
pub(super) struct Profiles {
    by_content: HashMap<Arc<PortSet>, ProfileId>,
    by_id: HashMap<ProfileId, Profile>,
    /// What the profiles in use take in each family's tables.
    wanted: PerFamily<PortElements>,
    /// Profiles whose elements may have to be written or removed, or that may be in use no more.
    touched: BTreeSet<ProfileId>,
    /// The ids that are handed out next: without port ranges, and with.
    next: [u32; 2],
    /// Ids that the kernel already has for a content.
    adopted: HashMap<PortSet, ProfileId>,
}

impl Profiles {
    pub(super) fn new() -> Self {
        Self {
            by_content: HashMap::new(),
            by_id: HashMap::new(),
            wanted: PerFamily::default(),
            touched: BTreeSet::new(),
            next: [ProfileId::FIRST, ProfileId::FIRST_RANGED],
            adopted: HashMap::new(),
        }
    }

    /// Prefers the ids that these tables have for a content; an id that has two contents is passed over.
    pub(super) fn adopt(&mut self, tables: [&Tables; 2]) {
        let mut found: BTreeMap<ProfileId, Option<PortSet>> = BTreeMap::new();
        for table in tables {
            for (id, content) in port_sets(table) {
                let next = self.next_of(id.is_ranged());
                *next = (*next).max(id.0.saturating_add(1));
                let seen = found.entry(id).or_insert_with(|| Some(content.clone()));
                if seen.as_ref() != Some(&content) {
                    *seen = None;
                }
            }
        }
        for (id, content) in found {
            let ours = |content: &PortSet| ids(content.needs_ranges()).contains(&id.0);
            if let Some(content) = content.filter(ours) {
                self.adopted.entry(content).or_insert(id);
            }
        }
    }

    pub(super) fn end_adoption(&mut self) {
        self.adopted.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// What the profiles in use take in the family's tables, if all are written.
    pub(super) fn wanted(&self, family: Family) -> PortElements {
        self.wanted[family]
    }

    /// The size and the content of a profile; `None` for those that have no elements.
    pub(super) fn describe(&self, id: ProfileId) -> Option<(PortElements, &Arc<PortSet>)> {
        self.by_id.get(&id).map(|profile| (profile.size, &profile.content))
    }

    /// The id of a content, for one entry more of the family's matrix.
    pub(super) fn acquire(&mut self, content: &Arc<PortSet>, family: Family) -> ProfileId {
        if content.is_nothing() {
            return ProfileId::NOTHING;
        }
        if content.is_everything() {
            return ProfileId::EVERYTHING;
        }
        let id = match self.by_content.get(content) {
            Some(&id) => id,
            None => self.enter(content),
        };
        if let Some(profile) = self.by_id.get_mut(&id) {
            profile.uses[family] += 1;
            if profile.uses[family] == 1 {
                let wanted = &mut self.wanted[family];
                wanted.ports += profile.size.ports;
                wanted.ranges += profile.size.ranges;
                self.touched.insert(id);
            }
        }
        id
    }

    fn enter(&mut self, content: &Arc<PortSet>) -> ProfileId {
        let adopted = self.adopted.remove(&**content);
        let id = adopted.unwrap_or_else(|| self.fresh(content.needs_ranges()));
        let (ports, ranges) = content.element_counts();
        let profile = Profile {
            content: Arc::clone(content),
            size: PortElements { ports, ranges },
            uses: PerFamily::default(),
            is_written: PerFamily::default(),
        };
        self.by_content.insert(Arc::clone(content), id);
        self.by_id.insert(id, profile);
        id
    }

    pub(super) fn release(&mut self, id: ProfileId, family: Family) {
        let Some(profile) = self.by_id.get_mut(&id) else { return };
        profile.uses[family] -= 1;
        if profile.uses[family] == 0 {
            let wanted = &mut self.wanted[family];
            wanted.ports -= profile.size.ports;
            wanted.ranges -= profile.size.ranges;
            self.touched.insert(id);
        }
    }

    /// Writes the elements of the profiles in use, and removes those of others. `granted` has the profiles that find room,
    /// where not all do. With `all`, every profile is looked at, not only those whose use changed: needed while some find no
    /// room, and once more afterwards.
    pub(super) fn write(
        &mut self,
        family: Family,
        granted: Option<&HashSet<ProfileId>>,
        all: bool,
        tables: &mut Tables,
        delta: &mut TablesDelta,
    ) {
        let ids: Vec<ProfileId> = match all {
            true => self.by_id.keys().copied().collect(),
            false => self.touched.iter().copied().collect(),
        };
        for id in ids {
            let Some(profile) = self.by_id.get_mut(&id) else { continue };
            let is_granted = granted.is_none_or(|granted| granted.contains(&id));
            let write = is_granted && profile.uses[family] > 0;
            if profile.is_written[family] != write {
                profile.is_written[family] = write;
                edit_ports(&profile.content, id, write, tables, delta);
            }
        }
    }

    /// Forgets the profiles that ended the batch without a use. Their elements are removed already.
    pub(super) fn forget_unused(&mut self) {
        for id in std::mem::take(&mut self.touched) {
            if self.by_id.get(&id).is_some_and(|profile| profile.uses == PerFamily::default())
                && let Some(profile) = self.by_id.remove(&id)
            {
                self.by_content.remove(&profile.content);
            }
        }
    }

    fn next_of(&mut self, ranged: bool) -> &mut u32 {
        let [plain, with_ranges] = &mut self.next;
        if ranged { with_ranges } else { plain }
    }

    /// Ids are handed out in a circle, so that an id is used again as late as possible.
    fn fresh(&mut self, ranged: bool) -> ProfileId {
        let ids = ids(ranged);
        loop {
            let next = self.next_of(ranged);
            if !ids.contains(next) {
                *next = ids.start;
            }
            let id = ProfileId(*next);
            *next += 1;
            if !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }
}

/// The ids of a compiled program's profiles with or without port ranges.
fn ids(ranged: bool) -> Range<u32> {
    if ranged {
        ProfileId::FIRST_RANGED..ProfileId::END
    } else {
        ProfileId::FIRST..ProfileId::UNRANGED_END
    }
}

/// Puts a profile's elements into the tables, or takes them out.
fn edit_ports(
    content: &PortSet,
    id: ProfileId,
    add: bool,
    tables: &mut Tables,
    delta: &mut TablesDelta,
) {
    let (ports, ranges) = content.elements(id);
    let state = |present: bool| present.then_some(());
    for port in ports {
        let changed = if add { tables.ports.insert(port) } else { tables.ports.remove(&port) };
        if changed {
            record(&mut delta.ports, port, state(!add), state(add));
        }
    }
    for range in ranges {
        let set = &mut tables.port_ranges;
        let changed = if add { set.insert(range) } else { set.remove(&range) };
        if changed {
            record(&mut delta.port_ranges, range, state(!add), state(add));
        }
    }
}
