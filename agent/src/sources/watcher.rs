//! Events of the file system -> which paths to look at again.
//!
//! Directories are watched, never files: editors save by renaming, and a watch would follow the old file. Nothing waits
//! here: what happens while the reader is busy gathers in sets of bounded size.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use thiserror::Error;

use super::files::{DirectoryIdentity, Rescan, Stamp, is_manifest};

/// Paths that wait to be looked at; more of them are a reason to look at everything.
pub const MAX_PATHS: usize = 4096;

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
    rescan: Rescan,
    /// When the first event came that something can be read for.
    since: Option<Instant>,
    /// Whether a link came, which leads to a directory that may not be watched yet.
    links: bool,
}

/// What an event is a reason for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Nothing,
    /// To look later: somebody began to write.
    Later,
    /// To look now.
    Now,
}

/// The paths given, as the kernel names them and as the user does.
#[derive(Debug, Default)]
struct Targets {
    /// Absolute -> as given. Also the targets of symbolic links, and of those inside a directory given.
    files: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    directories: BTreeMap<PathBuf, PathBuf>,
}

/// Watches the directories that paths lie in.
pub struct FileWatcher {
    watcher: Option<RecommendedWatcher>,
    gathered: Arc<Mutex<Gathered>>,
    targets: Arc<Mutex<Targets>>,
    given: Vec<PathBuf>,
    /// What each watched directory was when the watch was set: a directory that is made anew needs a new watch.
    watched: Identities,
    /// What the files that somebody has open for writing were at the last `forget_idle_writers`.
    last_seen: BTreeMap<PathBuf, Option<Stamp>>,
    errors: Vec<WatchError>,
}

impl FileWatcher {
    /// Calls `wake` when there is something to `take`; from a thread of its own, and perhaps more often than once.
    pub fn new(given: impl IntoIterator<Item = PathBuf>, wake: impl Fn() + Send + 'static) -> Self {
        let gathered = Arc::new(Mutex::new(Gathered::default()));
        let targets = Arc::new(Mutex::new(Targets::default()));
        let (to, of) = (Arc::clone(&gathered), Arc::clone(&targets));
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let targets = of.lock().unwrap_or_else(PoisonError::into_inner);
            let mut gathered = to.lock().unwrap_or_else(PoisonError::into_inner);
            let urgency = gathered.note(event, &targets);
            if urgency == Urgency::Now {
                gathered.since.get_or_insert_with(Instant::now);
            }
            if urgency > Urgency::Nothing {
                wake();
            }
        });
        let (watcher, errors) = match watcher {
            Ok(watcher) => (Some(watcher), Vec::new()),
            Err(error) => (None, vec![WatchError::Start(error)]),
        };
        let given = given.into_iter().collect();
        let (watched, last_seen) = (BTreeMap::new(), BTreeMap::new());
        Self { watcher, gathered, targets, given, watched, last_seen, errors }
    }

    /// What gathered since the last time, and when the first of it came: to be scanned now. A file that somebody has open for
    /// writing stays noted until it is closed. `everything` trusts no event. Nor is one trusted to come when a directory is
    /// unmounted or mounted over.
    pub fn take(&mut self, everything: bool) -> (Rescan, Option<Instant>) {
        if everything {
            self.forget_idle_writers();
        }
        let mut watched = self.watched.iter();
        let replaced = watched.any(|(path, was)| DirectoryIdentity::of(path) != Some(*was));
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let writing = gathered.rescan.writing.clone();
        let mut rescan = std::mem::take(&mut gathered.rescan);
        gathered.rescan.writing = writing;
        rescan.all |= everything || replaced;
        let since = gathered.since.take();
        let unwatched = std::mem::take(&mut gathered.links) || rescan.all;
        drop(gathered);
        if unwatched {
            self.watch_directories();
        }
        (rescan, since)
    }

    /// Watches the directories that exist now, so that nothing happens unseen after the scan that follows.
    fn watch_directories(&mut self) {
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

    /// Forgets the writers of files that did not change since the last call: the event of their closing may be lost. Files
    /// that changed are still being written.
    fn forget_idle_writers(&mut self) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let writing = &mut gathered.rescan.writing;
        let stamps: BTreeMap<_, _> =
            writing.iter().map(|file| (file.clone(), Stamp::of(file))).collect();
        writing.retain(|file| self.last_seen.get(file) != stamps.get(file));
        self.last_seen = stamps;
    }

    pub fn errors(&self) -> &[WatchError] {
        &self.errors
    }
}

