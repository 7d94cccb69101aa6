//! The journal's side of the promise as a program: what was sent, what became durable, what
//! was acknowledged, and whether that is what `README.md` says. It knows lines and offsets,
//! nothing of how the journal works. `lane_oracle` has the destinations' side.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use weir::metrics::ledger::InputCounts;
use weir::position::{Offset, OffsetRange, Timestamp};

use crate::lane_oracle::LaneOracle;
use crate::promise::promise;

/// Everything the senders, the operator and the destinations know.
#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) journals: Vec<JournalOracle>,
    /// By stream, then by journal.
    pub(crate) lanes: Vec<Vec<LaneOracle>>,
    pub(crate) internal: InternalOracle,
}

/// One journal.
#[derive(Debug, Default)]
pub(crate) struct JournalOracle {
    connections: Vec<Sender>,
    /// Who sent a line: connection and number from 0. Every line is sent once.
    by_line: HashMap<Vec<u8>, (usize, usize)>,
    /// The event at each offset, over all lives of the node.
    events: Vec<Vec<u8>>,
    /// When, by the monotonic clock, each was sent.
    sent_at: Vec<Duration>,
    /// Now, by the monotonic clock.
    pub(crate) now: Duration,
    /// Bytes of them, without line ends.
    event_bytes: u64,
    /// Rejects that are durable: connection and line number from 1.
    rejects: HashSet<(usize, u64)>,
    /// Events that what was done to the disk may have cost.
    pub(crate) damaged: Vec<OffsetRange>,
    /// Segments hit at rest, by sequence.
    pub(crate) hit: HashSet<u64>,
    /// A segment's header was hit: its file is no segment any more.
    pub(crate) headless: bool,
    /// Events below were delivered everywhere and their segments used again.
    pub(crate) retained_from: u64,
    received_last: Timestamp,
    /// Lines received over all inputs: those recovered and those of this life.
    pub(crate) received: u64,
}

#[derive(Debug, Default)]
struct Sender {
    /// Bytes, whether it is to be rejected, and when it was sent.
    lines: Vec<(Vec<u8>, bool, Duration)>,
    /// Lines before this one have their place, or are rejects.
    next: usize,
    acknowledged: u64,
}

impl JournalOracle {
    /// A connection opened; gives its number.
    pub(crate) fn connect(&mut self) -> usize {
        self.connections.push(Sender::default());
        self.connections.len() - 1
    }

    pub(crate) fn sent(&mut self, connection: usize, line: &[u8], rejected: bool) {
        let lines = &mut self.connections[connection].lines;
        if !rejected {
            let known = self
                .by_line
                .insert(line.to_vec(), (connection, lines.len()));
            assert_eq!(known, None, "the simulation sends every line once");
        }
        lines.push((line.to_vec(), rejected, self.now));
        self.received += 1;
    }

    /// Reject records are durable.
    pub(crate) fn recorded(&mut self, records: &[u8]) {
        for record in records.split(|byte| *byte == b'\n') {
            if record.is_empty() {
                continue;
            }
            let record: serde_json::Value = serde_json::from_slice(record).expect("a record");
            let connection = record["peer"].as_str().expect("a peer").parse();
            let line = record["line"].as_u64().expect("a line");
            self.rejects
                .insert((connection.expect("a connection's number"), line));
        }
    }

    /// A sender was told that its lines up to `line` are safe.
    pub(crate) fn acknowledged(&mut self, connection: usize, line: u64) {
        let sender = &mut self.connections[connection];
        assert!(line > sender.acknowledged, "acks only grow");
        let before = std::mem::replace(&mut sender.acknowledged, line);
        let line = usize::try_from(line).expect("few lines");
        promise!(
            "S1",
            line <= sender.lines.len(),
            "what was never sent is acknowledged"
        );
        promise!(
            "S1",
            sender.skip_rejects() >= line,
            "connection {connection}: lines below {line} are acknowledged, {} are durable",
            sender.next
        );
        for number in before + 1..=line as u64 {
            let at = usize::try_from(number - 1).expect("few lines");
            promise!(
                "S1",
                !sender.lines[at].1 || self.rejects.contains(&(connection, number)),
                "connection {connection}: reject {number} is acknowledged and not durable"
            );
        }
    }

    /// The event at an offset, as the node published or recovered it.
    pub(crate) fn holds(&mut self, offset: u64, line: &[u8]) {
        let at = usize::try_from(offset).expect("few events");
        if let Some(known) = self.events.get(at) {
            promise!("S1", known == line, "offset {offset} was used twice");
            return;
        }
        promise!(
            "S1",
            at == self.events.len(),
            "offset {offset} leaves a hole"
        );
        let Some((connection, number)) = self.by_line.get(line) else {
            panic!("[S2] offset {offset}: bytes nobody sent: {line:?}")
        };
        let sender = &mut self.connections[*connection];
        let expected = sender.skip_rejects();
        promise!(
            "S3",
            *number == expected,
            "offset {offset}: line {number} of connection {connection} stands where {expected} is due"
        );
        let sent_at = sender.lines[sender.next].2;
        sender.next += 1;
        self.event_bytes += line.len() as u64 - 1;
        self.events.push(line.to_vec());
        self.sent_at.push(sent_at);
    }

