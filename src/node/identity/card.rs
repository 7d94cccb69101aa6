//! Reading whose a data directory is without taking it: for tools beside a running node.

use std::collections::BTreeMap;
use std::path::Path;

use crate::journal::recovery::Finding;
use crate::node::identity::{FILES, IdentityError, choose};
use crate::os::disk::Disk;

/// What a data directory says of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Random id of the node.
    pub node: uuid::Uuid,
    /// Number of journals.
    pub journals: u16,
    /// Names of the inputs by their numbers in block metadata.
    pub inputs: BTreeMap<u16, String>,
    /// What of the node file does not hold, and what a start does about it.
    pub findings: Vec<Finding>,
}

/// Reads whose a data directory is; nothing is taken, made or changed.
///
/// # Errors
/// When it is no data directory, a later version wrote it, or the disk refuses.
pub fn read_card(disk: &dyn Disk, dir: &Path) -> Result<Card, IdentityError> {
    let mut is_one = false;
    for name in FILES.into_iter().chain(["journal"]) {
        is_one |= disk
            .exists(&dir.join(name))
            .map_err(|error| IdentityError::Disk {
                dir: dir.to_owned(),
                error,
            })?;
    }
    if !is_one {
        return Err(IdentityError::Absent {
            dir: dir.to_owned(),
        });
    }
    let chosen = choose(disk, dir, 1)?;
    let inputs = chosen.record.inputs.into_iter();
    Ok(Card {
        node: chosen.record.id,
        journals: chosen.record.journals,
        inputs: inputs.map(|(name, number)| (number, name)).collect(),
        findings: chosen.findings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::identity::Identity;
    use crate::os::memory_disk::MemoryDisk;

    #[test]
    fn the_card_is_read_from_a_directory_in_use_and_never_made() {
        let disk = MemoryDisk::new();
        let dir = Path::new("/data");
        assert!(matches!(
            read_card(&disk, dir),
            Err(IdentityError::Absent { .. })
        ));
        assert!(!disk.exists(&dir.join("lock")).expect("asks"));
        let node = Identity::open(&disk, dir, 2, &["a", "b"]).expect("opens");
        let card = read_card(&disk, dir).expect("reads");
        assert_eq!((*card.node.as_bytes(), card.journals), (node.node, 2));
        assert_eq!((&*card.inputs[&1], card.findings), ("b", Vec::new()));
    }

    #[test]
    fn a_damaged_copy_is_told_and_left_as_it_is() {
        let disk = MemoryDisk::new();
        let dir = Path::new("/data");
        let node = Identity::open(&disk, dir, 2, &["a"]).expect("opens");
        disk.flip(&dir.join(FILES[0]), 3, 1).expect("flips");
        for _twice in 0..2 {
            let card = read_card(&disk, dir).expect("reads");
            assert_eq!(*card.node.as_bytes(), node.node);
            assert_eq!(card.findings.len(), 1);
        }
    }
}
