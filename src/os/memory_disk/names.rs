//! The directories of the memory disk: which name means which file, now and after a crash.
//!
//! Every change of a name is an operation of its directory and becomes durable with the
//! directory's sync. A crash keeps any of the others, but never one without the earlier
//! ones of the same names: file systems order those by their own journal. A rename is one
//! operation, of the directory it goes to: after a crash the file has one of its names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Choice;
use super::FileCell;

/// The names of a disk.
#[derive(Debug, Default)]
pub(super) struct Names {
    now: BTreeMap<PathBuf, Arc<FileCell>>,
    durable: BTreeMap<PathBuf, Arc<FileCell>>,
    /// Oldest first.
    pending: Vec<Operation>,
    directories: BTreeSet<PathBuf>,
}

#[derive(Debug, Clone)]
enum Operation {
    Create { path: PathBuf, file: Arc<FileCell> },
    Remove { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
}

impl Operation {
    fn paths(&self) -> [&Path; 2] {
        match self {
            Self::Create { path, .. } | Self::Remove { path } => [path, path],
            Self::Rename { from, to } => [from, to],
        }
    }

    /// Where its durability is decided.
    fn directory(&self) -> Option<&Path> {
        let [_, to] = self.paths();
        to.parent()
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, Arc<FileCell>>) {
        match self {
            Self::Create { path, file } => {
                names.insert(path, file);
            }
            Self::Remove { path } => {
                names.remove(&path);
            }
            Self::Rename { from, to } => {
                if let Some(file) = names.remove(&from) {
                    names.insert(to, file);
                }
            }
        }
    }
}

impl Names {
    pub(super) fn file(&self, path: &Path) -> Option<&Arc<FileCell>> {
        self.now.get(path)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, &Arc<FileCell>)> {
        self.now.iter().map(|(path, file)| (path.as_path(), file))
    }

    pub(super) fn is_directory(&self, path: &Path) -> bool {
        path.parent().is_none() || path.as_os_str().is_empty() || self.directories.contains(path)
    }

    pub(super) fn add_directories(&mut self, dir: &Path) {
        self.directories
            .extend(dir.ancestors().map(Path::to_path_buf));
    }

    /// Names of the entries of a directory, sorted.
    pub(super) fn list(&self, dir: &Path) -> Vec<String> {
        let files = self.now.keys();
        let entries: BTreeSet<String> = files
            .chain(&self.directories)
            .filter(|path| path.parent() == Some(dir))
            .filter_map(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        entries.into_iter().collect()
    }

    pub(super) fn create(&mut self, path: &Path, file: Arc<FileCell>) {
        let path = path.to_owned();
        self.change(Operation::Create { path, file });
    }

    pub(super) fn remove(&mut self, path: &Path) {
        let path = path.to_owned();
        self.change(Operation::Remove { path });
    }

    /// The name is gone at rest, whatever was done to it before.
    pub(super) fn lose(&mut self, path: &Path) {
        self.settle(|operation| operation.paths().contains(&path));
        self.durable.remove(path);
        self.now.remove(path);
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.change(Operation::Rename { from, to });
    }

    /// Makes the operations of a directory durable, with all they build on.
    pub(super) fn sync(&mut self, dir: &Path) {
        self.settle(|operation| operation.directory() == Some(dir));
    }

    /// The machine lost power. Returns with `now` as the disk has it.
    pub(super) fn crash(&mut self, keep: &mut dyn FnMut(Choice<'_>) -> bool) {
        self.settle(|operation| {
            let [_, path] = operation.paths();
            keep(Choice::Name { path })
        });
        self.pending.clear();
        self.now = self.durable.clone();
    }

    /// Moves the chosen operations, and the earlier ones of the same names, to `durable`.
    fn settle(&mut self, mut chosen: impl FnMut(&Operation) -> bool) {
        let mut names: BTreeSet<PathBuf> = BTreeSet::new();
        let mut settled = Vec::new();
        let mut left = Vec::new();
        for operation in std::mem::take(&mut self.pending).into_iter().rev() {
            let needed = operation.paths().iter().any(|path| names.contains(*path));
            if chosen(&operation) || needed {
                names.extend(operation.paths().map(Path::to_path_buf));
                settled.push(operation);
            } else {
                left.push(operation);
            }
        }
        left.reverse();
        self.pending = left;
        for operation in settled.into_iter().rev() {
            operation.apply(&mut self.durable);
        }
    }

    fn change(&mut self, operation: Operation) {
        self.pending.push(operation.clone());
        operation.apply(&mut self.now);
    }
}
