//! Lane and encoder together, against a journal of real blocks in memory: every event is
//! delivered once, in order, with ranges and identities that a crash does not change.

use std::cell::RefCell;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use crate::batch::{BodyForm, Compression, CursorState, Selected};
use crate::block::codec::{CompressionLevel, best_codec};
use crate::block::own::{OwnLines, OwnRun};
use crate::block::verdicts::Bitmap;
use crate::block::{Block, CodecId};
use crate::metrics::ledger::DiscardReason;
use crate::position::{JournalId, Offset, OffsetRange, SegmentId, Timestamp};
use crate::stream::encode::Encoder;
use crate::stream::lane::{Lane, LaneAction};
use crate::stream::settings::BatchLimits;

/// A journal of blocks with so many events each; some are gaps.
struct Journal {
    blocks: Vec<Arc<Block>>,
    gaps: Vec<OffsetRange>,
    /// First offsets of the blocks that are not for the stream.
    passed: Vec<Offset>,
    /// What the stream takes; `None`: everything.
    rule: Option<Rule>,
    end: Offset,
}

/// A rule and a sampling by the offset alone. Two blocks of three have lines of their own.
#[derive(Debug, Clone, Copy)]
struct Rule {
    matched: u64,
    sampled: u64,
    turn: u64,
}

impl Rule {
    fn matches(self, offset: u64) -> bool {
        offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 & 15 < self.matched
    }

    fn takes(self, offset: u64) -> bool {
        self.matches(offset) && offset.wrapping_mul(0xd134_2543_de82_ef95) >> 32 & 15 < self.sampled
    }

    fn select(self, block: &Block) -> Arc<Selected> {
        let bitmap = |is_set: &dyn Fn(u64) -> bool| {
            let mut bitmap = Bitmap::none(block.events);
            (0..block.events)
                .filter(|event| is_set(block.first.0 + u64::from(*event)))
                .for_each(|event| bitmap.set(event));
            Arc::new(bitmap)
        };
        let taken = bitmap(&|offset| self.takes(offset));
        let bytes: String = taken
            .iter(0..block.events)
            .map(|event| line(block.first.0 + u64::from(event)))
            .collect();
        let own =
            (!(block.first.0 + self.turn).is_multiple_of(3)).then(|| self.own(&bytes, &taken));
        Arc::new(Selected {
            matched: bitmap(&|offset| self.matches(offset)),
            taken_bytes: bytes.len() as u64,
            taken,
            own,
        })
    }

    /// Own lines of a block, in a run behind those that were read before; some runs are compressed at times.
    fn own(self, lines: &str, events: &Arc<Bitmap>) -> OwnLines {
        RUN.with_borrow_mut(|run| {
            if run.raw_len() > 2_000 {
                if self.turn > 0 {
                    let mut codec = best_codec(CompressionLevel::FASTEST);
                    let compressed = run.compress(codec.as_mut(), &mut Vec::new());
                    compressed.expect("compresses");
                }
                *run = Arc::new(OwnRun::open(Vec::new()));
            } else if !run.is_open() {
                *run = Arc::new(OwnRun::open(Vec::new()));
            }
            let span = run.append(|raw| {
                raw.extend_from_slice(lines.as_bytes());
                true
            });
            OwnLines {
                run: Arc::clone(run),
                span: span.expect("it is open"),
                events: Arc::clone(events),
            }
        })
    }
}

thread_local! {
    /// The run of own lines that grows.
    static RUN: RefCell<Arc<OwnRun>> = RefCell::new(Arc::new(OwnRun::open(Vec::new())));
}

fn line(offset: u64) -> String {
    format!(
        "{{\"event\":{offset},\"pad\":\"{}\"}}\n",
        "x".repeat((offset % 37) as usize)
    )
}

