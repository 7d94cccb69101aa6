//! The lines that one stream takes of blocks, in memory of its own.
//!
//! Owns: a run of lines that grows block by block and is then compressed as a whole, so that a stream that takes a
//! tenth of each block copies its lines once, compresses them while they are warm, in pieces large enough to be worth
//! it, once however often a batch is tried, and holds a fraction of the memory. Promises: lines keep their place; what
//! was read or compressed grows no more. Leaves to others: which lines these are, and what batches they are in.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::codec::{Codec, CodecError};
use super::verdicts::Bitmap;

/// Lines of one block that a stream takes: a part of a run of lines.
#[derive(Debug, Clone)]
pub struct OwnLines {
    /// The run they lie in, with lines of blocks before and behind.
    pub run: Arc<OwnRun>,
    /// Their place among the run's raw bytes.
    pub span: Range<usize>,
    /// Their events, by the number in the block, in order.
    pub events: Arc<Bitmap>,
}

/// Lines back to back, each with its line end.
pub struct OwnRun {
    lines: Mutex<Lines>,
}

enum Lines {
    /// More may come.
    Open(Vec<u8>),
    /// No more come.
    Ended(RunLines),
}

/// Lines as a run of deflate, as a block's body is.
#[derive(Debug, Clone)]
pub struct CompressedLines {
    /// The run.
    pub body: Bytes,
    /// CRC-32 (IEEE) of the lines.
    pub raw_crc32: u32,
    /// Bytes of the lines.
    pub raw_len: usize,
}

/// What a run holds.
#[derive(Debug, Clone)]
pub enum RunLines {
    /// The lines as they came.
    Raw(Bytes),
    /// The lines compressed.
    Compressed(CompressedLines),
}

impl OwnRun {
    /// A run without lines, which uses this buffer.
    #[must_use]
    pub fn open(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self {
            lines: Mutex::new(Lines::Open(buffer)),
        }
    }

    /// Adds what `add` appends, unless that says that it does not hold. `None` then, and when the run grows no more.
    pub fn append(&self, add: impl FnOnce(&mut Vec<u8>) -> bool) -> Option<Range<usize>> {
        let Lines::Open(raw) = &mut *self.lock() else {
            return None;
        };
        let start = raw.len();
        if !add(raw) {
            raw.truncate(start);
            return None;
        }
        Some(start..raw.len())
    }

    /// Bytes of the lines, as they came.
    #[must_use]
    pub fn raw_len(&self) -> usize {
        match &*self.lock() {
            Lines::Open(raw) => raw.len(),
            Lines::Ended(RunLines::Raw(raw)) => raw.len(),
            Lines::Ended(RunLines::Compressed(run)) => run.raw_len,
        }
    }

    /// True while more lines may come.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(*self.lock(), Lines::Open(_))
    }

    /// What it holds; from now on it grows no more.
    #[must_use]
    pub fn read(&self) -> RunLines {
        let mut lines = self.lock();
        let held = match &mut *lines {
            Lines::Ended(held) => return held.clone(),
            Lines::Open(raw) => RunLines::Raw(std::mem::take(raw).into()),
        };
        *lines = Lines::Ended(held.clone());
        held
    }

    /// Compresses the lines of an open run, by way of `scratch`; gives its buffer back, to be used again.
    ///
    /// # Errors
    /// As [`Codec::compress_run`]; the run is as it was.
    pub fn compress(
        &self,
        codec: &mut dyn Codec,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<Vec<u8>>, CodecError> {
        let mut lines = self.lock();
        let Lines::Open(raw) = &mut *lines else {
            return Ok(None);
        };
        scratch.clear();
        codec.compress_run(raw, scratch)?;
        let raw = std::mem::take(raw);
        *lines = Lines::Ended(RunLines::Compressed(CompressedLines {
            // An exact copy: the codec asks for room as for lines that do not shrink.
            body: Bytes::copy_from_slice(scratch),
            raw_crc32: super::raw_crc32(&raw),
            raw_len: raw.len(),
        }));
        Ok(Some(raw))
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for OwnRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnRun")
            .field("raw_len", &self.raw_len())
            .field("is_open", &self.is_open())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::codec::{CompressionLevel, Inflater, best_codec};

    fn add(run: &OwnRun, lines: &str) -> Option<Range<usize>> {
        run.append(|raw| {
            raw.extend_from_slice(lines.as_bytes());
            !lines.is_empty()
        })
    }

    #[test]
    fn lines_keep_their_place_and_what_was_read_grows_no_more() {
        let run = OwnRun::open(b"of the one before".to_vec());
        assert_eq!(add(&run, "{}\n"), Some(0..3));
        assert_eq!(add(&run, ""), None);
        assert_eq!(add(&run, "{\"a\":1}\n"), Some(3..11));
        assert!(run.is_open());
        let RunLines::Raw(raw) = run.read() else {
            panic!("nobody compressed it")
        };
        assert_eq!(raw, "{}\n{\"a\":1}\n");
        assert_eq!((add(&run, "{}\n"), run.raw_len()), (None, 11));
        let mut codec = best_codec(CompressionLevel::FASTEST);
        assert_eq!(run.compress(codec.as_mut(), &mut Vec::new()).unwrap(), None);
        assert!(matches!(run.read(), RunLines::Raw(_)));
    }

    #[test]
    fn compressed_lines_inflate_to_what_was_added_and_the_buffer_comes_back() {
        let run = OwnRun::open(Vec::new());
        let lines = "{\"a\":1}\n".repeat(100);
        assert_eq!(add(&run, &lines), Some(0..800));
        let mut codec = best_codec(CompressionLevel::FASTEST);
        let buffer = run.compress(codec.as_mut(), &mut Vec::new()).unwrap();
        assert_eq!(buffer.as_deref(), Some(lines.as_bytes()));
        assert_eq!((add(&run, "{}\n"), run.raw_len()), (None, 800));
        let RunLines::Compressed(compressed) = run.read() else {
            panic!("it was compressed")
        };
        let mut raw = Vec::new();
        Inflater::new()
            .inflate_run(&compressed.body, compressed.raw_len, &mut raw)
            .unwrap();
        assert_eq!(raw, lines.as_bytes());
        assert_eq!(compressed.raw_crc32, crc32fast::hash(lines.as_bytes()));
    }
}
