//! The engine against the slow evaluator, on random events and random rules.
//!
//! Owns: one case, which is a number, and what is said when the two disagree. `WEIR_RULES_CASES=n` sets how many cases
//! run, `WEIR_RULES_SEED=n` the first of them; a case that failed is run again alone with its number and one case.

use std::fmt;

use weir::event::Labels;
use weir::filter::tree::Expr;
use weir::filter::{self, Evaluator, Polarity, Program, Rule};
use weir::os::simd::Level;
use weir::position::Timestamp;

use crate::generate::events::Event;
use crate::generate::trees;
use crate::generate::vocabulary::Vocabulary;
use crate::json::{Document, Kind};
use crate::oracle::Subject;
use crate::random::Random;

/// Rules that one program holds at most.
const RULES_MAX: usize = 8;

/// Events that one program judges one after the other, with one evaluator.
const EVENTS_MAX: usize = 3;

/// What came of a case.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    /// Answers compared.
    pub(crate) answers: u64,
    /// Of them, matches.
    pub(crate) matches: u64,
    /// Of them, matches of a drop rule that equal keys undid.
    pub(crate) undone: u64,
}

impl Tally {
    #[cfg(test)]
    fn add(&mut self, other: Self) {
        self.answers += other.answers;
        self.matches += other.matches;
        self.undone += other.undone;
    }
}

/// The engine and the slow evaluator answered differently.
pub(crate) struct Disagreement {
    rule: Rule,
    event: Event,
    engine: bool,
}

/// An evaluator for each set of instructions that this CPU has, and a portable one.
pub(crate) fn evaluators() -> Vec<Evaluator> {
    let levels = Level::available().into_iter().map(Some);
    levels.chain([None]).map(Evaluator::with_level).collect()
}

/// Runs one case. Rules are asked in any order, at times twice, as streams do.
///
/// # Errors
/// The first disagreement, made smaller.
pub(crate) fn case(
    random: &mut Random,
    evaluators: &mut [Evaluator],
) -> Result<Tally, Box<Disagreement>> {
    let mut events = Vec::new();
    let mut vocabularies = Vec::new();
    for _ in 0..random.between(1, EVENTS_MAX) {
        let event = Event::random(random);
        vocabularies.push(Vocabulary::of(&event));
        events.push(event);
    }
    let mut rules = Vec::new();
    for _ in 0..random.between(1, RULES_MAX) {
        let words = &vocabularies[random.index(vocabularies.len())];
        rules.push(trees::rule(random, words));
    }
    let program = Program::compile(rules.clone());
    let mut tally = Tally::default();
    for event in &events {
        let subject = subject(event);
        let evaluator = &mut evaluators[random.index(evaluators.len())];
        let mut evaluation = evaluator.begin(&program, borrowed(event));
        let first = random.index(rules.len());
        for asked in first..first + rules.len() + random.index(2) {
            let index = asked % rules.len();
            let rule = &rules[index];
            let engine = evaluation.matches(index);
            let passes = subject.passes(&rule.condition);
            let undone =
                passes && rule.polarity == Polarity::Drop && subject.is_ambiguous(&rule.condition);
            if engine != (passes && !undone) {
                let (rule, event) = (rule.clone(), event.clone());
                return Err(Box::new(
                    Disagreement {
                        rule,
                        event,
                        engine,
                    }
                    .smaller(),
                ));
            }
            tally.answers += 1;
            tally.matches += u64::from(engine);
            tally.undone += u64::from(undone);
        }
    }
    Ok(tally)
}

/// What the slow evaluator says.
fn expected(rule: &Rule, event: &Event) -> bool {
    let subject = subject(event);
    subject.passes(&rule.condition)
        && !(rule.polarity == Polarity::Drop && subject.is_ambiguous(&rule.condition))
}

/// Whether some evaluator answers otherwise for the rule alone.
fn is_wrong(rule: &Rule, event: &Event) -> bool {
    let program = Program::compile(vec![rule.clone()]);
    let expected = expected(rule, event);
    evaluators()
        .iter_mut()
        .any(|evaluator| evaluator.begin(&program, borrowed(event)).matches(0) != expected)
}

fn subject(event: &Event) -> Subject<'_> {
    Subject::new(event.line.as_bytes(), &event.labels, event.received)
}

fn borrowed(event: &Event) -> filter::Event<'_> {
    filter::Event {
        line: event.line.as_bytes(),
        labels: &event.labels,
        received: event.received,
    }
}

impl Disagreement {
    /// The same with less of the rule and the line, as long as the rule alone still shows it.
    fn smaller(mut self) -> Self {
        if !is_wrong(&self.rule, &self.event) {
            return self;
        }
        loop {
            let conditions = parts(&self.rule.condition).into_iter().map(|condition| {
                let polarity = self.rule.polarity;
                (
                    Rule {
                        condition,
                        polarity,
                    },
                    self.event.clone(),
                )
            });
            let lines = shorter(&self.event.line).into_iter().map(|line| {
                let event = Event {
                    line,
                    ..self.event.clone()
                };
                (self.rule.clone(), event)
            });
            let Some((rule, event)) = conditions
                .chain(lines)
                .find(|(rule, event)| is_wrong(rule, event))
            else {
                self.engine = !expected(&self.rule, &self.event);
                return self;
            };
            (self.rule, self.event) = (rule, event);
        }
    }
}

