//! Sentences of `weir::filter::tree`, each with an event by hand.

use weir::event::{InputId, Labels};
use weir::filter::tree::{
    Arithmetic, Compare, Expr, Field, Function, Label, Literal, Place, Severity, Source, Subnet,
    Term, TextTest, Type,
};
use weir::position::Timestamp;

use super::Subject;

fn path(dotted: &str) -> Box<[Box<str>]> {
    if dotted.is_empty() {
        return Box::default();
    }
    dotted.split('.').map(Into::into).collect()
}

fn of(sources: &[Source]) -> Field {
    Field {
        name: "field".into(),
        sources: sources.into(),
    }
}

fn data(dotted: &str) -> Field {
    of(&[Source::Data(path(dotted))])
}

fn field(dotted: &str) -> Box<Expr> {
    Box::new(Expr::Field(data(dotted)))
}

fn number(text: &str) -> Box<Expr> {
    Box::new(Expr::Literal(Literal::Number(text.into())))
}

fn string(text: &str) -> Box<Expr> {
    Box::new(Expr::Literal(Literal::String(text.into())))
}

fn term(text: &str, place: Place) -> Term {
    Term {
        text: text.into(),
        place,
        ignore_case: false,
    }
}

fn labels() -> Labels {
    Labels {
        application: Some("app".into()),
        host: Some("".into()),
        tags: Some("red, green ,blue sky".into()),
        meta: Some(r#"{"k":{"n":7},"t":"x\ny"}"#.into()),
        sender: Some("token".into()),
        peer: Some("10.0.0.1:5140".into()),
        ..Labels::of_input(InputId(1))
    }
}

/// Evaluates to true, false or unknown.
#[track_caller]
fn check(line: &str, expr: &Expr, expected: Option<bool>) {
    let labels = labels();
    let subject = Subject::new(line.as_bytes(), &labels, Timestamp(1_000_000));
    assert_eq!(subject.condition(expr), expected, "{line} {expr:?}");
    assert_eq!(subject.passes(expr), expected == Some(true));
}

const TRUE: Expr = Expr::Literal(Literal::Bool(true));
const FALSE: Expr = Expr::Literal(Literal::Bool(false));
const NULL: Expr = Expr::Literal(Literal::Null);

#[test]
fn conditions_join_as_kleene_has_it() {
    let check = |expr: Expr, expected| check("{}", &expr, expected);
    check(Expr::All(vec![]), Some(true));
    check(Expr::Any(vec![]), Some(false));
    check(Expr::All(vec![TRUE, NULL]), None);
    check(Expr::All(vec![NULL, FALSE]), Some(false));
    check(Expr::Any(vec![NULL, TRUE]), Some(true));
    check(Expr::Any(vec![FALSE, NULL]), None);
    check(Expr::Not(Box::new(NULL)), None);
    check(Expr::Not(Box::new(FALSE)), Some(true));
    check(Expr::Truthy(Box::new(NULL)), Some(false));
    check(Expr::Truthy(Box::new(FALSE)), Some(false));
    check(Expr::Truthy(number("0")), Some(true));
}

#[test]
fn a_missing_key_is_null_and_a_container_unknown() {
    let compare = |how, name: &str| Expr::Compare(how, field(name), string("x"));
    check("{}", &compare(Compare::NotEqual, "a"), Some(true));
    check("{}", &compare(Compare::Equal, "a"), Some(false));
    check("{}", &compare(Compare::Less, "a"), Some(false));
    check(r#"{"a":{}}"#, &compare(Compare::NotEqual, "a"), None);
    check(r#"{"a":"x"}"#, &compare(Compare::Equal, "a"), Some(true));
    check(r#"{"a":"x"}"#, &compare(Compare::NotEqual, ""), None);
    check(
        r#"{"a":"x","a":{}}"#,
        &compare(Compare::Equal, "a"),
        Some(true),
    );
    check(r#"{"a":[]}"#, &Expr::Truthy(field("a")), Some(true));
    let list = |name: &str| Expr::In(field(name), vec![*string("y"), *field("b")]);
    check(r#"{"a":"y","b":{}}"#, &list("a"), Some(true));
    check(r#"{"a":"z","b":{}}"#, &list("a"), None);
    check(r#"{"a":"z","b":1}"#, &list("a"), Some(false));
}

#[test]
fn a_field_is_its_first_source_that_is_not_null() {
    let sources = |sources: &[Source], expected: &str| {
        let value = Box::new(Expr::Cast(Box::new(Expr::Field(of(sources))), Type::String));
        let line = r#"{"a":null,"b":2,"crn":"crn:v1:x:public:iam-am:us:a/1::","short":"crn:a:b:c","none":"crn:a:b:c::e"}"#;
        check(
            line,
            &Expr::Compare(Compare::Equal, value, string(expected)),
            Some(true),
        );
    };
    let key = |name: &str| Source::Data(path(name));
    sources(&[key("a"), key("b")], "2");
    sources(&[key("x"), Source::Label(Label::Application)], "app");
    sources(
        &[Source::Label(Label::Host), Source::Label(Label::Peer)],
        "10.0.0.1",
    );
    sources(&[Source::Meta(path("k.n"))], "7");
    sources(
        &[
            Source::CrnService(path("b")),
            Source::CrnService(path("short")),
            Source::CrnService(path("none")),
            Source::CrnService(path("crn")),
        ],
        "iam-am",
    );
    sources(&[Source::Time], "1970-01-01T00:00:01Z");
    sources(&[Source::Label(Label::Tags)], "red, green ,blue sky");
}

#[test]
fn a_term_tests_texts_numbers_and_the_elements_of_an_array() {
    let line = r#"{"s":"Login","n":1.50,"b":true,"a":["x",2,false,null,["deep"],{"k":"v"}],"o":{"k":"v"}}"#;
    let check = |name: &str, text: &str, expected: bool| {
        check(
            line,
            &Expr::Term(data(name), term(text, Place::Whole)),
            Some(expected),
        );
    };
    check("s", "Login", true);
    check("s", "login", false);
    check("n", "1.50", true);
    check("n", "1.5", false);
    check("b", "true", true);
    check("a", "x", true);
    check("a", "2", true);
    check("a", "false", true);
    check("a", "null", false);
    check("a", "deep", false);
    check("a", "v", false);
    check("o", "v", false);
    check("missing", "x", false);
}

#[test]
fn tags_are_values_of_their_own_for_a_term() {
    let check = |text: &str, expected: bool| {
        let tags = of(&[Source::Label(Label::Tags)]);
        check(
            "{}",
            &Expr::Term(tags, term(text, Place::Whole)),
            Some(expected),
        );
    };
    check("red", true);
    check("green", true);
    check("blue sky", true);
    check("blue", false);
    check("red, green ,blue sky", false);
}

#[test]
fn a_number_term_is_exact_and_reads_numbers_in_strings() {
    let line = r#"{"n":404,"s":" 404 ","big":9007199254740993,"a":["x",7],"o":{},"t":"404x"}"#;
    let check = |name: &str, how, text: &str, expected: bool| {
        check(
            line,
            &Expr::NumberTerm(data(name), how, text.into()),
            Some(expected),
        );
    };
    check("n", Compare::GreaterEqual, "404.0", true);
    check("n", Compare::Less, "404", false);
    check("s", Compare::Equal, "4.04e2", true);
    check("big", Compare::Greater, "9007199254740992", true);
    check("a", Compare::Equal, "7", true);
    check("o", Compare::Equal, "7", false);
    check("t", Compare::NotEqual, "7", false);
    check("missing", Compare::NotEqual, "7", false);
}

#[test]
fn the_line_and_the_labels_are_searched_as_decoded_text() {
    let check = |line: &str, text: &str, labels: bool, expected: bool| {
        let term = term(text, Place::Substring);
        check(line, &Expr::Anywhere { term, labels }, Some(expected));
    };
    check(r#"{"a":"x\"y"}"#, "x\"y", false, true);
    check(r#"{"a":"x\"y"}"#, "\\", false, false);
    check(r#"{"a":"x"}"#, "\"a\":\"x\"", false, true);
    check(r#"{"\u0061b":1}"#, "{\"ab\":1}", false, true);
    check(r#"{"a":"\ud800"}"#, "\u{fffd}", false, true);
    check("{}", "app", false, false);
    check("{}", "app", true, true);
    check("{}", "x\ny", true, true);
    check("{}", "green ,blue", true, true);
    check("{}", "token", true, false);
    check("{}", "10.0", true, false);
}

#[test]
fn a_phrase_is_searched_in_the_text_of_any_value() {
    let line = r#"{"s":"a B","n":1.50,"t":true,"o":{"K":"x\ty"},"z":null}"#;
    let check = |name: &str, phrase: &str, expected: bool| {
        check(
            line,
            &Expr::Phrase(field(name), phrase.into()),
            Some(expected),
        );
    };
    check("s", "A b", true);
    check("n", "1.50", true);
    check("t", "RU", true);
    check("o", "\"k\":\"X\ty\"", true);
    check("o", "\\t", false);
    check("z", "null", false);
    check("missing", "a", false);
}

#[test]
fn tests_of_strings_are_false_for_what_is_no_string() {
    let line = r#"{"s":"kafka-1","n":12,"ip":" ::ffff:10.0.0.9 ","o":{}}"#;
    let text = |test, name: &str, wanted: &str| Expr::Text(test, field(name), string(wanted));
    check(line, &text(TextTest::Contains, "s", "ka-"), Some(true));
    check(line, &text(TextTest::StartsWith, "s", "kafka"), Some(true));
    check(line, &text(TextTest::EndsWith, "s", "-2"), Some(false));
    check(line, &text(TextTest::Contains, "n", "1"), Some(false));
    check(line, &text(TextTest::Contains, "missing", ""), Some(false));
    check(
        line,
        &Expr::Matches(field("s"), "a-[0-9]".into()),
        Some(true),
    );
    check(line, &Expr::Matches(field("n"), "1".into()), Some(false));
    check(line, &Expr::Matches(field("o"), "".into()), Some(false));
    let subnet = Subnet {
        address: "10.0.0.77".parse().unwrap(),
        prefix_bits: 24,
    };
    check(line, &Expr::InSubnet(field("ip"), subnet), Some(true));
    check(line, &Expr::InSubnet(field("o"), subnet), Some(false));
}

#[test]
fn a_field_exists_with_any_value_but_null() {
    let line = r#"{"a":null,"o":{},"f":false}"#;
    for (name, expected) in [
        ("a", false),
        ("x", false),
        ("o", true),
        ("f", true),
        ("", true),
    ] {
        check(line, &Expr::Exists(data(name)), Some(expected));
    }
}

#[test]
fn functions_arithmetic_and_reads_nest() {
    let line = r#"{"n":5,"s":"ERR","o":{}}"#;
    let sum = Expr::Arithmetic(Arithmetic::Add, field("n"), number("1"));
    check(
        line,
        &Expr::Compare(Compare::Equal, Box::new(sum), number("6")),
        Some(true),
    );
    let choice = |condition: Expr| {
        let choice = Expr::Call(Function::If, vec![condition, *string("a"), *string("b")]);
        Expr::Compare(Compare::Equal, Box::new(choice), string("a"))
    };
    check(line, &choice(TRUE), Some(true));
    check(line, &choice(NULL), Some(false));
    let severity = Box::new(Expr::Literal(Literal::Severity(Severity::Warning)));
    let read = Box::new(Expr::Read(data("s"), Type::Severity));
    check(
        line,
        &Expr::Compare(Compare::Greater, read, severity),
        Some(true),
    );
    check(line, &Expr::Read(data("o"), Type::Bool), None);
    let now = Box::new(Expr::Literal(Literal::Timestamp(1_000_000_000)));
    check(
        line,
        &Expr::Compare(Compare::Equal, Box::new(Expr::Now), now),
        Some(true),
    );
}

#[test]
fn a_path_is_ambiguous_wherever_the_rule_mentions_it() {
    let ambiguous = |line: &str, expr: &Expr, expected: bool| {
        let labels = labels();
        let subject = Subject::new(line.as_bytes(), &labels, Timestamp(0));
        assert_eq!(subject.is_ambiguous(expr), expected, "{line} {expr:?}");
    };
    let rule = Expr::Any(vec![
        TRUE,
        Expr::Exists(of(&[
            Source::Label(Label::Host),
            Source::CrnService(path("c")),
            Source::Data(path("a.b")),
        ])),
    ]);
    ambiguous(r#"{"a":{"b":1},"c":1}"#, &rule, false);
    ambiguous(r#"{"a":{"b":1,"b":1}}"#, &rule, true);
    ambiguous(r#"{"c":1,"\u0063":1}"#, &rule, true);
    ambiguous(r#"{"x":1,"x":1,"k":{},"k":{}}"#, &rule, false);
    ambiguous(
        r#"{"a":1,"a":1}"#,
        &Expr::Exists(of(&[Source::Meta(path("a"))])),
        false,
    );
}
