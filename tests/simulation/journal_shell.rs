//! One journal with its shard, as `shard::run` and `journal::keeper` drive them, on one
//! thread: what they would do at once happens here when the run says so.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weir::block::Block;
use weir::block::codec::{Codec, Inflater};
use weir::event::{InputId, Labels};
use weir::ingest::door::GateState;
use weir::ingest::fate::{Fate, Waiter};
use weir::ingest::gather::{CloseAfter, Gather, Judged};
use weir::ingest::reject::{RejectOrigin, RejectedLine};
use weir::journal::format::{BlockHeader, BlockPlace, open_block};
use weir::journal::recovery::Recovered;
use weir::journal::segments::{Catalog, SegmentFiles};
use weir::journal::tail::Tail;
use weir::journal::writer::{GroupWrite, SealOrder, SegmentOrder, Writer};
use weir::metrics::ledger::{InputCounts, RejectReason};
use weir::os::buffers::AlignedBuffer;
use weir::os::clock::Now;
use weir::shard::core::{ShardAction, ShardCore, compress};

use crate::mutations::Mutation;
use crate::oracle::JournalOracle;
use crate::promise::promise;
use crate::random::Random;

/// The codec of the run's thread, shared by all shards of the run.
pub(crate) struct Tools {
    pub(crate) codec: Box<dyn Codec>,
    pub(crate) scratch: Vec<u8>,
    pub(crate) inflater: Inflater,
}

/// Limits of the journals of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) tail_bytes_max: usize,
    pub(crate) write_bytes_max: usize,
    pub(crate) pending_bytes_max: usize,
}

#[derive(Debug)]
pub(crate) struct JournalShell {
    pub(crate) files: SegmentFiles,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) tail: Arc<Tail>,
    pub(crate) gather: Gather,
    pub(crate) core: ShardCore,
    /// Writes that are out.
    pub(crate) out: Vec<GroupWrite>,
    /// Mutation: writes the core believes done.
    unwritten: Vec<GroupWrite>,
    pub(crate) order: Option<SegmentOrder>,
    /// An opening failed: the core is asked nothing until the run says so.
    pub(crate) paused: bool,
    pub(crate) seals: VecDeque<SealOrder>,
    /// Reject records, until they are handed to the internal journal.
    pub(crate) records: Vec<(u64, Vec<u8>)>,
    /// Records the internal journal has not answered for.
    pub(crate) unanswered: usize,
    /// Blocks being compressed elsewhere.
    pub(crate) handed_out: Vec<(u64, Vec<u8>, usize)>,
    /// The keeper has no room: nothing is taken in until the order is served.
    pub(crate) full: bool,
    connections: Vec<Connection>,
    /// The one input's labels.
    labels: Arc<Labels>,
    mutation: Option<Mutation>,
}

#[derive(Debug)]
struct Connection {
    number: usize,
    fate: Rc<Fate>,
    /// It asked for acks, as a TCP connection does once for all its lines.
    waits: bool,
    /// It is an HTTP body, with so many lines: answered whole or not at all.
    body_lines: Option<u64>,
    lines: u64,
    acknowledged: u64,
}

/// Lines made up for an input: what is kept, and what it counts.
#[derive(Debug, Default)]
struct Made {
    raw: Vec<u8>,
    events: u32,
    counts: InputCounts,
}

impl JournalShell {
    pub(crate) fn new(
        files: SegmentFiles,
        catalog: Arc<Catalog>,
        recovered: Recovered,
        sizes: Sizes,
        mutation: Option<Mutation>,
    ) -> Self {
        let tail = Arc::new(Tail::new(sizes.tail_bytes_max, recovered.start.next));
        let close_after = CloseAfter {
            awaited: Duration::from_millis(5),
            idle: Duration::from_millis(100),
        };
        Self {
            files,
            catalog,
            tail,
            gather: Gather::new(close_after),
            core: ShardCore::new(
                Writer::new(recovered.start, sizes.write_bytes_max),
                sizes.pending_bytes_max,
                recovered.totals,
                recovered.received_last,
            ),
            out: Vec::new(),
            unwritten: Vec::new(),
            order: None,
            paused: false,
            seals: VecDeque::new(),
            records: Vec::new(),
            unanswered: 0,
            handed_out: Vec::new(),
            full: false,
            connections: Vec::new(),
            labels: Arc::new(Labels::of_input(InputId(3))),
            mutation,
        }
    }

