//! What keeper and lane know of each other: one value for each stream and journal.
//!
//! The lane says how far it is, durably, and whether its destination fails; the keeper says
//! what the lane is to give up. Events are given up by the lane alone: it tells the audit log
//! first, then moves its cursor, and only then may the keeper take their segment.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use tokio::sync::Notify;

use crate::journal::settings::HoldPolicy;
use crate::metrics::ledger::DiscardReason;
use crate::position::Offset;

/// What the keeper wants a lane to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiscardOrder {
    /// Events below, from the cursor on.
    pub to: Offset,
    /// Why.
    pub reason: DiscardReason,
}

/// How one stream holds one journal; see the module's documentation.
#[derive(Debug)]
pub struct Hold {
    stream: Arc<str>,
    policy: HoldPolicy,
    /// As in the durable cursor record: events below are not needed any more. Never goes back.
    cursor: AtomicU64,
    /// Monotonic microseconds, plus one, of the first failure since the last success; 0: none.
    failing_since: AtomicU64,
    order: Mutex<Option<DiscardOrder>>,
    ordered: Notify,
    bell: OnceLock<Arc<Bell>>,
}

impl Hold {
    /// A hold of a stream from its recorded cursor on.
    #[must_use]
    pub fn new(stream: Arc<str>, policy: HoldPolicy, cursor: Offset) -> Self {
        Self {
            stream,
            policy,
            cursor: AtomicU64::new(cursor.0),
            failing_since: AtomicU64::new(0),
            order: Mutex::default(),
            ordered: Notify::new(),
            bell: OnceLock::new(),
        }
    }

    /// The stream.
    #[must_use]
    pub fn stream(&self) -> &Arc<str> {
        &self.stream
    }

    /// What the stream may hold, and what it gives up first.
    #[must_use]
    pub fn policy(&self) -> &HoldPolicy {
        &self.policy
    }

    /// Next offset the stream needs, as it is on disk.
    #[must_use]
    pub fn cursor(&self) -> Offset {
        Offset(self.cursor.load(Ordering::Acquire))
    }

    /// Since when, on the monotonic clock, every try has failed; `None` when the last one did
    /// not, or there was none.
    #[must_use]
    pub fn failing_since(&self) -> Option<Duration> {
        let since = self.failing_since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_micros(since))
    }

    /// Says whether the last try of the batch that is out failed, as seen `now`.
    pub fn set_failing(&self, failing: bool, now: Duration) {
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX - 1) + 1;
        if failing {
            // It is left as it is when it failed before, too.
            let first = &self.failing_since;
            first
                .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed)
                .ok();
        } else {
            self.failing_since.store(0, Ordering::Relaxed);
        }
    }

    /// Says that a record with this cursor is durable. The keeper is woken when it waits for
    /// that.
    pub fn pass(&self, cursor: Offset) {
        self.cursor.fetch_max(cursor.0, Ordering::AcqRel);
        let done = self.lock().take_if(|order| order.to <= cursor).is_some();
        if let Some(bell) = self.bell.get() {
            bell.ring(done);
        }
    }

    /// Has the lane give up its events below `to`. An order that reaches further stands.
    pub fn order_discard(&self, to: Offset, reason: DiscardReason) {
        let mut order = self.lock();
        if order.is_none_or(|standing| standing.to < to) {
            *order = Some(DiscardOrder { to, reason });
            drop(order);
            self.ordered.notify_one();
        }
    }

    /// The order that the durable cursor has not passed yet.
    #[must_use]
    pub fn discard_order(&self) -> Option<DiscardOrder> {
        let cursor = self.cursor();
        self.lock().filter(|order| order.to > cursor)
    }

    /// Waits until there is an order. One waiter at a time: the lane.
    pub async fn order_given(&self) {
        while self.discard_order().is_none() {
            self.ordered.notified().await;
        }
    }

    /// From now on the keeper behind the bell is told of progress.
    pub(super) fn attach(&self, bell: &Arc<Bell>) {
        // A hold has one keeper for as long as the node runs.
        drop(self.bell.set(Arc::clone(bell)));
    }

    fn lock(&self) -> MutexGuard<'_, Option<DiscardOrder>> {
        // An order is replaced whole.
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the keeper.
#[derive(Debug)]
pub(super) struct Bell {
    rung: Sender<()>,
    /// An order for a segment waits: any progress may help.
    pub(super) wanted: AtomicBool,
}

impl Bell {
    /// A bell, and where it is heard.
    pub(super) fn new() -> (Arc<Self>, Receiver<()>) {
        let (rung, heard) = crossbeam_channel::bounded(1);
        let wanted = AtomicBool::new(false);
        (Arc::new(Self { rung, wanted }), heard)
    }

    fn ring(&self, needed: bool) {
        if needed || self.wanted.load(Ordering::Relaxed) {
            // Rung already is rung; and a keeper that is gone needs no bell.
            self.rung.try_send(()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_stands_until_the_durable_cursor_has_passed_it() {
        let hold = Hold::new("siem".into(), HoldPolicy::default(), Offset(5));
        let (bell, heard) = Bell::new();
        hold.attach(&bell);
        hold.order_discard(Offset(5), DiscardReason::HoldMax);
        assert_eq!(hold.discard_order(), None, "nothing is left below");
        hold.order_discard(Offset(9), DiscardReason::JournalFull);
        hold.order_discard(Offset(7), DiscardReason::HoldMax);
        let to = Offset(9);
        let reason = DiscardReason::JournalFull;
        assert_eq!(hold.discard_order(), Some(DiscardOrder { to, reason }));
        hold.pass(Offset(8));
        assert!(hold.discard_order().is_some());
        assert!(heard.try_recv().is_err(), "nobody waits for that");
        hold.pass(Offset(9));
        assert_eq!(hold.discard_order(), None);
        assert!(heard.try_recv().is_ok(), "the keeper hears of it");
    }

    #[test]
    fn progress_wakes_a_keeper_that_waits_for_any() {
        let hold = Hold::new("siem".into(), HoldPolicy::default(), Offset(5));
        let (bell, heard) = Bell::new();
        hold.attach(&bell);
        bell.wanted.store(true, Ordering::Relaxed);
        hold.pass(Offset(6));
        hold.pass(Offset(7));
        assert!(heard.try_recv().is_ok());
        assert!(heard.try_recv().is_err(), "once is enough");
        assert_eq!(hold.cursor(), Offset(7));
    }

    #[tokio::test]
    async fn an_order_given_before_the_wait_is_not_missed() {
        let hold = Hold::new("siem".into(), HoldPolicy::default(), Offset(0));
        hold.order_discard(Offset(1), DiscardReason::BacklogMax);
        hold.order_given().await;
        hold.pass(Offset(1));
        let (waited, ()) = tokio::join!(hold.order_given(), async {
            tokio::task::yield_now().await;
            hold.order_discard(Offset(2), DiscardReason::BacklogMax);
        });
        waited
    }
}
