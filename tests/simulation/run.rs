//! One run: a node's state machines on the memory disk, and a seed that says what happens
//! to them. Faults first; then none, and the backlog has to drain.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use weir::batch::{Compression, CursorState};
use weir::block::codec::{CompressionLevel, Inflater, best_codec};
use weir::journal::cursor::{self, CursorRecord, OpenedCursor};
use weir::journal::keeper::watch::PAUSE_AFTER_JUMP;
use weir::journal::reader::{ReadNext, Reader};
use weir::journal::recovery::{Finding, recover};
use weir::journal::segments::{Catalog, SegmentFiles};
use weir::journal::settings::{HoldPolicy, RoomLimit, RoomSettings, WhenFull};
use weir::metrics::ledger::DiscardReason;
use weir::os::clock::{Clock as _, FakeClock};
use weir::os::disk::Disk as _;
use weir::os::memory_disk::MemoryDisk;
use weir::position::{JournalId, Offset, Timestamp};
use weir::stream::encode::Encoder;
use weir::stream::settings::BatchLimits;

use crate::drain::{drain, stop};
use crate::faults;
use crate::internal_shell::{InternalShell, Records, Writer};
use crate::journal_shell::{JournalShell, Sizes, Tools, told};
use crate::keeper_shell::{KeeperShell, Kept};
use crate::lane_oracle::LaneOracle;
use crate::lane_shell::{Around, Came, LaneShell, LateCopy, Opening, Reply};
use crate::mutations::Mutation;
use crate::oracle::{InternalOracle, JournalOracle, Oracle};
use crate::promise::promise;
use crate::random::Random;
use crate::rot;
use crate::trace::Trace;

/// Starts tried before whoever looks after the machine mends the disk.
const STARTS_MAX: usize = 12;

pub(crate) struct Run {
    pub(crate) random: Random,
    pub(crate) trace: Trace,
    pub(crate) disk: MemoryDisk,
    pub(crate) clock: FakeClock,
    pub(crate) oracle: Oracle,
    pub(crate) node: Option<Node>,
    pub(crate) tools: Tools,
    encoder: Encoder,
    pub(crate) shape: Shape,
    pub(crate) mutation: Option<Mutation>,
    pub(crate) steps: u64,
    /// No more faults.
    pub(crate) quiet: bool,
    /// Until this step the disk takes its time.
    pub(crate) slow_until: u64,
    /// Copies that are still on their way, by stream, then by journal.
    pub(crate) late: Vec<Vec<Vec<LateCopy>>>,
    /// Audit events written so far.
    pub(crate) told: u64,
    /// When the wall clock jumped, and when the node started last; both monotonic.
    pub(crate) jumps: Vec<Duration>,
    started: Duration,
    /// A sync failed since the last crash: what the disk shows need not be what it has.
    pub(crate) sync_failed: bool,
}

/// What the seed decides once.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) journals: usize,
    pub(crate) streams: usize,
    segment_bytes: u64,
    direct: bool,
    sizes: Sizes,
    batches: Vec<BatchLimits>,
    room: RoomSettings,
    policies: Vec<HoldPolicy>,
    compression: Compression,
    steps: u64,
    /// Stream 1 refuses everything until then.
    refuses_until: u64,
    /// This stream hangs for ever, that is until the others have drained.
    pub(crate) dead_stream: Option<usize>,
    /// Bodies still to come that fill several blocks.
    pub(crate) large_bodies: u32,
}

pub(crate) struct Node {
    pub(crate) journals: Vec<JournalShell>,
    pub(crate) internal: InternalShell,
    pub(crate) keeper: KeeperShell,
    /// By stream, then by journal.
    pub(crate) lanes: Vec<Vec<LaneShell>>,
}

