//! Bodies kept as they came, to be decoded after the run.
//!
//! Owns the files of a store: one writer per connection, files of at most 256 MiB, first in memory
//! (a tmpfs with room) and then on disk, so that keeping a run's bodies neither costs the relay's
//! disk its bandwidth nor takes memory without bound. A record is
//!
//! ```text
//! "LGBODY01" | ordinal u64 | received_us u64 | flags u32 (1 = gzip) | key bytes u32 | body bytes u64 | key | body
//! ```
//!
//! little endian. Ordinals give the order of receipt over all connections.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::http1::Encoding;

/// Where bodies are kept.
#[derive(Debug)]
pub(crate) struct Store {
    memory: Option<PathBuf>,
    disk: PathBuf,
    memory_bytes_max: u64,
    memory_bytes: AtomicU64,
    files: AtomicU64,
    /// The folders are ours to delete.
    temporary: bool,
}

/// Writes the bodies of one connection.
#[derive(Debug, Default)]
pub(super) struct StoreWriter {
    file: Option<File>,
    file_bytes: u64,
}

/// One body: when, where, how.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// Position in the order of receipt.
    pub(crate) ordinal: u64,
    /// Microseconds since 1970; 0 when not known.
    pub(crate) received_us: u64,
    pub(crate) encoding: Encoding,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) body_bytes: u64,
    file: usize,
    offset: u64,
}

/// All bodies of a store, in the order of receipt.
#[derive(Debug)]
pub(crate) struct StoreIndex {
    files: Vec<PathBuf>,
    pub(crate) records: Vec<Record>,
}

impl Store {
    /// Keeps bodies under `folder`, on whatever file system that is.
    pub(crate) fn in_folder(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self::new(None, folder.to_owned(), 0, false))
    }

    /// Keeps up to `memory_bytes_max` in memory where the system has a tmpfs, the rest under the
    /// temporary folder; both are deleted when the store is dropped.
    pub(crate) fn temporary(memory_bytes_max: u64) -> io::Result<Self> {
        let name = format!("loadgen-{}-bodies", std::process::id());
        let disk = std::env::temp_dir().join(&name);
        fs::create_dir_all(&disk)?;
        let shared_memory = Path::new("/dev/shm");
        let memory = shared_memory.join(&name);
        let room = rustix::fs::statvfs(shared_memory)
            .map(|stat| stat.f_bavail * stat.f_frsize)
            .unwrap_or_default();
        let bytes = memory_bytes_max.min(room / 2);
        let memory = fs::create_dir_all(&memory).is_ok().then_some(memory);
        Ok(Self::new(memory, disk, bytes, true))
    }

    fn new(memory: Option<PathBuf>, disk: PathBuf, memory_bytes_max: u64, temporary: bool) -> Self {
        let (memory_bytes, files) = (AtomicU64::new(0), AtomicU64::new(0));
        Self {
            memory,
            disk,
            memory_bytes_max,
            memory_bytes,
            files,
            temporary,
        }
    }

    /// Reads where everything is.
    pub(crate) fn index(&self) -> io::Result<StoreIndex> {
        let folders = self.memory.iter().chain([&self.disk]);
        StoreIndex::read(folders.map(PathBuf::as_path))
    }

    fn create_file(&self) -> io::Result<File> {
        let reserved = self
            .memory_bytes
            .fetch_add(FILE_BYTES_MAX, Ordering::Relaxed);
        let in_memory = reserved + FILE_BYTES_MAX <= self.memory_bytes_max;
        let memory = self.memory.as_ref().filter(|_| in_memory);
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let name = format!("{number:06}-{}.bodies", std::process::id());
        let path = memory.unwrap_or(&self.disk).join(name);
        OpenOptions::new().write(true).create_new(true).open(path)
    }
}

impl Drop for Store {
    /// Deletes a temporary store; one with a folder of its own stays.
    fn drop(&mut self) {
        for folder in self
            .memory
            .iter()
            .chain([&self.disk])
            .filter(|_| self.temporary)
        {
            fs::remove_dir_all(folder).ok();
        }
    }
}

impl StoreWriter {
    /// Appends one body.
    pub(super) fn append(&mut self, store: &Store, record: &NewRecord<'_>) -> io::Result<()> {
        if self.file_bytes >= FILE_BYTES_MAX {
            *self = Self::default();
        }
        if self.file.is_none() {
            self.file = Some(store.create_file()?);
        }
        let file = self.file.as_mut().expect("just created");
        let key = record.idempotency_key.unwrap_or_default().as_bytes();
        let key_bytes = u32::try_from(key.len()).expect("heads are bounded to 64 KiB");
        let mut head = Vec::with_capacity(HEAD_BYTES + key.len());
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&record.ordinal.to_le_bytes());
        head.extend_from_slice(&record.received_us.to_le_bytes());
        head.extend_from_slice(&u32::from(record.encoding == Encoding::Gzip).to_le_bytes());
        head.extend_from_slice(&key_bytes.to_le_bytes());
        head.extend_from_slice(&(record.body.len() as u64).to_le_bytes());
        head.extend_from_slice(key);
        file.write_all(&head)?;
        file.write_all(record.body)?;
        self.file_bytes += (head.len() + record.body.len()) as u64;
        Ok(())
    }
}

