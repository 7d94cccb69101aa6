//! Walking the blocks of one segment file, sound or not.
//!
//! Reads whole megabytes and hands out blocks that share them. Where a block does not hold,
//! [`SegmentScan::resync`] looks for the next one that does, page by page.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::block::Block;
use crate::journal::format::{
    self, BLOCK_HEADER_BYTES, BlockHeader, BlockPlace, FormatError, IndexEntry, SegmentHeader,
    Trailer,
};
use crate::limits::DISK_PAGE_BYTES;
use crate::os::buffers::AlignedBuffer;
use crate::os::disk::{Disk, DiskFile, OpenMode, read_around_bad_pages};
use crate::position::{JournalId, Offset, SegmentId};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 1024 * 1024;

const PAGE: u64 = DISK_PAGE_BYTES as u64;

/// A segment file opened for reading.
#[derive(Debug)]
pub struct SegmentScan {
    file: Arc<dyn DiskFile>,
    /// Length of the file as it is.
    len: u64,
    /// Bytes of it that are looked at: whole pages, the last one filled up with zeros, and no
    /// more than the header says.
    file_bytes: u64,
    journal: JournalId,
    segment: SegmentId,
    /// Bytes of the file from `chunk_position` on, as last read.
    chunk: Bytes,
    chunk_position: u64,
}

/// A block read at a position.
#[derive(Debug, Clone)]
pub struct ScannedBlock {
    /// The block.
    pub block: Arc<Block>,
    /// Its header, for the fields a [`Block`] does not carry.
    pub header: BlockHeader,
}

impl ScannedBlock {
    /// Where the next block begins.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.header.position + self.header.stored_bytes() as u64
    }

    /// The block as a line of an index.
    #[must_use]
    pub fn index_entry(&self) -> IndexEntry {
        IndexEntry {
            position: self.header.position,
            first: self.header.first,
            events: self.header.events,
            raw_len: self.header.raw_len,
            stored_bytes: u32::try_from(self.header.stored_bytes()).unwrap_or(u32::MAX),
            received_last: self.header.received_last,
        }
    }
}

/// Reads the header page of a segment file.
///
/// # Errors
/// When the file cannot be read; within, when the page is not a sound header.
pub fn read_header(
    disk: &dyn Disk,
    path: &Path,
    direct: bool,
) -> io::Result<Result<SegmentHeader, FormatError>> {
    let file = open(disk, path, direct)?;
    let page = read_page(&*file, 0)?;
    Ok(SegmentHeader::decode(&page))
}

impl SegmentScan {
    /// Opens a segment of which nothing is known, and reads its header page: one read. The scan
    /// is of no segment when the header does not hold; [`SegmentScan::salvage`] may find one.
    ///
    /// # Errors
    /// When the file cannot be opened or read.
    pub fn open_unknown(
        disk: &dyn Disk,
        path: &Path,
        direct: bool,
        journal: JournalId,
    ) -> io::Result<(Self, Result<SegmentHeader, FormatError>)> {
        let mut scan = Self::open(disk, path, direct, journal, SegmentId([0; 16]))?;
        let header = SegmentHeader::decode(&read_page(&*scan.file, 0)?);
        if let Ok(header) = &header {
            scan.segment = header.segment;
            scan.file_bytes = scan.file_bytes.min(whole_pages(header.file_bytes));
        }
        Ok((scan, header))
    }

