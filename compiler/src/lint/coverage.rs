//! By which policies the pods are isolated, in which directions.

use super::dns::Resolver;
use super::survey::{KindAt, Survey};
use crate::model::{Direction, Policy};

/// What all policies of a pod come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) ingress: bool,
    pub(super) egress: bool,
    /// A rule allows DNS queries to the cluster's resolver.
    pub(super) dns: bool,
    /// The first policy with a rule for egress, by its place in the list.
    pub(super) first_egress: Option<usize>,
}

impl Standing {
    fn of(at: usize, policy: &Policy, resolver: Option<&Resolver<'_>>) -> Self {
        let has_egress = policy.isolates.egress && !policy.egress.is_empty();
        Self {
            ingress: policy.isolates.ingress,
            egress: policy.isolates.egress,
            dns: has_egress && resolver.is_some_and(|resolver| resolver.is_allowed_by(policy)),
            first_egress: has_egress.then_some(at),
        }
    }

    fn with(self, other: Self) -> Self {
        let first = [self.first_egress, other.first_egress].into_iter().flatten().min();
        Self {
            ingress: self.ingress | other.ingress,
            egress: self.egress | other.egress,
            dns: self.dns | other.dns,
            first_egress: first,
        }
    }

    pub(super) fn is_isolated(&self) -> bool {
        self.ingress || self.egress
    }

    /// The direction in which it is isolated, if that is only one.
    pub(super) fn only_direction(&self) -> Option<Direction> {
        match (self.ingress, self.egress) {
            (true, false) => Some(Direction::Ingress),
            (false, true) => Some(Direction::Egress),
            (true, true) | (false, false) => None,
        }
    }
}

/// The standing of each kind of pods.
#[derive(Debug)]
pub(super) struct Coverage(Vec<Standing>);

impl Coverage {
    /// `policies` are all policies of the snapshot.
    pub(super) fn of<'s>(
        survey: &Survey<'s>,
        policies: &[&'s Policy],
        resolver: Option<&Resolver<'_>>,
    ) -> Self {
        let mut kinds = vec![Standing::default(); survey.kinds.len()];
        // Of policies that select all of a namespace, which may be many, each counts once.
        let mut whole = vec![Standing::default(); survey.namespaces.len()];
        for (at, policy) in policies.iter().enumerate() {
            let Some(namespace) = survey.namespace_at(&policy.key.namespace) else { continue };
            let standing = Standing::of(at, policy, resolver);
            if policy.subjects.requirements.is_empty() {
                whole.get_mut(namespace).into_iter().for_each(|all| *all = all.with(standing));
                continue;
            }
            let within = survey.kinds_of(&policy.key.namespace);
            for (kind, _) in survey.select(within, &policy.subjects) {
                kinds.get_mut(kind).into_iter().for_each(|own| *own = own.with(standing));
            }
        }
        for (standing, kind) in kinds.iter_mut().zip(&survey.kinds) {
            let all = whole.get(kind.namespace).copied().unwrap_or_default();
            *standing = standing.with(all);
        }
        Self(kinds)
    }

    pub(super) fn standing(&self, kind: KindAt) -> Standing {
        self.0.get(kind).copied().unwrap_or_default()
    }
}
