//! Which addresses each node is known to have.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::Pod;

/// The addresses of each node: those of its Node object, of pods on its host's network, and `status.hostIPs` of all of its
/// pods. Each is counted, so that it goes with the last object that names it.
#[derive(Debug, Default)]
pub(super) struct NodeAddresses {
    by_node: BTreeMap<Arc<str>, BTreeMap<IpAddr, usize>>,
    /// How often a node got an address that it did not have, or lost one.
    changes: u64,
}

/// The addresses of its node that a pod names.
pub(super) fn named_by(pod: &Pod) -> Option<(&Arc<str>, impl Iterator<Item = IpAddr> + use<>)> {
    let node = pod.node.as_ref()?;
    let (own, host) = match (pod.is_host(), pod.has_identity()) {
        (true, _) => (Some(pod.addresses), Some(pod.host_ips)),
        (false, true) => (None, Some(pod.host_ips)),
        // A pod that has ended may name what its node had once.
        (false, false) => (None, None),
    };
    let addresses = own.into_iter().chain(host).flat_map(|addresses| addresses.iter());
    Some((node, addresses))
}

impl NodeAddresses {
    pub(super) fn holds(&self, node: &str, address: IpAddr) -> bool {
        self.by_node.get(node).is_some_and(|addresses| addresses.contains_key(&address))
    }

    /// Sorted, each once.
    pub(super) fn of(&self, node: &str) -> impl Iterator<Item = IpAddr> {
        self.by_node.get(node).into_iter().flat_map(|addresses| addresses.keys().copied())
    }

    /// While this stays, so do the addresses.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Those of all nodes.
    pub(super) fn all(&self) -> impl Iterator<Item = IpAddr> {
        self.by_node.values().flat_map(|addresses| addresses.keys().copied())
    }

    /// The nodes that have the address, sorted.
    pub(super) fn nodes_at(&self, address: IpAddr) -> impl Iterator<Item = &Arc<str>> {
        let with = self.by_node.iter().filter(move |(_, own)| own.contains_key(&address));
        with.map(|(node, _)| node)
    }

    /// One object more names these addresses. Returns whether the node did not have one of them before.
    pub(super) fn add(
        &mut self,
        node: &Arc<str>,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> bool {
        let mut is_new = false;
        for address in addresses {
            let own = self.by_node.entry(Arc::clone(node)).or_default();
            let count = own.entry(address).or_insert(0);
            is_new |= *count == 0;
            *count += 1;
        }
        self.changes += u64::from(is_new);
        is_new
    }

    /// One object fewer names these addresses. Returns whether the node has one of them no more.
    pub(super) fn remove(
        &mut self,
        node: &Arc<str>,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> bool {
        let mut is_gone = false;
        let Some(own) = self.by_node.get_mut(node) else { return false };
        for address in addresses {
            let Some(count) = own.get_mut(&address) else { continue };
            *count -= 1;
            if *count == 0 {
                own.remove(&address);
                is_gone = true;
            }
        }
        if own.is_empty() {
            self.by_node.remove(node);
        }
        self.changes += u64::from(is_gone);
        is_gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stays_as_long_as_one_object_names_it() {
        let mut nodes = NodeAddresses::default();
        let (node, address): (Arc<str>, IpAddr) = ("a".into(), "192.0.2.1".parse().unwrap());
        assert!(nodes.add(&node, [address]));
        assert!(!nodes.add(&node, [address]));
        assert!(nodes.holds("a", address) && !nodes.holds("b", address));
        assert!(!nodes.remove(&node, [address]));
        assert_eq!(nodes.of("a").collect::<Vec<_>>(), [address]);
        assert!(nodes.remove(&node, [address]));
        assert!(!nodes.remove(&node, [address]) && nodes.of("a").next().is_none());
        assert!(nodes.by_node.is_empty());
    }
}
