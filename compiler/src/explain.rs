//! A connection -> its verdict with all reasons, as data and as sentences.
//!
//! ```text
//! Snapshot -> Judge (policies of a pod -> rules that allow) -> explain -> Explanation
//!                                                                |
//!                                nearest (rule -> nearest entry) +-> difference (entry -> what differs) -> words
//! ```
//!
//! The verdict is the matrix's (`compile::Judge`): peer sets and contributions, as the program is made of them. Where a rule
//! does not allow the connection, the entry of its peers and of its ports that comes nearest is named, with the label,
//! namespace, block, port or protocol that differs. Which single changes would turn the verdict, `edits` says.

mod difference;
mod edit;
mod edits;
mod end;
mod excerpt;
mod mending;
mod nearest;
mod reached_by;
mod service;
mod words;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

pub use difference::{PeerDifference, PortDifference};
pub use edit::{Edit, LabelEdit};
pub use edits::{Edits, MAX_EDITS, edits, mending};
pub use end::{End, ObjectName, Owner};
pub use excerpt::{excerpt, excerpt_of};
pub use nearest::{PeerMiss, PortMiss, RuleMiss};
pub use reached_by::{ReachingService, reached_by, service_at};
pub use service::{Backend, Named, PortQuery, ServiceError, Translation, by_name, translate};
pub(crate) use words::peers_field;
pub use words::{Needed, PortsOf};

use crate::compile::{Judge, Standing};
use crate::decision::{Decision, Reason, RuleRef};
use crate::model::{
    Connection, Direction, IpBlock, Isolation, Peer, Peers, Policy, PolicyKey, Selector, Verdict,
};
use crate::snapshot::Snapshot;
use difference::PeerView;
use nearest::Meeting;

/// What becomes of a connection, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub connection: Connection,
    pub from: End,
    pub to: End,
    /// By the policies of `from`, if it is a pod.
    pub egress: Side,
    /// By the policies of `to`, if it is a pod.
    pub ingress: Side,
}

impl Explanation {
    /// Allowed only if both directions allow it.
    pub fn verdict(&self) -> Verdict {
        self.egress.verdict().and(self.ingress.verdict())
    }

    /// The same without what only people need.
    pub fn decision(&self) -> Decision {
        Decision::of(self.egress.decision_reason(), self.ingress.decision_reason())
    }
}

/// One direction, judged by the policies of its subject: `from` for egress, `to` for ingress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    pub direction: Direction,
    pub subject: End,
    pub outcome: Outcome,
    /// The policies that isolate the subject in this direction, sorted.
    pub isolated_by: Vec<PolicyKey>,
    /// Those of them that have wrong fields, and so allow nothing.
    pub faults: Vec<Fault>,
    /// Rules with an `ipBlock` that holds the Service's address that the client uses. Empty if there is no Service.
    pub service_blocks: Vec<ServiceBlock>,
    /// Of a node's address: pods on the host's network that policies select by their labels, which does not isolate them. At most
    /// `MAX_POLICIES`.
    pub host_selections: Vec<HostSelection>,
}

/// Why a direction allows or denies the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The subject's address is no pod's own.
    NotAPod,
    NotIsolated,
    /// The peer is the node that the pod runs on.
    OwnNode,
    /// The peer is the pod itself.
    Itself,
    /// All rules that allow it, sorted.
    Allowed(Vec<Allowance>),
    Denied {
        /// What the policies' rules would have needed, the nearest first; at most `MAX_POLICIES`.
        misses: Vec<PolicyMiss>,
        /// How many policies more there are.
        further: usize,
    },
}

/// A rule that allows the connection, and by which of its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    pub rule: RuleRef,
    /// The first entry of `from` or `to` that matches; `None` where the rule is for everyone.
    pub peers: Option<usize>,
    /// The first entry of `ports` that matches; `None` where the rule is for every port and protocol.
    pub ports: Option<usize>,
}

impl Allowance {
    /// The `ipBlock` that it allows by; `None` where a selector or everyone is meant.
    pub fn block<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s IpBlock> {
        let RuleRef { policy, direction, rule } = &self.rule;
        let rule = snapshot.policy(policy)?.rules(*direction).get(*rule)?;
        let Peers::AnyOf(entries) = &rule.peers else { return None };
        match entries.get(self.peers?)? {
            Peer::Block(block) => Some(block),
            Peer::Pods { .. } => None,
        }
    }
}

