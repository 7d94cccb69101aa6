//! What a run has shown: one object for programs, one table for people.
//!
//! Owns the names and units of all reported figures, the exit status, and everything that goes to
//! standard output. MB is 10^6 bytes, GB 10^9, TB 10^12; a day has 86,400 s.
#![expect(
    clippy::print_stdout,
    reason = "the report is what this program is run for"
)]

use std::process::ExitCode;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::receive::ReceiveTallies;
use crate::send::{State, Tally};
use crate::verify::Verified;

/// All figures. A command that cannot know a figure leaves it at zero or null.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) events_sent: u64,
    /// Events the relay has answered for; without acknowledgements, those whose connection was
    /// closed in good order.
    pub(crate) events_acked: u64,
    /// Different events received.
    pub(crate) events_received: u64,
    /// Acknowledged events that never arrived.
    pub(crate) lost: u64,
    /// Events received again.
    pub(crate) duplicated: u64,
    /// Of those, events in a body whose identity had been seen.
    pub(crate) duplicated_with_known_key: u64,
    /// First receipts after a later event of the same sender.
    pub(crate) out_of_order: u64,
    /// Received events whose bytes differ from those sent.
    pub(crate) content_differs: u64,
    /// Sequences missing below the highest one received, acknowledged or not.
    pub(crate) gaps: u64,
    /// Received lines without a stamp.
    pub(crate) foreign: u64,
    /// Received events that no sender of this run has made.
    pub(crate) unknown: u64,
    /// Received bodies that could not be decoded to their end.
    pub(crate) undecodable: u64,
    pub(crate) events_rejected: u64,
    pub(crate) events_resent: u64,
    pub(crate) bodies_retried: u64,
    pub(crate) reconnects: u64,
    /// Of the different events received (`send`: of those sent), line ends included.
    pub(crate) raw_bytes: u64,
    /// From the first event sent (or first body received) to the last body received (or last
    /// acknowledgement).
    pub(crate) seconds: f64,
    pub(crate) mb_per_s: f64,
    pub(crate) tb_per_day: f64,
    /// From the first body received to the last: how fast the relay delivers once it does.
    pub(crate) receiving_mb_per_s: f64,
    /// From the intended send time to the acknowledgement, all senders.
    pub(crate) ack_ms: LatencyMs,
    pub(crate) tcp_ack_ms: Option<LatencyMs>,
    pub(crate) http_ack_ms: Option<LatencyMs>,
    /// From the intended send time to the receipt of the body.
    pub(crate) delivery_ms: LatencyMs,
    pub(crate) relay_cpu_s: f64,
    pub(crate) relay_cpu_s_per_gb: f64,
    pub(crate) relay_rss_peak_mb: f64,
    /// Bytes of events per byte of body.
    pub(crate) gzip_ratio: f64,
    /// Write and fdatasync of 4 and 64 KiB on the data folder's disk before the run.
    pub(crate) disk_fdatasync_ms: Option<LatencyMs>,
    pub(crate) bodies_received: u64,
    pub(crate) bodies_refused: u64,
    /// The furthest a sender fell behind its timetable.
    pub(crate) behind_ms_max: f64,
    pub(crate) send_cpu_s: f64,
    pub(crate) idle_connections_open: Option<u64>,
    /// The first lost events, as (sender, sequence).
    pub(crate) lost_examples: Vec<(u32, u64)>,
    /// What went wrong besides.
    pub(crate) failures: Vec<String>,
    /// With `--runs`: each run; the figures above are those of the run with the median rate, but
    /// for losses, duplicates and the like, which are summed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) runs: Vec<Report>,
}

/// A latency distribution in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct LatencyMs {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    /// Number of events (or rounds) behind the figures.
    pub(crate) count: u64,
}

impl LatencyMs {
    /// From a histogram of microseconds.
    pub(crate) fn of(us: &Histogram<u64>) -> Self {
        let ms = |us: u64| us as f64 / 1e3;
        if us.is_empty() {
            return Self::default();
        }
        Self {
            p50: ms(us.value_at_quantile(0.5)),
            p99: ms(us.value_at_quantile(0.99)),
            max: ms(us.max()),
            count: us.len(),
        }
    }
}

