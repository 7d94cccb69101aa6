//! Events as a pure function of (run, sender, sequence) plus the send time written into them.
//!
//! Owns the pool (about 1 MiB of pregenerated events that every sender walks from its own starting
//! point) and the stamp that makes each event unique. Composing costs a copy and three fixed-width
//! numbers; nobody has to remember what was sent, because anybody can compose it again: the sender
//! after a broken connection, the verifier to compare what was delivered byte by byte.
//!
//! An event on the wire, all on one line; the stamp is its last 85 bytes:
//!
//! ```text
//! {…realistic fields…,"run":"a1b2c3d4","sender":"00007","seq":1000000000000042,"sent_us":1763712000000000}
//!  body                                                                                             \n
//! ```
//!
//! The run id's first letter tells the kind (`a`udit, `w`af, `m`ixed), the rest seeds the pool.

mod audit;
mod random;
mod waf;

use std::fmt;
use std::str::FromStr;

use self::random::Random;

/// What the events of a run look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(crate) enum Kind {
    /// About 1.4 KB, Activity Tracker form.
    Audit,
    /// About 220 B, flat edge firewall records.
    Waf,
    /// Both in equal number.
    Mixed,
}

/// Names a run and determines the content of all its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RunId {
    kind: Kind,
    /// 28 bits, written as seven hexadecimal digits.
    seed: u32,
}

/// All events of a run, without their senders and sequence numbers. About [`POOL_BYTES`].
#[derive(Debug)]
pub(crate) struct Pool {
    /// Events one behind the other, each with a stamp of zeros and its `\n`.
    bytes: Vec<u8>,
    /// Where each event starts; one more entry than events, the last is `bytes.len()`.
    starts: Vec<usize>,
}

/// Who sent an event, which one it is and when it was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The run that made the event.
    pub(crate) run: RunId,
    /// The sender within the run, 0 to [`SENDER_MAX`].
    pub(crate) sender: u32,
    /// Counted from 0 for each sender, below [`SEQUENCE_MAX`].
    pub(crate) sequence: u64,
    /// Intended send time, microseconds since 1970.
    pub(crate) sent_us: u64,
}

/// A stretch of one sender's events: `count` of them from `first` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Sequence of the first event.
    pub(crate) first: u64,
    /// Number of events.
    pub(crate) count: u64,
}

impl Span {
    /// The sequence after the last event.
    pub(crate) fn end(self) -> u64 {
        self.first + self.count
    }
}

impl RunId {
    /// A run of `kind`; only the low 28 bits of `seed` count.
    pub(crate) fn new(kind: Kind, seed: u64) -> Self {
        let seed = u32::try_from(seed & 0x0fff_ffff).expect("28 bits");
        Self { kind, seed }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let kind = match text.first()? {
            b'a' => Kind::Audit,
            b'w' => Kind::Waf,
            b'm' => Kind::Mixed,
            _ => return None,
        };
        let digits = text.get(1..).filter(|digits| digits.len() == 7)?;
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if !digits.iter().all(is_digit) {
            return None;
        }
        let seed = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        Some(Self { kind, seed })
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.kind {
            Kind::Audit => 'a',
            Kind::Waf => 'w',
            Kind::Mixed => 'm',
        };
        write!(f, "{letter}{:07x}", self.seed)
    }
}

impl FromStr for RunId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text.as_bytes())
            .ok_or_else(|| format!("`{text}` is not a run id: a, w or m and seven hex digits"))
    }
}

impl Pool {
    /// Generates the events of `run`; takes some ten milliseconds.
    pub(crate) fn generate(run: RunId) -> Self {
        let random = &mut Random::new(u64::from(run.seed));
        let account = &mut audit::Account::draw(random);
        let mut text = String::with_capacity(POOL_BYTES + 4_096);
        let mut starts = vec![0];
        while text.len() < POOL_BYTES {
            match run.kind {
                Kind::Waf => waf::write_event(&mut text, random),
                Kind::Mixed if starts.len() % 2 == 0 => waf::write_event(&mut text, random),
                Kind::Audit | Kind::Mixed => audit::write_event(&mut text, random, account),
            }
            text.push_str(&stamp_text(run));
            text.push('\n');
            starts.push(text.len());
        }
        Self {
            bytes: text.into_bytes(),
            starts,
        }
    }

    /// Number of different bodies; sequences walk them round and round.
    pub(crate) fn events(&self) -> usize {
        self.starts.len() - 1
    }

    /// Mean length of an event with its line end, bytes.
    pub(crate) fn event_bytes_mean(&self) -> f64 {
        self.bytes.len() as f64 / self.events() as f64
    }

