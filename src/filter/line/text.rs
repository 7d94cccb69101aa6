//! Text of events: escapes decoded, letters folded, terms searched.
//!
//! Owns: what the characters of a JSON string are, and where a [`Term`] stands in a text. Promises: decoding never
//! fails; a lone surrogate is U+FFFD, and what is no escape stays as it is. Leaves to others: where strings are, and the
//! search of ASCII text in any case ([`pair`](super::pair)).

use std::borrow::Cow;

use memchr::memmem::Finder;

use super::pair::PairSearch;
use crate::filter::tree::{Place, Term, fold};
use crate::os::simd::Level;

/// Appends the characters that the inside of a JSON string stands for, as UTF-8.
pub fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let taken = unescape_one(rest, out);
        rest = &rest[taken..];
    }
    out.extend_from_slice(rest);
}

/// The text of the inside of a JSON string: the bytes themselves unless it has escapes.
#[must_use]
pub fn unescaped(raw: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    unescape(raw, &mut out);
    Cow::Owned(out)
}

/// As [`unescaped`], as a `str`; bytes that are no UTF-8 become U+FFFD.
pub(in crate::filter) fn unescaped_str(raw: &[u8]) -> Cow<'_, str> {
    match unescaped(raw) {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }),
    }
}

/// Decodes the escape at the beginning of `rest`; returns its length.
fn unescape_one(rest: &[u8], out: &mut Vec<u8>) -> usize {
    let character = match rest.get(1) {
        Some(b'u') => return unescape_unicode(rest, out),
        Some(b'b') => 0x08,
        Some(b'f') => 0x0c,
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(character @ (b'"' | b'\\' | b'/')) => *character,
        _ => {
            out.push(b'\\');
            return 1;
        }
    };
    out.push(character);
    2
}

fn unescape_unicode(rest: &[u8], out: &mut Vec<u8>) -> usize {
    let Some(unit) = code_unit(rest) else {
        out.push(b'\\');
        return 1;
    };
    let (code, taken) = match unit {
        0xd800..=0xdbff => match code_unit(&rest[6..]) {
            Some(low @ 0xdc00..=0xdfff) => {
                (0x1_0000 + ((unit - 0xd800) << 10 | (low - 0xdc00)), 12)
            }
            _ => (unit, 6),
        },
        _ => (unit, 6),
    };
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    taken
}

/// The number of a `\uXXXX` at the beginning.
fn code_unit(rest: &[u8]) -> Option<u32> {
    let [b'\\', b'u', digits @ ..] = rest else {
        return None;
    };
    digits.get(..4)?.iter().try_fold(0, |unit, digit| {
        Some(unit << 4 | char::from(*digit).to_digit(16)?)
    })
}

/// [`fold`] of every character.
pub(in crate::filter) fn folded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            let character = fold(character);
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        out.extend_from_slice(chunk.invalid());
    }
    out
}

/// A term made ready to be looked for.
#[derive(Debug, Clone)]
pub(in crate::filter) struct Search {
    /// The term, folded when case does not matter.
    term: Box<[u8]>,
    place: Place,
    /// The term's first, and last, character is a word character: tokens must not run on beyond it.
    first_is_word: bool,
    last_is_word: bool,
    way: Way,
}

