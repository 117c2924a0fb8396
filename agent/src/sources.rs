//! Files -> objects -> changes: which object stands when files overlap, and what an edit of files means.
//!
//! ```text
//! paths -> disk (reads, remembers what failed) -> Manifest -> Sources -> Vec<Change>
//!            ^
//! notify -> watch (which paths to look at again)
//! ```
//!
//! `Sources` is pure and holds names, not objects: what an object holds now is asked of whoever holds the snapshot, so
//! that 100,000 pods are not kept twice. The objects that are declared in several files are the exception.

pub mod disk;
pub mod watch;

#[cfg(test)]
mod tests;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use palisade_compiler::model::PolicyKey;
use palisade_compiler::parse::{Object, ObjectRef};
use palisade_compiler::snapshot::{Change, Snapshot};

/// What names an object: its kind, and its namespace and name. Displayed as in `Pod shop/api`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Namespace(Arc<str>),
    Node(Arc<str>),
    Policy(PolicyKey),
    Pod(Arc<str>, Arc<str>),
}

impl Key {
    pub fn of(object: &Object) -> Self {
        match object {
            Object::Namespace(namespace) => Self::Namespace(Arc::clone(&namespace.name)),
            Object::Node(node) => Self::Node(Arc::clone(&node.name)),
            Object::Policy(policy) => Self::Policy(policy.key.clone()),
            Object::Pod(pod) => Self::Pod(Arc::clone(&pod.namespace), Arc::clone(&pod.name)),
        }
    }

    /// `None` for kinds that are not read.
    fn named(object: &ObjectRef) -> Option<Self> {
        let name = Arc::from(object.name.as_str());
        let namespace = || Some(Arc::from(object.namespace.as_deref()?));
        match object.kind.as_str() {
            "Namespace" => Some(Self::Namespace(name)),
            "Node" => Some(Self::Node(name)),
            "NetworkPolicy" => Some(Self::Policy(PolicyKey { namespace: namespace()?, name })),
            "Pod" => Some(Self::Pod(namespace()?, name)),
            _ => None,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(name) => write!(f, "Namespace {name}"),
            Self::Node(name) => write!(f, "Node {name}"),
            Self::Policy(key) => write!(f, "NetworkPolicy {key}"),
            Self::Pod(namespace, name) => write!(f, "Pod {namespace}/{name}"),
        }
    }
}

/// What a file declares, as far as it could be read.
#[derive(Debug, Clone, Default)]
pub struct Manifest {
    pub objects: Vec<Object>,
    /// Declared but not understood; not gone.
    pub withheld: Vec<ObjectRef>,
}

/// Who holds what the standing objects say: all that `Edit::finish` returned so far was applied to it.
pub trait Held {
    fn object(&self, key: &Key) -> Option<Object>;
}

impl Held for Snapshot {
    fn object(&self, key: &Key) -> Option<Object> {
        match key {
            Key::Namespace(name) => self.namespace(name).cloned().map(Object::Namespace),
            Key::Node(name) => {
                self.nodes().find(|node| node.name == *name).cloned().map(Object::Node)
            }
            Key::Policy(key) => self.policy(key).map(|p| Object::Policy(p.as_ref().clone())),
            Key::Pod(namespace, name) => self.pod_named(namespace, name).cloned().map(Object::Pod),
        }
    }
}

/// An object that a file declares in vain, because one that sorts before it declares it too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    pub file: Arc<Path>,
    pub stands: Arc<Path>,
    pub object: Key,
}

/// Which file declares what. Of one object in several files, that of the first path stands.
#[derive(Debug, Default)]
pub struct Sources {
    files: BTreeMap<Arc<Path>, BTreeSet<Key>>,
    standing: BTreeMap<Key, Arc<Path>>,
    /// In full, to take over when what stands before them goes.
    shadowed: BTreeMap<Key, BTreeMap<Arc<Path>, Object>>,
}

impl Sources {
    /// Begins a batch of edits; nothing is returned before `Edit::finish`.
    pub fn edit<'a>(&'a mut self, held: &'a dyn Held) -> Edit<'a> {
        Edit { sources: self, held, pending: BTreeMap::new() }
    }

    pub fn conflicts(&self) -> impl Iterator<Item = Conflict> {
        self.shadowed.iter().flat_map(|(key, files)| {
            let stands = self.standing.get(key).into_iter();
            stands.flat_map(move |stands| {
                files.keys().map(move |file| Conflict {
                    file: Arc::clone(file),
                    stands: Arc::clone(stands),
                    object: key.clone(),
                })
            })
        })
    }

    /// How many objects stand.
    pub fn len(&self) -> usize {
        self.standing.len()
    }

