//! Rules: what they say is what is dropped, delivered and counted, on a relay at rest, across SIGKILL, and while
//! the rules change under load.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Relay, Stage, Status, eventually};
use crate::peers::{Client, Sender};

/// The relay without rules and streams.
const NODE: &str = r#"
[node]
data_dir = "@DIR@/data"
shards = 2
journals = 2
pin = false
drain_timeout = "20s"
[journal]
segment_bytes = "4 MiB"
spares = 1
max_bytes = "512 MiB"
min_free_bytes = 0
[admin]
listen = "@ADMIN@"
[input.apps.tcp]
listen = "@TCP@"
ack = true
[input.web.http]
listen = "@HTTP@"
"#;

/// A stream to a file of its own, with `more` of its keys.
fn stream(name: &str, more: &str) -> String {
    format!(
        "[stream.{name}]\nfrom = \"start\"\nbatch.age = \"5ms\"\n{more}\n\
         [stream.{name}.file]\npath = \"@DIR@/out/{name}.ndjson\"\n"
    )
}

/// The event with this number: fields that rules ask for, in turn.
fn event(number: u64) -> String {
    let severity = ["normal", "warning", "critical"][(number % 3) as usize];
    let outcome = ["success", "failure"][(number / 3 % 2) as usize];
    let action = ["read", "login", "delete", "update", "list"][(number % 5) as usize];
    format!(
        "{{\"n\":{number},\"severity\":\"{severity}\",\"outcome\":\"{outcome}\",\
         \"action\":\"iam.{action}\",\"pad\":\"{}\"}}\n",
        "x".repeat((number % 211) as usize)
    )
}

/// Numbers of the events a stream has delivered, whole lines only; fails on an event that came twice.
fn delivered(stage: &Stage, stream: &str) -> BTreeSet<u64> {
    let lines = lines_of(stage, stream);
    let numbers: BTreeSet<u64> = lines.iter().map(|line| number_of(line)).collect();
    assert_eq!(
        numbers.len(),
        lines.len(),
        "{stream} delivered an event twice"
    );
    numbers
}

fn number_of(line: &str) -> u64 {
    let event: Value = serde_json::from_str(line).expect("an event");
    event["n"].as_u64().expect("a number")
}

/// The lines in all files of a stream.
fn lines_of(stage: &Stage, stream: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(stage.path("out")).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        if !name.starts_with(&format!("{stream}.")) {
            continue;
        }
        let mut text = String::new();
        let mut file = fs::File::open(&path).expect("a stream's file");
        file.read_to_string(&mut text).expect("text");
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        lines.extend(whole.lines().map(str::to_owned));
    }
    lines
}

/// Waits until a stream has nothing pending; the status then.
fn drained(relay: &mut Relay, streams: &[&str]) -> Status {
    for stream in streams {
        relay.wait_drained(stream);
    }
    let status = relay.status();
    status.assert_balanced();
    status
}

fn numbers(range: std::ops::Range<u64>, takes: impl Fn(u64) -> bool) -> BTreeSet<u64> {
    range.filter(|number| takes(*number)).collect()
}

/// Exclusion rules at the node, and a stream for each way to take a part.
fn config_of_all_kinds() -> String {
    [
        NODE,
        "[exclude.reads]\nquery = \"action:iam.read outcome:success\"\n\
         [exclude.idle]\nquery = \"action:iam.list\"\nactive = false\n\
         [exclude.lists]\nquery = \"action:iam.list severity:normal\"\n",
        &stream("all", ""),
        &stream(
            "critical",
            "rule = \"$d.severity == 'critical' && $d.outcome == 'failure'\"",
        ),
        &stream("quiet", "[stream.quiet.exclude.logins]\nquery = \"login\""),
        &stream("half", "[stream.half.sample]\npercent = 50"),
        &stream(
            "regex",
            "rule = \"$d.action.matches(/^iam\\\\.(delete|update)$/)\"",
        ),
    ]
    .concat()
}

