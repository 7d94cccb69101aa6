//! The tree as text: files, and Rust sources with comments and string contents blanked.
//!
//! Blanking keeps every line in its place, so a position in [`File::code`] is a position in
//! the file. The string literals themselves are kept apart with their lines.

use std::fmt;
use std::path::Path;

/// Something to tidy.
#[derive(Debug)]
pub(crate) struct Finding {
    /// Path from the root of the tree.
    pub(crate) path: String,
    /// Line, from 1.
    pub(crate) line: usize,
    /// Name of the rule.
    pub(crate) rule: &'static str,
    /// What to do instead.
    pub(crate) advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            rule,
            advice,
        } = self;
        write!(f, "{path}:{line}: {rule}: {advice}")
    }
}

/// One text file.
#[derive(Debug)]
pub(crate) struct File {
    /// Path from the root, with `/`.
    pub(crate) path: String,
    /// The text as it is.
    pub(crate) text: String,
    /// Rust only, else empty: the lines with comments and string contents blanked.
    pub(crate) code: Vec<String>,
    /// Rust only: string literals with their lines, from 1.
    pub(crate) strings: Vec<(usize, String)>,
    /// Rust only: first line, from 1, of the test module at the file's end; past the last
    /// line when there is none. What stands from there on is test code.
    pub(crate) tests_from: usize,
}

impl File {
    /// Reads a text.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (code, strings) = if path.ends_with(".rs") {
            blank(text)
        } else {
            (Vec::new(), Vec::new())
        };
        let tests_from = tests_from(path, &code);
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            strings,
            tests_from,
        }
    }

    /// True for a Rust source.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Lines of code with their numbers, from 1, up to the test module.
    pub(crate) fn shipped_code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.numbered_code()
            .take_while(|(line, _)| *line < self.tests_from)
    }

    /// All lines of code with their numbers, from 1.
    pub(crate) fn numbered_code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code
            .iter()
            .enumerate()
            .map(|(index, line)| (index + 1, line.as_str()))
    }

    /// A finding in this file.
    pub(crate) fn finding(&self, line: usize, rule: &'static str, advice: String) -> Finding {
        Finding {
            path: self.path.clone(),
            line,
            rule,
            advice,
        }
    }
}

/// The tree.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Every text file, sorted by path.
    pub(crate) files: Vec<File>,
}

impl Tree {
    /// Reads the tree under `root`; build output, hidden folders but `.ci`, and files that
    /// are not UTF-8 stay out.
    pub(crate) fn read(root: &Path) -> Self {
        let mut paths = Vec::new();
        collect(root, String::new(), &mut paths);
        paths.sort();
        let files = paths
            .iter()
            .filter_map(|path| {
                let bytes = std::fs::read(root.join(path)).expect("a listed file can be read");
                let text = String::from_utf8(bytes).ok()?;
                Some(File::new(path, &text))
            })
            .collect();
        Self { files }
    }

    /// A made-up tree for the rules' own tests.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self {
            files: files
                .iter()
                .map(|(path, text)| File::new(path, text))
                .collect(),
        }
    }

    /// The Rust files.
    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }

    /// The file at `path`.
    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

/// The findings of `rule` on a made-up tree, one `path:line` each, sorted.
pub(crate) fn places(rule: fn(&Tree) -> Vec<Finding>, files: &[(&str, &str)]) -> Vec<String> {
    let mut places: Vec<String> = rule(&Tree::of(files))
        .iter()
        .map(|finding| format!("{}:{}", finding.path, finding.line))
        .collect();
    places.sort();
    places
}

