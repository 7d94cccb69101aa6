//! The journal on disk, byte by byte: segment header, block header, index and trailer.
//!
//! Pure: bytes in, values out. `docs/journal-format.md` draws the same picture; the two and
//! the fixtures under `tests/data/` change together. All numbers are little endian.
//!
//! ```text
//! segment file (length fixed when made, a multiple of 4 KiB)
//! | header page | block | block | … | zeros | index | … | trailer page |
//!   4 KiB         each padded to 4 KiB         after the last block   last 4 KiB
//! ```
//! Index and trailer are written once, when the segment is sealed.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::block::codec::{CompressionLevel, Inflater, best_codec};
use crate::block::metadata::Metadata;
use crate::block::{Block, CodecId};
use crate::limits::DISK_PAGE_BYTES;
use crate::position::{JournalId, Offset, SegmentId, Timestamp};

/// Version of all structures below. Readers refuse any other.
pub const FORMAT_VERSION: u16 = 1;

/// Length of a block header.
pub const BLOCK_HEADER_BYTES: usize = 128;

/// Longest metadata or body a block may have; more is damage, not data.
pub const BLOCK_PART_BYTES_MAX: u32 = 256 * 1024 * 1024;

const SEGMENT_MAGIC: [u8; 8] = *b"WEIRSEG1";
const BLOCK_MAGIC: [u8; 4] = *b"WBLK";
const TRAILER_MAGIC: [u8; 8] = *b"WEIREND1";
/// Length of an index entry.
pub const INDEX_ENTRY_BYTES: usize = 40;
const PAGE: usize = DISK_PAGE_BYTES;
/// Where the checksum of a header or trailer page stands.
const PAGE_CRC_AT: usize = PAGE - 4;
/// Where the checksum of a block stands in its header.
const BLOCK_CRC_AT: usize = BLOCK_HEADER_BYTES - 4;

/// SHA-256 over a block as stored, padding left out: a link of the hash chain.
pub type ChainHash = [u8; 32];

/// What a page or block is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes do not begin as they should.
    #[error("no {what} here: the first bytes are {found:02x?}")]
    Magic {
        /// What was expected.
        what: &'static str,
        /// The bytes found.
        found: [u8; 4],
    },
    /// The bytes changed since they were written, or were never written whole.
    #[error("the {what}'s checksum is {stored:08x}, its bytes give {computed:08x}")]
    Checksum {
        /// What was read.
        what: &'static str,
        /// The checksum stored with it.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// Written by another version of Weir.
    #[error("the {what} has format version {found}; this build reads version {FORMAT_VERSION}")]
    Version {
        /// What was read.
        what: &'static str,
        /// Its version.
        found: u16,
    },
    /// A block of an earlier use of the file, or copied from elsewhere.
    #[error("the block belongs to segment {found}, not to {expected}")]
    Segment {
        /// The segment the file is in use as.
        expected: SegmentId,
        /// The segment the block was written for.
        found: SegmentId,
    },
    /// A block at the wrong place.
    #[error("the block says {field} {found} where {expected} is due")]
    Place {
        /// The field that does not fit.
        field: &'static str,
        /// What is due here.
        expected: u64,
        /// What the block says.
        found: u64,
    },
    /// A length that no writer produces.
    #[error("the block says {field} {found}, above the limit {limit}")]
    Length {
        /// The field that is too large.
        field: &'static str,
        /// What the block says.
        found: u64,
        /// The largest value a writer produces, or that the file has room for.
        limit: u64,
    },
    /// A record of another journal, node or name, copied or moved here.
    #[error("the {what} is of another {of}: {found}")]
    Owner {
        /// What was read.
        what: &'static str,
        /// What of its owner differs.
        of: &'static str,
        /// What it says.
        found: String,
    },
    /// An unknown codec.
    #[error("the block's codec is {0}, which this build does not know")]
    Codec(u8),
}

/// The first page of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Journal the segment belongs to.
    pub journal: JournalId,
    /// Drawn when the file was put to use.
    pub segment: SegmentId,
    /// Random id of the node that wrote it.
    pub node: [u8; 16],
    /// Sequence of the segment in its journal, from 1; for offsets held twice the higher wins.
    pub sequence: u64,
    /// Offset of the first event written into it.
    pub first: Offset,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// When the file was put to use.
    pub created: Timestamp,
    /// Chain hash of the block before the segment's first.
    pub chain: ChainHash,
}

