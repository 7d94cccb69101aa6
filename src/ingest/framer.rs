//! Cuts received bytes into lines, in place: the receive buffer's accepted lines are what the block stores.
//!
//! Owns: line ends (`\n` or `\r\n`), the partial last line of a connection, line numbers, and the policy for lines
//! that never end. Pure: bytes in, bytes and verdicts out.
//!
//! The walk over one receive, with `carried` bytes of a partial line from the receive before:
//!
//! ```text
//! buffer  | accepted so far |<- start: gap for the carry |<- received          end ->| room |
//! after   | accepted so far | accepted lines, each ended by one \n |<- accepted_end
//! ```
//!
//! The caller receives behind a gap of [`LineState::carried`] bytes. Only when a line end arrives is the carry copied
//! into the gap, so a line that comes byte by byte is neither copied nor searched again with each of them. Bytes move
//! only when a line before them was not accepted or lost its `\r`.
//!
//! Promises: accepted lines keep their bytes and order; each line is judged once; a line without end costs its
//! connection at most `line_bytes_max` and a few bytes, is reported once as `too_long`, and the connection lives.
//! Leaves to others: room in the buffer, the memory budget (carries are part of it, see [`LineState::memory`]), and
//! what is done with rejects.

use super::admission::{Reject, Verdict};
use crate::limits::REJECT_SAMPLE_BYTES_MAX;

/// Where one connection or body stands between two receives.
#[derive(Debug)]
pub struct LineState {
    line_bytes_max: usize,
    /// Lines whose end was seen, or that were given up as too long: the number of the last one, counted from 1.
    lines: u64,
    /// The rest of a line that was given up is thrown away up to its end. The carry is empty then.
    skipping: bool,
    /// The bytes of a line whose end has not arrived. Holds no `\n`, at most `line_bytes_max + 1` bytes.
    carry: Vec<u8>,
}

/// What came of one receive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Lines accepted.
    pub accepted: u32,
    /// `buffer[..accepted_end]` holds what it held before `start`, then the accepted lines, each ended by one `\n`.
    pub accepted_end: usize,
    /// Lines rejected.
    pub rejected: u32,
    /// Bytes of the rejected lines without line ends, as far as they were seen when the line was rejected.
    pub rejected_bytes: u64,
    /// Lines that an exclusion rule drops.
    pub excluded: u32,
    /// Their bytes, without line ends.
    pub excluded_bytes: u64,
}

/// A rejected line, for the reject record and the sender.
#[derive(Debug, PartialEq, Eq)]
pub struct RejectedLine<'a> {
    /// Its number in the connection or body, counted from 1; empty lines count.
    pub number: u64,
    /// Why.
    pub reject: Reject,
    /// Its first bytes, at most [`REJECT_SAMPLE_BYTES_MAX`].
    pub sample: &'a [u8],
}

/// What the framer asks of its caller.
pub trait Judge {
    /// Is this line, without its end, an event?
    fn judge(&mut self, line: &[u8]) -> Verdict;
    /// As [`Judge::judge`], for a last line that no line end followed.
    fn judge_unterminated(&mut self, line: &[u8]) -> Verdict;
    /// Takes note of a rejected line.
    fn rejected(&mut self, line: RejectedLine<'_>);
}

impl LineState {
    /// At the start of a connection or body. Allocates nothing.
    pub fn new(line_bytes_max: usize) -> Self {
        Self {
            line_bytes_max,
            lines: 0,
            skipping: false,
            carry: Vec::new(),
        }
    }

    /// Bytes of the partial line: the gap that the next receive must leave free in front of it.
    pub fn carried(&self) -> usize {
        self.carry.len()
    }

    /// Bytes of memory held for the partial line.
    pub fn memory(&self) -> usize {
        self.carry.capacity()
    }

