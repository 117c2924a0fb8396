//! How many elements a set is declared to hold (`size`): more than it has, so that it seldom has to be built anew.

use super::sets::{Form, SetName};

/// The `size` for a set that is to hold `elements` elements, its catch-all not counted; `None` for interval sets, which
/// have no bound.
///
/// A power of two with room to double, so that a hash is neither full nor resized soon: a dump of a hash that is being
/// resized may lie.
pub fn capacity(set: SetName, elements: usize) -> Option<u32> {
    let Form::Hash { least } = set.form() else { return None };
    let wanted = elements.saturating_add(1).saturating_mul(2);
    let wanted = u32::try_from(wanted).ok().and_then(u32::checked_next_power_of_two);
    Some(wanted.unwrap_or(u32::MAX).max(least))
}

/// Whether a set declared with `size` takes `elements` elements and its catch-all.
pub fn fits(set: SetName, size: Option<u32>, elements: usize) -> bool {
    let needed = elements + usize::from(set.has_catch_all());
    size.is_none_or(|size| usize::try_from(size).is_ok_and(|size| needed <= size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_leaves_room_to_double() {
        assert_eq!(capacity(SetName::LocalIn, 0), Some(4096));
        assert_eq!(capacity(SetName::LocalIn, 2047), Some(4096));
        assert_eq!(capacity(SetName::LocalIn, 2048), Some(8192));
        assert_eq!(capacity(SetName::Class, 1_000_000), Some(2_097_152));
        assert_eq!(capacity(SetName::Class, usize::MAX), Some(u32::MAX));
        assert_eq!(capacity(SetName::Cidr, 5), None);
    }

    #[test]
    fn the_catch_all_takes_a_place() {
        assert!(fits(SetName::LocalIn, Some(4), 4));
        assert!(!fits(SetName::Class, Some(4), 4));
        assert!(fits(SetName::Cidr, None, 1_000_000));
    }
}
