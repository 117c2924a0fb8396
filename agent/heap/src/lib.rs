//! Keeps the allocator of the GNU C library from holding more memory than the process needs.
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

/// Has all threads allocate from one heap. Objects that one thread makes and another keeps or frees otherwise leave gaps in a
/// heap for each: a tenth of the memory, which grows with every list of the API server. To be called before there are threads.
pub fn use_one_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` takes no pointer, and no other thread allocates yet, which is all that it asks for (mallopt(3)).
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
