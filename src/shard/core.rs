//! The shard's core: from a gathered block to a durable one and its settled waiters.
//!
//! A pure state machine around the journal's [`Writer`]: it takes what happened and gives
//! what to do. Blocks are compressed here or, when another core is idle, handed out to be
//! compressed there; either way they enter the journal in the order they closed. A block's
//! waiters are settled, in order, when the block and its rejects are durable.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::block::Block;
use crate::block::codec::{Codec, CodecError};
use crate::block::metadata::Metadata;
use crate::block::verdicts::Verdicts;
use crate::event::{InputId, LabelRun};
use crate::ingest::door::GateState;
use crate::ingest::fate::Waiter;
use crate::ingest::gather::GatheredBlock;
use crate::ingest::reject::RejectTotal;
use crate::journal::writer::{
    ClosedBlock, GroupWrite, OpenedSegment, SealOrder, SegmentEnd, SegmentOrder, Writer,
    WriterAction,
};
use crate::metrics::ledger::InputCounts;
use crate::position::Timestamp;

/// Blocks handed out for compression elsewhere at a time.
pub const HANDED_OUT_MAX: usize = 2;

/// Failed writes or openings in a row after which the shard takes no more lines.
const FAILURES_MAX: u32 = 2;

/// A block's raw bytes, compressed.
#[derive(Debug)]
pub struct Compressed {
    /// The run.
    pub body: Bytes,
    /// CRC-32 of the raw bytes.
    pub raw_crc32: u32,
    /// The raw buffer, to be used again.
    pub raw: Vec<u8>,
}

/// Compresses `raw[..raw_len]`; pure but for the codec's state and `scratch`.
///
/// # Errors
/// When the codec fails, which no input causes.
pub fn compress(
    codec: &mut dyn Codec,
    scratch: &mut Vec<u8>,
    raw: Vec<u8>,
    raw_len: usize,
) -> Result<Compressed, CodecError> {
    scratch.clear();
    codec.compress_run(&raw[..raw_len], scratch)?;
    // An exact copy: the tail would otherwise hold the scratch's room for every block.
    let body = Bytes::copy_from_slice(scratch);
    let raw_crc32 = crate::block::raw_crc32(&raw[..raw_len]);
    Ok(Compressed {
        body,
        raw_crc32,
        raw,
    })
}

/// What the shell has to do.
#[derive(Debug)]
pub enum ShardAction {
    /// Put a segment to use.
    Open(SegmentOrder),
    /// Write durably.
    Write(GroupWrite),
    /// Publish these durable blocks to the streams.
    Publish(Vec<Arc<Block>>),
    /// A segment takes no more blocks.
    Close(SegmentEnd),
    /// Write index and trailer of a full segment.
    Seal(SealOrder),
    /// Make these reject records durable in the internal journal, then report the ticket.
    Record {
        /// Names the records in [`ShardCore::recorded`].
        ticket: u64,
        /// JSON lines, each ended by `\n`.
        lines: Vec<u8>,
        /// How many.
        count: u32,
        /// The lines they tell of, by input, sender and reason.
        totals: Vec<RejectTotal>,
    },
    /// Compress on another core, then report the slot.
    HandOut {
        /// Names the block in [`ShardCore::compressed`].
        slot: u64,
        /// The raw buffer.
        raw: Vec<u8>,
        /// Bytes of it that are lines.
        raw_len: usize,
    },
    /// Give a raw buffer back to the gather.
    Recycle(Vec<u8>),
    /// Lines are durable: tell who waits.
    Settle(Waiter),
    /// Lines could not be made durable: tell who waits.
    Lose(Waiter),
    /// Events became durable so long after they were received.
    Latency {
        /// Receive time.
        received: Timestamp,
        /// How many.
        events: u64,
    },
}

/// See the module's documentation.
#[derive(Debug)]
pub struct ShardCore {
    writer: Writer,
    pending_bytes_max: usize,
    /// Totals of the inputs' counters up to the last block appended.
    totals: Vec<(InputId, InputCounts)>,
    /// Totals up to the last durable block; what the ledger shows.
    settled: Vec<(InputId, InputCounts)>,
    /// Blocks in the order they closed, until they are compressed.
    slots: VecDeque<Slot>,
    next_slot: u64,
    handed_out: usize,
    /// Blocks appended, in order, until they are durable and settled.
    commits: VecDeque<Commit>,
    next_ticket: u64,
    actions: VecDeque<ShardAction>,
    /// Latest receive time given to a block; time in the journal never goes back.
    received_last: Timestamp,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    block: GatheredBlock,
    /// Latest receive time up to and with the block.
    received_last: Timestamp,
    compressed: Option<Compressed>,
}

#[derive(Debug)]
struct Commit {
    /// True at once for waiters that needed no block.
    durable: bool,
    /// Rejects that are not durable yet.
    ticket: Option<u64>,
    counts: Vec<(InputId, InputCounts)>,
    runs: Vec<LabelRun>,
    waiters: Vec<Waiter>,
}

