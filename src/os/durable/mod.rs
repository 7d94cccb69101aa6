//! Durable positional writes that do not block a shard.
//!
//! A [`DurableWriter`] belongs to one shard's thread and its tokio current-thread runtime.
//! It writes through the shard's own io_uring, or through a named writer thread where the
//! kernel refuses io_uring; both promise the same: a request is reported exactly once, `Ok`
//! only when all its bytes are durable. Requests in flight may finish in any order, so they
//! must not overlap. What a failed write means for the segment is the journal's business.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;

use crate::limits::DISK_PAGE_BYTES;
use crate::os::buffers::{AlignedBuffer, is_page_aligned};
use crate::os::disk::DiskFile;
use crate::os::real_disk::write_durable;

mod ring;
mod thread;

use ring::RingWriter;
use thread::ThreadWriter;

/// Requests that may be outstanding: one on the disk and one behind it, so that the disk
/// never waits for the shard. More would only make a failed write undo more.
pub const WRITES_IN_FLIGHT_MAX: usize = 2;

/// Buffers one request may have: what one vectored write takes (`IOV_MAX`).
pub const WRITE_BUFFERS_MAX: usize = 1024;

/// A group of buffers to write back to back.
#[derive(Debug)]
pub struct WriteRequest {
    /// Comes back with the outcome.
    pub ticket: u64,
    /// Where to write.
    pub file: Arc<dyn DiskFile>,
    /// Byte of the file at which the first buffer begins.
    pub offset: u64,
    /// What to write, at least one byte. With `direct` every buffer is page-aligned and
    /// whole pages long, and so is `offset`.
    pub buffers: Vec<Bytes>,
    /// The file was opened for direct I/O.
    pub direct: bool,
}

/// The outcome of a [`WriteRequest`].
#[derive(Debug)]
pub struct WriteDone {
    /// The request's ticket.
    pub ticket: u64,
    /// `Ok` when every byte is durable; otherwise any part of them may be on disk.
    pub result: io::Result<()>,
}

/// How a [`DurableWriter`] writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriterMode {
    /// Through the shard's io_uring.
    Ring,
    /// Through a thread, for the reason told.
    Thread(String),
}

impl fmt::Display for WriterMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring => f.write_str("io_uring"),
            Self::Thread(why) => write!(f, "a writer thread ({why})"),
        }
    }
}

/// Writes durably for one shard; see the module's text.
#[derive(Debug)]
pub struct DurableWriter {
    engine: Engine,
    mode: WriterMode,
    /// Requests submitted and not yet reported, at most `WRITES_IN_FLIGHT_MAX`.
    outstanding: usize,
    /// The kernel takes a ring's requests from the thread that made it alone, so the writer
    /// stays on its thread in either mode.
    not_send: PhantomData<*const ()>,
}

#[derive(Debug)]
enum Engine {
    Ring(Box<RingWriter>),
    Thread(ThreadWriter),
}

impl DurableWriter {
    /// Starts a writer on the current thread's runtime, which must have I/O and time
    /// enabled. `name` names the writer thread, if there is one.
    ///
    /// # Errors
    /// When neither a ring nor a thread can be made.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(prefer_ring: bool, name: &str) -> io::Result<Self> {
        let refusal = if prefer_ring {
            match RingWriter::start() {
                Ok(ring) => return Ok(Self::on(Engine::Ring(Box::new(ring)), WriterMode::Ring)),
                Err(error) => format!("io_uring is refused: {error}"),
            }
        } else {
            "io_uring is switched off".to_owned()
        };
        let engine = Engine::Thread(ThreadWriter::start(name)?);
        Ok(Self::on(engine, WriterMode::Thread(refusal)))
    }

    fn on(engine: Engine, mode: WriterMode) -> Self {
        Self {
            engine,
            mode,
            outstanding: 0,
            not_send: PhantomData,
        }
    }

    /// How this writer writes, for one line in the log.
    #[must_use]
    pub fn mode(&self) -> &WriterMode {
        &self.mode
    }

    /// Requests submitted and not yet reported.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Begins a write. Never blocks; [`DurableWriter::completed`] reports the outcome,
    /// errors included.
    ///
    /// # Panics
    /// When `WRITES_IN_FLIGHT_MAX` requests are outstanding, when there is nothing to write
    /// or too many buffers, and when a direct request is not aligned: all would be mistakes
    /// of the program that cost data if they went on.
    pub fn submit(&mut self, request: WriteRequest) {
        assert!(
            self.outstanding < WRITES_IN_FLIGHT_MAX,
            "more than {WRITES_IN_FLIGHT_MAX} durable writes in flight"
        );
        assert!(
            request.buffers.len() <= WRITE_BUFFERS_MAX,
            "a durable write of {} buffers",
            request.buffers.len()
        );
        assert!(
            request.buffers.iter().any(|bytes| !bytes.is_empty()),
            "a durable write of nothing"
        );
        let aligned = request.offset.is_multiple_of(DISK_PAGE_BYTES as u64)
            && request.buffers.iter().all(|bytes| is_page_aligned(bytes));
        assert!(
            aligned || !request.direct,
            "an unaligned direct write at {}",
            request.offset
        );
        self.outstanding += 1;
        match &mut self.engine {
            Engine::Ring(writer) => writer.submit(request),
            Engine::Thread(writer) => writer.submit(request),
        }
    }

    /// The next outcome, if there is one already. Costs no system call while nothing is
    /// done, so that a busy shard may ask every turn and need not wait for its runtime to
    /// poll: tokio does that only once in `event_interval` tasks.
    pub fn try_completed(&mut self) -> Option<WriteDone> {
        let done = match &mut self.engine {
            Engine::Ring(writer) => writer.try_completed(),
            Engine::Thread(writer) => writer.try_completed(),
        }?;
        self.outstanding -= 1;
        Some(done)
    }

    /// Waits for the next outcome. Cancel safe: dropping the future loses none. Never ends
    /// while nothing is outstanding.
    pub async fn completed(&mut self) -> WriteDone {
        if self.outstanding == 0 {
            std::future::pending::<()>().await;
        }
        let done = match &mut self.engine {
            Engine::Ring(writer) => writer.completed().await,
            Engine::Thread(writer) => writer.completed().await,
        };
        self.outstanding -= 1;
        done
    }
}

/// Does a request on the calling thread, which may block for as long as the disk takes.
fn write_blocking(request: &WriteRequest) -> io::Result<()> {
    if let Some(file) = request.file.descriptor() {
        let buffers: Vec<&[u8]> = request.buffers.iter().map(AsRef::as_ref).collect();
        return write_durable(file, &buffers, request.offset, request.direct);
    }
    // A file without descriptor is in memory, and a copy there costs nothing that counts.
    let mut joined = AlignedBuffer::with_capacity(request.buffers.iter().map(Bytes::len).sum());
    for buffer in &request.buffers {
        joined.extend_from_slice(buffer);
    }
    request
        .file
        .write_durable_at(joined.as_slice(), request.offset)
}

#[cfg(test)]
mod tests;
