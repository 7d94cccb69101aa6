//! Tidy: rules of the tree that no compiler checks.
//!
//! One test reads the tree once and fails with `path:line: rule: what to do instead`.
//! Each rule is one function from the tree to its findings, with its own small test on a
//! made-up snippet, so that a rule that stopped finding anything is noticed.
//!
//! The rules read text, not syntax: [`source`] blanks comments and the insides of string
//! literals, which is enough to find paths, macros and keywords without false alarms. What
//! a macro builds from pieces is out of reach, and is not what these rules guard against.

mod examples;
mod homes;
mod imports;
mod shape;
mod source;
mod texts;

use source::{Finding, Tree};

/// Every rule. A new one is a function and a line here.
const RULES: [fn(&Tree) -> Vec<Finding>; 20] = [
    examples::examples_load,
    imports::direction,
    imports::pure_parts,
    imports::loadgen_apart,
    homes::crates_at_home,
    homes::bounded_inflation,
    homes::unsafe_in_its_place,
    shape::opens_with_its_doc,
    shape::file_lines,
    shape::folder_files,
    shape::module_names,
    shape::leftovers,
    shape::ignored_tests,
    texts::operator_words,
    texts::metric_names,
    texts::configuration_keys,
    texts::decision_status,
    texts::invariants_have_their_tests,
    texts::paths_of_one_machine,
    texts::hosts,
];

#[test]
fn the_tree_is_tidy() {
    let tree = Tree::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(
        tree.files.iter().any(|file| file.path == "src/lib.rs"),
        "the tree was not found"
    );
    let findings: Vec<String> = RULES
        .iter()
        .flat_map(|rule| rule(&tree))
        .map(|finding| finding.to_string())
        .collect();
    assert!(
        findings.is_empty(),
        "{} things to tidy:\n{}",
        findings.len(),
        findings.join("\n")
    );
}
