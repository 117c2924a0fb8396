//! The cluster's DNS: whether pods that may connect to something reach it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::code::Code;
use super::coverage::Coverage;
use super::finding::Report;
use super::rules::DNS_PORT;
use super::survey::{Kind, RESOLVER_LABEL, Survey};
use super::words::{self, finding};
use crate::explain::ObjectName;
use crate::model::{
    Labels, Namespaces, Operator, Peer, Peers, Pod, Policy, PolicyRule, PortMatch, PortSpec, Ports,
    Protocol, Requirement, Selector, TargetPort,
};
use crate::wording::counted;

/// The label of a resolver that runs on every node, on the node's own network: pods always reach it.
const NODE_RESOLVER: &str = "node-local-dns";
/// Addresses of resolvers that blocks are compared with.
const MOST_ADDRESSES: usize = 100;

/// Namespace and name of the Service that the nodes' resolvers are set to, in the clusters of those who make them. The first is
/// the name that nearly every cluster keeps, whatever server answers.
pub const DNS_SERVICES: [(&str, &str); 4] = [
    ("kube-system", "kube-dns"),
    ("kube-system", "coredns"),
    ("kube-system", "rke2-coredns-rke2-coredns"),
    ("openshift-dns", "dns-default"),
];

/// The pods of the cluster's DNS.
#[derive(Debug)]
pub(super) struct Resolver<'s> {
    /// By which its pods are known.
    selector: Selector,
    /// `None`: of whichever namespace.
    namespace: Option<&'s str>,
    kinds: Vec<ResolverKind<'s>>,
    addresses: Vec<IpAddr>,
}

/// Resolvers with the same labels and ports.
#[derive(Debug)]
struct ResolverKind<'s> {
    labels: &'s Labels,
    namespace: &'s str,
    /// `None` where the namespace is not known.
    namespace_labels: Option<&'s Labels>,
    /// The numbers that they answer UDP queries on, with the names that containers give to them.
    ports: Vec<(u16, Vec<&'s str>)>,
}

impl<'s> Resolver<'s> {
    /// Finds the resolver by its Service, or else by its label; `None` where none is known, or where it is on the nodes' own
    /// network.
    pub(super) fn find(survey: &Survey<'s>, service: Option<&ObjectName>) -> Option<Self> {
        let on_nodes = labelled(NODE_RESOLVER);
        if survey.select(survey.all_kinds(), &on_nodes).any(|(_, kind)| kind.hosts > 0) {
            return None;
        }
        let named = match service {
            Some(ObjectName { namespace, name }) => survey.snapshot.service(namespace, name),
            None => DNS_SERVICES
                .iter()
                .find_map(|(namespace, name)| survey.snapshot.service(namespace, name)),
        };
        let of_service = named.and_then(|service| {
            let selector = selecting(service.selector.as_deref()?);
            Self::of(survey, selector, Some(&*service.namespace))
        });
        of_service.or_else(|| Self::of(survey, labelled(RESOLVER_LABEL.1), None))
    }

    fn of(survey: &Survey<'s>, selector: Selector, namespace: Option<&'s str>) -> Option<Self> {
        let within = namespace.map_or(survey.all_kinds(), |name| survey.kinds_of(name));
        let found: Vec<ResolverKind<'s>> = survey
            .select(within, &selector)
            .filter(|(_, kind)| kind.own > 0)
            .map(|(_, kind)| ResolverKind::of(survey, kind))
            .collect();
        if found.is_empty() {
            return None;
        }
        let mut resolver = Self { selector, namespace, kinds: found, addresses: Vec::new() };
        let pods = survey.snapshot.pods().filter(|pod| pod.has_identity());
        let own = pods.filter(|pod| resolver.has(pod)).flat_map(|pod| pod.addresses.iter());
        let mut addresses: Vec<IpAddr> = own.collect();
        addresses.sort_unstable();
        addresses.truncate(MOST_ADDRESSES);
        resolver.addresses = addresses;
        Some(resolver)
    }

    /// Whether the pod is a resolver. It asks the resolvers of its node.
    fn has(&self, pod: &Pod) -> bool {
        self.namespace.is_none_or(|namespace| *pod.namespace == *namespace)
            && self.selector.matches(&pod.labels)
    }

    /// Whether an egress rule of the policy allows UDP queries to one of the resolvers.
    pub(super) fn is_allowed_by(&self, policy: &Policy) -> bool {
        policy.egress.iter().any(|rule| self.is_allowed(rule, &policy.key.namespace))
    }

