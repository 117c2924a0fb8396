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
mod names;
pub mod watch;

#[cfg(test)]
mod tests;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use palisade_compiler::model::PolicyKey;
use palisade_compiler::parse::{Object, ObjectRef, Withheld};
use palisade_compiler::snapshot::{Change, Snapshot};

use names::{NameId, Names};

/// What names an object: its kind, and its namespace and name. Displayed as in `Pod shop/api`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    Namespace(Arc<str>),
    Node(Arc<str>),
    Policy(PolicyKey),
    Pod(Arc<str>, Arc<str>),
    Service(Arc<str>, Arc<str>),
    EndpointSlice(Arc<str>, Arc<str>),
}

impl Key {
    pub fn of(object: &Object) -> Self {
        match object {
            Object::Namespace(namespace) => Self::Namespace(Arc::clone(&namespace.name)),
            Object::Node(node) => Self::Node(Arc::clone(&node.name)),
            Object::Policy(policy) => Self::Policy(policy.key.clone()),
            Object::Pod(pod) => Self::Pod(Arc::clone(&pod.namespace), Arc::clone(&pod.name)),
            Object::Service(service) => {
                Self::Service(Arc::clone(&service.namespace), Arc::clone(&service.name))
            }
            Object::EndpointSlice(slice) => {
                Self::EndpointSlice(Arc::clone(&slice.namespace), Arc::clone(&slice.name))
            }
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
            Self::Service(namespace, name) => write!(f, "Service {namespace}/{name}"),
            Self::EndpointSlice(namespace, name) => write!(f, "EndpointSlice {namespace}/{name}"),
        }
    }
}

/// What a file declares, as far as it could be read.
#[derive(Debug, Clone, Default)]
pub struct Manifest {
    /// None of those that are withheld counts.
    pub objects: Vec<Object>,
    /// Declared but not understood; not gone.
    pub withheld: Vec<Withheld>,
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
            Key::Service(namespace, name) => {
                self.service(namespace, name).cloned().map(Object::Service)
            }
            Key::EndpointSlice(namespace, name) => {
                self.endpoint_slice(namespace, name).cloned().map(Object::EndpointSlice)
            }
        }
    }
}

/// An object that a file declares in vain, because another declares it too and stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    pub file: Arc<Path>,
    pub stands: Arc<Path>,
    pub object: Key,
}

/// Which file declares what. Of one object in several files, that which stands keeps standing until its file declares it no
/// more: a file that comes later displaces nothing, wherever it sorts. Of those that come at once, or are left, the first
/// path's stands.
#[derive(Debug, Default)]
pub struct Sources {
    names: Names,
    /// What each file declares, sorted.
    files: BTreeMap<Arc<Path>, Box<[NameId]>>,
    /// In full, to take over when what stands before them goes.
    shadowed: BTreeMap<Key, BTreeMap<Arc<Path>, Object>>,
}

impl Sources {
    /// Begins a batch of edits; nothing is returned before `Edit::finish`.
    pub fn edit<'a>(&'a mut self, held: &'a dyn Held) -> Edit<'a> {
        Edit { sources: self, held, pending: HashMap::new(), unnamed: BTreeSet::new() }
    }

