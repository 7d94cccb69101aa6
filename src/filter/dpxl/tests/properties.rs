//! What holds for any text: no panic, places inside the text, the limits.

use proptest::prelude::*;

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
