//! Rules about shape: a doc on top, files and folders of a size, names that say something,
//! nothing left over.

use std::collections::BTreeMap;

use crate::source::{Finding, Tree, words};

/// Lines a file may have, tests included.
const FILE_LINES_MAX: usize = 900;

/// Sources a folder under `src/` may hold beside its `mod.rs`.
const FOLDER_FILES_MAX: usize = 14;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = [
    "util", "utils", "common", "helpers", "misc", "types", "manager",
];

/// Every source says on its first line what it owns.
pub(crate) fn opens_with_its_doc(tree: &Tree) -> Vec<Finding> {
    let bare = tree.rust().filter(|file| !file.text.starts_with("//! "));
    bare.map(|file| {
        let advice =
            "open the file with `//!`: what it owns, promises, leaves to others".to_owned();
        file.finding(1, "first line", advice)
    })
    .collect()
}

/// No source is longer than a reader holds in mind.
pub(crate) fn file_lines(tree: &Tree) -> Vec<Finding> {
    let long = tree
        .rust()
        .filter(|file| file.text.lines().count() > FILE_LINES_MAX);
    long.map(|file| {
        let advice =
            format!("over {FILE_LINES_MAX} lines; find the second noun in it and split there");
        file.finding(FILE_LINES_MAX + 1, "file lines", advice)
    })
    .collect()
}

/// A folder that grew past a glance holds two nouns.
pub(crate) fn folder_files(tree: &Tree) -> Vec<Finding> {
    let mut folders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for file in tree.rust().filter(|file| file.path.starts_with("src/")) {
        let (folder, name) = file.path.rsplit_once('/').unwrap_or_default();
        if folder != "src" && name != "mod.rs" {
            folders.entry(folder).or_default().push(name);
        }
    }
    let crowded = folders
        .into_iter()
        .filter(|(_, files)| files.len() > FOLDER_FILES_MAX);
    crowded
        .map(|(folder, files)| Finding {
            path: format!("{folder}/mod.rs"),
            line: 1,
            rule: "folder files",
            advice: format!("{} files; ask which half is a new noun", files.len()),
        })
        .collect()
}

/// No module carries a name that says nothing.
pub(crate) fn module_names(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let advice = |name: &str| {
        format!("`{name}` says nothing; name it after what it is, in the words of docs/glossary.md")
    };
    for file in tree.rust() {
        let parts = file.path.trim_end_matches(".rs").split('/');
        for name in parts.filter(|name| EMPTY_NAMES.contains(name)) {
            findings.push(file.finding(1, "module name", advice(name)));
        }
        for (line, code) in file.numbered_code() {
            let inline = EMPTY_NAMES
                .iter()
                .filter(|name| code.contains(&format!("mod {name} {{")));
            findings.extend(inline.map(|name| file.finding(line, "module name", advice(name))));
        }
    }
    findings
}

/// Nothing half-done is checked in.
pub(crate) fn leftovers(tree: &Tree) -> Vec<Finding> {
    let marker = concat!("FIX", "ME");
    let mut findings = Vec::new();
    for file in &tree.files {
        for (index, text) in file.text.lines().enumerate() {
            if text.contains(marker) {
                let advice =
                    "do it now, or open an issue and say here what holds meanwhile".to_owned();
                findings.push(file.finding(index + 1, "leftover", advice));
            }
        }
        for (line, code) in file.numbered_code() {
            for name in ["dbg", "todo", "unimplemented"] {
                if words(code, name).any(|at| code[at + name.len()..].starts_with('!')) {
                    let advice =
                        format!("`{name}!` is for the desk; write the code or return an error");
                    findings.push(file.finding(line, "leftover", advice));
                }
            }
        }
    }
    findings
}

/// A test that is not run proves nothing.
pub(crate) fn ignored_tests(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        for (line, code) in file
            .numbered_code()
            .filter(|(_, code)| code.contains("#[ignore"))
        {
            let _ = code;
            let advice = "run it, make its size settable by an environment variable, or delete it"
                .to_owned();
            findings.push(file.finding(line, "ignored test", advice));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::places;

    #[test]
    fn a_source_without_a_doc_is_found() {
        let files = [
            ("src/a.rs", "//! A.\n"),
            ("src/b.rs", "use c;\n"),
            ("docs/d.md", "d\n"),
        ];
        assert_eq!(places(opens_with_its_doc, &files), ["src/b.rs:1"]);
    }

    #[test]
    fn a_long_file_is_found() {
        let long = "//! A.\n".repeat(FILE_LINES_MAX + 1);
        let fits = "//! A.\n".repeat(FILE_LINES_MAX);
        assert_eq!(
            places(file_lines, &[("src/a.rs", &long), ("src/b.rs", &fits)]),
            ["src/a.rs:901"]
        );
    }

    #[test]
    fn a_crowded_folder_is_found() {
        let paths: Vec<String> = (0..=FOLDER_FILES_MAX)
            .map(|number| format!("src/ingest/n{number}.rs"))
            .collect();
        let files: Vec<(&str, &str)> = paths
            .iter()
            .map(|path| (path.as_str(), "//! A.\n"))
            .collect();
        assert_eq!(places(folder_files, &files), ["src/ingest/mod.rs:1"]);
        assert!(places(folder_files, &files[1..]).is_empty());
    }

    #[test]
    fn an_empty_name_is_found_in_a_path_and_inline() {
        let files = [
            ("src/sink/utils/retry.rs", "//! A.\n"),
            ("src/sink/mod.rs", "mod retry {}\nmod misc {}\n"),
            ("src/os/uncommon.rs", "//! A.\n"),
        ];
        assert_eq!(
            places(module_names, &files),
            ["src/sink/mod.rs:2", "src/sink/utils/retry.rs:1"]
        );
    }

    #[test]
    fn leftovers_are_found_in_code_and_markers_anywhere() {
        let marker = format!("# {}: later\n", concat!("FIX", "ME"));
        let text = "// dbg!(a) is for the desk\nfn a() { dbg!(b); }\nfn c() { todo!() }\n";
        let files = [("src/a.rs", text), ("Makefile", marker.as_str())];
        assert_eq!(
            places(leftovers, &files),
            ["Makefile:1", "src/a.rs:2", "src/a.rs:3"]
        );
    }

    #[test]
    fn an_ignored_test_is_found() {
        let text = "#[test]\n#[ignore = \"slow\"]\nfn a() {}\n// #[ignore]\n";
        assert_eq!(
            places(ignored_tests, &[("tests/a.rs", text)]),
            ["tests/a.rs:2"]
        );
    }
}
