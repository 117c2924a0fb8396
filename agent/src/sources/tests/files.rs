//! Files -> updates: what is read, what stays, what goes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::sources::files::{
    HoldReason, Limits, ManifestFiles, Problem, QUIET_PERIOD, REMOVAL_DELAY, Rescan, Update,
};
use crate::sources::object::{Manifest, ObjectKey};

const LIMITS: Limits = Limits { bytes: 1 << 20, pipes: false, namespace: None };

/// A directory of the test's own, removed with all in it.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("palisade-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n";
pub(super) const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: x}\n";
pub(super) const BROKEN: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x\n";

pub(super) fn show(updates: &[Update]) -> Vec<String> {
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let keys = |manifest: &Manifest| {
        manifest.objects.iter().map(|o| ObjectKey::of(o).to_string()).collect::<Vec<_>>().join(", ")
    };
    updates
        .iter()
        .map(|update| match update {
            Update::Set(file, manifest) => format!("{}: {}", name(file), keys(manifest)),
            Update::Removed(file) => format!("{} removed", name(file)),
        })
        .collect()
}

pub(super) struct Scans {
    pub(super) files: ManifestFiles,
    pub(super) now: Instant,
}

impl Scans {
    pub(super) fn of(path: &Path) -> Self {
        Self { files: ManifestFiles::new([path.to_path_buf()], LIMITS), now: Instant::now() }
    }

    pub(super) fn look(&mut self) -> Vec<String> {
        show(&self.files.scan(&Rescan::everything(), self.now, &mut |_| {}))
    }

    fn later(&mut self) -> Vec<String> {
        self.after(REMOVAL_DELAY)
    }

    pub(super) fn after(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.look()
    }

    pub(super) fn scan(&mut self, rescan: &Rescan) -> Vec<String> {
        show(&self.files.scan(rescan, self.now, &mut |_| {}))
    }

    /// What is held, and why.
    pub(super) fn held(&self) -> Vec<HoldReason> {
        self.files.held(self.now).map(|held| held.reason).collect()
    }

    /// Without looking at everything.
    pub(super) fn look_at(&mut self, paths: &[&Path]) -> Vec<String> {
        let paths = paths.iter().map(|path| path.to_path_buf()).collect();
        self.scan(&Rescan { paths, ..Rescan::default() })
    }

    pub(super) fn problems(&self) -> Vec<String> {
        self.files.problems().map(ToString::to_string).collect()
    }
}

#[test]
fn a_directory_is_its_manifests_and_nothing_below() {
    let scratch = Scratch::new();
    scratch.write("a.yaml", NAMESPACE);
    scratch.write("b.json", r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"y"}}"#);
    scratch.write("c.txt", BROKEN);
    scratch.write(".#a.yaml", BROKEN);
    fs::create_dir(scratch.0.join("d.yaml")).unwrap();
    let mut scans = Scans::of(&scratch.0);
    assert_eq!(scans.look(), ["a.yaml: Namespace x", "b.json: Namespace y"]);
    assert!(scans.files.is_complete());
    let problems = scans.problems();
    assert!(problems.len() == 1 && problems[0].contains("not read (d.yaml)"), "{problems:?}");
    assert_eq!(scans.look(), [""; 0]);
    scratch.write("b.json", &POD.replace("p,", "longer,"));
    assert_eq!(scans.look(), ["b.json: Pod x/longer"]);
}

#[test]
fn a_file_removed_from_a_directory_is_gone_after_the_delay() {
    let scratch = Scratch::new();
    let file = scratch.write("a.yaml", NAMESPACE);
    let mut scans = Scans::of(&scratch.0);
    scans.look();
    fs::remove_file(&file).unwrap();
    assert_eq!(scans.look(), [""; 0]);
    assert_eq!(scans.files.next_scan(), Some(scans.now + REMOVAL_DELAY));
    assert_eq!(scans.later(), ["a.yaml removed"]);
    assert_eq!(scans.files.next_scan(), None);
}

#[test]
fn an_editor_that_moves_the_old_file_away_first_removes_nothing() {
    let scratch = Scratch::new();
    let file = scratch.write("a.yaml", NAMESPACE);
    let mut scans = Scans::of(&scratch.0);
    scans.look();
    fs::rename(&file, scratch.0.join("a.yaml~")).unwrap();
    assert_eq!(scans.look(), [""; 0]);
    scratch.write("a.yaml", POD);
    assert_eq!(scans.later(), ["a.yaml: Pod x/p"]);
}

#[test]
fn a_broken_file_keeps_what_it_last_gave() {
    let scratch = Scratch::new();
    scratch.write("a.yaml", NAMESPACE);
    let mut scans = Scans::of(&scratch.0);
    scans.look();
    scratch.write("a.yaml", BROKEN);
    assert_eq!(scans.look(), [""; 0]);
    assert_eq!(scans.held().len(), 1);
    assert!(scans.files.is_complete(), "it was read once");
    let problems = scans.problems();
    assert!(problems[0].contains("a.yaml:") && problems[0].contains("error"), "{problems:?}");
    scratch.write("a.yaml", POD);
    assert_eq!(scans.after(QUIET_PERIOD), ["a.yaml: Pod x/p"]);
    assert_eq!((scans.problems().len(), scans.held().len()), (0, 0));
}

