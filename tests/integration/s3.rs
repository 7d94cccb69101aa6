//! A real S3 service as the destination: what is in the bucket is what was sent, under the
//! documented keys, whatever happens between.
//!
//! The service is `tests/services/s3`, which must run (`make test` starts it); tests keep apart
//! by their prefixes. A proxy in front of it loses answers where a test asks for that.

use std::io::Read as _;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::bufread::GzDecoder;

use crate::harness::{Relay, Stage, Status, eventually, free_address};
use crate::peers::Sender;

/// One journal, so that all events are in one order; `@S3@` and `@BATCH@` are the test's.
const CONFIG: &str = r#"
[node]
data_dir = "@DIR@/data"
shards = 1
journals = 1
pin = false
drain_timeout = "1s"
[journal]
segment_bytes = "64 MiB"
spares = 1
max_bytes = "512 MiB"
min_free_bytes = 0
[admin]
listen = "@ADMIN@"
[input.apps.tcp]
listen = "@TCP@"
ack = true
[stream.lake]
from = "start"
batch = @BATCH@
retry = { delay_min = "10ms", delay_max = "100ms", probe_every = "200ms" }
[stream.lake.s3]
@S3@
"#;

/// Batches of twenty events.
const TWENTY: &str = r#"{ records = 20, age = "50ms", bytes = "1 MiB" }"#;

/// The service: where it is, who may write, and the script that administers it.
pub(crate) struct Service {
    /// Its folder, when it is this test's own.
    own: Option<(PathBuf, u16)>,
    values: String,
}

impl Service {
    /// The one that serves all tests.
    pub(crate) fn shared() -> Self {
        let place = std::env::var_os("WEIR_SERVICES_DIR")
            .map_or_else(|| repository("target/services"), PathBuf::from);
        Self::at(None, &place)
    }

    /// One that a test may kill.
    fn own(stage: &Stage, port: u16) -> Self {
        let place = stage.path("services");
        let own = Some((place.clone(), port));
        run(script(&own).arg("start"));
        Self::at(own, &place)
    }

    fn at(own: Option<(PathBuf, u16)>, place: &Path) -> Self {
        let file = place.join("s3/env");
        let values = std::fs::read_to_string(&file).unwrap_or_else(|error| {
            panic!(
                "{}: {error}; these tests need the S3 service: tests/services/s3 start",
                file.display()
            )
        });
        let service = Self { own, values };
        let address = service.address();
        assert!(
            TcpStream::connect(address).is_ok(),
            "nobody listens on {address}; these tests need the S3 service: tests/services/s3 start"
        );
        service
    }

    pub(crate) fn value(&self, name: &str) -> &str {
        let lines = self.values.lines();
        let mut found = lines.filter_map(|line| line.split_once('='));
        let value = found.find(|(key, _)| *key == name).map(|(_, value)| value);
        value.unwrap_or_else(|| panic!("no {name} in {}", self.values))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let endpoint = self.value("S3_ENDPOINT");
        let address = endpoint.strip_prefix("http://").expect("a plain endpoint");
        address.parse().expect("an address")
    }

    /// A signed request of the administrator; the body of its answer.
    fn call(&self, method: &str, path: &str) -> Vec<u8> {
        run(script(&self.own).args(["call", method, path]))
    }

    fn ask(&self, method: &str, path: &str) -> String {
        String::from_utf8(self.call(method, path)).expect("XML is text")
    }

