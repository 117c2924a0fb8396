//! Tests of meaning: what the compiler's parts say, held against each other and against nft.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking"
)]

mod golden;
mod tidy;
