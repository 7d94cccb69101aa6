//! Where the current thread runs: its core.
//!
//! A wish: a container may allow fewer cores than there are, or none of them to be chosen. The
//! caller logs a refusal and goes on.

use std::io;

use rustix::thread::CpuSet;

/// Binds the current thread to one of the cores that this process may use: number `index`
/// of them, counted round when there are fewer. Returns the core's number in the system.
///
/// # Errors
/// When the system refuses, and `NotFound` when it allows no core at all.
pub fn pin_to_core(index: usize) -> io::Result<usize> {
    let cores = allowed_cores()?;
    if cores.is_empty() {
        let why = "the system allows this process no core";
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    }
    let core = cores[index % cores.len()];
    let mut only = CpuSet::new();
    only.set(core);
    rustix::thread::sched_setaffinity(None, &only)?;
    Ok(core)
}

/// Numbers of the cores the current thread may run on, ascending.
///
/// # Errors
/// When the system does not tell.
pub fn allowed_cores() -> io::Result<Vec<usize>> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|core| allowed.is_set(*core))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_own_thread(check: impl FnOnce() + Send + 'static) {
        let thread = std::thread::Builder::new().spawn(check).unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn a_pinned_thread_may_run_on_that_core_alone() {
        on_own_thread(|| {
            let cores = allowed_cores().unwrap();
            // One past the last counts round to the first.
            assert_eq!(pin_to_core(cores.len()).unwrap(), cores[0]);
            assert_eq!(allowed_cores().unwrap(), [cores[0]]);
        });
        assert!(!allowed_cores().unwrap().is_empty());
    }
}
