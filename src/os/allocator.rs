//! How long the allocator keeps memory that was freed before it gives it back to the system.
//!
//! Blocks, runs of lines and bodies live for a second or so, then the next ones take their place. Given back after
//! mimalloc's usual second, much of that memory is fetched again at once: five streams with rules took 5,000 page faults
//! a GB, each up to 2 MiB to clear, where now there are none once a load is steady.
#![expect(unsafe_code, reason = "mimalloc's options are set through C")]

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

/// Freed memory goes back to the system after this long, in milliseconds.
const PURGE_DELAY_MS: std::ffi::c_long = 10_000;

/// `mi_option_purge_delay` of mimalloc.h, which the bindings give no name.
const PURGE_DELAY: mi_option_t = 15;

/// Keeps freed memory for ten seconds; what the environment says (`MIMALLOC_PURGE_DELAY`) comes first. For the start of
/// the program: where there is more than one thread already, nothing happens.
pub fn keep_freed_memory() {
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads == 1 {
        // SAFETY: options may be set while no other thread allocates, and there is none.
        unsafe { mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libmimalloc_sys::mi_option_get;

    /// Mimalloc's own delay in milliseconds, which no other of its options has for a default.
    const USUAL_MS: std::ffi::c_long = 1_000;

    #[test]
    fn the_option_is_the_one_that_is_meant_and_threads_keep_it_from_being_set() {
        let other = std::thread::Builder::new().spawn(std::thread::park);
        let other = other.expect("a thread");
        keep_freed_memory();
        // SAFETY: tests run on the system's allocator: nobody else uses mimalloc.
        assert_eq!(unsafe { mi_option_get(PURGE_DELAY) }, USUAL_MS);
        // SAFETY: as above.
        unsafe { mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) };
        // SAFETY: as above.
        assert_eq!(unsafe { mi_option_get(PURGE_DELAY) }, PURGE_DELAY_MS);
        other.thread().unpark();
        other.join().expect("it ends");
    }
}
