//! From `[stream.NAME]` tables to the settings of streams, retries and destinations.

use std::path::PathBuf;

use http::{HeaderName, HeaderValue, Uri};
use toml::de::DeTable;

use super::Environment;
use super::keys;
use super::node::{Journal, Node};
use super::plan::StreamPlan;
use super::reader::report::{Given, Place, Report};
use super::reader::{NamedTable, Section, named_tables};
use super::rules::read_take;
use super::template::read_template;
use super::units::ByteSize;
use crate::batch::text_hash;
use crate::journal::settings::{HoldPolicy, WhenFull};
use crate::sink::settings::{
    Compression, FileSettings, HttpSettings, RetrySettings, SinkSettings, TlsSettings,
};
use crate::stream::settings::{
    AuditChoice, BatchLimits, Sampling, StreamSettings, Take, TemplateSettings,
};

/// Reads the streams of a file. What is wrong with one is reported, and it is left out.
pub(super) struct StreamReader<'r, 'i> {
    pub(super) report: &'r Report<'i>,
    pub(super) environment: &'r Environment,
    pub(super) node: &'r Node,
    pub(super) journal: &'r Journal,
}

impl<'r, 'i> StreamReader<'r, 'i> {
    pub(super) fn read(&self, root: &'r DeTable<'i>) -> Vec<StreamPlan> {
        let mut files = Vec::new();
        let streams = named_tables(self.report, root, "stream");
        let plans = streams
            .into_iter()
            .filter_map(|named| self.read_one(named, &mut files))
            .collect();
        self.check_files(&files);
        plans
    }

    fn read_one(
        &self,
        named: NamedTable<'r, 'i>,
        files: &mut Vec<Given<PathBuf>>,
    ) -> Option<StreamPlan> {
        let NamedTable { name, table, place } = named;
        let path = format!("stream.{name}");
        let section = Section::new(
            self.report,
            &keys::stream::STREAM,
            Some(table),
            (path, place),
        );
        let from = section.start_at("from");
        let audit = section.one_of("audit");
        let take = read_take(self.report, &section, &name);
        let template = read_template(self.report, &section);
        let hold = self.read_hold(&section);
        let batch = read_batch(section.section("batch", &keys::stream::BATCH));
        let retry = self.read_retry(section.section("retry", &keys::stream::RETRY));
        let sink = self.read_sink(&section, &name, files);
        let place_of_template = section.section_place("template");
        section.finish();
        let (take, template) = (take?, template?);
        if let (Some(template), Some(SinkSettings::File(_))) = (&template, &sink)
            && !template.template.framing().is_lines()
        {
            self.report.say(
                &place_of_template,
                "is not for files, which hold many batches: one array or text around each would \
                 not be read back; leave out payload_format and separator, or the shape json_array",
            );
            return None;
        }
        let template = template.map(|template| template.settings);
        let selection = take.selection.as_ref().map(|selection| selection.hash);
        let sampling = take.sampling;
        Some(StreamPlan {
            selection: take.selection,
            stream: StreamSettings {
                version: version_of(selection, sampling, template.as_ref()),
                template,
                take: Take {
                    selection,
                    sampling,
                },
                name: name.into(),
                from: from?.value,
                batch: batch?,
                audit: audit_choice_of(audit?.value),
            },
            hold: hold?,
            retry: retry?,
            sink: sink?,
        })
    }

    fn read_sink(
        &self,
        section: &Section<'_, '_>,
        name: &str,
        files: &mut Vec<Given<PathBuf>>,
    ) -> Option<SinkSettings> {
        match (section.has("http"), section.has("file")) {
            (true, false) => self.read_http(section).map(SinkSettings::Http),
            (false, true) => self.read_file(section, files).map(SinkSettings::File),
            (true, true) => {
                self.report.say(
                    &section.place(),
                    "has two destinations, http and file; keep one, and give the other a stream \
                     of its own",
                );
                self.read_http(section);
                self.read_file(section, files);
                None
            }
            (false, false) => {
                self.report.missing(
                    &section.place(),
                    format!(
                        "has no destination; write [stream.{name}.http] or [stream.{name}.file]"
                    ),
                );
                None
            }
        }
    }

