//! The internal journal: audit events and records of rejected lines. Dead letters have files of
//! their own ([`letters`](crate::journal::letters)), because this one overwrites its oldest.
//!
//! The same code and files as any journal, written by one thread of its own, with segments
//! made in advance: a reserve that a full disk cannot take away. It is bounded: when its
//! last segment is full, the oldest is used again and what was in it is counted as gone.
//!
//! A block holds records of one [`RecordKind`]. Its metadata says which: one run of labels whose
//! input is a number that no input is given.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::Receiver;

use crate::block::Block;
use crate::block::codec::{Codec, CompressionLevel, Inflater, best_codec};
use crate::block::metadata::Metadata;
use crate::event::{InputId, LabelRun, Labels};
use crate::journal::recovery::{Finding, recover};
use crate::journal::segments::{Catalog, SegmentFiles, file_name, spare_number_highest};
use crate::journal::tail::Tail;
use crate::journal::writer::{ClosedBlock, GroupWrite, SegmentOrder, Writer, WriterAction};
use crate::os::buffers::AlignedBuffer;
use crate::os::clock::Clock;
use crate::position::Offset;

/// Segments the internal journal has, all made before it takes its first record. Many and small:
/// every start begins a new one, and a node that starts again and again is not to overwrite what
/// it told before.
pub const INTERNAL_SEGMENTS: usize = 24;

/// Requests answered together at most.
const BATCH_REQUESTS_MAX: usize = 64;

/// Bytes of records behind which no further request is answered with them.
const BATCH_BYTES_MAX: usize = 512 * 1024;

/// Bytes of records in a block, unless one alone is longer: far less than a segment holds.
const BLOCK_BYTES_MAX: usize = 256 * 1024;

/// Compressed bytes kept in memory.
const TAIL_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one durable write.
const WRITE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of records that could not be written which are kept for the next try.
const UNWRITTEN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKind {
    /// An audit event. One that is answered `false` is not kept: who told it tells it again.
    AuditEvent,
    /// A rejected line. One that is answered `false` is kept for the next try: its sender may
    /// not send it again.
    Reject,
}

impl RecordKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::AuditEvent, Self::Reject];

    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuditEvent => "audit",
            Self::Reject => "reject",
        }
    }

    /// The kind of the records in a block of the internal journal; `None` when it does not say.
    #[must_use]
    pub fn of_block(block: &Block, inflater: &mut Inflater) -> Option<Self> {
        let bytes = &block.image[block.metadata.clone()];
        let metadata = Metadata::decode(bytes, inflater).ok()?;
        let input = metadata.runs.first()?.labels.input;
        Self::ALL.into_iter().find(|kind| kind.input() == input)
    }

    /// The number that stands for the kind in a block's labels.
    const fn input(self) -> InputId {
        match self {
            Self::AuditEvent => InputId::AUDIT_EVENTS,
            Self::Reject => InputId::REJECT_RECORDS,
        }
    }
}

/// Records to be made durable together.
pub struct InternalRequest {
    /// What they are.
    pub kind: RecordKind,
    /// JSON lines, each ended by `\n`.
    pub lines: Vec<u8>,
    /// How many.
    pub count: u32,
    /// Told whether they are durable.
    pub answer: Box<dyn FnOnce(bool) + Send>,
}

impl std::fmt::Debug for InternalRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "InternalRequest({:?}, {} records)",
            self.kind, self.count
        )
    }
}

/// What the internal journal counts, for metrics.
#[derive(Debug, Default)]
pub struct InternalCounters {
    /// Audit events made durable since start.
    pub audit_events: AtomicU64,
    /// Records of rejected lines made durable since start.
    pub reject_records: AtomicU64,
    /// Bytes of both, with line ends.
    pub bytes: AtomicU64,
    /// Records that could not be made durable.
    pub failed: AtomicU64,
    /// The last batch could not be made durable.
    pub failing: AtomicBool,
    /// Events overwritten because the journal was full.
    pub overwritten: AtomicU64,
}

impl InternalCounters {
    /// Records of a kind made durable since start.
    #[must_use]
    pub fn records(&self, kind: RecordKind) -> &AtomicU64 {
        match kind {
            RecordKind::AuditEvent => &self.audit_events,
            RecordKind::Reject => &self.reject_records,
        }
    }
}

/// The internal journal, opened.
#[derive(Debug)]
pub struct InternalJournal {
    files: SegmentFiles,
    writer: Writer,
    catalog: Arc<Catalog>,
    tail: Arc<Tail>,
    spares: VecDeque<PathBuf>,
    spare_number: u64,
    /// A file has a new name that may not be durable.
    renamed: bool,
    codec: Box<dyn Codec>,
    clock: Arc<dyn Clock>,
    counters: Arc<InternalCounters>,
}

