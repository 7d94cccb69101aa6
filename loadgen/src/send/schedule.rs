//! When a sender's next unit is to be sent.
//!
//! Owns the open loop: intended times lie on a grid that nothing moves, neither a slow relay nor a
//! slow generator, so a wait shows as latency instead of as a lower rate. Pure: time is handed in.

/// One sender's timetable; a unit is a burst (TCP) or a body (HTTP).
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    pace: Pace,
    /// No unit is intended at or after this time.
    end_us: u64,
    units: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// The next unit as soon as the last is gone.
    Flat,
    /// Unit `k` at `first_us + k * interval_us`.
    Open { first_us: u64, interval_us: f64 },
}

/// What the timetable says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Send a unit with this intended time.
    Now(u64),
    /// Nothing before this time.
    At(u64),
    /// Nothing any more.
    Ended,
}

impl Schedule {
    /// Ends at `end_us`; `u64::MAX` for no end.
    pub(super) fn new(pace: Pace, end_us: u64) -> Self {
        Self {
            pace,
            end_us,
            units: 0,
        }
    }

    /// What is to be done at `now_us`; `Now` must be followed by [`Schedule::advance`].
    pub(super) fn due(&self, now_us: u64) -> Due {
        let intended = match self.pace {
            Pace::Flat => now_us,
            Pace::Open {
                first_us,
                interval_us,
            } => first_us + whole_micros(self.units as f64 * interval_us),
        };
        if now_us >= self.end_us || intended >= self.end_us {
            Due::Ended
        } else if intended <= now_us {
            Due::Now(intended)
        } else {
            Due::At(intended)
        }
    }

    /// The unit that was due has been taken.
    pub(super) fn advance(&mut self) {
        self.units += 1;
    }

    /// Nothing is due any more.
    pub(super) fn stop(&mut self) {
        self.end_us = 0;
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a run is far shorter than 2^53 microseconds"
)]
#[expect(
    clippy::cast_sign_loss,
    reason = "counts and intervals are not negative"
)]
fn whole_micros(micros: f64) -> u64 {
    micros as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_sender_keeps_the_intended_times() {
        let pace = Pace::Open {
            first_us: 1_000,
            interval_us: 250.0,
        };
        let mut schedule = Schedule::new(pace, 10_000);
        assert_eq!(schedule.due(999), Due::At(1_000));
        let mut intended = Vec::new();
        while let Due::Now(time) = schedule.due(2_000) {
            intended.push(time);
            schedule.advance();
        }
        assert_eq!(intended, [1_000, 1_250, 1_500, 1_750, 2_000]);
        assert_eq!(schedule.due(2_000), Due::At(2_250));
        assert_eq!(schedule.due(10_000), Due::Ended);
    }

    #[test]
    fn flat_out_is_always_due_until_the_end() {
        let mut schedule = Schedule::new(Pace::Flat, 10);
        assert_eq!(
            (schedule.due(9), schedule.due(10)),
            (Due::Now(9), Due::Ended)
        );
        schedule.stop();
        assert_eq!(schedule.due(0), Due::Ended);
    }
}
