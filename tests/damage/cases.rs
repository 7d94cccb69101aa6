//! The cases: classes of bytes, what is done to them, and the table of what came of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use weir::journal::segments::file_name;
use weir::position::{JournalId, Offset};

use crate::oracle::{self, JournalTruth, Outcome, Truth};
use crate::scene::{self, DATA, Files, STREAMS};

const PAGE: usize = 4096;

/// What a case may come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Allowed {
    /// Whatever the oracle finds right.
    Any,
    /// Something was damaged that matters: it must be told.
    Told,
    /// It must be told, and nothing may be lost.
    MadeAnew,
    /// The bytes mean nothing.
    Unhurt,
}

/// One directory to be opened.
struct Case {
    class: &'static str,
    change: &'static str,
    name: String,
    /// The files that differ, and those that are gone.
    changed: BTreeMap<PathBuf, Option<Vec<u8>>>,
    allowed: Allowed,
}

impl Case {
    fn files(&self, truth: &Truth) -> Files {
        let mut files = truth.files.clone();
        for (path, bytes) in &self.changed {
            match bytes {
                Some(bytes) => files.insert(path.clone(), bytes.clone()),
                None => files.remove(path),
            };
        }
        files
    }
}

/// A class of bytes: places in files that mean the same.
struct Class {
    name: &'static str,
    /// Path and byte; the places of one entry are changed together.
    places: Vec<Vec<(PathBuf, usize)>>,
    /// What a flipped bit may come to, and what a zeroed page or a cut may.
    flipped: Allowed,
    harder: Allowed,
}

/// Header fields of a segment, of a block, a trailer, a slot: where each begins.
const HEADER: [usize; 12] = [0, 8, 10, 16, 32, 48, 56, 64, 72, 80, 200, 4092];
const BLOCK: [usize; 19] = [
    0, 4, 6, 7, 8, 24, 32, 36, 40, 44, 48, 52, 56, 64, 72, 80, 112, 120, 124,
];
const TRAILER: [usize; 11] = [0, 8, 16, 32, 40, 48, 52, 56, 88, 96, 4092];
const SLOT: [usize; 11] = [0, 8, 10, 12, 16, 24, 40, 48, 100, 3000, 4092];
const INDEX_ENTRY: [usize; 7] = [0, 8, 16, 20, 24, 28, 32];

#[test]
fn whatever_is_damaged_the_node_starts_loses_what_was_hit_and_says_exactly_what() {
    let truth = Truth::of(scene::make());
    let other = scene::make();
    let mut cases = Vec::new();
    for class in segment_classes(&truth)
        .into_iter()
        .chain(record_classes(&truth))
    {
        byte_cases(&truth, &class, &mut cases);
    }
    file_cases(&truth, &other, &mut cases);
    let table = std::thread::scope(|scope| {
        let half = cases.len() / 2;
        let (first, second) = cases.split_at(half);
        let truth = &truth;
        let first = scope.spawn(move || run(truth, first));
        let mut table = run(truth, second);
        for (key, count) in first.join().expect("the first half holds too") {
            *table.entry(key).or_default() += count;
        }
        table
    });
    assert!(cases.len() > 1_500, "{} cases", cases.len());
    print(&table, cases.len());
}

type Table = BTreeMap<(&'static str, &'static str), [usize; 3]>;

fn run(truth: &Truth, cases: &[Case]) -> BTreeMap<(&'static str, &'static str, Outcome), usize> {
    let mut table = BTreeMap::new();
    let mut failed = Vec::new();
    for case in cases {
        // Every case that fails is named, not just the first.
        match std::panic::catch_unwind(|| case.run(truth)) {
            Ok(outcome) => {
                *table.entry((case.class, case.change, outcome)).or_default() += 1;
            }
            Err(_) => failed.push(format!("{}, {}: {}", case.class, case.change, case.name)),
        }
    }
    assert!(
        failed.is_empty(),
        "{} cases fail: {failed:#?}",
        failed.len()
    );
    table
}

