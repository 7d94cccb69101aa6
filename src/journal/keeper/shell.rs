//! The keeper's thread: it shows the room to [`Room`] and does what comes of it, on the disk,
//! to the shards, to the lanes and to the audit log.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::Receiver;

use crate::audit::{Action, AuditLog, Notice};
use crate::journal::keeper::filler::Filler;
use crate::journal::keeper::hold::{Bell, Hold};
use crate::journal::keeper::room::{Decision, Room, TakeReason};
use crate::journal::keeper::view::{JournalView, LaneView};
use crate::journal::keeper::watch::{PAUSE_AFTER_JUMP, Reached};
use crate::journal::keeper::{Answer, KeeperCounters, KeeperRequest, KeptJournal, Ordered};
use crate::journal::segments::{SegmentEntry, spare_number_highest};
use crate::journal::settings::RoomSettings;
use crate::journal::writer::{SealOrder, SegmentOrder};
use crate::os::clock::Clock;
use crate::os::disk::DiskRoom;
use crate::position::{JournalId, Offset, OffsetRange};

/// How often retention looks, and a waiting order is tried again.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Decisions carried out before requests are heard again: retention may have thousands of
/// segments to remove, a directory sync each.
const DECISIONS_AT_ONCE: usize = 16;

/// Longest wait for a request; ticks come in between.
const IDLE: Duration = Duration::from_secs(3600);

/// The keeper; see [`crate::journal::keeper`].
#[derive(Debug)]
pub struct Keeper {
    pub(super) journals: Vec<Kept>,
    room: Room,
    clock: Arc<dyn Clock>,
    counters: Arc<KeeperCounters>,
    audit: AuditLog,
    filler: Filler,
    /// Lanes ring it when they have moved.
    bell: Arc<Bell>,
    heard: Receiver<()>,
}

/// A journal with its spares and its order.
pub(super) struct Kept {
    pub(super) journal: KeptJournal,
    pub(super) ready: VecDeque<PathBuf>,
    spare_number: u64,
    waiting: Option<(SegmentOrder, Answer)>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (dir, ready) = (&self.journal.files.dir, self.ready.len());
        write!(f, "Kept({dir:?}, {ready} ready)")
    }
}

