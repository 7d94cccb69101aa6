//! The machine's own file systems behind the [`Disk`] seam.
//!
//! Every error names the operation and the path, keeps its [`io::ErrorKind`] and has the
//! system's error as source. Calls are repeated after a signal and until all bytes are
//! done. Direct I/O asks the caller for aligned offsets, lengths and memory; nothing here
//! copies to make up for a caller that does not. A name that is not UTF-8 is listed with
//! replacement characters, by which it can be told but not opened.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

use crate::limits::DISK_PAGE_BYTES;
use crate::os::disk::{self, Disk, DiskFile, DiskLock, DiskRoom, OpenMode};

/// The file systems of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut flags = OFlags::CLOEXEC;
        flags |= if mode.write {
            OFlags::RDWR
        } else {
            OFlags::RDONLY
        };
        flags.set(OFlags::CREATE, mode.create);
        flags.set(OFlags::DIRECT, mode.direct);
        let operation = if mode.direct { "open directly" } else { "open" };
        let descriptor = retry(|| rustix::fs::open(path, flags, FILE_MODE))
            .map_err(|source| at_path(operation, path, source))?;
        Ok(Arc::new(RealFile {
            descriptor,
            path: path.to_owned(),
            direct: mode.direct,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
            .map_err(|source| at_path(&format!("rename to {}:", to.display()), from, source))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path).map_err(|source| at_path("remove", path, source))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        let entries = fs::read_dir(dir).map_err(|source| at_path("list", dir, source))?;
        for entry in entries {
            let name = entry
                .map_err(|source| at_path("list", dir, source))?
                .file_name();
            let name = name.to_string_lossy().into_owned();
            names.push(name);
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        // Parents first, so that each new directory's entry can be made durable in its parent.
        let missing: Vec<&Path> = dir
            .ancestors()
            .filter(|path| !path.as_os_str().is_empty())
            .take_while(|path| !path.is_dir())
            .collect();
        for path in missing.into_iter().rev() {
            match fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
                Ok(()) => {}
                // Another process may have made it since.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
                Err(source) => return Err(at_path("create directory", path, source)),
            }
            self.sync_dir(parent_of(path))?;
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let failed = |source: Errno| at_path("sync directory", dir, source);
        let descriptor = retry(|| rustix::fs::open(dir, flags, Mode::empty())).map_err(failed)?;
        retry(|| rustix::fs::fsync(&descriptor)).map_err(failed)
    }

    fn room(&self, path: &Path) -> io::Result<DiskRoom> {
        let stat = retry(|| rustix::fs::statvfs(path))
            .map_err(|source| at_path("ask for the room of", path, source))?;
        Ok(DiskRoom {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let failed = |source: Errno| at_path("lock", path, source);
        let descriptor = retry(|| rustix::fs::open(path, flags, FILE_MODE)).map_err(failed)?;
        retry(|| rustix::fs::flock(&descriptor, FlockOperation::NonBlockingLockExclusive))
            .map_err(failed)?;
        Ok(Box::new(RealLock {
            descriptor,
            path: path.to_owned(),
        }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
            .map_err(|source| at_path("look for", path, source))
    }
}

/// Writes all of `buffers` back to back from `offset` and returns when they are durable:
/// `pwritev2` with `RWF_DSYNC`, or a plain write and `fdatasync` where the flag is refused.
/// With `direct`, a write cut short goes on from the last whole page.
///
/// # Errors
/// As the system says, without the path; any part of the bytes may be on disk then.
pub(crate) fn write_durable(
    file: BorrowedFd<'_>,
    buffers: &[&[u8]],
    offset: u64,
    direct: bool,
) -> io::Result<()> {
    match write_vectored(file, buffers, offset, direct, ReadWriteFlags::DSYNC) {
        Err(error) if is_flag_refusal(&error) => {
            write_vectored(file, buffers, offset, direct, ReadWriteFlags::empty())?;
            Ok(retry(|| rustix::fs::fdatasync(file))?)
        }
        done => done,
    }
}

/// Bytes of a write cut short that count as done: with direct I/O only whole pages, so that
/// the next write is aligned again.
///
/// # Errors
/// `WriteZero` when that is nothing, because going on would never end.
pub(crate) fn progress_of(written: usize, direct: bool) -> io::Result<usize> {
    let done = if direct {
        written - written % DISK_PAGE_BYTES
    } else {
        written
    };
    if done == 0 {
        let why = format!("the kernel took {written} bytes of a longer write");
        return Err(io::Error::new(io::ErrorKind::WriteZero, why));
    }
    Ok(done)
}

/// True for the errors by which a kernel or file system refuses `RWF_DSYNC`.
pub(crate) fn is_flag_refusal(error: &io::Error) -> bool {
    [Errno::OPNOTSUPP, Errno::NOSYS]
        .iter()
        .any(|refusal| error.raw_os_error() == Some(refusal.raw_os_error()))
}

fn write_vectored(
    file: BorrowedFd<'_>,
    buffers: &[&[u8]],
    offset: u64,
    direct: bool,
    flags: ReadWriteFlags,
) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = buffers.iter().map(|bytes| IoSlice::new(bytes)).collect();
    let mut left = &mut slices[..];
    IoSlice::advance_slices(&mut left, 0);
    let mut at = offset;
    while !left.is_empty() {
        let total: usize = left.iter().map(|slice| slice.len()).sum();
        let written = retry(|| rustix::io::pwritev2(file, left, at, flags))?;
        let done = if written == total {
            written
        } else {
            progress_of(written, direct)?
        };
        IoSlice::advance_slices(&mut left, done);
        at += done as u64;
    }
    Ok(())
}

#[derive(Debug)]
struct RealFile {
    descriptor: OwnedFd,
    path: PathBuf,
    direct: bool,
}

impl RealFile {
    fn failed(&self, operation: &str, source: impl Into<io::Error>) -> io::Error {
        at_path(operation, &self.path, source)
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = |buffer: &mut [u8], at: u64| {
            retry(|| rustix::io::pread(&self.descriptor, &mut *buffer, at))
                .map_err(|source| self.failed(&format!("read at {at} of"), source))
        };
        disk::read_fully(buffer, offset, self.direct, read, || self.len())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let file = self.descriptor.as_fd();
        write_vectored(file, &[bytes], offset, self.direct, ReadWriteFlags::empty())
            .map_err(|source| self.failed(&format!("write at {offset} of"), source))
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        write_durable(self.descriptor.as_fd(), &[bytes], offset, self.direct)
            .map_err(|source| self.failed(&format!("write durably at {offset} of"), source))
    }

    fn sync(&self) -> io::Result<()> {
        retry(|| rustix::fs::fdatasync(&self.descriptor))
            .map_err(|source| self.failed("sync", source))
    }

    fn len(&self) -> io::Result<u64> {
        let stat = retry(|| rustix::fs::fstat(&self.descriptor))
            .map_err(|source| self.failed("ask for the length of", source))?;
        u64::try_from(stat.st_size)
            .map_err(|_| self.failed("ask for the length of", Errno::OVERFLOW))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        retry(|| rustix::fs::ftruncate(&self.descriptor, len))
            .map_err(|source| self.failed(&format!("set the length to {len} of"), source))
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.descriptor.as_fd())
    }
}

/// The lock is the descriptor: closing it releases the `flock`.
#[derive(Debug)]
struct RealLock {
    descriptor: OwnedFd,
    path: PathBuf,
}

impl DiskLock for RealLock {
    fn in_place(&self) -> io::Result<bool> {
        let failed = |source: Errno| at_path("look at the lock", &self.path, source);
        let held = rustix::fs::fstat(&self.descriptor).map_err(failed)?;
        match rustix::fs::stat(&self.path) {
            Ok(named) => Ok((named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(source) => Err(failed(source)),
        }
    }
}

/// What failed where; the source is the system's error.
#[derive(Debug)]
struct DiskError {
    operation: String,
    path: PathBuf,
    source: io::Error,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (operation, path) = (&self.operation, self.path.display());
        write!(f, "{operation} {path}: {}", self.source)
    }
}

impl Error for DiskError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

fn at_path(operation: &str, path: &Path, source: impl Into<io::Error>) -> io::Error {
    let source = source.into();
    io::Error::new(
        source.kind(),
        DiskError {
            operation: operation.to_owned(),
            path: path.to_owned(),
            source,
        },
    )
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

/// The directory whose entry `path` is; the working directory for a bare name.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Events are confidential: owner reads and writes, group reads, others nothing.
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);
const DIRECTORY_MODE: u32 = 0o750;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::buffers::AlignedBuffer;

    const NEW: OpenMode = OpenMode {
        write: true,
        create: true,
        direct: false,
    };

    #[test]
    fn written_bytes_are_read_back_and_end_at_the_length() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&dir.path().join("a"), NEW).unwrap();
        file.write_at(b"hello", 0).unwrap();
        file.write_durable_at(b"world", 5).unwrap();
        file.sync().unwrap();
        assert_eq!(file.len().unwrap(), 10);
        let mut buffer = [0; 16];
        assert_eq!(file.read_at(&mut buffer, 2).unwrap(), 8);
        assert_eq!(&buffer[..8], b"lloworld");
        assert_eq!(file.read_at(&mut buffer, 10).unwrap(), 0);
        file.set_len(3).unwrap();
        assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 3);
        assert!(file.descriptor().is_some());
    }

    #[test]
    fn several_buffers_are_written_back_to_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&dir.path().join("a"), NEW).unwrap();
        let descriptor = file.descriptor().unwrap();
        write_durable(descriptor, &[b"ab", b"", b"cde"], 1, false).unwrap();
        let mut buffer = [9; 6];
        assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 6);
        assert_eq!(&buffer, b"\0abcde");
    }

    /// Direct I/O where the file system of the build has it (ext4, xfs and btrfs do).
    #[test]
    fn direct_file_takes_pages_and_reads_up_to_an_uneven_end() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = dir.path().join("a");
        let direct = OpenMode {
            direct: true,
            ..NEW
        };
        let file = match RealDisk.open(&path, direct) {
            Ok(file) => file,
            Err(error) => return assert_eq!(error.kind(), io::ErrorKind::InvalidInput),
        };
        let mut page = AlignedBuffer::with_capacity(DISK_PAGE_BYTES);
        page.extend_from_slice(b"page");
        page.pad_to_page();
        file.write_durable_at(page.as_slice(), DISK_PAGE_BYTES as u64)
            .unwrap();
        let unaligned = file.write_at(page.as_slice(), 7).unwrap_err();
        assert_eq!(unaligned.kind(), io::ErrorKind::InvalidInput);
        assert!(unaligned.to_string().contains(&*path.to_string_lossy()));

        file.set_len(DISK_PAGE_BYTES as u64 + 100).unwrap();
        let mut buffer = AlignedBuffer::zeroed(3 * DISK_PAGE_BYTES);
        let read = file.read_at(buffer.as_mut_slice(), 0).unwrap();
        assert_eq!(read, DISK_PAGE_BYTES + 100);
        assert_eq!(&buffer.as_slice()[DISK_PAGE_BYTES..][..4], b"page");
    }

    /// tmpfs refuses direct I/O before Linux 6.6 and takes it since: either way the caller
    /// sees one of the two outcomes it is written for.
    #[test]
    fn direct_open_on_tmpfs_works_or_is_refused_as_invalid_input() {
        let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
            return;
        };
        let path = dir.path().join("a");
        let direct = OpenMode {
            direct: true,
            ..NEW
        };
        let mut page = AlignedBuffer::zeroed(DISK_PAGE_BYTES);
        page.as_mut_slice().fill(7);
        match RealDisk.open(&path, direct) {
            Ok(file) => file.write_durable_at(page.as_slice(), 0).unwrap(),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::InvalidInput),
        }
        let buffered = RealDisk.open(&path, NEW).unwrap();
        buffered.write_durable_at(page.as_slice(), 0).unwrap();
        assert_eq!(buffered.len().unwrap(), DISK_PAGE_BYTES as u64);
    }

    #[test]
    fn errors_name_operation_and_path_and_keep_kind_and_source() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing");
        let read_only = OpenMode {
            write: false,
            create: false,
            direct: false,
        };
        let error = RealDisk.open(&path, read_only).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let text = error.to_string();
        assert!(text.starts_with("open "), "{text}");
        assert!(text.contains(&*path.to_string_lossy()), "{text}");
        let source = error.get_ref().and_then(Error::source).unwrap();
        let source = source.downcast_ref::<io::Error>().unwrap();
        assert_eq!(source.raw_os_error(), Some(Errno::NOENT.raw_os_error()));
        for error in [
            RealDisk.remove(&path).unwrap_err(),
            RealDisk.list(&path).unwrap_err(),
            RealDisk.rename(&path, dir.path()).unwrap_err(),
            RealDisk.sync_dir(&path).unwrap_err(),
            RealDisk.room(&path).unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
            assert!(error.to_string().contains(&*path.to_string_lossy()));
        }
    }

    #[test]
    fn names_are_listed_sorted_after_rename_and_removal() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x/y");
        RealDisk.create_dir_all(&deep).unwrap();
        RealDisk.create_dir_all(&deep).unwrap();
        for name in ["c", "a", "b"] {
            RealDisk.open(&deep.join(name), NEW).unwrap();
        }
        RealDisk.rename(&deep.join("c"), &deep.join("0")).unwrap();
        RealDisk.remove(&deep.join("a")).unwrap();
        RealDisk.sync_dir(&deep).unwrap();
        assert_eq!(RealDisk.list(&deep).unwrap(), ["0", "b"]);
        assert!(RealDisk.exists(&deep.join("b")).unwrap());
        assert!(!RealDisk.exists(&deep.join("a")).unwrap());
    }

    #[test]
    fn room_is_that_of_a_file_system() {
        let room = RealDisk.room(Path::new("/")).unwrap();
        assert!(room.total_bytes > 0);
        assert!(room.free_bytes <= room.total_bytes);
    }

    #[test]
    fn lock_keeps_others_out_until_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = RealDisk.lock(&path).unwrap();
        let refused = RealDisk.lock(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(held);
        RealDisk.lock(&path).unwrap();
    }

    #[test]
    fn a_lock_whose_directory_was_removed_or_replaced_is_not_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let path = data.join("lock");
        RealDisk.create_dir_all(&data).unwrap();
        let held = RealDisk.lock(&path).unwrap();
        assert!(held.in_place().unwrap());
        fs::remove_dir_all(&data).unwrap();
        assert!(!held.in_place().unwrap());
        RealDisk.create_dir_all(&data).unwrap();
        let other = RealDisk.lock(&path).unwrap();
        assert!(!held.in_place().unwrap());
        assert!(other.in_place().unwrap());
    }

    #[test]
    fn writes_cut_short_go_on_at_a_page_when_direct() {
        assert_eq!(progress_of(5000, true).unwrap(), 4096);
        assert_eq!(progress_of(5000, false).unwrap(), 5000);
        let stuck = progress_of(100, true).unwrap_err();
        assert_eq!(stuck.kind(), io::ErrorKind::WriteZero);
        assert!(progress_of(0, false).is_err());
    }
}
