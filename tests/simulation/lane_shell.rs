//! One stream in one journal, as `node::delivery` drives it, with a destination that does
//! what the run says.

use std::io;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use weir::batch::{Batch, BodyForm, Compression, CursorState};
use weir::journal::cursor::{CursorRecord, OpenedCursor};
use weir::journal::keeper::Hold;
use weir::journal::reader::{GapReason, ReadNext, Reader};
use weir::journal::settings::HoldPolicy;
use weir::metrics::ledger::DiscardReason;
use weir::position::{JournalId, Offset, OffsetRange};
use weir::stream::encode::Encoder;
use weir::stream::lane::{Lane, LaneAction};
use weir::stream::settings::BatchLimits;

use crate::lane_oracle::LaneOracle;
use crate::mutations::Mutation;
use crate::oracle::JournalOracle;
use crate::promise::promise;

/// What a destination does with a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Accept,
    /// It is broken, or refuses: without dead letters both are tried again.
    Fail,
    /// It is given up on, and what was sent arrives later, perhaps after much else.
    Late,
    /// It has the batch, and its answer is lost.
    AcceptUnheard,
    Split,
    /// No answer until it is broken off, or as long as the node lives; it has the batch or not.
    Hang {
        has_it: bool,
    },
}

/// What one step of a lane came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Came {
    Read,
    End,
    Gap(OffsetRange),
    Trouble,
    Measured(u64),
    Recorded(u64),
    Sent(OffsetRange, Reply),
    Unreadable(OffsetRange),
    /// It tells what it is about to give up, and waits until that is durable.
    Tells(OffsetRange),
    /// Its oldest events are given up by order.
    Discarded(Offset),
    Waits(Option<Duration>),
    Hangs,
    Done,
}

pub(crate) struct LaneShell {
    core: Lane,
    record: CursorRecord,
    reader: Reader,
    compression: Compression,
    hangs: bool,
    /// Records written by this life.
    pub(crate) written: u64,
    mutation: Option<Mutation>,
    /// Mutation: the try that failed is forgotten.
    forgotten: bool,
    hold: Arc<Hold>,
    /// What is about to be given up, and whether that is durable in an audit event by now.
    telling: Option<Telling>,
    /// Events whose loss is in a durable audit event of this life.
    told: OffsetRange,
}

#[derive(Debug, Clone, Copy)]
struct Telling {
    range: OffsetRange,
    what: Loss,
    durable: Option<bool>,
}

/// What is about to be given up.
#[derive(Debug, Clone, Copy)]
enum Loss {
    /// What lies at the offset asked for is gone or damaged.
    Gap(DiscardReason),
    /// A block of the batch does not give its events.
    Unreadable,
    /// The keeper wants it.
    Order(DiscardReason),
}

/// Where a lane's things come from when a node opens.
pub(crate) struct Opening<'a> {
    pub(crate) stream: &'a Arc<str>,
    pub(crate) journal: JournalId,
    pub(crate) limits: BatchLimits,
    pub(crate) policy: HoldPolicy,
    pub(crate) compression: Compression,
    pub(crate) mutation: Option<Mutation>,
}

/// A copy of a batch that is still on its way to a destination.
#[derive(Debug)]
pub(crate) struct LateCopy {
    pub(crate) range: OffsetRange,
    pub(crate) text: Vec<u8>,
}

/// What a lane meets in a step: the other parts of the run.
pub(crate) struct Around<'a> {
    pub(crate) encoder: &'a mut Encoder,
    pub(crate) oracle: &'a mut LaneOracle,
    pub(crate) journal: &'a JournalOracle,
    pub(crate) now: Duration,
    pub(crate) late: &'a mut Vec<LateCopy>,
    /// Where an audit event goes that has to be durable before something is given up.
    pub(crate) audit: &'a mut Option<OffsetRange>,
    /// Asked for only when a batch is sent, with its number of events.
    pub(crate) reply: &'a mut dyn FnMut(u64) -> Reply,
}

