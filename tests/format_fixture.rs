//! Files of every format version stay readable: `tests/data/journal-v1` is a data directory as
//! version 1 wrote it, and every value in it is checked.
//!
//! The same checks run on a directory that today's code makes, so the fixture and the writer
//! cannot part ways, and places named in `docs/journal-format.md` are read by their numbers.
//! `tests/data/dead-letters-v1` is the same for a stream's dead letters, and the document shows the
//! first of them.
//!
//! A change of the format gets a new version and a directory of its own; the ones before stay.
//! `WEIR_BLESS=1 cargo test --test format_fixture` writes the directory anew: only before the
//! version was released.

#![expect(
    clippy::unwrap_used,
    reason = "the whole file is a test; what fails in it is told with its line"
)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use sha2::Digest as _;

use weir::batch::{CursorState, Cut, EventPosition};
use weir::block::codec::{Codec, CompressionLevel, Inflater, ZlibCodec};
use weir::block::metadata::{InputPosition, Metadata};
use weir::block::{Block, CodecId, raw_crc32};
use weir::event::{InputId, LabelRun, Labels};
use weir::journal::cursor::{self, CursorRecord};
use weir::journal::floor::{Floor, FloorState};
use weir::journal::format::{self, BlockHeader, FormatError, SegmentHeader, Trailer};
use weir::journal::letters::{DeadLetter, format as letter_format};
use weir::journal::reader::{ReadNext, Reader};
use weir::journal::recovery::{fuzz_records, fuzz_recover, recover};
use weir::journal::scan::SegmentScan;
use weir::journal::segments::{Catalog, SegmentFiles, file_name};
use weir::journal::tail::Tail;
use weir::journal::writer::{
    ClosedBlock, OpenedSegment, SegmentOrder, Writer, WriterAction, WriterStart,
};
use weir::limits::DISK_PAGE_BYTES;
use weir::metrics::ledger::{InputCounts, StreamCounts};
use weir::node::identity::Identity;
use weir::os::buffers::AlignedBuffer;
use weir::os::disk::{Disk, OpenMode};
use weir::os::memory_disk::MemoryDisk;
use weir::position::{JournalId, Offset, OffsetRange, SegmentId, Timestamp};

const JOURNAL: JournalId = JournalId(2);
const NODE: [u8; 16] = *b"\x0f\x1e\x2d\x3c\x4b\x5a\x46\x78\x87\x96\xa5\xb4\xc3\xd2\xe1\xf0";
const NODE_TOML: &str = "version = 1
id = \"0f1e2d3c-4b5a-4678-8796-a5b4c3d2e1f0\"
journals = 3

[inputs]
audit = 3
waf = 0
";
const NODE_FILES: [&str; 2] = ["/data/node.toml", "/data/node.toml.copy"];
const FLOOR: &str = "/data/journal/2/floor";
const SEGMENTS: [SegmentId; 2] = [SegmentId([0x51; 16]), SegmentId([0x52; 16])];
const SEGMENT_BYTES: usize = 32 * 1024;
const FIRST: Offset = Offset(1_000_000);
const SEQUENCE: u64 = 7;
const CHAIN: [u8; 32] = [0xc4; 32];
/// When the segments were put to use.
const CREATED: Timestamp = Timestamp(1_700_000_000_000_000);
const DIR: &str = "/data/journal/2";
const RECORD: &str = "/data/cursors/siem.2.cursor";
const PAGE: u64 = DISK_PAGE_BYTES as u64;

/// What one block of the fixture holds.
struct Content {
    codec: CodecId,
    raw: String,
    metadata: Metadata,
}

#[test]
fn version_1_reads_as_it_was_written() {
    check_all(&fixture());
}

