//! The shell of a shard: its thread, runtime and loop around the pure core.
//!
//! One thread, pinned to its core, runs the connections and the loop that takes closed
//! blocks, writes, and settles. Everything that can wake the loop is one of: lines were
//! handed over, a write came back, a message, or time.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_channel::{Sender, TrySendError};
use tokio::sync::mpsc;

use crate::audit::AuditLog;
use crate::block::codec::{Codec, CompressionLevel, best_codec};
use crate::budget::Budget;
use crate::event::InputId;
use crate::filter::exclusions::Exclusions;
use crate::filter::selection::{BlockJudge, Keep, SelectionSet};
use crate::ingest::door::{Door, GateState};
use crate::ingest::exclusion::NodeExclusion;
use crate::ingest::gather::{CloseAfter, Gather};
use crate::ingest::http::{self, HttpCounters, HttpInput, RelayLedger};
use crate::ingest::settings::{HttpSettings, TcpSettings};
use crate::ingest::tcp::{self, TcpCounters, TcpInput};
use crate::journal::format::ChainHash;
use crate::journal::internal::{InternalRequest, RecordKind};
use crate::journal::keeper::{KeeperHandle, KeeperRequest, Ordered};
use crate::journal::segments::Catalog;
use crate::journal::tail::Tail;
use crate::journal::writer::Writer;
use crate::metrics::latency::Latency;
use crate::metrics::ledger::InputCounts;
use crate::os::affinity;
use crate::os::clock::Clock;
use crate::os::durable::{DurableWriter, WriteRequest, WriterMode};
use crate::os::sockets;
use crate::position::{JournalId, Offset, Timestamp};
use crate::shard::core::{ShardAction, ShardCore, compress};
use crate::shard::mailbox::{ConnectionPermit, Message, ShardHandle};
use crate::shard::notices::{self, GateTold};
use crate::shard::settings::ShardSettings;

/// Tasks a shard runs before it looks at its sockets again. Small, because one task may work
/// for 200 µs on a full receive.
const EVENT_INTERVAL: u32 = 4;

/// How long the shard waits before it orders a segment again that the disk refused.
const ORDER_AGAIN: Duration = Duration::from_secs(1);

/// How soon reject records are offered again that the internal journal had no room for.
const RECORDS_AGAIN: Duration = Duration::from_millis(5);

/// Blocks with reject records on offer above which inputs wait.
const RECORDS_MAX: usize = 16;

/// How long a stopping shard waits for connections to finish what they have begun.
const STOP_GRACE: Duration = Duration::from_millis(200);

/// The loop turns at least so often, so that the watchdog sees it live.
const TURN_EVERY: Duration = Duration::from_secs(1);

/// An input as the shards serve it.
#[derive(Debug, Clone)]
pub enum ShardInput {
    /// NDJSON over TCP.
    Tcp(TcpSettings, Arc<TcpCounters>),
    /// HTTP.
    Http(HttpSettings, Arc<HttpCounters>, Arc<RelayLedger>),
}

/// What the scraper sees of a shard's inputs; replaced as a whole, so it balances.
#[derive(Debug, Clone, Default)]
pub struct ShardLedger {
    /// Totals of the inputs on this shard's journal, of durable lines.
    pub settled: Vec<(InputId, InputCounts)>,
    /// Lines judged and not yet durable.
    pub open: u64,
    /// Events below are durable.
    pub durable_end: Offset,
    /// Chain hash of the last durable block; zero before the first.
    pub chain: ChainHash,
    /// Whether lines are taken.
    pub gate: GateState,
}

