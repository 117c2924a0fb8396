//! The agent and its command line.

#![forbid(unsafe_code)]

mod backoff;
pub mod bridged;
pub mod check;
pub mod cli;
pub mod connection;
#[cfg(feature = "testkit")]
pub mod decoders;
pub mod demo;
pub mod edits;
pub mod explanation;
pub mod findings;
pub mod flow_log;
pub mod flows;
mod gaps;
pub mod health;
pub mod heartbeat;
pub mod hold;
pub mod http;
pub mod inbox;
mod interface_name;
mod link_events;
pub mod manifest;
pub mod metrics;
pub mod nodes;
pub mod pod_list;
pub mod policy_view;
pub mod progress;
pub mod protocol;
pub mod published_status;
pub mod reach;
pub mod recent_log;
pub mod reconcile;
pub mod revision_log;
pub mod run;
pub mod socket;
pub mod source_guard;
pub mod sources;
pub mod support_bundle;
pub mod system_calls;
pub mod watch_state;
pub mod what_if;
