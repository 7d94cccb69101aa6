//! A disk in memory for the tests: it can fail after a number of steps, and a power cut
//! takes back what was not synced. Contents are made durable by `sync`, names by `sync_dir`.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::os::disk::{Disk, DiskFile, DiskLock, DiskRoom, OpenMode};

/// The disk; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct CrashDisk(Arc<Mutex<Inner>>);

/// What of the unsynced changes is still there after a power cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Survivors {
    pub(super) contents: bool,
    pub(super) names: bool,
}

#[derive(Debug, Default)]
struct Inner {
    contents: Vec<Versions<Vec<u8>>>,
    /// Path to index in `contents`.
    names: Versions<BTreeMap<PathBuf, usize>>,
    /// Changing steps left until everything fails.
    steps_left: Option<u64>,
    /// Fails the next step of this kind, once.
    fail_next: Option<(Step, io::ErrorKind)>,
    syncs: u64,
}

#[derive(Debug, Default, Clone)]
struct Versions<T> {
    now: T,
    durable: T,
}

/// Kinds of changing steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Create,
    Write,
    Sync,
    SetLen,
    Rename,
    Remove,
    SyncDir,
    Record,
}

impl CrashDisk {
    /// Lets so many changing steps succeed, then none; `None` lifts it.
    pub(super) fn set_steps_left(&self, steps: Option<u64>) {
        self.inner().steps_left = steps;
    }

    /// Fails the next step of a kind.
    pub(super) fn fail_next(&self, step: Step, kind: io::ErrorKind) {
        self.inner().fail_next = Some((step, kind));
    }

    /// Power cut.
    pub(super) fn cut_power(&self, survivors: Survivors) {
        let mut inner = self.inner();
        inner.steps_left = None;
        for file in &mut inner.contents {
            file.settle(survivors.contents);
        }
        inner.names.settle(survivors.names);
    }

    /// A step of the test's own that counts like one of the disk.
    pub(super) fn record_step(&self) -> io::Result<()> {
        self.inner().step(Step::Record)
    }

    /// Content of a file as it is now.
    pub(super) fn content(&self, path: &str) -> Option<Vec<u8>> {
        let inner = self.inner();
        let index = inner.names.now.get(Path::new(path))?;
        Some(inner.contents[*index].now.clone())
    }

    /// Puts a file there, durably, as another program would.
    pub(super) fn put(&self, path: &str, content: &[u8]) {
        let mut inner = self.inner();
        let index = inner.contents.len();
        inner.contents.push(Versions {
            now: content.to_vec(),
            durable: content.to_vec(),
        });
        inner.names.now.insert(path.into(), index);
        inner.names.durable.insert(path.into(), index);
    }

    /// All file paths.
    pub(super) fn paths(&self) -> Vec<String> {
        let inner = self.inner();
        let paths = inner.names.now.keys();
        paths.map(|path| path.display().to_string()).collect()
    }

    /// Number of syncs of contents so far.
    pub(super) fn syncs(&self) -> u64 {
        self.inner().syncs
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

impl<T: Clone> Versions<T> {
    fn settle(&mut self, keep_now: bool) {
        if keep_now {
            self.durable = self.now.clone();
        } else {
            self.now = self.durable.clone();
        }
    }
}

impl Inner {
    fn step(&mut self, step: Step) -> io::Result<()> {
        if let Some(left) = &mut self.steps_left {
            if *left == 0 {
                return Err(io::Error::other("power cut"));
            }
            *left -= 1;
        }
        match self.fail_next {
            Some((kind, error)) if kind == step => {
                self.fail_next = None;
                Err(error.into())
            }
            _ => Ok(()),
        }
    }

    fn index(&self, path: &Path) -> io::Result<usize> {
        let found = self.names.now.get(path).copied();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[derive(Debug)]
struct CrashFile {
    disk: CrashDisk,
    index: usize,
}

impl DiskFile for CrashFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let inner = self.disk.inner();
        let content = &inner.contents[self.index].now;
        let rest = content
            .get(usize::try_from(offset).unwrap()..)
            .unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut inner = self.disk.inner();
        let outcome = inner.step(Step::Write);
        // A failed write leaves half of it.
        let len = if outcome.is_ok() {
            bytes.len()
        } else {
            bytes.len() / 2
        };
        let at = usize::try_from(offset).unwrap();
        let content = &mut inner.contents[self.index].now;
        content.resize(content.len().max(at + len), 0);
        content[at..at + len].copy_from_slice(&bytes[..len]);
        outcome
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_at(bytes, offset)?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.step(Step::Sync)?;
        inner.syncs += 1;
        inner.contents[self.index].settle(true);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.inner().contents[self.index].now.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.step(Step::SetLen)?;
        let len = usize::try_from(len).unwrap();
        inner.contents[self.index].now.resize(len, 0);
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl Disk for CrashDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.inner();
        let index = match inner.index(path) {
            Err(_) if mode.create => {
                inner.step(Step::Create)?;
                let index = inner.contents.len();
                inner.contents.push(Versions::default());
                inner.names.now.insert(path.to_owned(), index);
                index
            }
            found => found?,
        };
        let disk = self.clone();
        Ok(Arc::new(CrashFile { disk, index }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.step(Step::Rename)?;
        let index = inner.index(from)?;
        inner.names.now.remove(from);
        let replaced = inner.names.now.insert(to.to_owned(), index);
        assert_eq!(replaced, None, "a closed file is never written over");
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.step(Step::Remove)?;
        inner.index(path)?;
        inner.names.now.remove(path);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let inner = self.inner();
        let here = inner
            .names
            .now
            .keys()
            .filter(|path| path.parent() == Some(dir));
        let names = here.filter_map(|path| path.file_name()?.to_str());
        Ok(names.map(str::to_owned).collect())
    }

    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.step(Step::SyncDir)?;
        inner.names.settle(true);
        Ok(())
    }

    fn room(&self, _path: &Path) -> io::Result<DiskRoom> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn lock(&self, _path: &Path) -> io::Result<Box<dyn DiskLock>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.inner().index(path).is_ok())
    }
}
