//! Paths of packets that never meet the rules: others' flow tables, IPVS, and BPF programs that redirect.

use palisade_dataplane::netlink::{self, FlowTable, LinkProgram, LinkPrograms};
use palisade_dataplane::ruleset::RulesetError;

use super::finding::{Finding, Severity, list};
use crate::gaps;

pub(super) fn findings() -> Vec<Finding> {
    vec![flow_tables(netlink::flow_tables()), ipvs(), link_programs()]
}

fn flow_tables(found: Result<Vec<FlowTable>, RulesetError>) -> Finding {
    let matters = "Established connections in a flow table pass no hook: each is judged when it begins, and may go on for some time after \
                   policies forbid it.";
    match found {
        Ok(found) if found.is_empty() => {
            Finding::ok("flow-tables", "no flow table takes connections past the rules")
        }
        Ok(found) => Finding::new(
            Severity::Warning,
            "flow-tables",
            format!("flow tables take established connections past the rules: {}", list(&found)),
            matters,
            "Turn off the fast path of whatever made them (kindnet and Calico have one).",
        ),
        Err(error) => Finding::new(
            Severity::Warning,
            "flow-tables",
            format!("whether there are flow tables cannot be read ({error})"),
            matters,
            "Run this check with CAP_NET_ADMIN.",
        ),
    }
}

fn ipvs() -> Finding {
    match gaps::ipvs() {
        Some(_) => Finding::new(
            Severity::Failure,
            "ipvs",
            "Services are balanced by IPVS (/proc/net/ip_vs lists some)",
            "Traffic to Services passes the input and output hooks instead of the forward hook, and is not judged.",
            "Run kube-proxy in its nftables or iptables mode.",
        ),
        None => Finding::ok("ipvs", "no Service is balanced by IPVS"),
    }
}

fn link_programs() -> Finding {
    match LinkPrograms::read() {
        Ok(programs) => judge(&programs),
        Err(error) => Finding::new(
            Severity::Warning,
            "link-programs",
            format!("what is attached to interfaces cannot be read ({error})"),
            "A BPF program may take packets past the rules.",
            "Look at the output of tc filter show, ip link show and bpftool net.",
        ),
    }
}

fn judge(programs: &LinkPrograms) -> Finding {
    let unseen = programs.unseen.as_ref().map_or_else(String::new, |error| {
        format!("; whether there are tcx programs cannot be seen ({error})")
    });
    let is_bpf = |program: &&LinkProgram| program.kind == "bpf";
    if programs.found.iter().any(|program| is_bpf(&program)) {
        let found: Vec<&LinkProgram> = programs.found.iter().filter(is_bpf).collect();
        return Finding::new(
            Severity::Warning,
            "link-programs",
            format!("BPF programs see packets before the rules do: {}{unseen}", list(&found)),
            "If one redirects packets to another interface, they pass no hook and are not judged. What a program does cannot be \
             seen from outside.",
            "Find out whose they are (bpftool net, bpftool prog). Datapaths that redirect (Cilium, Calico's eBPF mode) enforce \
             policy themselves: leave it to them.",
        );
    }
    let others: Vec<&LinkProgram> = programs.found.iter().collect();
    match others.as_slice() {
        [] => Finding::ok(
            "link-programs",
            format!("neither XDP programs nor filters of traffic control are attached{unseen}"),
        ),
        others => Finding::new(
            Severity::Note,
            "link-programs",
            format!("filters of traffic control: {}{unseen}", list(others)),
            "One with a redirecting action takes packets past the rules.",
            "Look at the output of tc filter show.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use palisade_dataplane::netlink::AttachmentPoint;

    use super::*;

    #[test]
    fn a_flow_table_is_a_warning_that_names_it() {
        assert_eq!(flow_tables(Ok(Vec::new())).severity, Severity::Ok);
        let table = FlowTable { family: "inet", table: "kindnet".into(), name: "fast".into() };
        let finding = flow_tables(Ok(vec![table]));
        assert_eq!(finding.severity, Severity::Warning);
        assert!(finding.seen.contains("inet kindnet fast"), "{finding:?}");
    }

    #[test]
    fn a_program_is_a_warning_and_what_cannot_be_seen_is_said() {
        let program = |kind: &str| LinkProgram {
            interface: "eth0".into(),
            at: AttachmentPoint::TcIngress,
            kind: kind.into(),
            name: None,
            id: None,
        };
        let none = judge(&LinkPrograms::default());
        assert_eq!(none.severity, Severity::Ok);
        let found = vec![program("bpf"), program("flower")];
        let bpf = judge(&LinkPrograms { found, unseen: None });
        assert_eq!(bpf.severity, Severity::Warning);
        assert!(bpf.seen.contains("eth0 tc ingress bpf"), "{bpf:?}");
        let unseen = Some(io::ErrorKind::PermissionDenied.into());
        let flower = judge(&LinkPrograms { found: vec![program("flower")], unseen });
        assert_eq!(flower.severity, Severity::Note);
        assert!(flower.seen.contains("cannot be seen"), "{flower:?}");
    }
}
