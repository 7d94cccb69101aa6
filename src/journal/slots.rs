//! A small record that is written often and must never be lost: two pages, written in turn.
//!
//! The newest sound page counts, so a torn write loses nothing and a damaged page costs one
//! step. A file is made whole beside its place and renamed, so a record that is shorter than
//! two pages, or holds a page of zeros, was damaged; it is never one that was being made.
//! Cursor records and the floor are such files; what their payload says is their matter.
//!
//! ```text
//! page: magic 8 | version 2 | journal 2 | payload length 4 | sequence 8 | node 16 |
//!       payload … | name hash 16 | zeros | CRC-32C 4
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::Digest as _;

use crate::journal::format::{self, FORMAT_VERSION, FormatError};
use crate::limits::DISK_PAGE_BYTES;
use crate::os::buffers::AlignedBuffer;
use crate::os::disk::{Disk, DiskFile, OpenMode, read_around_bad_pages};
use crate::position::JournalId;

const PAGE: usize = DISK_PAGE_BYTES;
const PAYLOAD_AT: usize = 40;
const NAME_HASH_BYTES: usize = 16;

/// Longest payload a page has room for.
pub(crate) const PAYLOAD_BYTES_MAX: usize = PAGE - 4 - PAYLOAD_AT - NAME_HASH_BYTES;

/// Whose record it is: a page of any other owner is refused.
#[derive(Debug, Clone)]
pub(crate) struct SlotOwner {
    /// First bytes of a page.
    pub(crate) magic: [u8; 8],
    /// What it is, in messages.
    pub(crate) what: &'static str,
    /// The journal it is about.
    pub(crate) journal: JournalId,
    /// Random id of the node.
    pub(crate) node: [u8; 16],
    /// Name of the owner within the journal: a copy under another name is refused.
    pub(crate) name: String,
}

/// What a page holds: its sequence, and its payload; an empty one was made and never written.
pub(crate) type Slot = Result<(u64, Vec<u8>), FormatError>;

/// The record, open for writing.
#[derive(Debug)]
pub(crate) struct SlotFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    owner: SlotOwner,
    /// Sequence of the page written last; its parity is the page.
    sequence: u64,
}

/// What opening a record found.
#[derive(Debug)]
pub(crate) struct OpenedSlots {
    pub(crate) file: SlotFile,
    /// Both pages, the newest first; the damaged ones last.
    pub(crate) slots: Vec<Slot>,
}

