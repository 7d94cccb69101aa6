//! The destinations' side of the promise: what each one got, in what order and under which
//! identity, what was given up and told, and what the cursor records say of it.

use std::time::Duration;

use weir::batch::CursorState;
use weir::position::OffsetRange;

use crate::oracle::JournalOracle;
use crate::promise::promise;

/// Progress may go unrecorded this long; what was delivered in it may come twice (S4).
const WINDOW: Duration = Duration::from_millis(100);

/// One stream in one journal.
#[derive(Debug, Default)]
pub(crate) struct LaneOracle {
    /// Fate of each offset.
    got: Vec<bool>,
    discarded: Vec<bool>,
    /// A loss of it is in a durable audit event.
    told: Vec<bool>,
    /// Every event below has a fate.
    fated_to: u64,
    /// Ranges that were sent, with the identity they went under.
    tries: Vec<(OffsetRange, String)>,
    /// The last state known durable.
    pub(crate) durable: CursorState,
    /// What the other slot of the record has.
    other_slot: CursorState,
    /// Since when something delivered is not recorded.
    unrecorded_since: Option<Duration>,
    ledger: Ledger,
}

/// What stands between a stream's start and a cursor, counted by the oracle.
#[derive(Debug, Default, Clone, Copy)]
struct Ledger {
    start: u64,
    cursor: u64,
    got: u64,
    got_bytes: u64,
    discarded: u64,
}

impl LaneOracle {
    /// A batch is sent, whether or not it arrives.
    pub(crate) fn tried(&mut self, range: OffsetRange, identity: &str) {
        promise!(
            "S4",
            range.first >= self.durable.cursor,
            "{range} is sent again, and everything below {} is known to be delivered",
            self.durable.cursor
        );
        for (known, under) in &self.tries {
            let apart = range.end <= known.first || known.end <= range.first;
            let same = range == *known && identity == under;
            let within = range != *known && known.first <= range.first && range.end <= known.end;
            promise!(
                "S4",
                apart || same || within,
                "{range} under {identity} after {known} under {under}"
            );
        }
        let known = |(known, under): &(OffsetRange, String)| *known == range && under == identity;
        if !self.tries.iter().any(known) {
            self.tries.push((range, identity.to_owned()));
        }
    }

    /// The destination has these lines.
    pub(crate) fn arrived(&mut self, journal: &JournalOracle, range: OffsetRange, text: &[u8]) {
        promise!(
            "S1",
            range.end.0 <= journal.end(),
            "{range} is sent and only events before {} are durable",
            journal.end()
        );
        let sent = Vec::from_iter((range.first.0..range.end.0).map(|at| journal.event(at)));
        let lines = Vec::from_iter(text.split_inclusive(|byte| *byte == b'\n'));
        if lines != sent {
            let sorted = |mut lines: Vec<&[u8]>| {
                lines.sort_unstable();
                lines == {
                    let mut sent = sent.clone();
                    sent.sort_unstable();
                    sent
                }
            };
            promise!("S3", !sorted(lines), "{range}: the events are out of order");
            panic!("[S2] {range}: other bytes came out than went in");
        }
        self.passed(range.first.0, "and a later one was delivered");
        mark(&mut self.got, range);
    }

    /// The stream heard that the destination has what was sent last.
    pub(crate) fn heard(&mut self, now: Duration) {
        self.unrecorded_since.get_or_insert(now);
    }

    /// A loss is in a durable audit event.
    pub(crate) fn told(&mut self, range: OffsetRange) {
        mark(&mut self.told, range);
    }

    /// Events are given up: by order of the keeper, or because they cannot be read.
    pub(crate) fn discarded(&mut self, journal: &JournalOracle, range: OffsetRange, order: bool) {
        let is = |fates: &Vec<bool>, at| fates.get(at).copied().unwrap_or(false);
        for offset in range.first.0..range.end.0 {
            let at = usize::try_from(offset).expect("few events");
            let fated = is(&self.got, at) || is(&self.discarded, at);
            promise!(
                "S1",
                order || (offset < journal.retained_from && fated) || journal.was_hit(offset),
                "{range}: event {offset} is given up and was not hit; damaged: {:?}",
                journal.damaged
            );
            promise!(
                "S6",
                is(&self.told, at),
                "event {offset} is given up, and no durable audit event says so"
            );
        }
        mark(&mut self.discarded, range);
    }

