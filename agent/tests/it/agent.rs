//! The agent's life: start, change, a second one, crash, restart, stop.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use palisade::protocol::{Denied, Request, Response, State};
use palisade_lab::Namespace;

use super::command::{Netns, Scratch, finish, guard, knows_owners, pod, policy, until};

#[test]
fn a_saved_change_is_enforced_and_timed() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    assert_eq!(agent.verdict("x/a", "x/b"), "deny");
    assert_eq!(agent.verdict("203.0.113.9", "x/b"), "allow");
    agent.verify();

    scratch.write("guard.yaml", &guard("[{from: [{podSelector: {matchLabels: {app: a}}}]}]"));
    let status = agent.until("the change", |status| status.time_to_enforce.count == 1);
    assert!(status.time_to_enforce.last_us.is_some());
    let change = &status.changes[0];
    let file = scratch.0.join("guard.yaml");
    assert_eq!(change.objects, [format!("NetworkPolicy x/guard changed ({})", file.display())]);
    assert_eq!((change.object_count, change.revision), (1, status.enforced_revision));
    assert!(change.element_count > 0, "{change:?}");
    assert!(change.elements.iter().any(|line| line.starts_with("+ ip palisade ")), "{change:?}");
    let logged = format!("{}: {} elements, enforced in", change.objects[0], change.element_count);
    assert!(agent.log().contains(&logged), "no {logged:?} in {}", agent.log());
    assert_eq!(agent.verdict("x/a", "x/b"), "allow");
    assert_eq!(agent.verdict("203.0.113.9", "x/b"), "deny");
    agent.verify();

    fs::remove_file(scratch.0.join("guard.yaml")).unwrap();
    let status = agent.until("the removal", |status| {
        (status.sizes.policies, status.state) == (0, State::Enforcing)
    });
    assert_eq!(status.sizes.subjects_in, 0);
    agent.verify();
}

#[test]
fn the_kernel_refuses_every_thread_of_the_agent_what_it_never_does() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    let threads: Vec<_> = fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap().collect();
    assert!(threads.len() > 1);
    for thread in threads {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        // `SECCOMP_MODE_FILTER`
        for line in ["Seccomp:\t2\n", "NoNewPrivs:\t1\n"] {
            assert!(status.contains(line), "no {line:?} in {status}");
        }
    }
}

#[test]
fn the_rules_outlive_the_agent_and_a_restart_commits_nothing() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let mut agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    agent.verify();
    let before = netns.ruleset();
    assert!(before.contains("10.0.0.2"), "{before}");
    assert_eq!(agent.end("-KILL"), None);
    assert_eq!(contents(&netns.ruleset()), contents(&before));

    let mut agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    agent.verify();
    assert_eq!(contents(&netns.ruleset()), contents(&before), "every handle is as it was");
    let socket = agent.socket.clone();
    assert!(socket.exists());
    assert_eq!(agent.end("-TERM"), Some(0));
    assert!(!socket.exists(), "the socket goes with the agent");
    assert_eq!(contents(&netns.ruleset()), contents(&before));
}

/// Without what names the owner, who changes: the table's comment on its first line, and its flags.
fn contents(ruleset: &str) -> String {
    let of_owner = |line: &str| line == "flags" || line.starts_with("flags owner");
    let line = |line: &str| match line.split_once(" palisade {") {
        Some((table, _)) => format!("{table} palisade"),
        None => line.trim().to_owned(),
    };
    let lines = ruleset.lines().map(line).filter(|line| !of_owner(line));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn an_agent_that_starts_with_a_broken_file_leaves_the_table_as_it_is() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    netns.palisade(&["apply", "-f", scratch.path()]).exits(0);
    let before = netns.ruleset();
    let good = fs::read_to_string(scratch.0.join("guard.yaml")).unwrap();
    scratch.write("guard.yaml", "kind: [\n");
    let agent = netns.agent(&scratch.0);
    let status = agent.until("the complaint", |s| s.state == State::WaitingForManifests);
    assert!(status.detail.unwrap().contains("guard.yaml"));
    assert!(matches!(agent.ask(&Request::Verify), Response::NotReady { .. }));
    assert_eq!(contents(&netns.ruleset()), contents(&before));
    scratch.write("guard.yaml", &good);
    agent.until_enforcing();
    assert_eq!(agent.verdict("x/a", "x/b"), "deny");
    agent.verify();
}

