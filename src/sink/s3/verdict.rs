//! What an answer of the service, or its absence, means for the stream. Pure.

use std::error::Error;
use std::io;

use aws_sdk_s3::error::{ConnectorError, ProvideErrorMetadata, SdkError};

use super::ACCESS_DENIED;
use crate::sink::{Failure, Outcome};

/// Characters of an answer shown to people.
const SHOWN_CHARS: usize = 300;

/// What became of a request that did not succeed.
pub(super) fn judge<E>(error: &SdkError<E>) -> Outcome
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(reply) => judge_reply(
            reply.raw().status().as_u16(),
            reply.err().code(),
            reply.err().message(),
        ),
        SdkError::ResponseError(reply) => match reply.raw().status().as_u16() {
            // The reply broke off, or is none of S3: it says nothing of the object.
            200..=299 => retry("protocol_error", chain(error)),
            status => judge_reply(status, None, None),
        },
        SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
            Some(connector) => retry(dispatch_reason(connector), chain(connector)),
            None => retry("connect_failed", chain(error)),
        },
        SdkError::TimeoutError(_) => retry("timed_out", chain(error)),
        _ => retry("protocol_error", chain(error)),
    }
}

/// An error and its causes in one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in causes(error).skip(1) {
        let cause = cause.to_string();
        // Some wrap a cause without adding a word.
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    shown(&text)
}

/// By status and code, as in "Error responses" of the Amazon S3 API reference.
fn judge_reply(status: u16, code: Option<&str>, message: Option<&str>) -> Outcome {
    let word = code.unwrap_or("without an S3 error code");
    let mut detail = format!("{status} {word}");
    if let Some(message) = message {
        detail = format!("{detail}: {}", shown(message));
    }
    let refused = |reason, detail| Outcome::Refused {
        why: Failure { reason, detail },
    };
    match (status, code.unwrap_or_default()) {
        (_, "RequestTimeTooSkewed" | "RequestExpired") => retry(
            "http_4xx",
            format!("{detail}; check the clock of this machine and of the service"),
        ),
        (_, "NoSuchBucket") => refused("s3_no_such_bucket", detail),
        (_, "EntityTooLarge") | (413, _) => Outcome::Split {
            why: Failure {
                reason: "http_4xx",
                detail,
            },
        },
        // The service waited for bytes of ours that did not come.
        (_, "RequestTimeout") => retry("timed_out", detail),
        // Bytes changed on the way, the upload is gone, or another request was under way:
        // all of it starts anew.
        (
            _,
            "BadDigest"
            | "XAmzContentSHA256Mismatch"
            | "XAmzContentChecksumMismatch"
            | "IncompleteBody"
            | "NoSuchUpload"
            | "InvalidPart"
            | "OperationAborted"
            | "SlowDown",
        ) if status < 500 => retry("http_4xx", detail),
        (408 | 425 | 429, _) => retry("http_4xx", detail),
        // Without a code of S3 it is somebody between who refuses.
        (401 | 403, _) if code.is_some() => refused(ACCESS_DENIED, detail),
        (
            400,
            "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "AuthorizationHeaderMalformed",
        ) => refused(ACCESS_DENIED, detail),
        (300..=399, _) => refused("http_3xx", format!("{detail}; check host and region")),
        (400..=499, _) => refused("http_4xx", detail),
        (500..=599, _) => retry("http_5xx", detail),
        _ => retry("protocol_error", detail),
    }
}

/// The word for a request that did not reach the service, as the `http` sink has them.
fn dispatch_reason(error: &ConnectorError) -> &'static str {
    let is_connect = causes(error).any(|cause| cause.to_string().contains("(Connect)"));
    for cause in causes(error) {
        if cause.to_string().contains("dns error") {
            return "dns_failure";
        }
        if cause.to_string().contains("TLS handshake failed") {
            return "tls_failure";
        }
        let Some(kind) = cause.downcast_ref::<io::Error>().map(io::Error::kind) else {
            continue;
        };
        match kind {
            io::ErrorKind::ConnectionRefused => return "connect_refused",
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => return "connection_closed",
            io::ErrorKind::TimedOut => return "connect_timed_out",
            _ => {}
        }
    }
    match (error.is_timeout(), is_connect) {
        (true, _) => "connect_timed_out",
        (false, true) => "connect_failed",
        (false, false) => "connection_closed",
    }
}

/// The error and its causes, outermost first.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// One line, cut to what is shown.
fn shown(text: &str) -> String {
    let words = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    line.chars().take(SHOWN_CHARS).collect()
}

fn retry(reason: &'static str, detail: String) -> Outcome {
    Outcome::Retry {
        why: Failure { reason, detail },
        after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::s3::tests::verdict_of;

    #[test]
    fn every_answer_has_its_outcome() {
        let cases = [
            (403, "AccessDenied", ("refused", "s3_access_denied")),
            (403, "InvalidAccessKeyId", ("refused", "s3_access_denied")),
            (
                403,
                "SignatureDoesNotMatch",
                ("refused", "s3_access_denied"),
            ),
            (400, "ExpiredToken", ("refused", "s3_access_denied")),
            (403, "AccountProblem", ("refused", "s3_access_denied")),
            (403, "", ("refused", "http_4xx")),
            (403, "RequestTimeTooSkewed", ("retry", "http_4xx")),
            (404, "NoSuchBucket", ("refused", "s3_no_such_bucket")),
            (404, "NoSuchUpload", ("retry", "http_4xx")),
            (404, "", ("refused", "http_4xx")),
            (400, "EntityTooLarge", ("split", "http_4xx")),
            (413, "", ("split", "http_4xx")),
            (400, "RequestTimeout", ("retry", "timed_out")),
            (400, "BadDigest", ("retry", "http_4xx")),
            (400, "InvalidArgument", ("refused", "http_4xx")),
            (409, "OperationAborted", ("retry", "http_4xx")),
            (429, "", ("retry", "http_4xx")),
            (301, "PermanentRedirect", ("refused", "http_3xx")),
            (500, "InternalError", ("retry", "http_5xx")),
            (503, "SlowDown", ("retry", "http_5xx")),
            (502, "", ("retry", "http_5xx")),
            (101, "", ("retry", "protocol_error")),
        ];
        for (status, code, expected) in cases {
            let code = Some(code).filter(|code| !code.is_empty());
            let outcome = judge_reply(status, code, Some("why"));
            assert_eq!(verdict_of(&outcome), expected, "{status} {code:?}");
        }
    }

    #[test]
    fn the_detail_is_one_line_of_bounded_length() {
        let long = format!("a\r\n\tb {}", "x".repeat(1000));
        let Outcome::Retry { why, .. } = judge_reply(500, Some("InternalError"), Some(&long))
        else {
            panic!("a fault of the service is tried again");
        };
        assert!(why.detail.starts_with("500 InternalError: a b xxx"));
        assert!(why.detail.chars().count() < 400, "{}", why.detail);
        let Outcome::Retry { why, .. } = judge_reply(403, Some("RequestTimeTooSkewed"), None)
        else {
            panic!("a wrong clock is tried again");
        };
        assert!(why.detail.contains("check the clock"), "{}", why.detail);
    }
}
