//! Runs a program on an event.
//!
//! Owns: the evaluation of every node, and the scratch memory of a thread. Promises: what the [`tree`](super::tree)
//! says; a field found once is not looked for again by any rule of the event; no allocation unless a text has escapes
//! or is calculated; no panic on any bytes. Leaves to others: which rules are asked, and what follows.

use core::net::SocketAddr;
use std::borrow::Cow;

use super::compile::{FieldId, Node, Operand, Polarity, Program, SourcePlan, TextFrom};
use super::functions;
use super::line::array;
use super::line::number::{self, Decimal};
use super::line::paths::{PathId, is_same};
use super::line::text::{self, Search};
use super::line::walk::Walker;
use super::literal::RequiredLiteral;
use super::tree::{Compare, Label, TextTest, Type};
use super::value::{self, Value, inside};
use crate::event::Labels;
use crate::os::simd::Level;
use crate::position::Timestamp;

/// An event to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// One complete JSON object in UTF-8, as validated at ingest. On other bytes any answer may come.
    pub line: &'a [u8],
    /// Its labels.
    pub labels: &'a Labels,
    /// When it was received.
    pub received: Timestamp,
}

/// Scratch memory of one thread, used again for every event.
pub struct Evaluator {
    walker: Walker,
    meta: Walker,
    /// The walker of `meta` was turned to this event's.
    meta_begun: bool,
    /// Events begun, modulo 2^32.
    events: u32,
    /// The event is one to learn from.
    sampled: bool,
    /// The line has a backslash, once that was asked.
    backslash: Option<bool>,
    /// The decoded text of the line.
    decoded: Vec<u8>,
    text: LineText,
    /// Per node of the field table: the object on its way holds its key twice.
    duplicates: Vec<bool>,
    duplicates_known: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineText {
    Unknown,
    /// The line has no escapes.
    Line,
    Decoded,
}

impl Default for Evaluator {
    fn default() -> Self {
        Self::new()
    }
}

impl Evaluator {
    /// With the widest instructions of this CPU.
    #[must_use]
    pub fn new() -> Self {
        Self::with_walkers(Walker::new)
    }

    /// With the given instructions; `None` is the portable way. For tests and benches.
    #[must_use]
    pub fn with_level(level: Option<Level>) -> Self {
        Self::with_walkers(|| Walker::with_level(level))
    }

    /// Walkers choose the instructions.
    fn with_walkers(walker: impl Fn() -> Walker) -> Self {
        Self {
            walker: walker(),
            meta: walker(),
            meta_begun: false,
            events: 0,
            sampled: false,
            backslash: None,
            decoded: Vec::new(),
            text: LineText::Unknown,
            duplicates: Vec::new(),
            duplicates_known: false,
        }
    }

