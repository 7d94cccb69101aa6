//! What has arrived, sender by sender.
//!
//! Owns the maps of sequences seen and what they prove: duplicates, order, gaps and, against the
//! senders' books, losses. Memory is one bit for each event above the lowest missing one. Spans
//! must be applied in the order of receipt. Content is compared in `decode`, before this.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::event::{Pool, RunId, SEQUENCE_MAX, Span};
use crate::send::SenderState;

/// A stretch of consecutive events of one sender within a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) run: RunId,
    pub(crate) sender: u32,
    pub(crate) span: Span,
}

/// Everything that has arrived so far.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    senders: HashMap<(RunId, u32), SenderLedger>,
    pools: HashMap<RunId, Arc<Pool>>,
    /// Hashes of the identities of bodies taken.
    keys: HashSet<u64>,
    findings: Findings,
}

/// What the arrivals prove by themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Different events received.
    pub(crate) events: u64,
    /// Bytes of the different events, line ends included.
    pub(crate) raw_bytes: u64,
    /// Events received again.
    pub(crate) duplicates: u64,
    /// Of those, events in a body whose `Idempotency-Key` had been seen.
    pub(crate) duplicates_with_known_key: u64,
    /// First receipts after one with a higher sequence of the same sender.
    pub(crate) out_of_order: u64,
}

/// What is missing of what was acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Acknowledged events that never arrived.
    pub(crate) lost: u64,
    /// The first of them, as (sender, sequence).
    pub(crate) examples: Vec<(u32, u64)>,
    /// Received events that no sender has made.
    pub(crate) unknown: u64,
}

/// Sequences of one sender: all below `floor`, and those whose bit is set in `words`.
#[derive(Debug, Default)]
struct SenderLedger {
    /// A multiple of 64; bit 0 of `words[0]` is this sequence.
    floor: u64,
    words: VecDeque<u64>,
    /// One more than the highest sequence received.
    end: u64,
}

impl Ledger {
    /// Opens a body with this identity; true if a body with it came before.
    pub(crate) fn open_body(&mut self, idempotency_key: Option<&str>) -> bool {
        idempotency_key.is_some_and(|key| {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            !self.keys.insert(hasher.finish())
        })
    }

    /// Takes note of a stretch of events in a body; `bytes` is its length.
    pub(crate) fn apply(&mut self, arrival: Arrival, known_key: bool) {
        let Arrival { run, sender, span } = arrival;
        let ledger = self.senders.entry((run, sender)).or_default();
        let pool = self
            .pools
            .entry(run)
            .or_insert_with(|| Arc::new(Pool::generate(run)));
        let findings = &mut self.findings;
        if span.first == ledger.end {
            // What nearly always happens: the next events of this sender.
            ledger.insert_span(span);
            findings.events += span.count;
            findings.raw_bytes += pool.span_bytes(sender, span);
            return;
        }
        for sequence in span.first..span.end() {
            let late = sequence < ledger.end;
            if ledger.insert(sequence) {
                findings.events += 1;
                findings.raw_bytes += pool.span_bytes(
                    sender,
                    Span {
                        first: sequence,
                        count: 1,
                    },
                );
                findings.out_of_order += u64::from(late);
            } else {
                findings.duplicates += 1;
                findings.duplicates_with_known_key += u64::from(known_key);
            }
        }
    }

    /// What the arrivals prove by themselves.
    pub(crate) fn findings(&self) -> Findings {
        self.findings
    }

    /// Sequences missing below the highest received one, over all senders.
    pub(crate) fn gaps(&self) -> u64 {
        let gaps = |ledger: &SenderLedger| ledger.end - ledger.received_below(ledger.end);
        self.senders.values().map(gaps).sum()
    }

    /// Compares with the books of the senders of `run`.
    pub(crate) fn losses(&self, run: RunId, books: &[SenderState]) -> Losses {
        let nothing = SenderLedger::default();
        let mut losses = Losses::default();
        for book in books {
            let ledger = self.senders.get(&(run, book.sender)).unwrap_or(&nothing);
            let rejected: HashSet<u64> = book.rejected.iter().copied().collect();
            for sequence in ledger
                .missing_below(book.acked)
                .filter(|at| !rejected.contains(at))
            {
                losses.lost += 1;
                if losses.examples.len() < EXAMPLES_MAX {
                    losses.examples.push((book.sender, sequence));
                }
            }
            losses.unknown += ledger.received_below(u64::MAX) - ledger.received_below(book.sent);
        }
        losses
    }
}

impl SenderLedger {
    /// True if `sequence` had not been received.
    fn insert(&mut self, sequence: u64) -> bool {
        debug_assert!(sequence < SEQUENCE_MAX);
        if sequence < self.floor {
            return false;
        }
        let at = self.grow_to(sequence);
        let bit = 1 << (sequence % 64);
        let new = self.words[at] & bit == 0;
        self.words[at] |= bit;
        self.end = self.end.max(sequence + 1);
        self.raise_floor();
        new
    }

    /// Inserts a span that starts at `end`.
    fn insert_span(&mut self, span: Span) {
        let mut sequence = span.first;
        while sequence < span.end() {
            let at = self.grow_to(sequence);
            let bits = (span.end() - sequence).min(64 - sequence % 64);
            let ones = if bits == 64 {
                u64::MAX
            } else {
                (1 << bits) - 1
            };
            self.words[at] |= ones << (sequence % 64);
            sequence += bits;
            self.raise_floor();
        }
        self.end = span.end();
    }

    fn grow_to(&mut self, sequence: u64) -> usize {
        let at = usize::try_from((sequence - self.floor) / 64).expect("sequences are bounded");
        if self.words.len() <= at {
            self.words.resize(at + 1, 0);
        }
        at
    }