/// A policy that isolates the subject and does not allow the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyMiss {
    pub policy: PolicyKey,
    pub direction: Direction,
    /// The nearest first; at most `MAX_RULES`. Empty where the policy has no rule in this direction.
    pub rules: Vec<RuleMiss>,
    /// How many rules more there are.
    pub further: usize,
}

/// A policy with wrong fields: it isolates what could be read of it, and allows nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub policy: PolicyKey,
    /// The first thing that is wrong.
    pub message: Arc<str>,
    pub subjects: Selector,
    pub isolates: Isolation,
}

/// An `ipBlock` of an egress rule over a Service's address. It never matches there, since the address is translated before
/// policy is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceBlock {
    pub rule: RuleRef,
    /// The place in the rule's `to`.
    pub entry: usize,
    pub cidr: IpNet,
    /// The Service's address.
    pub address: IpAddr,
}

/// A policy whose `podSelector` matches the labels of a pod on the host's network. Policies do not apply to such pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSelection {
    pub policy: PolicyKey,
    pub pod: ObjectName,
}

/// Policies whose rules are named in an explanation; the rest is counted.
pub const MAX_POLICIES: usize = 100;
/// Rules of a policy that are named in an explanation; the rest is counted.
pub const MAX_RULES: usize = 20;

/// Explains the verdict on a connection. `service` is the Service's address that the client connects to, if the
/// connection is one to a backend that it was translated to (`translate`).
pub fn explain(
    judge: &mut Judge<'_>,
    connection: &Connection,
    service: Option<IpAddr>,
) -> Explanation {
    let snapshot = judge.snapshot();
    let from = End::at(snapshot, connection.from);
    let to = End::at(snapshot, connection.to);
    let mut side = |direction| {
        let standing = judge.standing(connection, direction);
        let question = Question { connection, from: &from, to: &to, direction, service };
        question.answer(judge.snapshot(), standing)
    };
    let (egress, ingress) = (side(Direction::Egress), side(Direction::Ingress));
    Explanation { connection: *connection, from, to, egress, ingress }
}

impl Side {
    fn decision_reason(&self) -> Reason {
        match &self.outcome {
            Outcome::NotAPod => Reason::NotAPod,
            Outcome::NotIsolated => Reason::NotIsolated,
            Outcome::OwnNode => Reason::OwnNode,
            Outcome::Itself => Reason::Itself,
            Outcome::Allowed(by) => {
                Reason::Allowed { by: by.iter().map(|allowance| allowance.rule.clone()).collect() }
            }
            Outcome::Denied { .. } => Reason::Denied { isolated_by: self.isolated_by.clone() },
        }
    }
}

/// One direction of a connection.
#[derive(Clone, Copy)]
struct Question<'a> {
    connection: &'a Connection,
    from: &'a End,
    to: &'a End,
    direction: Direction,
    service: Option<IpAddr>,
}

