//! The keeper on a memory disk.

mod room;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::hold::DiscardOrder;
use super::shell::LOOK_EVERY;
use super::watch::PAUSE_AFTER_JUMP;
use super::*;
use crate::audit::{Action, AuditLog, Notice, Reports};
use crate::journal::settings::{HoldPolicy, RoomLimit, RoomSettings, WhenFull};
use crate::journal::writer::SegmentEnd;
use crate::metrics::ledger::DiscardReason;
use crate::os::clock::{FakeClock, SystemClock};
use crate::os::disk::Disk as _;
use crate::os::memory_disk::{DiskOperation, MemoryDisk};
use crate::position::{JournalId, Offset, Timestamp};

const FILE_BYTES: u64 = 64 * 1024;

struct Bench {
    requests: Sender<KeeperRequest>,
    answers: Receiver<Ordered>,
    answering: Sender<Ordered>,
    catalog: Arc<Catalog>,
    hold: Arc<Hold>,
    thread: std::thread::JoinHandle<()>,
}

/// A keeper of one journal that may take `segments` segments and keeps no spare.
fn start(segments: u64) -> Bench {
    start_with(segments, HoldPolicy::default(), None).0
}

fn start_with(
    segments: u64,
    policy: HoldPolicy,
    keep: Option<Duration>,
) -> (Bench, FakeClock, Reports) {
    let catalog = Arc::<Catalog>::default();
    let hold = Arc::new(Hold::new("siem".into(), policy, Offset(0)));
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
        holds: vec![Arc::clone(&hold)],
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
        keep,
    };
    let clock = FakeClock::at(Timestamp(1));
    let (audit, told) = AuditLog::new();
    let keeper = Keeper::new(
        vec![journal],
        room,
        Arc::new(clock.clone()),
        Arc::default(),
        audit,
    )
    .expect("a keeper");
    let (requests, requested) = crossbeam_channel::unbounded();
    let (answering, answers) = crossbeam_channel::unbounded();
    let thread = std::thread::Builder::new()
        .spawn(move || keeper.run(&requested))
        .expect("a thread");
    let bench = Bench {
        requests,
        answers,
        answering,
        catalog,
        hold,
        thread,
    };
    (bench, clock, told)
}

/// The next thing that is told; waits for it.
fn next_notice(told: &Reports) -> Notice {
    loop {
        if let Some(report) = told.try_iter().next() {
            return report.notice;
        }
        told.bell().recv().expect("the keeper lives");
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

    /// Sequences of the segments in use.
    fn held(&self) -> Vec<u64> {
        self.catalog.view().keys().copied().collect()
    }

    /// Segments of ten events each, the last one closed too.
    fn fill(&self, segments: u64) {
        for sequence in 1..=segments {
            self.order(sequence, 10 * (sequence - 1));
            self.opened();
            self.catalog.close(&ended(sequence, 10 * sequence));
        }
    }

    fn stop(self) {
        self.requests.send(KeeperRequest::Stop).expect("a keeper");
        self.thread.join().expect("it ends");
    }

    fn opened(&self) {
        let answer = self.answers.recv().expect("an answer");
        assert!(matches!(answer, Ordered::Opened(_)), "{answer:?}");
    }
}

/// The end of a segment no younger than when it was put to use.
fn ended(sequence: u64, end: u64) -> SegmentEnd {
    SegmentEnd {
        sequence,
        end: Offset(end),
        received_last: Timestamp(0),
    }
}

#[test]
fn a_full_journal_waits_for_the_cursor_in_its_oldest_segment_and_then_takes_it() {
    let bench = start(2);
    bench.order(1, 0);
    bench.opened();
    bench.catalog.close(&ended(1, 10));
    bench.order(2, 10);
    bench.opened();
    bench.catalog.close(&ended(2, 20));
    // One event of the oldest segment is not delivered: it is not taken.
    bench.hold.pass(Offset(9));
    bench.order(3, 20);
    assert!(matches!(bench.answers.recv(), Ok(Ordered::NoRoom)));
    assert_eq!(bench.held(), [1, 2]);
    bench.hold.pass(Offset(10));
    bench.opened();
    assert_eq!(bench.held(), [2, 3]);
    bench.stop();
}

#[test]
fn a_full_journal_has_a_stream_discard_and_goes_on_without_a_word_to_the_inputs() {
    let policy = HoldPolicy {
        when_full: WhenFull::DiscardOldest,
        ..HoldPolicy::default()
    };
    let (bench, _, told) = start_with(2, policy, None);
    bench.fill(2);
    bench.order(3, 20);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(bench.hold.order_given());
    let order = bench.hold.discard_order();
    let (to, reason) = (Offset(10), DiscardReason::JournalFull);
    assert_eq!(order, Some(DiscardOrder { to, reason }));
    assert_eq!(bench.held(), [1, 2], "not before the lane has done it");
    bench.hold.pass(to);
    bench.opened();
    assert_eq!(bench.held(), [2, 3]);
    let removal = next_notice(&told);
    assert_eq!(
        (removal.action, removal.reason),
        (Action::SegmentRemove, "no_room")
    );
    assert_eq!(removal.events, 10);
    bench.stop();
}

#[test]
fn a_clock_that_jumps_a_year_is_told_and_removes_nothing() {
    let (bench, clock, told) = start_with(9, HoldPolicy::default(), Some(Duration::from_secs(60)));
    bench.fill(4);
    bench.hold.pass(Offset(35));
    clock.set_wall(Timestamp(366 * 86_400_000_000));
    let jump = next_notice(&told);
    assert_eq!(
        (jump.action, jump.reason),
        (Action::RoomNotify, "clock_jump")
    );
    std::thread::sleep(LOOK_EVERY * 2);
    assert_eq!(bench.held(), [1, 2, 3, 4]);
    clock.advance(PAUSE_AFTER_JUMP);
    for sequence in 1..=3 {
        let removal = next_notice(&told);
        let first = 10 * (sequence - 1);
        assert_eq!(
            (removal.action, removal.reason),
            (Action::SegmentRemove, "keep")
        );
        assert_eq!(
            removal.range.map(|(_, range)| range.first),
            Some(Offset(first))
        );
    }
    bench.stop();
}

#[test]
fn the_age_of_a_segment_is_that_of_the_last_event_in_it() {
    let (bench, ..) = start_with(9, HoldPolicy::default(), None);
    bench.order(1, 0);
    bench.opened();
    let last_used = || bench.catalog.view()[&1].last_used;
    let created = last_used();
    let later = Timestamp(created.0 + 100);
    let closed = |received_last| SegmentEnd {
        received_last,
        ..ended(1, 10)
    };
    // That is so before it is sealed: retention may look in between.
    bench.catalog.close(&closed(later));
    assert_eq!(last_used(), later);
    bench.catalog.close(&closed(created));
    assert_eq!(last_used(), later, "it never gets older");
    bench.stop();
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
        holds: Vec::new(),
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
    keeper.order(0, order, answer);
    keeper.act();
    assert!(told.load(Ordering::Relaxed), "the order failed");
    assert_eq!(keeper.journals[0].ready.len(), 1);
    assert_eq!(counters.bytes.load(Ordering::Relaxed), before);
}
