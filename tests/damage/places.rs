//! Things in a journal's directory that are no files, on a real file system.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use weir::journal::recovery::{Finding, recover};
use weir::journal::segments::{Catalog, SegmentFiles};
use weir::os::real_disk::RealDisk;
use weir::position::{JournalId, Offset, OffsetRange};

use crate::scene::{self, Journal};

fn start(data_dir: &Path) -> (Journal, Vec<Finding>) {
    let files = SegmentFiles {
        disk: Arc::new(RealDisk),
        dir: data_dir.join("journal/0"),
        journal: JournalId(0),
        node: [7; 16],
        file_bytes: 48 * 1024,
        direct: false,
    };
    let catalog = Arc::<Catalog>::default();
    let recovered = recover(&files, &catalog, Offset(0)).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let journal = scene::journal(files, catalog, recovered, &told);
    let findings = std::mem::take(&mut *told.lock().unwrap());
    (journal, findings)
}

#[test]
fn directories_links_and_unspeakable_names_keep_no_journal_from_opening() {
    let data_dir = tempfile::tempdir().unwrap();
    let (mut journal, findings) = start(data_dir.path());
    assert_eq!(findings, Vec::new());
    let blocks: Vec<(u64, u32)> = (1..=20).map(|tag| (tag, 10)).collect();
    scene::append(&mut journal, &blocks);
    let segments = journal.catalog.list();
    assert!(segments.len() >= 3, "{} segments", segments.len());
    let (second, third) = (&segments[1], &segments[2]);
    let dir = journal.files.dir.clone();
    drop(journal);

    std::fs::remove_file(&second.path).unwrap();
    std::fs::create_dir(&second.path).unwrap();
    std::fs::write(second.path.join("inside"), b"kept").unwrap();
    let nowhere = "000000000099-00000000000000000001.seg";
    std::os::unix::fs::symlink("nowhere", dir.join(nowhere)).unwrap();
    std::fs::create_dir(dir.join("folder")).unwrap();
    std::fs::create_dir(dir.join("spare-7.spare")).unwrap();
    std::fs::write(dir.join(OsStr::from_bytes(b"\xff\xfe")), b"").unwrap();

    let (journal, findings) = start(data_dir.path());
    let lost = OffsetRange {
        first: second.first,
        end: third.first,
    };
    let missing = findings.iter().filter_map(|finding| match finding {
        Finding::Missing { range, .. } => Some(*range),
        _ => None,
    });
    assert_eq!(missing.collect::<Vec<_>>(), [lost], "{findings:?}");
    let aliens = findings
        .iter()
        .filter(|finding| matches!(finding, Finding::Alien { .. }));
    assert_eq!(aliens.count(), 4, "{findings:?}");
    assert_eq!(journal.start.next, Offset(200));
    assert_eq!(journal.start.sequence, 100, "the link's name counts");
    assert_eq!(journal.files.find_spares().unwrap().len(), 0);
    let (_, gaps) = scene::read_all(&journal, Offset(0));
    assert_eq!(gaps, [lost]);
    let kept = data_dir.path().join("quarantine").join(format!(
        "0-{}",
        second.path.file_name().unwrap().to_string_lossy()
    ));
    assert_eq!(std::fs::read(kept.join("inside")).unwrap(), b"kept");

    // Only what no name can be spoken of is told again: it cannot be moved.
    let (_, findings) = start(data_dir.path());
    assert!(
        matches!(&findings[..], [Finding::Alien { moved: None, .. }]),
        "{findings:?}"
    );
}
