//! From an event to a message: its topic, key, headers and body. Pure.
//!
//! Fields are read from the event as it came, whatever a template makes of the body. A field that
//! is text counts without quotes and escapes, any other as it stands; null and a missing field are
//! nothing.

use std::borrow::Cow;
use std::fmt::Write as _;

use rdkafka::message::{Header, OwnedHeaders};

use super::settings::{EventMessage, KafkaSettings, Oversize, Topic};
use crate::batch::{Compression, Parcel, Purpose, Record};
use crate::filter::text::unescaped;
use crate::filter::tree::Path;
use crate::filter::{PathId, Paths, Walker};
use crate::sink::Failure;

/// Name of the header with the batch's identity.
pub(super) const BATCH_HEADER: &str = "weir-batch";
/// Name of the header with the event's own offset. With the segment, which the batch's identity
/// begins with, it is the event's place; it is short because it may weigh as much as the event.
pub(super) const EVENT_HEADER: &str = "weir-event";
/// Name of the header of an event that was cut: its bytes before that.
pub(super) const TRUNCATED_HEADER: &str = "truncated";

/// Headers, with their bytes counted.
#[derive(Debug, Clone)]
pub(super) struct Headers {
    list: OwnedHeaders,
    bytes: usize,
}

impl Headers {
    fn new(capacity: usize) -> Self {
        Self {
            list: OwnedHeaders::new_with_capacity(capacity),
            bytes: 0,
        }
    }

    fn with(self, key: &str, value: &[u8]) -> Self {
        let bytes = self.bytes + key.len() + value.len();
        let value = Some(value);
        let list = self.list.insert(Header { key, value });
        Self { list, bytes }
    }

    /// For librdkafka; `None` when there is none.
    pub(super) fn into_list(self) -> Option<OwnedHeaders> {
        (self.bytes > 0).then_some(self.list)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The headers that all messages of a parcel share.
pub(super) fn of_parcel(settings: &KafkaSettings, parcel: &Parcel) -> Headers {
    let mut headers = Headers::new(settings.headers.len() + 3);
    for (name, value) in &settings.headers {
        headers = headers.with(name, value.as_bytes());
    }
    if settings.identity_headers {
        headers = headers.with(BATCH_HEADER, parcel.id.to_string().as_bytes());
    }
    headers
}

/// The headers of a message that is a whole parcel.
pub(super) fn of_batch(settings: &KafkaSettings, parcel: &Parcel) -> Headers {
    let content_type = parcel.content_type.unwrap_or("application/x-ndjson");
    let headers = of_parcel(settings, parcel).with("content-type", content_type.as_bytes());
    match parcel.content_encoding {
        Compression::Gzip => headers.with("content-encoding", b"gzip"),
        Compression::Identity => headers,
    }
}

/// A message as it will be sent.
#[derive(Debug)]
pub(super) struct Composed<'a> {
    pub(super) topic: &'a str,
    pub(super) key: Option<Cow<'a, [u8]>>,
    pub(super) body: &'a [u8],
    pub(super) headers: Headers,
}

/// Makes messages of events.
pub(super) struct Composer {
    topic: Topic,
    topic_field: Option<PathId>,
    key: Option<PathId>,
    header_fields: Vec<(String, PathId)>,
    crn: Option<PathId>,
    oversize: Oversize,
    identity: bool,
    bytes_max: usize,
    paths: Paths,
    walker: Walker,
    /// Room for the text of an offset.
    offset: String,
}

impl Composer {
    pub(super) fn new(settings: &KafkaSettings, event: &EventMessage) -> Self {
        let mut paths = Paths::new();
        let mut add = |path: &Path| paths.add(path);
        let topic_field = match &settings.topic {
            Topic::Fixed(_) => None,
            Topic::Field { path, .. } => Some(add(path)),
        };
        let header_fields = &event.header_fields;
        let header_fields = header_fields
            .iter()
            .map(|(name, path)| (name.clone(), add(path)))
            .collect();
        Self {
            topic: settings.topic.clone(),
            topic_field,
            key: event.key.as_ref().map(&mut add),
            header_fields,
            crn: event.crn.as_ref().map(&mut add),
            oversize: event.oversize,
            identity: settings.identity_headers,
            bytes_max: settings.message_bytes_max,
            paths,
            walker: Walker::new(),
            offset: String::new(),
        }
    }