/// Everything a shard is made of.
#[derive(Debug)]
pub struct ShardParts {
    /// Number of the shard, from 0.
    pub number: usize,
    /// What it runs on.
    pub settings: ShardSettings,
    /// Its inputs, by their index in the plan.
    pub inputs: Vec<ShardInput>,
    /// The journal's writer, as recovery left it.
    pub writer: Option<Writer>,
    /// Totals of the inputs' counters, as recovered.
    pub totals: Vec<(InputId, InputCounts)>,
    /// Latest receive time in the journal.
    pub received_last: Timestamp,
    /// Compressed bytes that may wait for their sync before inputs wait.
    pub pending_bytes_max: usize,
    /// The journal's files are open for direct I/O.
    pub direct: bool,
    /// The journal.
    pub id: JournalId,
    /// Index of the journal at the keeper.
    pub journal: usize,
    /// Segments of the journal.
    pub catalog: Arc<Catalog>,
    /// Where durable blocks are published.
    pub tail: Arc<Tail>,
    /// The keeper of segment files.
    pub keeper: KeeperHandle,
    /// The internal journal.
    pub internal: Sender<InternalRequest>,
    /// Where refused lines and a disk in trouble are told.
    pub audit: AuditLog,
    /// The other shards.
    pub peers: Vec<ShardHandle>,
    /// The way to this shard.
    pub handle: ShardHandle,
    /// Its mailbox.
    pub mailbox: mpsc::UnboundedReceiver<Message>,
    /// The byte budget of the node.
    pub budget: Budget,
    /// The node's exclusion rules in force.
    pub exclusions: Arc<ArcSwap<Exclusions>>,
    /// What streams take, in force.
    pub selections: Arc<ArcSwap<SelectionSet>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Received to durable.
    pub latency: Latency,
    /// What the scraper sees.
    pub ledger: Arc<ArcSwap<ShardLedger>>,
}

/// Starts a shard's thread. It ends after [`Message::Stop`], with everything durable that
/// the disk takes.
///
/// # Errors
/// When the thread cannot be started.
pub fn spawn(parts: ShardParts) -> io::Result<JoinHandle<io::Result<()>>> {
    std::thread::Builder::new()
        .name(format!("weir-shard-{}", parts.number))
        .spawn(move || {
            if parts.settings.pin
                && let Err(error) = affinity::pin_to_core(parts.number)
            {
                tracing::warn!(shard = parts.number, %error, "pin the shard to its core");
            }
            let (asleep, awake) = (
                Arc::clone(parts.handle.state()),
                Arc::clone(parts.handle.state()),
            );
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .event_interval(EVENT_INTERVAL)
                .on_thread_park(move || asleep.idle.store(true, Ordering::Relaxed))
                .on_thread_unpark(move || awake.idle.store(false, Ordering::Relaxed))
                .build()?;
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move { Shard::start(parts)?.run().await })
        })
}

/// An input with the shard's door.
#[derive(Clone)]
enum Served {
    Tcp(Rc<TcpInput>),
    Http(Rc<HttpInput>),
}

fn serve(input: &ShardInput, door: &Door, clock: &Arc<dyn Clock>) -> Served {
    let (door, clock) = (door.clone(), Arc::clone(clock));
    match input.clone() {
        ShardInput::Tcp(settings, counters) => Served::Tcp(Rc::new(TcpInput {
            settings,
            door,
            clock,
            counters,
        })),
        ShardInput::Http(settings, counters, relay) => {
            let now = Rc::new(move || {
                let now = clock.now();
                (now.monotonic, now.wall)
            });
            Served::Http(HttpInput::new(settings, door, now, counters, relay))
        }
    }
}

struct Shard {
    parts: ShardParts,
    core: ShardCore,
    door: Door,
    writer: DurableWriter,
    codec: Box<dyn Codec>,
    scratch: Vec<u8>,
    /// Memory to judge stream rules with.
    judge: BlockJudge,
    /// By their index in the plan.
    inputs: Vec<Served>,
    /// Reject records that the internal journal had no room for.
    records: VecDeque<InternalRequest>,
    /// When a refused segment is ordered again.
    order_again: Option<Duration>,
    no_room: bool,
    /// What the audit log knows of the gate.
    told: GateTold,
    /// What the disk said last.
    last_error: String,
    /// Set when [`Message::Stop`] came: until then connections may finish.
    stopping: Option<Duration>,
    /// Connections open on this shard.
    open: Rc<RefCell<u64>>,
}

