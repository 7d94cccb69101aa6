//! The byte budget of the node: what partial lines, bodies, blocks, tails and batches take.
//!
//! One number for all of it (`memory.max`). Who needs bytes takes a [`Grant`] first and
//! holds it as long as the bytes live; at the end of the budget new work waits or is
//! refused, and nothing that was accepted is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A shared budget of bytes.
#[derive(Debug, Clone)]
pub struct Budget {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    bytes_max: u64,
    /// Bytes granted; never above `bytes_max`.
    bytes_taken: AtomicU64,
}

/// Bytes taken from a budget; given back when dropped.
#[derive(Debug)]
pub struct Grant {
    budget: Budget,
    bytes: u64,
}

impl Budget {
    /// A budget of `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self {
            state: Arc::new(State {
                bytes_max,
                bytes_taken: AtomicU64::new(0),
            }),
        }
    }

    /// Takes `bytes`, or nothing when they are not to be had.
    #[must_use]
    pub fn take(&self, bytes: u64) -> Option<Grant> {
        self.raise(bytes).then(|| Grant {
            budget: self.clone(),
            bytes,
        })
    }

    /// Bytes taken now.
    #[must_use]
    pub fn bytes_taken(&self) -> u64 {
        self.state.bytes_taken.load(Ordering::Relaxed)
    }

    /// Size of the budget in bytes.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        self.state.bytes_max
    }

    fn raise(&self, bytes: u64) -> bool {
        let limit = self.state.bytes_max;
        self.state
            .bytes_taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                taken.checked_add(bytes).filter(|sum| *sum <= limit)
            })
            .is_ok()
    }
}

impl Grant {
    /// Makes the grant larger; false, and unchanged, when the bytes are not to be had.
    #[must_use]
    pub fn grow(&mut self, bytes: u64) -> bool {
        let grown = self.budget.raise(bytes);
        if grown {
            self.bytes += bytes;
        }
        grown
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.budget
            .state
            .bytes_taken
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_never_grants_more_than_it_has_and_takes_all_back() {
        let budget = Budget::new(100);
        let mut first = budget.take(60).expect("60 of 100");
        assert!(budget.take(41).is_none());
        assert!(first.grow(40));
        assert!(!first.grow(1));
        assert!(budget.take(1).is_none());
        assert_eq!(budget.bytes_taken(), 100);
        drop(first);
        assert_eq!(budget.bytes_taken(), 0);
        assert!(budget.take(u64::MAX).is_none());
    }
}
