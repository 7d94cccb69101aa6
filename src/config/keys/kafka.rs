//! Keys of `[stream.NAME.kafka]`.

use std::time::Duration;

use super::{Fallback, Key, Kind, MIB, SectionSpec, span};

/// `[stream.NAME.kafka]`.
pub static KAFKA: SectionSpec = SectionSpec {
    path: "stream.NAME.kafka",
    doc: "Delivery to Kafka, one event or one batch a message; see \
          [destinations/kafka.md](destinations/kafka.md).",
    keys: &[
        Key::new(
            "brokers",
            Kind::Brokers,
            Fallback::Required,
            "Brokers to begin with, each `host:port`; the others are learned from them.",
        ),
        Key::new(
            "topic",
            TOPIC,
            Fallback::Absent,
            "The topic. This or `topic_field` must be given.",
        ),
        Key::new(
            "topic_field",
            PATH,
            Fallback::Absent,
            "Path of the field that names an event's topic; needs `topics`.",
        ),
        Key::new(
            "topics",
            Kind::Texts { max: 1_000 },
            Fallback::Absent,
            "Topics that `topic_field` may name. An event that names none of them is rejected.",
        ),
        Key::new(
            "message",
            Kind::OneOf(&["event", "batch"]),
            Fallback::Value("\"event\""),
            "What a message is. `batch`: all events of a batch, with the header `content-type`; set \
             `batch.bytes` to what fits `message_bytes_max`, or batches are halved until they do.",
        ),
        Key::new(
            "key_field",
            PATH,
            Fallback::Absent,
            "Path of the field whose value is the message's key: events of one key keep their order. \
             Without it, or in an event without the field, messages have no key and are spread.",
        ),
        Key::new(
            "compression",
            Kind::OneOf(&["none", "gzip", "lz4", "zstd", "snappy"]),
            Fallback::Value("\"none\""),
            "`lz4`, `zstd`, `snappy`: of messages on their way, with `message = \"event\"`. `gzip`: of \
             each message's body, with `message = \"batch\"` and the header `content-encoding`.",
        ),
        Key::new(
            "headers",
            Kind::Headers,
            Fallback::Absent,
            "Headers of every message, name and value; at most 64.",
        ),
        Key::new(
            "header_fields",
            Kind::Headers,
            Fallback::Absent,
            "Headers with values of fields: name, and path of the field; at most 64.",
        ),
        Key::new(
            "crn_field",
            PATH,
            Fallback::Absent,
            "Path of a field with a cloud resource name, such as `logSourceCRN`: its account and location \
             become the headers `account` and `location`.",
        ),
        Key::new(
            "identity_headers",
            Kind::Flag,
            Fallback::Value("true"),
            "Whether messages carry `weir-batch`, and events `weir-event`, by which a reader knows what \
             was sent twice.",
        ),
        Key::new(
            "message_bytes_max",
            Kind::Size {
                min: 1_000,
                max: 64 * MIB,
            },
            Fallback::Value("1000000"),
            "Largest message: body, key and headers, before compression. Never above `max.message.bytes` \
             of the topic.",
        ),
        Key::new(
            "oversize",
            Kind::OneOf(&["reject", "truncate"]),
            Fallback::Value("\"reject\""),
            "What happens to an event above it. `truncate`: its end is cut off, and the header \
             `truncated` has its former size.",
        ),
        Key::new(
            "delivery_timeout",
            span(Duration::from_secs(1), Duration::from_hours(1)),
            Fallback::Value("\"60s\""),
            "A delivery in which no message is acknowledged for so long has failed.",
        ),
        Key::new(
            "tls",
            Kind::Flag,
            Fallback::Value("true"),
            "Whether connections are encrypted. Brokers' certificates and the names in them are always \
             checked.",
        ),
        Key::new(
            "ca_file",
            Kind::ExistingFile,
            Fallback::Computed("the system's authorities"),
            "PEM file of the certificate authorities to trust.",
        ),
        Key::new(
            "client_cert_file",
            Kind::ExistingFile,
            Fallback::Absent,
            "PEM file of the client certificate chain; needs `client_key_file`.",
        ),
        Key::new(
            "client_key_file",
            Kind::ExistingFile,
            Fallback::Absent,
            "PEM file of the client's private key; needs `client_cert_file`.",
        ),
        Key::new(
            "sasl",
            Kind::OneOf(&[
                "none",
                "plain",
                "scram-sha-256",
                "scram-sha-512",
                "oauthbearer",
            ]),
            Fallback::Value("\"none\""),
            "How Weir says who it is. `plain` and `oauthbearer` need `tls`.",
        ),
        Key::new("username", TEXT, Fallback::Absent, "Name for SASL."),
        Key::new(
            "password",
            Kind::Secret { max: 4_096 },
            Fallback::Absent,
            "Password for SASL. Never shown.",
        ),
        Key::new(
            "password_file",
            Kind::ExistingFile,
            Fallback::Absent,
            "File with the password on its first line; read again after every failure.",
        ),
        Key::new(
            "token_file",
            Kind::ExistingFile,
            Fallback::Absent,
            "File with the token of `oauthbearer` on its first line; read again before a minute is over.",
        ),
        Key::new(
            "properties",
            Kind::Headers,
            Fallback::Absent,
            "Further properties of librdkafka, name and value as text; at most 64. What Weir sets itself, \
             and what runs programs or loads code, is refused.",
        ),
    ],
    tables: &[],
};

const TEXT: Kind = Kind::Text { max: 1_024 };
const PATH: Kind = Kind::Text { max: 1_024 };
const TOPIC: Kind = Kind::Text { max: 249 };
