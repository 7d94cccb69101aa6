//! Events that leave a lane undelivered: told durably first, then given up.

use std::io;

use super::StopPhase;
use super::lane::{DISK_AGAIN, RunningLane};
use crate::audit::{Action, Notice};
use crate::journal::keeper::hold::DiscardOrder;
use crate::metrics::ledger::DiscardReason;
use crate::position::OffsetRange;
use crate::stream::status::LaneActivity;

impl RunningLane {
    /// Gives up what the keeper says: told durably first, then recorded, and only then does the
    /// keeper see the cursor behind it. What cannot be told is not given up.
    pub(super) async fn discard(&mut self, order: DiscardOrder) {
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

    /// Makes the loss of these events durable in the audit log. False when that failed, after a
    /// pause: then nothing is to be given up.
    pub(super) async fn tell_discard(
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
        let durable = self.tell_durably(notice).await;
        if durable {
            self.told = range;
            self.discard_again = None;
        } else {
            self.discard_again = Some(self.shared.clock.now().monotonic + DISK_AGAIN);
        }
        durable
    }

    /// Makes an audit event durable. False when that failed, after a pause, or when the node ends:
    /// then what it says must not happen.
    pub(super) async fn tell_durably(&mut self, notice: Notice) -> bool {
        let told = self.shared.record(notice);
        let durable = tokio::select! {
            durable = told => durable.unwrap_or(false),
            _ = self.stop.wait_for(|phase| *phase == StopPhase::Now) => return false,
        };
        if !durable {
            let error = io::Error::other("the audit event could not be made durable");
            self.trouble("tell what happens", &error).await;
        }
        durable
    }
}
