//! What a reply means: status to outcome, `Retry-After`, and the text for people with our
//! own secrets taken out. Pure.

use std::time::Duration;

use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use jiff::Timestamp as CivilTime;
use jiff::fmt::{rfc2822, strtime};

use crate::position::Timestamp;
use crate::sink::retry::RETRY_AFTER_MAX;
use crate::sink::{Failure, Outcome};

/// A reply's body is read up to here; of what is longer the connection is closed.
pub(super) const REPLY_BYTES_MAX: usize = 1024 * 1024;

/// First bytes of a reply's body that are kept.
pub(super) const REPLY_EXCERPT_BYTES: usize = 1024;

/// Characters of a reply shown to people.
const REPLY_SHOWN_CHARS: usize = 200;

/// A reply as read.
#[derive(Debug)]
pub(super) struct Reply {
    /// Its status.
    pub(super) status: StatusCode,
    /// Its headers.
    pub(super) headers: HeaderMap,
    /// The first bytes of its body, at most [`REPLY_EXCERPT_BYTES`].
    pub(super) excerpt: Vec<u8>,
    /// How its body ended.
    pub(super) end: ReplyEnd,
    /// The whole request went out before the exchange ended.
    pub(super) request_sent: bool,
}

/// How a reply's body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyEnd {
    /// It was read to its end.
    Whole,
    /// It is longer than [`REPLY_BYTES_MAX`]; the rest was not read.
    TooLong,
    /// The connection ended first.
    Broken,
}

/// What became of the parcel this is the reply to.
///
/// A 2xx counts only when the whole request was sent and the reply came whole, or was long
/// enough to be cut by us. Of any other status the head suffices.
pub(super) fn judge(reply: &Reply, secrets: &Secrets, now: Timestamp) -> Outcome {
    let status = reply.status;
    let told = |reason| Failure {
        reason,
        detail: describe(reply, secrets),
    };
    let retry = |why| Outcome::Retry {
        why,
        after: retry_after(&reply.headers, now),
    };
    match status.as_u16() {
        200..=299 if reply.end == ReplyEnd::Broken => retry(told("connection_closed")),
        200..=299 if !reply.request_sent => {
            let mut why = told("connection_closed");
            why.detail.push_str(
                "; the answer came before the request was sent, then the connection ended",
            );
            retry(why)
        }
        200..=299 => Outcome::Delivered,
        300..=399 => Outcome::Refused {
            why: told("http_3xx"),
        },
        408 | 425 | 429 => retry(told("http_4xx")),
        413 => Outcome::Split {
            why: told("http_4xx"),
        },
        400..=499 => Outcome::Refused {
            why: told("http_4xx"),
        },
        500..=599 => retry(told("http_5xx")),
        // 101, which was not asked for, and numbers that mean nothing.
        _ => retry(told("protocol_error")),
    }
}

/// What the reply asks to wait: seconds or a date. At most [`RETRY_AFTER_MAX`]; what cannot
/// be read is ignored, a date in the past means no wait.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a long time, not garbage.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let until = http_date(text)?.as_microsecond();
        Duration::from_micros(Timestamp(until).micros_since(now))
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// A date in one of the three forms of RFC 9110, section 5.6.7.
fn http_date(text: &str) -> Option<CivilTime> {
    const OLD_FORMS: [&str; 2] = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    if let Ok(zoned) = rfc2822::DateTimeParser::new().parse_timestamp(text) {
        return Some(zoned);
    }
    OLD_FORMS.iter().find_map(|form| {
        let civil = strtime::parse(form, text).ok()?.to_datetime().ok()?;
        Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    })
}

/// `503 Service Unavailable: the first words of the body`.
fn describe(reply: &Reply, secrets: &Secrets) -> String {
    let mut text = reply.status.to_string();
    if let Some(location) = reply.headers.get(LOCATION) {
        // A query may carry what our own URL carried.
        let location = String::from_utf8_lossy(location.as_bytes());
        let place = location.split(['?', '#']).next().unwrap_or_default();
        text = format!("{text}, Location {}", secrets.shown(place.as_bytes()));
    }
    let excerpt = secrets.shown(&reply.excerpt);
    if !excerpt.is_empty() {
        text = format!("{text}: {excerpt}");
    }
    text
}

