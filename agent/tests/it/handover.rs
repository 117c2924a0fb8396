//! One agent after another, at one socket.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use palisade::protocol::{Request, Response, State};

use super::command::{Netns, Scratch, pod};

#[test]
fn a_second_agent_on_the_same_socket_waits_for_the_first_and_says_so() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let mut first = netns.agent(&scratch.0);
    first.until_enforcing();
    let mode = fs::metadata(&first.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = netns.agent_at(&first.socket, &scratch.0, &[]);
    second.until_log("another agent has the socket");
    assert!(second.log().contains(&first.pid().to_string()), "{}", second.log());
    assert_eq!(first.until_enforcing().pid, first.pid(), "it is not disturbed");
    assert_eq!(first.end("-TERM"), Some(0));
    let own = second.pid();
    second.until("the second", |status| status.pid == own && status.state == State::Enforcing);
    second.verify();
}

#[test]
fn a_waiting_agent_ends_at_sigterm() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let first = netns.agent(&scratch.0);
    first.until_enforcing();
    let mut second = netns.agent_at(&first.socket, &scratch.0, &[]);
    second.until_log("another agent has the socket");
    assert_eq!(second.end("-TERM"), Some(0));
    assert_eq!(first.until_enforcing().pid, first.pid());
}

/// So many that reading them takes longer than an agent may take to end.
fn many_pods(scratch: &Scratch) {
    let pods = (0..60_000).map(|at| {
        pod(&format!("p{at}"), &format!("10.{}.{}.{}", at / 62_500, at / 250 % 250, at % 250), "")
    });
    scratch.write("many.yaml", &pods.collect::<String>());
}

#[test]
fn an_agent_that_ends_while_it_reads_does_so_at_once_and_leaves_its_successors_socket() {
    let netns = Netns::new();
    let (large, small) = (Scratch::new(), Scratch::guarded());
    many_pods(&large);
    let mut first = netns.agent(&large.0);
    first.until("the start", |status| status.state == State::Starting);
    let second = netns.agent_at(&first.socket, &small.0, &[]);
    second.until_log("another agent has the socket");
    assert_eq!(first.end("-TERM"), Some(0));
    // What it reads it reads on another thread, so that nothing is cut short.
    let log = first.log();
    assert!(log.contains("ending (SIGTERM)") && !log.contains("in the middle"), "{log}");
    second.until_enforcing();
    assert!(
        matches!(second.ask(&Request::Status), Response::Status(status) if status.pid == second.pid())
    );
}

#[test]
fn the_socket_of_a_killed_agent_is_taken_and_the_log_says_what_was_started() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let mut agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    agent.end("-KILL");
    assert!(agent.socket.exists(), "nobody removed it");
    let socket = agent.socket.to_str().unwrap();
    netns.palisade(&["status", "--socket", socket]).exits(5).complains("no agent answers");
    let more = ["--log-format", "json", "--node-name", "n1"];
    let again = netns.agent_at(&agent.socket, &scratch.0, &more);
    again.until_enforcing();
    again.verify();
    let log = again.log();
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let start = lines.map(|line| line["fields"].clone()).next().unwrap();
    let logged = [&start["version"], &start["source"], &start["node"], &start["socket"]];
    assert_eq!(logged, [env!("CARGO_PKG_VERSION"), scratch.path(), "n1", socket]);
}
