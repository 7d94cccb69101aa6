//! Metrics of streams: their ledger, their lag, their deliveries.

use std::fmt;

use super::Page;
use super::latency::Measured;
use crate::control::snapshot::{Snapshot, StreamSnapshot};
use crate::journal::cursor::DiscardReason;
use crate::sink::FAILURE_REASONS;
use crate::stream::status::LaneActivity;

/// Writes them.
pub(super) fn write(page: &mut Page<'_>, snapshot: &Snapshot<'_>) -> fmt::Result {
    let streams = &snapshot.streams;
    ledger(page, streams)?;
    lag(page, streams)?;
    deliveries(page, streams)?;
    latency(page, streams)
}

fn ledger(page: &mut Page<'_>, streams: &[StreamSnapshot<'_>]) -> fmt::Result {
    let samples = |of: fn(&StreamSnapshot<'_>) -> u64| {
        streams
            .iter()
            .map(move |stream| ([("stream", &*stream.observed.name)], of(stream)))
    };
    page.counter(
        "weir_stream_events_total",
        "Durable events since the stream began. Equals delivered + filtered + sampled_out + dead_lettered + discarded + pending",
        samples(|stream| stream.sum(|lane| lane.events)),
    )?;
    page.counter(
        "weir_stream_delivered_events_total",
        "Events the destination has",
        samples(|stream| stream.sum(|lane| lane.status.delivered)),
    )?;
    page.counter(
        "weir_stream_delivered_bytes_total",
        "Raw bytes of the events the destination has, with line ends",
        samples(|stream| stream.sum(|lane| lane.status.delivered_bytes)),
    )?;
    page.counter(
        "weir_stream_filtered_events_total",
        "Events the stream's rule did not select",
        samples(|stream| stream.sum(|lane| lane.status.filtered)),
    )?;
    page.counter(
        "weir_stream_sampled_out_events_total",
        "Events that sampling left out",
        samples(|stream| stream.sum(|lane| lane.status.sampled_out)),
    )?;
    page.counter(
        "weir_stream_dead_lettered_events_total",
        "Events that the destination refused for good",
        samples(|stream| stream.sum(|lane| lane.status.dead_lettered)),
    )?;
    let discarded = streams.iter().flat_map(|stream| {
        let known = DiscardReason::ALL.map(DiscardReason::as_str);
        let sums = stream.by_reason(known, |status| &status.discarded);
        by_reason(stream, sums)
    });
    page.counter(
        "weir_stream_discarded_events_total",
        "Events that left the journal undelivered",
        discarded,
    )?;
    page.gauge(
        "weir_stream_pending_events",
        "Durable events without a fate",
        samples(|stream| stream.sum(|lane| lane.pending)),
    )
}

fn lag(page: &mut Page<'_>, streams: &[StreamSnapshot<'_>]) -> fmt::Result {
    let samples = |of: fn(&StreamSnapshot<'_>) -> u64| {
        streams
            .iter()
            .map(move |stream| ([("stream", &*stream.observed.name)], of(stream)))
    };
    page.gauge(
        "weir_stream_lag_events",
        "Events between the cursors and the ends of the journals; the same number as pending",
        samples(|stream| stream.sum(|lane| lane.pending)),
    )?;
    page.gauge(
        "weir_stream_lag_bytes",
        "Raw bytes of these events, with line ends. An estimate: lag in events times the mean size of the events stored in the journal",
        samples(|stream| stream.sum(|lane| lane.lag_bytes)),
    )?;
    let ages = streams.iter().filter_map(|stream| {
        let age = stream.age()?;
        Some(([("stream", &*stream.observed.name)], age.as_secs_f64()))
    });
    page.gauge(
        "weir_stream_lag_seconds",
        "Time since the oldest undelivered event was received; 0 without one, absent while it is not known",
        ages,
    )
}

fn deliveries(page: &mut Page<'_>, streams: &[StreamSnapshot<'_>]) -> fmt::Result {
    let samples = |of: fn(&StreamSnapshot<'_>) -> u64| {
        streams
            .iter()
            .map(move |stream| ([("stream", &*stream.observed.name)], of(stream)))
    };
    page.counter(
        "weir_stream_batches_total",
        "Batches delivered since start",
        samples(|stream| stream.sum(|lane| lane.status.batches)),
    )?;
    page.counter(
        "weir_stream_sent_bytes_total",
        "Bytes of bodies that destinations accepted since start, as encoded for them",
        samples(|stream| stream.sum(|lane| lane.status.sent_bytes)),
    )?;
    let failures = streams.iter().flat_map(|stream| {
        let known = FAILURE_REASONS.iter().copied();
        let sums = stream.by_reason(known, |status| &status.failures);
        by_reason(stream, sums)
    });
    page.counter(
        "weir_stream_failures_total",
        "Tries to deliver that failed since start; each batch is tried again",
        failures,
    )?;
    let activities = streams.iter().flat_map(|stream| {
        stream.lanes.iter().flat_map(|lane| {
            LaneActivity::ALL.map(|activity| {
                let labels = [
                    ("stream", &*stream.observed.name),
                    ("journal", lane.journal.as_str()),
                    ("state", activity.as_str()),
                ];
                (labels, lane.status.activity == activity)
            })
        })
    });
    page.gauge(
        "weir_stream_activity",
        "1 for what the stream does in a journal: idle, delivering, retrying, troubled or stopped",
        activities,
    )
}

fn latency(page: &mut Page<'_>, streams: &[StreamSnapshot<'_>]) -> fmt::Result {
    let places: Vec<_> = streams
        .iter()
        .map(|stream| Measured {
            label: ("stream", &stream.observed.name),
            latency: &stream.observed.delivery_latency,
        })
        .collect();
    page.latency_histogram(
        "weir_stream_delivery_latency_seconds",
        "From received to delivered, counted by event",
        &places,
    )?;
    page.latency_quantiles(
        "weir_stream_delivery_latency_quantile_seconds",
        "From received to delivered since start; q=1 is the longest",
        &places,
    )
}

/// Samples of counts by reason, labelled with stream and reason.
fn by_reason<'s>(
    stream: &'s StreamSnapshot<'_>,
    counts: impl IntoIterator<Item = (&'static str, u64)>,
) -> impl Iterator<Item = ([(&'static str, &'s str); 2], u64)> {
    let name = &*stream.observed.name;
    counts
        .into_iter()
        .map(move |(reason, count)| ([("stream", name), ("reason", reason)], count))
}
