//! Reasons as sentences.

use std::fmt;

use super::difference::{PeerDifference, PortDifference};
use super::end::{Owner, host_pods};
use super::nearest::{PeerMiss, PortMiss, RuleMiss};
use super::{Allowance, Fault, HostSelection, Outcome, ServiceBlock, Side};
use crate::model::{
    Direction, Isolation, Operator, PortSpec, Protocol, Requirement, Selector, Verdict,
};

/// The field that a rule of the direction lists its peers in.
pub(crate) fn peers_field(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    }
}

impl Side {
    /// The verdict's reason in one sentence.
    pub fn reason(&self) -> String {
        let direction = self.direction;
        match &self.outcome {
            Outcome::NotAPod => match &self.subject.owner {
                Owner::Host { pods, .. } if !pods.is_empty() => format!(
                    "a node's address, shared by {}: policies apply to no pod on the host's network",
                    host_pods(pods)
                ),
                Owner::Host { .. } => "a node's address: no policy applies to it".into(),
                Owner::Pod(_) | Owner::Unknown => {
                    "no pod's address: no policy applies to it".into()
                }
            },
            Outcome::NotIsolated => format!("no policy isolates the pod for {direction}"),
            Outcome::OwnNode => "traffic with the pod's own node is always allowed".into(),
            Outcome::Itself => "a pod always reaches itself".into(),
            Outcome::Allowed(by) => {
                let by: Vec<String> = by.iter().map(ToString::to_string).collect();
                format!("allowed by {}", by.join(", "))
            }
            Outcome::Denied { .. } => "isolated, and no rule allows it".into(),
        }
    }

    pub fn verdict(&self) -> Verdict {
        match self.outcome {
            Outcome::Denied { .. } => Verdict::Deny,
            Outcome::NotAPod
            | Outcome::NotIsolated
            | Outcome::OwnNode
            | Outcome::Itself
            | Outcome::Allowed(_) => Verdict::Allow,
        }
    }
}

/// `shop/api ingress[0] (from[1], ports[0])`; without the parentheses where the rule is for everyone on every port.
impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rule)?;
        let peers = self.peers.map(|at| format!("{}[{at}]", peers_field(self.rule.direction)));
        let ports = self.ports.map(|at| format!("ports[{at}]"));
        let entries: Vec<String> = peers.into_iter().chain(ports).collect();
        if entries.is_empty() { Ok(()) } else { write!(f, " ({})", entries.join(", ")) }
    }
}

impl RuleMiss {
    /// What the rule would have needed, as `ingress[0]: from[0] needs ...; and ports[1] is for ...`.
    pub fn sentence(&self, direction: Direction) -> String {
        let peers = self.peers_sentence(direction).into_iter();
        let parts: Vec<String> = peers.chain(self.ports_sentence()).collect();
        format!("{direction}[{}]: {}", self.rule, parts.join("; and "))
    }

    /// What of the peer differs from the nearest entry of `from` or `to`; `None` where the peer matches.
    pub fn peers_sentence(&self, direction: Direction) -> Option<String> {
        let PeerMiss { entry, differences, others } = self.peers.as_ref()?;
        let differences: Vec<String> = differences.iter().map(ToString::to_string).collect();
        let field = peers_field(direction);
        Some(format!("{field}[{entry}] {}{}", differences.join(", and "), farther(*others)))
    }

    /// What of the port or protocol differs from the nearest entry of `ports`; `None` where it matches.
    pub fn ports_sentence(&self) -> Option<String> {
        let PortMiss { entry, difference, others } = self.ports.as_ref()?;
        Some(format!("ports[{entry}] {difference}{}", farther(*others)))
    }
}

fn farther(others: usize) -> String {
    match others {
        0 => String::new(),
        1 => " (the other entry is farther off)".into(),
        others => format!(" (the {others} other entries are farther off)"),
    }
}

impl fmt::Display for PeerDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PodLabel { requirement, pod, found } => {
                write!(f, "needs the pod label {}, but {pod} has ", Needed(requirement))?;
                write!(f, "{}", Found(requirement, found.as_deref()))
            }
            Self::NamespaceLabel { requirement, namespace, found } => {
                let needed = Needed(requirement);
                write!(f, "needs the namespace label {needed}, but namespace {namespace} has ")?;
                write!(f, "{}", Found(requirement, found.as_deref()))
            }
            Self::OtherNamespace { own, pod } => write!(
                f,
                "has no namespaceSelector and so is for pods of namespace {own}, but {pod} is in namespace {}",
                pod.namespace
            ),
            Self::UnknownNamespace { pod } => write!(
                f,
                "selects pods, but nothing is known of the namespace of {pod} yet, so that no selector matches the pod"
            ),
            Self::NotAPod { address } => {
                write!(
                    f,
                    "selects pods, but {address} is no pod's address (an ipBlock matches addresses)"
                )
            }
            Self::HostNetwork { host } => write!(
                f,
                "selects pods, but {host} is a node's address: selectors never match host-network pods (an ipBlock with the \
                 node's address does)"
            ),
            Self::Outside { address, cidr } => {
                write!(f, "is the ipBlock {cidr}, but {address} is outside of it")
            }
            Self::Excepted { address, cidr, except } => write!(
                f,
                "is the ipBlock {cidr}, but its except {except} takes {address} out of it"
            ),
            Self::OtherFamily { address, cidr } => {
                write!(f, "is the ipBlock {cidr}, but {address} is of the other address family")
            }
        }
    }
}

