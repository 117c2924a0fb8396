//! The capabilities that the agent has in a cluster and by the systemd unit are those that it needs: with each of them gone something
//! fails and is named, and with them alone all works. What it says without CAP_NET_ADMIN is in `missing`.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::libc;
use palisade::flows::filter::Filter;
use palisade::flows::flow::FlowVerdict;
use palisade_compiler::model::Family;
use palisade_lab::Layout;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::cast::{CAST, connected};
use crate::command::{Agent, NAMESPACE, Netns, Scratch, enter, finish};
use crate::observe::{Node, only_denied};

/// As setpriv(1) and as proc(5) have them.
const NET_ADMIN: (&str, &str) = ("+net_admin", "0000000000001000");
const NET_ADMIN_AND_RAW: (&str, &str) = ("+net_admin,+net_raw", "0000000000003000");

/// Before the program and its arguments: runs it with these capabilities and no others, as a container's runtime does.
fn with_only(capabilities: &str) -> [String; 4] {
    let set = format!("--bounding-set=-all,{capabilities}");
    ["setpriv".into(), set, "--inh-caps=-all".into(), "--no-new-privs".into()]
}

/// A program with its arguments, in the network namespace of this path, with these capabilities alone.
fn caged(netns: &str, before: &[&str], capabilities: &str, args: &[&str]) -> Command {
    let cage = with_only(capabilities);
    let mut words = before.to_vec();
    words.extend(cage.iter().map(String::as_str));
    words.push(env!("CARGO_BIN_EXE_palisade"));
    words.extend(args);
    enter(netns, words[0], &words[1..])
}

fn node(layout: Layout, before: &[&str], (capabilities, mask): (&str, &str)) -> Node {
    let node = Node::started(layout, |node, files: &Path| {
        let run = ["run", "-f", files.to_str().unwrap()];
        let command = caged(&node.path(), before, capabilities, &run);
        Agent::start_by(command, Scratch::new(), None)
    });
    let proc = fs::read_to_string(format!("/proc/{}/status", node.agent.pid())).unwrap();
    for line in ["CapEff", "CapPrm", "CapBnd"].map(|set| format!("{set}:\t{mask}\n")) {
        assert!(proc.contains(&line), "no {line:?} in {proc}");
    }
    node
}

/// Denies, allows, shows both with what they carry, cuts what a change forbids, and reads the kernel back.
fn does_everything(node: &Node) {
    let status = node.agent.until("the events", |status| status.flows.allowed.is_listening);
    assert!(status.flows.allowed.off.is_empty(), "{:?}", status.flows.allowed);
    for (family, source) in [(Family::V4, 4001), (Family::V6, 4002)] {
        node.denied(family, "n/a", "n/b", 53);
        let allowed = node.udp(family, "n/c", "n/b", 53, source);
        assert!(node.scene.passes("n/c", "n/b", &allowed), "{family:?}");
    }
    node.agent.until("the denials", |status| status.flows.seen == 2);
    node.agent.until("what was denied", |_| node.stored(only_denied()).len() == 2);
    let allowed = || Filter { verdicts: vec![FlowVerdict::Allow], ..Filter::default() };
    let is_used = |node: &Node| {
        let flows = node.stored(allowed()).into_iter();
        flows.filter(|flow| !flow.judgement.allowed_by.is_empty()).count() == 2
    };
    node.agent.until("what was allowed", |_| is_used(node));
    let at = |name: &str| node.scene.address(name, Family::V4);
    let connection = connected(&node.scene.lab, at("n/c"), at("n/b"), 80);
    // c is another pod now, which may not.
    node.write(
        "cast.yaml",
        &CAST.replace(r#""labels": {"pod": "c"}"#, r#""labels": {"pod": "d"}"#),
    );
    node.agent.until("the cut", |status| status.connections.cut > 0);
    drop(connection);
    node.denied(Family::V4, "n/c", "n/b", 53);
    let status = node.agent.until("the status", |status| status.problem_count == 0);
    assert!(status.enforces_all(), "{:?}", status.not_enforced);
    node.agent.verify();
}

#[test]
fn with_net_admin_alone_it_does_all_that_it_does() {
    for layout in [Layout::Routed, Layout::Bridged] {
        does_everything(&node(layout, &[], NET_ADMIN));
    }
}

/// Runs what comes after `--` where membarrier(2) is missing.
const WITHOUT_MEMBARRIER: [&str; 4] =
    ["--exact", "capabilities::as_on_a_kernel_without_membarrier", "--nocapture", "--"];
const ROLE: &str = "PALISADE_TEST_WITHOUT_MEMBARRIER";

#[test]
fn without_membarrier_it_needs_net_raw_and_says_so() {
    let test = env::current_exe().unwrap();
    let before = [&["env", &format!("{ROLE}=1"), test.to_str().unwrap()], &WITHOUT_MEMBARRIER[..]];
    let before = before.concat();

    let (netns, scratch) = (Netns::new(), Scratch::new());
    scratch.write("namespace.yaml", NAMESPACE);
    let socket = scratch.0.join("s");
    let run = ["run", "-f", scratch.path(), "--socket", socket.to_str().unwrap()];
    let refused = finish(caged(&netns.path(), &before, NET_ADMIN.0, &run), "").exits(3);
    assert!(refused.err.contains("CAP_NET_RAW is needed"), "{refused:?}");
    assert_eq!(netns.ruleset(), "", "it made nothing");

    does_everything(&node(Layout::Routed, &before, NET_ADMIN_AND_RAW));
}

/// Not a test of its own: becomes the program that its arguments name, to which the kernel answers as one that does not know membarrier(2).
#[test]
fn as_on_a_kernel_without_membarrier() {
    if env::var_os(ROLE).is_none() {
        return;
    }
    let words: Vec<String> = env::args().skip_while(|word| word != "--").skip(1).collect();
    let filter = SeccompFilter::new(
        [(libc::SYS_membarrier, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(u32::try_from(libc::ENOSYS).unwrap()),
        env::consts::ARCH.try_into().unwrap(),
    );
    let filter: BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&filter).unwrap();
    let error = Command::new(&words[0]).args(&words[1..]).exec();
    panic!("{words:?} not started: {error}");
}

/// What is granted is what is tried above.
#[test]
fn no_more_is_granted_than_was_tried() {
    let text = |path: &str| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        fs::read_to_string(root.join("deploy").join(path)).unwrap()
    };
    let unit = text("palisade.service");
    let bounding = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    assert_eq!(bounding, Some("CAP_NET_ADMIN CAP_NET_RAW"));
    assert!(unit.lines().any(|line| line == "AmbientCapabilities="), "{unit}");
    let manifest = text("palisade.yaml");
    let lines: Vec<&str> = manifest.lines().map(str::trim).collect();
    let places: Vec<usize> = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| **line == "capabilities:")
        .map(|it| it.0)
        .collect();
    assert!(!places.is_empty());
    for at in places {
        let following = &lines[at + 1..at + 5];
        assert_eq!(following[..3], ["drop: [ALL]", "add:", "- NET_ADMIN"], "{following:?}");
        assert!(!following[3].starts_with("- "), "{following:?}");
    }
}
