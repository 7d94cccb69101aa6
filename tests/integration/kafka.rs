//! Delivery to a real Kafka broker: what arrives, who is let in, and what is lost when things go
//! wrong, which is nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;

use flate2::read::GzDecoder;

use crate::harness::{Relay, Stage, eventually};
use crate::kafka_broker::{Broker, Read};
use crate::peers::Sender;

const CONFIG: &str = r#"
[node]
data_dir = "@DIR@/data"
shards = 1
journals = 1
pin = false
drain_timeout = "2s"
[journal]
segment_bytes = "4 MiB"
spares = 1
max_bytes = "256 MiB"
min_free_bytes = 0
[admin]
listen = "@ADMIN@"
[input.apps.tcp]
listen = "@TCP@"
ack = true
[stream.siem]
from = "start"
batch.age = "5ms"
retry = { delay_max = "500ms", probe_every = "500ms" }
[stream.siem.kafka]
"#;

/// As QRadar's guide has it, but for the user's right to write.
pub(crate) const PLAIN: &str = r#"
brokers = "@KAFKA_SASL_SSL@"
ca_file = "@KAFKA_CA@"
sasl = "plain"
username = "token"
password = "@KAFKA_TOKEN_PASSWORD@"
"#;

/// A relay with this destination, and a sender beside it.
struct Scene {
    stage: Stage,
    relay: Relay,
    sender: Sender,
    sent: u64,
}

impl Scene {
    fn new(broker: &Broker, destination: &str) -> Self {
        Self::on(Stage::new(), broker, destination)
    }

    fn on(stage: Stage, broker: &Broker, destination: &str) -> Self {
        let relay = stage.relay(&broker.fill(&format!("{CONFIG}{destination}")));
        Self {
            sender: Sender::connect(stage.tcp),
            stage,
            relay,
            sent: 0,
        }
    }

    /// Sends lines and waits until they are durable.
    fn send(&mut self, lines: &[String]) {
        self.sender.send(lines.join("\n") + "\n");
        self.sent += lines.len() as u64;
        let told = self.sender.acked(self.sent);
        assert_eq!(told.rejected_total, 0);
    }

    fn drained(&mut self) {
        self.relay.wait_drained("siem").assert_balanced();
    }

    /// Waits until a try failed for this reason.
    fn fails_with(&self, reason: &str) {
        eventually(&format!("a delivery fails with {reason}"), || {
            let status = self.relay.status();
            let streams = status.0["streams"].as_array().expect("a list of streams");
            streams[0]["failures"][reason].as_u64() > Some(0)
        });
    }
}

/// Events of eleven keys, numbered, with text that is not ASCII.
pub(crate) fn lines(numbers: std::ops::Range<usize>) -> Vec<String> {
    let line = |number| {
        let key = number % 11;
        let padding = "\u{e9}".repeat(number % 97);
        format!(r#"{{"target":{{"id":"k{key}"}},"n":{number},"text":"{padding}"}}"#)
    };
    numbers.map(line).collect()
}

/// Bodies by their keys, in the order of their partitions.
pub(crate) fn by_key(messages: &[Read]) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in messages {
        let key = message.key.clone().unwrap_or_default();
        found
            .entry(key)
            .or_default()
            .push(message.text().to_owned());
    }
    found
}

pub(crate) fn expected_by_key(lines: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (number, line) in lines.iter().enumerate() {
        let key = format!("k{}", number % 11);
        expected.entry(key).or_default().push(line.clone());
    }
    expected
}

