//! Keys of the node: `[node]`, `[memory]`, `[journal]` and `[admin]`.

use std::time::Duration;

use super::{Except, Fallback, GIB, Key, Kind, MIB, SectionSpec, TIB, span};

/// `[node]`.
pub static NODE: SectionSpec = SectionSpec {
    path: "node",
    doc: "The node as a whole.",
    keys: &[
        Key::new(
            "data_dir",
            Kind::Path,
            Fallback::Value("\"./weir-data\""),
            "Directory of all durable state. Made when missing; one node at a time may use it.",
        ),
        Key::new(
            "shards",
            Kind::Count { min: 1, max: 64 },
            Fallback::Computed("one for each core, at most 64"),
            "Threads that receive, judge, compress and journal.",
        ),
        Key::new(
            "journals",
            Kind::Count { min: 1, max: 64 },
            Fallback::Computed("as many as `shards`"),
            "Journals a new data directory is made with, at least one for each shard; an existing \
             directory keeps its own number.",
        ),
        Key::new(
            "pin",
            Kind::Flag,
            Fallback::Computed("`true` when there is a core for each shard"),
            "Keep shard N on core N.",
        ),
        Key::new(
            "io_uring",
            Kind::Flag,
            Fallback::Value("true"),
            "Write durably through io_uring where the kernel allows it; `false` always uses a \
             writer thread.",
        ),
        Key::new(
            "drain_timeout",
            span(Duration::ZERO, Duration::from_hours(1)),
            Fallback::Value("\"30s\""),
            "Time to deliver what is in flight after SIGTERM. What is not delivered by then stays \
             in the journal and goes out after the next start.",
        ),
    ],
    tables: &[],
};

/// `[memory]`.
pub static MEMORY: SectionSpec = SectionSpec {
    path: "memory",
    doc: "The one byte budget of the node.",
    keys: &[Key::new(
        "max",
        Kind::Size {
            min: 16 * MIB,
            max: TIB,
        },
        Fallback::Computed(
            "`\"192 MiB\"`, or what journals, shards, the largest body and the largest batch need \
             and 64 MiB more when that is larger",
        ),
        "Bytes that partial lines, bodies, blocks, tails and batches may take together. At its \
         end new work waits.",
    )],
    tables: &[],
};

/// `[journal]`.
pub static JOURNAL: SectionSpec = SectionSpec {
    path: "journal",
    doc: "How events are made durable, and how much room they may take.",
    keys: &[
        Key::new(
            "commit_interval",
            span(Duration::from_millis(1), Duration::from_secs(1)),
            Fallback::Value("\"5ms\""),
            "A block closes so long after its first line when a sender waits for durability.",
        ),
        Key::new(
            "commit_interval_idle",
            span(Duration::from_millis(1), Duration::from_secs(10)),
            Fallback::Value("\"100ms\""),
            "A block closes so long after its first line when no one waits; never below \
             `commit_interval`.",
        ),
        Key::new(
            "segment_bytes",
            Kind::Size { min: MIB, max: GIB },
            Fallback::Value("\"128 MiB\""),
            "Length of a segment file: a multiple of 4 KiB, and at least the longest line of any \
             input and 1 MiB more.",
        ),
        Key::new(
            "tail_bytes",
            Kind::Size {
                min: MIB,
                max: 4 * GIB,
            },
            Fallback::Value("\"16 MiB\""),
            "Compressed bytes of durable blocks each journal keeps in memory for streams near the \
             end.",
        ),
        Key::new(
            "pending_bytes",
            Kind::Size { min: MIB, max: GIB },
            Fallback::Value("\"8 MiB\""),
            "Compressed bytes of each journal that may wait for their sync before inputs are told \
             to wait.",
        ),
        Key::new(
            "spares",
            Kind::Count { min: 0, max: 16 },
            Fallback::Value("2"),
            "Zero-written segments each journal keeps ready, so that a sync stays short.",
        ),
        Key::new(
            "direct_io",
            Kind::Flag,
            Fallback::Value("true"),
            "Bypass the page cache where the file system allows it.",
        ),
        Key::new(
            "max_bytes",
            Kind::SizeOrPercent { min: 4 * MIB },
            Fallback::Value("\"80%\""),
            "Bytes all segments of the node may take, or a share of the file system. A size must \
             have room for each journal's spares and two segments more.",
        ),
        Key::new(
            "min_free_bytes",
            Kind::Size {
                min: 0,
                max: 1024 * TIB,
            },
            Fallback::Value("\"1 GiB\""),
            "Bytes of the file system that stay free, whatever `max_bytes` says.",
        ),
        Key::new(
            "keep",
            Kind::Span {
                min: Duration::ZERO,
                max: Duration::from_hours(10 * 365 * 24),
                except: Except::MinusOneIsForever,
            },
            Fallback::Value("\"7d\""),
            "How long events are kept for reading, counted from receipt; what is not delivered stays in any case.",
        ),
    ],
    tables: &[],
};

/// `[admin]`.
pub static ADMIN: SectionSpec = SectionSpec {
    path: "admin",
    doc: "The listener for `/metrics`, `/healthz` and `/readyz`.",
    keys: &[
        Key::new(
            "listen",
            Kind::Address,
            Fallback::Value("\"127.0.0.1:9600\""),
            "Address of the admin listener. Port 0, a free port, is for loopback only.",
        ),
        Key::new(
            "insecure",
            Kind::Flag,
            Fallback::Value("false"),
            "Accept a `listen` address beyond loopback although anyone who reaches it may read.",
        ),
    ],
    tables: &[],
};
