//! The request body: a parcel's chunks handed to hyper one by one, without copying, and the
//! shared record of how far a request has got on the wire.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::vec;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// A body of known size made of shared chunks.
#[derive(Debug)]
pub(super) struct ParcelBody {
    chunks: vec::IntoIter<Bytes>,
    /// Bytes of the chunks not yet handed out.
    remaining_bytes: u64,
    progress: Arc<Progress>,
}

impl ParcelBody {
    /// A body of these chunks that notes in `progress` when the last one is handed out.
    pub(super) fn new(chunks: &[Bytes], progress: Arc<Progress>) -> Self {
        // Empty chunks are left out: the end is told by bytes, not by chunks.
        let chunks: Vec<Bytes> = chunks
            .iter()
            .filter(|chunk| !chunk.is_empty())
            .cloned()
            .collect();
        let remaining_bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        progress
            .body_taken
            .store(remaining_bytes == 0, Ordering::Relaxed);
        Self {
            chunks: chunks.into_iter(),
            remaining_bytes,
            progress,
        }
    }
}

impl Body for ParcelBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let next = this.chunks.next();
        if let Some(chunk) = &next {
            this.remaining_bytes -= chunk.len() as u64;
        }
        if this.remaining_bytes == 0 {
            this.progress.body_taken.store(true, Ordering::Relaxed);
        }
        Poll::Ready(next.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining_bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining_bytes)
    }
}

/// How far the request under way has got. Written by body and wire, read by the exchange;
/// all three run on one thread, the atomics only keep the connection `Send`.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// hyper has taken the last chunk.
    pub(super) body_taken: AtomicBool,
    /// All of the request was written and flushed to the socket.
    pub(super) sent: AtomicBool,
    /// At least one byte came back since the request began.
    pub(super) answered: AtomicBool,
    /// Interim answers (1xx) to this request.
    pub(super) interim: AtomicU32,
    /// The first error of a write; the connection is of no use for another request.
    pub(super) write_error: OnceLock<String>,
}

impl Progress {
    /// Forgets the previous request.
    pub(super) fn begin(&self) {
        self.body_taken.store(false, Ordering::Relaxed);
        self.sent.store(false, Ordering::Relaxed);
        self.answered.store(false, Ordering::Relaxed);
        self.interim.store(0, Ordering::Relaxed);
    }

    /// True when the request went out whole and no write failed.
    pub(super) fn sent_whole(&self) -> bool {
        self.sent.load(Ordering::Relaxed) && self.write_error.get().is_none()
    }
}
