//! Relays that die: SIGKILL at random moments under load, and ends in good order.
//!
//! Owns the proof that an acknowledged event survives the process, that what is sent again carries
//! the identity of its first try, and that the books balance in every life.

use crate::harness::Stage;

/// A small journal whose segments roll, both inputs, an endpoint and a file.
const CONFIG: &str = r#"
[node]
data_dir = "@DIR@/data"
shards = 2
journals = 2
[admin]
listen = "@ADMIN@"
[journal]
segment_bytes = "4 MiB"
[input.lines.tcp]
listen = "@TCP@"
ack = true
[input.web.http]
listen = "@HTTP@"
[stream.siem]
from = "start"
[stream.siem.batch]
bytes = "1 MiB"
age = "100ms"
[stream.siem.http]
url = "http://@SINK@/ingest"
[stream.archive]
from = "start"
[stream.archive.file]
path = "@DIR@/out/events.ndjson"
"#;

#[test]
fn starts_and_stops() {
    let stage = Stage::new();
    let receiver = stage.receiver("");
    let relay = stage.relay(CONFIG);
    let sender = stage.loadgen(
        "lines",
        "send --tcp @TCP@ --ack --connections 4 --duration 1s --state @DIR@/lines.state --rate 5MB",
    );
    let report = sender.wait();
    eprintln!("{report:?}");
    relay.status().assert_balanced();
    assert!(relay.terminate().success());
    drop(receiver.stop());
    let report = stage.verify_bodies(&[stage.path("lines.state")]);
    report.assert_nothing_lost();
}
