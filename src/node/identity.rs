//! What a data directory remembers of its node: its id, its number of journals, the numbers
//! of its inputs; and the lock that keeps a second node out.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::os::disk::{Disk, DiskLock, OpenMode};

/// File name of the identity.
const FILE: &str = "node.toml";

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
    /// No node ever used it.
    #[error(
        "{}: no node.toml is there, so it is no data directory of weir; name one with --data-dir, or its configuration with --config",
        dir.display()
    )]
    Absent {
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
    /// The identity file does not read.
    #[error(
        "{}: {why}; restore it from a backup, or set it aside to begin with a new identity (journals and cursors of the old one are then left alone)",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// What a data directory says of its node, read without taking it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Random id of the node.
    pub node: uuid::Uuid,
    /// Number of journals.
    pub journals: u16,
    /// Names of the inputs by their numbers in block metadata.
    pub inputs: BTreeMap<u16, String>,
}

/// Reads whose a data directory is; nothing is taken, made or changed.
///
/// # Errors
/// When there is no `node.toml`, or it does not read.
pub fn read_card(disk: &dyn Disk, dir: &Path) -> Result<Card, IdentityError> {
    let path = dir.join(FILE);
    let on_disk = |error| IdentityError::Disk {
        dir: dir.to_owned(),
        error,
    };
    if !disk.exists(&path).map_err(on_disk)? {
        return Err(IdentityError::Absent {
            dir: dir.to_owned(),
        });
    }
    let file = read(disk, &path)?;
    let inputs = file.inputs.into_iter();
    Ok(Card {
        node: file.id,
        journals: file.journals,
        inputs: inputs.map(|(name, number)| (number, name)).collect(),
    })
}

/// What `node.toml` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Version of this file.
    version: u32,
    /// Random id of the node, drawn when the directory was made.
    id: uuid::Uuid,
    /// Number of journals, fixed when the directory was made.
    journals: u16,
    /// Numbers of inputs in block metadata, by name; never given twice.
    #[serde(default)]
    inputs: BTreeMap<String, u16>,
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
        let path = dir.join(FILE);
        let known = match disk.exists(&path).map_err(on_disk)? {
            true => Some(read(disk, &path)?),
            false => None,
        };
        let mut file = known.clone().unwrap_or_else(|| File {
            version: 1,
            id: uuid::Uuid::new_v4(),
            journals,
            inputs: BTreeMap::new(),
        });
        for input in inputs {
            let next = file.inputs.values().max().map_or(0, |highest| highest + 1);
            file.inputs.entry((*input).to_owned()).or_insert(next);
        }
        if known.as_ref() != Some(&file) {
            write(disk, dir, &file).map_err(on_disk)?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            node: *file.id.as_bytes(),
            journals: file.journals,
            inputs: inputs.iter().map(|input| file.inputs[*input]).collect(),
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

fn read(disk: &dyn Disk, path: &Path) -> Result<File, IdentityError> {
    let unreadable = |why: String| IdentityError::Unreadable {
        path: path.to_owned(),
        why,
    };
    let text = read_text(disk, path).map_err(|error| unreadable(error.to_string()))?;
    let file: File = toml::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    if file.version != 1 {
        return Err(unreadable(format!(
            "version {} is not known to this build",
            file.version
        )));
    }
    if file.journals == 0 {
        return Err(unreadable("journals = 0 is below 1".to_owned()));
    }
    Ok(file)
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
        .min(1024 * 1024);
    let mut bytes = vec![0; len];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// Replaces the file whole: written beside it, synced, renamed, the directory synced.
fn write(disk: &dyn Disk, dir: &Path, file: &File) -> io::Result<()> {
    let text = toml::to_string(file).map_err(io::Error::other)?;
    let (new, path) = (dir.join("node.toml.new"), dir.join(FILE));
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
    fn the_card_is_read_from_a_directory_in_use_and_never_made() {
        let disk = MemoryDisk::new();
        let dir = Path::new("/data");
        assert!(matches!(
            read_card(&disk, dir),
            Err(IdentityError::Absent { .. })
        ));
        assert!(!disk.exists(&dir.join("lock")).expect("asks"));
        let node = open(&disk, &["a", "b"]).expect("opens");
        let card = read_card(&disk, dir).expect("reads");
        assert_eq!((*card.node.as_bytes(), card.journals), (node.node, 2));
        assert_eq!(card.inputs[&1], "b");
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

    #[test]
    fn a_damaged_identity_is_named_and_not_replaced() {
        let disk = MemoryDisk::new();
        drop(open(&disk, &[]).expect("opens"));
        disk.flip(Path::new("/data/node.toml"), 0, 7)
            .expect("the byte is there");
        assert!(matches!(
            open(&disk, &[]),
            Err(IdentityError::Unreadable { .. })
        ));
    }
}
