//! Connections that are opened and then say nothing.
//!
//! Owns them and the count of those the relay has closed; costs one descriptor each, no thread.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Open, silent connections.
#[derive(Default)]
pub(crate) struct IdleConnections {
    streams: Vec<TcpStream>,
}

impl IdleConnections {
    /// Opens `count` of them.
    pub(crate) fn open(address: SocketAddr, count: usize) -> io::Result<Self> {
        let mut streams = Vec::with_capacity(count);
        for _ in 0..count {
            let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
            stream.set_nonblocking(true)?;
            streams.push(stream);
        }
        Ok(Self { streams })
    }

    /// How many the peer has left open.
    pub(crate) fn alive(&self) -> usize {
        let is_open = |stream: &&TcpStream| match stream.peek(&mut [0]) {
            Ok(count) => count > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        self.streams.iter().filter(is_open).count()
    }
}

/// Lets this process and its children open as many descriptors as the system allows.
pub(crate) fn raise_descriptor_limit() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    // A refusal shows later, as a connection that cannot be opened, with its own message.
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).ok();
}
