//! Files -> changes, as soon as all of them were read once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use palisade_compiler::parse::Severity;
use palisade_compiler::snapshot::Change;

use crate::progress::{LOG_EVERY, Pace};
use crate::sources::disk::{Disk, Limits, Problem, Update};
use crate::sources::watch::Watch;
use crate::sources::{Held, Key, Manifest, Sources};

/// The manifests that an agent follows.
pub(super) struct Inputs {
    disk: Disk,
    watch: Watch,
    sources: Sources,
    /// What was read before everything was.
    waiting: BTreeMap<Arc<Path>, Manifest>,
    complete: bool,
    /// When the first event came of which nothing has come yet.
    since: Option<Instant>,
}

/// What a look at the files gave.
pub(super) struct Look {
    pub(super) changes: Vec<Change>,
    /// When the first event came that the changes are of.
    pub(super) since: Option<Instant>,
}

impl Inputs {
    pub(super) fn new(
        paths: Vec<PathBuf>,
        max_file_bytes: u64,
        wake: impl Fn() + Send + 'static,
    ) -> Self {
        let limits = Limits { bytes: max_file_bytes, pipes: false };
        Self {
            watch: Watch::new(paths.iter().cloned(), wake),
            disk: Disk::new(paths, limits),
            sources: Sources::default(),
            waiting: BTreeMap::new(),
            complete: false,
            since: None,
        }
    }

    /// Reads what changed; `everything` trusts no event. No change comes of it before all files were read whole once:
    /// what is declared is not known until then.
    pub(super) fn look(&mut self, everything: bool, held: &dyn Held) -> Look {
        let (suspects, since) = self.watch.take(everything);
        self.since = self.since.or(since);
        let (mut pace, began) = (Pace::new(LOG_EVERY), Instant::now());
        let updates = self.disk.scan(&suspects, began, &mut |reading| {
            if reading.objects == 0 {
                tracing::debug!(file = %reading.file.display(), "reading");
            }
            if pace.is_due(began, Instant::now()) {
                tracing::info!("still reading {reading}");
            }
        });
        let updates = if self.complete { updates } else { self.wait_for_all(updates) };
        let mut edit = self.sources.edit(held);
        let mut unknown: Vec<(Arc<Path>, Vec<Key>)> = Vec::new();
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
            self.disk.note_unknown(&file, &keys);
        }
        let since = self.since.filter(|_| !changes.is_empty());
        if since.is_some() || self.disk.next_look().is_none() {
            self.since = None;
        }
        Look { changes, since }
    }

    fn wait_for_all(&mut self, updates: Vec<Update>) -> Vec<Update> {
        for update in updates {
            match update {
                Update::Set(file, manifest) => _ = self.waiting.insert(file, manifest),
                Update::Removed(file) => _ = self.waiting.remove(&file),
            }
        }
        self.complete = self.disk.is_complete();
        if !self.complete {
            return Vec::new();
        }
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().map(|(file, manifest)| Update::Set(file, manifest)).collect()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// When to look again though nothing happened.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.disk.next_look()
    }

    pub(super) fn file_count(&self) -> usize {
        self.disk.file_count()
    }

    pub(super) fn stale_files(&self) -> Vec<String> {
        self.disk.stale().map(|file| file.display().to_string()).collect()
    }

    /// Why not all is known yet.
    pub(super) fn obstacle(&self) -> String {
        let problems = self.disk.problems().filter(|p| p.severity() == Severity::Error);
        match problems.map(ToString::to_string).next() {
            Some(first) => format!("not every manifest could be read: {first}"),
            None if self.disk.file_count() == 0 => "there is no manifest yet".into(),
            None => "a manifest is being written".into(),
        }
    }

    /// Everything that is wrong with the sources, as lines.
    pub(super) fn problems(&self) -> impl Iterator<Item = (Severity, String)> {
        let conflicts = self.sources.conflicts().map(|conflict| {
            let problem = Problem::Conflict(conflict);
            (problem.severity(), problem.to_string())
        });
        let told = self.disk.problems().map(|problem| (problem.severity(), problem.to_string()));
        let watch = self.watch.errors().iter().map(|e| (Severity::Warning, e.to_string()));
        told.chain(conflicts).chain(watch)
    }
}
