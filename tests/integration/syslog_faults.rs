//! What the way to a receiver of syslog does. The receiver never says what it has; what counts is
//! what its kernel acknowledged. So nothing is lost that a way refused, delayed, dropped or cut off
//! before that; what somebody acknowledged and then lost is lost, and the stream goes on.

use std::time::Duration;

use crate::fault_proxy::{Fault, FaultProxy};
use crate::faults::{CONFIG, first_seen};
use crate::harness::{Relay, Stage, eventually};
use crate::peers::Sender;
use crate::refusal::{audited, reasons};
use crate::syslog::Rsyslog;

/// Events sent at a time: four batches.
const EVENTS: usize = 200;

/// A relay whose way to rsyslogd leads over a proxy.
struct Flow {
    stage: Stage,
    rsyslog: Rsyslog,
    proxy: FaultProxy,
    relay: Relay,
    sender: Sender,
    application: String,
    sent: Vec<String>,
}

impl Flow {
    fn begin(test: &str, keys: &str) -> Self {
        let (stage, rsyslog) = (Stage::new(), Rsyslog::shared());
        let proxy = FaultProxy::before(rsyslog.value("TCP").parse().expect("an address"));
        let application = format!("{test}-{}", std::process::id());
        let kind = format!(
            "[stream.siem.syslog]\naddress = \"{}\"\napp_name = \"{application}\"\n{keys}",
            proxy.address()
        );
        let relay = stage.relay(&CONFIG.replace("@KIND@", &kind));
        Self {
            sender: Sender::connect(stage.tcp),
            stage,
            rsyslog,
            proxy,
            relay,
            application,
            sent: Vec::new(),
        }
    }

    fn send(&mut self) {
        let first = self.sent.len();
        let events = (first..first + EVENTS).map(|n| format!("{{\"n\":{n}}}"));
        let lines: Vec<String> = events.collect();
        self.sender.send(lines.join("\n") + "\n");
        self.sent.extend(lines);
        let told = self.sender.acked(self.sent.len() as u64);
        assert_eq!(told.rejected_total, 0);
    }

    /// A try failed for this reason, and this is told.
    fn fails_with(&self, word: &str) {
        eventually(&format!("a delivery fails with {word}"), || {
            let told = reasons(&audited(&self.stage), "weir.streaming-logs.send");
            told.iter().any(|told| told == word)
        });
    }

    /// Everything counts as delivered, for the other stream as well.
    fn drained(&mut self) {
        self.relay.wait_drained("archive");
        let status = self.relay.wait_drained("siem");
        status.assert_balanced();
        for stream in ["archive", "siem"] {
            assert_eq!(status.stream(stream, "delivered"), self.sent.len() as u64);
        }
    }

    /// What rsyslogd has, each event once, in the order in which it came first; and how many came
    /// more than once. Waits for the event that was sent last.
    fn arrived(&self) -> (Vec<String>, usize) {
        let mut arrived: Vec<String> = Vec::new();
        eventually("rsyslogd has the last event", || {
            let received = self.rsyslog.received(&self.application);
            let texts = received.iter().map(|message| message["message"].as_str());
            arrived = texts.map(|text| text.expect("text").to_owned()).collect();
            arrived.last() == self.sent.last()
        });
        let count = arrived.len();
        let once = first_seen(arrived);
        let twice = count - once.len();
        (once, twice)
    }
}

/// Whether any socket that is connected to this port has bytes that its peer has not acknowledged:
/// the columns `rem_address` and `tx_queue` of `proc_net_tcp`.
fn has_unacknowledged_bytes(port: u16) -> bool {
    let sockets = std::fs::read_to_string("/proc/net/tcp").expect("the list of sockets");
    sockets.lines().any(|socket| {
        let mut columns = socket.split_whitespace().skip(2);
        let peer = columns.next().unwrap_or_default();
        let queues = columns.nth(1).unwrap_or_default();
        peer.ends_with(&format!(":{port:04X}")) && !queues.starts_with("00000000")
    })
}

#[test]
fn over_syslog_what_no_kernel_acknowledged_is_sent_again_and_no_event_is_lost() {
    for (test, fault, keys, words) in [
        ("refused", Fault::Refused, "", &["connection_closed"][..]),
        (
            "dropped",
            Fault::Dropped,
            "ack_timeout = \"1s\"\nconnect_timeout = \"1s\"\n",
            &["timed_out", "connect_timed_out"],
        ),
        // The end comes while a batch is under way, long before any timeout.
        ("cut", Fault::Dropped, "ack_timeout = \"60s\"\n", &[]),
        ("slow", Fault::Slow(Duration::from_secs(5)), "", &[]),
    ] {
        let mut flow = Flow::begin(test, keys);
        flow.send();
        flow.drained();
        flow.proxy.set(fault);
        flow.send();
        for word in words {
            flow.fails_with(word);
        }
        if test == "cut" {
            let port = flow.proxy.address().port();
            eventually("a batch is under way", || has_unacknowledged_bytes(port));
        }
        if !matches!(fault, Fault::Slow(_)) {
            let delivered = flow.relay.status().stream("siem", "delivered");
            assert_eq!(delivered, EVENTS as u64, "{test}");
            flow.proxy.set(Fault::None);
        }
        if test == "cut" {
            flow.fails_with("connection_closed");
        }
        flow.drained();
        let (arrived, twice) = flow.arrived();
        eprintln!("{test}: {twice} events twice");
        assert_eq!(arrived, flow.sent, "{test}");
    }
}

#[test]
fn over_syslog_what_a_peer_acknowledged_and_lost_is_lost_and_all_later_events_arrive() {
    for (test, fault) in [
        ("swallowed", Fault::BlackHole),
        ("reset", Fault::ResetAfter(3_000)),
    ] {
        let mut flow = Flow::begin(test, "");
        flow.send();
        flow.drained();
        flow.proxy.set(fault);
        flow.send();
        // The proxy's kernel acknowledges all, before the proxy has read a byte. Whether an end is
        // seen in time to be a failure is chance.
        flow.drained();
        assert!(flow.proxy.met() > 0);
        flow.proxy.set(Fault::None);
        flow.send();
        flow.drained();
        let (arrived, twice) = flow.arrived();
        let lost = flow.sent.len() - arrived.len();
        eprintln!("{test}: {lost} events lost, {twice} twice");
        let mut sent = flow.sent.clone();
        sent.retain(|event| arrived.contains(event));
        assert_eq!(arrived, sent, "{test}: in order");
        assert_eq!(arrived[..EVENTS], flow.sent[..EVENTS], "{test}: before");
        let last = arrived.len() - EVENTS;
        assert_eq!(arrived[last..], flow.sent[2 * EVENTS..], "{test}: after");
        if fault == Fault::BlackHole {
            assert_eq!(lost, EVENTS, "nothing told that these were lost");
        }
    }
}
