//! What a lane makes of a delivery's outcome.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::lane::{DISK_AGAIN, RunningLane, discard_ordered};
use super::park::Probed;
use super::streamed::{StreamedBatch, Trouble};
use super::{StopPhase, random_bytes};
use crate::audit::{Action, Notice};
use crate::batch::{Batch, Body, BodyForm, Parcel, StreamedBody, share};
use crate::metrics::ledger::DiscardReason;
use crate::sink::{Failure, Outcome, Sink as _, retry};
use crate::stream::encode::parcel_of;
use crate::stream::lane::LaneAction;
use crate::stream::lines::Unreadable;
use crate::stream::refusal::Ruling;
use crate::stream::status::LaneActivity;

/// How long a delivery that is under way may still take once the lane was told to discard.
const DISCARD_GRACE: Duration = Duration::from_millis(500);

/// Who makes a body while it is sent.
type Made = Rc<RefCell<StreamedBatch>>;

/// Why a batch was not delivered, and what the destination asks for.
struct Failed {
    why: Failure,
    after: Option<Duration>,
}

impl RunningLane {
    pub(super) async fn deliver(&mut self, batch: &Batch) {
        if !self.may_deliver().await {
            return;
        }
        let (mut parcel, made) = match self.parcel(batch) {
            Ok(parcel) => parcel,
            Err(unreadable) => return self.lose(unreadable).await,
        };
        if parcel.events == 0 {
            // A range that was cut under another rule, of which this one takes nothing.
            let now = self.shared.clock.now().monotonic;
            self.core.delivered(0, self.sink.state(), now);
            return;
        }
        if self.parked.is_none() {
            self.show(LaneActivity::Delivering);
        }
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
        if let Some(made) = made {
            let trouble = made.borrow_mut().take_trouble();
            match trouble {
                Some(Trouble::Lost(unreadable)) => return self.lose(unreadable).await,
                Some(Trouble::Disk(error)) => {
                    return self.trouble("read the journal", &error).await;
                }
                None => parcel.raw_bytes = made.borrow().raw_bytes(),
            }
        }
        self.settle(batch, &parcel, outcome).await;
    }

    /// The batch as it is given to the sink, and who makes its body meanwhile.
    fn parcel(&self, batch: &Batch) -> Result<(Parcel, Option<Made>), Unreadable> {
        let (form, template) = (self.shared.form, self.content.template.as_ref());
        if let BodyForm::Streamed(_) = form {
            let reader = self.parts.reader.another();
            let made = StreamedBatch::new(batch, &self.shared, &self.content, reader);
            let made = Rc::new(RefCell::new(made));
            let body = Body::Streamed(StreamedBody(Rc::clone(&made) as _));
            return Ok((parcel_of(batch, (body, 0), form, template), Some(made)));
        }
        let mut encoder = self.shared.encoder.borrow_mut();
        Ok((encoder.encode(batch, form, template)?, None))
    }

    /// Gives up events of the batch that cannot be read.
    async fn lose(&mut self, unreadable: Unreadable) {
        let (range, detail) = (unreadable.range, unreadable.to_string());
        if (self.tell_discard(range, DiscardReason::Damaged, detail)).await {
            let now = self.shared.clock.now().monotonic;
            self.core.unreadable(range, now);
            self.show(LaneActivity::Delivering);
        }
    }

    async fn settle(&mut self, batch: &Batch, parcel: &Parcel, outcome: Outcome) {
        let now = self.shared.clock.now().monotonic;
        match outcome {
            Outcome::Delivered => {
                self.accepted(batch, parcel.body_bytes());
                let sink = self.sink.state();
                self.core.delivered(parcel.raw_bytes, sink, now);
                self.show(LaneActivity::Delivering);
            }
            Outcome::RecordFirst => self.record_first(now),
            Outcome::Partial {
                retry,
                reject,
                why,
                after,
            } => {
                let failed = Failed { why, after };
                self.settle_partly(batch, parcel, (&retry, &reject), failed)
                    .await;
            }
            Outcome::Retry { why, after } => {
                let ruling = self.refusals.failed(now);
                self.rule(ruling, (batch, parcel), Failed { why, after })
                    .await;
            }
            Outcome::Split { why } => {
                let ruling = if parcel.events > 1 {
                    Ruling::Bisect
                } else {
                    self.refusals.rejected(1)
                };
                let after = None;
                self.rule(ruling, (batch, parcel), Failed { why, after })
                    .await;
            }
            Outcome::Refused { why } => {
                let ruling = self.refusals.refused(parcel.events, now);
                let after = None;
                self.rule(ruling, (batch, parcel), Failed { why, after })
                    .await;
            }
        }
    }

