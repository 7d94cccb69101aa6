//! What opening the data directory found, as notices for the audit log.
//!
//! One place that knows which finding is which action. What is found is recorded before a
//! stream starts; the log has the same in words.

use std::path::Path;
use std::sync::Arc;

use crate::audit::{Action, AuditLog, Notice};
use crate::journal::cursor;
use crate::journal::recovery::Finding;
use crate::journal::recovery::quarantine::Quarantine;
use crate::position::JournalId;

/// Findings that get an event of their own; further ones are summed.
const EVENTS_MAX: usize = 256;

/// The notice of something found, where it was in a journal in this one.
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
        Finding::Cursor { path, cursor, .. } => {
            let file = name_of(path);
            let stream = cursor::stream_of_file_name(&file).unwrap_or(&file);
            let restored = |reason| Notice::new(Action::CursorRestore, stream, reason);
            match cursor {
                Some(_) => restored("other_slot"),
                None => restored("no_slot").failed(),
            }
        }
        Finding::NodeFile { path, .. } => of_file(Action::NodeFileRestore, path, "damaged"),
    };
    notice.detail(finding.to_string())
}

/// From now on what readers find in a journal is told, too.
pub(super) fn tell_of(journal: JournalId, quarantine: Option<&Arc<Quarantine>>, audit: &AuditLog) {
    let audit = audit.clone();
    if let Some(quarantine) = quarantine {
        quarantine.tell_to(Arc::new(move |finding| {
            audit.tell(notice_of(journal, finding))
        }));
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
        let (sender, again) = (sender.clone(), (audit.clone(), notice.clone()));
        let answer = move |durable: bool| {
            if !durable {
                // It has happened all the same: the window it is in is written when that works.
                again.0.tell(again.1);
            }
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
            "what was found at the start could not be made durable as audit events yet"
        );
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Outcome;
    use crate::position::{Offset, OffsetRange};

    fn check(finding: &Finding, action: Action, target: &str, outcome: Outcome) {
        let notice = notice_of(JournalId(1), finding);
        assert_eq!((notice.action, notice.outcome), (action, outcome));
        assert_eq!(&*notice.target, target);
        assert_eq!(*notice.detail, *finding.to_string());
    }

    #[test]
    fn a_finding_is_told_of_what_it_was_found_in() {
        let range = OffsetRange {
            first: Offset(10),
            end: Offset(25),
        };
        let missing = Finding::Missing {
            journal: JournalId(1),
            range,
        };
        check(&missing, Action::EventLose, "1", Outcome::Failure);
        assert_eq!(notice_of(JournalId(1), &missing).events, 15);
        let cursor = |cursor| Finding::Cursor {
            path: "/data/cursors/si.em.internal.cursor".into(),
            cursor,
            error: "a page does not hold".to_owned(),
        };
        let (one, none) = (cursor(Some(Offset(3))), cursor(None));
        check(&one, Action::CursorRestore, "si.em", Outcome::Success);
        check(&none, Action::CursorRestore, "si.em", Outcome::Failure);
        let alien = Finding::Alien {
            path: "/data/journal/1/holiday.jpg".into(),
            error: "no segment".to_owned(),
            moved: None,
        };
        check(
            &alien,
            Action::FileQuarantine,
            "holiday.jpg",
            Outcome::Failure,
        );
    }
}
