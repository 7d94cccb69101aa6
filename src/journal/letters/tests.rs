//! The store of dead letters on a disk that crashes, fails and fills up, against a plain set.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::event::InputId;
use crate::journal::settings::{LettersSettings, WhenLettersFull};
use crate::os::disk::{Disk, OpenMode};
use crate::os::memory_disk::{DiskOperation, MemoryDisk};
use crate::position::SegmentId;

const DIR_PATH: &str = "/data/dead-letters";
const FILE: &str = "/data/dead-letters/siem.letters";
const DAMAGED: &str = "/data/dead-letters/siem.letters.damaged";
const AMPLE: LettersSettings = LettersSettings {
    bytes_max: 1 << 20,
    when_full: WhenLettersFull::Park,
};

/// The letter of an event, which its offset gives; some are longer than a sector, some than a page.
fn letter(offset: u64) -> DeadLetter {
    let position = EventPosition {
        segment: SegmentId([u8::try_from(offset / 100).unwrap(); 16]),
        journal: JournalId(1),
        offset: Offset(offset),
    };
    let text = "x".repeat(usize::try_from(offset % 7 * 900).unwrap());
    DeadLetter {
        position,
        received: Timestamp(1_000_000 + i64::try_from(offset).unwrap()),
        refused: Timestamp(2_000_000),
        reason: if offset.is_multiple_of(2) {
            "http_4xx"
        } else {
            "too_long"
        }
        .to_owned(),
        detail: format!("400: event {offset}"),
        batch: format!("s/{offset}-{offset}/siem/0"),
        attempts: 2,
        labels: Map::new(),
        line: format!("{{\"offset\":{offset},\"text\":\"{text}\"}}").into_bytes(),
    }
}

fn letters(offsets: impl IntoIterator<Item = u64>) -> Vec<DeadLetter> {
    offsets.into_iter().map(letter).collect()
}

fn open(disk: &MemoryDisk, settings: LettersSettings) -> io::Result<(LetterStore, LetterFindings)> {
    LetterStore::open(
        Arc::new(disk.clone()),
        Path::new(DIR_PATH),
        "siem",
        settings,
    )
}

fn offsets(store: &LetterStore) -> Vec<u64> {
    let entries = store.list().iter();
    entries.map(|entry| entry.position.offset.0).collect()
}

fn bytes_of(disk: &MemoryDisk, path: &str) -> Vec<u8> {
    let mode = OpenMode {
        write: false,
        create: false,
        direct: false,
    };
    let file = disk.open(Path::new(path), mode).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn write(disk: &MemoryDisk, path: &str, bytes: &[u8]) {
    let mode = OpenMode {
        write: true,
        create: true,
        direct: false,
    };
    let file = disk.open(Path::new(path), mode).unwrap();
    file.set_len(0).unwrap();
    file.write_durable_at(bytes, 0).unwrap();
}

#[test]
fn letters_are_there_with_all_they_say_until_they_are_removed() {
    let disk = MemoryDisk::new();
    let (mut store, findings) = open(&disk, AMPLE).unwrap();
    assert_eq!(findings, LetterFindings::default());
    let appended = store.append(&letters([3, 4, 5])).unwrap();
    assert_eq!((appended.stored, appended.known), (3, 0));
    disk.crash(7);

    let (mut store, _) = open(&disk, AMPLE).unwrap();
    let id = letter(4).id();
    assert_eq!(id.to_string(), "1-4");
    assert_eq!(store.read(id).unwrap(), Some(letter(4)));
    let entry = &store.list()[1];
    assert_eq!(
        (&*entry.reason, entry.received),
        ("http_4xx", letter(4).received)
    );
    assert_eq!(entry.line_bytes, letter(4).line.len() as u64);
    assert_eq!(
        (store.count(), store.bytes()),
        (3, bytes_of(&disk, FILE).len() as u64)
    );

    assert_eq!(store.select(&Which::Reason("too_long".to_owned())).len(), 2);
    assert_eq!(
        store.select(&Which::Ids([id, letter(99).id()].into())),
        [id]
    );
    assert_eq!(store.remove(&[id, letter(99).id()]).unwrap(), 1);
    disk.crash(8);
    let (store, _) = open(&disk, AMPLE).unwrap();
    assert_eq!(offsets(&store), [3, 5]);
    assert_eq!(store.read(id).unwrap(), None);
}

#[test]
fn an_event_is_stored_once_however_often_it_is_refused() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk, AMPLE).unwrap();
    store.append(&letters([1, 2])).unwrap();
    let again = DeadLetter {
        reason: "http_5xx".to_owned(),
        ..letter(2)
    };
    let appended = store.append(&[again, letter(3), letter(3)]).unwrap();
    assert_eq!((appended.stored, appended.known), (1, 2));
    assert_eq!(store.read(letter(2).id()).unwrap(), Some(letter(2)));
    // The same offset of another segment is another event: the journal was made anew.
    let mut other = letter(2);
    other.position.segment = SegmentId([0xee; 16]);
    assert_eq!(store.append(&[other]).unwrap().stored, 1);
    assert_eq!(store.remove(&[letter(2).id()]).unwrap(), 2);
}

