//! What must hold of any directory after one change, whatever was changed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use weir::journal::format::BlockHeader;
use weir::journal::recovery::Finding;
use weir::journal::scan::SegmentScan;
use weir::os::disk::Disk;
use weir::os::memory_disk::MemoryDisk;
use weir::position::Offset;

use crate::scene::{self, Files, JOURNALS, Journal, Started};

/// What the undamaged directory holds.
pub(crate) struct Truth {
    pub(crate) files: Files,
    pub(crate) node: [u8; 16],
    /// The journals, then the internal one.
    pub(crate) journals: Vec<JournalTruth>,
    /// Cursor of each stream in each journal.
    cursors: Vec<Vec<Offset>>,
}

/// What a journal holds.
pub(crate) struct JournalTruth {
    begin: Offset,
    end: Offset,
    /// Above every sequence in use.
    sequence_next: u64,
    pub(crate) blocks: Vec<BlockTruth>,
}

/// One block: where it lies, and its bytes without padding.
pub(crate) struct BlockTruth {
    pub(crate) path: PathBuf,
    pub(crate) position: usize,
    pub(crate) header: BlockHeader,
    pub(crate) content: Vec<u8>,
}

impl BlockTruth {
    fn events(&self) -> impl Iterator<Item = u64> + use<> {
        self.header.first.0..self.header.first.0 + u64::from(self.header.events)
    }

    /// Its bytes are no longer where they were.
    fn is_hit(&self, files: &Files) -> bool {
        let found = files.get(&self.path);
        let found = found.and_then(|file| file.get(self.position..));
        !found.is_some_and(|found| found.starts_with(&self.content))
    }
}

impl Truth {
    pub(crate) fn of(files: Files) -> Self {
        let disk = scene::disk_of(&files);
        let started = scene::start(&disk);
        assert!(started.told.lock().unwrap().is_empty(), "nothing to tell");
        let journals = started.journals.iter();
        let journals = journals.map(|journal| truth_of(&disk, journal)).collect();
        let cursors = started.cursors.iter();
        Self {
            files,
            node: started.identity.node,
            journals,
            cursors: cursors
                .map(|lanes| lanes.iter().map(|(state, _)| state.cursor).collect())
                .collect(),
        }
    }
}

fn truth_of(disk: &MemoryDisk, journal: &Journal) -> JournalTruth {
    let mut blocks = Vec::new();
    for entry in journal.catalog.list() {
        let id = journal.files.journal;
        let scan = SegmentScan::open(disk, &entry.path, true, id, entry.segment).unwrap();
        let (_, index) = scan
            .read_index()
            .unwrap()
            .expect("every segment is sealed now");
        let mut scan = scan;
        for line in index {
            let found = scan
                .block_at(line.position, Some(line.first))
                .unwrap()
                .unwrap();
            let content = found.block.image[..found.block.body.end].to_vec();
            blocks.push(BlockTruth {
                path: entry.path.clone(),
                position: usize::try_from(line.position).unwrap(),
                header: found.header,
                content,
            });
        }
    }
    JournalTruth {
        begin: journal.catalog.start().unwrap(),
        end: journal.start.next,
        sequence_next: journal.catalog.list().last().unwrap().sequence + 1,
        blocks,
    }
}

/// What became of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Nothing was lost and there was nothing to tell.
    Unhurt,
    /// Nothing was lost; what was damaged was told, and made anew or set aside.
    MadeAnew,
    /// Just the events whose bytes were hit are gone, and told.
    LostWhatWasHit,
}

/// Opens a changed directory three times and checks all that is promised.
pub(crate) fn judge(truth: &Truth, changed: &Files) -> (Outcome, Vec<Finding>) {
    let disk = scene::disk_of(changed);
    let mut lost_events = 0;
    let first = scene::start(&disk);
    let lost: Vec<BTreeSet<u64>> = check_journals(truth, changed, &first, 0);
    lost_events += lost.iter().map(BTreeSet::len).sum::<usize>();
    check_records(truth, &first);
    let known = first.told.lock().unwrap().len();
    check_journals(truth, changed, &first, 0);
    let now = first.told.lock().unwrap().len();
    assert_eq!(now, known, "what one reader told no other tells");
    let told = std::mem::take(&mut *first.told.lock().unwrap());
    check_told(truth, &disk, &lost);
    let cursors = cursors_of(&first);
    drop(first);

    let mut second = scene::start(&disk);
    let again = check_journals(truth, changed, &second, 0);
    assert_eq!(again, lost, "a second start loses nothing more");
    let news = std::mem::take(&mut *second.told.lock().unwrap());
    assert_eq!(news, Vec::new(), "a second start has nothing new to tell");
    assert_eq!(cursors_of(&second), cursors, "cursors stay");
    for journal in &mut second.journals[..usize::from(JOURNALS)] {
        scene::append(journal, &[(1_000, 10), (1_001, 10)]);
    }
    drop(second);

    let third = scene::start(&disk);
    let again = check_journals(truth, changed, &third, 20);
    assert_eq!(again, lost, "what is written after loses nothing more");
    let news = std::mem::take(&mut *third.told.lock().unwrap());
    assert_eq!(news, Vec::new(), "a third start has nothing new to tell");
    let outcome = match (lost_events, told.is_empty()) {
        (0, true) => Outcome::Unhurt,
        (0, false) => Outcome::MadeAnew,
        // That it is on record, and nothing else is, was looked at above.
        _ => Outcome::LostWhatWasHit,
    };
    (outcome, told)
}

