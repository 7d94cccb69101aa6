//! What retention and quarantine wrote down about events that are gone: the floor of the
//! journal, and the records beside what was set aside.
//!
//! A record is a claim, not a proof: who can remove a block can write one, too. So what it
//! explains is told with it, and its audit event, which a SIEM holds, is what to compare with.

use std::io;
use std::path::Path;

use serde_json::Value;

use crate::journal::floor::Floor;
use crate::journal::format::ChainHash;
use crate::journal::inspect::JournalPlace;
use crate::journal::inspect::chain::{Record, RecordKind};
use crate::journal::recovery::quarantine::Quarantine;
use crate::os::disk::OpenMode;
use crate::position::{Offset, OffsetRange};

/// Longest record read; a longer file is none.
const RECORD_BYTES_MAX: u64 = 64 * 1024;

/// Times the floor is read while a page of it does not hold: the keeper may be writing it.
const TRIES_MAX: u32 = 4;

/// Reads the records of a journal.
///
/// # Errors
/// When the disk cannot be read; a record that does not read explains nothing.
pub fn read_records(place: &JournalPlace) -> io::Result<Vec<Record>> {
    let files = place.files();
    let mut floor = Floor::read(&files)?;
    for _try in 1..TRIES_MAX {
        if floor.damage.is_none() {
            break;
        }
        floor = Floor::read(&files)?;
    }
    let mut records = Vec::new();
    if let Some(state) = floor.state {
        records.push(Record {
            kind: RecordKind::Retention,
            range: OffsetRange {
                first: Offset(0),
                end: state.removed_to,
            },
            before: None,
            // Zero where nothing said what it was.
            after: Some(state.chain).filter(|chain| *chain != ChainHash::default()),
        });
    }
    let quarantine = Quarantine::of(&files);
    let names = match place.disk.list(quarantine.dir()) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let journal = format!("{}-", place.journal);
    let of_this = |name: &&String| name.starts_with(&journal) && name.ends_with(".json");
    for name in names.iter().filter(of_this) {
        let text = read_text(place, &quarantine.dir().join(name))?;
        records.extend(text.and_then(|text| parse(&text, &place.journal.to_string())));
    }
    Ok(records)
}

fn read_text(place: &JournalPlace, path: &Path) -> io::Result<Option<String>> {
    let mode = OpenMode {
        write: false,
        create: false,
        direct: false,
    };
    let file = match place.disk.open(path, mode) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes = file.len()?;
    if bytes > RECORD_BYTES_MAX {
        return Ok(None);
    }
    let mut text = vec![0; usize::try_from(bytes).unwrap_or_default()];
    let read = file.read_at(&mut text, 0)?;
    text.truncate(read);
    Ok(String::from_utf8(text).ok())
}

/// A record of the quarantine; `None` for what is none, or of another journal.
fn parse(text: &str, journal: &str) -> Option<Record> {
    let record: Value = serde_json::from_str(text).ok()?;
    if record["journal"] != journal || !matches!(record["what"].as_str()?, "damaged" | "missing") {
        return None;
    }
    let offset = |at: usize| record["events"][at].as_u64().map(Offset);
    Some(Record {
        kind: RecordKind::Quarantine,
        range: OffsetRange {
            first: offset(0)?,
            end: offset(1)?,
        },
        before: hash(&record["chain_before"])?,
        after: hash(&record["chain_after"])?,
    })
}

/// A hash in hexadecimal digits, or null; `None` for anything else.
fn hash(value: &Value) -> Option<Option<ChainHash>> {
    if value.is_null() {
        return Some(None);
    }
    let digits = value.as_str()?.as_bytes();
    let mut hash = ChainHash::default();
    if digits.len() != 2 * hash.len() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Some(hash))
}
