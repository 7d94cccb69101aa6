//! A firewall on the way that answers 403 with a page of its own to requests it dislikes, and lets
//! all others through: what it dislikes is found and is a dead letter, all else arrives at the real
//! peer, and the stream does not park, because the probe passes.
//!
//! That of `http` itself is with the other refusals.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use flate2::read::MultiGzDecoder;

use crate::faults::CONFIG;
use crate::harness::{Stage, eventually, free_address};
use crate::peers::Sender;
use crate::refusal::{audited, letters, reasons};

const EVENTS: usize = 300;

/// The numbers of the events that the firewall dislikes: at both ends, side by side, and alone.
const DISLIKED: [usize; 5] = [0, 37, 38, 150, 299];

/// What they hold.
const ATTACK: &str = "' OR 1=1 --";

/// Sends events through the firewall to a destination of this kind; gives those that pass.
fn suffer(stage: &Stage, kind: &str) -> Vec<String> {
    let mut relay = stage.relay(&CONFIG.replace("@KIND@", kind));
    let event = |n: usize| {
        let text = if DISLIKED.contains(&n) { ATTACK } else { "né" };
        format!("{{\"n\":{n},\"text\":\"{text}\"}}")
    };
    let sent: Vec<String> = (0..EVENTS).map(event).collect();
    let mut sender = Sender::connect(stage.tcp);
    sender.send(sent.join("\n") + "\n");
    assert_eq!(sender.acked(EVENTS as u64).rejected_total, 0);
    let archive = relay.wait_drained("archive");
    assert_eq!(archive.stream("archive", "delivered"), EVENTS as u64);
    let status = relay.wait_drained("siem");
    let passing = (EVENTS - DISLIKED.len()) as u64;
    assert_eq!(status.stream("siem", "delivered"), passing, "{}", status.0);
    eventually("all audit events are written", || {
        relay.status().stream("audit", "pending") == 0
    });
    relay.status().assert_balanced();
    assert!(relay.terminate().success());
    let (disliked, good): (Vec<_>, Vec<_>) =
        sent.into_iter().partition(|event| event.contains(ATTACK));
    assert_eq!(letters(stage), disliked);
    let audit = audited(stage);
    let told = reasons(&audit, "weir.event.dead-letter");
    assert!(!told.is_empty() && told.iter().all(|reason| reason == "http_4xx"));
    assert_eq!(reasons(&audit, "weir.stream.park"), [""; 0]);
    good
}

fn assert_same(mut arrived: Vec<String>, mut expected: Vec<String>) {
    arrived.sort_unstable();
    expected.sort_unstable();
    assert_eq!(arrived, expected);
}

#[test]
fn over_s3_what_a_firewall_dislikes_is_a_dead_letter_and_all_else_is_stored_once() {
    let service = crate::s3::Service::shared();
    let firewall = firewall_before(service.address());
    for content_type in ["text/plain", "application/gzip"] {
        let stage = Stage::new();
        let folder = stage.path("");
        let prefix = folder.file_name().expect("a folder").to_string_lossy();
        let more = format!("content_type = \"{content_type}\"");
        let keys = service.destination(&prefix, &more);
        let through = keys.replace(&service.address().to_string(), &firewall.to_string());
        let good = suffer(&stage, &format!("[stream.siem.s3]\n{through}"));
        let objects = service.contents(service.value("S3_BUCKET"), &prefix);
        let texts = objects.iter().map(|object| text_of(object));
        let arrived = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
        assert_same(arrived.collect(), good);
    }
}

#[test]
fn over_a_relay_what_a_firewall_dislikes_is_a_dead_letter_and_all_else_is_stored_once() {
    let (stage, hub_stage) = (Stage::new(), Stage::new());
    let mut hub = hub_stage.relay(&crate::relay::HUB.replace("@TOKEN@", crate::relay::TOKEN));
    let firewall = firewall_before(hub_stage.http);
    let token = crate::relay::TOKEN;
    let kind = format!("[stream.siem.relay]\nurl = \"http://{firewall}\"\ntoken = \"{token}\"\n");
    let good = suffer(&stage, &kind);
    hub.wait_drained("archive").assert_balanced();
    let mut arrived = crate::relay::archived(&hub_stage, "out");
    arrived.retain(|line| !line.contains(weir::stream::probe::MESSAGE));
    assert_same(arrived, good);
}

/// Stands before a server from now on; where.
fn firewall_before(server: SocketAddr) -> SocketAddr {
    let address = free_address();
    let listener = TcpListener::bind(address).expect("the address is free");
    start(move || {
        for client in listener.incoming() {
            let client = client.expect("a connection");
            // A connection that ends is none of the firewall's business.
            start(move || drop(inspect(&client, server)));
        }
    });
    address
}

/// Passes on the requests of a connection that are not disliked, and all answers.
fn inspect(mut client: &TcpStream, server: SocketAddr) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server)?;
    let (mut answers, mut back) = (server.try_clone()?, client.try_clone()?);
    start(move || {
        drop(std::io::copy(&mut answers, &mut back));
        back.shutdown(Shutdown::Both).ok();
    });
    let mut requests = BufReader::new(client.try_clone()?);
    while !requests.fill_buf()?.is_empty() {
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let line = head.len();
            requests.read_line(&mut head)?;
            let line = head[line..].to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            assert!(!line.starts_with("transfer-encoding:"), "{line}");
        }
        let mut body = vec![0; length];
        requests.read_exact(&mut body)?;
        if text_of(&body).contains(ATTACK) {
            client.write_all(PAGE.as_bytes())?;
        } else {
            server.write_all(&[head.as_bytes(), &body].concat())?;
        }
    }
    server.shutdown(Shutdown::Write)
}

/// A body, unpacked where it is gzip.
fn text_of(body: &[u8]) -> String {
    let mut text = body.to_vec();
    if body.starts_with(&[0x1f, 0x8b]) {
        text.clear();
        let mut members = MultiGzDecoder::new(body);
        members.read_to_end(&mut text).expect("gzip");
    }
    String::from_utf8(text).expect("events are UTF-8")
}

/// The firewall's answer.
const PAGE: &str = "HTTP/1.1 403 Forbidden\r\nServer: firewall\r\nContent-Type: text/html\r\n\
    Content-Length: 95\r\n\r\n<!DOCTYPE html>\
    <html><head><title>Blocked</title></head><body>Incident &nbsp;4711</body></html>";

fn start(body: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name("firewall".to_owned());
    thread.spawn(body).expect("a thread");
}