    fn is_allowed(&self, rule: &PolicyRule, own: &str) -> bool {
        let on_ports = |kind: &&ResolverKind<'_>| kind.answers_on(&rule.ports);
        let Peers::AnyOf(peers) = &rule.peers else {
            return self.kinds.iter().any(|k| on_ports(&k));
        };
        peers.iter().any(|peer| match peer {
            Peer::Block(block) => {
                self.kinds.iter().any(|kind| on_ports(&kind))
                    && self.addresses.iter().any(|address| block.contains(*address))
            }
            Peer::Pods { namespaces, pods } => self.kinds.iter().filter(on_ports).any(|kind| {
                pods.matches(kind.labels)
                    && kind.namespace_labels.is_some_and(|labels| match namespaces {
                        Namespaces::Own => kind.namespace == own,
                        Namespaces::Selected(selector) => selector.matches(labels),
                    })
            }),
        })
    }
}

/// The pods with this value of the label that resolvers are known by.
fn labelled(value: &str) -> Selector {
    let (key, operator) = (RESOLVER_LABEL.0.into(), Operator::In(vec![value.into()]));
    Selector { requirements: vec![Requirement { key, operator }] }
}

/// The selector of a Service as that of a policy.
fn selecting(labels: &Labels) -> Selector {
    let requirement = |(key, value): (&Arc<str>, &Arc<str>)| Requirement {
        key: Arc::clone(key),
        operator: Operator::In(vec![Arc::clone(value)]),
    };
    Selector { requirements: labels.iter().map(requirement).collect() }
}

impl<'s> ResolverKind<'s> {
    fn of(survey: &Survey<'s>, kind: &Kind<'s>) -> Self {
        let pod = kind.example;
        let names = |number: u16| {
            let udp = pod.ports.iter().filter(|p| p.protocol == Protocol::Udp && p.port == number);
            udp.filter_map(|port| port.name.as_deref()).collect()
        };
        let mut numbers: Vec<u16> = Vec::new();
        for service in survey.snapshot.services().filter(|s| *s.namespace == *pod.namespace) {
            let Some(selector) = &service.selector else { continue };
            if !selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value)) {
                continue;
            }
            let udp = service.ports.iter().filter(|port| port.protocol == Protocol::Udp);
            for port in udp.filter(|port| port.port == DNS_PORT) {
                match &port.target {
                    TargetPort::Number(number) => numbers.push(*number),
                    TargetPort::Named(name) => numbers.extend(pod.named_ports(name, Protocol::Udp)),
                }
            }
        }
        if numbers.is_empty() {
            numbers.push(DNS_PORT);
        }
        numbers.sort_unstable();
        numbers.dedup();
        let namespace = survey.snapshot.namespace(&pod.namespace);
        Self {
            labels: &pod.labels,
            namespace: &pod.namespace,
            namespace_labels: namespace.map(|namespace| &*namespace.labels),
            ports: numbers.into_iter().map(|number| (number, names(number))).collect(),
        }
    }

    /// Whether the ports hold one that it answers UDP queries on.
    fn answers_on(&self, ports: &Ports) -> bool {
        let Ports::AnyOf(ports) = ports else { return true };
        let holds = |port: &PortMatch, number: u16, names: &[&str]| match &port.port {
            PortSpec::Any => true,
            PortSpec::Range { first, last } => (*first..=*last).contains(&number),
            PortSpec::Named(name) => names.contains(&name.as_ref()),
        };
        let mut udp = ports.iter().filter(|port| port.protocol == Protocol::Udp);
        udp.any(|port| self.ports.iter().any(|(number, names)| holds(port, *number, names)))
    }
}

/// Pods that some rule allows to connect, and none to the resolver: reported at the first policy with such a rule.
pub(super) fn check(
    survey: &Survey<'_>,
    coverage: &Coverage,
    policies: &[&Policy],
    resolver: &Resolver<'_>,
    report: &mut Report,
) {
    let code = Code::EgressWithoutDns;
    let mut by_policy: BTreeMap<usize, (usize, Vec<String>)> = BTreeMap::new();
    for (at, kind) in survey.kinds.iter().enumerate() {
        if resolver.has(kind.example) {
            continue;
        }
        let standing = coverage.standing(at);
        let count = kind.asking_dns_for(code);
        let Some(policy) = standing.first_egress.filter(|_| !standing.dns && count > 0) else {
            continue;
        };
        let (pods, examples) = by_policy.entry(policy).or_default();
        *pods += count;
        examples.push(words::pod(kind.example));
    }
    let Some(kind) = resolver.kinds.first() else { return };
    let selector = words::selector(&resolver.selector);
    let labels = format!("{selector} in the namespace {}", kind.namespace);
    for (at, (count, examples)) in by_policy {
        let Some(policy) = policies.get(at) else { continue };
        let who = counted(count, "pod");
        let named = words::some_of(&examples, count);
        let message = format!(
            "lets {who} ({named}) connect, and no policy lets them query the DNS ({labels})"
        );
        report.add_to(policy, finding(code, policy, "spec.egress".into(), &message));
    }
}
