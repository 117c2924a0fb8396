//! What is known of one file: the version that was taken over, and whether a newer one may be half of what is meant.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use palisade_compiler::parse::Parsed;

use super::listing::Identity;
use super::problem::Problem;
use super::read::{FileError, Read, Stamp, read_file};
use super::{Limits, REMOVAL_GRACE, Reading, STDIN, Update, WRITING_GRACE};
use crate::sources::{Key, Manifest};

#[derive(Debug, Default)]
pub(super) struct Known {
    /// Of the version that was last read; `None` if reading failed.
    stamp: Option<Stamp>,
    pub(super) problems: Vec<Problem>,
    /// Whether it was ever read whole: nothing of it is withheld that was never known and that nothing closes.
    pub(super) read: bool,
    /// Whether the last attempt failed, so that what stands is of an earlier one.
    stale: bool,
    /// How many objects stand.
    objects: usize,
    /// When a version last came that need not be what is meant: one cannot be read, or declares less than stands.
    doubted: Option<Instant>,
    /// The version that waits for the doubt to pass.
    held: Option<Version>,
    pub(super) missing_since: Option<Instant>,
    /// The directory that it was last seen in.
    home: Option<Identity>,
    /// Whether it is missing because the directory is another one.
    pub(super) strayed: bool,
}

#[derive(Debug)]
struct Version {
    manifest: Manifest,
    problems: Vec<Problem>,
}

impl Version {
    /// How many objects it declares. What is withheld since it is declared twice may have been handed on once.
    fn objects(&self) -> usize {
        let Manifest { objects, withheld } = &self.manifest;
        let withheld: BTreeSet<Key> =
            withheld.iter().filter_map(|w| Key::named(&w.object)).collect();
        let declared = objects
            .iter()
            .filter(|object| withheld.is_empty() || !withheld.contains(&Key::of(object)));
        declared.count() + withheld.len()
    }
}

impl Known {
    pub(super) fn is_stale(&self) -> bool {
        self.stale || self.strayed || self.held.is_some()
    }

    /// Whether to look at it though nothing happened.
    pub(super) fn is_unsettled(&self) -> bool {
        self.stamp.is_none() || self.held.is_some() || self.missing_since.is_some()
    }

    pub(super) fn next_look(&self) -> Option<Instant> {
        let removal = self.missing_since.map(|since| since + REMOVAL_GRACE);
        let version = self.doubted.filter(|_| self.held.is_some());
        removal.into_iter().chain(version.map(|since| since + WRITING_GRACE)).min()
    }

    pub(super) fn seen(&mut self, home: Option<Identity>) {
        self.home = home;
        self.missing_since = None;
        self.strayed = false;
    }

    /// It is not in its directory, which is `now` this one. Returns whether the file is gone for good.
    pub(super) fn missed(&mut self, directory: Option<Identity>, now: Instant) -> bool {
        // Of a directory that is gone itself nothing is missing.
        self.strayed = directory.is_some() && directory != self.home && self.read;
        if directory.is_none() || self.strayed {
            self.missing_since = None;
            return false;
        }
        let since = *self.missing_since.get_or_insert(now);
        now.saturating_duration_since(since) >= REMOVAL_GRACE || !self.read
    }

    /// Reads it if it may have changed, or in any case if `forced`.
    pub(super) fn look(
        &mut self,
        file: &Arc<Path>,
        forced: bool,
        limits: Limits,
        now: Instant,
        each: &mut dyn FnMut(Reading<'_>),
    ) -> Option<Update> {
        let stamp = if file.as_ref() == Path::new(STDIN) { None } else { Stamp::of(file) };
        let same = stamp.is_some() && self.stamp == stamp;
        match self.held.take() {
            Some(version) if same && self.is_doubtful(now) => {
                self.held = Some(version);
                return None;
            }
            Some(version) if same => return Some(self.take_over(file, version)),
            None if same && !forced => return None,
            Some(_) | None => {}
        }
        each(Reading { file, objects: 0 });
        let version = self.read_again(file, stamp, limits, now, each)?;
        let fewer = version.objects() < self.objects;
        if self.read && (fewer || self.is_doubtful(now)) {
            self.doubted = Some(now);
            self.held = Some(version);
            return None;
        }
        Some(self.take_over(file, version))
    }

    fn is_doubtful(&self, now: Instant) -> bool {
        self.doubted.is_some_and(|since| now.saturating_duration_since(since) < WRITING_GRACE)
    }

    fn take_over(&mut self, file: &Arc<Path>, version: Version) -> Update {
        self.doubted = None;
        self.stale = false;
        self.objects = version.objects();
        // Whether anything withheld was never known is the merge's to say (`note_unknown`).
        self.read |= version.manifest.withheld.iter().all(|withheld| withheld.closed.is_some());
        self.problems = version.problems;
        Update::Set(Arc::clone(file), version.manifest)
    }

    /// `None` if what it declares is not known; the problems say why.
    fn read_again(
        &mut self,
        file: &Arc<Path>,
        stamp: Option<Stamp>,
        limits: Limits,
        now: Instant,
        each: &mut dyn FnMut(Reading<'_>),
    ) -> Option<Version> {
        let mut told = |objects| each(Reading { file, objects });
        let Read { stamp, parsed, objects } = match read_file(file, limits, &mut told) {
            Ok(read) => read,
            Err(error) => {
                let empty = matches!(error, FileError::Empty);
                if empty || matches!(error, FileError::Changing) {
                    self.doubted = Some(now);
                }
                self.stamp = stamp.filter(|_| empty);
                self.stale = true;
                self.problems = vec![Problem::File { file: Arc::clone(file), error }];
                return None;
            }
        };
        self.stamp = stamp;
        let Parsed { diagnostics, readable, withheld, .. } = parsed;
        let told = |diagnostic| Problem::Manifest { diagnostic, kept: !readable };
        let problems = diagnostics.into_iter().map(told).collect();
        if readable {
            return Some(Version { manifest: Manifest { objects, withheld }, problems });
        }
        self.doubted = Some(now);
        self.stale = true;
        self.problems = problems;
        None
    }
}
