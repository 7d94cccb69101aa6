//! The hash chain: whether a journal is, block for block, the one that was written.
//!
//! Every block has in its header the SHA-256 of the block before, every segment in its header
//! that of the block before its first, every trailer that of its last. [`verify`] follows the
//! links from the oldest block held to the newest and names each place where they part.
//!
//! Checksums protect against a disk, the chain against someone who can write: whoever alters a
//! block and puts its checksum right is found by the next link. Whoever writes all later links
//! anew, or alters the very last block, is found only by an **anchor**: a head of the chain that
//! was kept elsewhere. Appending is what a journal is for, and no chain tells who did it.
//!
//! Where a segment was given up after a failed write, its blocks from the next one's first
//! offset on are superseded: they are passed over, as recovery does. What is explained by a
//! [`Record`] is told apart from what is not.

use std::io;
use std::path::PathBuf;

use crate::journal::format::{self, ChainHash};
use crate::journal::inspect::anchor::{Anchor, AnchorOutcome, Anchors};
use crate::journal::inspect::inventory::{self, ForeignFile, SegmentFile};
use crate::journal::inspect::walk::{Hole, Step, Walk};
use crate::journal::inspect::{JournalPlace, Progress};
use crate::journal::scan::{ScannedBlock, SegmentScan};
use crate::limits::DISK_PAGE_BYTES;
use crate::position::{Offset, OffsetRange};

/// Breaks kept with their details; more are only counted.
const BREAKS_KEPT_MAX: usize = 100;

/// Times the list of segments is read, at most, to keep up with a live node.
const ROUNDS_MAX: u32 = 16;

/// The newest end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// One past the last event.
    pub offset: Offset,
    /// Chain hash of the last block.
    pub hash: ChainHash,
}

/// What someone did to a journal and wrote down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which kind.
    pub kind: RecordKind,
    /// The events concerned.
    pub range: OffsetRange,
    /// Chain hash of the block before the range, where it is known.
    pub before: Option<ChainHash>,
    /// Chain hash that the block behind the range has as its link, where it is known: that of
    /// the last block of the range.
    pub after: Option<ChainHash>,
}

/// Kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// Segments below the end of the range were taken: their time was over, or room ran out.
    Retention,
    /// Blocks that do not hold were set aside.
    Quarantine,
    /// A repair took blocks out or put something right.
    Repair,
}

/// What the chain of a journal came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Where the chain held begins.
    pub start: Start,
    /// Where it ends; `None` for a journal without a segment.
    pub head: Option<Head>,
    /// Segments gone through.
    pub segments: u64,
    /// Blocks whose link holds, or that begin a stretch of the chain.
    pub blocks: u64,
    /// Their events.
    pub events: u64,
    /// Bytes they take in the files, padding included.
    pub stored_bytes: u64,
    /// Bytes of their raw forms.
    pub raw_bytes: u64,
    /// Blocks passed over because a later segment has their offsets.
    pub superseded: u64,
    /// Segments that retention took while they were read.
    pub taken_meanwhile: u64,
    /// Where the chain does not hold, the oldest first; at most 100.
    pub breaks: Vec<Break>,
    /// How many breaks there are.
    pub breaks_total: u64,
    /// What is missing, but recorded.
    pub explained: Vec<Record>,
    /// The anchors asked for, in their order.
    pub anchors: Vec<(Anchor, AnchorOutcome)>,
}

/// How far the start of what is held is vouched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Nothing is held.
    Empty,
    /// With the first block that ever was.
    Beginning,
    /// Where retention wrote down that it took what came before.
    Recorded(Head),
    /// With the oldest segment there is: only its own header says what came before.
    NotAnchored(Head),
}

/// A place where the chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// What happened, as far as it can be told.
    pub kind: BreakKind,
    /// The file.
    pub path: PathBuf,
    /// Where in the file.
    pub position: u64,
    /// Events concerned; empty when it is no event's.
    pub range: OffsetRange,
    /// What does not hold.
    pub why: String,
}

/// Kinds of breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakKind {
    /// A block, header or trailer is not as it was written.
    Altered,
    /// A block stands where none was written.
    Inserted,
    /// Blocks are gone.
    Removed,
}

impl Verified {
    /// True when the chain holds, and every anchor that can be checked does.
    #[must_use]
    pub fn holds(&self) -> bool {
        let anchors_hold = self.anchors.iter().all(|(_, outcome)| match outcome {
            AnchorOutcome::Holds | AnchorOutcome::BelowStart | AnchorOutcome::Recorded => true,
            AnchorOutcome::Differs | AnchorOutcome::NoBlockEnds | AnchorOutcome::BehindEnd => false,
        });
        self.breaks_total == 0 && anchors_hold
    }
}

