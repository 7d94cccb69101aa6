//! Whole rules on whole events.

use super::super::tree::{
    Arithmetic, Compare, Expr, Field, Function, Label, Literal, Place, Source, Subnet, Term,
    TextTest, Type,
};
use super::super::{Evaluator, Event, Polarity, Program, Rule};
use super::{at, field, levels, no_labels, number, path, text};
use crate::event::Labels;
use crate::position::Timestamp;

/// The condition is true, false or null of each line.
fn check_with(labels: &Labels, condition: &Expr, lines: &[(&str, Option<bool>)]) {
    let rule = |condition: Expr| Rule {
        condition,
        polarity: Polarity::Deliver,
    };
    let program = Program::compile(vec![
        rule(condition.clone()),
        rule(Expr::Not(Box::new(condition.clone()))),
    ]);
    for level in levels() {
        let mut evaluator = Evaluator::with_level(level);
        for (line, expected) in lines {
            let mut evaluation = evaluator.begin(
                &program,
                Event {
                    line: line.as_bytes(),
                    labels,
                    received: Timestamp(1_700_000_000_000_000),
                },
            );
            let answers = (evaluation.matches(0), evaluation.matches(1));
            let expected = (*expected == Some(true), *expected == Some(false));
            assert_eq!(answers, expected, "{condition:?} of {line}");
        }
    }
}

pub(super) fn check(condition: &Expr, lines: &[(&str, Option<bool>)]) {
    check_with(&no_labels(), condition, lines);
}

fn compare(operator: Compare, one: Box<Expr>, other: Box<Expr>) -> Expr {
    Expr::Compare(operator, one, other)
}

fn equals(keys: &[&str], value: &str) -> Expr {
    compare(Compare::Equal, at(keys), text(value))
}

