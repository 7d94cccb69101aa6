//! A data directory made by the real code, and the node's way to open one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use weir::batch::CursorState;
use weir::block::metadata::Metadata;
use weir::block::{Block, CodecId, raw_crc32};
use weir::event::InputId;
use weir::journal::cursor::{self, CursorRecord};
use weir::journal::internal::{InternalJournal, InternalRequest, RecordKind};
use weir::journal::reader::{ReadNext, Reader};
use weir::journal::recovery::{Finding, Recovered, recover};
use weir::journal::segments::{Catalog, SegmentFiles};
use weir::journal::tail::Tail;
use weir::journal::writer::{ClosedBlock, Writer, WriterAction};
use weir::metrics::ledger::{InputCounts, StreamCounts};
use weir::node::identity::Identity;
use weir::os::buffers::AlignedBuffer;
use weir::os::clock::{Clock, FakeClock};
use weir::os::disk::{Disk, OpenMode};
use weir::os::memory_disk::MemoryDisk;
use weir::position::{JournalId, Offset, OffsetRange, Timestamp};

pub(crate) const DATA: &str = "/data";
pub(crate) const STREAMS: [&str; 3] = ["archive", "siem", "soc"];
pub(crate) const JOURNALS: u16 = 2;
const INPUTS: [&str; 2] = ["audit", "waf"];
const SEGMENT_BYTES: u64 = 48 * 1024;
const EVENTS_A_BLOCK: u32 = 10;

/// All files of a directory.
pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// An opened journal.
pub(crate) struct Journal {
    pub(crate) files: SegmentFiles,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) tail: Arc<Tail>,
    pub(crate) start: weir::journal::writer::WriterStart,
    pub(crate) totals: Vec<(InputId, InputCounts)>,
}

/// A directory as the node opened it.
pub(crate) struct Started {
    pub(crate) identity: Identity,
    /// Of each stream, in each journal.
    pub(crate) cursors: Vec<Vec<(CursorState, CursorRecord)>>,
    /// The journals, then the internal one.
    pub(crate) journals: Vec<Journal>,
    /// What was found at the start; readers add to it.
    pub(crate) told: Arc<Mutex<Vec<Finding>>>,
}

/// As `node::open`: identity, records, journals, the internal journal, lanes.
pub(crate) fn start(disk: &MemoryDisk) -> Started {
    let data = Path::new(DATA);
    let identity = Identity::open(disk, data, JOURNALS, &INPUTS).unwrap();
    let told = Arc::new(Mutex::new(identity.findings.clone()));
    disk.create_dir_all(&data.join("cursors")).unwrap();
    let mut opened: Vec<Vec<_>> = Vec::new();
    for stream in STREAMS {
        let record = |number| {
            let journal = JournalId(number);
            let path = record_path(stream, journal);
            CursorRecord::open(disk, &path, journal, identity.node).unwrap()
        };
        opened.push((0..identity.journals).map(record).collect());
    }
    for record in opened.iter().flatten() {
        told.lock().unwrap().extend(record.finding());
    }
    let mut journals = Vec::new();
    for number in 0..identity.journals {
        let of_journal = opened.iter().map(|records| &records[usize::from(number)]);
        let cursors = of_journal.filter_map(|opened| opened.state.as_ref());
        let cursors_end = cursors.map(|state| state.cursor).max().unwrap_or_default();
        let files = segment_files(disk, JournalId(number), identity.node);
        let catalog = Arc::<Catalog>::default();
        let recovered = recover(&files, &catalog, cursors_end).unwrap();
        journals.push(journal(files, catalog, recovered, &told));
    }
    journals.push(start_internal(disk, identity.node, &told));
    let lanes = opened.into_iter().map(|records| {
        let lanes = records.into_iter().zip(&journals);
        lanes.map(|(opened, journal)| {
            let mut record = opened.record;
            let state = opened.state.unwrap_or_else(|| {
                let start = journal.catalog.start().unwrap_or(journal.start.next);
                let cursor = start;
                let state = CursorState {
                    start,
                    cursor,
                    ..CursorState::default()
                };
                record.write(&state).unwrap();
                record.write(&state).unwrap();
                state
            });
            (state, record)
        })
    });
    let cursors = lanes.map(Iterator::collect).collect();
    Started {
        identity,
        cursors,
        journals,
        told,
    }
}

/// A journal as recovery found it; `told` gets its findings, and those of its readers.
pub(crate) fn journal(
    files: SegmentFiles,
    catalog: Arc<Catalog>,
    recovered: Recovered,
    told: &Arc<Mutex<Vec<Finding>>>,
) -> Journal {
    told.lock().unwrap().extend(recovered.findings);
    tell_to(&catalog, told);
    let tail = Arc::new(Tail::new(1, recovered.start.next));
    Journal {
        files,
        catalog,
        tail,
        start: recovered.start,
        totals: recovered.totals,
    }
}