    fn read_hold(&self, section: &Section<'_, '_>) -> Option<HoldPolicy> {
        let when_full = section.one_of("when_full");
        let hold_max = section.span_or_never("hold_max");
        let backlog = section.size("backlog_bytes_max");
        let (journals, segment) = (&self.node.journals, &self.journal.segment_bytes);
        let need = 2 * segment.value * journals.value as u64;
        let sound = journals.is_sound() && segment.is_sound();
        if let Some(backlog) = &backlog
            && (1..need).contains(&backlog.value)
            && sound
        {
            let (need, segment) = (ByteSize(need), ByteSize(segment.value));
            let plural = if journals.value == 1 { "" } else { "s" };
            let rule = format!(
                "is below {need} = 2 segments x {segment} x {} journal{plural}: a stream always \
                 holds the segment that is written, and discards whole ones; raise it, or write 0 \
                 for no limit",
                journals.value
            );
            self.report.refuse(backlog, rule);
        }
        Some(HoldPolicy {
            when_full: match when_full?.value {
                "discard_oldest" => WhenFull::DiscardOldest,
                _ => WhenFull::Block,
            },
            hold_max: hold_max?.value,
            backlog_bytes_max: Some(backlog?.value).filter(|bytes| *bytes > 0),
        })
    }

    fn read_retry(&self, section: Section<'_, '_>) -> Option<RetrySettings> {
        let delay_min = section.span("delay_min");
        let delay_max = section.span("delay_max");
        section.finish();
        let (delay_min, delay_max) = (delay_min?, delay_max?);
        super::check_order(self.report, &delay_min, &delay_max);
        Some(RetrySettings {
            delay_min: delay_min.value,
            delay_max: delay_max.value,
        })
    }

    fn read_http(&self, stream: &Section<'_, '_>) -> Option<HttpSettings> {
        let section = stream.section("http", &keys::stream::HTTP);
        let url = section.url("url");
        let url = url.and_then(|url| self.check_url(&url));
        let headers = self.check_headers(section.named_texts("headers"));
        let compression = section.one_of("compression");
        let content_type = section.text("content_type");
        let content_type = match content_type {
            Some(text) => self.check_content_type(&text).map(Some),
            None => Some(None),
        };
        let connect_timeout = section.span("connect_timeout");
        let request_timeout = section.span("request_timeout");
        let tls = self.read_tls(&section, url.as_ref());
        section.finish();
        Some(HttpSettings {
            url: url?,
            headers,
            compression: compression_of(compression?.value),
            content_type: content_type?,
            connect_timeout: connect_timeout?.value,
            request_timeout: request_timeout?.value,
            tls,
        })
    }

    fn check_url(&self, given: &Given<String>) -> Option<Uri> {
        const EXAMPLE: &str = "write for example \"https://siem.example:8088/ingest\"";
        let url: Option<Uri> = given.value.parse().ok();
        let parts = url
            .as_ref()
            .and_then(|url| Some((url.scheme_str()?, url.authority()?)));
        let rule = match parts {
            Some((_, authority)) if authority.as_str().contains('@') => {
                "holds a user name or password, which would be logged; put them in an \
                 Authorization header"
                    .to_owned()
            }
            Some((scheme, _)) if !matches!(scheme, "http" | "https") => {
                format!("has the scheme {scheme}; write http:// or https://")
            }
            Some((_, authority)) if authority.port_u16() == Some(0) => {
                "has port 0; write the destination's port".to_owned()
            }
            Some((_, authority)) if authority.host().is_empty() => {
                format!("names no host; {EXAMPLE}")
            }
            Some(_) => return url,
            None => format!("is not a whole URL; {EXAMPLE}"),
        };
        self.report.refuse(given, rule);
        None
    }

