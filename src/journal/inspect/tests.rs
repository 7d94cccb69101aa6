//! The chain against what crashes, failing disks and attackers do to a journal on a memory disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use proptest::prelude::*;

use crate::block::CodecId;
use crate::journal::format::{self, BLOCK_HEADER_BYTES, BlockHeader, SegmentHeader, Trailer};
use crate::journal::inspect::JournalPlace;
use crate::journal::inspect::anchor::{Anchor, AnchorOutcome};
use crate::journal::inspect::chain::{
    BreakKind, Head, Record, RecordKind, Start, Verified, verify,
};
use crate::journal::inspect::inventory::{SegmentFile, inventory};
use crate::journal::inspect::records::read_records;
use crate::journal::inspect::walk::{Step, Walk};
use crate::journal::recovery::recover;
use crate::journal::segments::{Catalog, SegmentFiles, spare_number_highest};
use crate::journal::writer::{ClosedBlock, Writer, WriterAction};
use crate::limits::DISK_PAGE_BYTES;
use crate::os::buffers::AlignedBuffer;
use crate::os::disk::{Disk, OpenMode};
use crate::os::memory_disk::MemoryDisk;
use crate::position::{JournalId, Offset, OffsetRange, Timestamp};

const PAGE: u64 = DISK_PAGE_BYTES as u64;
const SEGMENT_BYTES: u64 = 64 * 1024;

pub(super) fn place(disk: &MemoryDisk) -> JournalPlace {
    JournalPlace {
        disk: Arc::new(disk.clone()),
        dir: PathBuf::from("/j/0"),
        journal: JournalId(0),
        node: [7; 16],
        direct: true,
    }
}

/// A journal on a memory disk, as a node would write it.
pub(super) struct Node {
    pub(super) disk: MemoryDisk,
    files: SegmentFiles,
    writer: Writer,
    catalog: Catalog,
    spares: Vec<PathBuf>,
    spare_number: u64,
    /// Writes that are out: on the disk, not yet reported.
    out: Vec<u64>,
    /// Heads as they became durable.
    pub(super) heads: Vec<Head>,
}

impl Node {
    pub(super) fn start(disk: &MemoryDisk) -> Self {
        let place = place(disk);
        let files = SegmentFiles {
            disk: place.disk,
            dir: place.dir,
            journal: place.journal,
            node: place.node,
            file_bytes: SEGMENT_BYTES,
            direct: true,
        };
        let catalog = Catalog::default();
        let recovered = recover(&files, &catalog, Offset(0)).expect("recovers");
        let spares = files.find_spares().expect("lists");
        Self {
            disk: disk.clone(),
            spare_number: spare_number_highest(&spares),
            writer: Writer::new(recovered.start, 16 * 1024),
            spares,
            files,
            catalog,
            out: Vec::new(),
            heads: Vec::new(),
        }
    }

    fn work(&mut self, durable: bool) {
        while let Some(action) = self.writer.next_action() {
            match action {
                WriterAction::Open(order) => {
                    let spare = self.spares.pop().unwrap_or_else(|| {
                        self.spare_number += 1;
                        let hurry = AtomicBool::new(true);
                        let made = self.files.make_spare(self.spare_number, &hurry);
                        made.expect("a spare")
                    });
                    let opened = self.files.put_to_use(&spare, &order, Timestamp(5));
                    let (opened, entry) = opened.expect("put to use");
                    self.catalog.add(entry);
                    self.writer.opened(opened);
                }
                WriterAction::Write(group) => {
                    let mut bytes = AlignedBuffer::with_capacity(0);
                    let buffers = group.buffers.iter();
                    buffers.for_each(|buffer| bytes.extend_from_slice(buffer));
                    let (file, at) = (&group.file, group.position);
                    let written = match durable {
                        true => file.write_durable_at(bytes.as_slice(), at),
                        false => file.write_at(bytes.as_slice(), at),
                    };
                    written.expect("writes");
                    self.out.push(group.ticket);
                }
                WriterAction::Durable(blocks) => {
                    let heads = blocks.iter().map(|block| Head {
                        offset: block.range().end,
                        hash: format::chain_hash(block),
                    });
                    self.heads.extend(heads);
                }
                WriterAction::Close(segment) => self.catalog.close(&segment),
                WriterAction::Seal(order) => self.files.seal(&order).expect("seals"),
            }
        }
    }

