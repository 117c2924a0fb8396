//! `palisade check`: what it finds on a host as it is, and what is planted there.

use serde_json::Value;

use super::command::{Netns, Ran, Scratch, finish};
use super::missing::{as_without_netfilter, without_capability};

/// The findings with that id.
fn found(report: &Value, id: &str) -> Vec<Value> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().filter(|finding| finding["id"] == id).cloned().collect()
}

/// The one finding with that id.
#[track_caller]
fn the(report: &Value, id: &str) -> Value {
    let found = found(report, id);
    assert_eq!(found.len(), 1, "{id}: {report:#}");
    found[0].clone()
}

#[track_caller]
fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

fn check(netns: &Netns, more: &[&str]) -> Ran {
    netns.palisade(&[&["check", "--socket", "/nonexistent/s"], more].concat())
}

fn sh(netns: &Netns, command: &str) -> String {
    finish(netns.command("sh", &["-ec", command]), "").exits(0).out
}

#[test]
fn a_plain_host_passes_and_nothing_is_left_on_it() {
    let netns = Netns::new();
    let ran = check(&netns, &["-o", "json"]).exits(0);
    let report = json(&ran);
    assert_eq!(report["failures"], 0, "{report:#}");
    for (id, severity) in [
        ("kernel-version", "ok"),
        ("capabilities", "ok"),
        ("nftables", "ok"),
        ("grace-period", "ok"),
        ("ip-forwarding", "warning"),
        ("flow-tables", "ok"),
        ("ipvs", "ok"),
        ("link-programs", "ok"),
        ("policy-engines", "ok"),
        ("default-drop", "ok"),
        ("tables", "ok"),
        ("agent", "note"),
        ("conntrack", "ok"),
        ("api", "note"),
        ("pod-range", "note"),
    ] {
        assert_eq!(the(&report, id)["severity"], severity, "{id}: {report:#}");
    }
    for finding in report["findings"].as_array().unwrap() {
        let needs_more = ["warning", "failure"].contains(&finding["severity"].as_str().unwrap());
        for field in ["matters", "remedy"] {
            let text = finding[field].as_str().unwrap();
            assert!(!needs_more || text.ends_with('.'), "{field} of {finding:#}");
        }
    }
    assert_eq!(netns.ruleset(), "", "it made nothing");
    // As in a pod, where no network namespace can be made.
    let without = ["--bounding-set", "-sys_admin", env!("CARGO_BIN_EXE_palisade"), "check"];
    let ran = finish(netns.command("setpriv", &[&without[..], &["-o", "json"]].concat()), "");
    let tried = the(&json(&ran.exits(0)), "nftables")["seen"].clone();
    assert!(tried.as_str().unwrap().contains("where nothing was created"), "{tried}");
    assert_eq!(netns.ruleset(), "", "it made nothing there either");
    let text = check(&netns, &[]).exits(0).out;
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.ends_with("Policy can be enforced here; warnings: 1.\n"), "{text}");
}

#[test]
fn traces_of_other_engines_and_firewalls_are_named() {
    let netns = Netns::new();
    let planted = "table ip filter {
          chain KUBE-NWPLCY-X7 { }
          chain FORWARD { type filter hook forward priority 0; policy drop; }
        }
        table inet kube-network-policies { }
        table ip6 calico {
          chain filter-cali-FORWARD { }
        }\n";
    finish(netns.command("nft", &["-f", "-"]), planted).exits(0);
    let before = netns.ruleset();
    let report = json(&check(&netns, &["-o", "json"]).exits(0));
    let engines = found(&report, "policy-engines");
    assert_eq!(engines.len(), 2, "{engines:#?}");
    assert!(engines.iter().all(|engine| engine["severity"] == "warning"));
    let seen =
        |of: &str| engines.iter().any(|engine| engine["seen"].as_str().unwrap().contains(of));
    assert!(seen("kube-router") && seen("ip filter KUBE-NWPLCY-X7"), "{engines:#?}");
    assert!(seen("Calico") && seen("ip6 calico filter-cali-FORWARD"), "{engines:#?}");
    let firewall = the(&report, "default-drop");
    assert_eq!(firewall["severity"], "warning");
    assert!(firewall["seen"].as_str().unwrap().contains("ip filter FORWARD"), "{firewall:#}");
    assert_eq!(netns.ruleset(), before);
}

