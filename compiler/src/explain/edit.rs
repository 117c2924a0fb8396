//! One change of one object, small enough for an author to make: applied to a snapshot, and in words.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use super::end::ObjectName;
use super::words::{PortsOf, peers_field, selected};
use crate::decision::RuleRef;
use crate::model::{
    Direction, Labels, NAMESPACE_NAME_LABEL, Namespace, Namespaces, Operator, Peer, Peers, Pod,
    Policy, PolicyKey, PolicyRule, PortMatch, Ports,
};
use crate::snapshot::{Change, Snapshot};

/// A change of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    PodLabel {
        pod: ObjectName,
        label: LabelEdit,
    },
    NamespaceLabel {
        namespace: Arc<str>,
        label: LabelEdit,
    },
    /// Another entry in a rule's `ports`.
    AddPort {
        rule: RuleRef,
        port: PortMatch,
    },
    /// One of several entries of a rule's `ports`.
    RemovePort {
        rule: RuleRef,
        entry: usize,
    },
    AddExcept {
        rule: RuleRef,
        entry: usize,
        except: IpNet,
    },
    RemoveExcept {
        rule: RuleRef,
        entry: usize,
        except: Vec<IpNet>,
    },
    /// Another entry in a rule's `from` or `to`.
    AddPeer {
        rule: RuleRef,
        peer: Peer,
    },
    /// One of several entries of a rule's `from` or `to`.
    RemovePeer {
        rule: RuleRef,
        entry: usize,
    },
    AddRule {
        policy: PolicyKey,
        direction: Direction,
        rule: PolicyRule,
    },
    RemoveRule {
        rule: RuleRef,
    },
    /// A policy that does not exist yet.
    AddPolicy(Box<Policy>),
}

/// A label that comes, goes or changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelEdit {
    pub key: Arc<str>,
    /// `None` takes the label away.
    pub value: Option<Arc<str>>,
    /// What it is now.
    pub found: Option<Arc<str>>,
}

impl LabelEdit {
    fn apply(&self, labels: &Labels) -> Arc<Labels> {
        let others = labels.iter().filter(|(key, _)| **key != self.key);
        let own = self.value.iter().map(|value| (&self.key, value));
        Arc::new(others.chain(own).map(|(k, v)| (Arc::clone(k), Arc::clone(v))).collect())
    }
}

impl Edit {
    /// What the edit changes in the snapshot, and what changes it back; `None` where its object is not there.
    pub fn changes(&self, snapshot: &Snapshot) -> Option<(Change, Change)> {
        match self {
            Self::PodLabel { pod, label } => {
                let old = snapshot.pod_named(&pod.namespace, &pod.name)?;
                let new = Pod { labels: label.apply(&old.labels), ..old.clone() };
                Some((Change::ApplyPod(new), Change::ApplyPod(old.clone())))
            }
            Self::NamespaceLabel { namespace, label } => {
                let old = snapshot.namespace(namespace)?;
                let new = Namespace { labels: label.apply(&old.labels), ..old.clone() };
                Some((Change::ApplyNamespace(new), Change::ApplyNamespace(old.clone())))
            }
            Self::AddPolicy(policy) => {
                let key = policy.key.clone();
                let is_new = snapshot.policy(&key).is_none();
                let policy = policy.as_ref().clone();
                is_new.then_some((Change::ApplyPolicy(policy), Change::DeletePolicy(key)))
            }
            _ => {
                let old = snapshot.policy(self.policy()?)?.as_ref();
                let mut new = old.clone();
                self.edit(&mut new)?;
                Some((Change::ApplyPolicy(new), Change::ApplyPolicy(old.clone())))
            }
        }
    }

    /// The policy that it changes.
    fn policy(&self) -> Option<&PolicyKey> {
        match self {
            Self::AddPort { rule, .. }
            | Self::RemovePort { rule, .. }
            | Self::AddExcept { rule, .. }
            | Self::RemoveExcept { rule, .. }
            | Self::AddPeer { rule, .. }
            | Self::RemovePeer { rule, .. }
            | Self::RemoveRule { rule } => Some(&rule.policy),
            Self::AddRule { policy, .. } => Some(policy),
            Self::AddPolicy(policy) => Some(&policy.key),
            Self::PodLabel { .. } | Self::NamespaceLabel { .. } => None,
        }
    }

