//! Starting an opened node: one thread after the other, in the order that lets each find the
//! ones it needs.

use std::io;
use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use crossbeam_channel::Sender;
use tokio::sync::{mpsc, watch};

use crate::audit::{Action, AuditLog, Notice};
use crate::block::codec::{CompressionLevel, best_codec};
use crate::budget::Budget;
use crate::config::plan::{InputPlan, Plan, StreamPlan};
use crate::control::admin;
use crate::control::commands::StreamCommands;
use crate::control::observed::{
    Observed, ObservedInput, ObservedJournal, ObservedKind, ObservedStream,
};
use crate::event::InputId;
use crate::ingest::http::RelayLedger;
use crate::ingest::settings::InputSettings;
use crate::journal::internal::{InternalCounters, InternalJournal, InternalRequest};
use crate::journal::keeper::{Keeper, KeeperCounters, KeeperHandle, KeptJournal};
use crate::journal::letters::{self, LetterStore};
use crate::journal::tail::Tail;
use crate::journal::writer::Writer;
use crate::metrics::latency::Latency;
use crate::node::audit::{self, AuditParts};
use crate::node::delivery::{self, LaneParts, StopPhase, StreamParts};
use crate::node::findings;
use crate::node::identity::Identity;
use crate::node::open::{OpenJournal, OpenNode, input_settings, on_disk};
use crate::node::relayed;
use crate::node::rules::RulesInForce;
use crate::node::{Node, StartError, Threads};
use crate::os::clock::Clock;
use crate::os::disk::Disk;
use crate::position::JournalId;
use crate::shard::listen::{self, Listening};
use crate::shard::mailbox::{ConnectionCounts, Message, ShardHandle};
use crate::shard::run::{self, ShardInput, ShardLedger, ShardParts};

/// Requests the internal journal's channel holds before senders wait.
const INTERNAL_REQUESTS_MAX: usize = 256;

impl OpenNode {
    /// Starts every thread; events are taken from now on. What the start found is durable as
    /// audit events before a stream runs, and the start itself when this returns.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(self) -> Result<Node, StartError> {
        let Self {
            plan,
            configured,
            identity,
            disk,
            clock,
            direct,
            listeners,
            admin,
            journals,
            internal,
            internal_counters,
            lanes,
            findings,
        } = self;
        let rules = RulesInForce::of(&plan);
        let budget = Budget::new(plan.memory_bytes_max);
        // The plan was refused if it could not hold this; a data directory made with more
        // journals than the plan knows may ask for more than there is, and then goes without.
        let fixed = budget.take(plan.memory_bytes_fixed(journals.len()));
        let ledgers: Vec<_> = journals.iter().map(ledger_of).collect();
        let seen = InternalSeen {
            counters: internal_counters,
            tail: Arc::clone(internal.tail()),
        };
        let relayed = relayed::known(&plan, &journals, (&disk, direct))
            .map_err(on_disk("read what was relayed", &plan.journal.dir))?;
        let recording = Recording::start(internal, &clock, identity.node, &ledgers)?;
        recording.tell_of_damage(&journals, findings);
        let ground = Ground {
            plan,
            disk,
            clock,
            direct,
            budget,
            audit: recording.audit,
            rules,
            relayed,
            node: uuid::Uuid::from_bytes(identity.node).to_string().into(),
        };
        let path = DataPath::start(&ground, recording.internal, journals, ledgers, lanes)?;
        let observed = Arc::new(observe(&ground, &identity, &path, seen));
        let (stop_control, control) = start_control(admin, &observed, path.streams.commands)?;
        let (stop_listening, listen) = start_listening(listeners, &path.inputs, &path.shards)?;
        findings::record(
            &ground.audit,
            vec![notice_of_start(&ground.plan, &identity)],
        );
        observed.ready.store(true, Ordering::Release);
        Ok(Node {
            observed,
            shards: path.shards,
            stop_listening,
            stop_streams: path.stop_streams,
            stop_control,
            keeper: path.keeper,
            audit: ground.audit,
            threads: Threads {
                listen: Some(listen),
                shards: path.shard_threads,
                streams: path.streams.threads,
                audit: Some(recording.audit_thread),
                internal: Some(recording.internal_thread),
                keeper: Some(path.keeper_thread),
                control: Some(control),
            },
            drain_timeout: ground.plan.drain_timeout,
            rules: ground.rules,
            configured: Mutex::new(configured),
            _fixed: fixed,
            identity,
        })
    }
}