    /// Does what follows from a batch that was not delivered.
    async fn rule(&mut self, ruling: Ruling, (batch, parcel): (&Batch, &Parcel), failed: Failed) {
        let ruling = match ruling {
            Ruling::Probe if self.shared.probes => match self.probe().await {
                Probed::Accepted => {
                    let now = self.shared.clock.now().monotonic;
                    self.refusals.probe_accepted(parcel.events, now)
                }
                Probed::Refused(why) => {
                    self.park(why.reason, &why);
                    return;
                }
                // Nothing is known: the way to the destination is broken, or the node ends.
                Probed::Failed => Ruling::Again,
            },
            Ruling::Probe => Ruling::Again,
            known => known,
        };
        match ruling {
            Ruling::Again | Ruling::Probe => self.retry(&failed.why, failed.after),
            Ruling::Bisect => {
                if self.core.split() {
                    let why = &failed.why;
                    *self.shown.failures.entry(why.reason).or_default() += 1;
                    tracing::info!(
                        stream = %self.shared.name, batch = %batch.id,
                        reason = why.reason, detail = %why.detail, "batch split"
                    );
                } else {
                    self.retry(&failed.why, failed.after);
                }
            }
            Ruling::SetAside => {
                let all: Vec<_> = (0..u32::try_from(parcel.events).unwrap_or(u32::MAX))
                    .map(|record| (record, failed.why.clone()))
                    .collect();
                if self.set_aside(batch, &all).await {
                    let now = self.shared.clock.now().monotonic;
                    self.core.dead_lettered(now);
                    self.show(LaneActivity::Delivering);
                }
            }
            Ruling::Park => self.park("refuses_everything", &failed.why),
        }
    }

    /// The destination said what became of each record.
    async fn settle_partly(
        &mut self,
        batch: &Batch,
        parcel: &Parcel,
        (retry, reject): (&[u32], &[(u32, Failure)]),
        failed: Failed,
    ) {
        let (left, rejected) = (retry.len() as u64, reject.len() as u64);
        let delivered = parcel.events - left - rejected;
        if delivered > 0 {
            let bytes = share(parcel.body_bytes(), delivered, parcel.events);
            self.accepted(batch, bytes);
        }
        if let Some((_, why)) = reject.first() {
            // Records are dead letters of their own accord, unless nothing at all is taken.
            if delivered == 0 && self.refusals.rejected(rejected) == Ruling::Park {
                self.park("refuses_everything", why);
                return;
            }
            if !self.set_aside(batch, reject).await {
                return;
            }
        }
        let now = self.shared.clock.now().monotonic;
        let bytes = share(parcel.raw_bytes, delivered, parcel.events);
        self.core.partly(retry, rejected, bytes, now);
        if left > 0 {
            self.retry(&failed.why, failed.after);
        } else {
            self.show(LaneActivity::Delivering);
        }
    }

    /// The destination has taken events.
    fn accepted(&mut self, batch: &Batch, body_bytes: u64) {
        let now = self.shared.clock.now().wall;
        self.refusals.delivered();
        self.unpark();
        if self.core.attempt() > 0 {
            let notice = Notice::new(Action::StreamSend, &*self.shared.name, "recovered");
            self.shared.audit.tell(notice.events(batch.events()));
        }
        self.shown.batches += 1;
        self.shown.sent_bytes += body_bytes;
        self.shown.last_failure = Arc::default();
        for part in &batch.parts {
            let age = Duration::from_micros(now.micros_since(part.block.received_first));
            self.shared.latency.record(age, part.taken().events);
        }
    }

    /// Makes the sink's state durable before anything is sent under it.
    fn record_first(&mut self, now: Duration) {
        self.core.record_sink(self.sink.state());
        if let LaneAction::Record(state) = self.core.next(now) {
            match self.parts.record.write(&state) {
                Ok(()) => {
                    self.parts.hold.pass(state.cursor);
                    self.core.recorded();
                    self.sink.recorded();
                }
                Err(error) => {
                    tracing::error!(stream = %self.shared.name, %error, "write the cursor record");
                    self.core.failed(now + DISK_AGAIN);
                    self.show(LaneActivity::Retrying);
                }
            }
        }
    }

    /// The same batch again, later.
    fn retry(&mut self, why: &Failure, after: Option<Duration>) {
        let random = u64::from_le_bytes(random_bytes());
        let delay = retry::delay(
            &self.shared.retry.backoff,
            self.core.attempt(),
            random,
            after,
        );
        self.note_failure(why);
        self.core.failed(self.shared.clock.now().monotonic + delay);
        self.show(LaneActivity::Retrying);
    }

    /// Counts a failed try, shows it, and tells of it: the first at once, further ones in sum.
    pub(super) fn note_failure(&mut self, why: &Failure) {
        if self.shown.last_failure.is_empty() {
            tracing::warn!(
                stream = %self.shared.name, journal = %self.parts.journal,
                reason = why.reason, detail = %why.detail, "delivery failed"
            );
        }
        let notice = Notice::new(Action::StreamSend, &*self.shared.name, why.reason);
        self.shared.audit.tell(notice.detail(&*why.detail).failed());
        *self.shown.failures.entry(why.reason).or_default() += 1;
        self.shown.last_failure = format!("{}: {}", why.reason, why.detail).into();
    }
}
