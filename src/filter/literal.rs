//! The literal that a rule cannot do without, looked for in the whole line before any field is.
//!
//! Owns: when that pays, learned from a few of the events. Promises: a rule is said not to match only when it cannot;
//! what was learned changes the cost of an answer, never the answer. Leaves to others: which literal it is
//! ([`compile`](super::compile)).
//!
//! Without a backslash in the line, the text of every string is its bytes: a text that begins with, ends with, holds or
//! is the literal has it there. The search costs about a third of a walk over the same bytes, so it pays where the walk
//! goes far and the literal is mostly absent.

use std::sync::atomic::{AtomicI64, Ordering};

use memchr::memmem::Finder;

/// Literals shorter than this are in too many lines.
pub(super) const LITERAL_BYTES_MIN: usize = 3;

/// See the module.
#[derive(Debug)]
pub(super) struct RequiredLiteral {
    finder: Finder<'static>,
    /// What the search would have spared lately, less what it would have cost: bytes searched. Threads may overwrite
    /// each other's notes; that loses a note.
    gain_bytes: AtomicI64,
}

impl RequiredLiteral {
    pub(super) fn new(literal: &[u8]) -> Self {
        Self {
            finder: Finder::new(literal).into_owned(),
            // Until something is known it is tried.
            gain_bytes: AtomicI64::new(1),
        }
    }

    /// The literal stands in the line.
    #[inline]
    pub(super) fn is_in(&self, line: &[u8]) -> bool {
        self.finder.find(line).is_some()
    }

    /// The search is worth its cost.
    #[inline(always)]
    pub(super) fn pays(&self) -> bool {
        self.gain_bytes.load(Ordering::Relaxed) > 0
    }

    /// Learns from an event that was judged without the search, by a walk over this many bytes that nothing before had
    /// walked over.
    #[inline(never)]
    pub(super) fn learn(&self, line: &[u8], walked_bytes: usize) {
        /// Bytes searched at the cost of one walked over: about three, of which one is kept in reserve, for another rule
        /// may walk there anyway.
        const WALK_COST: i64 = 2;
        /// Events after which a note counts for about a third.
        const REMEMBERED: i64 = 16;
        let bytes = |count: usize| i64::try_from(count).unwrap_or(i64::MAX / 8);
        let spared = if self.is_in(line) {
            0
        } else {
            WALK_COST * bytes(walked_bytes.min(line.len()))
        };
        let known = self.gain_bytes.load(Ordering::Relaxed);
        let gain = known - known / REMEMBERED + spared - bytes(line.len());
        self.gain_bytes.store(gain, Ordering::Relaxed);
    }
}
