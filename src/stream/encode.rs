//! From a batch to the bytes a destination gets: spliced where blocks are whole and large,
//! compressed anew where they are cut or small.

use bytes::Bytes;

use crate::batch::{Batch, BatchPart, Compression, Parcel};
use crate::block::CodecId;
use crate::block::codec::Codec;
use crate::stream::gzip::{Assembly, GzipMember, Recompressor, splice_or_recompress};
use crate::stream::lines::{BlockLines, Unreadable, unreadable};

/// Encodes the batches of one stream; state and buffers are reused.
#[derive(Debug)]
pub struct Encoder {
    lines: BlockLines,
    recompressor: Recompressor,
}

impl Encoder {
    /// An encoder with the codec of the stream's thread.
    #[must_use]
    pub fn new(codec: Box<dyn Codec>) -> Self {
        Self {
            lines: BlockLines::default(),
            recompressor: Recompressor::new(codec),
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

    /// How many events of a part, from its first on and taken or not, hold at most `events_max`
    /// events that are taken, with `bytes_max` raw bytes; at least one of those.
    ///
    /// # Errors
    /// When the block's body does not give its raw form.
    pub fn measure(
        &mut self,
        part: &BatchPart,
        bytes_max: u64,
        events_max: u64,
    ) -> Result<u64, Unreadable> {
        let (mut events, mut bytes) = (0_u64, 0_u64);
        let mut fitting = part.range.events();
        let first = part.numbers().start;
        self.lines.each_line(part, |line| {
            events += 1;
            bytes += line.span.len() as u64;
            if events > 1 && (events > events_max || bytes > bytes_max) {
                fitting = fitting.min(u64::from(line.event - first));
            }
        })?;
        Ok(fitting)
    }

    fn identity(&mut self, parts: &[BatchPart]) -> Result<(Vec<Bytes>, u64), Unreadable> {
        let mut body = Vec::with_capacity(parts.len());
        let mut raw_bytes = 0;
        for part in parts {
            let mut lines = Vec::new();
            self.lines
                .each_run(part, |run| lines.extend_from_slice(run))?;
            raw_bytes += lines.len() as u64;
            body.push(Bytes::from(lines));
        }
        Ok((body, raw_bytes))
    }

    fn gzip(&mut self, parts: &[BatchPart]) -> Result<(Vec<Bytes>, u64), Unreadable> {
        let whole = parts.iter().filter(|part| part.is_whole());
        let assembly = splice_or_recompress(whole.map(|part| u64::from(part.block.raw_len)));
        // What a batch left that could not be read to its end is none of this one's.
        self.recompressor.reset();
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
            let mut pushed = Ok(());
            let recompressor = &mut self.recompressor;
            self.lines.each_run(part, |lines| {
                if pushed.is_ok() {
                    pushed = recompressor.push(lines, &mut run);
                }
            })?;
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
}
