//! Whole files: copied, appended to, removed, and swapped with those of another directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use weir::journal::segments::file_name;
use weir::position::{JournalId, Offset};

use crate::cases::{Allowed, Case};
use crate::classes::segments_of;
use crate::oracle::Truth;
use crate::scene::{self, DATA, Files, STREAMS};

/// All cases of whole files; `other` is another node's directory.
pub(crate) fn cases(truth: &Truth, other: &Files) -> Vec<Case> {
    let mut cases = Cases {
        truth,
        cases: Vec::new(),
    };
    cases.segments(other);
    cases.cursor_records(other);
    cases.small_files(other);
    cases.alien_files();
    cases.cases
}

struct Cases<'a> {
    truth: &'a Truth,
    cases: Vec<Case>,
}

impl Cases<'_> {
    fn add(
        &mut self,
        [class, change]: [&'static str; 2],
        name: &Path,
        allowed: Allowed,
        edit: &dyn Fn(&mut Files),
    ) {
        let was = &self.truth.files;
        let mut files = was.clone();
        edit(&mut files);
        let gone = was.keys().filter(|path| !files.contains_key(*path));
        let mut changed: BTreeMap<_, _> = gone.map(|path| (path.clone(), None)).collect();
        files.retain(|path, bytes| was.get(path) != Some(bytes));
        changed.extend(files.into_iter().map(|(path, bytes)| (path, Some(bytes))));
        self.cases.push(Case {
            class,
            change,
            name: name.display().to_string(),
            changed,
            allowed,
        });
    }

    fn segments(&mut self, other: &Files) {
        let truth = self.truth;
        for (journal, dir) in truth.journals.iter().zip(["0", "1", "internal"]) {
            let of_journal = |path: &&PathBuf| path.parent().unwrap().ends_with(dir);
            let is_segment = |path: &&PathBuf| path.extension().is_some_and(|name| name == "seg");
            let theirs = other.keys().filter(of_journal).filter(is_segment);
            for (path, theirs) in segments_of(journal).iter().zip(theirs) {
                self.segment(path, &other[theirs]);
            }
        }
    }

    fn segment(&mut self, path: &Path, theirs: &[u8]) {
        let bytes = self.truth.files[path].clone();
        let names = [
            "copy.seg".to_owned(),
            file_name(900, Offset(7_000_000)),
            file_name(1, Offset(0)),
        ];
        for copy in names.map(|name| path.with_file_name(name)) {
            if !self.truth.files.contains_key(&copy) {
                let change = ["segment", "duplicate"];
                self.add(change, path, Allowed::MadeAnew, &|files| {
                    files.insert(copy.clone(), bytes.clone());
                });
            }
        }
        self.add(["segment", "swap"], path, Allowed::Told, &|files| {
            files.insert(path.to_owned(), theirs.to_vec());
        });
        self.add(["segment", "remove"], path, Allowed::Told, &|files| {
            files.remove(path);
        });
        for more in [1, 100, 20_000] {
            self.add(["segment", "append"], path, Allowed::MadeAnew, &|files| {
                let len = bytes.len() + more;
                files.get_mut(path).unwrap().resize(len, 0xee);
            });
        }
    }

    fn cursor_records(&mut self, other: &Files) {
        let journals = [JournalId(0), JournalId(1)];
        let of_stream = |stream| journals.map(|of| scene::record_path(stream, of));
        let paths: Vec<PathBuf> = STREAMS.into_iter().flat_map(of_stream).collect();
        for path in &paths {
            let class = "cursor record";
            self.add([class, "swap"], path, Allowed::MadeAnew, &|files| {
                files.insert(path.clone(), other[path].clone());
            });
            for from in paths.iter().filter(|from| *from != path) {
                self.add([class, "duplicate"], path, Allowed::MadeAnew, &|files| {
                    let bytes = files[from].clone();
                    files.insert(path.clone(), bytes);
                });
            }
            self.add([class, "append"], path, Allowed::Unhurt, &|files| {
                files.get_mut(path).unwrap().extend([0xee; 5_000]);
            });
        }
    }

    fn small_files(&mut self, other: &Files) {
        let data = |name: &str| Path::new(DATA).join(name);
        let floor = scene::journal_dir(JournalId(0)).join("floor");
        let small: [(&'static str, Vec<PathBuf>); 5] = [
            ("node file", vec![data("node.toml")]),
            ("node file", vec![data("node.toml.copy")]),
            ("node file", vec![data("node.toml"), data("node.toml.copy")]),
            ("floor", vec![floor]),
            ("lock", vec![data("lock")]),
        ];
        for (class, paths) in &small {
            let allowed = match *class {
                "lock" => Allowed::Unhurt,
                _ => Allowed::MadeAnew,
            };
            let grown = match *class {
                "node file" => Allowed::MadeAnew,
                _ => Allowed::Unhurt,
            };
            let each = |files: &mut Files, edit: &dyn Fn(&mut Files, &PathBuf)| {
                paths.iter().for_each(|path| edit(files, path));
            };
            let name = &paths[0];
            self.add([class, "swap"], name, allowed, &|files| {
                each(files, &|files, path| {
                    files.insert(path.clone(), other[path].clone());
                });
            });
            self.add([class, "remove"], name, allowed, &|files| {
                each(files, &|files, path| drop(files.remove(path)));
            });
            self.add([class, "cut to nothing"], name, allowed, &|files| {
                each(files, &|files, path| files.get_mut(path).unwrap().clear());
            });
            self.add([class, "append"], name, grown, &|files| {
                each(files, &|files, path| {
                    files.get_mut(path).unwrap().extend([0xee; 100]);
                });
            });
        }
    }

    fn alien_files(&mut self) {
        let notes = scene::journal_dir(JournalId(0)).join("notes.txt");
        let empty = scene::journal_dir(JournalId(1)).join(file_name(500, Offset(1)));
        for (path, bytes) in [(notes, &b"not a segment"[..]), (empty, b"")] {
            self.add(["alien file", "add"], &path, Allowed::MadeAnew, &|files| {
                files.insert(path.clone(), bytes.to_vec());
            });
        }
    }
}
