//! From one TOML value to one typed value, by the kind and range of its key.
//!
//! Errors are the rule and the fix; the reader puts place, key and value before them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use crate::config::keys::{Except, Fallback, Key, Kind};
use crate::config::units::{ByteSize, Span, parse_duration, parse_percent, parse_size};
use crate::journal::settings::RoomLimit;
use crate::position::Timestamp;
use crate::stream::settings::StartAt;

pub(super) fn flag(value: &DeValue<'_>, _: &Key) -> Result<bool, String> {
    Ok(value.as_bool().expect("the reader looked at the type"))
}

pub(super) fn count(value: &DeValue<'_>, key: &Key) -> Result<usize, String> {
    let Kind::Count { min, max } = key.kind else {
        unreachable!("{} is no count", key.name);
    };
    let count = integer(value)?;
    within(&count, &(min, max), |count| count.to_string())?;
    usize::try_from(count).map_err(|_| "is more than this machine can count; lower it".to_owned())
}

pub(super) fn size(value: &DeValue<'_>, key: &Key) -> Result<u64, String> {
    let Kind::Size { min, max } = key.kind else {
        unreachable!("{} is no size", key.name);
    };
    let bytes = match value {
        DeValue::String(text) => parse_size(text).map_err(|error| error.to_string())?,
        _ => integer(value)?,
    };
    within(&bytes, &(min, max), |bytes| ByteSize(*bytes).to_string())?;
    Ok(bytes)
}

pub(super) fn size_or_percent(value: &DeValue<'_>, key: &Key) -> Result<RoomLimit, String> {
    let Kind::SizeOrPercent { min } = key.kind else {
        unreachable!("{} is no size or share", key.name);
    };
    let bytes = match value {
        DeValue::String(text) if text.contains('%') => {
            let percent = parse_percent(text).map_err(|error| error.to_string())?;
            return Ok(RoomLimit::Percent(percent));
        }
        DeValue::String(text) => parse_size(text).map_err(|error| error.to_string())?,
        _ => integer(value)?,
    };
    within(&bytes, &(min, u64::MAX), |bytes| {
        ByteSize(*bytes).to_string()
    })?;
    Ok(RoomLimit::Bytes(bytes))
}

/// A duration; `None` for the value that means never or forever.
pub(super) fn span(value: &DeValue<'_>, key: &Key) -> Result<Option<Duration>, String> {
    let Kind::Span { min, max, except } = key.kind else {
        unreachable!("{} is no duration", key.name);
    };
    let span = match value {
        DeValue::String(text) if text == "-1" && except == Except::MinusOneIsForever => {
            return Ok(None);
        }
        DeValue::String(text) => parse_duration(text).map_err(|error| error.to_string())?,
        DeValue::Integer(number)
            if number.as_str() == "-1" && except == Except::MinusOneIsForever =>
        {
            return Ok(None);
        }
        _ => {
            let forever = match except {
                Except::MinusOneIsForever => ", or -1 for forever",
                Except::None | Except::ZeroIsNever => "",
            };
            return Err(format!(
                "is a number without a unit; write for example {} = {}{forever}",
                key.name,
                example(key)
            ));
        }
    };
    if span.is_zero() && except == Except::ZeroIsNever {
        return Ok(None);
    }
    within(&span, &(min, max), |span| Span(*span).to_string())?;
    Ok(Some(span))
}

pub(super) fn one_of(value: &DeValue<'_>, key: &Key) -> Result<&'static str, String> {
    let Kind::OneOf(words) = key.kind else {
        unreachable!("{} is no choice", key.name);
    };
    let typed = text_of(value);
    words
        .iter()
        .find(|word| **word == typed)
        .copied()
        .ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
            format!("is not known; write {}", words.join(" or "))
        })
}

pub(super) fn address(value: &DeValue<'_>, _: &Key) -> Result<SocketAddr, String> {
    text_of(value).parse().map_err(|_| {
        "is not an address; write ip:port, for example \"127.0.0.1:9000\" or \"[::1]:9000\""
            .to_owned()
    })
}

pub(super) fn path(value: &DeValue<'_>, key: &Key) -> Result<PathBuf, String> {
    let text = text_of(value);
    if text.is_empty() {
        return Err(match key.kind {
            Kind::ExistingFile => "names no file; write its path or leave the key out".to_owned(),
            _ => "is empty; write a path".to_owned(),
        });
    }
    if text.contains(char::is_control) {
        return Err("holds a control character; take it out".to_owned());
    }
    Ok(PathBuf::from(text))
}

pub(super) fn text(value: &DeValue<'_>, key: &Key) -> Result<String, String> {
    let text = text_of(value);
    let max = match key.kind {
        Kind::Text { max } | Kind::Secret { max } => max,
        _ => URL_BYTES_MAX,
    };
    if text.len() > max {
        return Err(format!("is longer than {max} bytes; shorten it"));
    }
    if text.contains(char::is_control) {
        return Err("holds a control character; take it out".to_owned());
    }
    Ok(text.to_owned())
}

