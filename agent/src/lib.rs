//! The agent and its command line.

#![forbid(unsafe_code)]

pub mod bridged;
pub mod cli;
pub mod connection;
pub mod demo;
pub mod edits;
pub mod explanation;
mod ipvs;
pub mod progress;
pub mod protocol;
pub mod reconcile;
pub mod run;
pub mod socket;
pub mod sources;
