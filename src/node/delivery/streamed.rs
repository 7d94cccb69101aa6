//! A batch whose body is made while it is sent: read again where it is not held, a few blocks at a time.
//!
//! Owns: what a lane holds of such a batch, and the making of its body. Promises: memory is bounded whatever the
//! batch's size; the body is the same whenever it is made. Leaves to others: what is in a batch (`stream::lane`), and
//! how a block's part of the body is made (`stream::encode`).

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::Shared;
use crate::batch::{Batch, BatchPart, Body, BodyBroken, BodySource, Selected};
use crate::block::Block;
use crate::block::own::OwnRun;
use crate::journal::reader::{GapReason, ReadNext, Reader};
use crate::stream::content::Content;
use crate::stream::encode::BodyInMaking;
use crate::stream::lines::Unreadable;

/// Raw bytes of the parts that are read and encoded in one go.
const SLICE_RAW_BYTES: u64 = 4 << 20;

/// What a lane keeps of a block and of what it takes of it, when it holds enough already.
pub(super) fn place(
    block: &Block,
    selected: Option<Arc<Selected>>,
) -> (Arc<Block>, Option<Arc<Selected>>) {
    let without_lines = |selected: Arc<Selected>| {
        Arc::new(Selected {
            own: None,
            ..(*selected).clone()
        })
    };
    (Arc::new(block.place()), selected.map(without_lines))
}

/// Why a part cannot be read again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Its events are lost.
    #[error(transparent)]
    Lost(Unreadable),
    /// The disk refused; it may not the next time.
    #[error(transparent)]
    Disk(io::Error),
}

/// A part with its block, read again if only its place is held.
pub(super) fn read_again(reader: &mut Reader, part: &BatchPart) -> Result<BatchPart, Trouble> {
    if !part.block.is_place() {
        return Ok(part.clone());
    }
    let lost = |why: &str| {
        Trouble::Lost(Unreadable {
            range: part.range,
            why: why.to_owned(),
        })
    };
    match reader.next(part.range.first).map_err(Trouble::Disk)? {
        ReadNext::Block(block) if block.range() == part.block.range() => Ok(BatchPart {
            block,
            range: part.range,
            selected: part.selected.clone(),
        }),
        ReadNext::Block(_) => Err(lost("another block lies where theirs was")),
        ReadNext::Gap { why, .. } => Err(match why {
            GapReason::Gone => lost("their segment is gone"),
            GapReason::Damaged(why) => lost(&why),
        }),
        ReadNext::End => Err(lost("the journal ends before them")),
    }
}

/// The body of one batch, under way.
pub(super) struct StreamedBatch {
    batch: Batch,
    shared: Rc<Shared>,
    content: Arc<Content>,
    reader: Reader,
    /// `None`: all of it is made.
    making: Option<BodyInMaking>,
    /// The part to be read next.
    next_part: usize,
    /// Made, and not given yet.
    ready: VecDeque<Bytes>,
    made_bytes: u64,
    raw_bytes: u64,
    trouble: Option<Trouble>,
}

impl StreamedBatch {
    pub(super) fn new(
        batch: &Batch,
        shared: &Rc<Shared>,
        content: &Arc<Content>,
        reader: Reader,
    ) -> Self {
        Self {
            batch: batch.clone(),
            shared: Rc::clone(shared),
            content: Arc::clone(content),
            reader,
            making: None,
            next_part: 0,
            ready: VecDeque::new(),
            made_bytes: 0,
            raw_bytes: 0,
            trouble: None,
        }
    }

    /// Bytes of the body before compression; known once it was read to its end.
    pub(super) fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// Why the body could not be made to its end, if it was asked for.
    pub(super) fn take_trouble(&mut self) -> Option<Trouble> {
        self.trouble.take()
    }

    fn make_more(&mut self, mut making: BodyInMaking) -> Result<(), Trouble> {
        let slice = self.next_slice()?;
        let template = self.content.template.as_ref();
        let mut encoder = self.shared.encoder.borrow_mut();
        if slice.is_empty() {
            let finished = encoder.finish(making, template, self.batch.id.range);
            let (body, raw_bytes) = finished.map_err(Trouble::Lost)?;
            if let Body::Whole(chunks) = body {
                self.ready.extend(chunks);
            }
            self.raw_bytes = raw_bytes;
            return Ok(());
        }
        let added = encoder.add(&mut making, &slice, template);
        added.map_err(Trouble::Lost)?;
        let taken = encoder.take(&mut making);
        let chunks = taken.map_err(|error| Trouble::Disk(io::Error::other(error)))?;
        self.ready.extend(chunks);
        self.making = Some(making);
        Ok(())
    }

    /// The next parts, with their blocks: few, but never a part of those whose lines are in one run.
    fn next_slice(&mut self) -> Result<Vec<BatchPart>, Trouble> {
        let mut slice: Vec<BatchPart> = Vec::new();
        let mut raw_bytes = 0;
        while let Some(part) = self.batch.parts.get(self.next_part) {
            let goes_on = slice.last().is_some_and(|last| is_one_run(last, part));
            if raw_bytes >= SLICE_RAW_BYTES && !goes_on {
                break;
            }
            slice.push(read_again(&mut self.reader, part)?);
            raw_bytes += part.taken().raw_bytes;
            self.next_part += 1;
        }
        Ok(slice)
    }
}

fn is_one_run(one: &BatchPart, next: &BatchPart) -> bool {
    let run = |part: &BatchPart| -> Option<Arc<OwnRun>> {
        part.own_lines().map(|own| Arc::clone(&own.run))
    };
    matches!((run(one), run(next)), (Some(one), Some(next)) if Arc::ptr_eq(&one, &next))
}

impl BodySource for StreamedBatch {
    fn rewind(&mut self) {
        let template = self.content.template.as_ref();
        let mut encoder = self.shared.encoder.borrow_mut();
        self.making = Some(encoder.begin(&self.batch.parts, self.shared.form, template));
        self.next_part = 0;
        self.ready.clear();
        self.made_bytes = 0;
        self.trouble = None;
    }

    fn next(&mut self) -> Result<Option<Bytes>, BodyBroken> {
        loop {
            match self.ready.pop_front() {
                Some(chunk) if chunk.is_empty() => continue,
                Some(chunk) => {
                    self.made_bytes += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                None => {}
            }
            let Some(making) = self.making.take() else {
                return Ok(None);
            };
            if let Err(trouble) = self.make_more(making) {
                let why = trouble.to_string();
                self.trouble = Some(trouble);
                return Err(BodyBroken(why));
            }
        }
    }

    fn made_bytes(&self) -> u64 {
        self.made_bytes
    }
}
