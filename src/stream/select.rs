//! What a stream takes of a block: its rule, then its sampling.
//!
//! Owns: the order of the two, the draw of sampling, and that all streams' rules are judged in one pass by whoever
//! judges a block first. Pure but for buffers. Leaves to others: the rules (`filter`), and which events of a block are
//! in a batch (`lane`).

use std::sync::Arc;

use crate::batch::{Selected, share};
use crate::block::Block;
use crate::block::codec::Codec;
use crate::block::own::OwnLines;
use crate::block::verdicts::{Bitmap, KeptLines, KnownVerdicts, WantedLine};
use crate::filter::selection::{BlockJudge, Keep, Selections};
use crate::position::{JournalId, Offset};
use crate::stream::lines::{BlockLines, Unreadable, numbered};
use crate::stream::own::OwnRuns;

/// Which events of those that the rule lets pass are taken: a share of them, drawn by position.
///
/// The draw is a hash of journal, offset and the stream's name: the same event has the same fate however often it is
/// looked at, and streams draw apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Per cent of the events that are taken, 0 to 99.
    pub percent: u8,
    /// Hash of the stream's name.
    pub seed: u64,
}

impl Sampling {
    /// Whether the event at this position is taken.
    #[must_use]
    pub fn takes(self, journal: JournalId, offset: Offset) -> bool {
        let drawn = mix(mix(self.seed ^ u64::from(journal.0)) ^ offset.0);
        // The high half of the product is the hash scaled to 0..100.
        (u128::from(drawn) * 100) >> 64 < u128::from(self.percent)
    }
}

/// The finisher of `SplitMix64` (Steele, Lea, Flood 2014): every bit of the input moves every bit of the output.
fn mix(value: u64) -> u64 {
    let mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// What one stream takes, as far as it is not everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Take {
    /// Hash of its selection; `None`: it has no rule.
    pub selection: Option<u64>,
    /// Its sampling; `None`: it has none.
    pub sampling: Option<Sampling>,
}

/// Finds what a stream takes of blocks; buffers are reused.
pub struct Selector {
    judge: BlockJudge,
    lines: BlockLines,
    codec: Box<dyn Codec>,
    compressed: Vec<u8>,
    has_kept: bool,
}

impl std::fmt::Debug for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Selector")
    }
}

impl Selector {
    /// A selector with a codec of the stream's thread.
    #[must_use]
    pub fn new(codec: Box<dyn Codec>) -> Self {
        Self {
            judge: BlockJudge::default(),
            lines: BlockLines::default(),
            codec,
            compressed: Vec::new(),
            has_kept: false,
        }
    }

    /// What is taken of a block; `None`: everything, whether by its rule or for lack of one. Where nobody has judged the
    /// block yet, `selections`, which are those of all streams, are. Lines that are at hand are put to `runs`, which are
    /// those of the lane.
    ///
    /// # Errors
    /// When the block's body or metadata is not what a writer makes.
    pub fn select(
        &mut self,
        block: &Block,
        take: &Take,
        selections: &Selections,
        runs: &mut OwnRuns,
    ) -> Result<Option<Arc<Selected>>, Unreadable> {
        self.has_kept = false;
        if take.selection.is_none() && take.sampling.is_none() {
            return Ok(None);
        }
        let mut is_inflated = false;
        let known = match take.selection {
            Some(selection) => Some(block.verdicts.judged_by(selection, || {
                is_inflated = true;
                self.judge(block, selections)
            })?),
            None => None,
        };
        let matched = match (take.selection, &known) {
            (Some(selection), Some(known)) => {
                known.find(selection).cloned().ok_or_else(|| Unreadable {
                    range: block.range(),
                    why: "no rule was given for them".to_owned(),
                })?
            }
            _ => Arc::new(Bitmap::all(block.events)),
        };
        let taken = match take.sampling {
            Some(sampling) => Arc::new(sampled(block, &matched, sampling)),
            None => Arc::clone(&matched),
        };
        let events = taken.count(0..block.events);
        if events == u64::from(block.events) {
            return Ok(None);
        }
        let own = match known {
            Some(known) if events > 0 => self.own(block, &known, (&taken, runs), is_inflated)?,
            _ => None,
        };
        let taken_bytes = own.as_ref().map_or_else(
            || share(block.raw_len.into(), events, block.events.into()),
            |own| own.span.len() as u64,
        );
        Ok(Some(Arc::new(Selected {
            matched,
            taken,
            taken_bytes,
            own,
        })))
    }

