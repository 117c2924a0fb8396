//! The pods and namespaces of a snapshot, indexed so that a selector looks only at what it may match.
//!
//! Pods are gathered into *kinds*: those of one namespace with the same labels under the keys that some selector in use names.
//! Selectors look at kinds, of which there are few, and find them by label.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;

use super::code::Code;
use super::entries::pod_entries;
use crate::model::{
    ContainerPort, DnsPolicy, Labels, Namespace, Namespaces, Operator, Pod, Requirement, Selector,
};
use crate::snapshot::Snapshot;

/// A place in `Survey::kinds`.
pub(super) type KindAt = usize;

/// Pods that every selector in use takes alike.
#[derive(Debug)]
pub(super) struct Kind<'s> {
    /// A place in `Survey::namespaces`.
    pub(super) namespace: usize,
    /// One of them.
    pub(super) example: &'s Pod,
    /// How many have an identity: addresses of their own.
    pub(super) own: usize,
    /// How many are on their host's network.
    pub(super) hosts: usize,
    /// The lists of ports of those with an identity, each once, in no particular order.
    pub(super) ports: Vec<&'s [ContainerPort]>,
    /// Those with an identity whose annotation accepts findings.
    accepting: Vec<&'s Pod>,
    /// How many of those with an identity ask another resolver than the cluster's.
    other_dns: usize,
}

impl Kind<'_> {
    /// How many pods have an identity and do not accept the finding.
    pub(super) fn own_for(&self, code: Code) -> usize {
        let accepts = |pod: &&&Pod| pod.lint_ignore.as_ref().is_some_and(|i| i.holds(code.id()));
        self.own - self.accepting.iter().filter(accepts).count()
    }

    /// How many of these ask the cluster's DNS.
    pub(super) fn asking_dns_for(&self, code: Code) -> usize {
        let accepts = |pod: &&&Pod| {
            pod.dns_policy == DnsPolicy::Cluster
                && pod.lint_ignore.as_ref().is_some_and(|i| i.holds(code.id()))
        };
        let accepting = self.accepting.iter().filter(accepts).count();
        self.own.saturating_sub(self.other_dns + accepting)
    }

    pub(super) fn named_ports(&self) -> impl Iterator<Item = &ContainerPort> {
        self.ports.iter().copied().flatten()
    }
}

/// A namespace that is declared, or that pods or policies name.
#[derive(Debug)]
pub(super) struct NamespaceView<'s> {
    pub(super) name: &'s Arc<str>,
    /// `None` where nothing is known of it: no peer selector matches its pods.
    pub(super) declared: Option<&'s Namespace>,
    pub(super) kinds: Range<KindAt>,
}

/// The namespaces that a selector matches, sorted.
pub(super) type NamespaceSet = Rc<[usize]>;

#[derive(Debug)]
pub(super) struct Survey<'s> {
    pub(super) snapshot: &'s Snapshot,
    /// Sorted by name.
    pub(super) namespaces: Vec<NamespaceView<'s>>,
    /// Sorted by namespace.
    pub(super) kinds: Vec<Kind<'s>>,
    /// Kinds with a label, sorted.
    by_label: HashMap<(&'s str, &'s str), Vec<KindAt>>,
    /// Kinds with a label of this key, sorted.
    by_key: HashMap<&'s str, Vec<KindAt>>,
    /// By selector, as they are asked for.
    matching: RefCell<HashMap<&'s Selector, NamespaceSet>>,
}

/// The namespace, and the labels under the keys in use.
type KindKey<'s> = (usize, Vec<(&'s str, &'s str)>);

impl<'s> Survey<'s> {
    pub(super) fn of(snapshot: &'s Snapshot) -> Self {
        let keys = keys_in_use(snapshot);
        let namespaces = namespaces(snapshot);
        let mut gathered = Gathered::default();
        for pod in snapshot.pods() {
            let found = namespaces.binary_search_by(|n| n.name.as_ref().cmp(&*pod.namespace));
            // Every namespace that a pod names was entered.
            let Ok(namespace) = found else { continue };
            gathered.add(namespace, pod, &keys);
        }
        let mut survey = Self {
            snapshot,
            namespaces,
            kinds: Vec::new(),
            by_label: HashMap::new(),
            by_key: HashMap::new(),
            matching: RefCell::default(),
        };
        survey.enter(gathered);
        survey
    }

    fn enter(&mut self, gathered: Gathered<'s>) {
        let mut kinds: Vec<(KindKey<'s>, Kind<'s>)> =
            gathered.places.into_iter().zip(gathered.kinds).collect();
        kinds.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (at, ((namespace, labels), kind)) in kinds.into_iter().enumerate() {
            if let Some(view) = self.namespaces.get_mut(namespace) {
                if view.kinds.is_empty() {
                    view.kinds = at..at;
                }
                view.kinds.end = at + 1;
            }
            for (key, value) in labels {
                self.by_label.entry((key, value)).or_default().push(at);
                self.by_key.entry(key).or_default().push(at);
            }
            self.kinds.push(kind);
        }
    }

