//! One command from nothing to a report: relay, endpoint, senders.
//!
//! Owns the order of a run: fresh data folder, endpoint, relay, readiness, senders, drain, SIGTERM,
//! verdict. Cost is the relay process's alone; everything runs on the machine's cores together.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::alone::{draw_run_id, judge, mode_of, store_of};
use crate::cli::{HTTP_SENDER_BASE, RunArguments};
use crate::clock::{Clock, micros};
use crate::disk::measure_fdatasync;
use crate::event::{Pool, RunId};
use crate::meter::Meter;
use crate::receive::{FakeArguments, Faults, Receiver, ReceiverSettings, VerifyMode};
use crate::relay::Relay;
use crate::relay_config::{RelaySettings, fill_in, render};
use crate::report::{LatencyMs, Report};
use crate::send::idle::IdleConnections;
use crate::send::{Load, Running, State, StateFile, Tally, Target};
use crate::signals::stop_flag;

/// `loadgen run`.
pub(crate) fn run(arguments: &RunArguments) -> io::Result<Report> {
    if arguments.tcp_connections + arguments.http_connections == 0 {
        let message = "give --tcp-connections, --http-connections or both";
        return Err(io::Error::new(ErrorKind::InvalidInput, message));
    }
    let stop = stop_flag()?;
    let mut reports = Vec::new();
    for number in 1..=arguments.runs {
        let scene = Scene::set(arguments, number)?;
        reports.push(scene.play(arguments, &stop)?);
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(Report::of_runs(reports))
}

/// Addresses, folders and identity of one run.
struct Scene {
    folder: PathBuf,
    clock: Clock,
    run: RunId,
    admin: SocketAddr,
    tcp: Option<SocketAddr>,
    http: Option<SocketAddr>,
}

/// What is known when the relay has ended.
struct Outcome {
    tcp: Option<Tally>,
    http: Option<Tally>,
    total: Tally,
    state: State,
    cpu_seconds: f64,
    rss_peak_bytes: u64,
    idle_open: usize,
    failure: Option<String>,
}

/// The senders of one run.
struct Senders {
    tcp: Option<Running>,
    http: Option<Running>,
}

impl Scene {
    fn set(arguments: &RunArguments, number: u32) -> io::Result<Self> {
        let base = arguments
            .data_dir
            .clone()
            .unwrap_or_else(std::env::temp_dir);
        let folder = base.join(format!("loadgen-{}-run-{number}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let folder = folder.canonicalize()?;
        let clock = Clock::start();
        let run = draw_run_id(arguments.shape.kind, clock);
        let needs_tcp = arguments.tcp_connections > 0 || arguments.idle_connections > 0;
        let [admin, tcp, http] = free_addresses()?;
        let tcp = needs_tcp.then_some(tcp);
        let http = (arguments.http_connections > 0).then_some(http);
        Ok(Self {
            folder,
            clock,
            run,
            admin,
            tcp,
            http,
        })
    }

    /// The whole run; leaves nothing behind, also when it fails.
    fn play(&self, arguments: &RunArguments, stop: &Arc<AtomicBool>) -> io::Result<Report> {
        let disk = arguments
            .print_disk
            .then(|| measure_fdatasync(&self.folder))
            .transpose()?;
        let receiver = self.start_receiver(arguments)?;
        let dead = self.start_dead(arguments)?;
        let outcome = self.conduct(arguments, &receiver, &dead, stop);
        let received = receiver.finish()?;
        for endpoint in dead {
            endpoint.finish()?;
        }
        self.clean(arguments)?;
        let outcome = outcome?;
        let (mut report, tallies) = judge(received, Some(&outcome.state), !arguments.json)?;
        let raw_bytes = report.raw_bytes;
        report.sent(&outcome.total);
        report.raw_bytes = raw_bytes;
        let first_us = outcome.total.first_send_us.unwrap_or(tallies.last_us);
        report.took(tallies.last_us.saturating_sub(first_us));
        report.received_within(tallies.last_us.saturating_sub(tallies.first_us));
        report.relay(outcome.cpu_seconds, outcome.rss_peak_bytes);
        report.tcp_ack_ms = outcome.tcp.map(|tally| LatencyMs::of(&tally.ack_us));
        report.http_ack_ms = outcome.http.map(|tally| LatencyMs::of(&tally.ack_us));
        report.disk_fdatasync_ms = disk;
        report.idle_connections_open =
            (arguments.idle_connections > 0).then_some(outcome.idle_open as u64);
        report.failures.extend(outcome.failure);
        Ok(report)
    }

    /// From the relay's start to its end.
    fn conduct(
        &self,
        arguments: &RunArguments,
        receiver: &Receiver,
        dead: &[Receiver],
        stop: &Arc<AtomicBool>,
    ) -> io::Result<Outcome> {
        let mut relay = self.start_relay(arguments, receiver.address(), dead)?;
        relay.wait_ready(self.admin)?;
        let idle = match self.tcp {
            Some(address) => IdleConnections::open(address, arguments.idle_connections)?,
            None => IdleConnections::default(),
        };
        relay.sample();
        let cpu_before = relay.cpu_seconds();
        receiver.start_fault_clock();
        let senders = self.start_senders(arguments, stop)?;
        let books = senders.books();
        let keep = |path: &PathBuf| StateFile::keep(path, self.run, books.clone());
        let state_file = arguments.state.as_ref().map(keep).transpose()?;
        self.watch(arguments, &senders, receiver, &mut relay)?;
        let (tcp, http, total) = senders.finish()?;
        self.drain(arguments, receiver, &mut relay, &total, stop);
        relay.sample();
        let cpu_seconds = relay.cpu_seconds() - cpu_before;
        let idle_open = idle.alive();
        drop(idle);
        let failure = match relay.stop(arguments.drain_timeout) {
            Ok(status) if status.success() => None,
            Ok(status) => Some(format!("the relay ended with {status}")),
            Err(error) => Some(error.to_string()),
        };
        if let Some(file) = state_file {
            file.finish()?;
        }
        let state = State::of(self.run, &books, true);
        let rss_peak_bytes = relay.rss_peak_bytes();
        Ok(Outcome {
            tcp,
            http,
            total,
            state,
            cpu_seconds,
            rss_peak_bytes,
            idle_open,
            failure,
        })
    }

    fn start_receiver(&self, arguments: &RunArguments) -> io::Result<Receiver> {
        let settings = ReceiverSettings {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            mode: mode_of(&arguments.keep_bodies),
            store: store_of(&arguments.keep_bodies)?,
            faults: arguments.faults.clone(),
            fake: FakeArguments::default(),
            body_bytes_max: arguments.keep_bodies.body_bytes_max,
        };
        Receiver::start(settings, self.clock)
    }

    /// Endpoints that take nothing: one accepts and neither reads nor answers, one answers every
    /// body with 503.
    fn start_dead(&self, arguments: &RunArguments) -> io::Result<Vec<Receiver>> {
        if !arguments.beside_dead {
            return Ok(Vec::new());
        }
        let hangs = Faults {
            hang_for: Some(FOR_EVER),
            ..Faults::default()
        };
        let refuses = Faults {
            fail_status: vec![503],
            ..Faults::default()
        };
        let start = |faults| {
            let settings = ReceiverSettings {
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                mode: VerifyMode::Discard,
                store: None,
                faults,
                fake: FakeArguments::default(),
                body_bytes_max: arguments.keep_bodies.body_bytes_max,
            };
            Receiver::start(settings, self.clock)
        };
        [hangs, refuses].into_iter().map(start).collect()
    }

    fn start_relay(
        &self,
        arguments: &RunArguments,
        sink: SocketAddr,
        dead: &[Receiver],
    ) -> io::Result<Relay> {
        let program = match &arguments.relay {
            Some(path) => path.clone(),
            None => std::env::current_exe()?.with_file_name("weir"),
        };
        let data_dir = self.folder.join("data");
        fs::create_dir_all(&data_dir)?;
        let url = |address| format!("http://{address}/ingest");
        let dead_urls: Vec<_> = dead.iter().map(|one| url(one.address())).collect();
        let settings = RelaySettings {
            data_dir: &data_dir,
            admin: self.admin,
            tcp: self.tcp,
            ack: arguments.ack,
            http: self.http,
            sink_url: &url(sink),
            compression: &arguments.compression,
            retry_delay_max: arguments.retry_delay_max,
            dead_urls: &dead_urls,
        };
        let text = match &arguments.relay_config {
            Some(path) => {
                let template = fs::read_to_string(path).map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                })?;
                fill_in(&template, &settings).map_err(io::Error::other)?
            }
            None => render(&settings),
        };
        let config = self.folder.join("relay.toml");
        fs::write(&config, text)?;
        Relay::start(&program, &config, &self.folder.join("relay.log"))
    }

    fn start_senders(
        &self,
        arguments: &RunArguments,
        stop: &Arc<AtomicBool>,
    ) -> io::Result<Senders> {
        let pool = Arc::new(Pool::generate(self.run));
        let load = |target, connections, sender_base, rate| Load {
            target,
            connections,
            sender_base,
            rate,
            events: None,
            duration: Some(arguments.duration),
            reconnect: false,
            grace: arguments.drain_timeout,
            threads: arguments.shape.send_threads,
        };
        let tcp = self
            .tcp
            .filter(|_| arguments.tcp_connections > 0)
            .map(|address| {
                let target = Target::Tcp {
                    address,
                    ack: arguments.ack,
                };
                load(target, arguments.tcp_connections, 0, arguments.tcp_rate)
            });
        let http = self.http.map(|address| {
            let target = Target::Http {
                address,
                host: address.to_string(),
                path: "/v1/events".to_owned(),
                body_events: arguments.shape.body_events,
            };
            load(
                target,
                arguments.http_connections,
                HTTP_SENDER_BASE,
                arguments.http_rate,
            )
        });
        let start = |load: Load| load.start(&pool, self.clock, stop);
        Ok(Senders {
            tcp: tcp.map(start).transpose()?,
            http: http.map(start).transpose()?,
        })
    }

    /// Waits for the senders and keeps an eye on the relay.
    fn watch(
        &self,
        arguments: &RunArguments,
        senders: &Senders,
        receiver: &Receiver,
        relay: &mut Relay,
    ) -> io::Result<()> {
        let start_us = self.clock.now_us();
        let mut meter = Meter::over(!arguments.json, Some(arguments.duration));
        while !senders.is_finished() {
            std::thread::sleep(SAMPLE_EVERY);
            relay.sample();
            relay.ensure_running()?;
            let bytes = receiver.tallies().raw_bytes;
            let position = (self.clock.now_us() - start_us) / 1_000;
            let text = format!("run {}: {:.2} GB delivered", self.run, bytes as f64 / 1e9);
            meter.show_rate(position, &text, bytes);
        }
        meter.clear();
        Ok(())
    }

    /// Waits until as many bytes have come out as went in. Duplicates count twice here, so this may
    /// end early; what is then on its way still arrives before the relay has ended.
    fn drain(
        &self,
        arguments: &RunArguments,
        receiver: &Receiver,
        relay: &mut Relay,
        total: &Tally,
        stop: &AtomicBool,
    ) {
        let end_us = self.clock.now_us() + micros(arguments.drain_timeout);
        let meter = Meter::new(!arguments.json, total.raw_bytes);
        while self.clock.now_us() < end_us && !stop.load(Ordering::Relaxed) {
            let tallies = receiver.tallies();
            // A body's last line end may be left out.
            if tallies.raw_bytes + tallies.taken >= total.raw_bytes {
                break;
            }
            meter.show(tallies.raw_bytes, "draining");
            relay.sample();
            std::thread::sleep(Duration::from_millis(5));
        }
        meter.clear();
    }

    fn clean(&self, arguments: &RunArguments) -> io::Result<()> {
        if arguments.keep {
            eprintln!(
                "loadgen: data, configuration and output are in {}",
                self.folder.display()
            );
            return Ok(());
        }
        remove(&self.folder)
    }
}

impl Senders {
    fn books(&self) -> Vec<Arc<crate::send::Progress>> {
        let both = self.tcp.iter().chain(&self.http);
        both.map(|running| Arc::clone(&running.progress)).collect()
    }

    fn is_finished(&self) -> bool {
        self.tcp.iter().chain(&self.http).all(Running::is_finished)
    }

    /// The tallies of both kinds and their sum.
    fn finish(self) -> io::Result<(Option<Tally>, Option<Tally>, Tally)> {
        let tcp = self.tcp.map(Running::finish).transpose()?;
        let http = self.http.map(Running::finish).transpose()?;
        let mut total = Tally::default();
        for tally in tcp.iter().chain(&http) {
            total.add(tally);
        }
        Ok((tcp, http, total))
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    fs::remove_dir_all(folder)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", folder.display())))
}

/// Addresses on loopback that nobody listens on; held together until all are known, so that they
/// differ.
///
/// Below the range of ephemeral ports: there an outgoing connection takes a free port at any moment,
/// and a connection to a port without a listener can become one with itself.
fn free_addresses<const N: usize>() -> io::Result<[SocketAddr; N]> {
    // Processes that run side by side begin at different places.
    let own = std::process::id().wrapping_mul(37);
    let mut listeners = (0..PORTS)
        .map(|tried| PORT_MIN + own.wrapping_add(tried) % PORTS)
        .filter_map(|port| u16::try_from(port).ok())
        .filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    let mut held = Vec::with_capacity(N);
    for _ in 0..N {
        let none = || io::Error::new(ErrorKind::AddrInUse, "no free port on loopback");
        held.push(listeners.next().ok_or_else(none)?);
    }
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for (address, listener) in addresses.iter_mut().zip(&held) {
        *address = listener.local_addr()?;
    }
    Ok(addresses)
}

const PORT_MIN: u32 = 14_000;
const PORTS: u32 = 6_000;
/// Longer than any run.
const FOR_EVER: Duration = Duration::from_secs(1_000_000);
const SAMPLE_EVERY: Duration = Duration::from_millis(50);