impl Run {
    pub(crate) fn new(seed: u64, trace: Trace, mutation: Option<Mutation>) -> Self {
        let mut random = Random::new(seed);
        let shape = Shape::drawn(&mut random);
        trace.note(format!("{shape:?}"));
        let disk = MemoryDisk::new();
        disk.lie_about_syncs(mutation == Some(Mutation::SyncsLie));
        let Shape {
            journals, streams, ..
        } = shape;
        let lanes = || (0..journals).map(|_| LaneOracle::default()).collect();
        let late = || (0..journals).map(|_| Vec::new()).collect();
        Self {
            random,
            trace,
            disk,
            clock: FakeClock::at(Timestamp(1_700_000_000_000_000)),
            oracle: Oracle {
                journals: (0..journals).map(|_| JournalOracle::default()).collect(),
                lanes: (0..streams).map(|_| lanes()).collect(),
                internal: InternalOracle::default(),
            },
            node: None,
            tools: Tools {
                codec: best_codec(CompressionLevel::FASTEST),
                scratch: Vec::new(),
                inflater: Inflater::new(),
            },
            encoder: Encoder::new(best_codec(CompressionLevel::FASTEST)),
            shape,
            mutation,
            steps: 0,
            quiet: false,
            slow_until: 0,
            late: (0..streams).map(|_| late()).collect(),
            told: 0,
            jumps: Vec::new(),
            started: Duration::ZERO,
            sync_failed: false,
        }
    }

    /// Faults, then their end.
    pub(crate) fn run(mut self) {
        self.start();
        while self.steps < self.shape.steps {
            self.steps += 1;
            faults::step(&mut self);
        }
        drain(&mut self);
        stop(&mut self);
        self.end();
        self.start();
        drain(&mut self);
        self.trace.note("end".to_owned());
    }

    /// Starts the node; what the disk refuses is tried again, now and then after a crash.
    pub(crate) fn start(&mut self) {
        for attempt in 0.. {
            match self.open() {
                // The keeper's first look is at once.
                Ok(()) => return self.keep(true),
                Err(error) => self.trace.note(format!("start fails: {:?}", error.kind())),
            }
            assert!(
                attempt < 2 * STARTS_MAX,
                "the node starts when the disk lets it"
            );
            if attempt == STARTS_MAX {
                self.mend_disk();
            }
            self.sync_failed = true;
            if self.random.percent(50) {
                self.lose_power();
            }
        }
    }

    /// The process is gone, and with it what it had not recorded.
    pub(crate) fn end(&mut self) {
        self.node = None;
        for lane in self.oracle.lanes.iter_mut().flatten() {
            lane.crashed();
        }
    }

    /// All that was to fail does not.
    pub(crate) fn mend_disk(&mut self) {
        self.disk.mend();
        self.disk.set_capacity(1 << 40);
    }

    /// As `node::open`: records first, then journals, then lanes.
    fn open(&mut self) -> io::Result<()> {
        self.end();
        let records = self.open_records()?;
        let mut journals = Vec::new();
        for journal in 0..self.shape.journals {
            let ends = records.iter().skip(journal).step_by(self.shape.journals);
            let ends = ends.filter_map(|opened| opened.state.as_ref());
            let cursors_end = ends.map(CursorState::end).max().unwrap_or_default();
            journals.push(self.open_journal(journal, cursors_end)?);
        }
        let internal = InternalShell::open(
            &self.disk,
            &self.clock,
            (self.shape.segment_bytes, self.shape.direct),
            &self.oracle.internal,
            self.mutation,
        )?;
        let mut lanes: Vec<Vec<LaneShell>> = Vec::new();
        let mut records = records.into_iter();
        for stream in 0..self.shape.streams {
            let name: Arc<str> = format!("stream-{stream}").into();
            let mut of_stream = Vec::new();
            for ((journal, shell), record) in journals.iter().enumerate().zip(&mut records) {
                let opening = Opening {
                    stream: &name,
                    journal: journal_id(journal),
                    limits: self.shape.batches[stream],
                    policy: self.shape.policies[stream].clone(),
                    compression: self.shape.compression,
                    mutation: self.mutation,
                };
                let lane = LaneShell::open(&opening, record, self.reader(journal, shell))?;
                self.oracle.lanes[stream][journal].opened(lane.state());
                of_stream.push(lane);
            }
            lanes.push(of_stream);
        }
        let holds = (0..journals.len()).map(|journal| {
            let holds = lanes.iter().map(|lanes| Arc::clone(lanes[journal].hold()));
            holds.collect()
        });
        let keeper = KeeperShell::open(
            &self.disk,
            self.shape.room.clone(),
            &journals,
            holds.collect(),
            self.mutation,
        )?;
        self.started = self.clock.now().monotonic;
        self.node = Some(Node {
            journals,
            internal,
            keeper,
            lanes,
        });
        Ok(())
    }

