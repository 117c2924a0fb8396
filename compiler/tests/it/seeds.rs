//! Runs a check for many seeds on all cores.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Seeds that once failed; they are always run.
pub(crate) const REGRESSIONS: &[u64] = &[];

/// Runs `check` for the regressions and seeds `0..count`; the environment variable sets another count, for longer runs by
/// hand. Returns how many ran; panics with the first failure's seed and text.
pub(crate) fn for_each(
    count: u64,
    variable: &str,
    regressions: &[u64],
    check: impl Fn(u64) -> Option<String> + Sync,
) -> u64 {
    let count = std::env::var(variable).map_or(count, |value| value.parse().unwrap());
    let next = AtomicU64::new(0);
    let failure: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let total = count + regressions.len() as u64;
    let work = || loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        if at >= total || failure.lock().unwrap().is_some() {
            break;
        }
        let seed = regressions.get(at as usize).copied().unwrap_or(at - regressions.len() as u64);
        if let Some(text) = check(seed) {
            failure.lock().unwrap().get_or_insert((seed, text));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().unwrap().get() {
            scope.spawn(work);
        }
    });
    if let Some((seed, text)) = failure.into_inner().unwrap() {
        panic!("seed {seed}: {text}");
    }
    total
}
