//! `weir rules test`: how much a rule matches, and which events they are.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::{ArgGroup, Args};

use crate::cli::rules::rule::{GivenRule, RuleArguments};
use crate::cli::rules::source::{Found, Remains, Source};
use crate::cli::text::{self, Cell, Table, one_line};
use crate::cli::{CommandError, Verdict, answer};
use crate::filter::{Evaluator, Program, Rule};
use crate::os::clock::{Clock as _, SystemClock};

/// Characters shown of a line or a rule.
const SHOWN_CHARS_MAX: usize = 200;

/// Arguments of the command.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("rule").required(true).args(["query", "dpxl"])))]
pub(in crate::cli) struct Test {
    #[command(flatten)]
    rule: RuleArguments,
    #[command(flatten)]
    source: Source,
    /// Configuration that names the data directory that has the journals.
    #[arg(
        long,
        value_name = "FILE",
        requires = "last",
        conflicts_with_all = ["data_dir", "file", "labels"]
    )]
    config: Option<PathBuf>,
    /// Print only the counts, as one JSON object.
    #[arg(long, conflicts_with = "matched")]
    json: bool,
    /// Print only the lines that match, byte for byte.
    #[arg(long)]
    matched: bool,
    /// Lines shown of each side, at most 1000.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(0..=1000))]
    sample: u16,
}

/// Events, and their bytes without line ends.
#[derive(Debug, Clone, Copy, Default)]
struct Amount {
    events: u64,
    bytes: u64,
}

/// Those that match, or those that do not.
#[derive(Debug, Default)]
struct Side {
    amount: Amount,
    samples: Vec<String>,
}

/// Tries a rule.
pub(super) fn test(arguments: &Test) -> Result<Verdict, CommandError> {
    let began = SystemClock.now().wall;
    let rule = arguments.rule.parse()?;
    let rule = rule.expect("the command line demands one of the two");
    let program = Program::compile(vec![Rule {
        condition: rule.condition.clone(),
        polarity: rule.language.polarity(),
    }]);
    let mut evaluator = Evaluator::new();
    let mut out = arguments
        .matched
        .then(|| BufWriter::new(io::stdout().lock()));
    let mut printed = Ok(());
    let samples_max = if arguments.json || arguments.matched {
        0
    } else {
        usize::from(arguments.sample)
    };
    let (mut matched, mut others) = (Side::default(), Side::default());
    let config = arguments.config.as_deref();
    let remains = arguments.source.each(config, began, &mut |found| {
        match found {
            Found::Event(event) => {
                let matches = evaluator.begin(&program, event).matches(0);
                let side = if matches { &mut matched } else { &mut others };
                side.add(event.line, samples_max);
                if let (true, Some(out)) = (matches, &mut out) {
                    printed = out
                        .write_all(event.line)
                        .and_then(|()| out.write_all(b"\n"));
                }
            }
            Found::Pause => printed = out.as_mut().map_or(Ok(()), Write::flush),
        }
        match printed {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    if let Some(mut out) = out {
        match printed.and_then(|()| out.flush()) {
            // The reader has seen what it wanted (`| head -1`).
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            done => done.map_err(CommandError::Print)?,
        }
    } else if arguments.json {
        answer(&counts(&matched, &others, &remains))?;
    } else {
        answer(&report(&rule, &matched, &others, &remains))?;
    }
    Ok(remains.verdict())
}

impl Side {
    fn add(&mut self, line: &[u8], samples_max: usize) {
        self.amount.events += 1;
        self.amount.bytes += line.len() as u64;
        if self.samples.len() < samples_max {
            // An event was found to be UTF-8.
            let line = String::from_utf8_lossy(line);
            self.samples.push(one_line(&line, SHOWN_CHARS_MAX));
        }
    }
}

fn counts(matched: &Side, others: &Side, remains: &Remains) -> String {
    format!(
        "{{\"events\":{},\"matched\":{},\"matched_bytes\":{},\"malformed\":{}}}",
        matched.amount.events + others.amount.events,
        matched.amount.events,
        matched.amount.bytes,
        remains.malformed
    )
}

/// Counts and samples for people.
fn report(rule: &GivenRule, matched: &Side, others: &Side, remains: &Remains) -> String {
    let all = Amount {
        events: matched.amount.events + others.amount.events,
        bytes: matched.amount.bytes + others.amount.bytes,
    };
    let mut table = Table::new(&["", ">events", ">", ">bytes", ">"]);
    let mut row = |name: &str, part: Amount| {
        table.row(vec![
            Cell::word(name),
            Cell::number(part.events),
            Cell::number(per_cent(part.events, all.events)),
            Cell::number(text::bytes(part.bytes)),
            Cell::number(per_cent(part.bytes, all.bytes)),
        ]);
    };
    let fates = rule.language.fates();
    row("all", all);
    for (fate, side) in fates.into_iter().zip([matched, others]) {
        row(fate, side.amount);
    }
    let rule_shown = one_line(&rule.text, SHOWN_CHARS_MAX);
    let mut told = format!(
        "{}: {rule_shown}\n{}",
        rule.language.name(),
        table.show("  ")
    );
    told += &match &remains.malformed_first {
        Some(first) => format!(
            "malformed: {}, which no rule matches; the first: {first}\n",
            remains.malformed
        ),
        None => "malformed: 0\n".to_owned(),
    };
    for (fate, side) in fates.into_iter().zip([matched, others]) {
        if side.samples.is_empty() {
            continue;
        }
        told += &format!(
            "{fate}, {} of {}:\n",
            side.samples.len(),
            side.amount.events
        );
        for sample in &side.samples {
            told += &format!("  {sample}\n");
        }
    }
    told
}

/// Rounded down, so that only all is 100 %; what is not nothing is not shown as 0.
fn per_cent(part: u64, of: u64) -> String {
    if of == 0 {
        return "-".to_owned();
    }
    match u128::from(part) * 1000 / u128::from(of) {
        0 if part > 0 => "< 0.1 %".to_owned(),
        tenths => format!("{}.{} %", tenths / 10, tenths % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_all_is_a_hundred_per_cent_and_only_nothing_is_zero() {
        let shown = [(0, 0), (0, 9), (1, 10_000), (1, 3), (9_999, 10_000), (7, 7)]
            .map(|(part, of)| per_cent(part, of));
        assert_eq!(
            shown,
            ["-", "0.0 %", "< 0.1 %", "33.3 %", "99.9 %", "100.0 %"]
        );
        assert_eq!(per_cent(u64::MAX, u64::MAX), "100.0 %");
    }
}
