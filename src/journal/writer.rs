//! The writer of one journal: gives blocks their offsets and places, groups them into
//! durable writes, and says when they are durable.
//!
//! A pure state machine. The shell asks [`Writer::next_action`] what to do, does it, and
//! reports with [`Writer::opened`], [`Writer::open_failed`] or [`Writer::written`]. Up to
//! [`WRITES_IN_FLIGHT_MAX`] writes are out at a time; durability advances in order, so a
//! block is published only when all before it are durable.
//!
//! After a failed write the segment takes nothing more: once the other write is back, every
//! block that is not durable goes to a fresh segment with the same offsets. A synced page is
//! never written again.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::block::verdicts::Verdicts;
use crate::block::{Block, CodecId};
use crate::journal::format::{
    self, BLOCK_HEADER_BYTES, BlockHeader, ChainHash, IndexEntry, Trailer, index_bytes, pad_to_page,
};
use crate::limits::DISK_PAGE_BYTES;
use crate::os::buffers::AlignedBuffer;
use crate::os::disk::DiskFile;
use crate::position::{JournalId, Offset, SegmentId, Timestamp};

/// Durable writes out at a time.
pub const WRITES_IN_FLIGHT_MAX: usize = 2;

/// A closed and compressed block that has no place yet.
#[derive(Debug, Clone)]
pub struct ClosedBlock {
    /// How the body is encoded.
    pub codec: CodecId,
    /// Number of events.
    pub events: u32,
    /// Bytes of the raw form.
    pub raw_len: u32,
    /// CRC-32 of the raw form.
    pub raw_crc32: u32,
    /// Encoded metadata.
    pub metadata: Bytes,
    /// The body.
    pub body: Bytes,
    /// Earliest receive time.
    pub received_first: Timestamp,
    /// Latest receive time.
    pub received_last: Timestamp,
    /// What rules said of its events.
    pub verdicts: Arc<Verdicts>,
}

impl ClosedBlock {
    /// Bytes it will take in a segment.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        pad_to_page(BLOCK_HEADER_BYTES + self.metadata.len() + self.body.len())
    }
}

/// A segment to be put to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentOrder {
    /// Its sequence.
    pub sequence: u64,
    /// Offset of the first event that will be written to it.
    pub first: Offset,
    /// Chain hash of the block before.
    pub chain: ChainHash,
}

/// A segment put to use: its header is durable and its directory entry too.
#[derive(Debug, Clone)]
pub struct OpenedSegment {
    /// The id drawn for it.
    pub segment: SegmentId,
    /// The file, open for durable writes.
    pub file: Arc<dyn DiskFile>,
    /// Its length.
    pub file_bytes: u64,
}

/// One durable write: buffers back to back at `position`.
#[derive(Debug, Clone)]
pub struct GroupWrite {
    /// Names the write in [`Writer::written`].
    pub ticket: u64,
    /// The segment's file.
    pub file: Arc<dyn DiskFile>,
    /// Where the first buffer goes.
    pub position: u64,
    /// Whole pages, page aligned.
    pub buffers: Vec<Bytes>,
}

/// A full segment to be sealed with index and trailer; all its blocks are durable.
#[derive(Debug, Clone)]
pub struct SealOrder {
    /// Sequence of the segment.
    pub sequence: u64,
    /// Its file.
    pub file: Arc<dyn DiskFile>,
    /// Its length.
    pub file_bytes: u64,
    /// The index, padded to whole pages.
    pub index: Vec<u8>,
    /// The trailer.
    pub trailer: Trailer,
}

/// Where a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentEnd {
    /// Sequence of the segment.
    pub sequence: u64,
    /// One past its last offset.
    pub end: Offset,
    /// Latest receive time of its last event; of an earlier segment's when it has none.
    pub received_last: Timestamp,
}

