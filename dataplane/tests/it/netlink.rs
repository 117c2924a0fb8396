//! The kernel as a ruleset: what is programmed is listed by nft, read back, owned, and refused for the right reason.

mod errors;
mod listing;
mod load;
mod ownership;
pub(crate) mod program;
mod readback;
