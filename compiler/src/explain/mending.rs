//! Edits that would make a rule allow a connection that it does not allow, and the reverse. Whether an edit turns the whole
//! verdict is for `edits` to try.

use std::sync::Arc;

use ipnet::IpNet;

use super::difference::{PeerDifference, PeerView, of_peer, of_port};
use super::edit::{Edit, LabelEdit};
use super::end::{End, ObjectName};
use super::nearest::{PeerMiss, RuleMiss};
use crate::decision::RuleRef;
use crate::model::{
    Connection, Direction, IpBlock, Isolation, Labels, NAMESPACE_NAME_LABEL, Namespaces, Operator,
    Peer, Peers, Pod, Policy, PolicyKey, PolicyRule, PortMatch, PortSpec, Ports, Protocol,
    Requirement, Selector,
};
use crate::snapshot::Snapshot;

/// Labels that controllers give to each pod anew: no policy should name them.
const OF_CONTROLLERS: [&str; 6] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "batch.kubernetes.io/controller-uid",
    "controller-uid",
];

/// The value of a label that only has to be there.
const ANY_VALUE: &str = "true";

/// One direction of a connection, of which rules are mended.
pub(super) struct Mending<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) connection: &'a Connection,
    pub(super) direction: Direction,
    /// The end that the rules' `from` or `to` is about.
    pub(super) peer: &'a End,
    pub(super) destination: &'a End,
}