#[test]
fn a_second_agent_waits_for_the_table_and_takes_it_over() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let mut first = netns.agent(&scratch.0);
    first.until_enforcing();
    let second = netns.agent(&scratch.0);
    if knows_owners() {
        let status = second.until("the wait", |status| status.state == State::WaitingForTable);
        assert!(status.detail.unwrap().contains(&first.pid().to_string()));
    } else {
        // Neither knows of the other, and both enforce the same.
        second.until_enforcing();
    }
    assert_eq!(first.end("-TERM"), Some(0));
    second.until_enforcing();
    second.verify();
}

#[test]
fn apply_and_flush_are_refused_while_an_agent_owns_the_table() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let mut agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    let pid = agent.pid().to_string();
    if knows_owners() {
        netns.palisade(&["apply", "-f", scratch.path()]).exits(3).complains(&pid);
        netns.palisade(&["flush"]).exits(3).complains(&pid).complains("palisade status");
    } else {
        netns.palisade(&["apply", "-f", scratch.path()]).exits(0);
    }
    agent.verify();
    agent.end("-TERM");
    netns.palisade(&["flush"]).exits(0);
    assert_eq!(netns.ruleset(), "");
}

#[test]
fn a_flush_that_stays_has_removed_the_tables_and_ends_at_sigterm_also_as_process_1() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    netns.palisade(&["apply", "-f", scratch.path()]).exits(0);
    assert_ne!(netns.ruleset(), "");
    let inside =
        ["--pid", "--fork", "--kill-child", env!("CARGO_BIN_EXE_palisade"), "flush", "--stay"];
    let mut outside = netns.command("unshare", &inside).spawn().unwrap();
    until("the flush", || netns.ruleset().is_empty());
    let children = format!("/proc/{pid}/task/{pid}/children", pid = outside.id());
    let process = fs::read_to_string(children).unwrap();
    assert!(outside.try_wait().unwrap().is_none(), "it stays");
    assert!(Command::new("kill").args(["-TERM", process.trim()]).status().unwrap().success());
    assert!(outside.wait().unwrap().success());
}

#[test]
fn only_pods_of_the_node_are_subjects_and_the_rest_is_not_judged_here() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let bound = |name: &str, address: &str, node: &str| {
        pod(name, address, "").replace("status:", &format!("spec: {{nodeName: {node}}}\nstatus:"))
    };
    scratch.write("pods.yaml", &(bound("a", "10.0.0.1", "n1") + &bound("b", "10.0.0.2", "n2")));
    let agent = netns.agent_with(&scratch.0, &["--node-name", "n1"]);
    let status = agent.until_enforcing();
    assert_eq!((status.sizes.local_pods, status.sizes.subjects_in), (1, 0));
    assert_eq!(status.node.as_deref(), Some("n1"));
    assert_eq!(agent.verdict("x/a", "x/b"), "deny");
    let Response::Explanation(explanation) = agent.ask(&Request::Explain {
        from: "x/a".into(),
        to: "x/b".into(),
        protocol: "tcp".into(),
        port: Some(80.into()),
    }) else {
        panic!("no explanation");
    };
    let [only] = explanation.connections.as_slice() else { panic!("{explanation:?}") };
    assert_eq!((only.egress.judged_here, only.ingress.judged_here), (true, false));
}

#[test]
fn a_node_name_that_nothing_knows_is_reported_and_an_empty_one_refused() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let bound = pod("b", "10.0.0.2", "").replace("status:", "spec: {nodeName: n1}\nstatus:");
    scratch.write("pods.yaml", &(pod("a", "10.0.0.1", "") + &bound));
    let agent = netns.agent_with(&scratch.0, &["--node-name", "N1"]);
    let status = agent.until("the warning", |status| !status.warnings.is_empty());
    assert!(status.warnings[0].contains("\"N1\""), "{status:?}");
    assert!(!status.enforces_all() && status.error_count == 1, "{status:?}");
    let socket = agent.socket.to_str().unwrap();
    let shown = netns.palisade(&["status", "--socket", socket]).exits(1);
    assert!(shown.out.contains("no pod is on the node \"N1\""), "{shown:?}");
    let apply = |name: &str, netns: &Netns| {
        netns.palisade(&["apply", "--dry-run", "-f", scratch.path(), "--node-name", name])
    };
    let other = Netns::new();
    apply("N1", &other).exits(1).complains("no pod is on the node \"N1\"");
    // Nothing but that the pod is not here, where nobody wired it.
    let known = apply("n1", &other).exits(0).err;
    assert!(known.starts_with("source guard: ") && known.lines().count() == 1, "{known}");
    apply("", &other).exits(2).complains("the name is empty");
    let mut unset = other.command(env!("CARGO_BIN_EXE_palisade"), &["apply", "-f", scratch.path()]);
    let refused = unset.env("NODE_NAME", "").output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}

