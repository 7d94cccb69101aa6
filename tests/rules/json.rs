//! A JSON text as a full tree: slow and obvious.
//!
//! Owns: reading one JSON text by RFC 8259, every key in its order with its duplicates, the raw text and the decoded
//! text of every value. Promises: nothing is left out and nothing normalised; a text that is no JSON gives `None`.
//! Shares no code with the rule engine.

use std::ops::Range;

/// A JSON text, its decoded form and its tree.
#[derive(Debug)]
pub(crate) struct Document {
    /// The text as it is.
    pub(crate) text: String,
    /// The text with every escape inside strings decoded in place; quotes stay.
    pub(crate) decoded: String,
    /// The one value in it.
    pub(crate) root: Node,
}

/// One value.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Bytes of [`Document::text`].
    raw: Range<usize>,
    /// Bytes of [`Document::decoded`].
    decoded: Range<usize>,
}

/// What a value is.
#[derive(Debug)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number,
    /// Decoded; a lone surrogate is U+FFFD.
    String(String),
    Array(Vec<Node>),
    /// Keys are decoded; in order, with duplicates.
    Object(Vec<(String, Node)>),
}

impl Document {
    /// Reads a text that is one JSON value with optional white space around it.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut reader = Reader {
            text: std::str::from_utf8(text).ok()?,
            at: 0,
            decoded: String::new(),
        };
        reader.space();
        let root = reader.value()?;
        reader.space();
        (reader.at == text.len()).then_some(Self {
            text: reader.text.to_owned(),
            decoded: reader.decoded,
            root,
        })
    }

    /// The value's own characters.
    pub(crate) fn raw(&self, node: &Node) -> &str {
        &self.text[node.raw.clone()]
    }

    /// The value's own characters with the escapes in its strings decoded.
    pub(crate) fn decoded(&self, node: &Node) -> &str {
        &self.decoded[node.decoded.clone()]
    }

    /// Follows a path from the top: the first of equal keys wins; a step into anything but an object finds nothing.
    pub(crate) fn find(&self, path: &[Box<str>]) -> Option<&Node> {
        let mut node = &self.root;
        for segment in path {
            let Kind::Object(members) = &node.kind else {
                return None;
            };
            node = &members.iter().find(|(key, _)| **key == **segment)?.1;
        }
        Some(node)
    }

    /// True when an object on the way of [`Document::find`] holds the next key more than once.
    pub(crate) fn is_ambiguous(&self, path: &[Box<str>]) -> bool {
        let mut node = &self.root;
        for segment in path {
            let Kind::Object(members) = &node.kind else {
                return false;
            };
            let mut equal = members.iter().filter(|(key, _)| **key == **segment);
            let Some((_, first)) = equal.next() else {
                return false;
            };
            if equal.next().is_some() {
                return true;
            }
            node = first;
        }
        false
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    decoded: String,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    /// Takes the next character, whatever it is, without decoding it.
    fn take(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Takes this character as it is.
    fn expect(&mut self, wanted: char) -> Option<()> {
        (self.take()? == wanted).then(|| self.decoded.push(wanted))
    }

    fn space(&mut self) {
        while let Some(space @ (' ' | '\t' | '\r' | '\n')) = self.peek() {
            self.take();
            self.decoded.push(space);
        }
    }

    fn value(&mut self) -> Option<Node> {
        let (raw, decoded) = (self.at, self.decoded.len());
        let kind = match self.peek()? {
            '{' => self.object()?,
            '[' => self.array()?,
            '"' => Kind::String(self.string()?),
            _ => self.word()?,
        };
        Some(Node {
            kind,
            raw: raw..self.at,
            decoded: decoded..self.decoded.len(),
        })
    }

    fn object(&mut self) -> Option<Kind> {
        let mut members = Vec::new();
        self.expect('{')?;
        self.space();
        while self.peek()? != '}' {
            if !members.is_empty() {
                self.expect(',')?;
                self.space();
            }
            let key = self.string()?;
            self.space();
            self.expect(':')?;
            self.space();
            members.push((key, self.value()?));
            self.space();
        }
        self.expect('}')?;
        Some(Kind::Object(members))
    }

    fn array(&mut self) -> Option<Kind> {
        let mut elements = Vec::new();
        self.expect('[')?;
        self.space();
        while self.peek()? != ']' {
            if !elements.is_empty() {
                self.expect(',')?;
                self.space();
            }
            elements.push(self.value()?);
            self.space();
        }
        self.expect(']')?;
        Some(Kind::Array(elements))
    }

    /// `null`, `true`, `false` or a number.
    fn word(&mut self) -> Option<Kind> {
        let start = self.at;
        while self
            .peek()
            .is_some_and(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        {
            self.take();
        }
        let word = &self.text[start..self.at];
        self.decoded.push_str(word);
        match word {
            "null" => Some(Kind::Null),
            "true" => Some(Kind::Bool(true)),
            "false" => Some(Kind::Bool(false)),
            _ => is_number(word).then_some(Kind::Number),
        }
    }

    fn string(&mut self) -> Option<String> {
        self.expect('"')?;
        let start = self.decoded.len();
        loop {
            match self.take()? {
                '"' => break,
                '\\' => {
                    let character = self.escape()?;
                    self.decoded.push(character);
                }
                control if control < ' ' => return None,
                other => self.decoded.push(other),
            }
        }
        let text = self.decoded[start..].to_owned();
        self.decoded.push('"');
        Some(text)
    }

    /// What stands behind a backslash.
    fn escape(&mut self) -> Option<char> {
        Some(match self.take()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => self.code_unit_escape()?,
            same @ ('"' | '\\' | '/') => same,
            _ => return None,
        })
    }

    /// What stands behind `\u`: a character, or the first half of a surrogate pair with the second behind it.
    fn code_unit_escape(&mut self) -> Option<char> {
        let first = self.code_unit()?;
        if let Some(character) = char::from_u32(first) {
            return Some(character);
        }
        let behind = self.at;
        if first < 0xdc00 && self.take() == Some('\\') && self.take() == Some('u') {
            let second = self.code_unit()?;
            if (0xdc00..0xe000).contains(&second) {
                return char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
            }
        }
        self.at = behind;
        Some('\u{fffd}')
    }

    fn code_unit(&mut self) -> Option<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            unit = unit * 16 + self.take()?.to_digit(16)?;
        }
        Some(unit)
    }
}

