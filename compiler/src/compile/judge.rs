//! Verdicts read off the matrix, with the policies and rules behind them.
//!
//! `Compiler::judge` reads the compiled matrix, whose groups are those of the local pods. `Judge` makes the entries of the
//! matrix that it is asked for: the group of a pod, and the peer sets of that group that an address is in. It needs no
//! classes and no rows, and judges every pod as if it were local.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::compiler::Compiler;
use super::groups::{Group, GroupKey, Groups};
use super::ids::{GroupId, PodGroups};
use super::peer_sets::{Item, PeerSet, PeerSets};
use super::policies::Policies;
use super::ranges::{Range, number};
use crate::decision::{Decision, Reason, RuleRef};
use crate::model::{Connection, Direction, Family, Pod, Policy};
use crate::snapshot::{PodId, Snapshot};

/// What one end of a connection, as a subject of policies, makes of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    NotAPod,
    Itself,
    OwnNode,
    NotIsolated,
    Isolated {
        /// Those that isolate the pod in the direction, by name.
        policies: Vec<Arc<Policy>>,
        /// The rules that allow the connection, sorted.
        allowing: Vec<RuleRef>,
    },
}

impl From<Standing> for Reason {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::NotAPod => Self::NotAPod,
            Standing::Itself => Self::Itself,
            Standing::OwnNode => Self::OwnNode,
            Standing::NotIsolated => Self::NotIsolated,
            Standing::Isolated { policies, allowing } if allowing.is_empty() => {
                let isolated_by = policies.iter().map(|policy| policy.key.clone()).collect();
                Self::Denied { isolated_by }
            }
            Standing::Isolated { allowing, .. } => Self::Allowed { by: allowing },
        }
    }
}

/// A direction's subject and peer.
const fn ends(connection: &Connection, direction: Direction) -> (IpAddr, IpAddr) {
    match direction {
        Direction::Egress => (connection.from, connection.to),
        Direction::Ingress => (connection.to, connection.from),
    }
}

/// The pod whose policies judge the direction; or what the direction is without a look at policies.
fn subject(snapshot: &Snapshot, subject: IpAddr, peer: IpAddr) -> Result<(PodId, &Pod), Standing> {
    let owner = snapshot.owner_id(subject);
    let pod = owner.and_then(|id| Some((id, snapshot.pod(id)?))).ok_or(Standing::NotAPod)?;
    if subject == peer {
        return Err(Standing::Itself);
    }
    if snapshot.is_own_node(pod.1, peer) {
        return Err(Standing::OwnNode);
    }
    Ok(pod)
}

/// How the group judges a connection with a peer that these items describe.
fn isolated(
    group: &Group,
    items: &[Item],
    connection: &Connection,
    policies: &Policies,
    sets: &PeerSets,
) -> Standing {
    let direction = group.key.direction;
    let policy = |id| policies.get(id).map(|indexed| &indexed.policy);
    let mut isolating: Vec<Arc<Policy>> =
        group.key.policies.iter().filter_map(|&id| policy(id).cloned()).collect();
    isolating.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let mut allowing: Vec<RuleRef> = group
        .contributions_for(items, Family::of(connection.to), sets)
        .filter(|(_, _, ports)| ports.contains(connection.protocol, connection.port))
        .filter_map(|(id, contribution, _)| {
            let policy = policy(id?)?.key.clone();
            Some(RuleRef { policy, direction, rule: contribution.rule })
        })
        .collect();
    allowing.sort_unstable();
    allowing.dedup();
    Standing::Isolated { policies: isolating, allowing }
}

fn of_direction(groups: PodGroups, direction: Direction) -> Option<GroupId> {
    let [ingress, egress] = groups;
    match direction {
        Direction::Ingress => ingress,
        Direction::Egress => egress,
    }
}

impl Compiler {
    /// The verdict on a connection, by the classes and groups that the program is made of. An end that is no local pod's is
    /// not isolated; see `Judge` for the verdict of all nodes together.
    pub fn judge(&self, connection: &Connection) -> Decision {
        let reason = |direction| Reason::from(self.standing(connection, direction));
        Decision::of(reason(Direction::Egress), reason(Direction::Ingress))
    }

