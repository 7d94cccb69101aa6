//! Keys of the inputs: `[input.NAME.tcp]` and `[input.NAME.http]`.

use std::time::Duration;

use super::{Except, Fallback, Key, Kind, MIB, SectionSpec, span};

/// `[input.NAME.tcp]`.
pub static TCP: SectionSpec = SectionSpec {
    path: "input.NAME.tcp",
    doc: "NDJSON over plain TCP: one JSON object a line.",
    keys: &[
        LISTEN,
        Key::new(
            "ack",
            Kind::Flag,
            Fallback::Value("false"),
            "Answer with `{\"ack\":N}` lines: the fate of the connection's first N lines is on disk.",
        ),
        CONNECTIONS_MAX,
        Key::new(
            "idle_timeout",
            Kind::Span {
                min: Duration::from_millis(100),
                max: Duration::from_hours(30 * 24),
                except: Except::ZeroIsNever,
            },
            Fallback::Value("\"1h\""),
            "A connection silent for so long is closed.",
        ),
        LINE_BYTES_MAX,
        VALIDATE,
        INSECURE,
    ],
    tables: &["labels"],
};

/// `[input.NAME.http]`.
pub static HTTP: SectionSpec = SectionSpec {
    path: "input.NAME.http",
    doc: "`POST /v1/events`: NDJSON or a JSON array, plain, gzip or zstd.",
    keys: &[
        LISTEN,
        CONNECTIONS_MAX,
        LINE_BYTES_MAX,
        Key::new(
            "body_bytes_max",
            Kind::Size {
                min: 1,
                max: 64 * MIB,
            },
            Fallback::Value("\"16 MiB\""),
            "Bytes of a body as sent; a larger one is answered with 413.",
        ),
        Key::new(
            "decompressed_bytes_max",
            Kind::Size {
                min: 1,
                max: 128 * MIB,
            },
            Fallback::Value("\"32 MiB\""),
            "Bytes of a body once decompressed; a larger one is answered with 413.",
        ),
        Key::new(
            "expansion_max",
            Kind::Count {
                min: 1,
                max: 100_000,
            },
            Fallback::Value("200"),
            "Decompressed bytes for each compressed byte above which a body of more than 1 MiB is \
             refused as a bomb.",
        ),
        Key::new(
            "header_timeout",
            TIMEOUT,
            Fallback::Value("\"10s\""),
            "Time to send the request head.",
        ),
        Key::new(
            "body_timeout",
            TIMEOUT,
            Fallback::Value("\"10s\""),
            "Longest pause between two pieces of a body; over the whole body at least 1 KiB/s \
             must come.",
        ),
        Key::new(
            "keep_alive_timeout",
            span(Duration::from_millis(100), Duration::from_hours(24)),
            Fallback::Value("\"75s\""),
            "Time a connection may stay without a request.",
        ),
        VALIDATE,
        INSECURE,
    ],
    tables: &["labels", "relay"],
};

/// `[input.NAME.tcp.labels]`.
pub static TCP_LABELS: SectionSpec = SectionSpec {
    path: "input.NAME.tcp.labels",
    doc: "Labels of every event of the input. Empty text leaves a label out.",
    keys: LABELS,
    tables: &[],
};

/// `[input.NAME.http.labels]`.
pub static HTTP_LABELS: SectionSpec = SectionSpec {
    path: "input.NAME.http.labels",
    doc: "Labels of every event of the input whose sender does not say otherwise. Empty text \
          leaves a label out.",
    keys: LABELS,
    tables: &[],
};

const LISTEN: Key = Key::new(
    "listen",
    Kind::Address,
    Fallback::Required,
    "Address to listen on. Port 0, a free port, is for loopback only.",
);

const CONNECTIONS_MAX: Key = Key::new(
    "connections_max",
    Kind::Count {
        min: 1,
        max: 1_000_000,
    },
    Fallback::Value("10000"),
    "Open connections; further ones are closed at once and counted.",
);

const LINE_BYTES_MAX: Key = Key::new(
    "line_bytes_max",
    Kind::Size {
        min: 1,
        max: 16 * MIB,
    },
    Fallback::Value("\"1 MiB\""),
    "Longest line without its line end; a longer one is rejected, the rest of the input is not \
     touched.",
);

const VALIDATE: Key = Key::new(
    "validate",
    Kind::OneOf(&["full", "none"]),
    Fallback::Value("\"full\""),
    "`full`: every line is checked to be one complete JSON object in valid UTF-8. `none`: the \
     sender is trusted, only the first and last byte are looked at.",
);

const INSECURE: Key = Key::new(
    "insecure",
    Kind::Flag,
    Fallback::Value("false"),
    "Accept a `listen` address beyond loopback although anyone who reaches it may send, in plain \
     text.",
);

const TIMEOUT: Kind = span(Duration::from_millis(100), Duration::from_hours(1));

const LABELS: &[Key] = &[
    label("application", "Name of the application."),
    label("subsystem", "Name of the subsystem."),
    label("host", "Host the events come from."),
    label("level", "Severity word."),
    label("env", "Environment."),
];

const fn label(name: &'static str, doc: &'static str) -> Key {
    Key::new(name, Kind::Text { max: 256 }, Fallback::Value("\"\""), doc)
}