impl SegmentHeader {
    /// The header as a page.
    #[must_use]
    pub fn encode(&self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        page[0..8].copy_from_slice(&SEGMENT_MAGIC);
        page[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        page[10..12].copy_from_slice(&self.journal.0.to_le_bytes());
        page[16..32].copy_from_slice(&self.segment.0);
        page[32..48].copy_from_slice(&self.node);
        page[48..56].copy_from_slice(&self.sequence.to_le_bytes());
        page[56..64].copy_from_slice(&self.first.0.to_le_bytes());
        page[64..72].copy_from_slice(&self.file_bytes.to_le_bytes());
        page[72..80].copy_from_slice(&self.created.0.to_le_bytes());
        page[80..112].copy_from_slice(&self.chain);
        seal_page(&mut page);
        page
    }

    /// Reads a header page.
    ///
    /// # Errors
    /// When the page is not one this build wrote whole.
    pub fn decode(page: &[u8; PAGE]) -> Result<Self, FormatError> {
        check_page(page, &SEGMENT_MAGIC, "segment header")?;
        Ok(Self {
            journal: JournalId(u16_at(page, 10)),
            segment: SegmentId(array_at(page, 16)),
            node: array_at(page, 32),
            sequence: u64_at(page, 48),
            first: Offset(u64_at(page, 56)),
            file_bytes: u64_at(page, 64),
            created: Timestamp(i64_at(page, 72)),
            chain: array_at(page, 80),
        })
    }
}

/// What a block says besides its body; see [`Block`] for the fields it shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockHeader {
    /// How the body is encoded.
    pub codec: CodecId,
    /// True in a segment's first block, whose metadata has all input positions.
    pub positions_full: bool,
    /// Segment the block was written for.
    pub segment: SegmentId,
    /// Offset of the first event.
    pub first: Offset,
    /// Number of events.
    pub events: u32,
    /// Bytes of the raw form.
    pub raw_len: u32,
    /// CRC-32 of the raw form.
    pub raw_crc32: u32,
    /// Bytes of metadata.
    pub metadata_len: u32,
    /// Bytes of the body.
    pub body_len: u32,
    /// `durable_end` of the journal as known when the block was written.
    pub durable_end: Offset,
    /// Earliest receive time.
    pub received_first: Timestamp,
    /// Latest receive time.
    pub received_last: Timestamp,
    /// Chain hash of the block before.
    pub chain: ChainHash,
    /// Where in the file the block begins.
    pub position: u64,
}

impl BlockHeader {
    /// Bytes the block takes in the file, padding included.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        pad_to_page(BLOCK_HEADER_BYTES + self.metadata_len as usize + self.body_len as usize)
    }

    /// Where the metadata stands in the block.
    #[must_use]
    pub fn metadata(&self) -> Range<usize> {
        BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + self.metadata_len as usize
    }

    /// Where the body stands in the block.
    #[must_use]
    pub fn body(&self) -> Range<usize> {
        let start = self.metadata().end;
        start..start + self.body_len as usize
    }

    /// The header, with no checksum yet; see [`seal_block`].
    #[must_use]
    pub fn encode(&self) -> [u8; BLOCK_HEADER_BYTES] {
        let mut header = [0; BLOCK_HEADER_BYTES];
        header[0..4].copy_from_slice(&BLOCK_MAGIC);
        header[4..6].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        header[6] = self.codec as u8;
        header[7] = u8::from(self.positions_full);
        header[8..24].copy_from_slice(&self.segment.0);
        header[24..32].copy_from_slice(&self.first.0.to_le_bytes());
        header[32..36].copy_from_slice(&self.events.to_le_bytes());
        header[36..40].copy_from_slice(&self.raw_len.to_le_bytes());
        header[40..44].copy_from_slice(&self.raw_crc32.to_le_bytes());
        header[44..48].copy_from_slice(&self.metadata_len.to_le_bytes());
        header[48..52].copy_from_slice(&self.body_len.to_le_bytes());
        header[56..64].copy_from_slice(&self.durable_end.0.to_le_bytes());
        header[64..72].copy_from_slice(&self.received_first.0.to_le_bytes());
        header[72..80].copy_from_slice(&self.received_last.0.to_le_bytes());
        header[80..112].copy_from_slice(&self.chain);
        header[112..120].copy_from_slice(&self.position.to_le_bytes());
        header
    }

    /// Reads a header without its checksum, so that the block's length is known. Nothing of
    /// it may be believed before [`open_block`] has seen the whole block.
    ///
    /// # Errors
    /// When the bytes are no block header of this version, or the lengths are absurd.
    pub fn peek(header: &[u8; BLOCK_HEADER_BYTES]) -> Result<Self, FormatError> {
        if header[0..4] != BLOCK_MAGIC {
            return Err(FormatError::Magic {
                what: "block",
                found: array_at(header, 0),
            });
        }
        check_version(u16_at(header, 4), "block")?;
        let codec = match header[6] {
            0 => CodecId::Stored,
            1 => CodecId::DeflateRun,
            other => return Err(FormatError::Codec(other)),
        };
        let header = Self {
            codec,
            positions_full: header[7] & 1 != 0,
            segment: SegmentId(array_at(header, 8)),
            first: Offset(u64_at(header, 24)),
            events: u32_at(header, 32),
            raw_len: u32_at(header, 36),
            raw_crc32: u32_at(header, 40),
            metadata_len: u32_at(header, 44),
            body_len: u32_at(header, 48),
            durable_end: Offset(u64_at(header, 56)),
            received_first: Timestamp(i64_at(header, 64)),
            received_last: Timestamp(i64_at(header, 72)),
            chain: array_at(header, 80),
            position: u64_at(header, 112),
        };
        if header
            .first
            .0
            .checked_add(u64::from(header.events))
            .is_none()
        {
            return Err(FormatError::Length {
                field: "a first offset of",
                found: header.first.0,
                limit: u64::MAX - u64::from(header.events),
            });
        }
        let lengths = [
            ("a raw length of", header.raw_len),
            ("a metadata length of", header.metadata_len),
            ("a body length of", header.body_len),
        ];
        for (field, found) in lengths {
            if found > BLOCK_PART_BYTES_MAX {
                let limit = u64::from(BLOCK_PART_BYTES_MAX);
                return Err(FormatError::Length {
                    field,
                    found: u64::from(found),
                    limit,
                });
            }
        }
        Ok(header)
    }
}

