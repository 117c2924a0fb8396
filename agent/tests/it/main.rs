//! Tests of the whole, by the command line and with a real kernel in network namespaces. They need root.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod agent;
mod bad_input;
mod command;
mod oneshot;
