//! A sender, an endpoint or a verification by itself.
//!
//! Owns what `loadgen send`, `receive` and `verify` do from start to report; `run` does all at once.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::cli::{KeepArguments, ReceiveArguments, SendArguments, VerifyArguments};
use crate::clock::{Clock, micros};
use crate::event::{Kind, Pool, RunId};
use crate::meter::Meter;
use crate::receive::store::{Store, StoreIndex};
use crate::receive::{Received, Receiver, ReceiverSettings, VerifyMode};
use crate::report::{Report, announce};
use crate::send::idle::IdleConnections;
use crate::send::{Load, State, StateFile, Target};
use crate::signals::stop_flag;
use crate::verify::{Verified, verify_files, verify_store};

/// `loadgen send`.
pub(crate) fn send(arguments: &SendArguments) -> io::Result<Report> {
    let clock = Clock::start();
    let run = arguments
        .run_id
        .unwrap_or_else(|| draw_run_id(arguments.shape.kind, clock));
    let pool = Arc::new(Pool::generate(run));
    let load = load_of(arguments)?;
    let stop = stop_flag()?;
    let address = match &load.target {
        Target::Tcp { address, .. } | Target::Http { address, .. } => *address,
    };
    let idle = IdleConnections::open(address, arguments.idle_connections)?;
    let running = load.start(&pool, clock, &stop)?;
    let state = arguments
        .state
        .as_deref()
        .map(|path| StateFile::keep(path, run, vec![Arc::clone(&running.progress)]))
        .transpose()?;
    let mut meter = Meter::over(!arguments.json, load.duration);
    let start_us = clock.now_us();
    while !running.is_finished() {
        std::thread::sleep(TICK);
        let (sent, acked) = running.progress.totals();
        let text = format!("run {run}: {sent} sent, {acked} acknowledged");
        let bytes = (sent as f64 * pool.event_bytes_mean()).round();
        #[expect(clippy::cast_possible_truncation, reason = "bytes of a run fit")]
        #[expect(clippy::cast_sign_loss, reason = "a count is not negative")]
        meter.show_rate((clock.now_us() - start_us) / 1_000, &text, bytes as u64);
    }
    meter.clear();
    let tally = running.finish()?;
    if let Some(state) = state {
        state.finish()?;
    }
    let mut report = Report::default();
    report.sent(&tally);
    report.took(
        tally
            .end_us
            .saturating_sub(tally.first_send_us.unwrap_or(tally.end_us)),
    );
    report.idle_connections_open = (arguments.idle_connections > 0).then(|| idle.alive() as u64);
    Ok(report)
}

/// `loadgen receive`.
pub(crate) fn receive(arguments: &ReceiveArguments) -> io::Result<Report> {
    let clock = Clock::start();
    let stop = stop_flag()?;
    let settings = ReceiverSettings {
        listen: arguments.listen,
        mode: mode_of(&arguments.keep),
        store: store_of(&arguments.keep)?,
        faults: arguments.faults.clone(),
        fake: arguments.fake.clone(),
        body_bytes_max: arguments.keep.body_bytes_max,
    };
    let receiver = Receiver::start(settings, clock)?;
    if !arguments.json {
        announce(&format!("listening on http://{}/", receiver.address()));
    }
    wait_for_end(arguments, &receiver, clock, &stop);
    let received = receiver.finish()?;
    let state = arguments.state.as_deref().map(State::read).transpose()?;
    judge(received, state.as_ref(), !arguments.json).map(|(mut report, tallies)| {
        report.took(tallies.last_us.saturating_sub(tallies.first_us));
        report.books(state.as_ref());
        report
    })
}

/// `loadgen verify`.
pub(crate) fn verify(arguments: &VerifyArguments) -> io::Result<Report> {
    let state = arguments.state.as_deref().map(State::read).transpose()?;
    let verified = if let Some(folder) = &arguments.store {
        let index = StoreIndex::read([folder.as_path()].into_iter())?;
        verify_index(&index, !arguments.json)?
    } else {
        let paths = expand(&arguments.files)?;
        let meter = Meter::new(!arguments.json, paths.len() as u64);
        let verified = verify_files(&paths, |done| meter.show(done as u64, "files"))?;
        meter.clear();
        verified
    };
    let mut report = Report::default();
    report.verified(&verified, state.as_ref());
    report.books(state.as_ref());
    Ok(report)
}

/// Judges what an endpoint has received, as far as its mode allows; a temporary store goes with it.
pub(crate) fn judge(
    received: Received,
    state: Option<&State>,
    visible: bool,
) -> io::Result<(Report, crate::receive::ReceiveTallies)> {
    let mut report = Report::default();
    report.received(&received.tallies);
    report.failures.extend(received.failures);
    if let Some(verified) = &received.live {
        report.verified(verified, state);
    } else if let Some(store) = &received.store {
        let verified = verify_index(&store.index()?, visible)?;
        report.verified(&verified, state);
    }
    Ok((report, received.tallies))
}

