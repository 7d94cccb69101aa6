//! The floor of a journal: up to where its segments were taken by retention, so that what is
//! gone by order is never called missing; and how far the journal has come, so that nothing
//! below is ever used again and what was cut off the newest segment is known.
//!
//! One record of two pages (`slots`) in the journal's directory, made before its first
//! segment; raised, durably, before a segment is put to use, removed or used again, and when
//! one is sealed.
//! A journal whose segments are all gone goes on at its floor, with the floor's chain and
//! sequence.

use std::io;
use std::path::{Path, PathBuf};

use crate::journal::format::{self, ChainHash, FormatError};
use crate::journal::scan::{SegmentScan, read_header};
use crate::journal::segments::{SegmentEntry, SegmentFiles, parse_file_name};
use crate::journal::slots::{self, Slot, SlotFile, SlotOwner};
use crate::os::disk::Disk;
use crate::position::Offset;

/// Name of the record in the journal's directory.
pub const FILE: &str = "floor";

const MAGIC: [u8; 8] = *b"WEIRFLR1";
const PAYLOAD_BYTES: usize = 56;

/// What the record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FloorState {
    /// Events below were taken, or never were.
    pub removed_to: Offset,
    /// Chain hash of the last block below; zero when there was none, or when nothing said it.
    pub chain: ChainHash,
    /// No segment with this sequence or a higher one was ever put to use.
    pub sequence_next: u64,
    /// Events below were durable once: where the newest segment begins, or ends when sealed.
    pub durable_to: Offset,
}

impl FloorState {
    /// The higher of both in everything.
    fn raised_to(self, other: Self) -> Self {
        // Of segments that hold only counters several end at one offset: the later one's chain.
        let later = other.removed_to == self.removed_to && other.chain != ChainHash::default();
        let higher = if other.removed_to > self.removed_to || later {
            other
        } else {
            self
        };
        Self {
            sequence_next: self.sequence_next.max(other.sequence_next),
            durable_to: self.durable_to.max(other.durable_to),
            ..higher
        }
    }
}

/// The record of one journal, open for writing.
#[derive(Debug)]
pub struct Floor {
    file: SlotFile,
    state: Option<FloorState>,
}

/// What reading a floor found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadFloor {
    /// Its newest sound state; `None` when it was never written, or neither page holds.
    pub state: Option<FloorState>,
    /// Why a page did not hold, when one did not.
    pub damage: Option<FormatError>,
    /// There is no such file.
    pub absent: bool,
}

impl Floor {
    /// Where the record of a journal is.
    #[must_use]
    pub fn path(files: &SegmentFiles) -> PathBuf {
        files.dir.join(FILE)
    }

    /// Reads the record without changing anything.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn read(files: &SegmentFiles) -> io::Result<ReadFloor> {
        let slots = SlotFile::read(&*files.disk, &Self::path(files), &owner(files))?;
        Ok(slots.map_or_else(
            || ReadFloor {
                absent: true,
                ..ReadFloor::default()
            },
            newest,
        ))
    }

    /// Opens the record, or makes it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn open(files: &SegmentFiles) -> io::Result<Self> {
        let opened = SlotFile::open(&*files.disk, &Self::path(files), owner(files))?;
        Ok(Self {
            file: opened.file,
            state: newest(opened.slots).state,
        })
    }

    /// Raises the floor to `state`, durably; what is higher already stays.
    ///
    /// # Errors
    /// When the disk refuses; the state before is still there then.
    pub fn raise(&mut self, state: FloorState) -> io::Result<()> {
        // Written even where the file says so already: what a write that failed left in the
        // page cache is read, and is not durable.
        self.restore(state)
    }

    /// Writes what is known to both pages, so that one stands in for the other: a floor one
    /// step behind would call missing what retention took.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn restore(&mut self, state: FloorState) -> io::Result<()> {
        let raised = self.state.unwrap_or_default().raised_to(state);
        for _page in 0..2 {
            self.file.write(&encode(raised))?;
        }
        self.state = Some(raised);
        Ok(())
    }

    /// Raises the floor over a segment that is about to be removed or used again.
    ///
    /// # Errors
    /// When the disk refuses: the segment must stay then.
    pub fn raise_over(files: &SegmentFiles, entry: &SegmentEntry) -> io::Result<()> {
        let removed_to = entry.end.unwrap_or(entry.first);
        Self::open(files)?.raise(FloorState {
            removed_to,
            chain: last_chain(files, entry)?.unwrap_or_default(),
            sequence_next: entry.sequence + 1,
            durable_to: removed_to,
        })
    }

    /// Notes how far the journal has come: events below `durable_to` are durable, and sequences
    /// below `sequence_next` were used. One page is written: the other one is a step behind,
    /// which claims less and nothing wrong.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn note(files: &SegmentFiles, durable_to: Offset, sequence_next: u64) -> io::Result<()> {
        let mut floor = Self::open(files)?;
        let state = floor.state.unwrap_or_default();
        let noted = state.raised_to(FloorState {
            durable_to,
            sequence_next,
            ..FloorState::default()
        });
        if noted == state {
            return Ok(());
        }
        floor.file.write(&encode(noted))
    }
}

