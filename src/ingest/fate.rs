//! The fate of lines: how an input learns that what it handed over is durable.
//!
//! A connection or a body has one [`Fate`]. The shard settles it in the order the lines
//! came, once their blocks are synced and their rejects too. Single-threaded: a fate lives
//! on its shard.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// What is known of the fate of one sender's lines.
#[derive(Debug, Default)]
pub struct Fate {
    /// Lines, counted from the first, whose fate is on disk; never goes back.
    settled: Cell<u64>,
    /// Set once when something could not be made durable; nothing settles after.
    lost: Cell<bool>,
    changed: Notify,
}

/// The lines could not be made durable. The sender still has them and must send them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal could not make the events durable; send them again")]
pub struct NotDurable;

/// "When this block is durable, lines up to `line` of this fate are settled."
#[derive(Debug, Clone)]
pub struct Waiter {
    /// Whose fate.
    pub fate: Rc<Fate>,
    /// Lines settled, counted from the first line of the connection or body.
    pub line: u64,
}

impl Fate {
    /// Lines settled so far.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.settled.get()
    }

    /// Waits until at least `line` lines are settled; returns how many are.
    ///
    /// # Errors
    /// [`NotDurable`] when a write or sync failed for good.
    pub async fn reach(&self, line: u64) -> Result<u64, NotDurable> {
        loop {
            if self.settled.get() >= line {
                return Ok(self.settled.get());
            }
            if self.lost.get() {
                return Err(NotDurable);
            }
            // Single-threaded: nothing can settle between the checks and the first poll of this,
            // which is what makes it one of those woken.
            self.changed.notified().await;
        }
    }

    /// Waits until something is lost; for ever, when nothing is.
    pub async fn lost(&self) {
        while !self.lost.get() {
            self.changed.notified().await;
        }
    }

    /// Records that lines up to `line` are settled, and wakes all who wait: a connection that
    /// ends waits for its last line beside the task that writes its acks.
    pub fn settle(&self, line: u64) {
        if line > self.settled.get() && !self.lost.get() {
            self.settled.set(line);
            self.changed.notify_waiters();
        }
    }

    /// Records that something could not be made durable, and wakes who waits.
    pub fn lose(&self) {
        self.lost.set(true);
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_fate_wakes_its_waiter_and_never_goes_back() {
        let fate = Rc::new(Fate::default());
        fate.settle(3);
        fate.settle(2);
        assert_eq!(fate.reach(2).await, Ok(3));
        let other = Rc::clone(&fate);
        let waiter = async move { other.reach(5).await };
        let settler = async { fate.settle(7) };
        let (reached, ()) = tokio::join!(waiter, settler);
        assert_eq!(reached, Ok(7));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn all_who_wait_are_woken_by_one_change() {
        let fate = Fate::default();
        let settler = async { fate.settle(2) };
        let (first, second, ()) = tokio::join!(fate.reach(1), fate.reach(2), settler);
        assert_eq!((first, second), (Ok(2), Ok(2)));
        let loser = async { fate.lose() };
        let (first, second, ()) = tokio::join!(fate.reach(3), fate.reach(3), loser);
        assert_eq!((first, second), (Err(NotDurable), Err(NotDurable)));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_waits_for_a_loss_hears_of_it_and_of_nothing_else() {
        let fate = Fate::default();
        let heard = Cell::new(false);
        let waiter = async {
            fate.lost().await;
            heard.set(true);
        };
        let settler = async {
            fate.settle(1);
            tokio::task::yield_now().await;
            assert!(!heard.get());
            fate.lose();
        };
        tokio::join!(waiter, settler);
        assert!(heard.get());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_lost_fate_settles_no_more() {
        let fate = Fate::default();
        fate.settle(1);
        fate.lose();
        fate.settle(9);
        assert_eq!(fate.reach(1).await, Ok(1));
        assert_eq!(fate.reach(2).await, Err(NotDurable));
    }
}
