//! What rules are made of: paths, strings and numbers, from the event at hand half of the time.
//!
//! Owns: the choice of the leaves of a tree.

use regex::escape;
use weir::filter::tree::{
    Field, Label, Literal, Path, Place, Severity, Source, Subnet, Term, Type,
};

use super::events::{Event, KEYS, NUMBERS, WORDS, time};
use crate::json::{Document, Kind, Node};
use crate::random::Random;

/// Nanoseconds of an hour.
const HOUR: i128 = 3_600_000_000_000;

/// What the event at hand holds.
pub(crate) struct Vocabulary {
    paths: Vec<Vec<Box<str>>>,
    strings: Vec<String>,
    numbers: Vec<String>,
}

impl Vocabulary {
    pub(crate) fn of(event: &Event) -> Self {
        let mut vocabulary = Self {
            paths: Vec::new(),
            strings: Vec::new(),
            numbers: Vec::new(),
        };
        let texts = [Some(&*event.line), event.labels.meta.as_deref()];
        for text in texts.into_iter().flatten() {
            let document = Document::parse(text.as_bytes()).expect("generated JSON is JSON");
            vocabulary.collect(&document, &document.root, &mut Vec::new());
        }
        let labels = [
            &event.labels.application,
            &event.labels.tags,
            &event.labels.level,
        ];
        for label in labels.into_iter().flatten() {
            vocabulary.strings.push(label.to_string());
        }
        vocabulary
    }

    fn collect(&mut self, document: &Document, node: &Node, path: &mut Vec<Box<str>>) {
        self.paths.push(path.clone());
        match &node.kind {
            Kind::Null | Kind::Bool(_) => {}
            Kind::Number => self.numbers.push(document.raw(node).to_owned()),
            Kind::String(text) => self.strings.push(text.clone()),
            Kind::Array(elements) => {
                for element in elements {
                    self.collect(document, element, path);
                }
                self.strings.push(document.decoded(node).to_owned());
            }
            Kind::Object(members) => {
                for (key, value) in members {
                    path.push(key.as_str().into());
                    self.collect(document, value, path);
                    path.pop();
                }
                self.strings.push(document.decoded(node).to_owned());
            }
        }
    }

    pub(crate) fn path(&self, random: &mut Random) -> Path {
        let mut path = Vec::new();
        if random.percent(75) && !self.paths.is_empty() {
            path = self.paths[random.index(self.paths.len())].clone();
        }
        if path.is_empty() && random.percent(90) || random.percent(10) {
            for _ in 0..random.between(1, 2) {
                path.push(random.pick(&KEYS).into());
            }
        }
        path.into()
    }

    pub(crate) fn field(&self, random: &mut Random) -> Field {
        let count = random.pick(&[1, 1, 1, 1, 2, 3]);
        let sources: Vec<Source> = (0..count).map(|_| self.source(random)).collect();
        Field {
            name: "field".into(),
            sources: sources.into(),
        }
    }

    fn source(&self, random: &mut Random) -> Source {
        match random.index(20) {
            0..=1 => Source::Label(label(random)),
            2..=3 => Source::Meta(self.path(random)),
            4 => Source::CrnService(self.path(random)),
            5 => Source::Time,
            _ => Source::Data(self.path(random)),
        }
    }

    /// A field whose every source is text or JSON, as terms want it.
    pub(crate) fn text_field(&self, random: &mut Random) -> Field {
        let mut field = self.field(random);
        for source in &mut field.sources {
            if *source == Source::Time {
                *source = Source::Label(Label::Tags);
            }
        }
        field
    }

    pub(crate) fn string(&self, random: &mut Random) -> String {
        let text = if random.percent(50) && !self.strings.is_empty() {
            self.strings[random.index(self.strings.len())].clone()
        } else {
            random.pick(&WORDS).to_owned()
        };
        match random.index(10) {
            0 => text.to_uppercase(),
            1 => text.to_lowercase(),
            2..=4 => part(random, &text),
            _ => text,
        }
    }

    pub(crate) fn number(&self, random: &mut Random) -> Box<str> {
        if random.percent(50) && !self.numbers.is_empty() {
            return self.numbers[random.index(self.numbers.len())]
                .as_str()
                .into();
        }
        match random.index(8) {
            0 => random.pick(&[".5", "5.", "012", "+2", "-.1e1"]).into(),
            1 => random.index(1000).to_string().into(),
            _ => random.pick(&NUMBERS).into(),
        }
    }

    pub(crate) fn term(&self, random: &mut Random) -> Term {
        let text = Some(self.string(random)).filter(|text| !text.is_empty());
        Term {
            text: text.unwrap_or_else(|| "login".to_owned()).into(),
            place: random.pick(&[
                Place::Whole,
                Place::Prefix,
                Place::TokenPrefix,
                Place::Token,
                Place::Substring,
            ]),
            ignore_case: random.percent(50),
        }
    }

    pub(crate) fn literal(&self, random: &mut Random, of: Type) -> Literal {
        if random.percent(4) {
            return Literal::Null;
        }
        match of {
            Type::Bool => Literal::Bool(random.percent(50)),
            Type::Number => Literal::Number(self.number(random)),
            Type::String => Literal::String(self.string(random).into()),
            Type::Timestamp => {
                let nanoseconds = i128::from(time(random).0) * 1_000;
                Literal::Timestamp(nanoseconds + random.pick(&[0, 0, 0, 1, -1, HOUR]))
            }
            Type::Interval => Literal::Interval(random.pick(&[0, 1, -1, HOUR, -5 * HOUR, 1_000])),
            Type::Severity => Literal::Severity(random.pick(&[
                Severity::Verbose,
                Severity::Debug,
                Severity::Info,
                Severity::Warning,
                Severity::Error,
                Severity::Critical,
            ])),
        }
    }
}

/// Some characters of it, in a row.
fn part(random: &mut Random, text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    if characters.is_empty() {
        return String::new();
    }
    let start = random.index(characters.len());
    let end = random.between(start, characters.len());
    characters[start..end].iter().collect()
}

fn label(random: &mut Random) -> Label {
    random.pick(&[
        Label::Application,
        Label::Subsystem,
        Label::Host,
        Label::Level,
        Label::Env,
        Label::Tags,
        Label::Sender,
        Label::Peer,
    ])
}

pub(crate) fn pattern(random: &mut Random) -> String {
    match random.index(12) {
        0 => escape(random.pick(&WORDS)),
        _ => random
            .pick(&[
                "^kafka-[0-9]+",
                "a",
                "(?i)login",
                "[0-9]$",
                "",
                "é|x",
                "^$",
                ".",
                r"\bb",
                r"\\",
                "^.{3,5}$",
                r"\d+\.\d",
                "^crn:",
            ])
            .to_owned(),
    }
}

pub(crate) fn subnet(random: &mut Random) -> Subnet {
    let (address, prefix_bits) = random.pick(&[
        ("10.0.0.0", 8),
        ("10.1.2.3", 32),
        ("192.168.255.255", 17),
        ("0.0.0.0", 0),
        ("::", 0),
        ("::ffff:10.0.0.0", 104),
        ("::ffff:0.0.0.0", 96),
        ("::ffff:0.0.0.0", 80),
        ("2001:db8::", 32),
        ("2001:db8::ff", 128),
        ("2001:db8::ff", 121),
    ]);
    Subnet {
        address: address.parse().expect("an address"),
        prefix_bits,
    }
}
