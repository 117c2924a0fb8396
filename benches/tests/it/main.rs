//! What the harness measures with, held against what it claims. In network namespaces of their own, which needs root.

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
