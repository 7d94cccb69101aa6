//! Rules about who may know whom: the direction of imports, parts without I/O or clock, and
//! a load generator that shares no code with the relay.

use crate::source::{File, Finding, Tree, words};

/// The layers from the bottom up. A module imports from layers below its own; only the
/// words may import one another. Tools do not know one another, nor do stages.
const LAYERS: [(&str, &[&str]); 9] = [
    (
        "words",
        &["event", "block", "batch", "position", "limits", "budget"],
    ),
    ("tools", &["audit", "filter", "metrics", "os"]),
    ("stages", &["ingest", "journal", "stream", "sink"]),
    ("shard", &["shard"]),
    ("config", &["config"]),
    ("control", &["control"]),
    ("node", &["node"]),
    ("cli", &["cli"]),
    ("main", &["main", "lib"]),
];

/// Imports against the layers that are allowed: who, what, and why.
const ALLOWED: [(&str, &str, &str); 3] = [
    (
        "block",
        "metrics::ledger",
        "the counts of a block's lines travel in its metadata, so that the ledger survives a crash",
    ),
    (
        "batch",
        "metrics::ledger",
        "a stream's counts travel in its cursor record, so that the ledger survives a crash",
    ),
    (
        "filter",
        "os::simd",
        "the walk over a raw line is made of vector instructions, which live behind that seam",
    ),
];

/// Parts that do no I/O and read no clock: bytes and `now` in, values out. Paths under
/// `src/`; a path without an ending names a file or a folder.
const PURE: [&str; 28] = [
    "event",
    "block",
    "batch",
    "position",
    "limits",
    "audit/event",
    "audit/sum",
    "audit/window",
    "audit/wording",
    "filter",
    "ingest/framer",
    "ingest/admission",
    "ingest/gather",
    "ingest/reject",
    "ingest/validate",
    "stream",
    "journal/format",
    "journal/keeper/room",
    "journal/keeper/view",
    "journal/keeper/watch",
    "journal/writer",
    "sink/retry",
    "sink/http/answer",
    "sink/http/circuit",
    "shard/core",
    "shard/notices",
    "shard/placement",
    "config/reload",
];

/// What a pure part must not name.
const IMPURE: [&str; 8] = [
    "std::fs",
    "std::net",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "tokio",
    "rustix",
];

/// Imports follow the layers. Of a stage or the shard, `config` sees only `settings`: it
/// builds what they run on and knows nothing else of them.
///
/// Test modules at a file's end may import more: a test of a sink may build a block by
/// the means of `ingest`, and that adds no arrow to what ships.
pub(crate) fn direction(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        let Some(own) = module_of(&file.path) else {
            continue;
        };
        let Some(own_layer) = layer(&own) else {
            let advice =
                format!("`{own}` is in no layer; add it to the table in tests/tidy/imports.rs");
            findings.push(file.finding(1, "layers", advice));
            continue;
        };
        for (line, target) in imports(file) {
            let module = target.split("::").next().unwrap_or_default();
            let Some(target_layer) = layer(module) else {
                continue;
            };
            let below = target_layer < own_layer || (target_layer == 0 && own_layer == 0);
            let settings_only = LAYERS[own_layer].0 == "config" && (2..=3).contains(&target_layer);
            let allowed = ALLOWED
                .iter()
                .any(|(who, what, _)| own == *who && target.starts_with(what));
            let advice = if own == module || allowed || own_layer == LAYERS.len() - 1 {
                continue;
            } else if !below {
                let layer = LAYERS[target_layer].0;
                format!(
                    "`{own}` must not import `{module}` ({layer}); pass a value or move the type down"
                )
            } else if settings_only && target.split("::").nth(1) != Some("settings") {
                format!(
                    "`config` sees of `{module}` only `{module}::settings`; move the type there"
                )
            } else {
                continue;
            };
            findings.push(file.finding(line, "imports", advice));
        }
    }
    findings
}

/// Parts that are pure name nothing that does I/O or reads a clock.
pub(crate) fn pure_parts(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().filter(|file| is_under(&file.path, &PURE)) {
        for (line, code) in file.shipped_code() {
            for word in IMPURE
                .iter()
                .filter(|word| words(code, word).next().is_some())
            {
                let advice = format!(
                    "this part is pure and `{word}` is not; take bytes and `now`, return a value"
                );
                findings.push(file.finding(line, "pure", advice));
            }
        }
    }
    findings
}

/// The load generator speaks public protocols only, so it cannot share our bugs.
pub(crate) fn loadgen_apart(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().filter(|file| file.path.starts_with("loadgen/")) {
        for (line, code) in file.numbered_code() {
            if words(code, "weir").any(|at| code[at..].starts_with("weir::")) {
                let advice =
                    "loadgen never uses the package; speak the protocol instead".to_owned();
                findings.push(file.finding(line, "loadgen", advice));
            }
        }
    }
    for file in tree
        .files
        .iter()
        .filter(|file| file.path == "loadgen/Cargo.toml")
    {
        let line = file.text.lines().position(|line| line.starts_with("weir"));
        findings.extend(line.map(|line| {
            let advice =
                "loadgen never depends on the package; speak the protocol instead".to_owned();
            file.finding(line + 1, "loadgen", advice)
        }));
    }
    findings
}

/// True when `path` is a file or lies in a folder that one of `places` (under `src/`) names.
pub(crate) fn is_under(path: &str, places: &[&str]) -> bool {
    let Some(inside) = path.strip_prefix("src/") else {
        return false;
    };
    places.iter().any(|place| {
        inside
            .strip_prefix(place)
            .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    })
}

