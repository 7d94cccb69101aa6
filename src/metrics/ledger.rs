//! The ledger: the counters of promise S5 and the reasons for which a line is not stored.
//!
//! `received = stored + excluded + rejected` holds for every input once the lines are
//! durable; lines judged but not yet durable are `open`, counted apart. The counts of an
//! input are written with every block, so they balance after a restart too. Empty lines are
//! no events: they are `skipped` and not `received`.

use std::ops::{AddAssign, SubAssign};

/// Why a line was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// Longer than `line_bytes_max`.
    TooLong,
    /// Not one complete JSON object in valid UTF-8, or nested too deep.
    Malformed,
    /// It came over a relay, and had come over one before.
    RelayLoop,
}

impl RejectReason {
    /// All reasons, in the order their counts are stored.
    pub const ALL: [Self; 3] = [Self::TooLong, Self::Malformed, Self::RelayLoop];

    /// The word in metrics, answers and reject records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::RelayLoop => "relay_loop",
        }
    }

    /// Index in [`Self::ALL`] and in [`InputCounts::rejected`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::TooLong => 0,
            Self::Malformed => 1,
            Self::RelayLoop => 2,
        }
    }
}

/// Counts of one input on one journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InputCounts {
    /// Lines received, of any fate; empty lines are not among them.
    pub received: u64,
    /// Their bytes, without line ends.
    pub received_bytes: u64,
    /// Lines in the journal.
    pub stored: u64,
    /// Their bytes, without line ends.
    pub stored_bytes: u64,
    /// Empty lines.
    pub skipped: u64,
    /// Lines dropped by a node exclusion rule.
    pub excluded: u64,
    /// Lines rejected, by [`RejectReason::index`].
    pub rejected: [u64; RejectReason::ALL.len()],
}

impl InputCounts {
    /// The counts of `events` stored lines that take `bytes_with_ends` with their line ends.
    #[must_use]
    pub fn of_stored(events: u32, bytes_with_ends: usize) -> Self {
        let events = u64::from(events);
        let bytes = (bytes_with_ends as u64).saturating_sub(events);
        Self {
            received: events,
            received_bytes: bytes,
            stored: events,
            stored_bytes: bytes,
            ..Self::default()
        }
    }

    /// Lines with a fate; equals `received` for counts that balance.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.stored + self.excluded + self.rejected.iter().sum::<u64>()
    }

    /// True when every line received has exactly one fate.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.received == self.settled()
    }
}

impl AddAssign for InputCounts {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.received_bytes += other.received_bytes;
        self.stored += other.stored;
        self.stored_bytes += other.stored_bytes;
        self.skipped += other.skipped;
        self.excluded += other.excluded;
        for (own, added) in self.rejected.iter_mut().zip(other.rejected) {
            *own += added;
        }
    }
}

impl SubAssign for InputCounts {
    /// Takes off counts that are a part of these.
    fn sub_assign(&mut self, part: Self) {
        self.received -= part.received;
        self.received_bytes -= part.received_bytes;
        self.stored -= part.stored;
        self.stored_bytes -= part.stored_bytes;
        self.skipped -= part.skipped;
        self.excluded -= part.excluded;
        for (own, taken) in self.rejected.iter_mut().zip(part.rejected) {
            *own -= taken;
        }
    }
}

/// Why events left the journal undelivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DiscardReason {
    /// Their block on disk did not hold, or was gone with its file.
    Damaged,
    /// The destination took nothing for longer than `hold_max`.
    HoldMax,
    /// The journal was full and the stream may discard its oldest.
    JournalFull,
    /// The stream held more bytes than `backlog_bytes_max`.
    BacklogMax,
    /// Their segment was gone: taken by retention after the stream was removed for a while, or
    /// by someone's hand.
    Missing,
}

impl DiscardReason {
    /// All reasons, in the order their counts are stored.
    pub const ALL: [Self; 5] = [
        Self::Damaged,
        Self::HoldMax,
        Self::JournalFull,
        Self::BacklogMax,
        Self::Missing,
    ];

    /// The word in metrics and audit events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::HoldMax => "hold_max",
            Self::JournalFull => "journal_full",
            Self::BacklogMax => "backlog_max",
            Self::Missing => "missing",
        }
    }
}

/// What became of a stream's events in one journal. Together with what is pending they add
/// up to the events behind `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamCounts {
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
    /// Events that left undelivered, by [`DiscardReason::ALL`].
    pub discarded: [u64; DiscardReason::ALL.len()],
}

impl StreamCounts {
    /// Events with a fate.
    #[must_use]
    pub fn settled(&self) -> u64 {
        let Self {
            delivered,
            filtered,
            sampled_out,
            dead_lettered,
            discarded,
            ..
        } = self;
        delivered + filtered + sampled_out + dead_lettered + discarded.iter().sum::<u64>()
    }
}