fn cursors_of(started: &Started) -> Vec<Vec<Offset>> {
    let lanes = started.cursors.iter();
    lanes
        .map(|lanes| lanes.iter().map(|(state, _)| state.cursor).collect())
        .collect()
}

/// Everything not hit reads back byte for byte, and what was hit is a gap of just its events.
/// `written` events came after. Returns the lost events of each journal.
fn check_journals(
    truth: &Truth,
    changed: &Files,
    started: &Started,
    written: u64,
) -> Vec<BTreeSet<u64>> {
    assert_eq!(started.identity.node, truth.node, "the node keeps its id");
    assert_eq!(started.identity.journals, JOURNALS);
    let mut all_lost = Vec::new();
    for (journal, truth) in started.journals.iter().zip(&truth.journals) {
        let is_internal = journal.files.journal == weir::position::JournalId::INTERNAL;
        let written = if is_internal { 0 } else { written };
        assert_eq!(journal.start.next, Offset(truth.end.0 + written));
        if !is_internal && written == 0 {
            assert!(
                journal.start.sequence >= truth.sequence_next,
                "no sequence twice"
            );
        }
        let (blocks, gaps) = scene::read_all(journal, truth.begin);
        let gone: BTreeSet<u64> = gaps.iter().flat_map(|gap| gap.first.0..gap.end.0).collect();
        let hit = truth.blocks.iter().filter(|block| block.is_hit(changed));
        let hit: BTreeSet<u64> = hit.flat_map(BlockTruth::events).collect();
        assert_eq!(gone, hit, "just the events that were hit are gone");
        let mut blocks = blocks.iter();
        for block in &truth.blocks {
            if block.header.events > 0 && !block.is_hit(changed) {
                let read = blocks.next().unwrap();
                assert_eq!(&read.image[..read.body.end], &block.content[..]);
            }
        }
        let rest: u64 = blocks.map(|block| u64::from(block.events)).sum();
        assert_eq!(rest, written, "what came after is there, and nothing else");
        if !is_internal && hit.is_empty() && written == 0 {
            assert!(!journal.totals.is_empty(), "the input counters go on");
        }
        all_lost.push(gone);
    }
    all_lost
}

/// A cursor never goes ahead of where it was, and its counts balance.
fn check_records(truth: &Truth, started: &Started) {
    for (lanes, known) in started.cursors.iter().zip(&truth.cursors) {
        for ((state, _), known) in lanes.iter().zip(known) {
            assert!(state.balances(), "{state:?}");
            assert!(state.cursor <= *known, "a cursor never jumps ahead");
        }
    }
}

/// The quarantine's records name just the events that are lost.
fn check_told(truth: &Truth, disk: &MemoryDisk, lost: &[BTreeSet<u64>]) {
    let dir = PathBuf::from(scene::DATA).join("quarantine");
    let mut recorded = vec![BTreeSet::new(); truth.journals.len()];
    for name in disk.list(&dir).unwrap_or_default() {
        if !name.ends_with(".json") {
            continue;
        }
        let record: serde_json::Value =
            serde_json::from_slice(&scene::read(disk, &dir.join(&name))).unwrap();
        let journal = match record["journal"].as_str().unwrap() {
            "internal" => usize::from(JOURNALS),
            number => number.parse().unwrap(),
        };
        let [from, to] = [0, 1].map(|at| record["events"][at].as_u64().unwrap());
        recorded[journal].extend(from..to);
        if record["copied"] == true {
            let bytes = [0, 1].map(|at| record["bytes"][at].as_u64().unwrap());
            let copy = scene::read(disk, &dir.join(name.replace(".json", ".bytes")));
            assert!(!copy.is_empty() && copy.len() as u64 <= bytes[1] - bytes[0]);
        }
    }
    assert_eq!(recorded, lost, "just what is lost is on record");
}
