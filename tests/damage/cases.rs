//! The cases, run and counted: the table of what came of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::oracle::{self, Outcome, Truth};
use crate::scene::{self, Files};
use crate::{classes, whole};

/// What a case may come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowed {
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
pub(crate) struct Case {
    pub(crate) class: &'static str,
    pub(crate) change: &'static str,
    pub(crate) name: String,
    /// The files that differ, and those that are gone.
    pub(crate) changed: BTreeMap<PathBuf, Option<Vec<u8>>>,
    pub(crate) allowed: Allowed,
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

#[test]
fn whatever_is_damaged_the_node_starts_loses_what_was_hit_and_says_exactly_what() {
    let truth = Truth::of(scene::make());
    let other = scene::make();
    let mut cases = classes::cases(&truth);
    cases.extend(whole::cases(&truth, &other));
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

#[expect(clippy::print_stdout, reason = "the table is for docs/reliability.md")]
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
