//! The internal journal: rejects now, audit events and dead letters as they come to be.
//!
//! The same code and files as any journal, written by one thread of its own, with segments
//! made in advance: a reserve that a full disk cannot take away. It is bounded: when its
//! last segment is full, the oldest is used again and what was in it is counted as gone.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::Receiver;

use crate::block::codec::{Codec, CompressionLevel, best_codec};
use crate::journal::recovery::{Finding, recover};
use crate::journal::segments::{Catalog, SegmentFiles, file_name};
use crate::journal::tail::Tail;
use crate::journal::writer::{ClosedBlock, GroupWrite, SegmentOrder, Writer, WriterAction};
use crate::os::buffers::AlignedBuffer;
use crate::os::clock::Clock;
use crate::position::Offset;

/// Segments the internal journal has, all made before it takes its first record.
pub const INTERNAL_SEGMENTS: usize = 6;

/// Records gathered into one block at most.
const BATCH_RECORDS_MAX: usize = 64;

/// Compressed bytes kept in memory.
const TAIL_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one durable write.
const WRITE_BYTES_MAX: usize = 1024 * 1024;

/// Records to be made durable together.
pub struct InternalRequest {
    /// JSON lines, each ended by `\n`.
    pub lines: Vec<u8>,
    /// How many.
    pub count: u32,
    /// Told whether they are durable.
    pub answer: Box<dyn FnOnce(bool) + Send>,
}

impl std::fmt::Debug for InternalRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InternalRequest({} records)", self.count)
    }
}

/// What the internal journal counts, for metrics.
#[derive(Debug, Default)]
pub struct InternalCounters {
    /// Records made durable since start.
    pub records: AtomicU64,
    /// Records that could not be made durable.
    pub failed: AtomicU64,
    /// Events overwritten because the journal was full.
    pub overwritten: AtomicU64,
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
    /// Recovers the journal in `files.dir` and makes its reserve.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn open(
        files: SegmentFiles,
        clock: Arc<dyn Clock>,
        counters: Arc<InternalCounters>,
    ) -> io::Result<(Self, Vec<Finding>)> {
        let catalog = Arc::new(Catalog::default());
        let recovered = recover(&files, &catalog, Offset(0))?;
        let mut spares: VecDeque<_> = files.find_spares()?.into();
        let mut spare_number = recovered.start.sequence * 1_000;
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
        while let Ok(first) = requests.recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH_RECORDS_MAX {
                match requests.try_recv() {
                    Ok(request) => batch.push(request),
                    Err(_) => break,
                }
            }
            self.store(batch);
        }
        self.close();
    }

    /// Makes a batch of records durable and answers for each request.
    pub fn store(&mut self, batch: Vec<InternalRequest>) {
        let count = batch.iter().map(|request| u64::from(request.count)).sum();
        let durable = match self.append(&batch) {
            Ok(()) => {
                self.counters.records.fetch_add(count, Ordering::Relaxed);
                true
            }
            Err(error) => {
                tracing::error!(%error, "write the internal journal");
                self.counters.failed.fetch_add(count, Ordering::Relaxed);
                false
            }
        };
        batch
            .into_iter()
            .for_each(|request| (request.answer)(durable));
    }

    /// Ends and seals the segment in use, for an orderly stop.
    pub fn close(&mut self) {
        self.writer.close();
        if let Err(error) = self.work() {
            tracing::warn!(%error, "seal the internal journal");
        }
    }

    /// Appends a batch as one block and returns when it is durable.
    ///
    /// # Errors
    /// When the disk refuses twice: once in the segment in use, once in a fresh one. The
    /// records stay in the writer and go out with the next batch that succeeds.
    fn append(&mut self, batch: &[InternalRequest]) -> io::Result<()> {
        let raw: Vec<u8> = batch
            .iter()
            .flat_map(|request| &request.lines)
            .copied()
            .collect();
        let mut body = Vec::new();
        self.codec
            .compress_run(&raw, &mut body)
            .map_err(io::Error::other)?;
        let now = self.clock.now().wall;
        self.writer.append(ClosedBlock {
            codec: self.codec.id(),
            events: batch.iter().map(|request| request.count).sum(),
            raw_len: u32::try_from(raw.len()).map_err(io::Error::other)?,
            raw_crc32: crate::block::raw_crc32(&raw),
            metadata: bytes::Bytes::new(),
            body: body.into(),
            received_first: now,
            received_last: now,
        });
        self.work()
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
                WriterAction::Close { sequence, end } => self.catalog.close(sequence, end),
                WriterAction::Seal(order) => self.files.seal(&order)?,
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
        InternalJournal::open(files, clock, Arc::default())
            .expect("opens")
            .0
    }

    fn request(lines: &str, answer: crossbeam_channel::Sender<bool>) -> InternalRequest {
        InternalRequest {
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
        for number in 0..200 {
            let lines = format!("{{\"n\":{number}}}\n");
            sender
                .send(request(&lines, answers.clone()))
                .expect("sends");
            assert_eq!(answered.recv(), Ok(true));
        }
        drop(sender);
        thread.join().expect("ends");
        assert_eq!(counters.records.load(Ordering::Relaxed), 200);
        assert!(counters.overwritten.load(Ordering::Relaxed) > 0);
        disk.crash(3);
        let reopened = open(&disk);
        assert_eq!(reopened.tail.durable_end(), Offset(200));
        assert!(reopened.catalog.list().len() <= INTERNAL_SEGMENTS);
    }

    #[test]
    fn a_disk_that_refuses_new_segments_costs_no_record_its_place() {
        use crate::os::memory_disk::DiskOperation::{Open, Rename, SyncDir, WriteDurable};
        let disk = MemoryDisk::new();
        let mut journal = open(&disk);
        let (answers, _answered) = crossbeam_channel::unbounded();
        journal
            .append(&[request("{}\n", answers.clone())])
            .expect("durable");
        journal.writer.close();
        for operation in [Open, WriteDurable, Rename, SyncDir] {
            for _attempt in 0..2 * INTERNAL_SEGMENTS {
                disk.fail_next(operation, io::ErrorKind::Other, 1);
                drop(journal.append(&[request("{}\n", answers.clone())]));
                disk.mend();
                journal.writer.close();
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
            .append(&[request("{}\n", answers.clone())])
            .expect("durable");
        let fault = crate::os::memory_disk::DiskOperation::WriteDurable;
        disk.fail_next(fault, io::ErrorKind::Other, 1);
        journal
            .append(&[request("{}\n{}\n", answers)])
            .expect("durable elsewhere");
        assert_eq!(journal.tail.durable_end(), Offset(3));
    }
}
