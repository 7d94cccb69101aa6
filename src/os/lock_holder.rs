//! Who holds a lock file, asked of the kernel without touching the lock.
//!
//! A try to take it, even a shared one, could make a node that starts at this moment fail. The
//! kernel lists all locks in `/proc/locks`; what it does not show (other systems, a process in
//! another container) is told as not known, never as free.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What is known of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockHolder {
    /// Nobody holds it.
    Nobody,
    /// A process does: its id, when it can be seen from here.
    Process(Option<u32>),
    /// The kernel does not say.
    Unknown,
}

/// Who holds the lock on the file at `path`, taken by `Disk::lock`.
#[must_use]
pub fn holder_of(path: &Path) -> LockHolder {
    let file = match fs::metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return LockHolder::Nobody,
        Err(_) => return LockHolder::Unknown,
    };
    match fs::read_to_string("/proc/locks") {
        Ok(locks) => find(&locks, file.dev(), file.ino()),
        Err(_) => LockHolder::Unknown,
    }
}

/// Finds a lock in the kernel's list: `1: FLOCK  ADVISORY  WRITE 4711 08:02:1234 0 EOF`.
fn find(locks: &str, device: u64, inode: u64) -> LockHolder {
    for line in locks.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, process, place, ..] = words[..] else {
            continue;
        };
        let mut parts = place.split(':');
        let mut number = |radix| u64::from_str_radix(parts.next()?, radix).ok();
        let (Some(major), Some(minor), Some(found)) = (number(16), number(16), number(10)) else {
            continue;
        };
        // File systems without a device of their own (major 0) show files under another minor
        // number than their locks.
        let same_device = (major, minor) == device_numbers(device) || device_numbers(device).0 == 0;
        if found == inode && same_device {
            return LockHolder::Process(process.parse().ok().filter(|process| *process > 0));
        }
    }
    LockHolder::Nobody
}

/// Major and minor number of a device, as Linux packs them.
fn device_numbers(device: u64) -> (u64, u64) {
    let major = (device >> 8 & 0xfff) | (device >> 32 & !0xfff);
    let minor = (device & 0xff) | (device >> 12 & !0xff);
    (major, minor & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::disk::Disk as _;
    use crate::os::real_disk::RealDisk;

    const LOCKS: &str = "1: POSIX  ADVISORY  WRITE 100 08:02:7 0 EOF\n\
                         2: FLOCK  ADVISORY  WRITE 4711 08:02:1234 0 EOF\n\
                         3: FLOCK  ADVISORY  WRITE 0 08:12:1235 0 EOF\n";

    #[test]
    fn the_kernels_list_names_the_holder() {
        let device = 0x0802;
        assert_eq!(find(LOCKS, device, 1234), LockHolder::Process(Some(4711)));
        assert_eq!(find(LOCKS, 0x0812, 1235), LockHolder::Process(None));
        assert_eq!(find(LOCKS, device, 1235), LockHolder::Nobody);
        assert_eq!(find(LOCKS, device, 7), LockHolder::Nobody);
    }

    #[test]
    fn a_lock_of_this_process_is_seen_and_one_let_go_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("lock");
        assert_eq!(holder_of(&path), LockHolder::Nobody);
        let held = RealDisk.lock(&path).expect("free");
        let seen = holder_of(&path);
        // Where the kernel's list is hidden there is nothing to see.
        if seen != LockHolder::Unknown {
            assert_eq!(seen, LockHolder::Process(Some(std::process::id())));
        }
        drop(held);
        assert!(matches!(
            holder_of(&path),
            LockHolder::Nobody | LockHolder::Unknown
        ));
    }
}
