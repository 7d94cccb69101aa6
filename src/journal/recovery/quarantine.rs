//! The quarantine: damaged bytes are copied aside and alien files moved aside, never deleted,
//! each with a record that says what it was.
//!
//! A region has one name, of its journal, segment sequence and position, so it is copied and
//! told once, however many streams read it and however often the node starts. Copies are
//! bounded in bytes, records in number; above that a region is told and not copied. A failing
//! disk keeps nobody from starting or reading: what could not be copied is said.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde_json::json;

use crate::journal::format::ChainHash;
use crate::journal::recovery::findings::Finding;
use crate::journal::segments::SegmentFiles;
use crate::os::clock::{Clock, SystemClock};
use crate::os::disk::{Disk, OpenMode};
use crate::position::{JournalId, OffsetRange, SegmentId};

/// Bytes of all copies: eight whole segments. More damage than that is a disk to be replaced,
/// and the copies would take the room of events.
pub const QUARANTINE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Files in the quarantine, copies and records.
const FILES_MAX: usize = 10_000;

/// Bytes copied at a time.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Names tried for a file that is moved aside, when others have its name already.
const NAMES_MAX: u32 = 1_000;

/// Who is told of what is found while the node runs.
pub type Teller = Arc<dyn Fn(&Finding) + Send + Sync>;

/// The quarantine of a data directory.
pub struct Quarantine {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    bytes_max: u64,
    teller: OnceLock<Teller>,
    /// Names of what this run has recorded, or tried to.
    seen: Mutex<BTreeSet<String>>,
}

impl std::fmt::Debug for Quarantine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Quarantine({})", self.dir.display())
    }
}

/// A damaged region, as it is recorded.
#[derive(Debug, Clone)]
pub struct DamagedRegion {
    /// The journal.
    pub journal: JournalId,
    /// Sequence of the segment.
    pub sequence: u64,
    /// The segment.
    pub segment: SegmentId,
    /// The file.
    pub path: PathBuf,
    /// The bytes that do not hold.
    pub bytes: std::ops::Range<u64>,
    /// The events that were there.
    pub range: OffsetRange,
    /// What does not hold.
    pub error: String,
    /// Chain hash of the block before and of the last one lost, where known.
    pub heads: [Option<ChainHash>; 2],
}

impl Quarantine {
    /// The quarantine of the data directory a journal is in: `quarantine` beside `journal`.
    #[must_use]
    pub fn of(files: &SegmentFiles) -> Self {
        let journals = files.dir.parent().unwrap_or(&files.dir);
        let data_dir = journals.parent().unwrap_or(journals);
        Self::new(Arc::clone(&files.disk), data_dir)
    }

