//! NetworkPolicies (`networking.k8s.io/v1`).
//!
//! A policy is read from its tree, each field on its own. An error anywhere in it takes all its rules away and leaves what it
//! isolates: the subjects and directions that could be read, and every pod of the namespace or both directions where they
//! could not.

mod part;
mod peer;
mod port;
mod rule;
mod selector;
mod spec;

use serde_json::Value;

use super::fields::wrong_type;
use super::metadata::lint_ignore;
use super::path::OBJECT;
use super::subject::Subject;
use super::wire::Metadata;
use crate::model::{Isolation, Policy, PolicyKey, Selector};
pub(super) use spec::SPEC_FIELDS;
use spec::Spec;

/// Never fails: a policy of which nothing can be read isolates its whole namespace. Errors that were reported before count as
/// those of the policy.
pub(super) fn read(
    subject: &mut Subject<'_, '_>,
    key: PolicyKey,
    mut metadata: Metadata,
    written: Option<Value>,
) -> Policy {
    let path = OBJECT.field("spec");
    let mut spec = match written {
        Some(Value::Object(map)) => spec::read(subject, &path, &map),
        None | Some(Value::Null) => {
            let remedy = "Write spec, and under it podSelector and policyTypes";
            subject.error(&path, "is missing", remedy);
            Spec::all_isolated()
        }
        Some(other) => {
            wrong_type(subject, &path, &other, "a map");
            Spec::all_isolated()
        }
    };
    if subject.errors() > 0 {
        (spec.ingress, spec.egress) = (Vec::new(), Vec::new());
    }
    let Spec { subjects, isolates, ingress, egress } = spec;
    let (fault, lint_ignore) = (subject.fault(), lint_ignore(&mut metadata));
    Policy { key, subjects, isolates, ingress, egress, fault, lint_ignore }
}

/// A sentence without its period: what a policy with errors isolates until they are corrected.
pub(super) fn what_it_closes(policy: &Policy) -> String {
    let namespace = &policy.key.namespace;
    let pods = if policy.subjects == Selector::everything() {
        format!("every pod of the namespace {namespace}")
    } else {
        format!("the pods of the namespace {namespace} that its podSelector selects")
    };
    let directions = match policy.isolates {
        Isolation { ingress: true, egress: false } => "ingress",
        Isolation { ingress: false, egress: true } => "egress",
        Isolation { .. } => "ingress and egress",
    };
    format!(
        "Until this is corrected, the policy isolates {pods} for {directions}, and allows nothing"
    )
}