/// Sends so many events, half of them over each kind of input.
fn send_over_both(stage: &Stage, events: u64) {
    let mut sender = Sender::connect(stage.tcp);
    let mut client = Client::connect(stage.http);
    for number in 0..events / 2 {
        sender.send(event(number));
    }
    sender.acked(events / 2);
    for start in (events / 2..events).step_by(500) {
        let body: String = (start..start + 500).map(event).collect();
        let answer = client.post("", body.as_bytes());
        assert_eq!(answer.body["accepted"], 500, "{:?}", answer.body);
        assert!(
            answer.body["excluded"]
                .as_u64()
                .is_some_and(|excluded| excluded > 0)
        );
    }
}

#[test]
fn what_rules_take_is_delivered_and_the_rest_is_counted_under_its_reason() {
    const EVENTS: u64 = 9_000;
    let stage = Stage::new();
    let mut relay = stage.relay(&config_of_all_kinds());
    send_over_both(&stage, EVENTS);
    let status = drained(&mut relay, &["all", "critical", "quiet", "half", "regex"]);
    let is_read = |number: u64| number.is_multiple_of(5) && (number / 3).is_multiple_of(2);
    let is_list = |number: u64| number % 5 == 4 && number.is_multiple_of(3);
    let stored = numbers(0..EVENTS, |number| !is_read(number) && !is_list(number));
    let reads = numbers(0..EVENTS, is_read).len();
    let excluded = EVENTS - stored.len() as u64;
    assert_eq!(status.inputs("excluded"), excluded);
    assert_eq!(status.inputs("received"), EVENTS);
    let metrics = relay.metrics();
    let counted = format!("weir_exclusion_rule_events_total{{rule=\"reads\"}} {reads}\n");
    assert!(metrics.contains(&counted), "{metrics}");
    let take = |takes: &dyn Fn(u64) -> bool| -> BTreeSet<u64> {
        stored
            .iter()
            .copied()
            .filter(|number| takes(*number))
            .collect()
    };
    assert_eq!(delivered(&stage, "all"), stored);
    let critical = take(&|number| number % 3 == 2 && number / 3 % 2 == 1);
    assert_eq!(delivered(&stage, "critical"), critical);
    assert_eq!(delivered(&stage, "quiet"), take(&|number| number % 5 != 1));
    assert_eq!(
        delivered(&stage, "regex"),
        take(&|number| matches!(number % 5, 2 | 3))
    );
    let half = delivered(&stage, "half");
    assert_eq!(status.stream("half", "delivered"), half.len() as u64);
    let share = half.len() as f64 / stored.len() as f64;
    assert!((0.45..0.55).contains(&share), "{share}");
    assert_eq!(status.stream("half", "filtered"), 0);
    for (name, taken) in [("critical", critical.len()), ("half", half.len())] {
        let left = status.stream(name, "filtered") + status.stream(name, "sampled_out");
        assert_eq!(left, (stored.len() - taken) as u64, "{name}");
    }
}

#[test]
fn a_stream_with_rule_and_sampling_takes_the_same_events_after_each_sigkill() {
    let more = "rule = \"$d.severity != 'normal'\"\n[stream.part.sample]\npercent = 40";
    let config = [NODE, &stream("all", ""), &stream("part", more)].concat();
    let stage = Stage::new();
    let mut sent = 0;
    let mut relay = stage.relay(&config);
    for _life in 0..4 {
        let mut sender = Sender::connect(stage.tcp);
        for number in sent..sent + 3_000 {
            sender.send(event(number));
        }
        sender.acked(3_000);
        sent += 3_000;
        relay.kill();
        relay = stage.relay(&config);
    }
    let status = drained(&mut relay, &["all", "part"]);
    let stored = status.inputs("stored");
    assert_eq!(stored, sent);
    let part = delivered(&stage, "part");
    assert_eq!(delivered(&stage, "all"), numbers(0..sent, |_| true));
    assert!(part.iter().all(|number| number % 3 != 0));
    assert_eq!(status.stream("part", "delivered"), part.len() as u64);
    assert_eq!(status.stream("part", "filtered"), sent / 3);
    assert_eq!(
        status.stream("part", "sampled_out"),
        sent - sent / 3 - part.len() as u64
    );
}

