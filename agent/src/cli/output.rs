//! Standard output and error: formats, colours, and the progress of long work.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;

use super::Failure;
use crate::progress::{LOG_EVERY, Pace};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// Writes a line to standard output. Who reads it may stop reading (`| head`), which is no failure of ours.
pub(crate) fn say(line: impl Display) -> Result<(), Failure> {
    match writeln!(io::stdout().lock(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Io { what: "standard output".into(), error })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(crate) fn say_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::Io { what: "standard output".into(), error: error.into() })?;
    say(text)
}

/// Writes a line to standard error; there is nobody to tell if that fails.
pub(crate) fn note(line: impl Display) {
    _ = writeln!(io::stderr().lock(), "{line}");
}

pub(crate) fn complain(failure: &Failure) {
    note(format_args!("palisade: {failure}"));
}

/// Whether standard output takes colours: a terminal, and nobody said no (`NO_COLOR`).
pub(crate) fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Text in a style of the terminal (`31` is red, `1` bold; ECMA-48, SGR) where there are colours.
pub(crate) fn styled(text: impl Display, style: &str, colours: bool) -> String {
    if colours { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_string() }
}

const REDRAW: Duration = Duration::from_millis(100);

/// How far long work is, on standard error: one line that is drawn again on a terminal, a line now and again elsewhere, and
/// nothing for short work.
pub(crate) struct Progress {
    what: &'static str,
    pace: Pace,
    terminal: bool,
}

impl Progress {
    pub(crate) fn new(what: &'static str) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { what, pace: Pace::new(if terminal { REDRAW } else { LOG_EVERY }), terminal }
    }

    /// `since` is when the work began.
    pub(crate) fn at(&mut self, since: Instant, how_far: impl Display) {
        if !self.pace.is_due(since, Instant::now()) {
            return;
        }
        // There is nobody to tell if that fails.
        _ = if self.terminal {
            write!(io::stderr().lock(), "\r\x1b[K{}: {how_far}", self.what)
        } else {
            writeln!(io::stderr().lock(), "{}: {how_far}", self.what)
        };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal && self.pace.has_reported() {
            _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

/// Whether a character could drive a terminal, turn the direction of writing or hide.
pub(crate) fn is_unsafe(c: char) -> bool {
    let is_invisible = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    c.is_control() || is_invisible
}
