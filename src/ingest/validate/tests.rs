//! The validator against a written table, against itself at every level, and against serde_json and sonic-rs.
//!
//! `WEIR_VALIDATE_CASES` sets the number of random lines of the long differential test (20,000 by default).

use super::*;
use proptest::prelude::*;
use serde::de::IgnoredAny;

/// What every implementation of ours says; panics when they differ.
fn ours(line: &[u8]) -> Result<(), Malformed> {
    let scalar = Validator::with_level(None).validate(line);
    for level in Level::available() {
        let text = || String::from_utf8_lossy(line).into_owned();
        // The vector pass must neither accept too much nor lean on the scalar parser for lines of moderate depth.
        let (fast, name) = (is_object(level, line), level.name());
        assert!(scalar.is_ok() || !fast, "{name} accepts {:?}", text());
        assert!(
            scalar.is_err() || fast || depth(line) > 61,
            "{name} is unsure of {:?}",
            text()
        );
        assert_eq!(
            Validator::with_level(Some(level)).validate(line),
            scalar,
            "{name}: {:?}",
            text()
        );
    }
    scalar
}

/// Deepest nesting of a valid line.
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

/// Compares with both other parsers, as far as they promise the same.
///
/// serde_json, ignoring the value, knows the full grammar, has no limit of depth and no range of numbers, and lets lone
/// surrogates pass; it skips strings unseen, so UTF-8 is checked before. sonic-rs skipping a value does not look at the
/// four hex digits of `\u`, and asserts UTF-8 in debug builds.
fn agree(line: &[u8]) -> Result<(), Malformed> {
    let ours = ours(line);
    let text = std::str::from_utf8(line)
        .ok()
        .filter(|_| starts_with_brace(line));
    let too_deep = matches!(
        ours,
        Err(Malformed {
            what: MalformedKind::TooDeep,
            ..
        })
    );
    let serde_json = text.is_some_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    assert_eq!(
        ours.is_ok(),
        serde_json && !too_deep,
        "serde_json differs on {:?}",
        String::from_utf8_lossy(line)
    );
    let sonic_rs =
        text.is_some_and(|text| sonic_rs::from_str::<sonic_rs::LazyValue<'_>>(text).is_ok());
    let lenient = too_deep || line.windows(2).any(|pair| pair == br"\u");
    assert!(
        ours.is_ok() == sonic_rs || (sonic_rs && lenient),
        "sonic-rs differs on {:?}",
        String::from_utf8_lossy(line)
    );
    ours
}

#[test]
fn what_is_one_object_is_accepted() {
    for line in [
        r"{}",
        " \t\r\n{}\n\r\t ",
        r#"{"":0}"#,
        r#"{"a":"b"}"#,
        r#"{"a":[]}"#,
        r#"{"a":[[],{},[{}]]}"#,
        r#"{ "a" : [ 1 , 2 ] , "b" : { } }"#,
        r#"{"a":1,"a":2}"#,
        r#"{"a":"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00"}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\udc00\ud800"}"#,
        "{\"é\":\"日本語 😀 \u{7f}\u{2028}\u{fffe}\u{10ffff}\"}",
        r#"{"\u0000":"\\"}"#,
        r#"{"a":"\\\\\\\""}"#,
        r#"{"a":"[{]},:"}"#,
        r#"{"a":"\\u12"}"#,
        r#"{"a":[0,-0,1,-1,10,0.0,-0.5,1e1,1E+1,1e-1,0e0,0.1e1,1.5E-300,123456789012345678901234567890,1e999]}"#,
        r#"{"a":[true,false,null]}"#,
        r#"{"a":true}"#,
        r#"{"a": -1}"#,
        r#"{"a":1 }"#,
        r#"{"a":[1 ]}"#,
    ] {
        assert_eq!(agree(line.as_bytes()), Ok(()), "{line}");
    }
}

/// What is no object, with the place and the kind of the mistake.
const REFUSED: &[(&[u8], usize, MalformedKind)] = {
    use MalformedKind::*;
    &[
        (b"", 0, ObjectExpected),
        (b"  ", 2, ObjectExpected),
        (b"[]", 0, ObjectExpected),
        (b"1", 0, ObjectExpected),
        (b"null", 0, ObjectExpected),
        (b"\"{}\"", 0, ObjectExpected),
        (b"\x0c{}", 0, ObjectExpected),
        (b"\xef\xbb\xbf{}", 0, ObjectExpected),
        (b"{}{}", 2, Trailing),
        (b"{} {}", 3, Trailing),
        (b"{},", 2, Trailing),
        (b"{},{}", 2, Trailing),
        (b"{}}", 2, Trailing),
        (b"{}]", 2, Trailing),
        (b"{}1", 2, Trailing),
        (b"{}\0", 2, Trailing),
        (b"{},\"a\":{}", 2, Trailing),
        (b"{", 1, UnexpectedEnd),
        (b"{\"a\"", 4, UnexpectedEnd),
        (b"{\"a\":", 5, UnexpectedEnd),
        (b"{\"a\":1", 6, UnexpectedEnd),
        (b"{\"a\":1,", 7, UnexpectedEnd),
        (b"{\"a\":[1", 7, UnexpectedEnd),
        (b"{\"a\":{}", 7, UnexpectedEnd),
        (b"{\"a\":tr", 7, UnexpectedEnd),
        (b"{\"a\":-", 6, UnexpectedEnd),
        (b"{\"a\":\"}", 7, UnclosedString),
        (b"{\"a", 3, UnclosedString),
        (b"{\"a\\\"}", 6, UnclosedString),
        (b"}", 0, ObjectExpected),
        (b"{]", 1, KeyExpected),
        (b"{,}", 1, KeyExpected),
        (b"{1:1}", 1, KeyExpected),
        (b"{a:1}", 1, KeyExpected),
        (b"{'a':1}", 1, KeyExpected),
        (b"{:1}", 1, KeyExpected),
        (b"{{}}", 1, KeyExpected),
        (b"{[]}", 1, KeyExpected),
        (b"{null:1}", 1, KeyExpected),
        (b"{\"a\":1,}", 7, KeyExpected),
        (b"{\"a\":1,,\"b\":2}", 7, KeyExpected),
        (b"{\"a\":1,2}", 7, KeyExpected),
        (b"{\"a\":1,{}}", 7, KeyExpected),
        (b"{\"a\"}", 4, ColonExpected),
        (b"{\"a\" 1}", 5, ColonExpected),
        (b"{\"a\",\"b\"}", 4, ColonExpected),
        (b"{\"a\"\"b\"}", 4, ColonExpected),
        (b"{\"a\"{}}", 4, ColonExpected),
        (b"{\"a\":1,\"b\"}", 10, ColonExpected),
        (b"{\"a\":}", 5, ValueExpected),
        (b"{\"a\"::1}", 5, ValueExpected),
        (b"{\"a\":,\"b\":1}", 5, ValueExpected),
        (b"{\"a\":]}", 5, ValueExpected),
        (b"{\"a\":[,]}", 6, ValueExpected),
        (b"{\"a\":[1,]}", 8, ValueExpected),
        (b"{\"a\":[,1]}", 6, ValueExpected),
        (b"{\"a\":[1,,2]}", 8, ValueExpected),
        (b"{\"a\":+1}", 5, ValueExpected),
        (b"{\"a\":.5}", 5, ValueExpected),
        (b"{\"a\":NaN}", 5, ValueExpected),
        (b"{\"a\":Infinity}", 5, ValueExpected),
        (b"{\"a\":\\u0031}", 5, ValueExpected),
        (b"{\"a\":\x7f}", 5, ValueExpected),
        (b"{\"a\":\x0b1}", 5, ValueExpected),
        (b"{\"a\":/**/1}", 5, ValueExpected),
        (b"{\"a\":\xc2\xa01}", 5, ValueExpected),
        (b"{\"a\":1\"b\"}", 6, CommaOrBraceExpected),
        (b"{\"a\":1 2}", 7, CommaOrBraceExpected),
        (b"{\"a\":1:2}", 6, CommaOrBraceExpected),
        (b"{\"a\":1]", 6, CommaOrBraceExpected),
        (b"{\"a\":\"b\":1}", 8, CommaOrBraceExpected),
        (b"{\"a\":\"b\"\"c\"}", 8, CommaOrBraceExpected),
        (b"{\"a\":{}{}}", 7, CommaOrBraceExpected),
        (b"{\"a\":1a}", 6, CommaOrBraceExpected),
        (b"{\"a\":1-}", 6, CommaOrBraceExpected),
        (b"{\"a\":truex}", 9, CommaOrBraceExpected),
        (b"{\"a\":true1}", 9, CommaOrBraceExpected),
        (b"{\"a\":1.5.5}", 8, CommaOrBraceExpected),
        (b"{\"a\":1e5e5}", 8, CommaOrBraceExpected),
        (b"{\"a\":0x10}", 6, CommaOrBraceExpected),
        (b"{\"a\":[]0}", 7, CommaOrBraceExpected),
        (b"{\"a\":[1}}", 7, CommaOrBracketExpected),
        (b"{\"a\":[1 2]}", 8, CommaOrBracketExpected),
        (b"{\"a\":[\"b\":1]}", 9, CommaOrBracketExpected),
        (b"{\"a\":[\"b\" \"c\"]}", 10, CommaOrBracketExpected),
        (b"{\"a\":[1,\"b\":1]}", 11, CommaOrBracketExpected),
        (b"{\"a\":[1:1]}", 7, CommaOrBracketExpected),
        (b"{\"a\":tru}", 8, LiteralUnknown),
        (b"{\"a\":True}", 5, ValueExpected),
        (b"{\"a\":nul1}", 8, LiteralUnknown),
        (b"{\"a\":fals}", 9, LiteralUnknown),
        (b"{\"a\":-}", 6, DigitExpected),
        (b"{\"a\":--1}", 6, DigitExpected),
        (b"{\"a\":1.}", 7, DigitExpected),
        (b"{\"a\":1.e5}", 7, DigitExpected),
        (b"{\"a\":1e}", 7, DigitExpected),
        (b"{\"a\":1e+}", 8, DigitExpected),
        (b"{\"a\":-a}", 6, DigitExpected),
        (b"{\"a\":01}", 5, LeadingZero),
        (b"{\"a\":-01}", 6, LeadingZero),
        (b"{\"a\":00}", 5, LeadingZero),
        (b"{\"a\":00.5}", 5, LeadingZero),
        (b"{\"a\":\"\x00\"}", 6, ControlInString),
        (b"{\"a\":\"\t\"}", 6, ControlInString),
        (b"{\"a\":\"\n\"}", 6, ControlInString),
        (b"{\"a\x1f\":1}", 3, ControlInString),
        (b"{\"a\":\"\\\n\"}", 7, EscapeUnknown),
        (b"{\"a\":\"\\x\"}", 7, EscapeUnknown),
        (b"{\"a\":\"\\U0000\"}", 7, EscapeUnknown),
        (b"{\"a\":\"\\'\"}", 7, EscapeUnknown),
        (b"{\"a\":\"\\\xc3\xa9\"}", 7, EscapeUnknown),
        (b"{\"a\":\"\\ua\"}", 9, HexDigitExpected),
        (b"{\"a\":\"\\u12g4\"}", 10, HexDigitExpected),
        (b"{\"a\":\"\\u123\\n\"}", 11, HexDigitExpected),
        (b"{\"a\":\"\xff\"}", 6, NotUtf8),
        (b"{\"a\":\"\xc3\"}", 6, NotUtf8),
        (b"{\"a\":\"\xc0\xaf\"}", 6, NotUtf8),
        (b"{\"a\":\"\xed\xa0\x80\"}", 6, NotUtf8),
        (b"{\"a\":\"\xf4\x90\x80\x80\"}", 6, NotUtf8),
        (b"{\"a\":\"\x80\"}", 6, NotUtf8),
        (b"{\"a\":1}\xff", 7, NotUtf8),
    ]
};

#[test]
fn what_is_no_object_is_refused_with_its_place() {
    for (line, at, what) in REFUSED {
        assert_eq!(
            agree(line),
            Err(Malformed {
                at: *at,
                what: *what
            }),
            "{:?}",
            String::from_utf8_lossy(line)
        );
    }
}

#[test]
fn a_nesting_of_128_is_accepted_and_of_129_refused() {
    for depth in [2, 60, 61, 62, 63, 64, 65, 127, 128] {
        let objects = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert_eq!(agree(objects.as_bytes()), Ok(()), "{depth}");
        let arrays = format!(
            "{{\"a\":{}{}}}",
            "[".repeat(depth - 1),
            "]".repeat(depth - 1)
        );
        assert_eq!(agree(arrays.as_bytes()), Ok(()), "{depth}");
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(128), "]".repeat(128));
    assert_eq!(
        agree(deep.as_bytes()),
        Err(Malformed {
            at: 132,
            what: MalformedKind::TooDeep
        })
    );
    // Many containers, none deep; and brackets by the thousand, which must flush again and again.
    let wide = format!("{{\"a\":[{}{{}}]}}", "[],{},[[{}]],".repeat(2_000));
    assert_eq!(agree(wide.as_bytes()), Ok(()));
    let crossed = wide.replacen("[[{}]],{}]}", "[[{}]},{}]}", 1);
    assert!(agree(crossed.as_bytes()).is_err());
}

/// Each of these is put at every place around the borders of chunks and groups, behind a key of varying length.
const STRADDLERS: &[&str] = &[
    r"true",
    r"false",
    r"null",
    r"tru",
    r"truee",
    r"0",
    r"-0",
    r"01",
    r"123456789",
    r"-12.5e-10",
    r"1.5.5",
    r"12e",
    "1 2",
    r#""plain text""#,
    r#""a\\""#,
    r#""a\"""#,
    r#""\\\\\\\\\\\\""#,
    r#""\\\\\\\\\\\\\""#,
    r#""\u00e9\ud83d\ude00""#,
    r#""\u00e""#,
    r#""\u00eg""#,
    r#""\x""#,
    "\"\t\"",
    "\"é日😀\"",
    r#""a":1"#,
    r#""a" "b""#,
    "[]",
    "{}",
    "[1,2]",
    "[1,]",
    "[\"a\",\"b\"]",
    "[\"a\":\"b\"]",
    r#"{"a":"b","c":[{}]}"#,
    r#"{"a":1,}"#,
    r#"{"a"}"#,
    r#"{"a",1}"#,
    "   1   ",
    " [ 1 , 2 ] ",
    " { \"a\" : 1 } ",
    "[[[[[[[[]]]]]]]]",
    "[[[[[[[[]]]]]}]]",
    "}",
    "]",
    ",",
    ":",
    "",
];

#[test]
fn every_token_may_straddle_every_border() {
    for padding in (0..80)
        .chain(180..200)
        .chain(240..270)
        .chain(500..520)
        .chain(1020..1030)
    {
        for value in STRADDLERS {
            let key = "k".repeat(padding);
            let accepted = agree(format!("{{\"{key}\":{value}}}").as_bytes());
            assert_eq!(accepted, agree(format!("{{\"{key}\":{value}}}").as_bytes()));
            let spaces = " ".repeat(padding);
            let spaced =
                agree(format!("{{{spaces}\"a\"{spaces}:{spaces}{value}{spaces}}}").as_bytes());
            assert_eq!(
                accepted.is_ok(),
                spaced.is_ok(),
                "{value} with {padding} spaces"
            );
            let digits = "7".repeat(padding + 1);
            let after = agree(format!("{{\"a\":[{digits},{value}]}}").as_bytes());
            // An element may be what a value may be; only `"a":1` and the like read differently.
            assert_eq!(
                accepted.is_ok(),
                after.is_ok(),
                "{value} after {padding} digits"
            );
        }
    }
}

#[test]
fn backslash_runs_of_every_length_end_where_they_end() {
    for padding in 40..70 {
        for run in 0..140 {
            let line = format!("{{\"{}{}\":1}}", "k".repeat(padding), "\\".repeat(run));
            assert_eq!(
                agree(line.as_bytes()).is_ok(),
                run % 2 == 0,
                "{run} after {padding}"
            );
            let quoted = format!("{{\"{}{}\"\":1}}", "k".repeat(padding), "\\".repeat(run));
            assert_eq!(
                agree(quoted.as_bytes()).is_ok(),
                run % 2 == 1,
                "{run} after {padding}"
            );
        }
    }
}

#[test]
fn a_prefix_of_an_object_is_never_an_object() {
    let line = r#"{"time":"2024-05-01T00:00:00Z","a":[1,2.5e3,{"b":null,"c":"é\"x\\"},[],{}],"d":{"e":{"f":true}},"g":-0.5,"h":"\u00e9"}"#;
    for end in 0..line.len() {
        assert!(agree(&line.as_bytes()[..end]).is_err(), "{end}");
    }
    assert_eq!(agree(line.as_bytes()), Ok(()));
}

#[test]
fn every_length_around_the_borders_is_accepted() {
    for length in 0..1_100 {
        let line = format!("{{\"{}\":[1,true]}}", "x".repeat(length));
        assert_eq!(agree(line.as_bytes()), Ok(()), "{length}");
    }
}

#[test]
fn an_error_says_what_was_expected_and_where() {
    let error = validate(br#"{"a":1 "b":2}"#).expect_err("a comma is missing");
    assert_eq!(
        error.to_string(),
        "byte 7: expected `,` or `}` after the value"
    );
    let deep = validate("{\"a\":".repeat(200).as_bytes()).expect_err("too deep");
    assert_eq!(deep.to_string(), "byte 640: nested more than 128 deep");
}

/// Writes JSON and damages it; quick enough for millions of lines, repeatable from one seed.
struct Author(u64);

impl Author {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn space(&mut self, text: &mut String) {
        if self.below(6) == 0 {
            text.push_str(self.pick(&[" ", "  ", "\t", "\r\n", "                    "]));
        }
    }

    fn string(&mut self, text: &mut String) {
        text.push('"');
        for _ in 0..self.below(5) {
            let plain = [
                "",
                "a",
                "key",
                "some words",
                "{[]},:",
                "http://example.com/path",
                "0123456789abcdef0123456789abcdef",
            ];
            text.push_str(self.pick(&plain));
            if self.below(4) == 0 {
                text.push_str(self.pick(&[
                    "\\\"",
                    "\\\\",
                    "\\u00e9",
                    "\\n\\t\\/",
                    "é",
                    "日本",
                    "😀",
                    "\\ud800",
                    "\u{7f}",
                ]));
            }
        }
        text.push('"');
    }

    fn value(&mut self, depth: usize, text: &mut String) {
        self.space(text);
        match self.below(if depth == 0 { 6 } else { 10 }) {
            0..3 => self.string(text),
            3 => text.push_str(&(self.next() >> self.below(64)).to_string()),
            4 => text.push_str(self.pick(&["true", "false", "null"])),
            5 => text.push_str(self.pick(&[
                "0",
                "-1",
                "1.5",
                "-0.25e-3",
                "1E+9",
                "0e0",
                "12345.678",
            ])),
            6 | 7 => self.object(depth - 1, text),
            _ => {
                text.push('[');
                for element in 0..self.below(5) {
                    text.push_str(if element == 0 { "" } else { "," });
                    self.value(depth - 1, text);
                }
                self.space(text);
                text.push(']');
            }
        }
        self.space(text);
    }

    fn object(&mut self, depth: usize, text: &mut String) {
        text.push('{');
        for member in 0..self.below(6) {
            text.push_str(if member == 0 { "" } else { "," });
            self.space(text);
            self.string(text);
            self.space(text);
            text.push(':');
            self.value(depth, text);
        }
        self.space(text);
        text.push('}');
    }

    /// One small damage: most lines stay nearly valid, which is where mistakes hide.
    fn damage(&mut self, line: &mut Vec<u8>) {
        let at = self.below(line.len() + 1);
        let end = (at + 1 + self.below(4)).min(line.len());
        let byte = b"{}[]:,\"\\ \t\n019-+.eEtfnu\x00\x1f\x7f\x80\xc3\xff"[self.below(29)];
        match self.below(7) {
            0 => line.insert(at, byte),
            1 if at < line.len() => line[at] = byte,
            2 if at < line.len() => drop(line.remove(at)),
            3 => drop(line.splice(at..end, [])),
            4 => line.truncate(at),
            5 => {
                let copy = line[at..end].to_vec();
                line.splice(at..at, copy);
            }
            6 if at < line.len() => line[at] ^= 1 << self.below(8),
            _ => line.push(byte),
        }
    }
}

#[test]
fn random_lines_and_their_damaged_copies_are_judged_as_by_other_parsers() {
    let lines = std::env::var("WEIR_VALIDATE_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(20_000);
    let (mut accepted, mut refused) = (0_u32, 0_u32);
    for seed in 0..lines {
        let (mut author, mut text) = (Author(seed), String::new());
        author.object(5, &mut text);
        assert_eq!(agree(text.as_bytes()), Ok(()), "seed {seed}");
        let mut line = text.into_bytes();
        for _ in 0..=author.below(3) {
            author.damage(&mut line);
            if agree(&line).is_ok() {
                accepted += 1
            } else {
                refused += 1
            }
        }
    }
    // Both outcomes must be well represented, or the comparison says little.
    assert!(
        accepted > refused / 20 && refused > accepted / 20,
        "{accepted} accepted, {refused} refused"
    );
}

proptest! {
    #[test]
    fn token_soup_is_judged_as_by_other_parsers(
        tokens in prop::collection::vec(
            prop::sample::select(vec![
                "{", "}", "[", "]", ":", ",", " ", "\"a\"", "\"b\"", "1", "0", "-", ".", "e", "true", "null", "\"", "\\",
            ]),
            0..24,
        ),
    ) {
        let soup = tokens.concat();
        // Alone, and where a value and a key are expected, so that deeper rules are reached.
        agree(soup.as_bytes()).ok();
        agree(format!("{{{soup}}}").as_bytes()).ok();
        agree(format!("{{\"a\":{soup}}}").as_bytes()).ok();
        agree(format!("{{\"a\":[{soup}]}}").as_bytes()).ok();
    }

    #[test]
    fn arbitrary_bytes_are_judged_as_by_other_parsers(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        agree(&bytes).ok();
        agree(&[b"{\"", bytes.as_slice(), b"\":0}"].concat()).ok();
    }
}
