//! Metrics of inputs: their ledger, their connections, their requests.

use std::fmt;
use std::iter;
use std::sync::atomic::Ordering;

use super::Page;
use crate::control::observed::{ObservedInput, ObservedKind};
use crate::control::snapshot::{InputSnapshot, Snapshot};
use crate::filter::exclusions::{ExclusionCounts, Exclusions};
use crate::ingest::http::{HttpCounters, RefusalReason};
use crate::ingest::tcp::TcpCounters;
use crate::metrics::ledger::{InputCounts, RejectReason};

/// Writes them.
pub(super) fn write(page: &mut Page<'_>, snapshot: &Snapshot<'_>) -> fmt::Result {
    ledger(page, &snapshot.inputs)?;
    exclusions(page, &snapshot.exclusions)?;
    let observed: Vec<_> = snapshot
        .inputs
        .iter()
        .filter_map(|input| input.observed)
        .collect();
    connections(page, &observed)?;
    let tcp: Vec<_> = observed.iter().filter_map(|input| as_tcp(input)).collect();
    tcp_connections(page, &tcp)?;
    let http: Vec<_> = observed.iter().filter_map(|input| as_http(input)).collect();
    http_requests(page, &http)?;
    http_bodies(page, &http)
}

fn ledger(page: &mut Page<'_>, inputs: &[InputSnapshot<'_>]) -> fmt::Result {
    let mut counter = |name, help, of: fn(&InputCounts) -> u64| {
        let samples = inputs
            .iter()
            .map(|input| ([("input", input.name.as_str())], of(&input.counts)));
        page.counter(name, help, samples)
    };
    counter(
        "weir_input_received_lines_total",
        "Lines received that have a durable fate, whichever; empty lines are not among them. Equals stored + excluded + rejected",
        |counts| counts.received,
    )?;
    counter(
        "weir_input_received_bytes_total",
        "Bytes of the lines received, without line ends",
        |counts| counts.received_bytes,
    )?;
    counter(
        "weir_input_stored_lines_total",
        "Lines in a journal",
        |counts| counts.stored,
    )?;
    counter(
        "weir_input_stored_bytes_total",
        "Bytes of the lines in a journal, without line ends and before compression",
        |counts| counts.stored_bytes,
    )?;
    counter(
        "weir_input_skipped_lines_total",
        "Empty lines; they are no events",
        |counts| counts.skipped,
    )?;
    counter(
        "weir_input_excluded_lines_total",
        "Lines dropped by an exclusion rule of the node",
        |counts| counts.excluded,
    )?;
    let rejected = inputs.iter().flat_map(|input| {
        RejectReason::ALL.map(|reason| {
            let labels = [("input", input.name.as_str()), ("reason", reason.as_str())];
            (labels, input.counts.rejected[reason.index()])
        })
    });
    page.counter(
        "weir_input_rejected_lines_total",
        "Lines refused for good; each is in the internal journal",
        rejected,
    )
}

fn exclusions(page: &mut Page<'_>, rules: &Exclusions) -> fmt::Result {
    let mut counter = |name, help, of: fn(&ExclusionCounts) -> u64| {
        let samples = rules
            .counts()
            .iter()
            .map(|rule| ([("rule", &*rule.name)], of(rule)));
        page.counter(name, help, samples)
    };
    counter(
        "weir_exclusion_rule_events_total",
        "Events that an exclusion rule of the node has dropped since start, those whose fate is not yet durable included",
        |rule| rule.events.load(Ordering::Relaxed),
    )?;
    counter(
        "weir_exclusion_rule_bytes_total",
        "Bytes of these events, without line ends",
        |rule| rule.bytes.load(Ordering::Relaxed),
    )
}

fn connections(page: &mut Page<'_>, inputs: &[&ObservedInput]) -> fmt::Result {
    let samples = |of: fn(&ObservedInput) -> u64| {
        inputs
            .iter()
            .map(move |input| ([("input", input.name.as_str())], of(input)))
    };
    page.gauge(
        "weir_input_open_connections",
        "Connections open now",
        samples(|input| input.connections.open.load(Ordering::Relaxed)),
    )?;
    page.counter(
        "weir_input_connections_total",
        "Connections accepted since start",
        samples(|input| input.connections.accepted.load(Ordering::Relaxed)),
    )?;
    page.counter(
        "weir_input_refused_connections_total",
        "Connections closed at once because too many were open",
        samples(|input| input.connections.refused.load(Ordering::Relaxed)),
    )
}

