//! What the senders have done so far, readable from other threads and from a file.
//!
//! Owns the published counters and the state file: rewritten every 100 ms by rename, so that a test
//! knows what was acknowledged even if the generator itself is killed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::RunId;

/// Counters of every sender of a load.
#[derive(Debug)]
pub(crate) struct Progress {
    base: u32,
    senders: Vec<SenderProgress>,
    rejected: Mutex<Vec<(u32, u64)>>,
}

#[derive(Debug, Default)]
struct SenderProgress {
    sent: AtomicU64,
    acked: AtomicU64,
}

/// The state file: enough to verify a run offline.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    /// Determines the content of all events.
    pub(crate) run: String,
    pub(crate) senders: Vec<SenderState>,
    /// The senders have finished; false in a file left by a generator that was killed.
    pub(crate) done: bool,
}

/// One sender in the state file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SenderState {
    pub(crate) sender: u32,
    /// Events made: sequences below this may arrive.
    pub(crate) sent: u64,
    /// All sequences below this are acknowledged and must arrive, but for `rejected`.
    pub(crate) acked: u64,
    /// Acknowledged as refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rejected: Vec<u64>,
}

impl Progress {
    /// For `count` senders numbered from `base`.
    pub(crate) fn new(base: u32, count: usize) -> Self {
        let senders = (0..count).map(|_| SenderProgress::default()).collect();
        Self {
            base,
            senders,
            rejected: Mutex::default(),
        }
    }

    /// Sets the counters of the `index`-th sender.
    pub(super) fn publish(&self, index: usize, sent: u64, acked: u64) {
        self.senders[index].sent.store(sent, Ordering::Relaxed);
        self.senders[index].acked.store(acked, Ordering::Relaxed);
    }

    pub(super) fn reject(&self, sender: u32, sequence: u64) {
        let mut rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        if rejected.len() < REJECTED_MAX {
            rejected.push((sender, sequence));
        }
    }

    /// Events made and acknowledged by all senders together.
    pub(crate) fn totals(&self) -> (u64, u64) {
        self.senders.iter().fold((0, 0), |(sent, acked), sender| {
            let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            (sent + load(&sender.sent), acked + load(&sender.acked))
        })
    }

    /// The counters as the state file has them.
    pub(crate) fn senders(&self) -> Vec<SenderState> {
        let mut states: Vec<SenderState> = (self.base..)
            .zip(&self.senders)
            .map(|(sender, progress)| SenderState {
                sender,
                sent: progress.sent.load(Ordering::Relaxed),
                acked: progress.acked.load(Ordering::Relaxed),
                rejected: Vec::new(),
            })
            .collect();
        for &(sender, sequence) in self
            .rejected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            states[(sender - self.base) as usize]
                .rejected
                .push(sequence);
        }
        states
    }
}

impl State {
    /// The state of several loads of one run.
    pub(crate) fn of(run: RunId, loads: &[Arc<Progress>], done: bool) -> Self {
        let senders = loads
            .iter()
            .flat_map(|progress| progress.senders())
            .collect();
        Self {
            run: run.to_string(),
            senders,
            done,
        }
    }

    /// Replaces `path` in one step.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let temporary = path.with_extension("tmp");
        fs::write(&temporary, serde_json::to_vec(self)?)?;
        fs::rename(&temporary, path)
    }

    /// Reads what [`State::write`] wrote.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }
}

/// Keeps a state file up to date until it is finished.
pub(crate) struct StateFile {
    path: PathBuf,
    run: RunId,
    loads: Vec<Arc<Progress>>,
    stop: Arc<AtomicBool>,
    writer: JoinHandle<io::Result<()>>,
}

impl StateFile {
    /// Writes `path` now and every 100 ms from a thread of its own.
    pub(crate) fn keep(path: &Path, run: RunId, loads: Vec<Arc<Progress>>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (target, books, stopped) = (path.to_owned(), loads.clone(), Arc::clone(&stop));
        let write =
            move |done: bool, books: &[Arc<Progress>]| State::of(run, books, done).write(&target);
        write(false, &books)?;
        let writer = std::thread::Builder::new()
            .name("state".to_owned())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    std::thread::sleep(WRITE_EVERY);
                    write(false, &books)?;
                }
                Ok(())
            })?;
        Ok(Self {
            path: path.to_owned(),
            run,
            loads,
            stop,
            writer,
        })
    }

    /// Writes the final state.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.writer
            .join()
            .map_err(|_| io::Error::other("the state thread panicked"))??;
        State::of(self.run, &self.loads, true).write(&self.path)
    }
}

const WRITE_EVERY: Duration = Duration::from_millis(100);
/// Our events are valid: more rejects than this are one fault seen many times.
const REJECTED_MAX: usize = 100_000;
