//! How a lane takes its own lines out of blocks: into runs, one behind the other.
//!
//! Owns: when a run is long enough, and whether it is then compressed. Promises: the lines that come out are those of
//! exactly the events asked for. A run is ended when the next block comes, not before: by then it is known whether
//! the last block still belongs to the batch that the others are in, and batches share no run that is compressed.

use std::sync::Arc;

use crate::block::codec::Codec;
use crate::block::own::{OwnLines, OwnRun};
use crate::block::verdicts::Bitmap;
use crate::stream::lines::TakenLine;

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
    form: OwnForm,
}

impl OwnRuns {
    /// No runs yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            last: Arc::new(OwnRun::open(Vec::new())),
            spare: Vec::new(),
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

    /// The lines of these events out of those that `each` gives; `None` when it does not give all of them.
    pub(super) fn take(
        &mut self,
        taken: &Arc<Bitmap>,
        codec: &mut dyn Codec,
        scratch: &mut Vec<u8>,
        each: impl FnOnce(&mut dyn FnMut(TakenLine<'_>)),
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
            let mut found = 0;
            each(&mut |line| {
                if taken.contains(line.event) {
                    raw.extend_from_slice(&line.buffer[line.span]);
                    found += 1;
                }
            });
            found == expected
        })?;
        Some(OwnLines {
            run: Arc::clone(&self.last),
            span,
            events: Arc::clone(taken),
        })
    }

    fn begin(&mut self) {
        self.last = Arc::new(OwnRun::open(std::mem::take(&mut self.spare)));
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
