//! Commits that fail under a running agent: the tables keep their owner, the status says what is the matter, and the agent goes on
//! when it can. And changes that never cease.

use std::fs;
use std::sync::mpsc;
use std::thread;

use palisade::protocol::{Request, Response, State};
use palisade_compiler::model::Family;
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::ruleset::{Ruleset, TableName};
use palisade_dataplane::transaction::{Op, TableOp, Transaction};

use super::command::{Netns, Scratch, finish, guard, knows_owners, pod, until};

/// A process of its own would do the same: a table of the name that the agent gives its stand-in, owned by another socket, so
/// that the agent can neither use nor delete it.
struct Obstacle(mpsc::Sender<()>, thread::JoinHandle<()>);

impl Obstacle {
    fn in_netns(netns: &Netns) -> Self {
        let (made, is_made) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let file = netns.open();
        let holder = thread::spawn(move || {
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let mut kernel = Kernel::open().unwrap();
            let create = TableOp { family: Family::V4.into(), op: Op::CreateTable };
            kernel.commit(TableName::StandIn, &Transaction { ops: vec![create] }).unwrap();
            made.send(()).unwrap();
            _ = ended.recv();
        });
        is_made.recv().unwrap();
        Self(end, holder)
    }

    fn remove(self) {
        drop(self.0);
        self.1.join().unwrap();
    }
}

/// The line by which nft names the owner of `table ip palisade`.
fn owner(netns: &Netns) -> String {
    let listed =
        finish(netns.command("nft", &["list", "table", "ip", "palisade"]), "").exits(0).out;
    listed.lines().next().unwrap().to_owned()
}

#[test]
fn a_failed_commit_leaves_the_tables_their_owner_and_is_tried_again() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    let before = owner(&netns);
    let obstacle = Obstacle::in_netns(&netns);
    // The comparison finds the foreign table, unless the agent heard of it first; and the way to put it right is barred.
    match agent.ask(&Request::Verify) {
        Response::Verified(verified) => assert!(verified.count > 0, "{verified:?}"),
        other => assert!(matches!(other, Response::NotReady { .. }), "{other:?}"),
    }
    if !knows_owners() {
        // Nothing keeps the agent from deleting it.
        agent.until_enforcing();
        obstacle.remove();
        return;
    }
    let status = agent.until("the failure", |s| s.state == State::Behind && s.detail.is_some());
    assert!(status.behind_seconds.is_some() && !status.enforces_all(), "{status:?}");
    assert!(status.detail.as_ref().unwrap().contains("owned by"), "{status:?}");
    assert!(!status.detail.unwrap().contains(&agent.pid().to_string()), "not by the agent itself");
    let socket = agent.socket.to_str().unwrap();
    let shown = netns.palisade(&["status", "--socket", socket]).exits(1);
    assert!(shown.out.contains("behind"), "{shown:?}");

    // A change is not enforced meanwhile, and nobody else can write to the tables.
    scratch.write("guard.yaml", &guard("[{}]"));
    let status = agent.until("the change", |status| status.revision == 2);
    assert_eq!((status.enforced_revision, status.state), (1, State::Behind));
    let flush = ["flush", "set", "ip", "palisade", "local_in"];
    for words in [&flush[..], &["delete", "table", "ip", "palisade"]] {
        let refused = finish(netns.command("nft", words), "");
        assert!(refused.exit != 0 && refused.err.contains("not permitted"), "{refused:?}");
    }
    assert!(matches!(agent.ask(&Request::Verify), Response::NotReady { .. }));
    assert_eq!(owner(&netns), before);
    assert!(netns.ruleset().contains("10.0.0.2"), "what was enforced stays");

    obstacle.remove();
    let status = agent.until("enforcement", |status| status.state == State::Enforcing);
    assert_eq!((status.enforced_revision, status.behind_seconds), (2, None));
    assert_eq!(owner(&netns), before);
    assert_eq!(agent.verdict("x/a", "x/b"), "allow");
    agent.verify();
    assert!(agent.log().contains("again"), "{}", agent.log());
}

/// One pod that changes its address without pause: what waits for a grace period must not wait for the end of the changes.
#[test]
fn removals_are_not_put_off_as_long_as_changes_come() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    let rows = || {
        let list = ["list", "map", "ip", "palisade", "allow_in"];
        finish(netns.command("nft", &list), "").exits(0).out
    };
    assert!(rows().contains("10.0.0.2"), "{}", rows());
    let (end, ended) = mpsc::channel::<()>();
    let directory = scratch.0.clone();
    let changes = thread::spawn(move || {
        let mut at = 0_u16;
        while ended.try_recv() == Err(mpsc::TryRecvError::Empty) {
            at = at.wrapping_add(1);
            let [high, low] = at.to_be_bytes();
            let pods = pod("a", "10.0.0.1", "") + &pod("b", &format!("10.1.{high}.{low}"), "");
            fs::write(directory.join(".new"), pods).unwrap();
            fs::rename(directory.join(".new"), directory.join("pods.yaml")).unwrap();
        }
    });
    agent.until("changes", |status| status.enforced_revision > 20);
    until("the removal of the first address", || !rows().contains("10.0.0.2"));
    drop(end);
    changes.join().unwrap();
}
