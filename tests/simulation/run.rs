//! One run: a node's state machines on the memory disk, and a seed that says what happens
//! to them. Faults first; then none, and the backlog has to drain.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use weir::batch::Compression;
use weir::block::codec::{CompressionLevel, Inflater, best_codec};
use weir::journal::cursor::{self, CursorRecord};
use weir::journal::reader::{ReadNext, Reader};
use weir::journal::recovery::{Finding, recover};
use weir::journal::segments::{Catalog, SegmentFiles};
use weir::os::clock::{Clock as _, FakeClock};
use weir::os::disk::Disk as _;
use weir::os::memory_disk::{DiskOperation, MemoryDisk};
use weir::position::{JournalId, Offset, OffsetRange, Timestamp};
use weir::stream::encode::Encoder;
use weir::stream::settings::BatchLimits;

use crate::faults;
use crate::journal_shell::{JournalShell, Sizes, Tools, told};
use crate::lane_shell::{Came, LaneShell, Reply};
use crate::oracle::{JournalOracle, LaneOracle, Oracle};
use crate::random::Random;
use crate::trace::Trace;

pub(crate) const JOURNALS: usize = 2;
pub(crate) const STREAMS: usize = 2;

/// Rounds after the last fault within which everything is delivered and recorded. A round
/// gives every part one turn; a lane needs one for what is due and one for its last record.
const DRAIN_ROUNDS_MAX: usize = 24;

/// Steps a lane may take in one such round before it waits.
const LANE_STEPS_MAX: usize = 20_000;

pub(crate) struct Run {
    pub(crate) random: Random,
    pub(crate) trace: Trace,
    pub(crate) disk: MemoryDisk,
    pub(crate) clock: FakeClock,
    pub(crate) oracle: Oracle,
    pub(crate) node: Option<Node>,
    pub(crate) tools: Tools,
    encoder: Encoder,
    shape: Shape,
    pub(crate) steps: u64,
    /// A sync failed since the last crash: what the disk shows need not be what it has.
    pub(crate) sync_failed: bool,
}

/// What the seed decides once.
#[derive(Debug, Clone)]
struct Shape {
    segment_bytes: u64,
    direct: bool,
    sizes: Sizes,
    batches: [BatchLimits; STREAMS],
    compression: Compression,
    steps: u64,
    refuses_until: u64,
    quiet: bool,
}

pub(crate) struct Node {
    pub(crate) journals: Vec<JournalShell>,
    /// By stream, then by journal.
    pub(crate) lanes: Vec<Vec<LaneShell>>,
}

