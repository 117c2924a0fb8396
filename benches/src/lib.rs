//! The library of the benches and of the rule-scale harness.

#![deny(unsafe_code)]

pub mod allocations;
mod bpf;
pub mod contender;
pub mod decoders;
pub mod harness;
pub mod inject;
pub mod manifest;
mod process;
pub mod scenario;
#[allow(unsafe_code, reason = "bpf(2), pre_exec and a counting allocator have no safe interface")]
mod sys;
pub mod universe;

pub use universe::{PODS_PER_NODE, Shape, Universe};
