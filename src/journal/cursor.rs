//! Cursor records: how far a stream is in a journal, its counts, and what it has cut.
//!
//! One small file for each stream and journal, made at its full length, with two slots that
//! are written in turn: the newest sound slot counts, so a torn write loses nothing. The
//! stream's thread owns the record. It is durable before a batch it names is sent, and at
//! latest 100 ms after something moved.
//!
//! ```text
//! slot (4 KiB): magic 8 | version 2 | journal 2 | payload length 4 | sequence 8 |
//!               node 16 | payload … | zeros | CRC-32C 4
//! ```
//! `docs/journal-format.md` has the payload.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::batch::{CUTS_MAX, CursorState, Cut, SINK_STATE_BYTES_MAX};
use crate::journal::format::{self, FORMAT_VERSION, FormatError};
use crate::limits::DISK_PAGE_BYTES;
use crate::metrics::ledger::StreamCounts;
use crate::os::buffers::AlignedBuffer;
use crate::os::disk::{Disk, DiskFile, OpenMode};
use crate::position::{JournalId, Offset, OffsetRange, SegmentId};

const MAGIC: [u8; 8] = *b"WEIRCUR1";
const PAYLOAD_AT: usize = 40;
const PAGE: usize = DISK_PAGE_BYTES;

/// The record of one stream in one journal, open for writing.
#[derive(Debug)]
pub struct CursorRecord {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    journal: JournalId,
    node: [u8; 16],
    /// Sequence of the slot written last; its parity is the slot.
    sequence: u64,
}

/// What opening a record found.
#[derive(Debug)]
pub struct OpenedCursor {
    /// The record.
    pub record: CursorRecord,
    /// Its newest sound state; `None` for a new record.
    pub state: Option<CursorState>,
    /// Why a slot did not hold, when one did not though it was written.
    pub damage: Option<FormatError>,
}

/// A record as [`read`] found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadCursor {
    /// Its newest sound state; `None` when it was never written, or neither page holds.
    pub state: Option<CursorState>,
    /// Why a page did not hold, when one did not.
    pub damage: Option<FormatError>,
}

/// Reads a record without changing anything, of a live or a stopped node; `None` when there is
/// no such file.
///
/// # Errors
/// When the disk refuses.
pub fn read(
    disk: &dyn Disk,
    path: &Path,
    journal: JournalId,
    node: [u8; 16],
) -> io::Result<Option<ReadCursor>> {
    let mode = OpenMode {
        write: false,
        create: false,
        direct: false,
    };
    let file = match disk.open(path, mode) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let record = CursorRecord {
        path: path.to_owned(),
        file,
        journal,
        node,
        sequence: 0,
    };
    let slots = [record.read_slot(0)?, record.read_slot(1)?];
    let damage = slots.iter().find_map(|slot| slot.as_ref().err().cloned());
    let sound = slots.into_iter().flatten().flatten();
    let state = sound.max_by_key(|slot| slot.0).map(|slot| slot.1);
    Ok(Some(ReadCursor { state, damage }))
}

/// Name of the record of a stream in a journal.
#[must_use]
pub fn file_name(stream: &str, journal: JournalId) -> String {
    format!("{stream}.{journal}.cursor")
}

/// The stream of a record's file name; `None` for any other file.
#[must_use]
pub fn stream_of_file_name(file: &str) -> Option<&str> {
    let (stream, _journal) = file.strip_suffix(".cursor")?.rsplit_once('.')?;
    Some(stream)
}

