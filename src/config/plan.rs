//! The plan: a configuration that was found sound, ready to run on and never changed.
//!
//! Nothing here knows that a configuration file exists. Each part of the program gets its
//! own `Settings` out of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::filter::query::ExclusionRule;
use crate::filter::selection::Selection;
use crate::filter::tree::Expr;
use crate::ingest::settings::{HttpSettings, TcpSettings};
use crate::journal::settings::{HoldPolicy, JournalSettings, LettersSettings, RoomSettings};
use crate::shard::settings::ShardSettings;
use crate::sink::settings::{RetrySettings, SinkSettings};
use crate::stream::settings::StreamSettings;

/// All a node runs on.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Directory of all durable state.
    pub data_dir: PathBuf,
    /// Bytes that partial lines, bodies, blocks, tails and batches may take together. Default 192 MiB.
    pub memory_bytes_max: u64,
    /// Time given to deliver what is in flight after SIGTERM. Default 30 s.
    pub drain_timeout: Duration,
    /// Shards.
    pub shard: ShardSettings,
    /// Number of journals a new data directory is made with; an existing one keeps its own.
    pub journals: usize,
    /// Journals; `dir` is the parent of the journals' directories.
    pub journal: JournalSettings,
    /// Room of all journals.
    pub room: RoomSettings,
    /// Address of the admin listener.
    pub admin_listen: SocketAddr,
    /// Inputs, in the order of the file; an input's `InputId` is its index.
    pub inputs: Vec<InputPlan>,
    /// Exclusion rules of the node, in the order of the file; inactive ones too.
    pub exclusions: Vec<ExclusionPlan>,
    /// Streams, in the order of the file.
    pub streams: Vec<StreamPlan>,
}

impl Plan {
    /// Bytes that are taken as long as the node runs: tails, blocks on their way to the disk,
    /// and the shards' open blocks and codecs.
    #[must_use]
    pub fn memory_bytes_fixed(&self, journals: usize) -> u64 {
        // Lines kept beside blocks for streams with rules have twice the room of the tail; rules may
        // come while the node runs.
        let journal = 3 * self.journal.tail_bytes_max + self.journal.pending_bytes_max;
        (journals * journal) as u64 + self.shard.count as u64 * SHARD_BYTES
    }
}

/// Bytes a shard takes: its open block, two on their way through the codec, the codec.
pub(super) const SHARD_BYTES: u64 = 2 * 1024 * 1024;

/// One input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputPlan {
    /// NDJSON over TCP.
    Tcp(TcpSettings),
    /// HTTP.
    Http(HttpSettings),
}

/// One exclusion rule.
#[derive(Debug, Clone, PartialEq)]
pub struct ExclusionPlan {
    /// Name in the configuration, metrics and audit events.
    pub name: Box<str>,
    /// The rule as written.
    pub rule: ExclusionRule,
    /// What it drops.
    pub condition: Expr,
    /// `false`: it drops nothing.
    pub active: bool,
}

/// One stream with its destination.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamPlan {
    /// What it takes by rules; `None`: everything.
    pub selection: Option<Selection>,
    /// Name, place to begin, batches.
    pub stream: StreamSettings,
    /// What it may hold of the journals.
    pub hold: HoldPolicy,
    /// Retry policy.
    pub retry: RetrySettings,
    /// How many dead letters it keeps.
    pub letters: LettersSettings,
    /// Destination.
    pub sink: SinkSettings,
}
