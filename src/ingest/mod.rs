//! Inputs: from bytes of a socket, body or file to judged lines in a block's buffer.
pub mod admission;
pub mod framer;
pub mod json_array;
pub mod validate;
