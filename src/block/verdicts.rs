//! What rules said of a block's events, kept beside the block in memory.
//!
//! Owns: a bit for each event and selection, and the raw lines that at least one selection takes. Who has the raw
//! form at hand judges all selections at once and leaves what came of it here; nothing of it is on disk. Leaves to
//! others: what a selection is (it is named by its hash), and judging.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// One bit for each event of a block, by its number in the block from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitmap {
    words: Box<[u64]>,
    events: u32,
}

impl Bitmap {
    /// All bits clear.
    #[must_use]
    pub fn none(events: u32) -> Self {
        let words = vec![0; events.div_ceil(64) as usize];
        Self {
            words: words.into(),
            events,
        }
    }

    /// All bits set.
    #[must_use]
    pub fn all(events: u32) -> Self {
        let mut all = Self::none(events);
        for event in 0..events {
            all.set(event);
        }
        all
    }

    /// Number of events it speaks of.
    #[must_use]
    pub fn events(&self) -> u32 {
        self.events
    }

    /// Sets the bit of an event.
    ///
    /// # Panics
    /// When the event is none of the block's.
    pub fn set(&mut self, event: u32) {
        assert!(event < self.events, "an event of the block");
        self.words[event as usize / 64] |= 1 << (event % 64);
    }

    /// Whether the bit of an event is set; clear for one that is none of the block's.
    #[must_use]
    pub fn contains(&self, event: u32) -> bool {
        let word = self.words.get(event as usize / 64).copied().unwrap_or(0);
        word >> (event % 64) & 1 == 1
    }

    /// Number of bits set in a range.
    #[must_use]
    pub fn count(&self, range: Range<u32>) -> u64 {
        if range == (0..self.events) {
            return self
                .words
                .iter()
                .map(|word| u64::from(word.count_ones()))
                .sum();
        }
        self.iter(range).count() as u64
    }

    /// The events of a range whose bits are set, in order.
    pub fn iter(&self, range: Range<u32>) -> impl Iterator<Item = u32> + '_ {
        let first = range.start / 64;
        let last = range.end.min(self.events).div_ceil(64);
        (first..last)
            .flat_map(|at| {
                let mut word = self.words[at as usize];
                std::iter::from_fn(move || {
                    let bit = (word != 0).then(|| word.trailing_zeros())?;
                    word &= word - 1;
                    Some(at * 64 + bit)
                })
            })
            .skip_while(move |event| *event < range.start)
            .take_while(move |event| *event < range.end)
    }
}

/// Raw lines of a block, each with its line end: some of them, or all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptLines {
    /// The lines back to back, those first that the first of the selections takes, then those of the others that the
    /// second takes, and so on: what one stream takes mostly lies together.
    pub bytes: Bytes,
    /// Which they are and where they lie, in the order of the block.
    pub lines: Vec<KeptLine>,
}

/// A line that is to be kept.
#[derive(Debug, Clone, Copy)]
pub struct WantedLine {
    /// Number of its event in the block, from 0, and its place in the block's raw form.
    pub line: KeptLine,
    /// Number of the first selection that takes it.
    pub taker: usize,
}

impl WantedLine {
    /// The line of this event, at this place in the block's raw form.
    ///
    /// # Panics
    /// When the place is beyond 4 GiB.
    #[must_use]
    pub fn new(event: u32, span: Range<usize>, taker: usize) -> Self {
        let (start, end) = (narrow(span.start), narrow(span.end));
        Self {
            line: KeptLine { event, start, end },
            taker,
        }
    }
}

fn narrow(at: usize) -> u32 {
    u32::try_from(at).expect("a block is below 4 GiB")
}

impl KeptLines {
    /// Copies these lines, which are in the order of the block, out of its raw form.
    ///
    /// # Panics
    /// When one of them is not in `raw`, or all of them are 4 GiB or more.
    #[must_use]
    pub fn copy(raw: &[u8], wanted: &[WantedLine]) -> Self {
        let mut lines: Vec<KeptLine> = wanted.iter().map(|wanted| wanted.line).collect();
        let size = lines.iter().map(|line| line.span().len());
        let mut bytes = Vec::with_capacity(size.sum());
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_by_key(|at| wanted[*at].taker);
        for line in order {
            let line = &mut lines[line];
            let start = narrow(bytes.len());
            bytes.extend_from_slice(&raw[line.span()]);
            (line.start, line.end) = (start, narrow(bytes.len()));
        }
        Self {
            bytes: bytes.into(),
            lines,
        }
    }

    /// Bytes they take in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.lines.len() * size_of::<KeptLine>()
    }
}

/// A line of [`KeptLines`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptLine {
    /// Number of its event in the block, from 0.
    pub event: u32,
    /// Where it begins.
    pub start: u32,
    /// Where it ends, line end included.
    pub end: u32,
}