    /// Receive times of a block that is new in the journal.
    pub(crate) fn received(&mut self, first: Timestamp, last: Timestamp) {
        assert!(
            self.received_last <= first && first <= last,
            "time goes back"
        );
        self.received_last = last;
    }

    /// Events known, that is one past the last offset in use.
    pub(crate) fn end(&self) -> u64 {
        self.events.len() as u64
    }

    /// When the event before `end` was sent; it is the youngest below.
    pub(crate) fn sent_at(&self, end: Offset) -> Duration {
        let last = usize::try_from(end.0.saturating_sub(1)).expect("few events");
        self.sent_at.get(last).copied().unwrap_or(self.now)
    }

    pub(crate) fn event(&self, offset: u64) -> &[u8] {
        &self.events[usize::try_from(offset).expect("few events")]
    }

    /// The totals of the inputs' counters say exactly what the journal holds.
    pub(crate) fn totals<'a>(&self, totals: impl Iterator<Item = &'a InputCounts>) -> u64 {
        let (mut stored, mut bytes, mut received) = (0, 0, 0);
        for counts in totals {
            promise!("S5", counts.balances(), "{counts:?}");
            stored += counts.stored;
            bytes += counts.stored_bytes;
            received += counts.received;
        }
        promise!(
            "S5",
            stored == self.end(),
            "the ledger counts {stored} events stored, the journal has {}",
            self.end()
        );
        promise!(
            "S5",
            bytes == self.event_bytes,
            "the ledger counts {bytes} bytes stored, the journal has {}",
            self.event_bytes
        );
        received
    }

    /// After a start: what was received and is not in the totals is gone with the process.
    pub(crate) fn recovered<'a>(&mut self, totals: impl Iterator<Item = &'a InputCounts>) {
        self.received = self.totals(totals);
    }

    /// The ledger while the node runs; `open` lines are judged and not yet durable.
    pub(crate) fn ledger<'a>(&self, totals: impl Iterator<Item = &'a InputCounts>, open: u64) {
        let settled = self.totals(totals);
        promise!(
            "S5",
            settled + open == self.received,
            "{} lines came, {settled} are settled and {open} open",
            self.received
        );
    }

    /// True when what was done to the disk may have cost this event.
    pub(crate) fn was_hit(&self, offset: u64) -> bool {
        let mut damaged = self.damaged.iter();
        damaged.any(|range| range.first.0 <= offset && offset < range.end.0)
    }

    /// True when every event of the range was hit, or was delivered and let go of.
    pub(crate) fn may_be_gone(&self, range: OffsetRange) -> bool {
        (range.first.0..range.end.0)
            .all(|offset| offset < self.retained_from || self.was_hit(offset))
    }
}

impl Sender {
    /// Passes over rejects; gives the next line that has no place yet.
    fn skip_rejects(&mut self) -> usize {
        while self
            .lines
            .get(self.next)
            .is_some_and(|(_, rejected, _)| *rejected)
        {
            self.next += 1;
        }
        self.next
    }
}

/// The internal journal: records whose writers were told that they are durable.
#[derive(Debug, Default)]
pub(crate) struct InternalOracle {
    /// Offset and line, in order.
    answered: Vec<(u64, Vec<u8>)>,
    /// Records below were overwritten, as the journal is bounded.
    pub(crate) overwritten_to: u64,
}

impl InternalOracle {
    /// These lines, the last before `end`, were answered as durable.
    pub(crate) fn answered(&mut self, lines: &[Vec<u8>], end: u64) {
        let first = end.saturating_sub(lines.len() as u64);
        let numbered = (first..).zip(lines.iter().cloned());
        self.answered.extend(numbered);
    }

    /// The journal holds these lines from `first` on; what stood before was overwritten.
    pub(crate) fn holds(&self, first: u64, lines: &[Vec<u8>]) {
        let kept = |(offset, _): &&(u64, Vec<u8>)| *offset >= self.overwritten_to;
        for (offset, line) in self.answered.iter().filter(kept) {
            let Some(at) = offset.checked_sub(first) else {
                continue;
            };
            let found = lines.get(usize::try_from(at).expect("few records"));
            promise!(
                "S6",
                found == Some(line),
                "record {offset} was answered as durable and is not there: {}",
                String::from_utf8_lossy(line)
            );
        }
    }
}
