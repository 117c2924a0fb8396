//! The agent and its command line.

#![forbid(unsafe_code)]

pub mod cli;
pub mod connection;
pub mod demo;
pub mod lab;
pub mod sources;
