//! The raw lines of blocks, as a stream takes them: from what was kept beside a block, or inflated.
//!
//! Owns: the buffer a block is inflated into, and the way from a selection to the bytes it takes. Promises: what is
//! inflated is checked against the block's CRC-32.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::BatchPart;
use crate::block::Block;
use crate::block::codec::{CodecError, Inflater};
use crate::block::metadata::Metadata;
use crate::block::own::{OwnLines, OwnRun, RunLines};
use crate::event::LabelRun;
use crate::position::OffsetRange;

/// A block whose raw form cannot be had, though what is on disk is what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("events {range}: {why}")]
pub struct Unreadable {
    /// The block's events.
    pub range: OffsetRange,
    /// What does not hold.
    pub why: String,
}

/// Reads the lines of blocks; buffers are reused.
#[derive(Default)]
pub struct BlockLines {
    inflater: Inflater,
    raw: Vec<u8>,
    /// The run of a stream's own lines that was inflated last: the next lines are likely to lie there too.
    inflated: Option<(Arc<OwnRun>, Bytes)>,
}

impl std::fmt::Debug for BlockLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockLines")
            .field("raw_bytes", &self.raw.len())
            .finish_non_exhaustive()
    }
}

/// One line that a stream takes.
#[derive(Debug)]
pub struct TakenLine<'a> {
    /// Number of its event in the block, from 0.
    pub event: u32,
    /// What it lies in.
    pub buffer: &'a [u8],
    /// Where it lies, line end included.
    pub span: Range<usize>,
}

impl BlockLines {
    /// The raw form of a block.
    ///
    /// # Errors
    /// When the block's body does not give it.
    pub fn of_block(&mut self, block: &Block) -> Result<&[u8], Unreadable> {
        self.raw.clear();
        let body = &block.image[block.body.clone()];
        self.inflater
            .read_body(block.codec, body, block.raw_len as usize, &mut self.raw)
            .map_err(|error| unreadable(block, &error))?;
        let crc = crate::block::raw_crc32(&self.raw);
        if crc != block.raw_crc32 {
            let why = format!(
                "raw CRC-32 is {crc:08x}, the header says {:08x}",
                block.raw_crc32
            );
            return Err(Unreadable {
                range: block.range(),
                why,
            });
        }
        Ok(&self.raw)
    }

    /// A stream's own lines of a block.
    fn of_own(&mut self, block: &Block, own: &OwnLines) -> Result<Bytes, Unreadable> {
        let compressed = match own.run.read() {
            RunLines::Raw(raw) => return Ok(raw.slice(own.span.clone())),
            RunLines::Compressed(compressed) => compressed,
        };
        if let Some((run, raw)) = &self.inflated
            && Arc::ptr_eq(run, &own.run)
        {
            return Ok(raw.slice(own.span.clone()));
        }
        let mut raw = Vec::new();
        self.inflater
            .inflate_run(&compressed.body, compressed.raw_len, &mut raw)
            .map_err(|error| unreadable(block, &error))?;
        let raw = Bytes::from(raw);
        self.inflated = Some((Arc::clone(&own.run), raw.clone()));
        Ok(raw.slice(own.span.clone()))
    }

    /// The labels of a block's events, in order.
    ///
    /// # Errors
    /// When the block's metadata is not what a writer makes.
    pub fn label_runs(&mut self, block: &Block) -> Result<Vec<LabelRun>, Unreadable> {
        let unreadable = |why| Unreadable {
            range: block.range(),
            why,
        };
        let metadata = &block.image[block.metadata.clone()];
        let metadata = Metadata::decode(metadata, &mut self.inflater)
            .map_err(|error| unreadable(error.to_string()))?;
        let labelled: u64 = metadata.runs.iter().map(|run| u64::from(run.events)).sum();
        if labelled != u64::from(block.events) {
            return Err(unreadable(format!("labels of {labelled} events")));
        }
        Ok(metadata.runs)
    }

    /// The raw form of the block that was read last.
    #[must_use]
    pub fn last(&self) -> &[u8] {
        &self.raw
    }

    /// Calls `use_line` with each line that is taken of a part, in order.
    ///
    /// # Errors
    /// When the block's body does not give its raw form; then `use_line` was not called.
    pub fn each_line(
        &mut self,
        part: &BatchPart,
        mut use_line: impl FnMut(TakenLine<'_>),
    ) -> Result<(), Unreadable> {
        let (selected, numbers) = (part.selected.as_deref(), part.numbers());
        let mut use_taken = |buffer: &[u8], events: &mut dyn Iterator<Item = u32>| {
            for (event, span) in numbered(buffer, events) {
                let is_taken = selected.is_none_or(|selected| selected.taken.contains(event));
                if is_taken && numbers.contains(&event) {
                    use_line(TakenLine {
                        event,
                        buffer,
                        span,
                    });
                }
            }
        };
        match selected.and_then(|selected| selected.own.as_ref()) {
            Some(own) => {
                let events = &mut own.events.iter(0..part.block.events);
                use_taken(&self.of_own(&part.block, own)?, events);
            }
            None => use_taken(self.of_block(&part.block)?, &mut (0..numbers.end)),
        }
        Ok(())
    }

    /// Calls `use_run` with the lines that are taken of a part, in as few pieces as they lie in.
    ///
    /// # Errors
    /// As [`BlockLines::each_line`].
    pub fn each_run(
        &mut self,
        part: &BatchPart,
        mut use_run: impl FnMut(&[u8]),
    ) -> Result<(), Unreadable> {
        if part.is_whole() {
            use_run(self.of_block(&part.block)?);
            return Ok(());
        }
        if let Some(own) = part.own_lines() {
            use_run(&self.of_own(&part.block, own)?);
            return Ok(());
        }
        let mut run = Vec::new();
        self.each_line(part, |line| {
            // A run that goes on is a copy into warm memory; what follows is compression.
            if run.len() + line.span.len() > RUN_BYTES && !run.is_empty() {
                use_run(&run);
                run.clear();
            }
            run.extend_from_slice(&line.buffer[line.span]);
        })?;
        use_run(&run);
        Ok(())
    }
}

/// Lines gathered before they are handed on.
const RUN_BYTES: usize = 64 << 10;

pub(super) fn unreadable(block: &Block, error: &CodecError) -> Unreadable {
    Unreadable {
        range: block.range(),
        why: error.to_string(),
    }
}

/// Lines back to back, each with its line end, which are those of these events: their numbers and places, in order.
pub(super) fn numbered(
    raw: &[u8],
    events: impl Iterator<Item = u32>,
) -> impl Iterator<Item = (u32, Range<usize>)> {
    let mut start = 0;
    let ends = memchr::memchr_iter(b'\n', raw).map(|end| end + 1);
    events.zip(ends).map(move |(event, end)| {
        let span = start..end;
        start = end;
        (event, span)
    })
}
