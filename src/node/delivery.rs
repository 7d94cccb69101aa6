//! A stream's thread: the shell around its lanes.
//!
//! One thread a stream, one task a lane, one lane a journal. The thread reads, encodes,
//! records and delivers; a slow destination costs the others nothing.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};

use crate::audit::{Action, AuditLog, Notice};
use crate::batch::{Batch, BodyForm, CursorState, Parcel, Selected, share};
use crate::block::Block;
use crate::block::codec::{CompressionLevel, Inflater, best_codec};
use crate::config::plan::StreamPlan;
use crate::journal::cursor::CursorRecord;
use crate::journal::internal::RecordKind;
use crate::journal::keeper::hold::{DiscardOrder, Hold};
use crate::journal::reader::{GapReason, ReadNext, Reader};
use crate::journal::tail::Doorbell;
use crate::metrics::latency::Latency;
use crate::metrics::ledger::DiscardReason;
use crate::os::clock::Clock;
use crate::os::disk::Disk;
use crate::os::priority;
use crate::position::{JournalId, Offset, OffsetRange};
use crate::sink::settings::RetrySettings;
use crate::sink::{AnySink, Failure, OpenContext, Outcome, Sink as _, retry};
use crate::stream::content::Content;
use crate::stream::encode::Encoder;
use crate::stream::lane::{Lane, LaneAction};
use crate::stream::pace::Pace;
use crate::stream::select::Selector;
use crate::stream::status::{LaneActivity, LaneStatus};

/// How long a lane waits before it tries a disk again that refused.
const DISK_AGAIN: Duration = Duration::from_secs(1);

/// How long a delivery that is under way may still take once the lane was told to discard.
const DISCARD_GRACE: Duration = Duration::from_millis(500);

/// One lane's parts.
#[derive(Debug)]
pub struct LaneParts {
    /// The journal.
    pub journal: JournalId,
    /// Where to begin.
    pub state: CursorState,
    /// Its record.
    pub record: CursorRecord,
    /// Its reader.
    pub reader: Reader,
    /// What the scraper sees.
    pub status: Arc<ArcSwap<LaneStatus>>,
    /// What retention sees of it, and what it is told to discard.
    pub hold: Arc<Hold>,
}

/// One stream's parts.
#[derive(Debug)]
pub struct StreamParts {
    /// What it runs on.
    pub plan: StreamPlan,
    /// What it makes of the journal, in force.
    pub content: Arc<ArcSwap<Content>>,
    /// Its lanes.
    pub lanes: Vec<LaneParts>,
    /// Journals of the node.
    pub journals: usize,
    /// Its id, as text.
    pub node: Arc<str>,
    /// Where file sinks write.
    pub disk: Arc<dyn Disk>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where discards are told before they happen.
    pub audit: AuditLog,
    /// Received to delivered.
    pub latency: Latency,
    /// How far the node is on its way to stop.
    pub stop: watch::Receiver<StopPhase>,
}

/// How far the node is on its way to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopPhase {
    /// It runs.
    Running,
    /// Deliver what is durable, then end.
    Drain,
    /// End now; what is not delivered stays in the journal.
    Now,
}

/// Starts a stream's thread.
///
/// # Errors
/// When the thread cannot be started.
pub fn spawn(parts: StreamParts) -> io::Result<JoinHandle<io::Result<()>>> {
    // The kernel shows 15 bytes of a thread's name.
    let name = format!("weir-{}", parts.plan.stream.name);
    std::thread::Builder::new().name(name).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, run(parts))
    })
}

async fn run(parts: StreamParts) -> io::Result<()> {
    let StreamParts {
        plan,
        content,
        lanes,
        journals,
        node,
        disk,
        clock,
        audit,
        latency,
        stop,
    } = parts;
    let encoder = Encoder::new(best_codec(CompressionLevel::FASTEST));
    let shared = Rc::new(Shared {
        encoder: RefCell::new(encoder),
        selector: RefCell::default(),
        content,
        form: plan.sink.body_form(),
        retry: plan.retry,
        name: Arc::clone(&plan.stream.name),
        clock: Arc::clone(&clock),
        audit,
        latency,
        pace: RefCell::default(),
    });
    let mut tasks = Vec::new();
    for lane in lanes {
        let wall_clock = Arc::clone(&clock);
        let context = OpenContext {
            node: &node,
            journal: lane.journal,
            journals,
            stream: Arc::clone(&plan.stream.name),
            disk: Arc::clone(&disk),
            clock: Arc::new(move || wall_clock.now().wall),
            state: Some(lane.state.sink.as_slice()).filter(|state| !state.is_empty()),
        };
        let sink = AnySink::open(&plan.sink, context).map_err(io::Error::other)?;
        let name = Arc::clone(&plan.stream.name);
        let content = shared.content.load_full();
        let limits = (plan.stream.batch, content.version);
        let core = Lane::new(name, lane.journal, limits, lane.state.clone());
        let lane_start = lane.state.cursor;
        let doorbell = lane.reader.tail().doorbell();
        let shown = (*lane.status.load_full()).clone();
        let shared = Rc::clone(&shared);
        let running = RunningLane {
            core,
            content,
            sink,
            doorbell,
            shown,
            inflater: Inflater::new(),
            parts: lane,
            shared,
            stop: stop.clone(),
            told: OffsetRange {
                first: lane_start,
                end: lane_start,
            },
            discard_again: None,
        };
        tasks.push(tokio::task::spawn_local(running.run()));
    }
    for task in tasks {
        task.await.map_err(io::Error::other)?;
    }
    Ok(())
}

