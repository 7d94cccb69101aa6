//! A lane: one stream in one journal, from its cursor to the outcome of its batches.
//!
//! A pure state machine. The shell asks [`Lane::next`] what to do, does it, and reports. A
//! batch is cut before its first byte is sent, and the cut is durable before that; one batch
//! is out at a time, so the order of the journal holds through retries. The cursor passes
//! an event only when the event has a fate.

use std::sync::Arc;
use std::time::Duration;

use crate::batch::{Batch, BatchId, BatchPart, CUTS_MAX, CursorState, Cut, Selected, Taken};
use crate::block::Block;
use crate::metrics::ledger::DiscardReason;
use crate::position::{JournalId, Offset, OffsetRange, SegmentId, Timestamp};
use crate::stream::remaining::remaining;
use crate::stream::settings::BatchLimits;

/// Progress that is not durable yet is made so after this long.
const RECORD_AFTER: Duration = Duration::from_millis(100);

/// What the shell does next.
#[derive(Debug, Clone)]
pub enum LaneAction {
    /// Read what lies at the offset, then call [`Lane::read`], [`Lane::gap`] or [`Lane::end`].
    Read(Offset),
    /// Find how many events of the part, from its first on, fit the limits, at least one of those
    /// that are taken, then call [`Lane::measured`]. Asked only for a block that is too large for
    /// a batch as a whole.
    Measure {
        /// The rest of the block.
        part: BatchPart,
        /// Raw bytes that the events taken may have.
        bytes_max: u64,
        /// Events that may be taken.
        events_max: u64,
    },
    /// Make this state durable, then call [`Lane::recorded`].
    Record(CursorState),
    /// Send the batch, then call [`Lane::delivered`], [`Lane::failed`] or [`Lane::split`].
    Deliver(Batch),
    /// Wait for time or for more of the journal, whichever comes first.
    Wait {
        /// Monotonic time; `None`: as long as it takes.
        until: Option<Duration>,
        /// Raw bytes that have to come; 0: any.
        raw_bytes: u64,
    },
    /// Everything durable is delivered and recorded, and the lane is draining: end.
    Done,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Lane {
    stream: Arc<str>,
    journal: JournalId,
    version: u64,
    limits: BatchLimits,
    state: CursorState,
    /// The range being gathered for: the front cut again after a crash or split, or what is
    /// read for the next cut.
    parts: Vec<BatchPart>,
    /// What is taken of the parts.
    taken: Taken,
    /// What of the batch that is out has its fate, when the destination took only some of it.
    settled: Settled,
    /// Bytes that the parts hold in memory, blocks and lines.
    held_bytes: usize,
    /// Of these, those of parts of which not all events are taken.
    held_partly: usize,
    /// When the first part came.
    since: Option<Duration>,
    /// Next offset to read.
    next: Offset,
    phase: Phase,
    /// Since when progress is not durable.
    unrecorded: Option<Duration>,
    /// What lies behind the last part read, until the batch before it is gone.
    behind: Option<Behind>,
    attempt: u32,
    /// No try begins before this time. It outlives the batch: what is cut in the place of a
    /// discarded one waits as long as the destination asked for.
    not_before: Duration,
    draining: bool,
}

/// Events of a batch that have their fate while others are to be sent again.
#[derive(Debug, Clone, Copy, Default)]
struct Settled {
    delivered: u64,
    delivered_bytes: u64,
    dead_lettered: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Gathers parts.
    Filling,
    /// The end of the durable journal was reached at this cursor; waits for more.
    AtEnd,
    /// The cut is to be recorded before it is sent.
    Cut,
    /// The batch is out, or waits for its next try.
    Sending,
    /// The next try is at this time.
    Retrying(Duration),
}

#[derive(Debug, Clone)]
enum Behind {
    Gap(OffsetRange, DiscardReason),
    Part(BatchPart),
    /// Events up to here are not for this stream.
    Passed(Offset),
}

impl Lane {
    /// A lane that goes on from a recorded state, under this version of rule, sampling and template.
    ///
    /// Ranges that were cut under another version, before a restart with a changed configuration,
    /// are sent under this one, and have its identity: what the other would have sent cannot be
    /// known any more.
    #[must_use]
    pub fn new(
        stream: Arc<str>,
        journal: JournalId,
        (limits, version): (BatchLimits, u64),
        mut state: CursorState,
    ) -> Self {
        for cut in &mut state.cuts {
            cut.version = version;
        }
        let next = state
            .cuts
            .first()
            .map_or(state.cursor, |cut| cut.range.first);
        Self {
            stream,
            journal,
            version,
            limits,
            state,
            parts: Vec::new(),
            taken: Taken::default(),
            settled: Settled::default(),
            held_bytes: 0,
            held_partly: 0,
            since: None,
            next,
            phase: Phase::Filling,
            unrecorded: None,
            behind: None,
            attempt: 0,
            not_before: Duration::ZERO,
            draining: false,
        }
    }

