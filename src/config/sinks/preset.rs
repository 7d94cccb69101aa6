//! `preset` of `[stream.NAME.http]`: what a product's endpoint wants, for the keys the operator left out.

use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;

use crate::config::reader::Section;
use crate::sink::settings::{Compression, ReplyForm, TokenScheme};
use crate::stream::settings::{BatchLimits, Shape};

/// What is set where the operator said nothing.
#[derive(Debug)]
pub(in crate::config) struct Preset {
    pub(in crate::config) name: &'static str,
    /// Shape of the template.
    pub(in crate::config) shape: Shape,
    pub(in crate::config) batch: BatchLimits,
    /// Longest body before compression that the product takes.
    pub(in crate::config) body_bytes_max: Option<u64>,
    /// Path of a URL without one.
    path: &'static str,
    /// Query of a URL without one, when its path is the preset's.
    query: &'static str,
    pub(super) content_type: Option<&'static str>,
    pub(super) compression: Compression,
    pub(super) scheme: TokenScheme,
    pub(super) replies: ReplyForm,
}

impl Preset {
    /// The preset of that name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// The preset of a stream whose destination is yet to be read.
    pub(in crate::config) fn of(stream: &Section<'_, '_>) -> Option<&'static Self> {
        Self::named(stream.peek("http", "preset")?)
    }

    /// The URL with the preset's path, when it has none of its own.
    pub(super) fn complete(&self, url: Uri) -> Uri {
        if !matches!(url.path(), "" | "/") {
            return url;
        }
        let query = url.query().unwrap_or(self.query);
        let mark = if query.is_empty() { "" } else { "?" };
        let path = PathAndQuery::try_from(format!("{}{mark}{query}", self.path));
        let mut parts = url.into_parts();
        parts.path_and_query = Some(path.expect("a path, and the query of a URL"));
        Uri::from_parts(parts).expect("a URL with another path")
    }
}

/// Limits of streams without a preset.
const BATCH: BatchLimits = BatchLimits {
    bytes_max: 8 << 20,
    age_max: Duration::from_secs(1),
    records_max: None,
};

static PRESETS: [Preset; 5] = [
    Preset {
        name: "splunk_hec",
        shape: Shape::Hec,
        batch: BATCH,
        body_bytes_max: None,
        path: "/services/collector/event",
        query: "",
        content_type: Some("application/json"),
        compression: Compression::Gzip,
        scheme: TokenScheme::Splunk,
        replies: ReplyForm::SplunkHec {
            acknowledgement: None,
        },
    },
    Preset {
        name: "elastic",
        shape: Shape::ElasticBulk,
        batch: BATCH,
        body_bytes_max: None,
        path: "/_bulk",
        // Of each document's result only what decides.
        query: "filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason",
        content_type: Some("application/x-ndjson"),
        compression: Compression::Gzip,
        scheme: TokenScheme::ApiKey,
        replies: ReplyForm::ElasticBulk,
    },
    Preset {
        name: "logdna",
        shape: Shape::LogdnaIngest,
        batch: BatchLimits {
            bytes_max: 4 << 20,
            ..BATCH
        },
        body_bytes_max: Some(10_000_000),
        path: "/logs/ingest",
        // The one parameter that must be there.
        query: "hostname=weir",
        content_type: Some("application/json; charset=UTF-8"),
        compression: Compression::Gzip,
        scheme: TokenScheme::BasicUser,
        replies: ReplyForm::Logdna,
    },
    Preset {
        name: "cloud_logs",
        shape: Shape::IclSingles,
        batch: BatchLimits {
            bytes_max: 1 << 20,
            ..BATCH
        },
        body_bytes_max: Some(2_000_000),
        path: "/logs/v1/singles",
        query: "",
        content_type: Some("application/json"),
        compression: Compression::Identity,
        scheme: TokenScheme::Bearer,
        replies: ReplyForm::CloudLogs,
    },
    Preset {
        name: "azion",
        shape: Shape::Azion,
        batch: BatchLimits {
            age_max: Duration::from_secs(60),
            records_max: Some(2_000),
            ..BATCH
        },
        body_bytes_max: None,
        path: "/",
        query: "",
        // NDJSON or JSON, by the payload format.
        content_type: None,
        compression: Compression::Identity,
        scheme: TokenScheme::Bearer,
        replies: ReplyForm::Status,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;

    #[test]
    fn every_word_of_the_key_is_a_preset() {
        let key = keys::http::HTTP.key("preset").unwrap();
        let keys::Kind::OneOf(words) = key.kind else {
            panic!("{key:?}");
        };
        assert_eq!(words, PRESETS.each_ref().map(|preset| preset.name));
    }

    #[test]
    fn only_a_url_without_a_path_gets_the_preset_s() {
        let preset = Preset::named("logdna").unwrap();
        for (given, expected) in [
            ("https://h", "https://h/logs/ingest?hostname=weir"),
            ("https://h:1/", "https://h:1/logs/ingest?hostname=weir"),
            ("https://h/?hostname=a", "https://h/logs/ingest?hostname=a"),
            ("https://h/in", "https://h/in"),
        ] {
            assert_eq!(
                preset.complete(given.parse().unwrap()).to_string(),
                expected
            );
        }
        let preset = Preset::named("splunk_hec").unwrap();
        let url = preset.complete("http://h".parse().unwrap());
        assert_eq!(url, "http://h/services/collector/event");
    }
}
