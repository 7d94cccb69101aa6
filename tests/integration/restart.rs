//! Start, half a second of load, stop; again and again.
//!
//! Owns the proof that restarts cost nothing that stays: every acknowledged event is delivered in
//! the end, no file is left over, the journal keeps to its room, and a start reads little however
//! much the journal holds. `WEIR_RESTARTS` sets how often.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::{Choices, Relay, Stage, environment};
use crate::load::Senders;

/// Small segments that are kept, in room for a few dozen.
const CONFIG: &str = r#"
[node]
data_dir = "@DIR@/data"
shards = 2
journals = 2
[admin]
listen = "@ADMIN@"
[journal]
segment_bytes = "1088 KiB"
spares = 2
max_bytes = "68 MiB"
min_free_bytes = 0
[input.lines.tcp]
listen = "@TCP@"
ack = true
line_bytes_max = "64 KiB"
[input.web.http]
listen = "@HTTP@"
line_bytes_max = "64 KiB"
[stream.siem]
from = "start"
batch = { bytes = "1 MiB", age = "50ms" }
[stream.siem.http]
url = "http://@SINK@/ingest"
[stream.archive]
from = "start"
batch = { bytes = "1 MiB", age = "50ms" }
[stream.archive.file]
path = "@DIR@/out/events.ndjson"
"#;

const SEGMENT_BYTES: u64 = 1088 << 10;
const ROOM_BYTES: u64 = 68 << 20;
const JOURNALS: u64 = 2;
const STREAMS: [&str; 2] = ["siem", "archive"];
const SPARES: u64 = 2;

/// Segments and spares of the internal journal.
const INTERNAL_FILES: u64 = 24;
/// Kinds of files of a data directory, see [`kind_of`]; without a folder the lock and `node.toml`.
const KNOWN: [&str; 11] = [
    "/",
    "/toml",
    "/copy",
    "cursors/cursor",
    // The floor has no extension.
    "journal/",
    "journal/internal/",
    "journal/seg",
    "journal/spare",
    "journal/making",
    "journal/internal/seg",
    "journal/internal/spare",
];

/// How often a relay is started.
fn restarts() -> u64 {
    environment("WEIR_RESTARTS").unwrap_or(10)
}

/// How the relay ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Term,
    Kill,
}

/// Files of the data directory by what they are, with their bytes.
#[derive(Debug, Default)]
struct Files {
    kinds: BTreeMap<String, (u64, u64)>,
}

impl Files {
    /// Looks at all files below `data`. Kinds are named by folder and extension, such as
    /// `journal/seg`.
    fn look(data: &Path) -> Self {
        let mut files = Self::default();
        let mut folders = vec![data.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("read the data directory") {
                let path = entry.expect("read the data directory").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                // A file may be renamed between the list and the look.
                let bytes = fs::metadata(&path).map_or(0, |about| about.len());
                let kind = kind_of(path.strip_prefix(data).expect("below the data directory"));
                let (count, sum) = files.kinds.entry(kind).or_default();
                *count += 1;
                *sum += bytes;
            }
        }
        files
    }

    fn count(&self, kind: &str) -> u64 {
        self.kinds.get(kind).map_or(0, |(count, _)| *count)
    }

    fn bytes(&self, kinds: &[&str]) -> u64 {
        let bytes = |kind: &&str| self.kinds.get(*kind).map_or(0, |(_, bytes)| *bytes);
        kinds.iter().map(bytes).sum()
    }

    /// Nothing is there that is not wanted, and no more of the rest than is allowed.
    fn assert_bounded(&self, end: End) {
        // One spare may be in the making when a segment is made into one.
        let spares_max = JOURNALS * (SPARES + 1);
        assert!(self.count("journal/spare") <= spares_max, "{self:?}");
        let making_max = u64::from(end == End::Kill);
        assert!(self.count("journal/making") <= making_max, "{self:?}");
        let room = self.bytes(&["journal/seg", "journal/spare", "journal/making"]);
        // What was in the making at a kill is counted with what replaces it.
        let room_max = ROOM_BYTES + making_max * SEGMENT_BYTES;
        assert!(room <= room_max, "{room} bytes: {self:?}");
        let cursors = JOURNALS * STREAMS.len() as u64;
        assert_eq!(self.count("cursors/cursor"), cursors, "{self:?}");
        // The internal journal turns over in as many files as it was made with.
        let internal =
            ["journal/internal/seg", "journal/internal/spare"].map(|kind| self.count(kind));
        assert_eq!(internal.iter().sum::<u64>(), INTERNAL_FILES, "{self:?}");
        let alien = self
            .kinds
            .keys()
            .find(|kind| !KNOWN.contains(&kind.as_str()));
        assert_eq!(alien, None, "{self:?}");
    }
}

