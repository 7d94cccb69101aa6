//! A stream's thread and what it gives up: told durably, recorded, and only then seen.

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use tokio::sync::{mpsc, watch};

use super::delivery::{LaneParts, StopPhase, StreamParts, spawn};
use crate::audit::{Action, AuditLog, Report, Reports};
use crate::batch::{Compression, CursorState};
use crate::block::codec::{CompressionLevel, best_codec};
use crate::block::{Block, CodecId};
use crate::config::plan::StreamPlan;
use crate::journal::cursor::CursorRecord;
use crate::journal::keeper::Hold;
use crate::journal::letters::LetterStore;
use crate::journal::reader::Reader;
use crate::journal::segments::{Catalog, SegmentEntry};
use crate::journal::settings::{HoldPolicy, LettersSettings};
use crate::journal::tail::Tail;
use crate::metrics::latency::Latency;
use crate::metrics::ledger::DiscardReason;
use crate::os::clock::SystemClock;
use crate::os::memory_disk::MemoryDisk;
use crate::position::{JournalId, Offset, OffsetRange, SegmentId, Timestamp};
use crate::sink::settings::{
    Backoff, HttpSettings, ReplyForm, RetrySettings, SinkSettings, TlsSettings,
};
use crate::stream::content::Content;
use crate::stream::select::Take;
use crate::stream::settings::{AuditChoice, BatchLimits, StartAt, StreamSettings};

const RECORD: &str = "/siem.0.cursor";
const LONG: Duration = Duration::from_secs(60);

/// A stream with one lane, whose destination takes requests and answers none.
struct Bench {
    disk: MemoryDisk,
    hold: Arc<Hold>,
    reports: Reports,
    /// `Idempotency-Key` of every request that has come.
    requests: Receiver<String>,
    stop: watch::Sender<StopPhase>,
    thread: std::thread::JoinHandle<std::io::Result<()>>,
}

/// A journal that begins with an event at `first` and ends behind ten of them.
fn start(first: u64) -> Bench {
    let disk = MemoryDisk::new();
    let catalog = Arc::<Catalog>::default();
    catalog.add(SegmentEntry {
        sequence: 1,
        segment: SegmentId([1; 16]),
        first: Offset(first),
        end: None,
        path: "/1.seg".into(),
        file_bytes: 1 << 20,
        last_used: Timestamp(1),
    });
    let tail = Arc::new(Tail::new(1 << 20, Offset(first)));
    tail.publish(&[block(first)]);
    let shared: Arc<MemoryDisk> = Arc::new(disk.clone());
    let reader = Reader::new(JournalId(0), shared.clone(), false, catalog, tail);
    let opened = CursorRecord::open(&disk, Path::new(RECORD), JournalId(0), [7; 16]);
    let hold = Hold::new("siem".into(), HoldPolicy::default(), Offset(0));
    let hold = Arc::new(hold);
    let lane = LaneParts {
        journal: JournalId(0),
        state: CursorState::default(),
        record: opened.expect("a record").record,
        reader,
        status: Arc::new(ArcSwap::default()),
        hold: Arc::clone(&hold),
    };
    let (address, requests) = silent_endpoint();
    let (audit, reports) = AuditLog::new();
    let (stop, stop_seen) = watch::channel(StopPhase::Running);
    let thread = spawn(StreamParts {
        node: "node".into(),
        plan: plan(address),
        content: Arc::new(ArcSwap::from_pointee(Content::everything())),
        lanes: vec![lane],
        journals: 1,
        disk: shared,
        clock: Arc::new(SystemClock),
        audit,
        latency: Latency::default(),
        letters: LetterStore::open(
            Arc::new(disk.clone()),
            Path::new("dead-letters"),
            "siem",
            LettersSettings::default(),
        )
        .expect("a store")
        .0,
        inputs: Arc::new([]),
        commands: mpsc::channel(1).1,
        stop: stop_seen,
    });
    Bench {
        disk,
        hold,
        reports,
        requests,
        stop,
        thread: thread.expect("a thread"),
    }
}

fn plan(address: std::net::SocketAddr) -> StreamPlan {
    let url = format!("http://{address}/in");
    StreamPlan {
        selection: None,
        stream: StreamSettings {
            take: Take::default(),
            template: None,
            version: 0,
            name: "siem".into(),
            from: StartAt::Start,
            audit: AuditChoice::None,
            batch: BatchLimits {
                bytes_max: 1 << 20,
                age_max: Duration::from_millis(1),
                records_max: None,
            },
        },
        hold: HoldPolicy::default(),
        retry: RetrySettings {
            backoff: Backoff {
                delay_min: Duration::from_millis(1),
                delay_max: Duration::from_millis(1),
            },
            probe_after: LONG,
            probe_every: LONG,
        },
        letters: LettersSettings::default(),
        sink: SinkSettings::Http(HttpSettings {
            urls: vec![url.parse().expect("a URL")],
            headers: Vec::new(),
            token: None,
            compression: Compression::Gzip,
            content_type: None,
            body_bytes_max: None,
            replies: ReplyForm::Status,
            proxy: None,
            connect_timeout: LONG,
            request_timeout: LONG,
            tls: TlsSettings::default(),
        }),
    }
}

