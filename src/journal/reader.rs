//! Reading a journal by offset: from memory near the end, from disk when behind.
//!
//! A reader belongs to one stream thread. What is damaged or no longer there is a
//! [`ReadNext::Gap`], never an error and never passed over in silence.

use std::io;
use std::sync::Arc;

use crate::block::Block;
use crate::journal::format::IndexEntry;
use crate::journal::scan::{ScannedBlock, SegmentScan};
use crate::journal::segments::{Catalog, SegmentEntry};
use crate::journal::tail::Tail;
use crate::os::disk::Disk;
use crate::position::{JournalId, Offset, OffsetRange, Timestamp};

/// What lies at an offset.
#[derive(Debug, Clone)]
pub enum ReadNext {
    /// The block that holds the offset; it may begin before it.
    Block(Arc<Block>),
    /// These events cannot be read any more.
    Gap {
        /// The events.
        range: OffsetRange,
        /// What happened to them.
        why: GapReason,
    },
    /// The offset is not durable yet.
    End,
}

/// Why events cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GapReason {
    /// Their segment is gone: retention took it, or someone removed the file.
    Gone,
    /// Their block on disk does not hold.
    Damaged(String),
}

/// A reader of one journal.
#[derive(Debug)]
pub struct Reader {
    journal: JournalId,
    disk: Arc<dyn Disk>,
    direct: bool,
    catalog: Arc<Catalog>,
    tail: Arc<Tail>,
    open: Option<OpenSegment>,
    behind: bool,
}

#[derive(Debug)]
struct OpenSegment {
    entry: SegmentEntry,
    scan: SegmentScan,
    /// Present when the segment is sealed.
    index: Option<Vec<IndexEntry>>,
    /// Where the block that begins with this offset stands: behind the one read last.
    next: (Offset, u64),
}

impl Reader {
    /// A reader of the journal behind `catalog` and `tail`.
    #[must_use]
    pub fn new(
        journal: JournalId,
        disk: Arc<dyn Disk>,
        direct: bool,
        catalog: Arc<Catalog>,
        tail: Arc<Tail>,
    ) -> Self {
        Self {
            journal,
            disk,
            direct,
            catalog,
            tail,
            open: None,
            behind: false,
        }
    }

    /// The tail, to wait on.
    #[must_use]
    pub fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    /// First offset the journal still holds.
    #[must_use]
    pub fn start(&self) -> Offset {
        let end = self.tail.durable_end();
        self.catalog.start().map_or(end, |start| start.min(end))
    }

    /// Where to begin looking for what was received at `time` or later: the first event of the
    /// oldest segment that was in use then.
    #[must_use]
    pub fn start_near(&self, time: Timestamp) -> Offset {
        let segments = self.catalog.list();
        let in_use = segments
            .iter()
            .find(|entry| entry.last_used >= time)
            .or(segments.last());
        in_use.map_or_else(|| self.start(), |entry| entry.first)
    }

    /// What lies at `offset`.
    ///
    /// # Errors
    /// When the disk cannot be read; the same call may succeed later.
    pub fn next(&mut self, offset: Offset) -> io::Result<ReadNext> {
        self.behind = false;
        if offset >= self.tail.durable_end() {
            return Ok(ReadNext::End);
        }
        if let Some(block) = self.tail.find(offset) {
            self.open = None;
            return Ok(ReadNext::Block(block));
        }
        self.behind = true;
        self.read_disk(offset)
    }