    /// The state as it is, durable or not.
    #[must_use]
    pub fn state(&self) -> &CursorState {
        &self.state
    }

    /// Receive time of the oldest event in hand.
    #[must_use]
    pub fn oldest_received(&self) -> Option<Timestamp> {
        self.parts.first().map(|part| part.block.received_first)
    }

    /// Bytes of blocks and lines in hand.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// True while a batch is out or waits for its next try.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        matches!(self.phase, Phase::Sending | Phase::Retrying(_))
    }

    /// Goes on under another version of rule, sampling and template: from the next uncut batch on.
    /// False while a batch is cut; then the version stays, and so must what is given to
    /// [`Lane::read`].
    #[must_use]
    pub fn adopt(&mut self, version: u64) -> bool {
        let free = self.state.cuts.is_empty();
        if free {
            self.version = version;
            self.behind = None;
            self.restart_front();
        }
        free
    }

    /// From now on open batches close at once, and the lane is done when all is delivered.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// What to do next.
    pub fn next(&mut self, now: Duration) -> LaneAction {
        loop {
            match self.phase {
                Phase::Cut => return LaneAction::Record(self.state.clone()),
                Phase::Sending => return LaneAction::Deliver(self.batch()),
                Phase::Retrying(at) if now >= at => self.phase = Phase::Sending,
                Phase::Retrying(at) => return self.wait(now, Some(at), u64::MAX),
                Phase::Filling | Phase::AtEnd => {
                    if let Some(action) = self.fill(now) {
                        return action;
                    }
                }
            }
        }
    }

    /// The block that holds the offset asked for, and what the stream takes of it; `None`: all.
    pub fn read(&mut self, block: Arc<Block>, selected: Option<Arc<Selected>>, now: Duration) {
        debug_assert!(block.range().first <= self.next && self.next < block.range().end);
        self.phase = Phase::Filling;
        let range = OffsetRange {
            first: self.next,
            end: block.range().end,
        };
        self.behind = Some(Behind::Part(BatchPart {
            block,
            range,
            selected,
        }));
        self.since.get_or_insert(now);
    }

    /// The events at the offset asked for cannot be read any more, for this reason.
    pub fn gap(&mut self, range: OffsetRange, reason: DiscardReason) {
        debug_assert!(range.first <= self.next && !range.is_empty());
        self.phase = Phase::Filling;
        let first = self.next;
        self.behind = Some(Behind::Gap(OffsetRange { first, ..range }, reason));
    }

    /// The block that holds the offset asked for, which is not for this stream: its events are
    /// filtered. Where they are part of a cut that was recorded, they are sent as they were cut.
    pub fn pass(&mut self, block: Arc<Block>, now: Duration) {
        self.read(block, None, now);
        if let Some(Behind::Part(part)) = self.behind.take_if(|_| self.state.cuts.is_empty()) {
            self.behind = Some(Behind::Passed(part.range.end));
        }
    }

