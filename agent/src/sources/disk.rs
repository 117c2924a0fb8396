//! Paths -> manifests: reads what is new, and remembers what could not be read.
//!
//! A scan reads only what changed. The clock is an argument: a file that is missing from a directory counts as removed
//! only when it is still missing `REMOVAL_GRACE` later, because editors save by moving the old file away before they write the
//! new one, and a policy that is gone for a moment is a pod that is open for a moment.

mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_compiler::parse::{Diagnostic, Parsed, Severity};

use super::{Key, Manifest};
pub use read::{FileError, Read, Stamp, read_file};

/// The largest file that is read, in bytes (`--max-file-size`). The output of `kubectl get pods -A -o yaml` for 2,000 pods.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// How long a file must be missing from a watched directory before what it declared is taken back.
pub const REMOVAL_GRACE: Duration = Duration::from_millis(50);

/// The standard input's name as a path.
pub const STDIN: &str = "-";

/// Names of files that are read in a directory. Those that begin with a dot are editors' own.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Something that a human should know about the sources.
#[derive(Debug)]
pub enum Problem {
    /// The manifest has this to say; if `kept`, none of it was taken over and what the file last gave stays.
    Manifest {
        diagnostic: Diagnostic,
        kept: bool,
    },
    /// The file cannot be read; what it last gave stays.
    File {
        file: Arc<Path>,
        error: FileError,
    },
    /// A named file or a directory is not there; what it last gave stays.
    Gone {
        path: PathBuf,
        directory: bool,
    },
    /// The directory cannot be listed; what its files last gave stays.
    Directory {
        path: PathBuf,
        error: io::Error,
    },
    /// The directory never had a manifest.
    Empty {
        path: PathBuf,
    },
    /// What is inside these directories of a directory is not read.
    Skipped {
        path: PathBuf,
        directories: Vec<String>,
    },
    Conflict(super::Conflict),
}

impl Problem {
    pub fn severity(&self) -> Severity {
        match self {
            Self::Manifest { diagnostic, .. } => diagnostic.severity,
            Self::File { .. } | Self::Gone { .. } | Self::Directory { .. } | Self::Conflict(_) => {
                Severity::Error
            }
            Self::Empty { .. } | Self::Skipped { .. } => Severity::Warning,
        }
    }

    /// Whether the input could not be read at all (exit status 2), rather than read and found wrong (1).
    pub fn is_unreadable_input(&self) -> bool {
        match self {
            Self::File { .. } | Self::Gone { .. } | Self::Directory { .. } => true,
            Self::Manifest { .. }
            | Self::Empty { .. }
            | Self::Skipped { .. }
            | Self::Conflict(_) => false,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest { diagnostic, .. } => diagnostic.fmt(f),
            Self::File { file, error } => write!(f, "{}: error: {error}", file.display()),
            Self::Gone { path, directory } => {
                let what = if *directory { "directory" } else { "file" };
                write!(
                    f,
                    "{}: error: there is no such {what}; create it, or correct the path given by -f",
                    path.display()
                )
            }
            Self::Directory { path, error } => write!(
                f,
                "{}: error: the directory cannot be listed ({error}); make it readable",
                path.display()
            ),
            Self::Empty { path } => write!(
                f,
                "{}: warning: there is no manifest in this directory ({}); correct the path given by -f, or put one there",
                path.display(),
                EXTENSIONS.map(|extension| format!("*.{extension}")).join(", ")
            ),
            Self::Skipped { path, directories } => write!(
                f,
                "{}: warning: directories inside a directory are not read ({}); give each to -f if it counts",
                path.display(),
                directories.join(", ")
            ),
            Self::Conflict(conflict) => write!(
                f,
                "{}: error: {}: it is declared in {} too, which stands (the first to come, and of those at once the first path); \
                 remove one of the two",
                conflict.file.display(),
                conflict.object,
                conflict.stands.display()
            ),
        }
    }
}

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

#[derive(Debug)]
struct Given {
    path: PathBuf,
    /// Once it was seen to be one, a path that is not there is a directory that vanished.
    directory: Option<bool>,
    /// Whether it was ever listed, if it is a directory.
    listed: bool,
    /// Whether there ever was a manifest behind it.
    gave: bool,
    problem: Option<Problem>,
    /// Of a directory: what is not read.
    skipped: Option<Problem>,
}

/// What may be read.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of one file.
    pub bytes: u64,
    /// Whether pipes are read: by one-shot commands only, since they end once and cannot be read again.
    pub pipes: bool,
}