    /// Writes that reach the disk, or only its cache, come back `succeeded`.
    fn write(&mut self, durable: bool, succeeded: bool) {
        self.work(durable);
        for ticket in std::mem::take(&mut self.out) {
            self.writer.written(ticket, succeeded);
        }
    }

    pub(super) fn commit(&mut self) {
        while !self.writer.is_idle() {
            self.write(true, true);
        }
        self.work(true);
    }

    pub(super) fn append(&mut self, blocks: &[ClosedBlock]) {
        for block in blocks {
            self.writer.append(block.clone());
            self.commit();
        }
    }

    pub(super) fn stop(mut self) -> MemoryDisk {
        self.commit();
        self.writer.close();
        self.work(true);
        self.disk
    }

    /// Takes the oldest segment for the next spare, as retention does; its range and link.
    fn take_oldest(&mut self) -> Record {
        let place = place(&self.disk);
        let oldest = inventory(&place).expect("reads").segments.remove(0);
        let entry = self.catalog.list().remove(0);
        self.catalog.remove(entry.sequence);
        self.spare_number += 1;
        let spare = self.files.recycle(&entry, self.spare_number);
        self.spares.push(spare.expect("recycles"));
        let seal = oldest.seal.expect("the oldest is sealed");
        Record {
            kind: RecordKind::Retention,
            range: OffsetRange {
                first: oldest.header.first,
                end: seal.end,
            },
            before: Some(oldest.header.chain),
            after: Some(seal.chain),
        }
    }
}

/// A block of `events` lines.
pub(super) fn block(tag: u64, body_bytes: usize, events: u32) -> ClosedBlock {
    let body = lines(tag, body_bytes, events);
    ClosedBlock {
        codec: CodecId::Stored,
        events,
        raw_len: u32::try_from(body.len()).expect("small"),
        raw_crc32: crate::block::raw_crc32(&body),
        metadata: Bytes::new(),
        body: body.into(),
        received_first: Timestamp(1),
        received_last: Timestamp(2),
        verdicts: Default::default(),
    }
}

/// The raw form of such a block.
pub(super) fn lines(tag: u64, body_bytes: usize, events: u32) -> Vec<u8> {
    let mut raw = Vec::new();
    for event in 0..events {
        let line = format!("{{\"tag\":{tag},\"event\":{event},\"fill\":\"");
        raw.extend_from_slice(line.as_bytes());
        let each = body_bytes / events.max(1) as usize;
        let fill = each.saturating_sub(line.len() + 3);
        raw.resize(raw.len() + fill, b'x');
        raw.extend_from_slice(b"\"}\n");
    }
    raw
}

fn check(disk: &MemoryDisk, records: &[Record], anchors: &[Anchor]) -> Verified {
    let read = || Ok(records.to_vec());
    verify(&place(disk), &read, anchors, &mut |_| {}).expect("reads")
}

/// With the records that are on the disk.
fn check_recorded(disk: &MemoryDisk, anchors: &[Anchor]) -> Verified {
    let place = place(disk);
    let read = || read_records(&place);
    verify(&place, &read, anchors, &mut |_| {}).expect("reads")
}

fn assert_holds(disk: &MemoryDisk, head: Option<&Head>) -> Verified {
    let verified = check(disk, &[], &[]);
    assert_eq!(verified.breaks, Vec::new());
    if let Some(head) = head {
        assert_eq!(verified.head.as_ref(), Some(head));
    }
    verified
}

/// The one break of a journal: its kind, segment and block by number, and offsets.
fn the_first_break(verified: &Verified) -> (BreakKind, &Path, u64, (u64, u64)) {
    let first = verified.breaks.first().expect("a break");
    let range = (first.range.first.0, first.range.end.0);
    (first.kind, &first.path, first.position, range)
}

fn segments(disk: &MemoryDisk) -> Vec<SegmentFile> {
    inventory(&place(disk)).expect("reads").segments
}

// === What an attacker does: checksums, index and trailer are put right ===

