//! The file sink under a worker that keeps cursor records, with power cuts at every step.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::crash_disk::{CrashDisk, Step, Survivors};
use super::*;
use crate::batch::{BatchId, Body, Purpose};
use crate::os::real_disk::RealDisk;
use crate::position::{Offset, OffsetRange, SegmentId, Timestamp};

const PATH: &str = "/out/events.ndjson";
const START_MICROS: i64 = 1_795_248_903_000_000;

/// A stream's worker as far as a sink sees it: batches, a cursor, a durable record.
struct Worker {
    disk: CrashDisk,
    settings: FileSettings,
    clock: Arc<AtomicI64>,
    bodies: Vec<Bytes>,
    /// Cursor and sink state of the last durable record.
    record: Option<(usize, Vec<u8>)>,
    /// Deliveries between records that nobody asked for.
    record_every: usize,
}

impl Worker {
    fn new(batches: usize, rotate_bytes: u64) -> Self {
        Self {
            disk: CrashDisk::default(),
            settings: FileSettings {
                path: PATH.into(),
                compression: Compression::Identity,
                rotate_bytes,
                rotate_age: Duration::from_secs(3600),
                keep_files: 0,
            },
            clock: Arc::new(AtomicI64::new(START_MICROS)),
            bodies: (0..batches)
                .map(|number| Bytes::from(format!("{{\"n\":{number:02}}}\n")))
                .collect(),
            record: None,
            record_every: 1,
        }
    }

    fn open(&self) -> FileSink {
        let clock = Arc::clone(&self.clock);
        let context = OpenContext {
            node: "node",
            journal: JournalId(0),
            journals: 1,
            stream: "archive".into(),
            disk: Arc::new(self.disk.clone()),
            clock: Arc::new(move || Timestamp(clock.load(Ordering::Relaxed))),
            state: self.record.as_ref().map(|(_, state)| state.as_slice()),
        };
        FileSink::open(&self.settings, context).unwrap()
    }

    fn pass_seconds(&self, seconds: i64) {
        self.clock.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }

    /// Opens the sink and delivers from the record's cursor to the end, until a step fails.
    fn run(&mut self) -> Result<(), Failure> {
        let mut sink = self.open();
        let mut cursor = self.record.as_ref().map_or(0, |(cursor, _)| *cursor);
        let mut unrecorded = 0;
        while cursor < self.bodies.len() {
            if self.deliver_one(&mut sink, cursor)? {
                cursor += 1;
                unrecorded += 1;
            }
            if unrecorded == self.record_every {
                self.make_record(&sink, cursor)?;
                unrecorded = 0;
            }
        }
        self.make_record(&sink, cursor)
    }

    /// True when delivered, false when a record had to be made.
    fn deliver_one(&mut self, sink: &mut FileSink, cursor: usize) -> Result<bool, Failure> {
        match at_once(sink.deliver(&parcel(&self.bodies[cursor], Compression::Identity))) {
            Outcome::Delivered => Ok(true),
            Outcome::RecordFirst => {
                self.make_record(sink, cursor)?;
                sink.recorded();
                Ok(false)
            }
            Outcome::Retry { why, .. } => Err(why),
            Outcome::Partial { .. } | Outcome::Split { .. } | Outcome::Refused { .. } => {
                panic!("not of a file sink")
            }
        }
    }

    fn make_record(&mut self, sink: &FileSink, cursor: usize) -> Result<(), Failure> {
        self.disk.record_step().map_err(|error| Failure {
            reason: "record",
            detail: error.to_string(),
        })?;
        self.record = Some((cursor, Sink::state(sink)));
        Ok(())
    }

    /// Closed files, oldest first, then the one written to.
    fn written(&self) -> Vec<u8> {
        let name = FileName::new(Path::new(PATH), None).unwrap();
        let names = self.disk.list(Path::new("/out")).unwrap();
        let closed = name.closed_among(&names).into_iter();
        let paths = closed.map(|name| format!("/out/{}", name.display()));
        let contents = paths.map(|path| self.disk.content(&path).unwrap());
        let mut all: Vec<u8> = contents.flatten().collect();
        all.extend(self.disk.content(PATH).unwrap_or_default());
        all
    }