    /// Length of all events of `span` with their line ends, bytes.
    pub(crate) fn span_bytes(&self, sender: u32, span: Span) -> u64 {
        let laps = span.count / self.events() as u64;
        let rest = usize::try_from(span.count % self.events() as u64).expect("below a usize");
        let start = self.index(sender, span.first);
        let end = start + rest;
        let partial = if end <= self.events() {
            self.starts[end] - self.starts[start]
        } else {
            self.bytes.len() - self.starts[start] + self.starts[end - self.events()]
        };
        laps * self.bytes.len() as u64 + partial as u64
    }

    /// How many events from `first` on fit into `bytes_max`; at least one.
    pub(crate) fn events_within(&self, sender: u32, first: u64, bytes_max: usize) -> u64 {
        let start = self.index(sender, first);
        // Stopping at the pool's end keeps this a search in a sorted list.
        let limit = self.starts[start] + bytes_max;
        let end = self.starts.partition_point(|&offset| offset <= limit) - 1;
        (end.max(start + 1) - start) as u64
    }

    /// Appends the events of `span` to `out`, all stamped with `sent_us`.
    pub(crate) fn compose(&self, out: &mut Vec<u8>, sender: u32, span: Span, sent_us: u64) {
        let sender_digits: [u8; SENDER_DIGITS] = digits(u64::from(sender));
        let sent_digits: [u8; NUMBER_DIGITS] = digits(sent_us);
        let mut sequence_digits: [u8; NUMBER_DIGITS] = digits(SEQUENCE_BASE + span.first);
        let mut index = self.index(sender, span.first);
        let mut left = usize::try_from(span.count).expect("a span in memory");
        while left > 0 {
            let count = left.min(self.events() - index);
            let from = self.starts[index];
            let base = out.len();
            out.extend_from_slice(&self.bytes[from..self.starts[index + count]]);
            for &next in &self.starts[index + 1..=index + count] {
                let stamp_start = base + (next - from) - 1 - STAMP_BYTES;
                let stamp = &mut out[stamp_start..stamp_start + STAMP_BYTES];
                stamp[SENDER_AT..SENDER_AT + SENDER_DIGITS].copy_from_slice(&sender_digits);
                stamp[SEQUENCE_AT..SEQUENCE_AT + NUMBER_DIGITS].copy_from_slice(&sequence_digits);
                stamp[SENT_AT..SENT_AT + NUMBER_DIGITS].copy_from_slice(&sent_digits);
                increment(&mut sequence_digits);
            }
            left -= count;
            index = 0;
        }
    }

    /// Whether `line` (without its line end), found to carry `stamp`, is what `compose` makes.
    pub(crate) fn matches(&self, line: &[u8], stamp: &Stamp) -> bool {
        let index = self.index(stamp.sender, stamp.sequence);
        let expected = &self.bytes[self.starts[index]..self.starts[index + 1] - 1];
        let body = expected.len() - STAMP_BYTES;
        line.len() == expected.len()
            && line[..body] == expected[..body]
            && Stamp::parse_exact(&line[body..]).as_ref() == Some(stamp)
    }

    /// Senders start spread over the pool, so that neighbours in a block do not repeat each other.
    fn index(&self, sender: u32, sequence: u64) -> usize {
        let events = self.events() as u64;
        let start = u64::from(sender).wrapping_mul(0x9e37_79b9_7f4a_7c15) % events;
        usize::try_from((start + sequence % events) % events).expect("below a usize")
    }
}

impl Stamp {
    /// Reads the stamp of a line: at its end, or wherever a relay that adds fields has moved it.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let at_end = line
            .len()
            .checked_sub(STAMP_BYTES)
            .and_then(|at| Self::parse_exact(&line[at..]));
        at_end.or_else(|| {
            memchr::memmem::find_iter(line, &RUN_KEY[1..]).find_map(|at| {
                let start = at.checked_sub(1)?;
                Self::parse_fields(line.get(start..start + STAMP_BYTES - 1)?)
            })
        })
    }

    /// Reads exactly the 85 bytes `compose` writes.
    fn parse_exact(text: &[u8]) -> Option<Self> {
        let (&last, fields) = text.split_last()?;
        if last == b'}' {
            Self::parse_fields(fields)
        } else {
            None
        }
    }

    fn parse_fields(fields: &[u8]) -> Option<Self> {
        let literal = |at: usize, key: &[u8]| fields.get(at..at + key.len()) == Some(key);
        let keys = literal(1, &RUN_KEY[1..])
            && literal(SENDER_AT - SENDER_KEY.len(), SENDER_KEY)
            && literal(SEQUENCE_AT - SEQUENCE_KEY.len(), SEQUENCE_KEY)
            && literal(SENT_AT - SENT_KEY.len(), SENT_KEY);
        if !keys {
            return None;
        }
        let number = |at: usize, length: usize| parse_digits(fields.get(at..at + length)?);
        Some(Self {
            run: RunId::parse(fields.get(RUN_AT..RUN_AT + RUN_DIGITS)?)?,
            sender: u32::try_from(number(SENDER_AT, SENDER_DIGITS)?).ok()?,
            sequence: number(SEQUENCE_AT, NUMBER_DIGITS)?
                .checked_sub(SEQUENCE_BASE)
                .filter(|&sequence| sequence < SEQUENCE_MAX)?,
            sent_us: number(SENT_AT, NUMBER_DIGITS)?,
        })
    }
}

