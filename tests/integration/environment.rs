//! What surrounds the relay is not as it should be: ports, folders, files of configuration,
//! the kernel. It says what is in the way and what to do, with a status of its own, and
//! leaves everything else alone; or it goes on without. And it ends when it is asked to.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::Signal;

use crate::harness::{Process, Relay, Stage, eventually, get};
use crate::peers::{Client, Sender};

/// A small relay; `@KEYS@` are keys of `[node]`.
const CONFIG: &str = r#"
[node]
data_dir = "@DATA@"
shards = 1
journals = 1
pin = false
@KEYS@
[journal]
segment_bytes = "4 MiB"
spares = 1
max_bytes = "32 MiB"
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

/// Exit status of a relay that could not start or go on.
const FAILED: Option<i32> = Some(1);
/// Exit status of a wrong configuration.
const WRONG: Option<i32> = Some(2);

/// The configuration with the data directory `data` and further keys of `[node]`.
fn config(data: &str, keys: &str) -> String {
    CONFIG.replace("@DATA@", data).replace("@KEYS@", keys)
}

/// Runs the program to its end.
fn weir(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    let ended = command.args(arguments).output();
    ended.expect("the program can be started")
}

/// Starts a relay that does not come up; what it said.
fn refuses(stage: &Stage, config: &str) -> String {
    let mut relay = stage.spawn(config);
    let status = relay.ended();
    let said = relay.log();
    assert_eq!(status.code(), FAILED, "{said}");
    // One line that tells a person what to do, and no backtrace.
    let last = said.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("weir: "), "{said}");
    last
}

/// One line goes in over TCP and one over HTTP, and both come out.
fn works(stage: &Stage, relay: &mut Relay) {
    let mut sender = Sender::connect(stage.tcp);
    sender.send("{\"by\":\"tcp\"}\n");
    sender.acked(1);
    let answer = Client::connect(stage.http).post("", b"{\"by\":\"http\"}");
    assert_eq!(answer.status, 200, "{answer:?}");
    relay.wait_drained("archive").assert_balanced();
}