    fn expected(&self) -> Vec<u8> {
        self.bodies.concat()
    }
}

/// The result of a future that waits for nothing.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("a file sink never waits"),
    }
}

fn parcel(body: &Bytes, content_encoding: Compression) -> Parcel {
    // Two chunks, so that a write can fail between them.
    let (first, second) = (body.slice(..body.len() / 2), body.slice(body.len() / 2..));
    Parcel {
        id: BatchId {
            segment: SegmentId([7; 16]),
            range: OffsetRange {
                first: Offset(0),
                end: Offset(1),
            },
            stream: "archive".into(),
            version: 0,
        },
        journal: JournalId(0),
        attempt: 0,
        events: 1,
        raw_bytes: body.len() as u64,
        body: Body::Whole(vec![first, second]),
        purpose: Purpose::Events,
        content_encoding,
        content_type: None,
        received_first: Timestamp(0),
    }
}

fn all_survivors() -> impl Iterator<Item = Survivors> {
    [(false, false), (false, true), (true, false), (true, true)]
        .into_iter()
        .map(|(contents, names)| Survivors { contents, names })
}

#[test]
fn two_power_cuts_at_any_steps_leave_every_batch_once_and_in_order() {
    for survivors in all_survivors() {
        for record_every in [1, 3] {
            let mut runs = 0;
            for first_cut in 0.. {
                let mut cut_once = false;
                for second_cut in 0.. {
                    // Two batches a file.
                    let mut worker = Worker::new(5, 20);
                    worker.record_every = record_every;
                    worker.disk.set_steps_left(Some(first_cut));
                    cut_once = worker.run().is_err();
                    worker.disk.cut_power(survivors);
                    worker.disk.set_steps_left(Some(second_cut));
                    let cut_twice = worker.run().is_err();
                    worker.disk.cut_power(survivors);
                    worker.run().unwrap();
                    assert_eq!(
                        String::from_utf8_lossy(&worker.written()),
                        String::from_utf8_lossy(&worker.expected()),
                        "cut after {first_cut} and {second_cut} steps, {survivors:?}"
                    );
                    runs += 1;
                    if !cut_twice {
                        break;
                    }
                }
                if !cut_once {
                    break;
                }
            }
            assert!(runs > 500, "only {runs} runs");
        }
    }
}

#[test]
fn a_failed_step_is_a_retry_and_leaves_neither_gap_nor_duplicate() {
    let steps = [
        (Step::Create, io::ErrorKind::PermissionDenied),
        (Step::Write, io::ErrorKind::StorageFull),
        (Step::Sync, io::ErrorKind::Other),
        (Step::Rename, io::ErrorKind::PermissionDenied),
        (Step::SyncDir, io::ErrorKind::Other),
    ];
    for (step, kind) in steps {
        for after in 0..5 {
            let mut worker = Worker::new(5, 20);
            let mut sink = worker.open();
            let mut failures = 0;
            let mut cursor = 0;
            while cursor < 5 {
                if cursor == after && failures == 0 {
                    worker.disk.fail_next(step, kind);
                }
                match worker.deliver_one(&mut sink, cursor) {
                    Ok(delivered) => cursor += usize::from(delivered),
                    Err(why) => {
                        assert_eq!(why.reason, "file_write_failed");
                        failures += 1;
                    }
                }
            }
            assert_eq!(worker.written(), worker.expected(), "{step:?} at {after}");
        }
    }
}

