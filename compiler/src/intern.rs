//! Stores each string, label set and port list once, for a snapshot and for a file while it is read. Of the memory that
//! reading takes, little is kept.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashSet;

use crate::model::{
    ContainerPort, Labels, Namespaces, Operator, Peer, Peers, Pod, Policy, PolicyRule, PortSpec,
    Ports, Selector,
};

#[derive(Debug, Default)]
pub(crate) struct Interner {
    strings: Pool<str>,
    labels: Pool<Labels>,
    ports: Pool<[ContainerPort]>,
}

impl Interner {
    pub(crate) fn string(&mut self, string: &Arc<str>) -> Arc<str> {
        self.strings.get(string)
    }

    pub(crate) fn labels(&mut self, labels: &Arc<Labels>) -> Arc<Labels> {
        if let Some(known) = self.labels.find(labels) {
            return known;
        }
        let shared: Labels =
            labels.iter().map(|(k, v)| (self.strings.get(k), self.strings.get(v))).collect();
        self.labels.get(&Arc::new(shared))
    }

    /// Interns all of a pod except its own name, which no other object has.
    pub(crate) fn pod(&mut self, pod: &mut Pod) {
        pod.namespace = self.string(&pod.namespace);
        pod.node = pod.node.take().map(|node| self.string(&node));
        pod.labels = self.labels(&pod.labels);
        pod.ports = self.ports.get(&pod.ports);
    }

    /// Interns all of a policy except its own name, and releases unused capacity of its lists.
    pub(crate) fn policy(&mut self, policy: &mut Policy) {
        policy.key.namespace = self.string(&policy.key.namespace);
        self.selector(&mut policy.subjects);
        for rules in [&mut policy.ingress, &mut policy.egress] {
            rules.shrink_to_fit();
            rules.iter_mut().for_each(|rule| self.rule(rule));
        }
    }

    fn rule(&mut self, rule: &mut PolicyRule) {
        if let Peers::AnyOf(peers) = &mut rule.peers {
            peers.shrink_to_fit();
            for peer in peers {
                match peer {
                    Peer::Pods { namespaces, pods } => {
                        if let Namespaces::Selected(selector) = namespaces {
                            self.selector(selector);
                        }
                        self.selector(pods);
                    }
                    Peer::Block(block) => block.except.shrink_to_fit(),
                }
            }
        }
        if let Ports::AnyOf(matches) = &mut rule.ports {
            matches.shrink_to_fit();
            for m in matches {
                if let PortSpec::Named(name) = &mut m.port {
                    *name = self.string(name);
                }
            }
        }
    }

    fn selector(&mut self, selector: &mut Selector) {
        selector.requirements.shrink_to_fit();
        for requirement in &mut selector.requirements {
            requirement.key = self.string(&requirement.key);
            if let Operator::In(values) | Operator::NotIn(values) = &mut requirement.operator {
                values.shrink_to_fit();
                values.iter_mut().for_each(|value| *value = self.string(value));
            }
        }
    }
}

#[derive(Debug)]
struct Pool<T: ?Sized> {
    items: HashSet<Arc<T>>,
    /// The number of items at which unused items are removed. It is twice the number that was left by the previous removal,
    /// so that the cost for each insertion is constant.
    sweep_at: usize,
}

const FIRST_SWEEP: usize = 1024;

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Self {
        Self { items: HashSet::new(), sweep_at: FIRST_SWEEP }
    }
}

impl<T: Hash + Eq + ?Sized> Pool<T> {
    fn find(&self, item: &Arc<T>) -> Option<Arc<T>> {
        self.items.get(item).cloned()
    }

    fn get(&mut self, item: &Arc<T>) -> Arc<T> {
        if let Some(known) = self.find(item) {
            return known;
        }
        if self.items.len() >= self.sweep_at {
            self.items.retain(|item| Arc::strong_count(item) > 1);
            self.sweep_at = FIRST_SWEEP.max(self.items.len() * 2);
        }
        self.items.insert(Arc::clone(item));
        Arc::clone(item)
    }
}