    /// The keys below a prefix, in their order, but for the probe's. There are fewer than a page holds.
    fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let page = self.ask("GET", &format!("/{bucket}?list-type=2&prefix={prefix}"));
        assert!(page.contains("<IsTruncated>false"), "{page}");
        let mut keys = elements(&page, "Key");
        keys.retain(|key| !key.ends_with("weir-probe"));
        keys
    }

    /// Uploads in parts that nobody has ended.
    fn uploads(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let page = self.ask("GET", &format!("/{bucket}?prefix={prefix}&uploads="));
        elements(&page, "UploadId")
    }

    /// An object's content, in the order of their first events.
    pub(crate) fn contents(&self, bucket: &str, prefix: &str) -> Vec<Vec<u8>> {
        let keys = self.keys(bucket, prefix);
        let objects = keys.iter();
        objects
            .map(|key| self.call("GET", &format!("/{bucket}/{key}")))
            .collect()
    }

    /// Keys of a stream's destination.
    pub(crate) fn destination(&self, prefix: &str, more: &str) -> String {
        let (bucket, host) = (self.value("S3_BUCKET"), self.value("S3_ENDPOINT"));
        let key = self.value("S3_WRITER_KEY");
        let secret = self.value("S3_WRITER_SECRET");
        format!(
            "host = \"{host}\"\nbucket = \"{bucket}\"\nprefix = \"{prefix}\"\n\
             access_key = \"{key}\"\nsecret_key = \"{secret}\"\n{more}\n"
        )
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.own.is_some() {
            drop(script(&self.own).arg("stop").output());
        }
    }
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn script(own: &Option<(PathBuf, u16)>) -> Command {
    let mut command = Command::new(repository("tests/services/s3"));
    if let Some((place, port)) = own {
        command.env("WEIR_SERVICES_DIR", place);
        command.env("WEIR_S3_PORT", port.to_string());
    }
    command
}

/// Runs a command that must succeed; what it printed.
fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("start the script");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {printed}");
    output.stdout
}

/// The texts of all elements of that name.
fn elements(xml: &str, name: &str) -> Vec<String> {
    let (start, end) = (format!("<{name}>"), format!("</{name}>"));
    let texts = xml.split(start.as_str()).skip(1);
    let texts = texts.filter_map(|rest| rest.split(end.as_str()).next());
    texts.map(str::to_owned).collect()
}

/// A relay with a stream to the service.
struct Scene {
    stage: Stage,
    relay: Relay,
    sender: Sender,
    sent: Vec<String>,
    /// Of these, what this connection has sent.
    acked: u64,
    config: String,
    /// What the test's objects begin with.
    prefix: String,
}

impl Scene {
    /// `destination` is given the prefix and writes the keys of `[stream.lake.s3]`.
    fn begin(batch: &str, destination: impl FnOnce(&Stage, &str) -> String) -> Self {
        let stage = Stage::new();
        // The folder's name is this test's alone.
        let folder = stage.path("x");
        let folder = folder.parent().and_then(Path::file_name);
        let prefix = folder.expect("a folder").to_string_lossy().into_owned();
        let config = CONFIG
            .replace("@BATCH@", batch)
            .replace("@S3@", &destination(&stage, &prefix));
        Self {
            relay: stage.relay(&config),
            sender: Sender::connect(stage.tcp),
            stage,
            sent: Vec::new(),
            acked: 0,
            config,
            prefix,
        }
    }

    /// Sends events of about `bytes` each; they are on disk then.
    fn send(&mut self, count: u64, bytes: usize) {
        let first = self.sent.len() as u64;
        let text = "né ".repeat(bytes / 4);
        let events = (first..first + count).map(|n| format!("{{\"n\":{n},\"text\":\"{text}\"}}"));
        self.send_lines(events.collect());
    }

    /// Sends events of about `bytes` each that do not compress to less than three quarters.
    fn send_noise(&mut self, count: u64, bytes: usize) {
        let first = self.sent.len() as u64;
        let mut state = first.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut noise = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b'0' + state.to_le_bytes()[4] % 64)
        };
        let mut event = |n| {
            let text: String = (0..bytes).map(|_| noise()).collect();
            format!("{{\"n\":{n},\"text\":\"{}\"}}", text.replace('\\', "/"))
        };
        let lines = (first..first + count).map(&mut event).collect();
        self.send_lines(lines);
    }

    fn send_lines(&mut self, lines: Vec<String>) {
        self.sender.send(lines.join("\n") + "\n");
        self.acked += lines.len() as u64;
        self.sent.extend(lines);
        let told = self.sender.acked(self.acked);
        assert_eq!(told.rejected_total, 0);
    }

    /// SIGKILL, and a new start with the same configuration after what happens `between`.
    fn crash(self, between: impl FnOnce()) -> Self {
        let Self {
            stage,
            relay,
            sent,
            config,
            prefix,
            ..
        } = self;
        relay.kill();
        between();
        Self {
            relay: stage.relay(&config),
            sender: Sender::connect(stage.tcp),
            stage,
            sent,
            acked: 0,
            config,
            prefix,
        }
    }

    fn failures(&self, reason: &str) -> u64 {
        let status = self.relay.status();
        let failures = &lake(&status)["failures"];
        failures[reason].as_u64().unwrap_or(0)
    }

    /// The destination takes nothing, and this is why.
    fn fails_with(&self, reason: &str) {
        eventually(&format!("tries fail with {reason}"), || {
            self.failures(reason) >= 2
        });
        let status = self.relay.status();
        assert_eq!(status.stream("lake", "delivered"), 0, "{}", status.0);
        status.assert_balanced();
    }

    /// Everything is delivered, and the relay stops in good order.
    fn ends(mut self) -> Vec<String> {
        let status = self.relay.wait_drained("lake");
        let count = self.sent.len() as u64;
        assert_eq!(status.stream("lake", "delivered"), count, "{}", status.0);
        status.assert_balanced();
        assert!(self.relay.terminate().success());
        self.sent
    }
}

