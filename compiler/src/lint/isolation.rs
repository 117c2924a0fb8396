//! What the policies of a namespace leave open: a direction, some pods, or all of them.

use super::code::Code;
use super::coverage::Coverage;
use super::finding::{Finding, Report};
use super::survey::{NamespaceView, Survey};
use super::words;
use crate::model::Direction;
use crate::wording::counted;

pub(super) fn check(survey: &Survey<'_>, coverage: &Coverage, report: &mut Report) {
    for namespace in &survey.namespaces {
        let ignore = namespace.declared.and_then(|n| n.lint_ignore.as_deref());
        for found in check_namespace(survey, coverage, namespace) {
            report.add(found, ignore);
        }
    }
}

/// Pods of a namespace that have something in common.
#[derive(Debug, Default)]
struct Pods {
    count: usize,
    examples: Vec<String>,
}

fn check_namespace(
    survey: &Survey<'_>,
    coverage: &Coverage,
    namespace: &NamespaceView<'_>,
) -> Vec<Finding> {
    let pods = |code: Code, is_meant: &dyn Fn(usize) -> bool| {
        let mut pods = Pods::default();
        for at in namespace.kinds.clone().filter(|at| is_meant(*at)) {
            let Some(kind) = survey.kinds.get(at) else { continue };
            let count = kind.own_for(code);
            if count > 0 {
                pods.count += count;
                pods.examples.push(kind.example.name.to_string());
            }
        }
        pods
    };
    let name = namespace.name.as_ref();
    let found = |code: Code, pods: &Pods, message: &str| {
        pods.examples.first()?;
        let who = counted(pods.count, "pod");
        let named = words::some_of(&pods.examples, pods.count);
        let message = format!("The namespace {name} has {who} ({named}) {message}");
        Some(Finding::new(code, Some(words::namespace(name)), message))
    };
    let standing = |at| coverage.standing(at);
    let is_any_isolated = namespace.kinds.clone().any(|at| {
        survey.kinds.get(at).is_some_and(|kind| kind.own > 0) && standing(at).is_isolated()
    });
    let mut all = Vec::new();
    if !is_any_isolated {
        let open = pods(Code::NamespaceNotIsolated, &|_| true);
        let is = if open.count == 1 {
            "no policy isolates it"
        } else {
            "no policy isolates any of them"
        };
        let is = format!("and {is}");
        all.extend(found(Code::NamespaceNotIsolated, &open, &is));
        return all;
    }
    for (direction, other) in
        [(Direction::Ingress, Direction::Egress), (Direction::Egress, Direction::Ingress)]
    {
        let code = Code::OneDirection;
        let some = pods(code, &|at| standing(at).only_direction() == Some(direction));
        let is = if some.count == 1 { "is" } else { "are" };
        let message = format!("that {is} isolated for {direction} only, and open for {other}");
        all.extend(found(code, &some, &message));
    }
    let code = Code::PodsNotSelected;
    let open = pods(code, &|at| !standing(at).is_isolated());
    let is = if open.count == 1 { "is" } else { "are" };
    let message = format!("that {is} isolated by no policy, and others are");
    all.extend(found(code, &open, &message));
    all
}
