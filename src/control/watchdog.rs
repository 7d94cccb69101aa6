//! The watchdog: whether the loops of the shards turn.
//!
//! A pure judge over counters of turns. It is asked by `/healthz` and before the service
//! manager's watchdog is fed, so that feeding shows real progress. Waiting by policy (a full
//! journal, a dead destination) is turning; only a loop that hangs or has ended is stuck.

use std::fmt;
use std::time::Duration;

/// A shard whose counter stood still for so long is stuck. Shards turn at least once a
/// second.
pub const STUCK_AFTER: Duration = Duration::from_secs(10);

/// What the watchdog remembers of each shard.
#[derive(Debug, Default)]
pub struct Watchdog {
    /// By the shard's number.
    seen: Vec<Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    turns: u64,
    /// When `turns` was first seen.
    at: Duration,
}

/// A shard whose loop does not turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StuckShard {
    /// Its number.
    pub shard: usize,
    /// How long its counter has stood still, at least [`STUCK_AFTER`].
    pub silent: Duration,
}

/// The shards that are stuck, at least one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Stuck {
    /// By number, ascending.
    pub shards: Vec<StuckShard>,
}

impl Watchdog {
    /// Judges by the shards' counters of turns at `now` (monotonic). A shard seen for the
    /// first time is live. To be asked more often than every [`STUCK_AFTER`], because what
    /// happens between two calls is one change at the later.
    ///
    /// # Errors
    /// With every shard whose counter is the same as [`STUCK_AFTER`] ago.
    pub fn live(&mut self, turns: &[u64], now: Duration) -> Result<(), Stuck> {
        self.seen.truncate(turns.len());
        let mut stuck = Vec::new();
        for (shard, &turns) in turns.iter().enumerate() {
            match self.seen.get_mut(shard) {
                None => self.seen.push(Seen { turns, at: now }),
                Some(seen) if seen.turns != turns => *seen = Seen { turns, at: now },
                Some(seen) => {
                    let silent = now.saturating_sub(seen.at);
                    if silent >= STUCK_AFTER {
                        stuck.push(StuckShard { shard, silent });
                    }
                }
            }
        }
        if stuck.is_empty() {
            Ok(())
        } else {
            Err(Stuck { shards: stuck })
        }
    }
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, StuckShard { shard, silent }) in self.shards.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let seconds = silent.as_secs();
            write!(
                f,
                "{separator}shard {shard} has not turned its loop for {seconds} s"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_shard_is_stuck_once_its_counter_stood_still_for_the_limit() {
        let mut watchdog = Watchdog::default();
        assert_eq!(watchdog.live(&[5, 5], SECOND), Ok(()));
        let almost = SECOND + STUCK_AFTER - Duration::from_nanos(1);
        assert_eq!(watchdog.live(&[6, 5], almost), Ok(()));
        let stuck = watchdog.live(&[7, 5], SECOND + STUCK_AFTER).unwrap_err();
        let expected = StuckShard {
            shard: 1,
            silent: STUCK_AFTER,
        };
        assert_eq!(stuck.shards, [expected]);
        assert_eq!(
            stuck.to_string(),
            "shard 1 has not turned its loop for 10 s"
        );
    }

    #[test]
    fn a_shard_that_turns_again_is_live_and_its_silence_counts_anew() {
        let mut watchdog = Watchdog::default();
        assert_eq!(watchdog.live(&[0], Duration::ZERO), Ok(()));
        assert!(watchdog.live(&[0], 20 * SECOND).is_err());
        assert_eq!(watchdog.live(&[1], 21 * SECOND), Ok(()));
        assert_eq!(watchdog.live(&[1], 30 * SECOND), Ok(()));
        assert!(watchdog.live(&[1], 31 * SECOND).is_err());
    }

    #[test]
    fn every_stuck_shard_is_named() {
        let mut watchdog = Watchdog::default();
        assert_eq!(watchdog.live(&[1, 1, 1], Duration::ZERO), Ok(()));
        let stuck = watchdog.live(&[1, 2, 1], 12 * SECOND).unwrap_err();
        let named =
            "shard 0 has not turned its loop for 12 s; shard 2 has not turned its loop for 12 s";
        assert_eq!(stuck.to_string(), named);
    }
}
