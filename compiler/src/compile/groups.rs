//! Subject groups: local pods that the same policies select, with the same ports behind the names those use.
//!
//! A group's policies are one list of contributions: peers and the ports they may reach. What a class is allowed follows
//! from its signature, so that a column of the matrix is computed once for all pods of the group.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;

use super::peers::{Item, PeerSetId, PeerSetKey, PeerSets, PortName};
use crate::model::{Direction, Family, Pod, Policy, PolicyRule, PortSpec, Ports};
use crate::program::{ClassId, PortRange, PortSet, ProfileId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GroupId(u32);

/// What makes pods one group in a direction.
#[derive(Debug, Clone)]
pub(super) struct GroupKey {
    pub(super) direction: Direction,
    /// Those that isolate the pods in the direction, by name. Not empty.
    pub(super) policies: Vec<Arc<Policy>>,
    /// For ingress: the ports that the names in use stand for on these pods.
    pub(super) ports: Vec<(PortName, Vec<u16>)>,
}

/// A policy that was edited is another value at another address: policies are compared as such, not by content.
type Identity = (Direction, Vec<usize>, Vec<(PortName, Vec<u16>)>);

impl GroupKey {
    pub(super) fn of(direction: Direction, policies: Vec<Arc<Policy>>, pod: &Pod) -> Self {
        let mut ports = BTreeMap::new();
        if direction == Direction::Ingress {
            let rules = policies.iter().flat_map(|policy| policy.rules(direction));
            for (protocol, name) in rules.flat_map(port_names) {
                let numbers: Vec<u16> = pod.named_ports(&name, protocol).collect();
                if !numbers.is_empty() {
                    ports.insert((protocol, name), numbers);
                }
            }
        }
        Self { direction, policies, ports: ports.into_iter().collect() }
    }

    fn identity(&self) -> Identity {
        let policies = self.policies.iter().map(|p| Arc::as_ptr(p) as usize).collect();
        (self.direction, policies, self.ports.clone())
    }
}

fn port_names(rule: &PolicyRule) -> Vec<PortName> {
    let Ports::AnyOf(matches) = &rule.ports else { return Vec::new() };
    let names: BTreeSet<PortName> = matches
        .iter()
        .filter_map(|m| match &m.port {
            PortSpec::Named(name) => Some((m.protocol, Arc::clone(name))),
            PortSpec::Any | PortSpec::Range { .. } => None,
        })
        .collect();
    names.into_iter().collect()
}

/// The ports of a rule that are numbers, and of names those that `resolve` knows.
fn numbered(rule: &PolicyRule, resolve: &BTreeMap<&PortName, &Vec<u16>>) -> PortSet {
    let Ports::AnyOf(matches) = &rule.ports else { return PortSet::everything() };
    let mut ranges = Vec::new();
    for m in matches {
        match &m.port {
            PortSpec::Any => ranges.push(PortRange::new(m.protocol, 0, u16::MAX)),
            PortSpec::Range { first, last } => {
                ranges.push(PortRange::new(m.protocol, *first, *last));
            }
            PortSpec::Named(name) => {
                let numbers = resolve.get(&(m.protocol, Arc::clone(name)));
                let numbers = numbers.into_iter().flat_map(|numbers| numbers.iter());
                ranges.extend(numbers.map(|&port| PortRange::new(m.protocol, port, port)));
            }
        }
    }
    ranges.into_iter().collect()
}

/// The peers of a contribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Everyone,
    Set(PeerSetId),
    /// The set's items carry the ports themselves.
    Named(PeerSetId),
}

#[derive(Debug)]
pub(super) struct Contribution {
    /// Places in the group's policies and in the policy's rules.
    pub(super) policy: usize,
    pub(super) rule: usize,
    pub(super) source: Source,
    pub(super) ports: Arc<PortSet>,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) key: GroupKey,
    pub(super) contributions: Vec<Contribution>,
    by_set: HashMap<PeerSetId, Vec<usize>>,
    /// What every address is allowed: IPv4 and IPv6.
    base: [Arc<PortSet>; 2],
    /// Local pods that want the group.
    pods: usize,
    /// Subjects' addresses that rows are written for, and those rows, by family. What is allowed nothing has no row.
    pub(super) members: [BTreeSet<IpAddr>; 2],
    pub(super) columns: [Column; 2],
}

