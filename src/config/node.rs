//! From the sections of the node, and from inputs and streams, to the whole plan.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;

use super::budget::Budget;
use super::inputs::{Inputs, check_addresses, check_listener};
use super::keys::{self, SectionSpec};
use super::plan::Plan;
use super::reader::report::{Given, Place, Report};
use super::reader::{Section, find_table};
use super::rules::read_exclusions;
use super::streams::StreamReader;
use super::{Environment, check_order};
use crate::journal::settings::{JournalSettings, RoomLimit, RoomSettings};
use crate::limits::DISK_PAGE_BYTES;
use crate::shard::settings::ShardSettings;

/// The plan of the tables. `None` only when a mistake was reported.
pub(super) fn read_plan<'i>(
    report: &Report<'i>,
    root: &DeTable<'i>,
    environment: &Environment,
) -> Option<Plan> {
    let node = Node::read(report, root, environment)?;
    let journal = Journal::read(report, root)?;
    let admin_listen = read_admin(report, root);
    let inputs = Inputs::read(report, root, admin_listen.clone());
    check_addresses(report, &inputs.listens);
    let exclusions = read_exclusions(report, root);
    let streams = StreamReader {
        report,
        environment,
        node: &node,
        journal: &journal,
        takes_relayed: inputs.take_relayed(),
    };
    let streams = streams.read(root);
    let budget = Budget {
        report,
        node: &node,
        journal: &journal,
        inputs: &inputs.plans,
        streams: &streams,
    };
    let memory_bytes_max = budget.read_memory(section(report, root, &keys::node::MEMORY));
    budget.check_segments();
    budget.check_room();
    Some(Plan {
        memory_bytes_max,
        drain_timeout: node.drain_timeout,
        shard: ShardSettings {
            count: node.shards.value,
            pin: node.pin,
            io_uring: node.io_uring,
            commit_interval: journal.commit_interval,
            commit_interval_idle: journal.commit_interval_idle,
        },
        journals: node.journals.value,
        journal: JournalSettings {
            dir: node.data_dir.join("journal"),
            segment_bytes: journal.segment_bytes.value,
            tail_bytes_max: journal.tail_bytes_max.value,
            pending_bytes_max: journal.pending_bytes_max.value,
            write_bytes_max: WRITE_BYTES_MAX,
            spares: journal.spares.value,
            direct_io: journal.direct_io,
        },
        room: RoomSettings {
            bytes_max: journal.bytes_max.value,
            free_bytes_min: journal.free_bytes_min,
            keep: journal.keep,
        },
        admin_listen: admin_listen?.value,
        inputs: inputs.plans,
        exclusions,
        streams,
        data_dir: node.data_dir,
    })
}

/// Bytes of one durable write. No key: more gains nothing on a disk that was measured, and
/// less costs a sync for each write.
const WRITE_BYTES_MAX: usize = 1 << 20;

/// Most shards a node has by default, and can have.
const SHARDS_MAX: usize = 64;

/// `[node]`, ready for rules that look across sections.
pub(super) struct Node {
    pub(super) data_dir: PathBuf,
    pub(super) shards: Given<usize>,
    pub(super) journals: Given<usize>,
    pin: bool,
    io_uring: bool,
    drain_timeout: Duration,
}

