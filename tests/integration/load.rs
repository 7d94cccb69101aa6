//! The load of the crash and restart tests: senders over TCP and HTTP until they are stopped.
//!
//! Owns how fast and under which numbers they send. Those of one round are numbered apart from
//! those of the next, so that one verdict can be given over all rounds.

use std::path::PathBuf;

use crate::harness::{Loadgen, Report, Stage};

/// Connections of each kind.
const CONNECTIONS: u64 = 6;
/// HTTP senders are numbered from here.
pub(crate) const HTTP_BASE: u64 = 25_000;

/// One more than the number of the last TCP sender of `rounds` rounds.
pub(crate) fn sender_after(rounds: u64) -> u64 {
    rounds * CONNECTIONS
}

/// Senders over TCP and HTTP that go on until they are stopped or their connections break.
pub(crate) struct Senders {
    lines: Loadgen,
    bodies: Loadgen,
}

impl Senders {
    /// Starts those of round `round` and notes where their books are.
    pub(crate) fn start(
        stage: &Stage,
        run: &str,
        round: u64,
        more: &str,
        books: &mut Vec<PathBuf>,
    ) -> Self {
        let mut start = |kind: &str, target: &str, base: u64| {
            let name = format!("{kind}-{round}");
            books.push(stage.path(&format!("{name}.state")));
            let base = base + sender_after(round);
            let arguments = format!(
                "send {target} --connections {CONNECTIONS} --sender-base {base} --run-id {run} \
                 --duration 1h --state @DIR@/{name}.state {more}"
            );
            stage.loadgen(&name, &arguments)
        };
        Self {
            lines: start("lines", "--tcp @TCP@ --ack --rate 6MB", 0),
            bodies: start(
                "bodies",
                "--http http://@HTTP@/v1/events --body-events 40 --rate 3MB",
                HTTP_BASE,
            ),
        }
    }

    /// Fails when one of them has given up.
    pub(crate) fn ensure_running(&mut self) {
        self.lines.ensure_running();
        self.bodies.ensure_running();
    }

    /// Ends them in good order; what they sent again, in events.
    pub(crate) fn stop(self) -> u64 {
        let resent = |report: Report| {
            let failures = report.0["failures"].as_array().map_or(0, Vec::len);
            assert_eq!(failures, 0, "{}", report.0);
            report.figure("events_resent")
        };
        resent(self.lines.stop()) + resent(self.bodies.stop())
    }

    /// Waits until all their connections are broken.
    pub(crate) fn wait_broken(self) {
        for report in [self.lines.wait(), self.bodies.wait()] {
            assert_eq!(report.figure("events_resent"), 0, "{}", report.0);
        }
    }
}