impl CursorRecord {
    /// Opens a record, or makes it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn open(
        disk: &dyn Disk,
        path: &Path,
        journal: JournalId,
        node: [u8; 16],
    ) -> io::Result<OpenedCursor> {
        let new = !disk.exists(path)?;
        let mode = OpenMode {
            write: true,
            create: true,
            direct: false,
        };
        let file = disk.open(path, mode)?;
        if file.len()? < 2 * PAGE as u64 {
            file.set_len(2 * PAGE as u64)?;
            let zeros = AlignedBuffer::zeroed(2 * PAGE);
            if new {
                file.write_at(zeros.as_slice(), 0)?;
            }
            file.sync()?;
            disk.sync_dir(path.parent().unwrap_or(Path::new(".")))?;
        }
        let mut record = Self {
            path: path.to_owned(),
            file,
            journal,
            node,
            sequence: 0,
        };
        let (first, second) = (record.read_slot(0)?, record.read_slot(1)?);
        let damage = [&first, &second]
            .into_iter()
            .find_map(|slot| slot.as_ref().err().cloned());
        let newest = [first, second]
            .into_iter()
            .flatten()
            .flatten()
            .max_by_key(|slot| slot.0);
        let state = newest.map(|(sequence, state)| {
            record.sequence = sequence;
            state
        });
        Ok(OpenedCursor {
            record,
            state,
            damage,
        })
    }

    /// Writes the state into the older slot and makes it durable.
    ///
    /// # Errors
    /// When the disk refuses; the state before is still there then.
    ///
    /// # Panics
    /// When the state has more cuts or sink state than a record has room for.
    pub fn write(&mut self, state: &CursorState) -> io::Result<()> {
        let sequence = self.sequence + 1;
        let page = self.encode(sequence, state);
        self.file
            .write_durable_at(page.as_slice(), sequence % 2 * PAGE as u64)?;
        self.sequence = sequence;
        Ok(())
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn encode(&self, sequence: u64, state: &CursorState) -> AlignedBuffer {
        assert!(
            state.cuts.len() <= CUTS_MAX,
            "a lane cuts at most {CUTS_MAX} ranges ahead"
        );
        assert!(
            state.sink.len() <= SINK_STATE_BYTES_MAX,
            "sink state is at most 1 KiB"
        );
        let mut payload = Vec::with_capacity(PAGE);
        let StreamCounts {
            delivered,
            delivered_bytes,
            filtered,
            sampled_out,
            dead_lettered,
            discarded,
        } = state.counts;
        let counts = [
            delivered,
            delivered_bytes,
            filtered,
            sampled_out,
            dead_lettered,
        ];
        for number in [state.start.0, state.cursor.0].into_iter().chain(counts) {
            payload.extend_from_slice(&number.to_le_bytes());
        }
        put_len(&mut payload, discarded.len());
        discarded
            .iter()
            .for_each(|count| payload.extend_from_slice(&count.to_le_bytes()));
        put_len(&mut payload, state.cuts.len());
        for cut in &state.cuts {
            payload.extend_from_slice(&cut.segment.0);
            for number in [cut.range.first.0, cut.range.end.0, cut.version] {
                payload.extend_from_slice(&number.to_le_bytes());
            }
        }
        put_len(&mut payload, state.sink.len());
        payload.extend_from_slice(&state.sink);

        let mut page = [0; PAGE];
        page[0..8].copy_from_slice(&MAGIC);
        page[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        page[10..12].copy_from_slice(&self.journal.0.to_le_bytes());
        let len = u32::try_from(payload.len()).expect("a payload is below a page");
        page[12..16].copy_from_slice(&len.to_le_bytes());
        page[16..24].copy_from_slice(&sequence.to_le_bytes());
        page[24..40].copy_from_slice(&self.node);
        page[PAYLOAD_AT..PAYLOAD_AT + payload.len()].copy_from_slice(&payload);
        format::seal_page(&mut page);
        let mut buffer = AlignedBuffer::with_capacity(PAGE);
        buffer.extend_from_slice(&page);
        buffer
    }

    /// A slot's sequence and state; `None` for one never written.
    fn read_slot(&self, slot: u64) -> io::Result<Result<Option<(u64, CursorState)>, FormatError>> {
        let mut page = [0; PAGE];
        let read = self.file.read_at(&mut page, slot * PAGE as u64)?;
        page[read..].fill(0);
        if page.iter().all(|byte| *byte == 0) {
            return Ok(Ok(None));
        }
        Ok(format::check_page(&page, &MAGIC, "cursor record").and_then(|()| self.decode(&page)))
    }

    fn decode(&self, page: &[u8; PAGE]) -> Result<Option<(u64, CursorState)>, FormatError> {
        let journal = u64::from(format::u16_at(page, 10));
        let node: [u8; 16] = format::array_at(page, 24);
        if journal != u64::from(self.journal.0) || node != self.node {
            let expected = u64::from(self.journal.0);
            return Err(FormatError::Place {
                field: "another node or journal",
                expected,
                found: journal,
            });
        }
        let len = format::u32_at(page, 12) as usize;
        let sequence = format::u64_at(page, 16);
        let limit = (PAGE - 4 - PAYLOAD_AT) as u64;
        let short = FormatError::Length {
            field: "a payload of",
            found: len as u64,
            limit,
        };
        let payload = page[..PAGE - 4].get(PAYLOAD_AT..PAYLOAD_AT + len);
        decode_payload(payload.unwrap_or_default())
            .map(|state| Some((sequence, state)))
            .ok_or(short)
    }
}

fn decode_payload(mut bytes: &[u8]) -> Option<CursorState> {
    let bytes = &mut bytes;
    let mut state = CursorState {
        start: Offset(take_u64(bytes)?),
        cursor: Offset(take_u64(bytes)?),
        ..CursorState::default()
    };
    let counts = &mut state.counts;
    let StreamCounts {
        delivered,
        delivered_bytes,
        filtered,
        sampled_out,
        dead_lettered,
        discarded,
    } = counts;
    for count in [
        delivered,
        delivered_bytes,
        filtered,
        sampled_out,
        dead_lettered,
    ] {
        *count = take_u64(bytes)?;
    }
    for reason in 0..take_len(bytes)? {
        // Reasons of a later version count as the last one known, so that sums hold.
        let known = reason.min(discarded.len() - 1);
        discarded[known] = discarded[known].saturating_add(take_u64(bytes)?);
    }
    for _ in 0..take_len(bytes)? {
        let segment = SegmentId(take::<16>(bytes)?);
        let range = OffsetRange {
            first: Offset(take_u64(bytes)?),
            end: Offset(take_u64(bytes)?),
        };
        state.cuts.push(Cut {
            segment,
            range,
            version: take_u64(bytes)?,
        });
    }
    let sink_len = take_len(bytes)?;
    state.sink = bytes.get(..sink_len)?.to_vec();
    Some(state)
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(
        &u16::try_from(len)
            .expect("lists in a record are short")
            .to_le_bytes(),
    );
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_le_bytes)
}

