//! What comes to a shard from other threads: one list of everything that can happen.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::journal::keeper::Ordered;
use crate::shard::core::Compressed;

/// A message to a shard.
#[derive(Debug)]
pub enum Message {
    /// An accepted connection of the input with this index in the plan.
    Connection {
        /// Index of the input.
        input: usize,
        /// The socket.
        stream: TcpStream,
        /// The other end.
        peer: SocketAddr,
        /// Its place among the open connections.
        permit: ConnectionPermit,
    },
    /// What came of the ordered segment.
    Ordered(Ordered),
    /// Reject records are durable, or could not be made so.
    Recorded {
        /// Their ticket.
        ticket: u64,
        /// Whether they are durable.
        durable: bool,
    },
    /// Another shard asks to compress a block.
    Compress {
        /// Whose block it is.
        from: ShardHandle,
        /// Its slot there.
        slot: u64,
        /// The raw buffer.
        raw: Vec<u8>,
        /// Bytes of it that are lines.
        raw_len: usize,
    },
    /// A block comes back compressed.
    Compressed {
        /// Its slot.
        slot: u64,
        /// The block.
        compressed: Compressed,
    },
    /// Take no more lines, make durable what there is, end.
    Stop,
}

/// What the connections of one input count, on all shards.
#[derive(Debug, Default)]
pub struct ConnectionCounts {
    /// Connections taken.
    pub accepted: AtomicU64,
    /// Connections open now.
    pub open: AtomicU64,
    /// Connections closed at once because too many were open.
    pub refused: AtomicU64,
}

/// A place among the open connections of an input; given back when dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    counts: Arc<ConnectionCounts>,
}

impl ConnectionPermit {
    /// Takes a place, or counts a refusal when `connections_max` are open.
    #[must_use]
    pub fn take(counts: &Arc<ConnectionCounts>, connections_max: usize) -> Option<Self> {
        let open = counts.open.fetch_add(1, Ordering::Relaxed);
        if open >= connections_max as u64 {
            counts.open.fetch_sub(1, Ordering::Relaxed);
            counts.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        counts.accepted.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            counts: Arc::clone(counts),
        })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What others see of a shard.
#[derive(Debug, Default)]
pub struct ShardState {
    /// True while the shard's thread sleeps: it has time for others.
    pub idle: AtomicBool,
    /// Connections open on it.
    pub connections: AtomicU64,
    /// Counted up with every turn of its loop, for the watchdog.
    pub turns: AtomicU64,
}

/// The way to a shard. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ShardHandle {
    sender: mpsc::UnboundedSender<Message>,
    state: Arc<ShardState>,
}

impl ShardHandle {
    /// A handle and the mailbox it leads to. What is sent is bounded by who sends: open
    /// connections, orders and blocks handed out all have their maximum.
    #[must_use]
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Message>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (
            Self {
                sender,
                state: Arc::default(),
            },
            receiver,
        )
    }

    /// Sends a message; gives it back when the shard has ended.
    ///
    /// # Errors
    /// The message, when the shard has ended.
    pub fn send(&self, message: Message) -> Result<(), Message> {
        self.sender.send(message).map_err(|refused| refused.0)
    }

    /// What others see of the shard.
    #[must_use]
    pub fn state(&self) -> &Arc<ShardState> {
        &self.state
    }

    /// True while the shard's thread sleeps.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.state.idle.load(Ordering::Relaxed)
    }
}
