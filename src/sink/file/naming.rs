//! Names of a file destination: the file written to, per journal, and its closed ones. Pure.
//!
//! ```text
//! events.ndjson                                the file written to; one journal
//! events.1.ndjson                              the same for journal 1 of several
//! events.1.2026-11-21T08-15-03Z.ndjson         closed at that time (UTC)
//! events.1.2026-11-21T08-15-03Z-2.ndjson       when the name was taken, twice
//! ```

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::position::{JournalId, Timestamp};

/// A file's directory and the two halves of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileName {
    /// Directory; `.` when the path has none.
    pub(super) dir: PathBuf,
    /// What stands before time and extension, journal included; UTF-8.
    stem: String,
    /// Extension with its dot, `.gz` and the one before it together; may be empty.
    extension: String,
}

impl FileName {
    /// Takes a configured path apart and puts the journal's number in. `None` when the path
    /// has no file name in UTF-8.
    pub(super) fn new(path: &Path, journal_suffix: Option<JournalId>) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let dir = match path.parent() {
            Some(dir) if dir != Path::new("") => dir.to_owned(),
            _ => PathBuf::from("."),
        };
        let (stem, extension) = split_extension(name);
        let stem =
            journal_suffix.map_or_else(|| stem.to_owned(), |journal| format!("{stem}.{journal}"));
        Some(Self {
            dir,
            stem,
            extension: extension.to_owned(),
        })
    }

    /// The file written to.
    pub(super) fn current(&self) -> PathBuf {
        self.dir.join(format!("{}{}", self.stem, self.extension))
    }

    /// The name for a file closed at `time`, given the names in the directory. None of them
    /// is used again, and it sorts behind all of the same second.
    pub(super) fn closed(&self, time: Timestamp, names: &[String]) -> PathBuf {
        let Self {
            stem, extension, ..
        } = self;
        let time = time_text(time);
        let taken = names
            .iter()
            .filter_map(|name| self.closing_time(name))
            .filter(|(taken_time, _)| *taken_time == time)
            .map(|(_, copy)| copy)
            .max();
        let copy = taken.map_or_else(String::new, |last| {
            format!("-{}", u64::from(last).saturating_add(1))
        });
        self.dir.join(format!("{stem}.{time}{copy}{extension}"))
    }

    /// Those of the names that are closed files of this one, oldest first.
    pub(super) fn closed_among(&self, names: &[String]) -> Vec<OsString> {
        let mut found: Vec<((&str, u32), &String)> = names
            .iter()
            .filter_map(|name| Some((self.closing_time(name)?, name)))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, name)| name.into()).collect()
    }

    /// Time and copy number in a closed file's name; `None` when it is not one of ours.
    fn closing_time<'a>(&self, name: &'a str) -> Option<(&'a str, u32)> {
        let middle = name
            .strip_prefix(self.stem.as_str())?
            .strip_prefix('.')?
            .strip_suffix(self.extension.as_str())?;
        let (time, copy) = middle.split_at_checked(TIME_PATTERN.len())?;
        let fits = time
            .bytes()
            .zip(TIME_PATTERN.bytes())
            .all(|(byte, pattern)| {
                if pattern == b'0' {
                    byte.is_ascii_digit()
                } else {
                    byte == pattern
                }
            });
        let copy = match copy.strip_prefix('-') {
            Some(digits) => digits.parse().ok()?,
            None if copy.is_empty() => 0,
            None => return None,
        };
        fits.then_some((time, copy))
    }
}

/// The form of a time in a name; `0` stands for any digit. Colons are not allowed on some
/// file systems, so there are none.
const TIME_PATTERN: &str = "0000-00-00T00-00-00Z";

fn time_text(time: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(time.0)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .strftime("%Y-%m-%dT%H-%M-%SZ")
        .to_string()
}

/// The name without and with only its extension; a leading dot begins no extension.
fn split_extension(name: &str) -> (&str, &str) {
    let last_dot = |name: &str| name.rfind('.').filter(|at| *at > 0);
    let Some(mut at) = last_dot(name) else {
        return (name, "");
    };
    if &name[at..] == ".gz" {
        at = last_dot(&name[..at]).unwrap_or(at);
    }
    name.split_at(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn current(path: &str, journal: Option<u16>) -> String {
        let name = FileName::new(Path::new(path), journal.map(JournalId)).unwrap();
        name.current().display().to_string()
    }

    #[test]
    fn journal_number_goes_before_the_extension() {
        assert_eq!(current("/d/events.ndjson", None), "/d/events.ndjson");
        assert_eq!(current("/d/events.ndjson", Some(1)), "/d/events.1.ndjson");
        assert_eq!(current("/d/a.b.ndjson", Some(1)), "/d/a.b.1.ndjson");
        assert_eq!(current("/d/e.ndjson.gz", Some(0)), "/d/e.0.ndjson.gz");
        assert_eq!(current("/d/e.gz", Some(0)), "/d/e.0.gz");
        assert_eq!(current("/d/events", Some(0)), "/d/events.0");
        assert_eq!(current("/d/.events", Some(0)), "/d/.events.0");
        assert_eq!(current("events.ndjson", None), "./events.ndjson");
        let internal = JournalId::INTERNAL.0;
        assert_eq!(current("/d/e.nd", Some(internal)), "/d/e.internal.nd");
        assert_eq!(FileName::new(Path::new("/"), None), None);
    }

    #[test]
    fn closed_files_are_found_oldest_first_and_no_others() {
        let name = FileName::new(Path::new("/d/events.ndjson"), None).unwrap();
        let time = Timestamp(1_795_248_903_000_000);
        let closed = |names: &[String]| {
            let path = name.closed(time, names);
            path.file_name().unwrap().to_str().unwrap().to_owned()
        };
        let first = closed(&[]);
        assert_eq!(first, "events.2026-11-21T08-15-03Z.ndjson");
        assert_eq!(closed(&[first]), "events.2026-11-21T08-15-03Z-1.ndjson");
        let names = [
            "events.2026-11-21T08-15-03Z-10.ndjson",
            "events.2026-11-21T08-15-03Z-9.ndjson",
            "events.2026-11-21T08-15-03Z.ndjson",
            "events.2025-01-01T00-00-00Z.ndjson",
            "events.0.2025-01-01T00-00-00Z.ndjson",
            "events.2025-01-01T00-00-00Z.ndjson.bak",
            "events.2025-01-01T00:00:00Z.ndjson",
            "events.2025-01-01T00-00-00Z-x.ndjson",
            "events.0.ndjson",
            "events.ndjson",
            "other.2025-01-01T00-00-00Z.ndjson",
        ]
        .map(str::to_owned);
        assert_eq!(closed(&names), "events.2026-11-21T08-15-03Z-11.ndjson");
        assert_eq!(
            name.closed_among(&names),
            [
                "events.2025-01-01T00-00-00Z.ndjson",
                "events.2026-11-21T08-15-03Z.ndjson",
                "events.2026-11-21T08-15-03Z-9.ndjson",
                "events.2026-11-21T08-15-03Z-10.ndjson",
            ]
        );
    }
}
