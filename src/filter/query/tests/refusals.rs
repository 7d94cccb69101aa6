//! What is refused, with its exact words, and that any text is either taken or refused.

use super::super::parser::QUOTE_KEYWORD;
use super::*;
use proptest::prelude::*;

const QUOTE: &str =
    "a text that holds white space, quotes or parentheses goes between double quotes: `\"a (b)\"`";
const COLON: &str = "a text that holds a colon goes between double quotes: `\"error:\"`";
const NUMBER: &str = "numbers are written as in JSON, without quotes: `500`, `-1.5`, `2e3`";
const OPERATORS: &str =
    "the operators are `=`, `==`, `===`, `>`, `>=`, `<` and `<=`; a list takes none";
const DASH: &str = "a dash that is looked for goes between double quotes, with what is beside it";
const NEGATE: &str =
    "write `-` directly before what it negates; the text itself goes between double quotes";
const MARK: &str = "texts go between plain double quotes: `\"a b\"`";
const PREFIX: &str = "words and values are prefixes already; drop the `*`; the text itself goes between double quotes";

fn refused(query: &str, expected: &str) {
    match parse(query, Options::default()) {
        Ok(tree) => panic!("{query} is {}", describe(&tree)),
        Err(error) => assert_eq!(error.to_string(), expected, "{query}"),
    }
}

/// The first words of the error and the suggestion, for the many refusals whose caret is not the point.
fn refused_with(query: &str, message: &str, suggestion: &str) {
    let error = parse(query, Options::default()).expect_err(query);
    let given = error.suggestion.as_deref().unwrap_or_default();
    assert_eq!(
        (error.message.as_str(), given),
        (message, suggestion),
        "{query}"
    );
}

#[test]
fn errors_point_at_their_place() {
    for (query, expected) in [
        ("", "line 1, column 1: the query is empty\n  \n  ^"),
        (
            "action (login OR",
            "line 1, column 17: expected a search term, found the end of the query\n  action (login OR\n                  ^",
        ),
        (
            "host:web (login",
            "line 1, column 10: this `(` is not closed\n  host:web (login\n           ^",
        ),
        (
            "aa\n  (",
            "line 2, column 3: this `(` is not closed\n    (\n    ^",
        ),
        (
            "login)",
            "line 1, column 6: this `)` closes nothing\n  login)\n       ^\n  \
             a text that holds a parenthesis goes between double quotes: `\"a)\"`",
        ),
        (
            "ähm \"login",
            "line 1, column 5: this `\"` is not closed\n  ähm \"login\n      ^",
        ),
        (
            "f:[a,b c:d",
            "line 1, column 3: this `[` is not closed\n  f:[a,b c:d\n    ^",
        ),
        (
            "f:[a,,b]",
            "line 1, column 6: this item of the list is empty\n  f:[a,,b]\n       ^",
        ),
        (
            "host:web && login",
            "line 1, column 10: `&&` is not an operator here\n  host:web && login\n           ^^\n  \
             write `AND`; the text itself goes between double quotes",
        ),
        (
            "code:>=5xx",
            "line 1, column 8: expected a number\n  code:>=5xx\n         ^^^\n  \
             numbers are written as in JSON, without quotes: `500`, `-1.5`, `2e3`",
        ),
        (
            "a..b:c",
            "line 1, column 1: a part of this field name is empty\n  a..b:c\n  ^^^^\n  \
             names are keys joined by single dots: `a.b.c`",
        ),
        (
            "name:bob*",
            "line 1, column 6: there are no wildcards\n  name:bob*\n       ^^^^\n  \
             words and values are prefixes already; drop the `*`; the text itself goes between double quotes",
        ),
        (
            "aa AND OR bb",
            "line 1, column 8: expected a search term, found `OR`\n  aa AND OR bb\n         ^^\n  \
             to look for the word itself, put it between double quotes",
        ),
        (
            "aa x",
            "line 1, column 4: a search word needs at least two characters\n  aa x\n     ^",
        ),
    ] {
        refused(query, expected);
    }
}

