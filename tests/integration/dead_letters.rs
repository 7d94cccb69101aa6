//! `weir dead-letters …` and `weir streams …` by hand: what they read of a node that is stopped
//! and of one that runs, and what a running one says to them.

use std::fs;
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::Value;
use weir::batch::EventPosition;
use weir::journal::letters::{self, DeadLetter, LetterStore};
use weir::journal::settings::LettersSettings;
use weir::os::real_disk::RealDisk;
use weir::position::{JournalId, Offset, SegmentId, Timestamp};

use crate::harness::Stage;

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
[stream.archive]
[stream.archive.file]
path = "@DIR@/out/events.ndjson"
"#;

/// The stream of the letters: none of the configuration, so that no node owns its file.
const STREAM: &str = "former";

fn letter(offset: u64, reason: &str, line: &[u8]) -> DeadLetter {
    DeadLetter {
        position: EventPosition {
            segment: SegmentId([7; 16]),
            journal: JournalId(0),
            offset: Offset(offset),
        },
        received: Timestamp(1_700_000_000_000_000),
        refused: Timestamp(1_700_000_060_000_000),
        reason: reason.to_owned(),
        detail: format!("400: event {offset}\u{1b}[2J is refused"),
        batch: "of a test".to_owned(),
        attempts: 1,
        labels: [("host".to_owned(), "web-1".into())].into_iter().collect(),
        line: line.to_vec(),
    }
}

/// Runs `weir` with the stage's configuration; its exit status must be as given.
fn weir(stage: &Stage, arguments: &str, status: i32) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(arguments.split_whitespace());
    command.arg("--config").arg(stage.write_config(CONFIG));
    let output = command.output().expect("the program can be started");
    assert_eq!(
        output.status.code(),
        Some(status),
        "{arguments}: {output:?}"
    );
    output
}

fn told(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn looks(stage: &Stage) {
    let listed = weir(stage, "dead-letters ls --json", 0);
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let stream = listed["streams"].as_array().expect("streams").iter();
    let stream = stream.clone().find(|stream| stream["stream"] == STREAM);
    let stream = stream.unwrap_or_else(|| panic!("{listed}"));
    assert_eq!(
        (&stream["count"], &stream["event_bytes"]),
        (&3.into(), &17.into())
    );
    assert_eq!(stream["reasons"]["http_4xx"], 2);
    assert_eq!(stream["letters"][2]["id"], "0-9");
    assert_eq!(stream["letters"][2]["refused"], "2023-11-14T22:14:20Z");

    let table = told(&weir(stage, "dead-letters ls --stream former", 0).stdout);
    assert!(
        table.contains("3 dead letters, 17 B of events; 2 http_4xx, 1 too_long"),
        "{table}"
    );
    assert!(!table.contains('\u{1b}'), "{table}");
    let shown = told(&weir(stage, "dead-letters show former 0-5", 0).stdout);
    assert!(
        shown.ends_with("  host web-1\nevent      7 bytes\n{\"b\":2}\n"),
        "{shown}"
    );

    let all = weir(stage, "dead-letters export former", 0).stdout;
    assert_eq!(all, b"{\"a\":1}\n{\"b\":2}\n\xff{}\n");
    let out = stage.path("bad.ndjson");
    let export = format!(
        "dead-letters export former --reason http_4xx --out {}",
        out.display()
    );
    weir(stage, &export, 0);
    assert_eq!(fs::read(&out).expect("the file"), b"{\"a\":1}\n\xff{}\n");
    fs::remove_file(out).expect("removes");
}

#[test]
fn dead_letters_are_shown_of_a_stopped_node_and_beside_a_running_one() {
    let stage = Stage::new();
    assert!(stage.relay(CONFIG).terminate().success());
    let dir = stage.path("data").join(letters::DIR);
    let opened = LetterStore::open(Arc::new(RealDisk), &dir, STREAM, LettersSettings::default());
    let mut store = opened.expect("opens").0;
    let three = [
        letter(3, "http_4xx", b"{\"a\":1}"),
        letter(5, "too_long", b"{\"b\":2}"),
        letter(9, "http_4xx", b"\xff{}"),
    ];
    store.append(&three).expect("appends");
    looks(&stage);

    let mut relay = stage.relay(CONFIG);
    looks(&stage);
    // The node has no such stream; it is asked all the same.
    for command in [
        "dead-letters redrive former 0-3 0-5",
        "dead-letters drop former --all --yes",
        "streams resume former",
    ] {
        let refused = told(&weir(&stage, command, 1).stderr);
        assert!(
            refused.contains("there is no stream \"former\""),
            "{refused}"
        );
    }
    relay.ensure_running();
    assert!(relay.terminate().success());
    let refused = told(&weir(&stage, "dead-letters redrive former --all", 1).stderr);
    assert!(refused.contains("ask the node at 127.0.0.1:"), "{refused}");
}

#[test]
fn a_command_line_that_may_be_a_mistake_does_nothing() {
    let stage = Stage::new();
    assert!(stage.relay(CONFIG).terminate().success());
    for (command, part) in [
        ("dead-letters drop siem --all", "say --yes"),
        ("dead-letters drop siem --yes", "required"),
        ("dead-letters redrive siem 0-1 --all", "cannot be used with"),
        ("dead-letters redrive siem 1", "looks like 0-12345"),
        (
            "dead-letters redrive ../x --all",
            "no stream has such a name",
        ),
        (
            "dead-letters ls --stream siem",
            "has dead letters under that name",
        ),
        (
            "dead-letters show siem 0-1",
            "has dead letters under that name",
        ),
    ] {
        let said = told(&weir(&stage, command, 2).stderr);
        assert!(said.contains(part), "{command}: {said}");
    }
}
