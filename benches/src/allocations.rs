//! Counts how much a piece of work allocates. The program must use [`Counting`] as its global allocator.
//!
//! ```
//! use palisade_benches::allocations::{Counting, counted};
//!
//! #[global_allocator]
//! static ALLOCATOR: Counting = Counting;
//!
//! let (text, allocations) = counted(|| "words".repeat(100));
//! assert_eq!((allocations.count, allocations.bytes), (1, text.len() as u64));
//! ```

use std::fmt;

pub use crate::sys::Counting;

/// The allocations of all threads. A reallocation counts as an allocation of the new size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allocations {
    pub count: u64,
    pub bytes: u64,
}

impl fmt::Display for Allocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} allocations, {} bytes", self.count, self.bytes)
    }
}

/// Runs `work` and returns what was allocated meanwhile. The counts are zero if the program's allocator is not
/// [`Counting`].
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, Allocations) {
    let before = crate::sys::allocated();
    let value = work();
    let after = crate::sys::allocated();
    let allocations = Allocations { count: after.0 - before.0, bytes: after.1 - before.1 };
    (value, allocations)
}