#[test]
fn what_is_incomplete_is_refused() {
    for (message, suggestion, queries) in [
        ("the query is empty", "", &[" \n"][..]),
        (
            "nothing is in these parentheses",
            "",
            &["()", "f:()", "aa ( )"],
        ),
        ("this `(` is not closed", "", &["f:(>=1", "(", "((aa)"]),
        ("this text is empty", "", &["\"\"", "f:\"\""]),
        ("expected a search term, found `)`", "", &["(aa OR)"]),
        (
            "expected a search term, found the end of the query",
            "",
            &["=", "aa AND"],
        ),
        (
            "expected a search term, found `OR`",
            QUOTE_KEYWORD,
            &["OR aa", "f:(OR)", "aa OR OR"],
        ),
        (
            "expected a search term, found `AND`",
            QUOTE_KEYWORD,
            &["-AND", "AND"],
        ),
        (
            "expected what to negate directly behind `-`, found the end of the query",
            DASH,
            &["aa -"],
        ),
        (
            "expected what to negate directly behind `-`, found white space",
            DASH,
            &["aa - bb"],
        ),
        (
            "expected white space or `)`, found `(`",
            QUOTE,
            &["foo(bar)"],
        ),
        (
            "expected white space or `)`, found `\"`",
            QUOTE,
            &["say\"hi\""],
        ),
        (
            "expected white space or `)`, found `c`",
            QUOTE,
            &["\"a b\"c"],
        ),
        (
            "expected white space or `)`, found `:`",
            QUOTE,
            &["\"a b\":c"],
        ),
        ("expected white space or `)`, found `b`", "", &["f:[a]b"]),
        (
            "this item of the list is empty",
            "",
            &["f:[]", "f:[a, ]", "f:[,a]"],
        ),
    ] {
        for query in queries {
            refused_with(query, message, suggestion);
        }
    }
}

#[test]
fn what_a_field_cannot_be_asked_is_refused() {
    let space = "expected a value directly behind `:`, found white space";
    let behind_colon = "write `field:=value`; a text that holds a colon goes between double quotes";
    let compared =
        "write `field:>=500`; a text that begins with `<` or `>` goes between double quotes";
    for (message, suggestion, queries) in [
        (space, COLON, &["error: bb"][..]),
        (
            "expected a value directly behind the operator, found white space",
            "",
            &["f:>= 5", "f:= v"],
        ),
        (
            "expected a value directly behind the operator, found `[`",
            OPERATORS,
            &["f:==[a,b]"],
        ),
        (
            "expected a value directly behind the operator, found `>`",
            OPERATORS,
            &["f:=>5"],
        ),
        (
            "expected a value directly behind the operator, found `(`",
            QUOTE,
            &["f:>=(1)"],
        ),
        (
            "expected a number",
            NUMBER,
            &[
                "f:>\"5\"", "f:>+5", "f:<007", "f:<1.", "f:>=.5", "f:>1e", "f:<-", "f:>v",
            ],
        ),
        ("the line is a text, not a number", "", &["line:>5"]),
        (
            "every event has a line, this would be true of all of them",
            "",
            &["line:*", "_line:*"],
        ),
        (
            "a search word needs at least two characters",
            "",
            &["line:x", "\"x\"", "*", "===x", "line:[é]"],
        ),
        (
            "an operator stands behind the colon",
            behind_colon,
            &["=name:bob"],
        ),
        ("a comparison needs a field", compared, &[">=500", "<html>"]),
    ] {
        for query in queries {
            refused_with(query, message, suggestion);
        }
    }
}

#[test]
fn names_that_no_field_has_are_refused() {
    let before_colon = "a text that begins with `:` goes between double quotes";
    let parts = "names are keys joined by single dots: `a.b.c`";
    for (message, suggestion, queries) in [
        (
            "expected the name of a field before `:`",
            before_colon,
            &[":x"][..],
        ),
        (
            "a part of this field name is empty",
            parts,
            &[".a:b", "a.:b", "label.:b", "meta.:b"],
        ),
        (
            "`_retention` cannot be used in an exclusion rule",
            "",
            &["_retention:7"],
        ),
        (
            "`_mezmo_line_size` cannot be used in an exclusion rule",
            "",
            &["_mezmo_line_size:>4000"],
        ),
    ] {
        for query in queries {
            refused_with(query, message, suggestion);
        }
    }
}

