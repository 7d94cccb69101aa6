//! The index of a line: where its quotes, colons and brackets are, as bit masks.
//!
//! Owns: the masks, made lazily in groups of 512 bytes, and the bookkeeping of strings and escapes from group to
//! group. Promises: bits are set only for bytes of the line; of a valid line they are right, of any other bytes they
//! are some bits. Leaves to others: what the masks mean for keys and values ([`walk`](super::walk)).

use crate::os::simd::{CHUNK_BYTES, ClassTable, Classes, Planes, Vector};

/// Chunks of one group, whatever the vector width.
pub(super) const GROUP_CHUNKS: usize = 8;
const GROUP_BYTES: usize = GROUP_CHUNKS * CHUNK_BYTES;

/// The masks of 512 bytes; bit `i` of word `w` speaks of byte `64 w + i`.
#[derive(Clone, Copy, Default)]
struct Group {
    /// Quotes that begin or end a string.
    quote: [u64; GROUP_CHUNKS],
    /// Outside strings: colons and brackets.
    stop: [u64; GROUP_CHUNKS],
    /// Outside strings: `{` and `[`.
    open: [u64; GROUP_CHUNKS],
    /// Outside strings: `}` and `]`.
    close: [u64; GROUP_CHUNKS],
}

/// The masks of one line, as far as they have been asked for. Its memory is used again for the next line.
#[derive(Default)]
pub(super) struct Index {
    groups: Vec<Group>,
    /// Groups that belong to this line; those behind are of earlier lines.
    ready: usize,
    /// 1 when the next group begins within a string.
    in_string: u64,
    /// 1 when the first byte of the next group is escaped.
    after_escape: u64,
    /// A backslash was seen in a ready group.
    backslash: bool,
}

const QUOTE: u8 = 1 << 0;
const BACKSLASH: u8 = 1 << 1;
const STOP: u8 = 1 << 2;
const OPEN: u8 = 1 << 3;
const CLOSE: u8 = 1 << 4;

struct Structure;

impl ClassTable for Structure {
    const CLASSES: Classes = {
        let mut classes = [0; 128];
        classes[b'"' as usize] = QUOTE;
        classes[b'\\' as usize] = BACKSLASH;
        classes[b':' as usize] = STOP;
        classes[b'{' as usize] = STOP | OPEN;
        classes[b'[' as usize] = STOP | OPEN;
        classes[b'}' as usize] = STOP | CLOSE;
        classes[b']' as usize] = STOP | CLOSE;
        classes
    };
}

impl Index {
    /// Forgets the line.
    #[inline]
    pub(super) fn reset(&mut self) {
        self.ready = 0;
        self.in_string = 0;
        self.after_escape = 0;
        self.backslash = false;
    }

    /// True when a backslash is in what is ready.
    #[inline(always)]
    pub(super) fn has_backslash(&self) -> bool {
        self.backslash
    }

    /// Makes `word` ready; false when the line ends before it.
    #[inline(always)]
    pub(super) fn reach<V: Vector>(&mut self, v: V, line: &[u8], word: usize) -> bool {
        while word >= self.ready * GROUP_CHUNKS {
            if self.ready * GROUP_BYTES >= line.len() {
                return false;
            }
            self.extend(v, line);
        }
        true
    }

    /// Makes the next group; there must be bytes for it.
    #[inline(always)]
    fn extend<V: Vector>(&mut self, v: V, line: &[u8]) {
        if self.ready == self.groups.len() {
            self.groups.push(Group::default());
        }
        let group = &mut self.groups[self.ready];
        let mut chunk = 0;
        while chunk < GROUP_CHUNKS {
            let bytes = line
                .get(self.ready * GROUP_BYTES + chunk * CHUNK_BYTES..)
                .unwrap_or_default();
            let Planes { planes, .. } = v.planes::<Structure>(bytes);
            let [quote, backslash, stop, open, close, ..] = planes;
            let within = !v.bits_from(bytes.len());
            let mut quote = quote & within;
            if v.any(backslash) || self.after_escape != 0 {
                self.backslash = true;
                let mut escaped = v.words(backslash);
                for word in escaped.as_mut() {
                    *word = escaped_by(*word, &mut self.after_escape);
                }
                quote = quote & !v.wide(&escaped);
            }
            let (inside, in_string) = v.parity(quote, self.in_string);
            self.in_string = in_string;
            let outside = within & !inside;
            let end = chunk + V::GROUP_CHUNKS;
            group.quote[chunk..end].copy_from_slice(v.words(quote).as_ref());
            group.stop[chunk..end].copy_from_slice(v.words(stop & outside).as_ref());
            group.open[chunk..end].copy_from_slice(v.words(open & outside).as_ref());
            group.close[chunk..end].copy_from_slice(v.words(close & outside).as_ref());
            chunk = end;
        }
        self.ready += 1;
    }