    /// Number of the last line whose fate is decided, counted from 1; 0 before the first.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Cuts `buffer[start + self.carried()..end]`, the bytes just received, and judges the lines that end in it.
    ///
    /// # Panics
    /// When `start + self.carried() > end` or `end > buffer.len()`.
    pub fn cut(
        &mut self,
        buffer: &mut [u8],
        start: usize,
        end: usize,
        judge: &mut impl Judge,
    ) -> Cut {
        let gap_end = start + self.carry.len();
        assert!(
            gap_end <= end && end <= buffer.len(),
            "a receive lies behind its gap, within its buffer"
        );
        let mut walk = Walk::new(start);
        let Some(first_end) = memchr::memchr(b'\n', &buffer[gap_end..end]) else {
            self.keep(&buffer[gap_end..end], &mut walk, judge);
            return walk.cut;
        };
        let first_end = gap_end + first_end;
        let mut line_start = first_end + 1;
        if self.skipping {
            self.skipping = false;
        } else {
            buffer[start..gap_end].copy_from_slice(&self.carry);
            self.lines += 1;
            walk.line(buffer, start..first_end, self.lines, judge);
        }
        self.carry.clear();
        // A connection that once sent a long line need not hold its memory for ever.
        self.carry.shrink_to(CARRY_BYTES_KEPT);
        while let Some(length) = memchr::memchr(b'\n', &buffer[line_start..end]) {
            self.lines += 1;
            walk.line(buffer, line_start..line_start + length, self.lines, judge);
            line_start += length + 1;
        }
        walk.settle(buffer);
        self.keep(&buffer[line_start..end], &mut walk, judge);
        walk.cut
    }

    /// Ends the connection or body: a last line without line end is judged like any other, and copied to `start` when
    /// it is accepted. One that was cut short is `malformed`, since no object is complete before its last byte.
    ///
    /// # Panics
    /// When `buffer` has no room for [`LineState::carried`] bytes and a `\n` at `start`.
    pub fn finish(&mut self, buffer: &mut [u8], start: usize, judge: &mut impl Judge) -> Cut {
        let mut walk = Walk::new(start);
        let carry = std::mem::take(&mut self.carry);
        self.skipping = false;
        if carry.is_empty() {
            return walk.cut;
        }
        self.lines += 1;
        let line = without_return(&carry);
        match judge.judge_unterminated(line) {
            Verdict::Accept => {
                let end = start + line.len();
                buffer[start..end].copy_from_slice(line);
                buffer[end] = b'\n';
                walk.cut.accepted = 1;
                walk.cut.accepted_end = end + 1;
            }
            Verdict::Skip => {}
            Verdict::Exclude => walk.exclude(line),
            Verdict::Reject(reject) => walk.reject(line, self.lines, reject, judge),
        }
        walk.cut
    }

    /// Keeps the bytes of a line that has not ended, unless it is over the limit already.
    fn keep(&mut self, bytes: &[u8], walk: &mut Walk, judge: &mut impl Judge) {
        if self.skipping || bytes.is_empty() {
            return;
        }
        // One byte more may be the `\r` of a line just within the limit.
        let carry_bytes_max = self.line_bytes_max.saturating_add(1);
        let room = carry_bytes_max - self.carry.len();
        if bytes.len() <= room {
            self.carry.extend_from_slice(bytes);
            return;
        }
        let sample_room = REJECT_SAMPLE_BYTES_MAX
            .saturating_sub(self.carry.len())
            .min(bytes.len());
        let seen = self.carry.len() + bytes.len();
        let mut sample = std::mem::take(&mut self.carry);
        sample.extend_from_slice(&bytes[..sample_room]);
        self.skipping = true;
        self.lines += 1;
        let reject = Reject::TooLong {
            line_bytes_max: self.line_bytes_max,
        };
        walk.reject(&sample, self.lines, reject, judge);
        walk.cut.rejected_bytes += (seen - sample.len()) as u64;
    }
}

/// Moves accepted lines together.
struct Walk {
    cut: Cut,
    /// Accepted lines not yet moved to `cut.accepted_end`, the last byte being a `\n`. Lines that follow one another
    /// move as one, and not at all where they stand right.
    run: std::ops::Range<usize>,
}

impl Walk {
    fn new(start: usize) -> Self {
        Self {
            cut: Cut {
                accepted_end: start,
                ..Cut::default()
            },
            run: start..start,
        }
    }

