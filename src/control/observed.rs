//! What the control side sees of a running node: handles to what others publish.
//!
//! Reading never waits for the data path: counters are relaxed atomics, ledgers and lane
//! states are published snapshots.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::budget::Budget;
use crate::event::InputId;
use crate::filter::exclusions::Exclusions;
use crate::ingest::http::HttpCounters;
use crate::ingest::tcp::TcpCounters;
use crate::journal::internal::InternalCounters;
use crate::journal::keeper::KeeperCounters;
use crate::journal::tail::Tail;
use crate::metrics::latency::Latency;
use crate::os::clock::Clock;
use crate::position::JournalId;
use crate::shard::mailbox::{ConnectionCounts, ShardHandle};
use crate::shard::run::ShardLedger;
use crate::stream::status::LaneStatus;

/// A running node as the control side sees it.
#[derive(Debug)]
pub struct Observed {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Directory of all durable state.
    pub data_dir: PathBuf,
    /// Inputs, in the order of the plan.
    pub inputs: Vec<ObservedInput>,
    /// Journals that take events, one for each shard.
    pub journals: Vec<ObservedJournal>,
    /// Streams, in the order of the plan.
    pub streams: Vec<ObservedStream>,
    /// What the keeper of segments counts.
    pub keeper: Arc<KeeperCounters>,
    /// What the internal journal counts.
    pub internal: Arc<InternalCounters>,
    /// The tail of the internal journal, which streams of audit events read.
    pub internal_tail: Arc<Tail>,
    /// The byte budget.
    pub budget: Budget,
    /// The node's exclusion rules in force, with what each has dropped.
    pub exclusions: Arc<ArcSwap<Exclusions>>,
    /// True once every part runs, false again when the node stops.
    pub ready: Arc<AtomicBool>,
    /// Name of the codec in this build.
    pub codec: &'static str,
}

/// An input.
#[derive(Debug)]
pub struct ObservedInput {
    /// Its number in ledgers.
    pub id: InputId,
    /// Its name.
    pub name: String,
    /// What its connections count.
    pub connections: Arc<ConnectionCounts>,
    /// What its kind counts.
    pub kind: ObservedKind,
}

/// Counters of an input's kind.
#[derive(Debug)]
pub enum ObservedKind {
    /// A `tcp` input.
    Tcp(Arc<TcpCounters>),
    /// An `http` input.
    Http(Arc<HttpCounters>),
}

/// A journal and its shard.
#[derive(Debug, Clone)]
pub struct ObservedJournal {
    /// The journal.
    pub id: JournalId,
    /// What the shard publishes: input totals, open lines, durable end, gate.
    pub ledger: Arc<ArcSwap<ShardLedger>>,
    /// The tail.
    pub tail: Arc<Tail>,
    /// The shard: whether its loop turns.
    pub shard: ShardHandle,
    /// Received to durable.
    pub durable_latency: Latency,
}

/// A stream.
#[derive(Debug, Clone)]
pub struct ObservedStream {
    /// Its name.
    pub name: Arc<str>,
    /// Kind of its destination: `http` or `file`.
    pub destination: &'static str,
    /// Its lanes, one for each journal it reads.
    pub lanes: Vec<Arc<ArcSwap<LaneStatus>>>,
    /// Received to delivered.
    pub delivery_latency: Latency,
}

/// How long since an event was received, in seconds.
#[must_use]
pub fn age(clock: &dyn Clock, received: crate::position::Timestamp) -> Duration {
    Duration::from_micros(clock.now().wall.micros_since(received))
}
