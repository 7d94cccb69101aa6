//! Reading a file of letters from its beginning, of a live or a stopped node.
//!
//! Whoever reads takes no lock and holds one letter at a time. What is not a letter is told to
//! the reader as what it is: a line that does not hold, or an end that no write finished.

use std::io;
use std::path::Path;

use memchr::memmem;

use crate::journal::letters::DeadLetter;
use crate::journal::letters::format::{self, BEGIN, LetterError};
use crate::os::disk::{Disk, DiskFile, OpenMode, read_around_bad_pages};

/// Bytes read at a time; a multiple of a page.
const CHUNK_BYTES: usize = 256 * 1024;

/// What is no letter in a file of letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LetterFindings {
    /// Lines that do not hold.
    pub damaged: u64,
    /// Bytes of those.
    pub damaged_bytes: u64,
    /// Bytes behind the last line end: of a write that was not finished, or is under way.
    pub torn_bytes: u64,
}

/// What a piece of a file of letters is.
pub(super) enum Piece {
    /// A letter.
    Letter(DeadLetter),
    /// A line, or a part of one, that is none.
    Damaged,
    /// What stands behind the last line end.
    Torn,
}

/// Gives every letter of a file to `each`, the oldest first, without changing anything. A file
/// that is not there has none.
///
/// # Errors
/// When the disk refuses, when a letter is of a later version (`InvalidData`), and those of
/// `each`.
pub fn read_letters(
    disk: &dyn Disk,
    path: &Path,
    each: &mut dyn FnMut(DeadLetter) -> io::Result<()>,
) -> io::Result<LetterFindings> {
    let mode = OpenMode {
        write: false,
        create: false,
        direct: false,
    };
    let mut findings = LetterFindings::default();
    let file = match disk.open(path, mode) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(findings),
        Err(error) => return Err(error),
    };
    read_pieces(&*file, &mut |bytes, piece| {
        findings.add(bytes, &piece);
        match piece {
            Piece::Letter(letter) => each(letter),
            Piece::Damaged | Piece::Torn => Ok(()),
        }
    })?;
    Ok(findings)
}

impl LetterFindings {
    pub(super) fn add(&mut self, bytes: &[u8], piece: &Piece) {
        match piece {
            Piece::Letter(_) => {}
            Piece::Damaged => {
                self.damaged += 1;
                self.damaged_bytes += bytes.len() as u64;
            }
            Piece::Torn => self.torn_bytes += bytes.len() as u64,
        }
    }
}

/// Gives every piece of a file to `each`, in order and without gap.
pub(super) fn read_pieces(
    file: &dyn DiskFile,
    each: &mut dyn FnMut(&[u8], Piece) -> io::Result<()>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    // Bytes of the line whose end is not read yet.
    let mut carry = Vec::new();
    let mut offset = 0;
    loop {
        let read = read_around_bad_pages(file, &mut chunk, offset)?;
        for part in chunk[..read].split_inclusive(|byte| *byte == b'\n') {
            carry.extend_from_slice(part);
            if carry.ends_with(b"\n") {
                read_line(&carry, each)?;
                carry.clear();
            }
        }
        offset += read as u64;
        if read < CHUNK_BYTES {
            break;
        }
    }
    if carry.is_empty() {
        return Ok(());
    }
    each(&carry, Piece::Torn)
}

/// Takes a line apart: one letter, or what does not hold and letters behind it, whose line ends
/// were lost before them. What a letter begins with stands nowhere within a sound one: quotes in
/// texts are escaped, and no label is called so.
fn read_line(
    mut line: &[u8],
    each: &mut dyn FnMut(&[u8], Piece) -> io::Result<()>,
) -> io::Result<()> {
    while let Some(text) = line.strip_suffix(b"\n") {
        match format::decode(text) {
            Ok(letter) => return each(line, Piece::Letter(letter)),
            Err(error @ LetterError::Version(_)) => {
                let why = format!("a dead letter cannot be read: {error}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            Err(LetterError::Checksum | LetterError::Content(_)) => {
                let later = line.get(1..).unwrap_or_default();
                let next = memmem::find(later, BEGIN).map_or(line.len(), |at| at + 1);
                each(&line[..next], Piece::Damaged)?;
                line = &line[next..];
            }
        }
    }
    Ok(())
}
