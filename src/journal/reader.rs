//! Reading a journal by offset: from memory near the end, from disk when behind.
//!
//! A reader belongs to one stream thread. What is damaged or no longer there is a
//! [`ReadNext::Gap`], never an error and never passed over in silence. Damage that was not
//! known before is put into quarantine by whichever reader meets it first.

use std::io;
use std::sync::Arc;

use crate::block::Block;
use crate::journal::format::{self, ChainHash, FormatError, IndexEntry, SegmentHeader, Trailer};
use crate::journal::recovery::quarantine::DamagedRegion;
use crate::journal::recovery::{Finding, Region, walk};
use crate::journal::scan::{ScannedBlock, SegmentScan};
use crate::journal::segments::{Catalog, SegmentEntry};
use crate::journal::tail::Tail;
use crate::os::buffers::AlignedBuffer;
use crate::os::disk::{Disk, OpenMode};
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
    /// Present when the segment was closed before it was opened here.
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

    /// Another reader of the same journal.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            journal: self.journal,
            disk: Arc::clone(&self.disk),
            direct: self.direct,
            catalog: Arc::clone(&self.catalog),
            tail: Arc::clone(&self.tail),
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
        loop {
            let end = self.tail.durable_end();
            let Some(entry) = self.catalog.find(offset) else {
                return Ok(gap(offset, end, GapReason::Gone));
            };
            if entry.first > offset {
                return Ok(gap(offset, entry.first.min(end), GapReason::Gone));
            }
            let sequence = entry.sequence;
            let open = match self.open.take() {
                Some(open) if open.entry.sequence == sequence => Ok(OpenSegment {
                    entry: entry.clone(),
                    ..open
                }),
                _ => self.open_segment(entry.clone()),
            };
            let mut open = match open {
                Ok(open) => open,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let range_end = entry.end.unwrap_or(end).min(end);
                    return Ok(gap(offset, range_end, GapReason::Gone));
                }
                Err(error) => return Err(error),
            };
            let lies = open.lies_at(offset, end)?;
            // A file may have become another segment's while it was read: then it says nothing
            // of this one.
            if lies.is_sound() || self.catalog.holds(sequence) {
                let next = self.tell(&open.entry, lies);
                self.open = Some(open);
                return Ok(next);
            }
        }
    }

    fn open_segment(&self, entry: SegmentEntry) -> io::Result<OpenSegment> {
        let Self {
            disk,
            direct,
            journal,
            ..
        } = self;
        let scan = SegmentScan::open(&**disk, &entry.path, *direct, *journal, entry.segment)?;
        let mut scan = scan.within(entry.file_bytes);
        let index = match (scan.read_trailer()?, scan.read_index()?, entry.end) {
            (_, Ok((_, index)), _) => Some(index),
            (trailer, Err(error), Some(_)) => {
                Some(self.rebuild_index(&mut scan, &entry, trailer.ok().as_ref(), &error)?)
            }
            (_, Err(_), None) => None,
        };
        let next = (entry.first, SegmentScan::FIRST_POSITION);
        Ok(OpenSegment {
            entry,
            scan,
            index,
            next,
        })
    }

    /// Makes the index of a closed segment from its blocks, and writes it back when the trailer
    /// vouches for it.
    fn rebuild_index(
        &self,
        scan: &mut SegmentScan,
        entry: &SegmentEntry,
        trailer: Option<&Trailer>,
        error: &FormatError,
    ) -> io::Result<Vec<IndexEntry>> {
        let end = entry.end.unwrap_or(Offset(u64::MAX));
        let mut index = Vec::new();
        let header = SegmentHeader::decode(&scan.page_at(0)?);
        let before = header.map_or([0; 32], |header| header.chain);
        let walked = walk::walk(scan, entry.first, before, Offset(0), &mut |scanned| {
            if scanned.block.range().end <= end {
                index.push(scanned.index_entry());
            }
        })?;
        if !self.catalog.holds(entry.sequence) {
            return Ok(index);
        }
        let lost = OffsetRange {
            first: walked.end,
            end,
        };
        let at_the_end = entry.end.filter(|_| !lost.is_empty()).map(|_| Region {
            bytes: walked.blocks_end..trailer.map_or(scan.file_bytes(), |at| at.blocks_end),
            range: lost,
            error: walked.broken.error,
            heads: [None, trailer.map(|trailer| trailer.chain)],
        });
        for region in walked.regions.into_iter().chain(at_the_end) {
            self.set_aside(entry, region);
        }
        // Without a trailer it was never sealed, or will be: there is nothing to repair.
        let Some(trailer) = trailer else {
            return Ok(index);
        };
        let (bytes, crc) = format::encode_index(&index);
        if crc == trailer.index_crc32c
            && let Some(quarantine) = self.catalog.quarantine()
        {
            let what = match self.write_index(entry, trailer, &bytes) {
                Ok(()) => format!("{error}; the index is made anew from the blocks"),
                Err(refused) => format!("{error}; the index cannot be written anew: {refused}"),
            };
            let path = entry.path.clone();
            quarantine.tell_once(
                &format!("{}-{:012}-index", self.journal, entry.sequence),
                &Finding::Repaired { path, what },
            );
        }
        Ok(index)
    }

    fn write_index(&self, entry: &SegmentEntry, trailer: &Trailer, bytes: &[u8]) -> io::Result<()> {
        let mode = OpenMode {
            write: true,
            create: false,
            direct: self.direct,
        };
        let mut buffer = AlignedBuffer::with_capacity(bytes.len());
        buffer.extend_from_slice(bytes);
        let file = self.disk.open(&entry.path, mode)?;
        file.write_durable_at(buffer.as_slice(), trailer.blocks_end)
    }

    /// Puts a region into quarantine, and tells it, unless that was done before.
    fn set_aside(&self, entry: &SegmentEntry, region: Region) {
        let Some(quarantine) = self.catalog.quarantine() else {
            return;
        };
        let found = quarantine.keep(&DamagedRegion {
            journal: self.journal,
            sequence: entry.sequence,
            segment: entry.segment,
            path: entry.path.clone(),
            bytes: region.bytes.clone(),
            range: region.range,
            error: format!("at byte {}: {}", region.bytes.start, region.error),
            heads: region.heads,
        });
        if let Some(finding) = found {
            quarantine.tell(&finding);
        }
    }

    fn tell(&self, entry: &SegmentEntry, lies: Lies) -> ReadNext {
        match lies {
            Lies::Block(block) => ReadNext::Block(block),
            Lies::Hole { range } => {
                let why = format!("{}: set aside before", entry.path.display());
                gap(range.first, range.end, GapReason::Damaged(why))
            }
            Lies::Damage { range, region } => {
                let path = entry.path.display();
                let at = region.bytes.start;
                let why = format!("{path} at byte {at}: {}", region.error);
                self.set_aside(entry, region);
                gap(range.first, range.end, GapReason::Damaged(why))
            }
        }
    }
}

