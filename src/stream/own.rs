//! How a lane takes its own lines out of blocks: into runs, one behind the other.
//!
//! Owns: when a run is long enough, and whether it is then compressed. Promises: the lines that come out are those of
//! exactly the events asked for. A run is ended when the next block comes, not before: by then it is known whether
//! the last block still belongs to the batch that the others are in, and batches share no run that is compressed.

use std::ops::Range;
use std::sync::Arc;

use crate::block::codec::Codec;
use crate::block::own::{OwnLines, OwnRun};
use crate::block::verdicts::Bitmap;

/// How a stream wants its own lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnForm {
    /// As they came: each of them is looked at again.
    Raw,
    /// Compressed, because they are sent so.
    Compressed,
}

/// The runs of one lane.
#[derive(Debug)]
pub struct OwnRuns {
    /// The one that grows.
    last: Arc<OwnRun>,
    /// The buffer of one that was compressed.
    spare: Vec<u8>,
    /// A run grew as long as a run may.
    fills_runs: bool,
    form: OwnForm,
}

impl OwnRuns {
    /// No runs yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            last: Arc::new(OwnRun::open(Vec::new())),
            spare: Vec::new(),
            fills_runs: false,
            form: OwnForm::Raw,
        }
    }

    /// Lines taken from now on are wanted in this form.
    pub fn set_form(&mut self, form: OwnForm) {
        if self.form != form {
            self.form = form;
            self.begin();
        }
    }

    /// The lines of these events out of `lines`, which are in order, each with its number and its place in `buffer`;
    /// `None` when they are not all there.
    pub(super) fn take(
        &mut self,
        taken: &Arc<Bitmap>,
        (codec, scratch): (&mut dyn Codec, &mut Vec<u8>),
        (buffer, lines): (&[u8], impl Iterator<Item = (u32, Range<usize>)>),
    ) -> Option<OwnLines> {
        if self.last.raw_len() >= RUN_RAW_BYTES {
            // A codec refuses no input; if it did, the lines would stay as they are.
            if self.form == OwnForm::Compressed
                && let Ok(Some(buffer)) = self.last.compress(codec, scratch)
            {
                self.spare = buffer;
            }
            self.begin();
        } else if !self.last.is_open() {
            self.begin();
        }
        let expected = taken.count(0..taken.events());
        let span = self.last.append(|raw| {
            let (mut found, mut piece) = (0, 0..0);
            for (event, span) in lines {
                if !taken.contains(event) {
                    continue;
                }
                found += 1;
                // Lines that lie side by side are copied in one piece.
                if span.start != piece.end {
                    raw.extend_from_slice(&buffer[piece]);
                    piece = span;
                } else {
                    piece.end = span.end;
                }
            }
            raw.extend_from_slice(&buffer[piece]);
            found == expected
        })?;
        Some(OwnLines {
            run: Arc::clone(&self.last),
            span,
            events: Arc::clone(taken),
        })
    }

    fn begin(&mut self) {
        let mut buffer = std::mem::take(&mut self.spare);
        buffer.clear();
        // A lane that filled one run fills more: grown step by step, a buffer is copied with each step.
        self.fills_runs |= self.last.raw_len() >= RUN_RAW_BYTES;
        if self.fills_runs {
            buffer.reserve(RUN_RAW_BYTES / 4 * 5);
        }
        self.last = Arc::new(OwnRun::open(buffer));
    }
}

impl Default for OwnRuns {
    fn default() -> Self {
        Self::new()
    }
}

/// Raw bytes from which on a run is ended: as in a full block, where the ratio has levelled off and what a run costs
/// by itself (its code tables, an empty window) is small. Runs of 16 KiB cost twice as much a byte, of 64 KiB a third more.
pub const RUN_RAW_BYTES: usize = 512 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::codec::{CompressionLevel, best_codec};
    use crate::block::own::RunLines;
    use crate::block::verdicts::{KeptLines, WantedLine};

    #[test]
    fn lines_are_taken_in_the_order_of_the_block_wherever_they_lie() {
        let raw: Vec<u8> = (0..100)
            .flat_map(|n| format!("[{n}]\n").into_bytes())
            .collect();
        let mut wanted = Vec::new();
        let mut start = 0;
        for (event, line) in raw.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let (end, number) = (start + line.len(), u32::try_from(event).expect("100"));
            wanted.push(WantedLine::new(number, start..end, event / 3 % 2));
            start = end;
        }
        let kept = KeptLines::copy(&raw, &wanted);
        let mut taken = Bitmap::none(100);
        (0..100)
            .filter(|event| event % 4 != 3)
            .for_each(|event| taken.set(event));
        let taken = Arc::new(taken);
        let mut codec = best_codec(CompressionLevel::FASTEST);
        let mut take = |lines: &[_], runs: &mut OwnRuns| {
            let lines = lines
                .iter()
                .map(|line: &crate::block::verdicts::KeptLine| (line.event, line.span()));
            runs.take(
                &taken,
                (codec.as_mut(), &mut Vec::new()),
                (&kept.bytes, lines),
            )
        };
        let mut runs = OwnRuns::new();
        let own = take(&kept.lines, &mut runs).expect("all are there");
        let RunLines::Raw(lines) = own.run.read() else {
            panic!("nobody compressed it")
        };
        let expected = taken.iter(0..100).map(|event| format!("[{event}]\n"));
        assert_eq!(lines.slice(own.span), expected.collect::<String>());
        assert!(
            take(&kept.lines[1..], &mut runs).is_none(),
            "one is missing"
        );
    }
}
