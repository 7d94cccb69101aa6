//! What a template is made from: plain data, built by `config`, and its canonical text.
//!
//! Leaves to others: whether it makes sense ([`Template::compile`](super::Template::compile)).

use std::fmt::Write as _;

use super::text::variables::DataSource;

/// A template as configured. The default is the raw line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TemplateSettings {
    /// What surrounds the event.
    pub shape: Shape,
    /// Fields to choose, `path` or `path as name`; empty: all.
    pub fields: Vec<String>,
    /// Paths to remove.
    pub drop: Vec<String>,
    /// What is masked.
    pub masks: MaskSettings,
    /// A text with `$variables`, in place of a built-in shape.
    pub text: Option<String>,
    /// Where the variables of `text`, or of the shape `azion`, come from. Default for `text`: the event.
    pub data_source: Option<DataSource>,
    /// How the records of a batch are put together.
    pub payload: PayloadFormat,
    /// Values some shapes take.
    pub options: ShapeOptions,
}

/// Redaction; what it promises stands in [`mask`](super::mask).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct MaskSettings {
    /// Paths whose values are masked.
    pub fields: Vec<String>,
    /// Regular expressions whose matches in string values are masked.
    pub patterns: Vec<String>,
    /// What is written instead. Default `***`.
    pub text: Option<String>,
}

/// How the records of a batch are put together, as Azion has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PayloadFormat {
    /// `$dataset` once, with text around it. Default `$dataset`.
    pub format: Option<String>,
    /// Between records. Default a line feed, which also ends the last.
    pub separator: Option<String>,
}

/// Values some shapes take; each is refused where the shape has no use for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ShapeOptions {
    /// `hec`, `elastic_bulk`: the index. Default: none, the destination decides.
    pub index: Option<String>,
    /// `hec`: the source. Default: the label application, else where the event came from.
    pub source: Option<String>,
    /// `hec`: the source type. Default `_json`.
    pub sourcetype: Option<String>,
    /// `icl`, `icl_singles`: the application name of events without that label. Default `ibm-audit-event`.
    pub application: Option<String>,
    /// `cef`, `leef`: the device's vendor. Default `IBM`.
    pub vendor: Option<String>,
    /// `cef`, `leef`: the device's product. Default `Activity Tracker`.
    pub product: Option<String>,
    /// `cef`, `leef`: the device's version. Default `1.0`.
    pub version: Option<String>,
}

/// A built-in form of a record; each is described in its part of [`shapes`](super::shapes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Shape {
    /// The line.
    #[default]
    Raw,
    /// LogDNA's flat record.
    Logdna,
    /// LogDNA's record as QRadar's DSM documents it.
    LogdnaSource,
    /// A line of LogDNA's `/logs/ingest`.
    LogdnaIngest,
    /// IBM Cloud Logs.
    Icl,
    /// A line of IBM Cloud Logs' `/logs/v1/singles`.
    IclSingles,
    /// CADF 1.0.
    Cadf,
    /// Azion's template of all variables of a data source.
    Azion,
    /// Splunk HTTP Event Collector.
    Hec,
    /// Elasticsearch and OpenSearch bulk requests.
    ElasticBulk,
    /// ArcSight Common Event Format 0.
    Cef,
    /// IBM Log Event Extended Format 2.0.
    Leef,
    /// Lines as the elements of one JSON array.
    JsonArray,
}

impl Shape {
    /// All of them, with their names in a configuration.
    pub const NAMES: [(&'static str, Self); 13] = [
        ("raw", Self::Raw),
        ("logdna", Self::Logdna),
        ("logdna_source", Self::LogdnaSource),
        ("logdna_ingest", Self::LogdnaIngest),
        ("icl", Self::Icl),
        ("icl_singles", Self::IclSingles),
        ("cadf", Self::Cadf),
        ("azion", Self::Azion),
        ("hec", Self::Hec),
        ("elastic_bulk", Self::ElasticBulk),
        ("cef", Self::Cef),
        ("leef", Self::Leef),
        ("json_array", Self::JsonArray),
    ];

    /// Name in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        let named = Self::NAMES.iter().find(|(_, shape)| *shape == self);
        named.expect("every shape is in the list").0
    }
}

impl TemplateSettings {
    /// The settings in a canonical text, the same in every release while what is rendered is the same: the input of the
    /// hash in a batch's identity. Equal settings have equal texts, different ones different texts.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = format!("template {RENDERING}\nshape={}\n", self.shape.name());
        let mut list = |name: &str, values: &[String]| {
            for value in values {
                // The length keeps values apart whatever they hold.
                writeln!(text, "{name}:{}={value}", value.len()).expect("a string takes all");
            }
        };
        list("field", &self.fields);
        list("drop", &self.drop);
        list("mask", &self.masks.fields);
        list("pattern", &self.masks.patterns);
        let source = self.data_source.map(|source| source.name().to_owned());
        let options = &self.options;
        for (name, value) in [
            ("mask_text", &self.masks.text),
            ("text", &self.text),
            ("data_source", &source),
            ("payload_format", &self.payload.format),
            ("separator", &self.payload.separator),
            ("index", &options.index),
            ("source", &options.source),
            ("sourcetype", &options.sourcetype),
            ("application", &options.application),
            ("vendor", &options.vendor),
            ("product", &options.product),
            ("version", &options.version),
        ] {
            list(name, value.as_slice());
        }
        text
    }
}

/// Raised whenever any shape renders an event differently than before, so that a re-send after an upgrade does not pass
/// for the same batch.
const RENDERING: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_differ_where_settings_do() {
        let list = |values: &[&str]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
        let base = TemplateSettings::default;
        let settings = [
            base(),
            TemplateSettings {
                shape: Shape::Cef,
                ..base()
            },
            TemplateSettings {
                fields: list(&["a", "b"]),
                ..base()
            },
            TemplateSettings {
                fields: list(&["b", "a"]),
                ..base()
            },
            TemplateSettings {
                fields: list(&["a\nfield:1=b"]),
                ..base()
            },
            TemplateSettings {
                drop: list(&["a", "b"]),
                ..base()
            },
            TemplateSettings {
                text: Some("a".into()),
                ..base()
            },
            TemplateSettings {
                data_source: Some(DataSource::Http),
                ..base()
            },
            TemplateSettings {
                masks: MaskSettings {
                    text: Some(String::new()),
                    ..MaskSettings::default()
                },
                ..base()
            },
        ];
        for (number, one) in settings.iter().enumerate() {
            for (other_number, other) in settings.iter().enumerate() {
                assert_eq!(one.describe() == other.describe(), number == other_number);
            }
        }
        assert_eq!(base().describe(), "template 1\nshape=raw\n");
    }
}