/// What is seen of the internal journal.
struct InternalSeen {
    counters: Arc<InternalCounters>,
    tail: Arc<Tail>,
}

/// What the control side sees.
fn observe(
    ground: &Ground,
    identity: &Identity,
    path: &DataPath,
    internal: InternalSeen,
) -> Observed {
    Observed {
        clock: Arc::clone(&ground.clock),
        data_dir: identity.dir.clone(),
        inputs: path.inputs.iter().map(ServedInput::observed).collect(),
        journals: path.observed_journals.clone(),
        streams: path.streams.observed.clone(),
        keeper: Arc::clone(&path.keeper_counters),
        internal: internal.counters,
        internal_tail: internal.tail,
        budget: ground.budget.clone(),
        exclusions: Arc::clone(&ground.rules.exclusions),
        ready: Arc::default(),
        codec: best_codec(CompressionLevel::FASTEST).name(),
    }
}

/// What every part is started with.
struct Ground {
    plan: Plan,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    direct: bool,
    budget: Budget,
    audit: AuditLog,
    rules: RulesInForce,
    /// Relayed batches that are stored.
    relayed: Arc<RelayLedger>,
    /// The node's id, as text.
    node: Arc<str>,
}

/// What a journal's shard publishes, from before the shard runs.
type Ledger = Arc<ArcSwap<ShardLedger>>;

fn ledger_of(journal: &OpenJournal) -> (JournalId, Ledger) {
    let recovered = &journal.recovered;
    let ledger = ArcSwap::from_pointee(ShardLedger {
        settled: recovered.totals.clone(),
        durable_end: recovered.start.next,
        chain: recovered.start.chain,
        ..ShardLedger::default()
    });
    (journal.files.journal, Arc::new(ledger))
}

/// The internal journal and the audit thread before it.
struct Recording {
    audit: AuditLog,
    internal: Sender<InternalRequest>,
    audit_thread: JoinHandle<()>,
    internal_thread: JoinHandle<()>,
}

impl Recording {
    fn start(
        journal: InternalJournal,
        clock: &Arc<dyn Clock>,
        node: [u8; 16],
        ledgers: &[(JournalId, Ledger)],
    ) -> Result<Self, StartError> {
        let (audit, reports) = AuditLog::new();
        findings::tell_of(JournalId::INTERNAL, journal.catalog().quarantine(), &audit);
        let (internal, internal_thread) = start_internal(journal)?;
        let audit_thread = audit::spawn(AuditParts {
            reports,
            internal: internal.clone(),
            clock: Arc::clone(clock),
            node,
            journals: ledgers.to_vec(),
        });
        Ok(Self {
            audit,
            internal,
            audit_thread: audit_thread.map_err(StartError::Thread)?,
            internal_thread,
        })
    }

    /// Tells what was found so far, and from now on what readers find.
    fn tell_of_damage(&self, journals: &[OpenJournal], found: Vec<Notice>) {
        for journal in journals {
            let quarantine = journal.catalog.quarantine();
            findings::tell_of(journal.files.journal, quarantine, &self.audit);
        }
        findings::record(&self.audit, found);
    }
}

/// What is told of a start.
fn notice_of_start(plan: &Plan, identity: &Identity) -> Notice {
    let node = uuid::Uuid::from_bytes(identity.node);
    // Secrets are not shown in a plan's text; with others it has the same id.
    let plan_id = uuid::Uuid::new_v5(&node, format!("{plan:?}").as_bytes());
    Notice::new(Action::NodeStart, "", "started")
        .text("version", env!("CARGO_PKG_VERSION"))
        .text("node", node.to_string())
        .text("plan", plan_id.to_string())
        .number("journals", u64::from(identity.journals))
        .number("shards", plan.shard.count as u64)
        .number("inputs", plan.inputs.len() as u64)
        .number("streams", plan.streams.len() as u64)
}

