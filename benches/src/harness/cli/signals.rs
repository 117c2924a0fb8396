//! Ctrl-C: once to stop at the next step and keep what is finished, twice to end at once.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};

static STOP: AtomicBool = AtomicBool::new(false);
/// What a shell reports of a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Takes the signals that ask a process to end, in this thread and those started after it. What is in the kernel then ends with
/// the process: its namespaces have no names.
pub(super) fn stop_on_interrupt() -> Result<&'static AtomicBool, nix::Error> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    std::thread::spawn(move || {
        while signals.wait().is_ok() {
            if STOP.swap(true, Ordering::Relaxed) {
                std::process::exit(INTERRUPTED);
            }
        }
    });
    Ok(&STOP)
}
