//! Senders: many connections, open loop or flat out, over TCP or HTTP.
//!
//! Owns a load from start to end: who sends what at which pace, the threads, and the outcome.
//! Promises that latencies count from the intended send time, that nothing is counted as
//! acknowledged that the relay has not answered for, and that after a broken connection the same
//! bytes are sent again. Leaves judging what arrived to `verify`.

mod book;
mod driver;
mod http;
pub(crate) mod idle;
mod link;
mod poll;
mod progress;
mod schedule;
mod tcp;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;

use self::book::Book;
use self::driver::{Driver, Peer};
use self::http::{HttpPeer, HttpSettings};
use self::link::Link;
use self::poll::Poller;
pub(crate) use self::progress::{Progress, SenderState, State, StateFile};
use self::schedule::{Pace, Schedule};
use self::tcp::{TcpPeer, TcpSettings};
use crate::clock::{Clock, micros};
use crate::event::Pool;

/// What to send, where and how fast.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) target: Target,
    /// At least 1; each connection is one sender.
    pub(crate) connections: u32,
    /// Number of the first sender.
    pub(crate) sender_base: u32,
    /// Raw bytes per second of all connections together; `None`: as fast as possible.
    pub(crate) rate: Option<u64>,
    /// Events of all connections together; `None`: until the duration is over.
    pub(crate) events: Option<u64>,
    pub(crate) duration: Option<Duration>,
    /// Connect again when a connection breaks, and send again what is unacknowledged.
    pub(crate) reconnect: bool,
    /// How long to wait for acknowledgements after the last event.
    pub(crate) grace: Duration,
    pub(crate) threads: usize,
}

/// The far end.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Tcp {
        address: SocketAddr,
        ack: bool,
    },
    Http {
        address: SocketAddr,
        host: String,
        path: String,
        body_events: u64,
    },
}

/// A load that is running.
pub(crate) struct Running {
    pub(crate) progress: Arc<Progress>,
    threads: Vec<JoinHandle<io::Result<Tally>>>,
}

/// What a load did; the sum over its threads.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) events_sent: u64,
    pub(crate) events_acked: u64,
    pub(crate) events_resent: u64,
    pub(crate) events_rejected: u64,
    /// Rejected lines the relay counted without saying which.
    pub(crate) rejected_unlisted: u64,
    /// Bodies answered with 408, 429 or 5xx.
    pub(crate) bodies_retried: u64,
    pub(crate) reconnects: u64,
    /// Bytes of the events made, line ends included, each counted once.
    pub(crate) raw_bytes: u64,
    /// Microseconds from the intended send time to the acknowledgement.
    pub(crate) ack_us: Histogram<u64>,
    /// The furthest a sender fell behind its timetable.
    pub(crate) behind_us_max: u64,
    pub(crate) first_send_us: Option<u64>,
    pub(crate) cpu_seconds: f64,
    /// When the last sender was done.
    pub(crate) end_us: u64,
    pub(crate) failures: Vec<String>,
}

/// What a sender needs from its thread.
struct Context<'a> {
    pool: &'a Pool,
    clock: Clock,
    stop: &'a AtomicBool,
    end_us: u64,
    grace_us: u64,
    progress: &'a Progress,
    tally: &'a mut Tally,
}

/// What a sender wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Another turn after the others had theirs.
    Again,
    /// Readiness, or this time (`u64::MAX`: readiness only).
    Wait(u64),
    /// A new connection at once.
    Reconnect,
    /// The peer's acknowledgements and end of stream.
    Closing,
    /// Nothing any more.
    Done,
}

/// A refused line, counted from 1 within its body or connection.
#[derive(Debug, serde::Deserialize)]
struct Rejected {
    line: u64,
}

impl Context<'_> {
    fn must_stop(&self, now_us: u64) -> bool {
        now_us >= self.end_us || self.stop.load(Ordering::Relaxed)
    }

    /// The relay has refused an event of ours.
    fn reject(&mut self, sender: u32, sequence: u64) {
        self.tally.events_rejected += 1;
        self.progress.reject(sender, sequence);
    }
}

