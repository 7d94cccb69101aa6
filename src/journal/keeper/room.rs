//! The room of all journals: who gets a segment, and what is given up for it, in which order.
//!
//! A pure state machine. The shell shows it the journals, the file system and the time, does
//! what [`Room::next`] asks, reports, and asks again until there is nothing left to do. When an
//! ordered segment finds no room, this is given up, in this order:
//!
//! 1. spares of other journals that are more than those want;
//! 2. delivered segments that were kept for reading, before their time;
//! 3. all other spares of journals that wait for nothing;
//! 4. the oldest segment, when all streams that still need it are `discard_oldest`: they are
//!    told to discard, and meanwhile the inputs are not told that there is no room;
//! 5. nothing: the inputs wait until streams move or room comes back.
//!
//! The last segment that surely has a block stays in any case: counters, positions and time of
//! the journal stand in it.

use std::time::Duration;

use crate::journal::keeper::view::JournalView;
use crate::journal::keeper::watch::{ClockWatch, FillWatch, Reached};
use crate::journal::segments::SegmentEntry;
use crate::journal::settings::{RoomLimit, RoomSettings};
use crate::metrics::ledger::DiscardReason;
use crate::os::clock::Now;
use crate::os::disk::DiskRoom;
use crate::position::{Offset, Timestamp};

/// How long an order waits for discards before its inputs are told that there is no room.
pub const DISCARD_PATIENCE: Duration = Duration::from_secs(2);

/// What the shell does next. Journals and streams are named by their index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Put a ready spare to use for the journal's order, then call [`Room::answered`].
    Open {
        /// The journal.
        journal: usize,
    },
    /// Make a spare, then call [`Room::made`].
    Make {
        /// The journal.
        journal: usize,
        /// Someone waits for it.
        hurry: bool,
    },
    /// Someone waits for the spare that is being made.
    Hurry,
    /// Take the journal's oldest segment.
    Take {
        /// The journal.
        journal: usize,
        /// Sequence of the segment.
        sequence: u64,
        /// Why.
        why: TakeReason,
        /// It becomes a spare of its journal; otherwise the file is removed.
        as_spare: bool,
    },
    /// Remove one of the journal's ready spares.
    DropSpare {
        /// The journal.
        journal: usize,
    },
    /// Tell the stream to give up its events below `to`.
    Discard {
        /// The journal.
        journal: usize,
        /// The stream.
        stream: usize,
        /// Where the events end.
        to: Offset,
        /// Why.
        reason: DiscardReason,
    },
    /// Tell the inputs of the journal that there is no room. Its order stands.
    Refuse {
        /// The journal.
        journal: usize,
    },
    /// Warn that undelivered events fill the room.
    Warn {
        /// How much.
        reached: Reached,
        /// The journal with the most of them.
        journal: usize,
        /// The stream that is furthest behind there.
        stream: usize,
    },
    /// Tell that the wall clock jumped, so that retention by time pauses.
    TellJump {
        /// By so many microseconds.
        micros: i64,
    },
}

/// Why a delivered segment is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeReason {
    /// It is past its time.
    Keep,
    /// There is no room for what is to be stored, or more is in use than may be.
    NoRoom,
}

impl TakeReason {
    /// The word in audit events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::NoRoom => "no_room",
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Room {
    settings: RoomSettings,
    orders: Vec<Option<Order>>,
    filling: Option<Filling>,
    /// The disk refused since the last look: what nobody waits for is tried after the next.
    refused: bool,
    look_due: bool,
    clock: ClockWatch,
    fill: FillWatch,
}

/// An order for a segment that is not served yet.
#[derive(Debug, Clone, Copy, Default)]
struct Order {
    /// Since when it waits for discards.
    discards_since: Option<Duration>,
    /// The inputs were told that there is no room.
    told: bool,
}

/// The spare being made.
#[derive(Debug, Clone, Copy)]
struct Filling {
    journal: usize,
    hurried: bool,
}

/// Bytes in use and bytes that may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// Bytes of all segments and spares, the one being made included.
    pub bytes: u64,
    /// Bytes they may take.
    pub bytes_max: u64,
    /// Bytes of segments that a stream still needs.
    pub held_bytes: u64,
    /// Bytes those may take: `bytes_max`, or less where others fill the disk.
    pub room_bytes: u64,
}

impl Room {
    /// The room of so many journals, nothing ordered.
    #[must_use]
    pub fn new(settings: RoomSettings, journals: usize) -> Self {
        Self {
            settings,
            orders: vec![None; journals],
            filling: None,
            refused: false,
            look_due: true,
            clock: ClockWatch::default(),
            fill: FillWatch::default(),
        }
    }

