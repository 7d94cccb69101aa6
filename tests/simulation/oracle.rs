//! The promise as a program: what was sent, what became durable, what each destination got,
//! and whether that is what `README.md` says. It knows lines and offsets, nothing of how the
//! journal or the streams work.

use std::collections::{HashMap, HashSet};

use weir::batch::CursorState;
use weir::metrics::ledger::InputCounts;
use weir::position::{OffsetRange, Timestamp};

/// Everything the senders, the operator and the destinations know.
#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) journals: Vec<JournalOracle>,
    /// By stream, then by journal.
    pub(crate) lanes: Vec<Vec<LaneOracle>>,
}

/// One journal.
#[derive(Debug, Default)]
pub(crate) struct JournalOracle {
    connections: Vec<Sender>,
    /// Who sent a line: connection and number from 0. Every line is sent once.
    by_line: HashMap<Vec<u8>, (usize, usize)>,
    /// The event at each offset, over all lives of the node.
    events: Vec<Vec<u8>>,
    /// Rejects that are durable: connection and line number from 1.
    rejects: HashSet<(usize, u64)>,
    /// Events a bit flip may have cost.
    pub(crate) damaged: Vec<OffsetRange>,
    /// Events below were delivered everywhere and their segments used again.
    pub(crate) retained_from: u64,
    received_last: Timestamp,
}

#[derive(Debug, Default)]
struct Sender {
    lines: Vec<(Vec<u8>, bool)>,
    /// Lines before this one have their place, or are rejects.
    next: usize,
    acknowledged: u64,
}

/// One stream in one journal.
#[derive(Debug, Default)]
pub(crate) struct LaneOracle {
    /// Fate of each offset.
    got: Vec<bool>,
    discarded: Vec<bool>,
    /// Ranges that arrived, with the identity they came under.
    ranges: Vec<(OffsetRange, String)>,
    /// The last state known durable.
    pub(crate) durable: CursorState,
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
        lines.push((line.to_vec(), rejected));
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
        sender.acknowledged = line;
        let line = usize::try_from(line).expect("few lines");
        assert!(
            line <= sender.lines.len(),
            "only what was sent is acknowledged"
        );
        assert!(
            sender.skip_rejects() >= line,
            "connection {connection}: lines below {line} are acknowledged, {} are durable",
            sender.next
        );
        for at in 0..line {
            let number = at as u64 + 1;
            assert!(
                !sender.lines[at].1 || self.rejects.contains(&(connection, number)),
                "connection {connection}: reject {number} is acknowledged and not durable"
            );
        }
    }

    /// The event at an offset, as the node published or recovered it.
    pub(crate) fn holds(&mut self, offset: u64, line: &[u8]) {
        let at = usize::try_from(offset).expect("few events");
        if let Some(known) = self.events.get(at) {
            assert_eq!(known, line, "offset {offset} was used twice");
            return;
        }
        assert_eq!(at, self.events.len(), "offsets have no holes");
        let Some((connection, number)) = self.by_line.get(line) else {
            panic!("offset {offset}: bytes nobody sent: {line:?}")
        };
        let sender = &mut self.connections[*connection];
        let expected = sender.skip_rejects();
        assert_eq!(
            *number, expected,
            "offset {offset}: connection {connection} out of order"
        );
        sender.next += 1;
        self.events.push(line.to_vec());
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

    pub(crate) fn event(&self, offset: u64) -> &[u8] {
        &self.events[usize::try_from(offset).expect("few events")]
    }

    /// Input totals in a journal without damage say exactly what is in it.
    pub(crate) fn totals(&self, totals: &[InputCounts]) {
        let stored: u64 = totals.iter().map(|counts| counts.stored).sum();
        assert_eq!(stored, self.end(), "stored events and the ledger differ");
        let bytes: u64 = totals.iter().map(|counts| counts.stored_bytes).sum();
        let expected: u64 = self.events.iter().map(|line| line.len() as u64 - 1).sum();
        assert_eq!(bytes, expected, "stored bytes and the ledger differ");
        assert!(totals.iter().all(InputCounts::balances), "{totals:?}");
    }

    /// True when every event of the range may be unreadable.
    pub(crate) fn may_be_damaged(&self, range: OffsetRange) -> bool {
        (range.first.0..range.end.0).all(|offset| {
            let mut damaged = self.damaged.iter();
            damaged.any(|range| range.first.0 <= offset && offset < range.end.0)
        })
    }
}