impl std::fmt::Debug for dyn Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Codec({})", self.name())
    }
}

impl ShardCore {
    /// A core that goes on with recovered totals.
    #[must_use]
    pub fn new(
        writer: Writer,
        pending_bytes_max: usize,
        totals: Vec<(InputId, InputCounts)>,
        received_last: Timestamp,
    ) -> Self {
        Self {
            writer,
            pending_bytes_max,
            settled: totals.clone(),
            totals,
            slots: VecDeque::new(),
            next_slot: 0,
            handed_out: 0,
            commits: VecDeque::new(),
            next_ticket: 0,
            actions: VecDeque::new(),
            received_last,
        }
    }

    /// A block closed. With `idle_core` it may be compressed elsewhere.
    ///
    /// # Errors
    /// When the codec fails, which no input causes.
    pub fn gathered(
        &mut self,
        mut block: GatheredBlock,
        idle_core: bool,
        codec: &mut dyn Codec,
        scratch: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let number = self.next_slot;
        self.next_slot += 1;
        let received_last = self.received_last;
        let raw = std::mem::take(&mut block.raw);
        let compressed = if idle_core && self.handed_out < HANDED_OUT_MAX && block.raw_len > 0 {
            self.handed_out += 1;
            let raw_len = block.raw_len;
            self.actions.push_back(ShardAction::HandOut {
                slot: number,
                raw,
                raw_len,
            });
            None
        } else {
            Some(compress(codec, scratch, raw, block.raw_len)?)
        };
        self.slots.push_back(Slot {
            number,
            block,
            received_last,
            compressed,
        });
        self.append_ready(codec)
    }

    /// A block came back from another core.
    ///
    /// # Errors
    /// When the codec fails, which no input causes.
    ///
    /// # Panics
    /// When the slot was not handed out.
    pub fn compressed(
        &mut self,
        slot: u64,
        compressed: Compressed,
        codec: &mut dyn Codec,
    ) -> Result<(), CodecError> {
        let known = self.slots.iter_mut().find(|known| known.number == slot);
        let known = known.expect("only handed-out blocks come back");
        assert!(
            known.compressed.replace(compressed).is_none(),
            "a block comes back once"
        );
        self.handed_out -= 1;
        self.append_ready(codec)
    }

    /// The ordered segment is in use.
    pub fn opened(&mut self, opened: OpenedSegment) {
        self.writer.opened(opened);
    }

    /// The ordered segment could not be put to use; the shell waits before it asks for the
    /// next action.
    pub fn open_failed(&mut self) {
        self.writer.open_failed();
        self.lose_if_failing();
    }

    /// A write came back.
    pub fn written(&mut self, ticket: u64, succeeded: bool) {
        self.writer.written(ticket, succeeded);
        if !succeeded {
            self.lose_if_failing();
        }
    }

    /// Reject records are durable, or could not be made so.
    pub fn recorded(&mut self, ticket: u64, succeeded: bool) {
        let commit = self
            .commits
            .iter_mut()
            .find(|commit| commit.ticket == Some(ticket));
        if let Some(commit) = commit {
            commit.ticket = None;
            if !succeeded {
                let lost = std::mem::take(&mut commit.waiters);
                self.actions.extend(lost.into_iter().map(ShardAction::Lose));
            }
        }
        self.settle();
    }