    /// The record of every lane, which stands where the oracle knows it to stand durably, or later.
    fn open_records(&mut self) -> io::Result<Vec<OpenedCursor>> {
        let dir = Path::new("/d/cursors");
        self.disk.create_dir_all(dir)?;
        let mut records = Vec::new();
        for (stream, journal) in self.pairs() {
            let id = journal_id(journal);
            let path = record_path(stream, journal);
            let opened = CursorRecord::open(&self.disk, &path, id, [7; 16])?;
            let durable = self.oracle.lanes[stream][journal].durable.cursor;
            if let Some(state) = &opened.state {
                promise!(
                    "S4",
                    state.cursor >= durable,
                    "the cursor {durable} was durable, the record has {}",
                    state.cursor
                );
            } else {
                promise!("S4", durable.0 == 0, "the cursor {durable} is forgotten");
            }
            records.push(opened);
        }
        Ok(records)
    }

    fn open_journal(&mut self, journal: usize, cursors_end: Offset) -> io::Result<JournalShell> {
        let files = SegmentFiles {
            disk: Arc::new(self.disk.clone()),
            dir: PathBuf::from(format!("/d/journal/{journal}")),
            journal: journal_id(journal),
            node: [7; 16],
            file_bytes: self.shape.segment_bytes,
            direct: self.shape.direct,
        };
        let catalog = Arc::<Catalog>::default();
        let mut recovered = recover(&files, &catalog, cursors_end)?;
        self.judge_findings(journal, &recovered.findings);
        let next = recovered.start.next;
        let known = self.oracle.journals[journal].end();
        self.trace.note(format!(
            "journal {journal} goes on at {next}, {known} were published"
        ));
        match self.mutation {
            Some(Mutation::RecoveryCutsTooMuch) => {
                rot::cut_last_block(self, journal, &catalog, &mut recovered.start.next);
            }
            Some(Mutation::OffsetsReused) => {
                recovered.start.next.0 = recovered.start.next.0.saturating_sub(1);
            }
            _ => {}
        }
        let next = recovered.start.next;
        promise!(
            "S1",
            next.0 >= known,
            "journal {journal} goes on at {next}, and {known} events were published"
        );
        let counts: Vec<_> = recovered.totals.iter().map(|(_, counts)| *counts).collect();
        let sizes = self.shape.sizes;
        let shell = JournalShell::new(files, catalog, recovered, sizes, self.mutation);
        let start = shell.catalog.start().unwrap_or_default();
        self.oracle.journals[journal].now = self.clock.now().monotonic;
        self.read_all(journal, &shell, start)?;
        let oracle = &mut self.oracle.journals[journal];
        promise!(
            "S1",
            next.0 == oracle.end(),
            "journal {journal} goes on at {next}, and its last event is before {}",
            oracle.end()
        );
        oracle.recovered(counts.iter());
        Ok(shell)
    }

    fn judge_findings(&self, journal: usize, findings: &[Finding]) {
        let oracle = &self.oracle.journals[journal];
        for finding in findings {
            let lost = match finding {
                Finding::TornTail { .. } | Finding::Repaired { .. } => continue,
                Finding::Alien { .. } => {
                    assert!(oracle.headless, "{finding}");
                    continue;
                }
                Finding::Cursor { .. } | Finding::NodeFile { .. } => panic!("{finding}"),
                Finding::Damaged { range, .. } | Finding::Missing { range, .. } => *range,
            };
            promise!(
                "S1",
                oracle.may_be_gone(lost),
                "{finding}; hit was {:?}",
                oracle.damaged
            );
        }
    }