/// The lines of the archive.
fn archived(stage: &Stage) -> usize {
    let archive = stage.path("out/events.ndjson");
    let archive = fs::read_to_string(archive).expect("the archive was written");
    archive.lines().count()
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_started() {
    let stage = Stage::new();
    for (what, address) in [
        ("input \"apps\"", stage.tcp),
        ("input \"web\"", stage.http),
        ("admin listener", stage.admin),
    ] {
        let other = TcpListener::bind(address).expect("the address is free");
        let said = refuses(&stage, &config("@DIR@/data", ""));
        assert!(said.contains(what), "{said}");
        assert!(said.contains(&address.to_string()), "{said}");
        assert!(said.contains("in use by another process"), "{said}");
        assert!(!stage.path("data").exists(), "nothing was made");
        drop(other);
    }
    // With all of them free again it runs.
    let mut relay = stage.relay(&config("@DIR@/data", ""));
    works(&stage, &mut relay);
}

#[test]
fn a_missing_data_directory_is_made() {
    let stage = Stage::new();
    let mut relay = stage.relay(&config("@DIR@/some/where/new", ""));
    works(&stage, &mut relay);
    assert!(stage.path("some/where/new/node.toml").is_file());
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named_and_nothing_is_started() {
    let stage = Stage::new();
    fs::write(stage.path("file"), "in the way").expect("the stage can be written");
    // Whoever runs the test: nobody can make a folder below a file, or in /proc.
    for data in ["@DIR@/file/data", "/proc/weir-data"] {
        let said = refuses(&stage, &config(data, ""));
        assert!(said.contains(&stage.fill(data)), "{said}");
        assert!(said.contains("check that it exists"), "{said}");
        assert!(get(stage.admin, "/healthz").is_none(), "nobody listens");
    }
}

#[test]
fn a_data_directory_in_use_keeps_a_second_relay_out() {
    let stage = Stage::new();
    let mut first = stage.relay(&config("@DIR@/data", ""));
    works(&stage, &mut first);
    let other = Stage::new();
    let data = stage.path("data").display().to_string();
    let said = refuses(&other, &config(&data, ""));
    assert!(said.contains("another weir uses it"), "{said}");
    assert!(said.contains(&data), "{said}");
    works(&stage, &mut first);
    // The lock ends with the process, however that ends.
    first.kill();
    let mut second = other.relay(&config(&data, ""));
    works(&other, &mut second);
}

#[test]
fn a_data_directory_in_memory_works_with_or_without_direct_io() {
    let shared = tempfile::tempdir_in("/dev/shm").expect("a file system in memory");
    let data = shared.path().display().to_string();
    let stage = Stage::new();
    for direct_io in [true, false] {
        let journal = format!("[journal]\ndirect_io = {direct_io}\n");
        let config = config(&data, "").replace("[journal]\n", &journal);
        let mut relay = stage.relay(&config);
        works(&stage, &mut relay);
        assert!(relay.terminate().success());
    }
    // What the first start stored was there for the second.
    assert_eq!(archived(&stage), 4);
}

#[test]
fn without_io_uring_a_writer_thread_writes_and_that_is_said_once() {
    let stage = Stage::new();
    let mut relay = stage.relay(&config("@DIR@/data", "io_uring = false"));
    works(&stage, &mut relay);
    let said = relay.log();
    let told = said.matches("a writer thread (io_uring is switched off)");
    assert_eq!(told.count(), 1, "{said}");
    assert!(relay.terminate().success());
    // The journal of one is the journal of the other.
    let mut relay = stage.relay(&config("@DIR@/data", "io_uring = true"));
    works(&stage, &mut relay);
    assert!(relay.terminate().success());
    assert_eq!(archived(&stage), 4);
}

/// Mistakes of a configuration: a piece of the file, the line of it that is wrong, and words
/// of what is said.
const MISTAKES: [(&str, usize, &str); 6] = [
    ("[node]\nshards = \"many\"\n", 2, "shards = \"many\""),
    ("[memory]\nmaximum = 5\n", 2, "unknown key"),
    (
        "[input.apps.tcp]\nlisten = \"127.0.0.1:0\"\n[input.apps.http]\nlisten = \"127.0.0.1:0\"\n",
        1,
        "has two kinds",
    ),
    (
        "[stream.siem.batch]\nbytes = \"8 GiB\"\n[stream.siem.http]\nurl = \"http://127.0.0.1:1/\"\n",
        2,
        "above the limit 4 GiB",
    ),
    (
        "[stream.archive.file]\npath = \"/tmp/a\"\n[stream.archive.file]\npath = \"/tmp/b\"\n",
        3,
        "twice",
    ),
    ("[journal]\ncommit_interval = \"5 parsecs\"\n", 2, "parsecs"),
];

#[test]
fn every_mistake_of_a_configuration_is_told_with_its_line_and_nothing_is_started() {
    let stage = Stage::new();
    let path = stage.path("wrong.toml").display().to_string();
    let base = stage.fill("[admin]\nlisten = \"@ADMIN@\"\n");
    let mut all = (base.clone(), Vec::new());
    for (piece, line, words) in MISTAKES {
        let expected = format!("wrong.toml:{}: ", 2 + line);
        told_by_check_and_run(&path, &format!("{base}{piece}"), &[(expected, words)]);
        let line = all.0.lines().count() + line;
        all.1.push((format!("wrong.toml:{line}: "), words));
        all.0.push_str(piece);
    }
    told_by_check_and_run(&path, &all.0, &all.1);
    assert!(get(stage.admin, "/healthz").is_none(), "nobody listens");
}

/// `check` and `run` end with 2 and tell the same, among it these lines.
fn told_by_check_and_run(path: &str, text: &str, expected: &[(String, &str)]) {
    fs::write(path, text).expect("write a configuration");
    let checked = weir(&["check", path]);
    let run = weir(&["run", "--config", path]);
    for output in [&checked, &run] {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), WRONG, "{text}\n{said}");
        assert_eq!(output.stdout, b"", "{text}");
        for (place, words) in expected {
            let told = said
                .lines()
                .any(|line| line.contains(place.as_str()) && line.contains(words));
            assert!(told, "{place}{words} in\n{said}\nof\n{text}");
        }
        assert!(said.contains("nothing was started"), "{said}");
    }
    assert_eq!(checked.stderr, run.stderr);
}

#[test]
fn check_prints_the_plan_and_starts_nothing() {
    let stage = Stage::new();
    let path = stage.path("sound.toml");
    fs::write(&path, stage.fill(&config("@DIR@/data", ""))).expect("write a configuration");
    let path = path.display().to_string();
    let checked = weir(&["check", &path]);
    let plan = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{checked:?}");
    for known in [stage.tcp, stage.http, stage.admin] {
        assert!(plan.contains(&known.to_string()), "{known} in\n{plan}");
    }
    assert!(!stage.path("data").exists());
    let missing = stage.path("missing.toml").display().to_string();
    for arguments in [vec!["check", &missing], vec!["run", "--config", &missing]] {
        let output = weir(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), WRONG, "{said}");
        assert!(said.contains(&missing), "{said}");
    }
}

