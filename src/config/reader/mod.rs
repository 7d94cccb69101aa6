//! A typed reader of configuration tables.
//!
//! A [`Section`] gives the values of one table by key, checks them against the table of
//! keys, and reports what is wrong with its place; it then goes on with the default, so
//! that one run finds every mistake. At its end it names the keys nobody asked for. It
//! knows nothing of what the values are for.

pub(crate) mod report;
mod suggest;
pub(crate) mod syntax;
mod value;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::report::{Given, Origin, Place, Report};
use crate::config::keys::{Fallback, Key, Kind, SECTIONS, SectionSpec};
use crate::journal::settings::RoomLimit;
use crate::stream::settings::StartAt;

/// One table of the file, or its absence, which reads as all defaults.
pub(crate) struct Section<'r, 'i> {
    report: &'r Report<'i>,
    spec: &'static SectionSpec,
    table: Option<&'r DeTable<'i>>,
    /// The file has something else where the table should be, which was reported.
    is_broken: bool,
    /// Path of its header, with the operator's names: `stream.siem.batch`.
    path: String,
    /// Place of the section; `key` holds the prefix of its keys, such as `batch.`.
    place: Place,
    /// Keys asked for so far.
    asked: RefCell<Vec<&'static str>>,
}

impl<'r, 'i> Section<'r, 'i> {
    /// The section of a table. `place.key` is put before each key in messages.
    pub(crate) fn new(
        report: &'r Report<'i>,
        spec: &'static SectionSpec,
        table: Option<&'r DeTable<'i>>,
        (path, place): (String, Place),
    ) -> Self {
        Self {
            report,
            spec,
            table,
            is_broken: false,
            path,
            place,
            asked: RefCell::default(),
        }
    }

    /// A section inside this one, all defaults when the file does not have it.
    pub(crate) fn section(&self, name: &str, spec: &'static SectionSpec) -> Section<'r, 'i> {
        let path = format!("{}.{name}", self.path);
        let found = self
            .table
            .and_then(|table| find_table(self.report, table, name, (&path, self.at(name, None))));
        let (table, line) = found.unzip();
        let place = self.at(&format!("{name}."), line.or(self.place.line));
        let mut section = Section::new(self.report, spec, table, (path, place));
        section.is_broken = table.is_none() && self.has(name);
        section
    }