#[test]
fn an_unfinished_end_is_cut_and_a_finished_letter_before_it_stays() {
    let disk = MemoryDisk::new();
    open(&disk, AMPLE)
        .unwrap()
        .0
        .append(&letters([1, 2]))
        .unwrap();
    let whole = bytes_of(&disk, FILE);
    let first_end = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for end in first_end..whole.len() {
        write(&disk, FILE, &whole[..end]);
        let (mut store, findings) = open(&disk, AMPLE).unwrap();
        assert_eq!(offsets(&store), [1]);
        assert_eq!(findings.torn_bytes, (end - first_end) as u64);
        assert_eq!(findings.damaged, 0);
        store.append(&letters([2])).unwrap();
        assert_eq!(bytes_of(&disk, FILE), whole);
    }
    assert!(!disk.exists(Path::new(DAMAGED)).unwrap());
}

#[test]
fn a_line_that_does_not_hold_is_kept_aside_and_the_others_stay() {
    let disk = MemoryDisk::new();
    open(&disk, AMPLE)
        .unwrap()
        .0
        .append(&letters([1, 2, 3]))
        .unwrap();
    let whole = bytes_of(&disk, FILE);
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    let second = lines[0].len() as u64;
    disk.flip(Path::new(FILE), second + 100, 3).unwrap();
    let flipped = bytes_of(&disk, FILE);

    let read = read_letters(&disk, Path::new(FILE), &mut |_| Ok(())).unwrap();
    let (store, findings) = open(&disk, AMPLE).unwrap();
    assert_eq!(offsets(&store), [1, 3]);
    assert_eq!(
        (findings.damaged, findings.damaged_bytes),
        (1, lines[1].len() as u64)
    );
    assert_eq!(read, findings, "whoever only reads finds the same");
    let aside = bytes_of(&disk, DAMAGED);
    assert_eq!(aside, &flipped[lines[0].len()..][..lines[1].len()]);
    assert_eq!(bytes_of(&disk, FILE), [lines[0], lines[2]].concat());

    // A second time it is added to what is there, and a crash loses neither.
    disk.flip(Path::new(FILE), 100, 3).unwrap();
    let (store, _) = open(&disk, AMPLE).unwrap();
    assert_eq!(offsets(&store), [3]);
    disk.crash(1);
    assert_eq!(
        bytes_of(&disk, DAMAGED).len(),
        lines[0].len() + lines[1].len()
    );
}

