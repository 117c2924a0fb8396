//! The rule-scale harness behind `palisade-bench`: it enforces the same clusters in several ways, side by side in one run.
//!
//! ```text
//! Settings -> cells -> Bench (the kernel) -> CellReport -> Report -> JSON, CSV, page, plots
//!                        one cell at a time, kept on disk              Report, Report -> compare
//! ```
//!
//! Wrong verdicts are never timed: real packets compare every contender with the oracle first, and while it is timed the
//! packets that arrive are counted.

pub mod cli;
pub mod compare;
pub mod figures;
pub mod goals;
pub mod kernel;
pub mod machine;
pub mod measure;
pub mod outcome;
pub mod page;
pub mod plot;
pub mod progress;
pub mod quantity;
pub mod report;
pub mod run;
pub mod settings;
pub mod statistics;