/// Folder and extension; the journals that take events are of one kind.
fn kind_of(below: &Path) -> String {
    let folder = below.parent().expect("a file is in a folder");
    let folder = folder.to_string_lossy();
    let numbered = folder.starts_with("journal/") && !folder.ends_with("internal");
    let folder = if numbered { "journal" } else { &*folder };
    let extension = below.extension().unwrap_or_default();
    format!("{folder}/{}", extension.to_string_lossy())
}

/// What a start has read may not grow with what the journal holds: a page or two of each segment
/// and its index, and whole segments only where a stop left work. For each journal that is the
/// segment in use, after a kill perhaps one that waited for its seal, and the last one once more
/// for its counters; streams may have begun to read what they had not delivered.
fn assert_read_little(relay: &Relay, segments: u64) {
    let read = relay.bytes_read();
    let walked = (3 + 2 * STREAMS.len() as u64) * JOURNALS * SEGMENT_BYTES;
    let looked_at = segments * (32 << 10);
    // Each start tells of itself in the internal journal, whose segments are of 1 MiB.
    let internal = 7 << 20;
    let program = 4 << 20;
    let most = walked + internal + looked_at + program;
    assert!(read <= most, "{read} of {most} for {segments} segments");
}

fn start_and_stop(test: &str, end: End) {
    let mut choices = Choices::new(test);
    let (stage, run) = (Stage::new(), choices.run_id());
    let data = stage.path("data");
    let receiver = stage.receiver("");
    let mut books: Vec<PathBuf> = Vec::new();
    let mut segments_max = 0;
    for round in 0..restarts() {
        let segments = if round == 0 {
            0
        } else {
            Files::look(&data).count("journal/seg")
        };
        let relay = stage.relay(CONFIG);
        assert_read_little(&relay, segments);
        relay.status().assert_balanced();
        let senders = Senders::start(&stage, &run, round, "", &mut books);
        std::thread::sleep(Duration::from_millis(500));
        match end {
            End::Kill => relay.kill(),
            End::Term => {
                let status = relay.terminate();
                assert_eq!(status.code(), Some(0), "{status} in round {round}");
            }
        }
        senders.wait_broken();
        let files = Files::look(&data);
        files.assert_bounded(end);
        segments_max = segments_max.max(files.count("journal/seg"));
    }
    let mut relay = stage.relay(CONFIG);
    for stream in STREAMS {
        relay.wait_drained(stream);
    }
    let status = relay.status();
    status.assert_all_delivered(&STREAMS);
    assert!(relay.terminate().success());
    drop(receiver.stop());
    for report in [
        stage.verify_bodies(&books),
        stage.verify("--files @DIR@/out/events.*.ndjson", &books),
    ] {
        report.assert_nothing_lost();
        assert!(report.figure("events_acked") > 0, "{}", report.0);
        assert_eq!(report.figure("events_received"), status.inputs("stored"));
        assert_eq!(report.figure("out_of_order"), 0, "{}", report.0);
        if end == End::Term {
            assert_eq!(report.figure("duplicated"), 0, "{}", report.0);
        }
    }
    eprintln!(
        "{test}: {} starts, {} events stored, at most {segments_max} segments",
        restarts(),
        status.inputs("stored")
    );
}

#[test]
fn starts_and_sigterms_under_load_repeat_and_lose_nothing_and_leave_nothing_behind() {
    start_and_stop("starts_and_sigterms_under_load", End::Term);
}

#[test]
fn starts_and_sigkills_under_load_lose_nothing_and_leave_nothing_behind() {
    start_and_stop("starts_and_sigkills_under_load", End::Kill);
}