/// Conditions within the condition, and the condition with one operand less.
fn parts(condition: &Expr) -> Vec<Expr> {
    let without = |operands: &[Expr], join: fn(Vec<Expr>) -> Expr| {
        let mut parts = operands.to_vec();
        for index in 0..operands.len() {
            let mut rest = operands.to_vec();
            rest.remove(index);
            parts.push(join(rest));
            for part in self::parts(&operands[index]) {
                let mut rest = operands.to_vec();
                rest[index] = part;
                parts.push(join(rest));
            }
        }
        parts
    };
    match condition {
        Expr::All(operands) => without(operands, Expr::All),
        Expr::Any(operands) => without(operands, Expr::Any),
        Expr::Not(operand) => {
            let mut parts = vec![(**operand).clone()];
            parts.extend(
                self::parts(operand)
                    .into_iter()
                    .map(|part| Expr::Not(Box::new(part))),
            );
            parts
        }
        _ => Vec::new(),
    }
}

/// The line with one member less at the top.
fn shorter(line: &str) -> Vec<String> {
    let document = Document::parse(line.as_bytes()).expect("the line is JSON");
    let Kind::Object(members) = &document.root.kind else {
        return Vec::new();
    };
    // The raw keys are not kept; a key is written again only when that changes nothing.
    let texts: Vec<String> = members
        .iter()
        .map(|(key, value)| format!("\"{key}\":{}", document.raw(value)))
        .collect();
    let lines = (0..texts.len()).map(|left_out| {
        let mut rest = texts.clone();
        rest.remove(left_out);
        format!("{{{}}}", rest.join(","))
    });
    lines
        .filter(|line| weir::ingest::validate::validate(line.as_bytes()).is_ok())
        .collect()
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rule,
            event,
            engine,
        } = self;
        let Event {
            line,
            labels,
            received,
        } = event;
        let Timestamp(micros) = received;
        writeln!(
            f,
            "the engine says {engine}, the slow evaluator {}",
            expected(rule, event)
        )?;
        writeln!(f, "rule: {rule:?}")?;
        writeln!(f, "line: {line}")?;
        writeln!(f, "line, escaped: {line:?}")?;
        let bare = Labels::of_input(labels.input);
        if *labels != bare {
            writeln!(f, "labels: {labels:?}")?;
        }
        writeln!(f, "received: {micros} µs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases of `cargo test`.
    const CASES: u64 = 200_000;

    /// Threads that share them.
    const THREADS: u64 = 2;

    /// Disagreements after which a thread has seen enough.
    const DISAGREEMENTS_MAX: usize = 5;

    fn from_environment(name: &str, default: u64) -> u64 {
        match std::env::var(name) {
            Ok(text) => text.parse().expect("a number"),
            Err(_) => default,
        }
    }

    /// Runs these cases; returns what came of them and what went wrong.
    fn run(seeds: impl Iterator<Item = u64>) -> (Tally, Vec<String>) {
        let mut evaluators = evaluators();
        let (mut sum, mut wrong) = (Tally::default(), Vec::new());
        for seed in seeds {
            match case(&mut Random::new(seed), &mut evaluators) {
                Ok(tally) => sum.add(tally),
                Err(disagreement) => wrong.push(format!(
                    "WEIR_RULES_SEED={seed} WEIR_RULES_CASES=1\n{disagreement}"
                )),
            }
            if wrong.len() == DISAGREEMENTS_MAX {
                break;
            }
        }
        (sum, wrong)
    }

    #[test]
    fn a_disagreement_is_made_smaller_by_operands_and_members() {
        let exists = |name: &str| Expr::Phrase(Box::new(Expr::Now), name.into());
        let both = Expr::All(vec![exists("a"), Expr::Not(Box::new(exists("b")))]);
        let smaller = [
            exists("a"),
            Expr::Not(Box::new(exists("b"))),
            Expr::All(vec![Expr::Not(Box::new(exists("b")))]),
            Expr::All(vec![exists("a")]),
            Expr::All(vec![exists("a"), exists("b")]),
        ];
        assert_eq!(parts(&both), smaller);
        let line = r#"{ "a" : [1, "\u0061"], "b":{} }"#;
        assert_eq!(shorter(line), [r#"{"b":{}}"#, r#"{"a":[1, "\u0061"]}"#]);
    }

    #[test]
    fn engine_and_slow_evaluator_agree() {
        let first = from_environment("WEIR_RULES_SEED", 1);
        let cases = from_environment("WEIR_RULES_CASES", CASES);
        println!("WEIR_RULES_SEED={first} WEIR_RULES_CASES={cases}");
        let (mut sum, mut wrong) = (Tally::default(), Vec::new());
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    scope.spawn(move || {
                        run((first..first + cases).filter(|seed| seed % THREADS == thread))
                    })
                })
                .collect();
            for thread in threads {
                let (tally, disagreements) = thread.join().expect("no case panics");
                sum.add(tally);
                wrong.extend(disagreements);
            }
        });
        println!("{sum:?}");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        if cases >= CASES {
            let Tally {
                answers,
                matches,
                undone,
            } = sum;
            assert!(
                matches > answers / 10 && matches < answers * 6 / 10,
                "rules match too seldom or too often"
            );
            assert!(undone > answers / 1000, "equal keys are met too seldom");
        }
    }
}
