//! Segment files: their names, how they are made ready, put to use and sealed, and the
//! catalog of those in use.
//!
//! A spare is a file of the full length with zeros written and synced, so that writing into
//! it later changes no metadata of the file system (a merely allocated file makes a sync a
//! hundred times slower). Putting one to use writes the header, renames it and syncs the
//! directory; only then may a block go in.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::journal::floor::Floor;
use crate::journal::format::SegmentHeader;
use crate::journal::recovery::quarantine::Quarantine;
use crate::journal::writer::{OpenedSegment, SealOrder, SegmentEnd, SegmentOrder};
use crate::limits::DISK_PAGE_BYTES;
use crate::os::buffers::AlignedBuffer;
use crate::os::disk::{Disk, DiskFile, OpenMode};
use crate::position::{JournalId, Offset, SegmentId, Timestamp};

/// Bytes written at a time while a spare is filled with zeros.
const ZEROS_BYTES: usize = 256 * 1024;

/// Pause between two pieces of zeros while no one waits for the spare: 256 MB a second at most,
/// so that the journal's own writes do not wait behind 128 MiB of zeros in the disk's queue.
const GENTLE_PAUSE: Duration = Duration::from_millis(1);

/// Name of a segment file: sequence and first offset, so that sorting by name sorts by age.
#[must_use]
pub fn file_name(sequence: u64, first: Offset) -> String {
    format!("{sequence:012}-{:020}.seg", first.0)
}

/// Sequences stay below: a segment a millisecond takes 30 years to get there.
const SEQUENCE_MAX: u64 = 1_000_000_000_000;

/// Reads a segment's name; `None` for a file that is none.
#[must_use]
pub fn parse_file_name(name: &str) -> Option<(u64, Offset)> {
    let (sequence, first) = name.strip_suffix(".seg")?.split_once('-')?;
    let parsed = (sequence.parse().ok()?, Offset(first.parse().ok()?));
    // Only names this module makes: no sign, no other width.
    (parsed.0 < SEQUENCE_MAX && file_name(parsed.0, parsed.1) == name).then_some(parsed)
}

/// The highest number in the names of spares; 0 when there is none.
#[must_use]
pub fn spare_number_highest<'a>(spares: impl IntoIterator<Item = &'a PathBuf>) -> u64 {
    let number = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?;
        let number = name.strip_prefix("spare-")?.strip_suffix(".spare")?;
        number.parse().ok()
    };
    spares.into_iter().filter_map(number).max().unwrap_or(0)
}

/// Makes and handles the segment files of one journal.
#[derive(Debug, Clone)]
pub struct SegmentFiles {
    /// Where the files are.
    pub disk: Arc<dyn Disk>,
    /// Directory of the journal.
    pub dir: PathBuf,
    /// The journal.
    pub journal: JournalId,
    /// Random id of the node.
    pub node: [u8; 16],
    /// Length of a segment.
    pub file_bytes: u64,
    /// Bypass the page cache.
    pub direct: bool,
}

impl SegmentFiles {
    /// Makes a spare: full length, zeros written, durable; gently until `hurry` says that
    /// someone waits.
    ///
    /// # Errors
    /// When the disk refuses; nothing is left behind then.
    pub fn make_spare(&self, number: u64, hurry: &AtomicBool) -> io::Result<PathBuf> {
        let making = self.dir.join(format!("spare-{number}.making"));
        let spare = self.spare_path(number);
        let made = self.fill_with_zeros(&making, hurry).and_then(|()| {
            self.disk.rename(&making, &spare)?;
            self.disk.sync_dir(&self.dir)
        });
        match made {
            Ok(()) => Ok(spare),
            Err(error) => {
                // The disk is in trouble already; what cannot be removed is found at start.
                drop(self.disk.remove(&making));
                drop(self.disk.remove(&spare));
                Err(error)
            }
        }
    }

