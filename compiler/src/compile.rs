//! Snapshot -> Program, incrementally.
//!
//! ```text
//! Change -> Snapshot -> policies -> selections -> subjects -> groups -> peer sets in use
//!                          |                                               |
//!                          |                 kinds of pod, atoms of CIDRs -> cells -> classes
//!                          |                                                             |
//!                          +------------------------> matrix (group x class) -> profile -+-> rows
//! ```
//!
//! A batch of changes touches what it can touch and nothing else. The result depends on the input alone, not on its history, but
//! for the ids and for classes that could be one: `Program::canonical` leaves both out.
//!
//! `compiler` runs the steps. Of the other files, each knows only those that stand before it in the picture.

mod adopt;
mod atoms;
mod canonical;
mod capacity;
mod cells;
mod classes;
mod compiler;
mod contributions;
mod fair;
mod groups;
mod ids;
mod judge;
mod kinds;
mod locality;
mod matrix;
mod members;
mod peer_sets;
mod peers;
mod policies;
mod profiles;
mod ranges;
mod rows;
mod stats;
mod subject_count;
mod subjects;
mod warning;

pub use atoms::MAX_ATOMS;
pub use canonical::Canonical;
pub use capacity::{Bounds, MAX_PORT_RANGES, MAX_PORTS, MAX_ROWS, Resource};
pub use compiler::Compiler;
pub use judge::Judge;
pub(crate) use judge::Standing;
pub use locality::Locality;
pub use stats::{RowUsage, Stats};
pub use subject_count::count_subjects;
pub use subjects::IsolatedPods;
pub use warning::{MAX_SUBJECTS, Warning};
