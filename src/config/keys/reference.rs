//! The reference of the keys in Markdown, written from their table.

use std::fmt::Write as _;

use super::{Except, Fallback, Key, Kind, SECTIONS};
use crate::config::units::{ByteSize, Span};

/// The section "Keys" of `docs/configuration.md`.
#[must_use]
pub fn reference() -> String {
    let mut text = String::new();
    for section in SECTIONS {
        writeln!(text, "### `[{}]`\n\n{}\n", section.path, section.doc)
            .expect("writing to a String does not fail");
        text.push_str("| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
        for key in section.keys {
            let (name, doc) = (key.name, key.doc);
            let (value, default) = (value_words(key.kind), default_words(key));
            writeln!(text, "| `{name}` | {value} | {default} | {doc} |")
                .expect("writing to a String does not fail");
        }
        text.push('\n');
    }
    text
}

fn value_words(kind: Kind) -> String {
    match kind {
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::Count { min, max } => format!("{min} to {max}"),
        Kind::Size { min, max } => format!("size, {} to {}", ByteSize(min), ByteSize(max)),
        Kind::SizeOrPercent { min } => {
            format!("size, at least {}, or `\"1%\"` to `\"99%\"`", ByteSize(min))
        }
        Kind::Span { min, max, except } => {
            let range = format!("duration, {} to {}", Span(min), Span(max));
            match except {
                Except::None => range,
                Except::ZeroIsNever => format!("{range}, or `\"0s\"`: never"),
                Except::MinusOneIsForever => format!("{range}, or `-1`: forever"),
            }
        }
        Kind::OneOf(words) => {
            let words: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            words.join(" or ")
        }
        Kind::Address => "`\"ip:port\"`".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::ExistingFile => "path of a file".to_owned(),
        Kind::Secret { max } => format!("secret text, at most {max} bytes"),
        Kind::Brokers => "list of `\"host:port\"`".to_owned(),
        Kind::Text { max } => format!("text, at most {max} bytes"),
        Kind::Url => "URL".to_owned(),
        Kind::Origin => "URL without a path".to_owned(),
        Kind::Urls { max } => format!("URL, or list of at most {max}"),
        Kind::StartAt => "`\"end\"`, `\"start\"` or an RFC 3339 time".to_owned(),
        Kind::Headers => "table of text".to_owned(),
        Kind::Rule => "rule".to_owned(),
        Kind::Texts { max } => format!("list of text, at most {max} items"),
    }
}

fn default_words(key: &Key) -> String {
    match key.fallback {
        Fallback::Value(text) => format!("`{text}`"),
        Fallback::Computed(words) => words.to_owned(),
        Fallback::Absent => "none".to_owned(),
        Fallback::Required => "must be given".to_owned(),
    }
}