    /// Whether the last call of [`Reader::next`] asked the disk: what it wanted had left memory.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    fn read_disk(&mut self, offset: Offset) -> io::Result<ReadNext> {
        let end = self.tail.durable_end();
        let Some(entry) = self.catalog.find(offset) else {
            return Ok(gap(offset, end, GapReason::Gone));
        };
        if entry.first > offset {
            return Ok(gap(offset, entry.first.min(end), GapReason::Gone));
        }
        if self
            .open
            .as_ref()
            .is_none_or(|open| open.entry.sequence != entry.sequence)
        {
            match self.open_segment(entry.clone()) {
                Ok(open) => self.open = Some(open),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let range_end = entry.end.unwrap_or(end).min(end);
                    return Ok(gap(offset, range_end, GapReason::Gone));
                }
                Err(error) => return Err(error),
            }
        }
        let open = self.open.as_mut().expect("the segment was opened above");
        open.entry = entry;
        open.block_with(offset, end)
    }

    fn open_segment(&self, entry: SegmentEntry) -> io::Result<OpenSegment> {
        let Self {
            disk,
            direct,
            journal,
            ..
        } = self;
        let scan = SegmentScan::open(&**disk, &entry.path, *direct, *journal, entry.segment)?;
        let index = scan.read_index()?.ok().map(|(_, index)| index);
        let next = (entry.first, SegmentScan::FIRST_POSITION);
        Ok(OpenSegment {
            entry,
            scan,
            index,
            next,
        })
    }
}

impl OpenSegment {
    /// The block that holds `offset`, found from the index, from where the last read ended,
    /// or from the segment's start.
    fn block_with(&mut self, offset: Offset, durable_end: Offset) -> io::Result<ReadNext> {
        let mut position = self.position_near(offset);
        loop {
            let scanned = match self.scan.block_at(position, None)? {
                Ok(scanned) => scanned,
                Err(error) => {
                    let why = GapReason::Damaged(format!(
                        "{} at byte {position}: {error}",
                        self.entry.path.display()
                    ));
                    return self.behind_damage(position, offset, durable_end, why);
                }
            };
            let range = scanned.block.range();
            if range.end > offset && range.first > offset {
                let why = GapReason::Damaged(format!(
                    "{}: the block at byte {position} begins with offset {}",
                    self.entry.path.display(),
                    range.first
                ));
                let end = self.entry.end.unwrap_or(durable_end).min(durable_end);
                return Ok(gap(offset, range.first.min(end), why));
            }
            position = scanned.next_position();
            if range.end > offset {
                self.next = (range.end, position);
                return Ok(ReadNext::Block(scanned.block));
            }
        }
    }

    /// A position of a block at or before the one that holds `offset`.
    fn position_near(&self, offset: Offset) -> u64 {
        if offset == self.next.0 {
            return self.next.1;
        }
        let Some(index) = &self.index else {
            return SegmentScan::FIRST_POSITION;
        };
        let at = index.partition_point(|entry| entry.first.plus(u64::from(entry.events)) <= offset);
        index
            .get(at)
            .map_or(SegmentScan::FIRST_POSITION, |entry| entry.position)
    }

    /// What is lost where no sound block stands at `position`.
    fn behind_damage(
        &mut self,
        position: u64,
        offset: Offset,
        durable_end: Offset,
        why: GapReason,
    ) -> io::Result<ReadNext> {
        let next_sound = self.sound_from(position, offset)?;
        let segment_end = self.entry.end.unwrap_or(durable_end);
        match next_sound {
            // What stands behind the segment's end was given up after a failed write, or cut at
            // a start: those offsets are in the next segment.
            Some(scanned) if scanned.block.first >= segment_end => {
                Ok(gap(offset, segment_end.min(durable_end), why))
            }
            Some(scanned) if scanned.block.first <= offset => {
                self.next = (scanned.block.range().end, scanned.next_position());
                Ok(ReadNext::Block(scanned.block))
            }
            Some(scanned) => {
                self.next = (scanned.block.first, scanned.header.position);
                Ok(gap(offset, scanned.block.first.min(durable_end), why))
            }
            None => Ok(gap(offset, segment_end.min(durable_end), why)),
        }
    }

    /// The first sound block behind `position` that ends behind `offset`.
    fn sound_from(&mut self, position: u64, offset: Offset) -> io::Result<Option<ScannedBlock>> {
        let mut position = position;
        while let Some(scanned) = self.scan.resync(position)? {
            if scanned.block.range().end > offset {
                return Ok(Some(scanned));
            }
            position = scanned.next_position();
        }
        Ok(None)
    }
}

fn gap(first: Offset, end: Offset, why: GapReason) -> ReadNext {
    ReadNext::Gap {
        range: OffsetRange { first, end },
        why,
    }
}