    fn check_headers(&self, given: Vec<(Given<String>, String)>) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
        if let Some((beyond, _)) = given.get(HEADERS_MAX) {
            let rule = format!("is one too many; {HEADERS_MAX} are the limit, remove some");
            self.report.say(&beyond.place, rule);
        }
        for (name, value) in given.into_iter().take(HEADERS_MAX) {
            let Ok(header) = HeaderName::from_bytes(name.value.as_bytes()) else {
                let rule = "is no header name; write letters, digits and -";
                self.report.say(&name.place, rule);
                continue;
            };
            let reserved = RESERVED_HEADERS
                .iter()
                .find(|(reserved, _)| *reserved == header.as_str());
            if let Some((_, reason)) = reserved {
                self.report.say(
                    &name.place,
                    format!("is not yours to set: {reason}; remove it"),
                );
            }
            if headers.iter().any(|(first, _)| *first == header) {
                let rule = "is given twice (case does not matter); remove one of them";
                self.report.say(&name.place, rule);
            }
            match HeaderValue::from_str(&value) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    headers.push((header, value));
                }
                Err(_) => self.report.refuse(
                    &name,
                    "holds a control character; a header's value is one line of text",
                ),
            }
        }
        headers
    }

    fn check_content_type(&self, text: &Given<String>) -> Option<HeaderValue> {
        let is_media_type = text
            .value
            .split_once('/')
            .is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty());
        match HeaderValue::from_str(&text.value) {
            Ok(value) if is_media_type => Some(value),
            _ => {
                self.report.refuse(
                    text,
                    "is not a media type; write for example \"application/x-ndjson\"",
                );
                None
            }
        }
    }

    fn read_tls(&self, section: &Section<'_, '_>, url: Option<&Uri>) -> TlsSettings {
        let ca_file = section.path("ca_file");
        let cert_file = section.path("client_cert_file");
        let key_file = section.path("client_key_file");
        let server_name = section.text("server_name");
        for file in [&ca_file, &cert_file, &key_file].into_iter().flatten() {
            if !(self.environment.file_exists)(&file.value) {
                let rule = "does not exist or cannot be read; correct the path";
                self.report.refuse(file, rule);
            }
        }
        if let Some(name) = &server_name {
            let is_host = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
            if name.value.is_empty() || !name.value.chars().all(is_host) {
                let rule = "is not the name of a host; write for example \"siem.example\"";
                self.report.refuse(name, rule);
            }
        }
        let pairs = [
            (&cert_file, &key_file, "client_key_file"),
            (&key_file, &cert_file, "client_cert_file"),
        ];
        for (given, other, other_key) in pairs {
            if let (Some(given), None) = (given, other)
                && !section.has(other_key)
            {
                let rule = format!("is of no use alone; add {other_key}");
                self.report.refuse(given, rule);
            }
        }
        if url.is_some_and(|url| url.scheme_str() == Some("http")) {
            let rule = "is of no use with http://; write an https:// URL or remove it";
            for file in [&ca_file, &cert_file, &key_file].into_iter().flatten() {
                self.report.refuse(file, rule);
            }
            if let Some(name) = &server_name {
                self.report.refuse(name, rule);
            }
        }
        TlsSettings {
            ca_file: ca_file.map(|file| file.value),
            client_cert_file: cert_file.map(|file| file.value),
            client_key_file: key_file.map(|file| file.value),
            server_name: server_name.map(|name| name.value),
        }
    }

    fn read_file(
        &self,
        stream: &Section<'_, '_>,
        files: &mut Vec<Given<PathBuf>>,
    ) -> Option<FileSettings> {
        let section = stream.section("file", &keys::stream::FILE);
        let path = section.path("path");
        let compression = section.one_of("compression");
        let rotate_bytes = section.size("rotate_bytes");
        let rotate_age = section.span("rotate_age");
        let keep_files = section.count("keep_files");
        section.finish();
        let path = path?;
        files.push(path.clone());
        Some(FileSettings {
            path: path.value,
            compression: compression_of(compression?.value),
            rotate_bytes: rotate_bytes?.value,
            rotate_age: rotate_age?.value,
            keep_files: u32::try_from(keep_files?.value)
                .expect("the range of keep_files lies in u32"),
        })
    }

    /// Files must have a name, be written by one stream, and stay out of the node's state.
    fn check_files(&self, files: &[Given<PathBuf>]) {
        let data_dir = self.environment.absolute(&self.node.data_dir);
        let out = data_dir.join("out");
        let mut seen: Vec<(PathBuf, &Place)> = Vec::new();
        for file in files {
            let path = self.environment.absolute(&file.value);
            let names_folder = file.value.to_string_lossy().ends_with(['/', '.']);
            if names_folder || path.file_name().is_none() {
                let rule = "names a folder; add the name of a file";
                self.report.refuse(file, rule);
            } else if path.starts_with(&data_dir) && (!path.starts_with(&out) || path == out) {
                let example = self.node.data_dir.join("out").join("events.ndjson");
                self.report.refuse(
                    file,
                    format!(
                        "is inside the data directory, where the journal lives; write for example \
                         \"{}\"",
                        example.display()
                    ),
                );
            }
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == path) {
                let line = first
                    .line
                    .map_or(String::new(), |line| format!(" on line {line}"));
                let subject = &first.subject;
                self.report.refuse(
                    file,
                    format!("is written by {subject}{line} too; give each stream its own file"),
                );
            }
            seen.push((path, &file.place));
        }
    }
}

