//! Groups the subjects: local pods that are selected by the same policies, and whose port names in these policies have the
//! same numbers.
//!
//! What a class of peers is allowed follows from the signature of the class and the contributions of the group. Therefore
//! each column of the matrix (group x class) is computed once for all pods of the group.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;

use super::contributions::{
    Contribution, Contributions, PolicyContributions, ResolvedPorts, Source,
};
use super::ids::{GroupId, PeerSetId, PolicyId, PortName};
use super::peer_sets::{Item, PeerSets};
use super::policies::{Policies, PolicyList, Selection};
use crate::model::{Direction, Family, PerFamily, Pod};
use crate::program::{ClassId, PortSet, ProfileId};

/// What all pods of a group have in common, in one direction.
#[derive(Debug, Clone)]
pub(super) struct GroupKey {
    /// The namespace of the pods, and therefore of the policies.
    pub(super) namespace: Arc<str>,
    pub(super) direction: Direction,
    /// The policies that isolate the pods in this direction. Never empty.
    pub(super) policies: PolicyList,
    /// For ingress, the numbers that the port names of the rules have on these pods.
    pub(super) ports: ResolvedPorts,
    /// The addresses of the pods' node, sorted. They are always allowed, whatever the policies say.
    pub(super) node: Vec<IpAddr>,
}

/// Equal lists of policies share one allocation, so its address stands for the contents.
type Identity = (Direction, usize, ResolvedPorts, Vec<IpAddr>);

impl GroupKey {
    /// The key for a pod with this selection on a node with these addresses. Returns `None` if no policy isolates the pod
    /// in this direction.
    pub(super) fn of(
        direction: Direction,
        pod: &Pod,
        selection: &Selection,
        node: &[IpAddr],
    ) -> Option<Self> {
        let policies = Arc::clone(selection.list(direction)?);
        let ports = match direction {
            Direction::Ingress => resolved(selection, pod),
            Direction::Egress => ResolvedPorts::new(),
        };
        let namespace = Arc::clone(&pod.namespace);
        Some(Self { namespace, direction, policies, ports, node: node.to_vec() })
    }

    fn identity(&self) -> Identity {
        let list = Arc::as_ptr(&self.policies).cast::<PolicyId>() as usize;
        (self.direction, list, self.ports.clone(), self.node.clone())
    }
}

/// The numbers that the port names of the ingress rules have on the pod.
fn resolved(selection: &Selection, pod: &Pod) -> ResolvedPorts {
    let resolve = |name: &PortName| (name.clone(), pod.named_ports(&name.1, name.0).collect());
    let resolved = selection.names().map(resolve);
    resolved.filter(|(_, numbers): &(_, Vec<u16>)| !numbers.is_empty()).collect()
}

/// The position of a contribution: the index of its policy, and its index in that policy's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ContributionIndex {
    policy: u32,
    at: u32,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) key: GroupKey,
    /// One entry for each policy, in the order of the key. Then the entry of the pods' own node, if its addresses are
    /// known.
    contributions: Vec<Arc<PolicyContributions>>,
    /// The positions of the contributions to everyone, and those of the others by peer set, sorted by set.
    to_everyone: Vec<ContributionIndex>,
    by_set: Vec<(PeerSetId, ContributionIndex)>,
    /// What every address is allowed.
    base: PerFamily<Arc<PortSet>>,
    /// How many local pods are in the group.
    pods: usize,
    /// The addresses of the group's pods that are subjects, by family.
    pub(super) members: PerFamily<BTreeSet<IpAddr>>,
    pub(super) columns: PerFamily<Column>,
}

/// What a group allows each class. The base applies to a class without an entry.
pub(super) type Column = BTreeMap<ClassId, ProfileId>;

impl Group {
    pub(super) fn base(&self, family: Family) -> &Arc<PortSet> {
        &self.base[family]
    }

    /// Whether the base leaves anything out. A group that allows everyone everything isolates nothing.
    pub(super) fn isolates(&self, family: Family) -> bool {
        !self.base(family).is_everything()
    }

    pub(super) fn members(&self, family: Family) -> &BTreeSet<IpAddr> {
        &self.members[family]
    }

    pub(super) fn column(&self, family: Family) -> &Column {
        &self.columns[family]
    }

    /// The peer sets of its contributions. Each set is returned once.
    pub(super) fn sets(&self) -> impl Iterator<Item = PeerSetId> {
        let mut last = None;
        self.by_set
            .iter()
            .filter_map(move |&(set, _)| (last.replace(set) != Some(set)).then_some(set))
    }

    fn contribution(&self, index: ContributionIndex) -> Option<(Option<PolicyId>, &Contribution)> {
        let of_policy = self.contributions.get(index.policy as usize)?;
        Some((of_policy.policy(), of_policy.list.get(index.at as usize)?))
    }

    fn contributions_by(
        &self,
        set: PeerSetId,
    ) -> impl Iterator<Item = (Option<PolicyId>, &Contribution)> {
        let start = self.by_set.partition_point(|(other, _)| *other < set);
        let indexes = self.by_set.iter().skip(start).take_while(move |(other, _)| *other == set);
        indexes.filter_map(|&(_, index)| self.contribution(index))
    }

