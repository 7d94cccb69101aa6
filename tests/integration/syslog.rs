//! Delivery by syslog to a real rsyslogd, over TCP and TLS: what it understood of the messages, whom it
//! refuses, and what becomes of the events while it is away.
//!
//! The daemon is `tests/services/rsyslog`; `tests/services/rsyslog start` runs it by hand. The test that
//! kills it starts one of its own by the same script.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Relay, Stage, Status, eventually, free_ports};
use crate::peers::Sender;

/// One journal, so that one order holds for all; `@KEYS@` are the test's.
const CONFIG: &str = r#"
[node]
data_dir = "@DIR@/data"
shards = 1
journals = 1
pin = false
drain_timeout = "300ms"
[journal]
segment_bytes = "4 MiB"
spares = 1
max_bytes = "64 MiB"
min_free_bytes = 0
[admin]
listen = "@ADMIN@"
[input.apps.tcp]
listen = "@TCP@"
ack = true
[stream.siem]
from = "start"
batch = { records = 20, age = "5ms" }
retry = { delay_min = "5ms", delay_max = "40ms", probe_every = "200ms" }
[stream.siem.syslog]
severity_field = "severity"
hostname_field = "host"
message_id_field = "action"
@KEYS@
"#;

/// Events sent at a time.
const EVENTS: u64 = 100;

/// A running rsyslogd: where it listens and what it writes.
pub(crate) struct Rsyslog {
    values: BTreeMap<String, String>,
    /// It is this test's own.
    folder: Option<(PathBuf, u16)>,
}

impl Rsyslog {
    /// The one of all tests.
    pub(crate) fn shared() -> Self {
        let services = std::env::var_os("WEIR_SERVICES_DIR").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/services"),
            PathBuf::from,
        );
        let rsyslog = Self::read(&services);
        let address = rsyslog.value("TCP");
        assert!(
            std::net::TcpStream::connect(address).is_ok(),
            "no rsyslogd answers at {address}; run `tests/services/rsyslog start`"
        );
        rsyslog
    }

    /// One for this test alone, which may be killed.
    fn own(stage: &Stage) -> Self {
        let folder = stage.path("services");
        let port = free_ports(4);
        script(&folder, port, "start");
        let mut own = Self::read(&folder);
        own.folder = Some((folder, port));
        own
    }

    fn read(services: &Path) -> Self {
        let file = services.join("rsyslog/env");
        let text = fs::read_to_string(&file).unwrap_or_else(|error| {
            let file = file.display();
            panic!("{file}: {error}; run `tests/services/rsyslog start`, or `make test`")
        });
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            values: pairs.map(own).collect(),
            folder: None,
        }
    }

    pub(crate) fn value(&self, name: &str) -> &str {
        &self.values[&format!("RSYSLOG_{name}")]
    }

    fn script(&self, verb: &str) {
        let (folder, port) = self.folder.as_ref().expect("a daemon of this test's own");
        script(folder, *port, verb);
    }

    /// What it understood of the messages of this application, in the order of their arrival.
    pub(crate) fn received(&self, application: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.value("RECEIVED")).expect("read what rsyslogd wrote");
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let messages = whole.lines().map(|line| {
            serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        });
        messages
            .filter(|message| message["app"] == application)
            .collect()
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        if self.folder.is_some() {
            self.script("stop");
        }
    }
}

fn script(folder: &Path, port: u16, verb: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/rsyslog");
    let run = Command::new(&script)
        .arg(verb)
        .env("WEIR_SERVICES_DIR", folder)
        .env("WEIR_RSYSLOG_PORT", port.to_string())
        .output()
        .unwrap_or_else(|error| panic!("run {}: {error}", script.display()));
    assert!(run.status.success(), "{verb}: {run:?}");
}

/// A relay that delivers to rsyslogd under the name of an application that only this test has.
struct Delivery {
    relay: Relay,
    sender: Sender,
    application: String,
    sent: Vec<String>,
}

impl Delivery {
    fn begin(stage: &Stage, test: &str, address: &str, keys: &str) -> Self {
        let application = format!("{test}-{}", std::process::id());
        let keys = format!("address = \"{address}\"\napp_name = \"{application}\"\n{keys}");
        let relay = stage.relay(&CONFIG.replace("@KEYS@", &keys));
        Self {
            relay,
            sender: Sender::connect(stage.tcp),
            application,
            sent: Vec::new(),
        }
    }

    fn send(&mut self) {
        let first = self.sent.len() as u64;
        let padding = "p".repeat(1500);
        let events = (first..first + EVENTS).map(|n| {
            let severity = ["normal", "warning", "critical"][usize::try_from(n % 3).expect("below 3")];
            format!(
                r#"{{"n":{n},"action":"iam.user.create","host":"h-{n}","severity":"{severity}","text":"né \"{padding}\""}}"#
            )
        });
        let lines: Vec<String> = events.collect();
        self.sender.send(lines.join("\n") + "\n");
        self.sent.extend(lines);
        let told = self.sender.acked(self.sent.len() as u64);
        assert_eq!(told.rejected_total, 0);
    }

    /// Every event arrived once, in order, and is what was sent.
    fn arrived(&mut self, rsyslog: &Rsyslog) -> Vec<Value> {
        let status = self.relay.wait_drained("siem");
        status.assert_balanced();
        let mut received = Vec::new();
        eventually("rsyslogd wrote all events", || {
            received = rsyslog.received(&self.application);
            received.len() >= self.sent.len()
        });
        let messages = received.iter().map(|message| message["message"].as_str());
        let messages: Vec<&str> = messages.map(Option::unwrap).collect();
        // Those of a template begin alike; the others are the events.
        if !messages[0].starts_with("CEF:0|") {
            assert_eq!(messages, self.sent);
        }
        assert_eq!(messages.len(), self.sent.len());
        received
    }