#[test]
fn a_batch_given_up_after_a_failure_at_any_step_leaves_nothing_of_itself() {
    for steps in 0..12 {
        for restarted in [false, true] {
            let mut worker = Worker::new(4, 20);
            let mut sink = worker.open();
            let mut cursor = 0;
            while cursor < 2 {
                cursor += usize::from(worker.deliver_one(&mut sink, cursor).unwrap());
                worker.make_record(&sink, cursor).unwrap();
            }
            worker.disk.set_steps_left(Some(steps));
            let tried = loop {
                match worker.deliver_one(&mut sink, 2) {
                    Ok(false) => {}
                    Ok(true) => break true,
                    Err(_) => break false,
                }
            };
            worker.disk.set_steps_left(None);
            if tried {
                assert!(steps > 2, "it takes some steps");
                break;
            }
            // The lane discards it: the cursor passes it, and the sink's state is the old one.
            let state = worker.record.take().map(|(_, state)| state);
            worker.record = state.map(|state| (3, state));
            if restarted {
                sink = worker.open();
            }
            let mut cursor = 3;
            while cursor < 4 {
                cursor += usize::from(worker.deliver_one(&mut sink, cursor).unwrap());
            }
            let mut expected = worker.bodies.clone();
            expected.remove(2);
            assert_eq!(
                String::from_utf8_lossy(&worker.written()),
                String::from_utf8_lossy(&expected.concat()),
                "failed after {steps} steps, restarted: {restarted}"
            );
        }
    }
}

#[test]
fn delivered_means_synced() {
    let mut worker = Worker::new(3, 1000);
    worker.run().unwrap();
    let syncs = worker.disk.syncs();
    worker.disk.cut_power(Survivors {
        contents: false,
        names: false,
    });
    assert_eq!(worker.written(), worker.expected());
    assert!(syncs >= 3);
}

#[test]
fn a_file_is_closed_by_size_before_it_would_pass_the_limit() {
    let mut worker = Worker::new(5, 20);
    worker.run().unwrap();
    assert_eq!(
        worker.disk.paths(),
        [
            "/out/events.2026-11-21T08-15-03Z-1.ndjson",
            "/out/events.2026-11-21T08-15-03Z.ndjson",
            PATH,
        ]
    );
    assert_eq!(worker.disk.content(PATH).unwrap(), worker.bodies[4]);
}

#[test]
fn a_batch_larger_than_the_limit_is_written_whole() {
    let mut worker = Worker::new(2, 3);
    worker.run().unwrap();
    assert_eq!(worker.disk.paths().len(), 2);
    assert_eq!(worker.written(), worker.expected());
}

#[test]
fn a_file_is_closed_by_age_counted_from_its_first_byte_also_across_a_restart() {
    let mut worker = Worker::new(2, 1000);
    let later = worker.bodies.split_off(1);
    let mut sink = worker.open();
    assert_eq!(worker.deliver_one(&mut sink, 0), Ok(false));
    worker.pass_seconds(5000);
    assert_eq!(
        worker.deliver_one(&mut sink, 0),
        Ok(true),
        "empty files do not age"
    );
    worker.make_record(&sink, 1).unwrap();
    worker.pass_seconds(3600);
    worker.bodies.extend(later);
    worker.run().unwrap();
    assert_eq!(
        worker.disk.paths(),
        ["/out/events.2026-11-21T10-38-23Z.ndjson", PATH]
    );
    assert_eq!(worker.disk.content(PATH).unwrap(), worker.bodies[1]);
}

#[test]
fn only_the_newest_closed_files_are_kept() {
    let mut worker = Worker::new(6, 10);
    worker.settings.keep_files = 2;
    // A name from a clock that was ahead: the file just closed is kept all the same.
    worker
        .disk
        .put("/out/events.2030-01-01T00-00-00Z.ndjson", b"x\n");
    worker
        .disk
        .put("/out/other.2020-01-01T00-00-00Z.ndjson", b"x\n");
    worker.run().unwrap();
    assert_eq!(
        worker.disk.paths(),
        [
            "/out/events.2026-11-21T08-15-03Z-4.ndjson",
            "/out/events.2030-01-01T00-00-00Z.ndjson",
            PATH,
            "/out/other.2020-01-01T00-00-00Z.ndjson",
        ]
    );
}

