//! The typed tree: what a rule means, whichever language it was written in.
//!
//! Owns: the one vocabulary between the two parsers ([`query`](super::query), [`dpxl`](super::dpxl)) and the
//! compiler, and the meaning of every node, in its doc comment. A second evaluator in the tests follows these
//! comments word for word on a full JSON tree. Promises: a tree that a parser returned is well typed: operands have
//! the types their node names, regular expressions and subnets have been compiled once. Leaves to others: how fast
//! any of it is.
//!
//! # Values
//!
//! null, boolean, number, string, timestamp, interval, severity, container (an object or an array, never looked
//! into). A number of an event or a literal is an exact decimal of any size, its exponent bounded by ±10^36;
//! arithmetic and functions calculate in `f64`, and a comparison with a calculated number is made in `f64`.
//!
//! A condition is true, false or null (unknown); a rule matches on true only. Where a boolean value stands for a
//! condition, a container is null. [`Expr::All`], [`Expr::Any`] and
//! [`Expr::Not`] are Kleene's: a false among `All` is false, a true among `Any` is true, else a null is null, and not
//! null is null.
//!
//! # Keys
//!
//! A path is followed key by key from the top; keys are compared after their escapes are decoded; the first of equal
//! keys wins, also when what it leads to is no object. A step into anything but an object finds nothing.

use core::net::IpAddr;

/// Key path; empty for the whole object.
pub type Path = Box<[Box<str>]>;

/// Where a value is found: in the first source that has one that is not null.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Field {
    /// As it was written, for messages and `explain`.
    pub name: Box<str>,
    /// In order; never empty.
    pub sources: Box<[Source]>,
}

/// One place a value can come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// A key path of the event. The empty path is the event itself: a container.
    Data(Path),
    /// A label; a string, or null when absent.
    Label(Label),
    /// A key path of the label `meta`, which is a JSON object; null when that is absent.
    Meta(Path),
    /// Of the string at this path of the event, a CRN, the fifth segment between colons; null when it is no string,
    /// does not begin with `crn:`, has fewer segments, or an empty fifth.
    CrnService(Path),
    /// The event time label as a timestamp, else the receive time.
    Time,
}

/// A label that is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label {
    /// `application`.
    Application,
    /// `subsystem`.
    Subsystem,
    /// `host`.
    Host,
    /// `level`.
    Level,
    /// `env`.
    Env,
    /// `tags`, comma separated. For [`Expr::Term`] each tag, trimmed of spaces, is a value of its own.
    Tags,
    /// `sender`.
    Sender,
    /// `peer`, without the port when it is `address:port`.
    Peer,
}

/// Type of an expression's value; null belongs to each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// `true`, `false`.
    Bool,
    /// A decimal or a calculated `f64`.
    Number,
    /// Text.
    String,
    /// A point in time.
    Timestamp,
    /// A length of time, possibly negative.
    Interval,
    /// One of [`Severity`].
    Severity,
}

/// Severity, from the least to the gravest; comparisons follow this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are the meaning")]
pub enum Severity {
    Verbose,
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

/// A constant of a rule.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A number as written: JSON's form, possibly without digits it needs not have. Exact.
    Number(Box<str>),
    /// Text.
    String(Box<str>),
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    Timestamp(i128),
    /// Nanoseconds.
    Interval(i128),
    /// A severity word.
    Severity(Severity),
}

