//! The audit thread: makes audit events of what the parts tell, durable in the internal journal.
//!
//! What waits for an answer is written at once, one event each, and answered by the internal
//! journal. Everything else goes through windows: what the internal journal refuses returns
//! to its window and is written later, so no count is lost while the node lives. The thread
//! also publishes the head of each journal's hash chain. Told that the node stops, it publishes
//! the heads and ends all windows before it records the stop.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, select};

use crate::audit::event::{self, Author, hex};
use crate::audit::sum::Sum;
use crate::audit::window::{Moment, Span, Windows};
use crate::audit::{Action, Answer, Notice, Report, Reports};
use crate::journal::internal::{InternalRequest, RecordKind};
use crate::os::clock::Clock;
use crate::position::{JournalId, Offset, OffsetRange};
use crate::shard::run::ShardLedger;

/// How often the head of a journal's hash chain is published when it moved.
const HEADS_EVERY: Duration = Duration::from_secs(5 * 60);

/// How long the thread waits at its end for the internal journal's last answers.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// What the thread is made of.
#[derive(Debug)]
pub(super) struct AuditParts {
    /// What the parts tell.
    pub reports: Reports,
    /// Where events are made durable.
    pub internal: Sender<InternalRequest>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Id of the node.
    pub node: [u8; 16],
    /// The journals whose heads are published.
    pub journals: Vec<(JournalId, Arc<ArcSwap<ShardLedger>>)>,
}

/// Starts the thread; it ends when every [`crate::audit::AuditLog`] is gone.
///
/// # Errors
/// When the thread cannot be started.
pub(super) fn spawn(parts: AuditParts) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("weir-audit".to_owned())
        .spawn(move || AuditThread::new(parts).run())
}

/// Offset and hash of the last durable block.
type Head = (Offset, [u8; 32]);

/// What came of an event nobody waits for.
#[derive(Debug)]
enum Written {
    Span(Span, bool),
    Head(usize, Head, bool),
}

struct AuditThread {
    parts: AuditParts,
    author: Author,
    windows: Windows,
    written: (Sender<Written>, Receiver<Written>),
    /// Events on their way whose outcome will come.
    on_their_way: usize,
    heads_due: Duration,
    /// The heads published last, by index of the journal.
    published: Vec<Option<Head>>,
}

impl AuditThread {
    fn new(parts: AuditParts) -> Self {
        let author = Author {
            node: uuid::Uuid::from_bytes(parts.node).to_string(),
            correlation: uuid::Uuid::new_v4().to_string(),
        };
        Self {
            author,
            windows: Windows::default(),
            written: crossbeam_channel::unbounded(),
            on_their_way: 0,
            heads_due: parts.clock.now().monotonic,
            published: vec![None; parts.journals.len()],
            parts,
        }
    }

    fn run(mut self) {
        while !self.parts.reports.is_ending() {
            self.turn();
            let now = self.now().monotonic;
            let due = self.windows.next_due().unwrap_or(self.heads_due);
            let wait = due.min(self.heads_due).saturating_sub(now);
            select! {
                recv(self.parts.reports.bell()) -> rung => if rung.is_err() {
                    break;
                },
                recv(self.written.1) -> written => if let Ok(written) = written {
                    self.settle(written);
                },
                default(wait) => {}
            }
        }
        self.turn();
        self.end();
    }

    /// Takes what was told, writes what is due.
    fn turn(&mut self) {
        while let Ok(written) = self.written.1.try_recv() {
            self.settle(written);
        }
        self.take();
        let now = self.now().monotonic;
        for span in self.windows.due(now) {
            self.write(span);
        }
        if self.heads_due <= now {
            self.heads_due = now + HEADS_EVERY;
            self.publish_heads();
        }
    }

    fn take(&mut self) {
        let reports: Vec<Report> = self.parts.reports.try_iter().collect();
        for Report { notice, answer } in reports {
            match answer {
                Some(answer) => self.record(&notice, answer),
                None => {
                    let now = self.now();
                    let first = self.windows.tell(&notice, now);
                    first.into_iter().for_each(|span| self.write(span));
                }
            }
        }
        for sum in self.parts.reports.take_sums() {
            let now = self.now();
            let first = self.windows.take_in(sum, now);
            first.into_iter().for_each(|span| self.write(span));
        }
    }

