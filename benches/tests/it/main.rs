//! Tests of what the harness measures with. They run in separate network namespaces, which needs root.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod api_server;
mod contender;
mod engine;
mod harness;
mod inject;
mod scenario;
