use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use palisade_compiler::model::{
    Isolation, Labels, Peers, Phase, Pod, PodAddresses, Policy, PolicyKey, PolicyRule, Ports,
    Selector,
};
use palisade_compiler::parse::{Object, ObjectRef, Withheld};
use palisade_compiler::snapshot::{Change, Snapshot};
use proptest::prelude::*;

use super::disk::{Disk, Limits, Problem, REMOVAL_GRACE, Suspects, Update};
use super::watch::Watch;
use super::{Key, Manifest, Sources};

const LIMITS: Limits = Limits { bytes: 1 << 20, pipes: false };

fn path(name: &str) -> Arc<Path> {
    Arc::from(Path::new(name))
}

fn pod(name: &str, label: &str) -> Object {
    Object::Pod(Pod {
        namespace: Arc::from("x"),
        name: Arc::from(name),
        uid: None,
        labels: Arc::new([("version", label)].into_iter().collect::<Labels>()),
        node: None,
        addresses: PodAddresses::default(),
        host_network: false,
        phase: Phase::Running,
        started: None,
        containers_gone: false,
        ports: Arc::from([]),
    })
}

/// `a=1` is the pod a with the label 1.
fn manifest(pods: &str) -> Manifest {
    let objects = pods.split_whitespace().map(|pod_| {
        let (name, label) = pod_.split_once('=').unwrap();
        pod(name, label)
    });
    Manifest { objects: objects.collect(), withheld: Vec::new() }
}

/// Sources with the snapshot that their changes were applied to.
#[derive(Default)]
struct State {
    sources: Sources,
    snapshot: Snapshot,
}

impl State {
    fn edit(&mut self, edits: &[(&str, Option<&str>)]) -> Vec<Change> {
        let mut edit = self.sources.edit(&self.snapshot);
        for (file, pods) in edits {
            match pods {
                Some(pods) => assert!(edit.set_file(&path(file), manifest(pods)).is_empty()),
                None => edit.remove_file(&path(file)),
            }
        }
        let changes = edit.finish();
        changes.iter().cloned().for_each(|change| self.snapshot.apply(change));
        changes
    }

    fn pods(&self) -> BTreeMap<String, String> {
        let label = |pod: &Pod| pod.labels.get("version").unwrap().to_string();
        self.snapshot.pods().map(|pod| (pod.name.to_string(), label(pod))).collect()
    }

    fn show(&self) -> String {
        self.pods().iter().map(|(n, l)| format!("{n}={l}")).collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn of_one_object_in_two_files_that_which_stands_stays_and_the_other_takes_over() {
    let mut state = State::default();
    state.edit(&[("b.yaml", Some("a=2 c=2"))]);
    assert_eq!(state.show(), "a=2 c=2");
    assert_eq!(state.edit(&[("a.yaml", Some("a=1"))]), [], "it sorts first, and comes late");
    let conflicts: Vec<_> = state.sources.conflicts().collect();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].file, path("a.yaml"));
    assert_eq!(conflicts[0].stands, path("b.yaml"));
    assert_eq!(conflicts[0].object.to_string(), "Pod x/a");
    assert_eq!(state.edit(&[("a.yaml", Some("a=3"))]), []);
    state.edit(&[("b.yaml", Some("a=4 c=4"))]);
    assert_eq!(state.show(), "a=4 c=4");
    state.edit(&[("b.yaml", Some("c=4"))]);
    assert_eq!(state.show(), "a=3 c=4");
    assert_eq!(state.sources.conflicts().count(), 0);
}

#[test]
fn of_objects_that_come_at_once_that_of_the_first_path_stands() {
    let mut state = State::default();
    state.edit(&[("a.yaml", Some("a=1")), ("b.yaml", Some("a=2")), ("c.yaml", Some("a=3"))]);
    assert_eq!(state.show(), "a=1");
    state.edit(&[("a.yaml", None)]);
    assert_eq!(state.show(), "a=2");
}

#[test]
fn an_object_that_moves_to_another_file_in_one_batch_is_no_change() {
    let mut state = State::default();
    state.edit(&[("a.yaml", Some("a=1 b=1"))]);
    assert_eq!(state.edit(&[("a.yaml", Some("b=1")), ("z.yaml", Some("a=1"))]), []);
    assert_eq!(state.edit(&[("a.yaml", Some("b=1")), ("0.yaml", Some("a=1 b=1"))]), []);
}