/// What the shell has to do next.
#[derive(Debug, Clone)]
pub enum WriterAction {
    /// Put a segment to use, then call [`Writer::opened`] or [`Writer::open_failed`].
    Open(SegmentOrder),
    /// Write durably, then call [`Writer::written`].
    Write(GroupWrite),
    /// These blocks are durable: publish them, then tell who waits.
    Durable(Vec<Arc<Block>>),
    /// Nothing more goes to the segment.
    Close(SegmentEnd),
    /// Seal a full segment; no reply is due, a missing trailer is rebuilt at the next start.
    Seal(SealOrder),
}

/// Where a journal goes on, as recovery found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterStart {
    /// The journal.
    pub journal: JournalId,
    /// Offset of the next event.
    pub next: Offset,
    /// Sequence of the next segment.
    pub sequence: u64,
    /// Chain hash of the last block.
    pub chain: ChainHash,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Writer {
    journal: JournalId,
    write_bytes_max: usize,
    /// Events below are durable and published.
    durable_end: Offset,
    /// Latest receive time of the last block this run made durable.
    received_last: Timestamp,
    /// Chain hash of the last durable block.
    durable_chain: ChainHash,
    /// Offset of the next block to be placed; never below `durable_end`.
    next: Offset,
    /// Chain hash of the last placed block.
    chain: ChainHash,
    /// Sequence of the next segment.
    sequence: u64,
    state: State,
    /// Blocks without a place, in order.
    unplaced: VecDeque<ClosedBlock>,
    /// Placed blocks not yet handed out for writing, in order; all in the segment in use.
    placed: VecDeque<Placed>,
    /// Writes handed out, in order; all in the segment in use.
    in_flight: VecDeque<Group>,
    actions: VecDeque<WriterAction>,
    ticket: u64,
    pending_bytes: usize,
    failures: u32,
}

/// What becomes of the segment in use. A new one is put to use only when everything before
/// it is durable, so a segment's first offset is itself a claim of durability.
#[derive(Debug)]
enum State {
    /// No segment is in use; one is ordered when there is something to write.
    Closed,
    /// A segment is being put to use.
    Opening,
    /// Blocks go to this segment.
    Open(ActiveSegment),
    /// The next block does not fit; waits for what stands in it to be durable.
    Full(ActiveSegment),
    /// A write to the segment of this sequence failed; waits for the other to come back.
    Failing(u64),
}

#[derive(Debug)]
struct ActiveSegment {
    sequence: u64,
    segment: SegmentId,
    file: Arc<dyn DiskFile>,
    file_bytes: u64,
    /// Where the next block goes.
    position: u64,
    index: Vec<IndexEntry>,
    /// Chain hash of the last block placed in it.
    chain: ChainHash,
    raw_bytes: u64,
}

#[derive(Debug)]
struct Placed {
    block: Arc<Block>,
    position: u64,
    /// Chain hash of the block.
    chain: ChainHash,
}

#[derive(Debug)]
struct Group {
    ticket: u64,
    blocks: Vec<Arc<Block>>,
    /// Chain hash of the last block.
    chain: ChainHash,
    /// `None` while the write is out; then whether it succeeded.
    outcome: Option<bool>,
}

impl Writer {
    /// A writer that goes on where recovery ended.
    #[must_use]
    pub fn new(start: WriterStart, write_bytes_max: usize) -> Self {
        Self {
            journal: start.journal,
            write_bytes_max,
            durable_end: start.next,
            received_last: Timestamp(i64::MIN),
            durable_chain: start.chain,
            next: start.next,
            chain: start.chain,
            sequence: start.sequence,
            state: State::Closed,
            unplaced: VecDeque::new(),
            placed: VecDeque::new(),
            in_flight: VecDeque::new(),
            actions: VecDeque::new(),
            ticket: 0,
            pending_bytes: 0,
            failures: 0,
        }
    }