/// What a group allows each class; a class that is not in it is allowed nothing.
pub(super) type Column = BTreeMap<ClassId, ProfileId>;

pub(super) const fn at(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

impl Group {
    pub(super) fn base(&self, family: Family) -> &Arc<PortSet> {
        let [v4, v6] = &self.base;
        match family {
            Family::V4 => v4,
            Family::V6 => v6,
        }
    }

    /// Where everyone is allowed everything, nothing is isolated.
    pub(super) fn isolates(&self, family: Family) -> bool {
        !self.base(family).is_everything()
    }

    /// None where the group does not isolate.
    pub(super) fn column(&self, family: Family) -> Option<&Column> {
        let column = self.columns.get(at(family));
        column.filter(|_| self.isolates(family))
    }

    pub(super) fn sets(&self) -> impl Iterator<Item = PeerSetId> {
        self.by_set.keys().copied()
    }

    /// Every contribution that a peer with these items meets, with the ports it gives.
    pub(super) fn contributions_for<'a>(
        &'a self,
        items: &'a [Item],
        family: Family,
        sets: &'a PeerSets,
    ) -> impl Iterator<Item = (&'a Contribution, &'a Arc<PortSet>)> {
        let everyone = self.contributions.iter().filter(move |c| match c.source {
            Source::Everyone => true,
            Source::Set(id) => sets.get(id).is_some_and(|set| set.is_everyone(family)),
            Source::Named(_) => false,
        });
        let of_item = |item: &'a Item| {
            let places = self.by_set.get(&item.set).into_iter().flatten();
            places.filter_map(|&place| self.contributions.get(place)).map(move |c| match c.source {
                Source::Named(_) => (c, item.ports.as_ref().unwrap_or(&c.ports)),
                Source::Everyone | Source::Set(_) => (c, &c.ports),
            })
        };
        everyone.map(|c| (c, &c.ports)).chain(items.iter().flat_map(of_item))
    }

    /// What a class with the signature is allowed.
    pub(super) fn profile(&self, signature: &[Item], family: Family) -> Arc<PortSet> {
        let base = self.base(family);
        let mut parts: Vec<&Arc<PortSet>> = Vec::new();
        for item in signature {
            for &place in self.by_set.get(&item.set).into_iter().flatten() {
                let Some(contribution) = self.contributions.get(place) else { continue };
                parts.push(match contribution.source {
                    Source::Named(_) => item.ports.as_ref().unwrap_or(&contribution.ports),
                    Source::Everyone | Source::Set(_) => &contribution.ports,
                });
            }
        }
        if !base.is_nothing() {
            parts.push(base);
        }
        match parts.as_slice() {
            [] => Arc::clone(base),
            [one] => Arc::clone(one),
            parts => Arc::new(PortSet::union(parts.iter().map(|part| &***part))),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Groups {
    by_identity: HashMap<Identity, GroupId>,
    groups: BTreeMap<GroupId, Group>,
    users: HashMap<PeerSetId, BTreeSet<GroupId>>,
    /// Groups with something allowed to everyone, but not all: they have a row for every class. By family.
    open: [BTreeSet<GroupId>; 2],
    /// Groups whose columns are still to be made; and groups that no pod wants any more.
    fresh: BTreeSet<GroupId>,
    unwanted: BTreeSet<GroupId>,
    next: u32,
}

impl Groups {
    pub(super) fn get(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.groups.get_mut(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    pub(super) fn users(&self, set: PeerSetId) -> impl Iterator<Item = GroupId> {
        self.users.get(&set).into_iter().flatten().copied()
    }

    pub(super) fn open(&self, family: Family) -> &BTreeSet<GroupId> {
        let [v4, v6] = &self.open;
        match family {
            Family::V4 => v4,
            Family::V6 => v6,
        }
    }

    /// Has the columns of these groups made once more.
    pub(super) fn refresh(&mut self, groups: BTreeSet<GroupId>) {
        self.fresh.extend(groups);
    }

    pub(super) fn take_fresh(&mut self) -> BTreeSet<GroupId> {
        std::mem::take(&mut self.fresh)
    }

    pub(super) fn acquire(&mut self, key: GroupKey, sets: &mut PeerSets) -> GroupId {
        let identity = key.identity();
        if let Some(&id) = self.by_identity.get(&identity) {
            if let Some(group) = self.groups.get_mut(&id) {
                group.pods += 1;
                if group.pods == 1 {
                    self.unwanted.remove(&id);
                }
            }
            return id;
        }
        let id = GroupId(self.next);
        self.next = self.next.wrapping_add(1);
        let group = build(key, sets);
        for (family, open) in Family::ALL.into_iter().zip(&mut self.open) {
            if !group.base(family).is_nothing() && group.isolates(family) {
                open.insert(id);
            }
        }
        for set in group.sets() {
            self.users.entry(set).or_default().insert(id);
        }
        self.groups.insert(id, group);
        self.by_identity.insert(identity, id);
        self.fresh.insert(id);
        id
    }

    pub(super) fn release(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.pods -= 1;
        if group.pods == 0 {
            self.unwanted.insert(id);
        }
    }

    /// Ends the part that unwanted groups have in the matrix: their sets are released, and their columns stay as they were
    /// written until `take_retired`.
    pub(super) fn retire_unwanted(&mut self, sets: &mut PeerSets) {
        for id in &self.unwanted {
            let Some(group) = self.groups.get(id) else { continue };
            self.by_identity.remove(&group.key.identity());
            self.open.iter_mut().for_each(|open| _ = open.remove(id));
            self.fresh.remove(id);
            for set in group.by_set.keys() {
                if let Some(users) = self.users.get_mut(set) {
                    users.remove(id);
                    if users.is_empty() {
                        self.users.remove(set);
                    }
                }
            }
            for contribution in &group.contributions {
                match contribution.source {
                    Source::Everyone => {}
                    Source::Set(set) | Source::Named(set) => sets.release(set),
                }
            }
        }
    }

    pub(super) fn take_retired(&mut self) -> Vec<(GroupId, Group)> {
        let unwanted = std::mem::take(&mut self.unwanted);
        unwanted.into_iter().filter_map(|id| Some((id, self.groups.remove(&id)?))).collect()
    }
}

fn build(key: GroupKey, sets: &mut PeerSets) -> Group {
    let resolve: BTreeMap<&PortName, &Vec<u16>> = key.ports.iter().map(|(n, p)| (n, p)).collect();
    let mut contributions = Vec::new();
    for (policy_place, policy) in key.policies.iter().enumerate() {
        for (rule_place, rule) in policy.rules(key.direction).iter().enumerate() {
            let mut contribute = |source, ports| {
                contributions.push(Contribution {
                    policy: policy_place,
                    rule: rule_place,
                    source,
                    ports: Arc::new(ports),
                });
            };
            let own = &policy.key.namespace;
            let ports = numbered(rule, &resolve);
            if !ports.is_nothing() {
                let source = match PeerSetKey::of(&rule.peers, own, Vec::new()) {
                    Some(peers) => Source::Set(sets.acquire(peers)),
                    None => Source::Everyone,
                };
                contribute(source, ports);
            }
            let names = port_names(rule);
            if key.direction == Direction::Egress
                && !names.is_empty()
                && let Some(peers) = PeerSetKey::of(&rule.peers, own, names)
            {
                contribute(Source::Named(sets.acquire(peers)), PortSet::nothing());
            }
        }
    }
    let mut by_set: HashMap<PeerSetId, Vec<usize>> = HashMap::new();
    for (place, contribution) in contributions.iter().enumerate() {
        match contribution.source {
            Source::Everyone => {}
            Source::Set(id) | Source::Named(id) => by_set.entry(id).or_default().push(place),
        }
    }
    let base = Family::ALL.map(|family| {
        let everyone = contributions.iter().filter(|c| match c.source {
            Source::Everyone => true,
            Source::Set(id) => sets.get(id).is_some_and(|set| set.is_everyone(family)),
            Source::Named(_) => false,
        });
        Arc::new(PortSet::union(everyone.map(|c| &*c.ports)))
    });
    Group {
        key,
        contributions,
        by_set,
        base,
        pods: 1,
        members: [BTreeSet::new(), BTreeSet::new()],
        columns: [BTreeMap::new(), BTreeMap::new()],
    }
}