fn lake(status: &Status) -> &serde_json::Value {
    let streams = status.0["streams"].as_array().expect("a list of streams");
    let lake = streams.iter().find(|stream| stream["name"] == "lake");
    lake.expect("the stream")
}

/// The one member a gzip object is.
fn inflated(object: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut member = GzDecoder::new(object);
    member.read_to_end(&mut plain).expect("gzip");
    assert!(member.into_inner().is_empty(), "one member an object");
    plain
}

/// The events that a gzip object holds.
pub(crate) fn lines_of(object: &[u8]) -> Vec<String> {
    let text = String::from_utf8(inflated(object)).expect("text");
    text.lines().map(str::to_owned).collect()
}

/// The objects hold the events, each once; which of them comes first is in their keys or not.
fn assert_events(objects: &[Vec<u8>], sent: &[String]) {
    let mut batches: Vec<Vec<&str>> = objects
        .iter()
        .map(|object| {
            let text = std::str::from_utf8(object).expect("events are UTF-8");
            assert!(text.ends_with('\n'), "every event ends its line");
            text.lines().collect()
        })
        .collect();
    // Objects of one millisecond, or minute, are ordered by their UUID.
    let number = |line: &&str| sent.iter().position(|event| event == line);
    batches.sort_by_key(|batch| number(&batch[0]).expect("an event that was sent"));
    assert!(batches.concat() == sent, "{} objects", objects.len());
}

/// `shape` is a key with digits for `9` and hexadecimal digits for `h`.
fn assert_shape(key: &str, shape: &str) {
    let fits = |(found, wanted): (char, char)| match wanted {
        '9' => found.is_ascii_digit(),
        'h' => found.is_ascii_hexdigit(),
        other => found == other,
    };
    let same_length = key.len() == shape.len();
    assert!(
        same_length && key.chars().zip(shape.chars()).all(fits),
        "{key} is not {shape}"
    );
}

const UUID_SHAPE: &str = "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh";

/// A batch larger than what the relay holds goes up while it is made: what was not held is read again.
#[test]
fn a_batch_larger_than_memory_is_one_object_made_while_it_is_sent() {
    let service = Service::shared();
    let bucket = service.value("S3_BUCKET");
    for (content_type, is_noise) in [("text/plain", false), ("application/gzip", true)] {
        let count = if is_noise { 1_000 } else { 4_000 };
        let batch = format!(
            "{{ bytes = \"1 GiB\", age = \"1h\", records = {} }}",
            12 * count
        );
        let mut scene = Scene::begin(&batch, |_, prefix| {
            let more = format!("content_type = \"{content_type}\"\npart_bytes = \"5 MiB\"");
            service.destination(prefix, &more)
        });
        for _ in 0..12 {
            if is_noise {
                scene.send_noise(count, 4_000);
            } else {
                scene.send(count, 4_000);
            }
        }
        let (prefix, raw_bytes) = (scene.prefix.clone(), total_bytes(&scene.sent));
        scene.relay.wait_drained("lake");
        let peak = scene.relay.resident_bytes_peak();
        let sent = scene.ends();
        let mut objects = service.contents(bucket, &prefix);
        assert_eq!(objects.len(), 1);
        if is_noise {
            objects = objects.iter().map(|object| inflated(object)).collect();
        } else {
            assert!(peak < raw_bytes, "{peak} bytes for a batch of {raw_bytes}");
        }
        assert_events(&objects, &sent);
        assert!(service.uploads(bucket, &prefix).is_empty());
    }
}

