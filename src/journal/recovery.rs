//! Opening a journal after a stop of any kind: what is there, where it goes on, what is gone.
//!
//! An invalid region which a later block, cursor or segment claims durable is damage: its
//! events are lost and counted. Any other is a torn tail, written by no one's leave but ours
//! and never acknowledged: it is cut. The journal goes on at the highest of its end and
//! every cursor, so an offset is never used twice. Every start opens a new segment.
//!
//! Sealed segments cost one page and their index; only the last of an unclean stop is walked,
//! and then sealed, so the next start is quick again.

use std::io;
use std::path::PathBuf;

use crate::block::codec::Inflater;
use crate::block::metadata::{InputPosition, Metadata};
use crate::event::InputId;
use crate::journal::format::{self, ChainHash, FormatError, IndexEntry, Trailer};
use crate::journal::scan::{self, ScannedBlock, SegmentScan};
use crate::journal::segments::{Catalog, SegmentEntry, SegmentFiles, parse_file_name};
use crate::journal::writer::{SealOrder, WriterStart};
use crate::metrics::ledger::InputCounts;
use crate::position::{Offset, OffsetRange, Timestamp};

/// What recovery found that an operator must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Bytes behind the durable end were cut; nothing acknowledged was in them.
    TornTail {
        /// The file.
        path: PathBuf,
        /// Where the cut is.
        position: u64,
    },
    /// Events that were durable cannot be read any more.
    Damaged {
        /// The file.
        path: PathBuf,
        /// The events.
        range: OffsetRange,
        /// What does not hold.
        error: String,
    },
    /// A file that is no segment of this journal; left alone.
    Alien {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: String,
    },
    /// Events that a later segment or a cursor claims, but no segment has.
    Missing {
        /// The events.
        range: OffsetRange,
    },
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TornTail { path, position } => write!(
                f,
                "{}: cut at byte {position}: what follows was never durable",
                path.display()
            ),
            Self::Damaged { path, range, error } => {
                write!(f, "{}: events {range} are damaged: {error}", path.display())
            }
            Self::Alien { path, error } => {
                write!(
                    f,
                    "{}: not a segment of this journal, left alone: {error}",
                    path.display()
                )
            }
            Self::Missing { range } => {
                write!(
                    f,
                    "events {range} are in no segment: a file is gone or was cut"
                )
            }
        }
    }
}

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
    /// What an operator must know.
    pub findings: Vec<Finding>,
}

/// What one segment holds.
#[derive(Debug)]
struct Surveyed {
    entry: SegmentEntry,
    end: Offset,
    chain: ChainHash,
    index: Vec<IndexEntry>,
    sealed: bool,
    /// Set when the walk ended at a region that does not hold.
    broken: Option<Broken>,
    /// Events in it are lost: the file stays as it is, for whoever looks into it.
    damaged: bool,
}

#[derive(Debug)]
struct Broken {
    position: u64,
    error: FormatError,
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
    files.disk.create_dir_all(&files.dir)?;
    let mut findings = Vec::new();
    let mut segments = survey(files, &mut findings)?;
    let sequence = segments.last().map_or(1, |last| last.entry.sequence + 1);
    trim_superseded(&mut segments);
    clip_to_segments(&mut findings, &segments);
    let mut end = segments
        .first()
        .map_or(Offset(0), |oldest| oldest.entry.first);
    for at in 0..segments.len() {
        // Segments are put to use at the durable end: the next one's first offset, or a
        // cursor behind the last, claims everything before it.
        let claimed = segments
            .get(at + 1)
            .map_or(cursors_end, |next| next.entry.first);
        let finding = judge_end(&segments[at], claimed);
        segments[at].damaged |= matches!(finding, Some(Finding::Damaged { .. }));
        findings.extend(finding);
        end = end.max(segments[at].end);
    }
    let chain = segments.last().map_or([0; 32], |last| last.chain);
    let state = last_state(files, &segments, &mut findings)?;
    let mut removed = false;
    for segment in &segments {
        if segment.index.is_empty() && !segment.damaged {
            files.disk.remove(&segment.entry.path)?;
            removed = true;
            continue;
        }
        if let Err(error) = seal_if_sound(files, segment) {
            // Nothing is lost by it: the next start walks the segment again.
            tracing::warn!(path = %segment.entry.path.display(), %error, "seal segment");
        }
        catalog.add(SegmentEntry {
            end: Some(segment.end),
            ..segment.entry.clone()
        });
    }
    if segments.is_empty() && cursors_end > end {
        findings.push(Finding::Missing {
            range: OffsetRange {
                first: end,
                end: cursors_end,
            },
        });
    }
    if removed {
        files.disk.sync_dir(&files.dir)?;
    }
    let start = WriterStart {
        journal: files.journal,
        next: end.max(cursors_end),
        sequence,
        chain,
    };
    let (totals, positions, received_last) = state;
    Ok(Recovered {
        start,
        totals,
        positions,
        received_last,
        findings,
    })
}

