//! The entries of `ports` beside the pods that are connected to: names and numbers that they do not have.

use super::code::Code;
use super::destinations::{Destinations, PortIndex};
use super::finding::{Finding, Report};
use super::near::edits;
use super::survey::{Kind, Survey};
use super::words::{self, finding, port_field};
use crate::model::{
    ContainerPort, Direction, Policy, PortMatch, PortSpec, Ports, Protocol, Service, TargetPort,
};

/// Kinds of pods that are compared with Services.
const MOST_KINDS: usize = 64;
/// Services of a namespace with the same port that are compared with pods.
const MOST_SERVICES: usize = 16;

pub(super) fn check<'s>(
    survey: &Survey<'s>,
    index: &PortIndex<'s>,
    policy: &'s Policy,
    report: &mut Report,
) {
    for direction in Direction::ALL {
        for (at, rule) in policy.rules(direction).iter().enumerate() {
            let Ports::AnyOf(ports) = &rule.ports else { continue };
            let destinations = Destinations { survey, index, policy, direction, rule };
            for (port_at, port) in ports.iter().enumerate() {
                let field = port_field(direction, at, port_at);
                if let Some(found) = destinations.check(port, field) {
                    report.add_to(policy, found);
                }
            }
        }
    }
}

impl Destinations<'_, '_> {
    fn check(&self, port: &PortMatch, field: String) -> Option<Finding> {
        match &port.port {
            PortSpec::Any => None,
            PortSpec::Named(name) => self.check_name(name, port.protocol, field),
            PortSpec::Range { first, last } if first == last => {
                let number = *first;
                self.check_protocol(number, port.protocol, field.clone())
                    .or_else(|| self.check_service(number, port.protocol, field))
            }
            PortSpec::Range { .. } => None,
        }
    }

    fn check_name(&self, name: &str, protocol: Protocol, field: String) -> Option<Finding> {
        if self.with_name(name, protocol).is_some() {
            return None;
        }
        self.kinds().next()?;
        let message = format!(
            "is for the {protocol} port named {name}, which none of the pods connected to has"
        );
        let near = self.kinds().take(MOST_KINDS).flat_map(Kind::named_ports).filter_map(|port| {
            let own = port.name.as_deref()?;
            let rank = if own == name { 0 } else { edits(name, own)?.max(1) };
            let same = port.protocol == protocol;
            Some((rank, !same, own, port))
        });
        let remedy = near.min().map(|(_, _, name, ContainerPort { protocol, port, .. })| {
            format!("Did you mean the {protocol} port {name}, which is {port}?")
        });
        Some(finding(Code::UnknownPortName, self.policy, field, &message).with_remedy(remedy))
    }

    /// Whether pods declare the number, and all that do declare it with another protocol.
    fn check_protocol(&self, number: u16, protocol: Protocol, field: String) -> Option<Finding> {
        // Of a server outside the cluster, the pods say nothing.
        if self.is_any() {
            return None;
        }
        let others = Protocol::ALL.into_iter().filter(|other| *other != protocol);
        let mut others = others.filter_map(|other| Some((other, self.with_number(number, other)?)));
        let (other, kind) = others.next()?;
        if self.with_number(number, protocol).is_some() {
            return None;
        }
        let pod = words::pod(kind.example);
        // The rule may have an entry for that protocol as well.
        if let Ports::AnyOf(ports) = &self.rule.ports
            && ports.iter().any(|port| port.protocol == other && holds(&port.port, number))
        {
            return None;
        }
        let message =
            format!("is for {protocol} port {number}, which on the pods is {other} ({pod})");
        let remedy = format!("Write protocol: {other}.");
        Some(finding(Code::OtherProtocol, self.policy, field, &message).with_remedy(Some(remedy)))
    }

    /// Whether a Service in front of all these pods has the port, and none of the pods has it.
    fn check_service(&self, number: u16, protocol: Protocol, field: String) -> Option<Finding> {
        if self.is_any() {
            return None;
        }
        let first = self.kinds().next()?;
        let namespace = first.example.namespace.as_ref();
        let services = self.index.services(namespace, protocol, number);
        let kinds: Vec<&Kind<'_>> = self.kinds().take(MOST_KINDS + 1).collect();
        if kinds.len() > MOST_KINDS || services.len() > MOST_SERVICES {
            return None;
        }
        if self.with_number(number, protocol).is_some() {
            return None;
        }
        let mut in_front = services
            .iter()
            .filter(|(service, _)| kinds.iter().all(|kind| is_behind(kind, service)));
        let (service, target) = in_front.next()?;
        // The number may be the pods' own as well. A target by name is another number: no pod declares this one.
        let translated = self.index.translated_to(namespace, protocol, number);
        let is_own = |service: &&Service| kinds.iter().any(|kind| is_behind(kind, service));
        if translated.len() > MOST_SERVICES || translated.iter().any(is_own) {
            return None;
        }
        let target = match target {
            TargetPort::Number(target) => target.to_string(),
            TargetPort::Named(name) => name.to_string(),
        };
        let name = format!("{}/{}", service.namespace, service.name);
        let message = format!(
            "is for {protocol} port {number}, which is the port of the Service {name}; connections to it reach the pods at their port {target}"
        );
        let remedy = format!("Write port: {target}.");
        Some(finding(Code::ServicePort, self.policy, field, &message).with_remedy(Some(remedy)))
    }
}

fn holds(spec: &PortSpec, number: u16) -> bool {
    match spec {
        PortSpec::Any => true,
        PortSpec::Range { first, last } => (*first..=*last).contains(&number),
        PortSpec::Named(_) => false,
    }
}

fn is_behind(kind: &Kind<'_>, service: &Service) -> bool {
    let Some(selector) = &service.selector else { return false };
    *kind.example.namespace == *service.namespace
        && selector.iter().all(|(key, value)| kind.example.labels.get(key) == Some(value))
}
