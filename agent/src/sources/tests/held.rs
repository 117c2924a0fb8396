//! Files that may be half written: when they count, and that they are reported until then.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{BROKEN, NAMESPACE, POD, Scans, Scratch};
use crate::sources::files::{HoldReason, MAX_HOLD, MAX_WRITER_HOLD, QUIET_PERIOD, Rescan};

/// Two objects, of which a version without the second is `FEWER`.
const FEWER: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n---\n";

fn two_objects() -> String {
    FEWER.to_owned() + POD
}

fn names(paths: &[&Path]) -> BTreeSet<PathBuf> {
    paths.iter().map(|path| path.to_path_buf()).collect()
}

#[test]
fn a_file_that_is_saved_piece_by_piece_is_read_when_it_is_left_alone() {
    let scratch = Scratch::new();
    let whole = format!("# by a script\n{POD}---\n{NAMESPACE}");
    scratch.write("a.yaml", &whole);
    let mut scans = Scans::of(&scratch.0);
    scans.look();
    // Each piece is a save of its own; between them somebody looks.
    for (at, _) in whole.match_indices('\n') {
        scratch.write("a.yaml", &whole[..=at]);
        let updates = scans.after(QUIET_PERIOD / 2);
        assert_eq!(updates, [""; 0], "{:?} was taken over", &whole[..=at]);
        assert_eq!(scans.held().len(), 1);
    }
    assert_eq!(scans.files.next_scan(), Some(scans.now + QUIET_PERIOD));
    assert_eq!(scans.after(QUIET_PERIOD), ["a.yaml: Pod x/p, Namespace x"]);
    assert_eq!((scans.problems(), scans.held().len()), (vec![], 0));
    // What declares no fewer objects is taken over at once.
    scratch.write("a.yaml", &whole.replace("name: p", "name: q"));
    assert_eq!(scans.look(), ["a.yaml: Pod x/q, Namespace x"]);
}

#[test]
fn a_file_that_is_renamed_into_place_counts_at_once_also_if_it_declares_fewer_objects() {
    let scratch = Scratch::new();
    let file = scratch.write("a.yaml", &two_objects());
    let mut scans = Scans::of(&scratch.0);
    scans.look();
    scratch.write("a.yaml", BROKEN);
    scans.look_at(&[&file]);
    assert_eq!(scans.held(), [HoldReason::Unreadable]);
    for comments in 1..4 {
        scans.now += QUIET_PERIOD / 2;
        let new = scratch.write("new", &("# again\n".repeat(comments) + FEWER));
        fs::rename(new, &file).unwrap();
        let paths = names(&[&file]);
        let rescan = Rescan { arrived: paths.clone(), paths, ..Rescan::default() };
        assert_eq!(scans.scan(&rescan), ["a.yaml: Namespace x"]);
        assert_eq!((scans.held(), scans.problems()), (vec![], vec![]));
    }
}

#[test]
fn a_link_that_leads_to_another_file_counts_at_once() {
    let scratch = Scratch::new();
    let versions = scratch.0.join("versions");
    fs::create_dir(&versions).unwrap();
    fs::write(versions.join("1"), two_objects()).unwrap();
    fs::write(versions.join("2"), FEWER).unwrap();
    symlink(versions.join("1"), scratch.0.join("a.yaml")).unwrap();
    let mut scans = Scans::of(&scratch.0);
    scans.look();
    symlink(versions.join("2"), scratch.0.join("link")).unwrap();
    fs::rename(scratch.0.join("link"), scratch.0.join("a.yaml")).unwrap();
    assert_eq!(scans.look(), ["a.yaml: Namespace x"]);
    // In place it is held as any file is.
    fs::write(versions.join("2"), "# nothing\n").unwrap();
    assert_eq!(scans.look(), [""; 0]);
    assert_eq!(scans.held(), [HoldReason::Fewer { objects: 0, before: 1 }]);
}

/// As by `(cat policy.yaml; sleep 75) > new.yaml`.
#[test]
fn a_file_whose_writer_keeps_it_open_is_read_when_it_has_not_changed_for_a_while() {
    let scratch = Scratch::new();
    scratch.write("a.yaml", NAMESPACE);
    let mut scans = Scans::of(&scratch.0);
    scans.look();
    let file = scratch.write("new.yaml", "");
    let open = Rescan { writing: names(&[&file]), ..Rescan::default() };
    assert_eq!(scans.scan(&open), [""; 0]);
    scratch.write("new.yaml", POD);
    scans.now += QUIET_PERIOD / 2;
    assert_eq!(scans.scan(&open), [""; 0]);
    assert_eq!((scans.held(), scans.files.next_scan()), (vec![], Some(scans.now + QUIET_PERIOD)));
    scans.now += QUIET_PERIOD;
    assert_eq!(scans.scan(&open), ["new.yaml: Pod x/p"]);
    assert_eq!((scans.held(), scans.files.next_scan()), (vec![], None));
}

