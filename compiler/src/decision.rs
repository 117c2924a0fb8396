//! The verdict on a connection, with the policies and rules behind it.

use std::fmt;

use crate::model::{Direction, PolicyKey, Verdict};

/// The verdict on a connection, and the reason of each of its ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// By the policies of the pod that opens the connection.
    pub egress: DirectionDecision,
    /// By the policies of the pod that is connected to.
    pub ingress: DirectionDecision,
    /// Allowed only if both directions allow it.
    pub verdict: Verdict,
}

impl Decision {
    pub(crate) fn of(egress: Reason, ingress: Reason) -> Self {
        let [egress, ingress] =
            [egress, ingress].map(|reason| DirectionDecision { verdict: reason.verdict(), reason });
        let verdict = egress.verdict.and(ingress.verdict);
        Self { egress, ingress, verdict }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectionDecision {
    pub verdict: Verdict,
    pub reason: Reason,
}

/// Why a direction allows or denies a connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The address of this end is no pod's own, so that no policy applies to it.
    NotAPod,
    /// No policy isolates the pod in this direction.
    NotIsolated,
    /// At least one rule allows it. The list has all rules that do, sorted by policy and place.
    Allowed { by: Vec<RuleRef> },
    /// The pod is isolated by these policies, and none of their rules allows it.
    Denied { isolated_by: Vec<PolicyKey> },
    /// Between a pod and its own node (`NetworkPolicyIngressRule`: "traffic from the pod's local node").
    OwnNode,
    /// A pod always reaches itself.
    Itself,
}

impl Reason {
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Denied { .. } => Verdict::Deny,
            Self::NotAPod
            | Self::NotIsolated
            | Self::Allowed { .. }
            | Self::OwnNode
            | Self::Itself => Verdict::Allow,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPod => f.write_str("not a pod"),
            Self::NotIsolated => f.write_str("not isolated"),
            Self::Allowed { by } => write!(f, "allowed by {}", list(by)),
            Self::Denied { isolated_by } => write!(f, "isolated by {}", list(isolated_by)),
            Self::OwnNode => f.write_str("own node"),
            Self::Itself => f.write_str("itself"),
        }
    }
}

fn list(items: &[impl fmt::Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A rule of a policy: `spec.ingress[rule]` or `spec.egress[rule]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleRef {
    pub policy: PolicyKey,
    pub direction: Direction,
    pub rule: usize,
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}[{}]", self.policy, self.direction, self.rule)
    }
}
