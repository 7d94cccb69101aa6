//! Opening a journal after a stop of any kind: what is there, where it goes on, what is gone.
//!
//! [`mod@survey`] reads and [`recover`] acts on it: damaged regions are copied aside and the
//! segment sealed with an index of what is sound, headers and trailers are made anew, alien
//! files moved aside. The journal goes on at the highest of its end, its floor and every
//! cursor, so an offset is never used twice. Every start opens a new segment. Whatever is
//! damaged, the start goes on and says what is gone; only a disk that refuses ends it.
//!
//! Sealed segments cost two pages; the others are walked, and then sealed, so the next start
//! is quick again and reports nothing twice.

mod findings;
mod fuzz;
pub mod quarantine;
mod repair;
mod survey;
pub(in crate::journal) mod walk;

pub use findings::Finding;
pub use fuzz::{fuzz_records, fuzz_recover};
pub use survey::{Alien, Repairs, Survey, Surveyed, survey};
pub use walk::Region;

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::block::codec::Inflater;
use crate::block::metadata::{InputPosition, Metadata};
use crate::event::InputId;
use crate::journal::recovery::quarantine::Quarantine;
use crate::journal::recovery::repair::Repairer;
use crate::journal::scan::SegmentScan;
use crate::journal::segments::{Catalog, SegmentEntry, SegmentFiles};
use crate::journal::writer::WriterStart;
use crate::metrics::ledger::InputCounts;
use crate::os::disk::Disk;
use crate::position::{JournalId, Offset, Timestamp};

/// A journal as recovery found it.
#[derive(Debug)]
pub struct Recovered {
    /// Where the writer goes on.
    pub start: WriterStart,
    /// Totals of the input counters in the last block.
    pub totals: Vec<(InputId, InputCounts)>,
    /// Input positions: all of the last segment's first block, and what moved after.
    pub positions: Vec<InputPosition>,
    /// Latest receive time in the journal; time in it never goes back.
    pub received_last: Timestamp,
    /// What an operator must know; what an earlier start told is not told again.
    pub findings: Vec<Finding>,
}

/// Recovers the journal in `files.dir` and fills `catalog`. `cursors_end` is the highest
/// cursor any stream has in this journal.
///
/// # Errors
/// When the disk cannot be read or written; damage is no error but a [`Finding`].
pub fn recover(
    files: &SegmentFiles,
    catalog: &Catalog,
    cursors_end: Offset,
) -> io::Result<Recovered> {
    recover_into(
        files,
        catalog,
        cursors_end,
        &Arc::new(Quarantine::of(files)),
    )
}

/// As [`recover`], with a quarantine of the caller's, which the journal's readers use as well.
///
/// # Errors
/// As [`recover`].
pub fn recover_into(
    files: &SegmentFiles,
    catalog: &Catalog,
    cursors_end: Offset,
    quarantine: &Arc<Quarantine>,
) -> io::Result<Recovered> {
    catalog.set_quarantine(Arc::clone(quarantine));
    files.disk.create_dir_all(&files.dir)?;
    let survey = survey(files, cursors_end)?;
    let mut repairer = Repairer::new(files, quarantine);
    repairer.settle_floor(&survey)?;
    repairer.set_aside(&survey.aliens);
    let mut state = LastState::default();
    for segment in survey
        .segments
        .iter()
        .rev()
        .filter(|segment| segment.blocks > 0)
    {
        state = last_state(files, segment)?;
        if state.is_found {
            break;
        }
    }
    for segment in &survey.segments {
        if segment.is_empty() {
            repairer.remove_empty(segment)?;
            continue;
        }
        repairer.mend(segment);
        catalog.add(SegmentEntry {
            end: Some(segment.end),
            ..segment.entry.clone()
        });
    }
    repairer.miss(&survey);
    let findings = repairer.finish()?;
    let received_last = survey
        .segments
        .iter()
        .map(|segment| segment.entry.last_used)
        .max();
    Ok(Recovered {
        start: WriterStart {
            journal: files.journal,
            next: survey.next,
            sequence: survey.sequence_next,
            chain: survey.chain,
        },
        totals: state.totals,
        positions: state.positions,
        received_last: received_last.unwrap_or_default(),
        findings,
    })
}

/// Counters and positions as a segment's blocks have them.
#[derive(Debug, Default)]
struct LastState {
    totals: Vec<(InputId, InputCounts)>,
    positions: Vec<InputPosition>,
    /// A block of it could be read.
    is_found: bool,
}

/// Reads all blocks of a segment: positions move with every block, totals are whole in each.
fn last_state(files: &SegmentFiles, segment: &Surveyed) -> io::Result<LastState> {
    let SegmentFiles {
        disk,
        direct,
        journal,
        ..
    } = files;
    let SegmentEntry {
        path,
        segment: id,
        first,
        ..
    } = &segment.entry;
    let scan = SegmentScan::open(&**disk, path, *direct, *journal, *id)?;
    // The survey has found that no block follows: the rest of the file is not read again.
    let mut scan = scan.within(segment.blocks_end);
    let mut state = LastState::default();
    let (before, vouched_to) = (segment.chain_before, segment.vouched_to);
    walk::walk(&mut scan, *first, before, vouched_to, &mut |scanned| {
        let block = &scanned.block;
        let bytes = &block.image[block.metadata.clone()];
        // A block is sound as a whole: metadata that does not decode is of a later version.
        let Ok(metadata) = Metadata::decode(bytes, &mut Inflater::new()) else {
            return;
        };
        if block.first >= segment.end && block.events > 0 {
            return;
        }
        state.is_found = true;
        if !metadata.totals.is_empty() {
            state.totals = metadata.totals;
        }
        for moved in metadata.positions {
            state.positions.retain(|known| known.source != moved.source);
            state.positions.push(moved);
        }
    })?;
    Ok(state)
}

/// The highest number of an input that a segment's blocks count; `None` when none can be read.
///
/// # Errors
/// When the file cannot be read.
pub fn input_number_highest(
    disk: &dyn Disk,
    path: &Path,
    journal: JournalId,
) -> io::Result<Option<u16>> {
    let (mut scan, header) = SegmentScan::open_unknown(disk, path, false, journal)?;
    let Ok(header) = header else { return Ok(None) };
    let mut highest = None;
    walk::walk(
        &mut scan,
        header.first,
        header.chain,
        Offset(0),
        &mut |scanned| {
            let block = &scanned.block;
            let bytes = &block.image[block.metadata.clone()];
            if let Ok(metadata) = Metadata::decode(bytes, &mut Inflater::new()) {
                let numbers = metadata.totals.iter().map(|(input, _)| input.0);
                highest = highest.max(numbers.max());
            }
        },
    )?;
    Ok(highest)
}
