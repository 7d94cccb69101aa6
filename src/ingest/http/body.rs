//! Reading a body: whole, within its limits, at a decent pace, in memory that was reserved.
//!
//! Owns the buffer that counts against the memory budget and the clock against slow
//! senders. Leaves decompression to `decode` and lines to `judge`.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, timeout_at};

use super::answer::Refusal;
use crate::budget::{Budget, Grant};

/// A growing buffer whose capacity is granted by the memory budget.
#[derive(Debug)]
pub(super) struct ReservedBuffer {
    pub(super) bytes: Vec<u8>,
    /// As many bytes as `bytes` has capacity.
    grant: Grant,
    /// Capacity that growing for later does not pass.
    capacity_max: usize,
}

/// Limits of a body as sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    pub(super) bytes_max: usize,
    /// Longest pause between two pieces, and the head start of the floor.
    pub(super) timeout: Duration,
}

/// Bytes a second below which a whole body may not fall.
const FLOOR_BYTES_PER_S: u32 = 1024;

/// Smallest step in which a buffer grows.
const GROWTH_BYTES_MIN: usize = 16 * 1024;

impl ReservedBuffer {
    /// An empty buffer of which more than `capacity_max` bytes are not expected.
    pub(super) fn new(budget: &Budget, capacity_max: usize) -> Result<Self, Refusal> {
        Ok(Self {
            bytes: Vec::new(),
            grant: budget.take(0).ok_or(Refusal::Memory)?,
            capacity_max,
        })
    }

    /// Makes sure that exactly `room` more bytes fit, without growing for later.
    pub(super) fn reserve_exact(&mut self, room: usize) -> Result<(), Refusal> {
        let needed = self.bytes.len() + room;
        let more = needed.saturating_sub(self.bytes.capacity());
        if more > 0 {
            self.grow_to(needed)?;
        }
        Ok(())
    }

    /// Makes sure that `room` more bytes fit, growing so that many small pieces stay cheap.
    pub(super) fn reserve(&mut self, room: usize) -> Result<(), Refusal> {
        let needed = self.bytes.len() + room;
        let capacity = self.bytes.capacity();
        if needed <= capacity {
            return Ok(());
        }
        let generous = (capacity * 2).max(GROWTH_BYTES_MIN);
        let generous = generous.min(self.capacity_max).max(needed);
        // What is not there for later may still be there for now.
        self.grow_to(generous).or_else(|_| self.grow_to(needed))
    }

    fn grow_to(&mut self, capacity: usize) -> Result<(), Refusal> {
        let more = capacity - self.bytes.capacity();
        if !self.grant.grow(more as u64) {
            return Err(Refusal::Memory);
        }
        self.bytes.reserve_exact(capacity - self.bytes.len());
        Ok(())
    }

    /// Gives the memory back but keeps the grant, for bytes that live on elsewhere.
    pub(super) fn into_grant(self) -> Grant {
        self.grant
    }
}

/// Reads a body to its end. One byte more than the body is reserved, for the end of a last
/// line that has none.
pub(super) async fn read_whole(
    body: &mut Incoming,
    limits: BodyLimits,
    budget: &Budget,
    received: &mut usize,
) -> Result<ReservedBuffer, Refusal> {
    let mut buffer = ReservedBuffer::new(budget, limits.bytes_max + 1)?;
    let expected = body.size_hint().exact().unwrap_or(0);
    let room = usize::try_from(expected)
        .ok()
        .and_then(|bytes| bytes.checked_add(1));
    buffer.reserve_exact(room.ok_or(Refusal::Memory)?)?;
    let mut pace = Pace::start(limits.timeout);
    while let Some(piece) = next_piece(body, &mut pace, received).await? {
        if buffer.bytes.len() + piece.len() > limits.bytes_max {
            return Err(Refusal::BodyTooLarge {
                bytes: *received as u64,
                bytes_max: limits.bytes_max,
            });
        }
        buffer.reserve(piece.len() + 1)?;
        buffer.bytes.extend_from_slice(&piece);
    }
    Ok(buffer)
}

