//! The internal journal as its thread drives it: records come in, are made durable in
//! batches, and their writers are told.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use weir::block::codec::Inflater;
use weir::journal::internal::{InternalJournal, InternalRequest, RecordKind};
use weir::journal::reader::{ReadNext, Reader};
use weir::journal::recovery::Finding;
use weir::journal::segments::SegmentFiles;
use weir::os::clock::FakeClock;
use weir::os::disk::Disk as _;
use weir::os::memory_disk::MemoryDisk;
use weir::position::{JournalId, Offset};

use crate::mutations::Mutation;
use crate::oracle::InternalOracle;
use crate::promise::promise;

const NO_ANSWER: u8 = 0;
const DURABLE: u8 = 1;
const FAILED: u8 = 2;

/// Records on their way, and who wrote them.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) writer: Writer,
    /// JSON lines, each ended by `\n`.
    pub(crate) lines: Vec<u8>,
}

/// Who waits for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    /// A journal's shard, with its ticket.
    Shard { journal: usize, ticket: u64 },
    /// A lane that is about to give something up.
    Lane { stream: usize, journal: usize },
    /// Somebody who told what he did.
    Audit,
}

#[derive(Debug)]
pub(crate) struct InternalShell {
    journal: InternalJournal,
    disk: MemoryDisk,
    dir: PathBuf,
    direct: bool,
    queue: VecDeque<Records>,
    mutation: Option<Mutation>,
}

impl InternalShell {
    pub(crate) fn open(
        disk: &MemoryDisk,
        clock: &FakeClock,
        (file_bytes, direct): (u64, bool),
        oracle: &InternalOracle,
        mutation: Option<Mutation>,
    ) -> io::Result<Self> {
        let gone = |finding: &Finding| match finding {
            Finding::TornTail { .. } | Finding::Repaired { .. } => true,
            // A segment whose renaming was not durable may be back, before ones used since.
            Finding::Missing { range, .. } => range.end.0 <= oracle.overwritten_to,
            Finding::Damaged { .. }
            | Finding::Alien { .. }
            | Finding::Cursor { .. }
            | Finding::NodeFile { .. } => false,
        };
        let files = SegmentFiles {
            disk: Arc::new(disk.clone()),
            dir: PathBuf::from("/d/journal/internal"),
            journal: JournalId::INTERNAL,
            node: [7; 16],
            file_bytes,
            direct,
        };
        let dir = files.dir.clone();
        let clock = Arc::new(clock.clone());
        let (journal, findings) = InternalJournal::open(files, Offset(0), clock, Arc::default())?;
        assert!(findings.iter().all(gone), "{findings:?}");
        let shell = Self {
            journal,
            disk: disk.clone(),
            dir,
            direct,
            queue: VecDeque::new(),
            mutation,
        };
        shell.check(oracle)?;
        Ok(shell)
    }

    /// Records to be made durable with the next batch, or a later one.
    pub(crate) fn hand_over(&mut self, records: Records) {
        self.queue.push_back(records);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Makes up to `requests` of what waits durable; gives each with what its writer heard.
    pub(crate) fn store(
        &mut self,
        requests: usize,
        oracle: &mut InternalOracle,
    ) -> Vec<(Records, bool)> {
        let batch = Vec::from_iter(self.queue.drain(..requests.min(self.queue.len())));
        if batch.is_empty() {
            return Vec::new();
        }
        let answers = Vec::from_iter(batch.iter().map(|_| Arc::new(AtomicU8::new(NO_ANSWER))));
        let asked = batch.iter().zip(&answers).map(|(records, answer)| {
            let answer = Arc::clone(answer);
            InternalRequest {
                kind: RecordKind::Reject,
                lines: records.lines.clone(),
                count: u32::try_from(lines_of(&records.lines).len()).expect("few lines"),
                answer: Box::new(move |durable| {
                    let told = if durable { DURABLE } else { FAILED };
                    assert_eq!(answer.swap(told, Ordering::Relaxed), NO_ANSWER, "once");
                }),
            }
        });
        if self.mutation == Some(Mutation::RecordsAnsweredUnwritten) {
            asked.for_each(|request| (request.answer)(true));
        } else {
            self.journal.store(RecordKind::Reject, asked.collect());
        }
        self.note_overwritten(oracle);
        let answers = answers.iter().map(|answer| answer.load(Ordering::Relaxed));
        let answers = Vec::from_iter(answers);
        assert!(!answers.contains(&NO_ANSWER), "every request is answered");
        if answers.iter().all(|answer| *answer == DURABLE) {
            let lines = batch.iter().flat_map(|records| lines_of(&records.lines));
            let end = self.journal.tail().durable_end().0;
            oracle.answered(&Vec::from_iter(lines), end);
        }
        let answers = answers.into_iter().map(|answer| answer == DURABLE);
        batch.into_iter().zip(answers).collect()
    }

    /// An orderly stop; what was not durable yet is tried once more.
    pub(crate) fn close(&mut self, oracle: &mut InternalOracle) {
        self.journal.close();
        self.note_overwritten(oracle);
    }

    /// The oldest records are overwritten when there is no other room, and only then.
    fn note_overwritten(&self, oracle: &mut InternalOracle) {
        let kept_from = self.journal.catalog().start().unwrap_or_default().0;
        if kept_from > oracle.overwritten_to {
            oracle.overwritten_to = kept_from;
            let names = self.disk.list(&self.dir).unwrap_or_default();
            let spares = names.iter().filter(|name| name.ends_with(".spare"));
            promise!(
                "S6",
                names.is_empty() || spares.count() <= 1,
                "records below {kept_from} are overwritten while there is room: {names:?}"
            );
        }
    }

    /// Everything answered as durable is there, unless it was overwritten.
    pub(crate) fn check(&self, oracle: &InternalOracle) -> io::Result<()> {
        let (catalog, tail) = (self.journal.catalog(), self.journal.tail());
        let first = catalog.start().unwrap_or(tail.durable_end());
        let (catalog, tail) = (Arc::clone(catalog), Arc::clone(tail));
        let disk = Arc::new(self.disk.clone());
        let mut reader = Reader::new(JournalId::INTERNAL, disk, self.direct, catalog, tail);
        let (mut offset, mut lines) = (first, Vec::new());
        let mut first = first;
        loop {
            match reader.next(offset)? {
                ReadNext::Block(block) => {
                    let mut raw = Vec::new();
                    let raw_len = block.raw_len as usize;
                    Inflater::new()
                        .read_body(block.codec, &block.body(), raw_len, &mut raw)
                        .expect("a sound block inflates");
                    lines.extend(lines_of(&raw));
                    offset = block.range().end;
                    assert_eq!(Offset(first.0 + lines.len() as u64), offset);
                }
                ReadNext::Gap { range, why } => {
                    promise!(
                        "S6",
                        range.end.0 <= oracle.overwritten_to,
                        "records {range} are gone: {why:?}"
                    );
                    offset = range.end;
                    lines.clear();
                    first = offset;
                }
                ReadNext::End => break,
            }
        }
        oracle.holds(first.0, &lines);
        Ok(())
    }
}

fn lines_of(lines: &[u8]) -> Vec<Vec<u8>> {
    let lines = lines.split_inclusive(|byte| *byte == b'\n');
    lines.map(<[u8]>::to_vec).collect()
}
