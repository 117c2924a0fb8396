//! Paths -> manifests: reads what is new, and remembers what could not be read.
//!
//! A scan reads only what changed. The clock is an argument, for two waits: a file that is missing from a directory counts as
//! removed only when it is still missing `REMOVAL_GRACE` later, because editors save by moving the old file away before they
//! write the new one, and a policy that is gone for a moment is a pod that is open for a moment. For the same reason a file that
//! declares less than before, as one does that is written piece by piece, is believed only `WRITING_GRACE` later.
//!
//! A directory that is another one than before (unmounted, made anew) removes nothing: what is not in it was not taken out of it.

mod known;
mod listing;
mod problem;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Key, Manifest};
use known::Known;
pub(in crate::sources) use listing::{Identity, is_manifest};
use listing::{is_there, list};
pub use problem::Problem;
pub use read::{FileError, Stamp};

/// The largest file that is read, in bytes (`--max-file-size`). The output of `kubectl get pods -A -o yaml` for 2,000 pods.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// How long a file must be missing from a watched directory before what it declared is taken back.
pub const REMOVAL_GRACE: Duration = Duration::from_millis(50);

/// How long a file must be left alone before it is believed that it declares less than it did, or something else than the
/// unreadable version before. A script that appends line by line writes again within milliseconds.
pub const WRITING_GRACE: Duration = Duration::from_secs(1);

/// The standard input's name as a path.
pub const STDIN: &str = "-";

/// What a scan found about a file.
#[derive(Debug)]
pub enum Update {
    Set(Arc<Path>, Manifest),
    Removed(Arc<Path>),
}

/// Which paths to look at again.
#[derive(Debug, Clone, Default)]
pub struct Suspects {
    /// Read these whatever their stamps say.
    pub paths: BTreeSet<PathBuf>,
    /// List every directory and compare every stamp.
    pub all: bool,
    /// Somebody is writing to these: they are left alone until they are closed.
    pub busy: BTreeSet<PathBuf>,
}

impl Suspects {
    pub fn everything() -> Self {
        Self { all: true, ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.all
    }
}

/// What a scan is at: so many objects of the file are read.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    pub file: &'a Path,
    pub objects: usize,
}

impl fmt::Display for Reading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.display().fmt(f)?;
        if self.objects == 0 { Ok(()) } else { write!(f, ", {} objects", self.objects) }
    }
}

/// What may be read.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of one file.
    pub bytes: u64,
    /// Whether pipes are read: by one-shot commands only, since they end once and cannot be read again.
    pub pipes: bool,
}

/// A path given on the command line.
#[derive(Debug, Default)]
struct Given {
    /// Once it was seen to be one, a path that is not there is a directory that vanished.
    directory: Option<bool>,
    /// Of a directory: which it was when it was last listed.
    listed: Option<Identity>,
    /// Whether there ever was a manifest behind it.
    gave: bool,
    problem: Option<Problem>,
    /// Of a directory: what is not read.
    skipped: Option<Problem>,
}

/// The files behind the paths given on the command line.
#[derive(Debug)]
pub struct Disk {
    given: BTreeMap<PathBuf, Given>,
    limits: Limits,
    files: BTreeMap<Arc<Path>, Known>,
}

type Files = BTreeSet<Arc<Path>>;

