//! A journal as its room is planned from: segments, how streams hold them, spares.
//!
//! Borrowed for one look, never copied: a journal may have ten thousand segments. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::journal::segments::SegmentEntry;
use crate::journal::settings::{HoldPolicy, WhenFull};
use crate::position::{Offset, Timestamp};

/// How a stream holds a journal.
#[derive(Debug, Clone)]
pub struct LaneView<'a> {
    /// What it may hold.
    pub policy: &'a HoldPolicy,
    /// Its durable cursor.
    pub cursor: Offset,
    /// Since when, on the monotonic clock, its destination fails.
    pub failing_since: Option<Duration>,
    /// It was told to give up its events below, and has not done so yet.
    pub ordered: Option<Offset>,
}

/// One journal.
#[derive(Debug, Clone)]
pub struct JournalView<'a> {
    /// Its segments, by sequence.
    pub segments: &'a BTreeMap<u64, SegmentEntry>,
    /// The streams in it, in the order they have in every journal.
    pub lanes: &'a [LaneView<'a>],
    /// Length of a new segment.
    pub file_bytes: u64,
    /// Spares that are ready.
    pub spares_ready: usize,
    /// Spares to keep ready.
    pub spares_wanted: usize,
}

impl LaneView<'_> {
    /// Where the stream will be when it has done as told.
    fn effective(&self) -> Offset {
        self.ordered.unwrap_or(self.cursor).max(self.cursor)
    }

    /// True when it may lose its oldest events for want of room.
    pub(super) fn discards_oldest(&self) -> bool {
        self.policy.when_full == WhenFull::DiscardOldest
    }
}

impl<'a> JournalView<'a> {
    /// Bytes of its segments and of the spares that are ready.
    pub(super) fn bytes(&self) -> u64 {
        let segments: u64 = self.segments.values().map(|entry| entry.file_bytes).sum();
        segments + self.spares_ready as u64 * self.file_bytes
    }

    /// True when more spares are ready than it wants: failures and restarts leave such.
    pub(super) fn has_surplus_spares(&self) -> bool {
        self.spares_ready > self.spares_wanted
    }

    /// The lane that is furthest behind, with its index.
    pub(super) fn lowest(&self) -> Option<(usize, &LaneView<'a>)> {
        let lanes = self.lanes.iter().enumerate();
        lanes.min_by_key(|(_, lane)| lane.cursor)
    }

    /// Bytes of the segments that someone at `from` still needs; the one being written is among
    /// them.
    pub(super) fn held_bytes(&self, from: Offset) -> u64 {
        let newest_first = self.segments.values().rev();
        newest_first
            .take_while(|entry| entry.end.is_none_or(|end| end > from))
            .map(|entry| entry.file_bytes)
            .sum()
    }

    /// Bytes a stream will hold here when it has done as told.
    pub(super) fn held_by(&self, stream: usize) -> u64 {
        let lane = self.lanes.get(stream);
        lane.map_or(0, |lane| self.held_bytes(lane.effective()))
    }

    /// The closed segments a stream will still hold when it has done as told, oldest first.
    fn closed_held_by(&self, stream: usize) -> impl Iterator<Item = (&'a SegmentEntry, Offset)> {
        let from = self.lanes[stream].effective();
        let ended = move |entry: &&SegmentEntry| entry.end.is_some_and(|end| end <= from);
        let held = self.segments.values().skip_while(ended);
        held.map_while(|entry| entry.end.map(|end| (entry, end)))
    }

    /// How far a stream has to give up to hold `bytes` less, as far as closed segments reach.
    pub(super) fn end_of_excess(&self, stream: usize, bytes: u64) -> Option<Offset> {
        let (mut freed, mut to) = (0, None);
        for (entry, end) in self.closed_held_by(stream) {
            if freed >= bytes {
                break;
            }
            freed += entry.file_bytes;
            to = Some(end);
        }
        to
    }

    /// The end of the last closed segment a stream holds whose events were all received before
    /// `time`.
    pub(super) fn end_of_received_before(&self, stream: usize, time: Timestamp) -> Option<Offset> {
        let held = self.closed_held_by(stream);
        let old = held.take_while(|(entry, _)| entry.last_used < time);
        old.last().map(|(_, end)| end)
    }

    /// The oldest segment and its end, when it can be taken at all: it is closed, and a later
    /// one surely has a block. Counters, positions and time of the journal stand in its last
    /// block, so that one stays.
    pub(super) fn oldest(&self) -> Option<(&'a SegmentEntry, Offset)> {
        let oldest = self.segments.values().next()?;
        let end = oldest.end?;
        let passed = self.lanes.iter().any(|lane| lane.cursor > end);
        let mut closed = self.segments.values().rev().filter_map(|entry| entry.end);
        let followed = passed || closed.next().is_some_and(|newest| newest > end);
        // A cursor alone may be ahead of a journal that has lost its end.
        (followed && self.segments.len() > 1).then_some((oldest, end))
    }

    /// The oldest segment, when it can be taken and every stream is past it.
    pub(super) fn oldest_delivered(&self) -> Option<&'a SegmentEntry> {
        let (oldest, end) = self.oldest()?;
        let passed = self.lanes.iter().all(|lane| lane.cursor >= end);
        passed.then_some(oldest)
    }

    /// The oldest segment, its end and the streams that hold it, when all of them may discard.
    pub(super) fn oldest_discardable(&self) -> Option<(&'a SegmentEntry, Offset, Vec<usize>)> {
        let (oldest, end) = self.oldest()?;
        let lanes = self.lanes.iter().enumerate();
        let holders = lanes.filter(|(_, lane)| lane.cursor < end);
        let holders: Vec<_> = holders.collect();
        let all_discard = holders.iter().all(|(_, lane)| lane.discards_oldest());
        (!holders.is_empty() && all_discard).then(|| {
            let streams = holders.into_iter().map(|(stream, _)| stream);
            (oldest, end, streams.collect())
        })
    }
}