    /// Lines come in on a connection, some of them bad; false when the gate is shut.
    pub(crate) fn receive(
        &mut self,
        random: &mut Random,
        oracle: &mut JournalOracle,
        now: Now,
    ) -> bool {
        if self.is_shut() {
            return false;
        }
        let bodies = |connection: &Connection| connection.body_lines.is_some();
        let open = self.connections.iter().filter(|at| !bodies(at)).count();
        if open == 0 || (open < 4 && random.percent(20)) {
            let waits = random.percent(80);
            self.connect(oracle, waits, None);
        }
        let at = random.index(self.connections.len());
        if bodies(&self.connections[at]) {
            return false;
        }
        let lines = 1 + random.below(5);
        let Made {
            raw,
            events,
            counts,
        } = self.make_lines(random, oracle, (at, lines), now, line);
        let connection = &self.connections[at];
        let waiter = connection.waits.then(|| Waiter {
            fate: Rc::clone(&connection.fate),
            line: connection.lines,
        });
        if self.mutation == Some(Mutation::AckBeforeSync) {
            connection.fate.settle(connection.lines);
        }
        let (buffer, start) = self.gather.open_buffer(raw.len());
        buffer[start..start + raw.len()].copy_from_slice(&raw);
        let judged = Judged {
            events,
            counts,
            labels: &self.labels,
            received: now.wall,
            waiter,
        };
        self.gather.keep(start + raw.len(), judged, now.monotonic);
        true
    }

    /// An HTTP body comes in, a small one or one that fills several blocks; false when the
    /// gate is shut.
    pub(crate) fn receive_body(
        &mut self,
        random: &mut Random,
        oracle: &mut JournalOracle,
        now: Now,
        large: bool,
    ) -> bool {
        if self.is_shut() {
            return false;
        }
        let lines = if large {
            500 + random.below(700)
        } else {
            1 + random.below(12)
        };
        self.connect(oracle, true, Some(lines));
        let at = self.connections.len() - 1;
        let shape = if large { wide_line } else { line };
        let Made {
            raw,
            events,
            counts,
        } = self.make_lines(random, oracle, (at, lines), now, shape);
        let judged = Judged {
            events,
            counts,
            labels: &self.labels,
            received: now.wall,
            waiter: Some(Waiter {
                fate: Rc::clone(&self.connections[at].fate),
                line: lines,
            }),
        };
        self.gather.copy_in(&raw, judged, now.monotonic);
        true
    }

    fn is_shut(&self) -> bool {
        self.full || self.core.gate() != GateState::Open || self.gather.closed_blocks() > 2
    }

    fn connect(&mut self, oracle: &mut JournalOracle, waits: bool, body_lines: Option<u64>) {
        self.connections.push(Connection {
            number: oracle.connect(),
            fate: Rc::default(),
            waits,
            body_lines,
            lines: 0,
            acknowledged: 0,
        });
    }

    /// Makes lines of a connection up, a few of them bad; those are rejected at once.
    fn make_lines(
        &mut self,
        random: &mut Random,
        oracle: &mut JournalOracle,
        (at, lines): (usize, u64),
        now: Now,
        shape: fn(&mut Random, usize, u64) -> Vec<u8>,
    ) -> Made {
        let mut made = Made::default();
        let connection = &mut self.connections[at];
        for _ in 0..lines {
            connection.lines += 1;
            let rejected = random.percent(8);
            let line = shape(random, connection.number, connection.lines);
            oracle.sent(connection.number, &line, rejected);
            let bytes = line.len() as u64 - 1;
            made.counts.received += 1;
            made.counts.received_bytes += bytes;
            if rejected {
                made.counts.rejected[RejectReason::Malformed.index()] += 1;
                let peer = connection.number.to_string();
                let origin = RejectOrigin {
                    input: "sim",
                    peer: Some(&peer),
                    received: now.wall,
                };
                self.gather.reject(
                    origin,
                    RejectedLine {
                        line: connection.lines,
                        reason: RejectReason::Malformed,
                        detail: "made to be bad",
                        sample: &line,
                        bytes,
                    },
                );
            } else {
                made.counts.stored += 1;
                made.counts.stored_bytes += bytes;
                made.events += 1;
                made.raw.extend_from_slice(&line);
            }
        }
        if self.mutation == Some(Mutation::RejectsUncounted) {
            made.counts.rejected = [0; RejectReason::ALL.len()];
        }
        made
    }