fn stamp_text(run: RunId) -> String {
    let zeros = digits::<NUMBER_DIGITS>(SEQUENCE_BASE);
    let zeros = std::str::from_utf8(&zeros).expect("ASCII digits");
    format!(",\"run\":\"{run}\",\"sender\":\"00000\",\"seq\":{zeros},\"sent_us\":{zeros}}}")
}

fn digits<const N: usize>(mut number: u64) -> [u8; N] {
    let mut text = [b'0'; N];
    for place in text.iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
    }
    text
}

fn increment(text: &mut [u8]) {
    for place in text.iter_mut().rev() {
        if *place < b'9' {
            *place += 1;
            return;
        }
        *place = b'0';
    }
}

fn parse_digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0_u64, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + u64::from(byte - b'0'))
    })
}

/// Enough that no repetition lies within a compressor's 32 KiB window or one block of a relay, and
/// little enough to stay in a core's second-level cache.
const POOL_BYTES: usize = 1 << 20;
/// The largest sender number: five digits.
pub(crate) const SENDER_MAX: u32 = 99_999;
/// Sequences are written as numbers of fixed width, which JSON allows only without leading zeros.
const SEQUENCE_BASE: u64 = 1_000_000_000_000_000;
/// Sequences stay below this, so that a damaged number cannot make the verifier's maps huge.
pub(crate) const SEQUENCE_MAX: u64 = 1 << 36;

