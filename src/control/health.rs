//! Health: is the node alive, and does it take events.

use std::sync::atomic::Ordering;

use crate::control::observed::Observed;
use crate::control::watchdog::{Stuck, Watchdog};
use crate::ingest::door::GateState;

/// Judges by what the shards show now whether all of them turn. A shard whose gate says that
/// it is stopping may end and is not asked.
///
/// # Errors
/// With the shards that are stuck, see [`Watchdog::live`].
pub fn live(watchdog: &mut Watchdog, observed: &Observed) -> Result<(), Stuck> {
    let journals = &observed.journals;
    let turns: Vec<u64> = journals
        .iter()
        .map(|journal| journal.shard.state().turns.load(Ordering::Relaxed))
        .collect();
    let now = observed.clock.now().monotonic;
    watchdog.live(&turns, now).or_else(|mut stuck| {
        let stopping = |shard: usize| journals[shard].ledger.load().gate == GateState::Stopping;
        stuck.shards.retain(|one| !stopping(one.shard));
        if stuck.shards.is_empty() {
            Ok(())
        } else {
            Err(stuck)
        }
    })
}

/// Why the node does not take events now; empty when it does.
#[must_use]
pub fn unready(observed: &Observed) -> Vec<String> {
    let mut reasons = Vec::new();
    if !observed.ready.load(Ordering::Acquire) {
        reasons.push("the node is starting or stopping".to_owned());
    }
    for journal in &observed.journals {
        let id = journal.id;
        match journal.ledger.load().gate {
            GateState::Full => reasons.push(format!("journal {id} is full")),
            GateState::Failed => reasons.push(format!("journal {id} can make nothing durable")),
            // Busy passes within milliseconds; stopping is what `ready` says.
            GateState::Open | GateState::Busy | GateState::Stopping => {}
        }
    }
    // Lines that are refused wait for their record, and discards for their audit event.
    if observed.internal.failing.load(Ordering::Relaxed) {
        reasons.push("the internal journal can make nothing durable".to_owned());
    }
    reasons
}

/// All states of a gate, for pages that show each.
pub const GATE_STATES: [GateState; 5] = [
    GateState::Open,
    GateState::Busy,
    GateState::Full,
    GateState::Failed,
    GateState::Stopping,
];

/// The word for a gate's state in metrics and status.
#[must_use]
pub const fn gate_word(gate: GateState) -> &'static str {
    match gate {
        GateState::Open => "open",
        GateState::Busy => "busy",
        GateState::Full => "full",
        GateState::Failed => "failed",
        GateState::Stopping => "stopping",
    }
}
