//! How many addresses policies isolate, counted before anything is compiled.

use hashbrown::HashMap;

use super::locality::Locality;
use super::peers::PeerSetKey;
use super::policies::{Policies, PolicyList};
use crate::model::{Direction, Family, PerFamily, Policy, Ports};
use crate::snapshot::Snapshot;

/// How many addresses the policies isolate in one direction, that with more of them: the number of subjects that a compile
/// would have.
///
/// For a caller that refuses more than `MAX_SUBJECTS`, and then need not compile at all. It costs a look at each local pod, and
/// at the policies once for all pods that they do not tell apart.
pub fn count_subjects(snapshot: &Snapshot, locality: &Locality) -> PerFamily<usize> {
    let mut policies = Policies::default();
    policies.update(&snapshot.policies().map(|policy| policy.key.clone()).collect(), snapshot);
    let mut isolates: HashMap<(PolicyList, Direction), PerFamily<bool>> = HashMap::new();
    let mut counts: PerFamily<[usize; 2]> = PerFamily::default();
    let everything = snapshot.everything();
    for id in everything.pods {
        let Some(pod) = snapshot.pod(id).filter(|pod| locality.holds(pod)) else { continue };
        let key = policies.enter(id, pod);
        let Some(selection) = policies.selection(&pod.namespace, &key) else { continue };
        let owned = pod.addresses.iter().filter(|&a| snapshot.owner_id(a) == Some(id));
        let families: Vec<Family> = owned.map(Family::of).collect();
        for (place, direction) in Direction::ALL.into_iter().enumerate() {
            let Some(list) = selection.list(direction) else { continue };
            let isolated = isolates.entry((list.clone(), direction)).or_insert_with(|| {
                PerFamily::from_fn(|family| {
                    let all = list.iter().filter_map(|&id| policies.get(id));
                    !all.into_iter().any(|p| opens(&p.policy, direction, family))
                })
            });
            for &family in families.iter().filter(|&&family| isolated[family]) {
                if let Some(count) = counts[family].get_mut(place) {
                    *count += 1;
                }
            }
        }
    }
    counts.map(|directions| directions.into_iter().max().unwrap_or_default())
}

/// Whether a rule of the policy allows everything to every address of the family, so that nothing is isolated.
fn opens(policy: &Policy, direction: Direction, family: Family) -> bool {
    policy.rules(direction).iter().any(|rule| {
        rule.ports == Ports::Every
            && PeerSetKey::of(&rule.peers, &policy.key.namespace, Vec::new())
                .is_none_or(|peers| peers.is_everyone(family))
    })
}
