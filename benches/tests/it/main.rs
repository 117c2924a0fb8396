//! Scenarios and contenders. The contenders are tried in network namespaces of their own, which needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod contender;
mod scenario;
