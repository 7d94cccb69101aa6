//! Holding every byte of a journal against the rules of its format.
//!
//! Every block's checksum, place, offset and metadata; with `deep` its events, inflated and
//! counted; index and trailer against the blocks; offsets from segment to segment; cursor
//! records against the journal. Each [`Finding`] says where, what stands there, which rule it
//! breaks, and what to do. The chain is `chain`'s matter.
//!
//! What a start puts right by itself (a torn tail, a segment that is not sealed) is no finding.

use std::io;
use std::path::{Path, PathBuf};

use crate::block::codec::Inflater;
use crate::block::metadata::Metadata;
use crate::journal::floor::Floor;
use crate::journal::format::{FormatError, IndexEntry};
use crate::journal::inspect::cursors::{Cursors, FoundCursor};
use crate::journal::inspect::inventory::{self, SegmentFile};
use crate::journal::inspect::walk::{Step, Walk};
use crate::journal::inspect::{JournalPlace, Progress};
use crate::journal::scan::ScannedBlock;
use crate::position::{JournalId, Offset, OffsetRange};

/// Findings kept with their details; more are only counted.
const FINDINGS_KEPT_MAX: usize = 1_000;

/// What to do about damage that a start treats.
const REPAIR: &str = "whoever reads it sets it aside and goes on behind it: a stream, or where the segment is not \
     sealed weir journal repair and the next start; look at the disk";

/// What to do about an index that does not fit.
const REINDEX: &str = "whoever needs it makes it anew: a stream, or where the trailer does not hold weir journal \
     repair and the next start; look at the disk";

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file or directory.
    pub path: PathBuf,
    /// Where in the file.
    pub position: Option<u64>,
    /// Events concerned.
    pub range: Option<OffsetRange>,
    /// What stands there.
    pub value: String,
    /// The rule it breaks.
    pub rule: String,
    /// What to do.
    pub advice: String,
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Segments gone through.
    pub segments: u64,
    /// Sound blocks.
    pub blocks: u64,
    /// Their events.
    pub events: u64,
    /// Bytes they take in the files.
    pub stored_bytes: u64,
    /// First offset held, and one past the last; both the floor without a segment.
    pub held: OffsetRange,
    /// What is not as it should be; at most 1,000.
    pub findings: Vec<Finding>,
    /// How many findings there are.
    pub findings_total: u64,
}

impl Default for Checked {
    fn default() -> Self {
        Self {
            segments: 0,
            blocks: 0,
            events: 0,
            stored_bytes: 0,
            held: OffsetRange {
                first: Offset(0),
                end: Offset(0),
            },
            findings: Vec::new(),
            findings_total: 0,
        }
    }
}

impl Checked {
    /// Adds a finding.
    pub fn find(&mut self, finding: Finding) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_KEPT_MAX {
            self.findings.push(finding);
        }
    }
}

