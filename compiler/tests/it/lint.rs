//! The linter: every code with a case that fires and one that must not, the examples, and random clusters.

mod bounds;
mod cases;
mod dns;
mod examples;
mod lost_match;
mod page;
mod ports;
mod random;
mod scale;
mod sensible;

use palisade_compiler::lint::{Code, Finding, Report, Settings, lint_with};
use palisade_compiler::parse::parse;
use palisade_compiler::snapshot::Snapshot;

/// What is found in manifests.
fn lint_text(text: &str) -> Report {
    lint_text_with(text, &Settings::default())
}

fn lint_text_with(text: &str, settings: &Settings) -> Report {
    let mut snapshot = Snapshot::new();
    let parsed = parse("in.yaml", text.as_bytes(), &mut |object| snapshot.apply(object.into()));
    assert!(parsed.readable, "{:?} in\n{text}", parsed.diagnostics);
    lint_with(&snapshot, &parsed.diagnostics, settings)
}

/// The shop's cluster: pods in shop and ops, the DNS in kube-system, and a namespace without pods.
const CLUSTER: &str = "
namespace shop {team: shop}
namespace ops {team: ops, purpose: monitoring}
namespace kube-system {}
namespace empty {stage: later}
pod shop/web {app: web} 10.0.0.1 http TCP 8080
pod shop/api {app: api, tier: back} 10.0.0.2 http TCP 8080
pod shop/db {app: db, tier: back} 10.0.0.3 sql TCP 5432
pod shop/syslog {app: syslog} 10.0.0.4 log UDP 514
pod ops/prometheus {app: prometheus} 10.0.1.1 http TCP 9090
pod kube-system/coredns {k8s-app: kube-dns} 10.0.2.1 dns UDP 53
host shop/agent {app: agent, role: host} 192.168.0.1
host ops/probe {app: probe} 192.168.0.1
service shop/api {app: api} 10.96.0.1 80 8080
";

/// A cluster of the lines above, which name objects shortly, and of lines `policy NAMESPACE/NAME SPEC`. What begins otherwise is
/// a manifest of its own, in one line.
fn manifests(lines: &str) -> String {
    lines.lines().filter(|line| !line.trim().is_empty()).map(manifest).collect()
}

fn manifest(line: &str) -> String {
    let line = line.trim();
    let (kind, rest) = line.split_once(' ').unwrap();
    let object = |rest: &str| {
        let (name, rest) = rest.split_once(' ').unwrap();
        let (namespace, name) = name.split_once('/').unwrap_or(("", name));
        (format!("namespace: {namespace}, name: {name}"), rest.to_owned())
    };
    let labelled = |rest: &str| {
        let (labels, rest) = rest.split_once('}').unwrap();
        (format!("{labels}}}"), rest.trim().to_owned())
    };
    match kind {
        "namespace" => {
            let (name, labels) = rest.split_once(' ').unwrap();
            format!(
                "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {labels}}}}}\n---\n"
            )
        }
        "pod" | "host" => {
            let (name, rest) = object(rest);
            let (labels, rest) = labelled(&rest);
            let words: Vec<&str> = rest.split_whitespace().collect();
            let ports = match words[..] {
                [_, name, protocol, port] => {
                    format!("[{{name: {name}, protocol: {protocol}, containerPort: {port}}}]")
                }
                _ => "[]".to_owned(),
            };
            let host = kind == "host";
            format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{{name}, labels: {labels}}}, spec: {{hostNetwork: {host}, containers: [{{name: c, ports: {ports}}}]}}, status: {{phase: Running, podIPs: [{{ip: \"{}\"}}]}}}}\n---\n",
                words[0]
            )
        }
        "service" => {
            let (name, rest) = object(rest);
            let (selector, rest) = labelled(&rest);
            let words: Vec<&str> = rest.split_whitespace().collect();
            format!(
                "{{apiVersion: v1, kind: Service, metadata: {{{name}}}, spec: {{clusterIP: {}, selector: {selector}, ports: [{{port: {}, targetPort: {}}}]}}}}\n---\n",
                words[0], words[1], words[2]
            )
        }
        "policy" => {
            let (name, spec) = object(rest);
            format!(
                "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{{name}}}, spec: {spec}}}\n---\n"
            )
        }
        _ => format!("{line}\n---\n"),
    }
}

fn of(report: &Report, code: Code) -> Vec<&Finding> {
    report.findings.iter().filter(|finding| finding.code == code).collect()
}