    /// The offset asked for is not durable yet.
    pub fn end(&mut self) {
        self.phase = Phase::AtEnd;
    }

    /// So many events from the first of the part asked for, taken or not, fit the limits.
    pub fn measured(&mut self, events: u64) {
        let Some(Behind::Part(mut part)) = self.behind.take() else {
            return;
        };
        let end = part.range.first.plus(events.clamp(1, part.range.events()));
        part.range.end = end;
        self.take_part(part);
        self.cut();
    }

    /// The state handed out is durable.
    pub fn recorded(&mut self) {
        self.unrecorded = None;
        if self.phase == Phase::Cut {
            self.phase = Phase::Retrying(self.not_before);
        }
    }

    /// The destination has the batch, `raw_bytes` long before compression, and the sink's state is
    /// to be found again.
    pub fn delivered(&mut self, raw_bytes: u64, sink: Vec<u8>, now: Duration) {
        self.settled.delivered += self.taken.events;
        self.settled.delivered_bytes += raw_bytes;
        self.state.sink = sink;
        self.conclude(now);
    }

    /// What is out of the batch is in the dead letters, durably.
    pub fn dead_lettered(&mut self, now: Duration) {
        self.settled.dead_lettered += self.taken.events;
        self.conclude(now);
    }

    /// The destination said what became of each record of the batch: these, numbered from 0, are to
    /// be sent again; so many are in the dead letters, durably; it has the others, so many raw bytes
    /// of them. Call [`Lane::failed`] next when there is something to be sent again.
    pub fn partly(
        &mut self,
        retry: &[u32],
        dead_lettered: u64,
        delivered_bytes: u64,
        now: Duration,
    ) {
        let left = retry.len() as u64;
        self.settled.delivered += self.taken.events - left - dead_lettered;
        self.settled.delivered_bytes += delivered_bytes;
        self.settled.dead_lettered += dead_lettered;
        self.parts = remaining(&self.parts, retry);
        self.taken.events = left;
        if left == 0 {
            self.conclude(now);
        }
    }

    /// Every event of the batch has its fate.
    fn conclude(&mut self, now: Duration) {
        let cut = self.state.cuts.remove(0);
        let (taken, settled) = (self.taken, self.settled);
        assert_eq!(
            settled.delivered + settled.dead_lettered + taken.filtered + taken.sampled_out,
            cut.range.events(),
            "the parts of a batch are its range"
        );
        self.state.cursor = cut.range.end;
        let counts = &mut self.state.counts;
        counts.delivered += settled.delivered;
        counts.delivered_bytes += settled.delivered_bytes;
        counts.dead_lettered += settled.dead_lettered;
        counts.filtered += taken.filtered;
        counts.sampled_out += taken.sampled_out;
        self.attempt = 0;
        self.begin_next(now);
    }

    /// The sink has a new state to be recorded at once; the batch is then sent as before.
    pub fn record_sink(&mut self, sink: Vec<u8>) {
        self.state.sink = sink;
        self.phase = Phase::Cut;
    }

    /// The try failed; the next one is due at `again`.
    pub fn failed(&mut self, again: Duration) {
        self.attempt = self.attempt.saturating_add(1);
        self.not_before = again;
        self.phase = Phase::Retrying(again);
    }

    /// A batch that waits for its next try is tried at once.
    pub fn hurry(&mut self, now: Duration) {
        if let Phase::Retrying(at) = &mut self.phase {
            *at = now.min(*at);
            self.not_before = self.not_before.min(now);
        }
    }

    /// Tries so far of the batch that is out.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The batch is too large for the destination: it is sent in halves, each a range of its
    /// own. False when it cannot be split: it is one event, or there are too many cuts.
    #[must_use]
    pub fn split(&mut self) -> bool {
        let cut = self.state.cuts[0];
        if cut.range.events() < 2 || !self.has_room_for_cut() {
            return false;
        }
        let middle = self.middle(cut.range);
        let (mut first, mut second) = (cut, cut);
        first.range.end = middle;
        second.range.first = middle;
        self.state.cuts.splice(0..1, [first, second]);
        self.restart_front();
        // Cut anew, so recorded anew before it is sent.
        true
    }

