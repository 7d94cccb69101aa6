//! What each segment of a journal holds, in numbers.
//!
//! A sealed segment's trailer has them; of another the blocks are gone through.

use std::io;

use crate::journal::inspect::JournalPlace;
use crate::journal::inspect::inventory::SegmentFile;
use crate::journal::inspect::walk::{Step, Walk};
use crate::journal::scan::SegmentScan;
use crate::limits::DISK_PAGE_BYTES;
use crate::position::{Offset, Timestamp};

/// What a segment is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentState {
    /// Full and closed with its index.
    Sealed,
    /// The newest of a node that runs: it is written.
    Open,
    /// A write failed, and the next segment has what was not durable.
    GivenUp,
    /// Closed by a crash, or not sealed yet; the next start does it.
    Unsealed,
    /// No block ever came; the next start removes it.
    Empty,
}

/// A segment in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentSummary {
    /// What it is doing.
    pub state: SegmentState,
    /// One past its last event.
    pub end: Offset,
    /// Events that are not in a later segment.
    pub events: u64,
    /// Blocks, those of counters included.
    pub blocks: u64,
    /// Bytes of the raw forms.
    pub raw_bytes: u64,
    /// Bytes the blocks take in the file, padding included.
    pub stored_bytes: u64,
    /// Earliest receive time; `None` when there is no sound first block.
    pub received_first: Option<Timestamp>,
    /// Latest receive time.
    pub received_last: Option<Timestamp>,
    /// Places where no sound block stands though one is due.
    pub holes: u64,
}

impl std::fmt::Display for SegmentState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Sealed => "sealed",
            Self::Open => "open",
            Self::GivenUp => "given up",
            Self::Unsealed => "unsealed",
            Self::Empty => "empty",
        })
    }
}

/// Summarises a segment. `next` is the one behind it that has blocks, `running` whether a node
/// may be writing the newest.
///
/// # Errors
/// When the file cannot be read; `NotFound` when the node took it meanwhile.
pub fn summarize(
    place: &JournalPlace,
    segment: &SegmentFile,
    next: Option<&SegmentFile>,
    running: bool,
) -> io::Result<SegmentSummary> {
    let mut summary = SegmentSummary {
        state: SegmentState::Sealed,
        end: segment.header.first,
        events: 0,
        blocks: 0,
        raw_bytes: 0,
        stored_bytes: 0,
        received_first: None,
        received_last: None,
        holes: 0,
    };
    if let Ok(trailer) = &segment.seal {
        let first = segment
            .scan(place)?
            .block_at(SegmentScan::FIRST_POSITION, None)?;
        summary.end = trailer.end;
        summary.events = trailer.end.events_since(segment.header.first);
        summary.blocks = u64::from(trailer.entries);
        summary.raw_bytes = trailer.raw_bytes;
        summary.stored_bytes = trailer.blocks_end.saturating_sub(DISK_PAGE_BYTES as u64);
        summary.received_first = first.ok().map(|first| first.header.received_first);
        summary.received_last = Some(trailer.received_last);
        return Ok(summary);
    }
    let claimed = next.map(|next| next.header.first);
    let mut walk = Walk::open(place, segment, claimed)?;
    let mut superseded = false;
    let torn = loop {
        match walk.step()? {
            Step::Block(scanned) => {
                let (header, range) = (&scanned.header, scanned.block.range());
                if claimed.is_some_and(|claimed| range.end > claimed) {
                    superseded = true;
                    continue;
                }
                summary.end = range.end;
                summary.events += range.events();
                summary.blocks += 1;
                summary.raw_bytes += u64::from(header.raw_len);
                summary.stored_bytes += header.stored_bytes() as u64;
                summary.received_first.get_or_insert(header.received_first);
                summary.received_last = summary.received_last.max(Some(header.received_last));
            }
            Step::Hole(_) => summary.holes += 1,
            Step::End { torn, .. } => break torn,
        }
    };
    summary.state = match (next.is_some(), summary.blocks) {
        (true, _) if superseded || torn => SegmentState::GivenUp,
        (false, _) if running => SegmentState::Open,
        (_, 0) => SegmentState::Empty,
        _ => SegmentState::Unsealed,
    };
    Ok(summary)
}
