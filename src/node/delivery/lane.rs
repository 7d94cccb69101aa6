//! A lane under way: does what the state machine says, and tells it what came of it.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::park::Parked;
use super::streamed::{place, read_again};
use super::{LaneParts, Shared, StopPhase, status_of};
use crate::batch::{BodyForm, Compression, CursorState, Selected};
use crate::block::Block;
use crate::block::codec::Inflater;
use crate::journal::internal::RecordKind;
use crate::journal::keeper::hold::Hold;
use crate::journal::reader::{GapReason, ReadNext};
use crate::journal::tail::Doorbell;
use crate::metrics::ledger::DiscardReason;
use crate::os::priority;
use crate::position::{JournalId, Offset, OffsetRange};
use crate::sink::AnySink;
use crate::stream::content::Content;
use crate::stream::lane::{Lane, LaneAction};
use crate::stream::own::{OwnForm, OwnRuns};
use crate::stream::refusal::Refusals;
use crate::stream::settings::STREAMED_HELD_BYTES_MAX;
use crate::stream::status::{LaneActivity, LaneStatus};
use crate::stream::template::Template;

/// How long a lane waits before it tries a disk again that refused.
pub(super) const DISK_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct RunningLane {
    pub(super) core: Lane,
    /// The lines that the stream takes of blocks.
    pub(super) own_runs: OwnRuns,
    /// What the batches under way are made by; the one in force once none is.
    pub(super) content: Arc<Content>,
    pub(super) sink: AnySink,
    /// What the destination refused lately.
    pub(super) refusals: Refusals,
    /// Nothing is delivered, for this reason.
    pub(super) parked: Option<Parked>,
    pub(super) doorbell: Arc<Doorbell>,
    /// The status as it is counted up here and published from here.
    pub(super) shown: LaneStatus,
    pub(super) inflater: Inflater,
    pub(super) parts: LaneParts,
    pub(super) shared: Rc<Shared>,
    pub(super) stop: watch::Receiver<StopPhase>,
    /// Rings when somebody says that the destination is better.
    pub(super) resume: watch::Receiver<()>,
    /// Events whose loss is in a durable audit event already: what is cut anew because of them
    /// meets them again.
    pub(super) told: OffsetRange,
    /// An order to discard is not tried before this time, because the audit log failed.
    pub(super) discard_again: Option<Duration>,
}

impl RunningLane {
    pub(super) async fn run(mut self) {
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
                        let has_own = |selected: &Arc<Selected>| selected.own.is_some();
                        let block = if selected.as_ref().is_some_and(has_own) {
                            Arc::new(block.without_body())
                        } else {
                            block
                        };
                        let (block, selected) = if self.holds_enough() {
                            place(&block, selected)
                        } else {
                            (block, selected)
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
                // An unreadable block is found out, and given up, when it is encoded.
                let measured = read_again(&mut self.parts.reader, &part).map_or(None, |part| {
                    let mut encoder = self.shared.encoder.borrow_mut();
                    encoder.measure(&part, bytes_max, events_max).ok()
                });
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

    /// Whether what is read now will be read again when it is sent.
    fn holds_enough(&self) -> bool {
        matches!(self.shared.form, BodyForm::Streamed(_))
            && self.core.held_bytes() >= STREAMED_HELD_BYTES_MAX
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
        let form = own_form(self.shared.form, self.content.template.as_ref());
        // What comes from disk is this stream's alone.
        let is_shared = !self.parts.reader.is_behind();
        let selections = if is_shared { &selections.all } else { own };
        let selected = {
            let mut selector = self.shared.selector.borrow_mut();
            self.own_runs.set_form(form);
            let selected = selector.select(block, take, selections, &mut self.own_runs);
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

    pub(super) async fn record(&mut self, state: &CursorState) {
        match self.parts.record.write(state) {
            Ok(()) => {
                self.core.recorded();
                self.parts.hold.pass(state.cursor);
            }
            Err(error) => self.trouble("write the cursor record", &error).await,
        }
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
            Ok(()) = self.resume.changed() => self.resume(),
        }
    }

    pub(super) async fn trouble(&mut self, what: &str, error: &io::Error) {
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

    pub(super) fn show(&mut self, activity: LaneActivity) {
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

/// How the lines that a stream takes are wanted.
fn own_form(form: BodyForm, template: Option<&Template>) -> OwnForm {
    let is_changed = template.is_some_and(|template| !template.is_raw());
    match form {
        BodyForm::Whole(Compression::Gzip) | BodyForm::Streamed(Compression::Gzip)
            if !is_changed =>
        {
            OwnForm::Compressed
        }
        _ => OwnForm::Raw,
    }
}

/// Waits until the lane is told to discard, and may try.
pub(super) async fn discard_ordered(hold: &Hold, again: Option<Duration>, now: Duration) {
    let pause = again.map(|again| again.saturating_sub(now));
    if let Some(pause) = pause.filter(|pause| !pause.is_zero()) {
        tokio::time::sleep(pause).await;
    }
    hold.order_given().await;
}
