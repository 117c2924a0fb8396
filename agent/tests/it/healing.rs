//! Tables that nobody owns, and what others do to them while an agent runs.

use std::fs;

use palisade::protocol::State;

use super::command::{Netns, Scratch, finish, until};

fn nft(netns: &Netns, command: &str) {
    finish(netns.command("nft", &command.split(' ').collect::<Vec<_>>()), "").exits(0);
}

#[test]
fn what_somebody_removes_or_adds_is_put_right_at_once() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    nft(&netns, "add table ip other");
    let agent = netns.agent_with(&scratch.0, &["--no-owner"]);
    agent.until_enforcing();
    agent.verify();
    let before = agent.until("the first comparison", |s| s.drift.checks > 0).drift;
    assert_eq!(before.found, 0);
    let deeds = [
        "delete table ip palisade",
        "flush set ip palisade local_in",
        "add element ip palisade class { 10.9.9.9 : 1:1 }",
        "flush chain ip6 palisade forward",
        "insert rule ip palisade forward accept",
        "delete table ip6 palisade",
    ];
    for (number, deed) in (1..).zip(deeds) {
        nft(&netns, deed);
        // The comparison of every minute would come too late for all of them.
        let status = agent
            .until(deed, |s| s.drift.found >= before.found + number && s.state == State::Enforcing);
        assert!(status.drift.last.is_some());
        assert_eq!(agent.verdict("203.0.113.9", "x/b"), "allow");
        agent.verify();
    }
    assert!(netns.ruleset().contains("table ip other"), "others' tables are theirs");
    assert!(agent.log().contains("somebody changed the tables"), "{}", agent.log());
}

#[test]
fn a_storm_of_changes_is_an_alarm_and_changes_of_policy_are_enforced_all_the_same() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let agent = netns.agent_with(&scratch.0, &["--no-owner"]);
    agent.until_enforcing();
    until("the alarm", || {
        // Each of them is put right, and the next one is done as soon as it can be.
        let flush = ["flush", "set", "ip", "palisade", "local_in"];
        finish(netns.command("nft", &flush), "");
        agent.log().contains("somebody keeps changing")
    });
    fs::remove_file(scratch.0.join("guard.yaml")).unwrap();
    agent.until("the change", |s| s.sizes.policies == 0 && s.state == State::Enforcing);
    agent.until("peace", |s| s.drift.seconds_since_check.is_some_and(|seconds| seconds < 60));
    agent.verify();
}
