//! The slow, obvious parser: one byte after the other, RFC 8259 as written.
//!
//! Owns: the words and the place of an error, and the answer on CPUs without vector instructions. Promises: no
//! recursion, no allocation, and a stop at the first byte that cannot belong to one JSON object. Leaves UTF-8 to the
//! standard library, but reports whichever of both errors comes first.

use super::{Malformed, MalformedKind};
use crate::limits::NESTING_DEPTH_MAX;

/// Accepts exactly one JSON object with optional white space around it, in UTF-8.
pub(super) fn validate(line: &[u8]) -> Result<(), Malformed> {
    let utf8_error = std::str::from_utf8(line).err();
    match (
        Parser {
            line,
            at: 0,
            open: Containers::default(),
        }
        .document(),
        utf8_error,
    ) {
        (Err(grammar), Some(utf8)) if grammar.at < utf8.valid_up_to() => Err(grammar),
        (_, Some(utf8)) => Err(Malformed {
            at: utf8.valid_up_to(),
            what: MalformedKind::NotUtf8,
        }),
        (answer, None) => answer,
    }
}

/// True for the bytes that may stand right behind a number or literal, and for none of its own.
#[inline]
pub(super) fn ends_scalar(byte: u8) -> bool {
    ENDS_SCALAR[usize::from(byte)]
}

const ENDS_SCALAR: [bool; 256] = {
    let (mut table, mut at, enders) = ([false; 256], 0, b" \t\n\r,:[]{}\"");
    while at < enders.len() {
        table[enders[at] as usize] = true;
        at += 1;
    }
    table
};

/// The end of the number or literal that begins at `at`.
pub(super) fn skip_scalar(line: &[u8], at: usize) -> Result<usize, Malformed> {
    match line.get(at) {
        Some(b't') => literal(line, at, b"true"),
        Some(b'f') => literal(line, at, b"false"),
        Some(b'n') => literal(line, at, b"null"),
        Some(b'-' | b'0'..=b'9') => number(line, at),
        _ => Err(malformed(line, at, MalformedKind::ValueExpected)),
    }
}

struct Parser<'a> {
    line: &'a [u8],
    at: usize,
    open: Containers,
}

/// What may come next.
enum Next {
    Value,
    ElementOrEnd,
    KeyOrEnd,
    Key,
    CommaOrEnd,
}

impl Parser<'_> {
    fn document(mut self) -> Result<(), Malformed> {
        self.skip_space();
        if self.peek() != Some(b'{') {
            return Err(self.wrong(MalformedKind::ObjectExpected));
        }
        let mut next = Next::Value;
        loop {
            self.skip_space();
            next = match next {
                Next::Value => self.value()?,
                Next::ElementOrEnd if self.peek() == Some(b']') => self.close(),
                Next::ElementOrEnd => self.value()?,
                Next::KeyOrEnd if self.peek() == Some(b'}') => self.close(),
                Next::KeyOrEnd | Next::Key => self.key()?,
                Next::CommaOrEnd => match (self.open.innermost(), self.peek()) {
                    (None, None) => return Ok(()),
                    (None, Some(_)) => return Err(self.wrong(MalformedKind::Trailing)),
                    (Some(Container::Object), Some(b'}'))
                    | (Some(Container::Array), Some(b']')) => self.close(),
                    (Some(Container::Object), Some(b',')) => self.pass(Next::Key),
                    (Some(Container::Array), Some(b',')) => self.pass(Next::Value),
                    (Some(Container::Object), _) => {
                        return Err(self.wrong(MalformedKind::CommaOrBraceExpected));
                    }
                    (Some(Container::Array), _) => {
                        return Err(self.wrong(MalformedKind::CommaOrBracketExpected));
                    }
                },
            };
        }
    }

    fn value(&mut self) -> Result<Next, Malformed> {
        match self.peek() {
            Some(b'{') => self.enter(Container::Object),
            Some(b'[') => self.enter(Container::Array),
            Some(b'"') => {
                self.string()?;
                Ok(Next::CommaOrEnd)
            }
            _ => {
                self.at = skip_scalar(self.line, self.at)?;
                Ok(Next::CommaOrEnd)
            }
        }
    }

    fn key(&mut self) -> Result<Next, Malformed> {
        if self.peek() != Some(b'"') {
            return Err(self.wrong(MalformedKind::KeyExpected));
        }
        self.string()?;
        self.skip_space();
        match self.peek() {
            Some(b':') => Ok(self.pass(Next::Value)),
            _ => Err(self.wrong(MalformedKind::ColonExpected)),
        }
    }

    fn string(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err(self.wrong(MalformedKind::UnclosedString)),
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(0..0x20) => return Err(self.wrong(MalformedKind::ControlInString)),
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        Ok(())
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                for _ in 0..4 {
                    self.at += 1;
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(self.wrong(MalformedKind::HexDigitExpected));
                    }
                }
                self.at += 1;
            }
            _ => return Err(self.wrong(MalformedKind::EscapeUnknown)),
        }
        Ok(())
    }

    fn enter(&mut self, container: Container) -> Result<Next, Malformed> {
        if self.open.depth == NESTING_DEPTH_MAX {
            return Err(self.wrong(MalformedKind::TooDeep));
        }
        self.open.push(container);
        Ok(self.pass(match container {
            Container::Object => Next::KeyOrEnd,
            Container::Array => Next::ElementOrEnd,
        }))
    }

    fn close(&mut self) -> Next {
        self.open.pop();
        self.pass(Next::CommaOrEnd)
    }

    fn pass(&mut self, next: Next) -> Next {
        self.at += 1;
        next
    }

    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    fn wrong(&self, what: MalformedKind) -> Malformed {
        malformed(self.line, self.at, what)
    }
}

