//! What is refused, and with which words.

use super::super::parse;

/// `expected` is the part of the rule under the caret, the message and the suggestion; empty for none.
#[track_caller]
fn check(text: &str, expected: [&str; 3]) {
    let error = match parse(text) {
        Ok(expr) => panic!("{text} is accepted: {expr:?}"),
        Err(error) => error,
    };
    let found = [
        &text[error.span.clone()],
        &*error.message,
        error.suggestion.as_deref().unwrap_or_default(),
    ];
    assert_eq!(found, expected, "of {text}");
}

/// The whole text of an error.
#[track_caller]
fn check_text(text: &str, expected: &str) {
    assert_eq!(parse(text).expect_err("a mistake").to_string(), expected);
}

#[test]
fn errors_show_place_caret_and_suggestion() {
    check_text(
        "$d.severity = 'critical'",
        "line 1, column 13: expected an operator, found `=`\n  $d.severity = 'critical'\n              ^\n  did you mean `==`?",
    );
}