impl Report {
    /// Takes over what senders did.
    pub(crate) fn sent(&mut self, tally: &Tally) {
        self.events_sent = tally.events_sent;
        self.events_acked = tally.events_acked.saturating_sub(tally.events_rejected);
        self.events_rejected = tally.events_rejected + tally.rejected_unlisted;
        self.events_resent = tally.events_resent;
        self.bodies_retried = tally.bodies_retried;
        self.reconnects = tally.reconnects;
        self.raw_bytes = tally.raw_bytes;
        self.ack_ms = LatencyMs::of(&tally.ack_us);
        self.behind_ms_max = tally.behind_us_max as f64 / 1e3;
        self.send_cpu_s = round(tally.cpu_seconds);
        self.failures.extend(tally.failures.iter().cloned());
    }

    /// Takes over what an endpoint counted.
    pub(crate) fn received(&mut self, tallies: &ReceiveTallies) {
        self.raw_bytes = tallies.raw_bytes;
        self.bodies_received = tallies.taken;
        self.bodies_refused = tallies.refused;
        self.gzip_ratio = ratio(tallies.raw_bytes as f64, tallies.body_bytes as f64);
        if tallies.malformed > 0 {
            self.failures
                .push(format!("{} malformed requests", tallies.malformed));
        }
    }

    /// Takes over the verdict; `state` are the books of the senders, if known.
    pub(crate) fn verified(&mut self, verified: &Verified, state: Option<&State>) {
        let findings = verified.ledger.findings();
        self.events_received = findings.events;
        self.duplicated = findings.duplicates;
        self.duplicated_with_known_key = findings.duplicates_with_known_key;
        self.out_of_order = findings.out_of_order;
        self.gaps = verified.ledger.gaps();
        self.content_differs = verified.counts.content_differs;
        self.foreign = verified.counts.foreign;
        self.undecodable = verified.counts.undecodable;
        self.raw_bytes = findings.raw_bytes;
        self.delivery_ms = LatencyMs::of(&verified.delivery_us);
        let (raw, body) = (verified.counts.raw_bytes, verified.counts.body_bytes);
        self.gzip_ratio = ratio(raw as f64, body as f64);
        self.bodies_received = verified.counts.bodies;
        let Some(state) = state else { return };
        match state.run.parse() {
            Ok(run) => {
                let losses = verified.ledger.losses(run, &state.senders);
                self.lost = losses.lost;
                self.unknown = losses.unknown;
                self.lost_examples = losses.examples;
            }
            Err(error) => self.failures.push(error),
        }
    }

    /// Takes over the senders' books where the senders ran elsewhere.
    pub(crate) fn books(&mut self, state: Option<&State>) {
        let senders = state
            .map(|state| state.senders.as_slice())
            .unwrap_or_default();
        self.events_rejected = senders
            .iter()
            .map(|sender| sender.rejected.len() as u64)
            .sum();
        self.events_sent = senders.iter().map(|sender| sender.sent).sum();
        let acked: u64 = senders.iter().map(|sender| sender.acked).sum();
        self.events_acked = acked.saturating_sub(self.events_rejected);
    }

    /// Sets the time the work took; call when `raw_bytes` is final.
    pub(crate) fn took(&mut self, micros: u64) {
        self.seconds = round(micros as f64 / 1e6);
        self.mb_per_s = ratio(self.raw_bytes as f64, micros as f64);
        self.tb_per_day = round(self.mb_per_s * 86_400.0 / 1e6);
    }

    /// Sets the time from the first body to the last; call when `raw_bytes` is final.
    pub(crate) fn received_within(&mut self, micros: u64) {
        self.receiving_mb_per_s = ratio(self.raw_bytes as f64, micros as f64);
    }

