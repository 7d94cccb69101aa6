//! The keeper: one thread that opens, seals, recycles and removes segment files, and a
//! second one that fills new ones with zeros for it.
//!
//! Shards order segments here so that no shard waits for a directory sync. The keeper holds
//! the room of all journals: [`room`] decides, from what [`view`] shows and [`watch`] saw,
//! who gets a segment and what is given up for it; `shell` does it. Lanes are heard and told
//! through a [`Hold`] each. The keeper is the only one that removes a segment.

mod filler;
pub mod hold;
pub mod room;
mod shell;
pub mod view;
pub mod watch;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crossbeam_channel::Sender;

use crate::journal::segments::{Catalog, SegmentFiles};
use crate::journal::writer::{OpenedSegment, SealOrder, SegmentOrder};

pub use hold::Hold;
pub use shell::Keeper;

/// What comes of an order for a segment.
#[derive(Debug)]
pub enum Ordered {
    /// It is in use.
    Opened(OpenedSegment),
    /// The disk refused; order again later.
    Failed(String),
    /// There is no room; the order stands, and one of the other answers follows.
    NoRoom,
}

/// How the keeper answers an order.
pub type Answer = Box<dyn Fn(Ordered) + Send>;

/// What shards ask of the keeper.
pub enum KeeperRequest {
    /// Put a segment to use.
    Open {
        /// Index of the journal among the keeper's.
        journal: usize,
        /// The order.
        order: SegmentOrder,
        /// Called once or, after [`Ordered::NoRoom`], twice.
        answer: Answer,
    },
    /// Write index and trailer.
    Seal {
        /// Index of the journal among the keeper's.
        journal: usize,
        /// The order.
        order: SealOrder,
    },
    /// No more requests come; end when all are done.
    Stop,
}

impl std::fmt::Debug for KeeperRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open { journal, order, .. } => write!(f, "Open({journal}, {order:?})"),
            Self::Seal { journal, order } => write!(f, "Seal({journal}, {})", order.sequence),
            Self::Stop => f.write_str("Stop"),
        }
    }
}

/// One journal as the keeper sees it.
#[derive(Debug)]
pub struct KeptJournal {
    /// Its files.
    pub files: SegmentFiles,
    /// Its segments.
    pub catalog: Arc<Catalog>,
    /// How the streams hold it, in the order they have in every journal.
    pub holds: Vec<Arc<Hold>>,
    /// Spares to keep ready.
    pub spares: usize,
}

/// What the keeper counts, for metrics.
#[derive(Debug, Default)]
pub struct KeeperCounters {
    /// Bytes of all segments and spares.
    pub bytes: AtomicU64,
    /// Bytes they may take.
    pub bytes_max: AtomicU64,
    /// Bytes of segments that a stream still needs.
    pub held_bytes: AtomicU64,
    /// Bytes those may take: `bytes_max`, or less where others fill the disk.
    pub room_bytes: AtomicU64,
    /// Segments removed or recycled past their time.
    pub expired: AtomicU64,
    /// Delivered segments taken before their time because room ran out.
    pub taken_early: AtomicU64,
    /// Orders that had to wait for room.
    pub waits: AtomicU64,
    /// Discards that streams were told to make.
    pub discards: AtomicU64,
    /// Operations the disk refused.
    pub failures: AtomicU64,
}

/// A keeper's thread and the way to it.
#[derive(Debug, Clone)]
pub struct KeeperHandle {
    requests: Sender<KeeperRequest>,
}

impl KeeperHandle {
    /// A handle that sends to `requests`.
    #[must_use]
    pub fn new(requests: Sender<KeeperRequest>) -> Self {
        Self { requests }
    }

    /// Sends a request. A keeper that is gone answers none; its thread's end stops the node.
    pub fn send(&self, request: KeeperRequest) {
        if let Err(refused) = self.requests.send(request) {
            tracing::error!(request = ?refused.0, "the keeper is gone");
        }
    }
}