#[test]
fn a_program_at_an_interface_is_named() {
    let netns = Netns::new();
    sh(
        &netns,
        "ip link add v0 type veth peer name v1
         tc qdisc add dev v0 clsact
         tc filter add dev v0 egress bpf bytecode '1,6 0 0 0'",
    );
    let programs = the(&json(&check(&netns, &["-o", "json"]).exits(0)), "link-programs");
    assert_eq!(programs["severity"], "warning");
    assert!(programs["seen"].as_str().unwrap().contains("v0 tc egress bpf"), "{programs:#}");
}

#[test]
fn a_bridge_whose_packets_pass_no_rule_is_found() {
    let netns = Netns::new();
    sh(
        &netns,
        "ip link add br0 type bridge; ip link add v0 type veth peer name v1; ip link set v0 master br0
         echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables
         echo 1 > /proc/sys/net/bridge/bridge-nf-call-ip6tables",
    );
    let report = json(&check(&netns, &["-o", "json"]).exits(0));
    let bridge = the(&report, "bridge-filter");
    assert_eq!(bridge["severity"], "note", "the agent may set it");
    assert!(bridge["seen"].as_str().unwrap().contains("with ports: br0"), "{bridge:#}");
    // As in a container, whose /proc/sys is read-only.
    let command = format!(
        "mount -o bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec {} check --socket /nonexistent/s -o json",
        env!("CARGO_BIN_EXE_palisade")
    );
    let ran = finish(netns.command("unshare", &["--mount", "sh", "-ec", &command]), "").exits(1);
    assert_eq!(the(&json(&ran), "bridge-filter")["severity"], "failure", "{ran:?}");
}

#[test]
fn the_agent_and_its_tables_are_found() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let mut agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    let socket = agent.socket.clone();
    let look = || {
        json(
            &netns
                .palisade(&["check", "--socket", socket.to_str().unwrap(), "-o", "json"])
                .exits(0),
        )
    };
    let report = look();
    let of_agent = the(&report, "agent");
    assert_eq!(of_agent["severity"], "ok", "{report:#}");
    let pid = format!("pid {}, enforcing", agent.pid());
    assert!(of_agent["seen"].as_str().unwrap().contains(&pid), "{of_agent:#}");
    assert_eq!(the(&report, "tables")["severity"], "ok", "{report:#}");
    agent.verify();
    agent.end("-KILL");
    let report = look();
    assert_eq!(the(&report, "agent")["severity"], "note");
    let tables = the(&report, "tables");
    assert_eq!(tables["severity"], "note");
    assert!(tables["seen"].as_str().unwrap().contains("no agent runs"), "{tables:#}");
}

#[test]
fn what_is_missing_is_a_failure_and_comes_last() {
    let netns = Netns::new();
    let args = ["check", "--socket", "/nonexistent/s"];
    let ran = without_capability(&netns, &args).exits(1);
    let failures: Vec<&str> = ran.out.lines().filter(|line| line.starts_with("FAILURE")).collect();
    assert!(failures[0].contains("capabilities: this process lacks CAP_NET_ADMIN"), "{ran:?}");
    assert!(failures.iter().any(|line| line.contains("nftables")), "{ran:?}");
    let last = ran.out.rfind("\nwarning").unwrap();
    assert!(last < ran.out.find("FAILURE").unwrap(), "{ran:?}");
    assert!(ran.out.contains("Policy cannot be enforced here"), "{ran:?}");
    let ran = as_without_netfilter(&netns, &args).exits(1);
    assert!(ran.out.contains("CONFIG_NETFILTER_NETLINK"), "{ran:?}");
}
