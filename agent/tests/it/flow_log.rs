//! The flow log: the lines of `palisade observe`, in files that follow one another, through restarts and full disks.

use std::fs;
use std::path::Path;
use std::process::Command;

use palisade::flows::counts::{FlowLogCounts, FlowLogState};
use palisade_compiler::model::Family;
use palisade_lab::{Layout, Namespace};
use serde_json::Value;

use crate::command::{Agent, Scratch, enter, palisade_in};
use crate::observe::Node;

const MIB: usize = 1 << 20;

fn written_to(path: &Path) -> impl Fn(&Namespace, &Path) -> Agent {
    move |node, files| {
        let log = path.to_str().unwrap();
        Agent::of_node(
            node,
            files,
            &["--flow-log", log, "--flow-log-size", "1", "--flow-log-only", "verdict=deny"],
        )
    }
}

#[track_caller]
fn until_log(agent: &Agent, what: &str, mut wanted: impl FnMut(&FlowLogCounts) -> bool) {
    agent.until(what, |status| status.flows.flow_log.as_ref().is_some_and(&mut wanted));
}

/// The lines that are JSON, with their ports and counts, and how many others there are.
fn read(text: &str) -> (Vec<(u64, u64)>, usize) {
    let values = text.lines().map(|line| serde_json::from_str::<Value>(line).ok());
    let (mut flows, mut others) = (Vec::new(), 0);
    for value in values {
        let Some(value) = value else {
            others += 1;
            continue;
        };
        assert_eq!((&value["version"], &value["type"]), (&1.into(), &"flow".into()), "{value}");
        flows.push((value["port"].as_u64().unwrap(), value["count"].as_u64().unwrap()));
    }
    (flows, others)
}

#[test]
fn a_restart_goes_on_where_the_last_one_ended_and_no_line_is_lost_or_doubled() {
    let folder = Scratch::new();
    let path = folder.0.join("flows.json");
    let mut node = Node::started(Layout::Routed, written_to(&path));
    node.denied(Family::V4, "n/a", "n/b", 53);
    until_log(&node.agent, "the line", |log| log.written == 1);
    let socket = node.agent.socket.to_str().unwrap();
    let args = ["observe", "--no-follow", "--verdict", "deny", "--socket", socket];
    let observed = palisade_in(node.scene.lab.node(), &args).exits(0).out;
    assert_eq!(fs::read_to_string(&path).unwrap(), observed);
    // What waits to be merged is written when the agent ends.
    (0..3).for_each(|_| node.denied(Family::V4, "n/a", "n/b", 54));
    let is_counted = |node: &Node| {
        let flows = node.stored(crate::observe::only_denied());
        flows.iter().any(|flow| flow.port == Some(54) && flow.count == 3)
    };
    node.agent.until("the repeats", |_| is_counted(&node));
    assert_eq!(node.agent.end("-TERM"), Some(0));
    let (flows, others) = read(&fs::read_to_string(&path).unwrap());
    assert_eq!((flows.first(), flows.last(), others), (Some(&(53, 1)), Some(&(54, 3)), 0));

    // A process that was killed in the middle of a line.
    let torn = r#"{"version":1,"type":"fl"#;
    fs::write(&path, fs::read_to_string(&path).unwrap() + torn).unwrap();
    let files = node.scratch.0.clone();
    node.agent = written_to(&path)(node.scene.lab.node(), &files);
    node.agent.until_enforcing();
    node.agent.until("the log of denied packets", |status| status.flows.is_listening);
    node.denied(Family::V4, "n/a", "n/b", 55);
    until_log(&node.agent, "the line", |log| log.written == 1);
    let (again, others) = read(&fs::read_to_string(&path).unwrap());
    assert_eq!((again, others), ([flows, vec![(55, 1)]].concat(), 1));
}

#[test]
fn a_full_file_is_followed_by_another_and_filters_apply() {
    let folder = Scratch::new();
    let path = folder.0.join("flows.json");
    let line = format!("{{\"earlier\":{}}}\n", "0".repeat(MIB - 20));
    fs::write(&path, &line).unwrap();
    let node = Node::started(Layout::Routed, written_to(&path));
    let allowed = node.udp(Family::V4, "n/c", "n/b", 53, 4000);
    assert!(node.scene.passes("n/c", "n/b", &allowed));
    node.denied(Family::V4, "n/a", "n/b", 53);
    until_log(&node.agent, "the next file", |log| log.rotations == 1);
    node.denied(Family::V4, "n/a", "n/b", 54);
    until_log(&node.agent, "the second line", |log| log.written == 2 && log.lost == 0);
    assert!(fs::read_to_string(folder.0.join("flows.json.1")).unwrap() == line);
    let (flows, others) = read(&fs::read_to_string(&path).unwrap());
    assert_eq!((flows, others), (vec![(53, 1), (54, 1)], 0));
}

