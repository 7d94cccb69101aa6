//! From a batch to the bytes a destination gets: spliced where blocks are whole and large,
//! compressed anew where they are cut or small.

use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{Batch, BatchPart, Compression, Parcel};
use crate::block::codec::{Codec, CodecError, Inflater};
use crate::block::{Block, CodecId};
use crate::position::{Offset, OffsetRange};
use crate::stream::gzip::{Assembly, GzipMember, Recompressor, splice_or_recompress};

/// A block whose raw form cannot be had, though what is on disk is what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("events {range}: {why}")]
pub struct Unreadable {
    /// The block's events.
    pub range: OffsetRange,
    /// What does not hold.
    pub why: String,
}

/// Encodes the batches of one stream; state and buffers are reused.
pub struct Encoder {
    inflater: Inflater,
    recompressor: Recompressor,
    raw: Vec<u8>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}

impl Encoder {
    /// An encoder with the codec of the stream's thread.
    #[must_use]
    pub fn new(codec: Box<dyn Codec>) -> Self {
        Self {
            inflater: Inflater::new(),
            recompressor: Recompressor::new(codec),
            raw: Vec::new(),
        }
    }

    /// Encodes a batch.
    ///
    /// # Errors
    /// When a block's body does not give its raw form; the batch can be sent without it.
    pub fn encode(
        &mut self,
        batch: &Batch,
        compression: Compression,
    ) -> Result<Parcel, Unreadable> {
        let (body, raw_bytes) = match compression {
            Compression::Identity => self.identity(&batch.parts)?,
            Compression::Gzip => self.gzip(&batch.parts)?,
        };
        Ok(Parcel {
            id: batch.id.clone(),
            journal: batch.journal,
            attempt: batch.attempt,
            events: batch.events(),
            raw_bytes,
            body,
            content_encoding: compression,
            received_first: batch.received_first,
        })
    }

    /// How many events of a block from `first` on fit `bytes_max` raw bytes; at least one.
    ///
    /// # Errors
    /// When the block's body does not give its raw form.
    pub fn measure(
        &mut self,
        block: &Arc<Block>,
        first: Offset,
        bytes_max: u64,
    ) -> Result<u64, Unreadable> {
        self.inflate(block)?;
        let rest = &self.raw[line_start(&self.raw, first.events_since(block.first))..];
        let room = usize::try_from(bytes_max)
            .unwrap_or(usize::MAX)
            .min(rest.len());
        let fitting = memchr::memchr_iter(b'\n', &rest[..room]).count();
        Ok(fitting.max(1) as u64)
    }

    fn identity(&mut self, parts: &[BatchPart]) -> Result<(Vec<Bytes>, u64), Unreadable> {
        let mut body = Vec::with_capacity(parts.len());
        let mut raw_bytes = 0;
        for part in parts {
            let lines = self.lines(part)?;
            raw_bytes += lines.len() as u64;
            body.push(Bytes::copy_from_slice(lines));
        }
        Ok((body, raw_bytes))
    }

    fn gzip(&mut self, parts: &[BatchPart]) -> Result<(Vec<Bytes>, u64), Unreadable> {
        let whole = parts.iter().filter(|part| part.is_whole());
        let assembly = splice_or_recompress(whole.map(|part| u64::from(part.block.raw_len)));
        let mut member = GzipMember::new();
        let mut body = Vec::with_capacity(parts.len() + 2);
        body.push(Bytes::copy_from_slice(&GzipMember::header()));
        let mut run = Vec::new();
        for part in parts {
            let is_run = part.block.codec == CodecId::DeflateRun;
            if part.is_whole() && is_run && assembly == Assembly::Splice {
                self.end_run(&mut run, &mut member, &mut body, part)?;
                member.add_run(part.block.raw_crc32, u64::from(part.block.raw_len));
                body.push(part.block.body());
                continue;
            }
            self.inflate(&part.block)?;
            let lines = lines_of(&self.raw, part);
            let pushed = self.recompressor.push(&self.raw[lines], &mut run);
            pushed.map_err(|error| unreadable(&part.block, &error))?;
        }
        if let Some(last) = parts.last() {
            self.end_run(&mut run, &mut member, &mut body, last)?;
        }
        let raw_bytes = member.raw_len();
        body.push(Bytes::copy_from_slice(&member.finish()));
        Ok((body, raw_bytes))
    }

    /// Ends the run that was compressed anew, if one was begun.
    fn end_run(
        &mut self,
        run: &mut Vec<u8>,
        member: &mut GzipMember,
        body: &mut Vec<Bytes>,
        part: &BatchPart,
    ) -> Result<(), Unreadable> {
        let ended = self.recompressor.finish(run);
        let ended = ended.map_err(|error| unreadable(&part.block, &error))?;
        if ended.raw_len > 0 {
            member.add_run(ended.raw_crc32, ended.raw_len);
            body.push(Bytes::from(std::mem::take(run)));
        }
        Ok(())
    }

    fn lines(&mut self, part: &BatchPart) -> Result<&[u8], Unreadable> {
        self.inflate(&part.block)?;
        let lines = lines_of(&self.raw, part);
        Ok(&self.raw[lines])
    }

    /// Inflates a block into `raw` and checks it against its CRC-32.
    fn inflate(&mut self, block: &Block) -> Result<(), Unreadable> {
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
        Ok(())
    }
}

fn unreadable(block: &Block, error: &CodecError) -> Unreadable {
    Unreadable {
        range: block.range(),
        why: error.to_string(),
    }
}

/// Where the lines of a part stand in its block's raw form.
fn lines_of(raw: &[u8], part: &BatchPart) -> std::ops::Range<usize> {
    if part.is_whole() {
        return 0..raw.len();
    }
    let start = line_start(raw, part.range.first.events_since(part.block.first));
    let events = part.range.events();
    start..start + line_start(&raw[start..], events)
}

/// Where the line with this number, from 0, begins; the end when there are fewer.
fn line_start(raw: &[u8], line: u64) -> usize {
    if line == 0 {
        return 0;
    }
    let nth = usize::try_from(line - 1).unwrap_or(usize::MAX);
    memchr::memchr_iter(b'\n', raw)
        .nth(nth)
        .map_or(raw.len(), |at| at + 1)
}