    /// A segment was ordered for the journal.
    pub fn order(&mut self, journal: usize) {
        self.orders[journal] = Some(Order::default());
    }

    /// The journal's order got its segment, or the disk refused and the shard was told so.
    pub fn answered(&mut self, journal: usize) {
        self.orders[journal] = None;
    }

    /// True while a journal waits for room.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.orders.iter().any(Option::is_some)
    }

    /// The spare that was being made is there, or the disk refused. Says whose it was.
    pub fn made(&mut self) -> Option<usize> {
        self.filling.take().map(|filling| filling.journal)
    }

    /// The disk refused. What nobody waits for is not tried again before the next look.
    pub fn refused(&mut self) {
        self.refused = true;
    }

    /// Time for a look: retention, limits of streams, warnings.
    pub fn look(&mut self) {
        self.look_due = true;
        self.refused = false;
    }

    /// What to do next; `None` until something changes or the next look is due.
    pub fn next(
        &mut self,
        journals: &[JournalView<'_>],
        disk: DiskRoom,
        now: Now,
    ) -> Option<Decision> {
        if self.clock.is_new() {
            let newest = journals
                .iter()
                .filter_map(|journal| journal.segments.values().next_back());
            self.clock
                .begin(newest.map(|entry| entry.last_used).max(), now);
        }
        if let Some(micros) = self.clock.look(now) {
            return Some(Decision::TellJump { micros });
        }
        let mut orders = 0..self.orders.len();
        if let Some(served) = orders.find_map(|at| self.serve(at, journals, disk, now)) {
            return Some(served);
        }
        if self.look_due {
            let due = self.retain(journals, disk, now);
            if due.is_some() {
                return due;
            }
            self.look_due = false;
        }
        self.refill(journals, disk)
    }

    /// What is in use, and what may be.
    #[must_use]
    pub fn measure(&self, journals: &[JournalView<'_>], disk: DiskRoom) -> Measure {
        let bytes = self.bytes(journals);
        let bytes_max = self.bytes_max(disk);
        let spare = disk.free_bytes.saturating_sub(self.settings.free_bytes_min);
        Measure {
            bytes,
            bytes_max,
            held_bytes: journals.iter().map(held_bytes).sum(),
            room_bytes: bytes_max.min(bytes.saturating_add(spare)),
        }
    }

    /// True when there is room for a file of this length.
    #[must_use]
    pub fn fits(&self, journals: &[JournalView<'_>], disk: DiskRoom, file_bytes: u64) -> bool {
        let free_min = self.settings.free_bytes_min.saturating_add(file_bytes);
        let within = self.bytes(journals).saturating_add(file_bytes) <= self.bytes_max(disk);
        within && disk.free_bytes >= free_min
    }

    /// The next step to serve an order.
    fn serve(
        &mut self,
        at: usize,
        journals: &[JournalView<'_>],
        disk: DiskRoom,
        now: Now,
    ) -> Option<Decision> {
        self.orders[at]?;
        let own = &journals[at];
        if own.spares_ready > 0 {
            return Some(Decision::Open { journal: at });
        }
        if let Some(filling) = &mut self.filling {
            // Whoever it is for, the sooner it is made the sooner this one's turn comes.
            let hurried = std::mem::replace(&mut filling.hurried, true);
            return (!hurried).then_some(Decision::Hurry);
        }
        if self.fits(journals, disk, own.file_bytes) {
            return Some(self.make(at, true));
        }
        if self.refused {
            return None;
        }
        let idle = |journal: usize| self.orders[journal].is_none();
        let given_up = self
            .drop_spare(at, journals, disk, |journal| {
                journals[journal].has_surplus_spares()
            })
            .or_else(|| self.take_delivered(at, journals, disk))
            .or_else(|| self.drop_spare(at, journals, disk, idle));
        if given_up.is_some() {
            return given_up;
        }
        if let Some((journal, to, streams)) = self.discardable(at, journals, disk) {
            let lanes = journals[journal].lanes;
            let idle = |stream: &usize| lanes[*stream].ordered.is_none_or(|told| told < to);
            if let Some(stream) = streams.into_iter().find(idle) {
                let reason = DiscardReason::JournalFull;
                return Some(Decision::Discard {
                    journal,
                    stream,
                    to,
                    reason,
                });
            }
            let order = self.orders[at].as_mut()?;
            let since = *order.discards_since.get_or_insert(now.monotonic);
            if now.monotonic < since + DISCARD_PATIENCE {
                return None;
            }
        }
        let told = std::mem::replace(&mut self.orders[at].as_mut()?.told, true);
        (!told).then_some(Decision::Refuse { journal: at })
    }

    /// The spare of another journal for an order, when it makes enough room: of the one with the
    /// most of those that `may` give one up.
    fn drop_spare(
        &self,
        at: usize,
        journals: &[JournalView<'_>],
        disk: DiskRoom,
        may: impl Fn(usize) -> bool,
    ) -> Option<Decision> {
        let all = journals.iter().enumerate();
        let others = all.filter(|(journal, view)| *journal != at && view.spares_ready > 0);
        let others = others.filter(|(journal, _)| may(*journal));
        let (journal, view) = others.max_by_key(|(_, view)| view.spares_ready)?;
        self.helps(at, view.file_bytes, journals, disk)
            .then_some(Decision::DropSpare { journal })
    }

    /// A delivered segment for an order: the journal's own, which as a spare needs neither room
    /// nor zeros, or else the oldest of all, when it makes enough room.
    fn take_delivered(
        &self,
        at: usize,
        journals: &[JournalView<'_>],
        disk: DiskRoom,
    ) -> Option<Decision> {
        let own = journals[at].oldest_delivered();
        let others = || {
            let (journal, entry) = oldest_delivered_of_all(journals)?;
            self.helps(at, entry.file_bytes, journals, disk)
                .then_some((journal, entry))
        };
        let (journal, entry) = own.map(|entry| (at, entry)).or_else(others)?;
        Some(Decision::Take {
            journal,
            sequence: entry.sequence,
            why: TakeReason::NoRoom,
            as_spare: journal == at && entry.file_bytes == journals[at].file_bytes,
        })
    }

    /// A journal whose oldest segment is held only by streams that may discard, the end of that
    /// segment and those streams: the journal of the order, or else the one with the oldest
    /// events, when its segment makes enough room.
    fn discardable(
        &self,
        at: usize,
        journals: &[JournalView<'_>],
        disk: DiskRoom,
    ) -> Option<(usize, Offset, Vec<usize>)> {
        let of = |at: usize| {
            let (entry, end, streams) = journals[at].oldest_discardable()?;
            Some((at, entry, end, streams))
        };
        let others = || {
            let found = (0..journals.len()).filter_map(of);
            let oldest = found.min_by_key(|(_, entry, ..)| entry.last_used)?;
            self.helps(at, oldest.1.file_bytes, journals, disk)
                .then_some(oldest)
        };
        let (journal, _, end, streams) = of(at).or_else(others)?;
        Some((journal, end, streams))
    }

    /// True when an order finds room once a file of another journal is gone. Otherwise nothing
    /// there is worth giving up: where others fill the disk it would be one after the other.
    fn helps(
        &self,
        at: usize,
        freed_bytes: u64,
        journals: &[JournalView<'_>],
        disk: DiskRoom,
    ) -> bool {
        let need = journals[at].file_bytes.saturating_sub(freed_bytes);
        self.fits(journals, disk, need)
    }

    /// The next step of a look.
    fn retain(
        &mut self,
        journals: &[JournalView<'_>],
        disk: DiskRoom,
        now: Now,
    ) -> Option<Decision> {
        let by_time = !self.clock.is_paused(now);
        if !self.refused {
            let expired = by_time.then(|| self.expired(journals, now)).flatten();
            if let Some(taken) = expired.or_else(|| self.surplus(journals, disk)) {
                return Some(taken);
            }
        }
        let stale = by_time.then(|| held_too_long(journals, now)).flatten();
        if let Some(discard) = stale.or_else(|| held_too_much(journals)) {
            return Some(discard);
        }
        self.warning(journals, disk, now)
    }

    /// A delivered segment that is past its time.
    fn expired(&self, journals: &[JournalView<'_>], now: Now) -> Option<Decision> {
        let keep = as_micros(self.settings.keep?);
        let mut all = journals.iter().enumerate();
        all.find_map(|(at, journal)| {
            let oldest = journal.oldest_delivered()?;
            let reusable = oldest.file_bytes == journal.file_bytes;
            let wanted = journal.spares_ready < journal.spares_wanted;
            (now.wall.micros_since(oldest.last_used) > keep).then_some(Decision::Take {
                journal: at,
                sequence: oldest.sequence,
                why: TakeReason::Keep,
                as_spare: wanted && reusable,
            })
        })
    }

    /// A spare too many or else a delivered segment, when more is in use than may be: the limit
    /// was lowered, or others fill the disk.
    fn surplus(&self, journals: &[JournalView<'_>], disk: DiskRoom) -> Option<Decision> {
        let within = self.bytes(journals) <= self.bytes_max(disk);
        if within && disk.free_bytes >= self.settings.free_bytes_min {
            return None;
        }
        if let Some(journal) = journals.iter().position(JournalView::has_surplus_spares) {
            return Some(Decision::DropSpare { journal });
        }
        let (journal, entry) = oldest_delivered_of_all(journals)?;
        Some(Decision::Take {
            journal,
            sequence: entry.sequence,
            why: TakeReason::NoRoom,
            as_spare: false,
        })
    }

    fn warning(
        &mut self,
        journals: &[JournalView<'_>],
        disk: DiskRoom,
        now: Now,
    ) -> Option<Decision> {
        let measure = self.measure(journals, disk);
        let (held, room) = (measure.held_bytes, measure.room_bytes);
        let reached = self.fill.look(now.monotonic, held, room)?;
        let all = journals.iter().enumerate();
        let (journal, fullest) = all.max_by_key(|(_, journal)| held_bytes(journal))?;
        let (stream, _) = fullest.lowest()?;
        Some(Decision::Warn {
            reached,
            journal,
            stream,
        })
    }

    /// Has a spare made where some are missing and room allows it.
    fn refill(&mut self, journals: &[JournalView<'_>], disk: DiskRoom) -> Option<Decision> {
        if self.refused || self.filling.is_some() {
            return None;
        }
        let wants = |journal: &JournalView<'_>| journal.spares_ready < journal.spares_wanted;
        let at = journals.iter().position(wants)?;
        self.fits(journals, disk, journals[at].file_bytes)
            .then(|| self.make(at, false))
    }

    fn make(&mut self, journal: usize, hurry: bool) -> Decision {
        let hurried = hurry;
        self.filling = Some(Filling { journal, hurried });
        Decision::Make { journal, hurry }
    }

    fn bytes(&self, journals: &[JournalView<'_>]) -> u64 {
        let filling = self
            .filling
            .map(|filling| journals[filling.journal].file_bytes);
        journals.iter().map(JournalView::bytes).sum::<u64>() + filling.unwrap_or_default()
    }

    fn bytes_max(&self, disk: DiskRoom) -> u64 {
        match self.settings.bytes_max {
            RoomLimit::Bytes(bytes) => bytes,
            RoomLimit::Percent(percent) => disk.total_bytes / 100 * u64::from(percent),
        }
    }
}

/// Bytes of segments that a stream still needs.
fn held_bytes(journal: &JournalView<'_>) -> u64 {
    let lowest = journal.lowest();
    lowest.map_or(0, |(_, lane)| journal.held_bytes(lane.cursor))
}

fn oldest_delivered_of_all<'a>(journals: &[JournalView<'a>]) -> Option<(usize, &'a SegmentEntry)> {
    let all = journals.iter().enumerate();
    let delivered = all.filter_map(|(at, journal)| Some((at, journal.oldest_delivered()?)));
    delivered.min_by_key(|(_, entry)| entry.last_used)
}

/// A stream that fails for longer than it may hold events, and holds some that long.
fn held_too_long(journals: &[JournalView<'_>], now: Now) -> Option<Decision> {
    lanes(journals).find_map(|(journal, stream)| {
        let lane = &journals[journal].lanes[stream];
        let (hold_max, since) = (lane.policy.hold_max?, lane.failing_since?);
        if now.monotonic < since + hold_max {
            return None;
        }
        let received = now.wall.0.saturating_sub_unsigned(as_micros(hold_max));
        let received = Timestamp(received);
        let to = journals[journal].end_of_received_before(stream, received)?;
        Some(Decision::Discard {
            journal,
            stream,
            to,
            reason: DiscardReason::HoldMax,
        })
    })
}

/// A stream that holds more bytes than it may: it gives up what is needed where it holds most.
fn held_too_much(journals: &[JournalView<'_>]) -> Option<Decision> {
    let streams = journals.first()?.lanes.iter().enumerate();
    let mut limited =
        streams.filter_map(|(stream, lane)| Some((stream, lane.policy.backlog_bytes_max?)));
    limited.find_map(|(stream, bytes_max)| {
        let held = journals.iter().map(|journal| journal.held_by(stream));
        let excess = held.sum::<u64>().checked_sub(bytes_max)?;
        let excess = Some(excess).filter(|excess| *excess > 0)?;
        let all = journals.iter().enumerate();
        let (journal, fullest) = all.max_by_key(|(_, journal)| journal.held_by(stream))?;
        let to = fullest.end_of_excess(stream, excess)?;
        Some(Decision::Discard {
            journal,
            stream,
            to,
            reason: DiscardReason::BacklogMax,
        })
    })
}

/// Every stream in every journal.
fn lanes(journals: &[JournalView<'_>]) -> impl Iterator<Item = (usize, usize)> {
    let all = journals.iter().enumerate();
    all.flat_map(|(at, journal)| (0..journal.lanes.len()).map(move |stream| (at, stream)))
}

fn as_micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
