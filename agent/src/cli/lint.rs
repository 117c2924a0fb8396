//! `palisade lint`: what of the manifests is most likely not meant as it is written.

mod places;
mod sarif;
mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;
use palisade_compiler::explain::ObjectName;
use palisade_compiler::lint::{
    Crowded, Finding, Report, Settings, Severity, lint_unread, lint_with,
};
use palisade_compiler::parse::Diagnostic;
use palisade_compiler::snapshot::Snapshot;
use serde::Serialize;

use super::input::{Manifests, Read, ReadOptions};
use super::output::{note, say_json};
use super::status::unexpected;
use super::{Exit, Failure};
use crate::findings::{Findings, LostMatch, UsageStatus};
use crate::protocol::{Request, Response};
use crate::socket::{Client, DEFAULT};
use crate::sources::files::Problem;

/// Find what is written in policies and most likely not meant
///
/// Looks for selectors and port names that match nothing (a misspelt label is named), AND where OR was meant and the reverse,
/// exceptions that another entry allows again, rules that allow more than they look, pods that no policy isolates, egress without DNS, and more.
/// Every finding has a code, the object and field, why it matters, and a remedy: docs/lint.md has them all. Nothing is
/// asked of a kernel or an agent, and nothing is changed.
///
/// What is found is certain of the input, so give all of it: pods and namespaces as well as policies, and Services if blocks and
/// ports are to be compared with them. What is often meant is a note. A finding is accepted by the annotation
/// palisade.io/lint-ignore on the object, which lists the codes (PAL101,PAL505).
///
/// Without -f the running agent answers for its objects, and tells what lost its match by a change of labels since it began, and
/// which policies and rules its node's pods did not use.
///
/// Exit status 1 if something is found that is at least as severe as --severity says.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade lint -f examples/recipes
  kubectl get ns,nodes,pods,svc,netpol -A -o yaml | palisade lint -f -
  palisade lint -f manifests --severity note
  palisade lint    # the objects of the running agent
  palisade lint -f manifests -o sarif > lint.sarif    # for code hosts and editors")]
pub(super) struct Args {
    /// A file or directory of Kubernetes objects, - for standard input; may be given more than once. Without it the
    /// running agent is asked
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1..)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    options: ReadOptions,
    /// The Service that pods ask for names, where it is not found by one of the usual names (kube-system/kube-dns) or by the label
    /// of its pods (k8s-app: kube-dns). Of the running agent, palisade run has this option
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "files")]
    dns_service: Option<ServiceName>,
    /// Show findings from this severity on, and exit with 1 if there are any
    #[arg(long, value_enum, default_value_t)]
    severity: Threshold,
    /// Where the agent answers that is asked without -f
    #[arg(long, value_name = "PATH", default_value = DEFAULT)]
    socket: PathBuf,
    /// How to print the findings
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// The name of a Service, as `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceName(pub(super) ObjectName);

impl FromStr for ServiceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(Self(ObjectName { namespace: namespace.into(), name: name.into() }))
            }
            Some(_) | None => {
                Err(format!("{text:?} is not NAMESPACE/NAME, as in kube-system/kube-dns"))
            }
        }
    }
}

/// The least severity that counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Threshold {
    /// Everything
    Note,
    /// What is most likely not meant
    #[default]
    Warning,
    /// Only what does not take effect as it is written
    Error,
}