/// A rule of two halves that always say the same of an event that was made for it.
fn config_of(generation: u64) -> String {
    let word = ["red", "blue"][(generation % 2) as usize];
    [
        NODE,
        &format!("[exclude.pair]\nquery = \"drop.one:=={word} drop.two:=={word}\"\n"),
        &stream("all", ""),
        &stream(
            "pair",
            &format!("rule = \"$d.take.one == '{word}' && $d.take.two == '{word}'\""),
        ),
    ]
    .concat()
}

/// An event with two words that a rule drops it by, and two that a rule takes it by.
fn paired_event(number: u64) -> String {
    const WORDS: [(&str, &str); 4] = [
        ("red", "red"),
        ("red", "blue"),
        ("blue", "red"),
        ("blue", "blue"),
    ];
    let (drop_one, drop_two) = WORDS[(number % 4) as usize];
    let (take_one, take_two) = WORDS[(number / 4 % 4) as usize];
    format!(
        "{{\"n\":{number},\"drop\":{{\"one\":\"{drop_one}\",\"two\":\"{drop_two}\"}},\
         \"take\":{{\"one\":\"{take_one}\",\"two\":\"{take_two}\"}}}}\n"
    )
}

/// Changes the rules so many times while events flow; how many were sent.
fn change_rules_under_load(stage: &Stage, relay: &mut Relay, generations: u64) -> u64 {
    let (running, sent) = (AtomicBool::new(true), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut sender = Sender::connect(stage.tcp);
            let mut number = 0;
            while running.load(Ordering::Relaxed) {
                let lines: String = (number..number + 200).map(paired_event).collect();
                sender.send(lines);
                number += 200;
                sender.acked(number);
                sent.store(number, Ordering::Relaxed);
            }
        });
        for generation in 1..=generations {
            let before = sent.load(Ordering::Relaxed);
            eventually("events flow", || {
                sent.load(Ordering::Relaxed) > before + 1_000
            });
            stage.write_config(&config_of(generation));
            relay.signal(Signal::HUP);
            eventually("the rules are taken over", || {
                relay.log().matches("reload: rules changed").count() as u64 == generation
            });
        }
        running.store(false, Ordering::Relaxed);
        sending.join().expect("the sender ends well");
    });
    sent.into_inner()
}

#[test]
fn no_event_is_judged_by_half_a_rule_while_rules_change_under_load() {
    let stage = Stage::new();
    let mut relay = stage.relay(&config_of(0));
    let sent = change_rules_under_load(&stage, &mut relay, 20);
    // The rules of the last generation hold for what comes now.
    let mut sender = Sender::connect(stage.tcp);
    (sent..sent + 16).for_each(|number| sender.send(paired_event(number)));
    sender.acked(16);
    let status = drained(&mut relay, &["all", "pair"]);
    assert_eq!(status.inputs("received"), sent + 16);
    assert_eq!(
        status.inputs("stored") + status.inputs("excluded"),
        sent + 16
    );
    let (all, pair) = (delivered(&stage, "all"), delivered(&stage, "pair"));
    assert_eq!(all.len() as u64, status.inputs("stored"));
    let is_mixed = |number: &u64| matches!(number % 4, 1 | 2);
    let mixed = numbers(0..sent + 16, |number| is_mixed(&number));
    assert!(
        mixed.is_subset(&all),
        "an event that no whole rule drops was dropped"
    );
    assert!(pair.is_subset(&all));
    assert!(pair.iter().all(|number| matches!(number / 4 % 4, 0 | 3)));
    for word in [0, 3] {
        assert!(
            all.iter().any(|number| number % 4 == word),
            "one rule held all the time"
        );
        assert!(
            pair.iter().any(|number| number / 4 % 4 == word),
            "one rule held all the time"
        );
    }
    // Generation 20 is red: what it drops and takes of the last sixteen.
    let last = |set: &BTreeSet<u64>| -> BTreeSet<u64> {
        set.iter()
            .filter(|number| **number >= sent)
            .map(|number| number - sent)
            .collect()
    };
    let shift = sent % 16;
    let number = |at: u64| (at + shift) % 16;
    assert_eq!(last(&all), numbers(0..16, |at| number(at) % 4 != 0));
    let taken = numbers(0..16, |at| number(at) % 4 != 0 && number(at) / 4 % 4 == 0);
    assert_eq!(last(&pair), taken);
}

