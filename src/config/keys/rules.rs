//! Keys of rules: `[exclude.NAME]` at the node, and what a stream takes.

use super::{Fallback, Key, Kind, SectionSpec};

/// `[exclude.NAME]`.
pub static EXCLUDE: SectionSpec = SectionSpec {
    path: "exclude.NAME",
    doc: "An exclusion rule of the node: what matches it is dropped before the journal, is in no \
          stream, and is counted under the rule. Of several rules the first that matches, in the \
          order of the file, counts. An event has to match all parts that are given. See \
          [rules.md](rules.md).",
    keys: EXCLUDE_KEYS,
    tables: &[],
};

/// `[stream.NAME.exclude.RULE]`.
pub static STREAM_EXCLUDE: SectionSpec = SectionSpec {
    path: "stream.NAME.exclude.RULE",
    doc: "An exclusion rule of the stream: what matches it is not delivered by this stream, and \
          counts as filtered.",
    keys: EXCLUDE_KEYS,
    tables: &[],
};

const EXCLUDE_KEYS: &[Key] = &[
    Key::new(
        "title",
        Kind::Text { max: 256 },
        Fallback::Absent,
        "For people.",
    ),
    Key::new(
        "hosts",
        Kind::Texts { max: 1_000 },
        Fallback::Absent,
        "Hosts (`host` in a query), one of which the event has to have.",
    ),
    Key::new(
        "apps",
        Kind::Texts { max: 1_000 },
        Fallback::Absent,
        "Applications (`app` in a query), one of which the event has to have.",
    ),
    Key::new(
        "query",
        Kind::Rule,
        Fallback::Absent,
        "Query in the LogDNA language.",
    ),
    Key::new(
        "match_mode",
        Kind::OneOf(&["value", "token"]),
        Fallback::Value("\"value\""),
        "What `field:v` compares `v` with: the beginning of the `value`, or of any `token` in it.",
    ),
    Key::new(
        "active",
        Kind::Flag,
        Fallback::Value("true"),
        "`false`: the rule is read and checked, and drops nothing.",
    ),
];

/// `[stream.NAME.sample]`.
pub static SAMPLE: SectionSpec = SectionSpec {
    path: "stream.NAME.sample",
    doc: "Delivers a share of the events that the rules let pass, drawn by a hash of the event's \
          position: the same after a repetition.",
    keys: &[
        Key::new(
            "percent",
            Kind::Count { min: 0, max: 100 },
            Fallback::Value("100"),
            "Events delivered, in per cent. The others count as sampled out.",
        ),
        Key::new(
            "strict_azion",
            Kind::Flag,
            Fallback::Value("true"),
            "`true`: sampling only with all domains, as Azion has it. `false`: of a list of \
             domains too.",
        ),
    ],
    tables: &[],
};

/// `[stream.NAME.domains]`.
pub static DOMAINS: SectionSpec = SectionSpec {
    path: "stream.NAME.domains",
    doc: "The domains whose events the stream takes; without the section, all, also those that \
          come later. The others count as filtered.",
    keys: &[
        Key::new(
            "field",
            Kind::Text { max: 512 },
            Fallback::Value("\"host\""),
            "Key of the event that names its domain; a dotted path.",
        ),
        Key::new(
            "values",
            Kind::Texts { max: 1_000 },
            Fallback::Required,
            "The domains, whole; letters are compared without regard to case.",
        ),
    ],
    tables: &[],
};
