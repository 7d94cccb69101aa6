//! Endpoints that answer as a product does, for tests of relays where the product cannot be had.
//!
//! Owns which product, and what all have in common: a token that is asked for, bodies that are
//! decoded first, and events given on as lines, byte for byte as the sender had them, so that they are
//! kept and judged as those of any body. Leaves counting and keeping to `connection`.

mod elastic;
mod hec;

use std::io::Read;

use flate2::bufread::MultiGzDecoder;

use self::elastic::Elastic;
use self::hec::Hec;
use crate::http1::{Encoding, RequestHead};

/// Which product, and how it is set up.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Answering as a product does")]
pub(crate) struct FakeArguments {
    /// Answer as this product does; an event with `"poison":true` at its top is one it cannot take
    #[arg(long, value_enum)]
    pub(crate) fake: Option<Product>,
    /// The token it knows; without it, any.
    #[arg(long, value_name = "TOKEN", requires = "fake")]
    pub(crate) fake_token: Option<String>,
    /// splunk-hec: the token has indexer acknowledgement, and the first N questions are answered with no
    #[arg(long, value_name = "N", requires = "fake")]
    pub(crate) ack_after: Option<u32>,
    /// elastic: every N-th document is answered with 429
    #[arg(long, value_name = "N", requires = "fake", value_parser = clap::value_parser!(u64).range(2..))]
    pub(crate) busy_every: Option<u64>,
}

/// The products there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Product {
    /// Splunk HTTP Event Collector
    SplunkHec,
    /// Elasticsearch bulk requests
    Elastic,
}

/// An endpoint that answers as a product does.
#[derive(Debug)]
pub(super) enum Fake {
    Hec(Hec),
    Elastic(Elastic),
}

/// What is sent back, and what was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
    /// The events taken, each with a line feed.
    pub(super) taken: Vec<u8>,
}

impl Answer {
    fn of(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            body: body.into(),
            taken: Vec::new(),
        }
    }
}

impl Fake {
    /// The endpoint asked for, if any.
    pub(super) fn of(arguments: &FakeArguments) -> Option<Self> {
        let token = arguments.fake_token.clone();
        Some(match arguments.fake? {
            Product::SplunkHec => Self::Hec(Hec::new(token, arguments.ack_after)),
            Product::Elastic => Self::Elastic(Elastic::new(token, arguments.busy_every)),
        })
    }

    /// The answer to a request that brings no events, if it is one.
    pub(super) fn question(&self, head: &RequestHead, body: &[u8]) -> Option<Answer> {
        match self {
            Self::Hec(hec) => hec.question(head, &decoded(head, body)?),
            Self::Elastic(elastic) => elastic.question(head),
        }
    }

    /// Takes what can be taken of the events in the body.
    pub(super) fn events(&self, head: &RequestHead, body: &[u8]) -> Answer {
        let Some(body) = decoded(head, body) else {
            return Answer::of(400, r#"{"text":"Invalid data format","code":6}"#);
        };
        match self {
            Self::Hec(hec) => hec.events(head, &body),
            Self::Elastic(elastic) => elastic.events(head, &body),
        }
    }
}

/// The body without its encoding, as text; `None` when it is neither.
fn decoded(head: &RequestHead, body: &[u8]) -> Option<String> {
    let mut text = String::new();
    let read = match head.encoding {
        Encoding::Identity => {
            let mut body = body;
            body.read_to_string(&mut text)
        }
        Encoding::Gzip => MultiGzDecoder::new(body)
            .take(DECODED_BYTES_MAX)
            .read_to_string(&mut text),
    };
    read.is_ok().then_some(text)
}

/// The value of a member at the top of a JSON object, as it was written. The object is known to be
/// one.
fn member<'t>(object: &'t str, name: &str) -> Option<&'t str> {
    let key = format!("\"{name}\"");
    let mut tops = tops(object);
    // Strings and values alternate: a key is a top that a colon follows.
    tops.find(|top| {
        let rest = object[top.end..].trim_ascii_start();
        object[top.clone()] == key && rest.starts_with(':')
    })?;
    let value = tops.next()?;
    Some(&object[value])
}

/// Places of keys and values at the top of a JSON object.
fn tops(object: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
    let bytes = object.as_bytes();
    let mut at = object.find('{').map_or(bytes.len(), |start| start + 1);
    std::iter::from_fn(move || {
        while bytes
            .get(at)
            .is_some_and(|b| b.is_ascii_whitespace() || b",:".contains(b))
        {
            at += 1;
        }
        let (start, mut depth, mut in_string) = (at, 0, false);
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'\\' if in_string => at += 1,
                b'"' => in_string = !in_string,
                b'{' | b'[' if !in_string => depth += 1,
                b'}' | b']' if !in_string && depth > 0 => depth -= 1,
                b',' | b':' | b'}' if !in_string && depth == 0 => break,
                b if b.is_ascii_whitespace() && !in_string && depth == 0 => break,
                _ => {}
            }
            at += 1;
        }
        let end = at.min(bytes.len());
        (end > start).then_some(start..end)
    })
}

/// Whether an event is one that no product takes.
fn is_poison(event: &serde_json::Value) -> bool {
    event.get("poison") == Some(&serde_json::Value::Bool(true))
}

const DECODED_BYTES_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::parse_request;

    /// A head with these lines behind the first.
    pub(super) fn head(request: &str, headers: &str) -> RequestHead {
        let text = format!("{request} HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        parse_request(text.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn members_are_found_at_the_top_and_given_as_they_were_written() {
        let object = r#" {"a":{"event":1,"x":"}"}, "b" : "event" ,"c":[1,{"event":2}],"event": {"e\"}": "," , "f":[ ]} ,"z":null}"#;
        assert_eq!(member(object, "event"), Some(r#"{"e\"}": "," , "f":[ ]}"#));
        assert_eq!(member(object, "b"), Some("\"event\""));
        assert_eq!(member(object, "z"), Some("null"));
        assert_eq!(member(object, "x"), None);
        assert_eq!(member("{}", "x"), None);
    }
}