fn total_bytes(lines: &[String]) -> u64 {
    lines.iter().map(|line| line.len() as u64 + 1).sum()
}

#[test]
fn objects_hold_the_events_byte_for_byte_in_both_layouts() {
    let service = Service::shared();
    let bucket = service.value("S3_BUCKET");
    for (content_type, layout, more) in [
        ("plain/text", "flat", ""),
        ("application/gzip", "dated", "checksum = \"md5\""),
        ("text/plain", "dated", "sign_body = false"),
    ] {
        let more = format!("content_type = \"{content_type}\"\nkey_layout = \"{layout}\"\n{more}");
        let mut scene = Scene::begin(TWENTY, |_, prefix| service.destination(prefix, &more));
        for _ in 0..10 {
            scene.send(37, 40);
        }
        let prefix = scene.prefix.clone();
        let sent = scene.ends();
        let keys = service.keys(bucket, &prefix);
        assert!(keys.len() >= 370 / 20, "{keys:?}");
        for key in &keys {
            let rest = key.strip_prefix(&prefix).expect("the prefix");
            match layout {
                "flat" => assert_shape(rest, &format!("_9999999999999_{UUID_SHAPE}")),
                _ => assert_shape(rest, &format!("/9999/99/99/99/99/{UUID_SHAPE}")),
            }
        }
        let mut objects = service.contents(bucket, &prefix);
        if content_type == "application/gzip" {
            objects = objects.iter().map(|object| inflated(object)).collect();
        }
        assert_events(&objects, &sent);
        let path = format!("/{bucket}/{}", keys[0]);
        let head = run(script(&service.own).args(["call", "HEAD", &path, "--head"]));
        let head = String::from_utf8(head).expect("a head is text");
        let line = format!("content-type: {content_type}\r\n");
        assert!(head.to_ascii_lowercase().contains(&line), "{head}");
        assert!(!head.to_ascii_lowercase().contains("content-encoding"));
    }
}

#[test]
fn a_batch_stored_before_a_crash_is_overwritten_and_not_added_to() {
    let service = Service::shared();
    let bucket = service.value("S3_BUCKET");
    let proxy = Proxy::before(service.address());
    proxy.loses_answers(true);
    let url = format!("http://{}", proxy.address);
    let mut scene = Scene::begin(TWENTY, |_, prefix| {
        let keys = service.destination(prefix, "");
        keys.replace(service.value("S3_ENDPOINT"), &url)
    });
    scene.send(20, 40);
    let prefix = scene.prefix.clone();
    eventually("the first batch is stored", || {
        !service.keys(bucket, &prefix).is_empty()
    });
    let stored = service.keys(bucket, &prefix);
    assert_eq!(scene.relay.status().stream("lake", "delivered"), 0);
    let mut scene = scene.crash(|| proxy.loses_answers(false));
    scene.relay.wait_drained("lake");
    assert_eq!(service.keys(bucket, &prefix), stored);
    scene.send(20, 40);
    let sent = scene.ends();
    assert_eq!(service.keys(bucket, &prefix).len(), stored.len() + 1);
    assert_events(&service.contents(bucket, &prefix), &sent);
}

/// A batch of 12 MB, in parts of 5 MiB.
const BIG: &str = r#"{ records = 240, age = "60s", bytes = "64 MiB" }"#;
const BIG_PARTS: &str = "part_bytes = \"5 MiB\"";

