//! Keys of HTTP destinations.

use std::time::Duration;

use super::{Fallback, Key, Kind, SectionSpec, span, tls};

/// `[stream.NAME.http]`.
pub static HTTP: SectionSpec = SectionSpec {
    path: "stream.NAME.http",
    doc: "Delivery by HTTP/1.1 `POST`, one batch a request, one request at a time for each journal.",
    keys: &[
        Key::new(
            "preset",
            Kind::OneOf(&["splunk_hec", "elastic", "logdna", "cloud_logs", "azion"]),
            Fallback::Absent,
            "What the destination is: sets the keys that are left out, and how replies are read. \
             See [http.md](destinations/http.md).",
        ),
        Key::new(
            "url",
            Kind::Urls { max: 16 },
            Fallback::Required,
            "Where batches are posted to: `http://` or `https://`. Of a list the first is preferred, \
             and the others take over while it fails. A URL without a path gets the preset's.",
        ),
        Key::new(
            "token",
            Kind::Secret { max: 8 * 1024 },
            Fallback::Absent,
            "Token for the `Authorization` header: as `Bearer`, by preset as `Splunk` (`splunk_hec`), \
             `ApiKey` (`elastic`) or `Basic` with the token as user (`logdna`). Never shown.",
        ),
        Key::new(
            "token_file",
            Kind::ExistingFile,
            Fallback::Absent,
            "File with the token, in place of `token`; read again when the destination refuses it.",
        ),
        Key::new(
            "headers",
            Kind::Headers,
            Fallback::Absent,
            "Further request headers, name and value; at most 64. Values are never shown. Headers \
             that Weir sets itself are refused.",
        ),
        Key::new(
            "compression",
            Kind::OneOf(&["gzip", "identity"]),
            Fallback::Computed("`\"gzip\"`; presets `cloud_logs` and `azion`: `\"identity\"`"),
            "`gzip`: one gzip member a request, with `Content-Encoding: gzip`. `identity`: not \
             compressed.",
        ),
        Key::new(
            "content_type",
            Kind::Text { max: 256 },
            Fallback::Computed("that of the preset, else of the template"),
            "`Content-Type` of the requests; `application/x-ndjson` without a template.",
        ),
        Key::new(
            "connect_timeout",
            TIMEOUT,
            Fallback::Value("\"10s\""),
            "Time to connect, proxy and TLS included.",
        ),
        Key::new(
            "request_timeout",
            TIMEOUT,
            Fallback::Value("\"60s\""),
            "Time from the request's first byte to the end of the reply.",
        ),
        Key::new(
            "indexer_acknowledgement",
            Kind::Flag,
            Fallback::Value("false"),
            "Preset `splunk_hec`: a batch is delivered when an indexer has it, not when the collector \
             took it. The token must have it enabled.",
        ),
        Key::new(
            "ack_timeout",
            span(Duration::from_secs(1), Duration::from_hours(1)),
            Fallback::Value("\"5m\""),
            "How long the indexer is waited for; then the batch is sent again.",
        ),
        Key::new(
            "proxy",
            Kind::Url,
            Fallback::Absent,
            "`http://host:port` of a proxy: `CONNECT` for `https` destinations, whole URLs for `http`.",
        ),
        Key::new(
            "proxy_authorization",
            Kind::Secret { max: 8 * 1024 },
            Fallback::Absent,
            "Value of `Proxy-Authorization`, such as `Basic dXNlcjpwYXNz`. Never shown.",
        ),
        tls::CA_FILE,
        tls::CLIENT_CERT_FILE,
        tls::CLIENT_KEY_FILE,
        Key::new(
            "server_name",
            Kind::Text { max: 253 },
            Fallback::Computed("the URL's host"),
            "Name to check the server's certificate against.",
        ),
    ],
    tables: &[],
};

const TIMEOUT: Kind = span(Duration::from_millis(10), Duration::from_hours(1));