impl Question<'_> {
    fn answer(self, snapshot: &Snapshot, standing: Standing) -> Side {
        let (subject, peer) = match self.direction {
            Direction::Egress => (self.from, self.to),
            Direction::Ingress => (self.to, self.from),
        };
        let mut side = Side {
            direction: self.direction,
            subject: subject.clone(),
            outcome: Outcome::NotAPod,
            isolated_by: Vec::new(),
            faults: Vec::new(),
            service_blocks: Vec::new(),
            host_selections: Vec::new(),
        };
        let (policies, allowing) = match standing {
            Standing::NotAPod => {
                let host_selections = host_selections(snapshot, subject, self.direction);
                return Side { host_selections, ..side };
            }
            Standing::NotIsolated => return Side { outcome: Outcome::NotIsolated, ..side },
            Standing::OwnNode => return Side { outcome: Outcome::OwnNode, ..side },
            Standing::Itself => return Side { outcome: Outcome::Itself, ..side },
            Standing::Isolated { policies, allowing } => (policies, allowing),
        };
        side.isolated_by = policies.iter().map(|policy| policy.key.clone()).collect();
        side.faults = policies.iter().filter_map(|policy| fault(policy)).collect();
        side.service_blocks = self.service_blocks(&policies);
        let views = [peer, self.to].map(|end| PeerView::of(snapshot, end));
        side.outcome = if allowing.is_empty() {
            self.denied(&policies, views)
        } else {
            Outcome::Allowed(self.allowances(&policies, allowing, views))
        };
        side
    }

    fn meet(&self, policy: &Policy, rule: usize, views: [PeerView<'_>; 2]) -> Option<Meeting> {
        let [peer, destination] = views;
        let rule = policy.rules(self.direction).get(rule)?;
        Some(Meeting::of(rule, &policy.key.namespace, self.connection, peer, destination))
    }

    fn allowances(
        &self,
        policies: &[Arc<Policy>],
        allowing: Vec<RuleRef>,
        views: [PeerView<'_>; 2],
    ) -> Vec<Allowance> {
        let allowance = |rule: RuleRef| {
            let at = policies.binary_search_by(|policy| policy.key.cmp(&rule.policy)).ok();
            let policy = at.and_then(|at| policies.get(at));
            let meeting = policy.and_then(|policy| self.meet(policy, rule.rule, views));
            let (peers, ports) = meeting.map_or((None, None), |meeting| {
                (
                    meeting.peers.ok().and_then(|m| m.entry()),
                    meeting.ports.ok().and_then(|m| m.entry()),
                )
            });
            Allowance { rule, peers, ports }
        };
        allowing.into_iter().map(allowance).collect()
    }

    fn denied(&self, policies: &[Arc<Policy>], views: [PeerView<'_>; 2]) -> Outcome {
        let mut misses: Vec<PolicyMiss> = policies
            .iter()
            .map(|policy| {
                let rules = 0..policy.rules(self.direction).len();
                let miss = |rule| Some(self.meet(policy, rule, views)?.miss(rule));
                let mut rules: Vec<RuleMiss> = rules.filter_map(miss).collect();
                rules.sort_by_key(RuleMiss::distance);
                let further = rules.len().saturating_sub(MAX_RULES);
                rules.truncate(MAX_RULES);
                let (policy, direction) = (policy.key.clone(), self.direction);
                PolicyMiss { policy, direction, rules, further }
            })
            .collect();
        let distance =
            |miss: &PolicyMiss| miss.rules.first().map_or(usize::MAX, RuleMiss::distance);
        misses.sort_by_key(distance);
        let further = misses.len().saturating_sub(MAX_POLICIES);
        misses.truncate(MAX_POLICIES);
        Outcome::Denied { misses, further }
    }

    fn service_blocks(&self, policies: &[Arc<Policy>]) -> Vec<ServiceBlock> {
        let (Some(address), Direction::Egress) = (self.service, self.direction) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for policy in policies {
            for (at, rule) in policy.rules(self.direction).iter().enumerate() {
                let Peers::AnyOf(peers) = &rule.peers else { continue };
                for (entry, peer) in peers.iter().enumerate() {
                    if let Peer::Block(block) = peer
                        && block.contains(address)
                        && !block.contains(self.connection.to)
                    {
                        let (policy, direction) = (policy.key.clone(), self.direction);
                        let rule = RuleRef { policy, direction, rule: at };
                        found.push(ServiceBlock { rule, entry, cidr: block.cidr, address });
                    }
                }
            }
        }
        found.truncate(MAX_POLICIES);
        found
    }
}

fn host_selections(snapshot: &Snapshot, subject: &End, direction: Direction) -> Vec<HostSelection> {
    let pods = snapshot.host_pods(subject.address);
    let selections = pods.flat_map(|pod| {
        let policies = snapshot.policies_of(&pod.namespace);
        let selecting = policies.filter(|policy| {
            policy.isolates.in_direction(direction) && policy.subjects.matches(&pod.labels)
        });
        selecting
            .map(|policy| HostSelection { policy: policy.key.clone(), pod: ObjectName::of(pod) })
    });
    selections.take(MAX_POLICIES).collect()
}

fn fault(policy: &Policy) -> Option<Fault> {
    Some(Fault {
        policy: policy.key.clone(),
        message: Arc::clone(policy.fault.as_ref()?),
        subjects: policy.subjects.clone(),
        isolates: policy.isolates,
    })
}