fn read(disk: &MemoryDisk, path: &Path) -> Vec<u8> {
    let mode = OpenMode {
        write: false,
        create: false,
        direct: false,
    };
    let file = disk.open(path, mode).expect("opens");
    let mut bytes = vec![0; usize::try_from(file.len().expect("a length")).expect("small")];
    file.read_at(&mut bytes, 0).expect("reads");
    bytes
}

fn write(disk: &MemoryDisk, path: &Path, bytes: &[u8]) {
    let mode = OpenMode {
        write: true,
        create: true,
        direct: false,
    };
    let file = disk.open(path, mode).expect("opens");
    file.set_len(bytes.len() as u64).expect("sets");
    file.write_at(bytes, 0).expect("writes");
    file.sync().expect("syncs");
}

/// The images of a segment's blocks, without padding.
fn images(disk: &MemoryDisk, segment: &SegmentFile) -> Vec<(BlockHeader, Vec<u8>)> {
    let mut walk = Walk::open(&place(disk), segment, None).expect("opens");
    let mut images = Vec::new();
    loop {
        match walk.step().expect("reads") {
            Step::Block(scanned) => {
                let image = scanned.block.image[..scanned.header.body().end].to_vec();
                images.push((scanned.header, image));
            }
            Step::Hole(hole) => panic!("{hole:?}"),
            Step::End { .. } => return images,
        }
    }
}

/// Writes a segment of these blocks: each where the one before ends, with its position and
/// checksum put right, and index and trailer to match; links and offsets stay as they are.
fn forge(disk: &MemoryDisk, segment: &SegmentFile, blocks: Vec<(BlockHeader, Vec<u8>)>) {
    let old = read(disk, &segment.path);
    let mut file = old[..DISK_PAGE_BYTES].to_vec();
    let (mut index, mut raw_bytes, mut chain) = (Vec::new(), 0, segment.header.chain);
    let mut end = segment.header.first;
    for (header, image) in blocks {
        let header = BlockHeader {
            position: file.len() as u64,
            ..header
        };
        let mut image = image;
        image[..BLOCK_HEADER_BYTES].copy_from_slice(&header.encode());
        let image_end = image.len();
        format::seal_block(&mut image, image_end);
        index.push(format::IndexEntry {
            position: header.position,
            first: header.first,
            events: header.events,
            raw_len: header.raw_len,
            stored_bytes: u32::try_from(header.stored_bytes()).expect("small"),
            received_last: header.received_last,
        });
        raw_bytes += u64::from(header.raw_len);
        end = header.first.plus(u64::from(header.events));
        chain = {
            use sha2::Digest as _;
            sha2::Sha256::digest(&image).into()
        };
        file.extend_from_slice(&image);
        file.resize(format::pad_to_page(file.len()), 0);
    }
    if let Ok(seal) = &segment.seal {
        let blocks_end = file.len() as u64;
        let (bytes, index_crc32c) = format::encode_index(&index);
        file.extend_from_slice(&bytes);
        file.resize(old.len() - DISK_PAGE_BYTES, 0);
        let trailer = Trailer {
            end,
            blocks_end,
            entries: u32::try_from(index.len()).expect("few"),
            index_crc32c,
            chain,
            raw_bytes,
            ..seal.clone()
        };
        file.extend_from_slice(&trailer.encode());
    }
    file.resize(old.len(), 0);
    write(disk, &segment.path, &file);
}

/// Two lives, five segments: each life's blocks hold 10 events in two pages.
fn journal_of_two_lives() -> (MemoryDisk, Vec<Head>) {
    let disk = MemoryDisk::new();
    let mut heads = Vec::new();
    for life in 0..2 {
        let mut node = Node::start(&disk);
        let blocks: Vec<_> = (0..14)
            .map(|tag| block(life * 100 + tag, 5_000, 10))
            .collect();
        node.append(&blocks);
        heads.append(&mut node.heads);
        node.stop();
    }
    (disk, heads)
}

fn anchor(head: &Head) -> Anchor {
    Anchor(*head)
}

#[test]
fn the_chain_of_a_sound_journal_holds_and_ends_where_the_writer_did() {
    let (disk, heads) = journal_of_two_lives();
    let anchors: Vec<Anchor> = heads.iter().map(anchor).collect();
    let verified = check(&disk, &[], &anchors);
    assert!(verified.holds(), "{:?}", verified.breaks);
    assert_eq!(verified.head.as_ref(), heads.last());
    assert_eq!((verified.blocks, verified.events), (28, 280));
    assert_eq!(verified.start, Start::Beginning);
    assert!(verified.segments >= 4);
    let empty = check(&MemoryDisk::new(), &[], &[]);
    assert_eq!((empty.start, empty.head), (Start::Empty, None));
}