/// Reads what every segment file of the directory holds, oldest first.
fn survey(files: &SegmentFiles, findings: &mut Vec<Finding>) -> io::Result<Vec<Surveyed>> {
    let mut segments = Vec::new();
    for name in files.disk.list(&files.dir)? {
        let path = files.dir.join(&name);
        let Some((sequence, first)) = parse_file_name(&name) else {
            if !name.starts_with("spare-") {
                let error = "its name is not that of a segment".to_owned();
                findings.push(Finding::Alien { path, error });
            }
            continue;
        };
        let header = match scan::read_header(&*files.disk, &path, files.direct)? {
            Ok(header) => header,
            Err(error) => {
                findings.push(Finding::Alien {
                    path,
                    error: error.to_string(),
                });
                continue;
            }
        };
        let ours = header.journal == files.journal && header.node == files.node;
        if !ours || header.sequence != sequence || header.first != first {
            let error = "its header belongs to another journal, node or name".to_owned();
            findings.push(Finding::Alien { path, error });
            continue;
        }
        let entry = SegmentEntry {
            sequence,
            segment: header.segment,
            first,
            end: None,
            path,
            file_bytes: header.file_bytes,
            last_used: header.created,
        };
        segments.push(survey_segment(files, entry, header.chain, findings)?);
    }
    segments.sort_by_key(|segment| segment.entry.sequence);
    Ok(segments)
}

fn survey_segment(
    files: &SegmentFiles,
    entry: SegmentEntry,
    chain: ChainHash,
    findings: &mut Vec<Finding>,
) -> io::Result<Surveyed> {
    let SegmentFiles {
        disk,
        direct,
        journal,
        ..
    } = files;
    let mut scan = SegmentScan::open(&**disk, &entry.path, *direct, *journal, entry.segment)?;
    if let Ok((trailer, index)) = scan.read_index()? {
        let entry = SegmentEntry {
            last_used: trailer.received_last,
            ..entry
        };
        let (end, chain) = (trailer.end, trailer.chain);
        return Ok(Surveyed {
            entry,
            end,
            chain,
            index,
            sealed: true,
            broken: None,
            damaged: false,
        });
    }
    walk(&mut scan, entry, chain, findings)
}

/// Walks an unsealed segment block by block. Over a region that does not hold but that a
/// later block claims durable the walk goes on; it ends at any other.
fn walk(
    scan: &mut SegmentScan,
    entry: SegmentEntry,
    chain: ChainHash,
    findings: &mut Vec<Finding>,
) -> io::Result<Surveyed> {
    let first = entry.first;
    let mut segment = Surveyed {
        entry,
        end: first,
        chain,
        index: Vec::new(),
        sealed: false,
        broken: None,
        damaged: false,
    };
    let mut position = SegmentScan::FIRST_POSITION;
    loop {
        let error = match scan.block_at(position, Some(segment.end))? {
            Ok(scanned) => {
                position = scanned.next_position();
                segment.take(&scanned);
                continue;
            }
            Err(error) => error,
        };
        let Some(later) = claimant(scan, position, segment.end)? else {
            segment.broken = Some(Broken { position, error });
            return Ok(segment);
        };
        findings.push(Finding::Damaged {
            path: segment.entry.path.clone(),
            range: OffsetRange {
                first: segment.end,
                end: later.header.first,
            },
            error: format!("at byte {position}: {error}"),
        });
        segment.damaged = true;
        position = later.next_position();
        segment.take(&later);
    }
}

/// The next sound block behind `position`, if it or one behind it says that events behind
/// `end` were durable.
fn claimant(
    scan: &mut SegmentScan,
    position: u64,
    end: Offset,
) -> io::Result<Option<ScannedBlock>> {
    let mut next = None;
    let mut position = position;
    while let Some(found) = scan.resync(position)? {
        position = found.next_position();
        let claims = found.header.durable_end > end;
        if found.header.first >= end {
            next.get_or_insert(found);
        }
        if claims {
            return Ok(next);
        }
    }
    Ok(None)
}

impl Surveyed {
    fn take(&mut self, scanned: &ScannedBlock) {
        self.end = scanned.block.range().end;
        self.chain = format::chain_hash(&scanned.block);
        self.entry.last_used = self.entry.last_used.max(scanned.header.received_last);
        self.index.push(scanned.index_entry());
    }
}

/// For offsets held twice the later segment wins: what an earlier one has of them is not
/// counted as its own.
fn trim_superseded(segments: &mut [Surveyed]) {
    let mut first_behind = Offset(u64::MAX);
    for segment in segments.iter_mut().rev() {
        if segment.end > first_behind {
            segment.end = first_behind.max(segment.entry.first);
            segment.index.retain(|entry| entry.first < segment.end);
            // What was cut off is the reason it was given up.
            segment.broken = None;
        }
        // A later segment that never got a block supersedes nothing.
        if !segment.index.is_empty() {
            first_behind = first_behind.min(segment.entry.first);
        }
    }
}

