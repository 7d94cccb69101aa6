//! A sender that speaks newline-delimited JSON over plain TCP.
//!
//! Owns the optional `{"ack":N}` lines (all lines up to the N-th of this connection have their fate
//! on disk), sending again what is unacknowledged after a broken connection, and the orderly end:
//! half-close, then wait for the peer's. Without acknowledgements that end is what proves arrival.

use std::io;

use super::book::Book;
use super::link::{Filled, Flushed, Link};
use super::poll::Poller;
use super::schedule::{Due, Schedule};
use super::{Context, Step};

/// One TCP sender.
pub(super) struct TcpPeer {
    sender: u32,
    pub(super) link: Link,
    pub(super) book: Book,
    schedule: Schedule,
    settings: TcpSettings,
    /// How many of the book's open spans are on this connection; the rest is to be sent again.
    composed: usize,
    /// The sequence this connection's line count starts from.
    base: u64,
    half_closed: bool,
    /// Without acknowledgements: a connection broke, so arrival can no longer be proved.
    unproven: bool,
}

/// What all TCP senders of a load have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct TcpSettings {
    /// The peer acknowledges lines.
    pub(super) ack: bool,
    /// Connect again when the connection breaks.
    pub(super) reconnect: bool,
    /// Events a burst of the open loop has; with no rate, as many as fit into `chunk_bytes`.
    pub(super) burst_events: Option<u64>,
    /// Largest piece composed at once.
    pub(super) chunk_bytes: usize,
}

impl TcpPeer {
    pub(super) fn new(
        sender: u32,
        link: Link,
        book: Book,
        schedule: Schedule,
        settings: TcpSettings,
    ) -> Self {
        Self {
            sender,
            link,
            book,
            schedule,
            settings,
            composed: 0,
            base: 0,
            half_closed: false,
            unproven: false,
        }
    }

    pub(super) fn connect(&mut self, poller: &Poller) -> io::Result<()> {
        self.link.connect(poller)?;
        self.link.clear();
        self.composed = 0;
        self.base = self.book.acked();
        self.half_closed = false;
        Ok(())
    }

    /// Nothing new is made from now on.
    pub(super) fn stop(&mut self) {
        self.schedule.stop();
    }

    /// Does all that can be done now. An error is a broken connection.
    pub(super) fn drive(&mut self, context: &mut Context<'_>) -> io::Result<Step> {
        let result = self.take_turn(context);
        if result.is_err() {
            // What the peer acknowledged before it broke off still counts.
            self.link.ready(true, false);
            self.link.fill().ok();
            self.read_acks(context)?;
        }
        result
    }

    fn take_turn(&mut self, context: &mut Context<'_>) -> io::Result<Step> {
        let filled = self.link.fill()?;
        self.read_acks(context)?;
        if filled == Filled::Ended {
            return self.peer_closed();
        }
        for _ in 0..TURN_CHUNKS {
            if self.link.flush()? == Flushed::Blocked {
                return Ok(Step::Wait(u64::MAX));
            }
            self.link.clear();
            let now_us = context.clock.now_us();
            if let Some(entry) = self
                .book
                .unacked(self.composed)
                .filter(|_| self.settings.ack)
            {
                // Sent before, on a connection that broke: the same bytes, the same intended time.
                let (span, sent_us) = (entry.span, entry.intended_us);
                context
                    .pool
                    .compose(&mut self.link.outbox, self.sender, span, sent_us);
                context.tally.events_resent += span.count;
                self.composed += 1;
                continue;
            }
            match self.due(now_us) {
                Due::Now(intended_us) => self.compose(context, intended_us),
                Due::At(time) => return Ok(Step::Wait(time)),
                Due::Ended => return self.finish(),
            }
        }
        Ok(Step::Again)
    }

    fn due(&self, now_us: u64) -> Due {
        if self.book.left() == 0 {
            Due::Ended
        } else {
            self.schedule.due(now_us)
        }
    }

    fn compose(&mut self, context: &mut Context<'_>, intended_us: u64) {
        let (pool, chunk) = (context.pool, self.settings.chunk_bytes);
        let fitting = || pool.events_within(self.sender, self.book.next(), chunk);
        let count = self
            .settings
            .burst_events
            .unwrap_or_else(fitting)
            .min(self.book.left());
        self.schedule.advance();
        let entry = self.book.open(count, intended_us);
        pool.compose(&mut self.link.outbox, self.sender, entry.span, intended_us);
        context.tally.sent(
            self.link.outbox.len(),
            count,
            intended_us,
            context.clock.now_us(),
        );
        if self.settings.ack {
            self.composed += 1;
        } else {
            self.book.forget();
        }
    }

    fn finish(&mut self) -> io::Result<Step> {
        let acked = !self.settings.ack || self.book.acked() == self.book.next();
        if acked && !self.half_closed {
            self.link.half_close()?;
            self.half_closed = true;
        }
        Ok(Step::Closing)
    }

    fn peer_closed(&mut self) -> io::Result<Step> {
        if !self.half_closed {
            return Err(io::Error::other("the peer closed the connection"));
        }
        if !self.settings.ack && !self.unproven {
            self.book.settle();
        }
        Ok(Step::Done)
    }

    fn read_acks(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Some(end) = memchr::memrchr(b'\n', &self.link.inbox) else {
            return Ok(());
        };
        let now_us = context.clock.now_us();
        for line in self.link.inbox[..end].split(|&byte| byte == b'\n') {
            let Ok(ack) = serde_json::from_slice::<Ack>(line) else {
                let text = String::from_utf8_lossy(line);
                return Err(io::Error::other(format!(
                    "unexpected line from the relay: {text}"
                )));
            };
            let acked = self.base + ack.ack;
            if acked > self.book.next() {
                let sent = self.book.next() - self.base;
                let message = format!("{} lines acknowledged of {sent} sent", ack.ack);
                return Err(io::Error::other(message));
            }
            let before = self.book.acked();
            let closed = self
                .book
                .acknowledge(acked, now_us, &mut context.tally.ack_us);
            self.composed = self.composed.saturating_sub(closed);
            context.tally.events_acked += self.book.acked() - before;
            for rejected in ack.rejected {
                let sequence = self.base + rejected.line.saturating_sub(1);
                context.reject(self.sender, sequence);
            }
        }
        self.link.inbox.drain(..=end);
        Ok(())
    }

    /// The connection broke: whether to try again.
    pub(super) fn broken(&mut self) -> bool {
        self.link.disconnect();
        self.unproven = true;
        self.settings.reconnect
    }
}

/// A line the relay writes.
#[derive(Debug, serde::Deserialize)]
struct Ack {
    /// Lines of this connection whose fate is on disk.
    ack: u64,
    /// Those of them that were refused.
    #[serde(default)]
    rejected: Vec<super::Rejected>,
}

/// Pieces composed before the next connection has its turn.
const TURN_CHUNKS: u32 = 4;
