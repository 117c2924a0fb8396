//! What a local pod's birth waits for.

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::model::{Pod, Policy};
use palisade_compiler::program::Program;
use palisade_compiler::snapshot::Change;
use palisade_compiler::testkit::{pod, policy, rule};
use palisade_dataplane::plan::{Planner, Step};

/// A compiler and the planner of what it compiled.
struct Node {
    compiler: Compiler,
    planner: Planner,
}

impl Node {
    /// Ten apps, each with two pods of this node that talk to each other.
    fn new(policies: impl IntoIterator<Item = Policy>) -> Self {
        let mut compiler = Compiler::new(Locality::Node("here".into()));
        let pods = (0..20).map(|n| Change::ApplyPod(member(n % 10, n)));
        compiler.apply(pods.chain(policies.into_iter().map(Change::ApplyPolicy)));
        let planner = Planner::of_new_tables(compiler.program().clone());
        Self { compiler, planner }
    }

    fn graces(&mut self, change: Change) -> usize {
        let delta = self.compiler.apply([change]);
        let steps = self.planner.plan(&delta).expect("small");
        assert!(steps.iter().any(|step| matches!(step, Step::Commit(_))), "nothing changed");
        assert_eq!(self.planner.program(), *self.compiler.program());
        steps.iter().filter(|step| matches!(step, Step::Grace)).count()
    }

    fn born(&mut self, app: usize, number: usize) -> usize {
        self.graces(Change::ApplyPod(member(app, number)))
    }

    fn gone(&mut self, number: usize) -> usize {
        let name = format!("p{number}").into();
        self.graces(Change::DeletePod { namespace: "shop".into(), name, uid: None })
    }
}

fn member(app: usize, number: usize) -> Pod {
    pod(&format!("shop/p{number}"))
        .labelled(&format!("app=a{app}"))
        .ip(&format!("10.0.0.{}", number + 1))
        .on("here")
}

/// Members of an app, and of the next, may reach each other at port 80.
fn isolation(app: usize) -> Policy {
    let (own, next) = (format!("app=a{app}"), format!("app=a{}", (app + 1) % 10));
    policy(&format!("shop/a{app}"))
        .select(&own)
        .allow_in(rule().pods(&own).tcp(80))
        .allow_in(rule().pods(&format!("app=a{}", (app + 9) % 10)).tcp(80))
        .allow_out(rule().pods(&own).tcp(80))
        .allow_out(rule().pods(&next).tcp(80))
}

#[test]
fn a_pod_is_born_without_a_grace_period_whatever_happened_before() {
    let mut node = Node::new((0..10).map(isolation));
    assert_eq!(node.born(3, 30), 0);
    assert_eq!(node.born(3, 31), 0);
    assert_eq!(node.born(5, 32), 0);
    node.gone(30);
    assert_eq!(node.born(4, 33), 0, "after one of another app went");
    node.gone(32);
    assert_eq!(node.born(5, 34), 0, "after one of the same app went");
    node.gone(4);
    node.gone(14);
    assert_eq!(node.born(4, 35), 0, "after the app's other pods went");
}

/// No packet may pass because the new pod is not yet isolated while others allow it already.
#[test]
fn a_pod_that_others_allow_more_than_its_own_egress_waits_for_one() {
    let one_way = policy("shop/quiet").select("app=a1").isolate_egress();
    let target = policy("shop/open").select("app=a2").allow_in(rule().pods("app=a1").tcp(80));
    let mut node = Node::new([one_way, target]);
    assert_eq!(node.born(1, 30), 1);
    assert_eq!(node.born(2, 31), 0);
}

/// The first pod of a node, into tables in which nothing is known of what packets have read.
#[test]
fn the_first_change_after_a_start_waits_for_one() {
    let mut node = Node::new((0..10).map(isolation));
    node.planner = Planner::new(Program::clone(node.compiler.program()));
    assert_eq!(node.born(3, 30), 1);
    assert_eq!(node.born(3, 31), 0);
}
