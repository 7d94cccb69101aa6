//! What an `http` input counts beside its lines: requests, bytes, refusals and timeouts.
//!
//! Owns plain counters that the shards raise and the control thread reads. Lines are not
//! counted here: they are in the ledger, durable with their blocks.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one `http` input, shared by its shards. All only rise.
#[derive(Debug, Default)]
pub struct HttpCounters {
    /// Connections that were served (`weir_http_connections_total`).
    pub connections: AtomicU64,
    /// Answers by status, in the order of [`HttpCounters::STATUSES`]
    /// (`weir_http_requests_total{code}`).
    pub requests: [AtomicU64; Self::STATUSES.len()],
    /// Refused requests, by [`RefusalReason::index`] (`weir_http_refused_total{reason}`).
    pub refused: [AtomicU64; RefusalReason::ALL.len()],
    /// Bytes of bodies as sent, read to their end or not (`weir_http_body_bytes_total`).
    pub body_bytes: AtomicU64,
    /// Bytes of bodies after decompression (`weir_http_decompressed_bytes_total`).
    pub decompressed_bytes: AtomicU64,
    /// Request heads that were no HTTP; the connection was closed
    /// (`weir_http_malformed_heads_total`).
    pub malformed_heads: AtomicU64,
    /// Connections closed because a request head took too long
    /// (`weir_http_timeouts_total{phase="head"}`).
    pub head_timeouts: AtomicU64,
    /// Connections closed because the client did not read its answers
    /// (`weir_http_timeouts_total{phase="answer"}`).
    pub answer_timeouts: AtomicU64,
    /// Connections closed because no request came; this is no fault
    /// (`weir_http_timeouts_total{phase="idle"}`).
    pub idle_timeouts: AtomicU64,
}

/// Why a request was refused as a whole; none of its lines was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// Another path than `/v1/events`.
    Path,
    /// Another method than POST.
    Method,
    /// A content encoding that is not supported.
    Encoding,
    /// Labels that cannot be used.
    Labels,
    /// No relay token was shown.
    Unauthorized,
    /// The head of a relay's request cannot be used.
    Relay,
    /// Another try of a relayed batch is under way.
    RelayBusy,
    /// The body is above `body_bytes_max`.
    BodyTooLarge,
    /// The body is above `decompressed_bytes_max` once decompressed.
    DecompressedTooLarge,
    /// The body grows by more than `expansion_max` when decompressed.
    Expansion,
    /// The body could not be decoded.
    Unreadable,
    /// The connection ended before the body did.
    Aborted,
    /// The body came too slowly.
    TooSlow,
    /// The memory budget is taken.
    Memory,
    /// The journal is full.
    JournalFull,
    /// The shard can make nothing durable.
    Failed,
    /// The node is stopping.
    Stopping,
    /// The lines were admitted, but their write or sync failed.
    NotDurable,
}

impl HttpCounters {
    /// The status codes an `http` input answers with.
    pub const STATUSES: [u16; 10] = [200, 400, 401, 404, 405, 408, 413, 415, 429, 503];

    /// Counts an answer.
    pub(super) fn answered(&self, status: u16) {
        let index = Self::STATUSES.iter().position(|known| *known == status);
        let index = index.expect("every answer has a status of the list");
        raise(&self.requests[index], 1);
    }

    /// Counts a refusal.
    pub(super) fn refused(&self, reason: RefusalReason) {
        raise(&self.refused[reason.index()], 1);
    }

    /// Refusals for `reason` so far.
    #[must_use]
    pub fn refusals(&self, reason: RefusalReason) -> u64 {
        self.refused[reason.index()].load(Ordering::Relaxed)
    }
}

impl RefusalReason {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 18] = [
        Self::Path,
        Self::Method,
        Self::Encoding,
        Self::Labels,
        Self::Unauthorized,
        Self::Relay,
        Self::RelayBusy,
        Self::BodyTooLarge,
        Self::DecompressedTooLarge,
        Self::Expansion,
        Self::Unreadable,
        Self::Aborted,
        Self::TooSlow,
        Self::Memory,
        Self::JournalFull,
        Self::Failed,
        Self::Stopping,
        Self::NotDurable,
    ];

    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Method => "method",
            Self::Encoding => "encoding",
            Self::Labels => "labels",
            Self::Unauthorized => "unauthorized",
            Self::Relay => "relay",
            Self::RelayBusy => "relay_busy",
            Self::BodyTooLarge => "body_too_large",
            Self::DecompressedTooLarge => "decompressed_too_large",
            Self::Expansion => "expansion",
            Self::Unreadable => "unreadable",
            Self::Aborted => "aborted",
            Self::TooSlow => "too_slow",
            Self::Memory => "memory",
            Self::JournalFull => "journal_full",
            Self::Failed => "failed",
            Self::Stopping => "stopping",
            Self::NotDurable => "not_durable",
        }
    }

    /// Index in [`Self::ALL`] and in the array of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Adds to a counter.
pub(super) fn raise(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_word() {
        for (index, reason) in RefusalReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
            let same_word = RefusalReason::ALL
                .iter()
                .filter(|other| other.as_str() == reason.as_str());
            assert_eq!(same_word.count(), 1);
        }
    }
}
