//! Opening a node: bind, take the data directory, recover, and only then start threads.

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::audit::Notice;
use crate::batch::CursorState;
use crate::config::plan::{InputPlan, Plan, StreamPlan};
use crate::event::InputId;
use crate::ingest::settings::InputSettings;
use crate::journal::cursor::{self, CursorRecord, OpenedCursor};
use crate::journal::inspect::cursors::read_cursors;
use crate::journal::internal::{InternalCounters, InternalJournal};
use crate::journal::keeper::Hold;
use crate::journal::reader::{ReadNext, Reader};
use crate::journal::recovery::{Finding, Recovered, recover};
use crate::journal::segments::{Catalog, SegmentFiles};
use crate::journal::tail::Tail;
use crate::node::StartError;
use crate::node::delivery::{LaneParts, status_of};
use crate::node::findings;
use crate::node::identity::Identity;
use crate::os::clock::{Clock, SystemClock};
use crate::os::disk::{Disk, OpenMode};
use crate::os::real_disk::RealDisk;
use crate::os::{limits, sockets};
use crate::position::{JournalId, Offset, Timestamp};
use crate::stream::settings::{AuditChoice, StartAt};

/// Length of a segment of the internal journal.
const INTERNAL_SEGMENT_BYTES: u64 = 1024 * 1024;

/// Descriptors kept from connections for the node itself: sockets, rings, pipes, the log.
const FILES_KEPT: usize = 48;

/// Descriptors a stream, or the writer, needs in a journal: segments, records, files, sockets.
const FILES_PER_LANE: usize = 4;

/// A node that has recovered and is bound, and takes no event yet.
#[derive(Debug)]
pub struct OpenNode {
    pub(super) plan: Plan,
    /// The plan as it was given, before it was fitted to this machine and data directory.
    pub(super) configured: Plan,
    pub(super) identity: Identity,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) direct: bool,
    pub(super) listeners: Vec<TcpListener>,
    pub(super) admin: TcpListener,
    pub(super) journals: Vec<OpenJournal>,
    pub(super) internal: InternalJournal,
    pub(super) internal_counters: Arc<InternalCounters>,
    pub(super) lanes: Vec<Vec<LaneParts>>,
    /// What was found that an auditor must learn of.
    pub(super) findings: Vec<Notice>,
}

#[derive(Debug)]
pub(super) struct OpenJournal {
    pub(super) files: SegmentFiles,
    pub(super) catalog: Arc<Catalog>,
    pub(super) tail: Arc<Tail>,
    pub(super) recovered: Recovered,
}

