//! What the fuzz targets check of recovery and of the small records: any bytes open, twice,
//! and nothing panics, loops or is told twice.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::cursor::{self, CursorRecord};
use crate::journal::floor::Floor;
use crate::journal::format::{self, BLOCK_HEADER_BYTES, BlockHeader, SegmentHeader, Trailer};
use crate::journal::reader::{ReadNext, Reader};
use crate::journal::recovery::{Finding, recover};
use crate::journal::segments::{Catalog, SegmentFiles, file_name};
use crate::journal::tail::Tail;
use crate::limits::DISK_PAGE_BYTES;
use crate::os::disk::{Disk, OpenMode};
use crate::os::memory_disk::MemoryDisk;
use crate::position::{JournalId, Offset, SegmentId, Timestamp};

const PAGE: usize = DISK_PAGE_BYTES;
const JOURNAL: JournalId = JournalId(0);
const NODE: [u8; 16] = [7; 16];

/// Longest file that is tried; more pages show nothing new.
const FILE_BYTES_MAX: usize = 32 * PAGE;

/// Entry of the segment fuzz target: arbitrary bytes as a segment file, and again with their
/// checksums put right, so that what lies behind those is reached too.
///
/// # Panics
/// When recovery does not keep its promises: that is what it is for.
pub fn fuzz_recover(data: &[u8]) {
    let data = &data[..data.len().min(FILE_BYTES_MAX)];
    recover_twice(data);
    let mut mended = data.to_vec();
    mend(&mut mended);
    recover_twice(&mended);
}

/// Entry of the record fuzz target: arbitrary bytes as a cursor record and as a floor, and
/// again with owner and checksum put right.
///
/// # Panics
/// When a record does not keep its promises: that is what it is for.
pub fn fuzz_records(data: &[u8]) {
    let data = &data[..data.len().min(3 * PAGE)];
    open_record(data);
    open_floor(data);
    let mut page = [0; PAGE];
    let len = data.len().min(PAGE - 4 - 16 - 40);
    page[16..24].copy_from_slice(&1_u64.to_le_bytes());
    page[40..40 + len].copy_from_slice(&data[..len]);
    let mut payload = page.to_vec();
    for (magic, open) in [
        (*b"WEIRCUR1", open_record as fn(&[u8])),
        (*b"WEIRFLR1", open_floor),
    ] {
        payload.truncate(PAGE);
        payload[..8].copy_from_slice(&magic);
        payload[8..10].copy_from_slice(&format::FORMAT_VERSION.to_le_bytes());
        payload[10..12].copy_from_slice(&JOURNAL.0.to_le_bytes());
        let len_u32 = u32::try_from(len).expect("a payload is below a page");
        payload[12..16].copy_from_slice(&len_u32.to_le_bytes());
        payload[24..40].copy_from_slice(&NODE);
        let name: &[u8] = if magic == *b"WEIRCUR1" {
            b"a"
        } else {
            b"floor"
        };
        let hash: [u8; 32] = sha2::Digest::finalize(sha2::Digest::chain_update(
            <sha2::Sha256 as sha2::Digest>::new(),
            name,
        ))
        .into();
        payload[40 + len..56 + len].copy_from_slice(&hash[..16]);
        let mut sealed: [u8; PAGE] = format::array_at(&payload, 0);
        format::seal_page(&mut sealed);
        open(&sealed);
    }
}

fn recover_twice(bytes: &[u8]) {
    let disk = MemoryDisk::new();
    let files = SegmentFiles {
        disk: Arc::new(disk.clone()),
        dir: PathBuf::from("/data/journal/0"),
        journal: JOURNAL,
        node: NODE,
        file_bytes: 8 * PAGE as u64,
        direct: true,
    };
    put(&disk, &files.dir.join(file_name(1, Offset(0))), bytes);
    let mut next = Offset(0);
    for start in 0..2 {
        let catalog = Arc::<Catalog>::default();
        let recovered = recover(&files, &catalog, Offset(0)).expect("the disk does not refuse");
        let news = |finding: &&Finding| !matches!(finding, Finding::Alien { moved: None, .. });
        if start > 0 {
            assert_eq!(recovered.findings.iter().find(news), None);
        }
        assert!(recovered.start.next >= next, "no offset is used twice");
        assert!(recovered.start.sequence > 1, "no sequence is used twice");
        next = recovered.start.next;
        read_all(&files, catalog, next);
    }
}

