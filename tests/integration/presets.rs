//! What products say in their replies, several URLs and a proxy, with the real program on both ends:
//! `loadgen receive` answers as Splunk and Elasticsearch do.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::harness::{Relay, Stage, Status, eventually};
use crate::peers::Sender;

/// One journal, so that one batch holds what is sent in one piece; `@KEYS@` are the test's.
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
max_bytes = "128 MiB"
min_free_bytes = 0
[admin]
listen = "@ADMIN@"
[input.apps.tcp]
listen = "@TCP@"
ack = true
[stream.siem]
from = "start"
batch.age = "200ms"
retry = { delay_min = "5ms", delay_max = "40ms", probe_every = "200ms" }
[stream.siem.http]
@KEYS@
"#;

const TOKEN: &str = "tok-5eca-11fe";

fn relay(stage: &Stage, keys: &str) -> Relay {
    stage.relay(&CONFIG.replace("@KEYS@", keys))
}

/// Lines without a stamp that an endpoint has kept; each counts as often as it came.
fn kept(stage: &Stage, name: &str) -> u64 {
    let report = stage.loadgen("kept", &format!("verify --store @DIR@/{name}"));
    report.wait().figure("foreign")
}

/// Sends so many events in one piece and waits until they are durable.
fn send(stage: &Stage, count: u64) {
    send_lines(stage, &good(count));
}

/// The same with one more, which no product takes, at this place.
fn send_with_poison(stage: &Stage, count: u64, at: usize) {
    let mut lines = good(count);
    lines.insert(at, "{\"poison\":true}\n".to_owned());
    send_lines(stage, &lines);
}

fn good(count: u64) -> Vec<String> {
    (0..count).map(|n| format!("{{\"n\":{n}}}\n")).collect()
}

fn send_lines(stage: &Stage, lines: &[String]) {
    let mut sender = Sender::connect(stage.tcp);
    sender.send(lines.concat());
    let told = sender.acked(lines.len() as u64);
    assert_eq!(told.rejected_total, 0);
}

fn failures(status: &Status, reason: &str) -> u64 {
    let streams = status.0["streams"].as_array().expect("a list of streams");
    streams[0]["failures"][reason].as_u64().unwrap_or(0)
}

#[test]
fn elastic_takes_each_event_once_whatever_it_says_of_the_others() {
    let stage = Stage::new();
    let more = format!("--fake elastic --fake-token {TOKEN} --busy-every 7");
    let endpoint = stage.receiver(&more);
    let mut relay = relay(
        &stage,
        &format!("preset = \"elastic\"\nurl = \"http://@SINK@\"\ntoken = \"{TOKEN}\""),
    );
    send_with_poison(&stage, 500, 250);
    eventually("all good events have come", || {
        relay.ensure_running();
        kept(&stage, "bodies") >= 500
    });
    eventually("the poison was named", || {
        failures(&relay.status(), "elastic_mapping") > 0
    });
    assert_eq!(kept(&stage, "bodies"), 500, "one for each _id");
    let status = relay.status();
    status.assert_balanced();
    assert_eq!(failures(&status, "http_5xx"), 0, "{}", status.0);
    endpoint.kill();
}

#[test]
fn splunk_takes_the_events_before_one_that_it_rejects_once() {
    let stage = Stage::new();
    let endpoint = stage.receiver(&format!("--fake splunk-hec --fake-token {TOKEN}"));
    let mut relay = relay(
        &stage,
        &format!("preset = \"splunk_hec\"\nurl = \"http://@SINK@\"\ntoken = \"{TOKEN}\""),
    );
    send_with_poison(&stage, 500, 500);
    eventually("all good events have come", || {
        relay.ensure_running();
        kept(&stage, "bodies") >= 500
    });
    eventually("the poison was named", || {
        failures(&relay.status(), "hec_data") > 0
    });
    assert_eq!(kept(&stage, "bodies"), 500);
    endpoint.kill();
}

#[test]
fn splunk_s_acknowledgement_makes_delivered_and_every_event_arrives_as_it_was_sent() {
    let stage = Stage::new();
    let endpoint = stage.receiver(&format!(
        "--fake splunk-hec --fake-token {TOKEN} --ack-after 1"
    ));
    std::fs::write(stage.path("token"), format!("{TOKEN}\n")).expect("write the token");
    let mut relay = relay(
        &stage,
        "preset = \"splunk_hec\"\nurl = \"http://@SINK@\"\ntoken_file = \"@DIR@/token\"\n\
         indexer_acknowledgement = true",
    );
    let books = stage.path("lines.state");
    let lines = stage.loadgen(
        "lines",
        "send --tcp @TCP@ --ack --connections 2 --events 2000 --state @DIR@/lines.state",
    );
    lines.wait().assert_nothing_lost();
    relay.wait_drained("siem").assert_all_delivered(&["siem"]);
    assert_eq!(relay.log().matches(TOKEN).count(), 0);
    let report = stage.verify_bodies(&[books]);
    report.assert_nothing_lost();
    assert_eq!(report.figure("duplicated"), 0, "{report:?}");
    endpoint.kill();
}

