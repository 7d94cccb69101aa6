//! Keys of templates: what a stream's events look like at the destination.

use super::{Fallback, Key, Kind, SectionSpec};

/// `[stream.NAME.template]`.
pub static TEMPLATE: SectionSpec = SectionSpec {
    path: "stream.NAME.template",
    doc: "What events look like at the destination; without the section, as they came. See \
          [templates.md](templates.md).",
    keys: &[
        Key::new(
            "shape",
            Kind::OneOf(&[
                "raw",
                "logdna",
                "logdna_source",
                "logdna_ingest",
                "icl",
                "icl_singles",
                "cadf",
                "azion",
                "hec",
                "elastic_bulk",
                "cef",
                "leef",
                "json_array",
            ]),
            Fallback::Computed("that of the preset, else `\"raw\"`"),
            "What surrounds the event.",
        ),
        Key::new(
            "fields",
            Kind::Texts { max: 1_000 },
            Fallback::Absent,
            "Fields to choose: `\"path\"` or `\"path as name\"`.",
        ),
        Key::new(
            "drop",
            Kind::Texts { max: 1_000 },
            Fallback::Absent,
            "Paths to remove.",
        ),
        Key::new(
            "text",
            Kind::Rule,
            Fallback::Absent,
            "A text with `$variables`, in place of a built-in shape.",
        ),
        Key::new(
            "data_source",
            Kind::OneOf(&["event", "http", "waf", "functions", "activity_history"]),
            Fallback::Absent,
            "Where the variables of `text`, or of the shape `azion`, come from.",
        ),
        Key::new(
            "payload_format",
            Kind::Rule,
            Fallback::Absent,
            "What a batch is: `$dataset` once, with text around it.",
        ),
        Key::new(
            "separator",
            Kind::Rule,
            Fallback::Absent,
            "Between records; by default each is ended by a line feed.",
        ),
        option(
            "index",
            "`hec`, `elastic_bulk`: the index; else the destination decides.",
        ),
        option(
            "source",
            "`hec`: the source; else the application, else where the event came from.",
        ),
        option("sourcetype", "`hec`: the source type; else `_json`."),
        option(
            "application",
            "`icl`, `icl_singles`: the application of events without that label; else `ibm-audit-event`.",
        ),
        option("vendor", "`cef`, `leef`: the device's vendor; else `IBM`."),
        option(
            "product",
            "`cef`, `leef`: the device's product; else `Activity Tracker`.",
        ),
        option(
            "version",
            "`cef`, `leef`: the device's version; else `1.0`.",
        ),
    ],
    tables: &["mask"],
};

/// `[stream.NAME.template.mask]`.
pub static MASK: SectionSpec = SectionSpec {
    path: "stream.NAME.template.mask",
    doc: "Redaction, before anything else is made of the event.",
    keys: &[
        Key::new(
            "fields",
            Kind::Texts { max: 1_000 },
            Fallback::Absent,
            "Paths whose values are masked.",
        ),
        Key::new(
            "patterns",
            Kind::Texts { max: 100 },
            Fallback::Absent,
            "Regular expressions whose matches in any string value are masked.",
        ),
        Key::new(
            "text",
            Kind::Text { max: 256 },
            Fallback::Computed("`\"***\"`"),
            "What is written instead.",
        ),
    ],
    tables: &[],
};

const fn option(name: &'static str, doc: &'static str) -> Key {
    Key::new(name, Kind::Text { max: 256 }, Fallback::Absent, doc)
}
