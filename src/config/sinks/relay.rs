//! `[stream.NAME.relay]`, and the tokens of `[input.NAME.http.relay]`.

use http::{HeaderValue, Uri};

use super::compression_of;
use super::preset::Preset;
use crate::config::keys;
use crate::config::reader::Section;
use crate::config::reader::report::{Given, Report};
use crate::config::streams::StreamReader;
use crate::ingest::settings::RelayToken;
use crate::sink::settings::{
    HttpSettings, RelayFormat, RelaySettings, ReplyForm, TokenScheme, authorization,
};
use crate::stream::settings::Shape;

impl StreamReader<'_, '_> {
    pub(in crate::config) fn read_relay(&self, stream: &Section<'_, '_>) -> Option<RelaySettings> {
        let section = stream.section("relay", &keys::relay::RELAY);
        if self.takes_relayed {
            let rule = "is a relay_loop: an input of this node takes relayed events, and relays take one hop; \
                        remove [input.NAME.http.relay], or deliver by another kind";
            self.report.say(&section.place(), rule);
        }
        let url = section.url("url");
        let url = url.and_then(|url| self.check_relay_url(&url));
        let token = self.read_token(&section, Preset::named("logdna"), &[]);
        if token.is_none() {
            let rule = "has no token; write token or token_file";
            self.report.missing(&section.place(), rule);
        }
        let is_logdna = section
            .one_of("format")
            .is_some_and(|word| word.value == "logdna");
        let hostname = section.text("hostname");
        if let Some(name) = &hostname {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
            if name.value.is_empty() || !name.value.chars().all(is_plain) {
                let rule = "is not the name of a host; write for example \"site-a\"";
                self.report.refuse(name, rule);
            }
        }
        let compression = section.one_of("compression");
        let connect_timeout = section.span("connect_timeout");
        let request_timeout = section.span("request_timeout");
        let proxy = self.read_proxy(&section);
        let tls = self.read_tls(&section, url.as_ref());
        section.finish();
        let (format, replies, content_type) = if is_logdna {
            let content_type = HeaderValue::from_static("application/json; charset=UTF-8");
            (RelayFormat::Logdna, ReplyForm::Logdna, Some(content_type))
        } else {
            (RelayFormat::Weir, ReplyForm::Status, None)
        };
        Some(RelaySettings {
            format,
            http: HttpSettings {
                urls: vec![url?],
                headers: Vec::new(),
                token: Some(token?),
                compression: compression_of(compression?.value),
                content_type,
                body_bytes_max: is_logdna.then_some(LOGDNA_BODY_BYTES_MAX),
                replies,
                proxy: proxy?,
                connect_timeout: connect_timeout?.value,
                request_timeout: request_timeout?.value,
                tls,
            },
            hostname: hostname.map(|name| name.value),
        })
    }

    fn check_relay_url(&self, given: &Given<String>) -> Option<Uri> {
        let url = self.check_url(given)?;
        if url.query().is_some() {
            let rule = "has a query, which is the relay's own; remove it";
            self.report.refuse(given, rule);
        }
        Some(url)
    }
}

/// The tokens of a section, whose names are told and whose values are not.
pub(in crate::config) fn read_tokens(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    key: &str,
) -> Vec<RelayToken> {
    let given = section.named_texts(key);
    if section.has(key) && given.is_empty() {
        let rule = format!("names no token; write for example {key} = {{ siteA = \"…\" }}");
        report.say(&section.place(), rule);
    }
    let mut tokens: Vec<RelayToken> = Vec::new();
    for (name, token) in given {
        let text = authorization(TokenScheme::BasicUser, &token);
        // What no header can hold is no token either, and is said so below.
        let mut authorization = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        authorization.set_sensitive(true);
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if !(1..=64).contains(&name.value.len()) || !name.value.chars().all(is_name) {
            let rule =
                "is a name that does not do; write 1 to 64 of the characters a-z A-Z 0-9 _ -";
            report.say(&name.place, rule);
        } else if !is_token(&token) {
            let rule = "does not do as a token; take 16 to 256 printable ASCII characters without :, at random";
            report.refuse(&name, rule);
        } else if tokens
            .iter()
            .any(|other| other.authorization == authorization)
        {
            let rule = "has the token of another name; give each sender its own";
            report.refuse(&name, rule);
        } else {
            tokens.push(RelayToken {
                name: name.value.into(),
                authorization,
            });
        }
    }
    tokens
}

fn is_token(token: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    (16..=256).contains(&token.len()) && token.bytes().all(is_plain)
}

/// Longest body that LogDNA's ingestion takes.
const LOGDNA_BODY_BYTES_MAX: u64 = 10_000_000;

/// The shape of the events of a relay to an endpoint like LogDNA's, when the stream's template names none.
pub(in crate::config) fn shape_of(stream: &Section<'_, '_>) -> Option<Shape> {
    (stream.peek("relay", "format")? == "logdna").then_some(Shape::LogdnaIngest)
}
