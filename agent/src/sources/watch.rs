//! Events of the file system -> which paths to look at again.
//!
//! Directories are watched, never files: editors save by renaming, and a watch would follow the old file. Nothing waits
//! here: what happens while the reader is busy gathers in one set of bounded size.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use thiserror::Error;

use super::disk::{Identity, Stamp, Suspects, is_manifest};

/// Paths that wait to be looked at; more of them are a reason to look at everything.
pub const MAX_SUSPECTS: usize = 4096;

#[derive(Debug, Error)]
pub enum WatchError {
    #[error("files cannot be watched ({0}); changes are found by a look every minute")]
    Start(notify::Error),
    #[error(
        "{path} cannot be watched ({error}); changes in it are found by a look every minute; if the limit is reached, raise \
         the sysctl fs.inotify.max_user_watches"
    )]
    Directory { path: PathBuf, error: notify::Error },
}

/// What gathered since the last `take`.
#[derive(Debug, Default)]
struct Gathered {
    suspects: Suspects,
    /// When the first of it came.
    since: Option<Instant>,
    /// Whether a link came, which leads to a directory that may not be watched yet.
    links: bool,
}

/// The paths given, as the kernel names them and as the user does.
#[derive(Debug, Default)]
struct Targets {
    /// Absolute -> as given. A symbolic link's target stands beside it, also one of a link inside a directory given.
    files: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    directories: BTreeMap<PathBuf, PathBuf>,
}

/// Watches the directories that paths lie in.
pub struct Watch {
    watcher: Option<RecommendedWatcher>,
    gathered: Arc<Mutex<Gathered>>,
    targets: Arc<Mutex<Targets>>,
    given: Vec<PathBuf>,
    /// What each watched directory was when the watch was set: a directory that is made anew needs a new watch.
    watched: Identities,
    /// What the files that somebody writes were at the last `forget_busy`.
    written: BTreeMap<PathBuf, Option<Stamp>>,
    errors: Vec<WatchError>,
}

impl Watch {
    /// Calls `wake` when there is something to `take`; from a thread of its own, and perhaps more often than once.
    pub fn new(given: impl IntoIterator<Item = PathBuf>, wake: impl Fn() + Send + 'static) -> Self {
        let gathered = Arc::new(Mutex::new(Gathered::default()));
        let targets = Arc::new(Mutex::new(Targets::default()));
        let (to, of) = (Arc::clone(&gathered), Arc::clone(&targets));
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let targets = of.lock().unwrap_or_else(PoisonError::into_inner);
            let mut gathered = to.lock().unwrap_or_else(PoisonError::into_inner);
            if gathered.note(event, &targets) {
                gathered.since.get_or_insert_with(Instant::now);
                wake();
            }
        });
        let (watcher, errors) = match watcher {
            Ok(watcher) => (Some(watcher), Vec::new()),
            Err(error) => (None, vec![WatchError::Start(error)]),
        };
        let given = given.into_iter().collect();
        let (watched, written) = (BTreeMap::new(), BTreeMap::new());
        Self { watcher, gathered, targets, given, watched, written, errors }
    }

    /// What gathered since the last time, and when the first of it came: to be scanned now. What is busy stays noted until it is
    /// closed. `everything` trusts no event. Nor is one trusted to come when a directory is unmounted or mounted over.
    pub fn take(&mut self, everything: bool) -> (Suspects, Option<Instant>) {
        if everything {
            self.forget_busy();
        }
        let replaced = self.watched.iter().any(|(path, was)| Identity::of(path) != Some(*was));
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.suspects.all |= everything || replaced;
        let suspects = gathered.suspects.clone();
        gathered.suspects.paths.clear();
        gathered.suspects.all = false;
        let since = gathered.since.take();
        let unwatched = std::mem::take(&mut gathered.links) || suspects.all;
        drop(gathered);
        if unwatched {
            self.arm();
        }
        (suspects, since)
    }

    /// Sees to it that the directories that exist now are watched, so that nothing happens unseen after the scan that follows.
    fn arm(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let (targets, wanted) = targets_of(&self.given);
        *self.targets.lock().unwrap_or_else(PoisonError::into_inner) = targets;
        self.errors.clear();
        let stale: Vec<PathBuf> = self
            .watched
            .iter()
            .filter(|(path, identity)| wanted.get(*path) != Some(identity))
            .map(|(path, _)| path.clone())
            .collect();
        for path in stale {
            self.watched.remove(&path);
            // The kernel has already dropped the watch of a directory that is gone.
            _ = watcher.unwatch(&path);
        }
        for (path, identity) in wanted {
            if self.watched.contains_key(&path) {
                continue;
            }
            match watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => _ = self.watched.insert(path, identity),
                Err(error) => self.errors.push(WatchError::Directory { path, error }),
            }
        }
    }

    /// Forgets who wrote nothing since the last call: for a look at everything that must not trust events. Who writes
    /// slowly is still writing, and what is there of it is not what is meant.
    fn forget_busy(&mut self) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = gathered.suspects.busy.iter().map(|file| (file.clone(), Stamp::of(file)));
        let stamps: BTreeMap<_, _> = stamps.collect();
        gathered.suspects.busy.retain(|file| self.written.get(file) != stamps.get(file));
        self.written = stamps;
    }

    pub fn errors(&self) -> &[WatchError] {
        &self.errors
    }
}

