//! Opening a node: bind, take the data directory, recover, and only then start threads.

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use crossbeam_channel::Sender;
use tokio::sync::{mpsc, watch};

use crate::batch::CursorState;
use crate::block::codec::{CompressionLevel, best_codec};
use crate::budget::Budget;
use crate::config::plan::{InputPlan, Plan, StreamPlan};
use crate::control::admin;
use crate::control::observed::{
    Observed, ObservedInput, ObservedJournal, ObservedKind, ObservedStream,
};
use crate::event::InputId;
use crate::ingest::settings::InputSettings;
use crate::journal::cursor::{self, CursorRecord, OpenedCursor};
use crate::journal::internal::{InternalCounters, InternalJournal, InternalRequest};
use crate::journal::keeper::{Keeper, KeeperCounters, KeeperHandle, KeptJournal};
use crate::journal::reader::{ReadNext, Reader};
use crate::journal::recovery::{Recovered, recover};
use crate::journal::segments::{Catalog, SegmentFiles};
use crate::journal::tail::Tail;
use crate::journal::writer::Writer;
use crate::metrics::latency::Latency;
use crate::node::delivery::{self, LaneParts, StopPhase, StreamParts, status_of};
use crate::node::identity::Identity;
use crate::node::{Node, StartError, Threads};
use crate::os::clock::{Clock, SystemClock};
use crate::os::disk::{Disk, OpenMode};
use crate::os::real_disk::RealDisk;
use crate::os::sockets;
use crate::position::{JournalId, Offset, Timestamp};
use crate::shard::listen::{self, Listening};
use crate::shard::mailbox::{ConnectionCounts, Message, ShardHandle};
use crate::shard::run::{self, ShardInput, ShardLedger, ShardParts};
use crate::sink::settings::SinkSettings;
use crate::stream::settings::StartAt;

/// Length of a segment of the internal journal.
const INTERNAL_SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

/// Requests the internal journal's channel holds before senders wait.
const INTERNAL_REQUESTS_MAX: usize = 256;

/// A node that has recovered and is bound, and takes no event yet.
#[derive(Debug)]
pub struct OpenNode {
    plan: Plan,
    identity: Identity,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    direct: bool,
    listeners: Vec<TcpListener>,
    admin: TcpListener,
    journals: Vec<OpenJournal>,
    internal: InternalJournal,
    internal_counters: Arc<InternalCounters>,
    lanes: Vec<Vec<LaneParts>>,
}

#[derive(Debug)]
struct OpenJournal {
    files: SegmentFiles,
    catalog: Arc<Catalog>,
    tail: Arc<Tail>,
    recovered: Recovered,
}

/// Binds, takes the data directory and recovers.
///
/// # Errors
/// [`StartError`] names what is in the way and what to do about it.
pub fn open(mut plan: Plan) -> Result<OpenNode, StartError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let listeners = bind_inputs(&plan)?;
    let admin = sockets::listen(plan.admin_listen).map_err(|error| StartError::Listen {
        what: "admin listener".to_owned(),
        error,
    })?;
    let identity = take_directory(&*disk, &mut plan)?;
    let direct = plan.journal.direct_io && takes_direct_io(&*disk, &plan.journal.dir)?;
    let mut records = open_records(&*disk, &plan, &identity)?;
    let mut journals = Vec::new();
    for number in 0..identity.journals {
        let files = segment_files(&plan, &disk, &identity, JournalId(number), direct);
        let cursors = records
            .iter()
            .filter_map(|stream| stream[usize::from(number)].state.as_ref());
        let cursors_end = cursors.map(|state| state.cursor).max().unwrap_or_default();
        journals.push(open_journal(
            files,
            cursors_end,
            plan.journal.tail_bytes_max,
        )?);
    }
    let internal_counters = Arc::<InternalCounters>::default();
    let internal_files = SegmentFiles {
        file_bytes: INTERNAL_SEGMENT_BYTES,
        ..segment_files(&plan, &disk, &identity, JournalId::INTERNAL, direct)
    };
    let internal = open_internal(internal_files, &clock, &internal_counters)?;
    let mut lanes = Vec::new();
    for stream in &plan.streams {
        let opened = records.remove(0);
        lanes.push(open_lanes(stream, opened, &journals, &disk, direct)?);
    }
    Ok(OpenNode {
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
    })
}

