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

/// Raw lines of a block, each with its line end, in order: some of them, or all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptLines {
    /// The lines back to back.
    pub bytes: Bytes,
    /// Number in the block of each, and where in `bytes` it ends.
    pub lines: Vec<KeptLine>,
}

impl KeptLines {
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
    /// End of its bytes, line end included; it begins where the one before ends.
    pub end: u32,
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
    fn a_selection_is_judged_once_and_lines_outlive_its_verdict() {
        let lines = KeptLines {
            bytes: Bytes::from_static(b"{}\n"),
            lines: vec![KeptLine { event: 3, end: 3 }],
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
