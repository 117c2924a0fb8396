//! Paths of packets that other components made and no rule of ours sees.

use crate::command::{Netns, Ran, Scratch, finish};

/// Set by `make test-kernel`, whose kernel has flow tables and IPVS. Where a kernel has neither, there is nothing to find.
fn has_both() -> bool {
    std::env::var_os("PALISADE_FULL_KERNEL").is_some()
}

/// Whether the kernel takes what a command makes.
fn made(netns: &Netns, program: &str, arguments: &[&str]) -> bool {
    let Ran { exit, .. } = finish(netns.command(program, arguments), "");
    assert!(exit == 0 || !has_both(), "{program} {arguments:?} fails on a kernel that has it");
    exit == 0
}

/// `what` is named by the commands if it is there.
#[track_caller]
fn is_named(netns: &Netns, files: &Scratch, what: &str, is_there: bool) {
    for command in ["apply", "verify"] {
        let ran = netns.palisade(&[command, "-f", files.path()]);
        let text = ran.out.clone() + &ran.err;
        let is_named = text.contains("NOT ENFORCED") && text.contains(what);
        assert_eq!(is_named, is_there, "{command}: {ran:?}");
        ran.exits(i32::from(is_there));
    }
}

#[test]
fn flow_tables_are_named_as_not_enforced() {
    let (netns, files) = (Netns::new(), Scratch::guarded());
    is_named(&netns, &files, "flow table", false);
    let text = "{ hook ingress priority 0 ; devices = { lo } ; }";
    let table = made(&netns, "nft", &["add", "table", "inet", "fast"]);
    let is_there =
        table && made(&netns, "nft", &["add", "flowtable", "inet", "fast", "quick", text]);
    is_named(&netns, &files, "flow table inet fast quick", is_there);
}

#[test]
fn services_by_ipvs_are_named_as_not_enforced() {
    let (netns, files) = (Netns::new(), Scratch::guarded());
    is_named(&netns, &files, "IPVS", false);
    let is_there = made(&netns, "ipvsadm", &["-A", "-t", "10.96.0.1:80", "-s", "rr"]);
    is_named(&netns, &files, "IPVS", is_there);
}
