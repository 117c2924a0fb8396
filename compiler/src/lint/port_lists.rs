//! The entries of `ports` by themselves: protocols that are missing, and ranges that restrict nothing or stand twice.

use std::collections::{HashMap, HashSet};

use super::code::Code;
use super::finding::Report;
use super::rules::DNS_PORT;
use super::words::{finding, port_field};
use crate::explain::PortsOf;
use crate::model::{Direction, Policy, PortMatch, PortSpec, Ports, Protocol, Selector};
use crate::snapshot::Snapshot;

/// The podSelectors of the policies that allow UDP port 53 for egress, by namespace.
#[derive(Debug)]
pub(super) struct UdpDns<'s>(HashMap<&'s str, HashSet<&'s Selector>>);

/// Selectors of a namespace that one is compared with. Beyond, nothing is claimed.
const MOST_SELECTORS: usize = 64;

impl<'s> UdpDns<'s> {
    pub(super) fn of(snapshot: &'s Snapshot) -> Self {
        let allow = snapshot.policies().filter(|policy| {
            policy.egress.iter().any(|rule| match &rule.ports {
                Ports::Every => true,
                Ports::AnyOf(ports) => ports.iter().any(|port| holds_dns(port, Protocol::Udp)),
            })
        });
        let mut selectors: HashMap<&str, HashSet<&Selector>> = HashMap::new();
        for policy in allow {
            selectors.entry(&policy.key.namespace).or_default().insert(&policy.subjects);
        }
        Self(selectors)
    }

    /// Whether a policy for the same pods, or for more, may allow it.
    fn covers(&self, policy: &Policy) -> bool {
        let Some(selectors) = self.0.get(policy.key.namespace.as_ref()) else { return false };
        let subjects = &policy.subjects;
        if selectors.len() > MOST_SELECTORS || selectors.contains(subjects) {
            return true;
        }
        // Who asks for fewer labels selects more.
        let is_asked = |requirement| subjects.requirements.contains(requirement);
        selectors.iter().any(|wider| wider.requirements.iter().all(is_asked))
    }
}

/// Whether a number in the entry is, or a name may be, that of DNS.
fn holds_dns(port: &PortMatch, protocol: Protocol) -> bool {
    port.protocol == protocol
        && match &port.port {
            PortSpec::Any | PortSpec::Named(_) => true,
            PortSpec::Range { first, last } => (*first..=*last).contains(&DNS_PORT),
        }
}

pub(super) fn check(udp: &UdpDns<'_>, policy: &Policy, report: &mut Report) {
    for direction in Direction::ALL {
        for (rule, each) in policy.rules(direction).iter().enumerate() {
            let Ports::AnyOf(ports) = &each.ports else { continue };
            let mut found = |code, at, message: &str| {
                let field = port_field(direction, rule, at);
                report.add_to(policy, finding(code, policy, field, message));
            };
            for (at, port) in ports.iter().enumerate() {
                if direction == Direction::Egress && is_dns_by_tcp(port) && !udp.covers(policy) {
                    let message =
                        "allows port 53 for TCP, and no policy for these pods allows it for UDP";
                    found(Code::DnsWithoutUdp, at, message);
                }
                if matches!(port.port, PortSpec::Range { first: 1, last: u16::MAX }) {
                    let message = format!("holds every {} port", port.protocol);
                    found(Code::WholeRange, at, &message);
                }
            }
            for (at, within) in allowed_twice(ports) {
                let Some(wider) = ports.get(within) else { continue };
                let text = PortsOf(wider.protocol, &wider.port);
                let message = format!("lies within ports[{within}] of the same rule ({text})");
                found(Code::PortAllowedTwice, at, &message);
            }
        }
    }
}

fn is_dns_by_tcp(port: &PortMatch) -> bool {
    let only = PortSpec::Range { first: DNS_PORT, last: DNS_PORT };
    port.protocol == Protocol::Tcp && port.port == only
}

/// The entries that lie within another one, with that one, in the order of the list.
fn allowed_twice(ports: &[PortMatch]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for protocol in Protocol::ALL {
        let mut ranges: Vec<(u16, u16, usize)> = Vec::new();
        for (at, port) in ports.iter().enumerate().filter(|(_, port)| port.protocol == protocol) {
            match port.port {
                PortSpec::Any => ranges.push((0, u16::MAX, at)),
                PortSpec::Range { first, last } => ranges.push((first, last, at)),
                PortSpec::Named(_) => {}
            }
        }
        // The wider first of those that begin alike, and of equal ones the first that was written.
        ranges.sort_unstable_by_key(|&(first, last, at)| (first, u16::MAX - last, at));
        let mut widest: Option<(u16, usize)> = None;
        for (_, last, at) in ranges {
            match widest {
                Some((end, within)) if last <= end => found.push((at, within)),
                Some(_) | None => widest = Some((last, at)),
            }
        }
    }
    found.sort_unstable();
    found
}
