//! Tests of the whole: real packets in network namespaces. They need root.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod attacks;
mod lab;
mod packets;
mod scene;
mod switching;