    /// Makes room for one more cut, when there is none, by joining the last two: neither was sent yet
    /// but as part of what they were split from.
    fn has_room_for_cut(&mut self) -> bool {
        let cuts = &mut self.state.cuts;
        if cuts.len() < CUTS_MAX {
            return true;
        }
        let [.., before, last] = &mut cuts[..] else {
            return false;
        };
        let follows = before.range.end == last.range.first
            && (before.segment, before.version) == (last.segment, last.version);
        if follows {
            before.range.end = last.range.end;
            cuts.pop();
        }
        follows
    }

    /// A block of the batch that is out does not hold: its events are given up, and what is
    /// left of the batch is cut anew.
    pub fn unreadable(&mut self, lost: OffsetRange, now: Duration) {
        self.give_up(lost, DiscardReason::Damaged, now);
    }

    /// Policy gives up all events below `to`. Cuts below are gone, and one that reaches beyond
    /// is cut anew behind it. The destination is no better for it: its next try is due when it
    /// was.
    pub fn discard_to(&mut self, to: Offset, reason: DiscardReason, now: Duration) {
        let first = self.state.cursor;
        if to <= first {
            return;
        }
        self.state.cuts.retain_mut(|cut| {
            cut.range.first = cut.range.first.max(to);
            cut.range.first < cut.range.end
        });
        self.discard(OffsetRange { first, end: to }, reason, now);
        self.begin_next(now);
    }

    /// Gives up what of the front cut is lost, and cuts the rest anew.
    fn give_up(&mut self, lost: OffsetRange, reason: DiscardReason, now: Duration) {
        let cut = self.state.cuts[0];
        if lost.first > cut.range.first {
            let (mut before, mut rest) = (cut, cut);
            before.range.end = lost.first;
            rest.range.first = lost.first;
            self.state.cuts[0] = before;
            // What is behind was sent under this cut too: it stays a range of its own, so that
            // it is not cut together with what was not.
            if self.state.cuts.len() < CUTS_MAX {
                self.state.cuts.insert(1, rest);
            }
        } else {
            let first = cut.range.first;
            let end = lost.end.min(cut.range.end);
            self.state.cuts.remove(0);
            if end < cut.range.end {
                let mut rest = cut;
                rest.range.first = end;
                self.state.cuts.insert(0, rest);
            }
            self.discard(OffsetRange { first, end }, reason, now);
        }
        self.restart_front();
    }

    /// Gathers parts until there is a batch to cut; `None` when the phase changed.
    fn fill(&mut self, now: Duration) -> Option<LaneAction> {
        match self.behind.clone() {
            Some(Behind::Gap(range, reason)) => {
                self.pass_gap(range, reason, now);
                None
            }
            Some(Behind::Part(part)) => self.take(part, now),
            Some(Behind::Passed(end)) => {
                self.pass_filtered(end, now);
                None
            }
            None if self.again().is_some_and(|cut| self.next >= cut.range.end) => {
                // The front cut is whole again: it is recorded already, but after a split it
                // may not be, and once more costs little.
                self.phase = Phase::Cut;
                None
            }
            None if self.phase == Phase::AtEnd => self.at_end(now),
            // A long way through events that are not taken is made durable as it is gone.
            None if self.parts.is_empty() && self.is_record_due(now) => {
                Some(LaneAction::Record(self.state.clone()))
            }
            None => Some(LaneAction::Read(self.next)),
        }
    }

    /// The cut that is to be sent again, if there is one.
    fn again(&self) -> Option<Cut> {
        self.state.cuts.first().copied()
    }