#[test]
fn only_objects_that_differ_change() {
    let mut state = State::default();
    state.edit(&[("a.yaml", Some("a=1 b=1 c=1"))]);
    let changes = state.edit(&[("a.yaml", Some("a=1 b=2"))]);
    let Object::Pod(b) = pod("b", "2") else { unreachable!() };
    let gone = Change::DeletePod { namespace: Arc::from("x"), name: Arc::from("c"), uid: None };
    assert_eq!(changes, [Change::ApplyPod(b), gone]);
}

fn withheld(kind: &str, name: &str, closed: Option<Policy>) -> Withheld {
    let object =
        ObjectRef { kind: kind.to_owned(), namespace: Some("x".to_owned()), name: name.to_owned() };
    Withheld { object, closed }
}

#[test]
fn what_is_withheld_stays_and_what_was_never_known_is_told() {
    let mut state = State::default();
    state.edit(&[("a.yaml", Some("a=1 b=1"))]);
    let mut edit = state.sources.edit(&state.snapshot);
    let mut with = manifest("a=2 b=2 new=2");
    with.withheld = vec![withheld("Pod", "a", None), withheld("Pod", "new", None)];
    let unknown = edit.set_file(&path("a.yaml"), with);
    assert_eq!(unknown, [Key::Pod(Arc::from("x"), Arc::from("new"))]);
    edit.finish().into_iter().for_each(|change| state.snapshot.apply(change));
    assert_eq!(state.show(), "a=1 b=2", "what is handed on of what is withheld does not count");
    state.edit(&[("a.yaml", None)]);
    assert_eq!(state.show(), "");
}

#[test]
fn a_withheld_policy_is_closed_where_its_file_never_gave_it_and_else_stays() {
    let policy = |ingress: Vec<PolicyRule>| Policy {
        key: PolicyKey { namespace: Arc::from("x"), name: Arc::from("p") },
        subjects: Selector::everything(),
        isolates: Isolation { ingress: true, egress: false },
        ingress,
        egress: Vec::new(),
    };
    let everyone = || vec![PolicyRule { peers: Peers::Everyone, ports: Ports::Every }];
    let (open, closed) = (policy(everyone()), policy(Vec::new()));
    let ambiguous = || Manifest {
        objects: vec![Object::Policy(open.clone())],
        withheld: vec![withheld("NetworkPolicy", "p", Some(closed.clone()))],
    };
    let good = || Manifest { objects: vec![Object::Policy(open.clone())], withheld: Vec::new() };
    let mut state = State::default();
    let mut set = |file: &str, manifest| {
        let mut edit = state.sources.edit(&state.snapshot);
        assert_eq!(edit.set_file(&path(file), manifest), []);
        edit.finish().into_iter().for_each(|change| state.snapshot.apply(change));
        state.snapshot.policy(&open.key).map(|policy| (**policy).clone())
    };
    assert_eq!(set("a.yaml", ambiguous()), Some(closed.clone()));
    assert_eq!(set("a.yaml", good()), Some(open.clone()));
    assert_eq!(set("a.yaml", ambiguous()), Some(open.clone()), "as the file last gave it");
    assert_eq!(set("b.yaml", ambiguous()), Some(open.clone()), "another file's stands");
    assert_eq!(set("a.yaml", Manifest::default()), Some(closed.clone()), "which b.yaml declares");
}

/// Which file's object stands: the one before, while it declares it, else the first.
fn stands_after(
    stands: &BTreeMap<u8, u8>,
    files: &BTreeMap<u8, BTreeMap<u8, u8>>,
) -> BTreeMap<u8, u8> {
    let declares = |file: u8, name: u8| files.get(&file).is_some_and(|f| f.contains_key(&name));
    let names = 0..4_u8;
    let heir = |name: u8| {
        let before = stands.get(&name).copied().filter(|&file| declares(file, name));
        before.or_else(|| files.keys().copied().find(|&file| declares(file, name)))
    };
    names.filter_map(|name| Some((name, heir(name)?))).collect()
}