/// Names what the stream makes of the journal; 0 for one that sends everything as it came.
fn version_of(
    selection: Option<u64>,
    sampling: Option<Sampling>,
    template: Option<&TemplateSettings>,
) -> u64 {
    if selection.is_none() && sampling.is_none() && template.is_none() {
        return 0;
    }
    let template = template.map(TemplateSettings::describe).unwrap_or_default();
    text_hash(&format!("content {selection:?} {sampling:?} {template}"))
}

fn read_batch(section: Section<'_, '_>) -> Option<BatchLimits> {
    let bytes = section.size("bytes");
    let age = section.span("age");
    let records = section.count("records");
    section.finish();
    let records = u64::try_from(records?.value).expect("the range of records lies in u64");
    Some(BatchLimits {
        bytes_max: bytes?.value,
        age_max: age?.value,
        records_max: (records > 0).then_some(records),
    })
}

fn audit_choice_of(word: &str) -> AuditChoice {
    match word {
        "with" => AuditChoice::With,
        "only" => AuditChoice::Only,
        _ => AuditChoice::None,
    }
}

fn compression_of(word: &str) -> Compression {
    match word {
        "gzip" => Compression::Gzip,
        _ => Compression::Identity,
    }
}

/// Request headers one destination may be given.
const HEADERS_MAX: usize = 64;

/// Headers the sink sets itself, in lower case, with the reason an operator may not.
const RESERVED_HEADERS: &[(&str, &str)] = &[
    ("content-length", "it is the length of each body"),
    ("transfer-encoding", "bodies are sent with their length"),
    ("content-encoding", "it follows from compression"),
    ("content-type", "it has a key of its own, content_type"),
    ("idempotency-key", "it is the identity of each batch"),
    ("host", "it follows from url"),
    ("connection", "the connection is kept open"),
    ("keep-alive", "the connection is kept open"),
    ("proxy-connection", "the connection is kept open"),
    ("upgrade", "requests are HTTP/1.1"),
    ("te", "trailers are not read"),
    ("trailer", "none is sent"),
    ("expect", "bodies are sent at once"),
];
