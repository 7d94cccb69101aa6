//! Key paths of a line: how they are written, and finding many of them in one walk.
//!
//! A path is keys joined by dots; `\.` is a dot within a key and `\\` a backslash. It is followed as rules follow it
//! ([`filter::tree`](crate::filter::tree)): keys are compared decoded, the first of equal keys wins also when what it
//! leads to is no object, and a step into anything but an object finds nothing.

use crate::filter::tree::Path;

use super::TemplateError;
use super::json::{Item, Items};

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

/// A set of paths, found together in one walk over a line.
#[derive(Debug, Clone)]
pub(super) struct PathSet {
    /// The first is the line itself.
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// By key, sorted.
    children: Vec<(Box<str>, PathId)>,
}

/// A path of a [`PathSet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PathId(usize);

/// Values of the paths of a set in one line.
#[derive(Debug)]
pub(super) struct Found<'a>(Vec<Option<&'a [u8]>>);

impl PathSet {
    pub(super) fn new() -> Self {
        Self {
            nodes: vec![Node::default()],
        }
    }

    /// Adds a path, if it is not there.
    pub(super) fn add(&mut self, path: &Path) -> PathId {
        path.iter().fold(PathId(0), |PathId(at), key| {
            let new = PathId(self.nodes.len());
            let children = &mut self.nodes[at].children;
            match children.binary_search_by(|(known, _)| known.cmp(key)) {
                Ok(place) => children[place].1,
                Err(place) => {
                    children.insert(place, (key.clone(), new));
                    self.nodes.push(Node::default());
                    new
                }
            }
        })
    }

    /// Finds all of them.
    pub(super) fn find<'a>(&self, line: &'a [u8]) -> Found<'a> {
        let mut found = Found(vec![None; self.nodes.len()]);
        self.walk(PathId(0), line, &mut found);
        found
    }

    /// As deep as the longest path.
    fn walk<'a>(&self, PathId(at): PathId, object: &'a [u8], found: &mut Found<'a>) {
        let node = &self.nodes[at];
        let mut missing = node.children.len();
        if missing == 0 || object.first() != Some(&b'{') {
            return;
        }
        for item in Items::of(object) {
            let Some(child) = node.child(&item) else {
                continue;
            };
            if found.0[child.0].is_some() {
                continue;
            }
            found.0[child.0] = Some(item.value);
            self.walk(child, item.value, found);
            missing -= 1;
            if missing == 0 {
                return;
            }
        }
    }
}

impl Node {
    fn child(&self, item: &Item<'_>) -> Option<PathId> {
        let place = self
            .children
            .binary_search_by(|(key, _)| item.order_of(key));
        place.ok().map(|place| self.children[place].1)
    }
}

impl<'a> Found<'a> {
    /// The raw value, quotes included.
    pub(super) fn value(&self, PathId(at): PathId) -> Option<&'a [u8]> {
        self.0[at]
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

    #[test]
    fn first_keys_win_and_only_objects_are_stepped_into() {
        let check = |path: &str, expected: Option<&str>| {
            let line = br#"{"a":{"b":1,"b":2},"a":{"c":3},"s":"x","s":{"t":1},"\u0064":[{"e":1}],"n":null}"#;
            let mut set = PathSet::new();
            for other in ["a", "a.b", "zz.y", "n"] {
                set.add(&parse(other).unwrap());
            }
            let id = set.add(&parse(path).unwrap());
            let value = set.find(line).value(id).map(String::from_utf8_lossy);
            assert_eq!(value.as_deref(), expected, "{path}");
        };
        check("a.b", Some("1"));
        check("a", Some(r#"{"b":1,"b":2}"#));
        check("a.c", None);
        check("s.t", None);
        check("d", Some(r#"[{"e":1}]"#));
        check("d.e", None);
        check("n", Some("null"));
    }
}