    /// Takes a block. It is durable once a [`WriterAction::Durable`] names it; blocks become
    /// durable in the order they were appended.
    pub fn append(&mut self, block: ClosedBlock) {
        self.pending_bytes += block.stored_bytes();
        self.unplaced.push_back(block);
    }

    /// What to do next; `None` when the writer waits for a report or for blocks.
    pub fn next_action(&mut self) -> Option<WriterAction> {
        self.place();
        self.actions.pop_front().or_else(|| self.next_write())
    }

    /// The ordered segment is in use.
    ///
    /// # Panics
    /// When none was ordered.
    pub fn opened(&mut self, opened: OpenedSegment) {
        assert!(
            matches!(self.state, State::Opening),
            "a segment was ordered"
        );
        self.state = State::Open(ActiveSegment {
            sequence: self.sequence,
            segment: opened.segment,
            file: opened.file,
            file_bytes: opened.file_bytes,
            position: DISK_PAGE_BYTES as u64,
            index: Vec::new(),
            chain: self.chain,
            raw_bytes: 0,
        });
        self.sequence += 1;
    }

    /// The ordered segment could not be put to use. It is ordered again at the next call of
    /// [`Writer::next_action`]; the shell waits as long as it sees fit before that.
    ///
    /// # Panics
    /// When none was ordered.
    pub fn open_failed(&mut self) {
        assert!(
            matches!(self.state, State::Opening),
            "a segment was ordered"
        );
        self.failures += 1;
        // The file may have been put to use in part: its sequence is not used again.
        self.sequence += 1;
        self.state = State::Closed;
    }

    /// A write came back.
    ///
    /// # Panics
    /// When no such write is out.
    pub fn written(&mut self, ticket: u64, succeeded: bool) {
        let group = self
            .in_flight
            .iter_mut()
            .find(|group| group.ticket == ticket);
        let group = group.expect("only writes that are out come back");
        assert!(group.outcome.is_none(), "a write comes back once");
        group.outcome = Some(succeeded);
        if !succeeded {
            self.fail();
        }
        if let State::Failing(sequence) = self.state {
            self.restart_when_drained(sequence);
        } else {
            self.advance();
        }
    }

    /// Events below are durable.
    #[must_use]
    pub fn durable_end(&self) -> Offset {
        self.durable_end
    }

    /// Chain hash of the last durable block; zero before the first.
    #[must_use]
    pub fn durable_chain(&self) -> ChainHash {
        self.durable_chain
    }

    /// Takes the block appended last back, unless it has a place already. After a failure no
    /// block has one; what the failed write left on the disk counts as a torn tail.
    pub fn withdraw_last(&mut self) -> Option<ClosedBlock> {
        let block = self.unplaced.pop_back()?;
        self.pending_bytes -= block.stored_bytes();
        Some(block)
    }

