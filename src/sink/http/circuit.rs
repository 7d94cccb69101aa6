//! Which of a destination's endpoints are tried, and when a failed one is tried again. Pure: time
//! and random numbers are handed in.
//!
//! Every endpoint has a circuit. A failure opens it for a time that doubles from 1 s to 60 s, drawn
//! with full jitter; a success closes it. A delivery goes to the first endpoint whose circuit is not
//! open, so what is preferred is used again as soon as it may be (fail-back), by one delivery that
//! then goes on to the next if it fails. A single endpoint has no circuit: when a stream tries again
//! is the stream's decision.

use std::time::Duration;

use crate::sink::retry;
use crate::sink::settings::RetrySettings;

/// How long circuits stay open.
const OPEN: RetrySettings = RetrySettings {
    delay_min: Duration::from_secs(1),
    delay_max: Duration::from_secs(60),
};

/// The circuits of endpoints in the order of preference.
#[derive(Debug)]
pub(super) struct Circuits(Vec<Circuit>);

#[derive(Debug, Clone, Copy, Default)]
struct Circuit {
    /// Failures since the last success.
    failures: u32,
    /// Not to be tried before this time.
    open_until: Duration,
}

impl Circuits {
    /// Closed circuits of so many endpoints.
    pub(super) fn new(endpoints: usize) -> Self {
        Self(vec![Circuit::default(); endpoints])
    }

    /// Whether the endpoint may be tried at `now`, a time since any fixed moment.
    pub(super) fn may_try(&self, endpoint: usize, now: Duration) -> bool {
        self.0[endpoint].open_until <= now
    }

    /// The endpoint answered.
    pub(super) fn succeeded(&mut self, endpoint: usize) {
        self.0[endpoint] = Circuit::default();
    }

    /// The endpoint failed, and may have asked to be left alone for a while. `random` is any evenly
    /// drawn number.
    pub(super) fn failed(
        &mut self,
        endpoint: usize,
        now: Duration,
        asked: Option<Duration>,
        random: u64,
    ) {
        if self.0.len() == 1 {
            return;
        }
        let circuit = &mut self.0[endpoint];
        circuit.open_until = now + retry::delay(&OPEN, circuit.failures, random, asked);
        circuit.failures = circuit.failures.saturating_add(1);
    }

    /// How long until the first endpoint may be tried again; `None` when one may be tried now.
    pub(super) fn wait(&self, now: Duration) -> Option<Duration> {
        let first = self.0.iter().map(|circuit| circuit.open_until).min()?;
        Some(first.saturating_sub(now)).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn first(circuits: &Circuits, now: Duration) -> Option<usize> {
        (0..circuits.0.len()).find(|endpoint| circuits.may_try(*endpoint, now))
    }

    #[test]
    fn the_preferred_endpoint_is_left_while_its_circuit_is_open_and_used_again_when_it_is_due() {
        let mut circuits = Circuits::new(2);
        assert_eq!(first(&circuits, Duration::ZERO), Some(0));
        circuits.failed(0, Duration::ZERO, None, u64::MAX);
        assert_eq!(first(&circuits, SECOND / 2), Some(1));
        assert_eq!(first(&circuits, SECOND), Some(0));
        // The second failure in a row keeps it open for twice as long.
        circuits.failed(0, SECOND, None, u64::MAX);
        assert_eq!(first(&circuits, 5 * SECOND / 2), Some(1));
        assert_eq!(first(&circuits, 3 * SECOND), Some(0));
        circuits.succeeded(0);
        circuits.failed(0, 3 * SECOND, None, u64::MAX);
        assert_eq!(first(&circuits, 4 * SECOND), Some(0));
    }

    #[test]
    fn when_all_are_open_the_wait_is_for_the_first_that_is_due() {
        let mut circuits = Circuits::new(2);
        circuits.failed(0, Duration::ZERO, None, u64::MAX);
        assert_eq!(circuits.wait(Duration::ZERO), None);
        circuits.failed(1, Duration::ZERO, Some(7 * SECOND), 0);
        assert_eq!(first(&circuits, Duration::ZERO), None);
        let wait = circuits.wait(Duration::ZERO).unwrap();
        assert!(wait <= SECOND && wait > SECOND / 2, "{wait:?}");
        assert!(!circuits.may_try(1, 6 * SECOND));
        assert!(circuits.may_try(1, 7 * SECOND));
    }

    #[test]
    fn a_single_endpoint_is_always_tried() {
        let mut circuits = Circuits::new(1);
        circuits.failed(0, Duration::ZERO, Some(SECOND), u64::MAX);
        assert_eq!(first(&circuits, Duration::ZERO), Some(0));
        assert_eq!(circuits.wait(Duration::ZERO), None);
    }

    proptest! {
        /// Whatever happens, no circuit is open for longer than a minute or than it asked for, a
        /// success closes it at once, and others are not touched.
        #[test]
        fn circuits_open_by_their_own_failures_only_and_never_for_long(
            steps in proptest::collection::vec(
                (0_usize..4, any::<bool>(), 0_u64..90_000, any::<u64>(), proptest::option::of(0_u64..200_000)),
                1..60,
            ),
        ) {
            let mut circuits = Circuits::new(4);
            let mut now = Duration::ZERO;
            for (endpoint, fails, later, random, asked) in steps {
                now += Duration::from_millis(later);
                let asked = asked.map(Duration::from_millis);
                let before: Vec<bool> = (0..4).map(|other| circuits.may_try(other, now)).collect();
                if fails {
                    circuits.failed(endpoint, now, asked, random);
                } else {
                    circuits.succeeded(endpoint);
                    prop_assert!(circuits.may_try(endpoint, now));
                }
                for other in (0..4).filter(|other| *other != endpoint) {
                    prop_assert_eq!(circuits.may_try(other, now), before[other]);
                }
                let longest = OPEN.delay_max.max(asked.unwrap_or_default());
                prop_assert!(circuits.may_try(endpoint, now + longest));
                let someone = (0..4).any(|other| circuits.may_try(other, now));
                prop_assert_eq!(circuits.wait(now).is_none(), someone);
            }
        }
    }
}
