//! Tests of what the harness measures with. They run in separate network namespaces, which needs root.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod contender;
mod decoders;
mod engine;
mod harness;
mod inject;
mod scenario;
mod writes;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// An API server takes a processor while it starts, and some 400 MB: one at a time.
fn one_api_server() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}
