//! Classes of bytes, and what is done to each: a bit flipped, its page zeroed, the file cut.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use weir::position::JournalId;

use crate::cases::{Allowed, Case};
use crate::oracle::{BlockTruth, JournalTruth, Truth};
use crate::scene::{self, DATA, STREAMS};

const PAGE: usize = 4096;

/// Fields of a segment header, a block header, a trailer, a page of a record, an index entry:
/// where each begins.
const HEADER: [usize; 12] = [0, 8, 10, 16, 32, 48, 56, 64, 72, 80, 200, 4092];
const BLOCK: [usize; 19] = [
    0, 4, 6, 7, 8, 24, 32, 36, 40, 44, 48, 52, 56, 64, 72, 80, 112, 120, 124,
];
const TRAILER: [usize; 11] = [0, 8, 16, 32, 40, 48, 52, 56, 88, 96, 4092];
const SLOT: [usize; 11] = [0, 8, 10, 12, 16, 24, 40, 48, 100, 3000, 4092];
const INDEX_ENTRY: [usize; 7] = [0, 8, 16, 20, 24, 28, 32];

/// Places in files that mean the same.
struct Class {
    name: &'static str,
    /// Path and byte; the places of one entry are changed together.
    places: Vec<Vec<(PathBuf, usize)>>,
    /// What a flipped bit may come to, and what a zeroed page or a cut may.
    flipped: Allowed,
    harder: Allowed,
}

/// All cases of bytes.
pub(crate) fn cases(truth: &Truth) -> Vec<Case> {
    let mut cases = Vec::new();
    for journal in &truth.journals {
        let segments = segments_of(journal);
        // The oldest, one in the middle, and the newest, which in the journals is open.
        for at in [0, segments.len() / 2, segments.len() - 1] {
            for class in classes_of_segment(truth, journal, &segments[at]) {
                byte_cases(truth, &class, &mut cases);
            }
        }
    }
    for class in classes_of_records(truth) {
        byte_cases(truth, &class, &mut cases);
    }
    cases
}

/// Paths of a journal's segments, oldest first.
pub(crate) fn segments_of(journal: &JournalTruth) -> Vec<PathBuf> {
    let blocks = journal.blocks.iter();
    let mut paths: Vec<PathBuf> = blocks.map(|block| block.path.clone()).collect();
    paths.dedup();
    paths
}

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

fn class(
    name: &'static str,
    path: &Path,
    base: usize,
    bytes: &[usize],
    [flipped, harder]: [Allowed; 2],
) -> Class {
    let places = bytes
        .iter()
        .map(|byte| vec![(path.to_owned(), base + byte)]);
    Class {
        name,
        places: places.collect(),
        flipped,
        harder,
    }
}

fn classes_of_segment(truth: &Truth, journal: &JournalTruth, path: &Path) -> Vec<Class> {
    let told = [Allowed::MadeAnew, Allowed::Told];
    let mut classes = vec![class("segment header", path, 0, &HEADER, told)];
    let blocks = journal.blocks.iter();
    let blocks: Vec<&BlockTruth> = blocks.filter(|block| block.path == path).collect();
    let with_events = blocks.iter().filter(|block| block.header.events > 0);
    let with_events: Vec<_> = with_events.collect();
    for at in [0, with_events.len() / 2, with_events.len() - 1] {
        classes.extend(classes_of_block(path, with_events[at]));
    }
    for block in blocks.iter().filter(|block| block.header.events == 0) {
        let any = [Allowed::Any; 2];
        classes.push(class(
            "block of counters",
            path,
            block.position,
            &BLOCK,
            any,
        ));
    }
    let last = blocks.last().unwrap();
    let behind = last.position + last.header.stored_bytes();
    classes.extend(classes_of_end(truth, path, behind));
    classes
}

fn classes_of_block(path: &Path, block: &BlockTruth) -> [Class; 3] {
    let base = block.position;
    let body = block.header.body();
    let content = [block.header.metadata().start, body.start, body.end - 1];
    let padding = [body.end, block.header.stored_bytes() - 1];
    let nothing = [Allowed::Unhurt, Allowed::Any];
    [
        class("block header", path, base, &BLOCK, [Allowed::Told; 2]),
        class("block content", path, base, &content, [Allowed::Told; 2]),
        class("block padding", path, base, &padding, nothing),
    ]
}

/// Index and trailer, or what is unused in a segment that has none.
fn classes_of_end(truth: &Truth, path: &Path, behind: usize) -> Vec<Class> {
    let file = &truth.files[path];
    let trailer = file.len() - PAGE;
    if !file[trailer..].starts_with(b"WEIREND1") {
        let unused = [0, 100, PAGE];
        return vec![class(
            "unused bytes",
            path,
            behind,
            &unused,
            [Allowed::Any; 2],
        )];
    }
    let anew = [Allowed::MadeAnew; 2];
    let nothing = [Allowed::Unhurt, Allowed::Any];
    let entries = u32::from_le_bytes(file[trailer + 48..trailer + 52].try_into().unwrap());
    let last = usize::try_from(entries).unwrap() - 1;
    vec![
        class("trailer", path, trailer, &TRAILER, anew),
        class("index", path, behind, &INDEX_ENTRY, anew),
        class("index", path, behind + 40 * last, &INDEX_ENTRY, anew),
        class("index padding", path, behind + 40 * last, &[48], nothing),
    ]
}

fn classes_of_records(truth: &Truth) -> Vec<Class> {
    let together = |name, places| Class {
        name,
        places,
        flipped: Allowed::MadeAnew,
        harder: Allowed::MadeAnew,
    };
    // Each page, and both at once.
    let pages = |path: PathBuf| {
        let page = |page: usize| SLOT.map(|byte| (path.clone(), page * PAGE + byte));
        let one = (0..2).flat_map(page).map(|place| vec![place]);
        let both = page(0).into_iter().zip(page(1));
        let both = both.map(|(first, second)| vec![first, second]);
        one.chain(both).collect()
    };
    let mut classes = Vec::new();
    for journal in [JournalId(0), JournalId(1)] {
        let records = STREAMS.map(|stream| scene::record_path(stream, journal));
        classes.extend(records.map(|path| together("cursor record", pages(path))));
    }
    for journal in [JournalId(0), JournalId::INTERNAL] {
        let path = scene::journal_dir(journal).join("floor");
        classes.push(together("floor", pages(path)));
    }
    let files = ["node.toml", "node.toml.copy"].map(|name| Path::new(DATA).join(name));
    let bytes = (0..truth.files[&files[0]].len()).step_by(9);
    let each = |at: usize| files.each_ref().map(|path| (path.clone(), at));
    let one = bytes.clone().flat_map(each).map(|place| vec![place]);
    let both = bytes.map(|at| each(at).to_vec());
    classes.push(together("node file", one.chain(both).collect()));
    classes
}
