//! `[stream.NAME.relay]`, and the tokens of `[input.NAME.http.relay]`.

use http::header::AUTHORIZATION;
use http::{HeaderValue, Uri};

use super::compression_of;
use crate::config::keys;
use crate::config::reader::Section;
use crate::config::reader::report::{Given, Report};
use crate::config::streams::StreamReader;
use crate::ingest::settings::RelayToken;
use crate::sink::settings::{HttpSettings, RelaySettings};

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
        let tokens = read_tokens(self.report, &section, "token");
        if tokens.len() > 1 {
            let rule = "has more than one token; keep the one that this node is known by";
            self.report.say(&section.place(), rule);
        }
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
        let tls = self.read_tls(&section, url.as_ref());
        section.finish();
        let token = tokens.into_iter().next()?;
        Some(RelaySettings {
            http: HttpSettings {
                url: url?,
                headers: vec![(AUTHORIZATION, token.authorization)],
                compression: compression_of(compression?.value),
                content_type: None,
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
        let authorization = authorization_of(&token);
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if !(1..=64).contains(&name.value.len()) || !name.value.chars().all(is_name) {
            let rule = "is a name that does not do; write 1 to 64 of the characters a-z A-Z 0-9 _ -";
            report.say(&name.place, rule);
        } else if !is_token(&token) {
            let rule = "does not do as a token; take 16 to 256 printable ASCII characters without :, at random";
            report.refuse(&name, rule);
        } else if tokens.iter().any(|other| other.authorization == authorization) {
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

/// `Basic` authorization (RFC 7617) with the token as user and an empty password.
fn authorization_of(token: &str) -> HeaderValue {
    let text = format!("Basic {}", base64(format!("{token}:").as_bytes()));
    let mut value = HeaderValue::try_from(text).expect("base64 is printable ASCII");
    value.set_sensitive(true);
    value
}

/// Base 64 (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let octet = |place: usize| u32::from(group.get(place).copied().unwrap_or(0));
        let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place)) as usize & 63;
            text.push(if place <= group.len() {
                char::from(DIGITS[digit])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn a_token_is_the_user_of_basic_authorization_and_is_never_shown() {
        let value = authorization_of("Aladdin");
        assert_eq!(value.as_bytes(), b"Basic QWxhZGRpbjo=");
        assert_eq!(format!("{value:?}"), "Sensitive");
    }
}
