//! Keys of the streams: `[stream.NAME]`, its batches, retries and files.

use std::time::Duration;

use super::{Except, Fallback, GIB, KIB, Key, Kind, MIB, SectionSpec, TIB, span};

/// `[stream.NAME]`.
pub static STREAM: SectionSpec = SectionSpec {
    path: "stream.NAME",
    doc: "A delivery. It needs one destination: `[stream.NAME.http]`, `[stream.NAME.file]`, \
          `[stream.NAME.kafka]`, `[stream.NAME.s3]`, `[stream.NAME.relay]` or `[stream.NAME.syslog]`.",
    keys: &[
        Key::new(
            "from",
            Kind::StartAt,
            Fallback::Value("\"end\""),
            "Where a stream without a cursor begins: `\"end\"`, with what comes from now on; \
             `\"start\"`, with the oldest event still held; a time, with the first events received \
             then.",
        ),
        Key::new(
            "audit",
            Kind::OneOf(&["none", "with", "only"]),
            Fallback::Value("\"none\""),
            "Whether audit events, which tell what Weir did, refused or lost, are delivered: `\"none\"` \
             of them; `\"with\"` all other events, in batches of their own; `\"only\"` they. What a \
             stream may hold says nothing of them: the internal journal keeps the newest 24 MiB.",
        ),
        Key::new(
            "rule",
            Kind::Rule,
            Fallback::Computed("everything"),
            "What is delivered: a condition in DPXL, with or without `<v1>`. What does not match counts \
             as filtered. Audit events are not asked. See [rules.md](rules.md).",
        ),
        Key::new(
            "when_full",
            Kind::OneOf(&["block", "discard_oldest"]),
            Fallback::Value("\"block\""),
            "What happens when the journals are full and this stream still needs the oldest \
             events. `block`: inputs wait until it has delivered them. `discard_oldest`: it \
             discards them, unless a stream that blocks needs them too.",
        ),
        Key::new(
            "hold_max",
            Kind::Span {
                min: Duration::from_secs(1),
                max: Duration::from_hours(10 * 365 * 24),
                except: Except::MinusOneIsForever,
            },
            Fallback::Value("\"7d\""),
            "When the destination has taken nothing for so long, events received longer ago are \
             discarded, a whole segment at a time. It counts from the first failure after a \
             success or a start.",
        ),
        Key::new(
            "backlog_bytes_max",
            Kind::Size {
                min: 0,
                max: 1024 * TIB,
            },
            Fallback::Value("0"),
            "Bytes of segments this stream may hold in all journals; beyond them it discards its \
             oldest, a whole segment at a time. At least two segments for each journal. 0: no \
             limit.",
        ),
    ],
    tables: &[
        "exclude",
        "sample",
        "domains",
        "template",
        "batch",
        "retry",
        "dead_letters",
        "http",
        "file",
        "kafka",
        "s3",
        "relay",
        "syslog",
    ],
};

/// `[stream.NAME.batch]`.
pub static BATCH: SectionSpec = SectionSpec {
    path: "stream.NAME.batch",
    doc: "When a batch is cut: at whichever limit comes first.",
    keys: &[
        Key::new(
            "bytes",
            Kind::Size {
                min: 64 * KIB,
                max: 4 * GIB,
            },
            Fallback::Value("\"8 MiB\""),
            "Raw bytes, line ends included. Presets: `logdna` `\"4 MiB\"`, at most 10 MB; `cloud_logs` \
             `\"1 MiB\"`, at most 2 MB. With `s3`: `\"256 MiB\"`; with \
             `kafka` and `message = \"batch\"`: `\"4 MiB\"`.",
        ),
        Key::new(
            "age",
            span(Duration::from_millis(1), Duration::from_hours(1)),
            Fallback::Value("\"1s\""),
            "Age of the batch's first event since it was durable. Preset `azion`, and `s3`: `\"60s\"`.",
        ),
        Key::new(
            "records",
            Kind::Count {
                min: 0,
                max: 1_000_000_000,
            },
            Fallback::Value("0"),
            "Events. 0: no limit. Preset `azion`, and `s3`: 2000.",
        ),
    ],
    tables: &[],
};

