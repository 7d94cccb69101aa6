//! Audit: what Weir did, refused or lost, told as it happens.
//!
//! A part that does something an auditor must learn of makes a [`Notice`] and gives it to the
//! [`AuditLog`]. [`AuditLog::tell`] is for what is summed in windows; [`AuditLog::record`]
//! is for what must be durable before it takes effect (a discard, a quarantine, a removal).
//! This module knows no journal: the node gives the reports a place to go.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use crate::position::{JournalId, OffsetRange};

/// What was done. The words are `weir.OBJECT.VERB`, as `reference/audit-events.md` has them.
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
}

/// Told whether a notice is durable.
pub type Answer = Box<dyn FnOnce(bool) + Send>;

/// A notice on its way.
pub struct Report {
    /// The notice.
    pub notice: Notice,
    /// Who waits for it to be durable; `None`: nobody, it may be summed.
    pub answer: Option<Answer>,
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Report({:?})", self.notice)
    }
}

/// Where parts of the node tell what they did. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AuditLog {
    reports: Arc<Sender<Report>>,
}

impl AuditLog {
    /// A log, and where its reports arrive.
    #[must_use]
    pub fn new() -> (Self, Receiver<Report>) {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let reports = Arc::new(sender);
        (Self { reports }, receiver)
    }

    /// Tells what happened; never waits. Like notices of a window become one event.
    pub fn tell(&self, notice: Notice) {
        self.send(Report {
            notice,
            answer: None,
        });
    }

    /// Tells what is about to happen; `answer` is called, from another thread, once the audit
    /// event is durable or cannot be made so. With `false` it must not happen.
    pub fn record(&self, notice: Notice, answer: Answer) {
        let answer = Some(answer);
        self.send(Report { notice, answer });
    }

    fn send(&self, report: Report) {
        if let Err(refused) = self.reports.send(report) {
            let Report { notice, answer } = refused.0;
            tracing::error!(?notice, "nobody keeps audit events any more");
            if let Some(answer) = answer {
                answer(false);
            }
        }
    }
}
