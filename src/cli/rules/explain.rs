//! `weir rules explain`: what a rule, or all rules of a configuration, became, and what that costs.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};

use crate::cli::rules::measure::{HELD_BYTES_MAX, Held};
use crate::cli::rules::rule::{GivenRule, Language, RuleArguments};
use crate::cli::rules::source::Source;
use crate::cli::text::{self, Cell, Table};
use crate::cli::{CommandError, Verdict, answer};
use crate::config;
use crate::config::plan::Plan;
use crate::filter::exclusions::Exclusions;
use crate::filter::selection::{Selection, Selections};
use crate::os::clock::{Clock as _, SystemClock};
use crate::os::simd::Level;

/// Arguments of the command.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("rules").required(true).args(["query", "dpxl", "config"])))]
pub(in crate::cli) struct Explain {
    #[command(flatten)]
    rule: RuleArguments,
    /// Configuration whose rules are meant; with --last it also names the data directory.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

/// Rules that the relay compiles into one program.
struct Compiled {
    /// What it is called beside what it costs.
    name: &'static str,
    /// What is to be known of it; the words of its rules' numbers among it.
    told: Vec<String>,
    judge: Judge,
}

enum Judge {
    Exclusions(Exclusions),
    Selections(Selections),
}

impl Judge {
    fn is_empty(&self) -> bool {
        match self {
            Self::Exclusions(rules) => rules.is_empty(),
            Self::Selections(selections) => selections.is_empty(),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Exclusions(rules) => rules.program(),
            Self::Selections(selections) => selections.program(),
        }
        .describe()
    }

    fn measure(&self, held: &Held) -> Duration {
        match self {
            Self::Exclusions(rules) => held.exclusions(rules),
            Self::Selections(selections) => held.selections(selections),
        }
    }
}

/// Explains rules.
pub(super) fn explain(arguments: &Explain) -> Result<Verdict, CommandError> {
    let began = SystemClock.now().wall;
    let config = arguments.config.as_deref();
    let compiled = if let Some(rule) = arguments.rule.parse()? {
        vec![of_rule(rule)]
    } else {
        let file = config.expect("the command line demands a rule or a configuration");
        let plan = config::load(file).map_err(|errors| CommandError::Usage(errors.to_string()))?;
        vec![of_exclusions(&plan), of_streams(&plan)]
    };
    let mut told = String::new();
    for one in &compiled {
        for line in &one.told {
            writeln!(told, "{line}").expect("writing to a String cannot fail");
        }
        told.push_str(&one.judge.describe());
        told.push('\n');
    }
    let mut verdict = Verdict::Sound;
    if arguments.source.is_given() {
        let (held, remains) = Held::read(&arguments.source, config, began)?;
        verdict = remains.verdict();
        told.push_str(&cost(&held, &compiled));
    }
    answer(&told)?;
    Ok(verdict)
}

fn of_rule(rule: GivenRule) -> Compiled {
    let mut selection = Selection {
        hash: 0,
        deliver: None,
        exclusions: Vec::new(),
    };
    match rule.language {
        Language::Query => {
            selection.exclusions.push(rule.condition.clone());
            let judge = Exclusions::compile(vec![("query".into(), rule.condition)], None);
            Compiled {
                name: "query",
                told: vec![
                    "an exclusion rule of the node is judged where lines come in".to_owned(),
                    format!("an exclusion rule of a stream: {}", weight(&selection)),
                ],
                judge: Judge::Exclusions(judge),
            }
        }
        Language::Dpxl => {
            selection.deliver = Some(rule.condition);
            Compiled {
                name: "dpxl",
                told: vec![format!("a rule of a stream: {}", weight(&selection))],
                judge: Judge::Selections(Selections::compile([&selection])),
            }
        }
    }
}

/// Where the selection is judged.
fn weight(selection: &Selection) -> &'static str {
    if selection.is_light() {
        "light, judged where lines come in"
    } else {
        "not light, judged when a stream first takes a block"
    }
}

fn of_exclusions(plan: &Plan) -> Compiled {
    let active = plan.exclusions.iter().filter(|rule| rule.active);
    let rules: Vec<_> = active
        .map(|rule| (rule.name.clone(), rule.condition.clone()))
        .collect();
    let mut told = vec![match rules.len() {
        0 => "the node has no exclusion rules in force".to_owned(),
        count => format!("exclusion rules of the node: {count}, judged where lines come in"),
    }];
    for (number, (name, _)) in rules.iter().enumerate() {
        told.push(format!("rule {number} is exclude.{name}"));
    }
    for rule in plan.exclusions.iter().filter(|rule| !rule.active) {
        told.push(format!(
            "exclude.{} is not active and drops nothing",
            rule.name
        ));
    }
    Compiled {
        name: "node exclusions",
        told,
        judge: Judge::Exclusions(Exclusions::compile(rules, None)),
    }
}

fn of_streams(plan: &Plan) -> Compiled {
    let selecting = || {
        plan.streams.iter().filter_map(|stream| {
            let selection = stream.selection.as_ref()?;
            Some((stream.stream.name.to_string(), selection))
        })
    };
    let mut told = vec![match selecting().count() {
        0 => "no stream has rules".to_owned(),
        count => format!("streams with rules: {count}, judged in one pass"),
    }];
    let mut seen: Vec<(u64, String)> = Vec::new();
    let mut number = 0;
    for (name, selection) in selecting() {
        let known = seen.iter().find(|(hash, _)| *hash == selection.hash);
        if let Some((_, first)) = known {
            told.push(format!("stream.{name} has the rules of stream.{first}"));
            continue;
        }
        seen.push((selection.hash, name.clone()));
        told.push(format!("stream.{name} is {}", weight(selection)));
        let deliver = selection.deliver.iter().map(|_| "what it takes");
        let exclusions = selection.exclusions.iter().map(|_| "what it leaves out");
        for what in deliver.chain(exclusions) {
            told.push(format!("rule {number} is stream.{name}: {what}"));
            number += 1;
        }
    }
    Compiled {
        name: "streams",
        told,
        judge: Judge::Selections(Selections::compile(
            selecting().map(|(_, selection)| selection),
        )),
    }
}

/// What judging costs, beside what validation costs.
fn cost(held: &Held, compiled: &[Compiled]) -> String {
    if held.events == 0 {
        return "cost: there are no events to measure it with\n".to_owned();
    }
    let mut table = Table::new(&["cost", ">ns/event", ">ns/byte"]);
    let mut row = |name: &str, pass: Duration| {
        let nanos = pass.as_secs_f64() * 1e9;
        table.row(vec![
            Cell::word(name),
            Cell::number(format!("{:.1}", nanos / held.events as f64)),
            Cell::number(format!("{:.3}", nanos / held.bytes() as f64)),
        ]);
    };
    row("validation, for scale", held.validation());
    for one in compiled.iter().filter(|one| !one.judge.is_empty()) {
        row(one.name, one.judge.measure(held));
    }
    let first = if held.is_cut {
        format!(
            "the first {}, as many as are held",
            text::bytes(HELD_BYTES_MAX as u64)
        )
    } else {
        text::bytes(held.bytes())
    };
    format!(
        "{}the fastest of several passes over {} events, {first}; instructions: {}\n",
        table.show(""),
        held.events,
        Level::best().map_or("portable", Level::name)
    )
}
