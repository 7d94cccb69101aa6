//! Redaction: members that are dropped or masked by path, and matches of regular expressions in string values.
//!
//! Promises, because a redaction must not leak: *all* of equal keys are dropped or masked; a path reaches into every
//! element of an array on its way, and into a flat key (`"initiator.id": …`) that spells it with dots; where a path
//! leads into a string that looks like JSON, which some senders write for `requestData`, the whole string is masked; and what
//! cannot be read is not copied. Everything else stays byte for byte. Keys are never changed, numbers only by path.
//! Leaves to others: labels, which are not part of the line.

use regex::{NoExpand, Regex, RegexBuilder};

use crate::limits::NESTING_DEPTH_MAX;

use super::json::escape::push_string;
use super::json::{Item, Items, decoded, string_span};
use super::paths::parse;
use super::settings::MaskSettings;
use super::{TemplateError, TemplateSettings};

/// Compiled drops and masks.
#[derive(Debug, Clone)]
pub(super) struct Redaction {
    root: Node,
    patterns: Vec<Regex>,
    /// What takes the place of a match.
    text: Box<str>,
    /// The same as a JSON string.
    text_quoted: Box<[u8]>,
}

/// What is done with a key, and what is below it.
#[derive(Debug, Clone, Default)]
struct Node {
    action: Option<Action>,
    children: Vec<(Box<str>, Node)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Drop,
    Mask,
}

impl Redaction {
    /// `None` when nothing is dropped or masked.
    pub(super) fn compile(settings: &TemplateSettings) -> Result<Option<Self>, TemplateError> {
        let MaskSettings {
            fields,
            patterns,
            text,
        } = &settings.masks;
        let mut root = Node::default();
        for field in fields {
            root.at(&parse(field)?).action = Some(Action::Mask);
        }
        for field in &settings.drop {
            root.at(&parse(field)?).action = Some(Action::Drop);
        }
        let patterns = patterns
            .iter()
            .map(|pattern| compile_pattern(pattern))
            .collect::<Result<Vec<_>, _>>()?;
        if root.children.is_empty() && patterns.is_empty() {
            return Ok(None);
        }
        let text = text.as_deref().unwrap_or(TEXT_DEFAULT);
        let mut text_quoted = Vec::new();
        push_string(&mut text_quoted, text);
        Ok(Some(Self {
            root,
            patterns,
            text: text.into(),
            text_quoted: text_quoted.into(),
        }))
    }

    /// Appends the redacted line.
    pub(super) fn apply(&self, line: &[u8], out: &mut Vec<u8>) {
        self.push_container(Some(&self.root), line, 1, out);
    }

    fn push_container(
        &self,
        node: Option<&Node>,
        container: &[u8],
        depth: usize,
        out: &mut Vec<u8>,
    ) {
        let keyed = container.first() == Some(&b'{');
        out.push(if keyed { b'{' } else { b'[' });
        let start = out.len();
        for item in Items::of(container) {
            let child = if keyed {
                node.and_then(|node| node.child(&item))
            } else {
                node
            };
            let action = if keyed {
                child.and_then(|child| child.action)
            } else {
                None
            };
            if action == Some(Action::Drop) {
                continue;
            }
            if out.len() > start {
                out.push(b',');
            }
            out.extend_from_slice(item.lead);
            out.extend_from_slice(item.head);
            if action == Some(Action::Mask) {
                out.extend_from_slice(&self.text_quoted);
            } else {
                self.push_value(child, item.value, depth, out);
            }
            out.extend_from_slice(item.trail);
        }
        out.push(if keyed { b'}' } else { b']' });
    }

    fn push_value(&self, node: Option<&Node>, value: &[u8], depth: usize, out: &mut Vec<u8>) {
        let node = node.filter(|node| !node.children.is_empty());
        if node.is_none() && self.patterns.is_empty() {
            out.extend_from_slice(value);
            return;
        }
        match value.first() {
            // Ingest refuses what is deeper; here the bound keeps the stack where it validates nothing.
            Some(b'{' | b'[') if depth > NESTING_DEPTH_MAX => {
                out.extend_from_slice(&self.text_quoted)
            }
            Some(b'{' | b'[') => self.push_container(node, value, depth + 1, out),
            Some(b'"') => self.push_text(node, value, out),
            _ => out.extend_from_slice(value),
        }
    }

