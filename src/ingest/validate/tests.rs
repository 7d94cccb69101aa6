//! The validator against a written table, against itself at every level, and against serde_json and sonic-rs.
//!
//! `WEIR_VALIDATE_CASES` sets the number of random cases of each differential test (default 3,000).

use super::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde::de::IgnoredAny;

/// What every implementation of ours says; panics when they differ.
fn ours(line: &[u8]) -> Result<(), Malformed> {
    let scalar = Validator::with_level(None).validate(line);
    for level in Level::available() {
        let text = || String::from_utf8_lossy(line).into_owned();
        assert_eq!(Validator::with_level(Some(level)).validate(line), scalar, "{}: {}", level.name(), text());
        // The vector pass alone must not lean on the scalar parser for lines of moderate depth.
        if scalar.is_ok() && depth(line) < 62 {
            assert!(is_object(level, line), "{} is unsure of {}", level.name(), text());
        }
        assert!(scalar.is_ok() || !is_object(level, line), "{} accepts {}", level.name(), text());
    }
    scalar
}

/// Deepest nesting, if the line is valid.
fn depth(line: &[u8]) -> usize {
    let (mut open, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in line {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => open += 1,
            b'}' | b']' if !in_string => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest
}

fn starts_with_brace(line: &[u8]) -> bool {
    line.iter().find(|byte| !b" \t\r\n".contains(byte)) == Some(&b'{')
}

/// serde_json ignores values without building them: full grammar, no limit of depth, no range of numbers, and lone
/// surrogates pass; UTF-8 is checked before since it skips strings unseen.
fn serde_json_accepts(line: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(line) else { return false };
    starts_with_brace(line) && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn sonic_rs_accepts(line: &[u8]) -> bool {
    starts_with_brace(line) && sonic_rs::from_slice::<sonic_rs::LazyValue<'_>>(line).is_ok()
}

#[test]
fn zz_probe() {
    for case in [r#"{"a":"\ud800"}"#, r#"{"a":1e999}"#, "{\"a\":\"\u{1}\"}", r#"{"a":"\x"}"#, r#"{"a":01}"#, r#"{"a":-}"#, r#"{"a":"\u12g4"}"#, r#"{"a":1 "b":2}"#, r#"{"a":tru}"#, r#"{"a":{"b":01}}"#, "{\"a\":\"\\\u{e9}\"}", "{}x", "{} ", "\u{c}{}"] {
        println!("{case:?} ours {:?} serde {} sonic {}", ours(case.as_bytes()), serde_json_accepts(case.as_bytes()), sonic_rs_accepts(case.as_bytes()));
    }
    let bad = b"{\"a\":\"\xff\"}";
    println!("{} {}", serde_json_accepts(bad), sonic_rs_accepts(bad));
    let deep = format!("{}{}{}", "{\"a\":".repeat(200), 1, "}".repeat(200));
    println!("{} {} {:?}", serde_json_accepts(deep.as_bytes()), sonic_rs_accepts(deep.as_bytes()), ours(deep.as_bytes()));
}
