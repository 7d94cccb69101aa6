//! What a shard tells the audit log: refused lines, and what its gate goes through. Pure: an
//! address is only read as text.

use core::net::SocketAddr;

use crate::audit::{Action, Notice};
use crate::ingest::door::GateState;
use crate::ingest::reject::RejectTotal;
use crate::position::JournalId;

/// The notice of lines that were refused. A sender is known by its address alone: its ports
/// change with every connection.
#[must_use]
pub fn of_rejects(total: RejectTotal) -> Notice {
    let peer = total.peer.map(|peer| match peer.parse::<SocketAddr>() {
        Ok(address) => address.ip().to_string().into(),
        Err(_) => peer,
    });
    Notice::new(Action::LineReject, total.input, total.reason.as_str())
        .failed()
        .events(total.lines)
        .bytes(total.bytes)
        .peer(peer)
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
    use crate::metrics::ledger::RejectReason;

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

    #[test]
    fn a_sender_is_known_by_its_address_alone() {
        let total = |peer: &str| RejectTotal {
            input: "apps".into(),
            peer: Some(peer.into()),
            reason: RejectReason::Malformed,
            lines: 3,
            bytes: 30,
        };
        for (peer, address) in [
            ("192.0.2.1:4711", "192.0.2.1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("/var/log/app", "/var/log/app"),
        ] {
            let notice = of_rejects(total(peer));
            assert_eq!(notice.peer.as_deref(), Some(address));
            assert_eq!((notice.events, notice.bytes), (3, 30));
        }
    }
}