fn collect(root: &Path, folder: String, paths: &mut Vec<String>) {
    let entries = std::fs::read_dir(root.join(&folder)).expect("a folder of the tree can be read");
    for entry in entries {
        let entry = entry.expect("an entry of the tree can be read");
        let name = entry
            .file_name()
            .into_string()
            .expect("names in the tree are UTF-8");
        let path = if folder.is_empty() {
            name.clone()
        } else {
            format!("{folder}/{name}")
        };
        let kind = entry.file_type().expect("an entry has a kind");
        if kind.is_dir() {
            let hidden = name.starts_with('.') && name != ".ci";
            let built = matches!(
                name.as_str(),
                "target" | "weir-data" | "corpus" | "artifacts"
            );
            if !hidden && !built {
                collect(root, path, paths);
            }
        } else if kind.is_file() && (!name.starts_with('.') || folder == ".ci") {
            paths.push(path);
        }
    }
}

/// First line of a `mod tests` (or any inline module) behind `#[cfg(test)]` that reaches to
/// the end of the file; files under `tests/` and `benches/` are test code from line 1, and
/// so are modules called `tests` in files of their own.
fn tests_from(path: &str, code: &[String]) -> usize {
    let outside = ["tests/", "benches/", "fuzz/"];
    let of_tests = path.ends_with("/tests.rs") || path.contains("/tests/");
    if of_tests || outside.iter().any(|folder| path.starts_with(folder)) {
        return 1;
    }
    let starts = code.iter().enumerate().filter(|(index, line)| {
        let next = code.get(index + 1..).unwrap_or_default().iter();
        let opens = next
            .map(|line| line.trim())
            .find(|line| !line.is_empty() && !line.starts_with("#["));
        line.starts_with("#[cfg(test)]")
            && opens.is_some_and(|line| words(line, "mod").next().is_some() && line.ends_with('{'))
    });
    starts
        .map(|(index, _)| index + 1)
        .next()
        .unwrap_or(code.len() + 1)
}

/// Where the reader of [`blank`] stands.
enum State {
    Code,
    LineComment,
    BlockComment { depth: usize },
    Text { hashes: Option<usize> },
}

/// Blanks comments and string contents; returns the lines and the literals.
fn blank(text: &str) -> (Vec<String>, Vec<(usize, String)>) {
    let chars: Vec<char> = text.chars().collect();
    let mut lines = vec![String::new()];
    let mut strings = Vec::new();
    let mut literal = (0, String::new());
    let mut state = State::Code;
    let mut at = 0;
    while at < chars.len() {
        let here = chars[at];
        let next = chars.get(at + 1).copied().unwrap_or('\0');
        let mut taken = 1;
        let mut shown = ' ';
        match state {
            State::Code if here == '/' && next == '/' => state = State::LineComment,
            State::Code if here == '/' && next == '*' => {
                state = State::BlockComment { depth: 1 };
                taken = 2;
            }
            State::Code => {
                shown = here;
                if let Some((open, hashes)) = string_opens(&chars, at) {
                    taken = open;
                    shown = '"';
                    literal = (lines.len(), String::new());
                    state = State::Text { hashes };
                } else if here == '\'' {
                    taken = char_literal(&chars, at);
                }
            }
            State::LineComment if here == '\n' => state = State::Code,
            State::LineComment => {}
            State::BlockComment { depth } if here == '*' && next == '/' => {
                taken = 2;
                state = if depth == 1 {
                    State::Code
                } else {
                    State::BlockComment { depth: depth - 1 }
                };
            }
            State::BlockComment { depth } if here == '/' && next == '*' => {
                taken = 2;
                state = State::BlockComment { depth: depth + 1 };
            }
            State::BlockComment { .. } => {}
            State::Text { hashes: None } if here == '\\' => {
                literal.1.extend([here, next]);
                taken = 2;
            }
            State::Text { hashes } if here == '"' && closes(&chars, at, hashes) => {
                taken = 1 + hashes.unwrap_or(0);
                shown = '"';
                strings.push(std::mem::take(&mut literal));
                state = State::Code;
            }
            State::Text { .. } => literal.1.push(here),
        }
        for taken_char in &chars[at..(at + taken).min(chars.len())] {
            if *taken_char == '\n' {
                lines.push(String::new());
            } else {
                let last = lines.last_mut().expect("there is always a line");
                last.push(std::mem::replace(&mut shown, ' '));
            }
        }
        at += taken;
    }
    (lines, strings)
}

