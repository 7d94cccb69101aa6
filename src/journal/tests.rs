//! The journal against a model: append, commit, read, acknowledge, retain, crash, reopen, with
//! a disk that refuses now and then, against a list of what must be there.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use proptest::prelude::*;

use crate::block::CodecId;
use crate::journal::reader::{ReadNext, Reader};
use crate::journal::recovery::{Finding, Recovered, recover};
use crate::journal::segments::{Catalog, SegmentEntry, SegmentFiles};
use crate::journal::tail::Tail;
use crate::journal::writer::{ClosedBlock, OpenedSegment, SegmentOrder, Writer, WriterAction};
use crate::os::memory_disk::{DiskOperation, MemoryDisk};
use crate::position::{JournalId, Offset, Timestamp};

const SEGMENT_BYTES: u64 = 64 * 1024;

struct Journal {
    disk: MemoryDisk,
    files: SegmentFiles,
    writer: Writer,
    catalog: Arc<Catalog>,
    tail: Arc<Tail>,
    spares: u64,
    /// Writes that are out: performed on the disk, not yet reported; and whether they failed.
    out: Vec<(u64, bool)>,
    /// The disk refused something since the last crash: what it shows need not be what it has.
    sync_failed: bool,
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
                sync_failed: false,
            },
            recovered,
        )
    }

    /// Does what the writer asks; writes reach the disk, `report` says whether they come back.
    /// What the disk refuses is reported as refused, and ends the step.
    fn step(&mut self, durable: bool) {
        while let Some(action) = self.writer.next_action() {
            match action {
                WriterAction::Open(order) => match self.open_segment(&order) {
                    Ok((opened, entry)) => {
                        self.catalog.add(entry);
                        self.writer.opened(opened);
                    }
                    Err(_) => {
                        self.sync_failed = true;
                        self.writer.open_failed();
                        return;
                    }
                },
                WriterAction::Write(group) => {
                    let bytes: Vec<u8> = group.buffers.concat();
                    let mut aligned = crate::os::buffers::AlignedBuffer::with_capacity(bytes.len());
                    aligned.extend_from_slice(&bytes);
                    let written = if durable {
                        group
                            .file
                            .write_durable_at(aligned.as_slice(), group.position)
                    } else {
                        group.file.write_at(aligned.as_slice(), group.position)
                    };
                    self.sync_failed |= written.is_err();
                    self.out.push((group.ticket, written.is_ok()));
                }
                WriterAction::Durable(blocks) => self.tail.publish(&blocks),
                WriterAction::Close(segment) => self.catalog.close(&segment),
                // The next start makes a trailer anew.
                WriterAction::Seal(order) => self.sync_failed |= self.files.seal(&order).is_err(),
            }
        }
    }

    fn open_segment(&mut self, order: &SegmentOrder) -> io::Result<(OpenedSegment, SegmentEntry)> {
        self.spares += 1;
        let spare = self.files.make_spare(self.spares, &AtomicBool::new(true))?;
        self.files.put_to_use(&spare, order, Timestamp(5))
    }

    /// The writes that are out come back: as they went, or all as failed.
    fn report(&mut self, succeeded: bool) {
        for (ticket, written) in std::mem::take(&mut self.out) {
            self.writer.written(ticket, written && succeeded);
        }
    }

    fn commit(&mut self) {
        while !self.writer.is_idle() {
            self.step(true);
            self.report(true);
        }
        self.step(true);
    }

    /// Removes the oldest segment when `cursor` is past it and a later one has a block; gives
    /// its end.
    fn retain(&mut self, cursor: Offset) -> Option<Offset> {
        let oldest = self.catalog.list().into_iter().next()?;
        let end = oldest.end.filter(|end| *end < cursor)?;
        if self.files.remove(&oldest).is_err() {
            // It stays, or it is gone and the floor says that it may be.
            self.sync_failed = true;
        }
        self.catalog.remove(oldest.sequence);
        Some(end)
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
        verdicts: Arc::default(),
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
    /// The next call of this kind fails.
    FailNext(DiskOperation),
    /// The one stream has everything up to so many blocks before the end.
    Ack {
        blocks_behind: usize,
    },
    /// Retention takes what it may.
    Retain,
    Crash(u64),
    /// An orderly stop, then open again.
    Stop,
    ReadAll,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (8..20_000_usize, 0..50_u32)
            .prop_map(|(body_bytes, events)| Operation::Append { body_bytes, events }),
        4 => Just(Operation::Commit),
        2 => Just(Operation::WriteUnsynced),
        1 => Just(Operation::FailWrites),
        2 => any::<u64>().prop_map(Operation::Crash),
        1 => Just(Operation::Stop),
        2 => Just(Operation::ReadAll),
        2 => refused().prop_map(Operation::FailNext),
        2 => (0..4_usize).prop_map(|blocks_behind| Operation::Ack { blocks_behind }),
        2 => Just(Operation::Retain),
    ]
}

fn refused() -> impl Strategy<Value = DiskOperation> {
    use DiskOperation::{Open, Read, Remove, Rename, SetLen, Sync, SyncDir, Write, WriteDurable};
    let all = [
        Open,
        Read,
        Remove,
        Rename,
        SetLen,
        Sync,
        SyncDir,
        Write,
        WriteDurable,
    ];
    proptest::sample::select(all.to_vec())
}

/// The bodies that must be there, in order, and their events.
#[derive(Default)]
struct Model {
    durable: Vec<(u64, u32)>,
    pending: Vec<(u64, u32)>,
    /// The stream's durable cursor.
    cursor: Offset,
    /// Events below may be gone: the stream has them.
    retained: Offset,
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

