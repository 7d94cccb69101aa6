//! The table of functions.
//!
//! Owns: for every function of the language its name, arguments and result, or why a rule cannot have it. Promises: each
//! name is there once. Leaves to others: checking a call (`calls`) and what a function does (the tree).

use super::super::tree::{Function, TextTest, Type};

use Arity::{Exact, LastOptional, LastRepeated};
use Meaning::{Call, Constant, Refused, Text};
use Type::{Bool, Number, String, Timestamp};

/// One function.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) meaning: Meaning,
}

/// What a call becomes.
pub(super) enum Meaning {
    /// A call with arguments of these types, and the type of its result.
    Call(Function, &'static [Type], Arity, Type),
    /// `f(s, t)`, a condition.
    Text(TextTest),
    /// `in(x, a, …)`
    In,
    /// `inArray(x, [a, …])`
    InArray,
    /// `matches(s, /…/)`
    Matches,
    /// `ipInSubnet(s, '10.0.0.0/8')`
    InSubnet,
    /// `if(condition, a, b?)`
    If,
    /// `firstNonNull(x, …)`
    FirstNonNull,
    /// `now()`
    Now,
    /// A function without arguments that is this number.
    Constant(&'static str),
    /// Not in rules: what to use, or why.
    Refused(&'static str),
}

impl Meaning {
    /// The fewest and the most arguments.
    pub(super) fn counts(&self) -> (usize, usize) {
        match self {
            Self::Call(_, parameters, Exact, _) => (parameters.len(), parameters.len()),
            Self::Call(_, parameters, LastOptional, _) => (parameters.len() - 1, parameters.len()),
            Self::Call(_, parameters, LastRepeated, _) => (parameters.len(), usize::MAX),
            Self::Text(_) | Self::InArray | Self::Matches | Self::InSubnet => (2, 2),
            Self::In => (2, usize::MAX),
            Self::If => (2, 3),
            Self::FirstNonNull => (1, usize::MAX),
            Self::Now | Self::Constant(_) => (0, 0),
            Self::Refused(_) => (0, usize::MAX),
        }
    }
}

/// How many of the arguments have to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arity {
    /// All.
    Exact,
    /// The last may be left out.
    LastOptional,
    /// The last may be repeated.
    LastRepeated,
}

const fn entry(name: &'static str, meaning: Meaning) -> Entry {
    Entry { name, meaning }
}

const RANDOM: &str = "a rule must give the same answer for the same event";
const ARRAYS: &str = "arrays are not looked into";
const CALENDAR: &str =
    "compare timestamps: `$m.timestamp >= @'2024-01-01'`, `now() - $m.timestamp < 1h`";
const INTERVALS: &str = "write intervals as `1h30m5s`; they are added with `+` and `-`";

/// All functions, by theme.
pub(super) const FUNCTIONS: &[Entry] = &[
    // Conditions.
    entry("contains", Text(TextTest::Contains)),
    entry("startsWith", Text(TextTest::StartsWith)),
    entry("endsWith", Text(TextTest::EndsWith)),
    entry("matches", Meaning::Matches),
    entry("in", Meaning::In),
    entry("inArray", Meaning::InArray),
    entry("ipInSubnet", Meaning::InSubnet),
    // Of any type.
    entry("if", Meaning::If),
    entry("firstNonNull", Meaning::FirstNonNull),
    // Strings.
    entry(
        "concat",
        Call(Function::Concat, &[String], LastRepeated, String),
    ),
    entry("length", Call(Function::Length, &[String], Exact, Number)),
    entry(
        "indexOf",
        Call(Function::IndexOf, &[String, String], Exact, Number),
    ),
    entry(
        "toLowerCase",
        Call(Function::ToLowerCase, &[String], Exact, String),
    ),
    entry(
        "toUpperCase",
        Call(Function::ToUpperCase, &[String], Exact, String),
    ),
    entry("trim", Call(Function::Trim, &[String], Exact, String)),
    entry("ltrim", Call(Function::TrimStart, &[String], Exact, String)),
    entry("rtrim", Call(Function::TrimEnd, &[String], Exact, String)),
    entry(
        "substr",
        Call(
            Function::Substr,
            &[String, Number, Number],
            LastOptional,
            String,
        ),
    ),
    entry(
        "splitParts",
        Call(
            Function::SplitParts,
            &[String, String, Number],
            Exact,
            String,
        ),
    ),
    entry(
        "padLeft",
        Call(Function::PadLeft, &[String, Number, String], Exact, String),
    ),
    entry(
        "padRight",
        Call(Function::PadRight, &[String, Number, String], Exact, String),
    ),
    entry(
        "pad",
        Call(Function::PadRight, &[String, Number, String], Exact, String),
    ),
    entry("chr", Call(Function::Chr, &[Number], Exact, String)),
    entry(
        "codepoint",
        Call(Function::Codepoint, &[String], Exact, Number),
    ),
    entry(
        "urlEncode",
        Call(Function::UrlEncode, &[String], Exact, String),
    ),
    entry(
        "urlDecode",
        Call(Function::UrlDecode, &[String], Exact, String),
    ),
    entry(
        "encodeBase64",
        Call(Function::EncodeBase64, &[String], Exact, String),
    ),
    entry(
        "decodeBase64",
        Call(Function::DecodeBase64, &[String], Exact, String),
    ),
    entry(
        "ipPrefix",
        Call(Function::IpPrefix, &[String, Number], Exact, String),
    ),
    entry("isUuid", Call(Function::IsUuid, &[String], Exact, Bool)),
    // Numbers.
    entry("abs", Call(Function::Abs, &[Number], Exact, Number)),
    entry("ceil", Call(Function::Ceil, &[Number], Exact, Number)),
    entry("floor", Call(Function::Floor, &[Number], Exact, Number)),
    entry(
        "round",
        Call(Function::Round, &[Number, Number], LastOptional, Number),
    ),
    entry("sqrt", Call(Function::Sqrt, &[Number], Exact, Number)),
    entry(
        "power",
        Call(Function::Power, &[Number, Number], Exact, Number),
    ),
    entry("ln", Call(Function::Ln, &[Number], Exact, Number)),
    entry("log", Call(Function::Log, &[Number, Number], Exact, Number)),
    entry("log2", Call(Function::Log2, &[Number], Exact, Number)),
    entry("mod", Call(Function::Mod, &[Number, Number], Exact, Number)),
    entry("max", Call(Function::Max, &[Number], LastRepeated, Number)),
    entry("min", Call(Function::Min, &[Number], LastRepeated, Number)),
    entry("pi", Constant("3.141592653589793")),
    entry("e", Constant("2.718281828459045")),
    entry(
        "fromBase",
        Call(Function::FromBase, &[String, Number], Exact, Number),
    ),
    entry(
        "toBase",
        Call(Function::ToBase, &[Number, Number], Exact, String),
    ),
    // Time.
    entry("now", Meaning::Now),
    entry(
        "toUnixTime",
        Call(Function::ToUnixTime, &[Timestamp], Exact, Number),
    ),
    entry(
        "fromUnixTime",
        Call(Function::FromUnixTime, &[Number], Exact, Timestamp),
    ),
    // What rules do not have.
    entry("random", Refused(RANDOM)),
    entry("randomInt", Refused(RANDOM)),
    entry("randomUuid", Refused(RANDOM)),
    entry(
        "recordLocation",
        Refused("an event has no location before it is stored"),
    ),
    entry(
        "regexpSplitParts",
        Refused("use `splitParts(text, delimiter, n)` or `matches(text, /…/)`"),
    ),
    entry("arrayContains", Refused(ARRAYS)),
    entry("arrayLength", Refused(ARRAYS)),
    entry(
        "parseTimestamp",
        Refused("cast the field: `field:timestamp`"),
    ),
    entry(
        "formatTimestamp",
        Refused("cast the timestamp: `timestamp:string` is RFC 3339 in UTC"),
    ),
    entry("extractTime", Refused(CALENDAR)),
    entry("roundTime", Refused(CALENDAR)),
    entry("addTime", Refused("write `timestamp + 1h`")),
    entry("subtractTime", Refused("write `timestamp - 1h`")),
    entry("diffTime", Refused("write `timestamp - timestamp`")),
    entry("toInterval", Refused(INTERVALS)),
    entry("parseInterval", Refused(INTERVALS)),
    entry(
        "formatInterval",
        Refused("cast the interval: `interval:string` is its nanoseconds"),
    ),
    entry("roundInterval", Refused(INTERVALS)),
    entry("addInterval", Refused("write `1h + 30m`")),
    entry("subtractInterval", Refused("write `1h - 30m`")),
    entry("multiplyInterval", Refused(INTERVALS)),
];

/// The function of a name.
pub(super) fn find(name: &str) -> Option<&'static Entry> {
    FUNCTIONS.iter().find(|entry| entry.name == name)
}
