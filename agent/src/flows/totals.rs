//! How often each policy decided, for metrics: a bounded number of series, none of which goes down while its policy is there.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;

use super::flow::{Flow, FlowDirection, FlowVerdict};

/// Policies with series of their own: those that decided first. Further ones share `OTHERS`.
pub const MAX_NAMED: usize = 100;
/// Names that no policy has, since they have no namespace: for all policies beyond `MAX_NAMED`, and for where none decides.
pub const OTHERS: &str = "others";
pub const NO_POLICY: &str = "none";

/// By verdict and direction.
#[derive(Debug, Default)]
struct Counts([[AtomicU64; 2]; 2]);

/// Denied packets that were seen, or connections that were allowed, of one verdict and direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Total {
    pub verdict: FlowVerdict,
    pub direction: FlowDirection,
    pub count: u64,
}

#[derive(Debug, Default)]
pub struct PolicyTotals {
    all: Counts,
    named: DashMap<String, Counts>,
    others: Counts,
    none: Counts,
}

impl Counts {
    fn add(&self, flow: &Flow, count: u64) {
        let Self([allowed, denied]) = self;
        let [ingress, egress] = match flow.verdict {
            FlowVerdict::Allow => allowed,
            FlowVerdict::Deny => denied,
        };
        let counter = match flow.direction {
            FlowDirection::Ingress => ingress,
            FlowDirection::Egress => egress,
        };
        counter.fetch_add(count, Ordering::Relaxed);
    }

    fn totals(&self) -> Vec<Total> {
        let verdicts = [FlowVerdict::Allow, FlowVerdict::Deny].into_iter().zip(&self.0);
        let each = |(verdict, counters): (FlowVerdict, &[AtomicU64; 2])| {
            let directions = [FlowDirection::Ingress, FlowDirection::Egress].into_iter();
            let counts = counters.each_ref().map(|counter| counter.load(Ordering::Relaxed));
            directions.zip(counts).map(move |(direction, count)| Total {
                verdict,
                direction,
                count,
            })
        };
        verdicts.flat_map(each).collect()
    }
}

impl PolicyTotals {
    /// Counts packets or connections of the flow for the policies that decided: for each of those that isolate the pod, or that
    /// have a rule which allows it.
    pub(super) fn count(&self, flow: &Flow, count: u64) {
        self.all.add(flow, count);
        let judgement = &flow.judgement;
        let policies: BTreeSet<&str> = match flow.verdict {
            FlowVerdict::Deny => judgement.isolated_by.iter().map(String::as_str).collect(),
            FlowVerdict::Allow => {
                judgement.allowed_by.iter().map(|rule| rule.policy.as_str()).collect()
            }
        };
        if policies.is_empty() {
            self.none.add(flow, count);
        }
        for policy in policies {
            if let Some(counts) = self.named.get(policy) {
                counts.add(flow, count);
            } else if self.named.len() < MAX_NAMED {
                self.named.entry(policy.to_owned()).or_default().add(flow, count);
            } else {
                self.others.add(flow, count);
            }
        }
    }

    /// Forgets policies that are no more, by `namespace/name`.
    pub(super) fn keep(&self, is_there: impl Fn(&str) -> bool) {
        self.named.retain(|policy, _| is_there(policy));
    }

    /// Whatever decided: a packet or connection counts once.
    pub fn all(&self) -> Vec<Total> {
        self.all.totals()
    }

    /// By policy (`namespace/name`, `OTHERS` or `NO_POLICY`), sorted; those above zero.
    pub fn by_policy(&self) -> Vec<(String, Total)> {
        let mut found: Vec<(String, Total)> = Vec::new();
        let mut add = |policy: &str, counts: &Counts| {
            let totals = counts.totals().into_iter().filter(|total| total.count > 0);
            found.extend(totals.map(|total| (policy.to_owned(), total)));
        };
        self.named.iter().for_each(|entry| add(entry.key(), entry.value()));
        add(OTHERS, &self.others);
        add(NO_POLICY, &self.none);
        found.sort();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow::{AllowingRule, Judgement};
    use super::*;

    fn flow(verdict: FlowVerdict, policies: &[&str]) -> Flow {
        let rule = |(rule, policy): (usize, &&str)| AllowingRule { policy: (*policy).into(), rule };
        let judgement = match verdict {
            FlowVerdict::Deny => Judgement {
                isolated_by: policies.iter().map(|&policy| policy.into()).collect(),
                ..Judgement::default()
            },
            FlowVerdict::Allow => Judgement {
                allowed_by: policies.iter().enumerate().map(rule).collect(),
                ..Judgement::default()
            },
        };
        Flow { verdict, judgement, ..Flow::example() }
    }

    fn counts(totals: &PolicyTotals) -> Vec<(String, &'static str, u64)> {
        let all = totals.by_policy().into_iter();
        all.map(|(policy, total)| (policy, total.verdict.as_str(), total.count)).collect()
    }

    #[test]
    fn each_policy_that_decides_counts_once_and_nothing_goes_down() {
        let totals = PolicyTotals::default();
        totals.count(&flow(FlowVerdict::Deny, &["n/a", "n/b"]), 1);
        // Two rules of one policy.
        totals.count(&flow(FlowVerdict::Allow, &["n/a", "n/a"]), 5);
        totals.count(&flow(FlowVerdict::Allow, &[]), 2);
        let row = |policy: &str, verdict, count| (policy.to_owned(), verdict, count);
        let first = [
            row("n/a", "allow", 5),
            row("n/a", "deny", 1),
            row("n/b", "deny", 1),
            row("none", "allow", 2),
        ];
        assert_eq!(counts(&totals), first);
        let all: Vec<u64> = totals.all().iter().map(|total| total.count).collect();
        assert_eq!(all, [7, 0, 1, 0]);
        // Those that come later share a name, and a policy that goes makes room.
        for number in 0..MAX_NAMED {
            totals.count(&flow(FlowVerdict::Deny, &[&format!("x/{number}")]), 1);
        }
        let found = counts(&totals);
        assert!(
            found.contains(&row("others", "deny", 2)) && found.contains(&first[0]),
            "{found:?}"
        );
        totals.keep(|policy| policy == "n/b");
        totals.count(&flow(FlowVerdict::Deny, &["n/b"]), 1);
        totals.count(&flow(FlowVerdict::Deny, &["x/new"]), 1);
        let found = counts(&totals);
        assert!(found.contains(&row("n/b", "deny", 2)) && found.contains(&row("x/new", "deny", 1)));
        assert_eq!(found.len(), 4, "{found:?}");
    }
}