/// Node ids that a floor's sound pages carry, whoever's it is.
///
/// # Errors
/// When the file cannot be read.
pub fn nodes_of(disk: &dyn Disk, path: &Path) -> io::Result<Vec<[u8; 16]>> {
    slots::nodes_of(disk, path, &MAGIC)
}

/// Chain hash of a segment's last block: from its trailer, or from the header of the next one.
fn last_chain(files: &SegmentFiles, entry: &SegmentEntry) -> io::Result<Option<ChainHash>> {
    let SegmentFiles { disk, direct, .. } = files;
    let scan = SegmentScan::open(&**disk, &entry.path, *direct, files.journal, entry.segment);
    match scan {
        Ok(scan) => {
            if let Ok(trailer) = scan.within(entry.file_bytes).read_trailer()? {
                return Ok(Some(trailer.chain));
            }
        }
        // Someone removed the file: the room it had must not be held for ever.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    for name in disk.list(&files.dir)? {
        let later = parse_file_name(&name).is_some_and(|(sequence, _)| sequence > entry.sequence);
        if later && let Ok(header) = read_header(&**disk, &files.dir.join(&name), *direct)? {
            return Ok(Some(header.chain));
        }
    }
    Ok(None)
}

fn owner(files: &SegmentFiles) -> SlotOwner {
    SlotOwner {
        magic: MAGIC,
        what: "floor",
        journal: files.journal,
        node: files.node,
        name: FILE.to_owned(),
    }
}

fn newest(slots: Vec<Slot>) -> ReadFloor {
    let mut read = ReadFloor::default();
    for slot in slots {
        match slot {
            Ok((0, _)) => {}
            Ok((_, payload)) => match decode(&payload) {
                Some(state) => read.state = read.state.or(Some(state)),
                None => {
                    read.damage = Some(FormatError::Length {
                        field: "a payload of",
                        found: payload.len() as u64,
                        limit: PAYLOAD_BYTES as u64,
                    });
                }
            },
            Err(error) => read.damage = Some(error),
        }
    }
    read
}

fn encode(state: FloorState) -> [u8; PAYLOAD_BYTES] {
    let mut payload = [0; PAYLOAD_BYTES];
    payload[0..8].copy_from_slice(&state.removed_to.0.to_le_bytes());
    payload[8..16].copy_from_slice(&state.sequence_next.to_le_bytes());
    payload[16..48].copy_from_slice(&state.chain);
    payload[48..56].copy_from_slice(&state.durable_to.0.to_le_bytes());
    payload
}

