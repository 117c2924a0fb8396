//! Kubernetes NetworkPolicy, read and lowered to an nftables program.
//!
//! ```text
//! manifests -> parse -> Change -> Snapshot -> compile -> Program -> render, eval
//!                                    |          |
//!                                    |          +-> Judge -> explain (the verdict with all reasons)
//!                                    +----> oracle (the specification read literally)
//!                                    +----> lint (what is most likely not meant)
//! ```
//!
//! Pure: no clock, no I/O, no kernel, no async. Nothing here fails; what is wrong with the input comes out as
//! diagnostics, and the rest of the input keeps its meaning.

#![forbid(unsafe_code)]

mod compact;
pub mod compile;
pub mod decision;
pub mod explain;
mod intern;
pub mod lint;
pub mod model;
pub mod oracle;
pub mod parse;
pub mod program;
pub mod snapshot;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod wording;
