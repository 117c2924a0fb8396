//! Random clusters: nothing panics, the same objects give the same findings, and what is said to match nothing matches nothing.

use std::net::IpAddr;

use palisade_compiler::lint::{Code, Finding, lint};
use palisade_compiler::model::{
    Connection, Namespaces, Peer, Peers, Pod, Policy, PolicyKey, Selector,
};
use palisade_compiler::oracle;
use palisade_compiler::snapshot::Snapshot;
use palisade_compiler::testkit::{Cluster, Rng, probes};

use crate::parallel::{count, for_each_seed, guarded};

/// Overridden by `PALISADE_LINT_CLUSTERS`.
const CLUSTERS: u64 = 5_000;

#[test]
fn what_is_said_to_match_nothing_matches_nothing() {
    for_each_seed("", count("PALISADE_LINT_CLUSTERS", CLUSTERS), |seed| {
        let cluster = Cluster::random(seed);
        guarded(|| check(&cluster, seed))
            .map_err(|error| format!("{error}\nin the cluster\n{cluster}"))
    });
}

fn check(cluster: &Cluster, seed: u64) -> Result<(), String> {
    let snapshot = cluster.snapshot();
    let report = lint(&snapshot);
    let mut backwards = Cluster::new();
    backwards.changes.extend(last_of_each(cluster));
    if lint(&backwards.snapshot()) != report {
        return Err("the order of the objects changes the findings".to_owned());
    }
    for finding in &report.findings {
        judge(&snapshot, finding).map_err(|error| format!("{error}: {finding:?}"))?;
    }
    subsumed_policies_add_nothing(cluster, seed)
}

/// The changes, the last one first, without those that a later one of the same object replaces.
fn last_of_each(cluster: &Cluster) -> Vec<palisade_compiler::snapshot::Change> {
    use palisade_compiler::snapshot::Change;
    let name = |change: &Change| match change {
        Change::ApplyPod(pod) => format!("pod {}/{}", pod.namespace, pod.name),
        Change::ApplyPolicy(policy) => format!("policy {}", policy.key),
        Change::ApplyNamespace(namespace) => format!("namespace {}", namespace.name),
        Change::ApplyNode(node) => format!("node {}", node.name),
        other => format!("{other:?}"),
    };
    let mut seen = std::collections::HashSet::new();
    let backwards = cluster.changes.iter().rev();
    backwards.filter(|change| seen.insert(name(change))).cloned().collect()
}

fn policy<'s>(snapshot: &'s Snapshot, finding: &Finding) -> Option<&'s Policy> {
    let object = finding.object.as_ref()?;
    let namespace = object.namespace.as_deref()?.into();
    let key = PolicyKey { namespace, name: object.name.as_str().into() };
    snapshot.policy(&key).map(AsRef::as_ref)
}

fn judge(snapshot: &Snapshot, finding: &Finding) -> Result<(), String> {
    let Some(policy) = policy(snapshot, finding) else { return Ok(()) };
    let is_subject =
        |pod: &&Pod| pod.namespace == policy.key.namespace && policy.subjects.matches(&pod.labels);
    let selected = || snapshot.pods().filter(|pod| pod.has_identity()).filter(is_subject);
    match finding.code {
        Code::SelectsNoPod | Code::SelectsOnlyHostPods | Code::NamespaceHasNoPods => {
            if let Some(pod) = selected().next() {
                return Err(format!("it selects {}", pod.name));
            }
        }
        Code::PeerMatchesNoPod
        | Code::PeerMatchesNoNamespace
        | Code::AndForOr
        | Code::OrForAnd
        | Code::PeerOnHostNetwork
        | Code::PeerNamespacesHaveNoPods => {
            let peer = entry(policy, finding.field.as_deref().unwrap_or_default())
                .ok_or("there is no such entry")?;
            if let Some(pod) = snapshot.pods().find(|pod| is_peer(snapshot, policy, peer, pod)) {
                return Err(format!("it matches {}/{}", pod.namespace, pod.name));
            }
        }
        _ => {}
    }
    Ok(())
}

/// The entry of `from` or `to` that a field names.
fn entry<'p>(policy: &'p Policy, field: &str) -> Option<&'p Peer> {
    let numbers: Vec<usize> =
        field.split(['[', ']']).filter_map(|part| part.parse().ok()).collect();
    let rules = if field.contains("ingress") { &policy.ingress } else { &policy.egress };
    let Peers::AnyOf(peers) = &rules.get(*numbers.first()?)?.peers else { return None };
    peers.get(*numbers.get(1)?)
}

fn is_peer(snapshot: &Snapshot, policy: &Policy, peer: &Peer, pod: &Pod) -> bool {
    let Peer::Pods { namespaces, pods } = peer else { return false };
    let has = |selector: &Selector| {
        snapshot.namespace(&pod.namespace).is_some_and(|n| selector.matches(&n.labels))
    };
    let is_there = match namespaces {
        Namespaces::Own => pod.namespace == policy.key.namespace && has(&Selector::everything()),
        Namespaces::Selected(selector) => has(selector),
    };
    pod.has_identity() && is_there && pods.matches(&pod.labels)
}

/// Without one that is said to add nothing, the oracle gives every probe the same verdict.
fn subsumed_policies_add_nothing(cluster: &Cluster, seed: u64) -> Result<(), String> {
    let whole = cluster.snapshot();
    let report = lint(&whole);
    let superfluous = report.findings.iter().find(|finding| finding.code == Code::Subsumed);
    let Some(policy) = superfluous.and_then(|finding| policy(&whole, finding)) else {
        return Ok(());
    };
    let mut without = cluster.snapshot();
    without.apply(palisade_compiler::snapshot::Change::DeletePolicy(policy.key.clone()));
    for connection in probes(&whole, &mut Rng::new(seed)) {
        let verdicts = [&whole, &without].map(|s| oracle::decide(s, &connection).verdict);
        if verdicts[0] != verdicts[1] {
            return Err(format!("{} decides {connection:?}", policy.key));
        }
    }
    Ok(())
}

/// What the linter says of pods' addresses is what the snapshot says.
#[test]
fn a_block_that_is_said_to_lose_everything_allows_nobody() {
    for seed in 0..2_000 {
        let cluster = Cluster::random(seed);
        let snapshot = cluster.snapshot();
        let report = lint(&snapshot);
        let mut rng = Rng::new(seed);
        let addresses: Vec<IpAddr> = probes(&snapshot, &mut rng)
            .into_iter()
            .flat_map(|Connection { from, to, .. }| [from, to])
            .collect();
        for finding in report.findings.iter().filter(|f| f.code == Code::ExceptRemovesEverything) {
            let policy = policy(&snapshot, finding).unwrap();
            let Some(Peer::Block(block)) = entry(policy, finding.field.as_deref().unwrap()) else {
                panic!("{finding:?} names no block");
            };
            assert!(
                !addresses.iter().any(|address| block.contains(*address)),
                "{seed}: {finding:?}"
            );
        }
    }
}
