//! Is a line one complete JSON object? Full validation at a fraction of a nanosecond a byte.
//!
//! Owns: the decision which bytes are an event. Accepted is exactly one JSON object by RFC 8259, with optional JSON
//! white space around it, in UTF-8 throughout, nested at most [`NESTING_DEPTH_MAX`]
//! deep. Accepted as the grammar has it, though some parsers refuse them: lone surrogate escapes (`"\ud800"`),
//! numbers beyond any machine type (`1e999`), duplicate keys. A byte order mark is refused.
//!
//! Promises: no allocation, no recursion, nothing read outside the line, time linear in its length. `bits` answers
//! up to 512 bytes at a time where the CPU allows; its "no" is only a question to `scalar`, which decides and explains.
//! So wrong lines cost more than good ones, about 1 ns a byte.
//!
//! Leaves to others: lengths, empty lines and what becomes of a refused line (`admission`).

mod bits;
mod scalar;
#[cfg(test)]
mod tests;

use crate::limits::NESTING_DEPTH_MAX;
use crate::os::simd::Level;
use std::fmt;

/// Checks that `line` is exactly one JSON object, with the widest instructions of this CPU.
///
/// # Errors
/// [`Malformed`] with the place of the first byte that cannot belong to one.
#[inline]
pub fn validate(line: &[u8]) -> Result<(), Malformed> {
    Validator::new().validate(line)
}

/// A validator bound to one set of instructions. Holds no memory; copy it freely.
#[derive(Clone, Copy, Debug)]
pub struct Validator {
    level: Option<Level>,
}

impl Default for Validator {
    fn default() -> Self {
        Self::new()
    }
}

impl Validator {
    /// With the widest instructions of this CPU.
    #[inline]
    pub fn new() -> Self {
        Self {
            level: Level::best(),
        }
    }

    /// With the given instructions; `None` is the portable parser. For tests and benches.
    pub fn with_level(level: Option<Level>) -> Self {
        Self { level }
    }

    /// As [`validate`].
    ///
    /// # Errors
    /// As [`validate`].
    #[inline]
    pub fn validate(&self, line: &[u8]) -> Result<(), Malformed> {
        let Some(level) = self.level else {
            return scalar::validate(line);
        };
        if is_object(level, line) {
            Ok(())
        } else {
            explain(line)
        }
    }

    /// Looks at the ends only: the first byte that is no white space must be `{`, the last `}`.
    ///
    /// # Errors
    /// [`Malformed`] with [`MalformedKind::ObjectExpected`] or [`MalformedKind::UnexpectedEnd`].
    pub fn validate_ends(&self, line: &[u8]) -> Result<(), Malformed> {
        let start = line
            .iter()
            .take_while(|byte| scalar::is_space(**byte))
            .count();
        match trim(line) {
            [b'{', .., b'}'] => Ok(()),
            [b'{', ..] => Err(Malformed {
                at: line.len(),
                what: MalformedKind::UnexpectedEnd,
            }),
            _ => Err(Malformed {
                at: start,
                what: MalformedKind::ObjectExpected,
            }),
        }
    }
}

/// Yes for certain, or not.
fn is_object(level: Level, line: &[u8]) -> bool {
    let trimmed = trim(line);
    let (Some(b'{'), Some(b'}')) = (trimmed.first(), trimmed.last()) else {
        return false;
    };
    match level.run(bits::CheckLine(trimmed)) {
        bits::Answer::Valid => true,
        bits::Answer::ValidIfUtf8From(at) => std::str::from_utf8(&trimmed[at..]).is_ok(),
        bits::Answer::Unsure => false,
    }
}

/// The scalar parser has the last word on what the vector pass did not accept.
#[cold]
fn explain(line: &[u8]) -> Result<(), Malformed> {
    scalar::validate(line)
}

/// Entry of the fuzz target: every level must say of `line` what the scalar parser says.
///
/// # Panics
/// When one does not.
#[doc(hidden)]
pub fn fuzz_validate(line: &[u8]) {
    let expected = scalar::validate(line);
    for level in Level::available() {
        let validator = Validator::with_level(Some(level));
        assert_eq!(validator.validate(line), expected, "{}", level.name());
        assert!(
            expected.is_ok() || !is_object(level, line),
            "{} accepts",
            level.name()
        );
    }
}

fn trim(line: &[u8]) -> &[u8] {
    let mut trimmed = line;
    while let [first, rest @ ..] = trimmed
        && scalar::is_space(*first)
    {
        trimmed = rest;
    }
    while let [rest @ .., last] = trimmed
        && scalar::is_space(*last)
    {
        trimmed = rest;
    }
    trimmed
}

/// Why a line is not one JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Malformed {
    /// Place in the line, in bytes from 0; its length when the line ended too early.
    pub at: usize,
    /// What was expected there.
    pub what: MalformedKind,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.at, self.what)
    }
}

/// What was expected where a line stopped being JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedKind {
    /// The line does not begin with `{`.
    ObjectExpected,
    /// Something follows the object.
    Trailing,
    /// Neither a value nor anything that could begin one.
    ValueExpected,
    /// An object's key must be a string.
    KeyExpected,
    /// Between a key and its value.
    ColonExpected,
    /// After a value in an object.
    CommaOrBraceExpected,
    /// After a value in an array.
    CommaOrBracketExpected,
    /// A word that is neither `true`, `false` nor `null`.
    LiteralUnknown,
    /// A number needs a digit here.
    DigitExpected,
    /// A number such as `012`.
    LeadingZero,
    /// A raw byte below 0x20 in a string.
    ControlInString,
    /// A backslash with a byte behind it that JSON has no meaning for.
    EscapeUnknown,
    /// `\u` wants four of them.
    HexDigitExpected,
    /// The line ends within a string.
    UnclosedString,
    /// The line ends before the object does.
    UnexpectedEnd,
    /// More open containers than [`NESTING_DEPTH_MAX`].
    TooDeep,
    /// Not UTF-8.
    NotUtf8,
}

impl fmt::Display for MalformedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::ObjectExpected => "expected `{`: an event is one JSON object",
            Self::Trailing => "expected the end of the line after the object",
            Self::ValueExpected => "expected a value",
            Self::KeyExpected => "expected a key in double quotes",
            Self::ColonExpected => "expected `:` after the key",
            Self::CommaOrBraceExpected => "expected `,` or `}` after the value",
            Self::CommaOrBracketExpected => "expected `,` or `]` after the value",
            Self::LiteralUnknown => "expected `true`, `false` or `null`",
            Self::DigitExpected => "expected a digit",
            Self::LeadingZero => "a number may not begin with 0 and another digit",
            Self::ControlInString => "a control character in a string must be escaped",
            Self::EscapeUnknown => r#"expected one of " \ / b f n r t u after the backslash"#,
            Self::HexDigitExpected => r"expected four hex digits after \u",
            Self::UnclosedString => "the line ends within a string",
            Self::UnexpectedEnd => "the line ends before the object is closed",
            Self::TooDeep => return write!(f, "nested more than {NESTING_DEPTH_MAX} deep"),
            Self::NotUtf8 => "not valid UTF-8",
        };
        f.write_str(words)
    }
}
