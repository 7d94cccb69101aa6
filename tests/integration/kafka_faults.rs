//! What happens to brokers, and on the way to them, while events flow: connections that break or
//! hang, a topic that is deleted, a leader that moves. No event and no order of a key is lost; what
//! is in a topic twice is there under the identity of the first try; the other stream does not
//! notice, and nothing is started anew.

use std::collections::HashSet;
use std::time::Duration;

use crate::fault_proxy::{Fault, FaultProxy};
use crate::faults::CONFIG;
use crate::harness::{Relay, Stage, Status, eventually};
use crate::kafka::{PLAIN, by_key, expected_by_key, first_seen, lines};
use crate::kafka_broker::{Broker, Read};
use crate::peers::Sender;
use crate::refusal::{audited, reasons};

/// Events of a batch, as the configuration has it.
const BATCH: u64 = 50;

/// A relay that delivers to a topic, and what was sent to it.
struct Flow {
    stage: Stage,
    relay: Relay,
    sender: Sender,
    sent: Vec<String>,
}

impl Flow {
    fn begin(broker: &Broker, destination: &str) -> Self {
        let stage = Stage::new();
        let kind = format!("[stream.siem.kafka]\nkey_field = \"target.id\"\n{destination}");
        let relay = stage.relay(&broker.fill(&CONFIG.replace("@KIND@", &kind)));
        Self {
            sender: Sender::connect(stage.tcp),
            stage,
            relay,
            sent: Vec::new(),
        }
    }

    /// Sends so many events and returns amid their delivery.
    fn send(&mut self, count: usize) {
        let before = self.relay.status().stream("siem", "delivered");
        let first = self.sent.len();
        let lines = lines(first..first + count);
        self.sender.send(lines.join("\n") + "\n");
        self.sent.extend(lines);
        let told = self.sender.acked(self.sent.len() as u64);
        assert_eq!(told.rejected_total, 0);
        eventually("some are delivered", || {
            self.relay.status().stream("siem", "delivered") > before
        });
    }

    fn failures(&self, word: &str) -> u64 {
        siem(&self.relay.status())["failures"][word]
            .as_u64()
            .unwrap_or(0)
    }

    /// Everything is delivered; how often a delivery had failed.
    fn drained(&mut self) -> u64 {
        let archive = self.relay.wait_drained("archive");
        assert_eq!(
            archive.stream("archive", "delivered"),
            self.sent.len() as u64
        );
        let status = self.relay.wait_drained("siem");
        status.assert_balanced();
        assert_eq!(status.stream("siem", "dead_lettered"), 0);
        let failures = siem(&status)["failures"].as_object().expect("failures");
        failures
            .values()
            .filter_map(serde_json::Value::as_u64)
            .sum()
    }

    /// Reasons of the audit events of an action.
    fn told(&self, action: &str) -> Vec<String> {
        eventually("all audit events are written", || {
            self.relay.status().stream("audit", "pending") == 0
        });
        reasons(&audited(&self.stage), action)
    }

    /// Every event is in the topic, in the order of its key; messages that are there twice.
    fn assert_arrived(&self, broker: &Broker, topic: &str) -> u64 {
        let messages = broker.read_all(topic);
        let found = first_seen(by_key(&messages));
        assert_eq!(found, expected_by_key(&self.sent));
        assert_eq!(identities(&messages).len(), self.sent.len());
        (messages.len() - self.sent.len()) as u64
    }
}

/// What tells messages apart, besides their text.
fn identities(messages: &[Read]) -> HashSet<(&str, &str)> {
    let headers = messages.iter().map(|message| &message.headers);
    headers
        .map(|headers| (&*headers["weir-batch"], &*headers["weir-event"]))
        .collect()
}

fn siem(status: &Status) -> &serde_json::Value {
    let streams = status.0["streams"].as_array().expect("a list of streams");
    let siem = streams.iter().find(|stream| stream["name"] == "siem");
    siem.expect("the stream")
}

/// Lets events flow while the way does this, and is mended once `words` were told; without any it
/// stays as it is.
fn suffer(broker: &Broker, proxy: &FaultProxy, fault: Fault, timeout: &str, words: &[&str]) {
    let topic = broker.topic("faults", &["partitions=3"]);
    let destination = format!("{PLAIN}topic = \"{topic}\"\ndelivery_timeout = \"{timeout}\"\n");
    let mut flow = Flow::begin(broker, &destination);
    flow.send(2_000);
    proxy.set(fault);
    for word in words {
        eventually(&format!("{fault:?} is told as {word}"), || {
            flow.failures(word) > 0
        });
    }
    if fault != Fault::Dropped {
        eventually(&format!("{fault:?} was met"), || proxy.met() > 0);
    }
    let archive = flow.relay.wait_drained("archive");
    if !words.is_empty() {
        assert!(archive.stream("siem", "pending") > 0, "{fault:?}");
        proxy.set(Fault::None);
    }
    let failed = flow.drained();
    let twice = flow.assert_arrived(broker, &topic);
    eprintln!("{fault:?}: {failed} deliveries failed, {twice} messages twice");
    assert!(twice <= failed * BATCH, "{fault:?}: {twice} messages twice");
    let told = flow.told("weir.streaming-logs.send");
    for word in words {
        assert!(told.iter().any(|told| told == word), "{word}: {told:?}");
    }
    assert_eq!(flow.told("weir.stream.park"), [""; 0]);
}

