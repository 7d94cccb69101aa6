//! The slow evaluator: a rule on a full JSON tree, node by node as `weir::filter::tree` says.
//!
//! Owns: what is true. Promises: shares nothing with the rule engine but `tree::fold`, `tree::severity_of`,
//! `filter::time` and the `regex` crate, which are definitions. Leaves to others: being fast.

pub(crate) mod functions;
pub(crate) mod text;
pub(crate) mod value;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;

use regex::Regex;
use weir::event::Labels;
use weir::filter::tree::{
    Compare, Expr, Field, Function, Label, Path, Source, Term, TextTest, Type,
};
use weir::position::Timestamp;

use crate::json::{Document, Kind, Node};
use value::Value;

/// An event, read in full.
pub(crate) struct Subject<'e> {
    line: Document,
    meta: Option<Document>,
    labels: &'e Labels,
    received: Timestamp,
}

impl<'e> Subject<'e> {
    /// The line is one JSON object, the label `meta` one when it is there.
    pub(crate) fn new(line: &[u8], labels: &'e Labels, received: Timestamp) -> Self {
        let meta = present(labels.meta.as_deref());
        Self {
            line: Document::parse(line).expect("the line is JSON"),
            meta: meta.map(|meta| Document::parse(meta.as_bytes()).expect("meta is JSON")),
            labels,
            received,
        }
    }

    /// Whether the condition is true.
    pub(crate) fn passes(&self, condition: &Expr) -> bool {
        self.condition(condition) == Some(true)
    }

    /// True when a key on the way of a path of the event that the condition mentions is there twice.
    pub(crate) fn is_ambiguous(&self, condition: &Expr) -> bool {
        let mut paths = Vec::new();
        collect_paths(condition, &mut paths);
        paths.into_iter().any(|path| self.line.is_ambiguous(path))
    }

    fn condition(&self, expr: &Expr) -> Option<bool> {
        match expr {
            Expr::All(operands) => all(operands.iter().map(|operand| self.condition(operand))),
            Expr::Any(operands) => any(operands.iter().map(|operand| self.condition(operand))),
            Expr::Not(operand) => self.condition(operand).map(|holds| !holds),
            Expr::Truthy(operand) => Some(!matches!(
                self.value(operand),
                Value::Null | Value::Bool(false)
            )),
            Expr::Compare(how, left, right) => self.value(left).compare(*how, &self.value(right)),
            Expr::In(operand, list) => {
                let value = self.value(operand);
                any(list
                    .iter()
                    .map(|one| value.compare(Compare::Equal, &self.value(one))))
            }
            Expr::Text(test, searched, wanted) => Some(text_passes(
                *test,
                &self.value(searched),
                &self.value(wanted),
            )),
            Expr::Phrase(operand, phrase) => Some(match self.value(operand) {
                Value::Container(text) => text::holds_phrase(&text, phrase),
                value => value
                    .cast(Type::String)
                    .text()
                    .is_some_and(|text| text::holds_phrase(text, phrase)),
            }),
            Expr::Matches(operand, pattern) => Some(
                self.value(operand)
                    .text()
                    .is_some_and(|text| finds(pattern, text)),
            ),
            Expr::InSubnet(operand, subnet) => {
                let value = self.value(operand);
                Some(
                    value
                        .text()
                        .is_some_and(|text| text::in_subnet(text, subnet)),
                )
            }
            Expr::Exists(field) => Some(self.field(field) != Value::Null),
            Expr::Term(field, term) => Some(
                self.texts(field)
                    .iter()
                    .any(|text| text::term_stands(text, term)),
            ),
            Expr::NumberTerm(field, how, number) => {
                let numbers = self.elements(field);
                Some(numbers.iter().any(|value| {
                    value
                        .numeric_text()
                        .is_some_and(|text| value::written_holds(*how, text, number))
                }))
            }
            Expr::Anywhere { term, labels } => Some(self.anywhere(term, *labels)),
            Expr::Literal(_)
            | Expr::Now
            | Expr::Field(_)
            | Expr::Read(..)
            | Expr::Cast(..)
            | Expr::Arithmetic(..)
            | Expr::Call(..) => self.value(expr).condition(),
        }
    }

