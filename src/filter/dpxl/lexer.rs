//! Tokens of a DPXL text.
//!
//! Owns: literals, symbols, white space and comments. Promises: tokens cover the text in order, on character boundaries;
//! the last is [`Token::End`] or [`Token::Bad`], which tells what cannot be read. So an earlier mistake in the grammar is
//! reported before a later one in the letters. Leaves to others: how tokens follow each other.

use std::ops::Range;

use super::Problem;

/// A token and its bytes in the text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spanned {
    pub(super) token: Token,
    pub(super) span: Range<usize>,
}

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A key, a function, a word of the language; its text is that of its span.
    Name,
    /// `$d`, `$l`, `$m` and their long forms.
    Namespace(Namespace),
    /// Between single quotes, escapes decoded.
    String(Box<str>),
    /// In JSON's form, without sign.
    Number(Box<str>),
    /// Nanoseconds.
    Interval(i128),
    /// Between slashes, `\/` decoded.
    Regex(Box<str>),
    /// An operator or punctuation: one of [`SYMBOLS`].
    Symbol(&'static str),
    /// The end of the text.
    End,
    /// What cannot be read, and all behind it.
    Bad(Problem),
}

/// Where a key path begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Namespace {
    /// The event.
    Data,
    /// The labels.
    Labels,
    /// The metadata.
    Metadata,
}

/// Longer ones before their beginnings. The last group belongs to other languages; no grammar rule has them, so they are
/// refused where they stand, by `foreign`.
const SYMBOLS: [&str; 41] = [
    "===", "!==", "!~~", //
    "&&", "||", "==", "!=", "<=", ">=", "~~", "!~", "->", //
    "<>", "=~", "=>", ":=", "**", //
    "<", ">", "~", "!", "+", "-", "*", "/", "%", "(", ")", "[", "]", "{", "}", ",", ".", ":", "@",
    "=", "&", "|", ";", "?",
];

/// Cuts a text into tokens.
pub(super) fn tokens(text: &str) -> Vec<Spanned> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens: Vec<Spanned> = Vec::new();
    if let Err(problem) = lexer.prefix() {
        return vec![bad(problem)];
    }
    loop {
        lexer.skip_blank();
        let start = lexer.at;
        let value_before = tokens.last().is_some_and(|last| ends_value(&last.token));
        match lexer.token(value_before) {
            Ok(token) => {
                let end = token == Token::End;
                tokens.push(Spanned {
                    token,
                    span: start..lexer.at,
                });
                if end {
                    return tokens;
                }
            }
            Err(problem) => {
                tokens.push(bad(problem));
                return tokens;
            }
        }
    }
}

fn bad(problem: Problem) -> Spanned {
    Spanned {
        span: problem.span.clone(),
        token: Token::Bad(problem),
    }
}

