//! What the service manager hears, from a relay started by hand with a socket of ours in the
//! manager's place.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{Process, Stage, get};
use crate::peers::PATIENCE;

const CONFIG: &str = r#"
[node]
data_dir = "@DIR@/data"
shards = 2
journals = 2
pin = false
[journal]
segment_bytes = "4 MiB"
spares = 1
max_bytes = "64 MiB"
min_free_bytes = 0
[admin]
listen = "@ADMIN@"
[input.apps.tcp]
listen = "@TCP@"
[input.web.http]
listen = "@HTTP@"
[stream.archive.file]
path = "@DIR@/out/events.ndjson"
"#;

/// A service manager: the socket it hears on, in a folder with a short path.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { socket, folder }
    }

    /// Starts a service that is restarted when it is silent for 400 ms.
    fn start(&self, stage: &Stage) -> Process {
        let config = stage.path("relay.toml");
        fs::write(&config, stage.fill(CONFIG)).expect("write the configuration");
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["run", "--config"]).arg(config);
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        command.env("WATCHDOG_USEC", "400000");
        command.env_remove("WATCHDOG_PID");
        Process::start(command, &stage.path("relay"))
    }

    /// The assignments of the next message.
    fn hears(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let len = self.socket.recv(&mut message).expect("a message in time");
        let text = std::str::from_utf8(&message[..len]).expect("messages are text");
        text.lines().map(str::to_owned).collect()
    }

    /// The service has ended, and everything it said was heard.
    fn hears_no_more(&self) {
        self.socket.set_nonblocking(true).expect("a socket");
        let heard = self.socket.recv(&mut [0; 4096]);
        let kind = heard.map_err(|error| error.kind());
        assert_eq!(kind, Err(std::io::ErrorKind::WouldBlock));
    }
}

#[test]
fn ready_is_told_once_it_listens_then_the_watchdog_is_fed_until_it_stops() {
    let (stage, manager) = (Stage::new(), Manager::new());
    let mut relay = manager.start(&stage);
    let first = manager.hears();
    assert!(first.contains(&"READY=1".to_owned()), "{first:?}");
    // At once, without a second try.
    for address in [stage.tcp, stage.http] {
        TcpStream::connect(address).expect("it listens when it says so");
    }
    let health = get(stage.admin, "/healthz").expect("it listens when it says so");
    assert_eq!(health.0, 200, "{health:?}");
    for _ in 0..5 {
        assert_eq!(manager.hears(), ["WATCHDOG=1"]);
    }
    relay.signal(Signal::TERM);
    let stopping = loop {
        let heard = manager.hears();
        if heard != ["WATCHDOG=1"] {
            break heard;
        }
    };
    assert!(stopping.contains(&"STOPPING=1".to_owned()), "{stopping:?}");
    assert!(relay.wait().success());
    manager.hears_no_more();
}

#[test]
fn a_relay_that_cannot_start_is_never_ready() {
    let (stage, manager) = (Stage::new(), Manager::new());
    let taken = TcpListener::bind(stage.http).expect("the address is free");
    let mut relay = manager.start(&stage);
    assert_eq!(relay.wait().code(), Some(1));
    manager.hears_no_more();
    drop(taken);
}
