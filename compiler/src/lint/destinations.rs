//! The pods that connections of a rule lead to, and which of them have a port.

use hashbrown::{HashMap, HashSet};

use super::survey::{Kind, KindAt, Survey};
use crate::model::{
    Direction, Namespaces, Peer, Peers, Policy, PolicyRule, Protocol, Selector, Service,
    ServiceKind, TargetPort,
};

/// Up to so many kinds with a port, each is asked whether it is a destination; above, the destinations are asked for the port.
const FEW: usize = 64;

/// A Service, and what one of its ports is translated to.
type ServiceTarget<'s> = (&'s Service, &'s TargetPort);

/// The kinds of pods by the ports that they declare, and Services by theirs.
#[derive(Debug, Default)]
pub(super) struct PortIndex<'s> {
    names: HashMap<(&'s str, Protocol), Vec<KindAt>>,
    numbers: HashMap<(u16, Protocol), Vec<KindAt>>,
    /// By namespace, protocol and port.
    services: HashMap<(&'s str, Protocol, u16), Vec<ServiceTarget<'s>>>,
    /// By namespace, protocol and the number that a port is translated to, or that clients of a headless Service use.
    targets: HashMap<(&'s str, Protocol, u16), Vec<&'s Service>>,
}

impl<'s> PortIndex<'s> {
    pub(super) fn of(survey: &Survey<'s>) -> Self {
        let mut index = Self::default();
        for (at, kind) in survey.kinds.iter().enumerate() {
            let mut seen = HashSet::new();
            for port in kind.ports.iter().copied().flatten().filter(|port| seen.insert(*port)) {
                let name = port.name.as_deref();
                let name = name.map(|name| index.names.entry((name, port.protocol)).or_default());
                let number = index.numbers.entry((port.port, port.protocol)).or_default();
                for list in name.into_iter().chain([number]) {
                    if list.last() != Some(&at) {
                        list.push(at);
                    }
                }
            }
        }
        let of_pods = survey.snapshot.services().filter(|service| {
            service.selector.is_some() && service.kind != ServiceKind::ExternalName
        });
        for service in of_pods {
            for port in &service.ports {
                let key = (&*service.namespace, port.protocol, port.port);
                if service.is_headless {
                    // Clients use the pods' own addresses, and no port is translated.
                    index.targets.entry(key).or_default().push(service);
                } else {
                    index.services.entry(key).or_default().push((service, &port.target));
                }
                if let TargetPort::Number(number) = port.target {
                    let key = (&*service.namespace, port.protocol, number);
                    index.targets.entry(key).or_default().push(service);
                }
            }
        }
        index
    }

    /// The Services of a namespace with this port.
    pub(super) fn services<'a>(
        &'a self,
        namespace: &'a str,
        protocol: Protocol,
        port: u16,
    ) -> &'a [ServiceTarget<'s>] {
        self.services.get(&(namespace, protocol, port)).map_or(&[], Vec::as_slice)
    }

    /// The Services of a namespace by which clients reach this number on the pods.
    pub(super) fn translated_to<'a>(
        &'a self,
        namespace: &'a str,
        protocol: Protocol,
        number: u16,
    ) -> &'a [&'s Service] {
        self.targets.get(&(namespace, protocol, number)).map_or(&[], Vec::as_slice)
    }
}

/// The pods that connections of a rule lead to: the subjects for ingress, the peers for egress.
pub(super) struct Destinations<'a, 's> {
    pub(super) survey: &'a Survey<'s>,
    pub(super) index: &'a PortIndex<'s>,
    pub(super) policy: &'s Policy,
    pub(super) direction: Direction,
    pub(super) rule: &'s PolicyRule,
}

impl<'a, 's> Destinations<'a, 's> {
    /// Those with an identity. Of a rule with a block, or without peers, all: it may lead to any pod.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &'a Kind<'s>> + 'a {
        let survey = self.survey;
        self.places().filter_map(move |at| survey.kinds.get(at)).filter(|kind| kind.own > 0)
    }

    fn places(&self) -> Box<dyn Iterator<Item = KindAt> + 'a> {
        let own = self.policy.key.namespace.as_ref();
        let survey = self.survey;
        let subjects: &'s Selector = &self.policy.subjects;
        match self.selected() {
            _ if self.direction == Direction::Ingress => {
                Box::new(survey.select(survey.kinds_of(own), subjects).map(|(at, _)| at))
            }
            None => Box::new(survey.all_kinds()),
            Some(peers) => {
                let own = own.to_owned();
                Box::new(peers.iter().flat_map(move |peer| {
                    let of = match peer {
                        Peer::Pods { namespaces, pods } => {
                            Some(survey.peers(&own, namespaces, pods))
                        }
                        Peer::Block(_) => None,
                    };
                    of.into_iter().flatten().map(|(at, _)| at)
                }))
            }
        }
    }

    /// The peers, if all of them select pods.
    fn selected(&self) -> Option<&'s [Peer]> {
        match &self.rule.peers {
            Peers::AnyOf(peers) if peers.iter().all(|p| matches!(p, Peer::Pods { .. })) => {
                Some(peers)
            }
            Peers::AnyOf(_) | Peers::Everyone => None,
        }
    }

    /// Whether the rule may lead to any pod.
    pub(super) fn is_any(&self) -> bool {
        self.direction == Direction::Egress && self.selected().is_none()
    }

    /// A destination with a port of this name.
    pub(super) fn with_name(&self, name: &str, protocol: Protocol) -> Option<&'a Kind<'s>> {
        self.with(self.index.names.get(&(name, protocol))?)
    }

    /// A destination that declares a port of this number.
    pub(super) fn with_number(&self, number: u16, protocol: Protocol) -> Option<&'a Kind<'s>> {
        self.with(self.index.numbers.get(&(number, protocol))?)
    }

    /// A destination among these kinds, which are sorted.
    fn with(&self, kinds: &[KindAt]) -> Option<&'a Kind<'s>> {
        let survey = self.survey;
        if kinds.len() <= FEW || self.is_any() {
            let mut kinds = kinds.iter().filter_map(|at| survey.kinds.get(*at));
            return kinds.find(|kind| self.leads_to(kind));
        }
        let has = |at: &KindAt| kinds.binary_search(at).is_ok();
        let mut found = self.places().filter(has).filter_map(|at| survey.kinds.get(at));
        found.next()
    }

    fn leads_to(&self, kind: &Kind<'_>) -> bool {
        let (pod, own) = (kind.example, &self.policy.key.namespace);
        if self.direction == Direction::Ingress {
            return pod.namespace == *own && self.policy.subjects.matches(&pod.labels);
        }
        let Some(peers) = self.selected() else { return true };
        let namespace = self.survey.snapshot.namespace(&pod.namespace);
        peers.iter().any(|peer| match peer {
            Peer::Block(_) => false,
            Peer::Pods { namespaces, pods } => {
                pods.matches(&pod.labels)
                    && namespace.is_some_and(|namespace| match namespaces {
                        Namespaces::Own => namespace.name == *own,
                        Namespaces::Selected(selector) => selector.matches(&namespace.labels),
                    })
            }
        })
    }
}