proptest! {
    /// Whatever the history of edits, each object is as the file that stands declares it; each batch's changes name an
    /// object once, and none is idle. Loaded afresh, all at once, the first path's objects stand.
    #[test]
    fn any_history_gives_what_the_files_declare(
        history in prop::collection::vec(
            prop::collection::btree_map(
                0..4_u8,
                prop::option::weighted(0.8, prop::collection::btree_map(0..4_u8, 0..3_u8, 0..4)),
                1..4,
            ),
            1..12,
        )
    ) {
        let mut state = State::default();
        let mut files: BTreeMap<u8, BTreeMap<u8, u8>> = BTreeMap::new();
        let mut stands = BTreeMap::new();
        for batch in history {
            let before = state.pods();
            let mut edit = state.sources.edit(&state.snapshot);
            // As the disk says it: what was read, then what is gone.
            let (read, gone): (Vec<_>, Vec<_>) = batch.into_iter().partition(|(_, pods)| pods.is_some());
            for (file, pods) in read.into_iter().chain(gone) {
                let name = path(&format!("{file}.yaml"));
                match pods {
                    Some(pods) => {
                        let objects = pods.iter().map(|(n, l)| pod(&n.to_string(), &l.to_string())).collect();
                        edit.set_file(&name, Manifest { objects, withheld: Vec::new() });
                        files.insert(file, pods);
                    }
                    None => {
                        edit.remove_file(&name);
                        files.remove(&file);
                    }
                }
                stands = stands_after(&stands, &files);
            }
            let changes = edit.finish();
            let count = changes.len();
            changes.into_iter().for_each(|change| state.snapshot.apply(change));
            let after = state.pods();
            let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
            let differing = names.into_iter().filter(|name| before.get(*name) != after.get(*name)).count();
            prop_assert_eq!(count, differing);
            let declared = |stands: &BTreeMap<u8, u8>| -> BTreeMap<String, String> {
                stands.iter().map(|(name, file)| (name.to_string(), files[file][name].to_string())).collect()
            };
            prop_assert_eq!(after, declared(&stands));
            let mut fresh = State::default();
            let mut edit = fresh.sources.edit(&fresh.snapshot);
            for (file, pods) in &files {
                let objects = pods.iter().map(|(n, l)| pod(&n.to_string(), &l.to_string())).collect();
                edit.set_file(&path(&format!("{file}.yaml")), Manifest { objects, withheld: Vec::new() });
            }
            edit.finish().into_iter().for_each(|change| fresh.snapshot.apply(change));
            prop_assert_eq!(fresh.pods(), declared(&stands_after(&BTreeMap::new(), &files)));
        }
    }
}

/// A directory of the test's own, removed with all in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("palisade-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
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

const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n";
const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: x}\n";
const BROKEN: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x\n";

fn show(updates: &[Update]) -> Vec<String> {
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let keys = |manifest: &Manifest| {
        manifest.objects.iter().map(|o| Key::of(o).to_string()).collect::<Vec<_>>().join(", ")
    };
    updates
        .iter()
        .map(|update| match update {
            Update::Set(file, manifest) => format!("{}: {}", name(file), keys(manifest)),
            Update::Removed(file) => format!("{} removed", name(file)),
        })
        .collect()
}

struct Scans {
    disk: Disk,
    now: Instant,
}

impl Scans {
    fn of(path: &Path) -> Self {
        Self { disk: Disk::new([path.to_path_buf()], LIMITS), now: Instant::now() }
    }

    fn look(&mut self) -> Vec<String> {
        show(&self.disk.scan(&Suspects::everything(), self.now, &mut |_| {}))
    }

    fn later(&mut self) -> Vec<String> {
        self.now += REMOVAL_GRACE;
        self.look()
    }