    /// Bytes appended and not yet durable.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Failed writes and openings since the last write that succeeded.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// True when everything appended is durable and nothing is left to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pending_bytes == 0 && self.in_flight.is_empty() && self.actions.is_empty()
    }

    /// Ends the segment in use so that it is sealed: for an orderly stop, when idle.
    pub fn close(&mut self) {
        if !self.is_idle() {
            return;
        }
        if let State::Open(segment) = std::mem::replace(&mut self.state, State::Closed) {
            self.end_segment(segment);
        }
    }

    /// Gives places to blocks, as far as the segment in use has room.
    fn place(&mut self) {
        while let Some(block) = self.unplaced.front() {
            let drained = self.placed.is_empty() && self.in_flight.is_empty();
            self.state = match std::mem::replace(&mut self.state, State::Closed) {
                State::Closed => {
                    let (sequence, first, chain) = (self.sequence, self.next, self.chain);
                    let order = SegmentOrder {
                        sequence,
                        first,
                        chain,
                    };
                    self.actions.push_back(WriterAction::Open(order));
                    State::Opening
                }
                State::Open(mut segment) if segment.has_room(block.stored_bytes()) => {
                    let position = segment.position;
                    let block = self.unplaced.pop_front().expect("the front was seen");
                    let block = segment.place(self.journal, block, self.next, self.durable_end);
                    self.next = block.range().end;
                    self.chain = segment.chain;
                    self.placed.push_back(Placed {
                        block: Arc::new(block),
                        position,
                        chain: segment.chain,
                    });
                    State::Open(segment)
                }
                State::Open(segment) => {
                    assert!(!segment.index.is_empty(), "a block fits an empty segment");
                    State::Full(segment)
                }
                State::Full(segment) if drained => {
                    self.end_segment(segment);
                    State::Closed
                }
                waiting @ (State::Opening | State::Full(_) | State::Failing(_)) => {
                    self.state = waiting;
                    return;
                }
            };
        }
    }

    fn next_write(&mut self) -> Option<WriterAction> {
        let (State::Open(segment) | State::Full(segment)) = &self.state else {
            return None;
        };
        let out = self
            .in_flight
            .iter()
            .filter(|group| group.outcome.is_none())
            .count();
        if out >= WRITES_IN_FLIGHT_MAX {
            return None;
        }
        let file = Arc::clone(&segment.file);
        let position = self.placed.front()?.position;
        let mut blocks: Vec<Arc<Block>> = Vec::new();
        let mut bytes = 0;
        let mut chain = self.durable_chain;
        while let Some(next) = self.placed.front() {
            bytes += next.block.image_len();
            if !blocks.is_empty() && bytes > self.write_bytes_max {
                break;
            }
            chain = next.chain;
            blocks.extend(self.placed.pop_front().map(|placed| placed.block));
        }
        self.ticket += 1;
        let ticket = self.ticket;
        let buffers = blocks.iter().map(|block| block.image.clone()).collect();
        self.in_flight.push_back(Group {
            ticket,
            blocks,
            chain,
            outcome: None,
        });
        Some(WriterAction::Write(GroupWrite {
            ticket,
            file,
            position,
            buffers,
        }))
    }

    /// Closes and seals a segment; everything in it is durable.
    fn end_segment(&mut self, segment: ActiveSegment) {
        self.close_segment(segment.sequence);
        if !segment.index.is_empty() {
            self.actions.push_back(WriterAction::Seal(segment.seal()));
        }
    }

    fn close_segment(&mut self, sequence: u64) {
        self.actions.push_back(WriterAction::Close(SegmentEnd {
            sequence,
            end: self.durable_end,
            received_last: self.received_last,
        }));
    }

    /// Publishes what became durable, in order.
    fn advance(&mut self) {
        let mut durable = Vec::new();
        while self
            .in_flight
            .front()
            .is_some_and(|group| group.outcome == Some(true))
        {
            let group = self.in_flight.pop_front().expect("the front was seen");
            self.durable_chain = group.chain;
            durable.extend(group.blocks);
        }
        let Some(last) = durable.last() else { return };
        self.failures = 0;
        self.durable_end = last.range().end;
        self.received_last = last.received_last;
        self.pending_bytes -= durable.iter().map(|block| block.image_len()).sum::<usize>();
        self.actions.push_back(WriterAction::Durable(durable));
    }

    fn fail(&mut self) {
        self.failures += 1;
        match &self.state {
            State::Open(segment) | State::Full(segment) => {
                self.state = State::Failing(segment.sequence);
            }
            State::Failing(_) => {}
            State::Closed | State::Opening => {
                unreachable!("a segment is put to use only when no write is out")
            }
        }
    }

    /// Once no write is out, takes the places of all blocks that are not durable away again.
    /// The segment is given up, not sealed: what stands in it behind `durable_end` is a torn
    /// tail for the next start.
    fn restart_when_drained(&mut self, failed: u64) {
        if self.in_flight.iter().any(|group| group.outcome.is_none()) {
            return;
        }
        let failures = self.failures;
        self.advance();
        self.failures = failures;
        self.close_segment(failed);
        let groups = std::mem::take(&mut self.in_flight);
        let placed = std::mem::take(&mut self.placed)
            .into_iter()
            .map(|placed| placed.block);
        let blocks = groups
            .into_iter()
            .flat_map(|group| group.blocks)
            .chain(placed);
        let mut unplaced: VecDeque<_> = blocks.map(|block| unplace(&block)).collect();
        unplaced.append(&mut self.unplaced);
        self.unplaced = unplaced;
        self.next = self.durable_end;
        self.chain = self.durable_chain;
        self.state = State::Closed;
    }
}

