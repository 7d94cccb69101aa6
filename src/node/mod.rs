//! The node: opens the data directory, starts every part in order, and stops them in order.
//!
//! Its life is three verbs: [`open()`] is given a plan, binds and recovers without taking an
//! event, [`OpenNode::start`] runs, [`Node::stop`] drains.

mod audit;
pub mod check;
pub mod delivery;
mod findings;
pub mod identity;
mod open;
mod relayed;
mod reload;
mod rules;
mod start;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::audit::{Action, AuditLog, Notice};
use crate::budget::Grant;
use crate::config::plan::Plan;
use crate::control::observed::Observed;
use crate::journal::keeper::{KeeperHandle, KeeperRequest};
use crate::node::delivery::StopPhase;
use crate::node::identity::{Identity, IdentityError};
use crate::node::rules::RulesInForce;
use crate::shard::mailbox::{Message, ShardHandle};

pub use open::{OpenNode, open};
pub use reload::Reload;

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A socket cannot be bound.
    #[error("{what}: {error}")]
    Listen {
        /// The input or listener.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// The disk refuses.
    #[error("{what}: {error}")]
    Disk {
        /// What was tried.
        what: String,
        /// What the disk said.
        error: io::Error,
    },
    /// A destination's settings cannot be used.
    #[error("stream \"{stream}\": {why}")]
    Stream {
        /// The stream.
        stream: String,
        /// What is wrong.
        why: String,
    },
    /// A thread cannot be started.
    #[error("start a thread: {0}")]
    Thread(io::Error),
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    observed: Arc<Observed>,
    shards: Vec<ShardHandle>,
    stop_listening: watch::Sender<bool>,
    stop_streams: watch::Sender<StopPhase>,
    stop_control: watch::Sender<bool>,
    keeper: KeeperHandle,
    /// Until the node has stopped.
    audit: AuditLog,
    threads: Threads,
    drain_timeout: Duration,
    rules: RulesInForce,
    /// The plan as configured, with the rules in force now.
    configured: Mutex<Plan>,
    /// What is taken of the byte budget as long as the node runs.
    _fixed: Option<Grant>,
    identity: Identity,
}

/// The threads of a node, in the order they stop.
#[derive(Debug)]
struct Threads {
    listen: Option<JoinHandle<io::Result<()>>>,
    shards: Vec<JoinHandle<io::Result<()>>>,
    streams: Vec<(Arc<str>, JoinHandle<io::Result<()>>)>,
    audit: Option<JoinHandle<()>>,
    internal: Option<JoinHandle<()>>,
    keeper: Option<JoinHandle<()>>,
    control: Option<JoinHandle<io::Result<()>>>,
}

/// How often a stopping node looks whether its threads have ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How long streams get to break off once the drain timeout has passed.
const BREAK_OFF: Duration = Duration::from_secs(5);

/// How long a stopping node waits for its last audit event to be durable.
const RECORD_STOP: Duration = Duration::from_secs(10);

impl Node {
    /// What the control side sees.
    #[must_use]
    pub fn observed(&self) -> &Arc<Observed> {
        &self.observed
    }

    /// Whether the data directory is still the one the node was opened with. When it is not,
    /// what is written goes to files without a name and is lost with the process.
    ///
    /// # Errors
    /// When the disk cannot be asked; nothing is known then.
    pub fn data_dir_in_place(&self) -> io::Result<bool> {
        self.identity.in_place()
    }

    /// The name of a part that has ended though nobody stopped it.
    #[must_use]
    pub fn failed_part(&self) -> Option<String> {
        let Threads {
            listen,
            shards,
            streams,
            audit,
            internal,
            keeper,
            control: _,
        } = &self.threads;
        let ended = |thread: &JoinHandle<io::Result<()>>| thread.is_finished();
        if listen.as_ref().is_some_and(ended) {
            return Some("the listener".to_owned());
        }
        if let Some(shard) = shards.iter().position(ended) {
            return Some(format!("shard {shard}"));
        }
        if let Some((name, _)) = streams.iter().find(|(_, thread)| ended(thread)) {
            return Some(format!("stream \"{name}\""));
        }
        if internal.as_ref().is_some_and(JoinHandle::is_finished) {
            return Some("the internal journal".to_owned());
        }
        if audit.as_ref().is_some_and(JoinHandle::is_finished) {
            return Some("the audit log".to_owned());
        }
        keeper
            .as_ref()
            .is_some_and(JoinHandle::is_finished)
            .then(|| "the keeper of segments".to_owned())
    }

