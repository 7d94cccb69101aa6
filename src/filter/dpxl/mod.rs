//! DPXL, the language of stream rules: IBM Cloud Logs' `<v1>` expressions.
//!
//! Owns: the way from a rule's text to the typed [`tree`](super::tree), and every message on it. Promises: a rule that is
//! returned is well typed and has been held against the limits below; a rule that is refused says where and why, and
//! never by a panic. Leaves to others: what the nodes of the tree mean, and running them.
//!
//! Text becomes tokens (`lexer`), tokens a tree without types (`syntax`), and that the typed one (`typing`, with the
//! tables of `fields` and `functions`). Types are inferred from the other side: in `age > 50` the field is read as a
//! number. The language is described in `docs/rules.md`.

mod calls;
mod fields;
mod foreign;
mod functions;
mod lexer;
mod nearest;
mod nodes;
mod syntax;
mod typing;

#[cfg(test)]
mod tests;

use std::ops::Range;

use super::error::RuleError;
use super::tree::Expr;

/// Bytes of a rule's text.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Levels of nesting in the text: parentheses, operators, calls, and the arms of a `case`. The parser calls itself no
/// deeper, and the tree is at most twice as deep, because a value that stands as a condition is wrapped.
pub const DEPTH_MAX: usize = 100;
/// Nodes of the typed tree.
pub const NODES_MAX: usize = 10_000;
/// Values of one list, or arguments of one call.
pub const LIST_ITEMS_MAX: usize = 1_000;
/// Bytes of a compiled regular expression.
pub const REGEX_BYTES_MAX: usize = 1024 * 1024;
/// Nesting of groups and repetitions in a regular expression.
pub const REGEX_DEPTH_MAX: u32 = 50;

/// Compiles a rule's text to a condition.
///
/// # Errors
/// The first thing that is wrong with it, or the limit it is beyond.
pub fn parse(text: &str) -> Result<Expr, RuleError> {
    condition(text).map_err(|problem| RuleError {
        message: one_line(&problem.message),
        span: problem.span,
        suggestion: problem.suggestion.as_deref().map(one_line),
        rule: text.into(),
    })
}

fn condition(text: &str) -> Result<Expr, Problem> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Problem::new(
            format!(
                "the rule has {} bytes, more than {TEXT_BYTES_MAX}",
                text.len()
            ),
            0..0,
        ));
    }
    let node = syntax::parse(text)?;
    typing::rule(text, &node)
}

/// Characters of a message, which may quote any part of a rule.
const MESSAGE_CHARACTERS_MAX: usize = 200;

/// A message as one line of bounded length.
fn one_line(message: &str) -> String {
    let mut characters = message.chars();
    let line = characters.by_ref().take(MESSAGE_CHARACTERS_MAX);
    let mut line: String = line
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect();
    if characters.next().is_some() {
        line.push('…');
    }
    line
}

/// Parses any text and holds what comes out against what is promised, for the fuzzer.
///
/// # Panics
/// When an error's span is not inside the text, or it does not display.
pub fn fuzz_parse(text: &str) {
    if let Err(error) = parse(text) {
        assert!(
            text.get(error.span.clone()).is_some(),
            "{:?} is not inside",
            error.span
        );
        let shown = error.to_string();
        assert!(
            shown.contains(&error.message) && shown.contains('^'),
            "the message and a caret: {shown}"
        );
    }
}

/// What is wrong, before the text of the rule is added.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    message: String,
    span: Range<usize>,
    suggestion: Option<String>,
}

impl Problem {
    fn new(message: impl Into<String>, span: Range<usize>) -> Self {
        Self {
            message: message.into(),
            span,
            suggestion: None,
        }
    }

    /// The first suggestion stays: it knows most about the place.
    fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion.get_or_insert_with(|| suggestion.into());
        self
    }
}