/// `[stream.NAME.retry]`.
pub static RETRY: SectionSpec = SectionSpec {
    path: "stream.NAME.retry",
    doc: "When a failed batch is tried again: delays double from one bound to the other, drawn at \
          random below it; there is no last try.",
    keys: &[
        Key::new(
            "delay_min",
            span(Duration::from_millis(1), Duration::from_hours(1)),
            Fallback::Value("\"200ms\""),
            "Upper bound of the first delay.",
        ),
        Key::new(
            "delay_max",
            span(Duration::from_millis(1), Duration::from_hours(24)),
            Fallback::Value("\"60s\""),
            "Upper bound the delays grow to; never below `delay_min`.",
        ),
        Key::new(
            "probe_after",
            span(Duration::from_secs(1), Duration::from_hours(24)),
            Fallback::Value("\"10m\""),
            "When a batch has failed for so long in ways that may pass, a marked test event asks \
             whether the destination takes anything else; if it does, the batch is at fault.",
        ),
        Key::new(
            "probe_every",
            span(Duration::from_millis(100), Duration::from_hours(24)),
            Fallback::Value("\"60s\""),
            "How often a parked stream asks its destination whether it takes events again.",
        ),
    ],
    tables: &[],
};

/// `[stream.NAME.dead_letters]`.
pub static DEAD_LETTERS: SectionSpec = SectionSpec {
    path: "stream.NAME.dead_letters",
    doc: "Events that the destination refuses for good. See [dead-letters.md](dead-letters.md).",
    keys: &[
        Key::new(
            "bytes_max",
            Kind::Size { min: MIB, max: GIB },
            Fallback::Value("\"64 MiB\""),
            "Bytes of the stream's dead letters in the data directory. About 100 bytes of memory \
             are taken for each.",
        ),
        Key::new(
            "when_full",
            Kind::OneOf(&["park", "evict"]),
            Fallback::Value("\"park\""),
            "What happens when the next one has no room. `park`: the stream delivers nothing until \
             there is room again. `evict`: the oldest are removed, at least a sixteenth of the room \
             at a time, each time with an audit event before.",
        ),
    ],
    tables: &[],
};

/// `[stream.NAME.file]`.
pub static FILE: SectionSpec = SectionSpec {
    path: "stream.NAME.file",
    doc: "Delivery to local files, synced before it counts as delivered.",
    keys: &[
        Key::new(
            "path",
            Kind::Path,
            Fallback::Required,
            "The file written to. With several journals the journal's number is put before the \
             extension: `events.ndjson` becomes `events.0.ndjson`, `events.1.ndjson`. Inside the \
             data directory only its folder `out` is free for files.",
        ),
        Key::new(
            "compression",
            Kind::OneOf(&["gzip", "identity"]),
            Fallback::Value("\"identity\""),
            "`identity`: plain NDJSON. `gzip`: one gzip member a batch.",
        ),
        Key::new(
            "rotate_bytes",
            Kind::Size {
                min: 64 * KIB,
                max: TIB,
            },
            Fallback::Value("\"1 GiB\""),
            "The file is closed and renamed before it would pass this.",
        ),
        Key::new(
            "rotate_age",
            span(Duration::from_secs(1), Duration::from_hours(365 * 24)),
            Fallback::Value("\"24h\""),
            "The file is closed and renamed at this age.",
        ),
        Key::new(
            "keep_files",
            Kind::Count {
                min: 0,
                max: 1_000_000,
            },
            Fallback::Value("0"),
            "Closed files kept; older ones are removed. 0 keeps all.",
        ),
    ],
    tables: &[],
};