    /// Opens a segment whose header is known.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(
        disk: &dyn Disk,
        path: &Path,
        direct: bool,
        journal: JournalId,
        segment: SegmentId,
    ) -> io::Result<Self> {
        let file = open(disk, path, direct)?;
        let len = file.len()?;
        Ok(Self {
            file,
            len,
            file_bytes: len.div_ceil(PAGE) * PAGE,
            journal,
            segment,
            chunk: Bytes::new(),
            chunk_position: 0,
        })
    }

    /// Position of a segment's first block.
    pub const FIRST_POSITION: u64 = PAGE;

    /// Bytes of the file that belong to the segment: whole pages.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Length of the file as it is, which differs when it was cut or appended to.
    #[must_use]
    pub fn len_found(&self) -> u64 {
        self.len
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &dyn DiskFile {
        &*self.file
    }

    /// The same, looking at no more of the file than a segment of `file_bytes` has.
    #[must_use]
    pub fn within(mut self, file_bytes: u64) -> Self {
        self.file_bytes = self.file_bytes.min(whole_pages(file_bytes));
        self
    }

    /// The segment whose blocks are looked for.
    #[must_use]
    pub fn segment(&self) -> SegmentId {
        self.segment
    }

    /// Finds the id of a segment whose header page does not hold, from its trailer or its
    /// blocks, and looks for that segment's blocks from then on. `first` is the offset in the
    /// file's name: what earlier uses of the file left has lower ones.
    ///
    /// # Errors
    /// When the file cannot be read; within, when nothing of the segment is there.
    pub fn salvage(&mut self, first: Offset) -> io::Result<Option<SegmentId>> {
        let trailer = self.trailer_page()?.map(|page| Trailer::decode(&page));
        if let Some(Ok(trailer)) = trailer
            && trailer.end > first
        {
            self.segment = trailer.segment;
            return Ok(Some(self.segment));
        }
        let mut position = Self::FIRST_POSITION;
        while position + PAGE <= self.file_bytes {
            if self.cached_page(position).is_none() {
                self.fill(position, CHUNK_BYTES)?;
            }
            if let Ok(header) = self.peek(position)
                && header.position == position
                && (header.first > first || (header.first == first && header.positions_full))
            {
                self.segment = header.segment;
                if self.block_at(position, None)?.is_ok() {
                    return Ok(Some(header.segment));
                }
            }
            position += PAGE;
        }
        Ok(None)
    }

    /// The last page of the segment, sound or not; `None` when the file is too short for one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn trailer_page(&self) -> io::Result<Option<[u8; DISK_PAGE_BYTES]>> {
        match self.file_bytes.checked_sub(PAGE) {
            Some(at) if at >= Self::FIRST_POSITION => read_page(&*self.file, at).map(Some),
            _ => Ok(None),
        }
    }

    /// The page at `position`; what is behind the end of the file reads as zeros.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn page_at(&self, position: u64) -> io::Result<[u8; DISK_PAGE_BYTES]> {
        read_page(&*self.file, position)
    }

    /// Reads the trailer page: one read.
    ///
    /// # Errors
    /// When the file cannot be read; within, when the trailer is not sound or not of this
    /// segment.
    pub fn read_trailer(&self) -> io::Result<Result<Trailer, FormatError>> {
        let Some(page) = self.trailer_page()? else {
            return Ok(Err(FormatError::Magic {
                what: "segment trailer",
                found: [0; 4],
            }));
        };
        Ok(Trailer::decode(&page).and_then(|trailer| self.check_trailer(trailer)))
    }

    /// Checks that a sound trailer is of this segment, and that its index has room in it.
    ///
    /// # Errors
    /// When it is of another segment, or cannot be right.
    pub fn check_trailer(&self, trailer: Trailer) -> Result<Trailer, FormatError> {
        if trailer.segment != self.segment {
            let (expected, found) = (self.segment, trailer.segment);
            return Err(FormatError::Segment { expected, found });
        }
        let at = self.file_bytes.saturating_sub(PAGE);
        let fits = trailer.blocks_end.checked_add(trailer.index_bytes() as u64);
        if fits.is_none_or(|end| end > at) {
            let found = trailer.index_bytes() as u64;
            return Err(FormatError::Length {
                field: "an index of",
                found,
                limit: at,
            });
        }
        if !trailer.blocks_end.is_multiple_of(PAGE) {
            return Err(FormatError::Place {
                field: "an index at",
                expected: whole_pages(trailer.blocks_end),
                found: trailer.blocks_end,
            });
        }
        Ok(trailer)
    }

    /// Reads the trailer page and the index, when the segment was sealed.
    ///
    /// # Errors
    /// When the file cannot be read; within, when trailer or index are not sound.
    pub fn read_index(&self) -> io::Result<Result<(Trailer, Vec<IndexEntry>), FormatError>> {
        let trailer = match self.read_trailer()? {
            Ok(trailer) => trailer,
            Err(error) => return Ok(Err(error)),
        };
        let index = self.read(trailer.blocks_end, trailer.index_bytes())?;
        Ok(format::decode_index(&index, &trailer).map(|index| (trailer, index)))
    }

    /// The block at `position`, which must begin with `first` when that is given.
    ///
    /// # Errors
    /// When the file cannot be read; within, when no sound block stands there.
    pub fn block_at(
        &mut self,
        position: u64,
        first: Option<Offset>,
    ) -> io::Result<Result<ScannedBlock, FormatError>> {
        let place = BlockPlace {
            journal: self.journal,
            segment: self.segment,
            first,
            position,
        };
        if let Some(image) = self.cached(position)
            && let Ok(scanned) = open_scanned(image, place)
        {
            return Ok(Ok(scanned));
        }
        // Not in the chunk, or it was read before the block was durable: read afresh.
        self.fill(position, CHUNK_BYTES)?;
        let needed = match self.peek(position) {
            Ok(header) => header.stored_bytes(),
            Err(error) => return Ok(Err(error)),
        };
        if position.saturating_add(needed as u64) > self.file_bytes {
            let found = needed as u64;
            let limit = self.file_bytes.saturating_sub(position);
            return Ok(Err(FormatError::Length {
                field: "a length of",
                found,
                limit,
            }));
        }
        if needed > self.chunk.len() {
            self.fill(position, needed)?;
        }
        Ok(self
            .cached(position)
            .ok_or(FormatError::Magic {
                what: "block",
                found: [0; 4],
            })
            .and_then(|image| open_scanned(image, place)))
    }

    /// The next sound block of this segment at or behind `position`, looked for page by page.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn resync(&mut self, mut position: u64) -> io::Result<Option<ScannedBlock>> {
        while position + PAGE <= self.file_bytes {
            if self.cached_page(position).is_none() {
                self.fill(position, CHUNK_BYTES)?;
            }
            let looks_like_one = self
                .peek(position)
                .is_ok_and(|header| header.segment == self.segment);
            if looks_like_one && let Ok(found) = self.block_at(position, None)? {
                return Ok(Some(found));
            }
            position += PAGE;
        }
        Ok(None)
    }

    /// The bytes of the chunk from `position` on that make a whole block, if they are there.
    fn cached(&self, position: u64) -> Option<Bytes> {
        let header = self.peek(position).ok()?;
        let start = usize::try_from(position.checked_sub(self.chunk_position)?).ok()?;
        let end = start.checked_add(header.stored_bytes())?;
        (end <= self.chunk.len()).then(|| self.chunk.slice(start..end))
    }

    fn cached_page(&self, position: u64) -> Option<&[u8]> {
        let start = usize::try_from(position.checked_sub(self.chunk_position)?).ok()?;
        self.chunk.get(start..start + DISK_PAGE_BYTES)
    }

    fn peek(&self, position: u64) -> Result<BlockHeader, FormatError> {
        let page = self.cached_page(position);
        let header: Option<&[u8; BLOCK_HEADER_BYTES]> = page.and_then(<[u8]>::first_chunk);
        header.map_or(
            Err(FormatError::Magic {
                what: "block",
                found: [0; 4],
            }),
            BlockHeader::peek,
        )
    }

    fn fill(&mut self, position: u64, bytes: usize) -> io::Result<()> {
        let left = self.file_bytes.saturating_sub(position);
        let bytes = usize::try_from(left)
            .unwrap_or(bytes)
            .min(bytes.max(CHUNK_BYTES));
        self.chunk = self.read(position, format::pad_to_page(bytes))?;
        self.chunk_position = position;
        Ok(())
    }

    fn read(&self, position: u64, bytes: usize) -> io::Result<Bytes> {
        let mut buffer = AlignedBuffer::zeroed(bytes);
        let read = read_around_bad_pages(&*self.file, buffer.as_mut_slice(), position)?;
        // A block whose padding was cut off is whole: it is padded with zeros.
        buffer.truncate(format::pad_to_page(read));
        Ok(buffer.freeze())
    }
}

fn open_scanned(image: Bytes, place: BlockPlace) -> Result<ScannedBlock, FormatError> {
    let (block, header) = format::open_block(image, place)?;
    Ok(ScannedBlock {
        block: Arc::new(block),
        header,
    })
}

fn whole_pages(bytes: u64) -> u64 {
    bytes / PAGE * PAGE
}

fn open(disk: &dyn Disk, path: &Path, direct: bool) -> io::Result<Arc<dyn DiskFile>> {
    disk.open(
        path,
        OpenMode {
            write: false,
            create: false,
            direct,
        },
    )
}

fn read_page(file: &dyn DiskFile, position: u64) -> io::Result<[u8; DISK_PAGE_BYTES]> {
    let mut buffer = AlignedBuffer::zeroed(DISK_PAGE_BYTES);
    let read = read_around_bad_pages(file, buffer.as_mut_slice(), position)?;
    let mut page = [0; DISK_PAGE_BYTES];
    page[..read].copy_from_slice(&buffer.as_slice()[..read]);
    Ok(page)
}
