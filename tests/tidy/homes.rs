//! Rules about homes: each outside crate is used in one place, and unsafe code in another.

use crate::imports::is_under;
use crate::source::{Finding, Tree, words};

/// Crates with a home, and the places under `src/` that may name them. A crate that is not
/// listed may be used anywhere its module's layer allows.
const HOMES: [(&[&str], &[&str]); 15] = [
    // One wall around the operating system, so that a memory disk and a fake clock fit in.
    (
        &["io_uring", "rustix", "sd_notify", "libc", "libmimalloc_sys"],
        &["os"],
    ),
    // One home for the codec; the http input also inflates what clients send.
    (&["flate2"], &["block", "ingest/http"]),
    (&["isal_sys"], &["block"]),
    (&["crc32fast"], &["block", "stream/gzip"]),
    (&["sha2"], &["journal"]),
    (&["crc32c"], &["journal", "sink/s3/body"]),
    (
        &[
            "aws_sdk_s3",
            "aws_smithy_http_client",
            "aws_smithy_types",
            "md5",
        ],
        &["sink/s3"],
    ),
    (
        &[
            "hyper",
            "hyper_util",
            "http_body_util",
            "axum",
            "rustls",
            "tokio_rustls",
            "rustls_native_certs",
        ],
        // One file reads certificates for all sinks.
        &[
            "ingest",
            "sink/http",
            "sink/s3/body",
            "sink/syslog",
            "sink/tls",
            "control",
        ],
    ),
    (&["zstd"], &["ingest/http"]),
    (&["rdkafka"], &["sink/kafka"]),
    // What an operator writes, and the one file of the node's own that an operator may read.
    (&["toml"], &["config", "node/identity"]),
    (
        &["prometheus_client", "hdrhistogram"],
        &["metrics", "control"],
    ),
    (&["clap", "mimalloc"], &["cli", "main"]),
    // Identities; the node draws its own id and the jitter of retries from the same source.
    (&["uuid"], &["batch", "position", "node", "stream/template"]),
    (
        &["jiff"],
        // An operator types times and reads them in the commands, too.
        &[
            "audit",
            "config",
            "control",
            "sink",
            "metrics",
            "cli",
            "stream/template/time",
        ],
    ),
];

/// Crates that only tests and benches may name.
const TESTS_ONLY: [&str; 4] = ["sonic_rs", "proptest", "criterion", "tempfile"];

/// Places that may hold unsafe code.
const UNSAFE: [&str; 2] = ["os", "block/isal"];

/// Decoders that inflate without a limit, and the one file that may hold them, because it
/// counts what comes out.
const RAW_DECODERS: [&str; 4] = [
    "GzDecoder",
    "MultiGzDecoder",
    "ZlibDecoder",
    "DeflateDecoder",
];
const BOUNDED_DECODER: &str = "ingest/http/decode";

/// A crate is used in its home only. Tests may use any: an oracle is another's decoder.
pub(crate) fn crates_at_home(tree: &Tree) -> Vec<Finding> {
    let tests_only = (TESTS_ONLY.as_slice(), [].as_slice());
    let mut findings = Vec::new();
    for file in tree.rust().filter(|file| file.path.starts_with("src/")) {
        for (line, code) in file.shipped_code() {
            for (crates, homes) in HOMES.iter().chain([&tests_only]) {
                for name in crates.iter().filter(|name| names_crate(code, name)) {
                    if is_under(&file.path, homes) {
                        continue;
                    }
                    let advice = if homes.is_empty() {
                        format!("`{name}` is for tests; ship without it")
                    } else {
                        let homes = homes.join("`, `");
                        format!(
                            "`{name}` lives in `{homes}`; call what is there, or change the table with a reason"
                        )
                    };
                    findings.push(file.finding(line, "crate home", advice));
                }
            }
        }
    }
    findings
}

/// What a peer sent is inflated in one place, which knows how much may come out.
pub(crate) fn bounded_inflation(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let sources = tree.rust().filter(|file| file.path.starts_with("src/"));
    for file in sources.filter(|file| !is_under(&file.path, &[BOUNDED_DECODER])) {
        for (line, code) in file.shipped_code() {
            for name in RAW_DECODERS
                .iter()
                .filter(|name| words(code, name).next().is_some())
            {
                let advice = format!(
                    "`{name}` inflates without a limit; use {BOUNDED_DECODER}, or block's codec, which knows the raw length"
                );
                findings.push(file.finding(line, "inflation", advice));
            }
        }
    }
    findings
}

/// Unsafe code stays under `os/` and in the codec's one file.
pub(crate) fn unsafe_in_its_place(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().filter(|file| !is_under(&file.path, &UNSAFE)) {
        for (line, code) in file.numbered_code() {
            if words(code, "unsafe").next().is_some() {
                let advice =
                    "unsafe code belongs under src/os/; give it a safe door there".to_owned();
                findings.push(file.finding(line, "unsafe", advice));
            }
        }
    }
    findings
}

/// True when a line names the crate: `name::…` at the start of a path, or `use name`.
fn names_crate(code: &str, name: &str) -> bool {
    words(code, name).any(|at| {
        let starts_path = !code[..at].ends_with("::") || code[..at].trim_start() == "::";
        let used = code[..at].trim_end().ends_with("use");
        starts_path && (code[at + name.len()..].starts_with("::") || used)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::places;

    #[test]
    fn a_crate_away_from_home_is_found() {
        let found = places(
            crates_at_home,
            &[
                ("src/block/codec.rs", "use flate2::Compress;\n"),
                ("src/ingest/http/decode.rs", "use flate2::Decompress;\n"),
                ("src/ingest/tcp.rs", "fn a() { flate2::Compress::new(); }\n"),
                ("src/sink/httpx.rs", "use hyper::Request;\n"),
                (
                    "src/sink/http.rs",
                    "use hyper::Request;\nuse crate::x::toml::Y;\n",
                ),
                ("src/shard/mod.rs", "use toml;\n"),
            ],
        );
        assert_eq!(
            found,
            [
                "src/ingest/tcp.rs:1",
                "src/shard/mod.rs:1",
                "src/sink/httpx.rs:1"
            ]
        );
    }

    #[test]
    fn an_oracle_is_for_tests() {
        let text = "use sonic_rs::Value;\n#[cfg(test)]\nmod tests {\n    use sonic_rs::Value;\n}\n";
        assert_eq!(
            places(crates_at_home, &[("src/ingest/a.rs", text)]),
            ["src/ingest/a.rs:1"]
        );
    }

    #[test]
    fn inflation_without_a_limit_is_found() {
        let text = "use flate2::bufread::GzDecoder;\n#[cfg(test)]\nmod tests {\n    use flate2::read::GzDecoder;\n}\n";
        let files = [
            ("src/ingest/http/decode.rs", text),
            ("src/block/codec.rs", text),
        ];
        assert_eq!(places(bounded_inflation, &files), ["src/block/codec.rs:1"]);
    }

    #[test]
    fn unsafe_elsewhere_is_found_and_its_lint_is_not() {
        let files = [
            ("src/os/net.rs", "fn a() { unsafe { b() } }\n"),
            ("src/block/isal.rs", "fn a() { unsafe { b() } }\n"),
            (
                "src/ingest/tcp.rs",
                "#![deny(unsafe_code)]\nfn a() { unsafe { b() } }\n",
            ),
            ("tests/a.rs", "unsafe fn a() {}\n"),
        ];
        assert_eq!(
            places(unsafe_in_its_place, &files),
            ["src/ingest/tcp.rs:2", "tests/a.rs:1"]
        );
    }
}
