//! Reduces a failing list of changes to a smaller one that still fails.

use std::sync::Arc;

use crate::model::{Direction, Labels, Peer, Peers, Policy, PolicyRule, Ports};
use crate::snapshot::Change;

/// Leaves out as much as possible: first whole changes, then parts of objects.
pub(super) fn minimize(changes: &[Change], fails: impl Fn(&[Change]) -> bool) -> Vec<Change> {
    let mut least = changes.to_vec();
    while let Some(smaller) = candidates(&least).into_iter().find(|candidate| fails(candidate)) {
        least = smaller;
    }
    least
}

fn candidates(changes: &[Change]) -> Vec<Vec<Change>> {
    let mut found = Vec::new();
    // Halves, quarters and eighths come first, so that a long history shrinks fast.
    for part in [2, 4, 8] {
        let size = changes.len() / part;
        for at in (0..changes.len()).step_by(size.max(1)).filter(|_| size > 1) {
            let end = changes.len().min(at + size);
            found.push([&changes[..at], &changes[end..]].concat());
        }
    }
    for at in 0..changes.len() {
        found.push([&changes[..at], &changes[at + 1..]].concat());
    }
    for at in 0..changes.len() {
        for simpler in simpler(&changes[at]) {
            let mut copy = changes.to_vec();
            copy[at] = simpler;
            found.push(copy);
        }
    }
    found
}

fn simpler(change: &Change) -> Vec<Change> {
    match change {
        Change::ApplyPolicy(policy) => {
            simpler_policies(policy).into_iter().map(Change::ApplyPolicy).collect()
        }
        Change::ApplyPod(pod) => {
            let mut bare = pod.clone();
            bare.ports = Arc::new([]);
            let mut unlabelled = pod.clone();
            unlabelled.labels = Arc::new(Labels::default());
            [bare, unlabelled].into_iter().filter(|p| p != pod).map(Change::ApplyPod).collect()
        }
        Change::ApplyNamespace(_)
        | Change::DeleteNamespace(_)
        | Change::ApplyNode(_)
        | Change::DeleteNode(_)
        | Change::DeletePod { .. }
        | Change::DeletePolicy(_)
        | Change::ApplyService(_)
        | Change::DeleteService { .. }
        | Change::ApplyEndpointSlice(_)
        | Change::DeleteEndpointSlice { .. }
        | Change::BeginReset(_)
        | Change::Keep { .. }
        | Change::EndReset(_) => Vec::new(),
    }
}

fn without_each<T: Clone>(items: &[T]) -> impl Iterator<Item = Vec<T>> {
    (0..items.len()).map(|at| {
        let mut copy = items.to_vec();
        copy.remove(at);
        copy
    })
}

fn simpler_policies(policy: &Policy) -> Vec<Policy> {
    let subjects = without_each(&policy.subjects.requirements).map(|requirements| {
        let mut copy = policy.clone();
        copy.subjects.requirements = requirements;
        copy
    });
    let rules = Direction::ALL.into_iter().flat_map(|direction| {
        let rules = policy.rules(direction);
        let fewer = without_each(rules);
        let simpler = (0..rules.len()).flat_map(|at| {
            simpler_rules(&rules[at]).into_iter().map(move |rule| {
                let mut copy = rules.to_vec();
                copy[at] = rule;
                copy
            })
        });
        let all: Vec<Vec<PolicyRule>> = fewer.chain(simpler).collect();
        all.into_iter().map(move |rules| {
            let mut copy = policy.clone();
            match direction {
                Direction::Ingress => copy.ingress = rules,
                Direction::Egress => copy.egress = rules,
            }
            copy
        })
    });
    subjects.chain(rules).collect()
}

fn simpler_rules(rule: &PolicyRule) -> Vec<PolicyRule> {
    let mut found = Vec::new();
    if let Peers::AnyOf(peers) = &rule.peers {
        let fewer = without_each(peers).filter(|peers| !peers.is_empty());
        let narrower = (0..peers.len()).flat_map(|at| {
            let Peer::Block(block) = &peers[at] else { return Vec::new() };
            let fewer = without_each(&block.except).map(|except| {
                let mut copy = peers.clone();
                copy[at] = Peer::Block(crate::model::IpBlock { except, ..block.clone() });
                copy
            });
            fewer.collect()
        });
        found.extend(
            fewer
                .chain(narrower)
                .map(|peers| PolicyRule { peers: Peers::AnyOf(peers), ports: rule.ports.clone() }),
        );
    }
    if let Ports::AnyOf(ports) = &rule.ports {
        found.extend(
            without_each(ports)
                .filter(|ports| !ports.is_empty())
                .map(|ports| PolicyRule { peers: rule.peers.clone(), ports: Ports::AnyOf(ports) }),
        );
    }
    found
}
