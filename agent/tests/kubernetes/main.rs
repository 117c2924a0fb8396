//! The agent against a real API server, and real packets between pods that a test writes into it. They need root, and what
//! `deploy/kubernetes/build` makes.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod changes;
mod cluster;
#[allow(dead_code, reason = "shared with the other tests of the agent, which use more of it")]
#[path = "../it/command.rs"]
mod command;
mod events;
mod faults;
mod install;
mod lists;
mod observed;
#[allow(dead_code, reason = "shared with the other tests of the agent, which use more of it")]
#[path = "../it/openmetrics.rs"]
mod openmetrics;
mod permissions;
mod pod_start;
mod proxy;
mod scale;
#[allow(dead_code, reason = "shared with the other tests of the agent, which use more of it")]
#[path = "../it/scrape.rs"]
mod scrape;