    /// Reads a journal from `from` to its end and compares every byte.
    fn read_all(&mut self, journal: usize, shell: &JournalShell, from: Offset) -> io::Result<()> {
        let mut reader = self.reader(journal, shell);
        let oracle = &mut self.oracle.journals[journal];
        let mut offset = from;
        loop {
            match reader.next(offset)? {
                ReadNext::Block(block) => {
                    told(&block, &mut self.tools, oracle);
                    offset = block.range().end;
                }
                ReadNext::Gap { range, why } => {
                    assert!(range.first == offset && !range.is_empty(), "a gap moves on");
                    promise!(
                        "S1",
                        oracle.may_be_gone(range),
                        "journal {journal}: {range} cannot be read: {why:?}; hit was {:?}",
                        oracle.damaged
                    );
                    offset = range.end;
                }
                ReadNext::End => return Ok(()),
            }
        }
    }

    /// Everything a stream still has to deliver can be read, and is what was sent.
    pub(crate) fn check_pending(&mut self) {
        let Some(node) = self.node.take() else { return };
        for (journal, shell) in node.journals.iter().enumerate() {
            let cursors = node.lanes.iter().map(|lanes| lanes[journal].state().cursor);
            let lowest = cursors.min().unwrap_or_default();
            if let Err(error) = self.read_all(journal, shell, lowest) {
                self.trace.note(format!("check: {:?}", error.kind()));
            }
        }
        for (stream, lanes) in node.lanes.iter().enumerate() {
            for (journal, lane) in lanes.iter().enumerate() {
                let oracle = &mut self.oracle.lanes[stream][journal];
                oracle.balances(&self.oracle.journals[journal], lane.state());
            }
        }
        if let Err(error) = node.internal.check(&self.oracle.internal) {
            self.trace
                .note(format!("check of records: {:?}", error.kind()));
        }
        self.node = Some(node);
    }

    fn reader(&self, journal: usize, shell: &JournalShell) -> Reader {
        let (catalog, tail) = (Arc::clone(&shell.catalog), Arc::clone(&shell.tail));
        let disk = Arc::new(self.disk.clone());
        Reader::new(journal_id(journal), disk, self.shape.direct, catalog, tail)
    }

    /// Gives a journal's shard its turn.
    pub(crate) fn turn(&mut self, journal: usize) {
        let idle_core = !self.quiet && self.random.percent(30);
        if let Some(node) = &mut self.node {
            let oracle = &mut self.oracle.journals[journal];
            oracle.now = self.clock.now().monotonic;
            node.journals[journal].turn(&mut self.tools, oracle, idle_core);
        }
    }

    /// The reject records of all journals go to the internal journal's queue.
    pub(crate) fn hand_over(&mut self) {
        let Some(node) = &mut self.node else { return };
        for (journal, shell) in node.journals.iter_mut().enumerate() {
            for (ticket, lines) in std::mem::take(&mut shell.records) {
                let writer = Writer::Shard { journal, ticket };
                shell.unanswered += 1;
                node.internal.hand_over(Records { writer, lines });
            }
        }
    }

    /// The internal journal stores what waits; their writers hear of it.
    pub(crate) fn store_records(&mut self, requests: usize) {
        let Some(node) = &mut self.node else { return };
        for (records, durable) in node.internal.store(requests, &mut self.oracle.internal) {
            self.sync_failed |= !durable;
            let (journal, ticket) = match records.writer {
                Writer::Shard { journal, ticket } => (journal, ticket),
                Writer::Lane { stream, journal } => {
                    let oracle = &mut self.oracle.lanes[stream][journal];
                    node.lanes[stream][journal].answered(durable, oracle);
                    continue;
                }
                Writer::Audit => continue,
            };
            if durable {
                self.oracle.journals[journal].recorded(&records.lines);
            }
            let shell = &mut node.journals[journal];
            shell.unanswered -= 1;
            shell.core.recorded(ticket, durable);
            self.trace
                .note(format!("rejects {ticket} of {journal}: {durable}"));
        }
    }

