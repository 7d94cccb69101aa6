//! Delivery to one destination: the code that sends a batch and says what became of it.
//!
//! A sink is told one batch at a time per journal and answers with an [`Outcome`]; retry,
//! parking and the cursor are the stream's business (`shard`-side code in `stream` and
//! `node`), so a sink holds no state of its own but its connection. A new kind of
//! destination is one file here and one variant of [`SinkSettings`].

pub mod settings;

use std::time::Duration;

use crate::batch::Batch;

pub use settings::SinkSettings;

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The destination has all of it.
    Delivered,
    /// Try again: the destination or the way to it has a passing trouble.
    Retry {
        /// What happened, for the log, the metrics and audit events.
        why: Failure,
        /// Earliest time to try again, as the destination said (`Retry-After`, at most 1 h).
        after: Option<Duration>,
    },
    /// The batch is too large for the destination; send it in halves.
    Split {
        /// What the destination said.
        why: Failure,
    },
    /// The destination refuses this batch, or us; a retry alone will not help.
    Refused {
        /// What the destination said.
        why: Failure,
    },
}

/// Why a delivery failed: a word for counters and audit events, and text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The reason word, e.g. `http_5xx`, `http_4xx`, `connect_refused`, `timed_out`,
    /// `tls_failure`, `connection_closed`, `file_write_failed`. A closed list in `docs/operating.md`.
    pub reason: &'static str,
    /// What a person needs to find the cause: status, first bytes of the reply, OS error.
    pub detail: String,
}

/// A destination's delivering end. One value serves one journal of one stream, so at most
/// one batch is in flight through it and the order of a journal holds.
#[expect(
    async_fn_in_trait,
    reason = "used through the closed enum of sinks, never as dyn"
)]
pub trait Sink {
    /// Sends the batch and waits for the destination's answer. May be cancelled by dropping
    /// the future, which closes the connection; the batch then counts as not delivered.
    async fn deliver(&mut self, batch: &Batch) -> Outcome;

    /// State to keep in the cursor record with the batch just delivered, at most
    /// 1 KiB; empty for sinks that have none. It is given back to the sink's opener.
    fn state(&self) -> Vec<u8> {
        Vec::new()
    }
}