    /// Spares and half-made ones of an earlier run: the first are used, the others removed.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn find_spares(&self) -> io::Result<Vec<PathBuf>> {
        let mut spares = Vec::new();
        for name in self.disk.list(&self.dir)? {
            let path = self.dir.join(&name);
            if name.starts_with("spare-") && name.ends_with(".making") {
                self.discard_spare(&path);
            } else if name.starts_with("spare-") && name.ends_with(".spare") {
                if self.is_spare(&path) {
                    spares.push(path);
                } else {
                    self.discard_spare(&path);
                }
            }
        }
        Ok(spares)
    }

    /// A file of the right length that can be written.
    fn is_spare(&self, path: &Path) -> bool {
        let len = self
            .disk
            .open(path, self.write_mode())
            .and_then(|file| file.len());
        len.is_ok_and(|len| len == self.file_bytes)
    }

    /// Removes what is no spare. Where the disk refuses it stays: a directory by that name, say,
    /// is in nobody's way.
    fn discard_spare(&self, path: &Path) {
        if let Err(error) = self.disk.remove(path) {
            tracing::warn!(path = %path.display(), %error, "remove what is no spare");
        }
    }

    /// Puts a spare to use as the ordered segment.
    ///
    /// # Errors
    /// When the disk refuses. The file may be a segment without blocks then, which the next
    /// start passes over.
    pub fn put_to_use(
        &self,
        spare: &Path,
        order: &SegmentOrder,
        now: Timestamp,
    ) -> io::Result<(OpenedSegment, SegmentEntry)> {
        let header = SegmentHeader {
            journal: self.journal,
            segment: SegmentId::random(),
            node: self.node,
            sequence: order.sequence,
            first: order.first,
            file_bytes: self.file_bytes,
            created: now,
            chain: order.chain,
        };
        let file = self.disk.open(spare, self.write_mode())?;
        // A sequence is used once, even when nothing is left of the file that had it.
        Floor::note(self, order.first, order.sequence + 1)?;
        let mut page = AlignedBuffer::with_capacity(DISK_PAGE_BYTES);
        page.extend_from_slice(&header.encode());
        file.write_durable_at(page.as_slice(), 0)?;
        let path = self.dir.join(file_name(order.sequence, order.first));
        self.disk.rename(spare, &path)?;
        self.disk.sync_dir(&self.dir)?;
        let entry = SegmentEntry {
            sequence: order.sequence,
            segment: header.segment,
            first: order.first,
            end: None,
            path,
            file_bytes: self.file_bytes,
            last_used: now,
        };
        let file_bytes = self.file_bytes;
        Ok((
            OpenedSegment {
                segment: header.segment,
                file,
                file_bytes,
            },
            entry,
        ))
    }

    /// Makes a spare of a segment that is no longer needed: the next header gives it a new id,
    /// under which none of its old blocks is valid.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn recycle(&self, entry: &SegmentEntry, number: u64) -> io::Result<PathBuf> {
        Floor::raise_over(self, entry)?;
        let spare = self.spare_path(number);
        self.disk.rename(&entry.path, &spare)?;
        let synced = self.disk.sync_dir(&self.dir);
        if synced.is_err() {
            // After a crash it may have its old name: under a new one nothing may be written.
            self.disk.rename(&spare, &entry.path)?;
        }
        synced.map(|()| spare)
    }

    /// Where the spare of that number lies.
    #[must_use]
    pub fn spare_path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("spare-{number}.spare"))
    }

    /// Makes a spare again of what [`Self::put_to_use`] could not put to use. Where it has got
    /// its new name already, the old one is made durable first: what a spare becomes next must
    /// not be found under a name of before.
    ///
    /// # Errors
    /// When the disk refuses; the next start finds it.
    pub fn take_back(&self, spare: &Path, order: &SegmentOrder) -> io::Result<()> {
        if self.disk.exists(spare)? {
            return Ok(());
        }
        let named = self.dir.join(file_name(order.sequence, order.first));
        self.disk.rename(&named, spare)?;
        self.disk.sync_dir(&self.dir)
    }

    /// Removes a spare.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove_spare(&self, spare: &Path) -> io::Result<()> {
        self.disk.remove(spare)?;
        self.disk.sync_dir(&self.dir)
    }

    /// Removes a segment that is no longer needed, durably, under a floor that says so.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(&self, entry: &SegmentEntry) -> io::Result<()> {
        Floor::raise_over(self, entry)?;
        self.disk.remove(&entry.path)?;
        self.disk.sync_dir(&self.dir)
    }

    /// Writes index and trailer of a full segment.
    ///
    /// # Errors
    /// When the disk refuses; the next start rebuilds them.
    pub fn seal(&self, order: &SealOrder) -> io::Result<()> {
        let mut index = AlignedBuffer::with_capacity(order.index.len());
        index.extend_from_slice(&order.index);
        index.pad_to_page();
        if !index.is_empty() {
            order
                .file
                .write_at(index.as_slice(), order.trailer.blocks_end)?;
        }
        // The trailer vouches for the index, so the index is durable first.
        order.file.sync()?;
        let mut page = AlignedBuffer::with_capacity(DISK_PAGE_BYTES);
        page.extend_from_slice(&order.trailer.encode());
        order
            .file
            .write_durable_at(page.as_slice(), order.file_bytes - DISK_PAGE_BYTES as u64)?;
        Floor::note(self, order.trailer.end, order.sequence + 1)
    }

    /// How segments are opened for writing.
    #[must_use]
    pub fn write_mode(&self) -> OpenMode {
        OpenMode {
            write: true,
            create: false,
            direct: self.direct,
        }
    }

    fn fill_with_zeros(&self, path: &Path, hurry: &AtomicBool) -> io::Result<()> {
        let mode = OpenMode {
            write: true,
            create: true,
            direct: self.direct,
        };
        let file: Arc<dyn DiskFile> = self.disk.open(path, mode)?;
        file.set_len(self.file_bytes)?;
        let zeros = AlignedBuffer::zeroed(ZEROS_BYTES);
        let mut position = 0;
        while position < self.file_bytes {
            let left = usize::try_from(self.file_bytes - position).unwrap_or(ZEROS_BYTES);
            let piece = &zeros.as_slice()[..left.min(ZEROS_BYTES)];
            file.write_at(piece, position)?;
            position += piece.len() as u64;
            if !hurry.load(Ordering::Relaxed) {
                std::thread::sleep(GENTLE_PAUSE);
            }
        }
        file.sync()
    }
}

