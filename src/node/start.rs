//! Starting an opened node: one thread after the other, in the order that lets each find the
//! ones it needs.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use crossbeam_channel::Sender;
use tokio::sync::{mpsc, watch};

use crate::audit::AuditLog;
use crate::block::codec::{CompressionLevel, best_codec};
use crate::budget::Budget;
use crate::config::plan::{InputPlan, Plan, StreamPlan};
use crate::control::admin;
use crate::control::observed::{
    Observed, ObservedInput, ObservedJournal, ObservedKind, ObservedStream,
};
use crate::ingest::settings::InputSettings;
use crate::journal::internal::{InternalJournal, InternalRequest};
use crate::journal::keeper::{Keeper, KeeperCounters, KeeperHandle, KeptJournal};
use crate::journal::writer::Writer;
use crate::metrics::latency::Latency;
use crate::node::audit;
use crate::node::delivery::{self, LaneParts, StopPhase, StreamParts};
use crate::node::open::{OpenJournal, OpenNode, input_settings, on_disk};
use crate::node::{Node, StartError, Threads};
use crate::os::clock::Clock;
use crate::os::disk::Disk;
use crate::shard::listen::{self, Listening};
use crate::shard::mailbox::{ConnectionCounts, Message, ShardHandle};
use crate::shard::run::{self, ShardInput, ShardLedger, ShardParts};
use crate::sink::settings::SinkSettings;

/// Requests the internal journal's channel holds before senders wait.
const INTERNAL_REQUESTS_MAX: usize = 256;

impl OpenNode {
    /// Starts every thread; events are taken from now on.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(self) -> Result<Node, StartError> {
        let Self {
            plan,
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
        } = self;
        let budget = Budget::new(plan.memory_bytes_max);
        // The plan was refused if it could not hold this; a data directory made with more
        // journals than the plan knows may ask for more than there is, and then goes without.
        let fixed = budget.take(plan.memory_bytes_fixed(journals.len()));
        let (internal, internal_thread) = start_internal(internal)?;
        let (audit, reports) = AuditLog::new();
        let audit_thread = audit::spawn(reports, internal.clone()).map_err(StartError::Thread)?;
        let (keeper, keeper_thread, keeper_counters) =
            start_keeper(&plan, &journals, &lanes, &clock, &audit)?;
        let inputs: Vec<ServedInput> = plan.inputs.iter().map(serve_input).collect();
        let (shards, mailboxes): (Vec<_>, Vec<_>) =
            (0..plan.shard.count).map(|_| ShardHandle::new()).unzip();
        let starter = ShardStarter {
            plan: &plan,
            inputs: &inputs,
            shards: &shards,
            keeper: &keeper,
            internal,
            audit: &audit,
            budget: &budget,
            clock: &clock,
            direct,
        };
        let (streams, stop_streams) = StreamStarter::new(&disk, &clock, &audit, journals.len());
        let (stream_threads, observed_streams) = streams.start_all(&plan.streams, lanes)?;
        let (shard_threads, observed_journals) = starter.start_all(mailboxes, journals)?;
        let ready = Arc::new(AtomicBool::new(false));
        let observed = Arc::new(Observed {
            clock,
            data_dir: identity.dir.clone(),
            inputs: inputs.iter().map(ServedInput::observed).collect(),
            journals: observed_journals,
            streams: observed_streams,
            keeper: keeper_counters,
            internal: internal_counters,
            budget,
            ready: Arc::clone(&ready),
            codec: best_codec(CompressionLevel::FASTEST).name(),
        });
        let (stop_control, control) = start_control(admin, &observed)?;
        let (stop_listening, listen) = start_listening(listeners, &inputs, &shards)?;
        ready.store(true, std::sync::atomic::Ordering::Release);
        Ok(Node {
            observed,
            ready,
            shards,
            stop_listening,
            stop_streams,
            stop_control,
            keeper,
            audit: Some(audit),
            threads: Threads {
                listen: Some(listen),
                shards: shard_threads,
                streams: stream_threads,
                audit: Some(audit_thread),
                internal: Some(internal_thread),
                keeper: Some(keeper_thread),
                control: Some(control),
            },
            drain_timeout: plan.drain_timeout,
            _fixed: fixed,
            identity,
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
                ShardInput::Http(_, counters) => ObservedKind::Http(Arc::clone(counters)),
            },
        }
    }
}

/// A way to stop a thread that listens, and the thread with what the system said at its end.
type Stoppable = (watch::Sender<bool>, JoinHandle<io::Result<()>>);

