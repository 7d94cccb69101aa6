//! Judging a body whole: which of its lines are events, before any of them is admitted.
//!
//! Owns the shapes of a body (lines, one JSON array, one object over several lines) and what is remembered of refused
//! lines. Promises bounded work a step, so that the shard can do other work in between;
//! accepted lines are moved together in the body's own memory, each ended by one `\n`.
//! Leaves the judgement of a line to `admission` and `exclusion`.

use std::sync::Arc;

use super::answer::Refusal;
use super::body::ReservedBuffer;
use super::decode::{DecodeLimits, Decompression, Encoding};
use super::relay::LoopCheck;
use crate::budget::{Budget, Grant};
use crate::event::{InputId, Labels};
use crate::filter::Event;
use crate::ingest::admission::{Admission, Reject, Verdict};
use crate::ingest::exclusion::{ExclusionRun, NodeExclusion};
use crate::ingest::json_array::{self, BrokenArray, Elements};
use crate::ingest::reject::REJECT_RECORDS_MAX;
use crate::ingest::settings::Validation;
use crate::ingest::validate::validate;
use crate::limits::{LINE_BYTES_MAX_DEFAULT, REJECT_SAMPLE_BYTES_MAX};
use crate::metrics::ledger::{InputCounts, RejectReason};
use crate::position::Timestamp;

/// Bytes judged in one step: at most about a millisecond of work.
pub(super) const STEP_BYTES: usize = 512 * 1024;

/// A body being judged.
#[derive(Debug)]
pub(super) struct Judging {
    admission: Admission,
    exclusion: BodyExclusion,
    /// Of a relayed body: it may hold nothing that was relayed before.
    relayed: Option<LoopCheck>,
    body: ReservedBuffer,
    shape: Shape,
    /// End of the accepted lines; never above where judging stands.
    kept: usize,
    counts: InputCounts,
    lines: u64,
    rejected: Rejected,
}

#[derive(Debug)]
enum Shape {
    /// Lines from this place on.
    Lines { at: usize },
    /// Elements of one array.
    Array(Elements),
}

/// The exclusion rules a body is judged by, all of it by the same.
#[derive(Debug)]
pub(super) struct BodyExclusion {
    pub(super) run: ExclusionRun,
    /// Of all its events.
    pub(super) labels: Arc<Labels>,
    pub(super) received: Timestamp,
}

impl BodyExclusion {
    fn excludes(&mut self, line: &[u8]) -> bool {
        let event = Event {
            line,
            labels: &self.labels,
            received: self.received,
        };
        self.run.excludes(event)
    }
}

/// A body that was judged.
#[derive(Debug)]
pub(super) struct Judgement {
    /// Accepted lines, each ended by `\n`.
    pub(super) body: ReservedBuffer,
    /// What the input counts for them; `stored` is the accepted lines.
    pub(super) counts: InputCounts,
    /// Lines (or elements) of any fate, empty ones included.
    pub(super) lines: u64,
    pub(super) rejected: Rejected,
    /// What exclusion rules drop of them.
    pub(super) excluded: ExclusionRun,
}

/// What is remembered of refused lines: the first in full, of the others their sums.
#[derive(Debug)]
pub(super) struct Rejected {
    /// The first [`REJECT_RECORDS_MAX`], in order.
    pub(super) kept: Vec<KeptReject>,
    /// The rest, by [`RejectReason::index`].
    pub(super) sums: [RejectedSum; RejectReason::ALL.len()],
    /// What the samples take.
    grant: Grant,
}

/// A refused line.
#[derive(Debug)]
pub(super) struct KeptReject {
    /// Its number in the body, from 1.
    pub(super) line: u64,
    pub(super) reason: RejectReason,
    /// The reason in words, with the place.
    pub(super) detail: Box<str>,
    /// Its first bytes; none when the memory budget was taken.
    pub(super) sample: Box<[u8]>,
    /// Its length in bytes.
    pub(super) bytes: u64,
}

/// Refused lines beyond those kept.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RejectedSum {
    pub(super) lines: u64,
    pub(super) bytes: u64,
}

impl Judging {
    /// Begins with a body that has room for one more byte.
    pub(super) fn begin(
        mut body: ReservedBuffer,
        mut admission: Admission,
        exclusion: BodyExclusion,
        rejected: Rejected,
    ) -> Self {
        let bytes = &mut body.bytes;
        let shape = if json_array::is_array(bytes) {
            // A line break in a string would make two lines of one event; only the full check
            // finds it.
            admission.validate = Validation::Full;
            Shape::Array(Elements::new())
        } else {
            join_document(bytes, &admission);
            if bytes.last().is_some_and(|last| *last != b'\n') {
                bytes.push(b'\n');
            }
            Shape::Lines { at: 0 }
        };
        Self {
            admission,
            exclusion,
            relayed: None,
            body,
            shape,
            kept: 0,
            counts: InputCounts::default(),
            lines: 0,
            rejected,
        }
    }

