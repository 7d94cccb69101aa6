//! The one table of configuration keys: name, range, default and meaning of each.
//!
//! The reader takes ranges and defaults from here, messages name them, and
//! `docs/configuration.md` is written from it ([`mod@reference`]). A key that code reads must
//! stand here, and a key that stands here must be read; both are tested.

pub mod http;
pub mod input;
pub mod kafka;
pub mod node;
pub mod reference;
pub mod relay;
pub mod rules;
pub mod s3;
pub mod stream;
pub mod syslog;
pub mod template;
mod tls;

use std::time::Duration;

/// All sections, in the order of the reference.
pub static SECTIONS: &[&SectionSpec] = &[
    &node::NODE,
    &node::MEMORY,
    &node::JOURNAL,
    &node::ADMIN,
    &input::TCP,
    &input::TCP_LABELS,
    &input::HTTP,
    &input::HTTP_LABELS,
    &relay::INPUT_RELAY,
    &rules::EXCLUDE,
    &stream::STREAM,
    &rules::STREAM_EXCLUDE,
    &rules::SAMPLE,
    &rules::DOMAINS,
    &template::TEMPLATE,
    &template::MASK,
    &stream::BATCH,
    &stream::RETRY,
    &stream::DEAD_LETTERS,
    &http::HTTP,
    &stream::FILE,
    &relay::RELAY,
    &syslog::SYSLOG,
    &s3::S3,
    &kafka::KAFKA,
];

/// One table of the configuration file.
#[derive(Debug)]
pub struct SectionSpec {
    /// Path of the table's header; `NAME` stands for the operator's word: `input.NAME.tcp`.
    pub path: &'static str,
    /// What the section is for.
    pub doc: &'static str,
    /// Its keys, in the order of the reference.
    pub keys: &'static [Key],
    /// Names of the tables inside it that are sections of their own.
    pub tables: &'static [&'static str],
}

impl SectionSpec {
    /// The key of that name.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Name as typed.
    pub name: &'static str,
    /// What its value is and which values are allowed.
    pub kind: Kind,
    /// What holds when it is not given.
    pub fallback: Fallback,
    /// What it does: sentences for the reference.
    pub doc: &'static str,
}

impl Key {
    const fn new(name: &'static str, kind: Kind, fallback: Fallback, doc: &'static str) -> Self {
        Self {
            name,
            kind,
            fallback,
            doc,
        }
    }
}

/// What a value is, with its range (both ends allowed).
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Count {
        /// Least value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// A size: text with a unit, or a whole number of bytes.
    Size {
        /// Least value in bytes.
        min: u64,
        /// Largest value in bytes.
        max: u64,
    },
    /// A size, or a share of the file system.
    SizeOrPercent {
        /// Least value in bytes, when it is a size.
        min: u64,
    },
    /// A duration: text with a unit.
    Span {
        /// Least value.
        min: Duration,
        /// Largest value.
        max: Duration,
        /// The value out of the range with a meaning of its own.
        except: Except,
    },
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// `ip:port`.
    Address,
    /// A path of the file system, relative to the working directory.
    Path,
    /// A path of a file that exists.
    ExistingFile,
    /// Text without control characters, of at most so many bytes.
    Text {
        /// Most bytes.
        max: usize,
    },
    /// Text that is never shown, of at most so many bytes.
    Secret {
        /// Most bytes.
        max: usize,
    },
    /// `http://` or `https://` URL.
    Url,
    /// One such URL, or a list of them.
    Urls {
        /// Most of them.
        max: usize,
    },
    /// The same with nothing behind the host and its port.
    Origin,
    /// `"start"`, `"end"` or a time.
    StartAt,
    /// Names with text; the names are the operator's.
    Headers,
    /// A rule: text that may have several lines.
    Rule,
    /// A list of `host:port`, or one text with commas between them.
    Brokers,
    /// A list of texts.
    Texts {
        /// Most items.
        max: usize,
    },
}

/// A value beyond the range of a duration that means something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Except {
    /// None: the range is all.
    None,
    /// `"0s"` stands for never.
    ZeroIsNever,
    /// `-1` or `"-1"` stands for forever.
    MinusOneIsForever,
}

/// What holds when a key is not given.
#[derive(Debug, Clone, Copy)]
pub enum Fallback {
    /// This value, as it would be typed.
    Value(&'static str),
    /// Worked out from other things, in words.
    Computed(&'static str),
    /// Nothing.
    Absent,
    /// The key must be given.
    Required,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

const fn span(min: Duration, max: Duration) -> Kind {
    Kind::Span {
        min,
        max,
        except: Except::None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_section_and_no_key_stands_twice() {
        let mut paths = BTreeSet::new();
        for section in SECTIONS {
            assert!(paths.insert(section.path), "{} twice", section.path);
            let mut names = BTreeSet::new();
            for name in section
                .keys
                .iter()
                .map(|key| &key.name)
                .chain(section.tables)
            {
                assert!(names.insert(name), "{}: {name} twice", section.path);
            }
        }
    }

    #[test]
    fn every_table_in_a_section_is_a_section() {
        for section in SECTIONS {
            for table in section.tables {
                let path = format!("{}.{table}", section.path);
                // Tables with names of their own lie one deeper.
                let named = format!("{path}.RULE");
                let is_known = |other: &&SectionSpec| other.path == path || other.path == named;
                assert!(SECTIONS.iter().any(is_known), "{path}");
            }
        }
    }
}
