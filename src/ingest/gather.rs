//! The open block of a shard: where accepted lines are gathered until the block closes.
//!
//! A pure state machine: it takes bytes and `now`, and gives closed blocks. It does not
//! compress, write or wait. Lines stand in `raw` each ended by one `\n`; a receive lands
//! directly behind them, so accepted bytes are not copied on their way in.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::block::verdicts::KnownVerdicts;
use crate::event::{InputId, LabelRun, Labels};
use crate::ingest::fate::Waiter;
use crate::ingest::reject::{RejectOrigin, RejectedLine, Rejects};
use crate::limits::{BLOCK_EVENTS_CLOSE, BLOCK_RAW_BYTES_CLOSE, RECEIVE_BYTES_MAX};
use crate::metrics::ledger::InputCounts;
use crate::position::Timestamp;

/// When an open block closes by age.
#[derive(Debug, Clone, Copy)]
pub struct CloseAfter {
    /// With someone waiting for durability.
    pub awaited: Duration,
    /// With no one waiting.
    pub idle: Duration,
}

/// Lines judged together: what of them is stored and what each input counts.
#[derive(Debug)]
pub struct Judged<'a> {
    /// Accepted events.
    pub events: u32,
    /// What the input counts for these lines; `stored` equals `events`.
    pub counts: InputCounts,
    /// Labels of the accepted events.
    pub labels: &'a Arc<Labels>,
    /// When they were received.
    pub received: Timestamp,
    /// Who waits for them.
    pub waiter: Option<Waiter>,
}

/// A closed block, not yet compressed.
#[derive(Debug)]
pub struct GatheredBlock {
    /// Lines, each ended by `\n`, in `raw[..raw_len]`.
    pub raw: Vec<u8>,
    /// Bytes of `raw` that are lines.
    pub raw_len: usize,
    /// Number of lines.
    pub events: u32,
    /// Their labels, in order; the runs add up to `events`.
    pub runs: Vec<LabelRun>,
    /// What the inputs counted while the block was open.
    pub counts: Vec<(InputId, InputCounts)>,
    /// Lines refused while the block was open.
    pub rejects: Rejects,
    /// Who waits for the block and its rejects.
    pub waiters: Vec<Waiter>,
    /// Monotonic time of the first line.
    pub opened: Duration,
    /// What stream rules said of the lines; nothing until the shard asks them.
    pub verdicts: KnownVerdicts,
}

/// The open block and the closed ones nobody has taken yet.
#[derive(Debug)]
pub struct Gather {
    close_after: CloseAfter,
    /// Empty after a block closed, until there is something to put in.
    raw: Vec<u8>,
    /// Bytes of `raw` that are accepted lines.
    filled: usize,
    events: u32,
    runs: Vec<LabelRun>,
    counts: Vec<(InputId, InputCounts)>,
    rejects: Rejects,
    waiters: Vec<Waiter>,
    /// When the first line or count of the open block came; `None` while it is empty.
    opened: Option<Duration>,
    closed: VecDeque<GatheredBlock>,
    /// Buffers to use again, the warmest last.
    buffers: Vec<Vec<u8>>,
}

/// Buffers kept for use again: the open one, one being compressed here and two elsewhere.
const BUFFERS_KEPT_MAX: usize = 4;

/// Where lines were judged but none stored, a block that only carries counters closes so often.
const EMPTY_BLOCK_EVERY: Duration = Duration::from_secs(1);

/// Length of a fresh buffer: the close mark and one receive behind it.
const BUFFER_BYTES: usize = BLOCK_RAW_BYTES_CLOSE + RECEIVE_BYTES_MAX;

impl Gather {
    /// An empty gather.
    #[must_use]
    pub fn new(close_after: CloseAfter) -> Self {
        Self {
            close_after,
            raw: Vec::new(),
            filled: 0,
            events: 0,
            runs: Vec::new(),
            counts: Vec::new(),
            rejects: Rejects::default(),
            waiters: Vec::new(),
            opened: None,
            closed: VecDeque::new(),
            buffers: Vec::new(),
        }
    }

    /// The buffer and where its free part begins. At least `room` bytes are free behind the
    /// accepted lines; what is written there counts for nothing until [`Gather::keep`].
    pub fn open_buffer(&mut self, room: usize) -> (&mut [u8], usize) {
        if self.raw.is_empty() {
            self.raw = self.buffers.pop().unwrap_or_else(|| vec![0; BUFFER_BYTES]);
        }
        let needed = self.filled + room;
        if self.raw.len() < needed {
            self.raw.resize(needed, 0);
        }
        (&mut self.raw, self.filled)
    }

    /// Takes `raw[filled..end]` as accepted lines, judged as told, and closes the block when
    /// it is full. `end` may equal the old mark when nothing was accepted.
    pub fn keep(&mut self, end: usize, judged: Judged<'_>, now: Duration) {
        assert!(
            end >= self.filled && end <= self.raw.len(),
            "lines stay within the buffer"
        );
        assert_eq!(
            judged.counts.stored,
            u64::from(judged.events),
            "what is stored is counted"
        );
        self.filled = end;
        self.count(judged, now);
        if self.filled >= BLOCK_RAW_BYTES_CLOSE || self.events >= BLOCK_EVENTS_CLOSE {
            self.close();
        }
    }

