//! Reading a range of events back, byte for byte, from the journal of a live or stopped node.
//!
//! Events come in the order of their offsets, a block or a part of one at a time, each held
//! against its checksums. What lies in the range and cannot be read is told as a [`Gap`].
//! Superseded blocks of a segment that was given up are passed over: the next one has them.

use std::io;

use crate::block::codec::Inflater;
use crate::block::metadata::Metadata;
use crate::event::LabelRun;
use crate::journal::inspect::JournalPlace;
use crate::journal::inspect::inventory::{self, SegmentFile};
use crate::journal::inspect::walk::{Step, Walk};
use crate::journal::scan::ScannedBlock;
use crate::position::{Offset, OffsetRange, Timestamp};

/// One end of a range of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The event of this offset.
    Offset(Offset),
    /// The first event received at this time or later.
    Time(Timestamp),
}

/// A range of events: from `from` (or the oldest held) up to, not with, `to` (or the newest).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    /// Where it begins.
    pub from: Option<Bound>,
    /// Where it ends.
    pub to: Option<Bound>,
}

/// What comes next of a range.
#[derive(Debug)]
pub enum Piece<'a> {
    /// Events of one block.
    Events(Events<'a>),
    /// Events that cannot be read.
    Gap(Gap),
}

/// Events of one block that are in the range.
#[derive(Debug)]
pub struct Events<'a> {
    /// The block.
    pub block: &'a ScannedBlock,
    /// Which of its events.
    pub range: OffsetRange,
    /// Their raw form: each event and one `\n`.
    pub raw: &'a [u8],
    /// Labels of all events of the block, in order; empty in the internal journal.
    pub runs: &'a [LabelRun],
}

impl Events<'_> {
    /// True when all of the block is in the range.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.range == self.block.block.range()
    }
}

/// Events in the range that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Which.
    pub range: OffsetRange,
    /// What happened to them.
    pub why: String,
}

/// Where pieces go. An error ends the reading and is given back.
pub type Take<'a> = &'a mut dyn FnMut(Piece<'_>) -> io::Result<()>;

/// Reads a range.
///
/// # Errors
/// When the disk cannot be read, or as `take` says.
pub fn read_events(place: &JournalPlace, range: Range, take: Take<'_>) -> io::Result<()> {
    let segments = inventory::inventory(place)?.segments;
    let mut reading = Reading {
        place,
        range,
        due: match range.from {
            Some(Bound::Offset(offset)) => Some(offset),
            _ => None,
        },
        inflater: Inflater::new(),
        raw: Vec::new(),
        done: false,
        take,
    };
    for (at, segment) in segments.iter().enumerate() {
        // One without blocks supersedes nothing.
        let mut later = segments[at + 1..].iter();
        let next = later.find(|next| next.has_blocks(place).unwrap_or(false));
        if reading.is_before(segment, next) {
            continue;
        }
        match reading.segment(segment, next.map(|next| next.header.first)) {
            // Retention took it: what is missing shows at the next one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => read?,
        }
        if reading.done {
            break;
        }
    }
    Ok(())
}

struct Reading<'a> {
    place: &'a JournalPlace,
    range: Range,
    /// The offset due next, once it is known.
    due: Option<Offset>,
    inflater: Inflater,
    raw: Vec<u8>,
    done: bool,
    take: Take<'a>,
}

