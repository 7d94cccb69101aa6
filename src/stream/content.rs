//! What a stream makes of the journal: which events it takes, and what they look like.
//!
//! The content of a batch is a pure function of its range and of this, which [`Content::version`] names.

use std::sync::Arc;

use crate::filter::selection::{SelectionSet, Selections};
use crate::stream::select::Take;
use crate::stream::template::Template;

/// In force for a stream from its next uncut batch on; replaced as a whole.
#[derive(Debug)]
pub struct Content {
    /// What the stream takes.
    pub take: Take,
    /// The selections of all streams when this was made: its own is among them.
    pub selections: Arc<SelectionSet>,
    /// Its own selection alone: for blocks that no other stream will see.
    pub own: Selections,
    /// What it makes of them; `None`: the lines as they came.
    pub template: Option<Template>,
    /// Hash of rule, sampling and template; 0 for a stream that sends all events as they came.
    pub version: u64,
}

impl Content {
    /// All events, as they came.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            take: Take::default(),
            selections: Arc::new(SelectionSet::compile(&[])),
            own: Selections::compile(&[]),
            template: None,
            version: 0,
        }
    }
}
