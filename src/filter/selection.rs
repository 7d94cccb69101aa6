//! What streams take of events: the rules of all streams, judged in one pass.
//!
//! Owns: a selection, one stream's deliver rule and exclusion rules, named by its hash; and the set of selections of a
//! node, compiled into one program, so that what several of them ask of an event is found once. Leaves to others:
//! sampling, which needs the event's position; and where lines come from.

use std::ops::Range;
use std::sync::Arc;

use crate::block::verdicts::{Bitmap, KeptLines, KnownVerdicts, WantedLine};
use crate::event::LabelRun;
use crate::filter::tree::{Expr, Place};
use crate::filter::{Evaluation, Evaluator, Event, Polarity, Program, Rule};

/// What one stream takes: events its rule matches and none of its exclusion rules drops.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Names the selection: equal hashes, equal selections.
    pub hash: u64,
    /// What an event has to be like; `None`: anything.
    pub deliver: Option<Expr>,
    /// What it must not be like.
    pub exclusions: Vec<Expr>,
}

impl Selection {
    /// True when no node of it can cost more than a look at a few fields: then it may be judged where lines come in.
    /// Searching whole lines, regular expressions and functions may not.
    #[must_use]
    pub fn is_light(&self) -> bool {
        self.deliver.iter().chain(&self.exclusions).all(is_light)
    }
}

/// The selections of all streams of a node.
#[derive(Debug)]
pub struct SelectionSet {
    /// All of them.
    pub all: Selections,
    /// Those that may be judged where lines come in.
    pub light: Selections,
}

impl SelectionSet {
    /// Compiles the selections of all streams.
    #[must_use]
    pub fn compile(selections: &[Selection]) -> Self {
        Self {
            all: Selections::compile(selections),
            light: Selections::compile(selections.iter().filter(|selection| selection.is_light())),
        }
    }
}

fn is_light(expression: &Expr) -> bool {
    match expression {
        Expr::Literal(_)
        | Expr::Now
        | Expr::Field(_)
        | Expr::Read(..)
        | Expr::Exists(_)
        | Expr::NumberTerm(..) => true,
        Expr::Term(_, term) => matches!(term.place, Place::Whole | Place::Prefix),
        Expr::All(conditions) | Expr::Any(conditions) => {
            conditions.len() <= LIGHT_OPERANDS_MAX && conditions.iter().all(is_light)
        }
        Expr::Not(inner) | Expr::Truthy(inner) | Expr::Cast(inner, _) => is_light(inner),
        Expr::Compare(_, one, other) | Expr::Text(_, one, other) => {
            is_light(one) && is_light(other)
        }
        Expr::In(value, list) => {
            list.len() <= LIGHT_OPERANDS_MAX && is_light(value) && list.iter().all(is_light)
        }
        Expr::InSubnet(value, _) => is_light(value),
        Expr::Phrase(..)
        | Expr::Matches(..)
        | Expr::Arithmetic(..)
        | Expr::Call(..)
        | Expr::Anywhere { .. } => false,
    }
}

/// Operands of one node up to which a condition counts as light.
const LIGHT_OPERANDS_MAX: usize = 16;

/// Several selections, ready to be judged together.
#[derive(Debug)]
pub struct Selections {
    program: Program,
    selections: Vec<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    hash: u64,
    /// Number of the rule in the program.
    deliver: Option<usize>,
    /// Numbers of the rules in the program.
    drops: Range<usize>,
}

impl Compiled {
    fn takes<'p, 'e: 'p>(&self, evaluation: &mut Evaluation<'p, 'e>) -> bool {
        self.deliver.is_none_or(|rule| evaluation.matches(rule))
            && !self.drops.clone().any(|rule| evaluation.matches(rule))
    }
}

