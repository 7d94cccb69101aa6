//! The built-in shapes: one file for each, or for a family. Each file says what a record looks like and where every part
//! comes from; `docs/templates.md` says it to operators.
//!
//! Promises: any JSON object gives a valid record, whatever is missing or of another type than documented.

pub(super) mod audit;
pub(super) mod cadf;
pub(super) mod device;
pub(super) mod elastic;
pub(super) mod hec;
pub(super) mod icl;
pub(super) mod logdna;
mod object;