    /// Turns to an event.
    #[inline]
    pub fn begin<'p, 'e>(
        &'p mut self,
        program: &'p Program,
        event: Event<'e>,
    ) -> Evaluation<'p, 'e> {
        self.walker.begin(&program.paths, event.line);
        self.meta_begun = false;
        self.sampled = self.events.is_multiple_of(SAMPLED);
        self.events = self.events.wrapping_add(1);
        self.backslash = None;
        self.text = LineText::Unknown;
        self.duplicates_known = false;
        Evaluation {
            scratch: self,
            program,
            event,
        }
    }
}

/// One event and all rules of a program.
pub struct Evaluation<'p, 'e> {
    scratch: &'p mut Evaluator,
    program: &'p Program,
    event: Event<'e>,
}

/// Of so many events one is judged without regard to literals, to learn where they pay.
const SAMPLED: u32 = 64;

/// What a field holds, as it lies there.
enum Raw<'e> {
    Null,
    /// A scalar's raw bytes.
    Scalar(&'e [u8]),
    /// A container's raw bytes.
    Container(&'e [u8]),
    Text(Cow<'e, str>),
    Time(i128),
}

/// A field as text.
enum Text<'t> {
    /// Null, or another type.
    None,
    Container,
    Some(&'t [u8]),
}

impl<'p, 'e: 'p> Evaluation<'p, 'e> {
    /// True when the rule with this number matches the event.
    ///
    /// # Panics
    /// When the program has no such rule.
    #[inline]
    pub fn matches(&mut self, rule: usize) -> bool {
        let plan = &self.program.rules[rule];
        if let Some(literal) = &plan.literal
            && (self.scratch.sampled || literal.pays())
            && self.lacks(literal, &plan.condition)
        {
            return false;
        }
        self.is_true(&plan.condition)
            && (plan.polarity == Polarity::Deliver || !self.has_equal_keys(rule))
    }

    /// The literal is in no text of the line: none has an escape, and it is not among the bytes. Of an event to learn
    /// from that is not asked, but what the condition costs.
    #[inline(never)]
    fn lacks(&mut self, literal: &RequiredLiteral, condition: &'p Node) -> bool {
        if !self.scratch.sampled {
            return !literal.is_in(self.event.line) && !self.has_backslash();
        }
        let before = self.scratch.walker.walked_bytes();
        self.is_true(condition);
        let walked = self.scratch.walker.walked_bytes() - before;
        literal.learn(self.event.line, walked);
        false
    }

    /// The instructions to search with.
    fn level(&self) -> Option<Level> {
        self.scratch.walker.level()
    }

    fn has_backslash(&mut self) -> bool {
        let line = self.event.line;
        let known = &mut self.scratch.backslash;
        *known.get_or_insert_with(|| memchr::memchr(b'\\', line).is_some())
    }

    /// True when an object on the way of a data path of the rule holds the next key twice: from the top, first key
    /// first, keys compared decoded. A path that ends early is checked as far as it goes. Always false for a rule that
    /// delivers: its paths are not checked.
    pub fn has_equal_keys(&mut self, rule: usize) -> bool {
        let checked = &self.program.rules[rule].checked;
        if checked.is_empty() {
            return false;
        }
        let scratch = &mut *self.scratch;
        let paths = &self.program.paths;
        if !scratch.duplicates_known {
            scratch
                .walker
                .duplicates(paths, self.event.line, &mut scratch.duplicates);
            scratch.duplicates_known = true;
        }
        checked
            .iter()
            .any(|path| paths.way(*path).any(|node| scratch.duplicates[node]))
    }

    /// The condition is true.
    fn is_true(&mut self, node: &'p Node) -> bool {
        match node {
            Node::All(nodes) => nodes.iter().all(|node| self.is_part_true(node)),
            Node::Any(nodes) => nodes.iter().any(|node| self.is_part_true(node)),
            Node::Not(node) => self.is_false(node),
            leaf => self.leaf_is_true(leaf),
        }
    }

    /// As [`Self::is_true`], with a call only where there are parts below.
    #[inline(always)]
    fn is_part_true(&mut self, node: &'p Node) -> bool {
        match node {
            Node::All(_) | Node::Any(_) | Node::Not(_) => self.is_true(node),
            leaf => self.leaf_is_true(leaf),
        }
    }

    /// A condition without conditions below it is true.
    #[inline(always)]
    fn leaf_is_true(&mut self, leaf: &'p Node) -> bool {
        match self.tested_at_once(leaf) {
            Some(passes) => passes,
            None => self.test(leaf) == Some(true),
        }
    }

    /// The short way for what most rules ask of most values, without a call: a plain string or a whole number. `None`
    /// says nothing.
    #[inline(always)]
    fn tested_at_once(&mut self, leaf: &'p Node) -> Option<bool> {
        Some(match leaf {
            Node::Strings {
                from,
                equal,
                strings,
            } => strings.contains(self.plain_text(*from)?) == *equal,
            Node::StartsWith(from, part) => {
                let text = self.plain_text(*from)?;
                text.get(..part.len())
                    .is_some_and(|start| is_same(start, part))
            }
            Node::EndsWith(from, part) => {
                let text = self.plain_text(*from)?;
                let start = text.len().wrapping_sub(part.len());
                text.get(start..).is_some_and(|end| is_same(end, part))
            }
            Node::Contains(from, part) => part.find(self.plain_text(*from)?).is_some(),
            Node::Number {
                only,
                operator,
                number,
                ..
            } => {
                let line = self.value_and_rest((*only)?);
                value::holds(*operator, number::compare_whole(line, number)?)
            }
            _ => return None,
        })
    }

    /// The text of a field that is a string without escapes, as it lies in the line. `None` says nothing.
    #[inline(always)]
    fn plain_text(&mut self, from: TextFrom) -> Option<&'e [u8]> {
        match self.data(from.only?) {
            [b'"', text @ .., _] if !self.scratch.walker.has_backslash() => Some(text),
            _ => None,
        }
    }

    /// The condition is false, which is not the same as not true.
    fn is_false(&mut self, node: &'p Node) -> bool {
        match node {
            Node::All(nodes) => nodes.iter().any(|node| self.is_false(node)),
            Node::Any(nodes) => nodes.iter().all(|node| self.is_false(node)),
            Node::Not(node) => self.is_true(node),
            leaf => match self.tested_at_once(leaf) {
                Some(passes) => !passes,
                None => self.test(leaf) == Some(false),
            },
        }
    }

    /// The condition, true, false or null.
    fn condition(&mut self, node: &'p Node) -> Option<bool> {
        match node {
            Node::All(nodes) => self.joined(nodes, true),
            Node::Any(nodes) => self.joined(nodes, false),
            Node::Not(node) => self.condition(node).map(|value| !value),
            leaf => self.test(leaf),
        }
    }

    /// `unit` when all are, the opposite when one is, else null.
    fn joined(&mut self, nodes: &'p [Node], unit: bool) -> Option<bool> {
        let mut joined = Some(unit);
        for node in nodes {
            match self.condition(node) {
                Some(value) if value == unit => {}
                Some(value) => return Some(value),
                None => joined = None,
            }
        }
        joined
    }

    /// A condition without conditions below it.
    #[inline(never)]
    fn test(&mut self, node: &'p Node) -> Option<bool> {
        match node {
            Node::Constant(value) => *value,
            Node::All(_) | Node::Any(_) | Node::Not(_) => self.condition(node),
            Node::Strings {
                from,
                equal,
                strings,
            } => self.with_text(*from, |text| match text {
                Text::Some(text) => Some(strings.contains(text) == *equal),
                Text::None => Some(!*equal),
                Text::Container => None,
            }),
            Node::Number {
                field,
                cast,
                operator,
                number,
                ..
            } => self.number(*field, *cast, *operator, number),
            Node::Bool {
                field,
                equal,
                value,
            } => match self.raw(*field) {
                Raw::Scalar(raw @ (b"true" | b"false")) => {
                    Some(((raw == b"true") == *value) == *equal)
                }
                Raw::Container(_) => None,
                _ => Some(!*equal),
            },
            Node::Null { field, equal } => match self.raw(*field) {
                Raw::Null => Some(*equal),
                Raw::Container(_) => None,
                _ => Some(!*equal),
            },
            Node::Exists(field) => Some(!matches!(self.raw(*field), Raw::Null)),
            Node::StartsWith(from, part) => self.text_is(*from, |text| text.starts_with(part)),
            Node::EndsWith(from, part) => self.text_is(*from, |text| text.ends_with(part)),
            Node::Contains(from, part) => self.text_is(*from, |text| part.find(text).is_some()),
            other => self.test_rarer(other),
        }
    }

    /// Tests that cost more than a call.
    #[inline(never)]
    fn test_rarer(&mut self, node: &'p Node) -> Option<bool> {
        match node {
            Node::Matches(from, regex) => {
                self.text_is(*from, |text| regex.is_match(&String::from_utf8_lossy(text)))
            }
            Node::Term(field, search) => {
                let level = self.level();
                Some(self.term(*field, &|text| search.is_in(level, text)))
            }
            Node::NumberTerm(field, operator, number) => {
                Some(self.term(*field, &|text| match std::str::from_utf8(text) {
                    Ok(text) => value::numeric(text).is_some_and(|digits| {
                        let ordering = number::compare_with(digits.as_bytes(), number);
                        value::holds(*operator, ordering)
                    }),
                    Err(_) => false,
                }))
            }
            Node::Anywhere { search, labels } => Some(self.anywhere(search, *labels)),
            other => self.test_values(other),
        }
    }

    #[inline(never)]
    fn number(
        &mut self,
        field: FieldId,
        cast: bool,
        operator: Compare,
        number: &'p Decimal,
    ) -> Option<bool> {
        if let Some(path) = self.program.fields[field.0].only
            && let raw @ [b'-' | b'0'..=b'9', ..] = self.data(path)
        {
            return Some(value::holds(operator, number::compare_with(raw, number)));
        }
        let mut value = self.raw(field).into_value();
        if cast {
            value = value.cast(Type::Number);
        }
        let number = value::Number::Exact(Cow::Borrowed(number.text()));
        value::compare(operator, &value, &Value::Number(number))
    }

    /// Tests of values of any origin.
    fn test_values(&mut self, node: &'p Node) -> Option<bool> {
        match node {
            Node::Compare(operator, one, other) => {
                let (one, other) = (self.value(one), self.value(other));
                value::compare(*operator, &one, &other)
            }
            Node::In(operand, list) => {
                let wanted = self.value(operand);
                let mut joined = Some(false);
                for item in list {
                    let item = self.value(item);
                    match value::compare(Compare::Equal, &wanted, &item) {
                        Some(true) => return Some(true),
                        Some(false) => {}
                        None => joined = None,
                    }
                }
                joined
            }
            Node::TextTest(test, text, part) => Some(match (self.value(text), self.value(part)) {
                (Value::String(text), Value::String(part)) => match test {
                    TextTest::Contains => text.contains(&*part),
                    TextTest::StartsWith => text.starts_with(&*part),
                    TextTest::EndsWith => text.ends_with(&*part),
                },
                _ => false,
            }),
            Node::MatchesValue(operand, regex) => Some(match self.value(operand) {
                Value::String(text) => regex.is_match(&text),
                _ => false,
            }),
            Node::Phrase(operand, search) => Some(match self.value(operand) {
                Value::Container(raw) => search.is_in(self.level(), &text::unescaped(raw)),
                scalar => scalar
                    .into_text()
                    .is_some_and(|text| search.is_in(self.level(), text.as_bytes())),
            }),
            Node::InSubnet(operand, subnet) => Some(match self.value(operand) {
                Value::String(text) => value::address(&text)
                    .is_some_and(|address| value::is_in_subnet(address, subnet)),
                _ => false,
            }),
            Node::Truthy(operand) => Some(!matches!(
                self.value(operand),
                Value::Null | Value::Bool(false)
            )),
            Node::Value(operand) => self.value(operand).condition(),
            _ => None,
        }
    }

    fn value(&mut self, operand: &'p Operand) -> Value<'p> {
        match operand {
            Operand::Literal(literal) => Value::of_literal(literal),
            Operand::Now => Value::Timestamp(nanos_of(self.event.received)),
            Operand::Field(field) => self.raw(*field).into_value(),
            Operand::Read(field, wanted) => self.raw(*field).into_value().read_as(*wanted),
            Operand::Cast(inner, to) => self.value(inner).cast(*to),
            Operand::Arithmetic(operator, operands) => {
                let (one, other) = (self.value(&operands.0), self.value(&operands.1));
                value::arithmetic(*operator, &one, &other)
            }
            Operand::Call(function, arguments) => {
                let arguments: Vec<_> = arguments
                    .iter()
                    .map(|argument| self.value(argument))
                    .collect();
                functions::call(*function, &arguments)
            }
            Operand::Condition(node) => Value::of_condition(self.condition(node)),
        }
    }

    /// What the field holds: the first of its sources that is not null.
    #[inline]
    fn raw(&mut self, field: FieldId) -> Raw<'e> {
        for source in &self.program.fields[field.0].sources {
            let raw = match source {
                SourcePlan::Data(path) => {
                    let line = self.event.line;
                    let walker = &mut self.scratch.walker;
                    match walker.find(&self.program.paths, line, *path) {
                        Some(range) => Raw::of_json(&line[range]),
                        None => continue,
                    }
                }
                other => self.raw_elsewhere(*other),
            };
            if !matches!(raw, Raw::Null) {
                return raw;
            }
        }
        Raw::Null
    }

    /// What a source that is no path of the line holds.
    fn raw_elsewhere(&mut self, source: SourcePlan) -> Raw<'e> {
        match source {
            SourcePlan::Label(label) => self
                .label(label)
                .map_or(Raw::Null, |text| Raw::Text(Cow::Borrowed(text))),
            SourcePlan::Time => Raw::Time(nanos_of(
                self.event.labels.event_time.unwrap_or(self.event.received),
            )),
            SourcePlan::Meta(path) => {
                let Some(meta) = self.event.labels.meta.as_deref() else {
                    return Raw::Null;
                };
                let (meta, paths) = (meta.as_bytes(), &self.program.meta_paths);
                let walker = &mut self.scratch.meta;
                if !self.scratch.meta_begun {
                    walker.begin(paths, meta);
                    self.scratch.meta_begun = true;
                }
                match walker.find(paths, meta, path) {
                    Some(range) => Raw::of_json(&meta[range]),
                    None => Raw::Null,
                }
            }
            SourcePlan::CrnService(path) | SourcePlan::Data(path) => {
                let line = self.event.line;
                let found = self.scratch.walker.find(&self.program.paths, line, path);
                match found.map(|range| &line[range]) {
                    Some(raw @ [b'"', ..]) => {
                        crn_service(text::unescaped_str(inside(raw))).map_or(Raw::Null, Raw::Text)
                    }
                    _ => Raw::Null,
                }
            }
        }
    }

