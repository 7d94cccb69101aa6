//! What opening the data directory found, as notices for the audit log.
//!
//! One place that knows which finding is which action. What is found is recorded before a
//! stream starts; the log has the same in words.

use std::path::Path;

use crate::audit::{Action, AuditLog, Notice};
use crate::journal::format::FormatError;
use crate::journal::recovery::Finding;
use crate::position::JournalId;

/// Findings that get an event of their own; further ones are summed.
const EVENTS_MAX: usize = 256;

/// The notice of something recovery found in a journal.
pub(super) fn notice_of(journal: JournalId, finding: &Finding) -> Notice {
    let of = |action, reason| Notice::new(action, journal.to_string(), reason);
    let of_file = |action, path: &Path, reason| Notice::new(action, name_of(path), reason);
    let notice = match finding {
        Finding::TornTail { .. } => of(Action::SegmentRepair, "torn_tail"),
        Finding::Damaged {
            range,
            bytes,
            heads,
            ..
        } => {
            let notice = of(Action::BlockQuarantine, "damaged")
                .range(journal, *range)
                .bytes(bytes.end - bytes.start)
                .failed();
            match *heads {
                [Some(before), Some(after)] => notice.heads(before, after),
                _ => notice,
            }
        }
        Finding::Alien { path, .. } => of_file(Action::FileQuarantine, path, "alien").failed(),
        Finding::Missing { range, .. } => of(Action::EventLose, "missing")
            .range(journal, *range)
            .failed(),
        Finding::Repaired { path, .. } => of_file(Action::SegmentRepair, path, "rebuilt"),
        Finding::Cursor {
            path,
            cursor: Some(_),
            ..
        } => of_file(Action::CursorRestore, path, "other_slot"),
        Finding::Cursor { path, .. } => of_file(Action::CursorRestore, path, "no_slot").failed(),
        Finding::NodeFile { path, .. } => of_file(Action::NodeFileRestore, path, "damaged"),
    };
    notice.detail(finding.to_string())
}

/// The notice of a cursor record with a slot that did not hold. With `restored` the other slot
/// stands in for it; without, the stream begins with all there is.
pub(super) fn notice_of_cursor(
    stream: &str,
    path: &Path,
    damage: &FormatError,
    restored: bool,
) -> Notice {
    let detail = format!("{}: {damage}", path.display());
    if restored {
        Notice::new(Action::CursorRestore, stream, "other_slot").detail(detail)
    } else {
        Notice::new(Action::CursorRestore, stream, "no_slot")
            .failed()
            .detail(detail)
    }
}

/// Records findings and waits until they are durable or cannot be made so: a node with a
/// broken disk still starts.
pub(super) fn record(audit: &AuditLog, findings: Vec<Notice>) {
    let (sender, answers) = crossbeam_channel::unbounded();
    for (number, notice) in findings.into_iter().enumerate() {
        if number >= EVENTS_MAX {
            audit.tell(notice);
            continue;
        }
        let sender = sender.clone();
        let answer = move |durable| {
            // Whoever waits is gone only when the start was broken off.
            sender.send(durable).ok();
        };
        audit.record(notice, Box::new(answer));
    }
    drop(sender);
    let refused = answers.iter().filter(|durable| !durable).count();
    if refused > 0 {
        tracing::error!(
            refused,
            "what was found at the start could not be made durable as audit events"
        );
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}
