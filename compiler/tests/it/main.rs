//! Tests of meaning: what the compiler's parts say, held against each other and against nft.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "tests read and write golden files")]

mod attribution;
mod bounds;
mod churn;
mod earlier;
mod edges;
mod edits;
mod explain;
mod golden;
mod lint;
mod meaning;
mod narrowing;
mod parallel;
mod parsing;
mod port_sets;
mod properties;
mod released;
mod snapshot;
mod tidy;
