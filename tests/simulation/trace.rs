//! What a run did, in words: a hash of all of it, to compare two runs of one seed, and the
//! last lines, to read when a run fails. Ids are random, so they never enter a trace.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Lines kept to be shown.
const LINES_KEPT: usize = 80;

/// Clones are the same trace, so that it outlives a run that panics.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(Rc<RefCell<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    hash: u64,
    steps: u64,
    lines: VecDeque<String>,
}

impl Trace {
    pub(crate) fn note(&self, line: String) {
        let mut inner = self.0.borrow_mut();
        for byte in line.bytes() {
            inner.hash = (inner.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        inner.steps += 1;
        let numbered = format!("{:>5} {line}", inner.steps);
        inner.lines.push_back(numbered);
        if inner.lines.len() > LINES_KEPT {
            inner.lines.pop_front();
        }
    }

    /// Hash of every line and their number.
    pub(crate) fn fingerprint(&self) -> (u64, u64) {
        let inner = self.0.borrow();
        (inner.hash, inner.steps)
    }

    /// The last lines.
    pub(crate) fn tail(&self) -> String {
        let inner = self.0.borrow();
        Vec::from_iter(inner.lines.iter().cloned()).join("\n")
    }
}
