//! The damage matrix: every class of bytes in a data directory, flipped, zeroed, cut, copied
//! and swapped; the node's own opening code must start, lose at most what was hit, and say
//! exactly what.
//!
//! A case is a directory made by the real code, one change, and three starts: the first tells
//! what is gone, the second has nothing new to tell, the third reads what was written after.
//! The oracle knows no classes: a block counts as lost when its bytes are no longer in place.
//! `cargo test --test damage -- --nocapture` prints the table of `docs/reliability.md`.

#![expect(
    clippy::unwrap_used,
    reason = "the whole program is a test; what fails in it is told with its line"
)]

mod cases;
mod classes;
mod many;
mod oracle;
mod places;
mod scene;
mod whole;