    fn label(&self, label: Label) -> Option<&'e str> {
        let labels = self.event.labels;
        let text = match label {
            Label::Application => &labels.application,
            Label::Subsystem => &labels.subsystem,
            Label::Host => &labels.host,
            Label::Level => &labels.level,
            Label::Env => &labels.env,
            Label::Tags => &labels.tags,
            Label::Sender => &labels.sender,
            Label::Peer => {
                return labels
                    .peer
                    .as_deref()
                    .filter(|peer| !peer.is_empty())
                    .map(host_of);
            }
        };
        text.as_deref().filter(|text| !text.is_empty())
    }

    /// The line from where the value of a path begins; empty when it is not there.
    #[inline(always)]
    fn value_and_rest(&mut self, path: PathId) -> &'e [u8] {
        let (walker, paths) = (&mut self.scratch.walker, &self.program.paths);
        walker.value_and_rest(paths, self.event.line, path)
    }

    /// The raw value of a path of the line; empty when it is not there.
    #[inline]
    fn data(&mut self, path: PathId) -> &'e [u8] {
        let (walker, paths) = (&mut self.scratch.walker, &self.program.paths);
        walker.value(paths, self.event.line, path)
    }

    /// A test of a field as text. Most fields have one source in the line, and their values stay in registers.
    #[inline(always)]
    fn with_text(
        &mut self,
        from: TextFrom,
        test: impl Fn(Text<'_>) -> Option<bool>,
    ) -> Option<bool> {
        let Some(path) = from.only else {
            return self.with_text_elsewhere(from, &test);
        };
        match self.data(path) {
            [b'"', text @ .., _] if !self.scratch.walker.has_backslash() => test(Text::Some(text)),
            raw @ [b'"', ..] => test(Text::Some(&text::unescaped(inside(raw)))),
            [b'{' | b'[', ..] => test(Text::Container),
            [] | b"null" => test(Text::None),
            raw if from.cast => test(Text::Some(raw)),
            _ => test(Text::None),
        }
    }

    /// As [`Self::with_text`], of any field.
    #[inline(never)]
    fn with_text_elsewhere(
        &mut self,
        from: TextFrom,
        test: &dyn Fn(Text<'_>) -> Option<bool>,
    ) -> Option<bool> {
        match self.raw(from.field) {
            Raw::Container(_) => test(Text::Container),
            Raw::Text(text) => test(Text::Some(text.as_bytes())),
            Raw::Scalar(raw @ [b'"', ..]) => test(Text::Some(&text::unescaped(inside(raw)))),
            Raw::Null => test(Text::None),
            other if from.cast => match other.into_value().into_text() {
                Some(text) => test(Text::Some(text.as_bytes())),
                None => test(Text::None),
            },
            Raw::Scalar(..) | Raw::Time(_) => test(Text::None),
        }
    }

    /// A test of the field's text; false when it has none.
    #[inline(always)]
    fn text_is(&mut self, from: TextFrom, passes: impl Fn(&[u8]) -> bool) -> Option<bool> {
        self.with_text(from, |text| {
            Some(match text {
                Text::Some(text) => passes(text),
                Text::None | Text::Container => false,
            })
        })
    }

    /// A test of the field's text, or of one element of its array, or of one tag.
    fn term(&mut self, field: FieldId, passes: &dyn Fn(&[u8]) -> bool) -> bool {
        let of_scalar = |raw: &[u8]| match raw {
            [b'"', ..] => passes(&text::unescaped(inside(raw))),
            [b'-' | b'0'..=b'9' | b't' | b'f', ..] => passes(raw),
            _ => false,
        };
        match self.raw(field) {
            Raw::Null => false,
            Raw::Scalar(raw) => of_scalar(raw),
            Raw::Container(raw) => array::elements(raw).any(of_scalar),
            Raw::Text(text) if self.is_tags(field) => text
                .split(',')
                .any(|tag| passes(tag.trim_matches(' ').as_bytes())),
            Raw::Text(text) => passes(text.as_bytes()),
            Raw::Time(nanos) => Value::Timestamp(nanos)
                .into_text()
                .is_some_and(|text| passes(text.as_bytes())),
        }
    }

    /// The text that the field now has is that of the tags.
    fn is_tags(&mut self, field: FieldId) -> bool {
        let program = self.program;
        for source in &program.fields[field.0].sources {
            let raw = match source {
                SourcePlan::Data(_) => continue,
                other => self.raw_elsewhere(*other),
            };
            if !matches!(raw, Raw::Null) {
                return *source == SourcePlan::Label(Label::Tags);
            }
        }
        false
    }

    fn anywhere(&mut self, search: &Search, labels: bool) -> bool {
        let has_backslash = self.has_backslash();
        let scratch = &mut *self.scratch;
        let line = self.event.line;
        if scratch.text == LineText::Unknown {
            scratch.text = LineText::Line;
            if has_backslash {
                scratch.text = LineText::Decoded;
                scratch.decoded.clear();
                text::unescape(line, &mut scratch.decoded);
            }
        }
        let text = match scratch.text {
            LineText::Decoded => &scratch.decoded,
            LineText::Line | LineText::Unknown => line,
        };
        search.is_in(scratch.walker.level(), text) || (labels && self.in_labels(search))
    }

    fn in_labels(&self, search: &Search) -> bool {
        const SEARCHED: [Label; 6] = [
            Label::Application,
            Label::Subsystem,
            Label::Host,
            Label::Level,
            Label::Env,
            Label::Tags,
        ];
        let level = self.level();
        let is_in = |text: &str| search.is_in(level, text.as_bytes());
        SEARCHED
            .iter()
            .any(|label| self.label(*label).is_some_and(is_in))
            || (self.event.labels.meta.as_deref())
                .is_some_and(|meta| search.is_in(level, &text::unescaped(meta.as_bytes())))
    }
}

impl<'e> Raw<'e> {
    #[inline]
    fn of_json(raw: &'e [u8]) -> Self {
        match raw {
            [b'{' | b'[', ..] => Raw::Container(raw),
            b"null" | [] => Raw::Null,
            _ => Raw::Scalar(raw),
        }
    }

    fn into_value(self) -> Value<'e> {
        match self {
            Raw::Null => Value::Null,
            Raw::Scalar(raw) | Raw::Container(raw) => Value::of_json(raw),
            Raw::Text(text) => Value::String(text),
            Raw::Time(nanos) => Value::Timestamp(nanos),
        }
    }
}

/// The address of `address:port`; other text as it is.
fn host_of(peer: &str) -> &str {
    if peer.parse::<SocketAddr>().is_err() {
        return peer;
    }
    match peer.rsplit_once(':') {
        Some((host, _)) => host.trim_start_matches('[').trim_end_matches(']'),
        None => peer,
    }
}

/// The fifth segment of a CRN.
fn crn_service(crn: Cow<'_, str>) -> Option<Cow<'_, str>> {
    let fifth = |crn: &str| -> Option<std::ops::Range<usize>> {
        let behind = crn.strip_prefix("crn:")?;
        let segment = behind.split(':').nth(3).filter(|found| !found.is_empty())?;
        let start = segment.as_ptr().addr() - crn.as_ptr().addr();
        Some(start..start + segment.len())
    };
    let range = fifth(&crn)?;
    Some(match crn {
        Cow::Borrowed(text) => Cow::Borrowed(&text[range]),
        Cow::Owned(text) => Cow::Owned(text[range].to_owned()),
    })
}

fn nanos_of(time: Timestamp) -> i128 {
    i128::from(time.0) * 1000
}
