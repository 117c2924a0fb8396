//! What the benches and the rule-scale harness measure with.

pub mod universe;

pub use universe::{PODS_PER_NODE, Shape, Universe};