/// Our own secrets, which a reply may echo: values of configured headers and of the URL's
/// query. Never printed.
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// Shorter values would be found in innocent text.
    const BYTES_MIN: usize = 4;

    /// Takes whole values, and what stands behind a scheme word such as `Bearer`.
    pub(super) fn new<'a>(headers: impl Iterator<Item = &'a HeaderValue>, url: &Uri) -> Self {
        let mut found: Vec<String> = Vec::new();
        for value in headers {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            if let Some((_scheme, token)) = text.split_once(' ') {
                found.push(token.trim().to_owned());
            }
            found.push(text);
        }
        let query = url.query().unwrap_or_default();
        found.push(query.to_owned());
        found.extend(query.split('&').filter_map(|pair| {
            let (_key, value) = pair.split_once('=')?;
            Some(value.to_owned())
        }));
        found.retain(|secret| secret.len() >= Self::BYTES_MIN);
        // A longer one may hold a shorter one.
        found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        found.dedup();
        Self(found)
    }

    /// The bytes as one line of text, secrets replaced, cut to what is shown.
    fn shown(&self, bytes: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        for secret in &self.0 {
            text = text.replace(secret.as_str(), "[secret]");
        }
        for secret in &self.0 {
            // The bytes may end within a secret.
            let tail = (Self::BYTES_MIN..secret.len())
                .rev()
                .filter_map(|len| secret.get(..len))
                .find(|start| text.ends_with(start));
            if let Some(start) = tail {
                text.truncate(text.len() - start.len());
            }
        }
        let words = text
            .split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|word| !word.is_empty());
        let line = words.collect::<Vec<_>>().join(" ");
        line.chars().take(REPLY_SHOWN_CHARS).collect()
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1994-11-06T08:49:37Z, the example of RFC 9110.
    const EXAMPLE_SECONDS: i64 = 784_111_777;

    fn reply(status: u16, headers: &[(http::HeaderName, &str)], body: &str) -> Reply {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: map,
            excerpt: body.as_bytes().to_vec(),
            end: ReplyEnd::Whole,
            request_sent: true,
        }
    }

    fn no_secrets() -> Secrets {
        Secrets::new(std::iter::empty(), &Uri::from_static("http://h/"))
    }

    /// `delivered`, or outcome and reason word.
    fn verdict(reply: &Reply) -> (&'static str, &'static str) {
        match judge(reply, &no_secrets(), Timestamp(0)) {
            Outcome::Delivered => ("delivered", ""),
            Outcome::RecordFirst => ("record", ""),
            Outcome::Partial { why, .. } => ("partial", why.reason),
            Outcome::Retry { why, .. } => ("retry", why.reason),
            Outcome::Split { why } => ("split", why.reason),
            Outcome::Refused { why } => ("refused", why.reason),
        }
    }

    #[test]
    fn every_status_has_its_outcome() {
        let cases = [
            (200, ("delivered", "")),
            (204, ("delivered", "")),
            (301, ("refused", "http_3xx")),
            (304, ("refused", "http_3xx")),
            (400, ("refused", "http_4xx")),
            (401, ("refused", "http_4xx")),
            (404, ("refused", "http_4xx")),
            (408, ("retry", "http_4xx")),
            (413, ("split", "http_4xx")),
            (425, ("retry", "http_4xx")),
            (429, ("retry", "http_4xx")),
            (500, ("retry", "http_5xx")),
            (501, ("retry", "http_5xx")),
            (503, ("retry", "http_5xx")),
            (599, ("retry", "http_5xx")),
            (101, ("retry", "protocol_error")),
            (700, ("retry", "protocol_error")),
        ];
        for (status, expected) in cases {
            assert_eq!(verdict(&reply(status, &[], "")), expected, "{status}");
        }
    }

    #[test]
    fn a_2xx_counts_only_for_a_request_sent_whole_and_a_reply_read_whole() {
        let mut early = reply(200, &[], "");
        early.request_sent = false;
        assert_eq!(verdict(&early), ("retry", "connection_closed"));
        let mut half = reply(200, &[], "");
        half.end = ReplyEnd::Broken;
        assert_eq!(verdict(&half), ("retry", "connection_closed"));
        let mut long = reply(200, &[], "");
        long.end = ReplyEnd::TooLong;
        assert_eq!(verdict(&long), ("delivered", ""));
    }

    #[test]
    fn retry_after_reads_seconds_and_all_date_forms_and_ignores_garbage() {
        let now = Timestamp((EXAMPLE_SECONDS - 90) * 1_000_000);
        let cases = [
            ("0", Some(0)),
            ("120", Some(120)),
            ("86400", Some(3600)),
            ("99999999999999999999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(90)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(90)),
            ("Sun Nov  6 08:49:37 1994", Some(90)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(3600)),
            ("-5", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
        ];
        for (text, seconds) in cases {
            let headers = reply(429, &[(RETRY_AFTER, text)], "").headers;
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(&headers, now), expected, "{text:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn detail_shows_the_reply_on_one_line_without_our_secrets() {
        let header = HeaderValue::from_static("Bearer tok-123456");
        let url = Uri::from_static("https://h/in?key=query-key&x=1");
        let secrets = Secrets::new(std::iter::once(&header), &url);
        let body = "bad token\r\n\ttok-123456 for key query-key \u{1b}[31m and cut: tok-12";
        assert_eq!(
            describe(&reply(403, &[], body), &secrets),
            "403 Forbidden: bad token [secret] for key [secret] [31m and cut:"
        );
        let moved = reply(301, &[(LOCATION, "https://other/in?key=query-key")], "");
        assert_eq!(
            describe(&moved, &secrets),
            "301 Moved Permanently, Location https://other/in"
        );
        assert!(!format!("{secrets:?}").contains("tok"));
    }
}
