//! The table of attacks: what came of each without Palisade and with it. Where `PALISADE_ATTACK_TABLE` names a directory, each test
//! leaves its rows there, for `make test-attacks` to print.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use palisade_compiler::model::Family;
use palisade_lab::Layout;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) layout: Layout,
    pub(crate) family: Family,
    pub(crate) by: &'static str,
    /// Whether the attack succeeded, without Palisade and with it.
    pub(crate) without: bool,
    pub(crate) with: bool,
    /// Whether it is known to get through.
    pub(crate) is_open: bool,
    /// Whether what is legitimate passed, both times.
    pub(crate) control: bool,
}

impl Row {
    pub(crate) fn is_as_wanted(&self) -> bool {
        (self.without, self.with, self.control) == (true, self.is_open, true)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layout = if self.layout == Layout::Routed { "routed" } else { "bridged" };
        let family = if self.family == Family::V4 { "IPv4" } else { "IPv6" };
        let came = |succeeded| if succeeded { "succeeds" } else { "fails" };
        let control = if self.control { "passes" } else { "DROPPED" };
        write!(
            f,
            "{:<76} {layout:<7} {family} {:<5} {:<8} {:<8} {control}",
            self.what,
            self.by,
            came(self.without),
            if self.with && self.is_open { "open" } else { came(self.with) }
        )
    }
}

/// Leaves the rows in the directory that is named, in a file of the test's own.
pub(crate) fn note(rows: &[Row]) {
    let Some(directory) = std::env::var_os("PALISADE_ATTACK_TABLE") else { return };
    let test = std::thread::current().name().unwrap_or("unknown").replace("::", "-");
    let path = Path::new(&directory).join(test);
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let mut file = file.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for row in rows {
        writeln!(file, "{row}").expect("written");
    }
}
