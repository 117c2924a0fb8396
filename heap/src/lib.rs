//! What the allocator keeps of freed memory -> the system.
//!
//! A load frees most of what it allocates, in small pieces that lie between those that stay. The GNU C library gives back
//! only what lies at the end of its heaps, unless it is asked.

/// Gives back every page that no allocation lies in: some milliseconds for a heap of 100 MB. Does nothing where the
/// allocator is another than that of the GNU C library.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `malloc_trim` takes no pointer, touches no allocation, and may be called by any thread at any time
    // (malloc_trim(3): MT-Safe).
    unsafe {
        libc::malloc_trim(0);
    }
}
