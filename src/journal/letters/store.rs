//! The store of a stream's dead letters: an index in memory, the letters on disk.
//!
//! A letter that [`LetterStore::append`] took is durable, and stays until it is removed or
//! evicted. An event is stored once, however often it is appended. Removing writes the file anew
//! beside its place and renames it, so whoever reads meanwhile sees all of the old one or all of
//! the new. One thread owns a store; a second writer of the file would spoil it, which the lock
//! of the data directory prevents.
//!
//! The index takes about 100 bytes a letter.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::batch::EventPosition;
use crate::journal::letters::format;
use crate::journal::letters::read::{LetterFindings, Piece, read_pieces};
use crate::journal::letters::{DeadLetter, LetterId, Which, file_of};
use crate::journal::settings::{LettersSettings, WhenLettersFull};
use crate::os::disk::{Disk, DiskFile, OpenMode};
use crate::position::Timestamp;

/// Bytes copied at a time.
const COPY_BYTES: usize = 1024 * 1024;

/// An eviction takes at least this share of the room, so that a full store is not written anew
/// for each letter.
const EVICTION_SHARE: u64 = 16;

/// Ending of a file that is written anew.
const MAKING: &str = "new";

/// Ending of the file of lines that do not hold.
const DAMAGED: &str = "damaged";

const WRITE: OpenMode = OpenMode {
    write: true,
    create: true,
    direct: false,
};

/// A stream's dead letters, open for writing.
#[derive(Debug)]
pub struct LetterStore {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    path: PathBuf,
    settings: LettersSettings,
    file: Arc<dyn DiskFile>,
    /// The letters, in the order of the file.
    entries: Vec<LetterEntry>,
    /// Bytes of the letters, back to back from the file's beginning.
    len: u64,
    /// Something that is no letter may stand behind `len`: an append failed.
    torn: bool,
    /// The letters come from an earlier run, which may have ended after a sync that failed: they
    /// are read, and may be in the page cache alone.
    unsettled: bool,
    /// The file was renamed, and the name may not be durable.
    renamed: bool,
}

/// What the index knows of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterEntry {
    /// Where its event is.
    pub position: EventPosition,
    /// When the event was received.
    pub received: Timestamp,
    /// When it was refused.
    pub refused: Timestamp,
    /// Why.
    pub reason: Arc<str>,
    /// Bytes of the event, without a line end.
    pub line_bytes: u64,
    /// First byte of the letter in the file.
    at: u64,
    /// Bytes of the letter in the file, its line end included.
    bytes: u64,
}

impl LetterEntry {
    /// What people call the letter.
    #[must_use]
    pub const fn id(&self) -> LetterId {
        LetterId::of(self.position)
    }
}

/// Whether letters have room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Room {
    /// They have, or are there already.
    Fits,
    /// They have not, and the settings let nothing be evicted, or they are more than the store
    /// may hold at all.
    Full,
    /// They have when the oldest letters go, which [`LetterStore::append`] does.
    Evicts {
        /// Those that go, the oldest first.
        ids: Vec<LetterId>,
        /// Bytes of their events, without line ends.
        line_bytes: u64,
    },
}

/// What an append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Letters that are new.
    pub stored: u64,
    /// Letters whose event was there already; they are left as they were.
    pub known: u64,
    /// Letters that were evicted.
    pub evicted: u64,
}