/// True for a number as RFC 8259 writes it, and nothing else.
pub(crate) fn is_number(text: &str) -> bool {
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (integer, fraction) = match mantissa.split_once('.') {
        Some((integer, fraction)) => (integer, Some(fraction)),
        None => (mantissa, None),
    };
    let integer = integer.strip_prefix('-').unwrap_or(integer);
    let exponent_digits = exponent.map(|e| e.strip_prefix(['+', '-']).unwrap_or(e));
    all_digits(integer)
        && (integer == "0" || !integer.starts_with('0'))
        && fraction.is_none_or(all_digits)
        && exponent_digits.is_none_or(all_digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(keys: &[&str]) -> Vec<Box<str>> {
        keys.iter().map(|&key| key.into()).collect()
    }

    #[test]
    fn a_text_is_decoded_in_place() {
        let check = |text: &str, decoded: &str| {
            let document = Document::parse(text.as_bytes()).unwrap();
            assert_eq!(document.decoded, decoded, "{text}");
            assert_eq!(document.text, text);
        };
        check(r#" { "a" : [ 1 , "b" ] } "#, r#" { "a" : [ 1 , "b" ] } "#);
        check(
            r#"{"\u0061":"\"\\\/\b\f\n\r\t"}"#,
            "{\"a\":\"\"\\/\u{8}\u{c}\n\r\t\"}",
        );
        check(r#"{"a":"\ud83d\ude00"}"#, "{\"a\":\"😀\"}");
        check(r#"{"a":"\ud83dx"}"#, "{\"a\":\"\u{fffd}x\"}");
        check(r#"{"a":"\ud83d\u0041"}"#, "{\"a\":\"\u{fffd}A\"}");
        check(r#"{"a":"\ud83d\ud83d\ude00"}"#, "{\"a\":\"\u{fffd}😀\"}");
        check(r#"{"a":"\ude00\ud83d"}"#, "{\"a\":\"\u{fffd}\u{fffd}\"}");
        check(r#"{"a":"\u0000"}"#, "{\"a\":\"\0\"}");
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            "{",
            "{}x",
            "{,}",
            "{\"a\":1,}",
            "[1 2]",
            "[1,]",
            "nul",
            "{\"a\"}",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "{a:1}",
        ] {
            assert!(Document::parse(text.as_bytes()).is_none(), "{text}");
        }
        assert!(Document::parse(b"\"\xff\"").is_none());
    }

    #[test]
    fn a_path_takes_the_first_of_equal_keys() {
        let check = |text: &str, keys: &[&str], raw: Option<&str>, ambiguous: bool| {
            let document = Document::parse(text.as_bytes()).unwrap();
            let keys = path(keys);
            let found = document.find(&keys).map(|node| document.raw(node));
            assert_eq!(found, raw, "{text}");
            assert_eq!(document.is_ambiguous(&keys), ambiguous, "{text}");
        };
        check(r#"{"a":1}"#, &[], Some(r#"{"a":1}"#), false);
        check(r#"{"a":1,"a":2}"#, &["a"], Some("1"), true);
        check(r#"{"a":1,"\u0061":2}"#, &["a"], Some("1"), true);
        check(r#"{"a":1,"a":{"b":2}}"#, &["a", "b"], None, true);
        check(
            r#"{"a":{"b":2},"c":1,"c":2}"#,
            &["a", "b"],
            Some("2"),
            false,
        );
        check(r#"{"a":{"b":2,"b":3}}"#, &["a", "b"], Some("2"), true);
        check(
            r#"{"a":{"b":2,"b":3}}"#,
            &["a"],
            Some(r#"{"b":2,"b":3}"#),
            false,
        );
        check(r#"{"a":[{"b":2}]}"#, &["a", "b"], None, false);
        check(r#"{"":{"":"x"}}"#, &["", ""], Some("\"x\""), false);
        check(r#"{"x":{"a":1},"x":{"a":1}}"#, &["y", "a"], None, false);
    }

    #[test]
    fn raw_and_decoded_spans_belong_to_the_value() {
        let text = "{\"a\\n\": [ \"\\u00e9\" , 1.50 ] }";
        let document = Document::parse(text.as_bytes()).unwrap();
        let node = document.find(&path(&["a\n"])).unwrap();
        assert_eq!(document.raw(node), "[ \"\\u00e9\" , 1.50 ]");
        assert_eq!(document.decoded(node), "[ \"é\" , 1.50 ]");
    }
}
