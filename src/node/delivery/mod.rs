//! A stream's thread: the shell around its lanes.
//!
//! One thread a stream, one task a lane, one lane a journal. The thread reads, encodes,
//! records and delivers; a slow destination costs the others nothing. What a lane does is in
//! [`lane`], what follows from a destination's answer in [`outcome`], [`park`] and [`letters`],
//! what is given up in [`discard`],
//! and how a body larger than memory is made in [`streamed`].

mod commands;
mod discard;
mod lane;
mod letters;
mod outcome;
mod park;
mod streamed;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use self::commands::Commands;
use self::lane::RunningLane;
use crate::audit::{AuditLog, Notice};
use crate::batch::{BodyForm, CursorState};
use crate::block::codec::{CompressionLevel, Inflater, best_codec};
use crate::config::plan::StreamPlan;
use crate::control::commands::StreamCommand;
use crate::event::InputId;
use crate::journal::cursor::CursorRecord;
use crate::journal::keeper::hold::Hold;
use crate::journal::letters::LetterStore;
use crate::journal::reader::Reader;
use crate::metrics::latency::Latency;
use crate::metrics::ledger::DiscardReason;
use crate::os::clock::Clock;
use crate::os::disk::Disk;
use crate::position::{JournalId, OffsetRange};
use crate::sink::settings::RetrySettings;
use crate::sink::{AnySink, OpenContext};
use crate::stream::content::Content;
use crate::stream::encode::Encoder;
use crate::stream::lane::Lane;
use crate::stream::own::OwnRuns;
use crate::stream::pace::Pace;
use crate::stream::refusal::Refusals;
use crate::stream::select::Selector;
use crate::stream::status::LaneStatus;

/// One lane's parts.
#[derive(Debug)]
pub struct LaneParts {
    /// The journal.
    pub journal: JournalId,
    /// Where to begin.
    pub state: CursorState,
    /// Its record.
    pub record: CursorRecord,
    /// Its reader.
    pub reader: Reader,
    /// What the scraper sees.
    pub status: Arc<ArcSwap<LaneStatus>>,
    /// What retention sees of it, and what it is told to discard.
    pub hold: Arc<Hold>,
}

/// One stream's parts.
#[derive(Debug)]
pub struct StreamParts {
    /// What it runs on.
    pub plan: StreamPlan,
    /// What it makes of the journal, in force.
    pub content: Arc<ArcSwap<Content>>,
    /// Its lanes.
    pub lanes: Vec<LaneParts>,
    /// Journals of the node.
    pub journals: usize,
    /// Where file sinks write.
    pub disk: Arc<dyn Disk>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where discards are told before they happen.
    pub audit: AuditLog,
    /// Received to delivered.
    pub latency: Latency,
    /// Id of the node, as text.
    pub node: Arc<str>,
    /// Where it keeps what its destination refuses for good.
    pub letters: LetterStore,
    /// Names of the inputs.
    pub inputs: Arc<[(InputId, Box<str>)]>,
    /// What it is asked to do.
    pub commands: mpsc::Receiver<StreamCommand>,
    /// How far the node is on its way to stop.
    pub stop: watch::Receiver<StopPhase>,
}

/// How far the node is on its way to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopPhase {
    /// It runs.
    Running,
    /// Deliver what is durable, then end.
    Drain,
    /// End now; what is not delivered stays in the journal.
    Now,
}

/// Starts a stream's thread.
///
/// # Errors
/// When the thread cannot be started.
pub fn spawn(parts: StreamParts) -> io::Result<JoinHandle<io::Result<()>>> {
    // The kernel shows 15 bytes of a thread's name.
    let name = format!("weir-{}", parts.plan.stream.name);
    std::thread::Builder::new().name(name).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, run(parts))
    })
}

async fn run(parts: StreamParts) -> io::Result<()> {
    let StreamParts {
        plan,
        content,
        lanes,
        journals,
        disk,
        clock,
        audit,
        latency,
        node,
        letters,
        inputs,
        commands,
        stop,
    } = parts;
    let codec = || best_codec(CompressionLevel::FASTEST);
    let shared = Rc::new(Shared {
        encoder: RefCell::new(Encoder::new(codec())),
        selector: RefCell::new(Selector::new(codec())),
        content,
        form: plan.sink.body_form(),
        retry: plan.retry,
        name: Arc::clone(&plan.stream.name),
        clock,
        audit,
        latency,
        pace: RefCell::default(),
        probes: plan.sink.takes_probes(),
        letters: RefCell::new(letters),
        inputs,
    });
    let (resume, _) = watch::channel(());
    let opener = LaneOpener {
        plan: &plan,
        shared: &shared,
        disk: &disk,
        node: &node,
        journals,
        stop,
        resume: &resume,
    };
    let lanes = lanes.into_iter().map(|lane| opener.open(lane));
    let lanes = lanes.collect::<io::Result<Vec<_>>>()?;
    let tasks: Vec<_> = lanes
        .into_iter()
        .map(|lane| tokio::task::spawn_local(lane.run()))
        .collect();
    let serving = Commands {
        shared: Rc::clone(&shared),
        resume,
        sink: plan.sink,
        node,
        disk,
    };
    let serving = tokio::task::spawn_local(serving.run(commands));
    for task in tasks {
        task.await.map_err(io::Error::other)?;
    }
    // What it has not done is answered by its end.
    serving.abort();
    Ok(())
}

