//! Keys of relays between nodes: `[stream.NAME.relay]`, and `[input.NAME.http.relay]` at the other end.

use std::time::Duration;

use super::{Except, Fallback, Key, Kind, SectionSpec, tls};

/// `[stream.NAME.relay]`.
pub static RELAY: SectionSpec = SectionSpec {
    path: "stream.NAME.relay",
    doc: "Delivery to another Weir, which stores each batch once and labels its events with where they come \
          from. A node that takes relayed events has no such stream. See \
          [destinations/relay.md](destinations/relay.md).",
    keys: &[
        Key::new(
            "url",
            Kind::Url,
            Fallback::Required,
            "The other node's `http` input, `http://` or `https://`; `/logs/selfstream` is added.",
        ),
        Key::new(
            "token",
            Kind::Secret { max: 256 },
            Fallback::Absent,
            "The token that the other node has for this one, or the ingestion key: the user of `Basic` \
             authorization. Never shown.",
        ),
        Key::new(
            "token_file",
            Kind::ExistingFile,
            Fallback::Absent,
            "File with the token, in place of `token`; read again when the other node refuses it.",
        ),
        Key::new(
            "format",
            Kind::OneOf(&["weir", "logdna"]),
            Fallback::Value("\"weir\""),
            "What the far end is. `weir`: events go as they came. `logdna`: an endpoint like LogDNA's; \
             events go in `{\"lines\":[…]}`, in the shape `logdna_ingest`.",
        ),
        Key::new(
            "hostname",
            Kind::Text { max: 253 },
            Fallback::Computed("the node's id"),
            "Label `host` of the events there.",
        ),
        Key::new(
            "compression",
            Kind::OneOf(&["gzip", "identity"]),
            Fallback::Value("\"gzip\""),
            "`gzip`: blocks as they lie in the journal. `identity`: plain NDJSON.",
        ),
        Key::new(
            "connect_timeout",
            TIMEOUT,
            Fallback::Value("\"10s\""),
            "Time to connect, TLS included.",
        ),
        Key::new(
            "request_timeout",
            TIMEOUT,
            Fallback::Value("\"60s\""),
            "Time from the request's first byte to the end of the reply.",
        ),
        Key::new(
            "proxy",
            Kind::Url,
            Fallback::Absent,
            "`http://host:port` of a proxy.",
        ),
        Key::new(
            "proxy_authorization",
            Kind::Secret { max: 8 * 1024 },
            Fallback::Absent,
            "Value of `Proxy-Authorization`. Never shown.",
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

/// `[input.NAME.http.relay]`.
pub static INPUT_RELAY: SectionSpec = SectionSpec {
    path: "input.NAME.http.relay",
    doc: "Takes relayed events of other nodes at `POST /logs/selfstream`, from those that show a token. A node \
          with this section has no `relay` stream: relays take one hop.",
    keys: &[Key::new(
        "tokens",
        Kind::Headers,
        Fallback::Required,
        "A token for each node that may send, under the name its events are labelled with: \
         `{ siteA = \"…\" }`. 16 to 256 printable characters without `:`, each of its own.",
    )],
    tables: &[],
};

const TIMEOUT: Kind = Kind::Span {
    min: Duration::from_millis(10),
    max: Duration::from_hours(1),
    except: Except::None,
};
