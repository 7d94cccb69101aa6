//! Whether a stream's thread should give way to the others: when it works off a backlog.
//!
//! Pure. A lane is behind while what it reads comes from disk. The thread gives way when one of
//! its lanes has been behind for [`GIVE_WAY_AFTER`] without a break, and comes back as soon as
//! none is: a stream that hovers at the edge of memory changes nothing.

use std::time::Duration;

use crate::position::JournalId;

/// How long a lane is behind without a break before its thread gives way.
pub const GIVE_WAY_AFTER: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Pace {
    /// Lanes that are behind, with since when.
    behind: Vec<(JournalId, Duration)>,
    gives_way: bool,
}

impl Pace {
    /// The lane of `journal` has read, from disk when it is `behind`. Gives back whether the
    /// thread is to give way, when that has changed.
    pub fn read(&mut self, journal: JournalId, behind: bool, now: Duration) -> Option<bool> {
        let known = self.behind.iter().position(|(lane, _)| *lane == journal);
        match (known, behind) {
            (None, true) => self.behind.push((journal, now)),
            (Some(at), false) => drop(self.behind.swap_remove(at)),
            (None, false) | (Some(_), true) => {}
        }
        let for_long = |(_, since): &(JournalId, Duration)| *since + GIVE_WAY_AFTER <= now;
        let gives_way = if self.gives_way {
            !self.behind.is_empty()
        } else {
            self.behind.iter().any(for_long)
        };
        let changed = gives_way != self.gives_way;
        self.gives_way = gives_way;
        changed.then_some(gives_way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: JournalId = JournalId(0);
    const B: JournalId = JournalId(1);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_thread_gives_way_after_a_second_from_disk_and_comes_back_at_once() {
        let mut pace = Pace::default();
        assert_eq!(pace.read(A, true, at(0)), None);
        assert_eq!(pace.read(A, true, at(999)), None);
        assert_eq!(pace.read(A, true, at(1_000)), Some(true));
        assert_eq!(pace.read(A, true, at(5_000)), None);
        assert_eq!(pace.read(A, false, at(5_001)), Some(false));
        assert_eq!(pace.read(A, false, at(5_002)), None);
    }

    #[test]
    fn a_thread_at_the_edge_of_memory_never_gives_way() {
        let mut pace = Pace::default();
        for read in 0..10_000_u64 {
            let from_disk = !read.is_multiple_of(50);
            assert_eq!(pace.read(A, from_disk, at(10 * read)), None);
        }
    }

    #[test]
    fn a_thread_gives_way_while_any_of_its_lanes_is_behind() {
        let mut pace = Pace::default();
        assert_eq!(pace.read(A, true, at(0)), None);
        assert_eq!(pace.read(B, true, at(900)), None);
        assert_eq!(pace.read(A, true, at(1_000)), Some(true));
        assert_eq!(pace.read(A, false, at(1_001)), None);
        assert_eq!(pace.read(B, false, at(1_002)), Some(false));
    }
}
