//! What packets under way may have read since the last grace period, as far as it restricts what may change.

use std::collections::BTreeSet;
use std::net::IpAddr;

use palisade_compiler::model::Direction;
use palisade_compiler::program::{ClassId, ProfileId};

#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    /// Classes that some address left. What they are allowed must not change.
    pub(super) left: BTreeSet<ClassId>,
    /// Addresses that got an element in `class`. The atoms that contain them must not change.
    pub(super) appeared: BTreeSet<IpAddr>,
    /// Former subjects of ingress. Their rows must not change, and no address may move to a class that these rows allow
    /// less.
    released_in: BTreeSet<IpAddr>,
    /// Former subjects of egress, with the same restrictions.
    released_out: BTreeSet<IpAddr>,
    /// Subjects that got a row of ingress for a class that packets may have. Such a packet may have missed the row and so
    /// may read the base.
    new_rows_in: BTreeSet<IpAddr>,
    /// Subjects that got such a row of egress.
    new_rows_out: BTreeSet<IpAddr>,
    /// Profiles that some row had. Their contents must not change.
    pub(super) unnamed: BTreeSet<ProfileId>,
    /// A fact of the host was added, which packets are judged by first. Later decisions may narrow but must not widen.
    pub(super) guarded: bool,
    /// Addresses that became subjects of egress. For their packets, ingress must not widen beyond what their egress allows.
    pub(super) isolated_out: BTreeSet<IpAddr>,
    /// Egress narrowed between subjects. Ingress between subjects must not widen.
    pub(super) egress_narrowed: bool,
}

impl Window {
    /// The addresses that were subjects of the direction and no longer are.
    pub(super) fn released(&self, direction: Direction) -> &BTreeSet<IpAddr> {
        match direction {
            Direction::Ingress => &self.released_in,
            Direction::Egress => &self.released_out,
        }
    }

    /// Records that an address became a subject of the direction, or no longer is one.
    pub(super) fn note_subject(&mut self, direction: Direction, address: IpAddr, is_subject: bool) {
        let released = match direction {
            Direction::Ingress => &mut self.released_in,
            Direction::Egress => &mut self.released_out,
        };
        if is_subject {
            released.remove(&address);
        } else {
            released.insert(address);
        }
        if direction == Direction::Egress {
            if is_subject {
                self.isolated_out.insert(address);
            } else {
                self.isolated_out.remove(&address);
            }
        }
    }

    pub(super) fn has_new_rows(&self, direction: Direction, subject: IpAddr) -> bool {
        match direction {
            Direction::Ingress => self.new_rows_in.contains(&subject),
            Direction::Egress => self.new_rows_out.contains(&subject),
        }
    }

    pub(super) fn note_new_row(&mut self, direction: Direction, subject: IpAddr) {
        match direction {
            Direction::Ingress => self.new_rows_in.insert(subject),
            Direction::Egress => self.new_rows_out.insert(subject),
        };
    }
}