    /// Copies accepted lines from a buffer of the caller (an HTTP body) into the open block.
    /// Each line ends with `\n`. Blocks close on the way as they fill, each with the counts
    /// of its own lines; what was not stored goes with the last piece. The waiter is told when
    /// all of it is durable, or that any block of it, or the rejects in one, could not be.
    pub fn copy_in(&mut self, lines: &[u8], judged: Judged<'_>, now: Duration) {
        let Judged {
            mut counts,
            labels,
            received,
            waiter,
            ..
        } = judged;
        let mut rest = lines;
        while let Some(end) = piece_end(rest) {
            let (piece, after) = rest.split_at(end);
            let stored = InputCounts::of_stored(lines_in(piece), piece.len());
            counts -= stored;
            self.copy_piece(
                piece,
                Judged {
                    counts: stored,
                    events: 0,
                    labels,
                    received,
                    // Line 0 settles nothing; it is there to hear that the piece was lost.
                    waiter: waiter.as_ref().map(|last| Waiter {
                        fate: Rc::clone(&last.fate),
                        line: 0,
                    }),
                },
                now,
            );
            rest = after;
        }
        self.copy_piece(
            rest,
            Judged {
                counts,
                events: 0,
                labels,
                received,
                waiter,
            },
            now,
        );
    }

    /// Adds a refused line to the open block's rejects.
    pub fn reject(&mut self, origin: RejectOrigin<'_>, line: RejectedLine<'_>) {
        self.rejects.add(origin, line);
    }

    /// When the open block will be due; `None` while it is empty.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        let after = match (self.waiters.is_empty(), self.events) {
            (false, _) => self.close_after.awaited,
            (true, 0) => EMPTY_BLOCK_EVERY,
            (true, _) => self.close_after.idle,
        };
        self.opened.map(|opened| opened + after)
    }

    /// Closes the open block when it is due.
    pub fn close_due(&mut self, now: Duration) {
        if self.due().is_some_and(|due| due <= now) {
            self.close();
        }
    }

    /// Closes the open block unless it is empty.
    pub fn close(&mut self) {
        let Some(opened) = self.opened.take() else {
            return;
        };
        let raw = if self.closed.is_empty() {
            // The next buffer is taken when it is needed: by then this one may be back, and warm.
            std::mem::take(&mut self.raw)
        } else {
            // Blocks close faster than they are taken, as in a body of very short lines: each
            // holds its lines alone, not the room for many more.
            self.raw[..self.filled].to_vec()
        };
        self.closed.push_back(GatheredBlock {
            raw,
            raw_len: std::mem::take(&mut self.filled),
            events: std::mem::take(&mut self.events),
            runs: std::mem::take(&mut self.runs),
            counts: std::mem::take(&mut self.counts),
            rejects: std::mem::take(&mut self.rejects),
            waiters: std::mem::take(&mut self.waiters),
            opened,
            verdicts: KnownVerdicts::default(),
        });
    }

    /// The oldest closed block.
    pub fn take_closed(&mut self) -> Option<GatheredBlock> {
        self.closed.pop_front()
    }

    /// What the inputs counted for lines that no one has taken yet.
    #[must_use]
    pub fn open_received(&self) -> u64 {
        let closed = self.closed.iter().flat_map(|block| &block.counts);
        closed
            .chain(&self.counts)
            .map(|(_, counts)| counts.received)
            .sum()
    }

    /// True when nothing was handed over since the last block closed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.opened.is_none()
    }

    /// Number of closed blocks nobody has taken.
    #[must_use]
    pub fn closed_blocks(&self) -> usize {
        self.closed.len()
    }

    /// Gives a buffer back for use again.
    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.buffers.len() < BUFFERS_KEPT_MAX && buffer.len() >= BUFFER_BYTES {
            // A buffer that grew for one long line goes back to the common size.
            if buffer.len() > BUFFER_BYTES {
                buffer.truncate(BUFFER_BYTES);
                buffer.shrink_to_fit();
            }
            self.buffers.push(buffer);
        }
    }

    fn copy_piece(&mut self, piece: &[u8], judged: Judged<'_>, now: Duration) {
        let (buffer, start) = self.open_buffer(piece.len());
        let end = start + piece.len();
        buffer[start..end].copy_from_slice(piece);
        self.keep(
            end,
            Judged {
                events: lines_in(piece),
                ..judged
            },
            now,
        );
    }

    fn count(&mut self, judged: Judged<'_>, now: Duration) {
        let Judged {
            events,
            counts,
            labels,
            received,
            waiter,
        } = judged;
        self.label(events, labels, received);
        match self
            .counts
            .iter_mut()
            .find(|(input, _)| *input == labels.input)
        {
            Some((_, sum)) => *sum += counts,
            None => self.counts.push((labels.input, counts)),
        }
        if let Some(waiter) = waiter {
            match self.waiters.last_mut() {
                Some(last) if Rc::ptr_eq(&last.fate, &waiter.fate) => {
                    last.line = last.line.max(waiter.line);
                }
                _ => self.waiters.push(waiter),
            }
        }
        self.opened.get_or_insert(now);
    }

    fn label(&mut self, events: u32, labels: &Arc<Labels>, received: Timestamp) {
        if events == 0 {
            return;
        }
        self.events += events;
        match self.runs.last_mut() {
            Some(run) if Arc::ptr_eq(&run.labels, labels) && run.received == received => {
                run.events += events;
            }
            _ => self.runs.push(LabelRun {
                events,
                labels: Arc::clone(labels),
                received,
            }),
        }
    }
}