const RUN_KEY: &[u8] = b",\"run\":\"";
const SENDER_KEY: &[u8] = b"\",\"sender\":\"";
const SEQUENCE_KEY: &[u8] = b"\",\"seq\":";
const SENT_KEY: &[u8] = b",\"sent_us\":";
const RUN_DIGITS: usize = 8;
const SENDER_DIGITS: usize = 5;
const NUMBER_DIGITS: usize = 16;
const RUN_AT: usize = RUN_KEY.len();
const SENDER_AT: usize = RUN_AT + RUN_DIGITS + SENDER_KEY.len();
const SEQUENCE_AT: usize = SENDER_AT + SENDER_DIGITS + SEQUENCE_KEY.len();
const SENT_AT: usize = SEQUENCE_AT + NUMBER_DIGITS + SENT_KEY.len();
const STAMP_BYTES: usize = SENT_AT + NUMBER_DIGITS + 1;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn pool(kind: Kind) -> Pool {
        Pool::generate(RunId::new(kind, 7))
    }

    fn composed(pool: &Pool, sender: u32, first: u64, count: u64) -> Vec<u8> {
        let mut out = Vec::new();
        pool.compose(
            &mut out,
            sender,
            Span { first, count },
            1_763_712_345_678_901,
        );
        out
    }

    #[test]
    fn events_are_a_pure_function_of_run_sender_and_sequence() {
        let whole = composed(&pool(Kind::Mixed), 3, 0, 5_000);
        let second = pool(Kind::Mixed);
        let mut pieces = Vec::new();
        for first in (0..5_000).step_by(1_000) {
            pieces.extend(composed(&second, 3, first, 1_000));
        }
        assert!(whole == pieces);
        assert!(whole != composed(&second, 4, 0, 5_000));
        assert_ne!(
            second.bytes,
            Pool::generate(RunId::new(Kind::Mixed, 8)).bytes
        );
    }

    #[test]
    fn every_event_is_one_json_object_with_its_own_stamp() {
        for kind in [Kind::Audit, Kind::Waf, Kind::Mixed] {
            let pool = pool(kind);
            let count = pool.events() as u64 + 10;
            let out = composed(&pool, 12_345, 99_990, count);
            let lines: Vec<&[u8]> = out.split(|&byte| byte == b'\n').collect();
            assert_eq!(lines.len() as u64, count + 1);
            for (sequence, line) in (99_990..).zip(&lines[..lines.len() - 1]) {
                let value: serde_json::Value = serde_json::from_slice(line).unwrap();
                assert_eq!(value["seq"].as_u64().unwrap(), SEQUENCE_BASE + sequence);
                assert_eq!(value["sender"], "12345");
                assert_eq!(value["sent_us"].as_u64().unwrap(), 1_763_712_345_678_901);
                let stamp = Stamp::parse(line).unwrap();
                assert_eq!((stamp.sequence, stamp.sender), (sequence, 12_345));
                assert!(pool.matches(line, &stamp));
            }
        }
    }

    #[test]
    fn sizes_and_variety_are_those_of_real_events() {
        let audit = pool(Kind::Audit);
        assert!(
            (1_300.0..1_500.0).contains(&audit.event_bytes_mean()),
            "{}",
            audit.event_bytes_mean()
        );
        let waf = pool(Kind::Waf);
        assert!(
            (200.0..240.0).contains(&waf.event_bytes_mean()),
            "{}",
            waf.event_bytes_mean()
        );
        let mut actions = std::collections::HashSet::new();
        for line in composed(&audit, 0, 0, audit.events() as u64).split(|&byte| byte == b'\n') {
            if let Ok(value) = serde_json::from_slice::<serde_json::Value>(line) {
                actions.insert(value["action"].to_string());
            }
        }
        assert!(actions.len() > 200, "{} distinct actions", actions.len());
    }

    #[test]
    fn gzip_ratio_is_that_of_real_events() {
        for (kind, expected) in [(Kind::Audit, 6.5..10.0), (Kind::Waf, 3.5..6.0)] {
            let pool = pool(kind);
            let mut out = Vec::new();
            let count = pool.events_within(0, 0, 512 << 10);
            pool.compose(&mut out, 0, Span { first: 0, count }, 1_763_712_345_678_901);
            let mut ratios = [0.0; 2];
            for (level, ratio) in [1, 2].into_iter().zip(&mut ratios) {
                let level = flate2::Compression::new(level);
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(&out).unwrap();
                *ratio = out.len() as f64 / encoder.finish().unwrap().len() as f64;
            }
            eprintln!(
                "{kind:?} {:.0} B: gzip levels 1 and 2: {ratios:.2?}",
                pool.event_bytes_mean()
            );
            assert!(expected.contains(&ratios[1]), "{kind:?} {ratios:?}");
        }
    }

    #[test]
    fn span_bytes_are_the_composed_length() {
        let pool = pool(Kind::Waf);
        for (first, count) in [(0, 1), (17, 4_000), (5, 100_000), (0, pool.events() as u64)] {
            let expected = composed(&pool, 2, first, count).len() as u64;
            assert_eq!(pool.span_bytes(2, Span { first, count }), expected);
        }
    }

    #[test]
    fn events_within_never_exceeds_the_limit_but_for_a_single_event() {
        let pool = pool(Kind::Audit);
        for first in 0..2_000 {
            let count = pool.events_within(1, first, 10_000);
            assert!(count >= 1);
            assert!(count == 1 || pool.span_bytes(1, Span { first, count }) <= 10_000);
        }
        assert_eq!(pool.events_within(1, 0, 0), 1);
    }

    #[test]
    fn stamp_is_found_behind_added_fields_but_content_then_differs() {
        let pool = pool(Kind::Waf);
        let mut line = composed(&pool, 9, 4, 1);
        line.truncate(line.len() - 2);
        line.extend_from_slice(b",\"relay\":\"x\"}");
        let stamp = Stamp::parse(&line).unwrap();
        assert_eq!((stamp.sender, stamp.sequence), (9, 4));
        assert!(!pool.matches(&line, &stamp));
    }

    #[test]
    fn changed_bytes_are_not_a_match() {
        let pool = pool(Kind::Audit);
        let line = composed(&pool, 9, 4, 1);
        let line = &line[..line.len() - 1];
        let stamp = Stamp::parse(line).unwrap();
        for at in (0..line.len() - STAMP_BYTES).step_by(13) {
            let mut changed = line.to_vec();
            changed[at] ^= 1;
            assert!(!pool.matches(&changed, &stamp));
        }
        assert_eq!(Stamp::parse(b"{\"a\":1}"), None);
        assert_eq!(Stamp::parse(b""), None);
    }
}
