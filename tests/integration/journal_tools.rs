//! `weir journal …` on the data directory of a node under load, of a stopped one, and of a
//! damaged one: what it says is true, what it exports is what was sent, what it repairs runs.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::{Choices, Loadgen, Relay, Stage, eventually};

/// One journal of small segments, and a file that gets every event as it came.
const CONFIG: &str = r#"
[node]
data_dir = "@DIR@/data"
shards = 1
journals = 1
pin = false
[journal]
segment_bytes = "2 MiB"
spares = 1
min_free_bytes = 0
[admin]
listen = "@ADMIN@"
[input.apps.tcp]
listen = "@TCP@"
ack = true
line_bytes_max = "64 KiB"
[stream.archive]
from = "start"
batch.age = "5ms"
[stream.archive.file]
path = "@DIR@/out/events.ndjson"
"#;

/// Runs `weir journal` with `arguments` on the stage's data directory.
fn journal(stage: &Stage, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("journal").args(arguments.split_whitespace());
    command.arg("--data-dir").arg(stage.path("data"));
    command.output().expect("the program can be started")
}

/// Its answer as JSON, with the exit status it must have.
fn answer(stage: &Stage, arguments: &str, status: i32) -> Value {
    let output = journal(stage, &format!("{arguments} --json"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        output.status.code(),
        Some(status),
        "{arguments}: {out}{said}"
    );
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments}: {error}: {out}{said}"))
}

fn senders(stage: &Stage, run: &str) -> Loadgen {
    let arguments = format!(
        "send --tcp @TCP@ --ack --connections 3 --rate 16MB --run-id {run} --duration 1h \
         --state @DIR@/senders.state"
    );
    stage.loadgen("senders", &arguments)
}

/// Waits until so many more events are stored.
fn wait_stored(relay: &mut Relay, more: u64) {
    let from = relay.status().inputs("stored");
    eventually("events are stored", || {
        relay.ensure_running();
        relay.status().inputs("stored") >= from + more
    });
}

fn segments(stage: &Stage) -> Vec<PathBuf> {
    let dir = fs::read_dir(stage.path("data/journal/0")).expect("the journal is there");
    let files = dir.map(|entry| entry.expect("an entry").path());
    let mut segments: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    segments.sort();
    segments
}

/// Name and bytes of every file below `dir`.
pub(crate) fn image(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(image(&path));
        } else {
            let bytes = fs::read(&path).expect("a file");
            files.push((path, bytes));
        }
    }
    files.sort();
    files
}

/// What is exported of a stopped node is, byte for byte, what the archive got.
fn exports_are_what_was_sent(stage: &Stage) {
    let archive = fs::read(stage.path("out/events.ndjson")).expect("the archive");
    let exported = journal(stage, "export");
    assert!(exported.status.success());
    assert!(
        exported.stdout == archive,
        "exported bytes are the events as they were sent"
    );
    let file = stage.path("export.gz").display().to_string();
    let exported = journal(
        stage,
        &format!("export --format gzip --from 7 --out {file}"),
    );
    assert!(exported.status.success(), "{exported:?}");
    let mut unpacked = Vec::new();
    let packed = fs::File::open(&file).expect("the export");
    flate2::read::GzDecoder::new(packed)
        .read_to_end(&mut unpacked)
        .expect("one gzip member");
    let skipped: usize = archive
        .split_inclusive(|byte| *byte == b'\n')
        .take(7)
        .map(<[u8]>::len)
        .sum();
    assert!(
        unpacked == archive[skipped..],
        "the same from the seventh event on"
    );
    let labelled = journal(stage, "export --json-labels --from 3 --to 5");
    let lines: Vec<Value> = labelled
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("a line of JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["offset"], &lines[0]["labels"]["input"]),
        (&3.into(), &"apps".into())
    );
}

/// One round of all commands beside a node that runs; `head` was told by the round before, and
/// the new one is given back.
fn looks_sound_while_it_runs(stage: &Stage, head: Option<&str>) -> String {
    let listed = answer(stage, "ls", 0);
    assert_ne!(listed["node"]["running"], Value::Bool(false), "{listed}");
    assert!(listed["journals"][0]["end"].as_u64() > Some(0), "{listed}");
    let checked = answer(stage, "check --deep", 0);
    assert_eq!(checked["sound"], Value::Bool(true), "{checked}");
    // The head that was told before is still in the chain.
    let anchor = head.map_or_else(String::new, |head| format!(" --anchor {head}"));
    let verified = answer(stage, &format!("verify{anchor}"), 0);
    let told = &verified["journals"][0]["head"];
    let (offset, hash) = (&told["offset"], told["hash"].as_str().expect("a hash"));
    let head = format!("0/{offset}:{hash}");
    // A part of what is there, byte for byte as the archive will have it.
    let exported = journal(stage, "export --from 0 --to 1000");
    assert!(exported.status.success());
    assert_eq!(
        exported
            .stdout
            .iter()
            .filter(|byte| **byte == b'\n')
            .count(),
        1000
    );
    let repair = journal(stage, "repair");
    assert_eq!(repair.status.code(), Some(2));
    let said = String::from_utf8_lossy(&repair.stderr).into_owned();
    assert!(
        said.contains("its node is") && said.contains("stop it first"),
        "{said}"
    );
    head
}

