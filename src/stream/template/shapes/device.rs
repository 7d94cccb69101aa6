//! CEF 0 (ArcSight Common Event Format) and LEEF 2.0 (IBM Log Event Extended Format), for Activity Tracker events.
//!
//! ```text
//! CEF:0|vendor|product|version|action|message|severity|key=value key=value…
//! LEEF:2.0|vendor|product|version|action|x09|key=value<tab>key=value…
//! ```
//!
//! The signature and event id is `action` (`unknown` without one), the name `message`, else the action. Severity: `normal`
//! and information 3, verbose and debug 1, warning 6, error 8, critical 10; without one CEF says `Unknown` and LEEF nothing.
//! The keys stand in [`FIELDS`]. What an event does not have is left out, and what is not in the table is not in the
//! record.
//!
//! Escaping: in CEF's header `\` and `|` with a backslash, in its values `\` and `=`, and line breaks as `\n`, `\r`. LEEF
//! has no escapes: a `|` in its header becomes `_`, and a tab or line break in a value a space. Other control characters
//! are spaces in both.

use std::borrow::Cow;
use std::io::Write as _;

use crate::filter::tree::{Severity, severity_of};
use crate::stream::template::event_at::EventAt;
use crate::stream::template::settings::ShapeOptions;
use crate::stream::template::time;

use super::audit::AuditEvent;

/// CEF with its settings.
#[derive(Debug, Clone)]
pub(in crate::stream::template) struct Cef {
    header: Vec<u8>,
}

/// LEEF with its settings.
#[derive(Debug, Clone)]
pub(in crate::stream::template) struct Leef {
    header: Vec<u8>,
}

impl Cef {
    pub(in crate::stream::template) fn new(options: &ShapeOptions) -> Self {
        let mut header = b"CEF:0|".to_vec();
        push_device(&mut header, options, push_cef_header);
        Self { header }
    }

    pub(in crate::stream::template) fn render(&self, event: &EventAt<'_>, out: &mut Vec<u8>) {
        let audit = AuditEvent::read(event.line);
        let action = audit.text("action").unwrap_or(UNKNOWN);
        out.extend_from_slice(&self.header);
        push_cef_header(out, &action);
        out.push(b'|');
        push_cef_header(
            out,
            &audit.text("message").unwrap_or_else(|| action.clone()),
        );
        out.push(b'|');
        match severity(event, &audit) {
            Some(severity) => write!(out, "{severity}").expect("a vector takes all"),
            None => out.extend_from_slice(b"Unknown"),
        }
        write!(out, "|rt={}", time::millis(event.time())).expect("a vector takes all");
        for field in FIELDS {
            if let Some(value) = field.value(event, &audit) {
                out.push(b' ');
                out.extend_from_slice(field.cef.as_bytes());
                out.push(b'=');
                push_cef_value(out, &value);
                if let Some(label) = field.cef_label {
                    write!(out, " {}Label={label}", field.cef).expect("a vector takes all");
                }
            }
        }
    }
}

impl Leef {
    pub(in crate::stream::template) fn new(options: &ShapeOptions) -> Self {
        let mut header = b"LEEF:2.0|".to_vec();
        push_device(&mut header, options, push_leef_header);
        Self { header }
    }

    pub(in crate::stream::template) fn render(&self, event: &EventAt<'_>, out: &mut Vec<u8>) {
        let audit = AuditEvent::read(event.line);
        out.extend_from_slice(&self.header);
        push_leef_header(out, &audit.text("action").unwrap_or(UNKNOWN));
        out.extend_from_slice(b"|x09|devTime=");
        time::push(out, event.time(), 3, "+0000");
        out.extend_from_slice(b"\tdevTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ");
        if let Some(severity) = severity(event, &audit) {
            write!(out, "\tsev={severity}").expect("a vector takes all");
        }
        for field in FIELDS {
            if let Some(value) = field.value(event, &audit) {
                out.push(b'\t');
                out.extend_from_slice(field.leef.as_bytes());
                out.push(b'=');
                push_spaced(out, &value);
            }
        }
    }
}

/// A value of the event and the keys it has in both formats.
struct Field {
    cef: &'static str,
    /// What a custom key of CEF holds.
    cef_label: Option<&'static str>,
    leef: &'static str,
    from: From,
}

