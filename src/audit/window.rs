//! Windows: the first of like notices becomes an event at once, what follows is summed.
//!
//! A window opens with the first notice of a [`Key`] and lasts [`WINDOW`]. What comes while it
//! is open is added up and becomes one event at its end, which opens the next one; a window
//! in which nothing came closes. So a flood leaves an event a minute, a single notice is told
//! without delay, and no count is ever lost: what cannot be written is put back. Pure: time
//! is handed in.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::audit::Notice;
use crate::audit::sum::{Key, SUMS_MAX, Sum};
use crate::position::Timestamp;

/// How long like notices are summed.
pub const WINDOW: Duration = Duration::from_secs(60);

/// How soon what could not be written is offered again.
pub const AGAIN: Duration = Duration::from_secs(5);

/// One moment, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Never goes back; windows are measured with it.
    pub monotonic: Duration,
    /// What the event says.
    pub wall: Timestamp,
}

/// A sum, and the time in which it came together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// What was told.
    pub sum: Sum,
    /// When the first notice came.
    pub start: Timestamp,
    /// When the last one came; never before `start`.
    pub end: Timestamp,
}

impl Span {
    /// A span of one moment.
    #[must_use]
    pub fn at(sum: Sum, wall: Timestamp) -> Self {
        let (start, end) = (wall, wall);
        Self { sum, start, end }
    }

