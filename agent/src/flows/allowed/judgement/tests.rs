#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::model::Connection;
use palisade_compiler::parse::parse;
use palisade_compiler::program::live::LiveConnection;
use palisade_compiler::snapshot::Change;

use super::*;
use crate::revision_log::{Revision, RevisionLog};

const PODS: &str = r#"
{"kind": "List", "apiVersion": "v1", "items": [
  {"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "n", "name": "a"}, "spec": {"nodeName": "here", "containers": []},
   "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.1"}]}},
  {"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "n", "name": "b", "labels": {"pod": "b"}},
   "spec": {"nodeName": "there", "containers": []}, "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.2"}]}}
]}"#;

/// Pod b takes UDP on this port, from everyone.
fn guard(port: u16) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{namespace: \"n\", name: guard}}\n\
         spec: {{podSelector: {{matchLabels: {{pod: b}}}}, policyTypes: [Ingress], ingress: [{{ports: [{{protocol: UDP, port: {port}}}]}}]}}\n"
    )
}

fn changes(manifest: &str) -> Vec<Change> {
    let mut changes = Vec::new();
    let parsed = parse("test", manifest.as_bytes(), &mut |object| changes.push(object.into()));
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    changes
}

/// UDP from a to b, heard of now.
fn connection(port: u16) -> AllowedConnection {
    let [from, to] = ["10.1.0.1", "10.1.0.2"].map(|text| text.parse().unwrap());
    let live = LiveConnection {
        connection: Connection { from, to, protocol: 17, port },
        dnat: false,
        midstream: None,
    };
    AllowedConnection { live, is_expected: false, service: None, at: Instant::now() }
}

struct Case {
    compiler: Compiler,
    revisions: RevisionLog,
}

impl Case {
    fn new(port: u16) -> Self {
        Self::on(Locality::Everywhere, port)
    }

    fn on(locality: Locality, port: u16) -> Self {
        let mut compiler = Compiler::new(locality);
        compiler.apply(changes(PODS));
        compiler.apply(changes(&guard(port)));
        Self { compiler, revisions: RevisionLog::default() }
    }

    fn judge(&self, connection: AllowedConnection) -> Vec<SideJudgement> {
        let pending = Delta::default();
        let evidence = Evidence {
            compiler: &self.compiler,
            revision: 2,
            revisions: &self.revisions,
            pending: &pending,
        };
        judge(evidence, &[connection]).remove(0)
    }

    /// By the policies of b.
    fn ingress(&self, connection: AllowedConnection) -> Judgement {
        let [_, ingress] = self.judge(connection).try_into().unwrap();
        assert_eq!(ingress.direction, Direction::Ingress);
        ingress.judged.judgement
    }
}

#[test]
fn each_end_that_is_a_pod_of_this_node_is_judged() {
    let directions = |locality| -> Vec<Direction> {
        let case = Case::on(locality, 53);
        case.judge(connection(53)).iter().map(|side| side.direction).collect()
    };
    let node = |name: &str| Locality::Node(name.into());
    assert_eq!(directions(Locality::Everywhere), [Direction::Egress, Direction::Ingress]);
    assert_eq!(directions(node("here")), [Direction::Egress]);
    assert_eq!(directions(node("there")), [Direction::Ingress]);
    assert_eq!(directions(node("elsewhere")), []);
}

#[test]
fn the_rules_that_allow_are_named() {
    let judgement = Case::new(53).ingress(connection(53));
    assert_eq!(judgement.allowed_by, [AllowingRule { policy: "n/guard".into(), rule: 0 }]);
    assert_eq!((judgement.revision, judgement.divergence), (Some(2), None));
}

#[test]
fn what_no_revision_allows_is_a_divergence_unless_it_is_part_of_another_connection() {
    let case = Case::new(53);
    let judgement = case.ingress(connection(54));
    assert!(judgement.divergence.is_some() && judgement.allowed_by.is_empty(), "{judgement:?}");
    let expected = AllowedConnection { is_expected: true, ..connection(54) };
    assert_eq!(case.ingress(expected).divergence, None);
    let mut midstream = connection(54);
    midstream.live.midstream = Some(4000);
    assert_eq!(case.ingress(midstream).divergence, None);
}

#[test]
fn what_an_earlier_revision_allowed_is_no_divergence() {
    let mut case = Case::new(54);
    let delta = case.compiler.apply(changes(&guard(53)));
    case.revisions.push(Revision {
        number: 2,
        committed: Instant::now(),
        objects: vec!["NetworkPolicy n/guard".into()],
        object_count: 1,
        delta: Some(delta),
        element_count: 2,
        took: Duration::ZERO,
    });
    let judgement = case.ingress(connection(54));
    assert_eq!((judgement.revision, judgement.divergence), (Some(1), None));
    assert!(judgement.reason.contains("until revision 2"), "{}", judgement.reason);
    assert!(case.ingress(connection(55)).divergence.is_some());
}