impl Keeper {
    /// A keeper of these journals; finds the spares of an earlier run.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn new(
        journals: Vec<KeptJournal>,
        room: RoomSettings,
        clock: Arc<dyn Clock>,
        counters: Arc<KeeperCounters>,
        audit: AuditLog,
    ) -> io::Result<Self> {
        let (bell, heard) = Bell::new();
        let mut kept = Vec::new();
        for journal in journals {
            let ready: VecDeque<_> = journal.files.find_spares()?.into();
            let spare_number = spare_number_highest(&ready) + 1;
            journal.holds.iter().for_each(|hold| hold.attach(&bell));
            kept.push(Kept {
                journal,
                ready,
                spare_number,
                waiting: None,
            });
        }
        let mut keeper = Self {
            room: Room::new(room, kept.len()),
            journals: kept,
            clock,
            counters,
            audit,
            filler: Filler::start()?,
            bell,
            heard,
        };
        keeper.make_first_spares();
        keeper.count();
        Ok(keeper)
    }

    /// Makes one spare for every journal that has none, before the node takes events: the first
    /// events of a new node would otherwise wait for 128 MiB of zeros.
    fn make_first_spares(&mut self) {
        for at in 0..self.journals.len() {
            let kept = &mut self.journals[at];
            if !kept.ready.is_empty() || kept.journal.spares == 0 {
                continue;
            }
            kept.spare_number += 1;
            let (files, number) = (kept.journal.files.clone(), kept.spare_number);
            let fits = self.disk_room().map(|disk| {
                self.with_views(|room, journals| room.fits(journals, disk, files.file_bytes))
            });
            let made = match fits {
                Ok(true) => files.make_spare(number, &AtomicBool::new(true)),
                Ok(false) => continue,
                Err(error) => Err(error),
            };
            match made {
                Ok(spare) => self.journals[at].ready.push_back(spare),
                // Not fatal: the first order tries again and says so to the inputs.
                Err(error) => self.fail(at, "make a segment", &error),
            }
        }
    }

    /// Serves requests until [`KeeperRequest::Stop`] or all senders are gone.
    pub fn run(mut self, requests: &Receiver<KeeperRequest>) {
        let (made, heard) = (self.filler.made.clone(), self.heard.clone());
        let looks = crossbeam_channel::tick(LOOK_EVERY);
        let mut done = true;
        loop {
            let pause = if done { IDLE } else { Duration::ZERO };
            crossbeam_channel::select! {
                recv(requests) -> request => match request {
                    Ok(KeeperRequest::Open { journal, order, answer }) => {
                        self.order(journal, order, answer);
                    }
                    Ok(KeeperRequest::Seal { journal, order }) => self.seal(journal, &order),
                    Ok(KeeperRequest::Stop) | Err(_) => return,
                },
                recv(made) -> spare => match spare {
                    Ok(spare) => self.take_made(spare),
                    Err(_) => return,
                },
                // A lane did as it was told, or some lane moved while an order waits.
                recv(heard) -> _ => self.room.look(),
                recv(looks) -> _ => self.room.look(),
                default(pause) => {}
            }
            done = self.act();
        }
    }

    /// Takes an order; [`Self::act`] serves it.
    pub(super) fn order(&mut self, at: usize, order: SegmentOrder, answer: Answer) {
        self.journals[at].waiting = Some((order, answer));
        self.room.order(at);
    }

    /// A spare was made, or could not be.
    fn take_made(&mut self, made: io::Result<PathBuf>) {
        let Some(at) = self.room.made() else {
            return;
        };
        match made {
            Ok(spare) => self.journals[at].ready.push_back(spare),
            Err(error) => {
                self.fail(at, "make a segment", &error);
                self.answer(at, Ordered::Failed(error.to_string()));
            }
        }
    }

    /// Does what there is to do; false when there is more.
    pub(super) fn act(&mut self) -> bool {
        let mut done = false;
        for _ in 0..DECISIONS_AT_ONCE {
            let disk = match self.disk_room() {
                Ok(disk) => disk,
                Err(error) => {
                    self.fail(0, "ask for the file system's room", &error);
                    self.answer_all(&error);
                    done = true;
                    break;
                }
            };
            let now = self.clock.now();
            let next = self.with_views_mut(|room, journals| room.next(journals, disk, now));
            match next {
                Some(decision) => self.perform(decision),
                None => {
                    done = true;
                    break;
                }
            }
        }
        let wanted = self.room.is_wanted();
        self.bell.wanted.store(wanted, Ordering::Relaxed);
        self.count();
        done
    }

    fn perform(&mut self, decision: Decision) {
        match decision {
            Decision::Open { journal } => self.open(journal),
            Decision::Make { journal, hurry } => {
                let kept = &mut self.journals[journal];
                kept.spare_number += 1;
                let (files, number) = (kept.journal.files.clone(), kept.spare_number);
                self.filler.make(files, number, hurry);
            }
            Decision::Hurry => self.filler.hurry(),
            Decision::Take {
                journal,
                sequence,
                why,
                as_spare,
            } => self.take_segment(journal, sequence, why, as_spare),
            Decision::DropSpare { journal } => self.drop_spare(journal),
            Decision::Discard {
                journal,
                stream,
                to,
                reason,
            } => {
                let kept = &self.journals[journal].journal;
                let hold = &kept.holds[stream];
                tracing::warn!(
                    stream = %hold.stream(), journal = %kept.files.journal, %to,
                    reason = reason.as_str(), "the stream is told to discard its oldest events"
                );
                self.counters.discards.fetch_add(1, Ordering::Relaxed);
                hold.order_discard(to, reason);
            }
            Decision::Refuse { journal } => {
                self.counters.waits.fetch_add(1, Ordering::Relaxed);
                if let Some((_, answer)) = &self.journals[journal].waiting {
                    answer(Ordered::NoRoom);
                }
            }
            Decision::Warn {
                reached,
                journal,
                stream,
            } => self.warn(reached, journal, stream),
            Decision::TellJump { micros } => self.tell_jump(micros),
        }
    }

    /// Puts a ready spare to use for the journal's order.
    fn open(&mut self, at: usize) {
        let now = self.clock.now().wall;
        let kept = &mut self.journals[at];
        let (Some(spare), Some((order, _))) = (kept.ready.pop_front(), &kept.waiting) else {
            return;
        };
        let (files, catalog) = (&kept.journal.files, &kept.journal.catalog);
        let ordered = match files.put_to_use(&spare, order, now) {
            Ok((opened, entry)) => {
                catalog.add(entry);
                Ordered::Opened(opened)
            }
            Err(error) => {
                // Its room stays counted, as far as the disk lets it be one again.
                if files.take_back(&spare, order).is_ok() {
                    kept.ready.push_back(spare);
                }
                self.fail(at, "put a segment to use", &error);
                Ordered::Failed(error.to_string())
            }
        };
        self.answer(at, ordered);
    }

    /// Takes a delivered segment.
    fn take_segment(&mut self, at: usize, sequence: u64, why: TakeReason, as_spare: bool) {
        let entry = self.journals[at]
            .journal
            .catalog
            .view()
            .get(&sequence)
            .cloned();
        let Some(entry) = entry else {
            return;
        };
        if let Err(error) = self.take(at, &entry, as_spare) {
            self.fail(at, "take a segment", &error);
            self.answer_all(&error);
            if self.journals[at].journal.catalog.holds(sequence) {
                return;
            }
            // The file is gone, and only that it is may not be durable.
        }
        let journal = self.journals[at].journal.files.journal;
        self.audit.tell(notice_of_removal(&entry, journal, why));
        let counter = match why {
            TakeReason::Keep => &self.counters.expired,
            TakeReason::NoRoom => {
                tracing::warn!(
                    path = %entry.path.display(),
                    "room runs out: a delivered segment is given up before its time"
                );
                &self.counters.taken_early
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a segment out of its journal: every way a segment goes passes here. One of another
    /// journal is not used again but removed: a file's blocks of earlier uses have lower
    /// offsets than its own, which is how a segment without its header is read.
    fn take(&mut self, at: usize, entry: &SegmentEntry, as_spare: bool) -> io::Result<()> {
        let kept = &mut self.journals[at];
        let KeptJournal { files, catalog, .. } = &kept.journal;
        catalog.remove(entry.sequence);
        let taken = if as_spare {
            kept.spare_number += 1;
            let spare = files.recycle(entry, kept.spare_number);
            spare.map(|spare| kept.ready.push_back(spare))
        } else {
            files.remove(entry)
        };
        if taken.is_err() && files.disk.exists(&entry.path).unwrap_or(true) {
            // It is still there, and its events with it.
            catalog.add(entry.clone());
        }
        taken
    }

    /// Removes a ready spare.
    fn drop_spare(&mut self, at: usize) {
        let kept = &mut self.journals[at];
        let Some(spare) = kept.ready.pop_back() else {
            return;
        };
        let files = &kept.journal.files;
        if let Err(error) = files.remove_spare(&spare) {
            if files.disk.exists(&spare).unwrap_or(true) {
                kept.ready.push_back(spare);
            }
            self.fail(at, "remove a spare", &error);
            self.answer_all(&error);
        }
    }

    fn seal(&mut self, at: usize, order: &SealOrder) {
        let journal = &self.journals[at].journal;
        if let Err(error) = journal.files.seal(order) {
            self.fail(at, "seal a segment", &error);
        }
    }

    /// Answers the journal's order, if it has one, for good.
    fn answer(&mut self, at: usize, ordered: Ordered) {
        if let Some((_, answer)) = self.journals[at].waiting.take() {
            answer(ordered);
        }
        self.room.answered(at);
    }

    /// Nobody gets a segment now: the disk refuses what would make room.
    fn answer_all(&mut self, error: &io::Error) {
        for at in 0..self.journals.len() {
            self.answer(at, Ordered::Failed(error.to_string()));
        }
    }

    fn warn(&self, reached: Reached, journal: usize, stream: usize) {
        let Reached {
            level,
            held_bytes,
            room_bytes,
            left,
        } = reached;
        let kept = &self.journals[journal].journal;
        let hold = &kept.holds[stream];
        let (name, when_full) = (hold.stream(), hold.policy().when_full.as_str());
        let left = left.map_or("it does not shrink now".to_owned(), |left| {
            format!("{} s are left at this rate", left.as_secs())
        });
        let detail = format!(
            "undelivered events take {level} % of the room ({held_bytes} of {room_bytes} bytes); \
             stream {name} is furthest behind in journal {}, when_full = {when_full}; {left}",
            kept.files.journal
        );
        tracing::warn!(stream = %name, level, held_bytes, room_bytes, "{detail}");
        let reason = match level {
            95 => "above_95",
            85 => "above_85",
            _ => "above_70",
        };
        let notice = Notice::new(Action::RoomNotify, &**name, reason)
            .detail(detail)
            .bytes(held_bytes);
        // Before that inputs are far from having to wait.
        self.audit
            .tell(if level >= 95 { notice.failed() } else { notice });
    }

    fn tell_jump(&self, micros: i64) {
        let seconds = micros / 1_000_000;
        let minutes = PAUSE_AFTER_JUMP.as_secs() / 60;
        let detail = format!(
            "the wall clock jumped by {seconds} s: nothing is removed by its age for {minutes} min"
        );
        tracing::warn!(seconds, "{detail}");
        let notice = Notice::new(Action::RoomNotify, "", "clock_jump").detail(detail);
        self.audit.tell(notice);
    }

    fn disk_room(&self) -> io::Result<DiskRoom> {
        match self.journals.first() {
            Some(kept) => kept.journal.files.disk.room(&kept.journal.files.dir),
            None => Ok(DiskRoom {
                total_bytes: 0,
                free_bytes: 0,
            }),
        }
    }

    fn with_views<T>(&self, look: impl FnOnce(&Room, &[JournalView<'_>]) -> T) -> T {
        with_views(&self.journals, |views| look(&self.room, views))
    }

    fn with_views_mut<T>(&mut self, look: impl FnOnce(&mut Room, &[JournalView<'_>]) -> T) -> T {
        let room = &mut self.room;
        with_views(&self.journals, |views| look(room, views))
    }

    /// Publishes what is in use; what the disk does not say stays as it was.
    fn count(&self) {
        let Ok(disk) = self.disk_room() else {
            return;
        };
        let measure = self.with_views(|room, journals| room.measure(journals, disk));
        let counters = &self.counters;
        counters.bytes.store(measure.bytes, Ordering::Relaxed);
        counters
            .bytes_max
            .store(measure.bytes_max, Ordering::Relaxed);
        counters
            .held_bytes
            .store(measure.held_bytes, Ordering::Relaxed);
        counters
            .room_bytes
            .store(measure.room_bytes, Ordering::Relaxed);
    }

    fn fail(&mut self, at: usize, what: &str, error: &io::Error) {
        self.room.refused();
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        let journal: JournalId = self.journals[at].journal.files.journal;
        tracing::error!(%journal, %error, "{what}");
    }
}

/// Shows the journals as they are now. Their catalogs stand still meanwhile.
fn with_views<T>(kept: &[Kept], look: impl FnOnce(&[JournalView<'_>]) -> T) -> T {
    let catalogs: Vec<_> = kept
        .iter()
        .map(|kept| kept.journal.catalog.view())
        .collect();
    let lanes: Vec<Vec<LaneView<'_>>> = kept
        .iter()
        .map(|kept| {
            kept.journal
                .holds
                .iter()
                .map(|hold| view_of(hold))
                .collect()
        })
        .collect();
    let views: Vec<_> = kept
        .iter()
        .zip(&catalogs)
        .zip(&lanes)
        .map(|((kept, segments), lanes)| JournalView {
            segments,
            lanes,
            file_bytes: kept.journal.files.file_bytes,
            spares_ready: kept.ready.len(),
            spares_wanted: kept.journal.spares,
        })
        .collect();
    look(&views)
}

fn view_of(hold: &Hold) -> LaneView<'_> {
    LaneView {
        policy: hold.policy(),
        cursor: hold.cursor(),
        failing_since: hold.failing_since(),
        ordered: hold.discard_order().map(|order| order.to),
    }
}

fn notice_of_removal(entry: &SegmentEntry, journal: JournalId, why: TakeReason) -> Notice {
    let end: Offset = entry.end.unwrap_or(entry.first);
    let range = OffsetRange {
        first: entry.first,
        end,
    };
    Notice::new(Action::SegmentRemove, journal.to_string(), why.as_str())
        .range(journal, range)
        .bytes(entry.file_bytes)
}