    /// Judges `buffer[line]`, behind which a `\n` stands.
    #[inline]
    fn line(
        &mut self,
        buffer: &mut [u8],
        line: std::ops::Range<usize>,
        number: u64,
        judge: &mut impl Judge,
    ) {
        let text = without_return(&buffer[line.clone()]);
        match judge.judge(text) {
            Verdict::Accept => {
                self.cut.accepted += 1;
                let text_end = line.start + text.len();
                if line.start != self.run.end {
                    self.settle(buffer);
                    self.run = line.start..line.start;
                }
                // Over the `\r`, if there was one.
                buffer[text_end] = b'\n';
                self.run.end = text_end + 1;
            }
            Verdict::Skip => {}
            Verdict::Exclude => self.exclude(text),
            Verdict::Reject(reject) => self.reject(text, number, reject, judge),
        }
    }

    fn exclude(&mut self, text: &[u8]) {
        self.cut.excluded += 1;
        self.cut.excluded_bytes += text.len() as u64;
    }

    #[cold]
    fn reject(&mut self, text: &[u8], number: u64, reject: Reject, judge: &mut impl Judge) {
        self.cut.rejected += 1;
        self.cut.rejected_bytes += text.len() as u64;
        judge.rejected(RejectedLine {
            number,
            reject,
            sample: &text[..text.len().min(REJECT_SAMPLE_BYTES_MAX)],
        });
    }

