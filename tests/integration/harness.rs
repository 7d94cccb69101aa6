//! The stage of a test: a folder, ports, the relay's process and the load generator's.
//!
//! Owns starting, watching and ending child processes; every one of them is killed when its handle
//! is dropped, and shows the end of its output when that happens in a failing test. Leaves what is
//! true of a relay to the tests. Deadlines here are generous: they only keep a hanging test from
//! hanging for ever.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before the test gives up on it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// A folder on a real disk and one address for each listener a test may need. The ports stay the
/// same over restarts, and are outside the range the system draws client ports from: a sender that
/// connects again and again could otherwise find itself at the far end.
pub(crate) struct Stage {
    dir: TempDir,
    /// Of the relay's admin listener.
    pub(crate) admin: SocketAddr,
    /// Of its TCP input.
    pub(crate) tcp: SocketAddr,
    /// Of its HTTP input.
    pub(crate) http: SocketAddr,
    /// Of the endpoint it delivers to.
    pub(crate) sink: SocketAddr,
    /// Of a second endpoint, for tests with two.
    pub(crate) other: SocketAddr,
}

impl Stage {
    /// A new folder below the build's own, and free ports.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("stage-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("the build's folder for tests can be written");
        Self {
            dir,
            admin: free_address(),
            tcp: free_address(),
            http: free_address(),
            sink: free_address(),
            other: free_address(),
        }
    }

    /// A path in the folder; `relay.log`, `relay.out` and `relay.toml` are the relay's.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `text` with the stage's values in place of `@DIR@`, `@ADMIN@`, `@TCP@`, `@HTTP@`, `@SINK@` and
    /// `@OTHER@`.
    pub(crate) fn fill(&self, text: &str) -> String {
        text.replace("@DIR@", &self.dir.path().display().to_string())
            .replace("@ADMIN@", &self.admin.to_string())
            .replace("@TCP@", &self.tcp.to_string())
            .replace("@HTTP@", &self.http.to_string())
            .replace("@SINK@", &self.sink.to_string())
            .replace("@OTHER@", &self.other.to_string())
    }

    /// Starts the relay with `config` filled in and waits until it is ready.
    pub(crate) fn relay(&self, config: &str) -> Relay {
        let mut relay = self.spawn(config);
        relay.wait_ready();
        relay
    }

    /// Starts the relay with `config` filled in; it may well refuse to run.
    pub(crate) fn spawn(&self, config: &str) -> Relay {
        let file = self.write_config(config);
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["run", "--config"]).arg(file);
        self.start(command)
    }

    /// Starts the relay in a way of the test's own: `command` runs it with the configuration that
    /// [`Stage::write_config`] wrote.
    pub(crate) fn start(&self, command: Command) -> Relay {
        Relay {
            process: Process::start(command, &self.path("relay")),
            admin: self.admin,
        }
    }

    /// Writes `config`, filled in; where it is.
    pub(crate) fn write_config(&self, config: &str) -> PathBuf {
        let file = self.path("relay.toml");
        fs::write(&file, self.fill(config)).expect("write the relay's configuration");
        file
    }

    /// Starts `loadgen` with `arguments` filled in; its output goes to `name.out` and `name.log`.
    pub(crate) fn loadgen(&self, name: &str, arguments: &str) -> Loadgen {
        let mut command = Command::new(loadgen_program());
        command.args(self.fill(arguments).split_whitespace());
        command.arg("--json");
        Loadgen {
            process: Process::start(command, &self.path(name)),
        }
    }

    /// Starts the endpoint, which keeps bodies in the folder `bodies`, and waits until it listens.
    pub(crate) fn receiver(&self, more: &str) -> Loadgen {
        self.receiver_at(self.sink, "bodies", more)
    }

    /// Starts an endpoint at `address`, which keeps bodies in the folder called `name`.
    pub(crate) fn receiver_at(&self, address: SocketAddr, name: &str, more: &str) -> Loadgen {
        let arguments = format!("receive --listen {address} --store @DIR@/{name} {more}");
        let mut receiver = self.loadgen(&format!("receiver-of-{name}"), &arguments);
        eventually("the endpoint listens", || {
            receiver.process.ensure_running();
            TcpStream::connect(address).is_ok()
        });
        receiver
    }

    /// Judges the bodies the endpoint has kept, against the books of all `senders`.
    pub(crate) fn verify_bodies(&self, senders: &[PathBuf]) -> Report {
        self.verify("--store @DIR@/bodies", senders)
    }

    /// Judges files (`what` is `--files PATTERN…` or `--store DIR`) against the books of `senders`,
    /// which must be of one run.
    pub(crate) fn verify(&self, what: &str, senders: &[PathBuf]) -> Report {
        let merged = self.path("merged.state");
        let text = merge_states(senders).to_string();
        fs::write(&merged, text).expect("write the merged books");
        let arguments = format!("verify {what} --state @DIR@/merged.state");
        self.loadgen("verify", &arguments).wait()
    }
}