fn block(first: u64) -> Arc<Block> {
    let raw = "{\"a\":1}\n".repeat(10);
    let mut body = Vec::new();
    best_codec(CompressionLevel::FASTEST)
        .compress_run(raw.as_bytes(), &mut body)
        .expect("it compresses");
    Arc::new(Block {
        journal: JournalId(0),
        segment: SegmentId([1; 16]),
        first: Offset(first),
        events: 10,
        codec: CodecId::DeflateRun,
        raw_len: u32::try_from(raw.len()).expect("small"),
        raw_crc32: crc32fast::hash(raw.as_bytes()),
        received_first: Timestamp(1),
        received_last: Timestamp(1),
        metadata: 0..0,
        body: 0..body.len(),
        image: Bytes::from(body),
        verdicts: Arc::default(),
    })
}

fn silent_endpoint() -> (std::net::SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (asked, requests) = crossbeam_channel::unbounded();
    let serve = move || {
        let mut open: Vec<TcpStream> = Vec::new();
        for socket in listener.incoming() {
            let socket = socket.expect("a connection");
            let kept = socket.try_clone().expect("a handle");
            let lines = BufReader::new(socket).lines().map_while(Result::ok);
            let key = lines
                .take_while(|line| !line.is_empty())
                .find_map(|line| Some(line.strip_prefix("idempotency-key: ")?.to_owned()));
            if asked.send(key.expect("a key")).is_err() {
                return;
            }
            open.push(kept);
        }
    };
    let thread = std::thread::Builder::new().spawn(serve);
    drop(thread.expect("a thread"));
    (address, requests)
}

impl Bench {
    fn recorded(&self) -> CursorState {
        let opened = CursorRecord::open(&self.disk, Path::new(RECORD), JournalId(0), [7; 16]);
        opened.expect("a record").state.unwrap_or_default()
    }

    /// The next report; nothing of it has happened yet.
    fn told(&self, reason: &str, range: OffsetRange) -> Report {
        let report = loop {
            if let Some(report) = self.reports.try_iter().next() {
                break report;
            }
            let rung = self.reports.bell().recv_timeout(LONG);
            assert_ne!(rung, Err(RecvTimeoutError::Timeout), "a report");
        };
        assert_eq!(report.notice.action, Action::EventDiscard);
        assert_eq!(
            (report.notice.reason, &*report.notice.target),
            (reason, "siem")
        );
        assert_eq!(report.notice.range, Some((JournalId(0), range)));
        assert_eq!(self.hold.cursor(), range.first);
        assert_eq!(self.recorded().cursor, range.first);
        report
    }

    fn cursor_becomes(&self, cursor: u64) {
        while self.hold.cursor() < Offset(cursor) {
            assert!(!self.thread.is_finished(), "the stream has ended");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(self.hold.cursor(), Offset(cursor));
    }

    fn stop(self) {
        self.stop.send_replace(StopPhase::Now);
        self.thread.join().expect("it ends").expect("well");
    }
}

fn range(first: u64, end: u64) -> OffsetRange {
    OffsetRange {
        first: Offset(first),
        end: Offset(end),
    }
}

fn answer(report: Report, durable: bool) {
    report.answer.expect("someone waits")(durable);
}

#[test]
fn a_hanging_delivery_is_broken_off_and_nothing_is_discarded_before_that_is_durable() {
    let bench = start(0);
    let first = bench.requests.recv_timeout(LONG).expect("a request");
    assert!(first.contains("/0-"), "{first}");
    bench
        .hold
        .order_discard(Offset(6), DiscardReason::JournalFull);
    let report = bench.told("journal_full", range(0, 6));
    answer(report, false);
    // It could not be made durable: it is told again, and still nothing has happened.
    let report = bench.told("journal_full", range(0, 6));
    answer(report, true);
    bench.cursor_becomes(6);
    let state = bench.recorded();
    assert_eq!(state.cursor, Offset(6));
    assert_eq!(state.counts.settled(), 6);
    assert!(state.balances());
    // What is left of the batch has an identity of its own. The first batch may have been sent
    // again while the audit log was given time.
    let keys = std::iter::from_fn(|| bench.requests.recv_timeout(LONG).ok());
    let mut others = keys.filter(|key| *key != first);
    let rest = others.next().expect("another batch");
    assert!(rest.contains("/6-"), "{rest}");
    assert_eq!(bench.hold.discard_order(), None);
    bench.stop();
}

#[test]
fn a_segment_that_is_gone_is_passed_only_when_that_is_told() {
    let bench = start(5);
    let report = bench.told("missing", range(0, 5));
    answer(report, true);
    let key = bench.requests.recv_timeout(LONG).expect("a request");
    assert!(key.contains("/5-"), "{key}");
    bench.cursor_becomes(5);
    let state = bench.recorded();
    assert_eq!((state.counts.settled(), state.balances()), (5, true));
    assert_eq!(bench.reports.try_iter().count(), 0, "told once");
    bench.stop();
}
