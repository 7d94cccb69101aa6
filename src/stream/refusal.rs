//! What follows from a failed delivery: the same again, a probe, halves, a dead letter, or a park.
//!
//! Pure. A destination that refuses a batch may refuse the batch, or us. The probe tells: one
//! event of Weir's own. When that is refused too, nothing is wrong with the events, and the stream
//! parks. When it is accepted, the batch is at fault: it is sent in halves until one event is
//! left, and that one goes to the dead letters. A destination that takes the probe and no event
//! would so send everything there; after [`SET_ASIDE_MAX`] in a row, with nothing accepted between
//! them, the stream parks instead. Halves are sent in order, so what is delivered stays in order
//! (docs/adr/0014).

use std::time::Duration;

/// Dead letters in a row, with no event delivered between them, behind which the stream parks.
pub const SET_ASIDE_MAX: u32 = 16;

/// How long an accepted probe speaks for the destination.
pub const PROBE_HOLDS: Duration = Duration::from_secs(30);

/// What to do with the batch that was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// Send it again, later.
    Again,
    /// Send a probe, then call [`Refusals::probe_accepted`] if it was taken.
    Probe,
    /// Send it in halves.
    Bisect,
    /// Keep its one event as a dead letter and go on behind it.
    SetAside,
    /// The destination takes no event, though it takes the probe: deliver nothing until it does.
    Park,
}

/// What a lane remembers of refusals.
#[derive(Debug, Clone)]
pub struct Refusals {
    probe_after: Duration,
    /// Since when nothing was delivered, though something was sent.
    failing_since: Option<Duration>,
    probe_accepted: Option<Duration>,
    set_aside: u32,
}

impl Refusals {
    /// Remembers nothing. A batch that failed for `probe_after` in ways that may pass is asked
    /// about by a probe.
    #[must_use]
    pub fn new(probe_after: Duration) -> Self {
        Self {
            probe_after,
            failing_since: None,
            probe_accepted: None,
            set_aside: 0,
        }
    }

    /// An event was delivered: the destination takes events.
    pub fn delivered(&mut self) {
        *self = Self::new(self.probe_after);
    }

    /// The destination refused a batch of so many events, one at least.
    #[must_use]
    pub fn refused(&mut self, events: u64, now: Duration) -> Ruling {
        self.failing_since.get_or_insert(now);
        let is_fresh = |accepted| now.saturating_sub(accepted) < PROBE_HOLDS;
        if self.probe_accepted.is_some_and(is_fresh) {
            self.blame(events)
        } else {
            Ruling::Probe
        }
    }

    /// A try failed in a way that may pass.
    #[must_use]
    pub fn failed(&mut self, now: Duration) -> Ruling {
        let since = *self.failing_since.get_or_insert(now);
        // Whatever a probe said before: it is asked again, since what fails now may be the way.
        if now.saturating_sub(since) >= self.probe_after {
            Ruling::Probe
        } else {
            Ruling::Again
        }
    }

    /// The destination took a probe, and so it is the batch of so many events that it does not take.
    #[must_use]
    pub fn probe_accepted(&mut self, events: u64, now: Duration) -> Ruling {
        self.probe_accepted = Some(now);
        self.blame(events)
    }

    /// The destination refused single records while it took others, or none.
    #[must_use]
    pub fn rejected(&mut self, records: u64) -> Ruling {
        self.set_aside = self
            .set_aside
            .saturating_add(u32::try_from(records).unwrap_or(u32::MAX));
        if self.set_aside > SET_ASIDE_MAX {
            Ruling::Park
        } else {
            Ruling::SetAside
        }
    }

    /// Whoever runs the node says that the destination is to be tried afresh.
    pub fn forget(&mut self) {
        self.delivered();
    }

    fn blame(&mut self, events: u64) -> Ruling {
        if events > 1 {
            Ruling::Bisect
        } else {
            self.rejected(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PROBE_AFTER: Duration = Duration::from_mins(10);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_refused_batch_is_halved_only_after_a_probe_was_taken() {
        let mut refusals = Refusals::new(PROBE_AFTER);
        assert_eq!(refusals.refused(100, at(0)), Ruling::Probe);
        // The probe failed on the way: nothing is known yet.
        assert_eq!(refusals.refused(100, at(1)), Ruling::Probe);
        assert_eq!(refusals.probe_accepted(100, at(2)), Ruling::Bisect);
        assert_eq!(refusals.refused(50, at(3)), Ruling::Bisect);
        assert_eq!(refusals.refused(1, at(4)), Ruling::SetAside);
        assert_eq!(refusals.refused(2, at(40)), Ruling::Probe);
    }

    #[test]
    fn a_destination_that_takes_the_probe_and_no_event_parks_the_stream() {
        let mut refusals = Refusals::new(PROBE_AFTER);
        assert_eq!(refusals.refused(1, at(0)), Ruling::Probe);
        assert_eq!(refusals.probe_accepted(1, at(0)), Ruling::SetAside);
        for _ in 1..SET_ASIDE_MAX {
            assert_eq!(refusals.refused(1, at(1)), Ruling::SetAside);
        }
        assert_eq!(refusals.refused(1, at(2)), Ruling::Park);
        assert_eq!(refusals.refused(1, at(2)), Ruling::Park);
        refusals.delivered();
        assert_eq!(refusals.refused(1, at(3)), Ruling::Probe);
    }

    #[test]
    fn poison_among_good_events_never_parks_the_stream() {
        let mut refusals = Refusals::new(PROBE_AFTER);
        for batch in 0..10 * u64::from(SET_ASIDE_MAX) {
            let now = at(batch);
            if refusals.refused(1, now) == Ruling::Probe {
                assert_eq!(refusals.probe_accepted(1, now), Ruling::SetAside);
            }
            refusals.delivered();
        }
    }

    #[test]
    fn what_may_pass_is_tried_again_until_it_is_time_for_a_probe() {
        let mut refusals = Refusals::new(PROBE_AFTER);
        assert_eq!(refusals.failed(at(0)), Ruling::Again);
        assert_eq!(refusals.failed(at(599)), Ruling::Again);
        assert_eq!(refusals.failed(at(600)), Ruling::Probe);
        assert_eq!(refusals.probe_accepted(8, at(600)), Ruling::Bisect);
        assert_eq!(refusals.failed(at(601)), Ruling::Probe);
        refusals.delivered();
        assert_eq!(refusals.failed(at(602)), Ruling::Again);
    }

    proptest! {
        #[test]
        fn no_event_is_set_aside_that_no_probe_stands_for(
            steps in proptest::collection::vec((0..3_u8, 1..4_u64, 0..20_u64), 0..60),
        ) {
            let mut refusals = Refusals::new(PROBE_AFTER);
            let (mut now, mut accepted) = (0, None);
            for (step, events, later) in steps {
                now += later;
                let ruling = match step {
                    0 => { refusals.delivered(); accepted = None; continue }
                    1 => refusals.refused(events, at(now)),
                    _ => refusals.failed(at(now)),
                };
                match ruling {
                    Ruling::Probe => {
                        let ruling = refusals.probe_accepted(events, at(now));
                        accepted = Some(now);
                        prop_assert!(ruling != Ruling::Probe && ruling != Ruling::Again);
                        prop_assert_eq!(ruling == Ruling::Bisect, events > 1);
                    }
                    Ruling::SetAside | Ruling::Bisect => {
                        let accepted: u64 = accepted.expect("a probe stands for it");
                        prop_assert!(at(now - accepted) < PROBE_HOLDS);
                    }
                    Ruling::Again | Ruling::Park => {}
                }
            }
        }
    }
}
