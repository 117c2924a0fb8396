//! Paths of packets that never meet the rules: others' flow tables, IPVS, and BPF programs that redirect.

use palisade_dataplane::netlink::{LinkProgram, LinkPrograms};

use super::{Finding, Severity, list};
use crate::ipvs;

pub(super) fn findings() -> Vec<Finding> {
    vec![ipvs(), link_programs()]
}

fn ipvs() -> Finding {
    match ipvs::gap() {
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
