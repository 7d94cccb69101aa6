//! One look at a running node, from which every page is made.
//!
//! Each journal's ledger and each lane's status is loaded once, so that the numbers of one
//! page add up; what is derived of them (pending, lag) is derived here and nowhere else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::control::observed::{Observed, ObservedInput, ObservedJournal, ObservedStream, age};
use crate::event::InputId;
use crate::filter::exclusions::Exclusions;
use crate::journal::internal::{InternalCounters, RecordKind};
use crate::metrics::ledger::InputCounts;
use crate::position::JournalId;
use crate::shard::run::ShardLedger;
use crate::stream::status::LaneStatus;

/// What was seen.
#[derive(Debug)]
pub(super) struct Snapshot<'o> {
    /// Inputs in the order of the plan, then those that only the ledgers know.
    pub inputs: Vec<InputSnapshot<'o>>,
    /// Journals in their order.
    pub journals: Vec<JournalSnapshot<'o>>,
    /// Streams in the order of the plan.
    pub streams: Vec<StreamSnapshot<'o>>,
    /// Exclusion rules in force.
    pub exclusions: Arc<Exclusions>,
}

/// An input and its totals over all journals.
#[derive(Debug)]
pub(super) struct InputSnapshot<'o> {
    /// Its name, or `#` and its number when the configuration no longer has it.
    pub name: String,
    /// Totals of durable lines.
    pub counts: InputCounts,
    /// The input; `None` when the configuration no longer has it.
    pub observed: Option<&'o ObservedInput>,
}

/// A journal.
#[derive(Debug)]
pub(super) struct JournalSnapshot<'o> {
    /// Its number, as a label.
    pub name: String,
    /// What its shard published last.
    pub ledger: Arc<ShardLedger>,
    /// The journal.
    pub observed: &'o ObservedJournal,
}

/// A stream.
#[derive(Debug)]
pub(super) struct StreamSnapshot<'o> {
    /// The stream.
    pub observed: &'o ObservedStream,
    /// Its lanes that run.
    pub lanes: Vec<LaneSnapshot>,
}

/// A lane with what follows from where its journal ends.
#[derive(Debug)]
pub(super) struct LaneSnapshot {
    /// Its journal's number, as a label.
    pub journal: String,
    /// What the lane published last.
    pub status: Arc<LaneStatus>,
    /// Durable events since the stream began.
    pub events: u64,
    /// Durable events without a fate.
    pub pending: u64,
    /// Their raw bytes with line ends, estimated by the journal's mean.
    pub lag_bytes: u64,
    /// Age of the oldest of them: zero when there is none, `None` when nobody knows.
    pub age: Option<Duration>,
}

impl<'o> Snapshot<'o> {
    /// Looks once.
    pub(super) fn take(observed: &'o Observed) -> Self {
        let journals: Vec<_> = observed
            .journals
            .iter()
            .map(|journal| JournalSnapshot {
                name: journal.id.to_string(),
                ledger: journal.ledger.load_full(),
                observed: journal,
            })
            .collect();
        let streams = observed.streams.iter().map(|stream| {
            let lanes = stream.lanes.iter();
            StreamSnapshot {
                observed: stream,
                lanes: lanes
                    .filter_map(|lane| look_at_lane(observed, &journals, lane.load_full()))
                    .collect(),
            }
        });
        Self {
            inputs: inputs(observed, &journals),
            streams: streams.collect(),
            exclusions: observed.exclusions.load_full(),
            journals,
        }
    }
}

impl StreamSnapshot<'_> {
    /// The sum over the lanes of what `of` says.
    pub(super) fn sum(&self, of: impl Fn(&LaneSnapshot) -> u64) -> u64 {
        self.lanes.iter().map(of).sum()
    }

    /// The sums over the lanes of counts by reason, among them `known` reasons at 0.
    pub(super) fn by_reason(
        &self,
        known: impl IntoIterator<Item = &'static str>,
        of: impl Fn(&LaneStatus) -> &BTreeMap<&'static str, u64>,
    ) -> BTreeMap<&'static str, u64> {
        let mut sums: BTreeMap<_, _> = known.into_iter().map(|reason| (reason, 0)).collect();
        for lane in &self.lanes {
            for (reason, count) in of(&lane.status) {
                *sums.entry(*reason).or_default() += count;
            }
        }
        sums
    }

    /// Age of the oldest undelivered event on any lane; `None` when a lane that has one does
    /// not know and no other says.
    pub(super) fn age(&self) -> Option<Duration> {
        let unknown = self.lanes.iter().any(|lane| lane.age.is_none());
        let oldest = self.lanes.iter().filter_map(|lane| lane.age).max();
        // A zero of one lane says nothing of the lane that does not know.
        oldest
            .or((!unknown).then_some(Duration::ZERO))
            .filter(|age| !unknown || !age.is_zero())
    }

    /// True when on every lane each event since the stream began has exactly one fate or is
    /// pending.
    pub(super) fn balances(&self) -> bool {
        self.lanes.iter().all(LaneSnapshot::balances)
    }
}