    fn value(&self, expr: &Expr) -> Value {
        match expr {
            Expr::Literal(literal) => Value::of_literal(literal),
            Expr::Now => Value::Timestamp(nanoseconds(self.received)),
            Expr::Field(field) => self.field(field),
            Expr::Read(field, wanted) => self.field(field).read(*wanted),
            Expr::Cast(operand, to) => self.value(operand).cast(*to),
            Expr::Arithmetic(operator, left, right) => {
                functions::arithmetic(*operator, &self.value(left), &self.value(right))
            }
            Expr::Call(Function::If, arguments) => match self.condition(&arguments[0]) {
                Some(true) => self.value(&arguments[1]),
                _ => arguments
                    .get(2)
                    .map_or(Value::Null, |other| self.value(other)),
            },
            Expr::Call(function, arguments) => {
                let values: Vec<Value> = arguments.iter().map(|one| self.value(one)).collect();
                functions::call(*function, &values)
            }
            _ => Value::of_condition(self.condition(expr)),
        }
    }

    /// The first source's value that is not null.
    fn field(&self, field: &Field) -> Value {
        field
            .sources
            .iter()
            .map(|source| self.source(source))
            .find(|value| *value != Value::Null)
            .unwrap_or(Value::Null)
    }

    fn source(&self, source: &Source) -> Value {
        let string = |text: String| Value::String(text);
        match source {
            Source::Data(path) => node_value(Some(&self.line), path),
            Source::Meta(path) => node_value(self.meta.as_ref(), path),
            Source::Label(label) => self.label(*label).map_or(Value::Null, string),
            Source::CrnService(path) => node_value(Some(&self.line), path)
                .text()
                .and_then(crn_service)
                .map_or(Value::Null, string),
            Source::Time => {
                Value::Timestamp(nanoseconds(self.labels.event_time.unwrap_or(self.received)))
            }
        }
    }

    fn label(&self, label: Label) -> Option<String> {
        let labels = self.labels;
        let text = present(match label {
            Label::Application => labels.application.as_deref(),
            Label::Subsystem => labels.subsystem.as_deref(),
            Label::Host => labels.host.as_deref(),
            Label::Level => labels.level.as_deref(),
            Label::Env => labels.env.as_deref(),
            Label::Tags => labels.tags.as_deref(),
            Label::Sender => labels.sender.as_deref(),
            Label::Peer => labels.peer.as_deref(),
        })?;
        if label == Label::Peer
            && let Ok(peer) = text.parse::<SocketAddr>()
        {
            return Some(peer.ip().to_string());
        }
        Some(text.to_owned())
    }

    /// The field's value, or what stands directly in it when it is an array; each tag when it is the tags.
    fn elements(&self, field: &Field) -> Vec<Value> {
        for source in &field.sources {
            let value = self.source(source);
            if value == Value::Null {
                continue;
            }
            return match (source, value) {
                (Source::Label(Label::Tags), Value::String(tags)) => tags
                    .split(',')
                    .map(|tag| Value::String(tag.trim_matches(' ').to_owned()))
                    .collect(),
                (Source::Data(path), Value::Container(_)) => array(Some(&self.line), path),
                (Source::Meta(path), Value::Container(_)) => array(self.meta.as_ref(), path),
                (_, value) => vec![value],
            };
        }
        Vec::new()
    }

    /// The texts that `Expr::Term` tests.
    fn texts(&self, field: &Field) -> Vec<String> {
        self.elements(field)
            .iter()
            .filter_map(Value::characters)
            .collect()
    }

    fn anywhere(&self, term: &Term, labels: bool) -> bool {
        const SEARCHED: [Label; 6] = [
            Label::Application,
            Label::Subsystem,
            Label::Host,
            Label::Level,
            Label::Env,
            Label::Tags,
        ];
        let mut texts = vec![self.line.decoded.clone()];
        if labels {
            texts.extend(SEARCHED.iter().filter_map(|label| self.label(*label)));
            texts.extend(self.meta.as_ref().map(|meta| meta.decoded.clone()));
        }
        texts.iter().any(|text| text::term_stands(text, term))
    }
}

