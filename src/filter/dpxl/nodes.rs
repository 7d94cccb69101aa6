//! The tree of a rule before types.
//!
//! Owns: the nodes that `syntax` makes and `typing` reads. Leaves to others: both.

use std::ops::Range;

use super::super::tree::{Arithmetic, Compare, Literal, Severity};
use super::lexer::Namespace;

/// A node, where it stands, and the levels of nodes under and with it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) span: Range<usize>,
    /// At least 1.
    pub(super) depth: usize,
}

/// What stands there.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Literal(Literal),
    /// `@'now'`.
    Now,
    Regex(Box<str>),
    Keypath(Keypath),
    List(Vec<Node>),
    /// A function and its arguments, of which a method's object is the first.
    Call(Name, Vec<Node>),
    /// Conditions and values, and the value when no condition is true.
    Case(Vec<(Node, Node)>, Box<Node>),
    Cast(Box<Node>, Name),
    Not(Box<Node>),
    Negate(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
}

/// Keys from the top. Without a namespace there is at least one key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Keypath {
    pub(super) namespace: Option<Namespace>,
    pub(super) keys: Vec<Box<str>>,
}

/// A function or a type.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Name {
    pub(super) text: Box<str>,
    pub(super) span: Range<usize>,
}

/// An operator between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Any,
    All,
    Compare(Compare),
    /// `~`
    Phrase,
    /// `!~`
    NoPhrase,
    /// `~~`
    Anywhere,
    Arithmetic(Arithmetic),
}

/// The bare words of severities, from the least to the gravest.
pub(super) const SEVERITIES: [(&str, Severity); 6] = [
    ("VERBOSE", Severity::Verbose),
    ("DEBUG", Severity::Debug),
    ("INFO", Severity::Info),
    ("WARNING", Severity::Warning),
    ("ERROR", Severity::Error),
    ("CRITICAL", Severity::Critical),
];