/// What every lane of a stream is made of.
struct LaneOpener<'a> {
    plan: &'a StreamPlan,
    shared: &'a Rc<Shared>,
    disk: &'a Arc<dyn Disk>,
    node: &'a Arc<str>,
    journals: usize,
    stop: watch::Receiver<StopPhase>,
    resume: &'a watch::Sender<()>,
}

impl LaneOpener<'_> {
    fn open(&self, parts: LaneParts) -> io::Result<RunningLane> {
        let (plan, shared) = (self.plan, self.shared);
        let wall_clock = Arc::clone(&shared.clock);
        let context = OpenContext {
            journal: parts.journal,
            journals: self.journals,
            node: self.node,
            stream: Arc::clone(&plan.stream.name),
            disk: Arc::clone(self.disk),
            clock: Arc::new(move || wall_clock.now().wall),
            state: Some(parts.state.sink.as_slice()).filter(|state| !state.is_empty()),
        };
        let sink = AnySink::open(&plan.sink, context).map_err(io::Error::other)?;
        let content = shared.content.load_full();
        let limits = (plan.stream.batch, content.version);
        let name = Arc::clone(&plan.stream.name);
        let start = parts.state.cursor;
        Ok(RunningLane {
            core: Lane::new(name, parts.journal, limits, parts.state.clone()),
            own_runs: OwnRuns::new(),
            content,
            sink,
            refusals: Refusals::new(shared.retry.probe_after),
            parked: None,
            doorbell: parts.reader.tail().doorbell(),
            shown: (*parts.status.load_full()).clone(),
            inflater: Inflater::new(),
            parts,
            shared: Rc::clone(shared),
            stop: self.stop.clone(),
            resume: self.resume.subscribe(),
            told: OffsetRange {
                first: start,
                end: start,
            },
            discard_again: None,
        })
    }
}

/// What the lanes of a stream share.
struct Shared {
    encoder: RefCell<Encoder>,
    selector: RefCell<Selector>,
    content: Arc<ArcSwap<Content>>,
    form: BodyForm,
    retry: RetrySettings,
    name: Arc<str>,
    clock: Arc<dyn Clock>,
    audit: AuditLog,
    latency: Latency,
    pace: RefCell<Pace>,
    /// Whether the destination can be asked by a probe.
    probes: bool,
    letters: RefCell<LetterStore>,
    /// Names of the inputs.
    inputs: Arc<[(InputId, Box<str>)]>,
}

impl Shared {
    /// Gives an audit event to be made durable; says later whether it is.
    fn record(&self, notice: Notice) -> oneshot::Receiver<bool> {
        let (answer, answered) = oneshot::channel();
        let answer = move |durable| {
            // A stream that was told to end waits no more.
            answer.send(durable).ok();
        };
        self.audit.record(notice, Box::new(answer));
        answered
    }
}

/// What a lane's record says of it: where it stands and what it has counted up to there, both, or
/// the books of the stream would not balance.
pub(super) fn status_of(journal: JournalId, state: &CursorState) -> LaneStatus {
    let counts = &state.counts;
    let discarded = DiscardReason::ALL.iter().zip(counts.discarded);
    LaneStatus {
        journal: Some(journal),
        start: state.start,
        cursor: state.cursor,
        delivered: counts.delivered,
        delivered_bytes: counts.delivered_bytes,
        filtered: counts.filtered,
        sampled_out: counts.sampled_out,
        dead_lettered: counts.dead_lettered,
        discarded: discarded
            .map(|(reason, count)| (reason.as_str(), count))
            .collect(),
        ..LaneStatus::default()
    }
}

/// Eight random bytes for the jitter of retries.
fn random_bytes() -> [u8; 8] {
    let uuid = uuid::Uuid::new_v4();
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&uuid.as_bytes()[..8]);
    // The version nibble of a UUID stands in byte 6.
    bytes[6] ^= uuid.as_bytes()[15];
    bytes
}