/// A body to be kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewRecord<'a> {
    pub(super) ordinal: u64,
    pub(super) received_us: u64,
    pub(super) encoding: Encoding,
    pub(super) idempotency_key: Option<&'a str>,
    pub(super) body: &'a [u8],
}

impl StoreIndex {
    /// Reads the heads of all records in `folders`. What a killed receiver left half written at a
    /// file's end was never answered for and is skipped.
    pub(crate) fn read<'a>(folders: impl Iterator<Item = &'a Path>) -> io::Result<Self> {
        let mut index = Self {
            files: Vec::new(),
            records: Vec::new(),
        };
        for folder in folders {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path
                    .extension()
                    .is_some_and(|extension| extension == "bodies")
                {
                    index.read_file(path)?;
                }
            }
        }
        index.records.sort_by_key(|record| record.ordinal);
        Ok(index)
    }

    fn read_file(&mut self, path: PathBuf) -> io::Result<()> {
        let file = File::open(&path)?;
        let file_bytes = file.metadata()?.len();
        let mut reader = BufReader::new(file);
        let mut offset = 0;
        while offset + HEAD_BYTES as u64 <= file_bytes {
            let mut head = [0; HEAD_BYTES];
            reader.read_exact(&mut head)?;
            let word =
                |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes"));
            if head[..8] != *MAGIC {
                let message = format!("{}: no record at byte {offset}", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            let (flags, key_bytes) = (word(24) & 0xffff_ffff, word(24) >> 32);
            let body_bytes = word(32);
            let body_at = offset + HEAD_BYTES as u64 + key_bytes;
            if body_at + body_bytes > file_bytes {
                break;
            }
            let mut key = vec![0; usize::try_from(key_bytes).expect("a u32")];
            reader.read_exact(&mut key)?;
            let key = String::from_utf8_lossy(&key).into_owned();
            self.records.push(Record {
                ordinal: word(8),
                received_us: word(16),
                encoding: if flags & 1 == 1 {
                    Encoding::Gzip
                } else {
                    Encoding::Identity
                },
                idempotency_key: Some(key).filter(|key| !key.is_empty()),
                body_bytes,
                file: self.files.len(),
                offset: body_at,
            });
            offset = body_at + body_bytes;
            reader.seek_relative(i64::try_from(body_bytes).expect("within a file"))?;
        }
        self.files.push(path);
        Ok(())
    }

    /// Opens the bodies for reading; each thread has its own.
    pub(crate) fn bodies(&self) -> Bodies<'_> {
        Bodies {
            index: self,
            open: HashMap::new(),
        }
    }
}

/// Reads bodies in any order.
pub(crate) struct Bodies<'a> {
    index: &'a StoreIndex,
    open: HashMap<usize, File>,
}

impl Bodies<'_> {
    /// Replaces `body` with the body of `record`.
    pub(crate) fn read(&mut self, record: &Record, body: &mut Vec<u8>) -> io::Result<()> {
        if self.open.len() > OPEN_FILES_MAX {
            self.open.clear();
        }
        let file = match self.open.entry(record.file) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(File::open(&self.index.files[record.file])?)
            }
        };
        body.clear();
        file.seek(SeekFrom::Start(record.offset))?;
        file.take(record.body_bytes).read_to_end(body)?;
        Ok(())
    }
}

const MAGIC: &[u8; 8] = b"LGBODY01";
const HEAD_BYTES: usize = 40;
const FILE_BYTES_MAX: u64 = 256 << 20;
const OPEN_FILES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_gives_back_what_writers_appended_in_order_of_receipt() {
        let folder = std::env::temp_dir().join(format!("loadgen-store-{}", std::process::id()));
        let store = Store::in_folder(&folder).unwrap();
        let mut writers = [StoreWriter::default(), StoreWriter::default()];
        let record = |ordinal, body| NewRecord {
            ordinal,
            received_us: 10 + ordinal,
            encoding: if ordinal % 2 == 0 {
                Encoding::Gzip
            } else {
                Encoding::Identity
            },
            idempotency_key: (ordinal > 1).then_some("seg/1"),
            body,
        };
        for (ordinal, body) in [(3_u64, &b"three"[..]), (0, b""), (2, b"two"), (1, b"one")] {
            let writer = &mut writers[usize::from(ordinal == 2)];
            writer.append(&store, &record(ordinal, body)).unwrap();
        }
        // A record cut short by a crash is not one.
        let torn = fs::read_dir(&folder)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let mut file = OpenOptions::new().append(true).open(torn).unwrap();
        file.write_all(MAGIC).unwrap();
        drop(file);
        let index = store.index().unwrap();
        let (mut bodies, mut body, mut found) = (index.bodies(), Vec::new(), Vec::new());
        for record in &index.records {
            bodies.read(record, &mut body).unwrap();
            found.push((record.ordinal, String::from_utf8(body.clone()).unwrap()));
        }
        let expected = [(0, ""), (1, "one"), (2, "two"), (3, "three")];
        assert_eq!(
            found,
            expected.map(|(ordinal, body)| (ordinal, body.to_owned()))
        );
        assert_eq!(index.records[0].encoding, Encoding::Gzip);
        assert_eq!(index.records[0].received_us, 10);
        assert_eq!(index.records[1].idempotency_key, None);
        assert_eq!(index.records[3].idempotency_key.as_deref(), Some("seg/1"));
        fs::remove_dir_all(folder).unwrap();
    }
}
