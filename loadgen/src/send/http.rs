//! A sender that posts NDJSON bodies, one at a time.
//!
//! Owns the request head, the wait for the answer, sending the same body again after 429 and 5xx
//! (honouring `Retry-After`) and after a broken connection.

use std::io;

use super::book::{Book, Entry};
use super::link::{Filled, Link};
use super::poll::Poller;
use super::schedule::{Due, Schedule};
use super::{Context, Rejected, Step};
use crate::http1::{Response, parse_response};

/// One HTTP sender.
pub(super) struct HttpPeer {
    sender: u32,
    pub(super) link: Link,
    pub(super) book: Book,
    schedule: Schedule,
    settings: HttpSettings,
    in_flight: Option<Entry>,
    /// The body is to be sent again at this time.
    retry_us: Option<u64>,
    refusals: u32,
    /// The connection broke with a body in flight.
    resend: bool,
}

/// What all HTTP senders of a load have in common.
#[derive(Debug, Clone)]
pub(super) struct HttpSettings {
    /// Request line and headers up to the value of `Content-Length`.
    pub(super) head: String,
    /// Events in a body.
    pub(super) body_events: u64,
    /// Send the body again when the connection breaks before the answer.
    pub(super) reconnect: bool,
}

impl HttpPeer {
    pub(super) fn new(
        sender: u32,
        link: Link,
        book: Book,
        schedule: Schedule,
        settings: HttpSettings,
    ) -> Self {
        Self {
            sender,
            link,
            book,
            schedule,
            settings,
            in_flight: None,
            retry_us: None,
            refusals: 0,
            resend: false,
        }
    }

    /// Connects; a body without its answer is sent again from its first byte.
    pub(super) fn connect(&mut self, poller: &Poller) -> io::Result<()> {
        self.link.connect(poller)
    }

    /// Nothing new is made from now on; a body in flight still wants its answer.
    pub(super) fn stop(&mut self) {
        self.schedule.stop();
    }

    /// Does all that can be done now. An error is a broken connection.
    pub(super) fn drive(&mut self, context: &mut Context<'_>) -> io::Result<Step> {
        self.take_answer(context)?;
        let now_us = context.clock.now_us();
        if let Some(retry_us) = self.retry_us {
            if now_us < retry_us {
                return Ok(Step::Wait(retry_us));
            }
            let entry = self.in_flight.expect("only a body in flight is retried");
            self.retry_us = None;
            context.tally.events_resent += entry.span.count;
            self.compose(context, entry);
        }
        if self.in_flight.is_none() {
            match self.due(now_us) {
                Due::Now(intended_us) => self.open(context, intended_us),
                Due::At(time) => return Ok(Step::Wait(time)),
                Due::Ended => return Ok(Step::Done),
            }
        }
        if !self.link.is_connected() {
            return Ok(Step::Reconnect);
        }
        if std::mem::take(&mut self.resend) {
            context.tally.events_resent += self.in_flight.map_or(0, |entry| entry.span.count);
        }
        if let Err(error) = self.link.flush() {
            // A relay that refuses a body may close before it has read it all.
            self.link.ready(true, false);
            return if self.take_answer(context)? {
                Ok(Step::Again)
            } else {
                Err(error)
            };
        }
        Ok(Step::Wait(u64::MAX))
    }

    /// Reads and acts on the answer; false if it has not come yet. A connection that ended without
    /// the answer due is an error, one that ended between two bodies is not.
    fn take_answer(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let filled = self.link.fill();
        let ended = !matches!(filled, Ok(Filled::Waiting));
        if let Some((response, used)) = self.parse_answer(ended)? {
            self.link.inbox.drain(..used);
            self.answered(&response, context)?;
            if !response.keep_alive {
                self.link.disconnect();
            }
            return Ok(true);
        }
        if ended {
            if self.in_flight.is_some() && self.retry_us.is_none() {
                filled?;
                return Err(io::Error::other("the connection ended before the answer"));
            }
            self.link.disconnect();
        }
        Ok(false)
    }