    /// Nothing more is durable: cut what is old enough, or wait.
    fn at_end(&mut self, now: Duration) -> Option<LaneAction> {
        let due = self
            .since
            .filter(|_| !self.parts.is_empty())
            .map(|since| since + self.limits.age_max);
        match due {
            Some(due) if self.draining || now >= due => {
                self.cut();
                None
            }
            Some(due) => {
                self.phase = Phase::Filling;
                let missing = match self.limits.records_max {
                    Some(_) => 0,
                    None => self.limits.bytes_max.saturating_sub(self.taken.raw_bytes),
                };
                Some(self.wait(now, Some(due), missing.max(1)))
            }
            None if self.draining && self.unrecorded.is_none() => Some(LaneAction::Done),
            None if self.draining => Some(LaneAction::Record(self.state.clone())),
            None => {
                self.phase = Phase::Filling;
                Some(self.wait(now, None, 0))
            }
        }
    }

    /// A wait that makes progress durable in time.
    fn wait(&mut self, now: Duration, until: Option<Duration>, raw_bytes: u64) -> LaneAction {
        if self.is_record_due(now) {
            return LaneAction::Record(self.state.clone());
        }
        let record_at = self.unrecorded.map(|since| since + RECORD_AFTER);
        let until = [until, record_at].into_iter().flatten().min();
        LaneAction::Wait { until, raw_bytes }
    }

    fn is_record_due(&self, now: Duration) -> bool {
        self.unrecorded
            .is_some_and(|since| since + RECORD_AFTER <= now)
    }

    /// Adds a block to the batch, as far as it belongs there.
    fn take(&mut self, mut part: BatchPart, now: Duration) -> Option<LaneAction> {
        if let Some(cut) = self.again() {
            part.range.end = part.range.end.min(cut.range.end);
            self.behind = None;
            self.take_part(part);
            return None;
        }
        let of_part = part.taken();
        if self.parts.is_empty() && of_part.events == 0 {
            self.behind = None;
            self.pass_over(part.range, of_part, now);
            return None;
        }
        let other_segment = self
            .parts
            .last()
            .is_some_and(|last| last.block.segment != part.block.segment);
        let fits = self.fits(of_part);
        // A batch that fills slowly, because little is taken, does not wait for the journal's end.
        let is_due = part.selected.is_some()
            && self
                .since
                .is_some_and(|since| since + self.limits.age_max <= now);
        if !self.parts.is_empty() && (other_segment || !fits || is_due) {
            // The block stays behind and begins the next batch.
            self.cut();
            return None;
        }
        if fits {
            self.behind = None;
            self.take_part(part);
            if self.is_full() {
                self.cut();
            }
            return None;
        }
        // One block that is more than a batch may hold.
        Some(LaneAction::Measure {
            part,
            bytes_max: self.limits.bytes_max,
            events_max: self.limits.records_max.unwrap_or(u64::MAX),
        })
    }

    /// Whether the batch is within its limits with this too.
    fn fits(&self, more: Taken) -> bool {
        let events = self.taken.events + more.events;
        self.taken.raw_bytes + more.raw_bytes <= self.limits.bytes_max
            && self.limits.records_max.is_none_or(|max| events <= max)
    }

    fn is_full(&self) -> bool {
        let is_last = |max| self.taken.events >= max;
        self.taken.raw_bytes >= self.limits.bytes_max
            || self.limits.records_max.is_some_and(is_last)
            // A rule that takes little holds the places of many blocks before a batch is full.
            || self.held_partly as u64 >= self.limits.bytes_max
    }

    fn take_part(&mut self, part: BatchPart) {
        let taken = part.taken();
        self.taken.events += taken.events;
        self.taken.raw_bytes += taken.raw_bytes;
        self.taken.filtered += taken.filtered;
        self.taken.sampled_out += taken.sampled_out;
        self.next = part.range.end;
        // Of a block that gives the batch nothing, nothing is kept but its place in the range.
        if taken.events > 0 {
            let own = (part.selected.as_ref()).and_then(|selected| selected.own.as_ref());
            let bytes = part.block.image_len() + own.map_or(0, |own| own.span.len());
            self.held_bytes += bytes;
            self.held_partly += if part.selected.is_some() { bytes } else { 0 };
            self.parts.push(part);
        }
    }