impl Mending<'_> {
    fn pod(&self) -> Option<&Pod> {
        self.snapshot.owner(self.peer.address)
    }

    fn rule_ref(&self, policy: &PolicyKey, rule: usize) -> RuleRef {
        RuleRef { policy: policy.clone(), direction: self.direction, rule }
    }

    /// Edits that together make the rule allow the connection.
    pub(super) fn of_rule(&self, policy: &Policy, miss: &RuleMiss) -> Vec<Edit> {
        if miss.ports.is_some() && self.port().is_none() {
            return vec![self.another_rule(policy)];
        }
        let of_peers = miss.peers.as_ref().map(|peers| self.of_peers(policy, miss.rule, peers));
        let of_ports = miss.ports.as_ref().and_then(|_| self.another_port(policy, miss.rule));
        of_peers.into_iter().flatten().chain(of_ports).collect()
    }

    /// Edits that together make the rule's nearest entry match the peer, or another entry that does.
    fn of_peers(&self, policy: &Policy, rule: usize, miss: &PeerMiss) -> Vec<Edit> {
        let entry = entry(policy, self.direction, rule, miss.entry);
        let edits = match (entry, miss.differences.as_slice()) {
            (Some(Peer::Block(block)), [PeerDifference::Excepted { address, .. }]) => {
                let except = block.except.iter().filter(|net| net.contains(address));
                let except = except.copied().collect();
                let rule = self.rule_ref(&policy.key, rule);
                Some(vec![Edit::RemoveExcept { rule, entry: miss.entry, except }])
            }
            (Some(Peer::Pods { namespaces, pods }), _) => self.of_labels(policy, namespaces, pods),
            (Some(Peer::Block(_)) | None, _) => None,
        };
        edits.unwrap_or_else(|| vec![self.another_peer(policy, rule)])
    }

    /// Changes of labels that make the peer match; `None` where labels do not.
    fn of_labels(
        &self,
        policy: &Policy,
        namespaces: &Namespaces,
        pods: &Selector,
    ) -> Option<Vec<Edit>> {
        let pod = self.pod()?;
        let namespace = self.snapshot.namespace(&pod.namespace)?;
        let mut edits = Vec::new();
        match namespaces {
            Namespaces::Own if pod.namespace != policy.key.namespace => return None,
            Namespaces::Own => {}
            Namespaces::Selected(selector) => {
                let name = &namespace.name;
                let of_namespace =
                    |label| Edit::NamespaceLabel { namespace: Arc::clone(name), label };
                edits.extend(meeting(selector, &namespace.labels)?.into_iter().map(of_namespace));
            }
        }
        let of_pod = |label| Edit::PodLabel { pod: ObjectName::of(pod), label };
        edits.extend(meeting(pods, &pod.labels)?.into_iter().map(of_pod));
        Some(edits)
    }

    pub(super) fn another_peer(&self, policy: &Policy, rule: usize) -> Edit {
        let rule = self.rule_ref(&policy.key, rule);
        Edit::AddPeer { rule, peer: self.peer_entry(policy) }
    }

    /// The port of the connection as an entry; `None` where its protocol has none that a policy can name.
    fn port(&self) -> Option<PortMatch> {
        let protocol = Protocol::from_number(self.connection.protocol)?;
        let (first, last) = (self.connection.port, self.connection.port);
        // A policy can name the ports from 1 on.
        (first > 0).then_some(PortMatch { protocol, port: PortSpec::Range { first, last } })
    }

    fn another_port(&self, policy: &Policy, rule: usize) -> Option<Edit> {
        Some(Edit::AddPort { rule: self.rule_ref(&policy.key, rule), port: self.port()? })
    }

    pub(super) fn another_rule(&self, policy: &Policy) -> Edit {
        let ports = self.port().map_or(Ports::Every, |port| Ports::AnyOf(vec![port]));
        let peers = Peers::AnyOf(vec![self.peer_entry(policy)]);
        let (policy, direction) = (policy.key.clone(), self.direction);
        Edit::AddRule { policy, direction, rule: PolicyRule { peers, ports } }
    }

    /// An entry for the peer alone: by the labels of a pod, else by its address.
    fn peer_entry(&self, policy: &Policy) -> Peer {
        let pod = self.pod().filter(|pod| self.snapshot.namespace(&pod.namespace).is_some());
        let Some(pod) = pod else {
            return Peer::Block(IpBlock {
                cidr: IpNet::from(self.peer.address),
                except: Vec::new(),
            });
        };
        let namespaces = if pod.namespace == policy.key.namespace {
            Namespaces::Own
        } else {
            let requirement = requirement(NAMESPACE_NAME_LABEL.into(), &pod.namespace);
            Namespaces::Selected(Selector { requirements: vec![requirement] })
        };
        Peer::Pods { namespaces, pods: selector_of(&pod.labels) }
    }

    /// Edits each of which might make one of these rules, which all allow the connection, not allow it any more.
    pub(super) fn closing(&self, policy: &Policy, rule: usize, is_only: bool) -> Vec<Edit> {
        let Some(each) = policy.rules(self.direction).get(rule) else { return Vec::new() };
        let reference = || self.rule_ref(&policy.key, rule);
        let view = PeerView::of(self.snapshot, self.peer);
        let mut edits = Vec::new();
        if let Peers::AnyOf(peers) = &each.peers {
            let own = &policy.key.namespace;
            let matching = peers.iter().enumerate();
            let matching = matching.filter(|(_, peer)| of_peer(view, peer, own).is_empty());
            for (entry, peer) in matching {
                match peer {
                    Peer::Pods { namespaces, pods } => edits.extend(self.parting(namespaces, pods)),
                    Peer::Block(block) if block.cidr.prefix_len() < block.cidr.max_prefix_len() => {
                        let except = IpNet::from(self.peer.address);
                        edits.push(Edit::AddExcept { rule: reference(), entry, except });
                    }
                    Peer::Block(_) => {}
                }
                if peers.len() > 1 {
                    edits.push(Edit::RemovePeer { rule: reference(), entry });
                }
            }
        }
        if let Ports::AnyOf(ports) = &each.ports
            && ports.len() > 1
        {
            let destination = PeerView::of(self.snapshot, self.destination);
            let matching = ports.iter().enumerate();
            let matching =
                matching.filter(|(_, p)| of_port(self.connection, destination, p).is_none());
            edits.extend(matching.map(|(entry, _)| Edit::RemovePort { rule: reference(), entry }));
        }
        if is_only {
            edits.push(Edit::RemoveRule { rule: reference() });
        } else {
            // What takes one of several rules away leaves the others; labels may part the peer from all of them.
            edits.retain(|e| matches!(e, Edit::PodLabel { .. } | Edit::NamespaceLabel { .. }));
        }
        edits
    }

    /// Changes of one label each, after which the peer does not match.
    fn parting(&self, namespaces: &Namespaces, pods: &Selector) -> Vec<Edit> {
        let Some(pod) = self.pod() else { return Vec::new() };
        let mut edits: Vec<Edit> = labels_apart(pods, &pod.labels)
            .map(|label| Edit::PodLabel { pod: ObjectName::of(pod), label })
            .collect();
        if let (Namespaces::Selected(selector), Some(namespace)) =
            (namespaces, self.snapshot.namespace(&pod.namespace))
        {
            edits.extend(labels_apart(selector, &namespace.labels).map(|label| {
                Edit::NamespaceLabel { namespace: Arc::clone(&namespace.name), label }
            }));
        }
        edits
    }
}

