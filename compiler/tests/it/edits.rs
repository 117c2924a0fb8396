//! The changes that an explanation names: made in the snapshot, they do turn the verdict that the specification gives.

use palisade_compiler::compile::Judge;
use palisade_compiler::explain::{
    Edit, Edits, Explanation, Outcome, PolicyMiss, edits, explain, mending,
};
use palisade_compiler::model::{Connection, Direction, Verdict};
use palisade_compiler::oracle::{self, Decision, Reason};
use palisade_compiler::snapshot::{Change, Snapshot, UndeclaredNamespaces};
use palisade_compiler::testkit::{
    Cluster, Rng, connection, namespace, node, pod, policy, probes, rule,
};

use crate::parallel::{count, for_each_seed, guarded};

/// Overridden by `PALISADE_EDITED_CLUSTERS`.
const CLUSTERS: u64 = 3_000;
/// Of each cluster's probes.
const PROBES: usize = 60;

#[test]
fn each_edit_that_is_named_turns_the_verdict() {
    let regressions = include_str!("../regressions/edits.txt");
    for_each_seed(regressions, count("PALISADE_EDITED_CLUSTERS", CLUSTERS), |seed| {
        let check = |cluster: &Cluster| guarded(|| check(cluster, seed));
        let cluster = Cluster::random(seed);
        if check(&cluster).is_ok() {
            return Ok(());
        }
        let least = cluster.minimized(|smaller| check(smaller).is_err());
        Err(format!("{}\nin the cluster\n{least}", check(&least).err().unwrap_or_default()))
    });
}

/// In every other cluster, nothing is known of a namespace that is only named.
fn snapshot(cluster: &Cluster, seed: u64) -> Snapshot {
    let mut snapshot = match seed % 2 {
        0 => Snapshot::new(),
        _ => Snapshot::with_undeclared(UndeclaredNamespaces::Absent),
    };
    cluster.changes.iter().cloned().for_each(|change| snapshot.apply(change));
    snapshot
}

fn check(cluster: &Cluster, seed: u64) -> Result<(), String> {
    let mut snapshot = snapshot(cluster, seed);
    for connection in probes(&snapshot, &mut Rng::new(seed)).iter().take(PROBES) {
        let before = oracle::decide(&snapshot, connection);
        let explanation = explain(&mut Judge::new(&snapshot), connection, None);
        let edits = edits(&snapshot, &explanation);
        let found = turns(&mut snapshot, connection, &before, &edits)
            .and_then(|()| opens_where_it_can(&snapshot, &explanation, &edits))
            .and_then(|()| mends(&mut snapshot, &explanation));
        found.map_err(|error| format!("{connection:?}: {error}\n  it was: {before:?}"))?;
    }
    Ok(())
}

/// The decision with these edits made, after which they are undone.
fn edited(snapshot: &mut Snapshot, connection: &Connection, edits: &[&Edit]) -> Option<Decision> {
    let mut undo: Vec<Change> = Vec::new();
    for edit in edits {
        let (change, back) = edit.changes(snapshot)?;
        snapshot.apply(change);
        undo.push(back);
    }
    let decision = oracle::decide(snapshot, connection);
    undo.into_iter().rev().for_each(|change| snapshot.apply(change));
    Some(decision)
}

fn turns(
    snapshot: &mut Snapshot,
    connection: &Connection,
    before: &Decision,
    edits: &Edits,
) -> Result<(), String> {
    let single = edits.each.iter().map(|edit| vec![edit]);
    let pairs =
        edits.egress.iter().flat_map(|one| edits.ingress.iter().map(move |two| vec![one, two]));
    for together in single.chain(pairs) {
        let after = edited(snapshot, connection, &together).ok_or("an edit cannot be made")?;
        if after.verdict == before.verdict {
            return Err(format!("{together:?} leave it so: {after:?}"));
        }
    }
    for alone in edits.egress.iter().chain(&edits.ingress) {
        let after = edited(snapshot, connection, &[alone]).ok_or("an edit cannot be made")?;
        if after.verdict != before.verdict {
            return Err(format!("{alone} is enough alone"));
        }
    }
    Ok(())
}