    fn standing(&self, connection: &Connection, direction: Direction) -> Standing {
        let (address, peer) = ends(connection, direction);
        let id = match subject(&self.snapshot, address, peer) {
            Ok((id, _)) => id,
            Err(standing) => return standing,
        };
        let group = of_direction(self.subjects.groups_of(id), direction);
        let Some(group) = group.and_then(|group| self.groups.get(group)) else {
            return Standing::NotIsolated;
        };
        let family = Family::of(peer);
        let class = self.program.family(family).class_of(peer);
        let signature = self.families[family].classes.signature(class);
        let items = signature.map_or(&[][..], |signature| signature);
        isolated(group, items, connection, self.subjects.policies(), &self.sets)
    }
}

/// Judges connections between any pods and addresses of a snapshot, on demand: it costs what the policies of the pods that
/// are asked about cost, and no more.
#[derive(Debug)]
pub struct Judge<'a> {
    snapshot: &'a Snapshot,
    policies: Policies,
    groups: Groups,
    sets: PeerSets,
    /// The namespaces whose policies are in `policies`.
    namespaces: HashSet<Arc<str>>,
    /// The groups of the pods that were asked about.
    pods: HashMap<PodId, PodGroups>,
}

impl<'a> Judge<'a> {
    pub fn new(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot,
            policies: Policies::default(),
            groups: Groups::default(),
            sets: PeerSets::default(),
            namespaces: HashSet::new(),
            pods: HashMap::new(),
        }
    }

    pub fn snapshot(&self) -> &'a Snapshot {
        self.snapshot
    }

    /// The verdict on a connection, with every pod judged as if it were local.
    pub fn judge(&mut self, connection: &Connection) -> Decision {
        let mut reason = |direction| Reason::from(self.standing(connection, direction));
        Decision::of(reason(Direction::Egress), reason(Direction::Ingress))
    }

    pub(crate) fn standing(&mut self, connection: &Connection, direction: Direction) -> Standing {
        let (address, peer) = ends(connection, direction);
        let (id, pod) = match subject(self.snapshot, address, peer) {
            Ok(found) => found,
            Err(standing) => return standing,
        };
        let group = of_direction(self.groups_of(id, pod), direction);
        let Some(group) = group.and_then(|group| self.groups.get(group)) else {
            return Standing::NotIsolated;
        };
        let items = self.items(group, peer);
        isolated(group, &items, connection, &self.policies, &self.sets)
    }

    fn groups_of(&mut self, id: PodId, pod: &Pod) -> PodGroups {
        if let Some(&groups) = self.pods.get(&id) {
            return groups;
        }
        if self.namespaces.insert(Arc::clone(&pod.namespace)) {
            let keys = self.snapshot.policies_of(&pod.namespace).map(|policy| policy.key.clone());
            self.policies.update(&keys.collect::<BTreeSet<_>>(), self.snapshot);
        }
        let key = self.policies.enter(id, pod);
        let selection = self.policies.selection(&pod.namespace, &key);
        // A connection with the pod's own node is decided before the groups are looked at.
        let keys = Direction::ALL.map(|direction| GroupKey::of(direction, pod, selection?, &[]));
        let groups =
            keys.map(|key| Some(self.groups.acquire(key?, &self.policies, &mut self.sets)));
        self.pods.insert(id, groups);
        groups
    }

    /// The peer sets of the group that the address is in.
    fn items(&self, group: &Group, peer: IpAddr) -> Vec<Item> {
        let pod = self.snapshot.owner(peer);
        let namespace = pod.and_then(|pod| self.snapshot.namespace(&pod.namespace));
        let (family, peer) = (Family::of(peer), number(peer));
        let item = |id| {
            let set: &PeerSet = self.sets.get(id)?;
            let selected = pod.zip(namespace).is_some_and(|(p, n)| set.matches(n, &p.labels));
            if set.is_everyone(family) || !(selected || holds(set.key.ranges(family), peer)) {
                return None;
            }
            match pod {
                Some(pod) => set.item(id, &pod.ports),
                // A port name is looked up on pods alone.
                None => set.key.names.is_empty().then_some(Item { set: id, ports: None }),
            }
        };
        group.sets().filter_map(item).collect()
    }
}

/// Whether one of the ranges, which are sorted and disjoint, holds the address.
fn holds(ranges: &[Range], address: u128) -> bool {
    let after = ranges.partition_point(|&(first, _)| first <= address);
    let before = after.checked_sub(1).and_then(|at| ranges.get(at));
    before.is_some_and(|&(_, last)| address <= last)
}