    /// The keeper has its turn; what it does is judged.
    pub(crate) fn keep(&mut self, look: bool) {
        let now = self.clock.now();
        let Some(node) = &mut self.node else { return };
        if look {
            node.keeper.look();
        }
        for kept in node.keeper.act(&mut node.journals, now) {
            self.trace.note(format!("keeper: {kept:?}"));
            match kept {
                Kept::Opened { opened, .. } => self.sync_failed |= !opened,
                Kept::Taken { journal, end, .. } => {
                    for (stream, lanes) in self.oracle.lanes.iter().enumerate() {
                        let cursor = lanes[journal].durable.cursor;
                        promise!(
                            "S1",
                            cursor >= end,
                            "{journal} is taken up to {end}, and stream {stream} is at {cursor}"
                        );
                    }
                    let oracle = &mut self.oracle.journals[journal];
                    oracle.retained_from = oracle.retained_from.max(end.0);
                }
                Kept::Discard {
                    journal,
                    stream,
                    to,
                    reason,
                } => {
                    let policy = &self.shape.policies[stream];
                    let sent = self.oracle.journals[journal].sent_at(to);
                    let held = now.monotonic - sent;
                    // Behind a jump that nobody saw, or that is an hour old, ages are what the
                    // wall clock says.
                    let believed = |at: &&Duration| {
                        **at <= self.started || now.monotonic - **at >= PAUSE_AFTER_JUMP
                    };
                    let mut jumps = self.jumps.iter().filter(|at| **at >= sent);
                    let jumped = jumps.any(|at| believed(&at));
                    let allowed = match reason {
                        DiscardReason::JournalFull => policy.when_full == WhenFull::DiscardOldest,
                        DiscardReason::BacklogMax => policy.backlog_bytes_max.is_some(),
                        DiscardReason::HoldMax => {
                            policy.hold_max.is_some_and(|max| held >= max || jumped)
                        }
                        DiscardReason::Damaged | DiscardReason::Missing => false,
                    };
                    promise!(
                        "S1",
                        allowed,
                        "{journal}: stream {stream} is told to give up what is below {to}, sent {held:?} ago, by {reason:?}; {policy:?}"
                    );
                }
                Kept::Other(_) => {}
            }
        }
    }

    /// The spare that is being made is done.
    pub(crate) fn finish_spare(&mut self) {
        let Some(node) = &mut self.node else { return };
        if let Some(made) = node.keeper.finish_spare(&mut node.journals) {
            self.sync_failed |= !made;
            self.trace.note(format!("a spare is made: {made}"));
        }
    }

    /// One step of a lane; `well` destinations accept.
    pub(crate) fn lane(&mut self, stream: usize, journal: usize, well: bool) -> Came {
        let refuses = stream == 1 && self.steps < self.shape.refuses_until;
        let dead = self.shape.dead_stream == Some(stream);
        let Some(node) = &mut self.node else {
            return Came::Done;
        };
        let mut lanes = node.lanes.iter().flatten();
        if self.mutation == Some(Mutation::OneHangsAllHang) && lanes.any(LaneShell::hangs) {
            return Came::Hangs;
        }
        let random = &mut self.random;
        let mut audit = None;
        let mut reply = |events: u64| match random.below(100) {
            chance if dead => Reply::Hang {
                has_it: chance < 50,
            },
            _ if well => Reply::Accept,
            _ if refuses => Reply::Fail,
            0..60 => Reply::Accept,
            60..72 => Reply::Fail,
            72..80 => Reply::AcceptUnheard,
            80..84 => Reply::Late,
            84..93 if events > 1 => Reply::Split,
            93..97 => Reply::Hang {
                has_it: random.percent(50),
            },
            _ => Reply::Accept,
        };
        let came = node.lanes[stream][journal].step(&mut Around {
            encoder: &mut self.encoder,
            oracle: &mut self.oracle.lanes[stream][journal],
            journal: &self.oracle.journals[journal],
            now: self.clock.now().monotonic,
            late: &mut self.late[stream][journal],
            audit: &mut audit,
            reply: &mut reply,
        });
        if let Some(range) = audit {
            self.told += 1;
            let lines = format!("{{\"audit\":{},\"lost\":\"{range}\"}}\n", self.told);
            node.internal.hand_over(Records {
                writer: Writer::Lane { stream, journal },
                lines: lines.into_bytes(),
            });
        }
        let state = node.lanes[stream][journal].state();
        let oracle = &mut self.oracle.lanes[stream][journal];
        oracle.balances(&self.oracle.journals[journal], state);
        self.trace
            .note(format!("stream {stream} in {journal}: {came:?}"));
        came
    }

