//! Returns freed memory that the allocator keeps to the system.
//!
//! Most of what loading objects allocates is freed again, in small pieces between those that stay allocated. The GNU C
//! library by itself returns only memory at the end of its heaps.

/// Returns every page that contains no allocation to the system. It takes some milliseconds for a heap of 100 MB. Does
/// nothing if the allocator is not that of the GNU C library.
pub fn return_unused() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `malloc_trim` takes no pointer, touches no allocation, and may be called by any thread at any time
    // (malloc_trim(3): MT-Safe).
    unsafe {
        libc::malloc_trim(0);
    }
}