#[test]
fn standard_output_gets_the_lines_too() {
    let folder = Scratch::new();
    let out = folder.0.join("out");
    let node = Node::started(Layout::Routed, |node, files| {
        let args = ["run", "-f", files.to_str().unwrap(), "--flow-log", "-"];
        let mut command = enter(&node.path(), env!("CARGO_BIN_EXE_palisade"), &args);
        command.stdout(fs::File::create(&out).unwrap());
        Agent::start_by(command, Scratch::new(), None)
    });
    node.denied(Family::V4, "n/a", "n/b", 53);
    until_log(&node.agent, "the line", |log| log.written > 0);
    let (flows, others) = read(&fs::read_to_string(&out).unwrap());
    assert!(flows.contains(&(53, 1)) && others == 0, "{flows:?}");
}

/// In a mount namespace of its own, with a small file system in a directory.
const IN_SMALL: &str = r#"small=$1; shift; mount -t tmpfs -o size=64k none "$small" && exec "$@""#;

/// Packets that are denied in the next test.
const SENT: u64 = 10;

#[test]
fn a_missing_directory_and_a_full_disk_are_said_and_mend_themselves() {
    let small = Scratch::new();
    let log = small.0.join("logs/flows.json");
    let node = Node::started(Layout::Routed, |node, files| {
        let args = ["--mount", "sh", "-c", IN_SMALL, "sh", small.path()];
        let mut command = enter(&node.path(), "unshare", &args);
        command.args([env!("CARGO_BIN_EXE_palisade"), "run", "-f", files.to_str().unwrap()]);
        command.arg("--flow-log").arg(&log).args(["--flow-log-only", "verdict=deny"]);
        Agent::start_by(command, Scratch::new(), None)
    });
    let inside = |script: &str| {
        let target = format!("--target={}", node.agent.pid());
        let args = [&target, "--mount", "sh", "-c", script, "sh", small.path()];
        Command::new("nsenter").args(args).output().unwrap()
    };
    node.denied(Family::V4, "n/a", "n/b", 60);
    until_log(&node.agent, "the state", |log| log.state == FlowLogState::NoDirectory);
    node.agent.until_log("its directory is missing");
    let status = ["status", "--socket", node.agent.socket.to_str().unwrap()];
    let text = palisade_in(node.scene.lab.node(), &status).out;
    assert!(text.contains("not written: its directory is missing"), "{text}");
    assert!(inside(r#"mkdir "$1/logs""#).status.success());
    until_log(&node.agent, "the line", |log| log.written == 1 && log.failure.is_none());
    node.agent.until_log("the flow log is written again");

    // What was begun of a line before the disk was full is gone on with.
    inside(r#"cat /dev/zero > "$1/zeros""#);
    (61..69).for_each(|port| node.denied(Family::V4, "n/a", "n/b", port));
    until_log(&node.agent, "the state", |log| log.state == FlowLogState::DiskFull);
    node.denied(Family::V6, "n/a", "n/b", 69);
    assert!(inside(r#"rm "$1/zeros""#).status.success());
    // The kernel may leave some out of its log, which is bounded; what it told is there once, and in order.
    let counts = node.agent.until("the count", |status| {
        let flows = &status.flows;
        flows.denied == SENT && flows.seen + flows.lost.not_logged == SENT
    });
    let seen = counts.flows.seen;
    let is_written =
        |log: &FlowLogCounts| log.written == seen && log.waiting + log.lost as usize == 0;
    until_log(&node.agent, "all lines", is_written);
    let stored = node.stored(crate::observe::only_denied());
    let stored: Vec<_> =
        stored.iter().map(|flow| (u64::from(flow.port.unwrap()), flow.count)).collect();
    let text = inside(r#"cat "$1/logs/flows.json""#).stdout;
    assert_eq!(read(&String::from_utf8(text).unwrap()), (stored, 0));
}