    /// Moves the run to where it belongs.
    fn settle(&mut self, buffer: &mut [u8]) {
        let to = self.cut.accepted_end;
        if self.run.start != to && !self.run.is_empty() {
            buffer.copy_within(self.run.clone(), to);
        }
        self.cut.accepted_end = to + self.run.len();
        self.run = self.run.end..self.run.end;
    }
}

/// Entry of the fuzz target: the first byte chooses the size of the receives, which must not change what is stored.
///
/// # Panics
/// When it does, or when the counts do not add up.
#[doc(hidden)]
pub fn fuzz_framer(input: &[u8]) {
    /// Accepts lines that hold no `x`.
    struct NoX(u32);
    impl Judge for NoX {
        fn judge(&mut self, line: &[u8]) -> Verdict {
            match line {
                [] => Verdict::Skip,
                _ if line.len() <= LINE_BYTES_MAX && !line.contains(&b'x') => Verdict::Accept,
                _ => Verdict::Reject(Reject::TooLong {
                    line_bytes_max: LINE_BYTES_MAX,
                }),
            }
        }
        fn judge_unterminated(&mut self, line: &[u8]) -> Verdict {
            self.judge(line)
        }
        fn rejected(&mut self, line: RejectedLine<'_>) {
            assert!(line.sample.len() <= REJECT_SAMPLE_BYTES_MAX && line.number > 0);
            self.0 += 1;
        }
    }
    const LINE_BYTES_MAX: usize = 40;
    let Some((size, input)) = input.split_first() else {
        return;
    };
    let frame = |size: usize| {
        let (mut state, mut judge, mut at) = (LineState::new(LINE_BYTES_MAX), NoX(0), 0);
        let (mut accepted, mut rejected) = (0, 0);
        let mut buffer = vec![0; input.len() + 2 * LINE_BYTES_MAX];
        for receive in input.chunks(size) {
            let from = at + state.carried();
            buffer[from..from + receive.len()].copy_from_slice(receive);
            let cut = state.cut(&mut buffer, at, from + receive.len(), &mut judge);
            at = cut.accepted_end;
            accepted += cut.accepted;
            rejected += cut.rejected;
        }
        let cut = state.finish(&mut buffer, at, &mut judge);
        assert_eq!(rejected + cut.rejected, judge.0);
        buffer.truncate(cut.accepted_end);
        assert_eq!(
            memchr::memchr_iter(b'\n', &buffer).count(),
            (accepted + cut.accepted) as usize
        );
        (buffer, judge.0, state.lines())
    };
    assert_eq!(frame(usize::from(*size).max(1)), frame(input.len().max(1)));
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Capacity that a carry keeps when it is emptied, in bytes: more than most lines, and within what an idle connection
/// may hold.
const CARRY_BYTES_KEPT: usize = 2 << 10;

#[cfg(test)]
mod tests {
    use super::super::admission::Admission;
    use super::*;
    use crate::ingest::settings::Validation;
    use crate::metrics::ledger::RejectReason;
    use proptest::prelude::*;

    const LINE_BYTES_MAX: usize = 24;

    /// Judges as an input does, and remembers what was refused.
    struct Recorder {
        admission: Admission,
        rejected: Vec<(u64, RejectReason, Vec<u8>)>,
    }

    impl Judge for Recorder {
        fn judge(&mut self, line: &[u8]) -> Verdict {
            self.admission.judge(line)
        }
        fn judge_unterminated(&mut self, line: &[u8]) -> Verdict {
            self.admission.judge_unterminated(line)
        }
        fn rejected(&mut self, line: RejectedLine<'_>) {
            self.rejected
                .push((line.number, line.reject.reason(), line.sample.to_vec()));
        }
    }

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Outcome {
        stored: Vec<u8>,
        accepted: u32,
        rejected: Vec<(u64, RejectReason, Vec<u8>)>,
        lines: u64,
    }

    /// Feeds `input` in receives of the given sizes, the last size repeating, then ends the connection.
    fn frame(input: &[u8], sizes: &[usize]) -> Outcome {
        let admission = Admission::new(LINE_BYTES_MAX, Validation::Full);
        let mut judge = Recorder {
            admission,
            rejected: Vec::new(),
        };
        let mut state = LineState::new(LINE_BYTES_MAX);
        let mut buffer = vec![b'#'; 4 * (input.len() + LINE_BYTES_MAX) + 8];
        let (mut at, mut left, mut outcome, mut rejected) = (0, input, Outcome::default(), 0);
        let mut sizes = sizes
            .iter()
            .copied()
            .chain(std::iter::repeat(*sizes.last().expect("a size")));
        while !left.is_empty() {
            let (received, rest) =
                left.split_at(sizes.next().expect("endless").clamp(1, left.len()));
            let from = at + state.carried();
            buffer[from..from + received.len()].copy_from_slice(received);
            let cut = state.cut(&mut buffer, at, from + received.len(), &mut judge);
            assert!(state.carried() <= LINE_BYTES_MAX + 1);
            (at, left) = (cut.accepted_end, rest);
            outcome.accepted += cut.accepted;
            rejected += cut.rejected;
        }
        let cut = state.finish(&mut buffer, at, &mut judge);
        outcome.accepted += cut.accepted;
        buffer.truncate(cut.accepted_end);
        assert_eq!((rejected + cut.rejected) as usize, judge.rejected.len());
        outcome.stored = buffer;
        outcome.rejected = judge.rejected;
        outcome.lines = state.lines();
        outcome
    }

    /// The obvious way: all of the input at once, line by line.
    fn model(input: &[u8]) -> Outcome {
        let admission = Admission::new(LINE_BYTES_MAX, Validation::Full);
        let mut outcome = Outcome::default();
        let mut lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
        if lines.last().is_some_and(|last| last.is_empty()) {
            lines.pop();
        }
        for line in lines {
            outcome.lines += 1;
            let text = line.strip_suffix(b"\r").unwrap_or(line);
            match admission.judge(text) {
                Verdict::Accept => {
                    outcome.accepted += 1;
                    outcome.stored.extend_from_slice(text);
                    outcome.stored.push(b'\n');
                }
                Verdict::Skip | Verdict::Exclude => {}
                Verdict::Reject(reject) => {
                    outcome
                        .rejected
                        .push((outcome.lines, reject.reason(), text.to_vec()))
                }
            }
        }
        outcome
    }

    fn check(input: &str, stored: &str, rejected: &[(u64, RejectReason)]) {
        let outcome = frame(input.as_bytes(), &[usize::MAX]);
        assert_eq!(String::from_utf8_lossy(&outcome.stored), stored);
        let reasons: Vec<_> = outcome
            .rejected
            .iter()
            .map(|(number, reason, _)| (*number, *reason))
            .collect();
        assert_eq!(reasons, rejected, "{input:?}");
    }

    #[test]
    fn accepted_lines_move_together_and_end_in_one_line_feed() {
        check("{}\n{\"a\":1}\n", "{}\n{\"a\":1}\n", &[]);
        check("{}\r\n\r\n\n{\"a\":1}\r\n", "{}\n{\"a\":1}\n", &[]);
        check(
            "{}\nno\n{\"a\":1}\n",
            "{}\n{\"a\":1}\n",
            &[(2, RejectReason::Malformed)],
        );
        check(
            "no\n{}\n{\"b\":2}\n   \n{\"c\":3}\n",
            "{}\n{\"b\":2}\n{\"c\":3}\n",
            &[(1, RejectReason::Malformed)],
        );
    }

    #[test]
    fn a_last_line_without_end_counts_when_it_is_complete() {
        check("{}\n{\"a\":1}", "{}\n{\"a\":1}\n", &[]);
        check("{}\n{\"a\":1}\r", "{}\n{\"a\":1}\n", &[]);
        check("{}\n{\"a\":", "{}\n", &[(2, RejectReason::Malformed)]);
        check("{}\n  ", "{}\n", &[]);
    }

    #[test]
    fn a_line_without_end_is_rejected_once_and_the_connection_lives() {
        let long = "x".repeat(10_000);
        for sizes in [&[usize::MAX][..], &[1], &[7, 30], &[LINE_BYTES_MAX + 1, 1]] {
            let outcome = frame(
                format!("{{}}\n{long}\n{{\"a\":1}}\n{long}").as_bytes(),
                sizes,
            );
            assert_eq!(outcome.stored, b"{}\n{\"a\":1}\n");
            let reasons: Vec<_> = outcome
                .rejected
                .iter()
                .map(|(number, reason, _)| (*number, *reason))
                .collect();
            assert_eq!(
                reasons,
                [(2, RejectReason::TooLong), (4, RejectReason::TooLong)],
                "{sizes:?}"
            );
            for (_, _, sample) in &outcome.rejected {
                assert!(
                    long.as_bytes().starts_with(sample) && sample.len() <= REJECT_SAMPLE_BYTES_MAX
                );
            }
        }
    }

    #[test]
    fn a_line_at_the_limit_passes_with_its_carriage_return_apart() {
        let line = format!("{{\"a\":\"{}\"}}", "x".repeat(LINE_BYTES_MAX - 8));
        assert_eq!(line.len(), LINE_BYTES_MAX);
        for size in 1..=LINE_BYTES_MAX + 2 {
            let outcome = frame(format!("{line}\r\n").as_bytes(), &[size]);
            assert_eq!((outcome.accepted, outcome.rejected.len()), (1, 0));
            let outcome = frame(format!("{line} \n").as_bytes(), &[size]);
            assert_eq!((outcome.accepted, outcome.rejected.len()), (0, 1));
        }
    }

    #[test]
    fn an_emptied_carry_gives_its_memory_back() {
        let mut judge = Recorder {
            admission: Admission::new(1 << 20, Validation::Full),
            rejected: Vec::new(),
        };
        let mut state = LineState::new(1 << 20);
        let mut buffer = vec![b'x'; 1 << 20];
        state.cut(&mut buffer, 0, 1 << 20, &mut judge);
        assert!(state.memory() >= 1 << 20);
        buffer.push(b'\n');
        state.cut(&mut buffer, 0, (1 << 20) + 1, &mut judge);
        assert!(state.memory() <= CARRY_BYTES_KEPT);
    }

    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("{\"a\":1}".to_owned()),
            Just("{}".to_owned()),
            Just("\n".to_owned()),
            Just("\n".to_owned()),
            Just("\r\n".to_owned()),
            Just("\r".to_owned()),
            "[ x{}]{0,4}",
            "x{20,60}",
        ]
    }

    proptest! {
        #[test]
        fn the_fuzz_target_holds_on_random_input(input in prop::collection::vec(prop::sample::select(b"xy\r\n".to_vec()), 0..200)) {
            fuzz_framer(&input);
        }

        #[test]
        fn how_the_bytes_arrive_changes_nothing(
            pieces in prop::collection::vec(piece(), 0..30),
            sizes in prop::collection::vec(1_usize..40, 1..10),
        ) {
            let input = pieces.concat();
            let (framed, model) = (frame(input.as_bytes(), &sizes), model(input.as_bytes()));
            prop_assert_eq!(&framed.stored, &model.stored);
            prop_assert_eq!((framed.accepted, framed.lines), (model.accepted, model.lines));
            prop_assert_eq!(framed.rejected.len(), model.rejected.len());
            // A line given up before its end arrived has a shorter sample, and would not have been seen to be blank.
            for (framed, model) in framed.rejected.iter().zip(&model.rejected) {
                prop_assert_eq!((framed.0, framed.1), (model.0, model.1));
                prop_assert!(model.2.starts_with(&framed.2) || framed.2.starts_with(&model.2));
            }
        }
    }
}
