//! The words of audit events: for every action its name, codes and severities, in one table.
//!
//! `docs/audit.md` explains each; a test holds the document to the table. Pure.

use Severity::{Critical, Normal, Warning};
use serde::Serialize;

use crate::audit::Action;

/// How much an event wants to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Routine.
    Normal,
    /// Something failed, or was mended.
    Warning,
    /// Events are gone or cannot be taken.
    Critical,
}

/// How an action looks as an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wording {
    /// The action.
    pub action: Action,
    /// What it was done to: the middle of `weir.OBJECT.VERB`.
    pub object: &'static str,
    /// What was done: the end of it.
    pub verb: &'static str,
    /// What a target's name is a name of.
    pub target: &'static str,
    /// What the message says.
    pub message: &'static str,
    /// Code and severity when it went well.
    pub success: (u16, Severity),
    /// Code and severity when it did not.
    pub failure: (u16, Severity),
}

impl Wording {
    /// How the action looks.
    #[must_use]
    pub fn of(action: Action) -> &'static Self {
        let row = WORDINGS.iter().find(|row| row.action == action);
        row.expect("every action has its row, as a test shows")
    }
}

/// All actions, in the order of the documentation.
pub static WORDINGS: [Wording; 28] = [
    Wording {
        action: Action::NodeStart,
        object: "node",
        verb: "start",
        target: "node",
        message: "start node",
        success: (200, Normal),
        failure: (500, Critical),
    },
    Wording {
        action: Action::NodeStop,
        object: "node",
        verb: "stop",
        target: "node",
        message: "stop node",
        success: (200, Normal),
        failure: (503, Critical),
    },
    Wording {
        action: Action::LineReject,
        object: "line",
        verb: "reject",
        target: "input",
        message: "reject lines",
        success: (200, Normal),
        failure: (400, Warning),
    },
    Wording {
        action: Action::EventDiscard,
        object: "event",
        verb: "discard",
        target: "stream",
        message: "discard events",
        success: (200, Critical),
        failure: (507, Critical),
    },
    Wording {
        action: Action::BlockQuarantine,
        object: "block",
        verb: "quarantine",
        target: "journal",
        message: "quarantine block",
        success: (200, Critical),
        failure: (500, Critical),
    },
    Wording {
        action: Action::EventLose,
        object: "event",
        verb: "lose",
        target: "journal",
        message: "lose events",
        success: (200, Critical),
        failure: (500, Critical),
    },
    Wording {
        action: Action::FileQuarantine,
        object: "file",
        verb: "quarantine",
        target: "file",
        message: "quarantine file",
        success: (200, Warning),
        failure: (409, Warning),
    },
    Wording {
        action: Action::CursorRestore,
        object: "cursor",
        verb: "restore",
        target: "stream",
        message: "restore cursor",
        success: (200, Warning),
        failure: (500, Warning),
    },
    Wording {
        action: Action::NodeFileRestore,
        object: "node-file",
        verb: "restore",
        target: "file",
        message: "restore node file",
        success: (200, Warning),
        failure: (500, Warning),
    },
    Wording {
        action: Action::SegmentRepair,
        object: "segment",
        verb: "repair",
        target: "journal",
        message: "repair segment",
        success: (200, Normal),
        failure: (500, Warning),
    },
    Wording {
        action: Action::SegmentRemove,
        object: "segment",
        verb: "remove",
        target: "journal",
        message: "remove segments",
        success: (200, Normal),
        failure: (500, Warning),
    },
    Wording {
        action: Action::RoomNotify,
        object: "room",
        verb: "notify",
        target: "stream",
        message: "notify of room running out",
        success: (200, Warning),
        failure: (507, Critical),
    },
    Wording {
        action: Action::IngestPause,
        object: "ingest",
        verb: "pause",
        target: "journal",
        message: "pause ingest",
        success: (200, Warning),
        failure: (507, Critical),
    },
    Wording {
        action: Action::IngestResume,
        object: "ingest",
        verb: "resume",
        target: "journal",
        message: "resume ingest",
        success: (200, Normal),
        failure: (500, Warning),
    },
    Wording {
        action: Action::JournalWrite,
        object: "journal",
        verb: "write",
        target: "journal",
        message: "write journal",
        success: (200, Normal),
        failure: (503, Critical),
    },
    Wording {
        action: Action::JournalHeadPublish,
        object: "journal-head",
        verb: "publish",
        target: "journal",
        message: "publish head of journal",
        success: (200, Normal),
        failure: (500, Warning),
    },
    Wording {
        action: Action::ExclusionRuleCreate,
        object: "exclusion-rule",
        verb: "create",
        target: "exclusion-rule",
        message: "create exclusion rule",
        success: (200, Warning),
        failure: (400, Warning),
    },
    Wording {
        action: Action::ExclusionRuleUpdate,
        object: "exclusion-rule",
        verb: "update",
        target: "exclusion-rule",
        message: "update exclusion rule",
        success: (200, Warning),
        failure: (400, Warning),
    },
    Wording {
        action: Action::ExclusionRuleDelete,
        object: "exclusion-rule",
        verb: "delete",
        target: "exclusion-rule",
        message: "delete exclusion rule",
        success: (200, Warning),
        failure: (400, Warning),
    },
    Wording {
        action: Action::StreamUpdate,
        object: "stream",
        verb: "update",
        target: "stream",
        message: "update stream",
        success: (200, Warning),
        failure: (400, Warning),
    },
    Wording {
        action: Action::ConfigurationReload,
        object: "configuration",
        verb: "reload",
        target: "node",
        message: "reload configuration",
        success: (200, Normal),
        failure: (400, Warning),
    },
    Wording {
        action: Action::StreamSend,
        object: "streaming-logs",
        verb: "send",
        target: "stream",
        message: "send streaming logs",
        success: (200, Normal),
        failure: (500, Critical),
    },
    Wording {
        action: Action::EventDeadLetter,
        object: "event",
        verb: "dead-letter",
        target: "stream",
        message: "dead-letter events",
        success: (200, Warning),
        failure: (422, Warning),
    },
    Wording {
        action: Action::DeadLetterRedrive,
        object: "dead-letter",
        verb: "redrive",
        target: "stream",
        message: "redrive dead letters",
        success: (200, Normal),
        failure: (422, Warning),
    },
    Wording {
        action: Action::DeadLetterDrop,
        object: "dead-letter",
        verb: "drop",
        target: "stream",
        message: "drop dead letters",
        success: (200, Critical),
        failure: (500, Warning),
    },
    Wording {
        action: Action::DeadLetterEvict,
        object: "dead-letter",
        verb: "evict",
        target: "stream",
        message: "evict dead letters",
        success: (200, Critical),
        failure: (507, Critical),
    },
    Wording {
        action: Action::StreamPark,
        object: "stream",
        verb: "park",
        target: "stream",
        message: "park stream",
        success: (200, Warning),
        failure: (503, Critical),
    },
    Wording {
        action: Action::StreamResume,
        object: "stream",
        verb: "resume",
        target: "stream",
        message: "resume stream",
        success: (200, Normal),
        failure: (500, Warning),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails to compile when an action is added, so that its row is not forgotten.
    fn is_known(action: Action) -> bool {
        match action {
            Action::NodeStart
            | Action::NodeStop
            | Action::LineReject
            | Action::EventDiscard
            | Action::BlockQuarantine
            | Action::EventLose
            | Action::FileQuarantine
            | Action::CursorRestore
            | Action::NodeFileRestore
            | Action::SegmentRepair
            | Action::SegmentRemove
            | Action::RoomNotify
            | Action::IngestPause
            | Action::IngestResume
            | Action::JournalWrite
            | Action::JournalHeadPublish
            | Action::ExclusionRuleCreate
            | Action::ExclusionRuleUpdate
            | Action::ExclusionRuleDelete
            | Action::StreamUpdate
            | Action::ConfigurationReload
            | Action::StreamSend
            | Action::EventDeadLetter
            | Action::DeadLetterRedrive
            | Action::DeadLetterDrop
            | Action::DeadLetterEvict
            | Action::StreamPark
            | Action::StreamResume => WORDINGS.iter().any(|row| row.action == action),
        }
    }

    #[test]
    fn every_action_has_a_row_and_a_word_of_its_own() {
        assert!(WORDINGS.iter().all(|row| is_known(row.action)));
        let mut words: Vec<_> = WORDINGS.iter().map(|row| (row.object, row.verb)).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), WORDINGS.len());
        let mut actions: Vec<_> = WORDINGS.iter().map(|row| row.action).collect();
        actions.dedup();
        assert_eq!(actions.len(), WORDINGS.len());
    }

    #[test]
    fn every_action_is_explained_with_its_codes_and_severities() {
        let document = include_str!("../../docs/audit.md");
        for row in &WORDINGS {
            let begin = format!("| `weir.{}.{}` | ", row.object, row.verb);
            let explained = document.lines().find(|line| line.starts_with(&begin));
            let explained = explained.unwrap_or_else(|| panic!("docs/audit.md lacks {begin}"));
            let word = |severity| match severity {
                Normal => "normal",
                Warning => "warning",
                Critical => "critical",
            };
            let ((success, good), (failure, bad)) = (row.success, row.failure);
            let codes = format!("| {success} {}, {failure} {} |", word(good), word(bad));
            assert!(explained.contains(&codes), "{explained}: not {codes}");
        }
    }
}
