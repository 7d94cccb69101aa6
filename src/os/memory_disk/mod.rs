//! A file system in memory, for tests and the simulation: it can crash, fail and rot.
//!
//! It promises exactly what [`Disk`] promises and no more: a byte is safe when it was
//! written durably or synced, a name when its directory was synced. A crash keeps any subset
//! of the rest, sector by sector, by a seed or by the test's own choice. Descriptors from
//! before a crash fail after it. Time passes nowhere here: calls neither block nor wait.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::limits::DISK_PAGE_BYTES;
use crate::os::buffers::is_page_aligned;
use crate::os::disk::{self, Disk, DiskFile, DiskLock, DiskRoom, OpenMode};

mod image;
mod names;

use image::Image;
use names::Names;

/// A file system in memory. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

/// What a crash decides: true keeps it on disk, false loses it. Asked in one fixed order,
/// so that a seed always gives the same disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice<'a> {
    /// Is the unsynced creation, removal or renaming of this name on disk?
    Name {
        /// The name; for a rename the new one.
        path: &'a Path,
    },
    /// Is anything of this unsynced write on disk? If so, its length and sectors are asked.
    Write {
        /// The file.
        file: &'a Path,
        /// First byte written.
        offset: u64,
        /// One past the last byte written.
        end: u64,
    },
    /// Is this unsynced length on disk? Bytes that are not show as zeros.
    Length {
        /// The file.
        file: &'a Path,
        /// Its new length in bytes.
        len: u64,
    },
    /// Is this sector (512 bytes) of an unsynced write on disk?
    Sector {
        /// The file.
        file: &'a Path,
        /// First byte of the write within the sector.
        offset: u64,
    },
}

/// An operation that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskOperation {
    /// [`Disk::open`].
    Open,
    /// [`DiskFile::read_at`].
    Read,
    /// [`DiskFile::write_at`]: half of the bytes are written.
    Write,
    /// [`DiskFile::write_durable_at`]: as a write whose sync failed.
    WriteDurable,
    /// [`DiskFile::sync`]: what it should have made durable no later sync will.
    Sync,
    /// [`DiskFile::set_len`].
    SetLen,
    /// [`Disk::rename`].
    Rename,
    /// [`Disk::remove`].
    Remove,
    /// [`Disk::list`].
    List,
    /// [`Disk::create_dir_all`].
    CreateDir,
    /// [`Disk::sync_dir`]: the names stay unsynced.
    SyncDir,
    /// [`Disk::room`].
    Room,
    /// [`Disk::lock`].
    Lock,
}

/// Calls made since the disk was made, failed ones included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Calls of [`DiskFile::read_at`].
    pub reads: u64,
    /// Calls of [`DiskFile::write_at`].
    pub writes: u64,
    /// Calls of [`DiskFile::write_durable_at`].
    pub durable_writes: u64,
    /// Calls of [`DiskFile::sync`].
    pub syncs: u64,
    /// Calls of [`Disk::sync_dir`].
    pub dir_syncs: u64,
}