    /// Sets the relay's cost; call when `raw_bytes` is final.
    pub(crate) fn relay(&mut self, cpu_seconds: f64, rss_peak_bytes: u64) {
        self.relay_cpu_s = round(cpu_seconds);
        self.relay_cpu_s_per_gb = ratio(cpu_seconds, self.raw_bytes as f64 / 1e9);
        self.relay_rss_peak_mb = round(rss_peak_bytes as f64 / 1e6);
    }

    /// One report for several runs.
    pub(crate) fn of_runs(mut runs: Vec<Self>) -> Self {
        if runs.len() == 1 {
            return runs.remove(0);
        }
        let mut order: Vec<&Self> = runs.iter().collect();
        order.sort_by(|a, b| a.mb_per_s.total_cmp(&b.mb_per_s));
        let mut report = order
            .get(runs.len() / 2)
            .map(|run| (*run).clone())
            .unwrap_or_default();
        let sum = |figure: fn(&Self) -> u64| runs.iter().map(figure).sum();
        report.lost = sum(|run| run.lost);
        report.duplicated = sum(|run| run.duplicated);
        report.duplicated_with_known_key = sum(|run| run.duplicated_with_known_key);
        report.out_of_order = sum(|run| run.out_of_order);
        report.content_differs = sum(|run| run.content_differs);
        report.undecodable = sum(|run| run.undecodable);
        report.unknown = sum(|run| run.unknown);
        report.relay_rss_peak_mb = runs
            .iter()
            .map(|run| run.relay_rss_peak_mb)
            .fold(0.0, f64::max);
        report.lost_examples = runs
            .iter()
            .flat_map(|run| run.lost_examples.clone())
            .collect();
        report.failures = runs.iter().flat_map(|run| run.failures.clone()).collect();
        report.runs = runs;
        report
    }

    /// 1 when an acknowledged event is lost or changed, 2 when something else went wrong.
    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.lost > 0 || self.content_differs > 0 || self.undecodable > 0 {
            ExitCode::from(1)
        } else if self.failures.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(2)
        }
    }

    /// Prints one JSON object or the table.
    pub(crate) fn print(&self, json: bool) {
        if json {
            println!(
                "{}",
                serde_json::to_string(self).expect("a report has no maps")
            );
        } else {
            print!("{}", self.table());
        }
    }

    fn table(&self) -> String {
        let mut table = Table::default();
        for (number, run) in (1..).zip(&self.runs) {
            let (rate, cpu) = (run.mb_per_s, run.relay_cpu_s_per_gb);
            let ack = run.ack_ms.p99;
            let text = format!("{rate:.1} MB/s, relay {cpu:.3} CPU s/GB, ack p99 {ack:.1} ms");
            table.row(&format!("run {number}"), &text);
        }
        let acked = format!(
            "{} acknowledged {}",
            grouped(self.events_sent),
            grouped(self.events_acked)
        );
        table.row("events sent", &acked);
        if self.bodies_received > 0 || self.lost > 0 {
            table.row("events received", &grouped(self.events_received));
            table.row("lost", &grouped(self.lost));
            let known = grouped(self.duplicated_with_known_key);
            let duplicated = grouped(self.duplicated);
            table.row(
                "duplicated",
                &format!("{duplicated} ({known} with a known identity)"),
            );
            table.row("out of order", &grouped(self.out_of_order));
        }
        table.count("content differs", self.content_differs);
        table.count("undecodable bodies", self.undecodable);
        table.count("gaps", self.gaps);
        table.count("foreign lines", self.foreign);
        table.count("unknown events", self.unknown);
        table.count("rejected", self.events_rejected);
        table.count("events sent again", self.events_resent);
        table.count("bodies sent again", self.bodies_retried);
        table.count("bodies refused, as told", self.bodies_refused);
        table.count("reconnects", self.reconnects);
        self.throughput(&mut table);
        table.latency("acknowledged after", Some(self.ack_ms));
        table.latency("  over TCP", self.tcp_ack_ms);
        table.latency("  over HTTP", self.http_ack_ms);
        table.latency("delivered after", Some(self.delivery_ms));
        table.latency("disk write+fdatasync", self.disk_fdatasync_ms);
        if self.relay_cpu_s > 0.0 {
            let cpu = self.relay_cpu_s_per_gb;
            table.row(
                "relay CPU",
                &format!("{cpu:.3} s/GB ({:.1} s)", self.relay_cpu_s),
            );
            table.row(
                "relay memory peak",
                &format!("{:.1} MB", self.relay_rss_peak_mb),
            );
        }
        if self.gzip_ratio > 0.0 {
            table.row("compression ratio", &format!("{:.2}", self.gzip_ratio));
        }
        if let Some(open) = self.idle_connections_open {
            table.row("idle connections open", &grouped(open));
        }
        for (sender, sequence) in &self.lost_examples {
            table.row("lost:", &format!("sender {sender} sequence {sequence}"));
        }
        for failure in &self.failures {
            table.row("failure:", failure);
        }
        table.0
    }

    fn throughput(&self, table: &mut Table) {
        // Verifying what lies in files has bytes and no time.
        if self.seconds > 0.0 {
            let rate = format!("{:.1} MB/s = {:.1} TB/day", self.mb_per_s, self.tb_per_day);
            let bytes = self.raw_bytes as f64 / 1e9;
            table.row(
                "throughput",
                &format!("{rate} ({bytes:.2} GB in {:.1} s)", self.seconds),
            );
        }
    }
}