impl LaneShell {
    /// Opens a lane as `node::open` does.
    pub(crate) fn open(
        opening: &Opening<'_>,
        opened: OpenedCursor,
        reader: Reader,
    ) -> io::Result<Self> {
        let OpenedCursor {
            mut record,
            state,
            damage,
        } = opened;
        let mut state = match state {
            Some(state) => state,
            None => {
                // Streams of a run begin with the first event; a record that does not hold
                // begins with all there is.
                let start = match damage {
                    Some(_) => reader.start(),
                    None => Offset(0),
                };
                let state = CursorState {
                    start,
                    cursor: start,
                    ..CursorState::default()
                };
                for _slot in 0..2 {
                    record.write(&state)?;
                }
                state
            }
        };
        if opening.mutation == Some(Mutation::CutsForgotten) {
            state.cuts.clear();
        }
        let stream = Arc::clone(opening.stream);
        let (policy, cursor) = (opening.policy.clone(), state.cursor);
        let hold = Hold::new(Arc::clone(&stream), policy, cursor);
        Ok(Self {
            core: Lane::new(stream, opening.journal, (opening.limits, 0), state),
            record,
            reader,
            compression: opening.compression,
            hangs: false,
            written: 0,
            mutation: opening.mutation,
            forgotten: false,
            hold: Arc::new(hold),
            telling: None,
            told: OffsetRange {
                first: cursor,
                end: cursor,
            },
        })
    }

    pub(crate) fn state(&self) -> &CursorState {
        self.core.state()
    }

    /// The destination gave no answer for too long: the batch is tried again.
    pub(crate) fn break_off(&mut self, again: Duration) -> bool {
        let hung = std::mem::take(&mut self.hangs);
        if hung {
            self.core.failed(again);
        }
        hung
    }

