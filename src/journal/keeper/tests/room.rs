//! Who is sacrificed first, and who never: the room against journals that are only numbers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use crate::journal::keeper::room::{DISCARD_PATIENCE, Decision, Measure, Room, TakeReason};
use crate::journal::keeper::view::{JournalView, LaneView};
use crate::journal::segments::SegmentEntry;
use crate::journal::settings::{HoldPolicy, RoomLimit, RoomSettings, WhenFull};
use crate::metrics::ledger::DiscardReason;
use crate::os::clock::{Clock as _, FakeClock};
use crate::os::disk::DiskRoom;
use crate::position::{Offset, SegmentId, Timestamp};

/// Bytes of a segment, and the events in it.
const SEGMENT: u64 = 100;
const DAY: Duration = Duration::from_hours(24);

struct Lane {
    policy: HoldPolicy,
    cursor: u64,
    failing_since: Option<Duration>,
    ordered: Option<u64>,
}

#[derive(Default)]
struct Journal {
    segments: BTreeMap<u64, SegmentEntry>,
    lanes: Vec<Lane>,
    ready: usize,
    wanted: usize,
}

/// Journals, their room, and a shell that does what it is told at once.
struct Bench {
    room: Room,
    journals: Vec<Journal>,
    disk: DiskRoom,
    clock: FakeClock,
    /// Lanes do as they are told.
    obedient: bool,
    opened: u64,
}

fn settings(segments: u64) -> RoomSettings {
    RoomSettings {
        bytes_max: RoomLimit::Bytes(segments * SEGMENT),
        free_bytes_min: 0,
        keep: None,
    }
}

fn block() -> HoldPolicy {
    HoldPolicy::default()
}

fn discard_oldest() -> HoldPolicy {
    let when_full = WhenFull::DiscardOldest;
    HoldPolicy {
        when_full,
        ..block()
    }
}

impl Bench {
    /// Journals of so many closed segments, a day apart, and these streams at these cursors.
    fn new(settings: RoomSettings, segments: &[u64], lanes: &[(HoldPolicy, u64)]) -> Self {
        let clock = FakeClock::at(Timestamp(0));
        let mut bench = Self {
            room: Room::new(settings, segments.len()),
            journals: Vec::new(),
            disk: DiskRoom {
                total_bytes: 1 << 40,
                free_bytes: 1 << 40,
            },
            clock,
            obedient: true,
            opened: 0,
        };
        // It begins to look at the clock before there is a segment.
        assert_eq!(bench.look(), []);
        for _ in segments {
            let lane = |(policy, cursor): &(HoldPolicy, u64)| Lane {
                policy: policy.clone(),
                cursor: *cursor,
                failing_since: None,
                ordered: None,
            };
            bench.journals.push(Journal {
                lanes: lanes.iter().map(lane).collect(),
                ..Journal::default()
            });
        }
        for day in 0..segments.iter().copied().max().unwrap_or_default() {
            for (at, count) in segments.iter().enumerate() {
                if day < *count {
                    bench.fill_segment(at);
                }
            }
            bench.clock.advance(DAY);
        }
        bench
    }

    /// A full segment more.
    fn fill_segment(&mut self, at: usize) {
        let journal = &mut self.journals[at];
        let last = journal.segments.values().next_back();
        let (sequence, first) = last.map_or((0, 0), |last| {
            (last.sequence + 1, last.end.unwrap_or(last.first).0)
        });
        let entry = SegmentEntry {
            sequence,
            segment: SegmentId([0; 16]),
            first: Offset(first),
            end: Some(Offset(first + SEGMENT)),
            path: PathBuf::new(),
            file_bytes: SEGMENT,
            last_used: self.clock.now().wall,
        };
        journal.segments.insert(sequence, entry);
    }