    /// Every contribution that applies to a peer with these items, with its policy and the ports that it allows. The
    /// contribution of the pods' own node has no policy.
    pub(super) fn contributions_for<'a>(
        &'a self,
        items: &'a [Item],
        family: Family,
        sets: &'a PeerSets,
    ) -> impl Iterator<Item = (Option<PolicyId>, &'a Contribution, &'a PortSet)> {
        let everyones = self
            .by_set
            .iter()
            .filter(move |(set, _)| sets.get(*set).is_some_and(|set| set.is_everyone(family)));
        let indexes = self.to_everyone.iter().chain(everyones.map(|(_, index)| index));
        let base = indexes.filter_map(|&index| self.contribution(index));
        let of_item = |item: &'a Item| {
            self.contributions_by(item.set)
                .map(move |(policy, c)| (policy, c, &**ports_of(c, item)))
        };
        base.map(|(policy, c)| (policy, c, &*c.ports)).chain(items.iter().flat_map(of_item))
    }

    /// What a class with this signature is allowed. Policies only add, so it is never less than the base.
    pub(super) fn profile(&self, signature: &[Item], family: Family) -> Arc<PortSet> {
        let base = self.base(family);
        let mut parts: Vec<&Arc<PortSet>> = Vec::new();
        for item in signature {
            parts.extend(self.contributions_by(item.set).map(|(_, c)| ports_of(c, item)));
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

/// The ports that a contribution allows a peer that is in the item's set.
fn ports_of<'a>(contribution: &'a Contribution, item: &'a Item) -> &'a Arc<PortSet> {
    match contribution.source {
        Source::Named(_) => item.ports.as_ref().unwrap_or(&contribution.ports),
        Source::Everyone | Source::Set(_) => &contribution.ports,
    }
}

#[derive(Debug, Default)]
pub(super) struct Groups {
    by_identity: HashMap<Identity, GroupId>,
    groups: BTreeMap<GroupId, Group>,
    /// For each peer set, the groups with a contribution to it.
    users: HashMap<PeerSetId, BTreeSet<GroupId>>,
    contributions: Contributions,
    /// Groups whose columns have not been computed yet, and groups without pods.
    new: BTreeSet<GroupId>,
    unused: BTreeSet<GroupId>,
    next: u32,
}

impl Groups {
    pub(super) fn get(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.groups.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        self.groups.iter().map(|(&id, group)| (id, group))
    }

    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    pub(super) fn users(&self, set: PeerSetId) -> impl Iterator<Item = GroupId> {
        self.users.get(&set).into_iter().flatten().copied()
    }

    pub(super) fn take_new(&mut self) -> BTreeSet<GroupId> {
        std::mem::take(&mut self.new)
    }

    /// Adds a pod to the group with this key, and returns the group.
    pub(super) fn acquire(
        &mut self,
        key: GroupKey,
        policies: &Policies,
        sets: &mut PeerSets,
    ) -> GroupId {
        let identity = key.identity();
        if let Some(&id) = self.by_identity.get(&identity) {
            if let Some(group) = self.groups.get_mut(&id) {
                group.pods += 1;
                if group.pods == 1 {
                    self.unused.remove(&id);
                }
            }
            return id;
        }
        let id = GroupId(self.next);
        self.next = self.next.wrapping_add(1);
        let group = self.build(key, policies, sets);
        for set in group.sets() {
            self.users.entry(set).or_default().insert(id);
        }
        self.groups.insert(id, group);
        self.by_identity.insert(identity, id);
        self.new.insert(id);
        id
    }

    fn build(&mut self, key: GroupKey, policies: &Policies, sets: &mut PeerSets) -> Group {
        let of_policy = |&id: &PolicyId| {
            self.contributions.acquire(id, key.direction, &key.ports, policies, sets)
        };
        let mut contributions: Vec<_> = key.policies.iter().filter_map(of_policy).collect();
        if !key.node.is_empty() {
            contributions.push(PolicyContributions::of_node(&key.node, sets));
        }
        let (mut to_everyone, mut by_set) = (Vec::new(), Vec::new());
        for (policy, of_policy) in (0_u32..).zip(&contributions) {
            for (at, contribution) in (0_u32..).zip(&of_policy.list) {
                match contribution.source.set() {
                    None => to_everyone.push(ContributionIndex { policy, at }),
                    Some(set) => by_set.push((set, ContributionIndex { policy, at })),
                }
            }
        }
        by_set.sort_unstable();
        let mut group = Group {
            key,
            contributions,
            to_everyone,
            by_set,
            base: PerFamily::default(),
            pods: 1,
            members: PerFamily::default(),
            columns: PerFamily::default(),
        };
        group.base = PerFamily::from_fn(|family| {
            let parts = group.contributions_for(&[], family, sets).map(|(_, _, ports)| ports);
            Arc::new(PortSet::union(parts))
        });
        group
    }

    pub(super) fn release(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.pods -= 1;
        if group.pods == 0 {
            self.unused.insert(id);
        }
    }

    /// Releases the peer sets and contributions of groups without pods. Their columns stay until `take_retired`.
    pub(super) fn retire_unused(&mut self, sets: &mut PeerSets) {
        for id in &self.unused {
            let Some(group) = self.groups.get_mut(id) else { continue };
            self.by_identity.remove(&group.key.identity());
            self.new.remove(id);
            for set in group.sets() {
                if let Some(users) = self.users.get_mut(&set) {
                    users.remove(id);
                    if users.is_empty() {
                        self.users.remove(&set);
                    }
                }
            }
            for of_policy in group.contributions.drain(..) {
                self.contributions.release(of_policy, sets);
            }
        }
    }

    pub(super) fn take_retired(&mut self) -> Vec<(GroupId, Group)> {
        let unused = std::mem::take(&mut self.unused);
        unused.into_iter().filter_map(|id| Some((id, self.groups.remove(&id)?))).collect()
    }
}