impl fmt::Display for PortDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherProtocol { wanted, ports, found } => {
                let wanted = PortsOf(*wanted, ports);
                match Protocol::from_number(*found) {
                    Some(found) => write!(f, "is for {wanted}, but the connection is {found}"),
                    None => write!(
                        f,
                        "is for {wanted}, but the connection has another protocol, which only a rule without ports allows"
                    ),
                }
            }
            Self::OtherPort { protocol, first, last, found } => {
                let ports = PortSpec::Range { first: *first, last: *last };
                write!(
                    f,
                    "is for {}, but the connection is to port {found}",
                    PortsOf(*protocol, &ports)
                )
            }
            Self::NamedOther { protocol, name, pod, numbers, found } => {
                let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
                write!(
                    f,
                    "is for the {protocol} port named {name}, which is {} on {pod}, but the connection is to port {found}",
                    numbers.join(" and ")
                )
            }
            Self::UnknownName { protocol, name, pod } => {
                write!(
                    f,
                    "is for the port named {name}, but {pod} has no {protocol} port of that name"
                )
            }
            Self::NameWithoutPod { name, destination } => match &destination.owner {
                Owner::Host { pods, .. } if !pods.is_empty() => write!(
                    f,
                    "is for the port named {name}, but names are not looked up on {}",
                    host_pods(pods)
                ),
                Owner::Pod(_) | Owner::Host { .. } | Owner::Unknown => write!(
                    f,
                    "is for the port named {name}, but {} is no pod that has named ports",
                    destination.address
                ),
            },
        }
    }
}

/// `TCP`, `TCP port 80`, `TCP ports 8000-8080`, `the TCP port named http`.
pub struct PortsOf<'a>(pub Protocol, pub &'a PortSpec);

impl fmt::Display for PortsOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(protocol, ports) = self;
        match ports {
            PortSpec::Any => write!(f, "{protocol}"),
            PortSpec::Range { first, last } if first == last => {
                write!(f, "{protocol} port {first}")
            }
            PortSpec::Range { first, last } => write!(f, "{protocol} ports {first}-{last}"),
            PortSpec::Named(name) => write!(f, "the {protocol} port named {name}"),
        }
    }
}

/// A requirement as kubectl writes it: `app=web`, `app in (a, b)`, `app notin (a, b)`, `app`, `!app`.
pub struct Needed<'a>(pub &'a Requirement);

impl fmt::Display for Needed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Requirement { key, operator } = self.0;
        match operator {
            Operator::In(values) => match values.as_slice() {
                [value] => write!(f, "{key}={value}"),
                values => write!(f, "{key} in ({})", values.join(", ")),
            },
            Operator::NotIn(values) => match values.as_slice() {
                [value] => write!(f, "{key}!={value}"),
                values => write!(f, "{key} notin ({})", values.join(", ")),
            },
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

/// The label that is there instead: `app=web`, or `no label app`.
struct Found<'a>(&'a Requirement, Option<&'a str>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.0.key;
        match self.1 {
            Some(value) => write!(f, "{key}={value}"),
            None => write!(f, "no label {key}"),
        }
    }
}

/// `every pod of namespace shop`, `the pods with app=web of namespace shop`.
pub(super) fn selected(selector: &Selector, namespace: &str) -> String {
    if selector.requirements.is_empty() {
        return format!("every pod of namespace {namespace}");
    }
    let labels: Vec<String> =
        selector.requirements.iter().map(|each| Needed(each).to_string()).collect();
    format!("the pods with {} of namespace {namespace}", labels.join(", "))
}

/// What the policy closes until it is mended.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, message, subjects, isolates } = self;
        let directions = match isolates {
            Isolation { ingress: true, egress: true } => "ingress and egress",
            Isolation { ingress: true, egress: false } => "ingress",
            Isolation { ingress: false, egress: true } => "egress",
            Isolation { ingress: false, egress: false } => "no direction",
        };
        write!(
            f,
            "{policy} has wrong fields ({message}): until they are mended it isolates {} for {directions}, and allows nothing",
            selected(subjects, &policy.namespace)
        )
    }
}

impl fmt::Display for HostSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, pod } = self;
        write!(
            f,
            "{policy} selects {pod} by its labels and does not isolate it: the pod is on the host's network, and its packets carry the \
             node's address"
        )
    }
}

impl fmt::Display for ServiceBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, entry, cidr, address } = self;
        write!(
            f,
            "{rule}: to[{entry}] is the ipBlock {cidr}, which holds the Service's address {address} and matches nothing there: \
             the address is translated to a backend's before policy is judged (select the pods behind the Service, or their \
             addresses)"
        )
    }
}