    pub fn conflicts(&self) -> impl Iterator<Item = Conflict> {
        self.shadowed.iter().flat_map(|(key, files)| {
            let stands = self.names.find(key).and_then(|id| self.stands(id)).into_iter();
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
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn stands(&self, id: NameId) -> Option<&Arc<Path>> {
        self.names.get(id)?.stands.as_ref()
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
    pending: HashMap<NameId, Pending>,
    /// Names that some file ceased to declare, and perhaps the last one.
    unnamed: BTreeSet<NameId>,
}

impl Edit<'_> {
    /// The file now declares this and nothing else. What is withheld stays as the file last gave it; what the file never
    /// gave is closed. Returns the withheld objects of which nothing is known and that nothing closes.
    pub fn set_file(&mut self, file: &Arc<Path>, manifest: Manifest) -> Vec<Key> {
        let before = self.sources.files.remove(file).unwrap_or_default();
        let named = |withheld: Withheld| Some((Key::named(&withheld.object)?, withheld.closed));
        let withheld: HashMap<Key, _> = manifest.withheld.into_iter().filter_map(named).collect();
        let mut declared = HashSet::with_capacity(manifest.objects.len());
        for object in manifest.objects {
            let key = Key::of(&object);
            if withheld.contains_key(&key) {
                continue;
            }
            let id = self.sources.names.enter(key);
            if declared.insert(id) {
                self.put(id, file, object);
            }
        }
        let mut unknown = Vec::new();
        for (key, closed) in withheld {
            let id = self.sources.names.find(&key);
            match (id.filter(|id| before.binary_search(id).is_ok()), closed) {
                (Some(given), _) => _ = declared.insert(given),
                (None, Some(closed)) => {
                    let id = self.sources.names.enter(key);
                    declared.insert(id);
                    self.put(id, file, Object::Policy(closed));
                }
                (None, None) => unknown.push(key),
            }
        }
        before.iter().filter(|id| !declared.contains(*id)).for_each(|&id| self.take(id, file));
        let mut declared: Box<[NameId]> = declared.into_iter().collect();
        declared.sort_unstable();
        self.count(&before, &declared);
        self.sources.files.insert(Arc::clone(file), declared);
        unknown
    }

    /// The file is gone, and what it declared with it.
    pub fn remove_file(&mut self, file: &Arc<Path>) {
        let before = self.sources.files.remove(file).unwrap_or_default();
        before.iter().for_each(|&id| self.take(id, file));
        self.count(&before, &[]);
    }

    /// The changes that the batch amounts to, by name: each object at most once, and none that is as it was.
    pub fn finish(self) -> Vec<Change> {
        let names = &mut self.sources.names;
        let key = |id: &NameId| names.get(*id).map(|name| &name.key);
        let mut pending: Vec<(NameId, Pending)> = self.pending.into_iter().collect();
        pending.sort_unstable_by(|(a, _), (b, _)| key(a).cmp(&key(b)));
        let change = |(id, pending): (NameId, Pending)| {
            let key = key(&id)?;
            match pending.now {
                Some(object)
                    if pending.stood && self.held.object(key).as_ref() == Some(&object) =>
                {
                    None
                }
                Some(object) => Some(Change::from(object)),
                None => pending.stood.then(|| delete(key.clone())),
            }
        };
        let changes = pending.into_iter().filter_map(change).collect();
        for id in self.unnamed {
            if names.get(id).is_some_and(|name| name.files == 0) {
                names.remove(id);
            }
        }
        changes
    }

    /// Counts what a file declares now and not before, and the reverse.
    fn count(&mut self, before: &[NameId], declared: &[NameId]) {
        for &id in before {
            self.unnamed.insert(id);
            self.sources.names.get_mut(id).into_iter().for_each(|name| name.files -= 1);
        }
        for &id in declared {
            self.sources.names.get_mut(id).into_iter().for_each(|name| name.files += 1);
        }
    }

    fn put(&mut self, id: NameId, file: &Arc<Path>, object: Object) {
        if self.sources.stands(id).is_some_and(|stands| stands != file) {
            let key = Key::of(&object);
            self.sources.shadowed.entry(key).or_default().insert(Arc::clone(file), object);
            return;
        }
        self.stand(id, file, object);
    }

    fn take(&mut self, id: NameId, file: &Arc<Path>) {
        let Some(name) = self.sources.names.get_mut(id) else { return };
        let stands = name.stands.as_ref() == Some(file);
        let heir =
            if let Entry::Occupied(mut shadows) = self.sources.shadowed.entry(name.key.clone()) {
                let heir = if stands { shadows.get_mut().pop_first() } else { None };
                shadows.get_mut().remove(file);
                if shadows.get().is_empty() {
                    shadows.remove();
                }
                heir
            } else {
                None
            };
        if let Some((heir, object)) = heir {
            self.stand(id, &heir, object);
        } else if stands {
            name.stands = None;
            self.pending.entry(id).or_insert(Pending { stood: true, now: None }).now = None;
        }
    }

    fn stand(&mut self, id: NameId, file: &Arc<Path>, object: Object) {
        let Some(name) = self.sources.names.get_mut(id) else { return };
        let stood = name.stands.replace(Arc::clone(file)).is_some();
        self.pending.entry(id).or_insert(Pending { stood, now: None }).now = Some(object);
    }
}

fn delete(key: Key) -> Change {
    match key {
        Key::Namespace(name) => Change::DeleteNamespace(name),
        Key::Node(name) => Change::DeleteNode(name),
        Key::Policy(key) => Change::DeletePolicy(key),
        Key::Pod(namespace, name) => Change::DeletePod { namespace, name, uid: None },
        Key::Service(namespace, name) => Change::DeleteService { namespace, name },
        Key::EndpointSlice(namespace, name) => Change::DeleteEndpointSlice { namespace, name },
    }
}