    fn edit(&self, policy: &mut Policy) -> Option<()> {
        match self {
            Self::AddPort { rule, port } => match &mut rule_of(policy, rule)?.ports {
                Ports::AnyOf(ports) => ports.push(port.clone()),
                Ports::Every => return None,
            },
            Self::RemovePort { rule, entry } => match &mut rule_of(policy, rule)?.ports {
                Ports::AnyOf(ports) => remove_one(ports, *entry)?,
                Ports::Every => return None,
            },
            Self::AddPeer { rule, peer } => peers_of(policy, rule)?.push(peer.clone()),
            Self::RemovePeer { rule, entry } => remove_one(peers_of(policy, rule)?, *entry)?,
            Self::AddExcept { rule, entry, except } => {
                match peers_of(policy, rule)?.get_mut(*entry)? {
                    Peer::Block(block) => block.except.push(*except),
                    Peer::Pods { .. } => return None,
                }
            }
            Self::RemoveExcept { rule, entry, except } => {
                match peers_of(policy, rule)?.get_mut(*entry)? {
                    Peer::Block(block) => block.except.retain(|each| !except.contains(each)),
                    Peer::Pods { .. } => return None,
                }
            }
            Self::AddRule { direction, rule, .. } => {
                rules_of(policy, *direction).push(rule.clone())
            }
            Self::RemoveRule { rule } => {
                let rules = rules_of(policy, rule.direction);
                (rule.rule < rules.len()).then(|| rules.remove(rule.rule))?;
            }
            Self::PodLabel { .. } | Self::NamespaceLabel { .. } | Self::AddPolicy(_) => {
                return None;
            }
        }
        Some(())
    }

    /// What it changes, as in `NetworkPolicy shop/api`.
    pub fn object(&self) -> String {
        match self {
            Self::PodLabel { pod, .. } => format!("Pod {pod}"),
            Self::NamespaceLabel { namespace, .. } => format!("Namespace {namespace}"),
            _ => self.policy().map_or_else(String::new, |policy| format!("NetworkPolicy {policy}")),
        }
    }

    /// The field that it changes, as in `spec.ingress[0].ports`.
    pub fn field(&self) -> String {
        let of_rule = |rule: &RuleRef| format!("spec.{}[{}]", rule.direction, rule.rule);
        let of_peers =
            |rule: &RuleRef| format!("{}.{}", of_rule(rule), peers_field(rule.direction));
        match self {
            Self::PodLabel { .. } | Self::NamespaceLabel { .. } => "metadata.labels".to_owned(),
            Self::AddPort { rule, .. } => format!("{}.ports", of_rule(rule)),
            Self::RemovePort { rule, entry } => format!("{}.ports[{entry}]", of_rule(rule)),
            Self::AddExcept { rule, entry, .. } | Self::RemoveExcept { rule, entry, .. } => {
                format!("{}[{entry}].ipBlock.except", of_peers(rule))
            }
            Self::AddPeer { rule, .. } => of_peers(rule),
            Self::RemovePeer { rule, entry } => format!("{}[{entry}]", of_peers(rule)),
            Self::AddRule { direction, .. } => format!("spec.{direction}"),
            Self::RemoveRule { rule } => of_rule(rule),
            Self::AddPolicy(_) => "spec".to_owned(),
        }
    }

    /// How little it changes. The least is the smallest.
    pub(super) fn size(&self) -> u8 {
        match self {
            Self::PodLabel { .. } => 0,
            Self::NamespaceLabel { .. } => 1,
            Self::AddPort { .. } | Self::RemovePort { .. } => 2,
            Self::AddExcept { .. } | Self::RemoveExcept { .. } => 3,
            Self::AddPeer { .. } | Self::RemovePeer { .. } => 4,
            Self::AddRule { .. } | Self::RemoveRule { .. } => 5,
            Self::AddPolicy(_) => 6,
        }
    }
}

fn rules_of(policy: &mut Policy, direction: Direction) -> &mut Vec<PolicyRule> {
    match direction {
        Direction::Ingress => &mut policy.ingress,
        Direction::Egress => &mut policy.egress,
    }
}

fn rule_of<'p>(policy: &'p mut Policy, rule: &RuleRef) -> Option<&'p mut PolicyRule> {
    rules_of(policy, rule.direction).get_mut(rule.rule)
}

