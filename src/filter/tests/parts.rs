//! The parts of the engine one by one: decimals, text, functions, folding.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::super::line::number;
use super::super::line::text::{self, Search};
use super::super::tree::{Compare, Expr, Function, Literal, Place, Term, fold};
use super::rules::check;
use super::{levels, number as digits, text as words};

#[test]
fn decimals_are_compared_by_value() {
    // Each is less than the next; those in one row are equal.
    let rows: &[&[&str]] = &[
        &["-1e999999999999"],
        &["-1e20", "-100000000000000000000"],
        &["-2.5", "-25e-1", "-0.25E+1"],
        &["-1e-999"],
        &["0", "-0", "0.000", "0e9", "-0e-5", ".0", "0."],
        &["1e-999999999999"],
        &["0.5", ".5", "5e-1", "0.50"],
        &["1", "1.0", "10e-1", "0.1e1", "01", "+1"],
        &["999999999999999999", "999999999999999999.0"],
        &["1000000000000000000", "1e18"],
        &["1000000000000000000.1"],
        &["9007199254740993e3"],
        &["9007199254740993001"],
        &["1e999999999"],
        &["1.0000000000000000000001e999999999"],
        &["1e1000000000", "0.1e1000000001"],
    ];
    for (row, equal) in rows.iter().enumerate() {
        for (other_row, others) in rows.iter().enumerate() {
            for one in *equal {
                for other in *others {
                    let expected = row.cmp(&other_row);
                    let found = number::compare(one.as_bytes(), other.as_bytes());
                    assert_eq!(found, expected, "{one} with {other}");
                    let decimal = number::Decimal::new(other);
                    let found = number::compare_with(one.as_bytes(), &decimal);
                    assert_eq!(found, expected, "{one} with the literal {other}");
                }
            }
        }
    }
    assert_eq!(number::compare(b"1e5", b"100000"), Ordering::Equal);
}