fn entry(policy: &Policy, direction: Direction, rule: usize, at: usize) -> Option<&Peer> {
    match &policy.rules(direction).get(rule)?.peers {
        Peers::AnyOf(peers) => peers.get(at),
        Peers::Everyone => None,
    }
}

fn requirement(key: Arc<str>, value: &Arc<str>) -> Requirement {
    Requirement { key, operator: Operator::In(vec![Arc::clone(value)]) }
}

/// A selector of the pods with these labels, but for those that each pod has its own of.
fn selector_of(labels: &Labels) -> Selector {
    let lasting = labels.iter().filter(|(key, _)| !OF_CONTROLLERS.contains(&key.as_ref()));
    let requirements = lasting.map(|(key, value)| requirement(Arc::clone(key), value));
    Selector { requirements: requirements.collect() }
}

/// Changes of labels, of each key at most one, after which the labels meet the selector; `None` where no changes do that.
fn meeting(selector: &Selector, labels: &Labels) -> Option<Vec<LabelEdit>> {
    let unmet = selector.requirements.iter().filter(|requirement| !requirement.matches(labels));
    let mut keys: Vec<&Arc<str>> = unmet.map(|requirement| &requirement.key).collect();
    keys.sort_unstable();
    keys.dedup();
    let edit = |key: &Arc<str>| {
        let of_key = || selector.requirements.iter().filter(move |each| each.key == *key);
        let values = of_key().filter_map(|requirement| match &requirement.operator {
            Operator::In(values) => Some(values),
            Operator::NotIn(_) | Operator::Exists | Operator::DoesNotExist => None,
        });
        let wanted = values.flatten().cloned().map(Some);
        let mut candidates = wanted.chain([None, Some(ANY_VALUE.into())]);
        let is_met = |value: &Option<Arc<str>>| {
            let label: Labels = value.iter().map(|v| (Arc::clone(key), Arc::clone(v))).collect();
            of_key().all(|requirement| requirement.matches(&label))
        };
        // The API server sets this one.
        let value = candidates.find(|value| is_met(value) && **key != *NAMESPACE_NAME_LABEL)?;
        Some(LabelEdit { key: Arc::clone(key), value, found: labels.get(key).cloned() })
    };
    keys.into_iter().map(edit).collect()
}

/// Changes of one label each, after which the labels do not meet the selector any more.
fn labels_apart<'a>(
    selector: &'a Selector,
    labels: &'a Labels,
) -> impl Iterator<Item = LabelEdit> + 'a {
    let others = selector.requirements.iter().filter(|each| *each.key != *NAMESPACE_NAME_LABEL);
    others.map(|Requirement { key, operator }| {
        let value = match operator {
            Operator::In(_) | Operator::Exists => None,
            Operator::NotIn(values) => values.first().cloned(),
            Operator::DoesNotExist => Some(ANY_VALUE.into()),
        };
        LabelEdit { key: Arc::clone(key), value, found: labels.get(key).cloned() }
    })
}

/// A policy that isolates the pod, and its like, in the direction.
pub(super) fn isolating(snapshot: &Snapshot, pod: &Pod, direction: Direction) -> Option<Edit> {
    /// Names that are tried for the new policy.
    const MOST_NAMES: usize = 100;
    let (namespace, mut names) =
        (&pod.namespace, (0..MOST_NAMES).map(|n| format!("isolate-{}-{n}", pod.name)));
    let key = names.find_map(|name| {
        let key = PolicyKey { namespace: Arc::clone(namespace), name: name.into() };
        snapshot.policy(&key).is_none().then_some(key)
    })?;
    let isolates = Isolation {
        ingress: direction == Direction::Ingress,
        egress: direction == Direction::Egress,
    };
    let subjects = selector_of(&pod.labels);
    let (ingress, egress) = (Vec::new(), Vec::new());
    let policy =
        Policy { key, subjects, isolates, ingress, egress, fault: None, lint_ignore: None };
    Some(Edit::AddPolicy(Box::new(policy)))
}
