//! The last lines of the agent's own log, for bug reports.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that are kept at most.
pub const MAX_LINES: usize = 2000;
/// Bytes of all lines that are kept at most.
pub const MAX_BYTES: usize = 512 << 10;

/// Written by the log, read by who asks. The oldest lines go first, and are counted.
#[derive(Debug, Clone, Default)]
pub struct RecentLog(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    lines: VecDeque<String>,
    bytes: usize,
    dropped: u64,
}

impl RecentLog {
    /// The lines, the oldest first, and how many came before them that are not kept any more.
    pub fn lines(&self) -> (Vec<String>, u64) {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (lines.lines.iter().cloned().collect(), lines.dropped)
    }
}

impl Lines {
    fn push(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > MAX_LINES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.len();
            self.dropped += 1;
        }
    }
}

/// An event of the log is written at once, as one line.
impl io::Write for RecentLog {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text.trim_end().to_owned());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for RecentLog {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_last_lines_are_kept_within_both_bounds() {
        let mut log = RecentLog::default();
        for number in 0..MAX_LINES + 7 {
            log.write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        let (lines, dropped) = log.lines();
        assert_eq!((lines.len(), dropped), (MAX_LINES, 7));
        assert_eq!(lines.first().map(String::as_str), Some("line 7"));
        log.write_all("x".repeat(MAX_BYTES - 3).as_bytes()).unwrap();
        assert_eq!(log.lines().0.len(), 1);
        log.write_all(b"last\n").unwrap();
        assert_eq!(log.lines(), (vec!["last".to_owned()], 7 + MAX_LINES as u64 + 1));
    }
}