#[test]
fn a_lost_line_end_costs_one_letter_and_not_the_next() {
    let disk = MemoryDisk::new();
    open(&disk, AMPLE)
        .unwrap()
        .0
        .append(&letters([1, 2, 3]))
        .unwrap();
    let whole = bytes_of(&disk, FILE);
    let ends = whole.iter().enumerate();
    let ends: Vec<_> = ends.filter(|(_, byte)| **byte == b'\n').collect();
    let (first, second) = (ends[0].0 as u64, ends[1].0 as u64);
    disk.flip(Path::new(FILE), first, 0).unwrap();
    let (store, findings) = open(&disk, AMPLE).unwrap();
    assert_eq!(offsets(&store), [2, 3]);
    assert_eq!((findings.damaged, findings.damaged_bytes), (1, first + 1));
    // As much, where the letter is gone with it.
    disk.wipe(Path::new(FILE), 10..second - first).unwrap();
    assert_eq!(offsets(&open(&disk, AMPLE).unwrap().0), [3]);
}

#[test]
fn a_letter_of_a_later_version_is_refused_and_nothing_is_changed() {
    let disk = MemoryDisk::new();
    open(&disk, AMPLE).unwrap().0.append(&letters([1])).unwrap();
    let later = "\"version\":2}";
    let line = format!(
        "{{\"crc\":\"{:08x}\",{later}\n",
        crc32c::crc32c(later.as_bytes())
    );
    let both = [&bytes_of(&disk, FILE), line.as_bytes(), b"{\"crc\""].concat();
    write(&disk, FILE, &both);
    let error = open(&disk, AMPLE).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("version 2"), "{error}");
    assert_eq!(bytes_of(&disk, FILE), both);
}

#[test]
fn a_full_store_takes_nothing_and_says_so_until_room_is_made() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk, AMPLE).unwrap();
    store.append(&letters(0..7)).unwrap();
    let settings = LettersSettings {
        bytes_max: store.bytes() + 100,
        ..AMPLE
    };
    let (mut store, _) = open(&disk, settings).unwrap();
    assert_eq!(store.room_for(&letters([9])), Room::Full);
    assert!(matches!(
        store.append(&letters([9])),
        Err(AppendError::Full { held_bytes, bytes_max, .. }) if held_bytes + 100 == bytes_max
    ));
    // What is there already needs no room.
    assert_eq!(store.room_for(&letters([3])), Room::Fits);
    assert_eq!(store.append(&letters([3])).unwrap().known, 1);
    store.remove(&[letter(6).id()]).unwrap();
    assert_eq!(store.room_for(&letters([9])), Room::Fits);
    store.append(&letters([9])).unwrap();
    assert_eq!(offsets(&store), [0, 1, 2, 3, 4, 5, 9]);
}

#[test]
fn eviction_takes_the_oldest_and_says_which_before() {
    let disk = MemoryDisk::new();
    let settings = LettersSettings {
        bytes_max: 256 * 1024,
        when_full: WhenLettersFull::Evict,
    };
    let (mut store, _) = open(&disk, settings).unwrap();
    let mut evicted = Vec::new();
    for offset in 0..200 {
        let new = letters([offset]);
        let told = match store.room_for(&new) {
            Room::Fits => Vec::new(),
            Room::Evicts { ids, line_bytes } => {
                let lines = ids.iter().map(|id| letter(id.offset.0).line.len() as u64);
                assert_eq!(line_bytes, lines.sum::<u64>());
                assert!(ids.len() > 1, "a share of the room at a time");
                ids
            }
            Room::Full => panic!("one letter has room"),
        };
        let appended = store.append(&new).unwrap();
        assert_eq!(appended.evicted, told.len() as u64);
        evicted.extend(told.into_iter().map(|id| id.offset.0));
        let all: Vec<u64> = evicted.iter().copied().chain(offsets(&store)).collect();
        assert_eq!(
            all,
            (0..=offset).collect::<Vec<_>>(),
            "each is held or told"
        );
        assert!(store.bytes() <= settings.bytes_max);
        assert_eq!(store.read(new[0].id()).unwrap().as_ref(), Some(&new[0]));
    }
    // More than there is room for at all is not made room for.
    let huge = letters((200..300).filter(|offset| offset % 7 == 6));
    let huge = huge
        .iter()
        .cycle()
        .take(60)
        .enumerate()
        .map(|(number, letter)| {
            let mut letter = letter.clone();
            letter.position.offset = Offset(1_000 + number as u64);
            letter
        });
    let before = offsets(&store);
    assert_eq!(store.room_for(&huge.collect::<Vec<_>>()), Room::Full);
    assert_eq!(offsets(&store), before);
}