    fn due(&self, now_us: u64) -> Due {
        if self.book.left() == 0 {
            Due::Ended
        } else {
            self.schedule.due(now_us)
        }
    }

    fn open(&mut self, context: &mut Context<'_>, intended_us: u64) {
        let count = self.settings.body_events.min(self.book.left());
        let entry = self.book.open(count, intended_us);
        self.schedule.advance();
        let body_bytes = self.compose(context, entry);
        context
            .tally
            .sent(body_bytes, count, intended_us, context.clock.now_us());
        self.in_flight = Some(entry);
    }

    /// Fills the outbox with one request; returns the length of its body.
    fn compose(&mut self, context: &Context<'_>, entry: Entry) -> usize {
        self.link.clear();
        let bytes = context.pool.span_bytes(self.sender, entry.span);
        let outbox = &mut self.link.outbox;
        outbox.extend_from_slice(self.settings.head.as_bytes());
        outbox.extend_from_slice(format!("{bytes}\r\n\r\n").as_bytes());
        let head_bytes = outbox.len();
        context
            .pool
            .compose(outbox, self.sender, entry.span, entry.intended_us);
        outbox.len() - head_bytes
    }

    fn parse_answer(&self, ended: bool) -> io::Result<Option<(Response, usize)>> {
        if self.link.inbox.is_empty() {
            return Ok(None);
        }
        if self.in_flight.is_none() {
            return Err(io::Error::other("an answer nobody asked for"));
        }
        parse_response(&self.link.inbox, ended).map_err(io::Error::other)
    }

    fn answered(&mut self, response: &Response, context: &mut Context<'_>) -> io::Result<()> {
        let now_us = context.clock.now_us();
        let entry = self.in_flight.expect("checked before parsing");
        if !self.link.is_flushed() && response.status < 400 {
            return Err(io::Error::other("answered before the body was sent"));
        }
        match response.status {
            200..=299 => {
                let before = self.book.acked();
                self.book
                    .acknowledge(entry.span.end(), now_us, &mut context.tally.ack_us);
                context.tally.events_acked += self.book.acked() - before;
                self.note_rejected(entry, &response.body, context);
                self.in_flight = None;
                self.refusals = 0;
            }
            408 | 429 | 500..=599 => {
                let backoff_ms = RETRY_MS_MIN << self.refusals.min(4);
                let after_ms = response
                    .retry_after_s
                    .map_or(backoff_ms, |s| s.min(3_600) * 1_000);
                self.refusals += 1;
                self.retry_us = Some(now_us + after_ms * 1_000);
                context.tally.bodies_retried += 1;
                if !self.link.is_flushed() {
                    self.link.disconnect();
                }
            }
            status => {
                let text = String::from_utf8_lossy(&response.body);
                let text: String = text.chars().take(200).collect();
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("the body was refused with {status}: {text}"),
                ));
            }
        }
        Ok(())
    }

    fn note_rejected(&self, entry: Entry, body: &[u8], context: &mut Context<'_>) {
        // Other relays answer other things; only ours says which lines it refused.
        let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
            return;
        };
        let listed = answer.rejected.len() as u64;
        for rejected in answer.rejected {
            let sequence = entry.span.first + rejected.line.saturating_sub(1);
            context.reject(self.sender, sequence);
        }
        context.tally.rejected_unlisted += answer.rejected_total.saturating_sub(listed);
    }

    /// The connection broke: whether to try again.
    pub(super) fn broken(&mut self) -> bool {
        self.link.disconnect();
        self.resend = self.in_flight.is_some() && self.retry_us.is_none();
        self.settings.reconnect
    }
}

/// The relay's answer to a body.
#[derive(Debug, Default, serde::Deserialize)]
struct Answer {
    #[serde(default)]
    rejected: Vec<Rejected>,
    #[serde(default)]
    rejected_total: u64,
}

/// First wait after a refusal without `Retry-After`; doubles up to sixteen times this.
const RETRY_MS_MIN: u64 = 50;
