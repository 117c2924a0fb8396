//! Handles Ctrl-C: the first stops the run at the next step and keeps what is finished, the second ends the process at
//! once.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};

static STOP: AtomicBool = AtomicBool::new(false);
/// The status that a shell reports for a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Handles the signals that ask a process to end, in this thread and those that are started after it. The namespaces have
/// no names, so the kernel removes everything in them when the process ends.
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