impl MemoryDisk {
    /// Makes an empty disk of 1 TiB.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the size of the disk in bytes. A write past it fails with `StorageFull`; what is
    /// there stays.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity_bytes = bytes;
    }

    /// Lets the disk be full: what is there can be overwritten, nothing can grow.
    pub fn fill_up(&self) {
        let mut state = self.state();
        state.capacity_bytes = state.used_bytes();
    }

    /// Makes syncs and durable writes lie from now on: they succeed and make nothing durable,
    /// as a disk does whose cache ignores flushes. For tests of tests.
    pub fn lie_about_syncs(&self, lie: bool) {
        self.state().lies = lie;
    }

    /// Takes back all that was to fail or to be short; the capacity stays.
    pub fn mend(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.short_reads = 0;
    }

    /// Makes opening with `direct` fail with `InvalidInput`, as some file systems do.
    pub fn refuse_direct(&self, refuse: bool) {
        self.state().direct_refused = refuse;
    }

    /// Makes the next `count` calls of an operation fail with `kind`.
    pub fn fail_next(&self, operation: DiskOperation, kind: io::ErrorKind, count: u32) {
        self.state().faults.push(Fault {
            operation,
            kind,
            left: count,
        });
    }

    /// Makes the next `count` reads of the system stop half way, at a sector. Callers of
    /// [`DiskFile::read_at`] do not see it: that goes on until all is read.
    pub fn shorten_reads(&self, count: u32) {
        self.state().short_reads = count;
    }

    /// Flips one bit (0 to 7) of a byte at rest.
    ///
    /// # Errors
    /// `NotFound` when there is no such file, `InvalidInput` when the byte is not durable.
    pub fn flip(&self, path: &Path, byte: u64, bit: u8) -> io::Result<()> {
        let state = self.state();
        let file = state.names.file(path).ok_or_else(|| missing(path))?;
        if file.image().flip(byte, bit) {
            Ok(())
        } else {
            let why = format!("{} has no durable byte {byte}", path.display());
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
    }

    /// Zeros bytes at rest, as a disk does that lost a page; none behind the durable end.
    ///
    /// # Errors
    /// `NotFound` when there is no such file.
    pub fn wipe(&self, path: &Path, bytes: Range<u64>) -> io::Result<()> {
        let state = self.state();
        let file = state.names.file(path).ok_or_else(|| missing(path))?;
        file.image().wipe(bytes);
        Ok(())
    }

    /// Loses a file at rest, durably, as a hand or a broken file system does.
    ///
    /// # Errors
    /// `NotFound` when there is no such file.
    pub fn lose(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.names.file(path).ok_or_else(|| missing(path))?;
        state.names.lose(path);
        Ok(())
    }

    /// Calls made so far.
    #[must_use]
    pub fn counts(&self) -> DiskCounts {
        self.state().counts
    }

    /// Loses power and comes back; the seed decides what of the unsynced is there. Open
    /// files fail from now on and locks are free.
    pub fn crash(&self, seed: u64) {
        let mut random = SplitMix(seed);
        let mut chance = 0;
        self.crash_with(&mut |choice| {
            // Each write has its own luck, so that a crash shows whole, lost and torn ones.
            if matches!(choice, Choice::Write { .. } | Choice::Name { .. }) {
                chance = [0, 64, 128, 192, 256][random.below(5)];
            }
            random.below(256) < chance
        });
    }

    /// As [`MemoryDisk::crash`], by the caller's choices. They must not use the disk.
    pub fn crash_with(&self, keep: &mut dyn FnMut(Choice<'_>) -> bool) {
        let mut state = self.state();
        state.crashes += 1;
        state.locks.clear();
        state.names.crash(keep);
        for (path, file) in state.names.files() {
            file.image().crash(path, keep);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds the disk")
    }

    fn begin(&self, operation: DiskOperation, path: &Path) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.fault(operation, path)?;
        Ok(state)
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.begin(DiskOperation::Open, path)?;
        if mode.direct && state.direct_refused {
            return Err(refused(path, "direct I/O is refused by this disk"));
        }
        let file = state.open(path, mode.create)?;
        Ok(Arc::new(MemoryFile {
            disk: self.clone(),
            file,
            path: path.to_owned(),
            mode,
            crashes: state.crashes,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.begin(DiskOperation::Rename, from)?;
        state.names.file(from).ok_or_else(|| missing(from))?;
        state.parent_exists(to)?;
        state.names.rename(from, to);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.begin(DiskOperation::Remove, path)?;
        state.names.file(path).ok_or_else(|| missing(path))?;
        state.names.remove(path);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.begin(DiskOperation::List, dir)?;
        if state.names.is_directory(dir) {
            Ok(state.names.list(dir))
        } else {
            Err(missing(dir))
        }
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.begin(DiskOperation::CreateDir, dir)?;
        if let Some(file) = dir
            .ancestors()
            .find(|path| state.names.file(path).is_some())
        {
            let why = format!("{} is a file", file.display());
            return Err(io::Error::new(io::ErrorKind::NotADirectory, why));
        }
        state.names.add_directories(dir);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.state().counts.dir_syncs += 1;
        let mut state = self.begin(DiskOperation::SyncDir, dir)?;
        if !state.names.is_directory(dir) {
            return Err(missing(dir));
        }
        if !state.lies {
            state.names.sync(dir);
        }
        Ok(())
    }

    fn room(&self, path: &Path) -> io::Result<DiskRoom> {
        let state = self.begin(DiskOperation::Room, path)?;
        Ok(DiskRoom {
            total_bytes: state.capacity_bytes,
            free_bytes: state.capacity_bytes.saturating_sub(state.used_bytes()),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut state = self.begin(DiskOperation::Lock, path)?;
        state.open(path, true)?;
        if !state.locks.insert(path.to_owned()) {
            let why = format!("lock {}: held by another", path.display());
            return Err(io::Error::new(io::ErrorKind::WouldBlock, why));
        }
        Ok(Box::new(MemoryLock {
            disk: self.clone(),
            path: path.to_owned(),
            crashes: state.crashes,
        }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        Ok(state.names.file(path).is_some() || state.names.is_directory(path))
    }
}

#[derive(Debug)]
struct State {
    names: Names,
    locks: BTreeSet<PathBuf>,
    faults: Vec<Fault>,
    short_reads: u32,
    capacity_bytes: u64,
    direct_refused: bool,
    lies: bool,
    /// Crashes so far: a file or lock of an earlier count is dead.
    crashes: u64,
    counts: DiskCounts,
}

impl Default for State {
    fn default() -> Self {
        Self {
            names: Names::default(),
            locks: BTreeSet::new(),
            faults: Vec::new(),
            short_reads: 0,
            capacity_bytes: 1 << 40,
            direct_refused: false,
            lies: false,
            crashes: 0,
            counts: DiskCounts::default(),
        }
    }
}

impl State {
    fn fault(&mut self, operation: DiskOperation, path: &Path) -> io::Result<()> {
        self.faults.retain(|fault| fault.left > 0);
        let mut faults = self.faults.iter_mut();
        let Some(fault) = faults.find(|fault| fault.operation == operation) else {
            return Ok(());
        };
        fault.left -= 1;
        let why = format!("{operation:?} {}: made to fail", path.display());
        Err(io::Error::new(fault.kind, why))
    }

    fn open(&mut self, path: &Path, create: bool) -> io::Result<Arc<FileCell>> {
        if let Some(file) = self.names.file(path) {
            return Ok(Arc::clone(file));
        }
        if self.names.is_directory(path) {
            let why = format!("{} is a directory", path.display());
            return Err(io::Error::new(io::ErrorKind::IsADirectory, why));
        }
        if !create {
            return Err(missing(path));
        }
        self.parent_exists(path)?;
        let file = Arc::new(FileCell::default());
        self.names.create(path, Arc::clone(&file));
        Ok(file)
    }

    fn parent_exists(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if self.names.is_directory(parent) => Ok(()),
            Some(parent) => Err(missing(parent)),
            None => Err(missing(path)),
        }
    }

    fn used_bytes(&self) -> u64 {
        let files = self.names.files();
        files.map(|(_, file)| file.image().len()).sum()
    }

    /// Fails when a file of `len` bytes would need more than the disk has to reach `end`.
    fn has_room(&self, path: &Path, len: u64, end: u64) -> io::Result<()> {
        let growth = end.saturating_sub(len);
        if growth > 0 && self.used_bytes() + growth > self.capacity_bytes {
            let why = format!("write {}: no space left on the disk", path.display());
            return Err(io::Error::new(io::ErrorKind::StorageFull, why));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Fault {
    operation: DiskOperation,
    kind: io::ErrorKind,
    left: u32,
}

/// A file, whatever its names.
#[derive(Debug, Default)]
struct FileCell(Mutex<Image>);

impl FileCell {
    fn image(&self) -> MutexGuard<'_, Image> {
        self.0
            .lock()
            .expect("nothing panics while it holds an image")
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    file: Arc<FileCell>,
    path: PathBuf,
    mode: OpenMode,
    crashes: u64,
}

impl MemoryFile {
    /// The disk, when this file was opened after its last crash.
    fn disk(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if self.crashes == state.crashes {
            Ok(state)
        } else {
            let why = format!("{} was opened before a crash", self.path.display());
            Err(io::Error::other(why))
        }
    }

    fn disk_to_write(&self) -> io::Result<MutexGuard<'_, State>> {
        if self.mode.write {
            self.disk()
        } else {
            let why = format!("{} was opened for reading", self.path.display());
            Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
        }
    }

    fn aligned(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let page_bytes = DISK_PAGE_BYTES as u64;
        if !self.mode.direct || (is_page_aligned(bytes) && offset.is_multiple_of(page_bytes)) {
            return Ok(());
        }
        let why = format!(
            "direct I/O of {} bytes at {offset} is unaligned",
            bytes.len()
        );
        Err(refused(&self.path, &why))
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk()?;
        state.counts.reads += 1;
        self.aligned(buffer, offset)?;
        let image = self.file.image();
        let read = |buffer: &mut [u8], at: u64| {
            state.fault(DiskOperation::Read, &self.path)?;
            let mut taken = image.read(buffer, at);
            let sector_bytes = usize::try_from(image::SECTOR_BYTES).expect("a sector is small");
            if state.short_reads > 0 && taken > sector_bytes {
                state.short_reads -= 1;
                taken = (taken / 2).next_multiple_of(sector_bytes);
            }
            Ok(taken)
        };
        disk::read_fully(buffer, offset, self.mode.direct, read, || Ok(image.len()))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk_to_write()?;
        state.counts.writes += 1;
        self.aligned(bytes, offset)?;
        let mut image = self.file.image();
        if let Err(error) = state.fault(DiskOperation::Write, &self.path) {
            image.write(&bytes[..bytes.len() / 2], offset);
            return Err(error);
        }
        let len = image.len();
        drop(image);
        state.has_room(&self.path, len, offset + bytes.len() as u64)?;
        self.file.image().write(bytes, offset);
        Ok(())
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk_to_write()?;
        state.counts.durable_writes += 1;
        self.aligned(bytes, offset)?;
        let mut image = self.file.image();
        if let Err(error) = state.fault(DiskOperation::WriteDurable, &self.path) {
            image.write(bytes, offset);
            image.abandon();
            return Err(error);
        }
        let len = image.len();
        drop(image);
        state.has_room(&self.path, len, offset + bytes.len() as u64)?;
        if state.lies {
            self.file.image().write(bytes, offset);
        } else {
            self.file.image().write_durable(bytes, offset);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk()?;
        state.counts.syncs += 1;
        let mut image = self.file.image();
        if let Err(error) = state.fault(DiskOperation::Sync, &self.path) {
            image.abandon();
            return Err(error);
        }
        if !state.lies {
            image.sync();
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let _alive = self.disk()?;
        Ok(self.file.image().len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk_to_write()?;
        state.fault(DiskOperation::SetLen, &self.path)?;
        let before = self.file.image().len();
        state.has_room(&self.path, before, len)?;
        self.file.image().set_len(len);
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

#[derive(Debug)]
struct MemoryLock {
    disk: MemoryDisk,
    path: PathBuf,
    crashes: u64,
}

impl DiskLock for MemoryLock {
    fn in_place(&self) -> io::Result<bool> {
        let state = self.disk.state();
        Ok(state.crashes == self.crashes && state.names.file(&self.path).is_some())
    }
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        // After a crash the name may be locked by someone who came later.
        if state.crashes == self.crashes {
            state.locks.remove(&self.path);
        }
    }
}

fn missing(path: &Path) -> io::Error {
    let why = format!("{} is not there", path.display());
    io::Error::new(io::ErrorKind::NotFound, why)
}

fn refused(path: &Path, why: &str) -> io::Error {
    let why = format!("{}: {why}", path.display());
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// A small generator whose numbers are the same everywhere for good, unlike a library's.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % bound as u64).expect("a remainder is below its bound")
    }
}

#[cfg(test)]
mod tests;