type Identities = BTreeMap<PathBuf, DirectoryIdentity>;

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
        .find_map(|directory| Some((directory.to_path_buf(), DirectoryIdentity::of(directory)?)));
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
    fn note(&mut self, event: notify::Result<Event>, targets: &Targets) -> Urgency {
        let event = match event {
            Ok(event) if !event.need_rescan() => event,
            Ok(_) | Err(_) => {
                self.rescan.all = true;
                return Urgency::Now;
            }
        };
        let each = event.paths.iter().map(|path| self.note_path(event.kind, path, targets));
        each.max().unwrap_or(Urgency::Nothing)
    }

    fn note_path(&mut self, kind: EventKind, path: &Path, targets: &Targets) -> Urgency {
        let names = targets.names(path);
        if names.is_empty() {
            let moved =
                !matches!(kind, EventKind::Access(_) | EventKind::Modify(ModifyKind::Data(_)));
            let above = moved && targets.is_above_one(path);
            self.rescan.all |= above;
            return if above { Urgency::Now } else { Urgency::Nothing };
        }
        let each = names.into_iter().map(|name| self.note_name(kind, path, name, targets));
        each.max().unwrap_or(Urgency::Nothing)
    }

    fn note_name(
        &mut self,
        kind: EventKind,
        path: &Path,
        name: PathBuf,
        targets: &Targets,
    ) -> Urgency {
        match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                self.rescan.writing.remove(&name);
            }
            EventKind::Access(_) => return Urgency::Nothing,
            EventKind::Create(CreateKind::File) if !is_link(path) => return self.note_write(&name),
            EventKind::Modify(ModifyKind::Data(_)) => return self.note_write(&name),
            EventKind::Modify(ModifyKind::Metadata(_)) => {}
            // There is an event for each of the two names as well.
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return Urgency::Nothing,
            EventKind::Create(_)
            | EventKind::Modify(ModifyKind::Any | ModifyKind::Name(_) | ModifyKind::Other)
            | EventKind::Remove(_)
            | EventKind::Any
            | EventKind::Other => {
                self.rescan.writing.remove(&name);
                let is_link = is_link(path);
                if is_link || kind == EventKind::Modify(ModifyKind::Name(RenameMode::To)) {
                    self.rescan.written.remove(&name);
                    insert_bounded(&mut self.rescan.arrived, &name);
                }
                self.links |= is_link;
                // A link that files are reached by (`..data` of a ConfigMap), or a path given that is or was a directory.
                let leads = is_link && !is_manifest(&name);
                self.rescan.all |= leads || (targets.is_above_one(path) && !path.is_file());
            }
        }
        if self.rescan.paths.len() >= MAX_PATHS {
            self.rescan.all = true;
        } else {
            self.rescan.paths.insert(name);
        }
        Urgency::Now
    }

    /// Somebody writes to the file in place.
    fn note_write(&mut self, name: &Path) -> Urgency {
        self.rescan.arrived.remove(name);
        insert_bounded(&mut self.rescan.written, name);
        let is_new = insert_bounded(&mut self.rescan.writing, name);
        if is_new { Urgency::Later } else { Urgency::Nothing }
    }
}

/// Whether it was made complete, and not opened and written, so that no close follows.
fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink() || metadata.nlink() > 1)
}

/// Enters a path, unless `MAX_PATHS` are there: what is not known of a file makes it wait longer and no more. Returns whether it
/// is new.
fn insert_bounded(paths: &mut BTreeSet<PathBuf>, path: &Path) -> bool {
    paths.len() < MAX_PATHS && !paths.contains(path) && paths.insert(path.to_path_buf())
}
