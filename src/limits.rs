//! The limits that no configuration can lift, each with its reason. What an operator may set lives in the plan.

/// Containers that may be open at once in one event; the 129th opening bracket rejects the line.
///
/// RFC 8259 (section 9) allows a limit. 128 is what common parsers accept, so an event that passes here can be
/// read by the SIEM behind us, and the stack of open containers fits two machine words.
pub const NESTING_DEPTH_MAX: usize = 128;

/// Bytes of a rejected line that are kept for its reject record, from the start of the line.
///
/// Enough to recognize the sender and the mistake, little enough that a flood of long lines fills no disk.
pub const REJECT_SAMPLE_BYTES_MAX: usize = 4 << 10;