/// Where to cut a piece off `lines` that fits an open block; `None` for the last piece.
fn piece_end(lines: &[u8]) -> Option<usize> {
    let window = lines.get(..RECEIVE_BYTES_MAX)?;
    let cut = memchr::memrchr(b'\n', window).or_else(|| memchr::memchr(b'\n', lines))?;
    Some(cut + 1).filter(|end| *end < lines.len())
}

fn lines_in(lines: &[u8]) -> u32 {
    u32::try_from(memchr::memchr_iter(b'\n', lines).count()).expect("a body is below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::fate::Fate;

    const AFTER: CloseAfter = CloseAfter {
        awaited: Duration::from_millis(5),
        idle: Duration::from_millis(100),
    };

    fn labels() -> Arc<Labels> {
        Arc::new(Labels::of_input(InputId(0)))
    }

    fn judged<'a>(lines: &[u8], labels: &'a Arc<Labels>) -> Judged<'a> {
        let events = lines_in(lines);
        let counts = InputCounts::of_stored(events, lines.len());
        Judged {
            events,
            counts,
            labels,
            received: Timestamp(1),
            waiter: None,
        }
    }

    #[test]
    fn a_body_of_many_blocks_keeps_order_and_counts_and_each_block_knows_its_waiter() {
        let mut gather = Gather::new(AFTER);
        let labels = labels();
        let line = format!("{{\"text\":\"{}\"}}\n", "x".repeat(1_000));
        let body = line.repeat(2_000).into_bytes();
        let fate = Rc::new(Fate::default());
        let waiter = Some(Waiter {
            fate: Rc::clone(&fate),
            line: 2_000,
        });
        gather.copy_in(
            &body,
            Judged {
                waiter,
                ..judged(&body, &labels)
            },
            Duration::ZERO,
        );
        gather.close();
        let mut seen = Vec::new();
        let mut blocks = 0;
        while let Some(block) = gather.take_closed() {
            blocks += 1;
            seen.extend_from_slice(&block.raw[..block.raw_len]);
            let counted: u64 = block.counts.iter().map(|(_, counts)| counts.stored).sum();
            assert_eq!(counted, u64::from(block.events));
            assert_eq!(
                block.runs.iter().map(|run| run.events).sum::<u32>(),
                block.events
            );
            assert!(block.counts.iter().all(|(_, counts)| counts.balances()));
            let [waiter] = &block.waiters[..] else {
                panic!("each block knows whom to tell that it was lost")
            };
            assert!(Rc::ptr_eq(&waiter.fate, &fate));
            let last = gather.closed_blocks() == 0;
            assert_eq!(waiter.line, if last { 2_000 } else { 0 });
        }
        assert_eq!(seen, body);
        assert!(blocks > 2);
    }

    #[test]
    fn blocks_of_a_body_of_very_short_lines_hold_no_more_than_their_lines() {
        let mut gather = Gather::new(AFTER);
        let labels = labels();
        let body = b"{}\n".repeat(700_000);
        gather.copy_in(&body, judged(&body, &labels), Duration::ZERO);
        gather.close();
        assert!(gather.closed_blocks() > 10);
        let held: usize = gather.closed.iter().map(|block| block.raw.capacity()).sum();
        assert!(
            held <= body.len() + BUFFER_BYTES,
            "{held} bytes for {}",
            body.len()
        );
    }

    #[test]
    fn a_block_closes_by_age_sooner_when_someone_waits() {
        let mut gather = Gather::new(AFTER);
        let labels = labels();
        assert_eq!(gather.due(), None);
        gather.copy_in(b"{}\n", judged(b"{}\n", &labels), Duration::from_secs(1));
        assert_eq!(gather.due(), Some(Duration::from_millis(1_100)));
        let waiter = Some(Waiter {
            fate: Rc::new(Fate::default()),
            line: 1,
        });
        let awaited = Judged {
            waiter,
            ..judged(b"{}\n", &labels)
        };
        gather.copy_in(b"{}\n", awaited, Duration::from_secs(1));
        assert_eq!(gather.due(), Some(Duration::from_millis(1_005)));
        gather.close_due(Duration::from_millis(1_004));
        assert_eq!(gather.closed_blocks(), 0);
        gather.close_due(Duration::from_millis(1_005));
        assert_eq!(gather.take_closed().map(|block| block.events), Some(2));
    }
}