/// Where a block is due: in this segment, at this position, with this offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockPlace {
    /// Journal the segment belongs to.
    pub journal: JournalId,
    /// Segment the file is in use as.
    pub segment: SegmentId,
    /// Offset the block must begin with; `None` when any is welcome.
    pub first: Option<Offset>,
    /// Position in the file.
    pub position: u64,
}

/// Writes the checksum into a block's header once header, metadata and body stand in `image`.
pub fn seal_block(image: &mut [u8], end: usize) {
    let crc = block_crc32c(image, end);
    image[BLOCK_CRC_AT..BLOCK_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// Checks a block read from disk and makes it usable. `image` is the block with padding.
///
/// # Errors
/// When anything about the block does not hold; nothing of it may be used then.
pub fn open_block(image: Bytes, place: BlockPlace) -> Result<(Block, BlockHeader), FormatError> {
    let header_bytes: &[u8; BLOCK_HEADER_BYTES] =
        image.first_chunk().ok_or(FormatError::Magic {
            what: "block",
            found: [0; 4],
        })?;
    let header = BlockHeader::peek(header_bytes)?;
    let end = header.body().end;
    if end > image.len() {
        let limit = image.len() as u64;
        return Err(FormatError::Length {
            field: "a length of",
            found: end as u64,
            limit,
        });
    }
    let stored = u32_at(&image, BLOCK_CRC_AT);
    let computed = block_crc32c(&image, end);
    if stored != computed {
        return Err(FormatError::Checksum {
            what: "block",
            stored,
            computed,
        });
    }
    check_place(&header, place)?;
    let block = Block {
        journal: place.journal,
        segment: header.segment,
        first: header.first,
        events: header.events,
        codec: header.codec,
        raw_len: header.raw_len,
        raw_crc32: header.raw_crc32,
        received_first: header.received_first,
        received_last: header.received_last,
        metadata: header.metadata(),
        body: header.body(),
        verdicts: Arc::default(),
        image: image.slice(..header.stored_bytes().min(image.len())),
    };
    Ok((block, header))
}

/// The chain hash of a block: SHA-256 over header, metadata and body.
#[must_use]
pub fn chain_hash(block: &Block) -> ChainHash {
    use sha2::Digest as _;
    sha2::Sha256::digest(&block.image[..block.body.end]).into()
}

/// One block of a sealed segment's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Where the block begins in the file.
    pub position: u64,
    /// Offset of its first event.
    pub first: Offset,
    /// Its events.
    pub events: u32,
    /// Bytes of its raw form.
    pub raw_len: u32,
    /// Bytes it takes in the file, padding included.
    pub stored_bytes: u32,
    /// Latest receive time.
    pub received_last: Timestamp,
}

/// The last page of a sealed segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    /// Segment the file is in use as.
    pub segment: SegmentId,
    /// One past the last offset.
    pub end: Offset,
    /// Where the blocks end and the index begins.
    pub blocks_end: u64,
    /// Number of index entries.
    pub entries: u32,
    /// CRC-32C of the index.
    pub index_crc32c: u32,
    /// Chain hash of the last block.
    pub chain: ChainHash,
    /// Latest receive time in the segment.
    pub received_last: Timestamp,
    /// Bytes of all raw forms.
    pub raw_bytes: u64,
}

