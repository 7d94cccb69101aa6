//! What a journal's directory holds, read and not changed.
//!
//! A sealed segment costs two page reads, its header and its trailer, and constant memory;
//! any other is walked. An invalid region which a later block, segment or cursor claims
//! durable is damage; any other is a torn tail. What is read here [`super::recover`] acts on;
//! the tools read it of a live or a stopped node.

use std::io;
use std::path::PathBuf;

use crate::journal::floor::{self, Floor, ReadFloor};
use crate::journal::format::{self, ChainHash, FormatError, SegmentHeader, Trailer};
use crate::journal::recovery::findings::Finding;
use crate::journal::recovery::walk::{self, Broken, Region};
use crate::journal::scan::SegmentScan;
use crate::journal::segments::{SegmentEntry, SegmentFiles, parse_file_name};
use crate::limits::DISK_PAGE_BYTES;
use crate::position::{Offset, OffsetRange, SegmentId, Timestamp};

/// Names that a file system puts into a directory by itself.
const FILE_SYSTEM_NAMES: [&str; 1] = ["lost+found"];

/// A journal as it lies on disk.
#[derive(Debug)]
pub struct Survey {
    /// Its segments, oldest first.
    pub segments: Vec<Surveyed>,
    /// Files that are none of its segments, with what is wrong with them.
    pub aliens: Vec<Alien>,
    /// Ranges that something claims and no segment has.
    pub missing: Vec<OffsetRange>,
    /// Its floor.
    pub floor: ReadFloor,
    /// Where the journal goes on: behind its end, its floor and every cursor.
    pub next: Offset,
    /// Chain hash of its last block, or of the last one below its floor.
    pub chain: ChainHash,
    /// Sequence of the next segment: above that of every file's name, readable or not.
    pub sequence_next: u64,
}

/// A file that is no segment of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alien {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub error: String,
    /// It may be of use to a later version, or cannot be touched: it must stay where it is.
    pub stays: bool,
}

/// What one segment holds.
#[derive(Debug)]
pub struct Surveyed {
    /// The segment; `end` is set.
    pub entry: SegmentEntry,
    /// One past its last event, as far as it counts.
    pub end: Offset,
    /// Chain hash of the block before its first.
    pub chain_before: ChainHash,
    /// Chain hash of its last sound block.
    pub chain: ChainHash,
    /// Events below were durable though no block of it says so; 0 when there are none.
    pub vouched_to: Offset,
    /// Sound blocks in it.
    pub blocks: u32,
    /// Byte behind the last of them, or of what is kept behind it.
    pub blocks_end: u64,
    /// Index and trailer are there; the trailer was believed, the index not read.
    pub sealed: bool,
    /// Regions that do not hold, of a segment that was walked.
    pub regions: Vec<Region>,
    /// Where it was cut, when nothing says that anything behind was durable.
    pub torn: Option<u64>,
    /// What of it can be made anew without loss.
    pub repairs: Repairs,
    /// Where the walk of an unsealed segment ended.
    pub(super) broken: Option<Broken>,
    /// Part of it is superseded by a later segment.
    pub(super) trimmed: bool,
    /// Where the later segment goes on: the chain hash of the last block here that counts.
    pub(super) continued_from: Option<ChainHash>,
}

/// What of a segment can be made anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repairs {
    /// The header page does not hold: this is what it must have said, and why it was not read.
    pub header: Option<Box<(SegmentHeader, FormatError)>>,
    /// The trailer page held something that is neither of this segment nor of an earlier use.
    pub trailer: Option<FormatError>,
    /// The file's length is not the header's: it is this.
    pub len_found: Option<u64>,
}

impl Surveyed {
    /// Events in it are lost.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        !self.regions.is_empty()
    }

    /// Nothing in it counts: no block, and no loss that must be kept in mind.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let continued_at_once = self.continued_from == Some(self.chain_before);
        let holds_events = self.is_damaged() || self.end > self.entry.first;
        !holds_events && (self.blocks == 0 || (self.trimmed && continued_at_once))
    }
}

impl Survey {
    /// What an operator must know, as far as reading alone tells it.
    #[must_use]
    pub fn findings(&self, files: &SegmentFiles) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.aliens.iter().map(Alien::finding).collect();
        for segment in &self.segments {
            findings.extend(segment.findings(files));
        }
        let journal = files.journal;
        let missing = self.missing.iter();
        findings.extend(missing.map(|range| Finding::Missing {
            journal,
            range: *range,
        }));
        findings
    }
}