/// What the lanes of a stream share.
struct Shared {
    encoder: RefCell<Encoder>,
    selector: RefCell<Selector>,
    content: Arc<ArcSwap<Content>>,
    form: BodyForm,
    retry: RetrySettings,
    name: Arc<str>,
    clock: Arc<dyn Clock>,
    audit: AuditLog,
    latency: Latency,
    pace: RefCell<Pace>,
}

struct RunningLane {
    core: Lane,
    /// What the batches under way are made by; the one in force once none is.
    content: Arc<Content>,
    sink: AnySink,
    doorbell: Arc<Doorbell>,
    /// The status as it is counted up here and published from here.
    shown: LaneStatus,
    inflater: Inflater,
    parts: LaneParts,
    shared: Rc<Shared>,
    stop: watch::Receiver<StopPhase>,
    /// Events whose loss is in a durable audit event already: what is cut anew because of them
    /// meets them again.
    told: OffsetRange,
    /// An order to discard is not tried before this time, because the audit log failed.
    discard_again: Option<Duration>,
}

impl RunningLane {
    async fn run(mut self) {
        self.show(LaneActivity::Idle);
        loop {
            let phase = *self.stop.borrow_and_update();
            match phase {
                StopPhase::Running => {}
                StopPhase::Drain => self.core.drain(),
                StopPhase::Now => break,
            }
            let now = self.shared.clock.now().monotonic;
            if self.discard_again.is_none_or(|again| again <= now)
                && let Some(order) = self.parts.hold.discard_order()
            {
                self.discard(order).await;
                continue;
            }
            self.adopt_content();
            match self.core.next(now) {
                LaneAction::Done => break,
                action => self.perform(action).await,
            }
        }
        self.record_last();
        self.show(LaneActivity::Stopped);
    }

    async fn perform(&mut self, action: LaneAction) {
        match action {
            LaneAction::Read(offset) => match self.read(offset) {
                Ok(ReadNext::Block(block)) => {
                    let now = self.shared.clock.now().monotonic;
                    if !self.is_for_streams(&block) {
                        self.core.pass(block, now);
                    } else if let Some(selected) = self.select(&block, offset).await {
                        let has_lines = |selected: &Arc<Selected>| selected.lines.is_some();
                        let block = if selected.as_ref().is_some_and(has_lines) {
                            Arc::new(block.without_body())
                        } else {
                            block
                        };
                        self.core.read(block, selected, now);
                    }
                    if self.shown.activity != LaneActivity::Delivering {
                        self.show(LaneActivity::Delivering);
                    }
                    // Long reads from disk give the stream's other lanes their turn.
                    tokio::task::yield_now().await;
                }
                Ok(ReadNext::End) => self.core.end(),
                Ok(ReadNext::Gap { range, why }) => {
                    let (reason, detail) = match why {
                        GapReason::Gone => (DiscardReason::Missing, "their segment is gone".into()),
                        GapReason::Damaged(detail) => (DiscardReason::Damaged, detail),
                    };
                    let range = OffsetRange {
                        first: offset,
                        ..range
                    };
                    if self.tell_discard(range, reason, detail).await {
                        self.core.gap(range, reason);
                    }
                }
                Err(error) => self.trouble("read the journal", &error).await,
            },
            LaneAction::Measure {
                part,
                bytes_max,
                events_max,
            } => {
                let mut encoder = self.shared.encoder.borrow_mut();
                let measured = encoder.measure(&part, bytes_max, events_max);
                drop(encoder);
                // An unreadable block is found out, and given up, when it is encoded.
                self.core.measured(measured.unwrap_or(u64::MAX));
            }
            LaneAction::Record(state) => self.record(&state).await,
            LaneAction::Deliver(batch) => self.deliver(&batch).await,
            LaneAction::Wait { until, raw_bytes } => self.wait(until, raw_bytes).await,
            LaneAction::Done => {}
        }
    }

