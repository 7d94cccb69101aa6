//! Going through the blocks of one segment, sound or not, to where it ends.
//!
//! Much as recovery does: a sealed segment ends where its trailer says. Another ends where no sound
//! block stands, unless a later block, or the segment behind it, claims that what is missing
//! there was durable: then that is a hole, and the walk goes on behind it. So a torn tail, or
//! the block a live node writes at this moment, is an end and not a hole.

use std::io;

use crate::journal::format::FormatError;
use crate::journal::inspect::JournalPlace;
use crate::journal::inspect::inventory::SegmentFile;
use crate::journal::scan::{ScannedBlock, SegmentScan};
use crate::position::Offset;

/// What comes next in a segment.
#[derive(Debug)]
pub enum Step {
    /// A sound block of the segment; its offset and its link are not looked at.
    Block(ScannedBlock),
    /// No sound block stands where one is due.
    Hole(Hole),
    /// Nothing more is due. `torn` when something was begun there and never was durable.
    End {
        /// Where.
        position: u64,
        /// Whether more than zeros stand there, in a segment that is not sealed.
        torn: bool,
    },
}

/// Bytes that hold no sound block though blocks are due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// Where it begins.
    pub position: u64,
    /// What is wrong there.
    pub error: FormatError,
    /// Where the next sound block stands; `None` when there is none.
    pub resumes: Option<u64>,
}

impl Hole {
    /// True when nothing of a block stands where the hole begins: it was removed, not altered.
    #[must_use]
    pub fn is_void(&self) -> bool {
        matches!(self.error, FormatError::Magic { .. })
    }
}

/// A walk through a segment; see the module's documentation.
#[derive(Debug)]
pub struct Walk {
    scan: SegmentScan,
    position: u64,
    /// Where the blocks end, and with which offset, when the segment is sealed.
    sealed: Option<(u64, Offset)>,
    /// One past the last offset seen.
    end: Offset,
    /// Events below were durable in this segment: the next one says so.
    claimed: Offset,
    over: bool,
}

impl Walk {
    /// Begins at the first block. `claimed` is the first offset of the segment behind this one.
    ///
    /// # Errors
    /// When the file cannot be opened; `NotFound` when the node took it meanwhile.
    pub fn open(
        place: &JournalPlace,
        segment: &SegmentFile,
        claimed: Option<Offset>,
    ) -> io::Result<Self> {
        Ok(Self {
            scan: segment.scan(place)?,
            position: SegmentScan::FIRST_POSITION,
            sealed: segment
                .seal
                .as_ref()
                .ok()
                .map(|seal| (seal.blocks_end, seal.end)),
            end: segment.header.first,
            claimed: claimed.unwrap_or_default(),
            over: false,
        })
    }

    /// What comes next; [`Step::End`] again and again once it came.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn step(&mut self) -> io::Result<Step> {
        let position = self.position;
        if self.over || self.sealed.is_some_and(|(end, _)| position >= end) {
            return Ok(self.end(false));
        }
        let error = match self.scan.block_at(position, None)? {
            Ok(scanned) => return Ok(self.take(scanned)),
            Err(error) => error,
        };
        let later = self.later_claimed()?;
        // A live node may have finished the block since it was read.
        if let Ok(scanned) = self.scan.block_at(position, None)? {
            return Ok(self.take(scanned));
        }
        // What a start sealed after damage or a tear keeps its broken bytes before the index.
        let due = match self.sealed {
            _ if later.is_some() => true,
            Some((_, sealed)) => self.end < sealed,
            None => self.claimed > self.end,
        };
        if !due {
            let nothing = matches!(error, FormatError::Magic { found, .. } if found == [0; 4]);
            return Ok(self.end(!nothing));
        }
        self.over = later.is_none();
        self.position = later.unwrap_or(position);
        Ok(Step::Hole(Hole {
            position,
            error,
            resumes: later,
        }))
    }

    fn take(&mut self, scanned: ScannedBlock) -> Step {
        self.position = scanned.next_position();
        self.end = scanned.block.range().end;
        Step::Block(scanned)
    }

    fn end(&mut self, torn: bool) -> Step {
        self.over = true;
        let position = self.position;
        Step::End { position, torn }
    }

    /// Where the next sound block behind the current position stands, if it is of the journal:
    /// in the index of a sealed segment, or below what a later block or segment claims durable.
    fn later_claimed(&mut self) -> io::Result<Option<u64>> {
        if self.sealed.is_some()
            && let Ok((_, index)) = self.scan.read_index()?
        {
            // A start seals over what it gave up: what the index passes over is not due.
            let behind = index.iter().filter(|entry| entry.position > self.position);
            for entry in behind {
                if self.scan.block_at(entry.position, None)?.is_ok() {
                    return Ok(Some(entry.position));
                }
            }
            return Ok(None);
        }
        let mut next = None;
        let mut position = self.position;
        while let Some(found) = self.scan.resync(position)? {
            let at = found.header.position;
            position = found.next_position();
            if self.sealed.is_some_and(|(end, _)| at >= end) {
                break;
            }
            if found.header.first >= self.end {
                next.get_or_insert(at);
            }
            let claimed = self.sealed.map_or(self.claimed, |(_, end)| end);
            let claims = found.header.durable_end > self.end || claimed > self.end;
            if claims && next.is_some() {
                return Ok(next);
            }
        }
        Ok(None)
    }
}
