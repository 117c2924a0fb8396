//! Where packets enter tables.

/// Where a base chain is hooked, with `type filter` and `policy accept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// At priority `raw`: before connection tracking.
    Prerouting,
    /// At priority `filter`, before that in the inet table.
    Forward,
    /// At priority `filter`; in the bridge table only.
    Input,
}