impl Sender {
    /// Passes over rejects; gives the next line that has no place yet.
    fn skip_rejects(&mut self) -> usize {
        while self
            .lines
            .get(self.next)
            .is_some_and(|(_, rejected)| *rejected)
        {
            self.next += 1;
        }
        self.next
    }
}

impl LaneOracle {
    /// The destination has these lines.
    pub(crate) fn arrived(
        &mut self,
        journal: &JournalOracle,
        range: OffsetRange,
        identity: String,
        text: &[u8],
    ) {
        assert!(range.end.0 <= journal.end(), "only durable events are sent");
        let mut lines = text.split_inclusive(|byte| *byte == b'\n');
        for offset in range.first.0..range.end.0 {
            assert_eq!(
                lines.next(),
                Some(journal.event(offset)),
                "bytes in, bytes out"
            );
        }
        assert_eq!(lines.next(), None, "nothing but the range's lines");
        for offset in 0..range.first.0 {
            assert!(self.has_fate(offset), "offset {offset} was passed over");
        }
        for (known, under) in &self.ranges {
            let apart = range.end <= known.first || known.end <= range.first;
            let same = range == *known && identity == *under;
            let within = range != *known && known.first <= range.first && range.end <= known.end;
            assert!(
                apart || same || within,
                "{range} under {identity} after {known} under {under}"
            );
        }
        mark(&mut self.got, range);
        self.ranges.push((range, identity));
    }

    /// Events were given up as damaged.
    pub(crate) fn discarded(&mut self, journal: &JournalOracle, range: OffsetRange) {
        for offset in range.first.0..range.end.0 {
            let at = usize::try_from(offset).expect("few events");
            let old_news =
                offset < journal.retained_from && self.got.get(at).copied().unwrap_or(false);
            let one = OffsetRange {
                first: weir::position::Offset(offset),
                end: weir::position::Offset(offset + 1),
            };
            assert!(
                old_news || journal.may_be_damaged(one),
                "{range}: event {offset} is given up and was not hit; damaged: {:?}",
                journal.damaged
            );
        }
        mark(&mut self.discarded, range);
    }

    /// The record on disk is of an earlier state now: what was sent since may be cut anew.
    pub(crate) fn slot_lost(&mut self) {
        self.ranges.clear();
        self.durable = CursorState::default();
    }

    /// A state is durable.
    pub(crate) fn recorded(&mut self, state: &CursorState) {
        assert!(state.balances(), "{state:?}");
        assert!(
            state.cursor >= self.durable.cursor,
            "the cursor goes back: {} after {}",
            state.cursor,
            self.durable.cursor
        );
        self.passed(state.cursor.0);
        self.durable = state.clone();
    }

    /// Everything below the cursor has a fate.
    pub(crate) fn passed(&self, cursor: u64) {
        for offset in 0..cursor {
            assert!(
                self.has_fate(offset),
                "event {offset} is behind the cursor without a fate"
            );
        }
    }

    fn has_fate(&self, offset: u64) -> bool {
        let at = usize::try_from(offset).expect("few events");
        let is = |fates: &Vec<bool>| fates.get(at).copied().unwrap_or(false);
        is(&self.got) || is(&self.discarded)
    }
}

fn mark(fates: &mut Vec<bool>, range: OffsetRange) {
    let end = usize::try_from(range.end.0).expect("few events");
    if fates.len() < end {
        fates.resize(end, false);
    }
    fates[usize::try_from(range.first.0).expect("few events")..end].fill(true);
}
