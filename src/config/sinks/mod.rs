//! The destinations of streams: which one a stream has, and the reader of each kind.
//!
//! A new kind of destination is one file here, one in `keys/`, and one row of [`KINDS`].

mod file;
mod http;
pub(super) mod kafka;
mod kafka_properties;
pub(super) mod preset;
pub(super) mod relay;
pub(super) mod s3;
pub(super) mod syslog;
mod tls;

use std::path::PathBuf;

use super::reader::Section;
use super::reader::report::Given;
use super::streams::StreamReader;
use crate::sink::settings::{Compression, SinkSettings};

/// Tables of a stream that are destinations.
const KINDS: [&str; 6] = ["http", "file", "kafka", "s3", "relay", "syslog"];

impl StreamReader<'_, '_> {
    /// The destination of a stream: exactly one of the kinds there are.
    pub(super) fn read_sink(
        &self,
        section: &Section<'_, '_>,
        name: &str,
        files: &mut Vec<Given<PathBuf>>,
    ) -> Option<SinkSettings> {
        let given: Vec<_> = KINDS.into_iter().filter(|kind| section.has(kind)).collect();
        // All are read, so that all mistakes are told in one run.
        let read: Vec<_> = given
            .iter()
            .map(|kind| self.read_kind(kind, section, files))
            .collect();
        match given[..] {
            [] => {
                let tables: Vec<_> = KINDS
                    .iter()
                    .map(|kind| format!("[stream.{name}.{kind}]"))
                    .collect();
                self.report.missing(
                    &section.place(),
                    format!("has no destination; write {}", tables.join(" or ")),
                );
                None
            }
            [_] => read.into_iter().next().flatten(),
            _ => {
                let rule = format!(
                    "has {} destinations, {}; keep one, and give each other a stream of its own",
                    given.len(),
                    given.join(" and ")
                );
                self.report.say(&section.place(), rule);
                None
            }
        }
    }

    fn read_kind(
        &self,
        kind: &str,
        section: &Section<'_, '_>,
        files: &mut Vec<Given<PathBuf>>,
    ) -> Option<SinkSettings> {
        match kind {
            "http" => self.read_http(section).map(SinkSettings::Http),
            "relay" => self.read_relay(section).map(SinkSettings::Relay),
            "syslog" => self.read_syslog(section).map(SinkSettings::Syslog),
            "s3" => self.read_s3(section).map(SinkSettings::S3),
            "kafka" => self.read_kafka(section).map(SinkSettings::Kafka),
            _ => self.read_file(section, files).map(SinkSettings::File),
        }
    }
}

/// The compression of this word.
fn compression_of(word: &str) -> Compression {
    match word {
        "gzip" => Compression::Gzip,
        _ => Compression::Identity,
    }
}
