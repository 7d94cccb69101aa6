//! One stream in one journal, as `node::delivery` drives it, with a destination that does
//! what the run says.

use std::io;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use weir::batch::{Batch, Compression, CursorState};
use weir::journal::cursor::{CursorRecord, OpenedCursor};
use weir::journal::reader::{ReadNext, Reader};
use weir::metrics::ledger::DiscardReason;
use weir::position::{JournalId, OffsetRange};
use weir::stream::encode::Encoder;
use weir::stream::lane::{Lane, LaneAction};
use weir::stream::settings::BatchLimits;

use crate::oracle::{JournalOracle, LaneOracle};

/// What a destination does with a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Accept,
    Fail,
    /// It has the batch, and its answer is lost.
    AcceptUnheard,
    Split,
    /// No answer as long as the node lives; it has the batch or not.
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
}

impl LaneShell {
    /// Opens a lane as `node::open` does.
    pub(crate) fn open(
        stream: &Arc<str>,
        journal: JournalId,
        limits: BatchLimits,
        compression: Compression,
        opened: OpenedCursor,
        reader: Reader,
    ) -> io::Result<Self> {
        let OpenedCursor {
            mut record, state, ..
        } = opened;
        let state = match state {
            Some(state) => state,
            None => {
                let start = reader.tail().durable_end();
                let state = CursorState {
                    start,
                    cursor: start,
                    ..CursorState::default()
                };
                record.write(&state)?;
                state
            }
        };
        assert_eq!(state.start.0, 0, "a stream that began at 0 began there");
        Ok(Self {
            core: Lane::new(Arc::clone(stream), journal, limits, state),
            record,
            reader,
            compression,
            hangs: false,
            written: 0,
        })
    }

    pub(crate) fn state(&self) -> &CursorState {
        self.core.state()
    }

    /// The destination that gave no answer breaks off; the batch is tried again.
    pub(crate) fn break_off(&mut self, now: Duration) {
        if std::mem::take(&mut self.hangs) {
            self.core.failed(now);
        }
    }

    /// The last record of an orderly stop; what fails now is delivered again.
    pub(crate) fn record_last(&mut self, oracle: &mut LaneOracle) {
        let state = self.core.state().clone();
        if self.record.write(&state).is_ok() {
            oracle.recorded(&state);
        }
    }

    /// Does the next thing; `reply` is asked for only when a batch is sent.
    pub(crate) fn step(
        &mut self,
        encoder: &mut Encoder,
        oracle: &mut LaneOracle,
        journal: &JournalOracle,
        now: Duration,
        reply: &mut dyn FnMut(u64) -> Reply,
    ) -> Came {
        if self.hangs {
            return Came::Hangs;
        }
        match self.core.next(now) {
            LaneAction::Read(offset) => match self.reader.next(offset) {
                Ok(ReadNext::Block(block)) => {
                    self.core.read(block, now);
                    Came::Read
                }
                Ok(ReadNext::End) => {
                    self.core.end();
                    Came::End
                }
                Ok(ReadNext::Gap { range, .. }) => {
                    oracle.discarded(journal, range);
                    self.core.gap(range, DiscardReason::Damaged);
                    Came::Gap(range)
                }
                Err(_) => Came::Trouble,
            },
            LaneAction::Measure {
                block,
                first,
                bytes_max,
            } => {
                let measured = encoder.measure(&block, first, bytes_max);
                let events = measured.unwrap_or(u64::MAX);
                self.core.measured(events);
                Came::Measured(events)
            }
            LaneAction::Record(state) => match self.record.write(&state) {
                Ok(()) => {
                    self.written += 1;
                    oracle.recorded(&state);
                    self.core.recorded();
                    Came::Recorded(state.cursor.0)
                }
                Err(_) => Came::Trouble,
            },
            LaneAction::Deliver(batch) => {
                self.deliver(&batch, encoder, oracle, journal, now, reply)
            }
            LaneAction::Wait { until, .. } => Came::Waits(until),
            LaneAction::Done => Came::Done,
        }
    }

    fn deliver(
        &mut self,
        batch: &Batch,
        encoder: &mut Encoder,
        oracle: &mut LaneOracle,
        journal: &JournalOracle,
        now: Duration,
        reply: &mut dyn FnMut(u64) -> Reply,
    ) -> Came {
        let recorded = oracle.durable.cuts.first();
        assert_eq!(
            recorded.map(|cut| (cut.segment, cut.range)),
            Some((batch.id.segment, batch.id.range)),
            "a cut is durable before it is sent"
        );
        let parcel = match encoder.encode(batch, self.compression) {
            Ok(parcel) => parcel,
            Err(unreadable) => {
                oracle.discarded(journal, unreadable.range);
                self.core.unreadable(unreadable.range, now);
                return Came::Unreadable(unreadable.range);
            }
        };
        let range = batch.id.range;
        let reply = reply(range.events());
        let has_it = matches!(
            reply,
            Reply::Accept | Reply::AcceptUnheard | Reply::Hang { has_it: true }
        );
        if has_it {
            let text = plain(&parcel.body.concat(), self.compression);
            oracle.arrived(journal, range, batch.id.to_string(), &text);
        }
        let again = now + Duration::from_millis(50);
        match reply {
            Reply::Accept => self.core.delivered(parcel.raw_bytes, Vec::new(), now),
            Reply::Split if self.core.split() => {}
            Reply::Fail | Reply::AcceptUnheard | Reply::Split => self.core.failed(again),
            Reply::Hang { .. } => self.hangs = true,
        }
        Came::Sent(range, reply)
    }
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