fn as_tcp(input: &ObservedInput) -> Option<(&str, &TcpCounters)> {
    match &input.kind {
        ObservedKind::Tcp(counters) => Some((&input.name, counters)),
        ObservedKind::Http(_) => None,
    }
}

fn as_http(input: &ObservedInput) -> Option<(&str, &HttpCounters)> {
    match &input.kind {
        ObservedKind::Tcp(_) => None,
        ObservedKind::Http(counters) => Some((&input.name, counters)),
    }
}

fn tcp_connections(page: &mut Page<'_>, inputs: &[(&str, &TcpCounters)]) -> fmt::Result {
    let samples = |of: fn(&TcpCounters) -> u64| {
        inputs
            .iter()
            .map(move |(name, counters)| ([("input", *name)], of(counters)))
    };
    page.counter(
        "weir_tcp_idle_closed_connections_total",
        "Connections closed because they were silent for idle_timeout",
        samples(|counters| counters.idle_closed.load(Ordering::Relaxed)),
    )?;
    page.counter(
        "weir_tcp_failed_connections_total",
        "Connections that ended with an error of the socket",
        samples(|counters| counters.failed.load(Ordering::Relaxed)),
    )
}

fn http_requests(page: &mut Page<'_>, inputs: &[(&str, &HttpCounters)]) -> fmt::Result {
    let statuses = HttpCounters::STATUSES.map(|status| status.to_string());
    let answers = inputs.iter().flat_map(|(name, counters)| {
        iter::zip(&statuses, &counters.requests).map(move |(status, count)| {
            let labels = [("input", *name), ("code", status.as_str())];
            (labels, count.load(Ordering::Relaxed))
        })
    });
    page.counter(
        "weir_http_requests_total",
        "Requests answered, by status",
        answers,
    )?;
    let refusals = inputs.iter().flat_map(|(name, counters)| {
        RefusalReason::ALL.map(|reason| {
            let labels = [("input", *name), ("reason", reason.as_str())];
            (labels, counters.refusals(reason))
        })
    });
    page.counter(
        "weir_http_refused_total",
        "Requests refused as a whole, by reason",
        refusals,
    )?;
    let timeouts = inputs.iter().flat_map(|(name, counters)| {
        let phases = [
            ("head", &counters.head_timeouts),
            ("answer", &counters.answer_timeouts),
            ("idle", &counters.idle_timeouts),
        ];
        phases.map(|(phase, count)| {
            let labels = [("input", *name), ("phase", phase)];
            (labels, count.load(Ordering::Relaxed))
        })
    });
    page.counter(
        "weir_http_timeouts_total",
        "Connections closed because the client was too slow: with its request head, with reading its answers, or without a request (idle, no fault)",
        timeouts,
    )
}

fn http_bodies(page: &mut Page<'_>, inputs: &[(&str, &HttpCounters)]) -> fmt::Result {
    let mut counter = |name, help, of: fn(&HttpCounters) -> u64| {
        let samples = inputs
            .iter()
            .map(|(name, counters)| ([("input", *name)], of(counters)));
        page.counter(name, help, samples)
    };
    counter(
        "weir_http_connections_total",
        "Connections that were served",
        |counters| counters.connections.load(Ordering::Relaxed),
    )?;
    counter(
        "weir_http_body_bytes_total",
        "Bytes of bodies as sent, read to their end or not",
        |counters| counters.body_bytes.load(Ordering::Relaxed),
    )?;
    counter(
        "weir_http_decompressed_bytes_total",
        "Bytes of bodies after decompression",
        |counters| counters.decompressed_bytes.load(Ordering::Relaxed),
    )?;
    counter(
        "weir_http_malformed_heads_total",
        "Request heads that were no HTTP; the connection was closed",
        |counters| counters.malformed_heads.load(Ordering::Relaxed),
    )
}