impl Trailer {
    /// The trailer as a page.
    #[must_use]
    pub fn encode(&self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        page[0..8].copy_from_slice(&TRAILER_MAGIC);
        page[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        page[16..32].copy_from_slice(&self.segment.0);
        page[32..40].copy_from_slice(&self.end.0.to_le_bytes());
        page[40..48].copy_from_slice(&self.blocks_end.to_le_bytes());
        page[48..52].copy_from_slice(&self.entries.to_le_bytes());
        page[52..56].copy_from_slice(&self.index_crc32c.to_le_bytes());
        page[56..88].copy_from_slice(&self.chain);
        page[88..96].copy_from_slice(&self.received_last.0.to_le_bytes());
        page[96..104].copy_from_slice(&self.raw_bytes.to_le_bytes());
        seal_page(&mut page);
        page
    }

    /// Reads a trailer page.
    ///
    /// # Errors
    /// When the page is not one this build wrote whole.
    pub fn decode(page: &[u8; PAGE]) -> Result<Self, FormatError> {
        check_page(page, &TRAILER_MAGIC, "segment trailer")?;
        Ok(Self {
            segment: SegmentId(array_at(page, 16)),
            end: Offset(u64_at(page, 32)),
            blocks_end: u64_at(page, 40),
            entries: u32_at(page, 48),
            index_crc32c: u32_at(page, 52),
            chain: array_at(page, 56),
            received_last: Timestamp(i64_at(page, 88)),
            raw_bytes: u64_at(page, 96),
        })
    }

    /// Bytes the index takes in the file, padding included.
    #[must_use]
    pub fn index_bytes(&self) -> usize {
        index_bytes(self.entries as usize)
    }
}

/// Bytes an index of so many blocks takes in the file, padding included.
#[must_use]
pub fn index_bytes(entries: usize) -> usize {
    pad_to_page(entries * INDEX_ENTRY_BYTES)
}

/// The index as it stands in the file, padded, and its CRC-32C.
#[must_use]
pub fn encode_index(entries: &[IndexEntry]) -> (Vec<u8>, u32) {
    let mut bytes = Vec::with_capacity(index_bytes(entries.len()));
    for entry in entries {
        bytes.extend_from_slice(&entry.position.to_le_bytes());
        bytes.extend_from_slice(&entry.first.0.to_le_bytes());
        bytes.extend_from_slice(&entry.events.to_le_bytes());
        bytes.extend_from_slice(&entry.raw_len.to_le_bytes());
        bytes.extend_from_slice(&entry.stored_bytes.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&entry.received_last.0.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes);
    bytes.resize(index_bytes(entries.len()), 0);
    (bytes, crc)
}

/// Reads an index.
///
/// # Errors
/// When the bytes are fewer than the trailer says or were changed.
pub fn decode_index(bytes: &[u8], trailer: &Trailer) -> Result<Vec<IndexEntry>, FormatError> {
    let wanted = trailer.entries as usize * INDEX_ENTRY_BYTES;
    let Some(bytes) = bytes.get(..wanted) else {
        let limit = bytes.len() as u64;
        return Err(FormatError::Length {
            field: "an index of",
            found: wanted as u64,
            limit,
        });
    };
    let computed = crc32c::crc32c(bytes);
    if computed != trailer.index_crc32c {
        let stored = trailer.index_crc32c;
        return Err(FormatError::Checksum {
            what: "segment index",
            stored,
            computed,
        });
    }
    let entries = bytes.chunks_exact(INDEX_ENTRY_BYTES);
    let entries: Vec<IndexEntry> = entries.map(IndexEntry::decode).collect();
    match entries.iter().find(|entry| !entry.is_possible(trailer)) {
        Some(entry) => Err(FormatError::Place {
            field: "an index entry at",
            expected: trailer.blocks_end,
            found: entry.position,
        }),
        None => Ok(entries),
    }
}

impl IndexEntry {
    /// One past the offset of its last event.
    #[must_use]
    pub fn end(&self) -> Offset {
        Offset(self.first.0.saturating_add(u64::from(self.events)))
    }

    fn decode(entry: &[u8]) -> Self {
        Self {
            position: u64_at(entry, 0),
            first: Offset(u64_at(entry, 8)),
            events: u32_at(entry, 16),
            raw_len: u32_at(entry, 20),
            stored_bytes: u32_at(entry, 24),
            received_last: Timestamp(i64_at(entry, 32)),
        }
    }

    /// False for an entry that no writer makes, whatever its checksum says.
    fn is_possible(&self, trailer: &Trailer) -> bool {
        let page = PAGE as u64;
        let aligned = self.position.is_multiple_of(page) && self.position >= page;
        let end = self.position.checked_add(u64::from(self.stored_bytes));
        aligned && end.is_some_and(|end| end <= trailer.blocks_end) && self.end() <= trailer.end
    }
}

/// `bytes` rounded up to whole pages.
#[must_use]
pub const fn pad_to_page(bytes: usize) -> usize {
    bytes.div_ceil(PAGE) * PAGE
}

/// CRC-32C of some bytes, for records that are not pages.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// Writes the checksum of a page into its last four bytes.
pub(crate) fn seal_page(page: &mut [u8; PAGE]) {
    let crc = crc32c::crc32c(&page[..PAGE_CRC_AT]);
    page[PAGE_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
}

/// Checks magic, checksum and version of a page.
pub(crate) fn check_page(
    page: &[u8; PAGE],
    magic: &[u8; 8],
    what: &'static str,
) -> Result<(), FormatError> {
    if page[0..8] != magic[..] {
        return Err(FormatError::Magic {
            what,
            found: array_at(page, 0),
        });
    }
    let stored = u32_at(page, PAGE_CRC_AT);
    let computed = crc32c::crc32c(&page[..PAGE_CRC_AT]);
    if stored != computed {
        return Err(FormatError::Checksum {
            what,
            stored,
            computed,
        });
    }
    check_version(u16_at(page, 8), what)
}

fn check_version(found: u16, what: &'static str) -> Result<(), FormatError> {
    if found == FORMAT_VERSION {
        Ok(())
    } else {
        Err(FormatError::Version { what, found })
    }
}

fn check_place(header: &BlockHeader, place: BlockPlace) -> Result<(), FormatError> {
    if header.segment != place.segment {
        let (expected, found) = (place.segment, header.segment);
        return Err(FormatError::Segment { expected, found });
    }
    if header.position != place.position {
        let (expected, found) = (place.position, header.position);
        return Err(FormatError::Place {
            field: "position",
            expected,
            found,
        });
    }
    match place.first {
        Some(first) if first != header.first => Err(FormatError::Place {
            field: "first offset",
            expected: first.0,
            found: header.first.0,
        }),
        _ => Ok(()),
    }
}

/// CRC-32C of a block: all of it up to `end` but the checksum itself.
fn block_crc32c(image: &[u8], end: usize) -> u32 {
    let header = crc32c::crc32c(&image[..BLOCK_CRC_AT]);
    crc32c::crc32c_append(header, &image[BLOCK_HEADER_BYTES..end])
}

pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N]
        .try_into()
        .expect("the slice is N bytes long")
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(array_at(bytes, at))
}

/// Entry of the block fuzz target: arbitrary bytes are refused or opened, never a panic. A
/// second try has its checksum put right, so that what lies behind it is reached too.
pub fn fuzz_open_block(data: &[u8]) {
    let anywhere = BlockPlace {
        journal: JournalId(0),
        segment: SegmentId([0; 16]),
        first: None,
        position: 0,
    };
    if let Ok((block, header)) = open_block(Bytes::copy_from_slice(data), anywhere) {
        assert!(block.body.end <= data.len());
        assert_eq!(block.events, header.events);
    }
    let mut image = data.to_vec();
    if let Some(Ok(header)) = image.first_chunk().map(BlockHeader::peek)
        && header.body().end <= image.len()
    {
        seal_block(&mut image, header.body().end);
        let place = BlockPlace {
            segment: header.segment,
            first: Some(header.first),
            position: header.position,
            ..anywhere
        };
        let (block, _) = open_block(image.into(), place).expect("a sealed block opens");
        let metadata = &block.image[block.metadata.clone()];
        if let Ok(metadata) = Metadata::decode(metadata, &mut Inflater::new()) {
            let mut again = Vec::new();
            let encoded = metadata.encode(&mut *best_codec(CompressionLevel::FASTEST), &mut again);
            encoded.expect("any metadata can be encoded");
            let read_again = Metadata::decode(&again, &mut Inflater::new());
            assert_eq!(read_again, Ok(metadata));
        }
    }
    if let Some(page) = data.first_chunk() {
        if let Ok(header) = SegmentHeader::decode(page) {
            assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        }
        if let Ok(trailer) = Trailer::decode(page)
            && let Ok(entries) = decode_index(&data[PAGE..], &trailer)
        {
            assert_eq!(entries.len(), trailer.entries as usize);
        }
    }
}
