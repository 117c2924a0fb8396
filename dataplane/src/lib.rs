//! Programs a compiled [`Program`](palisade_compiler::program::Program) into nftables over netlink, and reads it back.
//!
//! ```text
//! Program, Delta -> plan -> Transactions and grace periods -> Ruleset (kernel, fake)
//! kernel -> read -> Actual -> compare, adopt
//! ```

#![deny(unsafe_code)]

pub mod attachments;
pub mod bridges;
pub mod compare;
pub mod connection_accounting;
pub mod contents;
pub mod dataplane;
pub mod fake;
pub mod host;
pub mod netlink;
pub mod plan;
pub mod ruleset;
pub mod transaction;
