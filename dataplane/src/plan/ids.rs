//! Ids of classes and profiles that exist only between two programs. A compiled program never contains them.

use palisade_compiler::program::{ClassId, ProfileId, Tables};

/// The next ids to assign. They are assigned in ascending order, and then from the beginning again.
#[derive(Debug, Clone, Copy)]
pub(super) struct TransitionalIds {
    class: u32,
    profile: u32,
}

impl TransitionalIds {
    /// Begins after the ids that an earlier planner left in the kernel.
    pub(super) fn beyond(kernel: &Tables) -> Self {
        let mut ids = Self { class: ClassId::PASSING, profile: ProfileId::PASSING };
        let rows = kernel.allow_in.keys().chain(kernel.allow_out.keys()).map(|key| key.1);
        let classes = kernel.class.values().chain(kernel.cidr.values()).copied().chain(rows);
        for ClassId(id) in classes {
            if (ClassId::PASSING..ClassId::PASSING_END - 1).contains(&id) {
                ids.class = ids.class.max(id + 1);
            }
        }
        let ranges = kernel.port_ranges.iter().map(|e| e.profile);
        for ProfileId(id) in kernel.ports.iter().map(|e| e.profile).chain(ranges) {
            if (ProfileId::PASSING..ProfileId::PASSING_END - 1).contains(&id) {
                ids.profile = ids.profile.max(id + 1);
            }
        }
        ids
    }

    pub(super) fn take_class(&mut self) -> ClassId {
        let id = self.class;
        self.class = if id + 1 < ClassId::PASSING_END { id + 1 } else { ClassId::PASSING };
        ClassId(id)
    }

    pub(super) fn take_profile(&mut self) -> ProfileId {
        let id = self.profile;
        self.profile = if id + 1 < ProfileId::PASSING_END { id + 1 } else { ProfileId::PASSING };
        ProfileId(id)
    }
}
