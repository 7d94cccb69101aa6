//! Reading the text of a query from left to right: characters, phrases, words, operators and keywords.
//!
//! Owns: where one element of the text ends, and the form of an error at a place. Promises: never beyond the text,
//! always at a character's boundary. Leaves to others: what the elements mean ([`parser`](super::parser)).

use crate::filter::error::RuleError;
use crate::filter::tree::Compare;
use std::ops::Range;

/// The text and how much of it has been read.
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

/// What a condition says about how a text or number is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    /// Nothing: begins with, whatever the case.
    Begins,
    /// `=`: begins with; between numbers, equals.
    BeginsCase,
    /// `==`: is, whatever the case.
    Is,
    /// `===`: is.
    IsCase,
    /// `>`, `>=`, `<`, `<=`.
    Number(Compare),
}

/// A word or phrase of the query.
pub(super) struct Text {
    /// Without quotes and escapes; never empty.
    pub(super) text: Box<str>,
    /// It was a phrase, so that nothing in it has a meaning of its own.
    pub(super) quoted: bool,
    /// With its quotes.
    pub(super) span: Range<usize>,
}

/// Longest first, so that the first that fits is the one meant.
const OPERATORS: [(&str, Operator); 7] = [
    ("===", Operator::IsCase),
    ("==", Operator::Is),
    ("=", Operator::BeginsCase),
    (">=", Operator::Number(Compare::GreaterEqual)),
    ("<=", Operator::Number(Compare::LessEqual)),
    (">", Operator::Number(Compare::Greater)),
    ("<", Operator::Number(Compare::Less)),
];

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Goes back to a place that [`Cursor::at`] gave.
    pub(super) fn rewind(&mut self, at: usize) {
        self.at = at;
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Reads the next character if it is this one.
    pub(super) fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    pub(super) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = rest.trim_start_matches(wanted);
        let read = &rest[..rest.len() - taken.len()];
        self.at += read.len();
        read
    }

    pub(super) fn skip_white_space(&mut self) {
        self.take_while(char::is_whitespace);
    }

    /// White space, `)` or the end follows: an element of the query may end here.
    pub(super) fn at_delimiter(&self) -> bool {
        self.peek()
            .is_none_or(|next| next.is_whitespace() || next == ')')
    }

    /// `AND` or `OR` follows as a whole word.
    pub(super) fn keyword(&self) -> Option<&'static str> {
        ["AND", "OR"].into_iter().find(|keyword| {
            self.rest().strip_prefix(keyword).is_some_and(|behind| {
                behind.is_empty()
                    || behind.starts_with(|next: char| next.is_whitespace() || "()".contains(next))
            })
        })
    }

    /// Reads this keyword if it follows as a whole word.
    pub(super) fn take_keyword(&mut self, wanted: &str) -> bool {
        let found = self.keyword() == Some(wanted);
        if found {
            self.at += wanted.len();
        }
        found
    }

    /// Reads the operator that follows.
    pub(super) fn operator(&mut self) -> Operator {
        let rest = self.rest();
        let found = OPERATORS
            .iter()
            .find(|(symbol, _)| rest.starts_with(symbol));
        found.map_or(Operator::Begins, |(symbol, operator)| {
            self.at += symbol.len();
            *operator
        })
    }

    /// Reads a phrase or an unquoted word and checks that it ends where an element may end.
    ///
    /// # Errors
    /// None follows (`expected` says what was wanted), it is empty or runs into what only a phrase can hold.
    pub(super) fn text(&mut self, expected: &str) -> Result<Text, RuleError> {
        let start = self.at;
        let quoted = self.peek() == Some('"');
        let text = if quoted {
            self.phrase()?
        } else {
            self.take_while(|next| !is_end_of_word(next)).to_owned()
        };
        if !self.at_delimiter() {
            let expected = if self.at == start {
                expected
            } else {
                "white space or `)`"
            };
            return Err(self.unexpected(
                expected,
                Some("a text that holds white space, quotes or parentheses goes between double quotes: `\"a (b)\"`"),
            ));
        }
        if text.is_empty() && quoted {
            return Err(self.error(start..self.at, "this text is empty", None));
        }
        if text.is_empty() {
            return Err(self.unexpected(expected, None));
        }
        Ok(Text {
            text: text.into(),
            quoted,
            span: start..self.at,
        })
    }

    /// A phrase with its quotes. `\"` and `\\` are a quote and a backslash, everything else stands for itself.
    fn phrase(&mut self) -> Result<String, RuleError> {
        let start = self.at;
        self.at += '"'.len_utf8();
        let mut text = String::new();
        loop {
            text.push_str(self.take_while(|next| next != '"' && next != '\\'));
            if self.take('"') {
                return Ok(text);
            }
            if !self.take('\\') {
                return Err(self.error(start..start + 1, "this `\"` is not closed", None));
            }
            match self.peek() {
                Some(escaped @ ('"' | '\\')) => {
                    self.take(escaped);
                    text.push(escaped);
                }
                _ => text.push('\\'),
            }
        }
    }

    /// An error that says what stands here instead of what was expected.
    pub(super) fn unexpected(&self, expected: &str, suggestion: Option<&str>) -> RuleError {
        let (found, length) = match (self.keyword(), self.peek()) {
            (Some(keyword), _) => (format!("`{keyword}`"), keyword.len()),
            (None, None) => ("the end of the query".to_owned(), 0),
            (None, Some(next)) => {
                let found = match next {
                    _ if next.is_whitespace() => "white space".to_owned(),
                    _ if next.is_control() => "a control character".to_owned(),
                    _ => format!("`{next}`"),
                };
                (found, next.len_utf8())
            }
        };
        self.error(
            self.at..self.at + length,
            &format!("expected {expected}, found {found}"),
            suggestion,
        )
    }

    /// An error about these bytes of the query.
    pub(super) fn error(
        &self,
        span: Range<usize>,
        message: &str,
        suggestion: Option<&str>,
    ) -> RuleError {
        RuleError {
            message: message.to_owned(),
            span,
            suggestion: suggestion.map(str::to_owned),
            rule: self.text.into(),
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }
}

/// Ends an unquoted word or the name of a field. Parentheses and quotes in the middle of one are refused, since it
/// cannot be told what they were meant for.
pub(super) fn is_end_of_word(next: char) -> bool {
    next.is_whitespace() || matches!(next, '(' | ')' | '"')
}

/// A number in JSON's form (RFC 8259, section 6): no leading `+` or zeros, digits on both sides of the point.
pub(super) fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = text
        .split_once(['e', 'E'])
        .map_or((text, None), |(mantissa, exponent)| {
            (mantissa, Some(exponent))
        });
    let mantissa = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, fraction) = mantissa
        .split_once('.')
        .map_or((mantissa, None), |(whole, fraction)| {
            (whole, Some(fraction))
        });
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent
            .is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}