/// A child process whose output goes to two files.
pub(crate) struct Process {
    child: Child,
    out: PathBuf,
    log: PathBuf,
    ended: bool,
}

impl Process {
    /// `base` is the path of the outputs without `.out` and `.log`; they are appended to.
    pub(crate) fn start(mut command: Command, base: &Path) -> Self {
        let (out, log) = (base.with_extension("out"), base.with_extension("log"));
        let append = |path: &Path| {
            let mut options = OpenOptions::new();
            let opened = options.create(true).append(true).open(path);
            opened.expect("open a child's output")
        };
        // What a start prints is read back, so each start has the file to itself.
        let stdout = File::create(&out).expect("create a child's output");
        let child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(append(&log))
            .spawn()
            .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        Self {
            child,
            out,
            log,
            ended: false,
        }
    }

    pub(crate) fn ensure_running(&mut self) {
        if let Some(status) = self.child.try_wait().expect("wait for a child") {
            self.ended = true;
            panic!("it ended ({status}):\n{}", tail_of(&self.log));
        }
    }

    /// Asks it to end; one that has ended is not asked.
    fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Sends a signal; one that has ended gets none.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.child.try_wait().expect("wait for a child").is_none() {
            kill_process(self.pid(), signal).expect("signal a child");
        }
    }

    fn pid(&self) -> Pid {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        Pid::from_raw(pid).expect("a child's id is not zero")
    }

    /// What it has printed so far.
    pub(crate) fn printed(&self) -> String {
        fs::read_to_string(&self.out).expect("read a child's output")
    }

    /// What it has logged so far.
    pub(crate) fn logged(&self) -> String {
        fs::read_to_string(&self.log).expect("read a child's log")
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait for a child") {
                self.ended = true;
                return status;
            }
            let late = start.elapsed() > DEADLINE;
            assert!(!late, "it does not end:\n{}", tail_of(&self.log));
            std::thread::sleep(TICK);
        }
    }

    fn kill(&mut self) {
        self.child.kill().expect("kill a child");
        self.child.wait().expect("wait for a child");
        self.ended = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), tail_of(&self.log));
        }
        if !self.ended {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// The relay's process; killed when dropped.
pub(crate) struct Relay {
    process: Process,
    admin: SocketAddr,
}

impl Relay {
    /// Waits until `/readyz` answers 200; fails when the process ends before.
    pub(crate) fn wait_ready(&mut self) {
        eventually("the relay is ready", || {
            self.process.ensure_running();
            get(self.admin, "/readyz").is_some_and(|(status, _)| status == 200)
        });
    }

    /// `GET /v1/status`.
    pub(crate) fn status(&self) -> Status {
        let (status, body) = get(self.admin, "/v1/status").expect("the admin listener answers");
        assert_eq!(status, 200, "{body}");
        Status(serde_json::from_str(&body).expect("the status is JSON"))
    }

    /// `GET /metrics`.
    pub(crate) fn metrics(&self) -> String {
        let (status, body) = get(self.admin, "/metrics").expect("the admin listener answers");
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Waits until `stream`, which began with the first event, has delivered all that is stored,
    /// and gives back the status that says so. Call it when no one sends any more.
    pub(crate) fn wait_drained(&mut self, stream: &str) -> Status {
        let mut status = self.status();
        let drained = in_time(|| {
            self.process.ensure_running();
            status = self.status();
            status.has_all_lanes(stream)
                && status.stream(stream, "pending") == 0
                && status.stream(stream, "events") == status.inputs("stored")
        });
        assert!(drained, "stream {stream} has not drained: {}", status.0);
        status
    }

    /// The most memory it has held so far, in bytes.
    pub(crate) fn resident_bytes_peak(&self) -> u64 {
        let status = format!("/proc/{}/status", self.process.child.id());
        let status = fs::read_to_string(status).expect("read the relay's /proc");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
        let kib: u64 = kib.and_then(|kib| kib.parse().ok()).expect("VmHWM in kB");
        kib * 1024
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Bytes it has read so far by any system call, from files and sockets alike.
    pub(crate) fn bytes_read(&self) -> u64 {
        let io = format!("/proc/{}/io", self.process.child.id());
        let io = fs::read_to_string(io).expect("read the relay's /proc");
        let read = io.lines().find_map(|line| line.strip_prefix("rchar: "));
        read.and_then(|read| read.parse().ok())
            .expect("rchar in bytes")
    }

    /// SIGKILL, now.
    pub(crate) fn kill(mut self) {
        self.process.kill();
    }

    /// SIGTERM; how it ended.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        self.process.terminate();
        self.process.wait()
    }

    /// Waits for a relay that ends by itself or was sent a signal; its log can be read then.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.process.wait()
    }

    /// Sends a signal.
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Fails when it has ended.
    pub(crate) fn ensure_running(&mut self) {
        self.process.ensure_running();
    }

    /// What it has printed.
    pub(crate) fn printed(&self) -> String {
        self.process.printed()
    }

    /// What it has written to its log, over all starts of the stage.
    pub(crate) fn log(&self) -> String {
        self.process.logged()
    }
}

/// What `/v1/status` said.
#[derive(Debug)]
pub(crate) struct Status(pub(crate) Value);

impl Status {
    /// Fails unless every line and every event has exactly one fate.
    pub(crate) fn assert_balanced(&self) {
        assert_eq!(self.0["balanced"], Value::Bool(true), "{}", self.0);
    }

    /// Fails unless everything has come to an end, and nothing but a good one: all that was
    /// received is stored, and each of `streams` has delivered all of that. The sums are made
    /// here, not taken from the relay's own verdict.
    pub(crate) fn assert_all_delivered(&self, streams: &[&str]) {
        self.assert_balanced();
        let stored = self.inputs("stored");
        assert_eq!(self.inputs("received"), stored, "{}", self.0);
        for stream in streams {
            let count = |name| self.stream(stream, name);
            assert_eq!(count("events"), stored, "{stream} in {}", self.0);
            assert_eq!(count("delivered"), stored, "{stream} in {}", self.0);
            for name in ["pending", "filtered", "sampled_out", "dead_lettered"] {
                assert_eq!(count(name), 0, "{stream} {name} in {}", self.0);
            }
        }
    }

    /// A count of the input called `name`.
    pub(crate) fn input(&self, name: &str, count: &str) -> u64 {
        self.count("inputs", name, count)
    }

    /// A count of the stream called `name`.
    pub(crate) fn stream(&self, name: &str, count: &str) -> u64 {
        self.count("streams", name, count)
    }

    /// A count of all inputs together; an input nothing came to in any life may be missing.
    pub(crate) fn inputs(&self, count: &str) -> u64 {
        let inputs = self.0["inputs"].as_array().expect("a list of inputs");
        inputs
            .iter()
            .filter_map(|input| input[count].as_u64())
            .sum()
    }

    /// Whether `stream` shows up in every journal yet; after a start it does so one by one.
    fn has_all_lanes(&self, name: &str) -> bool {
        let count = |list: &Value| list.as_array().map_or(0, Vec::len);
        let streams = self.0["streams"].as_array().expect("a list of streams");
        let one = streams.iter().find(|one| one["name"] == name);
        one.is_some_and(|one| count(&one["lanes"]) == count(&self.0["journals"]))
    }

    fn count(&self, list: &str, name: &str, count: &str) -> u64 {
        let all = self.0[list].as_array().expect("a list");
        let one = all.iter().find(|one| one["name"] == name);
        one.and_then(|one| one[count].as_u64())
            .unwrap_or_else(|| panic!("{list} {name} {count} in {}", self.0))
    }
}

/// A child of the load generator; killed when dropped.
pub(crate) struct Loadgen {
    process: Process,
}

impl Loadgen {
    /// Fails when it has ended.
    pub(crate) fn ensure_running(&mut self) {
        self.process.ensure_running();
    }

    /// Waits until it is done by itself.
    pub(crate) fn wait(mut self) -> Report {
        self.report()
    }

    /// Asks it to come to an end in good order, and waits.
    pub(crate) fn stop(mut self) -> Report {
        self.process.terminate();
        self.report()
    }

    /// SIGKILL: an endpoint that is gone from one moment to the next.
    pub(crate) fn kill(mut self) {
        self.process.kill();
    }

    fn report(&mut self) -> Report {
        let status = self.process.wait();
        let text = fs::read_to_string(&self.process.out).expect("read the report");
        let json = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("{status}, {error}: {text}\n{}", tail_of(&self.process.log))
        });
        Report(json)
    }
}

