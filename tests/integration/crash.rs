//! Relays that die: SIGKILL at random moments under load.
//!
//! Owns the proof that an acknowledged event survives the process, that what is sent again carries
//! the identity of its first try and is no more than was in flight, and that the books balance in
//! every life. Three streams deliver: one over HTTP, one to a file, one to an endpoint that fails
//! now and then. How the journal is written (io_uring or a thread, direct or buffered) is drawn at
//! each start. `WEIR_KILLS` sets how often relays are killed, `WEIR_SEED` the moments.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use crate::bodies::assert_identities_name_bytes;
use crate::harness::{Books, Choices, Loadgen, Relay, Report, Stage, Status, environment};
use crate::load::{HTTP_BASE, Senders};

/// Small segments and short commits, so that a kill meets every kind of write.
const CONFIG: &str = r#"
[node]
data_dir = "@DIR@/data"
shards = 2
journals = 2
io_uring = @IO_URING@
[admin]
listen = "@ADMIN@"
[journal]
segment_bytes = "1088 KiB"
commit_interval = "1ms"
commit_interval_idle = "5ms"
keep = "1s"
direct_io = @DIRECT_IO@
[input.lines.tcp]
listen = "@TCP@"
ack = true
line_bytes_max = "64 KiB"
[input.web.http]
listen = "@HTTP@"
line_bytes_max = "64 KiB"
[stream.siem]
from = "start"
batch = { bytes = "256 KiB", age = "20ms" }
[stream.siem.http]
url = "http://@SINK@/ingest"
[stream.archive]
from = "start"
batch = { bytes = "1 MiB", age = "50ms" }
[stream.archive.file]
path = "@DIR@/out/events.ndjson"
[stream.flaky]
from = "start"
batch = { bytes = "1 MiB", age = "50ms" }
retry = { delay_min = "5ms", delay_max = "40ms" }
[stream.flaky.http]
url = "http://@OTHER@/ingest"
"#;

const STREAMS: [&str; 3] = ["siem", "archive", "flaky"];
const JOURNALS: u64 = 2;
/// What the endpoint of `flaky` does: it refuses, or takes a body and hangs up over the answer.
const FLAKY: &str = "--fail-every 5 --fail-status 503,429 --close-mid-response";

/// The configuration with a drawn way of writing the journal: mostly the one that is the default.
fn drawn_config(choices: &mut Choices) -> String {
    let io_uring = choices.between(1, 4) > 1;
    let direct_io = choices.between(1, 4) > 1;
    CONFIG
        .replace("@IO_URING@", &io_uring.to_string())
        .replace("@DIRECT_IO@", &direct_io.to_string())
}

/// How often relays are killed.
fn kills() -> u64 {
    environment("WEIR_KILLS").unwrap_or(20)
}

/// Starts the relay after a kill; now and then it dies again before it has come up. Gives back
/// how often it was started.
fn start_again(stage: &Stage, choices: &mut Choices) -> (Relay, u64) {
    let mut starts = 1;
    if choices.between(1, 4) == 1 {
        let early = stage.spawn(&drawn_config(choices));
        std::thread::sleep(Duration::from_millis(choices.between(0, 60)));
        early.kill();
        starts += 1;
    }
    let relay = stage.relay(&drawn_config(choices));
    relay.status().assert_balanced();
    (relay, starts)
}

/// Waits until all streams have delivered everything.
fn wait_all_drained(relay: &mut Relay) -> Status {
    for stream in STREAMS {
        relay.wait_drained(stream);
    }
    let status = relay.status();
    status.assert_all_delivered(&STREAMS);
    status
}

/// The endpoints of one round, each with a folder of its own.
struct Endpoints {
    siem: Loadgen,
    flaky: Loadgen,
}

impl Endpoints {
    fn start(stage: &Stage, round: &str) -> Self {
        Self {
            siem: stage.receiver_at(stage.sink, &format!("siem{round}"), ""),
            flaky: stage.receiver_at(stage.other, &format!("flaky{round}"), FLAKY),
        }
    }

