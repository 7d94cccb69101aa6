//! The node file: what it says, its text with a checksum line, and reading and replacing it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::event::InputId;
use crate::journal::format::checksum;
use crate::os::disk::{Disk, OpenMode};

/// Version of the file.
const VERSION: u32 = 1;

/// Longest file that is read: 10,000 inputs with long names.
const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// Begins the last line, which has the CRC-32C of all before it.
const CHECKSUM: &str = "# crc32c ";

/// What the node file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeRecord {
    version: u32,
    /// Random id of the node, drawn when the directory was made.
    pub(super) id: uuid::Uuid,
    /// Number of journals, fixed when the directory was made.
    pub(super) journals: u16,
    /// Numbers of inputs in block metadata, by name; never given twice.
    #[serde(default)]
    pub(super) inputs: BTreeMap<String, u16>,
}

/// Why a copy of the node file does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoRecord {
    /// There is no such file.
    Absent,
    /// It does not hold.
    Damaged(String),
    /// A later version wrote it, whole.
    Later(u32),
}

impl NodeRecord {
    pub(super) fn new(id: uuid::Uuid, journals: u16) -> Self {
        Self {
            version: VERSION,
            id,
            journals,
            inputs: BTreeMap::new(),
        }
    }

    /// The number of an input; a name not seen before gets one above all, and above `floor`.
    /// `None` when no number is left: those at the top are not for inputs.
    pub(super) fn number(&mut self, input: &str, floor: u16) -> Option<u16> {
        if let Some(known) = self.inputs.get(input) {
            return Some(*known);
        }
        let highest = self.inputs.values().max();
        let next = highest.map_or(0, |highest| highest.saturating_add(1));
        let next = next.max(floor);
        if next >= InputId::RESERVED_FIRST.0 {
            return None;
        }
        self.inputs.insert(input.to_owned(), next);
        Some(next)
    }

    /// Reads one copy.
    pub(super) fn read(disk: &dyn Disk, path: &Path) -> Result<Self, NoRecord> {
        let text = match read_text(disk, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(NoRecord::Absent),
            text => text.map_err(|error| NoRecord::Damaged(error.to_string()))?,
        };
        Self::parse(&text)
    }

    /// Replaces one copy whole: written beside it, synced, renamed, the directory synced.
    pub(super) fn write(&self, disk: &dyn Disk, dir: &Path, file: &str) -> io::Result<()> {
        let body = toml::to_string(self).map_err(io::Error::other)?;
        let text = format!("{body}{CHECKSUM}{:08x}\n", checksum(body.as_bytes()));
        let (new, path) = (dir.join(format!("{file}.new")), dir.join(file));
        let target = disk.open(
            &new,
            OpenMode {
                write: true,
                create: true,
                direct: false,
            },
        )?;
        target.set_len(0)?;
        target.write_at(text.as_bytes(), 0)?;
        target.sync()?;
        disk.rename(&new, &path)?;
        disk.sync_dir(dir)
    }

    fn parse(text: &str) -> Result<Self, NoRecord> {
        let damaged = |why: String| NoRecord::Damaged(why);
        let Some(at) = text.rfind(CHECKSUM) else {
            return Err(damaged("it has no checksum line".to_owned()));
        };
        let (body, line) = text.split_at(at);
        let computed = format!("{CHECKSUM}{:08x}\n", checksum(body.as_bytes()));
        if line != computed {
            return Err(damaged("its checksum does not hold".to_owned()));
        }
        // What a later version adds is not known here, but its version is said first.
        let version = toml::from_str::<toml::Table>(body).ok();
        let version = version.and_then(|table| table.get("version")?.as_integer());
        if let Some(later) = version.and_then(|version| u32::try_from(version).ok())
            && later > VERSION
        {
            return Err(NoRecord::Later(later));
        }
        let record: Self = toml::from_str(body).map_err(|error| damaged(error.to_string()))?;
        if record.journals == 0 {
            return Err(damaged("journals = 0 is below 1".to_owned()));
        }
        Ok(record)
    }
}

fn read_text(disk: &dyn Disk, path: &Path) -> io::Result<String> {
    let file = disk.open(
        path,
        OpenMode {
            write: false,
            create: false,
            direct: false,
        },
    )?;
    let len = usize::try_from(file.len()?)
        .map_err(io::Error::other)?
        .min(TEXT_BYTES_MAX);
    let mut bytes = vec![0; len];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    String::from_utf8(bytes).map_err(io::Error::other)
}
