//! How the commands show things to people: tables, amounts, times, lines, progress.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::position::Timestamp;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// Columns aligned to their widest entry; numbers to the right.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
}

/// One entry of a table.
#[derive(Debug)]
pub(super) enum Cell {
    Word(String),
    Number(String),
}

impl Table {
    /// A table with a first row of titles: those that begin with `>` are of numbers.
    pub(super) fn new(titles: &[&str]) -> Self {
        let cell = |title: &&str| match title.strip_prefix('>') {
            Some(title) => Cell::Number(title.to_owned()),
            None => Cell::Word((*title).to_owned()),
        };
        Self {
            rows: vec![titles.iter().map(cell).collect()],
        }
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The table, each line behind `indent`.
    pub(super) fn show(&self, indent: &str) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.text().chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = indent.to_owned();
            for (cell, width) in row.iter().zip(&widths) {
                let shown = match cell {
                    Cell::Word(word) => format!("{word:<width$}  "),
                    Cell::Number(number) => format!("{number:>width$}  "),
                };
                line.push_str(&shown);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

impl Cell {
    pub(super) fn word(word: impl ToString) -> Self {
        Self::Word(word.to_string())
    }

    pub(super) fn number(number: impl ToString) -> Self {
        Self::Number(number.to_string())
    }

    fn text(&self) -> &str {
        match self {
            Self::Word(text) | Self::Number(text) => text,
        }
    }
}

/// Bytes in the largest unit that leaves one digit before the point.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (u128::from(bytes) * 10 / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// How many times smaller: `raw / stored`, with one digit behind the point.
pub(super) fn ratio(raw: u64, stored: u64) -> String {
    match stored {
        0 => "-".to_owned(),
        stored => {
            let tenths = u128::from(raw) * 10 / u128::from(stored);
            format!("{}.{}", tenths / 10, tenths % 10)
        }
    }
}

/// A time in UTC, to the microsecond where it has any.
pub(super) fn time(time: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(time.0).map_or_else(
        // Beyond the year 9999: as the number it is.
        |_| format!("{} us", time.0),
        |time| time.to_string(),
    )
}

/// A time in UTC to the second, for tables.
pub(super) fn short_time(at: Option<Timestamp>) -> String {
    let Some(at) = at else {
        return "-".to_owned();
    };
    let second = Timestamp(at.0.div_euclid(1_000_000) * 1_000_000);
    time(second)
}

/// Text of any origin as one line of a terminal: at most so many characters, and an ellipsis where there are more.
/// What would move the cursor or turn the writing's direction is a space.
pub(super) fn one_line(text: &str, chars_max: usize) -> String {
    let is_unsafe = |character: char| {
        character.is_control()
            || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let shown = |character| if is_unsafe(character) { ' ' } else { character };
    let mut characters = text.chars();
    let mut line: String = characters.by_ref().take(chars_max).map(shown).collect();
    if characters.next().is_some() {
        line.push('…');
    }
    line
}

/// A file's place for people: name, and where in it.
pub(super) fn place(path: &Path, position: Option<u64>) -> String {
    match position {
        Some(position) => format!("{} at byte {position}", path.display()),
        None => path.display().to_string(),
    }
}

/// Tells on a terminal how far the work is.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    bytes: u64,
    begun: Instant,
    told: Instant,
    shown: bool,
    terminal: bool,
}

impl Progress {
    /// Shows nothing when standard error is no terminal.
    pub(super) fn new(what: &'static str) -> Self {
        let now = Instant::now();
        Self {
            what,
            bytes: 0,
            begun: now,
            told: now,
            shown: false,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    pub(super) fn add(&mut self, more: u64) {
        self.bytes += more;
        if !self.terminal || self.told.elapsed() < TELL_EVERY {
            return;
        }
        self.told = Instant::now();
        self.shown = true;
        let seconds = self.begun.elapsed().as_secs().max(1);
        let (done, rate) = (bytes(self.bytes), bytes(self.bytes / seconds));
        self.tell(&format!("\r\x1b[K{}: {done}, {rate}/s", self.what));
    }

    fn tell(&self, text: &str) {
        // Progress that cannot be shown is no reason to stop the work.
        drop(std::io::stderr().write_all(text.as_bytes()));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            self.tell("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_times_are_short_and_exact_enough() {
        let shown = [0, 1023, 1024, 1536, 1 << 20, (1 << 30) * 5 / 2, u64::MAX].map(bytes);
        let expected = [
            "0 B",
            "1023 B",
            "1.0 KiB",
            "1.5 KiB",
            "1.0 MiB",
            "2.5 GiB",
            "16383.9 PiB",
        ];
        assert_eq!(shown, expected);
        assert_eq!(ratio(81, 10), "8.1");
        assert_eq!(ratio(1, 0), "-");
        let at = Timestamp(1_700_000_000_123_456);
        assert_eq!(time(at), "2023-11-14T22:13:20.123456Z");
        assert_eq!(short_time(Some(at)), "2023-11-14T22:13:20Z");
        assert_eq!(short_time(Some(Timestamp(-1))), "1969-12-31T23:59:59Z");
        assert_eq!(time(Timestamp(i64::MAX)), "9223372036854775807 us");
    }

    #[test]
    fn a_line_of_any_text_is_short_and_moves_nothing() {
        assert_eq!(one_line("plain é€", 8), "plain é€");
        assert_eq!(one_line("plain é€", 7), "plain é…");
        let hostile = "a\u{1b}[2Jb\r\n\t\u{7f}\u{9b}\u{202e}c";
        assert_eq!(one_line(hostile, 100), "a [2Jb      c");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_entry() {
        let mut table = Table::new(&["name", ">events"]);
        table.row(vec![Cell::word("a"), Cell::number(12_345_678)]);
        table.row(vec![Cell::word("longer"), Cell::number(1)]);
        let expected = "  name      events\n  a       12345678\n  longer         1\n";
        assert_eq!(table.show("  "), expected);
    }
}
