//! The journal against a model: append, commit, crash, reopen, read, on a memory disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use proptest::prelude::*;

use crate::block::CodecId;
use crate::journal::reader::{ReadNext, Reader};
use crate::journal::recovery::{Finding, Recovered, recover};
use crate::journal::segments::{Catalog, SegmentFiles};
use crate::journal::tail::Tail;
use crate::journal::writer::{ClosedBlock, Writer, WriterAction};
use crate::os::memory_disk::MemoryDisk;
use crate::position::{JournalId, Offset, Timestamp};

const SEGMENT_BYTES: u64 = 64 * 1024;

struct Journal {
    disk: MemoryDisk,
    files: SegmentFiles,
    writer: Writer,
    catalog: Arc<Catalog>,
    tail: Arc<Tail>,
    spares: u64,
    /// Writes that are out: performed on the disk, not yet reported.
    out: Vec<u64>,
}

impl Journal {
    fn open(disk: &MemoryDisk, cursor: Offset) -> (Self, Recovered) {
        let files = SegmentFiles {
            disk: Arc::new(disk.clone()),
            dir: PathBuf::from("/j/0"),
            journal: JournalId(0),
            node: [7; 16],
            file_bytes: SEGMENT_BYTES,
            direct: true,
        };
        let catalog = Arc::new(Catalog::default());
        let recovered = recover(&files, &catalog, cursor).expect("recovers");
        let tail = Arc::new(Tail::new(10_000, recovered.start.next));
        let writer = Writer::new(recovered.start.clone(), 16 * 1024);
        let disk = disk.clone();
        (
            Self {
                disk,
                files,
                writer,
                catalog,
                tail,
                spares: 0,
                out: Vec::new(),
            },
            recovered,
        )
    }

    /// Does what the writer asks; writes reach the disk, `report` says whether they come back.
    fn step(&mut self, durable: bool) {
        while let Some(action) = self.writer.next_action() {
            match action {
                WriterAction::Open(order) => {
                    self.spares += 1;
                    let spare = self
                        .files
                        .make_spare(self.spares, &AtomicBool::new(true))
                        .expect("a spare");
                    let (opened, entry) = self
                        .files
                        .put_to_use(&spare, &order, Timestamp(5))
                        .expect("put to use");
                    self.catalog.add(entry);
                    self.writer.opened(opened);
                }
                WriterAction::Write(group) => {
                    let bytes: Vec<u8> = group.buffers.concat();
                    let mut aligned = crate::os::buffers::AlignedBuffer::with_capacity(bytes.len());
                    aligned.extend_from_slice(&bytes);
                    if durable {
                        group
                            .file
                            .write_durable_at(aligned.as_slice(), group.position)
                    } else {
                        group.file.write_at(aligned.as_slice(), group.position)
                    }
                    .expect("writes");
                    self.out.push(group.ticket);
                }
                WriterAction::Durable(blocks) => self.tail.publish(&blocks),
                WriterAction::Close { sequence, end } => self.catalog.close(sequence, end),
                WriterAction::Seal(order) => self.files.seal(&order).expect("seals"),
            }
        }
    }

    fn report(&mut self, succeeded: bool) {
        for ticket in std::mem::take(&mut self.out) {
            self.writer.written(ticket, succeeded);
        }
    }

    fn commit(&mut self) {
        while !self.writer.is_idle() {
            self.step(true);
            self.report(true);
        }
        self.step(true);
    }

    fn read_all(&self, from: Offset) -> (Vec<Bytes>, Vec<String>) {
        let (catalog, tail) = (Arc::clone(&self.catalog), Arc::clone(&self.tail));
        let disk = Arc::new(self.disk.clone());
        let mut reader = Reader::new(JournalId(0), disk, true, catalog, tail);
        let (mut bodies, mut gaps, mut offset) = (Vec::new(), Vec::new(), from);
        loop {
            match reader.next(offset).expect("reads") {
                ReadNext::Block(block) => {
                    offset = block.range().end;
                    bodies.push(block.body());
                }
                ReadNext::Gap { range, why } => {
                    gaps.push(format!("{range} {why:?}"));
                    assert!(
                        range.first == offset && range.end > offset,
                        "a gap moves on"
                    );
                    offset = range.end;
                }
                ReadNext::End => return (bodies, gaps),
            }
        }
    }
}

fn block(tag: u64, body_bytes: usize, events: u32) -> ClosedBlock {
    let mut body = tag.to_le_bytes().to_vec();
    body.resize(body_bytes.max(8), 0xa5);
    ClosedBlock {
        codec: CodecId::Stored,
        events,
        raw_len: u32::try_from(body.len()).expect("small"),
        raw_crc32: crc32fast::hash(&body),
        metadata: Bytes::new(),
        body: body.into(),
        received_first: Timestamp(1),
        received_last: Timestamp(2),
    }
}

#[derive(Debug, Clone)]
enum Operation {
    Append {
        body_bytes: usize,
        events: u32,
    },
    /// Hand out writes and report them.
    Commit,
    /// Hand out writes that reach the cache but are not reported, then go on.
    WriteUnsynced,
    /// Writes come back failed; the writer moves to a fresh segment.
    FailWrites,
    Crash(u64),
    /// An orderly stop, then open again.
    Stop,
    ReadAll,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (8..20_000_usize, 1..50_u32)
            .prop_map(|(body_bytes, events)| Operation::Append { body_bytes, events }),
        4 => Just(Operation::Commit),
        2 => Just(Operation::WriteUnsynced),
        1 => Just(Operation::FailWrites),
        2 => any::<u64>().prop_map(Operation::Crash),
        1 => Just(Operation::Stop),
        2 => Just(Operation::ReadAll),
    ]
}