    fn record(&mut self, notice: &Notice, answer: Answer) {
        if notice.action == Action::NodeStop {
            self.publish_heads();
            for span in self.windows.close() {
                self.write(span);
            }
        }
        let span = Span::at(Sum::of(notice), self.now().wall);
        self.send(&span, answer);
    }

    /// Publishes the heads that moved since they were published.
    fn publish_heads(&mut self) {
        for at in 0..self.parts.journals.len() {
            let (journal, ledger) = &self.parts.journals[at];
            let ledger = ledger.load();
            let head = (ledger.durable_end, ledger.chain);
            // The head of a journal without a block says nothing.
            if self.published[at] == Some(head) || head.1 == [0; 32] {
                continue;
            }
            let notice = notice_of_head(*journal, head);
            let span = Span::at(Sum::of(&notice), self.now().wall);
            let written = self.written.0.clone();
            self.on_their_way += 1;
            self.send(
                &span,
                Box::new(move |durable| drop(written.send(Written::Head(at, head, durable)))),
            );
        }
    }

    /// Writes an event; what becomes of it comes back in time.
    fn write(&mut self, span: Span) {
        let written = self.written.0.clone();
        let sent = span.clone();
        self.on_their_way += 1;
        self.send(
            &sent,
            Box::new(move |durable| drop(written.send(Written::Span(span, durable)))),
        );
    }

    fn send(&self, span: &Span, answer: Answer) {
        let id = uuid::Uuid::new_v4().to_string();
        let request = InternalRequest {
            kind: RecordKind::AuditEvent,
            lines: event::line(&self.author, &id, span),
            count: 1,
            answer,
        };
        if let Err(refused) = self.parts.internal.send(request) {
            // The internal journal's thread has ended; the node is about to stop for it.
            (refused.0.answer)(false);
        }
    }

    fn settle(&mut self, written: Written) {
        self.on_their_way -= 1;
        match written {
            Written::Span(_, true) | Written::Head(_, _, false) => {}
            Written::Span(span, false) => self.windows.put_back(span, self.now().monotonic),
            Written::Head(at, head, true) => self.published[at] = Some(head),
        }
    }

    /// Writes what the windows hold, and says what could not be written.
    fn end(mut self) {
        for span in self.windows.close() {
            self.write(span);
        }
        while self.on_their_way > 0 {
            match self.written.1.recv_timeout(LAST_ANSWERS) {
                Ok(written) => self.settle(written),
                Err(_) => break,
            }
        }
        for span in self.windows.close() {
            tracing::error!(?span, "an audit event could not be written before the end");
        }
    }

    fn now(&self) -> Moment {
        let now = self.parts.clock.now();
        Moment {
            monotonic: now.monotonic,
            wall: now.wall,
        }
    }
}

