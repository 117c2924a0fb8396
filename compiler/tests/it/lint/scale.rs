//! Many policies and pods: each finding is counted, and the list is bounded.

use std::sync::Arc;

use palisade_compiler::lint::{Code, MAX_FINDINGS, Severity, lint};
use palisade_compiler::model::Protocol;
use palisade_compiler::snapshot::{Change, Snapshot};
use palisade_compiler::testkit::{namespace, pod, policy, rule};

use crate::parallel::count;

/// Overridden by `PALISADE_LINT_PODS` and `PALISADE_LINT_POLICIES`.
const PODS: u64 = 20_000;
const POLICIES: u64 = 12_000;
const NAMESPACES: u64 = 100;

/// Every policy selects an application of its namespace and names a peer in a namespace that has it; of every second one, a label is
/// misspelt in each.
fn cluster(pods: u64, policies: u64) -> Snapshot {
    let mut snapshot = Snapshot::new();
    for n in 0..NAMESPACES {
        snapshot.apply(Change::from(namespace(&format!("ns-{n}"), &format!("team=team-{n}"))));
    }
    let apps = (pods / NAMESPACES / 4).max(1);
    for n in 0..pods {
        let (of, app) = (n % NAMESPACES, n / NAMESPACES % apps);
        let [_, b, c, d] = u32::try_from(n).unwrap().to_be_bytes();
        let labels = format!("app=application-{app},pod-template-hash=h{app},instance=i{n}");
        let pod = pod(&format!("ns-{of}/pod-{n}")).labelled(&labels).ip(&format!("10.{b}.{c}.{d}"));
        snapshot.apply(Change::from(pod));
    }
    for n in 0..policies {
        let (of, app) = (n % NAMESPACES, n / NAMESPACES % apps);
        let wrong = if n / NAMESPACES % 2 == 1 { "x" } else { "" };
        let selector = format!("app=application{wrong}-{app}");
        let peers = rule()
            .pods_in(&format!("team=team-{}", (of + 1) % NAMESPACES), &selector)
            .pods(&selector)
            .tcp(8080);
        let policy = policy(&format!("ns-{of}/policy-{n}")).select(&selector).allow_in(peers);
        snapshot.apply(Change::from(policy));
    }
    snapshot
}

#[test]
fn every_finding_of_a_large_cluster_is_counted() {
    let pods = count("PALISADE_LINT_PODS", PODS);
    let policies = count("PALISADE_LINT_POLICIES", POLICIES);
    let snapshot = cluster(pods, policies);
    let report = lint(&snapshot);
    let wrong = (0..policies).filter(|n| n / NAMESPACES % 2 == 1).count();
    assert_eq!(report.count_from(Severity::Warning), wrong * 3);
    assert_eq!(report.findings.len(), MAX_FINDINGS);
    assert_eq!(report.further(), report.counts.values().sum::<usize>() - MAX_FINDINGS);
    let typo = report.findings.iter().find(|finding| finding.code == Code::SelectsNoPod).unwrap();
    assert!(typo.remedy.starts_with("Did you mean app=application-"), "{typo:?}");
    // All that is listed is a warning, since there are more of these than the list holds.
    assert!(report.findings.iter().all(|finding| finding.severity == Severity::Warning));
    assert!(report.findings.is_sorted_by_key(|f| {
        f.object.as_ref().map(|o| Arc::<str>::from(o.namespace.as_deref().unwrap_or("")))
    }));
}

/// All pods in one namespace, each with a label of its own that a selector names, and policies for all of them.
#[test]
fn policies_for_everyone_cost_no_look_at_everyone() {
    let pods = count("PALISADE_LINT_PODS", PODS);
    let policies = count("PALISADE_LINT_POLICIES", POLICIES);
    let mut snapshot = Snapshot::new();
    for n in 0..pods {
        let [_, b, c, d] = u32::try_from(n).unwrap().to_be_bytes();
        let pod = pod(&format!("one/pod-{n}")).labelled(&format!("app=a,instance=i{n}"));
        let pod = pod.ip(&format!("10.{b}.{c}.{d}")).port("http", Protocol::Udp, 8080);
        snapshot.apply(Change::from(pod));
    }
    let dns = pod("one/dns").labelled("k8s-app=kube-dns").ip("10.255.0.1");
    snapshot.apply(Change::from(dns.port("dns", Protocol::Udp, 53).port("tcp", Protocol::Tcp, 53)));
    for n in 0..policies {
        let out = rule().tcp(53).udp(53);
        let peers = rule().pods_in("", &format!("instance=i{n}")).pods("!nothing").udp(8080);
        let policy = policy(&format!("one/policy-{n}")).allow_out(out).allow_in(peers);
        snapshot.apply(Change::from(policy));
    }
    let report = lint(&snapshot);
    assert_eq!(report.count_from(Severity::Warning), 0, "{:?}", report.findings.first());
}