#[test]
fn a_file_shorter_than_recorded_is_gone_on_with_at_its_end() {
    let mut worker = Worker::new(3, 1000);
    let later = worker.bodies.split_off(2);
    worker.run().unwrap();
    worker.disk.put(PATH, b"whole\n");
    worker.bodies.extend(later);
    worker.run().unwrap();
    assert_eq!(worker.disk.content(PATH).unwrap(), b"whole\n{\"n\":02}\n");
    assert_eq!(worker.disk.paths(), [PATH]);
}

#[test]
fn a_file_cut_inside_a_line_or_a_gzip_member_is_closed_and_a_new_one_begun() {
    for rest in [&b"half a li"[..], &b"\x1f\x8b\x08\0\0"[..]] {
        let mut worker = Worker::new(3, 1000);
        let later = worker.bodies.split_off(2);
        worker.run().unwrap();
        worker.disk.put(PATH, rest);
        worker.bodies.extend(later);
        worker.run().unwrap();
        assert_eq!(worker.disk.content(PATH).unwrap(), worker.bodies[2]);
        let closed = worker
            .disk
            .content("/out/events.2026-11-21T08-15-03Z.ndjson");
        assert_eq!(closed.unwrap(), rest);
    }
}

#[test]
fn a_removed_file_is_made_anew_at_start_and_while_running() {
    let mut worker = Worker::new(3, 1000);
    let later = worker.bodies.split_off(1);
    worker.run().unwrap();
    worker.disk.remove(Path::new(PATH)).unwrap();
    worker.bodies.extend(later);
    let mut sink = worker.open();
    assert_eq!(worker.deliver_one(&mut sink, 1), Ok(false));
    assert_eq!(worker.deliver_one(&mut sink, 1), Ok(true));
    worker
        .disk
        .rename(Path::new(PATH), Path::new("/out/taken"))
        .unwrap();
    assert_eq!(worker.deliver_one(&mut sink, 2), Ok(false));
    assert_eq!(worker.deliver_one(&mut sink, 2), Ok(true));
    assert_eq!(worker.disk.content("/out/taken").unwrap(), worker.bodies[1]);
    assert_eq!(worker.disk.content(PATH).unwrap(), worker.bodies[2]);
}

#[test]
fn bytes_of_someone_else_are_not_cut_while_running() {
    let mut worker = Worker::new(2, 1000);
    let mut sink = worker.open();
    assert_eq!(worker.deliver_one(&mut sink, 0), Ok(false));
    assert_eq!(worker.deliver_one(&mut sink, 0), Ok(true));
    let foreign = [&worker.bodies[0][..], b"foreign\n"].concat();
    worker.disk.put(PATH, &foreign);
    assert_eq!(worker.deliver_one(&mut sink, 1), Ok(false));
    assert_eq!(worker.deliver_one(&mut sink, 1), Ok(true));
    let expected = [&foreign[..], &worker.bodies[1]].concat();
    assert_eq!(worker.disk.content(PATH).unwrap(), expected);
}

#[test]
fn a_file_there_before_the_first_record_is_appended_to() {
    let mut worker = Worker::new(1, 1000);
    worker.disk.put(PATH, b"old\n");
    worker.run().unwrap();
    assert_eq!(worker.disk.content(PATH).unwrap(), b"old\n{\"n\":00}\n");
}

#[test]
fn a_changed_path_leaves_the_recorded_file_alone() {
    let mut worker = Worker::new(2, 1000);
    let later = worker.bodies.split_off(1);
    worker.run().unwrap();
    worker.settings.path = "/out/new.ndjson".into();
    worker.bodies.extend(later);
    worker.run().unwrap();
    assert_eq!(worker.disk.content(PATH).unwrap(), worker.bodies[0]);
    assert_eq!(
        worker.disk.content("/out/new.ndjson").unwrap(),
        worker.bodies[1]
    );
}

#[test]
fn gzip_and_plain_never_share_a_file() {
    let worker = Worker::new(1, 1000);
    let mut sink = worker.open();
    let plain = parcel(&worker.bodies[0], Compression::Identity);
    let gzip = parcel(&Bytes::from_static(b"\x1f\x8bmember"), Compression::Gzip);
    let mut deliver = |parcel: &Parcel| {
        while at_once(sink.deliver(parcel)) == Outcome::RecordFirst {
            sink.recorded();
        }
    };
    deliver(&plain);
    deliver(&gzip);
    deliver(&gzip);
    assert_eq!(worker.disk.paths().len(), 2);
    assert_eq!(
        worker.disk.content(PATH).unwrap(),
        b"\x1f\x8bmember\x1f\x8bmember"
    );
}

