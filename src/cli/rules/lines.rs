//! Lines of a file or of standard input, in bounded memory however long they are.

use std::io::{self, BufRead as _, BufReader, Read};

/// Longest line that is read, without its line end.
pub(super) const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes asked of the source at once.
const READ_BYTES: usize = 256 * 1024;

/// Lines, one after the other.
pub(super) struct Lines<R> {
    from: BufReader<R>,
    line: Vec<u8>,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Without its line end, `\n` or `\r\n`, as the inputs of a relay cut it.
    Whole(&'a [u8]),
    /// One above [`LINE_BYTES_MAX`].
    TooLong,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(from: R) -> Self {
        Self {
            from: BufReader::with_capacity(READ_BYTES, from),
            line: Vec::new(),
        }
    }

    /// Nothing more is in memory: the next line may have to be waited for.
    pub(super) fn is_drained(&self) -> bool {
        self.from.buffer().is_empty()
    }

    /// The next line; `None` at the end.
    pub(super) fn read(&mut self) -> io::Result<Option<Line<'_>>> {
        const LINE_END: usize = 2;
        self.line.clear();
        let most = LINE_BYTES_MAX + LINE_END;
        let mut part = self.from.by_ref().take(most as u64);
        if part.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        let line = match self.line.strip_suffix(b"\n") {
            Some(line) => line,
            None => {
                if self.line.len() == most {
                    self.from.skip_until(b'\n')?;
                }
                &self.line
            }
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Ok(Some(if line.len() > LINE_BYTES_MAX {
            Line::TooLong
        } else {
            Line::Whole(line)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of `text`: their lengths, `None` for one that is too long.
    fn lengths(text: &[u8]) -> Vec<Option<usize>> {
        let mut lines = Lines::new(text);
        let mut lengths = Vec::new();
        while let Some(line) = lines.read().expect("memory can be read") {
            lengths.push(match line {
                Line::Whole(line) => Some(line.len()),
                Line::TooLong => None,
            });
        }
        assert!(lines.is_drained());
        lengths
    }

    #[test]
    fn lines_come_without_their_ends_also_the_last() {
        for (text, expected) in [
            ("", vec![]),
            ("{}\n", vec!["{}"]),
            ("{}\r\n\n{ }", vec!["{}", "", "{ }"]),
            ("a\rb\r\r\n", vec!["a\rb\r"]),
        ] {
            let mut lines = Lines::new(text.as_bytes());
            for line in expected {
                let read = lines.read().expect("memory can be read");
                assert_eq!(read, Some(Line::Whole(line.as_bytes())), "{text:?}");
            }
            assert_eq!(lines.read().expect("memory can be read"), None, "{text:?}");
        }
    }

    #[test]
    fn a_line_above_the_limit_is_passed_over_to_its_end() {
        for end in ["\n", "\r\n"] {
            for (over, whole) in [(0, true), (1, false), (2, false), (3, false)] {
                let bytes = LINE_BYTES_MAX + over;
                let mut text = vec![b'x'; bytes];
                text.extend_from_slice(end.as_bytes());
                text.extend_from_slice(b"{}\n");
                let expected = [whole.then_some(bytes), Some(2)];
                assert_eq!(lengths(&text), expected, "{over} {end:?}");
            }
        }
        assert_eq!(lengths(&vec![b'x'; LINE_BYTES_MAX]), [Some(LINE_BYTES_MAX)]);
        assert_eq!(lengths(&vec![b'x'; LINE_BYTES_MAX * 2]), [None]);
    }
}