    /// The quarantine of a data directory. It is made when something is put into it.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, data_dir: &Path) -> Self {
        Self {
            disk,
            dir: data_dir.join("quarantine"),
            clock: Arc::new(SystemClock),
            bytes_max: QUARANTINE_BYTES_MAX,
            teller: OnceLock::new(),
            seen: Mutex::default(),
        }
    }

    /// Names who is told of what readers find; the first one stays. Until then it is logged.
    pub fn tell_to(&self, teller: Teller) {
        // Two tellers would tell everything twice.
        drop(self.teller.set(teller));
    }

    /// The same, with another bound on the bytes of all copies.
    #[must_use]
    pub fn with_bytes_max(self, bytes_max: u64) -> Self {
        Self { bytes_max, ..self }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Copies a damaged region aside and records it, durably; `None` when that was done before,
    /// by this run or an earlier one.
    pub fn keep(&self, region: &DamagedRegion) -> Option<Finding> {
        let name = format!(
            "{}-{:012}-{:012}",
            region.journal, region.sequence, region.bytes.start
        );
        if !self.is_new(&name) {
            return None;
        }
        let copy = self.copy(region, &format!("{name}.bytes"));
        let copy = copy.unwrap_or_else(|error| {
            tracing::error!(%error, path = %region.path.display(), "copy damaged bytes aside");
            None
        });
        let DamagedRegion { bytes, range, .. } = region;
        let [before, after] = region.heads.map(|head| head.map(hex));
        let record = json!({
            "what": "damaged",
            "time_us": self.clock.now().wall.0,
            "journal": region.journal.to_string(),
            "sequence": region.sequence,
            "segment": region.segment.to_string(),
            "file": region.path.file_name().unwrap_or_default().to_string_lossy(),
            "bytes": [bytes.start, bytes.end],
            "events": [range.first.0, range.end.0],
            "error": region.error,
            "chain_before": before,
            "chain_after": after,
            "copied": copy.is_some(),
        });
        self.record(&name, &record);
        Some(Finding::Damaged {
            journal: region.journal,
            path: region.path.clone(),
            bytes: bytes.clone(),
            range: *range,
            error: region.error.clone(),
            heads: region.heads,
            copy,
        })
    }

    /// Records, durably, that events are in no segment; `None` when that was done before.
    pub fn miss(
        &self,
        journal: JournalId,
        range: OffsetRange,
        heads: [Option<ChainHash>; 2],
    ) -> Option<Finding> {
        let name = format!("{journal}-missing-{}-{}", range.first, range.end);
        if !self.is_new(&name) {
            return None;
        }
        let [before, after] = heads.map(|head| head.map(hex));
        let record = json!({
            "what": "missing",
            "time_us": self.clock.now().wall.0,
            "journal": journal.to_string(),
            "events": [range.first.0, range.end.0],
            "chain_before": before,
            "chain_after": after,
        });
        self.record(&name, &record);
        Some(Finding::Missing { journal, range })
    }

    /// Moves a file that is none of a journal's aside; it stays where it is when the disk
    /// refuses that.
    pub fn take_in(&self, journal: JournalId, path: &Path, error: &str) -> Finding {
        let moved = self.move_in(journal, path).unwrap_or_else(|refused| {
            tracing::error!(path = %path.display(), error = %refused, "move an alien file aside");
            None
        });
        Finding::Alien {
            path: path.to_owned(),
            error: error.to_owned(),
            moved,
        }
    }

    /// Tells what a reader found.
    pub fn tell(&self, finding: &Finding) {
        match self.teller.get() {
            Some(teller) => teller(finding),
            None => tracing::error!("{finding}"),
        }
    }

    /// Tells what a reader found, unless this run did so under the same name.
    pub fn tell_once(&self, name: &str, finding: &Finding) {
        if self.is_new(name) {
            self.tell(finding);
        }
    }

    /// True once for each name that has no record yet.
    fn is_new(&self, name: &str) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.dir.join(format!("{name}.json"));
        let new = seen.insert(name.to_owned()) && !self.disk.exists(&path).unwrap_or(false);
        // A bounded memory: what falls out is found on disk again.
        if seen.len() > FILES_MAX {
            seen.pop_first();
        }
        new
    }

    fn move_in(&self, journal: JournalId, path: &Path) -> io::Result<Option<PathBuf>> {
        self.disk.create_dir_all(&self.dir)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        for number in 0..NAMES_MAX {
            let target = match number {
                0 => self.dir.join(format!("{journal}-{name}")),
                _ => self.dir.join(format!("{journal}-{name}.{number}")),
            };
            if self.disk.exists(&target)? {
                continue;
            }
            self.disk.rename(path, &target)?;
            self.disk.sync_dir(&self.dir)?;
            self.disk.sync_dir(path.parent().unwrap_or(&self.dir))?;
            return Ok(Some(target));
        }
        Ok(None)
    }

    /// Copies the bytes of a region; `None` when there is no room for them here, or nothing
    /// but zeros to copy.
    fn copy(&self, region: &DamagedRegion, name: &str) -> io::Result<Option<PathBuf>> {
        self.disk.create_dir_all(&self.dir)?;
        let source = self.disk.open(&region.path, READ)?;
        let end = region.bytes.end.min(source.len()?);
        let end = without_zeros_at_end(&*source, region.bytes.start..end)?;
        let bytes = end.saturating_sub(region.bytes.start);
        if bytes == 0 || self.bytes_used()?.saturating_add(bytes) > self.bytes_max {
            return Ok(None);
        }
        let path = self.dir.join(name);
        let copied = self.copy_bytes(&*source, region.bytes.start..end, &path);
        if let Err(error) = copied {
            // Half a copy is of no use, and would hold room that may be short.
            drop(self.disk.remove(&path));
            return Err(error);
        }
        Ok(Some(path))
    }

    fn copy_bytes(
        &self,
        source: &dyn crate::os::disk::DiskFile,
        bytes: std::ops::Range<u64>,
        path: &Path,
    ) -> io::Result<()> {
        let target = self.disk.open(path, WRITE)?;
        target.set_len(0)?;
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut position = bytes.start;
        while position < bytes.end {
            let wanted = usize::try_from(bytes.end - position).unwrap_or(CHUNK_BYTES);
            let piece = &mut buffer[..wanted.min(CHUNK_BYTES)];
            let read = source.read_at(piece, position)?;
            if read == 0 {
                break;
            }
            target.write_at(&piece[..read], position - bytes.start)?;
            position += read as u64;
        }
        target.sync()?;
        self.disk.sync_dir(&self.dir)
    }

    /// Bytes of all copies; everything counts as used when there are too many files.
    fn bytes_used(&self) -> io::Result<u64> {
        let names = self.disk.list(&self.dir)?;
        if names.len() >= FILES_MAX {
            return Ok(u64::MAX);
        }
        let copies = names.iter().filter(|name| name.ends_with(".bytes"));
        let lengths = copies.map(|name| self.disk.open(&self.dir.join(name), READ)?.len());
        lengths.sum()
    }

    fn record(&self, name: &str, record: &serde_json::Value) {
        if let Err(error) = self.write_record(name, record) {
            tracing::error!(%error, name, "record what is in quarantine");
        }
    }

    /// The record is whole when it has its name: written beside it, synced, renamed.
    fn write_record(&self, name: &str, record: &serde_json::Value) -> io::Result<()> {
        self.disk.create_dir_all(&self.dir)?;
        if self.disk.list(&self.dir)?.len() >= FILES_MAX {
            let why = format!("{} has {FILES_MAX} files", self.dir.display());
            return Err(io::Error::other(why));
        }
        let (making, path) = (
            self.dir.join(format!("{name}.new")),
            self.dir.join(format!("{name}.json")),
        );
        let file = self.disk.open(&making, WRITE)?;
        file.set_len(0)?;
        file.write_at(format!("{record:#}\n").as_bytes(), 0)?;
        file.sync()?;
        self.disk.rename(&making, &path)?;
        self.disk.sync_dir(&self.dir)
    }
}

