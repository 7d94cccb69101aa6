//! One sender's connection: socket, bytes on their way out, bytes that came in.
//!
//! Owns connecting, partial writes and reads. Leaves meaning and retries to `tcp` and `http`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::poll::Poller;

/// A connection or the lack of one; buffers survive a reconnect, flags do not.
pub(super) struct Link {
    address: SocketAddr,
    token: u64,
    stream: Option<TcpStream>,
    readable: bool,
    writable: bool,
    /// Bytes of `outbox` the socket has taken.
    written: usize,
    /// What is to be sent; the owner fills it when it is flushed.
    pub(super) outbox: Vec<u8>,
    /// What has come in; the owner removes what it has understood.
    pub(super) inbox: Vec<u8>,
}

/// How far a flush came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Nothing is left to write.
    All,
    /// The socket is full; readiness will be reported.
    Blocked,
}

/// How reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    /// All there is for now.
    Waiting,
    /// The peer has closed its side.
    Ended,
}

impl Link {
    pub(super) fn new(address: SocketAddr, token: u64) -> Self {
        let (outbox, inbox) = (Vec::new(), Vec::new());
        Self {
            address,
            token,
            stream: None,
            readable: false,
            writable: false,
            written: 0,
            outbox,
            inbox,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.stream.is_some()
    }

    /// Connects, waiting at most a second, and forgets what the last connection left half done.
    pub(super) fn connect(&mut self, poller: &Poller) -> io::Result<()> {
        self.disconnect();
        let stream = TcpStream::connect_timeout(&self.address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        poller.add(&stream, self.token)?;
        self.stream = Some(stream);
        (self.readable, self.writable) = (true, true);
        Ok(())
    }

    /// Drops the connection; `outbox` stays and would be written again from its start.
    pub(super) fn disconnect(&mut self) {
        self.stream = None;
        self.written = 0;
        self.inbox.clear();
    }

    /// Takes note of readiness.
    pub(super) fn ready(&mut self, readable: bool, writable: bool) {
        self.readable |= readable;
        self.writable |= writable;
    }

    /// Writes what `outbox` holds until it is empty or the socket is full.
    pub(super) fn flush(&mut self) -> io::Result<Flushed> {
        while self.written < self.outbox.len() {
            if !self.writable {
                return Ok(Flushed::Blocked);
            }
            let mut stream = self.stream.as_ref().ok_or(ErrorKind::NotConnected)?;
            match stream.write(&self.outbox[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Flushed::All)
    }

    /// Whether everything in `outbox` has been written.
    pub(super) fn is_flushed(&self) -> bool {
        self.written == self.outbox.len()
    }

    /// Empties the outbox for the next payload.
    pub(super) fn clear(&mut self) {
        self.outbox.clear();
        self.written = 0;
    }

    /// Reads what has come in.
    pub(super) fn fill(&mut self) -> io::Result<Filled> {
        let mut chunk = [0; 8 << 10];
        while self.readable {
            let mut stream = self.stream.as_ref().ok_or(ErrorKind::NotConnected)?;
            match stream.read(&mut chunk) {
                Ok(0) => return Ok(Filled::Ended),
                Ok(count) if self.inbox.len() + count > INBOX_BYTES_MAX => {
                    return Err(io::Error::other("the answer is longer than 1 MiB"));
                }
                Ok(count) => self.inbox.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Filled::Waiting)
    }

    /// Tells the peer that nothing more will come.
    pub(super) fn half_close(&mut self) -> io::Result<()> {
        self.stream
            .as_ref()
            .ok_or(ErrorKind::NotConnected)?
            .shutdown(Shutdown::Write)
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const INBOX_BYTES_MAX: usize = 1 << 20;