/// The top-level module a file of `src/` belongs to.
fn module_of(path: &str) -> Option<String> {
    let inside = path.strip_prefix("src/")?;
    let first = inside.split('/').next()?;
    Some(first.trim_end_matches(".rs").to_owned())
}

fn layer(module: &str) -> Option<usize> {
    LAYERS
        .iter()
        .position(|(_, modules)| modules.contains(&module))
}

/// Paths from the crate's root that the shipped code of a file names, with their lines:
/// `crate::a::b`, `crate::{a::b, c}`, chains of `super::` that reach the root, and `weir::a`
/// in `main.rs`.
fn imports(file: &File) -> Vec<(usize, String)> {
    let joined: String = file
        .shipped_code()
        .map(|(_, code)| format!("{code}\n"))
        .collect();
    let depth = depth(&file.path);
    let roots = [
        "crate::".to_owned(),
        "weir::".to_owned(),
        "super::".repeat(depth),
    ];
    let mut found = Vec::new();
    for root in &roots {
        for (at, _) in joined.match_indices(root.as_str()) {
            let before = joined[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':')) {
                continue;
            }
            let line = joined[..at].matches('\n').count() + 1;
            let rest = &joined[at + root.len()..];
            let targets = match rest.strip_prefix('{') {
                Some(group) => group_members(group),
                None => vec![path_of(rest)],
            };
            found.extend(targets.into_iter().map(|target| (line, target)));
        }
    }
    found
}

/// How many `super::` lead from a file's module to the crate's root.
fn depth(path: &str) -> usize {
    let parts = path.split('/').count();
    if path.ends_with("/mod.rs") {
        parts - 2
    } else {
        parts - 1
    }
}

/// The paths between the braces of a use group, which may hold further groups.
fn group_members(group: &str) -> Vec<String> {
    let mut members = Vec::new();
    let mut nested = 0_usize;
    let mut member = String::new();
    for c in group.chars() {
        match c {
            '}' if nested == 0 => break,
            '{' => nested += 1,
            '}' => nested -= 1,
            ',' if nested == 0 => members.push(std::mem::take(&mut member)),
            _ if nested == 0 => member.push(c),
            _ => {}
        }
    }
    members.push(member);
    let paths = members.iter().map(|member| path_of(member.trim()));
    paths.filter(|path| !path.is_empty()).collect()
}

/// The path at the start of a text.
fn path_of(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::places;

    #[test]
    fn an_import_against_the_layers_is_found_however_it_is_written() {
        let found = places(
            direction,
            &[
                (
                    "src/ingest/tcp.rs",
                    "use crate::os::net;\nuse crate::journal::writer;\n",
                ),
                (
                    "src/stream/mod.rs",
                    "use crate::{block::Block, sink::{Sink, Outcome}};\n",
                ),
                (
                    "src/event.rs",
                    "use crate::position::Offset;\nfn a() { super::metrics::b(); }\n",
                ),
                (
                    "src/sink/http/post.rs",
                    "fn a() -> super::super::super::config::Plan { b() }\n",
                ),
                ("src/os/disk.rs", "use crate::metrics::ledger;\n"),
                (
                    "src/block/mod.rs",
                    "use crate::metrics::ledger::A;\nuse crate::metrics::b;\n",
                ),
                (
                    "src/node.rs",
                    "use crate::ingest::tcp;\nuse crate::cli::run;\n",
                ),
                ("src/main.rs", "fn main() { weir::cli::run() }\n"),
            ],
        );
        let expected = [
            "src/block/mod.rs:2",
            "src/event.rs:2",
            "src/ingest/tcp.rs:2",
            "src/node.rs:2",
            "src/os/disk.rs:1",
            "src/sink/http/post.rs:1",
            "src/stream/mod.rs:1",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn comments_strings_and_tests_import_nothing() {
        let text = "//! See [`crate::sink`].\nconst A: &str = \"crate::sink::B\";\n#[cfg(test)]\nmod tests {\n    use crate::sink::B;\n}\n";
        assert!(places(direction, &[("src/stream/cut.rs", text)]).is_empty());
    }

    #[test]
    fn config_sees_settings_only() {
        let text = "use crate::sink::settings::FileSettings;\nuse crate::sink::http::Post;\n";
        assert_eq!(
            places(direction, &[("src/config/plan.rs", text)]),
            ["src/config/plan.rs:2"]
        );
    }

    #[test]
    fn a_module_without_a_layer_is_found() {
        assert_eq!(
            places(direction, &[("src/plumbing.rs", "fn a() {}\n")]),
            ["src/plumbing.rs:1"]
        );
    }

    #[test]
    fn a_pure_part_reads_no_clock() {
        let text = "fn a(now: Instant) {}\nfn b() { Instant::now(); }\n";
        let files = [("src/stream/cut.rs", text), ("src/sink/worker.rs", text)];
        assert_eq!(places(pure_parts, &files), ["src/stream/cut.rs:2"]);
    }

    #[test]
    fn loadgen_that_uses_the_package_is_found() {
        let files = [
            ("loadgen/src/main.rs", "use weir::block::Block;\n"),
            (
                "loadgen/Cargo.toml",
                "[dependencies]\nweir = { path = \"..\" }\n",
            ),
        ];
        assert_eq!(
            places(loadgen_apart, &files),
            ["loadgen/Cargo.toml:2", "loadgen/src/main.rs:1"]
        );
    }
}