#[test]
fn a_json_number_is_told_from_other_text() {
    for (text, expected) in [
        ("0", true),
        ("-0.0e-0", true),
        ("12", true),
        ("1E+5", true),
        ("", false),
        ("-", false),
        ("01", false),
        ("1.", false),
        (".5", false),
        ("1e", false),
        ("+1", false),
        ("1 ", false),
        ("1e5x", false),
    ] {
        assert_eq!(number::is_json(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn escapes_are_decoded_and_lone_surrogates_replaced() {
    for (raw, expected) in [
        (r#"a\"\\\/\b\f\n\r\tz"#, "a\"\\/\u{8}\u{c}\n\r\tz"),
        (
            r"\u0041\u00e9\u20AC\ud83d\ude00\u0000",
            "A\u{e9}\u{20ac}\u{1f600}\0",
        ),
        (r"\ud83d", "\u{fffd}"),
        (r"\ude00x", "\u{fffd}x"),
        (r"\ud83d\u0041", "\u{fffd}A"),
        (r"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}"),
        (r"\ud83dude00", "\u{fffd}ude00"),
        (r"\u12", r"\u12"),
        (r"\", r"\"),
    ] {
        let mut out = Vec::new();
        text::unescape(raw.as_bytes(), &mut out);
        assert_eq!(String::from_utf8(out).as_deref(), Ok(expected), "{raw}");
    }
}

#[test]
fn folding_keeps_what_is_a_word_character() {
    // Tokens of a folded text begin and end where those of the text do.
    for character in '\0'..=char::MAX {
        let folded = fold(character);
        assert_eq!(
            character.is_alphanumeric(),
            folded.is_alphanumeric(),
            "{character:?}"
        );
        assert_eq!(character.is_ascii(), folded.is_ascii(), "{character:?}");
    }
}

#[test]
fn terms_stand_where_their_place_says() {
    use Place::{Prefix, Substring, Token, TokenPrefix, Whole};
    for (term, ignore_case, text, places) in [
        (
            "ab",
            true,
            "AB",
            &[Whole, Prefix, TokenPrefix, Token, Substring][..],
        ),
        ("ab", false, "AB", &[]),
        ("ab", false, "xab ab", &[TokenPrefix, Token, Substring]),
        ("aa", false, "xaaa", &[Substring]),
        ("ab", true, "x_ABc", &[Substring]),
        ("ab", true, "x-ABc", &[TokenPrefix, Substring]),
        ("-a", true, "x-a", &[TokenPrefix, Token, Substring]),
        ("\u{e9}a", true, "x\u{c9}A", &[Substring]),
        (
            "\u{e9}a",
            true,
            "\u{c9}Ax",
            &[Prefix, TokenPrefix, Substring],
        ),
        ("k", true, "\u{212a}", &[]),
        ("a", true, "\u{e9}a\u{e9}", &[Substring]),
    ] {
        for place in [Whole, Prefix, TokenPrefix, Token, Substring] {
            let search = Search::new(&Term {
                text: term.into(),
                place,
                ignore_case,
            });
            let expected = places.contains(&place);
            for level in levels() {
                assert_eq!(
                    search.is_in(level, text.as_bytes()),
                    expected,
                    "{term} {place:?} in {text}"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn a_term_in_any_case_is_found_wherever_it_stands(
        before in "[aAbB.:]{0,140}",
        term in "[aAbBxX.]{1,5}",
        behind in "[aAbBxX:]{0,140}",
        present in any::<bool>(),
    ) {
        let text = if present { format!("{before}{term}{behind}") } else { format!("{before}{behind}") };
        let search = Search::new(&Term {
            text: term.as_str().into(),
            place: Place::Substring,
            ignore_case: true,
        });
        let expected = text.to_lowercase().contains(&term.to_lowercase());
        prop_assert!(expected || !present);
        for level in levels() {
            prop_assert_eq!(search.is_in(level, text.as_bytes()), expected);
        }
    }
}

fn null() -> Box<Expr> {
    Box::new(Expr::Literal(Literal::Null))
}

/// A call equals what is expected; null equals null.
fn check_call(function: Function, arguments: Vec<Expr>, expected: Box<Expr>) {
    let call = Box::new(Expr::Call(function, arguments));
    let condition = Expr::Compare(Compare::Equal, call, expected);
    check(&condition, &[("{}", Some(true))]);
}

#[test]
fn text_functions_return_what_their_comments_say() {
    use Function::*;
    for (function, arguments, expected) in [
        (Concat, vec![words("a"), words("b")], words("ab")),
        (Concat, vec![words("a"), digits("1")], null()),
        (Length, vec![words("\u{e9}\u{1f600}")], digits("2")),
        (IndexOf, vec![words("\u{e9}ab"), words("b")], digits("2")),
        (IndexOf, vec![words("a"), words("b")], digits("-1")),
        (
            Substr,
            vec![words("h\u{e9}llo"), digits("1"), digits("2.9")],
            words("\u{e9}l"),
        ),
        (Substr, vec![words("ab"), digits("2")], words("")),
        (Substr, vec![words("ab"), digits("3")], null()),
        (
            SplitParts,
            vec![words("a,b"), words(","), digits("2")],
            words("b"),
        ),
        (
            SplitParts,
            vec![words("a,b"), words(","), digits("0")],
            null(),
        ),
        (
            PadLeft,
            vec![words("7"), digits("4"), words("ab")],
            words("aba7"),
        ),
        (
            PadRight,
            vec![words("7"), digits("3"), words("0")],
            words("700"),
        ),
        (Chr, vec![digits("233")], words("\u{e9}")),
        (Codepoint, vec![words("ab")], null()),
        (UrlEncode, vec![words("a \u{e9}~")], words("a%20%C3%A9~")),
        (UrlDecode, vec![words("a+%c3%a9")], words("a+\u{e9}")),
        (UrlDecode, vec![words("%4")], null()),
        (EncodeBase64, vec![words("hello")], words("aGVsbG8=")),
        (DecodeBase64, vec![words("aGVsbG8=")], words("hello")),
        (DecodeBase64, vec![words("aGVsbG8")], null()),
        (
            IpPrefix,
            vec![words("10.9.8.7"), digits("8")],
            words("10.0.0.0/8"),
        ),
        (
            IpPrefix,
            vec![words("2001:db8::1"), digits("32")],
            words("2001:db8::/32"),
        ),
        (IpPrefix, vec![words("10.9.8.7"), digits("33")], null()),
        (
            IsUuid,
            vec![digits("1")],
            Box::new(Expr::Literal(Literal::Bool(false))),
        ),
        (FirstNonNull, vec![null(), words("x")], words("x")),
        (If, vec![null(), words("x"), words("y")], words("y")),
    ] {
        let arguments = arguments.into_iter().map(|argument| *argument).collect();
        check_call(function, arguments, expected);
    }
}

#[test]
fn number_functions_return_what_their_comments_say() {
    use Function::*;
    for (function, arguments, expected) in [
        (Round, vec![digits("2.345"), digits("2")], digits("2.35")),
        (Round, vec![digits("-2.5")], digits("-3")),
        (Sqrt, vec![digits("-1")], null()),
        (
            Log,
            vec![digits("10"), digits("1000")],
            digits("2.9999999999999996"),
        ),
        (Mod, vec![digits("-7"), digits("3")], digits("-1")),
        (
            Max,
            vec![digits("1"), digits("3"), digits("2")],
            digits("3"),
        ),
        (FromBase, vec![words("-ff"), digits("16")], digits("-255")),
        (ToBase, vec![digits("255.9"), digits("16")], words("ff")),
        (ToBase, vec![digits("1"), digits("1")], null()),
    ] {
        let arguments = arguments.into_iter().map(|argument| *argument).collect();
        check_call(function, arguments, expected);
    }
}