#[test]
fn without_a_file_it_runs_in_an_empty_folder_and_says_where_it_listens() {
    let stage = Stage::new();
    let mut relay = start_default(&stage);
    let printed = relay.printed();
    let addresses = [
        address_behind(&printed, "NDJSON over TCP on "),
        address_behind(&printed, "POST http://"),
        address_behind(&printed, "metrics: http://"),
    ];
    for told in ["--config FILE", "weir-data/out/events", "data: "] {
        assert!(printed.contains(told), "{told} in\n{printed}");
    }
    assert!(addresses.iter().all(|address| address.ip().is_loopback()));
    let [tcp, http, admin] = addresses;
    eventually("the default is ready", || {
        relay.ensure_running();
        get(admin, "/readyz").is_some_and(|(status, _)| status == 200)
    });
    let mut sender = Sender::connect(tcp);
    sender.send("{\"by\":\"tcp\"}\n");
    // The default has no acks: the relay closes when what was sent is durable.
    assert_eq!(sender.finish().acked, 0);
    let answer = Client::connect(http).post("", b"{\"by\":\"http\"}");
    assert_eq!(answer.body["accepted"], 1, "{answer:?}");
    relay.signal(Signal::TERM);
    assert!(relay.wait().success());
    let lines = lines_below(&stage.path("empty/weir-data/out"));
    assert_eq!(lines, ["{\"by\":\"http\"}", "{\"by\":\"tcp\"}"]);
}

/// Starts the relay without a configuration in an empty folder. Its ports are fixed: who
/// else has them now is waited for.
fn start_default(stage: &Stage) -> Process {
    let folder = stage.path("empty");
    fs::create_dir(&folder).expect("the stage can be written");
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.arg("run").current_dir(&folder);
        Process::start(command, &stage.path("default"))
    };
    let mut relay = start();
    let mut told_before = 0;
    eventually("the default ports are free", || {
        let in_use = relay.logged().matches("in use by another process").count();
        if in_use > told_before {
            told_before = in_use;
            assert_eq!(relay.wait().code(), FAILED);
            relay = start();
        }
        relay.printed().contains("data: ")
    });
    relay
}

fn address_behind(text: &str, words: &str) -> SocketAddr {
    let behind = text.split_once(words).map(|(_, behind)| behind);
    let behind = behind.unwrap_or_else(|| panic!("{words} in\n{text}"));
    let end = behind.find(['/', '\n']).unwrap_or(behind.len());
    behind[..end].parse().expect("an address")
}

/// The lines of all files of a folder, sorted.
fn lines_below(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).expect("the folder is there");
    let mut lines: Vec<String> = files
        .map(|file| fs::read_to_string(file.expect("an entry").path()).expect("a file of text"))
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    lines.sort();
    lines
}

#[test]
fn sigterm_and_sigint_drain_and_end_with_0_and_sighup_does_not_end_it() {
    for signal in [Signal::TERM, Signal::INT] {
        let stage = Stage::new();
        let mut relay = stage.relay(&config("@DIR@/data", ""));
        relay.signal(Signal::HUP);
        eventually("the reload is answered in the log", || {
            relay
                .log()
                .contains("reload: nothing differs from what runs")
        });
        // A connection in the middle of a line and one between requests do not hold it up.
        let mut sender = Sender::connect(stage.tcp);
        sender.send("{\"a\":1}\n{\"cut\":");
        sender.acked(1);
        let mut client = Client::connect(stage.http);
        assert_eq!(client.post("", b"{\"b\":2}").status, 200);
        relay.signal(signal);
        let status = relay.ended();
        assert_eq!(status.code(), Some(0), "{signal:?}: {}", relay.log());
        assert_eq!(archived(&stage), 2, "what was acknowledged is delivered");
        assert!(get(stage.admin, "/healthz").is_none(), "nobody listens");
    }
}

#[test]
fn a_signal_that_comes_with_the_first_word_drains_as_any_other() {
    for _ in 0..5 {
        let stage = Stage::new();
        let mut relay = stage.spawn(&config("@DIR@/data", ""));
        while relay.printed().is_empty() {
            relay.ensure_running();
            std::thread::yield_now();
        }
        relay.signal(Signal::TERM);
        assert_eq!(relay.ended().code(), Some(0), "{}", relay.log());
    }
}