impl InternalJournal {
    /// Recovers the journal in `files.dir` and makes its reserve. `cursors_end` is the highest
    /// cursor any stream has in it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn open(
        files: SegmentFiles,
        cursors_end: Offset,
        clock: Arc<dyn Clock>,
        counters: Arc<InternalCounters>,
    ) -> io::Result<(Self, Vec<Finding>)> {
        let catalog = Arc::new(Catalog::default());
        let recovered = recover(&files, &catalog, cursors_end)?;
        let mut spares: VecDeque<_> = files.find_spares()?.into();
        let mut spare_number = spare_number_highest(&spares);
        while catalog.list().len() + spares.len() < INTERNAL_SEGMENTS {
            spare_number += 1;
            spares.push_back(files.make_spare(spare_number, &AtomicBool::new(true))?);
        }
        let journal = Self {
            tail: Arc::new(Tail::new(TAIL_BYTES_MAX, recovered.start.next)),
            writer: Writer::new(recovered.start, WRITE_BYTES_MAX),
            codec: best_codec(CompressionLevel::FASTEST),
            files,
            catalog,
            spares,
            spare_number,
            renamed: false,
            clock,
            counters,
        };
        Ok((journal, recovered.findings))
    }

    /// Its tail, for readers.
    #[must_use]
    pub fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    /// Its segments, for readers.
    #[must_use]
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Makes records durable until all senders are gone, then seals what it wrote.
    pub fn run(mut self, requests: &Receiver<InternalRequest>) {
        let mut next = requests.recv().ok();
        while let Some(first) = next.take() {
            let kind = first.kind;
            let mut bytes = first.lines.len();
            let mut batch = vec![first];
            while batch.len() < BATCH_REQUESTS_MAX && bytes < BATCH_BYTES_MAX {
                match requests.try_recv() {
                    Ok(request) if request.kind == kind => {
                        bytes += request.lines.len();
                        batch.push(request);
                    }
                    // A block holds records of one kind: this one begins the next.
                    Ok(request) => {
                        next = Some(request);
                        break;
                    }
                    Err(_) => break,
                }
            }
            self.store(kind, batch);
            next = next.or_else(|| requests.recv().ok());
        }
        self.close();
    }

    /// Ends and seals the segment in use, for an orderly stop.
    pub fn close(&mut self) {
        self.writer.close();
        if let Err(error) = self.work() {
            tracing::warn!(%error, "seal the internal journal");
        }
    }

    /// Makes a batch of records of one kind durable, counts it and answers for each request.
    pub fn store(&mut self, kind: RecordKind, batch: Vec<InternalRequest>) {
        let count = batch.iter().map(|request| u64::from(request.count)).sum();
        let bytes: usize = batch.iter().map(|request| request.lines.len()).sum();
        let durable = match self.append(kind, &batch) {
            Ok(()) => {
                let counters = &self.counters;
                counters.records(kind).fetch_add(count, Ordering::Relaxed);
                counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                true
            }
            Err(error) => {
                tracing::error!(%error, "write the internal journal");
                self.counters.failed.fetch_add(count, Ordering::Relaxed);
                false
            }
        };
        self.counters.failing.store(!durable, Ordering::Relaxed);
        for request in batch {
            (request.answer)(durable);
        }
    }

    /// Appends a batch, in blocks that fit a segment, and returns when it is durable.
    ///
    /// # Errors
    /// When the disk refuses twice: once in the segment in use, once in a fresh one. What
    /// becomes of the records then is said at [`RecordKind`].
    fn append(&mut self, kind: RecordKind, batch: &[InternalRequest]) -> io::Result<()> {
        let raw: Vec<u8> = batch
            .iter()
            .flat_map(|request| &request.lines)
            .copied()
            .collect();
        let file_bytes = usize::try_from(self.files.file_bytes).unwrap_or(usize::MAX);
        let block_bytes_max = BLOCK_BYTES_MAX.min(file_bytes / 4);
        let mut blocks = 0;
        let mut rest = &raw[..];
        while !rest.is_empty() {
            let (lines, behind) = rest.split_at(block_end(rest, block_bytes_max));
            let block = self.block_of(kind, lines)?;
            self.writer.append(block);
            blocks += 1;
            rest = behind;
        }
        let worked = self.work();
        let full = self.writer.pending_bytes() > UNWRITTEN_BYTES_MAX;
        if worked.is_err() && (kind == RecordKind::AuditEvent || full) {
            for _block in 0..blocks {
                self.writer.withdraw_last();
            }
        }
        worked
    }

    fn block_of(&mut self, kind: RecordKind, lines: &[u8]) -> io::Result<ClosedBlock> {
        let mut body = Vec::new();
        self.codec
            .compress_run(lines, &mut body)
            .map_err(io::Error::other)?;
        let events = memchr::memchr_iter(b'\n', lines).count();
        let events = u32::try_from(events).map_err(io::Error::other)?;
        let received = self.clock.now().wall;
        let labels = Arc::new(Labels::of_input(kind.input()));
        let said = Metadata {
            runs: vec![LabelRun {
                events,
                labels,
                received,
            }],
            ..Metadata::default()
        };
        let mut metadata = Vec::new();
        said.encode(&mut *self.codec, &mut metadata)
            .map_err(io::Error::other)?;
        Ok(ClosedBlock {
            codec: self.codec.id(),
            events,
            raw_len: u32::try_from(lines.len()).map_err(io::Error::other)?,
            raw_crc32: crate::block::raw_crc32(lines),
            metadata: metadata.into(),
            body: body.into(),
            received_first: received,
            received_last: received,
            verdicts: Arc::default(),
        })
    }

    /// Does what the writer asks until it is idle.
    fn work(&mut self) -> io::Result<()> {
        let mut failed = None;
        while let Some(action) = self.writer.next_action() {
            match action {
                WriterAction::Open(order) => match self.open_segment(&order) {
                    Ok(opened) => self.writer.opened(opened),
                    Err(error) => {
                        self.writer.open_failed();
                        return Err(error);
                    }
                },
                WriterAction::Write(group) => {
                    let written = write(&group);
                    self.writer.written(group.ticket, written.is_ok());
                    if let Err(error) = written
                        && failed.replace(error).is_some()
                    {
                        break;
                    }
                }
                WriterAction::Durable(blocks) => self.tail.publish(&blocks),
                WriterAction::Close(segment) => self.catalog.close(&segment),
                WriterAction::Seal(order) => {
                    if let Err(error) = self.files.seal(&order) {
                        // Nothing is lost by it: the next start makes the trailer.
                        tracing::warn!(%error, "seal a segment of the internal journal");
                    }
                }
            }
        }
        match failed {
            Some(error) if self.writer.pending_bytes() > 0 => Err(error),
            _ => Ok(()),
        }
    }

    fn open_segment(
        &mut self,
        order: &SegmentOrder,
    ) -> io::Result<crate::journal::writer::OpenedSegment> {
        if self.renamed {
            // A header must not stand in a file that a crash would give another name.
            self.files.disk.sync_dir(&self.files.dir)?;
            self.renamed = false;
        }
        if self.spares.is_empty() {
            let spare = self.overwrite_oldest()?;
            self.spares.push_back(spare);
        }
        let spare = self.spares.pop_front().expect("a spare was made above");
        let used = self.files.put_to_use(&spare, order, self.clock.now().wall);
        if used.is_err() {
            self.keep_spare(spare, order);
        }
        let (opened, entry) = used?;
        self.catalog.add(entry);
        Ok(opened)
    }

    /// What a disk in trouble refuses must not cost older records their place: a file that
    /// could not be put to use is a spare again.
    fn keep_spare(&mut self, spare: PathBuf, order: &SegmentOrder) {
        let disk = &self.files.disk;
        if !disk.exists(&spare).unwrap_or(true) {
            let named = self.files.dir.join(file_name(order.sequence, order.first));
            self.renamed = true;
            if disk.rename(&named, &spare).is_err() {
                // The next start finds it.
                return;
            }
        }
        self.spares.push_front(spare);
    }

    fn overwrite_oldest(&mut self) -> io::Result<PathBuf> {
        self.spare_number += 1;
        let Some(oldest) = self.catalog.list().into_iter().next() else {
            return self
                .files
                .make_spare(self.spare_number, &AtomicBool::new(true));
        };
        let spare = self.files.recycle(&oldest, self.spare_number);
        if spare.is_err() && self.files.disk.exists(&oldest.path).unwrap_or(true) {
            return spare;
        }
        let events = oldest
            .end
            .unwrap_or(oldest.first)
            .events_since(oldest.first);
        self.counters
            .overwritten
            .fetch_add(events, Ordering::Relaxed);
        tracing::warn!(
            events,
            "the internal journal is full: its oldest records are overwritten"
        );
        self.catalog.remove(oldest.sequence);
        if spare.is_err() {
            // Renamed, and perhaps not for good: it is the spare of the next try.
            self.renamed = true;
            self.spares.extend(self.files.find_spares()?);
        }
        spare
    }
}

