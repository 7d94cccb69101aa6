//! Texts with `$variables`.
//!
//! `$name` is a variable of letters, digits, `_` and dots (dots at its end are text), `${name}` one of any characters,
//! `$$` a dollar. Of the data source `event` a name is a key path ([`paths`](crate::stream::template::paths)), or, when it begins with `_`, one
//! of what Weir knows ([`Known`]); with a dot in front it is a key path in any case. Of an Azion source it is one of its list.
//!
//! A text that begins with `{` or `[` is JSON. Inside its strings a value is escaped text: a string as its own raw span,
//! anything else as its raw text; missing ones and null are `-`. Outside strings a value is raw JSON, and `null` when
//! missing. In any other text a value is decoded, and its control characters are spaces, so that a record stays one line.
//!
//! Values are never searched for variables again: Azion's WAF has values such as `$BLOCK`.

use crate::filter::{PathId, Paths, Walker};

use crate::stream::template::TemplateError;
use crate::stream::template::event_at::EventAt;
use crate::stream::template::json::escape::{make_ascii, push_escaped};
use crate::stream::template::json::{decoded, string_span};
use crate::stream::template::paths::{Values, parse};
use crate::stream::template::time;
use variables::{DataSource, Known, nearest};

pub(super) mod variables;

/// A compiled text.
#[derive(Debug, Clone)]
pub(super) struct Text {
    paths: Paths,
    segments: Vec<Segment>,
    is_json: bool,
    /// Azion's output is ASCII.
    ascii: bool,
}

#[derive(Debug, Clone)]
enum Segment {
    Literal(Box<[u8]>),
    Variable(Variable, Place),
}

#[derive(Debug, Clone, Copy)]
enum Variable {
    Path(PathId),
    Known(Known),
}

/// Where in a text something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a text that is not JSON.
    Plain,
    /// In JSON, outside strings.
    Json,
    /// In a string of JSON.
    JsonString,
}

impl Text {
    pub(in crate::stream::template) fn compile(
        text: &str,
        source: DataSource,
    ) -> Result<Self, TemplateError> {
        let text = text.trim_end_matches(['\n', '\r']);
        let is_json = text.trim_start().starts_with(['{', '[']);
        let mut compiler = Compiler {
            source,
            text: Self {
                paths: Paths::new(),
                segments: Vec::new(),
                is_json,
                ascii: source != DataSource::Event,
            },
            place: if is_json { Place::Json } else { Place::Plain },
            literal: String::new(),
            samples: Default::default(),
        };
        compiler.run(text)?;
        let Compiler {
            text: compiled,
            samples,
            ..
        } = compiler;
        if is_json {
            for sample in samples {
                serde_json::from_str::<serde::de::IgnoredAny>(&sample)
                    .map_err(|error| TemplateError::TextJson(error.to_string()))?;
            }
        } else if text.contains(['\n', '\r']) {
            return Err(TemplateError::TextLines);
        }
        Ok(compiled)
    }

    /// Azion's own template: all variables of the source as strings.
    pub(in crate::stream::template) fn of_all(source: DataSource) -> Result<Self, TemplateError> {
        let members: Vec<String> = source
            .variables()
            .iter()
            .map(|name| format!("\"{name}\":\"${name}\""))
            .collect();
        Self::compile(&format!("{{{}}}", members.join(",")), source)
    }

    pub(in crate::stream::template) fn is_json(&self) -> bool {
        self.is_json
    }

    pub(in crate::stream::template) fn render(
        &self,
        walker: &mut Walker,
        event: &EventAt<'_>,
        out: &mut Vec<u8>,
    ) {
        let mut values = Values::of(walker, &self.paths, event.line);
        for segment in &self.segments {
            match segment {
                Segment::Literal(bytes) => out.extend_from_slice(bytes),
                Segment::Variable(variable, place) => {
                    let start = out.len();
                    match variable {
                        Variable::Path(path) => push_value(out, values.find(*path), *place),
                        Variable::Known(known) => push_known(out, event, *known, *place),
                    }
                    if self.ascii {
                        make_ascii(out, start);
                    }
                }
            }
        }
    }
}

fn push_value(out: &mut Vec<u8>, value: Option<&[u8]>, place: Place) {
    let value = value.filter(|value| *value != b"null");
    let span = value.and_then(string_span);
    match (place, value, span) {
        (Place::Json, value, _) => out.extend_from_slice(value.unwrap_or(b"null")),
        (_, None, _) => out.extend_from_slice(MISSING.as_bytes()),
        (Place::JsonString, _, Some(span)) => out.extend_from_slice(span),
        (Place::JsonString, Some(value), None) => push_escaped(out, value),
        (Place::Plain, _, Some(span)) => push_plain(out, decoded(span).as_bytes()),
        (Place::Plain, Some(value), None) => push_plain(out, value),
    }
}