    /// Nothing is delivered, and it is said why.
    fn fails_with(&self, reason: &str, words: &str) {
        eventually(&format!("it fails with {reason}: {words}"), || {
            let status = self.relay.status();
            assert_eq!(status.stream("siem", "delivered"), 0, "{}", status.0);
            let last = last_failure(&status);
            last.starts_with(reason) && last.contains(words)
        });
    }
}

fn last_failure(status: &Status) -> String {
    let streams = status.0["streams"].as_array().expect("streams");
    let siem = streams.iter().find(|stream| stream["name"] == "siem");
    let said = siem.expect("the stream")["lanes"][0]["last_failure"].as_str();
    said.expect("the last failure").to_owned()
}

#[test]
fn over_tcp_a_real_daemon_understands_every_message_once_in_order() {
    let (stage, rsyslog) = (Stage::new(), Rsyslog::shared());
    let keys = "facility = \"audit\"\nprocess_id = \"4711\"";
    let mut delivery = Delivery::begin(&stage, "plain", rsyslog.value("TCP"), keys);
    for _ in 0..3 {
        delivery.send();
    }
    for (number, message) in delivery.arrived(&rsyslog).iter().enumerate() {
        let severity = [6, 4, 2][number % 3];
        assert_eq!(message["pri"], (13 * 8 + severity).to_string(), "{message}");
        assert_eq!(message["version"], "1");
        assert_eq!(message["host"], format!("h-{number}"));
        assert_eq!(message["process"], "4711");
        assert_eq!(message["id"], "iam.user.create");
        let data = message["data"].as_str().expect("structured data");
        assert!(data.starts_with("[weir@32473 batch=\""), "{data}");
        assert!(
            data.ends_with(&format!("journal=\"0\" offset=\"{number}\"]")),
            "{data}"
        );
    }
    assert!(delivery.relay.terminate().success());
}

#[test]
fn over_tls_the_same_in_the_shape_that_is_asked_for() {
    let (stage, rsyslog) = (Stage::new(), Rsyslog::shared());
    let keys = format!(
        "tls = true\nca_file = \"{}\"\nserver_name = \"localhost\"\nbody = \"cef\"",
        rsyslog.value("CA")
    );
    let mut delivery = Delivery::begin(&stage, "tls", rsyslog.value("TLS"), &keys);
    delivery.send();
    for (number, message) in delivery.arrived(&rsyslog).iter().enumerate() {
        assert_eq!(message["input"], "tls");
        assert_eq!(message["host"], format!("h-{number}"));
        let text = message["message"].as_str().expect("a text");
        assert!(
            text.starts_with("CEF:0|IBM|Activity Tracker|1.0|iam.user.create|"),
            "{text}"
        );
    }
}

#[test]
fn lines_without_length_are_understood_too() {
    let (stage, rsyslog) = (Stage::new(), Rsyslog::shared());
    let keys = "framing = \"newline\"";
    let mut delivery = Delivery::begin(&stage, "newline", rsyslog.value("TCP"), keys);
    delivery.send();
    delivery.arrived(&rsyslog);
}

#[test]
fn a_client_certificate_that_is_asked_for_is_shown() {
    let (stage, rsyslog) = (Stage::new(), Rsyslog::shared());
    let keys = format!(
        "tls = true\nca_file = \"{}\"\nserver_name = \"localhost\"\n\
         client_cert_file = \"{}\"\nclient_key_file = \"{}\"",
        rsyslog.value("CA"),
        rsyslog.value("CLIENT_CERTIFICATE"),
        rsyslog.value("CLIENT_KEY")
    );
    let mut delivery = Delivery::begin(&stage, "mutual", rsyslog.value("MUTUAL"), &keys);
    delivery.send();
    for message in delivery.arrived(&rsyslog) {
        assert_eq!(message["input"], "mutual");
    }
}

#[test]
fn a_certificate_that_does_not_hold_on_either_side_keeps_every_event_here() {
    let rsyslog = Rsyslog::shared();
    let trusting = |ca: &str| {
        format!(
            "tls = true\nca_file = \"{}\"\nserver_name = \"localhost\"",
            rsyslog.value(ca)
        )
    };
    for (test, listener, ca, words) in [
        ("no-client", "MUTUAL", "CA", "the connection ended"),
        ("expired", "EXPIRED", "CA", "xpired"),
        ("stranger", "TLS", "STRANGER_CA", "TLS handshake"),
    ] {
        let stage = Stage::new();
        let address = rsyslog.value(listener);
        let mut delivery = Delivery::begin(&stage, test, address, &trusting(ca));
        delivery.send();
        delivery.fails_with("tls_failure", words);
        let received = rsyslog.received(&delivery.application);
        assert!(received.is_empty(), "{test}: {received:?}");
    }
}

#[test]
fn while_the_daemon_is_away_events_wait_and_arrive_once_when_it_is_back() {
    let stage = Stage::new();
    let rsyslog = Rsyslog::own(&stage);
    let mut delivery = Delivery::begin(&stage, "away", rsyslog.value("TCP"), "");
    for _ in 0..2 {
        delivery.send();
        delivery.arrived(&rsyslog);
        rsyslog.script("kill");
        delivery.send();
        eventually("it is refused", || {
            last_failure(&delivery.relay.status()).starts_with("connect_refused")
        });
        rsyslog.script("restart");
        delivery.arrived(&rsyslog);
    }
    assert!(delivery.relay.terminate().success());
}
