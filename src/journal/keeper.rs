//! The keeper: one thread that opens, seals, recycles and removes segment files, and a
//! second one that fills new ones with zeros for it.
//!
//! Shards order segments here so that no shard waits for a directory sync. The keeper holds
//! the room of all journals: it keeps spares ready, takes delivered segments that are past
//! their time, or delivered ones before their time when room runs out, and lets an order
//! wait when there is no room at all. It is the only one that removes a segment.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::audit::{Action, AuditLog, Notice};
use crate::journal::segments::{Catalog, SegmentEntry, SegmentFiles};
use crate::journal::settings::{RoomLimit, RoomSettings};
use crate::journal::writer::{OpenedSegment, SealOrder, SegmentOrder};
use crate::os::clock::Clock;
use crate::position::{JournalId, Offset, OffsetRange};

/// How often retention looks, and a waiting order is tried again.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What comes of an order for a segment.
#[derive(Debug)]
pub enum Ordered {
    /// It is in use.
    Opened(OpenedSegment),
    /// The disk refused; order again later.
    Failed(String),
    /// There is no room; the order stands, and one of the other answers follows.
    NoRoom,
}

/// How the keeper answers an order.
pub type Answer = Box<dyn Fn(Ordered) + Send>;

/// What shards ask of the keeper.
pub enum KeeperRequest {
    /// Put a segment to use.
    Open {
        /// Index of the journal among the keeper's.
        journal: usize,
        /// The order.
        order: SegmentOrder,
        /// Called once or, after [`Ordered::NoRoom`], twice.
        answer: Answer,
    },
    /// Write index and trailer.
    Seal {
        /// Index of the journal among the keeper's.
        journal: usize,
        /// The order.
        order: SealOrder,
    },
    /// No more requests come; end when all are done.
    Stop,
}

impl std::fmt::Debug for KeeperRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open { journal, order, .. } => write!(f, "Open({journal}, {order:?})"),
            Self::Seal { journal, order } => write!(f, "Seal({journal}, {})", order.sequence),
            Self::Stop => f.write_str("Stop"),
        }
    }
}

/// One journal as the keeper sees it.
#[derive(Debug)]
pub struct KeptJournal {
    /// Its files.
    pub files: SegmentFiles,
    /// Its segments.
    pub catalog: Arc<Catalog>,
    /// Cursors of the streams in it; the lowest holds the journal.
    pub cursors: Vec<Arc<AtomicU64>>,
    /// Spares to keep ready.
    pub spares: usize,
}

/// What the keeper counts, for metrics.
#[derive(Debug, Default)]
pub struct KeeperCounters {
    /// Bytes of all segments and spares.
    pub bytes: AtomicU64,
    /// Bytes they may take.
    pub bytes_max: AtomicU64,
    /// Segments removed or recycled past their time.
    pub expired: AtomicU64,
    /// Delivered segments taken before their time because room ran out.
    pub taken_early: AtomicU64,
    /// Orders that had to wait for room.
    pub waits: AtomicU64,
    /// Operations the disk refused.
    pub failures: AtomicU64,
}

/// The keeper; see the module's documentation.
#[derive(Debug)]
pub struct Keeper {
    journals: Vec<Kept>,
    room: RoomSettings,
    clock: Arc<dyn Clock>,
    counters: Arc<KeeperCounters>,
    audit: AuditLog,
    filler: Filler,
    /// Index of the journal whose spare is being made.
    filling: Option<usize>,
    /// The disk refused since the last look: spares nobody waits for are made after the next.
    refused: bool,
}

/// The thread that makes spares, one at a time.
#[derive(Debug)]
struct Filler {
    jobs: Sender<(SegmentFiles, u64)>,
    made: Receiver<io::Result<PathBuf>>,
    /// Someone waits for the spare that is being made.
    hurry: Arc<AtomicBool>,
}

struct Waiting {
    order: SegmentOrder,
    answer: Answer,
    told: bool,
}

struct Kept {
    journal: KeptJournal,
    ready: VecDeque<PathBuf>,
    spare_number: u64,
    waiting: Option<Waiting>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Kept({:?}, {} ready)",
            self.journal.files.dir,
            self.ready.len()
        )
    }
}

