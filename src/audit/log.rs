//! The audit log: the way from the parts that tell to the thread that writes.
//!
//! Telling takes a lock for a moment and never waits. Notices are kept one by one up to
//! [`NOTICES_MAX`]; while the thread is slower than that, further ones are summed, so a flood
//! costs bounded memory and no count is lost. A notice with an answer is always kept: who
//! waits for it tells no second one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::audit::Notice;
use crate::audit::sum::{Sum, Sums};

/// Notices kept one by one before they are summed.
const NOTICES_MAX: usize = 1_024;

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
    inbox: Arc<Mutex<Inbox>>,
    bell: Sender<()>,
}

/// Where what was told arrives; when it is gone, answers are `false`.
#[derive(Debug)]
pub struct Reports {
    inbox: Arc<Mutex<Inbox>>,
    bell: Receiver<()>,
}

#[derive(Debug, Default)]
struct Inbox {
    reports: VecDeque<Report>,
    /// Notices told while the reports were full.
    sums: Sums,
    /// Nothing more is to come but what is told all the same.
    ending: bool,
    /// Nobody takes reports any more.
    closed: bool,
}

impl AuditLog {
    /// A log, and where its reports arrive.
    #[must_use]
    pub fn new() -> (Self, Reports) {
        let (bell, rings) = crossbeam_channel::bounded(1);
        let inbox = Arc::<Mutex<Inbox>>::default();
        let reports = Reports {
            inbox: Arc::clone(&inbox),
            bell: rings,
        };
        (Self { inbox, bell }, reports)
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

    /// Ends the log: whoever takes its reports takes what is there and no more. A part that
    /// hangs with a log in its hands keeps nobody from that.
    pub fn end(&self) {
        lock(&self.inbox).ending = true;
        self.ring();
    }

    fn send(&self, report: Report) {
        if let Some(Report { notice, answer }) = lock(&self.inbox).put(report) {
            tracing::error!(?notice, "nobody keeps audit events any more");
            if let Some(answer) = answer {
                answer(false);
            }
            return;
        }
        self.ring();
    }

    fn ring(&self) {
        match self.bell.try_send(()) {
            // One ring is enough for all that is there; without a listener the inbox closes.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

impl Inbox {
    /// Gives the report back when nobody takes any.
    fn put(&mut self, report: Report) -> Option<Report> {
        if self.closed {
            return Some(report);
        }
        if report.answer.is_none() && self.reports.len() >= NOTICES_MAX {
            self.sums.add(&report.notice);
        } else {
            self.reports.push_back(report);
        }
        None
    }
}

impl Reports {
    /// Rings when something was told since the last ring was taken, and ends when every
    /// [`AuditLog`] is gone.
    #[must_use]
    pub fn bell(&self) -> &Receiver<()> {
        &self.bell
    }

    /// True when the log was ended: what was told before can be taken.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        lock(&self.inbox).ending
    }

    /// What was told and not yet taken, in order.
    pub fn try_iter(&self) -> impl Iterator<Item = Report> {
        std::iter::from_fn(|| lock(&self.inbox).reports.pop_front())
    }

    /// What was told and had to be summed because it was too much to be kept one by one.
    #[must_use]
    pub fn take_sums(&self) -> Vec<Sum> {
        lock(&self.inbox).sums.take()
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        let left = {
            let mut inbox = lock(&self.inbox);
            inbox.closed = true;
            std::mem::take(&mut inbox.reports)
        };
        for answer in left.into_iter().filter_map(|report| report.answer) {
            answer(false);
        }
    }
}

fn lock(inbox: &Mutex<Inbox>) -> MutexGuard<'_, Inbox> {
    // Nothing under the lock leaves the inbox half changed.
    inbox.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Action;

    #[test]
    fn a_flood_nobody_takes_is_summed_and_no_count_is_lost() {
        let (log, reports) = AuditLog::new();
        let flood = NOTICES_MAX as u64 + 5_000;
        for number in 0..flood {
            let target = format!("input{}", number % 3);
            log.tell(Notice::new(Action::LineReject, target, "malformed").events(2));
        }
        assert_eq!(reports.bell().try_iter().count(), 1);
        let kept: Vec<_> = reports.try_iter().collect();
        assert_eq!(kept.len(), NOTICES_MAX);
        let sums = reports.take_sums();
        assert_eq!(sums.len(), 3);
        let summed: u64 = sums.iter().map(|sum| sum.events).sum();
        assert_eq!(summed + 2 * kept.len() as u64, 2 * flood);
        assert!(reports.take_sums().is_empty());
    }

    #[test]
    fn who_waits_is_answered_no_when_nobody_keeps_events() {
        let (log, reports) = AuditLog::new();
        let (sender, answered) = crossbeam_channel::unbounded();
        let answer = |sender: &Sender<bool>| {
            let sender = sender.clone();
            Box::new(move |durable| sender.send(durable).expect("someone listens")) as Answer
        };
        log.record(Notice::new(Action::NodeStop, "", "signal"), answer(&sender));
        drop(reports);
        log.record(Notice::new(Action::NodeStop, "", "signal"), answer(&sender));
        assert_eq!(answered.try_iter().collect::<Vec<_>>(), vec![false, false]);
    }
}