#[test]
fn a_file_that_becomes_empty_keeps_what_it_gave_until_it_is_written_or_removed() {
    let scratch = Scratch::new();
    let file = scratch.write("a.yaml", NAMESPACE);
    let mut scans = Scans::of(&scratch.0);
    scans.look();
    scratch.write("a.yaml", "");
    assert_eq!((scans.look(), scans.later()), (vec![], vec![]));
    assert_eq!(scans.held().len(), 1);
    assert!(scans.problems()[0].contains("is empty"), "{:?}", scans.problems());
    scratch.write("a.yaml", "# nothing\n");
    assert_eq!((scans.look(), scans.after(QUIET_PERIOD)), (vec![], vec!["a.yaml: ".to_owned()]));
    scratch.write("a.yaml", "");
    scans.look();
    fs::remove_file(&file).unwrap();
    assert_eq!((scans.look(), scans.later()), (vec![], vec!["a.yaml removed".to_owned()]));
    assert!(
        scans.problems()[0].contains("the last manifest was removed"),
        "{:?}",
        scans.problems()
    );
}

#[test]
fn a_directory_that_never_had_a_manifest_leaves_the_input_incomplete() {
    let scratch = Scratch::new();
    let mut scans = Scans::of(&scratch.0);
    scans.look();
    assert!(!scans.files.is_complete() && scans.files.lacks_manifests());
    assert!(scans.problems()[0].contains("no manifest"), "{:?}", scans.problems());
    let file = scratch.write("a.yaml", NAMESPACE);
    scans.look();
    assert!(scans.files.is_complete());
    fs::remove_file(file).unwrap();
    scans.look();
    assert_eq!(scans.later(), ["a.yaml removed"]);
    let problems = scans.problems();
    assert!(
        problems.len() == 1 && problems[0].contains("the last manifest was removed"),
        "{problems:?}"
    );
    assert!(!scans.files.problems().any(Problem::is_unreadable_input), "it may be meant");
    scratch.write("b.yaml", NAMESPACE);
    assert_eq!((scans.look(), scans.problems()), (vec!["b.yaml: Namespace x".to_owned()], vec![]));
}

#[test]
fn a_file_that_was_broken_from_the_start_leaves_the_input_incomplete() {
    let scratch = Scratch::new();
    scratch.write("a.yaml", NAMESPACE);
    scratch.write("b.yaml", BROKEN);
    let mut scans = Scans::of(&scratch.0);
    assert_eq!(scans.look(), ["a.yaml: Namespace x"]);
    assert!(!scans.files.is_complete());
    fs::remove_file(scratch.0.join("b.yaml")).unwrap();
    scans.look();
    assert!(scans.files.is_complete());
}

#[test]
fn a_named_file_that_vanishes_keeps_what_it_gave_and_is_reported() {
    let scratch = Scratch::new();
    let file = scratch.0.join("named");
    let mut scans = Scans::of(&file);
    assert_eq!(scans.look(), [""; 0]);
    assert!(!scans.files.is_complete());
    assert!(scans.problems()[0].contains("no such file"), "{:?}", scans.problems());
    scratch.write("named", NAMESPACE);
    assert_eq!(scans.look(), ["named: Namespace x"]);
    fs::remove_file(&file).unwrap();
    assert_eq!((scans.look(), scans.later()), (vec![], vec![]));
    assert!(scans.problems()[0].contains("no such file"), "{:?}", scans.problems());
    assert!(scans.files.is_complete());
    scratch.write("named", NAMESPACE);
    scans.look();
    assert_eq!(scans.problems(), [""; 0]);
}

/// With a directory of two manifests, which were read.
fn two_in_a_directory(scratch: &Scratch) -> (PathBuf, Scans) {
    let directory = scratch.0.join("manifests");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("a.yaml"), NAMESPACE).unwrap();
    fs::write(directory.join("b.yaml"), POD).unwrap();
    let mut scans = Scans::of(&directory);
    assert_eq!(scans.look().len(), 2);
    (directory, scans)
}

#[test]
fn a_directory_that_disappears_keeps_everything_and_is_reported() {
    let scratch = Scratch::new();
    let (directory, mut scans) = two_in_a_directory(&scratch);
    let away = scratch.0.join("away");
    fs::rename(&directory, &away).unwrap();
    assert_eq!((scans.look(), scans.later()), (vec![], vec![]));
    assert!(scans.problems()[0].contains("no such directory"), "{:?}", scans.problems());
    fs::rename(&away, &directory).unwrap();
    assert_eq!((scans.look(), scans.problems()), (vec![], vec![]));
    // What is missing is missed only while its directory is there.
    fs::remove_file(directory.join("a.yaml")).unwrap();
    scans.look();
    assert!(scans.files.next_scan().is_some());
    fs::rename(&directory, &away).unwrap();
    scans.look();
    assert_eq!(scans.files.next_scan(), None, "nobody knows what is missing");
    fs::rename(&away, &directory).unwrap();
    assert_eq!((scans.look(), scans.later()), (vec![], vec!["a.yaml removed".to_owned()]));
    assert_eq!(scans.problems(), [""; 0]);
}