/// What a child of the load generator found.
#[derive(Debug)]
pub(crate) struct Report(pub(crate) Value);

impl Report {
    /// The figure called `name`.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let figure = self.0[name].as_u64();
        figure.unwrap_or_else(|| panic!("{name} in {}", self.0))
    }

    /// Fails unless every acknowledged event came, as sent, and nothing that was not sent.
    pub(crate) fn assert_nothing_lost(&self) {
        for name in [
            "lost",
            "content_differs",
            "unknown",
            "foreign",
            "undecodable",
        ] {
            assert_eq!(self.figure(name), 0, "{name} in {}", self.0);
        }
        let failures = self.0["failures"].as_array().map_or(0, Vec::len);
        assert_eq!(failures, 0, "{}", self.0);
    }
}

/// What senders have sent and what of it is acknowledged, now, summed over a state file.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Books {
    pub(crate) sent: u64,
    pub(crate) acked: u64,
}

impl Books {
    /// Reads the file `loadgen send --state` keeps; zero while there is none.
    pub(crate) fn read(path: &Path) -> Self {
        let Ok(text) = fs::read_to_string(path) else {
            return Self::default();
        };
        let state: Value = serde_json::from_str(&text).expect("a state file is JSON");
        let senders = state["senders"].as_array().expect("a list of senders");
        let sum = |name: &str| senders.iter().filter_map(|one| one[name].as_u64()).sum();
        Self {
            sent: sum("sent"),
            acked: sum("acked"),
        }
    }
}