#[test]
fn an_altered_block_is_named_though_its_checksum_index_and_trailer_were_put_right() {
    let (disk, _) = journal_of_two_lives();
    let segment = &segments(&disk)[0];
    for altered in [0, 2, images(&disk, segment).len() - 1] {
        let (disk, _) = journal_of_two_lives();
        let segment = &segments(&disk)[0];
        let mut blocks = images(&disk, segment);
        let at = blocks[altered].1.len() - 100;
        blocks[altered].1[at] ^= 1;
        let (position, first) = (blocks[altered].0.position, blocks[altered].0.first.0);
        forge(&disk, segment, blocks);
        let verified = check(&disk, &[], &[]);
        let expected = (
            BreakKind::Altered,
            &*segment.path,
            position,
            (first, first + 10),
        );
        assert_eq!(the_first_break(&verified), expected);
        assert_eq!(verified.breaks_total, 1, "{:?}", verified.breaks);
    }
}

#[test]
fn a_flipped_bit_is_named_too() {
    let (disk, _) = journal_of_two_lives();
    let segment = &segments(&disk)[1];
    let position = images(&disk, segment)[1].0.position;
    disk.flip(&segment.path, position + 700, 3).expect("flips");
    let verified = check(&disk, &[], &[]);
    let first = segment.header.first.0 + 10;
    let expected = (
        BreakKind::Altered,
        &*segment.path,
        position,
        (first, first + 10),
    );
    assert_eq!(the_first_break(&verified), expected);
    assert_eq!(verified.breaks_total, 1, "{:?}", verified.breaks);
}

#[test]
fn an_inserted_block_is_named() {
    for (at, events) in [(1, 0), (2, 10), (3, 0)] {
        let (disk, _) = journal_of_two_lives();
        let segment = &segments(&disk)[0];
        let mut blocks = images(&disk, segment);
        let forged_from = blocks[at - 1].0.clone();
        let end = forged_from.first.plus(u64::from(forged_from.events));
        let raw = lines(666, 900, events);
        let header = BlockHeader {
            events,
            first: end,
            codec: CodecId::Stored,
            positions_full: false,
            raw_len: u32::try_from(raw.len()).expect("small"),
            body_len: u32::try_from(raw.len()).expect("small"),
            raw_crc32: crate::block::raw_crc32(&raw),
            metadata_len: 0,
            // The forger links it to the block before it as it should be.
            chain: blocks[at].0.chain,
            ..forged_from
        };
        let mut image = vec![0; BLOCK_HEADER_BYTES];
        image.extend_from_slice(&raw);
        let position = blocks[at].0.position;
        blocks.insert(at, (header, image));
        // One less, so that there is room.
        blocks.pop();
        forge(&disk, segment, blocks);
        let verified = check(&disk, &[], &[]);
        let range = (end.0, end.0 + u64::from(events));
        let expected = (BreakKind::Inserted, &*segment.path, position, range);
        assert_eq!(the_first_break(&verified), expected);
    }
}

#[test]
fn a_removed_block_is_named_wherever_it_was() {
    let count = images_of_first();
    for removed in [0, 2, count - 1] {
        let (disk, _) = journal_of_two_lives();
        let segment = &segments(&disk)[0];
        let mut blocks = images(&disk, segment);
        let gone = blocks.remove(removed).0.first.0;
        forge(&disk, segment, blocks);
        let verified = check(&disk, &[], &[]);
        let (kind, _, _, range) = the_first_break(&verified);
        assert_eq!((kind, range), (BreakKind::Removed, (gone, gone + 10)));
    }
}

fn images_of_first() -> usize {
    let (disk, _) = journal_of_two_lives();
    images(&disk, &segments(&disk)[0]).len()
}