/// Keeper, shards and streams, started.
struct DataPath {
    inputs: Vec<ServedInput>,
    shards: Vec<ShardHandle>,
    shard_threads: Vec<ShardThread>,
    observed_journals: Vec<ObservedJournal>,
    streams: StartedStreams,
    stop_streams: watch::Sender<StopPhase>,
    keeper: KeeperHandle,
    keeper_thread: JoinHandle<()>,
    keeper_counters: Arc<KeeperCounters>,
}

impl DataPath {
    fn start(
        ground: &Ground,
        internal: Sender<InternalRequest>,
        journals: Vec<OpenJournal>,
        ledgers: Vec<(JournalId, Ledger)>,
        lanes: Vec<Vec<LaneParts>>,
    ) -> Result<Self, StartError> {
        let (keeper, keeper_thread, keeper_counters) = start_keeper(ground, &journals, &lanes)?;
        let plan = &ground.plan;
        let inputs: Vec<ServedInput> = plan
            .inputs
            .iter()
            .map(|input| serve_input(input, &ground.relayed))
            .collect();
        let (shards, mailboxes): (Vec<_>, Vec<_>) =
            (0..plan.shard.count).map(|_| ShardHandle::new()).unzip();
        let (starter, stop_streams) = StreamStarter::new(ground, journals.len());
        let streams = starter.start_all(&plan.streams, lanes)?;
        let starter = ShardStarter {
            ground,
            inputs: &inputs,
            shards: &shards,
            keeper: &keeper,
            internal,
        };
        let journals = journals.into_iter().zip(ledgers);
        let (shard_threads, observed_journals) = starter.start_all(mailboxes, journals)?;
        Ok(Self {
            inputs,
            shards,
            shard_threads,
            observed_journals,
            streams,
            stop_streams,
            keeper,
            keeper_thread,
            keeper_counters,
        })
    }
}

/// An input with what all shards count for it.
struct ServedInput {
    settings: InputSettings,
    connections_max: usize,
    connections: Arc<ConnectionCounts>,
    shard: ShardInput,
}

impl ServedInput {
    fn observed(&self) -> ObservedInput {
        ObservedInput {
            id: self.settings.id,
            name: self.settings.name.clone(),
            connections: Arc::clone(&self.connections),
            kind: match &self.shard {
                ShardInput::Tcp(_, counters) => ObservedKind::Tcp(Arc::clone(counters)),
                ShardInput::Http(_, counters, _) => ObservedKind::Http(Arc::clone(counters)),
            },
        }
    }
}

/// A way to stop a thread that listens, and the thread with what the system said at its end.
type Stoppable = (watch::Sender<bool>, JoinHandle<io::Result<()>>);

fn start_control(
    admin: TcpListener,
    observed: &Arc<Observed>,
    commands: StreamCommands,
) -> Result<Stoppable, StartError> {
    let (stop, stop_seen) = watch::channel(false);
    let thread = admin::spawn(admin, Arc::clone(observed), commands, stop_seen);
    Ok((stop, thread.map_err(StartError::Thread)?))
}

fn start_listening(
    listeners: Vec<TcpListener>,
    inputs: &[ServedInput],
    shards: &[ShardHandle],
) -> Result<Stoppable, StartError> {
    let listening = listeners.into_iter().zip(inputs).enumerate();
    let listening = listening.map(|(number, (listener, input))| Listening {
        input: number,
        listener,
        connections_max: input.connections_max,
        counts: Arc::clone(&input.connections),
    });
    let (stop, stop_seen) = watch::channel(false);
    let thread = listen::spawn(listening.collect(), shards.to_vec(), stop_seen);
    Ok((stop, thread.map_err(StartError::Thread)?))
}

fn serve_input(input: &InputPlan, relayed: &Arc<RelayLedger>) -> ServedInput {
    let (connections_max, shard) = match input {
        InputPlan::Tcp(tcp) => (
            tcp.connections_max,
            ShardInput::Tcp(tcp.clone(), Arc::default()),
        ),
        InputPlan::Http(http) => (
            http.connections_max,
            ShardInput::Http(http.clone(), Arc::default(), Arc::clone(relayed)),
        ),
    };
    let settings = input_settings(input).clone();
    ServedInput {
        settings,
        connections_max,
        connections: Arc::default(),
        shard,
    }
}

/// What every stream is started with.
struct StreamStarter<'a> {
    ground: &'a Ground,
    journals: usize,
    stop: watch::Receiver<StopPhase>,
}