impl Load {
    /// Connects all senders and starts them at once. Fails when the first connections fail.
    pub(crate) fn start(
        &self,
        pool: &Arc<Pool>,
        clock: Clock,
        stop: &Arc<AtomicBool>,
    ) -> io::Result<Running> {
        let connections = self.connections as usize;
        let threads = self.threads.clamp(1, connections);
        let progress = Arc::new(Progress::new(self.sender_base, connections));
        let mut crews = Vec::with_capacity(threads);
        for thread in 0..threads {
            crews.push(self.connect((thread..connections).step_by(threads))?);
        }
        // Everybody is connected before the timetable starts, for all at the same moment.
        let start_us = clock.now_us() + START_DELAY_US;
        let end_us = self
            .duration
            .map_or(u64::MAX, |time| start_us + micros(time));
        let mut handles = Vec::new();
        for (thread, (poller, links)) in crews.into_iter().enumerate() {
            let times = (start_us, end_us);
            let peer = |(index, link)| (index, self.peer(pool, index, link, times));
            let mut driver = Driver::new(poller, links.into_iter().map(peer).collect());
            let (pool, stop) = (Arc::clone(pool), Arc::clone(stop));
            let (progress, grace_us) = (Arc::clone(&progress), micros(self.grace));
            let body = move || -> io::Result<Tally> {
                let mut tally = Tally::default();
                std::thread::sleep(Duration::from_micros(
                    start_us.saturating_sub(clock.now_us()),
                ));
                let mut context = Context {
                    pool: &pool,
                    clock,
                    stop: &stop,
                    end_us,
                    grace_us,
                    progress: &progress,
                    tally: &mut tally,
                };
                driver.run(&mut context)?;
                tally.end_us = clock.now_us();
                tally.cpu_seconds = crate::procfs::thread_cpu_seconds();
                Ok(tally)
            };
            let name = format!("send-{thread}");
            handles.push(std::thread::Builder::new().name(name).spawn(body)?);
        }
        Ok(Running {
            progress,
            threads: handles,
        })
    }

    /// Opens the connections of one thread's senders, given by their numbers in the load.
    fn connect(
        &self,
        indexes: impl Iterator<Item = usize>,
    ) -> io::Result<(Poller, Vec<(usize, Link)>)> {
        let address = match &self.target {
            Target::Tcp { address, .. } | Target::Http { address, .. } => *address,
        };
        let (poller, mut links) = (Poller::new()?, Vec::new());
        for (token, index) in (0..).zip(indexes) {
            let mut link = Link::new(address, token);
            let mut tries = 1;
            while let Err(error) = link.connect(&poller) {
                // A full listen queue drops the first packet; that is no refusal.
                if error.kind() != io::ErrorKind::TimedOut || tries == CONNECT_TRIES {
                    let message = format!("connect to {address}: {error}");
                    return Err(io::Error::new(error.kind(), message));
                }
                tries += 1;
            }
            links.push((index, link));
        }
        Ok((poller, links))
    }

    fn peer(&self, pool: &Pool, index: usize, link: Link, (start_us, end_us): (u64, u64)) -> Peer {
        let connections = u64::from(self.connections);
        let number = index as u64;
        let sender = self.sender_base + u32::try_from(index).expect("senders are counted in u32");
        let share = |events: u64| events / connections + u64::from(number < events % connections);
        let book = Book::new(self.events.map_or(crate::event::SEQUENCE_MAX, share));
        let rate = self.rate.map(|rate| rate as f64 / connections as f64);
        let pace = |unit_events: u64| match rate {
            None => Pace::Flat,
            Some(rate) => {
                let interval_us = unit_events as f64 * pool.event_bytes_mean() / rate * 1e6;
                // Senders take turns, as independent programs would.
                let phase = interval_us * number as f64 / connections as f64;
                Pace::Open {
                    first_us: start_us + micros(Duration::from_secs_f64(phase / 1e6)),
                    interval_us,
                }
            }
        };
        match &self.target {
            Target::Tcp { ack, .. } => {
                let chunk_bytes = (CHUNKS_BYTES / self.connections as usize)
                    .clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
                let burst_events =
                    rate.map(|rate| burst_events(rate, pool.event_bytes_mean(), chunk_bytes));
                let settings = TcpSettings {
                    ack: *ack,
                    reconnect: self.reconnect,
                    burst_events,
                    chunk_bytes,
                };
                let schedule = Schedule::new(pace(burst_events.unwrap_or(1)), end_us);
                Peer::Tcp(TcpPeer::new(sender, link, book, schedule, settings))
            }
            Target::Http {
                host,
                path,
                body_events,
                ..
            } => {
                let head = format!(
                    "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-ndjson\r\n\
                     User-Agent: loadgen\r\nContent-Length: "
                );
                let settings = HttpSettings {
                    head,
                    body_events: *body_events,
                    reconnect: self.reconnect,
                };
                let schedule = Schedule::new(pace(*body_events), end_us);
                Peer::Http(HttpPeer::new(sender, link, book, schedule, settings))
            }
        }
    }
}