    /// The cursor of a stream that has all but the last `blocks_behind` blocks.
    fn acknowledge(&mut self, blocks_behind: usize) {
        let left = self.durable.iter().rev().take(blocks_behind);
        let behind: u64 = left.map(|(_, events)| u64::from(*events)).sum();
        self.cursor = self.cursor.max(Offset(self.end().0 - behind));
    }

    /// Bodies of the blocks with events from `from` on.
    fn from(&self, from: Offset) -> Vec<u64> {
        let mut end = 0;
        let mut tags = Vec::new();
        for (tag, events) in &self.durable {
            end += u64::from(*events);
            if *events > 0 && end > from.0 {
                tags.push(*tag);
            }
        }
        tags
    }
}

/// All that retention left is read, whole and in order, and nothing that the stream still
/// needs is gone.
fn check_reads(journal: &Journal, model: &Model) {
    journal.disk.mend();
    let start = journal.catalog.start().unwrap_or(model.end());
    assert!(
        start <= model.retained,
        "{start} is behind {}",
        model.retained
    );
    let from = model.retained;
    let (bodies, gaps) = journal.read_all(from);
    assert_eq!(gaps, Vec::<String>::new());
    let tags: Vec<u64> = bodies
        .iter()
        .map(|body| u64::from_le_bytes(body[..8].try_into().expect("eight bytes")))
        .collect();
    assert_eq!(tags, model.from(from));
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
            Operation::FailNext(call) => disk.fail_next(call, io::ErrorKind::Other, 1),
            Operation::Ack { blocks_behind } => model.acknowledge(blocks_behind),
            Operation::Retain => {
                if let Some(end) = journal.retain(model.cursor) {
                    model.retained = model.retained.max(end);
                }
            }
            Operation::Crash(seed) => {
                journal.step(false);
                journal = crash(&disk, seed, &mut model);
            }
            Operation::Stop => {
                journal.commit();
                model.durable.append(&mut model.pending);
                journal.writer.close();
                journal.step(true);
                if journal.sync_failed {
                    // What the disk shows after a failed sync is not what it has.
                    journal = crash(&disk, 1, &mut model);
                    continue;
                }
                disk.mend();
                let (reopened, recovered) = Journal::open(&disk, model.cursor);
                assert_eq!(recovered.start.next, model.end());
                assert_eq!(recovered.findings, Vec::new());
                journal = reopened;
            }
            Operation::ReadAll => check_reads(&journal, &model),
        }
    }
    disk.mend();
    journal.commit();
    model.durable.append(&mut model.pending);
    check_reads(&journal, &model);
}

/// Power is lost, and the journal opened again. Blocks that reached the disk whole may come
/// back though they were never acknowledged; what was acknowledged must.
fn crash(disk: &MemoryDisk, seed: u64, model: &mut Model) -> Journal {
    disk.mend();
    disk.crash(seed);
    let (reopened, recovered) = Journal::open(disk, model.cursor);
    check_recovered(&recovered, model);
    reopened
}

/// After a crash the journal holds all that was durable and perhaps, in order, a first part
/// of what was not; torn tails are cut, no event is called damaged. (A block without events
/// that was torn before a whole one cannot be told from one that was damaged.)
fn check_recovered(recovered: &Recovered, model: &mut Model) {
    let harmless = |finding: &&Finding| match finding {
        Finding::TornTail { .. } | Finding::Repaired { .. } => true,
        Finding::Damaged { range, .. } => range.is_empty(),
        _ => false,
    };
    let damage = recovered.findings.iter().find(|finding| !harmless(finding));
    assert_eq!(damage, None);
    assert!(
        recovered.start.next >= model.end(),
        "acknowledged events survive"
    );
    // An empty block behind the last event may be there or not; nobody can tell.
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

#[test]
fn a_segment_put_to_use_in_vain_at_the_start_of_another_is_no_damage() {
    let disk = MemoryDisk::new();
    let (mut journal, _) = Journal::open(&disk, Offset(0));
    // The disk wrote the block and said that it failed: it goes to another segment, which
    // begins where the first did, and gets no further.
    journal.writer.append(block(1, 100, 10));
    journal.step(true);
    journal.step(true);
    journal.report(false);
    journal.step(false);
    disk.crash(1);
    disk.fail_next(DiskOperation::Remove, io::ErrorKind::Other, 1);
    let start = || recover(&journal.files, &Catalog::default(), Offset(0));
    start().expect_err("the empty segment cannot be removed");
    disk.mend();
    let recovered = start().expect("recovers");
    assert_eq!(recovered.findings, []);
    assert_eq!(recovered.start.next, Offset(10));
}

#[test]
fn what_a_cursor_claims_behind_a_damaged_block_is_not_lost_with_it() {
    let disk = MemoryDisk::new();
    let (mut journal, _) = Journal::open(&disk, Offset(0));
    // One group: none of its blocks says that another one was durable.
    for tag in 1..=3 {
        journal.writer.append(block(tag, 5_000, 10));
    }
    journal.commit();
    let path = journal.catalog.list()[0].path.clone();
    disk.flip(&path, 4096 + 300, 3).expect("the byte is there");
    disk.crash(1);
    let (journal, recovered) = Journal::open(&disk, Offset(30));
    assert_eq!(recovered.start.next, Offset(30));
    let ranges: Vec<_> = recovered
        .findings
        .iter()
        .map(|finding| match finding {
            Finding::Damaged { range, .. } => (range.first.0, range.end.0),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(ranges, [(0, 10)]);
    let (bodies, gaps) = journal.read_all(Offset(0));
    assert_eq!((bodies.len(), gaps.len()), (2, 1));
}