/// If a string literal opens at `at`: characters up to and with its quote, and the hashes of
/// a raw one.
fn string_opens(chars: &[char], at: usize) -> Option<(usize, Option<usize>)> {
    let inside_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if chars[at] == '"' {
        return Some((1, None));
    }
    if inside_word || !matches!(chars[at], 'r' | 'b' | 'c') {
        return None;
    }
    let letters = chars[at..]
        .iter()
        .take_while(|c| matches!(c, 'r' | 'b' | 'c'))
        .count();
    let raw = chars[at..at + letters].contains(&'r');
    let hashes = chars[at + letters..]
        .iter()
        .take_while(|c| **c == '#')
        .count();
    let quoted = chars.get(at + letters + hashes) == Some(&'"');
    let allowed = letters <= 2 && quoted && (raw || hashes == 0);
    allowed.then_some((letters + hashes + 1, raw.then_some(hashes)))
}

/// True when the quote at `at` ends a literal with so many hashes.
fn closes(chars: &[char], at: usize, hashes: Option<usize>) -> bool {
    let wanted = hashes.unwrap_or(0);
    chars[at + 1..]
        .iter()
        .take(wanted)
        .filter(|c| **c == '#')
        .count()
        == wanted
}

/// Characters of the char literal at `at`, or 1 for a lifetime.
fn char_literal(chars: &[char], at: usize) -> usize {
    if chars.get(at + 1) == Some(&'\\') {
        let end = chars[at + 3..].iter().position(|c| *c == '\'');
        return end.map_or(1, |end| end + 4);
    }
    if chars.get(at + 2) == Some(&'\'') {
        3
    } else {
        1
    }
}

/// Byte positions of `word` in a line of code where it stands as a word of its own.
pub(crate) fn words<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            let before = line[..*at].chars().next_back();
            let after = line[at + word.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_blanked_and_lines_stay() {
        let text = "let a = \"x // \\\" y\"; // b\n/* c\n/* d */ */ let e = 'f';\nlet g: &'h str = r#\"i\"j\"#;\nlet k = b\"l\"; let m = '\"'; n();\n";
        let (code, strings) = blank(text);
        let code: Vec<&str> = code.iter().map(|line| line.trim_end()).collect();
        assert_eq!(code[0], "let a = \"         \";");
        assert!(code[1].is_empty());
        assert_eq!(code[2].trim(), "let e = '  ;");
        assert_eq!(code[3], "let g: &'h str = \"     \" ;");
        assert!(code[4].ends_with("n();"), "{}", code[4]);
        let literals: Vec<(usize, &str)> = strings
            .iter()
            .map(|(line, text)| (*line, text.as_str()))
            .collect();
        assert_eq!(literals, [(1, "x // \\\" y"), (4, "i\"j"), (5, "l")]);
    }

    #[test]
    fn a_test_module_at_the_end_is_not_shipped_code() {
        let text = "//! a\nfn b() {}\n#[cfg(test)]\nmod tests {\n fn c() {}\n}\n";
        let file = File::new("src/a.rs", text);
        assert_eq!(file.tests_from, 3);
        assert_eq!(file.shipped_code().count(), 2);
        for path in ["tests/a.rs", "src/b/tests.rs", "src/b/tests/c.rs"] {
            assert_eq!(File::new(path, text).tests_from, 1, "{path}");
        }
        let shared = text.replace("mod tests", "pub(super) mod tests");
        assert_eq!(File::new("src/a.rs", &shared).tests_from, 3);
        let declared = File::new("src/a.rs", "#[cfg(test)]\nmod tests;\nfn shipped() {}\n");
        assert_eq!(declared.tests_from, 5);
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(
            words("unsafe_code unsafe {", "unsafe").collect::<Vec<_>>(),
            [12]
        );
    }
}