/// A stream's name and its thread.
type StreamThread = (Arc<str>, JoinHandle<io::Result<()>>);

/// Commands that wait for a stream at most.
const COMMANDS_MAX: usize = 8;

/// All streams, under way.
#[derive(Default)]
struct StartedStreams {
    threads: Vec<StreamThread>,
    observed: Vec<ObservedStream>,
    commands: StreamCommands,
}

impl<'a> StreamStarter<'a> {
    fn new(ground: &'a Ground, journals: usize) -> (Self, watch::Sender<StopPhase>) {
        let (sender, stop) = watch::channel(StopPhase::Running);
        let starter = Self {
            ground,
            journals,
            stop,
        };
        (starter, sender)
    }

    fn start_all(
        &self,
        plans: &[StreamPlan],
        lanes: Vec<Vec<LaneParts>>,
    ) -> Result<StartedStreams, StartError> {
        let mut started = StartedStreams::default();
        let contents = &self.ground.rules.contents;
        let inputs: Arc<[_]> = self.ground.plan.inputs.iter().map(name_of_input).collect();
        for ((stream, lanes), content) in plans.iter().zip(lanes).zip(contents) {
            let latency = Latency::default();
            let (sender, commands) = mpsc::channel(COMMANDS_MAX);
            let name = Arc::clone(&stream.stream.name);
            started.commands.add(Arc::clone(&name), sender);
            let observed = observe_stream(stream, &lanes, &latency);
            started.observed.push(observed);
            let thread = delivery::spawn(StreamParts {
                plan: stream.clone(),
                content: Arc::clone(content),
                lanes,
                journals: self.journals,
                node: Arc::clone(&self.ground.node),
                disk: Arc::clone(&self.ground.disk),
                clock: Arc::clone(&self.ground.clock),
                audit: self.ground.audit.clone(),
                latency,
                letters: self.open_letters(stream)?,
                inputs: Arc::clone(&inputs),
                commands,
                stop: self.stop.clone(),
            });
            let thread = thread.map_err(StartError::Thread)?;
            started.threads.push((name, thread));
        }
        Ok(started)
    }

    /// Opens a stream's dead letters, and tells what of them did not hold.
    fn open_letters(&self, stream: &StreamPlan) -> Result<LetterStore, StartError> {
        let (name, ground) = (&stream.stream.name, self.ground);
        let dir = ground.plan.data_dir.join(letters::DIR);
        let disk = Arc::clone(&ground.disk);
        let opened = LetterStore::open(disk, &dir, name, stream.letters);
        let file = letters::file_of(&dir, name);
        let (store, findings) = opened.map_err(on_disk("open the dead letters", &file))?;
        if findings.damaged > 0 {
            let notice = Notice::new(
                Action::FileQuarantine,
                file.display().to_string(),
                "damaged",
            );
            let detail = format!("{} dead letters do not hold", findings.damaged);
            tracing::error!(stream = %name, detail, "dead letters");
            ground.audit.tell(notice.detail(detail).failed());
        }
        Ok(store)
    }
}

fn name_of_input(input: &InputPlan) -> (InputId, Box<str>) {
    let settings = input_settings(input);
    (settings.id, settings.name.as_str().into())
}

/// What every shard is started with.
struct ShardStarter<'a> {
    ground: &'a Ground,
    inputs: &'a [ServedInput],
    shards: &'a [ShardHandle],
    keeper: &'a KeeperHandle,
    internal: Sender<InternalRequest>,
}

/// A shard's thread, with what the disk said when it ended.
type ShardThread = JoinHandle<io::Result<()>>;

/// A journal with what its shard publishes.
type LedgeredJournal = (OpenJournal, (JournalId, Ledger));

