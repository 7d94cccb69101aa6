//! Rules that tie the code to its documents: words and metrics an operator meets, keys of
//! the configuration, decisions with a status, and nothing that only holds on one machine.

use crate::source::{File, Finding, Tree};

/// The document an operator reads beside the metrics page.
const OPERATING: &str = "docs/operating.md";

/// The example that shows every key.
const EXAMPLE: &str = "examples/full.toml";

/// Hosts a text may name. A name without a dot, an address and the reserved domains of
/// RFC 2606 are free.
const HOSTS: [&str; 17] = [
    "crates.io",
    "datatracker.ietf.org",
    "doc.rust-lang.org",
    "docs.rs",
    "github.com",
    "keepachangelog.com",
    "kernel.org",
    "man7.org",
    "prometheus.io",
    // What operators of AWS write; nothing connects to them.
    "s3.cn-north-1.amazonaws.com.cn",
    "s3.eu-west-1.amazonaws.com",
    // The name space of CADF events; an identifier, never fetched.
    "schemas.dmtf.org",
    "semver.org",
    "toml.io",
    "www.apache.org",
    // The registry CADF names as the type of a reason; an identifier, never fetched.
    "www.iana.org",
    "www.rfc-editor.org",
];

/// A word that a function called `as_str` gives out, or that stands in a constant list whose
/// name ends in `REASONS`, is a word an operator meets: in metrics, answers, logs or reject
/// records. It stands in docs/operating.md, in backticks.
pub(crate) fn operator_words(tree: &Tree) -> Vec<Finding> {
    let folders = [
        "src/metrics/",
        "src/ingest/",
        "src/journal/",
        "src/stream/",
        "src/sink/",
        "src/shard/",
    ];
    let documented = tree.file(OPERATING).map_or("", |file| file.text.as_str());
    let mut findings = Vec::new();
    for file in tree
        .rust()
        .filter(|file| folders.iter().any(|folder| file.path.starts_with(folder)))
    {
        for (line, word) in words_given_out(file) {
            if !documented.contains(&format!("`{word}`")) {
                let advice =
                    format!("explain `{word}` in {OPERATING}: what it means and what to do");
                findings.push(file.finding(line, "word", advice));
            }
        }
    }
    findings
}

/// Every metric stands in docs/operating.md.
pub(crate) fn metric_names(tree: &Tree) -> Vec<Finding> {
    let documented = tree.file(OPERATING).map_or("", |file| file.text.as_str());
    let mut findings = Vec::new();
    for file in tree.rust().filter(|file| file.path.starts_with("src/")) {
        let shipped = file
            .strings
            .iter()
            .filter(|(line, _)| *line < file.tests_from);
        for (line, name) in shipped.filter(|(_, text)| is_metric(text)) {
            if !documented.contains(name.as_str()) {
                let advice =
                    format!("list `{name}` in {OPERATING} with its unit and what to watch for");
                findings.push(file.finding(*line, "metric", advice));
            }
        }
    }
    findings
}

/// Every key of the table in `src/config/keys` stands in examples/full.toml, if only in a
/// comment. A key is a literal that is the first argument of `Key::new`.
pub(crate) fn configuration_keys(tree: &Tree) -> Vec<Finding> {
    const MAKER: &str = "Key::new(";
    let example = tree.file(EXAMPLE).map_or("", |file| file.text.as_str());
    let shown: Vec<&str> = example
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .collect();
    let tables = tree
        .rust()
        .filter(|file| file.path.starts_with("src/config/keys/"));
    let mut findings = Vec::new();
    for file in tables {
        let code = file.code.join("\n");
        for (at, _) in code.match_indices(MAKER) {
            let arguments = code[at + MAKER.len()..].trim_start();
            if !arguments.starts_with('"') {
                continue;
            }
            let line = code[..code.len() - arguments.len()].matches('\n').count() + 1;
            let key = file.strings.iter().find(|(place, _)| *place == line);
            if let Some((_, key)) = key.filter(|(_, key)| !shown.contains(&key.as_str())) {
                let advice = format!("show `{key}` in {EXAMPLE} with its default");
                findings.push(file.finding(line, "key", advice));
            }
        }
    }
    findings
}