impl Disk {
    /// Duplicates among the paths count once. Nothing is read before the first scan.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>, limits: Limits) -> Self {
        let mut seen = BTreeSet::new();
        let given = paths
            .into_iter()
            .filter(|path| seen.insert(std::path::absolute(path).unwrap_or_else(|_| path.clone())))
            .map(|path| (path, Given::default()))
            .collect();
        Self { given, limits, files: BTreeMap::new() }
    }

    pub fn given(&self) -> impl Iterator<Item = &Path> {
        self.given.keys().map(PathBuf::as_path)
    }

    /// Whether every path given, and every file behind them, was read whole at least once, and there is one. Before that,
    /// what is declared is not known and nothing must be enforced by it: a directory without any manifest may be one that
    /// is not mounted yet.
    pub fn is_complete(&self) -> bool {
        !self.files.is_empty()
            && self.given.iter().all(|(path, given)| match given.directory {
                Some(true) => given.listed.is_some(),
                Some(false) => self.files.contains_key(path.as_path()),
                None => false,
            })
            && self.files.values().all(|known| known.read)
    }

    /// Whether some path given has no manifest behind it, and never had.
    pub fn lacks_manifests(&self) -> bool {
        self.given.values().any(|given| given.listed.is_some() && !given.gave)
    }

    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        let given = self.given.values().flat_map(|g| g.problem.iter().chain(&g.skipped));
        given.chain(self.files.values().flat_map(|known| &known.problems))
    }

    /// Files of which an earlier version stands.
    pub fn stale(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.files.iter().filter(|(_, known)| known.is_stale()).map(|(file, _)| file)
    }

    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// When a scan may find something though nothing happened: that a file is gone for good, or is meant as it is.
    pub fn next_look(&self) -> Option<Instant> {
        self.files.values().filter_map(Known::next_look).min()
    }

    /// Reads what changed among the suspects. `each` hears of every file before it is read, and of every object in it.
    pub fn scan(
        &mut self,
        suspects: &Suspects,
        now: Instant,
        each: &mut dyn FnMut(Reading<'_>),
    ) -> Vec<Update> {
        let (mut updates, mut gone) = (Vec::new(), Vec::new());
        for file in self.candidates(suspects) {
            let Some(home) = self.home(&file) else {
                gone.extend(self.miss(&file, now));
                continue;
            };
            let known = self.files.entry(Arc::clone(&file)).or_default();
            known.seen(home);
            if !suspects.busy.contains(file.as_ref()) {
                let forced = suspects.paths.contains(file.as_ref());
                updates.extend(known.look(&file, forced, self.limits, now, each));
            }
        }
        updates.extend(gone);
        self.judge_directories();
        updates
    }

    /// The files to look at: the suspects, what waits, and what the paths say that must be looked at.
    fn candidates(&mut self, suspects: &Suspects) -> Files {
        let unsettled = self.files.iter().filter(|(_, known)| known.is_unsettled());
        let mut candidates: Files = unsettled.map(|(file, _)| Arc::clone(file)).collect();
        let mut listed = Vec::new();
        for (path, given) in &mut self.given {
            if suspects.all || given.is_unsure() || suspects.paths.contains(path) {
                listed.extend(
                    given.look(path, &mut candidates).map(|listing| (path.clone(), listing)),
                );
            }
        }
        if !listed.is_empty() {
            let paths: BTreeSet<PathBuf> = self.given.keys().cloned().collect();
            for (path, listing) in listed {
                candidates.extend(files_in(&self.files, &path).map(|(file, _)| Arc::clone(file)));
                if let Some(given) = self.given.get_mut(&path) {
                    given.skipped = listing.skipped(&path, &paths);
                }
            }
        }
        let inside = |path: &&PathBuf| is_manifest(path) && self.directory_of(path).is_some();
        let suspected = suspects.paths.iter().filter(inside);
        candidates.extend(suspected.map(|path| Arc::from(path.as_path())));
        candidates
    }

    /// The directory given that the path is in.
    fn directory_of(&self, path: &Path) -> Option<&Given> {
        self.given.get(path.parent()?).filter(|given| given.directory == Some(true))
    }

    fn is_named(&self, file: &Path) -> bool {
        self.given.get(file).is_some_and(|given| given.directory == Some(false))
    }

    /// Where a file is: `Some(None)` if it is named itself, or its directory; `None` if it is not there.
    fn home(&self, file: &Path) -> Option<Option<Identity>> {
        let is_there = if self.is_named(file) {
            file == Path::new(STDIN) || file.metadata().is_ok()
        } else {
            is_there(file)
        };
        is_there.then(|| self.directory_of(file).and_then(|given| given.listed))
    }

    /// A file that is not there: gone, if its directory is there and the one it was in. One that is named stays.
    fn miss(&mut self, file: &Arc<Path>, now: Instant) -> Option<Update> {
        let named = self.is_named(file);
        let known = self.files.get_mut(file)?;
        let directory = file.parent().filter(|_| !named).and_then(Identity::of);
        if !known.missed(directory, now) {
            return None;
        }
        self.files.remove(file);
        Some(Update::Removed(Arc::clone(file)))
    }

    /// What there is to say of directories that could be listed.
    fn judge_directories(&mut self) {
        for (path, given) in &mut self.given {
            let unlisted =
                matches!(given.problem, Some(Problem::Gone { .. } | Problem::Directory { .. }));
            if given.directory != Some(true) || unlisted {
                continue;
            }
            let mut files = files_in(&self.files, path).peekable();
            let any = files.peek().is_some();
            let mut strayed = files.filter(|(_, known)| known.strayed).map(|(file, _)| file);
            given.gave |= any;
            let path = || path.clone();
            given.problem = match strayed.next() {
                Some(file) => {
                    let (file, count) = (Arc::clone(file), 1 + strayed.count());
                    Some(Problem::Replaced { path: path(), file, count })
                }
                None if any => None,
                None if given.gave => Some(Problem::Emptied { path: path() }),
                None => Some(Problem::Empty { path: path() }),
            };
        }
    }

    /// The withheld objects of a file that nobody knows: it was not read whole.
    pub fn note_unknown(&mut self, file: &Path, unknown: &[Key]) {
        if let Some(known) = self.files.get_mut(file) {
            known.read |= unknown.is_empty();
        }
    }
}

impl Given {
    /// Whether to look at it though nothing happened.
    fn is_unsure(&self) -> bool {
        self.directory.is_none() || self.problem.is_some()
    }

    /// Adds the files behind the path to `files`; returns the listing of a directory.
    fn look(&mut self, path: &Path, files: &mut Files) -> Option<listing::Listing> {
        if path == Path::new(STDIN) {
            self.directory = Some(false);
            files.insert(Arc::from(path));
            return None;
        }
        self.skipped = None;
        let Ok(metadata) = path.metadata() else {
            let directory = self.directory == Some(true);
            self.problem = Some(Problem::Gone { path: path.to_path_buf(), directory });
            return None;
        };
        self.directory = Some(metadata.is_dir());
        if !metadata.is_dir() {
            self.problem = None;
            files.insert(Arc::from(path));
            return None;
        }
        match list(path) {
            Ok(listing) => {
                self.listed = Some(Identity::from(&metadata));
                self.problem = None;
                files.extend(listing.files.iter().cloned());
                Some(listing)
            }
            Err(error) => {
                self.problem = Some(Problem::Directory { path: path.to_path_buf(), error });
                None
            }
        }
    }
}

/// The files that lie in the directory itself.
fn files_in<'a>(
    files: &'a BTreeMap<Arc<Path>, Known>,
    directory: &'a Path,
) -> impl Iterator<Item = (&'a Arc<Path>, &'a Known)> {
    let from = (Bound::Included(directory), Bound::Unbounded);
    let below = files.range::<Path, _>(from).take_while(move |(f, _)| f.starts_with(directory));
    below.filter(move |(file, _)| file.parent() == Some(directory))
}
