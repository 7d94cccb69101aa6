//! What is left of a batch of which the destination took some records and not others.
//!
//! Pure. The identity of the batch stays; only what is sent under it shrinks.

use std::sync::Arc;

use crate::batch::{BatchPart, Selected, share};
use crate::block::verdicts::Bitmap;

/// The parts with only these records left in them, which are numbered from 0 over all parts and in
/// order. Parts without any are gone.
#[must_use]
pub fn remaining(parts: &[BatchPart], records: &[u32]) -> Vec<BatchPart> {
    let mut records = records.iter().copied().peekable();
    let mut number = 0;
    let mut left = Vec::new();
    for part in parts {
        let mut kept = Bitmap::none(part.block.events);
        let mut events = 0;
        let everything;
        let taken = match &part.selected {
            Some(selected) => &*selected.taken,
            None => {
                everything = Bitmap::all(part.block.events);
                &everything
            }
        };
        for event in taken.iter(part.numbers()) {
            if records.next_if_eq(&number).is_some() {
                kept.set(event);
                events += 1;
            }
            number += 1;
        }
        if events > 0 {
            left.push(narrowed(part, kept, events));
        }
    }
    left
}

fn narrowed(part: &BatchPart, kept: Bitmap, events: u64) -> BatchPart {
    let taken = part.taken();
    let selected = part.selected.as_ref();
    let own = selected.and_then(|selected| selected.own.clone());
    let kept = Arc::new(kept);
    let selected = Selected {
        matched: Arc::clone(&kept),
        taken: kept,
        taken_bytes: share(taken.raw_bytes, events, taken.events),
        own,
    };
    BatchPart {
        block: Arc::clone(&part.block),
        range: part.range,
        selected: Some(Arc::new(selected)),
    }
}