impl Alien {
    fn finding(&self) -> Finding {
        Finding::Alien {
            path: self.path.clone(),
            error: self.error.clone(),
            moved: None,
        }
    }
}

impl Surveyed {
    /// What an operator must know of it, as far as reading alone tells it.
    #[must_use]
    pub fn findings(&self, files: &SegmentFiles) -> Vec<Finding> {
        let path = &self.entry.path;
        let damaged = self.regions.iter().map(|region| Finding::Damaged {
            journal: files.journal,
            path: path.clone(),
            bytes: region.bytes.clone(),
            range: region.range,
            error: format!("at byte {}: {}", region.bytes.start, region.error),
            heads: region.heads,
            copy: None,
        });
        let torn = self.torn.map(|position| Finding::TornTail {
            path: path.clone(),
            position,
            from: self.end,
        });
        let repairs = self.repairs.told(self.entry.file_bytes);
        let repaired = repairs.into_iter().map(|what| Finding::Repaired {
            path: path.clone(),
            what,
        });
        damaged.chain(torn).chain(repaired).collect()
    }
}

impl Repairs {
    fn told(&self, file_bytes: u64) -> Vec<String> {
        let header = self.header.as_ref().map(|salvaged| {
            let error = &salvaged.1;
            format!("{error}; the header is made anew from the file's name and blocks")
        });
        let trailer = self.trailer.as_ref();
        let trailer = trailer
            .map(|error| format!("{error}; index and trailer are made anew from the blocks"));
        let len = self.len_found.map(|found| {
            format!(
                "the file has {found} bytes where {file_bytes} are due; it gets its length back"
            )
        });
        [header, trailer, len].into_iter().flatten().collect()
    }
}

/// Reads what the directory of a journal holds, and changes nothing. `cursors_end` is the
/// highest cursor any stream has in the journal; 0 when that is not known.
///
/// # Errors
/// When the disk cannot be read; damage is no error.
pub fn survey(files: &SegmentFiles, cursors_end: Offset) -> io::Result<Survey> {
    let mut directory = Directory::default();
    for name in files.disk.list(&files.dir)? {
        directory.take(files, &name)?;
    }
    let Directory {
        mut segments,
        aliens,
        unreadable,
        sequence_highest,
    } = directory;
    segments.sort_by_key(|segment| segment.entry.sequence);
    let floor = read_floor(files)?;
    trim_superseded(&mut segments);
    let durable_to = floor.state.map_or(Offset(0), |floor| floor.durable_to);
    let claims = Claims {
        unreadable,
        highest: cursors_end.max(durable_to),
    };
    let (missing, next) = judge(files, &mut segments, &claims, floor.state.as_ref())?;
    let below = floor.state.unwrap_or_default();
    // One that never got a block says where it was to go on, and the journal may go on further.
    let newest = segments.iter().rev().find(|segment| segment.blocks > 0);
    let chain = newest
        .or(segments.last())
        .map_or(below.chain, |last| last.chain);
    Ok(Survey {
        segments,
        aliens,
        missing,
        next,
        chain,
        sequence_next: (sequence_highest + 1).max(below.sequence_next),
        floor,
    })
}

fn read_floor(files: &SegmentFiles) -> io::Result<ReadFloor> {
    match Floor::read(files) {
        // A directory or the like in its place says nothing.
        Err(error) if is_of_one_file(&error) => Ok(ReadFloor::default()),
        read => read,
    }
}

/// True for errors that say something about one file, not about the disk.
pub(super) fn is_of_one_file(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotFound
            | io::ErrorKind::InvalidInput
    )
}

/// What a look through the directory gathers.
#[derive(Debug, Default)]
struct Directory {
    segments: Vec<Surveyed>,
    aliens: Vec<Alien>,
    /// Sequence and first offset of files of whose segment nothing is left but the name.
    unreadable: Vec<(u64, Offset)>,
    sequence_highest: u64,
}