    /// Adds what came later, or earlier where it is put back.
    fn merge(&mut self, other: Self) {
        self.start = self.start.min(other.start);
        self.end = self.end.max(other.end);
        self.sum.merge(other.sum);
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Windows {
    open: BTreeMap<Key, Window>,
}

#[derive(Debug)]
struct Window {
    /// When it ends, monotonic.
    due: Duration,
    /// What came since it opened.
    span: Option<Span>,
}

impl Windows {
    /// Takes a notice. The first of its kind comes back, to be written now.
    #[must_use]
    pub fn tell(&mut self, notice: &Notice, now: Moment) -> Option<Span> {
        self.take_in(Sum::of(notice), now)
    }

    /// Takes a sum, as a notice.
    #[must_use]
    pub fn take_in(&mut self, mut sum: Sum, now: Moment) -> Option<Span> {
        if self.open.len() >= SUMS_MAX && !self.open.contains_key(&sum.key) {
            // Actions, reasons and outcomes are closed lists: these windows are few.
            sum.key = sum.key.other();
        }
        let key = sum.key.clone();
        let span = Span::at(sum, now.wall);
        match self.open.get_mut(&key) {
            Some(window) => {
                window.add(span);
                None
            }
            None => {
                let due = now.monotonic + WINDOW;
                self.open.insert(key, Window { due, span: None });
                Some(span)
            }
        }
    }

    /// Takes back what could not be written. It is offered again soon.
    pub fn put_back(&mut self, span: Span, now: Duration) {
        let due = now + AGAIN;
        let window = self.open.entry(span.sum.key.clone());
        let window = window.or_insert(Window { due, span: None });
        window.due = window.due.min(due);
        window.add(span);
    }

    /// When the next window ends; `None` when none is open.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.open.values().map(|window| window.due).min()
    }

    /// What the windows that end now have summed, to be written.
    #[must_use]
    pub fn due(&mut self, now: Duration) -> Vec<Span> {
        let mut due = Vec::new();
        self.open.retain(|_, window| {
            if window.due > now {
                return true;
            }
            window.due = now + WINDOW;
            let span = window.span.take();
            let came = span.is_some();
            due.extend(span);
            came
        });
        due
    }

    /// Ends all windows at once: what they have summed, to be written.
    #[must_use]
    pub fn close(&mut self) -> Vec<Span> {
        let open = std::mem::take(&mut self.open);
        open.into_values()
            .filter_map(|window| window.span)
            .collect()
    }
}

impl Window {
    fn add(&mut self, span: Span) {
        match &mut self.span {
            Some(known) => known.merge(span),
            None => self.span = Some(span),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::sum::PEERS_MAX;
    use crate::audit::{Action, Outcome};
    use proptest::prelude::*;

    fn at(secs: u64) -> Moment {
        Moment {
            monotonic: Duration::from_secs(secs),
            wall: Timestamp(i64::try_from(secs).expect("few") * 1_000_000),
        }
    }

    fn reject(lines: u64) -> Notice {
        Notice::new(Action::LineReject, "apps", "malformed").events(lines)
    }

    #[test]
    fn the_first_goes_out_at_once_and_what_follows_at_the_end_of_the_window() {
        let mut windows = Windows::default();
        let first = windows.tell(&reject(3), at(100)).expect("at once");
        assert_eq!((first.sum.events, first.sum.count), (3, 1));
        assert_eq!(windows.tell(&reject(4), at(110)), None);
        assert_eq!(windows.tell(&reject(5), at(150)), None);
        assert_eq!(windows.due(at(159).monotonic), vec![]);
        assert_eq!(windows.next_due(), Some(at(160).monotonic));
        let [second] = &windows.due(at(160).monotonic)[..] else {
            panic!("one window ended")
        };
        assert_eq!((second.sum.events, second.sum.count), (9, 2));
        assert_eq!((second.start, second.end), (at(110).wall, at(150).wall));
        // Nothing came in the next window: it closes, and the next notice is a first one.
        assert_eq!(windows.due(at(220).monotonic), vec![]);
        assert_eq!(windows.next_due(), None);
        assert!(windows.tell(&reject(1), at(221)).is_some());
    }

    #[test]
    fn what_could_not_be_written_is_offered_again_with_what_came_since() {
        let mut windows = Windows::default();
        let first = windows.tell(&reject(3), at(0)).expect("at once");
        assert_eq!(windows.tell(&reject(4), at(1)), None);
        windows.put_back(first, at(2).monotonic);
        assert_eq!(windows.next_due(), Some(at(7).monotonic));
        let [again] = &windows.due(at(7).monotonic)[..] else {
            panic!("one span")
        };
        assert_eq!((again.sum.events, again.sum.count), (7, 2));
        assert_eq!((again.start, again.end), (at(0).wall, at(1).wall));
    }

    /// What happens, in the order it happens.
    #[derive(Debug, Clone)]
    enum Step {
        Tell(Notice),
        /// So many seconds pass; what is due is written, or refused by the disk.
        Pass {
            secs: u64,
            refused: bool,
        },
    }

    prop_compose! {
        fn notice()(target in 0..700_u32, reason in 0..2_usize, failed: bool, events in 0..1_000_u64,
                    bytes in 0..1_000_u64, peer in proptest::option::of(0..400_u32)) -> Notice {
            let reason = ["malformed", "too_long"][reason];
            let notice = Notice::new(Action::LineReject, target.to_string(), reason)
                .events(events)
                .bytes(bytes)
                .peer(peer.map(|peer| peer.to_string().into()));
            if failed { notice.failed() } else { notice }
        }
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            20 => notice().prop_map(Step::Tell),
            1 => (0..90_u64, any::<bool>()).prop_map(|(secs, refused)| Step::Pass { secs, refused }),
        ]
    }

    /// Notices, events, bytes by what cannot go to another target's sum, and events of peers.
    type Totals = BTreeMap<(&'static str, Outcome), [u64; 4]>;

    fn add(totals: &mut Totals, sum: &Sum) {
        let (peers, others) = sum.peers.top(PEERS_MAX);
        let named: u64 = peers.iter().map(|(_, count)| count.events).sum();
        let total = totals.entry((sum.key.reason, sum.key.outcome)).or_default();
        let added = [sum.count, sum.events, sum.bytes, named + others.events];
        for (total, added) in total.iter_mut().zip(added) {
            *total += added;
        }
    }

    proptest! {
        #[test]
        fn sums_written_equal_the_sums_told(steps in proptest::collection::vec(step(), 0..3_000)) {
            let (mut told, mut written) = (Totals::new(), Totals::new());
            let mut windows = Windows::default();
            let mut now = at(0);
            for step in steps {
                match step {
                    Step::Tell(notice) => {
                        add(&mut told, &Sum::of(&notice));
                        let first = windows.tell(&notice, now);
                        first.iter().for_each(|span| add(&mut written, &span.sum));
                    }
                    Step::Pass { secs, refused } => {
                        now = at(now.monotonic.as_secs() + secs);
                        for span in windows.due(now.monotonic) {
                            prop_assert!(span.start <= span.end && span.end <= now.wall);
                            if refused {
                                windows.put_back(span, now.monotonic);
                            } else {
                                add(&mut written, &span.sum);
                            }
                        }
                        // Room for every window, and one of each reason and outcome besides.
                        prop_assert!(windows.open.len() <= SUMS_MAX + 4);
                    }
                }
            }
            windows.close().iter().for_each(|span| add(&mut written, &span.sum));
            prop_assert_eq!(told, written);
        }
    }
}