/// One state for the senders of several files, all of one run and with numbers of their own.
fn merge_states(paths: &[PathBuf]) -> Value {
    let mut merged: Option<Value> = None;
    for path in paths {
        let text = fs::read_to_string(path).expect("read a state file");
        let state: Value = serde_json::from_str(&text).expect("a state file is JSON");
        let Some(first) = &mut merged else {
            merged = Some(state);
            continue;
        };
        assert_eq!(first["run"], state["run"], "books of two runs");
        let senders = state["senders"].as_array().expect("a list").clone();
        let all = first["senders"].as_array_mut().expect("a list");
        all.extend(senders);
    }
    merged.expect("at least one state file")
}

/// `GET path`; nothing when the peer cannot be reached or breaks off.
pub(crate) fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let (status, _, body) = exchange(address, request.as_bytes())?;
    Some((status, body))
}

/// Sends one request (with `Connection: close`) and reads the answer to its end: status, head and
/// body as text. Chunked bodies are not taken apart.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> Option<(u16, String, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    stream.write_all(request).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, head.to_owned(), body.to_owned()))
}

/// Looks until `condition` holds; fails after [`DEADLINE`].
pub(crate) fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(in_time(condition), "not within {DEADLINE:?}: {what}");
}

/// Looks until `condition` holds; whether it did within [`DEADLINE`].
fn in_time(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() >= DEADLINE {
            return false;
        }
        std::thread::sleep(TICK);
    }
}

