//! What the keeper watches over time: a wall clock that jumps, and room that runs out. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use crate::os::clock::Now;
use crate::position::Timestamp;

/// A wall clock that gains or loses more than this between two looks has jumped.
pub const JUMP: Duration = Duration::from_mins(5);

/// How long retention by time waits after a jump.
pub const PAUSE_AFTER_JUMP: Duration = Duration::from_hours(1);

/// Per cent of the room at which a warning is due.
pub const WARNING_LEVELS: [u8; 3] = [70, 85, 95];

/// A warning may come again once the room in use was so many points below its level.
const HYSTERESIS_POINTS: u64 = 5;

/// The rate at which room is used is that of so long.
const RATE_OVER: Duration = Duration::from_mins(5);

/// Time between two samples of it.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// Compares the wall clock with the monotonic one.
#[derive(Debug, Default)]
pub(super) struct ClockWatch {
    last: Option<Now>,
    paused_until: Option<Duration>,
}

impl ClockWatch {
    /// Begins to look, and pauses when the wall clock is far from the last event there is: the
    /// node was away for long, or a clock was set while it was.
    pub(super) fn begin(&mut self, last_event: Option<Timestamp>, now: Now) {
        if self.last.replace(now).is_none()
            && let Some(last_event) = last_event
            && u128::from(now.wall.0.abs_diff(last_event.0)) > JUMP.as_micros()
        {
            self.paused_until = Some(now.monotonic + PAUSE_AFTER_JUMP);
        }
    }

    /// True until it has begun.
    pub(super) fn is_new(&self) -> bool {
        self.last.is_none()
    }

    /// Looks at both clocks; says by how many microseconds the wall clock jumped.
    pub(super) fn look(&mut self, now: Now) -> Option<i64> {
        let last = self.last.replace(now)?;
        let elapsed = now.monotonic.saturating_sub(last.monotonic).as_micros();
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
        let jumped = now
            .wall
            .0
            .saturating_sub(last.wall.0.saturating_add(elapsed));
        if u128::from(jumped.unsigned_abs()) <= JUMP.as_micros() {
            return None;
        }
        self.paused_until = Some(now.monotonic + PAUSE_AFTER_JUMP);
        Some(jumped)
    }

    /// True while nothing is to be removed by its age.
    pub(super) fn is_paused(&self, now: Now) -> bool {
        self.paused_until.is_some_and(|until| now.monotonic < until)
    }
}

/// A level that the room in use has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// One of [`WARNING_LEVELS`].
    pub level: u8,
    /// Bytes of segments that a stream still needs.
    pub held_bytes: u64,
    /// Bytes they may take.
    pub room_bytes: u64,
    /// Time until there is no more, as things went in the last minutes; `None`: it does not
    /// shrink.
    pub left: Option<Duration>,
}

/// Watches the room that undelivered events take.
#[derive(Debug, Default)]
pub(super) struct FillWatch {
    /// The level reached last; 0: none.
    level: u8,
    /// When, and how many bytes were held.
    samples: VecDeque<(Duration, u64)>,
}

impl FillWatch {
    /// Looks; says when a level was reached that was not before.
    pub(super) fn look(
        &mut self,
        now: Duration,
        held_bytes: u64,
        room_bytes: u64,
    ) -> Option<Reached> {
        self.sample(now, held_bytes);
        let per_cent = |bytes: u64| match u128::from(room_bytes) {
            0 => 100,
            room => u64::try_from(u128::from(bytes) * 100 / room).unwrap_or(u64::MAX),
        };
        let used = per_cent(held_bytes);
        let highest = |used: u64| {
            let mut levels = WARNING_LEVELS.into_iter().rev();
            levels
                .find(|level| used >= u64::from(*level))
                .unwrap_or_default()
        };
        // Held bytes move by whole segments: without some slack one segment to and fro would
        // warn each time.
        let still = highest(used.saturating_add(HYSTERESIS_POINTS));
        self.level = self.level.min(still);
        let level = highest(used);
        if held_bytes == 0 || level <= self.level {
            return None;
        }
        self.level = level;
        Some(Reached {
            level,
            held_bytes,
            room_bytes,
            left: self.left(now, held_bytes, room_bytes),
        })
    }