    fn with_views<T>(&mut self, look: impl FnOnce(&mut Room, &[JournalView<'_>]) -> T) -> T {
        let lanes: Vec<Vec<LaneView<'_>>> = self
            .journals
            .iter()
            .map(|journal| {
                let lanes = journal.lanes.iter().map(|lane| LaneView {
                    policy: &lane.policy,
                    cursor: Offset(lane.cursor),
                    failing_since: lane.failing_since,
                    ordered: lane.ordered.filter(|to| *to > lane.cursor).map(Offset),
                });
                lanes.collect()
            })
            .collect();
        let views: Vec<_> = self
            .journals
            .iter()
            .zip(&lanes)
            .map(|(journal, lanes)| JournalView {
                segments: &journal.segments,
                lanes,
                file_bytes: SEGMENT,
                spares_ready: journal.ready,
                spares_wanted: journal.wanted,
            })
            .collect();
        look(&mut self.room, &views)
    }

    fn measure(&mut self) -> Measure {
        let disk = self.disk;
        self.with_views(|room, journals| room.measure(journals, disk))
    }

    /// Does what the room asks until there is nothing left; gives what was asked.
    fn act(&mut self) -> Vec<Decision> {
        let mut asked = Vec::new();
        loop {
            let (disk, now) = (self.disk, self.clock.now());
            let Some(next) = self.with_views(|room, journals| room.next(journals, disk, now))
            else {
                return asked;
            };
            self.perform(&next);
            asked.push(next);
            assert!(asked.len() < 10_000, "it does not end: {asked:?}");
        }
    }

    fn perform(&mut self, decision: &Decision) {
        match *decision {
            Decision::Open { journal } => {
                self.journals[journal].ready -= 1;
                self.fill_segment(journal);
                self.room.answered(journal);
                self.opened += 1;
            }
            Decision::Make { .. } => {
                let journal = self.room.made().expect("one is being made");
                self.journals[journal].ready += 1;
            }
            Decision::Take {
                journal,
                sequence,
                as_spare,
                ..
            } => {
                let journal = &mut self.journals[journal];
                let taken = journal.segments.remove(&sequence).expect("it is there");
                let needed = journal
                    .lanes
                    .iter()
                    .any(|lane| Some(Offset(lane.cursor)) < taken.end);
                assert!(!needed, "a stream still needs {taken:?}");
                assert!(!journal.segments.is_empty(), "the last one stays");
                if as_spare {
                    journal.ready += 1;
                } else {
                    self.disk.free_bytes += SEGMENT;
                }
            }
            Decision::DropSpare { journal } => {
                self.journals[journal].ready -= 1;
                self.disk.free_bytes += SEGMENT;
            }
            Decision::Discard {
                journal,
                stream,
                to,
                ..
            } => {
                let lane = &mut self.journals[journal].lanes[stream];
                assert!(lane.cursor < to.0, "there is something to discard");
                lane.ordered = Some(to.0);
                if self.obedient {
                    lane.cursor = to.0;
                }
            }
            Decision::Hurry
            | Decision::Refuse { .. }
            | Decision::Warn { .. }
            | Decision::TellJump { .. } => {}
        }
    }

    /// One look, and all that comes of it but the warnings.
    fn look(&mut self) -> Vec<Decision> {
        self.room.look();
        let mut asked = self.act();
        asked.retain(|decision| !matches!(decision, Decision::Warn { .. }));
        asked
    }

    fn order(&mut self, journal: usize) -> Vec<Decision> {
        self.room.order(journal);
        self.look()
    }
}

fn take(journal: usize, sequence: u64, why: TakeReason, as_spare: bool) -> Decision {
    Decision::Take {
        journal,
        sequence,
        why,
        as_spare,
    }
}

fn discard(journal: usize, stream: usize, to: u64, reason: DiscardReason) -> Decision {
    let to = Offset(to);
    Decision::Discard {
        journal,
        stream,
        to,
        reason,
    }
}

/// A spare for the order of the first journal.
fn make() -> Decision {
    Decision::Make {
        journal: 0,
        hurry: true,
    }
}

fn open(journal: usize) -> Decision {
    Decision::Open { journal }
}

const NO_ROOM: TakeReason = TakeReason::NoRoom;
const KEEP: TakeReason = TakeReason::Keep;
const FULL: DiscardReason = DiscardReason::JournalFull;

#[test]
fn while_there_is_room_nothing_is_given_up() {
    let mut bench = Bench::new(settings(4), &[3], &[(discard_oldest(), 0)]);
    let make = Decision::Make {
        journal: 0,
        hurry: true,
    };
    assert_eq!(bench.order(0), [make, open(0)]);
}

#[test]
fn delivered_segments_go_before_any_event_is_discarded() {
    let lanes = [(discard_oldest(), 150), (block(), 100)];
    let mut bench = Bench::new(settings(4), &[4], &lanes);
    // The first is delivered; the second then is held by a stream that blocks.
    assert_eq!(bench.order(0), [take(0, 0, NO_ROOM, true), open(0)]);
    assert_eq!(bench.order(0), [Decision::Refuse { journal: 0 }]);
    assert_eq!(bench.look(), [], "they are told once");
    // It moves on: now only one that discards holds it.
    bench.journals[0].lanes[1].cursor = 250;
    let given_up = [discard(0, 0, 200, FULL), take(0, 1, NO_ROOM, true), open(0)];
    assert_eq!(bench.look(), given_up);
    assert_eq!(bench.opened, 2);
}

#[test]
fn an_order_takes_another_journals_delivered_segment_before_its_own_undelivered_one() {
    let mut bench = Bench::new(settings(6), &[3, 3], &[(discard_oldest(), 0)]);
    bench.journals[1].lanes[0].cursor = 250;
    assert_eq!(
        bench.order(0),
        [take(1, 0, NO_ROOM, false), make(), open(0)]
    );
    assert_eq!(
        bench.order(0),
        [take(1, 1, NO_ROOM, false), make(), open(0)]
    );
    let own = [discard(0, 0, 100, FULL), take(0, 0, NO_ROOM, true), open(0)];
    assert_eq!(bench.order(0), own);
}

#[test]
fn spares_another_journal_does_not_need_are_dropped_before_anybody_waits() {
    let mut bench = Bench::new(settings(9), &[3, 3], &[(block(), 0)]);
    (bench.journals[0].ready, bench.journals[0].wanted) = (3, 1);
    let make = Decision::Make {
        journal: 1,
        hurry: true,
    };
    let dropped = Decision::DropSpare { journal: 0 };
    assert_eq!(bench.order(1), [dropped.clone(), make.clone(), open(1)]);
    bench.journals[0].lanes[0].cursor = 100;
    // More than are wanted go before kept events, those before the last spare.
    assert_eq!(bench.order(1), [dropped.clone(), make.clone(), open(1)]);
    let taken = take(0, 0, NO_ROOM, false);
    assert_eq!(bench.order(1), [taken, make.clone(), open(1)]);
    assert_eq!(bench.order(1), [dropped, make.clone(), open(1)]);
    assert_eq!(bench.order(1), [Decision::Refuse { journal: 1 }]);
}

#[test]
fn a_journal_that_waits_itself_keeps_its_spare() {
    let mut bench = Bench::new(settings(4), &[2, 1], &[(block(), 0)]);
    (bench.journals[1].ready, bench.journals[1].wanted) = (1, 1);
    bench.room.order(1);
    assert_eq!(bench.order(0), [Decision::Refuse { journal: 0 }, open(1)]);
}

#[test]
fn over_the_limit_surplus_spares_go_first() {
    let mut bench = Bench::new(settings(3), &[3], &[(block(), 300)]);
    bench.journals[0].ready = 2;
    let dropped = Decision::DropSpare { journal: 0 };
    assert_eq!(bench.look(), [dropped.clone(), dropped]);
}

#[test]
fn where_a_blocking_stream_holds_the_own_journal_another_gives_way() {
    let lanes = [(discard_oldest(), 0), (block(), 0)];
    let mut bench = Bench::new(settings(6), &[3, 3], &lanes);
    bench.journals[1].lanes[1].cursor = 300;
    let given_up = [
        discard(1, 0, 100, FULL),
        take(1, 0, NO_ROOM, false),
        make(),
        open(0),
    ];
    assert_eq!(bench.order(0), given_up);
}

#[test]
fn another_journal_gives_nothing_up_when_that_makes_no_room() {
    let mut limits = settings(100);
    limits.free_bytes_min = 10 * SEGMENT;
    let mut bench = Bench::new(limits, &[3, 3], &[(discard_oldest(), 0), (block(), 0)]);
    bench.journals[1].lanes[1].cursor = 300;
    // Others have filled the disk so far that one segment, or ten, would not be enough.
    bench.disk.free_bytes = 0;
    assert_eq!(bench.order(0), [Decision::Refuse { journal: 0 }]);
    bench.disk.free_bytes = 10 * SEGMENT;
    let given_up = [
        discard(1, 0, 100, FULL),
        take(1, 0, NO_ROOM, false),
        make(),
        open(0),
    ];
    assert_eq!(bench.look(), given_up);
}

#[test]
fn a_disk_that_refused_to_take_a_segment_is_asked_again_after_the_next_look() {
    let mut bench = Bench::new(settings(3), &[3], &[(block(), 250)]);
    bench.room.order(0);
    bench.room.refused();
    assert_eq!(bench.act(), []);
    assert_eq!(bench.look(), [take(0, 0, NO_ROOM, true), open(0)]);
}

#[test]
fn every_holder_that_discards_is_told_and_the_segment_waits_for_all() {
    let lanes = [
        (discard_oldest(), 0),
        (block(), 300),
        (discard_oldest(), 50),
    ];
    let mut bench = Bench::new(settings(3), &[3], &lanes);
    bench.obedient = false;
    let told = [discard(0, 0, 100, FULL), discard(0, 2, 100, FULL)];
    assert_eq!(bench.order(0), told, "and the inputs are not told to wait");
    bench.journals[0].lanes[0].cursor = 100;
    assert_eq!(bench.look(), [], "one is left");
    bench.journals[0].lanes[2].cursor = 100;
    assert_eq!(bench.look(), [take(0, 0, NO_ROOM, true), open(0)]);
}

#[test]
fn inputs_are_told_when_discards_do_not_come_and_go_on_when_they_do() {
    let mut bench = Bench::new(settings(3), &[3], &[(discard_oldest(), 0)]);
    bench.obedient = false;
    assert_eq!(bench.order(0), [discard(0, 0, 100, FULL)]);
    bench
        .clock
        .advance(DISCARD_PATIENCE - Duration::from_millis(1));
    assert_eq!(bench.look(), []);
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(bench.look(), [Decision::Refuse { journal: 0 }]);
    bench.journals[0].lanes[0].cursor = 100;
    assert_eq!(bench.look(), [take(0, 0, NO_ROOM, true), open(0)]);
}

#[test]
fn a_disk_that_others_fill_costs_kept_segments_first_and_then_pauses() {
    let mut limits = settings(100);
    limits.free_bytes_min = 10 * SEGMENT;
    let mut bench = Bench::new(limits, &[6], &[(block(), 250)]);
    bench.disk.free_bytes = 9 * SEGMENT;
    assert_eq!(bench.look(), [take(0, 0, NO_ROOM, false)]);
    assert_eq!(
        bench.disk.free_bytes,
        10 * SEGMENT,
        "as much as is to stay free"
    );
    assert_eq!(bench.order(0), [take(0, 1, NO_ROOM, true), open(0)]);
    assert_eq!(bench.order(0), [Decision::Refuse { journal: 0 }]);
    // What was in the way is gone: it goes on by itself.
    bench.disk.free_bytes += SEGMENT;
    let make = Decision::Make {
        journal: 0,
        hurry: true,
    };
    assert_eq!(bench.look(), [make, open(0)]);
}

#[test]
fn the_last_segment_with_a_block_stays_even_when_it_is_delivered() {
    let mut bench = Bench::new(settings(1), &[1], &[(block(), 100)]);
    assert_eq!(bench.order(0), [Decision::Refuse { journal: 0 }]);
    let mut bench = Bench::new(settings(1), &[1], &[]);
    assert_eq!(bench.order(0), [Decision::Refuse { journal: 0 }]);
}

#[test]
fn a_failing_stream_holds_an_event_no_longer_than_hold_max() {
    // Segments of 10, 9, … 1 days ago.
    let mut bench = Bench::new(settings(100), &[10], &[(block(), 50), (block(), 0)]);
    assert_eq!(bench.look(), [], "slow is not failing");
    bench.journals[0].lanes[0].failing_since = Some(bench.clock.now().monotonic);
    assert_eq!(bench.look(), [], "it has only begun to fail");
    bench.clock.advance(7 * DAY);
    let stale = DiscardReason::HoldMax;
    assert_eq!(bench.look(), [discard(0, 0, 1_000, stale)]);
}

#[test]
fn what_a_failing_stream_may_hold_counts_by_the_age_of_events() {
    let mut bench = Bench::new(settings(100), &[10], &[(block(), 50), (block(), 0)]);
    bench.journals[0].lanes[0].failing_since = Some(Duration::ZERO);
    // Seven days old is not yet too old.
    assert_eq!(bench.look(), [discard(0, 0, 300, DiscardReason::HoldMax)]);
    assert_eq!(bench.look(), []);
    bench.journals[0].lanes[1].policy.hold_max = None;
    bench.journals[0].lanes[1].failing_since = Some(Duration::ZERO);
    bench.clock.advance(DAY);
    assert_eq!(bench.look(), [discard(0, 0, 400, DiscardReason::HoldMax)]);
    assert_eq!(bench.journals[0].lanes[1].cursor, 0, "-1 is forever");
    let wall = bench.clock.now().wall;
    bench.clock.set_wall(Timestamp(wall.0 + 86_400_000_000));
    let jump = Decision::TellJump {
        micros: 86_400_000_000,
    };
    assert_eq!(bench.look(), [jump], "a jump of a day discards nothing");
}

#[test]
fn a_stream_holds_no_more_than_its_backlog_in_all_journals_together() {
    let limited = HoldPolicy {
        backlog_bytes_max: Some(4 * SEGMENT),
        ..block()
    };
    let mut bench = Bench::new(settings(100), &[5, 2], &[(limited, 0), (block(), 0)]);
    let too_much = DiscardReason::BacklogMax;
    assert_eq!(bench.look(), [discard(0, 0, 300, too_much)]);
    assert_eq!(bench.look(), []);
    bench.fill_segment(1);
    bench.obedient = false;
    assert_eq!(bench.look(), [discard(1, 0, 100, too_much)]);
    assert_eq!(bench.look(), [], "it has been told");
    bench.fill_segment(0);
    assert_eq!(bench.look(), [discard(0, 0, 400, too_much)]);
}

#[test]
fn kept_segments_go_when_their_time_has_passed_and_not_when_the_clock_jumps() {
    let mut limits = settings(100);
    limits.keep = Some(DAY * 3);
    let mut bench = Bench::new(limits, &[5], &[(block(), 450)]);
    bench.journals[0].wanted = 1;
    let expired = bench.look();
    let spare = take(0, 0, KEEP, true);
    assert_eq!(
        expired,
        [spare, take(0, 1, KEEP, false)],
        "5 and 4 days old"
    );
    let wall = bench.clock.now().wall;
    let day = i64::try_from(DAY.as_micros()).expect("small");
    bench.clock.set_wall(Timestamp(wall.0 + 400 * day));
    assert_eq!(bench.look(), [Decision::TellJump { micros: 400 * day }]);
    bench.clock.set_wall(wall);
    assert_eq!(bench.look(), [Decision::TellJump { micros: -400 * day }]);
    for _ in 0..59 {
        bench.clock.advance(Duration::from_mins(1));
        assert_eq!(bench.look(), []);
    }
    bench.clock.advance(Duration::from_mins(1));
    assert_eq!(bench.look(), [take(0, 2, KEEP, false)], "an hour later");
    assert_eq!(bench.look(), []);
}

#[test]
fn a_warning_names_the_stream_that_is_furthest_behind_in_the_fullest_journal() {
    let lanes = [(block(), 300), (discard_oldest(), 100)];
    let mut bench = Bench::new(settings(10), &[4, 3], &lanes);
    assert_eq!(bench.measure().held_bytes, 5 * SEGMENT);
    for _ in 0..3 {
        bench.fill_segment(0);
    }
    bench.room.look();
    let warned = bench.act();
    let [
        Decision::Warn {
            reached,
            journal,
            stream,
        },
    ] = &warned[..]
    else {
        panic!("one warning: {warned:?}");
    };
    assert_eq!((reached.level, *journal, *stream), (70, 0, 1));
    assert_eq!((reached.held_bytes, reached.room_bytes), (800, 1000));
    bench.room.look();
    assert_eq!(bench.act(), [], "once");
    // Delivered segments and spares are no backlog.
    bench.journals[0].lanes[1].cursor = 700;
    assert_eq!(bench.measure().held_bytes, 6 * SEGMENT);
}

#[test]
fn spares_are_made_while_nobody_waits_and_a_refusing_disk_is_left_alone() {
    let mut bench = Bench::new(settings(4), &[1, 1], &[]);
    bench.journals[0].wanted = 5;
    bench.room.refused();
    assert_eq!(bench.act(), []);
    let make = Decision::Make {
        journal: 0,
        hurry: false,
    };
    assert_eq!(bench.look(), [make.clone(), make], "as far as room goes");
}

#[test]
fn ten_thousand_segments_are_looked_at_without_a_copy_and_taken_one_by_one() {
    let mut limits = settings(20_000);
    limits.keep = Some(Duration::from_hours(1));
    let mut bench = Bench::new(limits, &[0], &[(block(), 9_950 * SEGMENT)]);
    for _ in 0..10_000 {
        bench.fill_segment(0);
    }
    bench.clock.advance(Duration::from_hours(2));
    let taken = bench.look().len();
    assert_eq!(taken, 9_950);
    assert_eq!(bench.journals[0].segments.len(), 50);
}

proptest! {
    #[test]
    fn a_stream_that_blocks_never_loses_an_event_for_want_of_room(
        lanes in proptest::collection::vec((any::<bool>(), 0..500_u64), 1..4),
        segments in proptest::collection::vec(1..6_u64, 1..4),
        room in 1..16_u64,
        steps in proptest::collection::vec((0..3_usize, 0..4_usize, 0..200_u64), 0..40),
    ) {
        let policies = lanes.iter().map(|(discards, cursor)| {
            (if *discards { discard_oldest() } else { block() }, *cursor)
        });
        let policies: Vec<_> = policies.collect();
        let mut bench = Bench::new(settings(room), &segments, &policies);
        for (journal, stream, events) in steps {
            let (journal, stream) = (journal % segments.len(), stream % lanes.len());
            bench.journals[journal].lanes[stream].cursor += events;
            let blocked: Vec<_> = bench.journals.iter().map(|journal| {
                let blocking = journal.lanes.iter().zip(&lanes).filter(|(_, (discards, _))| !discards);
                blocking.map(|(lane, _)| lane.cursor).min().unwrap_or(u64::MAX)
            }).collect();
            // The bench itself fails when a segment is taken that somebody needs.
            for decision in bench.order(journal) {
                if let Decision::Discard { journal, stream, to, reason } = decision {
                    prop_assert_eq!(reason, FULL);
                    prop_assert!(lanes[stream].0, "stream {} blocks", stream);
                    prop_assert!(to.0 <= blocked[journal], "and nothing is gained");
                }
            }
        }
    }
}
