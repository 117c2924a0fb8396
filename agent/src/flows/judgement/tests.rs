#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use k8s_openapi::jiff::Timestamp;
use palisade_compiler::compile::Locality;
use palisade_compiler::parse::parse;
use palisade_compiler::snapshot::Change;
use palisade_dataplane::netlink::nflog::PacketHeader;

use super::*;
use crate::revision_log::Revision;

const PODS: &str = r#"
{"kind": "List", "apiVersion": "v1", "items": [
  {"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "n", "name": "a", "labels": {"pod": "a"}},
   "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.1"}]}},
  {"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "n", "name": "b", "labels": {"pod": "b"}},
   "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.2"}]}}
]}"#;

/// Pod b takes UDP on these ports, from everyone.
fn guard(ports: &[u16]) -> String {
    let port = |port: &u16| format!("{{protocol: UDP, port: {port}}}");
    let ports: Vec<String> = ports.iter().map(port).collect();
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{namespace: \"n\", name: guard}}\n\
         spec: {{podSelector: {{matchLabels: {{pod: b}}}}, policyTypes: [Ingress], ingress: [{{ports: [{}]}}]}}\n",
        ports.join(", ")
    )
}

fn changes(manifest: &str) -> Vec<Change> {
    let mut changes = Vec::new();
    let parsed = parse("test", manifest.as_bytes(), &mut |object| changes.push(object.into()));
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    changes
}

/// UDP from a to b, seen now.
fn observation(port: u16) -> Observation {
    let [source, destination] = ["10.1.0.1", "10.1.0.2"].map(|text| text.parse().unwrap());
    let upper = Upper::Ports { source: 40_000, destination: port, tcp_flags: 0 };
    Observation {
        direction: Direction::Ingress,
        header: PacketHeader { source, destination, protocol: 17, tos: 0, hop_limit: 63, upper },
        at: Instant::now(),
        time: Timestamp::now(),
    }
}

struct Case {
    compiler: Compiler,
    revisions: RevisionLog,
    revision: u64,
}

impl Case {
    /// The pods, and b guarded.
    fn new(ports: &[u16]) -> Self {
        let mut compiler = Compiler::new(Locality::Everywhere);
        compiler.apply(changes(PODS));
        compiler.apply(changes(&guard(ports)));
        Self { compiler, revisions: RevisionLog::default(), revision: 1 }
    }

    /// Another guard, which the kernel acknowledged at that moment.
    fn guard(&mut self, ports: &[u16], committed: Instant) {
        let delta = self.compiler.apply(changes(&guard(ports)));
        self.revision += 1;
        self.revisions.push(Revision {
            number: self.revision,
            committed,
            objects: vec!["NetworkPolicy n/guard changed".into()],
            object_count: 1,
            element_count: delta.len(),
            delta: Some(delta),
            took: Duration::ZERO,
        });
    }

    fn judge_with(&self, observation: Observation, pending: &Delta) -> Judgement {
        let evidence = Evidence {
            compiler: &self.compiler,
            revision: self.revision,
            revisions: &self.revisions,
            pending,
        };
        let [judged] = judge(evidence, &[observation]).try_into().unwrap();
        assert_eq!(judged.from.pod.as_deref(), Some("n/a"));
        assert_eq!(judged.to.pod.as_deref(), Some("n/b"));
        judged.judgement
    }

    fn judge(&self, observation: Observation) -> Judgement {
        self.judge_with(observation, &Delta::default())
    }
}

#[test]
fn a_denial_names_the_policies_that_isolate_and_the_nearest_miss_of_each() {
    let judgement = Case::new(&[80]).judge(observation(53));
    assert_eq!(judgement.isolated_by, ["n/guard"]);
    let [miss] = &judgement.misses[..] else { panic!("{judgement:?}") };
    assert_eq!((miss.policy.as_str(), miss.rule, &miss.peer), ("n/guard", Some(0), &None));
    assert!(miss.port.as_ref().is_some_and(|port| port.contains("53")), "{miss:?}");
    assert_eq!((judgement.revision, &judgement.divergence), (Some(1), &None));
}

#[test]
fn a_packet_is_judged_by_the_revision_that_was_in_force_when_it_came() {
    let mut case = Case::new(&[80]);
    // The packet came, and then the kernel took a policy that allows it, and another one.
    let packet = observation(53);
    case.guard(&[80, 53], Instant::now());
    case.guard(&[80, 53, 54], Instant::now());
    let judgement = case.judge(packet);
    assert_eq!((judgement.revision, &judgement.divergence), (Some(1), &None));
    assert!(judgement.reason.contains("until revision 2 (NetworkPolicy n/guard changed)"));
}

#[test]
fn a_denial_that_no_revision_in_force_gives_is_a_divergence() {
    let mut case = Case::new(&[80]);
    let long_ago = Instant::now().checked_sub(MAX_DELIVERY * 5).unwrap();
    case.guard(&[80, 53], long_ago);
    let judgement = case.judge(observation(53));
    let divergence = judgement.divergence.as_deref();
    assert!(divergence.is_some_and(|why| why.contains("allow in")), "{judgement:?}");
    assert_eq!(judgement.isolated_by, [""; 0]);
}

#[test]
fn what_the_kernel_does_not_hold_yet_is_no_divergence() {
    let mut case = Case::new(&[80]);
    let pending = case.compiler.apply(changes(&guard(&[80, 53])));
    let judgement = case.judge_with(observation(53), &pending);
    assert_eq!((judgement.revision, &judgement.divergence), (None, &None));
    assert!(judgement.reason.contains("until the latest change"), "{judgement:?}");
}

#[test]
fn where_a_change_is_not_known_any_more_nothing_is_claimed() {
    let mut case = Case::new(&[80]);
    let delta = case.compiler.apply(changes(&guard(&[80, 53])));
    case.revisions.push(Revision {
        number: 2,
        committed: Instant::now(),
        objects: Vec::new(),
        object_count: 1,
        element_count: delta.len(),
        delta: None,
        took: Duration::ZERO,
    });
    let judgement = case.judge(observation(53));
    assert_eq!((judgement.revision, judgement.divergence), (None, None));
}

#[test]
fn a_packet_that_is_denied_for_its_form_is_no_divergence() {
    let case = Case::new(&[80, 53]);
    let mut fragment = observation(53);
    fragment.header.upper = Upper::LaterFragment;
    // By a port that cannot be known, no rule allows it.
    assert_eq!(case.judge(fragment).isolated_by, ["n/guard"]);
    let mut forged = observation(53);
    forged.header.source = forged.header.destination;
    let evidence = Evidence {
        compiler: &case.compiler,
        revision: 1,
        revisions: &case.revisions,
        pending: &Delta::default(),
    };
    let [judged] = judge(evidence, &[forged]).try_into().unwrap();
    assert!(judged.judgement.reason.contains("from its own destination"), "{judged:?}");
    assert_eq!(judged.judgement.divergence, None);
}