    fn problems(&self) -> Vec<String> {
        self.disk.problems().map(ToString::to_string).collect()
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
    assert!(scans.disk.is_complete());
    let problems = scans.problems();
    assert!(problems.len() == 1 && problems[0].contains("not read (d.yaml)"), "{problems:?}");
    assert_eq!(scans.look(), [""; 0]);
    scratch.write("b.json", &POD.replace("p,", "longer,"));
    assert_eq!(scans.look(), ["b.json: Pod x/longer"]);
}

#[test]
fn a_file_removed_from_a_directory_is_gone_after_the_grace() {
    let scratch = Scratch::new();
    let file = scratch.write("a.yaml", NAMESPACE);
    let mut scans = Scans::of(&scratch.0);
    scans.look();
    fs::remove_file(&file).unwrap();
    assert_eq!(scans.look(), [""; 0]);
    assert_eq!(scans.disk.next_look(), Some(scans.now + REMOVAL_GRACE));
    assert_eq!(scans.later(), ["a.yaml removed"]);
    assert_eq!(scans.disk.next_look(), None);
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
    assert_eq!(scans.disk.stale().count(), 1);
    assert!(scans.disk.is_complete(), "it was read once");
    let problems = scans.problems();
    assert!(problems[0].contains("a.yaml:") && problems[0].contains("error"), "{problems:?}");
    scratch.write("a.yaml", POD);
    assert_eq!(scans.look(), ["a.yaml: Pod x/p"]);
    assert_eq!((scans.problems().len(), scans.disk.stale().count()), (0, 0));
}

#[test]
fn a_file_that_becomes_empty_keeps_what_it_gave_until_it_is_written_or_removed() {
    let scratch = Scratch::new();
    let file = scratch.write("a.yaml", NAMESPACE);
    let mut scans = Scans::of(&scratch.0);
    scans.look();
    scratch.write("a.yaml", "");
    assert_eq!((scans.look(), scans.later()), (vec![], vec![]));
    assert_eq!(scans.disk.stale().count(), 1);
    assert!(scans.problems()[0].contains("is empty"), "{:?}", scans.problems());
    scratch.write("a.yaml", "# nothing\n");
    assert_eq!(scans.look(), ["a.yaml: "]);
    scratch.write("a.yaml", "");
    scans.look();
    fs::remove_file(&file).unwrap();
    assert_eq!((scans.look(), scans.later()), (vec![], vec!["a.yaml removed".to_owned()]));
    assert_eq!(scans.problems(), [""; 0]);
}

#[test]
fn a_directory_that_never_had_a_manifest_leaves_the_input_incomplete() {
    let scratch = Scratch::new();
    let mut scans = Scans::of(&scratch.0);
    scans.look();
    assert!(!scans.disk.is_complete() && scans.disk.lacks_manifests());
    assert!(scans.problems()[0].contains("no manifest"), "{:?}", scans.problems());
    let file = scratch.write("a.yaml", NAMESPACE);
    scans.look();
    assert!(scans.disk.is_complete());
    fs::remove_file(file).unwrap();
    scans.look();
    assert_eq!(scans.later(), ["a.yaml removed"]);
    assert_eq!(scans.problems(), [""; 0], "it is as it should be");
}

#[test]
fn a_file_that_was_broken_from_the_start_leaves_the_input_incomplete() {
    let scratch = Scratch::new();
    scratch.write("a.yaml", NAMESPACE);
    scratch.write("b.yaml", BROKEN);
    let mut scans = Scans::of(&scratch.0);
    assert_eq!(scans.look(), ["a.yaml: Namespace x"]);
    assert!(!scans.disk.is_complete());
    fs::remove_file(scratch.0.join("b.yaml")).unwrap();
    scans.look();
    assert!(scans.disk.is_complete());
}

#[test]
fn a_named_file_that_vanishes_keeps_what_it_gave_and_is_reported() {
    let scratch = Scratch::new();
    let file = scratch.0.join("named");
    let mut scans = Scans::of(&file);
    assert_eq!(scans.look(), [""; 0]);
    assert!(!scans.disk.is_complete());
    assert!(scans.problems()[0].contains("no such file"), "{:?}", scans.problems());
    scratch.write("named", NAMESPACE);
    assert_eq!(scans.look(), ["named: Namespace x"]);
    fs::remove_file(&file).unwrap();
    assert_eq!((scans.look(), scans.later()), (vec![], vec![]));
    assert!(scans.problems()[0].contains("no such file"), "{:?}", scans.problems());
    assert!(scans.disk.is_complete());
    scratch.write("named", NAMESPACE);
    scans.look();
    assert_eq!(scans.problems(), [""; 0]);
}

#[test]
fn a_directory_that_disappears_keeps_everything_and_is_reported() {
    let scratch = Scratch::new();
    let directory = scratch.0.join("manifests");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("a.yaml"), NAMESPACE).unwrap();
    let mut scans = Scans::of(&directory);
    scans.look();
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!((scans.look(), scans.later()), (vec![], vec![]));
    assert!(scans.problems()[0].contains("no such directory"), "{:?}", scans.problems());
    fs::create_dir(&directory).unwrap();
    scans.look();
    assert!(scans.disk.next_look().is_some());
    fs::remove_dir_all(&directory).unwrap();
    scans.look();
    assert_eq!(scans.disk.next_look(), None, "nobody knows what is missing");
    fs::create_dir(&directory).unwrap();
    assert_eq!((scans.look(), scans.later()), (vec![], vec!["a.yaml removed".to_owned()]));
    assert_eq!(scans.problems(), [""; 0]);
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
    assert!(scans.disk.problems().all(Problem::is_unreadable_input));
}

/// Waits until the watch says that there is something, and looks.
fn wait(scans: &mut Scans, watch: &mut Watch, woken: &mpsc::Receiver<()>) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        woken.recv_timeout(deadline.saturating_duration_since(Instant::now())).expect("no event");
        watch.arm();
        let (suspects, _) = watch.take();
        scans.now = Instant::now();
        let updates = show(&scans.disk.scan(&suspects, scans.now, &mut |_| {}));
        if !updates.is_empty() {
            return updates;
        }
    }
}

