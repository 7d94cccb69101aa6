//! Looking into a journal from outside: what is there, whether it holds, whether its chain is
//! whole.
//!
//! Works on a stopped node's directory and on a live one's: nothing here takes a lock or
//! writes. A live node appends, renames and removes under the reader's feet, so what does not
//! hold is looked at again before it is told, and a segment that retention took meanwhile is
//! passed over. Memory does not grow with the journal but by a few hundred bytes a segment.
//!
//! `inventory` lists a journal's files, `summary` puts them in numbers, `walk` goes through the
//! blocks of one; `chain` follows the hash chain, `records` reads what explains its gaps,
//! `anchor` is what it is held against; `check` holds every block against every rule of the
//! format, `events` reads a range back, `cursors` the streams' records. What a finding means for a reader or a start is recovery's to say.

pub mod anchor;
pub mod chain;
pub mod check;
pub mod cursors;
pub mod events;
pub mod inventory;
pub mod records;
pub mod summary;
pub mod walk;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::segments::SegmentFiles;
use crate::os::disk::{Disk, OpenMode};
use crate::position::JournalId;

/// Where a journal is, and whose.
#[derive(Debug, Clone)]
pub struct JournalPlace {
    /// The disk it is on.
    pub disk: Arc<dyn Disk>,
    /// Directory of its segments.
    pub dir: PathBuf,
    /// The journal.
    pub journal: JournalId,
    /// Random id of the node.
    pub node: [u8; 16],
    /// Read past the page cache, which a live node's machine needs for other things.
    pub direct: bool,
}

impl JournalPlace {
    /// The same as recovery and the floor know it.
    #[must_use]
    pub fn files(&self) -> SegmentFiles {
        SegmentFiles {
            disk: Arc::clone(&self.disk),
            dir: self.dir.clone(),
            journal: self.journal,
            node: self.node,
            // Of a segment to be made; nothing here makes one.
            file_bytes: 0,
            direct: self.direct,
        }
    }
}

/// Told the bytes gone through since the last call, as the work goes on.
pub type Progress<'a> = &'a mut dyn FnMut(u64);

/// Whether files of this directory can be read past the page cache: tried on the first one.
///
/// # Errors
/// When the directory cannot be read.
pub fn takes_direct_reads(disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
    let mode = OpenMode {
        write: false,
        create: false,
        direct: true,
    };
    for name in disk.list(dir)? {
        match disk.open(&dir.join(name), mode) {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(false),
            // Renamed since the list was made, or not ours to read: the next one tells.
            Err(_) => {}
        }
    }
    Ok(false)
}
