//! Where an event is: journals, segments, offsets and times.
//!
//! These are the words every stage shares. A position names an event for good: an offset
//! is never used twice, and a segment id is drawn anew each time a file is put to use.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Number of a journal within a node, from 0. Fixed when the data directory is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JournalId(pub u16);

impl JournalId {
    /// The internal journal: audit events and rejects.
    pub const INTERNAL: Self = Self(u16::MAX);
}

impl fmt::Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::INTERNAL {
            f.write_str("internal")
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// Position of an event in a journal, counted from 0, never used twice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Offset(pub u64);

impl Offset {
    /// The offset `events` further on.
    ///
    /// # Panics
    /// When the sum passes `u64::MAX`, which no journal reaches: at 10 million events a
    /// second it takes 58,000 years.
    #[must_use]
    pub fn plus(self, events: u64) -> Self {
        Self(
            self.0
                .checked_add(events)
                .expect("an offset stays below 2^64"),
        )
    }

    /// Events from `earlier` (inclusive) to `self` (exclusive); 0 when `earlier` is later.
    #[must_use]
    pub fn events_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A half-open range of offsets of one journal: `first` is in it, `end` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OffsetRange {
    /// First offset of the range.
    pub first: Offset,
    /// One past the last offset; never below `first`.
    pub end: Offset,
}

impl OffsetRange {
    /// Number of events in the range.
    #[must_use]
    pub fn events(self) -> u64 {
        self.end.events_since(self.first)
    }

    /// True when the range holds no event.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.end <= self.first
    }
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.first, self.end)
    }
}

/// 128 random bits, drawn each time a segment file is put to use. A block is valid only
/// under its segment's id, so that what an earlier use of the file left is never read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SegmentId(pub [u8; 16]);

impl SegmentId {
    /// Draws a new id from the operating system's random source.
    #[must_use]
    pub fn random() -> Self {
        Self(*uuid::Uuid::new_v4().as_bytes())
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SegmentId({self})")
    }
}

/// Wall-clock time in microseconds since 1970-01-01T00:00:00Z. For labels and reports;
/// ages are measured with the monotonic clock.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Microseconds from `earlier` to `self`; 0 when `earlier` is later.
    #[must_use]
    pub fn micros_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}
