//! The mistakes of a configuration: collected while it is read, shown all at once.
//!
//! A [`Mistake`] is one line for people: place, section in words, key and value as typed,
//! the rule, the fix. Values that may be secret never get here as typed.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

/// Every mistake of one configuration, in the order of its lines; at least one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// Name of the configuration in messages: the file's path as the operator gave it.
    name: String,
    mistakes: Vec<Mistake>,
}

impl ConfigErrors {
    /// One mistake that concerns the file as a whole.
    pub(crate) fn of_file(name: &str, text: String) -> Self {
        Self {
            name: name.to_owned(),
            mistakes: vec![Mistake::of_file(text)],
        }
    }

    /// Number of mistakes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.mistakes.len()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        for mistake in self.mistakes.iter().take(MISTAKES_SHOWN_MAX) {
            match (mistake.line, mistake.column) {
                (None, _) => writeln!(f, "{name}: {}", mistake.text)?,
                (Some(line), None) => writeln!(f, "{name}:{line}: {}", mistake.text)?,
                (Some(line), Some(column)) => {
                    writeln!(f, "{name}:{line}:{column}: {}", mistake.text)?;
                }
            }
        }
        let hidden = self.count().saturating_sub(MISTAKES_SHOWN_MAX);
        if hidden > 0 {
            writeln!(f, "{name}: and {hidden} more")?;
        }
        match self.count() {
            1 => f.write_str("1 mistake; nothing was started"),
            count => write!(f, "{count} mistakes; nothing was started"),
        }
    }
}

/// Mistakes shown; a file with more of them is not a configuration of this program.
const MISTAKES_SHOWN_MAX: usize = 100;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mistake {
    /// Line from 1; `None` when it concerns the file as a whole.
    pub(crate) line: Option<usize>,
    /// Column from 1, in characters; only of syntax errors.
    pub(crate) column: Option<usize>,
    /// What is wrong and what to do.
    pub(crate) text: String,
    /// Something is missing. Not shown beside syntax errors, which may have hidden it.
    pub(crate) of_absence: bool,
}

impl Mistake {
    pub(crate) fn of_file(text: String) -> Self {
        Self {
            line: None,
            column: None,
            text,
            of_absence: false,
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The file.
    Typed,
    /// The key's default, because the file says nothing.
    Default,
    /// The key's default, because what the file says is wrong and was reported.
    Repaired,
}

/// A value with all that a message about it needs.
#[derive(Debug, Clone)]
pub(crate) struct Given<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
    pub(crate) place: Place,
    /// The value as typed, or the default; masked when it may be secret.
    pub(crate) typed: String,
}

impl<T> Given<T> {
    /// True unless the value stands in for one that was reported as wrong.
    pub(crate) fn is_sound(&self) -> bool {
        self.origin != Origin::Repaired
    }

    /// True when the operator chose the value.
    pub(crate) fn is_typed(&self) -> bool {
        self.origin == Origin::Typed
    }
}

/// What a mistake is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Line from 1; of the section's header when the key is not given; `None` without either.
    pub(crate) line: Option<usize>,
    /// Section in words: `stream "siem"`.
    pub(crate) subject: String,
    /// Key within it: `batch.bytes`. Empty: the section itself.
    pub(crate) key: String,
}