impl KeptLine {
    /// Where it lies.
    #[must_use]
    pub fn span(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// What selections said of one block.
#[derive(Debug, Clone, Default)]
pub struct KnownVerdicts {
    /// The events each selection takes, by its hash.
    pub verdicts: Vec<(u64, Arc<Bitmap>)>,
    /// The raw lines of all events that any of them takes, unless they are too many to keep.
    pub lines: Option<Arc<KeptLines>>,
}

impl KnownVerdicts {
    /// The events the selection of this hash takes, when it has judged.
    #[must_use]
    pub fn find(&self, selection: u64) -> Option<&Arc<Bitmap>> {
        let known = self.verdicts.iter().find(|(hash, _)| *hash == selection);
        known.map(|(_, verdict)| verdict)
    }
}

/// The verdicts on a block; shared by all who hold it.
#[derive(Debug, Default)]
pub struct Verdicts {
    known: Mutex<Arc<KnownVerdicts>>,
}

impl Verdicts {
    /// Verdicts that are known when the block is made.
    #[must_use]
    pub fn new(known: KnownVerdicts) -> Self {
        Self {
            known: Mutex::new(Arc::new(known)),
        }
    }

    /// What is known now.
    #[must_use]
    pub fn known(&self) -> Arc<KnownVerdicts> {
        Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is known of this selection. When nothing is, `judge` finds it out, with whatever else it likes to find
    /// out on the way; others who ask meanwhile wait for it instead of doing the same.
    ///
    /// # Errors
    /// Those of `judge`; then nothing has changed.
    pub fn judged_by<E>(
        &self,
        selection: u64,
        judge: impl FnOnce() -> Result<Vec<(u64, Arc<Bitmap>)>, E>,
    ) -> Result<Arc<KnownVerdicts>, E> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.find(selection).is_none() {
            // Verdicts of rules that are no more are of no use to anybody for long.
            let verdicts = judge()?;
            let lines = known.lines.clone();
            *known = Arc::new(KnownVerdicts { verdicts, lines });
        }
        Ok(Arc::clone(&known))
    }

    /// Keeps lines beside the verdicts.
    pub fn keep_lines(&self, lines: Arc<KeptLines>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Arc::new(KnownVerdicts {
            verdicts: known.verdicts.clone(),
            lines: Some(lines),
        });
    }

    /// Bytes of the lines that are kept.
    #[must_use]
    pub fn lines_bytes(&self) -> usize {
        let known = self.known();
        known.lines.as_ref().map_or(0, |lines| lines.memory_bytes())
    }

    /// Keeps no lines any more: who needs them inflates the block.
    pub fn forget_lines(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.lines.is_some() {
            *known = Arc::new(KnownVerdicts {
                verdicts: known.verdicts.clone(),
                lines: None,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitmap_counts_and_lists_what_was_set_in_any_range() {
        let mut bitmap = Bitmap::none(200);
        let set = [0, 1, 63, 64, 65, 127, 128, 199];
        set.iter().for_each(|event| bitmap.set(*event));
        for start in 0..=200 {
            for end in start..=200 {
                let expected: Vec<u32> = set
                    .iter()
                    .copied()
                    .filter(|event| (start..end).contains(event))
                    .collect();
                assert_eq!(bitmap.iter(start..end).collect::<Vec<_>>(), expected);
                assert_eq!(bitmap.count(start..end), expected.len() as u64);
            }
        }
        assert_eq!(Bitmap::all(200).count(0..200), 200);
        assert!(!bitmap.contains(200) && !bitmap.contains(1_000) && bitmap.contains(199));
    }

    #[test]
    fn what_the_same_selection_takes_lies_together_and_every_line_is_found() {
        let raw = b"{}\n[0]\n[11]\n[222]\n[3333]\n";
        let wanted = [(0, 0..3, 2), (2, 7..12, 0), (3, 12..18, 2), (4, 18..25, 0)];
        let wanted = wanted.map(|(event, span, taker)| WantedLine::new(event, span, taker));
        let kept = KeptLines::copy(raw, &wanted);
        assert_eq!(kept.bytes, "[11]\n[3333]\n{}\n[222]\n");
        let line = |line: &KeptLine| (line.event, &kept.bytes[line.span()]);
        let lines: Vec<_> = kept.lines.iter().map(line).collect();
        let expected: [(u32, &[u8]); 4] = [
            (0, b"{}\n"),
            (2, b"[11]\n"),
            (3, b"[222]\n"),
            (4, b"[3333]\n"),
        ];
        assert_eq!(lines, expected);
        assert_eq!(KeptLines::copy(raw, &[]), KeptLines::default());
    }

    #[test]
    fn a_selection_is_judged_once_and_lines_outlive_its_verdict() {
        let lines = KeptLines {
            bytes: Bytes::from_static(b"{}\n"),
            lines: vec![KeptLine {
                event: 3,
                start: 0,
                end: 3,
            }],
        };
        let verdicts = Verdicts::new(KnownVerdicts {
            verdicts: vec![(7, Arc::new(Bitmap::all(4)))],
            lines: Some(Arc::new(lines)),
        });
        let known = verdicts.judged_by(7, || Err::<Vec<_>, _>("asked again"));
        assert_eq!(
            known.expect("known").find(7),
            Some(&Arc::new(Bitmap::all(4)))
        );
        assert!(
            verdicts
                .judged_by(8, || Err::<Vec<_>, _>("refused"))
                .is_err()
        );
        let none = Arc::new(Bitmap::none(4));
        let judged = verdicts.judged_by(8, || Ok::<_, ()>(vec![(8, Arc::clone(&none))]));
        let judged = judged.expect("judged");
        assert_eq!((judged.find(8), judged.find(7)), (Some(&none), None));
        assert!(judged.lines.is_some());
    }
}