impl Directory {
    fn take(&mut self, files: &SegmentFiles, name: &str) -> io::Result<()> {
        let path = files.dir.join(name);
        let Some((sequence, first)) = parse_file_name(name) else {
            if !is_own_name(name) {
                let error = "its name is not that of a segment".to_owned();
                let stays = FILE_SYSTEM_NAMES.contains(&name);
                self.aliens
                    .extend((!stays).then_some(Alien { path, error, stays }));
            }
            return Ok(());
        };
        self.sequence_highest = self.sequence_highest.max(sequence);
        match survey_segment(files, path.clone(), sequence, first) {
            Ok(Held::Segment(segment)) => self.segments.push(*segment),
            Ok(Held::Nothing { error, stays }) => {
                self.unreadable.push((sequence, first));
                self.aliens.push(Alien { path, error, stays });
            }
            Ok(Held::Alien { error }) => self.aliens.push(Alien {
                path,
                error,
                stays: false,
            }),
            Err(error) if is_of_one_file(&error) => {
                self.unreadable.push((sequence, first));
                let stays = error.kind() == io::ErrorKind::PermissionDenied;
                let error = error.to_string();
                self.aliens.push(Alien { path, error, stays });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// True for the files beside the segments that are the journal's own.
fn is_own_name(name: &str) -> bool {
    let spare =
        name.starts_with("spare-") && (name.ends_with(".spare") || name.ends_with(".making"));
    spare || name == floor::FILE || name.strip_suffix(".new") == Some(floor::FILE)
}

/// What a file with a segment's name turned out to be.
enum Held {
    Segment(Box<Surveyed>),
    /// It was the segment of that name, and nothing of it is left that can be read.
    Nothing {
        error: String,
        stays: bool,
    },
    /// It is a segment of something else.
    Alien {
        error: String,
    },
}

fn survey_segment(
    files: &SegmentFiles,
    path: PathBuf,
    sequence: u64,
    first: Offset,
) -> io::Result<Held> {
    let (mut scan, header) =
        SegmentScan::open_unknown(&*files.disk, &path, files.direct, files.journal)?;
    let (header, salvaged) = match header {
        Ok(header) => (header, None),
        // What a later version wrote is for a later version to read.
        Err(error @ FormatError::Version { .. }) => {
            let (error, stays) = (error.to_string(), true);
            return Ok(Held::Nothing { error, stays });
        }
        Err(error) => match scan.salvage(first)? {
            Some(segment) => (
                header_of(&mut scan, files, sequence, first, segment)?,
                Some(error),
            ),
            None => {
                let error = format!("{error}, and no block of it does");
                let stays = false;
                return Ok(Held::Nothing { error, stays });
            }
        },
    };
    if header.journal != files.journal || header.node != files.node {
        let error = "its header is of another journal or node".to_owned();
        return Ok(Held::Alien { error });
    }
    if header.sequence != sequence || header.first != first {
        let error = format!(
            "its header is that of segment {} from event {}: a copy under another name",
            header.sequence, header.first
        );
        return Ok(Held::Alien { error });
    }
    let len = scan.len_found();
    let mut segment = survey_blocks(&mut scan, path, &header)?;
    segment.repairs.len_found = (len != header.file_bytes).then_some(len);
    segment.repairs.header = salvaged.map(|error| Box::new((header, error)));
    Ok(Held::Segment(Box::new(segment)))
}

/// What the header page of a segment must have said.
fn header_of(
    scan: &mut SegmentScan,
    files: &SegmentFiles,
    sequence: u64,
    first: Offset,
    segment: SegmentId,
) -> io::Result<SegmentHeader> {
    let block = scan
        .block_at(SegmentScan::FIRST_POSITION, Some(first))?
        .ok();
    Ok(SegmentHeader {
        journal: files.journal,
        segment,
        node: files.node,
        sequence,
        first,
        // Of a file that was cut as well nothing says how long it was, but that it had room for
        // an index.
        file_bytes: scan.file_bytes().max(files.file_bytes),
        created: block
            .as_ref()
            .map_or(Timestamp::default(), |block| block.header.received_first),
        chain: block.map_or([0; 32], |block| block.header.chain),
    })
}

fn survey_blocks(
    scan: &mut SegmentScan,
    path: PathBuf,
    header: &SegmentHeader,
) -> io::Result<Surveyed> {
    let mut segment = Surveyed {
        entry: SegmentEntry {
            sequence: header.sequence,
            segment: header.segment,
            first: header.first,
            end: None,
            path,
            file_bytes: header.file_bytes,
            last_used: header.created,
        },
        end: header.first,
        chain_before: header.chain,
        chain: header.chain,
        vouched_to: Offset(0),
        blocks: 0,
        sealed: true,
        regions: Vec::new(),
        torn: None,
        blocks_end: SegmentScan::FIRST_POSITION,
        repairs: Repairs::default(),
        broken: None,
        trimmed: false,
        continued_from: None,
    };
    let whole = scan.file_bytes() >= header.file_bytes;
    let page = scan.trailer_page()?.filter(|_| whole);
    let error = match page.map(|page| (Trailer::decode(&page), page)) {
        Some((Ok(trailer), _)) => match scan.check_trailer(trailer) {
            Ok(trailer) if trailer.end >= header.first => {
                segment.end = trailer.end;
                segment.chain = trailer.chain;
                segment.blocks = trailer.entries;
                segment.blocks_end = trailer.blocks_end;
                segment.entry.last_used = trailer.received_last;
                return Ok(segment);
            }
            // A trailer of an earlier use of the file: this one was never sealed.
            Ok(_) | Err(FormatError::Segment { .. }) => None,
            Err(error) => Some(error),
        },
        Some((Err(error), page)) => Some(error).filter(|_| page.iter().any(|byte| *byte != 0)),
        None => None,
    };
    let walked = walk::walk(scan, header.first, header.chain, Offset(0), &mut |_| ())?;
    segment.repairs.trailer = match error {
        Some(error) => Some(error),
        None => lost_trailer(scan, &walked, header)?,
    };
    segment.sealed = false;
    segment.take(walked);
    Ok(segment)
}

/// Where the index of a sealed segment stands behind its blocks, and the trailer page is all
/// zeros, the trailer was lost: a segment that was never sealed has no index.
fn lost_trailer(
    scan: &mut SegmentScan,
    walked: &walk::Walked,
    header: &SegmentHeader,
) -> io::Result<Option<FormatError>> {
    let Ok(first) = scan.block_at(SegmentScan::FIRST_POSITION, Some(header.first))? else {
        return Ok(None);
    };
    let (entry, _) = format::encode_index(&[first.index_entry()]);
    let page = scan.page_at(walked.blocks_end)?;
    let begins_alike = page[..format::INDEX_ENTRY_BYTES] == entry[..format::INDEX_ENTRY_BYTES];
    Ok(begins_alike.then_some(FormatError::Magic {
        what: "segment trailer",
        found: [0; 4],
    }))
}

/// For offsets held twice the later segment wins: what an earlier one has of them is not
/// counted as its own, sound or not.
fn trim_superseded(segments: &mut [Surveyed]) {
    let mut first_behind = Offset(u64::MAX);
    let mut continued_from = None;
    for segment in segments.iter_mut().rev() {
        segment.continued_from = continued_from;
        if segment.end > first_behind {
            segment.end = first_behind.max(segment.entry.first);
            segment.trimmed = true;
            // What was cut off is the reason it was given up.
            segment.broken = None;
            let end = segment.end;
            segment.regions.retain_mut(|region| {
                region.range.end = region.range.end.min(end);
                !region.range.is_empty()
            });
        }
        // A later segment that never got a block supersedes nothing.
        if segment.blocks > 0 {
            first_behind = first_behind.min(segment.entry.first);
            continued_from = Some(segment.chain_before);
        }
    }
}

/// What says that events were durable, besides the blocks.
struct Claims {
    /// Segments are put to use at the durable end: their first offset is a claim, even when
    /// nothing but the name is left.
    unreadable: Vec<(u64, Offset)>,
    /// Of cursors, and of the floor: the end of the newest segment that was sealed.
    highest: Offset,
}

impl Claims {
    /// Up to where the end of a segment is claimed: by the next one's first offset, or by a
    /// cursor behind the last.
    fn on(&self, segment: &Surveyed, next: Option<&Surveyed>) -> Offset {
        let sequence = segment.entry.sequence;
        let lost = self.unreadable.iter().filter(|(of, _)| *of > sequence);
        let firsts = lost.map(|(of, first)| (*of, *first));
        let next = next.map(|next| (next.entry.sequence, next.entry.first));
        let nearest = firsts.chain(next).min_by_key(|(of, _)| *of);
        nearest.map_or(self.highest, |(_, first)| first)
    }

    fn end(&self) -> Offset {
        let lost = self.unreadable.iter().map(|(_, first)| *first);
        lost.max().unwrap_or_default().max(self.highest)
    }
}

/// Decides what the end of each segment means, and finds what is in none; also where the
/// journal goes on.
fn judge(
    files: &SegmentFiles,
    segments: &mut [Surveyed],
    claims: &Claims,
    floor: Option<&floor::FloorState>,
) -> io::Result<(Vec<OffsetRange>, Offset)> {
    let mut missing = Vec::new();
    let oldest = segments
        .first()
        .map_or(Offset(0), |first| first.entry.first);
    let mut end = floor.map_or(oldest, |floor| floor.removed_to);
    for at in 0..segments.len() {
        let (segment, behind) = segments[at..].split_first_mut().expect("`at` is within");
        let first = segment.entry.first;
        if first > end {
            missing.push(OffsetRange {
                first: end,
                end: first,
            });
        }
        let claimed = claims.on(segment, behind.first());
        if segment.broken.is_some() && claimed > segment.end.max(end) {
            // Its blocks alone did not say so: what is sound behind the break counts, too.
            let sequence_next = floor.map_or(0, |floor| floor.sequence_next);
            segment.walk_again(files, claimed, behind.first(), sequence_next)?;
        }
        segment.judge_end(claimed, end, behind.first());
        segment.entry.end = Some(segment.end);
        end = end.max(segment.end);
    }
    if claims.end() > end {
        missing.push(OffsetRange {
            first: end,
            end: claims.end(),
        });
        end = claims.end();
    }
    Ok((missing, end))
}

impl Surveyed {
    /// What a walk saw.
    fn take(&mut self, walked: walk::Walked) {
        self.end = walked.end;
        self.chain = walked.chain();
        self.blocks = walked.blocks;
        self.blocks_end = walked.blocks_end;
        self.entry.last_used = self.entry.last_used.max(walked.received_last);
        self.regions = walked.regions;
        self.broken = Some(walked.broken);
    }

    /// Walks the segment knowing that events up to `claimed` were durable, and believes what it
    /// finds when nothing can have taken the place of it: the next segment goes on from there,
    /// or no segment was put to use behind it. Otherwise it may be what a failed write left,
    /// stored again in a segment that is gone.
    fn walk_again(
        &mut self,
        files: &SegmentFiles,
        claimed: Offset,
        next: Option<&Self>,
        sequence_next: u64,
    ) -> io::Result<()> {
        let entry = &self.entry;
        let scan = SegmentScan::open(
            &*files.disk,
            &entry.path,
            files.direct,
            files.journal,
            entry.segment,
        )?;
        let mut scan = scan.within(entry.file_bytes);
        let (first, before) = (entry.first, self.chain_before);
        let walked = walk::walk(&mut scan, first, before, claimed, &mut |_| ())?;
        let goes_on = |next: &Self| {
            next.entry.first == claimed
                && walked.end == claimed
                && next.chain_before == walked.chain()
        };
        if next.map_or(sequence_next == entry.sequence + 1, goes_on) {
            self.vouched_to = claimed;
            self.take(walked);
        }
        Ok(())
    }

    /// What the end of the segment means, when events up to `claimed` were durable and those
    /// up to `held` are in the segments before: one without a block, put to use in vain, may
    /// begin where they do.
    fn judge_end(&mut self, claimed: Offset, held: Offset, next: Option<&Self>) {
        let Some(broken) = self.broken.take() else {
            return;
        };
        if claimed <= self.end.max(held) {
            self.torn = broken.is_torn().then_some(broken.position);
            return;
        }
        let behind = next.filter(|next| next.entry.first == claimed);
        let behind = behind.map(|next| next.chain_before);
        let page = DISK_PAGE_BYTES as u64;
        self.regions.push(Region {
            bytes: broken.position
                ..self
                    .entry
                    .file_bytes
                    .saturating_sub(page)
                    .max(broken.position),
            range: OffsetRange {
                first: self.end.max(held),
                end: claimed,
            },
            error: broken.error,
            heads: [Some(self.chain), behind],
        });
        self.end = claimed;
    }
}