#[test]
fn a_big_batch_is_one_object_uploaded_in_parts() {
    let service = Service::shared();
    let bucket = service.value("S3_BUCKET");
    for more in [
        BIG_PARTS,
        "part_bytes = \"5 MiB\"\nsign_body = false\nchecksum = \"none\"",
    ] {
        let mut scene = Scene::begin(BIG, |_, prefix| service.destination(prefix, more));
        scene.send(240, 50_000);
        let prefix = scene.prefix.clone();
        let sent = scene.ends();
        let page = service.ask("GET", &format!("/{bucket}?list-type=2&prefix={prefix}"));
        let tags = elements(&page, "ETag");
        assert_eq!(tags.len(), 1, "{page}");
        assert!(tags[0].contains("-3"), "three parts: {tags:?}");
        assert_events(&service.contents(bucket, &prefix), &sent);
        eventually("no upload is left", || {
            service.uploads(bucket, &prefix).is_empty()
        });
    }
}

#[test]
fn an_upload_that_a_crash_left_is_aborted_and_those_of_others_are_not() {
    let service = Service::shared();
    let bucket = service.value("S3_BUCKET");
    let proxy = Proxy::before(service.address());
    let url = format!("http://{}", proxy.address);
    let mut scene = Scene::begin(BIG, |_, prefix| {
        // To list uploads takes a right of its own.
        service
            .destination(prefix, BIG_PARTS)
            .replace(service.value("S3_ENDPOINT"), &url)
            .replace(
                service.value("S3_WRITER_KEY"),
                service.value("S3_ADMIN_KEY"),
            )
            .replace(
                service.value("S3_WRITER_SECRET"),
                service.value("S3_ADMIN_SECRET"),
            )
    });
    let prefix = scene.prefix.clone();
    service.call("POST", &format!("/{bucket}/{prefix}_others?uploads="));
    // Nothing is left behind a batch that was delivered, so the next one is begun at once.
    scene.send(240, 40);
    scene.relay.wait_drained("lake");
    proxy.loses_answers(true);
    scene.send(240, 50_000);
    eventually("an upload was begun", || {
        service.uploads(bucket, &prefix).len() > 1
    });
    let scene = scene.crash(|| proxy.loses_answers(false));
    let sent = scene.ends();
    assert_events(&service.contents(bucket, &prefix), &sent);
    // The service forgets an upload some moments after its end.
    eventually("only the upload of others is left", || {
        let page = service.ask("GET", &format!("/{bucket}?prefix={prefix}&uploads="));
        elements(&page, "Key") == [format!("{prefix}_others")]
    });
}

#[test]
fn keys_that_are_refused_are_read_again_without_a_restart() {
    let service = Service::shared();
    let bucket = service.value("S3_BUCKET");
    let (key, secret) = (
        service.value("S3_WRITER_KEY"),
        service.value("S3_WRITER_SECRET"),
    );
    let mut file = PathBuf::new();
    let mut scene = Scene::begin(TWENTY, |stage, prefix| {
        file = stage.path("keys");
        let wrong =
            format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = wrong\n");
        std::fs::write(&file, wrong).expect("write the keys");
        let keys = service.destination(prefix, "credentials_file = \"@DIR@/keys\"");
        let lines = keys.lines();
        let lines = lines.filter(|line| !line.contains("_key = "));
        lines.collect::<Vec<_>>().join("\n")
    });
    scene.send(20, 40);
    scene.fails_with("s3_access_denied");
    // A reader's keys are right, but may not write.
    let (reader, reader_secret) = (
        service.value("S3_READER_KEY"),
        service.value("S3_READER_SECRET"),
    );
    let before = scene.failures("s3_access_denied");
    std::fs::write(
        &file,
        format!("access_key = {reader}\nsecret_key = {reader_secret}\n"),
    )
    .expect("write the keys");
    eventually("a reader may not write", || {
        scene.failures("s3_access_denied") > before + 2
    });
    std::fs::write(
        &file,
        format!("access_key = {key}\nsecret_key = {secret}\n"),
    )
    .expect("write the keys");
    let (prefix, log) = (scene.prefix.clone(), scene.relay.log());
    assert!(!log.contains(secret), "{log}");
    let sent = scene.ends();
    assert_events(&service.contents(bucket, &prefix), &sent);
}

