//! The demo's text on standard output, at most 80 columns wide.

use std::fmt::Display;
use std::io::{self, Write as _};

use textwrap::Options;

use super::DemoError;

const COLUMNS: usize = 80;
const INDENT: &str = "    ";
/// Under the value of a line such as `state       enforcing`, or of an indented one.
const HANGING: &str = "            ";

#[derive(Debug)]
pub(super) struct Output {
    pub(super) colours: bool,
}

impl Output {
    pub(super) fn new(colours: bool) -> Self {
        Self { colours }
    }

    /// A heading: what comes next.
    pub(super) fn step(&self, text: impl Display) -> Result<(), DemoError> {
        self.blank()?;
        self.wrapped(&text.to_string(), "==> ", INDENT)
    }

    /// A paragraph below a heading.
    pub(super) fn text(&self, text: impl Display) -> Result<(), DemoError> {
        self.wrapped(&text.to_string(), INDENT, INDENT)
    }

    /// Lines that are not wrapped.
    pub(super) fn lines(&self, lines: &[String]) -> Result<(), DemoError> {
        lines.iter().try_for_each(|line| self.line(format!("{INDENT}{line}").trim_end()))
    }

    /// A command, as it is typed.
    pub(super) fn command(&self, text: impl Display) -> Result<(), DemoError> {
        self.blank()?;
        self.line(format_args!("{INDENT}# {text}"))
    }

    /// Commands to copy, each under its title; lines that a terminal wraps can still be copied.
    pub(super) fn commands(&self, commands: &[(&str, String)]) -> Result<(), DemoError> {
        for (title, command) in commands {
            if !title.is_empty() {
                self.line(format_args!("  {title}"))?;
            }
            self.line(format_args!("{INDENT}{command}"))?;
        }
        Ok(())
    }

    /// What a command printed, each of its lines wrapped by itself.
    pub(super) fn quote(&self, text: &str) -> Result<(), DemoError> {
        text.lines().try_for_each(|line| {
            let own: String = line.chars().take_while(|c| *c == ' ').collect();
            let (first, next) = (format!("{INDENT}{own}"), format!("{INDENT}{own}{HANGING}"));
            self.wrapped(line.trim_start(), &first, &next)
        })
    }

    pub(super) fn blank(&self) -> Result<(), DemoError> {
        self.line("")
    }

    fn wrapped(&self, text: &str, first: &str, next: &str) -> Result<(), DemoError> {
        let options = Options::new(COLUMNS).initial_indent(first).subsequent_indent(next);
        textwrap::wrap(text, options).iter().try_for_each(|line| self.line(line))
    }

    /// Writes a line. A reader that stops reading (`| head`) is not an error.
    pub(super) fn line(&self, line: impl Display) -> Result<(), DemoError> {
        match writeln!(io::stdout().lock(), "{line}") {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(DemoError::io("standard output", error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