/// What readers find is told as what the start found.
fn tell_to(catalog: &Catalog, told: &Arc<Mutex<Vec<Finding>>>) {
    let told = Arc::clone(told);
    let teller = move |finding: &Finding| told.lock().unwrap().push(finding.clone());
    catalog.quarantine().unwrap().tell_to(Arc::new(teller));
}

fn start_internal(disk: &MemoryDisk, node: [u8; 16], told: &Arc<Mutex<Vec<Finding>>>) -> Journal {
    let files = segment_files(disk, JournalId::INTERNAL, node);
    let clock: Arc<dyn Clock> = Arc::new(FakeClock::at(Timestamp(1)));
    let (internal, findings) =
        InternalJournal::open(files.clone(), Offset(0), clock, Arc::default()).unwrap();
    told.lock().unwrap().extend(findings);
    tell_to(internal.catalog(), told);
    let next = internal.tail().durable_end();
    Journal {
        files,
        catalog: Arc::clone(internal.catalog()),
        tail: Arc::new(Tail::new(1, next)),
        start: weir::journal::writer::WriterStart {
            journal: JournalId::INTERNAL,
            next,
            sequence: 0,
            chain: [0; 32],
        },
        totals: Vec::new(),
    }
}

/// Reads a journal from `from` to its end: the blocks, and the events that cannot be read.
pub(crate) fn read_all(journal: &Journal, from: Offset) -> (Vec<Arc<Block>>, Vec<OffsetRange>) {
    let (catalog, tail) = (Arc::clone(&journal.catalog), Arc::clone(&journal.tail));
    let disk = Arc::clone(&journal.files.disk);
    let SegmentFiles {
        journal: id,
        direct,
        ..
    } = journal.files;
    let mut reader = Reader::new(id, disk, direct, catalog, tail);
    let (mut blocks, mut gaps, mut offset) = (Vec::new(), Vec::new(), from);
    loop {
        match reader.next(offset).unwrap() {
            ReadNext::Block(block) => {
                assert!(block.first <= offset && block.range().end > offset);
                offset = block.range().end;
                blocks.push(block);
            }
            ReadNext::Gap { range, .. } => {
                assert!(
                    range.first == offset && range.end > offset,
                    "a gap moves on"
                );
                offset = range.end;
                gaps.push(range);
            }
            ReadNext::End => return (blocks, gaps),
        }
    }
}

/// Appends blocks of `events` each, commits after every one, and leaves the segment open.
pub(crate) fn append(journal: &mut Journal, blocks: &[(u64, u32)]) {
    let mut writer = Writer::new(journal.start.clone(), 16 * 1024);
    for (tag, events) in blocks {
        writer.append(block(*tag, *events));
        perform(journal, &mut writer);
    }
    journal.start.next = writer.durable_end();
}

fn perform(journal: &Journal, writer: &mut Writer) {
    while let Some(action) = writer.next_action() {
        match action {
            WriterAction::Open(order) => {
                let files = &journal.files;
                let spare = match files.find_spares().unwrap().pop() {
                    Some(spare) => spare,
                    None => files
                        .make_spare(order.sequence, &AtomicBool::new(true))
                        .unwrap(),
                };
                let (opened, entry) = files.put_to_use(&spare, &order, Timestamp(5)).unwrap();
                journal.catalog.add(entry);
                writer.opened(opened);
            }
            WriterAction::Write(group) => {
                let bytes = group.buffers.concat();
                let mut aligned = AlignedBuffer::with_capacity(bytes.len());
                aligned.extend_from_slice(&bytes);
                let file = &group.file;
                file.write_durable_at(aligned.as_slice(), group.position)
                    .unwrap();
                writer.written(group.ticket, true);
            }
            WriterAction::Durable(blocks) => journal.tail.publish(&blocks),
            WriterAction::Close(segment) => journal.catalog.close(&segment),
            WriterAction::Seal(order) => journal.files.seal(&order).unwrap(),
        }
    }
}

/// A block with real metadata; every third body takes two pages.
fn block(tag: u64, events: u32) -> ClosedBlock {
    let len = match (events, tag % 3) {
        (0, _) => 0,
        (_, 0) => 5_000,
        _ => 700,
    };
    let mut random = tag;
    let body = std::iter::repeat_with(|| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 56) as u8
    });
    let body: Vec<u8> = body.take(len).collect();
    let counts = InputCounts {
        received: tag,
        stored: tag,
        ..InputCounts::default()
    };
    let metadata = Metadata {
        runs: Vec::new(),
        totals: vec![(InputId(0), counts), (InputId(1), counts)],
        positions: Vec::new(),
    };
    let mut encoded = Vec::new();
    let mut codec =
        weir::block::codec::ZlibCodec::new(weir::block::codec::CompressionLevel::FASTEST);
    metadata.encode(&mut codec, &mut encoded).unwrap();
    ClosedBlock {
        codec: CodecId::Stored,
        events,
        raw_len: u32::try_from(body.len()).unwrap(),
        raw_crc32: raw_crc32(&body),
        metadata: encoded.into(),
        body: body.into(),
        received_first: Timestamp(tag.cast_signed()),
        received_last: Timestamp(tag.cast_signed() + 1),
        verdicts: Default::default(),
    }
}

