//! `loadgen run` with the null relay: what the report says of a relay that does its work, loses
//! bodies, repeats them, or does not start.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set its stage has failed"
)]

use std::process::{Command, Output};

use serde_json::Value;

fn run(more: &[&str], fault: Option<(&str, &str)>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args([
        "run",
        "--json",
        "--duration",
        "500ms",
        "--drain-timeout",
        "3s",
    ]);
    if !more.contains(&"--relay") {
        command.arg("--relay").arg(env!("CARGO_BIN_EXE_null_relay"));
    }
    command.args(more);
    if let Some((name, value)) = fault {
        command.env(name, value);
    }
    command.output().unwrap()
}

fn report(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

fn figure(report: &Value, name: &str) -> u64 {
    report[name]
        .as_u64()
        .unwrap_or_else(|| panic!("{name} in {report}"))
}

#[test]
fn every_event_of_both_inputs_arrives_and_the_figures_agree() {
    let connections = ["--tcp-connections", "3", "--http-connections", "3", "--ack"];
    let rates = [
        "--tcp-rate",
        "20MB",
        "--http-rate",
        "5MB",
        "--kind",
        "mixed",
        "--print-disk",
    ];
    let output = run(
        &[&connections[..], &rates, &["--idle-connections", "20"]].concat(),
        None,
    );
    let report = report(&output);
    for name in [
        "lost",
        "duplicated",
        "out_of_order",
        "content_differs",
        "gaps",
        "unknown",
    ] {
        assert_eq!(figure(&report, name), 0, "{name} in {report}");
    }
    let sent = figure(&report, "events_sent");
    assert!(sent > 100, "{report}");
    assert_eq!(figure(&report, "events_acked"), sent);
    assert_eq!(figure(&report, "events_received"), sent);
    let counts = ["tcp_ack_ms", "http_ack_ms", "ack_ms", "delivery_ms"]
        .map(|name| figure(&report[name], "count"));
    assert_eq!(counts[0] + counts[1], sent);
    assert_eq!(counts[2..], [sent, sent]);
    assert_eq!(figure(&report, "idle_connections_open"), 20);
    assert_eq!(figure(&report["disk_fdatasync_ms"], "count"), 200);
    let seconds = report["seconds"].as_f64().unwrap();
    let rate = report["raw_bytes"].as_f64().unwrap() / seconds / 1e6;
    assert!(
        (report["mb_per_s"].as_f64().unwrap() / rate - 1.0).abs() < 0.01,
        "{report}"
    );
    assert!(report["relay_rss_peak_mb"].as_f64().unwrap() > 0.0);
    assert!(report["gzip_ratio"].as_f64().unwrap() > 2.0);
    assert_eq!(output.status.code(), Some(0), "{report}");
}

#[test]
fn a_relay_that_loses_acknowledged_events_gives_status_1() {
    let load = ["--tcp-connections", "2", "--tcp-rate", "20MB", "--ack"];
    let output = run(&load, Some(("NULL_RELAY_DROP_EVERY", "3")));
    let report = report(&output);
    let missing = figure(&report, "events_sent") - figure(&report, "events_received");
    assert!(missing > 0, "{report}");
    assert_eq!(figure(&report, "lost"), missing, "{report}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn bodies_sent_twice_are_duplicates_with_a_known_identity() {
    let load = [
        "--http-connections",
        "2",
        "--http-rate",
        "5MB",
        "--runs",
        "2",
    ];
    let output = run(&load, Some(("NULL_RELAY_REPEAT_EVERY", "2")));
    let report = report(&output);
    assert!(figure(&report, "duplicated") > 0, "{report}");
    assert_eq!(report["duplicated"], report["duplicated_with_known_key"]);
    assert_eq!(
        (figure(&report, "lost"), figure(&report, "out_of_order")),
        (0, 0)
    );
    assert_eq!(report["runs"].as_array().map(Vec::len), Some(2));
    assert_eq!(output.status.code(), Some(0), "{report}");
}

#[test]
fn a_relay_that_cannot_start_gives_status_2_and_its_own_words() {
    let output = run(&["--tcp-connections", "1", "--relay", "/bin/false"], None);
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("the relay ended"), "{errors}");
}
