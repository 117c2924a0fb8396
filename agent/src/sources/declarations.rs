//! Which file declares what, and which declaration counts.
//!
//! This is pure, and holds names and fingerprints rather than objects, so that 100,000 pods are not kept twice. Only the
//! objects that are declared in several files are kept whole, to take over when the one that counts goes.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use palisade_compiler::parse::{Object, Withheld};
use palisade_compiler::snapshot::Change;

use super::names::{NameId, Names};
use super::object::{Manifest, ObjectKey};

/// An object that a file declares in vain, because another file declares it too and counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    pub file: Arc<Path>,
    /// The file whose declaration counts.
    pub counts: Arc<Path>,
    pub object: ObjectKey,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Added,
    Changed,
    Removed,
}

/// One object that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectChange {
    pub change: Change,
    pub object: ObjectKey,
    pub fate: Fate,
    /// The file that declares it, or the last that did.
    pub file: Arc<Path>,
}

impl ObjectChange {
    /// In words, as in `NetworkPolicy shop/db changed (shop/db.yaml)`.
    pub fn describe(&self) -> String {
        let fate = match self.fate {
            Fate::Added => "added",
            Fate::Changed => "changed",
            Fate::Removed => "removed",
        };
        format!("{} {fate} ({})", self.object, self.file.display())
    }
}

/// Which file declares what. Of one object in several files, the declaration that counts goes on counting as long as its file
/// has it: a file that comes later displaces nothing, wherever it sorts. Of those that come at once, or are left, the first
/// path's counts.
#[derive(Debug, Default)]
pub struct Declarations {
    names: Names,
    /// What each file declares, sorted.
    files: BTreeMap<Arc<Path>, Box<[NameId]>>,
    /// Declarations that do not count.
    shadowed: BTreeMap<ObjectKey, BTreeMap<Arc<Path>, Object>>,
    hasher: RandomState,
}

impl Declarations {
    /// Begins a batch of edits; nothing comes of it before `Edit::finish`.
    pub fn edit(&mut self) -> Edit<'_> {
        Edit { declarations: self, pending: HashMap::new(), undeclared: BTreeSet::new() }
    }

    pub fn conflicts(&self) -> impl Iterator<Item = Conflict> {
        self.shadowed.iter().flat_map(|(key, files)| {
            let counts = self.names.find(key).and_then(|id| self.counts(id)).into_iter();
            counts.flat_map(move |counts| {
                files.keys().map(move |file| Conflict {
                    file: Arc::clone(file),
                    counts: Arc::clone(counts),
                    object: key.clone(),
                })
            })
        })
    }

    /// The file whose declaration counts.
    fn counts(&self, id: NameId) -> Option<&Arc<Path>> {
        self.names.get(id)?.counts.as_ref()
    }
}

/// What a batch does to one object.
#[derive(Debug)]
struct Pending {
    /// Whether it was declared when the batch began.
    was_declared: bool,
    /// `None` if it goes.
    object: Option<Object>,
    file: Arc<Path>,
}

/// A batch of edits of files.
#[derive(Debug)]
pub struct Edit<'a> {
    declarations: &'a mut Declarations,
    pending: HashMap<NameId, Pending>,
    /// Names that some file ceased to declare, and perhaps the last one.
    undeclared: BTreeSet<NameId>,
}