    pub fn is_empty(&self) -> bool {
        self.standing.is_empty()
    }
}

#[derive(Debug)]
struct Pending {
    /// Whether the object stood when the batch began.
    stood: bool,
    now: Option<Object>,
}

/// A batch of edits of files.
pub struct Edit<'a> {
    sources: &'a mut Sources,
    held: &'a dyn Held,
    pending: BTreeMap<Key, Pending>,
}

impl Edit<'_> {
    /// The file now declares this and nothing else. What is withheld stays as the file last gave it. Returns the withheld
    /// objects that the file never gave: nobody knows what they say.
    pub fn set_file(&mut self, file: &Arc<Path>, manifest: Manifest) -> Vec<Key> {
        let before = self.sources.files.remove(file).unwrap_or_default();
        let mut declared = BTreeSet::new();
        for object in manifest.objects {
            let key = Key::of(&object);
            if declared.insert(key.clone()) {
                self.put(key, file, object);
            }
        }
        let mut unknown = Vec::new();
        for key in manifest.withheld.iter().filter_map(Key::named) {
            if before.contains(&key) {
                declared.insert(key);
            } else if !declared.contains(&key) {
                unknown.push(key);
            }
        }
        before.difference(&declared).for_each(|key| self.take(key, file));
        self.sources.files.insert(Arc::clone(file), declared);
        unknown
    }

    /// The file is gone, and what it declared with it.
    pub fn remove_file(&mut self, file: &Arc<Path>) {
        for key in self.sources.files.remove(file).unwrap_or_default() {
            self.take(&key, file);
        }
    }

    /// The changes that the batch amounts to: each object at most once, and none that is as it was.
    pub fn finish(self) -> Vec<Change> {
        let held = self.held;
        self.pending
            .into_iter()
            .filter_map(|(key, pending)| match pending.now {
                Some(object) if pending.stood && held.object(&key).as_ref() == Some(&object) => {
                    None
                }
                Some(object) => Some(apply(object)),
                None => pending.stood.then(|| delete(key)),
            })
            .collect()
    }

    fn put(&mut self, key: Key, file: &Arc<Path>, object: Object) {
        let stands = self.sources.standing.get(&key).cloned();
        match stands {
            Some(first) if first < *file => {
                self.sources.shadowed.entry(key).or_default().insert(Arc::clone(file), object);
                return;
            }
            Some(later) if later > *file => {
                if let Some(displaced) = self.current(&key) {
                    let shadows = self.sources.shadowed.entry(key.clone()).or_default();
                    shadows.insert(later, displaced);
                }
            }
            Some(_) | None => {}
        }
        self.stand(key, file, object);
    }

    fn take(&mut self, key: &Key, file: &Arc<Path>) {
        let heir = if let Entry::Occupied(mut shadows) = self.sources.shadowed.entry(key.clone()) {
            let heir = match self.sources.standing.get(key) {
                Some(stands) if stands == file => shadows.get_mut().pop_first(),
                Some(_) | None => {
                    shadows.get_mut().remove(file);
                    None
                }
            };
            if shadows.get().is_empty() {
                shadows.remove();
            }
            heir
        } else {
            None
        };
        if let Some((heir, object)) = heir {
            self.stand(key.clone(), &heir, object);
        } else if self.sources.standing.get(key) == Some(file) {
            self.sources.standing.remove(key);
            self.pending.entry(key.clone()).or_insert(Pending { stood: true, now: None }).now =
                None;
        }
    }

    fn stand(&mut self, key: Key, file: &Arc<Path>, object: Object) {
        let stood = self.sources.standing.insert(key.clone(), Arc::clone(file)).is_some();
        self.pending.entry(key).or_insert(Pending { stood, now: None }).now = Some(object);
    }

    /// What the standing object says at this point of the batch.
    fn current(&self, key: &Key) -> Option<Object> {
        match self.pending.get(key) {
            Some(pending) => pending.now.clone(),
            None => self.held.object(key),
        }
    }
}

fn apply(object: Object) -> Change {
    match object {
        Object::Namespace(namespace) => Change::ApplyNamespace(namespace),
        Object::Node(node) => Change::ApplyNode(node),
        Object::Pod(pod) => Change::ApplyPod(pod),
        Object::Policy(policy) => Change::ApplyPolicy(policy),
    }
}

fn delete(key: Key) -> Change {
    match key {
        Key::Namespace(name) => Change::DeleteNamespace(name),
        Key::Node(name) => Change::DeleteNode(name),
        Key::Policy(key) => Change::DeletePolicy(key),
        Key::Pod(namespace, name) => Change::DeletePod { namespace, name, uid: None },
    }
}