    /// Ends both; how many requests the flaky one has failed.
    fn stop(self) -> u64 {
        let heard = self.siem.stop();
        assert_eq!(heard.figure("bodies_refused"), 0, "{}", heard.0);
        self.flaky.stop().figure("bodies_refused")
    }
}

/// The files of the stream `archive`, one for each journal, and how much of each is proven.
struct Archive {
    files: Vec<(PathBuf, u64)>,
}

impl Archive {
    fn new(stage: &Stage) -> Self {
        let file = |journal| stage.path(&format!("out/events.{journal}.ndjson"));
        let files = (0..JOURNALS).map(|journal| (file(journal), 0));
        Self {
            files: files.collect(),
        }
    }

    /// Copies what has come since the last call to files `part.N.ndjson`.
    fn take_new(&mut self, stage: &Stage) {
        for (journal, (path, proven)) in self.files.iter_mut().enumerate() {
            let mut new = Vec::new();
            // A journal that has had no events yet has no file.
            if let Ok(mut file) = fs::File::open(&*path) {
                let length = file.metadata().expect("ask for a length").len();
                assert!(length >= *proven, "{} was cut", path.display());
                file.seek(SeekFrom::Start(*proven)).expect("seek");
                file.read_to_end(&mut new).expect("read the archive");
                *proven = length;
            }
            let part = stage.path(&format!("part.{journal}.ndjson"));
            fs::write(part, new).expect("write a part of the archive");
        }
    }
}

/// What one round has come to.
struct Round<'a> {
    name: String,
    /// Those who sent in it.
    books: &'a [PathBuf],
    /// Events stored in it, by the relay's books.
    stored: u64,
    /// How often the relay was started after the kill.
    starts: u64,
    /// Requests the flaky endpoint failed.
    refused: u64,
}

impl Round<'_> {
    /// Every acknowledged event came at all three destinations, in the order of its connection.
    /// Copies are batches that were in flight, under the name and with the bytes of their first
    /// try: one a journal and start, and those the flaky endpoint hung up over. In a file there
    /// are none. Gives back how many events were acknowledged, and how many bodies came again.
    fn judge(&self, stage: &Stage) -> (u64, usize) {
        let mut again = 0;
        for (stream, failed) in [("siem", 0), ("flaky", self.refused)] {
            let folder = format!("{stream}{}", self.name);
            let report = stage.verify(&format!("--store @DIR@/{folder}"), self.books);
            self.assert_sound(stream, &report);
            let known = report.figure("duplicated_with_known_key");
            assert_eq!(report.figure("duplicated"), known, "{}", report.0);
            let copies = assert_identities_name_bytes(&stage.path(&folder));
            let window = JOURNALS * self.starts + failed;
            assert!(copies as u64 <= window, "{stream}: {copies} of {window}");
            again += copies;
            fs::remove_dir_all(stage.path(&folder)).expect("remove what was judged");
        }
        let report = stage.verify("--files @DIR@/part.*.ndjson", self.books);
        self.assert_sound("archive", &report);
        assert_eq!(report.figure("duplicated"), 0, "{}", report.0);
        (report.figure("events_acked"), again)
    }

    fn assert_sound(&self, stream: &str, report: &Report) {
        report.assert_nothing_lost();
        let received = report.figure("events_received");
        assert_eq!(received, self.stored, "{stream}: {}", report.0);
        assert_eq!(report.figure("out_of_order"), 0, "{stream}: {}", report.0);
    }
}

