//! What rules cost on audit and WAF events, beside `sonic_rs::get` and `serde_json` with the same predicates.
//!
//! `early` and `late` are one rule of two fields near the beginning, and near the end, of the line; `twenty` are the
//! rules of five streams, all asked for every line; `five` are the rules of the streams of the main path's bench, on the
//! events it sends; `text` is one word searched in the whole line. All rows of a group must count the same matches. Throughput is printed by criterion; 1 GiB/s is 0.93 ns a byte.

#[path = "corpus/mod.rs"]
mod corpus;
#[path = "corpus/loadgen.rs"]
mod loadgen;

use std::hint::black_box;

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use sonic_rs::{JsonNumberTrait as _, JsonValueTrait as _};
use weir::event::{InputId, Labels};
use weir::filter::tree::{Compare, Expr, Field, Literal, Place, Source, Term, TextTest};
use weir::filter::{Evaluator, Event, Polarity, Program, Rule, dpxl};
use weir::os::simd::Level;
use weir::position::Timestamp;

criterion_group!(benches, rules);
criterion_main!(benches);

/// One test of a field.
#[derive(Clone, Copy)]
enum Test {
    Is(&'static [&'static str], &'static str),
    OneOf(&'static [&'static str], &'static [&'static str]),
    Starts(&'static [&'static str], &'static str),
    Ends(&'static [&'static str], &'static str),
    Contains(&'static [&'static str], &'static str),
    Above(&'static [&'static str], u32),
    False(&'static [&'static str]),
}

use Test::{Above, Contains, Ends, False, Is, OneOf, Starts};

/// All tests of a rule must pass.
type Tests = &'static [Test];

const EARLY: &[Tests] = &[&[Is(&["severity"], "warning"), Is(&["outcome"], "failure")]];

const LATE: &[Tests] = &[&[Contains(&["logSourceCRN"], ":kms:"), False(&["dataEvent"])]];

const WAF: &[Tests] = &[&[Is(&["action"], "block"), Above(&["status"], 400)]];

const TWENTY: &[Tests] = &[
    &[Is(&["severity"], "warning"), Is(&["outcome"], "failure")],
    &[Is(&["outcome"], "failure")],
    &[Ends(&["action"], ".delete")],
    &[
        Starts(&["action"], "iam-identity."),
        Ends(&["action"], ".login"),
    ],
    &[Above(&["reason", "reasonCode"], 399)],
    &[Is(&["initiator", "name"], "user17@example.com")],
    &[
        OneOf(&["initiator", "credential", "type"], &["apikey", "token"]),
        Ends(&["action"], ".update"),
    ],
    &[Starts(&["initiator", "host", "address"], "192.")],
    &[Contains(&["initiator", "host", "agent"], "ibmcloud")],
    &[Contains(&["target", "id"], ":br-sao:")],
    &[
        Starts(&["target", "typeURI"], "kms/"),
        Is(&["severity"], "normal"),
    ],
    &[Is(&["target", "name"], "instance-7")],
    &[Above(&["requestData", "bytes"], 1_000_000)],
    &[
        Is(&["requestData", "method"], "delete"),
        Is(&["outcome"], "success"),
    ],
    &[Above(&["responseData", "durationMs"], 2250)],
    &[Above(&["responseData", "quota", "used"], 4500)],
    &[Contains(&["logSourceCRN"], ":kms:"), False(&["dataEvent"])],
    &[Contains(&["message"], "logs: create")],
    &[OneOf(&["eventType"], &["management", "system"])],
    &[
        Is(&["requestData", "updateType"], "Config changed"),
        Ends(&["action"], ".update"),
    ],
];