    fn push_text(&self, node: Option<&Node>, value: &[u8], out: &mut Vec<u8>) {
        let text = decoded(string_span(value).unwrap_or_default());
        if node.is_some() && text.trim_start().starts_with(['{', '[']) {
            out.extend_from_slice(&self.text_quoted);
            return;
        }
        let mut text = text;
        let mut changed = false;
        for pattern in &self.patterns {
            if pattern.is_match(&text) {
                let masked = pattern.replace_all(&text, NoExpand(&self.text));
                text = masked.into_owned().into();
                changed = true;
            }
        }
        if changed {
            push_string(out, &text);
        } else {
            out.extend_from_slice(value);
        }
    }
}

fn compile_pattern(pattern: &str) -> Result<Regex, TemplateError> {
    let refused = |why: String| TemplateError::Pattern {
        pattern: pattern.into(),
        why,
    };
    let regex = RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES_MAX)
        .build()
        .map_err(|error| refused(error.to_string()))?;
    if regex.is_match("") {
        return Err(refused(
            "it matches the empty text, so it would mask everywhere".to_owned(),
        ));
    }
    Ok(regex)
}

impl Node {
    fn at(&mut self, path: &[Box<str>]) -> &mut Self {
        path.iter().fold(self, |node, key| {
            let known = node.children.iter().position(|(name, _)| name == key);
            let place = known.unwrap_or_else(|| {
                node.children.push((key.clone(), Self::default()));
                node.children.len() - 1
            });
            &mut node.children[place].1
        })
    }

    fn child(&self, item: &Item<'_>) -> Option<&Self> {
        if let Some((_, child)) = self.children.iter().find(|(key, _)| item.is(key)) {
            return Some(child);
        }
        let key = item.key_text();
        if !key.contains('.') {
            return None;
        }
        key.split('.').try_fold(self, |node, part| {
            let found = node.children.iter().find(|(name, _)| name.as_ref() == part);
            found.map(|(_, child)| child)
        })
    }
}

