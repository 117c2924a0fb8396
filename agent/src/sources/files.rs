//! Paths -> manifests: reads what is new, and remembers what could not be read.
//!
//! A scan reads only what changed. The clock is an argument, because some versions of a file are not taken over at once:
//!
//! - A file that came whole (it was renamed into place, or is reached by a link that now leads elsewhere) is taken over at once.
//! - A file that is missing from a directory counts as removed when it is still missing `REMOVAL_DELAY` later: editors save by
//!   moving the old file away before they write the new one, and a policy that is gone for a moment is a pod that is open for
//!   a moment.
//! - A file that somebody has open for writing is read once it has not changed for `QUIET_PERIOD`.
//! - A file that declares fewer objects than before, or follows on a version that could not be read, may be half written: half
//!   a policy may allow more than the whole. It is *held*: taken over once it has not changed for `QUIET_PERIOD`. If it is
//!   written from its beginning again and again, it is held for `MAX_HOLD` at most; if its writer keeps it open, for
//!   `MAX_WRITER_HOLD` at most.
//!
//! Whatever is held is reported (`ManifestFiles::held`).
//!
//! A directory that is another one than before (unmounted, made anew) removes nothing: what is not in it was not taken out
//! of it.

mod directory;
mod file_state;
mod problem;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::object::{Manifest, ObjectKey};
pub(in crate::sources) use directory::{DirectoryIdentity, is_manifest};
use directory::{is_there, list};
use file_state::{Arrival, FileState};
pub use problem::Problem;
pub use read::{FileError, Stamp};

/// The largest file that is read, in bytes (`--max-file-size`). The output of `kubectl get pods -A -o yaml` for 2,000 pods.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// How long a file must be missing from a watched directory before what it declared is deleted.
pub const REMOVAL_DELAY: Duration = Duration::from_millis(50);

/// How long a file must be left alone before it counts as written to its end. A script that appends line by line writes again
/// within milliseconds.
pub const QUIET_PERIOD: Duration = Duration::from_secs(1);

/// How long a version is held at most, if the file is written from its beginning again and again.
pub const MAX_HOLD: Duration = Duration::from_secs(5);

/// How long a version is held at most, after it last changed, if its writer keeps the file open.
pub const MAX_WRITER_HOLD: Duration = Duration::from_secs(30);

/// The standard input's name as a path.
pub const STDIN: &str = "-";

/// What a scan found about a file.
#[derive(Debug)]
pub enum Update {
    Set(Arc<Path>, Manifest),
    Removed(Arc<Path>),
}

/// Which paths to look at again, and what events said of them.
#[derive(Debug, Clone, Default)]
pub struct Rescan {
    /// Read these whatever their stamps say.
    pub paths: BTreeSet<PathBuf>,
    /// List every directory and compare every stamp.
    pub all: bool,
    /// With `all`: read every file whatever its stamp says.
    pub reread: bool,
    /// Somebody has these open for writing.
    pub writing: BTreeSet<PathBuf>,
    /// Somebody wrote to these in place, also if they are closed again.
    pub written: BTreeSet<PathBuf>,
    /// These came whole, and nobody wrote to them since.
    pub arrived: BTreeSet<PathBuf>,
}

impl Rescan {
    pub fn everything() -> Self {
        Self { all: true, ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.all
    }

    fn arrival(&self, file: &Path) -> Arrival {
        Arrival {
            forced: self.reread || self.paths.contains(file),
            writing: self.writing.contains(file),
            written: self.written.contains(file),
            whole: self.arrived.contains(file),
        }
    }
}

/// How far a scan is: so many objects of the file are read.
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
#[derive(Debug, Clone)]
pub struct Limits {
    /// Of one file.
    pub bytes: u64,
    /// Whether pipes are read: by one-shot commands only, since they end once and cannot be read again.
    pub pipes: bool,
    /// The namespace of objects that name none, if somebody gave it.
    pub namespace: Option<Arc<str>>,
}

/// A file whose present contents are not taken over, but what it held before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub file: Arc<Path>,
    pub reason: HoldReason,
    pub since: Instant,
}

