//! Random events: a line of JSON with everything that is awkward, and labels.
//!
//! Owns: what lines are like. Few keys, so that paths hit; keys twice, empty, escaped, with lone surrogates; numbers of
//! every form; strings that look like something else, or cross the borders of the engine's chunks of 64 and 512 bytes
//! with quotes and backslashes; white space; nesting to the limit. Promises: every line is one that `validate` accepts.

use weir::event::{InputId, Labels};
use weir::limits::NESTING_DEPTH_MAX;
use weir::position::Timestamp;

use crate::random::Random;

/// Keys of events, of which rules make their paths.
pub(crate) const KEYS: [&str; 14] = [
    "a", "b", "c", "ab", "A", "", "é", "a.b", "severity", "crn", "😀", "q\"t", "s\\h", "\u{fffd}",
];

/// Strings of events, labels and rules.
pub(crate) const WORDS: [&str; 52] = [
    "",
    " ",
    "x",
    "login",
    "Login",
    "LOGIN user",
    "user-login",
    "_login",
    "login1",
    "kafka-12",
    "a_b-c.d",
    "10.1.2.3",
    " 192.168.0.1 ",
    "::ffff:10.0.0.1",
    "2001:db8::1",
    "2001:DB8:0::ff",
    "crn:v1:bluemix:public:iam-am:us-south:a/1:2::",
    "crn:v1:x:y:é:",
    "crn:a:b:c::d",
    "crn:a:b",
    "xcrn:a:b:c:d",
    "2024-02-29T12:00:00.5Z",
    "2021-1-17T01:02:03+0100",
    "2024-01-01",
    "WARN",
    "error",
    " Info ",
    "normal",
    "6",
    "true",
    "FALSE",
    "null",
    "12",
    "-0",
    " 1e3 ",
    "0x1",
    ".5",
    "École",
    "éCOLE",
    "straße",
    "İstanbul",
    "\u{212a}elvin",
    "😀x",
    "a,b,,c",
    "Zm9v",
    "Zm9=",
    "%41%zz",
    "%C3%A9",
    "ff",
    "01234567-89ab-cdef-0123-456789ABCDEF",
    "\0\u{1f}\u{7f}",
    "tab\tquote\"back\\slash/\u{8}\u{c}\r\n",
];

/// Numbers of events and rules.
pub(crate) const NUMBERS: [&str; 32] = [
    "0",
    "-0",
    "0.0",
    "1",
    "2",
    "3",
    "6",
    "12",
    "12.0",
    "1.2e1",
    "-1.5",
    "2.5",
    "404",
    "500",
    "5.00E+2",
    "0.1",
    "1e-7",
    "-1e-7",
    "65",
    "1.9",
    "9007199254740992",
    "9007199254740993",
    "9007199254740993.0",
    "18446744073709551616",
    "-123456789012345678901234567890.5",
    "1e400",
    "-1E400",
    "1e-400",
    "1e999999999",
    "1e-999999999",
    "0e99999999999999999999999",
    "1700000000123",
];

/// An event as the engine takes it.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) line: String,
    pub(crate) labels: Labels,
    pub(crate) received: Timestamp,
}

impl Event {
    pub(crate) fn random(random: &mut Random) -> Self {
        let mut labels = Labels::of_input(InputId(1));
        if random.percent(60) {
            let mut text = || {
                let word = random.pick(&WORDS);
                random.percent(60).then(|| word.into())
            };
            labels.application = text();
            labels.subsystem = text();
            labels.host = text();
            labels.level = text();
            labels.env = text();
            labels.sender = text();
            labels.tags = random.percent(40).then(|| {
                random
                    .pick(&["red", "red, login ,x", "a,b,,c", "É , ", ","])
                    .into()
            });
            labels.peer = random.percent(40).then(|| {
                random
                    .pick(&[
                        "10.1.2.3:514",
                        "[2001:db8::1]:6514",
                        "/var/log/x",
                        "topic:3",
                    ])
                    .into()
            });
            labels.meta = random.percent(40).then(|| object(random, 2).into());
            labels.event_time = random.percent(40).then(|| time(random));
        }
        let line = object(random, 4);
        let received = time(random);
        Self {
            line,
            labels,
            received,
        }
    }
}

/// One of few times, so that rules meet them.
pub(crate) fn time(random: &mut Random) -> Timestamp {
    Timestamp(random.pick(&[
        0,
        -1,
        1_700_000_000_123_456,
        1_700_000_000_123_000,
        1_700_000_000_000_000,
        1_709_208_000_500_000,
    ]))
}

/// An object with white space around it.
fn object(random: &mut Random, depth: usize) -> String {
    let mut writer = Writer {
        out: String::new(),
        spaced: random.percent(25),
        random,
    };
    writer.space();
    if writer.random.percent(2) {
        writer.chain();
    } else {
        writer.object(depth);
    }
    writer.space();
    writer.out
}

struct Writer<'r> {
    random: &'r mut Random,
    out: String,
    spaced: bool,
}