    /// True when the file has a section of that name inside this one.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(name))
    }

    /// Place of the section itself, for messages.
    pub(crate) fn place(&self) -> Place {
        let mut place = self.place.clone();
        place.key = place.key.trim_end_matches('.').to_owned();
        place
    }

    /// Place of a section inside this one, for messages.
    pub(crate) fn section_place(&self, name: &str) -> Place {
        let key = self.table.and_then(|table| table.get_key_value(name));
        let line = key.map(|(key, _)| self.report.line(key.span().start));
        self.at(name, line.or(self.place.line))
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, name: &str) -> Option<Given<bool>> {
        self.read(name, value::flag)
    }

    /// A whole number.
    pub(crate) fn count(&self, name: &str) -> Option<Given<usize>> {
        self.read(name, value::count)
    }

    /// A size in bytes.
    pub(crate) fn size(&self, name: &str) -> Option<Given<u64>> {
        self.read(name, value::size)
    }

    /// A size in bytes that fits the address space.
    pub(crate) fn size_in_memory(&self, name: &str) -> Option<Given<usize>> {
        self.read(name, |given, key| {
            usize::try_from(value::size(given, key)?)
                .map_err(|_| "is more than this machine can address; lower it".to_owned())
        })
    }

    /// A size, or a share of the file system.
    pub(crate) fn size_or_percent(&self, name: &str) -> Option<Given<RoomLimit>> {
        self.read(name, value::size_or_percent)
    }

    /// A duration; `None` for the value that means never or forever.
    pub(crate) fn span_or_never(&self, name: &str) -> Option<Given<Option<Duration>>> {
        self.read(name, value::span)
    }

    /// A duration.
    pub(crate) fn span(&self, name: &str) -> Option<Given<Duration>> {
        self.read(name, |given, key| {
            let span = value::span(given, key)?;
            Ok(span.expect("a key whose values may mean never is read as such"))
        })
    }

    /// One of the key's words.
    pub(crate) fn one_of(&self, name: &str) -> Option<Given<&'static str>> {
        self.read(name, value::one_of)
    }

    /// `ip:port`.
    pub(crate) fn address(&self, name: &str) -> Option<Given<SocketAddr>> {
        self.read(name, value::address)
    }

    /// A path.
    pub(crate) fn path(&self, name: &str) -> Option<Given<PathBuf>> {
        self.read(name, value::path)
    }

    /// Text.
    pub(crate) fn text(&self, name: &str) -> Option<Given<String>> {
        self.read(name, value::text)
    }

    /// Text that is never shown.
    pub(crate) fn secret(&self, name: &str) -> Option<Given<String>> {
        self.read(name, value::text)
    }

    /// `host:port` of brokers.
    pub(crate) fn brokers(&self, name: &str) -> Option<Given<Vec<String>>> {
        self.read(name, value::brokers)
    }

    /// The text of a rule.
    pub(crate) fn rule(&self, name: &str) -> Option<Given<String>> {
        self.read(name, value::rule)
    }

    /// A list of texts; empty when not given.
    pub(crate) fn texts(&self, name: &str) -> Option<Given<Vec<String>>> {
        self.read(name, value::texts)
    }

    /// The tables inside the table `name` of this section, whose names the operator chose, in the
    /// order of the file.
    pub(crate) fn named(&self, name: &str) -> Vec<NamedTable<'r, 'i>> {
        let Some(table) = self.table else {
            return Vec::new();
        };
        let mut named = named_tables(self.report, table, name);
        for inner in &mut named {
            let subject = &self.place.subject;
            inner.place.subject = format!("{subject} {}", inner.place.subject);
        }
        named
    }

    /// A URL as text; in messages without what may be secret.
    pub(crate) fn url(&self, name: &str) -> Option<Given<String>> {
        self.read(name, value::text)
    }

    /// One URL or some, each as text; in messages without what may be secret.
    pub(crate) fn urls(&self, name: &str) -> Option<Vec<Given<String>>> {
        let given = self.read(name, value::urls)?;
        let is_list = given.typed.starts_with('[');
        let urls = given.value.into_iter().enumerate().map(|(number, value)| {
            let mut place = given.place.clone();
            if is_list {
                place.key = format!("{}[{number}]", place.key);
            }
            Given {
                typed: value::masked_url(&format!("\"{value}\"")),
                value,
                origin: given.origin,
                place,
            }
        });
        Some(urls.collect())
    }

    /// The text of a key in a table of this section, unchecked: for what must be known before that
    /// table is read.
    pub(crate) fn peek(&self, table: &str, name: &str) -> Option<&str> {
        let table = self.table?.get(table)?.get_ref().as_table()?;
        table.get(name)?.get_ref().as_str()
    }

    /// Where a stream starts.
    pub(crate) fn start_at(&self, name: &str) -> Option<Given<StartAt>> {
        self.read(name, value::start_at)
    }

    /// Names with text, in the order of the file; the values of the text stay unseen in
    /// messages. Empty when not given.
    pub(crate) fn named_texts(&self, name: &str) -> Vec<(Given<String>, String)> {
        self.read(name, |_, _| Ok(()));
        let Some(table) = self
            .table
            .and_then(|table| table.get(name)?.get_ref().as_table())
        else {
            return Vec::new();
        };
        let mut texts = Vec::new();
        self.add_named_texts(table, (name, ""), &mut texts);
        texts.sort_by_key(|(given, _)| given.place.line);
        texts
    }

    /// Appends the texts of a table; `place` is its key, and what stands before each name. A dot in
    /// a name that is not in quotes makes a table inside: it is a part of the name.
    fn add_named_texts(
        &self,
        table: &DeTable<'_>,
        (name, before): (&str, &str),
        texts: &mut Vec<(Given<String>, String)>,
    ) {
        for (key, value) in table {
            let line = Some(self.report.line(key.span().start));
            let word = format!("{before}{}", key.get_ref());
            let place = self.at(&format!("{name}.\"{}\"", report::shown(&word)), line);
            match value.get_ref() {
                DeValue::String(text) => texts.push((
                    Given {
                        value: word,
                        origin: Origin::Typed,
                        place,
                        typed: MASK.to_owned(),
                    },
                    text.to_string(),
                )),
                DeValue::Table(inner) => {
                    self.add_named_texts(inner, (name, &format!("{word}.")), texts);
                }
                other => self.report.wrong(
                    &place,
                    MASK,
                    format!(
                        "is {}, but text is needed; put it in double quotes",
                        value::word(other)
                    ),
                ),
            }
        }
    }

    /// The value worked out for a key that was not given, or was wrong.
    pub(crate) fn or_computed<T>(
        &self,
        name: &str,
        given: Option<Given<T>>,
        computed: (T, String),
    ) -> Given<T> {
        given.unwrap_or_else(|| {
            let wrong = self.table.is_some_and(|table| table.contains_key(name));
            Given {
                value: computed.0,
                origin: if wrong {
                    Origin::Repaired
                } else {
                    Origin::Default
                },
                place: self.at(name, self.place.line),
                typed: computed.1,
            }
        })
    }

    /// Ends the reading: names the keys that do not exist.
    ///
    /// # Panics
    /// In debug builds, when a key of the table of keys was not asked for.
    pub(crate) fn finish(self) {
        for key in self.spec.keys {
            debug_assert!(
                self.asked.borrow().contains(&key.name),
                "[{}] {} stands in the table of keys, but nothing reads it",
                self.spec.path,
                key.name
            );
        }
        for (key, _) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if self.spec.key(name).is_some() || self.spec.tables.contains(&name) {
                continue;
            }
            let mut place = self.at("", Some(self.report.line(key.span().start)));
            let prefix = std::mem::take(&mut place.key);
            let name_shown = report::shown(name);
            self.report.say(
                &place,
                format!(
                    "unknown key {prefix}{name_shown}; {}",
                    self.hint(name, &prefix)
                ),
            );
        }
    }

    /// True when an unknown key will be reported as one that may stand for `name`.
    fn has_misspelt(&self, name: &str) -> bool {
        let typed = self.table.into_iter().flatten();
        typed
            .map(|(key, _)| key.get_ref().as_ref())
            .filter(|typed| self.spec.key(typed).is_none() && !self.spec.tables.contains(typed))
            .any(|typed| suggest::nearest(typed, self.known()) == Some(name))
    }

    /// All that may stand in the section.
    fn known(&self) -> impl Iterator<Item = &'static str> {
        let keys = self.spec.keys.iter().map(|key| key.name);
        keys.chain(self.spec.tables.iter().copied())
    }

    /// What an operator who typed an unknown key may have meant.
    fn hint(&self, name: &str, prefix: &str) -> String {
        if let Some(near) = suggest::nearest(name, self.known()) {
            return format!("did you mean {prefix}{near}?");
        }
        let elsewhere = sections_with(name);
        if elsewhere.is_empty() {
            let known: Vec<_> = self.known().collect();
            format!("known here: {}", known.join(", "))
        } else {
            format!("it belongs in {elsewhere}")
        }
    }

    /// The value of a key: as given, else its default. `None` when it has none; a required
    /// key is then reported.
    fn read<T>(
        &self,
        name: &str,
        parse: impl Fn(&DeValue<'_>, &Key) -> Result<T, String>,
    ) -> Option<Given<T>> {
        let key = self
            .spec
            .key(name)
            .expect("every key that is read stands in the table of keys");
        self.asked.borrow_mut().push(key.name);
        let mut origin = Origin::Default;
        let mut place = self.at(name, self.place.line);
        if let Some((typed_key, value)) = self.table.and_then(|table| table.get_key_value(name)) {
            place.line = Some(self.report.line(typed_key.span().start));
            let typed = self.typed(key, value);
            match checked(value.get_ref(), key, &parse) {
                Ok(value) => {
                    return Some(Given {
                        value,
                        origin: Origin::Typed,
                        place,
                        typed,
                    });
                }
                Err(rule) if value.get_ref().is_table() => self.report.say(&place, rule),
                Err(rule) => self.report.wrong(&place, &typed, rule),
            }
            origin = Origin::Repaired;
        }
        match key.fallback {
            Fallback::Value(text) => {
                let value = DeValue::parse(text).expect("a default in the table of keys is TOML");
                let value = parse(value.get_ref(), key).expect("a default obeys its own range");
                Some(Given {
                    value,
                    origin,
                    place,
                    typed: text.to_owned(),
                })
            }
            Fallback::Required => {
                if origin == Origin::Default && !self.is_broken && !self.has_misspelt(name) {
                    let example = value::example(key);
                    self.report.missing(
                        &place,
                        format!("is missing; write for example {name} = {example}"),
                    );
                }
                None
            }
            Fallback::Computed(_) | Fallback::Absent => None,
        }
    }

    /// The value as it may stand in a message.
    fn typed(&self, key: &Key, value: &Spanned<DeValue<'_>>) -> String {
        let typed = self.report.typed(value.span());
        match key.kind {
            Kind::Headers | Kind::Secret { .. } => MASK.to_owned(),
            Kind::Url | Kind::Origin | Kind::Urls { .. } => value::masked_url(&typed),
            _ => typed,
        }
    }

    fn at(&self, name: &str, line: Option<usize>) -> Place {
        Place {
            line,
            subject: self.place.subject.clone(),
            key: format!("{}{name}", self.place.key),
        }
    }
}

