//! The `file` sink: batches appended to a local file, without duplicates after a crash.
//!
//! **The promise.** A batch is `Delivered` when its bytes are synced. The cursor record
//! holds, next to the cursor, how long the file was at that cursor ([`Sink::state`]). After
//! a crash the file is cut to that length, and what the cursor has not passed is delivered
//! again: nothing is lost and nothing stands there twice, provided that nobody else writes
//! to the file.
//!
//! **Steps that need a record.** The cut relies on the record naming the right file and a
//! length that is a batch's end. Three changes would break that if a crash fell between the
//! change and the next record, so each is recorded before anything is written after it
//! ([`Outcome::RecordFirst`]):
//!
//! 1. *before a rename*: state `closing` with the full length. A crash from here to 2 finds
//!    the file either whole under its name, and closes it again, or gone (or empty), and so
//!    renamed; all its bytes are behind the cursor either way.
//! 2. *after a rename*: the new, empty file. Only then is a byte written to it, which is
//!    why an empty file in state `closing` is always the new one.
//! 3. *when the file is not as recorded*: first use of a file, or a file that someone
//!    removed, replaced, cut or appended to. The sink goes on at the file's real end, says so in a
//!    warning, and never cuts what it has not written. A file whose end is not known to be
//!    a batch's end (no line end at its end, or gzip) is closed first.
//!
//! The file is opened anew for every batch: it costs microseconds, and a file that was
//! moved away or replaced is noticed instead of written to unseen.
//!
//! Errors are the disk's own, which name operation and path.
//!
//! Calls to the disk block the stream's thread, as that thread has nothing else to do; so a
//! delivery runs to its end once begun and cannot be cancelled in the middle of a write.

#[cfg(test)]
mod crash_disk;
mod naming;
mod state;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::naming::FileName;
use self::state::{FileState, PATH_BYTES_MAX};
use super::settings::{Compression, FileSettings};
use super::{Failure, OpenContext, OpenError, Outcome, Sink, WallClock};
use crate::batch::Parcel;
use crate::os::disk::{Disk, DiskFile, OpenMode};
use crate::position::JournalId;

/// Delivers to a local file.
pub struct FileSink {
    settings: FileSettings,
    name: FileName,
    stream: Arc<str>,
    disk: Arc<dyn Disk>,
    clock: WallClock,
    /// Where the sink stands. While not `checked`, as the cursor record said.
    state: Option<FileState>,
    /// The file was compared with `state` since the sink was opened.
    checked: bool,
    /// `state` must be in a durable record before anything is written.
    record_due: bool,
    /// A write of ours failed: what stands behind `state.length` is ours to cut.
    tail_torn: bool,
    /// How the file's content is compressed; `None` while it is empty or not looked at.
    content: Option<Compression>,
}

impl FileSink {
    /// Checks the path, reads the recorded state and cuts the file to it. A disk that fails
    /// here is told in the log and tried again with the first delivery.
    ///
    /// # Errors
    /// When the path cannot be worked with or the recorded state cannot be read.
    pub fn open(settings: &FileSettings, context: OpenContext<'_>) -> Result<Self, OpenError> {
        let refused = |why| OpenError::Path {
            path: settings.path.clone(),
            why,
        };
        let numbered = context.journals > 1 || context.journal == JournalId::INTERNAL;
        let name = FileName::new(&settings.path, numbered.then_some(context.journal))
            .ok_or_else(|| refused("must end in a file name in UTF-8"))?;
        if name.current().as_os_str().len() > PATH_BYTES_MAX {
            return Err(refused("is longer than 900 bytes"));
        }
        let state = context
            .state
            .filter(|bytes| !bytes.is_empty())
            .map(FileState::decode)
            .transpose()
            .map_err(OpenError::State)?;
        let mut sink = Self {
            settings: settings.clone(),
            name,
            stream: context.stream,
            disk: context.disk,
            clock: context.clock,
            state,
            checked: false,
            record_due: false,
            tail_torn: false,
            content: None,
        };
        if let Err(error) = sink.check() {
            tracing::warn!(stream = %sink.stream, %error, "file destination is not ready");
        }
        Ok(sink)
    }

    /// One delivery. Every step that needs a record ends it with `RecordFirst`.
    fn advance(&mut self, parcel: &Parcel) -> io::Result<Outcome> {
        let body_bytes = parcel.body_bytes();
        if body_bytes == 0 {
            return Ok(Outcome::Delivered);
        }
        self.check()?;
        if self.record_due {
            return Ok(Outcome::RecordFirst);
        }
        if self.state().closing {
            self.rotate()?;
            return Ok(Outcome::RecordFirst);
        }
        let Some(file) = self.current_file()? else {
            return Ok(Outcome::RecordFirst);
        };
        if self.must_rotate_before(body_bytes, parcel.content_encoding) {
            self.state_mut().closing = true;
            self.record_due = true;
            return Ok(Outcome::RecordFirst);
        }
        self.tail_torn = true;
        let mut at = self.state().length;
        for chunk in parcel.chunks() {
            file.write_at(chunk, at)?;
            at += chunk.len() as u64;
        }
        file.sync()?;
        self.tail_torn = false;
        if self.state().length == 0 {
            self.state_mut().opened = (self.clock)();
        }
        self.state_mut().length = at;
        self.content = Some(parcel.content_encoding);
        Ok(Outcome::Delivered)
    }