/// A slash behind a value divides; elsewhere it begins a regular expression.
fn ends_value(token: &Token) -> bool {
    !matches!(token, Token::Symbol(symbol) if !matches!(*symbol, ")" | "]" | "}"))
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Bytes from here on whose characters all pass.
    fn run(&self, passes: impl Fn(char) -> bool) -> usize {
        let rest = self.rest();
        rest.find(|character| !passes(character))
            .unwrap_or(rest.len())
    }

    fn skip_blank(&mut self) {
        loop {
            self.at += self.run(char::is_whitespace);
            if self.peek() != Some('#') {
                return;
            }
            self.at += self.run(|character| character != '\n');
        }
    }

    /// The version, which may be left out.
    fn prefix(&mut self) -> Result<(), Problem> {
        self.skip_blank();
        let Some(version) = self.rest().strip_prefix("<v") else {
            return Ok(());
        };
        let digits = version
            .find(|character: char| !character.is_ascii_digit())
            .unwrap_or(version.len());
        if digits == 0 || !version[digits..].starts_with('>') {
            return Ok(());
        }
        let span = self.at..self.at + "<v".len() + digits + 1;
        if &version[..digits] != "1" {
            return Err(
                Problem::new("the only version known is `<v1>`", span).suggest("write `<v1>`")
            );
        }
        self.at = span.end;
        Ok(())
    }

    fn token(&mut self, value_before: bool) -> Result<Token, Problem> {
        let start = self.at;
        let Some(first) = self.peek() else {
            return Ok(Token::End);
        };
        match first {
            '\'' => self.string(),
            '/' if !value_before => self.regex(),
            '$' => self.namespace(),
            '0'..='9' => self.number_or_interval(),
            '_' => Ok(self.name()),
            _ if first.is_alphabetic() => Ok(self.name()),
            '"' | '“' | '”' | '‘' | '’' => Err(self.wrong_quotes(first)),
            '`' => Err(self
                .refused(1, "strings with values in them are not supported in rules")
                .suggest("did you mean single quotes, or `concat(a, b)`?")),
            _ => {
                let rest = self.rest();
                if let Some(symbol) = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
                    self.at = start + symbol.len();
                    return Ok(Token::Symbol(symbol));
                }
                let found = format!("`{}` is not understood", first.escape_debug());
                Err(self.refused(first.len_utf8(), found))
            }
        }
    }

    fn refused(&self, bytes: usize, message: impl Into<String>) -> Problem {
        Problem::new(message, self.at..self.at + bytes)
    }

    fn name(&mut self) -> Token {
        self.at += self.run(|character| character == '_' || character.is_alphanumeric());
        Token::Name
    }

    fn namespace(&mut self) -> Result<Token, Problem> {
        let rest = &self.rest()[1..];
        let bytes = rest
            .find(|character: char| character != '_' && !character.is_alphanumeric())
            .unwrap_or(rest.len());
        let namespace = match &rest[..bytes] {
            "d" | "data" => Namespace::Data,
            "l" | "labels" => Namespace::Labels,
            "m" | "metadata" => Namespace::Metadata,
            other => {
                let message = format!("there is no `${other}`");
                return Err(self
                    .refused(1 + bytes, message)
                    .suggest("known are `$d` for the event, `$l` for labels, `$m` for metadata"));
            }
        };
        self.at += 1 + bytes;
        Ok(Token::Namespace(namespace))
    }

    fn string(&mut self) -> Result<Token, Problem> {
        let start = self.at;
        let mut value = String::new();
        let mut characters = self.text[start + 1..].char_indices();
        while let Some((at, character)) = characters.next() {
            let at = start + 1 + at;
            match character {
                '\'' => {
                    self.at = at + 1;
                    return Ok(Token::String(value.into()));
                }
                '\\' => value.push(match characters.next() {
                    Some((_, escaped @ ('\\' | '\'' | '"' | '/'))) => escaped,
                    Some((_, 'n')) => '\n',
                    Some((_, 'r')) => '\r',
                    Some((_, 't')) => '\t',
                    Some((_, other)) => {
                        let message = format!("unknown escape `\\{}`", other.escape_debug());
                        return Err(Problem::new(message, at..at + 1 + other.len_utf8()).suggest(
                            "write `\\\\` for a backslash; a regular expression between slashes needs none",
                        ));
                    }
                    None => break,
                }),
                _ => value.push(character),
            }
        }
        Err(Problem::new("the string is not closed", start..start + 1)
            .suggest("a string ends with `'`; inside it, that is written `\\'`"))
    }

    fn wrong_quotes(&self, quote: char) -> Problem {
        let bytes = quote.len_utf8();
        let inside = &self.rest()[bytes..];
        let is_quote = |character| matches!(character, '"' | '“' | '”' | '‘' | '’');
        let closed = inside
            .find(is_quote)
            .filter(|end| !inside[..*end].contains(['\'', '\\', '\n']));
        let message = "strings are written in single quotes";
        match closed {
            Some(end) => {
                let close = inside[end..].chars().next().map_or(0, char::len_utf8);
                self.refused(bytes + end + close, message)
                    .suggest(format!("did you mean `'{}'`?", &inside[..end]))
            }
            None => self
                .refused(bytes, message)
                .suggest("did you mean a single quote?"),
        }
    }

    fn regex(&mut self) -> Result<Token, Problem> {
        let start = self.at;
        let mut pattern = String::new();
        let mut characters = self.text[start + 1..].char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '/' => {
                    self.at = start + 1 + at + 1;
                    return self.regex_end(start, pattern);
                }
                '\n' => break,
                '\\' => match characters.next() {
                    Some((_, '/')) => pattern.push('/'),
                    Some((_, '\n')) | None => break,
                    Some((_, escaped)) => pattern.extend(['\\', escaped]),
                },
                _ => pattern.push(character),
            }
        }
        Err(
            Problem::new("the regular expression is not closed", start..start + 1)
                .suggest("it ends with `/` on the same line; inside it, that is written `\\/`"),
        )
    }

    fn regex_end(&self, start: usize, pattern: String) -> Result<Token, Problem> {
        if pattern.is_empty() {
            return Err(
                Problem::new("the regular expression is empty", start..self.at)
                    .suggest("a comment begins with `#`"),
            );
        }
        if self.peek().is_some_and(char::is_alphabetic) {
            let bytes = self.run(char::is_alphanumeric);
            let flags = &self.rest()[..bytes];
            return Err(self
                .refused(bytes, "a regular expression ends with its slash")
                .suggest(format!("flags stand in it: `/(?{flags}){pattern}/`")));
        }
        Ok(Token::Regex(pattern.into()))
    }

    fn number_or_interval(&mut self) -> Result<Token, Problem> {
        let start = self.at;
        self.at += self.run(|character| character.is_ascii_digit());
        let mut fractions = 0;
        while self.digit_after(".") {
            fractions += 1;
            self.at += 1;
            self.at += self.run(|character| character.is_ascii_digit());
        }
        for exponent in ["e", "e+", "e-", "E", "E+", "E-"] {
            if self.digit_after(exponent) {
                self.at += exponent.len();
                self.at += self.run(|character| character.is_ascii_digit());
                break;
            }
        }
        let number = &self.text[start..self.at];
        let suffix = self.run(|character| character == '_' || character.is_alphanumeric());
        if suffix > 0 {
            self.at += suffix;
            return interval(&self.text[start..self.at], start).map(Token::Interval);
        }
        let problem =
            |message: String| Problem::new(format!("`{number}` {message}"), start..self.at);
        if fractions > 1 {
            return Err(problem("is no number".to_owned())
                .suggest(format!("a version or an address is a string: `'{number}'`")));
        }
        if number.len() > 1 && number.starts_with('0') && number.as_bytes()[1].is_ascii_digit() {
            return Err(problem("is no number".to_owned()).suggest("numbers have no leading zeros"));
        }
        Ok(Token::Number(number.into()))
    }

    /// Whether this stands here, and a digit behind it.
    fn digit_after(&self, text: &str) -> bool {
        self.rest()
            .strip_prefix(text)
            .is_some_and(|rest| rest.starts_with(|character: char| character.is_ascii_digit()))
    }
}

