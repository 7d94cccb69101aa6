//! What recovery changes on disk: the floor, headers, lengths, indexes and trailers, and what
//! goes to the quarantine.
//!
//! Nothing here touches a page that holds a sound block. A repair of a segment that the disk
//! refuses keeps nobody from starting: the next start finds the same and tries again. The floor
//! has to be there and no less than the segments, and files without a block have to go.

use std::io;

use crate::journal::floor::{Floor, FloorState};
use crate::journal::format::{self, IndexEntry, Trailer};
use crate::journal::recovery::findings::Finding;
use crate::journal::recovery::quarantine::{DamagedRegion, Quarantine};
use crate::journal::recovery::survey::{Alien, Survey, Surveyed, is_of_one_file};
use crate::journal::recovery::walk;
use crate::journal::scan::SegmentScan;
use crate::journal::segments::SegmentFiles;
use crate::journal::writer::SealOrder;
use crate::limits::DISK_PAGE_BYTES;
use crate::os::buffers::AlignedBuffer;
use crate::os::disk::OpenMode;
use crate::position::{Offset, OffsetRange};

const PAGE: u64 = DISK_PAGE_BYTES as u64;

/// Acts on a survey and gathers what it found.
pub(super) struct Repairer<'a> {
    files: &'a SegmentFiles,
    quarantine: &'a Quarantine,
    findings: Vec<Finding>,
    /// A file was removed: the directory is to be synced.
    removed: bool,
}

impl<'a> Repairer<'a> {
    pub(super) fn new(files: &'a SegmentFiles, quarantine: &'a Quarantine) -> Self {
        Self {
            files,
            quarantine,
            findings: Vec::new(),
            removed: false,
        }
    }

    /// Makes sure that the floor is there and says no less than the segments do, before
    /// anything is removed or moved.
    pub(super) fn settle_floor(&mut self, survey: &Survey) -> io::Result<()> {
        let path = Floor::path(self.files);
        let mut floor = match Floor::open(self.files) {
            Err(error) if is_of_one_file(&error) => {
                let error = error.to_string();
                let finding = self.quarantine.take_in(self.files.journal, &path, &error);
                self.findings.push(finding);
                Floor::open(self.files)?
            }
            opened => opened?,
        };
        let oldest = survey.segments.first();
        let known = FloorState {
            removed_to: oldest.map_or(Offset(0), |oldest| oldest.entry.first),
            chain: oldest.map_or([0; 32], |oldest| oldest.chain_before),
            sequence_next: survey.sequence_next,
            durable_to: survey.next,
        };
        let read = &survey.floor;
        let what = match (&read.damage, read.state) {
            (None, Some(state)) => {
                let goes = survey.aliens.iter().any(|alien| !alien.stays);
                if goes || survey.segments.iter().any(Surveyed::is_empty) {
                    let sequence_next = survey.sequence_next;
                    floor.raise(FloorState {
                        sequence_next,
                        ..state
                    })?;
                }
                return Ok(());
            }
            (None, None) if survey.segments.is_empty() => None,
            (None, None) => {
                Some("there was no floor; the oldest segment's first event is it".into())
            }
            (Some(error), Some(_)) => Some(format!("{error}; the other page counts")),
            (Some(error), None) => Some(format!(
                "{error}; the oldest segment's first event is the floor"
            )),
        };
        floor.restore(read.state.unwrap_or(known))?;
        self.findings
            .extend(what.map(|what| Finding::Repaired { path, what }));
        Ok(())
    }

    /// Moves files aside that are none of the journal's.
    pub(super) fn set_aside(&mut self, aliens: &[Alien]) {
        for Alien { path, error, stays } in aliens {
            self.findings.push(match stays {
                true => Finding::Alien {
                    path: path.clone(),
                    error: error.clone(),
                    moved: None,
                },
                false => self.quarantine.take_in(self.files.journal, path, error),
            });
        }
    }

    /// Removes a segment that never got a block.
    pub(super) fn remove_empty(&mut self, segment: &Surveyed) -> io::Result<()> {
        self.findings.extend(segment.findings(self.files));
        self.removed = true;
        self.files.disk.remove(&segment.entry.path)
    }

    /// Makes anew what of a segment can be, and copies aside what cannot.
    pub(super) fn mend(&mut self, segment: &Surveyed) {
        let mut repaired = Vec::new();
        for finding in segment.findings(self.files) {
            match finding {
                Finding::Damaged {
                    bytes,
                    range,
                    error,
                    heads,
                    ..
                } => {
                    let region = self.region_of(segment, bytes, range, error, heads);
                    self.findings.extend(self.quarantine.keep(&region));
                }
                // Told once it is done: the next start would find the same otherwise.
                other => repaired.push(other),
            }
        }
        let mended = self
            .restore_length(segment)
            .and_then(|()| self.restore_header(segment))
            .and_then(|()| self.seal(segment));
        match mended {
            Ok(()) => self.findings.extend(repaired),
            // Nothing is lost by it: the next start walks the segment again.
            Err(error) => {
                tracing::warn!(path = %segment.entry.path.display(), %error, "mend a segment");
            }
        }
    }

