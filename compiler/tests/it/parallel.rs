//! Runs a check for many seeds on all cores, and finds the first that fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// How many seeds a test runs, unless the environment says otherwise.
pub(crate) fn count(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|e| panic!("{variable}={text}: {e}")),
        Err(_) => default,
    }
}

/// Calls `check` for the seeds that are listed in `regressions`, one a line, and then for `0..seeds`. A check fails by
/// `Err` or by a panic. Stops at the first failures and panics with the message of the lowest seed among them.
#[track_caller]
pub(crate) fn for_each_seed(
    regressions: &str,
    seeds: u64,
    check: impl Fn(u64) -> Result<(), String> + Sync,
) {
    for line in regressions.lines().filter(|line| !line.starts_with('#')) {
        let seed = line.trim().parse().unwrap_or_else(|e| panic!("the list of seeds: {line}: {e}"));
        guarded(|| check(seed)).unwrap_or_else(|message| panic!("seed {seed}: {message}"));
    }
    let next = AtomicU64::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return None;
            }
            if let Err(message) = guarded(|| check(seed)) {
                next.fetch_max(seeds, Ordering::Relaxed);
                return Some((seed, message));
            }
        }
    };
    let failures = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).min()
    });
    if let Some((seed, message)) = failures {
        panic!("seed {seed}: {message}");
    }
}

/// A panic is a failure like any other, so that its seed is known.
pub(crate) fn guarded(check: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panicked: {}", text.unwrap_or("(no message)")))
    })
}