#[derive(Default)]
struct Table(String);

impl Table {
    fn row(&mut self, name: &str, value: &str) {
        self.0 += &format!("{name:<24}{value}\n");
    }

    /// Counts of things that seldom happen are shown only when they did.
    fn count(&mut self, name: &str, count: u64) {
        if count > 0 {
            self.row(name, &grouped(count));
        }
    }

    fn latency(&mut self, name: &str, latency: Option<LatencyMs>) {
        if let Some(LatencyMs {
            p50,
            p99,
            max,
            count: 1..,
        }) = latency
        {
            self.row(
                name,
                &format!("p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms"),
            );
        }
    }
}

/// Prints a line for people at once, as a receiver's address.
pub(crate) fn announce(line: &str) {
    println!("{line}");
}

fn ratio(dividend: f64, divisor: f64) -> f64 {
    if divisor > 0.0 {
        round(dividend / divisor)
    } else {
        0.0
    }
}

fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_decimal_and_per_day() {
        let mut report = Report {
            raw_bytes: 30_000_000_000,
            ..Report::default()
        };
        report.took(30_000_000);
        report.relay(39.0, 100_000_000);
        assert_eq!(
            (report.seconds, report.mb_per_s, report.tb_per_day),
            (30.0, 1_000.0, 86.4)
        );
        assert_eq!(
            (report.relay_cpu_s_per_gb, report.relay_rss_peak_mb),
            (1.3, 100.0)
        );
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(12), "12");
    }

    #[test]
    fn several_runs_report_the_median_rate_and_every_loss() {
        let run = |mb_per_s, lost| Report {
            mb_per_s,
            lost,
            ..Report::default()
        };
        let report = Report::of_runs(vec![run(3.0, 0), run(1.0, 2), run(2.0, 1)]);
        assert_eq!(
            (report.mb_per_s, report.lost, report.runs.len()),
            (2.0, 3, 3)
        );
        assert_eq!(report.exit_code(), ExitCode::from(1));
    }

    #[test]
    fn status_tells_losses_from_other_failures() {
        let failed = Report {
            failures: vec!["x".to_owned()],
            ..Report::default()
        };
        assert_eq!(failed.exit_code(), ExitCode::from(2));
        assert_eq!(Report { lost: 1, ..failed }.exit_code(), ExitCode::from(1));
        assert_eq!(
            Report {
                content_differs: 1,
                ..Report::default()
            }
            .exit_code(),
            ExitCode::from(1)
        );
        assert_eq!(Report::default().exit_code(), ExitCode::SUCCESS);
    }
}