    /// Hands closed blocks to the core, then does what the core asks.
    pub(crate) fn turn(&mut self, tools: &mut Tools, oracle: &mut JournalOracle, idle_core: bool) {
        while let Some(mut block) = self.gather.take_closed() {
            self.core.clamp_times(&mut block.runs);
            self.core
                .gathered(block, idle_core, &mut *tools.codec, &mut tools.scratch)
                .expect("compresses");
        }
        while !self.paused {
            let Some(action) = self.core.next_action() else {
                break;
            };
            self.perform(action, tools, oracle);
        }
        for connection in &mut self.connections {
            let settled = connection.fate.settled();
            if settled > connection.acknowledged {
                connection.acknowledged = settled;
                promise!(
                    "S1",
                    connection.body_lines.is_none_or(|lines| lines == settled),
                    "a body is answered for {settled} of its lines"
                );
                oracle.acknowledged(connection.number, settled);
            }
        }
        let answered =
            |connection: &Connection| connection.body_lines == Some(connection.acknowledged);
        self.connections.retain(|connection| !answered(connection));
        if !self.paused {
            let settled = self.core.settled().iter().map(|(_, counts)| counts);
            let open = self.core.open_lines() + self.gather.open_received();
            oracle.ledger(settled, open);
        }
    }

    fn perform(&mut self, action: ShardAction, tools: &mut Tools, oracle: &mut JournalOracle) {
        match action {
            ShardAction::Open(order) => {
                assert_eq!(self.order.replace(order), None, "one order at a time");
            }
            ShardAction::Write(group) => {
                match self.mutation {
                    Some(Mutation::PublishedBeforeDurable) => self.publish_unwritten(&group),
                    Some(Mutation::WrittenBeforeWriting) => {
                        self.core.written(group.ticket, true);
                        self.unwritten.push(group);
                        return;
                    }
                    _ => {}
                }
                self.out.push(group);
                assert!(self.out.len() <= 2, "two writes in flight");
            }
            ShardAction::Publish(blocks) => {
                for block in &blocks {
                    told(block, tools, oracle);
                    if block.events > 0 {
                        oracle.received(block.received_first, block.received_last);
                    }
                }
                if self.mutation != Some(Mutation::PublishedBeforeDurable) {
                    self.tail.publish(&blocks);
                }
            }
            ShardAction::Close(segment) => self.catalog.close(&segment),
            ShardAction::Seal(order) => self.seals.push_back(order),
            ShardAction::Record { ticket, lines, .. } => {
                if self.mutation == Some(Mutation::RejectsNotAwaited) {
                    self.core.recorded(ticket, true);
                }
                self.records.push((ticket, lines));
            }
            ShardAction::HandOut { slot, raw, raw_len } => {
                self.handed_out.push((slot, raw, raw_len));
            }
            ShardAction::Recycle(raw) => self.gather.recycle(raw),
            ShardAction::Settle(waiter) => waiter.fate.settle(waiter.line),
            ShardAction::Lose(waiter) => {
                waiter.fate.lose();
                // Told that it failed, a sender goes away.
                self.connections
                    .retain(|connection| !Rc::ptr_eq(&connection.fate, &waiter.fate));
            }
            ShardAction::Latency { .. } => {}
        }
    }

    /// Mutation: streams get blocks when their write begins.
    fn publish_unwritten(&mut self, group: &GroupWrite) {
        let mut position = group.position;
        let mut blocks = Vec::new();
        for image in &group.buffers {
            let header = image.first_chunk().expect("a header");
            let segment = BlockHeader::peek(header).expect("a header").segment;
            let place = BlockPlace {
                journal: self.files.journal,
                segment,
                first: None,
                position,
            };
            let (block, header) = open_block(image.clone(), place).expect("a block");
            position += header.stored_bytes() as u64;
            if block.first >= self.tail.durable_end() {
                blocks.push(Arc::new(block));
            }
        }
        self.tail.publish(&blocks);
    }

