//! Which flows a reader wants.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::flow::{Flow, FlowDirection, FlowEnd, FlowVerdict};

/// A flow is wanted if it meets every part that is not empty, and a part if it meets one of its entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    pub verdicts: Vec<FlowVerdict>,
    pub directions: Vec<FlowDirection>,
    /// Of either end.
    pub namespaces: Vec<String>,
    /// `namespace/name`, of either end.
    pub pods: Vec<String>,
    /// Labels of the pod at either end: a key, or `key=value`.
    pub labels: Vec<String>,
    /// Blocks that hold the address of either end.
    #[serde(with = "blocks")]
    pub addresses: Vec<IpNet>,
    /// Destination ports.
    pub ports: Vec<u16>,
    /// `namespace/name` of policies that isolate, or whose rules are named.
    pub policies: Vec<String>,
    /// Only flows that were seen from then on, in RFC 3339.
    pub since: Option<Timestamp>,
    /// Only flows whose verdict no revision in force gives.
    pub divergences: bool,
}

/// Entries of a filter in all. Each is compared with each flow.
pub const MAX_ENTRIES: usize = 256;

impl Filter {
    pub fn len(&self) -> usize {
        self.verdicts.len()
            + self.directions.len()
            + self.namespaces.len()
            + self.pods.len()
            + self.labels.len()
            + self.addresses.len()
            + self.ports.len()
            + self.policies.len()
    }

    /// Whether it takes every flow.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.since.is_none() && !self.divergences
    }

    pub fn takes(&self, flow: &Flow) -> bool {
        let ends = [&flow.from, &flow.to];
        let judgement = &flow.judgement;
        let of_end = |wanted: &[String], name: fn(&FlowEnd) -> Option<&String>| {
            ends.into_iter().filter_map(name).any(|name| wanted.contains(name))
        };
        let is_labelled = |wanted: &String| {
            ends.iter().any(|end| match wanted.split_once('=') {
                Some((key, value)) => end.labels.get(key).is_some_and(|found| found == value),
                None => end.labels.contains_key(wanted),
            })
        };
        let is_late = |since: Timestamp| {
            flow.last_seen.parse::<Timestamp>().is_ok_and(|last_seen| last_seen >= since)
        };
        let is_within = |block: &IpNet| {
            let mut addresses = ends.iter().filter_map(|end| end.address.parse::<IpAddr>().ok());
            addresses.any(|address| block.contains(&address))
        };
        let is_named = |policy: &String| {
            judgement.isolated_by.contains(policy)
                || judgement.allowed_by.iter().any(|rule| rule.policy == *policy)
                || judgement.misses.iter().any(|miss| miss.policy == *policy)
        };
        meets(&self.verdicts, |wanted| wanted.contains(&flow.verdict))
            && meets(&self.directions, |wanted| wanted.contains(&flow.direction))
            && meets(&self.namespaces, |wanted| of_end(wanted, |end| end.namespace.as_ref()))
            && meets(&self.pods, |wanted| of_end(wanted, |end| end.pod.as_ref()))
            && meets(&self.labels, |wanted| wanted.iter().any(is_labelled))
            && meets(&self.addresses, |wanted| wanted.iter().any(is_within))
            && meets(&self.ports, |wanted| flow.port.is_some_and(|port| wanted.contains(&port)))
            && meets(&self.policies, |wanted| wanted.iter().any(is_named))
            && self.since.is_none_or(is_late)
            && (!self.divergences || judgement.divergence.is_some())
    }
}

/// Blocks as text: `10.0.0.0/24`.
mod blocks {
    use ipnet::IpNet;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        blocks: &[IpNet],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(blocks.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<IpNet>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let parse = |text: &String| {
            text.parse().map_err(|error| D::Error::custom(format!("{text:?}: {error}")))
        };
        texts.iter().map(parse).collect()
    }
}

fn meets<T>(wanted: &[T], is_met: impl FnOnce(&[T]) -> bool) -> bool {
    wanted.is_empty() || is_met(wanted)
}

#[cfg(test)]
mod tests {
    use super::super::flow::Judgement;
    use super::*;

    fn flow() -> Flow {
        let end = |pod: &str, address: &str| FlowEnd {
            address: address.into(),
            pod: Some(pod.into()),
            namespace: pod.split('/').next().map(Into::into),
            labels: [("name".to_owned(), pod.to_owned())].into(),
            ..FlowEnd::default()
        };
        Flow {
            first_seen: "2026-11-27T08:00:00Z".into(),
            last_seen: "2026-11-27T08:00:01Z".into(),
            from: end("shop/web", "10.0.0.1"),
            to: end("data/db", "10.0.0.2"),
            port: Some(5432),
            judgement: Judgement { isolated_by: vec!["data/guard".into()], ..Judgement::default() },
            ..Flow::example()
        }
    }

    #[test]
    fn a_filter_passes_over_the_socket() {
        let addresses = vec!["10.0.0.0/24".parse().unwrap(), "fd00::1/128".parse().unwrap()];
        let filter = Filter { addresses, ports: vec![80], ..Filter::default() };
        let text = serde_json::to_string(&filter).unwrap();
        assert!(text.contains(r#"["10.0.0.0/24","fd00::1/128"]"#), "{text}");
        assert_eq!(serde_json::from_str::<Filter>(&text).unwrap(), filter);
        assert!(serde_json::from_str::<Filter>(r#"{"addresses":["x"]}"#).is_err());
    }

    #[test]
    fn every_part_must_be_met_and_of_a_part_one_entry() {
        let (flow, all) = (flow(), Filter::default());
        assert!(all.is_empty() && all.takes(&flow));
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.into()).collect::<Vec<String>>();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let blocks = |text: &str| vec![text.parse().unwrap()];
        let taken = [
            Filter { verdicts: vec![FlowVerdict::Deny], ..all.clone() },
            Filter { directions: vec![FlowDirection::Ingress], ..all.clone() },
            Filter { namespaces: texts(&["other", "data"]), ..all.clone() },
            Filter { pods: texts(&["shop/web"]), ..all.clone() },
            Filter { addresses: blocks("10.0.0.2/32"), ports: vec![5432], ..all.clone() },
            Filter { policies: texts(&["data/guard"]), ..all.clone() },
            Filter { labels: texts(&["name=data/db"]), ..all.clone() },
            Filter {
                labels: texts(&["name"]),
                since: Some(at("2026-11-27T08:00:01Z")),
                ..all.clone()
            },
        ];
        taken.iter().for_each(|filter| assert!(filter.takes(&flow), "{filter:?}"));
        let left = [
            Filter { verdicts: vec![FlowVerdict::Allow], ..all.clone() },
            Filter { directions: vec![FlowDirection::Egress], ..all.clone() },
            Filter { namespaces: texts(&["dat"]), ..all.clone() },
            Filter { pods: texts(&["web"]), ..all.clone() },
            Filter { addresses: blocks("10.0.0.4/30"), ..all.clone() },
            Filter { pods: texts(&["shop/web"]), ports: vec![80], ..all.clone() },
            Filter { policies: texts(&["shop/guard"]), ..all.clone() },
            Filter { labels: texts(&["name=web", "nam"]), ..all.clone() },
            Filter { since: Some(at("2026-11-27T08:00:02Z")), ..all.clone() },
            Filter { divergences: true, ..all },
        ];
        left.iter().for_each(|filter| assert!(!filter.takes(&flow), "{filter:?}"));
    }
}
