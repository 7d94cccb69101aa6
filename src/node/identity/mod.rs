//! What a data directory remembers of its node: its id, its number of journals, the numbers
//! of its inputs; and the lock that keeps a second node out.
//!
//! The node file is kept twice, each copy with a checksum. One that is damaged, missing or of
//! another node is restored from the other; when neither can be believed, what segments and
//! cursor records carry is. So the node starts, under its own id, whatever became of the file.

mod record;
mod witness;

use std::io;
use std::path::{Path, PathBuf};

use crate::journal::recovery::Finding;
use crate::node::identity::record::{NoRecord, NodeRecord};
use crate::node::identity::witness::Witness;
use crate::os::disk::{Disk, DiskLock};

/// Names of the copies of the node file; the first is written first.
const FILES: [&str; 2] = ["node.toml", "node.toml.copy"];

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Another process has it.
    #[error(
        "data directory {}: another weir uses it; stop that one, or give this one its own node.data_dir",
        dir.display()
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The disk refuses.
    #[error("data directory {}: {error}; check that it exists and that this user may write it", dir.display())]
    Disk {
        /// The directory.
        dir: PathBuf,
        /// What the disk said.
        error: io::Error,
    },
    /// A later version of Weir wrote the directory.
    #[error(
        "{}: version {found} is not known to this build; start the version that wrote it",
        path.display()
    )]
    Later {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

/// A data directory taken by this process.
#[derive(Debug)]
pub struct Identity {
    /// The directory.
    pub dir: PathBuf,
    /// Random id of the node.
    pub node: [u8; 16],
    /// Number of journals.
    pub journals: u16,
    /// Numbers of the inputs, in the order they were asked for.
    pub inputs: Vec<u16>,
    /// What of the node file was made anew.
    pub findings: Vec<Finding>,
    lock: Box<dyn DiskLock>,
}

impl Identity {
    /// Takes the directory, made when missing, with `journals` journals if it is new.
    ///
    /// # Errors
    /// When another process has it, or the disk refuses.
    pub fn open(
        disk: &dyn Disk,
        dir: &Path,
        journals: u16,
        inputs: &[&str],
    ) -> Result<Self, IdentityError> {
        let on_disk = |error| IdentityError::Disk {
            dir: dir.to_owned(),
            error,
        };
        disk.create_dir_all(dir).map_err(on_disk)?;
        let lock = disk
            .lock(&dir.join("lock"))
            .map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => IdentityError::Locked {
                    dir: dir.to_owned(),
                },
                _ => on_disk(error),
            })?;
        let mut chosen = choose(disk, dir, journals)?;
        let before = chosen.record.clone();
        let numbers = inputs
            .iter()
            .map(|input| chosen.record.number(input, chosen.input_floor))
            .collect();
        let changed = chosen.is_new || before != chosen.record;
        chosen.write(disk, dir, changed).map_err(on_disk)?;
        Ok(Self {
            dir: dir.to_owned(),
            node: *chosen.record.id.as_bytes(),
            journals: chosen.record.journals,
            inputs: numbers,
            findings: chosen.findings,
            lock,
        })
    }

    /// Whether the directory is still the one that was taken: not removed, not replaced.
    ///
    /// # Errors
    /// When the disk cannot be asked; nothing is known then.
    pub fn in_place(&self) -> io::Result<bool> {
        self.lock.in_place()
    }
}

/// The node file that is believed.
#[derive(Debug)]
struct Chosen {
    record: NodeRecord,
    /// No input may get a number below: lower ones may be in use under names that are lost.
    input_floor: u16,
    /// Neither copy says this.
    is_new: bool,
    /// Copies that must be written whatever happens to the record.
    stale: [bool; 2],
    findings: Vec<Finding>,
}

