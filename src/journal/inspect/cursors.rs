//! The cursor records of a data directory, read while their streams may write them.

use std::io;
use std::path::{Path, PathBuf};

use crate::batch::CursorState;
use crate::journal::cursor;
use crate::os::disk::Disk;
use crate::position::{JournalId, Offset};

/// Times a record is read while a page of it does not hold: the stream may be writing it.
const TRIES_MAX: u32 = 4;

/// A cursor record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCursor {
    /// The file.
    pub path: PathBuf,
    /// The stream.
    pub stream: String,
    /// The journal.
    pub journal: JournalId,
    /// Its newest sound state.
    pub state: Option<CursorState>,
    /// Why a page does not hold, when one does not.
    pub damage: Option<String>,
}

/// The files of the cursors' directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursors {
    /// Records, by stream and journal.
    pub records: Vec<FoundCursor>,
    /// Files with a name that no record has.
    pub foreign: Vec<PathBuf>,
}

impl Cursors {
    /// Events below were durable in the journal: some stream has passed them, or has cut them
    /// for a batch.
    #[must_use]
    pub fn end_in(&self, journal: JournalId) -> Offset {
        let of_this = self
            .records
            .iter()
            .filter(|record| record.journal == journal);
        let states = of_this.filter_map(|record| record.state.as_ref());
        states.map(CursorState::end).max().unwrap_or_default()
    }
}

/// Reads all cursor records in `dir`; none when the directory is not there.
///
/// # Errors
/// When the disk cannot be read.
pub fn read_cursors(disk: &dyn Disk, dir: &Path, node: [u8; 16]) -> io::Result<Cursors> {
    let names = match disk.list(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut found = Cursors::default();
    for name in names {
        let path = dir.join(&name);
        let Some((stream, journal)) = parse_name(&name) else {
            found.foreign.push(path);
            continue;
        };
        let (state, damage) = read_one(disk, &path, journal, node)?;
        found.records.push(FoundCursor {
            path,
            stream: stream.to_owned(),
            journal,
            state,
            damage,
        });
    }
    Ok(found)
}

fn parse_name(name: &str) -> Option<(&str, JournalId)> {
    let stream = cursor::stream_of_file_name(name)?;
    let number = name.strip_suffix(".cursor")?.rsplit('.').next()?;
    let journal = match number {
        "internal" => JournalId::INTERNAL,
        number => JournalId(number.parse().ok()?),
    };
    (cursor::file_name(stream, journal) == name).then_some((stream, journal))
}

fn read_one(
    disk: &dyn Disk,
    path: &Path,
    journal: JournalId,
    node: [u8; 16],
) -> io::Result<(Option<CursorState>, Option<String>)> {
    let mut read = None;
    for _try in 0..TRIES_MAX {
        read = cursor::read(disk, path, journal, node)?;
        if read.as_ref().is_none_or(|read| read.damage.is_none()) {
            break;
        }
    }
    Ok(read.map_or((None, None), |read| {
        (read.state, read.damage.map(|damage| damage.to_string()))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::cursor::CursorRecord;
    use crate::os::memory_disk::MemoryDisk;
    use crate::position::Offset;

    #[test]
    fn records_are_read_beside_what_is_none() {
        let disk = MemoryDisk::new();
        let dir = Path::new("/c");
        assert_eq!(
            read_cursors(&disk, dir, [1; 16]).expect("reads"),
            Cursors::default()
        );
        disk.create_dir_all(dir).expect("makes");
        let mut opened =
            CursorRecord::open(&disk, &dir.join("a.b.3.cursor"), JournalId(3), [1; 16])
                .expect("opens");
        let state = CursorState {
            cursor: Offset(9),
            ..CursorState::default()
        };
        opened.record.write(&state).expect("writes");
        CursorRecord::open(&disk, &dir.join("x.cursor"), JournalId(0), [1; 16]).expect("opens");
        let found = read_cursors(&disk, dir, [1; 16]).expect("reads");
        assert_eq!(found.foreign, vec![dir.join("x.cursor")]);
        let [record] = &found.records[..] else {
            panic!("one record: {found:?}")
        };
        assert_eq!((&*record.stream, record.journal), ("a.b", JournalId(3)));
        assert_eq!((&record.state, &record.damage), (&Some(state), &None));
        // Of another node it is not believed.
        let found = read_cursors(&disk, dir, [2; 16]).expect("reads");
        assert!(found.records[0].state.is_none() && found.records[0].damage.is_some());
    }
}