/// As when it is unmounted, or made anew.
#[test]
fn a_directory_that_is_another_one_removes_nothing_and_is_reported() {
    let scratch = Scratch::new();
    let (directory, mut scans) = two_in_a_directory(&scratch);
    let away = scratch.0.join("away");
    fs::rename(&directory, &away).unwrap();
    fs::create_dir(&directory).unwrap();
    assert_eq!((scans.look(), scans.later()), (vec![], vec![]));
    let problems = scans.problems();
    assert!(
        problems[0].contains("another one") && problems[0].contains("2 of its"),
        "{problems:?}"
    );
    assert_eq!((scans.held().len(), scans.files.next_scan()), (2, None));
    // Those that are in it are read, and are its own from now on.
    fs::write(directory.join("a.yaml"), NAMESPACE.replace("x", "other")).unwrap();
    assert_eq!(scans.look(), ["a.yaml: Namespace other"]);
    assert!(scans.problems()[0].contains("1 of its manifests are not in it (b.yaml"));
    fs::remove_file(directory.join("a.yaml")).unwrap();
    assert_eq!((scans.look(), scans.later()), (vec![], vec!["a.yaml removed".to_owned()]));
    fs::remove_dir(&directory).unwrap();
    fs::rename(&away, &directory).unwrap();
    assert_eq!(scans.look(), ["a.yaml: Namespace x"]);
    assert_eq!((scans.problems(), scans.held().len()), (vec![], 0));
}

/// `..data` of a ConfigMap: the links stay, and lead into another directory.
#[test]
fn a_configmap_that_is_mounted_changes_by_its_links() {
    let scratch = Scratch::new();
    let version = |name: &str, text: &str| {
        let directory = scratch.0.join(name);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("a.yaml"), text).unwrap();
        symlink(name, scratch.0.join("..data_tmp")).unwrap();
        fs::rename(scratch.0.join("..data_tmp"), scratch.0.join("..data")).unwrap();
    };
    version("..1", NAMESPACE);
    symlink("..data/a.yaml", scratch.0.join("a.yaml")).unwrap();
    let mut scans = Scans::of(&scratch.0);
    assert_eq!(scans.look(), ["a.yaml: Namespace x"]);
    version("..2", POD);
    fs::remove_dir_all(scratch.0.join("..1")).unwrap();
    assert_eq!((scans.look(), scans.problems()), (vec!["a.yaml: Pod x/p".to_owned()], vec![]));
    fs::remove_file(scratch.0.join("a.yaml")).unwrap();
    assert_eq!((scans.look(), scans.later()), (vec![], vec!["a.yaml removed".to_owned()]));
}

#[test]
fn only_what_is_named_and_what_waits_is_looked_at() {
    let scratch = Scratch::new();
    let (directory, mut scans) = two_in_a_directory(&scratch);
    let [a, b, c] = ["a.yaml", "b.yaml", "c.yaml"].map(|name| directory.join(name));
    fs::write(&a, POD).unwrap();
    fs::write(&c, NAMESPACE).unwrap();
    fs::remove_file(&b).unwrap();
    assert_eq!(scans.look_at(&[]), [""; 0]);
    assert_eq!(scans.look_at(&[&c]), ["c.yaml: Namespace x"]);
    assert_eq!(scans.look_at(&[&b, &directory.join("x.txt")]), [""; 0]);
    scans.now += REMOVAL_DELAY;
    assert_eq!(scans.look_at(&[]), ["b.yaml removed"]);
    assert_eq!(scans.look(), ["a.yaml: Pod x/p"]);
}

#[test]
fn a_file_beyond_the_bound_is_not_read() {
    let scratch = Scratch::new();
    let file = scratch.write("a.yaml", NAMESPACE);
    let mut scans = Scans::of(&file);
    scans.look();
    // A hole: nothing of it is on the disk.
    fs::File::options().write(true).open(&file).unwrap().set_len(LIMITS.bytes + 1).unwrap();
    assert_eq!(scans.look(), [""; 0]);
    let problems = scans.problems();
    assert!(problems[0].contains("--max-file-size"), "{problems:?}");
    assert!(scans.files.problems().all(Problem::is_unreadable_input));
}

#[test]
fn a_reread_reads_what_seems_unchanged() {
    let scratch = Scratch::new();
    scratch.write("a.yaml", NAMESPACE);
    let mut scans = Scans::of(&scratch.0);
    scans.look();
    assert_eq!(scans.look(), [""; 0]);
    let reread = Rescan { reread: true, ..Rescan::everything() };
    assert_eq!(scans.scan(&reread), ["a.yaml: Namespace x"]);
}
