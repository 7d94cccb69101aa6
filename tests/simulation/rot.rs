//! What happens to bytes at rest: bits flip, pages turn to zeros, files go. Each hit tells
//! the oracle which events it may cost; all others have to be delivered.
//!
//! Only what something else vouches for is hit: at the very end of a journal rot and a torn
//! write look the same, and a record both of whose slots are gone begins the stream anew.

use std::path::Path;

use weir::journal::scan::{ScannedBlock, SegmentScan};
use weir::journal::segments::{Catalog, SegmentEntry};
use weir::journal::writer::SegmentEnd;
use weir::limits::DISK_PAGE_BYTES;
use weir::position::{Offset, OffsetRange};

use crate::run::{Run, journal_id, record_path};

const PAGE: u64 = DISK_PAGE_BYTES as u64;

/// Something of a journal, or of a cursor record in it, goes bad.
pub(crate) fn strike(run: &mut Run, journal: usize) {
    match run.random.below(10) {
        0..3 => block(run, journal),
        3 => segment_header(run, journal),
        4 => segment_file(run, journal),
        5 | 6 => index(run, journal),
        7 => spare(run, journal),
        8 => slot(run, journal),
        _ => record(run, journal),
    }
}

/// Events of a segment that it alone has: up to where the next one begins.
fn events_of(entry: &SegmentEntry, segments: &[SegmentEntry]) -> OffsetRange {
    let later = segments
        .iter()
        .find(|later| later.sequence > entry.sequence);
    let end = later.map_or(entry.end, |later| Some(later.first));
    OffsetRange {
        first: entry.first,
        end: end.unwrap_or(entry.first),
    }
}

/// The segments, and of them the ones that a later sound segment with blocks vouches for.
fn vouched(run: &Run, journal: usize) -> (Vec<SegmentEntry>, Vec<SegmentEntry>) {
    let Some(node) = &run.node else {
        return (Vec::new(), Vec::new());
    };
    let segments = node.journals[journal].catalog.list();
    let hit = &run.oracle.journals[journal].hit;
    let vouches = |entry: &&SegmentEntry| {
        let empty = entry.end.is_none_or(|end| end <= entry.first);
        !empty && !hit.contains(&entry.sequence)
    };
    let last = segments.iter().rev().find(vouches);
    let last = last.map_or(0, |entry| entry.sequence);
    let vouched = segments.iter().filter(|entry| entry.sequence < last);
    (segments.clone(), vouched.cloned().collect())
}

/// The sound blocks of a segment up to the first that is not; `None` when it cannot be read now.
fn blocks_of(run: &Run, journal: usize, entry: &SegmentEntry) -> Option<Vec<ScannedBlock>> {
    let (id, segment) = (journal_id(journal), entry.segment);
    let mut blocks = Vec::new();
    let mut scan = SegmentScan::open(&run.disk, &entry.path, false, id, segment).ok()?;
    let mut position = SegmentScan::FIRST_POSITION;
    while let Ok(block) = scan.block_at(position, None).ok()? {
        position = block.next_position();
        blocks.push(block);
    }
    Some(blocks)
}

/// Flips a bit, or zeros the page, at `byte` of a file.
fn spoil(run: &mut Run, path: &Path, byte: u64) -> bool {
    if run.random.percent(30) {
        let page = byte / PAGE * PAGE;
        run.disk.wipe(path, page..page + PAGE).is_ok()
    } else {
        let bit = u8::try_from(run.random.below(8)).expect("a bit");
        run.disk.flip(path, byte, bit).is_ok()
    }
}

/// A part of a block. Within the last segments only while nothing else is hit: then a block
/// behind it says that it was durable.
fn block(run: &mut Run, journal: usize) {
    let (segments, vouched) = vouched(run, journal);
    if segments.is_empty() {
        return;
    }
    let entry = segments[run.random.index(segments.len())].clone();
    let alone = run.oracle.journals[journal].damaged.is_empty();
    let is_vouched = vouched.contains(&entry);
    let blocks = blocks_of(run, journal, &entry).unwrap_or_default();
    let fresh = !run.oracle.journals[journal].hit.contains(&entry.sequence);
    if blocks.is_empty() || !(alone || is_vouched) || !fresh {
        return;
    }
    let at = run.random.index(blocks.len());
    let hit = &blocks[at].header;
    let durable_end = run.oracle.journals[journal].end();
    // What a failed write left can be read, and is gone after a crash.
    let durable =
        |block: &&ScannedBlock| block.block.events > 0 && block.block.range().end.0 <= durable_end;
    let mut behind = blocks[at + 1..].iter().filter(durable);
    let is_last = blocks[at + 1..].is_empty() && is_vouched;
    let claimed = is_last || behind.any(|block| block.header.durable_end > hit.first);
    let byte = hit.position + run.random.below(hit.stored_bytes() as u64);
    let lost = OffsetRange {
        first: hit.first,
        end: hit.first.plus(u64::from(hit.events)),
    };
    if claimed && spoil(run, &entry.path, byte) {
        hits(run, journal, &entry, lost);
        run.trace
            .note(format!("rot: block {lost} of {journal} at {byte}"));
    }
}

