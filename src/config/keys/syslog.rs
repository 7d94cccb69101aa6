//! Keys of syslog destinations: `[stream.NAME.syslog]`.

use std::time::Duration;

use super::{Except, Fallback, Key, Kind, MIB, SectionSpec, tls};

/// `[stream.NAME.syslog]`.
pub static SYSLOG: SectionSpec = SectionSpec {
    path: "stream.NAME.syslog",
    doc: "Delivery as RFC 5424 syslog over TCP or TLS, one message an event. See \
          [destinations/syslog.md](destinations/syslog.md).",
    keys: &[
        Key::new(
            "address",
            Kind::Text { max: 260 },
            Fallback::Required,
            "Receiver, `host:port`; `[…]:port` for an IPv6 address. 514 is usual for TCP, 6514 for TLS.",
        ),
        Key::new(
            "body",
            Kind::OneOf(&["json", "cef", "leef"]),
            Fallback::Value("\"json\""),
            "What a message says: the event as it came, or the shape `cef` or `leef`. A template of the \
             stream that names a shape goes before.",
        ),
        Key::new(
            "facility",
            Kind::Text { max: 32 },
            Fallback::Value("\"local0\""),
            "Facility of events without a field that names one: `\"kern\"` to `\"local7\"`, \
             `\"audit\"` (13), or 0 to 23 as text.",
        ),
        field(
            "facility_field",
            "Path of the event's field that names its facility.",
        ),
        Key::new(
            "severity",
            Kind::Text { max: 32 },
            Fallback::Computed("that of the label `level`, else informational"),
            "Severity of events without a field that names one: `\"emergency\"` to `\"debug\"`, or 0 \
             to 7 as text.",
        ),
        field(
            "severity_field",
            "Path of the event's field that names its severity, in the words of syslog or of Activity \
             Tracker, or 0 to 7.",
        ),
        text(
            "hostname",
            "the label `host`, else `-`",
            "HOSTNAME of events without the field.",
        ),
        field(
            "hostname_field",
            "Path of the event's field that holds HOSTNAME.",
        ),
        text(
            "app_name",
            "the label `application`, else `-`",
            "APP-NAME of events without the field.",
        ),
        field(
            "app_name_field",
            "Path of the event's field that holds APP-NAME.",
        ),
        text("process_id", "`-`", "PROCID of events without the field."),
        field(
            "process_id_field",
            "Path of the event's field that holds PROCID.",
        ),
        text("message_id", "`-`", "MSGID of events without the field."),
        field(
            "message_id_field",
            "Path of the event's field that holds MSGID.",
        ),
        Key::new(
            "identity",
            Kind::Flag,
            Fallback::Value("true"),
            "Tell the batch's identity and the event's position in structured data, so that what is \
             sent twice can be recognised.",
        ),
        Key::new(
            "enterprise_number",
            Kind::Count {
                min: 1,
                max: 4_294_967_295,
            },
            Fallback::Value("32473"),
            "Private enterprise number behind `weir@` in structured data. Weir has none of its own; the \
             default is the one reserved for examples.",
        ),
        Key::new(
            "framing",
            Kind::OneOf(&["octet", "newline"]),
            Fallback::Value("\"octet\""),
            "`octet`: each message behind its length. `newline`: each message ended by a line feed, for \
             old receivers; line feeds in it become spaces.",
        ),
        Key::new(
            "message_bytes_max",
            Kind::Size {
                min: 0,
                max: 64 * MIB,
            },
            Fallback::Value("0"),
            "Bytes of a message, header included, above which its event is rejected. 0: no limit. It is \
             of use where the receiver would cut or drop longer messages without a word.",
        ),
        Key::new(
            "connect_timeout",
            TIMEOUT,
            Fallback::Value("\"10s\""),
            "Time to connect, TLS included.",
        ),
        Key::new(
            "send_timeout",
            TIMEOUT,
            Fallback::Value("\"60s\""),
            "Time to write a batch.",
        ),
        Key::new(
            "ack_timeout",
            TIMEOUT,
            Fallback::Value("\"10s\""),
            "Time from the last byte written until the receiver's kernel has acknowledged all.",
        ),
        Key::new("tls", Kind::Flag, Fallback::Value("false"), "Speak TLS."),
        tls::CA_FILE,
        tls::CLIENT_CERT_FILE,
        tls::CLIENT_KEY_FILE,
        Key::new(
            "server_name",
            Kind::Text { max: 253 },
            Fallback::Computed("the host of `address`"),
            "Name to check the server's certificate against.",
        ),
    ],
    tables: &[],
};

const fn field(name: &'static str, doc: &'static str) -> Key {
    Key::new(name, Kind::Text { max: 512 }, Fallback::Absent, doc)
}

const fn text(name: &'static str, otherwise: &'static str, doc: &'static str) -> Key {
    Key::new(
        name,
        Kind::Text { max: 255 },
        Fallback::Computed(otherwise),
        doc,
    )
}

const TIMEOUT: Kind = Kind::Span {
    min: Duration::from_millis(10),
    max: Duration::from_hours(1),
    except: Except::None,
};