fn push_known(out: &mut Vec<u8>, event: &EventAt<'_>, known: Known, place: Place) {
    if known == Known::Line && place == Place::Json {
        out.extend_from_slice(event.line);
        return;
    }
    let labels = event.labels;
    let owned = |label: &Option<Box<str>>| label.as_deref().map(str::as_bytes).map(<[u8]>::to_vec);
    let in_utc = |time| {
        let mut text = Vec::new();
        time::push(&mut text, time, 3, "Z");
        Some(text)
    };
    let text = match known {
        Known::Line => Some(event.line.to_vec()),
        Known::Host => event.host().map(String::into_bytes),
        Known::Application => owned(&labels.application),
        Known::Subsystem => owned(&labels.subsystem),
        Known::Level => owned(&labels.level),
        Known::Env => owned(&labels.env),
        Known::Tags => owned(&labels.tags),
        Known::Sender => owned(&labels.sender),
        Known::Peer => owned(&labels.peer),
        Known::Millis => {
            let millis = time::millis(event.time()).to_string();
            out.extend_from_slice(millis.as_bytes());
            return;
        }
        Known::Time => in_utc(event.time()),
        Known::Received => in_utc(event.received),
        Known::Id => Some(event.position.uuid().to_string().into_bytes()),
    };
    match (place, text) {
        (Place::Json, None) => out.extend_from_slice(b"null"),
        (_, None) => out.extend_from_slice(MISSING.as_bytes()),
        (Place::Plain, Some(text)) => push_plain(out, &text),
        (Place::JsonString, Some(text)) => push_escaped(out, &text),
        (Place::Json, Some(text)) => {
            out.push(b'"');
            push_escaped(out, &text);
            out.push(b'"');
        }
    }
}

/// Text with control characters as spaces.
fn push_plain(out: &mut Vec<u8>, text: &[u8]) {
    let start = out.len();
    out.extend_from_slice(text);
    for byte in &mut out[start..] {
        if byte.is_ascii_control() {
            *byte = b' ';
        }
    }
}

struct Compiler {
    source: DataSource,
    text: Text,
    /// Where the compiler is in the text.
    place: Place,
    literal: String,
    /// The text with strings, and with numbers, for the variables outside strings: both must be JSON, else a variable
    /// stands where only one of the two may.
    samples: [String; 2],
}

impl Compiler {
    fn run(&mut self, text: &str) -> Result<(), TemplateError> {
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            if character == '$' {
                rest = self.dollar(rest)?;
                continue;
            }
            let mut length = character.len_utf8();
            match (self.place, character) {
                (Place::Json, '"') => self.place = Place::JsonString,
                (Place::JsonString, '"') => self.place = Place::Json,
                (Place::JsonString, '\\') => {
                    length += rest[1..].chars().next().map_or(0, char::len_utf8);
                }
                _ => {}
            }
            let (written, further) = rest.split_at(length);
            if self.place == Place::Json && matches!(character, '\n' | '\r') {
                self.push_literal(" ");
            } else {
                self.push_literal(written);
            }
            rest = further;
        }
        self.end_literal();
        Ok(())
    }

    /// Reads what begins with a dollar; returns what is behind it.
    fn dollar<'t>(&mut self, text: &'t str) -> Result<&'t str, TemplateError> {
        let rest = &text[1..];
        if let Some(further) = rest.strip_prefix('$') {
            self.push_literal("$");
            return Ok(further);
        }
        let (name, further) = if let Some(braced) = rest.strip_prefix('{') {
            braced
                .split_once('}')
                .ok_or_else(|| TemplateError::Dollar {
                    found: text.chars().take(20).collect(),
                })?
        } else {
            let is_name =
                |character: char| character.is_ascii_alphanumeric() || "_.".contains(character);
            let end = rest
                .find(|character| !is_name(character))
                .unwrap_or(rest.len());
            let name = rest[..end].trim_end_matches('.');
            (name, &rest[name.len()..])
        };
        if name.is_empty() {
            return Err(TemplateError::Dollar {
                found: text.chars().take(20).collect(),
            });
        }
        self.end_literal();
        let variable = self.variable(name)?;
        self.text
            .segments
            .push(Segment::Variable(variable, self.place));
        let [strings, numbers] = &mut self.samples;
        match self.place {
            Place::Json => {
                strings.push_str("\"\"");
                numbers.push('0');
            }
            Place::JsonString | Place::Plain => {
                strings.push('x');
                numbers.push('x');
            }
        }
        Ok(further)
    }

    fn variable(&mut self, name: &str) -> Result<Variable, TemplateError> {
        let unknown = |nearest: Option<&str>| TemplateError::UnknownVariable {
            name: name.into(),
            data_source: self.source.name(),
            nearest: nearest.map(Into::into),
        };
        if self.source != DataSource::Event {
            let known = self.source.variables().iter().copied();
            let key = self.source.key(name);
            let key = key.ok_or_else(|| unknown(nearest(name, known)))?;
            return Ok(Variable::Path(
                self.text.paths.add(&Box::from([Box::from(key)])),
            ));
        }
        if name.starts_with('_') {
            let mut known = Known::NAMES.iter();
            return match known.find(|(known, _)| *known == name) {
                Some((_, known)) => Ok(Variable::Known(*known)),
                None => Err(unknown(nearest(
                    name,
                    Known::NAMES.iter().map(|(known, _)| *known),
                ))),
            };
        }
        let path = parse(name.strip_prefix('.').unwrap_or(name))?;
        Ok(Variable::Path(self.text.paths.add(&path)))
    }

    fn push_literal(&mut self, text: &str) {
        self.literal.push_str(text);
        for sample in &mut self.samples {
            sample.push_str(text);
        }
    }

    fn end_literal(&mut self) {
        if self.literal.is_empty() {
            return;
        }
        let mut literal = std::mem::take(&mut self.literal).into_bytes();
        if self.text.ascii {
            make_ascii(&mut literal, 0);
        }
        self.text.segments.push(Segment::Literal(literal.into()));
    }
}

/// Azion's word for what is not there.
const MISSING: &str = "-";

#[cfg(test)]
mod tests;