impl Edit<'_> {
    /// The file now declares this and nothing else. What is withheld stays as the file last gave it; what the file never
    /// gave is closed. Returns the withheld objects of which nothing is known and that nothing closes.
    pub fn set_file(&mut self, file: &Arc<Path>, manifest: Manifest) -> Vec<ObjectKey> {
        let before = self.declarations.files.remove(file).unwrap_or_default();
        let named =
            |withheld: Withheld| Some((ObjectKey::named(&withheld.object)?, withheld.closed));
        let withheld: HashMap<ObjectKey, _> =
            manifest.withheld.into_iter().filter_map(named).collect();
        let mut declared = HashSet::with_capacity(manifest.objects.len());
        for object in manifest.objects {
            let key = ObjectKey::of(&object);
            if withheld.contains_key(&key) {
                continue;
            }
            let id = self.declarations.names.enter(key);
            if declared.insert(id) {
                self.declare(id, file, object);
            }
        }
        let mut unknown = Vec::new();
        for (key, closed) in withheld {
            let id = self.declarations.names.find(&key);
            match (id.filter(|id| before.binary_search(id).is_ok()), closed) {
                (Some(given), _) => _ = declared.insert(given),
                (None, Some(closed)) => {
                    let id = self.declarations.names.enter(key);
                    declared.insert(id);
                    self.declare(id, file, Object::Policy(closed));
                }
                (None, None) => unknown.push(key),
            }
        }
        before.iter().filter(|id| !declared.contains(*id)).for_each(|&id| self.retract(id, file));
        let mut declared: Box<[NameId]> = declared.into_iter().collect();
        declared.sort_unstable();
        self.count(&before, &declared);
        self.declarations.files.insert(Arc::clone(file), declared);
        unknown
    }

    /// The file is gone, and what it declared with it.
    pub fn remove_file(&mut self, file: &Arc<Path>) {
        let before = self.declarations.files.remove(file).unwrap_or_default();
        before.iter().for_each(|&id| self.retract(id, file));
        self.count(&before, &[]);
    }

    /// What the batch amounts to, by name: each object at most once, and none that is as it was.
    pub fn finish(self) -> Vec<ObjectChange> {
        let Self { declarations: Declarations { names, hasher, .. }, pending, undeclared } = self;
        let mut changes = Vec::new();
        for (id, Pending { was_declared, object, file }) in pending {
            let Some(name) = names.get_mut(id) else { continue };
            let key = name.key.clone();
            let (change, fate) = match object {
                Some(object) => {
                    let fingerprint = hasher.hash_one(&object);
                    let before = std::mem::replace(&mut name.fingerprint, fingerprint);
                    if was_declared && before == fingerprint {
                        continue;
                    }
                    let fate = if was_declared { Fate::Changed } else { Fate::Added };
                    (Change::from(object), fate)
                }
                None if was_declared => (key.clone().deletion(), Fate::Removed),
                None => continue,
            };
            changes.push(ObjectChange { change, object: key, fate, file });
        }
        changes.sort_unstable_by(|a, b| a.object.cmp(&b.object));
        for id in undeclared {
            if names.get(id).is_some_and(|name| name.files == 0) {
                names.remove(id);
            }
        }
        changes
    }

    /// Counts what a file declares now and not before, and the reverse.
    fn count(&mut self, before: &[NameId], declared: &[NameId]) {
        let names = &mut self.declarations.names;
        for &id in before {
            self.undeclared.insert(id);
            names.get_mut(id).into_iter().for_each(|name| name.files -= 1);
        }
        for &id in declared {
            names.get_mut(id).into_iter().for_each(|name| name.files += 1);
        }
    }

    fn declare(&mut self, id: NameId, file: &Arc<Path>, object: Object) {
        if self.declarations.counts(id).is_some_and(|counts| counts != file) {
            let key = ObjectKey::of(&object);
            let files = self.declarations.shadowed.entry(key).or_default();
            files.insert(Arc::clone(file), object);
            return;
        }
        self.let_count(id, file, object);
    }

    fn retract(&mut self, id: NameId, file: &Arc<Path>) {
        let Declarations { names, shadowed, .. } = &mut *self.declarations;
        let Some(name) = names.get_mut(id) else { return };
        let counts = name.counts.as_ref() == Some(file);
        let heir = if let Entry::Occupied(mut shadows) = shadowed.entry(name.key.clone()) {
            let heir = if counts { shadows.get_mut().pop_first() } else { None };
            shadows.get_mut().remove(file);
            if shadows.get().is_empty() {
                shadows.remove();
            }
            heir
        } else {
            None
        };
        if let Some((heir, object)) = heir {
            self.let_count(id, &heir, object);
        } else if counts {
            name.counts = None;
            let pending = self.pending.entry(id).or_insert_with(|| Pending {
                was_declared: true,
                object: None,
                file: Arc::clone(file),
            });
            pending.object = None;
            pending.file = Arc::clone(file);
        }
    }

    fn let_count(&mut self, id: NameId, file: &Arc<Path>, object: Object) {
        let Some(name) = self.declarations.names.get_mut(id) else { return };
        let was_declared = name.counts.replace(Arc::clone(file)).is_some();
        let pending = self.pending.entry(id).or_insert_with(|| Pending {
            was_declared,
            object: None,
            file: Arc::clone(file),
        });
        pending.object = Some(object);
        pending.file = Arc::clone(file);
    }
}
