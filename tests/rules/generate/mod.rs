//! Random events and random rules over one small vocabulary, so that rules match.

pub(crate) mod events;
pub(crate) mod trees;
pub(crate) mod vocabulary;
