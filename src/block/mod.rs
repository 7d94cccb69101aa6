//! The block: a closed group of events, compressed once and then shared.
//!
//! A block's raw form is its lines, each ended by one `\n`, with no `\n` inside a line.
//! Its body is one deflate run of the raw form (see [`codec`]). Journal, tail, splice and
//! sinks share one image of it; nothing is copied after it is built.

pub mod codec;
mod inflate;
#[cfg(feature = "isal")]
pub mod isal;
pub mod metadata;
pub mod own;
pub mod verdicts;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::block::verdicts::Verdicts;

use crate::position::{JournalId, Offset, OffsetRange, SegmentId, Timestamp};

/// How a block's body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CodecId {
    /// The raw bytes as they are.
    Stored = 0,
    /// A raw deflate run, not final, ended on a byte boundary by a full flush.
    DeflateRun = 1,
}

/// CRC-32 (IEEE) of raw bytes, as blocks and gzip members carry it.
#[must_use]
pub fn raw_crc32(raw: &[u8]) -> u32 {
    crc32fast::hash(raw)
}

/// A block with its place in a journal. Shared as `Arc<Block>` once it is durable.
#[derive(Debug, Clone)]
pub struct Block {
    /// Journal it is in.
    pub journal: JournalId,
    /// Segment it is in; part of every identity cut from it.
    pub segment: SegmentId,
    /// Offset of its first event.
    pub first: Offset,
    /// Number of events; 0 for a block that only carries counters.
    pub events: u32,
    /// How the body is encoded.
    pub codec: CodecId,
    /// Bytes of the raw form, line ends included.
    pub raw_len: u32,
    /// CRC-32 (IEEE) of the raw form.
    pub raw_crc32: u32,
    /// Earliest receive time of its events.
    pub received_first: Timestamp,
    /// Latest receive time of its events.
    pub received_last: Timestamp,
    /// The block as it stands on disk: header, metadata, body, padding.
    pub image: Bytes,
    /// Where the metadata is in `image`.
    pub metadata: Range<usize>,
    /// Where the body is in `image`.
    pub body: Range<usize>,
    /// What rules said of its events; in memory only.
    pub verdicts: Arc<Verdicts>,
}

impl Block {
    /// Offsets of its events.
    #[must_use]
    pub fn range(&self) -> OffsetRange {
        OffsetRange {
            first: self.first,
            end: self.first.plus(u64::from(self.events)),
        }
    }

    /// The compressed body, sharing the image's memory.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.image.slice(self.body.clone())
    }

    /// The block without its body: for who holds what it needs of the lines, and the rest for their
    /// places and labels.
    #[must_use]
    pub fn without_body(&self) -> Self {
        let metadata = &self.image[self.metadata.clone()];
        Self {
            image: Bytes::copy_from_slice(metadata),
            metadata: 0..metadata.len(),
            body: 0..0,
            verdicts: Arc::default(),
            ..self.clone()
        }
    }

    /// The block's place and numbers alone, to be read again by its offsets.
    #[must_use]
    pub fn place(&self) -> Self {
        Self {
            image: Bytes::new(),
            metadata: 0..0,
            body: 0..0,
            verdicts: Arc::default(),
            ..self.clone()
        }
    }

    /// Whether this is a [`Self::place`].
    #[must_use]
    pub fn is_place(&self) -> bool {
        self.image.is_empty()
    }

    /// Bytes the block takes in memory and on disk.
    #[must_use]
    pub fn image_len(&self) -> usize {
        self.image.len()
    }
}
