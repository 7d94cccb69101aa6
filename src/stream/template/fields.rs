//! Choosing fields: `fields = ["action", "initiator.id as user"]`.
//!
//! The result is a new object with the chosen fields in the order listed, each value as its raw span. A path without a
//! new name keeps its nesting, and paths under one key are gathered into one object; a new name is one key at the top.
//! What the event does not have is left out, and so is an object nothing of which is there. The first of equal keys wins.

use crate::filter::{PathId, Paths, Walker};

use super::TemplateError;
use super::json::escape::push_string;
use super::paths::{Values, parse};

/// A compiled list of fields.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    paths: Paths,
    members: Vec<Member>,
}

#[derive(Debug, Clone)]
struct Member {
    name: Box<str>,
    /// The key with its quotes and colon.
    head: Box<[u8]>,
    from: From,
}

#[derive(Debug, Clone)]
enum From {
    Value(PathId),
    Object(Vec<Member>),
}

impl Choice {
    pub(super) fn compile(fields: &[String]) -> Result<Self, TemplateError> {
        let mut choice = Self {
            paths: Paths::new(),
            members: Vec::new(),
        };
        for field in fields {
            let (path, name) = match field.split_once(" as ") {
                Some((path, name)) => (path.trim(), Some(name.trim())),
                None => (field.trim(), None),
            };
            let path = parse(path)?;
            let id = choice.paths.add(&path);
            let keys: &[Box<str>] = match name {
                Some("") => return Err(TemplateError::path(field, "the new name is empty")),
                Some(name) => &[Box::from(name)],
                None => &path,
            };
            if !insert(&mut choice.members, keys, id) {
                let why =
                    "the result would have this key twice; give one of them a name with ` as `";
                return Err(TemplateError::path(field, why));
            }
        }
        Ok(choice)
    }

    pub(super) fn apply(&self, walker: &mut Walker, line: &[u8], out: &mut Vec<u8>) {
        push_object(
            &self.members,
            &mut Values::of(walker, &self.paths, line),
            out,
        );
    }
}

/// False when the key is taken.
fn insert(members: &mut Vec<Member>, keys: &[Box<str>], id: PathId) -> bool {
    let (name, rest) = keys.split_first().expect("a path has a key");
    let known = members.iter_mut().find(|member| member.name == *name);
    match known {
        Some(member) => match &mut member.from {
            From::Object(inner) if !rest.is_empty() => insert(inner, rest, id),
            From::Object(_) | From::Value(_) => false,
        },
        None => {
            let mut head = Vec::new();
            push_string(&mut head, name);
            head.push(b':');
            let from = if rest.is_empty() {
                From::Value(id)
            } else {
                let mut inner = Vec::new();
                insert(&mut inner, rest, id);
                From::Object(inner)
            };
            members.push(Member {
                name: name.clone(),
                head: head.into(),
                from,
            });
            true
        }
    }
}

/// Appends the object; false when it has no member.
fn push_object(members: &[Member], values: &mut Values<'_>, out: &mut Vec<u8>) -> bool {
    out.push(b'{');
    let start = out.len();
    for member in members {
        let before = out.len();
        if before > start {
            out.push(b',');
        }
        out.extend_from_slice(&member.head);
        let present = match &member.from {
            From::Value(id) => values
                .find(*id)
                .map(|value| out.extend_from_slice(value))
                .is_some(),
            From::Object(inner) => push_object(inner, values, out),
        };
        if !present {
            out.truncate(before);
        }
    }
    out.push(b'}');
    out.len() > start + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(fields: &[&str]) -> Result<String, TemplateError> {
        let line = br#"{"n":1.50e+3,"initiator":{"id":"a\u00e9","name":"x","host":{"address":"::1"}},"action":"a.b.c","n":2,"s":"t"}"#;
        let fields: Vec<String> = fields.iter().map(ToString::to_string).collect();
        let mut out = Vec::new();
        Choice::compile(&fields)?.apply(&mut Walker::new(), line, &mut out);
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn chosen_fields_come_in_the_order_listed_as_raw_spans() {
        let check = |fields: &[&str], expected: &str| assert_eq!(choose(fields).unwrap(), expected);
        check(&["action", "n"], r#"{"action":"a.b.c","n":1.50e+3}"#);
        check(
            &["initiator.id as user", "initiator.id"],
            r#"{"user":"a\u00e9","initiator":{"id":"a\u00e9"}}"#,
        );
        check(
            &["initiator.host.address", "action", "initiator.id"],
            r#"{"initiator":{"host":{"address":"::1"},"id":"a\u00e9"},"action":"a.b.c"}"#,
        );
        check(
            &["initiator.host as source.host"],
            r#"{"source.host":{"address":"::1"}}"#,
        );
        check(
            &["initiator as \"who\""],
            r#"{"\"who\"":{"id":"a\u00e9","name":"x","host":{"address":"::1"}}}"#,
        );
    }

    #[test]
    fn missing_fields_are_left_out_and_so_are_empty_objects() {
        let check = |fields: &[&str], expected: &str| assert_eq!(choose(fields).unwrap(), expected);
        check(&["nothing"], "{}");
        check(&["initiator.host.port", "s.t", "n"], r#"{"n":1.50e+3}"#);
        check(
            &["initiator.zone.x", "initiator.name"],
            r#"{"initiator":{"name":"x"}}"#,
        );
    }

    #[test]
    fn a_key_that_would_be_there_twice_is_refused() {
        for fields in [
            &["a", "a"][..],
            &["a", "a.b"],
            &["a.b", "a"],
            &["x as a", "a"],
            &["x as a", "a.b"],
            &["x as "],
            &[""],
        ] {
            assert!(choose(fields).is_err(), "{fields:?}");
        }
        assert!(choose(&["a", "a as b", "c.a"]).is_ok());
    }
}
