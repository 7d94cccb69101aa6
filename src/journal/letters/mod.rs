//! Dead letters: events that a destination refuses for good, kept for people to look at.
//!
//! Each stream has one file of them, `dead-letters/STREAM.letters`, that only ever grows at its
//! end, until letters are taken out: then it is written anew beside its place. While the node
//! runs the stream's thread owns it as a [`LetterStore`]; commands read it without a lock
//! ([`read_letters`]). What a letter looks like on disk is [`mod@format`]'s matter;
//! `docs/journal-format.md` has it byte by byte. When an event becomes a letter, and what a full
//! store means for the stream, is decided elsewhere.

pub mod format;
mod read;
mod store;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::batch::EventPosition;
use crate::event::{InputId, Labels};
use crate::position::{JournalId, Offset, Timestamp};

pub use format::{DETAIL_BYTES_MAX, LetterError};
pub use read::{LetterFindings, read_letters};
pub use store::{AppendError, Appended, LetterEntry, LetterStore, Room};

/// Directory of the letters in the data directory.
pub const DIR: &str = "dead-letters";

/// Ending of a file of letters.
const SUFFIX: &str = ".letters";

/// The file of a stream's letters in the directory of letters.
#[must_use]
pub fn file_of(dir: &Path, stream: &str) -> PathBuf {
    dir.join(format!("{stream}{SUFFIX}"))
}

/// The stream of a file of letters; `None` for any other file.
#[must_use]
pub fn stream_of_file_name(file: &str) -> Option<&str> {
    file.strip_suffix(SUFFIX)
}

/// An event that was refused, with what is known of it and of the refusal.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Where the event is, or was, in a journal.
    pub position: EventPosition,
    /// When it was received.
    pub received: Timestamp,
    /// When it was refused.
    pub refused: Timestamp,
    /// Why, as one word: that of the failure.
    pub reason: String,
    /// What the destination said, for people; what is longer than [`DETAIL_BYTES_MAX`] is cut.
    pub detail: String,
    /// Identity of the batch it was refused in.
    pub batch: String,
    /// How often it was sent, at least 1.
    pub attempts: u32,
    /// What is known of the event besides its bytes, as of [`labels_of`].
    pub labels: Map<String, Value>,
    /// The event as it came, without a line end.
    pub line: Vec<u8>,
}

impl DeadLetter {
    /// What people call it.
    #[must_use]
    pub const fn id(&self) -> LetterId {
        LetterId::of(self.position)
    }
}

/// What people call a letter: `JOURNAL-OFFSET` of its event, as in `0-12345`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId {
    /// The journal.
    pub journal: JournalId,
    /// The event's offset in it.
    pub offset: Offset,
}

impl LetterId {
    /// That of the event at this place.
    #[must_use]
    pub const fn of(position: EventPosition) -> Self {
        Self {
            journal: position.journal,
            offset: position.offset,
        }
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.journal, self.offset)
    }
}

/// Text that is no letter's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no letter's id; one looks like 0-12345, the journal and the event's offset")]
pub struct NoLetterId(pub String);

impl FromStr for LetterId {
    type Err = NoLetterId;

    fn from_str(text: &str) -> Result<Self, NoLetterId> {
        let parse = || {
            let (journal, offset) = text.split_once('-')?;
            let journal = match journal {
                "internal" => JournalId::INTERNAL,
                number => JournalId(number.parse().ok()?),
            };
            let offset = Offset(offset.parse().ok()?);
            Some(Self { journal, offset })
        };
        // Only the one way an id is written: no sign, no leading zeros.
        let id = parse().filter(|id| id.to_string() == text);
        id.ok_or_else(|| NoLetterId(text.to_owned()))
    }
}

impl Serialize for LetterId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LetterId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Which letters something is to be done with: `{"all":true}`, `{"ids":["0-7"]}` or
/// `{"reason":"http_4xx"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WhichText", into = "WhichText")]
pub enum Which {
    /// All there are.
    All,
    /// These; those that are not there are none.
    Ids(BTreeSet<LetterId>),
    /// Those refused for this reason.
    Reason(String),
}

impl Which {
    /// Whether it means the letter.
    #[must_use]
    pub fn takes(&self, id: LetterId, reason: &str) -> bool {
        match self {
            Self::All => true,
            Self::Ids(ids) => ids.contains(&id),
            Self::Reason(wanted) => wanted == reason,
        }
    }
}

/// A [`Which`] as JSON.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WhichText {
    #[serde(skip_serializing_if = "Option::is_none")]
    all: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ids: Option<BTreeSet<LetterId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl TryFrom<WhichText> for Which {
    type Error = &'static str;

    fn try_from(text: WhichText) -> Result<Self, &'static str> {
        match (text.all, text.ids, text.reason) {
            (Some(true), None, None) => Ok(Self::All),
            (None, Some(ids), None) => Ok(Self::Ids(ids)),
            (None, None, Some(reason)) => Ok(Self::Reason(reason)),
            _ => Err("say which letters by one of \"ids\", \"all\": true and \"reason\""),
        }
    }
}

impl From<Which> for WhichText {
    fn from(which: Which) -> Self {
        let mut text = Self::default();
        match which {
            Which::All => text.all = Some(true),
            Which::Ids(ids) => text.ids = Some(ids),
            Which::Reason(reason) => text.reason = Some(reason),
        }
        text
    }
}

/// What is known of an event besides its bytes, as it stands in a letter: only what is there.
/// `meta` is text, so that its bytes stay as they are; times are microseconds since 1970.
#[must_use]
pub fn labels_of(labels: &Labels, input: &str) -> Map<String, Value> {
    let Labels {
        input: _,
        application,
        subsystem,
        host,
        level,
        env,
        tags,
        meta,
        sender,
        peer,
        event_time,
    } = labels;
    let texts = [
        ("application", application),
        ("subsystem", subsystem),
        ("host", host),
        ("level", level),
        ("env", env),
        ("tags", tags),
        ("meta", meta),
        ("sender", sender),
        ("peer", peer),
    ];
    let known = texts
        .into_iter()
        .filter_map(|(name, text)| Some((name, Value::from(&**text.as_ref()?))));
    [("input", Value::from(input))]
        .into_iter()
        .chain(known)
        .chain(event_time.map(|time| ("event_time_micros", Value::from(time.0))))
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The labels that stand in a letter; what [`labels_of`] wrote, but for the input, which may be
/// another by now.
#[must_use]
pub fn labels_from(known: &Map<String, Value>) -> Labels {
    let text = |name: &str| known.get(name).and_then(Value::as_str).map(Box::from);
    Labels {
        application: text("application"),
        subsystem: text("subsystem"),
        host: text("host"),
        level: text("level"),
        env: text("env"),
        tags: text("tags"),
        meta: text("meta"),
        sender: text("sender"),
        peer: text("peer"),
        event_time: known
            .get("event_time_micros")
            .and_then(Value::as_i64)
            .map(Timestamp),
        ..Labels::of_input(InputId::REJECT_RECORDS)
    }
}
