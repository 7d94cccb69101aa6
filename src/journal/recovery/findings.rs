//! What recovery, the reader and the node's records tell an operator: what is gone, what was
//! made anew, what was set aside.

use std::ops::Range;
use std::path::PathBuf;

use crate::journal::format::ChainHash;
use crate::position::{JournalId, Offset, OffsetRange};

/// What an operator must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Bytes behind the last block that anything claims were given up. What was acknowledged
    /// cannot be in them, unless the file was damaged at its very end before anything behind
    /// it was written.
    TornTail {
        /// The file.
        path: PathBuf,
        /// Where the cut is.
        position: u64,
        /// The offset that the first event behind the cut would have.
        from: Offset,
    },
    /// Events that were durable cannot be read any more.
    Damaged {
        /// The journal.
        journal: JournalId,
        /// The file.
        path: PathBuf,
        /// The bytes that do not hold.
        bytes: Range<u64>,
        /// The events.
        range: OffsetRange,
        /// What does not hold.
        error: String,
        /// Chain hash of the block before and of the last one lost; `None` where nothing
        /// that is left says it.
        heads: [Option<ChainHash>; 2],
        /// The copy of the bytes; `None` when there is none, as when the quarantine is full.
        copy: Option<PathBuf>,
    },
    /// A file that is no segment of this journal.
    Alien {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: String,
        /// Where it was moved to; `None` when it was left alone.
        moved: Option<PathBuf>,
    },
    /// Events that something claims, but no segment has: a file is gone or was cut.
    Missing {
        /// The journal.
        journal: JournalId,
        /// The events.
        range: OffsetRange,
    },
    /// Something that can be told from the rest was made anew; nothing is lost by it.
    Repaired {
        /// The file.
        path: PathBuf,
        /// What was damaged, and what was done.
        what: String,
    },
    /// A cursor record did not hold.
    Cursor {
        /// The file.
        path: PathBuf,
        /// Where its other page says the stream is; `None` when neither holds: the stream
        /// begins at the journal's start.
        cursor: Option<Offset>,
        /// What does not hold.
        error: String,
    },
    /// The node file, or its copy, did not hold, or was of another node.
    NodeFile {
        /// The file.
        path: PathBuf,
        /// What was damaged, and what was done.
        what: String,
    },
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TornTail {
                path,
                position,
                from,
            } => write!(
                f,
                "{}: cut at byte {position}, event {from}: nothing says that what follows was ever durable",
                path.display()
            ),
            Self::Damaged {
                path,
                bytes,
                range,
                error,
                copy,
                ..
            } => {
                let Range { start, end } = bytes;
                let path = path.display();
                let what = match range.is_empty() {
                    true => format!("no event is lost before event {}", range.first),
                    false => format!("events {range} are damaged"),
                };
                write!(f, "{path}: {what}, bytes {start}..{end}: {error}; ")?;
                match copy {
                    Some(copy) => write!(f, "copied to {}", copy.display()),
                    None => f.write_str("not copied"),
                }
            }
            Self::Alien { path, error, moved } => {
                let path = path.display();
                write!(f, "{path}: not a segment of this journal: {error}; ")?;
                match moved {
                    Some(moved) => write!(f, "moved to {}", moved.display()),
                    None => f.write_str("left alone"),
                }
            }
            Self::Missing { journal, range } => write!(
                f,
                "journal {journal}: events {range} are in no segment: a file is gone or was cut"
            ),
            Self::Repaired { path, what } | Self::NodeFile { path, what } => {
                write!(f, "{}: {what}", path.display())
            }
            Self::Cursor {
                path,
                cursor: Some(cursor),
                error,
            } => write!(
                f,
                "{}: {error}; the other page counts: the stream goes on at {cursor}",
                path.display()
            ),
            Self::Cursor {
                path,
                cursor: None,
                error,
            } => write!(
                f,
                "{}: {error}; neither page says where the stream was: it begins at the journal's start",
                path.display()
            ),
        }
    }
}
