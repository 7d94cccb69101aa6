//! A disk that takes no write any more, and then does again.
//!
//! Owns the proof that the node stays up, acknowledges nothing it could not keep, says so on every
//! page, and goes on by itself; and that one which is stopped meanwhile says what it drops. The
//! disk fails by the limit on file sizes, taken down to nothing while the relay runs: from then on
//! every write of its process to a file fails, through io_uring and on every file system, and
//! reading goes on.

use std::process::Command;

use rustix::process::{Resource, Rlimit, Signal, prlimit};

use crate::harness::{Relay, Stage, eventually, get};
use crate::peers::{Client, Sender, Told};
use crate::scene::sample_of;

const CONFIG: &str = r#"
[node]
data_dir = "@DIR@/data"
shards = 1
journals = 1
pin = false
io_uring = @IO_URING@
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
[input.web.http]
listen = "@HTTP@"
[stream.archive]
from = "start"
batch.age = "5ms"
[stream.archive.file]
path = "@DIR@/out/events.ndjson"
"#;

/// A relay whose disk can be made to fail.
struct Failing {
    stage: Stage,
    relay: Relay,
}

impl Failing {
    /// The signal that comes with the limit is ignored, which a program inherits; the log goes
    /// through a pipe, which has no limit.
    fn start(io_uring: bool) -> Self {
        let stage = Stage::new();
        let config = CONFIG.replace("@IO_URING@", &io_uring.to_string());
        let file = stage.write_config(&config);
        let mut command = Command::new("bash");
        let script = r#"trap '' XFSZ; exec "$0" run --config "$1" 2> >(cat >&2)"#;
        command.args(["-c", script, env!("CARGO_BIN_EXE_weir")]);
        command.arg(file);
        let mut relay = stage.start(command);
        relay.wait_ready();
        Self { stage, relay }
    }

    /// From now on every write to a file fails, or none.
    fn set_failing(&self, failing: bool) {
        let limit = Rlimit {
            current: failing.then_some(0),
            maximum: None,
        };
        prlimit(Some(self.relay.pid()), Resource::Fsize, limit).expect("limit a child");
    }

    /// A node that can make nothing durable says so everywhere, and lives.
    fn says_so(&self) {
        let failed = "weir_journal_gate{journal=\"0\",state=\"failed\"}";
        eventually("the gate is failed", || {
            sample_of(&self.relay.metrics(), failed) == 1
        });
        let (ready, why) = get(self.stage.admin, "/readyz").expect("it answers");
        assert_eq!(ready, 503, "{why}");
        assert!(why.contains("can make nothing durable"), "{why}");
        let (healthy, _) = get(self.stage.admin, "/healthz").expect("it answers");
        assert_eq!(healthy, 200, "waiting for a disk is turning");
        let status = self.relay.status();
        status.assert_balanced();
        assert_eq!(status.0["journals"][0]["gate"], "failed", "{}", status.0);
    }

    /// Posts until the disk's trouble is found; what is answered meanwhile is no success.
    fn is_refused(&self) {
        let mut last = String::new();
        eventually(
            "HTTP is refused because nothing can be made durable",
            || {
                let mut client = Client::connect(self.stage.http);
                let answer = client.post("", b"{\"refused\":true}\n");
                assert_eq!(answer.status, 503, "{answer:?}");
                last = answer.body.to_string();
                last.contains("\"failed\"") || last.contains("durable")
            },
        );
    }
}

fn lines(name: &str, count: u64) -> String {
    let line = |number| format!("{{\"{name}\":{number}}}\n");
    (0..count).map(line).collect()
}

fn archived(stage: &Stage) -> Vec<String> {
    let archive = stage.path("out/events.ndjson");
    let archive = std::fs::read_to_string(archive).expect("the archive was written");
    archive.lines().map(str::to_owned).collect()
}

/// Lines of the archive that begin with `{"name":`, in their order.
fn of(archive: &[String], name: &str) -> String {
    let start = format!("{{\"{name}\":");
    let own = archive.iter().filter(|line| line.starts_with(&start));
    own.map(|line| format!("{line}\n")).collect()
}

fn fails_and_recovers(io_uring: bool) {
    let mut failing = Failing::start(io_uring);
    let mut sender = Sender::connect(failing.stage.tcp);
    sender.send(lines("before", 100));
    sender.acked(100);

    failing.set_failing(true);
    // A sender that waits for an acknowledgement gets none, and is not left to wait: it has to
    // come back with what is not acknowledged.
    sender.send(lines("during", 100));
    assert_eq!(sender.acked_until_closed(), Told::default());
    failing.is_refused();
    failing.says_so();
    let mut sender = Sender::connect(failing.stage.tcp);
    sender.send(lines("during", 100));
    failing.relay.ensure_running();

    failing.set_failing(false);
    let told = sender.acked(100);
    assert_eq!(told.rejected_total, 0, "{told:?}");
    failing.relay.wait_ready();
    let answer = Client::connect(failing.stage.http).post("", lines("after", 100).as_bytes());
    assert_eq!(
        (answer.status, &answer.body["accepted"]),
        (200, &100.into())
    );
    failing.relay.wait_drained("archive").assert_balanced();

    // Stopped and started once more, it is as if nothing had been.
    let Failing { stage, relay } = failing;
    assert!(relay.terminate().success());
    let archive = archived(&stage);
    for name in ["before", "after"] {
        assert_eq!(of(&archive, name), lines(name, 100), "{name}");
    }
    // Taken in before the disk failed and kept, and sent again: once each, in order both times.
    assert_eq!(of(&archive, "during"), lines("during", 100).repeat(2));
}

#[test]
fn a_disk_that_fails_every_write_is_survived_and_told_and_what_waited_is_kept() {
    fails_and_recovers(true);
}

#[test]
fn the_same_without_io_uring() {
    fails_and_recovers(false);
}

#[test]
fn a_relay_stopped_while_its_disk_fails_says_what_it_drops_and_ends_with_1() {
    let mut failing = Failing::start(true);
    let mut sender = Sender::connect(failing.stage.tcp);
    sender.send(lines("before", 100));
    sender.acked(100);
    failing.set_failing(true);
    sender.send(lines("dropped", 7));
    failing.says_so();
    failing.relay.signal(Signal::TERM);
    let status = failing.relay.ended();
    assert_eq!(status.code(), Some(1), "{}", failing.relay.log());
    let told = "7 lines could not be made durable and are dropped";
    eventually("the log says what was dropped", || {
        failing.relay.log().contains(told)
    });

    // The next start has what was acknowledged.
    let Failing { stage, .. } = failing;
    let mut relay = stage.relay(&CONFIG.replace("@IO_URING@", "true"));
    relay.wait_drained("archive").assert_balanced();
    assert!(relay.terminate().success());
    assert_eq!(of(&archived(&stage), "before"), lines("before", 100));
}