/// Decides which copy is believed, or makes a record from what else there is.
fn choose(disk: &dyn Disk, dir: &Path, journals: u16) -> Result<Chosen, IdentityError> {
    let copies = FILES.map(|file| NodeRecord::read(disk, &dir.join(file)));
    for (copy, file) in copies.iter().zip(FILES) {
        if let Err(NoRecord::Later(found)) = copy {
            let (path, found) = (dir.join(file), *found);
            return Err(IdentityError::Later { path, found });
        }
    }
    let believed = match &copies {
        [Ok(first), Ok(second)] if first.id == second.id => {
            // A stop between the two: the first is written first, and only ever grows.
            let more = first.inputs.len() >= second.inputs.len();
            Some(if more { first } else { second })
        }
        [Ok(first), Ok(second)] => {
            let witness = Witness::gather(disk, dir);
            let votes = [first, second].map(|copy| witness.votes_for(*copy.id.as_bytes()));
            Some(if votes[1] > votes[0] { second } else { first })
        }
        [Ok(only), Err(_)] | [Err(_), Ok(only)] => Some(only),
        [Err(_), Err(_)] => None,
    };
    let believed = believed.filter(|record| is_ours(disk, dir, record));
    let Some(record) = believed.cloned() else {
        return Ok(rebuild(disk, dir, journals, &copies));
    };
    let mut chosen = Chosen {
        input_floor: 0,
        is_new: false,
        stale: [false; 2],
        findings: Vec::new(),
        record,
    };
    for (at, copy) in copies.iter().enumerate() {
        chosen.stale[at] = copy.as_ref() != Ok(&chosen.record);
        let why = match copy {
            Ok(copy) if copy.id == chosen.record.id => continue,
            Ok(_) => "it is of another node".to_owned(),
            Err(NoRecord::Absent) => "it was not there".to_owned(),
            Err(NoRecord::Damaged(why)) => why.clone(),
            Err(NoRecord::Later(_)) => unreachable!("later versions were refused above"),
        };
        chosen.findings.push(Finding::NodeFile {
            path: dir.join(FILES[at]),
            what: format!("{why}; it is restored from {}", FILES[1 - at]),
        });
    }
    Ok(chosen)
}

/// False for a sound node file that was put into another node's directory: there is something
/// that says whose it is, and nothing says this one's.
fn is_ours(disk: &dyn Disk, dir: &Path, record: &NodeRecord) -> bool {
    let id = *record.id.as_bytes();
    if witness::first_says(disk, dir, id) {
        return true;
    }
    let witness = Witness::gather(disk, dir);
    witness.votes_for(id) > 0 || witness.id().is_none()
}

/// Makes a record from what segments and cursor records carry; a new one for a new directory.
fn rebuild(
    disk: &dyn Disk,
    dir: &Path,
    journals: u16,
    copies: &[Result<NodeRecord, NoRecord>; 2],
) -> Chosen {
    let witness = Witness::gather(disk, dir);
    let id = witness.id().map(uuid::Uuid::from_bytes);
    let number = match witness.journals {
        0 => journals,
        found => found,
    };
    let was_there = copies.iter().any(|copy| *copy != Err(NoRecord::Absent));
    let what = match id {
        Some(id) => format!(
            "neither it nor its copy can be believed; it is made anew from {number} journals of node {id}; inputs get numbers from {}",
            witness.input_next
        ),
        None => "neither it nor its copy can be believed, and nothing else says whose the directory is; the node begins with a new id".to_owned(),
    };
    let path = dir.join(FILES[0]);
    let told = was_there || !witness.is_silent();
    Chosen {
        record: NodeRecord::new(id.unwrap_or_else(uuid::Uuid::new_v4), number),
        input_floor: witness.input_next,
        is_new: true,
        stale: [true; 2],
        findings: Vec::from_iter(told.then_some(Finding::NodeFile { path, what })),
    }
}

