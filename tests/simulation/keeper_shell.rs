//! The keeper as its thread drives it: the planner `Room` decides, and what it decides is done
//! here on the memory disk, to the shards and to the lanes' holds. A spare takes its time.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use weir::journal::keeper::Hold;
use weir::journal::keeper::room::{Decision, Room};
use weir::journal::keeper::view::{JournalView, LaneView};
use weir::journal::segments::{SegmentEntry, spare_number_highest};
use weir::journal::settings::RoomSettings;
use weir::journal::writer::SegmentOrder;
use weir::metrics::ledger::DiscardReason;
use weir::os::clock::Now;
use weir::os::disk::Disk as _;
use weir::os::memory_disk::MemoryDisk;
use weir::position::Offset;

use crate::journal_shell::JournalShell;
use crate::mutations::Mutation;

/// Spares to keep ready for each journal.
const SPARES: usize = 1;

/// What the run has to know of what the keeper did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// A segment was put to use, or not.
    Opened { journal: usize, opened: bool },
    /// The events of a segment are let go of; when the disk refused, they may be.
    Taken {
        journal: usize,
        end: Offset,
        refused: bool,
    },
    /// A stream is told to give up what is below.
    Discard {
        journal: usize,
        stream: usize,
        to: Offset,
        reason: DiscardReason,
    },
    /// Anything else, for the trace.
    Other(String),
}

#[derive(Debug)]
pub(crate) struct KeeperShell {
    room: Room,
    journals: Vec<KeptJournal>,
    /// The spare being made: for which journal, and its number.
    making: Option<(usize, u64)>,
    disk: MemoryDisk,
    mutation: Option<Mutation>,
}

#[derive(Debug)]
struct KeptJournal {
    spares: VecDeque<PathBuf>,
    spare_number: u64,
    order: Option<SegmentOrder>,
    holds: Vec<Arc<Hold>>,
}

impl KeeperShell {
    /// A keeper of these journals; finds the spares of an earlier life.
    pub(crate) fn open(
        disk: &MemoryDisk,
        settings: RoomSettings,
        journals: &[JournalShell],
        holds: Vec<Vec<Arc<Hold>>>,
        mutation: Option<Mutation>,
    ) -> io::Result<Self> {
        let mut kept = Vec::new();
        for (shell, holds) in journals.iter().zip(holds) {
            let spares: VecDeque<_> = shell.files.find_spares()?.into();
            let spare_number = spare_number_highest(&spares);
            kept.push(KeptJournal {
                spares,
                spare_number,
                order: None,
                holds,
            });
        }
        Ok(Self {
            room: Room::new(settings, kept.len()),
            journals: kept,
            making: None,
            disk: disk.clone(),
            mutation,
        })
    }

    pub(crate) fn look(&mut self) {
        self.room.look();
    }

    /// True when no journal waits for a segment.
    pub(crate) fn is_idle(&self) -> bool {
        self.journals.iter().all(|kept| kept.order.is_none())
    }

    /// A file that waits to become a segment.
    pub(crate) fn a_spare(&self, journal: usize) -> Option<PathBuf> {
        self.journals[journal].spares.front().cloned()
    }

    /// Does what there is to do.
    pub(crate) fn act(&mut self, journals: &mut [JournalShell], now: Now) -> Vec<Kept> {
        let mut done = Vec::new();
        for (at, shell) in journals.iter_mut().enumerate() {
            if let Some(order) = shell.order.take() {
                self.journals[at].order = Some(order);
                self.room.order(at);
            }
        }
        loop {
            let Ok(disk) = self.disk.room(Path::new("/d")) else {
                self.fail_all(journals);
                return done;
            };
            let next = self.with_views(journals, |room, views| room.next(views, disk, now));
            match next {
                Some(decision) => done.push(self.perform(decision, journals, now)),
                None => return done,
            }
        }
    }

    /// The spare that is being made is done, or the disk refused.
    pub(crate) fn finish_spare(&mut self, journals: &mut [JournalShell]) -> Option<bool> {
        let (at, number) = self.making.take()?;
        let files = &journals[at].files;
        let made = files.make_spare(number, &AtomicBool::new(true));
        self.room.made();
        match made {
            Ok(spare) => {
                self.journals[at].spares.push_back(spare);
                Some(true)
            }
            Err(_) => {
                self.room.refused();
                self.fail(at, &mut journals[at]);
                Some(false)
            }
        }
    }