#[test]
fn equality_is_of_decoded_text_and_null_of_containers() {
    check(
        &equals(&["a"], "x\"é"),
        &[
            (r#"{"a":"x\"é"}"#, Some(true)),
            (r#"{"\u0061":"\u0078\"\u00e9"}"#, Some(true)),
            (r#"{"a":"x\"e"}"#, Some(false)),
            (r#"{"a":1}"#, Some(false)),
            (r#"{"a":null}"#, Some(false)),
            (r#"{"b":1}"#, Some(false)),
            (r#"{"a":{}}"#, None),
            (r#"{"a":[]}"#, None),
        ],
    );
    check(
        &compare(Compare::NotEqual, at(&["a"]), text("x")),
        &[
            (r#"{"a":"x"}"#, Some(false)),
            (r#"{"a":"y"}"#, Some(true)),
            (r#"{"a":1}"#, Some(true)),
            ("{}", Some(true)),
            (r#"{"a":{}}"#, None),
        ],
    );
    check(
        &compare(
            Compare::Equal,
            at(&["a"]),
            Box::new(Expr::Literal(Literal::Null)),
        ),
        &[
            (r#"{"a":null}"#, Some(true)),
            ("{}", Some(true)),
            (r#"{"a":false}"#, Some(false)),
            (r#"{"a":[]}"#, None),
        ],
    );
}

#[test]
fn numbers_are_compared_exactly() {
    let greater = compare(Compare::Greater, at(&["n"]), number("9007199254740993"));
    check(
        &greater,
        &[
            (r#"{"n":9007199254740994}"#, Some(true)),
            (r#"{"n":9007199254740993}"#, Some(false)),
            (r#"{"n":9007199254740993.0000000000000000001}"#, Some(true)),
            (r#"{"n":1e999999999999999999999}"#, Some(true)),
            (r#"{"n":-1e999999999999999999999}"#, Some(false)),
            (r#"{"n":"9007199254740994"}"#, Some(false)),
            (r#"{"n":{}}"#, None),
            ("{}", Some(false)),
        ],
    );
    check(
        &compare(Compare::LessEqual, number("-0.50"), at(&["n"])),
        &[
            (r#"{"n":-5e-1}"#, Some(true)),
            (r#"{"n":-0.51}"#, Some(false)),
            (r#"{"n":0}"#, Some(true)),
        ],
    );
}

#[test]
fn all_any_and_not_are_kleenes() {
    let (yes, no) = (
        Expr::Literal(Literal::Bool(true)),
        Expr::Literal(Literal::Bool(false)),
    );
    let unknown = equals(&["o"], "x");
    let line = r#"{"o":{}}"#;
    for (condition, expected) in [
        (Expr::All(vec![]), Some(true)),
        (Expr::Any(vec![]), Some(false)),
        (Expr::All(vec![unknown.clone(), no.clone()]), Some(false)),
        (Expr::All(vec![unknown.clone(), yes.clone()]), None),
        (Expr::Any(vec![unknown.clone(), yes.clone()]), Some(true)),
        (Expr::Any(vec![unknown.clone(), no.clone()]), None),
        (Expr::Not(Box::new(unknown.clone())), None),
        (
            Expr::Not(Box::new(Expr::All(vec![
                unknown.clone(),
                Expr::Any(vec![no, unknown]),
            ]))),
            None,
        ),
    ] {
        // As a condition, and as a value that is compared.
        let compared = compare(
            Compare::Equal,
            Box::new(condition.clone()),
            Box::new(Expr::Literal(Literal::Null)),
        );
        check(&condition, &[(line, expected)]);
        check(&compared, &[(line, Some(expected.is_none()))]);
    }
}

#[test]
fn text_tests_decode_and_are_false_of_other_types() {
    for (test, part) in [
        (TextTest::StartsWith, "a/"),
        (TextTest::Contains, "/b"),
        (TextTest::EndsWith, "b\n"),
    ] {
        let plain = Expr::Text(test, at(&["t"]), text(part));
        let cast = Expr::Text(
            test,
            Box::new(Expr::Cast(at(&["t"]), Type::String)),
            text(part),
        );
        let lines = [
            (r#"{"t":"a\/b\n"}"#, Some(true)),
            (r#"{"t":"a\\/b\n."}"#, Some(test == TextTest::Contains)),
            (r#"{"t":12}"#, Some(false)),
            (r#"{"t":["a/b\n"]}"#, Some(false)),
            ("{}", Some(false)),
        ];
        check(&plain, &lines);
        check(&cast, &lines);
    }
    let digits = Expr::Text(
        TextTest::StartsWith,
        Box::new(Expr::Cast(at(&["n"]), Type::String)),
        text("12"),
    );
    check(
        &digits,
        &[
            (r#"{"n":12.50}"#, Some(true)),
            (r#"{"n":"123"}"#, Some(true)),
            (r#"{"n":112}"#, Some(false)),
        ],
    );
}

fn term(text: &str, place: Place, ignore_case: bool) -> Term {
    Term {
        text: text.into(),
        place,
        ignore_case,
    }
}

#[test]
fn a_term_is_tested_on_scalars_elements_and_tags() {
    let condition = Expr::Term(field(&["f"]), term("Ab", Place::Prefix, true));
    check(
        &condition,
        &[
            (r#"{"f":"ABC"}"#, Some(true)),
            (r#"{"f":"xab"}"#, Some(false)),
            (r#"{"f":["x",1,{"k":"ab"},"\u0061bc"]}"#, Some(true)),
            (r#"{"f":["x",[ "ab" ],{"k":"ab"}]}"#, Some(false)),
            (r#"{"f":{"k":"ab"}}"#, Some(false)),
            (r#"{"f":null}"#, Some(false)),
        ],
    );
    let digits = Expr::Term(field(&["f"]), term("40", Place::Prefix, true));
    check(
        &digits,
        &[
            (r#"{"f":404}"#, Some(true)),
            (r#"{"f":[5,40.0]}"#, Some(true)),
        ],
    );
    let mut labels = no_labels();
    labels.tags = Some("one, Two words ,three".into());
    let tags = Field {
        name: "tags".into(),
        sources: Box::new([Source::Data(path(&["tags"])), Source::Label(Label::Tags)]),
    };
    for (wanted, expected) in [("two words", true), ("words", false), ("one, two", false)] {
        let condition = Expr::Term(tags.clone(), term(wanted, Place::Whole, true));
        check_with(
            &labels,
            &condition,
            &[("{}", Some(expected)), (r#"{"tags":null}"#, Some(expected))],
        );
    }
    let numbers = Expr::NumberTerm(field(&["n"]), Compare::Greater, "5".into());
    check(
        &numbers,
        &[
            (r#"{"n":6}"#, Some(true)),
            (r#"{"n":" 6e0 "}"#, Some(true)),
            (r#"{"n":"6x"}"#, Some(false)),
            (r#"{"n":[1,"7"]}"#, Some(true)),
            (r#"{"n":true}"#, Some(false)),
            (r#"{"n":{"n":6}}"#, Some(false)),
        ],
    );
}

#[test]
fn a_term_anywhere_sees_the_decoded_line_and_the_labels() {
    let anywhere = |wanted: &str, place, labels| Expr::Anywhere {
        term: term(wanted, place, true),
        labels,
    };
    check(
        &anywhere("caf\u{e9}\"", Place::Substring, false),
        &[
            (r#"{"a":"CAF\u00c9"}"#, Some(true)),
            (r#"{"a":"cafe"}"#, Some(false)),
        ],
    );
    check(
        &anywhere("fail", Place::TokenPrefix, false),
        &[
            (r#"{"a":"FAILure"}"#, Some(true)),
            (r#"{"a":"unfail_fail x-Fail"}"#, Some(true)),
            (r#"{"a":"unfail _fail éfail 1fail"}"#, Some(false)),
            (r#"{"failed":1}"#, Some(true)),
            (r#"{"a":"x\nfail"}"#, Some(true)),
        ],
    );
    check(
        &anywhere("fail", Place::Token, false),
        &[
            (r#"{"a":"failure fail!"}"#, Some(true)),
            (r#"{"a":"failure failé"}"#, Some(false)),
        ],
    );
    let mut labels = no_labels();
    labels.meta = Some(r#"{"k":"\u0066ail"}"#.into());
    labels.peer = Some("secret:1".into());
    check_with(
        &labels,
        &anywhere("fail", Place::Token, true),
        &[("{}", Some(true))],
    );
    check_with(
        &labels,
        &anywhere("fail", Place::Token, false),
        &[("{}", Some(false))],
    );
    check_with(
        &labels,
        &anywhere("secret", Place::Token, true),
        &[("{}", Some(false))],
    );
}

#[test]
fn fields_take_the_first_source_that_is_not_null() {
    let mut labels = no_labels();
    labels.host = Some("web-1".into());
    labels.meta = Some(r#"{"region":"eu","n":{"m":5}}"#.into());
    labels.peer = Some("[::1]:80".into());
    let from = |sources: Vec<Source>| {
        Box::new(Expr::Field(Field {
            name: "f".into(),
            sources: sources.into(),
        }))
    };
    let host = from(vec![
        Source::Data(path(&["host"])),
        Source::Label(Label::Host),
    ]);
    check_with(
        &labels,
        &compare(Compare::Equal, host, text("web-1")),
        &[
            ("{}", Some(true)),
            (r#"{"host":null}"#, Some(true)),
            (r#"{"host":"x"}"#, Some(false)),
            (r#"{"host":[]}"#, None),
        ],
    );
    let meta = from(vec![Source::Meta(path(&["n", "m"]))]);
    check_with(
        &labels,
        &compare(Compare::Less, meta, number("6")),
        &[("{}", Some(true))],
    );
    let peer = from(vec![Source::Label(Label::Peer)]);
    check_with(
        &labels,
        &compare(Compare::Equal, peer, text("::1")),
        &[("{}", Some(true))],
    );
    let service = from(vec![Source::CrnService(path(&["crn"]))]);
    check_with(
        &labels,
        &compare(Compare::Equal, service, text("kms")),
        &[
            (
                r#"{"crn":"crn:v1:bluemix:public:kms:eu-de:a/1::"}"#,
                Some(true),
            ),
            (r#"{"crn":"crn:v1:bluemix:public:\u006bms"}"#, Some(true)),
            (r#"{"crn":"CRN:v1:bluemix:public:kms"}"#, Some(false)),
            (r#"{"crn":"crn:v1:bluemix:kms"}"#, Some(false)),
        ],
    );
    let time = from(vec![Source::Time]);
    let now = compare(Compare::Equal, time, Box::new(Expr::Now));
    check_with(&labels, &now, &[("{}", Some(true))]);
    labels.event_time = Some(Timestamp(5));
    check_with(&labels, &now, &[("{}", Some(false))]);
}

#[test]
fn whole_numbers_are_compared_exactly_however_long_and_wherever_they_end() {
    let above = compare(Compare::Greater, at(&["a"]), number("999999999999999998"));
    for (value, expected) in [
        ("0", false),
        ("-1", false),
        ("-9999999999999999999", false),
        ("99999999999999999", false),
        ("999999999999999998", false),
        ("999999999999999999", true),
        ("1000000000000000000", true),
        ("9999999999999999999", true),
        ("99999999999999999999999", true),
        ("999999999999999998.5", true),
        ("1e18", true),
        ("1E2", false),
    ] {
        for line in [
            format!(r#"{{"a":{value}}}"#),
            format!(r#"{{"a":{value},"b":1}}"#),
            format!("{{\"a\": {value} }}"),
            format!("{{\"a\":{value}\n,\"b\":1}}"),
        ] {
            check(&above, &[(&line, Some(expected))]);
        }
    }
}

#[test]
fn a_time_that_is_wanted_may_come_from_a_label_or_from_text() {
    let sources = vec![Source::Data(path(&["t"])), Source::Time];
    let field = Field {
        name: "time".into(),
        sources: sources.into(),
    };
    let read = |wanted| Box::new(Expr::Read(field.clone(), wanted));
    let second = Box::new(Expr::Literal(Literal::Timestamp(1_000_000_000)));
    let mut labels = no_labels();
    labels.event_time = Some(Timestamp(1_000_000));
    check_with(
        &labels,
        &compare(Compare::Equal, read(Type::Timestamp), second),
        &[
            ("{}", Some(true)),
            (r#"{"t":"1970-01-01T00:00:01Z"}"#, Some(true)),
            (r#"{"t":"1970-01-01T00:00:02Z"}"#, Some(false)),
            (r#"{"t":1000}"#, Some(false)),
            (r#"{"t":[]}"#, None),
        ],
    );
    // It is no text: null, which equals no text.
    check_with(
        &labels,
        &compare(
            Compare::Equal,
            read(Type::String),
            text("1970-01-01T00:00:01Z"),
        ),
        &[
            ("{}", Some(false)),
            (r#"{"t":"1970-01-01T00:00:01Z"}"#, Some(true)),
        ],
    );
}

#[test]
fn calculated_values_follow_their_types() {
    let plus = Expr::Arithmetic(Arithmetic::Add, at(&["a"]), at(&["b"]));
    check(
        &compare(Compare::Equal, Box::new(plus), number("3")),
        &[
            (r#"{"a":1,"b":2}"#, Some(true)),
            (r#"{"a":1.5,"b":1.50}"#, Some(true)),
            (r#"{"a":1}"#, Some(false)),
            (r#"{"a":1e999,"b":2}"#, Some(false)),
        ],
    );
    let lower = Expr::Call(Function::ToLowerCase, vec![*at(&["s"])]);
    check(
        &Expr::In(Box::new(lower), vec![*text("é"), *text("x")]),
        &[
            (r#"{"s":"É"}"#, Some(true)),
            (r#"{"s":"X"}"#, Some(true)),
            (r#"{"s":1}"#, Some(false)),
        ],
    );
    let subnet = Subnet {
        address: "10.1.255.7".parse().expect("an address"),
        prefix_bits: 16,
    };
    check(
        &Expr::InSubnet(at(&["ip"]), subnet),
        &[
            (r#"{"ip":" 10.1.0.9 "}"#, Some(true)),
            (r#"{"ip":"::ffff:10.1.0.9"}"#, Some(true)),
            (r#"{"ip":"10.2.0.9"}"#, Some(false)),
            (r#"{"ip":"x"}"#, Some(false)),
        ],
    );
    check(
        &Expr::Truthy(at(&["t"])),
        &[
            (r#"{"t":0}"#, Some(true)),
            (r#"{"t":false}"#, Some(false)),
            (r#"{"t":null}"#, Some(false)),
            (r#"{"t":{}}"#, Some(true)),
        ],
    );
    check(
        &Expr::Phrase(at(&["p"]), "Ab c".into()),
        &[
            (r#"{"p":"xaB C"}"#, Some(true)),
            (r#"{"p":{"k":["\u0061b C"]}}"#, Some(true)),
            (r#"{"p":null}"#, Some(false)),
        ],
    );
    check(
        &Expr::Matches(at(&["m"]), "^k[0-9]+$".into()),
        &[
            (r#"{"m":"k12"}"#, Some(true)),
            (r#"{"m":"\u006b1"}"#, Some(true)),
            (r#"{"m":12}"#, Some(false)),
        ],
    );
}

#[test]
fn a_drop_counts_only_without_equal_keys_on_the_way() {
    let condition = Expr::Any(vec![equals(&["a", "b"], "x"), equals(&["c"], "never")]);
    let program = Program::compile(vec![
        Rule {
            condition: condition.clone(),
            polarity: Polarity::Drop,
        },
        Rule {
            condition,
            polarity: Polarity::Deliver,
        },
    ]);
    let labels = no_labels();
    for level in levels() {
        let mut evaluator = Evaluator::with_level(level);
        for (line, drops) in [
            (r#"{"a":{"b":"x"}}"#, true),
            (r#"{"a":{"b":"x"},"d":1,"d":2}"#, true),
            (r#"{"a":{"b":"x","d":1,"d":2}}"#, true),
            (r#"{"a":{"b":"x","b":"x"}}"#, false),
            (r#"{"a":{"b":"x","\u0062":1}}"#, false),
            (r#"{"a":{"b":"x"},"a":1}"#, false),
            (r#"{"a":{"b":"x"},"c":1,"d":{},"c":{}}"#, false),
            (r#"{"a":{"b":"x"},"d":{"a":1,"a":2}}"#, true),
        ] {
            let event = Event {
                line: line.as_bytes(),
                labels: &labels,
                received: Timestamp(0),
            };
            let mut evaluation = evaluator.begin(&program, event);
            assert!(evaluation.matches(1), "{line}");
            assert_eq!(evaluation.matches(0), drops, "{line}");
            assert!(evaluation.matches(1), "fields are found again: {line}");
        }
    }
}

#[test]
fn a_text_with_escapes_is_found_where_its_bytes_are_searched_first() {
    let equals = Expr::Compare(Compare::Equal, at(&["name"]), text("needle"));
    let begins = Expr::Text(TextTest::StartsWith, at(&["name"]), text("need"));
    let program = Program::compile(
        [equals, begins]
            .map(|condition| Rule {
                condition,
                polarity: Polarity::Deliver,
            })
            .into(),
    );
    let labels = no_labels();
    let padding = "x".repeat(1000);
    // Name, and which rules match it.
    let names = [
        ("other", [false, false]),
        ("needle", [true, true]),
        ("\\u006eeedle", [true, true]),
        ("needl\\u0065s", [false, true]),
        ("a needle", [false, false]),
        ("n\\\\eedle", [false, false]),
    ];
    for level in levels() {
        let mut evaluator = Evaluator::with_level(level);
        // Enough others between them that the search pays by then, and in turn is not made.
        for round in 0..500 {
            let (name, expected) = if round % 7 == 6 {
                names[round % names.len()]
            } else {
                names[0]
            };
            let line = format!(r#"{{"padding":"{padding}","name":"{name}"}}"#);
            let event = Event {
                line: line.as_bytes(),
                labels: &labels,
                received: Timestamp(0),
            };
            let mut evaluation = evaluator.begin(&program, event);
            for (rule, expected) in expected.into_iter().enumerate() {
                assert_eq!(evaluation.matches(rule), expected, "{name}, event {round}");
            }
        }
    }
}
