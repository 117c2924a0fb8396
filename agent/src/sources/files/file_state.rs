//! What is known of one file: the version that counts, and whether a newer one may be half written.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_compiler::parse::Parsed;

use super::directory::DirectoryIdentity;
use super::problem::Problem;
use super::read::{FileError, Read, Stamp, read_file};
use super::{
    HoldReason, Limits, MAX_HOLD, MAX_WRITER_HOLD, QUIET_PERIOD, REMOVAL_DELAY, Reading, STDIN,
    Update,
};
use crate::sources::object::{Manifest, ObjectKey};

/// How a file came to be looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Arrival {
    /// It is read whatever its stamp says.
    pub(super) forced: bool,
    /// Somebody has it open for writing.
    pub(super) writing: bool,
    /// Somebody wrote to it in place.
    pub(super) written: bool,
    /// It came whole.
    pub(super) whole: bool,
}

#[derive(Debug, Default)]
pub(super) struct FileState {
    /// Of the version that was last read; `None` if it must be read again.
    stamp: Option<Stamp>,
    /// Of the version that was last tried.
    tried: Option<Stamp>,
    pub(super) problems: Vec<Problem>,
    /// Whether it was ever read whole: nothing of it is withheld that was never known and that nothing closes.
    pub(super) read: bool,
    /// How many objects the version that counts declares.
    objects: usize,
    /// Whether the present contents are not those that count.
    hold: Option<Hold>,
    writer: Option<Writer>,
    /// Whether somebody wrote to it in place since it was last read.
    written: bool,
    missing_since: Option<Instant>,
    /// The directory that it was last seen in.
    directory: Option<DirectoryIdentity>,
    strayed_since: Option<Instant>,
    /// Whether it is missing because the directory is another one.
    pub(super) strayed: bool,
}

/// Somebody has the file open for writing.
#[derive(Debug)]
struct Writer {
    since: Instant,
    /// When the file was last seen to change, and what it was then.
    changed: Instant,
    stamp: Option<Stamp>,
    /// Whether it did anything but grow meanwhile.
    rewritten: bool,
}

/// The present contents do not count.
#[derive(Debug)]
struct Hold {
    /// For how long they, or those before, have not counted.
    since: Instant,
    /// When the file began to change without a pause of `QUIET_PERIOD`, when it last changed, and what it was then.
    changing_since: Instant,
    changed: Instant,
    stamp: Option<Stamp>,
    /// Whether it did anything but grow since `changing_since`: then the version before was whole.
    rewritten: bool,
    /// The version that waits; `None` if the contents cannot be read.
    version: Option<(Version, HoldReason)>,
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
        let withheld: BTreeSet<ObjectKey> =
            withheld.iter().filter_map(|w| ObjectKey::named(&w.object)).collect();
        let declared = objects
            .iter()
            .filter(|object| withheld.is_empty() || !withheld.contains(&ObjectKey::of(object)));
        declared.count() + withheld.len()
    }
}

/// Whether a file only grew between two stamps.
fn has_grown(before: Option<Stamp>, after: Option<Stamp>) -> bool {
    before.zip(after).is_some_and(|(before, after)| after.is_growth_of(&before))
}

fn elapsed(since: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(since)
}

impl Writer {
    fn new(stamp: Option<Stamp>, now: Instant) -> Self {
        Self { since: now, changed: now, stamp, rewritten: false }
    }

    /// When the file may be read though it is open.
    fn readable_at(&self) -> Instant {
        let quiet = self.changed + QUIET_PERIOD;
        if self.rewritten { quiet.min(self.since + MAX_HOLD) } else { quiet }
    }
}

impl Hold {
    /// When the version that waits counts, if the file does not change.
    fn ends_at(&self, has_writer: bool) -> Instant {
        let (quiet, longest) = match has_writer {
            true => (MAX_WRITER_HOLD, MAX_WRITER_HOLD),
            false => (QUIET_PERIOD, MAX_HOLD),
        };
        let quiet = self.changed + quiet;
        if self.rewritten { quiet.min(self.changing_since + longest) } else { quiet }
    }
}

