//! The agent and its command line.

#![forbid(unsafe_code)]

pub mod lab;