    /// The place of a namespace in `namespaces`.
    pub(super) fn namespace_at(&self, name: &str) -> Option<usize> {
        self.namespaces.binary_search_by(|n| n.name.as_ref().cmp(name)).ok()
    }

    pub(super) fn namespace(&self, name: &str) -> Option<&NamespaceView<'s>> {
        self.namespaces.get(self.namespace_at(name)?)
    }

    /// The kinds of a namespace.
    pub(super) fn kinds_of(&self, name: &str) -> Range<KindAt> {
        self.namespace(name).map_or(0..0, |namespace| namespace.kinds.clone())
    }

    pub(super) fn all_kinds(&self) -> Range<KindAt> {
        0..self.kinds.len()
    }

    /// The kinds that the selector matches, in no particular order, each once.
    pub(super) fn select<'a>(
        &'a self,
        within: Range<KindAt>,
        selector: &'a Selector,
    ) -> impl Iterator<Item = (KindAt, &'a Kind<'s>)> {
        let candidates = self.candidates(within, selector);
        candidates.filter_map(move |at| {
            let kind = self.kinds.get(at)?;
            selector.matches(&kind.example.labels).then_some((at, kind))
        })
    }

    /// A superset of what the selector matches: by the requirement that the fewest kinds meet.
    fn candidates<'a>(
        &'a self,
        within: Range<KindAt>,
        selector: &'a Selector,
    ) -> Box<dyn Iterator<Item = KindAt> + 'a> {
        let lists = selector.requirements.iter().filter_map(|r| self.lists(&within, r));
        let fewest = lists.min_by_key(|lists| lists.iter().map(|list| list.len()).sum::<usize>());
        match fewest {
            Some(lists) => Box::new(lists.into_iter().flatten().copied()),
            None => Box::new(within),
        }
    }

    /// The kinds that meet the requirement, if it demands a label. The lists are disjoint: a key has one value.
    fn lists<'a>(
        &'a self,
        within: &Range<KindAt>,
        requirement: &'a Requirement,
    ) -> Option<Vec<&'a [KindAt]>> {
        let key = requirement.key.as_ref();
        let part = |list: Option<&'a Vec<KindAt>>| {
            let list = list.map_or(&[][..], Vec::as_slice);
            let first = list.partition_point(|at| *at < within.start);
            let end = list.partition_point(|at| *at < within.end);
            list.get(first..end).unwrap_or_default()
        };
        match &requirement.operator {
            Operator::In(values) => {
                let of = |value: &'a Arc<str>| part(self.by_label.get(&(key, value.as_ref())));
                Some(values.iter().map(of).collect())
            }
            Operator::Exists => Some(vec![part(self.by_key.get(key))]),
            Operator::NotIn(_) | Operator::DoesNotExist => None,
        }
    }

    /// The namespaces that exist and that the selector matches.
    pub(super) fn namespaces_matching(&self, selector: &'s Selector) -> NamespaceSet {
        if let Some(known) = self.matching.borrow().get(selector) {
            return Rc::clone(known);
        }
        let label =
            selector.requirements.iter().find_map(|requirement| match &requirement.operator {
                Operator::In(values) => match values.as_slice() {
                    [value] => Some((Arc::clone(&requirement.key), Arc::clone(value))),
                    _ => None,
                },
                _ => None,
            });
        let mut found: Vec<usize> = match &label {
            Some(label) => {
                let labelled = self.snapshot.namespaces_labelled(label);
                let matching = labelled.filter(|namespace| selector.matches(&namespace.labels));
                let at = |namespace: &Namespace| {
                    self.namespaces.binary_search_by(|n| n.name.cmp(&namespace.name)).ok()
                };
                matching.filter_map(at).collect()
            }
            None => {
                let all = self.namespaces.iter().enumerate();
                let matching = all.filter(|(_, namespace)| {
                    namespace.declared.is_some_and(|n| selector.matches(&n.labels))
                });
                matching.map(|(at, _)| at).collect()
            }
        };
        found.sort_unstable();
        let found: NamespaceSet = found.into();
        self.matching.borrow_mut().insert(selector, Rc::clone(&found));
        found
    }

    /// The kinds that an entry of `from` or `to` matches, of a policy in the namespace `own`, in no particular order.
    pub(super) fn peers<'a>(
        &'a self,
        own: &str,
        namespaces: &'s Namespaces,
        pods: &'a Selector,
    ) -> Box<dyn Iterator<Item = (KindAt, &'a Kind<'s>)> + 'a> {
        match namespaces {
            Namespaces::Own => {
                let view = self.namespace(own).filter(|view| view.declared.is_some());
                let within = view.map_or(0..0, |view| view.kinds.clone());
                Box::new(self.select(within, pods))
            }
            Namespaces::Selected(selector) => {
                self.in_namespaces(&self.namespaces_matching(selector), pods)
            }
        }
    }

    /// The kinds of these namespaces that the selector matches.
    pub(super) fn in_namespaces<'a>(
        &'a self,
        namespaces: &NamespaceSet,
        pods: &'a Selector,
    ) -> Box<dyn Iterator<Item = (KindAt, &'a Kind<'s>)> + 'a> {
        let set = Rc::clone(namespaces);
        // By label first, where there are many namespaces.
        if set.len() > MANY_NAMESPACES && !pods.requirements.is_empty() {
            let matching = self.select(self.all_kinds(), pods);
            return Box::new(
                matching.filter(move |(_, kind)| set.binary_search(&kind.namespace).is_ok()),
            );
        }
        let ranges = (0..set.len())
            .filter_map(move |at| Some(self.namespaces.get(*set.get(at)?)?.kinds.clone()));
        Box::new(ranges.flat_map(move |within| self.select(within, pods)))
    }
}