#[test]
fn nothing_is_written_until_the_record_is_made() {
    let worker = Worker::new(1, 1000);
    let mut sink = worker.open();
    let first = parcel(&worker.bodies[0], Compression::Identity);
    for _ in 0..3 {
        assert_eq!(at_once(sink.deliver(&first)), Outcome::RecordFirst);
    }
    assert_eq!(worker.disk.content(PATH).unwrap(), b"");
    sink.recorded();
    assert_eq!(at_once(sink.deliver(&first)), Outcome::Delivered);
}

#[test]
fn a_path_or_state_that_cannot_work_is_refused_at_open() {
    let open = |path: &str, state: &[u8]| {
        let mut worker = Worker::new(0, 1000);
        worker.settings.path = path.into();
        let context = OpenContext {
            node: "node",
            journal: JournalId(0),
            journals: 1,
            stream: "archive".into(),
            disk: Arc::new(worker.disk.clone()),
            clock: Arc::new(|| Timestamp(0)),
            state: Some(state),
        };
        FileSink::open(&worker.settings, context).map_err(|error| error.to_string())
    };
    assert!(open("/", b"").unwrap_err().contains("file name"));
    assert!(
        open(&format!("/{}", "p".repeat(900)), b"")
            .unwrap_err()
            .contains("900")
    );
    assert!(open(PATH, &[9; 40]).unwrap_err().contains("version"));
    assert!(open(PATH, b"").is_ok());
}

#[test]
fn real_files_are_cut_at_restart_closed_and_reported_with_their_path() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("not/yet");
    let path = missing.join("events.ndjson");
    let settings = FileSettings {
        path: path.clone(),
        rotate_bytes: 20,
        ..Worker::new(0, 0).settings
    };
    let open = |state: &[u8]| {
        let context = OpenContext {
            node: "node",
            journal: JournalId(3),
            journals: 4,
            stream: "archive".into(),
            disk: Arc::new(RealDisk),
            clock: Arc::new(|| Timestamp(START_MICROS)),
            state: Some(state),
        };
        FileSink::open(&settings, context).unwrap()
    };
    let deliver = |sink: &mut FileSink, body: &'static [u8]| loop {
        let parcel = parcel(&Bytes::from_static(body), Compression::Identity);
        match at_once(sink.deliver(&parcel)) {
            Outcome::RecordFirst => sink.recorded(),
            outcome => break outcome,
        }
    };
    // The place of the directory is taken by a file.
    std::fs::write(dir.path().join("not"), b"").unwrap();
    let mut sink = open(b"");
    let Outcome::Retry { why, .. } = deliver(&mut sink, b"first\n") else {
        panic!("there is no directory to write to");
    };
    assert_eq!(why.reason, "file_write_failed");
    assert!(why.detail.contains("/not"), "{}", why.detail);
    std::fs::remove_file(dir.path().join("not")).unwrap();
    assert_eq!(deliver(&mut sink, b"first\n"), Outcome::Delivered);
    let state = Sink::state(&sink);
    assert_eq!(deliver(&mut sink, b"not recorded\n"), Outcome::Delivered);
    let mut sink = open(&state);
    let current = missing.join("events.3.ndjson");
    assert_eq!(std::fs::read(&current).unwrap(), b"first\n");
    assert_eq!(
        deliver(&mut sink, b"longer than there is room\n"),
        Outcome::Delivered
    );
    assert_eq!(
        std::fs::read(&current).unwrap(),
        b"longer than there is room\n"
    );
    let closed = missing.join("events.3.2026-11-21T08-15-03Z.ndjson");
    assert_eq!(std::fs::read(closed).unwrap(), b"first\n");
}