/// Reads and drops what is left of a body, so that a client that only listens after it has
/// sent all hears the answer. False when more than `bytes_max` came or it was not readable;
/// the connection cannot go on then.
pub(super) async fn drop_rest(
    body: &mut Incoming,
    limits: BodyLimits,
    received: &mut usize,
) -> bool {
    let mut pace = Pace::start(limits.timeout);
    let mut dropped = 0;
    loop {
        match next_piece(body, &mut pace, received).await {
            Ok(None) => return true,
            Ok(Some(piece)) if dropped + piece.len() <= limits.bytes_max => dropped += piece.len(),
            Ok(Some(_)) | Err(_) => return false,
        }
    }
}

/// The next piece of data; trailers are passed over.
async fn next_piece(
    body: &mut Incoming,
    pace: &mut Pace,
    received: &mut usize,
) -> Result<Option<bytes::Bytes>, Refusal> {
    loop {
        let Ok(frame) = timeout_at(pace.deadline(), body.frame()).await else {
            return Err(Refusal::TooSlow {
                received: *received,
                pause_s: pace.timeout.as_secs_f64(),
            });
        };
        let frame = match frame {
            None => return Ok(None),
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Err(unreadable(&error, *received)),
        };
        if let Ok(piece) = frame.into_data() {
            *received += piece.len();
            pace.passed(piece.len(), Instant::now());
            return Ok(Some(piece));
        }
    }
}

/// Tells a body that broke its own form from one whose connection ended.
fn unreadable(error: &hyper::Error, received: usize) -> Refusal {
    let cause = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>());
    match cause {
        Some(cause)
            if matches!(
                cause.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
            ) =>
        {
            Refusal::Chunks {
                received,
                cause: cause.to_string(),
            }
        }
        _ => Refusal::Aborted { received },
    }
}

/// The clock against slow senders.
#[derive(Debug)]
struct Pace {
    timeout: Duration,
    started: Instant,
    last_piece: Instant,
    bytes: u64,
}

impl Pace {
    fn start(timeout: Duration) -> Self {
        let now = Instant::now();
        Self {
            timeout,
            started: now,
            last_piece: now,
            bytes: 0,
        }
    }

    fn passed(&mut self, bytes: usize, now: Instant) {
        self.bytes += bytes as u64;
        self.last_piece = now;
    }

    /// The pause ends here, or the whole falls below its floor.
    fn deadline(&self) -> Instant {
        let allowed = Duration::from_millis(self.bytes * 1_000 / u64::from(FLOOR_BYTES_PER_S));
        let floor = self.started + self.timeout + allowed;
        floor.min(self.last_piece + self.timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_holds_exactly_what_the_budget_granted() {
        let budget = Budget::new(100_000);
        let mut buffer = ReservedBuffer::new(&budget, usize::MAX).expect("room");
        buffer.reserve_exact(1_000).expect("room");
        assert_eq!(budget.bytes_taken(), 1_000);
        buffer.bytes.resize(1_000, 0);
        buffer.reserve(1).expect("room");
        assert_eq!(budget.bytes_taken(), GROWTH_BYTES_MIN as u64);
        assert_eq!(buffer.bytes.capacity(), GROWTH_BYTES_MIN);
        // Doubling would ask for more than there is; the exact need is still granted.
        buffer.reserve(98_000).expect("room");
        assert_eq!(budget.bytes_taken(), 99_000);
        assert!(matches!(buffer.reserve(99_001), Err(Refusal::Memory)));
        assert_eq!(budget.bytes_taken(), 99_000);
        let grant = buffer.into_grant();
        assert_eq!(grant.bytes(), 99_000);
        drop(grant);
        assert_eq!(budget.bytes_taken(), 0);
        let mut bounded = ReservedBuffer::new(&budget, 20_000).expect("room");
        for (needed, granted) in [(1, GROWTH_BYTES_MIN), (16_385, 20_000), (20_001, 20_001)] {
            bounded.reserve(needed).expect("room");
            assert_eq!(budget.bytes_taken(), granted as u64);
        }
    }

    #[test]
    fn a_trickle_falls_below_the_floor_though_no_pause_is_long() {
        const SECOND: Duration = Duration::from_secs(1);
        let survives = |bytes_per_second: usize, seconds: u32| {
            let mut pace = Pace::start(10 * SECOND);
            let started = pace.started;
            (1..=seconds).all(|second| {
                let now = started + second * SECOND;
                let in_time = pace.deadline() >= now;
                pace.passed(bytes_per_second, now);
                in_time
            })
        };
        assert!(survives(1, 10));
        assert!(!survives(1, 11));
        assert!(survives(1_024, 10_000));
        assert!(!survives(1_000, 10_000));
    }
}