impl LaneSnapshot {
    /// Events of any fate since the stream began.
    pub(super) fn settled(&self) -> u64 {
        let LaneStatus {
            delivered,
            filtered,
            sampled_out,
            dead_lettered,
            discarded,
            ..
        } = &*self.status;
        delivered + filtered + sampled_out + dead_lettered + discarded.values().sum::<u64>()
    }

    /// True when every event has exactly one fate or is pending.
    pub(super) fn balances(&self) -> bool {
        self.events == self.settled() + self.pending
    }
}

/// `None` for a lane that does not run yet.
fn look_at_lane(
    observed: &Observed,
    journals: &[JournalSnapshot<'_>],
    status: Arc<LaneStatus>,
) -> Option<LaneSnapshot> {
    let id = status.journal?;
    let (tail, mean) = if id == JournalId::INTERNAL {
        (&observed.internal_tail, mean_internal(&observed.internal))
    } else {
        let journal = journals.iter().find(|journal| journal.observed.id == id)?;
        (&journal.observed.tail, mean_of_ledger(&journal.ledger))
    };
    // Read after the lane's status: a cursor is never ahead of it then.
    let durable_end = tail.durable_end();
    let pending = durable_end.events_since(status.cursor);
    let age = if pending == 0 {
        Some(Duration::ZERO)
    } else {
        let oldest = status
            .oldest_received
            .or_else(|| tail.oldest_received(status.cursor));
        oldest.map(|received| age(&*observed.clock, received))
    };
    Some(LaneSnapshot {
        journal: id.to_string(),
        events: durable_end.events_since(status.start),
        pending,
        lag_bytes: mean.times(pending),
        age,
        status,
    })
}

/// Raw bytes of so many events, line ends included: what a journal's events take on average.
#[derive(Debug, Clone, Copy)]
struct Mean {
    events: u128,
    bytes: u128,
}

impl Mean {
    /// Raw bytes of `events` events; 0 while no event is known.
    fn times(self, events: u64) -> u64 {
        let estimate = (u128::from(events) * self.bytes)
            .checked_div(self.events)
            .unwrap_or(0);
        u64::try_from(estimate).unwrap_or(u64::MAX)
    }
}

fn mean_of_ledger(ledger: &ShardLedger) -> Mean {
    let none = Mean {
        events: 0,
        bytes: 0,
    };
    let all = ledger.settled.iter().map(|(_, counts)| counts);
    all.fold(none, |Mean { events, bytes }, counts| {
        let lines = u128::from(counts.stored);
        Mean {
            events: events + lines,
            bytes: bytes + u128::from(counts.stored_bytes) + lines,
        }
    })
}

fn mean_internal(counters: &InternalCounters) -> Mean {
    let records = RecordKind::ALL.map(|kind| counters.records(kind).load(Ordering::Relaxed));
    Mean {
        events: records.into_iter().map(u128::from).sum(),
        bytes: u128::from(counters.bytes.load(Ordering::Relaxed)),
    }
}

fn inputs<'o>(observed: &'o Observed, journals: &[JournalSnapshot<'_>]) -> Vec<InputSnapshot<'o>> {
    let mut totals: BTreeMap<InputId, InputCounts> = BTreeMap::new();
    for (id, counts) in journals.iter().flat_map(|journal| &journal.ledger.settled) {
        *totals.entry(*id).or_default() += *counts;
    }
    let mut inputs: Vec<_> = observed
        .inputs
        .iter()
        .map(|input| InputSnapshot {
            name: input.name.clone(),
            counts: totals.remove(&input.id).unwrap_or_default(),
            observed: Some(input),
        })
        .collect();
    // What they received is still in the journals, and the books hold with them only.
    inputs.extend(totals.into_iter().map(|(id, counts)| InputSnapshot {
        name: format!("#{}", id.0),
        counts,
        observed: None,
    }));
    inputs
}