impl Reading<'_> {
    /// Whether all of a segment lies before the range.
    fn is_before(&self, segment: &SegmentFile, next: Option<&SegmentFile>) -> bool {
        match self.range.from {
            None => false,
            Some(Bound::Offset(offset)) => next.is_some_and(|next| next.header.first <= offset),
            Some(Bound::Time(time)) => segment
                .seal
                .as_ref()
                .is_ok_and(|seal| seal.received_last < time),
        }
    }

    fn segment(&mut self, segment: &SegmentFile, claimed: Option<Offset>) -> io::Result<()> {
        let mut walk = Walk::open(self.place, segment, claimed)?;
        let mut why = None;
        while !self.done {
            match walk.step()? {
                Step::Block(scanned) => {
                    let range = scanned.block.range();
                    if range.is_empty() || claimed.is_some_and(|claimed| range.end > claimed) {
                        continue;
                    }
                    self.missing_before(range.first, why.take())?;
                    self.block(segment, &scanned)?;
                }
                Step::Hole(hole) => {
                    if self.range.from.is_none() {
                        self.due.get_or_insert(segment.header.first);
                    }
                    let path = segment.path.display();
                    why = Some(format!("{path} at byte {}: {}", hole.position, hole.error));
                }
                Step::End { .. } => break,
            }
        }
        let sealed = || segment.seal.as_ref().ok().map(|seal| seal.end);
        if let (Some(claimed), Some(why)) = (claimed.or_else(sealed), why) {
            self.missing_before(claimed, Some(why))?;
        }
        Ok(())
    }

    /// Tells what of the range is missing before `first`.
    fn missing_before(&mut self, first: Offset, why: Option<String>) -> io::Result<()> {
        let end = match self.range.to {
            Some(Bound::Offset(to)) => first.min(to),
            _ => first,
        };
        if let Some(due) = self.due
            && due < end
        {
            let range = OffsetRange { first: due, end };
            let why = why.unwrap_or_else(|| {
                "no segment has them: retention took them, or a file is gone".to_owned()
            });
            (self.take)(Piece::Gap(Gap { range, why }))?;
            self.due = Some(end);
        }
        Ok(())
    }

    fn block(&mut self, segment: &SegmentFile, scanned: &ScannedBlock) -> io::Result<()> {
        if let Some(Bound::Time(from)) = self.range.from
            && scanned.header.received_last < from
        {
            return Ok(());
        }
        let (block, whole) = (&scanned.block, scanned.block.range());
        // An offset held twice, or before the range, was told already.
        let due = self.due.unwrap_or(whole.first).max(whole.first);
        let raw_len = block.raw_len as usize;
        self.raw.clear();
        let inflated = self
            .inflater
            .read_body(block.codec, &block.body(), raw_len, &mut self.raw);
        let bytes = &block.image[block.metadata.clone()];
        let sound = inflated
            .map_err(|error| error.to_string())
            .and_then(|()| match crate::block::raw_crc32(&self.raw) {
                crc if crc == block.raw_crc32 => Ok(()),
                _ => Err("the checksum of the events does not hold".to_owned()),
            })
            .and_then(|()| {
                Metadata::decode(bytes, &mut self.inflater).map_err(|error| error.to_string())
            });
        let runs = match sound {
            Ok(metadata) => metadata.runs,
            Err(error) => {
                let (path, position) = (segment.path.display(), scanned.header.position);
                let why = format!("{path} at byte {position}: {error}");
                self.due = Some(due);
                return self.missing_before(whole.end, Some(why));
            }
        };
        let first = match self.range.from {
            Some(Bound::Time(time)) => due.max(first_received(scanned, &runs, time)),
            _ => due,
        };
        let end = match self.range.to {
            None => whole.end,
            Some(Bound::Offset(to)) => whole.end.min(to),
            Some(Bound::Time(time)) => first_received(scanned, &runs, time),
        };
        self.done = end < whole.end;
        if matches!(self.range.from, Some(Bound::Time(_))) && first >= whole.end {
            return Ok(());
        }
        self.due = Some(whole.end.max(due));
        if first >= end {
            return Ok(());
        }
        let range = OffsetRange { first, end };
        let piece = Events {
            block: scanned,
            range,
            raw: part_of(&self.raw, whole, range),
            runs: &runs,
        };
        (self.take)(Piece::Events(piece))
    }
}

/// The first event of a block that was received at `time` or later; its end when none was.
fn first_received(scanned: &ScannedBlock, runs: &[LabelRun], time: Timestamp) -> Offset {
    let whole = scanned.block.range();
    if runs.is_empty() {
        let later = scanned.header.received_first >= time;
        return if later { whole.first } else { whole.end };
    }
    let mut offset = whole.first;
    for run in runs {
        if run.received >= time {
            break;
        }
        offset = offset.plus(u64::from(run.events));
    }
    offset.min(whole.end)
}

/// The lines of `range` out of the raw form of the events `whole`.
fn part_of(raw: &[u8], whole: OffsetRange, range: OffsetRange) -> &[u8] {
    if range == whole {
        return raw;
    }
    let start_of = |offset: Offset| {
        let lines = offset.events_since(whole.first);
        let lines = usize::try_from(lines).unwrap_or(usize::MAX);
        match lines.checked_sub(1) {
            None => 0,
            Some(before) => memchr::memchr_iter(b'\n', raw)
                .nth(before)
                .map_or(raw.len(), |at| at + 1),
        }
    };
    &raw[start_of(range.first)..start_of(range.end)]
}