fn start_control(admin: TcpListener, observed: &Arc<Observed>) -> Result<Stoppable, StartError> {
    let (stop, stop_seen) = watch::channel(false);
    let thread = admin::spawn(admin, Arc::clone(observed), stop_seen);
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

fn serve_input(input: &InputPlan) -> ServedInput {
    let (connections_max, shard) = match input {
        InputPlan::Tcp(tcp) => (
            tcp.connections_max,
            ShardInput::Tcp(tcp.clone(), Arc::default()),
        ),
        InputPlan::Http(http) => (
            http.connections_max,
            ShardInput::Http(http.clone(), Arc::default()),
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
    journals: usize,
    disk: &'a Arc<dyn Disk>,
    clock: &'a Arc<dyn Clock>,
    audit: &'a AuditLog,
    stop: watch::Receiver<StopPhase>,
}

/// A stream's name and its thread.
type StreamThread = (Arc<str>, JoinHandle<io::Result<()>>);

impl<'a> StreamStarter<'a> {
    fn new(
        disk: &'a Arc<dyn Disk>,
        clock: &'a Arc<dyn Clock>,
        audit: &'a AuditLog,
        journals: usize,
    ) -> (Self, watch::Sender<StopPhase>) {
        let (sender, stop) = watch::channel(StopPhase::Running);
        let starter = Self {
            journals,
            disk,
            clock,
            audit,
            stop,
        };
        (starter, sender)
    }

    fn start_all(
        &self,
        plans: &[StreamPlan],
        lanes: Vec<Vec<LaneParts>>,
    ) -> Result<(Vec<StreamThread>, Vec<ObservedStream>), StartError> {
        let (mut threads, mut observed) = (Vec::new(), Vec::new());
        for (stream, lanes) in plans.iter().zip(lanes) {
            let latency = Latency::default();
            observed.push(observe_stream(stream, &lanes, &latency));
            let thread = delivery::spawn(StreamParts {
                plan: stream.clone(),
                lanes,
                journals: self.journals,
                disk: Arc::clone(self.disk),
                clock: Arc::clone(self.clock),
                audit: self.audit.clone(),
                latency,
                stop: self.stop.clone(),
            });
            let name = Arc::clone(&stream.stream.name);
            threads.push((name, thread.map_err(StartError::Thread)?));
        }
        Ok((threads, observed))
    }
}

/// What every shard is started with.
struct ShardStarter<'a> {
    plan: &'a Plan,
    inputs: &'a [ServedInput],
    shards: &'a [ShardHandle],
    keeper: &'a KeeperHandle,
    internal: Sender<InternalRequest>,
    audit: &'a AuditLog,
    budget: &'a Budget,
    clock: &'a Arc<dyn Clock>,
    direct: bool,
}

/// A shard's thread, with what the disk said when it ended.
type ShardThread = JoinHandle<io::Result<()>>;

impl ShardStarter<'_> {
    /// Starts a shard for each mailbox. Journals beyond them take no events; streams deliver
    /// what is in them. Only shards keep a way to the internal journal: it ends after them.
    fn start_all(
        self,
        mailboxes: Vec<mpsc::UnboundedReceiver<Message>>,
        journals: Vec<OpenJournal>,
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
        journal: OpenJournal,
    ) -> Result<(ShardThread, ObservedJournal), StartError> {
        let OpenJournal {
            catalog,
            tail,
            recovered,
            files,
        } = journal;
        let latency = Latency::default();
        let ledger = Arc::new(ArcSwap::from_pointee(ShardLedger {
            settled: recovered.totals.clone(),
            durable_end: recovered.start.next,
            ..ShardLedger::default()
        }));
        let handle = self.shards[number].clone();
        let observed = ObservedJournal {
            id: files.journal,
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
        let thread = run::spawn(ShardParts {
            number,
            settings: self.plan.shard.clone(),
            inputs: self
                .inputs
                .iter()
                .map(|input| input.shard.clone())
                .collect(),
            writer: Some(Writer::new(
                recovered.start,
                self.plan.journal.write_bytes_max,
            )),
            totals: recovered.totals,
            received_last: recovered.received_last,
            pending_bytes_max: self.plan.journal.pending_bytes_max,
            direct: self.direct,
            journal: number,
            catalog,
            tail,
            keeper: self.keeper.clone(),
            internal: self.internal.clone(),
            audit: self.audit.clone(),
            peers: others.map(|(_, shard)| shard.clone()).collect(),
            handle,
            mailbox,
            budget: self.budget.clone(),
            clock: Arc::clone(self.clock),
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
    plan: &Plan,
    journals: &[OpenJournal],
    lanes: &[Vec<LaneParts>],
    clock: &Arc<dyn Clock>,
    audit: &AuditLog,
) -> Result<(KeeperHandle, JoinHandle<()>, Arc<KeeperCounters>), StartError> {
    let counters = Arc::<KeeperCounters>::default();
    let kept = journals
        .iter()
        .enumerate()
        .map(|(number, journal)| KeptJournal {
            files: journal.files.clone(),
            catalog: Arc::clone(&journal.catalog),
            holds: lanes
                .iter()
                .map(|stream| Arc::clone(&stream[number].hold))
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
        Arc::clone(clock),
        Arc::clone(&counters),
        audit.clone(),
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
        destination: match stream.sink {
            SinkSettings::Http(_) => "http",
            SinkSettings::File(_) => "file",
        },
        lanes: lanes.iter().map(|lane| Arc::clone(&lane.status)).collect(),
        delivery_latency: latency.clone(),
    }
}
