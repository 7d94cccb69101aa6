//! TOML itself: from text to tables with places, its errors in the words of this program.
//!
//! Parsing goes on behind an error, so that one run tells them all.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;

use super::report::{Mistake, Report, shown};

/// The text with the lines taken out (blank, so that places stay) behind which the parser
/// would read nothing more: it stops at a key without a value. Borrowed when there is none.
pub(crate) fn readable(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for _ in 0..LINES_BLANKED_MAX {
        let (_, errors) = DeTable::parse_recoverable(&text);
        let Some(at) = errors
            .iter()
            .filter(|error| error.message().starts_with(STOPS))
            .find_map(toml::de::Error::span)
            .map(|range| range.start.min(text.len()))
        else {
            break;
        };
        let bytes = text.as_bytes();
        let start = memchr::memrchr(b'\n', &bytes[..at]).map_or(0, |newline| newline + 1);
        let end = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |length| at + length);
        let blank = " ".repeat(end - start);
        if start == end || text[start..end] == blank {
            break;
        }
        text.to_mut().replace_range(start..end, &blank);
    }
    text
}

/// The message at which the parser stops building tables.
const STOPS: &str = "key with no value";

/// Each costs one more reading of the text.
const LINES_BLANKED_MAX: usize = 20;

/// The tables of a text. What is not TOML is reported and left out of them.
pub(crate) fn parse_tables<'i>(readable: &'i str, report: &Report<'_>) -> Spanned<DeTable<'i>> {
    if readable != report.text() {
        report_errors(report, DeTable::parse_recoverable(report.text()).1);
    }
    let (table, errors) = DeTable::parse_recoverable(readable);
    report_errors(report, errors);
    table
}

fn report_errors(report: &Report<'_>, errors: Vec<toml::de::Error>) {
    let end = report.text().len();
    // A duplicate is looked for in all lines before it, so their number is bounded.
    for error in errors.into_iter().take(ERRORS_MAX) {
        let range = error.span().unwrap_or(end..end);
        if error.message() != "duplicate key" {
            report.push(unreadable(report, range, error.message()));
        } else if let Some(mistake) = duplicate(report, range) {
            report.push(mistake);
        }
    }
}

/// More errors than are shown, and few enough to look at each.
const ERRORS_MAX: usize = 1_000;

fn unreadable(report: &Report<'_>, range: Range<usize>, message: &str) -> Mistake {
    // The parser takes nothing behind the = for a word without quotes.
    let message = if range.is_empty() && message.starts_with("string values must be quoted") {
        "missing value"
    } else {
        message
    };
    let fix = FIXES
        .iter()
        .find_map(|(start, fix)| message.starts_with(start).then_some(*fix))
        .unwrap_or("correct or remove it");
    // What the parser expects of a word without quotes helps no one.
    let message = message
        .trim_end_matches(", expected literal string")
        .trim_end_matches(", expected nothing");
    Mistake {
        line: Some(report.line(range.start)),
        column: Some(report.column(range.start)),
        text: format!("not TOML: {message}; {fix}"),
        of_absence: false,
    }
}

/// Starts of the parser's messages, and what to do about them.
const FIXES: &[(&str, &str)] = &[
    (
        "string values must be quoted",
        "put the value in double quotes",
    ),
    (
        "invalid float",
        "write a number, or put text in double quotes",
    ),
    (
        "invalid integer",
        "write a number, or put text in double quotes",
    ),
    ("invalid datetime", "put it in double quotes"),
    ("key with no value", "write it as key = value"),
    ("missing value", "write a value behind the ="),
    ("unclosed table", "close the header with ]"),
    ("unclosed array table", "close the header with ]]"),
    ("unclosed array", "close the list with ]"),
    ("unclosed inline table", "close the table with }"),
    (
        "invalid basic string",
        "close the text with \" on the same line",
    ),
    (
        "invalid literal string",
        "close the text with ' on the same line",
    ),
    ("missing comma", "put a comma between the two"),
    (
        "cannot extend value",
        "give the key once, as a value or as a table",
    ),
    ("cannot recurse further", "nothing here nests that deep"),
];