#[test]
fn a_bucket_that_is_missing_gets_everything_once_it_is_there() {
    let service = Service::shared();
    let (key, secret) = (
        service.value("S3_ADMIN_KEY"),
        service.value("S3_ADMIN_SECRET"),
    );
    let mut bucket = String::new();
    let mut scene = Scene::begin(TWENTY, |_, prefix| {
        bucket = prefix.to_ascii_lowercase();
        let host = service.value("S3_ENDPOINT");
        format!(
            "host = \"{host}\"\nbucket = \"{bucket}\"\n\
             access_key = \"{key}\"\nsecret_key = \"{secret}\"\n"
        )
    });
    scene.send(20, 40);
    scene.fails_with("s3_no_such_bucket");
    service.call("PUT", &format!("/{bucket}"));
    let sent = scene.ends();
    assert_events(&service.contents(&bucket, ""), &sent);
    service.call("DELETE", &format!("/{bucket}"));
}

#[test]
fn tls_is_checked_against_the_authorities_of_the_file() {
    let service = Service::shared();
    let bucket = service.value("S3_BUCKET");
    let (plain, encrypted) = (
        service.value("S3_ENDPOINT"),
        service.value("S3_ENDPOINT_TLS"),
    );
    let destination = |prefix: &str, more: &str| {
        let keys = service.destination(prefix, more);
        keys.replace(&format!("\"{plain}\""), &format!("\"{encrypted}\""))
    };
    let ours = format!("ca_file = \"{}\"", service.value("S3_CA"));
    let mut scene = Scene::begin(TWENTY, |_, prefix| destination(prefix, &ours));
    scene.send(20, 40);
    let prefix = scene.prefix.clone();
    let sent = scene.ends();
    assert_events(&service.contents(bucket, &prefix), &sent);

    let mut scene = Scene::begin(TWENTY, |stage, prefix| {
        let other = rcgen::generate_simple_self_signed(["other".to_owned()]);
        let other = other.expect("a certificate").cert.pem();
        std::fs::write(stage.path("other.pem"), other).expect("write a certificate");
        destination(prefix, "ca_file = \"@DIR@/other.pem\"")
    });
    scene.send(20, 40);
    scene.fails_with("tls_failure");
    assert!(service.keys(bucket, &scene.prefix).is_empty());
}

/// The first port of the service that is killed; see `tests/services/README.md`.
const OWN_PORT: u16 = 19_121;

#[test]
fn a_service_that_is_killed_gets_everything_after_its_restart() {
    let stage = Stage::new();
    let service = Service::own(&stage, OWN_PORT);
    let bucket = service.value("S3_BUCKET");
    let mut scene = Scene::begin(TWENTY, |_, prefix| service.destination(prefix, ""));
    scene.send(20, 40);
    scene.relay.wait_drained("lake");
    run(script(&service.own).arg("kill"));
    scene.send(20, 40);
    eventually("nobody listens", || scene.failures("connect_refused") >= 2);
    run(script(&service.own).arg("restart"));
    let prefix = scene.prefix.clone();
    let sent = scene.ends();
    assert_events(&service.contents(bucket, &prefix), &sent);
}

/// Passes bytes between the relay and the service; while told to, answers get lost.
struct Proxy {
    address: SocketAddr,
    loses: Arc<AtomicBool>,
}

impl Proxy {
    fn before(service: SocketAddr) -> Self {
        let address = free_address();
        let listener = TcpListener::bind(address).expect("the address is free");
        let loses = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&loses);
        start(move || {
            for client in listener.incoming() {
                let client = client.expect("a connection");
                let server = TcpStream::connect(service).expect("the service listens");
                let ends = (client.try_clone(), server.try_clone());
                let (client_too, server_too) =
                    (ends.0.expect("a handle"), ends.1.expect("a handle"));
                let never = Arc::new(AtomicBool::new(false));
                start(move || pass(client, server, &never));
                let loses = Arc::clone(&shared);
                start(move || pass(server_too, client_too, &loses));
            }
        });
        Self { address, loses }
    }

    fn loses_answers(&self, loses: bool) {
        self.loses.store(loses, Ordering::Release);
    }
}

fn start(body: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name("proxy".to_owned());
    thread.spawn(body).expect("a thread");
}

/// Copies until one side ends; a relay that is killed is a part of the tests.
fn pass(mut from: TcpStream, to: TcpStream, loses: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if loses.load(Ordering::Acquire) {
            continue;
        }
        if std::io::Write::write_all(&mut &to, &buffer[..length]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Write).ok();
}
