//! The node: opens the data directory, starts every part in order, and stops them in order.
//!
//! Its life is three verbs: [`open()`] is given a plan, binds and recovers without taking an
//! event, [`OpenNode::start`] runs, [`Node::stop`] drains.

mod audit;
pub mod delivery;
#[cfg(test)]
mod delivery_tests;
pub mod identity;
mod open;
mod start;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::audit::AuditLog;
use crate::budget::Grant;
use crate::control::observed::Observed;
use crate::journal::keeper::{KeeperHandle, KeeperRequest};
use crate::node::delivery::StopPhase;
use crate::node::identity::{Identity, IdentityError};
use crate::shard::mailbox::{Message, ShardHandle};

pub use open::{OpenNode, open};

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
    ready: Arc<AtomicBool>,
    shards: Vec<ShardHandle>,
    stop_listening: watch::Sender<bool>,
    stop_streams: watch::Sender<StopPhase>,
    stop_control: watch::Sender<bool>,
    keeper: KeeperHandle,
    /// Until the node has stopped.
    audit: Option<AuditLog>,
    threads: Threads,
    drain_timeout: Duration,
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
            internal,
            keeper,
            ..
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
        keeper
            .as_ref()
            .is_some_and(JoinHandle::is_finished)
            .then(|| "the keeper of segments".to_owned())
    }

    /// Stops in order: no new connections, what was received durable, what is durable
    /// delivered within the drain timeout. What is not delivered stays in the journal.
    /// Returns the parts that did not end well.
    pub fn stop(mut self) -> Vec<String> {
        self.ready.store(false, Ordering::Release);
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
        troubles.extend(self.stop_streams());
        self.keeper.send(KeeperRequest::Stop);
        self.audit = None;
        // The keeper tells the audit log, and that one writes to the internal journal.
        for thread in [
            self.threads.keeper.take(),
            self.threads.audit.take(),
            self.threads.internal.take(),
        ]
        .into_iter()
        .flatten()
        {
            if thread.join().is_err() {
                troubles.push("a journal thread panicked".to_owned());
            }
        }
        self.stop_control.send_replace(true);
        troubles.extend(
            self.threads
                .control
                .take()
                .and_then(|thread| ended("control", thread)),
        );
        troubles
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

/// Joins a thread; says what went wrong in it.
fn ended(what: &str, thread: JoinHandle<io::Result<()>>) -> Option<String> {
    match thread.join() {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{what}: {error}")),
        Err(_panic) => Some(format!("{what} panicked")),
    }
}