impl Run {
    pub(crate) fn new(seed: u64, trace: Trace) -> Self {
        let mut random = Random::new(seed);
        let shape = Shape::drawn(&mut random);
        trace.note(format!("{shape:?}"));
        let journals = (0..JOURNALS).map(|_| JournalOracle::default()).collect();
        let lanes = || (0..JOURNALS).map(|_| LaneOracle::default()).collect();
        Self {
            random,
            trace,
            disk: MemoryDisk::new(),
            clock: FakeClock::at(Timestamp(1_700_000_000_000_000)),
            oracle: Oracle {
                journals,
                lanes: (0..STREAMS).map(|_| lanes()).collect(),
            },
            node: None,
            tools: Tools {
                codec: best_codec(CompressionLevel::FASTEST),
                scratch: Vec::new(),
                inflater: Inflater::new(),
            },
            encoder: Encoder::new(best_codec(CompressionLevel::FASTEST)),
            shape,
            steps: 0,
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
        self.drain();
        self.stop();
        self.start();
        self.drain();
        self.trace.note("end".to_owned());
    }

    /// Starts the node; what the disk refuses is tried again, now and then after a crash.
    pub(crate) fn start(&mut self) {
        for attempt in 0.. {
            match self.open() {
                Ok(()) => return,
                Err(error) => self.trace.note(format!("start fails: {:?}", error.kind())),
            }
            assert!(attempt < 20, "the node starts when the disk lets it");
            self.sync_failed = true;
            if self.random.percent(50) {
                self.lose_power();
            }
        }
    }

    /// As `node::open`: records first, then journals, then lanes.
    fn open(&mut self) -> io::Result<()> {
        self.node = None;
        let dir = Path::new("/d/cursors");
        self.disk.create_dir_all(dir)?;
        let mut records = Vec::new();
        for stream in 0..STREAMS {
            for journal in 0..JOURNALS {
                let id = journal_id(journal);
                let path = record_path(stream, journal);
                let opened = CursorRecord::open(&self.disk, &path, id, [7; 16])?;
                let lane = &self.oracle.lanes[stream][journal];
                if let Some(state) = &opened.state {
                    assert!(
                        state.cursor >= lane.durable.cursor,
                        "a durable cursor is never forgotten"
                    );
                    assert!(state.balances(), "{state:?}");
                }
                records.push(opened);
            }
        }
        let mut journals = Vec::new();
        for journal in 0..JOURNALS {
            let ends = records.iter().skip(journal).step_by(JOURNALS);
            let ends = ends.filter_map(|opened| opened.state.as_ref());
            let cursors_end = ends.map(|state| state.cursor).max().unwrap_or_default();
            journals.push(self.open_journal(journal, cursors_end)?);
        }
        let mut lanes: Vec<Vec<LaneShell>> = Vec::new();
        for stream in 0..STREAMS {
            let name: Arc<str> = format!("stream-{stream}").into();
            let mut of_stream = Vec::new();
            for (journal, shell) in journals.iter().enumerate() {
                let lane = LaneShell::open(
                    &name,
                    journal_id(journal),
                    self.shape.batches[stream],
                    self.shape.compression,
                    records.remove(0),
                    self.reader(journal, shell),
                )?;
                self.oracle.lanes[stream][journal].durable = lane.state().clone();
                of_stream.push(lane);
            }
            lanes.push(of_stream);
        }
        self.node = Some(Node { journals, lanes });
        Ok(())
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
        let recovered = recover(&files, &catalog, cursors_end)?;
        self.judge_findings(journal, &recovered.findings);
        let next = recovered.start.next;
        let known = self.oracle.journals[journal].end();
        self.trace.note(format!(
            "journal {journal} goes on at {next}, {known} were published"
        ));
        assert!(next.0 >= known, "published events survive");
        let counts: Vec<_> = recovered.totals.iter().map(|(_, counts)| *counts).collect();
        let shell = JournalShell::new(files, catalog, recovered, self.shape.sizes)?;
        let start = shell.catalog.start().unwrap_or_default();
        self.read_all(journal, &shell, start)?;
        let oracle = &self.oracle.journals[journal];
        assert_eq!(
            next.0,
            oracle.end(),
            "the journal goes on behind its last event"
        );
        if oracle.damaged.is_empty() {
            oracle.totals(&counts);
        }
        Ok(shell)
    }

    fn judge_findings(&self, journal: usize, findings: &[Finding]) {
        let oracle = &self.oracle.journals[journal];
        for finding in findings {
            let lost = match finding {
                Finding::TornTail { .. } | Finding::Repaired { .. } => continue,
                Finding::Alien { .. } | Finding::Cursor { .. } | Finding::NodeFile { .. } => {
                    panic!("{finding}")
                }
                Finding::Damaged { range, .. } | Finding::Missing { range, .. } => *range,
            };
            assert!(
                lost.end.0 <= oracle.retained_from || oracle.may_be_damaged(lost),
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
                    assert!(
                        range.end.0 <= oracle.retained_from || oracle.may_be_damaged(range),
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
                assert!(lane.state().balances());
                self.oracle.lanes[stream][journal].passed(lane.state().cursor.0);
            }
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
        let idle_core = !self.shape.quiet && self.random.percent(30);
        if let Some(node) = &mut self.node {
            let oracle = &mut self.oracle.journals[journal];
            node.journals[journal].turn(&mut self.tools, oracle, idle_core);
        }
    }

    /// One step of a lane; `well` destinations accept.
    pub(crate) fn lane(&mut self, stream: usize, journal: usize, well: bool) -> Came {
        let refuses = stream == 1 && self.steps < self.shape.refuses_until;
        let Some(node) = &mut self.node else {
            return Came::Done;
        };
        let random = &mut self.random;
        let mut reply = |events: u64| match random.below(100) {
            _ if well => Reply::Accept,
            _ if refuses => Reply::Fail,
            0..60 => Reply::Accept,
            60..75 => Reply::Fail,
            75..85 => Reply::AcceptUnheard,
            85..95 if events > 1 => Reply::Split,
            95..98 => Reply::Hang {
                has_it: random.percent(50),
            },
            _ => Reply::Accept,
        };
        let came = node.lanes[stream][journal].step(
            &mut self.encoder,
            &mut self.oracle.lanes[stream][journal],
            &self.oracle.journals[journal],
            self.clock.now().monotonic,
            &mut reply,
        );
        self.trace
            .note(format!("stream {stream} in {journal}: {came:?}"));
        came
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
        self.disk.crash(self.random.next());
        self.sync_failed = false;
    }

    /// An orderly stop, as far as the disk allows.
    pub(crate) fn stop(&mut self) {
        for _ in 0..DRAIN_ROUNDS_MAX {
            self.journals_round();
        }
        let Some(mut node) = self.node.take() else {
            return;
        };
        for (journal, shell) in node.journals.iter_mut().enumerate() {
            let oracle = &mut self.oracle.journals[journal];
            shell.core.close();
            shell.turn(&mut self.tools, oracle, false);
            while let Some(order) = shell.seals.pop_front() {
                self.sync_failed |= shell.files.seal(&order).is_err();
            }
        }
        for (stream, lanes) in node.lanes.iter_mut().enumerate() {
            for (journal, lane) in lanes.iter_mut().enumerate() {
                lane.record_last(&mut self.oracle.lanes[stream][journal]);
            }
        }
        self.trace.note("stopped".to_owned());
    }

    /// Every journal does all it can, once.
    fn journals_round(&mut self) {
        let now = self.clock.now();
        for journal in 0..JOURNALS {
            if let Some(node) = &mut self.node {
                let shell = &mut node.journals[journal];
                shell.gather.close();
                shell.paused = false;
                while !shell.handed_out.is_empty() {
                    shell.compress_elsewhere(0, &mut self.tools);
                }
                self.sync_failed |= !shell.serve_order(now.wall);
                while !shell.out.is_empty() {
                    self.sync_failed |= !shell.complete(0);
                }
                while let Some(order) = shell.seals.pop_front() {
                    self.sync_failed |= shell.files.seal(&order).is_err();
                }
                for (ticket, lines) in std::mem::take(&mut shell.records) {
                    self.oracle.journals[journal].recorded(&lines);
                    shell.core.recorded(ticket, true);
                }
            }
            self.turn(journal);
        }
    }

    /// No more faults: everything has to be delivered and recorded within so many rounds.
    fn drain(&mut self) {
        faults::heal(&self.disk);
        self.shape.quiet = true;
        if let Some(node) = &mut self.node {
            for lane in node.lanes.iter_mut().flatten() {
                lane.break_off(self.clock.now().monotonic);
            }
        }
        for round in 0..DRAIN_ROUNDS_MAX {
            self.journals_round();
            for (stream, journal) in pairs() {
                let steps = (0..LANE_STEPS_MAX)
                    .map(|_| self.lane(stream, journal, true))
                    .take_while(|came| !matches!(came, Came::Waits(_) | Came::Done))
                    .count();
                assert!(steps < LANE_STEPS_MAX, "a lane turns in circles");
            }
            self.clock.advance(Duration::from_secs(2));
            if self.is_drained() {
                self.trace.note(format!("drained in round {round}"));
                self.check_pending();
                return;
            }
        }
        panic!("the backlog does not drain in {DRAIN_ROUNDS_MAX} rounds");
    }

    fn is_drained(&self) -> bool {
        let Some(node) = &self.node else { return false };
        node.journals.iter().all(JournalShell::is_idle)
            && pairs().all(|(stream, journal)| {
                let end = self.oracle.journals[journal].end();
                let durable = &self.oracle.lanes[stream][journal].durable;
                node.lanes[stream][journal].state().cursor.0 == end
                    && durable.cursor.0 == end
                    && durable.cuts.is_empty()
            })
    }
}

impl Shape {
    fn drawn(random: &mut Random) -> Self {
        let batch = |random: &mut Random| BatchLimits {
            bytes_max: 300 + random.below(20_000),
            age_max: Duration::from_millis(random.pick(&[1, 50, 1_000])),
            records_max: random.percent(40).then(|| 1 + random.below(20)),
        };
        let steps = 150 + random.below(350);
        Self {
            segment_bytes: random.pick(&[64, 64, 128, 256]) * 1024,
            direct: random.percent(70),
            sizes: Sizes {
                tail_bytes_max: random.pick(&[1, 10_000, 100_000]),
                write_bytes_max: random.pick(&[4_096, 16_384, 65_536]),
                pending_bytes_max: random.pick(&[8_192, 65_536]),
            },
            batches: [batch(random), batch(random)],
            compression: random.pick(&[Compression::Gzip, Compression::Identity]),
            steps,
            refuses_until: random.below(steps),
            quiet: false,
        }
    }
}

fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..STREAMS).flat_map(|stream| (0..JOURNALS).map(move |journal| (stream, journal)))
}

pub(crate) fn journal_id(journal: usize) -> JournalId {
    JournalId(u16::try_from(journal).expect("two journals"))
}

pub(crate) fn record_path(stream: usize, journal: usize) -> PathBuf {
    let name = cursor::file_name(&format!("stream-{stream}"), journal_id(journal));
    Path::new("/d/cursors").join(name)
}

/// Used by the faults: the lowest durable cursor in a journal.
pub(crate) fn lowest_durable(oracle: &Oracle, journal: usize) -> Offset {
    let cursors = oracle
        .lanes
        .iter()
        .map(|lanes| lanes[journal].durable.cursor);
    cursors.min().unwrap_or_default()
}

/// A range of offsets.
pub(crate) fn range(first: Offset, end: Offset) -> OffsetRange {
    OffsetRange { first, end }
}

/// Which call of the disk fails next, and how.
pub(crate) fn fail(disk: &MemoryDisk, random: &mut Random, among: &[DiskOperation]) -> String {
    let operation = random.pick(among);
    let kind = random.pick(&[io::ErrorKind::Other, io::ErrorKind::StorageFull]);
    disk.fail_next(operation, kind, 1);
    format!("{operation:?} {kind:?}")
}