#[test]
fn habits_from_other_languages_are_refused_with_what_is_meant() {
    let or = "write `OR`; the text itself goes between double quotes";
    let not_value =
        "write `-field:value` for what it is not; the text itself goes between double quotes";
    let exact = "without `==` it is a prefix; the text itself goes between double quotes";
    let item = "words and values are prefixes already; drop the `*`";
    let bare_item = "drop the quotes: an item is all that stands between the commas";
    for (message, suggestion, queries) in [
        ("`||` is not an operator here", or, &["aa || bb"][..]),
        ("`!` is not an operator here", NEGATE, &["!aa", "!"]),
        ("`NOT` is not an operator here", NEGATE, &["aa NOT bb"]),
        ("`!` is not an operator here", not_value, &["f:!=v", "f:!v"]),
        (
            "there are no wildcards",
            PREFIX,
            &["health*", "=health*", "f:v*", "f:=v*", "line:v*"],
        ),
        ("there are no wildcards", exact, &["f:==v*", "===health*"]),
        ("there are no wildcards", item, &["f:[v*]"]),
        (
            "items of a list are not quoted",
            bare_item,
            &["f:[\"a\", \"b\"]"],
        ),
        (
            "this is not the quotation mark of a text",
            MARK,
            &["'a b'", "f:“a"],
        ),
    ] {
        for query in queries {
            refused_with(query, message, suggestion);
        }
    }
}
#[test]
fn what_is_at_a_limit_is_taken_and_what_is_beyond_is_refused() {
    let nested = |depth| format!("{}aa{}", "(".repeat(depth), ")".repeat(depth));
    let negated = |depth| format!("{}aa", "-".repeat(depth));
    let list = |items| format!("f:[{}]", vec!["a"; items].join(","));
    let name = |bytes| format!("{}:v", "n".repeat(bytes));
    // Eight nodes each, and one that joins them.
    let nodes = |conditions| format!("f:({})", vec!["=1"; conditions].join(" "));
    let long = |bytes: usize| "a".repeat(bytes);
    for (taken, beyond, message) in [
        (nested(100), nested(101), "nested deeper than 100"),
        (negated(100), negated(101), "nested deeper than 100"),
        (
            list(1_000),
            list(1_001),
            "the list has more than 1000 items",
        ),
        (
            name(512),
            name(513),
            "the name of this field is longer than 512 bytes",
        ),
        (
            nodes(1_249),
            nodes(1_250),
            "the query has more than 10000 conditions",
        ),
        (
            long(16_384),
            long(16_385),
            "the query has 16385 bytes, at most 16384 are taken",
        ),
    ] {
        assert!(parse(&taken, Options::default()).is_ok(), "{message}");
        fuzz_parse(&taken);
        refused_with(&beyond, message, "");
        fuzz_parse(&beyond);
    }
}

#[test]
fn a_query_that_is_too_long_is_cut_between_characters() {
    let error = parse(&"ü".repeat(QUERY_BYTES_MAX), Options::default()).unwrap_err();
    assert_eq!(error.rule.len(), QUERY_BYTES_MAX);
    let error = parse(
        &format!("a{}", "ü".repeat(QUERY_BYTES_MAX)),
        Options::default(),
    )
    .unwrap_err();
    assert_eq!(error.rule.len(), QUERY_BYTES_MAX - 1);
    assert_eq!(error.span, QUERY_BYTES_MAX - 1..QUERY_BYTES_MAX - 1);
}

/// Pieces that mean something, so that random texts get past the first character.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "AND", "OR", "NOT", " ", "  ", "\n", "(", ")", "[", "]", ",", ":", "=", "==", ">=",
            "<", "-", "*", "\"", "\\", "!", "&&", "_line", "host", "meta.", "a.b", "404", "1e9",
            "word", "é", "'", "f:(", "f:[", "\u{a0}",
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_text_is_taken_or_refused_with_its_place(text in any::<String>()) {
        fuzz_parse(&text);
    }

    #[test]
    fn any_mix_of_pieces_is_taken_or_refused_with_its_place(text in pieces()) {
        fuzz_parse(&text);
    }

    #[test]
    fn every_text_can_be_quoted(text in "\\PC{2,20}") {
        let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let expected = Expr::Anywhere { term: term(&text, Place::TokenPrefix, true), labels: true };
        prop_assert_eq!(parse(&quoted, Options::default()), Ok(expected));
    }
}