/// What lies at an offset of a segment.
enum Lies {
    Block(Arc<Block>),
    /// Nothing: the index says so.
    Hole {
        range: OffsetRange,
    },
    /// What does not hold: the events from the offset on that are lost, and the whole region.
    Damage {
        range: OffsetRange,
        region: Region,
    },
}

impl Lies {
    fn is_sound(&self) -> bool {
        matches!(self, Self::Block(_))
    }
}

impl OpenSegment {
    fn lies_at(&mut self, offset: Offset, durable_end: Offset) -> io::Result<Lies> {
        let end = self.entry.end.unwrap_or(durable_end).min(durable_end);
        match self.index.take() {
            Some(index) => {
                let lies = self.indexed(&index, offset, end);
                self.index = Some(index);
                lies
            }
            None => self.walked_to(offset, end),
        }
    }

    /// What the index says of `offset`, in a segment that ends at `end`.
    fn indexed(&mut self, index: &[IndexEntry], offset: Offset, end: Offset) -> io::Result<Lies> {
        let at = index.partition_point(|entry| entry.end() <= offset);
        let hole_to = index.get(at).map_or(end, |entry| entry.first.min(end));
        let Some(entry) = index.get(at).filter(|entry| entry.first <= offset) else {
            let range = OffsetRange {
                first: offset,
                end: hole_to,
            };
            return Ok(Lies::Hole { range });
        };
        let error = match self.scan.block_at(entry.position, Some(entry.first))? {
            Ok(scanned) if scanned.block.events == entry.events => {
                return Ok(Lies::Block(scanned.block));
            }
            Ok(scanned) => FormatError::Place {
                field: "a number of events of",
                expected: u64::from(entry.events),
                found: u64::from(scanned.block.events),
            },
            Err(error) => error,
        };
        let region = Region {
            bytes: entry.position..entry.position + u64::from(entry.stored_bytes),
            range: OffsetRange {
                first: entry.first,
                end: entry.end(),
            },
            error,
            heads: self.heads_around(index, at)?,
        };
        let range = OffsetRange {
            first: offset,
            end: entry.end().min(end),
        };
        Ok(Lies::Damage { range, region })
    }

