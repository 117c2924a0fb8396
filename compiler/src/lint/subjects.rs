//! Whom a policy selects: nobody, or pods that policies do not apply to.

use std::collections::HashMap;

use super::code::Code;
use super::finding::Report;
use super::near::Near;
use super::survey::{Kind, Survey};
use super::words::{self, finding};
use crate::model::{Policy, Selector};
use crate::wording::counted;

pub(super) const FIELD: &str = "spec.podSelector";

/// What selectors select, by namespace and selector: many policies have the same.
pub(super) type Known<'s> = HashMap<(&'s str, &'s Selector), Selected>;

pub(super) fn check<'s>(
    survey: &Survey<'s>,
    near: &Near,
    known: &mut Known<'s>,
    policy: &'s Policy,
    report: &mut Report,
) {
    let own = &policy.key.namespace;
    let within = survey.kinds_of(own);
    if within.is_empty() {
        let message = format!("{own} is a namespace without pods");
        let found =
            finding(Code::NamespaceHasNoPods, policy, "metadata.namespace".into(), &message);
        return report.add_to(policy, found);
    }
    let selected = known.entry((own, &policy.subjects)).or_insert_with(|| {
        let mut selected = Selected::default();
        survey.select(within, &policy.subjects).for_each(|(_, kind)| selected.count(kind));
        selected
    });
    let Selected { kinds, own: pods, hosts, ref host } = *selected;
    if kinds == 0 {
        return report.add_to(policy, nobody(survey, near, policy));
    }
    if hosts == 0 {
        return;
    }
    let named = words::some_of(host, hosts);
    let hosts = counted(hosts, "pod");
    let (code, message) = if pods == 0 {
        let message = format!("selects no other pods than {hosts} on the host's network ({named})");
        (Code::SelectsOnlyHostPods, message)
    } else {
        let message = format!("also selects {hosts} on the host's network ({named})");
        (Code::SelectsHostPods, message)
    };
    report.add_to(policy, finding(code, policy, FIELD.into(), &message));
}

/// How many pods a selector selects.
#[derive(Debug, Default)]
pub(super) struct Selected {
    /// How many kinds of pods, pods that have ended included: who selects those did not misspell their labels.
    kinds: usize,
    own: usize,
    hosts: usize,
    /// One of the pods on the host's network.
    host: Option<String>,
}

impl Selected {
    fn count(&mut self, kind: &Kind<'_>) {
        self.kinds += 1;
        self.own += kind.own;
        self.hosts += kind.hosts;
        if self.host.is_none() && kind.hosts > 0 {
            // Of a kind with others, the example is one of those.
            self.host = kind.example.host_network.then(|| words::pod(kind.example));
        }
    }
}

fn nobody<'s>(survey: &Survey<'s>, near: &Near, policy: &'s Policy) -> super::Finding {
    let own = &policy.key.namespace;
    let message =
        format!("{} selects no pod of the namespace {own}", words::selector(&policy.subjects));
    let here = survey.kinds.get(survey.kinds_of(own)).unwrap_or_default();
    let remedy = near.pods(&policy.subjects, here.iter()).or_else(|| {
        let (_, elsewhere) = survey.select(survey.all_kinds(), &policy.subjects).next()?;
        let pod = words::pod(elsewhere.example);
        Some(format!(
            "{pod} has these labels: write the policy into its namespace if that is meant. Otherwise write labels that the pods have."
        ))
    });
    finding(Code::SelectsNoPod, policy, FIELD.into(), &message).with_remedy(remedy)
}