fn rules(criterion: &mut Criterion) {
    let audit = Lines::new(corpus::audit_block(2 << 20, 7));
    let waf = Lines::new(corpus::waf_block(2 << 20, 7));
    for (name, lines, rules) in [
        ("early", &audit, EARLY),
        ("late", &audit, LATE),
        ("twenty", &audit, TWENTY),
        ("waf", &waf, WAF),
    ] {
        let mut group = criterion.benchmark_group(format!("rules/{name}"));
        group.throughput(Throughput::Bytes(lines.bytes()));
        let program = Program::compile(rules.iter().map(|tests| rule(tests)).collect());
        let expected = lines.count(|line| with_serde(rules, line));
        let levels = Level::available()
            .into_iter()
            .skip(1)
            .map(Some)
            .chain([None]);
        weir_row(
            &mut group,
            "weir",
            (lines, &program, Level::best()),
            expected,
        );
        for level in levels {
            let name = level.map_or("portable", Level::name);
            weir_row(
                &mut group,
                &format!("weir_{name}"),
                (lines, &program, level),
                expected,
            );
        }
        for (name, count) in [
            ("sonic_rs_get", with_sonic as fn(&[Tests], &[u8]) -> usize),
            ("serde_json", with_serde),
        ] {
            assert_eq!(lines.count(|line| count(rules, line)), expected, "{name}");
            group.bench_function(name, |bencher| {
                bencher.iter(|| lines.count(|line| count(rules, black_box(line))));
            });
        }
        group.finish();
    }
    five_streams(criterion);
    whole_line(criterion, &audit);
}

/// Each takes about a tenth of the events.
const FIVE: [&str; 5] = [
    "$d.severity == 'critical' && $d.outcome == 'success'",
    "$d.reason.reasonCode >= 400 || $d.action.startsWith('billing')",
    "$d.observer.name == 'ActivityTracker' && $d.requestData.limit <= 20",
    "$d.requestData.limit > 180",
    "$d.outcome == 'failure' || $d.target.typeURI.startsWith('kms')",
];

fn five_streams(criterion: &mut Criterion) {
    let lines = Lines(loadgen::audit_events(2 << 20, 7));
    let mut group = criterion.benchmark_group("rules/five");
    group.throughput(Throughput::Bytes(lines.bytes()));
    let rules = FIVE.map(|rule| Rule {
        condition: dpxl::parse(rule).expect("the rule compiles"),
        polarity: Polarity::Deliver,
    });
    let program = Program::compile(rules.into());
    let expected = lines.count(five_with_serde);
    weir_row(
        &mut group,
        "weir",
        (&lines, &program, Level::best()),
        expected,
    );
    group.bench_function("serde_json", |bencher| {
        bencher.iter(|| lines.count(|line| five_with_serde(black_box(line))));
    });
    group.finish();
}

/// [`FIVE`] on a full tree.
fn five_with_serde(line: &[u8]) -> usize {
    let Ok(event) = serde_json::from_slice::<serde_json::Value>(line) else {
        return 0;
    };
    let text = |pointer: &str| {
        event
            .pointer(pointer)
            .and_then(|value| value.as_str())
            .unwrap_or_default()
    };
    let number = |pointer: &str| event.pointer(pointer).and_then(serde_json::Value::as_i64);
    let limit = number("/requestData/limit");
    let answers = [
        text("/severity") == "critical" && text("/outcome") == "success",
        number("/reason/reasonCode").is_some_and(|code| code >= 400)
            || text("/action").starts_with("billing"),
        text("/observer/name") == "ActivityTracker" && limit.is_some_and(|limit| limit <= 20),
        limit.is_some_and(|limit| limit > 180),
        text("/outcome") == "failure" || text("/target/typeURI").starts_with("kms"),
    ];
    answers.into_iter().filter(|matches| *matches).count()
}

/// A word that is in few lines, searched in all of every line.
fn whole_line(criterion: &mut Criterion, lines: &Lines) {
    let mut group = criterion.benchmark_group("rules/text");
    group.throughput(Throughput::Bytes(lines.bytes()));
    let program = Program::compile(vec![Rule {
        condition: Expr::Anywhere {
            term: Term {
                text: "FAIL".into(),
                place: Place::TokenPrefix,
                ignore_case: true,
            },
            labels: true,
        },
        polarity: Polarity::Drop,
    }]);
    let expected = lines.count(|line| {
        let text = String::from_utf8_lossy(line).to_lowercase();
        usize::from(text.contains("fail"))
    });
    weir_row(
        &mut group,
        "weir",
        (lines, &program, Level::best()),
        expected,
    );
    group.finish();
}

fn weir_row(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    (lines, program, level): (&Lines, &Program, Option<Level>),
    expected: usize,
) {
    let labels = Labels::of_input(InputId(1));
    let mut evaluator = Evaluator::with_level(level);
    let mut count = |line: &[u8]| {
        let event = Event {
            line,
            labels: &labels,
            received: Timestamp(0),
        };
        let mut evaluation = evaluator.begin(program, event);
        (0..program.rules())
            .filter(|rule| evaluation.matches(*rule))
            .count()
    };
    assert_eq!(lines.count(&mut count), expected, "{name}");
    group.bench_function(name, |bencher| {
        bencher.iter(|| lines.count(|line| count(black_box(line))));
    });
}