impl ShardStarter<'_> {
    /// Starts a shard for each mailbox. Journals beyond them take no events; streams deliver
    /// what is in them. Only shards and the audit thread keep a way to the internal journal: it
    /// ends after them.
    fn start_all(
        self,
        mailboxes: Vec<mpsc::UnboundedReceiver<Message>>,
        journals: impl Iterator<Item = LedgeredJournal>,
    ) -> Result<(Vec<ShardThread>, Vec<ObservedJournal>), StartError> {
        let (mut threads, mut observed) = (Vec::new(), Vec::new());
        for (number, (mailbox, journal)) in mailboxes.into_iter().zip(journals).enumerate() {
            let (thread, seen) = self.start(number, mailbox, journal)?;
            threads.push(thread);
            observed.push(seen);
        }
        Ok((threads, observed))
    }

    fn start(
        &self,
        number: usize,
        mailbox: mpsc::UnboundedReceiver<Message>,
        (journal, (id, ledger)): LedgeredJournal,
    ) -> Result<(ShardThread, ObservedJournal), StartError> {
        let Ground {
            plan,
            clock,
            direct,
            budget,
            audit,
            rules,
            ..
        } = self.ground;
        let OpenJournal {
            catalog,
            tail,
            recovered,
            ..
        } = journal;
        let latency = Latency::default();
        let handle = self.shards[number].clone();
        let observed = ObservedJournal {
            id,
            ledger: Arc::clone(&ledger),
            tail: Arc::clone(&tail),
            shard: handle.clone(),
            durable_latency: latency.clone(),
        };
        let others = self
            .shards
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != number);
        let inputs = self.inputs.iter().map(|input| input.shard.clone());
        let thread = run::spawn(ShardParts {
            number,
            settings: plan.shard.clone(),
            inputs: inputs.collect(),
            writer: Some(Writer::new(recovered.start, plan.journal.write_bytes_max)),
            totals: recovered.totals,
            received_last: recovered.received_last,
            pending_bytes_max: plan.journal.pending_bytes_max,
            direct: *direct,
            id,
            journal: number,
            catalog,
            tail,
            keeper: self.keeper.clone(),
            internal: self.internal.clone(),
            audit: audit.clone(),
            peers: others.map(|(_, shard)| shard.clone()).collect(),
            handle,
            mailbox,
            budget: budget.clone(),
            exclusions: Arc::clone(&rules.exclusions),
            selections: Arc::clone(&rules.selections),
            clock: Arc::clone(clock),
            latency,
            ledger,
        });
        Ok((thread.map_err(StartError::Thread)?, observed))
    }
}

fn start_internal(
    internal: InternalJournal,
) -> Result<(Sender<InternalRequest>, JoinHandle<()>), StartError> {
    let (sender, receiver) = crossbeam_channel::bounded(INTERNAL_REQUESTS_MAX);
    let thread = std::thread::Builder::new()
        .name("weir-internal".to_owned())
        .spawn(move || internal.run(&receiver))
        .map_err(StartError::Thread)?;
    Ok((sender, thread))
}

fn start_keeper(
    ground: &Ground,
    journals: &[OpenJournal],
    lanes: &[Vec<LaneParts>],
) -> Result<(KeeperHandle, JoinHandle<()>, Arc<KeeperCounters>), StartError> {
    let plan = &ground.plan;
    let counters = Arc::<KeeperCounters>::default();
    let kept = journals
        .iter()
        .enumerate()
        .map(|(number, journal)| KeptJournal {
            files: journal.files.clone(),
            catalog: Arc::clone(&journal.catalog),
            holds: lanes
                .iter()
                .flatten()
                .filter(|lane| lane.journal == journal.files.journal)
                .map(|lane| Arc::clone(&lane.hold))
                .collect(),
            // A journal without a shard is never written.
            spares: if number < plan.shard.count {
                plan.journal.spares
            } else {
                0
            },
        });
    let keeper = Keeper::new(
        kept.collect(),
        plan.room.clone(),
        Arc::clone(&ground.clock),
        Arc::clone(&counters),
        ground.audit.clone(),
    )
    .map_err(on_disk("look for spare segments", &plan.journal.dir))?;
    let (sender, receiver) = crossbeam_channel::unbounded();
    let thread = std::thread::Builder::new()
        .name("weir-keeper".to_owned())
        .spawn(move || keeper.run(&receiver))
        .map_err(StartError::Thread)?;
    Ok((KeeperHandle::new(sender), thread, counters))
}

fn observe_stream(stream: &StreamPlan, lanes: &[LaneParts], latency: &Latency) -> ObservedStream {
    ObservedStream {
        name: Arc::clone(&stream.stream.name),
        destination: stream.sink.kind(),
        lanes: lanes.iter().map(|lane| Arc::clone(&lane.status)).collect(),
        delivery_latency: latency.clone(),
    }
}
