//! Metrics of journals, their shards, the keeper of segments and the internal journal.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Page;
use super::latency::Measured;
use crate::control::health::{GATE_STATES, gate_word};
use crate::control::observed::Observed;
use crate::control::snapshot::{JournalSnapshot, Snapshot};
use crate::journal::internal::RecordKind;

/// Writes them.
pub(super) fn write(
    page: &mut Page<'_>,
    observed: &Observed,
    snapshot: &Snapshot<'_>,
) -> fmt::Result {
    journals(page, &snapshot.journals)?;
    shards(page, &snapshot.journals)?;
    keeper(page, observed)?;
    internal(page, observed)
}

fn journals(page: &mut Page<'_>, journals: &[JournalSnapshot<'_>]) -> fmt::Result {
    let samples = |of: fn(&JournalSnapshot<'_>) -> u64| {
        journals
            .iter()
            .map(move |journal| ([("journal", journal.name.as_str())], of(journal)))
    };
    page.gauge(
        "weir_journal_open_lines",
        "Lines judged and not yet durable",
        samples(|journal| journal.ledger.open),
    )?;
    page.counter(
        "weir_journal_durable_events_total",
        "Events made durable since the journal was made; the offset of the next one",
        samples(|journal| journal.ledger.durable_end.0),
    )?;
    page.gauge(
        "weir_journal_tail_bytes",
        "Compressed bytes of the newest blocks that are in memory",
        samples(|journal| journal.observed.tail.bytes() as u64),
    )?;
    let gates = journals.iter().flat_map(|journal| {
        GATE_STATES.map(|state| {
            let labels = [
                ("journal", journal.name.as_str()),
                ("state", gate_word(state)),
            ];
            (labels, journal.ledger.gate == state)
        })
    });
    page.gauge(
        "weir_journal_gate",
        "1 for the state the journal's gate is in: open, busy (syncing, passes at once), full, failed or stopping",
        gates,
    )?;
    let places: Vec<_> = journals
        .iter()
        .map(|journal| Measured {
            label: ("journal", &journal.name),
            latency: &journal.observed.durable_latency,
        })
        .collect();
    page.latency_histogram(
        "weir_journal_durable_latency_seconds",
        "From received to durable, counted by event",
        &places,
    )?;
    page.latency_quantiles(
        "weir_journal_durable_latency_quantile_seconds",
        "From received to durable since start; q=1 is the longest",
        &places,
    )
}

fn shards(page: &mut Page<'_>, journals: &[JournalSnapshot<'_>]) -> fmt::Result {
    let samples = |of: fn(&JournalSnapshot<'_>) -> u64| {
        journals
            .iter()
            .map(move |journal| ([("journal", journal.name.as_str())], of(journal)))
    };
    page.counter(
        "weir_shard_turns_total",
        "Turns of the loop of the journal's shard; at least one a second",
        samples(|journal| journal.observed.shard.state().turns.load(Ordering::Relaxed)),
    )?;
    page.gauge(
        "weir_shard_open_connections",
        "Connections open on the journal's shard",
        samples(|journal| {
            let state = journal.observed.shard.state();
            state.connections.load(Ordering::Relaxed)
        }),
    )
}

fn keeper(page: &mut Page<'_>, observed: &Observed) -> fmt::Result {
    let keeper = &observed.keeper;
    page.gauge(
        "weir_keeper_bytes",
        "Bytes of all segment files, spares included",
        one(&keeper.bytes),
    )?;
    page.gauge(
        "weir_keeper_max_bytes",
        "Bytes that segment files may take",
        one(&keeper.bytes_max),
    )?;
    page.gauge(
        "weir_keeper_held_bytes",
        "Bytes of segment files that a stream still needs",
        one(&keeper.held_bytes),
    )?;
    page.gauge(
        "weir_keeper_room_bytes",
        "Bytes those may take: the maximum, or less where others fill the disk",
        one(&keeper.room_bytes),
    )?;
    page.counter(
        "weir_keeper_discards_total",
        "Discards that streams were told to make",
        one(&keeper.discards),
    )?;
    page.counter(
        "weir_keeper_waits_total",
        "Orders of a segment that had to wait for room",
        one(&keeper.waits),
    )?;
    page.counter(
        "weir_keeper_expired_segments_total",
        "Delivered segments removed or used again past their time",
        one(&keeper.expired),
    )?;
    page.counter(
        "weir_keeper_taken_early_segments_total",
        "Delivered segments used again before their time because room ran out",
        one(&keeper.taken_early),
    )?;
    page.counter(
        "weir_keeper_failures_total",
        "Operations on segment files that the disk refused",
        one(&keeper.failures),
    )
}

fn internal(page: &mut Page<'_>, observed: &Observed) -> fmt::Result {
    let internal = &observed.internal;
    page.counter(
        "weir_internal_records_total",
        "Records made durable in the internal journal since start: audit events, and records of rejected lines",
        RecordKind::ALL.map(|kind| {
            let count = internal.records(kind).load(Ordering::Relaxed);
            ([("kind", kind.as_str())], count)
        }),
    )?;
    page.counter(
        "weir_internal_failed_records_total",
        "Records that could not be made durable in the internal journal",
        one(&internal.failed),
    )?;
    page.counter(
        "weir_internal_overwritten_records_total",
        "Records overwritten because the internal journal was full",
        one(&internal.overwritten),
    )
}

fn one(number: &AtomicU64) -> [([(&'static str, &'static str); 0], u64); 1] {
    [([], number.load(Ordering::Relaxed))]
}
