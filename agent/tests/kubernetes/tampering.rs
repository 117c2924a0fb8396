//! Others remove from the tables of an agent that does not own them, while it follows the API server.

use std::process::Command;

use palisade::protocol::State;
use palisade_lab::Flood;

use crate::cluster::{A, B, C, Cluster, connection, guarded, until_in_sync};
use crate::command::finish;

fn nft(cluster: &Cluster, words: &str) -> String {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", cluster.node().path())).arg("nft");
    command.args(words.split(' '));
    finish(command, "").exits(0).out
}

/// The command that deletes the rule of a chain in `ip palisade` that has this text.
#[track_caller]
fn delete_rule(cluster: &Cluster, chain: &str, text: &str) -> String {
    let listed = nft(cluster, &format!("-a list chain ip palisade {chain}"));
    let rule = listed.lines().find(|line| line.trim().starts_with(text));
    let (_, handle) = rule.and_then(|rule| rule.split_once("# handle ")).expect(&listed);
    format!("delete rule ip palisade {chain} handle {handle}")
}

/// What somebody may do. What it changes of a -> b and c -> b is healed.
#[derive(Clone, Copy)]
enum Effect {
    /// Lets in what is denied.
    Opens,
    /// Denies what is allowed.
    Closes,
}

#[test]
fn what_is_removed_by_others_is_wrong_once_until_it_is_healed_and_nothing_else_is_ever() {
    let cluster = guarded(&[]);
    let agent = cluster.agent_without_ownership();
    until_in_sync(&agent);
    agent.until("the first comparison", |status| status.drift.checks > 0);
    let deeds: [(&dyn Fn() -> String, Effect); 5] = [
        (&|| "flush table ip palisade".to_owned(), Effect::Opens),
        (&|| format!("delete element ip palisade local_in {{ {B} }}"), Effect::Opens),
        (&|| delete_rule(&cluster, "forward", "ip daddr @local_in"), Effect::Opens),
        (&|| delete_rule(&cluster, "deny_in", "drop"), Effect::Opens),
        (&|| format!("delete element ip palisade class {{ {A} }}"), Effect::Closes),
    ];
    for (deed, effect) in deeds {
        let deed = deed();
        let found = agent.until("an answer", |status| status.state == State::Enforcing).drift.found;
        let flood = Flood::start(&cluster.lab, &[connection(A, B, 80), connection(C, B, 80)]);
        let flood = flood.expect("a flood");
        flood.await_round();
        nft(&cluster, &deed);
        agent.until(&deed, |s| s.drift.found > found && s.state == State::Enforcing);
        agent.verify();
        flood.await_round();
        let counts = flood.stop().expect("counted");
        let [allowed, denied] = counts[..] else { panic!("{counts:?}") };
        let (wrong, touched, other_wrong) = match effect {
            Effect::Opens => (denied.arrived, denied, allowed.missing()),
            Effect::Closes => (allowed.missing(), allowed, denied.arrived),
        };
        assert_eq!(other_wrong, 0, "{deed}: {counts:?}");
        // Right, wrong and right again, each change of which may fall into a round.
        assert!(touched.changes <= 4, "{deed}: {counts:?}");
        eprintln!("{deed}: of {} packets, {wrong} were judged wrongly", touched.sent);
        assert!(cluster.passes(A, B, 80) && !cluster.passes(C, B, 80), "{deed}");
    }
    // Changes of policy are enforced as ever.
    cluster.kubectl(&["label", "pod", "-n", "x", "c", "app=a", "--overwrite"]);
    cluster.until_passes(C, B, 80, true);
    cluster.until_enforced_as_the_server_says();
    assert!(agent.log().contains("somebody changed the tables"), "{}", agent.log());
}