impl Keeper {
    /// A keeper of these journals; finds the spares of an earlier run.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn new(
        journals: Vec<KeptJournal>,
        room: RoomSettings,
        clock: Arc<dyn Clock>,
        counters: Arc<KeeperCounters>,
        audit: AuditLog,
    ) -> io::Result<Self> {
        let mut kept = Vec::new();
        for journal in journals {
            let ready: VecDeque<_> = journal.files.find_spares()?.into();
            let numbers = ready.iter().filter_map(|path| spare_number(path));
            let spare_number = numbers.max().unwrap_or(0) + 1;
            kept.push(Kept {
                journal,
                ready,
                spare_number,
                waiting: None,
            });
        }
        let filler = Filler::start()?;
        let mut keeper = Self {
            journals: kept,
            room,
            clock,
            counters,
            audit,
            filler,
            filling: None,
            refused: false,
        };
        keeper.count_bytes();
        keeper.make_first_spares();
        Ok(keeper)
    }

    /// Makes one spare for every journal that has none, before the node takes events: the first
    /// events of a new node would otherwise wait for 128 MiB of zeros.
    fn make_first_spares(&mut self) {
        for at in 0..self.journals.len() {
            let kept = &mut self.journals[at];
            if !kept.ready.is_empty() || kept.journal.spares == 0 {
                continue;
            }
            kept.spare_number += 1;
            let (files, number) = (kept.journal.files.clone(), kept.spare_number);
            let made = match self.room_for(files.file_bytes) {
                Ok(true) => files.make_spare(number, &AtomicBool::new(true)),
                Ok(false) => continue,
                Err(error) => Err(error),
            };
            match made {
                Ok(spare) => self.journals[at].ready.push_back(spare),
                // Not fatal: the first order tries again and says so to the inputs.
                Err(error) => self.fail(at, "make a segment", &error),
            }
            self.count_bytes();
        }
    }

    /// Serves requests until [`KeeperRequest::Stop`] or all senders are gone.
    pub fn run(mut self, requests: &Receiver<KeeperRequest>) {
        let made = self.filler.made.clone();
        let looks = crossbeam_channel::tick(LOOK_EVERY);
        loop {
            crossbeam_channel::select! {
                recv(requests) -> request => match request {
                    Ok(KeeperRequest::Open { journal, order, answer }) => {
                        let told = false;
                        self.journals[journal].waiting = Some(Waiting { order, answer, told });
                    }
                    Ok(KeeperRequest::Seal { journal, order }) => self.seal(journal, &order),
                    Ok(KeeperRequest::Stop) | Err(_) => return,
                },
                recv(made) -> spare => match spare {
                    Ok(spare) => self.take_made(spare),
                    Err(_) => return,
                },
                recv(looks) -> _ => {
                    self.expire();
                    self.refused = false;
                }
            }
            self.serve_orders();
            // Without the pause a disk that refuses would be asked, and the log written, as
            // fast as a core can.
            if !self.refused {
                self.refill();
            }
        }
    }

    /// A spare was made, or could not be.
    fn take_made(&mut self, made: io::Result<PathBuf>) {
        let Some(at) = self.filling.take() else {
            return;
        };
        match made {
            Ok(spare) => self.journals[at].ready.push_back(spare),
            Err(error) => {
                self.fail(at, "make a segment", &error);
                if let Some(waiting) = self.journals[at].waiting.take() {
                    (waiting.answer)(Ordered::Failed(error.to_string()));
                }
            }
        }
        self.count_bytes();
    }

    /// Tries every waiting order.
    pub fn serve_orders(&mut self) {
        for at in 0..self.journals.len() {
            let Some(waiting) = self.journals[at].waiting.take() else {
                continue;
            };
            if let Some(waiting) = self.serve_order(at, waiting) {
                self.journals[at].waiting = Some(waiting);
            }
        }
    }

    /// Serves one order; gives it back when there is no room for it yet.
    fn serve_order(&mut self, at: usize, mut waiting: Waiting) -> Option<Waiting> {
        let spare = match self.take_spare(at) {
            Ok(Spare::Ready(spare)) => spare,
            Ok(Spare::Made) => return Some(waiting),
            Ok(Spare::NoRoom) => {
                if !waiting.told {
                    waiting.told = true;
                    self.counters.waits.fetch_add(1, Ordering::Relaxed);
                    (waiting.answer)(Ordered::NoRoom);
                }
                return Some(waiting);
            }
            Err(error) => {
                self.fail(at, "make a segment", &error);
                (waiting.answer)(Ordered::Failed(error.to_string()));
                return None;
            }
        };
        let kept = &mut self.journals[at];
        match kept
            .journal
            .files
            .put_to_use(&spare, &waiting.order, self.clock.now().wall)
        {
            Ok((opened, entry)) => {
                kept.journal.catalog.add(entry);
                (waiting.answer)(Ordered::Opened(opened));
            }
            Err(error) => {
                // Its room stays counted. Once renamed it is no spare any more, and is found by
                // the next start.
                if kept.journal.files.disk.exists(&spare).unwrap_or(true) {
                    kept.ready.push_back(spare);
                }
                self.fail(at, "put a segment to use", &error);
                (waiting.answer)(Ordered::Failed(error.to_string()));
            }
        }
        self.count_bytes();
        None
    }

    /// A spare for an order: one that is ready, one being made for it, or a delivered segment
    /// before its time.
    fn take_spare(&mut self, at: usize) -> io::Result<Spare> {
        if let Some(ready) = self.journals[at].ready.pop_front() {
            return Ok(Spare::Ready(ready));
        }
        if self.filling.is_some() {
            // Whoever it is for, the sooner it is made the sooner this one's turn comes.
            self.filler.hurry.store(true, Ordering::Relaxed);
            return Ok(Spare::Made);
        }
        if self.room_for(self.journals[at].journal.files.file_bytes)? {
            self.fill(at, true);
            return Ok(Spare::Made);
        }
        if let Some(entry) = self.oldest_delivered(at) {
            self.counters.taken_early.fetch_add(1, Ordering::Relaxed);
            self.audit.tell(notice_of_removal(
                &entry,
                self.journals[at].journal.files.journal,
            ));
            tracing::warn!(
                path = %entry.path.display(),
                "room runs out: a delivered segment is given up before its time"
            );
            return self.journals[at].recycle(&entry).map(Spare::Ready);
        }
        Ok(Spare::NoRoom)
    }

    /// Has one spare made where some are missing and room allows it.
    fn refill(&mut self) {
        let wants = |kept: &Kept| kept.ready.len() < kept.journal.spares;
        let Some(at) = self.journals.iter().position(wants) else {
            return;
        };
        match self.room_for(self.journals[at].journal.files.file_bytes) {
            Ok(true) => self.fill(at, false),
            Ok(false) => {}
            Err(error) => self.fail(at, "ask for the file system's room", &error),
        }
    }

    /// Has a spare made, unless one is being made already.
    fn fill(&mut self, at: usize, hurry: bool) {
        if self.filling.is_some() {
            return;
        }
        let kept = &mut self.journals[at];
        kept.spare_number += 1;
        self.filler.hurry.store(hurry, Ordering::Relaxed);
        let job = (kept.journal.files.clone(), kept.spare_number);
        // The filler lives as long as the keeper.
        if self.filler.jobs.send(job).is_ok() {
            self.filling = Some(at);
            self.count_bytes();
        }
    }

    /// Takes delivered segments that are past their time.
    fn expire(&mut self) {
        let Some(keep) = self.room.keep else { return };
        let now = self.clock.now().wall;
        for at in 0..self.journals.len() {
            // Counters, positions and time of the journal stand in its last block: that one stays.
            while let Some(entry) = self.oldest_delivered(at)
                && self.is_followed(at, &entry)
            {
                let keep_micros = u64::try_from(keep.as_micros()).unwrap_or(u64::MAX);
                if now.micros_since(entry.last_used) <= keep_micros {
                    break;
                }
                self.counters.expired.fetch_add(1, Ordering::Relaxed);
                let kept = &mut self.journals[at];
                let taken = if kept.ready.len() < kept.journal.spares {
                    kept.recycle(&entry)
                        .map(|spare| kept.ready.push_back(spare))
                } else {
                    kept.remove(&entry)
                };
                if let Err(error) = taken {
                    self.fail(at, "remove a segment", &error);
                    break;
                }
            }
        }
        self.count_bytes();
    }

    /// The oldest segment, when it is closed and every stream is past it.
    fn oldest_delivered(&self, at: usize) -> Option<SegmentEntry> {
        let journal = &self.journals[at].journal;
        let lowest = journal
            .cursors
            .iter()
            .map(|cursor| cursor.load(Ordering::Acquire))
            .min();
        let lowest = Offset(lowest.unwrap_or(u64::MAX));
        let oldest = journal.catalog.list().into_iter().next()?;
        oldest
            .end
            .is_some_and(|end| end <= lowest)
            .then_some(oldest)
    }

    /// True when a later segment surely has a block: a stream is already in it, or, without
    /// streams, it is closed.
    fn is_followed(&self, at: usize, entry: &SegmentEntry) -> bool {
        let journal = &self.journals[at].journal;
        let end = entry.end.unwrap_or(entry.first);
        if journal.cursors.is_empty() {
            let mut later = journal.catalog.list().into_iter().skip(1);
            return later.any(|later| later.end.is_some_and(|later_end| later_end > end));
        }
        let mut cursors = journal.cursors.iter();
        cursors.any(|cursor| Offset(cursor.load(Ordering::Acquire)) > end)
    }

    fn seal(&mut self, at: usize, order: &SealOrder) {
        let journal = &self.journals[at].journal;
        if let Err(error) = journal.files.seal(order) {
            self.fail(at, "seal a segment", &error);
        }
    }

    fn room_for(&self, file_bytes: u64) -> io::Result<bool> {
        let files = &self.journals[0].journal.files;
        let room = files.disk.room(&files.dir)?;
        let bytes_max = match self.room.bytes_max {
            RoomLimit::Bytes(bytes) => bytes,
            RoomLimit::Percent(percent) => room.total_bytes / 100 * u64::from(percent),
        };
        self.counters.bytes_max.store(bytes_max, Ordering::Relaxed);
        let within = self.counters.bytes.load(Ordering::Relaxed) + file_bytes <= bytes_max;
        Ok(within && room.free_bytes >= self.room.free_bytes_min.saturating_add(file_bytes))
    }

    fn count_bytes(&self) {
        let bytes = self.journals.iter().enumerate().map(|(at, kept)| {
            let segments = kept.journal.catalog.list();
            let segments: u64 = segments.iter().map(|entry| entry.file_bytes).sum();
            let spares = kept.ready.len() + usize::from(self.filling == Some(at));
            segments + spares as u64 * kept.journal.files.file_bytes
        });
        self.counters.bytes.store(bytes.sum(), Ordering::Relaxed);
    }

    fn fail(&mut self, at: usize, what: &str, error: &io::Error) {
        self.refused = true;
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        let journal: JournalId = self.journals[at].journal.files.journal;
        tracing::error!(%journal, %error, "{what}");
    }
}

