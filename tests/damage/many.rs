//! Ten thousand segments: a start reads two pages of each, whatever they hold.

use std::path::PathBuf;
use std::sync::Arc;

use weir::block::{CodecId, raw_crc32};
use weir::journal::format::SegmentHeader;
use weir::journal::recovery::{Surveyed, recover};
use weir::journal::segments::{Catalog, SegmentFiles, file_name};
use weir::journal::writer::{ClosedBlock, OpenedSegment, Writer, WriterAction, WriterStart};
use weir::os::buffers::AlignedBuffer;
use weir::os::disk::OpenMode;
use weir::os::memory_disk::MemoryDisk;
use weir::position::{JournalId, Offset, SegmentId, Timestamp};

const SEGMENTS: u64 = 10_000;
/// Header, two blocks, index, trailer.
const SEGMENT_BYTES: u64 = 5 * 4096;

#[test]
fn a_start_reads_two_pages_of_each_of_ten_thousand_segments_and_keeps_no_index() {
    let disk = MemoryDisk::new();
    let files = SegmentFiles {
        disk: Arc::new(disk.clone()),
        dir: PathBuf::from("/data/journal/0"),
        journal: JournalId(0),
        node: [7; 16],
        file_bytes: SEGMENT_BYTES,
        direct: true,
    };
    let catalog = Catalog::default();
    let fresh = recover(&files, &catalog, Offset(0)).unwrap();
    write_segments(&files, fresh.start);

    let before = disk.counts();
    let catalog = Catalog::default();
    let recovered = recover(&files, &catalog, Offset(0)).unwrap();
    let after = disk.counts();
    assert_eq!(recovered.findings, Vec::new());
    assert_eq!(recovered.start.next, Offset(SEGMENTS * 6));
    assert_eq!(catalog.list().len() as u64, SEGMENTS);
    // Two a segment; besides them the floor, and the last segment's blocks for the counters.
    let reads = after.reads - before.reads;
    assert!(reads <= 2 * SEGMENTS + 16, "{reads} reads");
    assert_eq!(after.writes, before.writes, "nothing is made anew");
    assert_eq!(after.durable_writes, before.durable_writes);
    // What is kept of a segment is of a fixed size: no index, however many blocks it has.
    assert!(size_of::<Surveyed>() <= 512, "{}", size_of::<Surveyed>());
}

/// Full segments of two blocks of real code, each put to use, written and sealed.
fn write_segments(files: &SegmentFiles, start: WriterStart) {
    let mut writer = Writer::new(start, 1 << 20);
    for tag in 0..2 * SEGMENTS {
        writer.append(block(tag));
        perform(files, &mut writer);
    }
    writer.close();
    perform(files, &mut writer);
}

fn perform(files: &SegmentFiles, writer: &mut Writer) {
    while let Some(action) = writer.next_action() {
        match action {
            WriterAction::Open(order) => {
                let header = SegmentHeader {
                    journal: files.journal,
                    segment: SegmentId::random(),
                    node: files.node,
                    sequence: order.sequence,
                    first: order.first,
                    file_bytes: SEGMENT_BYTES,
                    created: Timestamp(1),
                    chain: order.chain,
                };
                let mode = OpenMode {
                    write: true,
                    create: true,
                    direct: true,
                };
                let path = files.dir.join(file_name(order.sequence, order.first));
                let file = files.disk.open(&path, mode).unwrap();
                file.set_len(SEGMENT_BYTES).unwrap();
                let mut page = AlignedBuffer::with_capacity(4096);
                page.extend_from_slice(&header.encode());
                file.write_durable_at(page.as_slice(), 0).unwrap();
                writer.opened(OpenedSegment {
                    segment: header.segment,
                    file,
                    file_bytes: SEGMENT_BYTES,
                });
            }
            WriterAction::Write(group) => {
                let bytes = group.buffers.concat();
                let mut aligned = AlignedBuffer::with_capacity(bytes.len());
                aligned.extend_from_slice(&bytes);
                let written = group
                    .file
                    .write_durable_at(aligned.as_slice(), group.position);
                writer.written(group.ticket, written.is_ok());
            }
            WriterAction::Seal(order) => files.seal(&order).unwrap(),
            WriterAction::Durable(_) | WriterAction::Close(_) => {}
        }
    }
}

fn block(tag: u64) -> ClosedBlock {
    let body = tag.to_le_bytes().repeat(10);
    ClosedBlock {
        codec: CodecId::Stored,
        events: 3,
        raw_len: 80,
        raw_crc32: raw_crc32(&body),
        metadata: bytes::Bytes::new(),
        body: body.into(),
        received_first: Timestamp(1),
        received_last: Timestamp(2),
        verdicts: Default::default(),
    }
}