#[test]
fn the_writer_of_today_makes_the_same() {
    let (made, fixture) = (make(), fixture());
    check_all(&make());
    // Deflate may come out differently by codec and library; everything else may not.
    for (path, bytes) in [(segment_path(0), 2 * DISK_PAGE_BYTES), (RECORD.into(), 0)] {
        let (was, is) = (read(&fixture, &path), read(&made, &path));
        let bytes = if bytes == 0 { was.len() } else { bytes };
        assert!(was[..bytes] == is[..bytes], "{} differs", path.display());
    }
}

#[test]
fn the_document_names_the_right_bytes() {
    let disk = fixture();
    let sealed = read(&disk, &segment_path(0));

    let header = &sealed[..DISK_PAGE_BYTES];
    assert_eq!(&header[..8], b"WEIRSEG1");
    assert_eq!((u16_at(header, 8), u16_at(header, 10)), (1, 2));
    assert_eq!(
        (&header[16..32], &header[32..48]),
        (&[0x51; 16][..], &NODE[..])
    );
    assert_eq!((u64_at(header, 48), u64_at(header, 56)), (7, 1_000_000));
    assert_eq!(u64_at(header, 64), 32 * 1024);
    assert_eq!(u64_at(header, 72), 1_700_000_000_000_000);
    assert_eq!(header[80..112], CHAIN);
    assert_eq!(u32_at(header, 4092), crc32c::crc32c(&header[..4092]));

    let block = &sealed[DISK_PAGE_BYTES..];
    let (metadata_len, body_len) = (u32_at(block, 44), u32_at(block, 48));
    assert_eq!(&block[..4], b"WBLK");
    assert_eq!((u16_at(block, 4), block[6], block[7]), (1, 0, 1));
    assert_eq!(block[8..24], [0x51; 16]);
    assert_eq!((u64_at(block, 24), u32_at(block, 32)), (1_000_000, 3));
    let raw = contents()[0].raw.clone();
    assert_eq!(u32_at(block, 36) as usize, raw.len());
    assert_eq!(u32_at(block, 40), raw_crc32(raw.as_bytes()));
    assert_eq!((u32_at(block, 52), u64_at(block, 56)), (0, 1_000_000));
    assert_eq!((u64_at(block, 64), u64_at(block, 72)), (at(1), at(2)));
    assert_eq!((&block[80..112], u64_at(block, 112)), (&CHAIN[..], 4096));
    assert_eq!(u32_at(block, 120), 0);
    let body = 128 + metadata_len as usize;
    let end = body + body_len as usize;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&block[..124]), &block[128..end]);
    assert_eq!(u32_at(block, 124), crc);
    assert_eq!(&block[body..end], raw.as_bytes(), "codec 0 stores as it is");
    assert!(block[end..DISK_PAGE_BYTES].iter().all(|byte| *byte == 0));

    let trailer = &sealed[SEGMENT_BYTES - DISK_PAGE_BYTES..];
    assert_eq!((&trailer[..8], u16_at(trailer, 8)), (&b"WEIREND1"[..], 1));
    assert_eq!(trailer[16..32], [0x51; 16]);
    assert_eq!(
        (u64_at(trailer, 32), u64_at(trailer, 40)),
        (1_000_063, 4 * PAGE)
    );
    assert_eq!(u32_at(trailer, 48), 3);
    let index = &sealed[4 * DISK_PAGE_BYTES..][..3 * 40];
    assert_eq!(u32_at(trailer, 52), crc32c::crc32c(index));
    assert_eq!(
        (u64_at(trailer, 88), u32_at(trailer, 4092)),
        (at(3), crc32c::crc32c(&trailer[..4092]))
    );
    let second = &index[40..80];
    assert_eq!(
        (u64_at(second, 0), u64_at(second, 8)),
        (2 * PAGE, 1_000_003)
    );
    assert_eq!((u32_at(second, 16), u32_at(second, 24)), (60, 4096));
    assert_eq!((u32_at(second, 28), u64_at(second, 32)), (0, at(3)));
}

