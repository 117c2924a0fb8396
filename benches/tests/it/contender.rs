//! Compares every contender with the oracle by real packets.

use palisade_benches::contender::{
    Contender, ContenderError, Edited, Loaded, Mismatch, check, contender,
};
use palisade_benches::inject::Router;
use palisade_benches::scenario::{Edit, Scenario, ScenarioShape};
use palisade_compiler::model::Verdict;

/// The number of edits for each contender in each scenario: at least one of most kinds.
const EDITS: usize = 14;

/// Every shape. Every second one has two stacks.
fn scenarios(policies: usize, pods: usize) -> impl Iterator<Item = Scenario> {
    ScenarioShape::ALL.into_iter().enumerate().map(move |(n, shape)| {
        let small = Scenario::new(shape, policies, pods, 7);
        if n.is_multiple_of(2) { small.dual_stack() } else { small }
    })
}

fn fresh(name: &'static str) -> Box<dyn Contender> {
    contender(name).unwrap_or_else(|left_out| panic!("{left_out}"))
}

/// Checks a contender in a new router.
fn checked(
    contender: &mut dyn Contender,
    scenario: &Scenario,
    edits: usize,
) -> Result<Loaded, Mismatch> {
    let edits: Vec<Edit> = scenario.edits().take(edits).collect();
    check(contender, scenario, &mut Router::new().unwrap(), &edits)
}

fn is_right(name: &'static str, scenarios: impl Iterator<Item = Scenario>) {
    for scenario in scenarios {
        let checked = checked(fresh(name).as_mut(), &scenario, EDITS);
        let loaded = checked.unwrap_or_else(|mismatch| panic!("{}: {mismatch}", scenario.name()));
        assert!(loaded.rules > 0 && loaded.committed <= loaded.elapsed, "{loaded:?}");
    }
}

#[test]
fn palisade_is_right() {
    is_right("palisade", scenarios(30, 200));
}

#[test]
fn iptables_linear_is_right() {
    // Its rules are the product of subjects, peers and ports: about 10,000 even for this cluster.
    is_right("iptables-linear", scenarios(8, 60));
}

#[test]
fn iptables_ipset_is_right() {
    is_right("iptables-ipset", scenarios(30, 200));
}

#[test]
fn nft_policy_chains_is_right() {
    is_right("nft-policy-chains", scenarios(30, 200));
}

#[test]
fn nft_pod_dispatch_is_right() {
    is_right("nft-pod-dispatch", scenarios(30, 200));
}

#[test]
fn ebpf_hash_is_right() {
    is_right("ebpf-hash", scenarios(30, 200));
}

/// The ways in which a contender can be wrong.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// It enforces the policies of another cluster.
    OtherPolicies,
    /// It denies everything.
    DeniesEverything,
    /// It ignores edits.
    IgnoresEdits,
}

/// A contender that is right except for one fault.
struct Faulty {
    inner: Box<dyn Contender>,
    fault: Fault,
}

impl Contender for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn describe(&self) -> String {
        format!("{:?}", self.fault)
    }

    fn load(&mut self, scenario: &Scenario) -> Result<Loaded, ContenderError> {
        let wrong = match self.fault {
            Fault::OtherPolicies => {
                Scenario { policies: scenario.policies / 2, ..scenario.clone() }
            }
            Fault::DeniesEverything => {
                Scenario { shape: ScenarioShape::DefaultDeny, ..scenario.clone() }
            }
            Fault::IgnoresEdits => scenario.clone(),
        };
        self.inner.load(&wrong)
    }

    fn edit(&mut self, edit: &Edit) -> Result<Edited, ContenderError> {
        match self.fault {
            Fault::IgnoresEdits => Ok(Edited::default()),
            Fault::OtherPolicies | Fault::DeniesEverything => self.inner.edit(edit),
        }
    }
}

#[test]
fn a_wrong_ruleset_is_refused() {
    let scenario = Scenario::new(ScenarioShape::Apps, 30, 200, 7);
    for (fault, wrong) in [
        (Fault::OtherPolicies, Verdict::Allow),
        (Fault::DeniesEverything, Verdict::Deny),
        (Fault::IgnoresEdits, Verdict::Deny),
    ] {
        let mut faulty = Faulty { inner: fresh("palisade"), fault };
        match checked(&mut faulty, &scenario, EDITS) {
            Err(Mismatch::Verdict { contender: "faulty", seen, expected, .. }) => {
                assert_eq!((seen, seen == expected), (wrong, false), "{fault:?}");
            }
            other => panic!("{fault:?}: {other:?}"),
        }
    }
}

#[test]
fn what_enforces_nothing_is_refused_too() {
    let scenario = Scenario::new(ScenarioShape::Apps, 30, 200, 7);
    for name in ["none", "conntrack"] {
        let mut contender = fresh(name);
        assert!(!contender.enforces());
        let refused = checked(contender.as_mut(), &scenario, 0);
        assert!(matches!(refused, Err(Mismatch::Verdict { expected: Verdict::Deny, .. })));
    }
}

#[test]
fn a_cluster_without_denials_is_not_checked() {
    let scenario = Scenario::new(ScenarioShape::Apps, 0, 100, 7);
    let refused = checked(fresh("palisade").as_mut(), &scenario, 0);
    assert!(matches!(refused, Err(Mismatch::TooFew { verdict: Verdict::Deny, count: 0, .. })));
}

#[test]
fn a_shape_that_does_not_carry_the_cluster_says_so() {
    let scenario = Scenario::new(ScenarioShape::OpenToNamespaces, 100, 1000, 7);
    let refused = checked(fresh("iptables-linear").as_mut(), &scenario, 0);
    let Err(Mismatch::Failed { error: ContenderError::TooLarge { count, limit, .. }, .. }) =
        refused
    else {
        panic!("{refused:?}");
    };
    assert!(count > limit);
}