impl FileState {
    /// Whether to look at it though nothing happened.
    pub(super) fn is_waiting(&self) -> bool {
        self.stamp.is_none()
            || self.hold.as_ref().is_some_and(|hold| hold.version.is_some())
            || self.writer.is_some()
            || self.missing_since.is_some()
    }

    pub(super) fn next_scan(&self) -> Option<Instant> {
        let removal = self.missing_since.map(|since| since + REMOVAL_DELAY);
        let unread = self.writer.as_ref().filter(|writer| writer.stamp != self.tried);
        let written = unread.map(Writer::readable_at);
        let held = self.hold.as_ref().filter(|hold| hold.version.is_some());
        let counts = held.map(|hold| hold.ends_at(self.writer.is_some()));
        [removal, written, counts].into_iter().flatten().min()
    }

    /// Why the present contents do not count, and since when.
    pub(super) fn held(&self, now: Instant) -> Option<(HoldReason, Instant)> {
        let strayed = self.strayed_since.map(|since| (HoldReason::DirectoryReplaced, since));
        let unread = self.writer.as_ref().filter(|writer| writer.stamp != self.tried);
        let written = unread.filter(|writer| elapsed(writer.since, now) >= QUIET_PERIOD);
        let written = written.map(|writer| (HoldReason::BeingWritten, writer.since));
        let hold = self.hold.as_ref().map(|hold| match &hold.version {
            Some((_, reason)) => (*reason, hold.since),
            None => (HoldReason::Unreadable, hold.since),
        });
        strayed.or(written).or(hold)
    }

    pub(super) fn note_found(&mut self, directory: Option<DirectoryIdentity>) {
        self.directory = directory;
        self.missing_since = None;
        self.strayed = false;
        self.strayed_since = None;
    }

    /// It is not in its directory, which is `now` this one. Returns whether the file is gone for good.
    pub(super) fn note_missing(
        &mut self,
        directory: Option<DirectoryIdentity>,
        now: Instant,
    ) -> bool {
        self.writer = None;
        // Of a directory that is gone itself nothing is missing.
        self.strayed = directory.is_some() && directory != self.directory && self.read;
        if self.strayed {
            self.strayed_since.get_or_insert(now);
        }
        if directory.is_none() || self.strayed {
            self.missing_since = None;
            return false;
        }
        let since = *self.missing_since.get_or_insert(now);
        elapsed(since, now) >= REMOVAL_DELAY || !self.read
    }

