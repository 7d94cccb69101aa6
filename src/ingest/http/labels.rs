//! Labels of a request: what its query and headers say, over the input's own.
//!
//! Owns the names, limits and order of precedence: query, then header, then the input's
//! configuration. Promises that requests of one connection with equal labels share one
//! `Arc`, so that their events make one run.

use std::sync::Arc;

use http::{HeaderMap, Uri};

use crate::event::Labels;

/// Longest label a sender may give, in bytes of UTF-8.
pub(super) const LABEL_BYTES_MAX: usize = 512;

/// The labels a sender may give: name in the query, name of the header.
const NAMES: [(&str, &str); 5] = [
    ("application", "x-weir-application"),
    ("subsystem", "x-weir-subsystem"),
    ("host", "x-weir-host"),
    ("level", "x-weir-level"),
    ("env", "x-weir-env"),
];

/// Labels that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LabelsError {
    #[error(
        "query: unknown parameter {name:?}; known are application, subsystem, host, level and env"
    )]
    Unknown { name: String },
    #[error("{place}: given more than once; give it once")]
    Twice { place: String },
    #[error("{place}: {bytes} bytes, above the limit of {LABEL_BYTES_MAX}; shorten it")]
    TooLong { place: String, bytes: usize },
    #[error("{place}: holds the control character U+{:04X}; leave it out", u32::from(*.character))]
    Control { place: String, character: char },
    #[error("{place}: not valid UTF-8; send UTF-8, percent-encoded in the query")]
    NotUtf8 { place: String },
    #[error("{place}: a % must be followed by two hex digits; write %25 for a percent sign")]
    Percent { place: String },
}

/// The labels last used by a connection, kept so that equal ones are shared.
#[derive(Debug)]
pub(super) struct LabelsCache {
    /// The input's labels with the client's address.
    defaults: Labels,
    last: Arc<Labels>,
}

impl LabelsCache {
    /// For a connection whose requests have `defaults` unless they say otherwise.
    pub(super) fn new(defaults: Labels) -> Self {
        Self {
            last: Arc::new(defaults.clone()),
            defaults,
        }
    }

    /// Those of requests that say nothing.
    pub(super) fn defaults(&self) -> &Labels {
        &self.defaults
    }

    /// The labels of a request.
    pub(super) fn of_request(
        &mut self,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Arc<Labels>, LabelsError> {
        let mut given = of_query(uri.query().unwrap_or_default())?;
        for ((_, header), value) in NAMES.iter().zip(&mut given) {
            let from_header = of_header(headers, header)?;
            if value.is_none() {
                *value = from_header;
            }
        }
        let [application, subsystem, host, level, env] = given;
        let defaults = &self.defaults;
        let labels = Labels {
            application: application.or_else(|| defaults.application.clone()),
            subsystem: subsystem.or_else(|| defaults.subsystem.clone()),
            host: host.or_else(|| defaults.host.clone()),
            level: level.or_else(|| defaults.level.clone()),
            env: env.or_else(|| defaults.env.clone()),
            ..defaults.clone()
        };
        if labels != *self.last {
            self.last = Arc::new(labels);
        }
        Ok(Arc::clone(&self.last))
    }
}

type Given = [Option<Box<str>>; NAMES.len()];

fn of_query(query: &str) -> Result<Given, LabelsError> {
    let mut given = Given::default();
    let mut seen = [false; NAMES.len()];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let index = NAMES.iter().position(|(known, _)| *known == name);
        let index = index.ok_or_else(|| LabelsError::Unknown {
            name: shortened(name),
        })?;
        let place = || format!("query parameter {name}");
        if std::mem::replace(&mut seen[index], true) {
            return Err(LabelsError::Twice { place: place() });
        }
        given[index] = label(&percent_decoded(value, place)?, place)?;
    }
    Ok(given)
}

fn of_header(headers: &HeaderMap, header: &str) -> Result<Option<Box<str>>, LabelsError> {
    let place = || format!("header {header}");
    let mut values = headers.get_all(header).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(LabelsError::Twice { place: place() });
    }
    label(value.as_bytes(), place)
}

