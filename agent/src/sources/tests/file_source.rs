//! The source on its thread: what it sends to the loop.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use palisade_compiler::parse::Severity;
use palisade_compiler::snapshot::Change;

use super::files::{NAMESPACE, POD, Scratch};
use crate::inbox::{Inbox, Input, inbox};
use crate::sources::file_source::FileSource;
use crate::sources::files::Limits;

const LIMITS: Limits = Limits { bytes: 1 << 20, pipes: false, namespace: None };

fn follow(path: &Path) -> (FileSource, Inbox) {
    let (sender, inbox) = inbox();
    (FileSource::spawn(vec![path.to_path_buf()], LIMITS, sender).unwrap(), inbox)
}

/// The next input as wanted; all others until then must be without changes.
fn until(inbox: &Inbox, what: &str, wanted: impl Fn(&Input) -> bool) -> Input {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        for input in inbox.take(deadline).inputs {
            if wanted(&input) {
                return input;
            }
            assert!(input.changes.is_empty(), "{input:?}");
        }
        assert!(Instant::now() < deadline, "{what} did not come");
    }
}

#[test]
fn it_sends_nothing_before_all_was_read_and_then_each_change_in_words() {
    let scratch = Scratch::new();
    scratch.write("a.yaml", NAMESPACE);
    let broken = scratch.write("b.yaml", "kind: [");
    let (_source, inbox) = follow(&scratch.0);
    let input = until(&inbox, "the obstacle", |input| input.in_sync.is_err());
    assert!(input.changes.is_empty());
    assert!(input.in_sync.unwrap_err().contains("b.yaml"));
    assert_eq!(input.state.held.len(), 1);
    assert_eq!(input.state.problems[0].0, Severity::Error);

    fs::write(&broken, POD).unwrap();
    let input = until(&inbox, "the beginning", |input| input.in_sync.is_ok());
    assert_eq!((input.changes.len(), input.state.files), (2, 2));
    assert!(input.state.problems.is_empty() && input.state.held.is_empty());

    scratch.write("b.yaml", &POD.replace("namespace: x", "namespace: x, labels: {a: b}"));
    let input = until(&inbox, "the change", |input| !input.changes.is_empty());
    let file = broken.display();
    assert_eq!(input.described, [format!("Pod x/p changed ({file})")]);
    assert!(input.since.is_some() && matches!(input.changes[..], [Change::ApplyPod(_)]));

    fs::remove_file(&broken).unwrap();
    let input = until(&inbox, "the removal", |input| !input.changes.is_empty());
    assert_eq!(input.described, [format!("Pod x/p removed ({file})")]);
}

/// The objects are as they were, so that nothing changes; but a file that could not be read can be now.
#[test]
fn it_reads_everything_again_when_asked() {
    let scratch = Scratch::new();
    let file = scratch.write("a.yaml", NAMESPACE);
    let (source, inbox) = follow(&scratch.0);
    until(&inbox, "the beginning", |input| input.in_sync.is_ok());
    source.reread_handle().reread();
    scratch.write("a.yaml", &NAMESPACE.replace("name: x", "name: z"));
    let input = until(&inbox, "the change", |input| !input.changes.is_empty());
    let (path, before) = (file.display(), "Namespace x removed");
    assert_eq!(
        input.described,
        [format!("{before} ({path})"), format!("Namespace z added ({path})")]
    );
}

/// A wake-up is a flag: events that come while nobody takes anything leave room for all that comes later.
#[test]
fn what_happens_while_the_loop_is_busy_gathers() {
    let scratch = Scratch::new();
    scratch.write("a.yaml", NAMESPACE);
    let (_source, inbox) = follow(&scratch.0);
    until(&inbox, "the beginning", |input| input.in_sync.is_ok());
    let pod = |label: usize| {
        POD.replace("namespace: x", &format!("namespace: x, labels: {{n: n{label}}}"))
    };
    for label in 0..200 {
        scratch.write("b.yaml", &pod(label));
    }
    let last = |input: &Input| {
        input.changes.iter().any(|change| match change {
            Change::ApplyPod(pod) => pod.labels.get("n").is_some_and(|n| &**n == "n199"),
            _ => false,
        })
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while !inbox.take(deadline).inputs.iter().any(last) {
        assert!(Instant::now() < deadline, "the last change did not come");
    }
}