    /// Once after start: brings file and recorded state together.
    fn check(&mut self) -> io::Result<()> {
        if self.checked {
            return Ok(());
        }
        let path = self.name.current();
        let recorded = self.state.clone().filter(|state| {
            let same = state.path == path;
            if !same {
                tracing::warn!(
                    stream = %self.stream, recorded = %state.path.display(), path = %path.display(),
                    "the destination's path was changed; going on in the new file"
                );
            }
            same
        });
        let dir = &self.name.dir;
        self.disk.create_dir_all(dir)?;
        let found = self.open_existing(&path)?;
        match (found, recorded) {
            (None, recorded) => self.begin_file(recorded.as_ref())?,
            (Some((file, length)), None) => self.adopt(file.as_ref(), length)?,
            (Some((file, length)), Some(state)) => {
                self.check_recorded(file.as_ref(), length, state)?;
            }
        }
        self.checked = true;
        Ok(())
    }

    /// After a start with a record of a file that is there.
    fn check_recorded(
        &mut self,
        file: &dyn DiskFile,
        length: u64,
        recorded: FileState,
    ) -> io::Result<()> {
        let path = &recorded.path;
        if length == 0 && recorded.closing {
            // Renamed, and the new file made, before a crash.
            return self.begin_file(Some(&recorded));
        }
        if length < recorded.length {
            self.warn_changed(recorded.length, length);
            return self.adopt(file, length);
        }
        if length > recorded.length {
            tracing::info!(
                stream = %self.stream, path = %path.display(), cut_bytes = length - recorded.length,
                "cut what was written after the last cursor record; it is delivered again"
            );
            file.set_len(recorded.length)?;
            file.sync()?;
        }
        self.content = content_of(file, recorded.length)?;
        self.state = Some(recorded);
        Ok(())
    }

    /// The file to write to, when it is as `state` says. `None` after going on with another
    /// one, which must be recorded first.
    fn current_file(&mut self) -> io::Result<Option<Arc<dyn DiskFile>>> {
        let path = self.name.current();
        let expected = self.state().length;
        let Some((file, length)) = self.open_existing(&path)? else {
            let dir = &self.name.dir;
            self.disk.create_dir_all(dir)?;
            let previous = self.state.clone();
            self.begin_file(previous.as_ref())?;
            return Ok(None);
        };
        if length > expected && self.tail_torn {
            file.set_len(expected)?;
            // A rename may come next, and the closed file must not grow back.
            file.sync()?;
        } else if length != expected {
            self.warn_changed(expected, length);
            self.adopt(file.as_ref(), length)?;
            return Ok(None);
        }
        Ok(Some(file))
    }

    /// Goes on at the end of a file that is not as recorded.
    fn adopt(&mut self, file: &dyn DiskFile, length: u64) -> io::Result<()> {
        let path = self.name.current();
        self.content = content_of(file, length)?;
        let ends_whole = match self.content {
            None => true,
            Some(Compression::Gzip) => false,
            Some(Compression::Identity) => last_byte(file, length)? == Some(b'\n'),
        };
        // Nothing says that the file's entry and content are durable; what is recorded must be.
        file.sync()?;
        let dir = &self.name.dir;
        self.disk.sync_dir(dir)?;
        self.state = Some(FileState {
            length,
            opened: (self.clock)(),
            closing: !ends_whole,
            path,
        });
        self.tail_torn = false;
        self.record_due = true;
        Ok(())
    }

    /// Makes the file, or takes an empty one. `previous` is where the sink stood: unless it
    /// was closing, the file should have been there.
    fn begin_file(&mut self, previous: Option<&FileState>) -> io::Result<()> {
        let path = self.name.current();
        if let Some(previous) = previous
            && !previous.closing
            && previous.length > 0
        {
            self.warn_changed(previous.length, 0);
        }
        let mode = OpenMode {
            create: true,
            ..EXISTING
        };
        let opened = self.disk.open(&path, mode);
        opened?;
        let dir = &self.name.dir;
        self.disk.sync_dir(dir)?;
        self.state = Some(FileState {
            length: 0,
            opened: (self.clock)(),
            closing: false,
            path,
        });
        self.content = None;
        self.tail_torn = false;
        self.record_due = true;
        Ok(())
    }

    /// True when the file must be closed before this many bytes of this kind are written.
    fn must_rotate_before(&self, body_bytes: u64, encoding: Compression) -> bool {
        let state = self.state();
        let age_micros = (self.clock)().micros_since(state.opened);
        let full = state.length.saturating_add(body_bytes) > self.settings.rotate_bytes;
        let old = u128::from(age_micros) >= self.settings.rotate_age.as_micros();
        let other_kind = self.content.is_some_and(|content| content != encoding);
        state.length > 0 && (full || old || other_kind)
    }