impl Selections {
    /// Compiles selections; those of equal hash count as one.
    #[must_use]
    pub fn compile<'s>(selections: impl IntoIterator<Item = &'s Selection>) -> Self {
        let mut rules = Vec::new();
        let mut compiled: Vec<Compiled> = Vec::new();
        let mut add = |condition: &Expr, polarity| {
            rules.push(Rule {
                condition: condition.clone(),
                polarity,
            });
            rules.len() - 1
        };
        for selection in selections {
            if compiled.iter().any(|known| known.hash == selection.hash) {
                continue;
            }
            let deliver = selection
                .deliver
                .as_ref()
                .map(|condition| add(condition, Polarity::Deliver));
            let drops: Vec<usize> = selection
                .exclusions
                .iter()
                .map(|condition| add(condition, Polarity::Drop))
                .collect();
            let first = drops.first().copied().unwrap_or(0);
            compiled.push(Compiled {
                hash: selection.hash,
                deliver,
                drops: first..first + drops.len(),
            });
        }
        Self {
            program: Program::compile(rules),
            selections: compiled,
        }
    }

    /// True without selections.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.selections.is_empty()
    }

    /// The program of all of them: for each, in their order, its deliver rule if it has one, then its exclusion rules.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }
}

/// Judges blocks; memory is reused.
#[derive(Default)]
pub struct BlockJudge {
    evaluator: Evaluator,
    kept: Gathered,
}

impl std::fmt::Debug for BlockJudge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlockJudge")
    }
}

impl BlockJudge {
    /// Judges the lines of a block, each ended by `\n`, whose labels are in `runs`.
    ///
    /// With [`Keep::Taken`], lines that at least one selection takes are kept beside the verdicts, so that no stream
    /// needs the raw form again.
    pub fn judge(
        &mut self,
        selections: &Selections,
        raw: &[u8],
        runs: &[LabelRun],
        keep: Keep,
    ) -> KnownVerdicts {
        let events = runs.iter().map(|run| run.events).sum();
        let mut bitmaps = vec![Bitmap::none(events); selections.selections.len()];
        let Self { evaluator, kept } = self;
        kept.begin(keep, raw.len());
        let mut lines = Lines { raw, at: 0 };
        let mut event = 0;
        for run in runs {
            for span in lines.by_ref().take(run.events as usize) {
                let mut evaluation = evaluator.begin(
                    &selections.program,
                    Event {
                        line: &raw[span.start..span.end - 1],
                        labels: &run.labels,
                        received: run.received,
                    },
                );
                let mut first_taker = None;
                let all = selections.selections.iter().zip(&mut bitmaps);
                for (number, (selection, bitmap)) in all.enumerate() {
                    if selection.takes(&mut evaluation) {
                        bitmap.set(event);
                        first_taker = first_taker.or(Some(number));
                    }
                }
                if let Some(taker) = first_taker {
                    kept.add(event, span, taker);
                }
                event += 1;
            }
        }
        let hashes = selections.selections.iter().map(|selection| selection.hash);
        KnownVerdicts {
            verdicts: hashes.zip(bitmaps.into_iter().map(Arc::new)).collect(),
            lines: kept.lines(raw),
        }
    }
}

/// Whether lines are kept beside the verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Those that a selection takes, unless they are more than three quarters of the raw bytes.
    Taken,
    /// None.
    Nothing,
}

/// Lines that are taken, as long as they are few enough.
#[derive(Default)]
struct Gathered {
    lines: Vec<WantedLine>,
    /// Bytes that more of them may have; `None` once they are too many, or none are wanted.
    bytes_left: Option<usize>,
}

impl Gathered {
    fn begin(&mut self, keep: Keep, raw_bytes: usize) {
        self.lines.clear();
        self.bytes_left = (keep == Keep::Taken).then_some(raw_bytes / 4 * 3);
    }

    fn add(&mut self, event: u32, line: Range<usize>, taker: usize) {
        let Some(bytes_left) = self.bytes_left else {
            return;
        };
        self.bytes_left = bytes_left.checked_sub(line.len());
        self.lines.push(WantedLine::new(event, line, taker));
    }

    /// A copy of just the size, unless they were too many.
    fn lines(&self, raw: &[u8]) -> Option<Arc<KeptLines>> {
        self.bytes_left?;
        Some(Arc::new(KeptLines::copy(raw, &self.lines)))
    }
}

/// Where lines lie, with their line ends.
struct Lines<'a> {
    raw: &'a [u8],
    at: usize,
}

impl Iterator for Lines<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        self.at += memchr::memchr(b'\n', &self.raw[start..])? + 1;
        Some(start..self.at)
    }
}