impl ActiveSegment {
    /// True when a block of `bytes` fits before the index and the trailer.
    fn has_room(&self, bytes: usize) -> bool {
        let reserved = index_bytes(self.index.len() + 1) + DISK_PAGE_BYTES;
        self.position + bytes as u64 + reserved as u64 <= self.file_bytes
    }

    fn place(
        &mut self,
        journal: JournalId,
        block: ClosedBlock,
        first: Offset,
        durable_end: Offset,
    ) -> Block {
        let header = BlockHeader {
            codec: block.codec,
            positions_full: self.index.is_empty(),
            segment: self.segment,
            first,
            events: block.events,
            raw_len: block.raw_len,
            raw_crc32: block.raw_crc32,
            metadata_len: len_u32(block.metadata.len()),
            body_len: len_u32(block.body.len()),
            durable_end,
            received_first: block.received_first,
            received_last: block.received_last,
            chain: self.chain,
            position: self.position,
        };
        let end = header.body().end;
        let mut image = AlignedBuffer::with_capacity(header.stored_bytes());
        image.extend_from_slice(&header.encode());
        image.extend_from_slice(&block.metadata);
        image.extend_from_slice(&block.body);
        format::seal_block(image.as_mut_slice(), end);
        image.pad_to_page();
        let placed = Block {
            journal,
            segment: self.segment,
            first,
            events: block.events,
            codec: block.codec,
            raw_len: block.raw_len,
            raw_crc32: block.raw_crc32,
            received_first: block.received_first,
            received_last: block.received_last,
            image: image.freeze(),
            metadata: header.metadata(),
            body: header.body(),
            verdicts: block.verdicts,
        };
        self.index.push(IndexEntry {
            position: self.position,
            first,
            events: block.events,
            raw_len: block.raw_len,
            stored_bytes: len_u32(placed.image_len()),
            received_last: block.received_last,
        });
        self.position += placed.image_len() as u64;
        self.raw_bytes += u64::from(block.raw_len);
        self.chain = format::chain_hash(&placed);
        placed
    }

    fn seal(self) -> SealOrder {
        let (index, index_crc32c) = format::encode_index(&self.index);
        let last = self
            .index
            .last()
            .expect("only segments with blocks are sealed");
        let trailer = Trailer {
            segment: self.segment,
            end: last.first.plus(u64::from(last.events)),
            blocks_end: self.position,
            entries: len_u32(self.index.len()),
            index_crc32c,
            chain: self.chain,
            received_last: last.received_last,
            raw_bytes: self.raw_bytes,
        };
        let Self {
            sequence,
            file,
            file_bytes,
            ..
        } = self;
        SealOrder {
            sequence,
            file,
            file_bytes,
            index,
            trailer,
        }
    }
}

/// The block as it was before it had a place.
fn unplace(block: &Block) -> ClosedBlock {
    ClosedBlock {
        codec: block.codec,
        events: block.events,
        raw_len: block.raw_len,
        raw_crc32: block.raw_crc32,
        metadata: block.image.slice(block.metadata.clone()),
        body: block.body(),
        received_first: block.received_first,
        received_last: block.received_last,
        verdicts: Arc::clone(&block.verdicts),
    }
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("parts of a block stay below 256 MiB")
}
