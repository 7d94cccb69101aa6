//! Probes, and a lane that is parked: it delivers nothing until the destination takes something.
//!
//! A parked lane asks the destination again every `probe_every`, and when somebody says so.

use std::time::Duration;

use super::StopPhase;
use super::lane::RunningLane;
use crate::audit::{Action, Notice};
use crate::sink::{Failure, Outcome, Sink as _};
use crate::stream::probe;
use crate::stream::status::LaneActivity;

/// Why a lane is parked.
#[derive(Debug)]
pub(super) struct Parked {
    /// The word: a failure's, `refuses_everything` or `dead_letters_full`.
    reason: &'static str,
    since: Duration,
}

impl Parked {
    /// The destination takes probes all the same: only events can tell whether it is better.
    fn takes_probes(&self) -> bool {
        matches!(self.reason, REFUSES_EVERYTHING | DEAD_LETTERS_FULL)
    }
}

/// The destination takes probes and no event.
pub(super) const REFUSES_EVERYTHING: &str = "refuses_everything";

/// There is no room for the dead letters of the stream.
pub(super) const DEAD_LETTERS_FULL: &str = "dead_letters_full";

/// What became of a probe.
pub(super) enum Probed {
    /// The destination took it.
    Accepted,
    /// The destination refused it.
    Refused(Failure),
    /// It did not come through, or the node ended first.
    Failed,
}

impl RunningLane {
    /// False while the lane is parked and a probe says that it stays so.
    pub(super) async fn may_deliver(&mut self) -> bool {
        if self.parked.as_ref().is_none_or(Parked::takes_probes) {
            return true;
        }
        match self.probe().await {
            Probed::Accepted => {
                self.unpark();
                true
            }
            Probed::Refused(why) => {
                self.park(why.reason, &why);
                false
            }
            Probed::Failed => {
                self.wait_parked();
                false
            }
        }
    }

    /// Sends a probe: one marked event, made as those of the journal are.
    pub(super) async fn probe(&mut self) -> Probed {
        let drawn = uuid::Uuid::new_v4().into_bytes();
        let encoded = probe::parcel(
            &mut self.shared.encoder.borrow_mut(),
            (&self.shared.name, self.parts.journal),
            (self.shared.form, self.content.template.as_ref()),
            (drawn, self.shared.clock.now().wall),
            1,
        );
        let parcel = match encoded {
            Ok(parcel) => parcel,
            Err(error) => {
                tracing::error!(stream = %self.shared.name, %error, "make a probe");
                return Probed::Failed;
            }
        };
        let outcome = tokio::select! {
            biased;
            outcome = self.sink.deliver(&parcel) => outcome,
            _ = self.stop.wait_for(|phase| *phase == StopPhase::Now) => return Probed::Failed,
        };
        match outcome {
            Outcome::Delivered => Probed::Accepted,
            Outcome::Refused { why } | Outcome::Split { why } => Probed::Refused(why),
            Outcome::Partial { mut reject, .. } if !reject.is_empty() => {
                Probed::Refused(reject.remove(0).1)
            }
            Outcome::Partial { retry, .. } if retry.is_empty() => Probed::Accepted,
            Outcome::Partial { why, .. } | Outcome::Retry { why, .. } => {
                self.note_failure(&why);
                Probed::Failed
            }
            // Of a file, which is never probed.
            Outcome::RecordFirst => Probed::Failed,
        }
    }

    /// Delivers nothing more until the destination is better. Told once.
    pub(super) fn park(&mut self, reason: &'static str, why: &Failure) {
        self.note_failure(why);
        let now = self.shared.clock.now().monotonic;
        if self
            .parked
            .as_ref()
            .is_none_or(|parked| parked.reason != reason)
        {
            tracing::error!(
                stream = %self.shared.name, journal = %self.parts.journal, reason,
                detail = %why.detail, "parked: the destination takes nothing"
            );
            let notice = Notice::new(Action::StreamPark, &*self.shared.name, reason);
            let notice = notice.text("journal", self.parts.journal.to_string());
            self.shared.audit.tell(notice.detail(&*why.detail).failed());
            let since = self.parked.as_ref().map_or(now, |parked| parked.since);
            self.parked = Some(Parked { reason, since });
        }
        self.wait_parked();
    }

    fn wait_parked(&mut self) {
        let now = self.shared.clock.now().monotonic;
        self.core.failed(now + self.shared.retry.probe_every);
        self.show(LaneActivity::Parked);
    }

    /// The destination takes events again.
    pub(super) fn unpark(&mut self) {
        let Some(parked) = self.parked.take() else {
            return;
        };
        let now = self.shared.clock.now().monotonic;
        tracing::info!(
            stream = %self.shared.name, journal = %self.parts.journal,
            "no longer parked: the destination takes events again"
        );
        let notice = Notice::new(Action::StreamResume, &*self.shared.name, parked.reason)
            .text("journal", self.parts.journal.to_string())
            .number("parkedSeconds", now.saturating_sub(parked.since).as_secs());
        self.shared.audit.tell(notice);
    }

    /// Somebody says that the destination is better: it is tried at once, and what it refused
    /// before does not count.
    pub(super) fn resume(&mut self) {
        self.refusals.forget();
        self.core.hurry(self.shared.clock.now().monotonic);
    }
}
