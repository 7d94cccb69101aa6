//! Everything that can grow has a maximum; this is the list of the fixed ones.
//!
//! Limits that an operator may change are configuration keys and come with the plan; here
//! are the ranges of those keys' neighbours and the constants no one should need to change.

/// Nesting of objects and arrays an event may have. RFC 8259 allows a limit; 128 is what
/// common parsers default to, so a deeper event would be refused further on anyway.
pub const NESTING_DEPTH_MAX: usize = 128;

/// Raw bytes at which a block closes.
pub const BLOCK_RAW_BYTES_CLOSE: usize = 512 * 1024;

/// Events at which a block closes.
pub const BLOCK_EVENTS_CLOSE: u32 = 2_000;

/// Bytes one receive may bring; a block's buffer has this much room behind its close mark.
pub const RECEIVE_BYTES_MAX: usize = 128 * 1024;

/// Default maximum of a line, without its line end.
pub const LINE_BYTES_MAX_DEFAULT: usize = 1024 * 1024;

/// Bytes of a rejected line that are kept in its reject record.
pub const REJECT_SAMPLE_BYTES_MAX: usize = 4 * 1024;

/// Alignment of everything the journal writes: the page of direct I/O.
pub const DISK_PAGE_BYTES: usize = 4096;