/// What is written for a masked value when the settings say nothing.
const TEXT_DEFAULT: &str = "***";
/// Compiled size a pattern may have; a megabyte holds any sensible one.
const PATTERN_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn redact(mask: &[&str], drop: &[&str], patterns: &[&str], line: &str) -> String {
        let list = |from: &[&str]| from.iter().map(ToString::to_string).collect::<Vec<_>>();
        let settings = TemplateSettings {
            drop: list(drop),
            masks: MaskSettings {
                fields: list(mask),
                patterns: list(patterns),
                text: None,
            },
            ..TemplateSettings::default()
        };
        let mut out = Vec::new();
        let redaction = Redaction::compile(&settings).unwrap().unwrap();
        redaction.apply(line.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn dropped_members_go_and_all_else_stays_byte_for_byte() {
        let check = |drop: &[&str], line: &str, expected: &str| {
            assert_eq!(redact(&[], drop, &[], line), expected, "{drop:?} {line}");
        };
        check(
            &["x"],
            r#"{ "a" : 1.0e1 , "b":[ ] }"#,
            r#"{ "a" : 1.0e1 , "b":[ ] }"#,
        );
        check(&["a"], r#"{"a":1,"b":2,"c":3}"#, r#"{"b":2,"c":3}"#);
        check(&["b"], r#"{"a":1, "b":2, "c":3}"#, r#"{"a":1, "c":3}"#);
        check(&["c"], r#"{"a":1,"b":2,"c":3}"#, r#"{"a":1,"b":2}"#);
        check(&["a", "b.c"], r#"{"a":1,"b":{"c":2}}"#, r#"{"b":{}}"#);
        check(&["a"], r#"{ "a" : {"b":1} }"#, "{}");
        check(&["a"], r#"{"a":1,"b":1,"\u0061":2}"#, r#"{"b":1}"#);
        check(
            &["a.b"],
            r#"{"a":[{"b":1,"c":2},{"b":3},4],"a":{"b":5}}"#,
            r#"{"a":[{"c":2},{},4],"a":{}}"#,
        );
        check(
            &["a.b"],
            r#"{"a.b":1,"a":2,"a.c":3,"c":"a.b"}"#,
            r#"{"a":2,"a.c":3,"c":"a.b"}"#,
        );
    }

    #[test]
    fn masked_values_are_replaced_whatever_their_type() {
        let check = |mask: &[&str], line: &str, expected: &str| {
            assert_eq!(redact(mask, &[], &[], line), expected, "{mask:?} {line}");
        };
        check(&["a"], r#"{"a": "x" ,"b":1}"#, r#"{"a": "***" ,"b":1}"#);
        check(
            &["a", "b"],
            r#"{"a":{"c":[1]},"b":null,"a":7}"#,
            r#"{"a":"***","b":"***","a":"***"}"#,
        );
        check(
            &["a.b.c"],
            r#"{"a":{"b":[[{"c":1}],{"c":2}]}}"#,
            r#"{"a":{"b":[[{"c":"***"}],{"c":"***"}]}}"#,
        );
        check(&["a.b.c"], r#"{"a.b":{"c":1}}"#, r#"{"a.b":{"c":"***"}}"#);
    }

    #[test]
    fn json_in_a_string_on_the_way_is_masked_whole() {
        let check = |line: &str, expected: &str| {
            assert_eq!(redact(&["requestData.password"], &[], &[], line), expected);
        };
        check(
            r#"{"requestData":" {\"password\":\"x\"}"}"#,
            r#"{"requestData":"***"}"#,
        );
        check(
            r#"{"requestData":"none","b":"{}"}"#,
            r#"{"requestData":"none","b":"{}"}"#,
        );
    }

    #[test]
    fn patterns_find_decoded_text_in_values_and_never_in_keys() {
        let check = |patterns: &[&str], line: &str, expected: &str| {
            assert_eq!(redact(&[], &[], patterns, line), expected);
        };
        let card = r"\b\d{4}-\d{4}\b";
        check(
            &[card],
            r#"{"1234-5678":"a 1234-5678, 1111-2222","n":[{"m":"1234\u002d5678"}]}"#,
            r#"{"1234-5678":"a ***, ***","n":[{"m":"***"}]}"#,
        );
        check(
            &[card],
            r#"{"a":12345678,"b":"\u00e9\/"}"#,
            r#"{"a":12345678,"b":"\u00e9\/"}"#,
        );
        check(
            &["secret", "e"],
            r#"{"a":"\"secret\" e"}"#,
            r#"{"a":"\"***\" ***"}"#,
        );
        check(
            &["(?i)bearer \\S+"],
            r#"{"a":"Bearer $1\n"}"#,
            r#"{"a":"***\n"}"#,
        );
    }

    #[test]
    fn what_is_no_json_or_too_deep_does_not_leak() {
        assert_eq!(
            redact(&["a"], &[], &[], r#"{"b":1,"a:"secret"}"#),
            r#"{"b":1}"#
        );
        let deep = format!("{{\"a\":{}}}", "[".repeat(100_000));
        assert_eq!(redact(&[], &[], &["s"], &deep), "{}");
        let deep = format!("{{\"a\":{}\"s\"{}}}", "[".repeat(500), "]".repeat(500));
        assert!(redact(&[], &[], &["s"], &deep).contains("[\"***\"]"));
    }

    #[test]
    fn patterns_that_match_nothing_at_all_are_refused() {
        for pattern in ["x*", "(", "(?:a{1000}){1000}"] {
            assert!(compile_pattern(pattern).is_err(), "{pattern}");
        }
    }
}
