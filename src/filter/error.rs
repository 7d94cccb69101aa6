//! What is wrong with a rule: place, what was expected, and where it is clear, what was meant.
//!
//! Owns: the form of a rule's error on a terminal and in an answer. Leaves to others: finding it.

use std::fmt;
use std::ops::Range;

/// A rule that does not compile. Displays as the message with line and column, the line, a caret, and the suggestion:
///
/// ```text
/// line 1, column 13: expected an operator, found `=`
///   $d.severity = 'critical'
///               ^
///   did you mean `==`?
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError {
    /// What was expected and what was found, in one line.
    pub message: String,
    /// Bytes of the rule it speaks of; empty at the end of the rule.
    pub span: Range<usize>,
    /// What was probably meant.
    pub suggestion: Option<String>,
    /// The rule.
    pub rule: Box<str>,
}

impl RuleError {
    /// Line, from 1, and column, from 1 in characters, of the span's beginning.
    #[must_use]
    pub fn place(&self) -> (usize, usize) {
        let before = &self.rule[..self.span.start.min(self.rule.len())];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        )
    }

    fn caret(&self, f: &mut fmt::Formatter<'_>, column: usize) -> fmt::Result {
        let start = self.span.start.min(self.rule.len());
        let line_start = self.rule[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = self.rule[line_start..].lines().next().unwrap_or_default();
        let line_end = line_start + line.len();
        let end = self.span.end.clamp(start, line_end.max(start));
        let width = self.rule[start..end].chars().count().max(1);
        // A window of a long line, so that the caret stays in sight.
        let skipped = column.saturating_sub(WINDOW_BEFORE);
        let window: String = line
            .chars()
            .skip(skipped)
            .take(WINDOW)
            .map(|character| {
                if character.is_control() {
                    ' '
                } else {
                    character
                }
            })
            .collect();
        let (indent, width) = (column - 1 - skipped.min(column - 1), width.min(WINDOW));
        write!(f, "\n  {window}\n  {:indent$}{}", "", "^".repeat(width))
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.place();
        write!(f, "line {line}, column {column}: {}", self.message)?;
        self.caret(f, column)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "\n  {suggestion}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for RuleError {}

/// Characters of a line that are shown, and how many of them stand before the caret at most.
const WINDOW: usize = 100;
const WINDOW_BEFORE: usize = 60;