    /// What to do next; `None` when the core waits for a report or for blocks.
    pub fn next_action(&mut self) -> Option<ShardAction> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Some(action);
            }
            match self.writer.next_action()? {
                WriterAction::Open(order) => return Some(ShardAction::Open(order)),
                WriterAction::Write(group) => return Some(ShardAction::Write(group)),
                WriterAction::Close(segment) => return Some(ShardAction::Close(segment)),
                WriterAction::Seal(order) => return Some(ShardAction::Seal(order)),
                WriterAction::Durable(blocks) => {
                    self.durable(blocks.len());
                    self.actions.push_front(ShardAction::Publish(blocks));
                }
            }
        }
    }

    /// Whether lines may be taken now, as far as the core knows.
    #[must_use]
    pub fn gate(&self) -> GateState {
        if self.writer.failures() >= FAILURES_MAX {
            GateState::Failed
        } else if self.writer.pending_bytes() > self.pending_bytes_max
            || self.slots.len() > HANDED_OUT_MAX + 1
        {
            GateState::Busy
        } else {
            GateState::Open
        }
    }

    /// Totals of the inputs' counters up to the last durable block.
    #[must_use]
    pub fn settled(&self) -> &[(InputId, InputCounts)] {
        &self.settled
    }

    /// Lines judged and not yet durable, without those still in the gather.
    #[must_use]
    pub fn open_lines(&self) -> u64 {
        let slots = self.slots.iter().flat_map(|slot| &slot.block.counts);
        let commits = self.commits.iter().filter(|commit| !commit.durable);
        let commits = commits.flat_map(|commit| &commit.counts);
        slots
            .chain(commits)
            .map(|(_, counts)| counts.received)
            .sum()
    }

    /// The journal's writer.
    #[must_use]
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// True when everything gathered is durable and settled.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.slots.is_empty()
            && self.commits.is_empty()
            && self.actions.is_empty()
            && self.writer.is_idle()
    }

    /// Ends the segment in use, for an orderly stop.
    pub fn close(&mut self) {
        self.writer.close();
    }

    /// Appends compressed blocks to the journal as far as they are in order.
    fn append_ready(&mut self, codec: &mut dyn Codec) -> Result<(), CodecError> {
        while self
            .slots
            .front()
            .is_some_and(|slot| slot.compressed.is_some())
        {
            let slot = self.slots.pop_front().expect("the front was seen");
            let compressed = slot.compressed.expect("the front is compressed");
            self.append((slot.block, slot.received_last), compressed, codec)?;
        }
        Ok(())
    }

    fn append(
        &mut self,
        (block, received_last): (GatheredBlock, Timestamp),
        compressed: Compressed,
        codec: &mut dyn Codec,
    ) -> Result<(), CodecError> {
        let GatheredBlock {
            raw_len,
            events,
            runs,
            counts,
            mut rejects,
            waiters,
            verdicts,
            ..
        } = block;
        self.actions.push_back(ShardAction::Recycle(compressed.raw));
        let ticket = (!rejects.is_empty()).then(|| {
            self.next_ticket += 1;
            let totals = rejects.take_totals();
            let (lines, count) = rejects.into_lines();
            let ticket = self.next_ticket;
            self.actions.push_back(ShardAction::Record {
                ticket,
                lines,
                count,
                totals,
            });
            ticket
        });
        let counted = counts
            .iter()
            .any(|(_, counts)| *counts != InputCounts::default());
        let needs_block = events > 0 || counted;
        if needs_block {
            for (input, added) in &counts {
                match self.totals.iter_mut().find(|(known, _)| known == input) {
                    Some((_, total)) => *total += *added,
                    None => self.totals.push((*input, *added)),
                }
            }
            let metadata = Metadata {
                runs: runs.clone(),
                totals: self.totals.clone(),
                positions: Vec::new(),
            };
            let mut encoded = Vec::new();
            metadata.encode(codec, &mut encoded)?;
            self.writer.append(ClosedBlock {
                codec: codec.id(),
                events,
                raw_len: u32::try_from(raw_len).expect("a block is far below 4 GiB"),
                raw_crc32: compressed.raw_crc32,
                metadata: encoded.into(),
                body: compressed.body,
                received_first: runs.first().map_or(received_last, |run| run.received),
                received_last,
                verdicts: Arc::new(Verdicts::new(verdicts)),
            });
        }
        self.commits.push_back(Commit {
            durable: !needs_block,
            ticket,
            counts,
            runs,
            waiters,
        });
        self.settle();
        Ok(())
    }

    /// Time in the journal never goes back, whatever the wall clock does. Called for each block as
    /// it closes, before anybody looks at its times and before [`ShardCore::gathered`].
    pub fn clamp_times(&mut self, runs: &mut [LabelRun]) {
        for run in runs {
            self.received_last = self.received_last.max(run.received);
            run.received = self.received_last;
        }
    }

    fn durable(&mut self, blocks: usize) {
        let mut left = blocks;
        for commit in self.commits.iter_mut().filter(|commit| !commit.durable) {
            if left == 0 {
                break;
            }
            left -= 1;
            commit.durable = true;
            for (input, added) in &commit.counts {
                match self.settled.iter_mut().find(|(known, _)| known == input) {
                    Some((_, total)) => *total += *added,
                    None => self.settled.push((*input, *added)),
                }
            }
            let runs = commit.runs.drain(..);
            self.actions.extend(runs.map(|run| ShardAction::Latency {
                received: run.received,
                events: u64::from(run.events),
            }));
        }
        self.settle();
    }

    /// Settles, in order, what is durable with its rejects.
    fn settle(&mut self) {
        while let Some(commit) = self.commits.front() {
            if !commit.durable || commit.ticket.is_some() {
                return;
            }
            let commit = self.commits.pop_front().expect("the front was seen");
            self.actions
                .extend(commit.waiters.into_iter().map(ShardAction::Settle));
        }
    }

    /// When nothing can be made durable, who waits is told now; the blocks are kept and
    /// written when the disk allows it, so their senders may send them a second time.
    fn lose_if_failing(&mut self) {
        if self.writer.failures() < FAILURES_MAX {
            return;
        }
        let waiting = self.commits.iter_mut().filter(|commit| !commit.durable);
        let lost = waiting.flat_map(|commit| std::mem::take(&mut commit.waiters));
        self.actions.extend(lost.map(ShardAction::Lose));
    }
}