/// Units of an interval and their nanoseconds, in the order they have to stand in.
const UNITS: [(&str, i128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Nanoseconds of the longest interval, 10,000 years: sums of as many as a rule can name stay far inside an `i128`.
const INTERVAL_MAX: i128 = 3_652_425 * 86_400_000_000_000;

fn interval(text: &str, start: usize) -> Result<i128, Problem> {
    let problem = |message: &str| {
        Problem::new(format!("`{text}` {message}"), start..start + text.len())
            .suggest("an interval is written like `1h30m5s`, with the units d h m s ms us ns from the longest down")
    };
    let (mut rest, mut nanoseconds, mut units) = (text, 0_i128, &UNITS[..]);
    while !rest.is_empty() {
        let digits = rest
            .find(|character: char| !character.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, behind) = rest.split_at(digits);
        let letters = behind
            .find(|character: char| character.is_ascii_digit())
            .unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let Some(at) = units.iter().position(|(name, _)| *name == unit) else {
            return Err(problem("is neither a number nor an interval"));
        };
        nanoseconds = number
            .parse::<i128>()
            .ok()
            .and_then(|number| number.checked_mul(units[at].1))
            .and_then(|part| nanoseconds.checked_add(part))
            .filter(|sum| *sum <= INTERVAL_MAX)
            .ok_or_else(|| problem("is longer than 10,000 years"))?;
        units = &units[at + 1..];
        rest = behind;
    }
    Ok(nanoseconds)
}