    /// The message for an event; `shared` are the headers of its parcel.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn compose<'a>(
        &'a mut self,
        record: &'a Record,
        shared: &Headers,
        purpose: Purpose,
    ) -> Result<Composed<'a>, Failure> {
        let line: &[u8] = &record.line;
        let asks = self.topic_field.is_some()
            || self.key.is_some()
            || self.crn.is_some()
            || !self.header_fields.is_empty();
        if asks {
            self.walker.begin(&self.paths, line);
        }
        let (paths, walker) = (&self.paths, &mut self.walker);
        let mut value =
            |path: PathId| value_of(walker.find(paths, line, path).map(|at| &line[at])?);
        let named = self.topic_field.map(&mut value);
        let topic = topic_of(&self.topic, named.flatten().as_deref(), purpose)?;
        let key = self.key.and_then(&mut value);
        let mut headers = shared.clone();
        if self.identity {
            self.offset.clear();
            write!(self.offset, "{}", record.position.offset).expect("a String takes all");
            headers = headers.with(EVENT_HEADER, self.offset.as_bytes());
        }
        for (name, path) in &self.header_fields {
            if let Some(value) = value(*path) {
                headers = headers.with(name, &value);
            }
        }
        if let Some(crn) = self.crn.and_then(&mut value) {
            headers = with_crn(headers, &crn);
        }
        let (body, headers) = self.fit(&record.body, key.as_deref(), headers)?;
        Ok(Composed {
            topic,
            key,
            body,
            headers,
        })
    }

    /// The body, cut if it has to be and may be, and the headers, which then say so.
    fn fit<'b>(
        &self,
        body: &'b [u8],
        key: Option<&[u8]>,
        headers: Headers,
    ) -> Result<(&'b [u8], Headers), Failure> {
        let key_bytes = key.map_or(0, <[u8]>::len);
        let beside = key_bytes + headers.bytes();
        if body.len() + beside <= self.bytes_max {
            return Ok((body, headers));
        }
        if self.oversize == Oversize::Truncate {
            let headers = headers.with(TRUNCATED_HEADER, body.len().to_string().as_bytes());
            if let Some(room) = self.bytes_max.checked_sub(key_bytes + headers.bytes()) {
                return Ok((cut_between_characters(body, room), headers));
            }
        }
        Err(Failure {
            reason: "message_size_too_large",
            detail: format!(
                "{} bytes with key and headers, and message_bytes_max is {}",
                body.len() + beside,
                self.bytes_max
            ),
        })
    }
}

/// The topic of an event whose field has this value. A probe goes to the first topic there is.
fn topic_of<'a>(
    topic: &'a Topic,
    named: Option<&[u8]>,
    purpose: Purpose,
) -> Result<&'a str, Failure> {
    match topic {
        Topic::Fixed(name) => Ok(name),
        Topic::Field { topics, .. } => {
            let known = topics
                .iter()
                .find(|topic| Some(topic.as_bytes()) == named)
                .or_else(|| topics.first().filter(|_| purpose == Purpose::Probe));
            known.map(String::as_str).ok_or_else(|| Failure {
                reason: "unknown_topic",
                detail: match named {
                    Some(name) => {
                        let name = String::from_utf8_lossy(name);
                        let shown: String = name.chars().take(TOPIC_CHARS_SHOWN).collect();
                        format!("the event names the topic {shown:?}, which is not in `topics`")
                    }
                    None => "the event has no field that names its topic".to_owned(),
                },
            })
        }
    }
}

/// What is shown of a topic that an event names.
const TOPIC_CHARS_SHOWN: usize = 64;

/// What a raw value stands for.
fn value_of(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    match raw {
        b"null" => None,
        [b'"', inside @ .., b'"'] => Some(unescaped(inside)),
        other => Some(Cow::Borrowed(other)),
    }
}

/// `account` and `location` of `crn:version:cname:ctype:service:location:scope:…`, where an
/// account is the scope `a/ACCOUNT`.
fn with_crn(mut headers: Headers, crn: &[u8]) -> Headers {
    let mut parts = crn.split(|byte| *byte == b':');
    if parts.next() != Some(b"crn") {
        return headers;
    }
    if let Some(location) = parts.nth(4).filter(|location| !location.is_empty()) {
        headers = headers.with("location", location);
    }
    match parts.next().and_then(|scope| scope.strip_prefix(b"a/")) {
        Some(account) => headers.with("account", account),
        None => headers,
    }
}

/// At most so many bytes, without a part of a character at the end.
fn cut_between_characters(bytes: &[u8], bytes_max: usize) -> &[u8] {
    let mut end = bytes_max.min(bytes.len());
    // A continuation byte is 10xxxxxx.
    while end > 0 && bytes.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    &bytes[..end]
}