#[test]
fn an_agent_that_starts_with_an_empty_directory_leaves_the_table_as_it_is() {
    let netns = Netns::new();
    let (scratch, empty) = (Scratch::guarded(), Scratch::new());
    netns.palisade(&["apply", "-f", scratch.path()]).exits(0);
    let before = netns.ruleset();
    let agent = netns.agent(&empty.0);
    let status = agent.until("the wait", |s| s.state == State::WaitingForManifests);
    assert!(status.problems[0].contains("no manifest in this directory"), "{status:?}");
    assert_eq!(contents(&netns.ruleset()), contents(&before));
    for name in ["namespace.yaml", "pods.yaml", "guard.yaml"] {
        fs::rename(scratch.0.join(name), empty.0.join(name)).unwrap();
    }
    agent.until("all of them", |s| s.state == State::Enforcing && s.sizes.policies == 1);
    assert_eq!(agent.verdict("x/a", "x/b"), "deny");
    fs::remove_file(empty.0.join("guard.yaml")).unwrap();
    agent.until("the removal", |s| s.sizes.policies == 0 && s.problem_count == 0);
}

#[test]
fn commands_ask_the_agent() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    let socket = agent.socket.to_str().unwrap();
    let status = netns.palisade(&["status", "--socket", socket]).exits(0);
    assert!(status.out.contains("enforcing") && status.out.contains("2 pods"), "{status:?}");
    let json = netns.palisade(&["status", "-o", "json", "--socket", socket]).exits(0);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&json["state"], &json["sizes"]["pods"]), (&"enforcing".into(), &2.into()));
    let verify = netns.palisade(&["verify", "--socket", socket]).exits(0);
    assert!(verify.out.contains("exactly"), "{verify:?}");
    let explain = ["explain", "x/a", "x/b", "--port", "80", "--socket", socket];
    let explained = netns.palisade(&explain).exits(0);
    assert!(explained.out.contains("x/guard"), "{explained:?}");
    netns
        .palisade(&["explain", "x/a", "x/none", "--port", "80", "--socket", socket])
        .exits(2)
        .complains("x/none in the manifests; the namespace has x/a, x/b");
    netns.palisade(&["verify", "--socket", "/nonexistent"]).exits(5);
}

/// Pods on a bridge to which the host has no address: no route leads to them.
#[test]
fn pods_on_a_bridge_that_no_route_leads_to_are_judged_and_reported() {
    let netns = Netns::new();
    for command in ["link add br0 type bridge", "link set br0 up"] {
        let words: Vec<&str> = command.split(' ').collect();
        finish(netns.command("ip", &words), "").exits(0);
    }
    let sysctl = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    let of_netns = |command: &str| finish(netns.command("sh", &["-c", command]), "").exits(0).out;
    of_netns(&format!("echo 0 > {sysctl}"));
    let scratch = Scratch::guarded();
    let agent = netns.agent(&scratch.0);
    let status = agent.until_enforcing();
    assert_eq!(of_netns(&format!("cat {sysctl}")).trim(), "1");
    let gaps = &status.not_enforced;
    assert!(
        gaps.iter().any(|gap| gap
            .contains("neither a bridge port nor a route leads to the isolated address 10.0.0.2")),
        "{gaps:?}"
    );
    let status = netns.palisade(&["status", "--socket", agent.socket.to_str().unwrap()]).exits(1);
    assert!(status.out.contains("enforcing, BUT NOT ALL"), "{status:?}");
    drop(agent);
    let applied = netns.palisade(&["apply", "-f", scratch.path()]).exits(1);
    assert!(
        applied.err.contains("NOT ENFORCED") && applied.out.contains("changed 0"),
        "{applied:?}"
    );
}

/// A fresh node has no pods yet: its Node object says that its name is right.
#[test]
fn a_node_that_a_node_object_declares_needs_no_pods() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let bound = pod("b", "10.0.0.2", "").replace("status:", "spec: {nodeName: n1}\nstatus:");
    scratch.write("pods.yaml", &(pod("a", "10.0.0.1", "") + &bound));
    scratch.write("node.yaml", "apiVersion: v1\nkind: Node\nmetadata: {name: fresh}\n");
    let agent = netns.agent_with(&scratch.0, &["--node-name", "fresh"]);
    let status = agent.until_enforcing();
    assert!(status.warnings.is_empty() && status.enforces_all(), "{status:?}");
    assert!(!agent.log().contains("no pod is on the node"), "{}", agent.log());
}

