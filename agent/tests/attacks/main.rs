//! What a pod may try and must not achieve, carried out by raw packets and frames in network namespaces: a file for each family of
//! attacks. They need root.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod answers;
mod attack;
mod broadcasts;
#[allow(dead_code, reason = "shared with the other tests of the agent, which use more of it")]
#[path = "../it/cast.rs"]
mod cast;
#[allow(dead_code, reason = "shared with the other tests of the agent, which use more of it")]
#[path = "../it/command.rs"]
mod command;
mod cut_flows;
mod discovery;
mod errors;
mod forms;
mod frames;
mod hairpins;
mod helpers;
mod hidden_bridges;
#[allow(dead_code, reason = "shared with the other tests of the agent, which use more of it")]
#[path = "../it/lab.rs"]
mod lab;
mod link_local;
mod movement;
mod neighbours;
mod protocols;
#[allow(dead_code, reason = "shared with the other tests of the agent, which use more of it")]
#[path = "../it/scene.rs"]
mod scene;
mod source_routes;
mod sources;
mod stage;
mod switching;
mod table;
mod tunnels;
mod unnamed;
mod untracked;