#[test]
fn the_document_names_the_right_bytes_of_records() {
    let disk = fixture();
    let record = read(&disk, Path::new(RECORD));
    assert_eq!(record.len(), 2 * DISK_PAGE_BYTES);
    let newest = &record[..DISK_PAGE_BYTES];
    assert_eq!((&newest[..8], u16_at(newest, 8)), (&b"WEIRCUR1"[..], 1));
    assert_eq!((u16_at(newest, 10), u64_at(newest, 16)), (2, 2));
    assert_eq!(newest[24..40], NODE);
    assert_eq!(
        (u64_at(newest, 40), u64_at(newest, 48)),
        (1_000_000, 1_000_050)
    );
    assert_eq!((u16_at(newest, 96), u16_at(newest, 138)), (5, 2));
    assert_eq!(u64_at(&record[DISK_PAGE_BYTES..], 16), 1, "the older slot");
    let hash_at = 40 + u32_at(newest, 12) as usize;
    let hash: [u8; 32] = sha2::Sha256::digest("siem").into();
    assert_eq!(newest[hash_at..hash_at + 16], hash[..16]);

    let floor = read(&disk, Path::new(FLOOR));
    assert_eq!(floor.len(), 2 * DISK_PAGE_BYTES);
    let sequence = |slot: usize| u64_at(&floor[slot * DISK_PAGE_BYTES..], 16);
    let page = &floor[if sequence(0) > sequence(1) {
        0
    } else {
        DISK_PAGE_BYTES
    }..];
    assert_eq!((&page[..8], u32_at(page, 12)), (&b"WEIRFLR1"[..], 56));
    assert_eq!((u64_at(page, 40), u64_at(page, 48)), (1_000_000, 8));
    assert_eq!((&page[56..88], u64_at(page, 88)), (&CHAIN[..], 1_000_063));
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn a_later_version_is_refused_by_name() {
    let disk = fixture();
    let mut segment = read(&disk, &segment_path(0));
    let reseal = |page: &mut [u8]| {
        page[8] = 2;
        let crc = crc32c::crc32c(&page[..4092]);
        page[4092..4096].copy_from_slice(&crc.to_le_bytes());
    };
    reseal(&mut segment[..DISK_PAGE_BYTES]);
    reseal(&mut segment[SEGMENT_BYTES - DISK_PAGE_BYTES..]);
    segment[DISK_PAGE_BYTES + 4] = 2;
    let refused = |what, found| Some(FormatError::Version { what, found });
    let header = SegmentHeader::decode(segment.first_chunk().unwrap());
    assert_eq!(header.err(), refused("segment header", 2));
    let trailer = Trailer::decode(segment.last_chunk().unwrap());
    assert_eq!(trailer.err(), refused("segment trailer", 2));
    let block = BlockHeader::peek(segment[DISK_PAGE_BYTES..].first_chunk().unwrap());
    assert_eq!(block.err(), refused("block", 2));

    let mut record = read(&disk, Path::new(RECORD));
    reseal(&mut record[..DISK_PAGE_BYTES]);
    write(&disk, Path::new(RECORD), &record);
    let opened = CursorRecord::open(&disk, Path::new(RECORD), JOURNAL, NODE).unwrap();
    assert_eq!(opened.damage, refused("cursor record", 2));
    assert_eq!(
        opened.state,
        Some(cursor_state(20)),
        "the older slot is of this version"
    );
}

#[test]
fn fuzz_entry_takes_the_fixture_whole_and_torn() {
    let bytes = read(&fixture(), &segment_path(0));
    for page in bytes.chunks(DISK_PAGE_BYTES) {
        format::fuzz_open_block(page);
        for at in (0..page.len()).step_by(11) {
            let mut torn = page.to_vec();
            torn[at] ^= 0x55;
            format::fuzz_open_block(&torn);
            format::fuzz_open_block(&torn[..at]);
        }
    }
}

#[test]
fn fuzz_entries_of_recovery_take_the_fixture_whole_torn_and_reordered() {
    let disk = fixture();
    let segment = read(&disk, &segment_path(0));
    fuzz_recover(&segment);
    for at in (0..segment.len()).step_by(509) {
        let mut torn = segment.clone();
        torn[at] ^= 0x55;
        fuzz_recover(&torn);
        fuzz_recover(&torn[..at]);
        torn.rotate_left(at / DISK_PAGE_BYTES * DISK_PAGE_BYTES);
        fuzz_recover(&torn);
    }
    for path in [RECORD, FLOOR] {
        let record = read(&disk, Path::new(path));
        for at in (0..record.len()).step_by(61) {
            let mut torn = record.clone();
            torn[at] ^= 0x55;
            fuzz_records(&torn);
            fuzz_records(&torn[at..]);
        }
    }
}

// === what the fixture says ===

/// Time `second` seconds after the segments were put to use, in microseconds.
fn at(second: u64) -> u64 {
    CREATED.0.cast_unsigned() + second * 1_000_000
}

fn time(second: u64) -> Timestamp {
    Timestamp(at(second).cast_signed())
}

fn run(events: u32, labels: Labels, second: u64) -> LabelRun {
    LabelRun {
        events,
        labels: Arc::new(labels),
        received: time(second),
    }
}

/// Labels with all there is.
fn full_labels() -> Labels {
    Labels {
        application: Some("iam".into()),
        subsystem: Some("tokens".into()),
        host: Some("relay-1".into()),
        level: Some("warning".into()),
        env: Some("prod".into()),
        tags: Some("a,b".into()),
        meta: Some("{\"region\":\"eu-de\"}".into()),
        sender: Some("billing".into()),
        peer: Some("192.0.2.7:40000".into()),
        event_time: Some(Timestamp(-1)),
        ..Labels::of_input(InputId(3))
    }
}

/// Counters of two inputs: two lines of the first are stored, and `waf` of the other.
fn totals(waf: u64, rejected: [u64; 3]) -> Vec<(InputId, InputCounts)> {
    let counts = |stored, rejected: [u64; 3]| InputCounts {
        received: stored + 5 + rejected.iter().sum::<u64>(),
        received_bytes: 1 << 33,
        stored,
        stored_bytes: 1 << 32,
        skipped: 2,
        excluded: 5,
        rejected,
    };
    vec![
        (InputId(3), counts(2, [0, 0, 0])),
        (InputId(0), counts(waf, rejected)),
    ]
}

/// The blocks: two label sets; labels long enough to be compressed; counters alone; and,
/// in the second segment, input positions.
fn contents() -> [Content; 4] {
    let many = (0..60).map(|number| {
        let peer = format!("198.51.100.{number}:50{number:03}");
        let labels = Labels {
            peer: Some(peer.into()),
            ..Labels::of_input(InputId(0))
        };
        run(1, labels, 3)
    });
    let position = InputPosition {
        source: "audit.log".into(),
        position: (*b"\x00\xff\x80").into(),
    };
    [
        Content {
            codec: CodecId::Stored,
            raw: "{\"a\":1}\n{\"b\":\"\u{e9}\"}\n{}\n".to_owned(),
            metadata: Metadata {
                runs: vec![
                    run(2, full_labels(), 1),
                    run(1, Labels::of_input(InputId(0)), 2),
                ],
                totals: totals(1, [0, 0, 0]),
                positions: Vec::new(),
            },
        },
        Content {
            codec: CodecId::DeflateRun,
            raw: (0..60)
                .map(|number| format!("{{\"n\":{number}}}\n"))
                .collect(),
            metadata: Metadata {
                runs: many.collect(),
                totals: totals(61, [0, 0, 0]),
                positions: Vec::new(),
            },
        },
        Content {
            codec: CodecId::DeflateRun,
            raw: String::new(),
            metadata: Metadata {
                totals: totals(61, [4, 9, 0]),
                ..Metadata::default()
            },
        },
        Content {
            codec: CodecId::DeflateRun,
            raw: "{\"last\":true}\n".to_owned(),
            metadata: Metadata {
                runs: vec![run(1, Labels::of_input(InputId(3)), 4)],
                totals: totals(61, [4, 10, 0]),
                positions: vec![position],
            },
        },
    ]
}

fn cursor_state(events: u64) -> CursorState {
    let cut = |first: u64, events: u64| Cut {
        segment: SEGMENTS[0],
        range: OffsetRange {
            first: FIRST.plus(first),
            end: FIRST.plus(first + events),
        },
        version: 0x0123_4567_89ab_cdef,
    };
    CursorState {
        start: FIRST,
        cursor: FIRST.plus(events),
        counts: StreamCounts {
            delivered: events - 15,
            delivered_bytes: 1 << 40,
            filtered: 4,
            sampled_out: 3,
            dead_lettered: 2,
            discarded: [1, 2, 3, 0, 0],
        },
        cuts: vec![cut(events, 6), cut(events + 6, 7)],
        sink: b"siem-0001.ndjson.gz 4711".to_vec(),
    }
}

// === checks ===

fn check_all(disk: &MemoryDisk) {
    check_identity(disk);
    check_sealed_segment(disk);
    check_journal(disk);
    let opened = CursorRecord::open(disk, Path::new(RECORD), JOURNAL, NODE).unwrap();
    assert_eq!(opened.damage, None);
    assert_eq!(opened.state, Some(cursor_state(50)));
    assert_eq!(cursor::file_name("siem", JOURNAL), "siem.2.cursor");
}

fn check_identity(disk: &MemoryDisk) {
    let inputs = ["waf", "audit", "new"];
    let identity = Identity::open(disk, Path::new("/data"), 8, &inputs).unwrap();
    assert_eq!((identity.node, identity.journals), (NODE, 3));
    assert_eq!(identity.inputs, [0, 3, 4]);
    assert_eq!(identity.findings, []);
}

fn check_sealed_segment(disk: &MemoryDisk) {
    let bytes = read(disk, &segment_path(0));
    let header = SegmentHeader::decode(bytes.first_chunk().unwrap()).unwrap();
    assert_eq!(
        header,
        SegmentHeader {
            journal: JOURNAL,
            segment: SEGMENTS[0],
            node: NODE,
            sequence: SEQUENCE,
            first: FIRST,
            file_bytes: SEGMENT_BYTES as u64,
            created: CREATED,
            chain: CHAIN,
        }
    );
    let path = segment_path(0);
    let mut scan = SegmentScan::open(disk, &path, true, JOURNAL, SEGMENTS[0]).unwrap();
    let (trailer, index) = scan.read_index().unwrap().unwrap();
    let (mut position, mut first, mut chain) = (SegmentScan::FIRST_POSITION, FIRST, CHAIN);
    for (number, content) in contents()[..3].iter().enumerate() {
        let scanned = scan.block_at(position, Some(first)).unwrap().unwrap();
        check_block(&scanned.block, content);
        assert_eq!(scanned.index_entry(), index[number]);
        assert_eq!(scanned.header.chain, chain);
        assert_eq!(scanned.header.positions_full, number == 0);
        assert_eq!(scanned.header.durable_end, first, "one write a block");
        chain = format::chain_hash(&scanned.block);
        (position, first) = (scanned.next_position(), scanned.block.range().end);
    }
    let raw_bytes: usize = contents()[..3]
        .iter()
        .map(|content| content.raw.len())
        .sum();
    assert_eq!((trailer.segment, trailer.entries), (SEGMENTS[0], 3));
    assert_eq!((trailer.end, trailer.chain), (first, chain));
    assert_eq!(trailer.blocks_end, position);
    assert_eq!(trailer.received_last, time(3));
    assert_eq!(trailer.raw_bytes, raw_bytes as u64);
}

fn check_block(block: &Block, content: &Content) {
    assert_eq!((block.codec, block.journal), (content.codec, JOURNAL));
    assert_eq!(block.events as usize, content.raw.lines().count());
    assert_eq!(block.raw_crc32, raw_crc32(content.raw.as_bytes()));
    let mut raw = Vec::new();
    let raw_len = block.raw_len as usize;
    Inflater::new()
        .read_body(block.codec, &block.body(), raw_len, &mut raw)
        .unwrap();
    assert_eq!(String::from_utf8(raw).unwrap(), content.raw);
    let metadata = &block.image[block.metadata.clone()];
    let metadata = Metadata::decode(metadata, &mut Inflater::new()).unwrap();
    assert_eq!(metadata, content.metadata);
    let times = (block.received_first, block.received_last);
    assert_eq!(times, received(content));
}

/// Recovery goes on behind the unsealed segment and seals it; a reader finds every event.
fn check_journal(disk: &MemoryDisk) {
    let files = files(disk);
    let floor = Floor::read(&files).unwrap();
    let said = FloorState {
        removed_to: FIRST,
        chain: CHAIN,
        sequence_next: SEQUENCE + 1,
        durable_to: FIRST.plus(63),
    };
    assert_eq!((floor.state, floor.damage), (Some(said), None));
    let catalog = Arc::new(Catalog::default());
    let recovered = recover(&files, &catalog, FIRST.plus(50)).unwrap();
    assert_eq!(recovered.findings, []);
    assert_eq!(recovered.start.next, FIRST.plus(64));
    assert_eq!(recovered.start.sequence, SEQUENCE + 2);
    assert_eq!(recovered.received_last, time(4));
    let last = &contents()[3].metadata;
    assert_eq!(recovered.totals, last.totals);
    assert_eq!(recovered.positions, last.positions);

    let scan = SegmentScan::open(disk, &segment_path(1), true, JOURNAL, SEGMENTS[1]).unwrap();
    let (trailer, _) = scan.read_index().unwrap().expect("it was sealed");
    assert_eq!(trailer.chain, recovered.start.chain);

    let tail = Arc::new(Tail::new(0, recovered.start.next));
    let mut reader = Reader::new(JOURNAL, Arc::new(disk.clone()), true, catalog, tail);
    let mut offset = FIRST;
    for content in contents().iter().filter(|content| !content.raw.is_empty()) {
        let ReadNext::Block(block) = reader.next(offset).unwrap() else {
            panic!("offset {offset} holds a block");
        };
        check_block(&block, content);
        offset = block.range().end;
    }
    assert!(matches!(reader.next(offset), Ok(ReadNext::End)));
}

// === making one ===

fn files(disk: &MemoryDisk) -> SegmentFiles {
    SegmentFiles {
        disk: Arc::new(disk.clone()),
        dir: PathBuf::from(DIR),
        journal: JOURNAL,
        node: NODE,
        file_bytes: SEGMENT_BYTES as u64,
        direct: true,
    }
}

/// The directory as today's code makes it, with ids and times given instead of drawn.
fn make() -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk.create_dir_all(Path::new(RECORD).parent().unwrap())
        .unwrap();
    let node_file = format!(
        "{NODE_TOML}# crc32c {:08x}\n",
        crc32c::crc32c(NODE_TOML.as_bytes())
    );
    for path in NODE_FILES {
        write(&disk, Path::new(path), node_file.as_bytes());
    }
    let floor = FloorState {
        removed_to: FIRST,
        chain: CHAIN,
        sequence_next: SEQUENCE,
        durable_to: FIRST,
    };
    Floor::open(&files(&disk)).unwrap().raise(floor).unwrap();
    let start = WriterStart {
        journal: JOURNAL,
        next: FIRST,
        sequence: SEQUENCE,
        chain: CHAIN,
    };
    let mut writer = Writer::new(start, 1024 * 1024);
    for (number, content) in contents().into_iter().enumerate() {
        if number == 3 {
            writer.close();
        }
        writer.append(close(&content));
        perform(&disk, &mut writer);
    }
    let mut opened = CursorRecord::open(&disk, Path::new(RECORD), JOURNAL, NODE).unwrap();
    opened.record.write(&cursor_state(20)).unwrap();
    opened.record.write(&cursor_state(50)).unwrap();
    disk
}