impl From<Threshold> for Severity {
    fn from(threshold: Threshold) -> Self {
        match threshold {
            Threshold::Note => Self::Note,
            Threshold::Warning => Self::Warning,
            Threshold::Error => Self::Error,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    #[default]
    Text,
    Json,
    /// SARIF 2.1.0
    Sarif,
}

/// What is shown. `-o json` prints it.
#[derive(Debug, Serialize)]
struct Outcome {
    /// From which severity on findings are listed.
    severity: Severity,
    findings: Vec<Finding>,
    /// How many more there are from this severity on.
    further: usize,
    /// Objects with more findings of a severity than are listed, those with the most first.
    crowded: Vec<Crowded>,
    /// How many there are of each severity, listed or not.
    counts: BTreeMap<Severity, usize>,
    /// How many were accepted by annotations.
    ignored: usize,
    /// Whether all manifests were understood. Otherwise, only what is wrong with them is listed.
    complete: bool,
    /// Of a running agent: what lost its match since it began, the latest first. It does not count for the exit status.
    lost_matches: Vec<LostMatch>,
    /// Of a running agent: what was not used, and whether that is known.
    usage: Option<UsageStatus>,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let (outcome, is_read) =
        if args.files.is_empty() { (ask(args)?, true) } else { lint_files(args)? };
    match args.output {
        Output::Text => text::print(&outcome)?,
        Output::Json => say_json(&outcome)?,
        Output::Sarif => say_json(&sarif::log(&outcome))?,
    }
    Ok(if outcome.shown() == 0 && is_read { Exit::Done } else { Exit::No })
}

fn ask(args: &Args) -> Result<Outcome, Failure> {
    match Client::new(&args.socket).request(&Request::Lint)? {
        Response::Findings(found) => {
            let Findings { report, lost_matches, usage } = *found;
            let outcome = Outcome::of(report, args.severity.into(), true);
            Ok(Outcome { lost_matches, usage: Some(usage), ..outcome })
        }
        other => Err(unexpected(&other)),
    }
}

/// What is found in files, and whether all of them could be read.
fn lint_files(args: &Args) -> Result<(Outcome, bool), Failure> {
    let manifests = Manifests { files: args.files.clone(), options: args.options.clone() };
    let read = manifests.read();
    let mut diagnostics: Vec<Diagnostic> = Vec::new();
    let mut has_other_errors = false;
    for problem in read.problems() {
        match problem {
            Problem::Manifest { diagnostic, .. } => diagnostics.push(diagnostic.clone()),
            other => {
                note(other);
                has_other_errors |= other.severity() == palisade_compiler::parse::Severity::Error;
            }
        }
    }
    let (mut report, complete) = match read.check() {
        Ok(()) => (lint_with(&snapshot(&read, args), &diagnostics, &args.settings()), true),
        Err(Failure::Manifests) => {
            note(
                "the manifests are not understood as a whole: only what is wrong with them is reported",
            );
            (lint_unread(&diagnostics), false)
        }
        Err(failure) => {
            diagnostics.iter().for_each(note);
            return Err(failure);
        }
    };
    places::find(&read, &args.options, &mut report.findings);
    let outcome = Outcome::of(report, args.severity.into(), complete);
    Ok((outcome, !has_other_errors && complete))
}

fn snapshot(read: &Read, args: &Args) -> Snapshot {
    let mut snapshot = Snapshot::new();
    read.objects.iter().for_each(|object| snapshot.apply(object.change.clone()));
    if let Some(ServiceName(ObjectName { namespace, name })) = &args.dns_service
        && snapshot.service(namespace, name).is_none()
    {
        note(format_args!(
            "--dns-service: the input has no Service {namespace}/{name}, so that the DNS is looked for by the label of its pods"
        ));
    }
    snapshot
}

impl Args {
    fn settings(&self) -> Settings {
        Settings { dns_service: self.dns_service.clone().map(|ServiceName(name)| name) }
    }
}

impl Outcome {
    fn of(mut report: Report, severity: Severity, complete: bool) -> Self {
        for each in Severity::ALL {
            report.counts.entry(each).or_default();
        }
        let all = report.count_from(severity);
        let mut findings = report.findings;
        findings.retain(|finding| finding.severity >= severity);
        let mut crowded = report.crowded;
        crowded.retain(|each| each.severity >= severity);
        Self {
            severity,
            further: all.saturating_sub(findings.len()),
            findings,
            crowded,
            counts: report.counts,
            ignored: report.ignored,
            complete,
            lost_matches: Vec::new(),
            usage: None,
        }
    }

    /// How many findings count, listed or not.
    fn shown(&self) -> usize {
        self.findings.len() + self.further
    }

    /// How many are below the severity that counts.
    fn below(&self) -> usize {
        self.counts.range(..self.severity).map(|(_, count)| count).sum()
    }
}
