//! Other programs that filter what pods send: policy engines, and firewalls of the host.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use palisade_dataplane::netlink::{ForeignChain, all_chains, interfaces};
use palisade_dataplane::ruleset::TableName;

use super::finding::{Finding, Severity, list};

/// An engine that enforces policies itself, and what it is known by.
struct Engine {
    name: &'static str,
    /// How names of its chains begin.
    chains: &'static [&'static str],
    /// What names of its tables contain.
    tables: &'static [&'static str],
    /// Interfaces that only its own datapath has.
    interfaces: &'static [&'static str],
}

const ENGINES: [Engine; 9] = [
    Engine {
        name: "kube-router (or k3s)",
        chains: &["KUBE-ROUTER-", "KUBE-NWPLCY-", "KUBE-POD-FW-"],
        tables: &["kube-router-filter"],
        interfaces: &[],
    },
    Engine { name: "Calico", chains: &["cali-"], tables: &["calico"], interfaces: &[] },
    Engine {
        name: "Cilium",
        chains: &["CILIUM_"],
        tables: &["cilium"],
        interfaces: &["cilium_host", "cilium_net"],
    },
    Engine {
        name: "Antrea",
        chains: &["ANTREA-"],
        tables: &["antrea"],
        interfaces: &["antrea-gw0"],
    },
    Engine { name: "Azure NPM", chains: &["AZURE-NPM"], tables: &["azure-npm"], interfaces: &[] },
    Engine { name: "Weave Net", chains: &["WEAVE-NPC"], tables: &[], interfaces: &["weave"] },
    Engine {
        name: "kube-network-policies (or kindnet)",
        chains: &[],
        tables: &["network-policies"],
        interfaces: &[],
    },
    Engine {
        name: "OVN-Kubernetes",
        chains: &["OVN-KUBE-"],
        tables: &["ovn-kubernetes"],
        interfaces: &["ovn-k8s-mp0"],
    },
    Engine { name: "Romana", chains: &["ROMANA-"], tables: &[], interfaces: &[] },
];

pub(super) fn findings(proc: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    match all_chains() {
        Ok(chains) => {
            let names = interfaces().unwrap_or_default();
            let names: Vec<String> = names.into_iter().map(|interface| interface.name).collect();
            findings.extend(engines(&chains, &names));
            findings.push(default_drop(&chains));
        }
        Err(error) => findings.push(Finding::new(
            Severity::Warning,
            "policy-engines",
            format!("the chains of other programs cannot be read ({error})"),
            "Another policy engine would have to allow every packet, too.",
            "Run this check with CAP_NET_ADMIN.",
        )),
    }
    findings.extend(legacy(proc));
    findings
}

fn engines(chains: &[ForeignChain], interfaces: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for engine in &ENGINES {
        let of_chain = |chain: &ForeignChain| {
            let by_name = engine.chains.iter().any(|start| chain.name.starts_with(start));
            let by_table = engine.tables.iter().any(|part| chain.table.contains(part));
            (by_name || by_table).then(|| chain.to_string())
        };
        let of_interface = |name: &&String| engine.interfaces.contains(&name.as_str());
        let mut traces: Vec<String> = chains.iter().filter_map(of_chain).collect();
        let links = interfaces.iter().filter(of_interface);
        traces.extend(links.map(|name| format!("the interface {name}")));
        if !traces.is_empty() {
            findings.push(Finding::new(
                Severity::Warning,
                "policy-engines",
                format!("{} is, or was, at work here: {}", engine.name, list(&traces)),
                "What two engines enforce passes only where both allow it, and rules that an engine left behind go on denying.",
                "Turn policy off there or remove it with its rules before Palisade enforces, or enforce there and not here.",
            ));
        }
    }
    if findings.is_empty() {
        findings
            .push(Finding::ok("policy-engines", "no other policy engine is known by its traces"));
    }
    findings
}

/// Firewalls whose verdict on what no rule of theirs decides is to drop.
fn default_drop(chains: &[ForeignChain]) -> Finding {
    let ours: Vec<&str> = TableName::ALL.into_iter().map(TableName::as_str).collect();
    let dropping: Vec<&ForeignChain> = chains
        .iter()
        .filter(|chain| chain.forward_priority.is_some() && chain.drops_by_default)
        .filter(|chain| !ours.contains(&chain.table.as_str()))
        .collect();
    if dropping.is_empty() {
        return Finding::ok("default-drop", "no other chain drops forwarded packets by default");
    }
    Finding::new(
        Severity::Warning,
        "default-drop",
        format!(
            "these chains drop forwarded packets unless a rule of theirs accepts: {}",
            list(&dropping)
        ),
        "What policies allow is dropped there all the same, and palisade explain does not know of it.",
        "Accept the pods' network in that firewall (docker, ufw or firewalld, most likely), as the CNI plugin's manual says.",
    )
}

/// What iptables loaded by its older interface, which nftables does not list.
fn legacy(proc: &Path) -> Option<Finding> {
    let mut tables = BTreeSet::new();
    for (file, program) in [("ip_tables_names", "iptables"), ("ip6_tables_names", "ip6tables")] {
        let names = fs::read_to_string(proc.join("net").join(file)).unwrap_or_default();
        tables.extend(names.lines().map(|name| format!("{program}-legacy {name}")));
    }
    let tables: Vec<String> = tables.into_iter().collect();
    (!tables.is_empty()).then(|| {
        Finding::new(
            Severity::Note,
            "legacy-iptables",
            format!("tables of the older iptables are loaded: {}", list(&tables)),
            "Their chains cannot be read by nftables, so that a policy engine may be at work there unseen.",
            "Look at the output of iptables-legacy -S for chains of an engine.",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(table: &str, name: &str) -> ForeignChain {
        ForeignChain {
            family: "ip",
            table: table.into(),
            name: name.into(),
            forward_priority: None,
            drops_by_default: false,
        }
    }

    #[test]
    fn engines_are_known_by_chains_tables_and_interfaces() {
        let found = |chains: &[ForeignChain], interfaces: &[&str]| {
            let interfaces: Vec<String> = interfaces.iter().map(|&name| name.to_owned()).collect();
            engines(chains, &interfaces).into_iter().map(|finding| finding.seen).collect::<Vec<_>>()
        };
        let usual = [chain("filter", "KUBE-FORWARD"), chain("kube-proxy", "filter-forward")];
        assert_eq!(found(&usual, &["eth0"]), ["no other policy engine is known by its traces"]);
        let router = found(&[chain("filter", "KUBE-NWPLCY-7ABC")], &[]);
        assert!(
            router[0].contains("kube-router") && router[0].contains("ip filter KUBE-NWPLCY-7ABC")
        );
        let two = found(&[chain("calico", "filter-FORWARD")], &["cilium_host"]);
        assert!(
            two[0].contains("Calico") && two[1].contains("the interface cilium_host"),
            "{two:?}"
        );
        assert!(
            found(&[chain("kindnet-network-policies", "postrouting")], &[])[0].contains("kindnet")
        );
    }

    #[test]
    fn a_firewall_that_drops_by_default_is_named_and_ours_is_none() {
        let base = |table: &str, drops_by_default| ForeignChain {
            forward_priority: Some(0),
            drops_by_default,
            ..chain(table, "FORWARD")
        };
        assert_eq!(
            default_drop(&[base("filter", false), base("palisade", true)]).severity,
            Severity::Ok
        );
        let found = default_drop(&[base("filter", true)]);
        assert_eq!(found.severity, Severity::Warning);
        assert!(found.seen.contains("ip filter FORWARD"), "{found:?}");
    }
}
