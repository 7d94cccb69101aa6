//! The header of a message, RFC 5424, section 6:
//!
//! ```text
//! <PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID [ID@NUMBER batch="…" segment="…" journal="…" offset="…"]
//! ```
//!
//! Promises: a header is a function of the record, the batch's identity and the settings alone; whatever an
//! event holds, the header has the standard's form. Leaves to others: the body and the framing.

use std::borrow::Cow;
use std::io::Write as _;

use jiff::Timestamp as CivilTime;

use super::settings::{HeaderSettings, TextSource};
use super::words::{facility_of, severity_of};
use crate::batch::Record;
use crate::filter::tree::Path;
use crate::filter::{PathId, Paths, Walker, text};
use crate::position::Timestamp;

/// Code of `informational`.
const INFORMATIONAL: u8 = 6;

/// Length limits of RFC 5424, section 6.
const HOSTNAME_BYTES_MAX: usize = 255;
const APP_NAME_BYTES_MAX: usize = 48;
const PROCID_BYTES_MAX: usize = 128;
const MSGID_BYTES_MAX: usize = 32;

/// Writes headers.
pub(super) struct HeaderWriter {
    paths: Paths,
    walker: Walker,
    facility: (Option<PathId>, u8),
    severity: (Option<PathId>, Option<u8>),
    hostname: Source,
    app_name: Source,
    process_id: Source,
    message_id: Source,
    identity: Option<u32>,
}

/// Where a text comes from, before the label.
struct Source {
    field: Option<PathId>,
    text: Option<String>,
}

impl HeaderWriter {
    pub(super) fn new(settings: &HeaderSettings) -> Self {
        let mut paths = Paths::new();
        let mut add = |field: &Option<Path>| field.as_ref().map(|path| paths.add(path));
        let facility = (add(&settings.facility_field), settings.facility);
        let severity = (add(&settings.severity_field), settings.severity);
        let mut source = |source: &TextSource| Source {
            field: add(&source.field),
            text: source.text.clone(),
        };
        Self {
            facility,
            severity,
            hostname: source(&settings.hostname),
            app_name: source(&settings.app_name),
            process_id: source(&settings.process_id),
            message_id: source(&settings.message_id),
            identity: settings.identity,
            paths,
            walker: Walker::new(),
        }
    }

    /// Appends the header of a record of the batch with this UUID.
    pub(super) fn push(&mut self, batch: &str, record: &Record, out: &mut Vec<u8>) {
        let labels = &record.labels;
        let line: &[u8] = &record.line;
        self.walker.begin(&self.paths, line);
        let mut fields = Fields {
            paths: &self.paths,
            walker: &mut self.walker,
            line,
        };
        let (field, fixed) = self.facility;
        let facility = fields.text(field).and_then(|word| facility_of(&word));
        let (field, given) = self.severity;
        let of_label = || labels.level.as_deref().and_then(severity_of);
        let severity = fields
            .text(field)
            .and_then(|word| severity_of(&word))
            .or(given)
            .or_else(of_label)
            .unwrap_or(INFORMATIONAL);
        let priority = u32::from(facility.unwrap_or(fixed)) * 8 + u32::from(severity);
        write!(out, "<{priority}>1 ").expect("a vector takes all");
        push_time(out, labels.event_time.unwrap_or(record.received));
        for (source, label, bytes_max) in [
            (&self.hostname, &labels.host, HOSTNAME_BYTES_MAX),
            (&self.app_name, &labels.application, APP_NAME_BYTES_MAX),
            (&self.process_id, &None, PROCID_BYTES_MAX),
            (&self.message_id, &None, MSGID_BYTES_MAX),
        ] {
            let text = fields
                .text(source.field)
                .or(source.text.as_deref().map(Cow::Borrowed))
                .or(label.as_deref().map(Cow::Borrowed));
            out.push(b' ');
            push_printable(out, &text.unwrap_or_default(), bytes_max);
        }
        match self.identity {
            Some(number) => {
                let at = record.position;
                write!(
                    out,
                    " [weir@{number} batch=\"{batch}\" segment=\"{}\" journal=\"{}\" offset=\"{}\"]",
                    at.segment, at.journal, at.offset
                )
                .expect("a vector takes all");
            }
            None => out.extend_from_slice(b" -"),
        }
    }
}

/// The fields of one line.
struct Fields<'a> {
    paths: &'a Paths,
    walker: &'a mut Walker,
    line: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The text of a string that is not empty, a number or a boolean.
    fn text(&mut self, field: Option<PathId>) -> Option<Cow<'a, str>> {
        let place = self.walker.find(self.paths, self.line, field?)?;
        let value = &self.line[place];
        let text = match value.first()? {
            b'{' | b'[' | b'n' => return None,
            b'"' => match text::unescaped(value.get(1..value.len() - 1)?) {
                Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
                Cow::Owned(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
            },
            _ => String::from_utf8_lossy(value),
        };
        (!text.is_empty()).then_some(text)
    }
}