enum From {
    /// A path of the event.
    Path(&'static str),
    /// A path whose value is a whole number, as a string or not.
    Integer(&'static str),
    /// The first IP address there.
    Address(&'static str),
    /// Its `id`, else the UUID of the position.
    Id,
    /// `data` or `management`, by `dataEvent`.
    Category,
    /// The host label, else the peer's address.
    Host,
}

impl Field {
    const fn new(cef: &'static str, leef: &'static str, from: From) -> Self {
        Self {
            cef,
            cef_label: None,
            leef,
            from,
        }
    }

    const fn custom(cef: &'static str, name: &'static str, path: &'static str) -> Self {
        Self {
            cef,
            cef_label: Some(name),
            leef: name,
            from: From::Path(path),
        }
    }

    fn value<'a>(&self, event: &EventAt<'_>, audit: &AuditEvent<'a>) -> Option<Cow<'a, str>> {
        match self.from {
            From::Path(path) => audit.text(path),
            From::Integer(path) => audit.text(path).filter(|text| text.parse::<i64>().is_ok()),
            From::Address(path) => audit
                .address(path)
                .map(|address| address.to_string().into()),
            From::Id => {
                let own = audit.text("id");
                own.or_else(|| Some(event.position.uuid().to_string().into()))
            }
            From::Category => match audit.text("dataEvent")?.as_ref() {
                "true" => Some("data".into()),
                "false" => Some("management".into()),
                _ => None,
            },
            From::Host => event.host().map(Cow::Owned),
        }
    }
}

/// The table of both formats: keys of the CEF dictionary and predefined LEEF keys where there are any.
const FIELDS: &[Field] = &[
    Field::new("externalId", "externalId", From::Id),
    Field::new("cat", "cat", From::Category),
    Field::new("dvchost", "devHost", From::Host),
    Field::new("act", "action", From::Path("action")),
    Field::new("outcome", "outcome", From::Path("outcome")),
    Field::new("src", "src", From::Address("initiator.host.address")),
    Field::new("suser", "usrName", From::Path("initiator.name")),
    Field::new("suid", "userId", From::Path("initiator.id")),
    Field::new(
        "requestClientApplication",
        "userAgent",
        From::Path("initiator.host.agent"),
    ),
    Field::new("reason", "reason", From::Path("reason.reasonType")),
    Field::new("msg", "msg", From::Path("reason.reasonForFailure")),
    Field {
        cef_label: Some("reasonCode"),
        ..Field::new("cn1", "reasonCode", From::Integer("reason.reasonCode"))
    },
    Field::custom("cs1", "resource", "target.id"),
    Field::custom("cs2", "targetName", "target.name"),
    Field::custom("cs3", "targetType", "target.typeURI"),
    Field::custom("cs4", "logSourceCRN", "logSourceCRN"),
    Field::custom("cs5", "correlationId", "correlationId"),
    Field::custom("cs6", "credentialType", "initiator.credential.type"),
];

/// The keys of both formats, for the test of the manual.
#[cfg(test)]
pub(in crate::stream::template) fn keys() -> impl Iterator<Item = (&'static str, &'static str)> {
    FIELDS.iter().map(|field| (field.cef, field.leef))
}

fn severity(event: &EventAt<'_>, audit: &AuditEvent<'_>) -> Option<u8> {
    let level = || event.labels.level.as_deref().and_then(severity_of);
    let severity = audit.severity().or_else(level)?;
    Some(match severity {
        Severity::Verbose | Severity::Debug => 1,
        Severity::Info => 3,
        Severity::Warning => 6,
        Severity::Error => 8,
        Severity::Critical => 10,
    })
}

/// Vendor, product and version, each with a bar behind it.
fn push_device(out: &mut Vec<u8>, options: &ShapeOptions, push: fn(&mut Vec<u8>, &str)) {
    for (value, default) in [
        (&options.vendor, "IBM"),
        (&options.product, "Activity Tracker"),
        (&options.version, "1.0"),
    ] {
        push(out, value.as_deref().unwrap_or(default));
        out.push(b'|');
    }
}

fn push_cef_header(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'\\' | b'|' => out.extend_from_slice(&[b'\\', byte]),
            _ if byte.is_ascii_control() => out.push(b' '),
            _ => out.push(byte),
        }
    }
}

fn push_cef_value(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'\\' | b'=' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            _ if byte.is_ascii_control() => out.push(b' '),
            _ => out.push(byte),
        }
    }
}

fn push_leef_header(out: &mut Vec<u8>, text: &str) {
    push_spaced(out, &text.replace('|', "_"));
}

fn push_spaced(out: &mut Vec<u8>, text: &str) {
    let spaced = |byte: u8| if byte.is_ascii_control() { b' ' } else { byte };
    out.extend(text.bytes().map(spaced));
}

const UNKNOWN: Cow<'static, str> = Cow::Borrowed("unknown");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_values_are_escaped_as_each_format_asks() {
        let check = |push: fn(&mut Vec<u8>, &str), text: &str, expected: &str| {
            let mut out = Vec::new();
            push(&mut out, text);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        let text = "a|b\\c=d\te\nf\rg\u{7f}é";
        check(push_cef_header, text, "a\\|b\\\\c=d e f g é");
        check(push_cef_value, text, "a|b\\\\c\\=d e\\nf\\rg é");
        check(push_leef_header, text, "a_b\\c=d e f g é");
        check(push_spaced, text, "a|b\\c=d e f g é");
    }
}