#[test]
fn the_tools_tell_the_truth_beside_a_node_under_load_and_of_a_stopped_one() {
    let stage = Stage::new();
    let mut relay = stage.relay(CONFIG);
    let run = Choices::new("journal_tools").run_id();
    let mut load = senders(&stage, &run);
    wait_stored(&mut relay, 2_000);
    let mut head: Option<String> = None;
    for _round in 0..3 {
        head = Some(looks_sound_while_it_runs(&stage, head.as_deref()));
        load.ensure_running();
        wait_stored(&mut relay, 3_000);
    }
    load.stop();
    relay.wait_drained("archive").assert_balanced();
    assert!(relay.terminate().success());

    exports_are_what_was_sent(&stage);
    let listed = answer(&stage, "ls", 0);
    let journal_0 = &listed["journals"][0];
    assert_eq!(journal_0["cursors"][0]["lag_events"], 0, "{listed}");
    assert!(
        journal_0["segments"].as_array().is_some_and(|all| {
            all.len() > 1 && all.iter().all(|segment| segment["state"] == "sealed")
        }),
        "{listed}"
    );
    answer(&stage, "check --deep", 0);
    let head = head.expect("a head");
    answer(&stage, &format!("verify --anchor {head}"), 0);
    let other = format!(
        "{}{}",
        &head[..head.len() - 1],
        if head.ends_with('0') { '1' } else { '0' }
    );
    answer(&stage, &format!("verify --anchor {other}"), 1);
    // For people, too, and to a reader that has seen enough.
    for command in ["ls", "check", "verify", "repair --dry-run"] {
        let told = journal(&stage, command);
        assert!(told.status.success(), "{command}: {told:?}");
        assert!(
            String::from_utf8_lossy(&told.stdout).contains("journal 0"),
            "{told:?}"
        );
    }
    assert_eq!(journal(&stage, "verify --journal 9").status.code(), Some(2));
    assert_eq!(
        journal(&stage, "export --from yesterday").status.code(),
        Some(2)
    );
}

/// Damages the journal of a node that was killed; the segment that was hit.
fn damage(stage: &Stage) -> String {
    let all = segments(stage);
    let mut bytes = fs::read(&all[1]).expect("a segment");
    let length = bytes.len();
    // One segment loses its trailer, and a byte of a block of it changes; another file is none.
    bytes[length - 4096..].fill(0);
    bytes[4096 + 300] ^= 4;
    fs::write(&all[1], &bytes).expect("writes");
    fs::write(stage.path("data/journal/0/notes.txt"), "mine").expect("writes");
    all[1]
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned()
}

#[test]
fn a_damaged_directory_is_named_repaired_and_runs_again() {
    let stage = Stage::new();
    let mut relay = stage.relay(CONFIG);
    let run = Choices::new("journal_tools").run_id();
    let load = senders(&stage, &run);
    eventually("there are some segments", || segments(&stage).len() > 4);
    wait_stored(&mut relay, 100);
    relay.kill();
    drop(load.wait());

    let name = damage(&stage);
    let checked = answer(&stage, "check", 1);
    let findings = checked["journals"][0]["findings"].to_string();
    assert!(
        findings.contains(&name) && findings.contains("notes.txt"),
        "{checked}"
    );
    let verified = answer(&stage, "verify", 1);
    let first = &verified["journals"][0]["breaks"][0];
    assert_eq!(
        (&first["kind"], &first["position"]),
        (&"altered".into(), &4096.into())
    );
    assert!(
        first["file"]
            .as_str()
            .is_some_and(|file| file.ends_with(&name)),
        "{verified}"
    );
    let exported = journal(&stage, "export");
    assert_eq!(
        exported.status.code(),
        Some(1),
        "what cannot be read is told"
    );
    assert!(String::from_utf8_lossy(&exported.stderr).contains("cannot be read"));

    let before = image(&stage.path("data"));
    let planned = answer(&stage, "repair --dry-run", 1);
    assert!(
        image(&stage.path("data")) == before,
        "a dry run changes nothing"
    );
    let repaired = answer(&stage, "repair", 1);
    let kinds = |answer: &Value| {
        let findings = answer["journals"][0]["findings"]
            .as_array()
            .expect("a list")
            .clone();
        findings
            .iter()
            .map(|finding| finding["kind"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds(&planned), kinds(&repaired));
    assert!(kinds(&repaired).contains(&"damaged".into()), "{repaired}");
    // What is gone is recorded: the rest is sound and whole.
    let verified = answer(&stage, "verify", 0);
    let explained = &verified["journals"][0]["explained"];
    assert_eq!(explained[0]["by"], "quarantine", "{verified}");
    answer(&stage, "repair", 0);

    let relay = stage.relay(CONFIG);
    eventually("what is left is delivered", || {
        let status = relay.status();
        status.stream("archive", "pending") == 0
    });
    relay.status().assert_balanced();
    assert!(relay.terminate().success());
    answer(&stage, "verify", 0);
}