/// Whatever is denied can be allowed by a rule, or by one in each direction, in any policy without wrong fields.
fn opens_where_it_can(
    snapshot: &Snapshot,
    explanation: &Explanation,
    edits: &Edits,
) -> Result<(), String> {
    let sides = [&explanation.egress, &explanation.ingress];
    let mut denying = sides.into_iter().filter(|side| side.verdict() == Verdict::Deny);
    let is_sound = |key| snapshot.policy(key).is_some_and(|policy| policy.fault.is_none());
    let can = denying.clone().next().is_some()
        && denying.all(|side| side.isolated_by.iter().any(is_sound));
    if can && edits.each.is_empty() && edits.egress.is_empty() {
        return Err("nothing is named that would allow it".into());
    }
    Ok(())
}

/// The nearest miss of each policy that isolates, mended, makes this policy allow the connection.
fn mends(snapshot: &mut Snapshot, explanation: &Explanation) -> Result<(), String> {
    for side in [&explanation.egress, &explanation.ingress] {
        let Outcome::Denied { misses, .. } = &side.outcome else { continue };
        for miss in misses {
            mends_policy(snapshot, explanation, miss)?;
        }
    }
    Ok(())
}

fn mends_policy(
    snapshot: &mut Snapshot,
    explanation: &Explanation,
    miss: &PolicyMiss,
) -> Result<(), String> {
    let mended = mending(snapshot, explanation, miss);
    if snapshot.policy(&miss.policy).is_some_and(|policy| policy.fault.is_some()) {
        return Ok(());
    }
    let together: Vec<&Edit> = mended.iter().collect();
    let after = edited(snapshot, &explanation.connection, &together);
    let after = after.ok_or("an edit cannot be made")?;
    let reason = match miss.direction {
        Direction::Egress => &after.egress.reason,
        Direction::Ingress => &after.ingress.reason,
    };
    match reason {
        Reason::Allowed { by } if by.iter().any(|rule| rule.policy == miss.policy) => Ok(()),
        other => Err(format!("{} mended by {mended:?} says {other:?}", miss.policy)),
    }
}

/// A shop as in the tests of explanations.
fn shop() -> Cluster {
    Cluster::new()
        .with(namespace("shop", "team=shop"))
        .with(namespace("lab", "team=lab"))
        .with(node("n1", &["192.168.0.1"]))
        .with(pod("shop/web").labelled("app=web,pod-template-hash=1").ip("10.0.0.1").on("n1"))
        .with(pod("shop/api").labelled("app=api").ip("10.0.0.2").on("n1"))
        .with(pod("lab/tester").labelled("app=web").ip("10.0.1.1").on("n1"))
}

/// What is named, a line for each edit.
fn named(cluster: &Cluster, text: &str) -> [Vec<String>; 3] {
    let snapshot = cluster.snapshot();
    let explanation = explain(&mut Judge::new(&snapshot), &connection(&snapshot, text), None);
    let Edits { each, egress, ingress } = edits(&snapshot, &explanation);
    [each, egress, ingress].map(|list| list.iter().map(ToString::to_string).collect())
}

#[test]
fn the_smallest_change_comes_first() {
    let to_api = |of| shop().with(policy("shop/p").select("app=api").allow_in(of));
    let each = |of, text: &str| named(&to_api(of), text)[0].clone();
    let a_rule = |from: &str, port| {
        format!("NetworkPolicy shop/p: add to spec.ingress a rule from {from} on TCP port {port}")
    };
    let a_peer = |from: &str| format!("NetworkPolicy shop/p: add {from} to spec.ingress[0].from");
    let web = "the pods with app=web of namespace shop";
    assert_eq!(
        each(rule().pods("app=front").tcp(80), "shop/web -> shop/api tcp 80"),
        [
            "Pod shop/web: set the label app=front (it is web)".to_owned(),
            a_peer(web),
            a_rule(web, 80)
        ]
    );
    assert_eq!(
        each(rule().pods("app=web").tcp(80), "shop/web -> shop/api tcp 81"),
        [
            "NetworkPolicy shop/p: add TCP port 81 to spec.ingress[0].ports".to_owned(),
            a_rule(web, 81)
        ]
    );
    let tester = "the pods with app=web of namespace lab";
    assert_eq!(
        each(rule().pods_in("team=shop", "app=web"), "lab/tester -> shop/api tcp 80"),
        [
            "Namespace lab: set the label team=shop (it is lab)".to_owned(),
            a_peer(tester),
            a_rule(tester, 80)
        ]
    );
    let outside = "the ipBlock 198.51.100.7/32";
    let block = rule().block("198.51.100.0/24", &["198.51.100.0/28"]);
    assert_eq!(
        each(block, "198.51.100.7 -> shop/api tcp 80"),
        [
            "NetworkPolicy shop/p: remove 198.51.100.0/28 from spec.ingress[0].from[0].ipBlock.except"
                .to_owned(),
            a_peer(outside),
            a_rule(outside, 80)
        ]
    );
}