    fn sample(&mut self, now: Duration, held_bytes: u64) {
        let due = self
            .samples
            .back()
            .is_none_or(|(last, _)| now >= *last + SAMPLE_EVERY);
        if !due {
            return;
        }
        self.samples.push_back((now, held_bytes));
        while self.samples.len() > 1 && self.samples[0].0 + RATE_OVER < now {
            self.samples.pop_front();
        }
    }

    fn left(&self, now: Duration, held_bytes: u64, room_bytes: u64) -> Option<Duration> {
        let (since, before) = *self.samples.front()?;
        let grown = held_bytes.checked_sub(before).filter(|grown| *grown > 0)?;
        let elapsed = now.saturating_sub(since).as_millis();
        let missing = u128::from(room_bytes.saturating_sub(held_bytes));
        let millis = elapsed * missing / u128::from(grown);
        Some(Duration::from_millis(
            u64::try_from(millis).unwrap_or(u64::MAX),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Timestamp;

    fn levels(percents: &[u64]) -> Vec<u8> {
        let mut watch = FillWatch::default();
        let looks = percents.iter().zip(0..);
        let reached =
            looks.filter_map(|(used, at)| watch.look(Duration::from_secs(at), *used, 100));
        reached.map(|reached| reached.level).collect()
    }

    #[test]
    fn each_level_warns_once_on_the_way_up() {
        assert_eq!(levels(&[10, 69, 70, 71, 84, 85, 94, 95, 100]), [70, 85, 95]);
        assert_eq!(
            levels(&[10, 99, 99]),
            [95],
            "the highest stands for those below"
        );
    }

    #[test]
    fn a_level_warns_again_only_after_five_points_of_relief() {
        assert_eq!(levels(&[70, 66, 70, 69, 70]), [70]);
        assert_eq!(levels(&[70, 64, 70]), [70, 70]);
        assert_eq!(levels(&[96, 90, 95, 89, 95]), [95, 95]);
        assert_eq!(levels(&[96, 72, 85, 0, 70]), [95, 85, 70]);
    }

    #[test]
    fn no_room_at_all_is_a_full_room_and_nothing_held_is_none() {
        let mut watch = FillWatch::default();
        assert_eq!(watch.look(Duration::ZERO, 0, 0), None);
        let reached = watch
            .look(Duration::ZERO, 1, 0)
            .map(|reached| reached.level);
        assert_eq!(reached, Some(95));
    }

    #[test]
    fn the_time_left_is_that_at_the_rate_of_the_last_minutes() {
        let mut watch = FillWatch::default();
        // Nothing for ten minutes, then a byte a second.
        for at in 0..=600 {
            assert_eq!(watch.look(Duration::from_secs(at), 10, 1000), None);
        }
        let mut reached = None;
        for at in 601..=1290 {
            reached = reached.or(watch.look(Duration::from_secs(at), at - 590, 1000));
        }
        let reached = reached.expect("700 of 1000 bytes are held");
        assert_eq!((reached.level, reached.held_bytes), (70, 700));
        assert_eq!(reached.left, Some(Duration::from_secs(300)));
    }

    fn now(monotonic: u64, wall: i64) -> Now {
        Now {
            monotonic: Duration::from_secs(monotonic),
            wall: Timestamp(wall * 1_000_000),
        }
    }

    #[test]
    fn a_jump_either_way_pauses_for_an_hour_and_slow_drift_does_not() {
        let mut watch = ClockWatch::default();
        assert_eq!(watch.look(now(0, 1_000_000)), None);
        assert_eq!(
            watch.look(now(1000, 1_001_300)),
            None,
            "five minutes are no jump"
        );
        assert!(!watch.is_paused(now(1000, 1_001_300)));
        let day = 86_400;
        let jump = watch.look(now(1001, 1_001_301 + day));
        assert_eq!(jump, Some(day * 1_000_000));
        assert!(watch.is_paused(now(4600, 0)));
        assert!(!watch.is_paused(now(4601, 0)));
        let jump = watch.look(now(5000, 1_001_301 + 3999));
        assert_eq!(jump, Some(-day * 1_000_000));
        assert!(watch.is_paused(now(5001, 0)));
    }
}