fn peers_of<'p>(policy: &'p mut Policy, rule: &RuleRef) -> Option<&'p mut Vec<Peer>> {
    match &mut rule_of(policy, rule)?.peers {
        Peers::AnyOf(peers) => Some(peers),
        Peers::Everyone => None,
    }
}

/// Removes an entry of several: a list without entries would mean everything.
fn remove_one<T>(list: &mut Vec<T>, at: usize) -> Option<()> {
    (list.len() > 1 && at < list.len()).then(|| list.remove(at))?;
    Some(())
}

/// `NetworkPolicy shop/api: add TCP port 80 to spec.ingress[0].ports`
impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::AddPolicy(policy) = self {
            return add_policy(policy, f);
        }
        let field = self.field();
        write!(f, "{}: ", self.object())?;
        match self {
            Self::PodLabel { label, .. } | Self::NamespaceLabel { label, .. } => label.fmt(f),
            Self::AddPort { port, .. } => {
                write!(f, "add {} to {field}", PortsOf(port.protocol, &port.port))
            }
            Self::AddExcept { except, .. } => write!(f, "add {except} to {field}"),
            Self::RemoveExcept { except, .. } => {
                let except: Vec<String> = except.iter().map(ToString::to_string).collect();
                write!(f, "remove {} from {field}", except.join(" and "))
            }
            Self::AddPeer { rule, peer } => {
                write!(f, "add {} to {field}", PeerIn(peer, &rule.policy.namespace))
            }
            Self::AddRule { policy, direction, rule } => {
                let rule = RuleFor { rule, own: &policy.namespace, direction: *direction };
                write!(f, "add to {field} a rule {rule}")
            }
            Self::RemovePort { .. } | Self::RemovePeer { .. } | Self::RemoveRule { .. } => {
                write!(f, "remove {field}")
            }
            Self::AddPolicy(_) => Ok(()),
        }
    }
}

fn add_policy(policy: &Policy, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let directions = Direction::ALL.into_iter().filter(|d| policy.isolates.in_direction(*d));
    let directions: Vec<String> = directions.map(|direction| direction.to_string()).collect();
    let subjects = selected(&policy.subjects, &policy.key.namespace);
    write!(f, "another NetworkPolicy that isolates {subjects} for {}", directions.join(" and "))
}

impl fmt::Display for LabelEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, found } = self;
        match (value, found) {
            (Some(value), Some(found)) => write!(f, "set the label {key}={value} (it is {found})"),
            (Some(value), None) => write!(f, "add the label {key}={value}"),
            (None, Some(found)) => write!(f, "remove the label {key} (it is {found})"),
            (None, None) => write!(f, "remove the label {key}"),
        }
    }
}

/// An entry of `from` or `to` of a policy in this namespace.
struct PeerIn<'a>(&'a Peer, &'a str);

impl fmt::Display for PeerIn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Peer::Block(block) => write!(f, "the ipBlock {}", block.cidr),
            Peer::Pods { namespaces: Namespaces::Own, pods } => {
                f.write_str(&selected(pods, self.1))
            }
            Peer::Pods { namespaces: Namespaces::Selected(selector), pods } => {
                let by_name = selector.requirements.iter().find_map(|requirement| {
                    match (&*requirement.key, &requirement.operator) {
                        (NAMESPACE_NAME_LABEL, Operator::In(values)) => values.first(),
                        _ => None,
                    }
                });
                f.write_str(&selected(pods, by_name.map_or("", |name| name)))
            }
        }
    }
}

/// A rule of a direction of a policy in this namespace.
struct RuleFor<'a> {
    rule: &'a PolicyRule,
    own: &'a str,
    direction: Direction,
}

impl fmt::Display for RuleFor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = peers_field(self.direction);
        match &self.rule.peers {
            Peers::Everyone => write!(f, "{field} everyone")?,
            Peers::AnyOf(peers) => {
                let peers: Vec<String> =
                    peers.iter().map(|peer| PeerIn(peer, self.own).to_string()).collect();
                write!(f, "{field} {}", peers.join(", "))?;
            }
        }
        match &self.rule.ports {
            Ports::Every => f.write_str(" on every port"),
            Ports::AnyOf(ports) => {
                let ports: Vec<String> =
                    ports.iter().map(|p| PortsOf(p.protocol, &p.port).to_string()).collect();
                write!(f, " on {}", ports.join(", "))
            }
        }
    }
}