#[test]
fn a_block_wiped_out_in_place_is_named() {
    let (disk, _) = journal_of_two_lives();
    let segment = &segments(&disk)[0];
    let header = images(&disk, segment).remove(1).0;
    let mut bytes = read(&disk, &segment.path);
    let at = usize::try_from(header.position).expect("small");
    bytes[at..at + header.stored_bytes()].fill(0);
    write(&disk, &segment.path, &bytes);
    let verified = check(&disk, &[], &[]);
    let range = (header.first.0, header.first.0 + 10);
    let expected = (BreakKind::Removed, &*segment.path, header.position, range);
    assert_eq!(the_first_break(&verified), expected);
}

#[test]
fn a_segment_removed_from_the_middle_is_named() {
    let (disk, _) = journal_of_two_lives();
    let all = segments(&disk);
    disk.remove(&all[1].path).expect("removes");
    let verified = check(&disk, &[], &[]);
    let range = (all[1].header.first.0, all[2].header.first.0);
    let expected = (BreakKind::Removed, &*all[2].path, 0, range);
    assert_eq!(the_first_break(&verified), expected);
}

#[test]
fn what_is_cut_off_at_the_end_or_altered_there_is_found_by_an_anchor_only() {
    let (disk, heads) = journal_of_two_lives();
    let last_head = *heads.last().expect("a head");
    let all = segments(&disk);
    let last = all.last().expect("a segment");
    // The last block of all, altered with everything put right.
    let original = read(&disk, &last.path);
    let mut blocks = images(&disk, last);
    let altered = blocks.last_mut().expect("a block");
    let at = altered.1.len() - 50;
    altered.1[at] ^= 1;
    forge(&disk, last, blocks);
    let verified = check(&disk, &[], &[Anchor(last_head)]);
    assert_eq!(verified.breaks_total, 0);
    assert_eq!(verified.anchors[0].1, AnchorOutcome::Differs);
    assert!(!verified.holds());
    write(&disk, &last.path, &original);
    assert!(check(&disk, &[], &[Anchor(last_head)]).holds());
    // The whole last segment.
    disk.remove(&last.path).expect("removes");
    let anchors = [Anchor(last_head), Anchor(heads[0])];
    let verified = check(&disk, &[], &anchors);
    assert_eq!(verified.breaks_total, 0);
    assert_eq!(verified.anchors[0].1, AnchorOutcome::BehindEnd);
    assert_eq!(verified.anchors[1].1, AnchorOutcome::Holds);
    assert!(!verified.holds());
}

#[test]
fn an_altered_header_or_trailer_is_named_and_not_its_neighbours() {
    let (disk, _) = journal_of_two_lives();
    let all = segments(&disk);
    let mut bytes = read(&disk, &all[1].path);
    let header = SegmentHeader {
        chain: [9; 32],
        ..all[1].header.clone()
    };
    bytes[..DISK_PAGE_BYTES].copy_from_slice(&header.encode());
    write(&disk, &all[1].path, &bytes);
    let verified = check(&disk, &[], &[]);
    let (kind, path, position, _) = the_first_break(&verified);
    assert_eq!(
        (kind, path, position),
        (BreakKind::Altered, &*all[1].path, 0)
    );
    assert_eq!(verified.breaks_total, 1, "{:?}", verified.breaks);

    let (disk, _) = journal_of_two_lives();
    let all = segments(&disk);
    let mut bytes = read(&disk, &all[1].path);
    let trailer = Trailer {
        chain: [9; 32],
        ..all[1].seal.clone().expect("sealed")
    };
    let at = bytes.len() - DISK_PAGE_BYTES;
    bytes[at..].copy_from_slice(&trailer.encode());
    write(&disk, &all[1].path, &bytes);
    let verified = check(&disk, &[], &[]);
    let (kind, path, position, _) = the_first_break(&verified);
    assert_eq!(kind, BreakKind::Altered);
    assert_eq!((path, position), (&*all[1].path, SEGMENT_BYTES - PAGE));
    assert_eq!(verified.breaks_total, 1, "{:?}", verified.breaks);
}

#[test]
fn a_segment_whose_header_does_not_hold_is_named() {
    let (disk, _) = journal_of_two_lives();
    let all = segments(&disk);
    disk.flip(&all[1].path, 60, 1).expect("flips");
    let verified = check(&disk, &[], &[]);
    let (kind, path, position, _) = the_first_break(&verified);
    assert_eq!(
        (kind, path, position),
        (BreakKind::Altered, &*all[1].path, 0)
    );
    assert!(verified.breaks_total >= 1);
}

