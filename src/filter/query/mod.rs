//! The query language of LogDNA and the Activity Tracker, in which exclusion rules are written.
//!
//! Owns: its grammar, its field names and the rule object around a query. Promises: [`parse`] takes any text in time
//! linear in its length, and returns a tree within the limits below or an error with its place.
//! Leaves to others: evaluation ([`tree`](super::tree) says what each node means).
//!
//! # What a text may hold
//!
//! An unquoted word or value ends at white space or `)`; quotes and parentheses inside it are refused. All other
//! characters stand for themselves, a backslash too. In a phrase, between double quotes, `\"` is a quote and `\\` a
//! backslash; everything else stands for itself: `\n` is a backslash and an `n`, and a line break is a line break.
//!
//! # Differences from the products
//!
//! `field:v` compares with the whole value's beginning, not with any word in it, since a rule that drops too much
//! loses data; [`MatchMode::Token`] is the other reading. camelCase words are not split. White space between a colon
//! or operator and its value is refused.

mod cursor;
mod exclusion;
mod fields;
mod hints;
mod parser;
#[cfg(test)]
mod tests;

pub use exclusion::{ExclusionError, ExclusionRule, any_of};

use super::error::RuleError;
use super::tree::Expr;

/// Longest query, in bytes: room for lists of hundreds of names; a rule is read, hashed and shown whole.
pub const QUERY_BYTES_MAX: usize = 16 * 1024;

/// How deep parentheses and `-` nest, at most: no rule that a person reads comes near it, and the stack of any
/// thread holds that many levels of recursion here and in whatever walks the tree.
pub const NESTING_DEPTH_MAX: usize = 100;

/// Nodes of a tree, at most: bounds what one rule costs per event. Words and prefixes cannot reach it within
/// [`QUERY_BYTES_MAX`]; thousands of `field:=number` can, which take eight nodes each.
pub const NODES_MAX: usize = 10_000;

/// Items of one list, and of `hosts` and `apps`, at most: each is a comparison per event.
pub const LIST_ITEMS_MAX: usize = 1_000;

/// Longest name of a field, in bytes: every condition holds a copy of it, so it bounds a tree's memory.
pub const FIELD_NAME_BYTES_MAX: usize = 512;

/// How a query is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Options {
    /// What `field:v` and `field:=v` compare with.
    pub match_mode: MatchMode,
}

/// Where in a field's value `field:v`, `field:=v` and `field:[v]` look for `v`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MatchMode {
    /// The value begins with it (IBM's documentation).
    #[default]
    Value,
    /// A word of the value begins with it (Mezmo's documentation).
    Token,
}

/// The meaning of a query.
///
/// # Errors
/// [`RuleError`] with the place, also when a limit of this module is passed. The rule in the error of one that is
/// longer than [`QUERY_BYTES_MAX`] is its beginning.
pub fn parse(text: &str, options: Options) -> Result<Expr, RuleError> {
    if text.len() > QUERY_BYTES_MAX {
        let end = text.floor_char_boundary(QUERY_BYTES_MAX);
        return Err(RuleError {
            message: format!(
                "the query has {} bytes, at most {QUERY_BYTES_MAX} are taken",
                text.len()
            ),
            span: end..end,
            suggestion: None,
            rule: text[..end].into(),
        });
    }
    parser::Parser::new(text, options).query()
}

/// Fuzz entry: any text is taken or refused, and what is promised of either holds.
///
/// # Panics
/// When it does not: a tree beyond the limits or with an empty term, an error outside the text or without words.
pub fn fuzz_parse(text: &str) {
    for match_mode in [MatchMode::Value, MatchMode::Token] {
        match parse(text, Options { match_mode }) {
            Ok(tree) => {
                let nodes = sound_nodes(&tree, 0);
                assert!(nodes <= NODES_MAX, "{nodes} nodes");
            }
            Err(error) => {
                assert!(
                    error.rule.get(error.span.clone()).is_some(),
                    "{:?} is no part of the rule",
                    error.span
                );
                assert!(!error.message.is_empty());
                assert!(error.to_string().starts_with("line "));
            }
        }
    }
}

/// Counts the nodes, and checks that each is one of this language.
fn sound_nodes(tree: &Expr, depth: usize) -> usize {
    // A level of nesting is at most three nodes deep (all, any, not), and `field:=404` adds four at the bottom.
    assert!(depth <= 3 * (NESTING_DEPTH_MAX + 1) + 4, "{depth} deep");
    let below: usize = match tree {
        Expr::All(operands) | Expr::Any(operands) => {
            assert!(operands.len() > 1, "one operand is not joined");
            operands
                .iter()
                .map(|operand| sound_nodes(operand, depth + 1))
                .sum()
        }
        Expr::Not(operand) => sound_nodes(operand, depth + 1),
        Expr::Term(_, term) | Expr::Anywhere { term, .. } => {
            assert!(!term.text.is_empty(), "an empty term");
            0
        }
        Expr::NumberTerm(_, _, number) => {
            assert!(cursor::is_number(number), "{number} is no number");
            0
        }
        Expr::Exists(_) => 0,
        other => panic!("{other:?} is no node of a query"),
    };
    below + 1
}