/// One node. `Box<Expr>` operands that must be conditions are said to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// A constant.
    Literal(Literal),
    /// The receive time of the event, as a timestamp (`now()`, `@'now'`).
    Now,
    /// The value of a field, of whatever JSON type it has.
    Field(Field),
    /// The value of a field where a value of this type is wanted, without conversion: a container stays a container,
    /// a scalar of another type is null. For `Timestamp` and `Severity` a string is wanted of an event, and read as
    /// [`Expr::Cast`] reads it; [`Source::Time`] is a timestamp as it is. `Interval` is never in an event.
    Read(Field, Type),
    /// Conversion. Null stays null; a container stays a container, a value of the type itself. To `String`: a number
    /// as its own digits (a calculated one by the fewest digits that read back, without an exponent),
    /// `true`/`false`, a timestamp in RFC 3339 with `Z` and as many fraction digits as it needs (none, 3, 6, 9), a
    /// severity as its word with one capital (`Info`), an interval as nanoseconds. To `Number`: a string that is a
    /// JSON number when trimmed of white space, and a boolean as 1 or 0, both exact; a timestamp as milliseconds
    /// since 1970, truncated downwards, calculated; else null. To `Bool`: `true` and `false` in any case, a number
    /// as whether it is not zero; else null. To `Timestamp`: a string by [`time::parse`](super::time::parse), a
    /// number in `f64` as milliseconds since 1970, truncated to nanoseconds, null from ±10^31 on; else null. To
    /// `Severity`: a string
    /// by [`severity_of`], a number 1 to 6 as Debug, Verbose, Info, Warning, Error, Critical; else null.
    Cast(Box<Expr>, Type),
    /// Every operand is a condition. Empty: true.
    All(Vec<Expr>),
    /// Every operand is a condition. Empty: false.
    Any(Vec<Expr>),
    /// The operand is a condition.
    Not(Box<Expr>),
    /// A value as a condition: false when it is null, or the boolean false; else true.
    Truthy(Box<Expr>),
    /// Compares two values. A container on either side: null. Both null: `==` true, `!=` false, others false. One
    /// null: `!=` true, all else false. Of different types: `!=` true, all else false. Else by value: strings by
    /// their UTF-8 bytes, numbers by value, booleans false before true.
    Compare(Compare, Box<Expr>, Box<Expr>),
    /// [`Expr::Compare`] with `==` against each of the list, joined as by [`Expr::Any`].
    In(Box<Expr>, Vec<Expr>),
    /// A test of a string against a string; false when either is no string. Operands: what is searched, what for.
    Text(TextTest, Box<Expr>, Box<Expr>),
    /// `keypath ~ 'phrase'`: the value's text holds the phrase somewhere, [folded](fold). The text of a string is
    /// the string, of a container its raw characters with the escapes in its strings [decoded](Expr::Anywhere), of
    /// any other value as [`Expr::Cast`] has it; of null there is none, and the test is false.
    Phrase(Box<Expr>, Box<str>),
    /// A regular expression (of the `regex` crate, Unicode) is found somewhere in the string; false when it is no
    /// string.
    Matches(Box<Expr>, Box<str>),
    /// The string, trimmed, is an IP address in this network; false when not. IPv4-mapped IPv6 addresses count as
    /// IPv4. The bits behind the prefix do not matter.
    InSubnet(Box<Expr>, Subnet),
    /// Arithmetic. Null when an operand is null, a container, or the result is no finite number.
    /// Number with number in `f64`; timestamp ± interval and interval + timestamp; timestamp − timestamp is an
    /// interval; interval ± interval. Other pairs are refused by the parser.
    Arithmetic(Arithmetic, Box<Expr>, Box<Expr>),
    /// A function; see [`Function`].
    Call(Function, Vec<Expr>),
    /// LogDNA `field:*`: the field has a value that is not null, be it a container.
    Exists(Field),
    /// LogDNA `field:v` and its kin. The field's text is tested; of a number or boolean its own characters. Of an
    /// array that directly is the field's value, each string, number and boolean in it is tested, and one that
    /// passes is enough. Objects, null and what is nested deeper: false.
    Term(Field, Term),
    /// LogDNA `field:>n`. The value is a number, or a string that is a JSON number when trimmed of white space; one
    /// of an array is enough, as in [`Expr::Term`]. Else false. The literal is exact.
    NumberTerm(Field, Compare, Box<str>),
    /// The text of the line, or the text of a label ([`Label`] except `Peer` and `Sender`, and the raw `meta`),
    /// holds the term. The text of the line is its bytes with every escape inside strings decoded in place: the
    /// quotes around strings and everything between them stay. A lone surrogate decodes to U+FFFD, in keys and values
    /// everywhere. The same decoding
    /// for `meta`. For `$d ~~ 'x'`, the line alone.
    Anywhere {
        /// What is looked for.
        term: Term,
        /// Labels are searched too (LogDNA); not for `~~`.
        labels: bool,
    },
}

/// What a text has to be like.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Term {
    /// Never empty.
    pub text: Box<str>,
    /// Where the text stands in what is tested.
    pub place: Place,
    /// Letters are compared [folded](fold).
    pub ignore_case: bool,
}

/// Where a term's text has to stand.
///
/// A word character is a letter or digit of Unicode (`char::is_alphanumeric`) or `_`. A place *begins a token* when
/// the term's first character is no word character, or nothing or no word character is before it. It *ends a
/// token* when the term's last character is no word character, or nothing or no word character is behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// It is all of it.
    Whole,
    /// At the beginning.
    Prefix,
    /// Where a token begins.
    TokenPrefix,
    /// Where a token begins, and it ends where a token ends.
    Token,
    /// Anywhere.
    Substring,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the meaning")]
pub enum Compare {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// A test of one string against another, byte for byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the meaning")]
pub enum TextTest {
    Contains,
    StartsWith,
    EndsWith,
}

/// An operator between numbers or times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the meaning")]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    /// The remainder with the sign of the dividend.
    Remainder,
}

/// A network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subnet {
    /// Any address in it.
    pub address: IpAddr,
    /// Leading bits that count: at most 32 or 128.
    pub prefix_bits: u8,
}