const READ: OpenMode = OpenMode {
    write: false,
    create: false,
    direct: false,
};

const WRITE: OpenMode = OpenMode {
    write: true,
    create: true,
    direct: false,
};

/// Where the bytes of a range end that are not just zeros.
fn without_zeros_at_end(
    file: &dyn crate::os::disk::DiskFile,
    bytes: std::ops::Range<u64>,
) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let (mut position, mut end) = (bytes.start, bytes.start);
    while position < bytes.end {
        let wanted = usize::try_from(bytes.end - position).unwrap_or(CHUNK_BYTES);
        let piece = &mut buffer[..wanted.min(CHUNK_BYTES)];
        let read = file.read_at(piece, position)?;
        if read == 0 {
            break;
        }
        if let Some(last) = piece[..read].iter().rposition(|byte| *byte != 0) {
            end = position + last as u64 + 1;
        }
        position += read as u64;
    }
    Ok(end)
}

fn hex(hash: ChainHash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::memory_disk::{DiskOperation, MemoryDisk};
    use crate::position::Offset;

    fn quarantine(disk: &MemoryDisk) -> Quarantine {
        Quarantine::new(Arc::new(disk.clone()), Path::new("/data"))
    }

    fn region(disk: &MemoryDisk, start: u64) -> DamagedRegion {
        let path = PathBuf::from("/data/journal/0/a.seg");
        let dir = Path::new("/data/journal/0");
        disk.create_dir_all(dir).expect("a directory");
        let file = disk.open(&path, WRITE).expect("opens");
        file.write_durable_at(&[0xa5; 3 * 4096], 0).expect("writes");
        disk.sync_dir(dir).expect("syncs");
        DamagedRegion {
            journal: JournalId(0),
            sequence: 7,
            segment: SegmentId([1; 16]),
            path,
            bytes: start..start + 4096,
            range: OffsetRange {
                first: Offset(10),
                end: Offset(20),
            },
            error: "rot".to_owned(),
            heads: [Some([1; 32]), None],
        }
    }

    fn copy_of(finding: Option<Finding>) -> Option<PathBuf> {
        match finding {
            Some(Finding::Damaged { copy, .. }) => copy,
            other => panic!("damage is told: {other:?}"),
        }
    }

    #[test]
    fn a_region_is_copied_and_told_once_in_all_runs_and_survives_a_crash() {
        let disk = MemoryDisk::new();
        let first = quarantine(&disk);
        let copy = copy_of(first.keep(&region(&disk, 4096))).expect("a copy");
        assert_eq!(first.keep(&region(&disk, 4096)), None);
        disk.crash(5);
        assert_eq!(quarantine(&disk).keep(&region(&disk, 4096)), None);
        let copied = disk.open(&copy, READ).expect("it is there");
        assert_eq!(copied.len().expect("it has a length"), 4096);
    }

    #[test]
    fn above_the_bound_a_region_is_told_and_not_copied() {
        let disk = MemoryDisk::new();
        let bounded = quarantine(&disk).with_bytes_max(4096 + 100);
        assert!(copy_of(bounded.keep(&region(&disk, 0))).is_some());
        assert_eq!(copy_of(bounded.keep(&region(&disk, 4096))), None);
    }

    #[test]
    fn a_disk_that_refuses_the_copy_or_the_record_keeps_nobody_from_going_on() {
        for operation in [
            DiskOperation::CreateDir,
            DiskOperation::Open,
            DiskOperation::Read,
            DiskOperation::Write,
            DiskOperation::Sync,
            DiskOperation::Rename,
            DiskOperation::List,
        ] {
            let disk = MemoryDisk::new();
            let region = region(&disk, 0);
            disk.fail_next(operation, io::ErrorKind::StorageFull, u32::MAX);
            let told = quarantine(&disk).keep(&region);
            assert!(
                matches!(told, Some(Finding::Damaged { .. })),
                "{operation:?}"
            );
        }
    }
}