/// In an operator's words: pods, policies and packets.
#[test]
fn the_status_counts_isolated_pods_and_denied_packets() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    scratch.write(
        "more.yaml",
        &(pod("c", "10.0.0.3", "")
            .replace("podIPs: [{ip: 10.0.0.3}]", "podIPs: [{ip: 10.0.0.3}, {ip: 'fd00::3'}]")
            + &policy(
                "both",
                "{podSelector: {matchLabels: {app: c}}, policyTypes: [Ingress, Egress]}",
            )),
    );
    let agent = netns.agent(&scratch.0);
    let status = agent.until_enforcing();
    let isolated = (status.isolated.ingress, status.isolated.egress, status.isolated.pods);
    assert_eq!((isolated, status.sizes.policies), ((2, 1, 2), 2));
    assert_eq!(status.sizes.subjects_in, 3, "c has two addresses");
    assert_eq!(status.denied, Some(Denied::default()));
    let status = agent.until("the rows", |status| !status.rows.is_empty());
    let rows =
        status.rows.iter().find(|rows| (&*rows.family, &*rows.direction) == ("v4", "ingress"));
    assert!(rows.is_some_and(|rows| rows.bound > rows.wanted), "{:?}", status.rows);
}

/// Attack 15: the pods' bridge has no address, and the host is in their network by an interface of its own, whose other end is
/// a port of that bridge. No route names the bridge; the ports do.
#[test]
fn pods_on_a_bridge_that_the_host_reaches_by_another_interface_are_judged() {
    let netns = Netns::new();
    let sh = |command: &str| finish(netns.command("sh", &["-ec", command]), "").exits(0).out;
    sh("ip link add br0 type bridge; ip link set br0 up
        ip link add eth0 type veth peer name up0; ip link set up0 master br0; ip link set up0 up
        ip link set eth0 up; ip addr add 10.0.0.254/24 dev eth0
        for family in iptables ip6tables; do echo 0 > /proc/sys/net/bridge/bridge-nf-call-$family; done");
    let pods = [("v1", "10.0.0.1/24"), ("v2", "10.0.0.2/24")].map(|(port, address)| {
        let pod = Namespace::new().unwrap();
        let path = pod.path();
        sh(&format!(
            "ip link add {port} type veth peer name eth0 netns {path}; ip link set {port} master br0; ip link set {port} up"
        ));
        let up = |command: &str| {
            assert!(Command::new("sh").args(["-ec", command]).status().unwrap().success());
        };
        pod.run(|| up(&format!("ip addr add {address} dev eth0; ip link set eth0 up"))).unwrap();
        pod
    });
    let [a, b] = &pods;
    let listener = b.run(|| TcpListener::bind("10.0.0.2:80")).unwrap().unwrap();
    let connects = || {
        let at = SocketAddr::from(([10, 0, 0, 2], 80));
        a.run(|| TcpStream::connect_timeout(&at, Duration::from_secs(1))).unwrap().is_ok()
    };
    until("the bridge forwards", connects);

    let scratch = Scratch::guarded();
    // What the tables hold is not all that decides.
    netns.palisade(&["apply", "-f", scratch.path()]).exits(0);
    assert!(!connects());
    assert_eq!(sh("cat /proc/sys/net/bridge/bridge-nf-call-ip*tables"), "1\n1\n");
    let ports = sh("nft list set bridge palisade bridge_ports");
    assert!(ports.contains("v2") && !ports.contains("v1"), "{ports}");
    netns.palisade(&["verify", "-f", scratch.path()]).exits(0);
    sh("echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables");
    let verified = netns.palisade(&["verify", "-f", scratch.path()]).exits(1);
    assert!(verified.out.contains("NOT ENFORCED: IPv4 within a bridge"), "{verified:?}");
    assert!(verified.out.contains("but not all of it is enforced"), "{verified:?}");

    let mut agent = netns.agent(&scratch.0);
    let status = agent.until_enforcing();
    assert_eq!((status.not_enforced, status.bridges), (vec![], vec!["br0".to_owned()]));
    assert!(!connects());
    // The pod's port moves to another bridge and back: the agent follows, without a change of the manifests.
    sh("ip link add br1 type bridge; ip link set br1 up; ip link set v2 master br1");
    agent.until("the other bridge", |status| status.bridges == ["br1"]);
    sh("ip link set v2 master br0");
    agent.until("the first bridge", |status| status.bridges == ["br0"]);
    agent.verify();
    agent.end("-TERM");
    netns.palisade(&["flush"]).exits(0);
    assert_eq!(sh("nft list ruleset"), "");
    assert!(connects());
    drop(listener);
}