/// A function. Null when an argument is null, a container, or of the wrong type, or the result does not exist or is
/// no finite number, unless said otherwise; a number beyond `f64` is of the wrong type. Positions and lengths count
/// Unicode characters from 0. Numbers that are positions, counts, code points or bases are truncated towards zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    /// `concat(s, …)`: strings joined.
    Concat,
    /// `length(s)`: characters.
    Length,
    /// `indexOf(s, t)`: where `t` first is in `s`; −1 when it is not.
    IndexOf,
    /// `toLowerCase(s)`, by Unicode.
    ToLowerCase,
    /// `toUpperCase(s)`, by Unicode.
    ToUpperCase,
    /// `trim(s)`: Unicode white space at both ends.
    Trim,
    /// `ltrim(s)`.
    TrimStart,
    /// `rtrim(s)`.
    TrimEnd,
    /// `substr(s, from, count?)`: null when `from` is negative or beyond the end, or `count` negative.
    Substr,
    /// `splitParts(s, delimiter, n)`: the `n`-th part from 1; null without one or for an empty delimiter.
    SplitParts,
    /// `padLeft(s, width, fill)`: before it `fill`, repeated and cut so that it is `width` characters, of which at most
    /// 1,024 count; as it is when it has as many already or `fill` is empty.
    PadLeft,
    /// `padRight(s, width, fill)` and `pad`.
    PadRight,
    /// `chr(n)`: the character of a code point.
    Chr,
    /// `codepoint(s)`: of a string of exactly one character.
    Codepoint,
    /// `urlEncode(s)`: all but `A–Z a–z 0–9 - _ . ~` as `%XX` of their UTF-8 bytes.
    UrlEncode,
    /// `urlDecode(s)`: `%XX` decoded, `+` stays; null when it is then no UTF-8 or `%` is not followed by two digits.
    UrlDecode,
    /// `encodeBase64(s)`: RFC 4648 with padding.
    EncodeBase64,
    /// `decodeBase64(s)`: RFC 4648 with padding; null when it is none or no UTF-8, or unused bits are not 0.
    DecodeBase64,
    /// `ipPrefix(ip, bits)`: the network in CIDR form, e.g. `10.0.0.0/8`; addresses as in [`Expr::InSubnet`].
    IpPrefix,
    /// `isUuid(s)`: 8-4-4-4-12 hex digits. False for null and what is no string.
    IsUuid,
    /// `firstNonNull(x, …)`: the first argument that is neither null nor a container; else null.
    FirstNonNull,
    /// `if(condition, a, b?)`: `a` when the condition is true, else `b`, else null.
    If,
    /// `abs(n)`.
    Abs,
    /// `ceil(n)`.
    Ceil,
    /// `floor(n)`.
    Floor,
    /// `round(n, digits?)`: half away from zero; digits −15 to 15. `n · 10^digits` is rounded and divided again; for
    /// negative digits `n / 10^−digits` is rounded and multiplied again.
    Round,
    /// `sqrt(n)`.
    Sqrt,
    /// `power(n, m)`.
    Power,
    /// `ln(n)`.
    Ln,
    /// `log(base, n)`.
    Log,
    /// `log2(n)`.
    Log2,
    /// `mod(n, m)`: as [`Arithmetic::Remainder`].
    Mod,
    /// `max(n, …)`.
    Max,
    /// `min(n, …)`.
    Min,
    /// `fromBase(s, base)`: a whole number written in base 2 to 36, at most 2^53; a sign may lead.
    FromBase,
    /// `toBase(n, base)`: the truncated number in base 2 to 36, lower case; null beyond 2^53.
    ToBase,
    /// `toUnixTime(t)`: milliseconds since 1970, truncated downwards.
    ToUnixTime,
    /// `fromUnixTime(n)`: of milliseconds since 1970, as [`Expr::Cast`] has it.
    FromUnixTime,
}

/// How letters are compared when case does not matter: ASCII letters by their ASCII lower case; any other character
/// by `char::to_lowercase` when that is one character that is not ASCII; else the character is itself.
#[must_use]
pub fn fold(character: char) -> char {
    if character.is_ascii() {
        return character.to_ascii_lowercase();
    }
    let mut lower = character.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) if !one.is_ascii() => one,
        _ => character,
    }
}

/// Severity of a word, in any ASCII case, by the reference's table; `normal` counts as information.
#[must_use]
pub fn severity_of(word: &str) -> Option<Severity> {
    const WORDS: [(Severity, &[&str]); 6] = [
        (
            Severity::Critical,
            &[
                "emergency",
                "alert",
                "fatal",
                "f",
                "critical",
                "crit",
                "60",
                "600",
                "6",
            ],
        ),
        (
            Severity::Error,
            &[
                "error",
                "e",
                "failure",
                "exception",
                "err",
                "50",
                "500",
                "5",
            ],
        ),
        (
            Severity::Warning,
            &["warning", "w", "warn", "fail", "failed", "40", "400", "4"],
        ),
        (
            Severity::Info,
            &[
                "notice",
                "informational",
                "info",
                "i",
                "information",
                "normal",
                "20",
                "300",
                "3",
            ],
        ),
        (Severity::Verbose, &["verbose", "v", "trace", "2", "200"]),
        (Severity::Debug, &["debug", "d", "10", "100", "1"]),
    ];
    let word = word.trim();
    WORDS
        .iter()
        .find(|(_, words)| words.iter().any(|known| known.eq_ignore_ascii_case(word)))
        .map(|(severity, _)| *severity)
}
