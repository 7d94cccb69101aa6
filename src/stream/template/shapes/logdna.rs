//! LogDNA's records.
//!
//! `logdna`, as seen on the Kafka streams of Activity Tracker and Log Analysis, is flat:
//!
//! ```text
//! {"_host","_label":{},"_tag":[],"_file","_line":"<the event as a string>","_rawline":null,"level","_ts":ms,"_app",
//!  "_mezmo_line_size":bytes, …all members of the event}
//! ```
//!
//! Labels that are unknown are left out, but `_label` and `_tag` are always there. A `level` of the event stands for the
//! label. A member of the event whose key is one of the record's own gets one more `_` in front; `_account` and
//! `_retention` are removed, as LogDNA does. All others keep their order and bytes.
//!
//! `logdna_source` is what the QRadar DSM "IBM Cloud Activity Tracker" documents: the record without the event's members
//! but with `"_logtype":"json"`, in an object `_source`.
//!
//! `logdna_ingest` is a line of the ingestion API, whose batches are `{"lines":[…]}`:
//!
//! ```text
//! {"timestamp":ms,"line":"<the event as a string>","app","level","env","host","file","meta":{}}
//! ```
//!
//! `timestamp` is the event's: label, else `eventTime`, else receive time.

use memchr::memmem;

use crate::stream::template::event_at::EventAt;
use crate::stream::template::json::escape::push_escaped;
use crate::stream::template::json::{Item, Items};
use crate::stream::template::time;

use super::object::Object;

/// Either of the two.
#[derive(Debug, Clone)]
pub(in crate::stream::template) struct Logdna {
    /// Within `_source`.
    pub(in crate::stream::template) wrapped: bool,
}

impl Logdna {
    pub(in crate::stream::template) fn render(&self, event: &EventAt<'_>, out: &mut Vec<u8>) {
        // The line twice, once with escapes, and some labels.
        out.reserve(event.line.len() * 5 / 2 + 512);
        let free = is_free_of_reserved_keys(event.line);
        let members: Vec<Item<'_>> = if free {
            Vec::new()
        } else {
            Items::of(event.line).collect()
        };
        let own_level = members.iter().find(|item| item.is("level"));
        let own_level = own_level.map(|item| item.value);
        let mut record = Object::begin(out);
        if self.wrapped {
            let mut inner = Object::begin(record.member("_source"));
            push_record(&mut inner, event, own_level, true);
            if let Some(level) = own_level {
                inner.raw("level", level);
            }
            inner.end();
        } else {
            push_record(&mut record, event, own_level, false);
            if free {
                record.members_of(event.line);
            } else {
                push_renamed(&mut record, &members);
            }
        }
        record.end();
    }
}

/// All but what comes from the event's members; the label level only where the event has none of its own.
fn push_record(
    record: &mut Object<'_>,
    event: &EventAt<'_>,
    own_level: Option<&[u8]>,
    with_type: bool,
) {
    let labels = event.labels;
    record.text_if("_host", event.host().as_deref());
    if with_type {
        record.text("_logtype", "json");
    }
    record.raw("_label", labels.meta.as_deref().unwrap_or("{}").as_bytes());
    event.push_tags(record.member("_tag"));
    record.text_if("_file", event.peer_place());
    push_line(record.member("_line"), event.line);
    record.raw("_rawline", b"null");
    if own_level.is_none() {
        record.text_if("level", labels.level.as_deref());
    }
    record.number("_ts", time::millis(event.labelled_time()));
    record.text_if("_app", labels.application.as_deref());
    let bytes = i64::try_from(event.line.len()).expect("a line is shorter than 2^63 bytes");
    record.number("_mezmo_line_size", bytes);
}

/// A line of the ingestion API; what is unknown is left out.
pub(in crate::stream::template) fn render_line(event: &EventAt<'_>, out: &mut Vec<u8>) {
    let labels = event.labels;
    let mut record = Object::begin(out);
    record.number("timestamp", time::millis(event.time()));
    push_line(record.member("line"), event.line);
    record.text_if("app", labels.application.as_deref());
    record.text_if("level", labels.level.as_deref());
    record.text_if("env", labels.env.as_deref());
    record.text_if("host", event.host().as_deref());
    record.text_if("file", event.peer_place());
    if let Some(meta) = labels.meta.as_deref() {
        record.raw("meta", meta.as_bytes());
    }
    record.end();
}

/// The event as a string.
fn push_line(out: &mut Vec<u8>, line: &[u8]) {
    out.push(b'"');
    push_escaped(out, line);
    out.push(b'"');
}

/// Whether no key of the line can be one of the record's own: they begin with `_` or are `level`, and such a key, unless
/// spelled with `\u` escapes, stands in the line with its opening quote. Most lines pass, and are copied in one piece.
fn is_free_of_reserved_keys(line: &[u8]) -> bool {
    [&b"\"_"[..], b"\"level\"", b"\\u"]
        .iter()
        .all(|sign| memmem::find(line, sign).is_none())
}

fn push_renamed(record: &mut Object<'_>, members: &[Item<'_>]) {
    for item in members {
        let key = item.key_text();
        if REMOVED.contains(&key.as_ref()) {
            continue;
        }
        if OWN.contains(&key.as_ref()) {
            record.raw(&format!("_{key}"), item.value);
        } else {
            record.spans(item.head, item.value);
        }
    }
}

/// Keys of the record. `level` is not here: the event's takes the label's place.
const OWN: [&str; 9] = [
    "_host",
    "_label",
    "_tag",
    "_file",
    "_line",
    "_rawline",
    "_ts",
    "_app",
    "_mezmo_line_size",
];
/// Members of an event that LogDNA takes away.
const REMOVED: [&str; 2] = ["_account", "_retention"];
