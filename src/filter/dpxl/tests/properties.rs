//! What holds for any text: no panic, places inside the text, the limits.

use proptest::prelude::*;

use super::super::super::tree::{Expr, Function, Literal, Type};
use super::super::functions::{FUNCTIONS, Meaning};
use super::super::{DEPTH_MAX, LIST_ITEMS_MAX, NODES_MAX, TEXT_BYTES_MAX, fuzz_parse, parse};

/// Pieces of rules, so that a random text gets past its first token.
const PIECES: [&str; 64] = [
    "<v1>",
    "$d",
    "$l",
    "$m",
    ".a",
    ".severity",
    ".timestamp",
    ".applicationname",
    "a",
    "b",
    "'x'",
    "''",
    "'INFO'",
    "12",
    "-1.5",
    "1.2.3",
    "1h",
    "1h30m",
    "@'2024-01-01'",
    "@'now'",
    "@(",
    "/x/",
    "/(/",
    "ERROR",
    "error",
    "null",
    "true",
    "false",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "~",
    "~~",
    "!~",
    "&&",
    "||",
    "!",
    "+",
    "-",
    "*",
    "/",
    "%",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":string",
    ":number",
    ".contains(",
    "in(",
    "if(",
    "case {",
    "->",
    "_ ->",
    "now()",
    "é\u{1F600}",
    "AND",
    "\n#c\n",
];

