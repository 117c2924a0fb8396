//! How many of the denied packets that were seen each policy denied, how many connections each rule allowed, and when last.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::flow::{AllowingRule, Flow, FlowDirection, MAX_POLICIES};
use super::totals::PolicyTotals;

/// Policies that are counted. Packets that further ones deny are counted in one sum.
pub const MAX_COUNTED: usize = 10_000;
/// Rules that are counted. Connections that further ones allow are counted in one sum.
pub const MAX_COUNTED_RULES: usize = 10_000;

/// Counted by the recorder of flows, and read by whoever asks while it counts.
#[derive(Debug, Clone, Default)]
pub struct HitCounters(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// By `namespace/name`.
    policies: DashMap<String, PolicyHits>,
    uncounted: AtomicU64,
    rules: DashMap<RuleKey, Hits>,
    uncounted_rules: AtomicU64,
    totals: PolicyTotals,
}

type RuleKey = (AllowingRule, FlowDirection);

#[derive(Debug, Default)]
struct PolicyHits {
    ingress: Option<Hits>,
    egress: Option<Hits>,
}

#[derive(Debug, Clone, Copy)]
struct Hits {
    packets: u64,
    last_seen: Timestamp,
}

/// What a policy denied in a direction since the agent began. A packet that several policies deny counts for each of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyDenials {
    /// `namespace/name`
    pub policy: String,
    pub direction: FlowDirection,
    /// Packets that were seen: of a flood, the kernel logs a part.
    pub packets: u64,
    /// RFC 3339, UTC.
    pub last_seen: String,
}

/// What a rule of a policy allowed since the agent began. A connection that several rules allow counts for each of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleHits {
    /// `namespace/name`
    pub policy: String,
    pub direction: FlowDirection,
    /// Its place in the policy's rules of the direction, from 0.
    pub rule: usize,
    pub connections: u64,
    /// RFC 3339, UTC.
    pub last_used: String,
}

impl PolicyHits {
    fn count(&mut self, direction: FlowDirection, time: Timestamp) {
        let hits = match direction {
            FlowDirection::Ingress => &mut self.ingress,
            FlowDirection::Egress => &mut self.egress,
        };
        let packets = hits.map_or(0, |hits| hits.packets) + 1;
        *hits = Some(Hits { packets, last_seen: time });
    }
}

impl HitCounters {
    /// Counts connections of the flow for the rules that allow them.
    pub fn count_allowed(&self, flow: &Flow, connections: u64, time: Timestamp) {
        if connections == 0 {
            return;
        }
        let Shared { rules, uncounted_rules, totals, .. } = &*self.0;
        totals.count(flow, connections);
        if flow.judgement.allowed_by.len() >= MAX_POLICIES {
            // There may be more, which the flow does not name.
            uncounted_rules.fetch_add(connections, Ordering::Relaxed);
        }
        for rule in &flow.judgement.allowed_by {
            let key = (rule.clone(), flow.direction);
            if rules.len() >= MAX_COUNTED_RULES && !rules.contains_key(&key) {
                uncounted_rules.fetch_add(connections, Ordering::Relaxed);
                continue;
            }
            let mut hits = rules.entry(key).or_insert(Hits { packets: 0, last_seen: time });
            (hits.packets, hits.last_seen) = (hits.packets + connections, time);
        }
    }

    /// Forgets policies that are no more, by `namespace/name`.
    pub fn keep(&self, is_there: impl Fn(&str) -> bool) {
        let Shared { policies, rules, totals, .. } = &*self.0;
        totals.keep(&is_there);
        policies.retain(|policy, _| is_there(policy));
        rules.retain(|(rule, _), _| is_there(&rule.policy));
    }

