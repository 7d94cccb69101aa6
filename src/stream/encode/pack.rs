//! Chunks of one body, as they are sent: plain, or one gzip member out of runs.
//!
//! Owns: header, runs, end and what goes between them. Promises: what was taken out so far followed by the rest is one
//! valid body, whoever else uses the recompressor in between. Leaves to others: which bytes these are (`encode`).

use bytes::Bytes;

use crate::batch::Compression;
use crate::block::codec::CodecError;
use crate::stream::gzip::{GzipMember, Recompressor};

/// A body in the making.
#[derive(Debug)]
pub(super) struct Packer {
    compression: Compression,
    /// Checksum and length of what was compressed.
    member: GzipMember,
    /// What of the run that was begun is compressed.
    run: Vec<u8>,
    chunks: Vec<Bytes>,
    raw_bytes: u64,
}

impl Packer {
    /// A body without bytes. What another left in the recompressor is forgotten.
    pub(super) fn new(compression: Compression, recompressor: &mut Recompressor) -> Self {
        recompressor.reset();
        let header = match compression {
            Compression::Gzip => Some(Bytes::copy_from_slice(&GzipMember::header())),
            Compression::Identity => None,
        };
        Self {
            compression,
            member: GzipMember::new(),
            run: Vec::new(),
            chunks: header.into_iter().collect(),
            raw_bytes: 0,
        }
    }

    /// Adds raw bytes.
    pub(super) fn add(
        &mut self,
        raw: &[u8],
        recompressor: &mut Recompressor,
    ) -> Result<(), CodecError> {
        self.raw_bytes += raw.len() as u64;
        match self.compression {
            Compression::Identity => {
                if !raw.is_empty() {
                    self.chunks.push(Bytes::copy_from_slice(raw));
                }
                Ok(())
            }
            Compression::Gzip => recompressor.push(raw, &mut self.run),
        }
    }

    /// Adds raw bytes that are the body's own.
    pub(super) fn add_owned(
        &mut self,
        raw: Vec<u8>,
        recompressor: &mut Recompressor,
    ) -> Result<Vec<u8>, CodecError> {
        if self.compression == Compression::Identity && !raw.is_empty() {
            self.raw_bytes += raw.len() as u64;
            self.chunks.push(Bytes::from(raw));
            return Ok(Vec::new());
        }
        self.add(&raw, recompressor)?;
        Ok(raw)
    }

    /// Adds a run of a gzip body as it is.
    pub(super) fn splice(
        &mut self,
        run: Bytes,
        (raw_crc32, raw_len): (u32, u64),
        recompressor: &mut Recompressor,
    ) -> Result<(), CodecError> {
        self.end_run(recompressor)?;
        self.member.add_run(raw_crc32, raw_len);
        self.raw_bytes += raw_len;
        self.chunks.push(run);
        Ok(())
    }

    /// What is ready; the recompressor is free for others then.
    pub(super) fn take(
        &mut self,
        recompressor: &mut Recompressor,
    ) -> Result<Vec<Bytes>, CodecError> {
        self.end_run(recompressor)?;
        Ok(std::mem::take(&mut self.chunks))
    }

    /// The rest of the body, and the raw bytes of all of it.
    pub(super) fn finish(
        mut self,
        recompressor: &mut Recompressor,
    ) -> Result<(Vec<Bytes>, u64), CodecError> {
        let mut chunks = self.take(recompressor)?;
        if self.compression == Compression::Gzip {
            chunks.push(Bytes::copy_from_slice(&self.member.finish()));
        }
        Ok((chunks, self.raw_bytes))
    }

    /// Ends the run that was compressed anew, if one was begun.
    fn end_run(&mut self, recompressor: &mut Recompressor) -> Result<(), CodecError> {
        if self.compression == Compression::Identity {
            return Ok(());
        }
        let ended = recompressor.finish(&mut self.run)?;
        if ended.raw_len > 0 {
            self.member.add_run(ended.raw_crc32, ended.raw_len);
            self.chunks.push(Bytes::from(std::mem::take(&mut self.run)));
        }
        Ok(())
    }
}
