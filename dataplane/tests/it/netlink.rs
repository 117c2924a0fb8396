//! The kernel as a ruleset: what is programmed is listed by nft, read back, owned, and refused for the right reason.

mod conntrack;
mod errors;
mod flow_tables;
mod listing;
mod load;
mod ownership;
pub(crate) mod program;
mod readback;