    fn pass_gap(&mut self, range: OffsetRange, reason: DiscardReason, now: Duration) {
        if self.again().is_some() {
            // Part of a recorded cut is gone: what is left of it is cut anew.
            self.behind = None;
            self.give_up(range, reason, now);
            return;
        }
        if !self.parts.is_empty() {
            self.cut();
            return;
        }
        self.behind = None;
        self.discard(range, reason, now);
        self.next = range.end;
    }

    /// The batch before what is not for this stream is cut first: a cut has no gaps.
    fn pass_filtered(&mut self, end: Offset, now: Duration) {
        if !self.parts.is_empty() {
            self.cut();
            return;
        }
        self.behind = None;
        let range = OffsetRange {
            first: self.next,
            end,
        };
        let filtered = Taken {
            filtered: range.events(),
            ..Taken::default()
        };
        self.pass_over(range, filtered, now);
    }

    /// Nothing of a range is taken, and no batch has begun: the cursor goes on.
    fn pass_over(&mut self, range: OffsetRange, taken: Taken, now: Duration) {
        self.since = None;
        self.state.counts.filtered += taken.filtered;
        self.state.counts.sampled_out += taken.sampled_out;
        self.state.cursor = range.end;
        self.next = range.end;
        self.unrecorded.get_or_insert(now);
    }

    fn discard(&mut self, range: OffsetRange, reason: DiscardReason, now: Duration) {
        let at = DiscardReason::ALL.iter().position(|known| *known == reason);
        self.state.counts.discarded[at.expect("every reason is in the list")] += range.events();
        self.state.cursor = range.end;
        self.unrecorded.get_or_insert(now);
    }

    /// Cuts what was gathered.
    fn cut(&mut self) {
        let Some(first) = self.parts.first() else {
            return;
        };
        // Blocks of which nothing is taken may lie behind the last part.
        let range = OffsetRange {
            first: first.range.first,
            end: self.next,
        };
        let segment: SegmentId = first.block.segment;
        self.state.cuts.push(Cut {
            segment,
            range,
            version: self.version,
        });
        self.phase = Phase::Cut;
    }

    fn batch(&self) -> Batch {
        let cut = self.state.cuts[0];
        Batch {
            id: BatchId {
                segment: cut.segment,
                range: cut.range,
                stream: Arc::clone(&self.stream),
                version: cut.version,
            },
            journal: self.journal,
            parts: self.parts.clone(),
            received_first: self.oldest_received().unwrap_or_default(),
            attempt: self.attempt,
        }
    }

    /// The batch is gone: begin the next.
    fn begin_next(&mut self, now: Duration) {
        self.unrecorded.get_or_insert(now);
        self.restart_front();
        self.since = self.behind.is_some().then_some(now);
    }

    /// Gathers the front cut, or the next batch, from its first event.
    fn restart_front(&mut self) {
        self.parts.clear();
        self.taken = Taken::default();
        self.settled = Settled::default();
        self.held_bytes = 0;
        self.held_partly = 0;
        let next = self
            .again()
            .map_or(self.state.cursor, |cut| cut.range.first);
        if next != self.next {
            self.behind = None;
            self.next = next;
        }
        self.phase = Phase::Filling;
    }

    /// The block boundary nearest the middle of a range, or its middle when it has none.
    fn middle(&self, range: OffsetRange) -> Offset {
        let middle = range.first.plus(range.events() / 2);
        let inner = self
            .parts
            .iter()
            .map(|part| part.range.first)
            .filter(|at| *at > range.first);
        inner
            .min_by_key(|at| at.0.abs_diff(middle.0))
            .unwrap_or(middle)
    }
}