#[test]
fn a_file_that_grows_for_long_is_reported_and_read_at_its_end() {
    let scratch = Scratch::new();
    scratch.write("a.yaml", NAMESPACE);
    let mut scans = Scans::of(&scratch.0);
    scans.look();
    let file = scratch.0.join("new.yaml");
    let open = Rescan { writing: names(&[&file]), ..Rescan::default() };
    let mut text = POD.to_owned();
    for at in 0..60 {
        text.push_str("# more\n");
        scratch.write("new.yaml", &text);
        assert_eq!(scans.scan(&open), [""; 0]);
        let reported = at >= 2;
        assert_eq!(scans.held(), vec![HoldReason::BeingWritten; usize::from(reported)], "{at}");
        scans.now += QUIET_PERIOD / 2;
    }
    scans.now += QUIET_PERIOD;
    assert_eq!(scans.scan(&open), ["new.yaml: Pod x/p"]);
    assert_eq!(scans.held(), []);
}

/// By truncating it, as `cat > a.yaml` does.
#[test]
fn a_file_that_is_rewritten_again_and_again_is_held_for_a_bounded_time_and_reported_at_once() {
    let scratch = Scratch::new();
    let file = scratch.write("a.yaml", &two_objects());
    let mut scans = Scans::of(&scratch.0);
    scans.look();
    let (mut versions, mut held) = (0, Duration::ZERO);
    let updates = loop {
        // Never of the same length, and now and then longer.
        versions += 1;
        scratch.write("a.yaml", &("# again\n".repeat(3 + versions % 3) + FEWER));
        let paths = names(&[&file]);
        let closed = Rescan { written: paths.clone(), paths, ..Rescan::default() };
        let updates = scans.scan(&closed);
        if !updates.is_empty() {
            break updates;
        }
        assert_eq!(scans.held(), [HoldReason::Fewer { objects: 1, before: 2 }]);
        assert!(held < MAX_HOLD, "held for {held:?}");
        scans.now += QUIET_PERIOD * 6 / 10;
        held += QUIET_PERIOD * 6 / 10;
    };
    assert_eq!(updates, ["a.yaml: Namespace x"]);
    assert!(versions > 3 && scans.held().is_empty());
    // Without more writes it counts by itself at that time.
    scratch.write("a.yaml", "# nothing\n");
    scans.look_at(&[&file]);
    assert_eq!(scans.files.next_scan(), Some(scans.now + QUIET_PERIOD));
}

/// Each line closed, as a script does.
#[test]
fn a_file_that_only_grows_is_held_until_it_is_left_alone_however_long_that_takes() {
    let scratch = Scratch::new();
    let file = scratch.write("a.yaml", &two_objects());
    let mut scans = Scans::of(&scratch.0);
    scans.look();
    let mut text = String::new();
    for _ in 0..4 * MAX_HOLD.as_secs() {
        text.push_str("# line by line\n");
        scratch.write("a.yaml", &text);
        assert_eq!(scans.look_at(&[&file]), [""; 0]);
        assert_eq!(scans.held().len(), 1);
        scans.now += QUIET_PERIOD / 2;
    }
    scratch.write("a.yaml", &(text + FEWER));
    assert_eq!(scans.look_at(&[&file]), [""; 0]);
    scans.now += QUIET_PERIOD;
    assert_eq!(scans.look_at(&[]), ["a.yaml: Namespace x"]);
}

#[test]
fn a_version_with_fewer_objects_waits_longer_for_a_writer_that_keeps_the_file_open() {
    let scratch = Scratch::new();
    let file = scratch.write("a.yaml", &two_objects());
    let mut scans = Scans::of(&scratch.0);
    scans.look();
    scratch.write("a.yaml", FEWER);
    let open = Rescan { writing: names(&[&file]), ..Rescan::default() };
    assert_eq!(scans.scan(&open), [""; 0]);
    scans.now += QUIET_PERIOD;
    assert_eq!(scans.scan(&open), [""; 0]);
    assert_eq!(scans.held(), [HoldReason::Fewer { objects: 1, before: 2 }]);
    assert_eq!(scans.files.next_scan(), Some(scans.now + MAX_WRITER_HOLD));
    // Closed, it counts a second after it was last seen to change.
    scans.now += QUIET_PERIOD;
    let closed = Rescan { paths: names(&[&file]), ..Rescan::default() };
    assert_eq!(scans.scan(&closed), ["a.yaml: Namespace x"]);
    // Never closed, at that time.
    scratch.write("a.yaml", "# nothing\n");
    scans.scan(&open);
    scans.now += QUIET_PERIOD;
    assert_eq!(scans.scan(&open), [""; 0]);
    scans.now += MAX_WRITER_HOLD;
    assert_eq!(scans.scan(&open), ["a.yaml: "]);
}