fn close(content: &Content) -> ClosedBlock {
    let mut codec = ZlibCodec::new(CompressionLevel::FASTEST);
    let raw = content.raw.as_bytes();
    let mut body = Vec::new();
    match content.codec {
        CodecId::Stored => body.extend_from_slice(raw),
        CodecId::DeflateRun => codec.compress_run(raw, &mut body).unwrap(),
    }
    let mut metadata = Vec::new();
    content.metadata.encode(&mut codec, &mut metadata).unwrap();
    let (received_first, received_last) = received(content);
    ClosedBlock {
        codec: content.codec,
        events: u32::try_from(content.raw.lines().count()).unwrap(),
        raw_len: u32::try_from(raw.len()).unwrap(),
        raw_crc32: raw_crc32(raw),
        metadata: metadata.into(),
        body: body.into(),
        received_first,
        received_last,
        verdicts: Default::default(),
    }
}

/// Receive times of a block; one with counters alone has that of the block before.
fn received(content: &Content) -> (Timestamp, Timestamp) {
    let runs = &content.metadata.runs;
    let first = runs.first().map_or(time(3), |run| run.received);
    (first, runs.last().map_or(time(3), |run| run.received))
}

fn perform(disk: &MemoryDisk, writer: &mut Writer) {
    while let Some(action) = writer.next_action() {
        match action {
            WriterAction::Open(order) => writer.opened(put_to_use(disk, &order)),
            WriterAction::Write(group) => {
                let mut whole = AlignedBuffer::with_capacity(SEGMENT_BYTES);
                whole.extend_from_slice(&group.buffers.concat());
                let written = group
                    .file
                    .write_durable_at(whole.as_slice(), group.position);
                writer.written(group.ticket, written.is_ok());
            }
            WriterAction::Seal(order) => files(disk).seal(&order).unwrap(),
            WriterAction::Durable(_) | WriterAction::Close(_) => {}
        }
    }
}

