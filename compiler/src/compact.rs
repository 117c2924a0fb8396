//! Collections of addresses that take four bytes for an IPv4 address. An `IpAddr` takes seventeen, and a `u128` takes
//! sixteen. With 100,000 pods, addresses are most of what the indexes hold.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hashbrown::HashMap;

/// A map whose keys are addresses of both families.
#[derive(Debug)]
pub(crate) struct AddressMap<V> {
    v4: HashMap<Ipv4Addr, V>,
    v6: HashMap<Ipv6Addr, V>,
}

impl<V> Default for AddressMap<V> {
    fn default() -> Self {
        Self { v4: HashMap::new(), v6: HashMap::new() }
    }
}

impl<V> AddressMap<V> {
    pub(crate) fn get(&self, address: IpAddr) -> Option<&V> {
        match address {
            IpAddr::V4(v4) => self.v4.get(&v4),
            IpAddr::V6(v6) => self.v6.get(&v6),
        }
    }

    pub(crate) fn get_mut(&mut self, address: IpAddr) -> Option<&mut V> {
        match address {
            IpAddr::V4(v4) => self.v4.get_mut(&v4),
            IpAddr::V6(v6) => self.v6.get_mut(&v6),
        }
    }

    pub(crate) fn insert(&mut self, address: IpAddr, value: V) -> Option<V> {
        match address {
            IpAddr::V4(v4) => self.v4.insert(v4, value),
            IpAddr::V6(v6) => self.v6.insert(v6, value),
        }
    }

    pub(crate) fn remove(&mut self, address: IpAddr) -> Option<V> {
        match address {
            IpAddr::V4(v4) => self.v4.remove(&v4),
            IpAddr::V6(v6) => self.v6.remove(&v6),
        }
    }
}

/// A list of numbers. Each takes four bytes as long as all of them fit into a `u32`, and sixteen otherwise.
#[derive(Debug)]
pub(crate) enum Numbers {
    Narrow(Vec<u32>),
    Wide(Vec<u128>),
}

impl Default for Numbers {
    fn default() -> Self {
        Self::Narrow(Vec::new())
    }
}

impl Numbers {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Narrow(list) => list.len(),
            Self::Wide(list) => list.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn get(&self, at: usize) -> Option<u128> {
        match self {
            Self::Narrow(list) => list.get(at).copied().map(u128::from),
            Self::Wide(list) => list.get(at).copied(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u128> {
        let (narrow, wide): (&[u32], &[u128]) = match self {
            Self::Narrow(list) => (list, &[]),
            Self::Wide(list) => (&[], list),
        };
        narrow.iter().copied().map(u128::from).chain(wide.iter().copied())
    }

    pub(crate) fn push(&mut self, number: u128) {
        match (&mut *self, u32::try_from(number)) {
            (Self::Narrow(list), Ok(number)) => list.push(number),
            (Self::Narrow(_), Err(_)) => {
                *self = Self::Wide(self.iter().chain([number]).collect());
            }
            (Self::Wide(list), _) => list.push(number),
        }
    }

    /// Removes the number at an index and moves the last number there. Does nothing if the index is beyond the end.
    pub(crate) fn swap_remove(&mut self, at: usize) {
        match self {
            Self::Narrow(list) if at < list.len() => _ = list.swap_remove(at),
            Self::Wide(list) if at < list.len() => _ = list.swap_remove(at),
            Self::Narrow(_) | Self::Wide(_) => {}
        }
    }
}

/// Makes room for one more element in a full list, by an eighth of its length where `Vec` would double it. Meant for the
/// longest lists.
pub(crate) fn grow_slowly<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 8 + 16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_order_when_they_widen() {
        let mut numbers = Numbers::default();
        for number in [7, u128::from(u32::MAX), 1 << 32, 3] {
            numbers.push(number);
        }
        assert_eq!(numbers.iter().collect::<Vec<_>>(), [7, (1 << 32) - 1, 1 << 32, 3]);
        numbers.swap_remove(0);
        numbers.swap_remove(3);
        assert_eq!(numbers.iter().collect::<Vec<_>>(), [3, (1 << 32) - 1, 1 << 32]);
        assert_eq!((numbers.get(2), numbers.get(3), numbers.len()), (Some(1 << 32), None, 3));
    }

    #[test]
    fn addresses_of_two_families_are_never_one() {
        let mut map = AddressMap::default();
        let [four, six]: [IpAddr; 2] = ["1.2.3.4", "::1.2.3.4"].map(|text| text.parse().unwrap());
        assert_eq!((map.insert(four, 4), map.insert(six, 6)), (None, None));
        assert_eq!(map.remove(six), Some(6));
        assert_eq!((map.get(four), map.get(six)), (Some(&4), None));
    }
}
