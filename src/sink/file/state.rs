//! What the cursor record keeps for a file sink.
//!
//! ```text
//! offset  bytes  what
//!      0      1  version, 1
//!      1      1  1 when the file is to be closed next, else 0
//!      2      8  length in bytes, little endian
//!     10      8  time of the file's first byte, microseconds, little endian
//!     18      …  path of the file, at most PATH_BYTES_MAX
//! ```

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::position::Timestamp;

/// Longest path of a file destination, so that the state keeps below 1 KiB.
pub(super) const PATH_BYTES_MAX: usize = 900;

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 18;

/// Where the sink stands in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileState {
    /// The file written to.
    pub(super) path: PathBuf,
    /// Bytes of it that hold delivered batches; always a batch's end.
    pub(super) length: u64,
    /// When its first byte was written.
    pub(super) opened: Timestamp,
    /// The file takes nothing more: its renaming is what comes next.
    pub(super) closing: bool,
}

impl FileState {
    /// The bytes for the cursor record.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, u8::from(self.closing)];
        bytes.extend_from_slice(&self.length.to_le_bytes());
        bytes.extend_from_slice(&self.opened.0.to_le_bytes());
        bytes.extend_from_slice(self.path.as_os_str().as_bytes());
        bytes
    }

    /// Reads what [`FileState::encode`] wrote; on an error, what is wrong with it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let (head, path) = bytes
            .split_first_chunk::<HEAD_BYTES>()
            .ok_or("it is too short")?;
        if head[0] != VERSION {
            return Err("its version is unknown; it was written by a newer Weir");
        }
        let number = |at: usize| {
            let bytes: [u8; 8] = head[at..at + 8].try_into().expect("eight bytes are eight");
            bytes
        };
        Ok(Self {
            path: PathBuf::from(OsStr::from_bytes(path)),
            length: u64::from_le_bytes(number(2)),
            opened: Timestamp(i64::from_le_bytes(number(10))),
            closing: head[1] != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_read_as_written_and_fits_the_record() {
        let state = FileState {
            path: PathBuf::from("/".to_owned() + &"p".repeat(PATH_BYTES_MAX - 1)),
            length: u64::MAX - 1,
            opened: Timestamp(-5),
            closing: true,
        };
        let bytes = state.encode();
        assert!(bytes.len() <= 1024);
        assert_eq!(FileState::decode(&bytes), Ok(state));
    }

    #[test]
    fn foreign_state_is_refused_with_a_reason() {
        assert_eq!(FileState::decode(&[1; 17]), Err("it is too short"));
        let newer = FileState::decode(&[2; 30]).unwrap_err();
        assert!(newer.contains("version"));
    }
}
