//! What the answers of the API server mean.
#![allow(
    clippy::indexing_slicing,
    reason = "the index of a JSON value by a name is null where there is none"
)]

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::check::finding::{Finding, Severity, list};

/// Of what the agent may not do: what verdicts depend on, and what explanations do.
pub(super) fn permission(needed: &[String], useful: &[String]) -> Finding {
    let id = "api-permissions";
    if !needed.is_empty() {
        return Finding::new(
            Severity::Failure,
            id,
            format!("this user may not: {}", list(needed)),
            "Until the agent has listed all of these it changes nothing in the kernel.",
            "Bind the ClusterRole palisade of the manifests to the agent's service account.",
        );
    }
    if !useful.is_empty() {
        return Finding::new(
            Severity::Note,
            id,
            format!("this user may not: {}", list(useful)),
            "Verdicts do not depend on them; palisade explain does not know Services.",
            "Allow it, if explanations of Services are wanted.",
        );
    }
    Finding::ok(id, "this user may list and watch all that the agent reads")
}

/// `spec.podCIDRs`, or `spec.podCIDR`.
pub(super) fn node_ranges(node: &Value) -> Vec<IpNet> {
    let parse = |value: &Value| value.as_str()?.parse().ok();
    let spec = &node["spec"];
    match spec["podCIDRs"].as_array() {
        Some(ranges) => ranges.iter().filter_map(parse).collect(),
        None => parse(&spec["podCIDR"]).into_iter().collect(),
    }
}

/// The pods of a list whose addresses are in none of the ranges of their family, as `namespace/name (address)`. Pods that use the
/// host's network have its address.
pub(super) fn pods_outside(pods: &Value, ranges: &[IpNet]) -> Vec<String> {
    let mut outside = Vec::new();
    for pod in pods["items"].as_array().into_iter().flatten() {
        if pod["spec"]["hostNetwork"] == Value::Bool(true) {
            continue;
        }
        let addresses = pod["status"]["podIPs"].as_array().into_iter().flatten();
        for address in addresses.filter_map(|entry| entry["ip"].as_str()?.parse::<IpAddr>().ok()) {
            if !ranges.is_empty() && !ranges.iter().any(|range| range.contains(&address)) {
                let text = |field: &str| pod["metadata"][field].as_str().unwrap_or("?");
                outside.push(format!("{}/{} ({address})", text("namespace"), text("name")));
            }
        }
    }
    outside
}

pub(super) fn judge_range(ranges: &[IpNet], outside: &[String]) -> Finding {
    let id = "pod-range";
    if ranges.is_empty() {
        return Finding::new(
            Severity::Note,
            id,
            "the range of the node's pods is not known",
            "A pod that policies select is isolated from the moment its address is known, and not from its first packet.",
            "Have the cluster give the node a range (Node.spec.podCIDRs), if the CNI plugin takes addresses from it.",
        );
    }
    if !outside.is_empty() {
        return Finding::new(
            Severity::Warning,
            id,
            format!("the range is {}, and outside of it are {}", list(ranges), list(outside)),
            "The CNI plugin takes addresses from elsewhere: a pod that policies select is isolated only from the moment its address is \
             known.",
            "Look which range the CNI plugin's configuration names.",
        );
    }
    Finding::ok(id, list(ranges))
}

/// Of the Service that pods ask by the usual name, or why it cannot be read.
pub(super) fn dns(service: Result<&Value, &String>) -> Finding {
    let id = "dns";
    let matters = "A pod that is isolated for egress reaches it only if its policies allow it.";
    let remedy = "Allow UDP and TCP port 53 to the pods behind the Service (namespace kube-system, label k8s-app=kube-dns): a Service's own \
                  address is translated before policies are asked, so that an ipBlock of it never matches.";
    match service {
        Ok(service) => {
            let addresses = service["spec"]["clusterIPs"].as_array();
            let addresses: Vec<&str> =
                addresses.into_iter().flatten().filter_map(Value::as_str).collect();
            let seen = format!("pods ask the Service kube-system/kube-dns ({})", list(&addresses));
            Finding::new(Severity::Note, id, seen, matters, remedy)
        }
        Err(error) => Finding::new(
            Severity::Note,
            id,
            format!("the Service kube-system/kube-dns cannot be read: {error}"),
            matters,
            "Look whom pods ask (/etc/resolv.conf in one of them), and allow UDP and TCP port 53 to it.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ranges_are_the_nodes_and_pods_outside_of_them_are_named() {
        let dual =
            json!({"spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00::/64"]}});
        let ranges = node_ranges(&dual);
        assert_eq!(list(&ranges), "10.1.0.0/24, fd00::/64");
        assert_eq!(node_ranges(&json!({"spec": {"podCIDR": "10.1.0.0/24"}})).len(), 1);
        assert!(node_ranges(&json!({"spec": {}})).is_empty());
        let pod = |name: &str, ip: &str, host: bool| {
            json!({"metadata": {"namespace": "x", "name": name}, "spec": {"hostNetwork": host},
                   "status": {"podIPs": [{"ip": ip}]}})
        };
        let pods = json!({"items": [
            pod("in", "10.1.0.9", false), pod("six", "fd00::9", false), pod("out", "10.2.0.9", false),
            pod("host", "192.0.2.1", true), {"metadata": {"name": "new"}},
        ]});
        let outside = pods_outside(&pods, &ranges);
        assert_eq!(outside, ["x/out (10.2.0.9)"]);
        assert_eq!(judge_range(&ranges, &outside).severity, Severity::Warning);
        assert_eq!(judge_range(&ranges, &[]).severity, Severity::Ok);
        assert_eq!(judge_range(&[], &[]).severity, Severity::Note);
        assert!(pods_outside(&pods, &[]).is_empty());
    }

    #[test]
    fn what_verdicts_depend_on_is_a_failure_where_it_may_not_be_read() {
        let some = ["watch pods".to_owned()];
        assert_eq!(permission(&[], &[]).severity, Severity::Ok);
        assert_eq!(permission(&[], &some).severity, Severity::Note);
        assert_eq!(permission(&some, &some).severity, Severity::Failure);
    }

    #[test]
    fn the_resolver_is_named() {
        let service = json!({"spec": {"clusterIPs": ["10.96.0.10", "fd00:96::a"]}});
        assert!(dns(Ok(&service)).seen.contains("10.96.0.10, fd00:96::a"));
        assert!(dns(Err(&"forbidden".to_owned())).seen.contains("forbidden"));
    }
}