/// Collects the mistakes while the text is read.
#[derive(Debug)]
pub(crate) struct Report<'i> {
    text: &'i str,
    /// Byte offset of each line's start.
    line_starts: Vec<usize>,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'i> Report<'i> {
    pub(crate) fn new(text: &'i str) -> Self {
        let newlines = memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1);
        Self {
            text,
            line_starts: std::iter::once(0).chain(newlines).collect(),
            mistakes: RefCell::new(Vec::new()),
        }
    }

    /// The text, as the operator wrote it.
    pub(crate) fn text(&self) -> &'i str {
        self.text
    }

    /// Line of a byte offset, from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// Text of a line, from 1, without its end; empty past the last.
    pub(crate) fn line_text(&self, line: usize) -> &'i str {
        let starts = &self.line_starts;
        let Some(start) = line.checked_sub(1).and_then(|at| starts.get(at)) else {
            return "";
        };
        let end = starts.get(line).map_or(self.text.len(), |next| next - 1);
        &self.text[*start..end]
    }

    /// Column of a byte offset, from 1, in characters.
    pub(crate) fn column(&self, offset: usize) -> usize {
        let start = self.line_starts[self.line(offset) - 1];
        let offset = offset.min(self.text.len());
        self.text
            .get(start..offset)
            .map_or(offset - start, |before| before.chars().count())
            + 1
    }

    /// The text of a range as it may stand in a message: on one line, of limited length.
    pub(crate) fn typed(&self, range: Range<usize>) -> String {
        shown(self.text.get(range).unwrap_or_default())
    }

    /// Records a mistake about a value: `subject: key = typed rule`.
    pub(crate) fn wrong(&self, place: &Place, typed: &str, rule: impl fmt::Display) {
        let Place { subject, key, .. } = place;
        self.push(Mistake {
            line: place.line,
            column: None,
            text: format!("{subject}: {key} = {typed} {rule}"),
            of_absence: false,
        });
    }

    /// Records a mistake about a value that was read well but breaks a rule. Nothing when
    /// the value stands in for one that was reported already.
    pub(crate) fn refuse<T>(&self, given: &Given<T>, rule: impl fmt::Display) {
        match given.origin {
            Origin::Typed => self.wrong(&given.place, &given.typed, rule),
            Origin::Default => {
                let typed = format!("{} (the default)", given.typed);
                self.wrong(&given.place, &typed, rule);
            }
            Origin::Repaired => {}
        }
    }

    /// Records a mistake that shows no value: `subject: rule`, or `subject: key rule`.
    pub(crate) fn say(&self, place: &Place, rule: impl fmt::Display) {
        self.push(Mistake {
            line: place.line,
            column: None,
            text: sentence(place, rule),
            of_absence: false,
        });
    }

    /// Records that something is missing.
    pub(crate) fn missing(&self, place: &Place, rule: impl fmt::Display) {
        self.push(Mistake {
            line: place.line,
            column: None,
            text: sentence(place, rule),
            of_absence: true,
        });
    }

    pub(crate) fn push(&self, mistake: Mistake) {
        self.mistakes.borrow_mut().push(mistake);
    }

    /// The mistakes in the order of their lines, each once. `None` when there is none.
    pub(crate) fn into_errors(self, name: &str) -> Option<ConfigErrors> {
        let mut mistakes = self.mistakes.into_inner();
        // A line that could not be parsed makes its neighbours look wrong or missing; only
        // what stands on its own is said beside it.
        let broken: Vec<_> = mistakes
            .iter()
            .filter(|mistake| mistake.column.is_some())
            .map(|mistake| mistake.line)
            .collect();
        if !broken.is_empty() {
            mistakes.retain(|mistake| {
                mistake.column.is_some() || (!mistake.of_absence && !broken.contains(&mistake.line))
            });
        }
        mistakes.sort();
        mistakes.dedup();
        (!mistakes.is_empty()).then(|| ConfigErrors {
            name: name.to_owned(),
            mistakes,
        })
    }
}

/// A text as it may stand in a message: one line, no control characters, limited length.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(TYPED_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(TYPED_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

fn sentence(place: &Place, rule: impl fmt::Display) -> String {
    let Place { subject, key, .. } = place;
    match (subject.is_empty(), key.is_empty()) {
        (true, _) => rule.to_string(),
        (false, true) => format!("{subject}: {rule}"),
        (false, false) => format!("{subject}: {key} {rule}"),
    }
}

const TYPED_CHARS_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_lines_and_columns() {
        let report = Report::new("ab\nçd\n\nx");
        for (offset, line, column) in [
            (0, 1, 1),
            (1, 1, 2),
            (2, 1, 3),
            (3, 2, 1),
            (5, 2, 2),
            (7, 3, 1),
            (8, 4, 1),
            (9, 4, 2),
            (99, 4, 2),
        ] {
            let place = (report.line(offset), report.column(offset));
            assert_eq!(place, (line, column), "offset {offset}");
        }
        assert_eq!(report.line_text(2), "çd");
        assert_eq!(report.line_text(4), "x");
        assert_eq!(report.line_text(0), "");
        assert_eq!(report.line_text(5), "");
    }

    #[test]
    fn a_value_in_a_message_is_one_short_line() {
        assert_eq!(shown("a\n\u{7}b"), "a  b");
        let long = shown(&"x".repeat(1000));
        assert_eq!(long, format!("{}…", "x".repeat(TYPED_CHARS_MAX)));
    }

    #[test]
    fn more_than_a_hundred_mistakes_are_summed_up() {
        let report = Report::new("");
        for number in 0..103 {
            report.push(Mistake::of_file(format!("mistake {number:03}")));
        }
        let text = report
            .into_errors("f")
            .expect("there are mistakes")
            .to_string();
        assert_eq!(text.lines().count(), 102);
        assert!(text.ends_with("f: and 3 more\n103 mistakes; nothing was started"));
    }
}
