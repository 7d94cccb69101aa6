//! Waiting for sockets: a thin shell around epoll.
//!
//! Owns the epoll descriptor and its precision: waits end within microseconds of the time asked
//! for, because an open loop is only as good as its timer.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

/// What happened to a socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readiness {
    pub(super) token: u64,
    pub(super) readable: bool,
    pub(super) writable: bool,
}

/// Edge-triggered readiness of many sockets.
pub(super) struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll })
    }

    /// Reports changes of `socket` under `token` until the socket is closed.
    pub(super) fn add(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        Ok(epoll::add(
            &self.epoll,
            socket,
            epoll::EventData::new_u64(token),
            flags,
        )?)
    }

    /// Waits up to `wait_us` microseconds and calls `found` for each socket with news.
    pub(super) fn wait(&self, wait_us: u64, mut found: impl FnMut(Readiness)) -> io::Result<()> {
        if wait_us > 0 {
            // epoll_wait counts in milliseconds; poll on the epoll descriptor counts finer.
            let timeout = Timespec {
                tv_sec: i64::try_from(wait_us / 1_000_000).unwrap_or(i64::MAX),
                tv_nsec: i64::try_from(wait_us % 1_000_000 * 1_000).expect("below 10^9"),
            };
            let mut sockets = [PollFd::new(&self.epoll, PollFlags::IN)];
            match poll(&mut sockets, Some(&timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut buffer = [const { MaybeUninit::uninit() }; EVENTS_MAX];
        let (events, _) = match epoll::wait(&self.epoll, &mut buffer[..], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            result => result?,
        };
        for event in events {
            let flags = event.flags;
            let closed = epoll::EventFlags::HUP | epoll::EventFlags::ERR | epoll::EventFlags::RDHUP;
            found(Readiness {
                token: event.data.u64(),
                readable: flags.intersects(epoll::EventFlags::IN | closed),
                writable: flags.intersects(epoll::EventFlags::OUT | closed),
            });
        }
        Ok(())
    }
}

const EVENTS_MAX: usize = 128;