#[derive(Debug, Clone)]
enum Way {
    /// Byte for byte.
    Exact(Finder<'static>),
    /// An ASCII term in any case.
    AnyCase(PairSearch),
    /// A term with other letters: in the folded text.
    Folded(Finder<'static>),
}

impl Search {
    pub(in crate::filter) fn new(term: &Term) -> Self {
        let text = term.text.as_bytes();
        let is_word = |character: Option<char>| character.is_some_and(is_word_character);
        let (folded, way) = if !term.ignore_case || text.is_empty() {
            (text.to_vec(), Way::Exact(Finder::new(text).into_owned()))
        } else if text.is_ascii() {
            let lower = text.to_ascii_lowercase();
            let search = PairSearch::new(&lower);
            (lower, Way::AnyCase(search))
        } else {
            let folded = folded(text);
            let finder = Finder::new(&folded).into_owned();
            (folded, Way::Folded(finder))
        };
        Self {
            term: folded.into(),
            place: term.place,
            first_is_word: is_word(term.text.chars().next()),
            last_is_word: is_word(term.text.chars().next_back()),
            way,
        }
    }

    /// The term, if its case matters.
    pub(in crate::filter) fn exact(&self) -> Option<&[u8]> {
        matches!(self.way, Way::Exact(_)).then_some(&*self.term)
    }

    /// True when the term stands in `text` where it has to.
    pub(in crate::filter) fn is_in(&self, level: Option<Level>, text: &[u8]) -> bool {
        match &self.way {
            Way::Folded(finder) => {
                // The term has a letter that is not ASCII, and folding makes none.
                if text.is_ascii() {
                    return false;
                }
                self.placed(
                    &folded(text),
                    |term, text| term == text,
                    finder_from(finder),
                )
            }
            Way::Exact(finder) => self.placed(text, |term, text| term == text, finder_from(finder)),
            Way::AnyCase(search) => {
                self.placed(text, <[u8]>::eq_ignore_ascii_case, |text, from| {
                    search.find(level, text, from)
                })
            }
        }
    }

    #[inline]
    fn placed(
        &self,
        text: &[u8],
        equal: impl Fn(&[u8], &[u8]) -> bool,
        find: impl Fn(&[u8], usize) -> Option<usize>,
    ) -> bool {
        let length = self.term.len();
        if length == 0 && self.place != Place::Whole {
            return true;
        }
        match self.place {
            Place::Whole => equal(&self.term, text),
            Place::Prefix => text
                .get(..length)
                .is_some_and(|start| equal(&self.term, start)),
            Place::Substring => find(text, 0).is_some(),
            Place::TokenPrefix | Place::Token => {
                let mut from = 0;
                while let Some(start) = find(text, from) {
                    if self.begins_token(text, start)
                        && (self.place == Place::TokenPrefix
                            || self.ends_token(text, start + length))
                    {
                        return true;
                    }
                    from = start + 1;
                }
                false
            }
        }
    }

    fn begins_token(&self, text: &[u8], start: usize) -> bool {
        !self.first_is_word || !ends_with_word(&text[..start])
    }

    fn ends_token(&self, text: &[u8], end: usize) -> bool {
        !self.last_is_word || !begins_with_word(&text[end..])
    }
}

impl std::fmt::Display for Search {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = match self.place {
            Place::Whole => "as a whole",
            Place::Prefix => "in front",
            Place::TokenPrefix => "where a word begins",
            Place::Token => "as a word",
            Place::Substring => "somewhere",
        };
        let case = match self.way {
            Way::Exact(_) => "",
            Way::AnyCase(_) | Way::Folded(_) => " in any case",
        };
        write!(f, "{:?} {place}{case}", String::from_utf8_lossy(&self.term))
    }
}

fn finder_from(finder: &Finder<'static>) -> impl Fn(&[u8], usize) -> Option<usize> {
    move |text, from| finder.find(text.get(from..)?).map(|found| from + found)
}

fn is_word_character(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

fn begins_with_word(text: &[u8]) -> bool {
    match text.first() {
        Some(byte) if byte.is_ascii() => is_word_character(char::from(*byte)),
        Some(_) => (2..=4)
            .filter_map(|length| std::str::from_utf8(text.get(..length)?).ok())
            .next()
            .and_then(|text| text.chars().next())
            .is_some_and(is_word_character),
        None => false,
    }
}

fn ends_with_word(text: &[u8]) -> bool {
    match text.last() {
        Some(byte) if byte.is_ascii() => is_word_character(char::from(*byte)),
        Some(_) => (2..=4)
            .filter_map(|length| std::str::from_utf8(&text[text.len().checked_sub(length)?..]).ok())
            .next()
            .and_then(|text| text.chars().next_back())
            .is_some_and(is_word_character),
        None => false,
    }
}