    /// Renames the file and makes a new one. May be called again after it failed half-way.
    fn rotate(&mut self) -> io::Result<()> {
        let path = self.name.current();
        let mut closed = None;
        // An empty file is the new one of an earlier call; a missing one was renamed.
        if let Some((_, 1..)) = self.open_existing(&path)? {
            let to = self.closed_name()?;
            self.disk.rename(&path, &to)?;
            tracing::info!(stream = %self.stream, path = %to.display(), "closed a file");
            closed = Some(to);
        }
        let previous = self.state.clone();
        self.begin_file(previous.as_ref())?;
        if let Err(error) = self.remove_oldest(closed.as_deref()) {
            tracing::warn!(stream = %self.stream, %error, "old closed files are still there");
        }
        Ok(())
    }

    /// A name for the closed file that nothing has yet.
    fn closed_name(&self) -> io::Result<PathBuf> {
        let now = (self.clock)();
        // A directory that cannot be listed must not keep the file from being closed.
        let mut names = self.disk.list(&self.name.dir).unwrap_or_default();
        loop {
            let path = self.name.closed(now, &names);
            if !self.disk.exists(&path)? {
                return Ok(path);
            }
            let taken = path.file_name().and_then(|name| name.to_str());
            names.push(taken.expect("a closed file's name is UTF-8").to_owned());
        }
    }

    /// Removes closed files beyond `keep_files`, oldest first, but not the one just closed:
    /// after a clock that went back its name need not be the newest.
    fn remove_oldest(&self, just_closed: Option<&Path>) -> io::Result<()> {
        let keep = usize::try_from(self.settings.keep_files).unwrap_or(usize::MAX);
        if keep == 0 {
            return Ok(());
        }
        let dir = &self.name.dir;
        let names = self.disk.list(dir)?;
        let mut closed = self.name.closed_among(&names);
        let newest = just_closed.and_then(Path::file_name);
        closed.retain(|name| Some(name.as_os_str()) != newest);
        let kept_besides = keep - usize::from(newest.is_some());
        let surplus = closed.len().saturating_sub(kept_besides);
        for name in &closed[..surplus] {
            let path = dir.join(name);
            self.disk.remove(&path)?;
            tracing::info!(stream = %self.stream, path = %path.display(), "removed a closed file");
        }
        Ok(())
    }

    /// The file and its length; `None` when it is not there.
    fn open_existing(&self, path: &Path) -> io::Result<Option<FoundFile>> {
        let file = match self.disk.open(path, EXISTING) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let length = file.len()?;
        Ok(Some((file, length)))
    }

    fn warn_changed(&self, expected_bytes: u64, found_bytes: u64) {
        tracing::warn!(
            stream = %self.stream, path = %self.name.current().display(), expected_bytes, found_bytes,
            "the file was changed or removed by someone else; going on at its end"
        );
    }

    fn state(&self) -> &FileState {
        self.state.as_ref().expect("a checked sink has a state")
    }

    fn state_mut(&mut self) -> &mut FileState {
        self.state.as_mut().expect("a checked sink has a state")
    }
}

impl Sink for FileSink {
    async fn deliver(&mut self, parcel: &Parcel) -> Outcome {
        self.advance(parcel).unwrap_or_else(|error| Outcome::Retry {
            why: Failure {
                reason: "file_write_failed",
                detail: error.to_string(),
            },
            after: None,
        })
    }

    fn state(&self) -> Vec<u8> {
        self.state
            .as_ref()
            .map(FileState::encode)
            .unwrap_or_default()
    }

    fn recorded(&mut self) {
        self.record_due = false;
    }
}

impl std::fmt::Debug for FileSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSink")
            .field("state", &self.state)
            .field("checked", &self.checked)
            .field("record_due", &self.record_due)
            .finish_non_exhaustive()
    }
}

/// An open file and its length in bytes.
type FoundFile = (Arc<dyn DiskFile>, u64);

/// Opens a file that is there, buffered: batches are not aligned to pages.
const EXISTING: OpenMode = OpenMode {
    write: true,
    create: false,
    direct: false,
};

/// How a file's content is compressed, told by its first bytes; `None` for an empty file.
fn content_of(file: &dyn DiskFile, length: u64) -> io::Result<Option<Compression>> {
    const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
    if length == 0 {
        return Ok(None);
    }
    let mut first = [0; 2];
    let read = file.read_at(&mut first, 0)?;
    let gzip = read == first.len() && first == GZIP_MAGIC;
    Ok(Some(if gzip {
        Compression::Gzip
    } else {
        Compression::Identity
    }))
}

fn last_byte(file: &dyn DiskFile, length: u64) -> io::Result<Option<u8>> {
    let mut byte = [0];
    let read = file.read_at(&mut byte, length.saturating_sub(1))?;
    Ok((read == 1).then_some(byte[0]))
}
