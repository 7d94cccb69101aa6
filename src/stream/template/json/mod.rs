//! Reading a line, and in [`escape`] writing text into JSON: its members in order, as spans of its own bytes.
//!
//! Owns: walking over JSON text without building anything. Promises: on a line that ingest has validated, spans are exact;
//! on any other bytes (an input may validate nothing) it stops early, never panics, and uses no stack. Leaves to others:
//! what the spans are for.

use std::borrow::Cow;

pub(super) mod escape;

/// The members of an object, or the elements of an array (with an empty key), in order.
#[derive(Debug, Clone)]
pub(in crate::stream::template) struct Items<'a> {
    container: &'a [u8],
    at: usize,
    keyed: bool,
}

/// One member or element. `lead` and `trail` are the white space around it, up to the comma or bracket.
#[derive(Debug, Clone, Copy)]
pub(in crate::stream::template) struct Item<'a> {
    pub(in crate::stream::template) lead: &'a [u8],
    /// The key between its quotes, as written; empty for an element.
    pub(in crate::stream::template) key: &'a [u8],
    /// The key has escapes.
    escaped: bool,
    /// From the key's opening quote to the value: `"key": `. Empty for an element.
    pub(in crate::stream::template) head: &'a [u8],
    pub(in crate::stream::template) value: &'a [u8],
    pub(in crate::stream::template) trail: &'a [u8],
}

impl<'a> Items<'a> {
    /// Of what begins with `{` or `[`; of anything else there are none.
    pub(in crate::stream::template) fn of(container: &'a [u8]) -> Self {
        let keyed = container.first() == Some(&b'{');
        let at = if keyed || container.first() == Some(&b'[') {
            1
        } else {
            container.len()
        };
        Self {
            container,
            at,
            keyed,
        }
    }

    fn item(&mut self) -> Option<Item<'a>> {
        let bytes = self.container;
        let start = white_end(bytes, self.at);
        let lead = &bytes[self.at.min(start)..start];
        let (key, escaped, value_start) = if self.keyed {
            let (key_end, escaped) = string_end(bytes, start)?;
            let colon = white_end(bytes, key_end);
            if bytes.get(colon) != Some(&b':') {
                return None;
            }
            let key = &bytes[start + 1..key_end - 1];
            (key, escaped, white_end(bytes, colon + 1))
        } else {
            (&bytes[..0], false, start)
        };
        let value_end = value_end(bytes, value_start)?;
        let end = white_end(bytes, value_end);
        self.at = match bytes.get(end)? {
            b',' => end + 1,
            b'}' | b']' => bytes.len(),
            _ => return None,
        };
        Some(Item {
            lead,
            key,
            escaped,
            head: &bytes[start..value_start],
            value: &bytes[value_start..value_end],
            trail: &bytes[value_end..end],
        })
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let item = self.item();
        if item.is_none() {
            self.at = self.container.len();
        }
        item
    }
}

impl<'a> Item<'a> {
    /// Whether the key, decoded, is this one.
    pub(in crate::stream::template) fn is(&self, key: &str) -> bool {
        if self.escaped {
            decoded(self.key) == key
        } else {
            self.key == key.as_bytes()
        }
    }

    /// The key, decoded.
    pub(in crate::stream::template) fn key_text(&self) -> Cow<'a, str> {
        decoded(self.key)
    }
}

/// The value of the first member with this key.
pub(in crate::stream::template) fn member<'a>(object: &'a [u8], key: &str) -> Option<&'a [u8]> {
    if object.first() != Some(&b'{') {
        return None;
    }
    Items::of(object)
        .find(|item| item.is(key))
        .map(|item| item.value)
}

/// What stands between the quotes of a value that is a string.
pub(in crate::stream::template) fn string_span(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// The text between the quotes of a string with its escapes decoded; a lone surrogate becomes U+FFFD.
pub(in crate::stream::template) fn decoded(span: &[u8]) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', span) else {
        return String::from_utf8_lossy(span);
    };
    let mut text = Vec::with_capacity(span.len());
    let mut at = 0;
    let mut next = Some(first);
    while let Some(escape) = next {
        text.extend_from_slice(&span[at..escape]);
        let (character, length) = unescaped(&span[escape..]);
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        at = escape + length;
        next = memchr::memchr(b'\\', &span[at..]).map(|further| at + further);
    }
    text.extend_from_slice(&span[at..]);
    match String::from_utf8(text) {
        Ok(text) => Cow::Owned(text),
        Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

/// The character of the escape these bytes begin with, and how many bytes it takes; never more than there are.
fn unescaped(bytes: &[u8]) -> (char, usize) {
    let simple = match bytes.get(1) {
        Some(b'u') => return unescaped_code(bytes),
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(other) if other.is_ascii() => char::from(*other),
        _ => return (char::REPLACEMENT_CHARACTER, 1),
    };
    (simple, 2)
}

fn unescaped_code(bytes: &[u8]) -> (char, usize) {
    let Some(high) = hex_code(bytes) else {
        return (char::REPLACEMENT_CHARACTER, 2);
    };
    if (0xd800..0xdc00).contains(&high)
        && let Some(low) = bytes.get(6..).and_then(hex_code)
        && (0xdc00..0xe000).contains(&low)
    {
        let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        return (
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
            12,
        );
    }
    (
        char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER),
        6,
    )
}