/// Rules that follow the grammar, and types often enough that some in a hundred are accepted.
fn rules() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(
        &[
            "a",
            "$d.b",
            "$l.category",
            "$m.severity",
            "$m.timestamp",
            "$d",
            "'x'",
            "'INFO'",
            "1",
            "-2.5",
            "1h",
            "now()",
            "@'2024-01-01'",
            "ERROR",
            "error",
            "null",
            "true",
        ][..],
    );
    let value = leaf
        .prop_map(str::to_owned)
        .prop_recursive(3, 12, 3, |value| {
            let operator = prop::sample::select(&["+", "-", "*", "%"][..]);
            let cast = prop::sample::select(&["string", "number", "bool", "timestamp"][..]);
            prop_oneof![
                (value.clone(), operator, value.clone())
                    .prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
                (value.clone(), cast).prop_map(|(value, cast)| format!("({value}):{cast}")),
                (value.clone(), value.clone(), value.clone())
                    .prop_map(|(a, b, c)| format!("if({a} == {b}, {b}, {c})")),
                (value.clone(), value.clone())
                    .prop_map(|(a, b)| format!("case {{ {a} -> {b}, _ -> {a} }}")),
                value.prop_map(|value| format!("-{value}")),
            ]
        });
    let compare = prop::sample::select(&["==", "!=", "<", ">="][..]);
    let condition = prop_oneof![
        (value.clone(), compare, value.clone())
            .prop_map(|(left, compare, right)| format!("{left} {compare} {right}")),
        (value.clone(), value.clone()).prop_map(|(a, b)| format!("{a}.contains({b})")),
        (value.clone(), value.clone(), value.clone())
            .prop_map(|(a, b, c)| format!("{a}.in({b}, {c})")),
        value.clone().prop_map(|value| format!("{value} ~ 'x'")),
        value.prop_map(|value| format!("{value}.ipInSubnet('10.0.0.0/8')")),
    ];
    condition.prop_recursive(2, 4, 2, |condition| {
        prop_oneof![
            condition
                .clone()
                .prop_map(|condition| format!("!({condition})")),
            (condition.clone(), condition.clone())
                .prop_map(|(left, right)| format!("{left} && {right}")),
            (condition.clone(), condition).prop_map(|(left, right)| format!("({left}) || {right}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn no_text_of_pieces_panics(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24),
        blank in prop::sample::select(&["", " ", "\n"][..]),
    ) {
        fuzz_parse(&pieces.join(blank));
    }

    #[test]
    fn what_is_accepted_is_well_typed(text in rules()) {
        fuzz_parse(&text);
        if let Ok(expr) = parse(&text) {
            expect_condition(&expr);
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        fuzz_parse(&text);
    }

    #[test]
    fn no_cut_of_a_rule_panics(at in 0_usize..200) {
        let rule = "<v1> !($d.k['é/b']:string.in('us', 'it\\'s') && a.matches(/^x\\/y/)) || case { a > -1.5e3 -> \
                    now() - 1h30m, _ -> @('2024-01-01') } != $m.timestamp # end";
        if let Some(cut) = rule.get(..at) {
            fuzz_parse(cut);
        }
    }
}

#[test]
fn each_function_is_in_the_table_once_and_can_be_called() {
    for (at, entry) in FUNCTIONS.iter().enumerate() {
        assert!(
            !FUNCTIONS[..at].iter().any(|other| other.name == entry.name),
            "{} twice",
            entry.name
        );
        // A call with fields in all places is refused only for what is told in the message.
        let (least, _) = entry.meaning.counts();
        let error = parse(&format!(
            "{}({}) == null",
            entry.name,
            vec!["a"; least].join(", ")
        ));
        let expected = match entry.meaning {
            Meaning::Refused(_) => Some("is not supported in rules"),
            Meaning::Text(_) => Some("a condition stands where"),
            Meaning::In => Some("type of the values is unknown"),
            Meaning::InArray => Some("expected a list"),
            Meaning::Matches => Some("expected a regular expression"),
            Meaning::InSubnet => Some("expected a network"),
            _ => None,
        };
        match (error, expected) {
            (Ok(_), None) => {}
            (Err(error), Some(expected)) if error.message.contains(expected) => {}
            (result, _) => panic!("{}: {result:?}", entry.name),
        }
    }
}

#[track_caller]
fn check_limit(at_limit: &str, beyond: &str, message: &str) {
    if let Err(error) = parse(at_limit) {
        panic!("at the limit: {error}");
    }
    let error = parse(beyond).expect_err("beyond the limit");
    assert!(error.message.contains(message), "{error}");
}

#[test]
fn texts_are_limited() {
    let padded = |bytes: usize| format!("true{}", " ".repeat(bytes - 4));
    check_limit(
        &padded(TEXT_BYTES_MAX),
        &padded(TEXT_BYTES_MAX + 1),
        "more than 16384",
    );
}

#[test]
fn nesting_is_limited_in_every_form() {
    let parentheses = |levels: usize| format!("{}a{}", "(".repeat(levels), ")".repeat(levels));
    check_limit(
        &parentheses(DEPTH_MAX - 1),
        &parentheses(DEPTH_MAX),
        "nested deeper",
    );
    let nots = |levels: usize| format!("{}a", "!".repeat(levels));
    check_limit(&nots(DEPTH_MAX - 1), &nots(DEPTH_MAX), "nested deeper");
    let sums = |levels: usize| format!("a{} == 1", " + 1".repeat(levels));
    check_limit(&sums(DEPTH_MAX - 2), &sums(DEPTH_MAX - 1), "nested deeper");
    let methods = |levels: usize| format!("a{} == ''", ".trim()".repeat(levels));
    check_limit(
        &methods(DEPTH_MAX - 2),
        &methods(DEPTH_MAX - 1),
        "nested deeper",
    );
    let casts = |levels: usize| format!("a{} == ''", ":string".repeat(levels));
    check_limit(
        &casts(DEPTH_MAX - 2),
        &casts(DEPTH_MAX - 1),
        "nested deeper",
    );
    let arms = |levels: usize| format!("case {{ {} _ -> 1 }} == 1", "a -> 1, ".repeat(levels));
    check_limit(&arms(DEPTH_MAX - 2), &arms(DEPTH_MAX - 1), "nested deeper");
    for opened in ["(", "!(", "f(", "[", "-", "a && (", "case { ", "if("] {
        fuzz_parse(&opened.repeat(TEXT_BYTES_MAX / opened.len()));
    }
}

#[test]
fn a_chain_is_one_level() {
    for operator in ["&&", "||"] {
        let rule = vec!["a"; 1_000].join(operator);
        assert!(parse(&rule).is_ok());
    }
}

#[test]
fn lists_and_nodes_are_limited() {
    let items = |items: usize| format!("a.inArray([{}])", vec!["1"; items].join(","));
    check_limit(
        &items(LIST_ITEMS_MAX),
        &items(LIST_ITEMS_MAX + 1),
        "more than 1000 values",
    );
    // The chain, and for each field itself and the test of its presence.
    let fields = |nodes: usize| format!("b==1||{}", vec!["a"; (nodes - 4) / 2].join("||"));
    check_limit(
        &fields(NODES_MAX),
        &fields(NODES_MAX + 2),
        "more than 10000 nodes",
    );
}

/// That this may stand in `All`, `Any` and `Not`.
fn expect_condition(expr: &Expr) {
    match expr {
        Expr::Literal(Literal::Null | Literal::Bool(_)) => {}
        Expr::All(operands) | Expr::Any(operands) => operands.iter().for_each(expect_condition),
        Expr::Not(operand) => expect_condition(operand),
        Expr::Truthy(operand) => {
            let found = type_of(operand);
            let field = matches!(**operand, Expr::Field(_));
            assert!(
                field || matches!(found, None | Some(Type::Bool)),
                "{operand:?} as a condition"
            );
        }
        Expr::Compare(_, left, right) => {
            expect_one_type([&**left, &**right], expr);
        }
        Expr::In(value, items) => {
            expect_one_type(items.iter().chain([&**value]), expr);
        }
        Expr::Text(_, text, part) => {
            expect_type(text, Type::String);
            expect_type(part, Type::String);
        }
        Expr::Matches(text, _) | Expr::InSubnet(text, _) => expect_type(text, Type::String),
        Expr::Phrase(value, text) => {
            let found = type_of(value);
            assert!(
                !text.is_empty()
                    && !matches!(
                        found,
                        Some(Type::Timestamp | Type::Interval | Type::Severity)
                    )
            );
        }
        Expr::Anywhere { term, .. } => assert!(!term.text.is_empty()),
        other => panic!("no condition: {other:?}"),
    }
}

fn expect_type(expr: &Expr, wanted: Type) {
    // A field as it is would be of any type; null is of each.
    assert!(
        !matches!(expr, Expr::Field(_)),
        "{expr:?} is read as no type"
    );
    assert!(
        type_of(expr).is_none_or(|found| found == wanted),
        "{expr:?} as {wanted:?}"
    );
}

/// The type of values that are compared or chosen from: one for all, and then no field is left without it.
fn expect_one_type<'a>(values: impl IntoIterator<Item = &'a Expr>, whole: &Expr) -> Option<Type> {
    let values: Vec<&Expr> = values.into_iter().collect();
    let types: Vec<Type> = values.iter().copied().filter_map(type_of).collect();
    assert!(types.windows(2).all(|pair| pair[0] == pair[1]), "{whole:?}");
    let field = values.iter().any(|value| matches!(value, Expr::Field(_)));
    assert!(types.is_empty() || !field, "{whole:?}");
    types.first().copied()
}

/// Type of a value whose operands are of the types they need; nothing for null and fields as they are.
fn type_of(expr: &Expr) -> Option<Type> {
    match expr {
        Expr::Literal(literal) => match literal {
            Literal::Null => None,
            Literal::Bool(_) => Some(Type::Bool),
            Literal::Number(_) => Some(Type::Number),
            Literal::String(_) => Some(Type::String),
            Literal::Timestamp(_) => Some(Type::Timestamp),
            Literal::Interval(_) => Some(Type::Interval),
            Literal::Severity(_) => Some(Type::Severity),
        },
        Expr::Now => Some(Type::Timestamp),
        Expr::Field(_) => None,
        Expr::Read(_, kind) => {
            assert_ne!(*kind, Type::Interval, "an interval is never in an event");
            Some(*kind)
        }
        Expr::Cast(operand, kind) => {
            type_of(operand);
            Some(*kind)
        }
        Expr::Arithmetic(_, left, right) => Some(match (type_of(left), type_of(right)) {
            (Some(Type::Timestamp), Some(Type::Timestamp))
            | (Some(Type::Interval), Some(Type::Interval)) => Type::Interval,
            (Some(Type::Timestamp), Some(Type::Interval))
            | (Some(Type::Interval), Some(Type::Timestamp)) => Type::Timestamp,
            _ => {
                expect_type(left, Type::Number);
                expect_type(right, Type::Number);
                Type::Number
            }
        }),
        Expr::Call(Function::If, arguments) => {
            expect_condition(&arguments[0]);
            expect_one_type(&arguments[1..], expr)
        }
        other => panic!("no value of these pieces: {other:?}"),
    }
}