#[test]
fn what_no_indexer_acknowledges_is_not_delivered() {
    let stage = Stage::new();
    let endpoint = stage.receiver("--fake splunk-hec --ack-after 1000000");
    let mut relay = relay(
        &stage,
        "preset = \"splunk_hec\"\nurl = \"http://@SINK@\"\ntoken = \"any-token\"\n\
         indexer_acknowledgement = true\nack_timeout = \"1s\"",
    );
    send(&stage, 20);
    eventually("the indexer was waited for in vain", || {
        relay.ensure_running();
        failures(&relay.status(), "hec_ack") > 0
    });
    let status = relay.status();
    assert_eq!(status.stream("siem", "delivered"), 0, "{}", status.0);
    assert_eq!(status.stream("siem", "pending"), 20);
    endpoint.kill();
}

#[test]
fn deliveries_go_to_the_next_url_while_the_first_is_gone_and_come_back_to_it() {
    let stage = Stage::new();
    let first = stage.receiver_at(stage.sink, "first", "");
    let second = stage.receiver_at(stage.other, "second", "");
    let mut relay = relay(
        &stage,
        "url = [\"http://@SINK@/in\", \"http://@OTHER@/in\"]",
    );
    send(&stage, 30);
    relay.wait_drained("siem");
    assert_eq!((kept(&stage, "first"), kept(&stage, "second")), (30, 0));
    first.kill();
    send(&stage, 30);
    relay.wait_drained("siem");
    assert_eq!((kept(&stage, "first"), kept(&stage, "second")), (30, 30));
    let first = stage.receiver_at(stage.sink, "first", "");
    let mut sent = 60;
    eventually("the first one gets events again", || {
        send(&stage, 1);
        sent += 1;
        relay.wait_drained("siem");
        kept(&stage, "first") > 30
    });
    let status = relay.wait_drained("siem");
    assert_eq!(status.stream("siem", "delivered"), sent, "{}", status.0);
    assert_eq!(kept(&stage, "first") + kept(&stage, "second"), sent);
    first.kill();
    second.kill();
}

#[test]
fn a_proxy_is_the_only_one_that_is_connected_to() {
    let stage = Stage::new();
    let endpoint = stage.receiver("");
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let proxy = proxy_to(stage.sink, Arc::clone(&asked));
    // Nobody but the proxy knows that name.
    let mut relay = relay(
        &stage,
        &format!(
            "url = \"http://siem.invalid:8088/in\"\nproxy = \"http://{proxy}\"\n\
             proxy_authorization = \"Basic cHJveHk6c2VzYW1l\""
        ),
    );
    send(&stage, 30);
    relay.wait_drained("siem").assert_all_delivered(&["siem"]);
    assert_eq!(kept(&stage, "bodies"), 30);
    let heads = asked.lock().expect("no holder panicked").concat();
    assert!(
        heads.starts_with("POST http://siem.invalid:8088/in HTTP/1.1\r\n"),
        "{heads}"
    );
    let heads = heads.to_lowercase();
    assert!(
        heads.contains("proxy-authorization: basic chjvehk6c2vzyw1l\r\n"),
        "{heads}"
    );
    endpoint.kill();
}

/// A proxy whose every connection leads to `destination`; it notes the first head of each.
fn proxy_to(destination: SocketAddr, asked: Arc<Mutex<Vec<String>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    start(move || {
        for client in listener.incoming() {
            let (client, asked) = (client.expect("a connection"), Arc::clone(&asked));
            start(move || {
                // Either end may close at any time; the test looks at what came through.
                forward(client, destination, &asked).ok();
            });
        }
    });
    address
}

fn forward(
    client: TcpStream,
    destination: SocketAddr,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut from_client = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from_client.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let mut upstream = TcpStream::connect(destination)?;
    upstream.write_all(head.as_bytes())?;
    asked.lock().expect("no holder panicked").push(head);
    let (mut back, mut to_client) = (upstream.try_clone()?, client);
    start(move || {
        std::io::copy(&mut back, &mut to_client).ok();
        to_client.shutdown(Shutdown::Both).ok();
    });
    std::io::copy(&mut from_client, &mut upstream)?;
    upstream.shutdown(Shutdown::Both)
}

fn start(body: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new()
        .name("proxy".to_owned())
        .spawn(body)
        .expect("a thread");
}