/// The same without what was seen before: a re-send may put a batch there twice, never out of
/// order for the first time.
pub(crate) fn first_seen(all: BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<String>> {
    all.into_iter()
        .map(|(key, bodies)| {
            let mut seen = std::collections::HashSet::new();
            let first = bodies.into_iter().filter(|body| seen.insert(body.clone()));
            (key, first.collect())
        })
        .collect()
}

#[test]
fn events_arrive_byte_for_byte_in_the_order_of_each_key_with_their_headers() {
    let broker = Broker::shared();
    let topic = broker.topic("keyed", &["partitions=5"]);
    let destination = format!(
        "{PLAIN}topic = \"{topic}\"\nkey_field = \"target.id\"\ncompression = \"lz4\"\n\
         headers = {{ type = \"audit\" }}\nheader_fields = {{ number = \"n\" }}\n"
    );
    let mut scene = Scene::new(&broker, &destination);
    let lines = lines(0..20_000);
    for part in lines.chunks(3_000) {
        scene.send(part);
    }
    scene.drained();
    let messages = broker.read_all(&topic);
    assert_eq!(by_key(&messages), expected_by_key(&lines));
    let mut places = std::collections::HashSet::new();
    for message in &messages {
        assert_eq!(message.headers["type"], "audit");
        let number = format!("\"n\":{},", message.headers["number"]);
        assert!(message.text().contains(&number), "{message:?}");
        assert!(
            message.headers["weir-batch"].contains("/siem/"),
            "{message:?}"
        );
        let segment = message.headers["weir-batch"].split('/').next();
        let place = (
            segment.map(str::to_owned),
            message.headers["weir-event"].clone(),
        );
        assert!(places.insert(place), "a place twice: {message:?}");
    }
    let partitions: std::collections::BTreeSet<_> =
        messages.iter().map(|message| message.partition).collect();
    assert!(partitions.len() > 1, "{partitions:?}");
}

#[test]
fn a_batch_is_one_message_in_gzip() {
    let broker = Broker::shared();
    let topic = broker.topic("batches", &[]);
    let destination =
        format!("{PLAIN}topic = \"{topic}\"\nmessage = \"batch\"\ncompression = \"gzip\"\n");
    let mut scene = Scene::new(&broker, &destination);
    let lines = lines(0..5_000);
    scene.send(&lines);
    scene.drained();
    let mut text = String::new();
    for message in broker.read_all(&topic) {
        assert_eq!(message.headers["content-encoding"], "gzip");
        assert_eq!(message.headers["content-type"], "application/x-ndjson");
        let mut decoder = GzDecoder::new(message.body.as_slice());
        decoder.read_to_string(&mut text).expect("one gzip member");
    }
    assert_eq!(text, lines.join("\n") + "\n");
}

#[test]
fn every_way_to_say_who_we_are_is_let_in() {
    let broker = Broker::shared();
    let sasl = "brokers = \"@KAFKA_SASL_SSL@\"\nca_file = \"@KAFKA_CA@\"\n";
    let password = "username = \"token\"\npassword = \"@KAFKA_TOKEN_PASSWORD@\"\n";
    let stage = Stage::new();
    let token = stage.path("token");
    fs::write(&token, unsigned_token()).expect("write the token");
    let ways = [
        (
            "scram-sha-512",
            format!("{sasl}{password}sasl = \"scram-sha-512\"\n"),
        ),
        (
            "scram-sha-256",
            format!("{sasl}{password}sasl = \"scram-sha-256\"\n"),
        ),
        (
            "token",
            format!(
                "{sasl}sasl = \"oauthbearer\"\ntoken_file = \"{}\"\n",
                token.display()
            ),
        ),
        (
            "certificate",
            "brokers = \"@KAFKA_MUTUAL@\"\nca_file = \"@KAFKA_CA@\"\n\
             client_cert_file = \"@KAFKA_CLIENT_CERTIFICATE@\"\n\
             client_key_file = \"@KAFKA_CLIENT_KEY@\"\n"
                .to_owned(),
        ),
        (
            "anybody",
            "brokers = \"@KAFKA_PLAINTEXT@\"\ntls = false\n".to_owned(),
        ),
    ];
    for (name, way) in ways {
        let topic = broker.topic(name, &[]);
        broker.run(&[
            "acl",
            "add",
            "CN=weir-client",
            "Write,Describe",
            "topic",
            &topic,
        ]);
        let mut scene = Scene::new(&broker, &format!("{way}topic = \"{topic}\"\n"));
        scene.send(&lines(0..3));
        scene.drained();
        let texts: Vec<_> = broker
            .read_all(&topic)
            .iter()
            .map(|read| read.text().to_owned())
            .collect();
        assert_eq!(texts, lines(0..3), "{name}");
    }
}

/// A token without a signature for the user `token`, RFC 7515 with `alg: none`, good until 2096.
fn unsigned_token() -> &'static str {
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ0b2tlbiIsImlhdCI6MTc2MDAwMDAwMCwiZXhwIjo0MDAwMDAwMDAwfQ."
}

#[test]
fn a_wrong_password_is_told_and_a_corrected_file_needs_no_restart() {
    let broker = Broker::shared();
    let topic = broker.topic("password", &[]);
    let stage = Stage::new();
    let file = stage.path("password");
    fs::write(&file, "wrong\n").expect("write the password");
    let destination = format!(
        "brokers = \"@KAFKA_SASL_SSL@\"\nca_file = \"@KAFKA_CA@\"\nsasl = \"plain\"\n\
         username = \"token\"\npassword_file = \"{}\"\ntopic = \"{topic}\"\n",
        file.display()
    );
    let mut scene = Scene::on(stage, &broker, &destination);
    scene.send(&lines(0..100));
    scene.fails_with("authentication_failure");
    fs::write(&file, broker.at("KAFKA_TOKEN_PASSWORD")).expect("write the password");
    scene.drained();
    assert_eq!(broker.read_all(&topic).len(), 100);
}

#[test]
fn certificates_that_are_expired_or_a_strangers_are_refused() {
    let broker = Broker::shared();
    let user = "sasl = \"plain\"\nusername = \"token\"\npassword = \"@KAFKA_TOKEN_PASSWORD@\"\n\
                topic = \"weir-events\"\n";
    let expired = "brokers = \"@KAFKA_EXPIRED@\"\nca_file = \"@KAFKA_CA@\"\n";
    let stranger = "brokers = \"@KAFKA_SASL_SSL@\"\nca_file = \"@KAFKA_STRANGER_CA@\"\n";
    for place in [expired, stranger] {
        let mut scene = Scene::new(&broker, &format!("{place}{user}"));
        scene.send(&lines(0..1));
        scene.fails_with("ssl_error");
    }
}