    /// As a body that came over a relay.
    pub(super) fn relayed(mut self) -> Self {
        self.relayed = Some(LoopCheck::new());
        self
    }

    /// Judges a piece; true when the body is judged whole.
    ///
    /// # Errors
    /// [`BrokenArray`] when the body is one array and its form is broken.
    pub(super) fn step(&mut self) -> Result<bool, BrokenArray> {
        let mut left = STEP_BYTES;
        while let Some((start, end)) = self.next_line()? {
            let taken = end - start + 1;
            self.judge(start, end);
            if taken >= left {
                return Ok(false);
            }
            left -= taken;
        }
        Ok(true)
    }

    /// What came of it.
    pub(super) fn finish(mut self) -> Judgement {
        self.body.bytes.truncate(self.kept);
        Judgement {
            body: self.body,
            counts: self.counts,
            lines: self.lines,
            rejected: self.rejected,
            excluded: self.exclusion.run,
        }
    }

    /// Where the next line stands, without its end; there is a byte of no use behind it.
    fn next_line(&mut self) -> Result<Option<(usize, usize)>, BrokenArray> {
        let bytes = &mut self.body.bytes;
        match &mut self.shape {
            Shape::Lines { at } => {
                let start = *at;
                let Some(length) = memchr::memchr(b'\n', &bytes[start..]) else {
                    return Ok(None);
                };
                let mut end = start + length;
                *at = end + 1;
                if end > start && bytes[end - 1] == b'\r' {
                    end -= 1;
                }
                Ok(Some((start, end)))
            }
            Shape::Array(elements) => {
                let span = elements.next(bytes)?;
                Ok(span.map(|span| (span.start, span.end)))
            }
        }
    }

    fn judge(&mut self, start: usize, end: usize) {
        self.lines += 1;
        let bytes = &mut self.body.bytes;
        let length = end - start;
        let mut verdict = self.admission.judge(&bytes[start..end]);
        if let (Some(relayed), Verdict::Accept) = (&mut self.relayed, verdict)
            && relayed.finds(&bytes[start..end])
        {
            verdict = Verdict::Reject(Reject::RelayLoop);
        }
        match verdict {
            Verdict::Skip => {
                self.counts.skipped += 1;
                return;
            }
            Verdict::Reject(reject) => {
                self.counts.rejected[reject.reason().index()] += 1;
                self.rejected.add(self.lines, &reject, &bytes[start..end]);
            }
            Verdict::Accept if self.exclusion.excludes(&bytes[start..end]) => {
                self.counts.excluded += 1;
            }
            // The exclusion rules were asked above.
            Verdict::Accept | Verdict::Exclude => {
                // What stands right already is not moved.
                if self.kept != start {
                    bytes.copy_within(start..end, self.kept);
                }
                bytes[self.kept + length] = b'\n';
                self.kept += length + 1;
                self.counts.stored += 1;
                self.counts.stored_bytes += length as u64;
            }
        }
        self.counts.received += 1;
        self.counts.received_bytes += length as u64;
    }
}