/// Why letters were not appended: none of them counts then.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// They have no room, as of [`LetterStore::room_for`].
    #[error(
        "the dead letters are full: {held_bytes} bytes of {bytes_max} are taken, {needed_bytes} more are needed"
    )]
    Full {
        /// Bytes of the letters held.
        held_bytes: u64,
        /// Bytes that the new ones take.
        needed_bytes: u64,
        /// Bytes that the store may hold.
        bytes_max: u64,
    },
    /// The disk refused. Appending the same again is sound, and the way to go on.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl LetterStore {
    /// Opens the letters of a stream in the directory of letters, or makes both. An end that no
    /// write finished is cut. Lines that do not hold are copied to `STREAM.letters.damaged`,
    /// durably, and then taken out.
    ///
    /// # Errors
    /// When the disk refuses; `InvalidData` when a letter is of a later version, and then nothing
    /// was changed.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        stream: &str,
        settings: LettersSettings,
    ) -> io::Result<(Self, LetterFindings)> {
        disk.create_dir_all(dir)?;
        let path = file_of(dir, stream);
        let file = disk.open(&path, WRITE)?;
        // The name may be new, or not be durable since the run that made it or renamed it.
        disk.sync_dir(dir)?;
        let mut store = Self {
            disk,
            dir: dir.to_owned(),
            path,
            settings,
            file,
            entries: Vec::new(),
            len: 0,
            torn: false,
            unsettled: true,
            renamed: false,
        };
        let making = store.beside(MAKING);
        if store.disk.exists(&making)? {
            store.disk.remove(&making)?;
        }
        let findings = store.load()?;
        Ok((store, findings))
    }

    /// Reads the index, and leaves nothing but letters in the file.
    fn load(&mut self) -> io::Result<LetterFindings> {
        let mut findings = LetterFindings::default();
        let (mut at, mut damaged) = (0, Vec::new());
        let entries = &mut self.entries;
        read_pieces(&*self.file, &mut |bytes, piece| {
            findings.add(bytes, &piece);
            let range = (at, bytes.len() as u64);
            at += range.1;
            match piece {
                Piece::Letter(letter) => push(entries, &letter, range),
                Piece::Damaged => damaged.extend_from_slice(bytes),
                Piece::Torn => {}
            }
            Ok(())
        })?;
        self.len = self.entries.iter().map(|entry| entry.bytes).sum();
        self.torn = findings.torn_bytes > 0;
        if !damaged.is_empty() {
            self.keep_aside(&damaged)?;
            self.rewrite(&|_| true, &Fresh::default())?;
        }
        self.cut_torn_end()?;
        Ok(findings)
    }

    /// Adds lines that do not hold to the file for them.
    fn keep_aside(&self, lines: &[u8]) -> io::Result<()> {
        let file = self.disk.open(&self.beside(DAMAGED), WRITE)?;
        file.write_at(lines, file.len()?)?;
        file.sync()?;
        self.disk.sync_dir(&self.dir)
    }

    /// Whether letters have room, and what would go for them. The answer holds until the store
    /// is changed.
    #[must_use]
    pub fn room_for(&self, letters: &[DeadLetter]) -> Room {
        let fresh = self.fresh(letters);
        match self.to_evict(fresh.bytes.len() as u64) {
            None => Room::Full,
            Some(0) => Room::Fits,
            Some(count) => {
                let oldest = &self.entries[..count];
                Room::Evicts {
                    ids: oldest.iter().map(LetterEntry::id).collect(),
                    line_bytes: oldest.iter().map(|entry| entry.line_bytes).sum(),
                }
            }
        }
    }

    /// Stores letters: all of them, durably, or none. Those whose event is there already are left
    /// as they are; when that is so for all, the store says so only once they are durable. Evicts
    /// what [`LetterStore::room_for`] says.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append(&mut self, letters: &[DeadLetter]) -> Result<Appended, AppendError> {
        let fresh = self.fresh(letters);
        let needed_bytes = fresh.bytes.len() as u64;
        let mut appended = Appended {
            stored: fresh.letters.len() as u64,
            known: (letters.len() - fresh.letters.len()) as u64,
            evicted: 0,
        };
        let evicted = self.to_evict(needed_bytes).ok_or(AppendError::Full {
            held_bytes: self.len,
            needed_bytes,
            bytes_max: self.settings.bytes_max,
        })?;
        self.settle_name()?;
        if evicted > 0 {
            let first_kept = self.entries.get(evicted).map_or(self.len, |entry| entry.at);
            self.rewrite(&|entry| entry.at >= first_kept, &fresh)?;
            appended.evicted = evicted as u64;
            return Ok(appended);
        }
        self.settle()?;
        if !fresh.letters.is_empty() {
            self.cut_torn_end()?;
            self.torn = true;
            self.file.write_at(&fresh.bytes, self.len)?;
            self.file.sync()?;
            self.torn = false;
            self.index(&fresh);
        }
        Ok(appended)
    }

    /// Removes letters, durably; returns how many there were. Ids that are not there are none.
    ///
    /// # Errors
    /// When the disk refuses. The letters may be gone then, and may come back; to remove them
    /// again is sound.
    pub fn remove(&mut self, ids: &[LetterId]) -> io::Result<u64> {
        let ids: HashSet<LetterId> = ids.iter().copied().collect();
        let before = self.entries.len();
        self.settle_name()?;
        // A letter there whose append failed would come back with the next start.
        self.cut_torn_end()?;
        if self.entries.iter().any(|entry| ids.contains(&entry.id())) {
            self.rewrite(&|entry| !ids.contains(&entry.id()), &Fresh::default())?;
        }
        Ok((before - self.entries.len()) as u64)
    }

    /// What is known of the letters, the oldest first.
    #[must_use]
    pub fn list(&self) -> &[LetterEntry] {
        &self.entries
    }

    /// Ids of the letters that are meant, the oldest first.
    #[must_use]
    pub fn select(&self, which: &Which) -> Vec<LetterId> {
        let meant = |entry: &&LetterEntry| which.takes(entry.id(), &entry.reason);
        self.entries
            .iter()
            .filter(meant)
            .map(LetterEntry::id)
            .collect()
    }

    /// Reads a letter; `None` when it is not there.
    ///
    /// # Errors
    /// When the disk refuses, or what it gives does not hold (`InvalidData`).
    pub fn read(&self, id: LetterId) -> io::Result<Option<DeadLetter>> {
        let Some(entry) = self.entries.iter().find(|entry| entry.id() == id) else {
            return Ok(None);
        };
        let mut line = vec![0; as_len(entry.bytes)];
        let read = self.file.read_at(&mut line, entry.at)?;
        let line = line[..read].strip_suffix(b"\n").unwrap_or_default();
        let letter = format::decode(line).map_err(|error| {
            let why = format!("dead letter {id} in {}: {error}", self.path.display());
            io::Error::new(io::ErrorKind::InvalidData, why)
        })?;
        Ok(Some(letter))
    }

    /// Letters held.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Bytes of the letters held, as they are in the file.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.len
    }

    /// The letters whose event is not there yet, each once, as they are written.
    fn fresh<'a>(&self, letters: &'a [DeadLetter]) -> Fresh<'a> {
        let mut wanted: HashSet<_> = letters.iter().map(|letter| letter.position).collect();
        for entry in &self.entries {
            wanted.remove(&entry.position);
        }
        let mut fresh = Fresh::default();
        for letter in letters {
            if wanted.remove(&letter.position) {
                format::encode(letter, &mut fresh.bytes);
                fresh.letters.push((letter, fresh.bytes.len() as u64));
            }
        }
        fresh
    }

    /// How many of the oldest letters go so that so many bytes have room; `None`: there is none.
    fn to_evict(&self, needed_bytes: u64) -> Option<usize> {
        let bytes_max = self.settings.bytes_max;
        if needed_bytes == 0 || self.len + needed_bytes <= bytes_max {
            return Some(0);
        }
        if self.settings.when_full == WhenLettersFull::Park || needed_bytes > bytes_max {
            return None;
        }
        let kept_max = bytes_max - needed_bytes.max(bytes_max / EVICTION_SHARE);
        let is_enough = |entry: &LetterEntry| self.len - entry.at <= kept_max;
        let kept = self.entries.iter().position(is_enough);
        Some(kept.unwrap_or(self.entries.len()))
    }

    /// Writes the file anew with the letters to be kept and those that are new, and puts it in
    /// its place, durably.
    fn rewrite(
        &mut self,
        keep: &dyn Fn(&LetterEntry) -> bool,
        fresh: &Fresh<'_>,
    ) -> io::Result<()> {
        let kept = self.entries.iter().filter(|entry| keep(entry));
        let (kept, making) = (kept.cloned().collect(), self.beside(MAKING));
        let made = match self.write_anew(&making, kept, &fresh.bytes) {
            Ok(made) => made,
            Err(error) => {
                // The disk may be full: what is half made must not take the last room.
                if let Err(error) = self.disk.remove(&making) {
                    tracing::debug!(path = %making.display(), %error, "remove a half made file");
                }
                return Err(error);
            }
        };
        self.disk.rename(&making, &self.path)?;
        // From here on it is the file, come what may of the sync of its name.
        (self.file, self.entries, self.len) = made;
        (self.torn, self.unsettled, self.renamed) = (false, false, true);
        self.index(fresh);
        self.settle_name()
    }

    /// Writes a file of the entries and the bytes behind them, durably; returns it, the entries
    /// at their new places, and where they end.
    fn write_anew(
        &self,
        path: &Path,
        mut entries: Vec<LetterEntry>,
        more: &[u8],
    ) -> io::Result<(Arc<dyn DiskFile>, Vec<LetterEntry>, u64)> {
        let file = self.disk.open(path, WRITE)?;
        // An earlier one may have left something.
        file.set_len(0)?;
        let mut len = 0;
        for run in entries.chunk_by_mut(|one, next| one.at + one.bytes == next.at) {
            let bytes = run.iter().map(|entry| entry.bytes).sum();
            copy((&*self.file, run[0].at), (&*file, len), bytes)?;
            for entry in run {
                entry.at = len;
                len += entry.bytes;
            }
        }
        file.write_at(more, len)?;
        file.sync()?;
        Ok((file, entries, len))
    }

    /// Takes letters into the index that were written at the end.
    fn index(&mut self, fresh: &Fresh<'_>) {
        let begin = self.len;
        for (letter, end) in &fresh.letters {
            push(
                &mut self.entries,
                letter,
                (self.len, begin + end - self.len),
            );
            self.len = begin + end;
        }
    }

    /// Makes the file's name durable, when it may not be.
    fn settle_name(&mut self) -> io::Result<()> {
        if self.renamed {
            self.disk.sync_dir(&self.dir)?;
            self.renamed = false;
        }
        Ok(())
    }

    /// Makes the letters of an earlier run durable. After a sync that failed the system calls them
    /// written and does not write them by itself, so they are written again, as they are, once a
    /// run: before something is written behind them, and before one of them is called known.
    fn settle(&mut self) -> io::Result<()> {
        if self.unsettled {
            copy((&*self.file, 0), (&*self.file, 0), self.len)?;
            self.file.sync()?;
            self.unsettled = false;
        }
        Ok(())
    }

    /// Cuts what a write that failed may have left.
    fn cut_torn_end(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.len)?;
            self.file.sync()?;
            self.torn = false;
        }
        Ok(())
    }

    /// A file beside the letters.
    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(ending);
        name.into()
    }
}

