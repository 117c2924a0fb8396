//! The agent against a real API server, and real packets between pods that a test writes into it. They need root, and what
//! `deploy/kubernetes/build` makes.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod burst;
mod changes;
mod clock;
mod cluster;
mod cni;
#[allow(dead_code, reason = "shared with the other tests of the agent, which use more of it")]
#[path = "../it/command.rs"]
mod command;
mod enforcement;
mod events;
mod faults;
mod full_tracking;
mod install;
mod kills;
mod late_events;
mod lists;
mod nodes;
mod nodes_network;
mod observed;
#[allow(dead_code, reason = "shared with the other tests of the agent, which use more of it")]
#[path = "../it/openmetrics.rs"]
mod openmetrics;
mod overflow;
mod permissions;
mod pod_start;
mod prober;
mod proxy;
mod random_objects;
mod scale;
#[allow(dead_code, reason = "shared with the other tests of the agent, which use more of it")]
#[path = "../it/scrape.rs"]
mod scrape;
mod tampering;
