//! What a journal runs on; built by `config`, never changed after.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of every journal of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalSettings {
    /// Directory of the journal's files.
    pub dir: PathBuf,
    /// Length of a segment file in bytes, a multiple of 4 KiB. 1 MiB to 1 GiB; default 128 MiB.
    pub segment_bytes: u64,
    /// Compressed bytes of durable blocks kept in memory for streams near the end. Default 16 MiB.
    pub tail_bytes_max: usize,
    /// Compressed bytes that may wait for their sync before inputs are told to wait. Default 8 MiB.
    pub pending_bytes_max: usize,
    /// Bytes of one durable write. Default 1 MiB.
    pub write_bytes_max: usize,
    /// Zero-written segments kept ready. Default 2.
    pub spares: usize,
    /// Bypass the page cache where the file system allows it.
    pub direct_io: bool,
}

/// Room the journals of a node may take together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSettings {
    /// Bytes all segments of the node may take. Default 80 % of the file system.
    pub bytes_max: RoomLimit,
    /// Bytes of the file system that stay free. Default 1 GiB.
    pub free_bytes_min: u64,
    /// How long a delivered block is kept for reading. `None`: forever. Default 7 days.
    pub keep: Option<Duration>,
}

/// A limit in bytes or as a share of the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomLimit {
    /// So many bytes.
    Bytes(u64),
    /// So many per cent of the file system, 1 to 99.
    Percent(u8),
}

/// What a stream may hold of the journals, and what becomes of its events when that is too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldPolicy {
    /// What to do when there is no room.
    pub when_full: WhenFull,
    /// How long a stream whose destination takes nothing holds an event; `None`: as long as it
    /// takes. Default 7 days.
    pub hold_max: Option<Duration>,
    /// Bytes of segments the stream may hold in all journals; `None`: no limit, the default.
    pub backlog_bytes_max: Option<u64>,
}

/// What a stream does when it holds the oldest segment and there is no room for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Inputs wait until the stream has delivered.
    Block,
    /// The stream discards its oldest events.
    DiscardOldest,
}

impl WhenFull {
    /// The word in the configuration and in audit events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::DiscardOldest => "discard_oldest",
        }
    }
}

impl Default for HoldPolicy {
    /// What a stream without a word about it gets.
    fn default() -> Self {
        Self {
            when_full: WhenFull::Block,
            hold_max: Some(Duration::from_hours(7 * 24)),
            backlog_bytes_max: None,
        }
    }
}

/// How many dead letters a stream keeps, and what becomes of it when that is too few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LettersSettings {
    /// Bytes of the stream's file of letters. 1 MiB to 1 GiB; default 64 MiB.
    pub bytes_max: u64,
    /// What to do when the next letter has no room.
    pub when_full: WhenLettersFull,
}

impl Default for LettersSettings {
    fn default() -> Self {
        Self {
            bytes_max: 64 * 1024 * 1024,
            when_full: WhenLettersFull::Park,
        }
    }
}

/// What a stream does whose dead letters are full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenLettersFull {
    /// It parks until someone makes room: no letter is lost. The default.
    #[default]
    Park,
    /// It removes its oldest letters, each removal told as an audit event before.
    Evict,
}