/// A label that is there; empty text counts as absent.
fn present(label: Option<&str>) -> Option<&str> {
    label.filter(|text| !text.is_empty())
}

fn nanoseconds(time: Timestamp) -> i128 {
    i128::from(time.0) * 1_000
}

fn node_value(document: Option<&Document>, path: &Path) -> Value {
    let found = document.and_then(|document| Some((document, document.find(path)?)));
    found.map_or(Value::Null, |(document, node)| {
        Value::of_node(document, node)
    })
}

/// What stands directly in the array at this path; nothing when it is an object.
fn array(document: Option<&Document>, path: &Path) -> Vec<Value> {
    let found = document.and_then(|document| Some((document, document.find(path)?)));
    match found {
        Some((
            document,
            Node {
                kind: Kind::Array(elements),
                ..
            },
        )) => elements
            .iter()
            .map(|element| Value::of_node(document, element))
            .collect(),
        _ => Vec::new(),
    }
}

fn crn_service(text: &str) -> Option<String> {
    if !text.starts_with("crn:") {
        return None;
    }
    let service = text.split(':').nth(4)?;
    (!service.is_empty()).then(|| service.to_owned())
}

/// False when one is false, else unknown when one is unknown.
fn all(operands: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let operands: Vec<Option<bool>> = operands.collect();
    if operands.contains(&Some(false)) {
        return Some(false);
    }
    (!operands.contains(&None)).then_some(true)
}

/// True when one is true, else unknown when one is unknown.
fn any(operands: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let operands: Vec<Option<bool>> = operands.collect();
    if operands.contains(&Some(true)) {
        return Some(true);
    }
    (!operands.contains(&None)).then_some(false)
}

fn text_passes(test: TextTest, searched: &Value, wanted: &Value) -> bool {
    let (Some(searched), Some(wanted)) = (searched.text(), wanted.text()) else {
        return false;
    };
    match test {
        TextTest::Contains => searched.contains(wanted),
        TextTest::StartsWith => searched.starts_with(wanted),
        TextTest::EndsWith => searched.ends_with(wanted),
    }
}

/// Whether the pattern is found; patterns are kept, since compiling one costs more than all else here.
fn finds(pattern: &str, text: &str) -> bool {
    thread_local! {
        static PATTERNS: RefCell<HashMap<String, Regex>> = RefCell::default();
    }
    PATTERNS.with_borrow_mut(|patterns| {
        let compiled = patterns
            .entry(pattern.to_owned())
            .or_insert_with(|| Regex::new(pattern).expect("a rule's pattern compiles"));
        compiled.is_match(text)
    })
}

/// Every path of the event that the expression mentions.
fn collect_paths<'r>(expr: &'r Expr, paths: &mut Vec<&'r Path>) {
    match expr {
        Expr::Field(field)
        | Expr::Read(field, _)
        | Expr::Exists(field)
        | Expr::Term(field, _)
        | Expr::NumberTerm(field, ..) => {
            paths.extend(field.sources.iter().filter_map(|source| match source {
                Source::Data(path) | Source::CrnService(path) => Some(path),
                Source::Label(_) | Source::Meta(_) | Source::Time => None,
            }));
        }
        Expr::Literal(_) | Expr::Now | Expr::Anywhere { .. } => {}
        Expr::Cast(operand, _)
        | Expr::Not(operand)
        | Expr::Truthy(operand)
        | Expr::Phrase(operand, _)
        | Expr::Matches(operand, _)
        | Expr::InSubnet(operand, _) => collect_paths(operand, paths),
        Expr::Compare(_, left, right)
        | Expr::Text(_, left, right)
        | Expr::Arithmetic(_, left, right) => {
            collect_paths(left, paths);
            collect_paths(right, paths);
        }
        Expr::In(operand, list) => {
            collect_paths(operand, paths);
            list.iter().for_each(|one| collect_paths(one, paths));
        }
        Expr::All(operands) | Expr::Any(operands) | Expr::Call(_, operands) => {
            operands
                .iter()
                .for_each(|operand| collect_paths(operand, paths));
        }
    }
}

#[cfg(test)]
mod tests;