fn read_all(files: &SegmentFiles, catalog: Arc<Catalog>, end: Offset) {
    let tail = Arc::new(Tail::new(0, end));
    let mut reader = Reader::new(JOURNAL, Arc::clone(&files.disk), true, catalog, tail);
    let mut offset = reader.start();
    loop {
        let behind = match reader.next(offset).expect("the disk does not refuse") {
            ReadNext::Block(block) => block.range().end,
            ReadNext::Gap { range, .. } => range.end,
            ReadNext::End => return,
        };
        assert!(behind > offset, "reading goes on");
        offset = behind;
    }
}

/// Puts checksums and ids right, so that the bytes are those of one segment.
fn mend(bytes: &mut [u8]) {
    let segment = SegmentId([0x51; 16]);
    let len = bytes.len() / PAGE * PAGE;
    if let Some(page) = bytes.first_chunk_mut() {
        let header = SegmentHeader {
            journal: JOURNAL,
            segment,
            node: NODE,
            sequence: 1,
            first: Offset(0),
            file_bytes: len as u64,
            created: Timestamp(1),
            chain: [0; 32],
        };
        *page = header.encode();
    }
    for at in (PAGE..len).step_by(PAGE) {
        let position = (at as u64).to_le_bytes();
        let block = &mut bytes[at..];
        if block.len() < PAGE {
            return;
        }
        if block[..8] == *b"WEIREND1" {
            block[16..32].copy_from_slice(&segment.0);
            let mut page: [u8; PAGE] = format::array_at(block, 0);
            format::seal_page(&mut page);
            if Trailer::decode(&page).is_ok() {
                block[..PAGE].copy_from_slice(&page);
            }
            continue;
        }
        block[8..24].copy_from_slice(&segment.0);
        block[112..120].copy_from_slice(&position);
        let header: [u8; BLOCK_HEADER_BYTES] = format::array_at(block, 0);
        if let Ok(header) = BlockHeader::peek(&header)
            && header.body().end <= block.len()
        {
            format::seal_block(block, header.body().end);
        }
    }
}

fn open_record(bytes: &[u8]) {
    let disk = MemoryDisk::new();
    let path = Path::new("/data/cursors").join(cursor::file_name("a", JOURNAL));
    put(&disk, &path, bytes);
    let read = cursor::read(&disk, &path, JOURNAL, NODE).expect("the disk does not refuse");
    let opened = CursorRecord::open(&disk, &path, JOURNAL, NODE).expect("it opens");
    assert_eq!(read.and_then(|read| read.state), opened.state);
    let mut record = opened.record;
    let state = opened.state.unwrap_or_default();
    record.write(&state).expect("it can be written");
    let again = CursorRecord::open(&disk, &path, JOURNAL, NODE).expect("it opens");
    assert_eq!(again.state, Some(state));
}

fn open_floor(bytes: &[u8]) {
    let disk = MemoryDisk::new();
    let files = SegmentFiles {
        disk: Arc::new(disk.clone()),
        dir: PathBuf::from("/data/journal/0"),
        journal: JOURNAL,
        node: NODE,
        file_bytes: 8 * PAGE as u64,
        direct: true,
    };
    put(&disk, &Floor::path(&files), bytes);
    let read = Floor::read(&files).expect("the disk does not refuse");
    let mut floor = Floor::open(&files).expect("it opens");
    let state = read.state.unwrap_or_default();
    floor.restore(state).expect("it can be written");
    let again = Floor::read(&files).expect("the disk does not refuse");
    assert_eq!((again.state, again.damage), (Some(state), None));
}

fn put(disk: &MemoryDisk, path: &Path, bytes: &[u8]) {
    let mode = OpenMode {
        write: true,
        create: true,
        direct: false,
    };
    let dir = path.parent().expect("a path of ours has a parent");
    disk.create_dir_all(dir).expect("a memory disk makes it");
    let file = disk.open(path, mode).expect("a memory disk opens it");
    file.write_durable_at(bytes, 0)
        .expect("a memory disk takes it");
    disk.sync_dir(dir).expect("a memory disk syncs it");
}