    fn raise_floor(&mut self) {
        while self.words.front() == Some(&u64::MAX) {
            self.words.pop_front();
            self.floor += 64;
        }
    }

    fn contains(&self, sequence: u64) -> bool {
        sequence < self.floor
            || usize::try_from((sequence - self.floor) / 64)
                .ok()
                .and_then(|at| self.words.get(at))
                .is_some_and(|word| word >> (sequence % 64) & 1 == 1)
    }

    fn received_below(&self, end: u64) -> u64 {
        let counted_to = end.min(self.end);
        if counted_to <= self.floor {
            return counted_to;
        }
        let above: u64 = (self.floor..)
            .step_by(64)
            .zip(&self.words)
            .map(|(base, word)| {
                let keep = counted_to.saturating_sub(base).min(64);
                let mask = if keep == 64 {
                    u64::MAX
                } else {
                    (1 << keep) - 1
                };
                u64::from((word & mask).count_ones())
            })
            .sum();
        self.floor + above
    }

    fn missing_below(&self, end: u64) -> impl Iterator<Item = u64> + '_ {
        (self.floor..end).filter(|&sequence| !self.contains(sequence))
    }
}

const EXAMPLES_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;

    fn run() -> RunId {
        RunId::new(Kind::Waf, 1)
    }

    /// Applies spans of sender 5, one body each.
    fn ledger(spans: &[(u64, u64)]) -> Ledger {
        let mut ledger = Ledger::default();
        for &(first, count) in spans {
            ledger.apply(
                Arrival {
                    run: run(),
                    sender: 5,
                    span: Span { first, count },
                },
                false,
            );
        }
        ledger
    }

    fn book(sent: u64, acked: u64) -> Vec<SenderState> {
        vec![SenderState {
            sender: 5,
            sent,
            acked,
            rejected: Vec::new(),
        }]
    }

    #[test]
    fn complete_sequences_in_order_have_no_findings() {
        let ledger = ledger(&[(0, 1), (1, 62), (63, 200), (263, 737)]);
        let findings = ledger.findings();
        let pool = Pool::generate(run());
        assert_eq!(findings.events, 1_000);
        assert_eq!(
            findings.raw_bytes,
            pool.span_bytes(
                5,
                Span {
                    first: 0,
                    count: 1_000
                }
            )
        );
        assert_eq!(
            (findings.duplicates, findings.out_of_order, ledger.gaps()),
            (0, 0, 0)
        );
        assert_eq!(ledger.losses(run(), &book(1_000, 1_000)), Losses::default());
        assert!(
            ledger.senders[&(run(), 5)].words.len() <= 1,
            "the floor follows"
        );
    }

    #[test]
    fn an_acknowledged_event_that_never_came_is_lost_wherever_it_lies() {
        for missing in [0, 1, 63, 64, 127, 500, 998, 999] {
            let ledger = ledger(&[(0, missing), (missing + 1, 999 - missing)]);
            let losses = ledger.losses(run(), &book(1_000, 1_000));
            assert_eq!(
                (losses.lost, &losses.examples[..]),
                (1, &[(5, missing)][..]),
                "{missing}"
            );
            assert_eq!(ledger.losses(run(), &book(1_000, missing)).lost, 0);
            assert_eq!(ledger.gaps(), u64::from(missing != 999));
        }
        assert_eq!(ledger(&[]).losses(run(), &book(70, 70)).lost, 70);
    }

    #[test]
    fn a_rejected_event_is_not_lost() {
        let mut books = book(10, 10);
        books[0].rejected.push(4);
        assert_eq!(ledger(&[(0, 4), (5, 5)]).losses(run(), &books).lost, 0);
    }

    #[test]
    fn duplicates_are_counted_once_per_event_and_with_their_identity() {
        let mut ledger = Ledger::default();
        let arrival = Arrival {
            run: run(),
            sender: 5,
            span: Span {
                first: 0,
                count: 100,
            },
        };
        for (key, known) in [
            (Some("a"), false),
            (Some("a"), true),
            (Some("b"), false),
            (None, false),
        ] {
            let seen = ledger.open_body(key);
            assert_eq!(seen, known);
            ledger.apply(arrival, seen);
        }
        let findings = ledger.findings();
        assert_eq!((findings.events, findings.duplicates), (100, 300));
        assert_eq!(
            (findings.duplicates_with_known_key, findings.out_of_order),
            (100, 0)
        );
    }

    #[test]
    fn first_receipt_behind_a_later_event_is_out_of_order() {
        let findings = ledger(&[(0, 10), (20, 10), (10, 10), (0, 30), (30, 5)]).findings();
        assert_eq!(
            (findings.events, findings.out_of_order, findings.duplicates),
            (35, 10, 30)
        );
    }

    #[test]
    fn events_nobody_sent_are_unknown() {
        let losses = ledger(&[(0, 10), (500, 3)]).losses(run(), &book(10, 10));
        assert_eq!((losses.lost, losses.unknown), (0, 3));
    }

    #[test]
    fn senders_and_runs_are_apart() {
        let mut ledger = ledger(&[(0, 10)]);
        let other = RunId::new(Kind::Waf, 2);
        ledger.apply(
            Arrival {
                run: other,
                sender: 5,
                span: Span { first: 0, count: 5 },
            },
            false,
        );
        ledger.apply(
            Arrival {
                run: run(),
                sender: 6,
                span: Span { first: 0, count: 5 },
            },
            false,
        );
        assert_eq!(
            (ledger.findings().events, ledger.findings().duplicates),
            (20, 0)
        );
        assert_eq!(ledger.losses(other, &book(10, 10)).lost, 5);
    }
}
