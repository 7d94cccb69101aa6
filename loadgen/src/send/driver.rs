//! One thread that drives many senders.
//!
//! Owns the loop: which sender has something to do (readiness or its timetable), when to connect
//! again, when to give up. A thousand senders cost one thread; idle ones cost nothing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;

use super::http::HttpPeer;
use super::poll::Poller;
use super::tcp::TcpPeer;
use super::{Context, Step};

/// A sender of either protocol.
pub(super) enum Peer {
    Tcp(TcpPeer),
    Http(HttpPeer),
}

/// The senders of one thread and what each waits for.
pub(super) struct Driver {
    poller: Poller,
    peers: Vec<Slot>,
    runnable: VecDeque<usize>,
    timers: BinaryHeap<Reverse<(u64, usize)>>,
    open: usize,
}

struct Slot {
    peer: Peer,
    /// Number of the sender in the whole load, where its progress is published.
    index: usize,
    queued: bool,
    /// The earliest timer set; later wake-ups for the same sender are superfluous.
    timer_us: u64,
    done: bool,
}

impl Peer {
    fn connect(&mut self, poller: &Poller) -> io::Result<()> {
        match self {
            Self::Tcp(peer) => peer.connect(poller),
            Self::Http(peer) => peer.connect(poller),
        }
    }

    fn drive(&mut self, context: &mut Context<'_>) -> io::Result<Step> {
        match self {
            Self::Tcp(peer) => peer.drive(context),
            Self::Http(peer) => peer.drive(context),
        }
    }

    fn stop(&mut self) {
        match self {
            Self::Tcp(peer) => peer.stop(),
            Self::Http(peer) => peer.stop(),
        }
    }

    fn broken(&mut self) -> bool {
        match self {
            Self::Tcp(peer) => peer.broken(),
            Self::Http(peer) => peer.broken(),
        }
    }

    fn is_connected(&self) -> bool {
        match self {
            Self::Tcp(peer) => peer.link.is_connected(),
            Self::Http(peer) => peer.link.is_connected(),
        }
    }

    fn ready(&mut self, readable: bool, writable: bool) {
        match self {
            Self::Tcp(peer) => peer.link.ready(readable, writable),
            Self::Http(peer) => peer.link.ready(readable, writable),
        }
    }

    /// Events made and acknowledged so far.
    fn counts(&self) -> (u64, u64) {
        let book = match self {
            Self::Tcp(peer) => &peer.book,
            Self::Http(peer) => &peer.book,
        };
        (book.next(), book.acked())
    }
}

impl Driver {
    /// Takes connected senders with their numbers in the load; their tokens count from 0.
    pub(super) fn new(poller: Poller, peers: Vec<(usize, Peer)>) -> Self {
        let open = peers.len();
        let slot = |(index, peer)| Slot {
            peer,
            index,
            queued: true,
            timer_us: 0,
            done: false,
        };
        Self {
            poller,
            peers: peers.into_iter().map(slot).collect(),
            runnable: (0..open).collect(),
            timers: BinaryHeap::new(),
            open,
        }
    }

    /// Runs until every sender is done, has failed, or the grace after the end is over.
    pub(super) fn run(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let mut stopping_us = None;
        while self.open > 0 {
            let now_us = context.clock.now_us();
            if stopping_us.is_none() && context.must_stop(now_us) {
                stopping_us = Some(now_us);
                self.stop();
            }
            let grace_us = context.grace_us;
            if stopping_us.is_some_and(|since: u64| now_us > since.saturating_add(grace_us)) {
                context
                    .tally
                    .fail(format!("{} senders did not finish in time", self.open));
                break;
            }
            self.wake_due(now_us);
            for _ in 0..self.runnable.len() {
                let Some(at) = self.runnable.pop_front() else {
                    break;
                };
                self.turn(at, context);
            }
            let wait_us = if self.runnable.is_empty() {
                self.wait_us(context)
            } else {
                0
            };
            let (peers, runnable) = (&mut self.peers, &mut self.runnable);
            self.poller.wait(wait_us, |ready| {
                let at = usize::try_from(ready.token).expect("a token is an index");
                let slot = &mut peers[at];
                slot.peer.ready(ready.readable, ready.writable);
                if !slot.queued && !slot.done {
                    slot.queued = true;
                    runnable.push_back(at);
                }
            })?;
        }
        Ok(())
    }

    fn turn(&mut self, at: usize, context: &mut Context<'_>) {
        let slot = &mut self.peers[at];
        slot.queued = false;
        if slot.done {
            return;
        }
        let result = if slot.peer.is_connected() {
            slot.peer.drive(context)
        } else {
            slot.peer
                .connect(&self.poller)
                .and_then(|()| slot.peer.drive(context))
        };
        let (sent, acked) = slot.peer.counts();
        context.progress.publish(slot.index, sent, acked);
        match result {
            Ok(Step::Again | Step::Reconnect) => {
                slot.queued = true;
                self.runnable.push_back(at);
            }
            Ok(Step::Wait(time_us)) => self.set_timer(at, time_us),
            // Closing ends with the peer's word; readiness will tell.
            Ok(Step::Closing) => {}
            Ok(Step::Done) => self.close(at),
            Err(error) => {
                let refused = error.kind() == io::ErrorKind::InvalidInput;
                if slot.peer.broken() && !refused {
                    context.tally.reconnects += 1;
                    self.set_timer(at, context.clock.now_us() + RECONNECT_US);
                } else {
                    context
                        .tally
                        .fail(format!("sender {}: {error}", slot.index));
                    self.close(at);
                }
            }
        }
    }

    fn close(&mut self, at: usize) {
        let slot = &mut self.peers[at];
        slot.done = true;
        if slot.peer.is_connected() {
            slot.peer.broken();
        }
        self.open -= 1;
    }

    fn stop(&mut self) {
        for (at, slot) in self.peers.iter_mut().enumerate() {
            slot.peer.stop();
            if !slot.queued && !slot.done {
                slot.queued = true;
                self.runnable.push_back(at);
            }
        }
    }

    fn set_timer(&mut self, at: usize, time_us: u64) {
        if time_us != u64::MAX {
            self.peers[at].timer_us = time_us;
            self.timers.push(Reverse((time_us, at)));
        }
    }

    fn wake_due(&mut self, now_us: u64) {
        while let Some(&Reverse((time_us, at))) = self.timers.peek() {
            if time_us > now_us {
                break;
            }
            self.timers.pop();
            let slot = &mut self.peers[at];
            if !slot.queued && !slot.done && slot.timer_us == time_us {
                slot.queued = true;
                self.runnable.push_back(at);
            }
        }
    }

    /// Never longer than [`TICK_US`], so that a stop is seen.
    fn wait_us(&self, context: &Context<'_>) -> u64 {
        let next = self
            .timers
            .peek()
            .map_or(u64::MAX, |&Reverse((time_us, _))| time_us);
        next.saturating_sub(context.clock.now_us()).min(TICK_US)
    }
}

const TICK_US: u64 = 20_000;
const RECONNECT_US: u64 = 20_000;