#[test]
fn a_full_disk_costs_no_letter_and_dropping_all_makes_room() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk, AMPLE).unwrap();
    store.append(&letters([1, 2])).unwrap();
    disk.fill_up();
    let refused = store.append(&letters([3]));
    assert!(
        matches!(refused, Err(AppendError::Io(error)) if error.kind() == io::ErrorKind::StorageFull)
    );
    assert!(
        store.remove(&[letter(1).id()]).is_err(),
        "the rest has no room beside"
    );
    assert_eq!(offsets(&store), [1, 2]);
    assert!(
        !disk
            .exists(Path::new("/data/dead-letters/siem.letters.new"))
            .unwrap()
    );
    assert_eq!(store.remove(&store.select(&Which::All)).unwrap(), 2);
    store.append(&letters([3])).unwrap();
    assert_eq!(offsets(&store), [3]);
}

#[test]
fn an_id_is_written_and_read_in_one_way() {
    for text in ["0-0", "7-12345", "internal-3", "65534-18446744073709551615"] {
        let id: LetterId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
    }
    for text in [
        "", "-", "0", "0-", "-1", "+0-1", "0-01", "65535-1", "70000-1", "a-1", "0-1-2",
    ] {
        assert!(text.parse::<LetterId>().is_err(), "{text}");
    }
}

#[test]
fn which_letters_is_said_in_one_of_three_ways() {
    let ids = Which::Ids([letter(3).id(), letter(4).id()].into());
    let sound = [
        (Which::All, json!({"all": true})),
        (ids, json!({"ids": ["1-3", "1-4"]})),
        (
            Which::Reason("http_4xx".to_owned()),
            json!({"reason": "http_4xx"}),
        ),
    ];
    for (which, text) in sound {
        assert_eq!(serde_json::to_value(&which).unwrap(), text);
        assert_eq!(serde_json::from_value::<Which>(text).unwrap(), which);
    }
    let wrong = [
        json!({}),
        json!({"all": false}),
        json!({"all": true, "reason": "x"}),
        json!({"ids": ["x"]}),
        json!({"id": ["0-1"]}),
        json!([]),
    ];
    for text in wrong {
        assert!(
            serde_json::from_value::<Which>(text.clone()).is_err(),
            "{text}"
        );
    }
}

#[test]
fn labels_are_named_where_they_are_known() {
    let labels = Labels {
        host: Some("web-1".into()),
        meta: Some("{\"n\":1.00}".into()),
        event_time: Some(Timestamp(5)),
        ..Labels::of_input(InputId(0))
    };
    let expected =
        json!({"input": "apps", "host": "web-1", "meta": "{\"n\":1.00}", "event_time_micros": 5});
    assert_eq!(Value::Object(labels_of(&labels, "apps")), expected);
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<u64>),
    Remove(Vec<u64>),
    Reopen,
    Crash(u64),
    Fail(DiskOperation),
    FillUp,
}

fn step() -> impl Strategy<Value = Step> {
    let some = || proptest::collection::vec(0..40_u64, 1..5);
    let failing = [
        DiskOperation::Open,
        DiskOperation::Read,
        DiskOperation::Write,
        DiskOperation::Sync,
        DiskOperation::SetLen,
        DiskOperation::Rename,
        DiskOperation::SyncDir,
    ];
    prop_oneof![
        8 => some().prop_map(Step::Append),
        3 => some().prop_map(Step::Remove),
        2 => Just(Step::Reopen),
        2 => any::<u64>().prop_map(Step::Crash),
        3 => proptest::sample::select(failing.to_vec()).prop_map(Step::Fail),
        1 => Just(Step::FillUp),
    ]
}

/// What the store promises: letters that must be there, and those that may be.
#[derive(Default)]
struct Promise {
    must: BTreeSet<u64>,
    may: BTreeSet<u64>,
}