#[derive(Debug, Default)]
struct Known {
    stamp: Option<Stamp>,
    problems: Vec<Problem>,
    /// Whether it was ever read whole: nothing of it is withheld that was never known and that nothing closes.
    read: bool,
    /// Whether the last attempt failed, so that what stands is of an earlier one.
    stale: bool,
    missing_since: Option<Instant>,
}

/// The files behind the paths given on the command line.
#[derive(Debug)]
pub struct Disk {
    given: Vec<Given>,
    limits: Limits,
    files: BTreeMap<Arc<Path>, Known>,
}

impl Disk {
    /// Duplicates among the paths count once. Nothing is read before the first scan.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>, limits: Limits) -> Self {
        let mut seen = BTreeSet::new();
        let given = paths
            .into_iter()
            .filter(|path| seen.insert(std::path::absolute(path).unwrap_or_else(|_| path.clone())))
            .map(|path| Given {
                path,
                directory: None,
                listed: false,
                gave: false,
                problem: None,
                skipped: None,
            })
            .collect();
        Self { given, limits, files: BTreeMap::new() }
    }

    pub fn given(&self) -> impl Iterator<Item = &Path> {
        self.given.iter().map(|given| given.path.as_path())
    }

    /// Whether every path given, and every file behind them, was read whole at least once, and there is one. Before that,
    /// what is declared is not known and nothing must be enforced by it: a directory without any manifest may be one that
    /// is not mounted yet.
    pub fn is_complete(&self) -> bool {
        !self.files.is_empty()
            && self.given.iter().all(|given| match given.directory {
                Some(true) => given.listed,
                Some(false) => self.files.contains_key(given.path.as_path()),
                None => false,
            })
            && self.files.values().all(|known| known.read)
    }

    /// Whether some path given has no manifest behind it, and never had.
    pub fn lacks_manifests(&self) -> bool {
        self.given.iter().any(|given| given.listed && !given.gave)
    }

    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        let given = self.given.iter().flat_map(|g| g.problem.iter().chain(&g.skipped));
        given.chain(self.files.values().flat_map(|known| &known.problems))
    }

    /// Files of which an earlier version stands.
    pub fn stale(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.files.iter().filter(|(_, known)| known.stale).map(|(file, _)| file)
    }

    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// When a scan may find that a file is gone for good.
    pub fn next_look(&self) -> Option<Instant> {
        let missing = self.files.values().filter_map(|known| known.missing_since).min()?;
        Some(missing + REMOVAL_GRACE)
    }

    /// Reads what changed among the suspects. `each` hears of every file before it is read, and of every object in it.
    pub fn scan(
        &mut self,
        suspects: &Suspects,
        now: Instant,
        each: &mut dyn FnMut(Reading<'_>),
    ) -> Vec<Update> {
        let mut updates = Vec::new();
        let mut present = BTreeSet::new();
        let mut owned = BTreeSet::new();
        for index in 0..self.given.len() {
            self.look(index, &mut present, &mut owned);
        }
        for file in &present {
            let forced = suspects.paths.contains(file.as_ref());
            let known = self.files.entry(Arc::clone(file)).or_default();
            known.missing_since = None;
            if suspects.busy.contains(file.as_ref()) {
                continue;
            }
            let stamp = if file.as_ref() == Path::new(STDIN) { None } else { Stamp::of(file) };
            if !forced && known.stamp.is_some() && known.stamp == stamp {
                continue;
            }
            each(Reading { file, objects: 0 });
            if let Some(update) = known.read_again(file, self.limits, each) {
                updates.push(update);
            }
        }
        self.remove_missing(&present, &owned, now, &mut updates);
        updates
    }

    /// Adds the files behind a path to `present`, and those that would be missed were they not there to `owned`.
    fn look(
        &mut self,
        index: usize,
        present: &mut BTreeSet<Arc<Path>>,
        owned: &mut BTreeSet<Arc<Path>>,
    ) {
        let paths: BTreeSet<PathBuf> = self.given.iter().map(|given| given.path.clone()).collect();
        let Some(given) = self.given.get_mut(index) else { return };
        if given.path == Path::new(STDIN) {
            given.directory = Some(false);
            present.insert(Arc::from(given.path.as_path()));
            return;
        }
        given.skipped = None;
        let Ok(metadata) = given.path.metadata() else {
            let directory = given.directory == Some(true);
            given.problem = Some(Problem::Gone { path: given.path.clone(), directory });
            return;
        };
        given.directory = Some(metadata.is_dir());
        if !metadata.is_dir() {
            given.problem = None;
            present.insert(Arc::from(given.path.as_path()));
            return;
        }
        match list(&given.path) {
            Ok(Listing { files, directories }) => {
                given.listed = true;
                given.gave |= !files.is_empty();
                let path = || given.path.clone();
                given.problem = (!given.gave).then(|| Problem::Empty { path: path() });
                given.skipped = skipped(&given.path, directories, &paths);
                let known = self.files.keys().filter(|f| f.parent() == Some(&given.path));
                owned.extend(known.cloned());
                present.extend(files);
            }
            Err(error) => {
                given.problem = Some(Problem::Directory { path: given.path.clone(), error });
            }
        }
    }

    /// Files that their directory no longer has are gone; others (of a directory that is gone, or named) stay as they were.
    fn remove_missing(
        &mut self,
        present: &BTreeSet<Arc<Path>>,
        owned: &BTreeSet<Arc<Path>>,
        now: Instant,
        updates: &mut Vec<Update>,
    ) {
        // Of a directory that is gone itself nothing is missing.
        let unseen = self.files.iter_mut().filter(|(file, _)| !owned.contains(*file));
        unseen.for_each(|(_, known)| known.missing_since = None);
        let named: BTreeSet<&Path> = self
            .given
            .iter()
            .filter(|given| given.directory == Some(false))
            .map(|given| given.path.as_path())
            .collect();
        let missing = owned.iter().filter(|f| !present.contains(*f) && !named.contains(f.as_ref()));
        for file in missing {
            let Some(known) = self.files.get_mut(file) else { continue };
            let since = *known.missing_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= REMOVAL_GRACE || !known.read {
                self.files.remove(file);
                updates.push(Update::Removed(Arc::clone(file)));
            }
        }
    }

    /// The withheld objects of a file that nobody knows: it was not read whole.
    pub fn note_unknown(&mut self, file: &Path, unknown: &[Key]) {
        if let Some(known) = self.files.get_mut(file) {
            known.read |= unknown.is_empty();
        }
    }
}

