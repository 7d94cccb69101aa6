//! What a reply means: status to outcome, `Retry-After`, and the text for people with our
//! own secrets taken out. What some destinations say in the body is read in a file for each. Pure.

mod cloud_logs;
mod elastic;
mod hec;
mod logdna;
mod secrets;

use std::time::Duration;

use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp as CivilTime;
use jiff::fmt::{rfc2822, strtime};

use crate::position::Timestamp;
use crate::sink::retry::RETRY_AFTER_MAX;
use crate::sink::settings::ReplyForm;
use crate::sink::{Failure, Outcome};

pub(super) use self::hec::{Acknowledged, acknowledged};
pub(super) use self::secrets::Secrets;

/// First bytes of a reply's body that people are shown something of.
const REPLY_EXCERPT_BYTES: usize = 1024;

/// How much of a reply's body is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReplyLimits {
    /// Bytes that are read; of what is longer the connection is closed.
    pub(super) read: usize,
    /// First bytes that are kept.
    pub(super) kept: usize,
}

impl ReplyLimits {
    /// What a reply of this form needs. A bulk reply has some hundred bytes for each event.
    pub(super) fn of(form: ReplyForm) -> Self {
        let (read, kept) = match form {
            ReplyForm::Status => (1 << 20, REPLY_EXCERPT_BYTES),
            ReplyForm::SplunkHec { .. } | ReplyForm::Logdna | ReplyForm::CloudLogs => {
                (1 << 20, 1 << 20)
            }
            ReplyForm::ElasticBulk => (16 << 20, 16 << 20),
        };
        Self { read, kept }
    }
}

/// A reply as read.
#[derive(Debug)]
pub(super) struct Reply {
    /// Its status.
    pub(super) status: StatusCode,
    /// Its headers.
    pub(super) headers: HeaderMap,
    /// The first bytes of its body, as many as [`ReplyLimits`] says.
    pub(super) body: Vec<u8>,
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
    /// It is longer than [`ReplyLimits`] allows; the rest was not read.
    TooLong,
    /// The connection ended first.
    Broken,
}

/// What a reply says of a parcel.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// This became of it.
    Settled(Outcome),
    /// The destination took it, and will say under this number that it is safe.
    Acknowledge(u64),
}

/// A reply with what is needed to read it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered<'a> {
    /// The reply.
    pub(super) reply: &'a Reply,
    /// Events of the parcel.
    pub(super) events: u32,
    /// What no text may show.
    pub(super) secrets: &'a Secrets,
    /// Time of day.
    pub(super) now: Timestamp,
}

impl Answered<'_> {
    /// What became of the parcel, by status and, in these forms, by body.
    pub(super) fn judge(self, form: ReplyForm) -> Verdict {
        let by_status = by_status(self.reply, self.secrets, self.now);
        let outcome = match form {
            ReplyForm::SplunkHec { acknowledgement } => {
                return hec::judge(self, by_status, acknowledgement.is_some());
            }
            // Only a whole success is read further: the rest is told by the status.
            _ if by_status != Outcome::Delivered => by_status,
            ReplyForm::Status => by_status,
            ReplyForm::ElasticBulk => elastic::judge(self),
            ReplyForm::Logdna => logdna::judge(self),
            ReplyForm::CloudLogs => cloud_logs::judge(self),
        };
        Verdict::Settled(outcome)
    }

    /// A failure with the reply as its detail.
    fn told(self, reason: &'static str) -> Failure {
        Failure {
            reason,
            detail: describe(self.reply, self.secrets),
        }
    }

    /// A failure with a part of the reply as its detail.
    fn told_of(self, reason: &'static str, text: &str) -> Failure {
        Failure {
            reason,
            detail: self.secrets.shown(text.as_bytes()),
        }
    }
}

/// What the status says.
///
/// A 2xx counts only when the whole request was sent and the reply came whole, or was long
/// enough to be cut by us. Of any other status the head suffices.
fn by_status(reply: &Reply, secrets: &Secrets, now: Timestamp) -> Outcome {
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
    let excerpt = &reply.body[..reply.body.len().min(REPLY_EXCERPT_BYTES)];
    let excerpt = secrets.shown(excerpt);
    if !excerpt.is_empty() {
        text = format!("{text}: {excerpt}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use http::{HeaderValue, Uri};

    use super::*;

    /// 1994-11-06T08:49:37Z, the example of RFC 9110.
    const EXAMPLE_SECONDS: i64 = 784_111_777;

    pub(super) fn reply(status: u16, headers: &[(http::HeaderName, &str)], body: &str) -> Reply {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: map,
            body: body.as_bytes().to_vec(),
            end: ReplyEnd::Whole,
            request_sent: true,
        }
    }

    fn no_secrets() -> Secrets {
        Secrets::new(std::iter::empty(), &[])
    }

    static NO_SECRETS: LazyLock<Secrets> = LazyLock::new(no_secrets);

    /// The reply to a parcel of so many events.
    pub(super) fn answered(reply: &Reply, events: u32) -> Answered<'_> {
        let (secrets, now) = (&*NO_SECRETS, Timestamp(0));
        Answered {
            reply,
            events,
            secrets,
            now,
        }
    }

    /// A verdict in words.
    pub(super) fn summary(verdict: &Verdict) -> String {
        let outcome = match verdict {
            Verdict::Acknowledge(id) => return format!("acknowledge {id}"),
            Verdict::Settled(outcome) => outcome,
        };
        match outcome {
            Outcome::Delivered => "delivered".to_owned(),
            Outcome::RecordFirst => "record".to_owned(),
            Outcome::Partial { retry, reject, .. } => {
                let reject = reject
                    .iter()
                    .map(|(n, why)| format!("({n}, {})", why.reason));
                let reject = reject.collect::<Vec<_>>().join(", ");
                format!("partial retry {retry:?} reject [{reject}]")
            }
            Outcome::Retry { why, .. } => format!("retry {}", why.reason),
            Outcome::Split { why } => format!("split {}", why.reason),
            Outcome::Refused { why } => format!("refused {}", why.reason),
        }
    }

    /// `delivered`, or outcome and reason word.
    fn verdict(reply: &Reply) -> (&'static str, &'static str) {
        match by_status(reply, &no_secrets(), Timestamp(0)) {
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
        let secrets = Secrets::new(std::iter::once(&header), &[url]);
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