#[test]
fn a_topic_that_is_missing_is_told_and_found_once_it_is_made() {
    let broker = Broker::shared();
    // To see that a topic is missing takes the right to see it.
    let topic = broker.name_for("later");
    let mut scene = Scene::new(&broker, &format!("{PLAIN}topic = \"{topic}\"\n"));
    scene.send(&lines(0..100));
    scene.fails_with("unknown_topic_or_partition");
    broker.run(&["topic", "create", &topic]);
    scene.drained();
    assert_eq!(broker.read_all(&topic).len(), 100);
}

#[test]
fn a_right_that_is_revoked_while_running_is_told_and_nothing_is_lost() {
    let broker = Broker::shared();
    let topic = broker.topic("revoked", &["partitions=3"]);
    let destination = format!("{PLAIN}topic = \"{topic}\"\nkey_field = \"target.id\"\n");
    let mut scene = Scene::new(&broker, &destination);
    let lines = lines(0..4_000);
    scene.send(&lines[..1_000]);
    scene.drained();
    broker.run(&["acl", "remove", "token", "Write", "topic", &topic]);
    for part in lines[1_000..].chunks(500) {
        scene.send(part);
    }
    scene.fails_with("topic_authorization_failed");
    broker.run(&["acl", "add", "token", "Write", "topic", &topic]);
    scene.drained();
    let found = first_seen(by_key(&broker.read_all(&topic)));
    assert_eq!(found, expected_by_key(&lines));
}

#[test]
fn an_event_that_is_too_large_is_cut_and_marked_where_that_is_chosen() {
    let broker = Broker::shared();
    let topic = broker.topic("cut", &[]);
    let destination = format!(
        "{PLAIN}topic = \"{topic}\"\nmessage_bytes_max = \"10 KB\"\noversize = \"truncate\"\n"
    );
    let mut scene = Scene::new(&broker, &destination);
    let long = format!(r#"{{"text":"{}"}}"#, "\u{e9}".repeat(10_000));
    let lines = [lines(0..1), vec![long.clone()], lines(1..2)].concat();
    scene.send(&lines);
    scene.drained();
    let messages = broker.read_all(&topic);
    assert_eq!(
        [messages[0].text(), messages[2].text()],
        [&lines[0], &lines[2]]
    );
    assert_eq!(messages[1].headers["truncated"], long.len().to_string());
    assert!(long.starts_with(messages[1].text()) && messages[1].body.len() > 9_000);
    assert!(!messages[0].headers.contains_key("truncated"));
}

#[test]
fn one_event_that_is_too_large_holds_up_none_of_the_others_in_its_batch() {
    let broker = Broker::shared();
    // The second time the topic takes less than the configuration says, so that only the broker
    // can tell.
    for (topic, topic_max, own_max) in [
        ("large-for-us", "max.message.bytes=1048588", "10 KB"),
        ("large-for-the-broker", "max.message.bytes=10000", "1 MB"),
    ] {
        let topic = broker.topic(topic, &[topic_max]);
        let destination =
            format!("{PLAIN}topic = \"{topic}\"\nmessage_bytes_max = \"{own_max}\"\n");
        let mut scene = Scene::new(&broker, &destination);
        let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(20_000));
        let lines = [lines(0..50), vec![long], lines(50..100)].concat();
        scene.send(&lines);
        scene.fails_with("message_size_too_large");
        let mut found = Vec::new();
        eventually("the others have arrived", || {
            found = broker.read_all(&topic);
            first_seen(by_key(&found))
                .values()
                .map(Vec::len)
                .sum::<usize>()
                >= 100
        });
        let found = first_seen(by_key(&found));
        let expected = [&lines[..50], &lines[51..]].concat();
        assert_eq!(found[""], expected, "{topic}");
    }
}

#[test]
fn a_broker_that_is_killed_under_load_costs_no_event_and_no_order() {
    let stage = Stage::new();
    let broker = Broker::own(&stage);
    let topic = broker.topic("killed", &["partitions=3"]);
    let destination = format!("{PLAIN}topic = \"{topic}\"\nkey_field = \"target.id\"\n");
    let mut scene = Scene::on(stage, &broker, &destination);
    let lines = lines(0..60_000);
    let (before, after) = lines.split_at(20_000);
    for part in before.chunks(1_000) {
        scene.send(part);
    }
    // Some of it is delivered, some is on its way, the rest comes while nobody is there.
    broker.run(&["kill"]);
    for part in after.chunks(1_000) {
        scene.send(part);
    }
    broker.run(&["restart"]);
    scene.drained();
    let found = first_seen(by_key(&broker.read_all(&topic)));
    assert_eq!(found, expected_by_key(&lines));
    let Scene { relay, stage, .. } = scene;
    assert!(relay.terminate().success());
    drop(broker);
    drop(stage);
}