impl Case {
    fn run(&self, truth: &Truth) -> Outcome {
        let (outcome, told) = oracle::judge(truth, &self.files(truth));
        match self.allowed {
            Allowed::Any => {}
            Allowed::Told => assert_ne!(outcome, Outcome::Unhurt, "damage is told"),
            Allowed::MadeAnew => assert_eq!(outcome, Outcome::MadeAnew, "{told:?}"),
            Allowed::Unhurt => assert_eq!(outcome, Outcome::Unhurt, "{told:?}"),
        }
        outcome
    }
}

fn print(counts: &BTreeMap<(&'static str, &'static str, Outcome), usize>, cases: usize) {
    let mut table = Table::new();
    for ((class, change, outcome), count) in counts {
        table.entry((class, change)).or_default()[*outcome as usize] += count;
    }
    println!("| what | change | cases | unhurt | made anew | lost what was hit |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for ((class, change), [unhurt, anew, lost]) in table {
        let all = unhurt + anew + lost;
        println!("| {class} | {change} | {all} | {unhurt} | {anew} | {lost} |");
    }
    println!("{cases} cases, every one with three starts");
}

// === bytes ===

fn byte_cases(truth: &Truth, class: &Class, cases: &mut Vec<Case>) {
    for places in &class.places {
        let mut case = |change, allowed, edit: &dyn Fn(&mut Vec<u8>, usize)| {
            let mut changed = BTreeMap::new();
            for (path, byte) in places {
                let mut bytes = truth.files[path].clone();
                edit(&mut bytes, *byte);
                changed.insert(path.clone(), Some(bytes));
            }
            cases.push(Case {
                class: class.name,
                change,
                name: format!("{places:?}"),
                changed,
                allowed,
            });
        };
        case("flip a bit", class.flipped, &|file, at| {
            file[at] ^= 1 << (at % 8);
        });
        case("zero the page", class.harder, &|file, at| {
            let page = at / PAGE * PAGE;
            let end = (page + PAGE).min(file.len());
            file[page..end].fill(0);
        });
        case("cut there", class.harder, &|file, at| file.truncate(at));
    }
}

fn segment_classes(truth: &Truth) -> Vec<Class> {
    let mut classes = Vec::new();
    let journals = truth.journals.iter();
    let files = journals.flat_map(|journal| {
        let segments = segments_of(journal);
        // The oldest, one in the middle, and the newest, which in the journals is open.
        let at = [0, segments.len() / 2, segments.len() - 1];
        at.map(|at| (journal, segments[at].clone()))
    });
    for (journal, path) in files {
        let file = &truth.files[&path];
        let at = |bytes: &[usize], base: usize| -> Vec<Vec<(PathBuf, usize)>> {
            let places = bytes.iter().map(|byte| vec![(path.clone(), base + byte)]);
            places.collect()
        };
        let class = |name, places, flipped, harder| Class {
            name,
            places,
            flipped,
            harder,
        };
        classes.push(class(
            "segment header",
            at(&HEADER, 0),
            Allowed::MadeAnew,
            Allowed::Told,
        ));
        let blocks: Vec<_> = journal
            .blocks
            .iter()
            .filter(|block| block.path == path)
            .collect();
        let with_events: Vec<_> = blocks
            .iter()
            .filter(|block| block.header.events > 0)
            .collect();
        for block in [0, with_events.len() / 2, with_events.len() - 1].map(|at| with_events[at]) {
            let base = block.position;
            classes.push(class(
                "block header",
                at(&BLOCK, base),
                Allowed::Told,
                Allowed::Told,
            ));
            let metadata = base + block.header.metadata().start;
            let body = block.header.body();
            let content = [metadata, base + body.start, base + body.end - 1];
            classes.push(class(
                "block content",
                at(&content, 0),
                Allowed::Told,
                Allowed::Told,
            ));
            let padding = [base + body.end, base + block.header.stored_bytes() - 1];
            classes.push(class(
                "block padding",
                at(&padding, 0),
                Allowed::Unhurt,
                Allowed::Any,
            ));
        }
        for block in blocks.iter().filter(|block| block.header.events == 0) {
            let places = at(&BLOCK, block.position);
            classes.push(class(
                "block of counters",
                places,
                Allowed::Any,
                Allowed::Any,
            ));
        }
        let trailer = file.len() - PAGE;
        if file[trailer..].starts_with(b"WEIREND1") {
            classes.push(class(
                "trailer",
                at(&TRAILER, trailer),
                Allowed::MadeAnew,
                Allowed::MadeAnew,
            ));
            let index = number_at(file, trailer + 40);
            let last = (number_at(file, trailer + 48) & 0xffff_ffff) - 1;
            for entry in [0, last] {
                let places = at(&INDEX_ENTRY, index + 40 * entry);
                // Zero bytes of an entry are under the checksum as well.
                classes.push(class("index", places, Allowed::MadeAnew, Allowed::MadeAnew));
            }
            let behind = [index + 40 * (last + 1) + 8];
            classes.push(class(
                "index padding",
                at(&behind, 0),
                Allowed::Unhurt,
                Allowed::Any,
            ));
        } else {
            let last = blocks.last().unwrap();
            let behind = last.position + last.header.stored_bytes();
            let places = at(&[0, 100, PAGE], behind);
            classes.push(class("unused bytes", places, Allowed::Any, Allowed::Any));
        }
    }
    classes
}

