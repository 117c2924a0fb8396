//! The properties of a scenario: the oracle's verdicts, connections of every kind, and edits that change a verdict.

use std::collections::BTreeSet;

use palisade_benches::scenario::{EditKind, Flow, Scenario, ScenarioShape, Selected};
use palisade_compiler::model::{Pod, Verdict};
use palisade_compiler::oracle::decide;
use palisade_compiler::snapshot::Snapshot;

fn scenarios() -> impl Iterator<Item = Scenario> {
    ScenarioShape::ALL.into_iter().flat_map(|shape| {
        let small = Scenario::new(shape, 40, 400, 7);
        [small.clone(), small.dual_stack()]
    })
}

/// The verdict of the node according to the oracle on the whole cluster.
fn verdict(snapshot: &Snapshot, flow: &Flow) -> Verdict {
    let is_local = |address| {
        let local = |pod: &Pod| pod.node == Some(Scenario::node());
        snapshot.owner(address).is_some_and(local)
    };
    let decision = decide(snapshot, &flow.connection());
    let mut verdict = Verdict::Allow;
    for (end, decision) in [(flow.from, decision.egress), (flow.to, decision.ingress)] {
        if is_local(end) {
            verdict = verdict.and(decision.verdict);
        }
    }
    verdict
}

#[test]
fn flows_have_the_verdict_that_the_whole_cluster_gives_them() {
    for scenario in scenarios() {
        let snapshot = scenario.snapshot();
        for allowed in [true, false] {
            let flows = scenario.flows(64, allowed);
            assert_eq!(flows.len(), 64, "{}", scenario.name());
            let expected = if allowed { Verdict::Allow } else { Verdict::Deny };
            for flow in flows {
                assert_eq!(verdict(&snapshot, &flow), expected, "{} {flow:?}", scenario.name());
            }
        }
    }
}

#[test]
fn there_are_flows_of_every_selection() {
    for scenario in scenarios() {
        for selected in Selected::ALL {
            let flows = scenario.flows_selected(selected, 64, Verdict::Allow);
            assert_eq!(flows.len(), 64, "{} {selected:?}", scenario.name());
        }
        let denied = scenario.flows_selected(Selected::Both, 64, Verdict::Deny);
        assert_eq!(denied.len(), 64, "{} denied", scenario.name());
        assert!(scenario.flows_selected(Selected::None, 64, Verdict::Deny).is_empty());
    }
}

#[test]
fn each_edit_turns_its_probe() {
    for scenario in scenarios() {
        let mut snapshot = scenario.snapshot();
        let mut kinds = BTreeSet::new();
        for edit in scenario.edits().take(200) {
            assert_ne!(edit.from, edit.to);
            assert_eq!(verdict(&snapshot, &edit.probe), edit.from, "before {edit:?}");
            snapshot.apply(edit.change.clone());
            assert_eq!(verdict(&snapshot, &edit.probe), edit.to, "after {edit:?}");
            kinds.insert((edit.kind, edit.to));
        }
        let kind_is_there = |kind, to| kinds.contains(&(kind, to));
        for (kind, to) in [
            (EditKind::PodBorn, Verdict::Allow),
            (EditKind::PodGone, Verdict::Deny),
            (EditKind::LocalPodBorn, Verdict::Deny),
            (EditKind::PolicyAdded, Verdict::Allow),
            (EditKind::PolicyAdded, Verdict::Deny),
        ] {
            assert!(kind_is_there(kind, to), "{}: no {kind} to {to}", scenario.name());
        }
    }
}

#[test]
fn after_a_round_of_edits_the_cluster_is_as_it_was() {
    let scenario = Scenario::new(ScenarioShape::Apps, 40, 400, 7);
    let mut snapshot = scenario.snapshot();
    let edits: Vec<_> = scenario.edits().take(1000).collect();
    let round = 1 + edits.iter().skip(1).position(|e| e == &edits[0]).expect("goes round");
    for edit in edits.iter().take(round) {
        snapshot.apply(edit.change.clone());
    }
    let fresh = scenario.snapshot();
    assert_eq!(snapshot.pod_count(), fresh.pod_count());
    assert!(snapshot.policies().eq(fresh.policies()));
    assert!(snapshot.namespaces().eq(fresh.namespaces()));
}

#[test]
fn the_same_arguments_give_the_same_scenario() {
    for scenario in scenarios() {
        assert_eq!(scenario.changes(), scenario.clone().changes());
        assert_eq!(scenario.flows(16, true), scenario.clone().flows(16, true));
        let other = Scenario { seed: 8, ..scenario.clone() };
        assert_ne!(other.changes(), scenario.changes());
    }
}