#[test]
fn whatever_the_way_to_the_broker_does_no_event_and_no_order_is_lost() {
    let stage = Stage::new();
    let (broker, proxy) = Broker::own_behind_proxy(&stage);
    let broken = ["broker_transport_failure"];
    let silent = ["message_timed_out"];
    for (fault, timeout, words) in [
        (Fault::ResetAfter(6_000), "2s", &broken[..]),
        (Fault::BlackHole, "2s", &silent),
        (Fault::Dropped, "2s", &silent),
        // Longer than the delay: librdkafka helps itself.
        (Fault::Slow(Duration::from_secs(5)), "30s", &[]),
    ] {
        suffer(&broker, &proxy, fault, timeout, words);
        proxy.set(Fault::None);
    }
}

#[test]
fn a_topic_that_is_deleted_while_running_gets_what_was_not_delivered_once_it_is_made_again() {
    let broker = Broker::shared();
    for made_again_at_once in [false, true] {
        let topic = broker.topic("deleted", &["partitions=3"]);
        let mut flow = Flow::begin(&broker, &format!("{PLAIN}topic = \"{topic}\"\n"));
        // More than is delivered until the topic is gone.
        flow.send(12_000);
        broker.run(&["topic", "delete", &topic]);
        let mut delivered = 12_000;
        if !made_again_at_once {
            eventually("the stream is parked", || {
                let status = flow.relay.status();
                delivered = status.stream("siem", "delivered");
                siem(&status)["lanes"][0]["activity"] == "parked"
            });
        }
        broker.run(&["topic", "create", &topic, "partitions=3"]);
        flow.send(1_000);
        flow.drained();
        let messages = broker.read_all(&topic);
        let arrived: HashSet<&str> = messages.iter().map(Read::text).collect();
        let mut missed = flow.sent[usize::try_from(delivered).expect("few")..].iter();
        assert!(missed.all(|line| arrived.contains(line.as_str())));
        // What went with the old topic is what stood first in it.
        let sent = expected_by_key(&flow.sent);
        for (key, events) in first_seen(by_key(&messages)) {
            assert!(sent[&key].ends_with(&events), "{key}");
        }
        if !made_again_at_once {
            assert_eq!(arrived.len() as u64, 13_000 - delivered);
            let parked = flow.told("weir.stream.park");
            assert_eq!(parked, ["unknown_topic_or_partition"]);
            assert_eq!(flow.told("weir.stream.resume"), ["OK"]);
        }
    }
}

#[test]
fn a_leader_that_moves_costs_no_event_and_no_order() {
    let stage = Stage::new();
    let first = Broker::own(&stage);
    let second = first.joined(&stage);
    let topic = first.topic("moved", &["partitions=3", "replicas=2,1"]);
    let brokers = [&first, &second].map(|broker| format!("{:?}", broker.at("KAFKA_PLAINTEXT")));
    let brokers = brokers.join(", ");
    let destination = format!("brokers = [{brokers}]\ntls = false\ntopic = \"{topic}\"\n");
    let mut flow = Flow::begin(&first, &destination);
    eventually("broker 2 leads", || first.leaders(&topic) == [2; 3]);
    let mut moves_to = |leader: i32, how: &(dyn Fn() + Sync)| {
        std::thread::scope(|scope| {
            scope.spawn(how);
            eventually(&format!("broker {leader} leads"), || {
                flow.send(200);
                first.leaders(&topic) == [leader; 3]
            });
        });
        flow.send(1_000);
    };
    moves_to(1, &|| second.run(&["kill"]));
    second.run(&["restart"]);
    // This time it is told to, and nobody dies.
    moves_to(2, &|| first.run(&["topic", "elect", &topic]));
    let failed = flow.drained();
    let twice = flow.assert_arrived(&first, &topic);
    eprintln!("{failed} deliveries failed, {twice} messages twice");
    assert!(twice <= failed * BATCH, "{twice} messages twice");
    assert_eq!(flow.told("weir.stream.park"), [""; 0]);
}