    /// Colons and brackets of a ready word.
    #[inline(always)]
    pub(super) fn stops(&self, word: usize) -> u64 {
        self.groups[word / GROUP_CHUNKS].stop[word % GROUP_CHUNKS]
    }

    /// Opening and closing brackets of a ready word.
    #[inline(always)]
    pub(super) fn brackets(&self, word: usize) -> (u64, u64) {
        let group = &self.groups[word / GROUP_CHUNKS];
        (
            group.open[word % GROUP_CHUNKS],
            group.close[word % GROUP_CHUNKS],
        )
    }

    #[inline(always)]
    fn quotes(&self, word: usize) -> u64 {
        self.groups[word / GROUP_CHUNKS].quote[word % GROUP_CHUNKS]
    }

    /// The last quote before `at`, which is in a ready word.
    #[inline(always)]
    pub(super) fn quote_before(&self, at: usize) -> Option<usize> {
        let mut word = at / CHUNK_BYTES;
        let mut bits = self.quotes(word) & !(u64::MAX << (at % CHUNK_BYTES));
        while bits == 0 {
            word = word.checked_sub(1)?;
            bits = self.quotes(word);
        }
        Some(word * CHUNK_BYTES + 63 - bits.leading_zeros() as usize)
    }

    /// The first quote from `at` on.
    #[inline(always)]
    pub(super) fn quote_from<V: Vector>(&mut self, v: V, line: &[u8], at: usize) -> Option<usize> {
        let mut word = at / CHUNK_BYTES;
        if !self.reach(v, line, word) {
            return None;
        }
        let mut bits = self.quotes(word) & (u64::MAX << (at % CHUNK_BYTES));
        while bits == 0 {
            word += 1;
            if !self.reach(v, line, word) {
                return None;
            }
            bits = self.quotes(word);
        }
        Some(word * CHUNK_BYTES + bits.trailing_zeros() as usize)
    }
}

/// Which bytes of a chunk a backslash escapes; `after_escape` tells the next chunk of its first byte.
#[inline(always)]
fn escaped_by(backslash: u64, after_escape: &mut u64) -> u64 {
    const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    // Runs of backslashes alternate between escaping and escaped. Subtraction finds for each run that starts with an
    // escape the end of that alternation, whatever the parity of its start (the method of simdjson).
    let starts = backslash & !*after_escape;
    let alternating = (starts << 1 | ODD).wrapping_sub(starts) ^ ODD;
    let escaped = alternating ^ (backslash | *after_escape);
    *after_escape = (alternating & backslash) >> 63;
    escaped
}

/// The portable level: one chunk at a time, byte by byte.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Vector for Portable {
    const GROUP_CHUNKS: usize = 1;
    type Words = [u64; 1];
    type Wide = u64;

    #[inline(always)]
    fn planes<T: ClassTable>(self, bytes: &[u8]) -> Planes<u64> {
        let (mut planes, mut ascii) = ([0; 8], true);
        for (at, byte) in bytes.iter().take(CHUNK_BYTES).enumerate() {
            let class = const { &T::CLASSES }
                .get(usize::from(*byte))
                .copied()
                .unwrap_or(0);
            ascii &= byte.is_ascii();
            if class != 0 {
                for (plane, mask) in planes.iter_mut().enumerate() {
                    *mask |= u64::from(class >> plane & 1) << at;
                }
            }
        }
        Planes { planes, ascii }
    }
    #[inline(always)]
    fn gather(self, bits: u64, places: u64) -> u64 {
        let (mut left, mut packed, mut count) = (places, 0, 0);
        while left != 0 {
            packed |= (bits >> left.trailing_zeros() & 1) << count;
            count += 1;
            left &= left - 1;
        }
        packed
    }
    #[inline(always)]
    fn none(self) -> u64 {
        0
    }
    #[inline(always)]
    fn bits_from(self, bit: usize) -> u64 {
        if bit < CHUNK_BYTES {
            u64::MAX << bit
        } else {
            0
        }
    }
    #[inline(always)]
    fn wide(self, words: &[u64; 1]) -> u64 {
        words[0]
    }
    #[inline(always)]
    fn words(self, wide: u64) -> [u64; 1] {
        [wide]
    }
    #[inline(always)]
    fn any(self, wide: u64) -> bool {
        wide != 0
    }
    #[inline(always)]
    fn shift(self, wide: u64, before: u64) -> u64 {
        wide << 1 | before >> 63
    }
    #[inline(always)]
    fn add(self, one: u64, other: u64, carry: u64) -> (u64, u64) {
        let (partial, over) = one.overflowing_add(other);
        let (sum, over_carry) = partial.overflowing_add(carry);
        (sum, u64::from(over | over_carry))
    }
    #[inline(always)]
    fn parity(self, wide: u64, carry: u64) -> (u64, u64) {
        let mut parity = wide;
        for distance in [1, 2, 4, 8, 16, 32] {
            parity ^= parity << distance;
        }
        let parity = parity ^ carry.wrapping_neg();
        (parity, parity >> 63)
    }
}
