//! Files as a source of the loop, on a thread of their own: watches, reads, and sends what changed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use palisade_compiler::parse::Severity;
use tokio::sync::oneshot;

use super::declarations::{Declarations, ObjectChange};
use super::files::{Limits, ManifestFiles, Problem, Update};
use super::object::{Manifest, ObjectKey};
use super::watcher::FileWatcher;
use crate::inbox::{Ended, HeldFile, Input, MAX_DESCRIBED, Sender, SourceState};
use crate::progress::{LOG_EVERY, Pace};

/// How often all files are looked at, whatever the events say.
const SCAN_ALL_EVERY: Duration = Duration::from_secs(60);
/// How long nothing is done at least, unless something happens: a deadline that is always past must not take a processor.
const MIN_PAUSE: Duration = Duration::from_millis(10);

/// Why to go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wakeup {
    /// The watcher saw something.
    events: bool,
    /// All files should be read again.
    reread: bool,
    /// The source should end.
    stop: bool,
}

/// Wakes the thread. A wake-up is a flag: however many come, the thread goes on once.
#[derive(Debug, Default)]
struct Control {
    wakeup: Mutex<Wakeup>,
    changed: Condvar,
}

impl Control {
    fn wake(&self, set: impl FnOnce(&mut Wakeup)) {
        set(&mut self.wakeup.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    /// Waits for a reason to go on, or until the deadline.
    fn wait(&self, deadline: Instant) -> Wakeup {
        let mut wakeup = self.wakeup.lock().unwrap_or_else(PoisonError::into_inner);
        while *wakeup == Wakeup::default() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(wakeup, left);
            (wakeup, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::take(&mut wakeup)
    }
}

/// A running source. It ends when this is dropped, after what it reads at that moment, or when the loop ends.
#[derive(Debug)]
pub struct FileSource {
    control: Arc<Control>,
    /// Closed when the thread ends.
    end: oneshot::Receiver<()>,
}

impl FileSource {
    /// Follows the paths from now on.
    ///
    /// # Errors
    ///
    /// That of making a thread.
    pub fn spawn(paths: Vec<PathBuf>, limits: Limits, inbox: Sender) -> io::Result<Self> {
        let control = Arc::new(Control::default());
        let of_thread = Arc::clone(&control);
        let (ended, end) = oneshot::channel::<()>();
        thread::Builder::new().name("files".into()).spawn(move || {
            // Dropped at the end, however it comes.
            let _ended = ended;
            let mut follower = Follower::new(paths, limits, &of_thread);
            loop {
                let wakeup = of_thread.wait(follower.next_turn());
                if wakeup.stop {
                    return;
                }
                let input = follower.turn(wakeup.reread);
                if input.is_some_and(|input| inbox.input(input) == Err(Ended)) {
                    return;
                }
            }
        })?;
        Ok(Self { control, end })
    }

    /// Waits until the thread has ended: by a fault, if neither this was dropped nor the loop ended.
    pub async fn ended(&mut self) {
        // An error says that the other side is gone.
        _ = (&mut self.end).await;
    }

    /// A handle by which to have all files read again.
    pub fn reread_handle(&self) -> RereadHandle {
        RereadHandle(Arc::clone(&self.control))
    }
}

/// Has all files read again, whether or not they seem to have changed.
#[derive(Debug, Clone)]
pub struct RereadHandle(Arc<Control>);

impl RereadHandle {
    pub fn reread(&self) {
        self.0.wake(|wakeup| wakeup.reread = true);
    }
}

impl Drop for FileSource {
    fn drop(&mut self) {
        self.control.wake(|wakeup| wakeup.stop = true);
    }
}

/// What the thread holds.
struct Follower {
    files: ManifestFiles,
    watcher: FileWatcher,
    declarations: Declarations,
    /// What was read before everything was.
    early: BTreeMap<Arc<Path>, Manifest>,
    in_sync: bool,
    /// When the first event came of which nothing has come yet.
    since: Option<Instant>,
    next_scan_of_all: Instant,
    /// As it was last sent.
    sent: Option<(Result<(), String>, Arc<SourceState>)>,
}

impl Follower {
    fn new(paths: Vec<PathBuf>, limits: Limits, control: &Arc<Control>) -> Self {
        let control = Arc::clone(control);
        let wake = move || control.wake(|wakeup| wakeup.events = true);
        Self {
            watcher: FileWatcher::new(paths.iter().cloned(), wake),
            files: ManifestFiles::new(paths, limits),
            declarations: Declarations::default(),
            early: BTreeMap::new(),
            in_sync: false,
            since: None,
            next_scan_of_all: Instant::now(),
            sent: None,
        }
    }

    /// When to go on though nothing happened.
    fn next_turn(&self) -> Instant {
        let next = self.files.next_scan().map_or(self.next_scan_of_all, |at| {
            // What a scan leaves waiting waits for something.
            at.max(Instant::now() + MIN_PAUSE).min(self.next_scan_of_all)
        });
        if self.sent.is_none() { Instant::now() } else { next }
    }

    /// Reads what changed, or everything. `None` if nothing is to be reported.
    fn turn(&mut self, reread: bool) -> Option<Input> {
        let now = Instant::now();
        let all = reread || now >= self.next_scan_of_all;
        if all {
            self.next_scan_of_all = now + SCAN_ALL_EVERY;
        }
        let (mut rescan, since) = self.watcher.take(all);
        rescan.reread = reread;
        self.since = self.since.or(since);
        let (mut pace, began) = (Pace::new(LOG_EVERY), Instant::now());
        let updates = self.files.scan(&rescan, now, &mut |reading| {
            if reading.objects == 0 {
                tracing::debug!(file = %reading.file.display(), "reading");
            }
            if pace.is_due(began, Instant::now()) {
                tracing::info!("still reading {reading}");
            }
        });
        let updates = if self.in_sync { updates } else { self.keep_until_complete(updates) };
        let changes = self.merge(updates);
        if reread {
            let (files, changed) = (self.files.file_count(), changes.len());
            tracing::info!(files, changed, "all files were read again");
        }
        self.input(changes)
    }

    /// Nothing is handed on before all files were read whole once: what is declared is not known until then.
    fn keep_until_complete(&mut self, updates: Vec<Update>) -> Vec<Update> {
        for update in updates {
            match update {
                Update::Set(file, manifest) => _ = self.early.insert(file, manifest),
                Update::Removed(file) => _ = self.early.remove(&file),
            }
        }
        self.in_sync = self.files.is_complete();
        if !self.in_sync {
            return Vec::new();
        }
        let early = std::mem::take(&mut self.early);
        early.into_iter().map(|(file, manifest)| Update::Set(file, manifest)).collect()
    }

    fn merge(&mut self, updates: Vec<Update>) -> Vec<ObjectChange> {
        let mut edit = self.declarations.edit();
        let mut unknown: Vec<(Arc<Path>, Vec<ObjectKey>)> = Vec::new();
        for update in updates {
            match update {
                Update::Set(file, manifest) => {
                    let keys = edit.set_file(&file, manifest);
                    unknown.push((file, keys));
                }
                Update::Removed(file) => edit.remove_file(&file),
            }
        }
        let changes = edit.finish();
        for (file, keys) in unknown {
            self.files.note_unknown(&file, &keys);
        }
        changes
    }

    fn input(&mut self, changes: Vec<ObjectChange>) -> Option<Input> {
        let since = self.since.filter(|_| !changes.is_empty());
        if since.is_some() || self.files.next_scan().is_none() {
            self.since = None;
        }
        let in_sync = if self.in_sync { Ok(()) } else { Err(self.obstacle()) };
        let state = self.state();
        let (in_sync, state) = match self.sent.take() {
            Some((before, known)) if *known == state && before == in_sync => {
                let unchanged = changes.is_empty();
                self.sent = Some((before, Arc::clone(&known)));
                if unchanged {
                    return None;
                }
                (in_sync, known)
            }
            _ => {
                let state = Arc::new(state);
                self.sent = Some((in_sync.clone(), Arc::clone(&state)));
                (in_sync, state)
            }
        };
        let described = changes.iter().take(MAX_DESCRIBED).map(ObjectChange::describe).collect();
        let changes = changes.into_iter().map(|object| object.change).collect();
        Some(Input { changes, described, since, in_sync, state })
    }

    /// Why not all is known yet.
    fn obstacle(&self) -> String {
        let problems = self.files.problems().filter(|p| p.severity() == Severity::Error);
        match problems.map(ToString::to_string).next() {
            Some(first) => format!("not every manifest could be read: {first}"),
            None if self.files.file_count() == 0 => "there is no manifest yet".into(),
            None => match self.files.held(Instant::now()).next() {
                Some(held) => format!("{} {}", held.file.display(), held.reason),
                None => "a manifest is being written".into(),
            },
        }
    }

    fn state(&self) -> SourceState {
        let conflicts = self.declarations.conflicts().map(|conflict| {
            let problem = Problem::Conflict(conflict);
            (problem.severity(), problem.to_string())
        });
        let of_files =
            self.files.problems().map(|problem| (problem.severity(), problem.to_string()));
        let errors = self.watcher.errors().iter();
        let of_watcher = errors.map(|error| (Severity::Warning, error.to_string()));
        let held = self.files.held(Instant::now()).map(|held| HeldFile {
            file: held.file.display().to_string(),
            reason: held.reason.to_string(),
            since: held.since,
        });
        SourceState {
            files: self.files.file_count(),
            held: held.collect(),
            problems: of_files.chain(conflicts).chain(of_watcher).collect(),
            kubernetes: None,
        }
    }
}