    /// The record on disk is of an earlier state now: what was cut since may be cut anew.
    pub(crate) fn slot_lost(&mut self) {
        self.durable = std::mem::take(&mut self.other_slot);
        let cuts = &self.durable.cuts;
        self.tries
            .retain(|(range, _)| cuts.iter().any(|cut| cut.range == *range));
    }

    /// Nothing of the record is left: the stream begins anew, and says so.
    pub(crate) fn record_lost(&mut self) {
        self.tries.clear();
        self.durable = CursorState::default();
        self.other_slot = CursorState::default();
    }

    /// A state is durable.
    pub(crate) fn recorded(&mut self, journal: &JournalOracle, state: &CursorState) {
        promise!(
            "S4",
            state.cursor >= self.durable.cursor,
            "the cursor goes back: {} after {}",
            state.cursor,
            self.durable.cursor
        );
        self.opened(state);
        self.balances(journal, state);
        self.unrecorded_since = None;
        let oldest = self.other_slot.cursor;
        self.tries.retain(|(range, _)| range.end > oldest);
    }

    /// The state a node goes on with, which is durable: the other slot has the one before.
    pub(crate) fn opened(&mut self, state: &CursorState) {
        self.passed(state.cursor.0, "and the cursor is behind it");
        self.other_slot = std::mem::replace(&mut self.durable, state.clone());
    }

    /// The ledger of the stream agrees with what the destination has.
    pub(crate) fn balances(&mut self, journal: &JournalOracle, state: &CursorState) {
        self.passed(state.cursor.0, "and the cursor is behind it");
        promise!("S5", state.balances(), "{state:?}");
        let ledger = self.count_to(journal, state.start.0, state.cursor.0);
        let discarded: u64 = state.counts.discarded.iter().sum();
        promise!(
            "S5",
            state.counts.delivered <= ledger.got && discarded <= ledger.discarded,
            "{state:?} where {ledger:?}"
        );
        promise!(
            "S5",
            discarded > 0 || state.counts.delivered_bytes == ledger.got_bytes,
            "{state:?} where {ledger:?}"
        );
    }

    /// The lane waits until then: what is delivered must be recorded in time.
    pub(crate) fn waits(&self, now: Duration, until: Option<Duration>) {
        if let Some(since) = self.unrecorded_since {
            let due = since + WINDOW;
            promise!(
                "S4",
                now < due && until.is_some_and(|until| until <= due),
                "delivered at {since:?}, not recorded at {now:?}, and the lane waits until {until:?}"
            );
        }
    }

    /// The node is gone and with it what it had not recorded.
    pub(crate) fn crashed(&mut self) {
        self.unrecorded_since = None;
    }

    /// Everything below has a fate.
    fn passed(&mut self, end: u64, how: &str) {
        let is = |fates: &Vec<bool>, at| fates.get(at).copied().unwrap_or(false);
        while self.fated_to < end {
            let at = usize::try_from(self.fated_to).expect("few events");
            promise!(
                "S1",
                is(&self.got, at) || is(&self.discarded, at),
                "event {} has no fate {how}",
                self.fated_to
            );
            self.fated_to += 1;
        }
    }

    fn count_to(&mut self, journal: &JournalOracle, start: u64, cursor: u64) -> Ledger {
        let is = |fates: &Vec<bool>, at| fates.get(at).copied().unwrap_or(false);
        let mut ledger = self.ledger;
        if ledger.start != start || ledger.cursor > cursor {
            ledger = Ledger {
                start,
                cursor: start,
                ..Ledger::default()
            };
        }
        while ledger.cursor < cursor {
            let at = usize::try_from(ledger.cursor).expect("few events");
            if is(&self.got, at) {
                ledger.got += 1;
                ledger.got_bytes += journal.event(ledger.cursor).len() as u64;
            }
            ledger.discarded += u64::from(is(&self.discarded, at));
            ledger.cursor += 1;
        }
        self.ledger = ledger;
        ledger
    }
}

fn mark(fates: &mut Vec<bool>, range: OffsetRange) {
    let end = usize::try_from(range.end.0).expect("few events");
    if fates.len() < end {
        fates.resize(end, false);
    }
    fates[usize::try_from(range.first.0).expect("few events")..end].fill(true);
}
