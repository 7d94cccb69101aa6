//! The status of a node as JSON: who is there, and whether the books balance.
//!
//! The numbers are those of the metrics page, taken in one look; `balanced` says whether
//! every line and every event has exactly one fate.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::control::health::{gate_word, unready};
use crate::control::observed::{Observed, ObservedKind};
use crate::control::snapshot::{
    InputSnapshot, JournalSnapshot, LaneSnapshot, Snapshot, StreamSnapshot,
};
use crate::filter::exclusions::ExclusionCounts;
use crate::metrics::ledger::DiscardReason;
use crate::metrics::ledger::RejectReason;

/// Counts by reason word.
type ByReason = BTreeMap<&'static str, u64>;

/// What `GET /v1/status` answers.
#[derive(Debug, Serialize)]
struct Status<'s> {
    version: &'static str,
    codec: &'static str,
    ready: bool,
    unready_reasons: Vec<String>,
    /// True when every input and every stream is balanced.
    balanced: bool,
    inputs: Vec<InputStatus<'s>>,
    exclusions: Vec<ExclusionStatus<'s>>,
    journals: Vec<JournalStatus>,
    streams: Vec<StreamStatus<'s>>,
}

#[derive(Debug, Serialize)]
struct InputStatus<'s> {
    name: &'s str,
    /// `tcp` or `http`; absent for one the configuration no longer has.
    kind: Option<&'static str>,
    received: u64,
    received_bytes: u64,
    stored: u64,
    stored_bytes: u64,
    skipped: u64,
    excluded: u64,
    rejected: ByReason,
    balanced: bool,
}

/// An exclusion rule of the node, with what it has dropped since start.
#[derive(Debug, Serialize)]
struct ExclusionStatus<'s> {
    rule: &'s str,
    events: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct JournalStatus {
    journal: u16,
    gate: &'static str,
    open_lines: u64,
    durable_end: u64,
    tail_bytes: usize,
    balanced: bool,
}

#[derive(Debug, Serialize)]
struct StreamStatus<'s> {
    name: &'s str,
    destination: &'static str,
    /// Durable events since the stream began.
    events: u64,
    delivered: u64,
    delivered_bytes: u64,
    filtered: u64,
    sampled_out: u64,
    dead_lettered: u64,
    discarded: ByReason,
    pending: u64,
    lag_bytes: u64,
    /// Absent while it is not known.
    lag_seconds: Option<f64>,
    batches: u64,
    sent_bytes: u64,
    failures: ByReason,
    balanced: bool,
    lanes: Vec<LaneView<'s>>,
}

/// A stream in one journal.
#[derive(Debug, Serialize)]
struct LaneView<'s> {
    journal: &'s str,
    activity: &'static str,
    start: u64,
    cursor: u64,
    pending: u64,
    /// What the last failure said; empty when the last try succeeded.
    last_failure: &'s str,
}

/// The status now, as one JSON object.
pub(super) fn page(observed: &Observed) -> String {
    let snapshot = Snapshot::take(observed);
    let inputs: Vec<_> = snapshot.inputs.iter().map(input).collect();
    let journals: Vec<_> = snapshot.journals.iter().map(journal).collect();
    let streams: Vec<_> = snapshot.streams.iter().map(stream).collect();
    let balanced = inputs.iter().all(|input| input.balanced)
        && journals.iter().all(|journal| journal.balanced)
        && streams.iter().all(|stream| stream.balanced);
    let unready_reasons = unready(observed);
    let status = Status {
        version: env!("CARGO_PKG_VERSION"),
        codec: observed.codec,
        ready: unready_reasons.is_empty(),
        unready_reasons,
        balanced,
        inputs,
        exclusions: snapshot
            .exclusions
            .counts()
            .iter()
            .map(|rule| exclusion(rule))
            .collect(),
        journals,
        streams,
    };
    serde_json::to_string(&status).expect("text keys and finite numbers are JSON")
}

fn input<'s>(input: &'s InputSnapshot<'_>) -> InputStatus<'s> {
    let counts = &input.counts;
    InputStatus {
        name: &input.name,
        kind: input.observed.map(|input| match input.kind {
            ObservedKind::Tcp(_) => "tcp",
            ObservedKind::Http(_) => "http",
        }),
        received: counts.received,
        received_bytes: counts.received_bytes,
        stored: counts.stored,
        stored_bytes: counts.stored_bytes,
        skipped: counts.skipped,
        excluded: counts.excluded,
        rejected: RejectReason::ALL
            .map(|reason| (reason.as_str(), counts.rejected[reason.index()]))
            .into(),
        balanced: counts.balances(),
    }
}

fn exclusion(rule: &ExclusionCounts) -> ExclusionStatus<'_> {
    ExclusionStatus {
        rule: &rule.name,
        events: rule.events.load(Ordering::Relaxed),
        bytes: rule.bytes.load(Ordering::Relaxed),
    }
}

fn journal(journal: &JournalSnapshot<'_>) -> JournalStatus {
    let ledger = &journal.ledger;
    JournalStatus {
        journal: journal.observed.id.0,
        gate: gate_word(ledger.gate),
        open_lines: ledger.open,
        durable_end: ledger.durable_end.0,
        tail_bytes: journal.observed.tail.bytes(),
        balanced: ledger.settled.iter().all(|(_, counts)| counts.balances()),
    }
}

fn stream<'s>(stream: &'s StreamSnapshot<'_>) -> StreamStatus<'s> {
    let known = DiscardReason::ALL.map(DiscardReason::as_str);
    StreamStatus {
        name: &stream.observed.name,
        destination: stream.observed.destination,
        events: stream.sum(|lane| lane.events),
        delivered: stream.sum(|lane| lane.status.delivered),
        delivered_bytes: stream.sum(|lane| lane.status.delivered_bytes),
        filtered: stream.sum(|lane| lane.status.filtered),
        sampled_out: stream.sum(|lane| lane.status.sampled_out),
        dead_lettered: stream.sum(|lane| lane.status.dead_lettered),
        discarded: stream.by_reason(known, |status| &status.discarded),
        pending: stream.sum(|lane| lane.pending),
        lag_bytes: stream.sum(|lane| lane.lag_bytes),
        lag_seconds: stream.age().map(|age| age.as_secs_f64()),
        batches: stream.sum(|lane| lane.status.batches),
        sent_bytes: stream.sum(|lane| lane.status.sent_bytes),
        failures: stream.by_reason([], |status| &status.failures),
        balanced: stream.balances(),
        lanes: stream.lanes.iter().map(lane).collect(),
    }
}

fn lane(lane: &LaneSnapshot) -> LaneView<'_> {
    let status = &lane.status;
    LaneView {
        journal: &lane.journal,
        activity: status.activity.as_str(),
        start: status.start.0,
        cursor: status.cursor.0,
        pending: lane.pending,
        last_failure: &status.last_failure,
    }
}