    /// Every stream in every journal.
    pub(crate) fn pairs(&self) -> Vec<(usize, usize)> {
        let journals = self.shape.journals;
        let pairs = (0..self.shape.streams)
            .flat_map(|stream| (0..journals).map(move |journal| (stream, journal)));
        pairs.collect()
    }

    /// Power is lost, with whatever was under way.
    pub(crate) fn lose_power(&mut self) {
        if let Some(mut node) = self.node.take() {
            for shell in &mut node.journals {
                while !shell.out.is_empty() {
                    let at = self.random.index(shell.out.len());
                    match self.random.below(3) {
                        0 => shell.leave_unsynced(at),
                        1 => shell.leave_synced(at),
                        _ => drop(shell.out.remove(at)),
                    }
                }
            }
        }
        self.trace.note("power is lost".to_owned());
        self.end();
        self.disk.crash(self.random.next());
        self.sync_failed = false;
    }
}

impl Shape {
    fn drawn(random: &mut Random) -> Self {
        let steps = 150 + random.below(350);
        let streams = random.pick(&[1, 2, 2, 3]);
        let large_bodies = if random.percent(6) { 2 } else { 0 };
        let batch = |random: &mut Random| BatchLimits {
            // Every batch of part of a block inflates the block: large ones go out in few.
            bytes_max: match large_bodies {
                0 => 300 + random.below(20_000),
                _ => 100_000 + random.below(500_000),
            },
            age_max: Duration::from_millis(random.pick(&[1, 50, 1_000])),
            records_max: (large_bodies == 0 && random.percent(40)).then(|| 1 + random.below(20)),
        };
        let segment_bytes = random.pick(&[64, 64, 128, 256]) * 1024;
        let segments = random.pick(&[6, 8, 12, 100]);
        let room = RoomSettings {
            bytes_max: RoomLimit::Bytes(segments * segment_bytes),
            free_bytes_min: 0,
            keep: random.pick(&[None, Some(0), Some(60), Some(7 * 24 * 60)].map(minutes)),
        };
        Self {
            journals: random.pick(&[1, 2, 2]),
            streams,
            segment_bytes,
            direct: random.percent(70),
            sizes: Sizes {
                tail_bytes_max: random.pick(&[1, 10_000, 100_000]),
                write_bytes_max: random.pick(&[4_096, 16_384, 65_536]),
                pending_bytes_max: random.pick(&[8_192, 65_536]),
            },
            batches: (0..streams).map(|_| batch(random)).collect(),
            room,
            policies: (0..streams)
                .map(|_| policy(random, segment_bytes))
                .collect(),
            compression: random.pick(&[Compression::Gzip, Compression::Identity]),
            steps,
            refuses_until: random.below(steps),
            dead_stream: (streams > 1 && random.percent(25)).then(|| random.index(streams)),
            large_bodies,
        }
    }
}

fn minutes(minutes: Option<u64>) -> Option<Duration> {
    minutes.map(Duration::from_mins)
}

fn policy(random: &mut Random, segment_bytes: u64) -> HoldPolicy {
    HoldPolicy {
        when_full: random.pick(&[WhenFull::Block, WhenFull::DiscardOldest]),
        hold_max: random.pick(&[None, Some(1), Some(7 * 24 * 60)].map(minutes)),
        backlog_bytes_max: random
            .percent(20)
            .then(|| random.pick(&[1, 3]) * segment_bytes),
    }
}

pub(crate) fn journal_id(journal: usize) -> JournalId {
    JournalId(u16::try_from(journal).expect("two journals"))
}

pub(crate) fn record_path(stream: usize, journal: usize) -> PathBuf {
    let name = cursor::file_name(&format!("stream-{stream}"), journal_id(journal));
    Path::new("/d/cursors").join(name)
}
