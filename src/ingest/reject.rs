//! Rejected lines: what is kept of a line that no stream will ever see.
//!
//! A reject is one JSON line in the internal journal: who sent it, which line, why, and its
//! first bytes. A block keeps at most [`REJECT_RECORDS_MAX`] of them; what comes above is
//! summed per input, sender and reason, so a flood of garbage costs bounded memory and
//! still leaves a record that balances.

use serde::Serialize;

use crate::limits::REJECT_SAMPLE_BYTES_MAX;
use crate::metrics::ledger::RejectReason;
use crate::position::Timestamp;

/// Reject records kept line by line in one block; further ones are summed.
pub const REJECT_RECORDS_MAX: usize = 1_000;

/// Bytes of the records of one block from which on further rejects are summed: what a sender of
/// garbage makes the node hold in memory and store.
pub const REJECT_RECORD_BYTES_MAX: usize = 512 << 10;

/// Sums kept apart in one block; rejects of further senders go to one sum without a name.
const REJECT_SUMS_MAX: usize = 100;

/// The rejects of one block by input, sender and reason: each line is in exactly one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectTotal {
    /// Name of the input.
    pub input: Box<str>,
    /// Address of the sender, when known and among the first of the block.
    pub peer: Option<Box<str>>,
    /// Why.
    pub reason: RejectReason,
    /// Lines.
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Where a rejected line came from.
#[derive(Debug, Clone, Copy)]
pub struct RejectOrigin<'a> {
    /// Name of the input.
    pub input: &'a str,
    /// Address of the sender, when known.
    pub peer: Option<&'a str>,
    /// When it was received.
    pub received: Timestamp,
}

/// A line that was judged and refused.
#[derive(Debug, Clone, Copy)]
pub struct RejectedLine<'a> {
    /// Number of the line in its connection or body, from 1.
    pub line: u64,
    /// Why.
    pub reason: RejectReason,
    /// The reason in words, with the place.
    pub detail: &'a str,
    /// The line, or as much of it as was kept.
    pub sample: &'a [u8],
    /// Its length in bytes; for a line that was not read to its end, the bytes seen so far.
    pub bytes: u64,
}

/// The rejects of one block, rendered.
#[derive(Debug, Default)]
pub struct Rejects {
    /// Rendered records, one JSON object each.
    records: Vec<Vec<u8>>,
    record_bytes: usize,
    /// What did not become a record, with when the first of it came.
    sums: Sums<Timestamp>,
    /// All of it.
    totals: Sums<()>,
}

/// Rejects by input, sender and reason, in the order they came; the one added to last is looked
/// at first.
#[derive(Debug, Default)]
struct Sums<T> {
    sums: Vec<(RejectTotal, T)>,
    last: usize,
}

#[derive(Serialize)]
struct Record<'a> {
    kind: &'static str,
    input: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<&'a str>,
    received_us: i64,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<u64>,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample_hex: Option<String>,
}

impl Rejects {
    /// Adds a rejected line.
    pub fn add(&mut self, origin: RejectOrigin<'_>, line: RejectedLine<'_>) {
        // A sender is one in the sums, however many connections it has.
        let sender = RejectOrigin {
            peer: origin.peer.map(address_of),
            ..origin
        };
        self.totals.add(sender, line, ());
        let is_full = self.records.len() >= REJECT_RECORDS_MAX
            || self.record_bytes >= REJECT_RECORD_BYTES_MAX;
        if is_full {
            self.sums.add(sender, line, origin.received);
            return;
        }
        let kept = &line.sample[..line.sample.len().min(REJECT_SAMPLE_BYTES_MAX)];
        let text = std::str::from_utf8(kept).ok();
        let record = render(&Record {
            kind: "reject",
            input: origin.input,
            peer: origin.peer,
            received_us: origin.received.0,
            reason: line.reason.as_str(),
            line: Some(line.line),
            lines: None,
            bytes: line.bytes,
            detail: Some(line.detail),
            sample: text,
            sample_hex: text.is_none().then(|| hex(kept)),
        });
        self.record_bytes += record.len();
        self.records.push(record);
    }

    /// True when nothing was rejected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many lines of which sender were refused, and why.
    #[must_use]
    pub fn take_totals(&mut self) -> Vec<RejectTotal> {
        let totals = std::mem::take(&mut self.totals).sums.into_iter();
        totals.map(|(total, ())| total).collect()
    }

    /// The rejects as JSON lines, each ended by `\n`, and how many there are.
    #[must_use]
    pub fn into_lines(self) -> (Vec<u8>, u32) {
        let mut lines = Vec::new();
        let mut count = 0;
        let sums = self.sums.sums.into_iter().map(|(sum, received)| {
            render(&Record {
                kind: "rejects",
                input: &sum.input,
                peer: sum.peer.as_deref(),
                received_us: received.0,
                reason: sum.reason.as_str(),
                line: None,
                lines: Some(sum.lines),
                bytes: sum.bytes,
                detail: None,
                sample: None,
                sample_hex: None,
            })
        });
        for record in self.records.into_iter().chain(sums) {
            lines.extend_from_slice(&record);
            lines.push(b'\n');
            count += 1;
        }
        (lines, count)
    }
}

