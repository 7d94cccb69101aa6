//! `weir rules …` on files, standard input and the journal of a running relay: its counts are the counts made here, its
//! lines are the lines that were given, and what is wrong is said where it is.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};

use crate::harness::Stage;
use crate::journal_tools::image;
use crate::peers::{Client, Sender};

/// Runs `weir rules` and gives it `input`, all at once.
fn rules(arguments: &[&str], input: &[u8]) -> Output {
    let (child, mut stdin) = started(arguments);
    std::thread::scope(|scope| {
        // It may well end before it has read everything.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().expect("it ends")
    })
}

fn started(arguments: &[&str]) -> (Child, ChildStdin) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("rules")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let stdin = child.stdin.take().expect("piped");
    (child, stdin)
}

/// What it printed; it must have ended well and have nothing to say.
fn answer(arguments: &[&str], input: &[u8]) -> String {
    let output = rules(arguments, input);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    assert_eq!(said, "", "{arguments:?}");
    String::from_utf8(output.stdout).expect("its answer is text")
}

/// What it said on standard error; it must have ended with this status and printed nothing.
fn refusal(arguments: &[&str], status: i32) -> String {
    let output = rules(arguments, b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
    said
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the stage's paths are text")
}

/// The event with this number, in a form no serializer would choose.
fn event(number: usize) -> String {
    let severity = ["normal", "warning", "critical"][number % 3];
    let pad = "x".repeat(number % 211);
    format!("{{\"n\" :{number}.00,\"severity\":\"{severity}\", \"pad\":\"\\u00e9{pad}\"}}")
}

/// Counts as `--json` prints them.
fn counts(lines: &[String], matches: impl Fn(usize) -> bool, malformed: usize) -> String {
    let matched = (0..lines.len()).filter(|number| matches(*number));
    let bytes: usize = matched.clone().map(|number| lines[number].len()).sum();
    format!(
        "{{\"events\":{},\"matched\":{},\"matched_bytes\":{bytes},\"malformed\":{malformed}}}\n",
        lines.len(),
        matched.count()
    )
}

#[test]
fn a_file_and_standard_input_are_counted_alike_and_matches_come_byte_for_byte() {
    const QUERY: [&str; 3] = ["test", "--query", "severity:critical"];
    const DPXL: [&str; 3] = ["test", "--dpxl", "$d.severity == 'critical'"];
    let is_critical = |number: usize| number % 3 == 2;
    let lines: Vec<String> = (0..5_000).map(event).collect();
    let mut file = String::new();
    for (number, line) in lines.iter().enumerate() {
        file += line;
        file += if number % 7 == 0 { "\r\n" } else { "\n" };
        match number {
            99 => file += "\n  \n{\"severity\":\"critical\"\n[\"severity:critical\"]\n",
            // A line above the limit, and one just below it.
            999 => {
                file += &format!(
                    "{{\"severity\":\"critical\",\"a\":\"{}\"}}\n",
                    "x".repeat(1 << 24)
                )
            }
            _ => {}
        }
    }
    // The last line has no end.
    let file = file.trim_end().to_owned();
    let stage = Stage::new();
    let path = stage.path("events.ndjson");
    fs::write(&path, &file).expect("write the events");
    let expected = counts(&lines, is_critical, 3);
    let matched: String = (0..lines.len())
        .filter(|number| is_critical(*number))
        .map(|number| format!("{}\n", lines[number]))
        .collect();
    for rule in [QUERY, DPXL] {
        for (source, input) in [(Some(text(&path)), ""), (Some("-"), &file), (None, &file)] {
            let arguments: Vec<&str> = rule.into_iter().chain(source).collect();
            let json = [&arguments[..], &["--json"]].concat();
            assert_eq!(answer(&json, input.as_bytes()), expected, "{json:?}");
            let only = [&arguments[..], &["--matched"]].concat();
            assert!(answer(&only, input.as_bytes()) == matched, "{only:?}");
        }
    }
    let nothing = [&QUERY[..], &["--json"]].concat();
    assert_eq!(answer(&nothing, b""), counts(&[], |_| true, 0));
}

#[test]
fn people_are_told_fates_shares_and_samples_that_move_no_cursor() {
    let long = format!("{{\"a\":\"keep\",\"b\":\"{}\"}}", "é".repeat(300));
    let input = format!(
        "{{\"a\":\"drop\"}}\r\n{{\"a\":\"keep\",\t\"b\":\"\u{9b}2J\u{202e}\"}}\n{long}\nno\u{1b}[2J\n{{\"a\":\"keep\"}}\n"
    );
    let shown = |arguments: &[&str]| answer(&[&["test"], arguments].concat(), input.as_bytes());
    let dropped = shown(&["--query", "a:drop\n OR a:drop", "--sample", "2"]);
    let bytes = long.len() + 12 + 12 + 27;
    let long_shown: String = long.chars().take(200).collect();
    let expected = [
        "query: a:drop  OR a:drop\n".to_owned(),
        "           events           bytes\n".to_owned(),
        format!("  all           4  100.0 %  {bytes} B  100.0 %\n"),
        "  dropped       1   25.0 %   12 B    1.7 %\n".to_owned(),
        format!("  kept          3   75.0 %  {} B   98.2 %\n", bytes - 12),
        "malformed: 1, which no rule matches; the first: line 4, byte 0: expected `{`: an event \
         is one JSON object\n"
            .to_owned(),
        "dropped, 1 of 1:\n  {\"a\":\"drop\"}\n".to_owned(),
        "kept, 2 of 3:\n  {\"a\":\"keep\", \"b\":\" 2J \"}\n".to_owned(),
        format!("  {long_shown}…\n"),
    ];
    assert_eq!(dropped, expected.concat());
    let delivered = shown(&["--dpxl", "$d.a == 'keep'", "--sample", "0"]);
    assert!(delivered.contains("\n  delivered "), "{delivered}");
    assert!(delivered.contains("\n  not delivered "), "{delivered}");
    assert!(!delivered.contains("{\"a\""), "{delivered}");
}

#[test]
fn a_rule_means_what_it_means_in_the_relay() {
    let json = |arguments: &[&str], input: &str| {
        answer(&[&["test", "--json"], arguments].concat(), input.as_bytes())
    };
    let one = |matched: bool, line: &str| counts(&[line.to_owned()], |_| matched, 0);
    // Who would keep one of equal keys keeps the event: it is delivered, and it is not dropped.
    let twice = "{\"a\":\"bad\",\"a\":\"good\"}";
    assert_eq!(json(&["--query", "a:bad"], twice), one(false, twice));
    assert_eq!(json(&["--dpxl", "$d.a == 'bad'"], twice), one(true, twice));
    let line = "{\"a\":\"one two\"}";
    let words = ["--query", "a:two"];
    assert_eq!(json(&words, line), one(false, line));
    let mode = |mode| [&words[..], &["--match-mode", mode]].concat();
    assert_eq!(json(&mode("value"), line), one(false, line));
    assert_eq!(json(&mode("token"), line), one(true, line));
    let labels = [
        "--label",
        "application=billing",
        "--label",
        "meta={\"k\":\"v=1\"}",
    ];
    for (rule, matched) in [
        (["--query", "app:billing"], true),
        (["--query", "app:shop"], false),
        (["--dpxl", "$l.applicationname == 'billing'"], true),
        (["--query", "meta.k:===v=1"], true),
        (
            [
                "--dpxl",
                "$m.timestamp > now() - 1h && $m.timestamp <= now()",
            ],
            true,
        ),
        (["--query", "-billing"], false),
    ] {
        let arguments = [&rule[..], &labels[..]].concat();
        assert_eq!(json(&arguments, line), one(matched, line), "{rule:?}");
    }
}

#[test]
fn what_is_wrong_is_said_where_it_is_and_by_the_status() {
    let said = refusal(&["test", "--dpxl", "$d.severity = 'critical'", "--json"], 2);
    let expected = "weir: --dpxl does not compile: line 1, column 13: expected an operator, found `=`\n  \
                    $d.severity = 'critical'\n              ^\n  did you mean `==`?\n";
    assert_eq!(said, expected);
    for command in ["test", "explain"] {
        let said = refusal(&[command, "--query", "a:b\n(b", "-"], 2);
        assert!(
            said.contains("line 2, column ") && said.contains("\n  (b\n"),
            "{said}"
        );
        let said = refusal(&[command, "--query", "word", "no/such/file"], 1);
        assert!(said.starts_with("weir: read no/such/file: "), "{said}");
        let said = refusal(&[command, "--query", "word", "/"], 1);
        assert!(said.starts_with("weir: read /: "), "{said}");
        let said = refusal(
            &[
                command,
                "--query",
                "word",
                "--last",
                "1m",
                "--data-dir",
                "no/dir",
            ],
            2,
        );
        assert!(said.contains("no/dir"), "{said}");
        refusal(&[command, "--query", "word", "--last", "soon"], 2);
        refusal(&[command, "--query", "word", "--last", "1m", "file"], 2);
        refusal(
            &[command, "--query", "word", "--data-dir", "dir", "file"],
            2,
        );
        refusal(&[command, "--query", "word", "--dpxl", "true", "file"], 2);
        refusal(
            &[command, "--dpxl", "true", "--match-mode", "token", "file"],
            2,
        );
        refusal(&[command, "file"], 2);
        let said = refusal(&[command, "--query", "word", "--label", "app=x", "-"], 2);
        assert!(said.contains("application, subsystem, host, "), "{said}");
    }
    refusal(&["test", "--query", "word", "--json", "--matched"], 2);
    refusal(
        &["test", "--query", "word", "--config", "weir.toml", "file"],
        2,
    );
    let said = refusal(&["explain", "--config", "no/such/file"], 2);
    assert!(said.contains("no/such/file"), "{said}");
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let line = format!("{}\n", event(2));
    let (mut child, mut stdin) = started(&["test", "--query", "severity:critical", "--matched"]);
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    // A match is seen at once, and not when a buffer is full.
    stdin.write_all(line.as_bytes()).expect("it reads");
    let mut first = String::new();
    stdout.read_line(&mut first).expect("it prints");
    assert_eq!(first, line);
    drop(stdout);
    // It reads on until it finds out.
    while stdin.write_all(line.as_bytes()).is_ok() {}
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

/// One journal, so that its events have one order.
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
[input.apps.tcp.labels]
application = "apps"
[input.web.http]
listen = "@HTTP@"
[exclude.noise]
query = "noise"
[exclude.idle]
query = "severity:critical"
active = false
[stream.all]
[stream.all.file]
path = "@DIR@/out/all.ndjson"
[stream.bad]
rule = "$d.severity == 'critical'"
[stream.bad.file]
path = "@DIR@/out/bad.ndjson"
[stream.same]
rule = "$d.severity == 'critical'"
[stream.same.file]
path = "@DIR@/out/same.ndjson"
[stream.quiet]
[stream.quiet.exclude.words]
query = "several words"
[stream.quiet.file]
path = "@DIR@/out/quiet.ndjson"
"#;

#[test]
fn the_journals_last_minutes_come_with_their_labels_and_are_left_alone() {
    let stage = Stage::new();
    let relay = stage.relay(CONFIG);
    let lines: Vec<String> = (0..4_000).map(event).collect();
    let (by_tcp, by_http) = lines.split_at(3_000);
    let mut sender = Sender::connect(stage.tcp);
    for line in by_tcp {
        sender.send(format!("{line}\n"));
    }
    sender.acked(by_tcp.len() as u64);
    let mut client = Client::connect(stage.http);
    let body = by_http.join("\n");
    let posted = client.post("X-Weir-Application: web\r\n", body.as_bytes());
    assert_eq!(posted.status, 200, "{:?}", posted.body);
    let config = stage.path("relay.toml");
    let data = stage.path("data");
    let places = [["--config", text(&config)], ["--data-dir", text(&data)]];
    let tried = |more: &[&str], place: [&str; 2]| {
        let rule = ["--query", "app:web severity:critical"];
        answer(&[&["test"], &rule[..], more, &place[..]].concat(), b"")
    };
    let is_match = |number: usize| number >= 3_000 && number % 3 == 2;
    let expected = counts(&lines, is_match, 0);
    let matched: Vec<&str> = (0..lines.len())
        .filter(|number| is_match(*number))
        .map(|number| lines[number].as_str())
        .collect();
    let seen = || {
        for place in places {
            assert_eq!(tried(&["--last", "1h", "--json"], place), expected);
            let printed = tried(&["--last", "1h", "--matched"], place);
            assert!(printed.lines().eq(matched.iter().copied()), "{place:?}");
            // All was received before the command began.
            assert_eq!(
                tried(&["--last", "0s", "--json"], place),
                counts(&[], |_| true, 0)
            );
        }
    };
    seen();
    assert!(relay.terminate().success());
    let before = image(&data);
    seen();
    let arguments = ["explain", "--config", text(&config), "--last", "1h"];
    let explained = answer(&arguments, b"");
    assert!(explained.contains("over 4000 events"), "{explained}");
    assert!(
        image(&data) == before,
        "nothing in the data directory has changed"
    );
}

#[test]
fn a_program_is_shown_with_its_weight_and_its_cost() {
    let light = ["explain", "--dpxl", "$d.severity == 'critical'"];
    let expected = "a rule of a stream: light, judged where lines come in\n\
                    field 0 $d.severity: event severity\n\
                    rule 0 delivers when\n  $d.severity#0 is \"critical\"  (a field)\n";
    assert_eq!(answer(&light, b"").trim_end(), expected.trim_end());
    let heavy = answer(&["explain", "--query", "word"], b"");
    assert!(heavy.contains("of a stream: not light"), "{heavy}");
    assert!(heavy.contains("rule 0 drops when"), "{heavy}");
    let lines: String = (0..50).map(|number| event(number) + "\n").collect();
    let measured = answer(&[&light[..], &["-"]].concat(), lines.as_bytes());
    assert!(measured.contains("over 50 events"), "{measured}");
    for row in ["validation, for scale ", "dpxl "] {
        let line = measured.lines().find(|line| line.starts_with(row));
        let figures = line.unwrap_or_else(|| panic!("{row} in {measured}"))[row.len()..].to_owned();
        let figures: Vec<f64> = figures
            .split_whitespace()
            .map(|figure| figure.parse().expect("a figure"))
            .collect();
        assert_eq!(figures.len(), 2, "{measured}");
        assert!(figures[0] > 0.0, "{measured}");
    }
    let none = answer(&[&light[..], &["-"]].concat(), b"");
    assert!(none.contains("no events"), "{none}");
    let stage = Stage::new();
    let config = stage.write_config(CONFIG);
    let all = answer(&["explain", "--config", text(&config)], b"");
    for line in [
        "exclusion rules of the node: 1, judged where lines come in",
        "rule 0 is exclude.noise",
        "exclude.idle is not active and drops nothing",
        "streams with rules: 3, judged in one pass",
        "stream.bad is light, judged where lines come in",
        "rule 0 is stream.bad: what it takes",
        "stream.same has the rules of stream.bad",
        "stream.quiet is not light, judged when a stream first takes a block",
        "rule 1 is stream.quiet: what it leaves out",
        "rule 0 delivers when",
        "rule 1 drops when",
    ] {
        assert!(all.lines().any(|told| told == line), "{line} in {all}");
    }
}
