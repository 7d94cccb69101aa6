//! The command line.
//!
//! Owns flags, their help and their defaults; what they mean together is in `alone` and `run`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::event::{Kind, RunId, SENDER_MAX};
use crate::receive::{FakeArguments, Faults, VerifyMode};
use crate::units::{parse_bytes, parse_duration};

/// Drive an event relay and prove what it did: loss, duplicates, order, content, latency.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send events over TCP or HTTP
    Send(SendArguments),
    /// Be the endpoint a relay delivers to
    Receive(ReceiveArguments),
    /// Judge bodies or files stored before
    Verify(VerifyArguments),
    /// Start a relay, an endpoint and senders, and report
    Run(RunArguments),
}

impl Command {
    pub(crate) fn wants_json(&self) -> bool {
        match self {
            Self::Send(arguments) => arguments.json,
            Self::Receive(arguments) => arguments.json,
            Self::Verify(arguments) => arguments.json,
            Self::Run(arguments) => arguments.json,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct SendArguments {
    /// Send lines to this address
    #[arg(long, value_name = "ADDR", value_parser = resolve, required_unless_present = "http", conflicts_with = "http")]
    pub(crate) tcp: Option<SocketAddr>,
    /// Post bodies to this URL (http://host:port/path)
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    pub(crate) http: Option<HttpUrl>,
    /// TCP: the relay acknowledges lines with `{"ack":N}`
    #[arg(long, requires = "tcp")]
    pub(crate) ack: bool,
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(crate) connections: u32,
    /// Bytes per second of all connections together, open loop [as fast as possible]
    #[arg(long, value_name = "BYTES/S", value_parser = parse_bytes)]
    pub(crate) rate: Option<u64>,
    /// For how long to send [10s, unless --events is given]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// How many events to send in all
    #[arg(long, value_name = "N")]
    pub(crate) events: Option<u64>,
    /// Connect again when a connection breaks and send again what is not acknowledged
    #[arg(long)]
    pub(crate) reconnect: bool,
    /// Keep what is acknowledged in this file, rewritten every 100 ms
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Determines the events [drawn anew]; such as a1b2c3d4, the letter must fit --kind
    #[arg(long, value_name = "ID", conflicts_with = "kind")]
    pub(crate) run_id: Option<RunId>,
    /// Number of the first sender
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=50_000))]
    pub(crate) sender_base: u32,
    /// How long to wait for acknowledgements after the last event
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "30s")]
    pub(crate) grace: Duration,
    /// Silent connections beside the sending ones
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) idle_connections: usize,
    #[command(flatten)]
    pub(crate) shape: ShapeArguments,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is sent, wherever it goes.
#[derive(Debug, Args)]
pub(crate) struct ShapeArguments {
    #[arg(long, value_enum, default_value = "audit")]
    pub(crate) kind: Kind,
    /// Events in an HTTP body
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) body_events: u64,
    /// Threads of each protocol's senders
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) send_threads: usize,
}

