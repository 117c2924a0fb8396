//! The contents of a compiled program's sets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::delta::{Edit, Edits, apply_edits, chain_edits, edits_between, inverse_edits};
use super::element::{Container, Element, Kind, kind};
use super::sets::SetName;
use super::{AddressRange, ClassId, PortElement, PortRangeElement, ProfileId};
use crate::model::Direction;
use crate::set_contents;

macro_rules! program_contents {
    (program { $($program:tt)+ } host { $($host:tt)+ }) => {
        set_contents! {
            /// The elements of one family's table, as far as the program decides them.
            ///
            /// The catch-all elements (`* : 0:0` of `class`, `allow_in`, `allow_out`) belong to the skeleton and are not listed.
            contents Tables;
            /// The edits of one family's table.
            delta TablesDelta;
            $($program)+
        }
    };
}

crate::set_catalogue!(program_contents);

impl Tables {
    /// The class that a packet's lookup of the address finds.
    pub fn class_of(&self, address: IpAddr) -> ClassId {
        match self.class.get(&address) {
            Some(&class) => class,
            None => self.cidr_class_of(address),
        }
    }

    /// The class of the atom that holds the address, whether or not a pod has it.
    pub fn cidr_class_of(&self, address: IpAddr) -> ClassId {
        self.atom_over(address).unwrap_or(ClassId::UNKNOWN)
    }

    /// The class of the atom that the address is in.
    pub(crate) fn atom_over(&self, address: IpAddr) -> Option<ClassId> {
        let highest = match address {
            IpAddr::V4(_) => IpAddr::from([0xff; 4]),
            IpAddr::V6(_) => IpAddr::from([0xff; 16]),
        };
        self.cidr
            .range(..=AddressRange { first: address, last: highest })
            .next_back()
            .filter(|(range, _)| range.contains(address))
            .map(|(_, &class)| class)
    }

    /// The profile that a packet's lookups find for a subject and its peer's class: the row, or the subject's base where
    /// there is no row; `NOTHING` where there is neither.
    pub fn profile_of(&self, direction: Direction, subject: IpAddr, class: ClassId) -> ProfileId {
        let rows = match direction {
            Direction::Ingress => &self.allow_in,
            Direction::Egress => &self.allow_out,
        };
        let row = rows.get(&(subject, class)).or_else(|| rows.get(&(subject, ClassId::UNKNOWN)));
        row.copied().unwrap_or(ProfileId::NOTHING)
    }

    /// Whether a range of the profile has the port.
    pub(crate) fn has_port_in_range(&self, element: PortElement) -> bool {
        let PortElement { profile, protocol, port } = element;
        let end = PortRangeElement { profile, protocol, first: port, last: u16::MAX };
        self.port_ranges.range(..=end).next_back().is_some_and(|range| {
            range.profile == profile && range.protocol == protocol && port <= range.last
        })
    }
}