/// A directory with two journals of which retention took some, three streams, and records in
/// the internal journal. The last segment of each journal is open; the stream `soc` is at its
/// end.
pub(crate) fn make() -> Files {
    let disk = MemoryDisk::new();
    let mut started = start(&disk);
    for journal in &mut started.journals[..usize::from(JOURNALS)] {
        let mut blocks: Vec<(u64, u32)> = (1..=15).map(|tag| (tag, EVENTS_A_BLOCK)).collect();
        append(journal, &blocks);
        // Retention takes the oldest: it is used again, with its old blocks in it.
        let oldest = journal.catalog.list().remove(0);
        journal.catalog.remove(oldest.sequence);
        journal.files.recycle(&oldest, 1).unwrap();
        blocks = (16..=40).map(|tag| (tag, EVENTS_A_BLOCK)).collect();
        blocks[7].1 = 0;
        journal.start.sequence = journal.catalog.list().len() as u64 + 2;
        journal.start.chain = weir::journal::recovery::survey(&journal.files, Offset(0))
            .unwrap()
            .chain;
        append(journal, &blocks);
    }
    let next: Vec<Offset> = started
        .journals
        .iter()
        .map(|journal| journal.start.next)
        .collect();
    for (stream, lanes) in started.cursors.iter_mut().enumerate() {
        for ((state, record), end) in lanes.iter_mut().zip(&next) {
            for behind in [20, 10, 0] {
                state.cursor = Offset((end.0 - behind) * (stream as u64 + 2) / 4);
                state.counts = StreamCounts {
                    delivered: state.cursor.events_since(state.start),
                    ..StreamCounts::default()
                };
                record.write(state).unwrap();
            }
        }
    }
    let node = started.identity.node;
    drop(started);
    write_internal(&disk, node);
    snapshot(&disk)
}

fn write_internal(disk: &MemoryDisk, node: [u8; 16]) {
    let files = segment_files(disk, JournalId::INTERNAL, node);
    let clock: Arc<dyn Clock> = Arc::new(FakeClock::at(Timestamp(1)));
    let (internal, _) = InternalJournal::open(files, Offset(0), clock, Arc::default()).unwrap();
    let (sender, receiver) = crossbeam_channel::unbounded();
    let mut random = 1_u64;
    for number in 0..64 * 16 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let lines = format!(
            "{{\"n\":{number},\"x\":\"{random:016x}{:016x}\"}}\n",
            !random
        );
        let request = InternalRequest {
            kind: RecordKind::AuditEvent,
            lines: lines.into_bytes(),
            count: 1,
            answer: Box::new(|durable| assert!(durable)),
        };
        sender.send(request).unwrap();
    }
    drop(sender);
    internal.run(&receiver);
}

pub(crate) fn record_path(stream: &str, journal: JournalId) -> PathBuf {
    Path::new(DATA)
        .join("cursors")
        .join(cursor::file_name(stream, journal))
}

pub(crate) fn journal_dir(journal: JournalId) -> PathBuf {
    Path::new(DATA).join("journal").join(journal.to_string())
}

fn segment_files(disk: &MemoryDisk, journal: JournalId, node: [u8; 16]) -> SegmentFiles {
    SegmentFiles {
        disk: Arc::new(disk.clone()),
        dir: journal_dir(journal),
        journal,
        node,
        file_bytes: SEGMENT_BYTES,
        direct: true,
    }
}

// === files ===

const BUFFERED: OpenMode = OpenMode {
    write: true,
    create: true,
    direct: false,
};

/// All files of a disk.
pub(crate) fn snapshot(disk: &MemoryDisk) -> Files {
    let mut files = Files::new();
    let mut dirs = vec![PathBuf::from(DATA)];
    while let Some(dir) = dirs.pop() {
        for name in disk.list(&dir).unwrap() {
            let path = dir.join(name);
            match disk.list(&path) {
                Ok(_) => dirs.push(path),
                Err(_) => {
                    files.insert(path.clone(), read(disk, &path));
                }
            }
        }
    }
    files
}

/// A disk with these files, durable.
pub(crate) fn disk_of(files: &Files) -> MemoryDisk {
    let disk = MemoryDisk::new();
    for (path, bytes) in files {
        let dir = path.parent().unwrap();
        disk.create_dir_all(dir).unwrap();
        let file = disk.open(path, BUFFERED).unwrap();
        file.write_durable_at(bytes, 0).unwrap();
        disk.sync_dir(dir).unwrap();
    }
    disk
}

pub(crate) fn read(disk: &MemoryDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, BUFFERED).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}
