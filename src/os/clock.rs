//! The `Clock` seam: what time it is, for the machine and for people.
//!
//! Ages, delays and deadlines use the monotonic time, which never goes back; labels and
//! reports use the wall clock, which may jump. The system's clock and the fake one are
//! equal citizens. State machines do not hold a clock: they are handed a [`Now`].

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use crate::position::Timestamp;

/// One moment, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since the clock was first read in this process; never goes back.
    pub monotonic: Duration,
    /// As the wall clock says; may jump either way.
    pub wall: Timestamp,
}

/// Tells the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now.
    fn now(&self) -> Now;
}

/// The machine's clocks. All instances share one monotonic start.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Now {
        static START: OnceLock<Instant> = OnceLock::new();
        let monotonic = START.get_or_init(Instant::now).elapsed();
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one place that reads the wall clock"
        )]
        let wall = SystemTime::now();
        Now {
            monotonic,
            wall: timestamp_of(wall),
        }
    }
}

/// A clock that stands still until it is told. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct FakeClock {
    now: Arc<Mutex<Now>>,
}

impl FakeClock {
    /// Makes a clock with monotonic time zero.
    #[must_use]
    pub fn at(wall: Timestamp) -> Self {
        let now = Now {
            monotonic: Duration::ZERO,
            wall,
        };
        Self {
            now: Arc::new(Mutex::new(now)),
        }
    }

    /// Lets time pass on both clocks; fractions of a microsecond only on the monotonic one.
    pub fn advance(&self, by: Duration) {
        let mut now = self.lock();
        now.monotonic += by;
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        now.wall = Timestamp(now.wall.0.saturating_add(micros));
    }

    /// Makes the wall clock jump, as when an operator sets it.
    pub fn set_wall(&self, wall: Timestamp) {
        self.lock().wall = wall;
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now
            .lock()
            .expect("nothing panics while it holds the clock")
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Now {
        *self.lock()
    }
}

/// Microseconds since 1970, negative before; the ends of the range stand for all beyond.
fn timestamp_of(time: SystemTime) -> Timestamp {
    let micros = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
    };
    Timestamp(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_never_goes_back_and_is_shared() {
        let first = SystemClock.now();
        let second = SystemClock.now();
        assert!(second.monotonic >= first.monotonic);
        // 2020-01-01: a machine whose clock is earlier cannot check certificates either.
        assert!(first.wall > Timestamp(1_577_836_800_000_000));
    }

    #[test]
    fn fake_time_passes_only_when_told_and_for_all_clones() {
        let clock = FakeClock::at(Timestamp(1_000));
        let clone = clock.clone();
        clock.advance(Duration::from_micros(7));
        assert_eq!(
            clone.now(),
            Now {
                monotonic: Duration::from_micros(7),
                wall: Timestamp(1_007),
            }
        );
        clock.set_wall(Timestamp(-5));
        assert_eq!(clone.now().wall, Timestamp(-5));
        assert_eq!(clone.now().monotonic, Duration::from_micros(7));
    }

    #[test]
    fn times_before_1970_are_negative() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_micros(3);
        assert_eq!(timestamp_of(before), Timestamp(-3));
        let after = SystemTime::UNIX_EPOCH + Duration::from_micros(3);
        assert_eq!(timestamp_of(after), Timestamp(3));
    }
}
