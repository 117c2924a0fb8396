//! Files -> objects -> changes: which object counts when files overlap, and what an edit of files means.
//!
//! ```text
//! watcher (which paths to look at again) -> files (reads, remembers what failed) -> declarations -> changes -> inbox
//! ```
//!
//! `FileSource` runs this on a thread of its own; one-shot commands read once with `ManifestFiles` and `Declarations`.

pub mod declarations;
pub mod file_source;
pub mod files;
pub mod kubernetes;
mod names;
pub mod object;
pub mod watcher;

#[cfg(test)]
mod tests;