/// The bodies that must be there, in order, and their events.
#[derive(Default)]
struct Model {
    durable: Vec<(u64, u32)>,
    pending: Vec<(u64, u32)>,
}

impl Model {
    fn end(&self) -> Offset {
        Offset(
            self.durable
                .iter()
                .map(|(_, events)| u64::from(*events))
                .sum(),
        )
    }
}

fn check_reads(journal: &Journal, model: &Model) {
    let (bodies, gaps) = journal.read_all(Offset(0));
    assert_eq!(gaps, Vec::<String>::new());
    let tags: Vec<u64> = bodies
        .iter()
        .map(|body| u64::from_le_bytes(body[..8].try_into().expect("eight bytes")))
        .collect();
    let expected: Vec<u64> = model.durable.iter().map(|(tag, _)| *tag).collect();
    assert_eq!(tags, expected);
}

fn run(operations: Vec<Operation>) {
    let disk = MemoryDisk::new();
    let (mut journal, _) = Journal::open(&disk, Offset(0));
    let mut model = Model::default();
    let mut tag = 0;
    for operation in operations {
        match operation {
            Operation::Append { body_bytes, events } => {
                tag += 1;
                journal.writer.append(block(tag, body_bytes, events));
                model.pending.push((tag, events));
            }
            Operation::Commit => {
                journal.commit();
                model.durable.append(&mut model.pending);
                assert_eq!(journal.writer.durable_end(), model.end());
            }
            Operation::WriteUnsynced => {
                journal.step(false);
                // Not reported, so not acknowledged: the writes are gone with the next crash
                // or are repeated on a fresh segment.
                journal.report(false);
            }
            Operation::FailWrites => {
                journal.step(true);
                journal.report(false);
            }
            Operation::Crash(seed) => {
                journal.step(false);
                disk.crash(seed);
                // Blocks that reached the disk whole may come back though they were never
                // acknowledged; what was acknowledged must.
                let (reopened, recovered) = Journal::open(&disk, Offset(0));
                check_recovered(&recovered, &mut model);
                journal = reopened;
            }
            Operation::Stop => {
                journal.commit();
                model.durable.append(&mut model.pending);
                journal.writer.close();
                journal.step(true);
                let (reopened, recovered) = Journal::open(&disk, model.end());
                assert_eq!(recovered.start.next, model.end());
                assert_eq!(recovered.findings, Vec::new());
                journal = reopened;
            }
            Operation::ReadAll => check_reads(&journal, &model),
        }
    }
    journal.commit();
    model.durable.append(&mut model.pending);
    check_reads(&journal, &model);
}

/// After a crash the journal holds all that was durable and perhaps, in order, a first part
/// of what was not; torn tails are cut, nothing is called damaged.
fn check_recovered(recovered: &Recovered, model: &mut Model) {
    let damage = recovered
        .findings
        .iter()
        .find(|finding| !matches!(finding, Finding::TornTail { .. }));
    assert_eq!(damage, None);
    assert!(
        recovered.start.next >= model.end(),
        "acknowledged events survive"
    );
    for entry in std::mem::take(&mut model.pending) {
        if recovered.start.next > model.end() {
            model.durable.push(entry);
        }
    }
    assert_eq!(
        recovered.start.next,
        model.end(),
        "a crash leaves whole blocks, in order"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_was_durable_survives_any_crash_and_reads_back_in_order(
        operations in proptest::collection::vec(operation(), 1..60),
    ) {
        run(operations);
    }
}

#[test]
fn a_flipped_byte_in_a_durable_block_is_damage_of_just_that_block() {
    let disk = MemoryDisk::new();
    let (mut journal, _) = Journal::open(&disk, Offset(0));
    for tag in 1..=5 {
        journal.writer.append(block(tag, 5_000, 10));
        journal.commit();
    }
    let path = journal.catalog.list()[0].path.clone();
    // Blocks of 5,000 bytes take two pages behind the header page: the third begins here.
    disk.flip(&path, 4096 + 2 * 8192 + 300, 3)
        .expect("the byte is there");
    disk.crash(1);
    let (journal, recovered) = Journal::open(&disk, Offset(0));
    assert_eq!(recovered.start.next, Offset(50));
    let [Finding::Damaged { range, .. }] = &recovered.findings[..] else {
        panic!("one finding of damage: {:?}", recovered.findings)
    };
    assert_eq!((range.first, range.end), (Offset(20), Offset(30)));
    let (bodies, gaps) = journal.read_all(Offset(0));
    assert_eq!(bodies.len(), 4);
    assert_eq!(gaps.len(), 1);
}

#[test]
fn a_cursor_ahead_of_the_journal_is_believed_so_no_offset_is_used_twice() {
    let disk = MemoryDisk::new();
    let (mut journal, _) = Journal::open(&disk, Offset(0));
    journal.writer.append(block(1, 100, 10));
    journal.commit();
    let (mut journal, recovered) = Journal::open(&disk, Offset(25));
    assert_eq!(recovered.start.next, Offset(25));
    let [Finding::Damaged { range, .. }] = &recovered.findings[..] else {
        panic!("the lost events are named: {:?}", recovered.findings)
    };
    assert_eq!((range.first, range.end), (Offset(10), Offset(25)));
    journal.writer.append(block(2, 100, 10));
    journal.commit();
    let (bodies, gaps) = journal.read_all(Offset(0));
    assert_eq!((bodies.len(), gaps.len()), (2, 1));
}
