//! Policies that add nothing beside another one. Only those with the same podSelector are compared, and rules as they are
//! written, so that what is reported is certain.

use std::collections::HashMap;

use super::code::Code;
use super::finding::Report;
use super::words::finding;
use crate::model::{Direction, Isolation, Peers, Policy, PolicyRule, Ports, Selector};

/// Policies with the same rule that one is compared with.
const MOST_COMPARED: usize = 16;

/// A rule of a direction.
type Rule<'s> = (Direction, &'s PolicyRule);

/// Policies of one namespace with the same podSelector.
#[derive(Debug, Default)]
struct Group<'s> {
    policies: Vec<&'s Policy>,
    /// The policies that have a rule.
    with: HashMap<Rule<'s>, Vec<usize>>,
    /// The policies that allow everything, by direction.
    open: HashMap<Direction, Vec<usize>>,
}

/// `policies` are sorted by name.
pub(super) fn check(policies: &[&Policy], report: &mut Report) {
    let mut places: HashMap<(&str, &Selector), usize> = HashMap::new();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for policy in policies {
        let key = (&*policy.key.namespace, &policy.subjects);
        let at = *places.entry(key).or_insert(groups.len());
        if at == groups.len() {
            groups.push(Group::default());
        }
        groups.get_mut(at).into_iter().for_each(|group| group.enter(policy));
    }
    for group in groups.iter().filter(|group| group.policies.len() > 1) {
        group.check(report);
    }
}

fn rules(policy: &Policy) -> impl Iterator<Item = Rule<'_>> {
    Direction::ALL
        .into_iter()
        .flat_map(|direction| policy.rules(direction).iter().map(move |rule| (direction, rule)))
}

fn is_open((_, rule): Rule<'_>) -> bool {
    rule.peers == Peers::Everyone && rule.ports == Ports::Every
}

/// Whether one isolates wherever the other does.
fn covers(isolates: Isolation, other: Isolation) -> bool {
    (isolates.ingress || !other.ingress) && (isolates.egress || !other.egress)
}

impl<'s> Group<'s> {
    fn enter(&mut self, policy: &'s Policy) {
        let at = self.policies.len();
        self.policies.push(policy);
        for rule in rules(policy) {
            let with = self.with.entry(rule).or_default();
            if with.last() != Some(&at) {
                with.push(at);
            }
            if is_open(rule) {
                self.open.entry(rule.0).or_default().push(at);
            }
        }
    }

    fn check(&self, report: &mut Report) {
        for (at, policy) in self.policies.iter().enumerate() {
            // A policy without rules is the ground that others stand on, and worth its own object.
            let Some(wider) = self.wider(at, policy) else { continue };
            let message =
                format!("allows nothing that {} does not allow to the same pods", wider.key);
            report.add_to(policy, finding(Code::Subsumed, policy, "spec".into(), &message));
        }
    }

    /// Another policy that allows all that this one does. Of two that are equal, the first by name stays.
    fn wider(&self, at: usize, policy: &Policy) -> Option<&'s Policy> {
        let lists = rules(policy).map(|rule| {
            let with = self.with.get(&rule).map_or(&[][..], Vec::as_slice);
            let open = self.open.get(&rule.0).map_or(&[][..], Vec::as_slice);
            (with, open)
        });
        // Who allows all allows the rule that the fewest others allow.
        let (with, open) = lists.min_by_key(|(with, open)| with.len() + open.len())?;
        let candidates = with.iter().chain(open).filter(|other| **other != at).take(MOST_COMPARED);
        let mut candidates =
            candidates.filter_map(|other| Some((*other, *self.policies.get(*other)?)));
        let found = candidates.find(|(other, wider)| {
            self.is_within(policy, *other, wider)
                && (*other < at || !self.is_within(wider, at, policy))
        });
        found.map(|(_, wider)| wider)
    }

    /// Whether `wider`, at `other`, isolates wherever the policy does and has all its rules.
    fn is_within(&self, policy: &Policy, other: usize, wider: &Policy) -> bool {
        let has = |rule: Rule<'_>| {
            let among = |lists: Option<&Vec<usize>>| {
                lists.is_some_and(|list| list.binary_search(&other).is_ok())
            };
            among(self.with.get(&rule)) || among(self.open.get(&rule.0))
        };
        covers(wider.isolates, policy.isolates) && rules(policy).all(has)
    }
}