/// Why a file is held. Displayed as a predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldReason {
    /// Somebody has it open, and it keeps changing.
    BeingWritten,
    Fewer {
        objects: usize,
        before: usize,
    },
    SoonAfterHeld,
    Unreadable,
    /// Its directory is another one now, and it is not in that.
    DirectoryReplaced,
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quiet = QUIET_PERIOD.as_secs();
        match self {
            Self::BeingWritten => {
                write!(f, "is being written; it is read when it has not changed for {quiet} s")
            }
            Self::Fewer { objects, before } => write!(
                f,
                "declares {objects} objects where it declared {before}, as a file does that is half written; it counts when it has \
                 not changed for {quiet} s"
            ),
            Self::SoonAfterHeld => write!(
                f,
                "was not whole a moment ago; it counts when it has not changed for {quiet} s"
            ),
            Self::Unreadable => f.write_str("cannot be read; the problems say why"),
            Self::DirectoryReplaced => {
                f.write_str("is not in the directory that took the place of its own")
            }
        }
    }
}

/// A path given on the command line.
#[derive(Debug, Default)]
struct GivenPath {
    /// Once it was seen to be one, a path that is not there is a directory that vanished.
    directory: Option<bool>,
    /// Of a directory: which it was when it was last listed.
    listed: Option<DirectoryIdentity>,
    /// Whether there ever was a manifest behind it.
    had_manifest: bool,
    problem: Option<Problem>,
    /// Of a directory: what is not read.
    skipped: Option<Problem>,
}

/// The files behind the paths given on the command line.
#[derive(Debug)]
pub struct ManifestFiles {
    given: BTreeMap<PathBuf, GivenPath>,
    limits: Limits,
    files: BTreeMap<Arc<Path>, FileState>,
}

type Paths = BTreeSet<Arc<Path>>;