/// A table whose name the operator chose: `apps` of `[input.apps.tcp]`.
pub(crate) struct NamedTable<'r, 'i> {
    pub(crate) name: String,
    pub(crate) table: &'r DeTable<'i>,
    pub(crate) place: Place,
}

/// The tables inside the table `kind` of the root, in the order of the file; at most 256.
/// Reports names that would not do for files and metrics.
pub(crate) fn named_tables<'r, 'i>(
    report: &Report<'i>,
    root: &'r DeTable<'i>,
    kind: &str,
) -> Vec<NamedTable<'r, 'i>> {
    let place = |line, subject: String| Place {
        line,
        subject,
        key: String::new(),
    };
    let path = format!("{kind}.NAME");
    let found = find_table(report, root, kind, (&path, place(None, kind.to_owned())));
    let mut named = Vec::new();
    for (key, _) in found.map(|(table, _)| table).into_iter().flatten() {
        let (name, start) = (key.get_ref().as_ref(), key.span().start);
        let subject = format!("{kind} \"{}\"", report::shown(name));
        let place = place(Some(report.line(start)), subject);
        if !is_name(name) {
            report.say(
                &place,
                "the name does not do; write 1 to 64 of the characters a-z A-Z 0-9 _ -",
            );
        }
        let path = format!("{kind}.{name}");
        let parent = found.map(|(table, _)| table);
        let inner =
            parent.and_then(|parent| find_table(report, parent, name, (&path, place.clone())));
        if let Some((table, _)) = inner {
            let name = name.to_owned();
            named.push((start, NamedTable { name, table, place }));
        }
    }
    named.sort_by_key(|(start, _)| *start);
    if let Some((_, beyond)) = named.get(NAMED_TABLES_MAX) {
        let rule = format!("is one too many; {NAMED_TABLES_MAX} are the limit, remove some");
        report.say(&beyond.place, rule);
    }
    named
        .into_iter()
        .map(|(_, named)| named)
        .take(NAMED_TABLES_MAX)
        .collect()
}

