//! What the way to a destination does: for each kind that a proxy can stand before, connections that
//! are refused, end amid a batch, swallow everything or are slow, one after the other. Every event
//! arrives, in order but for what a destination may have twice, nothing is given up, the other stream
//! does not notice, and nothing is started anew.
//!
//! Kafka is in `kafka_faults`: its client talks to the addresses that brokers tell. Syslog is in
//! `syslog_faults`: its receiver does not say what it has.

use std::time::Duration;

use crate::destination::{Destination, TAKEN};
use crate::fault_proxy::{Fault, FaultProxy};
use crate::harness::{Relay, Stage, eventually};
use crate::peers::Sender;

/// A stream to a destination of some kind, and two that have nothing to do with it.
pub(crate) const CONFIG: &str = r#"
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
batch = { records = 50, age = "5ms" }
retry = { delay_min = "5ms", delay_max = "100ms", probe_every = "200ms" }
@KIND@
[stream.archive]
from = "start"
batch.age = "5ms"
[stream.archive.file]
path = "@DIR@/out/events.ndjson"
[stream.audit]
from = "start"
audit = "only"
batch.age = "5ms"
[stream.audit.file]
path = "@DIR@/out/audit.ndjson"
"#;

/// Events sent during each fault.
const EVENTS: u64 = 200;

/// More than the destination's answers take: an end amid a batch.
const AMID: usize = 3_000;

/// The faults, in the order they come.
const FAULTS: [Fault; 4] = [
    Fault::Refused,
    Fault::ResetAfter(AMID),
    Fault::BlackHole,
    Fault::Slow(Duration::from_secs(5)),
];

/// Puts the faults in the way of a stream of this kind, and gives what was sent.
fn suffer(stage: &Stage, proxy: &FaultProxy, kind: &str) -> (Relay, Vec<String>) {
    let mut relay = stage.relay(&CONFIG.replace("@KIND@", kind));
    let mut sender = Sender::connect(stage.tcp);
    let mut sent: Vec<String> = Vec::new();
    for fault in FAULTS {
        let before = relay.wait_drained("siem");
        proxy.set(fault);
        let first = sent.len() as u64;
        // Digits that do not compress, so that a batch is longer than what passes.
        let noise = |n: u64| -> String {
            (0..8)
                .map(|part| {
                    format!(
                        "{:016x}",
                        (n * 8 + part + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    )
                })
                .collect()
        };
        let lines: Vec<String> = (first..first + EVENTS)
            .map(|n| format!("{{\"n\":{n},\"noise\":\"{}\"}}", noise(n)))
            .collect();
        sender.send(lines.join("\n") + "\n");
        sent.extend(lines);
        let told = sender.acked(sent.len() as u64);
        assert_eq!(told.rejected_total, 0);
        relay.wait_drained("archive");
        eventually(&format!("{fault:?} was met"), || proxy.met() > 0);
        if fault == Fault::BlackHole {
            // It is given up by its timeout, and met again.
            eventually("the black hole was met again", || proxy.met() > 1);
        }
        if !matches!(fault, Fault::Slow(_)) {
            let status = relay.status();
            let delivered = status.stream("siem", "delivered");
            assert!(
                delivered < before.stream("siem", "delivered") + EVENTS,
                "{fault:?} let all pass"
            );
            proxy.set(Fault::None);
        }
        let status = relay.wait_drained("siem");
        assert_eq!(status.stream("siem", "dead_lettered"), 0, "{fault:?}");
        assert_eq!(
            status.stream("siem", "delivered"),
            sent.len() as u64,
            "{fault:?}"
        );
        status.assert_balanced();
    }
    (relay, sent)
}

/// The events in the order they arrived first.
pub(crate) fn first_seen(arrived: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    arrived
        .into_iter()
        .filter(|line| seen.insert(line.clone()))
        .collect()
}

#[test]
fn over_http_whatever_the_way_does_every_event_arrives_in_order() {
    let stage = Stage::new();
    let destination = Destination::listen(|_| TAKEN);
    let address = destination.url();
    let address = address
        .trim_start_matches("http://")
        .trim_end_matches("/in");
    let proxy = FaultProxy::before(address.parse().expect("an address"));
    let kind = format!(
        "[stream.siem.http]\nurl = \"http://{}/in\"\nrequest_timeout = \"15s\"\n",
        proxy.address()
    );
    let (_relay, sent) = suffer(&stage, &proxy, &kind);
    let requests = destination.requests();
    let taken = requests.iter().filter(|request| request.taken());
    let arrived = taken.flat_map(|request| request.events.clone()).collect();
    assert_eq!(first_seen(arrived), sent);
}

#[test]
fn over_s3_whatever_the_way_does_every_event_arrives_once() {
    let stage = Stage::new();
    let service = crate::s3::Service::shared();
    let proxy = FaultProxy::before(service.address());
    let prefix = format!("faults-{}", std::process::id());
    let more = "content_type = \"application/gzip\"\nrequest_timeout = \"15s\"";
    let keys = service.destination(&prefix, more);
    let through = keys.replace(&service.address().to_string(), &proxy.address().to_string());
    let kind = format!("[stream.siem.s3]\n{through}\n");
    let (_relay, sent) = suffer(&stage, &proxy, &kind);
    let bucket = service.value("S3_BUCKET").to_owned();
    let mut arrived: Vec<String> = service
        .contents(&bucket, &prefix)
        .iter()
        .flat_map(|object| crate::s3::lines_of(object))
        .collect();
    let mut sent = sent;
    arrived.sort_unstable();
    sent.sort_unstable();
    assert_eq!(arrived, sent);
}

#[test]
fn over_a_relay_whatever_the_way_does_every_event_is_stored_once() {
    let (stage, hub_stage) = (Stage::new(), Stage::new());
    let mut hub = hub_stage.relay(&crate::relay::HUB.replace("@TOKEN@", crate::relay::TOKEN));
    let proxy = FaultProxy::before(hub_stage.http);
    let kind = format!(
        "[stream.siem.relay]\nurl = \"http://{}\"\ntoken = \"{}\"\nrequest_timeout = \"15s\"\n",
        proxy.address(),
        crate::relay::TOKEN
    );
    let (_relay, mut sent) = suffer(&stage, &proxy, &kind);
    hub.wait_drained("archive").assert_balanced();
    let mut arrived = crate::relay::archived(&hub_stage, "out");
    arrived.sort_unstable();
    sent.sort_unstable();
    assert_eq!(arrived, sent);
}