fn decode(payload: &[u8]) -> Option<FloorState> {
    (payload.len() == PAYLOAD_BYTES).then(|| FloorState {
        removed_to: Offset(format::u64_at(payload, 0)),
        sequence_next: format::u64_at(payload, 8),
        chain: format::array_at(payload, 16),
        durable_to: Offset(format::u64_at(payload, 48)),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::journal::recovery::{Finding, recover};
    use crate::journal::segments::Catalog;
    use crate::journal::writer::{ClosedBlock, Writer, WriterAction};
    use crate::os::buffers::AlignedBuffer;
    use crate::os::memory_disk::MemoryDisk;
    use crate::position::{JournalId, Timestamp};

    fn files(disk: &MemoryDisk) -> SegmentFiles {
        SegmentFiles {
            disk: Arc::new(disk.clone()),
            dir: PathBuf::from("/data/journal/0"),
            journal: JournalId(0),
            node: [7; 16],
            file_bytes: 32 * 1024,
            direct: true,
        }
    }

    /// Writes twelve blocks of five events and ends in order; returns where it ended.
    fn write(files: &SegmentFiles, catalog: &Catalog) -> (Offset, ChainHash) {
        let start = recover(files, catalog, Offset(0)).expect("recovers").start;
        let mut writer = Writer::new(start, 1 << 20);
        for tag in 0..13_u8 {
            if tag < 12 {
                writer.append(ClosedBlock {
                    codec: crate::block::CodecId::Stored,
                    events: 5,
                    raw_len: 100,
                    raw_crc32: 0,
                    metadata: bytes::Bytes::new(),
                    body: vec![tag; 100].into(),
                    received_first: Timestamp(1),
                    received_last: Timestamp(2),
                    verdicts: Default::default(),
                });
            } else {
                writer.close();
            }
            while let Some(action) = writer.next_action() {
                match action {
                    WriterAction::Open(order) => {
                        let spare = files.make_spare(order.sequence, &AtomicBool::new(true));
                        let spare = spare.expect("a spare");
                        let (opened, entry) = files
                            .put_to_use(&spare, &order, Timestamp(1))
                            .expect("put to use");
                        catalog.add(entry);
                        writer.opened(opened);
                    }
                    WriterAction::Write(group) => {
                        let mut whole = AlignedBuffer::with_capacity(32 * 1024);
                        group
                            .buffers
                            .iter()
                            .for_each(|buffer| whole.extend_from_slice(buffer));
                        let written = group
                            .file
                            .write_durable_at(whole.as_slice(), group.position);
                        writer.written(group.ticket, written.is_ok());
                    }
                    WriterAction::Close(segment) => catalog.close(&segment),
                    WriterAction::Seal(order) => files.seal(&order).expect("seals"),
                    WriterAction::Durable(_) => {}
                }
            }
        }
        let survey = crate::journal::recovery::survey(files, Offset(0)).expect("reads");
        (survey.next, survey.chain)
    }

    #[test]
    fn a_journal_recycled_to_nothing_goes_on_with_its_offsets_sequence_and_chain() {
        for recycle in [false, true] {
            let disk = MemoryDisk::new();
            let files = files(&disk);
            let catalog = Catalog::default();
            let (end, chain) = write(&files, &catalog);
            let segments = catalog.list();
            for (number, entry) in (1_000..).zip(&segments) {
                if recycle {
                    files.recycle(entry, number).expect("recycles");
                } else {
                    files.remove(entry).expect("removes");
                }
            }
            disk.crash(1);
            let recovered = recover(&files, &Catalog::default(), Offset(0)).expect("recovers");
            assert_eq!(recovered.findings, Vec::new());
            assert_eq!((recovered.start.next, recovered.start.chain), (end, chain));
            assert_eq!(recovered.start.sequence, segments.len() as u64 + 1);
        }
    }

    #[test]
    fn what_retention_took_is_not_missing_and_what_someone_else_took_is() {
        let disk = MemoryDisk::new();
        let files = files(&disk);
        let catalog = Catalog::default();
        write(&files, &catalog);
        let segments = catalog.list();
        files.remove(&segments[0]).expect("removes");
        let recovered = recover(&files, &Catalog::default(), Offset(0)).expect("recovers");
        assert_eq!(recovered.findings, Vec::new());
        files.disk.remove(&segments[1].path).expect("removes");
        let recovered = recover(&files, &Catalog::default(), Offset(0)).expect("recovers");
        let [Finding::Missing { range, .. }] = &recovered.findings[..] else {
            panic!("{:?}", recovered.findings)
        };
        assert_eq!(Some(range.first), segments[0].end);
        assert_eq!(Some(range.end), segments[1].end);
    }
}
