//! The `Disk` seam: what the journal and the cursor records need of a file system.
//!
//! Real disk and memory disk are equal citizens. Calls block; the group commit of a shard
//! goes through `os::durable` instead, which writes the same files without blocking. Reads
//! that stop early are gone on with here, in one way for both.

use std::error::Error;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use crate::limits::DISK_PAGE_BYTES;

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
    /// Reads from `offset` until `buffer` is full or the file ends; returns the bytes read. A
    /// read that stops early is gone on with: fewer bytes always mean the file's end.
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

/// Does what [`DiskFile::read_at`] promises by a `read` that may stop early, as the kernel's
/// may at a bad sector or a signal. With `direct`, it goes on only from a whole page; `len` is
/// asked when a read stops within one, to tell the file's end from trouble.
///
/// # Errors
/// Those of `read` and `len`, and when a page before the end cannot be read whole.
pub(super) fn read_fully(
    buffer: &mut [u8],
    offset: u64,
    direct: bool,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    len: impl Fn() -> io::Result<u64>,
) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        let begun = filled;
        let taken = read(&mut buffer[begun..], offset + begun as u64)?;
        filled += taken;
        if taken == 0 {
            break;
        }
        if direct && !filled.is_multiple_of(DISK_PAGE_BYTES) {
            if offset + filled as u64 >= len()? {
                break;
            }
            filled -= filled % DISK_PAGE_BYTES;
            if filled == begun {
                let why = format!("the page at {} is read in part", offset + begun as u64);
                return Err(io::Error::other(why));
            }
        }
    }
    Ok(filled)
}

/// As [`DiskFile::read_at`], but a page that the device cannot give any more (`EIO`) reads as
/// zeros and is logged: for records that carry checksums, where such a page is damage like any
/// other and the pages around it count. `offset` is that of a page.
///
/// # Errors
/// Every error but that of a page which cannot be read.
pub fn read_around_bad_pages(
    file: &dyn DiskFile,
    buffer: &mut [u8],
    offset: u64,
) -> io::Result<usize> {
    match file.read_at(buffer, offset) {
        Err(error) if is_bad_page(&error) => {}
        read => return read,
    }
    let file_bytes = file.len()?;
    let mut filled = 0;
    for page in buffer.chunks_mut(DISK_PAGE_BYTES) {
        let position = offset + filled as u64;
        if position >= file_bytes {
            break;
        }
        filled += match file.read_at(page, position) {
            Err(error) if is_bad_page(&error) => {
                tracing::error!(%error, "a page cannot be read; it counts as damaged");
                page.fill(0);
                page.len()
            }
            read => read?,
        };
    }
    Ok(filled)
}

/// True when the device could not read (`EIO`), however the error is wrapped.
fn is_bad_page(error: &io::Error) -> bool {
    let is_it = |error: &io::Error| error.raw_os_error() == Some(Errno::IO.raw_os_error());
    let mut inner = error.get_ref().map(|inner| inner as &(dyn Error + 'static));
    while let Some(wrapped) = inner {
        if wrapped.downcast_ref::<io::Error>().is_some_and(is_it) {
            return true;
        }
        inner = wrapped.source();
    }
    is_it(error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_that_stop_early_are_gone_on_with(
            file_bytes in 0_usize..20_000,
            pages in 1_usize..5,
            first_page in 0_usize..4,
            direct in any::<bool>(),
            stops in proptest::collection::vec(1_usize..12_000, 1..8),
        ) {
            let file: Vec<u8> = (0..file_bytes).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let mut buffer = vec![0xff; pages * DISK_PAGE_BYTES];
            let offset = first_page * DISK_PAGE_BYTES;
            let mut stops = stops.into_iter();
            let read = |buffer: &mut [u8], at: u64| {
                let at = usize::try_from(at).unwrap();
                assert!(!direct || at.is_multiple_of(DISK_PAGE_BYTES), "aligned");
                let rest = file.get(at..).unwrap_or_default();
                let stop = stops.next().unwrap_or(usize::MAX).max(DISK_PAGE_BYTES);
                let taken = rest.len().min(buffer.len()).min(stop);
                buffer[..taken].copy_from_slice(&rest[..taken]);
                Ok(taken)
            };
            let filled = read_fully(&mut buffer, offset as u64, direct, read, || Ok(file_bytes as u64));
            let expected = file.get(offset..).unwrap_or_default();
            let expected = &expected[..expected.len().min(buffer.len())];
            prop_assert_eq!(&buffer[..filled.unwrap()], expected);
        }
    }

    /// Three pages and a half of ones, of which one cannot be read.
    #[derive(Debug)]
    struct Worn(u64);

    impl DiskFile for Worn {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let left = usize::try_from(self.len()?.saturating_sub(offset)).expect("small");
            let read = buffer.len().min(left);
            let bad = self.0 * DISK_PAGE_BYTES as u64;
            if (offset..offset + read as u64).contains(&bad) {
                let source = io::Error::from(Errno::IO);
                return Err(io::Error::new(source.kind(), Wrapped(source)));
            }
            buffer[..read].fill(1);
            Ok(read)
        }
        fn len(&self) -> io::Result<u64> {
            Ok(7 * DISK_PAGE_BYTES as u64 / 2)
        }
        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn write_durable_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn sync(&self) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn descriptor(&self) -> Option<BorrowedFd<'_>> {
            None
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("read: {0}")]
    struct Wrapped(#[source] io::Error);

    #[test]
    fn a_page_the_device_cannot_read_costs_that_page_alone() {
        for bad in 0..4 {
            let mut buffer = [7; 4 * DISK_PAGE_BYTES];
            let read = read_around_bad_pages(&Worn(bad), &mut buffer, 0).expect("reads");
            for (number, page) in (0..).zip(buffer.chunks(DISK_PAGE_BYTES)) {
                let expected = if number == bad { 0 } else { 1 };
                assert_eq!(page[0], expected, "page {number} when {bad} is bad");
            }
            assert!(read > 3 * DISK_PAGE_BYTES, "up to the end");
        }
        let mut buffer = [7; DISK_PAGE_BYTES];
        let behind = read_around_bad_pages(&Worn(0), &mut buffer, 4 * DISK_PAGE_BYTES as u64);
        assert_eq!(behind.expect("reads"), 0);
    }

    #[test]
    fn a_page_that_cannot_be_read_whole_is_an_error_and_not_the_end() {
        let mut buffer = [0; 2 * DISK_PAGE_BYTES];
        let read = |_: &mut [u8], at: u64| Ok(if at == 0 { DISK_PAGE_BYTES + 512 } else { 512 });
        let failed = read_fully(&mut buffer, 0, true, read, || Ok(8192));
        assert!(failed.is_err());
    }
}
