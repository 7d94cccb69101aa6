//! Key paths of a line: how they are written in a configuration, and their values by the walk that rules use.
//!
//! A path is keys joined by dots; `\.` is a dot within a key and `\\` a backslash. It is followed as rules follow it
//! ([`filter::tree`](crate::filter::tree)): keys are compared decoded, the first of equal keys wins also when what it
//! leads to is no object, and a step into anything but an object finds nothing.

use crate::filter::tree::Path;
use crate::filter::{PathId, Paths, Walker};

use super::TemplateError;

/// Reads a path as it is written in a configuration.
pub(super) fn parse(text: &str) -> Result<Path, TemplateError> {
    let mut keys = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let key = keys.last_mut().expect("there is always one");
        match character {
            '.' => keys.push(String::new()),
            '\\' => match characters.next() {
                Some(escaped @ ('.' | '\\')) => key.push(escaped),
                _ => {
                    return Err(TemplateError::path(
                        text,
                        "a backslash stands before a dot or a backslash only",
                    ));
                }
            },
            other => key.push(other),
        }
    }
    if keys.iter().any(String::is_empty) {
        return Err(TemplateError::path(text, "a key is empty"));
    }
    if keys.len() > crate::limits::NESTING_DEPTH_MAX {
        return Err(TemplateError::path(text, "it is deeper than any event"));
    }
    Ok(keys.into_iter().map(String::into_boxed_str).collect())
}

/// The values of many paths in one line.
pub(super) struct Values<'a> {
    walker: &'a mut Walker,
    paths: &'a Paths,
    line: &'a [u8],
}

impl<'a> Values<'a> {
    pub(super) fn of(walker: &'a mut Walker, paths: &'a Paths, line: &'a [u8]) -> Self {
        walker.begin(paths, line);
        Self {
            walker,
            paths,
            line,
        }
    }

    /// The raw value, quotes included.
    pub(super) fn find(&mut self, path: PathId) -> Option<&'a [u8]> {
        let place = self.walker.find(self.paths, self.line, path)?;
        self.line.get(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_with_dots_escaped_or_not() {
        let check = |text: &str, expected: Option<&[&str]>| {
            let keys = parse(text).ok();
            let keys: Option<Vec<&str>> = keys
                .as_ref()
                .map(|keys| keys.iter().map(AsRef::as_ref).collect());
            assert_eq!(keys.as_deref(), expected, "{text}");
        };
        check("a", Some(&["a"]));
        check(
            "initiator.host.address",
            Some(&["initiator", "host", "address"]),
        );
        check(r"a\.b.c\\d", Some(&["a.b", r"c\d"]));
        for text in ["", ".", "a.", ".a", "a..b", r"a\", r"a\b"] {
            check(text, None);
        }
    }
}
