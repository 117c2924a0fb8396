#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use palisade_compiler::compile::Locality;
use palisade_compiler::snapshot::Change;
use palisade_compiler::testkit::{namespace, node, pod, policy, rule};

use super::*;
use crate::flows::flow::{AllowingRule, Flow, FlowVerdict, Judgement};

const AFTER: Duration = Duration::from_secs(3600);

/// Node n1 has web, whose policy has two rules, and which isolates for ingress; n2 has the only pod that another policy selects.
struct Case {
    compiler: Compiler,
    counts: FlowCounts,
    hits: HitCounters,
    usage: Usage,
    began: Moment,
}

impl Case {
    fn new() -> Self {
        let mut compiler = Compiler::new(Locality::Node("n1".into()));
        compiler.apply([
            Change::from(namespace("shop", "")),
            Change::from(node("n1", &["192.168.0.1"])),
            Change::from(pod("shop/web").labelled("app=web").ip("10.0.0.1").on("n1")),
            Change::from(pod("shop/far").labelled("app=far").ip("10.0.0.2").on("n2")),
            Change::from(guard()),
            Change::from(policy("shop/far").select("app=far").allow_in(rule())),
        ]);
        let mut counts = FlowCounts { is_listening: true, begun: 1, ..FlowCounts::default() };
        (counts.allowed.is_listening, counts.allowed.begun) = (true, 1);
        let (hits, usage) = (HitCounters::default(), Usage::new(AFTER));
        Self { compiler, counts, hits, usage, began: Moment::now() }
    }

    /// Looks so many seconds after the beginning, and says what is not used.
    fn look(&mut self, seconds: u64) -> Vec<(Code, String)> {
        let after = Duration::from_secs(seconds);
        let Moment { at, time } = self.began;
        let now = Moment { at: at + after, time: time + after };
        self.usage.look(&self.compiler, (&self.counts, &self.hits), now);
        let mut report = Report::default();
        self.usage.report(&mut report);
        report.finish();
        report.findings.into_iter().map(|found| (found.code, found.message)).collect()
    }

    fn codes(&mut self, seconds: u64) -> Vec<Code> {
        self.look(seconds).into_iter().map(|(code, _)| code).collect()
    }

    fn time(&self, seconds: u64) -> Timestamp {
        self.began.time + Duration::from_secs(seconds)
    }

    /// Connections that the second rule allowed.
    fn use_rule(&self, seconds: u64) {
        let allowed_by = vec![AllowingRule { policy: "shop/guard".into(), rule: 1 }];
        let judgement = Judgement { allowed_by, ..Judgement::default() };
        self.hits.count_allowed(&flow(FlowVerdict::Allow, judgement), 1, self.time(seconds));
    }

    fn deny(&self, seconds: u64) {
        let judgement =
            Judgement { isolated_by: vec!["shop/guard".into()], ..Judgement::default() };
        self.hits.count(&flow(FlowVerdict::Deny, judgement), self.time(seconds));
    }
}

fn guard() -> Policy {
    policy("shop/guard").select("app=web").allow_in(rule().tcp(80)).allow_in(rule().tcp(81))
}

fn flow(verdict: FlowVerdict, judgement: Judgement) -> Flow {
    Flow { verdict, judgement, ..Flow::example() }
}

#[test]
fn what_was_not_used_for_long_is_told_with_the_time_and_what_was_used_is_not() {
    let mut case = Case::new();
    assert_eq!(case.look(0), []);
    assert_eq!(case.look(3599), []);
    let since = case.began.time;
    assert_eq!(
        case.look(3600),
        [
            (
                Code::PolicyNeverUsed,
                format!("2 rules allowed no connection of this node's pods since {since}")
            ),
            (
                Code::IsolationNeverDenied,
                format!(
                    "its isolation for ingress denied nothing to this node's pods since {since}"
                )
            ),
        ]
    );
    let status = case.usage.status();
    assert_eq!((status.watched, status.policies, status.rules, status.isolations), (1, 1, 0, 1));
    assert_eq!((&status.allowed_unknown, &status.denied_unknown), (&None, &None));
    case.use_rule(3700);
    case.deny(3700);
    assert_eq!(
        case.look(3800),
        [(
            Code::RuleNeverUsed,
            format!("spec.ingress[0] allowed no connection of this node's pods since {since}")
        )]
    );
}

#[test]
fn a_policy_that_changed_begins_anew() {
    let mut case = Case::new();
    case.use_rule(5);
    case.look(10);
    case.compiler.apply([Change::from(guard().allow_in(rule().tcp(82)))]);
    assert_eq!(case.codes(3600), []);
    // What its rules allowed before they were what they are now does not count.
    assert_eq!(case.codes(7300), [Code::PolicyNeverUsed, Code::IsolationNeverDenied]);
    // Applied again as it is, it does not.
    case.compiler.apply([Change::from(guard().allow_in(rule().tcp(82)))]);
    assert_eq!(case.codes(7400), [Code::PolicyNeverUsed, Code::IsolationNeverDenied]);
}

#[test]
fn only_policies_of_pods_that_are_here_are_told_of() {
    let mut case = Case::new();
    case.look(0);
    let gone = pod("shop/web").labelled("app=web").ip("10.0.0.1").on("n2");
    case.compiler.apply([Change::from(gone)]);
    assert_eq!(case.codes(4000), []);
    assert_eq!(case.usage.status().watched, 0);
}

#[test]
fn while_something_may_have_been_missed_it_is_not_known() {
    let mut case = Case::new();
    case.look(0);
    case.counts.allowed.lost.overflows += 1;
    assert_eq!(case.codes(3600), [Code::IsolationNeverDenied]);
    let unknown = case.usage.status().allowed_unknown.clone().unwrap();
    assert!(unknown.contains("complete since"), "{unknown}");
    case.counts.lost.not_logged += 1;
    assert_eq!(case.codes(7200), [Code::PolicyNeverUsed]);
    // A use before the loss is one all the same.
    case.use_rule(100);
    assert_eq!(case.codes(7300), [Code::RuleNeverUsed]);
    (case.counts.allowed.is_listening, case.counts.allowed.failure) =
        (false, Some("no room".into()));
    assert_eq!(case.codes(7400), []);
    assert_eq!(case.usage.status().allowed_unknown.as_deref(), Some("no room"));
    // It listened again meanwhile: nobody saw it fail, and the count says so.
    (case.counts.allowed.is_listening, case.counts.allowed.begun) = (true, 2);
    assert_eq!(case.codes(7500), []);
}

#[test]
fn an_annotation_accepts_it() {
    let mut case = Case::new();
    let accepts = palisade_compiler::model::LintIgnore::of_text("PAL801, PAL803");
    let accepting = Policy { lint_ignore: accepts.map(Arc::new), ..guard() };
    case.compiler.apply([Change::from(accepting)]);
    case.look(0);
    assert_eq!(case.codes(4000), []);
}
