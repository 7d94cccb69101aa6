//! `weir run`: from a configuration to a running node, and back on a signal.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

use crate::cli::{EXIT_USAGE, print};
use crate::config::plan::{InputPlan, Plan};
use crate::config::{self, ConfigErrors, Environment};
use crate::control::health;
use crate::control::watchdog::Watchdog;
use crate::node::{self, Node, OpenNode, Reload};
use crate::os::signals::{Signal, Signals};
use crate::os::systemd;

/// How often the main thread looks at the node's parts when no watchdog asks for more.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs the relay until a signal stops it.
pub(super) fn run(config: Option<&Path>) -> ExitCode {
    start_log();
    let plan = match load(config) {
        Ok(plan) => plan,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let opened = match node::open(plan) {
        Ok(opened) => opened,
        Err(error) => {
            eprintln!("weir: {error}");
            return ExitCode::FAILURE;
        }
    };
    let told = tell(&opened, config.is_none());
    // Signals are listened to before an event is taken: from then on a signal drains, and
    // does not kill.
    let (runtime, signals) = match listen_for_signals() {
        Ok(both) => both,
        Err(error) => {
            eprintln!("weir: start the main loop: {error}");
            return ExitCode::FAILURE;
        }
    };
    let node = match opened.start() {
        Ok(node) => node,
        Err(error) => {
            eprintln!("weir: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = print(&told) {
        tracing::debug!(%error, "tell where the node listens");
    }
    serve(node, config, &runtime, signals)
}

fn load(config: Option<&Path>) -> Result<Plan, ConfigErrors> {
    match config {
        Some(path) => config::load(path),
        None => config::parse(
            config::embedded_default(),
            "embedded default",
            &Environment::of_this_process(),
        ),
    }
}

/// The main thread's runtime, and the signals that arrive from now on.
fn listen_for_signals() -> std::io::Result<(Runtime, Signals)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let signals = {
        let _entered = runtime.enter();
        Signals::listen()?
    };
    Ok((runtime, signals))
}

/// Waits for a signal or for a part to fail, and feeds the watchdog while every shard turns.
fn serve(node: Node, config: Option<&Path>, runtime: &Runtime, signals: Signals) -> ExitCode {
    log_refused(systemd::ready("running"));
    let failed = runtime.block_on(until_stopped(&node, config, signals));
    log_refused(systemd::stopping("draining"));
    let troubles = node.stop();
    for trouble in &troubles {
        tracing::error!("{trouble}");
    }
    if failed || !troubles.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Returns whether a part failed.
async fn until_stopped(node: &Node, config: Option<&Path>, mut signals: Signals) -> bool {
    let every =
        systemd::watchdog_interval().map_or(LOOK_EVERY, |asked| (asked / 2).min(LOOK_EVERY));
    let mut watchdog = Watchdog::default();
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Terminate | Signal::Interrupt => {
                    tracing::info!("stopping: delivering what is durable");
                    return false;
                }
                Signal::Reload => reload(node, config),
            },
            () = tokio::time::sleep(every) => {
                if let Some(part) = node.failed_part() {
                    tracing::error!("{part} ended by itself: the node stops");
                    return true;
                }
                if data_dir_is_gone(node) {
                    return true;
                }
                feed(node, &mut watchdog);
            }
        }
    }
}

/// Takes over the rules of the configuration as it is now. What is wrong with it changes nothing.
fn reload(node: &Node, config: Option<&Path>) {
    match load(config) {
        Ok(plan) => match node.reload(plan) {
            Reload::Same => tracing::info!("reload: nothing differs from what runs"),
            Reload::Changed(changes) => {
                tracing::info!(changes, "reload: rules changed");
            }
            Reload::NeedsRestart(differing) => tracing::error!(
                %differing,
                "reload: more than rules differs, so nothing was changed; restart to apply it"
            ),
            Reload::NotRecorded => tracing::error!(
                "reload: the change could not be made durable as audit events; nothing was changed"
            ),
        },
        Err(errors) => tracing::error!("reload: {errors}"),
    }
}

/// Whether the data directory was removed or replaced under the node. The files are still open
/// and take writes, but what is acknowledged from then on would not outlive the process.
fn data_dir_is_gone(node: &Node) -> bool {
    match node.data_dir_in_place() {
        Ok(true) => false,
        Ok(false) => {
            tracing::error!(
                data_dir = %node.observed().data_dir.display(),
                "the data directory was removed or replaced: the node stops, because what it acknowledged now would not be kept"
            );
            true
        }
        Err(error) => {
            tracing::warn!(%error, "look whether the data directory is in place");
            false
        }
    }
}

/// Feeds the watchdog of systemd by real progress: while every shard's loop turns.
fn feed(node: &Node, watchdog: &mut Watchdog) {
    match health::live(watchdog, node.observed()) {
        Ok(()) => log_refused(systemd::feed_watchdog()),
        Err(stuck) => tracing::error!(%stuck, "the watchdog is not fed"),
    }
}

fn log_refused(told: std::io::Result<()>) {
    if let Err(error) = told {
        tracing::debug!(%error, "tell systemd");
    }
}

/// Where the node listens, for whoever started it.
fn tell(opened: &OpenNode, default: bool) -> String {
    let plan = opened.plan();
    let mut lines = Vec::new();
    if default {
        lines.push("weir runs on its embedded default; --config FILE takes yours".to_owned());
    }
    for (input, address) in plan.inputs.iter().zip(opened.addresses()) {
        lines.push(match input {
            InputPlan::Tcp(tcp) => {
                format!("input \"{}\": NDJSON over TCP on {address}", tcp.input.name)
            }
            InputPlan::Http(http) => {
                format!(
                    "input \"{}\": POST http://{address}/v1/events",
                    http.input.name
                )
            }
        });
    }
    for stream in &plan.streams {
        let to = match &stream.sink {
            crate::sink::SinkSettings::Http(http) => {
                format!("POST {}", http.urls[0].host().unwrap_or("?"))
            }
            crate::sink::SinkSettings::Kafka(kafka) => format!("kafka {}", kafka.brokers.join(",")),
            crate::sink::SinkSettings::File(file) => file.path.display().to_string(),
            crate::sink::SinkSettings::Relay(relay) => format!(
                "relay to {}",
                relay
                    .http
                    .urls
                    .first()
                    .and_then(|url| url.host())
                    .unwrap_or("?")
            ),
            crate::sink::SinkSettings::Syslog(syslog) => {
                format!("syslog at {} port {}", syslog.host, syslog.port)
            }
            crate::sink::SinkSettings::S3(s3) => {
                format!("bucket {} at {}", s3.bucket, s3.host.host().unwrap_or("?"))
            }
        };
        lines.push(format!("stream \"{}\": {to}", stream.stream.name));
    }
    if let Some(admin) = opened.admin_address() {
        lines.push(format!("metrics: http://{admin}/metrics"));
    }
    lines.push(format!("data: {}", plan.data_dir.display()));
    lines.join("\n")
}

fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
