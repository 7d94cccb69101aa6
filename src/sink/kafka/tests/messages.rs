//! From an event to a message.

use rdkafka::message::Headers as _;

use super::super::message::{Composer, of_batch, of_parcel};
use super::super::settings::{EventMessage, KafkaSettings, Message, Oversize, Topic};
use super::{event, parcel, path, record, records, settings};
use crate::batch::{Body, Compression, Parcel, Purpose};

/// A message as a test looks at it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    topic: String,
    key: Option<String>,
    body: String,
    headers: Vec<(String, String)>,
}

/// The message for a line, or the reason why there is none.
fn compose(settings: &KafkaSettings, line: &str, purpose: Purpose) -> Result<Seen, &'static str> {
    let Message::Event(event) = &settings.message else {
        panic!("not for events");
    };
    let parcel = records(&[line.to_owned()]);
    let shared = of_parcel(settings, &parcel);
    let mut composer = Composer::new(settings, event);
    let record = record(41, line);
    let composed = composer
        .compose(&record, &shared, purpose)
        .map_err(|why| why.reason)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let list = composed.headers.into_list();
    let headers = list.iter().flat_map(|list| list.iter()).map(|header| {
        let value = header.value.unwrap();
        (header.key.to_owned(), text(value))
    });
    Ok(Seen {
        topic: composed.topic.to_owned(),
        key: composed.key.as_deref().map(text),
        body: text(composed.body),
        headers: headers.collect(),
    })
}

fn bare(event: EventMessage) -> KafkaSettings {
    KafkaSettings {
        identity_headers: false,
        ..settings(event)
    }
}

