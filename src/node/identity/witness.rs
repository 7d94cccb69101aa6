//! What the rest of a data directory says of its node, when the node file is in doubt: whose
//! id segments and records carry, how many journals there are, which input numbers are used.
//!
//! Whatever cannot be read says nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::journal::recovery::input_number_highest;
use crate::journal::scan::read_header;
use crate::journal::segments::parse_file_name;
use crate::journal::{cursor, floor};
use crate::os::disk::Disk;
use crate::position::JournalId;

/// Segments of each journal that are asked for input numbers, the newest first: every block
/// has the totals of all inputs, so the first that can be read is enough.
const SEGMENTS_ASKED: usize = 3;

/// Segments of each journal that are asked for their node at most.
const SEGMENTS_COUNTED: usize = 1_000;

/// What the directory says.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// How many segments and records carry an id.
    votes: BTreeMap<[u8; 16], u32>,
    /// Journals there are directories or records of.
    pub(super) journals: u16,
    /// Above every input number in use.
    pub(super) input_next: u16,
}

impl Witness {
    /// Asks all there is.
    pub(super) fn gather(disk: &dyn Disk, data_dir: &Path) -> Self {
        let mut witness = Self::default();
        for (journal, dir) in journals(disk, data_dir) {
            if journal != JournalId::INTERNAL {
                witness.journals = witness.journals.max(journal.0 + 1);
            }
            for id in ids_of_journal(disk, &dir).take(SEGMENTS_COUNTED) {
                witness.vote(id);
            }
            // The internal journal counts no inputs, and names its records by reserved numbers.
            let asked = if journal == JournalId::INTERNAL {
                0
            } else {
                SEGMENTS_ASKED
            };
            for path in segments(disk, &dir).into_iter().rev().take(asked) {
                if let Ok(Some(highest)) = input_number_highest(disk, &path, journal) {
                    witness.input_next = witness.input_next.max(highest.saturating_add(1));
                    break;
                }
            }
        }
        let dir = data_dir.join("cursors");
        for name in disk.list(&dir).unwrap_or_default() {
            let journal = name
                .strip_suffix(".cursor")
                .and_then(|stem| stem.rsplit_once('.'));
            if let Some(Ok(journal)) = journal.map(|(_, journal)| journal.parse::<u16>()) {
                witness.journals = witness.journals.max(journal.saturating_add(1));
                let ids = cursor::nodes_of(disk, &dir.join(&name)).unwrap_or_default();
                ids.into_iter().for_each(|id| witness.vote(id));
            }
        }
        witness
    }

    /// The id that most carry.
    pub(super) fn id(&self) -> Option<[u8; 16]> {
        let most = self.votes.iter().max_by_key(|(_, votes)| **votes);
        most.map(|(id, _)| *id)
    }

    /// How many carry an id.
    pub(super) fn votes_for(&self, id: [u8; 16]) -> u32 {
        self.votes.get(&id).copied().unwrap_or(0)
    }

    /// Nothing in the directory says whose it is.
    pub(super) fn is_silent(&self) -> bool {
        self.votes.is_empty() && self.journals == 0
    }

    fn vote(&mut self, id: [u8; 16]) {
        *self.votes.entry(id).or_default() += 1;
    }
}

/// True when the first thing that says whose the directory is says `id`: one page read where
/// nothing is wrong.
pub(super) fn first_says(disk: &dyn Disk, data_dir: &Path, id: [u8; 16]) -> bool {
    let journals = journals(disk, data_dir).into_iter();
    let mut ids = journals.filter_map(|(_, dir)| ids_of_journal(disk, &dir).next());
    ids.next().is_none_or(|found| found == id)
}

/// The journals' directories.
fn journals(disk: &dyn Disk, data_dir: &Path) -> Vec<(JournalId, PathBuf)> {
    let dir = data_dir.join("journal");
    let names = disk.list(&dir).unwrap_or_default().into_iter();
    let numbered = names.filter_map(|name| {
        let internal = name == JournalId::INTERNAL.to_string();
        let number = internal.then_some(JournalId::INTERNAL);
        let number = number.or_else(|| name.parse().ok().map(JournalId))?;
        (number.to_string() == name).then(|| (number, dir.join(name)))
    });
    numbered.collect()
}

/// Paths of a journal's segments, oldest first.
fn segments(disk: &dyn Disk, dir: &Path) -> Vec<PathBuf> {
    let names = disk.list(dir).unwrap_or_default().into_iter();
    let segments = names.filter(|name| parse_file_name(name).is_some());
    segments.map(|name| dir.join(name)).collect()
}

/// The ids that a journal's segments and its floor carry, read as they are asked for.
fn ids_of_journal<'a>(disk: &'a dyn Disk, dir: &Path) -> impl Iterator<Item = [u8; 16]> + use<'a> {
    let floor = floor::nodes_of(disk, &dir.join(floor::FILE));
    let segments = segments(disk, dir).into_iter().filter_map(|path| {
        let header = read_header(disk, &path, false).ok()?;
        header.ok().map(|header| header.node)
    });
    segments.chain(floor.unwrap_or_default())
}
