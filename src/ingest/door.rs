//! The door of a shard: the one way in for every input.
//!
//! A `Door` is a handle to the shard's open block with the waiting around it: inputs ask
//! for room before they read, hand lines over, and wait for their fate. The shard's loop
//! sits behind it: it takes closed blocks and opens or shuts the gate.

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;

use tokio::sync::Notify;

use crate::budget::Budget;
use crate::ingest::exclusion::NodeExclusion;
use crate::ingest::gather::Gather;

/// Whether a shard takes lines now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GateState {
    /// Lines are taken.
    #[default]
    Open,
    /// Too much waits for its sync; this passes within milliseconds, so inputs just wait.
    Busy,
    /// The journal has no room until streams deliver or retention frees some. TCP is not read;
    /// HTTP answers 429 with `Retry-After`.
    Full,
    /// Nothing can be made durable. HTTP answers 503.
    Failed,
    /// The node is stopping: connections finish what they have begun and close.
    Stopping,
}

/// A shard's door. Cheap to clone; stays on its shard's thread.
#[derive(Debug, Clone)]
pub struct Door {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    gather: RefCell<Gather>,
    state: Cell<GateState>,
    /// Told when `state` changes; every waiting input wakes.
    state_changed: Notify,
    /// Told when the node stops; idle inputs wait for this alone.
    stopping: Notify,
    /// Told when a block closed or a first line came, so that the shard's loop looks.
    filled: Notify,
    budget: Budget,
    exclusion: Rc<NodeExclusion>,
}

impl Door {
    /// A door before `gather`, open.
    #[must_use]
    pub fn new(gather: Gather, budget: Budget, exclusion: Rc<NodeExclusion>) -> Self {
        Self {
            inner: Rc::new(Inner {
                gather: RefCell::new(gather),
                state: Cell::default(),
                state_changed: Notify::new(),
                stopping: Notify::new(),
                filled: Notify::new(),
                budget,
                exclusion,
            }),
        }
    }

    /// The node's exclusion rules.
    #[must_use]
    pub fn exclusion(&self) -> &Rc<NodeExclusion> {
        &self.inner.exclusion
    }

    /// Whether lines are taken now.
    #[must_use]
    pub fn state(&self) -> GateState {
        self.inner.state.get()
    }

    /// Opens or shuts the gate (the shard's loop).
    pub fn set_state(&self, state: GateState) {
        if self.inner.state.replace(state) != state {
            self.inner.state_changed.notify_waiters();
            if state == GateState::Stopping {
                self.inner.stopping.notify_waiters();
            }
        }
    }

    /// Waits until the node stops. Unlike [`Door::wait_for`] it sleeps through every other
    /// change, so thousands of idle connections cost nothing while the gate flaps.
    pub async fn stopping(&self) {
        let told = self.inner.stopping.notified();
        if self.state() != GateState::Stopping {
            told.await;
        }
    }

    /// Waits until the state is one of those `wanted` says.
    pub async fn wait_for(&self, wanted: impl Fn(GateState) -> bool) -> GateState {
        loop {
            let changed = self.inner.state_changed.notified();
            let state = self.state();
            if wanted(state) {
                return state;
            }
            changed.await;
        }
    }

    /// The open block, for as long as no `await` comes in between.
    ///
    /// # Panics
    /// When it is borrowed already, which only a borrow across an `await` could do.
    #[must_use]
    pub fn gather(&self) -> RefMut<'_, Gather> {
        self.inner.gather.borrow_mut()
    }

    /// Tells the shard's loop that the open block changed: call after lines were handed over.
    pub fn changed(&self) {
        self.inner.filled.notify_one();
    }

    /// Waits until lines were handed over (the shard's loop).
    pub async fn filled(&self) {
        self.inner.filled.notified().await;
    }

    /// The byte budget of the node.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.inner.budget
    }
}
