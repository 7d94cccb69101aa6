//! What files a journal has: segments with header and trailer, spares, and foreign files.
//!
//! Reads the first and the last page of every segment. A file that
//! went away between the list and the look is left out: the node moved it.

use std::io;
use std::path::PathBuf;

use crate::journal::floor;
use crate::journal::format::{FormatError, SegmentHeader, Trailer};
use crate::journal::inspect::JournalPlace;
use crate::journal::scan::{self, SegmentScan};
use crate::journal::segments::parse_file_name;
use crate::os::disk::OpenMode;
use crate::position::Offset;

/// The files of a journal.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Segments whose header holds, in order of sequence.
    pub segments: Vec<SegmentFile>,
    /// Files made ready for use, and half-made ones.
    pub spares: Vec<SpareFile>,
    /// Files that are no segments of this journal, though they stand among them.
    pub foreign: Vec<ForeignFile>,
}

/// One segment.
#[derive(Debug, Clone)]
pub struct SegmentFile {
    /// The file.
    pub path: PathBuf,
    /// Its header.
    pub header: SegmentHeader,
    /// Length of the file as it is; the header has the length it was made with.
    pub file_bytes: u64,
    /// Its trailer, or why it has none.
    pub seal: Result<Trailer, FormatError>,
}

/// A spare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpareFile {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub file_bytes: u64,
}

/// A file that is none of this journal's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignFile {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub file_bytes: u64,
    /// Sequence and first offset, when its name is that of a segment.
    pub named: Option<(u64, Offset)>,
    /// What is wrong with it.
    pub why: String,
}

impl ForeignFile {
    /// Whether its name is that of a segment with a sequence between these.
    pub(super) fn is_between(&self, low: u64, high: u64) -> bool {
        self.named
            .is_some_and(|(sequence, _)| sequence > low && sequence < high)
    }
}

impl SegmentFile {
    /// Opens it for reading its blocks.
    ///
    /// # Errors
    /// When the file cannot be opened; `NotFound` when the node took it meanwhile.
    pub fn scan(&self, place: &JournalPlace) -> io::Result<SegmentScan> {
        let JournalPlace {
            disk,
            journal,
            direct,
            ..
        } = place;
        let segment = self.header.segment;
        let scan = SegmentScan::open(&**disk, &self.path, *direct, *journal, segment)?;
        Ok(scan.within(self.header.file_bytes))
    }

    /// Whether the file is still in use as this segment. It is not once retention took it.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn in_place(&self, place: &JournalPlace) -> io::Result<bool> {
        match scan::read_header(&*place.disk, &self.path, place.direct) {
            Ok(Ok(header)) => Ok(header.segment == self.header.segment),
            // The header was sound when the list was made, and no one rewrites one in use.
            Ok(Err(_)) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a block stands in it. Of one that is not sealed the first block is looked for,
    /// which may read the whole file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn has_blocks(&self, place: &JournalPlace) -> io::Result<bool> {
        if let Ok(trailer) = &self.seal {
            return Ok(trailer.entries > 0);
        }
        let mut scan = self.scan(place)?;
        Ok(scan.resync(SegmentScan::FIRST_POSITION)?.is_some())
    }
}

/// Lists the files of a journal; nothing when its directory is not there.
///
/// # Errors
/// When the disk cannot be read.
pub fn inventory(place: &JournalPlace) -> io::Result<Inventory> {
    inventory_behind(place, 0)
}

/// As [`inventory`], without the segments up to and with the one of sequence `behind`.
///
/// # Errors
/// When the disk cannot be read.
pub fn inventory_behind(place: &JournalPlace, behind: u64) -> io::Result<Inventory> {
    let names = match place.disk.list(&place.dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut found = Inventory::default();
    for name in names {
        if parse_file_name(&name).is_some_and(|(sequence, _)| sequence <= behind) {
            continue;
        }
        match look_at(place, &name, &mut found) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            looked => looked?,
        }
    }
    let age = |segment: &SegmentFile| (segment.header.sequence, segment.header.first);
    found.segments.sort_by_key(age);
    Ok(found)
}

/// Sequence of the oldest segment file by name; `None` when there is none.
///
/// # Errors
/// When the directory cannot be read.
pub fn oldest_sequence(place: &JournalPlace) -> io::Result<Option<u64>> {
    let names = place.disk.list(&place.dir)?;
    let sequences = names.iter().filter_map(|name| parse_file_name(name));
    Ok(sequences.map(|(sequence, _)| sequence).min())
}

fn look_at(place: &JournalPlace, name: &str, found: &mut Inventory) -> io::Result<()> {
    let path = place.dir.join(name);
    let file_bytes = length_of(place, &path)?;
    let foreign = |named, why| ForeignFile {
        path: path.clone(),
        file_bytes,
        named,
        why,
    };
    let Some(named) = parse_file_name(name) else {
        if name.starts_with("spare-") {
            found.spares.push(SpareFile { path, file_bytes });
        } else if name != floor::FILE {
            let why = "its name is not that of a segment".to_owned();
            found.foreign.push(foreign(None, why));
        }
        return Ok(());
    };
    let header = match scan::read_header(&*place.disk, &path, place.direct)? {
        Ok(header) => header,
        Err(error) => {
            found.foreign.push(foreign(Some(named), error.to_string()));
            return Ok(());
        }
    };
    let why = if header.node != place.node {
        Some("its header is of another node".to_owned())
    } else if header.journal != place.journal {
        Some(format!("its header is of journal {}", header.journal))
    } else if (header.sequence, header.first) != named {
        let (sequence, first) = (header.sequence, header.first);
        Some(format!(
            "its header says sequence {sequence} and first offset {first}, its name does not"
        ))
    } else {
        None
    };
    if let Some(why) = why {
        // The node may have taken the file, and given it its next header, since the list.
        if place.disk.exists(&path)? {
            found.foreign.push(foreign(Some(named), why));
        }
        return Ok(());
    }
    let mut segment = SegmentFile {
        path: path.clone(),
        header,
        file_bytes,
        seal: Err(FormatError::Magic {
            what: "segment trailer",
            found: [0; 4],
        }),
    };
    segment.seal = segment.scan(place)?.read_trailer()?;
    found.segments.push(segment);
    Ok(())
}

fn length_of(place: &JournalPlace, path: &std::path::Path) -> io::Result<u64> {
    let mode = OpenMode {
        write: false,
        create: false,
        direct: false,
    };
    place.disk.open(path, mode)?.len()
}