fn journal(shape: &[(u32, bool, bool)]) -> Journal {
    let mut codec = best_codec(CompressionLevel::FASTEST);
    let mut journal = Journal {
        blocks: Vec::new(),
        gaps: Vec::new(),
        passed: Vec::new(),
        rule: None,
        end: Offset(0),
    };
    let mut segment = 0;
    for (events, new_segment, gap) in shape {
        let range = OffsetRange {
            first: journal.end,
            end: journal.end.plus(u64::from(*events)),
        };
        journal.end = range.end;
        segment += u8::from(*new_segment);
        if *gap {
            journal.gaps.push(range);
            continue;
        }
        let raw: String = (range.first.0..range.end.0).map(line).collect();
        let mut body = Vec::new();
        codec
            .compress_run(raw.as_bytes(), &mut body)
            .expect("compresses");
        journal.blocks.push(Arc::new(Block {
            journal: JournalId(0),
            segment: SegmentId([segment; 16]),
            first: range.first,
            events: *events,
            codec: CodecId::DeflateRun,
            raw_len: u32::try_from(raw.len()).expect("small"),
            raw_crc32: crc32fast::hash(raw.as_bytes()),
            received_first: Timestamp(1),
            received_last: Timestamp(1),
            metadata: 0..0,
            body: 0..body.len(),
            image: Bytes::from(body),
            verdicts: Arc::default(),
        }));
    }
    journal
}

/// What the destination does with a try.
#[derive(Debug, Clone, Copy)]
enum Reply {
    Accept,
    Fail,
    Split,
    /// The node crashes with the batch out: the destination has it, we do not know.
    CrashAfter,
    /// The node crashes before the destination has it.
    CrashBefore,
    /// It hangs until policy gives up so many events.
    Discard(u64),
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        6 => Just(Reply::Accept),
        2 => Just(Reply::Fail),
        1 => Just(Reply::Split),
        1 => Just(Reply::CrashAfter),
        1 => Just(Reply::CrashBefore),
    ]
}

fn reply_or_discard() -> impl Strategy<Value = Reply> {
    prop_oneof![
        4 => reply(),
        1 => (1..600_u64).prop_map(Reply::Discard),
    ]
}

fn lane(limits: BatchLimits, state: CursorState) -> Lane {
    Lane::new("siem".into(), JournalId(0), (limits, 0), state)
}

/// What the destination got, in order of arrival, and what was discarded by policy.
#[derive(Default)]
struct Got {
    batches: Vec<(String, OffsetRange)>,
    discarded: Vec<OffsetRange>,
}

/// Gives up so many events behind the cursor, and makes it durable, as the shell does.
fn discard(lane: &mut Lane, events: u64, end: Offset, now: Duration) -> (OffsetRange, CursorState) {
    let first = lane.state().cursor;
    let to = first.plus(events).min(end);
    lane.discard_to(to, DiscardReason::JournalFull, now);
    let state = lane.state().clone();
    assert!(state.balances(), "{state:?}");
    assert_eq!(state.cursor, to.max(first));
    assert!(state.cuts.first().is_none_or(|cut| cut.range.first == to));
    lane.recorded();
    (OffsetRange { first, end: to }, state)
}