    /// The `most` that allowed the most connections, those first.
    pub fn top_rules(&self, most: usize) -> Vec<RuleHits> {
        let all = self.0.rules.iter();
        let mut all: Vec<RuleHits> = all.map(|entry| rule_hits(entry.key(), *entry)).collect();
        all.sort_by(|a, b| {
            let name = |it: &RuleHits| (it.policy.clone(), it.direction, it.rule);
            b.connections.cmp(&a.connections).then_with(|| name(a).cmp(&name(b)))
        });
        all.truncate(most);
        all
    }

    /// What the rules of a policy allowed, by direction and place.
    pub fn rules_of(&self, policy: &str) -> Vec<RuleHits> {
        let rules = self.0.rules.iter().filter(|entry| entry.key().0.policy == policy);
        let mut hits: Vec<RuleHits> = rules.map(|entry| rule_hits(entry.key(), *entry)).collect();
        hits.sort_by_key(|it| (it.direction, it.rule));
        hits
    }

    /// What a policy denied, by direction.
    pub fn denials_of(&self, policy: &str) -> Vec<PolicyDenials> {
        let hits = self.0.policies.get(policy);
        hits.map(|hits| denials(policy, &hits).collect()).unwrap_or_default()
    }

    /// Counts a packet of the flow for the policies that isolate the pod.
    pub fn count(&self, flow: &Flow, time: Timestamp) {
        let Shared { policies, uncounted, totals, .. } = &*self.0;
        totals.count(flow, 1);
        uncounted.fetch_add(u64::from(flow.judgement.further > 0), Ordering::Relaxed);
        for policy in &flow.judgement.isolated_by {
            if let Some(mut hits) = policies.get_mut(policy.as_str()) {
                hits.count(flow.direction, time);
            } else if policies.len() < MAX_COUNTED {
                policies.entry(policy.clone()).or_default().count(flow.direction, time);
            } else {
                uncounted.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The `most` that denied the most packets, those first.
    pub fn top(&self, most: usize) -> Vec<PolicyDenials> {
        let mut all: Vec<PolicyDenials> = Vec::new();
        for entry in &self.0.policies {
            all.extend(denials(entry.key(), &entry));
        }
        all.sort_by(|a, b| {
            b.packets
                .cmp(&a.packets)
                .then_with(|| (&a.policy, a.direction).cmp(&(&b.policy, b.direction)))
        });
        all.truncate(most);
        all
    }

    /// For metrics.
    pub fn totals(&self) -> &PolicyTotals {
        &self.0.totals
    }

    /// How many connections the rule of the policy `namespace/name` allowed.
    pub fn connections(&self, policy: &str, rule: usize, direction: FlowDirection) -> u64 {
        let key = (AllowingRule { policy: policy.to_owned(), rule }, direction);
        self.0.rules.get(&key).map_or(0, |hits| hits.packets)
    }

    /// How many packets that were seen the policy `namespace/name` denied.
    pub fn denied(&self, policy: &str, direction: FlowDirection) -> u64 {
        let Some(hits) = self.0.policies.get(policy) else { return 0 };
        let of_direction = match direction {
            FlowDirection::Ingress => hits.ingress,
            FlowDirection::Egress => hits.egress,
        };
        of_direction.map_or(0, |hits| hits.packets)
    }

    /// Connections allowed by rules beyond `MAX_COUNTED_RULES`, and those that more rules allow than a flow names.
    pub fn uncounted_rules(&self) -> u64 {
        self.0.uncounted_rules.load(Ordering::Relaxed)
    }

    /// Packets denied by policies beyond `MAX_COUNTED`, and those that more policies deny than a flow names.
    pub fn uncounted(&self) -> u64 {
        self.0.uncounted.load(Ordering::Relaxed)
    }
}

fn rule_hits((rule, direction): &RuleKey, hits: Hits) -> RuleHits {
    RuleHits {
        policy: rule.policy.clone(),
        direction: *direction,
        rule: rule.rule,
        connections: hits.packets,
        last_used: hits.last_seen.to_string(),
    }
}

fn denials(policy: &str, hits: &PolicyHits) -> impl Iterator<Item = PolicyDenials> + use<> {
    let (policy, ingress, egress) = (policy.to_owned(), hits.ingress, hits.egress);
    let directions = [(FlowDirection::Ingress, ingress), (FlowDirection::Egress, egress)];
    directions.into_iter().filter_map(move |(direction, hits)| {
        let Hits { packets, last_seen } = hits?;
        let (policy, last_seen) = (policy.clone(), last_seen.to_string());
        Some(PolicyDenials { policy, direction, packets, last_seen })
    })
}

#[cfg(test)]
mod tests {
    use super::super::flow::Judgement;
    use super::*;

    fn flow(direction: FlowDirection, policies: &[&str]) -> Flow {
        Flow {
            direction,
            judgement: Judgement {
                isolated_by: policies.iter().map(|&policy| policy.into()).collect(),
                ..Judgement::default()
            },
            ..Flow::example()
        }
    }

    #[test]
    fn rules_count_connections_until_their_policy_goes() {
        let hits = HitCounters::default();
        let time = Timestamp::UNIX_EPOCH;
        let mut allowed = flow(FlowDirection::Ingress, &["n/a", "n/b"]);
        let rule = |policy: &str, rule| AllowingRule { policy: policy.into(), rule };
        allowed.judgement.allowed_by = vec![rule("n/a", 1), rule("n/b", 0)];
        hits.count_allowed(&allowed, 3, time);
        hits.count_allowed(&allowed, 0, Timestamp::MAX);
        allowed.judgement.allowed_by.pop();
        hits.count_allowed(&allowed, 2, time);
        let top = |most| -> Vec<(String, usize, u64)> {
            let all = hits.top_rules(most).into_iter();
            all.map(|it| (it.policy, it.rule, it.connections)).collect()
        };
        assert_eq!(top(9), [("n/a".to_owned(), 1, 5), ("n/b".to_owned(), 0, 3)]);
        assert_eq!((top(1).len(), hits.uncounted_rules()), (1, 0));
        assert!(hits.top_rules(9).iter().all(|it| it.last_used == time.to_string()));
        hits.count(&allowed, time);
        hits.keep(|policy| policy == "n/b");
        assert_eq!(top(9), [("n/b".to_owned(), 0, 3)]);
        assert!(hits.top(9).iter().all(|it| it.policy == "n/b"));
    }

    #[test]
    fn a_packet_counts_for_each_policy_that_isolates_and_by_direction() {
        let counters = HitCounters::default();
        let at = |second| Timestamp::from_second(second).unwrap_or_default();
        counters.count(&flow(FlowDirection::Ingress, &["x/a", "x/b"]), at(1));
        counters.count(&flow(FlowDirection::Ingress, &["x/b"]), at(2));
        counters.count(&flow(FlowDirection::Egress, &["x/b"]), at(3));
        let top: Vec<_> = counters
            .top(10)
            .into_iter()
            .map(|it| (it.policy, it.direction, it.packets, it.last_seen))
            .collect();
        let row = |policy: &str, direction, packets, second: i64| {
            (policy.to_owned(), direction, packets, at(second).to_string())
        };
        assert_eq!(
            top,
            [
                row("x/b", FlowDirection::Ingress, 2, 2),
                row("x/a", FlowDirection::Ingress, 1, 1),
                row("x/b", FlowDirection::Egress, 1, 3),
            ]
        );
        assert_eq!(counters.top(1).len(), 1);
    }

    #[test]
    fn policies_beyond_the_bound_are_counted_in_one_sum() {
        let counters = HitCounters::default();
        for number in 0..=MAX_COUNTED {
            let policy = format!("x/{number}");
            counters.count(&flow(FlowDirection::Ingress, &[&policy]), Timestamp::UNIX_EPOCH);
        }
        assert_eq!((counters.top(usize::MAX).len(), counters.uncounted()), (MAX_COUNTED, 1));
    }
}
