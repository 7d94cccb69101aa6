//! What a shard runs on; built by `config`, never changed after.

use std::time::Duration;

/// Settings of every shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardSettings {
    /// Number of shards, 1 to 64. Default: one for each core.
    pub count: usize,
    /// Pin shard N to core N.
    pub pin: bool,
    /// Use io_uring for durable writes where the kernel allows it; a writer thread otherwise.
    pub io_uring: bool,
    /// A block closes so long after its first line when someone waits for durability. Default 5 ms.
    pub commit_interval: Duration,
    /// A block closes so long after its first line when no one waits. Default 100 ms.
    pub commit_interval_idle: Duration,
}