/// The mode two flags ask for.
pub(crate) fn mode_of(keep: &KeepArguments) -> VerifyMode {
    if keep.discard {
        VerifyMode::Discard
    } else {
        keep.verify
    }
}

/// Where bodies are kept, if they are.
pub(crate) fn store_of(keep: &KeepArguments) -> io::Result<Option<Store>> {
    match (mode_of(keep), &keep.store) {
        (VerifyMode::Live | VerifyMode::Discard, _) => Ok(None),
        (VerifyMode::After, Some(folder)) => Store::in_folder(folder).map(Some),
        (VerifyMode::After, None) => Store::temporary(keep.store_memory).map(Some),
    }
}

/// A run id nobody has used: from the time and the process.
pub(crate) fn draw_run_id(kind: Kind, clock: Clock) -> RunId {
    let mixed = clock.now_us().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(std::process::id());
    RunId::new(kind, mixed >> 20)
}

fn verify_index(index: &StoreIndex, visible: bool) -> io::Result<Verified> {
    let meter = Meter::new(visible, index.records.len() as u64);
    let verified = verify_store(index, |done| meter.show(done as u64, "bodies judged"))?;
    meter.clear();
    Ok(verified)
}

fn load_of(arguments: &SendArguments) -> io::Result<Load> {
    let target = match (arguments.tcp, &arguments.http) {
        (Some(address), _) => Target::Tcp {
            address,
            ack: arguments.ack,
        },
        (None, Some(url)) => Target::Http {
            address: url.address,
            host: url.host.clone(),
            path: url.path.clone(),
            body_events: arguments.shape.body_events,
        },
        (None, None) => return Err(io::Error::new(ErrorKind::InvalidInput, "no target")),
    };
    let default_duration = arguments.events.is_none().then_some(DURATION);
    Ok(Load {
        target,
        connections: arguments.connections,
        sender_base: arguments.sender_base,
        rate: arguments.rate,
        events: arguments.events,
        duration: arguments.duration.or(default_duration),
        reconnect: arguments.reconnect,
        grace: arguments.grace,
        threads: arguments.shape.send_threads,
    })
}

fn wait_for_end(
    arguments: &ReceiveArguments,
    receiver: &Receiver,
    clock: Clock,
    stop: &AtomicBool,
) {
    let start_us = clock.now_us();
    let mut meter = Meter::over(!arguments.json, arguments.duration);
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(TICK);
        let now_us = clock.now_us();
        let tallies = receiver.tallies();
        let over = |limit: Option<Duration>, since_us: u64| {
            limit.is_some_and(|limit| now_us.saturating_sub(since_us) >= micros(limit))
        };
        let idle = tallies.last_us > 0 && over(arguments.until_idle, tallies.last_us);
        if idle || over(arguments.duration, start_us) {
            break;
        }
        let events = receiver
            .live_events()
            .map(|events| format!(", {events} events"));
        let text = format!("{} bodies{}", tallies.taken, events.unwrap_or_default());
        meter.show_rate((now_us - start_us) / 1_000, &text, tallies.raw_bytes);
    }
    meter.clear();
}

/// Files that match the patterns, sorted by name within each pattern.
fn expand(patterns: &[String]) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for pattern in patterns {
        let path = Path::new(pattern);
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let folder = path
            .parent()
            .filter(|folder| *folder != Path::new(""))
            .unwrap_or(Path::new("."));
        let mut found = Vec::new();
        for entry in folder.read_dir()? {
            let entry = entry?;
            let matches = entry
                .file_name()
                .to_str()
                .is_some_and(|text| glob_matches(name, text));
            if matches && entry.file_type()?.is_file() {
                found.push(entry.path());
            }
        }
        if found.is_empty() {
            return Err(io::Error::new(
                ErrorKind::NotFound,
                format!("no file matches {pattern}"),
            ));
        }
        found.sort();
        paths.append(&mut found);
    }
    Ok(paths)
}

/// `*` stands for any number of characters, `?` for one.
fn glob_matches(pattern: &str, text: &str) -> bool {
    let mut rest = text.chars();
    match (pattern.chars().next(), rest.next()) {
        (None, first) => first.is_none(),
        (Some('*'), first) => {
            glob_matches(&pattern[1..], text)
                || first.is_some() && glob_matches(pattern, rest.as_str())
        }
        (Some(_), None) => false,
        (Some(expected), Some(found)) => {
            (expected == '?' || expected == found)
                && glob_matches(&pattern[expected.len_utf8()..], rest.as_str())
        }
    }
}

const DURATION: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_in_a_shell() {
        for (pattern, text, expected) in [
            ("*.ndjson", "a.ndjson", true),
            ("*.ndjson", "a.ndjson.gz", false),
            ("a?c*", "abcdef", true),
            ("a?c*", "ac", false),
            ("*", "", true),
            ("x", "x", true),
            ("*-*-*.gz", "siem-0-17.gz", true),
        ] {
            assert_eq!(glob_matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