/// Above this many namespaces, pods are looked for by label first.
const MANY_NAMESPACES: usize = 16;

/// Kinds while pods are added.
#[derive(Debug, Default)]
struct Gathered<'s> {
    places: Vec<KindKey<'s>>,
    kinds: Vec<Kind<'s>>,
    known: HashMap<KindKey<'s>, usize>,
    /// Kinds with the addresses of their lists of ports, of which the snapshot holds equal ones once.
    ports: HashSet<(usize, usize)>,
    /// By namespace and the address of the label set: the snapshot holds equal sets once.
    by_labels: HashMap<(usize, usize), usize>,
}

impl<'s> Gathered<'s> {
    fn add(&mut self, namespace: usize, pod: &'s Pod, keys: &HashSet<&str>) {
        let shared = (namespace, Arc::as_ptr(&pod.labels) as usize);
        let at = match self.by_labels.get(&shared) {
            Some(at) => *at,
            None => {
                let at = self.place(namespace, pod, keys);
                self.by_labels.insert(shared, at);
                at
            }
        };
        let Some(kind) = self.kinds.get_mut(at) else { return };
        // One that policies apply to, and the first by name, whatever the order of the pods.
        let rank = |pod: &'s Pod| {
            (!pod.has_identity(), pod.dns_policy, pod.lint_ignore.is_some(), &pod.name)
        };
        if rank(pod) < rank(kind.example) {
            kind.example = pod;
        }
        if pod.has_identity() {
            kind.own += 1;
            kind.other_dns += usize::from(pod.dns_policy == DnsPolicy::Other);
            kind.accepting.extend(pod.lint_ignore.is_some().then_some(pod));
            if self.ports.insert((at, pod.ports.as_ptr() as usize)) {
                kind.ports.push(&pod.ports);
            }
        } else if pod.is_host() {
            kind.hosts += 1;
        }
    }

    fn place(&mut self, namespace: usize, pod: &'s Pod, keys: &HashSet<&str>) -> usize {
        let in_use = pod.labels.iter().filter(|(key, _)| keys.contains(key.as_ref()));
        let labels = in_use.map(|(key, value)| (key.as_ref(), value.as_ref())).collect();
        let key = (namespace, labels);
        if let Some(at) = self.known.get(&key) {
            return *at;
        }
        let at = self.kinds.len();
        self.places.push(key.clone());
        self.known.insert(key, at);
        let (ports, accepting) = (Vec::new(), Vec::new());
        let (own, hosts, other_dns) = (0, 0, 0);
        self.kinds.push(Kind { namespace, example: pod, own, hosts, ports, accepting, other_dns });
        at
    }
}

fn namespaces(snapshot: &Snapshot) -> Vec<NamespaceView<'_>> {
    let declared = snapshot.namespaces().map(|namespace| &namespace.name);
    let of_policies = snapshot.policies().map(|policy| &policy.key.namespace);
    let of_pods = snapshot.pods().map(|pod| &pod.namespace);
    let mut names: Vec<&Arc<str>> = declared.chain(of_policies).collect();
    let known: HashSet<&str> = names.iter().map(|name| name.as_ref()).collect();
    let mut more: Vec<&Arc<str>> = of_pods.filter(|name| !known.contains(name.as_ref())).collect();
    names.append(&mut more);
    names.sort_unstable();
    names.dedup();
    let views = names.into_iter().map(|name| NamespaceView {
        name,
        declared: snapshot.namespace(name),
        kinds: 0..0,
    });
    views.collect()
}

/// The keys of the labels that selectors of pods name.
fn keys_in_use(snapshot: &Snapshot) -> HashSet<&str> {
    let mut keys = HashSet::new();
    for policy in snapshot.policies() {
        keys.extend(policy.subjects.requirements.iter().map(|r| r.key.as_ref()));
        let of_entries = pod_entries(policy).flat_map(|entry| &entry.pods.requirements);
        keys.extend(of_entries.map(|r| r.key.as_ref()));
    }
    let selectors = snapshot.services().filter_map(|service| service.selector.as_deref());
    keys.extend(selectors.flat_map(Labels::iter).map(|(key, _)| key.as_ref()));
    // By which the resolver is known.
    keys.insert(RESOLVER_LABEL.0);
    keys
}

/// The label that the pods of the cluster's DNS have in nearly every cluster, whatever server they run.
pub(super) const RESOLVER_LABEL: (&str, &str) = ("k8s-app", "kube-dns");