impl<T> Sums<T> {
    /// Adds a line; `new` goes with the sum when it is the first of one.
    fn add(&mut self, origin: RejectOrigin<'_>, line: RejectedLine<'_>, new: T) {
        let full = self.sums.len() >= REJECT_SUMS_MAX;
        let fits = |(sum, _): &(RejectTotal, T), any_peer: bool| {
            let same_peer = sum.peer.as_deref() == origin.peer || (any_peer && sum.peer.is_none());
            sum.reason == line.reason && &*sum.input == origin.input && same_peer
        };
        let known = match self.sums.get(self.last) {
            Some(last) if fits(last, false) => Some(self.last),
            _ => self.sums.iter().position(|sum| fits(sum, full)),
        };
        if let Some(at) = known {
            self.last = at;
            let sum = &mut self.sums[at].0;
            sum.lines += 1;
            sum.bytes += line.bytes;
            return;
        }
        let sum = RejectTotal {
            input: origin.input.into(),
            peer: origin.peer.filter(|_| !full).map(Into::into),
            reason: line.reason,
            lines: 1,
            bytes: line.bytes,
        };
        self.sums.push((sum, new));
    }
}

/// The address of a sender without its port; whatever else names one, as it is.
fn address_of(peer: &str) -> &str {
    match peer.rsplit_once(':') {
        Some((host, port))
            if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            host.trim_start_matches('[').trim_end_matches(']')
        }
        _ => peer,
    }
}

fn render(record: &Record<'_>) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record of numbers and strings is always JSON")
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes all text");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(sample: &[u8]) -> RejectedLine<'_> {
        RejectedLine {
            line: 7,
            reason: RejectReason::Malformed,
            detail: "expected a value at byte 3",
            sample,
            bytes: sample.len() as u64,
        }
    }

    const ORIGIN: RejectOrigin<'_> = RejectOrigin {
        input: "apps",
        peer: Some("127.0.0.1:9"),
        received: Timestamp(1_000),
    };

    #[test]
    fn a_reject_is_one_json_line_whatever_its_bytes() {
        let mut rejects = Rejects::default();
        rejects.add(ORIGIN, line(b"{\"a\":\n\x00}"));
        rejects.add(ORIGIN, line(b"\xff\xfe"));
        let (lines, count) = rejects.into_lines();
        assert_eq!(count, 2);
        let parsed: Vec<serde_json::Value> = lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).expect("a JSON line"))
            .collect();
        assert_eq!(parsed.len(), 2);
        assert_eq!(parsed[0]["sample"], "{\"a\":\n\u{0}}");
        assert_eq!(parsed[0]["reason"], "malformed");
        assert_eq!(parsed[1]["sample_hex"], "fffe");
    }

    #[test]
    fn a_sender_with_many_connections_is_one_in_the_sums() {
        let mut rejects = Rejects::default();
        for port in 0..3 * REJECT_SUMS_MAX {
            let peer = format!("[2001:db8::1]:{port}");
            let origin = RejectOrigin {
                peer: Some(&peer),
                ..ORIGIN
            };
            rejects.add(origin, line(b"x"));
        }
        let totals = rejects.take_totals();
        let peers: Vec<_> = totals.iter().map(|total| total.peer.as_deref()).collect();
        assert_eq!(peers, [Some("2001:db8::1")]);
        assert_eq!(address_of("192.0.2.1:4711"), "192.0.2.1");
        assert_eq!(address_of("/var/log/app"), "/var/log/app");
    }

    #[test]
    fn large_samples_are_summed_before_they_fill_the_memory() {
        let mut rejects = Rejects::default();
        let sample = [1; REJECT_SAMPLE_BYTES_MAX];
        for _ in 0..REJECT_RECORDS_MAX {
            rejects.add(ORIGIN, line(&sample));
        }
        let (lines, count) = rejects.into_lines();
        assert!(lines.len() < 2 * REJECT_RECORD_BYTES_MAX, "{}", lines.len());
        assert!((count as usize) < REJECT_RECORDS_MAX / 2);
    }

    #[test]
    fn a_flood_is_summed_and_the_sum_balances() {
        let mut rejects = Rejects::default();
        for _ in 0..REJECT_RECORDS_MAX + 500 {
            rejects.add(ORIGIN, line(b"x"));
        }
        let (lines, count) = rejects.into_lines();
        assert_eq!(count as usize, REJECT_RECORDS_MAX + 1);
        let last = lines
            .trim_ascii_end()
            .rsplit(|byte| *byte == b'\n')
            .next()
            .expect("a line");
        let sum: serde_json::Value = serde_json::from_slice(last).expect("a JSON line");
        assert_eq!(sum["lines"], 500);
    }

    #[test]
    fn totals_hold_every_line_once_however_many_senders_there_are() {
        let mut rejects = Rejects::default();
        for number in 0..3 * REJECT_SUMS_MAX {
            let peer = format!("[2001:db8::{number:x}]:4711");
            let origin = RejectOrigin {
                peer: Some(&peer),
                ..ORIGIN
            };
            rejects.add(origin, line(b"xy"));
            rejects.add(ORIGIN, line(b"z"));
        }
        let totals = rejects.take_totals();
        assert!(totals.len() <= REJECT_SUMS_MAX + 1);
        let loud = totals
            .iter()
            .find(|total| total.peer.as_deref() == ORIGIN.peer.map(address_of));
        assert_eq!(loud.map(|total| total.lines), Some(300));
        let lines: u64 = totals.iter().map(|total| total.lines).sum();
        let bytes: u64 = totals.iter().map(|total| total.bytes).sum();
        assert_eq!((lines, bytes), (600, 900));
    }
}
