//! A disk on top of another: what is written stays in memory, what is read is what would be there.
//!
//! For telling what a change would do without doing it. The disk below is only ever opened for
//! reading. Memory grows by the bytes written, so it is for small changes to large files.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::os::disk::{Disk, DiskFile, DiskLock, DiskRoom, OpenMode};

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct OverlayDisk {
    below: Arc<dyn Disk>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Files that were made, renamed or written here, by the name they have now.
    files: BTreeMap<PathBuf, Arc<Layer>>,
    /// Names of the disk below that are no more.
    gone: BTreeSet<PathBuf>,
    /// Directories made here.
    directories: BTreeSet<PathBuf>,
}

/// A file's changes.
#[derive(Debug)]
struct Layer {
    below: Option<Arc<dyn DiskFile>>,
    changes: Mutex<Changes>,
}

#[derive(Debug, Default)]
struct Changes {
    len: u64,
    /// Bytes of the file below that still count: it was never shorter than that here.
    below_len: u64,
    /// What was written, by position; pieces may overlap, the later one counts.
    pieces: Vec<(u64, Vec<u8>)>,
}

impl OverlayDisk {
    /// Nothing is changed yet.
    #[must_use]
    pub fn new(below: Arc<dyn Disk>) -> Self {
        Self {
            below,
            state: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The maps are whole between calls, whatever a panicking thread did elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of that name, its changes kept from now on.
    fn layer(&self, state: &mut State, path: &Path, create: bool) -> io::Result<Arc<Layer>> {
        if let Some(layer) = state.files.get(path) {
            return Ok(Arc::clone(layer));
        }
        let mode = OpenMode {
            write: false,
            create: false,
            direct: false,
        };
        let below = match state.gone.contains(path) {
            true => Err(missing(path)),
            false => self.below.open(path, mode),
        };
        let below = match below {
            Ok(file) => Some(file),
            Err(error) if create && error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let len = below.as_ref().map_or(Ok(0), |file| file.len())?;
        let layer = Arc::new(Layer {
            below,
            changes: Mutex::new(Changes {
                len,
                below_len: len,
                pieces: Vec::new(),
            }),
        });
        state.files.insert(path.to_owned(), Arc::clone(&layer));
        Ok(layer)
    }
}

impl Disk for OverlayDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let untouched = !state.files.contains_key(path) && !state.gone.contains(path);
        if untouched && !mode.write && !mode.create {
            return self.below.open(path, mode);
        }
        Ok(self.layer(&mut state, path, mode.create)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let layer = self.layer(&mut state, from, false)?;
        state.files.remove(from);
        state.gone.insert(from.to_owned());
        state.files.insert(to.to_owned(), layer);
        state.gone.remove(to);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        self.layer(&mut state, path, false)?;
        state.files.remove(path);
        state.gone.insert(path.to_owned());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let below = match self.below.list(dir) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !state.directories.contains(dir) {
                    return Err(error);
                }
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let name_of = |path: &Path| path.file_name()?.to_str().map(str::to_owned);
        let here = state.files.keys().chain(&state.directories);
        let here = here.filter(|path| path.parent() == Some(dir));
        let mut names: BTreeSet<String> = here.filter_map(|path| name_of(path)).collect();
        let still = below
            .into_iter()
            .filter(|name| !state.gone.contains(&dir.join(name)));
        names.extend(still);
        Ok(names.into_iter().collect())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        for dir in dir.ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
            if !self.below.exists(dir)? {
                state.directories.insert(dir.to_owned());
            }
        }
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn room(&self, path: &Path) -> io::Result<DiskRoom> {
        self.below.room(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("{}: what only looks takes no lock", path.display()),
        ))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        if state.files.contains_key(path) || state.directories.contains(path) {
            return Ok(true);
        }
        Ok(!state.gone.contains(path) && self.below.exists(path)?)
    }
}

impl Layer {
    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskFile for Layer {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let changes = self.changes();
        let left = changes.len.saturating_sub(offset);
        let wanted = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let buffer = &mut buffer[..wanted];
        buffer.fill(0);
        let from_below = changes.below_len.saturating_sub(offset);
        let from_below = usize::try_from(from_below)
            .unwrap_or(usize::MAX)
            .min(wanted);
        if let Some(below) = &self.below
            && from_below > 0
        {
            below.read_at(&mut buffer[..from_below], offset)?;
        }
        for (at, bytes) in &changes.pieces {
            let (start, end) = (*at, at + bytes.len() as u64);
            let (from, to) = (start.max(offset), end.min(offset + wanted as u64));
            if from < to {
                let within = |position: u64, base: u64| {
                    usize::try_from(position - base).expect("a piece fits in memory")
                };
                buffer[within(from, offset)..within(to, offset)]
                    .copy_from_slice(&bytes[within(from, start)..within(to, start)]);
            }
        }
        Ok(wanted)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut changes = self.changes();
        changes.len = changes.len.max(offset + bytes.len() as u64);
        changes.pieces.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.changes().len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut changes = self.changes();
        changes.len = len;
        changes.below_len = changes.below_len.min(len);
        for (at, bytes) in &mut changes.pieces {
            let left = usize::try_from(len.saturating_sub(*at)).unwrap_or(usize::MAX);
            bytes.truncate(left);
        }
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

fn missing(path: &Path) -> io::Error {
    let why = format!("{} is not there", path.display());
    io::Error::new(io::ErrorKind::NotFound, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::memory_disk::MemoryDisk;

    const WRITE: OpenMode = OpenMode {
        write: true,
        create: true,
        direct: false,
    };

    fn read(disk: &dyn Disk, path: &Path) -> Vec<u8> {
        let mode = OpenMode {
            write: false,
            create: false,
            direct: false,
        };
        let file = disk.open(path, mode).expect("opens");
        let mut bytes = vec![1; 64];
        let read = file.read_at(&mut bytes, 0).expect("reads");
        bytes.truncate(read);
        bytes
    }

    #[test]
    fn changes_are_seen_above_and_never_below() {
        let below = MemoryDisk::new();
        let [dir, a, b, c] = ["/d", "/d/a", "/d/b", "/d/c"].map(Path::new);
        below.create_dir_all(dir).expect("makes");
        for path in [a, b] {
            let file = below.open(path, WRITE).expect("opens");
            file.write_at(b"0123456789", 0).expect("writes");
        }
        let (counts, above) = (below.counts(), OverlayDisk::new(Arc::new(below.clone())));
        let file = above.open(a, WRITE).expect("opens");
        file.write_at(b"xyz", 4).expect("writes");
        file.write_at(b"Y", 5).expect("writes");
        assert_eq!(read(&above, a), b"0123xYz789");
        file.set_len(6).expect("cuts");
        file.set_len(8).expect("extends");
        assert_eq!(read(&above, a), b"0123xY\0\0");
        file.write_at(b"end", 9).expect("writes");
        assert_eq!(read(&above, a), b"0123xY\0\0\0end");
        above.rename(b, c).expect("renames");
        assert_eq!(above.list(dir).expect("lists"), ["a", "c"]);
        assert_eq!(read(&above, c), b"0123456789");
        above.remove(a).expect("removes");
        assert!(!above.exists(a).expect("asks"));
        above.create_dir_all(Path::new("/d/e/f")).expect("makes");
        assert_eq!(above.list(dir).expect("lists"), ["c", "e"]);
        assert!(above.open(a, WRITE).is_ok() && read(&above, a).is_empty());

        assert_eq!(below.list(dir).expect("lists"), ["a", "b"]);
        assert_eq!(read(&below, a), b"0123456789");
        assert_eq!(below.counts().writes, counts.writes);
    }
}