#[test]
fn where_both_directions_deny_two_changes_are_named() {
    let cluster = shop()
        .with(policy("shop/in").select("app=api").isolate_ingress())
        .with(policy("shop/out").select("app=web").isolate_egress());
    let [each, egress, ingress] = named(&cluster, "shop/web -> shop/api tcp 80");
    assert!(each.is_empty(), "{each:?}");
    assert_eq!(
        egress,
        [
            "NetworkPolicy shop/out: add to spec.egress a rule to the pods with app=api of namespace shop on TCP port 80"
        ]
    );
    assert_eq!(
        ingress,
        [
            "NetworkPolicy shop/in: add to spec.ingress a rule from the pods with app=web of namespace shop on TCP port 80"
        ]
    );
    // A label that takes the sender out of its isolation and into the receiver's rule is enough.
    let cluster =
        cluster.with(policy("shop/in").select("app=api").allow_in(rule().pods("app=front")));
    let [each, egress, ingress] = named(&cluster, "shop/web -> shop/api tcp 80");
    assert_eq!(each, ["Pod shop/web: set the label app=front (it is web)"]);
    assert!(egress.is_empty() && ingress.is_empty());
}

#[test]
fn what_would_deny_is_named_where_it_is_allowed() {
    let open = named(&shop(), "shop/web -> shop/api tcp 80");
    assert_eq!(
        open[0],
        [
            "another NetworkPolicy that isolates the pods with app=web of namespace shop for egress",
            "another NetworkPolicy that isolates the pods with app=api of namespace shop for ingress"
        ]
    );
    let allowed = |of| {
        let cluster = shop()
            .with(policy("shop/p").select("app=api").allow_in(of))
            .with(policy("shop/out").select("app=web").allow_out(rule()).allow_out(rule()));
        named(&cluster, "shop/web -> shop/api tcp 80")[0].clone()
    };
    // Without the label nothing isolates the sender, and the receiver denies it.
    assert_eq!(
        allowed(rule().pods("app=web")),
        [
            "Pod shop/web: remove the label app (it is web)",
            "NetworkPolicy shop/p: remove spec.ingress[0]"
        ]
    );
    let block = rule().block("10.0.0.0/24", &[]).pods("app=x").tcp(80).tcp(81);
    assert_eq!(
        allowed(block),
        [
            "NetworkPolicy shop/p: remove spec.ingress[0].ports[0]",
            "NetworkPolicy shop/p: add 10.0.0.1/32 to spec.ingress[0].from[0].ipBlock.except",
            "NetworkPolicy shop/p: remove spec.ingress[0].from[0]",
            "NetworkPolicy shop/p: remove spec.ingress[0]"
        ]
    );
    // Two rules allow it in either direction, and nothing is named that takes both away.
    let twice = shop()
        .with(policy("shop/p").select("app=api").allow_in(rule()).allow_in(rule().tcp(80)))
        .with(policy("shop/out").select("app=web").allow_out(rule()).allow_out(rule()));
    assert_eq!(named(&twice, "shop/web -> shop/api tcp 80")[0], [""; 0]);
    let own_node = named(&shop(), "shop/web -> 192.168.0.1 tcp 80");
    assert_eq!(own_node, [vec![], vec![], vec![]] as [Vec<String>; 3]);
}

/// No rule can be added to a policy with wrong fields, and no label undoes them.
#[test]
fn of_a_policy_with_wrong_fields_nothing_is_named() {
    let broken = palisade_compiler::model::Policy {
        fault: Some("unknown field".into()),
        ..policy("shop/p").select("app=api").isolate_ingress()
    };
    assert_eq!(named(&shop().with(broken), "shop/web -> shop/api tcp 80")[0], [""; 0]);
}
