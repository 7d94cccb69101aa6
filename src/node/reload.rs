//! A changed configuration for a running node: its rules are taken over, everything else wants a restart.

use std::sync::PoisonError;
use std::time::Duration;

use crate::audit::{Action, AuditLog, Notice};
use crate::config::plan::Plan;
use crate::node::Node;
use crate::node::rules::{changes, differing_parts};

/// What came of a changed configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reload {
    /// Nothing differs from what runs.
    Same,
    /// So many rules and streams changed.
    Changed(usize),
    /// More than rules differs, in these parts: nothing was taken over, a restart is needed.
    NeedsRestart(String),
    /// The change could not be made durable as an audit event: nothing was taken over.
    NotRecorded,
}

/// How long a change waits for its audit events to be durable.
const RECORD_WITHIN: Duration = Duration::from_secs(10);

impl Node {
    /// Takes over the rules of a changed plan: exclusion rules with the next receive or body, a
    /// stream's with its next uncut batch. The audit events are durable before.
    pub fn reload(&self, plan: Plan) -> Reload {
        let mut running = self
            .configured
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let differing = differing_parts(&running, &plan);
        if !differing.is_empty() {
            let differing = differing.join(", ");
            let refused = Notice::new(Action::ConfigurationReload, "", "needs_restart")
                .failed()
                .detail(format!(
                    "more than rules differs ({differing}); restart the node to apply it"
                ));
            self.audit.tell(refused);
            return Reload::NeedsRestart(differing);
        }
        let notices = changes(&running, &plan);
        if notices.is_empty() {
            return Reload::Same;
        }
        let changed = notices.len();
        if !recorded(&self.audit, notices) {
            let undone = Notice::new(Action::ConfigurationReload, "", "not_recorded")
                .failed()
                .detail("the change could not be made durable as audit events; nothing changed");
            self.audit.tell(undone);
            return Reload::NotRecorded;
        }
        self.rules.replace(&plan);
        *running = plan;
        Reload::Changed(changed)
    }
}

/// Makes notices durable as audit events; false when one could not be, or takes too long.
fn recorded(audit: &AuditLog, notices: Vec<Notice>) -> bool {
    let (sender, answers) = crossbeam_channel::unbounded();
    let count = notices.len();
    for notice in notices {
        let sender = sender.clone();
        let answer = move |durable| {
            // Nobody waits any more when the time is up.
            sender.send(durable).ok();
        };
        audit.record(notice, Box::new(answer));
    }
    (0..count).all(|_| answers.recv_timeout(RECORD_WITHIN) == Ok(true))
}