fn record_classes(truth: &Truth) -> Vec<Class> {
    let mut classes = Vec::new();
    let mut slots = |name, path: PathBuf| {
        let slot = |slot: usize| SLOT.map(|byte| (path.clone(), slot * PAGE + byte));
        let one = (0..2).flat_map(slot).map(|place| vec![place]);
        let both = slot(0)
            .into_iter()
            .zip(slot(1))
            .map(|(first, second)| vec![first, second]);
        classes.push(Class {
            name,
            places: one.chain(both).collect(),
            flipped: Allowed::MadeAnew,
            harder: Allowed::MadeAnew,
        });
    };
    for journal in [JournalId(0), JournalId(1)] {
        for stream in STREAMS {
            slots("cursor record", scene::record_path(stream, journal));
        }
    }
    for journal in [JournalId(0), JournalId::INTERNAL] {
        slots("floor", scene::journal_dir(journal).join("floor"));
    }
    let node_files = ["node.toml", "node.toml.copy"].map(|name| Path::new(DATA).join(name));
    let bytes: Vec<usize> = (0..truth.files[&node_files[0]].len()).step_by(9).collect();
    let each = |at: usize| node_files.each_ref().map(|path| (path.clone(), at));
    let one = bytes
        .iter()
        .flat_map(|at| each(*at))
        .map(|place| vec![place]);
    let both = bytes.iter().map(|at| each(*at).to_vec());
    classes.push(Class {
        name: "node file",
        places: one.chain(both).collect(),
        flipped: Allowed::MadeAnew,
        harder: Allowed::MadeAnew,
    });
    classes
}

fn number_at(file: &[u8], at: usize) -> usize {
    usize::try_from(u64::from_le_bytes(file[at..at + 8].try_into().unwrap())).unwrap()
}

fn segments_of(journal: &JournalTruth) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = journal
        .blocks
        .iter()
        .map(|block| block.path.clone())
        .collect();
    paths.dedup();
    paths
}

// === files ===

