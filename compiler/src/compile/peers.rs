//! The peers of a rule by content, and which pods they match.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::ids::PortName;
use super::ranges::{Range, highest, number, ranges_of, union};
use crate::model::{
    ContainerPort, Family, IpBlock, Labels, Namespace, Namespaces, Operator, Peer, Peers,
    PerFamily, Requirement, Selector,
};
use crate::program::{PortRange, PortSet};

/// The peers of a rule by content. Blocks are united into ranges, so that ten thousand CIDRs are one set of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PeerSetKey {
    pub(super) terms: Vec<Term>,
    /// Sorted, disjoint, not adjacent ranges of addresses, as integers.
    pub(super) ranges: PerFamily<Vec<Range>>,
    /// Not empty for the named ports of an egress rule: then the set is of (pod, resolved ports).
    pub(super) names: Vec<PortName>,
}

/// Pods by namespace and labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Term {
    pub(super) namespaces: TermNamespaces,
    pub(super) pods: Selector,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum TermNamespaces {
    Named(Arc<str>),
    Selected(Selector),
}

impl Term {
    fn matches(&self, namespace: &Namespace, labels: &Labels) -> bool {
        let in_namespace = match &self.namespaces {
            TermNamespaces::Named(name) => *name == namespace.name,
            TermNamespaces::Selected(selector) => selector.matches(&namespace.labels),
        };
        in_namespace && self.pods.matches(labels)
    }

    /// What a pod must have for the term to match: the narrowest that the selectors demand.
    pub(super) fn bucket(&self) -> Bucket {
        if let Some((key, value)) = demanded_label(&self.pods) {
            return Bucket::PodLabel(key, value);
        }
        match &self.namespaces {
            TermNamespaces::Named(name) => Bucket::Namespace(Arc::clone(name)),
            TermNamespaces::Selected(selector) => match demanded_label(selector) {
                Some((key, value)) => Bucket::NamespaceLabel(key, value),
                None => Bucket::Any,
            },
        }
    }
}

/// A label that a selector demands with one value.
pub(super) fn demanded_label(selector: &Selector) -> Option<(Arc<str>, Arc<str>)> {
    selector.requirements.iter().find_map(|Requirement { key, operator }| match operator {
        Operator::In(values) => match values.as_slice() {
            [value] => Some((Arc::clone(key), Arc::clone(value))),
            _ => None,
        },
        Operator::NotIn(_) | Operator::Exists | Operator::DoesNotExist => None,
    })
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Bucket {
    PodLabel(Arc<str>, Arc<str>),
    Namespace(Arc<str>),
    NamespaceLabel(Arc<str>, Arc<str>),
    Any,
}

impl PeerSetKey {
    /// `None` for everyone: every address of both families, which tells no two addresses apart.
    pub(super) fn of(peers: &Peers, own: &Arc<str>, names: Vec<PortName>) -> Option<Self> {
        let everybody = || Term {
            namespaces: TermNamespaces::Selected(Selector::everything()),
            pods: Selector::everything(),
        };
        let peers = match peers {
            Peers::Everyone if names.is_empty() => return None,
            // A port name is resolved on pods: addresses that are no pod's never match.
            Peers::Everyone => {
                return Some(Self {
                    terms: vec![everybody()],
                    ranges: PerFamily::default(),
                    names,
                });
            }
            Peers::AnyOf(peers) => peers,
        };
        let mut terms = BTreeSet::new();
        let mut blocks: Vec<&IpBlock> = Vec::new();
        for peer in peers {
            match peer {
                Peer::Block(block) => blocks.push(block),
                Peer::Pods { namespaces, pods } => {
                    let namespaces = match namespaces {
                        Namespaces::Own => TermNamespaces::Named(Arc::clone(own)),
                        Namespaces::Selected(selector) => {
                            TermNamespaces::Selected(selector.clone())
                        }
                    };
                    terms.insert(Term { namespaces, pods: pods.clone() });
                }
            }
        }
        let ranges = PerFamily::from_fn(|family| ranges_of(&blocks, family));
        Some(Self { terms: terms.into_iter().collect(), ranges, names })
    }

    /// These addresses and no others.
    pub(super) fn of_addresses(addresses: &[IpAddr]) -> Self {
        let of = |family| {
            let own = addresses.iter().filter(|address| Family::of(**address) == family);
            union(own.map(|&address| (number(address), number(address))).collect())
        };
        Self { terms: Vec::new(), ranges: PerFamily::from_fn(of), names: Vec::new() }
    }

    pub(super) fn ranges(&self, family: Family) -> &[Range] {
        &self.ranges[family]
    }

    /// Whether it holds every address of the family, and so tells none apart.
    pub(super) fn is_everyone(&self, family: Family) -> bool {
        self.names.is_empty() && self.ranges(family) == [(0, highest(family))]
    }

    /// The keys of pods' labels that its selectors name.
    pub(super) fn label_keys(&self) -> BTreeSet<&Arc<str>> {
        let requirements = self.terms.iter().flat_map(|term| &term.pods.requirements);
        requirements.map(|requirement| &requirement.key).collect()
    }

    pub(super) fn matches(&self, namespace: &Namespace, labels: &Labels) -> bool {
        self.terms.iter().any(|term| term.matches(namespace, labels))
    }

    /// The ports that the set's names stand for on a pod with these; `None` if it names none, so that all peers match.
    pub(super) fn resolve(&self, ports: &[ContainerPort]) -> Option<PortSet> {
        if self.names.is_empty() {
            return None;
        }
        let named = |(protocol, name): &PortName| {
            let (protocol, name) = (*protocol, Arc::clone(name));
            let is_named = move |port: &&ContainerPort| {
                port.protocol == protocol && port.name.as_ref() == Some(&name)
            };
            let of_name = ports.iter().filter(is_named);
            of_name.map(|p| PortRange::new(p.protocol, p.port, p.port)).collect::<Vec<_>>()
        };
        Some(self.names.iter().flat_map(named).collect())
    }
}