impl std::fmt::Display for BreakKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Altered => "altered",
            Self::Inserted => "inserted",
            Self::Removed => "removed without a record",
        })
    }
}

/// Reads the records of a journal, as they are now.
pub type ReadRecords<'a> = &'a dyn Fn() -> io::Result<Vec<Record>>;

/// Follows the chain of a journal from the oldest segment to the newest block. `records` reads
/// what is known to be missing; a live node may add to it while the chain is followed.
///
/// # Errors
/// When the disk cannot be read; what does not hold is no error but a [`Break`].
pub fn verify(
    place: &JournalPlace,
    records: ReadRecords<'_>,
    anchors: &[Anchor],
    progress: Progress<'_>,
) -> io::Result<Verified> {
    let mut chain = Chain::new(place, records, anchors);
    let mut followed = 0;
    for round in 1.. {
        let found = inventory::inventory_behind(place, followed)?;
        let segments = with_blocks(place, found.segments)?;
        let last_round = segments.len() <= 1 || round == ROUNDS_MAX;
        // The newest is left for later until no other came behind it: a live node goes on to
        // the next segment while the chain is followed, and what it says of this one counts.
        let now = segments.len() - usize::from(!last_round);
        for (at, segment) in segments[..now].iter().enumerate() {
            for foreign in found
                .foreign
                .iter()
                .filter(|foreign| foreign.is_between(followed, segment.header.sequence))
            {
                chain.unreadable_segment(foreign);
            }
            followed = segment.header.sequence;
            chain.follow(segment, segments.get(at + 1), progress)?;
        }
        if last_round {
            for foreign in found
                .foreign
                .iter()
                .filter(|foreign| foreign.is_between(followed, u64::MAX))
            {
                chain.unreadable_segment(foreign);
            }
            break;
        }
    }
    Ok(chain.finish(anchors))
}

/// Segments without a block are no part of the chain; a start removes them.
fn with_blocks(place: &JournalPlace, found: Vec<SegmentFile>) -> io::Result<Vec<SegmentFile>> {
    let mut segments = Vec::new();
    for segment in found {
        match segment.has_blocks(place) {
            Ok(false) => {}
            Ok(true) => segments.push(segment),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(segments)
}

/// The end of what was followed so far.
#[derive(Debug, Clone)]
struct Link {
    end: Offset,
    hash: ChainHash,
    /// Link of the block itself: the hash of the one before it. `None` for what a segment's
    /// header says.
    before: Option<ChainHash>,
    /// The block, or the header that says so.
    path: PathBuf,
    position: u64,
    range: OffsetRange,
    /// What the walk ended at, when blocks were due there.
    hole: Option<(PathBuf, Hole)>,
}

/// Counts that go back with a link when what follows it turns out superseded.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    blocks: u64,
    events: u64,
    stored_bytes: u64,
    raw_bytes: u64,
    superseded: u64,
}

struct Chain<'a> {
    place: &'a JournalPlace,
    records: ReadRecords<'a>,
    /// As read last.
    recorded: Vec<Record>,
    /// `None` before the first segment, and behind one that cannot be followed.
    head: Option<Link>,
    anchors: Anchors,
    counts: Counts,
    verified: Verified,
}

impl<'a> Chain<'a> {
    fn new(place: &'a JournalPlace, records: ReadRecords<'a>, anchors: &[Anchor]) -> Self {
        Self {
            place,
            records,
            recorded: Vec::new(),
            head: None,
            anchors: Anchors::new(anchors),
            counts: Counts::default(),
            verified: Verified {
                start: Start::Empty,
                head: None,
                segments: 0,
                blocks: 0,
                events: 0,
                stored_bytes: 0,
                raw_bytes: 0,
                superseded: 0,
                taken_meanwhile: 0,
                breaks: Vec::new(),
                breaks_total: 0,
                explained: Vec::new(),
                anchors: Vec::new(),
            },
        }
    }