/// Whole files: copied, appended to, removed, and swapped with those of another directory.
fn file_cases(truth: &Truth, other: &Files, cases: &mut Vec<Case>) {
    let mut case = |class, change, name: &Path, allowed, edit: &dyn Fn(&mut Files)| {
        let mut files = truth.files.clone();
        edit(&mut files);
        let gone = truth.files.keys().filter(|path| !files.contains_key(*path));
        let mut changed: BTreeMap<_, _> = gone.map(|path| (path.clone(), None)).collect();
        files.retain(|path, bytes| truth.files.get(path) != Some(bytes));
        changed.extend(files.into_iter().map(|(path, bytes)| (path, Some(bytes))));
        cases.push(Case {
            class,
            change,
            name: name.display().to_string(),
            changed,
            allowed,
        });
    };
    for (journal, dir) in truth.journals.iter().zip(["0", "1", "internal"]) {
        let theirs: Vec<&PathBuf> = other
            .keys()
            .filter(|path| path.parent().unwrap().ends_with(dir))
            .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
            .collect();
        for (path, theirs) in segments_of(journal).iter().zip(theirs) {
            let bytes = truth.files[path].clone();
            let names = [
                "copy.seg".to_owned(),
                file_name(900, Offset(7_000_000)),
                file_name(1, Offset(0)),
            ];
            for name in names {
                let copy = path.with_file_name(name);
                if truth.files.contains_key(&copy) {
                    continue;
                }
                case("segment", "duplicate", path, Allowed::MadeAnew, &|files| {
                    files.insert(copy.clone(), bytes.clone());
                });
            }
            case("segment", "swap", path, Allowed::Told, &|files| {
                files.insert(path.clone(), other[theirs].clone());
            });
            case("segment", "remove", path, Allowed::Told, &|files| {
                files.remove(path);
            });
            for more in [1, 100, 20_000] {
                case("segment", "append", path, Allowed::MadeAnew, &|files| {
                    let len = bytes.len() + more;
                    files.get_mut(path).unwrap().resize(len, 0xee);
                });
            }
        }
    }
    for journal in [JournalId(0), JournalId(1)] {
        for stream in STREAMS {
            let path = scene::record_path(stream, journal);
            case(
                "cursor record",
                "swap",
                &path,
                Allowed::MadeAnew,
                &|files| {
                    files.insert(path.clone(), other[&path].clone());
                },
            );
            let others = STREAMS.map(|stream| {
                [JournalId(0), JournalId(1)].map(|of| scene::record_path(stream, of))
            });
            for from in others.into_iter().flatten().filter(|from| *from != path) {
                case(
                    "cursor record",
                    "duplicate",
                    &path,
                    Allowed::MadeAnew,
                    &|files| {
                        files.insert(path.clone(), truth.files[&from].clone());
                    },
                );
            }
            case(
                "cursor record",
                "append",
                &path,
                Allowed::Unhurt,
                &|files| {
                    files.get_mut(&path).unwrap().extend([0xee; 5_000]);
                },
            );
        }
    }
    let data = |name: &str| Path::new(DATA).join(name);
    let floor = scene::journal_dir(JournalId(0)).join("floor");
    let small: [(&str, Vec<PathBuf>); 5] = [
        ("node file", vec![data("node.toml")]),
        ("node file", vec![data("node.toml.copy")]),
        ("node file", vec![data("node.toml"), data("node.toml.copy")]),
        ("floor", vec![floor]),
        ("lock", vec![data("lock")]),
    ];
    for (class, paths) in &small {
        let name = &paths[0];
        let is_lock = *class == "lock";
        let allowed = if is_lock {
            Allowed::Unhurt
        } else {
            Allowed::MadeAnew
        };
        case(class, "swap", name, allowed, &|files| {
            for path in paths {
                files.insert(path.clone(), other[path].clone());
            }
        });
        case(class, "remove", name, allowed, &|files| {
            for path in paths {
                files.remove(path);
            }
        });
        case(class, "cut to nothing", name, allowed, &|files| {
            for path in paths {
                files.insert(path.clone(), Vec::new());
            }
        });
        let grown = if is_lock || *class == "floor" {
            Allowed::Unhurt
        } else {
            Allowed::MadeAnew
        };
        case(class, "append", name, grown, &|files| {
            for path in paths {
                files.get_mut(path).unwrap().extend([0xee; 100]);
            }
        });
    }
    let alien = scene::journal_dir(JournalId(0)).join("notes.txt");
    case("alien file", "add", &alien, Allowed::MadeAnew, &|files| {
        files.insert(alien.clone(), b"not a segment".to_vec());
    });
    let empty = scene::journal_dir(JournalId(1)).join(file_name(500, Offset(1)));
    case("alien file", "add", &empty, Allowed::MadeAnew, &|files| {
        files.insert(empty.clone(), Vec::new());
    });
}