impl ManifestFiles {
    /// Duplicates among the paths count once. Nothing is read before the first scan.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>, limits: Limits) -> Self {
        let mut seen = BTreeSet::new();
        let given = paths
            .into_iter()
            .filter(|path| seen.insert(std::path::absolute(path).unwrap_or_else(|_| path.clone())))
            .map(|path| (path, GivenPath::default()))
            .collect();
        Self { given, limits, files: BTreeMap::new() }
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
            && self.files.values().all(|state| state.read)
    }

    /// Whether some path given has no manifest behind it, and never had.
    pub fn lacks_manifests(&self) -> bool {
        self.given.values().any(|given| given.listed.is_some() && !given.had_manifest)
    }

    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        let given = self.given.values().flat_map(|g| g.problem.iter().chain(&g.skipped));
        given.chain(self.files.values().flat_map(|state| &state.problems))
    }

    /// Files whose present contents are not taken over. One that somebody has open for writing is among them when it has been
    /// for `QUIET_PERIOD`.
    pub fn held(&self, now: Instant) -> impl Iterator<Item = Held> {
        self.files.iter().filter_map(move |(file, state)| {
            let (reason, since) = state.held(now)?;
            Some(Held { file: Arc::clone(file), reason, since })
        })
    }

    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// When a scan may find something though nothing happened: that a file is gone for good, or was left alone.
    pub fn next_scan(&self) -> Option<Instant> {
        self.files.values().filter_map(FileState::next_scan).min()
    }

    /// Reads what changed among what the rescan names. `each` is called for every file before it is read, and for every object
    /// in it.
    pub fn scan(
        &mut self,
        rescan: &Rescan,
        now: Instant,
        each: &mut dyn FnMut(Reading<'_>),
    ) -> Vec<Update> {
        let (mut updates, mut gone) = (Vec::new(), Vec::new());
        for file in self.candidates(rescan) {
            let Some(directory) = self.directory_of_existing(&file) else {
                gone.extend(self.note_missing(&file, now));
                continue;
            };
            let state = self.files.entry(Arc::clone(&file)).or_default();
            state.note_found(directory);
            let arrival = rescan.arrival(&file);
            updates.extend(state.scan(&file, arrival, &self.limits, now, each));
        }
        updates.extend(gone);
        self.judge_directories();
        updates
    }

    /// The files to look at: those named, those that wait for something, and what the paths given say must be looked at.
    fn candidates(&mut self, rescan: &Rescan) -> Paths {
        let waiting = self.files.iter().filter(|(_, state)| state.is_waiting());
        let mut candidates: Paths = waiting.map(|(file, _)| Arc::clone(file)).collect();
        let mut listed = Vec::new();
        for (path, given) in &mut self.given {
            if rescan.all || given.is_unsure() || rescan.paths.contains(path) {
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
        let inside = |path: &&PathBuf| is_manifest(path) && self.given_directory_of(path).is_some();
        let named = rescan.paths.iter().chain(&rescan.writing).filter(inside);
        candidates.extend(named.map(|path| Arc::from(path.as_path())));
        let known = rescan.writing.iter().filter(|path| self.files.contains_key(path.as_path()));
        candidates.extend(known.map(|path| Arc::from(path.as_path())));
        candidates
    }

    /// The directory given that the path is in.
    fn given_directory_of(&self, path: &Path) -> Option<&GivenPath> {
        self.given.get(path.parent()?).filter(|given| given.directory == Some(true))
    }

    fn is_named(&self, file: &Path) -> bool {
        self.given.get(file).is_some_and(|given| given.directory == Some(false))
    }

    /// The directory that a file is in, `Some(None)` if the file is given itself; `None` if it is not there.
    fn directory_of_existing(&self, file: &Path) -> Option<Option<DirectoryIdentity>> {
        let is_there = if self.is_named(file) {
            file == Path::new(STDIN) || file.metadata().is_ok()
        } else {
            is_there(file)
        };
        is_there.then(|| self.given_directory_of(file).and_then(|given| given.listed))
    }

    /// A file that is not there: gone, if its directory is there and the one it was in. One that is given itself stays.
    fn note_missing(&mut self, file: &Arc<Path>, now: Instant) -> Option<Update> {
        let named = self.is_named(file);
        let state = self.files.get_mut(file)?;
        let directory = file.parent().filter(|_| !named).and_then(DirectoryIdentity::of);
        if !state.note_missing(directory, now) {
            return None;
        }
        self.files.remove(file);
        Some(Update::Removed(Arc::clone(file)))
    }

    /// Finds what is wrong with directories that could be listed.
    fn judge_directories(&mut self) {
        for (path, given) in &mut self.given {
            let unlisted =
                matches!(given.problem, Some(Problem::Gone { .. } | Problem::Directory { .. }));
            if given.directory != Some(true) || unlisted {
                continue;
            }
            let mut files = files_in(&self.files, path).peekable();
            let any = files.peek().is_some();
            let mut strayed = files.filter(|(_, state)| state.strayed).map(|(file, _)| file);
            given.had_manifest |= any;
            let path = || path.clone();
            given.problem = match strayed.next() {
                Some(file) => {
                    let (file, count) = (Arc::clone(file), 1 + strayed.count());
                    Some(Problem::Replaced { path: path(), file, count })
                }
                None if any => None,
                None if given.had_manifest => Some(Problem::Emptied { path: path() }),
                None => Some(Problem::Empty { path: path() }),
            };
        }
    }

    /// The withheld objects of a file of which nothing is known: the file was not read whole.
    pub fn note_unknown(&mut self, file: &Path, unknown: &[ObjectKey]) {
        if let Some(state) = self.files.get_mut(file) {
            state.read |= unknown.is_empty();
        }
    }
}

impl GivenPath {
    /// Whether to look at it though nothing happened.
    fn is_unsure(&self) -> bool {
        self.directory.is_none() || self.problem.is_some()
    }

    /// Adds the files behind the path to `files`; returns the listing of a directory.
    fn look(&mut self, path: &Path, files: &mut Paths) -> Option<directory::Listing> {
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
                self.listed = Some(DirectoryIdentity::from(&metadata));
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
    files: &'a BTreeMap<Arc<Path>, FileState>,
    directory: &'a Path,
) -> impl Iterator<Item = (&'a Arc<Path>, &'a FileState)> {
    let from = (Bound::Included(directory), Bound::Unbounded);
    let below = files.range::<Path, _>(from).take_while(move |(f, _)| f.starts_with(directory));
    below.filter(move |(file, _)| file.parent() == Some(directory))
}