    /// Reads on; a thread whose lanes read from disk for long gives way to the others.
    fn read(&mut self, offset: Offset) -> io::Result<ReadNext> {
        let read = self.parts.reader.next(offset);
        let now = self.shared.clock.now().monotonic;
        let (journal, behind) = (self.parts.journal, self.parts.reader.is_behind());
        let changed = self.shared.pace.borrow_mut().read(journal, behind, now);
        if let Some(behind) = changed {
            priority::give_way(behind);
        }
        read
    }

    /// A changed content holds from the next uncut batch on.
    fn adopt_content(&mut self) {
        let in_force = self.shared.content.load();
        if !Arc::ptr_eq(&in_force, &self.content) && self.core.adopt(in_force.version) {
            self.content = Arc::clone(&in_force);
        }
    }

    /// What is taken of a block; the inner `None`: everything. Audit events are asked for apart, and
    /// no rule is asked of them. A block that no rule can judge is given up: sent whole, it could be
    /// what a rule keeps back.
    async fn select(
        &mut self,
        block: &Arc<Block>,
        offset: Offset,
    ) -> Option<Option<Arc<Selected>>> {
        if self.parts.journal == JournalId::INTERNAL {
            return Some(None);
        }
        let Content {
            take,
            selections,
            own,
            ..
        } = &*self.content;
        // What comes from disk is this stream's alone.
        let is_shared = !self.parts.reader.is_behind();
        let selections = if is_shared { &selections.all } else { own };
        let selected = {
            let mut selector = self.shared.selector.borrow_mut();
            let selected = selector.select(block, take, selections);
            if is_shared && selector.has_kept() {
                self.parts.reader.tail().keep_again(Arc::clone(block));
            }
            selected
        };
        match selected {
            Ok(selected) => Some(selected),
            Err(unreadable) => {
                let range = OffsetRange {
                    first: offset,
                    ..block.range()
                };
                let (reason, detail) = (DiscardReason::Damaged, unreadable.to_string());
                if self.tell_discard(range, reason, detail).await {
                    self.core.gap(range, reason);
                }
                None
            }
        }
    }

    /// Of the internal journal only audit events ever leave the node.
    fn is_for_streams(&mut self, block: &Block) -> bool {
        self.parts.journal != JournalId::INTERNAL
            || RecordKind::of_block(block, &mut self.inflater) == Some(RecordKind::AuditEvent)
    }

    async fn record(&mut self, state: &CursorState) {
        match self.parts.record.write(state) {
            Ok(()) => {
                self.core.recorded();
                self.parts.hold.pass(state.cursor);
            }
            Err(error) => self.trouble("write the cursor record", &error).await,
        }
    }

    /// Gives up what the keeper says: told durably first, then recorded, and only then does the
    /// keeper see the cursor behind it. What cannot be told is not given up.
    async fn discard(&mut self, order: DiscardOrder) {
        let DiscardOrder { to, reason } = order;
        let first = self.core.state().cursor;
        if first < to {
            let range = OffsetRange { first, end: to };
            let policy = self.parts.hold.policy();
            let detail = match reason {
                DiscardReason::HoldMax => format!(
                    "the destination took nothing for longer than hold_max = {:?}",
                    policy.hold_max.unwrap_or_default()
                ),
                DiscardReason::BacklogMax => format!(
                    "the stream held more than backlog_bytes_max = {} bytes",
                    policy.backlog_bytes_max.unwrap_or_default()
                ),
                DiscardReason::JournalFull | DiscardReason::Damaged | DiscardReason::Missing => {
                    format!(
                        "no room was left, and when_full = {}",
                        policy.when_full.as_str()
                    )
                }
            };
            if !self.tell_discard(range, reason, detail).await {
                return;
            }
            self.core
                .discard_to(to, reason, self.shared.clock.now().monotonic);
        }
        let state = self.core.state().clone();
        self.record(&state).await;
        self.show(LaneActivity::Delivering);
    }