#[test]
fn the_key_is_the_fields_value_decoded() {
    let settings = bare(EventMessage {
        key: Some(path("target.id")),
        ..event()
    });
    let check = |line: &str, expected: Option<&str>| {
        let seen = compose(&settings, line, Purpose::Events).unwrap();
        assert_eq!(seen.key.as_deref(), expected, "{line}");
        assert_eq!(seen.body, line);
        assert_eq!(seen.headers, []);
    };
    check(r#"{"target":{"id":"a\u00e9\n\"b"}}"#, Some("a\u{e9}\n\"b"));
    check(r#"{"target":{"id":17}}"#, Some("17"));
    check(r#"{"target":{"id":""}}"#, Some(""));
    check(r#"{"target":{"id":{"x":1}}}"#, Some(r#"{"x":1}"#));
    check(r#"{"target":{"id":null}}"#, None);
    check(r#"{"target":1}"#, None);
}

#[test]
fn an_event_whose_topic_is_not_in_the_list_has_no_message() {
    let settings = KafkaSettings {
        topic: Topic::Field {
            path: path("kind"),
            topics: vec!["waf".to_owned(), "audit".to_owned()],
        },
        ..bare(event())
    };
    let check = |line: &str, purpose, expected: Result<&str, &'static str>| {
        let topic = compose(&settings, line, purpose).map(|seen| seen.topic);
        assert_eq!(topic.as_deref(), expected.as_deref(), "{line}");
    };
    check(r#"{"kind":"audit"}"#, Purpose::Events, Ok("audit"));
    check(r#"{"kind":"aud\u0069t"}"#, Purpose::Events, Ok("audit"));
    check(r#"{"kind":"other"}"#, Purpose::Events, Err("unknown_topic"));
    check(r#"{"king":"audit"}"#, Purpose::Events, Err("unknown_topic"));
    check(r#"{"king":"audit"}"#, Purpose::Probe, Ok("waf"));
}

#[test]
fn headers_are_the_fixed_ones_the_identity_and_values_of_fields() {
    let settings = KafkaSettings {
        headers: vec![("type".to_owned(), "audit".to_owned())],
        ..settings(EventMessage {
            header_fields: vec![
                ("host".to_owned(), path("_host")),
                ("no".to_owned(), path("no")),
            ],
            crn: Some(path("logSourceCRN")),
            ..event()
        })
    };
    let line = r#"{"_host":"a","logSourceCRN":"crn:v1:bluemix:public:kms:eu-de:a/77:i::"}"#;
    let seen = compose(&settings, line, Purpose::Events).unwrap();
    let expected = [
        ("type", "audit"),
        (
            "weir-batch",
            "07070707070707070707070707070707/0-0/siem/0000000000000000",
        ),
        ("weir-event", "41"),
        ("host", "a"),
        ("location", "eu-de"),
        ("account", "77"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(seen.headers, expected);
}

#[test]
fn a_cloud_resource_name_gives_what_it_has() {
    let settings = bare(EventMessage {
        crn: Some(path("crn")),
        ..event()
    });
    let check = |crn: &str, expected: &[(&str, &str)]| {
        let line = format!(r#"{{"crn":"{crn}"}}"#);
        let seen = compose(&settings, &line, Purpose::Events).unwrap();
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(seen.headers, expected, "{crn}");
    };
    check(
        "crn:v1:b:p:kms:eu-de:a/7:i::",
        &[("location", "eu-de"), ("account", "7")],
    );
    check("crn:v1:b:p:kms::a/7:i::", &[("account", "7")]);
    check("crn:v1:b:p:kms:eu-de:o/7:i::", &[("location", "eu-de")]);
    check("crn:v1:b:p:kms", &[]);
    check("arn:v1:b:p:kms:eu-de:a/7", &[]);
}

#[test]
fn an_event_that_is_too_large_is_rejected_or_cut_between_characters() {
    let limited = |oversize| KafkaSettings {
        message_bytes_max: 30,
        ..bare(EventMessage {
            oversize,
            ..event()
        })
    };
    let check = |oversize, line: &str, expected: Result<(&str, usize), &'static str>| {
        let seen = compose(&limited(oversize), line, Purpose::Events);
        let found = seen
            .as_ref()
            .map(|seen| (seen.body.as_str(), seen.headers.len()));
        assert_eq!(found.map_err(|reason| *reason), expected, "{line}");
    };
    let (fits, long) = ("a".repeat(30), "a".repeat(31));
    for oversize in [Oversize::Reject, Oversize::Truncate] {
        check(oversize, &fits, Ok((&fits, 0)));
    }
    check(Oversize::Reject, &long, Err("message_size_too_large"));
    // The header takes eleven of the bytes.
    check(Oversize::Truncate, &long, Ok((&"a".repeat(19), 1)));
    let accents = format!("a{}", "\u{e9}".repeat(20));
    let cut = format!("a{}", "\u{e9}".repeat(9));
    check(Oversize::Truncate, &accents, Ok((&cut, 1)));
}

#[test]
fn a_message_too_small_for_its_headers_cannot_be_cut() {
    let settings = KafkaSettings {
        message_bytes_max: 30,
        ..settings(EventMessage {
            oversize: Oversize::Truncate,
            ..event()
        })
    };
    assert_eq!(
        compose(&settings, "a", Purpose::Events),
        Err("message_size_too_large")
    );
}

#[test]
fn a_batch_says_what_it_holds() {
    let settings = bare(event());
    let whole = parcel(Body::Whole(Vec::new()), 1);
    let check = |content_encoding, content_type, expected: &[(&str, &[u8])]| {
        let parcel = Parcel {
            content_encoding,
            content_type,
            ..whole.clone()
        };
        let list = of_batch(&settings, &parcel).into_list().unwrap();
        let headers: Vec<_> = list
            .iter()
            .map(|header| (header.key, header.value.unwrap()))
            .collect();
        assert_eq!(headers, expected);
    };
    check(
        Compression::Gzip,
        None,
        &[
            ("content-type", b"application/x-ndjson"),
            ("content-encoding", b"gzip"),
        ],
    );
    check(
        Compression::Identity,
        Some("application/json"),
        &[("content-type", b"application/json")],
    );
}