    /// Mutation: writes the core believes done are done now.
    pub(crate) fn write_late(&mut self) {
        for group in std::mem::take(&mut self.unwritten) {
            let image = image(&group);
            drop(
                group
                    .file
                    .write_durable_at(image.as_slice(), group.position),
            );
        }
    }

    /// A write that is out comes to its end.
    pub(crate) fn complete(&mut self, at: usize) -> bool {
        let group = self.out.remove(at);
        let written = group
            .file
            .write_durable_at(image(&group).as_slice(), group.position);
        let durable = written.is_ok() || self.mutation == Some(Mutation::FailedWritesTrusted);
        self.core.written(group.ticket, durable);
        written.is_ok()
    }

    /// A write that is out reaches the disk in part; its sync never comes back.
    pub(crate) fn leave_unsynced(&mut self, at: usize) {
        let group = self.out.remove(at);
        // Whether it reached the disk is what the crash decides.
        drop(
            group
                .file
                .write_at(image(&group).as_slice(), group.position),
        );
    }

    /// A write that is out is durable, and the node dies before it hears of it.
    pub(crate) fn leave_synced(&mut self, at: usize) {
        let group = self.out.remove(at);
        let image = image(&group);
        drop(
            group
                .file
                .write_durable_at(image.as_slice(), group.position),
        );
    }

    /// A block comes back from the other core.
    pub(crate) fn compress_elsewhere(&mut self, at: usize, tools: &mut Tools) {
        let (slot, raw, raw_len) = self.handed_out.remove(at);
        let done = compress(&mut *tools.codec, &mut tools.scratch, raw, raw_len).expect("done");
        self.core
            .compressed(slot, done, &mut *tools.codec)
            .expect("encodes");
    }

    /// True when nothing is left to be done.
    pub(crate) fn is_idle(&self) -> bool {
        self.core.is_idle()
            && self.gather.is_empty()
            && self.gather.closed_blocks() == 0
            && self.order.is_none()
            && self.out.is_empty()
            && self.seals.is_empty()
            && self.records.is_empty()
            && self.unanswered == 0
            && self.handed_out.is_empty()
    }
}

/// Tells the oracle what stands in a block.
pub(crate) fn told(block: &Block, tools: &mut Tools, oracle: &mut JournalOracle) {
    let mut raw = Vec::new();
    tools
        .inflater
        .read_body(block.codec, &block.body(), block.raw_len as usize, &mut raw)
        .expect("a sound block inflates");
    assert_eq!(crc32fast::hash(&raw), block.raw_crc32);
    let lines = raw.split_inclusive(|byte| *byte == b'\n');
    let mut offset = block.first.0;
    for line in lines {
        oracle.holds(offset, line);
        offset += 1;
    }
    assert_eq!(offset, block.range().end.0, "as many lines as events");
}

fn image(group: &GroupWrite) -> AlignedBuffer {
    let bytes = group.buffers.concat();
    let mut aligned = AlignedBuffer::with_capacity(bytes.len());
    aligned.extend_from_slice(&bytes);
    aligned
}

/// A line no other is equal to; some are long and do not compress.
fn line(random: &mut Random, connection: usize, number: u64) -> Vec<u8> {
    let mut line = format!("{{\"c\":{connection},\"n\":{number},\"pad\":\"");
    let words = match random.below(20) {
        0 => random.below(400),
        1..=5 => random.below(40),
        _ => random.below(4),
    };
    for _ in 0..words {
        line.push_str(&format!("{:016x}", random.next()));
    }
    line.push_str("\"}\n");
    line.into_bytes()
}

/// A line of a large body: a thousand bytes that compress well, so that a block fits a tiny
/// segment.
fn wide_line(_: &mut Random, connection: usize, number: u64) -> Vec<u8> {
    let pad = "weir ".repeat(200);
    format!("{{\"c\":{connection},\"n\":{number},\"pad\":\"{pad}\"}}\n").into_bytes()
}