impl Node {
    /// Every key has a default, so the result is `None` only if the table of keys is wrong.
    fn read<'i>(
        report: &Report<'i>,
        root: &DeTable<'i>,
        environment: &Environment,
    ) -> Option<Self> {
        let section = section(report, root, &keys::node::NODE);
        let cores = environment.cores;
        let default = cores.clamp(1, SHARDS_MAX);
        let given = section.count("shards");
        let shards = section.or_computed("shards", given, (default, default.to_string()));
        let given = section.count("journals");
        let default = (shards.value, shards.value.to_string());
        let journals = section.or_computed("journals", given, default);
        if journals.value < shards.value && shards.is_sound() {
            let (key, typed) = (&shards.place.key, &shards.typed);
            report.refuse(
                &journals,
                format!("is below {key} = {typed}, but each shard needs a journal; raise it"),
            );
        }
        let given = section.flag("pin");
        let cores_suffice = shards.value <= cores;
        let pin = section.or_computed("pin", given, (cores_suffice, cores_suffice.to_string()));
        if pin.value && !cores_suffice {
            let shards = shards.value;
            let cores = if cores == 1 {
                "is 1 core".into()
            } else {
                format!("are {cores} cores")
            };
            report.refuse(
                &pin,
                format!(
                    "needs a core for each shard, but there {cores} for {shards} shards; lower \
                     shards or remove pin"
                ),
            );
        }
        let data_dir = section.path("data_dir");
        let io_uring = section.flag("io_uring");
        let drain_timeout = section.span("drain_timeout");
        section.finish();
        Some(Self {
            data_dir: data_dir?.value,
            shards,
            journals,
            pin: pin.value,
            io_uring: io_uring?.value,
            drain_timeout: drain_timeout?.value,
        })
    }
}

/// `[journal]`, ready for rules that look across sections.
pub(super) struct Journal {
    pub(super) segment_bytes: Given<u64>,
    pub(super) tail_bytes_max: Given<usize>,
    pub(super) pending_bytes_max: Given<usize>,
    pub(super) spares: Given<usize>,
    pub(super) bytes_max: Given<RoomLimit>,
    commit_interval: Duration,
    commit_interval_idle: Duration,
    direct_io: bool,
    free_bytes_min: u64,
    keep: Option<Duration>,
}

impl Journal {
    /// Every key has a default, so the result is `None` only if the table of keys is wrong.
    fn read<'i>(report: &Report<'i>, root: &DeTable<'i>) -> Option<Self> {
        let section = section(report, root, &keys::node::JOURNAL);
        let commit_interval = section.span("commit_interval")?;
        let commit_interval_idle = section.span("commit_interval_idle")?;
        check_order(report, &commit_interval, &commit_interval_idle);
        let segment_bytes = section.size("segment_bytes")?;
        if !segment_bytes.value.is_multiple_of(DISK_PAGE_BYTES as u64) {
            let rule =
                "is no multiple of 4 KiB, the page of the disk; write for example \"128 MiB\"";
            report.refuse(&segment_bytes, rule);
        }
        let journal = Self {
            segment_bytes,
            tail_bytes_max: section.size_in_memory("tail_bytes")?,
            pending_bytes_max: section.size_in_memory("pending_bytes")?,
            spares: section.count("spares")?,
            bytes_max: section.size_or_percent("max_bytes")?,
            commit_interval: commit_interval.value,
            commit_interval_idle: commit_interval_idle.value,
            direct_io: section.flag("direct_io")?.value,
            free_bytes_min: section.size("min_free_bytes")?.value,
            keep: section.span_or_never("keep")?.value,
        };
        section.finish();
        Some(journal)
    }
}

fn read_admin<'i>(report: &Report<'i>, root: &DeTable<'i>) -> Option<Given<SocketAddr>> {
    let section = section(report, root, &keys::node::ADMIN);
    let listen = section.address("listen");
    let insecure = section.flag("insecure");
    section.finish();
    if let Some(listen) = &listen {
        let danger = "shows the state of the node to anyone who reaches it";
        check_listener(report, listen, insecure.as_ref(), danger);
    }
    listen
}

/// A section at the top of the file, all defaults when the file does not have it.
fn section<'r, 'i>(
    report: &'r Report<'i>,
    root: &'r DeTable<'i>,
    spec: &'static SectionSpec,
) -> Section<'r, 'i> {
    let place = |line| Place {
        line,
        subject: spec.path.to_owned(),
        key: String::new(),
    };
    let found = find_table(report, root, spec.path, (spec.path, place(None)));
    let (table, line) = found.unzip();
    Section::new(report, spec, table, (spec.path.to_owned(), place(line)))
}
