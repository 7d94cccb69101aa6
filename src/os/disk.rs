//! The `Disk` seam: what the journal and the cursor records need of a file system.
//!
//! Real disk and memory disk are equal citizens. Calls block; the group commit of a shard
//! goes through `os::durable` instead, which writes the same files without blocking.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenMode {
    /// Open for writing too.
    pub write: bool,
    /// Make the file when it is missing; an existing one is opened as it is.
    pub create: bool,
    /// Bypass the page cache. Offsets, lengths and buffers must then be multiples of
    /// `DISK_PAGE_BYTES`. Where the file system refuses it (`EINVAL`), opening fails and the
    /// caller falls back to buffered I/O.
    pub direct: bool,
}

/// An open file.
#[expect(
    clippy::len_without_is_empty,
    reason = "the length is a question to the system that may fail, not a container's"
)]
pub trait DiskFile: Send + Sync + std::fmt::Debug {
    /// Reads from `offset` until `buffer` is full or the file ends; returns the bytes read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`; on an error any part of it may be on disk.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// As [`DiskFile::write_at`], and returns only when the bytes are durable.
    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes all earlier writes durable (fdatasync: length changes included).
    fn sync(&self) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or extends (with zeros) the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// The descriptor, for a writer that talks to the kernel itself; none on a memory disk.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
}

/// An exclusive hold on a path; released when dropped.
pub trait DiskLock: Send + Sync + std::fmt::Debug {
    /// Whether the path still names the file that is held. It does not after someone removed or
    /// replaced it: others can take the path then.
    ///
    /// # Errors
    /// When the disk cannot be asked; nothing is known then.
    fn in_place(&self) -> io::Result<bool>;
}

/// Room of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskRoom {
    /// Size of the file system.
    pub total_bytes: u64,
    /// What an unprivileged process may still write.
    pub free_bytes: u64,
}

/// A file system.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames a file, replacing what was there. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable after [`Disk::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Names of the entries of a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes a directory and its parents, durable when the call returns; it may be there
    /// already.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Room of the file system that holds `path`.
    fn room(&self, path: &Path) -> io::Result<DiskRoom>;
    /// Takes an exclusive lock on a file, made when missing. `WouldBlock` when another
    /// process holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
    /// True when the path exists.
    fn exists(&self, path: &Path) -> io::Result<bool>;
}
