//! Whether what pods send passes the forward hook: routing, bridges, and source addresses.

use std::fs;
use std::path::Path;

use nix::unistd::{AccessFlags, access};
use palisade_compiler::model::{Family, PerFamily};
use palisade_dataplane::bridges::{self, BridgeFilter};
use palisade_dataplane::netlink::{Interface, interfaces};

use super::finding::{Finding, Severity, list};

pub(super) fn findings(proc: &Path) -> Vec<Finding> {
    let mut findings = routing(&proc.join("sys/net"));
    match interfaces() {
        Ok(interfaces) => findings.extend(bridging(&interfaces)),
        Err(error) => findings.push(Finding::new(
            Severity::Warning,
            "bridge-filter",
            format!("the interfaces of this host cannot be read ({error})"),
            "The agent finds by them which bridges carry pods.",
            "Look what keeps this process from opening netlink sockets (seccomp, most likely).",
        )),
    }
    findings
}

fn setting(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn routing(sysctls: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let forwards = setting(&sysctls.join("ipv4/ip_forward"));
    findings.push(match forwards.as_deref() {
        Some("0") => Finding::new(
            Severity::Warning,
            "ip-forwarding",
            "net.ipv4.ip_forward is 0",
            "The host routes nothing for its pods, so that they reach only what is on their own bridge.",
            "Set it to 1, if the CNI plugin did not yet: they usually do with the first pod.",
        ),
        Some(_) => Finding::ok("ip-forwarding", "IPv4 is forwarded"),
        None => Finding::new(
            Severity::Note,
            "ip-forwarding",
            "net.ipv4.ip_forward cannot be read",
            "",
            "",
        ),
    });
    let v6 = setting(&sysctls.join("ipv6/conf/all/forwarding"));
    let off = setting(&sysctls.join("ipv6/conf/all/disable_ipv6"));
    findings.push(match (v6.as_deref(), off.as_deref()) {
        (None, _) => Finding::ok("ipv6", "this kernel has no IPv6, so there is none to judge"),
        (_, Some("1")) => Finding::ok("ipv6", "IPv6 is off (net.ipv6.conf.all.disable_ipv6)"),
        (Some("0"), _) => Finding::ok("ipv6", "IPv6 is there, and is not forwarded"),
        (Some(_), _) => Finding::ok("ipv6", "IPv6 is forwarded, and judged"),
    });
    findings.push(source_validation(sysctls));
    findings
}

/// The kernel takes the greater of the setting for all interfaces and that of the interface (ip-sysctl.rst).
fn source_validation(sysctls: &Path) -> Finding {
    let value = |which: &str| setting(&sysctls.join(format!("ipv4/conf/{which}/rp_filter")));
    let (all, new) = (value("all"), value("default"));
    let is_off = |value: &Option<String>| value.as_deref() == Some("0");
    if is_off(&all) && is_off(&new) {
        return Finding::new(
            Severity::Note,
            "source-validation",
            "net.ipv4.conf.all.rp_filter and that of new interfaces are 0",
            "Unless the CNI plugin checks it, a pod may send with another pod's address, and be judged as that one.",
            "Have the CNI plugin check source addresses, or set rp_filter to 1 for the pods' interfaces.",
        );
    }
    Finding::ok("source-validation", "the kernel checks source addresses (rp_filter)")
}

fn bridging(interfaces: &[Interface]) -> Vec<Finding> {
    let kind = |interface: &Interface, kind: &str| interface.kind.as_deref() == Some(kind);
    let names: Vec<&str> = interfaces
        .iter()
        .filter(|interface| kind(interface, "bridge"))
        .filter(|bridge| interfaces.iter().any(|port| port.master == Some(bridge.index)))
        .map(|bridge| bridge.name.as_str())
        .collect();
    let states = PerFamily { v4: Family::V4, v6: Family::V6 };
    let states = states.into_iter().map(|(family, _)| (family, bridges::bridge_filter(family)));
    let mut findings = Vec::new();
    for (family, state) in states {
        if let Some(finding) = bridge_filter(family, state.ok(), &names) {
            findings.push(finding);
        }
    }
    if findings.is_empty() {
        let seen = if names.is_empty() {
            "no bridge of this host has ports".to_owned()
        } else {
            format!("what {} carry between their ports passes the rules", list(&names))
        };
        findings.push(Finding::ok("bridge-filter", seen));
    }
    findings
}

/// `None` if there is nothing to do. The state is `None` if it cannot be read.
fn bridge_filter(family: Family, state: Option<BridgeFilter>, names: &[&str]) -> Option<Finding> {
    let path = bridges::path(family);
    let id = if family == Family::V4 { "bridge-filter" } else { "bridge-filter-ipv6" };
    let matters = "Packets between pods on one bridge pass no rule, so that policies between pods of this node have no effect.";
    let with_ports = match names {
        [] => "no bridge has ports at the moment".to_owned(),
        names => format!("with ports: {}", list(names)),
    };
    match state {
        Some(BridgeFilter::On) => None,
        Some(BridgeFilter::Off) if access(path, AccessFlags::W_OK).is_ok() => Some(Finding::new(
            Severity::Note,
            id,
            format!("{path} is 0 ({with_ports})"),
            "",
            "The agent sets it once pods that policies isolate are on a bridge.",
        )),
        Some(BridgeFilter::Off) => Some(Finding::new(
            if names.is_empty() { Severity::Warning } else { Severity::Failure },
            id,
            format!("{path} is 0 and may not be written by this process ({with_ports})"),
            matters,
            "Set it to 1 on the host (sysctl -w, and /etc/sysctl.d), if pods are on a bridge.",
        )),
        // With the module, both families' settings are there: it is told once.
        Some(BridgeFilter::Absent) if family == Family::V6 => None,
        Some(BridgeFilter::Absent) => Some(Finding::new(
            if names.is_empty() { Severity::Note } else { Severity::Failure },
            id,
            format!("br_netfilter is not loaded ({with_ports})"),
            matters,
            "Load it (modprobe br_netfilter, and /etc/modules-load.d), if pods are on a bridge.",
        )),
        None => Some(Finding::new(
            Severity::Warning,
            id,
            format!("{path} cannot be read"),
            matters,
            "Look that it is 1, if pods are on a bridge.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn severity(state: Option<BridgeFilter>, names: &[&str]) -> Option<Severity> {
        bridge_filter(Family::V4, state, names).map(|finding| finding.severity)
    }

    #[test]
    fn a_bridge_that_passes_no_rule_is_a_failure_where_it_has_ports() {
        assert_eq!(severity(Some(BridgeFilter::On), &["br0"]), None);
        assert_eq!(severity(Some(BridgeFilter::Absent), &["br0"]), Some(Severity::Failure));
        assert_eq!(severity(Some(BridgeFilter::Absent), &[]), Some(Severity::Note));
        assert_eq!(severity(None, &[]), Some(Severity::Warning));
        assert_eq!(bridge_filter(Family::V6, Some(BridgeFilter::Absent), &["br0"]), None);
    }

    #[test]
    fn only_bridges_with_ports_count() {
        let interface = |index, kind: &str, master| Interface {
            index,
            name: format!("{kind}{index}"),
            kind: Some(kind.to_owned()),
            master,
            mtu: None,
            is_up: true,
            xdp: None,
        };
        let empty = [interface(1, "bridge", None), interface(2, "veth", None)];
        let seen = |interfaces: &[Interface]| bridging(interfaces)[0].seen.clone();
        assert!(!seen(&empty).contains("bridge1"), "{}", seen(&empty));
        let used = [interface(1, "bridge", None), interface(2, "veth", Some(1))];
        assert!(seen(&used).contains("bridge1"), "{}", seen(&used));
    }
}