impl Chosen {
    /// Writes the copies that are not as they should be. A changed record must be in one of
    /// them; a copy alone can wait for a disk that takes it.
    fn write(&mut self, disk: &dyn Disk, dir: &Path, changed: bool) -> io::Result<()> {
        let mut refused = None;
        let mut written = !changed;
        for (file, stale) in FILES.iter().zip(self.stale) {
            if !changed && !stale {
                continue;
            }
            match self.record.write(disk, dir, file) {
                Ok(()) => written = true,
                Err(error) => {
                    self.findings.push(Finding::NodeFile {
                        path: dir.join(file),
                        what: format!("it cannot be written: {error}"),
                    });
                    refused = Some(error);
                }
            }
        }
        match refused {
            Some(error) if !written => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::memory_disk::MemoryDisk;

    fn open(disk: &MemoryDisk, inputs: &[&str]) -> Result<Identity, IdentityError> {
        Identity::open(disk, Path::new("/data"), 2, inputs)
    }

    #[test]
    fn id_journals_and_input_numbers_last_across_restarts_and_crashes() {
        let disk = MemoryDisk::new();
        let first = open(&disk, &["a", "b"]).expect("opens");
        disk.crash(7);
        let second = open(&disk, &["c", "b"]).expect("opens");
        assert_eq!(first.node, second.node);
        assert_eq!((first.inputs, second.inputs), (vec![0, 1], vec![2, 1]));
        let third = Identity::open(&MemoryDisk::new(), Path::new("/data"), 2, &[]).expect("opens");
        assert_ne!(third.node, second.node);
    }

    #[test]
    fn a_second_node_is_kept_out() {
        let disk = MemoryDisk::new();
        let first = open(&disk, &[]).expect("opens");
        assert!(matches!(
            open(&disk, &[]),
            Err(IdentityError::Locked { .. })
        ));
        drop(first);
        open(&disk, &[]).expect("the lock is free again");
    }

    fn put(disk: &MemoryDisk, file: &str, text: &[u8]) {
        let mode = crate::os::disk::OpenMode {
            write: true,
            create: true,
            direct: false,
        };
        let file = disk.open(&Path::new("/data").join(file), mode);
        let file = file.expect("opens");
        file.set_len(0).expect("cuts");
        file.write_at(text, 0).expect("writes");
        file.sync().expect("syncs");
    }

    #[test]
    fn either_copy_stands_in_for_the_other_and_the_damaged_one_is_told_and_restored_once() {
        for (file, byte) in FILES
            .into_iter()
            .flat_map(|file| [(file, 0), (file, 40), (file, 80)])
        {
            let disk = MemoryDisk::new();
            let first = open(&disk, &["a", "b"]).expect("opens");
            let node = first.node;
            drop(first);
            disk.flip(&Path::new("/data").join(file), byte, 1)
                .expect("the byte is there");
            let second = open(&disk, &["b"]).expect("opens");
            assert_eq!((second.node, &second.inputs), (node, &vec![1]));
            assert_eq!(second.findings.len(), 1, "{:?}", second.findings);
            drop(second);
            assert_eq!(open(&disk, &[]).expect("opens").findings, Vec::new());
        }
    }

    #[test]
    fn without_anything_else_a_directory_with_two_bad_copies_begins_anew_and_says_so() {
        let disk = MemoryDisk::new();
        let node = open(&disk, &[]).expect("opens").node;
        FILES.iter().for_each(|file| put(&disk, file, b""));
        let begun = open(&disk, &[]).expect("opens");
        assert_ne!(begun.node, node);
        assert_eq!(begun.findings.len(), 1);
    }

    #[test]
    fn a_directory_of_a_later_version_is_refused_by_name() {
        let disk = MemoryDisk::new();
        drop(open(&disk, &[]).expect("opens"));
        let body = "version = 2\nnew = true\n";
        let crc = crate::journal::format::checksum(body.as_bytes());
        put(
            &disk,
            FILES[1],
            format!("{body}# crc32c {crc:08x}\n").as_bytes(),
        );
        let refused = open(&disk, &[]).map(|_| ());
        assert!(matches!(
            refused,
            Err(IdentityError::Later { found: 2, .. })
        ));
    }
}
