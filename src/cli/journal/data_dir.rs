//! The data directory a command works on: whose it is, its journals, and whether a node runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::journal::{CommandError, Place};
use crate::config;
use crate::journal::inspect::{self, JournalPlace};
use crate::node::identity::{self, Card};
use crate::os::disk::Disk;
use crate::os::lock_holder::{self, LockHolder};
use crate::os::real_disk::RealDisk;
use crate::position::JournalId;

/// Where `weir run` keeps its state without a configuration.
const DEFAULT: &str = "./weir-data";

/// A data directory, read without taking it.
#[derive(Debug)]
pub(in crate::cli) struct DataDir {
    pub(in crate::cli) disk: Arc<dyn Disk>,
    pub(in crate::cli) path: PathBuf,
    pub(in crate::cli) card: Card,
    pub(in crate::cli) holder: LockHolder,
}

impl DataDir {
    /// Finds the directory and reads whose it is.
    pub(in crate::cli) fn open(place: &Place) -> Result<Self, CommandError> {
        let path = path_of(place)?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let card = identity::read_card(&*disk, &path)
            .map_err(|error| CommandError::Usage(error.to_string()))?;
        let holder = lock_holder::holder_of(&path.join("lock"));
        Ok(Self {
            disk,
            path,
            card,
            holder,
        })
    }

    /// The journals asked for: all with the internal one last, or the one named.
    pub(in crate::cli) fn journals(
        &self,
        named: Option<&str>,
    ) -> Result<Vec<JournalPlace>, CommandError> {
        let all = (0..self.card.journals).map(JournalId);
        let all = all.chain([JournalId::INTERNAL]);
        let wanted = |journal: &JournalId| named.is_none_or(|name| journal.to_string() == name);
        let journals: Vec<_> = all.filter(wanted).collect();
        if let (Some(name), true) = (named, journals.is_empty()) {
            return Err(CommandError::Usage(format!(
                "--journal {name}: {} has {}, and \"internal\"",
                self.path.display(),
                match self.card.journals {
                    1 => "journal 0".to_owned(),
                    count => format!("journals 0 to {}", count - 1),
                }
            )));
        }
        Ok(journals
            .into_iter()
            .map(|journal| self.journal(journal))
            .collect())
    }

    fn journal(&self, journal: JournalId) -> JournalPlace {
        let dir = self.path.join("journal").join(journal.to_string());
        // A directory that is not there, or not readable, is told by whoever reads it.
        let direct = inspect::takes_direct_reads(&*self.disk, &dir).unwrap_or(false);
        JournalPlace {
            disk: Arc::clone(&self.disk),
            dir,
            journal,
            node: *self.card.node.as_bytes(),
            direct,
        }
    }

    /// Directory of the cursor records.
    pub(super) fn cursors(&self) -> PathBuf {
        self.path.join("cursors")
    }

    /// Whether a node may be writing: it is known to run, or nothing is known.
    pub(super) fn may_be_live(&self) -> bool {
        self.holder != LockHolder::Nobody
    }

    /// The path of a file as seen from the data directory.
    pub(in crate::cli) fn short<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.path).unwrap_or(path)
    }

    /// What is known of a running node, for people.
    pub(super) fn holder_told(&self) -> String {
        match self.holder {
            LockHolder::Nobody => "stopped".to_owned(),
            LockHolder::Process(Some(id)) => format!("running (process {id})"),
            LockHolder::Process(None) => {
                "running (a process that is not seen from here)".to_owned()
            }
            LockHolder::Unknown => "not known to run or not".to_owned(),
        }
    }

    /// The same for programs: whether it runs, and its process.
    pub(super) fn holder_json(&self) -> serde_json::Value {
        let (running, process) = match self.holder {
            LockHolder::Nobody => (Some(false), None),
            LockHolder::Process(id) => (Some(true), id),
            LockHolder::Unknown => (None, None),
        };
        serde_json::json!({
            "id": self.card.node.to_string(),
            "running": running,
            "process": process,
        })
    }
}

/// The directory a command line names.
pub(super) fn path_of(place: &Place) -> Result<PathBuf, CommandError> {
    match (&place.data_dir, &place.config) {
        (Some(dir), _) => Ok(dir.clone()),
        (None, Some(file)) => {
            let plan =
                config::load(file).map_err(|errors| CommandError::Usage(errors.to_string()))?;
            Ok(plan.data_dir)
        }
        (None, None) => Ok(PathBuf::from(DEFAULT)),
    }
}
