use std::path::PathBuf;

use ipnet::IpNet;
use serde::Serialize;

use super::input::Node;
use super::output::{Format, colours, say, say_json, styled};
use super::{Exit, Failure};
use crate::check::{self, ClusterOptions, Finding, Options, Severity};
use crate::socket::DEFAULT;
use crate::sources::kubernetes::Access;

/// Look whether this host can enforce policy
///
/// A preflight, before installing and at any time: what the kernel can do, capabilities, forwarding and bridges, paths that the
/// rules do not see (flow tables, IPVS, BPF programs), other policy engines and firewalls, the running agent, and in a cluster
/// permissions, the node, its pods' range and DNS. Nothing is changed, and no rule comes to be: what the kernel can do is tried in a network namespace of its own, or with transactions
/// that it checks and discards. Failures come last. Exit status 1 if there is one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade check
  palisade check --kubeconfig ~/.kube/config --node-name worker-1
  palisade check -o json | jq '.findings[] | select(.severity == \"failure\")'")]
pub(super) struct Args {
    /// How to reach the API server: this file, by its current context. Without it, as a pod of the cluster if this is one
    #[arg(long, env = "KUBECONFIG", value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    node: Node,
    /// A range of addresses of this node's pods, beside those that its Node object names
    #[arg(long = "pod-cidr", value_name = "CIDR")]
    pod_cidrs: Vec<IpNet>,
    /// Where a running agent answers
    #[arg(long, value_name = "PATH", default_value = DEFAULT)]
    socket: PathBuf,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What `-o json` prints.
#[derive(Debug, Serialize)]
struct Report {
    failures: usize,
    warnings: usize,
    /// The worst last.
    findings: Vec<Finding>,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let cluster = ClusterOptions {
        access: access(args.kubeconfig.clone()),
        node: args.node.node_name.clone(),
        pod_cidrs: args.pod_cidrs.clone(),
    };
    let findings = check::run(&Options { socket: args.socket.clone(), cluster });
    let count = |severity| findings.iter().filter(|found| found.severity == severity).count();
    let (failures, warnings) = (count(Severity::Failure), count(Severity::Warning));
    let report = Report { failures, warnings, findings };
    match args.output {
        Format::Json => say_json(&report)?,
        Format::Text => {
            report.findings.iter().try_for_each(|finding| say(text(finding, colours())))?;
            say(summary(&report))?;
        }
    }
    Ok(if failures == 0 { Exit::Done } else { Exit::No })
}

/// The API server that a command may ask: by a file that is named, or as a pod of its cluster.
pub(super) fn access(kubeconfig: Option<PathBuf>) -> Option<Access> {
    let named = kubeconfig.filter(|path| !path.as_os_str().is_empty()).map(Access::Kubeconfig);
    let in_cluster = || std::env::var_os(SERVICE_HOST).map(|_| Access::InCluster);
    named.or_else(in_cluster)
}

/// Set in every pod of a cluster.
const SERVICE_HOST: &str = "KUBERNETES_SERVICE_HOST";

/// Columns of the text, and where it begins behind the severity.
const WIDTH: usize = 80;
const INDENT: &str = "         ";

fn text(finding: &Finding, colours: bool) -> String {
    let severity = format!("{:<9}", finding.severity);
    let head = wrapped(&format!("{}: {}", finding.id, finding.seen));
    // The severity stands in the place of the first line's indentation, and colours take no column.
    let first = head.strip_prefix(INDENT).unwrap_or(&head);
    let mut lines = vec![format!("{}{first}", paint(finding.severity, &severity, colours))];
    for (what, sentence) in [("Why", &finding.matters), ("Remedy", &finding.remedy)] {
        if !sentence.is_empty() {
            lines.push(wrapped(&format!("{what}: {sentence}")));
        }
    }
    lines.join("\n")
}

fn wrapped(text: &str) -> String {
    let options = textwrap::Options::new(WIDTH).initial_indent(INDENT).subsequent_indent(INDENT);
    textwrap::fill(text, options)
}

fn paint(severity: Severity, text: &str, colours: bool) -> String {
    let style = match severity {
        Severity::Ok => "32",
        Severity::Note => "36",
        Severity::Warning => "33",
        Severity::Failure => "31",
    };
    styled(text, style, colours)
}

fn summary(report: &Report) -> String {
    match (report.failures, report.warnings) {
        (0, 0) => "Policy can be enforced here.".to_owned(),
        (0, warnings) => format!("Policy can be enforced here; warnings: {warnings}."),
        (failures, warnings) => {
            format!(
                "Policy cannot be enforced here as written; failures: {failures}, warnings: {warnings}."
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_aligned_within_80_columns() {
        let finding = Finding {
            id: "bridge-filter",
            severity: Severity::Failure,
            seen: "words ".repeat(30).trim().to_owned(),
            matters: "It matters.".to_owned(),
            remedy: "more words ".repeat(20).trim().to_owned(),
        };
        let shown = text(&finding, false);
        assert!(shown.lines().all(|line| line.chars().count() <= WIDTH), "{shown}");
        let mut lines = shown.lines();
        assert!(lines.next().is_some_and(|line| line.starts_with("FAILURE  bridge-filter: words")));
        assert!(lines.all(|line| line.starts_with(INDENT)), "{shown}");
        assert!(
            shown.contains("\n         Why: It matters.\n         Remedy: more words"),
            "{shown}"
        );
        let ok = Finding {
            severity: Severity::Ok,
            matters: String::new(),
            remedy: String::new(),
            ..finding
        };
        assert!(!text(&ok, false).contains("Why") && text(&ok, true).contains("\x1b[32mok"));
    }
}