impl Shard {
    fn start(mut parts: ShardParts) -> io::Result<Self> {
        let writer = DurableWriter::start(
            parts.settings.io_uring,
            &format!("weir-writer-{}", parts.number),
        )?;
        if let WriterMode::Thread(_) = writer.mode() {
            tracing::info!(
                shard = parts.number,
                "the journal is written by {}",
                writer.mode()
            );
        }
        let close_after = CloseAfter {
            awaited: parts.settings.commit_interval,
            idle: parts.settings.commit_interval_idle,
        };
        let exclusion = Rc::new(NodeExclusion::new(Arc::clone(&parts.exclusions)));
        let door = Door::new(Gather::new(close_after), parts.budget.clone(), exclusion);
        let inputs = parts
            .inputs
            .iter()
            .map(|input| serve(input, &door, &parts.clock))
            .collect();
        let core = ShardCore::new(
            parts.writer.take().expect("a shard is started once"),
            parts.pending_bytes_max,
            std::mem::take(&mut parts.totals),
            parts.received_last,
        );
        Ok(Self {
            door,
            core,
            writer,
            codec: best_codec(CompressionLevel::FASTEST),
            scratch: Vec::new(),
            judge: BlockJudge::default(),
            inputs,
            records: VecDeque::new(),
            order_again: None,
            no_room: false,
            told: GateTold::default(),
            last_error: String::new(),
            stopping: None,
            open: Rc::default(),
            parts,
        })
    }

    async fn run(mut self) -> io::Result<()> {
        loop {
            self.turn()?;
            if self.is_done() {
                self.end();
                return Ok(());
            }
            self.wait().await;
        }
    }

    /// Ends the shard. What other shards sent in the meantime is done first, and who sends
    /// later is told that no one is here: a block handed over is never lost.
    fn end(&mut self) {
        self.parts.mailbox.close();
        while let Ok(message) = self.parts.mailbox.try_recv() {
            self.take(message);
        }
        self.core.close();
        self.act();
    }

    /// Waits for the next thing to happen and takes it in.
    async fn wait(&mut self) {
        let due = self.sleep_for();
        let outstanding = self.writer.outstanding() > 0;
        tokio::select! {
            biased;
            done = self.writer.completed(), if outstanding => {
                self.written(done.ticket, done.result);
            }
            message = self.parts.mailbox.recv() => match message {
                Some(message) => self.take(message),
                // Every handle is gone, so is the node: nothing more can come.
                None => self.stop(),
            },
            () = self.door.filled() => {}
            () = tokio::time::sleep(due) => {}
        }
        // What came meanwhile is taken with it, so that a busy shard turns once for all.
        while self.writer.outstanding() > 0
            && let Some(done) = self.writer.try_completed()
        {
            self.written(done.ticket, done.result);
        }
        while let Ok(message) = self.parts.mailbox.try_recv() {
            self.take(message);
        }
    }

    fn sleep_for(&self) -> Duration {
        let now = self.parts.clock.now().monotonic;
        let due = self.door.gather().due();
        let again = (!self.records.is_empty()).then_some(now + RECORDS_AGAIN);
        let first = [due, self.order_again, self.stopping, again]
            .into_iter()
            .flatten()
            .min();
        first
            .map_or(TURN_EVERY, |first| first.saturating_sub(now))
            .min(TURN_EVERY)
    }

    /// One turn: closes what is due, compresses, writes, settles.
    fn turn(&mut self) -> io::Result<()> {
        let now = self.parts.clock.now().monotonic;
        self.parts
            .handle
            .state()
            .turns
            .fetch_add(1, Ordering::Relaxed);
        if self.order_again.is_some_and(|again| again <= now) {
            self.order_again = None;
        }
        {
            let mut gather = self.door.gather();
            if self.stopping.is_some() {
                gather.close();
            }
            gather.close_due(now);
        }
        loop {
            let closed = self.door.gather().take_closed();
            let Some(mut block) = closed else { break };
            self.core.clamp_times(&mut block.runs);
            let selections = self.parts.selections.load();
            if !selections.light.is_empty() {
                // The raw lines are warm here, and nowhere else without inflating them again.
                let raw = &block.raw[..block.raw_len];
                let light = &selections.light;
                block.verdicts = self.judge.judge(light, raw, &block.runs, Keep::Taken);
            }
            let idle = self.idle_peer().is_some();
            self.core
                .gathered(block, idle, &mut *self.codec, &mut self.scratch)
                .map_err(io::Error::other)?;
        }
        self.send_records();
        self.act();
        self.set_gate();
        Ok(())
    }