/// Makes one line of a body that is one object written over several lines, as editors and
/// pretty-printers leave it. A body whose first line is an event, or that is longer than an
/// event may be, is left as it is.
fn join_document(body: &mut [u8], admission: &Admission) {
    let document = body.trim_ascii();
    if document.len() > admission.line_bytes_max {
        return;
    }
    let Some(first_end) = memchr::memchr(b'\n', document) else {
        return;
    };
    if admission.judge(&document[..first_end]) == Verdict::Accept {
        return;
    }
    if validate(document).is_err() {
        return;
    }
    // In a valid object every raw line break is white space between tokens.
    let start = body.len() - body.trim_ascii_start().len();
    let end = body.trim_ascii_end().len();
    for byte in &mut body[start..end] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

impl Rejected {
    /// None yet.
    pub(super) fn new(budget: &Budget) -> Option<Self> {
        Some(Self {
            kept: Vec::new(),
            sums: Default::default(),
            grant: budget.take(0)?,
        })
    }

    fn add(&mut self, line: u64, reject: &Reject, text: &[u8]) {
        let bytes = text.len() as u64;
        let reason = reject.reason();
        if self.kept.len() >= REJECT_RECORDS_MAX {
            let sum = &mut self.sums[reason.index()];
            sum.lines += 1;
            sum.bytes += bytes;
            return;
        }
        let sample = &text[..text.len().min(REJECT_SAMPLE_BYTES_MAX)];
        let granted = self.grant.grow(sample.len() as u64);
        self.kept.push(KeptReject {
            line,
            reason,
            detail: reject.to_string().into(),
            sample: if granted {
                sample.into()
            } else {
                Box::default()
            },
            bytes,
        });
    }

    /// All refused lines.
    pub(super) fn total(&self) -> u64 {
        let summed: u64 = self.sums.iter().map(|sum| sum.lines).sum();
        self.kept.len() as u64 + summed
    }
}

/// Decodes and judges a body as the input would, for the fuzzer: the first byte picks the
/// encoding, the rest is the body as sent.
///
/// # Panics
/// When what comes out breaks a promise of this module.
pub fn fuzz_body(data: &[u8]) {
    const LIMITS: DecodeLimits = DecodeLimits {
        decompressed_bytes_max: 1024 * 1024,
        expansion_max: 1_000,
    };
    let Some((selector, sent)) = data.split_first() else {
        return;
    };
    let encoding = [Encoding::Identity, Encoding::Gzip, Encoding::Zstd][usize::from(selector % 3)];
    let budget = Budget::new(64 * 1024 * 1024);
    for checks in [Validation::Full, Validation::None] {
        let judgement = decoded_and_judged(encoding, sent, (LIMITS, checks), &budget);
        if let Ok(judgement) = judgement {
            judgement.check();
        }
    }
    assert_eq!(budget.bytes_taken(), 0, "all memory is given back");
}

/// The whole way of a body without its waits.
fn decoded_and_judged(
    encoding: Encoding,
    sent: &[u8],
    (limits, checks): (DecodeLimits, Validation),
    budget: &Budget,
) -> Result<Judgement, Refusal> {
    let body = if encoding == Encoding::Identity || sent.is_empty() {
        let mut body = ReservedBuffer::new(budget, sent.len() + 1)?;
        body.reserve_exact(sent.len() + 1)?;
        body.bytes.extend_from_slice(sent);
        body
    } else {
        let mut decompression = Decompression::begin(encoding, sent, limits, budget)?;
        while !decompression.step()? {}
        decompression.into_body()
    };
    let admission = Admission::new(LINE_BYTES_MAX_DEFAULT, checks);
    let rejected = Rejected::new(budget).ok_or(Refusal::Memory)?;
    let exclusion = BodyExclusion {
        run: NodeExclusion::none().begin(),
        labels: Arc::new(Labels::of_input(InputId(0))),
        received: Timestamp::default(),
    };
    let mut judging = Judging::begin(body, admission, exclusion, rejected);
    while !judging.step()? {}
    Ok(judging.finish())
}

impl Judgement {
    /// Takes the first events off, which are stored already, as they are counted when they are stored.
    pub(super) fn skip_stored(&mut self, events: u64) {
        let bytes = &mut self.body.bytes;
        let Some(events) = usize::try_from(events).ok().filter(|events| *events > 0) else {
            return;
        };
        let end = memchr::memchr_iter(b'\n', bytes).nth(events - 1);
        let end = end.map_or(bytes.len(), |end| end + 1);
        let events = events.min(usize::try_from(self.counts.stored).unwrap_or(usize::MAX));
        let events = u32::try_from(events).expect("a body is below 4 GiB");
        self.counts -= InputCounts::of_stored(events, end);
        bytes.drain(..end);
    }

    /// Asserts what admission relies on.
    fn check(&self) {
        let bytes = &self.body.bytes;
        assert!(self.counts.balances(), "every line has one fate");
        assert_eq!(
            self.lines,
            self.counts.received + self.counts.skipped,
            "every line is counted"
        );
        let rejected: u64 = self.counts.rejected.iter().sum();
        assert_eq!(
            rejected,
            self.rejected.total(),
            "every reject is remembered"
        );
        let ends = memchr::memchr_iter(b'\n', bytes).count() as u64;
        assert_eq!(ends, self.counts.stored, "an event is a line");
        assert_eq!(bytes.len() as u64, self.counts.stored_bytes + ends);
        assert!(bytes.is_empty() || bytes.ends_with(b"\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: DecodeLimits = DecodeLimits {
        decompressed_bytes_max: 8 << 20,
        expansion_max: 1_000,
    };

    fn judged(body: &[u8]) -> Judgement {
        let budget = Budget::new(64 << 20);
        let judgement = decoded_and_judged(
            Encoding::Identity,
            body,
            (LIMITS, Validation::Full),
            &budget,
        );
        let judgement = judgement.expect("readable");
        judgement.check();
        judgement
    }

    fn check(body: &str, events: &str, rejected: &[u64]) {
        let judgement = judged(body.as_bytes());
        assert_eq!(judgement.body.bytes, events.as_bytes(), "{body:?}");
        let numbers: Vec<u64> = judgement
            .rejected
            .kept
            .iter()
            .map(|kept| kept.line)
            .collect();
        assert_eq!(numbers, rejected, "{body:?}");
    }

    #[test]
    fn lines_keep_their_numbers_bytes_and_order() {
        check("", "", &[]);
        check("{}", "{}\n", &[]);
        check("{}\n", "{}\n", &[]);
        check(
            "\r\n{\"a\":1}\r\n\n{\"b\":2}\r\n",
            "{\"a\":1}\n{\"b\":2}\n",
            &[],
        );
        check("{}\nx\n\n{\"a\":1}\ny", "{}\n{\"a\":1}\n", &[2, 5]);
        check("{}\r", "{}\n", &[]);
    }

    #[test]
    fn elements_of_an_array_are_lines_with_their_numbers() {
        check("[]", "", &[]);
        check(" [{},{\"a\":\n1}\n]", "{}\n{\"a\": 1}\n", &[]);
        check("[{},7,{\"a\":1},\"x\"]", "{}\n{\"a\":1}\n", &[2, 4]);
        check("[{}]", "{}\n", &[]);
    }

    #[test]
    fn an_object_over_several_lines_is_one_event() {
        check(
            "{\r\n  \"a\": 1,\n  \"b\": {}\n}\n",
            "{    \"a\": 1,   \"b\": {} }\n",
            &[],
        );
        check("\n\n{\n}\n\n", "{ }\n", &[]);
        // Two of them are not: the input takes lines.
        check("{\n}\n{\n}\n", "", &[1, 2, 3, 4]);
        // Nor is one with a line break in a string.
        check("{\"a\":\"x\ny\"}", "", &[1, 2]);
    }

    #[test]
    fn a_body_over_many_steps_is_judged_whole() {
        let good = format!("{{\"text\":\"{}\"}}\n", "x".repeat(1_000));
        let body = format!("{good}bad\n").repeat(3_000);
        let judgement = judged(body.as_bytes());
        assert_eq!(judgement.body.bytes, good.repeat(3_000).as_bytes());
        assert_eq!(judgement.lines, 6_000);
        assert_eq!(judgement.rejected.kept.len(), REJECT_RECORDS_MAX);
        let sum = judgement.rejected.sums[RejectReason::Malformed.index()];
        assert_eq!((sum.lines, sum.bytes), (2_000, 6_000));
    }

    #[test]
    fn samples_that_find_no_memory_are_left_out_but_counted() {
        let budget = Budget::new(200);
        let body = b"not json, and quite long for such a small budget\n".repeat(3);
        let judgement = decoded_and_judged(
            Encoding::Identity,
            &body,
            (LIMITS, Validation::Full),
            &budget,
        );
        let judgement = judgement.expect("room for the body");
        let samples = judgement.rejected.kept.iter();
        let samples: Vec<bool> = samples.map(|kept| kept.sample.is_empty()).collect();
        assert_eq!(samples, [false, true, true]);
        judgement.check();
    }

    proptest! {
        #[test]
        fn no_body_breaks_a_promise(data in prop::collection::vec(any::<u8>(), 0..400)) {
            fuzz_body(&data);
        }

        #[test]
        fn no_damage_to_a_compressed_body_breaks_a_promise(
            lines in 1_usize..3_000,
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cut in any::<prop::sample::Index>(),
        ) {
            let raw = b"{\"some\":\"event\"}\nno event\n".repeat(lines);
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut gzip, &raw).expect("memory");
            let gzip = gzip.finish().expect("memory");
            let zstd = zstd::stream::encode_all(&raw[..], 1).expect("memory");
            for (selector, mut sent) in [(1, gzip), (2, zstd)] {
                for (place, byte) in &damage {
                    let place = place.index(sent.len());
                    sent[place] = *byte;
                }
                fuzz_body(&[&[selector], &sent[..]].concat());
                sent.truncate(cut.index(sent.len()));
                fuzz_body(&[&[selector], &sent[..]].concat());
            }
        }

        #[test]
        fn no_text_breaks_a_promise(text in "[\\[\\]{},:\"\\\\ \r\n1a]{0,60}") {
            fuzz_body(&[&[0], text.as_bytes()].concat());
        }
    }
}