/// No sender sends anything twice here, so that every copy is the relay's own. Everything is
/// delivered and judged after each kill.
#[test]
fn after_each_sigkill_every_acknowledged_event_is_delivered_in_order_and_the_books_balance() {
    let mut choices = Choices::new("after_each_sigkill");
    let (stage, run) = (Stage::new(), choices.run_id());
    let (mut all_books, mut archive) = (Vec::new(), Archive::new(&stage));
    let (mut relay, _) = start_again(&stage, &mut choices);
    let (mut stored, mut acked, mut again, mut refused) = (0, 0, 0, 0);
    let mut under_way = 0;
    for number in 0..kills() {
        let name = format!("-{number}");
        let endpoints = Endpoints::start(&stage, &name);
        let mut books = Vec::new();
        let senders = Senders::start(&stage, &run, number, "", &mut books);
        std::thread::sleep(Duration::from_millis(choices.between(200, 900)));
        // Seen before the kill: the load is under way.
        let seen: u64 = books.iter().map(|path| Books::read(path).acked).sum();
        under_way += u64::from(seen > 0);
        relay.kill();
        senders.wait_broken();
        let (started, starts) = start_again(&stage, &mut choices);
        relay = started;
        let status = wait_all_drained(&mut relay);
        let round_refused = endpoints.stop();
        archive.take_new(&stage);
        let round = Round {
            name,
            books: &books,
            stored: status.inputs("stored") - stored,
            starts,
            refused: round_refused,
        };
        let (round_acked, round_again) = round.judge(&stage);
        assert!(round_acked >= seen, "{round_acked} of {seen}");
        stored = status.inputs("stored");
        acked += round_acked;
        again += round_again;
        refused += round_refused;
        all_books.extend(books);
    }
    assert!(under_way * 10 >= kills() * 9, "{under_way} of {}", kills());
    assert!(refused > 0, "the flaky endpoint never failed");
    assert!(relay.terminate().success());
    // What was proven stayed as it was.
    let files = stage.verify("--files @DIR@/out/events.*.ndjson", &all_books);
    files.assert_nothing_lost();
    assert_eq!(files.figure("events_received"), stored, "{}", files.0);
    eprintln!(
        "{} kills, {under_way} with acknowledgements seen before: {acked} events acknowledged, \
         {stored} stored, {again} bodies came again, {refused} requests failed as told",
        kills()
    );
}

/// Senders that come back and send again what they have no acknowledgement for, over many kills:
/// a backlog meets more than one of them, and so may a copy.
#[test]
fn every_acknowledged_event_survives_kills_in_quick_succession() {
    let test = "every_acknowledged_event_survives_kills_in_quick_succession";
    let mut choices = Choices::new(test);
    let (stage, run) = (Stage::new(), choices.run_id());
    let endpoints = Endpoints::start(&stage, "");
    let mut books = Vec::new();
    let (mut relay, _) = start_again(&stage, &mut choices);
    let mut senders = Senders::start(&stage, &run, 0, "--reconnect", &mut books);
    for _ in 0..kills().div_ceil(2) {
        std::thread::sleep(Duration::from_millis(choices.between(1, 900)));
        relay.status().assert_balanced();
        relay.kill();
        (relay, _) = start_again(&stage, &mut choices);
        senders.ensure_running();
    }
    let resent = senders.stop();
    wait_all_drained(&mut relay);
    assert!(relay.terminate().success(), "SIGTERM after a drain");
    endpoints.stop();
    for what in [
        "--store @DIR@/siem",
        "--store @DIR@/flaky",
        "--files @DIR@/out/events.*.ndjson",
    ] {
        let report = stage.verify(what, &books);
        report.assert_nothing_lost();
        assert!(report.figure("events_acked") > 0, "{}", report.0);
        // What a sender sends again because its acknowledgement died on the way is stored twice,
        // and is no re-send of the relay's: each such copy has a batch of its own.
        let new = report.figure("duplicated") - report.figure("duplicated_with_known_key");
        assert!(new <= resent, "{new} > {resent}: {}", report.0);
    }
    for folder in ["siem", "flaky"] {
        let again = assert_identities_name_bytes(&stage.path(folder));
        eprintln!("{test}: {again} bodies came again to {folder}, senders resent {resent} events");
    }
}

#[test]
fn senders_of_all_rounds_have_numbers_of_their_own() {
    assert!(crate::load::sender_after(kills()) <= HTTP_BASE);
}
