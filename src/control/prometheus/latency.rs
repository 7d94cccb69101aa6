//! Latencies on the metrics page: as a histogram that adds up over nodes, and as exact
//! quantiles for who looks at one node.

use std::fmt;
use std::iter;

use hdrhistogram::Histogram;
use prometheus_client::encoding::NoLabelSet;
use prometheus_client::metrics::MetricType;

use super::Page;
use crate::metrics::latency::{Latency, LatencySummary, QUANTILES};

/// Upper bounds of the histogram's buckets in seconds. Fine around what a sync takes (1 to
/// 25 ms) and what a batch waits (1 s), coarse up to an outage.
const BOUNDS: [f64; 18] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 300.0, 1800.0,
];

/// The label of a quantile. Not `quantile`, which the format keeps for summaries, a type
/// that the encoder does not have.
const QUANTILE: &str = "q";

/// Latencies of one place.
pub(super) struct Measured<'l> {
    /// The label that tells the places apart.
    pub label: (&'static str, &'l str),
    /// What was measured there.
    pub latency: &'l Latency,
}

impl Page<'_> {
    /// Writes a histogram of latencies, counted by event.
    pub(super) fn latency_histogram(
        &mut self,
        name: &'static str,
        help: &str,
        places: &[Measured<'_>],
    ) -> fmt::Result {
        let mut encoder =
            self.encoder
                .encode_descriptor(name, help, None, MetricType::Histogram)?;
        for place in places {
            let (seconds_sum, buckets) = buckets(place.latency);
            let events = buckets.iter().map(|(_, events)| events).sum();
            encoder
                .encode_family(&[place.label])?
                .encode_histogram::<NoLabelSet>(seconds_sum, events, &buckets, None)?;
        }
        Ok(())
    }

    /// Writes the quantiles since start; nothing for a place that has measured nothing.
    pub(super) fn latency_quantiles(
        &mut self,
        name: &'static str,
        help: &str,
        places: &[Measured<'_>],
    ) -> fmt::Result {
        let words = QUANTILES.map(|quantile| quantile.to_string());
        let samples = places.iter().flat_map(|place| {
            let LatencySummary {
                events, seconds, ..
            } = Latency::summary([place.latency]);
            let quantiles = iter::zip(&words, seconds).filter(move |_| events > 0);
            quantiles.map(|(word, seconds)| ([place.label, (QUANTILE, word.as_str())], seconds))
        });
        self.gauge(name, help, samples)
    }
}

/// The sum of all latencies in seconds, and events by bucket, each without those of the
/// buckets before it; the last bucket has no bound.
fn buckets(latency: &Latency) -> (f64, Vec<(f64, u64)>) {
    let mut all = Histogram::new_with_max(3_600_000_000, 2).expect("the bounds are valid");
    // One look, so that sum and buckets are of the same events.
    latency.add_to(&mut all);
    let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
    let mut buckets: Vec<_> = bounds.map(|bound| (bound, 0)).collect();
    for recorded in all.iter_recorded() {
        // The lowest value that cannot be told from those recorded, so that a latency of a
        // bound counts as within it.
        let seconds = seconds(all.lowest_equivalent(recorded.value_iterated_to()));
        let at = BOUNDS.partition_point(|bound| *bound < seconds);
        buckets[at].1 += recorded.count_since_last_iteration();
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "a sum for people, not for books"
    )]
    let seconds_sum = all.mean() / 1e6 * all.len() as f64;
    (seconds_sum, buckets)
}

#[expect(clippy::cast_precision_loss, reason = "a latency is below 2^52 µs")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_latency_of_a_bound_is_within_it_and_none_is_lost() {
        let latency = Latency::default();
        latency.record(Duration::from_millis(1), 7);
        latency.record(Duration::from_millis(11), 2);
        latency.record(Duration::from_secs(3000), 1);
        let (seconds_sum, buckets) = buckets(&latency);
        assert!((seconds_sum / 3000.029 - 1.0).abs() < 0.01, "{seconds_sum}");
        assert!(super::buckets(&Latency::default()).0.abs() < f64::EPSILON);
        let filled: Vec<_> = buckets
            .into_iter()
            .filter(|(_, events)| *events > 0)
            .collect();
        assert_eq!(filled, [(0.001, 7), (0.025, 2), (f64::INFINITY, 1)]);
    }
}
