//! Every contender against the oracle, by real packets.

use palisade_benches::contender::{Contender, Mismatch, NAMES, SAMPLE, check, contender};
use palisade_benches::scenario::{Edit, Scenario, ScenarioShape};

/// Edits that each contender follows in each scenario: at least one of most kinds.
const EDITS: usize = 14;

fn scenarios() -> impl Iterator<Item = Scenario> {
    ScenarioShape::ALL.into_iter().flat_map(|shape| {
        let small = Scenario::new(shape, 40, 400, 7);
        [small.clone(), small.dual_stack()]
    })
}

fn is_right_everywhere(name: &'static str) {
    for scenario in scenarios() {
        let mut contender = contender(name).unwrap_or_else(|left_out| panic!("{left_out}"));
        let checked = check(contender.as_mut(), &scenario, EDITS);
        let loaded = checked.unwrap_or_else(|mismatch| panic!("{}: {mismatch}", scenario.name()));
        assert!(loaded.rules > 0 && loaded.committed <= loaded.elapsed, "{loaded:?}");
    }
}

#[test]
fn palisade_is_right() {
    is_right_everywhere("palisade");
}

#[test]
fn iptables_linear_is_right() {
    is_right_everywhere("iptables-linear");
}

#[test]
fn iptables_ipset_is_right() {
    is_right_everywhere("iptables-ipset");
}

#[test]
fn nft_policy_chains_is_right() {
    is_right_everywhere("nft-policy-chains");
}

#[test]
fn nft_pod_dispatch_is_right() {
    is_right_everywhere("nft-pod-dispatch");
}
