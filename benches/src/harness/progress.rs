//! Shows progress on standard error, and checks whether the user wants the run to end.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use thiserror::Error;

/// The user asked to stop. Finished cells are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("interrupted: finished cells are kept, the same command continues from there")]
pub struct Interrupted;

/// Shows each step, and returns an error from the next step after the user asked to stop.
pub struct Progress<'a> {
    stop: &'a AtomicBool,
    began: Instant,
    /// The beginning of the line: the number of the cell among all of them, and its name.
    cell: String,
    remaining: Option<Duration>,
    shown: Option<Instant>,
    terminal: bool,
    quiet: bool,
}

/// The least time between two updates of the line.
const UPDATE_INTERVAL: Duration = Duration::from_millis(100);

impl<'a> Progress<'a> {
    pub fn new(stop: &'a AtomicBool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let began = Instant::now();
        Self {
            stop,
            began,
            cell: String::new(),
            remaining: None,
            shown: None,
            terminal,
            quiet: false,
        }
    }

    /// Prints nothing.
    #[must_use]
    pub fn quiet(self) -> Self {
        Self { quiet: true, ..self }
    }

    pub fn cell(&mut self, cell: String, remaining: Option<Duration>) {
        (self.cell, self.remaining) = (cell, remaining);
        self.shown = None;
        if !self.terminal {
            self.print(&format!("{} {}", self.cell, self.times()));
        }
    }

    /// Prints a line that stays on the screen.
    pub fn print(&mut self, text: &str) {
        if self.quiet {
            return;
        }
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        // If progress cannot be printed, the run continues.
        _ = writeln!(std::io::stderr(), "{clear}{text}");
    }

    /// Begins a step.
    ///
    /// # Errors
    /// `Interrupted` if the user asked to stop.
    pub fn step(&mut self, what: impl FnOnce() -> String) -> Result<(), Interrupted> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Interrupted);
        }
        let due = self.shown.is_none_or(|shown| shown.elapsed() > UPDATE_INTERVAL);
        if self.terminal && !self.quiet && due {
            self.shown = Some(Instant::now());
            let line = format!("{} {}  {}", self.cell, self.times(), what());
            let line: String = line.chars().take(150).collect();
            _ = write!(std::io::stderr(), "\r\x1b[K{line}");
            _ = std::io::stderr().flush();
        }
        Ok(())
    }

    fn times(&self) -> String {
        let left =
            self.remaining.map_or_else(String::new, |left| format!(", some {} left", clock(left)));
        format!("({} gone{left})", clock(self.began.elapsed()))
    }
}

/// For example `1:02:03` or `2:03`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_after_the_end_was_asked_for_is_refused() {
        let stop = AtomicBool::new(false);
        let mut progress = Progress::new(&stop).quiet();
        assert_eq!(progress.step(String::new), Ok(()));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(progress.step(String::new), Err(Interrupted));
        assert_eq!(
            [clock(Duration::from_secs(59)), clock(Duration::from_secs(3723))],
            ["0:59", "1:02:03"]
        );
    }
}