/// A label from its bytes; empty text counts as none.
fn label(bytes: &[u8], place: impl Fn() -> String) -> Result<Option<Box<str>>, LabelsError> {
    if bytes.len() > LABEL_BYTES_MAX {
        return Err(LabelsError::TooLong {
            place: place(),
            bytes: bytes.len(),
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| LabelsError::NotUtf8 { place: place() })?;
    if let Some(character) = text.chars().find(|character| character.is_control()) {
        return Err(LabelsError::Control {
            place: place(),
            character,
        });
    }
    Ok((!text.is_empty()).then(|| text.into()))
}

/// `%41` is `A` and `+` is a space, as every form and query encoder writes it.
fn percent_decoded(value: &str, place: impl Fn() -> String) -> Result<Vec<u8>, LabelsError> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let (pair, after) = rest
                    .split_at_checked(2)
                    .ok_or_else(|| LabelsError::Percent { place: place() })?;
                let (Some(high), Some(low)) = (hex_digit(pair[0]), hex_digit(pair[1])) else {
                    return Err(LabelsError::Percent { place: place() });
                };
                decoded.push(high << 4 | low);
                rest = after;
            }
            b'+' => decoded.push(b' '),
            byte => decoded.push(*byte),
        }
    }
    Ok(decoded)
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Enough of a text to recognise it in an answer.
pub(super) fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 64;
    let mut short: String = text.chars().take(CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::InputId;
    use http::HeaderValue;

    fn cache() -> LabelsCache {
        LabelsCache::new(Labels {
            application: Some("default".into()),
            peer: Some("10.0.0.1:5".into()),
            ..Labels::of_input(InputId(3))
        })
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn check(query: &str, pairs: &[(&'static str, &'static str)]) -> Result<Labels, LabelsError> {
        let uri: Uri = format!("/v1/events?{query}").parse().expect("a URI");
        let labels = cache().of_request(&uri, &headers(pairs))?;
        Ok((*labels).clone())
    }

    #[test]
    fn query_wins_over_header_and_header_over_configuration() {
        let labels = check(
            "application=a%20b+c%2B&host=%C3%A9",
            &[("x-weir-application", "header"), ("x-weir-level", "warn")],
        )
        .expect("labels");
        assert_eq!(labels.application.as_deref(), Some("a b c+"));
        assert_eq!(labels.host.as_deref(), Some("é"));
        assert_eq!(labels.level.as_deref(), Some("warn"));
        assert_eq!(labels.peer.as_deref(), Some("10.0.0.1:5"));
        assert_eq!(labels.input, InputId(3));
        let labels = check("", &[("x-weir-env", "")]).expect("labels");
        assert_eq!(labels.application.as_deref(), Some("default"));
        assert_eq!(labels.env, None);
        let labels = check("application=&env=prod", &[]).expect("labels");
        assert_eq!(labels.application.as_deref(), Some("default"));
        assert_eq!(labels.env.as_deref(), Some("prod"));
    }

    #[test]
    fn labels_that_cannot_be_used_are_refused_with_their_place() {
        let says = |query: &str| check(query, &[]).expect_err("refused").to_string();
        assert!(says("aplication=x").contains("unknown parameter \"aplication\""));
        assert!(says("host=a&host=b").contains("query parameter host: given more than once"));
        assert!(says("host=&host=b").contains("given more than once"));
        assert!(says("host=%0a").contains("U+000A"));
        assert!(says("host=%ff").contains("not valid UTF-8"));
        assert!(says("host=%4").contains("two hex digits"));
        assert!(says("host=%zz").contains("two hex digits"));
        assert!(says(&format!("host={}", "x".repeat(513))).contains("513 bytes"));
        assert!(check(&format!("host={}", "x".repeat(512)), &[]).is_ok());
        let twice = check("", &[("x-weir-host", "a"), ("x-weir-host", "b")]);
        assert!(matches!(twice, Err(LabelsError::Twice { .. })));
        // A header that the query overrides is judged all the same.
        assert!(check("host=a", &[("x-weir-host", "a\tb")]).is_err());
    }

    #[test]
    fn equal_labels_of_a_connection_share_one_arc() {
        let mut cache = cache();
        let uri: Uri = "/v1/events?host=a".parse().expect("a URI");
        let none = HeaderMap::new();
        let first = cache.of_request(&uri, &none).expect("labels");
        let second = cache.of_request(&uri, &none).expect("labels");
        assert!(Arc::ptr_eq(&first, &second));
        let other: Uri = "/v1/events?host=b".parse().expect("a URI");
        let third = cache.of_request(&other, &none).expect("labels");
        assert!(!Arc::ptr_eq(&first, &third));
    }
}