/// As [`SegmentFiles::put_to_use`], with an id and a time that are always the same.
fn put_to_use(disk: &MemoryDisk, order: &SegmentOrder) -> OpenedSegment {
    let number = usize::try_from(order.sequence - SEQUENCE).unwrap();
    let segment = SEGMENTS[number];
    let header = SegmentHeader {
        journal: JOURNAL,
        segment,
        node: NODE,
        sequence: order.sequence,
        first: order.first,
        file_bytes: SEGMENT_BYTES as u64,
        created: CREATED,
        chain: order.chain,
    };
    let mut bytes = header.encode().to_vec();
    bytes.resize(SEGMENT_BYTES, 0);
    let path = segment_path(number);
    assert_eq!(
        path,
        Path::new(DIR).join(file_name(order.sequence, order.first))
    );
    write(disk, &path, &bytes);
    let file = disk.open(&path, files(disk).write_mode()).unwrap();
    OpenedSegment {
        segment,
        file,
        file_bytes: SEGMENT_BYTES as u64,
    }
}

// === files ===

fn segment_path(number: usize) -> PathBuf {
    let names = [
        "000000000007-00000000000001000000.seg",
        "000000000008-00000000000001000063.seg",
    ];
    Path::new(DIR).join(names[number])
}

/// Every file of the fixture: where it lies in the repository, and where in a data directory.
fn paths() -> [(PathBuf, PathBuf); 6] {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/journal-v1");
    let in_data = [
        PathBuf::from(NODE_FILES[0]),
        PathBuf::from(NODE_FILES[1]),
        PathBuf::from(FLOOR),
        segment_path(0),
        segment_path(1),
        PathBuf::from(RECORD),
    ];
    in_data.map(|path| (root.join(path.strip_prefix("/data").unwrap()), path))
}