/// The head as an anchor: `OFFSET:HASH`, the last block's hash and the offset behind it.
fn notice_of_head(journal: JournalId, (offset, hash): Head) -> Notice {
    let at = OffsetRange {
        first: offset,
        end: offset,
    };
    Notice::new(Action::JournalHeadPublish, journal.to_string(), "anchor")
        .range(journal, at)
        .heads(hash, hash)
        .text("anchor", format!("{offset}:{}", hex(&hash)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::AuditLog;
    use crate::audit::window::{AGAIN, WINDOW};
    use crate::os::clock::FakeClock;
    use crate::position::Timestamp;
    use serde_json::Value;

    /// The thread's machine without its thread, before an internal journal that answers as told.
    struct Scene {
        log: AuditLog,
        clock: FakeClock,
        ledger: Arc<ArcSwap<ShardLedger>>,
        requests: Receiver<InternalRequest>,
        audit: AuditThread,
    }

    impl Scene {
        fn new() -> Self {
            let (log, reports) = AuditLog::new();
            let clock = FakeClock::at(Timestamp(1_700_000_000_000_000));
            let ledger = Arc::<ArcSwap<ShardLedger>>::default();
            let (internal, requests) = crossbeam_channel::unbounded();
            let audit = AuditThread::new(AuditParts {
                reports,
                internal,
                clock: Arc::new(clock.clone()),
                node: [7; 16],
                journals: vec![(JournalId(0), Arc::clone(&ledger))],
            });
            Self {
                log,
                clock,
                ledger,
                requests,
                audit,
            }
        }

        /// One turn, in which the journal answers so; the events it was given.
        fn turn(&mut self, durable: bool) -> Vec<Value> {
            self.audit.turn();
            let mut events = Vec::new();
            while let Ok(request) = self.requests.try_recv() {
                assert_eq!(request.kind, RecordKind::AuditEvent);
                events.push(serde_json::from_slice(&request.lines).expect("a JSON line"));
                (request.answer)(durable);
            }
            events
        }

        fn set_head(&self, offset: u64, byte: u8) {
            self.ledger.store(Arc::new(ShardLedger {
                durable_end: Offset(offset),
                chain: [byte; 32],
                ..ShardLedger::default()
            }));
        }
    }

    fn reject(lines: u64) -> Notice {
        Notice::new(Action::LineReject, "apps", "malformed")
            .failed()
            .events(lines)
    }

    #[test]
    fn what_the_journal_refuses_is_written_later_with_what_came_since() {
        let mut scene = Scene::new();
        scene.log.tell(reject(3));
        assert_eq!(scene.turn(false)[0]["requestData"]["events"], 3);
        scene.log.tell(reject(4));
        assert_eq!(scene.turn(false).len(), 0);
        scene.clock.advance(AGAIN);
        assert_eq!(scene.turn(false)[0]["requestData"]["events"], 7);
        assert_eq!(scene.turn(true).len(), 0);
        scene.clock.advance(AGAIN);
        let written = scene.turn(true);
        assert_eq!(written[0]["requestData"]["events"], 7);
        assert_eq!(written[0]["requestData"]["count"], 2);
        scene.clock.advance(WINDOW);
        assert_eq!(scene.turn(true).len(), 0);
    }

    #[test]
    fn who_waits_is_answered_as_the_journal_answers() {
        let mut scene = Scene::new();
        let (sender, answered) = crossbeam_channel::unbounded();
        for durable in [true, false] {
            let sender = sender.clone();
            let answer = Box::new(move |durable| sender.send(durable).expect("someone listens"));
            let notice = Notice::new(Action::EventDiscard, "siem", "hold_max");
            scene.log.record(notice, answer);
            assert_eq!(scene.turn(durable).len(), 1);
            assert_eq!(answered.try_iter().collect::<Vec<_>>(), vec![durable]);
        }
        // A refused record is not tried again: what it was to tell did not happen.
        scene.clock.advance(WINDOW);
        assert_eq!(scene.turn(true).len(), 0);
    }

    #[test]
    fn a_head_is_published_until_it_is_durable_and_again_when_it_moved() {
        let mut scene = Scene::new();
        assert_eq!(scene.turn(true).len(), 0, "there is no block yet");
        scene.set_head(5, 1);
        assert_eq!(scene.turn(true).len(), 0, "it is not due");
        for (durable, published) in [(false, 1), (true, 1), (true, 0)] {
            scene.clock.advance(HEADS_EVERY);
            let events = scene.turn(durable);
            assert_eq!(events.len(), published);
            if let Some(event) = events.first() {
                let anchor = format!("5:{}", "01".repeat(32));
                assert_eq!(event["requestData"]["anchor"], anchor);
            }
        }
        scene.set_head(6, 2);
        scene.clock.advance(HEADS_EVERY);
        assert_eq!(scene.turn(true).len(), 1);
    }

    #[test]
    fn a_stop_comes_behind_the_heads_and_all_sums() {
        let mut scene = Scene::new();
        scene.turn(true);
        scene.set_head(5, 1);
        scene.log.tell(reject(3));
        scene.log.tell(reject(4));
        let stop = Notice::new(Action::NodeStop, "", "signal");
        scene.log.record(stop, Box::new(|durable| assert!(durable)));
        let actions: Vec<_> = scene
            .turn(true)
            .iter()
            .map(|event| event["action"].as_str().expect("text").to_owned())
            .collect();
        assert_eq!(
            actions,
            [
                "weir.line.reject",
                "weir.journal-head.publish",
                "weir.line.reject",
                "weir.node.stop",
            ]
        );
    }

    #[test]
    fn the_thread_writes_what_its_windows_hold_before_it_ends() {
        let Scene {
            log,
            requests,
            audit,
            ..
        } = Scene::new();
        log.tell(reject(1));
        log.tell(reject(20));
        drop(log);
        let journal = std::thread::Builder::new()
            .spawn(move || {
                let mut events = 0;
                for request in requests {
                    let event: Value = serde_json::from_slice(&request.lines).expect("JSON");
                    events += event["requestData"]["events"].as_u64().expect("a number");
                    (request.answer)(true);
                }
                events
            })
            .expect("a thread");
        audit.run();
        assert_eq!(journal.join().expect("ends"), 21);
    }
}
