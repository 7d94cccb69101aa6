//! What a sender has sent and what of it is acknowledged.
//!
//! Owns sequence numbers and the list of unacknowledged spans with their intended times. Events are
//! not kept: a span and its time are enough to compose them again, byte for byte.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use crate::event::Span;

/// A span on its way and when it was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) span: Span,
    pub(super) intended_us: u64,
}

/// One sender's account. `acked <= unacked[i].span.first < next`, spans adjoin.
#[derive(Debug)]
pub(super) struct Book {
    next: u64,
    limit: u64,
    acked: u64,
    unacked: VecDeque<Entry>,
}

impl Book {
    /// Numbers events from 0 to `limit - 1`.
    pub(super) fn new(limit: u64) -> Self {
        Self {
            next: 0,
            limit,
            acked: 0,
            unacked: VecDeque::new(),
        }
    }

    /// Sequence of the event to be made next, also the number made so far.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// All events below this are acknowledged.
    pub(super) fn acked(&self) -> u64 {
        self.acked
    }

    /// How many more events may be made.
    pub(super) fn left(&self) -> u64 {
        self.limit - self.next
    }

    /// The `index`-th unacknowledged span, oldest first.
    pub(super) fn unacked(&self, index: usize) -> Option<Entry> {
        self.unacked.get(index).copied()
    }

    /// Takes the next `count` sequence numbers.
    pub(super) fn open(&mut self, count: u64, intended_us: u64) -> Entry {
        let entry = Entry {
            span: Span {
                first: self.next,
                count,
            },
            intended_us,
        };
        self.next += count;
        self.unacked.push_back(entry);
        entry
    }

    /// Everything below `end` is acknowledged at `now_us`: records its latency in microseconds and
    /// returns how many spans have left the list.
    pub(super) fn acknowledge(
        &mut self,
        end: u64,
        now_us: u64,
        ack_us: &mut Histogram<u64>,
    ) -> usize {
        let mut closed = 0;
        while let Some(entry) = self.unacked.front_mut() {
            let count = end.min(entry.span.end()).saturating_sub(entry.span.first);
            if count == 0 {
                break;
            }
            ack_us.saturating_record_n(now_us.saturating_sub(entry.intended_us), count);
            entry.span.first += count;
            entry.span.count -= count;
            if entry.span.count > 0 {
                break;
            }
            self.unacked.pop_front();
            closed += 1;
        }
        self.acked = self.acked.max(end.min(self.next));
        closed
    }

    /// Forgets open spans without a latency: their fate cannot be known any more.
    pub(super) fn forget(&mut self) {
        self.unacked.clear();
    }

    /// The events that were written without a wish for an answer arrived, as the peer's orderly
    /// close says.
    pub(super) fn settle(&mut self) {
        self.unacked.clear();
        self.acked = self.next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgement_may_end_inside_a_span() {
        let mut ack_us = Histogram::new(3).unwrap();
        let mut book = Book::new(100);
        book.open(10, 1_000);
        book.open(10, 2_000);
        assert_eq!(book.acknowledge(13, 3_000, &mut ack_us), 1);
        assert_eq!((book.acked(), book.next(), ack_us.len()), (13, 20, 13));
        let rest = Entry {
            span: Span {
                first: 13,
                count: 7,
            },
            intended_us: 2_000,
        };
        assert_eq!(book.unacked(0), Some(rest));
        assert_eq!(book.acknowledge(13, 3_000, &mut ack_us), 0);
        assert_eq!(book.acknowledge(u64::MAX, 3_000, &mut ack_us), 1);
        assert_eq!((book.acked(), ack_us.len(), ack_us.max()), (20, 20, 2_000));
    }
}