/// Where the walk over damage went on with a block that a later segment supersedes, the
/// events from there on are not lost: they are in that segment.
fn clip_to_segments(findings: &mut Vec<Finding>, segments: &[Surveyed]) {
    findings.retain_mut(|finding| {
        let Finding::Damaged { path, range, .. } = finding else {
            return true;
        };
        let segment = segments.iter().find(|segment| segment.entry.path == *path);
        if let Some(segment) = segment {
            range.end = range.end.min(segment.end);
        }
        !range.is_empty()
    });
}

/// What the end of a segment means, when events up to `claimed` were durable.
fn judge_end(segment: &Surveyed, claimed: Offset) -> Option<Finding> {
    let path = segment.entry.path.clone();
    let lost = OffsetRange {
        first: segment.end,
        end: claimed,
    };
    match &segment.broken {
        Some(broken) if !lost.is_empty() => {
            let error = format!("at byte {}: {}", broken.position, broken.error);
            Some(Finding::Damaged {
                path,
                range: lost,
                error,
            })
        }
        Some(broken) => Some(Finding::TornTail {
            path,
            position: broken.position,
        })
        .filter(|_| broken.is_torn()),
        None => (!lost.is_empty()).then_some(Finding::Missing { range: lost }),
    }
}

impl Broken {
    /// False where there are just the zeros the file was made with: nothing was begun there.
    fn is_torn(&self) -> bool {
        !matches!(
            self.error,
            FormatError::Magic {
                found: [0, 0, 0, 0],
                ..
            }
        )
    }
}

type LastState = (Vec<(InputId, InputCounts)>, Vec<InputPosition>, Timestamp);

/// Counters, positions and time as the last segment with blocks has them.
fn last_state(
    files: &SegmentFiles,
    segments: &[Surveyed],
    findings: &mut Vec<Finding>,
) -> io::Result<LastState> {
    let received_last = segments.iter().map(|segment| segment.entry.last_used).max();
    let received_last = received_last.unwrap_or_default();
    let Some(last) = segments
        .iter()
        .rev()
        .find(|segment| !segment.index.is_empty())
    else {
        return Ok((Vec::new(), Vec::new(), received_last));
    };
    let SegmentFiles {
        disk,
        direct,
        journal,
        ..
    } = files;
    let path = &last.entry.path;
    let mut scan = SegmentScan::open(&**disk, path, *direct, *journal, last.entry.segment)?;
    let mut totals = Vec::new();
    let mut positions: Vec<InputPosition> = Vec::new();
    // Positions move with every block, totals are whole in each: the last one has them.
    for entry in &last.index {
        let Ok(scanned) = scan.block_at(entry.position, Some(entry.first))? else {
            continue;
        };
        let bytes = &scanned.block.image[scanned.block.metadata.clone()];
        match Metadata::decode(bytes, &mut Inflater::new()) {
            Ok(metadata) => {
                if !metadata.totals.is_empty() {
                    totals = metadata.totals;
                }
                for moved in metadata.positions {
                    positions.retain(|known| known.source != moved.source);
                    positions.push(moved);
                }
            }
            Err(error) => findings.push(Finding::Damaged {
                path: path.clone(),
                range: scanned.block.range(),
                error: format!("metadata at byte {}: {error}", entry.position),
            }),
        }
    }
    Ok((totals, positions, received_last))
}

/// Seals a segment that an unclean stop left open, unless it is damaged: then it stays as it
/// is, for whoever looks into it.
fn seal_if_sound(files: &SegmentFiles, segment: &Surveyed) -> io::Result<()> {
    let Some(last) = segment
        .index
        .last()
        .filter(|_| !segment.sealed && !segment.damaged)
    else {
        return Ok(());
    };
    let (index, index_crc32c) = format::encode_index(&segment.index);
    let trailer = Trailer {
        segment: segment.entry.segment,
        end: segment.end,
        blocks_end: last.position + u64::from(last.stored_bytes),
        entries: u32::try_from(segment.index.len()).unwrap_or(u32::MAX),
        index_crc32c,
        chain: segment.chain,
        received_last: last.received_last,
        raw_bytes: segment
            .index
            .iter()
            .map(|entry| u64::from(entry.raw_len))
            .sum(),
    };
    let file = files.disk.open(&segment.entry.path, files.write_mode())?;
    let (sequence, file_bytes) = (segment.entry.sequence, segment.entry.file_bytes);
    files.seal(&SealOrder {
        sequence,
        file,
        file_bytes,
        index,
        trailer,
    })
}
