//! One clock for intended, actual and receive times.
//!
//! Owns the pairing of the monotonic clock with the wall clock, taken once: within a process times
//! never jump, and times of two processes on one machine agree as well as its wall clock does.

use std::time::{Duration, Instant, SystemTime};

/// Microseconds since 1970 that advance with the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
    start_us: u64,
}

impl Clock {
    /// Pairs the two clocks now.
    pub(crate) fn start() -> Self {
        let wall = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self {
            start: Instant::now(),
            start_us: micros(wall),
        }
    }

    /// Microseconds since 1970.
    pub(crate) fn now_us(&self) -> u64 {
        self.start_us + micros(self.start.elapsed())
    }
}

/// A duration in whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