/// Binds, takes the data directory and recovers.
///
/// # Errors
/// [`StartError`] names what is in the way and what to do about it.
pub fn open(mut plan: Plan) -> Result<OpenNode, StartError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let configured = plan.clone();
    fit_connections(&mut plan);
    let listeners = bind_inputs(&plan)?;
    let admin = sockets::listen(plan.admin_listen).map_err(|error| StartError::Listen {
        what: "admin listener".to_owned(),
        error,
    })?;
    let identity = take_directory(&*disk, &mut plan)?;
    let direct = plan.journal.direct_io && takes_direct_io(&*disk, &plan.journal.dir)?;
    // None of them is of a journal.
    let of_identity = |finding| findings::notice_of(JournalId::INTERNAL, finding);
    let mut findings: Vec<Notice> = identity.findings.iter().map(of_identity).collect();
    let records = open_records(&*disk, &plan, &identity, &mut findings)?;
    // Those of streams that are not in the configuration say as well what was durable.
    let cursors_dir = plan.data_dir.join("cursors");
    let cursors = read_cursors(&*disk, &cursors_dir, identity.node)
        .map_err(on_disk("read the cursor records", &cursors_dir))?;
    let mut journals = Vec::new();
    for number in 0..identity.journals {
        let files = segment_files(&plan, &disk, &identity, JournalId(number), direct);
        let cursors_end = cursors.end_in(files.journal);
        let tail_bytes_max = plan.journal.tail_bytes_max;
        journals.push(open_journal(
            files,
            cursors_end,
            tail_bytes_max,
            &mut findings,
        )?);
    }
    let internal_counters = Arc::<InternalCounters>::default();
    let internal_files = SegmentFiles {
        file_bytes: INTERNAL_SEGMENT_BYTES,
        ..segment_files(&plan, &disk, &identity, JournalId::INTERNAL, direct)
    };
    let end = cursors.end_in(JournalId::INTERNAL);
    let internal = open_internal(
        internal_files,
        end,
        &clock,
        &internal_counters,
        &mut findings,
    )?;
    let read = LaneOpener {
        journals: &journals,
        internal: &internal,
        disk: &disk,
        direct,
    };
    let mut lanes = Vec::new();
    for (stream, opened) in plan.streams.iter().zip(records) {
        lanes.push(read.open_all(stream, opened)?);
    }
    Ok(OpenNode {
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
}

pub(super) fn input_settings(input: &InputPlan) -> &InputSettings {
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

/// Lowers `connections_max` where the process may not open so many files: connections that
/// took the last descriptor would keep the journal from its next segment.
fn fit_connections(plan: &mut Plan) {
    let now = match limits::raise_open_files() {
        Ok(limit) => limit.now,
        Err(error) => {
            tracing::warn!(%error, "raise the limit of open files");
            return;
        }
    };
    let Some(open_files_max) = now.and_then(|now| usize::try_from(now).ok()) else {
        return;
    };
    let journals = plan.journals + 1;
    let kept = FILES_KEPT + FILES_PER_LANE * journals * (plan.streams.len() + 1);
    let share = open_files_max.saturating_sub(kept) / plan.inputs.len().max(1);
    for input in &mut plan.inputs {
        let (name, connections_max) = match input {
            InputPlan::Tcp(tcp) => (&tcp.input.name, &mut tcp.connections_max),
            InputPlan::Http(http) => (&http.input.name, &mut http.connections_max),
        };
        if *connections_max > share {
            tracing::warn!(
                input = name,
                connections_max,
                open_files_max,
                "the limit of open files allows fewer connections: {share}; raise LimitNOFILE or lower connections_max"
            );
            *connections_max = share.max(1);
        }
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

pub(super) fn on_disk(what: &str, path: &Path) -> impl FnOnce(io::Error) -> StartError + use<> {
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
    for finding in &identity.findings {
        tracing::warn!("{finding}");
    }
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
    cursors_end: Offset,
    clock: &Arc<dyn Clock>,
    counters: &Arc<InternalCounters>,
    notices: &mut Vec<Notice>,
) -> Result<InternalJournal, StartError> {
    let dir = files.dir.clone();
    let (clock, counters) = (Arc::clone(clock), Arc::clone(counters));
    let opened = InternalJournal::open(files, cursors_end, clock, counters);
    let (internal, findings) = opened.map_err(on_disk("open the internal journal", &dir))?;
    tell_findings(JournalId::INTERNAL, &findings, notices);
    Ok(internal)
}

fn tell_findings(journal: JournalId, findings: &[Finding], notices: &mut Vec<Notice>) {
    for finding in findings {
        tracing::warn!(%journal, "{finding}");
        notices.push(findings::notice_of(journal, finding));
    }
}

fn open_journal(
    files: SegmentFiles,
    cursors_end: Offset,
    tail_bytes_max: usize,
    notices: &mut Vec<Notice>,
) -> Result<OpenJournal, StartError> {
    let catalog = Arc::<Catalog>::default();
    let recovered = recover(&files, &catalog, cursors_end)
        .map_err(on_disk("recover the journal", &files.dir))?;
    tell_findings(files.journal, &recovered.findings, notices);
    let tail = Arc::new(Tail::new(tail_bytes_max, recovered.start.next));
    Ok(OpenJournal {
        files,
        catalog,
        tail,
        recovered,
    })
}

/// A cursor record and the journal it is of.
struct OpenedLane {
    journal: JournalId,
    opened: OpenedCursor,
}

/// The journals a stream reads, of a node with so many besides the internal one.
fn journals_of(stream: &StreamPlan, journals: u16) -> Vec<JournalId> {
    let numbered = (0..journals).map(JournalId);
    match stream.stream.audit {
        AuditChoice::None => numbered.collect(),
        AuditChoice::With => numbered.chain([JournalId::INTERNAL]).collect(),
        AuditChoice::Only => vec![JournalId::INTERNAL],
    }
}

/// Opens the cursor records of all streams: for each stream one a journal.
fn open_records(
    disk: &dyn Disk,
    plan: &Plan,
    identity: &Identity,
    notices: &mut Vec<Notice>,
) -> Result<Vec<Vec<OpenedLane>>, StartError> {
    let dir: PathBuf = plan.data_dir.join("cursors");
    disk.create_dir_all(&dir)
        .map_err(on_disk("make the cursors' directory", &dir))?;
    warn_of_streams_gone(disk, plan, &dir);
    let mut open_one = |stream: &StreamPlan, journal: JournalId| {
        let name = &stream.stream.name;
        let path = dir.join(cursor::file_name(name, journal));
        let opened = CursorRecord::open(disk, &path, journal, identity.node)
            .map_err(on_disk("open a cursor record", &dir))?;
        if let Some(finding) = opened.finding() {
            tracing::error!("{finding}");
            notices.push(findings::notice_of(journal, &finding));
        }
        Ok(OpenedLane { journal, opened })
    };
    let streams = plan.streams.iter();
    streams
        .map(|stream| {
            let journals = journals_of(stream, identity.journals).into_iter();
            journals.map(|journal| open_one(stream, journal)).collect()
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

/// What lanes are opened with.
struct LaneOpener<'a> {
    journals: &'a [OpenJournal],
    internal: &'a InternalJournal,
    disk: &'a Arc<dyn Disk>,
    direct: bool,
}

impl LaneOpener<'_> {
    fn open_all(
        &self,
        stream: &StreamPlan,
        opened: Vec<OpenedLane>,
    ) -> Result<Vec<LaneParts>, StartError> {
        let lanes = opened.into_iter();
        lanes.map(|lane| self.open(stream, lane)).collect()
    }

    fn open(&self, stream: &StreamPlan, lane: OpenedLane) -> Result<LaneParts, StartError> {
        let OpenedLane {
            journal,
            opened:
                OpenedCursor {
                    mut record,
                    state,
                    damage,
                },
        } = lane;
        let mut reader = self.reader(journal);
        let state = match state {
            Some(state) => state,
            None => {
                // A record that was there and does not hold says nothing of where it was: the
                // stream begins with all there is, which may repeat events but loses none.
                let from = damage.map_or(stream.stream.from, |_| StartAt::Start);
                let start = start_of(&mut reader, from)
                    .map_err(on_disk("read the journal for the start of", record.path()))?;
                let state = CursorState {
                    start,
                    cursor: start,
                    ..CursorState::default()
                };
                // Twice, so that from the start one slot stands in for the other.
                for _slot in 0..2 {
                    record
                        .write(&state)
                        .map_err(|error| on_disk("write the record", record.path())(error))?;
                }
                state
            }
        };
        let name = Arc::clone(&stream.stream.name);
        let hold = Arc::new(Hold::new(name, stream.hold.clone(), state.cursor));
        let status = Arc::new(ArcSwap::from_pointee(status_of(journal, &state)));
        Ok(LaneParts {
            journal,
            state,
            record,
            reader,
            status,
            hold,
        })
    }

    fn reader(&self, journal: JournalId) -> Reader {
        let numbered = self
            .journals
            .iter()
            .find(|known| known.files.journal == journal);
        let (catalog, tail) = match numbered {
            Some(known) => (&known.catalog, &known.tail),
            None => (self.internal.catalog(), self.internal.tail()),
        };
        let (catalog, tail) = (Arc::clone(catalog), Arc::clone(tail));
        Reader::new(journal, Arc::clone(self.disk), self.direct, catalog, tail)
    }
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