    /// Chain hash of the block before the one at `at`, and its own, as far as the blocks
    /// around it are there and sound.
    fn heads_around(
        &mut self,
        index: &[IndexEntry],
        at: usize,
    ) -> io::Result<[Option<ChainHash>; 2]> {
        let damaged = &index[at];
        let before = match at.checked_sub(1).and_then(|before| index.get(before)) {
            None => {
                let page = self.scan.page_at(0)?;
                SegmentHeader::decode(&page).ok().map(|header| header.chain)
            }
            Some(entry) if entry.end() == damaged.first => self
                .scan
                .block_at(entry.position, Some(entry.first))?
                .ok()
                .map(|scanned| format::chain_hash(&scanned.block)),
            Some(_) => None,
        };
        let after = match index.get(at + 1) {
            Some(entry) if entry.first == damaged.end() => self
                .scan
                .block_at(entry.position, Some(entry.first))?
                .ok()
                .map(|scanned| scanned.header.chain),
            Some(_) => None,
            None => self
                .scan
                .read_trailer()?
                .ok()
                .filter(|trailer| trailer.end == damaged.end())
                .map(|trailer| trailer.chain),
        };
        Ok([before, after])
    }

    /// What a walk finds at `offset`, from where the last read ended or from the segment's
    /// start: of a segment that is still written.
    fn walked_to(&mut self, offset: Offset, end: Offset) -> io::Result<Lies> {
        let (mut due, mut position) = if offset == self.next.0 {
            self.next
        } else {
            (self.entry.first, SegmentScan::FIRST_POSITION)
        };
        loop {
            let scanned = match self.scan.block_at(position, Some(due))? {
                Ok(scanned) => scanned,
                Err(error) => match self.behind_damage(position, due, offset, end, error)? {
                    Behind::Lost(lies) => return Ok(lies),
                    // What is damaged lies before the offset, or held counters alone.
                    Behind::Block(scanned) => *scanned,
                },
            };
            due = scanned.block.range().end;
            position = scanned.next_position();
            if due > offset {
                self.next = (due, position);
                return Ok(Lies::Block(scanned.block));
            }
        }
    }

    /// Looks on where no block that begins with `due` stands at `position`.
    fn behind_damage(
        &mut self,
        position: u64,
        due: Offset,
        offset: Offset,
        end: Offset,
        error: FormatError,
    ) -> io::Result<Behind> {
        let found = self.sound_from(position, due)?;
        // What stands behind the segment's end was given up after a failed write, or cut at a
        // start: those offsets are in the next segment.
        let found = found.filter(|scanned| scanned.block.first < end);
        if let Some(scanned) = &found
            && scanned.block.first <= offset
        {
            return Ok(Behind::Block(Box::new(found.expect("it was just seen"))));
        }
        let first_behind = found.as_ref().map_or(end, |scanned| scanned.block.first);
        let bytes_end = found
            .as_ref()
            .map_or(self.scan.file_bytes(), |scanned| scanned.header.position);
        if let Some(scanned) = &found {
            self.next = (scanned.block.first, scanned.header.position);
        }
        let after = found.as_ref().map(|scanned| scanned.header.chain);
        let region = Region {
            bytes: position..bytes_end,
            range: OffsetRange {
                first: due,
                end: first_behind,
            },
            error,
            heads: [None, after],
        };
        let range = OffsetRange {
            first: offset,
            end: first_behind.min(end),
        };
        Ok(Behind::Lost(Lies::Damage { range, region }))
    }

    /// The first sound block behind `position` that begins with `due` or later.
    fn sound_from(&mut self, position: u64, due: Offset) -> io::Result<Option<ScannedBlock>> {
        let mut position = position;
        while let Some(scanned) = self.scan.resync(position)? {
            if scanned.block.first >= due {
                return Ok(Some(scanned));
            }
            position = scanned.next_position();
        }
        Ok(None)
    }
}

/// What stands behind a place that does not hold.
enum Behind {
    Block(Box<ScannedBlock>),
    Lost(Lies),
}

fn gap(first: Offset, end: Offset, why: GapReason) -> ReadNext {
    ReadNext::Gap {
        range: OffsetRange { first, end },
        why,
    }
}
