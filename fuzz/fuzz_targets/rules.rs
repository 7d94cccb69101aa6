//! Text of a rule, a line break, and a line: no parser panics, and a rule that compiles runs on any valid line.
#![no_main]

use weir::event::{InputId, Labels};
use weir::filter::{Evaluator, Event, Polarity, Program, Rule, dpxl, query};
use weir::position::Timestamp;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let at = input.iter().position(|&byte| byte == b'\n');
    let (text, line) = input.split_at(at.unwrap_or(input.len()));
    let line = line.strip_prefix(b"\n").unwrap_or_default();
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let conditions = [
        query::parse(text, query::Options::default()),
        dpxl::parse(text),
    ];
    // An error has to be printable too, whatever it points at.
    for error in conditions.iter().filter_map(|parsed| parsed.as_ref().err()) {
        assert!(!error.to_string().is_empty());
    }
    let with_polarities = conditions.into_iter().flatten().flat_map(|condition| {
        [Polarity::Drop, Polarity::Deliver].map(|polarity| Rule {
            condition: condition.clone(),
            polarity,
        })
    });
    let program = Program::compile(with_polarities.collect());
    if weir::ingest::validate::validate(line).is_err() {
        return;
    }
    let labels = Labels {
        application: Some("ibm-audit-event".into()),
        level: Some("info".into()),
        tags: Some("a, b".into()),
        meta: Some(r#"{"a":{"b":"c"}}"#.into()),
        ..Labels::of_input(InputId(1))
    };
    let event = Event {
        line,
        labels: &labels,
        received: Timestamp(1_700_000_000_000_000),
    };
    let mut evaluator = Evaluator::new();
    let mut evaluation = evaluator.begin(&program, event);
    for rule in 0..program.rules() {
        let first = evaluation.matches(rule);
        assert_eq!(
            evaluation.matches(rule),
            first,
            "a second look changes nothing"
        );
    }
});