impl Promise {
    fn append(&mut self, store: &mut LetterStore, offsets: &[u64]) {
        let evicts: Vec<u64> = match store.room_for(&letters(offsets.iter().copied())) {
            Room::Evicts { ids, .. } => ids.iter().map(|id| id.offset.0).collect(),
            Room::Fits | Room::Full => Vec::new(),
        };
        let held: BTreeSet<u64> = self::offsets(store).into_iter().collect();
        match store.append(&letters(offsets.iter().copied())) {
            Ok(appended) => {
                assert_eq!(appended.evicted, evicts.len() as u64);
                self.must.extend(offsets);
                for offset in &evicts {
                    self.must.remove(offset);
                    self.may.remove(offset);
                }
            }
            Err(AppendError::Full { .. }) => {
                let now: BTreeSet<u64> = self::offsets(store).into_iter().collect();
                assert_eq!(now, held, "nothing was touched");
            }
            Err(AppendError::Io(_)) => {
                self.may.extend(offsets);
                self.doubt(&evicts);
            }
        }
    }

    fn remove(&mut self, store: &mut LetterStore, offsets: &[u64]) {
        let ids: Vec<LetterId> = offsets.iter().map(|offset| letter(*offset).id()).collect();
        match store.remove(&ids) {
            Ok(_) => {
                for offset in offsets {
                    self.must.remove(offset);
                    self.may.remove(offset);
                }
            }
            Err(_) => self.doubt(offsets),
        }
    }

    fn doubt(&mut self, offsets: &[u64]) {
        for offset in offsets {
            if self.must.remove(offset) {
                self.may.insert(*offset);
            }
        }
    }

    fn check(&self, store: &LetterStore) {
        let held = offsets(store);
        let set: BTreeSet<u64> = held.iter().copied().collect();
        assert_eq!(set.len(), held.len(), "an event is stored once");
        let lost: Vec<_> = self.must.difference(&set).collect();
        assert!(lost.is_empty(), "lost {lost:?}");
        let strange = |offset: &&u64| !self.must.contains(offset) && !self.may.contains(offset);
        let strange: Vec<_> = set.iter().filter(strange).collect();
        assert!(
            strange.is_empty(),
            "came back or out of nothing {strange:?}"
        );
        for offset in held {
            assert_eq!(
                store.read(letter(offset).id()).unwrap(),
                Some(letter(offset))
            );
        }
    }
}

/// Opens the store, which may take a second try on a disk that fails.
fn open_at_last(disk: &MemoryDisk, settings: LettersSettings) -> LetterStore {
    let first = open(disk, settings);
    disk.mend();
    disk.set_capacity(1 << 40);
    first.or_else(|_| open(disk, settings)).unwrap().0
}

fn run(steps: &[Step], settings: LettersSettings) {
    let disk = MemoryDisk::new();
    let mut store = open(&disk, settings).unwrap().0;
    let mut promise = Promise::default();
    for step in steps {
        match step {
            Step::Append(offsets) => promise.append(&mut store, offsets),
            Step::Remove(offsets) => promise.remove(&mut store, offsets),
            Step::Reopen => store = open_at_last(&disk, settings),
            Step::Crash(seed) => {
                disk.crash(*seed);
                store = open_at_last(&disk, settings);
            }
            Step::Fail(operation) => {
                disk.fail_next(*operation, io::ErrorKind::Other, 1);
                continue;
            }
            Step::FillUp => {
                disk.fill_up();
                continue;
            }
        }
        disk.mend();
        disk.set_capacity(1 << 40);
        promise.check(&store);
    }
    drop(store);
    disk.crash(1);
    promise.check(&open_at_last(&disk, settings));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_was_appended_is_there_until_it_is_removed_whatever_fails(
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        run(&steps, AMPLE);
    }

    #[test]
    fn what_was_appended_is_there_or_evicted_as_told_whatever_fails(
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let settings = LettersSettings {
            bytes_max: 40_000,
            when_full: WhenLettersFull::Evict,
        };
        run(&steps, settings);
    }
}