/// The code of `\uXXXX` at the beginning.
fn hex_code(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |code, digit| {
        Some(code << 4 | char::from(*digit).to_digit(16)?)
    })
}

/// Where the white space that begins here ends.
pub(in crate::stream::template) fn white_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Behind the closing quote of the string that begins here, and whether it has escapes.
fn string_end(bytes: &[u8], at: usize) -> Option<(usize, bool)> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let mut escaped = false;
    let mut at = at + 1;
    loop {
        at += quote_or_backslash(bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some((at + 1, escaped));
        }
        escaped = true;
        at += 2;
    }
}

/// Eight bytes at a time: most strings are too short for a vector search to pay.
#[inline]
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    // The lowest high bit that is set is that of the first zero byte; only those above may be wrong.
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zero_bytes(word ^ (ONES * u64::from(b'"')))
            | zero_bytes(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return Some(number * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let place = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
    place.map(|place| words.len() * 8 + place)
}

/// Behind the value that begins here.
fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => string_end(bytes, at).map(|(end, _)| end),
        b'{' | b'[' => container_end(bytes, at),
        _ => {
            let ends =
                |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            let length = bytes[at..].iter().position(ends);
            let length = length.unwrap_or(bytes.len() - at);
            (length > 0).then_some(at + length)
        }
    }
}

fn container_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = string_end(bytes, at)?.0;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_the_spans_they_were_written_as() {
        let line = br#"{ "a" : 1.50e3 , "b\u0020c":"x\"}" ,"d":[{"e":"]"},2],"":null}"#;
        let found: Vec<_> = Items::of(line)
            .map(|item| (decoded(item.key).into_owned(), item.value))
            .collect();
        let expected: [(&str, &[u8]); 4] = [
            ("a", b"1.50e3"),
            ("b c", br#""x\"}""#),
            ("d", br#"[{"e":"]"},2]"#),
            ("", b"null"),
        ];
        assert_eq!(found.len(), expected.len());
        for ((key, value), (expected_key, expected_value)) in found.iter().zip(expected) {
            assert_eq!((key.as_str(), *value), (expected_key, expected_value));
        }
    }

    #[test]
    fn an_object_is_the_sum_of_its_items() {
        for line in ["{}", "{ }", r#"{"a":1}"#, "{ \"a\"\t: [1, 2] ,\"b\" :{} }"] {
            let mut again = b"{".to_vec();
            for (number, item) in Items::of(line.as_bytes()).enumerate() {
                if number > 0 {
                    again.push(b',');
                }
                for part in [item.lead, item.head, item.value, item.trail] {
                    again.extend_from_slice(part);
                }
            }
            if again.len() == 1 {
                again.extend_from_slice(&line.as_bytes()[1..line.len() - 1]);
            }
            again.push(b'}');
            assert_eq!(again, line.as_bytes());
        }
    }

    #[test]
    fn escapes_are_decoded_and_lone_surrogates_replaced() {
        let check = |span: &str, text: &str| assert_eq!(decoded(span.as_bytes()), text, "{span}");
        check(r"plain é", "plain é");
        check(r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t");
        check(r"\u00e9\uD83D\uDE00!", "é😀!");
        check(
            r"\ud83dx \udc00 \ud83d\u0041",
            "\u{fffd}x \u{fffd} \u{fffd}A",
        );
    }

    #[test]
    fn bytes_that_are_no_json_end_the_walk() {
        for line in [
            "",
            "{",
            "{\"",
            "{\"a",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":}",
            "{\"a\":\"\\",
            "{\"a\":[[[",
            "{,}",
            "]",
        ] {
            assert_eq!(Items::of(line.as_bytes()).count(), 0, "{line}");
        }
        assert_eq!(decoded(b"\\"), "\u{fffd}");
        assert_eq!(decoded(b"\\u12"), "\u{fffd}12");
    }

    #[test]
    fn the_first_of_equal_keys_is_found() {
        let line = br#"{"a":1,"\u0061":2,"b":{"a":3}}"#;
        assert_eq!(member(line, "a"), Some(&b"1"[..]));
        assert_eq!(member(br#"{"\u0061":2,"a":1}"#, "a"), Some(&b"2"[..]));
        assert_eq!(member(line, "c"), None);
        assert_eq!(member(b"[1]", ""), None);
    }
}