    /// Does what the core asks.
    fn act(&mut self) {
        while self.order_again.is_none() {
            let Some(action) = self.core.next_action() else {
                break;
            };
            self.perform(action);
        }
    }

    fn perform(&mut self, action: ShardAction) {
        match action {
            ShardAction::Open(order) => {
                let handle = self.parts.handle.clone();
                let answer = move |ordered| {
                    // A shard that has ended needs no segment.
                    handle.send(Message::Ordered(ordered)).ok();
                };
                let (journal, answer) = (self.parts.journal, Box::new(answer));
                self.parts.keeper.send(KeeperRequest::Open {
                    journal,
                    order,
                    answer,
                });
            }
            ShardAction::Write(group) => self.writer.submit(WriteRequest {
                ticket: group.ticket,
                file: group.file,
                offset: group.position,
                buffers: group.buffers,
                direct: self.parts.direct,
            }),
            ShardAction::Publish(blocks) => self.parts.tail.publish(&blocks),
            ShardAction::Close(segment) => self.parts.catalog.close(&segment),
            ShardAction::Seal(order) => {
                let journal = self.parts.journal;
                self.parts
                    .keeper
                    .send(KeeperRequest::Seal { journal, order });
            }
            ShardAction::Record {
                ticket,
                lines,
                count,
                totals,
            } => {
                for total in totals {
                    self.parts.audit.tell(notices::of_rejects(total));
                }
                self.record(ticket, lines, count);
            }
            ShardAction::HandOut { slot, raw, raw_len } => self.hand_out(slot, raw, raw_len),
            ShardAction::Recycle(raw) => self.door.gather().recycle(raw),
            ShardAction::Settle(waiter) => waiter.fate.settle(waiter.line),
            ShardAction::Lose(waiter) => waiter.fate.lose(),
            ShardAction::Latency { received, events } => {
                let micros = self.parts.clock.now().wall.micros_since(received);
                self.parts
                    .latency
                    .record(Duration::from_micros(micros), events);
            }
        }
    }

    fn record(&mut self, ticket: u64, lines: Vec<u8>, count: u32) {
        let handle = self.parts.handle.clone();
        let answer = Box::new(move |durable| {
            // A shard that has ended has nobody waiting.
            handle.send(Message::Recorded { ticket, durable }).ok();
        });
        let request = InternalRequest {
            kind: RecordKind::Reject,
            lines,
            count,
            answer,
        };
        self.records.push_back(request);
        self.send_records();
    }

    /// Sends reject records on, as far as the internal journal takes them. The shard does not
    /// wait for its disk: what it does not take now is offered again.
    fn send_records(&mut self) {
        while let Some(request) = self.records.pop_front() {
            match self.parts.internal.try_send(request) {
                Ok(()) => {}
                Err(TrySendError::Full(request)) => {
                    self.records.push_front(request);
                    return;
                }
                // The node stops when the internal journal's thread has ended.
                Err(TrySendError::Disconnected(request)) => (request.answer)(false),
            }
        }
    }

    fn idle_peer(&self) -> Option<&ShardHandle> {
        self.parts.peers.iter().find(|peer| peer.is_idle())
    }