/// Letters on their way into the file.
#[derive(Default)]
struct Fresh<'a> {
    /// Each with the end of its bytes.
    letters: Vec<(&'a DeadLetter, u64)>,
    bytes: Vec<u8>,
}

/// Adds a letter to the index that stands at this place, so many bytes long. Its reason is
/// shared with the letter before it, if that has the same.
fn push(entries: &mut Vec<LetterEntry>, letter: &DeadLetter, (at, bytes): (u64, u64)) {
    let last = entries.last().map(|entry| &entry.reason);
    let reason = match last.filter(|reason| ***reason == *letter.reason) {
        Some(reason) => Arc::clone(reason),
        None => letter.reason.as_str().into(),
    };
    entries.push(LetterEntry {
        position: letter.position,
        received: letter.received,
        refused: letter.refused,
        reason,
        line_bytes: letter.line.len() as u64,
        at,
        bytes,
    });
}

/// Copies so many bytes from one place to the other.
fn copy(from: (&dyn DiskFile, u64), to: (&dyn DiskFile, u64), bytes: u64) -> io::Result<()> {
    let mut chunk = vec![0; COPY_BYTES.min(as_len(bytes))];
    let mut done = 0;
    while done < bytes {
        let len = chunk.len().min(as_len(bytes - done));
        let read = from.0.read_at(&mut chunk[..len], from.1 + done)?;
        if read < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.0.write_at(&chunk[..len], to.1 + done)?;
        done += len as u64;
    }
    Ok(())
}

fn as_len(bytes: u64) -> usize {
    usize::try_from(bytes).expect("bytes of letters have room in memory")
}