impl OpenNode {
    /// The plan, with ports and numbers as they came to be.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Addresses the inputs listen on, in the order of the plan.
    #[must_use]
    pub fn addresses(&self) -> Vec<std::net::SocketAddr> {
        self.listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// Address of the admin listener.
    #[must_use]
    pub fn admin_address(&self) -> Option<std::net::SocketAddr> {
        self.admin.local_addr().ok()
    }

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
        let (keeper, keeper_thread, keeper_counters) =
            start_keeper(&plan, &journals, &lanes, &clock)?;
        let inputs: Vec<ServedInput> = plan.inputs.iter().map(serve_input).collect();
        let (shards, mailboxes): (Vec<_>, Vec<_>) =
            (0..plan.shard.count).map(|_| ShardHandle::new()).unzip();
        let starter = ShardStarter {
            plan: &plan,
            inputs: &inputs,
            shards: &shards,
            keeper: &keeper,
            internal,
            budget: &budget,
            clock: &clock,
            direct,
        };
        let (streams, stop_streams) = StreamStarter::new(&disk, &clock, journals.len());
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
            threads: Threads {
                listen: Some(listen),
                shards: shard_threads,
                streams: stream_threads,
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
    stop: watch::Receiver<StopPhase>,
}

/// A stream's name and its thread.
type StreamThread = (Arc<str>, JoinHandle<io::Result<()>>);

impl<'a> StreamStarter<'a> {
    fn new(
        disk: &'a Arc<dyn Disk>,
        clock: &'a Arc<dyn Clock>,
        journals: usize,
    ) -> (Self, watch::Sender<StopPhase>) {
        let (sender, stop) = watch::channel(StopPhase::Running);
        let starter = Self {
            journals,
            disk,
            clock,
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

fn input_settings(input: &InputPlan) -> &InputSettings {
    match input {
        InputPlan::Tcp(tcp) => &tcp.input,
        InputPlan::Http(http) => &http.input,
    }
}

/// Gives the inputs the numbers that the data directory knows them by.
fn number_inputs(plan: &mut Plan, numbers: &[u16]) {
    for (input, number) in plan.inputs.iter_mut().zip(numbers) {
        let settings = match input {
            InputPlan::Tcp(tcp) => &mut tcp.input,
            InputPlan::Http(http) => &mut http.input,
        };
        settings.id = InputId(*number);
        settings.labels.input = InputId(*number);
    }
}

fn bind_inputs(plan: &Plan) -> Result<Vec<TcpListener>, StartError> {
    let bound = plan.inputs.iter().map(|input| {
        let address = match input {
            InputPlan::Tcp(tcp) => tcp.listen,
            InputPlan::Http(http) => http.listen,
        };
        sockets::listen(address).map_err(|error| StartError::Listen {
            what: format!("input \"{}\"", input_settings(input).name),
            error,
        })
    });
    bound.collect()
}

fn on_disk(what: &str, path: &Path) -> impl FnOnce(io::Error) -> StartError + use<> {
    let what = format!("{what} in {}", path.display());
    move |error| StartError::Disk { what, error }
}

/// Whether the journal's file system takes direct I/O; where it does not, the journal is
/// written through the page cache, with the same syncs.
fn takes_direct_io(disk: &dyn Disk, dir: &Path) -> Result<bool, StartError> {
    disk.create_dir_all(dir)
        .map_err(on_disk("make the journal's directory", dir))?;
    let probe = dir.join("direct-io.probe");
    let mode = OpenMode {
        write: true,
        create: true,
        direct: true,
    };
    let page = crate::os::buffers::AlignedBuffer::zeroed(crate::limits::DISK_PAGE_BYTES);
    let tried = disk
        .open(&probe, mode)
        .and_then(|file| file.write_at(page.as_slice(), 0));
    let taken = match tried {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            tracing::info!(dir = %dir.display(), "direct I/O is refused here: the journal goes through the page cache");
            false
        }
        Err(error) => return Err(on_disk("write", dir)(error)),
    };
    match disk.remove(&probe) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(on_disk("write", dir)(error)),
        _ => Ok(taken),
    }
}

fn segment_files(
    plan: &Plan,
    disk: &Arc<dyn Disk>,
    identity: &Identity,
    journal: JournalId,
    direct: bool,
) -> SegmentFiles {
    SegmentFiles {
        disk: Arc::clone(disk),
        dir: plan.journal.dir.join(journal.to_string()),
        journal,
        node: identity.node,
        file_bytes: plan.journal.segment_bytes,
        direct,
    }
}

/// Takes the data directory, and fits the plan to what it remembers: numbers of inputs, and
/// no more shards than journals.
fn take_directory(disk: &dyn Disk, plan: &mut Plan) -> Result<Identity, StartError> {
    let names: Vec<&str> = plan
        .inputs
        .iter()
        .map(|input| input_settings(input).name.as_str())
        .collect();
    let journals = u16::try_from(plan.journals).unwrap_or(u16::MAX - 1);
    let identity = Identity::open(disk, &plan.data_dir, journals, &names)?;
    number_inputs(plan, &identity.inputs);
    if plan.shard.count > usize::from(identity.journals) {
        tracing::warn!(
            journals = identity.journals,
            shards = plan.shard.count,
            "the data directory was made with fewer journals than shards: as many shards run"
        );
        plan.shard.count = usize::from(identity.journals);
    }
    Ok(identity)
}

fn open_internal(
    files: SegmentFiles,
    clock: &Arc<dyn Clock>,
    counters: &Arc<InternalCounters>,
) -> Result<InternalJournal, StartError> {
    let dir = files.dir.clone();
    let opened = InternalJournal::open(files, Arc::clone(clock), Arc::clone(counters));
    let (internal, findings) = opened.map_err(on_disk("open the internal journal", &dir))?;
    findings
        .iter()
        .for_each(|finding| tracing::warn!("internal journal: {finding}"));
    Ok(internal)
}

fn open_journal(
    files: SegmentFiles,
    cursors_end: Offset,
    tail_bytes_max: usize,
) -> Result<OpenJournal, StartError> {
    let catalog = Arc::<Catalog>::default();
    let recovered = recover(&files, &catalog, cursors_end)
        .map_err(on_disk("recover the journal", &files.dir))?;
    for finding in &recovered.findings {
        tracing::warn!(journal = %files.journal, "{finding}");
    }
    let tail = Arc::new(Tail::new(tail_bytes_max, recovered.start.next));
    Ok(OpenJournal {
        files,
        catalog,
        tail,
        recovered,
    })
}

/// Opens the cursor records of all streams: for each stream one a journal.
fn open_records(
    disk: &dyn Disk,
    plan: &Plan,
    identity: &Identity,
) -> Result<Vec<Vec<OpenedCursor>>, StartError> {
    let dir: PathBuf = plan.data_dir.join("cursors");
    disk.create_dir_all(&dir)
        .map_err(on_disk("make the cursors' directory", &dir))?;
    warn_of_streams_gone(disk, plan, &dir);
    let open_one = |stream: &StreamPlan, number: u16| {
        let journal = JournalId(number);
        let path = dir.join(cursor::file_name(&stream.stream.name, journal));
        let opened = CursorRecord::open(disk, &path, journal, identity.node)
            .map_err(on_disk("open a cursor record", &dir))?;
        if let Some(damage) = &opened.damage {
            tracing::error!(path = %path.display(), %damage, "a slot of a cursor record does not hold; the other one counts");
        }
        Ok(opened)
    };
    let streams = plan.streams.iter();
    streams
        .map(|stream| {
            (0..identity.journals)
                .map(|number| open_one(stream, number))
                .collect()
        })
        .collect()
}

/// Names the streams that have a cursor and no section any more, as after a change of name:
/// nothing holds the journal for them, and retention takes what they had not delivered.
fn warn_of_streams_gone(disk: &dyn Disk, plan: &Plan, dir: &Path) {
    let names = disk.list(dir).unwrap_or_default();
    let known = |name: &str| {
        plan.streams
            .iter()
            .any(|stream| *stream.stream.name == *name)
    };
    let gone: BTreeSet<&str> = names
        .iter()
        .filter_map(|name| cursor::stream_of_file_name(name))
        .filter(|name| !known(name))
        .collect();
    for stream in gone {
        tracing::warn!(
            stream,
            cursors = %dir.display(),
            "a stream with a cursor is not in the configuration: events it has not delivered are no longer held for it; if it was renamed, give it its old name back, and if it is not wanted any more, remove its cursor files"
        );
    }
}

fn open_lanes(
    stream: &StreamPlan,
    opened: Vec<OpenedCursor>,
    journals: &[OpenJournal],
    disk: &Arc<dyn Disk>,
    direct: bool,
) -> Result<Vec<LaneParts>, StartError> {
    let mut lanes = Vec::new();
    for (
        OpenedCursor {
            mut record, state, ..
        },
        journal,
    ) in opened.into_iter().zip(journals)
    {
        let (catalog, tail) = (Arc::clone(&journal.catalog), Arc::clone(&journal.tail));
        let id = journal.files.journal;
        let mut reader = Reader::new(id, Arc::clone(disk), direct, catalog, tail);
        let state = match state {
            Some(state) => state,
            None => {
                let start = start_of(&mut reader, stream.stream.from)
                    .map_err(on_disk("read the journal", &journal.files.dir))?;
                let state = CursorState {
                    start,
                    cursor: start,
                    ..CursorState::default()
                };
                record
                    .write(&state)
                    .map_err(on_disk("write a cursor record", &journal.files.dir))?;
                state
            }
        };
        let cursor = Arc::new(AtomicU64::new(state.cursor.0));
        let status = Arc::new(ArcSwap::from_pointee(status_of(id, &state)));
        lanes.push(LaneParts {
            journal: id,
            state,
            record,
            reader,
            status,
            cursor,
        });
    }
    Ok(lanes)
}

/// Where a stream without a cursor begins in a journal.
fn start_of(reader: &mut Reader, from: StartAt) -> io::Result<Offset> {
    let end = reader.tail().durable_end();
    let time = match from {
        StartAt::End => return Ok(end),
        StartAt::Start => return Ok(reader.start()),
        StartAt::Time(time) => time,
    };
    first_received_from(reader, time, end)
}

fn first_received_from(reader: &mut Reader, time: Timestamp, end: Offset) -> io::Result<Offset> {
    let mut offset = reader.start_near(time);
    while offset < end {
        match reader.next(offset)? {
            ReadNext::Block(block) if block.received_last >= time => return Ok(offset),
            ReadNext::Block(block) => offset = block.range().end,
            ReadNext::Gap { range, .. } => offset = range.end,
            ReadNext::End => break,
        }
    }
    Ok(end)
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
) -> Result<(KeeperHandle, JoinHandle<()>, Arc<KeeperCounters>), StartError> {
    let counters = Arc::<KeeperCounters>::default();
    let kept = journals
        .iter()
        .enumerate()
        .map(|(number, journal)| KeptJournal {
            files: journal.files.clone(),
            catalog: Arc::clone(&journal.catalog),
            cursors: lanes
                .iter()
                .map(|stream| Arc::clone(&stream[number].cursor))
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