    async fn wait(&mut self, until: Option<Duration>, raw_bytes: u64) {
        if !self.core.is_sending() && self.core.oldest_received().is_none() {
            self.show(LaneActivity::Idle);
        }
        let now = self.shared.clock.now().monotonic;
        let tail = Arc::clone(self.parts.reader.tail());
        let seen = self.core.state().cursor;
        let doorbell = Arc::clone(&self.doorbell);
        let more = async {
            if raw_bytes == u64::MAX {
                std::future::pending().await
            } else {
                tail.wait(&doorbell, seen, raw_bytes).await;
            }
        };
        let time = async {
            match until {
                Some(until) => tokio::time::sleep(until.saturating_sub(now)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = more => {}
            () = time => {}
            () = discard_ordered(&self.parts.hold, self.discard_again, now) => {}
            _ = self.stop.changed() => {}
        }
    }

    async fn deliver(&mut self, batch: &Batch) {
        let encoded = self.shared.encoder.borrow_mut().encode(
            batch,
            self.shared.form,
            self.content.template.as_ref(),
        );
        let parcel = match encoded {
            Ok(parcel) => parcel,
            Err(unreadable) => {
                let (lost, detail) = (unreadable.range, unreadable.to_string());
                if self
                    .tell_discard(lost, DiscardReason::Damaged, detail)
                    .await
                {
                    self.core
                        .unreadable(lost, self.shared.clock.now().monotonic);
                    self.show(LaneActivity::Delivering);
                }
                return;
            }
        };
        if parcel.events == 0 {
            // A range that was cut under another rule, of which this one takes nothing.
            let now = self.shared.clock.now().monotonic;
            self.core.delivered(0, self.sink.state(), now);
            return;
        }
        self.show(LaneActivity::Delivering);
        let now = self.shared.clock.now().monotonic;
        let given_up = async {
            discard_ordered(&self.parts.hold, self.discard_again, now).await;
            tokio::time::sleep(DISCARD_GRACE).await;
        };
        let outcome = tokio::select! {
            biased;
            outcome = self.sink.deliver(&parcel) => outcome,
            // Only the end of the node's patience and an order to discard break off a delivery.
            () = given_up => return,
            _ = self.stop.wait_for(|phase| *phase == StopPhase::Now) => return,
        };
        self.settle(batch, &parcel, outcome);
    }

    fn settle(&mut self, batch: &Batch, parcel: &Parcel, outcome: Outcome) {
        let now = self.shared.clock.now();
        match outcome {
            Outcome::Delivered => {
                self.core
                    .delivered(parcel.raw_bytes, self.sink.state(), now.monotonic);
                self.shown.batches += 1;
                self.shown.sent_bytes += parcel.body_bytes();
                self.shown.last_failure = Arc::default();
                for part in &batch.parts {
                    let micros = now.wall.micros_since(part.block.received_first);
                    let age = Duration::from_micros(micros);
                    self.shared.latency.record(age, part.taken().events);
                }
                self.show(LaneActivity::Delivering);
            }
            Outcome::RecordFirst => {
                self.core.record_sink(self.sink.state());
                if let LaneAction::Record(state) = self.core.next(now.monotonic) {
                    match self.parts.record.write(&state) {
                        Ok(()) => {
                            self.parts.hold.pass(state.cursor);
                            self.core.recorded();
                            self.sink.recorded();
                        }
                        Err(error) => {
                            tracing::error!(stream = %self.shared.name, %error, "write the cursor record");
                            self.core.failed(now.monotonic + DISK_AGAIN);
                            self.show(LaneActivity::Retrying);
                        }
                    }
                }
            }
            Outcome::Partial {
                mut retry,
                reject,
                why,
                after,
            } => {
                // Nothing is given up yet: what is refused is tried again.
                retry.extend(reject.iter().map(|(record, _)| *record));
                retry.sort_unstable();
                let left = retry.len() as u64;
                let bytes = share(parcel.raw_bytes, parcel.events - left, parcel.events);
                self.core.partly(&retry, 0, bytes, now.monotonic);
                if left > 0 {
                    self.retry(&why, after, now.monotonic);
                }
            }
            Outcome::Retry { why, after } => self.retry(&why, after, now.monotonic),
            Outcome::Split { why } => {
                if self.core.split() {
                    *self.shown.failures.entry(why.reason).or_default() += 1;
                    tracing::info!(stream = %self.shared.name, batch = %batch.id, why = %why.detail, "batch split");
                } else {
                    self.retry(&why, None, now.monotonic);
                }
            }
            // Dead letters and parking come with the sinks' next issue: until then nothing is
            // given up, so what is refused is tried again.
            Outcome::Refused { why } => self.retry(&why, None, now.monotonic),
        }
    }

    fn retry(&mut self, why: &Failure, after: Option<Duration>, now: Duration) {
        let random = u64::from_le_bytes(random_bytes());
        let delay = retry::delay(&self.shared.retry, self.core.attempt(), random, after);
        if self.shown.last_failure.is_empty() {
            tracing::warn!(
                stream = %self.shared.name, journal = %self.parts.journal,
                reason = why.reason, detail = %why.detail, "delivery failed; it is tried again"
            );
        }
        *self.shown.failures.entry(why.reason).or_default() += 1;
        self.shown.last_failure = format!("{}: {}", why.reason, why.detail).into();
        self.core.failed(now + delay);
        self.show(LaneActivity::Retrying);
    }

    /// Makes the loss of these events durable in the audit log. False when that failed, after a
    /// pause: then nothing is to be given up.
    async fn tell_discard(
        &mut self,
        range: OffsetRange,
        reason: DiscardReason,
        detail: String,
    ) -> bool {
        if self.told.first <= range.first && range.end <= self.told.end {
            return true;
        }
        let (stream, journal) = (&self.shared.name, self.parts.journal);
        tracing::warn!(
            %stream, %journal, %range, reason = reason.as_str(), detail,
            "events are discarded"
        );
        let notice = Notice::new(Action::EventDiscard, &**stream, reason.as_str())
            .range(journal, range)
            .detail(detail)
            .failed();
        let (answer, answered) = oneshot::channel();
        let answer = move |durable| {
            // A lane that was told to end waits no more.
            answer.send(durable).ok();
        };
        self.shared.audit.record(notice, Box::new(answer));
        let durable = tokio::select! {
            durable = answered => durable.unwrap_or(false),
            _ = self.stop.wait_for(|phase| *phase == StopPhase::Now) => return false,
        };
        if durable {
            self.told = range;
            self.discard_again = None;
        } else {
            let error = io::Error::other("the audit event could not be made durable");
            self.trouble("discard events", &error).await;
            self.discard_again = Some(self.shared.clock.now().monotonic + DISK_AGAIN);
        }
        durable
    }

    async fn trouble(&mut self, what: &str, error: &io::Error) {
        tracing::error!(stream = %self.shared.name, journal = %self.parts.journal, %error, "{what}");
        self.show(LaneActivity::Troubled);
        tokio::select! {
            () = tokio::time::sleep(DISK_AGAIN) => {}
            _ = self.stop.changed() => {}
        }
    }

    /// Makes the last progress durable; what fails now is delivered again after the start.
    fn record_last(&mut self) {
        if let Err(error) = self.parts.record.write(self.core.state()) {
            tracing::warn!(stream = %self.shared.name, %error, "write the cursor record");
        }
    }

    fn show(&mut self, activity: LaneActivity) {
        self.shown = LaneStatus {
            activity,
            oldest_received: self.core.oldest_received(),
            batches: self.shown.batches,
            sent_bytes: self.shown.sent_bytes,
            failures: std::mem::take(&mut self.shown.failures),
            last_failure: Arc::clone(&self.shown.last_failure),
            ..status_of(self.parts.journal, self.core.state())
        };
        let now = self.shared.clock.now().monotonic;
        self.parts.hold.set_failing(self.core.attempt() > 0, now);
        self.parts.status.store(Arc::new(self.shown.clone()));
    }
}

/// Waits until the lane is told to discard, and may try.
async fn discard_ordered(hold: &Hold, again: Option<Duration>, now: Duration) {
    let pause = again.map(|again| again.saturating_sub(now));
    if let Some(pause) = pause.filter(|pause| !pause.is_zero()) {
        tokio::time::sleep(pause).await;
    }
    hold.order_given().await;
}

/// What a lane's record says of it: where it stands and what it has counted up to there, both, or
/// the books of the stream would not balance.
pub(super) fn status_of(journal: JournalId, state: &CursorState) -> LaneStatus {
    let counts = &state.counts;
    let discarded = DiscardReason::ALL.iter().zip(counts.discarded);
    LaneStatus {
        journal: Some(journal),
        start: state.start,
        cursor: state.cursor,
        delivered: counts.delivered,
        delivered_bytes: counts.delivered_bytes,
        filtered: counts.filtered,
        sampled_out: counts.sampled_out,
        dead_lettered: counts.dead_lettered,
        discarded: discarded
            .map(|(reason, count)| (reason.as_str(), count))
            .collect(),
        ..LaneStatus::default()
    }
}

/// Eight random bytes for the jitter of retries.
fn random_bytes() -> [u8; 8] {
    let uuid = uuid::Uuid::new_v4();
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&uuid.as_bytes()[..8]);
    // The version nibble of a UUID stands in byte 6.
    bytes[6] ^= uuid.as_bytes()[15];
    bytes
}
