//! The index of a line: where its quotes, colons and brackets are, as bit masks.
//!
//! Owns: the masks, made lazily in groups of 512 bytes, and the bookkeeping of strings and escapes from group to
//! group. Promises: bits are set only for bytes of the line; of a valid line they are right, of any other bytes they
//! are some bits. Leaves to others: what the masks mean for keys and values ([`walk`](super::walk)).

use crate::os::simd::{CHUNK_BYTES, ClassTable, Classes, Job, Level, Planes, Vector};

/// Chunks of one group, whatever the vector width.
const GROUP_CHUNKS: usize = 8;
const GROUP_BYTES: usize = GROUP_CHUNKS * CHUNK_BYTES;

/// The masks of one line, as far as they have been asked for. Bit `i` of word `w` speaks of byte `64 w + i`. The memory
/// is used again for the next line.
#[derive(Default)]
pub(super) struct Index {
    /// Quotes that begin or end a string. Word `w` is in place `w + 1`, so that there is a word before each.
    quote: Vec<u64>,
    /// Outside strings: colons and brackets.
    stop: Vec<u64>,
    /// Outside strings: `{` and `[`.
    open: Vec<u64>,
    /// Outside strings: `}` and `]`.
    close: Vec<u64>,
    /// Words that belong to this line; those behind are of earlier lines.
    ready: usize,
    /// 1 when the next group begins within a string.
    in_string: u64,
    /// 1 when the first byte of the next group is escaped.
    after_escape: u64,
    /// A backslash was seen in a ready word.
    backslash: bool,
}

/// The ready words.
#[derive(Clone, Copy)]
pub(super) struct Masks<'a> {
    /// One word more: word `w` is in place `w + 1`.
    quote: &'a [u64],
    pub(super) stop: &'a [u64],
    open: &'a [u64],
    close: &'a [u64],
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
    /// Turns to a line of this length.
    #[inline]
    pub(super) fn reset(&mut self, line_bytes: usize) {
        self.ready = 0;
        self.in_string = 0;
        self.after_escape = 0;
        self.backslash = false;
        let words = line_bytes.div_ceil(GROUP_BYTES) * GROUP_CHUNKS;
        if self.quote.len() <= words {
            self.quote.resize(words + 1, 0);
            for masks in [&mut self.stop, &mut self.open, &mut self.close] {
                masks.resize(words, 0);
            }
        }
    }

    /// True when a backslash is in what is ready.
    #[inline(always)]
    pub(super) fn has_backslash(&self) -> bool {
        self.backslash
    }

    /// What is ready.
    #[inline(always)]
    pub(super) fn masks(&self) -> Masks<'_> {
        Masks {
            quote: &self.quote[..=self.ready],
            stop: &self.stop[..self.ready],
            open: &self.open[..self.ready],
            close: &self.close[..self.ready],
        }
    }

    /// Makes the next group ready; false when the line has ended.
    #[inline]
    pub(super) fn extend(&mut self, level: Option<Level>, line: &[u8]) -> bool {
        let rest = line.get(self.ready * CHUNK_BYTES..).unwrap_or_default();
        if rest.is_empty() {
            return false;
        }
        let job = Extend {
            index: self,
            bytes: rest,
        };
        match level {
            Some(level) => level.run(job),
            None => job.run(Portable),
        }
        true
    }
}

impl Masks<'_> {
    /// The quotes of the 64 bytes that end with byte `at`: its own is the highest bit.
    #[inline(always)]
    pub(super) fn quotes_up_to(&self, at: usize) -> u64 {
        let (word, bit) = (at / CHUNK_BYTES, at % CHUNK_BYTES);
        self.quote[word + 1] << (63 - bit) | self.quote[word] >> 1 >> bit
    }

    /// The last quote before `at`.
    pub(super) fn quote_before(&self, at: usize) -> Option<usize> {
        let mut word = at / CHUNK_BYTES;
        let mut bits = self.quote.get(word + 1)? & !(u64::MAX << (at % CHUNK_BYTES));
        while bits == 0 {
            word = word.checked_sub(1)?;
            bits = self.quote[word + 1];
        }
        Some(word * CHUNK_BYTES + 63 - bits.leading_zeros() as usize)
    }

    /// The first ready quote from `at` on.
    #[inline(always)]
    pub(super) fn quote_from(&self, at: usize) -> Option<usize> {
        let mut word = at / CHUNK_BYTES;
        let mut bits = self.quote.get(word + 1)? & (u64::MAX << (at % CHUNK_BYTES));
        while bits == 0 {
            word += 1;
            bits = *self.quote.get(word + 1)?;
        }
        Some(word * CHUNK_BYTES + bits.trailing_zeros() as usize)
    }

    /// Skips brackets from `at` on until `depth` containers, at least one, are closed: the place behind the last, or
    /// the depth at the end of what is ready.
    #[inline(always)]
    pub(super) fn skip_containers(&self, at: usize, mut depth: u32) -> Result<usize, u32> {
        let mut mask = u64::MAX << (at % CHUNK_BYTES);
        for word in at / CHUNK_BYTES..self.stop.len() {
            let (open, close) = (self.open[word] & mask, self.close[word] & mask);
            let closes = close.count_ones();
            if closes >= depth {
                let (mut left, mut passed) = (close, 1);
                while left != 0 {
                    let below = left.wrapping_sub(1) & !left;
                    if depth + (open & below).count_ones() == passed {
                        return Ok(word * CHUNK_BYTES + left.trailing_zeros() as usize + 1);
                    }
                    passed += 1;
                    left &= left - 1;
                }
            }
            // It stays above 0: no closing bracket was that of the outermost container.
            depth = depth + open.count_ones() - closes;
            mask = u64::MAX;
        }
        Err(depth)
    }
}

/// Makes the masks of one group.
struct Extend<'a> {
    index: &'a mut Index,
    /// Of the line, from the group on.
    bytes: &'a [u8],
}

impl Job for Extend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self, v: V) {
        let Self { index, mut bytes } = self;
        let (mut after_escape, mut in_string) = (index.after_escape, index.in_string);
        let mut at = index.ready;
        let group_end = at + GROUP_CHUNKS;
        while at < group_end {
            let Planes { planes, .. } = v.planes::<Structure>(bytes);
            let [quote, backslash, stop, open, close, ..] = planes;
            let within = !v.bits_from(bytes.len());
            let mut quote = quote & within;
            if v.any(backslash) || after_escape != 0 {
                index.backslash = true;
                let mut escaped = v.words(backslash);
                for word in escaped.as_mut() {
                    *word = escaped_by(*word, &mut after_escape);
                }
                quote = quote & !v.wide(&escaped);
            }
            let (inside, carried) = v.parity(quote, in_string);
            in_string = carried;
            let outside = within & !inside;
            let end = at + V::GROUP_CHUNKS;
            index.quote[at + 1..=end].copy_from_slice(v.words(quote).as_ref());
            index.stop[at..end].copy_from_slice(v.words(stop & outside).as_ref());
            index.open[at..end].copy_from_slice(v.words(open & outside).as_ref());
            index.close[at..end].copy_from_slice(v.words(close & outside).as_ref());
            at = end;
            bytes = bytes
                .get(V::GROUP_CHUNKS * CHUNK_BYTES..)
                .unwrap_or_default();
        }
        index.ready = group_end;
        index.after_escape = after_escape;
        index.in_string = in_string;
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