type Identities = BTreeMap<PathBuf, Identity>;

fn targets_of(given: &[PathBuf]) -> (Targets, Identities) {
    let (mut targets, mut wanted) = (Targets::default(), Identities::new());
    for path in given {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        want_nearest(absolute.parent(), &mut wanted);
        if absolute.is_dir() {
            want_nearest(Some(&absolute), &mut wanted);
            for (link, target) in links_in(&absolute) {
                want_nearest(target.parent(), &mut wanted);
                let name = path.join(link);
                targets.files.entry(target).or_default().insert(name);
            }
        }
        if let Ok(target) = absolute.canonicalize()
            && target != absolute
        {
            want_nearest(target.parent(), &mut wanted);
            if !target.is_dir() {
                targets.files.entry(target).or_default().insert(path.clone());
            }
        }
        // A path that is not there yet may become either.
        targets.files.entry(absolute.clone()).or_default().insert(path.clone());
        targets.directories.insert(absolute, path.clone());
    }
    (targets, wanted)
}

/// The manifests of a directory that are symbolic links to files: their names, and where they lead.
fn links_in(directory: &Path) -> Vec<(OsString, PathBuf)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    let led = links.filter(|link| is_manifest(&link.path())).filter_map(|link| {
        let target = link.path().canonicalize().ok().filter(|target| !target.is_dir())?;
        Some((link.file_name(), target))
    });
    led.collect()
}

/// The directory, or the nearest one above it that exists.
fn want_nearest(directory: Option<&Path>, wanted: &mut Identities) {
    let existing = directory
        .into_iter()
        .flat_map(Path::ancestors)
        .find_map(|directory| Some((directory.to_path_buf(), Identity::of(directory)?)));
    wanted.extend(existing);
}

impl Targets {
    /// What the user calls the path; nothing if it is neither a path given, nor inside a directory given, nor led to.
    fn names(&self, path: &Path) -> BTreeSet<PathBuf> {
        let mut names = self.files.get(path).cloned().unwrap_or_default();
        let inside = path.parent().and_then(|parent| self.directories.get(parent));
        if let Some((directory, name)) = inside.zip(path.file_name()) {
            names.insert(directory.join(name));
        }
        names
    }

    fn is_above_one(&self, path: &Path) -> bool {
        self.files.keys().any(|file| file.starts_with(path))
    }
}

impl Gathered {
    /// Whether there is something new to look at.
    fn note(&mut self, event: notify::Result<Event>, targets: &Targets) -> bool {
        let event = match event {
            Ok(event) if !event.need_rescan() => event,
            Ok(_) | Err(_) => {
                self.suspects.all = true;
                return true;
            }
        };
        let mut news = false;
        for path in &event.paths {
            news |= self.note_path(event.kind, path, targets);
        }
        news
    }

    fn note_path(&mut self, kind: EventKind, path: &Path, targets: &Targets) -> bool {
        let names = targets.names(path);
        if names.is_empty() {
            let moved =
                !matches!(kind, EventKind::Access(_) | EventKind::Modify(ModifyKind::Data(_)));
            let above = moved && targets.is_above_one(path);
            self.suspects.all |= above;
            return above;
        }
        let mut news = false;
        for name in names {
            news |= self.note_name(kind, path, name, targets);
        }
        news
    }

    fn note_name(
        &mut self,
        kind: EventKind,
        path: &Path,
        name: PathBuf,
        targets: &Targets,
    ) -> bool {
        match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                self.suspects.busy.remove(&name);
            }
            EventKind::Access(_) => return false,
            EventKind::Create(CreateKind::File) if !is_link(path) => {
                self.suspects.busy.insert(name);
                return false;
            }
            EventKind::Modify(ModifyKind::Data(_)) => {
                self.suspects.busy.insert(name);
                return false;
            }
            EventKind::Modify(ModifyKind::Metadata(_)) => {}
            EventKind::Create(_)
            | EventKind::Modify(ModifyKind::Any | ModifyKind::Name(_) | ModifyKind::Other)
            | EventKind::Remove(_)
            | EventKind::Any
            | EventKind::Other => {
                self.suspects.busy.remove(&name);
                let is_link = is_link(path);
                self.links |= is_link;
                // A link that files are reached by (`..data` of a ConfigMap), or a path given that is or was a directory.
                let leads = is_link && !is_manifest(&name);
                self.suspects.all |= leads || (targets.is_above_one(path) && !path.is_file());
            }
        }
        if self.suspects.paths.len() >= MAX_SUSPECTS {
            self.suspects.all = true;
        } else {
            self.suspects.paths.insert(name);
        }
        true
    }
}

/// Made complete, not opened and written: no close will follow.
fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink() || metadata.nlink() > 1)
}
