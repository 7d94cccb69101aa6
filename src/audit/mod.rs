//! Audit: what Weir did, refused or lost, told as it happens.
//!
//! A part that does something an auditor must learn of makes a [`Notice`] and gives it to the
//! [`AuditLog`]. [`AuditLog::tell`] is for what is summed in windows ([`window`]);
//! [`AuditLog::record`] is for what must be durable before it takes effect (a discard), or
//! before the node goes on (what a start found, start and stop). Sums ([`sum`]) become lines of
//! JSON in [`event`], with the words of [`wording`]. This module knows no journal and no clock:
//! the node gives the reports a place to go.

pub mod event;
mod log;
pub mod sum;
pub mod window;
pub mod wording;

pub use log::{Answer, AuditLog, Report, Reports};

use crate::position::{JournalId, OffsetRange};

/// What was done. As a word, `weir.OBJECT.VERB`, it stands in [`wording`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// The node takes events.
    NodeStart,
    /// The node ended in order.
    NodeStop,
    /// Lines were refused by an input.
    LineReject,
    /// Events left the journal without being delivered to a stream.
    EventDiscard,
    /// Stored bytes do not hold and were copied aside.
    BlockQuarantine,
    /// Events that were durable are in no file any more.
    EventLose,
    /// A file in the data directory is none of ours and was set aside.
    FileQuarantine,
    /// A cursor record did not hold.
    CursorRestore,
    /// The node file did not hold.
    NodeFileRestore,
    /// Index, trailer or header of a segment were made anew.
    SegmentRepair,
    /// Delivered segments were removed.
    SegmentRemove,
    /// The journals fill up.
    RoomNotify,
    /// Inputs wait because the journals have no room.
    IngestPause,
    /// Inputs are read again.
    IngestResume,
    /// The disk refuses a journal.
    JournalWrite,
    /// The head of a journal's hash chain, for whoever keeps it.
    JournalHeadPublish,
    /// An exclusion rule of the node is new.
    ExclusionRuleCreate,
    /// An exclusion rule of the node is another.
    ExclusionRuleUpdate,
    /// An exclusion rule of the node is gone.
    ExclusionRuleDelete,
    /// What a stream takes, or makes of events, is another.
    StreamUpdate,
    /// A changed configuration was refused, in whole or in part.
    ConfigurationReload,
    /// Events were sent to a destination, and it did not go as it should, or does again.
    StreamSend,
    /// Events that a destination refuses for good became dead letters.
    EventDeadLetter,
    /// Dead letters were sent again.
    DeadLetterRedrive,
    /// Dead letters were removed because someone asked for it.
    DeadLetterDrop,
    /// Dead letters were removed to make room for later ones.
    DeadLetterEvict,
    /// A stream delivers nothing until its trouble has passed or someone resumes it.
    StreamPark,
    /// A stream that was parked delivers again.
    StreamResume,
}

/// One thing that happened, or a sum of like ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What was done.
    pub action: Action,
    /// Name of what it was done to: a stream, an input, a file, a journal; empty for the node.
    pub target: Box<str>,
    /// Why, as one word of a closed list of the action.
    pub reason: &'static str,
    /// The reason in words.
    pub detail: Box<str>,
    /// Whether it is good or bad news.
    pub outcome: Outcome,
    /// Events (lines, for a reject) it is about.
    pub events: u64,
    /// Bytes it is about.
    pub bytes: u64,
    /// Where the events are.
    pub range: Option<(JournalId, OffsetRange)>,
    /// Hash chain before and after what was taken out, or twice the head.
    pub heads: Option<[[u8; 32]; 2]>,
    /// Who sent them, for a reject.
    pub peer: Option<Box<str>>,
    /// What else is known, by name: a word in camel case, as it stands in the event.
    pub facts: Vec<(&'static str, Fact)>,
}

/// Something known of what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A number.
    Number(u64),
    /// Text.
    Text(Box<str>),
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// As it should.
    Success,
    /// Something was refused, lost or broken.
    Failure,
}

impl Notice {
    /// A notice of an action on a target, with nothing else known.
    #[must_use]
    pub fn new(action: Action, target: impl Into<Box<str>>, reason: &'static str) -> Self {
        Self {
            action,
            target: target.into(),
            reason,
            detail: Box::default(),
            outcome: Outcome::Success,
            events: 0,
            bytes: 0,
            range: None,
            heads: None,
            peer: None,
            facts: Vec::new(),
        }
    }

    /// The same, as bad news.
    #[must_use]
    pub fn failed(self) -> Self {
        Self {
            outcome: Outcome::Failure,
            ..self
        }
    }

    /// The same with the reason in words.
    #[must_use]
    pub fn detail(self, detail: impl Into<Box<str>>) -> Self {
        Self {
            detail: detail.into(),
            ..self
        }
    }

    /// The same about these events of a journal.
    #[must_use]
    pub fn range(self, journal: JournalId, range: OffsetRange) -> Self {
        Self {
            events: range.events(),
            range: Some((journal, range)),
            ..self
        }
    }

    /// The same about so many events (lines, for a reject).
    #[must_use]
    pub fn events(self, events: u64) -> Self {
        Self { events, ..self }
    }

    /// The same about so many bytes.
    #[must_use]
    pub fn bytes(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }

    /// The same with the hash chain before and after what was taken out.
    #[must_use]
    pub fn heads(self, before: [u8; 32], after: [u8; 32]) -> Self {
        Self {
            heads: Some([before, after]),
            ..self
        }
    }

    /// The same with who sent it.
    #[must_use]
    pub fn peer(self, peer: Option<Box<str>>) -> Self {
        Self { peer, ..self }
    }

    /// The same with a number that is known of it.
    #[must_use]
    pub fn number(mut self, name: &'static str, number: u64) -> Self {
        self.facts.push((name, Fact::Number(number)));
        self
    }

    /// The same with a text that is known of it.
    #[must_use]
    pub fn text(mut self, name: &'static str, text: impl Into<Box<str>>) -> Self {
        self.facts.push((name, Fact::Text(text.into())));
        self
    }
}
