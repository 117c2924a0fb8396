//! The profiles in use: ids that stand for sets of ports in the program.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;

use super::room::Bounds;
use crate::model::Family;
use crate::program::delta::record;
use crate::program::{PortSet, ProfileId, Tables, TablesDelta, port_sets};

#[derive(Debug)]
struct Profile {
    id: ProfileId,
    /// Columns that name it, by family.
    uses: [usize; 2],
}

/// The profiles in use, by content: equal sets have one id.
#[derive(Debug)]
pub(super) struct Profiles {
    by_content: HashMap<Arc<PortSet>, Profile>,
    by_id: HashMap<ProfileId, Arc<PortSet>>,
    /// Profiles whose last use ended in this batch; most are used again by the end of it.
    unused: Vec<ProfileId>,
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
            unused: Vec::new(),
            next: [ProfileId::FIRST, ProfileId::FIRST_RANGED],
            adopted: HashMap::new(),
        }
    }

    /// Prefers the ids of these contents; an id found with two contents is passed over.
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

    /// The id of a content for one more column of the family; `None` if its ports do not fit into the tables any more.
    pub(super) fn acquire(
        &mut self,
        content: &Arc<PortSet>,
        family: Family,
        bounds: &Bounds,
        tables: &mut Tables,
        delta: &mut TablesDelta,
    ) -> Option<ProfileId> {
        if content.is_nothing() {
            return Some(ProfileId::NOTHING);
        }
        if content.is_everything() {
            return Some(ProfileId::EVERYTHING);
        }
        let is_used = |profile: &mut Profile| *count(&mut profile.uses, family) > 0;
        if !self.by_content.get_mut(content).is_some_and(is_used) {
            let (ports, ranges) = content.element_counts();
            if tables.ports.len() + ports > bounds.ports
                || tables.port_ranges.len() + ranges > bounds.port_ranges
            {
                return None;
            }
        }
        if !self.by_content.contains_key(content) {
            let adopted = self.adopted.remove(&**content);
            let id = adopted.unwrap_or_else(|| self.fresh(content.needs_ranges()));
            self.by_content.insert(Arc::clone(content), Profile { id, uses: [0, 0] });
            self.by_id.insert(id, Arc::clone(content));
        }
        let profile = self.by_content.get_mut(content)?;
        let uses = count(&mut profile.uses, family);
        *uses += 1;
        let id = profile.id;
        if *uses == 1 {
            edit_ports(content, id, true, tables, delta);
        }
        Some(id)
    }

    pub(super) fn release(&mut self, id: ProfileId, family: Family) {
        let Some(content) = self.by_id.get(&id) else { return };
        let Some(profile) = self.by_content.get_mut(content) else { return };
        let uses = count(&mut profile.uses, family);
        *uses = uses.saturating_sub(1);
        if *uses == 0 {
            self.unused.push(id);
        }
    }

    /// Takes the contents of profiles that ended the batch without a use out of the tables.
    pub(super) fn sweep(&mut self, mut edit: impl FnMut(Family, ProfileId, &PortSet)) {
        for id in std::mem::take(&mut self.unused) {
            let Some(content) = self.by_id.get(&id).cloned() else { continue };
            let Some(profile) = self.by_content.get_mut(&content) else { continue };
            for family in Family::ALL {
                if *count(&mut profile.uses, family) == 0 {
                    edit(family, id, &content);
                }
            }
            if profile.uses == [0, 0] {
                self.by_content.remove(&content);
                self.by_id.remove(&id);
            }
        }
    }

    fn next_of(&mut self, ranged: bool) -> &mut u32 {
        let [plain, with_ranges] = &mut self.next;
        if ranged { with_ranges } else { plain }
    }

    /// Ids are handed out in a circle, so that one is reused long after its last use, the oldest first.
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

fn count(uses: &mut [usize; 2], family: Family) -> &mut usize {
    let [v4, v6] = uses;
    match family {
        Family::V4 => v4,
        Family::V6 => v6,
    }
}

/// Puts a profile's ports into a table, or takes out what of them is there.
pub(super) fn edit_ports(
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