impl Running {
    /// Whether every sender has finished.
    pub(crate) fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the senders and sums up.
    pub(crate) fn finish(self) -> io::Result<Tally> {
        let mut sum = Tally::default();
        for thread in self.threads {
            let tally = thread
                .join()
                .map_err(|_| io::Error::other("a sender thread panicked"))??;
            sum.add(&tally);
        }
        // Without acknowledgements arrival is known only at the end, and only from the books.
        sum.events_acked = sum.events_acked.max(self.progress.totals().1);
        Ok(sum)
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            events_sent: 0,
            events_acked: 0,
            events_resent: 0,
            events_rejected: 0,
            rejected_unlisted: 0,
            bodies_retried: 0,
            reconnects: 0,
            raw_bytes: 0,
            ack_us: latency_histogram(),
            behind_us_max: 0,
            first_send_us: None,
            cpu_seconds: 0.0,
            end_us: 0,
            failures: Vec::new(),
        }
    }
}

impl Tally {
    fn sent(&mut self, bytes: usize, events: u64, intended_us: u64, now_us: u64) {
        self.raw_bytes += bytes as u64;
        self.events_sent += events;
        self.behind_us_max = self.behind_us_max.max(now_us.saturating_sub(intended_us));
        self.first_send_us.get_or_insert(now_us);
    }

    fn fail(&mut self, failure: String) {
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(failure);
        }
    }

    /// Adds the work of another thread or load.
    pub(crate) fn add(&mut self, other: &Self) {
        self.events_sent += other.events_sent;
        self.events_acked += other.events_acked;
        self.events_resent += other.events_resent;
        self.events_rejected += other.events_rejected;
        self.rejected_unlisted += other.rejected_unlisted;
        self.bodies_retried += other.bodies_retried;
        self.reconnects += other.reconnects;
        self.raw_bytes += other.raw_bytes;
        self.ack_us
            .add(&other.ack_us)
            .expect("all latency histograms have the same bounds");
        self.behind_us_max = self.behind_us_max.max(other.behind_us_max);
        self.cpu_seconds += other.cpu_seconds;
        self.end_us = self.end_us.max(other.end_us);
        self.first_send_us = match (self.first_send_us, other.first_send_us) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        for failure in &other.failures {
            self.fail(failure.clone());
        }
    }
}

/// Microseconds up to an hour, to three digits.
pub(crate) fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("constant bounds are valid")
}

/// Events of one burst: two milliseconds' worth, so that the timer costs little, within a chunk.
#[expect(
    clippy::cast_possible_truncation,
    reason = "clamped to a chunk's number of events"
)]
#[expect(clippy::cast_sign_loss, reason = "rates and sizes are positive")]
fn burst_events(rate: f64, event_bytes: f64, chunk_bytes: usize) -> u64 {
    (rate * 0.002)
        .clamp(event_bytes, chunk_bytes as f64)
        .div_euclid(event_bytes) as u64
}

const START_DELAY_US: u64 = 20_000;
const CONNECT_TRIES: u32 = 10;
/// Composed bytes of all senders together stay in the second-level cache.
const CHUNKS_BYTES: usize = 1 << 20;
const CHUNK_BYTES_MIN: usize = 32 << 10;
const CHUNK_BYTES_MAX: usize = 64 << 10;
const FAILURES_MAX: usize = 20;