fn segment_header(run: &mut Run, journal: usize) {
    let (segments, vouched) = vouched(run, journal);
    if vouched.is_empty() {
        return;
    }
    let entry = vouched[run.random.index(vouched.len())].clone();
    let lost = events_of(&entry, &segments);
    let byte = run.random.below(112);
    if spoil(run, &entry.path, byte) {
        hits(run, journal, &entry, lost);
        run.oracle.journals[journal].headless = true;
        run.trace
            .note(format!("rot: the header of {lost} of {journal}"));
    }
}

fn segment_file(run: &mut Run, journal: usize) {
    let (segments, vouched) = vouched(run, journal);
    if vouched.is_empty() {
        return;
    }
    let entry = vouched[run.random.index(vouched.len())].clone();
    let lost = events_of(&entry, &segments);
    if run.disk.lose(&entry.path).is_ok() {
        hits(run, journal, &entry, lost);
        run.trace
            .note(format!("rot: the file of {lost} of {journal} is gone"));
    }
}

/// Index or trailer of a sealed segment: nothing is lost by it.
fn index(run: &mut Run, journal: usize) {
    let (_, vouched) = vouched(run, journal);
    if vouched.is_empty() {
        return;
    }
    let entry = vouched[run.random.index(vouched.len())].clone();
    let Some(blocks) = blocks_of(run, journal, &entry) else {
        return;
    };
    let end = blocks
        .last()
        .map_or(SegmentScan::FIRST_POSITION, ScannedBlock::next_position);
    // Behind a hit block it cannot be told where the index is.
    let hit = run.oracle.journals[journal].hit.contains(&entry.sequence);
    let byte = match run.random.below(2) {
        0 if !hit => end + run.random.below(40),
        _ => entry.file_bytes - PAGE + run.random.below(104),
    };
    if spoil(run, &entry.path, byte) {
        run.trace
            .note(format!("rot: the index of {} of {journal}", entry.first));
    }
}

/// A file that waits to become a segment has nothing that could be lost.
fn spare(run: &mut Run, journal: usize) {
    let Some(node) = &run.node else { return };
    let Some(path) = node.keeper.a_spare(journal) else {
        return;
    };
    if run.random.percent(50) {
        let byte = run.random.below(2 * PAGE);
        spoil(run, &path, byte);
    } else {
        drop(run.disk.lose(&path));
    }
    run.trace.note(format!("rot: a spare of {journal}"));
}

/// A slot of a cursor record, while the node is down: the other one counts.
fn slot(run: &mut Run, journal: usize) {
    let stream = run.random.index(run.shape.streams);
    let Some(node) = &run.node else { return };
    // A write that failed may have torn the other slot.
    if node.lanes[stream][journal].written < 2 || run.sync_failed {
        return;
    }
    run.lose_power();
    let byte = run.random.below(2 * PAGE);
    if spoil(run, &record_path(stream, journal), byte) {
        run.oracle.lanes[stream][journal].slot_lost();
        run.trace.note(format!(
            "rot: byte {byte} of the record of {stream} in {journal}"
        ));
    }
    run.start();
}

/// Both slots of a cursor record: the stream begins anew, which loses nothing.
fn record(run: &mut Run, journal: usize) {
    let stream = run.random.index(run.shape.streams);
    let oracle = &run.oracle.journals[journal];
    let Some(node) = &run.node else { return };
    // What is let go of or hit is none of a stream that begins anew.
    let whole = oracle.damaged.is_empty() && oracle.retained_from == 0;
    if node.lanes[stream][journal].written < 2 || !whole || run.random.percent(50) {
        return;
    }
    run.lose_power();
    let path = record_path(stream, journal);
    for slot in 0..2 {
        let byte = slot * PAGE + run.random.below(40);
        if run.disk.flip(&path, byte, 3).is_err() {
            // The node died while it made the record.
            run.start();
            return;
        }
    }
    run.oracle.lanes[stream][journal].record_lost();
    run.trace
        .note(format!("rot: the record of {stream} in {journal}"));
    run.start();
}

fn hits(run: &mut Run, journal: usize, entry: &SegmentEntry, lost: OffsetRange) {
    let oracle = &mut run.oracle.journals[journal];
    oracle.hit.insert(entry.sequence);
    oracle.damaged.push(lost);
}

/// Mutation: a start cuts the last block of a journal though it was durable.
pub(crate) fn cut_last_block(run: &Run, journal: usize, catalog: &Catalog, next: &mut Offset) {
    for entry in catalog.list().iter().rev() {
        let blocks = blocks_of(run, journal, entry).unwrap_or_default();
        if let Some(last) = blocks.last() {
            *next = last.block.first;
            catalog.close(&SegmentEnd {
                sequence: entry.sequence,
                end: *next,
                received_last: entry.last_used,
            });
            return;
        }
    }
}