/// Lines of one kind.
struct Lines(Vec<Vec<u8>>);

impl Lines {
    fn new(mut block: Vec<u8>) -> Self {
        let whole = block.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        block.truncate(whole);
        Self(
            block
                .split(|byte| *byte == b'\n')
                .map(<[u8]>::to_vec)
                .collect(),
        )
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|line| line.len() as u64).sum()
    }

    fn count(&self, mut of_line: impl FnMut(&[u8]) -> usize) -> usize {
        self.0.iter().map(|line| of_line(line)).sum()
    }
}

fn rule(tests: &[Test]) -> Rule {
    let field = |path: &[&str]| {
        Box::new(Expr::Field(Field {
            name: path.join(".").into(),
            sources: Box::new([Source::Data(
                path.iter().map(|key| Box::from(*key)).collect(),
            )]),
        }))
    };
    let text = |text: &str| Expr::Literal(Literal::String(text.into()));
    let test = |test: &Test| match test {
        Is(path, is) => Expr::Compare(Compare::Equal, field(path), Box::new(text(is))),
        OneOf(path, list) => Expr::In(field(path), list.iter().map(|one| text(one)).collect()),
        Starts(path, part) => Expr::Text(TextTest::StartsWith, field(path), Box::new(text(part))),
        Ends(path, part) => Expr::Text(TextTest::EndsWith, field(path), Box::new(text(part))),
        Contains(path, part) => Expr::Text(TextTest::Contains, field(path), Box::new(text(part))),
        Above(path, bound) => {
            let bound = Literal::Number(bound.to_string().into());
            Expr::Compare(
                Compare::Greater,
                field(path),
                Box::new(Expr::Literal(bound)),
            )
        }
        False(path) => {
            let no = Literal::Bool(false);
            Expr::Compare(Compare::Equal, field(path), Box::new(Expr::Literal(no)))
        }
    };
    Rule {
        condition: Expr::All(tests.iter().map(test).collect()),
        polarity: Polarity::Deliver,
    }
}

fn of_text(test: &Test, text: &str) -> bool {
    match test {
        Is(_, is) => text == *is,
        OneOf(_, list) => list.contains(&text),
        Starts(_, part) => text.starts_with(part),
        Ends(_, part) => text.ends_with(part),
        Contains(_, part) => text.contains(part),
        Above(..) | False(_) => false,
    }
}

fn path_of(test: &Test) -> &'static [&'static str] {
    match test {
        Is(path, _)
        | OneOf(path, _)
        | Starts(path, _)
        | Ends(path, _)
        | Contains(path, _)
        | Above(path, _)
        | False(path) => path,
    }
}

fn with_sonic(rules: &[Tests], line: &[u8]) -> usize {
    let passes = |test: &Test| {
        let Ok(value) = sonic_rs::get(line, path_of(test)) else {
            return false;
        };
        match test {
            Above(_, bound) => value
                .as_number()
                .and_then(|number| number.as_f64())
                .is_some_and(|number| number > f64::from(*bound)),
            False(_) => value.as_bool() == Some(false),
            test => value.as_str().is_some_and(|text| of_text(test, text)),
        }
    };
    rules
        .iter()
        .filter(|tests| tests.iter().all(passes))
        .count()
}

fn with_serde(rules: &[Tests], line: &[u8]) -> usize {
    let Ok(event) = serde_json::from_slice::<serde_json::Value>(line) else {
        return 0;
    };
    let passes = |test: &Test| {
        let value = path_of(test)
            .iter()
            .try_fold(&event, |value, key| value.get(*key));
        match (test, value) {
            (_, None) => false,
            (Above(_, bound), Some(value)) => value
                .as_f64()
                .is_some_and(|number| number > f64::from(*bound)),
            (False(_), Some(value)) => value.as_bool() == Some(false),
            (test, Some(value)) => value.as_str().is_some_and(|text| of_text(test, text)),
        }
    };
    rules
        .iter()
        .filter(|tests| tests.iter().all(passes))
        .count()
}
