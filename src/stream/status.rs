//! What a lane shows of itself: one value, replaced as a whole, so that it balances.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::position::{JournalId, Offset, Timestamp};

/// What a stream is doing in one journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LaneActivity {
    /// Everything durable is delivered.
    #[default]
    Idle,
    /// A batch fills or is on its way.
    Delivering,
    /// The last try failed; the next one is waited for.
    Retrying,
    /// The destination refuses everything, or there is no room for dead letters: it is asked again
    /// now and then.
    Parked,
    /// Its disk cannot be read or its record not be written; it tries again.
    Troubled,
    /// It has ended with the node.
    Stopped,
}

impl LaneActivity {
    /// All activities.
    pub const ALL: [Self; 6] = [
        Self::Idle,
        Self::Delivering,
        Self::Retrying,
        Self::Parked,
        Self::Troubled,
        Self::Stopped,
    ];

    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Delivering => "delivering",
            Self::Retrying => "retrying",
            Self::Parked => "parked",
            Self::Troubled => "troubled",
            Self::Stopped => "stopped",
        }
    }
}

/// A lane: one stream in one journal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LaneStatus {
    /// The journal.
    pub journal: Option<JournalId>,
    /// Where the stream began.
    pub start: Offset,
    /// Next offset it needs; everything before has a fate.
    pub cursor: Offset,
    /// Events the destination has.
    pub delivered: u64,
    /// Raw bytes of them, line ends included.
    pub delivered_bytes: u64,
    /// Events the stream's rule did not select.
    pub filtered: u64,
    /// Events sampling left out.
    pub sampled_out: u64,
    /// Events refused by the destination for good.
    pub dead_lettered: u64,
    /// Events that left undelivered, by reason word.
    pub discarded: BTreeMap<&'static str, u64>,
    /// What it is doing.
    pub activity: LaneActivity,
    /// Batches delivered since start.
    pub batches: u64,
    /// Bytes of bodies sent and accepted since start, as encoded for the destination.
    pub sent_bytes: u64,
    /// Failed tries since start, by failure word.
    pub failures: BTreeMap<&'static str, u64>,
    /// What the last failure said; empty when the last try succeeded.
    pub last_failure: Arc<str>,
    /// Receive time of the oldest event it still has to deliver, when it knows.
    pub oldest_received: Option<Timestamp>,
}