/// Runs a lane to its end; gives what the destination got and the last state.
fn run(
    journal: &Journal,
    limits: BatchLimits,
    replies: &[Reply],
    orders: &[(u64, u64)],
    compression: Compression,
) -> (Got, CursorState) {
    let mut encoder = Encoder::new(best_codec(CompressionLevel::FASTEST));
    let mut replies = replies.iter().copied();
    let mut durable = CursorState::default();
    let mut running = lane(limits, durable.clone());
    running.drain();
    let mut got = Got::default();
    let mut now = Duration::ZERO;
    for step in 0..100_000 {
        now += Duration::from_millis(1);
        if let Some((_, events)) = orders.iter().find(|order| order.0 == step) {
            let (range, state) = discard(&mut running, *events, journal.end, now);
            got.discarded.push(range);
            durable = state;
        }
        match running.next(now) {
            LaneAction::Read(offset) => read(journal, offset, &mut running, now),
            LaneAction::Measure {
                part,
                bytes_max,
                events_max,
            } => {
                let measured = encoder.measure(&part, bytes_max, events_max);
                running.measured(measured.expect("readable"));
            }
            LaneAction::Record(state) => {
                assert!(state.balances(), "{state:?}");
                durable = state;
                running.recorded();
            }
            LaneAction::Deliver(batch) => {
                assert_eq!(
                    durable.cuts.first().map(|cut| cut.range),
                    Some(batch.id.range)
                );
                let form = BodyForm::Whole(compression);
                let parcel = encoder.encode(&batch, form, None).expect("readable");
                if parcel.events == 0 {
                    // A half of a split of which nothing is taken; it is not sent.
                    running.delivered(0, Vec::new(), now);
                    continue;
                }
                check_body(parcel.chunks(), compression, journal, batch.id.range);
                let mut crash = false;
                match replies.next().unwrap_or(Reply::Accept) {
                    Reply::Accept => {
                        got.batches.push((batch.id.to_string(), batch.id.range));
                        running.delivered(parcel.raw_bytes, Vec::new(), now);
                    }
                    Reply::Split if running.split() => {}
                    Reply::Fail | Reply::Split => running.failed(now + Duration::from_millis(5)),
                    Reply::CrashAfter => {
                        got.batches.push((batch.id.to_string(), batch.id.range));
                        crash = true;
                    }
                    Reply::CrashBefore => crash = true,
                    Reply::Discard(events) => {
                        let (range, state) = discard(&mut running, events, journal.end, now);
                        got.discarded.push(range);
                        durable = state;
                    }
                }
                if crash {
                    running = lane(limits, durable.clone());
                    running.drain();
                }
            }
            LaneAction::Wait { until, .. } => now = until.expect("a draining lane waits for time"),
            LaneAction::Done => return (got, durable),
        }
    }
    panic!("the lane does not end");
}

fn read(journal: &Journal, offset: Offset, lane: &mut Lane, now: Duration) {
    let holds = |range: OffsetRange| range.first <= offset && offset < range.end;
    if let Some(block) = journal.blocks.iter().find(|block| holds(block.range())) {
        if journal.passed.contains(&block.first) {
            lane.pass(Arc::clone(block), now);
        } else {
            let selected = journal.rule.map(|rule| rule.select(block));
            lane.read(Arc::clone(block), selected, now);
        }
    } else if let Some(gap) = journal.gaps.iter().find(|gap| holds(**gap)) {
        let range = OffsetRange {
            first: offset,
            end: gap.end,
        };
        lane.gap(range, DiscardReason::Damaged);
    } else {
        assert_eq!(offset, journal.end);
        lane.end();
    }
}