    /// Follows one segment; `next` is the one behind it.
    fn follow(
        &mut self,
        segment: &SegmentFile,
        next: Option<&SegmentFile>,
        progress: Progress<'_>,
    ) -> io::Result<()> {
        let (head, breaks) = (self.head.clone(), self.verified.breaks_total);
        let followed = self.follow_in_place(segment, next, progress);
        let doubtful = match &followed {
            Ok(()) => self.verified.breaks_total > breaks,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if !doubtful || segment.in_place(self.place)? {
            return followed;
        }
        // The file is not that segment any more: what was read of it says nothing.
        self.verified.breaks_total = breaks;
        let kept = usize::try_from(breaks).unwrap_or(usize::MAX);
        self.verified.breaks.truncate(kept);
        let oldest = inventory::oldest_sequence(self.place)?;
        if oldest.is_none_or(|oldest| oldest > segment.header.sequence) {
            self.verified.taken_meanwhile += 1;
            self.head = None;
        } else {
            // Older ones are still there: retention does not take from the middle.
            self.head = head;
        }
        Ok(())
    }

    fn follow_in_place(
        &mut self,
        segment: &SegmentFile,
        next: Option<&SegmentFile>,
        progress: Progress<'_>,
    ) -> io::Result<()> {
        self.enter(segment)?;
        let next = next.map(|next| &next.header);
        let mut walk = Walk::open(self.place, segment, next.map(|next| next.first))?;
        let mut cut = None;
        let mut hole: Option<(PathBuf, Hole)> = None;
        loop {
            if let Some(next) = next
                && let Some(head) = &self.head
                && (head.end, head.hash) == (next.first, next.chain)
            {
                cut = Some((head.clone(), self.counts));
            }
            match walk.step()? {
                Step::Block(scanned) => {
                    let range = scanned.block.range();
                    progress(scanned.header.stored_bytes() as u64);
                    if next.is_some_and(|next| range.end > next.first) {
                        self.counts.superseded += 1;
                    } else {
                        self.link(segment, &scanned, hole.take());
                    }
                }
                Step::Hole(found) => hole = Some((segment.path.clone(), found)),
                Step::End { .. } => break,
            }
        }
        self.leave(segment, next.map(|next| next.chain), hole);
        // Blocks that carry only counters can stand behind the last durable one, too.
        if let Some((head, counts)) = cut
            && self.head.as_ref().is_some_and(|now| now.hash != head.hash)
        {
            let superseded = self.counts.blocks - counts.blocks + self.counts.superseded;
            self.head = Some(head);
            self.counts = counts;
            self.counts.superseded = superseded;
        }
        self.verified.segments += 1;
        Ok(())
    }

    /// Holds a segment's header against the end of the chain so far.
    fn enter(&mut self, segment: &SegmentFile) -> io::Result<()> {
        let header = &segment.header;
        let Some(head) = self.head.take() else {
            // Read after the list of segments was: retention writes down what it takes before
            // it takes it.
            self.recorded = (self.records)()?;
            self.start(segment);
            self.head = Some(Link::of_header(segment));
            return Ok(());
        };
        // A header that was made anew says nothing of the chain when its first block was gone.
        let unknown = header.chain == [0; 32] && header.first > Offset(0);
        if header.first == head.end && (unknown || header.chain == head.hash) {
            self.head = Some(head);
            return Ok(());
        }
        // The header may be what does not fit, and not what stands before it.
        let fits = |block: &ScannedBlock| {
            (block.header.first, block.header.chain) == (head.end, head.hash)
        };
        if segment.first_block(self.place)?.is_some_and(|b| fits(&b)) {
            let why = "its first block continues the chain, and the header says otherwise";
            self.broken(BreakKind::Altered, Spot::header(segment), why.to_owned());
            self.head = Some(head);
            return Ok(());
        }
        let (first, link) = (header.first, header.chain);
        self.tell(&head, first, link, Spot::header(segment), head.hole.clone());
        self.head = Some(Link::of_header(segment));
        Ok(())
    }

    /// The oldest segment held: what vouches for its header?
    fn start(&mut self, segment: &SegmentFile) {
        let header = &segment.header;
        let head = Head {
            offset: header.first,
            hash: header.chain,
        };
        self.anchors.saw(head);
        let retention = self.recorded.iter();
        let recorded = retention
            .filter(|record| record.kind == RecordKind::Retention)
            .max_by_key(|record| record.range.end)
            .cloned();
        self.anchors.expect(None);
        if let Some(record) = &recorded {
            self.hold_against_floor(segment, record);
        }
        let start = match recorded {
            _ if header.first == Offset(0) && header.chain == [0; 32] => Start::Beginning,
            None => Start::NotAnchored(head),
            Some(_) => Start::Recorded(head),
        };
        if self.verified.segments == 0 {
            self.verified.start = start;
        }
    }

    /// Holds the oldest segment against what retention wrote down when it took those before.
    fn hold_against_floor(&mut self, segment: &SegmentFile, record: &Record) {
        let header = &segment.header;
        let (floor, spot) = (record.range.end, Spot::header(segment));
        if header.first > floor {
            let range = OffsetRange {
                first: floor,
                end: header.first,
            };
            let why = format!(
                "events {range} are below the oldest segment, and retention recorded only those below {floor}"
            );
            self.broken(BreakKind::Removed, Spot { range, ..spot }, why);
            return;
        }
        let Some(hash) = record.after else { return };
        if header.first < floor {
            // Retention wrote down what it meant to take, and has not taken it yet.
            let offset = floor;
            self.anchors.expect(Some(Head { offset, hash }));
        } else if hash != header.chain {
            let why = "it is not the link that retention recorded when it took what came before";
            self.broken(BreakKind::Altered, spot, why.to_owned());
        }
    }

    /// Takes a block as the next link.
    fn link(
        &mut self,
        segment: &SegmentFile,
        scanned: &ScannedBlock,
        hole: Option<(PathBuf, Hole)>,
    ) {
        let header = &scanned.header;
        let spot = Spot {
            path: segment.path.clone(),
            position: header.position,
            range: scanned.block.range(),
        };
        if let Some(head) = self.head.take()
            && (hole.is_some() || (header.first, header.chain) != (head.end, head.hash))
        {
            self.tell(&head, header.first, header.chain, spot.clone(), hole);
        }
        let hash = format::chain_hash(&scanned.block);
        self.counts.blocks += 1;
        self.counts.events += u64::from(header.events);
        self.counts.stored_bytes += header.stored_bytes() as u64;
        self.counts.raw_bytes += u64::from(header.raw_len);
        self.anchors.saw(Head {
            offset: spot.range.end,
            hash,
        });
        self.head = Some(Link {
            end: spot.range.end,
            hash,
            before: Some(header.chain),
            path: spot.path,
            position: spot.position,
            range: spot.range,
            hole: None,
        });
    }

    /// Holds the end of a segment against its trailer.
    fn leave(
        &mut self,
        segment: &SegmentFile,
        next_link: Option<ChainHash>,
        hole: Option<(PathBuf, Hole)>,
    ) {
        let Some(head) = &mut self.head else { return };
        head.hole = hole;
        let Ok(seal) = &segment.seal else {
            return;
        };
        if (seal.end, seal.chain) == (head.end, head.hash) {
            return;
        }
        let trailer = Spot {
            path: segment.path.clone(),
            position: segment.file_bytes.saturating_sub(DISK_PAGE_BYTES as u64),
            range: OffsetRange {
                first: head.end,
                end: head.end,
            },
        };
        match next_link {
            Some(link) if link == head.hash => {
                let why =
                    "the trailer names another last block than the next segment does".to_owned();
                self.broken(BreakKind::Altered, trailer, why);
            }
            // The next segment's header tells it.
            Some(_) => {}
            None => {
                let (head, end, link) = (head.clone(), seal.end, seal.chain);
                self.tell(&head, end, link, trailer, head.hole.clone());
            }
        }
    }

    /// A file with a segment's name whose header does not hold.
    fn unreadable_segment(&mut self, foreign: &ForeignFile) {
        let Some((_, first)) = foreign.named else {
            return;
        };
        let spot = Spot {
            path: foreign.path.clone(),
            position: 0,
            range: OffsetRange { first, end: first },
        };
        let why = format!("the segment's header does not hold: {}", foreign.why);
        self.broken(BreakKind::Altered, spot, why);
    }

    /// Tells what lies between the end of the chain and a link that does not continue it,
    /// unless a record explains it. `first` and `link` are what is written at `spot`.
    fn tell(
        &mut self,
        head: &Link,
        first: Offset,
        link: ChainHash,
        spot: Spot,
        hole: Option<(PathBuf, Hole)>,
    ) {
        let missing = OffsetRange {
            first: head.end,
            end: first,
        };
        if let Some(record) = self.explanation(head, missing, link) {
            self.verified.explained.push(record);
            return;
        }
        let at_head = Spot {
            path: head.path.clone(),
            position: head.position,
            range: head.range,
        };
        if let Some((path, hole)) = hole {
            let why = format!(
                "no sound block stands here, though one is due: {}",
                hole.error
            );
            self.broken(
                hole.kind(),
                Spot {
                    path,
                    position: hole.position,
                    range: missing,
                },
                why,
            );
        } else if !missing.is_empty() {
            let why = format!(
                "offset {} is due here, and {first} comes: the blocks between are gone",
                head.end
            );
            self.broken(
                BreakKind::Removed,
                Spot {
                    range: missing,
                    ..spot
                },
                why,
            );
        } else if head.before == Some(link) {
            let why = format!(
                "what follows at byte {} of {} was written behind the block before this one",
                spot.position,
                spot.path.display()
            );
            self.broken(BreakKind::Inserted, at_head, why);
        } else if first < head.end {
            let why = format!("it begins with offset {first}, and {} is due", head.end);
            self.broken(BreakKind::Inserted, spot, why);
        } else {
            let why = format!(
                "its hash is {}, and what follows at byte {} of {} was written behind a block of hash {}",
                Hash(&head.hash),
                spot.position,
                spot.path.display(),
                Hash(&link),
            );
            self.broken(BreakKind::Altered, at_head, why);
        }
    }

    /// The record that explains why `missing` is not there.
    fn explanation(&self, head: &Link, missing: OffsetRange, link: ChainHash) -> Option<Record> {
        let explains = |record: &&Record| {
            record.kind != RecordKind::Retention
                && record.range.first <= missing.first
                && record.range.end >= missing.end
                && record.before.is_none_or(|before| before == head.hash)
                && record.after.is_none_or(|after| after == link)
        };
        self.recorded.iter().find(explains).cloned()
    }

    fn broken(&mut self, kind: BreakKind, spot: Spot, why: String) {
        self.verified.breaks_total += 1;
        if self.verified.breaks.len() < BREAKS_KEPT_MAX {
            let Spot {
                path,
                position,
                range,
            } = spot;
            self.verified.breaks.push(Break {
                kind,
                path,
                position,
                range,
                why,
            });
        }
    }

    fn finish(mut self, anchors: &[Anchor]) -> Verified {
        let head = self.head.as_ref().map(|head| Head {
            offset: head.end,
            hash: head.hash,
        });
        let start = match self.verified.start {
            Start::Empty | Start::Beginning => None,
            Start::Recorded(head) | Start::NotAnchored(head) => Some(head.offset),
        };
        let end = head.map(|head| head.offset);
        if let Some(unmet) = self.anchors.unmet_expectation(end) {
            let (path, position) = (self.place.dir.clone(), 0);
            let range = OffsetRange {
                first: unmet.offset,
                end: unmet.offset,
            };
            let why = format!(
                "no block that ends at offset {} has the hash that retention recorded, {}",
                unmet.offset,
                Hash(&unmet.hash)
            );
            self.broken(
                BreakKind::Altered,
                Spot {
                    path,
                    position,
                    range,
                },
                why,
            );
        }
        let explained: Vec<_> = self
            .verified
            .explained
            .iter()
            .map(|record| record.range)
            .collect();
        let outcomes = self.anchors.outcomes(start, end, &explained);
        Verified {
            head,
            blocks: self.counts.blocks,
            events: self.counts.events,
            stored_bytes: self.counts.stored_bytes,
            raw_bytes: self.counts.raw_bytes,
            superseded: self.counts.superseded,
            anchors: anchors.iter().copied().zip(outcomes).collect(),
            ..self.verified
        }
    }
}

/// A place in a file and the events there.
#[derive(Debug, Clone)]
struct Spot {
    path: PathBuf,
    position: u64,
    range: OffsetRange,
}

impl Spot {
    fn header(segment: &SegmentFile) -> Self {
        let first = segment.header.first;
        Self {
            path: segment.path.clone(),
            position: 0,
            range: OffsetRange { first, end: first },
        }
    }
}

impl Link {
    /// What a segment's header says of the block before its first.
    fn of_header(segment: &SegmentFile) -> Self {
        let Spot {
            path,
            position,
            range,
        } = Spot::header(segment);
        Self {
            end: segment.header.first,
            hash: segment.header.chain,
            before: None,
            path,
            position,
            range,
            hole: None,
        }
    }
}

impl Hole {
    fn kind(&self) -> BreakKind {
        if self.is_void() {
            BreakKind::Removed
        } else {
            BreakKind::Altered
        }
    }
}

impl SegmentFile {
    /// The block behind the header, when it is sound.
    fn first_block(&self, place: &JournalPlace) -> io::Result<Option<ScannedBlock>> {
        let mut scan = self.scan(place)?;
        Ok(scan.block_at(SegmentScan::FIRST_POSITION, None)?.ok())
    }
}

/// A chain hash in hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub struct Hash<'a>(pub &'a ChainHash);

impl std::fmt::Display for Hash<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
