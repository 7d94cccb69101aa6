//! `[stream.NAME.http]`.

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Uri};

use super::compression_of;
use super::preset::Preset;
use crate::config::keys;
use crate::config::reader::Section;
use crate::config::reader::report::Given;
use crate::config::streams::StreamReader;
use crate::sink::settings::{
    Compression, HttpSettings, ProxySettings, ReplyForm, TokenScheme, TokenSettings, TokenSource,
};

impl StreamReader<'_, '_> {
    pub(in crate::config) fn read_http(&self, stream: &Section<'_, '_>) -> Option<HttpSettings> {
        let section = stream.section("http", &keys::http::HTTP);
        let preset = section.one_of("preset");
        let preset = preset.and_then(|preset| Preset::named(preset.value));
        let urls = self.read_urls(&section, preset);
        let headers = self.check_headers(section.named_texts("headers"));
        let token = self.read_token(&section, preset, &headers);
        let compression = section.one_of("compression");
        let content_type = match section.text("content_type") {
            Some(text) => self.check_content_type(&text).map(Some),
            None => Some(preset.and_then(|preset| preset.content_type))
                .map(|preset| preset.map(HeaderValue::from_static)),
        };
        let connect_timeout = section.span("connect_timeout");
        let request_timeout = section.span("request_timeout");
        let replies = self.read_replies(&section, preset);
        let proxy = self.read_proxy(&section);
        // The options are of use when any of the URLs is encrypted.
        let encrypted = |url: &&Uri| url.scheme_str() == Some("https");
        let for_tls = urls.iter().flatten();
        let for_tls = for_tls.clone().find(encrypted).or(for_tls.clone().next());
        let tls = self.read_tls(&section, for_tls);
        section.finish();
        let preset_compression = preset.map_or(Compression::Gzip, |preset| preset.compression);
        Some(HttpSettings {
            urls: urls?,
            headers,
            token,
            compression: compression.map_or(preset_compression, |word| compression_of(word.value)),
            content_type: content_type?,
            body_bytes_max: preset.and_then(|preset| preset.body_bytes_max),
            replies: replies?,
            connect_timeout: connect_timeout?.value,
            request_timeout: request_timeout?.value,
            proxy: proxy?,
            tls,
        })
    }

    fn read_urls(&self, section: &Section<'_, '_>, preset: Option<&Preset>) -> Option<Vec<Uri>> {
        let mut urls: Vec<Uri> = Vec::new();
        let mut sound = true;
        for given in section.urls("url")? {
            let Some(url) = self.check_url(&given) else {
                sound = false;
                continue;
            };
            if urls.contains(&url) {
                let rule = "is given twice; remove one of them";
                self.report.refuse(&given, rule);
            }
            urls.push(url);
        }
        let complete = |url: Uri| match preset {
            Some(preset) => preset.complete(url),
            None => url,
        };
        sound.then(|| urls.into_iter().map(complete).collect())
    }

    pub(super) fn read_token(
        &self,
        section: &Section<'_, '_>,
        preset: Option<&Preset>,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Option<TokenSettings> {
        let text = section.secret("token");
        let file = section.path("token_file");
        if let Some(file) = &file
            && !(self.environment.file_exists)(&file.value)
        {
            let rule = "does not exist or cannot be read; correct the path";
            self.report.refuse(file, rule);
        }
        if let (Some(_), Some(file)) = (&text, &file) {
            let rule = "is given beside token; keep one of them";
            self.report.refuse(file, rule);
        }
        if let Some(text) = &text
            && (text.value.is_empty() || HeaderValue::from_str(&text.value).is_err())
        {
            let rule = "is no token, which is one line of visible characters; correct it";
            self.report.refuse(text, rule);
        }
        let place = text.as_ref().map(|text| &text.place);
        let place = place.or(file.as_ref().map(|file| &file.place));
        if let Some(place) = place
            && headers.iter().any(|(name, _)| name == AUTHORIZATION)
        {
            let rule = "and the header Authorization exclude each other; remove one of them";
            self.report.say(place, rule);
        }
        let text = text.map(|text| TokenSource::Text(text.value));
        let source = text.or_else(|| file.map(|file| TokenSource::File(file.value)))?;
        let scheme = preset.map_or(TokenScheme::Bearer, |preset| preset.scheme);
        Some(TokenSettings { source, scheme })
    }

    fn read_replies(
        &self,
        section: &Section<'_, '_>,
        preset: Option<&Preset>,
    ) -> Option<ReplyForm> {
        let acknowledgement = section.flag("indexer_acknowledgement");
        let timeout = section.span("ack_timeout");
        let (acknowledgement, timeout) = (acknowledgement?, timeout?);
        let form = preset.map(|preset| preset.replies).unwrap_or_default();
        match form {
            ReplyForm::SplunkHec { .. } => Some(ReplyForm::SplunkHec {
                acknowledgement: acknowledgement.value.then_some(timeout.value),
            }),
            form => {
                if acknowledgement.value {
                    let rule = "is Splunk's; write preset = \"splunk_hec\", or remove it";
                    self.report.refuse(&acknowledgement, rule);
                }
                Some(form)
            }
        }
    }

    /// `Some(None)` without a proxy, `None` when a mistake was reported.
    pub(super) fn read_proxy(&self, section: &Section<'_, '_>) -> Option<Option<ProxySettings>> {
        let url = section.url("proxy");
        let authorization = section.secret("proxy_authorization");
        let Some(url) = url else {
            if let Some(authorization) = authorization {
                let rule = "is of no use alone; add proxy";
                self.report.refuse(&authorization, rule);
            }
            return Some(None);
        };
        let proxy: Option<Uri> = url.value.parse().ok();
        let is_plain = |uri: &Uri| {
            let authority = uri.authority().map_or("@", |authority| authority.as_str());
            let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
            uri.scheme_str() == Some("http") && bare && !authority.contains('@')
        };
        let Some((proxy, port)) = proxy
            .filter(is_plain)
            .and_then(|uri| Some((uri.clone(), uri.port_u16().filter(|port| *port > 0)?)))
        else {
            let rule = "is not http://host:port, without a user, which belongs into \
                        proxy_authorization; write for example \"http://proxy.example:3128\"";
            self.report.refuse(&url, rule);
            return None;
        };
        let authorization = match authorization {
            None => None,
            Some(text) => match HeaderValue::from_str(&text.value) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    Some(value)
                }
                Err(_) => {
                    let rule = "cannot stand in a header; correct it";
                    self.report.refuse(&text, rule);
                    None
                }
            },
        };
        let host = proxy.host().unwrap_or_default();
        Some(Some(ProxySettings {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            authorization,
        }))
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
    (
        "proxy-authorization",
        "it has a key of its own, proxy_authorization",
    ),
    (
        "x-splunk-request-channel",
        "it follows from indexer_acknowledgement",
    ),
    ("upgrade", "requests are HTTP/1.1"),
    ("te", "trailers are not read"),
    ("trailer", "none is sent"),
    ("expect", "bodies are sent at once"),
];