/// The fixture on a disk of its own, so that checks may write.
fn fixture() -> MemoryDisk {
    static BLESSED: Once = Once::new();
    if std::env::var_os("WEIR_BLESS").is_some() {
        BLESSED.call_once(bless);
    }
    let disk = MemoryDisk::new();
    for (kept, path) in paths() {
        disk.create_dir_all(path.parent().unwrap()).unwrap();
        let bytes =
            std::fs::read(&kept).unwrap_or_else(|error| panic!("{}: {error}", kept.display()));
        write(&disk, &path, &bytes);
    }
    disk
}

fn bless() {
    let disk = make();
    for (kept, path) in paths() {
        std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
        std::fs::write(kept, read(&disk, &path)).unwrap();
    }
}

fn buffered(write: bool) -> OpenMode {
    OpenMode {
        write,
        create: write,
        direct: false,
    }
}

fn write(disk: &MemoryDisk, path: &Path, bytes: &[u8]) {
    let file = disk.open(path, buffered(true)).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
}

fn read(disk: &MemoryDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, buffered(false)).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    let read = file.read_at(&mut bytes, 0).unwrap();
    assert_eq!(read, bytes.len());
    bytes
}

const LETTERS: &str = "tests/data/dead-letters-v1/siem.letters";

/// The letters of the fixture: one of text, one that is not UTF-8.
fn letters() -> Vec<DeadLetter> {
    let letter = |offset: u64, line: &[u8]| DeadLetter {
        position: EventPosition {
            segment: SEGMENTS[0],
            journal: JOURNAL,
            offset: Offset(offset),
        },
        received: Timestamp(1_700_000_000_000_001),
        refused: Timestamp(1_700_000_060_000_000),
        reason: "http_4xx".to_owned(),
        detail: "400 Bad Request: no such index".to_owned(),
        batch: format!("{}/1000000-1000009/siem/0000000000000000", SEGMENTS[0]),
        attempts: 2,
        labels: [("host", "web-1"), ("input", "apps")]
            .map(|(name, value)| (name.to_owned(), value.into()))
            .into_iter()
            .collect(),
        line: line.to_vec(),
    };
    vec![
        letter(1_000_003, b"{\"a\":1}"),
        letter(1_000_004, b"{\"a\":\"\xff\"}"),
    ]
}

#[test]
fn dead_letters_of_version_1_read_as_they_were_written() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(LETTERS);
    let mut written = Vec::new();
    for letter in letters() {
        letter_format::encode(&letter, &mut written);
    }
    if std::env::var_os("WEIR_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &written).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        text.as_bytes() == written,
        "the writer of today makes the same"
    );
    let read = text
        .lines()
        .map(|line| letter_format::decode(line.as_bytes()).unwrap());
    assert_eq!(read.collect::<Vec<_>>(), letters());

    let (first, second) = text.split_once('\n').unwrap();
    assert_eq!((&first[..8], &first[16..18]), ("{\"crc\":\"", "\","));
    let crc = u32::from_str_radix(&first[8..16], 16).unwrap();
    assert_eq!(crc, crc32c::crc32c(&first.as_bytes()[18..]));
    assert!(
        second.ends_with(",\"line_base64\":\"eyJhIjoi/yJ9\"}\n"),
        "{second}"
    );
    let document = include_str!("../docs/journal-format.md");
    assert!(
        document.lines().any(|line| line == first),
        "the document shows {first}"
    );
}