    /// The stream's own lines of a block that was judged, `is_inflated` by this stream just now.
    fn own(
        &mut self,
        block: &Block,
        known: &KnownVerdicts,
        (taken, runs): (&Arc<Bitmap>, &mut OwnRuns),
        is_inflated: bool,
    ) -> Result<Option<OwnLines>, Unreadable> {
        let kept = match &known.lines {
            Some(kept) => Some(Arc::clone(kept)),
            // They were forgotten: this stream is behind, and others may be with it.
            None if !is_inflated => Some(self.keep_lines(block, known)?),
            None => None,
        };
        // What was kept is what other selections take; it need not hold all that this one does.
        let (codec, scratch) = (self.codec.as_mut(), &mut self.compressed);
        let own = kept.and_then(|kept| {
            let lines = kept.lines.iter().map(|line| (line.event, line.span()));
            runs.take(taken, (codec, scratch), (&kept.bytes, lines))
        });
        if own.is_some() || !is_inflated {
            return Ok(own);
        }
        let raw = self.lines.last();
        let (codec, scratch) = (self.codec.as_mut(), &mut self.compressed);
        let lines = numbered(raw, 0..block.events);
        Ok(runs.take(taken, (codec, scratch), (raw, lines)))
    }

    /// Whether lines were put beside the block that was selected last: who shares it bounds them.
    #[must_use]
    pub fn has_kept(&self) -> bool {
        self.has_kept
    }

    /// Puts the lines that any selection takes beside the block again.
    fn keep_lines(
        &mut self,
        block: &Block,
        known: &KnownVerdicts,
    ) -> Result<Arc<KeptLines>, Unreadable> {
        let raw = self.lines.of_block(block)?;
        let mut wanted = Vec::new();
        for (event, span) in numbered(raw, 0..block.events) {
            let mut verdicts = known.verdicts.iter();
            if let Some(taker) = verdicts.position(|(_, takes)| takes.contains(event)) {
                wanted.push(WantedLine::new(event, span, taker));
            }
        }
        let lines = Arc::new(KeptLines::copy(raw, &wanted));
        block.verdicts.keep_lines(Arc::clone(&lines));
        self.has_kept = true;
        Ok(lines)
    }

    fn judge(
        &mut self,
        block: &Block,
        selections: &Selections,
    ) -> Result<Vec<(u64, Arc<Bitmap>)>, Unreadable> {
        let runs = self.lines.label_runs(block)?;
        let raw = self.lines.of_block(block)?;
        let known = self.judge.judge(selections, raw, &runs, Keep::Nothing);
        Ok(known.verdicts)
    }
}

fn sampled(block: &Block, matched: &Bitmap, sampling: Sampling) -> Bitmap {
    let mut taken = Bitmap::none(block.events);
    for event in matched.iter(0..block.events) {
        if sampling.takes(block.journal, block.first.plus(u64::from(event))) {
            taken.set(event);
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_takes_its_share_and_draws_the_same_again() {
        for percent in [0, 1, 10, 50, 99] {
            let sampling = Sampling { percent, seed: 7 };
            let takes = |offset| sampling.takes(JournalId(1), Offset(offset));
            let taken = (0..100_000).filter(|offset| takes(*offset)).count();
            let expected = usize::from(percent) * 1_000;
            assert!(taken.abs_diff(expected) < 500, "{percent} %: {taken}");
            assert!((0..1_000).all(|offset| takes(offset) == takes(offset)));
        }
    }

    #[test]
    fn streams_and_journals_draw_apart() {
        let one = Sampling {
            percent: 50,
            seed: 1,
        };
        let other = Sampling {
            percent: 50,
            seed: 2,
        };
        let draw = |sampling: Sampling, journal| {
            (0..1_000)
                .map(|offset| sampling.takes(JournalId(journal), Offset(offset)))
                .collect::<Vec<_>>()
        };
        assert_ne!(draw(one, 0), draw(other, 0));
        assert_ne!(draw(one, 0), draw(one, 1));
    }
}