impl SlotFile {
    /// Opens a record, or makes it. A file that is too short or too long gets its length back.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, owner: SlotOwner) -> io::Result<OpenedSlots> {
        let made = !disk.exists(path)?;
        if made {
            make(disk, path, &owner)?;
        }
        let file = disk.open(path, read_write(false))?;
        if file.len()? != 2 * PAGE as u64 {
            file.set_len(2 * PAGE as u64)?;
            file.sync()?;
        }
        let slots = newest_first([read_slot(&*file, 0, &owner)?, read_slot(&*file, 1, &owner)?]);
        let sequence = match slots.first() {
            Some(Ok((sequence, _))) => *sequence,
            _ => 0,
        };
        if !made && sequence == 0 {
            // Its name may not be durable: the start that made it may have ended at the sync.
            disk.sync_dir(directory_of(path))?;
        }
        let file = Self {
            path: path.to_owned(),
            file,
            owner,
            sequence,
        };
        Ok(OpenedSlots { file, slots })
    }

    /// Reads a record without changing anything; `None` when there is no such file.
    pub(crate) fn read(
        disk: &dyn Disk,
        path: &Path,
        owner: &SlotOwner,
    ) -> io::Result<Option<Vec<Slot>>> {
        if !disk.exists(path)? {
            return Ok(None);
        }
        let file = disk.open(path, READ)?;
        Ok(Some(newest_first([
            read_slot(&*file, 0, owner)?,
            read_slot(&*file, 1, owner)?,
        ])))
    }

    /// Writes a payload into the older page and makes it durable.
    pub(crate) fn write(&mut self, payload: &[u8]) -> io::Result<()> {
        let sequence = self.sequence.wrapping_add(1);
        let page = encode(&self.owner, sequence, payload);
        self.file
            .write_durable_at(page.as_slice(), sequence % 2 * PAGE as u64)?;
        self.sequence = sequence;
        Ok(())
    }

    /// Writes the payload of the newest page again, in its place.
    pub(crate) fn rewrite(&self, payload: &[u8]) -> io::Result<()> {
        let page = encode(&self.owner, self.sequence, payload);
        self.file
            .write_durable_at(page.as_slice(), self.sequence % 2 * PAGE as u64)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

const READ: OpenMode = OpenMode {
    write: false,
    create: false,
    direct: false,
};

fn read_write(create: bool) -> OpenMode {
    OpenMode {
        write: true,
        create,
        direct: false,
    }
}

/// Node ids of a record's sound pages, whoever owns it: witnesses of whose directory it is in.
pub(crate) fn nodes_of(disk: &dyn Disk, path: &Path, magic: &[u8; 8]) -> io::Result<Vec<[u8; 16]>> {
    let file = disk.open(path, READ)?;
    let mut nodes = Vec::new();
    for slot in 0..2 {
        let mut page = [0; PAGE];
        let read = read_around_bad_pages(&*file, &mut page, slot * PAGE as u64)?;
        page[read..].fill(0);
        if format::check_page(&page, magic, "record").is_ok() {
            nodes.push(format::array_at(&page, 24));
        }
    }
    Ok(nodes)
}

/// Makes a record of two pages that were never written: whole before it has its name.
fn make(disk: &dyn Disk, path: &Path, owner: &SlotOwner) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let making = PathBuf::from(name);
    let file = disk.open(&making, read_write(true))?;
    let page = encode(owner, 0, &[]);
    for slot in 0..2 {
        file.write_at(page.as_slice(), slot * PAGE as u64)?;
    }
    file.set_len(2 * PAGE as u64)?;
    file.sync()?;
    disk.rename(&making, path)?;
    disk.sync_dir(directory_of(path))
}

fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

fn newest_first(mut slots: [Slot; 2]) -> Vec<Slot> {
    let rank = |slot: &Slot| {
        slot.as_ref()
            .map_or(-1, |(sequence, _)| i128::from(*sequence))
    };
    slots.sort_by_key(|slot| std::cmp::Reverse(rank(slot)));
    slots.into()
}

fn read_slot(file: &dyn DiskFile, slot: u64, owner: &SlotOwner) -> io::Result<Slot> {
    let mut page = [0; PAGE];
    let read = read_around_bad_pages(file, &mut page, slot * PAGE as u64)?;
    page[read..].fill(0);
    Ok(decode(&page, owner))
}

