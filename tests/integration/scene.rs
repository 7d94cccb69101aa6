//! A relay with bystanders: two senders who behave, connected before anything goes wrong,
//! and an archive of what was delivered. Whatever a test does to the relay, they must not
//! notice, and the books must say exactly what happened.

use std::net::SocketAddr;

use crate::harness::{Relay, Stage, Status, eventually};
use crate::peers::{Client, Sender};

/// The most memory a relay may hold, in bytes.
pub(crate) const RESIDENT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Small files and short waits; `@TCP_KEYS@` and `@HTTP_KEYS@` are the test's.
const CONFIG: &str = r#"
[node]
data_dir = "@DIR@/data"
shards = 2
journals = 2
pin = false
drain_timeout = "10s"
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
@TCP_KEYS@
[input.web.http]
listen = "@HTTP@"
@HTTP_KEYS@
[stream.archive]
batch.age = "5ms"
[stream.archive.file]
path = "@DIR@/out/events.ndjson"
"#;

/// What an input is expected to have counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) stored: u64,
    pub(crate) skipped: u64,
    pub(crate) too_long: u64,
    pub(crate) malformed: u64,
}

/// See the module's documentation.
pub(crate) struct Scene {
    pub(crate) stage: Stage,
    pub(crate) relay: Relay,
    by_tcp: Sender,
    by_http: Client,
    /// Lines that each bystander has sent.
    rounds: u64,
}

impl Scene {
    /// A relay with the defaults, and the bystanders at their places.
    pub(crate) fn new() -> Self {
        Self::with("", "")
    }

    /// The same with further keys for the `tcp` and for the `http` input.
    pub(crate) fn with(tcp_keys: &str, http_keys: &str) -> Self {
        let stage = Stage::new();
        let config = CONFIG
            .replace("@TCP_KEYS@", tcp_keys)
            .replace("@HTTP_KEYS@", http_keys);
        let relay = stage.relay(&config);
        let mut scene = Self {
            by_tcp: Sender::connect(stage.tcp),
            by_http: Client::connect(stage.http),
            stage,
            relay,
            rounds: 0,
        };
        scene.untouched();
        scene
    }

    /// The `tcp` input.
    pub(crate) fn tcp(&self) -> SocketAddr {
        self.stage.tcp
    }

    /// The `http` input.
    pub(crate) fn http(&self) -> SocketAddr {
        self.stage.http
    }

    /// Both bystanders send a line on the connection they have had from the start, and each is
    /// told that it is on disk.
    pub(crate) fn untouched(&mut self) {
        self.rounds += 1;
        self.by_tcp.send("{\"bystander\":\"tcp\"}\n");
        let told = self.by_tcp.acked(self.rounds);
        assert_eq!((told.acked, told.rejected_total), (self.rounds, 0));
        let answer = self.by_http.post("", b"{\"bystander\":\"http\"}\n");
        assert_eq!((answer.status, &answer.body["accepted"]), (200, &1.into()));
    }

    /// The input counted this beside the bystanders' lines, and everything balances.
    pub(crate) fn counted(&self, input: &str, expected: Counts) {
        let Counts {
            stored,
            skipped,
            too_long,
            malformed,
        } = expected;
        let received = self.rounds + stored + too_long + malformed;
        let mut status = self.relay.status();
        // What an ack has told is durable; the page is at most a turn of the shard behind.
        eventually(&format!("{input} has received {received} lines"), || {
            status = self.relay.status();
            status.input(input, "received") >= received && status.input(input, "skipped") >= skipped
        });
        let found = Counts {
            stored: status.input(input, "stored") - self.rounds,
            skipped: status.input(input, "skipped"),
            too_long: rejected(&status, input, "too_long"),
            malformed: rejected(&status, input, "malformed"),
        };
        assert_eq!(found, expected, "{}", status.0);
        assert_eq!(status.input(input, "received"), received, "{}", status.0);
        status.assert_balanced();
    }

    /// A sample of the metrics page.
    pub(crate) fn metric(&self, sample: &str) -> u64 {
        sample_of(&self.relay.metrics(), sample)
    }

    /// Waits until a sample of the metrics page is this.
    pub(crate) fn metric_becomes(&self, sample: &str, expected: u64) {
        let mut found = 0;
        eventually(&format!("{sample} is {expected}"), || {
            found = self.metric(sample);
            found >= expected
        });
        assert_eq!(found, expected, "{sample}");
    }

    /// Waits until a sample that rises and falls is this.
    pub(crate) fn metric_falls_to(&self, sample: &str, expected: u64) {
        eventually(&format!("{sample} is {expected}"), || {
            self.metric(sample) == expected
        });
    }

    /// Fails when the relay ever held more memory than it may.
    pub(crate) fn memory_stayed_in_bounds(&self) {
        let peak = self.relay.resident_bytes_peak();
        assert!(peak < RESIDENT_BYTES_MAX, "{} MiB resident", peak >> 20);
    }

    /// Stops the relay in good order and gives back the events it delivered, those of the
    /// bystanders taken out. Events of one connection stand in their order.
    pub(crate) fn delivered(mut self) -> Vec<String> {
        self.relay.wait_drained("archive").assert_balanced();
        let out = self.stage.path("out");
        let status = self.relay.terminate();
        assert!(status.success(), "{status}");
        let mut lines = Vec::new();
        for number in 0..2 {
            let file = out.join(format!("events.{number}.ndjson"));
            let text = std::fs::read_to_string(file).unwrap_or_default();
            lines.extend(text.lines().map(str::to_owned));
        }
        let all = lines.len() as u64;
        lines.retain(|line| !line.starts_with("{\"bystander\":"));
        assert_eq!(all - lines.len() as u64, 2 * self.rounds, "of bystanders");
        lines
    }
}

/// The value of a sample, named as on the page: `name{label="value"}`.
pub(crate) fn sample_of(page: &str, sample: &str) -> u64 {
    let values = page.lines().filter_map(|line| line.strip_prefix(sample));
    let mut values = values.filter_map(|rest| rest.strip_prefix(' '));
    let value = values.next();
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("{sample} is not on the page:\n{page}"))
}

/// Lines an input rejected for a reason.
fn rejected(status: &Status, input: &str, reason: &str) -> u64 {
    let inputs = status.0["inputs"].as_array().expect("a list of inputs");
    let input = inputs.iter().find(|one| one["name"] == input);
    let count = input.and_then(|input| input["rejected"][reason].as_u64());
    count.unwrap_or_else(|| panic!("rejected {reason} in {}", status.0))
}
