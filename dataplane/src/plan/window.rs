//! What packets under way may have read: everything since the last grace period, as far as it bears on what may change.

use std::collections::BTreeSet;
use std::net::IpAddr;

use palisade_compiler::model::Direction;
use palisade_compiler::program::{ClassId, ProfileId};

#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    /// Classes that some address left: what they are allowed stays as it is.
    pub(super) left: BTreeSet<ClassId>,
    /// Addresses that got an element in `class`: the atoms over them stay as they are.
    pub(super) appeared: BTreeSet<IpAddr>,
    /// Former subjects of ingress: their rows stay as they are, and no address changes to a class that these allow less.
    released_in: BTreeSet<IpAddr>,
    /// The same for egress.
    released_out: BTreeSet<IpAddr>,
    /// Subjects that got a row of ingress for a class that packets may hold: such a packet may have missed the row, and so
    /// read the base.
    new_rows_in: BTreeSet<IpAddr>,
    /// The same for egress.
    new_rows_out: BTreeSet<IpAddr>,
    /// Profiles that some row named: their contents stay as they are.
    pub(super) unnamed: BTreeSet<ProfileId>,
    /// A fact of the host was added that packets are judged by first: what every later lookup decides may narrow, but not
    /// widen.
    pub(super) guarded: bool,
    /// Packets of unknown addresses were held that were not held before: what is allowed to unknown addresses may not widen.
    pub(super) held: bool,
    /// Addresses that became subjects of egress: ingress may not widen for their packets beyond what their egress allows.
    pub(super) isolated_out: BTreeSet<IpAddr>,
    /// Egress narrowed between subjects: ingress between subjects may not widen.
    pub(super) egress_narrowed: bool,
}

impl Window {
    /// The addresses that were subjects of the direction and are none any more.
    pub(super) fn released(&self, direction: Direction) -> &BTreeSet<IpAddr> {
        match direction {
            Direction::Ingress => &self.released_in,
            Direction::Egress => &self.released_out,
        }
    }

    /// Notes that an address became a subject of the direction, or is none any more.
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
