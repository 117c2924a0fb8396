//! Tests of the whole: the built binary, and real packets, in network namespaces. They need root.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod agent;
mod allowed;
mod bad_input;
mod browser;
mod capabilities;
mod cast;
mod check;
mod command;
mod counters;
mod demo;
mod deny_action;
mod examples;
mod explain;
mod files;
mod floods;
mod flow_log;
mod full_disk;
mod handover;
mod healing;
mod hold;
mod lab;
mod lint;
mod metrics;
mod missing;
mod monitoring;
mod observe;
mod oneshot;
mod openmetrics;
mod operator;
mod other_paths;
mod packets;
mod page;
mod readme;
mod recovery;
mod revocation;
mod scene;
mod scrape;
mod services;
mod support_bundle;
mod switching;