/// One URL or some.
pub(super) fn urls(value: &DeValue<'_>, key: &Key) -> Result<Vec<String>, String> {
    let Kind::Urls { max } = key.kind else {
        unreachable!("{} is no list of URLs", key.name);
    };
    let Some(items) = value.as_array() else {
        return Ok(vec![text(value, key)?]);
    };
    if !(1..=max).contains(&items.len()) {
        return Err(format!("has {} items; write 1 to {max}", items.len()));
    }
    let items = items.iter().map(|item| match item.get_ref() {
        url @ DeValue::String(_) => text(url, key),
        other => Err(format!(
            "has an item that is {}; put each in double quotes",
            word(other)
        )),
    });
    items.collect()
}

/// Brokers as `host:port`, without the spaces around and within them.
pub(super) fn brokers(value: &DeValue<'_>, _: &Key) -> Result<Vec<String>, String> {
    let items: Vec<&str> = match value {
        DeValue::Array(items) => items
            .iter()
            .map(|item| item.get_ref().as_str().ok_or_else(|| word(item.get_ref())))
            .collect::<Result<_, _>>()
            .map_err(|word| format!("has an item that is {word}; put each in double quotes"))?,
        _ => vec![text_of(value)],
    };
    let brokers: Vec<String> = items
        .iter()
        .flat_map(|item| item.split(','))
        .map(|broker| broker.chars().filter(|c| !c.is_whitespace()).collect())
        .collect();
    if brokers.len() > BROKERS_MAX {
        return Err(format!(
            "has more than {BROKERS_MAX} brokers; some are enough"
        ));
    }
    for broker in &brokers {
        let parts = broker.rsplit_once(':');
        let is_host = |host: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            let inside = host
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'));
            match inside {
                Some(inside) => inside.parse::<std::net::Ipv6Addr>().is_ok(),
                None => !host.is_empty() && host.chars().all(plain),
            }
        };
        if !parts.is_some_and(|(host, port)| is_host(host) && is_port(port)) {
            let shown = super::report::shown(broker);
            return Err(format!(
                "has \"{shown}\", which is no host:port; write for example \"kafka-1.example:9093\""
            ));
        }
    }
    Ok(brokers)
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Text as it stands, line breaks included; its own parser judges it.
pub(super) fn rule(value: &DeValue<'_>, _: &Key) -> Result<String, String> {
    Ok(text_of(value).to_owned())
}

/// A list of texts, none of them empty.
pub(super) fn texts(value: &DeValue<'_>, key: &Key) -> Result<Vec<String>, String> {
    let Kind::Texts { max } = key.kind else {
        unreachable!("{} is no list", key.name);
    };
    let items = value.as_array().expect("the reader looked at the type");
    if items.len() > max {
        return Err(format!("has more than {max} items; remove some"));
    }
    let mut texts = Vec::with_capacity(items.len());
    for item in items {
        match item.get_ref() {
            DeValue::String(text) if text.is_empty() => {
                return Err("has an empty item; remove it".to_owned());
            }
            DeValue::String(text) => texts.push(text.to_string()),
            other => {
                return Err(format!(
                    "has an item that is {}; put each in double quotes",
                    word(other)
                ));
            }
        }
    }
    Ok(texts)
}

pub(super) fn start_at(value: &DeValue<'_>, _: &Key) -> Result<StartAt, String> {
    let typed = match value {
        DeValue::Datetime(time) => time.to_string(),
        _ => text_of(value).to_owned(),
    };
    match typed.as_str() {
        "end" => Ok(StartAt::End),
        "start" => Ok(StartAt::Start),
        time => time
            .parse::<jiff::Timestamp>()
            .map(|time| StartAt::Time(Timestamp(time.as_microsecond())))
            .map_err(|_| {
                "is not a place to start; write \"end\", \"start\" or a time with its zone, for \
                 example \"2026-01-31T08:00:00Z\""
                    .to_owned()
            }),
    }
}

/// True when values of this type can be of that kind at all.
pub(super) fn fits(value: &DeValue<'_>, kind: Kind) -> bool {
    match kind {
        Kind::Flag => value.is_bool(),
        Kind::Count { .. } => value.is_integer(),
        Kind::Size { .. } | Kind::SizeOrPercent { .. } | Kind::Span { .. } => {
            value.is_str() || value.is_integer()
        }
        Kind::StartAt => value.is_str() || value.is_datetime(),
        Kind::OneOf(_)
        | Kind::Address
        | Kind::Path
        | Kind::ExistingFile
        | Kind::Text { .. }
        | Kind::Secret { .. }
        | Kind::Url
        | Kind::Origin
        | Kind::Rule => value.is_str(),
        Kind::Urls { .. } | Kind::Brokers => value.is_str() || value.is_array(),
        Kind::Headers => value.is_table(),
        Kind::Texts { .. } => value.is_array(),
    }
}

