//! Whole rules: those that allow more than they look, and those that stand twice.

use std::collections::HashMap;

use super::code::Code;
use super::finding::Report;
use super::words::{finding, rule_field};
use crate::explain::{PortsOf, peers_field};
use crate::model::{Direction, Peers, Policy, PolicyRule, PortMatch, PortSpec, Ports};
use crate::wording::listed;

pub(super) fn check(policy: &Policy, report: &mut Report) {
    for direction in Direction::ALL {
        let rules = policy.rules(direction);
        let everything = rules.iter().position(allows_everything);
        if let Some(at) = everything.filter(|_| rules.len() > 1) {
            let message =
                "allows everything, so that the other rules in this direction add nothing";
            let field = rule_field(direction, at);
            report.add_to(policy, finding(Code::RuleAllowsEverything, policy, field, message));
            continue;
        }
        for_everyone(policy, direction, report);
        repeated(policy, direction, report);
    }
}

fn allows_everything(rule: &PolicyRule) -> bool {
    rule.peers == Peers::Everyone && rule.ports == Ports::Every
}

fn for_everyone(policy: &Policy, direction: Direction, report: &mut Report) {
    for (at, rule) in policy.rules(direction).iter().enumerate() {
        // Names are resolved by whoever does it, inside the cluster or outside.
        if rule.peers != Peers::Everyone || (direction == Direction::Egress && is_dns(&rule.ports))
        {
            continue;
        }
        let does = match direction {
            Direction::Ingress => "may connect",
            Direction::Egress => "may be connected to",
        };
        let end = peers_field(direction);
        let on = ports_text(&rule.ports);
        let message =
            format!("has no {end}: every address {does}, also outside the cluster, on {on}");
        let field = rule_field(direction, at);
        report.add_to(policy, finding(Code::RuleForEveryone, policy, field, &message));
    }
}

/// The port of DNS, over UDP and TCP.
pub(super) const DNS_PORT: u16 = 53;

fn is_dns(ports: &Ports) -> bool {
    let is_dns =
        |port: &PortMatch| port.port == PortSpec::Range { first: DNS_PORT, last: DNS_PORT };
    matches!(ports, Ports::AnyOf(ports) if ports.iter().all(is_dns))
}

/// Entries of ports that are written out; the rest is counted.
const MOST_PORTS: usize = 3;

fn ports_text(ports: &Ports) -> String {
    let Ports::AnyOf(ports) = ports else { return "every port".to_owned() };
    let named = ports.iter().take(MOST_PORTS).map(|port| PortsOf(port.protocol, &port.port));
    listed(named, ports.len())
}

fn repeated(policy: &Policy, direction: Direction, report: &mut Report) {
    let rules = policy.rules(direction);
    if rules.len() < 2 {
        return;
    }
    let mut first: HashMap<&PolicyRule, usize> = HashMap::with_capacity(rules.len());
    for (at, rule) in rules.iter().enumerate() {
        let Some(before) = first.get(rule) else {
            first.insert(rule, at);
            continue;
        };
        let message = format!("is the same rule as {}", rule_field(direction, *before));
        let field = rule_field(direction, at);
        report.add_to(policy, finding(Code::RepeatedRule, policy, field, &message));
    }
}
