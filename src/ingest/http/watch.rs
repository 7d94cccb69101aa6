//! The clock of a connection: what its client keeps us waiting for, and since when.
//!
//! Owns a stream that notes when bytes come and when answers do not go out, and the
//! deadline that follows. Bodies have their own clock in `body`. Leaves to the connection
//! what is done when a deadline passes.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How long a client may keep a connection waiting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For a request.
    pub(super) idle: Duration,
    /// For the rest of a request head that began.
    pub(super) head: Duration,
    /// For answers to be read.
    pub(super) answer: Duration,
}

/// What a client did not do in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lapse {
    /// No request came.
    Idle,
    /// A request head did not end.
    Head,
    /// Answers were not read.
    Answer,
}

/// What a connection waits for; shared by its stream, its service and its loop.
#[derive(Debug)]
pub(super) struct Watch {
    patience: Patience,
    phase: Cell<Phase>,
    /// Since when an answer waits to be sent; until all of it is sent, not only a part, so
    /// that reading a byte now and then buys no time.
    unsent_since: Cell<Option<Instant>>,
    /// The peer has closed its side.
    ended: Cell<bool>,
    /// The connection is closed behind an answer, perhaps before all was read.
    closes_early: Cell<bool>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// No request is being read or answered.
    Idle(Instant),
    /// The first bytes of a request came then.
    Head(Instant),
    /// A request is read or answered; `body` watches over reading.
    Request,
}

/// A stream under watch.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    watch: Rc<Watch>,
}

impl Watch {
    /// Begins idle.
    pub(super) fn new(patience: Patience) -> Self {
        Self {
            patience,
            phase: Cell::new(Phase::Idle(Instant::now())),
            unsent_since: Cell::new(None),
            ended: Cell::new(false),
            closes_early: Cell::new(false),
        }
    }

    /// A request head is complete.
    pub(super) fn request_began(&self) {
        self.phase.set(Phase::Request);
    }

    /// The answer is made, though perhaps not sent.
    pub(super) fn request_answered(&self) {
        self.phase.set(Phase::Idle(Instant::now()));
    }

    /// The answer being made is the last, though the client may still be sending.
    pub(super) fn last_answer(&self) {
        self.closes_early.set(true);
    }

    /// True when the last answer may have come before the client had sent all.
    pub(super) fn closes_early(&self) -> bool {
        self.closes_early.get()
    }

    /// True when the peer has closed its side.
    pub(super) fn ended(&self) -> bool {
        self.ended.get()
    }

    /// When patience ends; `None` while nothing is waited for.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let phase = match self.phase.get() {
            Phase::Idle(since) => Some(since + self.patience.idle),
            Phase::Head(since) => Some(since + self.patience.head),
            Phase::Request => None,
        };
        let answer = self.unsent_since.get();
        let answer = answer.map(|since| since + self.patience.answer);
        phase.into_iter().chain(answer).min()
    }

    /// What the client failed to do by `now`.
    pub(super) fn lapse(&self, now: Instant) -> Option<Lapse> {
        let unsent = self.unsent_since.get();
        if unsent.is_some_and(|since| since + self.patience.answer <= now) {
            return Some(Lapse::Answer);
        }
        match self.phase.get() {
            Phase::Idle(since) if since + self.patience.idle <= now => Some(Lapse::Idle),
            Phase::Head(since) if since + self.patience.head <= now => Some(Lapse::Head),
            Phase::Idle(_) | Phase::Head(_) | Phase::Request => None,
        }
    }

    fn came(&self, bytes: usize) {
        if bytes == 0 {
            self.ended.set(true);
        } else if matches!(self.phase.get(), Phase::Idle(_)) {
            self.phase.set(Phase::Head(Instant::now()));
        }
    }

    fn unsent(&self) {
        if self.unsent_since.get().is_none() {
            self.unsent_since.set(Some(Instant::now()));
        }
    }
}

impl<S> Watched<S> {
    /// Puts `stream` under `watch`.
    pub(super) fn new(stream: S, watch: Rc<Watch>) -> Self {
        Self { stream, watch }
    }

    /// The stream alone.
    pub(super) fn into_stream(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let room = into.remaining();
        let outcome = Pin::new(&mut self.stream).poll_read(context, into);
        if matches!(outcome, Poll::Ready(Ok(()))) && room > 0 {
            self.watch.came(into.filled().len() - before);
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        if outcome.is_pending() {
            self.watch.unsent();
        }
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        if outcome.is_pending() {
            self.watch.unsent();
        }
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes once it has handed over all it had, so a flush means: all is sent.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        match outcome {
            Poll::Pending => self.watch.unsent(),
            Poll::Ready(_) => self.watch.unsent_since.set(None),
        }
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    const PATIENCE: Patience = Patience {
        idle: Duration::from_secs(75),
        head: Duration::from_secs(10),
        answer: Duration::from_secs(5),
    };

    #[test]
    fn the_first_byte_of_a_head_starts_its_clock_and_later_ones_do_not() {
        let watch = Watch::new(PATIENCE);
        let idle_until = watch.deadline().expect("idle");
        watch.came(1);
        let head_until = watch.deadline().expect("a head");
        assert!(head_until < idle_until);
        watch.came(100);
        assert_eq!(watch.deadline(), Some(head_until));
        assert_eq!(watch.lapse(head_until), Some(Lapse::Head));
        watch.request_began();
        watch.came(100);
        assert_eq!(watch.deadline(), None);
        watch.request_answered();
        assert_eq!(watch.lapse(idle_until), None);
        let idle_until = watch.deadline().expect("idle again");
        assert_eq!(watch.lapse(idle_until), Some(Lapse::Idle));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_answer_is_unsent_until_all_of_it_is_read() {
        let watch = Rc::new(Watch::new(PATIENCE));
        watch.request_began();
        let (ours, mut theirs) = tokio::io::duplex(4);
        let mut stream = Watched::new(ours, Rc::clone(&watch));
        let mut sending = Box::pin(async {
            stream.write_all(b"12345678").await.expect("an open pipe");
            stream.flush().await.expect("an open pipe");
        });
        assert!(poll_once(&mut sending).is_pending());
        let until = watch.deadline().expect("waits for the reader");
        assert_eq!(watch.lapse(until), Some(Lapse::Answer));
        let mut read = [0; 2];
        tokio::io::AsyncReadExt::read_exact(&mut theirs, &mut read)
            .await
            .expect("bytes");
        assert!(poll_once(&mut sending).is_pending());
        assert_eq!(watch.deadline(), Some(until));
        let mut rest = [0; 6];
        let read = tokio::io::AsyncReadExt::read_exact(&mut theirs, &mut rest);
        let ((), read) = tokio::join!(sending, read);
        read.expect("bytes");
        assert_eq!(watch.deadline(), None);
    }

    fn poll_once(future: &mut (impl Future<Output = ()> + Unpin)) -> Poll<()> {
        Pin::new(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
    }
}
