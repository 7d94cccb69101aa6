//! Byte buffers fit for direct I/O: page-aligned start, length padded to whole pages.
//!
//! An [`AlignedBuffer`] is filled by its one owner and then frozen to [`Bytes`] without a
//! copy, so the same memory is compressed into, written to disk and shared with every
//! sink. Which bytes go in, and what the padding means, is the writer's business.

use std::fmt;

use bytes::Bytes;

use crate::limits::DISK_PAGE_BYTES;

/// A growable byte buffer whose first byte lies on a page boundary.
///
/// The storage is a page longer than the capacity and always initialised, so that an
/// aligned start exists in it and no unsafe code is needed.
pub struct AlignedBuffer {
    /// Owns the memory; its length never changes without [`AlignedBuffer::grow`].
    storage: Vec<u8>,
    /// Index in `storage` of the first byte, below `DISK_PAGE_BYTES`.
    start: usize,
    /// Bytes in use from `start`; `start + len <= storage.len()`.
    len: usize,
}

impl AlignedBuffer {
    /// Makes an empty buffer with room for at least `capacity` bytes, rounded up to pages.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let room = capacity
            .checked_next_multiple_of(DISK_PAGE_BYTES)
            .and_then(|room| room.checked_add(DISK_PAGE_BYTES))
            .expect("a buffer's capacity is far below the address space");
        let storage = vec![0_u8; room];
        let start = storage.as_ptr().align_offset(DISK_PAGE_BYTES);
        assert!(
            start < DISK_PAGE_BYTES,
            "a byte pointer can be aligned to a page"
        );
        Self {
            storage,
            start,
            len: 0,
        }
    }

    /// Makes a buffer of `len` zero bytes, for reading into.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let mut buffer = Self::with_capacity(len);
        buffer.len = len;
        buffer
    }

    /// Bytes in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when no byte is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that fit before the buffer grows, those in use included.
    #[must_use]
    pub fn capacity(&self) -> usize {
        // The page that pays for the alignment is not counted, so that the figure does not
        // depend on where the allocator put the storage.
        self.storage.len() - DISK_PAGE_BYTES
    }

    /// The bytes in use.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.len]
    }

    /// The bytes in use, to change in place.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.len]
    }

    /// Appends `bytes`; grows when there is no room.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        let end = self.start + self.len;
        self.storage[end..end + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Makes room for `additional` bytes behind those in use.
    pub fn reserve(&mut self, additional: usize) {
        let wanted = self
            .len
            .checked_add(additional)
            .expect("a buffer's length is far below the address space");
        if wanted > self.capacity() {
            self.grow(wanted.max(self.capacity() * 2));
        }
    }

    /// The room behind the bytes in use: initialised, but of any content. What is written
    /// there counts after [`AlignedBuffer::advance`].
    #[must_use]
    pub fn spare_mut(&mut self) -> &mut [u8] {
        let from = self.start + self.len;
        let to = self.start + self.capacity();
        &mut self.storage[from..to]
    }

    /// Takes the first `written` bytes of the room into use.
    ///
    /// # Panics
    /// When `written` is more than the room.
    pub fn advance(&mut self, written: usize) {
        assert!(
            written <= self.capacity() - self.len,
            "advance past the end of a buffer"
        );
        self.len += written;
    }

    /// Drops the bytes from `len` on; a longer `len` changes nothing.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Drops all bytes and keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends zeros up to the next multiple of `DISK_PAGE_BYTES`.
    pub fn pad_to_page(&mut self) {
        let padded = self.len.next_multiple_of(DISK_PAGE_BYTES);
        self.reserve(padded - self.len);
        // Zeroed by hand: after `truncate` or `clear` the room holds old bytes, which must
        // not reach the disk.
        let from = self.start + self.len;
        let to = self.start + padded;
        self.storage[from..to].fill(0);
        self.len = padded;
    }

    /// Gives the bytes in use away as shared bytes, without copying.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }

    fn grow(&mut self, capacity: usize) {
        let mut larger = Self::with_capacity(capacity);
        larger.storage[larger.start..larger.start + self.len].copy_from_slice(self.as_slice());
        larger.len = self.len;
        *self = larger;
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuffer")
            .field("len", &self.len)
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

/// True when `bytes` starts on a page boundary and is whole pages long: what direct I/O asks.
#[must_use]
pub fn is_page_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(DISK_PAGE_BYTES)
        && bytes.len().is_multiple_of(DISK_PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn freeze_keeps_address_and_content() {
        let mut buffer = AlignedBuffer::with_capacity(10);
        buffer.extend_from_slice(b"weir");
        buffer.pad_to_page();
        let address = buffer.as_slice().as_ptr().addr();
        let bytes = buffer.freeze();
        assert_eq!(bytes.as_ptr().addr(), address);
        assert!(is_page_aligned(&bytes));
        assert_eq!(&bytes[..4], b"weir");
        assert!(bytes[4..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn padding_after_clear_does_not_leak_old_bytes() {
        let mut buffer = AlignedBuffer::with_capacity(DISK_PAGE_BYTES);
        buffer.extend_from_slice(&[0xff; 3000]);
        buffer.clear();
        buffer.extend_from_slice(b"x");
        buffer.pad_to_page();
        assert_eq!(buffer.len(), DISK_PAGE_BYTES);
        assert!(buffer.as_slice()[1..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn whole_pages_and_empty_buffers_get_no_padding() {
        let mut buffer = AlignedBuffer::with_capacity(0);
        buffer.pad_to_page();
        assert!(buffer.is_empty());
        buffer.extend_from_slice(&[1; DISK_PAGE_BYTES]);
        buffer.pad_to_page();
        assert_eq!(buffer.len(), DISK_PAGE_BYTES);
    }

    #[test]
    fn spare_room_counts_after_advance() {
        let mut buffer = AlignedBuffer::with_capacity(DISK_PAGE_BYTES);
        buffer.extend_from_slice(b"ab");
        buffer.spare_mut()[..2].copy_from_slice(b"cd");
        assert_eq!(buffer.as_slice(), b"ab");
        buffer.advance(2);
        assert_eq!(buffer.as_slice(), b"abcd");
        assert_eq!(buffer.spare_mut().len(), DISK_PAGE_BYTES - 4);
        buffer.truncate(1);
        assert_eq!(buffer.as_slice(), b"a");
    }

    proptest! {
        #[test]
        fn behaves_as_a_vector_and_stays_aligned(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6000), 0..8),
            capacity in 0_usize..9000,
        ) {
            let mut buffer = AlignedBuffer::with_capacity(capacity);
            let mut model = Vec::new();
            for piece in &pieces {
                buffer.extend_from_slice(piece);
                model.extend_from_slice(piece);
                prop_assert_eq!(buffer.as_slice().as_ptr().addr() % DISK_PAGE_BYTES, 0);
            }
            prop_assert_eq!(buffer.as_slice(), model.as_slice());
            buffer.pad_to_page();
            model.resize(model.len().next_multiple_of(DISK_PAGE_BYTES), 0);
            prop_assert!(is_page_aligned(buffer.as_slice()));
            prop_assert_eq!(&buffer.freeze()[..], model.as_slice());
        }
    }
}
