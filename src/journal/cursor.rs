//! Cursor records: how far a stream is in a journal, its counts, and what it has cut.
//!
//! One small file for each stream and journal, of two pages written in turn (`slots`). The
//! stream's thread owns the record. It is durable before a batch it names is sent, and at
//! latest 100 ms after something moved. A record copied from another stream, journal or node
//! is refused. `docs/journal-format.md` has the payload.

use std::io;
use std::path::Path;

use crate::batch::{CUTS_MAX, CursorState, Cut, SINK_STATE_BYTES_MAX};
use crate::journal::format::FormatError;
use crate::journal::recovery::Finding;
use crate::journal::slots::{self, PAYLOAD_BYTES_MAX, Slot, SlotFile, SlotOwner};
use crate::metrics::ledger::StreamCounts;
use crate::os::disk::Disk;
use crate::position::{JournalId, Offset, OffsetRange, SegmentId};

/// First bytes of a page of a cursor record.
const MAGIC: [u8; 8] = *b"WEIRCUR1";

/// The record of one stream in one journal, open for writing.
#[derive(Debug)]
pub struct CursorRecord {
    file: SlotFile,
    /// Payload of the newest page as it was read. A write that failed in an earlier run may
    /// have left it in the page cache alone: before the other page is written it is written
    /// again, so that one of them is durable at any time.
    unsettled: Option<Vec<u8>>,
}

/// What opening a record found.
#[derive(Debug)]
pub struct OpenedCursor {
    /// The record.
    pub record: CursorRecord,
    /// Its newest sound state; `None` for a new record, or when neither page holds.
    pub state: Option<CursorState>,
    /// Why a page did not hold, when one did not.
    pub damage: Option<FormatError>,
}

impl OpenedCursor {
    /// What an operator must know about the record, if anything.
    #[must_use]
    pub fn finding(&self) -> Option<Finding> {
        let damage = self.damage.as_ref()?;
        Some(Finding::Cursor {
            path: self.record.path().to_owned(),
            cursor: self.state.as_ref().map(|state| state.cursor),
            error: damage.to_string(),
        })
    }
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
    let slots = SlotFile::read(disk, path, &owner_of(path, journal, node))?;
    Ok(slots.map(|slots| {
        let (state, damage) = newest(slots);
        ReadCursor { state, damage }
    }))
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
        let opened = SlotFile::open(disk, path, owner_of(path, journal, node))?;
        let newest_payload = match opened.slots.first() {
            Some(Ok((_, payload))) => Some(payload.clone()),
            _ => None,
        };
        let (state, damage) = newest(opened.slots);
        let mut record = Self {
            file: opened.file,
            unsettled: newest_payload,
        };
        let is_later = matches!(damage, Some(FormatError::Version { .. }));
        if let (Some(state), Some(_), false) = (&state, &damage, is_later)
            && let Err(error) = record.write(state)
        {
            // The page that holds still counts; the next write tries the damaged one again.
            tracing::warn!(path = %path.display(), %error, "write a damaged page anew");
        }
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
        if let Some(payload) = &self.unsettled {
            self.file.rewrite(payload)?;
            self.unsettled = None;
        }
        self.file.write(&encode(state))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

/// Node ids that a record's sound pages carry, whoever's it is.
///
/// # Errors
/// When the file cannot be read.
pub fn nodes_of(disk: &dyn Disk, path: &Path) -> io::Result<Vec<[u8; 16]>> {
    slots::nodes_of(disk, path, &MAGIC)
}

/// Whose a record is: its stream's, by its file's name.
fn owner_of(path: &Path, journal: JournalId, node: [u8; 16]) -> SlotOwner {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let name = stream_of_file_name(&file).unwrap_or(&file).to_owned();
    SlotOwner {
        magic: MAGIC,
        what: "cursor record",
        journal,
        node,
        name,
    }
}

/// The newest sound state of a record's pages, and why one of them does not hold.
fn newest(slots: Vec<Slot>) -> (Option<CursorState>, Option<FormatError>) {
    let (mut state, mut damage) = (None, None);
    for slot in slots {
        match slot {
            Ok((0, _)) => {}
            Ok((_, payload)) => match decode_payload(&payload) {
                Some(decoded) => state = state.or(Some(decoded)),
                None => {
                    damage = Some(FormatError::Length {
                        field: "a payload of",
                        found: payload.len() as u64,
                        limit: PAYLOAD_BYTES_MAX as u64,
                    });
                }
            },
            Err(error) => damage = Some(error),
        }
    }
    (state, damage)
}

fn encode(state: &CursorState) -> Vec<u8> {
    assert!(
        state.cuts.len() <= CUTS_MAX,
        "a lane cuts at most {CUTS_MAX} ranges ahead"
    );
    assert!(
        state.sink.len() <= SINK_STATE_BYTES_MAX,
        "sink state is at most 1 KiB"
    );
    let mut payload = Vec::with_capacity(PAYLOAD_BYTES_MAX);
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
    payload
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
    let cuts = take_len(bytes).filter(|cuts| *cuts <= CUTS_MAX)?;
    for _ in 0..cuts {
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
    let ordered = |cut: &Cut| cut.range.first <= cut.range.end;
    let sink_len = take_len(bytes).filter(|len| *len <= SINK_STATE_BYTES_MAX)?;
    if state.start > state.cursor || !state.cuts.iter().all(ordered) {
        return None;
    }
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