/// Names become file names, parts of identities and metric labels.
fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (1..=64).contains(&name.len()) && name.chars().all(allowed)
}

const NAMED_TABLES_MAX: usize = 256;

/// Names what stands at the top of the file but is no section.
pub(crate) fn unknown_sections(report: &Report<'_>, root: &DeTable<'_>) {
    for (key, value) in root {
        let name: &str = key.get_ref();
        if ROOT_TABLES.contains(&name) {
            continue;
        }
        let place = Place {
            line: Some(report.line(key.span().start)),
            subject: String::new(),
            key: String::new(),
        };
        let name_shown = report::shown(name);
        let hint = match suggest::nearest(name, ROOT_TABLES.iter().copied()) {
            Some(near) => format!("did you mean [{near}]?"),
            None => {
                let elsewhere = sections_with(name);
                if elsewhere.is_empty() {
                    format!("the sections are {}", ROOT_TABLES.join(", "))
                } else {
                    format!("it belongs in {elsewhere}")
                }
            }
        };
        if value.get_ref().is_table() {
            report.say(&place, format!("unknown section [{name_shown}]; {hint}"));
        } else {
            report.say(&place, format!("unknown key {name_shown}; {hint}"));
        }
    }
}

const ROOT_TABLES: &[&str] = &[
    "node", "memory", "journal", "admin", "input", "exclude", "stream",
];

/// The sections that have a key of that name, for a message; empty when none has.
fn sections_with(name: &str) -> String {
    let sections: Vec<_> = SECTIONS
        .iter()
        .filter(|section| section.key(name).is_some())
        .map(|section| format!("[{}]", section.path))
        .collect();
    sections.join(" or ")
}

/// Stands for a value that may be secret.
const MASK: &str = "\"…\"";

/// The table of that name, with its line. Reports a value that is no table.
pub(crate) fn find_table<'r, 'i>(
    report: &Report<'i>,
    parent: &'r DeTable<'i>,
    name: &str,
    (path, place): (&str, Place),
) -> Option<(&'r DeTable<'i>, usize)> {
    let (key, value) = parent.get_key_value(name)?;
    let line = report.line(key.span().start);
    match value.get_ref() {
        DeValue::Table(table) => Some((table, line)),
        other => {
            let place = Place {
                line: Some(line),
                ..place
            };
            let word = value::word(other);
            report.say(
                &place,
                format!("is {word}, but a table is needed; write [{path}]"),
            );
            None
        }
    }
}

/// A value parsed after a look at whether it is of a kind the key takes at all.
fn checked<T>(
    value: &DeValue<'_>,
    key: &Key,
    parse: impl Fn(&DeValue<'_>, &Key) -> Result<T, String>,
) -> Result<T, String> {
    if value::fits(value, key.kind) {
        return parse(value, key);
    }
    Err(format!(
        "is {}, but {} is needed; write for example {} = {}",
        value::word(value),
        value::need(key.kind),
        key.name,
        value::example(key)
    ))
}