/// A key or table given twice, with the line of the first when it is found. `None` for
/// what is given twice only because its table is.
fn duplicate(report: &Report<'_>, range: Range<usize>) -> Option<Mistake> {
    let line = report.line(range.start);
    let header_at = |at: usize| header(report.line_text(at));
    let first_header = |path: &str| (1..line).find(|at| header_at(*at) == Some(path));
    let text = match header_at(line) {
        Some(path) => {
            let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
            let parents = (1..line).filter(|at| header_at(*at) == Some(parent));
            if parents.count() > 1 {
                return None;
            }
            let first = line_words(first_header(path));
            match table_words(path) {
                Some(words) => {
                    format!("{words} is given twice{first}; rename one of them or merge the two")
                }
                None => format!("[{}] is given twice{first}; merge the two", shown(path)),
            }
        }
        None => {
            let key = report.typed(range);
            let section = (1..line).rfind(|at| header_at(*at).is_some());
            let path = section.and_then(header_at);
            if path.is_some_and(|path| first_header(path) != section) {
                return None;
            }
            let first = (section.unwrap_or(1)..line)
                .find(|at| key_of(report.line_text(*at)) == Some(key.as_str()));
            let first = line_words(first);
            let section = path.map_or(String::new(), |path| format!("[{}]: ", shown(path)));
            format!("{section}{key} is given twice{first}; remove one of them")
        }
    };
    Some(Mistake {
        line: Some(line),
        column: None,
        text,
        of_absence: false,
    })
}

fn line_words(first: Option<usize>) -> String {
    first.map_or(String::new(), |line| format!(", first on line {line}"))
}

/// Path of a table header such as `[stream.siem.http]`.
fn header(line: &str) -> Option<&str> {
    let inner = line.trim_start().strip_prefix('[')?;
    Some(inner.split_once(']')?.0.trim())
}

/// `stream "siem"` for the header of a stream or input.
fn table_words(path: &str) -> Option<String> {
    let mut parts = path.split('.').map(str::trim);
    let kind = parts
        .next()
        .filter(|kind| matches!(*kind, "stream" | "input"))?;
    let name = parts.next()?.trim_matches(['"', '\'']);
    match (kind, parts.next(), parts.next()) {
        ("stream", None, None) | ("input", Some(_), None) => {
            Some(format!("{kind} \"{}\"", shown(name)))
        }
        _ => None,
    }
}

/// The key a line gives a value to.
fn key_of(line: &str) -> Option<&str> {
    Some(line.split_once('=')?.0.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let report = Report::new(text);
        parse_tables(&readable(text), &report);
        let errors = report
            .into_errors("weir.toml")
            .map(|errors| errors.to_string());
        let errors = errors.unwrap_or_default();
        let mistakes = errors
            .rsplit_once('\n')
            .map_or("", |(mistakes, _)| mistakes);
        assert_eq!(mistakes, expected, "\n{text}");
    }

    #[test]
    fn toml_errors_name_line_column_and_fix() {
        check(
            "[node]\ndata_dir = /var/lib\n",
            "weir.toml:2:12: not TOML: string values must be quoted; put the value in double quotes",
        );
        check(
            "[node\nshards = 2\n",
            "weir.toml:1:6: not TOML: unclosed table, expected `]`; close the header with ]",
        );
        check(
            "[node]\nshards\n[memory]\nmax =\n",
            "weir.toml:2:7: not TOML: key with no value, expected `=`; write it as key = value\n\
             weir.toml:4:6: not TOML: missing value; write a value behind the =",
        );
        check(
            "[node]\ndata_dir = \"/var\n",
            "weir.toml:2:17: not TOML: invalid basic string, expected `\"`; close the text with \" on the same line",
        );
    }

    #[test]
    fn duplicates_are_named_with_their_first_line() {
        check(
            "[stream.siem]\n\n[stream.siem]\n",
            "weir.toml:3: stream \"siem\" is given twice, first on line 1; rename one of them or merge the two",
        );
        check(
            "[input.a.tcp]\n[input.a.tcp]\n",
            "weir.toml:2: input \"a\" is given twice, first on line 1; rename one of them or merge the two",
        );
        check(
            "[journal]\n[journal]\n",
            "weir.toml:2: [journal] is given twice, first on line 1; merge the two",
        );
        check(
            "[stream.siem.http]\n[stream.siem.http]\n",
            "weir.toml:2: [stream.siem.http] is given twice, first on line 1; merge the two",
        );
        check(
            "[node]\nshards = 1\n[memory]\nmax = 1\nmax = 2\n",
            "weir.toml:5: [memory]: max is given twice, first on line 4; remove one of them",
        );
    }

    #[test]
    fn an_input_and_a_stream_may_share_a_name() {
        check("[input.a.tcp]\n[stream.a]\n", "");
    }
}
