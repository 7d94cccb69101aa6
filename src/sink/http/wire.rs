//! The socket under hyper: TCP or TLS, with three additions.
//!
//! **An early answer is not lost.** A server that refuses a request before it has read the
//! body answers and closes; our next write then fails, and hyper would report the failed
//! write instead of the answer that waits in the receive buffer. So the first failed write
//! is noted and all further bytes are swallowed: hyper goes on to read and finds the answer
//! or the end of the connection. A 2xx is believed only when no write failed.
//!
//! **Progress is noted**: whether the whole request reached the kernel, and whether any
//! byte came back.
//!
//! **Interim answers come to an end.** hyper reads past any number of them (1xx); a server that sends
//! them for ever would keep a core busy until the request times out. After [`INTERIM_MAX`] of them
//! nothing more is read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::body::Progress;

/// Interim answers to one request that are read past.
pub(super) const INTERIM_MAX: u32 = 16;

/// A connection's byte stream.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Socket,
    progress: Arc<Progress>,
}

/// Plain or encrypted.
#[derive(Debug)]
pub(super) enum Socket {
    /// `http://`
    Plain(TcpStream),
    /// `https://`
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// A wire over a connected socket.
    pub(super) fn new(socket: Socket, progress: Arc<Progress>) -> Self {
        Self { socket, progress }
    }

    /// Turns a failed write into a swallowed one of `len` bytes, and notes the error.
    fn swallow(&self, written: Poll<io::Result<usize>>, len: usize) -> Poll<io::Result<usize>> {
        written.map(|result| {
            Ok(result.unwrap_or_else(|error| {
                self.note(&error);
                len
            }))
        })
    }

    /// Notes a failed write; the first one stands.
    fn note(&self, error: &io::Error) {
        self.progress.write_error.get_or_init(|| error.to_string());
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.progress.interim.load(Ordering::Relaxed) > INTERIM_MAX {
            let why = format!("more than {INTERIM_MAX} interim answers (1xx) to one request");
            return Poll::Ready(Err(io::Error::other(why)));
        }
        let filled = buffer.filled().len();
        let read = match &mut this.socket {
            Socket::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Socket::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        };
        if buffer.filled().len() > filled {
            this.progress.answered.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let len = slices.iter().map(|slice| slice.len()).sum();
        if this.progress.write_error.get().is_some() {
            return Poll::Ready(Ok(len));
        }
        let written = match &mut this.socket {
            Socket::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Socket::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        };
        this.swallow(written, len)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.progress.write_error.get().is_some() {
            return Poll::Ready(Ok(()));
        }
        let flushed = match &mut this.socket {
            Socket::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Socket::Tls(tls) => Pin::new(tls).poll_flush(cx),
        };
        flushed.map(|result| {
            match result {
                // hyper flushes its socket only when its own buffer is empty, so once the
                // body was taken a flush means that the kernel has all of the request.
                Ok(()) => {
                    if this.progress.body_taken.load(Ordering::Relaxed) {
                        this.progress.sent.store(true, Ordering::Relaxed);
                    }
                }
                Err(error) => this.note(&error),
            }
            Ok(())
        })
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Socket::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn an_answer_before_a_reset_is_read_after_the_failed_write() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await;
        let progress = Arc::new(Progress::default());
        let mut wire = Wire::new(Socket::Plain(tcp.unwrap()), Arc::clone(&progress));
        wire.write_all(b"request").await.unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        // Wait for the request, so that closing with it unread is a reset.
        assert_eq!(peer.peek(&mut [0]).unwrap(), 1);
        peer.write_all(b"refused").unwrap();
        drop(peer);
        for _ in 0..3 {
            wire.write_all(&[b'x'; 100_000]).await.unwrap();
        }
        wire.flush().await.unwrap();
        progress.body_taken.store(true, Ordering::Relaxed);
        let mut answer = [0; 7];
        wire.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"refused");
        assert!(progress.write_error.get().is_some());
        assert!(progress.answered.load(Ordering::Relaxed));
        assert!(!progress.sent_whole());
    }
}