impl Writer<'_> {
    fn space(&mut self) {
        if self.spaced {
            for _ in 0..self.random.index(3) {
                self.out.push(self.random.pick(&[' ', '\t', '\r', '\n']));
            }
        }
    }

    fn object(&mut self, depth: usize) {
        let most = if depth >= 4 { 8 } else { 4 };
        // A wide object now and then, so that what a rule asks for comes late.
        let members = if self.random.percent(2) {
            self.random.between(20, 80)
        } else {
            self.random.between(0, most)
        };
        self.out.push('{');
        self.space();
        for member in 0..members {
            if member > 0 {
                self.out.push(',');
                self.space();
            }
            if members > most && self.random.percent(90) {
                self.out.push_str(&format!("\"k{member}\":{member}"));
                continue;
            }
            self.key();
            self.value(depth - 1);
            self.space();
        }
        self.out.push('}');
    }

    fn key(&mut self) {
        if self.random.percent(2) {
            self.out.push_str(r#""\uD800""#);
        } else if self.random.percent(1) {
            self.long_string();
        } else {
            let keys = if self.random.percent(60) {
                &KEYS[..3]
            } else {
                &KEYS[..]
            };
            let key = self.random.pick(keys);
            let escaped_percent = self.random.pick(&[0, 0, 0, 10, 100]);
            self.string(key, escaped_percent);
        }
        self.space();
        self.out.push(':');
        self.space();
    }

    fn value(&mut self, depth: usize) {
        match self.random.index(if depth > 0 { 14 } else { 9 }) {
            0 => self.out.push_str("null"),
            1 => {
                let word = self.random.pick(&["true", "false"]);
                self.out.push_str(word);
            }
            2..=3 => self.number(),
            4..=7 => {
                let word = self.random.pick(&WORDS);
                let escaped_percent = self.random.pick(&[0, 0, 0, 10, 100]);
                self.string(word, escaped_percent);
            }
            8 => self.long_string(),
            9..=10 => self.array(depth),
            _ => self.object(depth),
        }
    }

    fn array(&mut self, depth: usize) {
        self.out.push('[');
        self.space();
        for element in 0..self.random.index(4) {
            if element > 0 {
                self.out.push(',');
                self.space();
            }
            self.value(depth - 1);
            self.space();
        }
        self.out.push(']');
    }

    fn number(&mut self) {
        match self.random.index(20) {
            0 => {
                // An exponent of hundreds of digits.
                let digits = "7".repeat(self.random.between(30, 300));
                let sign = self.random.pick(&["", "-", "+"]);
                self.out.push_str(&format!("-3.5e{sign}{digits}"));
            }
            1 => {
                let digits = "8".repeat(self.random.between(15, 90));
                self.out.push_str(&format!("{digits}.25"));
            }
            2..=4 => {
                let number = self.random.index(1000);
                self.out.push_str(&format!("{number}"));
            }
            _ => {
                let number = self.random.pick(&NUMBERS);
                self.out.push_str(number);
            }
        }
    }

    /// So many in a hundred characters are written as an escape though they need none.
    fn string(&mut self, text: &str, escaped_percent: usize) {
        self.out.push('"');
        for character in text.chars() {
            if escaped_percent > 0 && self.random.percent(escaped_percent) {
                self.escape(character);
                continue;
            }
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                '/' if self.random.percent(50) => self.out.push_str("\\/"),
                control if control < ' ' => self.escape(control),
                plain => self.out.push(plain),
            }
        }
        self.out.push('"');
    }

    fn escape(&mut self, character: char) {
        for unit in character.encode_utf16(&mut [0; 2]) {
            self.out.push_str(&if self.random.percent(50) {
                format!("\\u{unit:04x}")
            } else {
                format!("\\u{unit:04X}")
            });
        }
    }

    /// A string that ends near a border of 64 or 512 bytes, made of what a scanner stumbles over.
    fn long_string(&mut self) {
        const PIECES: [&str; 14] = [
            "login ",
            "x",
            "\\\\",
            "\\\"",
            "\\\\\\\\\\\\\\\\",
            "é",
            "😀",
            "\\ud83d\\ude00",
            "\\ud83d",
            "\\udc00x",
            "\\u0022,\\u0022a\\u0022:1",
            "{",
            "}],:",
            "\\u0000",
        ];
        let border = self.random.pick(&[64, 64, 128, 512, 1024]);
        let end = border * (self.out.len() / border + 1) + self.random.index(5);
        let filler = self.random.percent(60);
        self.out.push('"');
        while self.out.len() + 3 < end {
            let piece = if filler && self.out.len() + 12 < end {
                "padding with words "
            } else {
                self.random.pick(&PIECES)
            };
            self.out.push_str(piece);
        }
        self.out.push('"');
    }

    /// As deep as is allowed, or nearly.
    fn chain(&mut self) {
        let depth = self
            .random
            .between(NESTING_DEPTH_MAX - 28, NESTING_DEPTH_MAX);
        let mut ends = Vec::new();
        for level in 0..depth {
            if level == 0 || self.random.percent(70) {
                self.out.push('{');
                ends.push('}');
                if level + 1 < depth {
                    self.key();
                }
            } else {
                self.out.push('[');
                ends.push(']');
            }
        }
        self.out.extend(ends.into_iter().rev());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Document, is_number};

    #[test]
    fn every_line_is_valid_and_every_number_a_number() {
        for seed in 0..20_000 {
            let event = Event::random(&mut Random::new(seed));
            let verdict = weir::ingest::validate::validate(event.line.as_bytes());
            assert!(verdict.is_ok(), "seed {seed}: {verdict:?} {}", event.line);
            assert!(
                Document::parse(event.line.as_bytes()).is_some(),
                "{}",
                event.line
            );
            if let Some(meta) = &event.labels.meta {
                assert!(weir::ingest::validate::validate(meta.as_bytes()).is_ok());
            }
        }
        assert!(NUMBERS.iter().all(|number| is_number(number)));
    }
}
