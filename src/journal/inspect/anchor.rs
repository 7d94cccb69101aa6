//! Anchors: heads of a chain that someone else kept, to hold the chain against.
//!
//! `OFFSET:HASH` says that a block which ends at the offset has that hash. Several blocks may
//! end at one offset, since some carry no event: any of them will do.

use std::str::FromStr;

use crate::journal::format::ChainHash;
use crate::journal::inspect::chain::{Hash, Head};
use crate::position::{Offset, OffsetRange};

/// A head of the chain as it was told at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor(pub Head);

/// What an anchor came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnchorOutcome {
    /// A block that ends there has that hash.
    Holds,
    /// Blocks end there, and none has that hash: it, or something before it, was altered.
    Differs,
    /// No block ends at that offset.
    NoBlockEnds,
    /// The journal ends before: what came last is gone.
    BehindEnd,
    /// What it speaks of was taken by retention: it cannot be checked.
    BelowStart,
    /// What it speaks of is gone, and a record says so: it cannot be checked.
    Recorded,
}

/// Text that is no anchor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no anchor; it is OFFSET:HASH, with 64 hexadecimal digits")]
pub struct NoAnchor(String);

impl FromStr for Anchor {
    type Err = NoAnchor;

    fn from_str(text: &str) -> Result<Self, NoAnchor> {
        let no_anchor = || NoAnchor(text.to_owned());
        let (offset, digits) = text.split_once(':').ok_or_else(no_anchor)?;
        let offset = offset.parse().map_err(|_| no_anchor())?;
        let mut hash = ChainHash::default();
        if digits.len() != 2 * hash.len() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        {
            return Err(no_anchor());
        }
        for (at, byte) in hash.iter_mut().enumerate() {
            let pair = &digits[2 * at..2 * at + 2];
            *byte = u8::from_str_radix(pair, 16).map_err(|_| no_anchor())?;
        }
        Ok(Self(Head {
            offset: Offset(offset),
            hash,
        }))
    }
}

impl std::fmt::Display for Anchor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.0.offset, Hash(&self.0.hash))
    }
}

/// What was seen of the anchors while the chain was followed.
#[derive(Debug)]
pub(super) struct Anchors {
    wanted: Vec<Wanted>,
    /// A head that a record of the journal's own names.
    expected: Option<Wanted>,
}

#[derive(Debug)]
struct Wanted {
    head: Head,
    /// A block ends at the offset.
    ends: bool,
    /// One that ends there has the hash.
    holds: bool,
}

impl Wanted {
    fn new(head: Head) -> Self {
        Self {
            head,
            ends: false,
            holds: false,
        }
    }

    fn saw(&mut self, head: Head) {
        self.ends |= head.offset == self.head.offset;
        self.holds |= head == self.head;
    }
}

impl Anchors {
    pub(super) fn new(anchors: &[Anchor]) -> Self {
        Self {
            wanted: anchors.iter().map(|anchor| Wanted::new(anchor.0)).collect(),
            expected: None,
        }
    }

    /// A head the chain must come by.
    pub(super) fn expect(&mut self, head: Option<Head>) {
        self.expected = head.map(Wanted::new);
    }

    /// The chain came by this head.
    pub(super) fn saw(&mut self, head: Head) {
        for wanted in self.wanted.iter_mut().chain(&mut self.expected) {
            wanted.saw(head);
        }
    }

    /// What was expected and did not come, though the chain went past it.
    pub(super) fn unmet_expectation(&self, end: Option<Offset>) -> Option<Head> {
        let expected = self.expected.as_ref()?;
        let past = end.is_some_and(|end| end >= expected.head.offset);
        (past && !expected.holds).then_some(expected.head)
    }

    /// What each anchor came to, for a chain from `start` (`None`: from the beginning of all) to
    /// `end`, in which the events of `explained` are missing.
    pub(super) fn outcomes(
        &self,
        start: Option<Offset>,
        end: Option<Offset>,
        explained: &[OffsetRange],
    ) -> Vec<AnchorOutcome> {
        let outcome = |wanted: &Wanted| {
            let offset = wanted.head.offset;
            let is_gone = |range: &OffsetRange| range.first < offset && offset <= range.end;
            if wanted.holds {
                AnchorOutcome::Holds
            } else if explained.iter().any(is_gone) {
                AnchorOutcome::Recorded
            } else if end.is_none_or(|end| offset > end) {
                AnchorOutcome::BehindEnd
            } else if start.is_some_and(|start| offset <= start) {
                // At the start itself, too: of several blocks that ended there, only the hash of
                // the last one is known still.
                AnchorOutcome::BelowStart
            } else if wanted.ends {
                AnchorOutcome::Differs
            } else {
                AnchorOutcome::NoBlockEnds
            }
        };
        self.wanted.iter().map(outcome).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_reads_back_and_anything_else_is_refused_with_its_form() {
        let text = format!("120:{}", "0f".repeat(32));
        let anchor: Anchor = text.parse().expect("an anchor");
        assert_eq!((anchor.0.offset, anchor.0.hash), (Offset(120), [0x0f; 32]));
        assert_eq!(anchor.to_string(), text);
        let more = format!("{text}0");
        let letters = format!("120:{}", "é".repeat(32));
        for wrong in ["", "120", "x:00", ":", "120:00", &more, &letters] {
            let error = wrong.parse::<Anchor>().expect_err("no anchor");
            assert!(error.to_string().contains("OFFSET:HASH"));
        }
    }
}