/// Bytes of a time with microseconds in UTC; what is longer is beyond the years 0 to 9999.
const TIME_BYTES: usize = "2003-10-11T22:14:15.003000Z".len();

fn push_time(out: &mut Vec<u8>, time: Timestamp) {
    let start = out.len();
    if let Ok(instant) = CivilTime::from_microsecond(time.0) {
        write!(out, "{instant:.6}").expect("a vector takes all");
    }
    if out.len() - start != TIME_BYTES {
        out.truncate(start);
        out.push(b'-');
    }
}

/// Appends the text in printable US-ASCII without spaces, cut to its limit; `-` for nothing. Other
/// characters become `_`.
fn push_printable(out: &mut Vec<u8>, text: &str, bytes_max: usize) {
    let start = out.len();
    let printable = |character: char| match u8::try_from(character) {
        Ok(byte) if byte.is_ascii_graphic() => byte,
        _ => b'_',
    };
    out.extend(text.trim().chars().map(printable).take(bytes_max));
    if out.len() == start {
        out.push(b'-');
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::batch::EventPosition;
    use crate::event::{InputId, Labels};
    use crate::position::{JournalId, Offset, SegmentId};
    use bytes::Bytes;

    const LINE: &str = r#"{"severity":"critical","facility":13,"initiator":{"host":"web 1","né":"\u00e9"},"id":"a-1","empty":"","list":[1],"nothing":null,"long":"LONG"}"#;

    fn record(labels: Labels) -> Record {
        let line = Bytes::from(LINE.replace("LONG", &"x".repeat(300)));
        Record {
            position: EventPosition {
                segment: SegmentId([0xab; 16]),
                journal: JournalId(1),
                offset: Offset(42),
            },
            received: Timestamp(1_700_000_000_000_001),
            labels: Arc::new(labels),
            body: line.clone(),
            line,
        }
    }

    fn bare() -> Labels {
        Labels::of_input(InputId(0))
    }

    fn labelled() -> Labels {
        Labels {
            host: Some("host é".into()),
            application: Some("app".into()),
            level: Some("Error".into()),
            event_time: Some(Timestamp(1_065_910_455_003_000)),
            ..bare()
        }
    }

    fn path(text: &str) -> Option<Path> {
        Some(text.split('.').map(Into::into).collect())
    }

    fn header(settings: &HeaderSettings, labels: Labels) -> String {
        let mut out = Vec::new();
        HeaderWriter::new(settings).push("UUID", &record(labels), &mut out);
        String::from_utf8(out).unwrap()
    }

    fn local0() -> HeaderSettings {
        HeaderSettings {
            facility: 16,
            ..HeaderSettings::default()
        }
    }

    #[test]
    fn without_settings_labels_speak_and_what_is_unknown_is_nil() {
        assert_eq!(
            header(&local0(), bare()),
            "<134>1 2023-11-14T22:13:20.000001Z - - - - -"
        );
        assert_eq!(
            header(&local0(), labelled()),
            "<131>1 2003-10-11T22:14:15.003000Z host__ app - - -"
        );
    }

    #[test]
    fn a_field_goes_before_a_fixed_value_and_that_before_a_label() {
        let text = |field: &str, text: &str| TextSource {
            field: path(field),
            text: Some(text.to_owned()),
        };
        let settings = HeaderSettings {
            facility_field: path("facility"),
            severity_field: path("severity"),
            severity: Some(5),
            hostname: text("initiator.host", "fixed"),
            app_name: text("list", "fixed"),
            process_id: text("empty", "4711"),
            message_id: text("nothing", ""),
            identity: Some(32473),
            ..local0()
        };
        assert_eq!(
            header(&settings, labelled()),
            "<106>1 2003-10-11T22:14:15.003000Z web_1 fixed 4711 - \
             [weir@32473 batch=\"UUID\" segment=\"abababababababababababababababab\" journal=\"1\" offset=\"42\"]"
        );
        let unknown = HeaderSettings {
            facility_field: path("id"),
            severity_field: path("id"),
            ..local0()
        };
        assert_eq!(
            header(&unknown, labelled()),
            "<131>1 2003-10-11T22:14:15.003000Z host__ app - - -"
        );
    }

    #[test]
    fn texts_are_cut_to_the_lengths_of_the_standard() {
        let long = || TextSource {
            field: path("long"),
            text: None,
        };
        let settings = HeaderSettings {
            hostname: long(),
            app_name: long(),
            process_id: long(),
            message_id: long(),
            ..local0()
        };
        let header = header(&settings, bare());
        let lengths: Vec<_> = header.split(' ').skip(2).map(str::len).collect();
        assert_eq!(lengths, [255, 48, 128, 32, 1]);
    }

    #[test]
    fn times_the_standard_cannot_write_are_nil() {
        let check = |micros: i64, expected: &str| {
            let mut out = Vec::new();
            push_time(&mut out, Timestamp(micros));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check(0, "1970-01-01T00:00:00.000000Z");
        check(i64::MAX, "-");
        check(i64::MIN, "-");
        check(-100_000_000_000_000_000, "-");
    }
}