#[test]
fn what_retention_took_is_accepted_with_its_record_and_no_more_than_that() {
    let disk = MemoryDisk::new();
    let mut node = Node::start(&disk);
    let blocks: Vec<_> = (0..40).map(|tag| block(tag, 5_000, 10)).collect();
    node.append(&blocks);
    let mut record = node.take_oldest();
    record = Record {
        range: OffsetRange {
            first: record.range.first,
            ..node.take_oldest().range
        },
        after: Some(segments(&disk)[0].header.chain),
        ..record
    };
    // The recycled files are written again: nothing of their old blocks is taken for new.
    node.append(&blocks);
    let floor = Head {
        offset: record.range.end,
        hash: record.after.expect("known"),
    };
    let below = node.heads[0];
    let anchors = [Anchor(below), Anchor(floor), Anchor(node.heads[30])];
    let verified = check(&disk, std::slice::from_ref(&record), &anchors);
    assert!(verified.holds(), "{:?}", verified.breaks);
    assert_eq!(verified.start, Start::Recorded(floor));
    let outcomes: Vec<_> = verified.anchors.iter().map(|anchor| anchor.1).collect();
    let expected = [
        AnchorOutcome::BelowStart,
        AnchorOutcome::Holds,
        AnchorOutcome::Holds,
    ];
    assert_eq!(outcomes, expected);
    // Without a record only the oldest header vouches for the start.
    let verified = check(&disk, &[], &[]);
    assert_eq!(verified.start, Start::NotAnchored(floor));
    // One segment more than recorded is gone.
    let oldest = segments(&disk).remove(0);
    disk.remove(&oldest.path).expect("removes");
    let verified = check(&disk, std::slice::from_ref(&record), &[]);
    let next = segments(&disk)[0].header.first.0;
    let (kind, _, _, range) = the_first_break(&verified);
    assert_eq!((kind, range), (BreakKind::Removed, (floor.offset.0, next)));
}

#[test]
fn a_record_written_before_its_segment_was_taken_is_no_break() {
    let (disk, _) = journal_of_two_lives();
    let all = segments(&disk);
    let record = Record {
        kind: RecordKind::Retention,
        range: OffsetRange {
            first: Offset(0),
            end: all[1].header.first,
        },
        before: None,
        after: Some(all[1].header.chain),
    };
    assert!(check(&disk, std::slice::from_ref(&record), &[]).holds());
    let wrong = Record {
        after: Some([3; 32]),
        ..record
    };
    assert!(!check(&disk, &[wrong], &[]).holds());
}

#[test]
fn a_quarantined_block_is_explained_by_its_record_and_only_by_that() {
    let (disk, heads) = journal_of_two_lives();
    let segment = &segments(&disk)[1];
    let blocks = images(&disk, segment);
    let lost = &blocks[1].0;
    disk.flip(&segment.path, lost.position + 900, 2)
        .expect("flips");
    let record = Record {
        kind: RecordKind::Quarantine,
        range: OffsetRange {
            first: lost.first,
            end: lost.first.plus(10),
        },
        before: Some(lost.chain),
        after: Some(blocks[2].0.chain),
    };
    let lost_head = Head {
        offset: record.range.end,
        hash: blocks[2].0.chain,
    };
    let anchors = [Anchor(lost_head), Anchor(heads[27])];
    let verified = check(&disk, std::slice::from_ref(&record), &anchors);
    assert!(verified.holds(), "{:?}", verified.breaks);
    assert_eq!(verified.explained, vec![record.clone()]);
    assert_eq!(verified.anchors[0].1, AnchorOutcome::Recorded);
    assert_eq!(verified.anchors[1].1, AnchorOutcome::Holds);
    for wrong in [
        Record {
            before: Some([1; 32]),
            ..record.clone()
        },
        Record {
            after: Some([1; 32]),
            ..record.clone()
        },
        Record {
            range: OffsetRange {
                end: lost.first.plus(9),
                ..record.range
            },
            ..record.clone()
        },
    ] {
        assert_eq!(check(&disk, &[wrong], &[]).breaks_total, 1);
    }
}

