//! What a stream takes of a block: its rule, then its sampling.
//!
//! Owns: the order of the two, the draw of sampling, and that all streams' rules are judged in one pass by whoever
//! judges a block first. Pure but for buffers. Leaves to others: the rules (`filter`), and which events of a block are
//! in a batch (`lane`).

use std::sync::Arc;

use crate::batch::{Selected, share};
use crate::block::Block;
use crate::block::verdicts::{Bitmap, KeptLine, KeptLines, KnownVerdicts};
use crate::filter::selection::{BlockJudge, Keep, Selections};
use crate::position::{JournalId, Offset};
use crate::stream::lines::{BlockLines, TakenLine, Unreadable, each_of_block};

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
#[derive(Default)]
pub struct Selector {
    judge: BlockJudge,
    lines: BlockLines,
    has_kept: bool,
}

impl std::fmt::Debug for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Selector")
    }
}

impl Selector {
    /// What is taken of a block; `None`: everything. Where nobody has judged the block yet, `selections`, which are
    /// those of all streams, are.
    ///
    /// # Errors
    /// When the block's body or metadata is not what a writer makes.
    pub fn select(
        &mut self,
        block: &Block,
        take: &Take,
        selections: &Selections,
    ) -> Result<Option<Arc<Selected>>, Unreadable> {
        self.has_kept = false;
        if take.selection.is_none() && take.sampling.is_none() {
            return Ok(None);
        }
        let mut inflated = false;
        let (matched, kept) = match take.selection {
            Some(selection) => {
                let known = block.verdicts.judged_by(selection, || {
                    inflated = true;
                    self.judge(block, selections)
                })?;
                let matched = known.find(selection).cloned();
                let matched = matched.ok_or_else(|| Unreadable {
                    range: block.range(),
                    why: "no rule was given for them".to_owned(),
                })?;
                let mut lines = known.lines.clone();
                if lines.is_none() && !inflated {
                    // They were forgotten: this stream is behind, and others may be with it.
                    lines = Some(self.keep_lines(block, &known)?);
                }
                (matched, lines)
            }
            None => (Arc::new(Bitmap::all(block.events)), None),
        };
        let taken = match take.sampling {
            Some(sampling) => Arc::new(sampled(block, &matched, sampling)),
            None => Arc::clone(&matched),
        };
        let events = taken.count(0..block.events);
        // What was kept is what other selections take; it need not hold all that this one does.
        let is_whole = |own: &KeptLines| own.lines.len() as u64 == events;
        let lines = match kept.map(|kept| own_of_kept(&kept, &taken)) {
            Some(own) if is_whole(&own) => Some(own),
            _ if inflated => Some(self.own_of_raw(&taken)),
            _ => None,
        };
        let taken_bytes = lines.as_ref().map_or_else(
            || share(block.raw_len.into(), events, block.events.into()),
            |lines| lines.bytes.len() as u64,
        );
        Ok(Some(Arc::new(Selected {
            matched,
            taken,
            taken_bytes,
            lines: lines.map(Arc::new),
        })))
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
        let mut wanted = Bitmap::none(block.events);
        for (_, verdict) in &known.verdicts {
            verdict
                .iter(0..block.events)
                .for_each(|event| wanted.set(event));
        }
        let lines = own_lines(&wanted, |use_line| {
            each_of_block(raw, 0..block.events, use_line);
        });
        let lines = Arc::new(lines);
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

    /// The lines taken of the block that was inflated last.
    fn own_of_raw(&self, taken: &Bitmap) -> KeptLines {
        let raw = self.lines.last();
        own_lines(taken, |use_line| {
            each_of_block(raw, 0..taken.events(), use_line)
        })
    }
}

/// The lines of this stream alone, in memory of just their size: what others take is not held for it.
fn own_lines(taken: &Bitmap, each: impl Fn(&mut dyn FnMut(TakenLine<'_>))) -> KeptLines {
    let (mut events, mut length) = (0, 0);
    each(&mut |line| {
        if taken.contains(line.event) {
            events += 1;
            length += line.span.len();
        }
    });
    let mut bytes = Vec::with_capacity(length);
    let mut lines = Vec::with_capacity(events);
    each(&mut |line| {
        if taken.contains(line.event) {
            bytes.extend_from_slice(&line.buffer[line.span]);
            lines.push(KeptLine {
                event: line.event,
                end: u32::try_from(bytes.len()).expect("a block is below 4 GiB"),
            });
        }
    });
    KeptLines {
        bytes: bytes.into(),
        lines,
    }
}

fn own_of_kept(kept: &KeptLines, taken: &Bitmap) -> KeptLines {
    own_lines(taken, |use_line| {
        let mut start = 0;
        for line in &kept.lines {
            let end = line.end as usize;
            use_line(TakenLine {
                event: line.event,
                buffer: &kept.bytes,
                span: start..end,
            });
            start = end;
        }
    })
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
