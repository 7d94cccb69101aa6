//! What a shard tells the audit log: refused lines, and what its gate goes through.

use crate::audit::{Action, Notice};
use crate::ingest::door::GateState;
use crate::ingest::reject::RejectTotal;
use crate::position::JournalId;

/// The notice of lines that were refused.
#[must_use]
pub fn of_rejects(total: RejectTotal) -> Notice {
    Notice::new(Action::LineReject, total.input, total.reason.as_str())
        .failed()
        .events(total.lines)
        .bytes(total.bytes)
        .peer(total.peer)
}

/// What was told of a gate: a change is told once, on its way there and on its way back.
#[derive(Debug, Default)]
pub struct GateTold {
    paused: bool,
    failed: bool,
}

impl GateTold {
    /// What is to be told now that the gate is in this state. `error` is what the disk said
    /// last.
    pub fn moved(&mut self, journal: JournalId, gate: GateState, error: &str) -> Vec<Notice> {
        let (paused, failed) = match gate {
            GateState::Open | GateState::Busy => (false, false),
            GateState::Full => (true, false),
            // Whether there would be room is not known then, nor who waits for it.
            GateState::Failed => (self.paused, true),
            GateState::Stopping => (self.paused, self.failed),
        };
        let of = |action, reason| Notice::new(action, journal.to_string(), reason);
        let mut notices = Vec::new();
        if failed != self.failed {
            notices.push(if failed {
                of(Action::JournalWrite, "disk_failure")
                    .failed()
                    .detail(error)
            } else {
                of(Action::JournalWrite, "recovered")
            });
        }
        if paused != self.paused {
            notices.push(if paused {
                of(Action::IngestPause, "journal_full").failed()
            } else {
                of(Action::IngestResume, "room")
            });
        }
        (self.paused, self.failed) = (paused, failed);
        notices
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Outcome;

    #[test]
    fn a_gate_is_told_of_once_on_its_way_there_and_back() {
        let mut told = GateTold::default();
        let mut actions = Vec::new();
        for gate in [
            GateState::Busy,
            GateState::Full,
            GateState::Full,
            GateState::Failed,
            GateState::Failed,
            GateState::Full,
            GateState::Open,
            GateState::Busy,
            GateState::Open,
            GateState::Full,
            GateState::Stopping,
        ] {
            let notices = told.moved(JournalId(1), gate, "no such device");
            assert!(notices.iter().all(|notice| &*notice.target == "1"));
            actions.extend(notices.iter().map(|notice| (notice.action, notice.outcome)));
        }
        use Outcome::{Failure, Success};
        assert_eq!(
            actions,
            [
                (Action::IngestPause, Failure),
                (Action::JournalWrite, Failure),
                (Action::JournalWrite, Success),
                (Action::IngestResume, Success),
                (Action::IngestPause, Failure),
            ]
        );
    }
}
