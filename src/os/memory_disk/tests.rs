//! What the memory disk promises, as its users see it through the `Disk` seam.

use super::*;
use crate::os::buffers::AlignedBuffer;

const NEW: OpenMode = OpenMode {
    write: true,
    create: true,
    direct: false,
};

const READ: OpenMode = OpenMode {
    write: false,
    create: false,
    direct: false,
};

fn disk_with_dir() -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new("/d/e")).unwrap();
    disk
}

fn content(disk: &MemoryDisk, path: &str) -> Vec<u8> {
    let file = disk.open(Path::new(path), READ).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

/// Writes a disk full of unsynced changes, crashes it and returns all that is left.
fn crashed(seed: u64) -> Vec<(String, Vec<u8>)> {
    let disk = disk_with_dir();
    for name in ["/d/a", "/d/b"] {
        let file = disk.open(Path::new(name), NEW).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_durable_at(&[1; 4096], 0).unwrap();
        file.write_at(&[2; 8192], 1024).unwrap();
    }
    disk.open(Path::new("/d/c"), NEW).unwrap();
    disk.rename(Path::new("/d/a"), Path::new("/d/z")).unwrap();
    disk.crash(seed);
    let names = disk.list(Path::new("/d")).unwrap();
    let files = names.into_iter().filter(|name| name != "e");
    files
        .map(|name| {
            let bytes = content(&disk, &format!("/d/{name}"));
            (name, bytes)
        })
        .collect()
}

#[test]
fn one_seed_gives_one_disk_and_seeds_differ() {
    let disks: Vec<_> = (0..40).map(crashed).collect();
    for (seed, disk) in (0..).zip(&disks) {
        assert_eq!(&crashed(seed), disk);
        let has = |name: &str| disk.iter().any(|(found, _)| found == name);
        assert!(has("a") != has("z"), "a rename is whole: {seed}");
        assert!(has("b"), "a synced name stays: {seed}");
        for (name, bytes) in disk.iter().filter(|(name, _)| name != "c") {
            assert!(bytes.len() >= 4096, "{name} {seed}");
            assert_eq!(bytes[..1024], [1; 1024]);
        }
    }
    let distinct: BTreeSet<_> = disks.iter().collect();
    assert!(distinct.len() > 20, "{} of 40", distinct.len());
}

#[test]
fn a_name_is_durable_with_its_directory_and_not_with_its_file() {
    let disk = disk_with_dir();
    let file = disk.open(Path::new("/d/a"), NEW).unwrap();
    file.write_durable_at(b"x", 0).unwrap();
    file.sync().unwrap();
    disk.crash_with(&mut |_| false);
    assert!(!disk.exists(Path::new("/d/a")).unwrap());

    let file = disk.open(Path::new("/d/a"), NEW).unwrap();
    file.write_durable_at(b"x", 0).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    disk.crash_with(&mut |_| false);
    assert_eq!(content(&disk, "/d/a"), b"x");
}

#[test]
fn an_unsynced_removal_can_come_back_with_its_content() {
    let disk = disk_with_dir();
    let file = disk.open(Path::new("/d/a"), NEW).unwrap();
    file.write_durable_at(b"x", 0).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    disk.remove(Path::new("/d/a")).unwrap();
    assert!(!disk.exists(Path::new("/d/a")).unwrap());
    disk.crash_with(&mut |_| false);
    assert_eq!(content(&disk, "/d/a"), b"x");
    disk.remove(Path::new("/d/a")).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    disk.crash_with(&mut |_| false);
    assert!(disk.list(Path::new("/d")).unwrap() == ["e"]);
}

#[test]
fn a_rename_replaces_and_brings_its_creation_along() {
    let disk = disk_with_dir();
    for (name, byte) in [("/d/new", b"n"), ("/d/old", b"o")] {
        let file = disk.open(Path::new(name), NEW).unwrap();
        file.write_durable_at(byte, 0).unwrap();
    }
    disk.rename(Path::new("/d/new"), Path::new("/d/e/old"))
        .unwrap();
    disk.rename(Path::new("/d/e/old"), Path::new("/d/old"))
        .unwrap();
    // Only the last rename is asked to stay: what it builds on stays with it.
    let mut first = true;
    disk.crash_with(&mut |_| std::mem::take(&mut first));
    assert_eq!(disk.list(Path::new("/d")).unwrap(), ["e", "old"]);
    assert_eq!(content(&disk, "/d/old"), b"n");
    assert!(disk.list(Path::new("/d/e")).unwrap().is_empty());
}

#[test]
fn files_of_before_a_crash_fail_and_locks_are_free() {
    let disk = disk_with_dir();
    let file = disk.open(Path::new("/d/a"), NEW).unwrap();
    let lock = disk.lock(Path::new("/d/lock")).unwrap();
    let refused = disk.lock(Path::new("/d/lock")).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    disk.crash(1);
    assert!(file.write_at(b"x", 0).is_err());
    assert!(file.read_at(&mut [0], 0).is_err());
    assert!(file.sync().is_err());
    let again = disk.lock(Path::new("/d/lock")).unwrap();
    drop(lock);
    assert!(
        disk.lock(Path::new("/d/lock")).is_err(),
        "the old lock frees nothing"
    );
    drop(again);
    disk.lock(Path::new("/d/lock")).unwrap();
}

#[test]
fn direct_files_refuse_unaligned_offset_length_and_memory() {
    let disk = disk_with_dir();
    let direct = OpenMode {
        direct: true,
        ..NEW
    };
    let file = disk.open(Path::new("/d/a"), direct).unwrap();
    let mut pages = AlignedBuffer::zeroed(3 * DISK_PAGE_BYTES);
    let pages = pages.as_mut_slice();
    file.write_at(pages, 4096).unwrap();
    file.write_durable_at(pages, 0).unwrap();
    assert_eq!(file.read_at(pages, 8192).unwrap(), 2 * DISK_PAGE_BYTES);
    let refusals = [
        file.write_at(pages, 512).unwrap_err(),
        file.write_at(&pages[..100], 0).unwrap_err(),
        file.write_durable_at(&pages[1..=DISK_PAGE_BYTES], 0)
            .unwrap_err(),
        file.read_at(&mut pages[..10], 0).unwrap_err(),
    ];
    for refusal in refusals {
        assert_eq!(refusal.kind(), io::ErrorKind::InvalidInput, "{refusal}");
    }
    disk.refuse_direct(true);
    let refusal = disk.open(Path::new("/d/a"), direct).unwrap_err();
    assert_eq!(refusal.kind(), io::ErrorKind::InvalidInput);
    disk.open(Path::new("/d/a"), NEW).unwrap();
}

#[test]
fn a_full_disk_refuses_growth_and_takes_overwrites() {
    let disk = disk_with_dir();
    disk.set_capacity(100);
    let file = disk.open(Path::new("/d/a"), NEW).unwrap();
    file.write_at(&[1; 90], 0).unwrap();
    let full = [
        file.write_at(&[2; 20], 81).unwrap_err(),
        file.write_durable_at(&[2; 20], 81).unwrap_err(),
        file.set_len(101).unwrap_err(),
    ];
    for error in full {
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
    file.write_durable_at(&[3; 50], 50).unwrap();
    let room = disk.room(Path::new("/d")).unwrap();
    assert_eq!((room.total_bytes, room.free_bytes), (100, 0));
    disk.remove(Path::new("/d/a")).unwrap();
    assert_eq!(disk.room(Path::new("/d")).unwrap().free_bytes, 100);
}

#[test]
fn faults_hit_the_named_operation_as_often_as_told() {
    let disk = disk_with_dir();
    let file = disk.open(Path::new("/d/a"), NEW).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    disk.fail_next(DiskOperation::Sync, io::ErrorKind::Other, 2);
    file.write_at(b"lost", 0).unwrap();
    assert!(file.sync().is_err());
    assert!(file.sync().is_err());
    file.sync().unwrap();
    disk.fail_next(DiskOperation::WriteDurable, io::ErrorKind::StorageFull, 1);
    let error = file.write_durable_at(b"gone", 4).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    file.write_durable_at(b"kept", 8).unwrap();
    disk.crash_with(&mut |_| false);
    assert_eq!(content(&disk, "/d/a"), b"\0\0\0\0\0\0\0\0kept");
}

#[test]
fn a_failed_write_may_leave_a_part() {
    let disk = disk_with_dir();
    let file = disk.open(Path::new("/d/a"), NEW).unwrap();
    disk.fail_next(DiskOperation::Write, io::ErrorKind::Other, 1);
    assert!(file.write_at(b"abcd", 0).is_err());
    assert_eq!(content(&disk, "/d/a"), b"ab");
}

#[test]
fn a_flipped_bit_is_read_and_survives_a_crash() {
    let disk = disk_with_dir();
    let file = disk.open(Path::new("/d/a"), NEW).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    file.write_durable_at(b"\0\0", 0).unwrap();
    disk.flip(Path::new("/d/a"), 1, 3).unwrap();
    disk.crash(7);
    assert_eq!(content(&disk, "/d/a"), b"\0\x08");
    assert!(disk.flip(Path::new("/d/a"), 2, 0).is_err());
    assert!(disk.flip(Path::new("/d/b"), 0, 0).is_err());
}

#[test]
fn short_reads_are_gone_on_with_as_on_a_real_disk() {
    let disk = disk_with_dir();
    let path = Path::new("/d/a");
    let file = disk.open(path, NEW).unwrap();
    file.write_durable_at(&[1; 9_000], 0).unwrap();
    for direct in [false, true] {
        let mode = OpenMode { direct, ..NEW };
        let file = disk.open(path, mode).unwrap();
        let mut buffer = AlignedBuffer::zeroed(12_288);
        disk.shorten_reads(1);
        assert_eq!(file.read_at(buffer.as_mut_slice(), 0).unwrap(), 9_000);
        // A page that stops half way every time is trouble, not the file's end.
        let mut page = AlignedBuffer::zeroed(4_096);
        disk.shorten_reads(1);
        assert_eq!(file.read_at(page.as_mut_slice(), 0).is_err(), direct);
    }
}

#[test]
fn what_fails_half_way_through_a_read_fails_the_read() {
    let disk = disk_with_dir();
    let file = disk.open(Path::new("/d/a"), NEW).unwrap();
    file.write_durable_at(&[1; 9_000], 0).unwrap();
    disk.fail_next(DiskOperation::Read, io::ErrorKind::Other, 1);
    disk.shorten_reads(1);
    assert!(file.read_at(&mut [0; 9_000], 0).is_err());
    disk.fail_next(DiskOperation::Read, io::ErrorKind::Other, 5);
    disk.mend();
    assert_eq!(file.read_at(&mut [0; 9_000], 0).unwrap(), 9_000);
}

#[test]
fn bytes_wiped_and_files_lost_at_rest_stay_so() {
    let disk = disk_with_dir();
    let path = Path::new("/d/a");
    let file = disk.open(path, NEW).unwrap();
    file.write_durable_at(b"abcdef", 0).unwrap();
    disk.wipe(path, 2..4).unwrap();
    disk.wipe(path, 5..99).unwrap();
    assert_eq!(content(&disk, "/d/a"), b"ab\0\0e\0");
    disk.lose(path).unwrap();
    disk.crash(3);
    assert!(!disk.exists(path).unwrap());
    assert!(disk.lose(path).is_err());
}

#[test]
fn a_full_disk_takes_no_growth_and_a_lying_one_keeps_nothing() {
    let disk = disk_with_dir();
    let path = Path::new("/d/a");
    let file = disk.open(path, NEW).unwrap();
    file.write_durable_at(b"abcd", 0).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    disk.fill_up();
    assert!(file.write_at(b"abcde", 0).is_err());
    disk.lie_about_syncs(true);
    file.write_durable_at(b"ABCD", 0).unwrap();
    file.sync().unwrap();
    assert_eq!(content(&disk, "/d/a"), b"ABCD");
    disk.crash_with(&mut |_| false);
    assert_eq!(content(&disk, "/d/a"), b"abcd");
}

#[test]
fn calls_are_counted() {
    let disk = disk_with_dir();
    let file = disk.open(Path::new("/d/a"), NEW).unwrap();
    file.write_at(b"x", 0).unwrap();
    file.write_durable_at(b"x", 0).unwrap();
    file.sync().unwrap();
    file.read_at(&mut [0], 0).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    let counts = DiskCounts {
        reads: 1,
        writes: 1,
        durable_writes: 1,
        syncs: 1,
        dir_syncs: 1,
    };
    assert_eq!(disk.clone().counts(), counts);
}

#[test]
fn missing_names_are_not_found() {
    let disk = disk_with_dir();
    let missing = Path::new("/d/missing");
    let errors = [
        disk.open(missing, READ).unwrap_err(),
        disk.open(Path::new("/no/where"), NEW).unwrap_err(),
        disk.remove(missing).unwrap_err(),
        disk.rename(missing, Path::new("/d/x")).unwrap_err(),
        disk.list(missing).unwrap_err(),
        disk.sync_dir(missing).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
    }
    let read_only = {
        disk.open(Path::new("/d/a"), NEW).unwrap();
        disk.open(Path::new("/d/a"), READ).unwrap()
    };
    let refused = read_only.write_at(b"x", 0).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
}