    /// Records and tells what is in no segment.
    pub(super) fn miss(&mut self, survey: &Survey) {
        for range in &survey.missing {
            let before = survey
                .segments
                .iter()
                .rev()
                .find(|segment| segment.end <= range.first);
            let behind = survey
                .segments
                .iter()
                .find(|segment| segment.entry.first >= range.end);
            let heads = [
                before.map(|segment| segment.chain),
                behind.map(|segment| segment.chain_before),
            ];
            let told = self.quarantine.miss(self.files.journal, *range, heads);
            self.findings.extend(told);
        }
    }

    pub(super) fn finish(self) -> io::Result<Vec<Finding>> {
        if self.removed {
            self.files.disk.sync_dir(&self.files.dir)?;
        }
        Ok(self.findings)
    }

    fn region_of(
        &self,
        segment: &Surveyed,
        bytes: std::ops::Range<u64>,
        range: OffsetRange,
        error: String,
        heads: [Option<format::ChainHash>; 2],
    ) -> DamagedRegion {
        DamagedRegion {
            journal: self.files.journal,
            sequence: segment.entry.sequence,
            segment: segment.entry.segment,
            path: segment.entry.path.clone(),
            bytes,
            range,
            error,
            heads,
        }
    }

    /// Gives a file its length back. What someone appended to it is kept aside.
    fn restore_length(&self, segment: &Surveyed) -> io::Result<()> {
        let Some(found) = segment.repairs.len_found else {
            return Ok(());
        };
        let due = segment.entry.file_bytes;
        if found > due {
            let none = OffsetRange {
                first: segment.end,
                end: segment.end,
            };
            let error = "bytes behind the end of the segment".to_owned();
            let region = self.region_of(segment, due..found, none, error, [None; 2]);
            self.quarantine.keep(&region);
        }
        let mode = OpenMode {
            direct: false,
            ..self.files.write_mode()
        };
        let file = self.files.disk.open(&segment.entry.path, mode)?;
        file.set_len(due)?;
        file.sync()
    }

    fn restore_header(&self, segment: &Surveyed) -> io::Result<()> {
        let Some(salvaged) = &segment.repairs.header else {
            return Ok(());
        };
        let mode = self.files.write_mode();
        let file = self.files.disk.open(&segment.entry.path, mode)?;
        let mut page = AlignedBuffer::with_capacity(DISK_PAGE_BYTES);
        page.extend_from_slice(&salvaged.0.encode());
        file.write_durable_at(page.as_slice(), 0)
    }

    /// Seals a segment that was not, with an index of what is sound in it.
    fn seal(&self, segment: &Surveyed) -> io::Result<()> {
        if segment.sealed {
            return Ok(());
        }
        let SegmentFiles {
            disk,
            direct,
            journal,
            ..
        } = self.files;
        let entry = &segment.entry;
        let scan = SegmentScan::open(&**disk, &entry.path, *direct, *journal, entry.segment)?;
        let mut scan = scan.within(segment.blocks_end);
        let mut index: Vec<IndexEntry> = Vec::new();
        let mut chain = segment.chain_before;
        let mut last = None;
        // Blocks of counters stand at the offset where the later segment begins: which of them
        // it follows, only the chain tells. The others are superseded.
        let mut continued = segment
            .continued_from
            .filter(|from| *from == chain)
            .map(|_| 0);
        let vouched_to = segment.vouched_to;
        walk::walk(&mut scan, entry.first, chain, vouched_to, &mut |scanned| {
            if scanned.block.range().end <= segment.end {
                index.push(scanned.index_entry());
                last = Some(std::sync::Arc::clone(&scanned.block));
                if segment.continued_from == Some(format::chain_hash(&scanned.block)) {
                    continued = Some(index.len());
                }
            }
        })?;
        if let (Some(from), Some(count)) = (segment.continued_from, continued)
            && count < index.len()
        {
            index.truncate(count);
            chain = from;
        } else if let Some(last) = &last {
            chain = format::chain_hash(last);
        }
        let sound_end = index.last().map_or(SegmentScan::FIRST_POSITION, |last| {
            last.position + u64::from(last.stored_bytes)
        });
        // Behind damage or a tear stands what someone may want to look into.
        let at_the_end = entry
            .file_bytes
            .saturating_sub(PAGE + format::index_bytes(index.len()) as u64);
        let blocks_end = if segment.is_damaged() || segment.torn.is_some() {
            at_the_end
        } else {
            sound_end
        };
        if sound_end > at_the_end {
            return Err(io::Error::other("there is no room for an index"));
        }
        let (bytes, index_crc32c) = format::encode_index(&index);
        let trailer = Trailer {
            segment: entry.segment,
            end: segment.end,
            blocks_end,
            entries: u32::try_from(index.len()).unwrap_or(u32::MAX),
            index_crc32c,
            chain,
            received_last: entry.last_used,
            raw_bytes: index.iter().map(|entry| u64::from(entry.raw_len)).sum(),
        };
        let file = disk.open(&entry.path, self.files.write_mode())?;
        self.files.seal(&SealOrder {
            sequence: entry.sequence,
            file,
            file_bytes: entry.file_bytes,
            index: bytes,
            trailer,
        })
    }
}