/// What there is for an order.
enum Spare {
    /// A spare.
    Ready(PathBuf),
    /// None yet; one is being made.
    Made,
    /// None, and no room to make one.
    NoRoom,
}

impl Filler {
    fn start() -> io::Result<Self> {
        let (jobs, work) = crossbeam_channel::bounded::<(SegmentFiles, u64)>(1);
        let (done, made) = crossbeam_channel::bounded(1);
        let hurry = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&hurry);
        std::thread::Builder::new()
            .name("weir-spares".to_owned())
            .spawn(move || {
                for (files, number) in work {
                    if done.send(files.make_spare(number, &asked)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { jobs, made, hurry })
    }
}

impl Kept {
    /// Makes a spare of a segment: its blocks are none of the next segment's, whose id differs.
    fn recycle(&mut self, entry: &SegmentEntry) -> io::Result<PathBuf> {
        self.spare_number += 1;
        self.journal.catalog.remove(entry.sequence);
        self.journal.files.recycle(entry, self.spare_number)
    }

    fn remove(&mut self, entry: &SegmentEntry) -> io::Result<()> {
        self.journal.catalog.remove(entry.sequence);
        self.journal.files.remove(entry)
    }
}

fn notice_of_removal(entry: &SegmentEntry, journal: JournalId) -> Notice {
    let end = entry.end.unwrap_or(entry.first);
    let range = OffsetRange {
        first: entry.first,
        end,
    };
    Notice::new(Action::SegmentRemove, journal.to_string(), "no_room")
        .range(journal, range)
        .bytes(entry.file_bytes)
}

fn spare_number(path: &std::path::Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("spare-")?
        .strip_suffix(".spare")?
        .parse()
        .ok()
}

/// A keeper's thread and the way to it.
#[derive(Debug, Clone)]
pub struct KeeperHandle {
    requests: Sender<KeeperRequest>,
}

impl KeeperHandle {
    /// A handle that sends to `requests`.
    #[must_use]
    pub fn new(requests: Sender<KeeperRequest>) -> Self {
        Self { requests }
    }

    /// Sends a request. A keeper that is gone answers none; its thread's end stops the node.
    pub fn send(&self, request: KeeperRequest) {
        if let Err(refused) = self.requests.send(request) {
            tracing::error!(request = ?refused.0, "the keeper is gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::os::clock::{FakeClock, SystemClock};
    use crate::os::disk::Disk as _;
    use crate::os::memory_disk::{DiskOperation, MemoryDisk};
    use crate::position::Timestamp;

    const FILE_BYTES: u64 = 64 * 1024;

    struct Bench {
        requests: Sender<KeeperRequest>,
        answers: Receiver<Ordered>,
        answering: Sender<Ordered>,
        catalog: Arc<Catalog>,
        cursor: Arc<AtomicU64>,
        thread: std::thread::JoinHandle<()>,
    }

    /// A keeper of one journal that may take `segments` segments and keeps no spare.
    fn start(segments: u64) -> Bench {
        let catalog = Arc::<Catalog>::default();
        let cursor = Arc::new(AtomicU64::new(0));
        let journal = KeptJournal {
            files: SegmentFiles {
                disk: Arc::new(MemoryDisk::new()),
                dir: PathBuf::from("/j"),
                journal: JournalId(0),
                node: [1; 16],
                file_bytes: FILE_BYTES,
                direct: true,
            },
            catalog: Arc::clone(&catalog),
            cursors: vec![Arc::clone(&cursor)],
            spares: 0,
        };
        journal
            .files
            .disk
            .create_dir_all(&journal.files.dir)
            .expect("a directory");
        let room = RoomSettings {
            bytes_max: RoomLimit::Bytes(segments * FILE_BYTES),
            free_bytes_min: 0,
            keep: None,
        };
        let clock = Arc::new(FakeClock::at(Timestamp(1)));
        let keeper = Keeper::new(
            vec![journal],
            room,
            clock,
            Arc::default(),
            AuditLog::new().0,
        )
        .expect("a keeper");
        let (requests, requested) = crossbeam_channel::unbounded();
        let (answering, answers) = crossbeam_channel::unbounded();
        let thread = std::thread::Builder::new()
            .spawn(move || keeper.run(&requested))
            .expect("a thread");
        Bench {
            requests,
            answers,
            answering,
            catalog,
            cursor,
            thread,
        }
    }

    impl Bench {
        fn order(&self, sequence: u64, first: u64) {
            let answering = self.answering.clone();
            let answer: Answer = Box::new(move |ordered| answering.send(ordered).expect("heard"));
            let order = SegmentOrder {
                sequence,
                first: Offset(first),
                chain: [0; 32],
            };
            let request = KeeperRequest::Open {
                journal: 0,
                order,
                answer,
            };
            self.requests.send(request).expect("a keeper");
        }

        fn opened(&self) {
            let answer = self.answers.recv().expect("an answer");
            assert!(matches!(answer, Ordered::Opened(_)), "{answer:?}");
        }
    }

    #[test]
    fn a_full_journal_waits_for_the_cursor_in_its_oldest_segment_and_then_takes_it() {
        let bench = start(2);
        bench.order(1, 0);
        bench.opened();
        bench.catalog.close(1, Offset(10));
        bench.order(2, 10);
        bench.opened();
        bench.catalog.close(2, Offset(20));
        // One event of the oldest segment is not delivered: it is not taken.
        bench.cursor.store(9, Ordering::Release);
        bench.order(3, 20);
        assert!(matches!(bench.answers.recv(), Ok(Ordered::NoRoom)));
        let held: Vec<u64> = bench
            .catalog
            .list()
            .iter()
            .map(|entry| entry.sequence)
            .collect();
        assert_eq!(held, [1, 2]);
        bench.cursor.store(10, Ordering::Release);
        bench.opened();
        let held: Vec<u64> = bench
            .catalog
            .list()
            .iter()
            .map(|entry| entry.sequence)
            .collect();
        assert_eq!(held, [2, 3]);
        bench.requests.send(KeeperRequest::Stop).expect("a keeper");
        bench.thread.join().expect("it ends");
    }

    fn keeper_of(disk: &MemoryDisk, counters: &Arc<KeeperCounters>) -> Keeper {
        let dir = PathBuf::from("/j/0");
        disk.create_dir_all(&dir).expect("a directory is made");
        let journal = KeptJournal {
            files: SegmentFiles {
                disk: Arc::new(disk.clone()),
                dir,
                journal: JournalId(0),
                node: [7; 16],
                file_bytes: FILE_BYTES,
                direct: false,
            },
            catalog: Arc::new(Catalog::default()),
            cursors: Vec::new(),
            spares: 1,
        };
        let room = RoomSettings {
            bytes_max: RoomLimit::Bytes(1 << 30),
            free_bytes_min: 0,
            keep: None,
        };
        Keeper::new(
            vec![journal],
            room,
            Arc::new(SystemClock),
            Arc::clone(counters),
            AuditLog::new().0,
        )
        .expect("the keeper starts")
    }

    #[test]
    fn a_disk_that_refuses_is_not_asked_again_before_the_next_look() {
        let disk = MemoryDisk::new();
        disk.fail_next(DiskOperation::Open, io::ErrorKind::Other, u32::MAX);
        let counters = Arc::<KeeperCounters>::default();
        let keeper = keeper_of(&disk, &counters);
        let (sender, receiver) = crossbeam_channel::unbounded();
        let begun = Instant::now();
        let running = std::thread::Builder::new()
            .spawn(move || keeper.run(&receiver))
            .expect("a thread");
        std::thread::sleep(LOOK_EVERY * 3);
        sender
            .send(KeeperRequest::Stop)
            .expect("the keeper listens");
        running.join().expect("the keeper ends");
        let looks = begun.elapsed().as_millis() / LOOK_EVERY.as_millis() + 2;
        let failures = counters.failures.load(Ordering::Relaxed);
        assert!(failures >= 1, "the disk was asked");
        assert!(
            u128::from(failures) <= looks,
            "{failures} failures in {looks} looks"
        );
    }

    #[test]
    fn a_spare_that_could_not_be_put_to_use_is_kept() {
        let disk = MemoryDisk::new();
        let counters = Arc::<KeeperCounters>::default();
        let mut keeper = keeper_of(&disk, &counters);
        let before = counters.bytes.load(Ordering::Relaxed);
        assert_eq!(before, FILE_BYTES, "one spare is ready");
        disk.fail_next(DiskOperation::Open, io::ErrorKind::Other, 1);
        let order = SegmentOrder {
            sequence: 1,
            first: Offset(0),
            chain: [0; 32],
        };
        let told = Arc::<AtomicBool>::default();
        let failed = Arc::clone(&told);
        let answer: Answer = Box::new(move |ordered| {
            failed.store(matches!(ordered, Ordered::Failed(_)), Ordering::Relaxed);
        });
        keeper.journals[0].waiting = Some(Waiting {
            order,
            answer,
            told: false,
        });
        keeper.serve_orders();
        assert!(told.load(Ordering::Relaxed), "the order failed");
        assert_eq!(keeper.journals[0].ready.len(), 1);
        assert_eq!(counters.bytes.load(Ordering::Relaxed), before);
    }
}
