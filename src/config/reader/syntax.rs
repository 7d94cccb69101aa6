//! TOML itself: from text to tables with places, its errors in the words of this program.
//!
//! Parsing goes on behind an error, so that one run tells them all.

use toml::Spanned;
use toml::de::DeTable;

use super::report::{Mistake, Report, shown};

/// The tables of a text. What is not TOML is reported and left out of them.
pub(crate) fn parse_tables<'i>(text: &'i str, report: &Report<'i>) -> Spanned<DeTable<'i>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let range = error.span().unwrap_or(text.len()..text.len());
        if error.message() == "duplicate key" {
            report.push(duplicate(report, range));
        } else {
            report.push(unreadable(report, range, error.message()));
        }
    }
    table
}

fn unreadable(report: &Report<'_>, range: std::ops::Range<usize>, message: &str) -> Mistake {
    let fix = FIXES
        .iter()
        .find_map(|(start, fix)| message.starts_with(start).then_some(*fix))
        .unwrap_or("correct or remove it");
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

/// A key or table given twice, with the line of the first when it is found.
fn duplicate(report: &Report<'_>, range: std::ops::Range<usize>) -> Mistake {
    let line = report.line(range.start);
    let line_text = report.line_text(line);
    let text = match header(line_text) {
        Some(path) => {
            let first = (1..line).find(|at| header(report.line_text(*at)) == Some(path));
            let first = first.map_or(String::new(), |at| format!(", first on line {at}"));
            match table_words(path) {
                Some(words) => {
                    format!("{words} is given twice{first}; rename one of them or merge the two")
                }
                None => format!("[{}] is given twice{first}; merge the two", shown(path)),
            }
        }
        None => {
            let key = report.typed(range);
            let section = (1..line).rfind(|at| header(report.line_text(*at)).is_some());
            let first = (section.unwrap_or(1)..line)
                .find(|at| key_of(report.line_text(*at)) == Some(key.as_str()))
                .map_or(String::new(), |at| format!(", first on line {at}"));
            let section = section
                .and_then(|at| header(report.line_text(at)))
                .map_or(String::new(), |path| format!("[{}]: ", shown(path)));
            format!("{section}{key} is given twice{first}; remove one of them")
        }
    };
    Mistake {
        line: Some(line),
        column: None,
        text,
        of_absence: false,
    }
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
        parse_tables(text, &report);
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
            "weir.toml:2:12: not TOML: string values must be quoted, expected literal string; put the value in double quotes",
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