    /// Stops in order: no new connections, what was received durable, what is durable
    /// delivered within the drain timeout. What is not delivered stays in the journal.
    /// Returns the parts that did not end well.
    pub fn stop(mut self) -> Vec<String> {
        self.observed.ready.store(false, Ordering::Release);
        let why = self.notice_of_stop();
        let mut troubles = Vec::new();
        self.stop_listening.send_replace(true);
        troubles.extend(
            self.threads
                .listen
                .take()
                .and_then(|thread| ended("the listener", thread)),
        );
        for shard in &self.shards {
            // A shard that has ended already is found when it is joined.
            shard.send(Message::Stop).ok();
        }
        for (number, thread) in std::mem::take(&mut self.threads.shards)
            .into_iter()
            .enumerate()
        {
            troubles.extend(ended(&format!("shard {number}"), thread));
        }
        troubles.extend(self.dropped_lines());
        // No event is taken any more. Streams that deliver audit events have the stop to deliver.
        self.record_stop(why);
        troubles.extend(self.stop_streams());
        self.keeper.send(KeeperRequest::Stop);
        // The keeper tells the audit log, and that one writes to the internal journal.
        troubles.extend(self.threads.keeper.take().and_then(joined));
        self.audit.end();
        troubles.extend(self.threads.audit.take().and_then(joined));
        troubles.extend(self.threads.internal.take().and_then(joined));
        self.stop_control.send_replace(true);
        troubles.extend(
            self.threads
                .control
                .take()
                .and_then(|thread| ended("control", thread)),
        );
        troubles
    }

    /// Says how many lines each journal had taken in and could not make durable. Their senders
    /// were told nothing, or that they failed.
    fn dropped_lines(&self) -> Vec<String> {
        let journals = self.observed.journals.iter();
        let dropped = journals.map(|journal| (journal.id, journal.ledger.load().open));
        let dropped = dropped.filter(|(_, lines)| *lines > 0);
        let say = |(journal, lines)| {
            format!(
                "journal {journal}: {lines} lines could not be made durable and are dropped; none of them was acknowledged"
            )
        };
        dropped.map(say).collect()
    }

    /// What is told of the stop: a part that ended by itself and a data directory that is gone
    /// stop a node as well as a signal.
    fn notice_of_stop(&self) -> Notice {
        if let Some(part) = self.failed_part() {
            let detail = format!("{part} ended by itself");
            return Notice::new(Action::NodeStop, "", "part_failed")
                .failed()
                .detail(detail);
        }
        match self.data_dir_in_place() {
            Ok(true) => Notice::new(Action::NodeStop, "", "signal"),
            Ok(false) => Notice::new(Action::NodeStop, "", "data_dir_gone").failed(),
            Err(error) => Notice::new(Action::NodeStop, "", "signal")
                .detail(format!("look at the data directory: {error}")),
        }
    }

    /// Makes the stop durable as an audit event, and with it all that was summed so far.
    fn record_stop(&self, why: Notice) {
        let (sender, answered) = crossbeam_channel::bounded(1);
        let answer = move |durable| {
            // Nobody waits any more when the time is up.
            sender.send(durable).ok();
        };
        self.audit.record(why, Box::new(answer));
        if answered.recv_timeout(RECORD_STOP) != Ok(true) {
            tracing::error!("the stop could not be made durable as an audit event");
        }
    }

    fn stop_streams(&mut self) -> Vec<String> {
        self.stop_streams.send_replace(StopPhase::Drain);
        let streams = std::mem::take(&mut self.threads.streams);
        let all_ended = || streams.iter().all(|(_, thread)| thread.is_finished());
        wait_until(all_ended, self.drain_timeout);
        if !all_ended() {
            tracing::warn!(
                timeout = ?self.drain_timeout,
                "not everything was delivered in time; the rest stays in the journal"
            );
            self.stop_streams.send_replace(StopPhase::Now);
            wait_until(all_ended, BREAK_OFF);
        }
        let mut troubles = Vec::new();
        for (name, thread) in streams {
            if thread.is_finished() {
                troubles.extend(ended(&format!("stream \"{name}\""), thread));
            } else {
                troubles.push(format!("stream \"{name}\" hangs and is left behind"));
            }
        }
        troubles
    }
}

fn wait_until(done: impl Fn() -> bool, at_most: Duration) {
    let begun = Instant::now();
    while !done() && begun.elapsed() < at_most {
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Joins a journal's thread.
fn joined(thread: JoinHandle<()>) -> Option<String> {
    let panicked = thread.join().is_err();
    panicked.then(|| "a journal thread panicked".to_owned())
}

/// Joins a thread; says what went wrong in it.
fn ended(what: &str, thread: JoinHandle<io::Result<()>>) -> Option<String> {
    match thread.join() {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{what}: {error}")),
        Err(_panic) => Some(format!("{what} panicked")),
    }
}