/// Checks a journal. `deep` inflates every block, too.
///
/// # Errors
/// When the disk cannot be read.
pub fn check(place: &JournalPlace, deep: bool, progress: Progress<'_>) -> io::Result<Checked> {
    let found = inventory::inventory(place)?;
    let mut checked = Checked::default();
    for foreign in found.foreign {
        let (rule, advice) = match foreign.named {
            Some(_) => ("a segment's first page is its header", REPAIR),
            None => (
                "a journal's directory holds segments and spares",
                "move it away, if you know what it is; the next start moves it to the quarantine",
            ),
        };
        checked.find(Finding {
            path: foreign.path,
            position: foreign.named.map(|_| 0),
            range: None,
            value: foreign.why,
            rule: rule.to_owned(),
            advice: advice.to_owned(),
        });
    }
    let mut segments = Vec::new();
    for segment in found.segments {
        match segment.has_blocks(place) {
            Ok(true) => segments.push(segment),
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    // Read after the list was made: retention raises it before it takes a segment.
    let floor = Floor::read(&place.files())?
        .state
        .map(|floor| floor.removed_to);
    let first = segments.first().map(|oldest| oldest.header.first);
    let mut end = floor
        .filter(|floor| Some(*floor) < first)
        .or(first)
        .or(floor);
    for (at, segment) in segments.iter().enumerate() {
        let next = segments.get(at + 1).map(|next| next.header.first);
        let mut one = SegmentCheck::new(segment, next, deep);
        let gone_through = one.go_through(place, progress);
        if gone_through.is_err() || one.checked.findings_total > 0 {
            // What was read of a file that the node took meanwhile says nothing.
            if !segment.in_place(place)? {
                end = next.max(end);
                continue;
            }
        }
        gone_through?;
        if let Some(end) = end.filter(|end| *end < segment.header.first) {
            checked.find(missing(segment, end));
        }
        end = end.max(Some(one.end));
        checked.add(one.checked);
    }
    let end = end.unwrap_or_default();
    let first = first.unwrap_or(end);
    checked.held = OffsetRange { first, end };
    Ok(checked)
}

/// Checks the cursor records of one journal. A live node moves on: `before` were read before
/// the journal was, which is never behind them; `after` afterwards, so that what retention took
/// meanwhile is behind them.
pub fn check_cursors(before: &Cursors, after: &Cursors, journal: JournalId, checked: &mut Checked) {
    let held = checked.held;
    for record in after
        .records
        .iter()
        .filter(|record| record.journal == journal)
    {
        let then = before.records.iter().find(|then| then.path == record.path);
        let then = then.and_then(|then| Some(then.state.as_ref()?.cursor));
        for finding in cursor_findings(record, then, held) {
            checked.find(finding);
        }
    }
}

fn cursor_findings(record: &FoundCursor, then: Option<Offset>, held: OffsetRange) -> Vec<Finding> {
    let finding = |value, rule, advice| of_cursor(record, value, rule, advice);
    let mut findings = Vec::new();
    if let Some(damage) = &record.damage {
        let advice = match record.state {
            Some(_) => "the other page counts: a batch may be sent again, under its identity",
            None => {
                "the stream begins with the oldest event held at the next start, and may send again what was delivered"
            }
        };
        findings.push(finding(
            damage.clone(),
            "both pages of a cursor record hold",
            advice,
        ));
    }
    let Some(state) = &record.state else {
        return findings;
    };
    if !state.balances() {
        let counted = state.counts.settled();
        let passed = state.cursor.events_since(state.start);
        let value = format!("{passed} events are passed and {counted} are counted");
        let advice = "report it with the log: the stream's ledger does not add up";
        findings.push(finding(
            value,
            "cursor - start equals the sum of all counts",
            advice,
        ));
    }
    let then = then.unwrap_or(state.cursor);
    findings.extend(bounds_findings(record, [then, state.cursor], held));
    findings
}

fn of_cursor(record: &FoundCursor, value: String, rule: &str, advice: &str) -> Finding {
    Finding {
        path: record.path.clone(),
        position: None,
        range: None,
        value,
        rule: rule.to_owned(),
        advice: advice.to_owned(),
    }
}

/// A cursor against what its journal holds.
fn bounds_findings(
    record: &FoundCursor,
    [then, cursor]: [Offset; 2],
    held: OffsetRange,
) -> Vec<Finding> {
    let finding = |value, rule, advice| of_cursor(record, value, rule, advice);
    let mut findings = Vec::new();
    if then > held.end {
        let missing = OffsetRange {
            first: held.end,
            end: then,
        };
        let value = format!("cursor {then}, and the journal ends at {}", held.end);
        let advice = "the journal lost its end; the next start goes on at the cursor, so that no offset is used twice";
        let found = finding(value, "no cursor is behind the end of its journal", advice);
        findings.push(Finding {
            range: Some(missing),
            ..found
        });
    }
    if cursor < held.first {
        let lost = OffsetRange {
            first: cursor,
            end: held.first,
        };
        let value = format!("cursor {cursor}, and the journal begins at {}", held.first);
        let advice = "a stream that is in the configuration counts them as discarded (missing); if it is not wanted any more, remove its cursor files";
        let found = finding(
            value,
            "no event is taken before every stream has it",
            advice,
        );
        findings.push(Finding {
            range: Some(lost),
            ..found
        });
    }
    findings
}

fn missing(segment: &SegmentFile, end: Offset) -> Finding {
    Finding {
        path: segment.path.clone(),
        position: None,
        range: Some(OffsetRange { first: end, end: segment.header.first }),
        value: format!("the segment begins at {}, the one before ends at {end}", segment.header.first),
        rule: "a segment begins where the one before ends".to_owned(),
        advice: "a file is gone or was cut: bring it back if you have it; streams count these events as discarded".to_owned(),
    }
}

/// The check of one segment.
struct SegmentCheck<'a> {
    segment: &'a SegmentFile,
    /// First offset of the segment behind.
    next: Option<Offset>,
    deep: bool,
    end: Offset,
    blocks_seen: usize,
    raw_bytes: u64,
    inflater: Inflater,
    raw: Vec<u8>,
    checked: Checked,
}

impl<'a> SegmentCheck<'a> {
    fn new(segment: &'a SegmentFile, next: Option<Offset>, deep: bool) -> Self {
        Self {
            segment,
            next,
            deep,
            end: segment.header.first,
            blocks_seen: 0,
            raw_bytes: 0,
            inflater: Inflater::new(),
            raw: Vec::new(),
            checked: Checked {
                segments: 1,
                ..Checked::default()
            },
        }
    }

    fn go_through(&mut self, place: &JournalPlace, progress: Progress<'_>) -> io::Result<()> {
        self.check_length();
        let index = self.check_seal(place)?;
        let mut walk = Walk::open(place, self.segment, self.next)?;
        loop {
            match walk.step()? {
                Step::Block(scanned) => {
                    progress(scanned.header.stored_bytes() as u64);
                    self.block(&scanned, index.as_deref());
                }
                Step::Hole(hole) => {
                    let value = hole.error.to_string();
                    self.find(
                        hole.position,
                        None,
                        value,
                        "a sound block stands wherever one is due",
                        REPAIR,
                    );
                    // The index entries of what is gone are passed over with it.
                    self.blocks_seen = match (&index, hole.resumes) {
                        (Some(index), Some(at)) => {
                            index.partition_point(|entry| entry.position < at)
                        }
                        _ => self.blocks_seen,
                    };
                }
                Step::End { .. } => {
                    self.check_trailer(index.as_deref());
                    return Ok(());
                }
            }
        }
    }

    fn check_length(&mut self) {
        let (is, made) = (self.segment.file_bytes, self.segment.header.file_bytes);
        if is != made {
            let value = format!("{is} bytes, and it was made with {made}");
            self.find(
                is.min(made),
                None,
                value,
                "a segment keeps its length",
                REPAIR,
            );
        }
    }

    /// The index of a sealed segment. A trailer that was never written is no finding.
    fn check_seal(&mut self, place: &JournalPlace) -> io::Result<Option<Vec<IndexEntry>>> {
        let error = match self.segment.scan(place)?.read_index()? {
            Ok((_, index)) => return Ok(Some(index)),
            Err(error) => error,
        };
        let never_written = matches!(error, FormatError::Segment { .. })
            || matches!(error, FormatError::Magic { found, .. } if found == [0; 4]);
        // A node may be sealing it at this moment.
        let is_older = self.next.is_some();
        if !never_written && (is_older || self.segment.seal.is_ok()) {
            let at = self
                .segment
                .file_bytes
                .saturating_sub(crate::limits::DISK_PAGE_BYTES as u64);
            self.find(
                at,
                None,
                error.to_string(),
                "a sealed segment's trailer and index hold",
                REINDEX,
            );
        }
        Ok(None)
    }

    fn block(&mut self, scanned: &ScannedBlock, index: Option<&[IndexEntry]>) {
        let (header, range) = (&scanned.header, scanned.block.range());
        let at = header.position;
        if self.next.is_some_and(|next| range.end > next) {
            // Superseded; its events are the next segment's.
            self.blocks_seen += 1;
            return;
        }
        if range.first != self.end {
            let value = format!(
                "the block begins with offset {}, and {} is due",
                range.first, self.end
            );
            self.find(
                at,
                Some(range),
                value,
                "blocks follow one another without gap",
                REPAIR,
            );
        }
        if header.received_first > header.received_last {
            let value = "its earliest receive time is behind its latest".to_owned();
            self.find(
                at,
                Some(range),
                value,
                "receive times of a block are a range",
                REPAIR,
            );
        }
        if let Some(index) = index
            && index.get(self.blocks_seen) != Some(&scanned.index_entry())
        {
            let value = format!("entry {} of the index says otherwise", self.blocks_seen);
            self.find(
                at,
                Some(range),
                value,
                "the index has one entry for each block",
                REINDEX,
            );
        }
        self.content(scanned);
        self.blocks_seen += 1;
        self.raw_bytes += u64::from(header.raw_len);
        self.end = range.end;
        self.checked.blocks += 1;
        self.checked.events += range.events();
        self.checked.stored_bytes += header.stored_bytes() as u64;
    }

    /// Metadata of a block and, if asked for, its events.
    fn content(&mut self, scanned: &ScannedBlock) {
        let (block, at) = (&scanned.block, scanned.header.position);
        let range = Some(block.range());
        match Metadata::decode(&block.image[block.metadata.clone()], &mut self.inflater) {
            Err(error) => {
                self.find(
                    at,
                    range,
                    error.to_string(),
                    "a block's metadata reads",
                    REPAIR,
                );
            }
            Ok(metadata) => {
                let labelled: u64 = metadata.runs.iter().map(|run| u64::from(run.events)).sum();
                if labelled != 0 && labelled != u64::from(block.events) {
                    let value = format!(
                        "{labelled} events have labels, {} are in the block",
                        block.events
                    );
                    self.find(
                        at,
                        range,
                        value,
                        "labels add up to the events of a block",
                        REPAIR,
                    );
                }
            }
        }
        if self.deep {
            self.events_of(scanned);
        }
    }

    /// The events of a block, inflated.
    fn events_of(&mut self, scanned: &ScannedBlock) {
        let (block, at) = (&scanned.block, scanned.header.position);
        let range = Some(block.range());
        self.raw.clear();
        let read = self.inflater.read_body(
            block.codec,
            &block.body(),
            block.raw_len as usize,
            &mut self.raw,
        );
        if let Err(error) = read {
            self.find(
                at,
                range,
                error.to_string(),
                "a block's body inflates to its raw length",
                REPAIR,
            );
            return;
        }
        let crc = crate::block::raw_crc32(&self.raw);
        if crc != block.raw_crc32 {
            let value = format!(
                "the events give {crc:08x}, the header says {:08x}",
                block.raw_crc32
            );
            self.find(
                at,
                range,
                value,
                "the checksum of a block's events holds",
                REPAIR,
            );
        }
        let lines = memchr::memchr_iter(b'\n', &self.raw).count() as u64;
        if lines != u64::from(block.events) {
            let value = format!("{lines} lines, and the header says {} events", block.events);
            self.find(
                at,
                range,
                value,
                "a block has one line for each event",
                REPAIR,
            );
        }
    }

    fn check_trailer(&mut self, index: Option<&[IndexEntry]>) {
        let (Ok(trailer), Some(index)) = (&self.segment.seal, index) else {
            return;
        };
        let trailer_at = self
            .segment
            .file_bytes
            .saturating_sub(crate::limits::DISK_PAGE_BYTES as u64);
        let rule = "a trailer sums up the blocks of its segment";
        if index.len() != self.blocks_seen {
            let value = format!(
                "the index has {} entries for {} blocks",
                index.len(),
                self.blocks_seen
            );
            self.find(trailer_at, None, value, rule, REINDEX);
        } else if (trailer.end, trailer.raw_bytes) != (self.end, self.raw_bytes)
            && self.checked.findings_total == 0
        {
            let value = format!(
                "it says end {} and {} raw bytes, the blocks say {} and {}",
                trailer.end, trailer.raw_bytes, self.end, self.raw_bytes
            );
            self.find(trailer_at, None, value, rule, REINDEX);
        }
    }

    fn find(
        &mut self,
        position: u64,
        range: Option<OffsetRange>,
        value: String,
        rule: &str,
        advice: &str,
    ) {
        self.checked.find(Finding {
            path: self.segment.path.clone(),
            position: Some(position),
            range,
            value,
            rule: rule.to_owned(),
            advice: advice.to_owned(),
        });
    }
}

impl Checked {
    /// Takes in what a part of the check came to.
    fn add(&mut self, part: Self) {
        self.segments += part.segments;
        self.blocks += part.blocks;
        self.events += part.events;
        self.stored_bytes += part.stored_bytes;
        let more = part.findings_total - part.findings.len() as u64;
        part.findings
            .into_iter()
            .for_each(|finding| self.find(finding));
        self.findings_total += more;
    }
}

/// A file that stands where none of its kind belongs.
#[must_use]
pub fn foreign_file(path: &Path, rule: &str) -> Finding {
    Finding {
        path: path.to_owned(),
        position: None,
        range: None,
        value: "a file of another name".to_owned(),
        rule: rule.to_owned(),
        advice: "move it away, if you know what it is; the next start moves it to the quarantine"
            .to_owned(),
    }
}
