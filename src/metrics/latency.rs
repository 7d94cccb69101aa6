//! Latency histograms: counted by event, shared with the scraper, known error.
//!
//! Two digits of precision from 1 µs to 1 h keep a histogram at about 20 KB. A histogram
//! belongs to one thread that records; the scraper locks it for a moment.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest latency told apart; longer ones count as this.
const MICROS_MAX: u64 = 3_600_000_000;

/// A histogram of latencies in microseconds.
#[derive(Debug, Clone)]
pub struct Latency {
    histogram: Arc<Mutex<Histogram<u64>>>,
}

/// What the scraper reads.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LatencySummary {
    /// Events counted.
    pub events: u64,
    /// Sum of their latencies in seconds, within the histogram's precision.
    pub seconds_sum: f64,
    /// Median, 90th, 99th percentile and maximum in seconds.
    pub seconds: [f64; 4],
}

/// The quantiles of [`LatencySummary::seconds`].
pub const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 1.0];

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, MICROS_MAX, 2).expect("the bounds are valid");
        Self {
            histogram: Arc::new(Mutex::new(histogram)),
        }
    }
}

impl Latency {
    /// Counts `events` events of one latency.
    pub fn record(&self, latency: Duration, events: u64) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(MICROS_MAX);
        let mut histogram = self
            .histogram
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        histogram.saturating_record_n(micros.clamp(1, MICROS_MAX), events);
    }

    /// Adds these latencies to `sum`, to summarise several threads as one.
    pub fn add_to(&self, sum: &mut Histogram<u64>) {
        let histogram = self
            .histogram
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Histograms of one shape always add.
        sum.add(&*histogram).ok();
    }

    /// Summarises the latencies of several threads.
    #[must_use]
    pub fn summary<'a>(parts: impl IntoIterator<Item = &'a Self>) -> LatencySummary {
        let mut sum = Histogram::new_with_bounds(1, MICROS_MAX, 2).expect("the bounds are valid");
        parts.into_iter().for_each(|part| part.add_to(&mut sum));
        #[expect(clippy::cast_precision_loss, reason = "a latency is below 2^52 µs")]
        let seconds = |micros: u64| micros as f64 / 1e6;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a sum for people, not for books"
        )]
        let events = sum.len() as f64;
        LatencySummary {
            events: sum.len(),
            seconds_sum: if sum.is_empty() {
                0.0
            } else {
                sum.mean() / 1e6 * events
            },
            seconds: QUANTILES.map(|quantile| {
                if sum.is_empty() {
                    0.0
                } else {
                    seconds(sum.value_at_quantile(quantile))
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_weighs_latencies_by_events_over_all_parts() {
        let (one, two) = (Latency::default(), Latency::default());
        one.record(Duration::from_millis(1), 98);
        two.record(Duration::from_millis(100), 2);
        let summary = Latency::summary([&one, &two]);
        assert_eq!(summary.events, 100);
        assert!((summary.seconds[0] - 0.001).abs() < 0.0001);
        assert!((summary.seconds[3] - 0.1).abs() < 0.002);
        assert!((summary.seconds_sum - 0.298).abs() < 0.01);
        assert_eq!(Latency::summary([]).events, 0);
    }
}
