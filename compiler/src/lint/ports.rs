//! The entries of `ports` beside the pods that are connected to: names and numbers that they do not have.

use hashbrown::{HashMap, HashSet};

use super::code::Code;
use super::finding::{Finding, Report};
use super::near::edits;
use super::survey::{Kind, Survey};
use super::words::{self, finding, port_field};
use crate::model::{
    Direction, NamedPort, Peer, Peers, Policy, PolicyRule, PortMatch, PortSpec, Ports, Protocol,
    Selector, Service, TargetPort,
};

/// Kinds of pods that are compared with Services.
const MOST_KINDS: usize = 64;
/// Services of a namespace with the same port that are compared with pods.
const MOST_SERVICES: usize = 16;

/// A Service, and what one of its ports is translated to.
type ServiceTarget<'s> = (&'s Service, &'s TargetPort);

/// The ports that pods declare, and those of Services.
#[derive(Debug)]
pub(super) struct PortIndex<'s> {
    names: HashSet<(&'s str, Protocol)>,
    numbers: HashSet<(u16, Protocol)>,
    /// Services with a target that may be another number, by namespace, protocol and port.
    services: HashMap<(&'s str, Protocol, u16), Vec<ServiceTarget<'s>>>,
}

impl<'s> PortIndex<'s> {
    pub(super) fn of(survey: &Survey<'s>) -> Self {
        let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
        let mut seen = HashSet::new();
        for list in survey.kinds.iter().flat_map(|kind| &kind.ports) {
            if seen.insert(list.as_ptr() as usize) {
                names.extend(list.iter().map(|port| (&*port.name, port.protocol)));
                numbers.extend(list.iter().map(|port| (port.port, port.protocol)));
            }
        }
        let mut services: HashMap<_, Vec<_>> = HashMap::new();
        for service in survey.snapshot.services().filter(|service| service.selector.is_some()) {
            for port in &service.ports {
                let key = (&*service.namespace, port.protocol, port.port);
                services.entry(key).or_default().push((service, &port.target));
            }
        }
        Self { names, numbers, services }
    }
}

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

/// The pods that connections of a rule lead to: the subjects for ingress, the peers for egress.
struct Destinations<'a, 's> {
    survey: &'a Survey<'s>,
    index: &'a PortIndex<'s>,
    policy: &'s Policy,
    direction: Direction,
    rule: &'s PolicyRule,
}

impl<'a, 's> Destinations<'a, 's> {
    /// Those with an identity.
    fn kinds(&self) -> Box<dyn Iterator<Item = &'a Kind<'s>> + 'a> {
        let own = self.policy.key.namespace.as_ref();
        let survey = self.survey;
        let subjects: &'s Selector = &self.policy.subjects;
        let kinds: Box<dyn Iterator<Item = &'a Kind<'s>> + 'a> =
            match (self.direction, &self.rule.peers) {
                (Direction::Ingress, _) => {
                    Box::new(survey.select(survey.kinds_of(own), subjects).map(|(_, kind)| kind))
                }
                (Direction::Egress, Peers::AnyOf(peers)) if peers.iter().all(is_pods) => {
                    let own = own.to_owned();
                    Box::new(peers.iter().flat_map(move |peer| {
                        let of = match peer {
                            Peer::Pods { namespaces, pods } => {
                                Some(survey.peers(&own, namespaces, pods))
                            }
                            Peer::Block(_) => None,
                        };
                        of.into_iter().flatten().map(|(_, kind)| kind)
                    }))
                }
                // A block may hold any pod.
                (Direction::Egress, _) => Box::new(survey.kinds.iter()),
            };
        Box::new(kinds.filter(|kind| kind.own > 0))
    }

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
        self.kinds().next()?;
        let is_it = |port: &NamedPort| *port.name == *name && port.protocol == protocol;
        let is_anywhere = self.index.names.contains(&(name, protocol));
        if is_anywhere && self.kinds().any(|kind| kind.named_ports().any(is_it)) {
            return None;
        }
        let message = format!(
            "is for the {protocol} port named {name}, which none of the pods connected to has"
        );
        let near = self.kinds().take(MOST_KINDS).flat_map(Kind::named_ports).filter_map(|port| {
            let rank = if *port.name == *name { 0 } else { edits(name, &port.name)?.max(1) };
            let same = port.protocol == protocol;
            Some((rank, !same, port))
        });
        let remedy = near.min().map(|(_, _, NamedPort { name, protocol, port })| {
            format!("Did you mean the {protocol} port {name}, which is {port}?")
        });
        Some(finding(Code::UnknownPortName, self.policy, field, &message).with_remedy(remedy))
    }

    /// Whether pods declare the number, and all that do declare it with another protocol.
    fn check_protocol(&self, number: u16, protocol: Protocol, field: String) -> Option<Finding> {
        let mut others = Protocol::ALL.into_iter().filter(|other| *other != protocol);
        if !others.any(|other| self.index.numbers.contains(&(number, other))) {
            return None;
        }
        // The least of all, whatever the order of the pods.
        let mut other: Option<(Protocol, String)> = None;
        for kind in self.kinds() {
            for port in kind.named_ports().filter(|port| port.port == number) {
                if port.protocol == protocol {
                    return None;
                }
                let found = (port.protocol, words::pod(kind.example));
                if other.as_ref().is_none_or(|least| found < *least) {
                    other = Some(found);
                }
            }
        }
        let (other, pod) = other?;
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
        if self.index.services.is_empty() || self.is_beyond_pods() {
            return None;
        }
        let first = self.kinds().next()?;
        let namespace = first.example.namespace.as_ref();
        let services = self.index.services.get(&(namespace, protocol, number))?;
        let kinds: Vec<&Kind<'_>> = self.kinds().take(MOST_KINDS + 1).collect();
        if kinds.len() > MOST_KINDS || services.len() > MOST_SERVICES {
            return None;
        }
        let declares = |kind: &&Kind<'_>| {
            kind.named_ports().any(|port| port.port == number && port.protocol == protocol)
        };
        if kinds.iter().any(declares) {
            return None;
        }
        let mut in_front = services
            .iter()
            .filter(|(service, _)| kinds.iter().all(|kind| is_behind(kind, service)));
        let (service, target) = in_front.clone().next()?;
        // A target by name is another number: no pod declares this one.
        if in_front.any(|(_, target)| matches!(target, TargetPort::Number(n) if *n == number)) {
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

    /// Whether the rule is for more than pods that it selects.
    fn is_beyond_pods(&self) -> bool {
        self.direction == Direction::Egress
            && !matches!(&self.rule.peers, Peers::AnyOf(peers) if peers.iter().all(is_pods))
    }
}

fn is_pods(peer: &Peer) -> bool {
    matches!(peer, Peer::Pods { .. })
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