/// A segment in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentEntry {
    /// Its sequence.
    pub sequence: u64,
    /// Its id.
    pub segment: SegmentId,
    /// Offset of its first event.
    pub first: Offset,
    /// One past its last event; `None` while it is written.
    pub end: Option<Offset>,
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub file_bytes: u64,
    /// Latest receive time in it, or when it was put to use.
    pub last_used: Timestamp,
}

/// The segments of one journal, shared by its writer, readers and retention.
#[derive(Debug, Default)]
pub struct Catalog {
    segments: Mutex<BTreeMap<u64, SegmentEntry>>,
    /// Where readers put what they find damaged; set when the journal is recovered.
    quarantine: OnceLock<Arc<Quarantine>>,
}

impl Catalog {
    /// Adds a segment, or replaces the one of that sequence.
    pub fn add(&self, entry: SegmentEntry) {
        self.lock().insert(entry.sequence, entry);
    }

    /// Nothing more goes to the segment.
    pub fn close(&self, segment: &SegmentEnd) {
        if let Some(entry) = self.lock().get_mut(&segment.sequence) {
            entry.end = Some(segment.end);
            entry.last_used = entry.last_used.max(segment.received_last);
        }
    }

    /// True while the segment of that sequence is in use: its file is not yet another's.
    #[must_use]
    pub fn holds(&self, sequence: u64) -> bool {
        self.lock().contains_key(&sequence)
    }

    /// Gives the journal's readers a quarantine; the first one stays.
    pub fn set_quarantine(&self, quarantine: Arc<Quarantine>) {
        // A journal is recovered once in a run; a second quarantine would tell things twice.
        drop(self.quarantine.set(quarantine));
    }

    /// Where readers put what they find damaged.
    #[must_use]
    pub fn quarantine(&self) -> Option<&Arc<Quarantine>> {
        self.quarantine.get()
    }

    /// Takes a segment out, before its file is removed.
    pub fn remove(&self, sequence: u64) {
        self.lock().remove(&sequence);
    }

    /// The segment that holds `offset`, or else the first one behind it. For an offset held
    /// twice the higher sequence wins.
    #[must_use]
    pub fn find(&self, offset: Offset) -> Option<SegmentEntry> {
        let segments = self.lock();
        let holds = |entry: &&SegmentEntry| {
            entry.first <= offset && entry.end.is_none_or(|end| offset < end)
        };
        let holder = segments.values().rev().find(holds);
        let behind = || {
            segments
                .values()
                .filter(|entry| entry.first > offset)
                .min_by_key(|entry| entry.first)
        };
        holder.or_else(behind).cloned()
    }

    /// First offset still held.
    #[must_use]
    pub fn start(&self) -> Option<Offset> {
        self.lock().values().map(|entry| entry.first).min()
    }

    /// The segments by sequence, without a copy; nobody else sees the catalog meanwhile.
    pub fn view(&self) -> impl std::ops::Deref<Target = BTreeMap<u64, SegmentEntry>> + '_ {
        self.lock()
    }

    /// All segments, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<SegmentEntry> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, SegmentEntry>> {
        // The map is whole between calls, whatever a panicking thread did elsewhere.
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