#[test]
fn saving_in_any_way_is_seen_also_after_the_directory_was_made_anew() {
    let scratch = Scratch::new();
    let directory = scratch.0.join("manifests");
    let mut scans = Scans::of(&directory);
    let (wake, woken) = mpsc::channel();
    let mut watch = Watch::new([directory.clone()], move || _ = wake.send(()));
    watch.arm();
    scans.look();
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("a.yaml"), NAMESPACE).unwrap();
    assert_eq!(wait(&mut scans, &mut watch, &woken), ["a.yaml: Namespace x"]);

    fs::write(directory.join("new"), POD).unwrap();
    fs::rename(directory.join("new"), directory.join("a.yaml")).unwrap();
    assert_eq!(wait(&mut scans, &mut watch, &woken), ["a.yaml: Pod x/p"]);

    fs::remove_dir_all(&directory).unwrap();
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("b.yaml"), NAMESPACE).unwrap();
    let updates = wait(&mut scans, &mut watch, &woken);
    assert!(updates.contains(&"b.yaml: Namespace x".to_owned()), "{updates:?}");
}

#[test]
fn a_file_that_is_being_written_is_left_alone_until_it_is_closed() {
    use std::io::Write;
    let scratch = Scratch::new();
    scratch.write("a.yaml", NAMESPACE);
    let mut scans = Scans::of(&scratch.0);
    let (wake, woken) = mpsc::channel();
    let mut watch = Watch::new([scratch.0.clone()], move || _ = wake.send(()));
    watch.arm();
    scans.look();
    let mut file = fs::File::create(scratch.0.join("a.yaml")).unwrap();
    // Another file's event makes the agent look; by then the kernel has queued the truncation before it.
    scratch.write("b.yaml", POD);
    assert_eq!(wait(&mut scans, &mut watch, &woken), ["b.yaml: Pod x/p"]);
    file.write_all(NAMESPACE.replace("x", "other").as_bytes()).unwrap();
    drop(file);
    assert_eq!(wait(&mut scans, &mut watch, &woken), ["a.yaml: Namespace other"]);
}

#[test]
fn who_writes_slowly_is_waited_for_also_by_looks_that_trust_no_event() {
    use std::io::Write;
    let scratch = Scratch::new();
    scratch.write("a.yaml", NAMESPACE);
    let (wake, woken) = mpsc::channel();
    let mut watch = Watch::new([scratch.0.clone()], move || _ = wake.send(()));
    watch.arm();
    let mut file = fs::File::create(scratch.0.join("a.yaml")).unwrap();
    let mut look = |written: bool| {
        if written {
            file.write_all(b"# slowly\n").unwrap();
        }
        // Another file's event, which the kernel queues after those.
        scratch.write("b.yaml", POD);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !watch.take().0.paths.contains(&scratch.0.join("b.yaml")) {
            woken
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
                .expect("no event");
        }
        watch.forget_busy();
        watch.take().0.busy.contains(&scratch.0.join("a.yaml"))
    };
    assert!(look(true) && look(true) && look(true));
    assert!(!look(false), "nobody writes any more, and the event of it may be lost");
}

#[test]
fn what_a_link_in_a_directory_leads_to_is_watched() {
    let (scratch, elsewhere) = (Scratch::new(), Scratch::new());
    let target = elsewhere.write("target.yaml", NAMESPACE);
    for link in ["a.yaml", "b.yaml"] {
        std::os::unix::fs::symlink(&target, scratch.0.join(link)).unwrap();
    }
    let mut scans = Scans::of(&scratch.0);
    let (wake, woken) = mpsc::channel();
    let mut watch = Watch::new([scratch.0.clone()], move || _ = wake.send(()));
    watch.arm();
    scans.look();
    elsewhere.write("target.yaml", POD);
    let updates = wait(&mut scans, &mut watch, &woken);
    assert_eq!(updates, ["a.yaml: Pod x/p", "b.yaml: Pod x/p"]);
    // Being written, it is left alone by either name.
    let writer = fs::File::create(&target).unwrap();
    elsewhere.write("other.yaml", POD);
    scratch.write("c.yaml", NAMESPACE);
    assert_eq!(wait(&mut scans, &mut watch, &woken), ["c.yaml: Namespace x"]);
    drop(writer);
}
