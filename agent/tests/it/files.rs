//! Files that are written slowly, again and again, or by renaming, under a running agent: what is not taken over is reported,
//! and nothing waits for ever.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;

use palisade::protocol::State;

use super::command::{Agent, NAMESPACE, Netns, Scratch, guard, pod};

fn exits(netns: &Netns, agent: &Agent, exit: i32) -> String {
    let socket = agent.socket.to_str().unwrap();
    netns.palisade(&["status", "--socket", socket]).exits(exit).out
}

/// As by `(cat policy.yaml; sleep 75) > dir/new.yaml`.
#[test]
fn a_new_file_whose_writer_never_closes_it_is_read() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    fs::remove_file(scratch.0.join("guard.yaml")).unwrap();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    assert_eq!(agent.verdict("x/a", "x/b"), "allow");
    let mut writer = File::create(scratch.0.join("new.yaml")).unwrap();
    writer.write_all(guard("[]").as_bytes()).unwrap();
    let status = agent.until("the policy", |status| status.enforced_revision == 2);
    assert_eq!(status.held_count, 0);
    assert_eq!(agent.verdict("x/a", "x/b"), "deny");
    drop(writer);
}

#[test]
fn a_file_that_grows_without_end_is_reported_and_enforced_at_its_end() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    let mut writer = File::create(scratch.0.join("guard.yaml")).unwrap();
    let mut grow = |text: &str| writer.write_all(text.as_bytes()).unwrap();
    grow("# a policy that allows everything follows\n");
    let status = agent.until("the report", |status| {
        grow("# not yet\n");
        status.held_count == 1
    });
    let held = &status.held_files[0];
    assert!(held.file.ends_with("guard.yaml") && held.reason.contains("being written"), "{held:?}");
    assert!(exits(&netns, &agent, 1).contains("is being written"));
    assert!(agent.log().contains("guard.yaml is being written"), "{}", agent.log());
    assert_eq!(agent.verdict("x/a", "x/b"), "deny");
    grow(&guard("[{}]"));
    drop(writer);
    agent.until("the policy", |status| status.enforced_revision == 2 && status.held_count == 0);
    assert_eq!(agent.verdict("x/a", "x/b"), "allow");
}

/// The namespace and three pods.
fn all() -> String {
    let pods = ["a", "b", "c"].map(|name| pod(name, &format!("10.0.0.{}", name.as_bytes()[0]), ""));
    format!("{NAMESPACE}---\n{}", pods.concat())
}

/// One pod alone, guarded: fewer objects than there were.
fn fewer(version: usize) -> String {
    format!("# version {version}\n{NAMESPACE}---\n{}{}", pod("b", "10.0.0.2", ""), guard("[]"))
}

/// One file with all objects, with other contents each time, from the time on that one object was deleted.
#[test]
fn a_file_that_is_renamed_into_place_again_and_again_counts_each_time() {
    let netns = Netns::new();
    let (scratch, directory) = (Scratch::new(), Scratch::new());
    directory.write("all.yaml", &all());
    let agent = netns.agent(&directory.0);
    agent.until_enforcing();
    assert_eq!(agent.verdict("x/a", "x/b"), "allow");
    for version in 1..=3 {
        let new = scratch.write("new", &fewer(version));
        fs::copy(&new, directory.0.join(".new")).unwrap();
        fs::rename(directory.0.join(".new"), directory.0.join("all.yaml")).unwrap();
        if version == 1 {
            let status = agent.until("the deletion", |status| status.sizes.pods == 1);
            assert_eq!(status.sizes.policies, 1);
        }
        let status = agent.until("an end", |status| status.state == State::Enforcing);
        assert_eq!((status.held_count, status.sizes.pods), (0, 1));
    }
    assert!(!agent.log().contains("as a file does that is half written"), "{}", agent.log());
}

#[test]
fn a_file_that_is_rewritten_in_place_with_fewer_objects_is_held_for_a_moment_and_reported() {
    let netns = Netns::new();
    let directory = Scratch::new();
    let file = directory.write("all.yaml", &all());
    let agent = netns.agent(&directory.0);
    agent.until_enforcing();
    // Again and again, so that it is never left alone.
    let mut version = 0;
    let held = agent.until("the report", |status| {
        version += 1;
        // As one write after a truncation, now shorter and now longer.
        fs::write(&file, "#".repeat(1 + version % 7) + &fewer(version)).unwrap();
        status.held_count == 1
    });
    assert!(held.held_files[0].reason.contains("declares"), "{held:?}");
    agent.until_log("as a file does that is half written");
    let status = agent.until("the deletion", |status| {
        version += 1;
        fs::write(&file, "#".repeat(1 + version % 7) + &fewer(version)).unwrap();
        status.sizes.pods == 1
    });
    assert_eq!(status.sizes.policies, 1);
    agent.until("an end", |status| status.held_count == 0 && status.state == State::Enforcing);
    exits(&netns, &agent, 0);
}

#[test]
fn a_broken_file_or_policy_makes_status_exit_with_1() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    exits(&netns, &agent, 0);
    for text in ["kind: [\n".to_owned(), guard("[{ports: [{port: 90, endPort: 80}]}]")] {
        scratch.write("guard.yaml", &text);
        agent.until("the complaint", |status| status.error_count == 1);
        exits(&netns, &agent, 1);
    }
}

/// SIGHUP reads all files again; it ends no agent, neither at work nor while it waits for another's socket.
#[test]
fn sighup_reads_all_files_again() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let mut agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    let hang_up = |agent: &Agent| {
        let pid = agent.pid().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    };
    hang_up(&agent);
    agent.until_log("all files were read again");
    let mut waiting = netns.agent_at(&agent.socket, &scratch.0, &[]);
    waiting.until_log("another agent has the socket");
    hang_up(&waiting);
    assert_eq!(waiting.end("-TERM"), Some(0));
    agent.verify();
    assert_eq!(agent.end("-TERM"), Some(0));
    assert!(!agent.socket.exists());
}
