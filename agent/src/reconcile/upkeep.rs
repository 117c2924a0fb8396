//! Work after a commit that no change waits for: done in slices between changes, and at a deadline also if changes never cease.

use std::time::{Duration, Instant};

/// A kind of work. Each slice of it is short, or rare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    /// Judges some of the connections that a commit may have forbidden.
    JudgeConnections,
    /// Forgets what cut connections left behind, where it is no longer needed.
    ReviewRevoked,
    /// Puts right what somebody changed.
    Heal,
    /// Finds the bridges of local pods: an interface may come after its pod's manifest.
    FindBridges,
    /// Deletes from the kernel what no packet can meet any more.
    RemoveUnused,
    /// Merges what the compile need not tell apart any more.
    Tidy,
    /// Tells what lost its match by a change of labels.
    TellLostMatches,
    /// Counts how full the tables are, for the status.
    CountRows,
    /// Looks which policies and rules are not used.
    ReviewUse,
    /// Looks for what is most likely not meant.
    Lint,
    /// Compares the kernel with the program.
    Compare,
}

impl Task {
    const ALL: [Self; 11] = [
        Self::JudgeConnections,
        Self::ReviewRevoked,
        Self::Heal,
        Self::FindBridges,
        Self::RemoveUnused,
        Self::Tidy,
        Self::TellLostMatches,
        Self::CountRows,
        Self::ReviewUse,
        Self::Lint,
        Self::Compare,
    ];

    /// For how long a task that is due waits for a moment in which no change comes.
    const fn patience(self) -> Duration {
        match self {
            Self::JudgeConnections | Self::Heal | Self::FindBridges => Duration::ZERO,
            Self::RemoveUnused | Self::ReviewRevoked | Self::TellLostMatches => {
                Duration::from_secs(1)
            }
            Self::Tidy => Duration::from_secs(5),
            Self::CountRows => Duration::from_secs(10),
            Self::Compare | Self::ReviewUse => Duration::from_secs(30),
            Self::Lint => Duration::from_secs(300),
        }
    }
}

/// When which task is due.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    due: [Option<Instant>; Task::ALL.len()],
}

impl Upkeep {
    fn due(&mut self, task: Task) -> &mut Option<Instant> {
        let [
            judge_connections,
            review_revoked,
            heal,
            find_bridges,
            remove_unused,
            tidy,
            tell_lost_matches,
            count_rows,
            review_use,
            lint,
            compare,
        ] = &mut self.due;
        match task {
            Task::JudgeConnections => judge_connections,
            Task::ReviewRevoked => review_revoked,
            Task::Heal => heal,
            Task::FindBridges => find_bridges,
            Task::RemoveUnused => remove_unused,
            Task::Tidy => tidy,
            Task::TellLostMatches => tell_lost_matches,
            Task::CountRows => count_rows,
            Task::ReviewUse => review_use,
            Task::Lint => lint,
            Task::Compare => compare,
        }
    }

    /// The task is due at that moment, or earlier if it already was.
    pub(super) fn schedule(&mut self, task: Task, at: Instant) {
        let due = self.due(task);
        *due = Some(due.map_or(at, |before| before.min(at)));
    }

    /// The task is due if there is something to do, from the first time on that there is.
    pub(super) fn want(&mut self, task: Task, is_wanted: bool, now: Instant) {
        if is_wanted {
            self.schedule(task, now);
        } else {
            self.done(task);
        }
    }

    /// The task is done or has no object any more.
    pub(super) fn done(&mut self, task: Task) {
        *self.due(task) = None;
    }

    /// The task to do now: one whose patience is at its end, or if nothing else waits one that is due.
    pub(super) fn next(&self, now: Instant, is_idle: bool) -> Option<Task> {
        let due = || Task::ALL.into_iter().zip(self.due);
        let overdue = |(task, at): &(Task, Option<Instant>)| {
            at.is_some_and(|at| now.saturating_duration_since(at) >= task.patience() && now >= at)
        };
        let is_due = |(_, at): &(Task, Option<Instant>)| is_idle && at.is_some_and(|at| now >= at);
        due().find(overdue).or_else(|| due().find(is_due)).map(|(task, _)| task)
    }

    /// When there is something to do if nothing else happens.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.due.into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_waits_for_an_idle_moment_but_not_for_ever() {
        let (start, mut upkeep) = (Instant::now(), Upkeep::default());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!((upkeep.next(start, true), upkeep.next_at()), (None, None));
        upkeep.want(Task::RemoveUnused, true, start);
        assert_eq!(upkeep.next(start, true), Some(Task::RemoveUnused));
        // A change every 5 ms, each of which leaves something to remove.
        let mut done = Vec::new();
        for millis in (0..5000).step_by(5) {
            upkeep.want(Task::RemoveUnused, true, at(millis));
            if let Some(task) = upkeep.next(at(millis), false) {
                done.push((task, millis));
                upkeep.done(task);
            }
        }
        let every: Vec<_> =
            [1000, 2005, 3010, 4015].map(|millis| (Task::RemoveUnused, millis)).into();
        assert_eq!(done, every);
        upkeep.want(Task::RemoveUnused, false, at(6000));
        assert_eq!(upkeep.next(at(60_000), true), None);
    }

    #[test]
    fn what_is_due_later_is_not_done_now() {
        let (start, mut upkeep) = (Instant::now(), Upkeep::default());
        let later = start + Duration::from_secs(60);
        upkeep.schedule(Task::Compare, later);
        upkeep.schedule(Task::FindBridges, later);
        assert_eq!((upkeep.next(start, true), upkeep.next_at()), (None, Some(later)));
        assert_eq!(upkeep.next(later, false), Some(Task::FindBridges));
        upkeep.done(Task::FindBridges);
        assert_eq!(upkeep.next(later, false), None);
        assert_eq!(upkeep.next(later, true), Some(Task::Compare));
    }
}
