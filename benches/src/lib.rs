//! What the benches and the rule-scale harness measure with.

#![forbid(unsafe_code)]

pub mod contender;
pub mod scenario;
pub mod universe;

pub use universe::{PODS_PER_NODE, Shape, Universe};