/// What an endpoint does with bodies.
#[derive(Debug, Args)]
pub(crate) struct KeepArguments {
    /// When bodies are judged
    #[arg(long, value_enum, default_value = "after", conflicts_with = "discard")]
    pub(crate) verify: VerifyMode,
    /// Only count bytes, judge nothing
    #[arg(long)]
    pub(crate) discard: bool,
    /// Keep bodies in this folder [memory up to --store-memory, then the temporary folder; deleted]
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// Keep at most this much in memory
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, default_value = "6GB")]
    pub(crate) store_memory: u64,
    /// Longer bodies are answered with 413
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, default_value = "512MiB")]
    pub(crate) body_bytes_max: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ReceiveArguments {
    #[arg(long, value_name = "ADDR", value_parser = resolve, default_value = "127.0.0.1:9000")]
    pub(crate) listen: SocketAddr,
    /// Stop after this time [on SIGINT or SIGTERM]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// Stop when nothing has come for this long after the first body
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) until_idle: Option<Duration>,
    /// The senders' state file, read at the end: what it says is acknowledged must have come
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) keep: KeepArguments,
    #[command(flatten)]
    pub(crate) faults: Faults,
    #[command(flatten)]
    pub(crate) fake: FakeArguments,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// A folder `receive --store` has filled
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "files",
        conflicts_with = "files"
    )]
    pub(crate) store: Option<PathBuf>,
    /// NDJSON files, plain or gzip; `*` and `?` in the last part; judged in the order of their names
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    pub(crate) files: Vec<String>,
    /// The senders' state file
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// The relay's program [`weir` beside this one]
    #[arg(long, value_name = "PATH")]
    pub(crate) relay: Option<PathBuf>,
    /// Its configuration, with @DATA_DIR@, @ADMIN@, @TCP@, @HTTP@ and @SINK_URL@ where those belong [made up]
    #[arg(long, value_name = "FILE")]
    pub(crate) relay_config: Option<PathBuf>,
    /// The relay's data; each run has a new folder in it, deleted after the run [temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Leave data, configuration and the relay's output where they are
    #[arg(long)]
    pub(crate) keep: bool,
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=50_000))]
    pub(crate) tcp_connections: u32,
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=i64::from(SENDER_MAX - HTTP_SENDER_BASE)))]
    pub(crate) http_connections: u32,
    /// Bytes per second over TCP, open loop [as fast as possible]
    #[arg(long, value_name = "BYTES/S", value_parser = parse_bytes)]
    pub(crate) tcp_rate: Option<u64>,
    /// Bytes per second over HTTP, open loop [as fast as possible]
    #[arg(long, value_name = "BYTES/S", value_parser = parse_bytes)]
    pub(crate) http_rate: Option<u64>,
    /// Silent TCP connections beside the sending ones
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) idle_connections: usize,
    /// TCP: ask for acknowledgements
    #[arg(long)]
    pub(crate) ack: bool,
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "30s")]
    pub(crate) duration: Duration,
    /// How many runs; the report has the median one and all
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) runs: u32,
    /// How long to wait for acknowledgements, deliveries and the relay's end after the last event
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "60s")]
    pub(crate) drain_timeout: Duration,
    /// Encoding the relay is configured to deliver in: gzip or none
    #[arg(long, default_value = "gzip")]
    pub(crate) compression: String,
    /// Give the relay two more streams, one whose endpoint hangs and one whose endpoint refuses
    #[arg(long, conflicts_with = "relay_config")]
    pub(crate) beside_dead: bool,
    /// Longest delay the relay is configured to wait between two tries of a delivery [the relay's own]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "relay_config")]
    pub(crate) retry_delay_max: Option<Duration>,
    /// Measure write and fdatasync of the data folder's disk before each run
    #[arg(long)]
    pub(crate) print_disk: bool,
    /// Keep what is acknowledged in this file, rewritten every 100 ms
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) shape: ShapeArguments,
    #[command(flatten)]
    pub(crate) keep_bodies: KeepArguments,
    #[command(flatten)]
    pub(crate) faults: Faults,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where bodies are posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpUrl {
    pub(crate) address: SocketAddr,
    /// Host and port as typed, for the `Host` header.
    pub(crate) host: String,
    pub(crate) path: String,
}

/// In `run`, HTTP senders are numbered from here, TCP senders from 0.
pub(crate) const HTTP_SENDER_BASE: u32 = 50_001;

fn resolve(text: &str) -> Result<SocketAddr, String> {
    let mut addresses = text.to_socket_addrs().map_err(|error| error.to_string())?;
    addresses
        .next()
        .ok_or_else(|| format!("`{text}` has no address"))
}

fn parse_url(text: &str) -> Result<HttpUrl, String> {
    let rest = text
        .strip_prefix("http://")
        .ok_or("only http:// URLs are supported")?;
    let (host, path) = rest
        .find('/')
        .map_or((rest, "/"), |slash| rest.split_at(slash));
    let with_port = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    Ok(HttpUrl {
        address: resolve(&with_port)?,
        host: host.to_owned(),
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn urls_are_taken_apart() {
        let url = parse_url("http://127.0.0.1:8080/v1/events?x=1").unwrap();
        assert_eq!(
            (url.host.as_str(), url.path.as_str()),
            ("127.0.0.1:8080", "/v1/events?x=1")
        );
        assert_eq!(parse_url("http://127.0.0.1").unwrap().address.port(), 80);
        assert!(parse_url("https://127.0.0.1/").is_err());
    }
}