#[test]
fn a_torn_tail_and_a_live_nodes_end_are_no_breaks() {
    let disk = MemoryDisk::new();
    let mut node = Node::start(&disk);
    node.append(&[block(1, 5_000, 10), block(2, 100, 0), block(3, 5_000, 10)]);
    let head = *node.heads.last().expect("a head");
    let verified = assert_holds(&disk, Some(&head));
    assert_eq!((verified.blocks, verified.events), (3, 20));
    // Half a block, as a live node or a crash may leave it.
    let path = segments(&disk)[0].path.clone();
    let mut bytes = read(&disk, &path);
    let half: Vec<u8> = bytes[4096..4096 + 1000].to_vec();
    let at = 4096 + 8192 + 4096 + 8192;
    bytes[at..at + 1000].copy_from_slice(&half);
    write(&disk, &path, &bytes);
    assert_holds(&disk, Some(&head));
}

#[test]
fn a_segment_taken_while_it_is_read_is_passed_over() {
    let (disk, heads) = journal_of_two_lives();
    let place = place(&disk);
    let oldest = segments(&disk)[0].path.clone();
    // Between the list of segments and the first look into one.
    let read = || {
        if disk.exists(&oldest)? {
            disk.rename(&oldest, Path::new("/j/0/spare-9.spare"))?;
        }
        Ok(Vec::new())
    };
    let verified = verify(&place, &read, &[], &mut |_| {});
    let verified = verified.expect("reads");
    assert_eq!(verified.breaks, Vec::new());
    assert_eq!(verified.taken_meanwhile, 1);
    assert_eq!(verified.head.as_ref(), heads.last());
    assert!(matches!(verified.start, Start::NotAnchored(_)));
}

#[derive(Debug, Clone)]
enum Operation {
    Append {
        body_bytes: usize,
        events: u32,
    },
    Commit,
    /// Writes that reach the cache come back failed.
    WriteUnsynced,
    /// Writes that reach the disk come back failed.
    FailWrites,
    Crash(u64),
    Stop,
    TakeOldest,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => (8..12_000_usize, 0..5_u32)
            .prop_map(|(body_bytes, events)| Operation::Append { body_bytes, events }),
        4 => Just(Operation::Commit),
        1 => Just(Operation::WriteUnsynced),
        1 => Just(Operation::FailWrites),
        2 => any::<u64>().prop_map(Operation::Crash),
        1 => Just(Operation::Stop),
        1 => Just(Operation::TakeOldest),
    ]
}

fn run(operations: Vec<Operation>) -> io::Result<()> {
    let disk = MemoryDisk::new();
    let mut node = Node::start(&disk);
    let mut heads = Vec::new();
    for (tag, operation) in operations.into_iter().enumerate() {
        match operation {
            Operation::Append { body_bytes, events } => {
                node.writer.append(block(tag as u64, body_bytes, events));
            }
            Operation::Commit => node.commit(),
            Operation::WriteUnsynced => node.write(false, false),
            Operation::FailWrites => node.write(true, false),
            Operation::Crash(seed) => {
                node.work(false);
                heads.append(&mut node.heads);
                disk.crash(seed);
                // Before the next start and after it.
                let verified = check_recorded(&disk, &[]);
                assert_eq!(verified.breaks, Vec::new(), "after a crash");
                node = Node::start(&disk);
            }
            Operation::Stop => {
                node.commit();
                heads.append(&mut node.heads);
                node.stop();
                node = Node::start(&disk);
            }
            Operation::TakeOldest => {
                // As retention has it: a later segment surely has a block.
                let ends = node
                    .catalog
                    .list()
                    .into_iter()
                    .filter_map(|entry| entry.end);
                let ends: Vec<Offset> = ends.collect();
                let followed = ends.first() < ends.last();
                if followed && segments(&disk)[0].seal.is_ok() {
                    node.take_oldest();
                }
            }
        }
        heads.append(&mut node.heads);
        let anchors: Vec<Anchor> = heads.iter().map(anchor).collect();
        let verified = check_recorded(&disk, &anchors);
        assert_eq!(verified.breaks, Vec::new());
        assert!(verified.holds(), "{:?}", verified.anchors);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn the_chain_and_every_durable_head_hold_through_crashes_failed_writes_and_retention(
        operations in proptest::collection::vec(operation(), 1..50),
    ) {
        run(operations).expect("reads");
    }
}