/// Where the line simply ends, that is the thing to say, but for a string, whose end has its own words.
fn malformed(line: &[u8], at: usize, what: MalformedKind) -> Malformed {
    match what {
        MalformedKind::UnclosedString | MalformedKind::ObjectExpected => Malformed { at, what },
        _ if at >= line.len() => Malformed {
            at: line.len(),
            what: MalformedKind::UnexpectedEnd,
        },
        _ => Malformed { at, what },
    }
}

fn literal(line: &[u8], at: usize, word: &[u8]) -> Result<usize, Malformed> {
    for (offset, expected) in word.iter().enumerate() {
        if line.get(at + offset) != Some(expected) {
            return Err(malformed(line, at + offset, MalformedKind::LiteralUnknown));
        }
    }
    Ok(at + word.len())
}

fn number(line: &[u8], at: usize) -> Result<usize, Malformed> {
    let mut end = at + usize::from(line.get(at) == Some(&b'-'));
    end = match line.get(end) {
        Some(b'0') if line.get(end + 1).is_some_and(u8::is_ascii_digit) => {
            return Err(malformed(line, end, MalformedKind::LeadingZero));
        }
        _ => digits(line, end)?,
    };
    if line.get(end) == Some(&b'.') {
        end = digits(line, end + 1)?;
    }
    if let Some(b'e' | b'E') = line.get(end) {
        let sign = matches!(line.get(end + 1), Some(b'+' | b'-'));
        end = digits(line, end + 1 + usize::from(sign))?;
    }
    Ok(end)
}

/// The end of at least one digit at `at`.
fn digits(line: &[u8], at: usize) -> Result<usize, Malformed> {
    let count = line
        .get(at..)
        .unwrap_or_default()
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if count == 0 {
        Err(malformed(line, at, MalformedKind::DigitExpected))
    } else {
        Ok(at + count)
    }
}

pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Object,
    Array,
}

/// The open containers, one bit each.
#[derive(Default)]
struct Containers {
    /// At most [`NESTING_DEPTH_MAX`].
    depth: usize,
    /// The innermost is the lowest bit: 1 for an array.
    kinds: u128,
}

const _: () = assert!(
    NESTING_DEPTH_MAX <= u128::BITS as usize,
    "one bit per open container"
);

impl Containers {
    fn push(&mut self, container: Container) {
        self.depth += 1;
        self.kinds = self.kinds << 1 | u128::from(container == Container::Array);
    }

    fn pop(&mut self) {
        self.depth -= 1;
        self.kinds >>= 1;
    }

    fn innermost(&self) -> Option<Container> {
        match (self.depth, self.kinds & 1) {
            (0, _) => None,
            (_, 1) => Some(Container::Array),
            _ => Some(Container::Object),
        }
    }
}