#[test]
fn a_reload_with_a_mistake_or_more_than_rules_changes_nothing_and_says_so() {
    let stage = Stage::new();
    let config = [NODE, &stream("all", "audit = \"with\"")].concat();
    let mut relay = stage.relay(&config);
    let steps = [
        (
            format!("{config}[exclude.bad]\nquery = \"action:(read\"\n"),
            "does not compile",
        ),
        (
            config.replace("drain_timeout = \"20s\"", "drain_timeout = \"21s\""),
            "restart to apply it differing=node.drain_timeout",
        ),
        (config.clone(), "nothing differs"),
        (
            format!("{config}[exclude.reads]\nquery = \"action:read\"\n"),
            "rules changed",
        ),
    ];
    for (text, expected) in steps {
        stage.write_config(&text);
        relay.signal(Signal::HUP);
        eventually(expected, || relay.log().contains(expected));
    }
    let mut sender = Sender::connect(stage.tcp);
    sender.send("{\"n\":1,\"action\":\"read\"}\n{\"n\":2,\"action\":\"write\"}\n");
    sender.acked(2);
    eventually("the event and the audit events are delivered", || {
        let lines = lines_of(&stage, "all");
        let told = |action: &str| lines.iter().any(|line| line.contains(action));
        told("\"n\":2") && told("weir.exclusion-rule.create") && told("weir.configuration.reload")
    });
    let status = relay.status();
    status.assert_balanced();
    assert_eq!(status.inputs("excluded"), 1);
}

#[test]
fn a_template_makes_every_event_what_the_destination_wants_and_nothing_masked_gets_out() {
    const EVENTS: u64 = 1_500;
    let text = "text = '{\"at\":$n,\"what\":\"$action by $who.name\"}'";
    let fields = "fields = [\"n\", \"who.name as user\"]\n[stream.masked.template.mask]\nfields = [\"who.name\"]";
    let config = [
        NODE,
        &stream("flat", "[stream.flat.template]\nshape = \"logdna\""),
        &stream(
            "own",
            &format!("rule = \"$d.n % 2 == 0\"\n[stream.own.template]\n{text}"),
        ),
        &stream("masked", &format!("[stream.masked.template]\n{fields}")),
    ]
    .concat();
    let line = |number: u64| {
        format!(
            "{{\"n\":{number},\"action\":\"iam.read\",\"who\":{{\"name\":\"user {number} \\\"q\\\"\"}},\"big\":1.50{number}e+01}}"
        )
    };
    let stage = Stage::new();
    let mut relay = stage.relay(&config);
    let mut client = Client::connect(stage.http);
    for start in (0..EVENTS).step_by(500) {
        let body: String = (start..start + 500)
            .map(|number| line(number) + "\n")
            .collect();
        let head = "X-Weir-Host: kms\r\nX-Weir-Application: audit\r\n";
        assert_eq!(client.post(head, body.as_bytes()).body["accepted"], 500);
    }
    let status = drained(&mut relay, &["flat", "own", "masked"]);
    assert_eq!(status.stream("own", "filtered"), EVENTS / 2);
    let flat = lines_of(&stage, "flat");
    assert_eq!(flat.len() as u64, EVENTS);
    for record in &flat {
        let number = number_of(record);
        let value: Value = serde_json::from_str(record).expect("JSON");
        assert_eq!(value["_line"], line(number), "the line as it came");
        assert_eq!(
            (&value["_host"], &value["_app"]),
            (&"kms".into(), &"audit".into())
        );
        assert!(
            record.contains(&format!("\"big\":1.50{number}e+01")),
            "digits survive: {record}"
        );
    }
    for record in lines_of(&stage, "own") {
        let value: Value = serde_json::from_str(&record).expect("JSON");
        let number = value["at"].as_u64().expect("a number");
        assert!(number.is_multiple_of(2));
        assert_eq!(value["what"], format!("iam.read by user {number} \"q\""));
    }
    for record in lines_of(&stage, "masked") {
        let number = number_of(&record);
        assert_eq!(record, format!("{{\"n\":{number},\"user\":\"***\"}}"));
    }
}