    fn hand_out(&mut self, slot: u64, raw: Vec<u8>, raw_len: usize) {
        let from = self.parts.handle.clone();
        let job = Message::Compress {
            from,
            slot,
            raw,
            raw_len,
        };
        let peer = self.idle_peer().or(self.parts.peers.first());
        let refused = match peer {
            Some(peer) => peer.send(job).err(),
            None => Some(job),
        };
        if let Some(job) = refused {
            self.take(job);
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Connection {
                input,
                stream,
                peer,
                permit,
            } => {
                self.connect(input, stream, peer, permit);
            }
            Message::Ordered(Ordered::Opened(opened)) => {
                self.no_room = false;
                self.core.opened(opened);
            }
            Message::Ordered(Ordered::Failed(error)) => {
                self.no_room = false;
                self.last_error = format!("put a segment to use: {error}");
                self.core.open_failed();
                self.order_again = Some(self.parts.clock.now().monotonic + ORDER_AGAIN);
            }
            Message::Ordered(Ordered::NoRoom) => {
                self.no_room = true;
                tracing::warn!(
                    shard = self.parts.number,
                    "the journal is full: inputs wait until streams deliver or room is made"
                );
            }
            Message::Recorded { ticket, durable } => self.core.recorded(ticket, durable),
            Message::Compress {
                from,
                slot,
                raw,
                raw_len,
            } => {
                match compress(&mut *self.codec, &mut self.scratch, raw, raw_len) {
                    // A shard that has ended has lost nothing acknowledged.
                    Ok(compressed) => drop(from.send(Message::Compressed { slot, compressed })),
                    Err(error) => tracing::error!(%error, "compress a block of another shard"),
                }
            }
            Message::Compressed { slot, compressed } => {
                if let Err(error) = self.core.compressed(slot, compressed, &mut *self.codec) {
                    tracing::error!(%error, "encode a block's metadata");
                }
            }
            Message::Stop => self.stop(),
        }
    }

    fn stop(&mut self) {
        if self.stopping.is_none() {
            self.stopping = Some(self.parts.clock.now().monotonic + STOP_GRACE);
            for input in &self.inputs {
                match input {
                    // A tcp connection sees the gate.
                    Served::Tcp(_) => {}
                    Served::Http(input) => input.stop(),
                }
            }
        }
    }

    /// True when a stopping shard has nothing left to wait for.
    fn is_done(&self) -> bool {
        let Some(until) = self.stopping else {
            return false;
        };
        let quiet = *self.open.borrow() == 0 || self.parts.clock.now().monotonic >= until;
        let settled = self.core.is_idle() && self.door.gather().is_empty();
        // Without room or disk the rest was never acknowledged: it is not waited for.
        let stuck = self.no_room || self.order_again.is_some();
        quiet && (settled || stuck) && self.writer.outstanding() == 0
    }

    fn written(&mut self, ticket: u64, result: io::Result<()>) {
        if let Err(error) = &result {
            tracing::error!(shard = self.parts.number, %error, "write the journal");
            self.last_error = format!("write the journal: {error}");
        }
        self.core.written(ticket, result.is_ok());
    }

    fn connect(
        &mut self,
        input: usize,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        permit: ConnectionPermit,
    ) {
        let state = Arc::clone(self.parts.handle.state());
        let taken = sockets::tune_connection(&stream)
            .and_then(|()| tokio::net::TcpStream::from_std(stream));
        let stream = match taken {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%peer, %error, "take a connection");
                state.connections.fetch_sub(1, Ordering::Relaxed);
                return;
            }
        };
        *self.open.borrow_mut() += 1;
        let open = Rc::clone(&self.open);
        let served = self.inputs[input].clone();
        tokio::task::spawn_local(async move {
            match served {
                Served::Tcp(input) => tcp::serve(stream, peer, input).await,
                Served::Http(input) => http::serve_connection(stream, peer, input).await,
            }
            state.connections.fetch_sub(1, Ordering::Relaxed);
            *open.borrow_mut() -= 1;
            drop(permit);
        });
    }

    /// Tells inputs and the scraper how things are.
    fn set_gate(&mut self) {
        let core = &self.core;
        let gate = match core.gate() {
            _ if self.stopping.is_some() => GateState::Stopping,
            GateState::Failed => GateState::Failed,
            _ if self.no_room => GateState::Full,
            GateState::Open if self.records.len() > RECORDS_MAX => GateState::Busy,
            other => other,
        };
        self.door.set_state(gate);
        for notice in self.told.moved(self.parts.id, gate, &self.last_error) {
            self.parts.audit.tell(notice);
        }
        let open = core.open_lines() + self.door.gather().open_received();
        let (durable_end, chain) = (core.writer().durable_end(), core.writer().durable_chain());
        let known = self.parts.ledger.load();
        let moved = known.chain != chain || known.settled != core.settled();
        if moved || known.open != open || known.gate != gate {
            let settled = core.settled().to_vec();
            let ledger = ShardLedger {
                settled,
                open,
                durable_end,
                chain,
                gate,
            };
            self.parts.ledger.store(Arc::new(ledger));
        }
    }
}
