//! `[stream.NAME.http]`.

use http::{HeaderName, HeaderValue, Uri};

use super::compression_of;
use crate::config::keys;
use crate::config::reader::Section;
use crate::config::reader::report::Given;
use crate::config::streams::StreamReader;
use crate::sink::settings::HttpSettings;

impl StreamReader<'_, '_> {
    pub(in crate::config) fn read_http(&self, stream: &Section<'_, '_>) -> Option<HttpSettings> {
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

    pub(super) fn check_url(&self, given: &Given<String>) -> Option<Uri> {
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