    /// Reads the file if it may have changed and nobody writes to it.
    pub(super) fn scan(
        &mut self,
        file: &Arc<Path>,
        arrival: Arrival,
        limits: &Limits,
        now: Instant,
        each: &mut dyn FnMut(Reading<'_>),
    ) -> Option<Update> {
        let stamp = if file.as_ref() == Path::new(STDIN) { None } else { Stamp::of(file) };
        self.written = !arrival.whole && (self.written || arrival.written || arrival.writing);
        self.note_writer(arrival.writing, stamp, now);
        if self.writer.as_ref().is_some_and(|writer| now < writer.readable_at()) {
            return None;
        }
        let same = stamp.is_some() && self.stamp == stamp;
        let is_whole = arrival.whole || (!self.written && self.leads_elsewhere(file, stamp));
        if same && self.hold.as_ref().is_some_and(|hold| hold.version.is_some()) {
            return self.end_hold(file, is_whole, now);
        }
        if same && !arrival.forced {
            return None;
        }
        self.tried = stamp;
        self.written = false;
        each(Reading { file, objects: 0 });
        let Some(version) = self.read_version(file, stamp, limits, each) else {
            self.hold(stamp, None, now);
            return None;
        };
        match self.doubt(&version, now) {
            Some(reason) if self.read && !is_whole => {
                self.hold(stamp, Some((version, reason)), now);
                self.end_hold(file, false, now)
            }
            Some(_) | None => Some(self.take_over(file, version)),
        }
    }

    fn note_writer(&mut self, is_writing: bool, stamp: Option<Stamp>, now: Instant) {
        match &mut self.writer {
            writer if !is_writing => *writer = None,
            None => self.writer = Some(Writer::new(stamp, now)),
            Some(writer) if writer.stamp != stamp => {
                writer.rewritten |= !has_grown(writer.stamp, stamp);
                (writer.stamp, writer.changed) = (stamp, now);
            }
            Some(_) => {}
        }
    }

    /// Whether the path is a link to another file than before: links are set to files that are written already.
    fn leads_elsewhere(&self, file: &Path, stamp: Option<Stamp>) -> bool {
        let is_other = self.tried.zip(stamp).is_some_and(|(old, new)| !new.is_same_file_as(&old));
        is_other && file.is_symlink()
    }

    /// Why a version may be half of what is meant.
    fn doubt(&self, version: &Version, now: Instant) -> Option<HoldReason> {
        let (objects, before) = (version.objects(), self.objects);
        if objects < before {
            return Some(HoldReason::Fewer { objects, before });
        }
        let recent = |hold: &Hold| elapsed(hold.changed, now) < QUIET_PERIOD;
        self.hold.as_ref().is_some_and(recent).then_some(HoldReason::SoonAfterHeld)
    }

    /// The contents as they are at this stamp do not count, or not yet.
    fn hold(&mut self, stamp: Option<Stamp>, version: Option<(Version, HoldReason)>, now: Instant) {
        self.hold = Some(match self.hold.take() {
            Some(hold) if hold.stamp == stamp => Hold { version, ..hold },
            Some(hold) if elapsed(hold.changed, now) < QUIET_PERIOD => {
                let rewritten = hold.rewritten || !has_grown(hold.stamp, stamp);
                Hold { changed: now, stamp, rewritten, version, ..hold }
            }
            before => Hold {
                since: before.map_or(now, |hold| hold.since),
                changing_since: now,
                changed: now,
                stamp,
                rewritten: false,
                version,
            },
        });
    }

    /// Takes the version that waits over, if it waited long enough or came whole.
    fn end_hold(&mut self, file: &Arc<Path>, is_whole: bool, now: Instant) -> Option<Update> {
        let has_writer = self.writer.is_some();
        let hold = self.hold.take_if(|hold| is_whole || now >= hold.ends_at(has_writer))?;
        let (version, _) = hold.version?;
        Some(self.take_over(file, version))
    }

    fn take_over(&mut self, file: &Arc<Path>, version: Version) -> Update {
        self.hold = None;
        self.objects = version.objects();
        // Whether anything withheld was never known is the merge's to say (`note_unknown`).
        self.read |= version.manifest.withheld.iter().all(|withheld| withheld.closed.is_some());
        self.problems = version.problems;
        Update::Set(Arc::clone(file), version.manifest)
    }

    /// `None` if what it declares is not known; the problems say why.
    fn read_version(
        &mut self,
        file: &Arc<Path>,
        stamp: Option<Stamp>,
        limits: &Limits,
        each: &mut dyn FnMut(Reading<'_>),
    ) -> Option<Version> {
        let mut observe = |objects| each(Reading { file, objects });
        let Read { stamp, parsed, objects } = match read_file(file, limits, &mut observe) {
            Ok(read) => read,
            Err(error) => {
                // It need not be read again as long as it is empty.
                self.stamp = stamp.filter(|_| matches!(error, FileError::Empty));
                self.problems = vec![Problem::File { file: Arc::clone(file), error }];
                return None;
            }
        };
        self.stamp = stamp;
        let Parsed { diagnostics, readable, withheld, cut_short, .. } = parsed;
        // Half a policy may allow more than the whole, however long the file stays like that.
        let is_whole = readable && cut_short.is_none();
        let problem = |diagnostic| Problem::Manifest { diagnostic, kept: !is_whole };
        let problems = diagnostics.into_iter().map(problem).collect();
        if is_whole {
            return Some(Version { manifest: Manifest { objects, withheld }, problems });
        }
        self.problems = problems;
        None
    }
}