    /// How the keeper sees the lane.
    pub(crate) fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }

    /// The audit event of a loss is durable, or could not be made so.
    pub(crate) fn answered(&mut self, durable: bool, oracle: &mut LaneOracle) {
        if let Some(telling) = &mut self.telling {
            telling.durable = Some(durable);
            if durable {
                oracle.told(telling.range);
            }
        }
    }

    pub(crate) fn hangs(&self) -> bool {
        self.hangs
    }

    /// The last record of an orderly stop; what fails now is delivered again.
    #[must_use]
    pub(crate) fn record_last(&mut self, oracle: &mut LaneOracle, journal: &JournalOracle) -> bool {
        let state = self.core.state().clone();
        let written = self.record.write(&state).is_ok();
        if written {
            oracle.recorded(journal, &state);
        }
        written
    }

    /// Does the next thing.
    pub(crate) fn step(&mut self, around: &mut Around<'_>) -> Came {
        if let Some(telling) = self.telling {
            return match telling.durable {
                None => Came::Tells(telling.range),
                Some(durable) => self.go_on(telling, durable, around),
            };
        }
        if let Some(order) = self.hold.discard_order() {
            // A delivery that is under way is broken off for it.
            self.hangs = false;
            let range = OffsetRange {
                first: self.core.state().cursor,
                end: order.to,
            };
            if range.is_empty() {
                return self.record(self.core.state().clone(), around);
            }
            return self.tell(range, Loss::Order(order.reason), around);
        }
        if self.hangs || self.forgotten {
            return Came::Hangs;
        }
        let now = around.now;
        match self.core.next(now) {
            LaneAction::Read(offset) => match self.reader.next(offset) {
                Ok(ReadNext::Block(block)) => {
                    self.core.read(block, None, now);
                    Came::Read
                }
                Ok(ReadNext::End) => {
                    self.core.end();
                    Came::End
                }
                Ok(ReadNext::Gap { range, why }) => {
                    let reason = match why {
                        GapReason::Gone => DiscardReason::Missing,
                        GapReason::Damaged(_) => DiscardReason::Damaged,
                    };
                    let first = offset;
                    self.tell(OffsetRange { first, ..range }, Loss::Gap(reason), around)
                }
                Err(_) => Came::Trouble,
            },
            LaneAction::Measure {
                part,
                bytes_max,
                events_max,
            } => {
                let measured = around.encoder.measure(&part, bytes_max, events_max);
                let events = measured.unwrap_or(u64::MAX);
                self.core.measured(events);
                Came::Measured(events)
            }
            LaneAction::Record(state) => self.record(state, around),
            LaneAction::Deliver(batch) => self.deliver(&batch, around),
            LaneAction::Wait { until, .. } => {
                around.oracle.waits(now, until);
                Came::Waits(until)
            }
            LaneAction::Done => Came::Done,
        }
    }

    /// Has a loss told before it takes effect; what was told in this life is not told again.
    fn tell(&mut self, range: OffsetRange, what: Loss, around: &mut Around<'_>) -> Came {
        let mut telling = Telling {
            range,
            what,
            durable: None,
        };
        let known = self.told.first <= range.first && range.end <= self.told.end;
        if known || self.mutation == Some(Mutation::LossesUntold) {
            telling.durable = Some(true);
            return self.go_on(telling, true, around);
        }
        *around.audit = Some(range);
        self.telling = Some(telling);
        Came::Tells(range)
    }

    /// A loss was told, or could not be: then nothing is given up.
    fn go_on(&mut self, telling: Telling, durable: bool, around: &mut Around<'_>) -> Came {
        self.telling = None;
        if !durable {
            return Came::Trouble;
        }
        let Telling { range, what, .. } = telling;
        self.told = range;
        let is_order = matches!(what, Loss::Order(_));
        if self.mutation != Some(Mutation::GapsUntold) {
            around.oracle.discarded(around.journal, range, is_order);
        }
        match what {
            Loss::Gap(reason) => {
                self.core.gap(range, reason);
                Came::Gap(range)
            }
            Loss::Unreadable => {
                self.core.unreadable(range, around.now);
                Came::Unreadable(range)
            }
            Loss::Order(reason) => {
                self.core.discard_to(range.end, reason, around.now);
                self.record(self.core.state().clone(), around);
                Came::Discarded(range.end)
            }
        }
    }

    fn record(&mut self, mut state: CursorState, around: &mut Around<'_>) -> Came {
        match self.mutation {
            Some(Mutation::CursorBeforeDelivery) => {
                if let Some(cut) = state.cuts.first().copied() {
                    state.cursor = cut.range.end;
                    state.counts.delivered += cut.range.events();
                }
            }
            Some(Mutation::DeliveryUncounted) => {
                state.counts.delivered = state.counts.delivered.saturating_sub(1);
            }
            _ => {}
        }
        let written = match self.mutation {
            Some(Mutation::CutsUnrecorded) if !state.cuts.is_empty() => {
                self.core.recorded();
                return Came::Recorded(state.cursor.0);
            }
            Some(Mutation::RecordsUnwritten) => Ok(()),
            _ => self.record.write(&state),
        };
        match written {
            Ok(()) => {
                self.written += 1;
                around.oracle.recorded(around.journal, &state);
                self.core.recorded();
                self.hold.pass(state.cursor);
                Came::Recorded(state.cursor.0)
            }
            Err(_) => Came::Trouble,
        }
    }

    fn deliver(&mut self, batch: &Batch, around: &mut Around<'_>) -> Came {
        let recorded = around.oracle.durable.cuts.first();
        promise!(
            "S4",
            recorded.map(|cut| (cut.segment, cut.range))
                == Some((batch.id.segment, batch.id.range)),
            "{} is sent and was not recorded as cut",
            batch.id
        );
        let parcel = match around
            .encoder
            .encode(batch, BodyForm::Whole(self.compression), None)
        {
            Ok(parcel) => parcel,
            Err(unreadable) => return self.tell(unreadable.range, Loss::Unreadable, around),
        };
        let range = batch.id.range;
        let reply = (around.reply)(range.events());
        around.oracle.tried(range, &batch.id.to_string());
        let mut text = plain(&parcel.chunks().concat(), self.compression);
        match self.mutation {
            Some(Mutation::EventsSwapped) => swap_events(&mut text),
            Some(Mutation::ByteChanged) => {
                let at = text.len() / 2;
                text[at] ^= 1;
            }
            _ => {}
        }
        let has_it = matches!(
            reply,
            Reply::Accept | Reply::AcceptUnheard | Reply::Hang { has_it: true }
        );
        if has_it {
            around.oracle.arrived(around.journal, range, &text);
        }
        let again = around.now + Duration::from_millis(50);
        match reply {
            Reply::Accept => {
                around.oracle.heard(around.now);
                self.core
                    .delivered(parcel.raw_bytes, Vec::new(), around.now);
            }
            Reply::Split if self.core.split() => {}
            Reply::Fail | Reply::AcceptUnheard | Reply::Split | Reply::Late => {
                self.forgotten = self.mutation == Some(Mutation::RetriesForgotten);
                self.core.failed(again);
            }
            Reply::Hang { .. } => self.hangs = true,
        }
        let failing = self.core.attempt() > 0;
        self.hold.set_failing(failing, around.now);
        if reply == Reply::Late {
            around.late.push(LateCopy { range, text });
        }
        Came::Sent(range, reply)
    }
}

/// The first two lines change places, when there are two.
fn swap_events(text: &mut [u8]) {
    let mut ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let (Some((first, _)), Some((second, _))) = (ends.next(), ends.next()) else {
        return;
    };
    text[..=second].rotate_left(first + 1);
}

fn plain(body: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::Identity => body.to_vec(),
        Compression::Gzip => {
            let mut text = Vec::new();
            let mut decoder = flate2::bufread::GzDecoder::new(body);
            decoder.read_to_end(&mut text).expect("one member");
            assert!(decoder.into_inner().is_empty(), "and nothing behind it");
            text
        }
    }
}
