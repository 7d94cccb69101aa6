//! Walking a segment that was not sealed, block by block, over what does not hold.
//!
//! A region which was durable, as a later block or a claim from outside says, is damage, and the
//! walk goes on behind it; at any other it ends. What is found is told block by block, so a walk
//! needs no memory that grows with the segment.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::block::Block;
use crate::journal::format::{self, ChainHash, FormatError};
use crate::journal::scan::{ScannedBlock, SegmentScan};
use crate::position::{Offset, OffsetRange, Timestamp};

/// A part of a segment that does not hold, though something says that it was durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Where in the file.
    pub bytes: Range<u64>,
    /// The events that were there.
    pub range: OffsetRange,
    /// What does not hold.
    pub error: FormatError,
    /// Chain hash of the block before, and of the last block lost; `None` where nothing that
    /// is left says it.
    pub heads: [Option<ChainHash>; 2],
}

/// Where a walk ended, when not at the end of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::journal) struct Broken {
    pub(in crate::journal) position: u64,
    pub(in crate::journal) error: FormatError,
}

impl Broken {
    /// False where there are just the zeros the file was made with: nothing was begun there.
    pub(in crate::journal) fn is_torn(&self) -> bool {
        !matches!(
            self.error,
            FormatError::Magic {
                found: [0, 0, 0, 0],
                ..
            }
        )
    }
}

/// What a walk saw.
#[derive(Debug)]
pub(in crate::journal) struct Walked {
    pub(in crate::journal) end: Offset,
    pub(in crate::journal) blocks: u32,
    /// Where the last block ends.
    pub(in crate::journal) blocks_end: u64,
    pub(in crate::journal) received_last: Timestamp,
    pub(in crate::journal) regions: Vec<Region>,
    pub(in crate::journal) broken: Broken,
    before: ChainHash,
    last: Option<Arc<Block>>,
}

impl Walked {
    /// Chain hash of the last block.
    pub(in crate::journal) fn chain(&self) -> ChainHash {
        self.last.as_deref().map_or(self.before, format::chain_hash)
    }

    fn take(&mut self, scanned: &ScannedBlock) {
        self.end = scanned.block.range().end;
        self.blocks += 1;
        self.blocks_end = scanned.next_position();
        self.received_last = self.received_last.max(scanned.header.received_last);
        self.last = Some(Arc::clone(&scanned.block));
    }
}

/// Walks a segment that begins with `first` behind a block of chain hash `before`, and shows
/// every sound block to `visit`. Events below `claimed` are known to have been durable; 0 when
/// nothing but the blocks says so.
pub(in crate::journal) fn walk(
    scan: &mut SegmentScan,
    first: Offset,
    before: ChainHash,
    claimed: Offset,
    visit: &mut dyn FnMut(&ScannedBlock),
) -> io::Result<Walked> {
    let position = SegmentScan::FIRST_POSITION;
    let error = FormatError::Magic {
        what: "block",
        found: [0; 4],
    };
    let mut walked = Walked {
        end: first,
        blocks: 0,
        blocks_end: position,
        received_last: Timestamp(i64::MIN),
        regions: Vec::new(),
        broken: Broken { position, error },
        before,
        last: None,
    };
    loop {
        let position = walked.blocks_end;
        let error = match scan.block_at(position, Some(walked.end))? {
            Ok(scanned) => {
                visit(&scanned);
                walked.take(&scanned);
                continue;
            }
            Err(error) => error,
        };
        let Some(later) = claimant(scan, position, walked.end, claimed)? else {
            walked.broken = Broken { position, error };
            return Ok(walked);
        };
        walked.regions.push(Region {
            bytes: position..later.header.position,
            range: OffsetRange {
                first: walked.end,
                end: later.header.first,
            },
            error,
            heads: [Some(walked.chain()), Some(later.header.chain)],
        });
        visit(&later);
        walked.take(&later);
    }
}

/// The next sound block behind `position`, if it or one behind it says that events behind
/// `end` were durable, or is `claimed` itself.
fn claimant(
    scan: &mut SegmentScan,
    position: u64,
    end: Offset,
    claimed: Offset,
) -> io::Result<Option<ScannedBlock>> {
    let mut next: Option<ScannedBlock> = None;
    let mut position = position;
    while let Some(found) = scan.resync(position)? {
        position = found.next_position();
        // No event is missing before it: what is broken was a block of counters alone.
        let follows = next.is_none() && found.header.first == end;
        let is_claimed = found.header.first >= end && found.block.range().end <= claimed;
        let claims = follows || found.header.durable_end > end || (claimed > end && is_claimed);
        if found.header.first >= end {
            next.get_or_insert(found);
        }
        if claims {
            return Ok(next);
        }
    }
    Ok(None)
}
