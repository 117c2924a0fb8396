//! Tests against the kernel, each in network namespaces of its own. They need root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod births;
mod bridges;
mod capacities;
mod crash;
mod deny_action;
mod engine;
mod faults;
mod hold;
mod neighbours;
mod netlink;
mod netns;
mod plan;
mod ports;
mod recovery;
mod rehearsal;
mod replacement;
mod source_guard;
mod walk;
mod windows;
