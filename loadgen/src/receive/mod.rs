//! The endpoint relays deliver to.
//!
//! Owns the listener, its connections (one thread each: relays use few) and what was received:
//! bodies kept for later, judged at once, or only counted. Can be told to misbehave. Promises that
//! what it answered with 200 was kept; leaves the verdict to `verify`.

mod connection;
mod fake;
mod faults;
pub(crate) mod store;

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::connection::Connection;
use self::fake::Fake;
pub(crate) use self::fake::FakeArguments;
pub(crate) use self::faults::Faults;
use self::store::Store;
use crate::clock::{Clock, micros};
use crate::verify::Verified;

/// When bodies are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum VerifyMode {
    /// Kept during the run, judged after it.
    After,
    /// Decoded and judged before the answer.
    Live,
    /// Never: only bytes are counted.
    #[value(skip)]
    Discard,
}

/// What an endpoint is to do.
pub(crate) struct ReceiverSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) mode: VerifyMode,
    /// Where bodies are kept; needed for `VerifyMode::After`.
    pub(crate) store: Option<Store>,
    pub(crate) faults: Faults,
    /// Answer as a product does.
    pub(crate) fake: FakeArguments,
    /// Longer bodies are answered with 413.
    pub(crate) body_bytes_max: u64,
}

/// An endpoint that is listening.
pub(crate) struct Receiver {
    shared: Arc<Shared>,
    acceptor: JoinHandle<()>,
}

/// What an endpoint has received when it has stopped.
pub(crate) struct Received {
    /// The verdict so far, if judged live.
    pub(crate) live: Option<Verified>,
    pub(crate) store: Option<Store>,
    pub(crate) tallies: ReceiveTallies,
    pub(crate) failures: Vec<String>,
}

/// Counts that are exact without decoding, but for `raw_bytes` (see `connection`).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ReceiveTallies {
    /// Bodies answered (or meant to be answered) with success.
    pub(crate) taken: u64,
    /// Requests answered with a failure, as told.
    pub(crate) refused: u64,
    pub(crate) malformed: u64,
    pub(crate) body_bytes: u64,
    pub(crate) raw_bytes: u64,
    /// Microseconds since 1970; 0 when nothing came.
    pub(crate) first_us: u64,
    pub(crate) last_us: u64,
}

struct Shared {
    mode: VerifyMode,
    store: Option<Store>,
    faults: Faults,
    fake: Option<Fake>,
    body_bytes_max: u64,
    clock: Clock,
    /// When the windows of misbehaviour are counted from.
    fault_start_us: AtomicU64,
    stop: AtomicBool,
    counters: Counters,
    live: Mutex<Verified>,
    /// Open connections, so that they can be ended from outside.
    streams: Mutex<HashMap<u64, Arc<TcpStream>>>,
    failures: Mutex<Vec<String>>,
    address: SocketAddr,
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    taken: AtomicU64,
    refused: AtomicU64,
    malformed: AtomicU64,
    body_bytes: AtomicU64,
    raw_bytes: AtomicU64,
    first_us: AtomicU64,
    last_us: AtomicU64,
}

impl Receiver {
    /// Listens and serves in threads of its own.
    pub(crate) fn start(settings: ReceiverSettings, clock: Clock) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.listen)?;
        let shared = Arc::new(Shared {
            mode: settings.mode,
            store: settings.store,
            faults: settings.faults,
            fake: Fake::of(&settings.fake),
            body_bytes_max: settings.body_bytes_max,
            clock,
            fault_start_us: AtomicU64::new(clock.now_us()),
            stop: AtomicBool::new(false),
            counters: Counters::default(),
            live: Mutex::new(Verified::nothing()),
            streams: Mutex::default(),
            failures: Mutex::default(),
            address: listener.local_addr()?,
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::Builder::new()
            .name("receive".to_owned())
            .spawn(move || accept_all(&accepting, listener))?;
        Ok(Self { shared, acceptor })
    }

    /// Where it listens, with the port the system chose.
    pub(crate) fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Windows of misbehaviour count from now.
    pub(crate) fn start_fault_clock(&self) {
        self.shared
            .fault_start_us
            .store(self.shared.clock.now_us(), Ordering::Relaxed);
    }

    /// What has been received so far.
    pub(crate) fn tallies(&self) -> ReceiveTallies {
        self.shared.counters.read()
    }

    /// Different events so far; known only when judged live.
    pub(crate) fn live_events(&self) -> Option<u64> {
        let live = self.shared.mode == VerifyMode::Live;
        live.then(|| lock(&self.shared.live).ledger.findings().events)
    }

    /// Stops listening, ends all connections and hands over what was received.
    pub(crate) fn finish(self) -> io::Result<Received> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.end_connections();
        let panicked = |_| io::Error::other("a receiver thread panicked");
        self.acceptor.join().map_err(panicked)?;
        let shared = Arc::into_inner(self.shared).expect("all threads of the receiver have ended");
        let tallies = shared.counters.read();
        let live = shared
            .live
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let failures = shared
            .failures
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let live = (shared.mode == VerifyMode::Live).then_some(live);
        Ok(Received {
            live,
            store: shared.store,
            tallies,
            failures,
        })
    }
}