fn take_len(bytes: &mut &[u8]) -> Option<usize> {
    take(bytes).map(|len| usize::from(u16::from_le_bytes(len)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::memory_disk::MemoryDisk;

    const NODE: [u8; 16] = [9; 16];

    fn open(disk: &MemoryDisk) -> OpenedCursor {
        disk.create_dir_all(Path::new("/c")).expect("a directory");
        CursorRecord::open(disk, Path::new("/c/a.0.cursor"), JournalId(0), NODE).expect("opens")
    }

    fn state(cursor: u64) -> CursorState {
        let range = OffsetRange {
            first: Offset(cursor),
            end: Offset(cursor + 5),
        };
        CursorState {
            start: Offset(1),
            cursor: Offset(cursor),
            counts: StreamCounts {
                delivered: cursor - 1,
                discarded: [0, 2, 0, 0, 7],
                ..Default::default()
            },
            cuts: vec![
                Cut {
                    segment: SegmentId([3; 16]),
                    range,
                    version: 77
                };
                CUTS_MAX
            ],
            sink: vec![0xee; SINK_STATE_BYTES_MAX],
        }
    }

    #[test]
    fn the_file_name_of_a_record_gives_its_stream_back() {
        for stream in ["siem", "a.b", "0"] {
            let name = file_name(stream, JournalId(3));
            assert_eq!(stream_of_file_name(&name), Some(stream));
        }
        assert_eq!(stream_of_file_name("siem.0.cursor.new"), None);
    }

    #[test]
    fn a_record_reads_back_what_was_written_last_across_any_crash() {
        for seed in 0..200 {
            let disk = MemoryDisk::new();
            let mut opened = open(&disk);
            assert!(opened.state.is_none());
            let mut last = None;
            for cursor in 1..=seed % 7 {
                opened.record.write(&state(cursor)).expect("writes");
                last = Some(state(cursor));
            }
            disk.crash(seed);
            let reopened = open(&disk);
            assert_eq!(reopened.state, last);
            assert_eq!(reopened.damage, None);
        }
    }

    #[test]
    fn a_damaged_slot_falls_back_to_the_other_and_says_so() {
        let disk = MemoryDisk::new();
        let mut opened = open(&disk);
        opened.record.write(&state(10)).expect("writes");
        opened.record.write(&state(20)).expect("writes");
        disk.flip(Path::new("/c/a.0.cursor"), 100, 1)
            .expect("the byte is there");
        let reopened = open(&disk);
        assert_eq!(reopened.state, Some(state(10)));
        assert!(matches!(
            reopened.damage,
            Some(FormatError::Checksum { .. })
        ));
    }

    #[test]
    fn a_record_of_another_node_is_refused() {
        let disk = MemoryDisk::new();
        open(&disk).record.write(&state(10)).expect("writes");
        let other = CursorRecord::open(&disk, Path::new("/c/a.0.cursor"), JournalId(0), [1; 16]);
        let other = other.expect("opens");
        assert!(other.state.is_none() && other.damage.is_some());
    }
}