fn encode(owner: &SlotOwner, sequence: u64, payload: &[u8]) -> AlignedBuffer {
    assert!(
        payload.len() <= PAYLOAD_BYTES_MAX,
        "a payload and its owner's name fit a page"
    );
    let len = u32::try_from(payload.len()).expect("a payload is below a page");
    let name_at = PAYLOAD_AT + payload.len();
    let mut page = [0; PAGE];
    page[0..8].copy_from_slice(&owner.magic);
    page[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    page[10..12].copy_from_slice(&owner.journal.0.to_le_bytes());
    page[12..16].copy_from_slice(&len.to_le_bytes());
    page[16..24].copy_from_slice(&sequence.to_le_bytes());
    page[24..40].copy_from_slice(&owner.node);
    page[PAYLOAD_AT..name_at].copy_from_slice(payload);
    page[name_at..name_at + NAME_HASH_BYTES].copy_from_slice(&name_hash(&owner.name));
    format::seal_page(&mut page);
    let mut buffer = AlignedBuffer::with_capacity(PAGE);
    buffer.extend_from_slice(&page);
    buffer
}

fn decode(page: &[u8; PAGE], owner: &SlotOwner) -> Slot {
    let what = owner.what;
    format::check_page(page, &owner.magic, what)?;
    let journal = format::u16_at(page, 10);
    if journal != owner.journal.0 {
        let found = JournalId(journal).to_string();
        return Err(FormatError::Owner {
            what,
            of: "journal",
            found,
        });
    }
    if page[24..PAYLOAD_AT] != owner.node {
        let found = uuid_text(format::array_at(page, 24));
        return Err(FormatError::Owner {
            what,
            of: "node",
            found,
        });
    }
    let len = format::u32_at(page, 12) as usize;
    if len > PAYLOAD_BYTES_MAX {
        return Err(FormatError::Length {
            field: "a payload of",
            found: len as u64,
            limit: PAYLOAD_BYTES_MAX as u64,
        });
    }
    let name_at = PAYLOAD_AT + len;
    if page[name_at..name_at + NAME_HASH_BYTES] != name_hash(&owner.name) {
        let found = "another".to_owned();
        return Err(FormatError::Owner {
            what,
            of: "name",
            found,
        });
    }
    Ok((format::u64_at(page, 16), page[PAYLOAD_AT..name_at].to_vec()))
}

fn name_hash(name: &str) -> [u8; NAME_HASH_BYTES] {
    let hash: [u8; 32] = sha2::Sha256::digest(name.as_bytes()).into();
    format::array_at(&hash, 0)
}

fn uuid_text(id: [u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::memory_disk::{DiskOperation, MemoryDisk};

    fn owner(name: &str, journal: u16, node: u8) -> SlotOwner {
        SlotOwner {
            magic: *b"WEIRTEST",
            what: "test record",
            journal: JournalId(journal),
            node: [node; 16],
            name: name.to_owned(),
        }
    }

    fn open(disk: &MemoryDisk, owner: SlotOwner) -> OpenedSlots {
        disk.create_dir_all(Path::new("/r")).expect("a directory");
        SlotFile::open(disk, Path::new("/r/a"), owner).expect("opens")
    }

    #[test]
    fn a_record_of_another_name_journal_or_node_is_refused() {
        let disk = MemoryDisk::new();
        let mut opened = open(&disk, owner("a", 0, 1));
        opened.file.write(b"one").expect("writes");
        for other in [owner("b", 0, 1), owner("a", 1, 1), owner("a", 0, 2)] {
            let slots = open(&disk, other).slots;
            assert!(slots.iter().all(Result::is_err), "{slots:?}");
        }
        let slots = open(&disk, owner("a", 0, 1)).slots;
        assert_eq!(slots[0], Ok((1, b"one".to_vec())));
    }

    #[test]
    fn a_record_cut_to_any_length_gives_its_longer_part_back_and_is_never_taken_for_a_new_one() {
        for len in [0, 1, 4095, 4096, 4097, 8191, 8193, 20_000] {
            let disk = MemoryDisk::new();
            let mut opened = open(&disk, owner("a", 0, 1));
            opened.file.write(b"one").expect("writes");
            opened.file.write(b"two").expect("writes");
            let file = disk
                .open(Path::new("/r/a"), read_write(false))
                .expect("opens");
            file.set_len(len).expect("cuts");
            file.sync().expect("syncs");
            let opened = open(&disk, owner("a", 0, 1));
            let sound: Vec<_> = opened.slots.iter().flatten().collect();
            let whole = usize::try_from(len / 4096).expect("small").min(2);
            assert_eq!(sound.len(), whole, "{len}");
        }
    }

    #[test]
    fn a_record_whose_making_failed_at_any_step_is_made_durably_by_the_next_try() {
        let steps = [
            DiskOperation::Open,
            DiskOperation::Write,
            DiskOperation::SetLen,
            DiskOperation::Sync,
            DiskOperation::Rename,
            DiskOperation::SyncDir,
        ];
        for (step, seed) in steps.into_iter().zip(0..) {
            let disk = MemoryDisk::new();
            disk.create_dir_all(Path::new("/r")).expect("a directory");
            disk.fail_next(step, io::ErrorKind::Other, 1);
            let failed = SlotFile::open(&disk, Path::new("/r/a"), owner("a", 0, 1));
            assert!(failed.is_err(), "{step:?}");
            let mut opened = open(&disk, owner("a", 0, 1));
            opened.file.write(b"one").expect("writes");
            disk.crash(seed);
            let opened = open(&disk, owner("a", 0, 1));
            assert_eq!(opened.slots[0], Ok((1, b"one".to_vec())), "{step:?}");
        }
    }
}