impl Shared {
    fn elapsed(&self) -> Duration {
        let start_us = self.fault_start_us.load(Ordering::Relaxed);
        Duration::from_micros(self.clock.now_us().saturating_sub(start_us))
    }

    fn wait_while_hanging(&self) {
        loop {
            let left = self.faults.hang_left(self.elapsed());
            if left.is_zero() || self.stop.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(left.min(TICK));
        }
    }

    /// Sleeps, but not past a stop.
    fn sleep(&self, time: Duration) {
        let end_us = self.clock.now_us() + micros(time);
        while !self.stop.load(Ordering::Relaxed) {
            let left = Duration::from_micros(end_us.saturating_sub(self.clock.now_us()));
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(TICK));
        }
    }

    fn end_connections(&self) {
        for stream in lock(&self.streams).values() {
            // One that is closed already needs no ending.
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    fn fail(&self, failure: String) {
        let mut failures = lock(&self.failures);
        if failures.len() < FAILURES_MAX {
            failures.push(failure);
        }
    }
}

impl Counters {
    fn body(&self, body_bytes: u64, raw_bytes: u64, received_us: u64) {
        self.body_bytes.fetch_add(body_bytes, Ordering::Relaxed);
        self.raw_bytes.fetch_add(raw_bytes, Ordering::Relaxed);
        self.last_us.fetch_max(received_us, Ordering::Relaxed);
        // Only the first change succeeds; every later one is meant to fail.
        let (unset, order) = (0, Ordering::Relaxed);
        self.first_us
            .compare_exchange(unset, received_us, order, order)
            .ok();
    }

    fn read(&self) -> ReceiveTallies {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ReceiveTallies {
            taken: load(&self.taken),
            refused: load(&self.refused),
            malformed: load(&self.malformed),
            body_bytes: load(&self.body_bytes),
            raw_bytes: load(&self.raw_bytes),
            first_us: load(&self.first_us),
            last_us: load(&self.last_us),
        }
    }
}

fn accept_all(shared: &Arc<Shared>, listener: TcpListener) {
    let mut listener = Some(listener);
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for number in 0.. {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        if !shared.faults.down_left(shared.elapsed()).is_zero() {
            listener = None;
            shared.end_connections();
            std::thread::sleep(TICK);
            continue;
        }
        let result = match listener.as_ref() {
            Some(listener) => accept_one(shared, listener, number),
            None => TcpListener::bind(shared.address).map(|again| {
                listener = Some(again);
                None
            }),
        };
        match result {
            Ok(Some(thread)) => threads.push(thread),
            Ok(None) => {}
            Err(error) => {
                shared.fail(format!("accept: {error}"));
                std::thread::sleep(TICK);
            }
        }
        threads.retain(|thread| !thread.is_finished());
    }
    // A connection accepted while the stop came may still wait for its peer.
    shared.end_connections();
    for thread in threads {
        if thread.join().is_err() {
            shared.fail("a connection's thread panicked".to_owned());
        }
    }
}

fn accept_one(
    shared: &Arc<Shared>,
    listener: &TcpListener,
    number: u64,
) -> io::Result<Option<JoinHandle<()>>> {
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(TICK.subsec_nanos()),
    };
    if poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&timeout))? == 0 {
        return Ok(None);
    }
    let stream = Arc::new(listener.accept()?.0);
    stream.set_nodelay(true)?;
    lock(&shared.streams).insert(number, Arc::clone(&stream));
    let serving = Arc::clone(shared);
    let body = move || {
        if let Err(error) = Connection::new(&serving, &stream).serve() {
            // Peers come and go; only what the endpoint itself could not do is a failure, and that
            // was noted where it happened.
            drop(error);
        }
        drop(stream.shutdown(Shutdown::Both));
        lock(&serving.streams).remove(&number);
    };
    let thread = std::thread::Builder::new()
        .name(format!("receive-{number}"))
        .stack_size(STACK_BYTES)
        .spawn(body)?;
    Ok(Some(thread))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const TICK: Duration = Duration::from_millis(20);
const STACK_BYTES: usize = 256 << 10;
const FAILURES_MAX: usize = 20;