/// A decision without a status is a wish.
pub(crate) fn decision_status(tree: &Tree) -> Vec<Finding> {
    let states = ["proposed", "accepted", "superseded by"];
    let decisions = tree
        .files
        .iter()
        .filter(|file| file.path.starts_with("docs/adr/"));
    let open = decisions.filter(|file| {
        !file.text.lines().any(|line| {
            let status = line.strip_prefix("Status: ");
            status.is_some_and(|status| {
                let status = status.to_lowercase();
                states.iter().any(|state| status.starts_with(state))
            })
        })
    });
    open.map(|file| {
        let advice = "add a line `Status: Proposed`, `Accepted` or `Superseded by NNNN`".to_owned();
        file.finding(1, "decision", advice)
    })
    .collect()
}

/// A test that ARCHITECTURE.md names for an invariant is there.
pub(crate) fn invariants_have_their_tests(tree: &Tree) -> Vec<Finding> {
    let Some(file) = tree.file("ARCHITECTURE.md") else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for (index, text) in file.text.lines().enumerate() {
        let numbered = text
            .strip_prefix("| ")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let tests = text
            .trim_end_matches([' ', '|'])
            .rsplit('|')
            .next()
            .unwrap_or_default();
        let names = tests.split('`').skip(1).step_by(2).filter(|name| {
            name.contains('_')
                && name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        });
        for name in names.filter(|_| numbered) {
            let there = tree.rust().any(|file| {
                file.code
                    .iter()
                    .any(|code| code.contains(&format!("fn {name}(")))
            });
            if !there {
                let advice =
                    format!("there is no `{name}`; name the test that holds this invariant");
                findings.push(file.finding(index + 1, "invariant", advice));
            }
        }
    }
    findings
}

/// No path that exists on one machine only.
pub(crate) fn paths_of_one_machine(tree: &Tree) -> Vec<Finding> {
    let paths = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/home", "/"),
        concat!("/Us", "ers/"),
    ];
    let mut findings = Vec::new();
    for file in &tree.files {
        for (index, text) in file.text.lines().enumerate() {
            for path in paths.iter().filter(|path| text.contains(**path)) {
                let advice =
                    format!("`{path}` is a place of one machine; use a path relative to the tree");
                findings.push(file.finding(index + 1, "path", advice));
            }
        }
    }
    findings
}

/// No URL to a host outside the list: a mirror or a private registry does not slip in.
pub(crate) fn hosts(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree
        .files
        .iter()
        .filter(|file| !file.path.ends_with("Cargo.lock"))
    {
        for (index, text) in file.text.lines().enumerate() {
            for (at, mark) in text.match_indices("://") {
                let host = host_of(&text[at + mark.len()..]);
                if !is_free(&host) && !HOSTS.contains(&host.as_str()) {
                    let advice = format!(
                        "`{host}` is not on the list in tests/tidy/texts.rs; use example.com, or add it with care"
                    );
                    findings.push(file.finding(index + 1, "host", advice));
                }
            }
        }
    }
    findings
}