    fn perform(&mut self, decision: Decision, journals: &mut [JournalShell], now: Now) -> Kept {
        match decision {
            Decision::Open { journal } => {
                let opened = self.put_to_use(journal, &mut journals[journal], now);
                Kept::Opened { journal, opened }
            }
            Decision::Make { journal, .. } => {
                let kept = &mut self.journals[journal];
                kept.spare_number += 1;
                self.making = Some((journal, kept.spare_number));
                Kept::Other(format!("a spare for {journal} is begun"))
            }
            Decision::Take {
                journal,
                sequence,
                as_spare,
                ..
            } => {
                let entry = journals[journal].catalog.view().get(&sequence).cloned();
                let entry = entry.expect("the planner saw it");
                let taken = self.take(journal, &entry, as_spare, &journals[journal]);
                if taken.is_err() {
                    self.room.refused();
                    self.fail_all(journals);
                }
                Kept::Taken {
                    journal,
                    end: entry.end.unwrap_or(entry.first),
                    refused: taken.is_err(),
                }
            }
            Decision::DropSpare { journal } => {
                let dropped = self.drop_spare(journal, &journals[journal]);
                if !dropped {
                    self.fail_all(journals);
                }
                Kept::Other(format!("a spare of {journal} is dropped: {dropped}"))
            }
            Decision::Discard {
                journal,
                stream,
                to,
                reason,
            } => {
                self.journals[journal].holds[stream].order_discard(to, reason);
                Kept::Discard {
                    journal,
                    stream,
                    to,
                    reason,
                }
            }
            Decision::Refuse { journal } => {
                journals[journal].full = true;
                Kept::Other(format!("{journal} is full"))
            }
            Decision::Hurry | Decision::Warn { .. } | Decision::TellJump { .. } => {
                Kept::Other(format!("{decision:?}"))
            }
        }
    }

    fn put_to_use(&mut self, journal: usize, shell: &mut JournalShell, now: Now) -> bool {
        let kept = &mut self.journals[journal];
        let (Some(spare), Some(order)) = (kept.spares.pop_front(), &kept.order) else {
            panic!("the planner opens what is ordered, with a spare");
        };
        match shell.files.put_to_use(&spare, order, now.wall) {
            Ok((opened, entry)) => {
                shell.catalog.add(entry);
                shell.core.opened(opened);
                shell.full = false;
                kept.order = None;
                self.room.answered(journal);
                true
            }
            Err(_) => {
                if shell.files.take_back(&spare, order).is_ok() {
                    kept.spares.push_back(spare);
                }
                self.room.refused();
                self.fail(journal, shell);
                false
            }
        }
    }

    /// As the keeper takes a segment.
    fn take(
        &mut self,
        at: usize,
        entry: &SegmentEntry,
        as_spare: bool,
        shell: &JournalShell,
    ) -> io::Result<()> {
        let JournalShell { files, catalog, .. } = shell;
        let kept = &mut self.journals[at];
        catalog.remove(entry.sequence);
        let taken = if as_spare {
            kept.spare_number += 1;
            let spare = files.recycle(entry, kept.spare_number);
            spare.map(|spare| kept.spares.push_back(spare))
        } else {
            files.remove(entry)
        };
        if taken.is_err() && self.disk.exists(&entry.path).unwrap_or(true) {
            catalog.add(entry.clone());
        }
        taken
    }

    fn drop_spare(&mut self, at: usize, shell: &JournalShell) -> bool {
        let spares = &mut self.journals[at].spares;
        let spare = spares.pop_back().expect("the planner saw one");
        let removed = shell.files.remove_spare(&spare).is_ok();
        if !removed && self.disk.exists(&spare).unwrap_or(true) {
            spares.push_back(spare);
        }
        if !removed {
            self.room.refused();
        }
        removed
    }

    /// The shard hears that its order came to nothing, and waits before it orders again.
    fn fail(&mut self, journal: usize, shell: &mut JournalShell) {
        if self.journals[journal].order.take().is_some() {
            shell.core.open_failed();
            shell.paused = true;
        }
        self.room.answered(journal);
    }

    fn fail_all(&mut self, journals: &mut [JournalShell]) {
        for (journal, shell) in journals.iter_mut().enumerate() {
            self.fail(journal, shell);
        }
    }

    fn with_views<T>(
        &mut self,
        journals: &[JournalShell],
        look: impl FnOnce(&mut Room, &[JournalView<'_>]) -> T,
    ) -> T {
        let catalogs = Vec::from_iter(journals.iter().map(|shell| shell.catalog.view()));
        let blind = self.mutation == Some(Mutation::RetentionIgnoresCursors);
        let lane = |hold: &'_ Arc<Hold>| (hold.cursor(), hold.discard_order());
        let lanes = Vec::from_iter(self.journals.iter().map(|kept| {
            let holds = kept.holds.iter().map(|hold| {
                let (cursor, ordered) = lane(hold);
                LaneView {
                    policy: hold.policy(),
                    cursor: if blind { Offset(u64::MAX) } else { cursor },
                    failing_since: hold.failing_since(),
                    ordered: ordered.map(|order| order.to),
                }
            });
            Vec::from_iter(holds)
        }));
        let shown = journals.iter().zip(&self.journals);
        let views = shown.zip(catalogs.iter().zip(&lanes));
        let views = views.map(|((shell, kept), (segments, lanes))| JournalView {
            segments,
            lanes,
            file_bytes: shell.files.file_bytes,
            spares_ready: kept.spares.len(),
            spares_wanted: SPARES,
        });
        look(&mut self.room, &Vec::from_iter(views))
    }
}