impl Known {
    fn read_again(
        &mut self,
        file: &Arc<Path>,
        limits: Limits,
        each: &mut dyn FnMut(Reading<'_>),
    ) -> Option<Update> {
        let mut told = |objects| each(Reading { file, objects });
        let (stamp, parsed, objects) = match read_file(file, limits, &mut told) {
            Ok(Read { stamp, parsed, objects }) => (stamp, parsed, objects),
            Err(error) => {
                self.stamp = None;
                self.stale = true;
                self.problems = vec![Problem::File { file: Arc::clone(file), error }];
                return None;
            }
        };
        self.stamp = stamp;
        self.stale = !parsed.readable;
        let Parsed { diagnostics, readable, withheld, .. } = parsed;
        let kept = !readable;
        self.problems = diagnostics
            .into_iter()
            .map(|diagnostic| Problem::Manifest { diagnostic, kept })
            .collect();
        readable.then(|| {
            // Whether anything withheld was never known is the merge's to say (`note_unknown`).
            self.read |= withheld.iter().all(|withheld| withheld.closed.is_some());
            Update::Set(Arc::clone(file), Manifest { objects, withheld })
        })
    }
}

struct Listing {
    /// The manifests of a directory, not of those inside it.
    files: Vec<Arc<Path>>,
    /// The names of those inside it that are not hidden.
    directories: Vec<String>,
}

fn list(directory: &Path) -> io::Result<Listing> {
    let mut listing = Listing { files: Vec::new(), directories: Vec::new() };
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let Some(name) = path.file_name().filter(|n| !n.as_encoded_bytes().starts_with(b"."))
        else {
            continue;
        };
        // A link that leads nowhere is a file that cannot be read, and is reported as one.
        let metadata = path.metadata().ok();
        if metadata.as_ref().is_some_and(std::fs::Metadata::is_dir) {
            listing.directories.push(name.to_string_lossy().into_owned());
            continue;
        }
        if is_manifest(&path) && metadata.is_none_or(|metadata| metadata.is_file()) {
            listing.files.push(Arc::from(path));
        }
    }
    Ok(listing)
}

/// Whether a file of a directory is read, by its name.
pub(super) fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    !hidden && EXTENSIONS.contains(&extension)
}

/// Directories inside one that are named, of those that are not read; the rest is counted.
const MAX_SKIPPED: usize = 5;

fn skipped(path: &Path, directories: Vec<String>, given: &BTreeSet<PathBuf>) -> Option<Problem> {
    let mut unread: Vec<String> =
        directories.into_iter().filter(|name| !given.contains(&path.join(name))).collect();
    unread.sort_unstable();
    if let Some(more) = unread.len().checked_sub(MAX_SKIPPED).filter(|&more| more > 0) {
        unread.truncate(MAX_SKIPPED);
        unread.push(format!("and {more} more"));
    }
    let path = path.to_path_buf();
    (!unread.is_empty()).then_some(Problem::Skipped { path, directories: unread })
}