/// The kind in words, as in "but a size is needed".
pub(super) fn need(kind: Kind) -> &'static str {
    match kind {
        Kind::Flag => "true or false",
        Kind::Count { .. } => "a whole number",
        Kind::Size { .. } => "a size",
        Kind::SizeOrPercent { .. } => "a size or a share",
        Kind::Span { .. } => "a duration",
        Kind::OneOf(_) | Kind::Text { .. } | Kind::Secret { .. } => "text",
        Kind::Brokers => "a list of brokers",
        Kind::Rule => "a rule as text",
        Kind::Texts { .. } => "a list of text",
        Kind::Address => "an address",
        Kind::Path | Kind::ExistingFile => "a path",
        Kind::Url | Kind::Origin | Kind::Urls { .. } => "a URL",
        Kind::StartAt => "a place to start",
        Kind::Headers => "a table",
    }
}

/// The type of a value in words, as in "is text".
pub(super) fn word(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A value that could be typed for the key.
pub(super) fn example(key: &Key) -> &'static str {
    match (key.fallback, key.kind) {
        (Fallback::Value(text), _) if text != "\"\"" => text,
        (_, Kind::Flag) => "true",
        (_, Kind::Count { .. }) => "2",
        (_, Kind::Size { .. } | Kind::SizeOrPercent { .. }) => "\"192 MiB\"",
        (_, Kind::Span { .. }) => "\"30s\"",
        (_, Kind::OneOf(_) | Kind::Text { .. }) => "\"name\"",
        (_, Kind::Secret { .. }) => "\"…\"",
        (_, Kind::Brokers) => "[\"kafka-1.example:9093\", \"kafka-2.example:9093\"]",
        (_, Kind::Address) => "\"127.0.0.1:9000\"",
        (_, Kind::Path) => "\"/var/lib/weir/out/events.ndjson\"",
        (_, Kind::ExistingFile) => "\"/etc/weir/ca.pem\"",
        (_, Kind::Origin) => "\"https://s3.eu-west-1.amazonaws.com\"",
        (_, Kind::Url | Kind::Urls { .. }) => "\"https://siem.example:8088/ingest\"",
        (_, Kind::StartAt) => "\"end\"",
        (_, Kind::Headers) => "{ \"X-Token\" = \"…\" }",
        (_, Kind::Rule) => "\"outcome:failure\"",
        (_, Kind::Texts { .. }) => "[\"one\", \"another\"]",
    }
}

/// A URL as typed, without what may be secret: user, password and query.
pub(super) fn masked_url(typed: &str) -> String {
    if typed.starts_with('[') {
        return "[…]".to_owned();
    }
    let (front, host) = match typed.rsplit_once('@') {
        Some((front, host)) => match front.split_once("://") {
            Some((scheme, _)) => (format!("{scheme}://…@"), host),
            None => ("\"…@".to_owned(), host),
        },
        None => (String::new(), typed),
    };
    match host.split_once('?') {
        Some((host, _)) => format!("{front}{host}?…\""),
        None => format!("{front}{host}"),
    }
}

/// Brokers a client may be given.
const BROKERS_MAX: usize = 64;

/// Bytes a URL may have: what common servers accept in a request line.
const URL_BYTES_MAX: usize = 8 * 1024;

fn text_of<'v>(value: &'v DeValue<'_>) -> &'v str {
    value.as_str().expect("the reader looked at the type")
}

/// A whole number from 0.
fn integer(value: &DeValue<'_>) -> Result<u64, String> {
    let number = value.as_integer().expect("the reader looked at the type");
    u64::from_str_radix(number.as_str(), number.radix()).map_err(|_| {
        let rule = if number.as_str().starts_with('-') {
            "is below zero; raise it"
        } else {
            "is larger than any machine can hold; lower it"
        };
        rule.to_owned()
    })
}

fn within<T: PartialOrd>(
    value: &T,
    (min, max): &(T, T),
    show: impl Fn(&T) -> String,
) -> Result<(), String> {
    if value < min {
        Err(format!("is below the minimum {}; raise it", show(min)))
    } else if value > max {
        Err(format!("is above the limit {}; lower it", show(max)))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_user_password_and_query() {
        for (typed, expected) in [
            ("\"https://siem:8088/x\"", "\"https://siem:8088/x\""),
            ("\"https://u:p@siem/x\"", "\"https://…@siem/x\""),
            ("\"https://u:p@q@siem/x\"", "\"https://…@siem/x\""),
            ("\"https://siem/x?token=abc\"", "\"https://siem/x?…\""),
            ("\"u:p@siem\"", "\"…@siem\""),
            ("\"https://u:p?@siem\"", "\"https://…@siem\""),
            ("[\"https://u:p@siem\"]", "[…]"),
        ] {
            assert_eq!(masked_url(typed), expected);
        }
    }
}