/// Where the last line ends that fits a block, or the first one where it does not.
fn block_end(lines: &[u8], bytes_max: usize) -> usize {
    let Some(window) = lines.get(..bytes_max) else {
        return lines.len();
    };
    let end = memchr::memrchr(b'\n', window).or_else(|| memchr::memchr(b'\n', lines));
    end.map_or(lines.len(), |end| end + 1)
}

fn write(group: &GroupWrite) -> io::Result<()> {
    let bytes = group.buffers.iter().map(bytes::Bytes::len).sum();
    let mut whole = AlignedBuffer::with_capacity(bytes);
    group
        .buffers
        .iter()
        .for_each(|buffer| whole.extend_from_slice(buffer));
    group
        .file
        .write_durable_at(whole.as_slice(), group.position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::clock::FakeClock;
    use crate::os::memory_disk::MemoryDisk;
    use crate::position::{JournalId, Timestamp};

    fn open(disk: &MemoryDisk) -> InternalJournal {
        let files = SegmentFiles {
            disk: Arc::new(disk.clone()),
            dir: PathBuf::from("/internal"),
            journal: JournalId::INTERNAL,
            node: [1; 16],
            file_bytes: 64 * 1024,
            direct: true,
        };
        let clock = Arc::new(FakeClock::at(Timestamp(1)));
        InternalJournal::open(files, Offset(0), clock, Arc::default())
            .expect("opens")
            .0
    }

    fn request(lines: &str, answer: crossbeam_channel::Sender<bool>) -> InternalRequest {
        of_kind(RecordKind::Reject, lines, answer)
    }

    fn of_kind(
        kind: RecordKind,
        lines: &str,
        answer: crossbeam_channel::Sender<bool>,
    ) -> InternalRequest {
        InternalRequest {
            kind,
            lines: lines.as_bytes().to_vec(),
            count: u32::try_from(lines.lines().count()).expect("few"),
            answer: Box::new(move |durable| answer.send(durable).expect("someone listens")),
        }
    }

    #[test]
    fn records_are_durable_when_answered_and_a_full_journal_overwrites_its_oldest() {
        let disk = MemoryDisk::new();
        let journal = open(&disk);
        let counters = Arc::clone(&journal.counters);
        let (sender, receiver) = crossbeam_channel::unbounded();
        let (answers, answered) = crossbeam_channel::unbounded();
        let thread = std::thread::Builder::new()
            .spawn(move || journal.run(&receiver))
            .expect("a thread");
        for number in 0..500 {
            let lines = format!("{{\"n\":{number}}}\n");
            sender
                .send(request(&lines, answers.clone()))
                .expect("sends");
            assert_eq!(answered.recv(), Ok(true));
        }
        drop(sender);
        thread.join().expect("ends");
        assert_eq!(counters.reject_records.load(Ordering::Relaxed), 500);
        assert!(counters.overwritten.load(Ordering::Relaxed) > 0);
        disk.crash(3);
        let reopened = open(&disk);
        assert_eq!(reopened.tail.durable_end(), Offset(500));
        assert!(reopened.catalog.list().len() <= INTERNAL_SEGMENTS);
    }

    #[test]
    fn a_disk_that_refuses_new_segments_costs_no_record_its_place() {
        use crate::os::memory_disk::DiskOperation::{Open, Rename, SyncDir, WriteDurable};
        let (answers, _answered) = crossbeam_channel::unbounded();
        for operation in [Open, WriteDurable, Rename, SyncDir] {
            let disk = MemoryDisk::new();
            let mut journal = open(&disk);
            let append = |journal: &mut InternalJournal| {
                let record = request("{}\n", answers.clone());
                journal.append(RecordKind::Reject, &[record])
            };
            append(&mut journal).expect("durable");
            for _attempt in 0..2 * INTERNAL_SEGMENTS {
                // What meets the fault may be the floor, and then the record goes in all the same.
                if journal.catalog.list().len() >= INTERNAL_SEGMENTS - 1 {
                    break;
                }
                journal.writer.close();
                disk.fail_next(operation, io::ErrorKind::Other, 1);
                drop(append(&mut journal));
                disk.mend();
            }
            assert_eq!(journal.counters.overwritten.load(Ordering::Relaxed), 0);
            assert_eq!(journal.catalog.start(), Some(Offset(0)));
        }
    }

    #[test]
    fn a_failed_write_moves_to_a_fresh_segment_and_still_answers_durable() {
        let disk = MemoryDisk::new();
        let mut journal = open(&disk);
        let (answers, _answered) = crossbeam_channel::unbounded();
        journal
            .append(RecordKind::Reject, &[request("{}\n", answers.clone())])
            .expect("durable");
        let fault = crate::os::memory_disk::DiskOperation::WriteDurable;
        disk.fail_next(fault, io::ErrorKind::Other, 1);
        journal
            .append(RecordKind::Reject, &[request("{}\n{}\n", answers)])
            .expect("durable elsewhere");
        assert_eq!(journal.tail.durable_end(), Offset(3));
    }

    /// Kinds of the blocks in the tail, with their events.
    fn kinds(tail: &Tail) -> Vec<(Option<RecordKind>, u32)> {
        let mut kinds = Vec::new();
        let mut next = Offset(0);
        while let Some(block) = tail.find(next) {
            next = block.range().end;
            let kind = RecordKind::of_block(&block, &mut Inflater::new());
            kinds.push((kind, block.events));
        }
        kinds
    }

    #[test]
    fn a_block_holds_one_kind_and_says_which() {
        use RecordKind::{AuditEvent, Reject};
        let journal = open(&MemoryDisk::new());
        let tail = Arc::clone(&journal.tail);
        let (sender, receiver) = crossbeam_channel::unbounded();
        let (answers, answered) = crossbeam_channel::unbounded();
        for kind in [Reject, Reject, AuditEvent, Reject, AuditEvent, AuditEvent] {
            sender
                .send(of_kind(kind, "{}\n", answers.clone()))
                .expect("sends");
        }
        drop(sender);
        journal.run(&receiver);
        assert_eq!(answered.try_iter().collect::<Vec<_>>(), vec![true; 6]);
        let expected = [(Reject, 2), (AuditEvent, 1), (Reject, 1), (AuditEvent, 2)];
        let expected: Vec<_> = expected.map(|(kind, events)| (Some(kind), events)).into();
        assert_eq!(kinds(&tail), expected);
    }

    #[test]
    fn a_refused_audit_event_is_not_kept_and_a_refused_reject_is() {
        use RecordKind::{AuditEvent, Reject};
        let disk = MemoryDisk::new();
        let mut journal = open(&disk);
        let (answers, answered) = crossbeam_channel::unbounded();
        let fault = crate::os::memory_disk::DiskOperation::WriteDurable;
        journal
            .append(Reject, &[request("{}\n", answers.clone())])
            .expect("durable");
        // A segment is in use first: its write fails, and then a fresh one's opening.
        for (kind, failures) in [(Reject, 2), (AuditEvent, 1)] {
            disk.fail_next(fault, io::ErrorKind::Other, failures);
            journal.store(kind, vec![of_kind(kind, "{}\n", answers.clone())]);
        }
        journal.store(
            AuditEvent,
            vec![of_kind(AuditEvent, "{}\n{}\n", answers.clone())],
        );
        let answers: Vec<_> = answered.try_iter().collect();
        assert_eq!(answers, vec![false, false, true]);
        let expected = [(Reject, 1), (Reject, 1), (AuditEvent, 2)];
        let expected: Vec<_> = expected.map(|(kind, events)| (Some(kind), events)).into();
        assert_eq!(kinds(&journal.tail), expected);
        assert_eq!(journal.writer.pending_bytes(), 0);
        assert_eq!(journal.counters.failed.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn more_garbage_than_a_segment_holds_is_kept_in_several_blocks() {
        let disk = MemoryDisk::new();
        let mut journal = open(&disk);
        let (answers, answered) = crossbeam_channel::unbounded();
        // Nothing that a codec makes shorter by much, and three times a segment of it.
        let mut random = 1_u64;
        let mut lines = String::new();
        while lines.len() < 3 * 64 * 1024 {
            for _word in 0..200 {
                random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                lines.push_str(&format!("{:016x}", random.rotate_left(29)));
            }
            lines.push('\n');
        }
        let count = lines.lines().count() as u64;
        let long = "x".repeat(20 * 1024);
        let batch = vec![
            request(&lines, answers.clone()),
            request(&format!("{long}\n"), answers),
        ];
        journal.store(RecordKind::Reject, batch);
        assert_eq!(answered.try_iter().collect::<Vec<_>>(), vec![true, true]);
        assert_eq!(journal.tail.durable_end(), Offset(count + 1));
        assert!(journal.catalog.list().len() > 1);
        disk.crash(5);
        assert_eq!(open(&disk).tail.durable_end(), Offset(count + 1));
    }
}
