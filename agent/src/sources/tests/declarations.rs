//! Which declaration counts, and what an edit of files amounts to.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use palisade_compiler::model::{
    DnsPolicy, Isolation, Labels, Peers, Phase, Pod, PodAddresses, Policy, PolicyKey, PolicyRule,
    Ports, Selector,
};
use palisade_compiler::parse::{Object, ObjectRef, Withheld};
use palisade_compiler::snapshot::{Change, Snapshot};
use proptest::prelude::*;

use crate::sources::declarations::{Declarations, Fate};
use crate::sources::object::{Manifest, ObjectKey};

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
        host_ips: PodAddresses::default(),
        host_network: false,
        phase: Phase::Running,
        started: None,
        containers_gone: false,
        ports: Arc::from([]),
        dns_policy: DnsPolicy::default(),
        lint_ignore: None,
        allowed_sources: None,
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

/// Declarations with the snapshot that their changes were applied to.
#[derive(Default)]
struct State {
    declarations: Declarations,
    snapshot: Snapshot,
}

impl State {
    fn edit(&mut self, edits: &[(&str, Option<&str>)]) -> Vec<Change> {
        let mut edit = self.declarations.edit();
        for (file, pods) in edits {
            match pods {
                Some(pods) => assert!(edit.set_file(&path(file), manifest(pods)).is_empty()),
                None => edit.remove_file(&path(file)),
            }
        }
        let objects = edit.finish();
        for object in &objects {
            let ObjectKey::Pod(namespace, name) = &object.object else { panic!("{object:?}") };
            let was_there = self.snapshot.pod_named(namespace, name).is_some();
            assert_eq!(object.fate == Fate::Added, !was_there, "{object:?}");
            let is_deletion = matches!(object.change, Change::DeletePod { .. });
            assert_eq!(object.fate == Fate::Removed, is_deletion, "{object:?}");
        }
        let changes: Vec<Change> = objects.into_iter().map(|object| object.change).collect();
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
fn of_one_object_in_two_files_the_one_that_counts_stays_and_the_other_takes_over() {
    let mut state = State::default();
    state.edit(&[("b.yaml", Some("a=2 c=2"))]);
    assert_eq!(state.show(), "a=2 c=2");
    assert_eq!(state.edit(&[("a.yaml", Some("a=1"))]), [], "it sorts first, and comes late");
    let conflicts: Vec<_> = state.declarations.conflicts().collect();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].file, path("a.yaml"));
    assert_eq!(conflicts[0].counts, path("b.yaml"));
    assert_eq!(conflicts[0].object.to_string(), "Pod x/a");
    assert_eq!(state.edit(&[("a.yaml", Some("a=3"))]), []);
    state.edit(&[("b.yaml", Some("a=4 c=4"))]);
    assert_eq!(state.show(), "a=4 c=4");
    state.edit(&[("b.yaml", Some("c=4"))]);
    assert_eq!(state.show(), "a=3 c=4");
    assert_eq!(state.declarations.conflicts().count(), 0);
}

#[test]
fn of_objects_that_come_at_once_that_of_the_first_path_counts() {
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
fn what_is_withheld_stays_and_what_was_never_known_is_returned() {
    let mut state = State::default();
    state.edit(&[("a.yaml", Some("a=1 b=1"))]);
    let mut edit = state.declarations.edit();
    let mut with = manifest("a=2 b=2 new=2");
    with.withheld = vec![withheld("Pod", "a", None), withheld("Pod", "new", None)];
    let unknown = edit.set_file(&path("a.yaml"), with);
    assert_eq!(unknown, [ObjectKey::Pod(Arc::from("x"), Arc::from("new"))]);
    edit.finish().into_iter().for_each(|object| state.snapshot.apply(object.change));
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
        fault: None,
        lint_ignore: None,
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
        let mut edit = state.declarations.edit();
        assert_eq!(edit.set_file(&path(file), manifest), []);
        edit.finish().into_iter().for_each(|object| state.snapshot.apply(object.change));
        state.snapshot.policy(&open.key).map(|policy| (**policy).clone())
    };
    assert_eq!(set("a.yaml", ambiguous()), Some(closed.clone()));
    assert_eq!(set("a.yaml", good()), Some(open.clone()));
    assert_eq!(set("a.yaml", ambiguous()), Some(open.clone()), "as the file last gave it");
    assert_eq!(set("b.yaml", ambiguous()), Some(open.clone()), "another file's counts");
    assert_eq!(set("a.yaml", Manifest::default()), Some(closed.clone()), "which b.yaml declares");
}

/// Whose declaration counts: the one before, while the file has it, else the first.
fn counting_after(
    counting: &BTreeMap<u8, u8>,
    files: &BTreeMap<u8, BTreeMap<u8, u8>>,
) -> BTreeMap<u8, u8> {
    let declares = |file: u8, name: u8| files.get(&file).is_some_and(|f| f.contains_key(&name));
    let names = 0..4_u8;
    let heir = |name: u8| {
        let before = counting.get(&name).copied().filter(|&file| declares(file, name));
        before.or_else(|| files.keys().copied().find(|&file| declares(file, name)))
    };
    names.filter_map(|name| Some((name, heir(name)?))).collect()
}

proptest! {
    /// Whatever the history of edits, each object is as the file that counts declares it; each batch's changes name an
    /// object once, and none is idle. Loaded afresh, all at once, the first path's declarations count.
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
        let mut counting = BTreeMap::new();
        for batch in history {
            let before = state.pods();
            let mut edit = state.declarations.edit();
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
                counting = counting_after(&counting, &files);
            }
            let changes = edit.finish();
            let count = changes.len();
            changes.into_iter().for_each(|object| state.snapshot.apply(object.change));
            let after = state.pods();
            let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
            let differing = names.into_iter().filter(|name| before.get(*name) != after.get(*name)).count();
            prop_assert_eq!(count, differing);
            let declared = |counting: &BTreeMap<u8, u8>| -> BTreeMap<String, String> {
                counting.iter().map(|(name, file)| (name.to_string(), files[file][name].to_string())).collect()
            };
            prop_assert_eq!(after, declared(&counting));
            let mut fresh = State::default();
            let mut edit = fresh.declarations.edit();
            for (file, pods) in &files {
                let objects = pods.iter().map(|(n, l)| pod(&n.to_string(), &l.to_string())).collect();
                edit.set_file(&path(&format!("{file}.yaml")), Manifest { objects, withheld: Vec::new() });
            }
            edit.finish().into_iter().for_each(|object| fresh.snapshot.apply(object.change));
            prop_assert_eq!(fresh.pods(), declared(&counting_after(&BTreeMap::new(), &files)));
        }
    }
}