fn check_body(body: &[Bytes], compression: Compression, journal: &Journal, range: OffsetRange) {
    let body = body.concat();
    let is_taken = |offset: &u64| journal.rule.is_none_or(|rule| rule.takes(*offset));
    let offsets = (range.first.0..range.end.0).filter(is_taken);
    let expected: String = offsets.map(line).collect();
    assert!(!expected.is_empty(), "a batch of nothing is not sent");
    let mut text = String::new();
    match compression {
        Compression::Identity => text = String::from_utf8(body).expect("text"),
        Compression::Gzip => {
            let mut decoder = flate2::bufread::GzDecoder::new(&body[..]);
            decoder.read_to_string(&mut text).expect("one member");
            assert!(decoder.into_inner().is_empty(), "and nothing behind it");
        }
    }
    assert_eq!(text, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_event_arrives_in_order_and_what_arrives_again_has_its_first_identity(
        shape in proptest::collection::vec((1..400_u32, proptest::bool::weighted(0.2), proptest::bool::weighted(0.1)), 0..20),
        bytes_max in 200..40_000_u64,
        records_max in proptest::option::of(1..900_u64),
        replies in proptest::collection::vec(reply(), 0..40),
        gzip in any::<bool>(),
    ) {
        let journal = journal(&shape);
        let limits = BatchLimits { bytes_max, age_max: Duration::from_secs(1), records_max };
        let compression = if gzip { Compression::Gzip } else { Compression::Identity };
        let (got, state) = run(&journal, limits, &replies, &[], compression);
        let mut reached = Offset(0);
        let mut seen = std::collections::HashMap::new();
        // Halves of a split are ranges of their own; all else is sent again as it was.
        let may_split = replies.iter().any(|reply| matches!(reply, Reply::Split));
        for (identity, range) in &got.batches {
            if range.first < reached {
                prop_assert!(may_split || seen.get(&range.first) == Some(identity), "a re-send is the same");
                reached = reached.max(range.end);
            } else {
                let gap: u64 = journal.gaps.iter().filter(|gap| gap.first >= reached && gap.end <= range.first)
                    .map(|gap| gap.events()).sum();
                prop_assert_eq!(range.first.events_since(reached), gap, "in order, only gaps left out");
                reached = range.end;
            }
            seen.insert(range.first, identity.clone());
            if let Some(max) = records_max {
                prop_assert!(range.events() <= max);
            }
        }
        let lost: u64 = journal.gaps.iter().map(|gap| gap.events()).sum();
        prop_assert_eq!(state.cursor, journal.end);
        prop_assert_eq!(state.counts.discarded[0], lost);
        prop_assert_eq!(state.counts.delivered + lost, journal.end.0);
        prop_assert!(state.cuts.is_empty());
    }

    #[test]
    fn every_event_is_delivered_or_discarded_once_in_the_books_whenever_policy_gives_up(
        shape in proptest::collection::vec((1..400_u32, proptest::bool::weighted(0.2), proptest::bool::weighted(0.1)), 0..20),
        bytes_max in 200..40_000_u64,
        records_max in proptest::option::of(1..900_u64),
        replies in proptest::collection::vec(reply_or_discard(), 0..40),
        orders in proptest::collection::vec((0..200_u64, 1..900_u64), 0..6),
    ) {
        let journal = journal(&shape);
        let limits = BatchLimits { bytes_max, age_max: Duration::from_secs(1), records_max };
        let (got, state) = run(&journal, limits, &replies, &orders, Compression::Gzip);
        prop_assert_eq!(state.cursor, journal.end);
        prop_assert!(state.balances());
        prop_assert!(state.cuts.is_empty());
        let batches = got.batches.iter().map(|(_, range)| range);
        let fates: Vec<_> = batches.chain(&got.discarded).chain(&journal.gaps).collect();
        for offset in 0..journal.end.0 {
            let has_fate = fates.iter().any(|range| range.first.0 <= offset && offset < range.end.0);
            prop_assert!(has_fate, "event {} has no fate", offset);
        }
        // Batches may have been delivered besides, before a crash or an answer that was lost.
        let discarded: u64 = got.discarded.iter().map(|range| range.events()).sum();
        let full = DiscardReason::ALL.iter().position(|reason| *reason == DiscardReason::JournalFull);
        prop_assert!(state.counts.discarded[full.expect("a reason")] <= discarded);
        let firsts: Vec<_> = got.batches.iter().map(|(identity, range)| (range.first, identity)).collect();
        let crashed = replies.iter().any(|reply| matches!(reply, Reply::CrashAfter));
        prop_assert!(crashed || firsts.is_sorted_by(|one, next| one.0 < next.0), "in order");
    }
}

#[test]
fn a_discard_does_not_try_a_failing_destination_before_its_time() {
    let journal = journal(&[(10, false, false), (10, false, false)]);
    let limits = BatchLimits {
        bytes_max: 1 << 20,
        age_max: Duration::from_secs(1),
        records_max: Some(10),
    };
    let mut lane = lane(limits, CursorState::default());
    let at = Duration::from_secs;
    assert!(matches!(lane.next(at(0)), LaneAction::Read(Offset(0))));
    read(&journal, Offset(0), &mut lane, at(0));
    assert!(matches!(lane.next(at(0)), LaneAction::Record(_)));
    lane.recorded();
    assert!(matches!(lane.next(at(0)), LaneAction::Deliver(_)));
    lane.failed(at(60));
    lane.discard_to(Offset(4), DiscardReason::HoldMax, at(1));
    assert_eq!(lane.attempt(), 1, "it fails as before");
    assert!(matches!(lane.next(at(1)), LaneAction::Read(Offset(4))));
    read(&journal, Offset(4), &mut lane, at(1));
    let LaneAction::Record(state) = lane.next(at(1)) else {
        panic!("what is left is cut anew");
    };
    let left = OffsetRange {
        first: Offset(4),
        end: Offset(10),
    };
    assert_eq!(state.cuts.first().map(|cut| cut.range), Some(left));
    assert!(state.balances());
    lane.recorded();
    let LaneAction::Wait { until, .. } = lane.next(at(2)) else {
        panic!("the destination asked for time");
    };
    assert_eq!(until, Some(at(60)));
    assert!(matches!(lane.next(at(60)), LaneAction::Deliver(_)));
}

#[test]
fn a_missing_segment_and_a_damaged_block_are_counted_apart() {
    let mut lane = lane(
        BatchLimits {
            bytes_max: 1 << 20,
            age_max: Duration::from_secs(1),
            records_max: None,
        },
        CursorState::default(),
    );
    let at = Duration::ZERO;
    let range = |first, end| OffsetRange {
        first: Offset(first),
        end: Offset(end),
    };
    assert!(matches!(lane.next(at), LaneAction::Read(Offset(0))));
    lane.gap(range(0, 3), DiscardReason::Missing);
    assert!(matches!(lane.next(at), LaneAction::Read(Offset(3))));
    lane.gap(range(3, 5), DiscardReason::Damaged);
    assert!(matches!(lane.next(at), LaneAction::Read(Offset(5))));
    assert_eq!(lane.state().counts.discarded, [2, 0, 0, 0, 3]);
    assert!(lane.state().balances());
}

proptest! {
    #[test]
    fn what_is_not_for_the_stream_is_filtered_and_never_inside_a_batch(
        shape in proptest::collection::vec((1..40_u32, proptest::bool::weighted(0.2), proptest::bool::weighted(0.1)), 0..30),
        passed in proptest::collection::vec(any::<bool>(), 30),
        bytes_max in 200..10_000_u64,
        replies in proptest::collection::vec(reply(), 0..40),
    ) {
        let mut journal = journal(&shape);
        let not_for_it = journal.blocks.iter().zip(passed).filter(|(_, passed)| *passed);
        let not_for_it: Vec<_> = not_for_it.map(|(block, _)| block.range()).collect();
        journal.passed = not_for_it.iter().map(|range| range.first).collect();
        let limits = BatchLimits { bytes_max, age_max: Duration::from_secs(1), records_max: None };
        let (got, state) = run(&journal, limits, &replies, &[], Compression::Identity);
        for (_, range) in &got.batches {
            let inside = not_for_it.iter().find(|other| other.first < range.end && range.first < other.end);
            prop_assert_eq!(inside, None);
        }
        let filtered: u64 = not_for_it.iter().map(|range| range.events()).sum();
        let lost: u64 = journal.gaps.iter().map(|gap| gap.events()).sum();
        prop_assert_eq!(state.counts.filtered, filtered);
        prop_assert_eq!(state.counts.delivered + filtered + lost, journal.end.0);
        prop_assert_eq!(state.cursor, journal.end);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_a_rule_and_sampling_take_arrives_in_order_and_the_rest_is_counted(
        shape in proptest::collection::vec((1..400_u32, proptest::bool::weighted(0.2), proptest::bool::weighted(0.1)), 0..20),
        bytes_max in 200..40_000_u64,
        records_max in proptest::option::of(1..900_u64),
        replies in proptest::collection::vec(reply(), 0..40),
        (matched, sampled, turn) in (0..17_u64, 0..17_u64, 0..3_u64),
        gzip in any::<bool>(),
    ) {
        let mut journal = journal(&shape);
        let rule = Rule { matched, sampled, turn };
        journal.rule = Some(rule);
        let limits = BatchLimits { bytes_max, age_max: Duration::from_secs(1), records_max };
        let compression = if gzip { Compression::Gzip } else { Compression::Identity };
        let (got, state) = run(&journal, limits, &replies, &[], compression);
        let offsets = || journal.blocks.iter().flat_map(|block| block.range().first.0..block.range().end.0);
        let count = |is_so: &dyn Fn(u64) -> bool| offsets().filter(|offset| is_so(*offset)).count() as u64;
        // The rule decides by the offset alone, so the ranges say which events arrived.
        let mut arrived: Vec<u64> = got
            .batches
            .iter()
            .flat_map(|(_, range)| (range.first.0..range.end.0).filter(|offset| rule.takes(*offset)))
            .collect();
        arrived.sort_unstable();
        arrived.dedup();
        let expected: Vec<u64> = offsets().filter(|offset| rule.takes(*offset)).collect();
        prop_assert_eq!(arrived, expected);
        prop_assert_eq!(state.counts.delivered, count(&|offset| rule.takes(offset)));
        prop_assert_eq!(state.counts.filtered, count(&|offset| !rule.matches(offset)));
        prop_assert_eq!(
            state.counts.sampled_out,
            count(&|offset| rule.matches(offset) && !rule.takes(offset))
        );
        prop_assert_eq!(state.cursor, journal.end);
    }
}

#[test]
fn a_batch_waits_for_its_age_and_progress_is_recorded_in_time() {
    let journal = journal(&[(10, false, false)]);
    let limits = BatchLimits {
        bytes_max: 1 << 20,
        age_max: Duration::from_secs(1),
        records_max: None,
    };
    let mut lane = lane(limits, CursorState::default());
    let at = Duration::from_millis;
    assert!(matches!(lane.next(at(0)), LaneAction::Read(Offset(0))));
    read(&journal, Offset(0), &mut lane, at(0));
    assert!(matches!(lane.next(at(0)), LaneAction::Read(Offset(10))));
    lane.end();
    let LaneAction::Wait { until, raw_bytes } = lane.next(at(0)) else {
        panic!("it waits")
    };
    assert_eq!(until, Some(at(1_000)));
    assert!(raw_bytes > 1);
    assert!(matches!(lane.next(at(1_000)), LaneAction::Read(Offset(10))));
    lane.end();
    assert!(matches!(lane.next(at(1_000)), LaneAction::Record(_)));
    lane.recorded();
    assert!(matches!(lane.next(at(1_000)), LaneAction::Deliver(_)));
    lane.delivered(100, Vec::new(), at(1_005));
    assert!(matches!(lane.next(at(1_005)), LaneAction::Read(Offset(10))));
    lane.end();
    let LaneAction::Wait { until, .. } = lane.next(at(1_005)) else {
        panic!("it waits")
    };
    assert_eq!(until, Some(at(1_105)));
    assert!(matches!(lane.next(at(1_105)), LaneAction::Record(_)));
    lane.recorded();
    assert!(matches!(lane.next(at(1_105)), LaneAction::Read(_)));
    lane.end();
    assert!(matches!(
        lane.next(at(1_105)),
        LaneAction::Wait { until: None, .. }
    ));
}