/// The words in functions called `as_str` and in lists of reasons, up to the test module.
fn words_given_out(file: &File) -> Vec<(usize, String)> {
    let mut inside = Vec::new();
    let mut closes: Option<String> = None;
    for (line, code) in file.shipped_code() {
        let indent = " ".repeat(code.len() - code.trim_start().len());
        if code.contains("fn as_str(") {
            closes = Some(format!("{indent}}}"));
        } else if code.contains("const ") && code.contains("REASONS: ") {
            closes = Some(format!("{indent}];"));
        }
        let Some(end) = &closes else { continue };
        inside.push(line);
        if code.trim_end() == end || (end.ends_with("];") && code.trim_end().ends_with("];")) {
            closes = None;
        }
    }
    let is_word = |text: &str| {
        let mut letters = text.chars();
        !text.is_empty()
            && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let words = file.strings.iter();
    let words = words.filter(|(line, text)| inside.contains(line) && is_word(text));
    words.cloned().collect()
}

fn is_metric(text: &str) -> bool {
    let name = text.strip_prefix("weir_").unwrap_or_default();
    name.len() > 1
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// The host at the start of what follows `://`; an address in brackets comes without them.
fn host_of(text: &str) -> String {
    let text = text.rsplit_once('@').map_or(
        text,
        |(user, rest)| if user.contains('/') { text } else { rest },
    );
    text.chars()
        .take_while(|c| c.is_alphanumeric() || matches!(c, '.' | '-'))
        .collect()
}

/// True for a host that leads nowhere: no dot, an address, or a reserved domain.
fn is_free(host: &str) -> bool {
    let reserved = [
        ".example",
        ".test",
        ".invalid",
        ".localhost",
        "example.com",
        "example.org",
        "example.net",
    ];
    let host = host.trim_end_matches('.');
    let address = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    !host.contains('.') || address || reserved.iter().any(|end| host.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::places;

    #[test]
    fn a_word_without_explanation_is_found() {
        let text = "impl A {\n    fn as_str(self) -> &'static str {\n        match self {\n            Self::B => \"too_long\",\n            Self::C => \"damaged\",\n        }\n    }\n    fn d() -> &'static str {\n        \"else\"\n    }\n}\n";
        let files = [
            ("src/metrics/ledger.rs", text),
            (OPERATING, "`too_long`: …\n"),
        ];
        assert_eq!(places(operator_words, &files), ["src/metrics/ledger.rs:5"]);
    }

    #[test]
    fn a_reason_in_a_list_without_explanation_is_found() {
        let text = "pub const FAILURE_REASONS: &[&str] = &[\n    \"http_3xx\",\n    \"timed_out\",\n];\nconst A: &[&str] = &[\"else\"];\nconst SKIP_REASONS: &[&str] = &[\"empty\"];\n";
        let files = [("src/sink/mod.rs", text), (OPERATING, "`timed_out`\n")];
        assert_eq!(
            places(operator_words, &files),
            ["src/sink/mod.rs:2", "src/sink/mod.rs:6"]
        );
    }

    #[test]
    fn a_metric_without_explanation_is_found() {
        let text = "const A: &str = \"weir_lag_bytes\";\nconst B: &str = \"weir_events\";\nconst C: &str = \"weir-data\";\n";
        let files = [
            ("src/control/prometheus.rs", text),
            (OPERATING, "| `weir_events` | …\n"),
        ];
        assert_eq!(
            places(metric_names, &files),
            ["src/control/prometheus.rs:1"]
        );
    }

    #[test]
    fn a_key_that_the_example_does_not_show_is_found() {
        let text = "static BATCH: A = A {\n    keys: &[\n        Key::new(\n            \"bytes\",\n            \"Doc.\",\n        ),\n        Key::new(\"age\", \"Doc.\"),\n    ],\n};\n";
        let files = [
            ("src/config/keys/stream.rs", text),
            (EXAMPLE, "[batch]\n# bytes = \"8 MiB\"\n"),
        ];
        assert_eq!(
            places(configuration_keys, &files),
            ["src/config/keys/stream.rs:7"]
        );
    }

    #[test]
    fn a_decision_without_status_is_found() {
        let files = [
            ("docs/adr/0001-a.md", "# 0001\n\nStatus: Accepted\n"),
            ("docs/adr/0002-b.md", "# 0002\n\nStatus: perhaps\n"),
        ];
        assert_eq!(places(decision_status, &files), ["docs/adr/0002-b.md:1"]);
    }

    #[test]
    fn an_invariant_whose_test_is_gone_is_found() {
        let text = "| 1 | `block` comes first | `tests/tidy`: `still_there` |\n| 2 | `some_type` is sound | `long_gone` |\n| a | b | `not_numbered` |\n";
        let files = [
            ("ARCHITECTURE.md", text),
            ("src/a.rs", "fn still_there() {}\n// fn long_gone()\n"),
        ];
        assert_eq!(
            places(invariants_have_their_tests, &files),
            ["ARCHITECTURE.md:2"]
        );
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        let text = format!("a\ncd {}weir\n", concat!("/ho", "me/"));
        assert_eq!(
            places(paths_of_one_machine, &[("README.md", &text)]),
            ["README.md:2"]
        );
    }

    #[test]
    fn a_strange_host_is_found_and_reserved_ones_are_not() {
        let strange = format!("a\nsee https{}mirror.corp.net/x\n", "://");
        let free = "http://127.0.0.1:9600/ https://siem.example.com/v1 http://{address}/ tcp://[::1]:5 https://u:p@siem.example/\n";
        let files = [("README.md", strange.as_str()), ("docs/a.md", free)];
        assert_eq!(places(hosts, &files), ["README.md:2"]);
    }
}