/// Random choices of a test; the seed is printed and can be set with `WEIR_SEED`.
pub(crate) struct Choices(u64);

impl Choices {
    /// Draws a seed, or takes that of the environment.
    pub(crate) fn new(test: &str) -> Self {
        let seed = environment("WEIR_SEED").unwrap_or_else(|| {
            // The standard library's maps are seeded anew; that is all the chance needed.
            RandomState::new().build_hasher().finish()
        });
        eprintln!("{test}: WEIR_SEED={seed}");
        Self(seed)
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (mixed ^ mixed >> 31) % (high - low + 1)
    }

    /// A run id of audit and WAF events in turn.
    pub(crate) fn run_id(&mut self) -> String {
        format!("m{:07x}", self.between(0, 0x0fff_ffff))
    }
}

/// A whole number from the environment.
pub(crate) fn environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name}={text} is not a whole number")))
}

/// An address on loopback that nobody listens on, and that no other test of this machine is given
/// while this process lives.
pub(crate) fn free_address() -> SocketAddr {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    // Test processes that run side by side begin at different places.
    let own = u16::try_from(std::process::id() % u32::from(PORTS)).expect("below PORTS");
    for _ in 0..PORTS {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        let port = PORT_MIN + own.wrapping_mul(37).wrapping_add(tried) % PORTS;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if claim(port) && TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port");
}

/// The first of `count` such ports in a row, for a peer that takes several.
pub(crate) fn free_ports(count: usize) -> u16 {
    let mut ports: Vec<u16> = Vec::new();
    while ports.len() < count {
        let port = free_address().port();
        if ports.last().is_some_and(|last| last + 1 != port) {
            ports.clear();
        }
        ports.push(port);
    }
    ports[0]
}

/// Claims a port among test processes: between a look at a port and its relay's start another
/// process would find it free too. A claim is a socket with the port in its name, in the
/// namespace of the ports themselves; it ends with the process, however that ends.
fn claim(port: u16) -> bool {
    static CLAIMS: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());
    let name = format!("weir-test-port-{port}");
    let name = UnixAddress::from_abstract_name(name).expect("a short name");
    let claimed = UnixDatagram::bind_addr(&name);
    let mut claims = CLAIMS.lock().expect("no holder panicked");
    claimed.map(|socket| claims.push(socket)).is_ok()
}

/// The load generator is a program of its own, built beside this one.
fn loadgen_program() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_weir")).with_file_name("loadgen");
    assert!(
        program.is_file(),
        "{} is missing: cargo build -p loadgen",
        program.display()
    );
    program
}

fn tail_of(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

const TICK: Duration = Duration::from_millis(20);
const TAIL_LINES: usize = 40;
/// Below the system's range for client ports, above the registered services people run.
const PORT_MIN: u16 = 20_000;
const PORTS: u16 = 12_000;
